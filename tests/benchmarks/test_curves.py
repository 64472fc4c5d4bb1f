"""A curve in two numbers, in closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adavid.evaluation import stats
from benchmarks.report.curves import NEVER, cost_to_reach, curve_of
from benchmarks.report.entries import Entry, read_entries
from tests.benchmarks.toys import add


def test_a_mix_of_two_points_reaches_what_lies_between_them() -> None:
    gflops_P = np.array([4.0, 1.0, 2.0])
    map_PR = np.array([[0.8, 0.8, 0.8], [0.4, 0.4, 0.4], [0.6, 0.3, 0.6]])
    target_R = np.array([0.7, 0.7, 0.9])
    assert cost_to_reach(gflops_P, map_PR, target_R) == pytest.approx([3.0, 3.25, NEVER])  # a dent is mixed over
    assert cost_to_reach(gflops_P, map_PR, np.full(3, 0.3)) == pytest.approx([1.0, 1.0, 1.0])


def entries_of(results: Path) -> dict[str, Entry]:
    """uniform and `sharp`, each with a cheaper point; their scores differ by seed."""
    for seed in (0, 1):
        for method, points in (("uniform", ((8.0, 0.9), (2.0, 0.5))), ("sharp", ((4.0, 1.0), (3.0, 0.5)))):
            for i, (gflops, accuracy) in enumerate(points):
                point = "test" if i == 0 else f"curve-k={i}"
                add(results, method, seed=seed, point=point, gflops=gflops, accuracy=accuracy)
    return {entry.label: entry for entry in read_entries(results)}


def test_where_a_curve_comes_close_to_the_baseline(tmp_path: Path) -> None:
    entries = entries_of(tmp_path)
    sharp = entries["sharp"]
    low, high = (np.mean([record.metrics.map for record in sharp.points[point]]) for point in ("curve-k=1", "test"))
    target = np.mean([record.metrics.map for record in entries["uniform"].main]) - stats.MARGIN
    curve = curve_of(sharp, list(entries.values()))
    assert curve.close is not None
    assert curve.close.gflops == pytest.approx(3.0 + (target - low) / (high - low))
    assert 0 <= curve.close.interval[0] < curve.close.gflops < curve.close.interval[1]
    below = curve_of(sharp.of_seeds([0]), [sharp])  # no baseline
    assert below.close is None and below.gain is None


def test_the_gain_along_a_curve_is_the_mean_over_the_logarithm_of_the_cost(tmp_path: Path) -> None:
    entries = entries_of(tmp_path)
    gain = curve_of(entries["sharp"], list(entries.values())).gain
    assert gain is not None

    def score(label: str, point: str) -> float:
        return float(np.mean([record.metrics.map for record in entries[label].points[point]]))

    cheap, dear = score("uniform", "curve-k=1"), score("uniform", "test")
    line = {3.0: cheap + (dear - cheap) / 6, 4.0: cheap + (dear - cheap) / 3}
    differences = [score("sharp", "curve-k=1") - line[3.0], score("sharp", "test") - line[4.0]]
    assert gain.mean == pytest.approx(np.mean(differences))  # of two points, each has half of the step between them
    assert gain.interval[0] < gain.mean < gain.interval[1]
    assert curve_of(entries["uniform"], list(entries.values())).gain is None  # it is of the line


def test_a_curve_that_stays_below_is_not_close(tmp_path: Path) -> None:
    add(tmp_path, "uniform", accuracy=1.0)
    add(tmp_path, "sharp", accuracy=0.3)
    entries = {entry.label: entry for entry in read_entries(tmp_path)}
    assert curve_of(entries["sharp"], list(entries.values())).close is None
