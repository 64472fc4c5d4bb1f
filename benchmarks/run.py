"""What is run: one method on one data set with one seed, and the recipe that all methods share."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from adavid.config import build, schema
from adavid.data.datamodule import VideoDataModule
from adavid.evaluation.records import identity
from adavid.method import AdaptiveMethod
from adavid.networks.backbones import BackboneSpec
from adavid.stage import Stage


@dataclass(frozen=True)
class Recipe:
    """What all methods share.

    Attributes:
        family, pyramids, pyramid: networks from the highest to the lowest resolution; `pyramid` is the family's.
        frame_size: pixels at which frames are read.
        num_frames: T.
        batch_size: videos a batch in training and evaluation.
        dropout: before linear heads.
        pretrained: backbones start from ImageNet.
        stage: what every stage of every method is unless its YAML says otherwise.
        warmup: the stages that fine-tune the shared backbones, over `stage`; null starts methods from raw backbones.
        warmup_frames: T in the warm-up.
        warmup_by_size: what differs in the warm-up's first stage at some frame sizes.
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
    warmup_by_size: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("num_frames", "batch_size", "warmup_frames"):
            if getattr(self, key) < 1:
                raise ValueError(f"recipe.{key} must be 1 or more, got {getattr(self, key)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"recipe.dropout must lie in [0, 1), got {self.dropout}")


@dataclass(frozen=True)
class Run:
    """One method on one data set with one seed, checked and ready to be built.

    Attributes:
        method, variant, data, profile, seed: its names; `variants` are the method's others, `source` is the data set
            as it was asked for, with its path.
        config: everything that determines it, as plain JSON-like values.
    """

    method: str
    variant: str
    data: str
    profile: str
    seed: int
    config: dict[str, Any]
    method_class: Any  # a subclass of AdaptiveMethod
    data_class: type[VideoDataModule]
    recipe: Recipe
    stages: list[Stage]
    variants: tuple[str, ...]
    source: str

    @property
    def label(self) -> str:
        return f"{self.method}@{self.variant}" if self.variant else self.method

    @property
    def hash(self) -> str:
        """Of everything but the seed and what makes no difference to the result; the videos' list included."""
        return identity(self.config, self.datamodule.fingerprint)

    def folder(self, results: Path) -> Path:
        return results / self.data / self.profile / self.label / self.hash / f"seed{self.seed}"

    @property
    def datamodule(self) -> VideoDataModule:
        """The data set, one object for all runs that read the same: its files are checked once."""
        return _datamodule(self.data_class, json.dumps(self.config["data"]), self.recipe.batch_size, self.seed)

    def build_method(self, num_classes: int, **changes: Any) -> AdaptiveMethod:
        """The untrained method; `changes` replace constructor arguments."""
        values = build(schema(self.method_class, ("num_classes", "pretrained")), self.config["model"], "model")
        method: AdaptiveMethod = self.method_class(num_classes, **(vars(values) | changes))
        return method


@lru_cache
def _datamodule(data_class: type[VideoDataModule], values: str, batch_size: int, seed: int) -> VideoDataModule:
    checked = build(schema(data_class, ("views", "batch_size", "seed")), json.loads(values), "data")
    return data_class(views={}, batch_size=batch_size, seed=seed, **vars(checked))
