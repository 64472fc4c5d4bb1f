"""Video files: every frame that decodes, and no other one than was asked for.

What a container says of its frames is often not so: key frames that are none, packets without a frame, times that are
missing, equal or out of order. It is believed as long as what is decoded agrees with it; else the frames are counted by
decoding them in sequence.

T frames, C channels, H height, W width.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from adavid.data.source import FrameSource, Recounted, part_between
from adavid.files import reason

# Containers whose packets do not say when a frame is shown, or not truly, and in which seeking is a guess.
UNTIMED_FORMATS = frozenset(("avi", "mpeg", "mpegts"))
KEPT_BYTES = 1 << 28  # of decoded frames, from the counting of a file's frames to its first read
DEFAULT_RATE = Fraction(25)  # FFmpeg's, of a stream that says none


@dataclass(frozen=True)
class Timeline:
    """When the frames of a file are shown, in order.

    Attributes:
        pts: int64 (T,), presentation times in ticks, ascending.
        tick: seconds.
        keyframes: positions in `pts` that can be sought, ascending, the first 0.
        is_timed: the times identify decoded frames, which are counted else, from the first one on.
        is_counted: it is of the frames that decode; else of those that the container speaks of.
        num_lost: packets that could not be decoded, where it is counted.
    """

    pts: np.ndarray
    tick: Fraction
    keyframes: np.ndarray
    is_timed: bool
    is_counted: bool
    num_lost: int = 0

    @property
    def seconds(self) -> np.ndarray:
        """Float64 (T,), after the first frame."""
        # One division of integers, so that a frame at 0.3 s is found by start=0.3.
        return (self.pts - self.pts[0]) * self.tick.numerator / self.tick.denominator

    def position(self, frame: av.VideoFrame) -> float:
        """The position of a decoded frame; between two where its time is not in the list, -1 where it has none."""
        if frame.pts is None:
            return -1
        position = int(np.searchsorted(self.pts, frame.pts))
        return position if self.pts[min(position, len(self.pts) - 1)] == frame.pts else position - 0.5

    def to_bytes(self) -> bytes:
        """As `from_bytes` reads it: some hundred bytes where the rate is constant."""
        numbers = [self.tick.numerator, self.tick.denominator, self.is_timed, self.is_counted, self.num_lost]
        packed = BytesIO()
        for array in (np.diff(self.pts, prepend=0), self.keyframes, np.array(numbers)):
            np.save(packed, array.astype(np.int64))
        return zlib.compress(packed.getvalue())

    @classmethod
    def from_bytes(cls, content: bytes) -> Timeline:
        """What `to_bytes` gave."""
        packed = BytesIO(zlib.decompress(content))
        steps, keyframes, numbers = (np.load(packed) for _ in range(3))
        tick_numerator, tick_denominator, is_timed, is_counted, num_lost = numbers.tolist()
        tick = Fraction(tick_numerator, tick_denominator)
        return cls(np.cumsum(steps), tick, keyframes, bool(is_timed), bool(is_counted), num_lost)


class VideoFile(FrameSource):
    """A video file, decoded with PyAV on one thread.

    Frame i is the i-th in order of presentation. Unless they are given, the times come from demuxing without decoding,
    because edit lists, variable frame rates and containers that count no frames make every shortcut wrong; where the
    packets do not tell, from decoding, whose frames are kept for the first read, where they fit into `KEPT_BYTES`. A
    read decodes forward, and seeks only where the target's key frame lies ahead: never worse than decoding in sequence,
    nor than seeking to each frame. What comes is checked against what was asked for, and where seeking has misled,
    decoded in sequence.

    Args:
        path: the file.
        start: only frames shown at this time or later, in seconds after the first frame.
        end: only frames shown before this time, in seconds after the first frame.
        timeline: of the file, where it is known.

    Raises:
        ValueError: not a video, or no frame in [start, end); the message names the file.
    """

    def __init__(
        self, path: Path, start: float | None = None, end: float | None = None, timeline: Timeline | None = None
    ):
        self.path, self._cut = path, (start, end)
        self._kept: list[av.VideoFrame] = []
        self._num_bytes = 0
        self._set(timeline or _told(path) or counted_timeline(path, self._keep))

    @property
    def name(self) -> str:
        return str(self.path)

    def places(self, indices: Sequence[int]) -> np.ndarray:
        frame_T = self._first + np.asarray(indices, dtype=np.int64)
        return np.stack([frame_T, self._key_frame(frame_T)], 1)

    def _keep(self, frame: av.VideoFrame, seconds: float) -> None:
        """Keeps a frame that was decoded to be counted, as long as all of them fit."""
        self._num_bytes += sum(plane.buffer_size for plane in frame.planes)
        if self._num_bytes <= KEPT_BYTES:
            self._kept.append(frame)
        else:
            self._kept.clear()

    def _set(self, timeline: Timeline) -> None:
        seconds = timeline.seconds
        part = part_between(self.name, seconds, *self._cut)
        self._timeline, self._first = timeline, part.start or 0
        self.num_frames = len(seconds[part])
        self.seconds = seconds[part] - seconds[self._first]

    def _key_frame(self, frame_T: np.ndarray) -> np.ndarray:
        """The last one that can be sought at each position or before it."""
        keyframes = self._timeline.keyframes
        return keyframes[np.searchsorted(keyframes, frame_T, side="right") - 1]

    def _decode(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        positions, num_found = [self._first + index for index in wanted], 0
        self.num_decoded = 0
        to_rgb = UprightRGB()
        if self._kept:  # for the first read alone
            frames, self._kept = self._kept, []
            self.num_decoded = positions[-1] + 1  # as many as any later read decodes
            yield from (to_rgb(frames[position]) for position in positions)
            return
        try:
            for frame in self._found(positions):
                yield to_rgb(frame)
                num_found += 1
            if num_found < len(positions):
                self._count_anew()
                for frame in self._in_sequence(positions[num_found:]):
                    yield to_rgb(frame)
                    num_found += 1
        except (av.FFmpegError, OSError) as error:
            raise ValueError(f"{self.path}: cannot be decoded ({reason(error)})") from error
        if num_found < len(positions):
            at = f"frame {positions[num_found]} of {len(self._timeline.pts)}"
            raise ValueError(f"{self.path}: {at} cannot be decoded")

    def _found(self, positions: Sequence[int]) -> Iterator[av.VideoFrame]:
        """Those frames, as long as what comes is what the timeline says."""
        timeline, at = self._timeline, -1.0
        if not timeline.is_timed:
            yield from self._in_sequence(positions)
            return
        with opened(self.path) as decoder:
            frames, is_fresh = self._counted(decoder), True
            for position, keyframe in zip(positions, self._key_frame(np.array(positions)).tolist(), strict=True):
                is_sought = keyframe > max(at, 0)
                if is_sought:
                    if is_fresh:
                        decoder.begin()
                    if not decoder.seek(int(timeline.pts[keyframe])):
                        return
                    frames, at = self._counted(decoder), -1.0
                is_fresh = False
                for frame in frames:
                    before, at = at, timeline.position(frame)
                    if is_sought and at >= keyframe:  # not one before it, which shows what is not yet there
                        if at != keyframe or not frame.key_frame:
                            return
                        is_sought = False
                    if at < before or (frame.is_corrupt and at > keyframe > 0):
                        return
                    if at >= position:
                        break
                if at != position:
                    return
                yield frame

    def _in_sequence(self, positions: Sequence[int]) -> Iterator[av.VideoFrame]:
        wanted = set(positions)
        with opened(self.path) as decoder:
            for position, frame in enumerate(self._counted(decoder)):
                if position in wanted:
                    yield frame
                if position >= positions[-1]:
                    return

    def _counted(self, decoder: Decoder) -> Iterator[av.VideoFrame]:
        for frame in decoder.frames():
            self.num_decoded += 1
            yield frame

    def _count_anew(self) -> None:
        """From now on the frames are those that decode, in sequence."""
        told = self._timeline
        timeline = told if told.is_counted else counted_timeline(self.path)
        self._set(replace(timeline, keyframes=np.zeros(1, np.int64), is_timed=False))
        if len(timeline.pts) != len(told.pts):
            raise Recounted(
                f"{self.path}: the container counts {len(told.pts)} frames, of which {len(timeline.pts)} decode"
            )


class UprightRGB:
    """Makes RGB (H, W, C) of the decoded frames of one video: phones store a sideways picture and how to turn it.

    What it sets up is kept from frame to frame, on one thread: a set-up, and threads, for every frame of a small video
    would take longer than decoding it. So is how the first frame is to be turned: asking each would keep its memory.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._turn: Callable[[np.ndarray], np.ndarray] | None = None

    def __call__(self, frame: av.VideoFrame, width: int | None = None, height: int | None = None) -> np.ndarray:
        """The picture.

        Args:
            frame: as it was decoded.
            width: in pixels, of the picture as it is stored; None leaves it as it is.
            height: likewise.
        """
        if self._turn is None:
            self._turn = partial(_upright, matrix=_display_matrix(frame))
        return self._turn(self._reformatter.reformat(frame, width, height, format="rgb24", threads=1).to_ndarray())


def _display_matrix(frame: av.VideoFrame) -> list[int] | None:
    side_data: Any = frame.side_data.get("DISPLAYMATRIX")
    return None if side_data is None else np.frombuffer(bytes(side_data), np.int32).tolist()


def _upright(image: np.ndarray, matrix: list[int] | None) -> np.ndarray:
    """A picture as its display matrix says: a point (x, y) is shown at (a x + c y, b x + d y), y downwards.

    Of the matrix the signs count, and which pair is the larger: pictures are turned by quarters, and mirrored.
    """
    if matrix is None:
        return image
    a, b, _, c, d, *_ = matrix
    if abs(b * c) > abs(a * d):
        image = image.swapaxes(0, 1)
        right, down = c, b
    else:
        right, down = a, d
    image = image[:, ::-1] if right < 0 else image
    return image[::-1] if down < 0 else image


class Decoder:
    """The frames of an open video, as FFmpeg shows them: a packet that cannot be decoded loses its own frame alone.

    Attributes:
        stream: of the video.
        said_key: presentation times in ticks of packets that are said to be key frames, of those that it has read.
        num_lost: packets that could not be decoded so far.
        error: of the latest of these.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self.container, self.stream = container, stream
        self.said_key: set[int] = set()
        self.num_lost = 0
        self.error: Exception | None = None

    def frames(self) -> Iterator[av.VideoFrame]:
        """Those that come from here on, to the end, or to where the file is cut off."""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self._lose(error)
                with suppress(av.FFmpegError):
                    yield from self.stream.codec_context.decode(None)  # those under way
                return
            if packet.is_keyframe and packet.pts is not None:
                self.said_key.add(packet.pts)
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                self._lose(error)
            else:
                yield from frames

    def begin(self) -> None:
        """Decodes the first packet, before it seeks: what that alone says, such as who encoded it, others need."""
        with suppress(av.FFmpegError, StopIteration):
            next(self.container.demux(self.stream)).decode()

    def seek(self, pts: int) -> bool:
        """Goes to a key frame; False where the file cannot be sought."""
        try:
            self.container.seek(pts, stream=self.stream)
        except av.FFmpegError:
            return False
        return True

    def _lose(self, error: av.FFmpegError) -> None:
        self.num_lost += 1
        self.error = error


@contextmanager
def opened(path: Path) -> Iterator[Decoder]:
    """A video file's decoder, of its best stream of video: not of a cover, nor of a still.

    Raises:
        ValueError: it is none, or no video is in it, or no decoder is here for that; the message names the file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{path}: expected a file")  # a pipe may never end
        # Absolute, or what stands before a colon would be a protocol. Tags, which nobody reads, may be in any encoding.
        container = av.open(os.path.abspath(path), metadata_errors="ignore")
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as a video ({reason(error)})") from error
    with container:
        yield decoder_of(container, str(path))


def decoder_of(container: Any, name: str) -> Decoder:
    """The decoder of an open container's best stream of video.

    Args:
        container: PyAV's.
        name: what messages call it.

    Raises:
        ValueError: it has no video, or no decoder is here for it.
    """
    stream = container.streams.best("video")
    if stream is None:
        raise ValueError(f"{name}: has no video stream")
    if stream.codec_context is None:
        raise ValueError(f"{name}: there is no decoder for its video")
    # Threads of the decoder's own starve the loader's workers, and can deadlock with them.
    stream.thread_type, stream.thread_count = "NONE", 1
    return Decoder(container, stream)


def rate_of(stream: Any) -> Fraction:
    """Frames a second."""
    rate: Fraction = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
    return rate


def _told(path: Path) -> Timeline | None:
    """The frames that a file's packets tell of; None where they do not, or where the file is cut off."""
    with opened(path) as decoder:
        container, stream = decoder.container, decoder.stream
        if container.format.name in UNTIMED_FORMATS:
            return None
        try:
            packets = [(p.pts, p.is_keyframe, p.is_discard) for p in container.demux(stream) if p.size]
        except av.FFmpegError:
            return None
        num_bytes = path.stat().st_size
        if any(entry.pos + entry.size > num_bytes for entry in stream.index_entries):
            return None
        start, tick, is_reordered = stream.start_time, stream.time_base, stream.codec_context.has_b_frames
    shown = [(pts, is_keyframe) for pts, is_keyframe, is_discard in packets if not is_discard]
    if any(pts is None for pts, _ in shown) or len(dict(shown)) < len(shown):
        return None
    if is_reordered and shown == sorted(shown):  # the times are those of decoding
        return None
    shown = sorted(of for of in shown if start is None or of[0] >= start)
    if not shown:
        return None
    pts = np.array([time for time, _ in shown], dtype=np.int64)
    keyframes = np.flatnonzero([is_keyframe for _, is_keyframe in shown])
    return Timeline(pts, tick, np.union1d([0], keyframes).astype(np.int64), is_timed=True, is_counted=False)


def counted_timeline(path: Path, each: Callable[[av.VideoFrame, float], object] | None = None) -> Timeline:
    """The frames of a file that decode, every one of them decoded, in sequence.

    Args:
        path: the file.
        each: gets every frame, and when it is shown, in seconds after the first, as its `Clock` has it.

    Raises:
        ValueError: not a video, or no frame decodes; the message names the file.
    """
    times: list[int | None] = []
    is_key: list[bool] = []
    is_whole = True
    with opened(path) as decoder:
        rate, tick, container = rate_of(decoder.stream), decoder.stream.time_base, decoder.container.format.name
        clock = Clock(rate)
        for frame in decoder.frames():
            times.append(frame.pts)
            is_key.append(bool(frame.key_frame))
            is_whole &= not frame.is_corrupt
            if each is not None:
                each(frame, clock(frame.time))
    if not times:
        why = f" ({reason(decoder.error)})" if decoder.error else ""
        raise ValueError(f"{path}: no frame can be decoded{why}")
    told = [time for time in times if time is not None]
    is_rising = len(told) == len(times) and all(a < b for a, b in pairwise(told))
    # Where times are of no use, frames are shown in the order in which they come, by the stream's rate.
    pts, tick = (np.array(told, dtype=np.int64), tick) if is_rising else (np.arange(len(times)), 1 / rate)
    # What stands in for a part that is lost depends on what was decoded before.
    is_timed = is_rising and is_whole and decoder.num_lost == 0 and container not in UNTIMED_FORMATS
    can_be_sought = is_key & np.isin(pts, list(decoder.said_key)) & is_timed
    keyframes = np.union1d([0], np.flatnonzero(can_be_sought)).astype(np.int64)
    return Timeline(pts, tick, keyframes, is_timed, True, decoder.num_lost)


class Clock:
    """Seconds since a stream's first frame, never standing still: where times are missing, or begin anew, by its rate.

    Args:
        rate: frames a second.
    """

    def __init__(self, rate: Fraction) -> None:
        self._step = float(1 / rate)
        self._latest = -self._step
        self._zero: float | None = None  # of the times that frames say

    def __call__(self, time: float | None) -> float:
        """The next frame's, from the time that it says of itself."""
        seconds = self._latest + self._step
        if time is not None and self._zero is not None and time - self._zero > self._latest:
            seconds = time - self._zero
        elif time is not None:
            self._zero = time - seconds
        self._latest = seconds
        return seconds
