"""The layers of a run's settings: which files and words set what, each over those before it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from adavid.config import load_yaml, locate, nearest, one_line

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "benchmarks" / "recipe.yaml"
BASELINE = "uniform"  # the method that every other is compared with, timed beside and watched beside
OF_THE_RUN = ("seed", "cache")  # what `${seed}` and `${cache}` stand for
OWN = "the run"  # the name of the layer that says them
# What a method decides for each video, as its YAML says; "other" where it says nothing.
APPROACHES = ("none", "resolution", "gate", "selection", "walk", "exit", "patch", "other")
SECTIONS = ("recipe", "model", "stages", "test", "data", "trainer", "curve", "usage", "search")


@dataclass(frozen=True)
class Layer:
    """Settings from one place.

    Attributes:
        name: the place, as a reader finds it.
        values: by section.
    """

    name: str
    values: DictConfig


@dataclass(frozen=True)
class SettingsFile:
    """A YAML file of settings.

    Attributes:
        path: of the file.
        content: what it holds, by key.
    """

    path: Path
    content: DictConfig
    _layers: dict[tuple[str, ...], Layer] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def read(cls, path: Path, *keys: str) -> SettingsFile:
        """A file that holds sections and the keys named; read once, as every run asks for it.

        Raises:
            ValueError: it holds something else.
        """
        return _read(path, path.stat().st_mtime_ns, keys)

    def layer(self, *keys: str) -> Layer:
        """What stands under the keys, one inside the other; without any, its sections; not to be changed."""
        if keys not in self._layers:
            self._layers[keys] = self._made_layer(*keys)
        return self._layers[keys]

    def _made_layer(self, *keys: str) -> Layer:
        values: Any = self.content
        for i, key in enumerate(keys):
            values = values.get(key) or {}
            if not OmegaConf.is_dict(values) and not isinstance(values, dict):
                raise ValueError(f"{shown(self.path)}: {'.'.join(keys[: i + 1])}: expected settings, got {values!r}")
        if not keys:
            values = OmegaConf.masked_copy(self.content, [key for key in self.content if key in SECTIONS])
        elif "profiles" in values:  # a variant's own, which come over it
            values = OmegaConf.masked_copy(values, [key for key in values if key != "profiles"])
        return Layer(", ".join([shown(self.path), *map(_place, keys[::2], keys[1::2])]), OmegaConf.create(values))

    def names(self, key: str) -> list[str]:
        """The names under a key, such as `variants`, in the file's order."""
        return [str(name) for name in self.content.get(key) or {}]


@cache
def _read(path: Path, changed: int, keys: tuple[str, ...]) -> SettingsFile:
    content = load_yaml(path)
    for key in map(str, content):
        check_known(key, (*keys, *SECTIONS), f"{shown(path)}: '{key}'")
    return SettingsFile(path, content)


@dataclass(frozen=True)
class MethodFiles:
    """The YAML of a method, and those that it extends, which come first: it reads as if it stood below them.

    Attributes:
        name: what results call the method.
        files: the last one is the method's own.
        target: its class, `module.path:Name`.
    """

    name: str
    files: tuple[SettingsFile, ...]
    target: str

    @property
    def same_as(self) -> dict[str, str]:
        """The profiles in which another method of the catalogue is the same run, and which one."""
        return {str(profile): str(other) for profile, other in (self.files[-1].content.get("same_as") or {}).items()}

    @cached_property
    def variants(self) -> tuple[str, ...]:
        """The names of its variants; one that a file sets to null is none."""
        known: dict[str, bool] = {}
        for file in self.files:
            known |= {name: file.content.variants[name] is not None for name in file.names("variants")}
        return tuple(name for name, is_there in known.items() if is_there)

    def layers_of_variant(self, variant: str, profile: str) -> list[Layer]:
        """What a variant changes in a profile; nothing where it is the method itself."""
        anywhere = self.layers("variants", variant)
        return [*anywhere, *self.layers("variants", variant, "profiles", profile)]

    def variants_in(self, profile: str) -> tuple[str, ...]:
        """The variants that change something in a profile."""
        return tuple(variant for variant in self.variants if self.layers_of_variant(variant, profile))

    def layers(self, *keys: str) -> list[Layer]:
        """What each of the files says under the keys."""
        return [layer for file in self.files if (layer := file.layer(*keys)).values]

    def stage_order(self) -> list[str]:
        """The stages in the order in which they run.

        Raises:
            ValueError: a file adds stages to those that it extends and does not name all of them, in order.
        """
        order: list[str] = []
        for file in self.files:
            own = file.names("stages")
            if set(own) - set(order) and set(order) - set(own):
                raise ValueError(
                    f"{shown(file.path)}: stages: expected all of {', '.join(order)} beside the new ones, in order"
                )
            order = own if set(own) - set(order) else order
        return order

    @property
    def approach(self) -> str:
        """What it decides, one of `APPROACHES`: the last file that says it."""
        return str(self._last_said("approach", "other"))

    @property
    def is_online(self) -> bool:
        """Whether it decides about a frame from this one and those before it alone: the last file that says it."""
        return bool(self._last_said("online", False))

    @cached_property
    def baselines(self) -> tuple[str, ...]:
        """The strongest baselines of its paper, as 'method' or 'method@variant': the last file that says them."""
        said = self._last_said("baselines", None)
        return () if said is None else checked_labels(said, f"{shown(self.files[-1].path)}: baselines")

    def _last_said(self, key: str, missing: Any) -> Any:
        """What the last file that has a key says under it."""
        return next((file.content[key] for file in reversed(self.files) if key in file.content), missing)


def catalogue(kind: str = "methods") -> list[str]:
    """The names in a folder of YAML files: `methods` or `datamodules`."""
    return sorted(path.stem for path in (ROOT / kind).glob("*.yaml"))


def methods_of(profile: str) -> list[str]:
    """The catalogue's methods in a profile, each run once: without those that are another one's in it."""
    return [name for name in catalogue() if profile not in method_files(name).same_as]


def recipe_file() -> SettingsFile:
    """The recipe that all methods share."""
    return SettingsFile.read(RECIPE, "profiles", "warmup_methods", "tune", "references", "room", "boards")


def profiles() -> list[str]:
    """The sizes of everything that the recipe knows."""
    return recipe_file().names("profiles")


def references() -> dict[str, tuple[str, ...]]:
    """What a claim has to beat at its own cost: by name, the methods whose operating points it is made of."""
    file = recipe_file()
    named = file.content.get("references") or {}
    return {str(name): checked_labels(of, f"{shown(RECIPE)}: references.{name}") for name, of in named.items()}


def room_networks(profile: str) -> str:
    """Whose networks the room is measured with in a profile: 'method' or 'method@variant'."""
    return checked_label(str(recipe_file().content.room[profile]), f"{shown(RECIPE)}: room.{profile}")


def checked_labels(labels: Any, what: str) -> tuple[str, ...]:
    """A list of methods, each 'method' or 'method@variant'.

    Raises:
        ValueError: it is no list, or names a method or a variant that there is none of.
    """
    if not OmegaConf.is_list(labels):
        raise ValueError(f"{what}: expected a list of methods, got {labels!r}")
    return tuple(checked_label(str(label), what) for label in labels)


def checked_label(label: str, what: str) -> str:
    """'method' or 'method@variant'; ValueError where there is no such method or variant."""
    method, _, variant = label.partition("@")
    check_known(method, catalogue(), f"{what}: method '{method}'")
    if variant:
        check_known(variant, method_files(method).variants, f"{what}: variant '{label}'")
    return label


def data_file(kind: str) -> SettingsFile:
    """The YAML of a data set of the catalogue."""
    check_known(kind, catalogue("datamodules"), f"data set '{kind}'")
    return SettingsFile.read(ROOT / "datamodules" / f"{kind}.yaml", "target")


def method_files(method: str) -> MethodFiles:
    """The YAML of a method of the catalogue, or of `package.module:Class`, which stands beside the class.

    Raises:
        ValueError: there is no such method, class or file, or a file holds what none does.
    """
    if ":" in method:
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        from adavid.method import AdaptiveMethod  # heavy, and needed here alone

        method_class = locate(method)
        if not (isinstance(method_class, type) and issubclass(method_class, AdaptiveMethod)):
            raise ValueError(f"method '{method}': expected a subclass of AdaptiveMethod")
        path = Path(inspect.getsourcefile(method_class) or "").with_suffix(".yaml")
        if not path.exists():
            raise ValueError(f"method '{method}': expected its settings in {path}")
        files = tuple(_with_extended(path))
        return MethodFiles(method.replace(":", "."), files, method)
    check_known(method, catalogue(), f"method '{method}'")
    files = tuple(_with_extended(ROOT / "methods" / f"{method}.yaml"))
    targets = [str(file.content.target) for file in files if "target" in file.content]
    if not targets:
        raise ValueError(f"{shown(files[-1].path)}: expected target, the method's class as module.path:Name")
    return MethodFiles(method, files, targets[-1])


def _with_extended(path: Path, extending: tuple[Path, ...] = ()) -> Iterator[SettingsFile]:
    """The files that a method's YAML extends, then its own."""
    if path in extending:
        raise ValueError(f"{shown(path)}: extends itself, by way of {' and '.join(map(shown, extending))}")
    keys = ("target", "extends", "approach", "online", "same_as", "profiles", "variants", "data_sets", "baselines")
    file = SettingsFile.read(path, *keys, "released")
    if "approach" in file.content:
        check_known(str(file.content.approach), APPROACHES, f"{shown(path)}: approach '{file.content.approach}'")
    if not isinstance(online := file.content.get("online", False), bool):
        raise ValueError(f"{shown(path)}: online: expected true or false, got {online!r}")
    for key, known in (("profiles", profiles()), ("same_as", profiles()), ("data_sets", catalogue("datamodules"))):
        for name in file.names(key):
            check_known(name, known, f"{shown(path)}: {key}.{name}")
    for variant in file.names("variants"):
        for name in map(str, file.layer("variants", variant, "profiles").values):
            check_known(name, profiles(), f"{shown(path)}: variants.{variant}.profiles.{name}")
    for profile, other in (file.content.get("same_as") or {}).items():
        check_known(str(other), catalogue(), f"{shown(path)}: same_as.{profile}: method '{other}'")
    if extended := file.content.get("extends"):
        check_known(extended, catalogue(), f"{shown(path)}: extends: method '{extended}'")
        yield from _with_extended(ROOT / "methods" / f"{extended}.yaml", (*extending, path))
    yield file


def merge(layers: Sequence[Layer]) -> dict[str, Any]:
    """The layers over each other, interpolations resolved, as plain values.

    Raises:
        ValueError: a section or an interpolation that there is none of, or a value where settings are expected.
    """
    for layer in layers:
        for section, values in layer.values.items():
            section = str(section)
            if section in OF_THE_RUN and layer.name == OWN:
                continue
            check_known(section, SECTIONS, f"'{section}'")
            if values is not None and not OmegaConf.is_dict(values):
                raise ValueError(f"{section}: expected settings, {section}.key=value, got {values!r}")
    try:
        empty = OmegaConf.create({section: {} for section in SECTIONS})
        config = OmegaConf.to_container(OmegaConf.merge(empty, *(layer.values for layer in layers)), resolve=True)
    except OmegaConfBaseException as error:
        raise ValueError(one_line(error)) from None
    assert isinstance(config, dict)
    return {str(section): {} if values is None else values for section, values in config.items()}


def set_by(layers: Sequence[Layer], *keys: str) -> str:
    """The name of the layer that set a value, and how, where it was taken from another value; "" where none did."""
    for layer in reversed(layers):
        values: Any = layer.values
        for key in keys[:-1]:
            values = values.get(key) if OmegaConf.is_dict(values) else None
        if OmegaConf.is_dict(values) and keys[-1] in values:
            raw = OmegaConf.to_container(values, resolve=False)
            assert isinstance(raw, dict)
            text = raw[keys[-1]]
            return f"{layer.name}: {text}" if isinstance(text, str) and "${" in text else layer.name
    return ""


def check_known(name: str, known: Collection[str], what: str) -> None:
    """ValueError with the nearest right name where `name` is not among those known."""
    if name not in known:
        raise ValueError(f"{what} is unknown; {nearest(name, known)}")


def shown(path: Path) -> str:
    """A file as a reader finds it: from the checkout's root where it lies there."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def _place(key: str, name: str) -> str:
    """('profiles', 'tiny') as 'profile tiny'."""
    words: Mapping[str, str] = {"profiles": "profile", "data_sets": "data set", "variants": "variant"}
    return f"{words.get(key, key)} {name}"
