"""The README is true: its method keeps the contracts as it stands, and what its commands name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import methods
from benchmarks.compose import catalogue, compose
from tests.methods import test_contracts as contracts

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
FOLDERS = "benchmarks|datamodules|docs|methods|results|src|tests"
GENERATED = ("results/leaderboard", "results/runs")


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)
    return text


def write_example(stem: Path, target: str) -> None:
    stem.parent.mkdir()
    stem.with_suffix(".py").write_text(block("python"), encoding="utf-8")
    yaml = re.sub("^target: .*", f"target: {target}", block("yaml"), flags=re.M)
    stem.with_suffix(".yaml").write_text(yaml, encoding="utf-8")


def outside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The example as a package of its own; returns its METHOD."""
    (target,) = re.findall("^target: (.*)", block("yaml"), re.M)
    write_example(folder / target.partition(":")[0].replace(".", "/"), target)
    monkeypatch.syspath_prepend(folder)
    return target


def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The example as a file in methods/; returns its METHOD."""
    (target,) = re.findall(r"`target: (methods\.\w+:\w+)`", README)
    name = target.partition(":")[0].removeprefix("methods.")
    write_example(folder / "methods" / name, target)
    for other in ("benchmarks", "datamodules"):
        (folder / other).symlink_to(ROOT / other)
    monkeypatch.setattr("benchmarks.compose.ROOT", folder)
    monkeypatch.setattr(methods, "__path__", [str(folder / "methods"), *methods.__path__])
    return name


@pytest.mark.parametrize("place", [outside, inside])
def test_the_example_keeps_the_contracts(place, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    method = place(tmp_path, monkeypatch)
    assert f"METHOD={method}" in README
    run = compose(method)
    assert run.method_class.__name__ == "FirstHalf"
    contracts.test_sparse_and_dense_routing_agree(run)
    contracts.test_the_bill_is_what_an_independent_counter_sees(run)
    contracts.test_a_video_is_treated_alike_in_any_company(run)
    contracts.test_evaluation_is_deterministic(run)
    contracts.test_every_stage_trains_what_it_names_and_nothing_else(run)


def test_commands_and_their_variables_are_in_the_makefile() -> None:
    named = set(re.findall(r"(?:`|^    )make ([a-z-]+)", README, re.M))
    assert "bench" in named and named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
    assert set(re.findall(r"\b([A-Z]+)=", README)) <= set(re.findall(r"\$\(([A-Z]+)\)", MAKEFILE))


def test_names_and_settings_are_known() -> None:
    named = set(re.findall(r"\b(?:METHOD|A|B)=([\w.:]+)", README))
    outside_catalogue = {"all", "first_half", "my_package.my_method:FirstHalf"}
    assert named - outside_catalogue <= set(catalogue())
    assert {name.partition(":")[0] for name in re.findall(r"DATA=(\w+)", README)} <= set(catalogue("datamodules"))
    for variant in re.findall(r"VARIANT=(\w+)", README):
        compose("arnet", variant=variant)
    for profile in re.findall(r"PROFILE=(\w+)", README):
        compose("arnet", profile=profile)
    for usage in re.findall(r"USAGE=(\w+)", README):
        assert usage in compose("arnet", profile="paper").config["usage"]
    for words in re.findall(r'ARGS="([^"/]+)"', README):  # those without a path on the reader's disk
        compose("arnet", overrides=words.split())


def test_paths_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    paths = re.findall(rf"(?<![\w./-])(?:{FOLDERS})/[\w./-]*", README)
    named = {path.rstrip(".") for path in links + paths}
    assert {"methods/arnet.py", "CONTRIBUTING.md"} <= named
    missing = [path for path in sorted(named) if not path.startswith(GENERATED) and not (ROOT / path).exists()]
    assert not missing
