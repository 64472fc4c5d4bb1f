"""Sweeps: which cells there are, that finished ones are left alone, and that a killed one ends as one that was not."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adavid.evaluation.predictions import read_predictions
from adavid.evaluation.records import Record, read_records
from benchmarks.__main__ import main
from benchmarks.sweep import data_sets
from tests.adavid.data.videos import write_video
from tests.benchmarks.commands import started

WORDS = [
    *("recipe.warmup=null", "recipe.batch_size=2", "recipe.num_frames=2", "data.num_workers=0"),
    *("stages.further.epochs=1", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"),
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two data sets."""
    root = tmp_path_factory.mktemp("videos")
    for name, quality in (("one", 18), ("two", 30)):
        for split in ("train", "val"):
            for i in range(4):
                path = root / name / split / ("cat", "dog")[i % 2] / f"{i}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, num_frames=6 + i, preset="ultrafast", crf=str(quality + i))
    return ",".join(f"folder:{root / name}" for name in ("one", "two"))


def command(folder: Path, videos: str, *more: str) -> list[str]:
    folders = ["--results", str(folder / "results"), "--cache", str(folder / "cache")]
    own = ["bench", "--no-board", "--method", "uniform,lstm", "--data", videos, "--seeds", "0,1,2"]
    return [*own, *folders, *WORDS, *more]


def contents(folder: Path) -> dict[str, tuple[dict[str, Any], list[np.ndarray]]]:
    """What the records and their predictions say, by where they lie."""

    def content(record: Record) -> tuple[dict[str, Any], list[np.ndarray]]:
        config = {key: value for key, value in record.config.items() if key != "data"}  # where the caches are
        arrays = list(vars(read_predictions(record.path)).values())
        return record.model_dump(exclude={"times", "config"}) | {"config": config}, arrays

    root = folder / "results" / "runs"
    return {str(record.path.relative_to(root)): content(record) for record in read_records(root)}


def test_a_comma_within_a_path_separates_no_data_sets() -> None:
    assert data_sets("sprites") == ["sprites"]
    assert data_sets("sprites, folder:/a,b/c,csv:/d.csv") == ["sprites", "folder:/a,b/c", "csv:/d.csv"]
    assert data_sets("folder:/mine,spritez") == ["folder:/mine,spritez"]


def test_every_combination_is_a_cell_and_what_is_recorded_is_none(
    videos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lines(*more: str) -> list[str]:
        assert main(command(tmp_path, videos, *more, "--print")) == 0
        return capsys.readouterr().out.splitlines()

    plan = lines()
    assert len(plan) == len(set(plan)) == 12 and all(line.startswith(f"cd {Path.cwd()} && ") for line in plan)
    first = command(tmp_path, videos.partition(",")[0])
    first[first.index("uniform,lstm")], first[first.index("0,1,2")] = "uniform", "0"
    assert main(first) == 0
    capsys.readouterr()
    assert lines() == plan[1:]
    again = lines("recipe.pretrained=false", "--method", "uniform", "--seeds", "0", "--profile", "tiny,lite")
    assert [line.partition("--profile ")[2].split()[0] for line in again] == ["tiny", "lite"] * 2


def test_a_printed_line_does_the_run(videos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path, videos, "--print")) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    cd, folder, and_then, python, *words = shlex.split(line)
    assert (cd, folder, and_then, python) == ("cd", str(Path.cwd()), "&&", sys.executable)
    assert words[:2] == ["-m", "adavid.command"] and main(words[2:]) == 0
    (path,) = contents(tmp_path)
    assert path.startswith("folder-two/tiny/lstm/") and path.endswith("seed2/test.json")


def test_the_points_of_a_curve_are_cells_after_their_run(
    videos: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = videos.partition(",")[0]
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    curve = ["curve", "--method", "uniform", "--data", one, *folders, *WORDS, "curve.test.num_frames=[1,2]"]
    curve += ["curve.train=null"]
    assert main([*curve, "--points-apart", "--print"]) == 0
    bench, *points = capsys.readouterr().out.splitlines()
    assert " bench " in bench and [line.partition("--point ")[2].split()[0] for line in points] == [
        "curve-num_frames=1",
        "curve-num_frames=2",
    ]
    assert main([*curve, "--point", "curve-num_frames=3"]) == 2
    assert "did you mean 'curve-num_frames=" in capsys.readouterr().err
    assert main([*curve, "--point", "curve-num_frames=1"]) == 0
    capsys.readouterr()
    assert main([*curve, "--points-apart", "--print"]) == 0
    assert capsys.readouterr().out.splitlines() == points[1:]


@pytest.mark.slow
def test_a_killed_sweep_ends_with_the_files_of_one_that_was_not(videos: str, tmp_path: Path) -> None:
    """Of twelve cells, of which ten are recorded already: a seed of one method is left on each data set."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(command(whole, videos)) == 0
    for seed in (*whole.rglob("uniform/*/seed0"), *whole.rglob("seed[12]")):
        shutil.copytree(seed, killed / seed.relative_to(whole))
    words = command(killed, videos, "--jobs", "2")
    sweep = started(words, tmp_path).process
    while len(list(killed.rglob("test.json"))) < 11:
        assert sweep.is_alive()
        time.sleep(0.05)
    sweep.kill()  # its cells are left to themselves, and in the way of the next call's
    sweep.join()
    said = started(words, tmp_path).ended()
    (left,) = re.findall("^([0-9]+) left to do of 12 runs", said, re.MULTILINE)
    assert int(left) <= 1 and said.count(": started, see ") == int(left)
    ours, theirs = contents(killed), contents(whole)
    assert ours.keys() == theirs.keys() and len(ours) == 12
    for path, (record, arrays) in ours.items():
        other, of_other = theirs[path]
        assert record == other
        assert all(np.array_equal(one, two) for one, two in zip(arrays, of_other, strict=True))
