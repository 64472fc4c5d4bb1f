"""THUMOS'14 (Jiang et al., 2014; Idrees et al., CVIU 155, 2017): untrimmed videos of sports and other actions.

SoF-Net (Seon et al., WACV 2023) reports recognition: 101 classes, trained on the 1,010 validation videos and tested on
the 1,574 test videos, mAP over all labels. The temporal annotations are of 20 of the classes, 200 and 213 videos.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.io import loadmat

from adavid import FaultKind, ListedCatalogue, Published, VideoRecord

STRUCTURES = {"val": ("validation_set.mat", "validation_videos"), "test": ("test_set_meta.mat", "test_videos")}
Segment = tuple[str, tuple[float, float]]  # its class, from and to
AMBIGUOUS = "Ambiguous"  # segments of no class, which detections are not scored on
PARTS = {"val": "validation", "test": "test"}  # the release's two, as the annotations' and the videos' names say them
HELD_OUT = 5  # of so many videos one is validated on


class Thumos14Catalogue(ListedCatalogue):
    """Videos of minutes in which an action is seen for seconds, some with several labels.

    Recognition has the release's MATLAB files `validation_set.mat` and `test_set_meta.mat`, whose structures say each
    video's `primary_action_index` and `secondary_actions_indices`, by the class list, and `background_video` of test
    videos that show no class: they are left out, and counted.

    Detection has a file a class, `<Class>_val.txt` and `<Class>_test.txt`, with lines `video start end` in seconds; so
    `make room` has an oracle of frames. Classes are numbered by the alphabet. What is called Ambiguous is left out, and
    with it one test video that has nothing else.

    Args:
        path: the folder that the others are relative to.
        task: "recognition" or "detection": whose labels.
        videos: folder of the videos `video_{validation,test}_<number>`, files or folders of JPEG frames, there or in
            `validation/` and `test/`.
        annotations: folder of the annotations of the task, there or in folders of it.
        class_list: in that folder, lines `number name`, numbers from 1: for recognition.
        validate_on: "held_out": every fifth of the validation videos is the split val, and the test videos are the
            split test. "test": as papers do, all validation videos are trained on, and the test videos are the split
            val, which is reported.
        **options: see `VideoCatalogue`.

    Raises:
        ValueError: an annotation is missing or malformed; the message names it.
    """

    def __init__(
        self,
        path: str,
        task: Literal["recognition", "detection"] = "recognition",
        videos: str = "videos",
        annotations: str = "annotations",
        class_list: str = "Class Index.txt",
        validate_on: Literal["held_out", "test"] = "held_out",
        **options: Any,
    ):
        super().__init__(**options)
        root, self._is_held_out = Path(path), validate_on == "held_out"
        self._videos = self.folder(root / videos)
        folder = self.folder(root / annotations)
        if task == "recognition":
            self.published = Published(101, self._counts(1010, 1574))
            self._recognition(folder, class_list)
        else:
            self.published = Published(20, self._counts(200, 213))
            self._detection(folder)

    def _counts(self, num_validation: int, num_test: int) -> dict[str, int]:
        names = ("train+val", "test") if self._is_held_out else ("train", "val")
        return dict(zip(names, (num_validation, num_test), strict=True))

    def _recognition(self, folder: Path, class_list: str) -> None:
        classes = self._file(folder, class_list)
        self.class_names = []
        for line in self.lines(classes) if classes else ():
            number, _, name = line.text.strip().partition(" ")
            if number != str(self.num_classes + 1) or not name:
                self.malformed(line.where, f"'{self.num_classes + 1} name'", line.text)
                continue
            self.class_names.append(name.strip())
        for part, (file_name, structure) in STRUCTURES.items():
            file = self._file(folder, file_name)
            labelled: dict[str, tuple[int, ...]] = {}
            for place, video in enumerate(self._structure(file, structure) if file else (), start=1):
                where = f"{file}, {structure}({place})"
                if video.get("background_video") == "YES":
                    self.leave_out(f"{PARTS[part]} videos that show no class")
                    continue
                numbers = [*_whole(video.get("primary_action_index")), *_whole(video.get("secondary_actions_indices"))]
                name = str(video.get("video_name"))
                expected = f"video_{PARTS[part]}_<number> and classes from 1 to {self.num_classes}"
                if not re.fullmatch(rf"video_{PARTS[part]}_\d+", name) or not numbers:
                    self.malformed(where, expected, f"{name!r} and {numbers}")
                elif not all(1 <= n <= self.num_classes for n in numbers):
                    self.refuse(FaultKind.LABEL, f"{where}: expected {expected}, got {name!r} and {numbers}")
                else:
                    labelled[name] = tuple(sorted({n - 1 for n in numbers}))
            for n, (video_id, labels) in enumerate(sorted(labelled.items())):
                self._add(video_id, labels, part, n, ())

    def _detection(self, folder: Path) -> None:
        files = {part: self._files(folder, part) for part in PARTS}
        self.class_names = sorted({name for of in files.values() for name in of} - {AMBIGUOUS})
        for part, of_part in files.items():
            segments = self._segments(part, of_part)
            labelled = {video_id: of for video_id, of in sorted(segments.items()) if any(map(_has_class, of))}
            without_label = len(segments) - len(labelled)
            self.leave_out(f"{PARTS[part]} videos with nothing but {AMBIGUOUS} segments", without_label)
            for n, (video_id, annotated) in enumerate(labelled.items()):
                of_classes = [segment for segment in annotated if _has_class(segment)]
                labels = tuple(sorted({self.class_names.index(name) for name, _ in of_classes}))
                self._add(video_id, labels, part, n, tuple(times for _, times in of_classes))

    def _add(
        self, video_id: str, labels: tuple[int, ...], part: str, n: int, times: tuple[tuple[float, float], ...]
    ) -> None:
        """The n-th video of a part of the release, to one of the splits."""
        if part == "val":
            split = "val" if self._is_held_out and n % HELD_OUT == HELD_OUT - 1 else "train"
        else:
            split = "test" if self._is_held_out else "val"
        medium = self.medium(video_id, self._videos / video_id, self._videos / PARTS[part] / video_id)
        self.add(VideoRecord(video_id, medium, labels, split, segments=times))

    def _file(self, folder: Path, name: str) -> Path | None:
        """A file of a folder or of those in it."""
        found = sorted(folder.rglob(name))
        if len(found) != 1:
            others = f"found {' and '.join(map(str, found))}" if found else f"found none in {folder}"
            self.refuse(FaultKind.LIST, f"{folder / name}: expected once, {others}")
            return None
        return found[0]

    def _structure(self, file: Path, name: str) -> Sequence[dict[str, Any]]:
        """The elements of a structure in a MATLAB file."""
        try:
            content = loadmat(file, simplify_cells=True)
        except Exception as error:  # a file that was cut short, or another's, fails in many ways
            self.refuse(FaultKind.LIST, f"{file}: expected a MATLAB file: {' '.join(str(error).split())}")
            return ()
        if name not in content:
            self.refuse(FaultKind.LIST, f"{file}: expected a structure {name!r}")
            return ()
        elements = content[name]
        return [elements] if isinstance(elements, dict) else list(elements)

    def _files(self, folder: Path, part: str) -> dict[str, Path]:
        """The annotations of a part by class."""
        files: dict[str, Path] = {}
        for path in sorted(self.folder(folder).rglob(f"*_{part}.txt")):
            first = files.setdefault(path.stem.removesuffix(f"_{part}"), path)
            if first is not path:
                self.refuse(FaultKind.LIST, f"{path}: expected once, found {first} too")
        if not files:
            self.refuse(FaultKind.LIST, f"{folder}: has no annotations <Class>_{part}.txt")
        return files

    def _segments(self, part: str, files: dict[str, Path]) -> dict[str, list[Segment]]:
        """The annotated segments of each video, each with its class, Ambiguous ones too."""
        found = defaultdict[str, list[Segment]](list)
        for name, path in files.items():
            for line in self.lines(path):
                match line.text.split():
                    case [video_id, *times] if re.fullmatch(rf"video_{PARTS[part]}_\d+", video_id):
                        try:
                            start, end = map(float, times)
                        except ValueError:
                            self.malformed(line.where, "video start end", line.text)
                            continue
                        found[video_id].append((name, (start, end)))
                        if name == AMBIGUOUS:
                            self.leave_out(f"{AMBIGUOUS} segments")
                    case _:
                        self.malformed(line.where, f"video_{PARTS[part]}_<number> start end", line.text)
        return found


def _whole(value: Any) -> list[int]:
    """The whole numbers that a field of a structure holds: none, one or several."""
    numbers = np.atleast_1d(value if value is not None else []).ravel()
    return [int(number) for number in numbers if np.issubdtype(numbers.dtype, np.number)]


def _has_class(segment: Segment) -> bool:
    return segment[0] != AMBIGUOUS
