"""The numbers that follow from a split's predictions: accuracy, cost, usage and frames.

N videos, T frames, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adavid.actions import ActionSpace
from adavid.evaluation import stats
from adavid.evaluation.metrics import average_precision, classes_without_positives, top1
from adavid.evaluation.predictions import Predictions


def summarize(
    predictions: Predictions,
    class_names: Sequence[str],
    actions: ActionSpace,
    *,
    num_frames: int,
    components: Mapping[str, float],
    audited_gflops_per_video: float,
    frames_decoded: float,
    num_replicates: int = 1000,
) -> dict[str, dict[str, Any]]:
    """The blocks of the record that follow from the predictions: metrics, cost, usage and frames.

    Args:
        predictions: of the whole split, each video once.
        class_names: K names.
        actions: what `action_NT` indexes.
        num_frames: T, the frames of a video that the cost per frame divides by.
        components: GFLOPs per video by component: like the next two, not to be had from the predictions.
        audited_gflops_per_video: the ledger's second tally.
        frames_decoded: mean over videos.
        num_replicates: of the bootstrap for the interval of the mAP (videos, given the trained model).

    Returns:
        {"metrics": ..., "cost": ..., "usage": ..., "frames": ...}; plain floats, fractions and GFLOPs.
        A class without videos has no entry in the usage by class. Where the first decision has places, the usage
        holds their number, and the shares of it by place in `where`.

    Raises:
        ValueError: no videos, a video twice, or names that do not fit the arrays.
    """
    label_NK, score_NK = predictions.label_NK, predictions.score_NK
    predictions.check_unique()
    if len(class_names) != label_NK.shape[1]:
        raise ValueError(f"class names: expected {label_NK.shape[1]}, got {len(class_names)}")
    if predictions.action_NT.max(initial=-1) >= len(actions):
        raise ValueError(f"actions: expected {predictions.action_NT.max() + 1}, got {len(actions)}")

    ap_K = average_precision(label_NK, score_NK)
    gflops_N = predictions.macs_N / 1e9
    kind_NT = actions.kind(predictions.action_NT)
    by_class = {name: kind_NT[label_NK[:, k] > 0] for k, name in enumerate(class_names)}
    return {
        "metrics": {
            "map": float(ap_K.mean()),
            "top1": top1(label_NK, score_NK),
            "map_interval": list(stats.interval(stats.bootstrap_map(label_NK, score_NK, num_replicates))),
            "per_class_ap": dict(zip(class_names, ap_K.tolist(), strict=True)),
            "classes_without_positives": classes_without_positives(label_NK, class_names),
        },
        "cost": {
            "gflops_per_video": float(gflops_N.mean()),
            "gflops_per_video_median": float(np.median(gflops_N)),
            "gflops_per_video_p90": float(np.percentile(gflops_N, 90)),
            "gflops_per_frame": float(gflops_N.mean() / num_frames),
            "audited_gflops_per_video": audited_gflops_per_video,
            "components": dict(components),
        },
        "usage": {
            "actions": list(actions.names),
            "overall": usage(kind_NT, len(actions.names)),
            "by_class": {name: usage(taken, len(actions.names)) for name, taken in by_class.items() if len(taken)},
            **_where(predictions.action_NT, actions),
        },
        "frames": {
            "num_frames": num_frames,
            "used": float(predictions.frames_used_N.mean()),
            "decoded": frames_decoded,
        },
    }


def usage(kind_NT: np.ndarray, num_kinds: int) -> list[float]:
    """The fraction of frames, padding left out, that took each kind of action; zeros where there are no frames."""
    counts = np.bincount(kind_NT[kind_NT >= 0], minlength=num_kinds)
    return (counts / max(counts.sum(), 1)).tolist()


def _where(action_NT: np.ndarray, actions: ActionSpace) -> dict[str, Any]:
    if actions.grid is None:
        return {}
    place_N = action_NT[(action_NT >= 0) & (action_NT < actions.num_places)]
    return {"num_places": actions.num_places, "where": actions.grid.heat(place_N)}
