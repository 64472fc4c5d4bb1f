"""What frozen networks say of pictures, kept while a stage trains: a picture that comes back is not looked at again.

It is kept in files, an SQLite one for each network, for the stages and the runs that come after: those of all methods
start from the same pretrained networks, and draw the same crops.

N rows, CHW: channels, height, width.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import safetensors.torch
import torch
import xxhash
from torch import Tensor, nn

from adavid.database import remove_database, with_database

ROWS = 16  # that a network is run on at once, always: what it says of one does not depend, in any bit, on its company
MAX_BYTES = 2 << 30  # of a network's file; once it is full, outputs are computed whenever they are asked for
MAX_BYTES_OF_ALL = 10 << 30  # of the files when a stage starts: networks that a run has trained do not come back
SET_UP = """
    PRAGMA page_size = 16384; -- bytes: some outputs fit in
    PRAGMA synchronous = OFF; -- a file that a power cut breaks is made anew
    CREATE TABLE IF NOT EXISTS outputs (picture BLOB PRIMARY KEY, output BLOB);
"""
Key = bytes  # of a picture


class KeptFeatures:
    """The outputs of networks that do not learn, by network and by the bytes of the picture.

    A frozen network in evaluation mode is a function of each picture by itself, so that what it once said stands for
    good. Pictures come back where training draws crops from a fixed number (`recipe.draws`).

    Args:
        folder: for the files, of one version of the networks' code; made if need be. Several processes may share it.
        max_bytes: that a network's file may take.
        max_bytes_of_all: that all files may; those that were used last stay.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES, max_bytes_of_all: int = MAX_BYTES_OF_ALL) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        _make_room(folder, max_bytes_of_all)
        self._files: WeakKeyDictionary[nn.Module, Path] = WeakKeyDictionary()
        self._seen: WeakKeyDictionary[nn.Module, set[Key]] = WeakKeyDictionary()

    def takes(self, module: nn.Module, inputs: tuple[Any, ...]) -> bool:
        """Whether the module is frozen and is given pictures (N, 3, H, W), no gradient asked for."""
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            return False
        x = inputs[0]
        is_frozen = not any(parameter.requires_grad for parameter in module.parameters())
        is_fixed = not any(part.training for part in module.modules())
        return x.ndim == 4 and x.shape[1] == 3 and not x.requires_grad and is_frozen and is_fixed

    def run(self, module: nn.Module, x_NCHW: Tensor) -> tuple[Tensor, int]:
        """The module's outputs, one tensor with N rows, and how many of the pictures it had not been given before.

        The number is of this object: it is the same whatever the files hold.

        Raises:
            ValueError: a file cannot be used.
        """
        if not len(x_NCHW):
            return module(x_NCHW), 0
        if module not in self._files:
            self._files[module] = file = self._folder / f"{_identity(module)}.sqlite"
            if file.exists():
                file.touch()
        file, keys = self._files[module], list(_keys(x_NCHW))
        known = _recall(file, set(keys))
        left = {key: n for n, key in enumerate(keys) if key not in known}  # the same picture twice runs once
        fresh: dict[Key, Tensor] = {}
        rows = list(left.values())
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            filled = some + some[-1:] * (ROWS - len(some))
            with torch.no_grad():
                out_N = module(x_NCHW[filled])
            fresh |= {keys[n]: out.cpu() for n, out in zip(some, out_N, strict=False)}
        if fresh:
            _save(file, fresh, self._max_bytes)
        seen = self._seen.setdefault(module, set())
        num_new = len(set(keys) - seen)
        seen.update(keys)
        outputs = known | fresh
        return torch.stack([outputs[key] for key in keys]).to(x_NCHW.device), num_new


def _identity(module: nn.Module) -> str:
    """Of a network by its parts, their settings and its weights."""
    digest = hashlib.blake2b(repr(module).encode(), digest_size=16)
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _keys(x_NCHW: Tensor) -> Iterator[Key]:
    """Of each picture, of its shape and of how a network computes on it."""
    device = x_NCHW.device.type
    precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_NCHW.dtype
    lies_NHWC = x_NCHW.permute(0, 2, 3, 1)  # as the networks want it, read where it lies
    lying = lies_NHWC if lies_NHWC.is_contiguous() else x_NCHW.contiguous()
    context = f"{device} {precision} {tuple(lying.shape[1:])}\n".encode()
    for picture in lying.cpu():
        digest = xxhash.xxh3_128(context)  # as fast as memory is read, where hashlib's would take most of an epoch
        digest.update(picture.view(-1).view(torch.uint8).numpy())
        yield digest.digest()


# The files


def _make_room(folder: Path, max_bytes: int) -> None:
    """Removes the files that were not used for the longest time until the others take no more than they may."""
    status = {file: file.stat() for file in folder.glob("*.sqlite")}
    num_bytes = 0
    for file in sorted(status, key=lambda file: status[file].st_mtime_ns, reverse=True):
        num_bytes += status[file].st_size
        if num_bytes > max_bytes:
            remove_database(file)


def _recall(file: Path, keys: Iterable[Key]) -> dict[Key, Tensor]:
    """The outputs that a file holds."""

    def read(database: sqlite3.Connection) -> dict[Key, bytes]:
        query = "SELECT output FROM outputs WHERE picture = ?"
        rows = {key: database.execute(query, (key,)).fetchone() for key in keys}
        return {key: row[0] for key, row in rows.items() if row is not None}

    return {key: safetensors.torch.load(output)[""] for key, output in with_database(file, SET_UP, read).items()}


def _save(file: Path, outputs: dict[Key, Tensor], max_bytes: int) -> None:
    """Adds outputs to a file, those of one call all or none: once it is full, none."""
    rows = [(key, safetensors.torch.save({"": output})) for key, output in outputs.items()]

    def write(database: sqlite3.Connection) -> None:
        query = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        (num_bytes,) = database.execute(query).fetchone()
        if num_bytes + sum(len(output) for _, output in rows) <= max_bytes:
            database.executemany("INSERT OR IGNORE INTO outputs VALUES (?, ?)", rows)

    with_database(file, SET_UP, write)
