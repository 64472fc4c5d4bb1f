"""Whether records say what their predictions and their configurations do: the check of a submitted result.

N videos, T frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adavid.actions import kind_of
from adavid.digest import code_digest
from adavid.evaluation.metrics import mean_average_precision, published_map
from adavid.evaluation.predictions import Predictions, read_predictions
from adavid.evaluation.records import (
    MAIN,
    OTHER_KINDS,
    SHUFFLED,
    LatencyRecord,
    OnlineRecord,
    Record,
    identity,
    model_identity,
    read_records,
)
from adavid.evaluation.room import RoomAnswers, RoomRecord, read_room_answers, room_points, sufficient_shares
from adavid.evaluation.schema import read_json
from adavid.evaluation.summary import Summary, summarize
from benchmarks.report.entries import operating_point
from benchmarks.report.retrained import BY_TODAYS, Codes

TOLERANCE = 1e-9  # relative: sums in another order, on another machine


def verify(folder: str | Path) -> None:
    """Scores the records at or below a folder anew from their predictions, and hashes their configurations anew.

    Accuracy, its interval, cost, usage and frames used follow from the predictions. What does not is checked for
    consistency: the components sum up to the cost, of which the audited part is no more than all. Times, curves along
    the videos and examples are checked to be whole and in their place. A line is printed for each record.

    Raises:
        ValueError: there are no records; a file is damaged; or records differ from what follows: a line for each value
            with its key, what was recorded and what was recomputed.
    """
    folder = Path(folder).resolve()
    records = read_records(folder)
    if not records:
        raise ValueError(f"{folder}: expected records, found none")
    wrong: list[str] = []
    codes = Codes.of(folder)
    for record in records:
        predictions = None
        try:
            predictions = read_predictions(record.path)
            faults = list(mismatches(record, predictions))
        except ValueError as error:
            faults = [str(error)]
        wrong += [f"{record.path}: {fault}" for fault in faults]
        verdict = f"{len(faults)} mismatches" if faults else "reproduced"
        where = f"{record.label}, seed {record.seed}, {record.point} ({operating_point(record)})"
        standing = codes.standing(record.code, todays_code(record))
        verdict += "" if standing == BY_TODAYS else f"; made {standing}"
        print(f"{where}: {100 * record.metrics.map:.2f} mAP, {record.cost.gflops_per_video:.4g} GFLOPs: {verdict}")
        if predictions is not None and (others := other_maps(predictions)):
            print(f"  {others}")
    for path in sorted(path for path in folder.rglob("*.json") if path.name in OTHER_KINDS):
        other = read_json(OTHER_KINDS[path.name], path)
        if isinstance(other, LatencyRecord | OnlineRecord):
            wrong += [f"{path}: {fault}" for fault in _misplaced(other)]
        if isinstance(other, RoomRecord):
            try:
                wrong += [f"{path}: {fault}" for fault in room_mismatches(other, read_room_answers(path))]
            except ValueError as error:
                wrong.append(str(error))
    if wrong:
        raise ValueError("\n".join([f"{len(wrong)} values are not reproduced", *wrong]))


def other_maps(predictions: Predictions) -> str:
    """The mAP as others count it, for reading, where videos have several labels or a class has no video; else ""."""
    label_NK, score_NK = predictions.label_NK > 0, predictions.score_NK
    if (label_NK.sum(axis=1) <= 1).all() and label_NK.any(axis=0).all():
        return ""
    over_first = mean_average_precision(label_NK, score_NK, first_label_alone=True)
    over_all = mean_average_precision(label_NK, score_NK)
    published = published_map(label_NK, score_NK)
    return (
        f"mAP over all labels {100 * over_all:.2f}, over the first label alone {100 * over_first:.2f}; as AR-Net's and "
        f"AdaFocus's code counts {100 * published:.2f}"
    )


def mismatches(record: Record, predictions: Predictions) -> Iterator[str]:
    """What of a record does not follow from its predictions, its configuration and its place."""
    num_videos, num_frames = predictions.action_NT.shape
    yield from _unequal("data_info.num_videos", record.data_info.num_videos, num_videos)
    yield from _unequal("frames.num_frames", record.frames.num_frames, num_frames)
    again = summarize(
        predictions,
        record.data_info.class_names,
        record.usage.actions,
        num_frames=num_frames,
        components=record.cost.components,
        audited_gflops_per_video=record.cost.audited_gflops_per_video,
        frames_decoded=record.frames.decoded,
        frames_decoded_on_demand=record.frames.decoded_on_demand,
        level_names=[level.name for level in record.levels],
    )
    recorded = record.model_dump(include=set(Summary.model_fields))
    for name, recomputed in again.model_dump().items():
        yield from _unequal(name, recorded[name], recomputed)

    is_seen_A = np.array([*(action.size > 0 for action in record.usage.actions), False])  # the last one: padding
    used_N = is_seen_A[kind_of(predictions.action_NT, record.usage.actions[0].places)].sum(axis=1)
    yield from _unequal("frames.used, by the actions taken", record.frames.used, float(used_N.mean()))
    cost = record.cost
    total = math.fsum(cost.components.values())
    yield from _unequal("cost.components, their sum", total, again.cost.gflops_per_video)
    if not 0 <= cost.audited_gflops_per_video <= cost.gflops_per_video * (1 + TOLERANCE):
        audited = cost.audited_gflops_per_video
        yield f"cost.audited_gflops_per_video: expected at most {cost.gflops_per_video}, recorded {audited}"

    yield from _unequal("config.seed", record.config.get("seed"), record.seed)
    yield from _unequal("config.method", record.config.get("method"), record.method)
    recomputed_hash = identity(record.config, record.data_info.fingerprint)
    yield from _unequal("config_hash", record.config_hash, recomputed_hash)
    model_hash = model_identity(record.config, record.data_info.fingerprint)
    yield from _unequal("model_hash", record.model_hash, model_hash)
    yield from _misplaced(record)


def room_mismatches(record: RoomRecord, answers: RoomAnswers) -> Iterator[str]:
    """What of a room does not follow from its answers."""
    levels = list(record.points[0].levels)
    again = {"points": room_points(answers, record.sizes, levels), "sufficient": sufficient_shares(answers, levels)}
    for name, recomputed in again.items():
        recorded = [of.model_dump() for of in getattr(record, name)]
        yield from _unequal(name, recorded, [of.model_dump() for of in recomputed])
    yield from _unequal("num_videos", record.num_videos, len(answers.video_id))
    yield from _unequal("chance", record.chance, float(answers.label_NK.mean()))
    if record.evidence is not None:
        yield from _unequal("evidence.shown", record.evidence.shown, float(answers.is_shown_NT.mean()))
        yield from _unequal("evidence.clear", record.evidence.clear, float(answers.is_clear_NT.mean()))
        without = float((~answers.is_clear_NT.any(1)).mean())
        yield from _unequal("evidence.without_clear", record.evidence.without_clear, without)


def todays_code(record: Record) -> str | None:
    """The digest of the code that would train and evaluate it now; None where that is not here."""
    try:
        return code_digest(*record.config.get("sources", ()))
    except ValueError:
        return None


def _misplaced(result: Record | LatencyRecord | OnlineRecord) -> Iterator[str]:
    """Where the leaderboard expects a file, if it is not there."""
    found = "/".join(result.path.parts[-6:-1])
    config = f"{result.label}/{result.config_hash}"
    if isinstance(result, Record) and result.point not in (MAIN, SHUFFLED):
        config = "/".join(result.path.parts[-4:-2])  # the points of a curve may be of other models than their folder's
    expected = f"{result.data}/{result.profile}/{config}/seed{result.seed}"
    if found != expected:
        yield f"expected in {expected}, found in {found}"


def _unequal(key: str, recorded: Any, recomputed: Any) -> Iterator[str]:
    """The places where two values, or trees of values, are not the same."""
    if isinstance(recorded, Mapping) and isinstance(recomputed, Mapping) and recorded.keys() == recomputed.keys():
        for name in recorded:
            yield from _unequal(f"{key}.{name}", recorded[name], recomputed[name])
    elif _is_list(recorded) and _is_list(recomputed) and len(recorded) == len(recomputed):
        for i, (own, other) in enumerate(zip(recorded, recomputed, strict=True)):
            yield from _unequal(f"{key}.{i}", own, other)
    elif isinstance(recorded, float) and isinstance(recomputed, float):
        if not math.isclose(recorded, recomputed, rel_tol=TOLERANCE, abs_tol=1e-12):
            yield f"{key}: recorded {recorded}, recomputed {recomputed}"
    elif recorded != recomputed:
        yield f"{key}: recorded {recorded!r}, recomputed {recomputed!r}"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
