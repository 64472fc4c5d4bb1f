"""How many frames clips have, counted by several processes and remembered.

Torch is not loaded here, so that a process which only counts is there at once.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from adavid.cores import num_cores
from adavid.data.sources import Clip, open_source
from adavid.database import with_database

CLIPS_A_PROCESS = 100  # fewer are counted while a process starts
TABLE = "CREATE TABLE IF NOT EXISTS lengths (clip TEXT PRIMARY KEY, num_frames INTEGER);"


def clip_lengths(contents: Mapping[Clip, str], memory: Path | None = None) -> dict[Clip, int]:
    """How many frames clips have, of those that can be read.

    Args:
        contents: what each clip holds, in words that change with it (see `content_hashes`).
        memory: SQLite file that keeps the counts, made if need be. None keeps none.

    Raises:
        ValueError: the memory cannot be read or written; the message names it.
    """
    known = {} if memory is None else _recall(memory)
    lengths = {clip: known[content] for clip, content in contents.items() if content in known}
    left = [clip for clip in contents if clip not in lengths]
    with _mapped(len(left)) as mapped:
        counted = tqdm(mapped(clip_length, left), "counting frames", len(left), unit="video", disable=not left)
        fresh = {clip: length for clip, length in zip(left, counted, strict=True) if length is not None}
    if memory is not None and fresh:
        _keep(memory, [(contents[clip], length) for clip, length in fresh.items()])
    return lengths | fresh


def clip_length(clip: Clip) -> int | None:
    """How many frames a clip has; None where it cannot be read."""
    try:
        return open_source(*clip).num_frames
    except ValueError:
        return None


@contextmanager
def _mapped(num_clips: int) -> Iterator[Any]:
    """`map`, over as many processes as are worth starting."""
    num_processes = min(num_cores(), num_clips // CLIPS_A_PROCESS)
    if num_processes < 2:
        yield map
        return
    # Not forked: the parent may have threads.
    with ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn")) as pool:
        yield partial(pool.map, chunksize=16)


def _recall(memory: Path) -> dict[str, int]:
    def read(database: sqlite3.Connection) -> dict[str, int]:
        return dict(database.execute("SELECT clip, num_frames FROM lengths").fetchall())

    return with_database(memory, TABLE, read)


def _keep(memory: Path, rows: Sequence[tuple[str, int]]) -> None:
    def write(database: sqlite3.Connection) -> None:
        database.executemany("INSERT OR REPLACE INTO lengths VALUES (?, ?)", rows)

    with_database(memory, TABLE, write)
