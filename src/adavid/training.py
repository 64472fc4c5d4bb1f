"""Fitting a method stage by stage so that a killed run goes on where it was, and evaluating it.

A run's folder holds `<i>-<stage>.pt` of every finished stage and `<i>-<stage>.ckpt`, after each epoch, of the stage
under way. Both are written atomically; a stage without its `.pt` is not finished. B videos, T frames, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from adavid import ranks
from adavid.data.batch import VideoBatch
from adavid.evaluation.collector import Evaluation, GFLOPsCallback
from adavid.files import reason, set_aside, write_atomically
from adavid.kept import KeptFeatures
from adavid.method import AdaptiveMethod
from adavid.stage import Stage


class Diverged(ValueError):
    """A training ended because a loss or a weight was not finite."""


def channels_last(method: AdaptiveMethod) -> AdaptiveMethod:
    """Lays out the weights of its two-dimensional convolutions as they run fastest; returns the method."""
    for module in method.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)
    return method


def make_trainer(settings: Mapping[str, Any], **own: Any) -> Trainer:
    """A Lightning Trainer: a rank's where several have joined (see `join`), else for one device in this process alone.

    Alone it is whatever cluster's variables it was started under: tasks of one SLURM step, or of torchrun, are so many
    independent runs, each of which trains, logs and records for itself. Of a run's several devices it takes the first.
    In full precision cuDNN is kept from TF32, of 10 bits in place of 23, in which torch lets it convolve by default.

    Args:
        settings: arguments that the user chose.
        own: the caller's.
    """
    torch.backends.cudnn.allow_tf32 = settings.get("precision", "32-true") != "32-true"
    if ranks.world_size() > 1:
        return _trainer_of_rank(settings, **own)
    planned = planned_trainer(settings, **own)
    if planned.world_size == 1:
        return planned
    first = planned.device_ids[:1] if planned.strategy.root_device.type == "cuda" else 1
    of_many = {"devices": first, "num_nodes": 1, "strategy": "auto", "sync_batchnorm": False}
    return planned_trainer({**settings, **of_many}, **own)


def planned_trainer(settings: Mapping[str, Any], **own: Any) -> Trainer:
    """A Trainer as the settings have it, to be looked at where they say several devices; see `make_trainer`."""
    alone = LightningEnvironment()
    alone.set_global_rank(0)  # Lightning takes it from the cluster's variables when it is imported
    devices = settings.get("devices", 1)
    if not torch.cuda.is_available() and devices in ([0], "0,"):
        devices = 1  # a processor is counted, not numbered
    return Trainer(**{**settings, "devices": devices, "plugins": [alone], "enable_model_summary": False}, **own)


def join(settings: Mapping[str, Any]) -> None:
    """Makes this process a rank of the run that torchrun, srun or the command itself has started it for.

    Args:
        settings: arguments of Lightning's Trainer, for as many devices as there are processes.
    """
    _trainer_of_rank(settings, logger=False, enable_checkpointing=False).strategy.setup_environment()
    ranks.opened()


def _trainer_of_rank(settings: Mapping[str, Any], **own: Any) -> Trainer:
    """One of several processes, each with a device and a whole copy of the method, whose gradients are averaged.

    What BatchNorm counts is left to each (see `SharedStatistics`): by default torch would hand out the first rank's at
    every batch, of validation too, of which some ranks have one more than others and would wait for ever.
    """
    is_checked = settings.get("strategy", "auto") == "ddp"
    strategy = DDPStrategy(find_unused_parameters=not is_checked, broadcast_buffers=False)
    is_slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()
    # Requeued by Lightning, a job would go on from a file of its own that does not know of stages.
    plugins = [SLURMEnvironment(auto_requeue=False)] if is_slurm else []
    given = {**settings, "strategy": strategy, "plugins": plugins, "enable_model_summary": False}
    # The data modules share the videos out (see `VideoDataModule`).
    return Trainer(**given, use_distributed_sampler=False, **own)


def fit(
    method: AdaptiveMethod,
    stages: Sequence[Stage],
    data: Callable[[int], LightningDataModule],
    folder: Path,
    seed: int,
    trainer: Mapping[str, Any],
    callbacks: Sequence[Callback] = (),
    loggers: Any = False,
    section: str = "stages",
    keep: Path | None = None,
) -> None:
    """Train `method` through `stages`, from the last one on that `folder` says is finished, which is loaded.

    Args:
        method: starts from the weights that it has.
        stages: in order.
        data: gives the data module of a stage, which Lightning sets up, from the stage's index.
        folder: for the checkpoints; created.
        seed: of all randomness, with the stage and the epoch.
        trainer: arguments of Lightning's Trainer.
        callbacks: further ones.
        loggers: Lightning's loggers, False for none.
        section: of the configuration, that the stages stand in.
        keep: folder for what networks that a stage freezes say of pictures (see `KeptFeatures`); None keeps nothing.

    Of several ranks all train, and leave with the same method; the first writes.

    Raises:
        Diverged: see `Divergence`.
        ValueError: a batch holds too few videos for the method.
    """
    folder.mkdir(parents=True, exist_ok=True)
    finished = 0
    for i, stage in reversed(list(enumerate(stages))):
        done = stage_checkpoint(folder, i, stage.name)
        if (state := ranks.of_first(partial(read_checkpoint, done, method))) is not None:
            method.load_state_dict(state["state_dict"])
            method.train_macs, method.course = state["train_macs"], state.get("course", {})
            finished = i + 1
            break
    for i, stage in list(enumerate(stages))[finished:]:
        done = stage_checkpoint(folder, i, stage.name)
        last = done.with_suffix(".ckpt")
        method.enter(stage)
        method.kept = None if keep is None else KeptFeatures(keep)
        print(f"{stage.name}: {stage.epochs} epochs, training {', '.join(stage.train)}")
        checkpoint = ModelCheckpoint(
            folder, filename=last.stem, save_on_train_epoch_end=True, enable_version_counter=False
        )
        fitter = make_trainer(
            trainer,
            max_epochs=stage.epochs,
            callbacks=[
                *(EpochSeed(seed, i), SharedStatistics(), Divergence(section), GFLOPsCallback(), checkpoint),
                *callbacks,
            ],
            logger=loggers,
            log_every_n_steps=10,
            num_sanity_val_steps=0,
        )
        goes_on = ranks.of_first(lambda last=last: read_checkpoint(last, is_whole=False) is not None)  # type: ignore[misc]
        fitter.fit(method, data(i), ckpt_path=str(last) if goes_on else None, weights_only=False)
        if not fitter.fast_dev_run and ranks.is_first():  # type: ignore[attr-defined]
            spent = {"train_macs": method.train_macs, "course": method.course}
            state = {"state_dict": method.state_dict()} | spent
            write_atomically(done, partial(torch.save, state))
            last.unlink(missing_ok=True)
    method.stage = method.kept = None


def stage_checkpoint(folder: Path, index: int, name: str) -> Path:
    """Where a run's folder holds what a finished stage has trained."""
    return folder / f"{index}-{name}.pt"


def last_checkpoint(folder: Path, stages: Sequence[str]) -> Path:
    """Where a run's folder holds what it is evaluated with: its last stage's, or, where it was not trained here but
    imported and has no stages, what was imported."""
    return stage_checkpoint(folder, len(stages) - 1, stages[-1]) if stages else folder / "imported.pt"


def read_checkpoint(path: Path, method: AdaptiveMethod | None = None, is_whole: bool = True) -> dict[str, Any] | None:
    """What a checkpoint holds; None where there is none, or a damaged one, which is named and set aside.

    Args:
        path: of the file.
        method: gets its weights.
        is_whole: it is of a finished stage, weights and numbers alone; else Lightning's, of one under way.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=is_whole)
        if not state.keys() >= {"state_dict", "train_macs"}:
            raise ValueError("expected weights and what training them took")
        if method is not None:
            expected = {key: value.shape for key, value in method.state_dict().items()}
            if {key: value.shape for key, value in state["state_dict"].items()} != expected:
                raise ValueError(f"expected the weights of a {type(method).__name__} of this configuration")
            method.load_state_dict(state["state_dict"])
    except Exception as error:  # a file that was cut short, or another's, fails in as many ways as there are bytes
        set_aside(path, reason(error))
        return None
    return state


def evaluate(
    method: AdaptiveMethod,
    data: LightningDataModule,
    trainer: Mapping[str, Any],
    split: str = "test",
    decisions: Mapping[str, Tensor] | None = None,
) -> Evaluation:
    """Run `method` over a split, routing sparsely, and return its answers and bills.

    Args:
        method: trained.
        data: set up by Lightning.
        trainer: arguments of Lightning's Trainer.
        split: "test" for the one that `data` reports, "val" for the one to choose by.
        decisions: for each video, by id, its decisions (T,) in place of the method's own; None lets the method decide.
    """
    data = data if decisions is None else _Decided(data, decisions)
    cost = GFLOPsCallback()
    tester = make_trainer(trainer, callbacks=[cost], logger=False, enable_checkpointing=False)
    {"test": tester.test, "val": tester.validate}[split](method, data, verbose=False)
    assert cost.evaluation is not None
    return cost.evaluation


class _Decided(LightningDataModule):
    """Another data module's evaluation batches, each video with decisions taken from outside."""

    def __init__(self, data: LightningDataModule, decisions: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.data, self.decisions = data, decisions

    def prepare_data(self) -> None:
        self.data.prepare_data()

    def setup(self, stage: str) -> None:
        self.data.trainer = self.trainer  # by which it knows its share of the videos
        self.data.setup(stage)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.data.val_dataloader()

    def test_dataloader(self) -> DataLoader[Any]:
        return self.data.test_dataloader()

    def on_after_batch_transfer(self, batch: VideoBatch, dataloader_idx: int) -> VideoBatch:
        forced_BT = torch.stack([self.decisions[video_id] for video_id in batch.video_id])
        batch = batch._replace(forced_BT=forced_BT.to(batch.label_BK.device))
        return self.data.on_after_batch_transfer(batch, dataloader_idx)


class EpochSeed(Callback):
    """Seeds every epoch from (seed, stage, epoch): Lightning's checkpoints hold no state of the random generators."""

    def __init__(self, seed: int, stage: int) -> None:
        self.seed, self.stage = seed, stage

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx > 0:
            return
        # Not at the epoch's start: the loader's iterator, made before it on resuming and after it else, draws too.
        entropy = np.random.SeedSequence([self.seed, self.stage, trainer.current_epoch, trainer.global_rank])
        torch.manual_seed(int(entropy.generate_state(1)[0]))


class SharedStatistics(Callback):
    """Sets the running statistics of BatchNorm to their means over the ranks, before an epoch is validated or kept.

    Each rank normalises by its own part of a batch, as is usual, unless `trainer.sync_batchnorm` says otherwise.
    """

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self.share(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.share(pl_module)

    def share(self, method: LightningModule) -> None:
        norms = [module for module in method.modules() if isinstance(module, _BatchNorm)]
        counted = [(norm.running_mean, norm.running_var) for norm in norms]
        ranks.average([value for of_norm in counted for value in of_norm if value is not None])


class Divergence(Callback):
    """Ends a training that has diverged before its epoch is validated or kept.

    Whether every loss is finite is noted on the device, where no step waits for it, and looked at once an epoch, with
    the weights.

    Args:
        section: of the configuration, that the stages stand in.
    """

    is_finite: Tensor  # every loss of this epoch

    def __init__(self, section: str = "stages") -> None:
        self.section = section

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.is_finite = torch.tensor(True, device=pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.is_finite &= outputs["loss"].isfinite()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit":
            self.look(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.look(trainer, pl_module)

    def look(self, trainer: Trainer, method: LightningModule) -> None:
        """Raises Diverged where a loss of this epoch was not finite, or a weight or statistic is not."""
        assert isinstance(method, AdaptiveMethod) and method.stage is not None
        state = [value.isfinite().all() for value in method.state_dict().values()]
        is_finite = bool(torch.stack([self.is_finite, *state]).all())
        if not all(ranks.gathered(is_finite)):
            stage, epoch = method.stage, trainer.current_epoch + 1
            raise Diverged(
                f"stage '{stage.name}' diverged in epoch {epoch}: its loss or a weight is not finite; "
                f"try a lower {self.section}.{stage.name}.lr than {stage.lr:g}"
            )
