"""Frames as they arrive: from a file, a device, a URL or a pipe, forward only.

S frames of a clip, C channels, H height, W width.
"""

import os
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import av
import numpy as np
import torch
from torch import Tensor

from adavid.data.sampling import clip_indices
from adavid.data.video import Clock, UprightRGB, decoder_of, rate_of
from adavid.files import reason


class Moment(NamedTuple):
    """A frame, or the clip around it, and when it is shown, in seconds after the stream's first frame."""

    seconds: float
    frames_SCHW: Tensor  # uint8 RGB


def stream_frames(source: str | BinaryIO, fps: float, clip: int = 1, stride: int = 1) -> Iterator[Moment]:
    """Yields a frame as soon as it is there, at most `fps` a second of the video's own time: no seeking, no look ahead.

    From each interval of 1 / fps seconds, counted from the first frame, it is the first one. A clip, which lies around
    that frame, is yielded as soon as its last frame is there; all its frames have that one's size. Packets that cannot
    be decoded are passed over.

    Args:
        source: a path, a URL or whatever else FFmpeg opens (tcp://..., rtsp://...), a video device (/dev/video0), or
            a file object, such as a pipe.
        fps: frames, or clips, a second to yield, positive.
        clip: frames S of a clip, placed as `View` has them.
        stride: how far apart they are.

    Raises:
        ValueError: the source cannot be opened, or has no video, or nothing in it can be decoded.
    """
    if not fps > 0:
        raise ValueError(f"fps must be positive, got {fps}")
    name = source if isinstance(source, str) else "the pipe"
    is_device = isinstance(source, str) and source.startswith("/dev/video")
    if isinstance(source, str) and os.path.exists(source):
        source = os.path.abspath(source)  # or what stands before a colon would be a protocol
    num_after = (clip - 1 - clip // 2) * stride
    recent: deque[av.VideoFrame] = deque(maxlen=(clip - 1) * stride + 1)
    waiting: deque[tuple[int, float]] = deque()  # moments whose clip is not yet whole
    num_decoded, due = 0, 0
    to_rgb = UprightRGB()

    def cut() -> Moment:
        moment, seconds = waiting.popleft()
        oldest = num_decoded - len(recent)
        size = recent[moment - oldest].width, recent[moment - oldest].height
        indices = clip_indices([moment], clip, stride, num_decoded)
        images_SHWC = np.stack([to_rgb(recent[index - oldest], *size) for index in indices])
        return Moment(seconds, torch.from_numpy(images_SHWC).permute(0, 3, 1, 2))

    try:
        with av.open(source, "r", format="v4l2" if is_device else None, metadata_errors="ignore") as container:
            decoder = decoder_of(container, name)
            clock = Clock(rate_of(decoder.stream))
            for frame in decoder.frames():
                seconds = clock(frame.time)
                interval = int(seconds * fps + 1e-6)
                if interval >= due:
                    due = interval + 1
                    waiting.append((num_decoded, seconds))
                recent.append(frame)
                num_decoded += 1
                if waiting and waiting[0][0] + num_after < num_decoded:
                    yield cut()
            while waiting:
                yield cut()
    except (av.FFmpegError, OSError) as error:
        hint = "" if isinstance(source, str) else "; a pipe needs a format without an index at its end, such as MPEG-TS"
        raise ValueError(f"{name}: cannot be read as a video ({reason(error)}){hint}") from error
    if num_decoded == 0:
        why = f" ({reason(decoder.error)})" if decoder.error else ""
        raise ValueError(f"{name}: no frame can be decoded{why}")
