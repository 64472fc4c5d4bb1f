"""The drawings of the `sprites` data set: clips with evidence for their class in only part of the frames.

An untrimmed clip of eight seconds shows a drifting backdrop, before which signs pass. A round sign carries one of ten
symbols: the evidence, there in one run of frames or two. At all other times oblong boards with other symbols pass, or
nothing. Round or oblong shows at a glance; a smaller sign carries a smaller symbol still, so the resolution that a
video needs varies from video to video, and the sign's size tells it. In colour, contrast, sharpness, size and motion
signs and boards are alike. Spells of the clip are out of focus or dark.
"""
# Legend: T frames, H height, W width, C channels (RGB).

import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeAlias

import av
import numpy as np
from PIL import Image
from scipy import ndimage

GENERATOR_VERSION = 11  # raise it whenever the pixels change
CANVAS = 72  # px
CROP = 64  # px: objects stay inside the evaluation's centre crop
FPS = 4
MIN_FRAMES = 8
SPLITS = ("train", "val", "test")
# No lookahead: x264's reads beyond frames whose sides are no multiples of 16, and so varies from run to run.
X264_PARAMS = "threads=1:rc-lookahead=0:mbtree=0:weightp=0:b-adapt=0:scenecut=0"

# Strokes in a square from -1 to 1, each from (x, y) to (x, y), y downwards.
Strokes: TypeAlias = Sequence[tuple[float, float, float, float]]
STROKES: dict[str, Strokes] = {
    "plus": [(-1, 0, 1, 0), (0, -1, 0, 1)],
    "cross": [(-0.75, -0.75, 0.75, 0.75), (-0.75, 0.75, 0.75, -0.75)],
    "bar": [(-1, 0, 1, 0)],
    "pole": [(0, -1, 0, 1)],
    "tee": [(-0.9, -0.75, 0.9, -0.75), (0, -0.75, 0, 0.9)],
    "vee": [(-0.8, -0.75, 0, 0.75), (0.8, -0.75, 0, 0.75)],
    "box": [(-0.7, -0.7, 0.7, -0.7), (0.7, -0.7, 0.7, 0.7), (0.7, 0.7, -0.7, 0.7), (-0.7, 0.7, -0.7, -0.7)],
    "triangle": [(0, -0.85, 0.85, 0.65), (0.85, 0.65, -0.85, 0.65), (-0.85, 0.65, 0, -0.85)],
    "equals": [(-0.9, -0.45, 0.9, -0.45), (-0.9, 0.45, 0.9, 0.45)],
    "colon": [(0, -0.6, 0, -0.5), (0, 0.5, 0, 0.6)],
    "twins": [(-0.45, -0.9, -0.45, 0.9), (0.45, -0.9, 0.45, 0.9)],
    "stairs": [(-0.8, -0.6, 0, -0.6), (0, -0.6, 0, 0.6), (0, 0.6, 0.8, 0.6)],
}
CLASS_NAMES = ["plus", "cross", "bar", "pole", "ring", "dot", "tee", "vee", "box", "triangle"]
BOARD_SYMBOLS = ("equals", "colon", "twins", "stairs")  # of no class
HALF_STROKE = 0.2  # of the symbol's half side


class Level(NamedTuple):
    """What the signs of a level look like.

    Attributes:
        share: of the videos.
        sizes: the sign's diameter in px, from and to.
        symbol: the symbol's part of the diameter.
    """

    share: float
    sizes: tuple[float, float]
    symbol: float


# What makes the data hard; docs/sprites.md says how it was chosen.
LEVELS = {  # by the sign's size, which tells its symbol's
    "large": Level(0.3, (17.0, 22.0), 0.6),
    "medium": Level(0.3, (13.0, 16.0), 0.33),
    "small": Level(0.4, (10.0, 12.0), 0.18),
}
# Shares of the clip.
LONG_RUN = (4 / 32, 7 / 32)  # evidence that comes once
SHORT_RUN = (2 / 32, 4 / 32)  # evidence that comes twice
RUN_GAP = 7 / 32  # at least, between the two
TWICE_RATE = 0.5
BOARD_SPELL = (3 / 32, 6 / 32)
UNCLEAR_SPELL = 1 / 8
BOARD_RATE = 0.85  # of the spells without evidence
SATURATION = 0.6  # of a sign
INK = 0.4  # a symbol's brightness, as a share of its sign's
BLUR_RATE, BLUR_SIGMA = 0.15, 2.5
DARK_RATE, DARK_GAIN = 0.1, 0.4
CLEAR_SHARE = 0.5  # at least, of the frames with evidence: neither blurred nor dark
BACKDROP_DEPTH = 28.0  # grey levels, standard deviation
NOISE = 6.0  # grey levels, standard deviation


@dataclass(frozen=True)
class VideoMeta:
    """What was drawn.

    Attributes:
        label: class index.
        level: "large", "medium" or "small": the sign's size.
        size: the sign's diameter in px of the 72 px canvas.
        has_evidence_T: bool, the frame shows the sign.
        has_board_T: bool, it shows a board.
        is_blurred_T: bool, it is out of focus.
        is_dark_T: bool, it is under-exposed.
    """

    label: int
    level: str
    size: float
    has_evidence_T: np.ndarray
    has_board_T: np.ndarray
    is_blurred_T: np.ndarray
    is_dark_T: np.ndarray

    @property
    def content(self) -> str:
        """A letter a frame: e with evidence, b with a board, - with neither."""
        return "".join(np.where(self.has_evidence_T, "e", np.where(self.has_board_T, "b", "-")))

    @property
    def condition(self) -> str:
        """A letter a frame: c clear, b blurred, d dark, x both."""
        unclear_T = np.where(self.is_blurred_T, np.where(self.is_dark_T, "x", "b"), np.where(self.is_dark_T, "d", "c"))
        return "".join(unclear_T)


def video_rng(data_seed: int, split: str, index: int) -> np.random.Generator:
    """The random stream of one video: splits and seeds never share one."""
    return np.random.default_rng([data_seed, SPLITS.index(split), index])


def symbol_distance(symbol: str | Strokes, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to the edge of a symbol's ink, negative inside, in half sides of its square; a name, or strokes."""
    if symbol == "ring":
        return np.abs(np.hypot(x, y) - 0.75) - HALF_STROKE
    if symbol == "dot":
        return np.hypot(x, y) - 0.5
    distances = []
    for x0, y0, x1, y1 in STROKES[symbol] if isinstance(symbol, str) else symbol:
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx**2 + dy**2), 0, 1)
        distances.append(np.hypot(x - x0 - along * dx, y - y0 - along * dy))
    return np.minimum.reduce(distances) - HALF_STROKE


def drift(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    """Centre of an object over time, (T, 2) in px: a straight drift that stays inside the centre crop."""
    low = (CANVAS - CROP) / 2 + size / 2
    ends = rng.uniform(low, CANVAS - low, size=(2, 2))
    longest = 0.5 * num_frames
    step = ends[1] - ends[0]
    ends[1] = ends[0] + step * min(1.0, longest / (np.hypot(*step) + 1e-6))
    return np.linspace(ends[0], ends[1], num_frames)


def runs_of_evidence(rng: np.random.Generator, num_frames: int) -> list[slice]:
    """When the sign passes: once, or twice with a gap between."""
    if rng.random() >= TWICE_RATE:
        length = _share_of(rng, LONG_RUN, num_frames)
        first = int(rng.integers(0, num_frames - length + 1))
        return [slice(first, first + length)]
    lengths = [_share_of(rng, SHORT_RUN, num_frames) for _ in range(2)]
    gap = round(RUN_GAP * num_frames)
    room = num_frames - sum(lengths) - gap  # shared out before, between and after
    before, after = sorted(rng.integers(0, room + 1, size=2).tolist())
    second = before + lengths[0] + gap + (after - before)
    return [slice(before, before + lengths[0]), slice(second, second + lengths[1])]


def spells_between(rng: np.random.Generator, runs: list[slice], num_frames: int) -> Iterator[slice]:
    """The frames without evidence, cut into spells about as long as runs are."""
    edges = [0, *(edge for run in runs for edge in (run.start, run.stop)), num_frames]
    shortest = max(1, round(BOARD_SPELL[0] * num_frames))
    for start, stop in list(pairwise(edges))[::2]:
        while start < stop:
            end = start + _share_of(rng, BOARD_SPELL, num_frames)
            end = stop if stop - end < shortest else end
            yield slice(start, end)
            start = end


def _share_of(rng: np.random.Generator, share: tuple[float, float], num_frames: int) -> int:
    """A number of frames drawn between two shares of the clip, at least 1."""
    fewest, most = (max(1, round(part * num_frames)) for part in share)
    return int(rng.integers(fewest, most + 1))


def _smooth_field(rng: np.random.Generator, side: int) -> np.ndarray:
    """Colour blobs about 16 px wide, (side, side, 3) float32 around zero."""
    coarse = rng.normal(0, BACKDROP_DEPTH, size=(side // 16 + 1, side // 16 + 1, 3)).astype(np.float32)
    offset = np.arange(side, dtype=np.float32)[:, None] / 16 - np.arange(len(coarse), dtype=np.float32)
    weights = np.exp(-2 * offset**2)
    weights /= weights.sum(1, keepdims=True)
    return np.einsum("yi,ijc,xj->yxc", weights, coarse, weights, optimize=True)


def _draw_size(rng: np.random.Generator) -> tuple[str, float]:
    """A level of difficulty and a diameter in px."""
    level = str(rng.choice(list(LEVELS), p=[level.share for level in LEVELS.values()]))
    return level, float(rng.uniform(*LEVELS[level].sizes))


def _sign(
    symbols: Sequence[str | Strokes], x: np.ndarray, y: np.ndarray, radius: float, half: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distances in px to the edges of a round sign and of its symbol, negative inside; the symbol is 2 `half` wide."""
    (symbol,) = symbols
    return np.hypot(x, y) - radius, half * symbol_distance(symbol, x / half, y / half)


def _board(
    symbols: Sequence[str | Strokes], x: np.ndarray, y: np.ndarray, radius: float, half: float
) -> tuple[np.ndarray, np.ndarray]:
    """The same of an oblong board, along x, as large as a sign of that radius, with two symbols side by side."""
    length, width = 1.345 * radius, 0.584 * radius  # halves
    half, aside = 0.74 * half, 0.62 * radius  # as much ink as the one symbol of a sign
    left, right = (
        half * symbol_distance(symbol, (x + shift) / half, y / half)
        for symbol, shift in zip(symbols, (aside, -aside), strict=True)
    )
    return np.maximum(np.abs(x) - length, np.abs(y) - width), np.minimum(left, right)


def paint(
    rng: np.random.Generator, frames_THWC: np.ndarray, size: float, part: float, symbols: Sequence[str | Strokes]
) -> None:
    """Let a round sign with one symbol, or an oblong board with two, drift through float32 frames, in place.

    Args:
        rng: decides the path and the colour.
        frames_THWC: of some moments.
        size: the sign's diameter in px; a board is as large.
        part: of it that the symbol takes.
        symbols: by name, or strokes: one of a sign, two of a board.
    """
    is_board = len(symbols) == 2
    radius = size / 2
    path_T2 = drift(rng, len(frames_THWC), 1.345 * size if is_board else size)
    angle = np.deg2rad(rng.uniform(-10, 10))
    hue, brightness = rng.random(), 255 * rng.uniform(0.8, 1.0)
    colour_C = (brightness * np.array(colorsys.hsv_to_rgb(hue, SATURATION, 1.0))).astype(np.float32)
    if is_board and rng.random() < 0.5:  # upright
        angle += np.pi / 2
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    reach = int(np.ceil(1.5 * radius)) + 2  # of a board's corner
    for frame_HWC, (centre_x, centre_y) in zip(frames_THWC, path_T2, strict=True):
        rows, columns = (slice(max(0, int(c) - reach), int(c) + reach + 1) for c in (centre_y, centre_x))
        window_HWC = frame_HWC[rows, columns]
        x = np.arange(window_HWC.shape[1], dtype=np.float32)[None] + np.float32(columns.start - centre_x)
        y = np.arange(window_HWC.shape[0], dtype=np.float32)[:, None] + np.float32(rows.start - centre_y)
        along, across = cos * x + sin * y, cos * y - sin * x
        edge, ink = (_board if is_board else _sign)(symbols, along, across, radius, part * radius)
        opacity, is_ink = np.clip(0.5 - edge, 0, 1)[..., None], np.clip(0.5 - ink, 0, 1)[..., None]
        window_HWC += opacity * (colour_C * (1 - (1 - INK) * is_ink) - window_HWC)


def backdrop(rng: np.random.Generator, num_frames: int) -> np.ndarray:
    """A smooth colour field under a slow camera: frames (T, 72, 72, 3) float32."""
    field = rng.uniform(70, 140, size=3).astype(np.float32) + _smooth_field(rng, CANVAS + 40)
    room = len(field) - CANVAS
    start, stop = rng.uniform(0, room, size=(2, 2))
    pan_T2 = np.rint(np.linspace(start, stop, num_frames)).astype(int)
    return np.stack([field[y : y + CANVAS, x : x + CANVAS] for x, y in pan_T2])


def as_recorded(rng: np.random.Generator, frames_THWC: np.ndarray) -> np.ndarray:
    """The frames with a camera's noise, uint8."""
    noise = NOISE * rng.standard_normal((*frames_THWC.shape[:3], 1), dtype=np.float32)
    return np.clip(np.rint(frames_THWC + noise), 0, 255).astype(np.uint8)


def render_video(rng: np.random.Generator, label: int, num_frames: int) -> tuple[np.ndarray, VideoMeta]:
    """Draw one clip.

    Args:
        rng: the video's own random stream.
        label: class index into CLASS_NAMES.
        num_frames: length of the clip, at FPS frames a second.

    Returns:
        Frames (T, 72, 72, 3) uint8 RGB, and what was drawn.
    """
    frames_THWC = backdrop(rng, num_frames)
    level, size = _draw_size(rng)
    has_evidence_T, has_board_T = np.zeros((2, num_frames), bool)
    runs = runs_of_evidence(rng, num_frames)
    for run in runs:
        has_evidence_T[run] = True
        paint(rng, frames_THWC[run], size, LEVELS[level].symbol, [CLASS_NAMES[label]])
    for spell in spells_between(rng, runs, num_frames):
        if rng.random() < BOARD_RATE:
            has_board_T[spell] = True
            other, size_of_it = _draw_size(rng)
            symbols = rng.choice(BOARD_SYMBOLS, size=2).tolist()
            paint(rng, frames_THWC[spell], size_of_it, LEVELS[other].symbol, symbols)

    spell_T = np.arange(num_frames) // max(1, round(num_frames * UNCLEAR_SPELL))
    while True:
        is_blurred_T, is_dark_T = ((rng.random(num_frames) < rate)[spell_T] for rate in (BLUR_RATE, DARK_RATE))
        if (has_evidence_T & ~is_blurred_T & ~is_dark_T).sum() >= CLEAR_SHARE * has_evidence_T.sum():
            break
    for t in np.flatnonzero(is_blurred_T):
        frames_THWC[t] = ndimage.gaussian_filter(frames_THWC[t], (BLUR_SIGMA, BLUR_SIGMA, 0))
    frames_THWC[is_dark_T] *= DARK_GAIN

    meta = VideoMeta(label, level, size, has_evidence_T, has_board_T, is_blurred_T, is_dark_T)
    return as_recorded(rng, frames_THWC), meta


def write_video(path: Path, frames_THWC: np.ndarray) -> None:
    """Encode (T, H, W, 3) uint8 RGB frames as H.264 in MP4; the same frames give the same bytes."""
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.codec_context.thread_count = 1
        stream.options = {"crf": "17", "preset": "superfast", "x264-params": X264_PARAMS}
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())


def make_video(folder: Path, data_seed: int, num_frames: int, job: tuple[str, int]) -> dict[str, object]:
    """Draw and write the video (split, index) of `job`; returns its row of the label table.

    Labels go round the classes, so that every split is balanced.
    """
    split, index = job
    frames_THWC, meta = render_video(video_rng(data_seed, split, index), index % len(CLASS_NAMES), num_frames)
    path = Path(split) / f"{split}-{index:05d}.mp4"
    write_video(folder / path, frames_THWC)
    return {
        "video_id": path.stem,
        "split": split,
        "path": path.as_posix(),
        "label": meta.label,
        "class_name": CLASS_NAMES[meta.label],
        "level": meta.level,
        "size": round(meta.size, 2),
        "content": meta.content,
        "condition": meta.condition,
    }


def contact_sheet(path: Path, num_frames: int = 32, num_shown: int = 8) -> None:
    """Write a PNG with a row per class: a video with a large sign and one with a small one, partly unclear.

    Frames with evidence are outlined in white. Only the training split of data seed 0 is drawn.
    """
    shown = np.linspace(0, num_frames - 1, num_shown).round().astype(int)

    def strip(label: int, level: str, unclear: bool) -> np.ndarray:
        for index in range(label, 100_000, len(CLASS_NAMES)):
            frames_THWC, meta = render_video(video_rng(0, "train", index), label, num_frames)
            evidence_T = meta.has_evidence_T[shown]
            spoilt_T = evidence_T & (meta.is_blurred_T | meta.is_dark_T)[shown]
            if meta.level == level and (evidence_T & ~spoilt_T).any() and spoilt_T.any() == unclear:
                break
        margin = (CANVAS - CROP) // 2
        pictures = frames_THWC[shown, margin:-margin, margin:-margin].copy()
        for picture_HWC, is_evidence in zip(pictures, evidence_T, strict=True):
            if not is_evidence:
                continue
            for edge in (picture_HWC[:2], picture_HWC[-2:], picture_HWC[:, :2], picture_HWC[:, -2:]):
                edge[...] = 255
        return np.concatenate(list(pictures), axis=1)

    gap = np.full((CROP, 8, 3), 255, np.uint8)
    rows = [
        np.concatenate([strip(label, "large", False), gap, strip(label, "small", True)], axis=1)
        for label in range(len(CLASS_NAMES))
    ]
    Image.fromarray(np.concatenate(rows)).quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
