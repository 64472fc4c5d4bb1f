"""The room that adaptivity has on a data set: what oracles attain with uniform's networks, one JSON and one NPZ.

N videos, T frames, K classes, S seeds, R resolutions from the lowest to the highest, F choices of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from adavid.evaluation.metrics import mean_average_precision, top1
from adavid.evaluation.predictions import read_arrays, write_with_arrays
from adavid.evaluation.schema import Block, to_json

ROOM_JSON = "room.json"  # in the folder of a data set's profile, beside those of the methods
Looked = Literal["all", "evidence"]
LOOKED: tuple[Looked, ...] = ("all", "evidence")  # the F choices of frames


class RoomPoint(Block):
    """What is attained by a choice of frames and of a resolution, fractions; a value for each seed.

    Attributes:
        frames: "all" that are sampled, or those that show clear "evidence", all of a video that has none.
        size: pixels; None: of each video the lowest at which the answer is right, the highest where none is.
        levels: top-1 by level of difficulty.
    """

    frames: Looked
    size: int | None = None
    map: tuple[float, ...]
    top1: tuple[float, ...]
    gflops_per_video: tuple[float, ...]
    levels: dict[str, tuple[float, ...]]


class Sufficient(Block):
    """The lowest resolution at which the answer is right, of the videos of one level.

    Attributes:
        frames: as in `RoomPoint`.
        level: of difficulty; "" for all videos.
        shares: of the videos, means over seeds: one for each resolution from the lowest on, then those never right.
    """

    frames: Looked
    level: str
    shares: tuple[float, ...]


class RoomEvidence(Block):
    """What a data set knows of its frames, and whether a low-level statistic would know it too.

    Attributes:
        shown: the share of the sampled frames that show the evidence.
        clear: the share of those that show it clearly.
        without_clear: the share of the videos that none of their sampled frames shows clearly.
        separability: max(AUC, 1 - AUC) of each low-level statistic, for telling frames that show the evidence from
            those that do not, on frames of the training split.
    """

    shown: float
    clear: float
    without_clear: float
    separability: dict[str, float]


class RoomRecord(Block):
    """The numbers; all but the statistics of frames follow from the answers beside them.

    Attributes:
        fingerprint: of the data set.
        networks: the method that trained the networks, under the configuration of `config_hash`.
        seeds: of its runs; every point has a value for each.
        num_frames: T.
        sizes: the resolutions in pixels, from the lowest to the highest.
        chance: mAP and accuracy of answers that know nothing of the video.
        evidence: None where the data set does not know which frames show it.
    """

    schema_version: Literal[3] = Field(alias="schema")
    kind: Literal["room"]
    data: str
    profile: str
    split: str
    fingerprint: str
    networks: str
    config_hash: str
    seeds: tuple[int, ...]
    num_videos: int
    num_frames: int
    sizes: tuple[int, ...]
    chance: float
    points: tuple[RoomPoint, ...]
    sufficient: tuple[Sufficient, ...]
    evidence: RoomEvidence | None = None

    @model_validator(mode="after")
    def _one_value_a_seed(self) -> RoomRecord:
        for point in self.points:
            values = (point.map, point.top1, point.gflops_per_video, *point.levels.values())
            if {len(of) for of in values} != {len(self.seeds)}:
                raise ValueError(f"points: expected a value for each of {len(self.seeds)} seeds")
        if any(len(of.shares) != len(self.sizes) + 1 for of in self.sufficient):
            raise ValueError(f"sufficient: expected a share for each of {len(self.sizes)} sizes, and for none")
        return self


@dataclass(frozen=True, eq=False)
class RoomAnswers:
    """What the networks answer on each video from all sampled frames and from clear evidence: one NPZ.

    Attributes:
        video_id: str (N,).
        label_NK: uint8 multi-hot.
        level_N: str, the video's level of difficulty; empty where the data set has no levels.
        score_SFRNK: float32, the softmax of the averaged logits; F counts `LOOKED`, all frames alone where nobody knows
            which of them show the evidence.
        macs_SFRN: int64, multiply-accumulates of the video.
        is_shown_NT: bool, the frame shows the evidence; T is 0 where nobody knows.
        is_clear_NT: bool, it shows it clearly.
    """

    video_id: np.ndarray
    label_NK: np.ndarray
    level_N: np.ndarray
    score_SFRNK: np.ndarray
    macs_SFRN: np.ndarray
    is_shown_NT: np.ndarray
    is_clear_NT: np.ndarray

    @property
    def is_right_SFRN(self) -> np.ndarray:
        """Whether the best-scored class is one of the video's."""
        best_SFRN1 = self.score_SFRNK.argmax(-1)[..., None]
        label_SFRNK = np.broadcast_to(self.label_NK > 0, self.score_SFRNK.shape)
        return np.take_along_axis(label_SFRNK, best_SFRN1, -1)[..., 0]


def room_points(answers: RoomAnswers, sizes: Sequence[int], level_names: Sequence[str]) -> tuple[RoomPoint, ...]:
    """Uniform at every resolution, the oracle of frames, the oracle of resolution, and both."""
    num_choices, highest = answers.score_SFRNK.shape[1], len(sizes) - 1
    right_SFRN = answers.is_right_SFRN
    right_SFRN[:, :, highest] = True
    lowest_right_SFN = right_SFRN.argmax(2)
    choices: list[tuple[int, int | None]] = [(0, r) for r in range(len(sizes))]
    choices += [(f, highest) for f in range(1, num_choices)] + [(f, None) for f in range(num_choices)]
    label_NK, row_N = answers.label_NK, np.arange(len(answers.video_id))
    points = []
    for f, r in choices:
        r_SN = lowest_right_SFN[:, f] if r is None else np.full_like(lowest_right_SFN[:, f], r)
        score = [of_FRNK[f, r_N, row_N] for of_FRNK, r_N in zip(answers.score_SFRNK, r_SN, strict=True)]
        macs = [of_FRN[f, r_N, row_N] for of_FRN, r_N in zip(answers.macs_SFRN, r_SN, strict=True)]
        points.append(
            RoomPoint(
                frames=LOOKED[f],
                size=None if r is None else sizes[r],
                map=tuple(mean_average_precision(label_NK, score_NK) for score_NK in score),
                top1=tuple(top1(label_NK, score_NK) for score_NK in score),
                gflops_per_video=tuple(float(macs_N.mean()) / 1e9 for macs_N in macs),
                levels={
                    level: tuple(top1(label_NK[is_of_N], score_NK[is_of_N]) for score_NK in score)
                    for level, is_of_N in _by_level(answers, level_names)
                },
            )
        )
    return tuple(points)


def sufficient_shares(answers: RoomAnswers, level_names: Sequence[str]) -> tuple[Sufficient, ...]:
    """By choice of frames and level, which share of the videos is answered rightly first at each resolution."""
    right_SFRN = answers.is_right_SFRN
    num_sizes = right_SFRN.shape[2]
    first_SFN = np.where(right_SFRN.any(2), right_SFRN.argmax(2), num_sizes)
    everything = ("", np.ones(len(answers.video_id), dtype=bool))
    return tuple(
        Sufficient(
            frames=LOOKED[f],
            level=level,
            shares=tuple(float((first_SFN[:, f, is_of_N] == r).mean()) for r in range(num_sizes + 1)),
        )
        for f in range(right_SFRN.shape[1])
        for level, is_of_N in (everything, *_by_level(answers, level_names))
    )


def _by_level(answers: RoomAnswers, level_names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Which videos are of a level, bool (N,), of those levels that some are of."""
    return [(level, answers.level_N == level) for level in level_names if level in answers.level_N]


def write_room(folder: str | Path, record: RoomRecord, answers: RoomAnswers) -> Path:
    """Writes `room.npz`, then `room.json`, which is withdrawn first: none ever stands beside another one's answers."""
    path = Path(folder) / ROOM_JSON
    write_with_arrays(path, to_json(record), answers)
    return path


def read_room_answers(path: str | Path) -> RoomAnswers:
    """The answers beside a record.

    Args:
        path: of the record's JSON, or of the NPZ itself.

    Raises:
        ValueError: the NPZ is missing, damaged or lacks an array.
    """
    return read_arrays(RoomAnswers, path, "the answers of a room")
