"""The trained model of a run: imported, taken over where a run of the same model has it, or trained now."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from adavid import ranks
from adavid.data.catalogue import VideoCatalogue
from adavid.data.datamodule import VideoDataModule
from adavid.data.draws import Draws
from adavid.evaluation.records import identity, model_identity, withdraw
from adavid.files import write_atomically
from adavid.loading import build_method, restored
from adavid.method import AdaptiveMethod
from adavid.networks.backbones import BackboneSpec, FrameClassifier, build_backbone
from adavid.training import channels_last, fit, last_checkpoint, read_checkpoint
from benchmarks.compose import warmup_of
from benchmarks.dashboard import Dashboard
from benchmarks.released import state_of
from benchmarks.run import Run
from benchmarks.workspace import Workspace

CONFIG_YAML = "config.yaml"  # in a run's folder: what its checkpoints were trained with


def trained(run: Run, workspace: Workspace, dashboard: Dashboard, at: Run | None = None) -> AdaptiveMethod:
    """The run's trained method, trained now as far as nobody has trained it.

    Where its model is not there, records in its folder speak of another one, and are withdrawn first.

    A run with the same model and seed, such as a variant that is only evaluated differently, lends its last checkpoint.

    Args:
        run: what is trained.
        workspace: where it lies, and the runs that may lend it.
        dashboard: watches the training.
        at: the same run with other test-time arguments, to be evaluated with these; None for its own.

    Returns:
        the method with the arguments that it is to be evaluated with, in evaluation mode.

    Raises:
        ValueError: as `prepare` and `fit` do; or it is to be trained on another number of devices than there are ranks.
    """
    prepare(run)
    folder = folder_of(run, workspace)
    with ranks.locked_together(workspace.cache / "models" / f"{run.model_hash}-seed{run.seed}.lock"):
        done = run.released is not None or ranks.of_first(partial(_is_trained, run, folder, workspace))
        torch.manual_seed(run.seed)  # the weights that no shared backbone brings
        num_classes = run.catalogue.num_classes
        method = channels_last(build_method(run.method_class, num_classes, run.config["model"]))
        if run.released is not None:
            _import(method, run, folder)
        elif not done and run.recipe.warmup is None:
            _start(method, run)
        elif not done:
            spent: dict[BackboneSpec, int] = {}
            for name, spec in method.shared_backbones().items():
                state = shared_backbone(run, spec, workspace)
                _load(method, name, state["state_dict"])
                spent[spec] = state["train_macs"]
            method.train_macs += sum(spent.values())  # one that several parts start from is trained once
        if ranks.is_first():
            write_atomically(folder / CONFIG_YAML, yaml.safe_dump(run.config, sort_keys=False))
        with dashboard.watch(run, folder) as (loggers, callbacks):
            draws, keep = _kept(run, workspace)
            videos = partial(data_of, run, method, draws=draws)
            fit(method, run.stages, videos, folder, run.seed, run.config["trainer"], callbacks, loggers, keep=keep)
    evaluated = channels_last((at or run).build_method(num_classes))
    evaluated.load_state_dict(method.state_dict())
    evaluated.train_macs, evaluated.course = method.train_macs, method.course
    return evaluated.eval()


def _is_trained(run: Run, folder: Path, workspace: Workspace) -> bool:
    """Whether its model is there, or taken over now; where it is not, no record of another one is left."""
    if last_stage(run, folder).exists():
        return True
    if run.num_devices != ranks.world_size():
        raise ValueError(f"{run.label}: make bench trains it on {run.num_devices} devices first")
    withdraw(folder)
    return _is_taken_over(run, folder, workspace)


def _import(method: AdaptiveMethod, run: Run, folder: Path) -> None:
    """Gives a method its authors' weights, which are written where a training would leave those of its last stage."""
    assert run.released is not None
    if read_checkpoint(last_stage(run, folder), method) is None:
        method.load_state_dict(state_of(run.released, method))
        if ranks.is_first():
            withdraw(folder)
            state = {"state_dict": method.state_dict(), "train_macs": math.nan}
            write_atomically(last_stage(run, folder), partial(torch.save, state))
    method.train_macs = math.nan


def _is_taken_over(run: Run, folder: Path, workspace: Workspace) -> bool:
    """Whether another run has finished the same model with the same seed; its last checkpoint is copied then."""
    checkpoint = last_stage(run, folder)
    runs = folder.parents[2]  # of all methods on this data set, in this profile
    for config_file in sorted(runs.glob(f"*/*/seed{run.seed}/{CONFIG_YAML}")):
        lender = config_file.parent
        if not (lender / checkpoint.name).exists() or _model_of(config_file, run) != run.model_hash:
            continue
        if read_checkpoint(lender / checkpoint.name) is not None:
            content = (lender / checkpoint.name).read_bytes()
            write_atomically(checkpoint, lambda file, content=content: file.write(content))  # type: ignore[misc]
            print(f"{run.label} on {run.data}, seed {run.seed}: the model of {lender.relative_to(runs)}")
            return True
    return False


def _model_of(config_file: Path, run: Run) -> str:
    """The hash of the model in a run's folder; "" where it is not known, or one of other videos than `run`'s."""
    config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    videos = run.catalogue.fingerprint
    if not isinstance(config, dict) or identity(config, videos) != config_file.parents[1].name:
        return ""
    return model_identity(config, videos)


def loaded(run: Run, folder: Path) -> AdaptiveMethod:
    """The run's trained method from its last checkpoint alone, where its trainer would evaluate; no video is read.

    Raises:
        ValueError: the checkpoint is damaged.
    """
    num_classes, checkpoint = run.catalogue.num_classes, last_stage(run, folder)
    return restored(run.method_class, num_classes, run.arguments, checkpoint, run.device)


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
    return last_checkpoint(folder, [stage.name for stage in run.stages])


def prepare(run: Run) -> VideoCatalogue:
    """The run's data set, generated if it is that kind, every file checked, large enough for the method.

    Raises:
        ValueError: as `VideoCatalogue.checked` does; or the training split is too small.
    """
    with ranks.first_in_front():
        videos = run.catalogue.checked.videos["train"]
    run.method_class.check_batch(len(videos), "the training split")
    return run.catalogue


def shared_backbone(run: Run, spec: BackboneSpec, workspace: Workspace) -> dict[str, Any]:
    """The fine-tuned weights of a shared backbone and what they cost, trained at most once by whoever comes first."""
    warmup = warmup_of(run, spec)
    network = f"{spec.name.replace('/', '-')}-{spec.size}-{warmup.hash}"
    folder = workspace.cache / "backbones" / run.data / network / f"seed{run.seed}"
    file = folder / "classifier.pt"
    with ranks.locked_together(folder / ".lock"):
        state = ranks.of_first(partial(read_checkpoint, file))
        if state is None:
            print(f"fine-tuning {spec} on {run.data}, seed {run.seed}")
            data = prepare(warmup)
            torch.manual_seed(run.seed)
            method = channels_last(warmup.build_method(data.num_classes))
            _start(method, warmup)
            draws, keep = _kept(run, workspace)
            videos = partial(data_of, warmup, method, draws=draws)
            settings = run.config["trainer"]
            fit(method, warmup.stages, videos, folder, run.seed, settings, section="recipe.warmup", keep=keep)
            (name,) = method.shared_backbones()
            classifier = method.get_submodule(name)
            state = {"state_dict": classifier.state_dict(), "train_macs": method.train_macs}
            if ranks.is_first():
                write_atomically(file, partial(torch.save, state))
    return state


def data_of(run: Run, method: AdaptiveMethod, stage: int = 0, draws: Draws | None = None) -> VideoDataModule:
    """The run's videos as the method reads them, for the stage of training that it has entered or for evaluation."""
    videos = "all" if method.stage is None else method.stage.videos
    return VideoDataModule(run.catalogue, method.views, run.recipe.batch_size, run.seed, stage, draws, videos)


def _start(method: AdaptiveMethod, run: Run) -> None:
    """Gives the shared backbones their pretrained weights, where the recipe says so; no random number is drawn."""
    if not run.recipe.pretrained:
        return
    folder = None if run.recipe.weights is None else Path(run.recipe.weights)
    for name, spec in method.shared_backbones().items():
        with torch.random.fork_rng():
            backbone = build_backbone(spec.name, pretrained=True, folder=folder)
        module: Any = method.get_submodule(name)
        started = module.backbone if isinstance(module, FrameClassifier) else module
        started.load_state_dict(backbone.state_dict())


def _kept(run: Run, workspace: Workspace) -> tuple[Draws, Path] | tuple[None, None]:
    """What all stages of a training draw of the videos, and the folder in which that and what frozen networks say of it
    are kept; neither where the recipe does not fix how much is drawn."""
    if not run.recipe.draws:
        return None, None
    folder = workspace.cache / "kept"
    return Draws(run.recipe.draws, folder), folder


def _load(method: AdaptiveMethod, name: str, state: Mapping[str, torch.Tensor]) -> None:
    """Start a sub-module, a FrameClassifier (whose head may be gone) or its Backbone, from a shared backbone."""
    module = method.get_submodule(name)
    prefix = "" if isinstance(module, FrameClassifier) else "backbone."
    module.load_state_dict({key: state[prefix + key] for key in module.state_dict()})
