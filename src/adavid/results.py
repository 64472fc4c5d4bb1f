"""A run's record: one JSON of numbers, and one NPZ of the per-video predictions that they follow from.

Shapes: N videos, T frames, K classes.
"""

import difflib
import importlib.metadata
import json
import os
import platform
import subprocess
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from adavid import stats
from adavid.actions import ActionSpace
from adavid.metrics import average_precision, classes_without_positives, top1

SCHEMA = 1
KEYS = (
    *("schema", "method", "variant", "data", "profile", "seed", "split", "origin", "point"),
    *("operating_point", "metrics", "cost", "usage", "frames", "training", "data_info"),
    *("config", "config_hash", "git_revision", "versions", "device", "times"),
)
LATENCY_JSON = ("latency.json", "latency-forced.json")  # of the method's own decisions, and of forced ones
ONLINE_JSON = "online.json"
OTHER_JSON = (*LATENCY_JSON, ONLINE_JSON, "strips.json")  # beside the records, of other shapes
LIBRARIES = ("torch", "torchvision", "pytorch-lightning", "timm", "av", "fvcore", "scikit-learn", "numpy")


class Record(dict[str, Any]):
    """The JSON of a run, a dict of the keys in `KEYS`, and the path it was read from."""

    def __init__(self, content: Mapping[str, Any], path: Path):
        super().__init__(content)
        self.path = path


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said and spent on each video.

    Attributes:
        video_id: str (N,).
        label_NK: uint8 multi-hot.
        score_NK: float32, the softmax of the averaged logits.
        action_NT: int32 action indices, -1 = padding.
        macs_N: int64, multiply-accumulates of the video.
        frames_used_N: int16.

    Raises:
        ValueError: the arrays do not agree in their number of videos, or a value does not fit its type.
    """

    video_id: np.ndarray
    label_NK: np.ndarray
    score_NK: np.ndarray
    action_NT: np.ndarray
    macs_N: np.ndarray
    frames_used_N: np.ndarray

    def __post_init__(self) -> None:
        dtypes = (np.str_, np.uint8, np.float32, np.int32, np.int64, np.int16)
        for field, dtype in zip(fields(self), dtypes, strict=True):
            given = np.asarray(getattr(self, field.name))
            stored = given.astype(dtype)
            if stored.dtype.kind in "iu" and not np.array_equal(stored, given):
                raise ValueError(f"{field.name}: expected values that fit {stored.dtype}, got {given.dtype}")
            if len(stored) != len(self.video_id):
                raise ValueError(f"{field.name}: expected {len(self.video_id)} videos, got {len(stored)}")
            object.__setattr__(self, field.name, stored)

    def select(self, rows: np.ndarray) -> "Predictions":
        """The given videos, in the given order."""
        return Predictions(*(getattr(self, field.name)[rows] for field in fields(self)))

    def unique(self) -> "Predictions":
        """Each video once, sorted by id: distributed samplers pad the ranks by repeating videos."""
        return self.select(np.unique(self.video_id, return_index=True)[1])

    def check_unique(self) -> None:
        """ValueError where a video is held more than once: duplicates would count twice in every mean."""
        ids, count = np.unique(self.video_id, return_counts=True)
        if count.max(initial=0) != 1:
            twice = f"video {str(ids[count.argmax()])!r} {count.max()} times" if ids.size else "none"
            raise ValueError(f"predictions: expected videos, each of them once, got {twice}")


def summarize(
    predictions: Predictions,
    class_names: Sequence[str],
    actions: ActionSpace,
    *,
    num_frames: int,
    components: Mapping[str, float],
    audited_gflops_per_video: float,
    frames_decoded: float,
    num_replicates: int = 1000,
) -> dict[str, dict[str, Any]]:
    """The blocks of the record that follow from the predictions: metrics, cost, usage and frames.

    Args:
        predictions: of the whole split, each video once.
        class_names: K names.
        actions: what `action_NT` indexes.
        num_frames: T, the frames of a video that the cost per frame divides by.
        components: GFLOPs per video by component: like the next two, not to be had from the predictions.
        audited_gflops_per_video: the ledger's second tally.
        frames_decoded: mean over videos.
        num_replicates: of the bootstrap for the interval of the mAP (videos, given the trained model).

    Returns:
        {"metrics": ..., "cost": ..., "usage": ..., "frames": ...}; plain floats, fractions and GFLOPs.
        A class without videos has no entry in the usage by class. Where the first decision has places, the usage
        holds their number, and the shares of it by place in `where`.

    Raises:
        ValueError: no videos, a video twice, or names that do not fit the arrays.
    """
    label_NK, score_NK = predictions.label_NK, predictions.score_NK
    predictions.check_unique()
    if len(class_names) != label_NK.shape[1]:
        raise ValueError(f"class names: expected {label_NK.shape[1]}, got {len(class_names)}")
    if predictions.action_NT.max(initial=-1) >= len(actions):
        raise ValueError(f"actions: expected {predictions.action_NT.max() + 1}, got {len(actions)}")

    ap_K = average_precision(label_NK, score_NK)
    gflops_N = predictions.macs_N / 1e9
    kind_NT = actions.kind(predictions.action_NT)
    by_class = {name: kind_NT[label_NK[:, k] > 0] for k, name in enumerate(class_names)}
    return {
        "metrics": {
            "map": float(ap_K.mean()),
            "top1": top1(label_NK, score_NK),
            "map_interval": list(stats.interval(stats.bootstrap_map(label_NK, score_NK, num_replicates))),
            "per_class_ap": dict(zip(class_names, ap_K.tolist(), strict=True)),
            "classes_without_positives": classes_without_positives(label_NK, class_names),
        },
        "cost": {
            "gflops_per_video": float(gflops_N.mean()),
            "gflops_per_video_median": float(np.median(gflops_N)),
            "gflops_per_video_p90": float(np.percentile(gflops_N, 90)),
            "gflops_per_frame": float(gflops_N.mean() / num_frames),
            "audited_gflops_per_video": audited_gflops_per_video,
            "components": dict(components),
        },
        "usage": {
            "actions": list(actions.names),
            "overall": usage(kind_NT, len(actions.names)),
            "by_class": {name: usage(taken, len(actions.names)) for name, taken in by_class.items() if len(taken)},
            **_where(predictions.action_NT, actions),
        },
        "frames": {
            "num_frames": num_frames,
            "used": float(predictions.frames_used_N.mean()),
            "decoded": frames_decoded,
        },
    }


def usage(kind_NT: np.ndarray, num_kinds: int) -> list[float]:
    """The fraction of frames, padding left out, that took each kind of action; zeros where there are no frames."""
    counts = np.bincount(kind_NT[kind_NT >= 0], minlength=num_kinds)
    return (counts / max(counts.sum(), 1)).tolist()


def _where(action_NT: np.ndarray, actions: ActionSpace) -> dict[str, Any]:
    if actions.grid is None:
        return {}
    place_N = action_NT[(action_NT >= 0) & (action_NT < actions.num_places)]
    return {"num_places": actions.num_places, "where": actions.grid.heat(place_N)}


def write_record(folder: str | Path, point: str, record: Mapping[str, Any], predictions: Predictions) -> Path:
    """Writes `<point>.npz`, then `<point>.json`, each atomically: a run without its JSON did not happen.

    An earlier record of the same point is withdrawn first: no JSON ever stands beside another run's NPZ.

    Returns:
        The path of the JSON.

    Raises:
        ValueError: the record lacks a key or has an unknown one, is of another point, or holds a number that
            is not finite.
    """
    path = Path(folder) / f"{point}.json"
    _check(record, path)
    if record["point"] != point:
        raise ValueError(f"{path}: expected a record of point {point!r}, got {record['point']!r}")
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"

    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    arrays = {field.name: getattr(predictions, field.name) for field in fields(predictions)}
    _write_atomically(_npz(path), lambda file: np.savez_compressed(file, **arrays))
    _write_atomically(path, lambda file: file.write(text.encode()))
    return path


def withdraw(folder: str | Path) -> None:
    """Removes a run's records, before another model takes the place of the one that they speak of."""
    for path in Path(folder).glob("*.npz"):
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink()
    for name in (LATENCY_JSON[0], ONLINE_JSON):
        (Path(folder) / name).unlink(missing_ok=True)


def read_records(*roots: str | Path) -> list[Record]:
    """Every record at or below the roots, sorted by path; a root that does not exist holds none.

    What the dashboard keeps in a run's folder `wandb`, JSON too, is its own.

    Raises:
        ValueError: a file is not JSON, or not a record of this schema.
    """
    found = ((path, path.relative_to(root).parts) for root in roots for path in Path(root).rglob("*.json"))
    paths = (path for path, parts in found if path.name not in OTHER_JSON and "wandb" not in parts)
    return [_read(path) for path in sorted(paths)]


def read_predictions(path: str | Path) -> Predictions:
    """The predictions beside a record.

    Args:
        path: of the record's JSON, or of the NPZ itself.

    Raises:
        ValueError: the NPZ is missing, damaged or lacks an array.
    """
    path = _npz(Path(path))
    try:
        with np.load(path) as arrays:
            return Predictions(*(arrays[field.name] for field in fields(Predictions)))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: expected the predictions of a run: {error}") from error


def git_revision() -> str:
    """The commit of the source tree, "-dirty" when it has changes but for results, "unknown" outside a repository."""

    def git(*words: str, check: bool) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=check)

    try:
        revision = git("rev-parse", "HEAD", check=True).stdout.strip()
        is_dirty = git("diff", "--quiet", "HEAD", "--", ":/", ":(top,exclude)results", check=False).returncode
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{revision}-dirty" if is_dirty else revision


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that a result depends on."""
    libraries = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **libraries}


def device_name(device: torch.device | str = "cpu") -> str:
    """The model of the GPU or CPU behind a torch device."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    return model if device.type == "cpu" else f"{device.type} on {model}"


def _npz(path: Path) -> Path:
    return path.with_suffix(".npz")


def _check(record: Any, path: Path) -> None:
    if not isinstance(record, Mapping) or record.get("schema") != SCHEMA:
        got = record.get("schema") if isinstance(record, Mapping) else type(record).__name__
        raise ValueError(f"{path}: expected a record of schema {SCHEMA}, got {got!r}")
    for key in record.keys() - set(KEYS):
        near = difflib.get_close_matches(key, KEYS, n=1)
        raise ValueError(f"{path}: unknown key {key!r}" + (f", did you mean {near[0]!r}?" if near else ""))
    missing = [key for key in KEYS if key not in record]
    if missing:
        raise ValueError(f"{path}: expected the keys {', '.join(missing)}")


def _read(path: Path) -> Record:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON: {error}") from error
    _check(content, path)
    return Record(content, path)


def _write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Through a file in the same folder, renamed when all of it is on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
