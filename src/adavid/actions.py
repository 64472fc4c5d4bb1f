"""The decisions that a method may take about a frame, and the places of a patch, if that is what it decides.

N actions, P places; S places in a row of a grid, C cells in a row of its map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:  # what reads records alone does without torch
    from torch import Tensor

Array = TypeVar("Array", "Tensor", np.ndarray)
Place = TypeVar("Place", int, "Tensor")
HEAT_CELLS = 7  # a side of the map of where a policy looks


@dataclass(frozen=True)
class PatchGrid:
    """The places that a square patch may take in a square frame: `side` rows of as many, from corner to corner.

    A place is a number, row by row from the top left. AdaFocus has 7 x 7 of them; with `every_pixel` there is one
    for each pixel that the patch can move. A single place is in the middle.
    """

    frame_size: int
    patch_size: int
    side: int

    def __post_init__(self) -> None:
        if not 0 < self.patch_size <= self.frame_size:
            raise ValueError(f"patch: expected 1 to {self.frame_size} pixels, the frame's, got {self.patch_size}")
        if self.side < 1:
            raise ValueError(f"patch: expected 1 place a row or more, got {self.side}")

    @classmethod
    def every_pixel(cls, frame_size: int, patch_size: int) -> PatchGrid:
        return cls(frame_size, patch_size, frame_size - patch_size + 1)

    def __len__(self) -> int:
        return self.side**2

    def corner(self, place: Place) -> tuple[Place, Place]:
        """Row and column of the patch's top left pixel: the place's fraction of the free room, cut down."""
        free, steps = self.frame_size - self.patch_size, max(1, self.side - 1)
        first = free // 2 if self.side == 1 else 0
        return first + place // self.side * free // steps, first + place % self.side * free // steps

    def box(self, place: int) -> tuple[float, float, float, float]:
        """Top, left, height and width as fractions of the frame."""
        top, left = self.corner(place)
        side = self.patch_size / self.frame_size
        return top / self.frame_size, left / self.frame_size, side, side


@dataclass(frozen=True)
class Action:
    """One kind of decision, as a record keeps it.

    Attributes:
        name: what a reader of the report sees.
        size: side of the picture that the classifier sees, in pixels; 0 for a frame that it does not see.
        covers: frames that the action stays in force for, its own included.
        places: action indices that it takes up, one for each place of its patch.
    """

    name: str
    size: int
    covers: int = 1
    places: int = 1


@dataclass(frozen=True)
class ActionSpace:
    """The decisions that a method takes, one a frame, in the order of its action indices.

    Where the first decision is to look at a patch, it comes once for every place of `grid`: the indices 0 to P - 1 are
    this decision, and the others follow. `kind` gives the place in `names`.

    Attributes:
        names: what a reader of the report sees, for example ("224", "84", "skip-1").
        sizes: side of the picture that the classifier saw, in pixels; 0 for a frame it did not see.
        covers: frames that the action stays in force for, its own included; empty means 1 each.
        grid: the places of the first decision's patch.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    covers: tuple[int, ...] = ()
    grid: PatchGrid | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "covers", self.covers or (1,) * len(self.names))
        assert len(self.names) == len(self.sizes) == len(self.covers)

    @classmethod
    def of_resolutions(cls, sizes: Sequence[int], skips: Sequence[int]) -> ActionSpace:
        """Looking at one of several sizes, or skipping: "skip-4" skips four frames, its own included."""
        names = (*map(str, sizes), *(f"skip-{skip}" for skip in skips))
        return cls(names, (*sizes, *(0 for _ in skips)), (*(1 for _ in sizes), *skips))

    @property
    def num_places(self) -> int:
        return len(self.grid) if self.grid else 1

    @property
    def kinds(self) -> tuple[Action, ...]:
        """The decisions by kind, as data."""
        places = (self.num_places, *(1 for _ in self.names[1:]))
        return tuple(map(Action, self.names, self.sizes, self.covers, places))

    @property
    def is_seen(self) -> tuple[bool, ...]:
        """By kind: whether the classifier sees the frame."""
        return tuple(size > 0 for size in self.sizes)

    @property
    def is_close(self) -> tuple[bool, ...]:
        """By kind: whether it sees the frame as closely as the method can."""
        return is_close(self.kinds)

    def __len__(self) -> int:
        return len(self.names) + self.num_places - 1

    def describe(self, action: int) -> str:
        """What a reader sees of one decision: its name, and of a patch its top left pixel."""
        if self.grid is None or action >= self.num_places:
            return self.names[max(0, action - self.num_places + 1)]
        row, column = self.grid.corner(action)
        return f"{self.names[0]} at {row},{column}"

    def first_index(self, kind: int) -> int:
        """The first action index of a kind."""
        return 0 if kind == 0 else self.num_places + kind - 1

    def kind(self, action: Array) -> Array:
        """The index into `names`, -1 on padding, of each action."""
        return kind_of(action, self.num_places)


def kind_of(action: Array, num_places: int) -> Array:
    """The kind, -1 on padding, of action indices of which the first `num_places` are of one kind."""
    kind = (action - (num_places - 1)).clip(min=0)  # all places are of kind 0
    kind[action < 0] = -1
    return kind


def is_close(actions: Sequence[Action]) -> tuple[bool, ...]:
    """Of each kind of decision that a method has, whether it sees the frame as closely as the method can."""
    largest = max(action.size for action in actions)
    return tuple(action.size == largest for action in actions)


def place_shares(place_N: np.ndarray, side: int) -> list[list[float]]:
    """The shares of the places of a grid, by rows and columns of at most `HEAT_CELLS` cells; zeros without places.

    A finer grid's place that lies across cells counts in each by its overlap: places taken evenly look even.

    Args:
        place_N: numbers of places, row by row from the top left.
        side: places in a row of the grid, and in a column.
    """
    num_cells = min(HEAT_CELLS, side)
    edge, cell_edge = np.arange(side + 1) / side, np.arange(num_cells + 1) / num_cells
    overlap_SC = np.minimum(edge[1:, None], cell_edge[1:]) - np.maximum(edge[:-1, None], cell_edge[:-1])
    overlap_SC = overlap_SC.clip(0) * side
    count_SS = np.bincount(place_N, minlength=side**2).reshape(side, side)
    shares: list[list[float]] = (overlap_SC.T @ count_SS @ overlap_SC / max(len(place_N), 1)).tolist()
    return shares
