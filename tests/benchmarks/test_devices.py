"""One run on several devices, here processes that talk over gloo: the files of one, and an end to every failure."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adavid.evaluation.predictions import read_predictions
from adavid.evaluation.records import Record, read_records
from benchmarks import launch
from benchmarks.__main__ import main
from tests.adavid.data.videos import write_video
from tests.benchmarks.commands import started

NUM_TEST = (9, 50)  # videos, of as many data sets
# Without BatchNorm's statistics of a batch and without dropout, each rank's part of a batch adds up to the whole. SGD
# keeps what is left, rounding, as small as it is: AdamW's steps have the size of its rate where a gradient is rounding.
WORDS = [
    *("recipe.warmup=null", "recipe.dropout=0", "recipe.batch_size=4", "recipe.num_frames=4", "data.num_workers=0"),
    *("stages.further.epochs=6", "stages.further.freeze_norm=true", "stages.further.lr=0.01", "test.threshold=0.545"),
    *("stages.further.optimizer=sgd", "test.ladder=32x2-64x4", "trainer.enable_progress_bar=false"),
    "trainer.accelerator=cpu",
]
TWO = ["trainer.devices=2"]


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Data sets with so many test videos; the pictures differ in their noise."""
    root = tmp_path_factory.mktemp("videos")
    for num_test in NUM_TEST:
        for split, num in (("train", 9), ("val", 3), ("test", num_test)):
            for i in range(num):
                path = root / f"of{num_test}" / split / ("cat", "dog")[i % 2] / f"{i}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                scale = str(2 + 7 * i % 29)  # MPEG-4's encoder writes the same bytes each time, x264 does not
                size = {"num_frames": 6 + i % 5, "width": 64, "height": 64}
                write_video(path, **size, codec="mpeg4", qmin=scale, qmax=scale)
    return [f"folder:{root / f'of{num_test}'}" for num_test in NUM_TEST]


def command(folder: Path, data_sets: Sequence[str], *more: str) -> list[str]:
    folders = ["--results", str(folder / "results"), "--cache", str(folder / "cache")]
    return ["bench", "--method", "cascade", "--data", ",".join(data_sets), "--no-board", *folders, *WORDS, *more]


def records(folder: Path) -> dict[tuple[str, str], Record]:
    return {(record.data, record.point): record for record in read_records(folder / "results" / "runs")}


def assert_same_files(folder: Path, other: Path, num: int = 2 * len(NUM_TEST)) -> None:
    """So many records are the same, but for what says how many devices there were, and how long it took."""
    ours, theirs = records(folder), records(other)
    assert len(theirs) == num
    for key, record in theirs.items():
        mine = ours[key]
        one, two = (read_predictions(of.path) for of in (mine, record))
        for name in ("video_id", "label_NK", "action_NT", "macs_N", "frames_used_N"):
            assert np.array_equal(getattr(one, name), getattr(two, name)), name
        np.testing.assert_allclose(one.score_NK, two.score_NK, atol=1e-5)
        assert mine.metrics.map == pytest.approx(record.metrics.map, abs=1e-6)
        assert mine.cost == record.cost and mine.usage == record.usage and mine.frames == record.frames
        assert mine.validation == record.validation and mine.data_info == record.data_info
        assert mine.training.gmacs == record.training.gmacs
        for name, means in mine.training.course.items():
            assert record.training.course[name] == pytest.approx(means, abs=1e-5)
        assert [path.name for path in sorted(mine.path.parent.iterdir())] == [
            path.name for path in sorted(record.path.parent.iterdir())
        ]


@pytest.fixture(scope="module")
def alone(data_sets: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    assert main(command(folder, data_sets)) == 0
    return folder


def ranks_of(launcher: int) -> list[int]:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return [int(pid) for pid in children if b"adavid.command" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def checkpoints(folder: Path) -> Iterator[Path]:
    return folder.rglob("*.ckpt")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="it is there that a process's children are found")
def test_two_processes_leave_the_files_that_one_leaves_though_one_of_them_is_killed(
    data_sets: list[str], alone: Path, tmp_path: Path
) -> None:
    words = command(tmp_path, data_sets, *TWO)
    first = started(words, tmp_path)
    while not any(checkpoints(tmp_path)):
        assert first.process.is_alive()
        time.sleep(0.01)
    ranks = ranks_of(first.process.pid)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    killed = time.monotonic()
    first.process.join(60)
    assert time.monotonic() - killed < 30 and first.process.exitcode == 1
    assert first.output.read_text(encoding="utf-8").splitlines()[-1] == (
        "adavid: the process of device 1 was ended by SIGKILL, and with it the others; "
        "the same command goes on from the last checkpoint"
    )
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks) and any(checkpoints(tmp_path))
    said = [line for line in started(words, tmp_path).ended().splitlines() if "epochs" in line]
    # The first rank speaks for both; the first run may have been at its end when its rank was killed.
    assert set(said) == {"further: 6 epochs, training networks"} and len(said) in (len(NUM_TEST) - 1, len(NUM_TEST))
    assert_same_files(alone, tmp_path)
    assert {record.data_info.num_videos for record in records(tmp_path).values()} == set(NUM_TEST)
    for record in records(tmp_path).values():
        macs_N = read_predictions(record.path).macs_N
        assert len(set(macs_N.tolist())) > 1, "the method decides differently from video to video"
        assert record.config["num_devices"] == 2 and record.device.startswith("2 x ")


def test_what_torchrun_has_started_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "of the user"}.items():
        monkeypatch.setenv(name, value)
    assert launch.num_processes() == 2 and not launch.is_own()


def test_another_number_of_processes_than_devices_is_refused(
    data_sets: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"JOB_ID": 1, "NTASKS": 4, "NTASKS_PER_NODE": 4, "STEP_ID": 0, "PROCID": 0}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    assert main(command(tmp_path, data_sets[:1], *TWO)) == 2
    assert capsys.readouterr().err == "adavid: trainer.devices: 2 devices, but 4 processes were started\n"
    assert main(command(tmp_path, data_sets[:2], *TWO, "--jobs", "2")) == 2
    assert "jobs=2: expected 1, as 4 processes were started" in capsys.readouterr().err


def test_of_several_ranks_failures_the_one_that_says_something_is_said() -> None:
    def failure(status: int, message: object = "", timestamp: int = 0) -> Any:
        return SimpleNamespace(exitcode=status, message=message, timestamp=timestamp)

    mistake = failure(2, {"message": "RuntimeError: recipe.batch_size: too few videos"}, timestamp=9)
    for failures in ({0: mistake, 1: failure(1, "gloo: connection closed")}, {0: failure(-15), 1: mistake}):
        said = launch._failure(failures)
        assert (str(said), said.status) == ("recipe.batch_size: too few videos", 2)
    killed = launch._failure({0: failure(1, "gloo: connection closed"), 1: failure(-9), 2: failure(-15)})
    assert str(killed).startswith("the process of device 1 was ended by SIGKILL") and killed.status == 1


def test_a_rank_that_srun_has_started_says_that_another_one_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(*arguments: object) -> None:
        raise RuntimeError("[/gloo/transport/tcp/pair.cc:545] Read error: Connection reset by peer")

    monkeypatch.setattr("benchmarks.report.write_leaderboard", lost)
    assert main(["leaderboard", "--cache", str(tmp_path)]) == 1
    (trace,) = (tmp_path / "errors").iterdir()
    assert capsys.readouterr().err == (
        "adavid: another process of this run has ended; the same command goes on from the last checkpoint; "
        f"the trace is in {trace}\n"
    )
