"""Where the frames of a video lie: a file, a folder of pictures, or several of these, one after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adavid.data.folder import FrameFolder
from adavid.data.source import FrameSource
from adavid.data.video import Timeline, VideoFile
from adavid.files import list_folder

VIDEO_SUFFIXES = frozenset(
    (
        *(".3g2", ".3gp", ".asf", ".avi", ".f4v", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
        *(".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
    )
)
FAR = 1 << 32  # more frames than a file has


def open_source(
    path: Path,
    start: float | None = None,
    end: float | None = None,
    timeline: Timeline | None = None,
    frame_rate: float = 0.0,
) -> FrameSource:
    """Opens a video file, or a folder of pictures.

    Args:
        path: the file or the folder.
        start: only frames shown at this time or later, in seconds after the first frame.
        end: only frames shown before this time, in seconds after the first frame.
        timeline: of the file, where it is known.
        frame_rate: of the folder, in frames a second, where it is known.

    Raises:
        ValueError: there is nothing to read there, or a folder of no known rate is to be cut; the message names the
            path.
    """
    if os.path.isdir(path):  # unlike Path's, False where the path cannot be looked up
        return FrameFolder(path, start, end, frame_rate)
    return VideoFile(path, start, end, timeline)


def list_media(folder: Path) -> list[Path]:
    """Returns the video files and the folders (of frames, presumably) in a folder, hidden ones left out.

    Raises:
        ValueError: the folder cannot be read; the message names it.
    """
    return [path for path in list_folder(folder) if _is_medium(path)]


def list_others(folder: Path) -> list[Path]:
    """Returns what `list_media` leaves out, but for hidden files."""
    return [path for path in list_folder(folder) if not _is_medium(path)]


def _is_medium(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES or os.path.isdir(path)


def medium_name(path: Path) -> str:
    """A video file's name without its suffix, or a folder's."""
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name


class Clip(NamedTuple):
    """What a source is opened on: a path, and times in seconds where only part of it is meant."""

    path: Path
    start: float | None = None
    end: float | None = None


class Part(NamedTuple):
    """A clip as a part of a video, and how many of the video's frames it fills, at whatever pace that takes."""

    clip: Clip
    num_frames: int


class Montage(FrameSource):
    """One video put together of several clips, one after the other; no file is written.

    A part that fills N frames shows its clip from beginning to end: frame i of them is the clip's at (i + 1/2) / N of
    its length.

    Args:
        sources: of the clips.
        lengths: how many frames each of them fills.
    """

    def __init__(self, sources: Sequence[FrameSource], lengths: Sequence[int]):
        assert len(sources) == len(lengths) > 0 and all(length > 0 for length in lengths)
        self._sources = sources
        self._first = np.cumsum([0, *lengths])
        self.num_frames = int(self._first[-1])

    @property
    def name(self) -> str:
        return "the clips that a video is put together of"

    def places(self, indices: Sequence[int]) -> np.ndarray:
        """Returns the places in the clips' files, far apart: no decoder goes on from one file into the next."""
        place_T2 = np.zeros((len(indices), 2), dtype=np.int64)
        for part, chosen, own in self._by_part(indices):
            place_T2[chosen] = FAR * part + self._sources[part].places(own)
        return place_T2

    def _decode(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        self.num_decoded = 0
        for part, _, own in self._by_part(wanted):
            source = self._sources[part]
            yield from source.images(own)
            self.num_decoded += source.num_decoded

    def _by_part(self, indices: Sequence[int]) -> Iterator[tuple[int, list[int], list[int]]]:
        """The parts that frames are of; which of the frames those are, and which of the part's clip."""
        index_T = np.asarray(indices)
        part_T = np.searchsorted(self._first, index_T, side="right") - 1
        for part in np.unique(part_T).tolist():
            first, end = self._first[part], self._first[part + 1]
            chosen = np.flatnonzero(part_T == part)
            own = (2 * (index_T[chosen] - first) + 1) * self._sources[part].num_frames // (2 * (end - first))
            yield part, chosen.tolist(), own.tolist()
