"""Train, evaluate and record one run; go on where a killed one stopped; leave other runs alone."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from filelock import FileLock

from adavid.data.datamodule import VideoDataModule
from adavid.environment import device_name, git_revision, versions
from adavid.evaluation.collector import Evaluation
from adavid.evaluation.predictions import Predictions
from adavid.evaluation.records import DataInfo, Record, StageEpochs, Training, withdraw, write_record
from adavid.evaluation.schema import SCHEMA
from adavid.evaluation.summary import Summary, summarize
from adavid.files import write_atomically
from adavid.method import AdaptiveMethod
from adavid.networks.backbones import BackboneSpec, FrameClassifier
from adavid.training import channels_last, evaluate, fit
from benchmarks.compose import ROOT, warmup_of
from benchmarks.dashboard import Dashboard
from benchmarks.run import Run
from benchmarks.strips import write_strips

RESULTS = Path(os.environ.get("ADAVID_RESULTS", ROOT / "results"))
RECORDS = RESULTS / os.environ.get("ADAVID_RECORDS", "runs")  # or reference
CACHE = Path(os.environ.get("ADAVID_CACHE", ROOT / "cache"))


def bench(run: Run, dashboard: Dashboard) -> Path:
    """Bring a run to its record: shared backbones, stages, evaluation on the reported split, shuffled control, strips.

    Returns:
        the run's folder.
    """
    folder = run.folder(RECORDS)
    if not _is_done(run, folder):
        prepare(run)  # before anything is written: bad data leaves nothing behind
    with locked(folder):
        if _is_done(run, folder):
            print(f"{run.label} on {run.data}, seed {run.seed}: already done, see {folder}")
            return folder
        withdraw(folder)
        start = time.monotonic()
        method = trained(run, folder, dashboard)
        train_s = time.monotonic() - start
        evaluation = evaluate(method, _data(run, method), _trainer(run))
        eval_s = time.monotonic() - start - train_s
        times = {"train_s": round(train_s, 1), "eval_s": round(eval_s, 1)}
        operating_point = {name: view.num_frames for name, view in method.views.items()}
        if len(method.actions) > 1:  # what the decisions are worth where they are not about the video at hand
            method.decisions = shuffled(evaluation.predictions, run.seed)
            control = evaluate(method, _data(run, method), _trainer(run))
            method.decisions = None
            write_evaluation(
                folder, "shuffled", run, method, control, {"decisions": "shuffled", **operating_point}, times
            )
        strips = write_strips(folder, method, run.datamodule, evaluation.predictions)
        # Last, since the main record says that all of it is done.
        record = write_evaluation(folder, "test", run, method, evaluation, operating_point, times)
        dashboard.finish(run, record, strips)
        print(f"{run.label} on {run.data}, seed {run.seed}: {headline(record)}")
    return folder


def curve(run: Run, dashboard: Dashboard) -> Path:
    """Evaluate a run's model at the operating points of its curve; train further models where the curve says so.

    Raises:
        ValueError: its YAML names no such points.
    """
    points = run.config["curve"]
    if not points:
        raise ValueError(f"{run.label} has no curve: expected operating points in its YAML, profile {run.profile}")
    folder = bench(run, dashboard)
    for train_point in _grid(points.get("train", {})):
        point_run, label = _changed(run, train_point)
        if point_run is not run:
            bench(point_run, dashboard)
        for test_point in _grid(points.get("test", {})):
            names = {**label, **test_point}
            name = "curve-" + ",".join(f"{key}={value}" for key, value in names.items())
            with locked(folder):
                if names and not (folder / f"{name}.json").exists():
                    method = trained(point_run, point_run.folder(RECORDS), dashboard, **test_point)
                    evaluation = evaluate(method, _data(run, method), _trainer(run))
                    record = write_evaluation(folder, name, point_run, method, evaluation, names, {})
                    print(f"{run.label} at {name.removeprefix('curve-')}: {headline(record)}")
    return folder


def validate(run: Run, dashboard: Dashboard) -> str:
    """What a run attains on the validation split, trained as far as it is not yet: to choose by, and no record."""
    folder = run.folder(RECORDS)
    prepare(run)
    with locked(folder):
        method = trained(run, folder, dashboard)
    evaluation = evaluate(method, _data(run, method), _trainer(run), split="val")
    return f"{run.label} on {run.data}, seed {run.seed}, val split: {headline(_summary(run, method, evaluation))}"


def trained(run: Run, folder: Path, dashboard: Dashboard, **changes: Any) -> AdaptiveMethod:
    """The run's trained method, trained now as far as it is not yet; `changes` replace test-time arguments."""
    data = prepare(run)
    torch.manual_seed(run.seed)  # the weights that no shared backbone brings
    done = last_stage(run, folder).exists()
    if run.recipe.warmup is None and run.recipe.pretrained and not done:
        changes["pretrained"] = True
    method = channels_last(run.build_method(data.num_classes, **changes))
    if run.recipe.warmup is not None and not done:
        for name, spec in method.shared_backbones().items():
            state = shared_backbone(run, spec, dashboard)
            _load(method, name, state["state_dict"])
            method.train_macs += state["train_macs"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(run.config, sort_keys=False))
    with dashboard.watch(run, folder) as (loggers, callbacks):
        fit(method, run.stages, _data(run, method), folder, run.seed, _trainer(run), callbacks, loggers)
    return method.eval()


def loaded(run: Run, folder: Path) -> AdaptiveMethod:
    """The run's trained method from its last checkpoint alone, where its trainer would evaluate; no video is read."""
    device = device_of(run)
    method = channels_last(run.build_method(run.datamodule.num_classes)).to(device)
    method.load_state_dict(torch.load(last_stage(run, folder), map_location=device, weights_only=True)["state_dict"])
    return method.eval()


def device_of(run: Run) -> torch.device:
    """Where the run's trainer would evaluate."""
    wants_gpu = run.config["trainer"].get("accelerator", "auto") in ("auto", "gpu", "cuda")
    return torch.device("cuda" if wants_gpu and torch.cuda.is_available() else "cpu")


@contextmanager
def as_evaluated(run: Run) -> Iterator[None]:
    """What Lightning evaluates under: no autograd, and bfloat16 where the trainer says so."""
    is_bf16 = str(run.config["trainer"].get("precision", "")).startswith("bf16")
    with torch.inference_mode(), torch.autocast(device_of(run).type, torch.bfloat16, enabled=is_bf16):
        yield


def _is_done(run: Run, folder: Path) -> bool:
    """A record stands for its run only beside the model that it speaks of: committed records never do."""
    return (folder / "test.json").exists() and last_stage(run, folder).exists()


def last_stage(run: Run, folder: Path) -> Path:
    """The checkpoint that is there once a run is trained."""
    return folder / f"{len(run.stages) - 1}-{run.stages[-1].name}.pt"


def prepare(run: Run) -> VideoDataModule:
    """The run's data set, generated if it is that kind, every file checked."""
    run.datamodule.prepare_data()
    run.datamodule.setup()
    return run.datamodule


def shared_backbone(run: Run, spec: BackboneSpec, dashboard: Dashboard) -> dict[str, Any]:
    """The fine-tuned weights of a shared backbone and what they cost, trained at most once by whoever comes first."""
    warmup = warmup_of(run, spec)
    folder = (
        CACHE / "backbones" / run.data / f"{spec.name.replace('/', '-')}-{spec.size}-{warmup.hash}" / f"seed{run.seed}"
    )
    with locked(folder):
        if not (folder / "classifier.pt").exists():
            print(f"fine-tuning {spec} on {run.data}, seed {run.seed}")
            data = prepare(warmup)
            torch.manual_seed(run.seed)
            method = channels_last(warmup.build_method(data.num_classes, pretrained=run.recipe.pretrained))
            fit(method, warmup.stages, _data(warmup, method), folder, run.seed, _trainer(run))
            (name,) = method.shared_backbones()
            classifier = method.get_submodule(name)
            state = {"state_dict": classifier.state_dict(), "train_macs": method.train_macs}
            write_atomically(folder / "classifier.pt", partial(torch.save, state))
        trained_state: dict[str, Any] = torch.load(folder / "classifier.pt", weights_only=True)
    return trained_state


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
    data, summary = run.datamodule, _summary(run, method, evaluation)
    record = Record(
        schema=SCHEMA,
        method=run.method,
        variant=run.variant,
        data=run.data,
        profile=run.profile,
        seed=run.seed,
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
            num_videos=len(data.dataset(data.report_split)),
            num_skipped_bad=data.num_skipped_bad,
            fingerprint=data.fingerprint,
            class_names=tuple(data.class_names),
        ),
        config=run.config,
        config_hash=run.hash,
        git_revision=git_revision(),
        versions=versions(),
        device=device_name("cuda" if torch.cuda.is_available() else "cpu"),
        times=dict(times),
    )
    return write_record(folder, record, evaluation.predictions)


def _summary(run: Run, method: AdaptiveMethod, evaluation: Evaluation) -> Summary:
    return summarize(
        evaluation.predictions,
        run.datamodule.class_names,
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


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time in a folder; the others wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        yield


def _data(run: Run, method: AdaptiveMethod) -> Any:
    run.datamodule.views = dict(method.views)
    return run.datamodule


def _trainer(run: Run) -> dict[str, Any]:
    return {"devices": 1, **run.config["trainer"]}


def _load(method: AdaptiveMethod, name: str, state: Mapping[str, torch.Tensor]) -> None:
    """Start a sub-module, a FrameClassifier (whose head may be gone) or its Backbone, from a shared backbone."""
    module = method.get_submodule(name)
    prefix = "" if isinstance(module, FrameClassifier) else "backbone."
    module.load_state_dict({key: state[prefix + key] for key in module.state_dict()})


def _grid(axes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _changed(run: Run, arguments: Mapping[str, Any]) -> tuple[Run, dict[str, Any]]:
    """The run with other constructor arguments, a variant named after them, and these names.

    A backbone is named by its resolution.
    """
    names = {
        "resolution" if isinstance(value, dict) else key: value["size"] if isinstance(value, dict) else value
        for key, value in arguments.items()
    }
    changed = dataclasses.replace(run, config=run.config | {"model": run.config["model"] | arguments})
    if changed.hash == run.hash:
        return run, names
    return dataclasses.replace(changed, variant=",".join(f"{key}={value}" for key, value in names.items())), names
