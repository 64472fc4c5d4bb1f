"""The command line: folders, foreseen and unforeseen mistakes, any folder; and the models that it leaves behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import adavid
from adavid.data.sources import open_source
from adavid.evaluation.records import Record
from adavid.evaluation.schema import read_json
from benchmarks.__main__ import main
from benchmarks.compose import compose
from benchmarks.dashboard import Dashboard
from benchmarks.export import export
from benchmarks.layers import ROOT
from benchmarks.models import loaded
from benchmarks.runner import bench
from benchmarks.workspace import Workspace
from tests.adavid.data.videos import write_video

WORDS = [
    *("recipe.warmup=null", "recipe.batch_size=4", "stages.further.epochs=1", "data.num_workers=0"),
    *("trainer.enable_progress_bar=false", "trainer.accelerator=cpu"),
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for split, num in (("train", 4), ("val", 2)):
        for name in ("cat", "dog"):
            for i in range(num):
                path = root / split / name / f"{i}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, num_frames=8, width=64, height=64, crf=str(18 + i))
    return root


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    return ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]


def test_folders_come_from_the_options_then_the_environment_then_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"ADAVID_RESULTS": "/there", "ADAVID_RECORDS": "reference", "ADAVID_CACHE": "/fast"}
    assert Workspace.of(environment={}) == Workspace(ROOT / "results", ROOT / "results" / "runs", ROOT / "cache")
    assert Workspace.of(environment=environment) == Workspace(Path("/there"), Path("/there/reference"), Path("/fast"))
    given = Workspace.of("/here", "mine", "/slow", environment)
    assert given == Workspace(Path("/here"), Path("/here/mine"), Path("/slow"))
    monkeypatch.chdir(tmp_path)
    assert Workspace.of(cache=str(tmp_path / "c"), environment={}).shown_cache == "c"
    assert Workspace.of(cache="/elsewhere", environment={}).shown_cache == "/elsewhere"


@pytest.mark.parametrize("folder", [ROOT, Path("/")])
def test_the_console_command_finds_its_checkout(folder: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    words = [sys.executable, "-c", "import sys, adavid.command; sys.exit(adavid.command.main())", "list"]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert "arnet  variants: resolution_only" in done.stdout and "data sets: activitynet" in done.stdout


def test_what_nobody_has_foreseen_is_one_line_and_a_file(
    tmp_path: Path, folders: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("benchmarks.report.write_leaderboard", broken)
    assert main(["leaderboard", *folders]) == 1
    (trace,) = (tmp_path / "cache" / "errors").iterdir()
    said = capsys.readouterr().err
    assert said == f"adavid: ZeroDivisionError: division by zero; the trace is in {trace}\n"
    assert "in broken" in trace.read_text()


def test_a_format_that_there_is_none_of_is_refused(capsys: pytest.CaptureFixture[str], folders: list[str]) -> None:
    assert main(["leaderboard", "--format", "latx", *folders]) == 2
    assert "format 'latx' is unknown; did you mean 'latex'?" in capsys.readouterr().err


def test_every_setting_is_printed_with_who_set_it(capsys: pytest.CaptureFixture[str], folders: list[str]) -> None:
    words = ["--profile", "paper", "--data", "sprites", "stages.policy.lr=0.5"]
    assert main(["config", "--method", "adafocus_plus", *words, *folders]) == 0
    printed = capsys.readouterr().out.splitlines()
    by_key = {line.partition(":")[0].strip(): line.partition(" # ")[2] for line in printed if " # " in line}
    assert by_key["skips"] == "methods/adafocus_plus.yaml"
    assert by_key["places"] == "default of AdaFocus"
    assert by_key["glance"] == "methods/adafocus.yaml, profile paper"
    assert by_key["focus"] == "methods/adafocus.yaml: ${recipe.pyramid[0]}"
    assert by_key["batch_size"] == "methods/adafocus.yaml, profile paper"
    assert by_key["pretrained"] == "benchmarks/recipe.yaml, profile paper"
    (line,) = (line for line in printed if "0.5 " in line and line.strip().startswith("lr:"))
    assert line.endswith("# command line")
    assert all(" # " in line for line in printed[2:] if not line.rstrip().endswith((":", "{}")))


def test_settings_for_debugging_leave_no_record(
    videos: Path, tmp_path: Path, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for word in ("trainer.fast_dev_run=true", "trainer.limit_test_batches=1", "trainer.max_steps=1"):
        assert main(["bench", "--method", "uniform", "--data", f"folder:{videos}", *folders, *WORDS, word]) == 0
        assert f"no record: {word.partition('=')[0]} is for debugging" in capsys.readouterr().out
    assert not list((tmp_path / "results").rglob("*"))


class Mine:
    """A trained method, its folder and the video files that it knows."""

    def __init__(self, videos: Path, folder: Path) -> None:
        self.workspace = Workspace.of(str(folder / "results"), cache=str(folder / "cache"), environment={})
        self.run = compose("uniform", f"folder:{videos}", overrides=WORDS, cache=str(folder / "cache"))
        self.folder = bench(self.run, self.workspace, Dashboard("off"))
        self.video = videos / "val" / "dog" / "1.mp4"


@pytest.fixture(scope="module")
def mine(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Mine:
    return Mine(videos, tmp_path_factory.mktemp("mine"))


def test_a_loaded_method_answers_as_in_its_evaluation(mine: Mine) -> None:
    trained = adavid.load(mine.folder)
    record = read_json(Record, mine.folder / "test.json")
    assert trained.class_names == record.data_info.class_names == ("cat", "dog")
    answer = trained.classify(mine.video)
    from adavid.evaluation.predictions import read_predictions

    predictions = read_predictions(mine.folder / "test.npz")
    (n,) = (n for n, name in enumerate(predictions.video_id) if str(name).endswith("val/dog/1.mp4"))
    torch.testing.assert_close(answer.score_BK[0], torch.as_tensor(predictions.score_NK[n]), rtol=1e-4, atol=1e-5)
    assert answer.macs_B.item() == predictions.macs_N[n]
    views = trained.reading.read(open_source(mine.video), trained.method.views)
    again = trained({name: frames[None].expand(2, *frames.shape) for name, frames in views.items()})
    assert torch.equal(again.score_BK[0], again.score_BK[1]) and again.macs_B.tolist() == 2 * answer.macs_B.tolist()


def test_what_a_loaded_method_cannot_take_is_said(mine: Mine, tmp_path: Path) -> None:
    trained = adavid.load(mine.folder)
    with pytest.raises(ValueError, match="^frames: expected the views frames, got frame$"):
        trained({"frame": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"^frames: frames: expected uint8 \(B, 16, 3, 64, 64\), got torch.float32"):
        trained({"frames": torch.zeros(1, 8, 3, 64, 64)})
    with pytest.raises(ValueError, match=r"test\.json: expected to read it: No such file"):
        adavid.load(tmp_path)
    committed = shutil.copytree(mine.folder, tmp_path / "committed", ignore=shutil.ignore_patterns("*.pt"))
    with pytest.raises(ValueError, match="no such file; committed records come without their models"):
        adavid.load(committed)


def test_a_trained_method_is_exported_in_one_file(mine: Mine, tmp_path: Path) -> None:
    file = export(mine.run, mine.workspace, tmp_path)
    assert file.with_suffix(".md").read_text().startswith("# uniform on ")
    before, after = (adavid.load(of).classify(mine.video) for of in (mine.folder, file))
    assert torch.equal(before.score_BK, after.score_BK) and torch.equal(before.macs_B, after.macs_B)
    untrained = compose("uniform", mine.run.data_request, overrides=WORDS, seed=1)
    with pytest.raises(
        ValueError, match="uniform is not trained and evaluated, seed 1: make bench METHOD=uniform SEEDS=1"
    ):
        export(untrained, mine.workspace, tmp_path)


def test_any_method_answers_predict(mine: Mine, capsys: pytest.CaptureFixture[str]) -> None:
    """Uniform watches; a method that looks ahead classifies the whole video."""
    from benchmarks.measure.online import predict

    watched = list(predict(mine.run, mine.workspace, str(mine.video), fps=4.0))
    assert len(watched) > 1 and all("GFLOPs" in line for line in watched)

    words = [word for word in WORDS if "stages" not in word]
    words += ["model.networks.focus.name=tsm/8/narrow/4-8-8", "recipe.pretrained=false"]
    run = compose(
        "tsm", mine.run.data_request, overrides=[*words, "stages.further.epochs=1"], cache=str(mine.workspace.cache)
    )
    bench(run, mine.workspace, Dashboard("off"))
    lines = list(predict(run, mine.workspace, str(mine.video)))
    assert len(lines) == 8 + 1 and lines[-1].startswith("the whole video: ") and "GFLOPs" in lines[-1]
    with pytest.raises(ValueError, match="^predict: tsm looks at a video as a whole: it takes no frames a second"):
        list(predict(run, mine.workspace, str(mine.video), fps=2.0))


def test_a_damaged_model_is_named_set_aside_and_trained_anew(mine: Mine, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = mine.folder / "0-further.pt"
    whole = checkpoint.read_bytes()
    before = read_json(Record, mine.folder / "test.json")
    checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"0-further\.pt: damaged; make bench trains the method anew$"):
        loaded(mine.run, mine.folder)
    assert f"{checkpoint}: " in capsys.readouterr().err and (mine.folder / "0-further.pt.broken").exists()
    bench(mine.run, mine.workspace, Dashboard("off"))
    after = read_json(Record, mine.folder / "test.json")
    assert after.metrics == before.metrics


def test_a_damaged_record_is_made_anew_from_the_model(mine: Mine, capsys: pytest.CaptureFixture[str]) -> None:
    record = mine.folder / "test.json"
    before = read_json(Record, record)
    record.write_text("{")
    bench(mine.run, mine.workspace, Dashboard("off"))
    said = capsys.readouterr()
    assert "test.json" in said.err and "further: 1 epochs" not in said.out
    assert read_json(Record, record).metrics == before.metrics
