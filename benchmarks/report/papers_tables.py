"""The tables of an exhibit: its rows as printed and as measured, its claims, and what else it shows.

K classes, S seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.layers import check_known
from benchmarks.report.columns import BY_KEY
from benchmarks.report.entries import Entry
from benchmarks.report.formats import pm, significant, times
from benchmarks.report.papers import Exhibit, Printed, Reported, Row, words_of_data
from benchmarks.report.papers_measured import Boards, Outcome, name_of, online_pairs
from benchmarks.report.ratios import CLOSE, SEEN, ratios_by_class
from benchmarks.report.tables import each

FINE = "fine features"  # LiteEval's word for frames seen closely
TOTAL_RUNTIME, FRAMES_USED = "total runtime in s", "frames used in %"
MAX_CLASSES = 3  # of each end of a list by class
UNTIL_K = (1, 2, 3, 4, 6, 9)
FLOPS_CSV = "flops.csv"


class Table(NamedTuple):
    """A table of texts with what stands over it."""

    title: str
    rows: pd.DataFrame


def tables_of(
    exhibit: Exhibit, found: Sequence[Outcome], boards: Boards, reported: Reported, results_dir: Path
) -> list[Table]:
    """All of an exhibit, those without rows left out.

    Args:
        exhibit: of the list.
        found: its claims' outcomes.
        boards: the committed entries.
        reported: what papers print.
        results_dir: holds the cost table.

    Raises:
        ValueError: the list names a kind of table that there is none of.
    """
    tables = [
        Table("Rows", rows_table(exhibit, boards, reported)),
        Table("Settings", settings_table(exhibit)),
        Table("Orders", outcomes_table(found)),
    ]
    for kind in exhibit.measured:
        if kind == "costs":
            tables.append(Table("Multiply-accumulates a frame", costs_table(results_dir)))
        elif kind in MEASURED:
            tables += MEASURED[kind](exhibit, boards, reported)
        elif kind != "strips":
            check_known(kind, ("costs", "strips", *MEASURED), f"{exhibit.title}: measured: '{kind}'")
    return [table for table in tables if len(table.rows)]


def rows_table(exhibit: Exhibit, boards: Boards, reported: Reported) -> pd.DataFrame:
    """A row for each of the exhibit's: what is printed by data set, what stands for it here, the command."""
    rows = []
    for name, row in exhibit.rows.items():
        printed = reported.of(exhibit, row)
        by_data: dict[str, list[str]] = {}
        for of in printed:
            by_data.setdefault(f"printed, {of.data} ({_metric(of)} @ GFLOPs)", []).append(_printed(of))
        here = {f"here, {name_of(place)}": _measured(boards.find(row, place)) for place in boards.places}
        rows.append(
            {
                "row": name,
                **{data: "; ".join(texts) for data, texts in by_data.items()},
                **here,
                "note": row.why_not if row.why_not else _stands_for(row),
                "with profile=paper": commands_of(row, printed, exhibit),
            }
        )
    table = pd.DataFrame(rows).fillna("")
    is_empty = [column for column in table if column != "row" and not table[column].astype(bool).any()]
    ordered = sorted(table.drop(columns=is_empty), key=_place_of_column)
    return table[ordered] if len(table) else table


def _place_of_column(column: str) -> int:
    """What is printed before what is measured, then the rest."""
    return [column == "row", column.startswith("printed"), column.startswith("here"), True].index(True)


def commands_of(row: Row, printed: Sequence[Printed], exhibit: Exhibit) -> str:
    """The command line of the first data set that it is printed on, and which others are made likewise."""
    trained_on = (run_on.partition(" on ")[2] for run_on in exhibit.settings if run_on.startswith(f"{row.run} on "))
    names = list(dict.fromkeys([*(of.data for of in printed), *trained_on]))
    if not names and not exhibit.commands:
        names = ["activitynet"]
    if not row.run or not names:
        return ""
    others = f"; {', '.join(map(words_of_data, names[1:]))} likewise" if names[1:] else ""
    return f"`{row.make(names[0])}`{others}"


def _metric(printed: Printed) -> str:
    return "mAP" if printed.metric == "map" else "top-1"


def _printed(printed: Printed) -> str:
    cost = "" if np.isnan(printed.gflops) else f" @ {printed.gflops:g}"
    return f"{printed.score:g}{cost}"


def _measured(entry: Entry | None) -> str:
    """'82.44 +- 0.80 @ 0.0360 +- 0.0085 (5 seeds)': mAP with its deviation over seeds, GFLOPs with that over videos."""
    if entry is None:
        return ""
    values = {key: BY_KEY[key].read(entry) for key in ("map", "map_std", "gflops_per_video_std")}
    cost = f"{significant(entry.gflops())} +- {significant(values['gflops_per_video_std'], 2)}"
    num_seeds = len(entry.main)
    return f"{pm(values['map'], values['map_std'])} @ {cost} ({num_seeds} seed{'s' if num_seeds > 1 else ''})"


def _stands_for(row: Row) -> str:
    label, point = row.counterpart
    return f"here: {label}{f', {point}' if point else ''}" if label and (point or label != row.run) else ""


def settings_table(exhibit: Exhibit) -> pd.DataFrame:
    """What an exhibit prints of settings, as profile=paper has them: a test holds the two to each other."""
    rows = [
        {"run": run, "setting": key, "printed and in profile=paper": str(value)}
        for run, of in exhibit.settings.items()
        for key, value in of.items()
    ]
    return pd.DataFrame(rows)


def outcomes_table(found: Sequence[Outcome]) -> pd.DataFrame:
    """A row for each outcome."""
    rows = [
        {
            "claim": of.claim,
            "printed": of.printed,
            "measured on": of.place,
            "here [95 %]": of.here,
            "order": of.verdict,
            "cost, printed": of.printed_cost,
            "cost, here": of.cost,
            "order of cost": of.cost_verdict,
            "note": of.note,
        }
        for of in found
    ]
    table = pd.DataFrame(rows)
    return table.loc[:, [bool(table[column].astype(bool).any()) for column in table]] if rows else table


def costs_table(results_dir: Path) -> pd.DataFrame:
    """The networks' costs as printed and as counted (results/flops.csv)."""
    path = results_dir / FLOPS_CSV
    if not path.exists():
        return pd.DataFrame()
    return pd.DataFrame(
        [
            {
                "network": of.network,
                "printed": f"{of.reported:.4f}",
                "counted here": f"{of.gmacs:.4f}",
                "why they differ": of.why,
            }
            for of in each(pd.read_csv(path).dropna(subset=["reported"]).fillna(""))
        ]
    )


# What is measured beside scores, of each place


def _of_places(
    exhibit: Exhibit, boards: Boards, title: str, table: Callable[[Entry], pd.DataFrame | None]
) -> list[Table]:
    """A table of the first of the exhibit's runs that has one, for each place."""
    found = []
    for place in boards.places:
        labels = dict.fromkeys(row.run for row in exhibit.rows.values() if row.run)
        of_place = {entry.label: entry for entry in boards.at(place)}
        entries = [of_place[label] for label in labels if label in of_place]
        made = ((entry, rows) for entry in entries if (rows := table(entry)) is not None)
        found += [Table(f"{title}: {entry.label} on {name_of(place)}", rows) for entry, rows in [*made][:1]]
    return found


def _usage(exhibit: Exhibit, boards: Boards, reported: Reported) -> list[Table]:
    """Shares of the decisions; before them what is printed of them."""

    def shares(entry: Entry) -> pd.DataFrame:
        share_A = np.mean([record.usage.overall for record in entry.main], axis=0)
        std_A = np.std([record.usage.overall for record in entry.main], axis=0, ddof=min(1, len(entry.main) - 1))
        rows = zip(entry.first.usage.names, share_A, std_A, strict=True)
        return pd.DataFrame(
            [{"decision": name, "frames in %": f"{100 * share:.1f} +- {100 * std:.1f}"} for name, share, std in rows]
        )

    printed = [
        {"row": of.row, "data": of.data, "printed": of.quantity, "value": f"{of.value:g}"}
        for of in reported.quantities(exhibit)
    ]
    return [Table("Printed", pd.DataFrame(printed)), *_of_places(exhibit, boards, "Decisions", shares)]


def _ratios(exhibit: Exhibit, boards: Boards, reported: Reported) -> list[Table]:
    """The classes with the highest and the lowest ratio (b), (c) beside it."""

    def ends(entry: Entry) -> pd.DataFrame | None:
        table = ratios_by_class(entry)
        if len(table) > 2 * MAX_CLASSES:
            table = pd.concat([table[:MAX_CLASSES], table[-MAX_CLASSES:]])
        shown = {f"{letter}: {name}, %": table[name] for letter, name in (("b", CLOSE), ("c", SEEN))}
        return pd.DataFrame({"class": table["class"], **{k: [f"{100 * v:.1f}" for v in of] for k, of in shown.items()}})

    return _of_places(exhibit, boards, "Classes", ends)


def _fine(exhibit: Exhibit, boards: Boards, reported: Reported) -> list[Table]:
    """Mean and deviation over videos of the frames that are seen closely."""
    rows = []
    for name, row in exhibit.rows.items():
        printed = {
            f"printed, {of.data}": f"{of.value:.2f} +- {of.spread:.2f}"
            for of in reported.quantities(exhibit, name)
            if of.quantity == FINE
        }
        here = {
            f"here, {name_of(place)}": pm(*(BY_KEY[key].read(entry) for key in ("frames_close", "frames_close_std")))
            + f" of {entry.first.frames.num_frames}"
            for place in boards.places
            if (entry := boards.find(row, place)) is not None
        }
        rows += [{"row": name, **printed, **here}] if printed or here else []
    return [Table("Fine features a video, +- over videos", pd.DataFrame(rows).fillna(""))]


def _online(exhibit: Exhibit, boards: Boards, reported: Reported) -> list[Table]:
    """Until the K-th frame seen closely, beside the baseline on K frames; and where a share has been watched."""

    def until_k(entry: Entry) -> pd.DataFrame | None:
        of_uniform, of_seq = (dict(online_pairs(entry.online, "close", by)) for by in ("uniform-k", "seq-k"))
        rows = []
        for k in (k for k in UNTIL_K if k in of_uniform and k in of_seq):
            own, uniform = zip(*of_uniform[k], strict=True)
            _, seq = zip(*of_seq[k], strict=True)
            rows.append(
                {
                    "until K": f"{k}",
                    "top-1 %": _mean(own, "top1", 100),
                    "GFLOPs, +- over videos": f"{_mean(own, 'gflops')} +- {_mean(own, 'gflops_std')}",
                    "fine features": f"{_mean(own, 'num_close')} +- {_mean(own, 'num_close_std')}",
                    "frames watched": _mean(own, "frames"),
                    "Uniform-K, top-1 %": _mean(uniform, "top1", 100),
                    "Seq-K, top-1 %": _mean(seq, "top1", 100),
                    "K frames, GFLOPs": _mean(uniform, "gflops"),
                }
            )
        return pd.DataFrame(rows) if rows else None

    def watched(entry: Entry) -> pd.DataFrame | None:
        rows = [
            {
                "watched": f"{share:.0%}",
                "top-1 %": _mean(own, "top1", 100),
                "GFLOPs": _mean(own, "gflops"),
                f"{entry.online[0].baseline}, top-1 %": _mean(uniform, "top1", 100),
                f"{entry.online[0].baseline}, GFLOPs": _mean(uniform, "gflops"),
            }
            for share, pairs in online_pairs(entry.online, "watched", "uniform")
            for own, uniform in [tuple(zip(*pairs, strict=True))]
        ]
        return pd.DataFrame(rows) if rows else None

    tables = _of_places(exhibit, boards, "Until the K-th fine feature", until_k)
    return [*tables, *_of_places(exhibit, boards, "Where a share has been watched", watched)]


def _mean(points: Sequence[object], key: str, scale: float = 1) -> str:
    """Over seeds."""
    return significant(scale * float(np.mean([getattr(point, key) for point in points])), 3 if scale == 1 else 4)


def _times(exhibit: Exhibit, boards: Boards, reported: Reported) -> list[Table]:
    """Time a video and of all videos, the share of the frames that is used, and the speed-up over the baseline."""
    printed = []
    for name, row in exhibit.rows.items():
        more = {of.quantity: f"{of.value:g}" for of in reported.quantities(exhibit, name)}
        rows = [of for of in reported.of(exhibit, row) if not np.isnan(of.ms)]
        printed += [{"row": name, "data": of.data, "ms / video": f"{of.ms:g}", **more} for of in rows]
    tables = [Table("Printed", pd.DataFrame(printed).fillna(""))]
    labels = dict.fromkeys(row.run for row in exhibit.rows.values() if row.run)
    batch_size = exhibit.claims[0].batch if exhibit.claims else 1
    for place in boards.places:
        timed = [entry for entry in boards.at(place) if entry.label in labels and entry.timed_rows(batch_size)]
        rows_here = []
        for entry in timed:
            ms, speedup, theory = (
                float(np.mean([getattr(row, key) for row in entry.timed_rows(batch_size)]))
                for key in ("ms_per_video", "speedup_realised", "speedup_theoretical")
            )
            rows_here.append(
                {
                    "method": entry.label,
                    "ms / video": significant(ms),
                    TOTAL_RUNTIME: significant(ms * entry.first.data_info.num_videos / 1e3),
                    FRAMES_USED: f"{BY_KEY['frames_used_percent'].read(entry):.1f}",
                    f"speed-up over {entry.latencies[0].baseline}": times(speedup),
                    "in theory": times(theory),
                }
            )
        tables.append(Table(f"Batch {batch_size} on {name_of(place)}", pd.DataFrame(rows_here)))
    return tables


def _by_class(exhibit: Exhibit, boards: Boards, reported: Reported) -> list[Table]:
    """Quartiles and mean of the frames seen closely, of the classes with the most and with the fewest."""

    def ends(entry: Entry) -> pd.DataFrame:
        of_class = entry.close_by_class()
        present = list(of_class)
        shown = present if len(present) <= 2 * MAX_CLASSES else [*present[:MAX_CLASSES], *present[-MAX_CLASSES:]]
        rows = []
        for name in shown:
            lower, median, upper = np.percentile(of_class[name], (25, 50, 75))
            quartiles = {"lower quartile": f"{lower:g}", "median": f"{median:g}", "upper quartile": f"{upper:g}"}
            rows.append({"class": name, "mean": f"{of_class[name].mean():.2f}", **quartiles})
        return pd.DataFrame(rows)

    return _of_places(exhibit, boards, "Fine features", ends)


MEASURED: dict[str, Callable[[Exhibit, Boards, Reported], list[Table]]] = {
    "usage": _usage,
    "ratios": _ratios,
    "fine": _fine,
    "online": _online,
    "times": _times,
    "by class": _by_class,
}
