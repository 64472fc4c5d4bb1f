"""Both codes on one machine: does today's make what the code of committed records makes?

Records outlive their code (see `benchmarks.report.retrained`), and trained again on another machine than theirs they
differ by that alone. So both codes run here. For each digest of code of which nothing is shown, the commit that a
record of it names is checked out into a temporary folder and trains the record's run for a short while, and so does
today's code: same libraries, one thread, one seed, nothing from before but the videos. What they say of every video of
the reported split, and what it cost, is compared and kept.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from adavid.digest import code_digest
from adavid.evaluation.records import MAIN, Record, read_records
from benchmarks.compose import compose
from benchmarks.layers import ROOT, methods_of
from benchmarks.reference import Board
from benchmarks.report.retrained import (
    NOT_SHOWN,
    RETRAINED_CSV,
    SAME,
    SHORT,
    Codes,
    Retrained,
    compared,
    keep,
    num_moved,
    read_retrained,
)
from benchmarks.run import Run
from benchmarks.workspace import Workspace

# All stages with all their epochs, a batch each. These leave a record of whole splits, as those for debugging do not.
BRIEFLY = ("trainer.limit_train_batches=1", "trainer.check_val_every_n_epoch=1000")
THREADS, OTHER_THREADS = 1, 2  # others add in another order, and so round otherwise
TODAYS = ""  # in place of a commit: the code of this checkout

# Trains a run by the code of a commit, on a number of threads, and leaves its records below a folder. Raises ValueError
# in one line where the code cannot run here.
Train = Callable[[str, Run, int, Path], None]


def both_codes(
    board: Board,
    workspace: Workspace,
    methods: Sequence[str] = (),
    overrides: Sequence[str] = (),
    train: Train | None = None,
) -> Iterator[str]:
    """Compares the codes of a board's records with today's, and keeps each comparison beside the records at once.

    One run speaks for a digest: its method's own where it made that, else a variant. A digest that was compared with
    today's in this way is left.

    Args:
        board: whose records.
        workspace: its folders.
        methods: of the catalogue; none are all of them.
        overrides: see `compose`.
        train: see `Train`; None trains in a process, as `Here` does.

    Yields:
        a line for each digest when it is done, and one for all.

    Raises:
        ValueError: an override is wrong, or the data set is not where they say.
    """
    cache = workspace.cache.resolve()  # commands run elsewhere
    train = train or Here(cache, tuple(overrides)).train

    def composed(label: str) -> Run:
        method, _, variant = label.partition("@")
        return compose(method, board.data, board.profile, variant, (*BRIEFLY, *overrides), cache=str(cache))

    runs = {method: composed(method) for method in methods or methods_of(board.profile)}
    for run in runs.values():
        _ = run.hash  # reads what the data set's lists say
    said, kept = Counter[str](), ""
    with TemporaryDirectory() as folder:
        for method in runs:
            for code, record in _speakers(workspace.records / board.data / board.profile, method).items():
                label = _label(record)
                try:
                    run = runs[label] if label in runs else composed(label)
                    if not _is_open(workspace.records, code, code_digest(*run.config["sources"])):
                        continue
                    comparison = _compared(run, code, record.git_revision, train, Path(folder, label))
                except ValueError as error:
                    said["could not run here"] += 1
                    yield f"{label} on {board.data}, code {code}: {error}"
                    continue
                kept = keep(workspace.records, [comparison])
                said[comparison.verdict] += 1
                yield str(comparison)
    counted = ", ".join(f"{said[key]} {key}" for key in sorted(said)) or "none left"
    yield f"Digests of code: {counted}. {kept}".rstrip()


def _speakers(records: Path, method: str) -> dict[str, Record]:
    """For each digest of code that a method's records name the one to train.

    Rather none of a variant, nor of a curve, whose run that code may not have trained; then of the fewest epochs.
    """
    own = [record for path in (records / method, *sorted(records.glob(f"{method}@*"))) for record in read_records(path)]
    epochs = {record.path: sum(stage.epochs for stage in record.training.stages) for record in own}
    own.sort(key=lambda record: (_label(record) != method, record.point != MAIN, epochs[record.path]))
    speakers: dict[str, Record] = {}
    for record in own:
        speakers.setdefault(record.code, record)
    return speakers


def _label(record: Record) -> str:
    """Of the run whose folder it stands in: a curve has points of other models too."""
    return record.path.parents[2].name


def _is_open(records: Path, code: str, today: str) -> bool:
    """Whether nothing is shown of a digest, and it was not tried with today's."""
    if Codes.of(records).standing(code, today) != NOT_SHOWN:
        return False
    kept = read_retrained(records / RETRAINED_CSV)
    return not any((of.code_before, of.code_after, of.extent) == (code, today, SHORT) for of in kept)


def _compared(run: Run, code: str, commit: str, train: Train, folder: Path) -> Retrained:
    """One run by both codes.

    Args:
        run: with the settings of a short training.
        code: digest of the earlier one.
        commit: that it is of.
        train: see `Train`.
        folder: in which today's code leaves the run's records once, for all digests.

    Raises:
        ValueError: one cannot run here, or they are not comparable; in one line.
    """
    now = folder / "now"
    if not now.exists():
        train(TODAYS, run, THREADS, now)
    before = folder / code
    train(commit, run, THREADS, before)
    made = read_records(before)
    if {record.code for record in made} != {code}:
        names = ", ".join(sorted({record.code for record in made})) or "no record"
        raise ValueError(f"commit {commit} makes {names} here")
    found = compared(before, now, SHORT)
    if not found:
        hashes = [read_records(of)[0].config_hash for of in (before, now)]
        raise ValueError(f"its settings were others than today's: {hashes[0]} at commit {commit}, {hashes[1]} now")
    (comparison,) = found
    if comparison.verdict == SAME:
        return comparison
    again = folder / f"{code} again"
    train(commit, run, OTHER_THREADS, again)
    return comparison.model_copy(update={"noise": num_moved(before, again)})


@dataclass(frozen=True)
class Here:
    """Trains by the code of a commit in a process of this machine, each time with an empty cache.

    Attributes:
        cache: where the videos are kept, generated or decoded, which take longer than a short training; absolute.
        overrides: see `compose`.
        repository: of the project, with today's code.
    """

    cache: Path
    overrides: tuple[str, ...] = ()
    repository: Path = ROOT

    def train(self, commit: str, run: Run, threads: int, into: Path) -> None:
        """See `Train`."""
        of_data = (f"data.{key}={value}" for key, value in run.config["data"].items() if self._is_kept(value))
        names = ("--method", run.method, "--data", run.data_request, "--profile", run.profile, "--seeds", str(run.seed))
        variant = ("--variant", run.variant) if run.variant else ()
        log = self.cache / "logs" / "both-codes" / f"{run.label}-{commit or 'today'}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        with checked_out(commit, self.repository) as root, TemporaryDirectory() as cache, log.open("w") as output:
            folders = ("--results", str(into), "--records", "runs", "--cache", cache)
            words = ("bench", *names, *variant, *folders, "--no-board", *of_data, *BRIEFLY, *self.overrides)
            environment = {
                **{"PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}", "OMP_NUM_THREADS": str(threads)},
                "PYTHONSAFEPATH": "1",  # or the present folder's `benchmarks` came first
            }
            command = [sys.executable, "-m", "benchmarks", *words]
            done = subprocess.run(command, env=os.environ | environment, stdout=output, stderr=output, check=False)
        if done.returncode:
            *_, last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it printed nothing"]
            code = f"the code of commit {commit}" if commit else "today's code"
            raise ValueError(f"{code} cannot run here: {last} (see {log})")

    def _is_kept(self, value: object) -> bool:
        return isinstance(value, str) and Path(value).is_relative_to(self.cache)


@contextmanager
def checked_out(commit: str, repository: Path) -> Iterator[Path]:
    """The root of a source tree as it was at a commit, in a temporary folder; the repository's own where it is "".

    Raises:
        ValueError: git does not know it.
    """
    if not commit:
        yield repository
        return
    with TemporaryDirectory() as folder:
        clone = ("clone", "--quiet", "--shared", "--no-checkout", str(repository), folder)
        for words in (clone, ("-C", folder, "checkout", "--quiet", "--detach", commit)):
            done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
            if done.returncode:
                raise ValueError(f"commit {commit} cannot be checked out: {' '.join(done.stderr.split())}")
        yield Path(folder)
