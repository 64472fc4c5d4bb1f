"""Two methods on the same videos: as they are, at equal cost, with shuffled decisions; and curves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from adavid.evaluation import stats
from adavid.evaluation.predictions import Predictions
from adavid.evaluation.records import MAIN, SHUFFLED
from adavid.files import write_atomically
from benchmarks.report import charts
from benchmarks.report.entries import (
    LOCAL,
    REFERENCE,
    Entry,
    Place,
    baselines,
    find,
    operating_points,
    read_entries,
    series_names,
)
from benchmarks.report.formats import pm, significant
from benchmarks.report.tables import curve_points, each

BASELINE = "uniform"  # the method whose curve is the reference, where no other is named
MEANING = (
    "Intervals: 95 %, bootstrap over videos, the same videos drawn for both sides, given the trained models; "
    "+- is the sample standard deviation over seeds."
)


@dataclass(frozen=True)
class Comparison:
    """A method against a reference.

    Attributes:
        against: what the reference is, in words.
        cost_ratio: the method's GFLOPs per video over the reference's.
        difference: None where the comparison cannot be made.
        why_not: the reason then.
    """

    against: str
    cost_ratio: float
    difference: stats.Difference | None
    why_not: str = ""

    def __str__(self) -> str:
        if self.difference is None:
            return f"vs {self.against}: not comparable, {self.why_not}"
        low, high = self.difference.interval
        return (
            f"vs {self.against}: {100 * self.difference.mean:+.2f} mAP [{100 * low:+.2f}, {100 * high:+.2f}]"
            f" at {self.cost_ratio:.2f}x its GFLOPs"
        )


def against_method(own: Entry, other: Entry) -> Comparison:
    """Both as they are, each at its own cost."""
    ratio = own.gflops() / other.gflops()
    try:
        difference = stats.paired_difference(own.predictions(), other.predictions())
    except ValueError as error:
        return Comparison(other.label, ratio, None, str(error))
    return Comparison(other.label, ratio, difference)


def against_curve(own: Entry, points: Sequence[tuple[Entry, str]], name: str) -> Comparison:
    """The method against the upper hull of the reference's operating points, at the method's own cost."""
    against = f"{name}'s curve at equal cost ({len(points)} points)"
    try:
        runs = [entry.predictions(point) for entry, point in points]
        difference = stats.paired_difference_to_curve(own.predictions(), runs)
    except ValueError as error:
        return Comparison(against, 1.0, None, str(error))
    dearest = max(entry.gflops(point) for entry, point in points)
    return Comparison(against, max(1.0, own.gflops() / dearest), difference)


def against_shuffled(own: Entry) -> Comparison:
    """The method against the same models with their decisions permuted: seeds that have both."""
    shuffled = {record.seed: run for record, run in zip(own.points[SHUFFLED], own.predictions(SHUFFLED), strict=True)}
    pairs: list[tuple[Predictions, Predictions]] = [
        (run, shuffled[record.seed])
        for record, run in zip(own.main, own.predictions(), strict=True)
        if record.seed in shuffled
    ]
    ratio = own.gflops() / own.gflops(SHUFFLED)
    against = "its own decisions shuffled across videos"
    try:
        difference = stats.paired_difference([run for run, _ in pairs], [run for _, run in pairs])
    except ValueError as error:
        return Comparison(against, ratio, None, str(error))
    return Comparison(against, ratio, difference)


def comparisons(own: Entry, other: Entry, entries: Sequence[Entry]) -> list[Comparison]:
    """All that can be said of `own` against `other`.

    Args:
        own: the method.
        other: the reference.
        entries: of the data set and profile: the reference's curve is looked up among them, over all variants
            where `other` is none itself.
    """
    points = operating_points(entries, other)
    out = [against_method(own, other)]
    if len(points) > 1 and own.method != other.method:
        out.append(against_curve(own, points, other.label))
    if own.is_shuffled:
        out.append(against_shuffled(own))
    return out


def compare(results_dir: Path, a: str, b: str, data: str | None = None, profile: str | None = None) -> str:
    """mAP and cost of two methods and their paired difference, as text, for each data set that has both.

    Args:
        results_dir: holds reference/ and runs/.
        a: 'method' or 'method@variant'; '#hash' picks a configuration, ':local' or ':reference' a root.
            Without a root, the user's own runs are taken where both methods have some, else the committed
            records.
        b: likewise, the reference.
        data: only this data set.
        profile: only this profile.

    Raises:
        ValueError: a name has no results (the nearest names are given) or several configurations, or the two
            have no data set in common.
    """
    chosen = _select(read_entries(Path(results_dir)), data, profile)
    of_a, of_b = find(chosen, a), find(chosen, b)
    places = sorted({e.place for e in of_a} & {e.place for e in of_b})
    if not places:
        raise ValueError(
            f"{a} has results on {_place_names(of_a)} and {b} on {_place_names(of_b)}: expected one in common"
        )
    blocks = []
    for place in places:
        here = _at(chosen, place)
        own, other = _pair(_at(of_a, place), _at(of_b, place))
        lines = [f"  {comparison}" for comparison in comparisons(own, other, here)]
        blocks.append("\n".join([_heading(own), _scores([own, other]), own.label, *lines]))
    return "\n\n".join([*blocks, MEANING])


def curve_report(
    results_dir: Path,
    method: str,
    data: str | None = None,
    profile: str | None = None,
    baseline: str = BASELINE,
    out_dir: Path | None = None,
) -> str:
    """A method's operating points as a table, each with the baseline's mAP at equal cost, and as a PNG.

    Args:
        results_dir: holds reference/ and runs/.
        method: as in `compare`.
        data: only this data set.
        profile: only this profile.
        baseline: the method whose upper hull is the reference line.
        out_dir: where curve-<data>-<profile>-<method>.png goes; `results_dir` where not given.

    Raises:
        ValueError: as in `compare`; or the method has no curve points.
    """
    chosen = _select(read_entries(Path(results_dir)), data, profile)
    found = find(chosen, method)
    blocks = []
    for place in sorted({entry.place for entry in found}):
        here = _at(chosen, place)
        entry = _one(_of_root(_at(found, place), LOCAL, REFERENCE), method)
        if len(entry.points.keys() - {SHUFFLED}) == 1:
            raise ValueError(
                f"{entry.label} on {_place_names([entry])}: expected curve points, found only its main one"
            )
        references = baselines(here, entry, baseline)
        reference_points = operating_points(here, references[0]) if references else []
        names = {entry.name, *(reference.name for reference, _ in reference_points)}
        shown = [other for other in here if other.name in names]
        points = curve_points(shown, series_names(shown))
        path = Path(out_dir or results_dir) / f"curve-{place.data}-{place.profile}-{entry.label}.png"
        write_atomically(path, charts.to_png(charts.tradeoff(points, baseline)))
        blocks.append("\n".join([_heading(entry), _curve_table(entry, points, baseline), f"chart: {path}"]))
    return "\n\n".join(blocks)


def _curve_table(entry: Entry, points: pd.DataFrame, baseline: str) -> str:
    name = series_names([entry])[entry.name]
    hull = points[(points.method == baseline) & (points.kind != SHUFFLED)]
    costs_and_maps = list(zip(hull.gflops_per_video, hull["map"], strict=True))
    rows = []
    for row in each(points[points.series == name]):
        reachable = entry.method != baseline and costs_and_maps and row.gflops_per_video >= min(costs_and_maps)[0]
        height = stats.curve_at(row.gflops_per_video, costs_and_maps) if reachable else np.nan
        rows.append(
            {
                "point": "main" if row.point == MAIN else row.point,
                "operating point": row.operating_point,
                "seeds": f"{row.num_seeds}",
                "mAP %": pm(row.map, row.map_std),
                "GFLOPs/video": significant(row.gflops_per_video),
                "frames used": f"{row.frames_used:.1f}",
                f"{baseline} at equal cost": f"{height:.2f}" if reachable else "",
                "gain": f"{row.map - height:+.2f}" if reachable else "",
            }
        )
    align = ("left", "left", *("right",) * 6)
    return pd.DataFrame(rows).to_markdown(index=False, tablefmt="simple", colalign=align, disable_numparse=True)


def _scores(entries: Iterable[Entry]) -> str:
    rows = []
    for entry in entries:
        map_S = [100 * record.metrics.map for record in entry.main]
        used = entry.mean(lambda record: record.frames.used)
        rows.append(
            {
                "": entry.label,
                "mAP %": pm(float(np.mean(map_S)), float(np.std(map_S, ddof=1)) if len(map_S) > 1 else np.nan),
                "GFLOPs/video": significant(entry.gflops()),
                "frames used": f"{used:.1f} of {entry.first.frames.num_frames}",
                "seeds": ", ".join(str(record.seed) for record in entry.main),
                "record": f"{entry.root} {entry.config_hash[:8]}",
            }
        )
    return pd.DataFrame(rows).to_markdown(index=False, tablefmt="simple", disable_numparse=True)


def _pair(of_a: Sequence[Entry], of_b: Sequence[Entry]) -> tuple[Entry, Entry]:
    """One entry of each, of one root where possible: the user's own runs before the committed records."""
    shared = {entry.root for entry in of_a} & {entry.root for entry in of_b}
    order = sorted((LOCAL, REFERENCE), key=lambda root: root not in shared)
    return _one(_of_root(of_a, *order), of_a[0].label), _one(_of_root(of_b, *order), of_b[0].label)


def _of_root(entries: Sequence[Entry], *roots: str) -> list[Entry]:
    """The entries of the first of the roots that has some."""
    found = ([entry for entry in entries if entry.root == root] for root in roots)
    return next(of for of in found if of)


def _one(entries: Sequence[Entry], name: str) -> Entry:
    if len(entries) > 1:
        names = ", ".join(entry.name for entry in entries)
        raise ValueError(f"{name!r} has results of several configurations: expected one of {names}")
    return entries[0]


def _select(entries: Sequence[Entry], data: str | None, profile: str | None) -> list[Entry]:
    """The entries on a data set and profile, of all where they are not given."""
    chosen = [e for e in entries if data in (None, e.place.data) and profile in (None, e.place.profile)]
    if not chosen:
        wanted = ", ".join(name for name in (data, profile) if name)
        where = f" on {wanted}" if wanted else ""
        raise ValueError(f"no results{where}: there are some on {_place_names(entries) or 'nothing'}")
    return chosen


def _at(entries: Sequence[Entry], place: Place) -> list[Entry]:
    return [entry for entry in entries if entry.place == place]


def _place_names(entries: Sequence[Entry]) -> str:
    """Where there are entries, for reading."""
    return ", ".join(sorted({str(entry.place) for entry in entries}))


def _heading(entry: Entry) -> str:
    place, first = entry.place, entry.first
    heading = f"{place.data}, profile {place.profile}, {first.data_info.num_videos:,} videos of the {first.split} split"
    return f"{heading}; {first.metrics.caveat}" if first.metrics.caveat else heading
