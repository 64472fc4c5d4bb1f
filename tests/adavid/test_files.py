"""Files are read or refused in one line, there whole or not at all, made by one process at a time, set aside broken."""

from __future__ import annotations

import multiprocessing
import os
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from adavid.files import list_folder, locked, read_text, set_aside, write_atomically


class Killed(BaseException):
    """Nobody catches it."""


def test_text_bytes_and_functions_are_written(tmp_path: Path) -> None:
    for content in ("\u00e4", "\u00e4".encode(), lambda file: file.write("\u00e4".encode())):
        write_atomically(tmp_path / "new" / "x", content)
        assert (tmp_path / "new" / "x").read_bytes() == b"\xc3\xa4"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x"]


def test_what_was_there_stays_until_all_of_the_new_is(tmp_path: Path) -> None:
    class Unpicklable:
        def __reduce__(self) -> str:
            raise Killed

    write_atomically(tmp_path / "x.pt", partial(torch.save, {"a": 1}))
    with pytest.raises(Killed):
        write_atomically(tmp_path / "x.pt", partial(torch.save, {"a": Unpicklable()}))
    assert torch.load(tmp_path / "x.pt") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


def test_text_is_read_without_its_mark_or_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfa\xc3\xa4\r\nb")
    assert read_text(tmp_path / "a") == "a\u00e4\nb"
    (tmp_path / "a").write_bytes("\ufeffa\u00e4\r\nb".encode("utf-16-le"))
    assert read_text(tmp_path / "a") == "a\u00e4\nb"
    (tmp_path / "a").write_bytes(b"a\xe4b")
    for path, problem in (
        (tmp_path / "a", r"expected text in UTF-8 \(invalid continuation byte at byte 1, line 1\)"),
        (tmp_path / "absent", "no such file"),
        (tmp_path, r"cannot be read \(Is a directory\)"),
        (tmp_path / ("y" * 300), r"cannot be read \(File name too long\)"),
    ):
        with pytest.raises(ValueError, match=f"^{path}: {problem}$"):
            read_text(path)


def test_a_folder_is_listed_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        (tmp_path / name).touch()
    assert list_folder(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    for path, problem in (
        (tmp_path / "absent", "no such folder"),
        (tmp_path / "a", r"cannot be read as a folder \(Not a directory\)"),
    ):
        with pytest.raises(ValueError, match=f"^{path}: {problem}$"):
            list_folder(path)


def hold(folder: Path) -> None:
    with locked(folder / "new" / "lock"):
        (folder / "held").touch()
        time.sleep(0.3)
        (folder / "held").unlink()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path,))
    process.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with locked(tmp_path / "new" / "lock"):
        assert not (tmp_path / "held").exists()
    process.join()
    with pytest.raises(OSError, match="of the caller"), locked(tmp_path / "new" / "lock"):
        raise OSError("of the caller")  # is not taken for the lock's
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=f"^{tmp_path}/file: cannot be written"), locked(tmp_path / "file" / "lock"):
        pass


def test_what_is_broken_is_set_aside_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in ("first", "second"):  # which takes the first one's place
        (tmp_path / "file").write_text(content)
        set_aside(tmp_path / "file", "is damaged\nand more is said\n")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / content).touch()
        set_aside(tmp_path / "folder", "is damaged")
        words = "is damaged; set aside as {0}.broken and made anew\n"
        lines = [f"adavid: {tmp_path}/{name}: {words.format(name)}" for name in ("file", "folder")]
        assert capsys.readouterr().err == "".join(lines)
    assert sorted(os.listdir(tmp_path)) == ["file.broken", "folder.broken"]
    assert (tmp_path / "file.broken").read_text() == "second"
    assert os.listdir(tmp_path / "folder.broken") == ["second"]
