"""What the page shows of each place: its facts, rows, comparisons, charts and examples, computed from the entries.

N videos, T frames, K classes, S seeds, A kinds of action.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from adavid.actions import is_close
from adavid.evaluation.records import Record
from benchmarks.layers import BASELINE
from benchmarks.report import charts, tables
from benchmarks.report.answers import Answer, answers, in_words, tone_of
from benchmarks.report.approaches import LOOKS, MODES, approach_of, mode_of
from benchmarks.report.columns import MEASURED, OF_LINES, OF_PAPERS, ON_PAGE, REPORTED, Column, row_label
from benchmarks.report.compare import Comparison, drawn, equal_cost_line
from benchmarks.report.course import course_table
from benchmarks.report.entries import FULL, Entry, series_names
from benchmarks.report.examples import Examples, evenly, examples_of
from benchmarks.report.formats import anchor, plus_minus
from benchmarks.report.ratios import ratios_by_class
from benchmarks.report.room import ShownRoom, shown_room

MAX_CLASSES = 24  # shown by class: the dearest and the cheapest half of these
MAX_BOXES = 20  # classes, spread evenly
MISSING = "\N{EN DASH}"


class Figure(NamedTuple):
    """A chart with what is said of it."""

    chart: str  # its name among the section's charts
    note: str = ""


class OnlineFigures(NamedTuple):
    """The charts along the videos of one method, by name, beside its baseline.

    First of stopping at the K-th frame seen closely, "" if there is none; then over the share of the video watched.
    """

    baseline: str
    close: str
    top1: str
    gflops: str


@dataclass
class Decisions:
    """What one method decides: charts, and example videos as they are drawn.

    Attributes:
        anchor: for links.
    """

    name: str
    anchor: str
    by_class: Figure | None = None
    ratios: Figure | None = None
    close: Figure | None = None
    where: Figure | None = None
    online: OnlineFigures | None = None
    examples: Examples | None = None

    @property
    def parts(self) -> tuple[Any, ...]:
        """What there is of it."""
        parts = (self.by_class, self.ratios, self.close, self.where, self.online, self.examples)
        return tuple(part for part in parts if part is not None)


class Difference(NamedTuple):
    """A comparison as it is shown: its interval drawn from `start` on, `length` long, its mean at `at`, in percent."""

    comparison: Comparison
    anchor: str
    tone: str
    words: str
    start: float
    length: float
    at: float


class Compared(NamedTuple):
    """What a method is compared with, and its variants likewise; `zero` is where no difference lies, in percent."""

    name: str
    anchor: str
    zero: float
    differences: list[Difference]
    variants: list[Compared]


@dataclass
class Section:
    """What the page shows of one place.

    Attributes:
        rows: in full precision, by mode; `in_other_precision`, by precision and device, are those that are not.
        charts: all its charts, by name; the fields above say which stands where.
        pictures: of the examples, by name.
    """

    anchor: str
    title: str
    facts: list[tuple[str, str]]
    answers: list[Answer]
    rows: list[dict[str, Any]]
    in_other_precision: list[tuple[str, list[dict[str, Any]]]]
    tradeoff: str = ""
    compared: list[Compared] = field(default_factory=list)
    levels: pd.DataFrame | None = None
    room: ShownRoom | None = None
    courses: pd.DataFrame | None = None
    usage: str = ""
    decisions: list[Decisions] = field(default_factory=list)
    charts: dict[str, alt.TopLevelMixin] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)

    def draw(self, name: str, chart: alt.TopLevelMixin) -> str:
        """Keeps a chart under a name of this section; returns its name on the page."""
        name = f"{self.anchor}-{name}"
        self.charts[name] = chart
        return name

    def of(self, name: str) -> str:
        """Where the row of an entry stands, for links: of what `series_names` calls it."""
        return f"{self.anchor}--{anchor(name)}"


@dataclass
class PaperSection:
    """The papers' rows of one data set."""

    title: str
    columns: list[Column]
    rows: list[dict[str, Any]]
    name: str
    chart: alt.TopLevelMixin | None


def measured_section(entries: Sequence[Entry], table: pd.DataFrame) -> Section:
    """All that the page shows of the entries of one place.

    Args:
        entries: of one place, with their comparisons.
        table: `tables.leaderboard`.
    """
    place, names = entries[0].place, series_names(entries)
    of_place = tables.rows_of(table, place)
    by_row = {(entry.label, entry.config_hash[:8], entry.root): entry for entry in entries}
    rows = []
    for row in tables.each(of_place):
        entry = by_row[row_label(row), row.config_hash, row.record]
        rows.append((entry.precision, entry.first.device, _measured_cells(row, entry, names[entry.name])))
    full = [cells for precision, _, cells in rows if precision == FULL]
    others = dict.fromkeys((f"{precision}, {device}", precision, device) for precision, device, _ in rows)
    section = Section(
        anchor=anchor("-".join(place)),
        title=f"{place.data} \N{MIDDLE DOT} {place.profile}",
        facts=_facts(entries),
        answers=answers([entry for entry in entries if entry.precision == FULL], names),
        rows=_folded(full),
        in_other_precision=[
            (title, _folded([cells for *of, cells in rows if of == [precision, device]]))
            for title, precision, device in others
            if precision != FULL
        ],
    )
    points = tables.curve_points(entries, names)
    of_baseline = next((entry for entry in entries if entry.label == BASELINE), entries[0])
    line = drawn(equal_cost_line(entries, of_baseline))
    section.tradeoff = section.draw("chart", charts.tradeoff(points, BASELINE, line))
    section.levels = tables.levels_table(entries)
    section.room = shown_room(entries)
    section.courses = course_table(entries, [names[entry.name] for entry in entries])

    deciding = [entry for entry in entries if entry.is_adaptive]
    _add_differences(section, [entry for entry in deciding if entry.method != BASELINE], names)
    # The variants stand in the tables and the overall chart.
    shown = [entry for entry in deciding if not entry.variant] or deciding
    colours = charts.action_colours([entry.first.usage.actions for entry in entries])
    section.usage = section.draw("usage", charts.usage_chart(_overall(entries, names), colours))
    for entry in entries:
        decisions = _decisions(section, entry, names[entry.name], colours if entry in shown else {})
        if decisions.parts:
            section.decisions.append(decisions)
    return section


def paper_sections(table: pd.DataFrame) -> list[PaperSection]:
    """The papers' rows by data set, the one with the most first."""
    papers = table[table.origin == REPORTED]
    sections = []
    for data in sorted(set(papers.data), key=lambda name: (-(papers.data == name).sum(), name)):
        rows = papers[papers.data == data]
        score = rows["map"].fillna(rows.top1)
        rows = rows.assign(score=score).sort_values(
            ["score", "method", "variant"], ascending=[False, True, True], kind="stable"
        )
        columns = [column for column in OF_PAPERS if rows[column.key].replace("", np.nan).notna().any()]
        views = [of for of in dict.fromkeys(rows["views"]) if of]
        if views:  # rows compare within the same views alone
            rows = pd.concat([rows[rows["views"] == of] for of in ("", *views)])
        has_chart = (rows.gflops_per_video.notna() & score.notna()).sum() > 2
        sections.append(
            PaperSection(
                title=data,
                columns=columns,
                rows=[_cells(row, columns) | {"group": _views(row) if views else ""} for row in tables.each(rows)],
                name=f"reported-{anchor(data)}",
                chart=charts.reported(rows) if has_chart else None,
            )
        )
    return sections


def _views(row: Any) -> str:
    return f"views: {row.views or 'not said'}"


def _facts(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """The conditions of the measurement, as (name, value)."""
    records = [record for entry in entries for record in entry.main]
    runs = [part for record in records for part in record.parts]

    def distinct(values: Iterable[Any]) -> str:
        return ", ".join(str(value) for value in sorted(set(values)))

    first, place = records[0], entries[0].place
    num_videos = distinct(f"{record.data_info.num_videos:,}" for record in records)
    skipped = max(run.data_info.num_skipped_bad for run in runs)
    left_out = distinct(run.data_info.left_out for run in runs)
    empty = sorted({name for record in records for name in record.metrics.classes_without_positives})
    versions = [f"{name} {distinct(run.versions.get(name, '?') for run in runs)}" for name in first.versions]
    return [
        ("data set", f"{place.data} ({place.videos})"),
        ("profile", place.profile),
        ("videos", f"{num_videos} ({distinct(record.split for record in records)} split)"),
        *([("unreadable videos left out", str(skipped))] if skipped else []),
        *([("not in the copy, and left out", left_out)] if left_out else []),
        *([("classes without positives, scored 0", ", ".join(empty))] if empty else []),
        ("classes", distinct(len(record.data_info.class_names) for record in records)),
        ("frames per video", f"T = {distinct(record.frames.num_frames for record in records)}"),
        *([("folds", _folds(first))] if first.data_info.num_folds > 1 else []),
        ("seeds", distinct(run.seed for run in runs)),
        ("device", distinct(run.device for run in runs)),
        ("source revision", distinct(_revision(run.git_revision) for run in runs)),
        ("versions", ", ".join(versions)),
    ]


def _folds(record: Record) -> str:
    """How the runs that took turns at a data set's folds are reported."""
    num_folds = record.data_info.num_folds
    which = ", ".join(str(1 + part.data_info.fold) for part in record.parts)
    return (
        f"{which} of {num_folds}, the run of seed s on fold 1 + s mod {num_folds}; a row pools the predictions of one "
        "run a fold, each video scored by the run that did not train on it"
    )


def _revision(revision: str) -> str:
    """The first digits of a commit, and whether the sources had changed since."""
    commit, _, dirty = revision.partition("-")
    return commit[:12] + ("-" + dirty if dirty else "")


def _measured_cells(row: Any, entry: Entry, name: str) -> dict[str, Any]:
    """A measured row: its cells, what it is called, and what it is filtered and folded by."""
    approach = LOOKS[approach_of(entry.method)]
    tags = {"name": name, "anchor": anchor(name), "method": entry.method, "variant": entry.variant}
    return _cells(row, ON_PAGE) | tags | {"group": mode_of(entry.method), "approach": approach}


def _folded(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The modes in their order, in each the methods in the order of `rows`, each with its variants below it.

    Adds `num_variants`, of those that fold under a row, and to them `under`, the anchor of that row.
    """
    ordered = []
    main_of = {(row["method"], row["record"]): row["anchor"] for row in reversed(rows) if not row["variant"]}
    for mode in MODES:
        for row in (row for row in rows if row["group"] == mode):
            key = row["method"], row["record"]
            if row["variant"] and key in main_of:
                continue
            is_first = main_of.get(key) == row["anchor"]
            variants = [of for of in rows if of["variant"] and (of["method"], of["record"]) == key and is_first]
            ordered.append(row | {"num_variants": len(variants), "under": ""})
            ordered += [of | {"num_variants": 0, "under": row["anchor"]} for of in variants]
    return ordered


def _cells(row: Any, columns: Sequence[Column]) -> dict[str, Any]:
    """A table row: by column the text and the value to sort by; and what the filter and the badges need."""
    notes = {"source": row.note}  # by the column whose cell opens them
    if row.origin == MEASURED:
        per_seed = f"by seed: {row.map_per_seed}" if row.num_seeds > 1 else ""
        notes = {"map": "; ".join(note for note in (per_seed, row.note) if note)}
        notes |= {key: getattr(row, f"{key}_notes") for key in OF_LINES}
    cells = []
    for column in columns:
        value = getattr(row, column.key)
        cells.append(
            {
                "text": plus_minus(column.text(row)) or MISSING,
                "sort": "" if pd.isna(value) else float(f"{value:.6g}") if column.is_number else value,
                "is_number": column.is_number,
                "note": notes.get(column.key, ""),
            }
        )
    return {"cells": cells, "record": row.record, "hash": row.config_hash, "point": row.operating_point}


def _add_differences(section: Section, entries: Sequence[Entry], names: Mapping[str, str]) -> None:
    """The comparisons of some entries, a method's variants with it."""
    of_main: dict[tuple[str, str], Compared] = {}
    for entry in sorted(entries, key=lambda entry: (entry.method, entry.variant != "")):
        name = names[entry.name]
        compared = Compared(name, section.of(name), *_drawn(entry.comparisons, section.of(name)), [])
        main = of_main.setdefault((entry.method, entry.root), compared)
        beside = main.variants if entry.variant and main is not compared else section.compared
        beside.append(compared)


def _drawn(comparisons: Sequence[Comparison], link: str) -> tuple[float, list[Difference]]:
    """Where no difference lies, in percent of a line on which all intervals have room, and the comparisons on it."""
    known = [comparison.difference for comparison in comparisons if comparison.difference]
    low = min([0.0, *(difference.interval[0] for difference in known)])
    high = max([low + 1e-9, 0.0, *(difference.interval[1] for difference in known)])

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    shown = []
    for comparison in comparisons:
        difference = comparison.difference
        start, end = map(at, difference.interval) if difference else (0.0, 0.0)
        words = (f"{link}--vs-{anchor(comparison.against)}", tone_of(difference), in_words(comparison))
        where = (start, round(end - start, 2), at(difference.mean) if difference else 0.0)
        shown.append(Difference(comparison, *words, *where))
    return at(0.0), shown


def _decisions(section: Section, entry: Entry, name: str, colours: Mapping[str, str]) -> Decisions:
    """What one method decides; without colours what it attains along the videos alone."""
    usage, chart = entry.first.usage, anchor(entry.name)
    decisions = Decisions(name, f"{section.of(name)}--decisions", online=_online(section, entry, name))
    if colours and len(usage.actions) > 1:
        legend = {action: colours[action] for action in usage.names}
        by_class, note = _by_class(entry)
        decisions.by_class = Figure(section.draw(chart, charts.usage_chart(by_class, legend)), note)
        if len({action.size for action in usage.actions if action.size}) > 1:
            ratios, note = _ratios(entry)
            decisions.ratios = Figure(section.draw(f"{chart}-ratios", charts.ratios(ratios)), note)
        close, note = _close(entry)
        closest = [name for name, is_it in zip(usage.names, is_close(usage.actions), strict=True) if is_it]
        axis = f"frames of a video that took {' or '.join(closest)}"
        boxes = charts.boxes(close, axis, entry.first.frames.num_frames)
        decisions.close = Figure(section.draw(f"{chart}-close", boxes), note)
    if colours and usage.where is not None:
        patch = usage.actions[0].name
        decisions.where = Figure(section.draw(f"{chart}-where", charts.heat(_where_cells(entry))), patch)
    if colours and (examples := examples_of(entry, colours)) is not None:
        decisions.examples = examples
        section.pictures |= examples.pictures
    return decisions


def _overall(entries: Sequence[Entry], names: Mapping[str, str]) -> pd.DataFrame:
    """The actions' shares, seeds averaged, the deciding methods first."""
    rows = []
    for entry in sorted(entries, key=lambda entry: (not entry.is_adaptive, names[entry.name])):
        share_A = np.mean([record.usage.overall for record in entry.main], axis=0)
        for order, (action, share) in enumerate(zip(entry.first.usage.names, share_A, strict=True)):
            rows.append({"row": names[entry.name], "action": action, "share": share, "order": order})
    return pd.DataFrame(rows)


def _by_class(entry: Entry) -> tuple[pd.DataFrame, str]:
    """The actions' shares by class, seeds averaged, the dearest first; and what is left out."""
    runs = entry.predictions()
    label_NK = [run.label_NK for run in runs]
    gflops_SK = [run.macs_N @ of / np.maximum(of.sum(axis=0), 1) / 1e9 for run, of in zip(runs, label_NK, strict=True)]
    class_names = entry.first.data_info.class_names
    gflops = dict(zip(class_names, np.mean(gflops_SK, axis=0), strict=True))
    present = [name for name in class_names if all(name in record.usage.by_class for record in entry.main)]
    dearest = sorted(present, key=lambda name: (-gflops[name], name))
    if len(dearest) > MAX_CLASSES:
        dearest = dearest[: MAX_CLASSES // 2] + dearest[-MAX_CLASSES // 2 :]
    rows = []
    for name in dearest:
        precision = float(np.mean([record.metrics.per_class_ap[name] for record in entry.main]))
        share_A = np.mean([record.usage.by_class[name] for record in entry.main], axis=0)
        detail = f"{gflops[name]:.4g} GFLOPs/video, AP {100 * precision:.1f} %"
        for order, (action, share) in enumerate(zip(entry.first.usage.names, share_A.tolist(), strict=True)):
            rows.append({"row": name, "action": action, "share": share, "order": order, "detail": detail})
    num_left_out = len(present) - len(dearest)
    return pd.DataFrame(rows), f"{num_left_out} classes between the two ends are left out" if num_left_out else ""


def _ratios(entry: Entry) -> tuple[pd.DataFrame, str]:
    """How closely and how often frames are seen, by class, for `charts.ratios`; and what is left out."""
    table = ratios_by_class(entry)
    shown = table.iloc[evenly(range(len(table)), MAX_BOXES)]
    note = f"{len(shown)} of {len(table)} classes, spread evenly. " if len(shown) < len(table) else ""
    return shown.melt("class", var_name="ratio", value_name="share"), note


def _close(entry: Entry) -> tuple[pd.DataFrame, str]:
    """How many frames of a video are seen as closely as the method can: by class, the most first; and over all videos.

    LiteEval's Figure 4. The boxes take the videos of all seeds together.
    """
    num_SN, by_class = entry.num_close(), entry.close_by_class()
    shown = evenly(list(by_class), MAX_BOXES)
    marks = ("least", "lower", "median", "upper", "most")
    rows = [
        {
            "row": name,
            **dict(zip(marks, np.percentile(by_class[name], (0, 25, 50, 75, 100)), strict=True)),
            "mean": by_class[name].mean(),
            "num_videos": len(by_class[name]) // len(num_SN),
        }
        for name in shown
    ]
    mean, std = np.concatenate(num_SN).mean(), np.mean([num_n.std() for num_n in num_SN])
    note = plus_minus(f"{mean:.2f} +- {std:.2f} of {entry.first.frames.num_frames} frames")
    if len(shown) < len(by_class):
        note += f"; {len(shown)} of {len(by_class)} classes, spread evenly from the most to the least"
    return pd.DataFrame(rows), note


def _where_cells(entry: Entry) -> pd.DataFrame:
    """Shares of the patches by cell of the frame, seeds averaged."""
    shares = np.mean([record.usage.where or () for record in entry.main], axis=0)
    rows, columns = np.indices(shares.shape)
    return pd.DataFrame({"row": rows.ravel(), "column": columns.ravel(), "share": shares.ravel()})


def _online(section: Section, entry: Entry, name: str) -> OnlineFigures | None:
    """What the entry attains along the videos, beside the baseline (LiteEval's Figures 2 and 3)."""
    if not entry.online:
        return None
    points = tables.mean_online_points(entry.online, name)
    close, watched = (points[points.axis == axis] for axis in ("close", "watched"))
    chart = f"{anchor(entry.name)}-online"
    return OnlineFigures(
        baseline=entry.online[0].baseline,
        # else there is a seed that sees no frame closely
        close=section.draw(f"{chart}-close", charts.online_close(close)) if len(close) else "",
        top1=section.draw(f"{chart}-top1", charts.online_watched(watched, "top1")),
        gflops=section.draw(f"{chart}-gflops", charts.online_watched(watched, "gflops")),
    )
