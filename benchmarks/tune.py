"""Tuning with equal effort: every method gets the same number of trials, on the validation split, by one objective.

The objective of a trial, in mAP points:

    mAP on val - price * (GFLOPs a video / GFLOPs a video of uniform with all frames at the highest resolution)

Trial 0 has the values that stand in the method's YAML, the others are points of its search space (search.py).
What is tried follows from the seed and the space alone: not from what is attained, JOBS, or when it was killed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import OmegaConf

from adavid.config import build, config_hash
from adavid.environment import git_revision
from adavid.evaluation.schema import read_json
from adavid.files import locked
from benchmarks.compose import like
from benchmarks.jobs import Cell, check_all_done, run_all
from benchmarks.layers import MethodFiles, method_files, recipe_file, shown
from benchmarks.measure.flops import bill
from benchmarks.models import prepare
from benchmarks.report.tuning import Trial, read_trials, tuning_file, write_trials
from benchmarks.run import Run
from benchmarks.search import NothingToSearch, Space, as_yaml, ends, points, present, search_space
from benchmarks.trial import Outcome, Request
from benchmarks.workspace import Workspace


@dataclass(frozen=True)
class Tuning:
    """The rules of tuning, `tune` in the recipe: the same for every method.

    Attributes:
        price: mAP points that the full cost is worth: that of `uniform` with all frames at the highest resolution.
        seed: of every trial, and of the points that are tried.
        overrides: `section.key=value` words that make a trial smaller than a run of the board.
    """

    price: float
    seed: int
    overrides: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for key in ("price", "seed"):
            if getattr(self, key) < 0:
                raise ValueError(f"tune.{key} must not be negative, got {getattr(self, key)}")

    @classmethod
    def of_recipe(cls) -> Tuning:
        """As the recipe states them."""
        values = OmegaConf.to_container(recipe_file().content.tune)
        assert isinstance(values, dict)
        rules: Tuning = build(cls, {str(key): value for key, value in values.items()}, "tune")
        return rules


@dataclass(frozen=True)
class Study:
    """The trials of one method, checked and ready to run.

    Attributes:
        files: of the method, whose last one its settings are to be written into.
        request: what every trial runs, but for the settings that are searched.
        run: with the values that stand in the YAML.
        space: of the settings that are searched.
        now: the values that stand in the YAML.
        tuning: the rules.
        file: of the trials.
    """

    files: MethodFiles
    request: Request
    run: Run
    space: Space
    now: dict[str, str]
    tuning: Tuning
    file: Path

    @classmethod
    def of(
        cls, workspace: Workspace, method: str, data: str, profile: str, variant: str, overrides: Sequence[str]
    ) -> Study:
        """The study of a method.

        Raises:
            ValueError: as `compose` and `search_space` do; or a value that is searched is also given.
        """
        tuning = Tuning.of_recipe()
        given = [word.removeprefix("--").partition("=")[0] for word in overrides]
        smaller = [word for word in tuning.overrides if word.partition("=")[0] not in given]
        request = Request(
            method=method,
            data=data,
            profile=profile,
            variant=variant,
            seed=tuning.seed,
            overrides=(*overrides, *smaller),
            results=str(workspace.results.resolve()),
            cache=str(workspace.cache.resolve()),
        )
        run = request.run()
        space = search_space(run)
        for key in given:
            if key in space:
                raise ValueError(f"{key}: it is searched; give another one, or change its range in the YAML")
        for corner in ends(space):
            request.run(*words_of(corner))
        file = tuning_file(workspace.results, run.data, profile, run.label)
        return cls(method_files(method), request, run, space, present(run, space), tuning, file)

    def planned(self, num_trials: int) -> list[dict[str, str]]:
        """The settings of the trials: what stands in the YAML, then points of the space."""
        return [self.now, *points(self.space, self.tuning.seed, num_trials - 1)]

    def hash(self) -> str:
        """Of all that its trials have in common, the videos included."""
        corner, _ = ends(self.space)
        axes = {key: str(axis) for key, axis in self.space.items()}
        common = {"run": self.request.run(*words_of(corner)).hash, "price": self.tuning.price, "space": axes}
        return config_hash(common | {"seed": self.tuning.seed})

    def full_gflops(self) -> float:
        """GFLOPs a video of uniform with all frames at the highest resolution, under the same recipe."""
        num_classes = self.run.catalogue.num_classes
        uniform = like(self.run, "uniform").build_method(num_classes).eval()
        (view,) = uniform.views.values()
        every_frame_1T = torch.zeros(1, view.num_frames, dtype=torch.long)
        return float(bill(uniform, every_frame_1T, num_classes).total_B.item()) / 1e9


def studies(
    workspace: Workspace, methods: Sequence[str], data: str, profile: str, variant: str, overrides: Sequence[str]
) -> list[Study]:
    """The studies of several methods, all checked before the first one starts.

    A method without settings of its own is named and left out, unless it is the only one.
    """
    found = []
    for method in methods:
        try:
            found.append(Study.of(workspace, method, data, profile, variant, overrides))
        except NothingToSearch as error:
            if len(methods) == 1:
                raise
            print(error)
    return found


def tune(study: Study, workspace: Workspace, num_trials: int, jobs: int, **how: Any) -> str:
    """Run the trials of a study that are not in its file yet, and write each into it.

    Args:
        study: of a method.
        workspace: folders.
        num_trials: that the file is to hold at least.
        jobs: trials at once, each with its part of the processor's cores.
        how: they are run: what else `run_all` takes.

    Returns:
        the best trial beside the values that stand in the YAML, and the lines that would set it there.

    Raises:
        ValueError: the file is of another study, or trials stopped for another reason than their own divergence.
    """
    run, folder = study.run, workspace.cache / "tuning" / study.run.data / study.run.profile / study.run.label
    prepare(run)  # before anything is written: bad data leaves nothing behind
    with locked(folder / ".lock"):
        trials, hash_ = read_trials(study.file), study.hash()
        for trial in trials:
            if trial.study != hash_:
                raise ValueError(
                    f"{study.file}: its trials are of other settings, videos or ranges ({trial.study}, now {hash_}); "
                    "remove it to tune anew"
                )
        planned, full_gflops = study.planned(num_trials), study.full_gflops()
        left = sorted(set(range(num_trials)) - {trial.number for trial in trials})
        cells = {_cell(study, number, planned[number], folder): number for number in left}

        def record(cell: Cell) -> None:
            outcome, number = read_json(Outcome, Path(cell.words[-1])), cells[cell]
            objective = None
            if outcome.val_map is not None and outcome.gflops_per_video is not None:
                objective = outcome.val_map - study.tuning.price * outcome.gflops_per_video / full_gflops
            trial = Trial(
                number=number,
                settings=planned[number],
                objective=objective,
                revision=git_revision(),
                study=hash_,
                **outcome.model_dump(exclude={"reason"}),
            )
            trials.append(trial)
            write_trials(study.file, trials)

        check_all_done(run_all(list(cells), jobs, folder, record, **how), len(cells))
    return report(study, trials, full_gflops)


def report(study: Study, trials: Sequence[Trial], full_gflops: float) -> str:
    """The best trial beside the values that stand in the YAML."""
    complete = [trial for trial in trials if trial.objective is not None]
    title = (
        f"{study.run.label} on {study.run.data}, profile {study.run.profile}: {len(trials)} trials, "
        f"{len(trials) - len(complete)} of them diverged, see {shown(study.file)}\n"
        f"objective: mAP on val - {study.tuning.price:g} * GFLOPs a video / {full_gflops:.4g}"
    )
    if not complete:
        return f"{title}\nno trial has numbers; try lower learning rates in the search space"
    best = max(complete, key=lambda trial: (trial.objective or 0.0, -trial.number))
    of_now = [trial for trial in trials if trial.settings == study.now]
    lines = [title, f"best:    {_described(best)}"]
    if best in of_now:
        return "\n".join([*lines, "It is what stands in the YAML: there is nothing to change."])
    words = " ".join(words_of(study.now))
    lines.append(f"present: {_described(of_now[0]) if of_now else f'not tried, {words}'}")
    section = f"variants.{study.run.variant}" if study.run.variant else f"profiles.{study.run.profile}"
    text = yaml.safe_dump(as_yaml(best.settings), sort_keys=False).replace("\n", "\n  ").rstrip()
    return "\n".join([*lines, f"To set the best, in {shown(study.files.files[-1].path)} under {section}:", f"  {text}"])


def words_of(settings: Mapping[str, str]) -> list[str]:
    """Settings as words of the command line."""
    return [f"{key}={text}" for key, text in settings.items()]


def _cell(study: Study, number: int, settings: dict[str, str], folder: Path) -> Cell:
    """A trial as a command line: what it runs, and the file for its outcome."""
    request = study.request
    of_trial = request.model_copy(update={"overrides": (*request.overrides, *words_of(settings))})
    words = ("trial", of_trial.model_dump_json(), str((folder / f"{number}.json").resolve()))
    return Cell(f"{study.run.label} trial {number}", words, num_gpus=study.run.num_gpus)


def _attained(trial: Trial) -> str:
    if trial.objective is None:
        return "diverged"
    return (
        f"{trial.val_map:.2f} mAP on val, {trial.gflops_per_video:.4g} GFLOPs a video, objective {trial.objective:.2f}"
    )


def _described(trial: Trial) -> str:
    return f"trial {trial.number}, {_attained(trial)}: {' '.join(words_of(trial.settings))}"
