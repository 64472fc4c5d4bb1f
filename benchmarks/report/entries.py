"""What the result files hold, grouped: one `Entry` for each configuration of a method, its seeds together."""

import difflib
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adavid.config import essential
from adavid.evaluation.predictions import Predictions, read_predictions
from adavid.evaluation.records import LATENCY_JSON, ONLINE_JSON, Record, read_records

MAIN, SHUFFLED = "test", "shuffled"  # points of a run; all others are operating points of its curve
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
        source: "reference" (committed with the project) or "local" (a run of the user's).
        folder: the configuration's folder, with one folder of records for each seed.
        points: the records of each point ("test", "shuffled", "curve-..."), sorted by seed.
    """

    source: str
    method: str
    variant: str
    data: str
    profile: str
    config_hash: str
    folder: Path
    points: Mapping[str, Sequence[Record]]

    @property
    def label(self) -> str:
        return f"{self.method}@{self.variant}" if self.variant else self.method

    @property
    def name(self) -> str:
        """What tells this entry from all others of its data set, as `find` takes it."""
        return f"{self.label}#{self.config_hash[:8]}:{self.source}"

    @property
    def place(self) -> Place:
        # Records from before there were fingerprints stand apart.
        return Place(self.data, self.profile, self.main[0]["data_info"].get("fingerprint", "unknown"))

    @property
    def recipe(self) -> str:
        """What a baseline has to share: recipe, data and trainer."""
        config = self.main[0]["config"]
        shared = essential({key: config.get(key, {}) for key in ("recipe", "trainer")})
        return json.dumps([*self.place, shared], sort_keys=True)

    @property
    def num_epochs(self) -> int:
        """Of training, beyond the warm-up."""
        return sum(stage["epochs"] for stage in self.main[0]["training"]["stages"])

    @property
    def main(self) -> Sequence[Record]:
        return self.points[MAIN]

    @property
    def is_shuffled(self) -> bool:
        """Whether it was evaluated with its decisions shuffled too."""
        return SHUFFLED in self.points

    @property
    def is_adaptive(self) -> bool:
        """Whether it decides: more than one action is in use, or its decisions could be shuffled."""
        return self.is_shuffled or any(np.count_nonzero(r["usage"]["overall"]) > 1 for r in self.main)

    def predictions(self, point: str = MAIN) -> list[Predictions]:
        """The per-video predictions of a point, one for each seed."""
        return [_read(record.path, record.path.stat().st_mtime_ns) for record in self.points[point]]

    def online(self) -> list[dict[str, Any]]:
        """The curves along the videos, of the seeds that have them."""
        paths = (record.path.parent / ONLINE_JSON for record in self.main)
        return [json.loads(path.read_bytes()) for path in paths if path.exists()]

    def mean(self, block: str, key: str, point: str = MAIN) -> float:
        """A number of the records, averaged over seeds."""
        return float(np.mean([record[block][key] for record in self.points[point]]))


@functools.cache
def _read(path: Path, changed: int) -> Predictions:
    """One object for all comparisons that a run takes part in, so that its bootstrap is taken once."""
    return read_predictions(path)


def read_entries(results_dir: Path) -> list[Entry]:
    """The entries below results/reference and results/runs that have been evaluated at their main point."""
    return group(read_records(results_dir / ROOTS[REFERENCE], results_dir / ROOTS[LOCAL]))


def group(records: Iterable[Record]) -> list[Entry]:
    """Records to entries, sorted by data set, profile and name; without the main point there is no entry."""
    by_folder: dict[Path, list[Record]] = {}
    for record in records:
        by_folder.setdefault(record.path.parents[1], []).append(record)
    entries = [_entry(folder, of) for folder, of in by_folder.items() if any(r["point"] == MAIN for r in of)]
    return sorted(entries, key=lambda e: (e.place, e.label, e.source == LOCAL, e.config_hash))


def _entry(folder: Path, records: Sequence[Record]) -> Entry:
    points: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: (record["point"], record["seed"])):
        points.setdefault(record["point"], []).append(record)
    first = points[MAIN][0]
    source = REFERENCE if folder.parents[3].name == ROOTS[REFERENCE] else LOCAL  # root/data/profile/method/hash
    method, variant, data, profile = (first[key] for key in ("method", "variant", "data", "profile"))
    return Entry(source, method, variant, data, profile, first["config_hash"], folder, points)


def read_latencies(results_dir: Path) -> list[Record]:
    """The times under the methods' own decisions below results/reference and results/runs."""
    paths = (path for source in (REFERENCE, LOCAL) for path in (results_dir / ROOTS[source]).rglob(LATENCY_JSON[0]))
    return [Record(json.loads(path.read_bytes()), path) for path in sorted(paths)]


def operating_point(record: Mapping[str, Any]) -> str:
    """'num_frames=8, size=48'."""
    return ", ".join(f"{key}={value}" for key, value in record["operating_point"].items())


def series_names(entries: Sequence[Entry]) -> dict[str, str]:
    """By `Entry.name` the shortest name that tells an entry from the others of the same data set."""
    labels = [entry.label for entry in entries]
    by_source = [(entry.label, entry.source) for entry in entries]
    names = {}
    for entry in entries:
        name = entry.label
        if by_source.count((entry.label, entry.source)) > 1:
            name += f" #{entry.config_hash[:4]}"
        if entry.source == LOCAL and labels.count(entry.label) > by_source.count((entry.label, LOCAL)):
            name += " (local)"
        names[entry.name] = name
    return names


def find(entries: Sequence[Entry], name: str) -> list[Entry]:
    """The entries that a user's 'method', 'method@variant' or 'method@variant#hash:source' names.

    Raises:
        ValueError: there are none.
    """
    label, _, tail = name.partition("#")
    config_hash, _, source = tail.partition(":")
    if not tail:
        label, _, source = name.partition(":")
    found = [
        entry
        for entry in entries
        if entry.label == label and entry.config_hash.startswith(config_hash) and source in ("", entry.source)
    ]
    if not found:
        known = sorted({entry.label for entry in entries} | ({entry.name for entry in entries} if tail else set()))
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known) or 'none'}"
        raise ValueError(f"no results of {name!r}: {hint}")
    return found


def baselines(entries: Sequence[Entry], own: Entry, name: str) -> list[Entry]:
    """The entries called `name` with the recipe and the epochs of `own`, of its source where there are some.

    Epochs of a small part of a method are cheap: a baseline without the same number is as good where its training has
    taken as many multiply-accumulates, or more.
    """
    named = [entry for entry in entries if entry.label == name and entry.recipe == own.recipe]
    budget = own.mean("training", "gmacs")
    equal = [entry for entry in named if entry.num_epochs == own.num_epochs]
    fair = equal or [entry for entry in named if entry.mean("training", "gmacs") >= budget]
    return [entry for entry in fair if entry.source == own.source] or fair


def operating_points(entries: Sequence[Entry], of: Entry) -> list[tuple[Entry, str]]:
    """All operating points, as (entry, point), of a method and, unless it is one, of its variants.

    They say what the method attains at any cost under the same conditions.
    """
    own = [
        entry
        for entry in entries
        if (entry.method, entry.source, entry.recipe) == (of.method, of.source, of.recipe)
        and entry.num_epochs == of.num_epochs
        and of.variant in ("", entry.variant)
    ]
    return [(entry, point) for entry in own for point in entry.points if point != SHUFFLED]
