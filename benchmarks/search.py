"""What `make tune` tries: the search space that a method's YAML states, and the points that are taken of it."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from adavid.config import build, nearest
from benchmarks.run import Run

Space = dict[str, BaseDistribution]
DIGITS = 3  # significant ones of what is drawn from a range: they are to be written into a YAML


class NothingToSearch(ValueError):
    """A method states no search space."""


@dataclass(frozen=True)
class Axis:
    """The values of one setting: a range, or some.

    Attributes:
        low, high: the ends of a range, which it includes.
        log: the range is even in the logarithm.
        choices: some values, in place of a range.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: list[Any] | None = None


def search_space(run: Run) -> Space:
    """The search space of a run's method in its profile, by setting.

    Raises:
        NothingToSearch: there is none.
        ValueError: an axis is of no setting of the method, or does not fit what the setting is now.
    """
    settings = settings_of(run)
    space = {}
    for key, values in run.search.items():
        if values is None:  # a space that is extended may have more axes
            continue
        if key.startswith("stages.") and key.endswith(".epochs"):
            raise ValueError(f"search.{key}: training budgets are equal by rule; epochs are not searched")
        if key not in settings:
            raise ValueError(f"search.{key} is unknown; {nearest(key, settings)}")
        if not isinstance(values, dict):
            raise ValueError(f"search.{key}: expected {{low: , high: }} or {{choices: []}}, got {values!r}")
        space[key] = _distribution(build(Axis, values, f"search.{key}"), f"search.{key}", settings[key])
    if not space:
        raise NothingToSearch(f"{run.label}: its YAML states no `search` in profile {run.profile}, nothing to tune")
    return space


def settings_of(run: Run) -> dict[str, Any]:
    """The settings of a run that a search may change, by dotted key: the method's own."""
    own = {f"{part}.{key}": value for part in ("model", "test") for key, value in run.config[part].items()}
    for stage in run.config["stages"]:
        fixed = ("name", "train", "epochs")
        own |= {f"stages.{stage['name']}.{key}": value for key, value in stage.items() if key not in fixed}
    return own


def present(run: Run, space: Space) -> dict[str, str]:
    """What the settings of a space are in a run, as words of the command line write them."""
    settings = settings_of(run)
    return {key: as_text(settings[key]) for key in space}


def ends(space: Space) -> list[dict[str, str]]:
    """The two opposite corners of a space: where the method takes both, it is likely to take what lies between."""
    return [{key: as_text(_ends(axis)[i]) for key, axis in space.items()} for i in (0, 1)]


def points(space: Space, seed: int, num: int) -> list[dict[str, str]]:
    """The first points of a scrambled Sobol sequence over a space; more of them begin with the same ones.

    A handful of trials is too few for a model of the objective to learn from: what counts is that they are spread
    evenly, whatever is attained and whoever finishes first. Every method gets the same points of the unit cube.

    Returns:
        `num` points, by setting, as words of the command line write them.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(scramble=True, seed=seed)
    study = optuna.create_study(sampler=sampler)
    # The sampler takes its space from a trial that has ended.
    known = {key: _ends(axis)[0] for key, axis in space.items()}
    study.add_trial(optuna.create_trial(params=known, distributions=space, value=0.0))
    return [{key: _rounded(value, space[key]) for key, value in study.ask(space).params.items()} for _ in range(num)]


def as_text(value: Any) -> str:
    """A plain value as a word of the command line writes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _ends(axis: BaseDistribution) -> tuple[Any, Any]:
    if isinstance(axis, CategoricalDistribution):
        return axis.choices[0], axis.choices[-1]
    assert isinstance(axis, FloatDistribution | IntDistribution)
    return axis.low, axis.high


def _rounded(value: Any, axis: BaseDistribution) -> str:
    if isinstance(axis, FloatDistribution):
        value = min(max(float(f"{value:.{DIGITS}g}"), axis.low), axis.high)
    return as_text(value)


def _distribution(axis: Axis, key: str, now: Any) -> BaseDistribution:
    """An axis as Optuna has it, checked against what its setting is now."""
    is_range = axis.low is not None and axis.high is not None and axis.choices is None
    if not is_range and (axis.choices is None or axis.low is not None or axis.high is not None or axis.log):
        raise ValueError(f"{key}: expected low and high, or choices")
    if not is_range:
        return _choices(axis.choices or [], key, now)
    low, high = axis.low, axis.high
    assert low is not None and high is not None
    if isinstance(now, bool) or not isinstance(now, int | float):
        raise ValueError(f"{key}: a range is for numbers, it is {now!r}; expected choices")
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{key}: expected low below high, got {low:g} and {high:g}")
    if axis.log and low <= 0:
        raise ValueError(f"{key}: expected a positive low of a logarithmic range, got {low:g}")
    if not low <= now <= high:
        raise ValueError(f"{key}: expected a range around what it is now, {now:g}, got {low:g} to {high:g}")
    if isinstance(now, float):
        return FloatDistribution(low, high, log=axis.log)
    if low % 1 or high % 1:
        raise ValueError(f"{key}: expected whole numbers, got {low:g} and {high:g}")
    return IntDistribution(int(low), int(high), log=axis.log)


def _choices(choices: list[Any], key: str, now: Any) -> BaseDistribution:
    plain = [value for value in choices if value is None or isinstance(value, bool | int | float | str)]
    if len(plain) < max(2, len(choices)) or len({as_text(value) for value in plain}) < len(plain):
        raise ValueError(f"{key}: expected two plain values or more, each once, got {choices!r}")
    if now not in plain:
        raise ValueError(f"{key}: expected what it is now, {now!r}, among the choices {choices!r}")
    return CategoricalDistribution(plain)


def as_yaml(values: Mapping[str, str]) -> dict[str, Any]:
    """Settings by dotted key as the nested mapping that a YAML file holds."""
    nested: dict[str, Any] = {}
    for key, text in values.items():
        *sections, name = key.split(".")
        here = nested
        for section in sections:
            here = here.setdefault(section, {})
        try:
            here[name] = json.loads(text)
        except ValueError:
            here[name] = text
    return nested
