"""SQLite files that several processes share, of what can be made anew."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TypeVar

from adavid.files import locked, reason, set_aside

T = TypeVar("T")

BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}  # the last: another program's tables


def with_database(file: Path, set_up: str, work: Callable[[sqlite3.Connection], T]) -> T:
    """Does some work on an SQLite file, one process at a time; the file is made if need be, anew where it is broken.

    Args:
        file: of the database.
        set_up: statements that stand before the work: its tables, where there are none yet.
        work: done in one transaction; a second time where the file turns out to be broken.

    Raises:
        ValueError: the file cannot be read or written; the message names it.
    """
    with _alone(file):
        try:
            return _open_and(file, set_up, work)
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)  # none: a text that is no UTF-8
            if code & 0xFF not in BROKEN:  # the further bits say more of the same
                raise ValueError(f"{file}: cannot be used ({reason(error)})") from error
            set_aside(file, str(error))
        return _open_and(file, set_up, work)


def remove_database(file: Path) -> None:
    """Removes an SQLite file once nobody works on it; whoever wants it next makes it anew."""
    with _alone(file):
        file.unlink(missing_ok=True)


def _alone(file: Path) -> AbstractContextManager[None]:
    return locked(file.with_name(f"{file.name}.lock"))


def _open_and(file: Path, set_up: str, work: Callable[[sqlite3.Connection], T]) -> T:
    with closing(sqlite3.connect(file)) as database, database:
        database.executescript(set_up)
        return work(database)
