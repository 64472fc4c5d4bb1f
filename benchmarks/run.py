"""What is run: one method on one data set with one seed, and the recipe that all methods share."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from adavid.config import build, schema
from adavid.data.catalogue import VideoCatalogue
from adavid.evaluation.records import identity, model_identity
from adavid.loading import build_method
from adavid.method import AdaptiveMethod
from adavid.networks.backbones import BackboneSpec
from adavid.released import Layout
from adavid.stage import Stage
from adavid.training import make_trainer


@dataclass(frozen=True)
class Recipe:
    """What all methods share.

    Attributes:
        family: which of the pyramids.
        pyramids: networks from the highest to the lowest resolution, by family.
        pyramid: the family's.
        frame_size: pixels at which frames are read.
        num_frames: T.
        batch_size: videos a batch in training and evaluation, of all devices together.
        dropout: before linear heads.
        pretrained: backbones start from weights: ImageNet's, or those that their name's tag says.
        stage: what every stage of every method is unless its YAML says otherwise.
        warmup: the stages that fine-tune the shared backbones, over `stage`; null starts methods from raw backbones.
        warmup_frames: T in the warm-up.
        weights: folder with files of the pretrained weights, called as torchvision's and timm's caches call them, or
            null to fetch them. A run is known by what they hold.
        draws: crops and frames that training draws of each video, taking turns; what networks that a stage freezes say
            of them is kept, for all stages and runs. 0 draws anew in every epoch and keeps nothing.
    """

    family: str
    pyramids: dict[str, list[BackboneSpec]]
    pyramid: list[BackboneSpec]
    frame_size: int
    num_frames: int
    batch_size: int
    dropout: float
    pretrained: bool
    stage: dict[str, Any]
    warmup: dict[str, Any] | None
    warmup_frames: int
    weights: str | None = None
    draws: int = 0

    def __post_init__(self) -> None:
        for key in ("num_frames", "batch_size", "warmup_frames"):
            if getattr(self, key) < 1:
                raise ValueError(f"recipe.{key} must be 1 or more, got {getattr(self, key)}")
        if self.draws < 0:
            raise ValueError(f"recipe.draws must be 0 or more, got {self.draws}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"recipe.dropout must lie in [0, 1), got {self.dropout}")


@dataclass(frozen=True)
class TrainerSettings:
    """The arguments of Lightning's Trainer that are a user's to choose; all others are the runner's.

    Attributes:
        accelerator: "auto", "cpu", "gpu", ...
        devices: how many on each node, or their indices in a list. Each of several trains on an equal part of every
            batch, and evaluates a share of the videos.
        num_nodes: machines, on each of which srun or torchrun starts the command once a device.
        strategy: of several devices: "auto" averages the gradients of weights that some steps leave out too, "ddp" is
            faster and expects every step to use all that it trains.
        sync_batchnorm: BatchNorm by the whole batch, rather than by each GPU's part of it.
        precision: of training and evaluation; frames are float32, so that no network runs wholly in another. In
            32-true a GPU does not take TF32 for it.
        deterministic: True, "warn" or False, of torch's kernels.
        benchmark: let cuDNN choose its kernels by timing them.
        accumulate_grad_batches: batches for each step of the optimiser.
        check_val_every_n_epoch: how often the validation split is looked at in training.
        enable_progress_bar: show one.
        detect_anomaly: let autograd look for NaN; slow.
        limit_train_batches: so many or such a fraction of the batches are an epoch, others each time.
        profiler: "simple" or "advanced".
        fast_dev_run: for debugging, like all that follow: what runs under them leaves no record.
        limit_val_batches: a number or a fraction of the batches.
        limit_test_batches: likewise.
        overfit_batches: likewise.
        max_steps: of each stage.
        max_time: of each stage, days:hours:minutes:seconds.
    """

    accelerator: str = "auto"
    devices: Any = 1
    num_nodes: int = 1
    strategy: Literal["auto", "ddp"] = "auto"
    sync_batchnorm: bool = False
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    deterministic: Any = None
    benchmark: bool | None = None
    accumulate_grad_batches: int = 1
    check_val_every_n_epoch: int = 1
    enable_progress_bar: bool = True
    detect_anomaly: bool = False
    limit_train_batches: Any = None
    profiler: str | None = None
    fast_dev_run: Any = False
    limit_val_batches: Any = None
    limit_test_batches: Any = None
    overfit_batches: Any = 0.0
    max_steps: int = -1
    max_time: str | None = None

    def __post_init__(self) -> None:
        for key in ("num_nodes", "accumulate_grad_batches", "check_val_every_n_epoch"):
            if getattr(self, key) < 1:
                raise ValueError(f"trainer.{key}: expected 1 or more, got {getattr(self, key)}")
        if self.deterministic not in (None, True, False, "warn"):
            raise ValueError(f"trainer.deterministic: expected true, false or warn, got {self.deterministic!r}")


DEBUGGING = ("fast_dev_run", "limit_val_batches", "limit_test_batches", "overfit_batches", "max_steps", "max_time")


@dataclass(frozen=True)
class Released:
    """Weights that a method's authors have released.

    Attributes:
        path: of their file.
        layout: what the authors call the method's parts.
    """

    path: Path
    layout: Layout


@dataclass(frozen=True)
class Run:
    """One method on one data set with one seed, checked and ready to be built.

    Attributes:
        method, variant, data, profile, seed: its names; `variants` are the method's others.
        config: everything that determines it, as plain JSON-like values.
        method_class: a subclass of AdaptiveMethod.
        catalogue_class: of the data set.
        recipe, stages: as the configuration has them, checked.
        data_request: the data set as it was asked for, with its path.
        search: what its method's YAML says of the values that `make tune` tries; benchmarks/search.py checks it.
        released: the weights that it is evaluated with, where they are not trained here.
    """

    method: str
    variant: str
    data: str
    profile: str
    seed: int
    config: dict[str, Any]
    method_class: Any
    catalogue_class: type[VideoCatalogue]
    recipe: Recipe
    stages: list[Stage]
    variants: tuple[str, ...]
    data_request: str
    search: dict[str, Any] = field(default_factory=dict)
    released: Released | None = None

    @property
    def label(self) -> str:
        return f"{self.method}@{self.variant}" if self.variant else self.method

    @property
    def names(self) -> dict[str, Any]:
        """What a record is filed under."""
        return {key: getattr(self, key) for key in ("method", "variant", "data", "profile", "seed")}

    @property
    def hash(self) -> str:
        """Of everything but the seed and what makes no difference to the result; the videos' list included."""
        return identity(self.config, self.catalogue.fingerprint)

    @property
    def model_hash(self) -> str:
        """Of what determines its trained weights, but for the seed: runs that share it share one training."""
        return model_identity(self.config, self.catalogue.fingerprint)

    @property
    def arguments(self) -> dict[str, Any]:
        """Of the method as it is evaluated, plain values; its training has those of the section `model` alone."""
        return self.config["model"] | self.config.get("test", {})

    def folder(self, records: Path) -> Path:
        """Where its records, checkpoints and pictures lie, below a root of such folders."""
        return records / self.data / self.profile / self.label / self.hash / f"seed{self.seed}"

    @property
    def catalogue(self) -> VideoCatalogue:
        """The data set, one object for all runs that read the same: its files are checked once."""
        return _catalogue(self.catalogue_class, json.dumps(self.config["data"]))

    @property
    def debugging(self) -> list[str]:
        """The settings under which a part of the data, or of the training, stands for the whole: no record is left."""
        settings = self.config["trainer"]
        return [key for key in DEBUGGING if key in settings and settings[key] != getattr(TrainerSettings, key)]

    @property
    def num_devices(self) -> int:
        """That train it, over all nodes."""
        return int(self.config.get("num_devices", 1))

    @property
    def num_gpus(self) -> int:
        """That it takes of those that it is shown, where there are some; 0 where its settings say which they are."""
        trainer = self.config["trainer"]
        return self.num_devices if isinstance(trainer["devices"], int) and trainer["num_nodes"] == 1 else 0

    @cached_property
    def device(self) -> torch.device:
        """Where its trainer trains and evaluates."""
        trainer = make_trainer(self.config["trainer"], logger=False, enable_checkpointing=False)
        device: torch.device = trainer.strategy.root_device
        return device

    def build_method(self, num_classes: int, **changes: Any) -> AdaptiveMethod:
        """The untrained method as it is evaluated; `changes` replace constructor arguments."""
        return build_method(self.method_class, num_classes, self.arguments, **changes)


@lru_cache
def _catalogue(catalogue_class: type[VideoCatalogue], values: str) -> VideoCatalogue:
    return catalogue_class(**vars(build(schema(catalogue_class), json.loads(values), "data")))
