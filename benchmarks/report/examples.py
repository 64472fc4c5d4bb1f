"""Example videos: the frames that a method was offered, drawn as it saw them, from easy to hard."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from adavid.evaluation.predictions import Predictions
from adavid.evaluation.records import STRIPS_JSON, Strip
from benchmarks.report.entries import Entry

MAX_EXAMPLES = 12
LEVELS = ("easy", "medium", "hard")  # terciles of the videos by what the method spends on them
Item = TypeVar("Item")


class Frame(NamedTuple):
    """A frame of an example as it is drawn: percentages, and the patch's top, left, height and width.

    `is_shown` is the data set's word for whether the frame shows what tells the class; None where it does not know.
    """

    action: str
    colour: str
    is_seen: bool
    scale: float
    position: float
    patch: list[float] | None
    is_shown: bool | None


class Example(NamedTuple):
    """An example video."""

    strip: Strip
    level: str
    uri: str
    frames: list[Frame]


class Examples(NamedTuple):
    """The example videos of one method, and the colours of its actions."""

    title: str
    videos: list[Example]
    legend: list[tuple[str, str]]


def examples_of(entry: Entry, colours: Mapping[str, str]) -> list[Example]:
    """The example videos of the first seed that has some, from the cheapest to the dearest."""
    if entry.strips is None:
        return []
    record, strips = entry.strips
    predictions = entry.predictions()[entry.main.index(record)]
    videos = evenly(sorted(strips, key=lambda strip: (strip.gflops, strip.video_id)), MAX_EXAMPLES)
    return [
        Example(
            strip,
            _level(strip.gflops, predictions),
            _uri(record.path.parent / strip.image),
            _frames(strip, {action.name: action.size for action in record.usage.actions}, colours),
        )
        for strip in videos
    ]


def _uri(path: Path) -> str:
    """A JPEG as part of the page."""
    try:
        return "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise ValueError(f"{path}: expected a picture beside {STRIPS_JSON}: {error.strerror}") from error


def _frames(strip: Strip, sizes: Mapping[str, int], colours: Mapping[str, str]) -> list[Frame]:
    """How the frames of an example are drawn: one that is seen as large as it is seen, one that is not faded."""
    boxes, shown = strip.boxes or [None] * len(strip.actions), strip.shown or [None] * len(strip.actions)
    return [
        Frame(
            action,
            colours[action],
            is_seen=sizes[action] > 0,
            scale=100 * (sizes[action] or max(sizes.values())) / max(sizes.values()),
            position=100 * t / max(len(strip.actions) - 1, 1),
            patch=[100 * part for part in box] if box else None,
            is_shown=is_shown,
        )
        for t, (action, box, is_shown) in enumerate(zip(strip.actions, boxes, shown, strict=True))
    ]


def _level(gflops: float, predictions: Predictions) -> str:
    """'easy', 'medium' or 'hard': the tercile of the video's cost among all videos, middle rank for ties."""
    all_gflops = predictions.macs_N / 1e9
    tolerance = 1e-6 * all_gflops.max(initial=0)
    below, at_most = np.mean(all_gflops < gflops - tolerance), np.mean(all_gflops <= gflops + tolerance)
    return LEVELS[min(int((below + at_most) / 2 * 3), 2)]


def evenly(ordered: Sequence[Item], num: int) -> list[Item]:
    """At most `num` of the items, from the first to the last."""
    places = np.linspace(0, len(ordered) - 1, min(num, len(ordered)))
    return [ordered[i] for i in places.round().astype(int)]
