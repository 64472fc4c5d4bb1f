"""The leaderboard as a table: a row for each configuration of a method, its seeds together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adavid.evaluation.records import MAIN, OnlineRecord
from benchmarks.report.columns import BY_KEY, COLUMNS, IN_TEXT, MEASURED, OF_PAPERS, REPORTED, by_metric
from benchmarks.report.entries import (
    PAPER,
    ROOTS,
    Entry,
    Place,
    series_names,
)

OF_POINTS = ("operating_point", "num_seeds", "map", "map_std", "gflops_per_video", "gflops_per_frame", "frames_used")
VIEWS = r"\b(\d+ (?:clip|crop|view)s?)\b"
OF_MAIN_POINTS = ("map_low", "map_high")


def leaderboard(entries: Sequence[Entry], reported: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row per (method, variant, data, profile, config_hash, record), seeds together, and the papers'.

    `videos` is the data set's fingerprint: rows of different videos are not comparable.

    `map`, `top1`, costs, frames and times are means over seeds. `map_std` is the sample standard deviation over
    seeds (training), empty for one seed. `map_low` and `map_high` are the mean's 95 % bounds, for other seeds and
    other videos (of one seed: other videos). Curve points and shuffled controls are no rows. mAP and top-1 are in
    percent, costs in GFLOPs (1 multiply-accumulate = 1 FLOP, as in the papers).

    Args:
        entries: of results/reference and results/runs; their comparisons fill columns where they have some.
        reported: the papers' rows, as `read_reported` gives them.

    Returns:
        `columns.COLUMNS`, and `metric`, what the data set's papers print; measured rows first, by data set and falling
        metric; NaN where not measured.
    """
    keys = [column.key for column in COLUMNS]
    rows = [[column.read(entry) for column in COLUMNS] for entry in entries]
    measured = pd.DataFrame(rows, columns=keys).assign(metric=[entry.first.data_info.metric for entry in entries])
    printed = measured["map"].where(measured.metric == "map", measured.top1)
    measured = measured.assign(printed=printed).sort_values(
        ["data", "profile", "videos", "printed", "method", "variant", "config_hash", "record"],
        ascending=[True, True, True, False, True, True, True, True],
        kind="stable",
    )
    papers = pd.DataFrame(columns=keys) if reported is None else reported.reindex(columns=keys)
    papers = papers.assign(origin=REPORTED, record=PAPER, metric="")
    measured = measured.drop(columns="printed")
    table = pd.concat([part for part in (measured, papers) if len(part)] or [measured], ignore_index=True)
    for column in COLUMNS:
        values = table[column.key]
        table[column.key] = pd.to_numeric(values) if column.is_number else values.astype(object).fillna("")
    return table


def rows_of(table: pd.DataFrame, place: Place) -> pd.DataFrame:
    """The measured rows of one place."""
    is_there = (table.data == place.data) & (table.profile == place.profile) & (table.videos == place.videos)
    return table[(table.origin == MEASURED) & is_there]


def read_reported(results_dir: Path) -> pd.DataFrame | None:
    """The papers' rows in results/reported/*.csv, mAP and top-1 in percent; None where there are none.

    A file without a column `method` is a table of something else, the costs of networks say, and left out.

    Raises:
        ValueError: a file has a column `method` but lacks another that is needed.
    """
    tables = []
    for path in sorted((results_dir / ROOTS[PAPER]).glob("*.csv")):
        table = pd.read_csv(path)
        missing = [column for column in ("data", "map", "gflops_per_video", "source") if column not in table]
        if missing and "method" in table:
            raise ValueError(f"{path}: expected the columns {', '.join(missing)}")
        if "method" in table:
            tables.append(table)
    return _with_views(pd.concat(tables, ignore_index=True)) if tables else None


def _with_views(reported: pd.DataFrame) -> pd.DataFrame:
    """The papers' rows with how many clips or crops of a video were averaged, where a row says it of itself.

    In its column `views`, its variant or its note; what a note says after "conflict:" is of another source.
    """
    said = (
        reported.variant.fillna("").astype(str) + "; " + reported.get("note", pd.Series("", reported.index)).fillna("")
    )
    found = said.str.partition("conflict:")[0].str.extract(VIEWS, expand=False)
    own = reported["views"] if "views" in reported else pd.Series(np.nan, reported.index, dtype=object)
    return reported.assign(views=own.where(own.notna(), found).fillna(""))


def curve_points(entries: Sequence[Entry], names: Mapping[str, str]) -> pd.DataFrame:
    """Every point of every entry, curve and shuffled ones too, averaged over seeds like `leaderboard`.

    Args:
        entries: of one data set and profile.
        names: what to call an entry, by `Entry.name`.

    Returns:
        series, method, variant, point, kind ("test", "shuffled" or "curve"), operating_point, num_seeds, map, map_std,
        gflops_per_video, gflops_per_frame, frames_used, map_low, map_high (of main points); mAP in percent; sorted by
        series and cost.
    """
    rows = []
    for entry in entries:
        for point, records in entry.points.items():
            series = {"series": names[entry.name], "method": entry.method, "variant": entry.variant}
            kind = "curve" if point.startswith("curve") else point
            as_main = replace(entry, points={MAIN: records})
            numbers = {key: BY_KEY[key].read(as_main) for key in OF_POINTS}
            bounds = {key: BY_KEY[key].read(as_main) if kind == MAIN else np.nan for key in OF_MAIN_POINTS}
            rows.append({**series, "point": point, "kind": kind, **numbers, **bounds})
    return pd.DataFrame(rows).sort_values(["series", "gflops_per_video", "point"], ignore_index=True)


def mean_online_points(records: Sequence[OnlineRecord], name: str) -> pd.DataFrame:
    """Every point along the videos, averaged over seeds.

    A number of frames seen closely that not every seed reaches is left out: all points of a line are means of the
    same seeds.

    Args:
        records: of each seed that has one.
        name: what to call the method.

    Returns:
        series, axis, value, num_seeds, top1, top1_std, map, gflops, gflops_std, num_close, num_close_std, frames;
        percentages; `top1_std` is over seeds, the other two are over videos; the method's own points first.
    """
    points = pd.concat([pd.DataFrame([dict(point) for point in record.points]) for record in records])
    by_point = points.groupby(["axis", "by", "value"], sort=False)
    mean = by_point.mean().assign(num_seeds=by_point.size(), top1_std=by_point.top1.std())
    mean[["top1", "top1_std", "map"]] *= 100
    mean = mean[mean.num_seeds == len(records)].reset_index()
    series = {"own": name, "uniform-k": "Uniform-K", "seq-k": "Seq-K", "uniform": records[0].baseline}
    return mean.assign(series=mean.by.map(series)).drop(columns="by")


def pareto_front(points: pd.DataFrame, value: str = "map") -> pd.DataFrame:
    """The points that none is both cheaper and better than, by rising cost."""
    by_cost = points.dropna(subset=["gflops_per_video", value]).sort_values(
        ["gflops_per_video", value], ascending=[True, False], kind="stable"
    )
    best_before = by_cost[value].cummax().shift(fill_value=-np.inf)
    return by_cost[by_cost[value] > best_before]


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """For files: the columns, percentages to 2 decimals, all other floats to 4 significant digits."""
    return pd.DataFrame({column.key: column.rounded(table[column.key]) for column in COLUMNS})


def console_table(table: pd.DataFrame, data: str | None = None, profile: str | None = None) -> str:
    """The measured rows, aligned for a terminal, by falling mAP or top-1; of one data set and profile where given."""
    rows = table[table.origin == MEASURED]
    rows = rows[(rows.data == (data or rows.data)) & (rows.profile == (profile or rows.profile))]
    if rows.empty:
        return "no measured results"
    places = sorted({Place(row.data, row.profile, row.videos) for row in each(rows)})
    return "\n\n".join(
        "\n".join(
            [
                f"{place.data}, profile {place.profile}, videos {place.videos}",
                measured_table(rows_of(rows, place), "simple"),
                *caveats(rows_of(rows, place)),
            ]
        )
        for place in places
    )


def measured_table(rows: pd.DataFrame, tablefmt: str) -> str:
    """Measured rows of one data set as text in one of tabulate's formats."""
    columns = by_metric(IN_TEXT, rows.metric.iloc[0])
    text = pd.DataFrame({column.short or column.title: [column.text(row) for row in each(rows)] for column in columns})
    align = ("left", "left", *("right",) * (text.shape[1] - 2))
    return text.to_markdown(index=False, tablefmt=tablefmt, colalign=align, disable_numparse=True)


def reported_table(rows: pd.DataFrame) -> str:
    """The papers' rows of one data set as Markdown, the numbers as they were printed."""
    text = rows[[column.key for column in OF_PAPERS]].map(
        lambda value: value if isinstance(value, str) else "" if pd.isna(value) else f"{value:g}"
    )
    return text.to_markdown(index=False, disable_numparse=True)


def levels_table(entries: Sequence[Entry]) -> pd.DataFrame | None:
    """Top-1 in percent by level of difficulty, seeds averaged: a row for each entry, the levels in the data's order.

    None where no entry has levels. A column's name says how many videos the level has.
    """
    names = series_names(entries)
    levels = {f"{level.name} ({level.num_videos:,})": level.name for e in entries for level in e.first.levels}
    if not levels:
        return None
    rows = []
    for entry in sorted(entries, key=lambda entry: -entry.mean(lambda record: record.metrics.top1)):
        by_name = [{level.name: level.accuracy for level in record.levels} for record in entry.main]
        means = [100 * float(np.mean([of.get(name, np.nan) for of in by_name])) for name in levels.values()]
        top1 = 100 * entry.mean(lambda record: record.metrics.top1)
        rows.append([names[entry.name], *("" if np.isnan(mean) else f"{mean:.1f}" for mean in (*means, top1))])
    return pd.DataFrame(rows, columns=["top-1 %", *levels, "all"])


def caveats(rows: pd.DataFrame) -> list[str]:
    """What keeps the mAP of the rows of one place down, each reason once."""
    return [f"Note: {note}." for note in dict.fromkeys(rows.note) if note]


def each(rows: pd.DataFrame) -> Iterator[Any]:
    """The rows, their values as attributes of any type (pandas annotates each with all types at once)."""
    return iter(rows.itertuples())
