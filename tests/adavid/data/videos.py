"""Tiny videos for the tests of the data path."""

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torchvision.io import write_jpeg

from adavid.data.catalogue import SPLITS, VideoCatalogue, VideoRecord

NUM_VIDEOS = {"train": 7, "val": 5, "test": 3}


class Videos(VideoCatalogue):
    """The videos at some paths, the classes of a split's in turn; counts how often it is asked for its records."""

    class_names = ["odd", "even", "other"]

    def __init__(self, videos: Mapping[str, Sequence[Path]], num_workers: int = 0, **options: Any) -> None:
        super().__init__(num_workers=num_workers, **options)
        self.videos = videos
        self.asked: Counter[str] = Counter()

    def records(self, split: str) -> list[VideoRecord]:
        self.asked[split] += 1
        return [VideoRecord(p.stem, p, (i % 2,), split) for i, p in enumerate(self.videos.get(split, []))]


def videos_in(root: Path, splits: Sequence[str] = SPLITS) -> dict[str, list[Path]]:
    """The paths that `write_folders` made, by split."""
    return {split: sorted(root.glob(f"{split}?")) for split in splits}


def write_folders(root: Path) -> Path:
    """Writes NUM_VIDEOS folders of 10 frames of random blocks, 40 x 36 pixels: train0, train1, ..."""
    generator = torch.Generator().manual_seed(0)
    for split, num_videos in NUM_VIDEOS.items():
        for video in range(num_videos):
            folder = root / f"{split}{video}"
            folder.mkdir()
            for index in range(10):
                blocks = torch.randint(0, 256, (3, 9, 10), dtype=torch.uint8, generator=generator)
                frame_CHW = blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)
                write_jpeg(frame_CHW, str(folder / f"image_{index + 1:05d}.jpg"))
    return root


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


def decode_all(path: Path, is_strict: bool = True) -> np.ndarray:
    """Every frame in the order of decoding, uint8 (T, H, W, C): the truth that sources are compared with.

    Args:
        path: of the video.
        is_strict: a packet that cannot be decoded is an error; else it is passed over.
    """
    images = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = "NONE", 1
        for packet in container.demux(stream):
            try:
                images += [frame.to_ndarray(format="rgb24") for frame in packet.decode()]
            except av.error.InvalidDataError:
                if is_strict:
                    raise
    return np.stack(images)


def packets_of(path: Path) -> list[tuple[int, int, bool]]:
    """Place and size in the file of each packet, and whether it is said to be a key frame."""
    with av.open(str(path)) as container:
        packets: Any = container.demux(video=0)
        return [(packet.pos, packet.size, packet.is_keyframe) for packet in packets if packet.size]


def damaged(path: Path, *numbers: int) -> Path:
    """The file with these packets, in order of decoding, overwritten."""
    content = bytearray(path.read_bytes())
    packets = packets_of(path)
    for number in numbers:
        position, size, _ = packets[number]
        content[position : position + size] = bytes(size)
    path.write_bytes(content)
    return path
