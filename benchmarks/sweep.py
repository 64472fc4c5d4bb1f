"""The cells of a sweep: a command line for each run that is not recorded yet, or for each point of its curve."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from benchmarks.jobs import Cell
from benchmarks.layers import catalogue
from benchmarks.run import Run
from benchmarks.runner import is_recorded, points_left
from benchmarks.workspace import Workspace


def data_sets(text: str) -> list[str]:
    """The data sets of a list; a comma within a path is none of the list's, unless a data set's name follows."""
    names = "|".join(map(re.escape, catalogue("datamodules")))
    return [part.strip() for part in re.split(rf",(?=\s*(?:{names})\s*(?:[:,]|$))", text)]


def bench_cells(runs: Sequence[Run], workspace: Workspace, words: Sequence[str], split: str) -> list[Cell]:
    """A cell for each run; on the reported split, for those that have no record yet.

    Args:
        runs: that are asked for.
        workspace: their folders.
        words: what the command lines have in common.
        split: "val" leaves no records.
    """
    own = ("bench", "--split", split, "--no-board")
    return [_cell(run, own, words) for run in _in_order(runs) if split == "val" or not is_recorded(run, workspace)]


def curve_cells(runs: Sequence[Run], workspace: Workspace, words: Sequence[str], points_apart: bool) -> list[Cell]:
    """A cell for each run that lacks a point of its curve; or one for its main record, then one for each such point."""
    cells: list[Cell] = []
    for run in _in_order(runs):
        left = points_left(run, workspace)
        if points_apart:
            cells += _point_cells(run, workspace, words, left)
        elif left:
            cells.append(_cell(run, ("curve",), words))
    return cells


def _point_cells(run: Run, workspace: Workspace, words: Sequence[str], points: Sequence[str]) -> Iterator[Cell]:
    first = _cell(run, ("bench" if run.released is None else "import", "--no-board"), words)
    is_first_left = not is_recorded(run, workspace)
    if is_first_left:
        yield first
    for point in points:
        yield _cell(run, ("curve", "--point", point), words, f" {point}", first.name if is_first_left else "")


def _cell(run: Run, own: Sequence[str], words: Sequence[str], suffix: str = "", after: str = "") -> Cell:
    # A class from elsewhere is asked for by its own name, which is its target.
    method = run.method if run.method in catalogue() else run.config["target"]
    of_run = ("--method", method, "--variant", run.variant, "--data", run.data_request, "--profile", run.profile)
    return Cell(
        f"{own[0]} {run.label} on {run.data}, {run.profile}, seed {run.seed}{suffix}",
        (*own, *of_run, "--seeds", str(run.seed), *words),
        apart=f"{run.data} {run.profile} {run.seed}",
        after=after,
        num_gpus=run.num_gpus,
    )


def _in_order(runs: Sequence[Run]) -> list[Run]:
    """All seeds of a run before the next one's: side by side they share no backbone."""
    kinds = [(run.data, run.profile, run.label) for run in runs]
    first = {kind: kinds.index(kind) for kind in kinds}
    return sorted(runs, key=lambda run: first[run.data, run.profile, run.label])
