"""Tensors in files that several processes share, and that make room for each other."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
import torch

from adavid.store import Store


def tensors(first: int, num: int = 4) -> dict[bytes, torch.Tensor]:
    return {f"{n}".encode(): torch.full((50, 100), float(n)) for n in range(first, first + num)}


def test_what_is_kept_comes_back_in_its_type_and_shape(tmp_path: Path) -> None:
    kept = {b"a": torch.rand(2, 3).bfloat16(), b"b": torch.rand(4, 5).T, b"c": torch.tensor(7)}
    Store(tmp_path / "one.sqlite").keep(kept)
    recalled = Store(tmp_path / "one.sqlite").recall([*kept, b"d"])
    assert recalled.keys() == kept.keys()
    for key, tensor in kept.items():
        assert recalled[key].dtype == tensor.dtype and torch.equal(recalled[key], tensor)


def test_a_full_file_keeps_no_more(tmp_path: Path) -> None:
    store = Store(tmp_path / "one.sqlite", max_bytes=200_000)
    store.keep(tensors(0))
    store.keep(tensors(4, 20))
    assert store.recall([*tensors(0, 24)]).keys() == tensors(0).keys()


def test_files_that_were_used_last_stay(tmp_path: Path) -> None:
    files = [tmp_path / f"{n}.sqlite" for n in range(3)]
    for file in files:
        Store(file).keep(tensors(0))
        os.utime(file, (0, 0))
    size = files[0].stat().st_size
    Store(files[0])
    Store(files[1], max_bytes_of_all=2 * size)
    assert [file.exists() for file in files] == [True, True, False]
    Store(tmp_path / "own.sqlite", max_bytes_of_all=0)  # it stays itself
    assert [file.name for file in tmp_path.glob("*.sqlite")] == ["own.sqlite"]


def _write(file: Path, first: int) -> None:
    for start in range(first, first + 20):
        store = Store(file, max_bytes_of_all=0)  # removes the other's
        store.keep(tensors(start, 1))
        for key, tensor in store.recall([*tensors(first, 20)]).items():
            assert torch.equal(tensor, torch.full((50, 100), float(key)))


@pytest.mark.parametrize("names", [("one", "one"), ("one", "other")])
def test_processes_share_a_file_and_may_remove_each_others(tmp_path: Path, names: tuple[str, str]) -> None:
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_write, args=(tmp_path / f"{name}.sqlite", 100 * i)) for i, name in enumerate(names)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
