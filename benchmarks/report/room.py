"""The room that adaptivity has, for reading: a row for uniform at every resolution and for each oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from adavid.evaluation.records import Record
from adavid.evaluation.room import ROOM_JSON, RoomAnswers, RoomPoint, RoomRecord, read_room_answers
from adavid.evaluation.schema import read_json
from adavid.evaluation.stats import seed_names
from benchmarks.layers import BASELINE
from benchmarks.report.entries import REFERENCE, Entry, series_names
from benchmarks.report.formats import significant
from benchmarks.report.regret import Regret, entry_regret

CEILING = "ceiling"  # the baseline's variant: a larger network, trained for longer
MEANING = (
    "Means over seeds. Oracles know what no method does: the oracle of frames which frames show the evidence clearly "
    "(it takes all of a video that has none), the oracle of resolution at which resolutions the answer is right (it "
    "takes the lowest, and the highest where it never is)."
)


class ShownRoom(NamedTuple):
    """The room as a reader sees it.

    Attributes:
        heading: what it was measured on.
        tables: by their titles, of texts: what is attained, the lowest resolution at which answers are right, and which
            part of the room methods missed, where that is known of some.
        notes: what else to know of it, a sentence or two each.
    """

    heading: str
    tables: list[tuple[str, pd.DataFrame]]
    notes: list[str]


def shown(record: RoomRecord, beside: Mapping[str, Entry], missed: Mapping[str, Regret]) -> ShownRoom:
    """A record, with measured methods beside the oracles and the regret of methods, by what their rows are called."""
    tables = [
        ("", room_table(record, beside)),
        ("Videos in percent, by the lowest resolution at which the answer is right", sufficient_table(record)),
    ]
    if missed:
        title = (
            "What was missed: which frames, in percent, and which resolution, the mean in pixels of the pictures seen"
        )
        tables.append((title, missed_table(record, missed)))
    return ShownRoom(_heading(record), tables, _notes(record))


def shown_room(entries: Sequence[Entry]) -> ShownRoom | None:
    """The room on the videos of some entries of one place, where it was measured."""
    place, names = entries[0].place, series_names(entries)
    folders = {entry.folder.parents[1]: entry.root for entry in entries}  # of the methods
    for folder in sorted(folders, key=lambda folder: (folders[folder] != REFERENCE, str(folder))):
        if (folder / ROOM_JSON).exists():
            record = read_json(RoomRecord, folder / ROOM_JSON)
            if record.fingerprint == place.videos:
                answers = read_room_answers(folder / ROOM_JSON)
                compare = (entry for entry in entries if entry.is_adaptive and _is_of(record, entry))
                return shown(
                    record, shown_beside(entries), {names[of.name]: _regret(of, record, answers) for of in compare}
                )
    return None


def shown_beside(entries: Sequence[Entry]) -> dict[str, Entry]:
    """Of the entries of one place what the table of the room shows with it: the ceiling, where it was measured."""
    label = f"{BASELINE}@{CEILING}"
    of = sorted((entry for entry in entries if entry.label == label), key=lambda entry: entry.root != REFERENCE)
    return {f"{CEILING}: {label}": of[0]} if of else {}


def room_table(record: RoomRecord, beside: Mapping[str, Entry]) -> pd.DataFrame:
    """The table as texts.

    Args:
        record: of the room.
        beside: measured methods on the same videos, by what their rows are called.
    """
    levels = list(record.points[0].levels)
    whole = record.points[len(record.sizes) - 1]
    uniform_gflops = float(np.mean(whole.gflops_per_video))

    def row(
        name: str, maps: Sequence[float], top1: Sequence[float], gflops: float, of: Mapping[str, float]
    ) -> list[str]:
        numbers = [float(np.mean(maps)), float(np.mean(top1)), *(of.get(level, np.nan) for level in levels)]
        cost = [significant(gflops), f"{100 * gflops / uniform_gflops:.1f}"]
        by_seed = ", ".join(f"{100 * value:.2f}" for value in maps) if len(maps) > 1 else ""
        return [name, *("" if np.isnan(value) else f"{100 * value:.2f}" for value in numbers), *cost, by_seed]

    rows = [row("chance", [record.chance], [record.chance], 0.0, dict.fromkeys(levels, record.chance))]
    for point in record.points:
        by_level = {level: float(np.mean(of)) for level, of in point.levels.items()}
        gflops = float(np.mean(point.gflops_per_video))
        rows.append(row(_named(point), point.map, point.top1, gflops, by_level))
    for name, entry in beside.items():
        maps, top1 = ([of(record) for record in entry.main] for of in (_map, _top1))
        by_level = {level: entry.mean(partial(_of_level, level)) for level in levels}
        rows.append(row(name, maps, top1, entry.gflops(), by_level))
    columns = ["", "mAP %", "top-1 %", *levels, "GFLOPs/video", "of uniform's, %", "mAP by seed"]
    return pd.DataFrame(rows, columns=columns)


def sufficient_table(record: RoomRecord) -> pd.DataFrame:
    """Percent of the videos, by the lowest resolution at which the answer is right."""
    names = {"all": "all frames", "evidence": "clear evidence"}
    rows = [
        [names[of.frames], of.level or "all", *(f"{100 * share:.1f}" for share in of.shares)]
        for of in record.sufficient
    ]
    return pd.DataFrame(rows, columns=["frames", "level", *(f"{size} px" for size in record.sizes), "none"])


def _notes(record: RoomRecord) -> list[str]:
    evidence = record.evidence
    if evidence is None:
        return ["The data set does not know which frames show the evidence: there is no oracle of frames."]
    best = max(evidence.separability, key=lambda name: evidence.separability[name])
    return [
        f"Of the {record.num_frames} frames sampled {100 * evidence.shown:.1f} % show the evidence, "
        f"{100 * evidence.clear:.1f} % clearly; {100 * evidence.without_clear:.1f} % of the videos have no clear one.",
        f"Of {len(evidence.separability)} low-level statistics the one that finds the frames with evidence best is "
        f"'{best}', with an AUC of {evidence.separability[best]:.3f}.",
    ]


def _heading(record: RoomRecord) -> str:
    return (
        f"{record.data}, profile {record.profile}, {record.num_videos:,} videos of the {record.split} split, "
        f"T = {record.num_frames}, networks of {record.networks}, seeds {seed_names(record.seeds)}"
    )


def missed_table(record: RoomRecord, missed: Mapping[str, Regret]) -> pd.DataFrame:
    """The regret of methods below what uniform and the oracle of both do, as texts."""
    assert record.evidence is not None
    sizes = np.array([*record.sizes, record.sizes[-1]])  # where the answer is never right, the highest
    best = {of.level: float(sizes @ np.array(of.shares)) for of in record.sufficient if of.frames == "evidence"}
    without = 1 - record.evidence.shown
    rows = {
        BASELINE: Regret(1.0, 1.0, without, dict.fromkeys(best, float(record.sizes[-1]))),
        "oracle of both": Regret(np.nan, 1.0, np.nan, best),
        **missed,
    }
    levels = list(best)
    texts = []
    for name, of in rows.items():
        shares = (100 * share for share in (of.seen_of_clear, of.close_of_clear, of.cost_without))
        values = [*shares, *(of.size_by_level.get(level, np.nan) for level in levels)]
        texts.append([name, *("" if np.isnan(value) else f"{value:.1f}" for value in values)])
    columns = ["", "clear evidence seen", "as closely as it can", "cost on frames without evidence"]
    return pd.DataFrame(texts, columns=[*columns, *(level or "all videos" for level in levels)])


def _is_of(record: RoomRecord, entry: Entry) -> bool:
    """Whether a method could look at the same frames of the same videos, which are known."""
    first = entry.first
    return record.evidence is not None and (first.split, first.frames.num_frames) == (record.split, record.num_frames)


def _regret(entry: Entry, record: RoomRecord, answers: RoomAnswers) -> Regret:
    levels = list(record.points[0].levels)
    return entry_regret(entry, answers.video_id, answers.is_shown_NT, answers.is_clear_NT, levels)


def _named(point: RoomPoint) -> str:
    if point.size is None:
        return "oracle of resolution" if point.frames == "all" else "oracle of both"
    return f"{BASELINE} at {point.size} px" if point.frames == "all" else "oracle of frames"


def _map(record: Record) -> float:
    return record.metrics.map


def _top1(record: Record) -> float:
    return record.metrics.top1


def _of_level(name: str, record: Record) -> float:
    return next((level.accuracy for level in record.levels if level.name == name), np.nan)
