import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adavid.actions import ActionSpace, PatchGrid
from adavid.environment import device_name, git_revision, versions
from adavid.evaluation.predictions import Predictions, read_predictions
from adavid.evaluation.records import KEYS, read_records, withdraw, write_record
from adavid.evaluation.summary import summarize

NAMES, ACTIONS = ["cat", "dog", "fox"], ActionSpace(("64", "32", "skip"), (64, 32, 0))


@pytest.fixture
def predictions() -> Predictions:
    return Predictions(
        video_id=np.array(["a", "b", "c", "d"]),
        label_NK=np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]]),
        score_NK=np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.4, 0.5, 0.1], [0.3, 0.4, 0.3]]),
        action_NT=np.array([[0, 1, 2, 2], [0, 0, -1, -1], [1, 1, 1, 1], [0, 2, 2, 2]]),
        macs_N=np.array([1, 2, 3, 10]) * 10**9,
        frames_used_N=np.array([2, 2, 4, 1]),
    )


def summary(predictions: Predictions, names: list[str] = NAMES, actions: ActionSpace = ACTIONS) -> dict[str, Any]:
    return summarize(
        predictions,
        names,
        actions,
        num_frames=4,
        components={"policy": 1.5, "backbone": 2.5},
        audited_gflops_per_video=3.9,
        frames_decoded=4.0,
    )


def a_record(predictions: Predictions, point: str = "test") -> dict[str, Any]:
    return {key: "" for key in KEYS} | summary(predictions) | {"schema": 1, "point": point}


def test_summary_in_closed_form(predictions: Predictions) -> None:
    blocks = summary(predictions)
    metrics = blocks["metrics"]
    assert metrics["per_class_ap"] == pytest.approx({"cat": 1.0, "dog": 1.0, "fox": 0.0})
    assert metrics["map"] == pytest.approx(2 / 3) and metrics["top1"] == 0.75
    assert metrics["classes_without_positives"] == ["fox"]
    assert metrics["map_interval"][0] <= metrics["map"] <= metrics["map_interval"][1]
    assert blocks["cost"].pop("components") == {"policy": 1.5, "backbone": 2.5}
    assert blocks["cost"] == pytest.approx(
        {
            "gflops_per_video": 4.0,
            "gflops_per_video_median": 2.5,
            "gflops_per_video_p90": 7.9,
            "gflops_per_frame": 1.0,
            "audited_gflops_per_video": 3.9,
        }
    )
    assert blocks["usage"]["overall"] == pytest.approx([4 / 14, 5 / 14, 5 / 14])
    assert blocks["usage"]["by_class"]["dog"] == pytest.approx([2 / 6, 4 / 6, 0])
    assert blocks["usage"]["by_class"].keys() == {"cat", "dog"}
    assert blocks["frames"] == {"num_frames": 4, "used": 2.25, "decoded": 4.0}


def test_the_usage_of_patches_counts_their_places_together(predictions: Predictions) -> None:
    actions = ActionSpace(("patch", "skip"), (8, 0), grid=PatchGrid(16, 8, 2))  # 4 places, then the skip
    action_NT = np.array([[0, 1, 4, 4], [3, 3, -1, -1], [4, 4, 4, 4], [0, 0, 0, 3]])
    usage = summary(dataclasses.replace(predictions, action_NT=action_NT), actions=actions)["usage"]
    assert usage["actions"] == ["patch", "skip"] and usage["overall"] == pytest.approx([8 / 14, 6 / 14])
    assert usage["num_places"] == 4
    assert usage["where"] == [[4 / 8, 1 / 8], [0, 3 / 8]]


def test_round_trip_and_recomputation_from_the_npz(predictions: Predictions, tmp_path: Path) -> None:
    written = a_record(predictions, "curve-threshold=0.5")
    path = write_record(tmp_path / "arnet" / "seed0", written["point"], written, predictions)
    assert path.name == "curve-threshold=0.5.json"
    [record] = read_records(tmp_path, tmp_path / "absent")
    assert record == written and record.path == path
    again = read_predictions(record.path)
    assert summary(again) == summary(predictions)
    assert again.score_NK.dtype == np.float32 and again.action_NT.dtype == np.int32


@pytest.mark.parametrize("replacement", ["npz", "json"])
def test_killed_while_writing_leaves_no_record(
    predictions: Predictions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replacement: str
) -> None:
    record = a_record(predictions)
    write_record(tmp_path, "test", record, predictions)  # an earlier run of the same point

    def killed(source: Path, target: Path, replace=os.replace) -> None:
        if target.suffix == f".{replacement}":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_record(tmp_path, "test", record, predictions)
    assert read_records(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["test.npz"]


def test_other_and_temporary_files_are_skipped(predictions: Predictions, tmp_path: Path) -> None:
    write_record(tmp_path, "test", a_record(predictions), predictions)
    for name in ("latency.json", "latency-forced.json", "strips.json", ".shuffled.json.12.tmp"):
        (tmp_path / name).write_text("[")
    tables = tmp_path / "wandb" / "offline-run" / "files" / "media" / "table"
    tables.mkdir(parents=True)
    (tables / "strips_0.table.json").write_text("{}")
    assert [record["point"] for record in read_records(tmp_path)] == ["test"]


def test_withdrawn_records_are_gone_and_other_files_stay(predictions: Predictions, tmp_path: Path) -> None:
    for point in ("test", "curve-num_frames=4"):
        write_record(tmp_path, point, a_record(predictions, point), predictions)
    for name in ("0-joint.pt", "latency-forced.json", "latency.json", "online.json"):
        (tmp_path / name).touch()
    withdraw(tmp_path)  # forced decisions' times are not those of a trained model
    assert {path.name for path in tmp_path.iterdir()} == {"0-joint.pt", "latency-forced.json"}


@pytest.mark.parametrize("text", ["{", "[1]", '{"schema": 2}', '{"schema": 1}', "\x00"])
def test_a_file_that_is_no_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "test.json").write_text(text)
    with pytest.raises(ValueError, match=r"test\.json: expected"):
        read_records(tmp_path)


def test_what_is_wrong_with_a_record_is_said_before_anything_is_written(
    predictions: Predictions, tmp_path: Path
) -> None:
    record = a_record(predictions)
    with pytest.raises(ValueError, match="unknown key 'metric', did you mean 'metrics'"):
        write_record(tmp_path, "test", record | {"metric": {}}, predictions)
    with pytest.raises(ValueError, match="expected a record of point 'shuffled', got 'test'"):
        write_record(tmp_path, "shuffled", record, predictions)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(tmp_path, "test", record | {"times": {"train_s": float("nan")}}, predictions)
    assert not list(tmp_path.iterdir())


def test_damaged_predictions_are_named(predictions: Predictions, tmp_path: Path) -> None:
    path = write_record(tmp_path, "test", a_record(predictions), predictions)
    npz = tmp_path / "test.npz"
    npz.write_bytes(npz.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"test\.npz: expected the predictions"):
        read_predictions(path)
    npz.unlink()
    with pytest.raises(ValueError, match=r"test\.npz: expected the predictions"):
        read_predictions(path)


def test_floats_come_back_as_they_were(predictions: Predictions, tmp_path: Path) -> None:
    record = a_record(predictions) | {"times": {"train_s": 0.1 + 0.2, "eval_s": 1.0}}
    content = json.loads(write_record(tmp_path, "test", record, predictions).read_text())
    assert content["times"]["train_s"] == 0.1 + 0.2 and isinstance(content["times"]["eval_s"], float)


def test_predictions_agree_in_length_type_and_uniqueness(predictions: Predictions) -> None:
    arrays = vars(predictions)
    with pytest.raises(ValueError, match="macs_N: expected 4 videos, got 3"):
        Predictions(**arrays | {"macs_N": [1, 2, 3]})
    with pytest.raises(ValueError, match="action_NT: expected values that fit int32"):
        Predictions(**arrays | {"action_NT": np.full((4, 1), 2**40)})
    twice = predictions.select(np.array([3, 0, 1, 2, 3]))
    with pytest.raises(ValueError, match="got video 'd' 2 times"):
        summary(twice)
    assert summary(twice.unique()) == summary(predictions)


def test_names_that_do_not_fit(predictions: Predictions) -> None:
    with pytest.raises(ValueError, match="class names: expected 3, got 2"):
        summary(predictions, names=NAMES[:2])
    with pytest.raises(ValueError, match="actions: expected 3, got 2"):
        summary(predictions, actions=ActionSpace(ACTIONS.names[:2], ACTIONS.sizes[:2]))


def test_provenance() -> None:
    assert versions().keys() >= {"python", "torch", "torchvision", "pytorch-lightning", "timm", "av", "numpy"}
    assert git_revision() and device_name() and device_name("cpu") == device_name()
