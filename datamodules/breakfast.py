"""Breakfast (Kuehne, Arslan and Serre, CVPR 2014): people who prepare one of ten meals, each seen by several cameras.

Papers on adaptive computation report top-1 on the split s1 (LiteEval, IJCV 2021, section 4.2.2), the people P03 to P15,
and train on the others, P16 to P54. LiteEval counts 1,989 videos, both pictures of the stereo camera among them; lists
of 1,712, known from action segmentation, take one of the two. Timeception's 1,357 and 335 videos are of another split.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from adavid import FaultKind, ListedCatalogue, Published, VideoRecord, list_folder, list_media, medium_name

ACTIVITIES = ("cereals", "coffee", "friedegg", "juice", "milk", "pancake", "salat", "sandwich", "scrambledegg", "tea")
PEOPLE = range(3, 55)
TESTED = {"s1": range(3, 16), "s2": range(16, 29), "s3": range(29, 42), "s4": range(42, 55)}
NUM_HELD_OUT = 8  # people: a fifth of the others
PERSON = re.compile(r"P\d\d")
FLAT = re.compile(r"(P\d\d)_(\w+?)_P\d\d_(.+)")


class BreakfastCatalogue(ListedCatalogue):
    """Videos of two minutes on average with one label each; a person's videos are in one split.

    There are no lists: the release's files are `<person>/<camera>/<person>_<activity>.avi`, those of the stereo camera
    `..._ch0.avi` and `..._ch1.avi`. A copy may also be flat, `<person>_<camera>_<person>_<activity>`, as lists of
    others call them. Each may be a folder of JPEG frames.

    Args:
        path: the folder of the videos.
        split: who is tested.
        validate_on: "held_out": the last eight people that are not tested are the split val, and the tested ones the
            split test. "test": as papers do, all others are trained on, and the tested ones are the split val, which
            is reported.
        **options: see `VideoCatalogue`.

    Raises:
        ValueError: a file is not called as expected, or of an unknown activity; the message names it.
    """

    class_names = ACTIVITIES
    published = Published(len(ACTIVITIES), {"train+val+test": 1_989})
    metric = "top1"

    def __init__(
        self,
        path: str,
        split: Literal["s1", "s2", "s3", "s4"] = "s1",
        validate_on: Literal["held_out", "test"] = "held_out",
        **options: Any,
    ):
        super().__init__(**options)
        tested = TESTED[split]
        others = [person for person in PEOPLE if person not in tested]
        split_of = dict.fromkeys(others, "train") | dict.fromkeys(tested, "val")
        if validate_on == "held_out":
            split_of |= dict.fromkeys(others[-NUM_HELD_OUT:], "val") | dict.fromkeys(tested, "test")
        for person, camera, activity, medium in self._videos(Path(path)):
            number = int(person[1:])
            meal, _, channel = activity.partition("_")
            if number not in split_of or channel not in ("", "ch0", "ch1"):
                self.malformed(str(medium), "<person>/<camera>/<person>_<activity>, P03 to P54", medium.name)
                continue
            label = self.label_of(meal, str(medium))
            if label is not None:
                video_id = f"{person}_{camera}_{person}_{activity}"
                self.add(VideoRecord(video_id, medium, (label,), split_of[number], group=person))

        if not any(self.listed.values()):
            self.refuse(FaultKind.FOLDER, f"{path}: has no video such as P03/cam01/P03_cereals.avi")

    def _videos(self, root: Path) -> Iterator[tuple[str, str, str, Path]]:
        """Of each video the person, the camera, the rest of its name, and where it is."""
        for medium in list_media(root) if os.path.isdir(self.folder(root)) else []:
            if PERSON.fullmatch(medium.name):
                for camera in list_folder(medium):
                    for video in list_media(camera) if os.path.isdir(camera) else []:
                        prefix, _, activity = medium_name(video).partition("_")
                        if prefix == medium.name and activity:
                            yield medium.name, camera.name, activity, video
                        else:
                            self.malformed(str(video), f"{medium.name}_<activity>", video.name)
            elif found := FLAT.fullmatch(medium_name(medium)):
                yield found[1], found[2], found[3], medium
            else:
                self.malformed(str(medium), "<person>/ or <person>_<camera>_<person>_<activity>", medium.name)
