"""The leaderboard's columns, each said once: for the CSV, the Markdown, the console and the page.

S seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from adavid.evaluation import stats
from adavid.evaluation.records import LatencyBeside, LatencyRow, Record
from adavid.evaluation.schema import method_label
from benchmarks.layers import BASELINE, references
from benchmarks.report.curves import Close
from benchmarks.report.entries import LOCAL, Entry, operating_point
from benchmarks.report.formats import bounds, interval, pm, significant, times
from benchmarks.report.references import BEYOND, NOT_TRAINED, UNEQUAL

MEASURED, REPORTED = "measured", "reported"  # where a row's numbers come from
LATENCY_BATCH_SIZES = (16, 1)  # the first fills the main columns
COUNT, PERCENT, TIMES = "count", "%", "x"  # units that are not written like others


@dataclass(frozen=True)
class Column:
    """One value of a row.

    Attributes:
        key: its name in the table and in the CSV.
        read: what it is of a measured entry; NaN or "" where it was not measured.
        unit: of a number; "" for text.
        digits: of a number in the CSV: decimals of a percentage, significant digits of others.
        title: over it on the page.
        short: over it in text, where not `title`.
        hint: what the page says of it, for measured rows; `paper_hint` is for the papers'.
        cell: of a row, what stands there for reading; by its unit where not given.
        unknown: what stands there where a measured row has no number.
    """

    key: str
    read: Callable[[Entry], Any]
    unit: str = ""
    digits: int = 4
    title: str = ""
    short: str = ""
    hint: str = ""
    paper_hint: str = ""
    cell: Callable[[Any], str] | None = None
    unknown: str = ""

    @property
    def is_number(self) -> bool:
        return self.unit != ""

    def text(self, row: Any) -> str:
        """What stands in a row of the table (a named tuple) for reading; empty where there is nothing."""
        value = getattr(row, self.key)
        if not self.is_number:
            return str(self.cell(row) if self.cell else value)
        if pd.isna(value):
            return self.unknown if row.origin == MEASURED else ""
        if self.unit == PERCENT and row.origin == REPORTED:
            return pm(value, np.nan).removesuffix("0")  # most papers print one decimal
        return self.cell(row) if self.cell else _number(value, self.unit)

    def rounded(self, values: pd.Series) -> pd.Series:
        """The column as the CSV has it."""
        if not self.is_number:
            return values
        if self.unit == COUNT:
            return values.astype("Int64")
        if self.unit == PERCENT:
            return values.round(self.digits)
        return values.map(lambda value: value if pd.isna(value) else float(f"{value:.{self.digits}g}"))


def _number(value: float, unit: str) -> str:
    if unit == COUNT:
        return f"{value:.0f}"
    if unit == PERCENT:
        return pm(value, np.nan)
    return times(value) if unit == TIMES else significant(value)


def _mean(number: Callable[[Record], float], scale: float = 1) -> Callable[[Entry], float]:
    """Over seeds."""
    return lambda entry: scale * entry.mean(number)


def _decoded_on_demand(record: Record) -> float:
    number = record.frames.decoded_on_demand
    return np.nan if number is None else number


def _latency(number: Callable[[LatencyRow], float], batch_size: int) -> Callable[[Entry], float]:
    """Over the seeds that were timed."""

    def read(entry: Entry) -> float:
        rows = entry.timed_rows(batch_size)
        return float(np.mean([number(row) for row in rows])) if rows else np.nan

    return read


def _total_runtime(entry: Entry) -> float:
    """Seconds for all videos of the split, one at a time, over the seeds that were timed."""
    ms_per_video = _latency(lambda row: row.ms_per_video, LATENCY_BATCH_SIZES[1])(entry)
    return ms_per_video * entry.first.data_info.num_videos / 1e3


def _map_std(entry: Entry) -> float:
    map_S = [record.metrics.map for record in entry.main]
    return 100 * float(np.std(map_S, ddof=1)) if len(map_S) > 1 else np.nan


def _map_bound(bound: int) -> Callable[[Entry], float]:
    """Of the mean's interval."""
    return lambda entry: 100 * stats.mean_map(entry.runs()).interval[bound]


def _line_columns(name: str) -> tuple[Column, ...]:
    """The difference to what is attained at equal cost: in points of mAP, with its interval, and in words."""
    key = "".join(character if character.isalnum() else "_" for character in name)

    def of(number: Callable[[stats.Difference], Any], missing: Any) -> Callable[[Entry], Any]:
        def read(entry: Entry) -> Any:
            found = (c.difference for c in entry.comparisons if c.against == name and c.difference is not None)
            return next(map(number, found), missing)

        return read

    def notes(entry: Entry) -> str:
        return "; ".join(note for c in entry.comparisons if c.against == name for note in c.notes)

    def cell(row: Any) -> str:
        bounds = (getattr(row, key + end) / 100 for end in ("", "_low", "_high"))
        said = [f", {short}" for short in (BEYOND, UNEQUAL, NOT_TRAINED) if short in getattr(row, key + "_notes")]
        return f"{interval(*bounds)} {getattr(row, key + '_verdict')}{''.join(said)}"

    return (
        Column(
            key,
            of(lambda difference: 100 * difference.mean, np.nan),
            PERCENT,
            digits=2,
            title=f"vs {name}",
            hint=f"mAP above the {name}, 95 % over seeds and videos, and what that supports",
            cell=cell,
        ),
        Column(f"{key}_low", of(lambda difference: 100 * difference.interval[0], np.nan), PERCENT, digits=2),
        Column(f"{key}_high", of(lambda difference: 100 * difference.interval[1], np.nan), PERCENT, digits=2),
        Column(f"{key}_verdict", of(lambda difference: difference.verdict, "")),
        Column(f"{key}_notes", notes),
    )


def _close(number: Callable[[Close], float]) -> Callable[[Entry], float]:
    """Of where its curve comes close to the baseline."""

    def read(entry: Entry) -> float:
        return np.nan if entry.curve is None or entry.curve.close is None else number(entry.curve.close)

    return read


def _gain(number: Callable[[stats.Difference], float]) -> Callable[[Entry], float]:
    """Of the mean difference to the equal-cost line along its curve, in points."""

    def read(entry: Entry) -> float:
        return np.nan if entry.curve is None or entry.curve.gain is None else 100 * number(entry.curve.gain)

    return read


def _close_cell(row: Any) -> str:
    reached = bounds(row.gflops_close_to_baseline_low, row.gflops_close_to_baseline_high)
    return f"{significant(row.gflops_close_to_baseline)} {reached}"


def _gain_cell(row: Any) -> str:
    return interval(*(getattr(row, f"gain_along_curve{end}") / 100 for end in ("", "_low", "_high")))


def _latency_columns(batch_size: int, suffix: str) -> tuple[Column, ...]:
    at = f", batch {batch_size}" if suffix else ""
    return (
        Column(
            f"ms_per_video{suffix}",
            _latency(lambda row: row.ms_per_video, batch_size),
            "ms",
            title=f"ms / video{at}",
            short="ms/video",
            hint=f"evaluation end to end, batch {batch_size}, on the device that latency.json names; each row is of a "
            "run of its own: compare speed-ups, not ms, between rows",
            paper_hint="on the paper's hardware",
        ),
        Column(
            f"speedup_realised{suffix}",
            _latency(lambda row: row.speedup_realised, batch_size),
            TIMES,
            title=f"speed-up{at}",
            hint=f"the baseline's time over the method's, same run, batch {batch_size}",
        ),
        Column(
            f"speedup_theoretical{suffix}",
            _latency(lambda row: row.speedup_theoretical, batch_size),
            TIMES,
            title=f"in theory{at}",
            short="(theory)",
            hint="the ratio of their GFLOPs on the videos timed",
        ),
        Column(
            f"speedup_allowed{suffix}",
            _latency(lambda row: _known(row.speedup_allowed), batch_size),
            TIMES,
            title=f"allowed{at}",
            hint="the ratio of the times of their networks alone: what the rates at which these run allow",
        ),
        Column(
            f"own_baseline{suffix}",
            lambda entry: next((of.baseline for of in _beside(entry, batch_size)), ""),
            title=f"its paper's baseline{at}",
            hint="the strongest baseline of the method's own paper, timed in the same run; empty where that is the "
            "baseline of all",
        ),
        *(
            Column(
                f"speedup_{kind}_own{suffix}",
                partial(_beside_mean, f"speedup_{kind}", batch_size),
                TIMES,
                title=f"{title}{at}",
                hint=hint,
            )
            for kind, title, hint in (
                ("realised", "speed-up over it", "the time of its paper's baseline over the method's, same run"),
                ("allowed", "allowed over it", "the ratio of the times of their networks alone"),
                ("theoretical", "in theory over it", "the ratio of their GFLOPs on the videos timed"),
            )
        ),
        *(
            Column(
                f"{part}_ms{suffix}",
                _latency(partial(_part_ms, part), batch_size),
                "ms",
                title=f"{title}{at}",
                hint=f"ms a video {hint}",
            )
            for part, title, hint in (
                ("components", "networks alone", "of its networks by themselves, on the shapes that they ran on"),
                (
                    *("resize", "resizing"),
                    "of gathering and resizing the frames that networks read; empty where a method does it by hand",
                ),
                ("decode", "decoding", "of decoding the frames that networks saw, from the videos' files"),
                ("from_file", "from file", "from the file to the answer, all sampled frames read"),
            )
        ),
        Column(
            f"speedup_from_file{suffix}",
            _latency(_speedup_from_file, batch_size),
            TIMES,
            title=f"speed-up from file{at}",
            hint="the baseline's time from the file to the answer over the method's, all sampled frames read by both",
        ),
    )


def _part_ms(part: str, row: LatencyRow) -> float:
    return _known(getattr(row, f"{part}_ms_per_video"))


def _speedup_from_file(row: LatencyRow) -> float:
    return _known(row.baseline_from_file_ms_per_video) / _known(row.from_file_ms_per_video)


def _beside(entry: Entry, batch_size: int) -> list[LatencyBeside]:
    """The first further baseline of each seed that was timed."""
    return [row.beside[0] for row in entry.timed_rows(batch_size) if row.beside]


def _beside_mean(field: str, batch_size: int, entry: Entry) -> float:
    rows = _beside(entry, batch_size)
    return float(np.mean([getattr(row, field) for row in rows])) if rows else np.nan


def _known(number: float | None) -> float:
    return np.nan if number is None else number


def _per_seed(entry: Entry) -> str:
    return ", ".join(f"{100 * record.metrics.map:.2f}" for record in entry.main)


LINE_COLUMNS = tuple(column for name in references() for column in _line_columns(name))
CURVE_COLUMNS = (
    Column(
        "gflops_close_to_baseline",
        _close(lambda close: close.gflops),
        "GFLOPs",
        title=f"GFLOPs for {BASELINE} - 1",
        hint=f"at which its curve, or a mix of two of its points, reaches {BASELINE}'s mAP less 1 point, 95 % over "
        "seeds and videos, 'never' where some of these do not reach it; empty where the curve stays below",
        cell=_close_cell,
    ),
    Column("gflops_close_to_baseline_low", _close(lambda close: close.interval[0]), "GFLOPs"),
    Column("gflops_close_to_baseline_high", _close(lambda close: close.interval[1]), "GFLOPs"),
    Column(
        "gain_along_curve",
        _gain(lambda gain: gain.mean),
        PERCENT,
        digits=2,
        title="mean gain along curve",
        hint="mAP above the equal-cost line, a mean over the logarithm of the cost from its cheapest operating point "
        "to its dearest, 95 % over seeds and videos; empty with a single point",
        cell=_gain_cell,
    ),
    Column("gain_along_curve_low", _gain(lambda gain: gain.interval[0]), PERCENT, digits=2),
    Column("gain_along_curve_high", _gain(lambda gain: gain.interval[1]), PERCENT, digits=2),
)
COLUMNS = (
    Column(
        "method",
        lambda entry: entry.method,
        title="method",
        hint="method, and its variant where it is not the paper's main one",
        cell=lambda row: row_label(row) if row.origin == MEASURED else row.method,
    ),
    Column("variant", lambda entry: entry.variant, title="variant"),
    Column("backbone", lambda entry: "", title="backbone"),
    Column("data", lambda entry: entry.place.data),
    Column("profile", lambda entry: entry.place.profile),
    Column("origin", lambda entry: MEASURED),
    Column("record", lambda entry: entry.root, title="record"),
    Column("config_hash", lambda entry: entry.config_hash[:8]),
    Column("videos", lambda entry: entry.place.videos),
    Column("num_seeds", lambda entry: len(entry.main), COUNT, title="seeds", hint="trainings that the row averages"),
    Column("num_frames", lambda entry: entry.first.frames.num_frames, COUNT, title="T", paper_hint="frames per video"),
    Column(
        "views",
        lambda entry: "",
        title="views",
        paper_hint="clips or crops of a video whose answers are averaged, where the source says it",
    ),
    Column("operating_point", lambda entry: operating_point(entry.first)),
    Column(
        "map",
        _mean(lambda record: record.metrics.map, 100),
        PERCENT,
        digits=2,
        title="mAP %",
        short="mAP % (std over seeds)",
        hint="macro mean average precision; mean over seeds, +- sample standard deviation over seeds",
        cell=lambda row: pm(row.map, row.map_std),
    ),
    Column("map_std", _map_std, PERCENT, digits=2),
    Column("map_per_seed", _per_seed),
    Column(
        "map_low",
        _map_bound(0),
        PERCENT,
        digits=2,
        title="95 % of the mean",
        hint="for other seeds and other videos; with one seed for other videos alone",
        cell=lambda row: f"{row.map_low:.1f} to {row.map_high:.1f}",
    ),
    Column("map_high", _map_bound(1), PERCENT, digits=2),
    *LINE_COLUMNS,
    *CURVE_COLUMNS,
    Column(
        "top1",
        _mean(lambda record: record.metrics.top1, 100),
        PERCENT,
        digits=2,
        title="top-1 %",
        short="top-1",
        hint="videos whose best-scored class is right",
    ),
    Column(
        "gflops_per_frame",
        _mean(lambda record: record.cost.gflops_per_frame),
        "GFLOPs",
        title="/ frame",
        short="per frame",
        hint="GFLOPs per video divided by the T frames sampled",
    ),
    Column(
        "gflops_per_video",
        Entry.gflops,
        "GFLOPs",
        title="GFLOPs / video",
        short="GFLOPs/video",
        hint="mean over videos, policy and skipping included (1 MAC = 1 FLOP)",
        paper_hint="as reported, each paper by its own accounting",
    ),
    Column(
        "gflops_per_video_std",
        lambda entry: float(np.mean([run.macs_N.std() for run in entry.predictions()])) / 1e9,
        "GFLOPs",
        title="+- over videos",
        hint="standard deviation of the GFLOPs over videos, mean over seeds",
    ),
    Column(
        "frames_used",
        _mean(lambda record: record.frames.used),
        "frames",
        title="frames used",
        hint="frames that reach a backbone's prediction, mean over videos, of T",
        cell=lambda row: f"{row.frames_used:.1f} of {row.num_frames:.0f}",
    ),
    Column(
        "frames_used_percent",
        _mean(lambda record: record.frames.used / record.frames.num_frames, 100),
        PERCENT,
        digits=1,
        title="frames used, %",
        hint="frames that reach a backbone's prediction, of T (SoF-Net's frame usage)",
    ),
    Column(
        "frames_close",
        lambda entry: float(np.mean([num_N.mean() for num_N in entry.num_close()])),
        "frames",
        title="seen closely",
        hint="frames that are seen at the highest resolution that the method has (LiteEval's fine features), mean and "
        "standard deviation over videos, mean over seeds",
        cell=lambda row: pm(row.frames_close, row.frames_close_std),
    ),
    Column(
        "frames_close_std",
        lambda entry: float(np.mean([num_N.std() for num_N in entry.num_close()])),
        "frames",
    ),
    Column(
        "frames_decoded_on_demand",
        _mean(_decoded_on_demand),
        "frames",
        title="to decode on demand",
        hint="frames that a decoder would decode that is asked for a frame when a network is to see it: in a file from "
        "the key frame before it; those seen, where each can be had by itself; mean over videos",
    ),
    Column(
        "train_gmacs",
        lambda entry: entry.train_gmacs(),
        "GMACs",
        title="train GMACs",
        unknown=NOT_TRAINED,
        hint="spent in training, the fine-tuning of the shared backbones included",
    ),
    *_latency_columns(LATENCY_BATCH_SIZES[0], ""),
    *_latency_columns(LATENCY_BATCH_SIZES[1], f"_batch{LATENCY_BATCH_SIZES[1]}"),
    Column(
        "total_runtime",
        _total_runtime,
        "s",
        title="all videos, s",
        hint=f"of all videos of the split at the time of one, batch {LATENCY_BATCH_SIZES[1]} (SoF-Net's total runtime)",
    ),
    Column("source", lambda entry: "this machine" if entry.root == LOCAL else "committed record", title="source"),
    Column("note", lambda entry: entry.first.metrics.caveat),
)
BY_KEY = {column.key: column for column in COLUMNS}


def _columns(*keys: str) -> tuple[Column, ...]:
    return tuple(BY_KEY[key] for key in keys)


SPEEDUPS = ("speedup_realised", "speedup_allowed", "speedup_theoretical")
TIME_PARTS = (
    *("own_baseline", *(f"{key}_own" for key in SPEEDUPS), "components_ms", "resize_ms", "decode_ms", "from_file_ms"),
    "speedup_from_file",
)
OF_LINES = [column.key for column in LINE_COLUMNS if column.title]
IN_TEXT = _columns(
    *("method", "record", "num_seeds", "map", "map_low", *OF_LINES, "top1", "gflops_per_video", "gflops_per_frame"),
    *("frames_used", "train_gmacs", "ms_per_video", "speedup_realised", "speedup_theoretical"),
)
ON_PAGE = _columns(
    *("method", "map", "map_low", *OF_LINES, "top1", "gflops_per_video", "gflops_per_frame", "frames_used"),
    *(f"{key}{suffix}" for suffix in ("_batch1", "") for key in ("ms_per_video", *SPEEDUPS, *TIME_PARTS)),
    "total_runtime",
    *("gflops_close_to_baseline", "gain_along_curve", "frames_close", "frames_decoded_on_demand", "train_gmacs"),
    "num_seeds",
)
AT_FIRST = {  # of those on the page, before a reader chooses others
    *("method", "map", *OF_LINES[:1], "gflops_per_video", "gflops_close_to_baseline", "gain_along_curve"),
    *("frames_used", "speedup_realised_batch1", "speedup_theoretical_batch1", "num_seeds"),
}
OF_PAPERS = _columns(
    *("method", "variant", "backbone", "num_frames", "views", "map", "top1", "gflops_per_video"),
    *("gflops_per_frame", "ms_per_video", "source"),
)


def by_metric(columns: tuple[Column, ...], metric: str) -> tuple[Column, ...]:
    """The columns with what a data set's papers print, "map" or "top1", in front of the other."""
    if metric != "top1":
        return columns
    others = [column for column in columns if column.key != "top1"]
    place = [column.key for column in others].index("map")
    return (*others[:place], BY_KEY["top1"], *others[place:])


def row_label(row: Any) -> str:
    """'method@variant' of a row."""
    return method_label(row.method, row.variant)
