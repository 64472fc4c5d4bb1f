"""Folders of pictures, a frame each, as they are extracted from videos: image_00001.jpg, ...

C channels, H height, W width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from adavid.data.source import FrameSource, part_between
from adavid.files import list_folder, reason

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
# What extraction writes beside the frames, or in their place: flow_x_00001.jpg, x_00001.jpg, depth_00001.png.
OTHER_MODALITY = re.compile(r"(^|[_-])(flow|depth|x|y|u|v)([_-]|#|$)", re.IGNORECASE)


def frame_names(folder: Path) -> list[str]:
    """Returns the names of the frames in a folder, in the order of the numbers in them.

    They are the pictures whose names differ in numbers alone; optical flow and depth beside them are none.

    Raises:
        ValueError: the folder cannot be read, or pictures of several kinds are in it, or flow alone; the message names
            them.
    """
    by_kind: dict[str, list[str]] = {}
    for path in list_folder(folder):
        if path.suffix.lower() in FRAME_SUFFIXES:
            has_number = re.search(r"\d", path.stem)
            kind = re.sub(r"\d+", "#", path.stem) + path.suffix.lower() if has_number else f"*{path.suffix.lower()}"
            by_kind.setdefault(kind, []).append(path.name)
    frames = {kind: names for kind, names in by_kind.items() if not OTHER_MODALITY.search(kind)}
    if len(by_kind) == 1 and "flow" not in min(by_kind).lower():
        frames = by_kind
    if by_kind and len(frames) != 1:
        found = f"{len(frames)} kinds, {', '.join(sorted(frames)[:4])}" if frames else ", ".join(sorted(by_kind)[:4])
        raise ValueError(f"{folder}: expected the frames of one video, found {found}")
    names = [name for of_kind in frames.values() for name in of_kind]
    return sorted(names, key=lambda name: ([int(n) for n in re.findall(r"\d+", name)], name))


class FrameFolder(FrameSource):
    """A folder of pictures, in the order of the numbers in their names.

    Args:
        path: the folder.
        start: only frames shown at this time or later, in seconds after the first one.
        end: only frames shown before this time, in seconds after the first one.
        frame_rate: at which they are shown, in frames a second; 0: nobody knows.

    Raises:
        ValueError: there is none in it, or it cannot be read, or what are frames in it is not clear; the message names
            the folder.
    """

    def __init__(self, path: Path, start: float | None = None, end: float | None = None, frame_rate: float = 0.0):
        self.path = path
        names = frame_names(path)
        if not names:
            raise ValueError(f"{path}: no JPEG frame in this folder, nor a PNG or WebP one")
        seconds_T = np.arange(len(names)) / frame_rate if frame_rate else None
        part = part_between(self.name, seconds_T, start, end)
        self._names = names[part]
        self.num_frames = len(self._names)
        if seconds_T is not None:
            self.seconds = seconds_T[: self.num_frames]

    @property
    def name(self) -> str:
        return str(self.path)

    def _decode(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        self.num_decoded = 0
        for index in wanted:
            image = self._image(self._names[index])
            self.num_decoded += 1
            yield image

    def _image(self, name: str) -> np.ndarray:
        from torchvision.io import ImageReadMode, decode_image, read_file

        try:
            content = read_file(str(self.path / name))
            image_CHW = decode_image(content, ImageReadMode.RGB, apply_exif_orientation=True)
        except RuntimeError as error:
            raise ValueError(f"{self.path / name}: cannot be decoded ({reason(error)})") from error
        return image_CHW.permute(1, 2, 0).numpy()
