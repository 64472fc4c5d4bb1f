"""What media files hold, by hash: the same pictures are the same wherever they lie, and changed ones are others.

Hashing reads every byte, so hashes are kept, in an SQLite file, beside the path, the size and the time of change that
they were computed at.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from pathlib import Path

from tqdm import tqdm

from adavid.data.folder import frame_names
from adavid.database import with_database

Row = tuple[bytes, str, str]  # the absolute path, as the file system spells it; stamp; hash

SAVE_EVERY_S = 5.0  # what a killed process has not saved is hashed again
TABLES = "CREATE TABLE IF NOT EXISTS contents (path BLOB PRIMARY KEY, stamp TEXT, hash TEXT);"


def content_hashes(paths: Iterable[Path], memory: Path | None = None) -> dict[Path, str | None]:
    """Returns for each path the hash, 32 hexadecimal digits, of what lies there; None where it cannot be read.

    A file's is of its bytes, a folder's of the names and bytes of its frames.

    Args:
        paths: media files and folders of frames.
        memory: SQLite file that keeps hashes, made if need be; several processes may share it. None keeps none.

    Raises:
        ValueError: the memory cannot be read or written; the message names it.
    """
    absolute = {path: os.fsencode(os.path.abspath(path)) for path in paths}
    known = _recall(memory, absolute.values()) if memory is not None else {}
    hashes: dict[Path, str | None] = {}
    fresh: list[Row] = []
    saved = time.monotonic()
    try:
        for path, key in tqdm(absolute.items(), desc="hashing contents", unit="video", delay=1):
            try:
                stamp = _stamp(path)  # before reading: a file that changes meanwhile is read again next time
                if known.get(key, ("", ""))[0] != stamp:
                    known[key] = (stamp, _hash(path))
                    fresh.append((key, *known[key]))
                hashes[path] = known[key][1]
            except (OSError, ValueError):
                hashes[path] = None
            if memory is not None and fresh and time.monotonic() - saved > SAVE_EVERY_S:
                _save(memory, fresh)
                saved, fresh = time.monotonic(), []
    finally:
        if memory is not None and fresh:
            _save(memory, fresh)
    return hashes


def _stamp(path: Path) -> str:
    """Changes with the sizes and times of change of what `_hash` would read."""
    status = os.stat(path)
    if stat.S_ISREG(status.st_mode):
        return f"{status.st_size} {status.st_mtime_ns}"
    digest = hashlib.blake2b(digest_size=16)
    for name, file in _files(path):
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{file}: expected a file")  # a pipe or a device may never end
        digest.update(b"%s\0%d %d\n" % (name, status.st_size, status.st_mtime_ns))
    return digest.hexdigest()


def _hash(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, file in _files(path):
        with open(file, "rb") as opened:
            content = hashlib.file_digest(opened, partial(hashlib.blake2b, digest_size=16))
        digest.update(b"%s\0%s\n" % (name, content.digest()))
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[bytes, Path]]:
    """A folder's frames by name, or a file under no name, so that it may be renamed."""
    if os.path.isdir(path):
        for name in frame_names(path):
            yield os.fsencode(name), path / name
    else:
        yield b"", path


# The memory


def _recall(memory: Path, keys: Collection[bytes]) -> dict[bytes, tuple[str, str]]:
    """Returns stamp and hash of those paths that are known."""

    def read(database: sqlite3.Connection) -> dict[bytes, tuple[str, str]]:
        rows = database.execute("SELECT path, stamp, hash FROM contents")
        return {key: (stamp, content) for key, stamp, content in rows if key in wanted}

    wanted = frozenset(keys)
    return with_database(memory, TABLES, read)


def _save(memory: Path, rows: list[Row]) -> None:
    def write(database: sqlite3.Connection) -> None:
        database.executemany("INSERT OR REPLACE INTO contents VALUES (?, ?, ?)", rows)

    with_database(memory, TABLES, write)
