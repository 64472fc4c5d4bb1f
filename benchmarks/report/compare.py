"""A method against what a claim has to beat: baselines, operating points at equal cost, its own decisions shuffled."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from adavid.evaluation import stats
from adavid.evaluation.records import MAIN, SHUFFLED
from adavid.files import write_atomically
from benchmarks.layers import BASELINE, catalogue, method_files, references
from benchmarks.report import charts
from benchmarks.report.curves import curve_of
from benchmarks.report.entries import LOCAL, REFERENCE, Entry, Place, find, read_entries, series_names
from benchmarks.report.formats import interval, pm, significant
from benchmarks.report.references import (
    NOT_TRAINED,
    Line,
    baselines,
    beyond_its_end,
    operating_points,
    unequal_training,
)
from benchmarks.report.tables import curve_points, each

OWN_SHUFFLED = "its own decisions shuffled across videos"
ONE_SEED = "one seed: the interval covers videos alone"
MEANING = (
    "Intervals: 95 %, of the mean over seeds, for other seeds and other videos; seed is paired with seed, video with "
    "video; videos of one group (people, place) are drawn together. With one seed they cover videos alone. +- is the "
    "sample standard deviation over seeds. Verdicts: better (the interval lies above 0), worse (below 0), no worse "
    "than 1 point (above -1), else undecided. Training that differs by more than 5 % in GMACs is called unequal; a "
    "reference that mixes two models costs both trainings. Beyond its end a line is its last point."
)


@dataclass(frozen=True)
class Comparison:
    """A method against a reference.

    Attributes:
        against: what the reference is, in words.
        cost_ratio: the method's GFLOPs per video over the reference's.
        difference: None where the comparison cannot be made.
        why_not: the reason then.
        notes: what a reader has to know of it: seeds left out, a single seed, unequal training.
    """

    against: str
    cost_ratio: float
    difference: stats.Difference | None
    why_not: str = ""
    notes: tuple[str, ...] = ()

    @property
    def per_seed(self) -> str:
        """'+2.45, -0.52', points of mAP."""
        return (
            ", ".join(f"{100 * value:+.2f}" for value in self.difference.per_seed.values()) if self.difference else ""
        )

    @property
    def points(self) -> str:
        """'+0.02 [-1.83, +2.25]', points of mAP."""
        return interval(self.difference.mean, *self.difference.interval) if self.difference else ""

    def __str__(self) -> str:
        if self.difference is None:
            return f"vs {self.against}: not comparable, {self.why_not}"
        notes = (f"per seed: {self.per_seed}", *self.notes)
        return (
            f"vs {self.against}: {self.points.replace(' ', ' mAP ', 1)}, {self.difference.verdict},"
            f" at {self.cost_ratio:.2f}x its GFLOPs; {'; '.join(notes)}"
        )


def against_method(own: Entry, other: Entry) -> Comparison:
    """Both as they are, each at its own cost, on the seeds that both have."""
    seeds = set(own.seeds) & set(other.seeds)
    if not seeds:
        why_not = f"no seed in common: {stats.seed_names(own.seeds)} against {stats.seed_names(other.seeds)}"
        return Comparison(other.label, np.nan, None, why_not)
    mine, its = own.of_seeds(seeds), other.of_seeds(seeds)
    unequal = unequal_training(mine.train_gmacs(), its.train_gmacs())
    notes = _notes(seeds, {*own.seeds, *other.seeds}, unequal)
    try:
        difference = stats.paired_difference(mine.runs(), its.runs())
    except ValueError as error:
        return Comparison(other.label, np.nan, None, str(error))
    return Comparison(other.label, mine.gflops() / its.gflops(), difference, notes=notes)


def against_label(own: Entry, label: str, entries: Sequence[Entry]) -> Comparison:
    """The method against the one configuration called `label` under its conditions, or why there is none."""
    found = baselines(entries, own, label)
    if len(found) == 1:
        return against_method(own, found[0])
    why_not = "several configurations under its conditions" if found else "no results under its conditions"
    return Comparison(label, np.nan, None, why_not)


def against_line(
    own: Entry, name: str, labels: Collection[str], entries: Sequence[Entry], point: str = MAIN
) -> Comparison:
    """The method at one of its points against the operating points of the methods named, at its own cost there."""
    there = own.of_seeds({record.seed for record in own.points[point]})
    points = operating_points(entries, there, labels)
    if not points:
        return Comparison(name, np.nan, None, f"no results of {', '.join(labels)} under its conditions with its seeds")
    seeds = set(points[0].entry.seeds)
    mine = there.of_seeds(seeds)
    val, gflops = mine.on_val(point), mine.gflops(point)
    if val is None:
        return Comparison(name, np.nan, None, "it has no numbers on val")
    try:
        mix = Line.of(points).at(val[0], gflops)
        parts = [(weight, part.runs) for weight, part in mix.parts]
        difference = stats.paired_difference_to_mix(mine.runs(point), parts)
    except ValueError as error:
        return Comparison(name, np.nan, None, str(error))
    beyond = beyond_its_end(gflops, mix.test[0])
    unequal = unequal_training(mine.train_gmacs(point), mix.train_gmacs)
    notes = _notes(seeds, set(own.seeds), beyond, unequal)
    return Comparison(name, gflops / mix.test[0], difference, notes=notes)


def against_shuffled(own: Entry) -> Comparison:
    """The method against the same models with their decisions permuted: seeds that have both."""
    seeds = {record.seed for record in own.points[SHUFFLED]} & set(own.seeds)
    mine = own.of_seeds(seeds)
    try:
        difference = stats.paired_difference(mine.runs(), mine.runs(SHUFFLED))
    except ValueError as error:
        return Comparison(OWN_SHUFFLED, np.nan, None, str(error))
    notes = _notes(seeds, set(own.seeds))
    return Comparison(OWN_SHUFFLED, mine.gflops() / mine.gflops(SHUFFLED), difference, notes=notes)


def _notes(seeds: Collection[int], all_seeds: Collection[int], *more: str) -> tuple[str, ...]:
    left_out = f"seeds {stats.seed_names(seeds)} of both" if set(seeds) != set(all_seeds) else ""
    return tuple(note for note in (left_out, ONE_SEED if len(seeds) == 1 else "", *more) if note)


def comparisons(own: Entry, entries: Sequence[Entry], other: Entry | None = None) -> list[Comparison]:
    """All that a claim about `own` has to beat.

    Args:
        own: the method.
        entries: of its data set and profile: what it is compared with is looked up among them.
        other: the one method to compare it with; without it, the method's main configuration where it is a variant,
            `BASELINE`, and its paper's strongest baselines, where its YAML says them.
    """
    at_equal_cost = [
        against_line(own, name, labels, entries)
        for name, labels in references().items()
        if not {own.method, own.label} & set(labels)
    ]
    shuffled = [against_shuffled(own)] if own.is_shuffled else []
    if other is not None:
        return [against_method(own, other), *at_equal_cost, *shuffled]
    is_known = own.method in catalogue()  # a method from elsewhere is not
    of_paper = method_files(own.method).baselines if is_known else ()
    first = [label for label in dict.fromkeys([own.method, BASELINE]) if label != own.label]
    recorded = dict.fromkeys(_recorded_as(label, own.place.profile) for label in of_paper)
    further = [label for label in recorded if label not in (*first, own.label)]
    before, after = ([against_label(own, label, entries) for label in labels] for labels in (first, further))
    return [*before, *at_equal_cost, *after, *shuffled]


def _recorded_as(label: str, profile: str) -> str:
    """The method under whose name a baseline is recorded, where it is the same run as another one's in a profile."""
    return method_files(label).same_as.get(profile, label) if "@" not in label else label


def with_comparisons(entries: Sequence[Entry]) -> list[Entry]:
    """The entries, each with its comparisons among those of its place, and what its curve says beside them."""
    compared = []
    for entry in tqdm(entries, desc="comparisons", leave=False):
        here = _at(entries, entry.place)
        compared.append(replace(entry, comparisons=tuple(comparisons(entry, here)), curve=curve_of(entry, here)))
    return compared


def compare(
    results_dir: Path,
    a: str,
    b: str = "",
    data: str | None = None,
    profile: str | None = None,
    seeds: Sequence[int] = (),
) -> str:
    """mAP and cost of a method and its paired differences from what it is compared with, as text, for each data set.

    Args:
        results_dir: holds reference/ and runs/.
        a: 'method' or 'method@variant'; '#hash' picks a configuration, ':local' or ':reference' a root.
            Without a root, the user's own runs are taken where both methods have some, else the committed
            records.
        b: likewise, the reference; without it, all that a claim about `a` has to beat.
        data: only this data set.
        profile: only this profile.
        seeds: only these, which both have to have; without them the two have to have the same.

    Raises:
        ValueError: a name has no results (the nearest names are given) or several configurations, the two have no data
            set in common, or their seeds are not the same.
    """
    chosen = _select(read_entries(Path(results_dir)), data, profile)
    a, b = (_run_as(name, {entry.place.profile for entry in chosen}) for name in (a, b))
    of_a, of_b = find(chosen, a), find(chosen, b) if b else []
    places = sorted({e.place for e in of_a} & {e.place for e in of_b or of_a})
    if not places:
        raise ValueError(
            f"{a} has results on {_place_names(of_a)} and {b} on {_place_names(of_b)}: expected one in common"
        )
    blocks = []
    for place in places:
        here = _at(chosen, place)
        picked = _pair(_at(of_a, place), _at(of_b, place)) if b else [the_entry(of_a, a, place)]
        own, *other = _of_same_seeds(picked, seeds)
        lines = [f"  {comparison}" for comparison in comparisons(own, here, *other)]
        blocks.append("\n".join([_heading(own), _scores([own, *other]), own.label, *lines]))
    return "\n\n".join([*blocks, MEANING])


def _run_as(label: str, profiles: Collection[str]) -> str:
    """The name under which a user's method is run, where it is another one's in all of the profiles."""
    of = {_recorded_as(label, profile) for profile in profiles} if label in catalogue() else {label}
    return of.pop() if len(of) == 1 else label


def the_entry(entries: Sequence[Entry], name: str, place: Place) -> Entry:
    """The one entry of a place that a user's name means: among the user's own runs, else among the committed records.

    Raises:
        ValueError: there is none (the nearest names are given), or there are several.
    """
    return _one(_of_root(find(_at(entries, place), name), LOCAL, REFERENCE), name)


def _of_same_seeds(entries: Sequence[Entry], seeds: Sequence[int]) -> list[Entry]:
    """The entries, of the seeds that were asked for.

    Raises:
        ValueError: one of them lacks a seed, or none were asked for and they are not the same in all.
    """
    have = " and ".join(f"{entry.label} has seeds {stats.seed_names(entry.seeds)}" for entry in entries)
    common = set(entries[0].seeds).intersection(*(entry.seeds for entry in entries))
    if seeds and not set(seeds) <= common:
        raise ValueError(f"seeds {stats.seed_names(seeds)}: expected some that there are; {have}")
    if not seeds and any(set(entry.seeds) != common for entry in entries):
        hint = f"SEEDS={','.join(map(str, sorted(common)))} compares on those" if common else "there is none in common"
        raise ValueError(f"{have}: expected the same; {hint}")
    return [entry.of_seeds(seeds or common) for entry in entries]


def curve_report(
    results_dir: Path,
    method: str,
    data: str | None = None,
    profile: str | None = None,
    seeds: Collection[int] = (),
    out_dir: Path | None = None,
) -> str:
    """A method's operating points as a table, each with its paired difference from the equal-cost line, and as a PNG.

    Args:
        results_dir: holds reference/ and runs/.
        method: as in `compare`.
        data: only this data set.
        profile: only this profile.
        seeds: only the runs of these.
        out_dir: where curve-<data>-<profile>-<method>.png goes; `results_dir` where not given.

    Raises:
        ValueError: as in `compare`; or the method has no curve points.
    """
    chosen = _select(read_entries(Path(results_dir), seeds), data, profile)
    found = find(chosen, method)
    blocks = []
    for place in sorted({entry.place for entry in found}):
        here = _at(chosen, place)
        entry = the_entry(found, method, place)
        if len(entry.points.keys() - {SHUFFLED}) == 1:
            raise ValueError(
                f"{entry.label} on {_place_names([entry])}: expected curve points, found only its main one"
            )
        line, names = equal_cost_line(here, entry), {entry.name}
        shown = [other for other in here if other.name in names | {e.name for e in baselines(here, entry, BASELINE)}]
        points = curve_points(shown, series_names(shown))
        path = Path(out_dir or results_dir) / f"curve-{place.data}-{place.profile}-{entry.label}.png"
        write_atomically(path, charts.to_png(charts.tradeoff(points, BASELINE, drawn(line))))
        blocks.append("\n".join([_heading(entry), _curve_table(entry, points, here), f"chart: {path}"]))
    return "\n\n".join([*blocks, MEANING])


def equal_cost_line(entries: Sequence[Entry], own: Entry) -> Line | None:
    """The first of the lines that a claim has to beat, under the conditions of `own`; None where there is none."""
    for labels in references().values():
        try:
            return Line.of(operating_points(entries, own, labels))
        except ValueError:
            return None
    return None


def drawn(line: Line | None) -> list[tuple[float, float]]:
    """The line as it is drawn: GFLOPs per video and mAP in percent of its points on test, by rising cost."""
    return sorted((cost, 100 * value) for cost, value in (point.test for point in line.points)) if line else []


def _curve_table(entry: Entry, points: pd.DataFrame, entries: Sequence[Entry]) -> str:
    """The operating points, each against the first of the lines that a claim has to beat."""
    name, labels = next(iter(references().items()), ("", ()))
    is_compared = name and entry.method not in labels
    rows = []
    for row in each(points[points.series == series_names([entry])[entry.name]]):
        shown = {
            "point": "main" if row.point == MAIN else row.point,
            "operating point": row.operating_point,
            "seeds": f"{row.num_seeds}",
            "mAP %": pm(row.map, row.map_std),
            "GFLOPs/video": significant(row.gflops_per_video),
            "frames used": f"{row.frames_used:.1f}",
        }
        if is_compared and row.point != SHUFFLED:
            against = against_line(entry, name, labels, entries, row.point)
            verdict = against.difference.verdict if against.difference else against.why_not
            shown |= {f"vs {name}": against.points, "": "; ".join([verdict, *against.notes])}
        rows.append(shown)
    table = pd.DataFrame(rows).fillna("")
    align = ["left", "left", *("right",) * 5, "left"][: table.shape[1]]
    return table.to_markdown(index=False, tablefmt="simple", colalign=align, disable_numparse=True)


def _scores(entries: Iterable[Entry]) -> str:
    rows = []
    for entry in entries:
        map_S = [100 * record.metrics.map for record in entry.main]
        used = entry.mean(lambda record: record.frames.used)
        low, high = stats.mean_map(entry.runs()).interval
        rows.append(
            {
                "": entry.label,
                "mAP %": pm(float(np.mean(map_S)), float(np.std(map_S, ddof=1)) if len(map_S) > 1 else np.nan),
                "95 %": f"{100 * low:.1f} to {100 * high:.1f}",
                "GFLOPs/video": significant(entry.gflops()),
                "frames used": f"{used:.1f} of {entry.first.frames.num_frames}",
                "train GMACs": significant(entry.train_gmacs()) or NOT_TRAINED,
                "seeds": ", ".join(str(record.seed) for record in entry.main),
                "record": f"{entry.root} {entry.config_hash[:8]}",
            }
        )
    return pd.DataFrame(rows).to_markdown(index=False, tablefmt="simple", disable_numparse=True)


def _pair(of_a: Sequence[Entry], of_b: Sequence[Entry]) -> list[Entry]:
    """One entry of each, of one root where possible: the user's own runs before the committed records."""
    shared = {entry.root for entry in of_a} & {entry.root for entry in of_b}
    order = sorted((LOCAL, REFERENCE), key=lambda root: root not in shared)
    return [_one(_of_root(of, *order), of[0].label) for of in (of_a, of_b)]


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
