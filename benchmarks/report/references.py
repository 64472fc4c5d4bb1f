"""What a claim has to beat: baselines under the same conditions, and operating points at equal cost, chosen on val."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from adavid.evaluation.predictions import Predictions
from adavid.evaluation.records import SHUFFLED
from adavid.evaluation.stats import upper_hull
from benchmarks.report.entries import Entry

UNEQUAL = "unequal training"
NOT_TRAINED = "not trained here"
BEYOND = "beyond its end"
EQUAL_COST = 1.05  # a method that costs more than a line's last point by this factor is beyond its end
EQUAL_TRAINING = 1.05  # a pair whose training compute differs by more is called unequal


class Point(NamedTuple):
    """An operating point of a configuration."""

    entry: Entry
    name: str  # among the entry's points

    @property
    def val(self) -> tuple[float, float]:
        """GFLOPs per video and mAP on the validation split."""
        found = self.entry.on_val(self.name)
        assert found is not None
        return found

    @property
    def test(self) -> tuple[float, float]:
        """GFLOPs per video and mAP on the split that the record speaks of."""
        return self.entry.gflops(self.name), self.entry.mean(lambda record: record.metrics.map, self.name)

    @property
    def train_gmacs(self) -> float:
        return self.entry.train_gmacs(self.name)

    @property
    def runs(self) -> dict[int, Predictions]:
        return self.entry.runs(self.name)


@dataclass(frozen=True)
class Mix:
    """Operating points with their weights, which stand for the share of the videos that each would be given."""

    parts: tuple[tuple[float, Point], ...]

    @property
    def test(self) -> tuple[float, float]:
        """GFLOPs per video and mAP."""
        costs_and_maps = [(weight, *point.test) for weight, point in self.parts]
        return sum(weight * cost for weight, cost, _ in costs_and_maps), sum(
            w * value for w, _, value in costs_and_maps
        )

    @property
    def train_gmacs(self) -> float:
        """Of all trainings that it takes: two points of one model are one."""
        trainings = {point.entry.first.model_hash: point.train_gmacs for weight, point in self.parts if weight > 0}
        return sum(trainings.values())


@dataclass(frozen=True)
class Line:
    """What methods attain at any cost: operating points chosen on the validation split, by rising cost there.

    Attributes:
        points: the upper concave hull on the validation split; its last one is the best there.
    """

    points: tuple[Point, ...]

    @classmethod
    def of(cls, candidates: Sequence[Point]) -> Line:
        """The hull of the candidates that have numbers on the validation split.

        Raises:
            ValueError: there are none.
        """
        known = [point for point in candidates if point.entry.on_val(point.name) is not None]
        if not known:
            raise ValueError("no operating point with numbers on val")
        return cls(tuple(known[i] for i in upper_hull([point.val for point in known])))

    def at(self, val_gflops: float, test_gflops: float) -> Mix:
        """The mix that costs what a method costs.

        Between which two points it lies follows from the costs on val. Their weights are such that the mix costs
        `test_gflops` on test, as far as that lies between the two. Beyond the last point it is that point.

        Args:
            val_gflops: the method's cost per video on the validation split.
            test_gflops: on the split that it is compared on.

        Raises:
            ValueError: the method is cheaper than the first point.
        """
        costs = [point.val[0] for point in self.points]
        if val_gflops < costs[0] * (1 - 1e-9):  # the mean of equal costs may differ in its last digit
            raise ValueError(f"cheaper than its cheapest point ({val_gflops:.5g} against {costs[0]:.5g} GFLOPs on val)")
        right = next((i for i, cost in enumerate(costs) if val_gflops <= cost), None)
        if right is None:
            return Mix(((1.0, self.points[-1]),))
        if right == 0:
            return Mix(((1.0, self.points[0]),))
        cheap, dear = self.points[right - 1 : right + 1]
        low, high = cheap.test[0], dear.test[0]
        weight = min(max((test_gflops - low) / (high - low), 0.0), 1.0) if high > low else 1.0
        return Mix(((1 - weight, cheap), (weight, dear)))


def baselines(entries: Sequence[Entry], own: Entry, label: str) -> list[Entry]:
    """The entries called `label` under the conditions of `own`.

    Where there are several, those of its root, then those with its warm-up, then those whose training took as much.
    """
    found = under_its_conditions(entries, own, label)
    found = _preferred(found, lambda entry: entry.warmup == own.warmup)
    return _preferred(found, lambda entry: not unequal_training(own.train_gmacs(), entry.train_gmacs()))


def under_its_conditions(entries: Sequence[Entry], own: Entry, label: str) -> list[Entry]:
    """The entries called `label` that share the conditions of `own`, of its root where there are some."""
    found = [entry for entry in entries if entry.label == label and entry.conditions == own.conditions]
    return _preferred(found, lambda entry: entry.root == own.root)


def operating_points(entries: Sequence[Entry], own: Entry, labels: Collection[str]) -> list[Point]:
    """Every recorded operating point of the methods named, under the conditions of `own`.

    All are means of the same seeds, those of `own` that the methods have too. A point that lacks one of them is left
    out, and all are where there is no such seed.
    """
    of = [entry for label in labels for entry in under_its_conditions(entries, own, label)]
    seeds = set(own.seeds).intersection(*(entry.seeds for entry in of))
    points = [Point(entry.of_seeds(seeds), point) for entry in of for point in entry.points if point != SHUFFLED]
    return [point for point in points if seeds and len(point.entry.points.get(point.name, ())) == len(seeds)]


def beyond_its_end(gflops: float, line_gflops: float) -> str:
    """What is said of a method that a line does not reach, and is compared with its last point; "" of others."""
    ratio = gflops / line_gflops
    return f"{BEYOND}: it costs {ratio:.2f}x of its last point" if ratio > EQUAL_COST else ""


def unequal_training(own_gmacs: float, reference_gmacs: float) -> str:
    """The budget rule: what is said of a pair whose training differs by more than 5 % in GMACs; "" of others.

    Of one that was not trained here nobody knows what it took (NaN).
    """
    if math.isnan(own_gmacs) or math.isnan(reference_gmacs):
        return f"{NOT_TRAINED}: what training took is not known of both"
    if max(own_gmacs, reference_gmacs) <= EQUAL_TRAINING * min(own_gmacs, reference_gmacs):
        return ""
    return f"{UNEQUAL}: {own_gmacs:,.0f} against {reference_gmacs:,.0f} GMACs"


def _preferred(entries: Sequence[Entry], is_preferred: Callable[[Entry], bool]) -> list[Entry]:
    """Those that are, or all where none is."""
    return [entry for entry in entries if is_preferred(entry)] or list(entries)
