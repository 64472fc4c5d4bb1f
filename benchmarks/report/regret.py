"""Which part of the room a method missed, which frames or which resolution: from its records and what the frames show.

N videos, T frames, A kinds of action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from adavid.actions import Action, is_close, kind_of
from adavid.evaluation.predictions import Predictions
from benchmarks.report.entries import Entry

PRIOR = 1e-3  # how much the prices that pixels suggest count, beside the bills


class Regret(NamedTuple):
    """Against oracles, which look at clear evidence alone, at the lowest resolution at which the answer is right.

    Attributes:
        close_of_clear: of the frames with clear evidence, the share that was seen as closely as the method can.
        seen_of_clear: likewise, the share that was seen at all.
        cost_without: of the cost, the share that went to frames without evidence.
        size_by_level: mean side in pixels of the pictures seen, by level of difficulty; "" for all videos.
    """

    close_of_clear: float
    seen_of_clear: float
    cost_without: float
    size_by_level: dict[str, float]


def entry_regret(
    entry: Entry,
    video_id: np.ndarray,
    is_shown_NT: np.ndarray,
    is_clear_NT: np.ndarray,
    level_names: Sequence[str] = (),
) -> Regret:
    """The regret of a method, a mean over its seeds.

    Args:
        entry: its records.
        video_id: of the videos that the next two speak of.
        is_shown_NT: which of the frames that the method may look at show the evidence.
        is_clear_NT: which show it clearly.
        level_names: the data set's levels of difficulty.
    """
    row = {str(video): n for n, video in enumerate(video_id.tolist())}
    found = []
    for run in entry.predictions():
        row_N = [row[video] for video in run.video_id.tolist()]
        found.append(regret(run, entry.first.usage.actions, is_shown_NT[row_N], is_clear_NT[row_N], level_names))
    sizes = {level: float(np.mean([of.size_by_level[level] for of in found])) for level in found[0].size_by_level}
    close, seen, without = np.mean([(of.close_of_clear, of.seen_of_clear, of.cost_without) for of in found], axis=0)
    return Regret(float(close), float(seen), float(without), sizes)


def regret(
    predictions: Predictions,
    actions: Sequence[Action],
    is_shown_NT: np.ndarray,
    is_clear_NT: np.ndarray,
    level_names: Sequence[str] = (),
) -> Regret:
    """The regret of one run. NaN where a share is of nothing.

    Args:
        predictions: of the whole split.
        actions: what `action_NT` indexes, as the record's usage has them.
        is_shown_NT: which of the predictions' frames show the evidence.
        is_clear_NT: which show it clearly.
        level_names: the data set's levels of difficulty.
    """
    kind_NT = kind_of(predictions.action_NT, actions[0].places)
    assert kind_NT.shape == is_shown_NT.shape == is_clear_NT.shape
    # The last of each is of padding, whose kind is -1.
    size_NT = np.array([*(action.size for action in actions), 0])[kind_NT]
    is_close_NT = np.array([*is_close(actions), False])[kind_NT]
    price_NT = np.array([*prices(kind_NT, predictions.macs_N, actions), 0.0])[kind_NT]
    of_level = {"": np.ones(len(kind_NT), dtype=bool)} | {level: predictions.level_N == level for level in level_names}
    clear_NT = is_clear_NT & (kind_NT >= 0)
    return Regret(
        close_of_clear=_mean(is_close_NT[clear_NT]),
        seen_of_clear=_mean(size_NT[clear_NT] > 0),
        cost_without=float(price_NT[~is_shown_NT].sum()) / float(price_NT.sum()) if price_NT.any() else np.nan,
        size_by_level={
            level: _mean(size_NT[is_of_N][size_NT[is_of_N] > 0]) for level, is_of_N in of_level.items() if is_of_N.any()
        },
    )


def prices(kind_NT: np.ndarray, macs_N: np.ndarray, actions: Sequence[Action]) -> np.ndarray:
    """What a frame of each kind cost, (A,) multiply-accumulates: a bill is of a whole video.

    The prices, none below zero, that explain the bills best: exactly, where each frame is billed for its decision
    alone. Where several explain them equally well, as where every video has as many frames of each kind, those nearest
    to prices in proportion to the pixels seen.
    """
    count_NA = np.stack([(kind_NT == kind).sum(1) for kind in range(len(actions))], axis=1).astype(float)
    total = float(macs_N.sum())
    pixels_A = np.array([action.size**2 for action in actions], dtype=float)
    seen = float((count_NA @ pixels_A).sum())
    prior_A = pixels_A * total / seen if seen else np.full(len(actions), total / max(count_NA.sum(), 1))
    weight = PRIOR * np.linalg.norm(count_NA)
    rows = np.concatenate([count_NA, weight * np.eye(len(actions))])
    solution: np.ndarray = nnls(rows, np.concatenate([macs_N.astype(float), weight * prior_A]))[0]
    return solution


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan
