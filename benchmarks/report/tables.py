"""The leaderboard as a table: a row for each configuration of a method, its seeds together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from adavid.evaluation.records import Record
from benchmarks.report.entries import LOCAL, MAIN, PAPER, ROOTS, Entry, group, operating_point

LATENCY_BATCH_SIZES = (16, 1)  # the first fills the main columns
COLUMNS = (
    *("method", "variant", "backbone", "data", "profile", "origin", "record", "config_hash", "videos", "num_seeds"),
    *("num_frames", "operating_point", "map", "map_std", "map_low", "map_high", "top1"),
    *("gflops_per_frame", "gflops_per_video", "frames_used", "train_gmacs"),
    *("ms_per_video", "speedup_realised", "speedup_theoretical"),
    *("ms_per_video_batch1", "speedup_realised_batch1", "speedup_theoretical_batch1", "source", "note"),
)
TEXT = (
    "method",
    "variant",
    "backbone",
    "data",
    "profile",
    "origin",
    "record",
    "config_hash",
    "videos",
    "operating_point",
)
PERCENT = ("map", "map_std", "map_low", "map_high", "top1")


def leaderboard(
    records: Sequence[Record], latencies: Sequence[Record] = (), reported: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per (method, variant, data, profile, config_hash, record), seeds together, and the papers'.

    `videos` is the data set's fingerprint: rows of different videos are not comparable.

    `map`, `top1`, costs and frames are means over seeds. `map_std` is the sample standard deviation over
    seeds (training), empty for one seed. `map_low` and `map_high` are the seeds' 95 % bootstrap bounds over
    videos, averaged: how far a single model's mAP would move with other test videos. Curve points and
    shuffled controls are no rows. mAP and top-1 are in percent, costs in GFLOPs (1 multiply-accumulate =
    1 FLOP, as in the papers).

    Args:
        records: of results/reference and results/runs.
        latencies: the latency.json files beside them; times and speed-ups stay empty without.
        reported: the papers' rows, as `read_reported` gives them.

    Returns:
        The columns `COLUMNS`; measured rows first, by data set and falling mAP; NaN where not measured.
    """
    rows = [_row(entry, latencies) for entry in group(records)]
    measured = pd.DataFrame(rows, columns=COLUMNS).sort_values(
        ["data", "profile", "videos", "map", "method", "variant", "config_hash", "record"],
        ascending=[True, True, True, False, True, True, True, True],
        kind="stable",
    )
    papers = pd.DataFrame(columns=COLUMNS) if reported is None else reported.reindex(columns=COLUMNS)
    papers = papers.assign(origin="reported", record=PAPER)
    table = pd.concat([part for part in (measured, papers) if len(part)] or [measured], ignore_index=True)
    numbers = [column for column in COLUMNS if column not in (*TEXT, "source", "note")]
    table[numbers] = table[numbers].apply(pd.to_numeric)
    table[[*TEXT, "source", "note"]] = table[[*TEXT, "source", "note"]].astype(object).fillna("")
    return table


def _row(entry: Entry, latencies: Sequence[Record]) -> dict[str, Any]:
    maps = [record["metrics"]["map"] for record in entry.main]
    bounds = [record["metrics"]["map_interval"] for record in entry.main]
    low, high = 100 * np.mean(bounds, axis=0)
    return {
        "method": entry.method,
        "variant": entry.variant,
        "data": entry.data,
        "profile": entry.profile,
        "origin": "measured",
        "record": entry.source,
        "config_hash": entry.config_hash[:8],
        "videos": entry.place.videos,
        "num_seeds": len(maps),
        "num_frames": entry.main[0]["frames"]["num_frames"],
        "operating_point": operating_point(entry.main[0]),
        "map": 100 * np.mean(maps),
        "map_std": 100 * np.std(maps, ddof=1) if len(maps) > 1 else np.nan,
        "map_low": low,
        "map_high": high,
        "top1": 100 * entry.mean("metrics", "top1"),
        "gflops_per_frame": entry.mean("cost", "gflops_per_frame"),
        "gflops_per_video": entry.mean("cost", "gflops_per_video"),
        "frames_used": entry.mean("frames", "used"),
        "train_gmacs": entry.mean("training", "gmacs"),
        **_latency(entry, latencies),
        "source": "this machine" if entry.source == LOCAL else "committed record",
    }


def _latency(entry: Entry, latencies: Sequence[Record]) -> dict[str, float]:
    """The columns of time, averaged over the entry's latency files (one for each timed seed)."""
    own = [of for of in latencies if entry.folder in (of.path.parent, of.path.parent.parent)]
    columns: dict[str, float] = {}
    for batch_size in LATENCY_BATCH_SIZES:
        rows = [row for of in own for row in of["rows"] if row["batch_size"] == batch_size]
        for key in ("ms_per_video", "speedup_realised", "speedup_theoretical") if rows else ():
            suffix = "" if batch_size == LATENCY_BATCH_SIZES[0] else f"_batch{batch_size}"
            columns[key + suffix] = float(np.mean([row[key] for row in rows]))
    return columns


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
    return pd.concat(tables, ignore_index=True) if tables else None


def curve_points(entries: Sequence[Entry], names: Mapping[str, str]) -> pd.DataFrame:
    """Every point of every entry, curve and shuffled ones too, averaged over seeds like `leaderboard`.

    Args:
        entries: of one data set and profile.
        names: what to call an entry, by `Entry.name`.

    Returns:
        series, method, variant, point, kind ("test", "shuffled" or "curve"), operating_point, num_seeds, map, map_std,
        map_low, map_high, gflops_per_video, gflops_per_frame, frames_used; mAP in percent; sorted by series
        and cost.
    """
    rows = []
    for entry in entries:
        for point, records in entry.points.items():
            row = _row(replace(entry, points={MAIN: records}), ())
            kind = "curve" if point.startswith("curve") else point
            rows.append({**row, "series": names[entry.name], "point": point, "kind": kind})
    keep = ["series", "method", "variant", "point", "kind", "operating_point", "num_seeds", *PERCENT[:4]]
    keep += ["gflops_per_video", "gflops_per_frame", "frames_used"]
    return pd.DataFrame(rows)[keep].sort_values(["series", "gflops_per_video", "point"], ignore_index=True)


def online_points(records: Sequence[Mapping[str, Any]], name: str) -> pd.DataFrame:
    """Every point along the videos, averaged over seeds.

    A number of frames seen closely that not every seed reaches is left out: all points of a line are means of the
    same seeds.

    Args:
        records: the online.json of each seed that has one.
        name: what to call the method.

    Returns:
        series, axis, value, num_seeds, top1, top1_std, map, gflops, gflops_std, num_close, num_close_std, frames;
        percentages; `top1_std` is over seeds, the other two are over videos; the method's own points first.
    """
    points = pd.concat([pd.DataFrame(record["points"]) for record in records])
    by_point = points.groupby(["axis", "by", "value"], sort=False)
    mean = by_point.mean().assign(num_seeds=by_point.size(), top1_std=by_point.top1.std())
    mean[["top1", "top1_std", "map"]] *= 100
    mean = mean[mean.num_seeds == len(records)].reset_index()
    series = {"own": name, "uniform-k": "Uniform-K", "seq-k": "Seq-K", "uniform": records[0]["baseline"]}
    return mean.assign(series=mean.by.map(series)).drop(columns="by")


def pareto_front(points: pd.DataFrame, value: str = "map") -> pd.DataFrame:
    """The points that none is both cheaper and better than, by rising cost."""
    by_cost = points.dropna(subset=["gflops_per_video", value]).sort_values(
        ["gflops_per_video", value], ascending=[True, False], kind="stable"
    )
    best_before = by_cost[value].cummax().shift(fill_value=-np.inf)
    return by_cost[by_cost[value] > best_before]


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """For files: percentages to 2 decimals, all other floats to 4 significant digits."""
    floats = table.select_dtypes("float").columns
    out = table.copy()
    for column in floats:
        if column in PERCENT:
            out[column] = table[column].round(2)
        else:
            out[column] = table[column].map(lambda value: value if pd.isna(value) else float(f"{value:.4g}"))
    for column in ("num_seeds", "num_frames"):
        out[column] = table[column].astype("Int64")
    return out


def console_table(table: pd.DataFrame, data: str | None = None, profile: str | None = None) -> str:
    """The measured rows, aligned for a terminal, by falling mAP; of one data set and profile where given."""
    rows = table[table.origin == "measured"]
    rows = rows[(rows.data == (data or rows.data)) & (rows.profile == (profile or rows.profile))]
    if rows.empty:
        return "no measured results"
    return "\n\n".join(
        f"{name[0]}, profile {name[1]}, videos {name[2]}\n{measured_table(of, 'simple')}"
        for name, of in rows.groupby(["data", "profile", "videos"], sort=True)
    )


def measured_table(rows: pd.DataFrame, tablefmt: str) -> str:
    """Measured rows of one data set as text in one of tabulate's formats."""
    spread = "mAP % (std over seeds)"
    text = pd.DataFrame(
        {
            "method": [label(row) for row in each(rows)],
            "record": rows.record,
            "seeds": rows.num_seeds.map("{:.0f}".format),
            spread: [pm(row.map, row.map_std) for row in each(rows)],
            "95 % over videos": [f"{row.map_low:.1f} to {row.map_high:.1f}" for row in each(rows)],
            "top-1": rows.top1.map("{:.2f}".format),
            "GFLOPs/video": rows.gflops_per_video.map(significant),
            "per frame": rows.gflops_per_frame.map(significant),
            "frames used": [f"{row.frames_used:.1f} of {row.num_frames:.0f}" for row in each(rows)],
            "train GMACs": rows.train_gmacs.map(significant),
            "ms/video": rows.ms_per_video.map(significant),
            "speed-up": rows.speedup_realised.map(times),
            "(theory)": rows.speedup_theoretical.map(times),
        }
    )
    align = ("left", "left", *("right",) * (text.shape[1] - 2))
    return text.to_markdown(index=False, tablefmt=tablefmt, colalign=align, disable_numparse=True)


def each(rows: pd.DataFrame) -> Iterator[Any]:
    """The rows, their values as attributes of any type (pandas annotates each with all types at once)."""
    return iter(rows.itertuples())


def label(row: Any) -> str:
    """'method@variant' of a row."""
    return f"{row.method}@{row.variant}" if row.variant else row.method


def pm(mean: float, std: float, decimals: int = 2) -> str:
    """'85.12 +- 0.31', and no more than the mean where there is one seed."""
    return f"{mean:.{decimals}f}" + ("" if np.isnan(std) else f" +- {std:.{decimals}f}")


def significant(value: float, digits: int = 3) -> str:
    """At least `digits` significant digits, thousands set apart, without exponents; empty for NaN."""
    if pd.isna(value):
        return ""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{decimals}f}"


def times(value: float) -> str:
    """'1.73x', empty for NaN."""
    return "" if pd.isna(value) else f"{value:.2f}x"
