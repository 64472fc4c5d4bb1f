"""Example videos: the frames that a method was offered, drawn as it saw them, from easy to hard."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from adavid.evaluation.predictions import Predictions
from adavid.evaluation.records import STRIPS_JSON, Strip
from benchmarks.report.entries import Entry

MAX_EXAMPLES = 12
QUALITY = 60  # of the pictures on the page, as WebP: a fifth of the bytes of those beside the records
LEVELS = ("easy", "medium", "hard")  # terciles of the videos by what the method spends on them
Item = TypeVar("Item")


class Frame(NamedTuple):
    """A frame of an example as it is drawn: percentages, and the patch's top, left, height and width.

    `is_shown` is the data set's word for whether the frame shows what tells the class; None where it does not know.
    """

    action: str
    scale: float
    patch: list[float] | None
    is_shown: bool | None


class Example(NamedTuple):
    """An example video; methods may share its picture, which has a name of its own."""

    video: str
    label: str
    prediction: str
    correct: bool
    gflops: float
    level: str
    picture: str
    frames: list[Frame]


class Look(NamedTuple):
    """How an action is shown."""

    action: str
    colour: str
    is_seen: bool


class Examples(NamedTuple):
    """The example videos of one method, its actions, and the pictures as parts of the page, by name."""

    videos: list[Example]
    legend: list[Look]
    pictures: dict[str, str]


def examples_of(entry: Entry, colours: Mapping[str, str]) -> Examples | None:
    """The example videos of the first seed that has some, from the cheapest to the dearest."""
    if entry.strips is None:
        return None
    record, strips = entry.strips
    predictions = entry.predictions()[entry.main.index(record)]
    chosen = evenly(sorted(strips, key=lambda strip: (strip.gflops, strip.video_id)), MAX_EXAMPLES)
    uris = [_uri(record.path.parent / strip.image) for strip in chosen]
    names = [hashlib.sha256(uri.encode()).hexdigest()[:12] for uri in uris]
    sizes = {action.name: action.size for action in record.usage.actions}
    videos = [
        Example(
            *(strip.video_id, strip.label, strip.prediction, strip.correct, float(f"{strip.gflops:.3g}")),
            *(_level(strip.gflops, predictions), name, _frames(strip, sizes)),
        )
        for strip, name in zip(chosen, names, strict=True)
    ]
    legend = [Look(action, colours[action], sizes[action] > 0) for action in record.usage.names]
    return Examples(videos, legend, dict(zip(names, uris, strict=True)))


def _uri(path: Path) -> str:
    """A picture as part of the page."""
    packed = io.BytesIO()
    try:
        with Image.open(path) as picture:
            picture.save(packed, "WEBP", quality=QUALITY, method=6)
    except (OSError, UnidentifiedImageError) as error:
        reason = getattr(error, "strerror", None) or "it cannot be read"
        raise ValueError(f"{path}: expected a picture beside {STRIPS_JSON}: {reason}") from error
    return "data:image/webp;base64," + base64.b64encode(packed.getvalue()).decode()


def _frames(strip: Strip, sizes: Mapping[str, int]) -> list[Frame]:
    """How the frames of an example are drawn: one that is seen as large as it is seen."""
    boxes, shown = strip.boxes or [None] * len(strip.actions), strip.shown or [None] * len(strip.actions)
    return [
        Frame(
            action,
            scale=round(100 * (sizes[action] or max(sizes.values())) / max(sizes.values()), 2),
            patch=[round(100 * part, 2) for part in box] if box else None,
            is_shown=is_shown,
        )
        for action, box, is_shown in zip(strip.actions, boxes, shown, strict=True)
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
