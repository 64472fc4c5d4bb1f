"""Files: read, or refused in one line; there whole or not at all; made by one process at a time, anew if damaged."""

from __future__ import annotations

import codecs
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock


def read_text(path: Path) -> str:
    """Returns the text of a file in UTF-8, or in UTF-16 with its byte order mark, without the mark; line ends are \\n.

    Raises:
        ValueError: it cannot be read, or is neither; the message names it and the line.
    """
    try:
        content = path.read_bytes()
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({reason(error)})") from error
    except UnicodeDecodeError as error:
        place = f"at byte {error.start}, line {1 + content.count(10, 0, error.start)}"  # 10 ends a line
        raise ValueError(f"{path}: expected text in UTF-8 ({error.reason} {place})") from error


def list_folder(path: Path) -> list[Path]:
    """Returns what is in a folder, sorted, hidden files and folders left out.

    Raises:
        ValueError: there is no such folder, or it cannot be read; the message names it.
    """
    try:
        return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such folder") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read as a folder ({reason(error)})") from error


def write_atomically(path: Path, content: str | bytes | Callable[[BinaryIO], object]) -> None:
    """Replaces a file in one step, so that nobody ever reads half of it; its folder is made if need be.

    Args:
        path: the file.
        content: all of it, text in UTF-8; or a function that writes it into an open file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # before the rename: else a power cut may leave an empty file under the name
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """One process at a time; the others wait.

    Args:
        file: the lock's own, which stays; its folder is made if need be.

    Raises:
        ValueError: it cannot be written; the message names its folder.
    """
    lock = FileLock(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise ValueError(f"{file.parent}: cannot be written ({reason(error)})") from error
    try:
        yield
    finally:
        lock.release()


def set_aside(path: Path, problem: str) -> None:
    """Renames a damaged file or folder to <name>.broken, so that it can be made anew, and says so on stderr."""
    broken = path.with_name(f"{path.name}.broken")
    if broken.is_dir():
        shutil.rmtree(broken)
    os.replace(path, broken)
    print(
        f"adavid: {path}: {problem.strip().splitlines()[0]}; set aside as {broken.name} and made anew", file=sys.stderr
    )


def reason(error: Exception) -> str:
    """An error's own words, in one line, without the name of the file."""
    return (getattr(error, "strerror", None) or str(error)).strip().split("\n")[0]
