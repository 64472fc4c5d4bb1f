"""The numbers that follow from a split's predictions: accuracy, cost, usage and frames.

N videos, T frames, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import model_validator

from adavid.actions import Action, kind_of, place_shares
from adavid.config import nearest
from adavid.evaluation import stats
from adavid.evaluation.metrics import average_precision, classes_without_positives, top1
from adavid.evaluation.predictions import Predictions
from adavid.evaluation.schema import Block

MAX_NAMES = 5  # of classes in a sentence


class Metrics(Block):
    """Accuracy over a split, fractions.

    Attributes:
        map: macro mean average precision over all classes.
        top1: share of the videos whose best-scored class is right.
        map_interval: the mAP's 95 % interval over videos, given the trained model.
        per_class_ap: average precision by class.
        classes_without_positives: those that no video has; each counts as 0 in the mAP.
    """

    map: float
    top1: float
    map_interval: tuple[float, float]
    per_class_ap: dict[str, float]
    classes_without_positives: tuple[str, ...]

    @property
    def caveat(self) -> str:
        """What keeps the mAP of a model that is always right below 1, for reading; empty where nothing does."""
        empty, num_classes = self.classes_without_positives, len(self.per_class_ap)
        if not empty:
            return ""
        names = ", ".join(empty[:MAX_NAMES]) + (f" and {len(empty) - MAX_NAMES} more" if empty[MAX_NAMES:] else "")
        highest = 100 * (num_classes - len(empty)) / num_classes
        return f"no video of {len(empty)} of {num_classes} classes ({names}), which score 0: mAP at most {highest:.2f}"


class Cost(Block):
    """What evaluation spent, in GFLOPs of multiply-accumulates.

    Attributes:
        gflops_per_video, gflops_per_video_median, gflops_per_video_p90: mean, median and 90th percentile over videos.
        gflops_per_frame: the mean per video over T.
        audited_gflops_per_video: the part that the independent counter sees too.
        components: mean per video by component; their sum is `gflops_per_video`.
    """

    gflops_per_video: float
    gflops_per_video_median: float
    gflops_per_video_p90: float
    gflops_per_frame: float
    audited_gflops_per_video: float
    components: dict[str, float]


class ActionShares(Block):
    """How often a method took each of its actions.

    Attributes:
        actions: what it may decide, as data, in the order of its action indices.
        overall: by action, the share of the frames, padding left out, that took it.
    """

    actions: tuple[Action, ...]
    overall: tuple[float, ...]

    @model_validator(mode="after")
    def _one_share_an_action(self) -> ActionShares:
        if not 0 < len(self.actions) == len(self.overall):
            raise ValueError(f"overall: expected a share for each of {len(self.actions)} actions")
        return self

    @property
    def names(self) -> list[str]:
        """Of the actions."""
        return [action.name for action in self.actions]


class Usage(ActionShares):
    """How a method used its actions on a split.

    Attributes:
        by_class: like `overall`, over the videos of each class that has some.
        where: of the first action, where it has places: their shares by rows and columns of the frame.
    """

    by_class: dict[str, tuple[float, ...]]
    where: tuple[tuple[float, ...], ...] | None = None

    @model_validator(mode="after")
    def _one_share_an_action_and_class(self) -> Usage:
        for name, shares in self.by_class.items():
            if len(shares) != len(self.actions):
                raise ValueError(f"by_class.{name}: expected a share for each of {len(self.actions)} actions")
        return self


class Frames(Block):
    """Frames a video.

    Attributes:
        num_frames: T.
        used: mean number that the classifier saw.
        decoded: mean number that was decoded; 0 where all came from a cache.
        decoded_on_demand: mean number that a decoder would decode for the frames that networks saw, asked for one call
            after the other (adavid.data.on_demand); None in records of before.
    """

    num_frames: int
    used: float
    decoded: float
    decoded_on_demand: float | None = None


class Level(Block):
    """The videos of one level of difficulty.

    Attributes:
        num_videos: how many there are of it in the split.
        accuracy: the share of them whose best-scored class is right.
    """

    name: str
    num_videos: int
    accuracy: float


class Summary(Block):
    """What follows from a split's predictions."""

    metrics: Metrics
    levels: tuple[Level, ...]
    cost: Cost
    usage: Usage
    frames: Frames


def summarize(
    predictions: Predictions,
    class_names: Sequence[str],
    actions: Sequence[Action],
    *,
    num_frames: int,
    components: Mapping[str, float],
    audited_gflops_per_video: float,
    frames_decoded: float,
    frames_decoded_on_demand: float | None = None,
    level_names: Sequence[str] = (),
    num_replicates: int = 1000,
) -> Summary:
    """The blocks of a record that follow from the predictions.

    Args:
        predictions: of the whole split, each video once.
        class_names: K names.
        actions: what `action_NT` indexes, `ActionSpace.kinds`.
        num_frames: T, the frames of a video that the cost per frame divides by.
        components: GFLOPs per video by component: like the next three, not to be had from the predictions.
        audited_gflops_per_video: the ledger's second tally.
        frames_decoded: mean over videos.
        frames_decoded_on_demand: likewise.
        level_names: the data set's levels of difficulty, in order.
        num_replicates: of the bootstrap for the interval of the mAP (videos, given the trained model).

    Returns:
        Plain floats, fractions and GFLOPs. A class without videos has no entry in the usage by class, nor has a level
        without videos one at all.

    Raises:
        ValueError: no videos, a video twice, or names that do not fit the arrays.
    """
    label_NK, score_NK = predictions.label_NK, predictions.score_NK
    predictions.check_unique()
    if len(class_names) != label_NK.shape[1]:
        raise ValueError(f"class names: expected {label_NK.shape[1]}, got {len(class_names)}")
    if unknown := set(predictions.level_N.tolist()) - {"", *level_names}:
        raise ValueError(f"levels: {sorted(unknown)[0]!r} is unknown; {nearest(sorted(unknown)[0], level_names)}")
    num_indices = sum(action.places for action in actions)
    if predictions.action_NT.max(initial=-1) >= num_indices:
        raise ValueError(f"actions: expected {predictions.action_NT.max() + 1}, got {num_indices}")

    ap_K = average_precision(label_NK, score_NK)
    gflops_N = predictions.macs_N / 1e9
    kind_NT = kind_of(predictions.action_NT, actions[0].places)
    by_class = {name: kind_NT[label_NK[:, k] > 0] for k, name in enumerate(class_names)}
    return Summary(
        metrics=Metrics(
            map=float(ap_K.mean()),
            top1=top1(label_NK, score_NK),
            map_interval=stats.interval(stats.bootstrap_map(predictions, num_replicates)),
            per_class_ap=dict(zip(class_names, ap_K.tolist(), strict=True)),
            classes_without_positives=tuple(classes_without_positives(label_NK, class_names)),
        ),
        levels=tuple(_level(predictions, name) for name in level_names if name in predictions.level_N),
        cost=Cost(
            gflops_per_video=float(gflops_N.mean()),
            gflops_per_video_median=float(np.median(gflops_N)),
            gflops_per_video_p90=float(np.percentile(gflops_N, 90)),
            gflops_per_frame=float(gflops_N.mean() / num_frames),
            audited_gflops_per_video=audited_gflops_per_video,
            components=dict(components),
        ),
        usage=Usage(
            actions=tuple(actions),
            overall=action_shares(kind_NT, len(actions)),
            by_class={name: action_shares(taken, len(actions)) for name, taken in by_class.items() if len(taken)},
            where=_where(predictions.action_NT, actions[0].places),
        ),
        frames=Frames(
            num_frames=num_frames,
            used=float(predictions.frames_used_N.mean()),
            decoded=frames_decoded,
            decoded_on_demand=frames_decoded_on_demand,
        ),
    )


def _level(predictions: Predictions, name: str) -> Level:
    of_level = predictions.select(predictions.level_N == name)
    return Level(name=name, num_videos=len(of_level.video_id), accuracy=top1(of_level.label_NK, of_level.score_NK))


def action_shares(kind_NT: np.ndarray, num_kinds: int) -> tuple[float, ...]:
    """The fraction of frames, padding left out, that took each kind of action; zeros where there are no frames."""
    counts = np.bincount(kind_NT[kind_NT >= 0], minlength=num_kinds)
    return tuple((counts / max(counts.sum(), 1)).tolist())


def _where(action_NT: np.ndarray, num_places: int) -> tuple[tuple[float, ...], ...] | None:
    """The shares of the first action's places, by rows and columns of the frame; None where it has but one."""
    if num_places == 1:
        return None
    place_N = action_NT[(action_NT >= 0) & (action_NT < num_places)]
    return tuple(map(tuple, place_shares(place_N, math.isqrt(num_places))))
