"""ActivityNet v1.3 (Caba Heilbron et al., CVPR 2015): untrimmed videos of 200 activities.

From the official JSON, or from the lists that AR-Net's successors share. The labels of its testing split are not
public, so papers report the validation split: mAP, videos mirrored in training (AR-Net, section 4.1). AR-Net's and
AdaFocus's "mAP" is of the first label of a video alone, which is another one for 13 of the 14,950 (`make verify` prints
both).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adavid import ListedCatalogue, Published, VideoRecord
from datamodules.arnet_lists import read_labelled, read_numbered_classes

SUBSETS = {"training": "train", "validation": "val"}
WITHOUT_LABELS = "testing"


class ActivityNetCatalogue(ListedCatalogue):
    """Videos of two minutes on average, most with one label, from YouTube; val is reported.

    A list has lines `video_id,num_frames,label[,label...]`, one label for each annotated segment, repeats
    included; the number of frames is not used. A class list has lines `label,name`.

    The official JSON also says when the activities are seen, so that `make room` has an oracle of frames. Its classes
    are numbered by the alphabet, which is the class list's numbering.

    Args:
        path: the folder that the others are relative to.
        videos: folder of the videos: <video_id> or v_<video_id>, a file or a folder of JPEG frames.
        train_list: the list of training videos.
        val_list: the list of validation videos.
        class_list: the class list.
        annotations: the official `activity_net.v1-3.min.json` in place of the three lists.
        **options: see `VideoCatalogue`; many videos have gone from the web, so `skip_bad` is likely to be
            needed.

    Raises:
        ValueError: a list is missing or a line malformed; the message names it.
    """

    published = Published(200, {"train": 10_024, "val": 4_926})

    def __init__(
        self,
        path: str,
        videos: str = "videos",
        train_list: str = "actnet_train_split.txt",
        val_list: str = "actnet_val_split.txt",
        class_list: str = "classInd.txt",
        annotations: str = "",
        **options: Any,
    ):
        super().__init__(**options)
        root = Path(path)
        self._videos = self.folder(root / videos)
        if annotations:
            self._read_json(root / annotations)
        else:
            self.class_names = read_numbered_classes(self, root / class_list)
            read_labelled(self, root / train_list, self._videos, "train")
            read_labelled(self, root / val_list, self._videos, "val")

    def _read_json(self, path: Path) -> None:
        """Reads {"database": {id: {"subset", "annotations": [{"segment": [from, to], "label"}]}}}, times in seconds."""
        videos = self.json(path, dict).get("database")
        if not isinstance(videos, dict):
            self.malformed(str(path), '{"database": {video_id: ...}}', videos)
            videos = {}
        found = {
            video_id: (said["subset"], said["annotations"]) for video_id, said in videos.items() if _is_video(said)
        }
        self.class_names = sorted({label for _, of in found.values() for label in map(_label, of) if label})
        for video_id, said in videos.items():
            where = f"{path}, video {video_id}"
            subset, annotations = found.get(video_id, ("", []))
            if subset == WITHOUT_LABELS:
                self.leave_out("videos of the testing split, whose labels are not public")
                continue
            labels = [self.label_of(_label(one), where) for one in annotations if _label(one)]
            if subset not in SUBSETS or not labels or len(labels) < len(annotations):
                expected = '"subset" and "annotations", each a "label" with a "segment" of two times'
                self.malformed(where, expected, said)
                continue
            video = self.medium(where, self._videos / f"v_{video_id}", self._videos / video_id)
            segments = tuple((float(one["segment"][0]), float(one["segment"][1])) for one in annotations)
            distinct = tuple(sorted({label for label in labels if label is not None}))
            self.add(VideoRecord(video_id, video, distinct, SUBSETS[subset], segments=segments))


def _is_video(said: Any) -> bool:
    return isinstance(said, dict) and isinstance(said.get("annotations"), list) and isinstance(said.get("subset"), str)


def _label(annotation: Any) -> str:
    """The class of an annotated segment; "" where it is not written as one."""
    match annotation:
        case {"label": str(label), "segment": [int() | float(), int() | float()]}:
            return label
    return ""
