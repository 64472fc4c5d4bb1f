"""What a model said and spent on each video of a split: one NPZ beside a run's record.

N videos, T frames, K classes.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from adavid.files import write_atomically

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Arrays = TypeVar("Arrays", bound="DataclassInstance")


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said and spent on each video.

    Attributes:
        video_id: str (N,).
        label_NK: uint8 multi-hot.
        score_NK: float32, the softmax of the averaged logits.
        action_NT: int32 action indices, -1 = padding.
        macs_N: int64, multiply-accumulates of the video.
        frames_used_N: int16.
        level_N: str, the video's level of difficulty; empty where the data set has no levels.
        group_N: str, which videos are not independent of each other; empty, as without it, of one that stands alone.

    Raises:
        ValueError: the arrays do not agree in their number of videos, or a value does not fit its type.
    """

    video_id: np.ndarray
    label_NK: np.ndarray
    score_NK: np.ndarray
    action_NT: np.ndarray
    macs_N: np.ndarray
    frames_used_N: np.ndarray
    level_N: np.ndarray
    group_N: np.ndarray = field(default_factory=lambda: np.array(""))

    def __post_init__(self) -> None:
        if self.group_N.ndim == 0:
            object.__setattr__(self, "group_N", np.full(len(self.video_id), ""))
        dtypes = (np.str_, np.uint8, np.float32, np.int32, np.int64, np.int16, np.str_, np.str_)
        for name, dtype in zip((of.name for of in fields(self)), dtypes, strict=True):
            given = np.asarray(getattr(self, name))
            stored = given.astype(dtype)
            if stored.dtype.kind in "iu" and not np.array_equal(stored, given):
                raise ValueError(f"{name}: expected values that fit {stored.dtype}, got {given.dtype}")
            if len(stored) != len(self.video_id):
                raise ValueError(f"{name}: expected {len(self.video_id)} videos, got {len(stored)}")
            object.__setattr__(self, name, stored)

    def select(self, rows: np.ndarray) -> Predictions:
        """The given videos, in the given order."""
        return Predictions(*(getattr(self, of.name)[rows] for of in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Predictions]) -> Predictions:
        """Those of several models on different videos, one after the other."""
        return cls(*(np.concatenate([getattr(part, of.name) for part in parts]) for of in fields(cls)))

    def unique(self) -> Predictions:
        """Each video once, sorted by id: distributed samplers pad the ranks by repeating videos."""
        return self.select(np.unique(self.video_id, return_index=True)[1])

    def check_unique(self) -> None:
        """ValueError where a video is held more than once: duplicates would count twice in every mean."""
        ids, count = np.unique(self.video_id, return_counts=True)
        if count.max(initial=0) != 1:
            twice = f"video {str(ids[count.argmax()])!r} {count.max()} times" if ids.size else "none"
            raise ValueError(f"predictions: expected videos, each of them once, got {twice}")


def read_predictions(path: str | Path) -> Predictions:
    """The predictions beside a record.

    Args:
        path: of the record's JSON, or of the NPZ itself.

    Raises:
        ValueError: the NPZ is missing, damaged or lacks an array that has to be there.
    """
    return read_arrays(Predictions, path, "the predictions of a run")


def read_arrays(kind: type[Arrays], path: str | Path, what: str) -> Arrays:
    """A dataclass of arrays from the NPZ beside a JSON, or at `path` itself; ValueError where it is not `what`."""
    path = Path(path).with_suffix(".npz")
    try:
        with np.load(path) as arrays:
            given = (of.name for of in fields(kind) if of.name in arrays or of.default_factory is MISSING)
            return kind(**{name: arrays[name] for name in given})
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected {what}: {error}") from error


def write_with_arrays(path: Path, text: str, of: DataclassInstance) -> None:
    """Writes the NPZ, then the JSON, which is withdrawn first: none ever stands beside another one's arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    arrays = {array.name: getattr(of, array.name) for array in fields(of)}
    write_atomically(path.with_suffix(".npz"), lambda file: np.savez_compressed(file, **arrays))
    write_atomically(path, text)
