"""How long evaluation takes: a method end to end, its components alone, and a baseline, in the same run.

B videos, T frames, N routed rows, K classes, A actions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from tqdm import tqdm

from adavid.chunks import shaped
from adavid.cost import Ledger
from adavid.data.batch import VideoBatch, View, whole_videos
from adavid.data.datamodule import VideoDataModule
from adavid.environment import device_name
from adavid.evaluation.records import LatencyRecord, LatencyRow, write_latency
from adavid.evaluation.schema import SCHEMA
from adavid.evaluation.summary import ActionShares, action_shares
from adavid.files import locked
from adavid.method import AdaptiveMethod
from adavid.training import channels_last
from benchmarks.compose import like
from benchmarks.layers import BASELINE
from benchmarks.measure.usage import forced_usage, parse_usage
from benchmarks.models import as_evaluated, folder_of, last_stage, loaded
from benchmarks.run import Run
from benchmarks.workspace import Workspace

NUM_CLASSES = 200  # of a method without a data set: ActivityNet's


class Call(NamedTuple):
    """One run of a component: the module, and its inputs without their data."""

    module: nn.Module
    inputs: tuple[Any, ...]


class RecordingLedger(Ledger):
    """A ledger that remembers what ran.

    Attributes:
        calls: every `run`, in order; tensors of their inputs on the meta device.
    """

    def __init__(self, num_videos: int, device: torch.device | str = "cpu") -> None:
        super().__init__(num_videos, device)
        self.calls: list[Call] = []

    def run(self, name: str, module: nn.Module, *inputs: Any, owner_N: Tensor) -> Any:
        self.calls.append(Call(module, tree_map_only(Tensor, lambda x: x.detach().to("meta"), shaped(inputs))))
        return super().run(name, module, *inputs, owner_N=owner_N)


class Piece(NamedTuple):
    """What one forward pass of the method gets, and of the baseline for the same videos."""

    batch: VideoBatch
    forced_BT: Tensor | None
    baseline_batch: VideoBatch


def main_latency(run: Run, workspace: Workspace, usage: str = "", **options: Any) -> str:
    """Time a run's method against `uniform` and write `latency.json` into the run's folder.

    Forced decisions are not the trained method's own: they go to `latency-forced.json`, which fills no row.

    Args:
        run: trained or not.
        workspace: where its folder lies.
        usage: decisions to force, see `parse_usage`; empty for the method's own.
        options: further arguments of `latency`.

    Returns:
        a table for reading.

    Raises:
        ValueError: a usage that the method cannot follow, or none and no trained method to decide.
    """
    shares = parse_usage(usage, run.config.get("usage", {}))
    folder = folder_of(run, workspace)
    record = latency(run, usage=shares, folder=folder, **options)
    with locked(folder / ".lock"):
        write_latency(folder, record)
    return latency_table(record)


def latency(
    run: Run,
    batch_sizes: Sequence[int] = (1, 16),
    usage: Mapping[str, float] | None = None,
    num_classes: int = NUM_CLASSES,
    repeats: tuple[int, int] = (3, 30),
    baseline: str = BASELINE,
    budget_s: float = 120.0,
    folder: Path | None = None,
) -> LatencyRecord:
    """Time a method's evaluation end to end: from float frames on the device to logits, routing and bill too.

    At each batch size the same videos, as many as the largest batch holds, are timed. A round times, for
    every batch, the method, each component that it ran (alone, on random inputs of the same shapes) and the
    baseline, one after the other and in changing order, so that whatever else the machine does hits all
    three. A batch's time is its median over the rounds; what the method takes beyond its components is its
    own overhead.

    Args:
        run: the method, with the checkpoint of its last stage if it is trained, else with random weights.
        batch_sizes: videos a forward pass.
        usage: share of the frames by action, forced on random frames; None for the method's own decisions, on
            videos of the reported split if it is trained.
        num_classes: of the heads, where the run is not trained.
        repeats: fewest and most rounds.
        baseline: the method to compare with, of the same profile and recipe, with random weights.
        budget_s: rounds end, after the fewest, when this many seconds have passed; shared among batch sizes.
        folder: where a trained run has its checkpoints.

    Returns:
        times in ms, GFLOPs, fractions of frames.

    Raises:
        ValueError: a usage that the method cannot follow, or none and no trained method to decide.
    """
    device = run.device
    checkpoint = last_stage(run, folder or Path())
    is_trained = folder is not None and checkpoint.exists()
    if is_trained:
        assert folder is not None
        method, num_classes = loaded(run, folder), run.catalogue.num_classes
    else:
        method = channels_last(run.build_method(num_classes)).to(device).eval()
        if usage is None and len(method.actions) > 1:
            raise ValueError(
                f"{run.label} is not trained: train it first, or force decisions with a usage such as "
                + ",".join(f"{name}={1 / len(method.actions.names):.2g}" for name in method.actions.names)
            )
    other = channels_last(like(run, baseline).build_method(num_classes)).to(device).eval()

    num_videos = max(batch_sizes)
    if usage is None and is_trained:
        batch, baseline_batch = (_split_batch(run, of.views, num_videos, device) for of in (method, other))
    else:
        batch, baseline_batch = (random_batch(of.views, num_videos, num_classes, device) for of in (method, other))
    forced_BT = None
    if usage is not None:
        num_frames = next(iter(batch.mask.values())).shape[1]
        forced_BT = forced_usage(method.actions, usage, num_videos, num_frames).to(device)

    rows = []
    for batch_size in batch_sizes:
        pieces = []
        for start in range(0, num_videos, batch_size):
            part = slice(start, start + batch_size)
            forced = None if forced_BT is None else forced_BT[part]
            pieces.append(Piece(_part(batch, part), forced, _part(baseline_batch, part)))
        with as_evaluated(run):
            row, share_A = _measure(method, other, pieces, device, repeats, budget_s / len(batch_sizes))
        rows.append(row)
    return LatencyRecord(
        schema=SCHEMA,
        **run.names,
        kind="latency",
        config_hash=run.hash,
        device=device_name(device),
        num_threads=torch.get_num_threads(),
        precision=str(run.config["trainer"].get("precision", "32-true")),
        num_classes=num_classes,
        baseline=baseline,
        weights="trained" if is_trained else "random",
        decisions="own" if forced_BT is None else "forced",
        num_frames=max(mask_BT.shape[1] for mask_BT in batch.mask.values()),
        usage=ActionShares(actions=method.actions.kinds, overall=share_A),
        rows=tuple(rows),
    )


def _measure(
    method: AdaptiveMethod,
    baseline: AdaptiveMethod,
    pieces: Sequence[Piece],
    device: torch.device,
    repeats: tuple[int, int],
    budget_s: float,
) -> tuple[LatencyRow, tuple[float, ...]]:
    """One row of the record, and the share of the frames that took each action."""
    num_videos = sum(len(piece.batch.video_id) for piece in pieces)
    ledgers, baseline_ledgers, actions = [], [], []
    for piece in pieces:  # also the warm-up: prices, kernels and memory
        ledgers.append(RecordingLedger(len(piece.batch.video_id), device))
        actions.append(method(piece.batch, ledgers[-1], piece.forced_BT).action_BT.flatten())
        baseline_ledgers.append(Ledger(len(piece.baseline_batch.video_id), device))
        baseline(piece.baseline_batch, baseline_ledgers[-1])

    def end_to_end(piece: Piece, calls: Sequence[Call]) -> float:
        ledger = Ledger(len(piece.batch.video_id), device)
        return _seconds(device, partial(method, piece.batch, ledger, piece.forced_BT))

    def components(piece: Piece, calls: Sequence[Call]) -> float:
        # Fresh inputs for one call at a time: all together they might not fit into memory.
        return sum(_seconds(device, partial(call.module, *_random(call.inputs, device))) for call in calls)

    def of_baseline(piece: Piece, calls: Sequence[Call]) -> float:
        batch = piece.baseline_batch
        return _seconds(device, partial(baseline, batch, Ledger(len(batch.video_id), device)))

    timers = (end_to_end, components, of_baseline)
    rounds: list[list[list[float]]] = []
    end = time.monotonic() + budget_s
    with tqdm(desc=f"batch {len(pieces[0].batch.video_id)}", unit="round", leave=False) as bar:
        while len(rounds) < repeats[0] or (len(rounds) < repeats[1] and time.monotonic() < end):
            order = [(i + len(rounds)) % len(timers) for i in range(len(timers))]
            times = [[0.0] * len(pieces) for _ in timers]
            for p, (piece, ledger) in enumerate(zip(pieces, ledgers, strict=True)):
                for i in order:
                    times[i][p] = timers[i](piece, ledger.calls)
            rounds.append(times)
            bar.update()
    seconds_RIP = np.array(rounds)  # rounds, timers, pieces
    ms_RI = 1e3 * seconds_RIP.sum(2) / num_videos
    own, parts, base = 1e3 * np.median(seconds_RIP, axis=0).sum(1) / num_videos
    gflops = sum(ledger.total_B.sum().item() for ledger in ledgers) / num_videos / 1e9
    baseline_gflops = sum(ledger.total_B.sum().item() for ledger in baseline_ledgers) / num_videos / 1e9
    row = LatencyRow(
        batch_size=len(pieces[0].batch.video_id),
        ms_per_video=own,
        baseline_ms_per_video=base,
        components_ms_per_video=parts,
        gflops_per_video=gflops,
        baseline_gflops_per_video=baseline_gflops,
        speedup_realised=base / own,
        speedup_theoretical=baseline_gflops / gflops,
        overhead=own / parts,
        repeats=len(rounds),
        spread=_range(ms_RI[:, 0]),
        overhead_spread=_range(ms_RI[:, 0] / ms_RI[:, 1]),
        speedup_spread=_range(ms_RI[:, 2] / ms_RI[:, 0]),
    )
    kinds = method.actions.kind(torch.cat(actions).cpu().numpy())
    return row, action_shares(kinds, len(method.actions.names))


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    _synchronize(device)
    start = time.perf_counter()
    work()
    _synchronize(device)
    return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _random(inputs: tuple[Any, ...], device: torch.device) -> tuple[Any, ...]:
    def fresh(x: Tensor) -> Tensor:
        make = torch.randn_like if x.is_floating_point() else torch.zeros_like
        return make(x, device=device)

    return tree_map_only(Tensor, fresh, inputs)


def _range(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def latency_table(record: LatencyRecord) -> str:
    """A latency record for reading."""
    shares = zip(record.usage.names, record.usage.overall, strict=True)
    used = ", ".join(f"{name} {share:.3f}" for name, share in shares)
    head = (
        f"{record.label} on {record.device}, {record.num_threads} threads, {record.precision}, "
        f"{record.weights} weights, {record.num_classes} classes, {record.num_frames} frames a video; "
        f"{record.decisions} decisions: {used}"
    )
    columns = {
        "batch": [str(row.batch_size) for row in record.rows],
        "ms/video": [f"{row.ms_per_video:.4g}" for row in record.rows],
        "components": [f"{row.components_ms_per_video:.4g}" for row in record.rows],
        "overhead": [_with_range(row.overhead, row.overhead_spread) for row in record.rows],
        record.baseline: [f"{row.baseline_ms_per_video:.4g}" for row in record.rows],
        "speed-up": [_with_range(row.speedup_realised, row.speedup_spread) for row in record.rows],
        "in GFLOPs": [f"{row.speedup_theoretical:.2f}x" for row in record.rows],
        "rounds": [str(row.repeats) for row in record.rows],
    }
    text = pd.DataFrame(columns).to_markdown(index=False, tablefmt="simple", disable_numparse=True)
    return f"{head}\n\n{text}"


def _with_range(value: float, spread: tuple[float, float]) -> str:
    low, high = spread
    return f"{value:.2f}x ({low:.2f}-{high:.2f})"


# Frames and surroundings


def _split_batch(run: Run, views: Mapping[str, View], num_videos: int, device: torch.device) -> VideoBatch:
    """Videos from all over the reported split, as they reach the method."""
    data = VideoDataModule(run.catalogue, views, run.recipe.batch_size)
    loader = data.test_dataloader()
    dataset: Any = loader.dataset
    chosen = np.linspace(0, len(dataset) - 1, num_videos).round().astype(int).tolist()
    batch = loader.collate_fn([dataset[i] for i in tqdm(chosen, desc="reading videos", leave=False)])
    return data.on_after_batch_transfer(data.transfer_batch_to_device(batch, device, 0), 0)


def random_batch(
    views: Mapping[str, View], num_videos: int, num_classes: int, device: torch.device | str = "cpu"
) -> VideoBatch:
    """Full-length videos of noise."""
    generator = torch.Generator(device).manual_seed(0)
    shapes = {name: (num_videos, *view.shape) for name, view in views.items()}
    noise = {name: torch.randn(shape, device=device, generator=generator) for name, shape in shapes.items()}
    return whole_videos(noise, num_classes)


def _part(batch: VideoBatch, part: slice) -> VideoBatch:
    """Some videos of a batch, without the padding that only the others need."""
    mask = {name: mask_BT[part] for name, mask_BT in batch.mask.items()}
    length = {name: int(mask_BT.sum(1).max()) for name, mask_BT in mask.items()}
    return VideoBatch(
        {name: frames[part, : length[name]].contiguous() for name, frames in batch.frames.items()},
        {name: mask_BT[:, : length[name]] for name, mask_BT in mask.items()},
        batch.label_BK[part],
        batch.video_id[part],
    )
