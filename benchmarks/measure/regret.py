"""Which part of the room a method missed, which frames or which resolution: from its records and the data set's labels.

N videos, T frames, A kinds of action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from adavid.actions import Action, is_close, kind_of
from adavid.data.catalogue import Evidence
from adavid.evaluation.predictions import Predictions

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


def regret(
    predictions: Predictions, actions: Sequence[Action], evidence: Evidence, level_names: Sequence[str] = ()
) -> Regret:
    """The regret of one run. NaN where a share is of nothing.

    Args:
        predictions: of the whole split.
        actions: what `action_NT` indexes, as the record's usage has them.
        evidence: which frames of the predictions' videos show it, (N, T) each.
        level_names: the data set's levels of difficulty.
    """
    kind_NT = kind_of(predictions.action_NT, actions[0].places)
    assert kind_NT.shape == evidence.is_shown.shape
    # The last of each is of padding, whose kind is -1.
    size_NT = np.array([*(action.size for action in actions), 0])[kind_NT]
    is_close_NT = np.array([*is_close(actions), False])[kind_NT]
    price_NT = np.array([*prices(kind_NT, predictions.macs_N, actions), 0.0])[kind_NT]
    of_level = {"": np.ones(len(kind_NT), dtype=bool)} | {level: predictions.level_N == level for level in level_names}
    clear_NT = evidence.is_clear & (kind_NT >= 0)
    return Regret(
        close_of_clear=_mean(is_close_NT[clear_NT]),
        seen_of_clear=_mean(size_NT[clear_NT] > 0),
        cost_without=_share(price_NT, ~evidence.is_shown),
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


def mean_regret(of_runs: Sequence[Regret]) -> Regret:
    """Over seeds."""

    def mean_of(values: Sequence[float]) -> float:
        return float(np.mean(values))

    return Regret(
        mean_of([of.close_of_clear for of in of_runs]),
        mean_of([of.seen_of_clear for of in of_runs]),
        mean_of([of.cost_without for of in of_runs]),
        {level: mean_of([of.size_by_level[level] for of in of_runs]) for level in of_runs[0].size_by_level},
    )


def _share(weight_NT: np.ndarray, is_part_NT: np.ndarray) -> float:
    total = float(weight_NT.sum())
    return float(weight_NT[is_part_NT].sum()) / total if total else np.nan


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan
