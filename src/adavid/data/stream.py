"""Frames as they arrive: from a file, a device, a URL or a pipe, forward only.

C channels, H height, W width.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import av
import torch
from torch import Tensor


class TimedFrame(NamedTuple):
    """A frame and when it is shown, in seconds after the stream's first frame."""

    seconds: float
    frame_CHW: Tensor  # uint8 RGB


def stream_frames(source: str | BinaryIO, fps: float) -> Iterator[TimedFrame]:
    """Yields a frame as soon as it is there, at most `fps` a second of the video's own time: no seeking, no look ahead.

    From each interval of 1 / fps seconds, counted from the first frame, it is the first one.

    Args:
        source: a path, a URL or whatever else FFmpeg opens (tcp://..., rtsp://...), a video device (/dev/video0), or
            a file object, such as a pipe.
        fps: frames a second to yield, positive.

    Raises:
        ValueError: the source cannot be opened, or has no video, or nothing in it can be decoded.
    """
    if not fps > 0:
        raise ValueError(f"fps must be positive, got {fps}")
    name = source if isinstance(source, str) else "the pipe"
    is_device = isinstance(source, str) and source.startswith("/dev/video")
    num_decoded, first, due = 0, 0.0, 0
    try:
        with av.open(source, "r", format="v4l2" if is_device else None) as container:
            if not container.streams.video:
                raise ValueError(f"{name}: has no video stream")
            for frame in container.decode(video=0):
                # FFmpeg gives a stream without times those of its nominal rate; without that, every frame is taken.
                now = frame.time if frame.time is not None else num_decoded / fps
                first = now if num_decoded == 0 else first
                num_decoded += 1
                interval = int((now - first) * fps + 1e-6)
                if interval >= due:
                    due = interval + 1
                    rgb_HWC = torch.from_numpy(frame.to_ndarray(format="rgb24"))
                    yield TimedFrame(now - first, rgb_HWC.permute(2, 0, 1))
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"{name}: cannot be read as a video ({error})") from error
    if num_decoded == 0:
        raise ValueError(f"{name}: no frame can be decoded")
