"""Kinetics-400 (Kay et al., arXiv 1705.06950, 2017): ten seconds of YouTube videos, one of 400 human actions each.

From the official lists. Papers report the validation split: top-1, clips mirrored in training. Most of them have fewer
than the 246,535 and 19,906 clips of the lists (the first by the count that is usually quoted), since videos go from the
web.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from adavid import ListedCatalogue, Published, VideoRecord

COLUMNS = ("label", "youtube_id", "time_start", "time_end", "split")
SPLITS = {"train": ("train",), "val": ("val", "validate")}  # as the column says them


class Kinetics400Catalogue(ListedCatalogue):
    """Clips of ten seconds with one label each; val is reported.

    A list has the columns `label,youtube_id,time_start,time_end,split` and perhaps more, times in seconds. A clip is
    called `<youtube_id>_<start>_<end>` with six digits a time, and is a file or a folder of JPEG frames in
    `<split>/<class>/`, `<class>/`, `<split>/` or the folder of the videos itself; in the name of a class's folder
    blanks may be underscores.

    Classes are those of the training list, numbered by the alphabet, as released networks have them.

    Args:
        path: the folder that the others are relative to.
        videos: folder of the videos.
        train_list: the list of training videos.
        val_list: the list of validation videos.
        **options: see `VideoCatalogue`; many videos have gone from the web, so `skip_bad` is likely to be
            needed.

    Raises:
        ValueError: a list is missing or a row malformed; the message names it.
    """

    published = Published(400, {"train": 246_535, "val": 19_906})
    metric = "top1"

    def __init__(
        self,
        path: str,
        videos: str = "videos",
        train_list: str = "kinetics-400_train.csv",
        val_list: str = "kinetics-400_val.csv",
        **options: Any,
    ):
        super().__init__(**options)
        root = Path(path)
        videos_folder = self.folder(root / videos)
        train = list(self._clips(root / train_list, "train"))
        self.class_names = sorted({label for _, label, _ in train})
        for split, clips in (("train", train), ("val", self._clips(root / val_list, "val"))):
            folders = cache(lambda label, split=split: _folders(videos_folder, split, label))
            for where, label, name in clips:
                number = self.label_of(label, where)
                if number is not None:
                    medium = self.medium(where, *(f"{folder}/{name}" for folder in folders(label)))
                    self.add(VideoRecord(name, medium, (number,), split))

    def _clips(self, path: Path, split: str) -> Iterator[tuple[str, str, str]]:
        """Of each row of a list where it stands, its class and the name of its clip."""
        lines = self.lines(path)
        header = next(lines, None)
        if header is None:
            return
        columns = next(csv.reader([header.text]))
        if missing := [column for column in COLUMNS if column not in columns]:
            self.malformed(header.where, f"a column {missing[0]!r}", header.text)
            return
        label, youtube_id, start, end, of_split = (columns.index(column) for column in COLUMNS)
        for line in lines:
            try:
                row = next(csv.reader([line.text], strict=True))
                first, last = (int(float(row[k])) for k in (start, end))
                is_clip = len(row) == len(columns) and 0 <= first < last and row[of_split] in SPLITS[split]
            except (csv.Error, ValueError, IndexError):
                is_clip = False
            if is_clip and row[label] and row[youtube_id]:
                yield line.where, row[label], f"{row[youtube_id]}_{first:06d}_{last:06d}"
            else:
                self.malformed(line.where, f"{','.join(columns)} with the split {SPLITS[split][0]!r}", line.text)


def _folders(videos: Path, split: str, label: str) -> list[str]:
    """Where the clips of a class may lie, of the usual layouts those that are there; the first of them if none is."""
    classes = dict.fromkeys((label, label.replace(" ", "_")))
    of_classes = [videos / folder / name for folder in (split, "") for name in classes]
    usual = [str(folder) for folder in (*of_classes, videos / split, videos)]
    return [folder for folder in usual if os.path.isdir(folder)] or usual[:1]
