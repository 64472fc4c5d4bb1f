import dataclasses
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adavid.actions import ActionSpace, PatchGrid
from adavid.environment import device_name, git_revision, versions
from adavid.evaluation.predictions import Predictions, read_predictions
from adavid.evaluation.records import (
    OTHER_KINDS,
    DataInfo,
    LatencyBeside,
    LatencyRecord,
    LatencyRow,
    OnlinePoint,
    OnlineRecord,
    Record,
    Strip,
    Training,
    Validation,
    read_records,
    withdraw,
    write_latency,
    write_online,
    write_record,
    write_strips_json,
)
from adavid.evaluation.room import (
    RoomAnswers,
    RoomEvidence,
    RoomRecord,
    read_room_answers,
    room_points,
    sufficient_shares,
    write_room,
)
from adavid.evaluation.schema import SCHEMA, read_json, to_json
from adavid.evaluation.summary import ActionShares, Metrics, Summary, summarize

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
        level_N=np.array(["hard", "easy", "hard", ""]),
    )


def summary(predictions: Predictions, names: list[str] = NAMES, actions: ActionSpace = ACTIONS) -> Summary:
    return summarize(
        predictions,
        names,
        actions.kinds,
        num_frames=4,
        components={"policy": 1.5, "backbone": 2.5},
        audited_gflops_per_video=3.9,
        frames_decoded=4.0,
        frames_decoded_on_demand=2.5,
        level_names=["easy", "medium", "hard"],
    )


def a_record(predictions: Predictions, point: str = "test", **others: Any) -> Record:
    values: dict[str, Any] = {
        **{"schema": SCHEMA, "method": "arnet", "variant": "", "data": "toys", "profile": "tiny", "seed": 0},
        **{"split": "test", "origin": "measured", "point": point, "operating_point": {"num_frames": 4}},
        **dict(summary(predictions)),
        "training": Training(gmacs=1.0, stages=()),
        "data_info": DataInfo(num_videos=4, num_skipped_bad=0, fingerprint="f0f0f0f0", class_names=tuple(NAMES)),
        **{"config": {"model": {"dropout": None, "sizes": [64, 32]}}, "config_hash": "abcdef01"},
        **{"validation": Validation(map=0.5, gflops_per_video=4.0), "model_hash": "01abcdef", "code": "0123abcd"},
        **{"git_revision": "0" * 40, "versions": {"torch": "2"}, "device": "a machine", "times": {"train_s": 1.5}},
    }
    return Record(**values | others)


def the_others() -> dict[str, Any]:
    """One of each that stands beside records, by its file's name."""
    names: dict[str, Any] = {
        **{"schema": SCHEMA, "method": "liteeval", "variant": "gru", "data": "toys", "profile": "tiny", "seed": 1},
        "config_hash": "abcdef01",
    }
    numbers = {key: 2.0 for key in LatencyRow.model_fields if "spread" not in key and key != "beside"}
    spreads = {key: (1.0, 3.0) for key in LatencyRow.model_fields if "spread" in key}
    of_beside = {key: numbers[key] for key in LatencyBeside.model_fields.keys() & numbers.keys()}
    beside = LatencyBeside(baseline="lstm_cf", speedup_spread=(1.0, 3.0), **of_beside)
    times = LatencyRecord(
        **names,
        **{"kind": "latency", "device": "a machine", "num_threads": 2, "precision": "32-true", "num_classes": 3},
        **{"baseline": "uniform", "weights": "trained", "decisions": "own", "num_frames": 4},
        usage=ActionShares(actions=ACTIONS.kinds, overall=(0.5, 0.25, 0.25)),
        rows=(LatencyRow(**numbers | spreads | {"batch_size": 16, "repeats": 3, "beside": (beside,)}),),
    )
    point = {"axis": "close", "value": 1, "by": "own", "top1": 0.5, "map": 0.5, "frames": 4.0}
    point |= {"gflops": 1.0, "gflops_std": 0.5, "num_close": 1.0, "num_close_std": 0.0}
    strip = {"video_id": "a", "label": "cat", "prediction": "dog", "correct": False, "gflops": 1.0}
    strip |= {"actions": ("64", "skip"), "boxes": ((0.0, 0.5, 0.5, 0.5), None), "image": "strips/0.jpg"}
    return {
        "latency.json": times,
        "latency-forced.json": times.model_copy(update={"decisions": "forced"}),
        "online.json": OnlineRecord(**names, kind="online", baseline="uniform", points=(OnlinePoint(**point),)),
        "strips.json": (Strip(**strip),),
        "room.json": a_room(answers()),
    }


def answers() -> RoomAnswers:
    """Two seeds, all frames and clear evidence, two resolutions, three videos."""
    rng = np.random.default_rng(0)
    score_SFRNK = rng.random((2, 2, 2, 3, 2)).astype(np.float32)
    is_shown_NT = np.array([[1, 1], [0, 1], [0, 0]], bool)
    videos = (np.array(["a", "b", "c"]), np.eye(2, dtype=np.uint8)[[0, 1, 0]], np.array(["easy", "hard", "hard"]))
    macs_SFRN = rng.integers(10**9, size=(2, 2, 2, 3))
    return RoomAnswers(*videos, score_SFRNK, macs_SFRN, is_shown_NT, is_shown_NT & [True, False])


def a_room(of: RoomAnswers) -> RoomRecord:
    return RoomRecord(
        **{"schema": SCHEMA, "kind": "room", "data": "toys", "profile": "tiny", "split": "test", "chance": 0.5},
        **{"fingerprint": "f0f0f0f0", "networks": "cascade", "config_hash": "abcdef01", "seeds": (0, 1)},
        **{"num_videos": 3, "num_frames": 2, "sizes": (32, 64)},
        points=room_points(of, (32, 64), ("easy", "hard")),
        sufficient=sufficient_shares(of, ("easy", "hard")),
        evidence=RoomEvidence(shown=0.5, clear=1 / 6, without_clear=2 / 3, separability={"brightness, mean": 0.5}),
    )


def test_summary_in_closed_form(predictions: Predictions) -> None:
    of = summary(predictions)
    metrics = of.metrics
    assert metrics.per_class_ap == pytest.approx({"cat": 1.0, "dog": 1.0, "fox": 0.0})
    assert metrics.map == pytest.approx(2 / 3) and metrics.top1 == 0.75
    assert metrics.classes_without_positives == ("fox",)
    assert metrics.map_interval[0] <= metrics.map <= metrics.map_interval[1]
    assert of.cost.components == {"policy": 1.5, "backbone": 2.5}
    assert of.cost.model_dump(exclude={"components"}) == pytest.approx(
        {
            "gflops_per_video": 4.0,
            "gflops_per_video_median": 2.5,
            "gflops_per_video_p90": 7.9,
            "gflops_per_frame": 1.0,
            "audited_gflops_per_video": 3.9,
        }
    )
    assert of.usage.actions == ACTIONS.kinds and of.usage.where is None
    assert of.usage.overall == pytest.approx([4 / 14, 5 / 14, 5 / 14])
    assert of.usage.by_class["dog"] == pytest.approx([2 / 6, 4 / 6, 0])
    assert of.usage.by_class.keys() == {"cat", "dog"}
    assert of.frames.model_dump() == {"num_frames": 4, "used": 2.25, "decoded": 4.0, "decoded_on_demand": 2.5}


def test_classes_that_no_video_has_cap_the_score(predictions: Predictions) -> None:
    capped = summary(predictions).metrics
    assert capped.caveat == "no video of 1 of 3 classes (fox), which score 0: mAP at most 66.67"
    assert 100 * capped.map == pytest.approx(66.67, abs=0.005)  # every video that there is comes first in its class
    many = capped.model_copy(update={"classes_without_positives": ("a", "b", "c", "d", "e", "f", "g")})
    assert "(a, b, c, d, e and 2 more)" in many.caveat
    all_there = capped.model_copy(update={"classes_without_positives": ()})
    assert all_there.caveat == ""


def test_the_usage_of_patches_counts_their_places_together(predictions: Predictions) -> None:
    actions = ActionSpace(("patch", "skip"), (8, 0), grid=PatchGrid(16, 8, 2))  # 4 places, then the skip
    action_NT = np.array([[0, 1, 4, 4], [3, 3, -1, -1], [4, 4, 4, 4], [0, 0, 0, 3]])
    usage = summary(dataclasses.replace(predictions, action_NT=action_NT), actions=actions).usage
    assert usage.names == ["patch", "skip"] and usage.overall == pytest.approx([8 / 14, 6 / 14])
    assert [action.places for action in usage.actions] == [4, 1]
    assert usage.where == ((4 / 8, 1 / 8), (0, 3 / 8))


def test_round_trip_and_recomputation_from_the_npz(predictions: Predictions, tmp_path: Path) -> None:
    written = write_record(tmp_path / "arnet" / "seed0", a_record(predictions, "curve-threshold=0.5"), predictions)
    assert written.path == tmp_path / "arnet" / "seed0" / "curve-threshold=0.5.json"
    [record] = read_records(tmp_path, tmp_path / "absent")
    assert record == written and record.path == written.path
    assert "path" not in json.loads(record.path.read_text())
    again = read_predictions(record.path)
    assert summary(again) == summary(predictions)
    assert again.score_NK.dtype == np.float32 and again.action_NT.dtype == np.int32


def test_what_stands_beside_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    others = the_others()
    assert others.keys() == OTHER_KINDS.keys()
    for name in ("latency.json", "latency-forced.json"):
        assert write_latency(tmp_path, others[name]).name == name
    assert write_online(tmp_path, others["online.json"]).name == "online.json"
    assert write_strips_json(tmp_path, others["strips.json"]).name == "strips.json"
    of_room = answers()
    path = write_room(tmp_path, others["room.json"], of_room)
    assert path.name == "room.json" and not read_records(tmp_path)
    for field in dataclasses.fields(of_room):
        assert np.array_equal(getattr(read_room_answers(path), field.name), getattr(of_room, field.name))
    path.with_suffix(".npz").unlink()
    with pytest.raises(ValueError, match=r"room\.npz: expected the answers of a room: "):
        read_room_answers(path)
    for name, kind in OTHER_KINDS.items():
        content = read_json(kind, tmp_path / name)
        assert json.dumps(dumped(content)) == json.dumps(dumped(others[name]))
    assert read_json(LatencyRecord, tmp_path / "latency.json").label == "liteeval@gru"


def dumped(content: Any) -> Any:
    return [block.model_dump() for block in content] if isinstance(content, tuple) else content.model_dump()


@pytest.mark.parametrize("replacement", ["npz", "json"])
def test_killed_while_writing_leaves_no_record(
    predictions: Predictions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replacement: str
) -> None:
    record = a_record(predictions)
    write_record(tmp_path, record, predictions)  # an earlier run of the same point

    def killed(source: Path, target: Path, replace=os.replace) -> None:
        if target.suffix == f".{replacement}":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_record(tmp_path, record, predictions)
    assert read_records(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["test.npz"]


def test_other_and_temporary_files_are_skipped(predictions: Predictions, tmp_path: Path) -> None:
    write_record(tmp_path, a_record(predictions), predictions)
    for name in ("latency.json", "latency-forced.json", "strips.json", ".shuffled.json.12.tmp"):
        (tmp_path / name).write_text("[")
    tables = tmp_path / "wandb" / "offline-run" / "files" / "media" / "table"
    tables.mkdir(parents=True)
    (tables / "strips_0.table.json").write_text("{}")
    assert [record.point for record in read_records(tmp_path)] == ["test"]


def test_withdrawn_records_are_gone_and_other_files_stay(predictions: Predictions, tmp_path: Path) -> None:
    for point in ("test", "curve-num_frames=4"):
        write_record(tmp_path, a_record(predictions, point), predictions)
    for name in ("0-joint.pt", "latency-forced.json", "latency.json", "online.json"):
        (tmp_path / name).touch()
    withdraw(tmp_path)  # forced decisions' times are not those of a trained model
    assert {path.name for path in tmp_path.iterdir()} == {"0-joint.pt", "latency-forced.json"}


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"schema": 1}', '{"schema": 3}', "\x00", "{}", '{"schema": 3, "seed": 0.5}']
)
def test_a_file_that_is_no_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "test.json").write_text(text)
    with pytest.raises(ValueError, match=r"test\.json: expected .*[^\n]$"):
        read_records(tmp_path)


def spoilt(content: Any, place: str, value: Any) -> str:
    """A file's text with another value, or a new key, at a place such as "rows.0.repeats"."""
    plain = json.loads(to_json(content))
    *steps, last = [int(step) if step.isdigit() else step for step in place.split(".")]
    at = plain
    for step in steps:
        at = at[step]
    at[last] = value
    return json.dumps(plain)


SPOILT = {
    "test.json": [
        ("metrics.mapp", 0.5, "key 'metrics.mapp' is unknown; did you mean 'map'?"),
        ("metric", {}, "key 'metric' is unknown; did you mean 'metrics'?"),
        ("usage.actions.0.sizes", 1, "key 'usage.actions.0.sizes' is unknown; did you mean 'size'?"),
        ("schema", 1, "expected schema 3, got 1"),
        ("metrics.map", "much", "metrics.map: expected a valid number, got 'much'"),
        ("metrics.map", float("nan"), "metrics.map: expected a finite number, got nan"),
        ("metrics.map_interval", [0.5], "metrics.map_interval.1"),
        ("seed", True, "seed: expected a valid integer, got True"),
        ("origin", "guessed", "origin: expected 'measured', got 'guessed'"),
        ("usage.overall", [1.0], "usage: overall: expected a share for each of 3 actions"),
        ("usage.by_class.cat", [1.0], "usage: by_class.cat: expected a share for each of 3 actions"),
    ],
    "latency.json": [
        ("rows.0.overheat", 1.0, "key 'rows.0.overheat' is unknown; did you mean 'overhead'?"),
        ("rows.0.repeats", 1.5, "rows.0.repeats: expected a valid integer"),
        ("schema", 1, "expected schema 3, got 1"),
        ("usage", {"64": 1.0}, "key 'usage.64' is unknown; there is actions, overall"),
    ],
    "latency-forced.json": [("weights", "trian", "weights: expected 'trained' or 'random', got 'trian'")],
    "online.json": [
        ("points.0.axes", "close", "key 'points.0.axes' is unknown; did you mean 'axis'?"),
        ("points.0.top1", None, "points.0.top1: expected a valid number, got None"),
        ("kind", "latency", "kind: expected 'online', got 'latency'"),
    ],
    "room.json": [
        ("points.0.sizes", 32, "key 'points.0.sizes' is unknown; did you mean 'size'?"),
        ("points.0.frames", "some", "points.0.frames: expected 'all' or 'evidence', got 'some'"),
        ("points.0.top1", [0.5], "points: expected a value for each of 2 seeds"),
        ("sufficient.0.shares", [1.0], "sufficient: expected a share for each of 2 sizes, and for none"),
    ],
    "strips.json": [
        ("0.lable", "cat", "key '0.lable' is unknown; did you mean 'label'?"),
        ("0.boxes", [None], "0: boxes: expected one or null for each of 2 frames"),
        ("0.correct", "no", "0.correct: expected a valid boolean, got 'no'"),
    ],
}


@pytest.mark.parametrize(
    ("name", "place", "value", "message"), [(name, *case) for name, cases in SPOILT.items() for case in cases]
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(
    predictions: Predictions, tmp_path: Path, name: str, place: str, value: Any, message: str
) -> None:
    content = ({"test.json": a_record(predictions)} | the_others())[name]
    path = tmp_path / name
    path.write_text(spoilt(content, place, value))
    with pytest.raises(ValueError) as error:
        read_json({"test.json": Record, **OTHER_KINDS}[name], path)
    assert "\n" not in str(error.value) and str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["test.json", *OTHER_KINDS])
@pytest.mark.parametrize("text", ["", "{", "3", '"text"', "\x00", b"\xff\xfe", '{"a": 1}', "[[]]"])
def test_a_foreign_or_damaged_file_is_named_whatever_it_was_to_be(tmp_path: Path, name: str, text: str | bytes) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))}: (0: |0\.0: )?(expected|key) [^\n]*$"):
        read_json({"test.json": Record, **OTHER_KINDS}[name], path)
    with pytest.raises(ValueError, match=r"nowhere\.json: expected to read it: No such file"):
        read_json(Record, tmp_path / "nowhere.json")


def test_what_is_wrong_with_a_record_is_said_before_anything_is_written(
    predictions: Predictions, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="metric"):
        a_record(predictions, metric={})
    with pytest.raises(ValueError, match="finite"):
        a_record(predictions, times={"train_s": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(tmp_path, a_record(predictions, config={"model": {"alpha": float("nan")}}), predictions)
    assert not list(tmp_path.iterdir())


def test_a_part_of_the_split_is_no_record(predictions: Predictions, tmp_path: Path) -> None:
    record, some = a_record(predictions), predictions.select(np.arange(3))
    message = r"test\.json: expected predictions for all 4 videos of the split, got 3"
    with pytest.raises(ValueError, match=message):
        write_record(tmp_path, record, some)
    assert not list(tmp_path.iterdir())
    write_record(tmp_path, record, predictions)
    with pytest.raises(ValueError, match=message):
        write_record(tmp_path, record, some)
    assert len(read_predictions(tmp_path / "test.json").video_id) == 4  # the whole one stays


def test_numbers_are_not_changed_by_who_holds_them(predictions: Predictions) -> None:
    metrics = summary(predictions).metrics
    with pytest.raises(ValueError, match="frozen"):
        metrics.map = 1.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="finite"):
        Metrics(**dict(metrics) | {"map": float("inf")})


def test_damaged_predictions_are_named(predictions: Predictions, tmp_path: Path) -> None:
    path = write_record(tmp_path, a_record(predictions), predictions).path
    npz = tmp_path / "test.npz"
    npz.write_bytes(npz.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"test\.npz: expected the predictions"):
        read_predictions(path)
    npz.unlink()
    with pytest.raises(ValueError, match=r"test\.npz: expected the predictions"):
        read_predictions(path)


def test_floats_come_back_as_they_were(predictions: Predictions, tmp_path: Path) -> None:
    record = a_record(predictions, times={"train_s": 0.1 + 0.2, "eval_s": 1.0})
    content = json.loads(write_record(tmp_path, record, predictions).path.read_text())
    assert content["times"]["train_s"] == 0.1 + 0.2 and isinstance(content["times"]["eval_s"], float)


def test_predictions_from_before_there_were_groups(predictions: Predictions, tmp_path: Path) -> None:
    arrays = {name: value for name, value in vars(predictions).items() if name != "group_N"}
    np.savez(tmp_path / "test.npz", **arrays)
    assert read_predictions(tmp_path / "test.npz").group_N.tolist() == [""] * 4
    np.savez(tmp_path / "test.npz", **{name: value for name, value in arrays.items() if name != "level_N"})
    with pytest.raises(ValueError, match="expected the predictions of a run: .*level_N"):
        read_predictions(tmp_path / "test.npz")


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


def test_accuracy_by_level_is_in_the_data_sets_order_and_over_the_levels_videos(predictions: Predictions) -> None:
    easy, hard = summary(predictions).levels  # of "medium" there is no video, one video has no level
    assert (easy.name, easy.num_videos, easy.accuracy) == ("easy", 1, 1.0)
    assert (hard.name, hard.num_videos, hard.accuracy) == ("hard", 2, 1.0)
    wrong = replace(predictions, score_NK=predictions.score_NK[[0, 1, 3, 2]] * [1, 1, 1.5])  # "fox" is none's
    assert [level.accuracy for level in summary(wrong).levels] == [1.0, 0.5]
    with pytest.raises(ValueError, match="levels: 'hardd' is unknown; did you mean 'hard'"):
        summary(replace(predictions, level_N=np.array(["hardd", "", "", ""])))


def test_names_that_do_not_fit(predictions: Predictions) -> None:
    with pytest.raises(ValueError, match="class names: expected 3, got 2"):
        summary(predictions, names=NAMES[:2])
    with pytest.raises(ValueError, match="actions: expected 3, got 2"):
        summary(predictions, actions=ActionSpace(ACTIONS.names[:2], ACTIONS.sizes[:2]))


def test_provenance() -> None:
    assert versions().keys() >= {"python", "torch", "torchvision", "pytorch-lightning", "timm", "av", "numpy"}
    assert git_revision() and device_name() and device_name("cpu") == device_name()
