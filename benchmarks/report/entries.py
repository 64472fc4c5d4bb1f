"""What the result files hold, grouped: one `Entry` for each configuration of a method, its seeds together."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from adavid.actions import is_close, kind_of
from adavid.config import essential, nearest
from adavid.evaluation.predictions import Predictions, read_predictions
from adavid.evaluation.records import (
    LATENCY_JSON,
    MAIN,
    ONLINE_JSON,
    SHUFFLED,
    STRIPS_JSON,
    LatencyRecord,
    LatencyRow,
    OnlineRecord,
    Record,
    Strip,
    pooled,
    read_records,
)
from adavid.evaluation.schema import method_label, read_json

if TYPE_CHECKING:
    from benchmarks.report.compare import Comparison
    from benchmarks.report.curves import Curve

FULL = "32-true"  # the precision of all but what somebody runs on a GPU to save time
REFERENCE, LOCAL, PAPER = "reference", "local", "paper"  # where a row comes from
ROOTS = {REFERENCE: "reference", LOCAL: "runs", PAPER: "reported"}  # folders below results/


class Place(NamedTuple):
    """Where results can be set side by side: the same videos under one profile."""

    data: str
    profile: str
    videos: str  # the data set's fingerprint

    def __str__(self) -> str:
        return f"{self.data} (profile {self.profile}, videos {self.videos})"


@dataclass(frozen=True)
class Entry:
    """One configuration of one method on one data set.

    Attributes:
        root: "reference" (committed with the project) or "local" (a run of the user's).
        folder: the configuration's folder, with one folder of records for each seed.
        points: the records of each point ("test", "shuffled", "curve-..."), sorted by seed.
        comparisons: what a claim about it has to beat, where that was computed (`compare.with_comparisons`).
        curve: what its operating points say together, likewise.
    """

    root: str
    folder: Path
    points: Mapping[str, Sequence[Record]]
    comparisons: tuple[Comparison, ...] = ()
    curve: Curve | None = None

    @property
    def main(self) -> Sequence[Record]:
        return self.points[MAIN]

    @property
    def first(self) -> Record:
        """The main record of the first seed: what all seeds share is taken from it."""
        return self.main[0]

    @property
    def method(self) -> str:
        return self.first.method

    @property
    def variant(self) -> str:
        return self.first.variant

    @property
    def label(self) -> str:
        return method_label(self.method, self.variant)

    @property
    def config_hash(self) -> str:
        return self.first.config_hash

    @property
    def name(self) -> str:
        """What tells this entry from all others of its data set, as `find` takes it."""
        return f"{self.label}#{self.config_hash[:8]}:{self.root}"

    @property
    def place(self) -> Place:
        return Place(self.first.data, self.first.profile, self.first.data_info.fingerprint)

    @property
    def conditions(self) -> str:
        """What a baseline has to share: recipe, data and trainer.

        But for the backbones' warm-up, which is a part of the training: a method may give it more and its own stages
        less, and the GMACs of both are what the budget rule compares.
        """
        config = self.first.config
        shared = essential({key: config.get(key, {}) for key in ("recipe", "trainer")})
        shared.get("recipe", {}).pop("warmup", None)
        start = sorted(set(config.get("weights", {}).values()))
        folds = [part.data_info.fold for part in self.first.parts]
        return json.dumps([*self.place, shared, start, folds], sort_keys=True)

    @property
    def warmup(self) -> Mapping[str, Any]:
        """How its backbones were fine-tuned."""
        found: Mapping[str, Any] = self.first.config.get("recipe", {}).get("warmup", {})
        return found

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the main records."""
        return tuple(record.seed for record in self.main)

    def of_seeds(self, seeds: Collection[int]) -> Entry:
        """The same with the records of these seeds alone."""
        kept = {point: [record for record in of if record.seed in seeds] for point, of in self.points.items()}
        return replace(self, points={point: of for point, of in kept.items() if of})

    @property
    def precision(self) -> str:
        """In which numbers it was trained and evaluated, as Lightning calls it."""
        return str(self.first.config.get("trainer", {}).get("precision", FULL))

    @property
    def is_shuffled(self) -> bool:
        """Whether it was evaluated with its decisions shuffled too."""
        return SHUFFLED in self.points

    @property
    def is_adaptive(self) -> bool:
        """Whether it decides: more than one action is in use, or its decisions could be shuffled."""
        return self.is_shuffled or any(np.count_nonzero(record.usage.overall) > 1 for record in self.main)

    def runs(self, point: str = MAIN) -> dict[int, Predictions]:
        """The per-video predictions of a point, by seed."""
        return {record.seed: predictions_of(record.parts) for record in self.points[point]}

    def predictions(self) -> list[Predictions]:
        """The per-video predictions of the main point, one for each seed."""
        return list(self.runs().values())

    def num_close(self) -> list[np.ndarray]:
        """How many frames of each video were seen as closely as the method can, int (N,), one for each seed."""
        actions = self.first.usage.actions
        is_close_A = np.array([*is_close(actions), False])  # the last one: padding
        return [is_close_A[kind_of(run.action_NT, actions[0].places)].sum(axis=1) for run in self.predictions()]

    def close_by_class(self) -> dict[str, np.ndarray]:
        """`num_close` of each class that has videos, all seeds together; the class with the most on average first."""
        num_N = np.concatenate(self.num_close())
        label_NK = np.concatenate([run.label_NK for run in self.predictions()])
        of_class = {name: num_N[label_NK[:, k] > 0] for k, name in enumerate(self.first.data_info.class_names)}
        present = [name for name, num_n in of_class.items() if len(num_n)]
        return {name: of_class[name] for name in sorted(present, key=lambda name: (-of_class[name].mean(), name))}

    def timed_rows(self, batch_size: int) -> list[LatencyRow]:
        """Its times at a batch size, one for each seed that was timed."""
        return [row for record in self.latencies for row in record.rows if row.batch_size == batch_size]

    @functools.cached_property
    def latencies(self) -> list[LatencyRecord]:
        """The times under the method's own decisions, one for each seed that was timed."""
        return [read_json(LatencyRecord, path) for path in sorted(self.folder.glob(f"*/{LATENCY_JSON}"))]

    @functools.cached_property
    def online(self) -> list[OnlineRecord]:
        """The curves along the videos, one for each seed that has them."""
        paths = (part.path.with_name(ONLINE_JSON) for record in self.main for part in record.parts)
        return [read_json(OnlineRecord, path) for path in paths if path.exists()]

    @functools.cached_property
    def strips(self) -> tuple[Record, tuple[Strip, ...]] | None:
        """The example videos of the first seed that has some, and its record."""
        for record in self.main:
            path = record.path.with_name(STRIPS_JSON)
            if path.exists():
                strips = read_json(tuple[Strip, ...], path)
                for action in (action for strip in strips for action in strip.actions):
                    if action not in record.usage.names:
                        raise ValueError(f"{path}: action '{action}' is unknown; {nearest(action, record.usage.names)}")
                return record, strips
        return None

    def mean(self, number: Callable[[Record], float], point: str = MAIN) -> float:
        """A number of the records, averaged over seeds."""
        return float(np.mean([number(record) for record in self.points[point]]))

    def gflops(self, point: str = MAIN) -> float:
        """GFLOPs per video, averaged over seeds."""
        return self.mean(lambda record: record.cost.gflops_per_video, point)

    def train_gmacs(self, point: str = MAIN) -> float:
        """Of training, averaged over seeds; NaN where it was not trained here."""
        return self.mean(lambda record: np.nan if record.training.gmacs is None else record.training.gmacs, point)

    def on_val(self, point: str = MAIN) -> tuple[float, float] | None:
        """GFLOPs per video and mAP of a point on the validation split, averaged over seeds; None where one has none."""
        found = [record.validation for record in self.points[point] if record.validation is not None]
        if not 0 < len(found) == len(self.points[point]):
            return None
        gflops, maps = ([getattr(of, name) for of in found] for name in ("gflops_per_video", "map"))
        return float(np.mean(gflops)), float(np.mean(maps))


def predictions_of(records: Iterable[Record]) -> Predictions:
    """The per-video predictions of one record, or of several that are pooled."""
    return _predictions(tuple((record.path, record.path.stat().st_mtime_ns) for record in records))


@functools.cache
def _predictions(files: tuple[tuple[Path, int], ...]) -> Predictions:
    """One object for all comparisons that a run takes part in, so that its bootstrap is taken once."""
    parts = [read_predictions(path) for path, _ in files]
    return Predictions.joined(parts) if len(parts) > 1 else parts[0]


def read_entries(results_dir: Path, seeds: Collection[int] = ()) -> list[Entry]:
    """The entries below results/reference and results/runs that have been evaluated at their main point.

    With seeds, of the runs of these alone: of a fold, where they take turns at folds.
    """
    records = read_records(results_dir / ROOTS[REFERENCE], results_dir / ROOTS[LOCAL])
    return group(record for record in records if not seeds or record.seed in seeds)


def group(records: Iterable[Record]) -> list[Entry]:
    """Records to entries, sorted by data set, profile and name; without the main point there is no entry."""
    by_folder: dict[Path, list[Record]] = {}
    for record in records:
        by_folder.setdefault(record.path.parents[1], []).append(record)
    entries = [_entry(folder, of) for folder, of in by_folder.items() if any(record.point == MAIN for record in of)]
    return sorted(entries, key=lambda entry: (entry.place, entry.label, entry.root == LOCAL, entry.config_hash))


def _entry(folder: Path, records: Sequence[Record]) -> Entry:
    points: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record.point, record.seed)):
        points.setdefault(record.point, []).append(record)
    top = folder.parents[3]  # of top/data/profile/method/hash
    return Entry(REFERENCE if top.name == ROOTS[REFERENCE] else LOCAL, folder, _turns_together(points))


def _turns_together(points: Mapping[str, Sequence[Record]]) -> Mapping[str, Sequence[Record]]:
    """The records of each point; those of runs that took turns at a data set's folds pooled, as many as make a whole.

    Whole are runs of consecutive seeds that have every fold. Where there are none yet, the folds of the first ones are
    pooled that are there: they speak of these folds' videos alone, and of that number.
    """
    num_folds = points[MAIN][0].data_info.num_folds
    if num_folds == 1:
        return points
    rounds: dict[int, set[int]] = {}
    for record in points[MAIN]:
        rounds.setdefault(record.seed // num_folds, set()).add(record.data_info.fold)
    kept_folds = max(rounds.values(), key=len)
    kept = [of for of, folds in rounds.items() if folds == kept_folds]
    together: dict[str, list[Record]] = {}
    for point, records in points.items():
        for of in kept:
            parts = [record for record in records if record.seed // num_folds == of]
            if {record.data_info.fold for record in parts} == kept_folds:
                together.setdefault(point, []).append(pooled(parts, predictions_of(parts), seed=of))
    return together


def operating_point(record: Record) -> str:
    """'num_frames=8, size=48'."""
    return ", ".join(f"{key}={value}" for key, value in record.operating_point.items())


def series_names(entries: Sequence[Entry]) -> dict[str, str]:
    """By `Entry.name` the shortest name that tells an entry from the others of the same data set."""
    labels = [entry.label for entry in entries]
    by_root = [(entry.label, entry.root) for entry in entries]
    names = {}
    for entry in entries:
        name = entry.label
        if by_root.count((entry.label, entry.root)) > 1:
            name += f" #{entry.config_hash[:4]}"
        if entry.root == LOCAL and labels.count(entry.label) > by_root.count((entry.label, LOCAL)):
            name += " (local)"
        names[entry.name] = name
    return names


def find(entries: Sequence[Entry], name: str) -> list[Entry]:
    """The entries that a user's 'method', 'method@variant' or 'method@variant#hash:root' names.

    Raises:
        ValueError: there are none.
    """
    label, _, tail = name.partition("#")
    config_hash, _, root = tail.partition(":")
    if not tail:
        label, _, root = name.partition(":")
    found = [
        entry
        for entry in entries
        if entry.label == label and entry.config_hash.startswith(config_hash) and root in ("", entry.root)
    ]
    if not found:
        known = {entry.label for entry in entries} | ({entry.name for entry in entries} if tail else set())
        raise ValueError(f"no results of {name!r}; {nearest(name, known)}")
    return found
