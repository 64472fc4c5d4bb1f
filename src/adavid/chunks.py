"""How many rows of a network run at once in evaluation: as many as it is fastest with, which is measured once.

In one call over hundreds of frames every layer writes maps that no cache holds and reads them back from memory: on a
processor a row then takes up to twice as long as in a call over a few. So a call that is heavy is split, and its
outputs are put together again; memory is bounded by the chunk, whatever the number of videos and frames. On a GPU,
which needs many rows at once, memory alone is the bound.

Rows are independent of each other in evaluation, so that results are the same to rounding. What was measured is kept,
by network, shape and machine: with the same cache the digits are the same too. Light calls, as of tiny networks, are
never split, so that theirs are the same whatever was measured.

N rows.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from adavid.environment import device_name
from adavid.files import locked, set_aside, write_atomically

HEAVY_MACS = 4e9  # that a call takes, from which it may be split: a tenth of a second of one core, or more
MOST_BYTES = 1 << 25  # of a chunk's inputs on a processor: 55 frames of 224 pixels
MOST_SECONDS = 15.0  # that a measurement may go on for
ROUNDS = 3  # in which every number of rows is timed once more
GPU_SHARE = 8  # a chunk may take this part of a GPU's memory, 1 / 8
PROBE = 4  # rows by which the memory of one is told


@dataclass(frozen=True)
class Rows:
    """N rows of an input that are made when it is their turn, so that they need not be in memory all at once.

    Attributes:
        like: a tensor (N, ...) of their shape and dtype, on their device; what is in it does not matter.
        make: gives the rows of a slice.
    """

    like: Tensor
    make: Callable[[slice], Tensor]

    @classmethod
    def of(cls, shape: tuple[int, ...], source: Tensor, make: Callable[[slice], Tensor]) -> Rows:
        """Rows of such a shape (N, ...), with the dtype and device of what they are made from."""
        return cls(source.new_empty(()).expand(shape), make)


def shaped(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Inputs with tensors of the right shape in place of rows that are not made yet."""
    return tuple(of.like if isinstance(of, Rows) else of for of in inputs)


def made(inputs: tuple[Any, ...], part: slice = slice(None)) -> tuple[Any, ...]:
    """Inputs with rows, those of a slice, in place of those that are not made yet."""
    return tuple(of.make(part) if isinstance(of, Rows) else of for of in inputs)


def _part(inputs: tuple[Any, ...], part: slice) -> tuple[Any, ...]:
    """Some rows of inputs; what has no rows is handed on."""
    given = tuple(of if isinstance(of, Rows) else tree_map_only(Tensor, lambda x: x[part], of) for of in inputs)
    return made(given, part)


def run_in_chunks(module: nn.Module, inputs: tuple[Any, ...], num_rows: int, chunk: int) -> Any:
    """`module(*inputs)`, at most `chunk` rows at once and as evenly as can be, put together again."""
    num_chunks = math.ceil(num_rows / chunk)
    if num_chunks <= 1:
        return module(*made(inputs))
    bounds = [i * num_rows // num_chunks for i in range(num_chunks + 1)]
    outputs = [module(*_part(inputs, slice(start, end))) for start, end in pairwise(bounds)]
    return tree_map(lambda *parts: torch.cat(parts) if isinstance(parts[0], Tensor) else parts[0], *outputs)


class Chunks:
    """The chunks of networks, each measured the first time that it is asked for.

    Attributes:
        folder: where they are kept for other processes; None keeps them in this one alone.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._of_module: WeakKeyDictionary[nn.Module, dict[Any, int]] = WeakKeyDictionary()
        self._measured: dict[str, int] = {}

    def chunk(self, module: nn.Module, tensors: Sequence[Tensor], inputs: tuple[Any, ...], macs: int) -> int:
        """How many of N rows to run at once; all of them where the call is light, or rows may depend on each other.

        Args:
            module: a network.
            tensors: of the right shapes, all that are in the inputs.
            inputs: as the module is to get them.
            macs: multiply-accumulates of one row.
        """
        num_rows = max(1, len(tensors[0]))
        row_bytes = sum(math.prod(x.shape[1:]) * x.element_size() for x in tensors)
        if num_rows == 1 or (num_rows * macs <= HEAVY_MACS and num_rows * row_bytes <= MOST_BYTES):
            return num_rows
        return num_rows if any(part.training for part in module.modules()) else self._known(module, inputs, row_bytes)

    @torch.compiler.disable
    def _known(self, module: nn.Module, inputs: tuple[Any, ...], row_bytes: int) -> int:
        leaves = tree_leaves(inputs)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        device, settings = tensors[0].device, [leaf for leaf in leaves if not isinstance(leaf, Tensor)]
        precision = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
        key = (*((tuple(x.shape[1:]), x.dtype) for x in tensors), *settings, device, precision, torch.get_num_threads())
        known = self._of_module.setdefault(module, {})
        if key not in known:
            name = hashlib.blake2b(repr((module, key, device_name(device))).encode(), digest_size=16).hexdigest()
            known[key] = self._recalled(name, lambda: _measured(module, inputs, row_bytes, device))
        return known[key]

    def _recalled(self, name: str, measure: Callable[[], tuple[int, dict[int, float]]]) -> int:
        """The chunk of that name, measured by whoever comes first; others wait, and leave the machine to it."""
        if name in self._measured:
            return self._measured[name]
        file = None if self.folder is None else self.folder / f"{name}.json"
        with nullcontext() if file is None else locked(file.with_name(".lock")):
            if file is not None and file.exists():
                try:
                    self._measured[name] = int(json.loads(file.read_text())["rows"])
                    return self._measured[name]
                except (ValueError, KeyError, TypeError):
                    set_aside(file, "expected what make latency has measured")
            rows, ms_by_rows = measure()
            if file is not None:
                write_atomically(file, json.dumps({"rows": rows, "ms a row": ms_by_rows}))
        self._measured[name] = rows
        return rows


CHUNKS = Chunks()  # of this process: like prices, they are the same whoever asks


def _measured(
    module: nn.Module, inputs: tuple[Any, ...], row_bytes: int, device: torch.device
) -> tuple[int, dict[int, float]]:
    """The chunk of a network, and ms a row by the number of rows where that decides."""

    def run(rows: int) -> None:
        module(*tree_map_only(Tensor, lambda x: x.new_ones(rows, *x.shape[1:]), inputs))

    with _disable_current_modes(), torch.inference_mode():  # no counter counts it
        if device.type == "cuda":
            return _by_memory(run, device), {}
        return _by_time(run, max(1, MOST_BYTES // row_bytes))


def _by_memory(run: Callable[[int], None], device: torch.device) -> int:
    """As many rows, a power of two, as take the share of the GPU's memory that they may."""
    run(PROBE)
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    run(PROBE)
    row_bytes = max(1, (torch.cuda.max_memory_allocated(device) - before) // PROBE)
    total = torch.cuda.get_device_properties(device).total_memory
    return 1 << max(0, int(math.log2(max(1, total // GPU_SHARE // row_bytes))))


def _by_time(run: Callable[[int], None], most: int) -> tuple[int, dict[int, float]]:
    """The fewest rows, a power of two, that take a row as long as the best number does, to a twentieth."""
    ms_by_rows: dict[int, float] = {}

    def measure(rows: int) -> None:
        before = time.perf_counter()
        run(rows)
        ms = 1e3 * (time.perf_counter() - before) / rows
        ms_by_rows[rows] = min(ms, ms_by_rows.get(rows, math.inf))

    start, rows = time.perf_counter(), 1
    while rows <= most:
        run(rows)  # makes kernels for the shape
        measure(rows)
        is_past = [ms > 1.2 * min(ms_by_rows.values()) for ms in list(ms_by_rows.values())[-2:]] == [True, True]
        if is_past or time.perf_counter() - start > MOST_SECONDS / 2:
            break
        rows *= 2
    for rows in ROUNDS * list(ms_by_rows):  # in turns, so that whatever else the machine does hits all of them
        if time.perf_counter() - start < MOST_SECONDS:
            measure(rows)
    best = min(ms_by_rows.values())
    return min(rows for rows, ms in ms_by_rows.items() if ms <= 1.05 * best), ms_by_rows
