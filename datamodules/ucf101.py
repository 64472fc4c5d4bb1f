"""UCF101 (Soomro, Zamir and Shah, CRCV-TR-12-01, 2012): clips of 101 human actions, from the official lists."""

import os
import re
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from adavid import Published, Turns, VideoCatalogue, VideoRecord, list_folder, read_text

FOLDS: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
VAL_GROUPS = range(22, 26)  # in no test list
CLIP = re.compile(r"(\w+)/v_\w+_(g\d\d)_c\d\d\.avi")


class Listed(NamedTuple):
    """A clip that a list names: its path from the folder of the clips, class, group and split."""

    clip: str
    name: str
    group: str
    split: str


class Ucf101Catalogue(VideoCatalogue):
    """Clips of 1 to 71 seconds with one label each, in three folds.

    The clips of a group show the same people in the same place. A fold's test list holds seven groups of each class; of
    its training list, groups 22 to 25 are validated on.

    A partial copy will do: clips that are not there are left out, and so are classes without a clip to train on; what
    was left out is said, and recorded.

    Args:
        path: the folder with `ucfTrainTestlist/` and `UCF-101/<Class>/v_<Class>_g<group>_c<clip>.avi`.
        fold: which of the three official splits into training and test. With null the runs take turns, and three of
            them are reported as one, every clip tested once.
        turn: the run's seed: with `fold` null, the run's fold is 1 + turn mod 3.
        **options: see `VideoCatalogue`.

    Raises:
        ValueError: a list is missing or a line malformed, or there is no clip; the message names it.
    """

    published: Published | None = Published(101, {"train+val+test": 13_320})

    def __init__(self, path: str, fold: Literal[1, 2, 3] | None = None, turn: int = 0, **options: Any):
        super().__init__(**options)
        self.turns = Turns(turn % len(FOLDS), len(FOLDS)) if fold is None else None
        self._of_fold = partial(type(self), path, **options)
        fold_number = fold or FOLDS[turn % len(FOLDS)]
        lists, clips = Path(path) / "ucfTrainTestlist", Path(path) / "UCF-101"
        self.official_names = _read_classes(lists / "classInd.txt")
        listed = [
            *_read_clips(lists / f"trainlist0{fold_number}.txt", "train", self.official_names),
            *_read_clips(lists / f"testlist0{fold_number}.txt", "test", self.official_names),
        ]
        folders = [folder for folder in list_folder(clips) if os.path.isdir(folder)]
        there = {file.relative_to(clips).as_posix() for folder in folders for file in list_folder(folder)}
        trained_on = {of.name for of in listed if of.clip in there and of.split == "train"}
        if not trained_on:
            raise ValueError(f"{clips}: has no clip to train on, such as {listed[0].clip}")
        self.class_names = [name for name in self.official_names if name in trained_on]
        every, listed = listed, [of for of in listed if of.name in trained_on]
        self._records = [
            VideoRecord(of.clip, clips / of.clip, (self.class_names.index(of.name),), of.split, group=of.group)
            for of in listed
            if of.clip in there
        ]
        self.absent = [of.clip for of in every if of.clip not in there]
        self.left_out = _left_out(len(self.official_names) - len(trained_on), len(listed) - len(self._records))

    def records(self, split: str) -> list[VideoRecord]:
        return [record for record in self._records if record.split == split]

    def in_turn(self) -> list[VideoCatalogue]:
        return [self._of_fold(fold=fold) for fold in FOLDS]


def _read_classes(path: Path) -> list[str]:
    names: list[str] = []
    for line in read_text(path).splitlines():
        number, _, name = line.partition(" ")
        if number != str(len(names) + 1) or not name:
            raise ValueError(f"{path}: expected '{len(names) + 1} <class>', got {line!r}")
        names.append(name)
    return names


def _read_clips(path: Path, split: str, names: list[str]) -> list[Listed]:
    """The clips of a list; in training lists the number of the class, which the path says too, follows."""
    listed = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        clip, _, _ = line.partition(" ")
        found = CLIP.fullmatch(clip)
        if not found or found[1] not in names:
            expected = "<Class>/v_<Class>_g01_c01.avi, the class one of classInd.txt"
            raise ValueError(f"{path}, line {number}: expected {expected}, got {line!r}")
        name, group = found.groups()
        is_val = split == "train" and int(group[1:]) in VAL_GROUPS
        listed.append(Listed(clip, name, f"{name}/{group}", "val" if is_val else split))
    return listed


def _left_out(num_classes: int, num_clips: int) -> str:
    """'91 classes and 3 clips of the others'."""
    classes = f"{num_classes} {'class' if num_classes == 1 else 'classes'}"
    clips = f"{num_clips} {'clip' if num_clips == 1 else 'clips'}"
    if num_classes and num_clips:
        return f"{classes} and {clips} of the others"
    return classes * (num_classes > 0) or clips * (num_clips > 0)
