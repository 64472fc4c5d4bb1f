"""The main job on small real video files: resuming, isolation, and what a user's mistakes get."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import adavid
from adavid.data.contents import content_hashes
from adavid.evaluation.collector import Evaluation
from adavid.evaluation.predictions import read_predictions
from adavid.evaluation.records import Record, identity, read_records
from adavid.evaluation.schema import read_json
from benchmarks import runner
from benchmarks.__main__ import main
from benchmarks.compose import compose
from benchmarks.dashboard import Dashboard
from benchmarks.layers import methods_of
from benchmarks.models import folder_of
from benchmarks.run import Run
from benchmarks.workspace import Workspace
from tests.adavid.data.videos import write_video
from tests.benchmarks.commands import Command, started

SMALL = [
    *("data.num_train=24", "data.num_val=12", "data.num_test=16", "data.num_processes=1"),
    *("recipe.batch_size=8", "recipe.num_frames=4", "recipe.warmup.segments.epochs=1"),
    *("stages.joint.epochs=2", "stages.finetune.epochs=1", "trainer.enable_progress_bar=false"),
]
TWO_NETWORKS = "recipe.pyramid=[{name: narrow/8-16-32.glyphs, size: 64}, {name: narrow/8-16-32.glyphs, size: 32}]"


def command(folder: Path, *words: str) -> Command:
    environment = {"ADAVID_RESULTS": str(folder / "results"), "ADAVID_CACHE": str(folder / "cache")}
    data = [f"data.{key}={folder.parent / name}" for key, name in (("root", "sprites"), ("cache", "decoded"))]
    data.append(f"data.contents={folder.parent / 'contents.sqlite'}")
    return started([*words, *data], folder.parent, environment)


def bench(folder: Path, *words: str) -> str:
    return command(folder, "bench", "--method", "arnet", *SMALL, *words).ended()


def the_record(folder: Path, point: str = "test") -> Record:
    (record,) = (record for record in read_records(folder / "results" / "runs") if record.point == point)
    return record


@pytest.mark.slow
def test_a_killed_run_ends_with_the_record_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    bench(whole, TWO_NETWORKS)
    kills = 0
    while True:  # kill it after every new file that it finishes
        process = command(killed, "bench", "--method", "arnet", *SMALL, TWO_NETWORKS).process
        before = set(killed.rglob("*.pt")) | set(killed.rglob("*.ckpt"))
        while process.is_alive() and not (set(killed.rglob("*.pt")) | set(killed.rglob("*.ckpt"))) - before:
            time.sleep(0.02)
        if not process.is_alive():
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        kills += 1
    assert kills >= 5
    ours, theirs = the_record(killed), the_record(whole)
    paths = [next(folder.rglob("test.npz")) for folder in (killed, whole)]
    for field in ("video_id", "score_NK", "action_NT", "macs_N"):
        assert np.array_equal(*(getattr(read_predictions(path), field) for path in paths)), field
    contents = [record.model_dump(exclude={"times"}) for record in (ours, theirs)]
    for content in contents:
        content["config"].pop("data")  # where the caches are
    assert json.dumps(contents[0]) == json.dumps(contents[1])


@pytest.mark.slow
def test_two_runs_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    words = ("bench", "--method", "uniform", *SMALL[:-3], "stages.further.epochs=1", SMALL[-1])
    together = [command(tmp_path / "both", *words) for _ in range(2)]
    outputs = [process.ended() for process in together]
    assert sum("already done" in out for out in outputs) == 1
    command(tmp_path / "alone", *words).ended()
    assert the_record(tmp_path / "both").metrics == the_record(tmp_path / "alone").metrics


@pytest.mark.slow
def test_two_runs_of_one_model_at_once_train_it_once(tmp_path: Path) -> None:
    words = ("bench", "--method", "uniform", *SMALL[:-3], "stages.further.epochs=1", SMALL[-1])
    together = [command(tmp_path / "both", *words, *more) for more in ((), ("test.num_frames=2",))]
    outputs = [process.ended() for process in together]
    assert sorted(out.count("further: 1 epochs") for out in outputs) == [0, 1]
    records = [of for of in read_records(tmp_path / "both" / "results" / "runs") if of.point == "test"]
    assert sorted(record.frames.num_frames for record in records) == [2, 4]
    assert records[0].model_hash == records[1].model_hash and records[0].training == records[1].training


@pytest.mark.slow
def test_val_leaves_no_record_and_no_record_stands_without_its_model(tmp_path: Path) -> None:
    words = ("--method", "uniform", *SMALL[:-3], "stages.further.epochs=1", SMALL[-1])

    def run(*more: str) -> str:
        return command(tmp_path / "run", "bench", *more, *words).ended()

    assert "val split: " in run("--split", "val")
    assert not read_records(tmp_path / "run" / "results")
    assert "further: 1 epochs" not in run()  # the model is trained already
    assert "already done" in run()
    (model,) = (tmp_path / "run" / "results").rglob("0-further.pt")
    model.unlink()  # as in a fresh clone
    assert "further: 1 epochs" in run()


@pytest.fixture
def small(tmp_path: Path) -> Run:
    """Uniform on a few videos of three classes, one of which the split lacks that is reported."""
    for split, name, num in (
        ("train", "cat", 2),
        ("train", "dog", 2),
        ("train", "owl", 1),
        ("val", "cat", 2),
        ("val", "dog", 2),
    ):
        (tmp_path / "videos" / split / name).mkdir(parents=True)
        for i in range(num):
            write_video(tmp_path / "videos" / split / name / f"{i}.mp4", 6 + i, preset="ultrafast")
    words = ["data.num_workers=0", "recipe.batch_size=2", "recipe.num_frames=2", "recipe.warmup=null"]
    words += ["stages.further.epochs=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    return compose("uniform", f"folder:{tmp_path / 'videos'}", overrides=words)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "results", tmp_path / "results" / "runs", tmp_path / "cache")


def test_a_class_without_videos_is_said_with_the_score(
    small: Run, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runner.bench(small, workspace, Dashboard("off"))
    (record,) = read_records(folder)
    assert record.data_info.num_videos == 4 and record.metrics.classes_without_positives == ("owl",)
    *_, line, note = capsys.readouterr().out.strip().splitlines()
    assert f"{100 * record.metrics.map:.2f} mAP" in line
    assert note == "Note: no video of 1 of 3 classes (owl), which score 0: mAP at most 66.67."
    line = runner.headline(record, "top1")
    assert line.startswith(f"{100 * record.metrics.top1:.2f} top-1, {100 * record.metrics.map:.2f} mAP (")


def test_pictures_that_may_not_be_published_stay_out_of_what_is_committed(
    small: Run, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = replace(workspace, records=workspace.results / "reference")
    assert not small.catalogue.publishable
    folders = [runner.bench(small, where, Dashboard("off")) for where in (committed, workspace)]
    assert [bool(list(folder.rglob("*.jpg"))) for folder in folders] == [False, True]
    assert read_records(committed.records) and not list(committed.records.rglob("strips*"))
    monkeypatch.setattr(type(small.catalogue), "publishable", True)
    elsewhere = replace(workspace, records=workspace.results / "elsewhere" / "reference")
    assert list(runner.bench(small, elsewhere, Dashboard("off")).rglob("*.jpg"))


@pytest.fixture
def apart(tmp_path: Path) -> Callable[..., Run]:
    """Composes uniform, or another method, on a few videos with a split for each purpose, and some words."""
    for split, num in (("train", 2), ("val", 1), ("test", 2)):
        for name in ("cat", "dog"):
            (tmp_path / "videos" / split / name).mkdir(parents=True)
            for i in range(num):
                write_video(tmp_path / "videos" / split / name / f"{i}.mp4", 6 + i, preset="ultrafast")
    settings = ["data.num_workers=0", "recipe.batch_size=2", "recipe.num_frames=2", "recipe.warmup=null"]
    settings += ["stages.further.epochs=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]

    def composed(*words: str, method: str = "uniform", seed: int = 0) -> Run:
        return compose(method, f"folder:{tmp_path / 'videos'}", overrides=[*settings, *words], seed=seed)

    return composed


def test_runs_that_are_only_evaluated_differently_train_once(
    apart: Callable[..., Run], workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runner.bench(apart(), workspace, Dashboard("off"))
    assert "further: 1 epochs" in capsys.readouterr().out
    shorter = runner.bench(apart("test.num_frames=1"), workspace, Dashboard("off"))
    other_name = runner.bench(apart(method="methods.uniform:Uniform"), workspace, Dashboard("off"))
    out = capsys.readouterr().out
    assert "epochs, training" not in out and f"seed 0: the model of uniform/{folder.parent.name}/seed0" in out
    plain, short, named = (read_json(Record, of / "test.json") for of in (folder, shorter, other_name))
    assert len({plain.config_hash, short.config_hash, named.config_hash}) == 3
    assert plain.model_hash == short.model_hash == named.model_hash
    assert plain.training == short.training == named.training and plain.training.gmacs > 0
    assert (plain.frames.num_frames, short.frames.num_frames) == (2, 1)
    assert short.operating_point == {"frames": 1, "num_frames": 1}
    assert short.cost.gflops_per_video == pytest.approx(plain.cost.gflops_per_video / 2)
    assert plain.code == short.code != ""
    for of in (folder, shorter, other_name):  # each by itself
        model = adavid.load(of)
        assert model.method.train_macs / 1e9 == plain.training.gmacs
    assert adavid.load(shorter).method.views["frames"].num_frames == 1
    for run in (apart(seed=1), apart("stages.further.lr=0.5")):
        runner.bench(run, workspace, Dashboard("off"))
        assert "further: 1 epochs" in capsys.readouterr().out


def test_a_damaged_model_is_not_taken_over(
    apart: Callable[..., Run], workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runner.bench(apart(), workspace, Dashboard("off"))
    (folder / "0-further.pt").write_bytes(b"PK")
    runner.bench(apart("test.num_frames=1"), workspace, Dashboard("off"))
    out, said = capsys.readouterr()
    assert out.count("further: 1 epochs") == 2 and "set aside as 0-further.pt.broken" in said
    changed = apart().catalogue.fingerprint[::-1]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert identity(config, changed) != folder.parent.name  # a model of other videos is not known by its folder


def test_points_are_evaluated_on_the_validation_split_too(apart: Callable[..., Run], workspace: Workspace) -> None:
    run = apart("curve.train=null", "curve.test.num_frames=[1,2]")
    folder = runner.bench_curve(run, workspace, Dashboard("off"))
    records = {record.point: record for record in read_records(folder)}
    assert records.keys() == {"test", "curve-num_frames=1", "curve-num_frames=2"}
    for point, record in records.items():
        num_frames = record.frames.num_frames
        assert record.validation is not None, point
        assert record.validation.gflops_per_video == pytest.approx(record.cost.gflops_per_video)
        assert record.config["test"] == ({} if num_frames == 2 else {"num_frames": 1})
        assert record.config_hash == identity(record.config, run.catalogue.fingerprint)
    assert records["test"].validation == records["curve-num_frames=2"].validation
    said = runner.validate(run, workspace, Dashboard("off"))
    assert f"{100 * records['test'].validation.map:.2f} mAP" in said


def test_no_model_is_trained_anew_for_a_recorded_point(apart: Callable[..., Run], workspace: Workspace) -> None:
    run = apart("curve.train.dropout=[0.1]", "curve.test=null")
    folder = runner.bench_curve(run, workspace, Dashboard("off"))
    (point,) = runner.curve_points(run)
    assert (folder / f"{point.name}.json").exists()
    shutil.rmtree(folder_of(point.run, workspace))
    runner.bench_curve(run, workspace, Dashboard("off"))
    assert not folder_of(point.run, workspace).exists()


def test_a_part_of_the_split_leaves_no_record(
    small: Run, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = runner.evaluate

    def in_part(*arguments: Any, **options: Any) -> Evaluation:
        evaluation = evaluate(*arguments, **options)
        return replace(evaluation, predictions=evaluation.predictions.select(np.arange(3)))

    monkeypatch.setattr(runner, "evaluate", in_part)
    with pytest.raises(ValueError, match=r"test\.json: expected predictions for all 4 videos of the split, got 3"):
        runner.bench(small, workspace, Dashboard("off"))
    assert not read_records(workspace.records)


MISTAKES = {
    "method arent": (["--method", "arent"], "did you mean 'arnet'"),
    "data set spritez": (["--method", "arnet", "--data", "spritez"], "did you mean 'sprites'"),
    "profile": (["--method", "arnet", "--profile", "tyni"], "did you mean 'tiny'"),
    "variant": (["--method", "arnet", "--variant", "ac"], "did you mean 'acc'"),
    "model key": (["--method", "arnet", "model.alhpa=1"], "did you mean 'alpha'"),
    "stage key": (["--method", "arnet", "stages.joint.lrr=1"], "did you mean 'lr'"),
    "stage value": (["--method", "arnet", "stages.joint.optimizer=sgdd"], "sgd"),
    "type": (["--method", "arnet", "model.alpha=abc"], "model.alpha"),
    "range": (["--method", "arnet", "model.alpha=7"], "alpha must lie in [0, 1]"),
    "recipe range": (["--method", "arnet", "recipe.batch_size=0"], "recipe.batch_size"),
    "trainer key": (["--method", "arnet", "trainer.device=1"], "did you mean 'devices'"),
    "trainer key of the runner": (["--method", "arnet", "trainer.log_every_n_steps=1"], "log_every_n_steps is unknown"),
    "batch on devices": (
        ["--method", "arnet", "trainer.devices=3", "trainer.accelerator=cpu", "recipe.batch_size=8"],
        "recipe.batch_size: expected a multiple of 3, an equal part for each device, got 8",
    ),
    "nodes": (
        ["--method", "arnet", "trainer.num_nodes=2", "trainer.accelerator=cpu"],
        "trainer.num_nodes: expected srun or torchrun to start the command once a device, on each",
    ),
    "section value": (["--method", "arnet", "model=3"], "model: expected settings"),
    "stage": (["--method", "arnet", "stages.joint=3"], "stages.joint: expected settings"),
    "no stage": (["--method", "arnet", "stages.joint=null", "stages.finetune=null"], "no stage is left"),
    "warm-up key": (["--method", "arnet", "recipe.warmup.segments.epoch=3"], "did you mean 'epochs'"),
    "choice": (["--method", "liteeval", "model.cell=grru"], "expected one of ['lstm', 'gru', 'sru']"),
    "frames": (["--method", "uniform", "model.num_frames=0"], "num_frames=0"),
    "width": (["--method", "lstm", "model.hidden=0"], "hidden must be 1 or more"),
    "section": (["--method", "arnet", "modle.alpha=1"], "did you mean 'model'"),
    "no equals sign": (["--method", "arnet", "model.alpha"], "expected key=value"),
    "seeds": (["--method", "arnet", "--seeds", "a"], "whole numbers"),
    "seed": (["--method", "arnet", "--seeds=-1"], "expected numbers from 0 on"),
    "class": (["--method", "nowhere.at_all:ARNet"], "nowhere"),
    "not a method": (["--method", "math:pi"], "subclass of AdaptiveMethod"),
    "another's run": (["--method", "tsn"], "tsn: the same run as uniform in profile tiny: METHOD=uniform"),
    "missing folder": (["--method", "arnet", "--data", "folder:/nowhere"], "/nowhere"),
    "missing CSV": (["--method", "arnet", "--data", "csv:/nowhere.csv"], "/nowhere.csv"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_one_line_and_leave_nothing(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, expected = MISTAKES[mistake]
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    assert main(["bench", *words, *folders]) == 2
    error = capsys.readouterr().err.strip()
    assert expected in error and "\n" not in error
    assert not list(tmp_path.rglob("*"))


def test_the_seed_is_no_part_of_a_configuration() -> None:
    for method in methods_of("tiny"):
        assert compose(method, seed=0).hash == compose(method, seed=1).hash
    assert compose("arnet", overrides=["model.alpha=0.2"]).hash != compose("arnet").hash
    assert compose("arnet", overrides=["data.num_workers=1"]).hash == compose("arnet").hash


def test_runs_on_the_same_videos_share_a_catalogue_that_composing_does_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split, name in (("train", "a"), ("val", "b")):
        (tmp_path / split / "cat").mkdir(parents=True)
        write_video(tmp_path / split / "cat" / f"{name}.mp4", num_frames=3)
    hashed = []

    def counted(paths: Iterable[Path], memory: Path | None) -> dict[Path, str | None]:
        hashed.append(list(paths))
        return content_hashes(hashed[-1])

    monkeypatch.setattr("adavid.data.catalogue.content_hashes", counted)
    data = f"folder:{tmp_path}"
    run = compose("arnet", data)
    others = [
        compose("arnet", data, seed=1),
        compose("uniform", data, overrides=["recipe.batch_size=3"]),
        compose("tsm", data),
    ]
    assert not hashed
    assert all(other.catalogue is run.catalogue for other in others)
    assert compose("arnet", data, overrides=["data.resize=240"]).catalogue is not run.catalogue
    assert len({run.hash, *(other.hash for other in others)}) == 3 and run.hash == others[0].hash
    assert len(hashed) == 1
    tmp_path.rename(moved := tmp_path.with_name("moved"))
    assert compose("arnet", f"folder:{moved}").hash == run.hash  # known by what the files hold
