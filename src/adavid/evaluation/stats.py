"""How far a result can be trusted: intervals over seeds and videos, paired differences, comparison at equal cost.

Every interval here answers one question: how would a mean over seeds move if it were trained again with other seeds and
tested on other videos. Seeds are paired with seeds and videos with videos: a run of one side meets the run of the same
seed on the other, on the same draws of videos.

The two parts are added. Videos: the percentile bootstrap of the mean over seeds, where a replicate is represented by
how often each video was drawn, so that scores are sorted only once. Seeds: the standard error of the mean over S seeds
times Student's t with S - 1 degrees of freedom, since a spread that is estimated from few seeds is itself uncertain.
What seed and video do together is in both parts: the interval errs on the wide side. One seed says nothing of others:
its interval covers videos alone. Videos of one group, which are not independent of each other, are drawn together.

Shapes: N videos, G groups of them, K classes, R replicates, P positives of a class (sorted by falling score),
D distinct scores among them, S seeds, Q quantiles of Student's t.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.special import stdtrit
from tqdm import tqdm

from adavid.evaluation.metrics import checked

if TYPE_CHECKING:
    from adavid.evaluation.predictions import Predictions

CHUNK = 64  # replicates at a time: N x 64 counts stay in the processor's cache
NUM_REPLICATES = 1000
NUM_QUANTILES = 200  # of Student's t, each as likely as the others
MARGIN = 0.01  # of mAP: a loss that is surely smaller is "no worse"

Runs: TypeAlias = "Mapping[int, Predictions]"  # of one configuration, by seed


def bootstrap_map(run: Predictions, num_replicates: int = NUM_REPLICATES, seed: int = 0) -> np.ndarray:
    """The mAP of `num_replicates` resamplings of the videos, drawn with replacement (Efron, 1979), group by group.

    Each equals `mean_average_precision` of the resampled set. A class none of whose positives were drawn
    scores 0 there, so that with very rare classes the replicates lie below the estimate.

    Returns:
        float64 (R,).

    Raises:
        ValueError: a score is not finite.
    """
    group_of_N = group_indices(run)
    ranked = RankedScores(run.label_NK, run.score_NK)
    return _weighted_maps(ranked, group_of_N, multiplicities(group_of_N.max() + 1, num_replicates, seed))


def _weighted_maps(ranked: RankedScores, group_of_N: np.ndarray, draws: Iterable[np.ndarray]) -> np.ndarray:
    """The mAP, (R,), where each group is present as often as drawn; `draws` holds arrays (G, up to CHUNK)."""
    return np.concatenate([ranked.weighted_map(weight_GR[group_of_N]) for weight_GR in draws])


def group_indices(run: Predictions) -> np.ndarray:
    """Which group each video belongs to, int64 (N,), in order of appearance; a video without a group is one itself."""
    is_alone_N = run.group_N == ""
    name_N = np.where(is_alone_N, np.char.add("video ", run.video_id), np.char.add("group ", run.group_N))
    group_of_N: np.ndarray = pd.factorize(name_N)[0]
    return group_of_N


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval that holds the central `level` of the bootstrap's values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def interval_of_mean(value_S: Sequence[float], replicate_R: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The interval of a mean over seeds, for other seeds and other videos.

    Args:
        value_S: of each seed, on the videos as they are.
        replicate_R: the mean over seeds on each draw of videos.
        level: of the interval.

    Returns:
        The percentile interval of the sum of a replicate and of the seeds' error, in all their combinations.
    """
    return interval(np.add.outer(replicate_R, _errors_of_mean(value_S)), level)


def _errors_of_mean(value_S: Sequence[float]) -> np.ndarray:
    """By how much a mean over S seeds may be off, (Q,), equally likely values; a single 0 for one seed."""
    num_seeds = len(value_S)
    if num_seeds == 1:
        return np.zeros(1)
    t_Q = stdtrit(num_seeds - 1, (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES)
    errors_Q: np.ndarray = np.std(value_S, ddof=1) / np.sqrt(num_seeds) * t_Q
    return errors_Q


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, as a fraction: of mAPs, or of differences of mAPs.

    Attributes:
        per_seed: the value of each seed, on the videos as they are.
        interval: of the mean, for other seeds and other videos; for one seed, for other videos alone.
    """

    per_seed: Mapping[int, float]
    interval: tuple[float, float]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(list(self.per_seed.values())))


@dataclass(frozen=True)
class Difference(Estimate):
    """A method's mAP minus a reference's."""

    @property
    def verdict(self) -> str:
        """What the interval supports, in words, at a margin of one point of mAP."""
        low, high = self.interval
        if low > 0:
            return "better"
        if high < 0:
            return "worse"
        return f"no worse than {100 * MARGIN:g} point" if low > -MARGIN else "undecided"


def mean_map(runs: Runs) -> Estimate:
    """The mAP of a configuration.

    Raises:
        ValueError: there are no runs, or they hold different videos, or label them differently.
    """
    per_seed, (low, high) = _contrast([(1.0, runs)])
    return Estimate(per_seed, (max(low, 0.0), min(high, 1.0)))  # Student's t knows no bounds, an mAP does


def paired_difference(method: Runs, reference: Runs) -> Difference:
    """The method's mAP minus the reference's, seed by seed.

    Raises:
        ValueError: the seeds of the two differ, or the runs hold different videos, or label them differently.
    """
    return paired_difference_to_mix(method, [(1.0, reference)])


def paired_difference_to_mix(method: Runs, mix: Sequence[tuple[float, Runs]]) -> Difference:
    """The method's mAP minus the weighted mean of the mAPs of several operating points, seed by seed.

    Giving each video to one of two operating points at random costs the average of both. What is attained so is, in
    expectation, exactly the average of the top-1s, but not of the mAPs: the videos of both are ranked together, and the
    mixture's mAP may lie above the line (equally calibrated points) or below it (an overconfident cheap one). For mAP
    the line between them (Provost and Fawcett, 2001, for ROC curves) is thus an interpolation, the closer the denser
    the points.

    Args:
        method: one run for each seed.
        mix: weights, whose sum is 1, and runs; they are the same in all replicates.

    Raises:
        ValueError: as in `paired_difference`.
    """
    return difference_of_mixes([(1.0, method)], mix)


def difference_of_mixes(mine: Sequence[tuple[float, Runs]], its: Sequence[tuple[float, Runs]]) -> Difference:
    """The weighted mean of several operating points' mAPs minus that of others, seed by seed.

    Args:
        mine: weights, whose sum is 1, and runs; they are the same in all replicates.
        its: likewise.

    Raises:
        ValueError: as in `paired_difference`.
    """
    return Difference(*_contrast([*mine, *((-weight, runs) for weight, runs in its)]))


def _contrast(terms: Sequence[tuple[float, Runs]]) -> tuple[dict[int, float], tuple[float, float]]:
    """The weighted sum of mAPs of each seed, and the interval of its mean over seeds."""
    check_paired([runs for _, runs in terms])
    seeds = sorted(terms[0][1])
    maps = [[(weight, *resampled_map(runs[seed])) for weight, runs in terms] for seed in seeds]
    value_S = [sum(weight * value for weight, value, _ in of_seed) for of_seed in maps]
    replicate_SR = [np.sum([weight * replicate_R for weight, _, replicate_R in of_seed], axis=0) for of_seed in maps]
    per_seed = dict(zip(seeds, value_S, strict=True))
    return per_seed, interval_of_mean(value_S, np.mean(replicate_SR, axis=0))


def upper_hull(points: Sequence[tuple[float, float]]) -> list[int]:
    """The vertices of the upper concave hull of (cost, mAP) points, from the cheapest to the best, as indices.

    It ends there: nobody has to spend more to get less.
    """
    hull: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: points[i]):
        if hull and points[hull[-1]][0] == points[i][0]:  # sorted: this one is at least as good at the same cost
            hull.pop()
        while len(hull) > 1 and _is_below(points[hull[-2]], points[hull[-1]], points[i]):
            hull.pop()
        hull.append(i)
    best = max(range(len(hull)), key=lambda vertex: points[hull[vertex]][1], default=-1)
    return hull[: best + 1]


def _is_below(left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether `middle` lies on or below the segment from `left` to `right`."""
    slope_to_middle = (middle[1] - left[1]) * (right[0] - left[0])
    return slope_to_middle <= (right[1] - left[1]) * (middle[0] - left[0])


def check_paired(sides: Sequence[Runs]) -> None:
    """All sides have runs of the same seeds, all of the same videos, labelled and grouped alike, in any order.

    Raises:
        ValueError: a side has no runs, or its seeds are others; a run holds a video twice; or two runs hold different
            videos, or label or group them differently.
    """
    if not all(sides):
        raise ValueError("comparison: expected at least one run on each side")
    for other in sides[1:]:
        if set(other) != set(sides[0]):
            raise ValueError(f"seeds {seed_names(sides[0])} against {seed_names(other)}: expected the same")
    first, *others = (_by_id(run) for runs in sides for run in runs.values())
    for run in others:
        is_same = np.array_equal(first.video_id, run.video_id)
        differ = first.video_id[:0] if is_same else np.setxor1d(first.video_id, run.video_id)
        if differ.size:
            raise ValueError(f"video {str(differ[0])!r} ({differ.size} such): expected in every run")
        differ = first.video_id[(first.label_NK != run.label_NK).any(axis=1)]
        if differ.size:
            raise ValueError(f"video {str(differ[0])!r} ({differ.size} such): expected one labelling")
        differ = first.video_id[first.group_N != run.group_N]
        if differ.size:
            raise ValueError(f"video {str(differ[0])!r} ({differ.size} such): expected one group")


def seed_names(seeds: Iterable[int]) -> str:
    """'0, 1, 2'."""
    return ", ".join(map(str, sorted(seeds)))


def multiplicities(num_groups: int, num_replicates: int, seed: int) -> Iterator[np.ndarray]:
    """How often each group is drawn in each replicate: int32 arrays (G, up to CHUNK), each column's sum G."""
    rng = np.random.default_rng(seed)
    for start in tqdm(range(0, num_replicates, CHUNK), desc="bootstrap", leave=False, delay=2):
        num = min(CHUNK, num_replicates - start)
        draw_GR = rng.integers(num_groups, size=(num_groups, num))
        count = np.bincount((draw_GR * num + np.arange(num)).ravel(), minlength=num_groups * num)
        yield count.reshape(num_groups, num).astype(np.int32)


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
    def _rank(label_N: np.ndarray, score_N: np.ndarray) -> tuple[csr_array, csr_array]:
        """Which videos, and which positives, lie between each threshold and the next higher one, as 0 and 1: (D, N)."""
        order_N = np.argsort(-score_N)
        positive_P = order_N[label_N[order_N]]
        threshold_D, first_D = np.unique(-score_N[positive_P], return_index=True)
        end_D = np.searchsorted(-score_N[order_N], threshold_D, side="right")  # of the videos scored no lower
        starts = (np.array([0, *end_D]), np.array([*first_D, len(positive_P)]))
        shape = len(threshold_D), len(score_N)
        seen_DN, positive_DN = (
            csr_array((np.ones(start[-1], np.int32), of[: start[-1]], start), shape=shape)
            for of, start in zip((order_N, positive_P), starts, strict=True)
        )
        return seen_DN, positive_DN

    def weighted_map(self, weight_NR: np.ndarray) -> np.ndarray:
        """mAP, float64 (R,), when video n is present `weight_NR[n, r]` times."""
        map_R = np.zeros(weight_NR.shape[1])
        for seen_DN, positive_DN in self._classes:
            # sums between thresholds first: adding up D of them is quicker than adding up all videos
            seen_RD = _added_up(_by_replicate(seen_DN @ weight_NR))
            positive_RD = _by_replicate(positive_DN @ weight_NR)
            found_RD = _added_up(positive_RD)
            # where none was seen, none was found and the weight is 0
            precision_RD = found_RD / np.maximum(seen_RD, 1)
            map_R += (positive_RD * precision_RD).sum(axis=1) / np.maximum(found_RD[:, -1], 1)
        return map_R / self.num_classes


def _by_replicate(num_DR: np.ndarray) -> np.ndarray:
    """Replicates first, in memory too: adding up along it, in 32 bits, is ten times as fast as across it."""
    num_RD: np.ndarray = num_DR.T.copy()
    return num_RD


def _added_up(num_RD: np.ndarray) -> np.ndarray:
    """From the first threshold to each: of N videos, so that 32 bits hold it."""
    return num_RD.cumsum(axis=1, dtype=np.int32)


# A report compares one run with many others: what is known of each is kept for as long as the run is.
_known_sorted: WeakKeyDictionary[Predictions, Predictions] = WeakKeyDictionary()
_known_maps: WeakKeyDictionary[Predictions, tuple[float, np.ndarray]] = WeakKeyDictionary()


def _by_id(run: Predictions) -> Predictions:
    """The run with its videos, each of them once, in the order of their names."""
    if run not in _known_sorted:
        run.check_unique()
        _known_sorted[run] = run.select(np.argsort(run.video_id))
    return _known_sorted[run]


@functools.lru_cache(maxsize=4)
def _draws(num_groups: int) -> tuple[np.ndarray, ...]:
    return tuple(multiplicities(num_groups, NUM_REPLICATES, seed=0))


def resampled_map(run: Predictions) -> tuple[float, np.ndarray]:
    """The run's mAP, and on draws of videos that are the same for all runs, (R,): scores are sorted once for both."""
    if run not in _known_maps:
        by_id = _by_id(run)  # so that draws mean the same videos in every run
        ranked, group_of_N = RankedScores(by_id.label_NK, by_id.score_NK), group_indices(by_id)
        (map_as_is,) = ranked.weighted_map(np.ones((len(group_of_N), 1), np.int32)).tolist()
        _known_maps[run] = map_as_is, _weighted_maps(ranked, group_of_N, _draws(group_of_N.max() + 1))
    return _known_maps[run]
