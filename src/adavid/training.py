"""Fitting a method stage by stage so that a killed run goes on where it was, and evaluating it.

A run's folder holds `<i>-<stage>.pt` of every finished stage and `<i>-<stage>.ckpt`, after each epoch, of the stage
under way. Both are written atomically; a stage without its `.pt` is not finished.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from adavid.callbacks import EpochSeed, Evaluation, GFLOPsCallback
from adavid.data import VideoDataModule
from adavid.method import AdaptiveMethod, Stage


def channels_last(method: AdaptiveMethod) -> AdaptiveMethod:
    """Lays out the weights of its two-dimensional convolutions as they run fastest; returns the method."""
    for module in method.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return method


def fit(
    method: AdaptiveMethod,
    stages: Sequence[Stage],
    data: VideoDataModule,
    folder: Path,
    seed: int,
    trainer: Mapping[str, Any],
    callbacks: Sequence[Callback] = (),
    loggers: Any = False,
) -> None:
    """Train `method` through `stages`; stages that `folder` says are finished are loaded, not run.

    Args:
        method: starts from the weights that it has.
        stages: in order.
        data: set up by Lightning for each stage.
        folder: for the checkpoints; created.
        seed: of all randomness, with the stage and the epoch.
        trainer: arguments of Lightning's Trainer.
        callbacks: further ones.
        loggers: Lightning's loggers, False for none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for i, stage in enumerate(stages):
        done, last = folder / f"{i}-{stage.name}.pt", folder / f"{i}-{stage.name}.ckpt"
        if done.exists():
            state = torch.load(done, weights_only=True)
            method.load_state_dict(state["state_dict"])
            method.train_macs = state["train_macs"]
            continue
        method.enter(stage)
        data.stage = i
        print(f"{stage.name}: {stage.epochs} epochs, training {', '.join(stage.train)}")
        checkpoint = ModelCheckpoint(
            folder, filename=last.stem, save_on_train_epoch_end=True, enable_version_counter=False
        )
        fitter = Trainer(
            max_epochs=stage.epochs,
            callbacks=[EpochSeed(seed, i), GFLOPsCallback(), checkpoint, *callbacks],
            logger=loggers,
            enable_model_summary=False,
            log_every_n_steps=10,
            num_sanity_val_steps=0,
            **trainer,
        )
        fitter.fit(method, data, ckpt_path=str(last) if last.exists() else None, weights_only=False)
        if not fitter.fast_dev_run:  # type: ignore[attr-defined]
            save(done, {"state_dict": method.state_dict(), "train_macs": method.train_macs})
            last.unlink(missing_ok=True)
    method.stage = None


def evaluate(
    method: AdaptiveMethod, data: VideoDataModule, trainer: Mapping[str, Any], split: str = "test"
) -> Evaluation:
    """Run `method` over a split, routing sparsely, and return its answers and bills.

    Args:
        method: trained.
        data: set up by Lightning.
        trainer: arguments of Lightning's Trainer.
        split: "test" for the one that `data` reports, "val" for the one to choose by.
    """
    cost = GFLOPsCallback()
    tester = Trainer(callbacks=[cost], logger=False, enable_checkpointing=False, enable_model_summary=False, **trainer)
    {"test": tester.test, "val": tester.validate}[split](method, data, verbose=False)
    assert cost.evaluation is not None
    return cost.evaluation


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    torch.save(dict(state), temporary)
    os.replace(temporary, path)
