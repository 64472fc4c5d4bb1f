"""Weights & Biases, for those who ask for it: one W&B run for each run. Imported only when on."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment

from adavid.config import one_line
from adavid.environment import git_revision, versions
from adavid.evaluation.records import Record, Strip
from adavid.files import write_atomically
from adavid.method import AdaptiveMethod
from adavid.stage import Stage
from benchmarks.run import Run

if TYPE_CHECKING:
    import wandb

STEP = "trainer/global_step"  # the x axis, as Lightning's logger calls it
LOSS, STAGE = "train/loss", "train/stage"  # of whichever stage it is, its number from 0
TRADEOFF, COST = "tradeoff/val_map", "val/gflops_per_video"  # mAP over its cost: a point that moves as training goes on
USAGE = "val/usage/"
INIT_TIMEOUT = 30.0  # seconds that an unreachable server may hold up a run
STRIP_KEYS = ("video_id", "label", "prediction", "correct", "gflops")


class Dashboard:
    """Losses, temperature, usage, mAP and cost of a run while it trains, and its results at the end.

    The W&B run of a run's folder always has the same id, so that a killed run goes on where it was. It is
    opened when there is something to log, and closed by `finish`, by an error, or when a run is watched next.
    Its files lie in the folder's `wandb/`; the project is WANDB_PROJECT or "adavid".

    Args:
        mode: "off", "offline" (`wandb sync` uploads later) or "online".

    Raises:
        ValueError: online without a valid key.
    """

    def __init__(self, mode: Literal["off", "offline", "online"] = "off") -> None:
        self.mode = mode
        self._folder: Path | None = None
        self._opened: wandb.Run | None = None
        self._logger: _ContinuousLogger | None = None
        if mode == "off":
            return
        import wandb

        wandb.setup(wandb.Settings(silent=True, console="off", init_timeout=INIT_TIMEOUT))
        with _one_line_errors():
            if mode == "online" and not wandb.login(prompt=False, verify=False):
                raise ValueError("W&B online: no key; set WANDB_API_KEY or run `wandb login`")

    @contextmanager
    def watch(self, run: Run, folder: Path) -> Iterator[tuple[Any, list[Callback]]]:
        """Loggers and callbacks for `adavid.training.fit`; (False, []) when off.

        Args:
            run: is about to be trained.
            folder: the run's own; decides which W&B run it is.
        """
        if self.mode == "off":
            yield False, []
            return
        self.close()
        self._folder = folder
        self._logger = logger = _ContinuousLogger(partial(self._open, run, folder), run.stages)
        try:
            yield [logger], [_StageOffset(logger, run.stages), LearningRateMonitor("step")]
        except BaseException:
            self.close(exit_code=1)
            raise

    def finish(self, run: Run, record: Record, strips: Sequence[Strip]) -> None:
        """Put the results of the run watched last on its page and close it.

        Args:
            run: as watched.
            record: of its main evaluation, as written.
            strips: as `write_strips` returns them.
        """
        if self.mode == "off":
            return
        import wandb

        # Needed here only: the summary is the run's own row of the leaderboard.
        from benchmarks.report.entries import group
        from benchmarks.report.tables import leaderboard

        assert self._folder is not None, "watch() comes first"
        folder, opened = self._folder, self._open(run, self._folder)
        metrics, usage = record.metrics, record.usage
        by_class: list[Iterable[Any]] = [
            ["all", metrics.map, *usage.overall],
            *([name, metrics.per_class_ap[name], *share_A] for name, share_A in usage.by_class.items()),
        ]
        examples: list[Iterable[Any]] = [
            [
                wandb.Image(str(folder / strip.image)),
                *(getattr(strip, key) for key in STRIP_KEYS),
                " ".join(strip.actions),
            ]
            for strip in strips
        ]
        shares: list[Iterable[Any]] = list(zip(usage.names, usage.overall, strict=True))
        over_time = self._logger.usage_over_time() if self._logger is not None else {}
        opened.log(
            {
                **over_time,
                "examples": [wandb.Image(str(folder / strip.image), caption=_caption(strip)) for strip in strips],
                "usage": wandb.plot.bar(
                    wandb.Table(["action", "share"], shares), "action", "share", title="Share of frames"
                ),
                "usage_by_class": wandb.Table(["class", "ap", *usage.names], by_class),
                "strips": wandb.Table(["image", *STRIP_KEYS, "actions"], examples),
            }
        )
        row = leaderboard(group([record])).select_dtypes("number").iloc[0]
        opened.summary.update(row.dropna().to_dict())
        opened.summary.update({f"gflops/{name}": gflops for name, gflops in record.cost.components.items()})
        self.close()

    def _open(self, run: Run, folder: Path) -> wandb.Run:
        """The run's W&B run, started or resumed unless it is open."""
        if self._opened is not None:
            return self._opened
        import wandb

        with _one_line_errors():
            opened = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "adavid"),
                id=_identity(folder),
                resume="allow",
                mode="online" if self.mode == "online" else "offline",
                dir=folder,
                name=f"{run.label}-{run.data}-{run.profile}-seed{run.seed}",
                group=f"{run.method}-{run.data}"[:128],
                job_type="bench",
                tags=[tag[:64] for tag in (run.method, run.variant, run.data, run.profile) if tag],
                config={
                    **run.config,
                    "variant": run.variant,
                    "data_name": run.data,
                    "profile": run.profile,
                    "config_hash": run.hash,
                    "git_revision": git_revision(),
                    "versions": versions(),
                },
            )
        opened.define_metric(STEP)
        opened.define_metric("*", step_metric=STEP, step_sync=True)
        opened.define_metric("val/map", step_metric=STEP, step_sync=True, summary="max")
        opened.define_metric(COST, step_metric=STEP, step_sync=True)
        opened.define_metric(TRADEOFF, step_metric=COST)
        print(f"W&B: {opened.url if self.mode == 'online' else Path(opened.dir).parent}")
        self._opened = opened
        return opened

    def close(self, exit_code: int = 0) -> None:
        """End the W&B run that is open, if one is."""
        if self._opened is not None:
            self._opened.finish(exit_code)
            self._opened = None


class _ContinuousLogger(WandbLogger):
    """One axis for all stages, where Lightning counts steps and epochs from 0 in each of them.

    Beside each stage's own metrics it logs what is the same of all of them: the loss, and mAP over cost.
    """

    def __init__(self, open_run: Callable[[], wandb.Run], stages: Sequence[Stage]) -> None:
        super().__init__(log_model=False)
        self._open_run = open_run
        self._stages = [stage.name for stage in stages]
        self._usage: dict[int, dict[str, float]] = {}  # by step, the share of each action
        self.first_step = self.first_epoch = 0

    @property
    @rank_zero_experiment
    def experiment(self) -> wandb.Run:
        return self._open_run()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        step = None if step is None else step + self.first_step
        epoch = {"epoch": metrics["epoch"] + self.first_epoch} if "epoch" in metrics else {}
        losses = [
            {LOSS: metrics[f"{name}/loss"], STAGE: number}
            for number, name in enumerate(self._stages)
            if f"{name}/loss" in metrics
        ]
        tradeoff = {TRADEOFF: metrics["val/map"]} if {"val/map", COST} <= metrics.keys() else {}
        shares = {key.removeprefix(USAGE): share for key, share in metrics.items() if key.startswith(USAGE)}
        if shares and step is not None:
            self._usage[step] = shares
        super().log_metrics({**metrics, **epoch, **tradeoff, **(losses[0] if losses else {})}, step)

    def usage_over_time(self) -> dict[str, Any]:
        """The actions' shares on val as lines over the steps of training; nothing where none were seen."""
        import wandb

        if not self._usage:
            return {}
        steps, names = sorted(self._usage), list(next(iter(self._usage.values())))
        shares = [[self._usage[step][name] for step in steps] for name in names]
        return {"usage_over_time": wandb.plot.line_series(steps, shares, names, "Usage on val", "step")}


class _StageOffset(Callback):
    """Tells the logger where a stage starts; counted, since a resumed run skips the stages that are done."""

    def __init__(self, logger: _ContinuousLogger, stages: Sequence[Stage]) -> None:
        self.logger, self.stages = logger, list(stages)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, AdaptiveMethod) and pl_module.stage is not None
        earlier = self.stages[: self.stages.index(pl_module.stage)]
        self.logger.first_epoch = sum(stage.epochs for stage in earlier)
        steps_per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        self.logger.first_step = self.logger.first_epoch * steps_per_epoch


def _caption(strip: Strip) -> str:
    """Of an example's picture."""
    said = "" if strip.correct else f", taken for {strip.prediction}"
    return f"{strip.label}{said}: {strip.gflops:.3g} GFLOPs, {' '.join(strip.actions)}"


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """W&B's own errors as a ValueError of one line."""
    import wandb

    try:
        yield
    except wandb.Error as error:
        raise ValueError(f"W&B: {one_line(error)}") from None


def _identity(folder: Path) -> str:
    """The W&B id of a run's folder: random, kept in the folder, so that a killed run goes on under it."""
    path = folder / "wandb" / "id"
    if not path.exists():
        write_atomically(path, uuid.uuid4().hex[:16])
    return path.read_text()
