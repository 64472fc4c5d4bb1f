"""Runs that take turns at a data set's folds are reported as one, each video scored once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adavid.evaluation.metrics import mean_average_precision
from adavid.evaluation.predictions import read_predictions
from adavid.evaluation.records import read_records
from adavid.evaluation.stats import bootstrap_map, interval
from benchmarks.__main__ import main
from benchmarks.report import curve_report, write_leaderboard
from benchmarks.report.compare import Comparison, against_label
from benchmarks.report.entries import Entry, read_entries
from benchmarks.report.verify import verify
from tests.benchmarks.toys import NUM_VIDEOS, add, add_online
from tests.datamodules.test_ucf101 import NAMES, write_copy


def add_folds(results: Path, method: str, *seeds: int, **options: object) -> list[Path]:
    return [add(results, method, seed=seed, num_folds=3, **options) for seed in seeds]  # type: ignore[arg-type]


def entry_of(results: Path, method: str = "uniform") -> Entry:
    (entry,) = (entry for entry in read_entries(results) if entry.method == method)
    return entry


def test_a_row_pools_the_predictions_of_one_run_a_fold(tmp_path: Path) -> None:
    folders = [add(tmp_path, "uniform", seed=s, num_folds=3, gflops=4.0 + s, accuracy=0.5 + 0.1 * s) for s in range(3)]
    (record,) = entry_of(tmp_path).main
    parts = [read_predictions(folder / "test.json") for folder in folders]
    label_NK, score_NK = (np.concatenate([getattr(part, name) for part in parts]) for name in ("label_NK", "score_NK"))
    assert record.data_info.num_videos == len(label_NK) == 3 * NUM_VIDEOS
    assert record.metrics.map == mean_average_precision(label_NK, score_NK)
    assert record.metrics.map != pytest.approx(np.mean([part.metrics.map for part in record.parts]), abs=1e-6)
    (whole,) = entry_of(tmp_path).predictions()
    assert record.metrics.map_interval == interval(bootstrap_map(whole, 1000))
    assert record.cost.gflops_per_video == pytest.approx(5.0) == record.cost.components["backbone"]
    assert record.training.gmacs == pytest.approx(10 + 1)  # the toys' are 10 and their seed
    assert record.validation is not None and record.validation.map == pytest.approx(0.6)
    assert [part.seed for part in record.parts] == [0, 1, 2] and record.seed == 0


def test_several_rounds_of_the_folds_are_several_runs(tmp_path: Path) -> None:
    add_folds(tmp_path, "uniform", 0, 1, 2, 3, 4, 5, 6)
    entry = entry_of(tmp_path)
    assert [[part.seed for part in record.parts] for record in entry.main] == [[0, 1, 2], [3, 4, 5]]
    assert entry.seeds == (0, 1) and set(entry.runs()) == {0, 1}


def test_before_all_folds_are_there_those_that_are_stand_alone(tmp_path: Path) -> None:
    add_folds(tmp_path, "uniform", 0, 1, 3)
    assert [[part.seed for part in record.parts] for record in entry_of(tmp_path).main] == [[0, 1]]
    add_folds(tmp_path, "sharp", 0, 1, 2)
    with_uniform = compared(tmp_path, "sharp")  # of all folds
    assert with_uniform.difference is None and with_uniform.why_not == "no results under its conditions"


def compared(results: Path, method: str) -> Comparison:
    """A method against uniform."""
    return against_label(entry_of(results, method), "uniform", read_entries(results))


def test_pooled_runs_are_compared_video_by_video(tmp_path: Path) -> None:
    add_folds(tmp_path, "uniform", 0, 1, 2, accuracy=0.5)
    add_folds(tmp_path, "sharp", 0, 1, 2, accuracy=0.9)
    difference = compared(tmp_path, "sharp").difference
    sharp, uniform = (entry_of(tmp_path, name).main[0].metrics.map for name in ("sharp", "uniform"))
    assert difference is not None and list(difference.per_seed) == [0]
    assert difference.mean == pytest.approx(sharp - uniform)


def test_the_curve_of_one_fold_is_reported_where_the_others_have_none_yet(tmp_path: Path) -> None:
    add_folds(tmp_path, "uniform", 0, 1, 2)
    add_folds(tmp_path, "uniform", 1, point="curve-half", gflops=2.0, operating_point={"num_frames": 2})
    with pytest.raises(ValueError, match="expected curve points, found only its main one"):
        curve_report(tmp_path, "uniform")
    assert "num_frames=2" in curve_report(tmp_path, "uniform", seeds=[1])


def test_a_point_without_all_folds_is_left_out_and_curves_along_the_videos_are_means(tmp_path: Path) -> None:
    folders = add_folds(tmp_path, "uniform", 0, 1, 2)
    add_folds(tmp_path, "uniform", 0, 1, point="curve-half")
    for folder in folders:
        add_online(folder, 2, 0.5)
    entry = entry_of(tmp_path)
    assert set(entry.points) == {"test"} and len(entry.online) == 3


def test_the_page_says_how_and_on_which_machines(tmp_path: Path) -> None:
    *_, last = add_folds(tmp_path, "uniform", 0, 1, 2)
    path = last / "test.json"
    path.write_text(path.read_text().replace("a machine", "another machine"))
    write_leaderboard(tmp_path)
    page = (tmp_path / "leaderboard.html").read_text()
    assert "1, 2, 3 of 3, the run of seed s on fold 1 + s mod 3; a row pools the predictions of one run a fold" in page
    assert f"{3 * NUM_VIDEOS} (test split)" in page and "a machine, another machine" in page


@pytest.mark.slow
def test_runs_on_ucf101_take_turns_and_make_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"data.path={write_copy(tmp_path)}", "data.num_workers=0", "recipe.batch_size=4", "recipe.num_frames=2"]
    words += ["recipe.warmup=null", "stages.further.epochs=1", "trainer.accelerator=cpu"]
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    assert main(["bench", "--method", "uniform", "--data", "ucf101", "--seeds", "0,1,2", *folders, *words]) == 0
    assert "uniform" in capsys.readouterr().out
    records = read_records(tmp_path / "results")
    assert [(record.seed, record.data_info.fold, record.data_info.num_folds) for record in records] == [
        (0, 0, 3),
        (1, 1, 3),
        (2, 2, 3),
    ]
    assert len({record.config_hash for record in records}) == 1
    assert not any(str(tmp_path) in record.path.read_text(encoding="utf-8") for record in records)
    (record,) = entry_of(tmp_path / "results").main
    (predictions,) = entry_of(tmp_path / "results").predictions()
    assert record.data_info.num_videos == 12 == len(set(predictions.video_id))  # two classes, six tested groups
    assert set(predictions.group_N) == {f"{name}/g{group:02d}" for name in NAMES[:2] for group in range(1, 7)}
    verify(tmp_path / "results")
