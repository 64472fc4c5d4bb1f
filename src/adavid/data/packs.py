"""The frames of many short clips, decoded once and kept.

T frames, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from adavid.data.sources import Clip, open_source
from adavid.files import write_atomically


class PackedCache:
    """The frames of many short clips, decoded once and kept uncompressed in one memory-mapped file.

    A pack is named by the hash of its clips' paths, times of change and sizes, so a changed file makes a new
    pack. Processes that want the same pack at the same time build it once; the index is written last, so what
    has an index is complete.

    Args:
        folder: where packs are kept; made if need be. What lies in it may be deleted at any time between
            runs.
        clips: what to pack.
        name: what the progress bar says.

    Attributes:
        errors: the message for each clip that could not be decoded.
    """

    def __init__(self, folder: Path, clips: Iterable[Clip], name: str = ""):
        clips = list(dict.fromkeys(clips))
        key = hashlib.sha256(repr([_fingerprint(clip) for clip in clips]).encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        self._pack = folder / f"{key}.bin"
        index = folder / f"{key}.json"
        with FileLock(folder / f"{key}.lock"):
            if not index.exists():
                write_atomically(index, json.dumps(self._build(clips, name)))
        entries = dict(zip(clips, json.loads(index.read_text()), strict=True))
        self.errors: dict[Clip, str] = {clip: e for clip, e in entries.items() if isinstance(e, str)}
        self._entries: dict[Clip, list[int]] = {c: e for c, e in entries.items() if not isinstance(e, str)}

    def open(self, clip: Clip) -> PackedClip:
        """Returns the source of one packed clip."""
        offset, *shape = self._entries[clip]
        return PackedClip(self._pack, offset, tuple(shape))

    def _build(self, clips: list[Clip], name: str) -> list[list[int] | str]:
        """Writes the pack; returns each clip's offset and shape (T, C, H, W), or why it cannot be decoded."""
        entries: list[list[int] | str] = []
        partial = self._pack.with_suffix(".partial")
        with open(partial, "wb") as file:
            for clip in tqdm(clips, desc=f"packing {name}".strip(), unit="video"):
                try:
                    source = open_source(*clip)
                    frames_TCHW = source.read(range(source.num_frames))
                except ValueError as error:
                    entries.append(str(error))
                    continue
                entries.append([file.tell(), *frames_TCHW.shape])
                # Channels last is what decoding gives and resizing is quickest on.
                file.write(frames_TCHW.permute(0, 2, 3, 1).contiguous().numpy().data)
        os.replace(partial, self._pack)
        return entries


class PackedClip:
    """One clip of a `PackedCache`; a read decodes nothing."""

    num_decoded = 0

    def __init__(self, pack: Path, offset: int, shape: tuple[int, ...]):
        self._pack, self._offset, self._shape = pack, offset, shape
        self.num_frames = shape[0]

    def read(self, indices: Sequence[int]) -> Tensor:
        """Returns the frames, uint8 (T, C, H, W); indices may repeat and be in any order."""
        num_frames, channels, height, width = self._shape
        shape_THWC = (num_frames, height, width, channels)
        frames_THWC = np.memmap(self._pack, mode="r", offset=self._offset, shape=shape_THWC)
        return torch.from_numpy(frames_THWC[list(indices)]).permute(0, 3, 1, 2)


def _fingerprint(clip: Clip) -> tuple[str, float | None, float | None, int, int]:
    path = clip.path.resolve()
    stat = path.stat() if path.exists() else None
    return (
        str(path),
        clip.start,
        clip.end,
        stat.st_mtime_ns if stat else 0,
        stat.st_size if stat else 0,
    )
