"""A run's record: one JSON of numbers, and one NPZ of the per-video predictions that they follow from.

Shapes: N videos, T frames, K classes.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from adavid.evaluation.predictions import Predictions
from adavid.files import write_atomically

SCHEMA = 1
KEYS = (
    *("schema", "method", "variant", "data", "profile", "seed", "split", "origin", "point"),
    *("operating_point", "metrics", "cost", "usage", "frames", "training", "data_info"),
    *("config", "config_hash", "git_revision", "versions", "device", "times"),
)
LATENCY_JSON = ("latency.json", "latency-forced.json")  # of the method's own decisions, and of forced ones
ONLINE_JSON = "online.json"
OTHER_JSON = (*LATENCY_JSON, ONLINE_JSON, "strips.json")  # beside the records, of other shapes


class Record(dict[str, Any]):
    """The JSON of a run, a dict of the keys in `KEYS`, and the path it was read from."""

    def __init__(self, content: Mapping[str, Any], path: Path):
        super().__init__(content)
        self.path = path


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
    write_atomically(_npz(path), lambda file: np.savez_compressed(file, **arrays))
    write_atomically(path, lambda file: file.write(text.encode()))
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
