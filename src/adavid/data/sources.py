"""Where frames come from: a video file, a folder of JPEGs, a packed cache. All are RGB uint8 (T, C, H, W).

Torch is loaded by who asks for tensors: a process that only decodes is there in a tenth of the time.

T frames, C channels, H height, W width.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from adavid.files import list_folder, reason

if TYPE_CHECKING:
    from torch import Tensor

VIDEO_SUFFIXES = (".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
FRAME_SUFFIXES = (".jpg", ".jpeg")
# Containers whose packets do not say when a frame is shown, or not truly: only decoding tells.
UNTIMED_FORMATS = frozenset(("avi", "mpeg", "mpegts"))
FAR = 1 << 32  # more frames than a file has
KEPT_BYTES = 1 << 28  # of decoded frames, from the reading of such a file's times to its first read


class FrameSource(Protocol):
    """The frames of one video or clip, by index.

    Attributes:
        num_frames: how many there are, at least 1.
        num_decoded: how many frames the latest `read` decoded, those passed over on the way included.
    """

    num_frames: int
    num_decoded: int

    def read(self, indices: Sequence[int]) -> Tensor:
        """Returns the frames, uint8 (T, C, H, W); indices may repeat and be in any order."""
        ...

    def places(self, indices: Sequence[int]) -> np.ndarray:
        """Returns where a decoder finds each frame (T, 2): its place in the file, and that of the key frame before."""
        ...


class DecodedSource(FrameSource, Protocol):
    """One whose frames are decoded when they are asked for."""

    @property
    def seconds(self) -> np.ndarray | None:
        """When each frame is shown, after the first; None where nobody knows."""
        ...

    def read_THWC(self, indices: Sequence[int]) -> np.ndarray:
        """Returns what `read` does, channels last and contiguous."""
        ...


def open_source(path: Path, start: float | None = None, end: float | None = None) -> DecodedSource:
    """Opens a video file, or a folder of JPEG frames.

    Args:
        path: the file or the folder.
        start: only frames shown at this time or later, in seconds after the first frame; not for a folder.
        end: only frames shown before this time, in seconds after the first frame; not for a folder.

    Raises:
        ValueError: there is nothing to read there; the message names the path.
    """
    if not os.path.isdir(path):  # unlike Path's, False where the path cannot be looked up
        return VideoFile(path, start, end)
    if start is not None or end is not None:
        raise ValueError(f"{path}: a folder of frames has no times, so it takes no start and no end")
    return FrameFolder(path)


def list_media(folder: Path) -> list[Path]:
    """Returns the video files and the folders (of frames, presumably) in a folder, hidden ones left out.

    Raises:
        ValueError: the folder cannot be read; the message names it.
    """
    return [path for path in list_folder(folder) if path.suffix.lower() in VIDEO_SUFFIXES or os.path.isdir(path)]


def media_by_name(folder: Path) -> dict[str, Path]:
    """Returns the videos of a folder by their names without suffix; none where there is no such folder."""
    media = list_media(folder) if os.path.isdir(folder) else []
    return {path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name: path for path in media}


def frame_names(folder: Path) -> list[str]:
    """Returns the names of the JPEG frames in a folder, in the order of the numbers in them.

    Raises:
        ValueError: the folder cannot be read; the message names it.
    """
    names = [path.name for path in list_folder(folder) if path.suffix.lower() in FRAME_SUFFIXES]
    return sorted(names, key=lambda name: ([int(n) for n in re.findall(r"\d+", name)], name))


class VideoFile:
    """A video file, decoded with PyAV on one thread.

    Frame i is the i-th in order of presentation. The times come from demuxing without decoding, because edit
    lists, variable frame rates and containers that count no frames make every shortcut wrong. A read decodes
    forward, and seeks only where the target's keyframe lies ahead: never worse than decoding in sequence, nor
    than seeking to each frame. A file that must be decoded for its times is decoded once for them and for the first
    read, where its frames, as they are stored, fit into `KEPT_BYTES`.

    Args:
        path: the file.
        start: only frames shown at this time or later, in seconds after the first frame.
        end: only frames shown before this time, in seconds after the first frame.

    Raises:
        ValueError: not a video, truncated, or no frame in [start, end); the message names the file.
    """

    def __init__(self, path: Path, start: float | None = None, end: float | None = None):
        self.path = path
        self.num_decoded = 0
        try:
            stat = path.stat()
            self._timeline, self._kept = _timeline(path, stat.st_mtime_ns, stat.st_size)
        except (av.FFmpegError, OSError) as error:
            raise ValueError(f"{path}: cannot be read as a video ({reason(error)})") from error
        seconds = self._timeline.seconds
        first = 0 if start is None else int(np.searchsorted(seconds, start))
        last = len(seconds) if end is None else int(np.searchsorted(seconds, end))
        if first >= last:
            raise ValueError(
                f"{path}: no frame from {start or 0:g} s to {'the end' if end is None else f'{end:g} s'};"
                f" the last frame is at {seconds[-1]:g} s"
            )
        self._first = first
        self.num_frames = last - first

    @property
    def seconds(self) -> np.ndarray | None:
        """When each frame is shown, float64 (T,), after the file's first; None where nobody knows."""
        return self._timeline.seconds[self._first : self._first + self.num_frames]

    def read(self, indices: Sequence[int]) -> Tensor:
        """Returns the frames, uint8 (T, C, H, W); indices may repeat and be in any order.

        Raises:
            ValueError: a frame cannot be decoded; the message names the file.
        """
        import torch

        return torch.from_numpy(self.read_THWC(indices)).permute(0, 3, 1, 2)

    def read_THWC(self, indices: Sequence[int]) -> np.ndarray:
        """Returns what `read` does, channels last and contiguous."""
        assert all(0 <= index < self.num_frames for index in indices), (indices, self.num_frames)
        wanted = sorted({self._first + index for index in indices})
        self.num_decoded = 0
        try:
            images = self._of_kept(wanted) if self._kept else self._decode(wanted)
        except (av.FFmpegError, OSError) as error:
            raise ValueError(f"{self.path}: cannot be decoded ({reason(error)})") from error
        missing = [index for index in wanted if index not in images]
        if missing:
            raise ValueError(f"{self.path}: frame {missing[0]} of {len(self._timeline.seconds)} cannot be decoded")
        return np.stack([images[self._first + index] for index in indices])

    def places(self, indices: Sequence[int]) -> np.ndarray:
        """Returns each frame's place in the file, and that of the key frame before it, from which it is decoded."""
        frame_T = self._first + np.asarray(indices, dtype=np.int64)
        return np.stack([frame_T, self._key_frame(frame_T)], 1)

    def _key_frame(self, frame_T: np.ndarray) -> np.ndarray:
        """The last one that can be sought at each position or before it."""
        keyframes = self._timeline.keyframes
        return keyframes[np.searchsorted(keyframes, frame_T, side="right") - 1]

    def _decode(self, wanted: list[int]) -> dict[int, np.ndarray]:
        """Returns those of the wanted frames (positions in time, ascending) that decode, as RGB (H, W, C)."""
        images: dict[int, np.ndarray] = {}
        timeline = self._timeline
        with _open_video(self.path) as (container, stream):
            to_rgb = UprightRGB(stream.codec_context.width, stream.codec_context.height)
            frames, position = self._frames(container, stream), -1.0
            for index, keyframe in zip(wanted, self._key_frame(np.array(wanted)), strict=True):
                if keyframe > max(position, 0):
                    container.seek(int(timeline.pts[keyframe]), stream=stream)
                    frames = self._frames(container, stream)
                for frame in frames:
                    position = position + 1 if timeline.untimed else timeline.position(frame.pts)
                    if position == index:
                        images[index] = to_rgb(frame)
                    if position >= index:
                        break
        return images

    def _of_kept(self, wanted: list[int]) -> dict[int, np.ndarray]:
        """Likewise, of the frames that were decoded for their times, which are kept no longer."""
        frames, self._kept = self._kept, ()
        self.num_decoded = wanted[-1] + 1  # as many as any later read decodes
        to_rgb = UprightRGB(frames[0].width, frames[0].height)
        return {index: to_rgb(frames[index]) for index in wanted}

    def _frames(self, container: Any, stream: Any) -> Iterator[Any]:
        for frame in container.decode(stream):
            self.num_decoded += 1
            yield frame


class UprightRGB:
    """Makes RGB (H, W, C) of the decoded frames of one video: phones store a sideways picture and how to turn it.

    What it sets up is kept from frame to frame, on one thread: a set-up, and threads, for every frame of a small video
    would take longer than decoding it.

    Args:
        width: in pixels, that all frames get; None leaves each as it is.
        height: likewise; both are of the picture as it is stored.
    """

    def __init__(self, width: int | None = None, height: int | None = None) -> None:
        self._size = {"width": width, "height": height}
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1, **self._size)
        return np.rot90(rgb.to_ndarray(), round(frame.rotation / 90))


def alone(indices: Sequence[int]) -> np.ndarray:
    """The places (T, 2) of frames that need no other one: each is its own key frame."""
    return np.repeat(np.asarray(indices, dtype=np.int64)[:, None], 2, axis=1)


class FrameFolder:
    """A folder of JPEG frames, in the order of the numbers in their names: image_00001.jpg, ...

    Raises:
        ValueError: there is no JPEG in it, or it cannot be read; the message names the folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self.num_decoded = 0
        self.seconds: np.ndarray | None = None
        self._names = frame_names(path)
        self.num_frames = len(self._names)
        if not self._names:
            raise ValueError(f"{path}: no JPEG frame in this folder")

    def read(self, indices: Sequence[int]) -> Tensor:
        """Returns the frames, uint8 (T, C, H, W); indices may repeat and be in any order.

        Raises:
            ValueError: a frame is no JPEG, or differs in size from the others; the message names it.
        """
        import torch

        images = {index: self._image(self._names[index]) for index in sorted(set(indices))}
        self.num_decoded = len(images)
        if len({image_CHW.shape for image_CHW in images.values()}) > 1:
            raise ValueError(f"{self.path}: the frames differ in size")
        return torch.stack([images[index] for index in indices])

    def places(self, indices: Sequence[int]) -> np.ndarray:
        """Returns each picture's place, twice: it is decoded by itself."""
        return alone(indices)

    def read_THWC(self, indices: Sequence[int]) -> np.ndarray:
        """Returns what `read` does, channels last and contiguous."""
        return np.ascontiguousarray(self.read(indices).permute(0, 2, 3, 1).numpy())

    def _image(self, name: str) -> Tensor:
        from torchvision.io import ImageReadMode, decode_jpeg, read_file

        try:
            return decode_jpeg(read_file(str(self.path / name)), ImageReadMode.RGB)
        except RuntimeError as error:
            raise ValueError(f"{self.path / name}: cannot be decoded ({reason(error)})") from error


class Clip(NamedTuple):
    """What a source is opened on: a path, and times in seconds where only part of it is meant."""

    path: Path
    start: float | None = None
    end: float | None = None


class Part(NamedTuple):
    """A clip as a part of a video, and how many of the video's frames it fills, at whatever pace that takes."""

    clip: Clip
    num_frames: int


class Montage:
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
        self.num_decoded = 0

    def read(self, indices: Sequence[int]) -> Tensor:
        """Returns the frames, uint8 (T, C, H, W); indices may repeat and be in any order.

        Raises:
            ValueError: a frame cannot be decoded, or the parts differ in size.
        """
        import torch

        self.num_decoded = 0
        read: dict[int, Tensor] = {}  # by place in `indices`
        for part, chosen, own in self._by_part(indices):
            source = self._sources[part]
            read |= zip(chosen, source.read(own), strict=True)
            self.num_decoded += source.num_decoded
        if len({frame_CHW.shape for frame_CHW in read.values()}) > 1:
            raise ValueError("the clips that a video is put together of differ in size")
        return torch.stack([read[place] for place in range(len(indices))])

    def places(self, indices: Sequence[int]) -> np.ndarray:
        """Returns the places in the clips' files, far apart: no decoder goes on from one file into the next."""
        place_T2 = np.zeros((len(indices), 2), dtype=np.int64)
        for part, chosen, own in self._by_part(indices):
            place_T2[chosen] = FAR * part + self._sources[part].places(own)
        return place_T2

    def _by_part(self, indices: Sequence[int]) -> Iterator[tuple[int, list[int], list[int]]]:
        """The parts that frames are of; which of the frames those are, and which of the part's clip."""
        index_T = np.asarray(indices)
        part_T = np.searchsorted(self._first, index_T, side="right") - 1
        for part in np.unique(part_T).tolist():
            first, end = self._first[part], self._first[part + 1]
            chosen = np.flatnonzero(part_T == part)
            own = (2 * (index_T[chosen] - first) + 1) * self._sources[part].num_frames // (2 * (end - first))
            yield part, chosen.tolist(), own.tolist()


class _Timeline(NamedTuple):
    """When the frames of a file are shown, in order."""

    pts: np.ndarray  # presentation times in ticks, ascending
    seconds: np.ndarray  # after the first frame
    keyframes: np.ndarray  # positions in pts that can be sought, ascending, the first 0
    untimed: bool  # pts do not identify decoded frames: count them, without seeking

    def position(self, pts: int) -> float:
        """Returns the position of a decoded frame; between two where its time is not in the list."""
        position = int(np.searchsorted(self.pts, pts))
        return position if self.pts[min(position, len(self.pts) - 1)] == pts else position - 0.5


_known: dict[tuple[Path, int, int], _Timeline] = {}  # as every epoch opens every file again
KNOWN_TIMELINES = 1024


def _timeline(path: Path, mtime_ns: int, num_bytes: int) -> tuple[_Timeline, Sequence[av.VideoFrame]]:
    """The times of a file's frames; and its frames, where they had to be decoded for it and can be kept."""
    key = (path, mtime_ns, num_bytes)
    if key in _known:
        return _known[key], ()
    timeline, frames = _read_timeline(path, num_bytes)
    if len(_known) == KNOWN_TIMELINES:
        del _known[next(iter(_known))]
    _known[key] = timeline
    return timeline, frames


def _read_timeline(path: Path, num_bytes: int) -> tuple[_Timeline, Sequence[av.VideoFrame]]:
    kept: list[av.VideoFrame] = []
    with _open_video(path) as (container, stream):
        tick, rate = stream.time_base, stream.average_rate or 25
        is_told = container.format.name not in UNTIMED_FORMATS
        shown = _times_of_packets(path, container, stream, num_bytes) if is_told else None
        untimed = shown is None
        if shown is None:
            # Packets that do not say were read to the end.
            with _open_video(path) if is_told else nullcontext((container, stream)) as unread:
                times, kept = _times_of_frames(*unread)
            if None in times or len(set(times)) < len(times):
                times, tick = list(range(len(times))), Fraction(1) / rate
            shown = dict.fromkeys(times, False)
    if not shown:
        raise ValueError(f"{path}: no frame can be decoded")
    pts = np.array(sorted(shown), dtype=np.int64)
    keyframes = np.flatnonzero([shown[p] for p in pts.tolist()])
    # One division of integers, so that a frame at 0.3 s is found by start=0.3.
    seconds = (pts - pts[0]) * tick.numerator / tick.denominator
    return _Timeline(pts, seconds, np.union1d([0], keyframes).astype(np.int64), untimed), kept


def _times_of_packets(path: Path, container: Any, stream: Any, num_bytes: int) -> dict[int, bool] | None:
    """When frames are shown, in ticks, and whether each is a keyframe; None where the packets do not say."""
    packets = [(p.pts, p.is_keyframe, p.is_discard) for p in container.demux(stream) if p.size]
    if any(pts is None for pts, _, _ in packets):
        return None
    if any(entry.pos + entry.size > num_bytes for entry in stream.index_entries):
        raise ValueError(f"{path}: truncated; its index points past its end")
    start = stream.start_time
    return {
        pts: is_keyframe
        for pts, is_keyframe, is_discard in packets
        if not is_discard and (start is None or pts >= start)
    }


def _times_of_frames(container: Any, stream: Any) -> tuple[list[Any], list[av.VideoFrame]]:
    """The times of the frames, in their order, which is right where a time is missing; and the frames, if they fit."""
    times: list[int | None] = []
    kept: list[av.VideoFrame] = []
    for frame in container.decode(stream):
        if not times:
            num_bytes = sum(plane.buffer_size for plane in frame.planes)
        times.append(frame.pts)
        if len(times) * num_bytes <= KEPT_BYTES:
            kept.append(frame)
        else:
            kept.clear()
    return times, kept


@contextmanager
def _open_video(path: Path) -> Iterator[tuple[Any, Any]]:
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError(f"{path}: has no video stream")
        stream = container.streams.video[0]
        # Threads of the decoder's own starve the loader's workers, and can deadlock with them.
        stream.thread_type, stream.thread_count = "NONE", 1
        yield container, stream
