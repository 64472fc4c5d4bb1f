"""Records that say what their predictions and configurations do, and records that do not."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adavid.digest import code_digest
from adavid.evaluation.metrics import mean_average_precision, published_map
from adavid.evaluation.predictions import read_predictions
from adavid.evaluation.records import identity, model_identity
from benchmarks.report import verify
from benchmarks.report.retrained import RETRAINED_CSV, write_retrained
from tests.benchmarks.test_retrained import comparison
from tests.benchmarks.toys import ACTIONS, add, add_latency, add_online, add_strips

CONFIG: dict[str, Any] = {"method": "sharp", "seed": 0, "model": {"alpha": 0.25}, "test": {"rho": 0.5}}
CONFIG |= {"usage": {"paper": {"64": 1.0}}, "sources": ["methods.uniform", "datamodules.sprites"]}
HASH, MODEL_HASH = identity(CONFIG, "f0f0f0f0"), model_identity(CONFIG, "f0f0f0f0")
CODE = code_digest(*CONFIG["sources"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's records, as they are handed in."""
    made: dict[str, Any] = {"actions": ACTIONS, "config": CONFIG, "config_hash": HASH, "num_replicates": 1000}
    made |= {"code": CODE, "model_hash": MODEL_HASH}
    for point in ("test", "shuffled", "curve-num_frames=3"):
        folder = add(tmp_path / "results", "sharp", point=point, **made)
    add_online(folder, max_close=2, top1=0.5, config_hash=HASH)
    add_latency(folder, config_hash=HASH)
    add_strips(folder, ACTIONS)
    return folder


def change(path: Path, place: str, value: Any) -> None:
    content = json.loads(path.read_text())
    *steps, last = place.split(".")
    at = content
    for step in steps:
        at = at[step]
    at[last] = value
    path.write_text(json.dumps(content))


def test_a_good_folder_passes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(folder)
    verify(folder.parents[5])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and all(line.endswith(": reproduced") for line in lines)
    assert re.match(r"sharp, seed 0, test \(.*\): \d\d\.\d\d mAP, 4 GFLOPs", lines[2])


CHANGES = [
    ("metrics.map", 0.99, r"metrics\.map: recorded 0\.99, recomputed 0\.\d+"),
    ("metrics.map_interval", [0.9, 0.95], r"metrics\.map_interval\.0: recorded 0\.9, recomputed"),
    ("metrics.per_class_ap", {"cat": 1.0, "dog": 1.0, "owl": 1.0}, r"metrics\.per_class_ap\.cat: recorded 1\.0"),
    ("cost.gflops_per_video", 3.0, r"cost\.gflops_per_video: recorded 3\.0, recomputed 4\.0"),
    ("cost.components", {"backbone": 3.0}, r"cost\.components, their sum: recorded 3\.0, recomputed 4\.0"),
    ("cost.audited_gflops_per_video", 5.0, r"cost\.audited_gflops_per_video: expected at most 4\.0, recorded 5\.0"),
    (
        "levels",
        [{"name": "hard", "num_videos": 3, "accuracy": 1.0}],
        r"levels: recorded \({'name': 'hard', .*},\), recomputed \(\)",
    ),
    ("usage.overall", [1.0, 0.0, 0.0], r"usage\.overall\.0: recorded 1\.0, recomputed 0\.\d+"),
    ("frames.used", 1.0, r"frames\.used: recorded 1\.0, recomputed"),
    ("frames.num_frames", 5, r"frames\.num_frames: recorded 5, recomputed 4"),
    ("data_info.num_videos", 130, r"data_info\.num_videos: recorded 130, recomputed 120"),
    ("data_info.fingerprint", "0e0e0e0e", rf"config_hash: recorded '{HASH}', recomputed"),
    ("config.model.alpha", 0.5, rf"config_hash: recorded '{HASH}', recomputed"),
    ("config.test.rho", 1.0, rf"config_hash: recorded '{HASH}', recomputed"),
    ("model_hash", "01234567", rf"model_hash: recorded '01234567', recomputed '{MODEL_HASH}'"),
    ("config.seed", 1, r"config\.seed: recorded 1, recomputed 0"),
    ("seed", 1, "expected in toys/tiny/sharp/.*/seed1, found in toys/tiny/sharp/.*/seed0"),
]


@pytest.mark.parametrize(("place", "value", "message"), CHANGES)
def test_a_changed_number_is_named(
    folder: Path, place: str, value: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folder / "test.json", place, value)
    with pytest.raises(ValueError, match=rf"not reproduced\n(.*\n)*{folder}/test\.json: {message}") as error:
        verify(folder)
    assert all("/test.json: " in line for line in str(error.value).splitlines()[1:])
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("reproduced") for line in lines] == [True, True, False]


@pytest.mark.parametrize(("place", "value"), [("code", "01234567"), ("config.sources", ["methods.nobodys"])])
def test_a_record_of_other_code_is_said_to_be(
    folder: Path, place: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folder / "test.json", place, value)
    verify(folder)  # that is no fault
    *_, last = capsys.readouterr().out.splitlines()
    assert last.endswith(": reproduced; made by other code of which nothing was shown")


@pytest.mark.parametrize(("score", "said"), [(0.0, "code that was shown to make the same"), (0.1, "other code with")])
def test_what_was_shown_of_its_code_is_said(
    folder: Path, score: float, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(folder / "test.json", "code", "01234567")
    write_retrained(folder.parents[4] / RETRAINED_CSV, [comparison("01234567", CODE, score)])
    verify(folder)
    *_, last = capsys.readouterr().out.splitlines()
    assert f": reproduced; made by {said}" in last


def test_sizes_of_actions_that_are_not_the_methods_are_named(folder: Path) -> None:
    actions = json.loads((folder / "test.json").read_text())["usage"]["actions"]
    change(folder / "test.json", "usage.actions", [actions[0], {**actions[1], "size": 0}, actions[2]])
    with pytest.raises(ValueError, match=r"frames\.used, by the actions taken: recorded .*, recomputed"):
        verify(folder)


def test_changed_predictions_are_named(folder: Path) -> None:
    path = folder / "test.npz"
    arrays = vars(read_predictions(path))
    np.savez_compressed(path, **arrays | {"macs_N": arrays["macs_N"] + 10**9, "score_NK": arrays["label_NK"]})
    with pytest.raises(ValueError) as error:
        verify(folder)
    for key in ("metrics.map", "metrics.top1", "cost.gflops_per_video", "cost.gflops_per_frame", "cost.components"):
        assert f"{folder}/test.json: {key}" in str(error.value)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"test\.npz: expected the predictions of a run"):
        verify(folder)


@pytest.mark.parametrize("name", ["online.json", "latency.json"])
def test_what_stands_beside_is_whole_and_in_its_place(folder: Path, name: str) -> None:
    change(folder / name, "config_hash", "01234567")
    with pytest.raises(ValueError, match=rf"{name}: expected in toys/tiny/sharp/01234567/seed0, found in .*/{HASH}/"):
        verify(folder)
    (folder / name).write_text("{")
    with pytest.raises(ValueError, match=rf"{name}: expected JSON"):
        verify(folder)


def test_with_several_labels_the_map_is_said_as_others_count_it_too(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "test.npz"
    arrays = vars(read_predictions(path))
    label_NK = arrays["label_NK"].copy()
    label_NK[:, 2] = 1  # beside what each has; the first label is the lowest
    np.savez_compressed(path, **arrays | {"label_NK": label_NK})
    with pytest.raises(ValueError, match="not reproduced"):
        verify(folder)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    over_all = mean_average_precision(label_NK, arrays["score_NK"])
    over_first = mean_average_precision(arrays["label_NK"], arrays["score_NK"])
    published = published_map(label_NK, arrays["score_NK"])
    assert line == (
        f"  mAP over all labels {100 * over_all:.2f}, over the first label alone {100 * over_first:.2f}; "
        f"as AR-Net's and AdaFocus's code counts {100 * published:.2f}"
    )


def test_no_records(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected records, found none"):
        verify(tmp_path)
