"""Tensors kept in files of a bounded folder, to be made anew where they are missing."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import safetensors.torch
from torch import Tensor

from adavid.database import remove_database, with_database

MAX_BYTES = 4 << 30  # of a file: once it is full, nothing more is kept in it
MAX_BYTES_OF_ALL = 12 << 30  # of a folder's files, before another one is opened
SET_UP = """
    PRAGMA page_size = 16384; -- bytes: some rows of features fit in
    CREATE TABLE IF NOT EXISTS kept (key BLOB PRIMARY KEY, tensor BLOB);
"""


class Store:
    """Tensors by key in a file. Several processes may share it; another may remove it at any time, to make room.

    Args:
        file: of the tensors, made if need be. Of the others in its folder those that were used last stay.
        max_bytes: that the file may take, about.
        max_bytes_of_all: that all files of the folder may.
    """

    def __init__(self, file: Path, max_bytes: int = MAX_BYTES, max_bytes_of_all: int = MAX_BYTES_OF_ALL) -> None:
        self._file, self._max_bytes = file, max_bytes
        with_database(file, SET_UP, lambda database: file.touch())
        _make_room(file, max_bytes_of_all)

    def recall(self, keys: Collection[bytes]) -> dict[bytes, Tensor]:
        """Those that are kept.

        Raises:
            ValueError: the file cannot be used.
        """

        def read(database: sqlite3.Connection) -> dict[bytes, bytes]:
            query = "SELECT tensor FROM kept WHERE key = ?"
            rows = {key: database.execute(query, (key,)).fetchone() for key in keys}
            return {key: row[0] for key, row in rows.items() if row is not None}

        return {key: safetensors.torch.load(of)[""] for key, of in with_database(self._file, SET_UP, read).items()}

    def keep(self, tensors: Mapping[bytes, Tensor]) -> None:
        """Adds tensors, all or, where there is no room for all, none.

        Raises:
            ValueError: the file cannot be used.
        """
        rows = [(key, safetensors.torch.save({"": tensor.cpu().contiguous()})) for key, tensor in tensors.items()]

        def write(database: sqlite3.Connection) -> None:
            query = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
            (num_bytes,) = database.execute(query).fetchone()
            if num_bytes + sum(len(tensor) for _, tensor in rows) <= self._max_bytes:
                database.executemany("INSERT OR IGNORE INTO kept VALUES (?, ?)", rows)

        with_database(self._file, SET_UP, write)


def _make_room(own: Path, max_bytes: int) -> None:
    """Removes the files that were not used for the longest time until the others take no more than they may."""
    used: list[tuple[int, int, Path]] = []
    for file in own.parent.glob("*.sqlite"):
        with suppress(FileNotFoundError):  # another process makes room
            status = file.stat()
            used.append((status.st_mtime_ns, status.st_size, file))
    num_bytes = 0
    for _, size, file in sorted(used, reverse=True):
        num_bytes += size
        if num_bytes > max_bytes and file != own:
            remove_database(file)
