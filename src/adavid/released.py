"""Weights that the authors of a method have released, under the names that their code gives them.

A method's YAML says what they call its parts (`Layout`); what they call the weights inside a network, the network's own
naming says (`adavid.networks.published`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from torch import Tensor

from adavid.files import reason
from adavid.method import AdaptiveMethod, is_inside
from adavid.networks.backbones import Backbone
from adavid.networks.published import namings

NUM_NAMED = 3  # keys that a message names
# What best scores are beside the weights: numbers of numpy, of its first edition's names too. They run no code.
NUMPY_NUMBERS: list[Any] = [
    *((multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(np.dtype, *(type(np.dtype(name)) for name in ("float32", "float64", "int64"))),
]


@dataclass(frozen=True)
class Layout:
    """What the authors of a method call its parts in the file that they have released.

    A name stands for all that lies inside it; where ours is a network, theirs is what holds its layers. `{a,b}` and
    `{0..7}` stand for several names, in theirs and ours alike.

    Attributes:
        source: where it is released.
        names: ours, dotted, by theirs.
        unused: theirs of what has no counterpart here.
        variant: of the method, with what these weights need.

    Raises:
        ValueError: a name stands for more than its counterpart.
    """

    source: str
    names: dict[str, str]
    unused: list[str] = field(default_factory=list)
    variant: str = ""

    def __post_init__(self) -> None:
        for theirs, ours in self.names.items():
            if len(_each(theirs)) != len(_each(ours)):
                raise ValueError(f"names: '{theirs}' and '{ours}': expected as many of one as of the other")

    @property
    def parts(self) -> dict[str, str]:
        """`names`, each by itself."""
        pairs = ((_each(theirs), _each(ours)) for theirs, ours in self.names.items())
        return {their: our for theirs, ours in pairs for their, our in zip(theirs, ours, strict=True)}

    def holds(self, keys: Sequence[str]) -> bool:
        """Whether a file of these keys may be of this layout: no part is missing, and nothing left over."""
        known = [*self.parts, *self.unused]
        of_parts = all(any(is_inside(key, [name]) for key in keys) for name in self.parts)
        return of_parts and all(is_inside(key, known) for key in keys)


def _each(name: str) -> list[str]:
    """The names that one with braces stands for."""
    before, opened, rest = name.partition("{")
    if not opened:
        return [name]
    inside, _, after = rest.partition("}")
    first, _, last = inside.partition("..")
    items = [str(i) for i in range(int(first), int(last) + 1)] if last else inside.split(",")
    return [f"{before}{item}{after}" for item in items]


def read_released(path: Path, layout: Layout) -> dict[str, Tensor]:
    """The tensors of a released file by dotted key, as they lie in it; no code of it runs.

    `state_dict`, `module` (of parallel training) and `_l0` (a recurrent layer's, which here is a cell) are left out of
    the keys, and so is what stands beside the network: entries, such as an optimiser's, that no name begins with.

    Raises:
        ValueError: it cannot be read, or holds more than tensors and numbers; the message names it.
    """
    try:
        with torch.serialization.safe_globals(NUMPY_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except Exception as error:  # a file that was cut short, or another's, fails in as many ways as there are bytes
        if needed := re.search(r"GLOBAL ([\w.]+)", str(error)):
            held = f"it needs {needed[1]}, and to load that would run code of the file; save its tensors alone"
            raise ValueError(f"{path}: expected tensors and numbers alone: {held}") from error
        cut = f"cut short, or another kind of file ({reason(error).partition('. ')[0]})"
        raise ValueError(f"{path}: expected a checkpoint of torch: {cut}") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected tensors by name, got a {type(content).__name__}")
    tops = {name.partition(".")[0] for name in (*layout.parts, *layout.unused)}
    beside = [key for key, value in content.items() if isinstance(value, Mapping) and key not in tops]
    return dict(_tensors({key: value for key, value in content.items() if key not in beside}))


def _tensors(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _tensors(value, f"{name}.")
        elif isinstance(value, Tensor):
            yield re.sub(r"(^|\.)module\.", r"\1", name).removesuffix("_l0"), value


def translated(theirs: Mapping[str, Tensor], layout: Layout, method: AdaptiveMethod, what: str) -> dict[str, Tensor]:
    """The state of a method from the released tensors, each of which is used or known to have no counterpart.

    Args:
        theirs: see `read_released`.
        layout: the method's.
        method: built as it is to be evaluated; its weights' values are not looked at.
        what: the tensors are of, for messages.

    Raises:
        ValueError: a weight is missing, left over, or of another shape; one line.
    """
    ours, called = method.state_dict(), _called(layout, method, theirs)
    # The number of batches that BatchNorm has seen changes nothing in evaluation; files before torch 0.4.1 have none.
    missing = [name for name in called.values() if name not in theirs and not name.endswith(".num_batches_tracked")]
    used = {*called.values()}
    left = [name for name in theirs if name not in used and not is_inside(name, layout.unused)]
    unnamed = [key for key in ours if key not in called]
    counted = [("missing", missing), ("left over", left), (f"of {type(method).__name__} not in it at all", unnamed)]
    if faults := [f"{len(keys)} {how} ({_some(keys)})" for how, keys in counted if keys]:
        expected = f"expected the weights of {type(method).__name__} as {layout.source} has them"
        raise ValueError(f"{what}: {expected}: {', '.join(faults)}")
    state = {}
    for key, own in ours.items():
        value = theirs.get(called[key])
        if value is None:
            value = torch.zeros(own.shape, dtype=own.dtype)
        if value.shape[: own.ndim] == own.shape and value.numel() == own.numel():
            value = value.reshape(own.shape)  # a convolution of one pixel is a linear layer
        if value.shape != own.shape:
            shapes = f"expected {tuple(own.shape)}, got {tuple(value.shape)}"
            raise ValueError(f"{what}: {called[key]}: {shapes}: another number of classes, frames or units")
        state[key] = value.to(own.dtype)
    return state


def _called(layout: Layout, method: AdaptiveMethod, theirs: Mapping[str, Tensor]) -> dict[str, str]:
    """What the layout calls the weights of a method, by our key."""
    called: dict[str, str] = {}
    for their_name, our_name in layout.parts.items():
        part = _part(method, our_name)
        if isinstance(part, Backbone):
            named = [{key: f"{their_name}.{name}" for key, name in naming.items()} for naming in namings(part)]
            inside = max(named, key=lambda names: sum(name in theirs for name in names.values()))
        else:
            inside = {key: f"{their_name}.{key}" for key in ([] if part is None else part.state_dict())}
        called |= {f"{our_name}.{key}": name for key, name in inside.items()}
    return called


def _part(method: AdaptiveMethod, name: str) -> torch.nn.Module | None:
    """A sub-module; None where the method, built with other arguments, has none of that name."""
    try:
        return method.get_submodule(name)
    except AttributeError:
        return None


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:NUM_NAMED]) + (", ..." if len(keys) > NUM_NAMED else "")
