"""Whether what is measured comes in the papers' order: the outcome of each claim, in each place that has both sides.

S seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from adavid.evaluation import stats
from adavid.evaluation.records import MAIN, Axis, By, OnlinePoint, OnlineRecord
from benchmarks.report.compare import against_line, against_method
from benchmarks.report.entries import REFERENCE, Entry, Place
from benchmarks.report.formats import interval, times
from benchmarks.report.papers import (
    CLOCK,
    EQUAL_COST,
    FIXED_K,
    OWN_COST,
    WATCHED,
    Claim,
    Exhibit,
    Printed,
    Reported,
    Row,
)
from benchmarks.report.references import baselines

AGREES, DISAGREES, UNDECIDED, UNMEASURED = "agrees", "disagrees", "undecided", "no records"
BOTH_WAYS, NO_ORDER, NOT_COMPARABLE = "printed both ways", "no order printed", "not comparable"


@dataclass(frozen=True)
class Outcome:
    """A claim of a paper beside what is measured in one place.

    Attributes:
        place: "" where nothing is measured.
        printed: the paper's difference, by data set.
        here: ours, with its interval.
        verdict: whether the order agrees: it does where the interval lies on the paper's side of 0.
        printed_cost, cost, cost_verdict: the same of the ratio of costs; all seeds have to lie on one side of 1.
        note: what a reader has to know of it.
    """

    claim: str
    place: str
    printed: str
    here: str
    verdict: str
    printed_cost: str = ""
    cost: str = ""
    cost_verdict: str = ""
    note: str = ""


class Boards:
    """The committed entries, by place, the one with the most first."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        committed = [entry for entry in entries if entry.root == REFERENCE]
        places = [entry.place for entry in committed]
        self.places = sorted(set(places), key=lambda place: (-places.count(place), place))
        self._by_place = {place: [entry for entry in committed if entry.place == place] for place in self.places}

    def at(self, place: Place) -> list[Entry]:
        return self._by_place[place]

    def find(self, row: Row, place: Place) -> Entry | None:
        """What stands for a row of an exhibit in a place; None where nothing does."""
        label, point = row.counterpart
        if row.profile not in ("", place.profile):
            return None
        found = next((entry for entry in self.at(place) if entry.label == label), None)
        return None if found is None else at_point(found, point)


def at_point(entry: Entry, point: str) -> Entry | None:
    """The entry with another point as its main one; None where it lacks the point."""
    if not point:
        return entry
    return replace(entry, points={MAIN: entry.points[point]}) if point in entry.points else None


def name_of(place: Place) -> str:
    """For reading."""
    return f"{place.data}/{place.profile}"


def outcomes(exhibit: Exhibit, boards: Boards, reported: Reported) -> list[Outcome]:
    """Every claim of an exhibit in every place that has both sides; once without a place where none has."""
    found = []
    for claim in exhibit.claims:
        measure = MEASURES[claim.at]
        of_claim = [outcome for place in boards.places for outcome in measure(exhibit, claim, boards, place, reported)]
        found += of_claim or [_unmeasured(exhibit, claim, reported)]
    return found


def _unmeasured(exhibit: Exhibit, claim: Claim, reported: Reported) -> Outcome:
    rows = [exhibit.rows[name] for name in (claim.of, claim.against) if name in exhibit.rows]
    note = next((row.why_not for row in rows if row.why_not), "")
    points = [reported.of(exhibit, row) for row in rows]
    differences = _differences(*points) if len(points) == 2 else {}
    return Outcome(claim.text, "", claim.printed or _by_data(differences), "", UNMEASURED, note=note)


def _each(exhibit: Exhibit, claim: Claim, boards: Boards, place: Place, reported: Reported) -> Iterator[Outcome]:
    """Two rows, each at its own cost."""
    row, other = exhibit.rows[claim.of], exhibit.rows[claim.against]
    own, reference = boards.find(row, place), boards.find(other, place)
    if own is None or reference is None:
        return
    for entry in baselines(boards.at(place), own, reference.label)[:1]:  # of several, that of its conditions
        reference = at_point(entry, other.counterpart[1]) or reference
    compared = against_method(own, reference)
    printed, printed_of = reported.of(exhibit, row), reported.of(exhibit, other)
    differences, ratios = _differences(printed, printed_of), _ratios(printed, printed_of)
    if compared.difference is None:
        yield Outcome(claim.text, name_of(place), _by_data(differences), "", NOT_COMPARABLE, note=compared.why_not)
        return
    seeds = set(own.seeds) & set(reference.seeds)
    ratio_S = [_gflops(own, seed) / _gflops(reference, seed) for seed in sorted(seeds)]
    yield Outcome(
        claim.text,
        name_of(place),
        _by_data(differences),
        compared.points,
        _ordered(differences, *compared.difference.interval),
        _by_data(ratios, times),
        times(compared.cost_ratio),
        _ordered(_logs(ratios), float(np.log(min(ratio_S))), float(np.log(max(ratio_S)))) if ratios else "",
        "; ".join(compared.notes),
    )


def _at_equal_cost(
    exhibit: Exhibit, claim: Claim, boards: Boards, place: Place, reported: Reported
) -> Iterator[Outcome]:
    """A row's points beside the curve of another one."""
    row, other = exhibit.rows[claim.of], exhibit.rows[claim.against]
    own = boards.find(row, place)
    if own is None or boards.find(other, place) is None:
        return
    compared = against_line(own, claim.against, [other.counterpart[0]], boards.at(place))
    differences = _above_curve(reported.of(exhibit, row), reported.of(exhibit, other))
    if compared.difference is None:
        yield Outcome(claim.text, name_of(place), _by_data(differences), "", NOT_COMPARABLE, note=compared.why_not)
        return
    verdict = _ordered(differences, *compared.difference.interval)
    yield Outcome(
        claim.text,
        name_of(place),
        _by_data(differences),
        compared.points,
        verdict,
        cost=times(compared.cost_ratio),
        note="; ".join(compared.notes),
    )


def _by_the_clock(
    exhibit: Exhibit, claim: Claim, boards: Boards, place: Place, reported: Reported
) -> Iterator[Outcome]:
    """A row's time beside its baseline's, in one run; the spread is over its rounds."""
    row, other = exhibit.rows[claim.of], exhibit.rows[claim.against]
    own = next((entry for entry in boards.at(place) if entry.label == row.run), None)
    timed = [] if own is None else own.timed_rows(claim.batch)
    if own is None or not timed:
        return
    printed, printed_of = reported.of(exhibit, row), reported.of(exhibit, other)
    pairs = ((of, base) for of in printed for base in printed_of if base.data == of.data)
    faster = {of.data: base.ms / of.ms for of, base in pairs if not np.isnan(base.ms / of.ms)}
    speedup = float(np.mean([of.speedup_realised for of in timed]))
    seen = [speedup, *(bound for of in timed for bound in of.speedup_spread)]
    low, high = min(seen), max(seen)
    theory = float(np.mean([of.speedup_theoretical for of in timed]))
    yield Outcome(
        f"{claim.text}, batch {claim.batch}",
        name_of(place),
        _by_data(faster, times),
        f"{times(speedup)} [{times(low)}, {times(high)}]",
        _ordered(_logs(faster), float(np.log(low)), float(np.log(high))),
        cost=times(1 / theory),
        note=f"seeds {stats.seed_names(record.seed for record in own.latencies)}; the bracket is over rounds; beside "
        f"{own.latencies[0].baseline}",
    )


def _along(exhibit: Exhibit, claim: Claim, boards: Boards, place: Place, reported: Reported) -> Iterator[Outcome]:
    """A row online beside the baseline: at each number of frames seen closely, or where a share has been watched."""
    row = exhibit.rows[claim.of]
    own = next((entry for entry in boards.at(place) if entry.label == row.run), None)
    if own is None or not own.online:
        return
    axis: Axis = "close" if claim.at == FIXED_K else "watched"
    other = exhibit.rows.get(claim.against)
    pairs_printed = (reported.of(exhibit, row), reported.of(exhibit, other) if other else [])
    differences = _in_order(*pairs_printed, lambda own, its: own.score - its.score)
    ratios = _in_order(*pairs_printed, lambda own, its: own.gflops / its.gflops)
    signs = differences or {"": 1.0}
    for value, pairs in online_pairs(own.online, axis, cast(By, claim.by)):
        gap_S = [mine.top1 - its.top1 for mine, its in pairs]
        low, high = stats.interval_of_mean(gap_S, np.array([np.mean(gap_S)]))
        ratio_S = [mine.gflops / its.gflops for mine, its in pairs]
        at = f"K = {value:g}" if axis == "close" else f"{value:.0%} watched"
        yield Outcome(
            f"{claim.text}, {at}",
            name_of(place),
            claim.printed or _by_data(differences),
            interval(float(np.mean(gap_S)), low, high),
            _ordered(signs, low, high),
            _by_data(ratios, times),
            times(float(np.mean(ratio_S))),
            _ordered(_logs(ratios), float(np.log(min(ratio_S))), float(np.log(max(ratio_S)))) if ratios else "",
            "top-1, over seeds alone",
        )


MEASURES: dict[str, Callable[[Exhibit, Claim, Boards, Place, Reported], Iterator[Outcome]]] = {
    OWN_COST: _each,
    EQUAL_COST: _at_equal_cost,
    CLOCK: _by_the_clock,
    FIXED_K: _along,
    WATCHED: _along,
}


def online_pairs(
    records: Sequence[OnlineRecord], axis: Axis, by: By
) -> Iterator[tuple[float, list[tuple[OnlinePoint, OnlinePoint]]]]:
    """By value of the axis the points of the method and of the baseline, a pair a seed; values that all seeds reach."""
    by_seed = [{(of.by, of.value): of for of in record.points if of.axis == axis} for record in records]
    for value in sorted({value for points in by_seed for _, value in points}):
        if all(("own", value) in points and (by, value) in points for points in by_seed):
            yield value, [(points["own", value], points[by, value]) for points in by_seed]


def _gflops(entry: Entry, seed: int) -> float:
    return entry.of_seeds([seed]).gflops()


# What is printed


def _ordered(printed: Mapping[str, float], low: float, high: float) -> str:
    """Whether an interval lies on the side of 0 that is printed, by data set."""
    signs = {np.sign(value) for value in printed.values()} - {0.0}
    if len(signs) != 1:
        return BOTH_WAYS if signs else NO_ORDER
    sign = signs.pop()
    if low > 0 or high < 0:
        return AGREES if (low > 0) == (sign > 0) else DISAGREES
    return UNDECIDED


def _by_data(values: Mapping[str, float], text: Callable[[float], str] = "{:+.1f}".format) -> str:
    """'+1.3 (activitynet), +0.3 (fcvid)'."""
    return ", ".join(f"{text(value)} ({data})" for data, value in values.items())


def _logs(ratios: Mapping[str, float]) -> dict[str, float]:
    return {data: float(np.log(ratio)) for data, ratio in ratios.items()}


def _differences(of: Sequence[Printed], against: Sequence[Printed]) -> dict[str, float]:
    """By data set what the first row scores above the second one, where both are printed once."""
    pairs = _once_each(of, against)
    return {data: round(own.score - other.score, 6) for data, (own, other) in pairs.items()}


def _ratios(of: Sequence[Printed], against: Sequence[Printed]) -> dict[str, float]:
    """By data set the cost of the first row over that of the second one, where both are printed once."""
    ratios = {data: own.gflops / other.gflops for data, (own, other) in _once_each(of, against).items()}
    return {data: ratio for data, ratio in ratios.items() if not np.isnan(ratio)}


def _once_each(of: Sequence[Printed], against: Sequence[Printed]) -> dict[str, tuple[Printed, Printed]]:
    by_data, others = ({printed.data: printed for printed in rows} for rows in (of, against))
    return {data: (printed, others[data]) for data, printed in by_data.items() if data in others}


def _in_order(
    of: Sequence[Printed], against: Sequence[Printed], compared: Callable[[Printed, Printed], float]
) -> dict[str, float]:
    """Of rows that are printed several times on a data set the mean, the cheapest beside the cheapest."""
    found = {}
    for data in dict.fromkeys(printed.data for printed in against):
        rows = ([printed for printed in of_row if printed.data == data] for of_row in (of, against))
        found[data] = float(np.mean([compared(own, its) for own, its in zip(*rows, strict=True)]))
    return found


def _above_curve(of: Sequence[Printed], against: Sequence[Printed]) -> dict[str, float]:
    """By data set how far the first row's points lie above the hull of the second one's, a mean where that reaches."""
    found = {}
    for data in dict.fromkeys(printed.data for printed in of):
        own, other = (
            [(printed.gflops, printed.score) for printed in rows if printed.data == data and printed.gflops > 0]
            for rows in (of, against)
        )
        hull = [other[i] for i in stats.upper_hull(other)]
        dearest = max((cost for cost, _ in other), default=0.0)
        reached = [(cost, score) for cost, score in own if hull and hull[0][0] <= cost <= dearest]
        if reached:
            costs, scores = zip(*hull, strict=True)
            found[data] = float(np.mean([score - np.interp(cost, costs, scores) for cost, score in reached]))
    return found
