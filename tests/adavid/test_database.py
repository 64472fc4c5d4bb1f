"""SQLite files of what can be made anew."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from adavid.database import with_database

SET_UP = "CREATE TABLE IF NOT EXISTS numbers (number INTEGER PRIMARY KEY);"


def add(file: Path, number: int) -> list[int]:
    def work(database: sqlite3.Connection) -> list[int]:
        database.execute("INSERT INTO numbers VALUES (?)", (number,))
        return [row[0] for row in database.execute("SELECT number FROM numbers")]

    return with_database(file, SET_UP, work)


def test_what_is_written_is_there_next_time_and_broken_files_are_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "folder" / "numbers.sqlite"
    assert add(file, 1) == [1] and add(file, 2) == [1, 2]
    file.write_bytes(b"something else" * 500)
    assert add(file, 3) == [3] and (tmp_path / "folder" / "numbers.sqlite.broken").exists()
    assert f"{file}: file is not a database; set aside" in capsys.readouterr().err


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "numbers.sqlite"
    add(file, 1)
    with pytest.raises(ValueError, match=f"^{file}: cannot be used"):
        add(file, 1)
    assert add(file, 2) == [1, 2]


def test_what_cannot_be_a_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "numbers.sqlite"
    folder.mkdir()
    with pytest.raises(ValueError, match=f"^{folder}: cannot be used"):
        add(folder, 1)
