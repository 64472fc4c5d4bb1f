"""Watching videos frame by frame: where a method stops, what the baselines take up to there, what is printed.

N videos, B videos of a batch, T frames, K classes.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from adavid.cost import Ledger, price
from adavid.data.batch import VideoBatch, View
from adavid.data.sources import open_source
from adavid.data.transforms import center_crop, normalize, resize_frames
from adavid.evaluation.metrics import mean_average_precision
from adavid.evaluation.predictions import read_predictions
from adavid.evaluation.records import OnlinePoint, OnlineRecord, read_records
from adavid.evaluation.schema import SCHEMA, read_json
from adavid.losses import scores_from_logits
from adavid.method import AdaptiveMethod
from adavid.networks.backbones import BackboneSpec
from adavid.online import OnlinePredictor
from benchmarks import runner
from benchmarks.__main__ import main
from benchmarks.compose import compose, like
from benchmarks.dashboard import Dashboard
from benchmarks.measure import online
from benchmarks.measure.online import (
    SHARES,
    Watched,
    main_online,
    online_points,
    online_table,
    predict,
    watch,
    watch_batch,
)
from benchmarks.run import Run
from benchmarks.workspace import Workspace
from methods.liteeval import FINE, LiteEval
from methods.random_policy import RandomPolicy
from methods.sofnet import SoFNet
from methods.uniform import Uniform
from tests.adavid.data.videos import write_video
from tests.conftest import NUM_CLASSES, opinionated, random_batch
from tests.datamodules.test_ucf101 import write_copy

# Points of a split: three videos of different lengths and one of a single frame, padded to six

LABEL_NK = np.eye(2)[[0, 1, 0, 1]]
LENGTHS = np.array([6, 4, 6, 1])
CLOSE_NT = np.array([[0, 1, 1, 2, 2, 3], [0, 0, 1, 1, 1, 1], [0] * 6, [1] * 6])
FRAME_MACS = np.array([10, 20, 30, 40]) * 10**6  # of the baseline, in each video
STOPS = {1: [1, 2, 5, 0], 2: [3, 3, 5, 0], 3: [5, 3, 5, 0]}  # where K frames were seen closely, or the end
SHARE_STOPS = {  # the last frame of that share of 6, 4, 6 and 1 frames, rounded up
    0.125: [0, 0, 0, 0],
    0.25: [1, 0, 1, 0],
    0.375: [2, 1, 2, 0],
    0.5: [2, 1, 2, 0],
    0.625: [3, 2, 3, 0],
    0.75: [4, 2, 4, 0],
    0.875: [5, 3, 5, 0],
    1.0: [5, 3, 5, 0],
}
SPREAD = {  # the middle of each of K equal segments up to the stop
    1: [[1], [1], [3], [0]],
    2: [[1, 3], [1, 3], [1, 4], [0]],
    3: [[1, 3, 5], [0, 2, 3], [1, 3, 5], [0]],
}
FIRST = {1: [[0]] * 4, 2: [[0, 1], [0, 1], [0, 1], [0]], 3: [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0]]}


def right_at(places: list[list[int]]) -> np.ndarray:
    """Logits (N, T, K) that are right at these frames of each video and far more wrong at all others."""
    margin_NT = np.full(CLOSE_NT.shape, -1000.0)
    for n, frames in enumerate(places):
        margin_NT[n, frames] = 1.0
    return (margin_NT[..., None] * (2 * LABEL_NK[:, None] - 1)).astype(np.float32)


def watched(own: list[list[int]] | None = None, baseline: list[list[int]] | None = None) -> tuple[Watched, Watched]:
    """The method and the baseline, right where it is said; a bill's decimal digits say which frame of which video."""
    macs_NT = (np.arange(6) + 1) * 10 ** (8 + np.arange(4))[:, None]
    every = [list(range(6))] * 4
    ours = Watched(LABEL_NK, right_at(every if own is None else own), CLOSE_NT, macs_NT, LENGTHS)
    theirs = Watched(
        LABEL_NK,
        right_at(every if baseline is None else baseline),
        np.ones_like(CLOSE_NT),
        np.repeat(FRAME_MACS[:, None], 6, 1),
        LENGTHS,
    )
    return ours, theirs


def point(points: Sequence[OnlinePoint], axis: str, value: float, by: str) -> OnlinePoint:
    (found,) = (of for of in points if (of.axis, of.value, of.by) == (axis, value, by))
    return found


def test_every_point_is_there_once() -> None:
    points = online_points(*watched())
    expected = list(itertools.product(["close"], STOPS, ["own", "uniform-k", "seq-k"]))
    expected += list(itertools.product(["watched"], SHARES, ["own", "uniform"]))
    assert [(of.axis, of.value, of.by) for of in points] == expected


@pytest.mark.parametrize(
    ("axis", "value", "stops"),
    [("close", k, stops) for k, stops in STOPS.items()] + [("watched", *item) for item in SHARE_STOPS.items()],
)
def test_where_the_method_stops(axis: str, value: float, stops: list[int]) -> None:
    own = point(online_points(*watched(own=[[stop] for stop in stops])), axis, value, "own")
    assert own.top1 == own.map == 1
    bills = [(stop + 1) * 10 ** (8 + n) for n, stop in enumerate(stops)]
    closes = [CLOSE_NT[n, stop] for n, stop in enumerate(stops)]
    assert own.gflops == pytest.approx(np.mean(bills) / 1e9) and own.frames == np.mean(stops) + 1
    assert own.gflops_std == pytest.approx(np.std(bills) / 1e9)
    assert (own.num_close, own.num_close_std) == (np.mean(closes), np.std(closes))


@pytest.mark.parametrize(
    ("axis", "value", "by", "taken"),
    [("close", k, "uniform-k", frames) for k, frames in SPREAD.items()]
    + [("close", k, "seq-k", frames) for k, frames in FIRST.items()]
    + [("watched", share, "uniform", [range(s + 1) for s in stops]) for share, stops in SHARE_STOPS.items()],
)
def test_which_frames_the_baseline_takes(axis: str, value: float, by: str, taken: list[list[int]]) -> None:
    """No other frame enters (it would be wrong), and as many are paid for as these."""
    baseline = point(online_points(*watched(baseline=[list(frames) for frames in taken])), axis, value, by)
    assert baseline.top1 == baseline.map == 1
    nums = np.array([len(frames) for frames in taken])
    assert (baseline.num_close, baseline.num_close_std) == (nums.mean(), nums.std())
    assert baseline.gflops == pytest.approx((nums * FRAME_MACS).mean() / 1e9)
    assert baseline.gflops_std == pytest.approx((nums * FRAME_MACS).std() / 1e9)
    assert baseline.frames == np.mean([frames[-1] + 1 for frames in taken])


def test_a_baseline_averages_logits_and_a_wrong_video_counts() -> None:
    own, baseline = watched(own=[[3], [], [5], [0]])
    frames_TK = [[10, 0], [0, 3], [0, 3]] + [[0, 99]] * 3  # the mean of the first three scores would say 1
    baseline.logits_NTK[0] = frames_TK
    points = online_points(own, baseline)
    two = point(points, "close", 2, "own")
    score_NK = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    assert two.top1 == 0.75 and two.map == pytest.approx(mean_average_precision(LABEL_NK, score_NK))
    assert point(points, "close", 3, "seq-k").top1 == 1
    assert point(points, "watched", 0.625, "uniform").top1 == 0.75


def test_without_a_close_look_shares_alone_are_left() -> None:
    own, baseline = watched()
    points = online_points(own._replace(num_close_NT=np.zeros_like(CLOSE_NT)), baseline)
    assert {of.axis for of in points} == {"watched"} and len(points) == 2 * len(SHARES)


def test_table() -> None:
    keys = ("axis", "value", "by", "top1", "map", "gflops", "gflops_std", "num_close", "num_close_std", "frames")
    rows = ("close", 2, "own", 0.5, 0.625, 12.34, 0.5, 2, 0.25, 3.5), ("watched", 0.125, "uniform", 1, 1, 8, 0, 1, 0, 1)
    points = tuple(OnlinePoint(**dict(zip(keys, row, strict=True))) for row in rows)
    record = OnlineRecord(
        **{"schema": SCHEMA, "method": "liteeval", "variant": "", "data": "toys", "profile": "tiny", "seed": 0},
        **{"kind": "online", "config_hash": "abcdef01", "baseline": "uniform", "points": points},
    )
    _, _, *lines = online_table(record).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "2 close liteeval 50.00 62.50 12.34 +- 0.5 2.00 +- 0.25 3.50",
        "12% watched uniform 100.00 100.00 8 +- 0 1.00 +- 0.00 1.00",
    ]


# A batch


def small_liteeval(num_frames: int = 6, num_classes: int = NUM_CLASSES, frames_TCHW: Tensor | None = None) -> LiteEval:
    """It opens about half of the frames given, or of noise."""
    specs = BackboneSpec("narrow/4-8-12", 32), BackboneSpec("narrow/4-4-6", 16)
    model = LiteEval(num_classes, *specs, num_frames=num_frames, fine_hidden=10, coarse_hidden=4, dropout=0.0)
    opinionated(model)
    if frames_TCHW is None:
        frames_TCHW = random_batch(model, 8, seed=9).frames["frames"].flatten(0, 1)
    with torch.no_grad():
        model.gate.fc.weight[:, -10:] = 0  # by what it sees alone
        coarse_TD = model.coarse.backbone(resize_frames(frames_TCHW, 16))
        model.gate.fc.bias -= model.gate(coarse_TD, coarse_TD.new_zeros(len(coarse_TD), 10)).mean(0)
    return model


def first_frames(batch: VideoBatch, num: int) -> VideoBatch:
    return batch._replace(
        frames={name: frames[:, :num] for name, frames in batch.frames.items()},
        mask={name: mask[:, :num] for name, mask in batch.mask.items()},
    )


def short_batch(method: AdaptiveMethod, lengths: list[int]) -> VideoBatch:
    batch = random_batch(method, len(lengths))
    return batch._replace(mask={"frames": torch.arange(6) < torch.tensor(lengths)[:, None]})


@torch.no_grad()
def test_a_batch_watched_is_the_forward_of_its_first_frames() -> None:
    model, lengths = small_liteeval(), [6, 3, 5]
    batch = short_batch(model, lengths)
    seen = watch_batch(model, batch)
    head = price(model.head, torch.zeros(1, 10)).macs
    for t in range(6):
        bill = Ledger(3)
        output = model(first_frames(batch, t + 1), bill)
        torch.testing.assert_close(torch.from_numpy(seen.logits_NTK[:, t]), output.logits_BK)
        assert seen.num_close_NT[:, t].tolist() == (output.action_BT == FINE).sum(1).tolist()
        paid_B = bill.total_B + t * head  # an answer after each frame
        going = [t < length for length in lengths]
        assert seen.macs_NT[going, t].tolist() == paid_B[torch.tensor(going)].tolist()
    assert 0 < seen.num_close_NT[:, -1].sum() < sum(lengths)
    assert seen.length_N.tolist() == lengths and np.array_equal(seen.label_NK, batch.label_BK)


@torch.no_grad()
def test_frames_watched_alone_are_the_baseline() -> None:
    model, lengths = opinionated(Uniform(NUM_CLASSES, BackboneSpec("narrow/4-8-12", 24), 6, frame_size=32)), [6, 2]
    batch, bill = short_batch(model, lengths), Ledger(2)
    output = model(batch, bill)
    seen = watch_batch(model, batch, alone=True)
    for n, length in enumerate(lengths):
        mean_K = torch.from_numpy(seen.logits_NTK[n, :length]).mean(0)
        torch.testing.assert_close(mean_K, output.logits_BK[n])
        assert seen.macs_NT[n, :length].sum() == bill.total_B[n] and len(set(seen.macs_NT[n, :length])) == 1
        assert (seen.num_close_NT[n, :length] == 1).all()


# A stream


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes; all videos differ, the last one is as long as the methods' views."""
    root = tmp_path_factory.mktemp("videos")
    lengths = iter(range(21, 3, -1))
    for split, num in (("train", 4), ("val", 2), ("test", 3)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(num):
                write_video(root / split / name / f"{i}.mp4", next(lengths), preset="ultrafast")
    return root


NOWHERE = Workspace(Path("/nowhere"), Path("/nowhere"), Path("/nowhere"))  # of runs that others stand for
WORDS = [
    *("data.num_workers=0", "data.contents=null", "recipe.batch_size=4", "recipe.num_frames=4", "recipe.warmup=null"),
    *("trainer.accelerator=cpu", "trainer.enable_progress_bar=false"),
]
# Of LiteEval alone: one epoch each, and a gate that learns to stay open.
OWN_WORDS = [*("stages.backbones.epochs=1", "stages.joint.epochs=1"), *("model.target=1.0", "model.weight=50.0")]


@pytest.fixture
def streaming(videos: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Run, LiteEval, Path]:
    """A run, the random method that stands for its trained one, and a video of which it opens some frames."""
    run, path = compose("liteeval", f"folder:{videos}", overrides=WORDS), videos / "train" / "cat" / "0.mp4"
    model = small_liteeval(4, 2, frames_of(path, run, 32))
    monkeypatch.setattr(online, "_trained", lambda *of: model)
    return run, model, path


def frames_of(path: Path, run: Run, size: int) -> Tensor:
    """All frames of a video as a method gets them, (T, 3, H, W)."""
    source, reading = open_source(path), run.catalogue.reading
    frames_TCHW = source.read(range(source.num_frames))
    return normalize(center_crop(frames_TCHW, round(reading.resize * size / reading.crop), size))


def parsed(line: str) -> tuple[int, float, str, str, float, float]:
    number, seconds, _, action, name, score, gflops, _ = line.split()
    return int(number), float(seconds), action, name, float(score), float(gflops)


@torch.no_grad()
@pytest.mark.parametrize("fps", [25, 5])
def test_lines_are_the_methods_answers(streaming: tuple[Run, LiteEval, Path], fps: int) -> None:
    run, model, path = streaming
    frames_TCHW = frames_of(path, run, 32)[:: 25 // fps]
    head = price(model.head, torch.zeros(1, 10)).macs
    lines = list(predict(run, NOWHERE, str(path), fps))
    assert len(lines) == len(frames_TCHW) > 4
    for t, line in enumerate(lines):
        frames = {"frames": frames_TCHW[None, : t + 1]}
        mask = {"frames": torch.ones(1, t + 1, dtype=torch.bool)}
        bill = Ledger(1)
        output = model(VideoBatch(frames, mask, torch.zeros(1, 2), [""]), bill)
        score_K = output.logits_BK.softmax(-1)[0]
        number, seconds, action, name, score, gflops = parsed(line)
        assert (number, seconds) == (t + 1, pytest.approx(t / fps))
        assert action == ("fine", "coarse")[output.action_BT[0, t]]
        assert name == ("cat", "dog")[score_K.argmax()] and score == pytest.approx(float(score_K.max()), abs=6e-4)
        assert gflops == pytest.approx((int(bill.total_B) + t * head) / 1e9, rel=1e-3)
    assert {parsed(line)[2] for line in lines} == {"fine", "coarse"}


def test_a_stream_ends_at_the_kth_close_look(streaming: tuple[Run, LiteEval, Path]) -> None:
    run, _, path = streaming
    lines = list(predict(run, NOWHERE, str(path), 25))
    closes = [i for i, line in enumerate(lines) if parsed(line)[2] == "fine"]
    assert 2 < len(closes) < len(lines) and closes[1] + 1 < len(lines)
    for k in (1, 2):
        assert list(predict(run, NOWHERE, str(path), 25, max_close=k)) == lines[: closes[k - 1] + 1]
    assert list(predict(run, NOWHERE, str(path), 25, max_close=len(closes) + 1)) == lines


def test_a_pipe_is_read_as_the_file(
    streaming: tuple[Run, LiteEval, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _, path = streaming
    stream = tmp_path / "stream.ts"  # which needs no index at its end
    with av.open(str(path)) as source, av.open(str(stream), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    (tmp_path / "text").write_text("no video")

    def piped(file: Path) -> list[str]:
        with subprocess.Popen(["cat", file], stdout=subprocess.PIPE, bufsize=0) as process:
            monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=SimpleNamespace(raw=process.stdout)))
            return list(predict(run, NOWHERE, "-", 25))

    assert piped(stream) == list(predict(run, NOWHERE, str(stream), 25))
    with pytest.raises(
        ValueError, match="^the pipe: cannot be read as a video .*; a pipe needs a format without an index"
    ):
        piped(tmp_path / "text")


def test_a_stream_ends_where_the_method_ends_it(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, path = compose("sofnet", f"folder:{videos}", overrides=WORDS), videos / "train" / "cat" / "0.mp4"
    method = SoFNet(2, BackboneSpec("narrow/4-8-12", 32), num_frames=4, hidden=8, rho=0.0, min_frames=2).eval()
    for policy in method.policies:
        policy.fc.bias.data = torch.tensor([-99.0, 99.0])
    monkeypatch.setattr(online, "_trained", lambda *of: method)
    assert [parsed(line)[2] for line in predict(run, NOWHERE, str(path), 25)] == ["used"] * 3


def test_what_cannot_be_watched(streaming: tuple[Run, LiteEval, Path], tmp_path: Path) -> None:
    run, _, path = streaming
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match="text.mp4: cannot be read as a video"):
        next(predict(run, NOWHERE, str(tmp_path / "text.mp4")))
    with pytest.raises(ValueError, match="fps must be positive, got 0"):
        next(predict(run, NOWHERE, str(path), fps=0))
    whole = RandomPolicy(2, [BackboneSpec("narrow/4-8-12", 32)], num_frames=4).eval()
    with pytest.raises(ValueError, match="^RandomPolicy cannot run online: it is no CausalMethod$"):
        OnlinePredictor(whole)
    for source, most in (("", 0), (str(path), -1)):
        with pytest.raises(ValueError, match=f"expected a source and K from 0 on, got '{source}' and {most}"):
            next(predict(run, NOWHERE, source, max_close=most))


# A split, with trained runs


@pytest.fixture(scope="module")
def workspace(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """With LiteEval and uniform, trained for as little as possible, and their records."""
    folder = tmp_path_factory.mktemp("results")
    workspace = Workspace(folder, folder / "runs", folder / "cache")
    run = trained_run(videos)
    runner.bench(run, workspace, Dashboard("off"))
    runner.bench(like(run, "uniform"), workspace, Dashboard("off"))
    return workspace


def trained_run(videos: Path) -> Run:
    return compose("liteeval", f"folder:{videos}", overrides=[*WORDS, *OWN_WORDS])


def folders(workspace: Workspace) -> list[str]:
    return ["--results", str(workspace.results), "--cache", str(workspace.cache)]


def test_a_watched_split_ends_with_the_records_of_the_runs(
    workspace: Workspace, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained_run(videos)
    words = ["--method", "liteeval", "--data", run.data_request, *WORDS, *OWN_WORDS]
    assert main(["online", *words, *folders(workspace)]) == 0
    folder = run.folder(workspace.records)
    online_record = read_json(OnlineRecord, folder / "online.json")
    assert online_table(online_record) in capsys.readouterr().out
    baseline_run = like(run, "uniform")
    assert (online_record.method, online_record.baseline) == ("liteeval", "uniform")
    assert (online_record.config_hash, online_record.baseline_hash) == (run.hash, baseline_run.hash)
    own = watch(run, online._trained(run, workspace))
    baseline = watch(baseline_run, online._trained(baseline_run, workspace), alone=True)
    assert list(online_record.points) == online_points(own, baseline)
    assert point(online_record.points, "close", 4, "own").num_close > 0
    predictions = read_predictions(folder / "test.npz")
    np.testing.assert_array_equal(own.label_NK, predictions.label_NK)
    final_NK = scores_from_logits(torch.from_numpy(own.logits_NTK[:, -1])).numpy()
    np.testing.assert_allclose(final_NK, predictions.score_NK, atol=1e-5)
    head = 256 * 2  # once after each frame, rather than once
    np.testing.assert_array_equal(own.macs_NT[:, -1], predictions.macs_N + 3 * head)
    records = {record.method: record for record in read_records(workspace.records) if record.point == "test"}
    for by, method, extra in (("own", "liteeval", 3 * head / 1e9), ("uniform", "uniform", 0)):
        end = point(online_record.points, "watched", 1.0, by)
        assert (end.top1, end.map) == pytest.approx((records[method].metrics.top1, records[method].metrics.map))
        assert end.gflops == pytest.approx(records[method].cost.gflops_per_video + extra)


def test_predict_says_of_a_whole_video_what_its_record_does(
    workspace: Workspace, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained_run(videos)
    words = ["--method", "liteeval", "--data", run.data_request, *WORDS, *OWN_WORDS]
    source = videos / "test" / "dog" / "2.mp4"  # no longer than the view: no frame is left out
    assert main(["predict", *words, *folders(workspace), "--source", str(source), "--fps", "25"]) == 0
    lines = capsys.readouterr().out.splitlines()
    predictions = read_predictions(run.folder(workspace.records) / "test.npz")
    (row,) = np.flatnonzero(predictions.video_id == "test/dog/2.mp4")
    actions = [("fine", "coarse")[action] for action in predictions.action_NT[row]]
    assert [parsed(line)[2] for line in lines] == actions
    *_, name, score, gflops = parsed(lines[-1])
    assert name == ("cat", "dog")[predictions.score_NK[row].argmax()]
    assert score == pytest.approx(predictions.score_NK[row].max(), abs=6e-4)
    assert gflops == pytest.approx((predictions.macs_N[row] + 3 * 512) / 1e9, rel=1e-3)


def test_predict_says_where_a_patch_is(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = compose("adafocus_plus", f"folder:{videos}", overrides=WORDS)
    method = opinionated(run.build_method(2))
    monkeypatch.setattr(online, "_trained", lambda *of: method)
    lines = list(predict(run, NOWHERE, str(videos / "test" / "dog" / "2.mp4"), 25, 0))
    assert lines and all(re.search(r" s  (patch-20 at \d+,\d+|skip) +(cat|dog) ", line) for line in lines)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--seeds", "1"], "adavid: liteeval is not trained, seed 1: make bench METHOD=liteeval DATA={} SEEDS=1 first"),
        (
            ["--variant", "gru"],
            "adavid: liteeval@gru is not trained, seed 0: make bench METHOD=liteeval VARIANT=gru DATA={} first",
        ),
        (["--seeds", "0,1"], "adavid: predict: expected one method and one seed"),
        (["--source", "nowhere.mp4"], "adavid: nowhere.mp4: cannot be read as a video"),
    ],
)
def test_mistakes_get_one_line(
    more: list[str], words: str, workspace: Workspace, videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--method", "liteeval", "--data", f"folder:{videos}", "--source", "any.mp4", *more]
    assert main(["predict", *options, *folders(workspace), *WORDS, *OWN_WORDS]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(words.format(f"folder:{videos}")) and "\n" not in error


def test_what_is_to_be_trained_is_named_where_the_data_have_a_path(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["online", "--method", "liteeval", "--data", "ucf101", f"data.path={write_copy(tmp_path)}"]
    assert main([*words, *folders(workspace)]) == 2
    expected = (
        "adavid: liteeval is not trained, seed 0: make bench METHOD=liteeval DATA=ucf101 first, with ARGS as here"
    )
    assert capsys.readouterr().err.strip() == expected


def test_nothing_is_watched_in_vain(workspace: Workspace, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("watched")

    monkeypatch.setattr(online, "watch", never)
    run = trained_run(videos)
    with pytest.raises(ValueError, match="^random_policy cannot run online: it is no CausalMethod$"):
        online.main_online(compose("random_policy"), workspace)  # said first: no training would help
    with pytest.raises(ValueError, match="^lstm is not trained"):
        main_online(run, workspace, "lstm")
    longer = {"liteeval": small_liteeval(6), "uniform": Uniform(2, BackboneSpec("narrow/4-8-12", 32), 4, frame_size=32)}
    monkeypatch.setattr(online, "_trained", lambda of, workspace: longer[of.method])
    with pytest.raises(ValueError, match="liteeval reads 6 frames of a video, uniform 4"):
        main_online(run, workspace)
    clips = small_liteeval(4)
    clips.views = {"frames": View(4, 32, clip=3)}
    longer["liteeval"] = clips
    with pytest.raises(ValueError, match="liteeval reads clips"):
        main_online(run, workspace)


# A baseline like the run


def test_a_baseline_has_the_runs_circumstances_and_its_own_model(videos: Path) -> None:
    shared = ["recipe.num_frames=4", "data.resize=240", "data.contents=null"]
    shared.append("trainer.accelerator=cpu")
    own = ["model.weight=1.0", "stages.joint.epochs=1"]
    run = compose("liteeval", f"folder:{videos}", overrides=[*shared, *own], seed=3)
    baseline = like(run, "uniform")
    assert (baseline.method, baseline.variant, baseline.seed, baseline.data_request) == (
        "uniform",
        "",
        3,
        run.data_request,
    )
    for section in ("recipe", "data", "trainer"):
        assert baseline.config[section] == run.config[section]
    assert (baseline.recipe.num_frames, baseline.config["data"]["resize"]) == (4, 240)
    assert baseline.config["trainer"]["accelerator"] == "cpu"
    assert baseline.config["model"]["num_frames"] == 4 and "weight" not in baseline.config["model"]
    assert [stage.name for stage in baseline.stages] == ["further"]
    assert baseline.folder(Path()) == compose("uniform", f"folder:{videos}", overrides=shared, seed=3).folder(Path())


@pytest.mark.parametrize(
    ("profile", "variant", "words"),
    [
        ("tiny", "", []),
        ("tiny", "no_sync", []),
        ("paper", "", ["recipe.family=resnet101", "recipe.num_frames=25"]),
        ("tiny", "", ["recipe.warmup=null"]),
    ],
)
def test_a_baseline_is_the_run_that_is_there_already(profile: str, variant: str, words: list[str]) -> None:
    given = [] if profile == "paper" else words  # both are in LiteEval's own profile
    baseline = like(compose("liteeval", "sprites", profile, variant, given), "uniform")
    assert baseline.hash == compose("uniform", "sprites", profile, overrides=words).hash
