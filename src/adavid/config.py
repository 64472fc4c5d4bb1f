"""Configuration: layers of YAML and command line, checked against the signatures of what they configure.

A class's constructor is the schema of its section: no key, type or choice is accepted that its signature does not have.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import hashlib
import importlib
import inspect
import json
import typing
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

# What a run's identity does not depend on.
INCIDENTAL = {
    "recipe": {"pyramids", "family", "weights"},  # `pyramid` is what was taken of them; the files' contents count
    "model": {"seed"},  # the run's own, for methods that draw in evaluation
    # The videos are known by their contents, and by the format that they were prepared in; whose turn a fold is follows
    # from the seed.
    "data": {"num_workers", "cache", "contents", "prepared", "root", "num_processes", "path", "videos", "turn"},
    # Which devices, and how they work together; how many there are counts, as `num_devices` where they are several.
    "trainer": {"enable_progress_bar", "devices", "num_nodes", "strategy"},
    "imported": {"file"},  # the weights are known by their contents
}

# Settings that came when there were records already, each with its neutral value, under which the code does what it did
# before: at that value it is in no hash. "recipe.key", "data.key" and "trainer.key" name a section's, "stages.key" what
# any stage sets, "network.key" what the description of a network says, "ARNet.key" an argument of a method's class.
ADDED: dict[str, Any] = {
    "recipe.draws": 0,
    "stages.videos": "all",
    "data.annotations": "",
    "trainer.sync_batchnorm": False,
    "data.short_videos": "spread",
    "data.frame_rate": 0.0,
    "data.per_second": 0.0,
    "ARNet.lowest": "feature",
    "ARNet.cell_moves": False,
    "ARNet.nearest": False,
    "ARNet.policy_dropout": 0.0,
    "SoFNet.nearest_from": 0,
    "SoFNet.ends_when_used": False,
    "FrameExit.first_threshold": 0.0,
    "FrameExitOnline.first_threshold": 0.0,
    "OCSampler.nearest": False,
}

MOST_NAMED = 24  # in one error message


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known word, or all of them, as far as a line has room."""
    known = sorted(known)
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if match:
        return f"did you mean '{match[0]}'?"
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return f"there is {', '.join(known[:MOST_NAMED]) or 'none'}{more}"


def locate(target: str) -> Any:
    """The object behind `module.path:Name`.

    Raises:
        ValueError: no such module or name.
    """
    module_name, _, name = target.partition(":")
    if not name:
        raise ValueError(f"'{target}': expected module.path:Name")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not (error.name and module_name.startswith(error.name)):
            raise  # the module is there, something that it needs is not
        raise ValueError(f"'{target}': no module '{error.name}'") from None
    if not hasattr(module, name):
        raise ValueError(f"'{target}': {module_name} has no '{name}'; {nearest(name, dir(module))}")
    return getattr(module, name)


@lru_cache
def schema(cls: type, without: tuple[str, ...] = ()) -> type:
    """A dataclass with a constructor's parameters as fields: what OmegaConf checks keys, types and choices against.

    A constructor that takes `**kwargs` passes them on to its base class, whose parameters join.
    """
    fields: dict[str, Any] = {}
    for base in cls.__mro__:
        parameters = inspect.signature(base.__init__).parameters  # type: ignore[misc]
        hints = typing.get_type_hints(base.__init__)  # type: ignore[misc]
        for name, parameter in parameters.items():
            if name in ("self", *without, *fields) or parameter.kind in (
                parameter.VAR_KEYWORD,
                parameter.VAR_POSITIONAL,
            ):
                continue
            fields[name] = (name, _concrete(hints[name]))
            if parameter.default is not parameter.empty:
                fields[name] += (dataclasses.field(default_factory=partial(_plain, parameter.default)),)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return dataclasses.make_dataclass(cls.__name__, fields.values(), kw_only=True)


def build(target: type, values: Mapping[str, Any], section: str) -> Any:
    """An object of the dataclass `target` from plain values.

    Raises:
        ValueError: an unknown key (with the nearest name), a value of the wrong type, or one that the dataclass
            refuses; the message starts with the section and the key.
    """
    known = [field.name for field in dataclasses.fields(target)]
    for key in values:
        if key not in known:
            raise ValueError(f"{section}.{key} is unknown; {nearest(key, known)}")
    try:
        return copy.deepcopy(_built(target, json.dumps(values)))
    except OmegaConfBaseException as error:
        raise ValueError(f"{section}.{one_line(error)}") from None


@lru_cache(maxsize=4096)
def _built(target: type, values_json: str) -> Any:
    """Slow, and asked for again and again: all runs of a benchmark share most of their settings."""
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(target), json.loads(values_json)))


def parse_overrides(words: Sequence[str]) -> DictConfig:
    """`section.key=value` words as a config layer.

    Raises:
        ValueError: a word without `=`, or a key twice.
    """
    words = [word.removeprefix("--") for word in words]
    keys = [word.partition("=")[0] for word in words]
    for word, key in zip(words, keys, strict=True):
        if "=" not in word:
            raise ValueError(f"'{word}': expected key=value, for example model.alpha=0.2")
        if keys.count(key) > 1:
            raise ValueError(f"{key}: expected once, given {keys.count(key)} times")
    try:
        return OmegaConf.from_dotlist(list(words))
    except (OmegaConfBaseException, ValueError, YAMLError) as error:
        raise ValueError(f"{' '.join(words)}: {one_line(error)}") from None


def load_yaml(path: Path) -> DictConfig:
    """One YAML file as a config layer, parsed once; not to be changed.

    Raises:
        ValueError: it is no YAML, or holds no mapping.
    """
    return _parsed(path, path.stat().st_mtime_ns)


@cache
def _parsed(path: Path, changed: int) -> DictConfig:
    try:
        config = OmegaConf.load(path)
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(config, DictConfig):
        raise ValueError(f"{path}: expected a mapping")
    return config


def config_hash(config: Any) -> str:
    """Eight hexadecimal digits of everything in a plain, JSON-like config."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def essential(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration, or some sections of one, without what makes no difference to the result.

    That is what is incidental, what was added later and is neutral, and sections in which nothing is left.
    """
    method = str(config.get("target", "")).rpartition(":")[2]
    sections = {
        name: {key: value for key, value in section.items() if key not in INCIDENTAL[name]}
        if name in INCIDENTAL
        else section
        for name, section in config.items()
    }
    left: dict[str, Any] = _without_neutral(sections, (), method)
    return {name: section for name, section in left.items() if section not in ({}, [], None)}


def without_folders(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as others may read it: of what is incidental, the folders of this machine by their last name."""

    def shown(value: Any) -> Any:
        return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value

    return {
        name: {key: shown(value) if key in INCIDENTAL[name] else value for key, value in section.items()}
        if name in INCIDENTAL
        else section
        for name, section in config.items()
    }


def _without_neutral(value: Any, path: tuple[Any, ...], method: str) -> Any:
    """A part of a configuration, at a path of keys and indices, without settings that were added and are neutral."""
    if isinstance(value, Mapping):
        owners = {key: _owner((*path, key), method) for key in value}
        return {
            key: _without_neutral(of, (*path, key), method)
            for key, of in value.items()
            if (name := f"{owners[key]}.{key}") not in ADDED or of != ADDED[name]
        }
    if isinstance(value, list | tuple):
        return [_without_neutral(of, (*path, i), method) for i, of in enumerate(value)]
    return value


def _owner(path: tuple[Any, ...], method: str) -> str:
    """Whose setting stands at a path, as `ADDED` names it."""
    match path:
        case ("stages", _, _) | ("recipe", "stage", _) | ("recipe", "warmup", _, _):
            return "stages"
        case ("model" | "test", _):
            return method
        case ("recipe" | "data" | "trainer", _):
            return str(path[0])
        case ("model" | "test", *_) | ("recipe", "pyramid" | "pyramids", *_):
            return "network"
    return ""


def one_line(error: Exception) -> str:
    """An error's message without OmegaConf's further lines, but with the key that it names."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    key = next((line.removeprefix("full_key: ") for line in lines if line.startswith("full_key: ")), "")
    return f"{key}: {lines[0]}" if key else lines[0]


def _concrete(annotation: Any) -> Any:
    """Sequence[X] as list[X] and Mapping as dict: OmegaConf knows concrete containers alone."""
    origin, arguments = (
        typing.get_origin(annotation),
        tuple(_concrete(a) for a in typing.get_args(annotation)),
    )
    if origin is None or origin is typing.Literal:
        return str if annotation is Path else annotation
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return dict[arguments[0], arguments[1]]  # type: ignore[valid-type]
    if origin is tuple or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return list[arguments[0]]  # type: ignore[valid-type]
    if type(None) in arguments:
        return arguments[0] | None
    return annotation


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
