"""Configuration: signatures as schemas, and errors that name the key and the nearest word."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pytest
from omegaconf import OmegaConf

from adavid.config import (
    build,
    config_hash,
    essential,
    load_yaml,
    locate,
    nearest,
    parse_overrides,
    schema,
    without_folders,
)
from adavid.networks.backbones import BackboneSpec


class Base:
    def __init__(self, width: int, cache: str | None = None, scales: Sequence[float] = (1, 0.5)) -> None:
        pass


class Derived(Base):
    def __init__(self, root: Path = Path("data"), kind: Literal["a", "b"] = "a", **kwargs: Any) -> None:
        pass


class Model:
    def __init__(self, num_classes: int, backbones: Sequence[BackboneSpec], shares: Mapping[str, float]) -> None:
        pass


@dataclass
class Range:
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")


def test_schema_is_the_signature_and_its_bases() -> None:
    target = schema(Derived, without=("width",))
    assert [field.name for field in fields(target)] == ["root", "kind", "cache", "scales"]
    assert vars(build(target, {}, "data")) == {"root": "data", "kind": "a", "cache": None, "scales": [1.0, 0.5]}
    assert [field.name for field in fields(schema(Base))] == ["width", "cache", "scales"]
    first, second = (build(schema(Base), {"width": 1}, "data") for _ in range(2))
    assert first.scales is not second.scales


def test_build_converts_and_nests() -> None:
    values = {"backbones": [{"name": "narrow/8-16-32", "size": "24"}], "shares": {"skip-1": "0.5"}}
    model = build(schema(Model, ("num_classes",)), values, "model")
    assert model.backbones == [BackboneSpec("narrow/8-16-32", 24)] and model.shares == {"skip-1": 0.5}
    assert build(schema(Base), {"width": "3", "cache": "x"}, "data").width == 3


@pytest.mark.parametrize(
    ("target", "values", "words"),
    [
        (schema(Base), {"widht": 3}, r"^data\.widht is unknown; did you mean 'width'\?$"),
        (schema(Base), {"zzz": 3}, r"^data\.zzz is unknown; there is cache, scales, width$"),
        (schema(Base), {"width": "wide"}, r"^data\.width: .*wide"),
        (schema(Base), {"width": 1.5}, r"^data\.width: .*1\.5"),
        (schema(Base), {"width": 1, "scales": [1, "half"]}, r"^data\.scales\[1\]: .*half"),
        (schema(Base), {}, r"^data\.width: "),
        (schema(Derived), {"width": 1, "kind": "c"}, r"^data\.kind: .*c"),
        (schema(Model, ("num_classes",)), {"backbones": [{"name": "x", "sise": 1}]}, r"^data\..*sise.*size"),
        (Range, {"low": 2.0}, "^low 2.0 is above high 1.0$"),
    ],
)
def test_build_errors_name_the_key(target: type, values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        build(target, values, "data")
    assert "\n" not in str(error.value)


def test_parse_overrides() -> None:
    words = ["model.alpha=0.2", "--model.skips=[1,2]", "recipe.pretrained=false", "data.cache=null", "data.root=a=b"]
    config = OmegaConf.to_container(parse_overrides(words))
    assert config == {
        "model": {"alpha": 0.2, "skips": [1, 2]},
        "recipe": {"pretrained": False},
        "data": {"cache": None, "root": "a=b"},
    }


@pytest.mark.parametrize("word", ["model.alpha", "model.alpha:2", "model.skips=[1,", "model.skips={"])
def test_override_errors_name_the_word(word: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_overrides(["seed=1", word])
    assert word in str(error.value) and "\n" not in str(error.value)


def test_locate() -> None:
    assert locate("adavid.config:locate") is locate
    for target, words in (
        ("adavid.config", "'adavid.config': expected module.path:Name"),
        ("adavid.config:locat", r"adavid\.config has no 'locat'; did you mean 'locate'\?"),
        ("adavid.confg:locate", r"'adavid\.confg:locate': no module 'adavid\.confg'"),
        ("nowhere.at.all:X", "no module 'nowhere'"),
    ):
        with pytest.raises(ValueError, match=words):
            locate(target)


def test_a_missing_dependency_is_not_a_missing_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy.py").write_text("import not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed"):
        locate("needy:X")


def test_nearest() -> None:
    assert nearest("sprite", ["sprites", "folder"]) == "did you mean 'sprites'?"
    assert nearest("q", ["sprites", "folder"]) == "there is folder, sprites"
    assert nearest("q", []) == "there is none"
    assert nearest("q", (f"{i:02}" for i in range(30))).endswith(", 22, 23 and 6 more")


def test_load_yaml_and_hash(tmp_path: Path) -> None:
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    with pytest.raises(ValueError, match=r"list\.yaml: expected a mapping"):
        load_yaml(path)
    path.write_text("b: 1\na: {x: 2.5}\n")
    config = OmegaConf.to_container(load_yaml(path))
    assert config_hash(config) == config_hash({"a": {"x": 2.5}, "b": 1}) != config_hash({"a": {"x": 2}, "b": 1})
    assert len(config_hash(math.pi)) == 8


def test_the_folders_of_a_machine_are_in_no_record() -> None:
    config = {
        "data": {"path": "/home/jane/ucf101", "contents": "cache/contents.sqlite", "turn": None, "fold": 1},
        "recipe": {"weights": "/mnt/weights", "draws": 2},
        "model": {"ladder": "/of/a/method"},
        "target": "methods.uniform:Uniform",
    }
    told = without_folders(config)
    assert told["data"] == {"path": "ucf101", "contents": "cache/contents.sqlite", "turn": None, "fold": 1}
    assert told["recipe"] == {"weights": "weights", "draws": 2} and told["model"] == config["model"]
    assert essential(told) == essential(config)
