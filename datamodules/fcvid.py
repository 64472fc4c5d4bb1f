"""FCVID (Jiang, Wu, Wang, Xue and Chang, TPAMI 40(2), 2018): 91,223 web videos of 239 categories.

From AR-Net's lists, from LiteEval's ground truth, or from the lists of the release. The release is to be had from its
authors alone; the form of its lists is as public code reads them, and was not checked on the lists.
The test videos, which AR-Net's lists call val, are reported: mAP over all labels, videos mirrored in training (AR-Net,
section 4.1).
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch

from adavid import FaultKind, ListedCatalogue, Published, VideoRecord, medium_name
from datamodules.arnet_lists import read_labelled, read_numbered_classes

SPLITS = {"train": "train", "test": "val"}


class FcvidCatalogue(ListedCatalogue):
    """Videos of three minutes on average, some with several labels; the test videos are the split val, and reported.

    AR-Net's lists have lines `video_id,num_frames,label[,label...]`, its class list lines `label,name`.

    The release's `FCVID_VideoName_TrainTestSplit.txt` has lines `<category>/<name>.mp4 train|test`, and beside it
    `FCVID_Label.txt` a line of 239 zeros and ones for each of them. Videos then lie in the folders that the lines say.

    LiteEval's ground truth, `train_gt.pth` and `test_gt.pth`, is {"gt": {video_id: 239 zeros and ones}}, a tensor each.

    Args:
        path: the folder that the others are relative to.
        lists: whose lists.
        videos: folder of the videos, each a file or a folder of JPEG frames.
        train_list: AR-Net's list of training videos.
        val_list: AR-Net's list of the others.
        class_list: AR-Net's class list; without it, the classes of the other two go by their numbers.
        split_list: the release's list of videos and splits.
        label_list: the release's labels.
        **options: see `VideoCatalogue`.

    Raises:
        ValueError: a list is missing or a line malformed; the message names it.
    """

    published = Published(239, {"train": 45_611, "val": 45_612})

    def __init__(
        self,
        path: str,
        lists: Literal["arnet", "liteeval", "release"] = "arnet",
        videos: str = "videos",
        train_list: str = "fcvid_train_split.txt",
        val_list: str = "fcvid_val_split.txt",
        class_list: str = "classInd.txt",
        split_list: str = "FCVID_VideoName_TrainTestSplit.txt",
        label_list: str = "FCVID_Label.txt",
        **options: Any,
    ):
        super().__init__(**options)
        root = Path(path)
        folder = self.folder(root / videos)
        if lists == "arnet":
            self.class_names = read_numbered_classes(self, root / class_list)
            read_labelled(self, root / train_list, folder, "train")
            read_labelled(self, root / val_list, folder, "val")
        else:
            assert self.published is not None
            self.class_names = [f"class {k}" for k in range(self.published.num_classes)]
            if (root / class_list).exists():
                self.class_names = read_numbered_classes(self, root / class_list)
        if lists == "release":
            self._read_release(root / split_list, root / label_list, folder)
        if lists == "liteeval":
            self._read_ground_truth(root / "train_gt.pth", folder, "train")
            self._read_ground_truth(root / "test_gt.pth", folder, "val")

    def _read_ground_truth(self, path: Path, folder: Path, split: str) -> None:
        try:
            videos = dict(torch.load(path, map_location="cpu", weights_only=True)["gt"])
        except (OSError, EOFError, LookupError, TypeError, ValueError, RuntimeError, UnpicklingError) as error:
            expected = "expected {'gt': {video_id: a tensor}}"
            self.refuse(FaultKind.LIST, f"{path}: {expected}: {str(error).splitlines()[0]}")
            return
        for video_id, flags in videos.items():
            where = f"{path}, video {video_id}"
            present = tuple(k for k, flag in enumerate(torch.as_tensor(flags).flatten().tolist()) if flag)
            if len(flags) != self.num_classes or not present:
                expected = f"{self.num_classes} zeros and ones, a one among them"
                self.malformed(where, expected, f"{len(flags)} numbers, {len(present)} of them not 0")
                continue
            self.add(VideoRecord(video_id, self.medium(where, folder / video_id), present, split))

    def _read_release(self, split_list: Path, label_list: Path, folder: Path) -> None:
        videos, labels = list(self.lines(split_list)), list(self.lines(label_list))
        if len(videos) != len(labels):
            self.malformed(
                str(label_list), f"a line for each of the {len(videos)} videos of {split_list.name}", len(labels)
            )
        for video, label in zip(videos, labels, strict=False):
            name, _, split = video.text.strip().rpartition(" ")
            if not name or split not in SPLITS:
                self.malformed(video.where, "'<category>/<name>.mp4 train' or '... test'", video.text)
                continue
            flags = label.text.split()
            if len(flags) != self.num_classes or not {"0", "1"}.issuperset(flags) or "1" not in flags:
                expected = f"{self.num_classes} zeros and ones, a one among them"
                self.malformed(label.where, expected, label.text if len(label.text) < 80 else label.text[:77] + "...")
                continue
            path = folder / name.strip()
            medium = self.medium(video.where, path.with_name(medium_name(path)))
            present = tuple(k for k, flag in enumerate(flags) if flag == "1")
            self.add(VideoRecord(name.strip(), medium, present, SPLITS[split]))
