"""Which frames media hold: each is decoded whole once, by content, before anything is trained on it."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from adavid.config import config_hash
from adavid.data.decoding import Checked, checked
from adavid.data.processes import answers
from adavid.data.video import Timeline
from adavid.database import with_database
from adavid.digest import code_digest
from adavid.environment import versions

SAVE_EVERY_S = 5.0  # what a killed process has not saved is decoded again
TABLES = """
    CREATE TABLE IF NOT EXISTS checked (content TEXT PRIMARY KEY, num_frames INTEGER, num_lost INTEGER, timeline BLOB);
"""


class Checks:
    """What checking media has found, kept between processes and runs.

    It holds for the same content, decoded by the same code and libraries; what cannot be read is tried again each time.

    Args:
        memory: SQLite file that keeps it, made if need be; several processes may share it. None keeps it in memory.
    """

    def __init__(self, memory: Path | None) -> None:
        self._memory = memory
        self._own: dict[str, _Row] = {}

    def errors(self, contents: Mapping[Path, str | None], name: str) -> dict[Path, str]:
        """Why media cannot be read, of those that cannot: all that are not known are decoded, several at a time.

        Args:
            contents: the hash of what each holds; None where that cannot be read.
            name: what the progress bar says.

        Raises:
            ValueError: the memory cannot be used, or decoding was ended from outside.
        """
        known = self._known()
        left = [path for path, content in contents.items() if content is None or self._key(path, content) not in known]
        errors: dict[Path, str] = {}
        fresh: dict[str, Checked] = {}
        saved = time.monotonic()
        progress = tqdm(answers(checked, left), f"checking {name}".strip(), len(left), unit="video", disable=not left)
        try:
            for path, found in zip(left, progress, strict=True):
                content = contents[path]
                if isinstance(found, str):
                    errors[path] = found
                elif content is not None:
                    fresh[self._key(path, content)] = found
                if time.monotonic() - saved > SAVE_EVERY_S:
                    self._keep(fresh)
                    saved, fresh = time.monotonic(), {}
        finally:
            self._keep(fresh)
        return errors

    def incomplete(self, contents: Mapping[Path, str | None]) -> Iterator[Path]:
        """Those in which packets could not be decoded, and frames lack."""
        lacking = {key for key, row in self._own.items() if row.num_lost}
        if self._memory is not None:
            lacking = set(self._asked("SELECT content, num_lost FROM checked WHERE num_lost > 0"))
        return (path for path, content in contents.items() if content and self._key(path, content) in lacking)

    def lengths(self, contents: Mapping[Path, str | None]) -> dict[Path, int]:
        """How many frames there are in media that were checked."""
        known = {key: row.num_frames for key, row in self._own.items()}
        if self._memory is not None:
            known = self._asked("SELECT content, num_frames FROM checked")
        keys = {path: self._key(path, content) for path, content in contents.items() if content is not None}
        return {path: known[key] for path, key in keys.items() if key in known}

    def timeline(self, path: Path, content: str | None) -> Timeline | None:
        """When the frames of a file are shown, where it was checked; None of a folder."""
        if content is None:
            return None
        key = self._key(path, content)
        timeline = self._own[key].timeline if key in self._own else None
        if self._memory is not None:
            timeline = self._asked("SELECT content, timeline FROM checked WHERE content = ?", key).get(key)
        return None if timeline is None else Timeline.from_bytes(timeline)

    @cached_property
    def _decoded_by(self) -> str:
        return config_hash({"code": code_digest("adavid.data.decoding", beside=()), "libraries": versions()})

    def _key(self, path: Path, content: str) -> str:
        return f"{content}{os.path.splitext(path)[1]} {self._decoded_by}"

    def _known(self) -> Collection[str]:
        return self._own if self._memory is None else self._asked("SELECT content, num_frames FROM checked")

    def _asked(self, query: str, *values: str) -> dict[str, Any]:
        """What a query for pairs says, as a mapping."""
        assert self._memory is not None
        return with_database(self._memory, TABLES, lambda database: dict(database.execute(query, values)))

    def _keep(self, found: Mapping[str, Checked]) -> None:
        rows = {key: _row(of) for key, of in found.items() if not isinstance(of, str)}
        if self._memory is None:
            self._own |= rows
        elif rows:
            values = [(key, *row) for key, row in rows.items()]
            query = "INSERT OR REPLACE INTO checked VALUES (?, ?, ?, ?)"
            with_database(self._memory, TABLES, lambda database: database.executemany(query, values))


class _Row(NamedTuple):
    """What is kept of a medium."""

    num_frames: int
    num_lost: int
    timeline: bytes | None


def _row(found: Timeline | int) -> _Row:
    if isinstance(found, int):
        return _Row(found, 0, None)
    return _Row(len(found.pts), found.num_lost, found.to_bytes())
