"""What stands in a run's folder beside its model: records with their predictions, times, curves, examples.

A record is one JSON of numbers and one NPZ of the per-video predictions that they follow from.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from adavid.config import config_hash, essential
from adavid.evaluation.predictions import Predictions, write_with_arrays
from adavid.evaluation.room import ROOM_JSON, RoomRecord
from adavid.evaluation.schema import Block, Result, read_json, to_json, write_json
from adavid.evaluation.summary import ActionShares, Cost, Frames, Level, Metrics, Usage, summarize

MAIN, SHUFFLED = "test", "shuffled"  # points of a run; all others are operating points of its curve
LATENCY_JSON = "latency.json"  # of the method's own decisions
FORCED_LATENCY_JSON = "latency-forced.json"  # of decisions that it was given
ONLINE_JSON = "online.json"
STRIPS_JSON = "strips.json"


Box = tuple[float, float, float, float]  # top, left, height and width as fractions of the frame
Axis = Literal["close", "watched"]
By = Literal["own", "uniform-k", "seq-k", "uniform"]


class StageEpochs(Block):
    """A stage of training and its number of epochs."""

    name: str
    epochs: int


class Training(Block):
    """What training took, and how it went.

    Attributes:
        gmacs: multiply-accumulates in units of 1e9, the shared backbones' included; None where it was not trained here.
        stages: in order; none where it was not trained here.
        course: what losses and their terms were, "stage/term", a mean an epoch; of a run's main record alone.
    """

    gmacs: float | None = None
    stages: tuple[StageEpochs, ...]
    course: dict[str, tuple[float, ...]] = Field({}, exclude_if=lambda course: not course)  # records from before: none


class DataInfo(Block):
    """The videos that a record speaks of.

    Attributes:
        num_videos: of the split, all of which the predictions hold.
        num_skipped_bad: of all splits, left out because they cannot be read.
        left_out: what of the data set the copy lacked, in words.
        fingerprint: of the data set: results on other videos are not comparable.
        class_names: K names, in the order of the labels.
        metric: what the papers on the data set print, and tables sort by.
        fold: which fold of the data set the run read, from 0, where the runs of different seeds take turns.
        num_folds: of how many.
    """

    num_videos: int
    num_skipped_bad: int
    left_out: str = Field("", exclude_if=lambda words: not words)  # records from before have none
    fingerprint: str
    class_names: tuple[str, ...]
    metric: Literal["map", "top1"] = Field("map", exclude_if=lambda metric: metric == "map")  # records from before
    fold: int = Field(0, exclude_if=lambda fold: not fold)
    num_folds: int = Field(1, exclude_if=lambda num: num == 1)


class Validation(Block):
    """The same operating point on the validation split: what points are chosen by.

    Attributes:
        map: macro mean average precision, a fraction.
        gflops_per_video: mean over videos.
    """

    map: float
    gflops_per_video: float


class Record(Result):
    """One run's numbers at one point: its main one ("test"), its decisions shuffled, or a point of its curve.

    Attributes:
        operating_point: what the point sets.
        validation: the same point on the validation split; None where it is of no use (decisions shuffled).
        levels: accuracy by level of difficulty, in the data set's order; empty where it has no levels.
        config: everything that determined the run; `config_hash` is of its essential part and of the videos.
        model_hash: of what determined the trained weights alone.
        code: digest of the source that trained and evaluated it.
        num_threads: on the CPU, on which the last digits of training depend; None in records from before.
        times: seconds of training and evaluation, where they were measured.
    """

    split: str
    origin: Literal["measured"]
    point: str
    operating_point: dict[str, Any]
    metrics: Metrics
    validation: Validation | None = None
    levels: tuple[Level, ...]
    cost: Cost
    usage: Usage
    frames: Frames
    training: Training
    data_info: DataInfo
    config: dict[str, Any]
    config_hash: str
    model_hash: str
    code: str
    git_revision: str
    versions: dict[str, str]
    device: str
    num_threads: int | None = None
    times: dict[str, float]

    _parts: tuple[Record, ...] = ()

    @property
    def parts(self) -> tuple[Record, ...]:
        """The records that it pools; itself where it pools none (see `pooled`)."""
        return self._parts or (self,)


class LatencyBeside(Block):
    """A further baseline that a method was timed beside, in the same rounds; see `LatencyRow`."""

    baseline: str
    ms_per_video: float
    components_ms_per_video: float
    gflops_per_video: float
    speedup_realised: float
    speedup_theoretical: float
    speedup_allowed: float
    speedup_spread: tuple[float, float]


class LatencyRow(Block):
    """Times at one batch size: ms a video, medians over the rounds; spreads are the least and the most of them.

    Attributes:
        components_ms_per_video: of the networks alone, without what is around them.
        speedup_realised: the baseline's time over the method's.
        speedup_theoretical: the ratio of their GFLOPs on the videos timed.
        speedup_allowed: the ratio of their components' times: what networks that run at these rates allow.
        overhead: the method's time over its components'.
        resize_ms_per_video: of gathering and resizing the frames that networks read, a part of the overhead; None where
            a method does it by hand.
        repeats: rounds.
        decode_ms_per_video: of the frames that networks saw, from the videos' files.
        from_file_ms_per_video: from the file to the answer, all frames of the method's views read.
        baseline_from_file_ms_per_video: likewise.
        beside: further baselines.
    """

    batch_size: int
    ms_per_video: float
    baseline_ms_per_video: float
    components_ms_per_video: float
    gflops_per_video: float
    baseline_gflops_per_video: float
    speedup_realised: float
    speedup_theoretical: float
    overhead: float
    repeats: int
    spread: tuple[float, float]
    overhead_spread: tuple[float, float]
    speedup_spread: tuple[float, float]
    # None: of noise, not of videos; or in a record from before it was measured.
    speedup_allowed: float | None = None
    resize_ms_per_video: float | None = None
    decode_ms_per_video: float | None = None
    from_file_ms_per_video: float | None = None
    baseline_from_file_ms_per_video: float | None = None
    beside: tuple[LatencyBeside, ...] | None = None


class LatencyRecord(Result):
    """How long a run's evaluation took beside a baseline's, in the same process on the same device."""

    kind: Literal["latency"]
    config_hash: str
    device: str
    num_threads: int
    precision: str
    num_classes: int
    baseline: str
    weights: Literal["trained", "random"]
    decisions: Literal["own", "forced"]
    num_frames: int
    usage: ActionShares
    rows: tuple[LatencyRow, ...]


class OnlinePoint(Block):
    """What is attained where all videos are left early, means over videos.

    Attributes:
        axis: "close": at the frame seen closely number `value`; "watched": when that share has been watched.
        by: "own" for the method; "uniform-k", "seq-k" and "uniform" for the baseline.
        gflops: per video; `gflops_std` is over videos, like `num_close_std`.
        num_close: frames seen closely.
        frames: frames watched.
    """

    axis: Axis
    value: int | float
    by: By
    top1: float
    map: float
    gflops: float
    gflops_std: float
    num_close: float
    num_close_std: float
    frames: float


class OnlineRecord(Result):
    """What a run attains along the videos, beside a baseline on the same videos."""

    kind: Literal["online"]
    config_hash: str
    baseline: str
    baseline_hash: str | None = None
    points: tuple[OnlinePoint, ...]


class Strip(Block):
    """A video as an example: its frames side by side in one picture, and what was decided about each.

    Attributes:
        label: names of its classes, joined by ", "; `prediction` is one name.
        gflops: what the video cost.
        actions: the name of the action that each frame took.
        boxes: top, left, height and width of each frame's patch, as fractions of it; None where there is none.
        shown: whether each frame shows what tells the class; None where the data set does not know.
        image: the picture's path, relative to the run's folder.
    """

    video_id: str
    label: str
    prediction: str
    correct: bool
    gflops: float
    actions: tuple[str, ...]
    boxes: tuple[Box | None, ...] | None = None
    shown: tuple[bool, ...] | None = None
    image: str

    @model_validator(mode="after")
    def _one_box_a_frame(self) -> Strip:
        if self.shown is not None and len(self.shown) != len(self.actions):
            raise ValueError(f"shown: expected true or false for each of {len(self.actions)} frames")
        if self.boxes is not None and len(self.boxes) != len(self.actions):
            raise ValueError(f"boxes: expected one or null for each of {len(self.actions)} frames")
        return self


# What stands beside the records, by the file's name.
OTHER_KINDS: dict[str, Any] = {
    LATENCY_JSON: LatencyRecord,
    FORCED_LATENCY_JSON: LatencyRecord,
    ONLINE_JSON: OnlineRecord,
    STRIPS_JSON: tuple[Strip, ...],
    ROOM_JSON: RoomRecord,
}


def identity(config: dict[str, Any], videos: str) -> str:
    """A configuration's hash: of all but the seed, what else is measured of it, and what makes no difference.

    Args:
        config: everything that determines a run, as plain JSON-like values.
        videos: the data set's fingerprint.
    """
    return _hash_without(config, videos, "seed", "curve", "usage", "sources")


def model_identity(config: dict[str, Any], videos: str) -> str:
    """The hash of what determines the trained weights, but for the seed: not how they are evaluated, nor the name.

    Args:
        config: see `identity`.
        videos: likewise.
    """
    return _hash_without(config, videos, "seed", "curve", "usage", "sources", "test", "method")


def _hash_without(config: dict[str, Any], videos: str, *sections: str) -> str:
    determining = {section: of for section, of in config.items() if section not in sections}
    return config_hash(essential(determining) | {"videos": videos})


def pooled(records: Sequence[Record], predictions: Predictions, seed: int) -> Record:
    """The records of runs that took turns at a data set's folds, as one whose test videos are those of all of them.

    Accuracy, its interval, cost, usage and frames follow from the pooled predictions: each video is scored by the model
    that was not trained on it. Components, the audited part, what was decoded and what training took are means; the
    rest is the first record's.

    Args:
        records: of one point of one configuration, a fold each.
        predictions: of all of them, one after the other.
        seed: that it goes by.
    """
    first = records[0]
    share_F = [record.data_info.num_videos / len(predictions.video_id) for record in records]

    def mean(number: Callable[[Record], float]) -> float:
        """Over videos."""
        return math.fsum(share * number(record) for share, record in zip(share_F, records, strict=True))

    def of_component(name: str) -> float:
        return mean(lambda record: record.cost.components.get(name, 0.0))

    names = dict.fromkeys(name for record in records for name in record.cost.components)
    is_told = all(record.frames.decoded_on_demand is not None for record in records)
    summary = summarize(
        predictions,
        first.data_info.class_names,
        first.usage.actions,
        num_frames=first.frames.num_frames,
        components={name: of_component(name) for name in names},
        audited_gflops_per_video=mean(lambda record: record.cost.audited_gflops_per_video),
        frames_decoded=mean(lambda record: record.frames.decoded),
        frames_decoded_on_demand=mean(lambda record: record.frames.decoded_on_demand or 0.0) if is_told else None,
        level_names=list(dict.fromkeys(level.name for record in records for level in record.levels)),
    )
    gmacs_F = [record.training.gmacs for record in records if record.training.gmacs is not None]
    training = first.training.model_copy(update={"gmacs": statistics.fmean(gmacs_F) if gmacs_F else None})
    on_val = [record.validation for record in records if record.validation is not None]
    validation = None
    if len(on_val) == len(records):
        gflops = statistics.fmean(of.gflops_per_video for of in on_val)
        validation = Validation(map=statistics.fmean(of.map for of in on_val), gflops_per_video=gflops)
    update = {
        "seed": seed,
        "training": training,
        "validation": validation,
        "data_info": first.data_info.model_copy(update={"num_videos": len(predictions.video_id)}),
    }
    whole = first.model_copy(update={**dict(summary), **update})
    whole._path, whole._parts = first.path, tuple(records)
    return whole


def write_record(folder: str | Path, record: Record, predictions: Predictions) -> Record:
    """Writes `<point>.npz`, then `<point>.json`, each atomically: a run without its JSON did not happen.

    An earlier record of the same point is withdrawn first: no JSON ever stands beside another run's NPZ.

    Returns:
        The record, which now knows its path.

    Raises:
        ValueError: the predictions are not of the whole split, or the configuration holds a number that is not finite.
    """
    path = Path(folder) / f"{record.point}.json"
    num_videos, num_predictions = record.data_info.num_videos, len(predictions.video_id)
    if num_predictions != num_videos:
        raise ValueError(
            f"{path}: expected predictions for all {num_videos} videos of the split, got {num_predictions}"
        )
    write_with_arrays(path, to_json(record), predictions)
    return record.at(path)


def write_latency(folder: str | Path, record: LatencyRecord) -> Path:
    """Writes a run's times: under the name that the report reads where the decisions were the method's own."""
    path = Path(folder) / (LATENCY_JSON if record.decisions == "own" else FORCED_LATENCY_JSON)
    write_json(path, record)
    return path


def write_online(folder: str | Path, record: OnlineRecord) -> Path:
    """Writes what a run attains along the videos."""
    path = Path(folder) / ONLINE_JSON
    write_json(path, record)
    return path


def write_strips_json(folder: str | Path, strips: tuple[Strip, ...]) -> Path:
    """Writes what the report shows of a run's example videos; their pictures are there already."""
    path = Path(folder) / STRIPS_JSON
    write_json(path, strips)
    return path


def withdraw(folder: str | Path) -> None:
    """Removes a run's records, before another model takes the place of the one that they speak of."""
    folder = Path(folder)
    for path in folder.glob("*.json"):  # first: without it the predictions are nobody's
        if path.name != FORCED_LATENCY_JSON:  # that of forced decisions is not of the trained model
            path.unlink()
    for path in folder.glob("*.npz"):
        path.unlink()


def read_records(*roots: str | Path) -> list[Record]:
    """Every record at or below the roots, sorted by path; a root that does not exist holds none.

    What the dashboard keeps in a run's folder `wandb`, JSON too, is its own.

    Raises:
        ValueError: a file is not JSON, or not a record of this schema.
    """
    found = ((path, path.relative_to(root).parts) for root in roots for path in Path(root).rglob("*.json"))
    paths = (path for path, parts in found if path.name not in OTHER_KINDS and "wandb" not in parts)
    return [read_json(Record, path) for path in sorted(paths)]
