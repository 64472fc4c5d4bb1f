"""Train, evaluate and record one run; go on where a killed one stopped; leave other runs alone."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from adavid.data.catalogue import VideoCatalogue
from adavid.data.datamodule import VideoDataModule
from adavid.environment import device_name, git_revision, versions
from adavid.evaluation.collector import Evaluation
from adavid.evaluation.predictions import Predictions, read_predictions
from adavid.evaluation.records import MAIN, DataInfo, Record, StageEpochs, Training, withdraw, write_record
from adavid.evaluation.schema import SCHEMA, read_json
from adavid.evaluation.summary import Summary, summarize
from adavid.files import locked, set_aside, write_atomically
from adavid.loading import restored
from adavid.method import AdaptiveMethod
from adavid.networks.backbones import BackboneSpec, FrameClassifier
from adavid.training import channels_last, evaluate, fit, read_checkpoint, stage_checkpoint
from benchmarks.compose import grid, warmup_of
from benchmarks.dashboard import Dashboard
from benchmarks.run import Run
from benchmarks.strips import write_strips
from benchmarks.workspace import Workspace


def bench(run: Run, workspace: Workspace, dashboard: Dashboard) -> Path:
    """Bring a run to its record: shared backbones, stages, evaluation on the reported split, shuffled control, strips.

    Under settings for debugging it trains and evaluates as they say, and leaves no record.

    Returns:
        the run's folder.
    """
    folder = folder_of(run, workspace)
    if not last_stage(run, folder).exists():
        prepare(run)  # before anything is written: bad data leaves nothing behind
    with locked(folder / ".lock"):
        if _is_done(run, folder):
            print(f"{run.label} on {run.data}, seed {run.seed}: already done, see {folder}")
            return folder
        withdraw(folder)
        start = time.monotonic()
        method = trained(run, workspace, dashboard)
        train_s = time.monotonic() - start
        evaluation = evaluate(method, _data(run, method), run.config["trainer"])
        eval_s = time.monotonic() - start - train_s
        if run.debugging:
            print(f"{_named(run)}: {headline(_summary(run, method, evaluation))}")
            print(f"no record: {', '.join(f'trainer.{key}' for key in run.debugging)} is for debugging")
            return folder
        times = {"train_s": round(train_s, 1), "eval_s": round(eval_s, 1)}
        operating_point = {name: view.num_frames for name, view in method.views.items()}
        if len(method.actions) > 1:  # what the decisions are worth where they are not about the video at hand
            decisions = shuffled(evaluation.predictions, run.seed)
            control = evaluate(method, _data(run, method), run.config["trainer"], decisions=decisions)
            of_control = {"decisions": "shuffled", **operating_point}
            write_evaluation(folder, "shuffled", run, method, control, of_control, times)
        strips = write_strips(folder, method, run.catalogue, evaluation.predictions)
        # Last, since the main record says that all of it is done.
        record = write_evaluation(folder, MAIN, run, method, evaluation, operating_point, times)
        dashboard.finish(run, record, strips)
        print(f"{_named(run)}: {headline(record)}")
    return folder


def bench_curve(run: Run, workspace: Workspace, dashboard: Dashboard) -> Path:
    """Evaluate a run's model at the operating points of its curve; train further models where the curve says so.

    Raises:
        ValueError: its YAML names no such points, or one that its trained model cannot be evaluated at.
    """
    if not run.config["curve"]:
        raise ValueError(f"{run.label} has no curve: expected operating points in its YAML, profile {run.profile}")
    if run.debugging:
        raise ValueError(f"curve: trainer.{run.debugging[0]} is for debugging: it leaves no record to draw a curve of")
    _check_test_points(run)
    folder, latest = bench(run, workspace, dashboard), run
    for point in curve_points(run):
        if point.run is not run and point.run is not latest:
            bench(point.run, workspace, dashboard)
            latest = point.run
        with locked(folder / ".lock"):
            if not _has_point(folder, point.name):
                method = trained(point.run, workspace, dashboard, **point.arguments)
                evaluation = evaluate(method, _data(run, method), run.config["trainer"])
                record = write_evaluation(folder, point.name, point.run, method, evaluation, point.names, {})
                print(f"{run.label} at {point.name.removeprefix('curve-')}: {headline(record)}")
    return folder


@dataclass(frozen=True)
class CurvePoint:
    """One operating point of a run's curve.

    Attributes:
        run: whose model is evaluated there: the run itself, or one that is trained for it.
        arguments: of the method, at test time.
        names: what sets the point, for reading.
        name: of its record.
    """

    run: Run
    arguments: Mapping[str, Any]
    names: Mapping[str, Any]
    name: str


def curve_points(run: Run) -> Iterator[CurvePoint]:
    """The points of a run's curve, those of one model together."""
    for train_point in grid(run.config["curve"].get("train")):
        point_run, train_names = _changed(run, train_point)
        for test_point in grid(run.config["curve"].get("test")):
            if names := {**train_names, **test_point}:
                name = "curve-" + ",".join(f"{key}={value}" for key, value in names.items())
                yield CurvePoint(point_run, test_point, names, name)


def validate(run: Run, workspace: Workspace, dashboard: Dashboard) -> str:
    """What a run attains on the validation split, trained as far as it is not yet: to choose by, and no record."""
    prepare(run)
    with locked(folder_of(run, workspace) / ".lock"):
        method = trained(run, workspace, dashboard)
    evaluation = evaluate(method, _data(run, method), run.config["trainer"], split="val")
    return f"{_named(run)}, val split: {headline(_summary(run, method, evaluation))}"


def trained(run: Run, workspace: Workspace, dashboard: Dashboard, **changes: Any) -> AdaptiveMethod:
    """The run's trained method, trained now as far as it is not yet; `changes` replace test-time arguments."""
    prepare(run)
    folder = folder_of(run, workspace)
    torch.manual_seed(run.seed)  # the weights that no shared backbone brings
    done = last_stage(run, folder).exists()
    if run.recipe.warmup is None and run.recipe.pretrained and not done:
        changes["pretrained"] = True
    method = channels_last(run.build_method(run.catalogue.num_classes, **changes))
    if run.recipe.warmup is not None and not done:
        for name, spec in method.shared_backbones().items():
            state = shared_backbone(run, spec, workspace)
            _load(method, name, state["state_dict"])
            method.train_macs += state["train_macs"]
    write_atomically(folder / "config.yaml", yaml.safe_dump(run.config, sort_keys=False))
    with dashboard.watch(run, folder) as (loggers, callbacks):
        data = partial(_data, run, method)
        fit(method, run.stages, data, folder, run.seed, run.config["trainer"], callbacks, loggers)
    return method.eval()


def loaded(run: Run, folder: Path) -> AdaptiveMethod:
    """The run's trained method from its last checkpoint alone, where its trainer would evaluate; no video is read.

    Raises:
        ValueError: the checkpoint is damaged.
    """
    num_classes, checkpoint = run.catalogue.num_classes, last_stage(run, folder)
    return restored(run.method_class, num_classes, run.config["model"], checkpoint, run.device)


@contextmanager
def as_evaluated(run: Run) -> Iterator[None]:
    """What Lightning evaluates under: no autograd, and half precision where the trainer says so."""
    precision = run.config["trainer"].get("precision", "32-true")
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    with torch.inference_mode(), torch.autocast(run.device.type, dtype, enabled=dtype is not None):
        yield


def folder_of(run: Run, workspace: Workspace) -> Path:
    """Where a run's checkpoints and records lie; what is for debugging stays apart from what counts."""
    return run.folder(workspace.cache / "debugging" if run.debugging else workspace.records)


def last_stage(run: Run, folder: Path) -> Path:
    """The checkpoint that is there once a run is trained."""
    return stage_checkpoint(folder, len(run.stages) - 1, run.stages[-1].name)


def prepare(run: Run) -> VideoCatalogue:
    """The run's data set, generated if it is that kind, every file checked, large enough for the method.

    Raises:
        ValueError: as `VideoCatalogue.checked` does; or the training split is too small.
    """
    run.method_class.check_batch(len(run.catalogue.checked.videos["train"]), "the training split")
    return run.catalogue


def shared_backbone(run: Run, spec: BackboneSpec, workspace: Workspace) -> dict[str, Any]:
    """The fine-tuned weights of a shared backbone and what they cost, trained at most once by whoever comes first."""
    warmup = warmup_of(run, spec)
    network = f"{spec.name.replace('/', '-')}-{spec.size}-{warmup.hash}"
    folder = workspace.cache / "backbones" / run.data / network / f"seed{run.seed}"
    file = folder / "classifier.pt"
    with locked(folder / ".lock"):
        state = read_checkpoint(file)
        if state is None:
            print(f"fine-tuning {spec} on {run.data}, seed {run.seed}")
            data = prepare(warmup)
            torch.manual_seed(run.seed)
            method = channels_last(warmup.build_method(data.num_classes, pretrained=run.recipe.pretrained))
            data_of, settings = partial(_data, warmup, method), run.config["trainer"]
            fit(method, warmup.stages, data_of, folder, run.seed, settings, section="recipe.warmup")
            (name,) = method.shared_backbones()
            classifier = method.get_submodule(name)
            state = {"state_dict": classifier.state_dict(), "train_macs": method.train_macs}
            write_atomically(file, partial(torch.save, state))
    return state


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
    operating_point: Mapping[str, Any],
    times: Mapping[str, float],
) -> Record:
    """Write the record of one point with its predictions."""
    data, summary = run.catalogue, _summary(run, method, evaluation)
    record = Record(
        schema=SCHEMA,
        **run.names,
        split=data.report_split,
        origin="measured",
        point=point,
        operating_point=dict(operating_point),
        metrics=summary.metrics,
        cost=summary.cost,
        usage=summary.usage,
        frames=summary.frames,
        training=Training(
            gmacs=method.train_macs / 1e9,
            stages=tuple(StageEpochs(name=stage.name, epochs=stage.epochs) for stage in run.stages),
        ),
        data_info=DataInfo(
            num_videos=len(data.checked.videos[data.report_split]),
            num_skipped_bad=len(data.checked.bad),
            fingerprint=data.fingerprint,
            class_names=tuple(data.class_names),
        ),
        config=run.config,
        config_hash=run.hash,
        git_revision=git_revision(),
        versions=versions(),
        device=device_name(run.device),
        times=dict(times),
    )
    return write_record(folder, record, evaluation.predictions)


def _summary(run: Run, method: AdaptiveMethod, evaluation: Evaluation) -> Summary:
    return summarize(
        evaluation.predictions,
        run.catalogue.class_names,
        method.actions.kinds,
        num_frames=evaluation.predictions.action_NT.shape[1],
        components=evaluation.components,
        audited_gflops_per_video=evaluation.audited_gflops,
        frames_decoded=evaluation.frames_decoded,
    )


def headline(numbers: Record | Summary) -> str:
    """One line of a record's main numbers, and a second where something caps them."""
    metrics, cost, frames = numbers.metrics, numbers.cost, numbers.frames
    low, high = metrics.map_interval
    line = (
        f"{100 * metrics.map:.2f} mAP (95 % over videos: {100 * low:.2f} to {100 * high:.2f}), "
        f"{cost.gflops_per_video:.4g} GFLOPs a video, {frames.used:.2f} of {frames.num_frames} frames used"
    )
    return f"{line}\nNote: {metrics.caveat}." if metrics.caveat else line


def _is_done(run: Run, folder: Path) -> bool:
    """A record stands for its run only beside the model that it speaks of: committed records never do."""
    return last_stage(run, folder).exists() and _has_point(folder, MAIN)


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


def _data(run: Run, method: AdaptiveMethod, stage: int = 0) -> VideoDataModule:
    return VideoDataModule(run.catalogue, method.views, run.recipe.batch_size, run.seed, stage)


def _load(method: AdaptiveMethod, name: str, state: Mapping[str, torch.Tensor]) -> None:
    """Start a sub-module, a FrameClassifier (whose head may be gone) or its Backbone, from a shared backbone."""
    module = method.get_submodule(name)
    prefix = "" if isinstance(module, FrameClassifier) else "backbone."
    module.load_state_dict({key: state[prefix + key] for key in module.state_dict()})


def _named(run: Run) -> str:
    return f"{run.label} on {run.data}, seed {run.seed}"


def _check_test_points(run: Run) -> None:
    """ValueError where a point that is to be evaluated has a model of other weights than the one that is trained."""

    def shapes(**changes: Any) -> dict[str, torch.Size]:
        with torch.device("meta"):
            return {key: value.shape for key, value in run.build_method(2, **changes).state_dict().items()}

    trained_shapes = shapes()
    for point in grid(run.config["curve"].get("test")):
        if shapes(**point) != trained_shapes:
            axes = ", ".join(f"{key}={value}" for key, value in point.items())
            raise ValueError(f"curve.test: {axes} is another network than the trained one: it belongs in curve.train")


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
