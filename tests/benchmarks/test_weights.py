"""Pretrained weights from a folder, for machines that reach no hub: what a run starts from, and is known by."""

from __future__ import annotations

import json
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from benchmarks.__main__ import main
from benchmarks.compose import compose
from benchmarks.run import Run
from methods.uniform import Uniform
from tests.adavid.networks.test_backbones import write_weights
from tests.datamodules.test_ucf101 import write_copy

PYRAMID = ("resnet50-0676ba61.pth", "resnet34.safetensors", "resnet18-f37072fd.pth", "mobilenet_v2-b0353104.pth")
NETWORKS = {"resnet50": 64, "resnet34": 48, "resnet18": 40, "mobilenet_v2": 32}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of the paper profile's networks, made of random ones."""
    for file in PYRAMID:
        network = file.partition("-")[0].partition(".")[0]
        write_weights(f"torchvision/{network}", tmp_path / "weights" / file)
    return tmp_path / "weights"


def offline(*args: Any, **kwargs: Any) -> None:
    raise urllib.error.URLError("Name or service not known")


def composed(method: str, *words: str) -> Run:
    return compose(method, profile="paper", overrides=["trainer.accelerator=cpu", *words])


@pytest.mark.slow
def test_the_paper_profile_starts_from_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr(torchvision.models._api.WeightsEnum, "get_state_dict", offline)
    copy = write_copy(tmp_path)
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    words = [f"data.path={copy}", "recipe.batch_size=1", "trainer.fast_dev_run=true", "trainer.accelerator=cpu"]
    sizes = [{"name": f"torchvision/{name}", "size": size} for name, size in NETWORKS.items()]
    words += ["recipe.num_frames=2", f"recipe.pyramids.resnet={json.dumps(sizes)}"]  # for speed
    bench = ["bench", "--method", "arnet", "--profile", "paper", "--data", "ucf101", *folders, *words]
    assert main(bench) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("adavid: backbone 'torchvision/resnet50': its pretrained weights cannot be fetched")
    assert "recipe.weights=/folder takes files" in message
    assert main([*bench, f"recipe.weights={folder}"]) == 0
    assert not (tmp_path / "results").exists()  # for debugging alone: it leaves no record


def test_a_run_is_known_by_what_the_files_hold(folder: Path, tmp_path: Path) -> None:
    plain, first = composed("uniform"), composed("uniform", f"recipe.weights={folder}")
    assert plain.config["weights"] == {} and set(first.config["weights"]) == {
        f"torchvision/{name}" for name in ("resnet50", "resnet34", "resnet18", "mobilenet_v2")
    }
    assert first.hash != plain.hash
    moved = folder.rename(tmp_path / "moved")
    (moved / "resnet18-f37072fd.pth").rename(moved / "resnet18.pth")
    assert composed("uniform", f"recipe.weights={moved}").hash == first.hash
    write_weights("torchvision/resnet50", moved / PYRAMID[0], seed=1)
    assert composed("uniform", f"recipe.weights={moved}").hash != first.hash


def test_methods_that_share_a_recipe_start_from_the_same_files(folder: Path) -> None:
    digests = [
        set(composed(method, f"recipe.weights={folder}").config["weights"].values())
        for method in ("uniform", "arnet", "tsm")
    ]
    assert digests[0] == digests[1] == digests[2] and len(digests[0]) == len(PYRAMID)


def test_what_has_no_use_for_a_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"recipe\.weights: uniform makes no use of it in profile tiny"):
        compose("uniform", overrides=[f"recipe.weights={folder}"])
    with pytest.raises(ValueError, match=r"recipe\.weights: uniform makes no use of it in profile paper"):
        composed("uniform", f"recipe.weights={folder}", "recipe.pretrained=false")
    with pytest.raises(
        ValueError, match=r"recipe\.weights: .* has no weights of torchvision/resnet50: expected one of"
    ):
        composed("uniform", f"recipe.weights={tmp_path}")


def test_a_method_without_shared_backbones_cannot_be_pretrained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Uniform, "shared_backbones", lambda self: {})
    words = ["model.num_frames=13"]
    with pytest.raises(ValueError, match="uniform: names no shared backbones, so its networks start from random weigh"):
        compose("uniform", overrides=words)
    assert compose("uniform", overrides=[*words, "recipe.pretrained=false"]).hash
