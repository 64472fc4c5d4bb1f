"""A method's curve in two numbers: where it comes close to the baseline, and what it gains at equal cost.

P operating points by rising cost, S seeds, R draws of the videos.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from adavid.evaluation import stats
from adavid.evaluation.predictions import Predictions
from adavid.evaluation.records import SHUFFLED
from benchmarks.layers import BASELINE, references
from benchmarks.report.entries import Entry
from benchmarks.report.references import Line, baselines, operating_points

NEVER = 1e12  # GFLOPs, of a curve that does not come close: finite, so that quantiles can be taken


@dataclass(frozen=True)
class Close:
    """The cost at which a curve reaches the baseline's mAP less `stats.MARGIN`, in GFLOPs per video.

    Attributes:
        gflops: of the curve of means over seeds.
        interval: for other seeds and other videos; it ends at infinity where some of these do not reach it.
    """

    gflops: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """What is said of a curve; None where it cannot be."""

    close: Close | None = None
    gain: stats.Difference | None = None  # to the equal-cost line, a mean over the logarithm of the cost


def curve_of(own: Entry, entries: Sequence[Entry]) -> Curve:
    """What is said of a method's operating points, its main one among them, beside the other entries of its place."""
    name, labels = next(iter(references().items()), ("", ()))
    is_of_line = not name or {own.method, own.label} & set(labels)
    return Curve(close_to_baseline(own, entries), None if is_of_line else gain_at_equal_cost(own, labels, entries))


def close_to_baseline(own: Entry, entries: Sequence[Entry]) -> Close | None:
    """Where its curve reaches the baseline, on the seeds that all its points and the baseline have.

    None where the curve stays below it, or there is not one baseline under its conditions.
    """
    found = [own] if own.label == BASELINE else baselines(entries, own, BASELINE)
    seeds = _seeds(own) & set(found[0].seeds) if len(found) == 1 else set()
    if not seeds:
        return None
    mine, baseline = own.of_seeds(seeds), found[0].of_seeds(seeds)
    runs = [mine.runs(point) for point in _points(mine)]
    try:
        stats.check_paired([baseline.runs(), *runs])
    except ValueError:
        return None
    gflops_PS = np.array([[of[seed].macs_N.mean() / 1e9 for seed in mine.seeds] for of in runs])
    map_PSR = np.array([[_as_is_and_drawn(of[seed]) for seed in mine.seeds] for of in runs])
    target_SR = np.array([_as_is_and_drawn(baseline.runs()[seed]) for seed in mine.seeds]) - stats.MARGIN
    as_is, *drawn = cost_to_reach(gflops_PS.mean(axis=1), map_PSR.mean(axis=1), target_SR.mean(axis=0))
    if as_is == NEVER:
        return None
    value_S = [float(cost_to_reach(gflops_PS[:, s], map_PSR[:, s, :1], target_SR[s, :1])[0]) for s in range(len(seeds))]
    if max(value_S) == NEVER:
        return Close(as_is, (stats.interval(np.array(drawn))[0], np.inf))
    low, high = stats.interval_of_mean(value_S, np.array(drawn))
    return Close(as_is, (max(low, 0.0), high if high < NEVER / 1000 else np.inf))


def _as_is_and_drawn(run: Predictions) -> np.ndarray:
    """Its mAP on the videos as they are, then on draws of them, (1 + R,)."""
    as_is, drawn_R = stats.resampled_map(run)
    return np.r_[as_is, drawn_R]


def cost_to_reach(gflops_P: np.ndarray, map_PR: np.ndarray, target_R: np.ndarray) -> np.ndarray:
    """The least cost at which operating points, or mixes of two of them, reach a target; (R,).

    A mix gives each video to one of two points at random: both costs and, to a good approximation, mAPs are averaged.
    `NEVER` where no point reaches it.
    """
    order_P = np.argsort(gflops_P, kind="stable")
    gflops_P, map_PR = gflops_P[order_P], map_PR[order_P]
    cost_R = np.full(len(target_R), NEVER)
    for dear in range(len(gflops_P)):
        reaches_R = map_PR[dear] >= target_R
        cost_R = np.minimum(cost_R, np.where(reaches_R, gflops_P[dear], NEVER))
        for cheap in range(dear):
            rise_R = map_PR[dear] - map_PR[cheap]
            share_R = (target_R - map_PR[cheap]) / np.where(rise_R > 0, rise_R, 1.0)
            mixed_R = gflops_P[cheap] + share_R * (gflops_P[dear] - gflops_P[cheap])
            cost_R = np.where(reaches_R & (share_R > 0), np.minimum(cost_R, mixed_R), cost_R)
    return cost_R


def gain_at_equal_cost(own: Entry, labels: Collection[str], entries: Sequence[Entry]) -> stats.Difference | None:
    """The mean difference from the line of the methods named along a curve: over the logarithm of the cost.

    None where fewer than two points can be compared: one that is cheaper than the line, or not evaluated on val, is
    left out.
    """
    line_points = operating_points(entries, own.of_seeds(_seeds(own)), labels)
    if not line_points:
        return None
    mine = own.of_seeds(line_points[0].entry.seeds)
    compared = []
    try:
        line = Line.of(line_points)
        for point in _points(mine):
            val = mine.on_val(point)
            if val is not None and val[0] >= line.points[0].val[0]:
                compared.append((point, line.at(val[0], mine.gflops(point))))
        if len(compared) < 2:
            return None
        share_P = _shares([mine.gflops(point) for point, _ in compared])
        own_parts = [(share, mine.runs(point)) for share, (point, _) in zip(share_P, compared, strict=True)]
        line_parts = [
            (share * weight, part.runs)
            for share, (_, mix) in zip(share_P, compared, strict=True)
            for weight, part in mix.parts
        ]
        return stats.difference_of_mixes(own_parts, line_parts)
    except ValueError:  # other videos, or none of the line's points was evaluated on val
        return None


def _points(entry: Entry) -> list[str]:
    """Its operating points by rising cost; decisions that were shuffled are none."""
    return sorted(entry.points.keys() - {SHUFFLED}, key=lambda point: (entry.gflops(point), point))


def _seeds(entry: Entry) -> set[int]:
    """Those that all its operating points have."""
    return set(entry.seeds).intersection(*({record.seed for record in entry.points[of]} for of in _points(entry)))


def _shares(gflops: Sequence[float]) -> list[float]:
    """Each point's part of a mean over the logarithm of the cost, by the trapezoid rule; the points by rising cost."""
    step = np.diff(np.log(gflops))
    share_P = np.r_[step, 0] + np.r_[0, step]
    total = share_P.sum()
    return [float(share) for share in (share_P / total if total > 0 else np.full(len(gflops), 1 / len(gflops)))]
