"""The frames of many short clips, decoded once and kept.

T frames, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from adavid.data.decoding import decoded
from adavid.data.processes import answers
from adavid.data.source import FrameSource
from adavid.data.sources import Clip
from adavid.files import locked, read_text, reason, set_aside, write_atomically

Entry = list[int] | None  # offset in bytes and shape (T, C, H, W); None of a clip that cannot be decoded


class PackedCache:
    """The frames of many short clips, decoded once and kept uncompressed in one memory-mapped file.

    A pack is named by the hash of what its clips' files hold and of their cuts, so a changed file makes a new pack and
    a moved one does not. Processes that want the same pack at the same time build it once; the index is written last,
    so what has an index was complete. A pack that no longer is, is made anew.

    Args:
        folder: where packs are kept; made if need be. What lies in it may be deleted at any time between
            runs.
        clips: what to pack, each with the content hash of its file (see `content_hashes`).
        name: what the progress bar says.

    Attributes:
        clips: the packed clips.
        errors: the message for each clip that could not be decoded.

    Raises:
        ValueError: the folder cannot be written, or is full, or decoding was ended from outside; the message names it,
            or the clip.
    """

    def __init__(self, folder: Path, clips: Mapping[Clip, str | None], name: str = ""):
        contents = [(content, clip.start, clip.end) for clip, content in clips.items()]
        key = hashlib.sha256(repr(contents).encode()).hexdigest()[:16]
        self._pack, self._index = folder / f"{key}.bin", folder / f"{key}.json"
        with locked(folder / f"{key}.lock"):
            entries, self.errors = self._kept(clips) or self._build(clips, name)
        self.clips = {
            clip: PackedClip(self._pack, entry[0], tuple(entry[1:]))
            for clip, entry in zip(clips, entries, strict=True)
            if entry is not None
        }

    def _kept(self, clips: Mapping[Clip, str | None]) -> tuple[list[Entry], dict[Clip, str]] | None:
        """Returns what `_build` would, if a pack is there and still whole."""
        if not self._index.exists():
            return None
        try:
            entries = json.loads(read_text(self._index))
            if not (isinstance(entries, list) and len(entries) == len(clips) and all(map(_is_entry, entries))):
                raise ValueError(f"expected the places of {len(clips)} clips")
            size = max((entry[0] + math.prod(entry[1:]) for entry in entries if entry is not None), default=0)
            if not self._pack.exists() or self._pack.stat().st_size < size:
                raise ValueError(f"expected {self._pack.name} of {size} bytes beside it")
        except ValueError as error:
            set_aside(self._index, str(error))
            return None
        # Tried again, as messages name paths, which may be others now; one that can be decoded now makes a new pack.
        bad = [clip for clip, entry in zip(clips, entries, strict=True) if entry is None]
        errors = {clip: message for clip in bad if isinstance(message := decoded(clip), str)}
        return (entries, errors) if len(errors) == len(bad) else None

    def _build(self, clips: Mapping[Clip, str | None], name: str) -> tuple[list[Entry], dict[Clip, str]]:
        """Writes the pack and its index; returns the index, and why clips that are not in it cannot be decoded."""
        entries: list[Entry] = []
        errors: dict[Clip, str] = {}
        # Not a name of this process's own: a killed build of many gigabytes is overwritten by the next.
        partial = self._pack.with_suffix(".partial")
        try:
            with open(partial, "wb") as file:
                progress = tqdm(answers(decoded, list(clips)), f"packing {name}".strip(), len(clips), unit="video")
                for clip, frames_THWC in zip(clips, progress, strict=True):
                    if isinstance(frames_THWC, str):
                        errors[clip] = frames_THWC
                        entries.append(None)
                    else:
                        num_frames, height, width, channels = frames_THWC.shape
                        entries.append([file.tell(), num_frames, channels, height, width])
                        file.write(frames_THWC.data)
            self._index.unlink(missing_ok=True)  # it speaks of the pack that is replaced
            os.replace(partial, self._pack)
            write_atomically(self._index, json.dumps(entries))
        except OSError as error:
            raise ValueError(f"{self._pack}: cannot be written ({reason(error)})") from error
        finally:
            partial.unlink(missing_ok=True)
        return entries, errors


class PackedClip(FrameSource):
    """One clip of a `PackedCache`; a read decodes nothing."""

    def __init__(self, pack: Path, offset: int, shape: tuple[int, ...]):
        self._pack, self._offset, self._shape = pack, offset, shape
        self.num_frames = shape[0]

    @property
    def name(self) -> str:
        return str(self._pack)

    def groups(self, indices: Sequence[int]) -> Iterator[Tensor]:
        yield torch.from_numpy(self.read_THWC(indices)).permute(0, 3, 1, 2)

    def read_THWC(self, indices: Sequence[int]) -> np.ndarray:
        num_frames, channels, height, width = self._shape
        shape_THWC = (num_frames, height, width, channels)
        return np.memmap(self._pack, mode="r", offset=self._offset, shape=shape_THWC)[list(indices)]

    def _decode(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        yield from self.read_THWC(wanted)


def _is_entry(entry: object) -> bool:
    if entry is None:
        return True
    return isinstance(entry, list) and len(entry) == 5 and all(type(n) is int and n >= 0 for n in entry)
