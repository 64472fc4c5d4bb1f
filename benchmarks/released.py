"""A run whose weights its method's authors have released: imported where any other is trained."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import Tensor

from adavid.config import build
from adavid.method import AdaptiveMethod
from adavid.released import Layout, read_released, translated
from benchmarks.compose import compose, untrained
from benchmarks.layers import MethodFiles, catalogue, method_files, shown
from benchmarks.run import Released, Run


def compose_released(checkpoint: Path, method: str, variant: str = "", **settings: Any) -> Run:
    """The run that `compose` makes, which nothing trains: it is evaluated with released weights.

    Its hash is of what they hold; what it would be trained with is no part of it.

    Args:
        checkpoint: the authors' file, which is read and checked.
        method: as `compose` takes it.
        variant: likewise; without one the variant that has what these weights need.
        settings: likewise.

    Raises:
        ValueError: no layout of the method is known, or the file is not of the method with these settings.
    """
    files = method_files(method)
    layout, profile = layout_of(files), settings.get("profile", "tiny")
    if not variant and layout.variant and layout.variant not in files.variants_in(profile):
        raise ValueError(f"{files.name}: released weights are of the paper's networks: PROFILE=paper, got {profile}")
    run = compose(method, variant=variant or layout.variant, **settings)
    released = Released(checkpoint, layout)
    state_of(released, untrained(run, run.catalogue.num_classes), run.method)
    with open(checkpoint, "rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    own: dict[str, Any] = {"stages": [], "weights": {}}
    own["imported"] = {"file": checkpoint.name, "content": content}
    own["curve"] = {part: of for part, of in run.config["curve"].items() if part == "test"}  # no other model is there
    return dataclasses.replace(run, config=run.config | own, stages=[], released=released)


def state_of(released: Released, method: AdaptiveMethod, name: str = "") -> dict[str, Tensor]:
    """The state of a method, built as it is to be evaluated, from released weights.

    Args:
        released: the file, and how it is laid out.
        method: whose values are not looked at.
        name: of the method in the catalogue.

    Raises:
        ValueError: they are of another method, or of other settings; the message says whose they may be.
    """
    theirs = read_released(released.path, released.layout)
    try:
        return translated(theirs, released.layout, method, str(released.path))
    except ValueError as error:
        others = [other for other in with_layout() if other != name and _may_hold(released.path, other)]
        hint = f"; it may be of {' or '.join(f'METHOD={other}' for other in others)}" if others else ""
        raise ValueError(f"{error}{hint}") from None


def with_layout() -> list[str]:
    """The methods of the catalogue whose released weights can be imported."""
    return [name for name in catalogue() if "released" in method_files(name).files[-1].content]


def layout_of(files: MethodFiles) -> Layout:
    """How a method's released weights are laid out, as its YAML says it.

    Raises:
        ValueError: it says nothing of it; the message names the methods whose YAML does.
    """
    own = files.files[-1]
    if "released" not in own.content:
        raise ValueError(f"{files.name}: no released weights are known; expected one of {', '.join(with_layout())}")
    said: Any = OmegaConf.to_container(own.content.released)
    layout: Layout = build(Layout, said, f"{shown(own.path)}: released")
    return layout


def _may_hold(path: Path, method: str) -> bool:
    layout = layout_of(method_files(method))
    return layout.holds([*read_released(path, layout)])
