"""Tiny videos for the tests of the data path."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(
    path: Path,
    num_frames: int = 40,
    width: int = 64,
    height: int = 48,
    codec: str = "libx264",
    pts: Sequence[int] | None = None,
    container_options: dict[str, str] | None = None,
    **options: str,
) -> Path:
    """Writes random blocks at 25 frames a second, or at presentation times in hundredths of a second."""
    rng = np.random.default_rng(num_frames)
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options={"sc_threshold": "0"} | options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 100)
        for index in range(num_frames):
            blocks = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(blocks.repeat(8, 0).repeat(8, 1), format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[index], Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def decode_all(path: Path) -> np.ndarray:
    """Every frame in the order of decoding, uint8 (T, H, W, C): the truth that sources are compared with."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = "NONE", 1
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
