"""From names and overrides to a checked run: the method, its stages, the data set and the recipe."""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning import Trainer

from adavid.config import build, load_yaml, locate, nearest, one_line, parse_overrides, schema
from adavid.method import AdaptiveMethod
from adavid.networks.backbones import BackboneSpec
from adavid.stage import Stage
from benchmarks.run import Recipe, Run

ROOT = Path(__file__).resolve().parents[1]
PROFILES = ("tiny", "paper")
SECTIONS = ("recipe", "model", "stages", "data", "trainer", "curve", "usage")
# The runner's own business, not the user's.
RESERVED = {
    *("self", "max_epochs", "callbacks", "logger", "enable_model_summary", "enable_checkpointing"),
    *("log_every_n_steps", "num_sanity_val_steps"),
}


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
    method_class, catalogue_class = locate(method_yaml.target), locate(data_yaml.target)
    # With every default filled in: a default that changes in the code makes another run.
    model = build(schema(method_class, ("num_classes", "pretrained")), config["model"], "model")
    data_values = build(schema(catalogue_class), config["data"], "data")
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
        catalogue_class=catalogue_class,
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
    _ = run.catalogue  # likewise
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
