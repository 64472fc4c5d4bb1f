"""Where names stand in a chart: beside their points, and over none of the points or other names.

N names, C places that a name may have, M other boxes, W widths of a chart; pixels from the top left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

HEIGHT = 13.0  # of a line of text of 11 pixels
WIDTH = 6.5  # of one of its letters on average, bold
DISTANCES = (9, 15, 24, 36, 50, 66, 84, 104, 128)  # tried, of a name from its point
ANGLES = np.arange(24) * np.pi / 12
NUM_SWEEPS = 6  # over all names, each beside where the others stand by then
POINT = 6.0  # half a point's side


class Label(NamedTuple):
    """A name's middle, as an offset from its point in pixels."""

    dx: float
    dy: float


def place(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    others: Sequence[tuple[float, float]],
    widths: Sequence[float],
    height: float,
) -> list[Label]:
    """Offsets of names from their points, such that they overlap as little as can be, at every width of the chart.

    Each name takes the nearest of the places around its point at which it covers nothing, else the one at which it
    covers least; some sweeps let names make room for each other.

    Args:
        points: of the names, as shares (x, y) of the chart, from its top left.
        names: one line each.
        others: points that names had better not cover, likewise.
        widths: of the chart in pixels; what is between two of them is between two pictures that were looked at.
        height: of the chart in pixels.
    """
    scale_W2 = np.array([(width, height) for width in widths], dtype=float)
    at_NW2, other_MW2 = (np.array(of, dtype=float).reshape(-1, 1, 2) * scale_W2 for of in (points, others))
    half_N2 = np.array([(WIDTH * len(name) / 2, HEIGHT / 2) for name in names])
    offset_N2 = np.zeros((len(names), 2))
    is_placed_N = np.zeros(len(names), dtype=bool)
    distance_NN = np.hypot(*np.moveaxis(at_NW2[:, None, 0] - at_NW2[None, :, 0], -1, 0))
    most_crowded_first = np.argsort(distance_NN.clip(max=150).sum(axis=1), kind="stable")
    for _ in range(NUM_SWEEPS):
        for n in most_crowded_first:
            rest_N = is_placed_N & (np.arange(len(names)) != n)
            away_C, offset_C2 = _candidates(half_N2[n])
            middle_CW2 = at_NW2[n] + offset_C2[:, None]
            of_rest = (at_NW2 + offset_N2[:, None])[rest_N], half_N2[rest_N, None] + 1
            beyond_CW2 = np.maximum(0, half_N2[n] - middle_CW2) + np.maximum(0, middle_CW2 + half_N2[n] - scale_W2)
            cost_C = (
                away_C
                + 50 * _overlap(middle_CW2, half_N2[n] + 1, *of_rest)
                + 30 * _overlap(middle_CW2, half_N2[n], at_NW2, np.full(2, POINT))
                + 2 * _overlap(middle_CW2, half_N2[n], other_MW2, np.full(2, POINT / 2))
                + 100 * beyond_CW2.sum(axis=(1, 2))
            )
            offset_N2[n] = offset_C2[np.argmin(cost_C)]
            is_placed_N[n] = True
    return [Label(float(dx), float(dy)) for dx, dy in offset_N2]


def _candidates(half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """C places around a point: how far a name's box is from it, (C,), and where its middle is, (C, 2)."""
    away_C, angle_C = (of.ravel() for of in np.meshgrid(np.array(DISTANCES, dtype=float), ANGLES, indexing="ij"))
    direction_C2 = np.stack([np.cos(angle_C), np.sin(angle_C)], axis=1)
    return away_C, direction_C2 * (half + away_C[:, None])


def _overlap(middle_CW2: np.ndarray, half: np.ndarray, of_MW2: np.ndarray, half_of: np.ndarray) -> np.ndarray:
    """The area that each of C boxes shares with M others, all widths together, (C,)."""
    shared_CMW2 = half + half_of - np.abs(of_MW2 - middle_CW2[:, None])
    return np.asarray(np.maximum(shared_CMW2, 0).prod(axis=-1).sum(axis=(1, 2)))
