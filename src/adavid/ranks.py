"""The processes of one run on several devices, its ranks. A run on one device is one process, which is the first rank.

They join one group (`adavid.training.join`) and make the same calls in the same order. What one of them does for all,
the first does: it holds the locks and writes the files, and the others wait for it here, never at a lock.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor

from adavid.files import locked

T = TypeVar("T")

PATIENCE = timedelta(days=30)  # the first may check a whole data set first, or wait for another command's lock
_groups: list[Any] = []  # of the processor, whatever the devices are: for what no device computes


def opened() -> None:
    """Says that torch's process group is there; called once by every rank."""
    _groups.append(dist.new_group(backend="gloo", timeout=PATIENCE))


def world_size() -> int:
    """How many ranks there are: 1 where none have joined."""
    return dist.get_world_size() if _groups else 1


def rank() -> int:
    """This process's, from 0."""
    return dist.get_rank() if _groups else 0


def is_first() -> bool:
    """Whether it is for this process to write files, and to say what is said once."""
    return rank() == 0


def gathered(value: T) -> list[T]:
    """The value of every rank, by rank."""
    if not _groups:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, group=_groups[-1])
    return values


def of_first(function: Callable[[], T]) -> T:
    """What a function returns that the first rank alone calls."""
    if not _groups:
        return function()
    values = [function() if is_first() else None]
    dist.broadcast_object_list(values, src=0, group=_groups[-1])
    value: Any = values[0]
    return value


def average(values: list[Tensor]) -> None:
    """Sets tensors, which have the same shapes on all ranks, to their means over the ranks."""
    if _groups:
        for value in values:
            dist.all_reduce(value)
            value /= world_size()


@contextmanager
def first_in_front() -> Iterator[None]:
    """The first rank does something, then the others, who find what it has made and do not say what it has said."""
    if is_first():
        yield
        _meet()
    else:
        _meet()
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            yield


@contextmanager
def locked_together(file: Path) -> Iterator[None]:
    """One run at a time: its first rank holds the lock for all, the others wait until it has it.

    Raises:
        ValueError: as `adavid.files.locked`.
    """
    if is_first():
        with locked(file):
            _meet()
            yield
    else:
        _meet()
        yield


def _meet() -> None:
    gathered(None)
