"""One trial of `make tune`, in a process of its own: `adavid trial REQUEST OUTCOME`.

What it attains goes to the file OUTCOME; it leaves no record, and no model behind.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Literal

from adavid import ranks
from adavid.evaluation.schema import Block, write_json
from adavid.training import Diverged
from benchmarks.compose import compose, shared_backbones
from benchmarks.dashboard import Dashboard
from benchmarks.models import folder_of, prepare, shared_backbone
from benchmarks.run import Run
from benchmarks.runner import validated
from benchmarks.workspace import Workspace


class Request(Block):
    """What a trial runs: the arguments of `compose`, and the folders."""

    method: str
    data: str
    profile: str
    variant: str
    seed: int
    overrides: tuple[str, ...]
    results: str
    cache: str

    @property
    def workspace(self) -> Workspace:
        """Of a trial: even what would be a record goes to the cache."""
        cache = Path(self.cache)
        return Workspace(Path(self.results), cache / "tuning", cache)

    def run(self, *words: str) -> Run:
        """The run with further settings, checked."""
        return compose(
            self.method,
            self.data,
            self.profile,
            self.variant,
            (*self.overrides, *words),
            self.seed,
            self.workspace.shown_cache,
        )


class Outcome(Block):
    """What a trial attained on the validation split; `reason` says why it failed.

    Attributes:
        val_map: percent.
        train_gmacs: the shared backbones' included.
        seconds: of training its own stages, as far as this process did it, and of evaluating.
    """

    state: Literal["complete", "failed"]
    val_map: float | None = None
    gflops_per_video: float | None = None
    train_gmacs: float | None = None
    seconds: float
    reason: str = ""


def attempt(request: Request) -> Outcome:
    """Train and evaluate, going on where a killed process stopped; only its own divergence is a trial's failure.

    Raises:
        ValueError: the data cannot be used, or a shared backbone diverged.
    """
    run, workspace = request.run(), request.workspace
    prepare(run)
    if run.recipe.warmup is not None:  # whoever comes first trains them for all trials: outside of the clock
        for spec in dict.fromkeys(shared_backbones(run)):
            shared_backbone(run, spec, workspace)
    start = time.monotonic()
    try:
        summary, train_gmacs = validated(run, workspace, Dashboard("off"))
    except Diverged as error:
        outcome = Outcome(state="failed", seconds=_since(start), reason=str(error))
    else:
        outcome = Outcome(
            state="complete",
            val_map=100 * summary.metrics.map,
            gflops_per_video=summary.cost.gflops_per_video,
            train_gmacs=train_gmacs,
            seconds=_since(start),
        )
    if ranks.is_first():
        folder = folder_of(run, workspace)
        shutil.rmtree(folder)
        with contextlib.suppress(OSError):  # another seed's
            folder.parent.rmdir()
    return outcome


def _since(start: float) -> float:
    return round(time.monotonic() - start, 1)


def main_trial(request: Request, outcome: Path) -> str:
    """Make a trial of a request and write what it attained; returns that for reading."""
    made = attempt(request)
    if ranks.is_first():
        write_json(outcome, made)
    if made.val_map is None:
        return made.reason
    return f"{made.val_map:.2f} mAP on val, {made.gflops_per_video:.4g} GFLOPs a video"
