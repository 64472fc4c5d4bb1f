"""How far a result can be trusted: bootstrap over videos, paired differences, comparison at equal cost.

Every interval here answers one question: how would the number move with another draw of test videos, GIVEN
the trained models. It does not cover training again with another seed: the per-seed values show that.
A replicate is represented by how often each video was drawn, so that scores are sorted only once.

Shapes: N videos, K classes, R replicates, P positives of a class (sorted by falling score), S seeds, G groups
(a method's or an operating point's runs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from tqdm import tqdm

from adavid.evaluation.metrics import checked, mean_average_precision

if TYPE_CHECKING:
    from adavid.evaluation.predictions import Predictions

CHUNK = 64  # replicates at a time: N x 64 counts stay in the processor's cache


def bootstrap_map(label_NK: np.ndarray, score_NK: np.ndarray, num_replicates: int = 1000, seed: int = 0) -> np.ndarray:
    """The mAP of `num_replicates` resamplings of the videos, drawn with replacement (Efron, 1979).

    Each equals `mean_average_precision` of the resampled set. A class none of whose positives were drawn
    scores 0 there, so that with very rare classes the replicates lie below the estimate.

    Returns:
        float64 (R,).

    Raises:
        ValueError: the shapes differ, or a score is not finite.
    """
    ranked = RankedScores(label_NK, score_NK)
    draws = multiplicities(len(label_NK), num_replicates, seed)
    return np.concatenate([ranked.weighted_map(weight_NR) for weight_NR in draws])


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval that holds the central `level` of the bootstrap's values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """A difference of mAP, as fractions, between a method and a reference on the same videos.

    Attributes:
        mean: on the videos as they are, mAPs averaged over seeds.
        interval: percentile interval over videos, given the trained models.
        per_seed: the mAP of each of the method's runs.
        reference_per_seed: that of each of the reference's; of a curve, its height at the method's cost.
    """

    mean: float
    interval: tuple[float, float]
    per_seed: tuple[float, ...]
    reference_per_seed: tuple[float, ...]


def paired_difference(
    method: Sequence[Predictions],
    reference: Sequence[Predictions],
    num_replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """The method's mAP minus the reference's, every replicate drawing the same videos for both.

    Args:
        method: one run for each seed.
        reference: likewise; the numbers of seeds may differ.
        num_replicates: resamplings of the videos.
        seed: of the resampling.
        level: of the interval.

    Raises:
        ValueError: the runs hold different videos, or label them differently.
    """
    check_paired([method, reference])
    own, other = _bootstrap([method, reference], num_replicates, seed)
    own_S, other_S = _map_of_each(method), _map_of_each(reference)
    mean = float(np.mean(own_S) - np.mean(other_S))
    return Difference(mean, interval(own.map_R - other.map_R, level), own_S, other_S)


def upper_hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The vertices of the upper concave hull of (cost, mAP) points, from the cheapest to the best.

    It ends there: nobody has to spend more to get less.
    """
    hull: list[tuple[float, float]] = []
    for cost, value in sorted(points):
        if hull and hull[-1][0] == cost:  # sorted: this one is at least as good at the same cost
            hull.pop()
        while len(hull) > 1 and _is_below(hull[-2], hull[-1], (cost, value)):
            hull.pop()
        hull.append((cost, value))
    best = max(range(len(hull)), key=lambda i: hull[i][1], default=-1)
    return hull[: best + 1]


def curve_at(cost: float, points: Sequence[tuple[float, float]]) -> float:
    """What a baseline attains at a given mean cost per video: the upper concave hull of its operating points.

    Between two points, a baseline can give each video to one of them at random, which costs the average of
    both. What it attains so is, in expectation, exactly the average of the top-1s, but not of the mAPs:
    the videos of both are ranked together, and the mixture's mAP may lie above the line (equally calibrated
    points) or below it (an overconfident cheap one). For mAP the hull (Provost and Fawcett, 2001, for ROC
    curves) is thus an interpolation, the closer the denser the points. Beyond the best point it is that
    point's mAP.

    Args:
        cost: in the points' unit.
        points: (cost, mAP) of the operating points, in any order.

    Raises:
        ValueError: there are no points, or `cost` is below the cheapest, where the curve is undefined.
    """
    if not points:
        raise ValueError("curve: expected at least one point")
    cheapest = min(points)[0]
    if cost < cheapest * (1 - 1e-9):  # the mean of equal costs may differ in its last digit
        raise ValueError(f"cost {cost:g}: expected at least {cheapest:g}, the cheapest point of the curve")
    return _height(cost, points)


def paired_difference_to_curve(
    method: Sequence[Predictions],
    curve_points: Sequence[Sequence[Predictions]],
    num_replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """The method's mAP minus the baseline's at the same cost, `curve_at`.

    In every replicate the method's mAP, its mean cost and the baseline's points, hence its hull, are taken
    on the same resampled videos. Where resampling takes the method's cost below the cheapest point, that
    point is the reference, although it is dearer.

    Args:
        method: one run for each seed.
        curve_points: for each of the baseline's operating points one run for each seed.
        num_replicates: resamplings of the videos.
        seed: of the resampling.
        level: of the interval.

    Raises:
        ValueError: the runs hold different videos, or label them differently, or the method costs less than
            the baseline's cheapest point.
    """
    check_paired([method, *curve_points])
    cost, own_map = _cost_and_map(method)
    height = curve_at(cost, [_cost_and_map(point) for point in curve_points])
    own, *curve = _bootstrap([method, *curve_points], num_replicates, seed)
    reference_R = [
        _height(own.macs_R[r], [(point.macs_R[r], point.map_R[r]) for point in curve]) for r in range(num_replicates)
    ]
    differences = interval(own.map_R - reference_R, level)
    return Difference(own_map - height, differences, _map_of_each(method), (height,))


def check_paired(groups: Sequence[Sequence[Predictions]]) -> None:
    """All runs of all groups hold the same videos, in whatever order, with the same labels.

    Raises:
        ValueError: a group has no runs, a run holds a video twice, or two runs hold different videos or label
            them differently.
    """
    if not all(groups):
        raise ValueError("comparison: expected at least one run on each side")
    first = _by_id(groups[0][0])
    for run in (_by_id(run) for group in groups for run in group):
        run.check_unique()
        differ = np.setxor1d(first.video_id, run.video_id)
        if differ.size:
            raise ValueError(f"video {str(differ[0])!r} ({differ.size} such): expected in every run")
        differ = first.video_id[(first.label_NK != run.label_NK).any(axis=1)]
        if differ.size:
            raise ValueError(f"video {str(differ[0])!r} ({differ.size} such): expected one labelling")


def _by_id(run: Predictions) -> Predictions:
    return run.select(np.argsort(run.video_id))


def multiplicities(num_videos: int, num_replicates: int, seed: int) -> Iterator[np.ndarray]:
    """How often each video is drawn in each replicate: int32 arrays (N, up to CHUNK), each column's sum N."""
    rng = np.random.default_rng(seed)
    for start in tqdm(range(0, num_replicates, CHUNK), desc="bootstrap", leave=False, delay=2):
        num = min(CHUNK, num_replicates - start)
        draw_NR = rng.integers(num_videos, size=(num_videos, num))
        count = np.bincount((draw_NR * num + np.arange(num)).ravel(), minlength=num_videos * num)
        yield count.reshape(num_videos, num).astype(np.int32)


class RankedScores:
    """Labels and scores with each class sorted once, for the mAP under any multiplicities of the videos.

    Average precision is the mean over a class's positives of the precision among all videos scored no lower.
    Positives of equal score share that precision: scikit-learn's thresholds at distinct scores.
    """

    def __init__(self, label_NK: np.ndarray, score_NK: np.ndarray):
        label_NK, score_NK = checked(label_NK, score_NK)
        self.num_classes = label_NK.shape[1]
        present = np.flatnonzero(label_NK.any(axis=0))
        self._classes = [self._rank(label_NK[:, k], score_NK[:, k]) for k in present]

    @staticmethod
    def _rank(label_N: np.ndarray, score_N: np.ndarray) -> tuple[np.ndarray, ...]:
        order_N = np.argsort(-score_N)
        positive_P = order_N[label_N[order_N]]
        # the last rank of each positive's tie, among all videos and among the positives alone
        last_P = np.searchsorted(-score_N[order_N], -score_N[positive_P], side="right") - 1
        last_positive_P = np.searchsorted(-score_N[positive_P], -score_N[positive_P], side="right") - 1
        return order_N, positive_P, last_P, last_positive_P

    def weighted_map(self, weight_NR: np.ndarray) -> np.ndarray:
        """mAP, float64 (R,), when video n is present `weight_NR[n, r]` times."""
        map_R = np.zeros(weight_NR.shape[1])
        for order_N, positive_P, last_P, last_positive_P in self._classes:
            seen_PR = weight_NR[order_N].cumsum(axis=0)[last_P]
            positive_PR = weight_NR[positive_P]
            found_PR = positive_PR.cumsum(axis=0)
            # where none was seen, none was found and the weight is 0
            precision_PR = found_PR[last_positive_P] / np.maximum(seen_PR, 1)
            map_R += (positive_PR * precision_PR).sum(axis=0) / np.maximum(found_PR[-1], 1)
        return map_R / self.num_classes


class _Replicates(NamedTuple):
    """Mean cost per video in MACs and mAP of every replicate."""

    macs_R: np.ndarray
    map_R: np.ndarray


# A report compares one run with many others: the replicates of each are kept for as long as the run is.
_known: WeakKeyDictionary[Predictions, dict[tuple[int, int], _Replicates]] = WeakKeyDictionary()
_known_maps: WeakKeyDictionary[Predictions, float] = WeakKeyDictionary()


def _replicates(run: Predictions, num_replicates: int, seed: int) -> _Replicates:
    known = _known.setdefault(run, {})
    key = num_replicates, seed
    if key not in known:
        run = _by_id(run)  # so that draws mean the same videos in every run
        ranked, num_videos = RankedScores(run.label_NK, run.score_NK), len(run.video_id)
        chunks = [
            (run.macs_N @ weight_NR / num_videos, ranked.weighted_map(weight_NR))
            for weight_NR in multiplicities(num_videos, num_replicates, seed)
        ]
        known[key] = _Replicates(*(np.concatenate(values) for values in zip(*chunks, strict=True)))
    return known[key]


def _bootstrap(groups: Sequence[Sequence[Predictions]], num_replicates: int, seed: int) -> list[_Replicates]:
    """The replicates of each group of runs, averaged over its seeds, all on the same draws of videos."""
    replicates = [[_replicates(run, num_replicates, seed) for run in group] for group in groups]
    return [_Replicates(*(np.mean(values, axis=0) for values in zip(*group, strict=True))) for group in replicates]


def _map_of_each(runs: Sequence[Predictions]) -> tuple[float, ...]:
    for run in runs:
        if run not in _known_maps:
            _known_maps[run] = mean_average_precision(run.label_NK, run.score_NK)
    return tuple(_known_maps[run] for run in runs)


def _cost_and_map(runs: Sequence[Predictions]) -> tuple[float, float]:
    return float(np.mean([run.macs_N.mean() for run in runs])), float(np.mean(_map_of_each(runs)))


def _height(cost: float, points: Sequence[tuple[float, float]]) -> float:
    hull_costs, hull_values = zip(*upper_hull(points), strict=True)
    return float(np.interp(cost, hull_costs, hull_values))


def _is_below(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether `middle` lies on or below the segment from `left` to `right`."""
    slope_to_middle = (middle[1] - left[1]) * (right[0] - left[0])
    return slope_to_middle <= (right[1] - left[1]) * (middle[0] - left[0])
