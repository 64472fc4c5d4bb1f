"""How long evaluation takes: a method end to end, its components alone, and a baseline, in the same run.

B videos, T frames, N routed rows, K classes, A actions.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only
from tqdm import tqdm

from adavid.chunks import CHUNKS, Rows, run_in_chunks, shaped
from adavid.cost import Ledger, price
from adavid.data.batch import VideoBatch, View, whole_videos
from adavid.data.catalogue import VideoCatalogue
from adavid.data.transforms import normalize
from adavid.environment import device_name
from adavid.evaluation.records import LatencyBeside, LatencyRecord, LatencyRow, write_latency
from adavid.evaluation.schema import SCHEMA
from adavid.evaluation.summary import ActionShares, action_shares
from adavid.files import locked
from adavid.method import AdaptiveMethod
from adavid.training import channels_last
from benchmarks.compose import like
from benchmarks.layers import BASELINE, method_files, methods_of
from benchmarks.measure.usage import forced_usage, parse_usage
from benchmarks.models import as_evaluated, folder_of, last_stage, loaded
from benchmarks.run import Run
from benchmarks.workspace import Workspace

NUM_CLASSES = 200  # of a method without a data set: ActivityNet's


class Call(NamedTuple):
    """One run of a component: the module, its inputs without their data, and those that were made as they were run."""

    module: nn.Module
    inputs: tuple[Any, ...]
    rows: tuple[Rows, ...]


class RecordingLedger(Ledger):
    """A ledger that remembers what ran.

    Attributes:
        calls: every `run`, in order; tensors of their inputs on the meta device.
    """

    def __init__(self, num_videos: int, device: torch.device | str = "cpu") -> None:
        super().__init__(num_videos, device)
        self.calls: list[Call] = []

    def run(self, name: str, module: nn.Module, *inputs: Any, owner_N: Tensor) -> Any:
        on_meta = tree_map_only(Tensor, lambda x: x.detach().to("meta"), shaped(inputs))
        self.calls.append(Call(module, on_meta, tuple(of for of in inputs if isinstance(of, Rows))))
        return super().run(name, module, *inputs, owner_N=owner_N)

    @property
    def makes_rows_as_they_run(self) -> bool:
        """Whether all frames that networks read were gathered and resized by the runs themselves, none by hand."""
        return len(self.reads) == sum(len(call.rows) for call in self.calls)


class Side(NamedTuple):
    """A method at work, or one that it is compared with: on the same videos, in pieces of a batch each."""

    label: str
    method: AdaptiveMethod
    batches: list[VideoBatch]
    forced: list[Tensor | None]  # decisions of each batch


def main_latency(run: Run, workspace: Workspace, usage: str = "", **options: Any) -> str:
    """Time a run's method against baselines and write `latency.json` into the run's folder.

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
    budget_s: float = 40.0,
    folder: Path | None = None,
) -> LatencyRecord:
    """Time a method's evaluation end to end: from float frames on the device to logits, routing and bill too.

    At each batch size the same videos, as many as the largest batch holds, are timed. A round times, for every batch,
    the method and its baselines, `uniform` and the strongest of its own paper, and the components that each ran (alone,
    on random inputs of the same shapes), one after the other and in changing order, so that whatever else the machine
    does hits all of them. Each network runs in the chunks that it is fastest in. A batch's time is its median over the
    rounds; what a method takes beyond its components is its own overhead, of which gathering and resizing the frames
    that networks read is timed by itself. Of real videos it is timed too how long the frames that networks saw take to
    be decoded, and how long all takes from the file to the answer.

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
    methods = {run.label: method}
    for label in [baseline, *_papers_own(run)]:
        other = channels_last(like(run, label).build_method(num_classes)).to(device).eval()
        methods.setdefault(label if label != run.label else f"{label} again", other)

    num_videos = max(batch_sizes)
    files = Files(run.catalogue, num_videos, device) if usage is None and is_trained else None
    batches = {
        label: random_batch(of.views, num_videos, num_classes, device) if files is None else files.batch(of.views)
        for label, of in methods.items()
    }
    batch = batches[run.label]
    forced_BT = None
    if usage is not None:
        num_frames = next(iter(batch.mask.values())).shape[1]
        forced_BT = forced_usage(method.actions, usage, num_videos, num_frames).to(device)

    rows = []
    for batch_size in batch_sizes:
        parts = [slice(start, start + batch_size) for start in range(0, num_videos, batch_size)]
        sides = [
            Side(
                label,
                of,
                [_part(batches[label], part) for part in parts],
                [forced_BT[part] if of is method and forced_BT is not None else None for part in parts],
            )
            for label, of in methods.items()
        ]
        with as_evaluated(run):
            row, share_A = _measure(sides, parts, files, device, repeats, budget_s / len(batch_sizes))
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


def _papers_own(run: Run) -> list[str]:
    """The strongest baseline of the method's own paper, as its YAML names it first; none where it names none."""
    there = methods_of(run.profile)
    return [label for label in method_files(run.method).baselines if label.partition("@")[0] in there][:1]


def _measure(
    sides: Sequence[Side],
    parts: Sequence[slice],
    files: Files | None,
    device: torch.device,
    repeats: tuple[int, int],
    budget_s: float,
) -> tuple[LatencyRow, tuple[float, ...]]:
    """One row of the record, of the first side beside the others; and the share of the frames that took each action."""
    ledgers: dict[str, list[RecordingLedger]] = {side.label: [] for side in sides}
    own, baseline, *others = sides
    actions = []
    for side in sides:  # also the warm-up: prices, chunks, kernels and memory
        for batch, forced_BT in zip(side.batches, side.forced, strict=True):
            ledgers[side.label].append(RecordingLedger(len(batch.video_id), device))
            action_BT = side.method(batch, ledgers[side.label][-1], forced_BT).action_BT
            if side is own:
                actions.append(action_BT.flatten())
    num_videos = sum(len(batch.video_id) for batch in own.batches)

    def end_to_end(side: Side, p: int) -> float:
        ledger = Ledger(len(side.batches[p].video_id), device)
        return _seconds(device, lambda: (side.method(side.batches[p], ledger, side.forced[p]), ledger.total_B))

    def components(side: Side, p: int) -> float:
        # Fresh inputs for one call at a time: all together they might not fit into memory.
        return sum(_seconds_alone(call, device) for call in ledgers[side.label][p].calls)

    def resizing(p: int) -> float:
        return sum(_seconds_resizing(call, device) for call in ledgers[own.label][p].calls)

    def from_file(side: Side, p: int) -> float:
        assert files is not None
        ledger = Ledger(len(side.batches[p].video_id), device)
        return _seconds(device, lambda: side.method(files.batch(side.method.views, parts[p]), ledger))

    timers: dict[str, Callable[[int], float]] = {}
    for side in sides:
        timers[side.label] = partial(end_to_end, side)
        timers[f"{side.label}, components"] = partial(components, side)
    if all(of.makes_rows_as_they_run for of in ledgers[own.label]):
        timers["resizing"] = resizing
    if files is not None:
        needed = [files.needed(own.method.views, parts[p], of) for p, of in enumerate(ledgers[own.label])]
        timers["decoding"] = lambda p: _seconds(device, lambda: files.decode(parts[p], needed[p]))
        for side in (own, baseline):
            timers[f"{side.label}, from file"] = partial(from_file, side)

    ms_RIP = 1e3 * _rounds(list(timers.values()), len(parts), repeats, budget_s, len(own.batches[0].video_id))
    ms = dict(zip(timers, np.median(ms_RIP, axis=0).sum(1) / num_videos, strict=True))
    ms_R = dict(zip(timers, ms_RIP.sum(2).T / num_videos, strict=True))
    gflops = {
        label: sum(ledger.total_B.sum().item() for ledger in of) / num_videos / 1e9 for label, of in ledgers.items()
    }

    def against(other: Side) -> dict[str, Any]:
        realised = ms[other.label] / ms[own.label]
        return {
            "speedup_realised": realised,
            "speedup_theoretical": gflops[other.label] / gflops[own.label],
            "speedup_allowed": ms[f"{other.label}, components"] / ms[f"{own.label}, components"],
            # Each round may be disturbed in another piece, so that the ratio of the pieces' medians lies outside.
            "speedup_spread": _range(np.r_[realised, ms_R[other.label] / ms_R[own.label]]),
        }

    row = LatencyRow(
        batch_size=len(own.batches[0].video_id),
        ms_per_video=ms[own.label],
        baseline_ms_per_video=ms[baseline.label],
        components_ms_per_video=ms[f"{own.label}, components"],
        gflops_per_video=gflops[own.label],
        baseline_gflops_per_video=gflops[baseline.label],
        **against(baseline),
        overhead=ms[own.label] / ms[f"{own.label}, components"],
        resize_ms_per_video=ms.get("resizing"),
        repeats=len(ms_RIP),
        spread=_range(ms_R[own.label]),
        overhead_spread=_range(ms_R[own.label] / ms_R[f"{own.label}, components"]),
        decode_ms_per_video=ms.get("decoding"),
        from_file_ms_per_video=ms.get(f"{own.label}, from file"),
        baseline_from_file_ms_per_video=ms.get(f"{baseline.label}, from file"),
        beside=tuple(
            LatencyBeside(
                baseline=other.label,
                ms_per_video=ms[other.label],
                components_ms_per_video=ms[f"{other.label}, components"],
                gflops_per_video=gflops[other.label],
                **against(other),
            )
            for other in others
        ),
    )
    kinds = own.method.actions.kind(torch.cat(actions).cpu().numpy())
    return row, action_shares(kinds, len(own.method.actions.names))


def _rounds(
    timers: Sequence[Callable[[int], float]], num_pieces: int, repeats: tuple[int, int], budget_s: float, size: int
) -> np.ndarray:
    """Seconds by round, timer and piece; every round begins with another timer."""
    rounds: list[list[list[float]]] = []
    end = time.monotonic() + budget_s
    with tqdm(desc=f"batch {size}", unit="round", leave=False) as bar:
        while len(rounds) < repeats[0] or (len(rounds) < repeats[1] and time.monotonic() < end):
            order = [(i + len(rounds)) % len(timers) for i in range(len(timers))]
            times = [[0.0] * num_pieces for _ in timers]
            for p in range(num_pieces):
                for i in order:
                    times[i][p] = timers[i](p)
            rounds.append(times)
            bar.update()
    return np.array(rounds)


def _seconds_alone(call: Call, device: torch.device) -> float:
    """Of a component, in its chunks."""
    inputs = _random(call.inputs, device)
    num_rows, chunk = _rows_and_chunk(call, inputs)
    return _seconds(device, lambda: run_in_chunks(call.module, inputs, num_rows, chunk))


class _Nothing(nn.Module):
    """Does nothing with its rows."""

    def forward(self, *rows: Tensor) -> None:
        pass


def _seconds_resizing(call: Call, device: torch.device) -> float:
    """Of making the rows that a component read, in its chunks."""
    if not call.rows:
        return 0.0
    num_rows, chunk = _rows_and_chunk(call, _random(call.inputs, device))
    return _seconds(device, lambda: run_in_chunks(_Nothing(), call.rows, num_rows, chunk))


def _rows_and_chunk(call: Call, inputs: tuple[Any, ...]) -> tuple[int, int]:
    """How many rows it ran on, and how many of them at once."""
    tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    chunk = CHUNKS.chunk(call.module, tensors, inputs, price(call.module, *inputs).macs)
    return len(tensors[0]), chunk


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
        "resizing": [_ms(row.resize_ms_per_video) for row in record.rows],
        "overhead": [_with_range(row.overhead, row.overhead_spread) for row in record.rows],
        record.baseline: [f"{row.baseline_ms_per_video:.4g}" for row in record.rows],
        "speed-up": [_with_range(row.speedup_realised, row.speedup_spread) for row in record.rows],
        "allowed": [_times(row.speedup_allowed) for row in record.rows],
        "in GFLOPs": [_times(row.speedup_theoretical) for row in record.rows],
        "rounds": [str(row.repeats) for row in record.rows],
    }
    for of in zip(*(row.beside or () for row in record.rows), strict=True):
        other = of[0]
        columns[other.baseline] = [f"{row.ms_per_video:.4g}" for row in of]
        columns[f"speed-up over {other.baseline}"] = [
            _with_range(row.speedup_realised, row.speedup_spread) for row in of
        ]
        columns["allowed "] = [_times(row.speedup_allowed) for row in of]
        columns["in GFLOPs "] = [_times(row.speedup_theoretical) for row in of]
    if record.rows[0].decode_ms_per_video is not None:
        columns["decoding"] = [f"{row.decode_ms_per_video:.4g}" for row in record.rows]
        columns["from file"] = [f"{row.from_file_ms_per_video:.4g}" for row in record.rows]
        columns[f"{record.baseline} from file"] = [f"{row.baseline_from_file_ms_per_video:.4g}" for row in record.rows]
    text = pd.DataFrame(columns).to_markdown(index=False, tablefmt="simple", disable_numparse=True)
    return f"{head}\n\n{text}"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


def _with_range(value: float, spread: tuple[float, float]) -> str:
    low, high = spread
    return f"{value:.2f}x ({low:.2f}-{high:.2f})"


# Frames and surroundings


class Files:
    """Videos from all over the reported split, from the files or folders that they are, past any cache of their frames.

    Args:
        catalogue: of the videos.
        num_videos: how many.
        device: for their frames.
    """

    def __init__(self, catalogue: VideoCatalogue, num_videos: int, device: torch.device) -> None:
        checked = catalogue.checked
        records = checked.videos[catalogue.report_split]
        chosen = np.linspace(0, len(records) - 1, num_videos).round().astype(int)
        self._records = [records[i] for i in chosen]
        self._checked = dataclasses.replace(checked, open_clip=catalogue.open_clip)
        self._catalogue, self._device = catalogue, device

    def batch(self, views: Mapping[str, View], part: slice = slice(None)) -> VideoBatch:
        """Some of them as they reach a method."""
        reading, records = self._catalogue.reading, self._records[part]
        read = [reading.read(self._checked.open(record), views) for record in records]
        frames = {name: normalize(torch.stack([of[name] for of in read]).to(self._device)) for name in views}
        batch = whole_videos(frames, self._catalogue.num_classes)
        return batch._replace(video_id=[record.video_id for record in records])

    def needed(self, views: Mapping[str, View], part: slice, ledger: Ledger) -> list[list[int]]:
        """Which frames of each video networks saw."""
        sources = [self._checked.open(record) for record in self._records[part]]
        shown = [self._catalogue.reading.indices(source, views) for source in sources]
        found: list[set[int]] = [set() for _ in sources]
        for view, video_N, frame_N, inner in ledger.reads:
            for video, frame in zip(video_N.tolist(), frame_N.tolist(), strict=True):
                index_TS = np.reshape(shown[video][view], (views[view].num_frames, -1))
                found[video].update(index_TS[frame].tolist() if inner is None else [int(index_TS[frame, inner])])
        return [sorted(indices) for indices in found]

    def decode(self, part: slice, needed: Sequence[Sequence[int]]) -> None:
        """Decodes some frames of each video, and does nothing with them."""
        for record, indices in zip(self._records[part], needed, strict=True):
            for _ in self._checked.open(record).images(indices):
                pass


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
