"""`make import`: the authors' weights become a run like any other, but that nothing was trained for it."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

import adavid
from adavid.evaluation.records import read_records
from adavid.evaluation.schema import to_json
from adavid.training import last_checkpoint
from benchmarks.__main__ import main
from benchmarks.compose import compose
from benchmarks.dashboard import Dashboard
from benchmarks.models import folder_of, trained
from benchmarks.released import compose_released
from benchmarks.report.verify import verify
from benchmarks.workspace import Workspace

K = 10  # classes of sprites
NETWORK = "model.networks={focus: {name: tsm/4/torchvision/resnet18, size: 32}}"  # TSM's layout, of a small network
WORDS = [
    *(NETWORK, "data.num_train=10", "data.num_val=10", "data.num_test=10", "data.num_processes=1"),
    *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false"),
]


def write_checkpoint(path: Path, seed: int = 0) -> dict[str, Tensor]:
    """As TSM's authors save it, of random weights."""
    torch.manual_seed(seed)
    state = {}
    for key, value in torchvision.models.resnet18().state_dict().items():
        if not key.startswith("fc."):
            wrapped = key.replace(".conv1.", ".conv1.net.") if key.startswith("layer") else key
            state[f"module.base_model.{wrapped}"] = value
    state |= {"module.new_fc.weight": torch.randn(K, 512), "module.new_fc.bias": torch.randn(K)}
    torch.save({"epoch": 50, "arch": "resnet18", "state_dict": state, "best_prec1": torch.tensor(59.1)}, path)
    return state


def words_of(folder: Path, *more: str) -> list[str]:
    folders = ["--results", str(folder / "results"), "--cache", str(folder / "cache")]
    data = [f"data.root={folder / 'sprites'}", f"data.cache={folder / 'decoded'}"]
    return ["--method", "tsm", "--profile", "paper", *folders, *more, *WORDS, *data]


def test_an_import_is_a_run_that_nobody_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "TSM_somethingv2.pth.tar"
    state = write_checkpoint(file)
    importing = ["import", "--no-board", *words_of(tmp_path, "--checkpoint", str(file))]
    assert main(importing) == 0, capsys.readouterr().err
    (record,) = read_records(tmp_path / "results" / "runs")
    assert (record.training.gmacs, record.training.stages, record.training.course) == (None, (), {})
    assert '"gmacs"' not in to_json(record).partition('"training"')[2][:60]
    assert record.config["imported"]["file"] == file.name and len(record.config["imported"]["content"]) == 64
    verify(record.path.parent)  # its hashes follow from its configuration

    folder = record.path.parent
    method = adavid.load(folder).method
    assert torch.equal(method.networks["focus"].head[1].weight, state["module.new_fc.weight"])  # type: ignore[index]
    first = method.networks["focus"].backbone.stages[2][0].conv1.convolution.weight  # type: ignore[index]
    assert torch.equal(first, state["module.base_model.layer1.0.conv1.net.weight"])

    assert main(importing) == 0 and "already done" in capsys.readouterr().out
    last_checkpoint(folder, []).write_bytes(b"damaged")  # is set aside, and imported anew
    moved = file.rename(tmp_path / "renamed.pth.tar")
    assert main(["import", "--no-board", *words_of(tmp_path, "--checkpoint", str(moved))]) == 0
    assert [of.config_hash for of in read_records(tmp_path / "results" / "runs")] == [record.config_hash]


def test_it_has_a_hash_of_its_own_and_no_model_in_common_with_what_was_trained(tmp_path: Path) -> None:
    overrides = [*WORDS, f"data.root={tmp_path / 'sprites'}"]
    write_checkpoint(tmp_path / "a")
    write_checkpoint(tmp_path / "other", seed=1)
    shutil.copy(tmp_path / "a", tmp_path / "same")
    settings = {"profile": "paper", "overrides": overrides}
    a, same, other = (compose_released(tmp_path / name, "tsm", **settings) for name in ("a", "same", "other"))
    here = compose("tsm", **settings)
    assert a.hash == same.hash and a.model_hash == same.model_hash
    assert len({run.hash for run in (a, other, here)}) == len({run.model_hash for run in (a, other, here)}) == 3
    slower = compose_released(tmp_path / "a", "tsm", profile="paper", overrides=[*overrides, "stages.further.lr=0.1"])
    assert slower.hash == a.hash, "what would be trained is no part of it"

    workspace = Workspace.of(str(tmp_path / "results"), cache=str(tmp_path / "cache"))
    method = trained(a, workspace, Dashboard("off"))
    assert math.isnan(method.train_macs) and last_checkpoint(folder_of(a, workspace), []).exists()


def test_a_wrong_file_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sofnet.pth.tar"
    torch.save({"base_model.conv1.weight": torch.zeros(64, 3, 7, 7), "new_fc.bias": torch.zeros(K)}, file)
    cut = tmp_path / "cut.pth.tar"
    write_checkpoint(cut)
    cut.write_bytes(cut.read_bytes()[:1000])
    arnet = ["import", "--method", "arnet", "--profile", "paper", "--data", "sprites", "--checkpoint"]
    tiny = ["import", "--method", "arnet", "--checkpoint"]
    uniform = ["import", "--method", "uniform", "--profile", "paper", "--checkpoint", str(file)]
    left = r"2 left over (base_model.conv1.weight, new_fc.bias); it may be of METHOD=tsm"
    for words, expected in (
        ([*arnet, str(file)], ["missing (base_model_list.0.conv1.weight, ", left]),
        ([*arnet, str(cut)], [f"{cut}: expected a checkpoint of torch: cut short"]),
        ([*arnet, str(tmp_path / "none")], [f"{tmp_path / 'none'}: no such file"]),
        ([*tiny, str(file)], ["arnet: released weights are of the paper's networks: PROFILE=paper, got tiny"]),
        (arnet[:-1], ["import: expected a file of released weights: CHECKPOINT=file.pth.tar"]),
        (uniform, ["uniform: no released weights are known; expected one of adafocus, adafocus_tsm, arnet"]),
    ):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert line.startswith("adavid: ") and all(part in line for part in expected), line
