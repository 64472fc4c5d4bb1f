"""Latency: forced decisions are exact, what is timed is what is billed. Nothing here depends on time."""

from pathlib import Path

import pytest
import torch
from torchvision.io import write_jpeg

from adavid.actions import ActionSpace
from adavid.chunks import CHUNKS
from adavid.cost import Ledger, price
from adavid.data.batch import View
from adavid.evaluation.records import LatencyRecord
from adavid.evaluation.schema import read_json
from benchmarks.__main__ import main
from benchmarks.compose import compose
from benchmarks.layers import methods_of
from benchmarks.measure.latency import Files, RecordingLedger, latency, latency_table, main_latency, random_batch
from benchmarks.measure.usage import forced_usage, parse_usage
from benchmarks.workspace import Workspace
from datamodules.folder import FolderCatalogue

ACTIONS = ActionSpace(
    ("224", "168", "112", "84", "skip-1", "skip-2", "skip-4"),
    (224, 168, 112, 84, 0, 0, 0),
    (1, 1, 1, 1, 1, 2, 4),
)
SHARES = {"224": 0.39, "168": 0.165, "112": 0.14, "84": 0.005, "skip-1": 0.06, "skip-2": 0.10, "skip-4": 0.14}
TINY = "64=.39,48=.165,32=.14,24=.005,skip-1=.06,skip-2=.10,skip-4=.14"


def test_forced_usage_is_exact_where_it_can_be() -> None:
    action_BT = forced_usage(ACTIONS, SHARES, 25, 16)
    assert action_BT.shape == (25, 16)
    assert torch.bincount(action_BT.flatten()).tolist() == [156, 66, 56, 2, 24, 40, 56]


@pytest.mark.parametrize("num_videos", [1, 2, 16])
def test_forced_usage_comes_in_whole_runs(num_videos: int) -> None:
    action_BT = forced_usage(ACTIONS, SHARES, num_videos, 16)
    for actions in action_BT.tolist():
        t = 0
        while t < 16:
            run = actions[t : t + ACTIONS.covers[actions[t]]]
            assert run == [actions[t]] * ACTIONS.covers[actions[t]]
            t += len(run)
    share_A = torch.bincount(action_BT.flatten(), minlength=7) / action_BT.numel()
    error_A = (share_A - torch.tensor(list(SHARES.values()))).abs()
    assert error_A.max() <= 4 / action_BT.numel()


def test_forced_usage_is_repeatable_and_shuffled() -> None:
    first, same, other = (forced_usage(ACTIONS, SHARES, 16, 16, seed) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"skip-3": 1.0}, "'skip-3' is unknown; did you mean 'skip-"),
        ({"224": 0.5}, "sum to 1, got 0.5"),
        ({"224": 1.5, "84": -0.5}, "'84' must not be negative"),
        ({"skip-4": 1.0}, "cannot hold whole runs"),
    ],
)
def test_forced_usage_refuses(shares: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        forced_usage(ACTIONS, shares, 3, 7)


def test_parse_usage() -> None:
    known = {"paper": {224: 0.5, "skip-1": 0.5}}
    assert parse_usage("", known) is None
    assert parse_usage("paper", known) == {"224": 0.5, "skip-1": 0.5} == parse_usage("224=.5, skip-1=0.5", {})
    with pytest.raises(ValueError, match="usage 'papr' is unknown; did you mean 'paper'"):
        parse_usage("papr", known)
    with pytest.raises(ValueError, match="expected action=share"):
        parse_usage("224=half", known)


@pytest.mark.parametrize("name", methods_of("tiny"))
def test_recorded_calls_are_the_bill(name: str) -> None:
    method = compose(name).build_method(5).eval()
    batch = random_batch(method.views, 3, 5)
    ledger = RecordingLedger(3)
    with torch.inference_mode():
        method(batch, ledger)
    rows = [
        (len(torch.utils._pytree.tree_leaves(call.inputs)[0]), price(call.module, *call.inputs).macs)
        for call in ledger.calls
    ]
    assert sum(num * macs for num, macs in rows) == ledger.total_B.sum().item() > 0
    if ledger.makes_rows_as_they_run:
        made = [of.like.shape[:-3].numel() for call in ledger.calls for of in call.rows]
        of_clips = [method.views[read.view].clip if read.inner is None else 1 for read in ledger.reads]
        assert made == [len(read.video_N) * clip for read, clip in zip(ledger.reads, of_clips, strict=True)]


def test_latency_record(tmp_path: Path) -> None:
    run = compose("arnet")
    workspace = Workspace(tmp_path, tmp_path / "runs", tmp_path / "cache")
    text = main_latency(run, workspace, TINY, num_classes=5, batch_sizes=(1, 2), repeats=(1, 1))
    assert "overhead" in text and "forced decisions" in text
    record = read_json(LatencyRecord, run.folder(workspace.records) / "latency-forced.json")
    assert record.weights == "random" and record.decisions == "forced"
    assert text == latency_table(record)
    assert sum(record.usage.overall) == pytest.approx(1)
    assert [(action.name, action.size, action.covers) for action in record.usage.actions][3:6] == [
        ("24", 24, 1),
        ("skip-1", 0, 1),
        ("skip-2", 0, 2),
    ]
    assert [row.batch_size for row in record.rows] == [1, 2]
    for row in record.rows:
        assert row.repeats == 1 and row.spread[0] == pytest.approx(row.ms_per_video)
        assert row.resize_ms_per_video is not None and row.resize_ms_per_video > 0
        assert row.speedup_theoretical == row.baseline_gflops_per_video / row.gflops_per_video > 1
    assert {path.name for path in run.folder(workspace.records).iterdir()} <= {".lock", "latency-forced.json"}


def test_own_decisions_need_training() -> None:
    with pytest.raises(ValueError, match="arnet is not trained: train it first, or force decisions"):
        latency(compose("arnet"), num_classes=5)


def test_one_action_needs_no_usage() -> None:
    record = latency(compose("uniform"), batch_sizes=(2,), num_classes=5, repeats=(1, 1))
    assert (record.usage.names, record.usage.overall) == (["64"], (1.0,)) and record.decisions == "own"
    assert record.rows[0].speedup_theoretical == 1


def test_a_method_is_timed_beside_its_own_papers_baseline_too() -> None:
    record = latency(compose("liteeval"), (2,), {"fine": 0.5, "coarse": 0.5}, num_classes=5, repeats=(1, 1))
    (row,) = record.rows
    assert row.beside is not None
    (beside,) = row.beside
    assert (record.baseline, beside.baseline) == ("uniform", "lstm_cf")
    assert beside.speedup_theoretical == beside.gflops_per_video / row.gflops_per_video
    assert beside.speedup_realised == beside.ms_per_video / row.ms_per_video
    assert beside.speedup_allowed == beside.components_ms_per_video / row.components_ms_per_video
    assert row.speedup_allowed is not None and row.decode_ms_per_video is None  # noise comes from no file
    table = latency_table(record)
    assert "speed-up over lstm_cf" in table and "from file" not in table


def test_of_files_those_frames_are_decoded_that_networks_saw(tmp_path: Path) -> None:
    for name in ("train/cat/a", "train/dog/b", "val/dog/c", "val/cat/d"):
        (tmp_path / name).mkdir(parents=True)
        for frame in range(16):
            grey = torch.full((3, 20, 20), 9 * frame, dtype=torch.uint8)
            write_jpeg(grey, str(tmp_path / name / f"image_{frame + 1:05d}.jpg"))
    views = {"frames": View(4, 16), "clips": View(2, 16, 3)}
    files = Files(FolderCatalogue(str(tmp_path)), 2, torch.device("cpu"))
    assert files.batch(views).frames["clips"].shape == (2, 2, 3, 3, 16, 16)
    ledger = Ledger(2)
    ledger.read("frames", torch.tensor([0, 1, 1]), torch.tensor([2, 0, 3]))
    ledger.read("clips", torch.tensor([0]), torch.tensor([1]))
    ledger.read("clips", torch.tensor([1]), torch.tensor([0]), inner=1)
    needed = files.needed(views, slice(None), ledger)
    # 16 frames: of 4 segments the middles are 2, 6, 10, 14; of 2 they are 4 and 12, each with its neighbours.
    assert needed == [[10, 11, 12, 13], [2, 4, 14]]
    files.decode(slice(None), needed)


def test_chunks_are_measured_in_the_run_that_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    monkeypatch.setattr("benchmarks.measure.latency.main_latency", lambda *_: folders.append(CHUNKS.folder))
    main(["latency", "--method", "uniform", "--usage", "64=1", "--cache", str(tmp_path)])
    assert folders == [None]
