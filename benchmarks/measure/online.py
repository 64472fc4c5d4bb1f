"""Videos watched frame by frame: a stream with a prediction after every frame, and what a method attains early.

N videos of a split, T frames, K classes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from adavid.data.batch import VideoBatch
from adavid.data.datamodule import VideoDataModule
from adavid.data.sampling import segment_indices
from adavid.data.stream import stream_frames
from adavid.data.transforms import normalize
from adavid.evaluation.metrics import mean_average_precision, top1
from adavid.evaluation.records import Axis, By, OnlinePoint, OnlineRecord, write_online
from adavid.evaluation.schema import SCHEMA
from adavid.files import locked
from adavid.loading import TrainedMethod
from adavid.losses import scores_from_logits
from adavid.method import AdaptiveMethod, CausalMethod
from adavid.online import OnlinePredictor
from benchmarks.compose import compose, like, untrained
from benchmarks.layers import BASELINE
from benchmarks.models import as_evaluated, folder_of, last_stage, loaded, prepare
from benchmarks.run import Run
from benchmarks.workspace import Workspace

SHARES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)  # of a video's frames


# A stream


def predict(run: Run, workspace: Workspace, source: str, fps: float | None = None, max_close: int = 0) -> Iterator[str]:
    """Lines for reading: what a trained method decides about a video, what it says of it, and the bill.

    A method that does not look ahead watches it frame by frame, with a line after each; any other one classifies it as
    a whole, read as evaluation reads it.

    Args:
        run: trained.
        workspace: where its model lies.
        source: what `stream_frames` reads; "-" is the standard input. To be classified as a whole: a file, or a folder
            of JPEG frames.
        fps: frames a second that a method that watches is given; None: 1.
        max_close: stop watching after as many frames seen at the method's highest resolution (K fine features); 0: at
            the end, or where the method ends the video itself.

    Raises:
        ValueError: the run is not trained, the source cannot be read, or the method would make no use of an argument.
    """
    if not source or max_close < 0:
        raise ValueError(f"predict: expected a source and K from 0 on, got '{source}' and {max_close}")
    if issubclass(run.method_class, CausalMethod):
        return _watch_stream(run, _trained(run, workspace), source, 1.0 if fps is None else fps, max_close)
    if fps is not None or max_close:
        raise ValueError(f"predict: {run.label} looks at a video as a whole: it takes no frames a second and no K")
    return _classify(run, _trained(run, workspace), source)


def _watch_stream(run: Run, method: AdaptiveMethod, source: str, fps: float, max_close: int) -> Iterator[str]:
    predictor = OnlinePredictor(method)
    (view,) = method.views.values()
    reading, class_names = run.catalogue.reading, run.catalogue.class_names
    stdin: Any = sys.stdin.buffer
    # Unbuffered: a buffer would hold frames back until it is full.
    stream = stream_frames(stdin.raw if source == "-" else source, fps, view.clip, view.stride)
    for i, (seconds, frames_SCHW) in enumerate(stream):
        seen_SCHW = normalize(reading.crop_for(frames_SCHW, view).to(method.device))
        with as_evaluated(run):
            logits_1K, action_1, macs_1 = predictor.observe(seen_SCHW.reshape(1, *view.shape[1:]))
        score_K = scores_from_logits(logits_1K)[0]
        decision = method.actions.describe(int(action_1))
        yield f"{i + 1:5d}  {seconds:8.2f} s  {decision:8}  {_said(score_K, class_names, int(macs_1))}"
        if predictor.has_ended or (max_close and int(predictor.num_close_B) >= max_close):
            return


def _classify(run: Run, method: AdaptiveMethod, source: str) -> Iterator[str]:
    class_names = tuple(run.catalogue.class_names)
    with as_evaluated(run):
        answer = TrainedMethod(method, class_names, run.catalogue.reading).classify(source)
    for i, action in enumerate(answer.action_BT[0].tolist()):
        yield f"{i + 1:5d}  {method.actions.describe(action)}"
    yield f"the whole video: {_said(answer.score_BK[0], class_names, int(answer.macs_B))}"


def _said(score_K: Tensor, class_names: Sequence[str], macs: int) -> str:
    best = int(score_K.argmax())
    return f"{class_names[best]} {score_K[best]:.3f}  {macs / 1e9:.4g} GFLOPs"


# A split


class Watched(NamedTuple):
    """What a method knows after each frame of N videos; after a video's last one nothing is meant."""

    label_NK: np.ndarray
    logits_NTK: np.ndarray
    num_close_NT: np.ndarray  # frames so far that it saw at its highest resolution
    macs_NT: np.ndarray  # int64, spent so far
    length_N: np.ndarray


def main_online(run: Run, workspace: Workspace, baseline: str = BASELINE) -> str:
    """Measure a trained run's answers along the videos of the reported split; write `online.json` into its folder.

    The curves of LiteEval's Figures 2 and 3: stop at the K-th frame seen closely, or when a share of the video has
    been watched. Beside them the baseline, which sees every frame closely, on the same videos: Uniform-K, K frames
    spread evenly up to the place where the method stops, and Seq-K, the first K frames.

    Args:
        run: trained.
        workspace: where its model and the baseline's lie.
        baseline: a method whose prediction is the mean over frames, trained with the same seed and recipe.

    Returns:
        a table for reading.

    Raises:
        ValueError: a run is not trained, a method cannot run online, or the two read different frames.
    """
    for of in (run, baseline_run := like(run, baseline)):
        if not issubclass(of.method_class, CausalMethod):  # no training would help
            raise ValueError(f"{of.method} cannot run online: it is no CausalMethod")
    method, baseline_method = _trained(run, workspace), _trained(baseline_run, workspace)
    view, baseline_view = (next(iter(of.views.values())) for of in (method, baseline_method))
    if view.num_frames != baseline_view.num_frames:
        raise ValueError(
            f"online: {run.label} reads {view.num_frames} frames of a video, {baseline} {baseline_view.num_frames}: "
            "set recipe.num_frames"
        )
    if view.clip > 1:
        raise ValueError(f"online: {run.label} reads clips, which show more of a video than has been watched")
    own, other = watch(run, method), watch(baseline_run, baseline_method, alone=True)
    assert np.array_equal(own.label_NK, other.label_NK)
    record = OnlineRecord(
        schema=SCHEMA,
        **run.names,
        kind="online",
        config_hash=run.hash,
        baseline=baseline,
        baseline_hash=baseline_run.hash,
        points=tuple(online_points(own, other)),
    )
    folder = folder_of(run, workspace)
    with locked(folder / ".lock"):
        write_online(folder, record)
    return online_table(record)


def is_worth_watching(run: Run) -> bool:
    """Whether a method decides along the video, frame by frame: one that has no choice has one bill for every video."""
    method = untrained(run)
    views = list(method.views.values())
    reads_frames = [(view.num_frames, view.clip) for view in views] == [(run.recipe.num_frames, 1)]
    return isinstance(method, CausalMethod) and len(method.actions) > 1 and reads_frames


def watch(run: Run, method: AdaptiveMethod, alone: bool = False) -> Watched:
    """Every video of the reported split, a batch of them side by side; `alone`: each frame as if it were the first."""
    data = VideoDataModule(prepare(run), method.views, run.recipe.batch_size)
    parts = []
    for batch in tqdm(data.test_dataloader(), desc=f"watching with {run.label}", unit="batch", leave=False):
        on_device = data.on_after_batch_transfer(data.transfer_batch_to_device(batch, method.device, 0), 0)
        with as_evaluated(run):
            parts.append(watch_batch(method, on_device, alone))
    return Watched(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def watch_batch(method: AdaptiveMethod, batch: VideoBatch, alone: bool = False) -> Watched:
    """The videos of a batch, frame by frame; see `watch`."""
    frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
    predictor = OnlinePredictor(method, len(mask_BT))
    logits, num_close, bills = [], [], []
    for t in range(mask_BT.shape[1]):
        if alone:
            predictor = OnlinePredictor(method, len(mask_BT))
        seen = predictor.observe(frames_BTCHW[:, t], mask_BT[:, t])
        logits.append(seen.logits_BK)
        bills.append(seen.macs_B)
        num_close.append(predictor.num_close_B.clone())
    columns = (batch.label_BK, *(torch.stack(rows, 1) for rows in (logits, num_close, bills)), mask_BT.sum(1))
    return Watched(*(column.cpu().numpy() for column in columns))


def online_points(own: Watched, baseline: Watched) -> list[OnlinePoint]:
    """The points of both figures; `baseline` watched each frame alone."""
    frame_macs_N = baseline.macs_NT[:, 0]

    def own_point(axis: Axis, value: float, stop_N: np.ndarray) -> OnlinePoint:
        row_N = np.arange(len(stop_N))
        logits_NK, macs_N, num_N = (part[row_N, stop_N] for part in (own.logits_NTK, own.macs_NT, own.num_close_NT))
        return _point(axis, value, "own", own.label_NK, logits_NK, macs_N, num_N, stop_N + 1)

    def baseline_point(axis: Axis, value: float, by: By, taken: Sequence[np.ndarray]) -> OnlinePoint:
        """The mean of the frames that are taken of each video."""
        num_N = np.array([len(frames) for frames in taken])
        logits_NK = np.stack([of_TK[frames].mean(0) for of_TK, frames in zip(baseline.logits_NTK, taken, strict=True)])
        last_N = np.array([frames[-1] for frames in taken])
        return _point(axis, value, by, baseline.label_NK, logits_NK, num_N * frame_macs_N, num_N, last_N + 1)

    rows = []
    for k in range(1, int(own.num_close_NT.max()) + 1):
        enough_NT = own.num_close_NT >= k
        stop_N = np.where(enough_NT.any(1), enough_NT.argmax(1), own.length_N - 1)
        rows.append(own_point("close", k, stop_N))
        spread = [np.array(segment_indices(stop + 1, min(k, stop + 1))) for stop in stop_N.tolist()]
        rows.append(baseline_point("close", k, "uniform-k", spread))
        rows.append(baseline_point("close", k, "seq-k", [np.arange(min(k, length)) for length in own.length_N]))
    for share in SHARES:
        stop_N = np.ceil(share * own.length_N).astype(int) - 1
        rows.append(own_point("watched", share, stop_N))
        rows.append(baseline_point("watched", share, "uniform", [np.arange(stop + 1) for stop in stop_N]))
    return rows


def online_table(record: OnlineRecord) -> str:
    """An online record for reading."""
    points = record.points
    columns = {
        "until": [f"{of.value:.0%} watched" if of.axis == "watched" else f"{of.value} close" for of in points],
        "by": [record.method if of.by == "own" else of.by for of in points],
        "top-1": [f"{100 * of.top1:.2f}" for of in points],
        "mAP": [f"{100 * of.map:.2f}" for of in points],
        "GFLOPs/video": [f"{of.gflops:.4g} +- {of.gflops_std:.2g}" for of in points],
        "seen closely": [f"{of.num_close:.2f} +- {of.num_close_std:.2f}" for of in points],
        "frames watched": [f"{of.frames:.2f}" for of in points],
    }
    return pd.DataFrame(columns).to_markdown(index=False, tablefmt="simple", disable_numparse=True)


def _point(
    axis: Axis,
    value: float,
    by: By,
    label_NK: np.ndarray,
    logits_NK: np.ndarray,
    macs_N: np.ndarray,
    num_close_N: np.ndarray,
    frames_N: np.ndarray,
) -> OnlinePoint:
    score_NK = scores_from_logits(torch.as_tensor(logits_NK)).numpy()
    return OnlinePoint(
        axis=axis,
        value=value,
        by=by,
        top1=top1(label_NK, score_NK),
        map=mean_average_precision(label_NK, score_NK),
        gflops=float(macs_N.mean()) / 1e9,
        gflops_std=float(macs_N.std()) / 1e9,
        num_close=float(num_close_N.mean()),
        num_close_std=float(num_close_N.std()),
        frames=float(frames_N.mean()),
    )


def _trained(run: Run, workspace: Workspace) -> AdaptiveMethod:
    folder = folder_of(run, workspace)
    if not last_stage(run, folder).exists():
        usual = compose(run.method, run.data_request, run.profile, shared={"data": run.config["data"]})
        words = [
            f"METHOD={run.method}",
            *([f"VARIANT={run.variant}"] if run.variant else []),
            *([f"DATA={run.data_request}"] if run.data_request != "sprites" else []),
            *([f"PROFILE={run.profile}"] if run.profile != "tiny" else []),
            *([f"SEEDS={run.seed}"] if run.seed else []),
            *([f'ARGS="recipe.family={run.recipe.family}"'] if run.recipe.family != usual.recipe.family else []),
        ]
        raise ValueError(
            f"{run.label} is not trained, seed {run.seed}: make bench {' '.join(words)} first, with ARGS as here"
        )
    return loaded(run, folder)
