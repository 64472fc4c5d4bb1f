"""What methods decide, as their YAML says it: how charts draw them, and the modes that tables are divided by.

At most eight approaches have a colour and a shape of their own, the same in every chart.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from benchmarks.layers import APPROACHES, catalogue, method_files, references

OFFLINE, ONLINE, REFERENCES = "offline", "online", "reference"
MODES = {
    OFFLINE: "Offline: a decision may look at the whole video",
    ONLINE: "Online: a decision looks at what has been seen so far",
    REFERENCES: "References: nothing is decided, or nothing learnt",
}


PENTAGON = "M0,-1L.95,-.31L.59,.81L-.59,.81L-.95,-.31Z"


class Approach(NamedTuple):
    """How a method of one approach is drawn; the shape is one of Vega's or a path."""

    title: str
    colour: str
    shape: str


LOOKS = dict(
    zip(
        APPROACHES,
        (
            Approach("nothing, or by chance", "#7d8590", "circle"),
            Approach("the resolution", "#2f6fd0", "square"),
            Approach("how far a frame goes", "#0f9aa8", "triangle-right"),
            Approach("frames, after a glance at all", "#2f9e4f", "diamond"),
            Approach("frames, step by step", "#c2408f", "triangle-down"),
            Approach("when to stop", "#e07b00", "triangle-up"),
            Approach("where in the frame", "#7d55c7", "triangle-left"),
            Approach("not said", "#a06a42", PENTAGON),
        ),
        strict=True,
    )
)


@functools.cache
def approach_of(method: str) -> str:
    """One of `layers.APPROACHES`; papers write some names of the catalogue together."""
    together = {name.replace("_", ""): name for name in catalogue()}
    name = together.get(method.replace("_", ""), "")
    return method_files(name).approach if name else APPROACHES[-1]


@functools.cache
def mode_of(method: str) -> str:
    """One of `MODES`: a reference decides nothing, or is what a claim has to beat."""
    of_lines = {label.partition("@")[0] for labels in references().values() for label in labels}
    if approach_of(method) == APPROACHES[0] or method in of_lines:
        return REFERENCES
    return ONLINE if method in catalogue() and method_files(method).is_online else OFFLINE
