"""A fixed number of training's draws of each video, in files: decoded once, for all stages and runs."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from adavid.files import reason, write_atomically

MAX_BYTES = 4 << 30  # of what is kept of one data set under one seed, and of what others left when it is wanted
NUM_DECODED = ""  # no view is called so

Read = tuple[dict[str, Tensor], int]  # the frames by view, and how many were decoded for them


class Draws:
    """A fixed number of draws of each video, each kept in a file once it is read.

    Args:
        num: of each video.
        folder: for the files, of one version of the code that reads; made if need be. Several processes may share it.
        max_bytes: that is kept of `what` (see `of`); further draws are read whenever it is their turn.
    """

    def __init__(self, num: int, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        assert num > 0
        self.num = num
        self._folder, self._max_bytes = folder, max_bytes

    def of(self, what: str) -> KeptDraws:
        """The draws of some videos: `what` says all that their frames follow from."""
        folder = self._folder / hashlib.blake2b(what.encode(), digest_size=16).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        _make_room(self._folder, folder, self._max_bytes)
        return KeptDraws(folder, self._max_bytes)


class KeptDraws:
    """Draws in a folder, by name; see `Draws`."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._bytes_left = max_bytes - _num_bytes(folder)

    def get(self, name: str, read: Callable[[], Read]) -> Read:
        """A draw as it was kept, or as it is read now.

        Raises:
            ValueError: it cannot be kept; or as `read` does.
        """
        file = self._folder / f"{name}.safetensors"
        try:
            frames = safetensors.torch.load_file(file)
            return frames, int(frames.pop(NUM_DECODED))
        except (OSError, KeyError, safetensors.SafetensorError):  # not there, or damaged
            frames, num_decoded = read()
        frames = {view: clip.contiguous() for view, clip in frames.items()}
        content = safetensors.torch.save({**frames, NUM_DECODED: torch.tensor(num_decoded)})
        if len(content) <= self._bytes_left:
            try:
                write_atomically(file, content)
            except OSError as error:
                raise ValueError(f"{file}: cannot be written ({reason(error)})") from error
            self._bytes_left -= len(content)
        return frames, num_decoded


def _make_room(root: Path, but: Path, max_bytes: int) -> None:
    """Removes the other folders that were not wanted for the longest time until they take no more than they may."""
    others = {folder: folder.stat().st_mtime_ns for folder in root.iterdir() if folder.is_dir() and folder != but}
    num_bytes = 0
    for folder in sorted(others, key=lambda folder: others[folder], reverse=True):
        num_bytes += _num_bytes(folder)
        if num_bytes > max_bytes:
            shutil.rmtree(folder, ignore_errors=True)


def _num_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
