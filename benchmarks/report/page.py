"""Writes the leaderboard: .csv, .md, .png and .html (one page that loads nothing from elsewhere)."""

import base64
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import numpy as np
import pandas as pd
from tqdm import tqdm

from adavid.actions import kind_of
from adavid.evaluation.predictions import Predictions
from adavid.evaluation.records import read_records
from adavid.files import write_atomically
from benchmarks.report import charts, tables
from benchmarks.report.compare import BASELINE, MEANING, Comparison, against_shuffled, comparisons
from benchmarks.report.entries import (
    LOCAL,
    REFERENCE,
    ROOTS,
    Entry,
    Place,
    baselines,
    group,
    read_latencies,
    series_names,
)

MAX_CLASSES = 24  # shown by class: the dearest and the cheapest half of these
MAX_BOXES = 20  # classes, spread evenly
MAX_STRIPS = 12
LEVELS = ("easy", "medium", "hard")  # terciles of the videos by what the method spends on them
MISSING = "\N{EN DASH}"


@dataclass
class Column:
    """A column of an HTML table."""

    key: str
    title: str
    hint: str
    is_number: bool = True


@dataclass
class Section:
    """What the page shows of one measured data set."""

    anchor: str
    title: str
    facts: list[tuple[str, str]]
    rows: list[dict[str, Any]]
    chart: str = ""
    differences: str = ""
    compared: list[tuple[str, list[Comparison]]] = field(default_factory=list)
    usage: str = ""
    by_class: list[tuple[str, str, str]] = field(default_factory=list)
    close: list[tuple[str, str, str]] = field(default_factory=list)
    where: list[tuple[str, str, str]] = field(default_factory=list)
    online: list[tuple[str, str, str, bool]] = field(default_factory=list)
    strips: list[tuple[str, list[dict[str, Any]], list[tuple[str, str]]]] = field(default_factory=list)


MEASURED_COLUMNS = (
    Column("method", "method", "method, and its variant where it is not the paper's main one", False),
    Column(
        "map",
        "mAP %",
        "macro mean average precision; mean over seeds, +- sample standard deviation over seeds",
    ),
    Column("interval", "95 % over videos", "bootstrap over the test videos, given the trained models"),
    Column("top1", "top-1 %", "videos whose best-scored class is right"),
    Column(
        "gflops_per_video",
        "GFLOPs / video",
        "mean over videos, policy and skipping included (1 MAC = 1 FLOP)",
    ),
    Column("gflops_per_frame", "/ frame", "GFLOPs per video divided by the T frames sampled"),
    Column("frames_used", "frames used", "frames that reach a backbone's prediction, mean over videos, of T"),
    Column("train_gmacs", "train GMACs", "spent in training, the fine-tuning of the shared backbones included"),
    Column("ms_per_video", "ms / video", "evaluation end to end, batch 16, on the device that latency.json names"),
    Column("speedup_realised", "speed-up", "the baseline's time over the method's, same run, batch 16"),
    Column("speedup_theoretical", "in theory", "the ratio of their GFLOPs on the videos timed"),
    Column("num_seeds", "seeds", "trainings that the row averages"),
)
REPORTED_COLUMNS = (
    Column("method", "method", "", False),
    Column("variant", "variant", "", False),
    Column("backbone", "backbone", "", False),
    Column("num_frames", "T", "frames per video"),
    Column("map", "mAP %", ""),
    Column("top1", "top-1 %", ""),
    Column("gflops_per_video", "GFLOPs / video", "as reported, each paper by its own accounting"),
    Column("gflops_per_frame", "/ frame", ""),
    Column("ms_per_video", "ms / video", "on the paper's hardware"),
    Column("source", "source", "", False),
)


def write_leaderboard(results_dir: Path, out_dir: Path | None = None, baseline: str = BASELINE) -> pd.DataFrame:
    """Regenerates leaderboard.csv, .md, .html and .png; the same results give the same bytes.

    Args:
        results_dir: holds reference/, runs/ and reported/.
        out_dir: where the files go; `results_dir` where not given.
        baseline: the method whose operating points are the equal-cost reference.

    Returns:
        The table, as `tables.leaderboard` gives it.

    Raises:
        ValueError: there are no results, or a file among them is damaged.
    """
    results_dir, out_dir = Path(results_dir), Path(out_dir or results_dir)
    records = read_records(results_dir / ROOTS[REFERENCE], results_dir / ROOTS[LOCAL])
    table = tables.leaderboard(records, read_latencies(results_dir), tables.read_reported(results_dir))
    if table.empty:
        raise ValueError(f"{results_dir}: expected results, found none; run a benchmark first")

    by_place: dict[Place, list[Entry]] = {}
    for entry in group(records):
        by_place.setdefault(entry.place, []).append(entry)
    places = sorted(by_place, key=lambda place: (-len(by_place[place]), place))
    specs: dict[str, alt.TopLevelMixin] = {}
    sections = [_section(by_place[place], table, specs, baseline) for place in tqdm(places, desc="leaderboard")]
    papers = _reported_sections(table, specs)

    write_atomically(out_dir / "leaderboard.csv", tables.rounded(table).to_csv(index=False, lineterminator="\n"))
    write_atomically(out_dir / "leaderboard.md", _markdown(table, places))
    write_atomically(out_dir / "leaderboard.png", charts.to_png(next(iter(specs.values()))))
    write_atomically(out_dir / "leaderboard.html", _html(sections, papers, specs, baseline))
    return table


def _section(
    entries: Sequence[Entry], table: pd.DataFrame, specs: dict[str, alt.TopLevelMixin], baseline: str
) -> Section:
    place = entries[0].place
    names = series_names(entries)
    section = Section(
        anchor=_anchor("-".join(place)),
        title=f"{place.data} \N{MIDDLE DOT} {place.profile}",
        facts=_facts(entries),
        rows=[_cells(row, MEASURED_COLUMNS) for row in tables.each(_rows(table, place))],
    )
    section.chart = f"{section.anchor}-chart"
    specs[section.chart] = charts.tradeoff(tables.curve_points(entries, names), baseline)

    deciding = [entry for entry in entries if entry.is_adaptive]
    for entry in tqdm(deciding, desc="comparisons", leave=False):
        if entry.method != baseline:
            section.compared.append((names[entry.name], _comparisons(entry, entries, baseline)))
    # The variants stand in the tables and the overall chart.
    shown = [entry for entry in deciding if not entry.variant] or deciding
    _add_differences(section, {names[entry.name] for entry in shown}, specs)

    actions = [action for entry in entries for action in entry.main[0]["usage"]["actions"]]
    colours = charts.action_colours(list(dict.fromkeys(actions)))
    section.usage = f"{section.anchor}-usage"
    specs[section.usage] = charts.usage(_overall(entries, names), colours)
    for entry in shown:
        anchor = f"{section.anchor}-{_anchor(entry.name)}"
        highest, *others = entry.main[0]["usage"]["actions"]
        if others:
            by_class, num_left_out = _by_class(entry)
            specs[anchor] = charts.usage(by_class, {name: colours[name] for name in (highest, *others)})
            note = f"{num_left_out} classes between the two ends are left out" if num_left_out else ""
            section.by_class.append((names[entry.name], anchor, note))
            rows, note = _close(entry)
            specs[f"{anchor}-close"] = charts.boxes(
                rows, f"frames of a video that took {highest}", entry.main[0]["frames"]["num_frames"]
            )
            section.close.append((names[entry.name], f"{anchor}-close", note))
        if "where" in entry.main[0]["usage"]:
            specs[f"{anchor}-where"] = charts.heat(_where(entry))
            section.where.append((names[entry.name], f"{anchor}-where", highest))
        if strips := _strips(entry, colours):
            legend = [(action, colours[action]) for action in (highest, *others)]
            section.strips.append((names[entry.name], strips, legend))
    for entry in entries:
        _add_online(section, entry, names[entry.name], specs)
    return section


def _rows(table: pd.DataFrame, place: Place) -> pd.DataFrame:
    here = (table.data == place.data) & (table.profile == place.profile) & (table.videos == place.videos)
    return table[(table.origin == "measured") & here]


def _comparisons(entry: Entry, entries: Sequence[Entry], baseline: str) -> list[Comparison]:
    """Against the one baseline that had the same recipe and budget, or why there is none and what is left to say."""
    references = baselines(entries, entry, baseline)
    if len(references) == 1:
        return comparisons(entry, references[0], entries)
    why_not = "several configurations under its conditions" if references else "none with its recipe and budget"
    return [Comparison(baseline, np.nan, None, why_not), *([against_shuffled(entry)] if entry.is_shuffled else [])]


def _facts(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """The conditions of the measurement, as (name, value)."""
    records = [record for entry in entries for record in entry.main]

    def distinct(values: Iterable[Any]) -> str:
        return ", ".join(str(value) for value in sorted(set(values)))

    first = records[0]
    num_videos = distinct(f"{record['data_info']['num_videos']:,}" for record in records)
    skipped = max(record["data_info"]["num_skipped_bad"] for record in records)
    empty = sorted({name for record in records for name in record["metrics"]["classes_without_positives"]})
    versions = [f"{name} {distinct(r['versions'].get(name, '?') for r in records)}" for name in first["versions"]]
    return [
        ("data set", f"{first['data']} ({entries[0].place.videos})"),
        ("profile", first["profile"]),
        ("videos", f"{num_videos} ({distinct(r['split'] for r in records)} split)"),
        *([("unreadable videos left out", str(skipped))] if skipped else []),
        *([("classes without positives, scored 0", ", ".join(empty))] if empty else []),
        ("classes", distinct(len(r["data_info"]["class_names"]) for r in records)),
        ("frames per video", f"T = {distinct(r['frames']['num_frames'] for r in records)}"),
        ("seeds", distinct(r["seed"] for r in records)),
        ("device", distinct(r["device"] for r in records)),
        ("source revision", distinct(_revision(r["git_revision"]) for r in records)),
        ("versions", ", ".join(versions)),
    ]  # fmt: skip


def _revision(revision: str) -> str:
    """The first digits of a commit, and whether the sources had changed since."""
    commit, _, dirty = revision.partition("-")
    return commit[:12] + ("-" + dirty if dirty else "")


def _cells(row: Any, columns: Sequence[Column]) -> dict[str, Any]:
    """A table row: by column the text and the value to sort by; and what the filter and the badges need."""
    texts = {
        "method": tables.label(row) if row.origin == "measured" else row.method,
        "map": _percent(row.map, row.map_std, row.origin),
        "interval": f"{row.map_low:.1f} to {row.map_high:.1f}",
        "top1": _percent(row.top1, np.nan, row.origin),
        "frames_used": f"{row.frames_used:.1f} of {row.num_frames:.0f}" if row.origin == "measured" else "",
        "speedup_realised": tables.times(row.speedup_realised),
        "speedup_theoretical": tables.times(row.speedup_theoretical),
    }
    cells = []
    for column in columns:
        value = row.map_low if column.key == "interval" else getattr(row, column.key)
        text = texts.get(column.key, value if isinstance(value, str) else tables.significant(value))
        if column.key in ("num_frames", "num_seeds") and not pd.isna(value):
            text = f"{value:.0f}"
        cells.append({"text": text or MISSING, "sort": "" if pd.isna(value) else value, "is_number": column.is_number})
    return {
        "cells": cells,
        "record": row.record,
        "hash": row.config_hash,
        "note": row.note,
        "point": row.operating_point,
    }


def _percent(mean: float, std: float, origin: str) -> str:
    if pd.isna(mean):
        return ""
    text = tables.pm(mean, std).replace("+-", "\N{PLUS-MINUS SIGN}")
    return text if origin == "measured" else text.removesuffix("0")  # most papers print one decimal


def _add_differences(section: Section, shown: Collection[str], specs: dict[str, alt.TopLevelMixin]) -> None:
    rows = [
        {
            "row": f"{name} vs {comparison.against}",
            "difference": 100 * comparison.difference.mean,
            "low": 100 * comparison.difference.interval[0],
            "high": 100 * comparison.difference.interval[1],
        }
        for name, of in section.compared
        for comparison in of
        if name in shown and comparison.difference is not None
    ]
    if rows:
        section.differences = f"{section.anchor}-differences"
        specs[section.differences] = charts.differences(pd.DataFrame(rows))


def _overall(entries: Sequence[Entry], names: Mapping[str, str]) -> pd.DataFrame:
    rows = [
        {"row": names[entry.name], "action": action, "share": share, "order": order}
        for entry in sorted(entries, key=lambda entry: (not entry.is_adaptive, names[entry.name]))
        for order, (action, share) in enumerate(
            zip(
                entry.main[0]["usage"]["actions"],
                np.mean([r["usage"]["overall"] for r in entry.main], axis=0),
                strict=True,
            )
        )
    ]
    return pd.DataFrame(rows)


def _by_class(entry: Entry) -> tuple[pd.DataFrame, int]:
    """The actions' shares by class, seeds averaged, the dearest first; and how many classes are left out."""
    runs = entry.predictions()
    label_NK = [run.label_NK for run in runs]
    gflops_SK = [run.macs_N @ of / np.maximum(of.sum(axis=0), 1) / 1e9 for run, of in zip(runs, label_NK, strict=True)]
    first = entry.main[0]
    class_names = first["data_info"]["class_names"]
    gflops = dict(zip(class_names, np.mean(gflops_SK, axis=0), strict=True))
    present = [name for name in class_names if all(name in record["usage"]["by_class"] for record in entry.main)]
    dearest = sorted(present, key=lambda name: (-gflops[name], name))
    if len(dearest) > MAX_CLASSES:
        dearest = dearest[: MAX_CLASSES // 2] + dearest[-MAX_CLASSES // 2 :]
    rows = [
        {
            "row": name,
            "action": action,
            "share": float(np.mean([record["usage"]["by_class"][name][order] for record in entry.main])),
            "order": order,
            "detail": f"{gflops[name]:.4g} GFLOPs/video, AP {100 * _ap(entry, name):.1f} %",
        }
        for name in dearest
        for order, action in enumerate(first["usage"]["actions"])
    ]
    return pd.DataFrame(rows), len(present) - len(dearest)


def _close(entry: Entry) -> tuple[pd.DataFrame, str]:
    """How many frames of a video took the first action: by class, the most first; and over all videos.

    LiteEval's Figure 4. The boxes take the videos of all seeds together.
    """
    first, runs = entry.main[0], entry.predictions()
    # Methods list their actions from the dearest down.
    num_places = first["usage"].get("num_places", 1)
    num_SN = [(kind_of(run.action_NT, num_places) == 0).sum(axis=1) for run in runs]
    num_N, label_NK = np.concatenate(num_SN), np.concatenate([run.label_NK for run in runs])
    by_class = {name: num_N[label_NK[:, k] > 0] for k, name in enumerate(first["data_info"]["class_names"])}
    present = [name for name, num_n in by_class.items() if len(num_n)]
    shown = _evenly(sorted(present, key=lambda name: (-by_class[name].mean(), name)), MAX_BOXES)
    marks = ("least", "lower", "median", "upper", "most")
    rows = [
        {
            "row": name,
            **dict(zip(marks, np.percentile(by_class[name], (0, 25, 50, 75, 100)), strict=True)),
            "mean": by_class[name].mean(),
            "num_videos": len(by_class[name]) // len(runs),
        }
        for name in shown
    ]
    mean, std = num_N.mean(), np.mean([num_n.std() for num_n in num_SN])
    note = f"{mean:.2f} \N{PLUS-MINUS SIGN} {std:.2f} of {first['frames']['num_frames']} frames"
    if len(shown) < len(present):
        note += f"; {len(shown)} of {len(present)} classes, spread evenly from the most to the least"
    return pd.DataFrame(rows), note


def _where(entry: Entry) -> pd.DataFrame:
    """Shares of the patches by cell of the frame, seeds averaged."""
    shares = np.mean([record["usage"]["where"] for record in entry.main], axis=0)
    rows, columns = np.indices(shares.shape)
    return pd.DataFrame({"row": rows.ravel(), "column": columns.ravel(), "share": shares.ravel()})


def _evenly(ordered: Sequence[Any], num: int) -> list[Any]:
    """At most `num` of the items, from the first to the last."""
    places = np.linspace(0, len(ordered) - 1, min(num, len(ordered)))
    return [ordered[i] for i in places.round().astype(int)]


def _add_online(section: Section, entry: Entry, name: str, specs: dict[str, alt.TopLevelMixin]) -> None:
    """What the entry attains along the videos, beside the baseline (LiteEval's Figures 2 and 3)."""
    records = entry.online()
    if not records:
        return
    points = tables.online_points(records, name)
    close, watched = (points[points.axis == axis] for axis in ("close", "watched"))
    anchor = f"{section.anchor}-{_anchor(entry.name)}-online"
    if len(close):  # else there is a seed that sees no frame closely
        specs[f"{anchor}-close"] = charts.online_close(close)
    specs[f"{anchor}-top1"] = charts.online_watched(watched, "top1")
    specs[f"{anchor}-gflops"] = charts.online_watched(watched, "gflops")
    section.online.append((name, records[0]["baseline"], anchor, len(close) > 0))


def _ap(entry: Entry, class_name: str) -> float:
    return float(np.mean([record["metrics"]["per_class_ap"][class_name] for record in entry.main]))


def _strips(entry: Entry, colours: Mapping[str, str]) -> list[dict[str, Any]]:
    """The example videos of the first seed that has some, from the cheapest to the dearest."""
    record = next((r for r in entry.main if (r.path.parent / "strips.json").exists()), None)
    if record is None:
        return []
    folder = record.path.parent
    videos = sorted(json.loads((folder / "strips.json").read_bytes()), key=lambda v: (v["gflops"], v["video_id"]))
    predictions = entry.predictions()[entry.main.index(record)]
    sizes = [int(action) for action in record["usage"]["actions"] if action.isdigit()]
    return [
        {
            **video,
            "level": _level(video["gflops"], predictions),
            "uri": "data:image/jpeg;base64," + base64.b64encode((folder / video["image"]).read_bytes()).decode(),
            "frames": [
                {
                    "action": action,
                    "colour": colours.get(action, charts.NEUTRAL),
                    "is_skipped": charts.is_skip(action),
                    "scale": 100 * int(action) / max(sizes) if action.isdigit() else 100,
                    "position": 100 * t / max(len(video["actions"]) - 1, 1),
                    "patch": [100 * part for part in box] if box else None,
                }
                for t, (action, box) in enumerate(zip(video["actions"], _boxes(video), strict=True))
            ],
        }
        for video in _evenly(videos, MAX_STRIPS)
    ]


def _boxes(video: Mapping[str, Any]) -> Sequence[Sequence[float] | None]:
    """The patch of each frame, None where there is none."""
    boxes: Sequence[Sequence[float] | None] = video.get("boxes") or [None] * len(video["actions"])
    return boxes


def _level(gflops: float, predictions: Predictions) -> str:
    """'easy', 'medium' or 'hard': the tercile of the video's cost among all videos, middle rank for ties."""
    all_gflops = predictions.macs_N / 1e9
    tolerance = 1e-6 * all_gflops.max(initial=0)
    below, at_most = np.mean(all_gflops < gflops - tolerance), np.mean(all_gflops <= gflops + tolerance)
    return LEVELS[min(int((below + at_most) / 2 * 3), 2)]


def _reported_sections(table: pd.DataFrame, specs: dict[str, alt.TopLevelMixin]) -> list[dict[str, Any]]:
    papers = table[table.origin == "reported"]
    sections = []
    for data in sorted(set(papers.data), key=lambda name: (-(papers.data == name).sum(), name)):
        rows = papers[papers.data == data]
        score = rows["map"].fillna(rows.top1)
        rows = rows.assign(score=score).sort_values(
            ["score", "method", "variant"], ascending=[False, True, True], kind="stable"
        )
        columns = [column for column in REPORTED_COLUMNS if rows[column.key].replace("", np.nan).notna().any()]
        chart = f"reported-{_anchor(data)}"
        if (rows.gflops_per_video.notna() & score.notna()).sum() > 2:
            specs[chart] = charts.reported(rows)
        sections.append(
            {
                "title": data,
                "chart": chart if chart in specs else "",
                "columns": columns,
                "rows": [_cells(row, columns) for row in tables.each(rows)],
            }
        )
    return sections


def _markdown(table: pd.DataFrame, places: Sequence[Place]) -> str:
    parts = ["# Leaderboard", "Generated from the records under `results/` by `make leaderboard`."]
    if places:
        parts += ["![mAP over GFLOPs per video](leaderboard.png)", "## Measured", MEANING]
    for place in places:
        title = f"### {place.data}, profile {place.profile}, videos {place.videos}"
        parts += [title, tables.measured_table(_rows(table, place), "pipe")]
    papers = table[table.origin == "reported"]
    if len(papers):
        parts += ["## Reported in papers", "Each by its own recipe and accounting: context, not competitors."]
    for name in sorted(set(papers.data)):
        rows = papers[papers.data == name]
        text = rows[[column.key for column in REPORTED_COLUMNS]].map(
            lambda value: value if isinstance(value, str) else "" if pd.isna(value) else f"{value:g}"
        )
        parts += [f"### {name}", text.to_markdown(index=False, disable_numparse=True)]
    return "\n\n".join(parts) + "\n"


def _html(
    sections: Sequence[Section],
    papers: Sequence[Mapping[str, Any]],
    specs: Mapping[str, alt.TopLevelMixin],
    baseline: str,
) -> str:
    import vl_convert as vlc

    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html.j2")
    bundle = vlc.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=charts.vegalite_version())
    return template.render(
        sections=sections,
        papers=papers,
        baseline=baseline,
        meaning=MEANING.replace("+-", "\N{PLUS-MINUS SIGN}"),
        columns=MEASURED_COLUMNS,
        bundle=bundle.replace("</script", "<\\/script"),
        specs=_json({name: chart.to_dict() for name, chart in specs.items()}),
    )


def _json(content: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(content, sort_keys=True, allow_nan=False).replace("</", "<\\/")


def _anchor(text: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in text.lower())
