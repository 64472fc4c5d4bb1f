"""Records that outlive their code: what was trained again with other code, beside what was there before.

A digest of code changes with any change of the core, whether or not results do. So where a seed is trained again, its
records are compared with those before, video by video, and the comparison is kept. What the code of one digest made
then counts as made by the other. That is shown for the runs compared, and taken to hold for what else the digest made:
the method's other seeds and variants.

A whole training on another machine is another training, whatever the code. There both codes train for a short while on
one machine, and that is compared in the same way (see `benchmarks.both_codes`).

N videos, K classes, T frames.
"""

from __future__ import annotations

import csv
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import ValidationError

from adavid.evaluation.predictions import Predictions, read_predictions
from adavid.evaluation.records import OTHER_KINDS, Record, read_records
from adavid.evaluation.schema import Block, read_json
from adavid.files import read_text, write_atomically

RETRAINED_CSV = "retrained.csv"  # in the folder of the committed records
# Of scores, which are probabilities; of GFLOPs relative. Machines and chunks differ by 1e-6, another training by 0.01.
TOLERANCE = 1e-4
# What a short training has to differ by to convict code, as a few steps make 1e-3 of a difference by rounding:
ROUNDING = 1e-2  # in a video's score of a class, or at all in its bill,
FEW = 0.01  # in more than such a share of the videos,
FAR = 10  # and in so many times those of a repetition on other threads
WHOLE: Final = "whole"
SHORT: Final = "short"
SAME: Final = "same"
OTHER: Final = "other"
UNCLEAR: Final = "unclear"  # other results, but maybe by another machine, or by rounding, and not by code

# How a record stands to today's code, from the best to the worst.
BY_TODAYS = "by today's code"
BY_SAME = "by code that was shown to make the same"
NOT_SHOWN = "by other code of which nothing was shown"
OTHER_RESULTS = "by other code with other results"
STANDINGS = (BY_TODAYS, BY_SAME, NOT_SHOWN, OTHER_RESULTS)
SPEAKS_FOR = "One seed that was trained again speaks for what else the same code made: other seeds and variants"
SPEAKS_SHORTLY = "So does one that both codes trained for a short while"


class Retrained(Block):
    """The records of one run, of one code, beside those that another code made in their place.

    Attributes:
        label: method, or method@variant.
        commit_before, code_before: of what was there; `commit_after` and `code_after` are of what is there now.
        extent: of the trainings: "whole", or "short" where both codes trained for a short while on one machine.
        machine: whether device, libraries and number of threads are the same, or one record does not say its threads.
        points: records compared: the main one, decisions shuffled, the curve's.
        videos: of each.
        score: the largest absolute difference of a video's score of a class.
        decisions: of all frames, those that differ.
        bills: of all videos, those of which the multiply-accumulates differ.
        moved: those of which the multiply-accumulates differ, or a score by more than `ROUNDING`.
        noise: of these, how many moved where the code before trained once more, on another number of threads, which
            rounds otherwise; None where that was not tried.
        map: the largest absolute difference, validation's included.
        gflops: the largest relative difference: per video, on the validation split too, the audited part, of training.
    """

    data: str
    profile: str
    label: str
    config_hash: str
    seed: int
    commit_before: str
    code_before: str
    commit_after: str
    code_after: str
    extent: Literal["whole", "short"]
    machine: Literal["same", "another", "unknown"]
    points: int
    videos: int
    score: float
    decisions: int
    bills: int
    moved: int
    noise: int | None = None
    map: float
    gflops: float

    @property
    def key(self) -> tuple[str | int, ...]:
        """What is compared, and the order of the file."""
        of_run = (self.data, self.profile, self.label, self.config_hash, self.seed)
        return (*of_run, self.code_before, self.code_after, self.commit_before, self.commit_after, self.extent)

    @property
    def verdict(self) -> Literal["same", "other", "unclear"]:
        """Same where decisions and bills are equal, and scores and GFLOPs agree to `TOLERANCE`.

        Else other, where it cannot be for another reason: another machine, or, of a short training, rounding.
        """
        if not self.decisions and not self.bills and max(self.score, self.gflops) <= TOLERANCE:
            return SAME
        if self.machine != "same":
            return UNCLEAR
        return OTHER if self.extent == WHOLE or self._is_beyond_rounding else UNCLEAR

    @property
    def _is_beyond_rounding(self) -> bool:
        few = FEW * self.points * self.videos
        return self.noise is not None and self.moved > max(few, FAR * self.noise)

    def __str__(self) -> str:
        return (
            f"{self.label} on {self.data}, seed {self.seed}, {self.points} records{self._how}: {self.verdict}: scores "
            f"differ by {self.score:.1g} at most, {self.decisions} decisions, {self.bills} bills, mAP by "
            f"{100 * self.map:.2g} points; code {self.code_before} before, {self.code_after} now"
        )

    @property
    def _how(self) -> str:
        """What is particular to a short training, in words."""
        if self.extent == WHOLE:
            return ""
        of = f"{self.points * self.videos} videos"
        repeated = "" if self.noise is None else f" ({self.moved} of {of} moved, {self.noise} on other threads)"
        return f" of a short training{repeated}"


class Codes:
    """Which code makes what other code made, by comparisons.

    Two digests are the same code where a comparison of them says "same" and none says "other", or where a chain of such
    pairs leads from one to the other. Where a comparison says that one of the digests on one side makes other results
    than one on the other side, that holds for all of both.
    """

    def __init__(self, comparisons: Iterable[Retrained] = ()) -> None:
        verdicts: dict[frozenset[str], set[str]] = {}
        for of in comparisons:
            verdicts.setdefault(frozenset((of.code_before, of.code_after)), set()).add(of.verdict)
        self._same: dict[str, frozenset[str]] = {}
        for pair, said in verdicts.items():
            if SAME in said and OTHER not in said:
                together = frozenset[str]().union(*(self._same_as(code) for code in pair))
                self._same.update(dict.fromkeys(together, together))
        self._others = {frozenset(map(self._same_as, pair)) for pair, said in verdicts.items() if OTHER in said}

    @property
    def has_others(self) -> bool:
        """Whether any code was shown to make other results than another."""
        return bool(self._others)

    @classmethod
    def of(cls, folder: Path) -> Codes:
        """By what is kept in a folder of records, or in the nearest one above it."""
        nearest = next((above for above in (folder, *folder.parents) if (above / RETRAINED_CSV).exists()), folder)
        return cls(read_retrained(nearest / RETRAINED_CSV))

    def standing(self, code: str, today: str | None) -> str:
        """One of `STANDINGS`; today's code is None where it is not here."""
        if code == today:
            return BY_TODAYS
        if today is None:
            return NOT_SHOWN
        of_it, of_today = self._same_as(code), self._same_as(today)
        if frozenset((of_it, of_today)) in self._others:
            return OTHER_RESULTS
        return BY_SAME if of_it == of_today else NOT_SHOWN

    def _same_as(self, code: str) -> frozenset[str]:
        return self._same.get(code, frozenset((code,)))


def worst(standings: Iterable[str]) -> str:
    """That of several records together."""
    return max(standings, key=STANDINGS.index)


def retrained(records: Path, before: str) -> str:
    """Compares records with those before that other code made, and keeps it beside them.

    Args:
        records: the folder.
        before: a commit that holds the folder too, or a folder like it.

    Returns:
        a line for each comparison.

    Raises:
        ValueError: there is nothing before, or records of the same run are not of the same videos; or the new ones are
            of no commit. Nothing is written then.
    """
    with _before(records, before) as folder:
        made = compared(folder, records)
    if not made:
        return f"{records}: no record was made anew by other code than at {before}"
    return "\n".join([*map(str, made), keep(records, made)])


def keep(records: Path, made: Iterable[Retrained]) -> str:
    """Adds comparisons to those that a folder of records has, each once; says in words how many it has."""
    path = records / RETRAINED_CSV
    kept = {of.key: of for of in (*read_retrained(path), *made)}
    write_retrained(path, kept.values())
    return f"Comparisons in {path}: {len(kept)}. {SPEAKS_FOR}. {SPEAKS_SHORTLY}."


def compared(before: Path, after: Path, extent: Literal["whole", "short"] = WHOLE) -> list[Retrained]:
    """The records of the same runs in two folders, where their code differs; see `retrained` for the errors.

    Records of another configuration, seed or data set at the same place are of another run.

    Args:
        before: folder of records.
        after: likewise.
        extent: of the trainings; "short" ones were all made here, whether or not old code says its threads.
    """
    pairs: dict[tuple[str, ...], list[tuple[Record, Record]]] = {}
    for old in read_records(before):
        path = after / old.path.relative_to(before)
        new = read_json(Record, path) if path.exists() else old
        if old.code == new.code or _run(old) != _run(new):
            continue
        if new.git_revision.endswith("-dirty"):
            raise ValueError(f"{path}: made from a checkout with changes: commit them and make it anew")
        key = (str(path.parent), old.code, old.git_revision, new.code, new.git_revision)
        pairs.setdefault(key, []).append((old, new))
    return sorted((_comparison(path, of, extent) for (path, *_), of in pairs.items()), key=lambda of: of.key)


def num_moved(before: Path, after: Path) -> int:
    """Of all videos of the records that two folders have in common, those that moved; see `Retrained`."""
    pairs = [(old, after / old.path.relative_to(before)) for old in read_records(before)]
    return sum(_num_moved(*_same_videos(old, read_json(Record, path))) for old, path in pairs if path.exists())


def read_retrained(path: Path) -> list[Retrained]:
    """The comparisons in a file, none where there is no file.

    Raises:
        ValueError: a line is none, or its verdict is not what its numbers say; one line that names the file and line.
    """
    if not path.exists():
        return []
    comparisons = []
    for line, row in enumerate(csv.DictReader(io.StringIO(read_text(path))), 2):
        verdict = row.pop("verdict", None)
        try:
            of = Retrained.model_validate({key: text or None for key, text in row.items()})
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            raise ValueError(f"{path}, line {line}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
        if verdict != of.verdict:
            raise ValueError(f"{path}, line {line}: verdict: expected '{of.verdict}' by its numbers, got '{verdict}'")
        comparisons.append(of)
    return comparisons


def write_retrained(path: Path, comparisons: Iterable[Retrained]) -> None:
    """Writes a file in one step, a line for each comparison, sorted."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*Retrained.model_fields, "verdict"], lineterminator="\n")
    writer.writeheader()
    for of in sorted(comparisons, key=lambda of: of.key):
        writer.writerow(of.model_dump() | {"verdict": of.verdict})
    write_atomically(path, text.getvalue())


def _run(record: Record) -> tuple[str | int, ...]:
    """What records share that are of the same point of the same run."""
    return (record.config_hash, record.model_hash, record.seed, record.point, record.data_info.fingerprint)


def _comparison(folder: str, pairs: Sequence[tuple[Record, Record]], extent: Literal["whole", "short"]) -> Retrained:
    """Of one run's records, all of which changed from one code to another."""
    predicted = [_same_videos(old, new) for old, new in pairs]
    old, new = pairs[0]
    of_folder = Path(folder).parts
    return Retrained(
        data=new.data,
        profile=new.profile,
        label=of_folder[-3],  # the points of a curve may be of other models than their folder's
        config_hash=of_folder[-2],
        seed=new.seed,
        commit_before=old.git_revision,
        code_before=old.code,
        commit_after=new.git_revision,
        code_after=new.code,
        extent=extent,
        machine="same" if extent == SHORT else _machine(pairs),
        points=len(pairs),
        videos=new.data_info.num_videos,
        score=max(float(np.abs(a.score_NK - b.score_NK).max()) for a, b in predicted),
        decisions=sum(_num_unequal(a.action_NT, b.action_NT) for a, b in predicted),
        bills=sum(_num_unequal(a.macs_N, b.macs_N) for a, b in predicted),
        moved=sum(_num_moved(a, b) for a, b in predicted),
        map=max(abs(a - b) for old, new in pairs for a, b in zip(_maps(old), _maps(new), strict=True)),
        gflops=max(_relative(a, b) for old, new in pairs for a, b in zip(_gflops(old), _gflops(new), strict=True)),
    )


def _machine(pairs: Sequence[tuple[Record, Record]]) -> Literal["same", "another", "unknown"]:
    """Whether records were made on the same as those before."""
    if any((old.device, old.versions) != (new.device, new.versions) for old, new in pairs):
        return "another"
    if any(record.num_threads is None for pair in pairs for record in pair):
        return "unknown"
    return "same" if all(old.num_threads == new.num_threads for old, new in pairs) else "another"


def _same_videos(old: Record, new: Record) -> tuple[Predictions, Predictions]:
    """The predictions of two records, in one order."""
    before, after = read_predictions(old.path).unique(), read_predictions(new.path).unique()
    ids_before, ids_after = set(before.video_id.tolist()), set(after.video_id.tolist())
    for lacking, ids in (("now", ids_before - ids_after), ("before", ids_after - ids_before)):
        if ids:
            more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
            raise ValueError(f"{new.path}: expected the same videos as before: '{min(ids)}'{more} missing {lacking}")
    return before, after


def _num_unequal(before: np.ndarray, after: np.ndarray) -> int:
    """All of them where there are more or fewer."""
    return int((before != after).sum()) if before.shape == after.shape else max(before.size, after.size)


def _num_moved(before: Predictions, after: Predictions) -> int:
    """Videos whose bill differs, or a score by more than rounding may make of it."""
    score_N = np.abs(before.score_NK - after.score_NK).max(axis=1)
    return int(((score_N > ROUNDING) | (before.macs_N != after.macs_N)).sum())


def _maps(record: Record) -> tuple[float, float]:
    return record.metrics.map, 0.0 if record.validation is None else record.validation.map


def _gflops(record: Record) -> tuple[float, ...]:
    cost, validation = record.cost, record.validation
    of_val = 0.0 if validation is None else validation.gflops_per_video
    return (cost.gflops_per_video, cost.audited_gflops_per_video, of_val, record.training.gmacs or 0.0)


def _relative(before: float, after: float) -> float:
    """The difference as a share of the larger one."""
    return abs(before - after) / (max(before, after) or 1.0)


@contextmanager
def _before(records: Path, before: str) -> Iterator[Path]:
    """A folder with what is to be compared: the one given, or what has changed since a commit, as it was there."""
    if Path(before).is_dir():
        yield Path(before)
        return
    if _git(records, "rev-parse", "--verify", "--quiet", f"{before}^{{commit}}") is None:
        raise ValueError(f"before '{before}': expected a commit of the repository that holds {records}, or a folder")
    names = _git(records, "diff", "--name-only", "-z", "--diff-filter=M", "--relative", before, "--", "*.json") or b""
    paths = [Path(name) for name in names.decode().split("\0") if name]
    paths = [path for path in paths if path.name not in OTHER_KINDS]
    with tempfile.TemporaryDirectory() as temporary:
        if paths:
            files = [str(path.with_suffix(suffix)) for path in paths for suffix in (".json", ".npz")]
            archive = _git(records, "archive", before, "--", *files)
            if archive is None:
                raise ValueError(f"before '{before}': expected predictions beside each record at that commit")
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                tar.extractall(temporary, filter="data")
        yield Path(temporary)


def _git(folder: Path, *words: str) -> bytes | None:
    """What git prints, run in a folder; None where it fails or there is none."""
    try:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
