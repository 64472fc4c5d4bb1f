"""THUMOS'14 (Jiang et al., 2014; Idrees et al., CVIU 155, 2017): untrimmed videos of 20 sports.

From the temporal annotations. Networks are trained on the annotated validation videos, 200, and reported on the
annotated test videos, 213: mAP over all labels. SoF-Net (WACV 2023) reports the recognition task, 101 classes of 1,010
and 1,574 videos, whose labels are in the release's MATLAB files; these are its temporal annotations.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

from adavid import FaultKind, ListedCatalogue, Published, VideoRecord

Segment = tuple[str, tuple[float, float]]  # its class, from and to
AMBIGUOUS = "Ambiguous"  # segments of no class, which detections are not scored on
PARTS = {
    "val": "validation",
    "test": "test",
}  # the release's two, as the annotations' and as the videos' names say them
HELD_OUT = 5  # of so many videos one is validated on


class Thumos14Catalogue(ListedCatalogue):
    """Videos of minutes in which a sport is seen for seconds, some with several labels.

    The annotations are a file a class, `<Class>_val.txt` and `<Class>_test.txt`, with lines `video start end` in
    seconds; so `make room` has an oracle of frames. Classes are numbered by the alphabet. What is called Ambiguous is
    left out, and with it one test video that has nothing else.

    Args:
        path: the folder that the others are relative to.
        videos: folder of the videos `video_{validation,test}_<number>`, files or folders of JPEG frames, there or in
            `validation/` and `test/`.
        annotations: folder of the annotations, there or in folders of it.
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
        videos: str = "videos",
        annotations: str = "annotations",
        validate_on: Literal["held_out", "test"] = "held_out",
        **options: Any,
    ):
        super().__init__(**options)
        root = Path(path)
        is_held_out = validate_on == "held_out"
        counts = {"train+val": 200, "test": 213} if is_held_out else {"train": 200, "val": 213}
        self.published = Published(20, counts)
        folder = self.folder(root / videos)
        files = {part: self._files(root / annotations, part) for part in PARTS}
        self.class_names = sorted({name for of in files.values() for name in of} - {AMBIGUOUS})
        for part, of_part in files.items():
            segments = self._segments(part, of_part)
            labelled = {video_id: of for video_id, of in sorted(segments.items()) if any(map(_has_class, of))}
            without_label = len(segments) - len(labelled)
            self.leave_out(f"{PARTS[part]} videos with nothing but {AMBIGUOUS} segments", without_label)
            for n, (video_id, annotated) in enumerate(labelled.items()):
                if part == "val":
                    split = "val" if is_held_out and n % HELD_OUT == HELD_OUT - 1 else "train"
                else:
                    split = "test" if is_held_out else "val"
                of_classes = [segment for segment in annotated if _has_class(segment)]
                labels = tuple(sorted({self.class_names.index(name) for name, _ in of_classes}))
                medium = self.medium(str(root), folder / video_id, folder / PARTS[part] / video_id)
                times = tuple(times for _, times in of_classes)
                self.add(VideoRecord(video_id, medium, labels, split, segments=times))

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


def _has_class(segment: Segment) -> bool:
    return segment[0] != AMBIGUOUS
