"""From names and overrides to a checked run: the method, its stages, the data set and the recipe."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning import Trainer

from adavid.backbones import BackboneSpec
from adavid.config import build, config_hash, load_yaml, locate, nearest, one_line, parse_overrides, schema
from adavid.data import VideoDataModule
from adavid.method import AdaptiveMethod, Stage

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ("tiny", "paper")
SECTIONS = ("recipe", "model", "stages", "data", "trainer", "curve", "usage")
# What a run's identity does not depend on.
INCIDENTAL = {
    "recipe": {"pyramids", "family"},  # `pyramid` is what was taken of them
    "model": {"seed"},  # the run's own, for methods that draw in evaluation
    "data": {"num_workers", "cache", "root", "num_processes"},
    "trainer": {"enable_progress_bar"},
}
# The runner's own business, not the user's.
RESERVED = {
    *("self", "max_epochs", "callbacks", "logger", "enable_model_summary", "enable_checkpointing"),
    *("log_every_n_steps", "num_sanity_val_steps"),
}


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
        config = essential({key: of for key, of in self.config.items() if key not in ("seed", "curve", "usage")})
        return config_hash(config | {"videos": self.datamodule.fingerprint})

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


def catalogue(kind: str = "methods") -> list[str]:
    """The names in a folder of YAML files: `methods` or `datamodules`."""
    return sorted(path.stem for path in (ROOT / kind).glob("*.yaml"))


def compose(
    method: str,
    data: str = "sprites",
    profile: str = "tiny",
    variant: str = "",
    overrides: Sequence[str] = (),
    seed: int = 0,
) -> Run:
    """Merge and check everything that determines a run.

    Args:
        method: a name of the catalogue, or `package.module:Class` for a class from elsewhere (its YAML beside it).
        data: a name of the data catalogue, or `folder:/path`, `csv:/path/file.csv`.
        profile: "tiny" or "paper".
        variant: one of the method's variants.
        overrides: `section.key=value` words.
        seed: of the whole run.

    Raises:
        ValueError: anything unknown, of the wrong type or out of range, in one line with the nearest right name.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile '{profile}' is unknown; {nearest(profile, PROFILES)}")
    method_name, method_yaml = _method_yaml(method)
    data_kind, _, data_path = data.partition(":")
    if data_kind not in catalogue("datamodules"):
        raise ValueError(f"data set '{data_kind}' is unknown; {nearest(data_kind, catalogue('datamodules'))}")
    data_yaml = load_yaml(ROOT / "datamodules" / f"{data_kind}.yaml")
    variants = method_yaml.get("variants", {})
    if variant and variant not in variants:
        raise ValueError(f"{method_name} has no variant '{variant}'; {nearest(variant, variants)}")

    recipe_yaml = load_yaml(ROOT / "benchmarks" / "recipe.yaml")
    for_method = data_yaml.get("methods", {}).get(method_name, {}).get(profile, {})
    layers = [
        OmegaConf.create({section: {} for section in SECTIONS}),
        OmegaConf.masked_copy(recipe_yaml, "recipe"),
        recipe_yaml.profiles[profile],
        _without(method_yaml, "target", "profiles", "variants"),
        method_yaml.get("profiles", {}).get(profile, {}),
        _without(data_yaml, "target", "methods"),
        for_method,
        {"data": {"path": data_path}} if data_path else {},
        variants.get(variant, {}),
        parse_overrides(overrides),
        {"seed": seed},
    ]
    try:
        merged = OmegaConf.merge(*layers)
        config = OmegaConf.to_container(merged, resolve=True)
    except OmegaConfBaseException as error:
        raise ValueError(one_line(error)) from None
    assert isinstance(config, dict)
    for section, values in ((str(name), values) for name, values in config.items()):
        if section not in (*SECTIONS, "seed"):
            raise ValueError(f"'{section}' is unknown; {nearest(section, SECTIONS)}")
        if section in SECTIONS and not isinstance(values, dict):
            raise ValueError(f"{section}: expected settings, {section}.key=value, got {values!r}")
    _check_trainer(config["trainer"])

    recipe = build(Recipe, config["recipe"], "recipe")
    stages = [make_stage(name, recipe.stage, stage) for name, stage in config["stages"].items() if stage is not None]
    if not stages:
        raise ValueError(f"{method_name}: no stage is left to train")
    method_class, data_class = locate(method_yaml.target), locate(data_yaml.target)
    # With every default filled in: a default that changes in the code makes another run.
    model = build(schema(method_class, ("num_classes", "pretrained")), config["model"], "model")
    data_values = build(schema(data_class, ("views", "batch_size", "seed")), config["data"], "data")
    filled = {
        "method": method_name,
        "target": method_yaml.target,
        "model": dataclasses.asdict(model),
        "stages": [dataclasses.asdict(stage) for stage in stages],
        "data": dataclasses.asdict(data_values),
    }
    run = Run(
        method=method_name,
        variant=variant,
        data=data_name(data),
        profile=profile,
        seed=seed,
        config={str(name): section for name, section in config.items()} | filled,
        method_class=method_class,
        data_class=data_class,
        recipe=recipe,
        stages=stages,
        variants=tuple(variants),
        source=data,
    )
    with torch.device("meta"):  # the constructor checks its ranges; nothing is allocated
        untrained = run.build_method(num_classes=2)
        for stage in run.stages:
            untrained.enter(stage)
        _check_all_learn(untrained, run.stages)
        if run.recipe.warmup is not None:
            for spec in untrained.shared_backbones().values():
                warmup_of(run, spec)
    _ = run.datamodule  # likewise
    return run


def _check_all_learn(method: AdaptiveMethod, stages: Sequence[Stage]) -> None:
    """ValueError where a network starts from nothing and no stage trains it."""
    known = [*method.shared_backbones(), *(name for stage in stages for name in stage.train)]
    for name, _ in method.named_parameters():
        if not any(name.startswith(f"{part}.") for part in known):
            raise ValueError(
                f"stages: none trains {name.rpartition('.')[0]}; they train {', '.join(dict.fromkeys(known))}"
            )


def like(run: Run, method: str) -> Run:
    """Another method under the run's own recipe, data, trainer and seed: its baseline."""
    sections = [
        f"{section}={json.dumps(run.config[section], ensure_ascii=False)}" for section in ("recipe", "data", "trainer")
    ]
    return compose(method, run.source, run.profile, overrides=sections, seed=run.seed)


def essential(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration, or some sections of one, without what makes no difference to the result."""
    return {
        name: {key: value for key, value in section.items() if key not in INCIDENTAL[name]}
        if name in INCIDENTAL
        else section
        for name, section in config.items()
    }


def data_name(data: str) -> str:
    """What results call a data set: its kind, and of a user's own the last part of its path."""
    kind, _, path = data.partition(":")
    return f"{kind}-{Path(path).stem}" if path else kind


def make_stage(name: str, *layers: dict[str, Any]) -> Stage:
    """A stage from layers of plain values, later ones winning."""
    for layer in layers:
        if not isinstance(layer, dict):
            raise ValueError(f"stages.{name}: expected settings, stages.{name}.key=value, got {layer!r}")
    values = {key: value for layer in layers for key, value in layer.items()}
    stage = build(Stage, {"name": name, **values}, f"stages.{name}")
    assert isinstance(stage, Stage)
    return stage


def warmup_of(run: Run, spec: BackboneSpec) -> Run:
    """The run that fine-tunes a shared backbone: `uniform` with it, from raw weights, nothing of the method in it.

    A network with temporal shift reads whole videos, which is `tsm`'s to do.
    """
    assert run.recipe.warmup is not None
    network = dataclasses.asdict(spec)
    own: dict[str, Any]
    if spec.num_segments:
        method, trains, own = "tsm:TSM", "networks", {"networks": {"shared": network}}
    else:
        method, trains = "uniform:Uniform", "classifier"
        own = {"backbone": network, "num_frames": run.recipe.warmup_frames}
    by_size = [run.recipe.warmup_by_size.get(str(spec.size), {})]  # of the first stage alone
    stages = [
        make_stage(name, run.recipe.stage, stage, *by_size[i:], {"train": [trains]})
        for i, (name, stage) in enumerate(run.recipe.warmup.items())
        if stage is not None
    ]
    method_class = locate(f"methods.{method}")
    model = {"frame_size": run.recipe.frame_size, "dropout": run.recipe.dropout, **own}
    model = dataclasses.asdict(build(schema(method_class, ("num_classes", "pretrained")), model, "model"))
    recipe = {key: run.config["recipe"][key] for key in ("batch_size", "pretrained")}
    config = {
        "recipe": recipe,
        "model": model,
        "stages": [dataclasses.asdict(stage) for stage in stages],
        "data": run.config["data"],
        "trainer": run.config["trainer"],
        "seed": run.seed,
        "data_name": run.data,
    }
    return dataclasses.replace(
        run, method="warmup", variant="", config=config, method_class=method_class, stages=stages
    )


def _method_yaml(method: str) -> tuple[str, DictConfig]:
    if ":" not in method:
        if method not in catalogue():
            raise ValueError(f"method '{method}' is unknown; {nearest(method, catalogue())}")
        return method, load_yaml(ROOT / "methods" / f"{method}.yaml")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    method_class = locate(method)
    if not (isinstance(method_class, type) and issubclass(method_class, AdaptiveMethod)):
        raise ValueError(f"method '{method}': expected a subclass of AdaptiveMethod")
    yaml = Path(inspect.getsourcefile(method_class) or "").with_suffix(".yaml")
    if not yaml.exists():
        raise ValueError(f"method '{method}': expected its settings in {yaml}")
    return method.replace(":", "."), OmegaConf.merge(load_yaml(yaml), {"target": method})  # type: ignore[return-value]


def _without(config: DictConfig, *keys: str) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key not in keys])


def _check_trainer(trainer: dict[str, Any]) -> None:
    known = inspect.signature(Trainer.__init__).parameters.keys() - RESERVED
    for key in trainer:
        if key not in known:
            raise ValueError(f"trainer.{key} is unknown; {nearest(key, known)}")
    if trainer.get("devices", 1) != 1 or trainer.get("num_nodes", 1) != 1:
        raise ValueError("trainer.devices: a run takes one device; start several runs, one seed or method on each")
