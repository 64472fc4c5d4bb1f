"""Train, evaluate and record one run; go on where a killed one stopped; leave other runs alone."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adavid import ranks
from adavid.config import config_hash, without_folders
from adavid.digest import code_digest
from adavid.environment import device_name, git_revision, versions
from adavid.evaluation.collector import Evaluation
from adavid.evaluation.metrics import mean_average_precision
from adavid.evaluation.predictions import Predictions, read_predictions
from adavid.evaluation.records import (
    MAIN,
    SHUFFLED,
    DataInfo,
    Record,
    StageEpochs,
    Training,
    Validation,
    write_record,
)
from adavid.evaluation.schema import SCHEMA, read_json
from adavid.evaluation.summary import Summary, summarize
from adavid.files import set_aside
from adavid.method import AdaptiveMethod
from adavid.training import evaluate
from benchmarks.compose import evaluated_with, grid
from benchmarks.dashboard import Dashboard
from benchmarks.layers import check_known
from benchmarks.models import data_of, folder_of, last_stage, prepare, trained
from benchmarks.run import Run
from benchmarks.strips import write_strips
from benchmarks.workspace import Workspace


def bench(run: Run, workspace: Workspace, dashboard: Dashboard) -> Path:
    """Bring a run to its record: shared backbones, stages, evaluation on the reported split, shuffled control, strips.

    Under settings for debugging it trains and evaluates as they say, and leaves no record.

    Returns:
        the run's folder.
    """
    with ranks.first_in_front():
        folder = folder_of(run, workspace)  # known by the videos, which it makes where its data set is that kind
    if not ranks.of_first(last_stage(run, folder).exists):
        prepare(run)  # before anything is written: bad data leaves nothing behind
    with ranks.locked_together(folder / ".lock"):
        if ranks.of_first(lambda: is_done(run, folder)):
            print(f"{run.label} on {run.data}, seed {run.seed}: already done, see {folder}")
            return folder
        start = time.monotonic()
        method = trained(run, workspace, dashboard)
        train_s = time.monotonic() - start
        evaluation = evaluate(method, data_of(run, method), run.config["trainer"])
        eval_s = time.monotonic() - start - train_s
        if run.debugging:
            print(f"{_named(run)}: {headline(_summary(run, method, evaluation), run.catalogue.metric)}")
            print(f"no record: {', '.join(f'trainer.{key}' for key in run.debugging)} is for debugging")
            return folder
        validation = _validation(run, method, evaluation)
        times = {"train_s": round(train_s, 1), "eval_s": round(eval_s, 1)}
        operating_point = {name: view.num_frames for name, view in method.views.items()} | run.config["test"]
        control = None
        if len(method.actions) > 1:  # what the decisions are worth where they are not about the video at hand
            decisions = shuffled(evaluation.predictions, run.seed)
            control = evaluate(method, data_of(run, method), run.config["trainer"], decisions=decisions)
        if not ranks.is_first():
            return folder
        if control is not None:
            of_control = {"decisions": "shuffled", **operating_point}
            write_evaluation(folder, SHUFFLED, run, method, control, None, of_control, times)
        shows_frames = run.catalogue.publishable or not workspace.is_published
        strips = write_strips(folder, method, run.catalogue, evaluation.predictions) if shows_frames else ()
        # Last, since the main record says that all of it is done.
        record = write_evaluation(folder, MAIN, run, method, evaluation, validation, operating_point, times)
        dashboard.finish(run, record, strips)
        print(f"{_named(run)}: {headline(record, run.catalogue.metric)}")
    return folder


def bench_curve(run: Run, workspace: Workspace, dashboard: Dashboard, only: str = "") -> Path:
    """Evaluate a run's model at the operating points of its curve; train further models where the curve says so.

    Args:
        run: whose curve it is.
        workspace: its folders.
        dashboard: watches what is trained.
        only: the name of one point; "" for all.

    Raises:
        ValueError: its YAML names no such points, or one that its trained model cannot be evaluated at.
    """
    points = checked_points(run)  # before the first is trained
    if only:
        check_known(only, [point.name for point in points], f"{run.label}: point '{only}'")
        points = [point for point in points if point.name == only]
    folder, latest = bench(run, workspace, dashboard), run
    # No model is trained anew for points that are recorded already.
    left = ranks.of_first(lambda: _without_record(points, folder))
    for point in (point for point in points if point.name in left):
        if point.run is not run and point.run is not latest:
            bench(point.run, workspace, dashboard)
            latest = point.run
        lock = f"{run.hash}-seed{run.seed}-{config_hash(point.name)}.lock"
        with ranks.locked_together(workspace.cache / "points" / lock):
            if not ranks.of_first(lambda point=point: _has_point(folder, point.name)):  # type: ignore[misc]
                method = trained(point.run, workspace, dashboard, point.at)
                evaluation = evaluate(method, data_of(point.at, method), point.at.config["trainer"])
                validation = _validation(point.at, method, evaluation)
                if not ranks.is_first():
                    continue
                record = write_evaluation(folder, point.name, point.at, method, evaluation, validation, point.names, {})
                print(f"{run.label} at {point.name.removeprefix('curve-')}: {headline(record, run.catalogue.metric)}")
    return folder


def checked_points(run: Run) -> list[CurvePoint]:
    """The points of a run's curve, all of them checked; see `bench_curve` for the errors."""
    if not run.config["curve"]:
        raise ValueError(f"{run.label} has no curve: expected operating points in its YAML, profile {run.profile}")
    if run.debugging:
        raise ValueError(f"curve: trainer.{run.debugging[0]} is for debugging: it leaves no record to draw a curve of")
    return list(curve_points(run))


def points_left(run: Run, workspace: Workspace) -> list[str]:
    """The names of the points of a run's curve that have no record yet; see `bench_curve` for the errors."""
    return _without_record(checked_points(run), folder_of(run, workspace))


def is_recorded(run: Run, workspace: Workspace) -> bool:
    """Whether nothing is left for `bench` to do."""
    return is_done(run, folder_of(run, workspace))


@dataclass(frozen=True)
class CurvePoint:
    """One operating point of a run's curve.

    Attributes:
        run: whose model is evaluated there: the run itself, or one that is trained for it.
        at: that run with the test-time arguments of the point.
        names: what sets the point, for reading.
        name: of its record.
    """

    run: Run
    at: Run
    names: Mapping[str, Any]
    name: str


def curve_points(run: Run) -> Iterator[CurvePoint]:
    """The points of a run's curve, those of one model together.

    Raises:
        ValueError: a trained model cannot be evaluated at one.
    """
    for train_point in grid(run.config["curve"].get("train")):
        point_run, train_names = _changed(run, train_point)
        for test_point in grid(run.config["curve"].get("test")):
            at = evaluated_with(point_run, "curve.test", **test_point)
            if names := {**train_names, **test_point}:
                name = "curve-" + ",".join(f"{key}={value}" for key, value in names.items())
                yield CurvePoint(point_run, at, names, name)


def validate(run: Run, workspace: Workspace, dashboard: Dashboard) -> str:
    """What a run attains on the validation split, trained as far as it is not yet: to choose by, and no record."""
    summary, _ = validated(run, workspace, dashboard)
    return f"{_named(run)}, val split: {headline(summary, run.catalogue.metric)}"


def validated(run: Run, workspace: Workspace, dashboard: Dashboard) -> tuple[Summary, float]:
    """What a run attains on the validation split as numbers, and the GMACs that its training took."""
    prepare(run)
    with ranks.locked_together(folder_of(run, workspace) / ".lock"):
        method = trained(run, workspace, dashboard)
    evaluation = evaluate(method, data_of(run, method), run.config["trainer"], split="val")
    return _summary(run, method, evaluation), method.train_macs / 1e9


def shuffled(predictions: Predictions, seed: int) -> Mapping[str, torch.Tensor]:
    """Each video gets the decisions of another one, all of them used once."""
    order = np.random.default_rng(seed).permutation(len(predictions.video_id))
    lender = np.empty_like(order)
    lender[order] = np.roll(order, 1)
    actions = torch.as_tensor(predictions.action_NT[lender], dtype=torch.long)
    return dict(zip(predictions.video_id.tolist(), actions, strict=True))


def write_evaluation(
    folder: Path,
    point: str,
    run: Run,
    method: AdaptiveMethod,
    evaluation: Evaluation,
    validation: Validation | None,
    operating_point: Mapping[str, Any],
    times: Mapping[str, float],
) -> Record:
    """Write the record of one point with its predictions."""
    data, summary, device = run.catalogue, _summary(run, method, evaluation), device_name(run.device)
    record = Record(
        schema=SCHEMA,
        **run.names,
        split=data.report_split,
        origin="measured",
        point=point,
        operating_point=dict(operating_point),
        metrics=summary.metrics,
        validation=validation,
        levels=summary.levels,
        cost=summary.cost,
        usage=summary.usage,
        frames=summary.frames,
        training=Training(
            gmacs=None if math.isnan(method.train_macs) else method.train_macs / 1e9,
            stages=tuple(StageEpochs(name=stage.name, epochs=stage.epochs) for stage in run.stages),
            course={name: tuple(means) for name, means in method.course.items()} if point == MAIN else {},
        ),
        data_info=DataInfo(
            num_videos=len(data.checked.videos[data.report_split]),
            num_skipped_bad=len(data.checked.bad),
            left_out=data.left_out,
            fingerprint=data.fingerprint,
            class_names=tuple(data.class_names),
            metric=data.metric,
            **({} if data.turns is None else data.turns._asdict()),
        ),
        config=without_folders(run.config),
        config_hash=run.hash,
        model_hash=run.model_hash,
        code=code_digest(*run.config["sources"]),
        git_revision=git_revision(),
        versions=versions(),
        device=f"{run.num_devices} x {device}" if run.num_devices > 1 else device,
        num_threads=torch.get_num_threads(),
        times=dict(times),
    )
    return write_record(folder, record, evaluation.predictions)


def _validation(run: Run, method: AdaptiveMethod, evaluation: Evaluation) -> Validation:
    """What `method` attains on the validation split; `evaluation` is of the reported one, which may be the same."""
    if run.catalogue.report_split != "val":
        evaluation = evaluate(method, data_of(run, method), run.config["trainer"], split="val")
    of = evaluation.predictions
    gflops = float(of.macs_N.mean()) / 1e9
    return Validation(map=mean_average_precision(of.label_NK, of.score_NK), gflops_per_video=gflops)


def _summary(run: Run, method: AdaptiveMethod, evaluation: Evaluation) -> Summary:
    return summarize(
        evaluation.predictions,
        run.catalogue.class_names,
        method.actions.kinds,
        num_frames=evaluation.predictions.action_NT.shape[1],
        components=evaluation.components,
        audited_gflops_per_video=evaluation.audited_gflops,
        frames_decoded=evaluation.frames_decoded,
        frames_decoded_on_demand=evaluation.frames_decoded_on_demand,
        level_names=run.catalogue.level_names,
    )


def headline(numbers: Record | Summary, metric: str = "map") -> str:
    """One line of a record's main numbers, and a second where something caps them.

    Args:
        numbers: of the record.
        metric: "top1" names it first, where the papers on the data set do.
    """
    metrics, cost, frames = numbers.metrics, numbers.cost, numbers.frames
    low, high = metrics.map_interval
    first = f"{100 * metrics.top1:.2f} top-1, " if metric == "top1" else ""
    line = (
        f"{first}{100 * metrics.map:.2f} mAP (95 % over videos: {100 * low:.2f} to {100 * high:.2f}), "
        f"{cost.gflops_per_video:.4g} GFLOPs a video, {frames.used:.2f} of {frames.num_frames} frames used"
    )
    return f"{line}\nNote: {metrics.caveat}." if metrics.caveat else line


def is_done(run: Run, folder: Path) -> bool:
    """A record stands for its run only beside the model that it speaks of: committed records never do."""
    return last_stage(run, folder).exists() and _has_point(folder, MAIN)


def _without_record(points: Iterable[CurvePoint], folder: Path) -> list[str]:
    return [point.name for point in points if not _has_point(folder, point.name)]


def _has_point(folder: Path, point: str) -> bool:
    """Whether the record of a point is there with its predictions; what is damaged is set aside."""
    record = folder / f"{point}.json"
    if not record.exists():
        return False
    try:
        read_predictions(read_json(Record, record).path)
    except ValueError as error:
        set_aside(record, str(error))
        return False
    return True


def _named(run: Run) -> str:
    return f"{run.label} on {run.data}, seed {run.seed}"


def _changed(run: Run, arguments: Mapping[str, Any]) -> tuple[Run, dict[str, Any]]:
    """The run with other constructor arguments, a variant named after them, and these names.

    A backbone is named by its resolution.
    """
    names = {}
    for key, value in arguments.items():
        if isinstance(value, dict):  # a backbone
            names["resolution"] = value["size"]
        else:
            names[key] = value
    changed = dataclasses.replace(run, config=run.config | {"model": run.config["model"] | arguments})
    if changed.hash == run.hash:
        return run, names
    return dataclasses.replace(changed, variant=",".join(f"{key}={value}" for key, value in names.items())), names
