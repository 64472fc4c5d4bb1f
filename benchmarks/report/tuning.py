"""The trials of `make tune`, which are committed: results/tuning/<data>/<profile>/<method>.csv, one row a trial."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import ValidationError, model_validator

from adavid.evaluation.schema import Block
from adavid.files import read_text, write_atomically


class Trial(Block):
    """One training with one choice of settings, evaluated on the validation split.

    Attributes:
        number: from 0 on; trial 0 has the values that stood in the YAML.
        state: "failed" where training diverged; it counts as a trial and has no numbers.
        settings: by dotted key, as words of the command line write them.
        val_map: percent.
        gflops_per_video: on the validation split.
        objective: what the trials are compared by, mAP points; see benchmarks/tune.py.
        train_gmacs: the shared backbones' included.
        seconds: of training its own stages and evaluating.
        revision: the commit.
        study: a hash of all that the trials of a file have in common.
    """

    number: int
    state: Literal["complete", "failed"]
    settings: dict[str, str]
    val_map: float | None = None
    gflops_per_video: float | None = None
    objective: float | None = None
    train_gmacs: float | None = None
    seconds: float
    revision: str
    study: str

    @model_validator(mode="after")
    def _numbers_where_complete(self) -> Trial:
        numbers = (self.val_map, self.gflops_per_video, self.objective, self.train_gmacs)
        if any((number is None) == (self.state == "complete") for number in numbers):
            raise ValueError(f"trial {self.number}: expected numbers where it is complete, and none where it failed")
        return self


def tuning_file(results: Path, data: str, profile: str, label: str) -> Path:
    """Where the trials of a method, or of `method@variant`, stand."""
    return results / "tuning" / data / profile / f"{label}.csv"


def num_trials(results: Path, data: str, profile: str, label: str) -> int:
    """How many trials chose a method's settings; 0 where it was not tuned."""
    return len(read_trials(tuning_file(results, data, profile, label)))


def read_trials(path: Path) -> list[Trial]:
    """The trials of a file in its order; none where there is no file.

    Raises:
        ValueError: it cannot be read, or a row is not a trial; one line that names the file and the row.
    """
    if not path.exists():
        return []
    trials = []
    for line, row in enumerate(csv.DictReader(io.StringIO(read_text(path))), 2):
        settings = {key: text for key, text in row.items() if key and "." in key}
        values = {key: text for key, text in row.items() if key not in settings and text != ""}
        try:
            trials.append(Trial.model_validate({**values, "settings": settings}))
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            place = ".".join(map(str, fault["loc"]))
            raise ValueError(f"{path}, line {line}: {place + ': ' if place else ''}{fault['msg']}") from None
    if len({trial.number for trial in trials}) < len(trials):
        raise ValueError(f"{path}: expected each trial once")
    return trials


def write_trials(path: Path, trials: Iterable[Trial]) -> None:
    """Writes the file in one step, ordered by number; all trials have the same settings."""
    rows = []
    for trial in sorted(trials, key=lambda trial: trial.number):
        values = trial.model_dump()
        first = {key: values.pop(key) for key in ("number", "state")}
        rows.append({**first, **values.pop("settings"), **values})
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
