"""The README is true: its method keeps the contracts as it stands, and what its commands name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import methods
from adavid.cost import Ledger, audit
from benchmarks.compose import compose
from benchmarks.layers import catalogue
from tests.conftest import NUM_CLASSES, opinionated, random_batch, random_decisions

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
FOLDERS = "benchmarks|datamodules|docs|methods|results|src|tests"
RECORDS = ROOT / "results" / "reference" / "sprites" / "tiny"
GENERATED = ("results/leaderboard", "results/runs", "results/exported")


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
    monkeypatch.setattr("benchmarks.layers.ROOT", folder)
    monkeypatch.setattr(methods, "__path__", [str(folder / "methods"), *methods.__path__])
    return name


@pytest.mark.parametrize("place", [outside, inside])
@torch.no_grad()
def test_the_example_keeps_the_contracts(place, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    name = place(tmp_path, monkeypatch)
    assert f"METHOD={name}" in README
    method = opinionated(compose(name).build_method(NUM_CLASSES))  # composing has entered every stage
    batch = random_batch(method, 3)
    for forced in (None, random_decisions(method, batch)):
        answers = []
        for dense in (False, True):
            ledger = Ledger(3)
            with audit() as counter:
                answers.append(method(batch, ledger, forced=forced, dense=dense))
            assert counter.macs == ledger.audited_total_B.sum() > 0
        sparse, dense_answer = answers
        assert torch.equal(sparse.action_BT, dense_answer.action_BT)
        torch.testing.assert_close(sparse.logits_BK, dense_answer.logits_BK, rtol=1e-5, atol=1e-5)


def test_the_example_halves_the_video_not_its_padding(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    method = compose(outside(tmp_path, monkeypatch)).build_method(NUM_CLASSES).eval()
    batch = random_batch(method, 2)
    num_frames = batch.mask["frames"].shape[1]
    batch.mask["frames"][1, 4:] = False
    action_BT = method(batch, Ledger(2)).action_BT
    half = num_frames // 2
    assert action_BT.tolist() == [[0] * half + [1] * half, [0, 0, 1, 1] + [-1] * (num_frames - 4)]


def test_commands_and_their_variables_are_in_the_makefile() -> None:
    named = set(re.findall(r"(?:`|^    )make ([a-z-]+)", README, re.M))
    assert "bench" in named and named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.M))
    taken = set(re.findall(r"\$\(([A-Z]+)\)|GIVEN_AS,([A-Z]+),", MAKEFILE))
    assert set(re.findall(r"\b([A-Z]+)=", README)) <= {name for names in taken for name in names}


def test_names_and_settings_are_known() -> None:
    named = set(re.findall(r"\b(?:METHOD|A|B)=([\w.:]+)", README))
    outside_catalogue = {"all", "first_half", "my_package.my_method:FirstHalf"}
    assert named - outside_catalogue <= set(catalogue())
    assert {name.partition(":")[0] for name in re.findall(r"DATA=(\w+)", README)} <= set(catalogue("datamodules"))
    for variant, profile in re.findall(r"VARIANT=(\w+)(?: PROFILE=(\w+))?", README):
        compose("arnet", variant=variant, profile=profile or "tiny")
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


def test_without_records_no_figures_are_shown() -> None:
    if not any(RECORDS.glob("*/*/seed*/test.json")):
        for table in re.findall(r"<!-- table: .*?-->(.*?)<!-- end of table -->", README, re.S):
            assert "|" not in table and not re.search(r"\d\.\d", table)
