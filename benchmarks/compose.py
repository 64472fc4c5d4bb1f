"""From names and overrides to a checked run: the method, its stages, the data set and the recipe."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from adavid.actions import Action
from adavid.config import build, config_hash, locate, parse_overrides, schema
from adavid.data.batch import View
from adavid.data.catalogue import VideoCatalogue
from adavid.data.contents import content_hashes
from adavid.loading import NOT_OF_THE_USER, build_method, without_weights
from adavid.method import AdaptiveMethod
from adavid.networks.backbones import BackboneSpec, weights_file
from adavid.stage import Stage
from adavid.training import planned_trainer
from benchmarks.layers import (
    BASELINE,
    OWN,
    Layer,
    MethodFiles,
    check_known,
    data_file,
    merge,
    method_files,
    profiles,
    recipe_file,
)
from benchmarks.measure.usage import check_shares
from benchmarks.run import Recipe, Run, TrainerSettings

OF_ALL_TRAINING = ("batch_size", "pretrained", "draws")  # what the recipe says of warm-ups and stages alike
ANY_CLASSES = 2  # of a method that is only checked or looked at
LONGEST_NAME = 80  # characters of a data set's name; file systems take 255 of a folder's


def compose(
    method: str,
    data: str = "sprites",
    profile: str = "tiny",
    variant: str = "",
    overrides: Sequence[str] = (),
    seed: int = 0,
    cache: str = "cache",
    shared: Mapping[str, Any] | None = None,
) -> Run:
    """Merge and check everything that determines a run.

    Args:
        method: a name of the catalogue, or `package.module:Class` for a class from elsewhere (its YAML beside it).
        data: a name of the data catalogue, or `folder:/path`, `csv:/path/file.csv`.
        profile: one of the recipe's.
        variant: one of the method's variants.
        overrides: `section.key=value` words.
        seed: of the whole run.
        cache: folder for what can be made anew, which `${cache}` stands for.
        shared: whole sections that come from another run.

    Raises:
        ValueError: anything unknown, of the wrong type or out of range, a setting of the recipe that would change
            nothing, pretrained weights that nothing would bring, or a method that is another one's run in this profile,
            in one line with the nearest right name.
    """
    files = method_files(method)
    if profile in files.same_as:
        other = files.same_as[profile]
        raise ValueError(f"{files.name}: the same run as {other} in profile {profile}: METHOD={other}")
    layers = layers_of(files, data, profile, variant, overrides, seed, cache, shared)
    run = _checked(files, layers, data, profile, variant, seed)
    if run.recipe.pretrained and not shared_backbones(run):
        raise ValueError(
            f"{files.name}: names no shared backbones, so its networks start from random weights: expected "
            "recipe.pretrained=false"
        )
    for word in overrides:
        key = word.removeprefix("--").partition("=")[0]
        section, _, name = key.partition(".")
        if section == "search":
            raise ValueError("search: stands in a method's YAML, not on the command line")
        if section == "usage" and name:
            _check_usage(run, name.partition(".")[0])
        if section == "recipe":
            others = [other for other in overrides if other != word]
            without = layers_of(files, data, profile, variant, others, seed, cache, shared)
            _check_effect(run, _checked(files, without, data, profile, variant, seed), key)
    return run


class DataSettings(NamedTuple):
    """What is said of a data set, for no method in particular.

    Attributes:
        catalogue_class: of it.
        arguments: of its constructor.
        num_frames: T of the recipe.
    """

    catalogue_class: type[VideoCatalogue]
    arguments: dict[str, Any]
    num_frames: int


def data_settings(data: str, profile: str, overrides: Sequence[str], cache: str = "cache") -> DataSettings:
    """A data set by itself, not made yet; see `compose` for the arguments and errors."""
    config = merge(layers_of(method_files(BASELINE), data, profile, "", overrides, cache=cache))
    catalogue_class = locate(data_file(data.partition(":")[0]).content.target)
    arguments = vars(build(schema(catalogue_class), config["data"], "data"))
    return DataSettings(catalogue_class, arguments, config["recipe"]["num_frames"])


def layers_of(
    files: MethodFiles,
    data: str,
    profile: str,
    variant: str = "",
    overrides: Sequence[str] = (),
    seed: int = 0,
    cache: str = "cache",
    shared: Mapping[str, Any] | None = None,
) -> list[Layer]:
    """What sets a run's settings, in order of precedence; see `compose` for the arguments and errors."""
    check_known(profile, profiles(), f"profile '{profile}'")
    if variant:
        check_known(variant, files.variants, f"{files.name}: variant '{variant}'")
    of_variant = files.layers_of_variant(variant, profile) if variant else []
    if variant and not of_variant:
        raise ValueError(f"{files.name}: variant '{variant}' is the method itself in profile {profile}")
    kind, _, path = data.partition(":")
    recipe, of_data = recipe_file(), data_file(kind)
    return [
        recipe.layer(),
        recipe.layer("profiles", profile),
        *files.layers(),
        *files.layers("profiles", profile),
        of_data.layer(),
        *files.layers("data_sets", kind, "profiles", profile),
        *([Layer(f"data set {data}", OmegaConf.create({"data": {"path": path}}))] if path else []),
        *of_variant,
        *([Layer("the run that it is compared with", OmegaConf.create(dict(shared)))] if shared else []),
        Layer("command line", parse_overrides(overrides)),
        Layer(OWN, OmegaConf.create({"seed": seed, "cache": cache})),
    ]


def _checked(files: MethodFiles, layers: Sequence[Layer], data: str, profile: str, variant: str, seed: int) -> Run:
    """The run of the merged layers, every section of it checked."""
    config = merge(layers)
    del config["cache"]  # no part of a run: where it lies on this machine
    search = config.pop("search")  # nor is what else might have been run
    num_devices = check_trainer(json.dumps(config["trainer"]))
    recipe = build(Recipe, config["recipe"], "recipe")
    names = dict.fromkeys([*files.stage_order(), *config["stages"]])
    stages = [
        make_stage(name, recipe.stage, config["stages"][name])
        for name in names
        if config["stages"].get(name) is not None
    ]
    if not stages:
        raise ValueError(f"{files.name}: no stage is left to train")
    method_class = locate(files.target)
    catalogue_target = data_file(data.partition(":")[0]).content.target
    catalogue_class = locate(catalogue_target)
    # With every default filled in: a default that changes in the code makes another run.
    model, test = arguments_of(method_class, config["model"], config["test"])
    data_values = build(schema(catalogue_class), config["data"], "data")
    filled = {
        "method": files.name,
        "target": files.target,
        "recipe": _filled(recipe),
        "model": model,
        "stages": [dataclasses.asdict(stage) for stage in stages],
        "test": test,
        "data": dataclasses.asdict(data_values),
        "trainer": dataclasses.asdict(build(TrainerSettings, config["trainer"], "trainer")),
    }
    # Each normalises by its own part of a batch, and draws numbers of its own.
    of_several = {"num_devices": num_devices} if num_devices > 1 else {}
    run = Run(
        method=files.name,
        variant=variant,
        data=data_name(data),
        profile=profile,
        seed=seed,
        config=config | filled | of_several,
        method_class=method_class,
        catalogue_class=catalogue_class,
        recipe=recipe,
        stages=stages,
        variants=files.variants,
        data_request=data,
        search=search,
    )
    if recipe.batch_size % num_devices:
        raise ValueError(
            f"recipe.batch_size: expected a multiple of {num_devices}, an equal part for each device, got "
            f"{recipe.batch_size}"
        )
    of_each = f", {recipe.batch_size} on {num_devices} devices" if num_devices > 1 else ""
    method_class.check_batch(recipe.batch_size // num_devices, f"recipe.batch_size{of_each}")
    if run.config["test"]:
        check_evaluated(run, "test")
    run.config["weights"] = _weights(run)
    targets = {files.target, catalogue_target}
    for spec in shared_backbones(run):
        if recipe.warmup is not None:
            targets.add(_warmup_method(spec).target)
    run.config["sources"] = sorted(target.partition(":")[0] for target in targets)
    _ = run.catalogue  # its constructor checks the data section
    _check_lengths(run)
    _check_curve(run)
    return run


def _check_lengths(run: Run) -> None:
    """ValueError where videos are read at so many frames a second, and a network takes as many of every video."""
    per_second = run.config["data"].get("per_second", 0)
    fixed = [spec for spec in shared_backbones(run) if spec.num_segments]
    if per_second and fixed:
        network = f"{fixed[0].name} reads {fixed[0].num_segments} frames of every video"
        raise ValueError(f"data.per_second={per_second:g}: {network}: expected 0")


def arguments_of(
    method_class: type[AdaptiveMethod], model: Mapping[str, Any], test: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The sections `model` and `test`, checked, with every default filled in.

    Args:
        method_class: whose constructor's arguments they are.
        model: what it is trained with.
        test: what it is evaluated with instead; null leaves an argument as it is.

    Returns:
        the arguments of training, and those of evaluation that training has not, or not with this value.
    """
    for key in method_class.test_time:
        if key in model:
            raise ValueError(f"model.{key}: training makes no use of it; did you mean 'test.{key}'?")
    known = schema(method_class, NOT_OF_THE_USER)
    trained = dataclasses.asdict(build(known, model, "model"))
    given = {key: value for key, value in test.items() if value is not None}
    evaluated = dataclasses.asdict(build(known, {**model, **given}, "test"))
    own = {key for key, value in evaluated.items() if key in method_class.test_time or value != trained[key]}
    return (
        {key: value for key, value in trained.items() if key not in method_class.test_time},
        {key: value for key, value in evaluated.items() if key in own},
    )


def evaluated_with(run: Run, section: str, **arguments: Any) -> Run:
    """The run with other test-time arguments, and so with the same trained model.

    Raises:
        ValueError: the model cannot be evaluated with them, or evaluation would make no use of one; the message names
            the section that they come from.
    """
    _, test = arguments_of(run.method_class, run.config["model"], run.config["test"] | arguments)
    changed = dataclasses.replace(run, config=run.config | {"test": test})
    check_evaluated(changed, section)
    return changed


def check_evaluated(run: Run, section: str) -> None:
    """ValueError where the weights that are trained are not those of the network that is to be evaluated."""
    model, test = run.config["model"], run.config["test"]
    own = _as_built(run.method_class, json.dumps(model | test))  # its constructor's own checks, too
    if test.keys() <= set(run.method_class.test_time):
        return
    if own.weights != _as_built(run.method_class, json.dumps(model)).weights:
        axes = ", ".join(f"{key}={value}" for key, value in test.items() if key not in run.method_class.test_time)
        place = "model" if section == "test" else "curve.train"
        raise ValueError(f"{section}: {axes} is another network than the trained one: it belongs in {place}")
    for key in test:
        others = {other: value for other, value in test.items() if other != key}
        if key not in run.method_class.test_time and own == _as_built(run.method_class, json.dumps(model | others)):
            raise ValueError(f"{section}.{key}: {run.method} makes no use of it in evaluation")


def untrained(run: Run, num_classes: int = ANY_CLASSES) -> AdaptiveMethod:
    """A run's method as it is evaluated, to be looked at: nothing is allocated for its weights."""
    return _untrained(run.method_class, json.dumps(run.arguments), num_classes)


@functools.lru_cache(maxsize=32)
def _untrained(method_class: Any, arguments: str, num_classes: int) -> AdaptiveMethod:
    """Its constructor's own checks passed; built once for equal arguments: that takes most of the time of a check."""
    with without_weights():
        return build_method(method_class, num_classes, json.loads(arguments))


class Built(NamedTuple):
    """What a method's arguments make of it."""

    weights: dict[str, torch.Size]
    views: dict[str, View]
    actions: tuple[Action, ...]


@functools.cache
def _as_built(method_class: Any, arguments: str) -> Built:
    method = _untrained(method_class, arguments, ANY_CLASSES)
    weights = {key: value.shape for key, value in method.state_dict().items()}
    return Built(weights, dict(method.views), method.actions.kinds)


def _filled(recipe: Recipe) -> dict[str, Any]:
    """The recipe with every default filled in, those of the stages that it describes too."""
    stage = {field.name: _default(field) for field in dataclasses.fields(Stage) if field.name not in ("name", "train")}
    stage = {key: value for key, value in stage.items() if value is not dataclasses.MISSING} | recipe.stage
    filled = dataclasses.asdict(recipe) | {"stage": stage}
    if recipe.warmup is not None:
        filled["warmup"] = {name: of if of is None else stage | of for name, of in recipe.warmup.items()}
    return filled


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def shared_backbones(run: Run, **changes: Any) -> tuple[BackboneSpec, ...]:
    """The networks that a run's method starts from; `changes` replace settings of the model, as plain values."""
    return _checked_method(
        run.method_class, json.dumps(run.config["model"] | changes), json.dumps(run.config["stages"])
    )


@functools.cache
def _checked_method(method_class: Any, model: str, stages: str) -> tuple[BackboneSpec, ...]:
    """The constructor's own checks, and the stages'. Returns the shared backbones."""
    method = _untrained(method_class, model, ANY_CLASSES)
    checked = [build(Stage, stage, "stages") for stage in json.loads(stages)]
    for stage in checked:
        method.enter(stage)
    _check_all_learn(method, checked)
    return tuple(method.shared_backbones().values())


def _check_all_learn(method: AdaptiveMethod, stages: Sequence[Stage]) -> None:
    """ValueError where a network starts from nothing and no stage trains it."""
    known = [*method.shared_backbones(), *(name for stage in stages for name in stage.train)]
    for name, _ in method.named_parameters():
        if not any(name.startswith(f"{part}.") for part in known):
            raise ValueError(
                f"stages: none trains {name.rpartition('.')[0]}; they train {', '.join(dict.fromkeys(known))}"
            )


def _check_curve(run: Run) -> None:
    """ValueError where an axis of the curve is no argument of the method, or a value not one that it takes."""
    arguments = schema(run.method_class, NOT_OF_THE_USER)
    types = {field.name: (field.name, field.type) for field in dataclasses.fields(arguments)}
    for part, grids in run.config["curve"].items():
        check_known(part, ("train", "test"), f"curve.{part}")
        for axes in grids if isinstance(grids, list) else [grids]:
            if axes is not None and not isinstance(axes, dict):
                raise ValueError(f"curve.{part}: expected settings, curve.{part}.argument=[values], got {axes!r}")
            for axis, values in (axes or {}).items():
                check_known(axis, types, f"curve.{part}.{axis}")
                if part == "train" and axis in run.method_class.test_time:
                    expected = f"did you mean 'curve.test.{axis}'?"
                    raise ValueError(f"curve.train.{axis}: training makes no use of it; {expected}")
                if values is not None and (not isinstance(values, list) or not values):
                    raise ValueError(f"curve.{part}.{axis}: expected a list of values, got {values!r}")
                for value in values or []:
                    build(dataclasses.make_dataclass("Axis", [types[axis]]), {axis: value}, f"curve.{part}")
    for point in grid(run.config["curve"].get("train")):
        shared_backbones(run, **point)  # its constructor's own checks


def _check_usage(run: Run, name: str) -> None:
    """ValueError where a usage has shares of unknown actions, or shares that are none."""
    shares = run.config["usage"].get(name)
    if not isinstance(shares, dict):
        raise ValueError(f"usage.{name}: expected settings, usage.{name}.action=share, got {shares!r}")
    check_shares(untrained(run).actions, shares)


@functools.cache
def check_trainer(settings_json: str) -> int:
    """What Lightning is to do must be the user's to say, and possible on this machine; equal settings are tried once.

    Returns:
        the number of devices, over all nodes.

    Raises:
        ValueError: an argument that is unknown, the runner's own or of no use here, or a combination that Lightning
            refuses.
    """
    settings = json.loads(settings_json)
    build(TrainerSettings, settings, "trainer")
    for key, value in settings.items():
        if key.startswith("limit_") and value == 0 and key != "limit_val_batches":
            raise ValueError(f"trainer.{key}: expected one batch or more, got 0")
    try:
        trainer = planned_trainer(settings, logger=False, enable_checkpointing=False)
    except (ValueError, TypeError, RuntimeError, MisconfigurationException, ImportError) as error:
        raise ValueError(f"trainer: {' '.join(str(error).split())}") from None
    if trainer.precision != settings.get("precision", trainer.precision):
        precision = settings["precision"]
        raise ValueError(
            f"trainer.precision: {precision} is not to be had on this device, which takes {trainer.precision}"
        )
    num_devices = trainer.num_devices * trainer.num_nodes
    for key, neutral in {"strategy": "auto", "sync_batchnorm": False}.items():
        if num_devices == 1 and settings.get(key, neutral) != neutral:
            raise ValueError(f"trainer.{key}: it is for several devices, trainer.devices says one")
    if settings.get("sync_batchnorm") and trainer.strategy.root_device.type != "cuda":
        raise ValueError("trainer.sync_batchnorm: expected GPUs; torch has it for no other device")
    return num_devices


def _check_effect(run: Run, without: Run, key: str) -> None:
    """ValueError where a setting of the recipe changed the recipe and nothing that the run computes."""
    if run.config["recipe"] != without.config["recipe"] and effect(run) == effect(without):
        raise ValueError(f"{key}: {run.label} makes no use of it in profile {run.profile}")


def effect(run: Run) -> str:
    """A hash of all that a run's recipe can change: with equal ones, two runs train and evaluate alike."""
    specs = _networks(run)
    warmups = [warmup_of(run, spec).config for spec in specs] if run.recipe.warmup is not None else []
    own = {key: run.config[key] for key in ("model", "stages", "test", "curve", "weights")}
    start = {key: run.config["recipe"][key] for key in OF_ALL_TRAINING}
    return config_hash(own | start | {"warmups": warmups, "specs": [str(spec) for spec in specs]})


def grid(axes: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Every combination of the axes' values, the last axis fastest; an axis that is null is none.

    Of several grids, one after the other: points that differ in kind, such as single rungs beside whole ladders.
    """
    if isinstance(axes, Sequence):
        return [point for part in axes for point in grid(part)]
    points: list[dict[str, Any]] = [{}]
    for axis, values in (axes or {}).items():
        if values is not None:
            points = [point | {axis: value} for point in points for value in values]
    return points


def like(run: Run, label: str) -> Run:
    """Another method, or method@variant, under the run's own recipe, data, trainer and seed: its baseline."""
    method, _, variant = label.partition("@")
    shared = {section: run.config[section] for section in ("recipe", "data", "trainer")}
    return compose(method, run.data_request, run.profile, variant, seed=run.seed, shared=shared)


def data_name(data: str) -> str:
    """What results call a data set: its kind, and of a user's own the last part of its path, cut where it is long."""
    kind, _, path = data.partition(":")
    name = f"{kind}-{Path(path).stem}" if path else kind
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{config_hash({'name': name})}"


def _weights(run: Run) -> dict[str, str]:
    """Digests of the files that the pretrained networks start from, by network; none where they are fetched.

    Of all networks of the pyramid, too: methods that share a recipe start from the same files.

    Raises:
        ValueError: a file is not there.
    """
    recipe = run.recipe
    if recipe.weights is None or not recipe.pretrained:
        return {}
    specs = [*recipe.pyramid, *_networks(run)]
    files = {spec.name: weights_file(spec.name, Path(recipe.weights)) for spec in specs}
    found = {name: file for name, file in sorted(files.items()) if file is not None}
    digests = content_hashes(found.values(), run.catalogue.contents)
    for name, file in found.items():
        if digests[file] is None:
            raise ValueError(f"recipe.weights: {file}: expected the weights of {name}, it cannot be read")
    return {name: str(digests[file]) for name, file in found.items()}


def _networks(run: Run) -> list[BackboneSpec]:
    """The networks that a run and the points of its curve start from, each once."""
    points = grid(run.config["curve"].get("train"))
    return list(dict.fromkeys(spec for point in points for spec in shared_backbones(run, **point)))


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
    """The run that fine-tunes a shared backbone, from raw weights, nothing of the method in it.

    The recipe's `warmup_methods` says which method does it: one for networks of frames or clips, one for those with
    temporal shift, which read whole videos.
    """
    assert run.recipe.warmup is not None
    # Its values alone: the recipe's lists of networks, of which none is meant, would take most of the time.
    recipe = {key: value for key, value in run.config["recipe"].items() if not isinstance(value, dict | list)}
    known = {"recipe": recipe, "network": dataclasses.asdict(spec)}
    how = OmegaConf.to_container(OmegaConf.merge(known, _warmup_method(spec)), resolve=True)
    assert isinstance(how, dict)
    stages = [
        make_stage(name, run.recipe.stage, {"train": how["train"]}, stage)
        for name, stage in run.recipe.warmup.items()
        if stage is not None
    ]
    method_class = locate(how["target"])
    config = {
        "target": how["target"],
        "recipe": {key: run.config["recipe"][key] for key in OF_ALL_TRAINING},
        "weights": {name: digest for name, digest in run.config["weights"].items() if name == spec.name},
        "model": dataclasses.asdict(build(schema(method_class, NOT_OF_THE_USER), how["model"], "model")),
        "stages": [dataclasses.asdict(stage) for stage in stages],
        "data": run.config["data"],
        "trainer": run.config["trainer"],
        "seed": run.seed,
        "data_name": run.data,
        **{key: run.config[key] for key in ("num_devices",) if key in run.config},
    }
    return dataclasses.replace(
        run, method="warmup", variant="", config=config, method_class=method_class, stages=stages
    )


def _warmup_method(spec: BackboneSpec) -> DictConfig:
    """Who fine-tunes a shared backbone, as the recipe's file says it."""
    methods: DictConfig = recipe_file().content.warmup_methods
    return methods["videos" if spec.num_segments else "frames"]
