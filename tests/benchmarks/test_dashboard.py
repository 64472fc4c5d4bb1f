"""W&B offline: a two-stage run, read back from the file that `wandb sync` would upload."""

import dataclasses
import json
import re
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.io import write_jpeg

from adavid.actions import ActionSpace
from adavid.cost import Ledger
from adavid.data.batch import VideoBatch, View
from adavid.evaluation.predictions import Predictions
from adavid.evaluation.records import DataInfo, Record, Strip, Training, write_record
from adavid.evaluation.schema import SCHEMA
from adavid.evaluation.summary import summarize
from adavid.method import AdaptiveMethod, MethodOutput
from adavid.stage import Stage
from adavid.training import fit
from benchmarks.compose import compose
from benchmarks.dashboard import Dashboard
from benchmarks.layers import ROOT
from benchmarks.run import Run
from benchmarks.wandb_views import SECTIONS, panel_of, views

NUM_STEPS, NUM_EPOCHS = 10, 2  # steps an epoch: Lightning logs every tenth
CLASSES, ACTIONS = ["cat", "dog"], ("8", "skip-1")
STAGES = [Stage("first", ["head"], NUM_EPOCHS), Stage("second", ["head"], NUM_EPOCHS)]


class Coin(AdaptiveMethod):
    """Sees every second frame, through one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.views = {"frames": View(2, 8)}
        self.actions = ActionSpace(ACTIONS, (8, 0))
        self.head = nn.Linear(3, len(CLASSES))

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        rows_BC = batch.frames["frames"][:, 0].mean((-1, -2))
        logits_BK = ledger.run("head", self.head, rows_BC, owner_N=torch.arange(len(rows_BC)))
        return MethodOutput(logits_BK, torch.tensor([[0, 1]]).expand(len(rows_BC), 2), {})


class Noise(LightningDataModule):
    def train_dataloader(self) -> DataLoader[Any]:
        frames = torch.randn(1, 2, 3, 8, 8)
        mask, label, decoded = torch.ones(1, 2, dtype=torch.bool), torch.eye(2), torch.ones(1)
        batches = [
            VideoBatch({"frames": frames}, {"frames": mask}, label[i % 2][None], [str(i)], decoded, places=[{}])
            for i in range(NUM_STEPS)
        ]
        return DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)  # type: ignore[arg-type]

    val_dataloader = train_dataloader


class Kill(Callback):
    """Ends the process, as it were, after the first step of the second stage."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if pl_module.stage.name == "second":
            raise SystemExit(9)


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (
        "WANDB_API_KEY",
        "WANDB_IDENTITY_TOKEN_FILE",
        "WANDB_MODE",
        "WANDB_PROJECT",
        "WANDB_RUN_GROUP",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    yield
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()


@pytest.fixture
def run() -> Run:
    names = {"method": "coin", "variant": "heads", "data": "noise", "profile": "tiny", "seed": 3}
    return dataclasses.replace(compose("uniform"), **names, stages=STAGES)  # type: ignore[arg-type]


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    return run.folder(tmp_path / "results" / "runs")


def train(dashboard: Dashboard, run: Run, folder: Path, *further: Callback) -> None:
    with dashboard.watch(run, folder) as (loggers, callbacks):
        trainer = {"accelerator": "cpu", "enable_progress_bar": False}
        fit(Coin(), run.stages, lambda stage: Noise(), folder, run.seed, trainer, [*callbacks, *further], loggers)


def finish(dashboard: Dashboard, run: Run, folder: Path) -> Record:
    (folder / "strips").mkdir(exist_ok=True)
    write_jpeg(torch.zeros(3, 8, 16, dtype=torch.uint8), str(folder / "strips" / "0.jpg"))
    strip = Strip(
        **{"video_id": "a", "label": "cat", "prediction": "dog", "correct": False, "gflops": 1.0},
        **{"actions": ACTIONS, "image": "strips/0.jpg"},
    )
    predictions = Predictions(
        np.array(["a", "b"]),
        np.eye(2),
        np.array([[0.4, 0.6], [0.1, 0.9]]),
        np.array([[0, 1], [0, 0]]),
        np.array([1, 3]) * 10**9,
        np.array([1, 2]),
        np.array(["", ""]),
    )
    summary = summarize(
        predictions,
        CLASSES,
        ActionSpace(ACTIONS, (8, 0)).kinds,
        num_frames=2,
        components={"head": 2.0},
        audited_gflops_per_video=2.0,
        frames_decoded=2.0,
    )
    record = Record(
        **{"schema": SCHEMA, "method": run.method, "variant": run.variant, "data": run.data, "profile": run.profile},
        **{"seed": run.seed, "split": "test", "origin": "measured", "point": "test", "operating_point": {"frames": 2}},
        **dict(summary),
        training=Training(gmacs=5.0, stages=()),
        data_info=DataInfo(num_videos=2, num_skipped_bad=0, fingerprint="f0f0f0f0", class_names=tuple(CLASSES)),
        **{
            "config": run.config,
            "config_hash": run.hash,
            "model_hash": run.hash,
            "code": "",
            "git_revision": "",
            "versions": {},
            "device": "",
            "times": {},
        },
    )
    record = write_record(folder, record, predictions)
    dashboard.finish(run, record, [strip])
    return record


def read(folder: Path) -> dict[str, Any]:
    """What an offline folder of W&B holds: its run, history, summary and config."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    wandb.teardown()  # its own process may still be writing
    content: dict[str, Any] = {"history": [], "summary": {}, "config": {}, "axes": {}}
    (path,) = folder.glob("*.wandb")
    for data in leveldb_log(path.read_bytes()[7:]):
        record = Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            content["run"] = record.run
            content["config"] |= items(record.run.config.update)
        elif kind == "config":
            content["config"] |= items(record.config.update)
        elif kind == "history":
            content["history"].append(items(record.history.item))
        elif kind == "metric":
            content["axes"][record.metric.name] = record.metric.step_metric
        elif kind == "summary":
            content["summary"] |= items(record.summary.update)
    return content


def items(pairs: Any) -> dict[str, Any]:
    return {pair.key or "/".join(pair.nested_key): json.loads(pair.value_json) for pair in pairs}


def leveldb_log(data: bytes) -> Iterator[bytes]:
    """Records of LevelDB's log format: chunks of checksum, length and type in blocks of 32 KiB."""
    place, record, block = 7, b"", 2**15  # W&B's own header of 7 bytes counts as part of the first block
    data = bytes(7) + data
    while place + 7 <= len(data):
        if block - place % block < 7:
            place += block - place % block
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last chunk of one
            yield record
            record = b""


def series(history: list[dict[str, Any]], name: str, axis: str = "trainer/global_step") -> list[float]:
    return [row[axis] for row in history if name in row]


def test_one_run_over_all_stages(run: Run, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dashboard = Dashboard("offline")
    train(dashboard, run, folder)
    record = finish(dashboard, run, folder)

    (offline,) = (folder / "wandb").glob("offline-run-*")
    content = read(offline)
    history, meta, config = content["history"], content["run"], content["config"]
    # Two epochs of ten steps each in both stages; every tenth is logged.
    assert series(history, "first/loss") == series(history, "first/temperature") == [9, 19]
    assert series(history, "second/loss") == [29, 39]
    # The loss of whichever stage it is, on one axis; and mAP over its cost.
    assert series(history, "train/loss") == [9, 19, 29, 39]
    assert [row["train/stage"] for row in history if "train/stage" in row] == [0, 0, 1, 1]
    moving = [(row["val/gflops_per_video"], row["tradeoff/val_map"]) for row in history if "tradeoff/val_map" in row]
    assert len(moving) == 4 and all(row["val/map"] == row["tradeoff/val_map"] for row in history if "val/map" in row)
    axes = {name: content["axes"].get(name) for name in ("tradeoff/val_map", "val/gflops_per_video", "val/map")}
    step = "trainer/global_step"
    assert axes == {"tradeoff/val_map": "val/gflops_per_video", "val/gflops_per_video": step, "val/map": step}
    assert series(history, "val/map") == series(history, "val/usage/skip-1") == [9, 19, 29, 39]
    assert series(history, "val/gflops_per_video", "epoch") == [0, 1, 2, 3]
    assert [name for row in history for name in row if name.startswith("lr-")]
    assert (meta.project, meta.run_group, meta.job_type) == ("adavid", "coin-noise", "bench")
    assert list(meta.tags) == ["coin", "heads", "noise", "tiny"]
    assert config["recipe"] == run.config["recipe"] and config["config_hash"] == run.hash
    assert {"git_revision", "versions", "variant", "profile"} <= config.keys()

    summary = content["summary"]
    logged = {name for row in history for name in row} | {name.partition("/")[0] for name in summary} | set(summary)
    for panel in (panel for of in SECTIONS.values() for panel in of):  # what workspace and report show is there
        assert panel.x in logged
        assert all(any(re.fullmatch(key, name) for name in logged) for key in panel.keys), panel.title
    assert summary["map"] == pytest.approx(100 * record.metrics.map)
    assert summary["gflops_per_video"] == summary["gflops/head"] == 2
    assert (summary["gflops_per_frame"], summary["frames_used"], summary["train_gmacs"]) == (1, 1.5, 5)
    assert summary["top1"] == 50 and "map_std" not in summary
    tables = {path.name.rpartition("_")[0]: json.loads(path.read_text()) for path in offline.rglob("*.table.json")}
    data = {name.rstrip("_0123456789"): table["data"] for name, table in tables.items()}
    assert data["strips"][0][1:] == ["a", "cat", "dog", False, 1.0, "8 skip-1"]
    assert data["usage_over_time_table"] == [  # each action's share at each evaluation
        [step, name, share] for name, share in (("8", 0.5), ("skip-1", 0.5)) for step in (9, 19, 29, 39)
    ]
    assert summary["examples/captions"] == ["cat, taken for dog: 1 GFLOPs, 8 skip-1"]
    assert all((offline / "files" / name).exists() for name in summary["examples/filenames"])
    assert data["usage_table"] == [["8", 0.75], ["skip-1", 0.25]]
    assert [row[0] for row in data["usage_by_class"]] == ["all", *CLASSES]
    assert [row[2:] for row in data["usage_by_class"]] == [[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]]

    printed = "".join(capfd.readouterr())
    assert printed.count("W&B: ") == 1 and f"W&B: {offline}\n" in printed and "wandb: " not in printed


def test_workspace_and_report_are_made_of_the_panels() -> None:
    reports = pytest.importorskip("wandb_workspaces.reports.v2")
    assert all(panel_of(panel, reports).title == panel.title for of in SECTIONS.values() for panel in of)
    workspace, report = views("somebody", "adavid")
    assert [section.name for section in workspace.sections] == list(SECTIONS)
    assert len(report.blocks) == 2 * len(SECTIONS)


def test_a_killed_run_continues(run: Run, folder: Path) -> None:
    with pytest.raises(SystemExit):
        train(Dashboard("offline"), run, folder, Kill())
    again = Dashboard("offline")
    train(again, run, folder)
    finish(again, run, folder)
    killed, resumed = (read(path) for path in sorted((folder / "wandb").glob("offline-run-*")))
    assert killed["run"].run_id == resumed["run"].run_id
    assert series(killed["history"], "val/map") == [9, 19]
    assert series(resumed["history"], "val/map") == [29, 39]

    # Everything is trained: loading a curve's model opens nothing.
    train(again, run, folder)
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 2


@pytest.mark.parametrize("key", [None, "too-short"])
def test_online_without_a_key_fails_at_once(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if key is not None:
        monkeypatch.setenv("WANDB_API_KEY", key)
    start = time.monotonic()
    with pytest.raises(ValueError, match="WANDB_API_KEY") as error:
        Dashboard("online")
    assert "\n" not in str(error.value) and time.monotonic() - start < 10


def test_off_does_not_import_wandb(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['wandb'] = None\n"  # to import it would raise
        "from benchmarks.dashboard import Dashboard\n"
        "dashboard = Dashboard()\n"
        "with dashboard.watch(None, None) as given:\n"
        "    assert given == (False, [])\n"
        "dashboard.finish(None, None, [])\n"
    )
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True)
