"""Synthetic results: records, times, curves and examples whose numbers are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from adavid.actions import ActionSpace, PatchGrid
from adavid.evaluation.predictions import Predictions
from adavid.evaluation.records import (
    SHUFFLED,
    DataInfo,
    LatencyBeside,
    LatencyRecord,
    LatencyRow,
    OnlinePoint,
    OnlineRecord,
    Record,
    StageEpochs,
    Strip,
    Training,
    Validation,
    write_latency,
    write_online,
    write_record,
    write_strips_json,
)
from adavid.evaluation.schema import SCHEMA
from adavid.evaluation.summary import ActionShares, summarize

NUM_VIDEOS, NUM_FRAMES = 120, 4
CLASSES = ("cat", "dog", "owl")
GFLOP = 10**9
ACTIONS = ("64", "32", "skip-1")
NAMES = {"schema": SCHEMA, "method": "sharp", "variant": "", "data": "toys", "profile": "tiny", "seed": 0}


def predictions(
    accuracy: float,
    action_NT: np.ndarray,
    used_N: np.ndarray,
    macs_N: np.ndarray,
    seed: int,
    num_classes: int,
    levels: tuple[str, ...] = (),
    prefix: str = "",
    num_groups: int = 0,
) -> Predictions:
    """Predictions that are right for about the given fraction of the videos, which are all of the first classes."""
    rng = np.random.default_rng(seed)
    label_N = np.arange(NUM_VIDEOS) % len(CLASSES)
    said_N = np.where(rng.random(NUM_VIDEOS) < accuracy, label_N, rng.integers(len(CLASSES), size=NUM_VIDEOS))
    score_NK = np.eye(num_classes)[said_N] + 0.5 * rng.random((NUM_VIDEOS, num_classes))
    ids = np.array([f"{prefix}video{n:03d}" for n in range(NUM_VIDEOS)])
    level_N = np.resize(levels or ("",), NUM_VIDEOS)
    label_NK = np.eye(num_classes, dtype=int)[label_N]
    groups = [f"{prefix}group{n}" for n in range(num_groups)]
    group_N = np.resize(groups or ("",), NUM_VIDEOS)
    return Predictions(ids, label_NK, score_NK, action_NT, macs_N, used_N, level_N, group_N=group_N)


def add(
    results: Path,
    method: str,
    *,
    root: str = "reference",
    seed: int = 0,
    point: str = "test",
    variant: str = "",
    actions: tuple[str, ...] = ("64",),
    sizes: tuple[int, ...] = (),
    accuracy: float = 0.8,
    gflops: float = 4.0,
    data: str = "toys",
    operating_point: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    fingerprint: str = "f0f0f0f0",
    config_hash: str = "abcdef0123",
    action_NT: np.ndarray | None = None,
    grid: PatchGrid | None = None,
    epochs: int = 0,
    train_gmacs: float | None = 10.0,
    classes: tuple[str, ...] = CLASSES,
    levels: tuple[str, ...] = (),
    on_val: tuple[float, float] | None | str = "as on test",
    num_replicates: int = 50,
    code: str = "",
    model_hash: str = "",
    num_folds: int = 1,
    num_groups: int = 0,
    course: Mapping[str, tuple[float, ...]] | None = None,
    metric: Literal["map", "top1"] = "map",
) -> Path:
    """Writes one record and gives its folder; a method with several actions spends more on later videos.

    Actions are random where none are given. Their sizes are those that their names say unless they are given. On the
    validation split (GFLOPs and mAP) it costs what it costs on test and attains `accuracy`, unless that is given. With
    folds, each of which has videos of its own, seeds take turns at them; with groups, videos do at these.
    """
    rng = np.random.default_rng(seed)
    share_N = np.linspace(0.5, 1.5, NUM_VIDEOS) if len(actions) > 1 else np.ones(NUM_VIDEOS)
    if action_NT is None:
        action_NT = rng.integers(len(actions), size=(NUM_VIDEOS, NUM_FRAMES))
    space = ActionSpace(actions, sizes or tuple(size_of(name) for name in actions), grid=grid)
    used_N = np.array(space.is_seen)[space.kind(action_NT)].sum(axis=1)
    macs_N = np.round(share_N * gflops * GFLOP).astype(int)
    prefix = f"fold{seed % num_folds} " if num_folds > 1 else ""
    made = predictions(accuracy, action_NT, used_N, macs_N, seed, len(classes), levels, prefix, num_groups)
    summary = summarize(
        made,
        classes,
        space.kinds,
        num_frames=NUM_FRAMES,
        components={"backbone": gflops},
        audited_gflops_per_video=gflops,
        frames_decoded=NUM_FRAMES,
        level_names=levels,
        num_replicates=num_replicates,
    )
    val = (gflops, accuracy) if isinstance(on_val, str) else on_val
    if point == SHUFFLED:
        val = None
    name = f"{method}@{variant}" if variant else method
    record = Record(
        **{"schema": SCHEMA, "method": method, "variant": variant, "data": data, "profile": "tiny", "seed": seed},
        **{"split": "test", "origin": "measured", "point": point, "operating_point": operating_point or {}},
        **dict(summary),
        validation=val and Validation(gflops_per_video=val[0], map=val[1]),
        training=Training(
            gmacs=None if train_gmacs is None else train_gmacs + seed,
            stages=(StageEpochs(name="all", epochs=epochs),),
            course=dict(course or {}),
        ),
        data_info=DataInfo(
            num_videos=NUM_VIDEOS,
            num_skipped_bad=0,
            class_names=classes,
            metric=metric,
            fingerprint=fingerprint,
            fold=seed % num_folds,
            num_folds=num_folds,
        ),
        **{
            "config": config or {},
            "config_hash": config_hash,
            "model_hash": model_hash or f"model of {name}",
            "code": code,
            "git_revision": "0" * 40,
            "versions": {"torch": "2"},
        },
        **{"device": "a machine", "num_threads": 1, "times": {"train_s": 1.0, "eval_s": 1.0}},
    )
    folder = results / root / data / "tiny" / name / config_hash[:8] / f"seed{seed}"
    write_record(folder, record, made)
    return folder


def size_of(action: str) -> int:
    """What the names of the tests' actions say: "64" and "patch-8" are sizes."""
    size = action.removeprefix("patch-")
    return int(size) if size.isdigit() else 0


def add_latency(folder: Path, config_hash: str = "abcdef0123") -> None:
    numbers = {"baseline_ms_per_video": 9.0, "components_ms_per_video": 9.0, "gflops_per_video": 1.0}
    numbers |= {"baseline_gflops_per_video": 2.0, "speedup_realised": 1.5, "speedup_theoretical": 2.0, "overhead": 1.0}
    numbers |= {"speedup_allowed": 1.8, "from_file_ms_per_video": 10.0, "baseline_from_file_ms_per_video": 13.0}
    spreads = dict.fromkeys(("spread", "overhead_spread", "speedup_spread"), (1.0, 2.0))
    times = ((1, 9.0), (16, 5.0))
    of_other = {"components_ms_per_video": 7.0, "gflops_per_video": 3.0, "speedup_spread": (0.8, 1.0)}
    speedups = {"speedup_realised": 0.9, "speedup_theoretical": 3.0, "speedup_allowed": 0.7}
    beside = LatencyBeside(baseline="multi_scale", ms_per_video=8.0, **of_other, **speedups)
    rows = [
        LatencyRow(batch_size=size, ms_per_video=ms, repeats=3, beside=(beside,), **numbers, **spreads)
        for size, ms in times
    ]
    record = LatencyRecord(
        **NAMES,
        **{"kind": "latency", "config_hash": config_hash, "device": "a machine", "num_threads": 1},
        **{"precision": "32-true", "num_classes": 3, "baseline": "uniform", "weights": "trained", "decisions": "own"},
        num_frames=NUM_FRAMES,
        usage=ActionShares(actions=ActionSpace(ACTIONS, (64, 32, 0)).kinds, overall=(1.0, 0.0, 0.0)),
        rows=tuple(rows),
    )
    write_latency(folder, record)


def add_strips(folder: Path, actions: tuple[str, ...], **more: Any) -> None:
    (folder / "strips").mkdir()
    Image.new("RGB", (8 * NUM_FRAMES, 8), "teal").save(folder / "strips/0.jpg")
    video = {"video_id": "video000", "label": "cat", "prediction": "dog", "correct": False, "gflops": 1.0}
    video |= {"actions": tuple(actions[t % len(actions)] for t in range(NUM_FRAMES)), "image": "strips/0.jpg", **more}
    write_strips_json(folder, (Strip(**video),))


def add_online(folder: Path, max_close: int, top1: float, config_hash: str = "abcdef0123") -> None:
    """Stops at up to `max_close` frames seen closely, and at two shares; by the baselines at twice the cost."""

    def point(axis: str, value: float, by: str) -> OnlinePoint:
        gflops = value * (1 if by == "own" else 2)
        numbers = {"gflops": gflops, "gflops_std": 0.5, "num_close": value, "num_close_std": 0.25, "frames": 4.0}
        return OnlinePoint(axis=axis, value=value, by=by, top1=top1, map=top1 / 2, **numbers)

    close = [point("close", k + 1, by) for k in range(max_close) for by in ("own", "uniform-k", "seq-k")]
    watched = [point("watched", share, by) for share in (0.5, 1.0) for by in ("own", "uniform")]
    points = tuple(close + watched)
    hashes = {"config_hash": config_hash, "baseline": "uniform"}
    write_online(folder, OnlineRecord(**NAMES, **hashes, kind="online", points=points))
