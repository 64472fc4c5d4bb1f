"""ActivityNet v1.3 (Caba Heilbron et al., CVPR 2015), from the lists that AR-Net's successors share."""

import os
from pathlib import Path
from typing import Any

from adavid import VideoCatalogue, VideoRecord, media_by_name, read_text


class ActivityNetCatalogue(VideoCatalogue):
    """Untrimmed videos of 200 activities. The labels of the test split are not public: val is reported.

    A list has lines `video_id,num_frames,label[,label...]`, one label for each annotated segment, repeats
    included; the number of frames is not used. A class list has lines `label,name`.

    Args:
        path: the folder that the others are relative to.
        videos: folder of the videos: <video_id> or v_<video_id>, a file or a folder of JPEG frames.
        train_list: the list of training videos.
        val_list: the list of validation videos.
        class_list: the class list.
        **options: see `VideoCatalogue`; many videos have gone from the web, so `skip_bad` is likely to be
            needed.

    Raises:
        ValueError: a list is missing or a line malformed; the message names it.
    """

    def __init__(
        self,
        path: str,
        videos: str = "videos",
        train_list: str = "actnet_train_split.txt",
        val_list: str = "actnet_val_split.txt",
        class_list: str = "classInd.txt",
        **options: Any,
    ):
        super().__init__(**options)
        root = Path(path)
        for needed in (root / videos, root / train_list, root / val_list, root / class_list):
            if not os.path.exists(needed):
                raise ValueError(f"{needed}: no such file or folder")
        self.class_names = []
        for line in read_text(root / class_list).splitlines():
            label, _, name = line.partition(",")
            if label != str(self.num_classes) or not name:
                raise ValueError(f"{root / class_list}: expected '{self.num_classes},name', got {line!r}")
            self.class_names.append(name)
        self._videos, self._media = root / videos, media_by_name(root / videos)
        self._records = self._read(root / train_list, "train") + self._read(root / val_list, "val")

    def records(self, split: str) -> list[VideoRecord]:
        return [record for record in self._records if record.split == split]

    def _read(self, file: Path, split: str) -> list[VideoRecord]:
        records = []
        for number, line in enumerate(read_text(file).splitlines(), start=1):
            try:
                video_id, _, *labels = line.split(",")
                distinct = tuple(sorted({int(label) for label in labels}))
            except ValueError:
                distinct = ()
            if not distinct or not 0 <= distinct[0] <= distinct[-1] < self.num_classes:
                expected = f"video_id,num_frames,label[,label...] with labels below {self.num_classes}"
                raise ValueError(f"{file}, line {number}: expected {expected}, got {line!r}")
            video = self._media.get(video_id) or self._media.get(f"v_{video_id}", self._videos / video_id)
            records.append(VideoRecord(video_id, video, distinct, split))
        return records
