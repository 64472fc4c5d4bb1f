"""Content hashes: of bytes and not of places or times, computed once, kept in a file that may break."""

import multiprocessing
import os
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from adavid.data import contents
from adavid.data.contents import content_hashes


@pytest.fixture
def hashed(monkeypatch):
    """Counts how often each path's bytes are read."""
    counts, read = Counter(), contents._hash

    def counted(path):
        counts[path.name] += 1
        return read(path)

    monkeypatch.setattr(contents, "_hash", counted)
    return counts


@pytest.fixture
def memory(tmp_path):
    return tmp_path / "new" / "contents.sqlite"


def files(folder, num=3):
    for i in range(num):
        (folder / f"{i}.mp4").write_bytes(bytes([i]) * 1000)
    return [folder / f"{i}.mp4" for i in range(num)]


def frames(folder, *contents, suffix=".jpg"):
    folder.mkdir()
    for i, content in enumerate(contents):
        (folder / f"{i}{suffix}").write_bytes(content)
    return folder


def test_hashes_are_of_bytes_alone(tmp_path):
    one, two, three = files(tmp_path)
    copy = tmp_path / "copy.avi"
    copy.write_bytes(one.read_bytes())
    hashes = content_hashes([one, two, three, copy])
    assert hashes[copy] == hashes[one] and len(set(hashes.values())) == 3
    assert all(len(value) == 32 and int(value, 16) >= 0 for value in hashes.values())


def test_a_folder_is_its_frames_with_their_names(tmp_path):
    folders = [
        frames(tmp_path / "same", b"a", b"b"),
        frames(tmp_path / "changed", b"a", b"c"),
        frames(tmp_path / "swapped", b"b", b"a"),
        frames(tmp_path / "fewer", b"a"),
        frames(tmp_path / "named", b"a", b"b", suffix=".jpeg"),
    ]
    first = frames(tmp_path / "first", b"a", b"b")
    (first / "notes.txt").touch()
    (first / "._0.jpg").touch()
    hashes = content_hashes([first, *folders])
    assert hashes[first] == hashes[folders[0]]
    assert len(set(hashes.values())) == 5


def test_what_cannot_be_read_has_none(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # reading it would never end
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    paths = [tmp_path / name for name in ("absent", "pipe", "dangling", "y" * 300, "a\0b")]
    paths.append(files(tmp_path, 1)[0] / "inside")
    assert content_hashes(paths) == dict.fromkeys(paths)


def test_each_is_computed_once_and_again_when_it_changes(tmp_path, memory, hashed):
    paths, folder = files(tmp_path), frames(tmp_path / "folder", b"a", b"b")
    first = content_hashes([*paths, folder], memory)
    assert content_hashes([*paths, folder], memory) == first and set(hashed.values()) == {1}
    assert content_hashes([Path(os.path.relpath(paths[0]))], memory) == {
        Path(os.path.relpath(paths[0])): first[paths[0]]
    }
    assert set(hashed.values()) == {1}, "a relative path is the same file"
    paths[1].write_bytes(b"x" * 1000)
    os.utime(paths[1], ns=(5, 5))
    (folder / "1.jpg").write_bytes(b"c")  # the folder's own time stays
    os.utime(folder / "1.jpg", ns=(5, 5))
    second = content_hashes([*paths, folder], memory)
    assert hashed == {"0.mp4": 1, "1.mp4": 2, "2.mp4": 1, "folder": 2}
    assert [path.name for path in first if first[path] != second[path]] == ["1.mp4", "folder"]


def test_without_a_memory_nothing_is_kept(tmp_path, hashed):
    paths = files(tmp_path)
    assert content_hashes(paths) == content_hashes(paths) and set(hashed.values()) == {2}
    assert sorted(tmp_path.iterdir()) == paths


def test_what_was_hashed_before_a_kill_is_kept(tmp_path, memory, hashed, monkeypatch):
    paths, counted = files(tmp_path), contents._hash

    def killed(path):
        if path.name == "2.mp4":
            raise KeyboardInterrupt
        return counted(path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(contents, "_hash", killed)
        content_hashes(paths, memory)
    content_hashes(paths, memory)
    assert hashed == {"0.mp4": 1, "1.mp4": 1, "2.mp4": 1}


def test_names_that_are_no_text(tmp_path, memory, hashed):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    path.write_bytes(b"a")
    assert content_hashes([path], memory) == content_hashes([path], memory) and set(hashed.values()) == {1}


def text(memory):
    memory.write_text("no database " * 100)


def cut(memory):
    os.truncate(memory, memory.stat().st_size // 2)


def of_another_program(memory):
    memory.unlink()
    with sqlite3.connect(memory) as database:
        database.execute("CREATE TABLE contents (author TEXT, title TEXT)")
    database.close()


@pytest.mark.parametrize("damage", [text, cut, of_another_program])
def test_a_broken_memory_is_named_set_aside_and_made_anew(tmp_path, memory, hashed, capsys, damage):
    paths = files(tmp_path, 200)
    first = content_hashes(paths, memory)
    damage(memory)
    assert content_hashes(paths, memory) == first and set(hashed.values()) == {2}
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"adavid: {memory}: ")
    assert line.endswith("; set aside as contents.sqlite.broken and made anew")
    assert content_hashes(paths, memory) == first and set(hashed.values()) == {2}


def test_a_memory_that_cannot_be_used_is_said_in_one_line(tmp_path, memory):
    memory.mkdir(parents=True)
    with pytest.raises(ValueError, match=f"^{memory}: cannot be used \\(.*\\)$"):
        content_hashes(files(tmp_path), memory)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=f"^{tmp_path}/file: cannot be written \\(.*\\)$"):
        content_hashes(files(tmp_path), tmp_path / "file" / "contents.sqlite")


def _work(folder, memory, barrier, results):
    barrier.wait()
    results.put([content_hashes([folder / f"{i}.mp4"], memory) for i in range(50)])


def test_several_processes_at_once(tmp_path, memory, hashed):
    paths = files(tmp_path, 50)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.Queue()
    workers = [context.Process(target=_work, args=(tmp_path, memory, barrier, results)) for _ in range(3)]
    for worker in workers:
        worker.start()
    outcomes = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert outcomes[0] == outcomes[1] == outcomes[2] == [content_hashes([path]) for path in paths]
    hashed.clear()
    content_hashes(paths, memory)
    assert not hashed
