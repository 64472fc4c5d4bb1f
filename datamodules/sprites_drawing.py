"""The drawings of the `sprites` data set: clips with evidence for their class in only part of the frames.

An untrimmed clip of four seconds shows a drifting backdrop. During one contiguous run of frames, a quarter
to almost half of the clip, a vivid object passes: the evidence. Before and after it come empty frames and decoys:
pale, soft objects of a wrong class. Four classes are coarse (the outline says it all), six are fine (two
outlines with three patterns each). A pattern is finer the smaller its object, so that the resolution a video
needs varies from video to video, and the size, which a glance shows, tells it. Spells of the clip are out of
focus or dark.
"""
# Legend: T frames, H height, W width, C channels (RGB), E frames with evidence.

import colorsys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from scipy import ndimage

GENERATOR_VERSION = 9  # raise it whenever the pixels change
CANVAS = 72  # px
CROP = 64  # px: objects stay inside the evaluation's centre crop
FPS = 4
MIN_FRAMES = 8  # one a spell
COARSE_SHAPES = ("circle", "square", "triangle", "plus")
FINE_SHAPES = ("diamond", "ring")
PATTERNS = ("across", "along", "checked")
# From red by yellow, green and blue to pink; patterns come on hues with much luma, as codecs halve chroma.
HUE_ORDER = ("circle", "diamond", "ring", "plus", "square", "triangle")
CLASS_NAMES = [*COARSE_SHAPES, *(f"{shape}-{pattern}" for shape in FINE_SHAPES for pattern in PATTERNS)]
SPLITS = ("train", "val", "test")
# No lookahead: x264's reads beyond frames whose sides are no multiples of 16, and so varies from run to run.
X264_PARAMS = "threads=1:rc-lookahead=0:mbtree=0:weightp=0:b-adapt=0:scenecut=0"

# What makes the data hard. Chosen on train and val, see docs/sprites.md.
# The diameter of the evidence in px.
SIZES = {"large": (28.0, 36.0), "medium": (16.0, 22.0), "small": (11.0, 14.0), "tiny": (6.0, 8.0)}
SIZE_SHARES = (0.24, 0.2, 0.22, 0.34)
STRIPES_PER_OBJECT = 4.5
PATTERN_DEPTH = 1.0  # share of the brightness that a dark stripe takes away, before the lens
LENS_BLUR = (
    0.7  # px, standard deviation: leaves stripes of 4 px half of their contrast, of 3 px a third, of 1.5 px 1/70
)
EVIDENCE_SHARES = (0.22, 0.44)  # of the clip's frames
SPELL_SHARE = 1 / 8  # of the clip: decoys, blur and darkness come in spells of this length
DECOY_RATE, DECOY_OPACITY, DECOY_SATURATION = 0.5, 0.6, 0.35
HUE_JITTER = 0.3  # of the distance between two shapes' hues
BLUR_RATE, BLUR_SIGMA = 0.15, 2.5
DARK_RATE, DARK_GAIN = 0.1, 0.4
BACKDROP_DEPTH = 28.0  # grey levels, standard deviation
NOISE = 6.0  # grey levels, standard deviation


@dataclass(frozen=True)
class VideoMeta:
    """What was drawn.

    Attributes:
        label: class index.
        difficulty: "large", "medium", "small" or "tiny", the evidence's size.
        size: the evidence's diameter in px of the 72 px canvas.
        evidence: (first, last + 1) frame that shows the evidence.
        blurred: frames out of focus.
        dark: frames under-exposed.
        decoys: frames with a misleading object.
    """

    label: int
    difficulty: str
    size: float
    evidence: tuple[int, int]
    blurred: tuple[int, ...]
    dark: tuple[int, ...]
    decoys: tuple[int, ...]


def video_rng(data_seed: int, split: str, index: int) -> np.random.Generator:
    """The random stream of one video: splits and seeds never share one."""
    return np.random.default_rng([data_seed, SPLITS.index(split), index])


def signed_distance(shape: str, u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Distance in px to the outline of `shape`, negative inside; the shape is symmetric about the v axis."""
    u, r = np.abs(u), radius
    match shape:
        case "circle":
            return np.hypot(u, v) - 0.95 * r
        case "square":
            return np.maximum(u, np.abs(v)) - 0.85 * r
        case "triangle":
            return np.maximum(0.866 * u - 0.5 * v, v) - 0.6 * r
        case "plus":
            return np.minimum(np.maximum(u - r, np.abs(v) - 0.3 * r), np.maximum(u - 0.3 * r, np.abs(v) - r))
        case "diamond":
            return (u + np.abs(v) - 1.1 * r) * 0.707
        case "ring":
            return np.abs(np.hypot(u, v) - 0.65 * r) - 0.35 * r
    raise AssertionError(shape)


def drift(rng: np.random.Generator, num_frames: int, size: float) -> np.ndarray:
    """Centre of an object over time, (T, 2) in px: a straight drift that stays inside the centre crop."""
    low = (CANVAS - CROP) / 2 + size / 2
    ends = rng.uniform(low, CANVAS - low, size=(2, 2))
    longest = 0.5 * num_frames
    step = ends[1] - ends[0]
    ends[1] = ends[0] + step * min(1.0, longest / (np.hypot(*step) + 1e-6))
    return np.linspace(ends[0], ends[1], num_frames)


def _colour(rng: np.random.Generator, label: int, saturation: float) -> np.ndarray:
    """An object's colour, (3,) in 0..255: every shape has its hue, more or less."""
    place = HUE_ORDER.index(CLASS_NAMES[label].partition("-")[0])
    hue = (place + rng.uniform(-HUE_JITTER, HUE_JITTER)) / len(HUE_ORDER)
    return 255 * rng.uniform(0.85, 1.0) * np.array(colorsys.hsv_to_rgb(hue % 1, saturation, 1.0))


def _smooth_field(rng: np.random.Generator, side: int) -> np.ndarray:
    """Colour blobs about 16 px wide, (side, side, 3) float32 around zero."""
    coarse = rng.normal(0, BACKDROP_DEPTH, size=(side // 16 + 1, side // 16 + 1, 3)).astype(np.float32)
    offset = np.arange(side, dtype=np.float32)[:, None] / 16 - np.arange(len(coarse), dtype=np.float32)
    weights = np.exp(-2 * offset**2)
    weights /= weights.sum(1, keepdims=True)
    return np.einsum("yi,ijc,xj->yxc", weights, coarse, weights, optimize=True)


def _draw(
    rng: np.random.Generator,
    frames_THWC: np.ndarray,
    label: int,
    size: float,
    *,
    saturation: float,
    softness: float = 1.0,
    opacity: float = 1.0,
    patterned: bool = True,
) -> None:
    """Let one object of `size` px drift through the frames, in place, with an edge `softness` px wide."""
    path_T2 = drift(rng, len(frames_THWC), size)
    angle = np.deg2rad(rng.uniform(-12, 12))
    colour = _colour(rng, label, saturation)
    shape, _, pattern = CLASS_NAMES[label].partition("-")
    grid = np.arange(CANVAS, dtype=np.float32)
    x_THW = grid[None, None, :] - path_T2[:, 0, None, None].astype(np.float32)
    y_THW = grid[None, :, None] - path_T2[:, 1, None, None].astype(np.float32)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u_THW, v_THW = cos * x_THW + sin * y_THW, cos * y_THW - sin * x_THW
    alpha_THW = opacity * np.clip(0.5 - signed_distance(shape, u_THW, v_THW, size / 2) / softness, 0, 1)
    paint_THWC = np.broadcast_to(colour.astype(np.float32), frames_THWC.shape)
    if pattern and patterned:
        frequency = np.float32(2 * np.pi * STRIPES_PER_OBJECT / size)
        across_THW, along_THW = np.sin(frequency * v_THW), np.sin(frequency * u_THW)
        wave = {"across": across_THW, "along": along_THW, "checked": 1.4 * across_THW * along_THW}[pattern]
        # The lens takes contrast from a wave by its frequency: a Gaussian's transfer function.
        contrast = np.exp(-((LENS_BLUR * frequency) ** 2) / 2) ** (2 if pattern == "checked" else 1)
        wave = 0.5 + contrast * np.clip(1.2 * wave, -0.5, 0.5)
        paint_THWC = paint_THWC * (1 - PATTERN_DEPTH * wave)[..., None]
    frames_THWC += alpha_THW[..., None] * (paint_THWC - frames_THWC)


def render_video(rng: np.random.Generator, label: int, num_frames: int) -> tuple[np.ndarray, VideoMeta]:
    """Draw one clip.

    Args:
        rng: the video's own random stream.
        label: class index into CLASS_NAMES.
        num_frames: length of the clip, at FPS frames a second.

    Returns:
        Frames (T, 72, 72, 3) uint8 RGB, and what was drawn.
    """
    # Backdrop: a smooth colour field under a slow camera.
    field = rng.uniform(70, 140, size=3) + _smooth_field(rng, CANVAS + 40)
    room = len(field) - CANVAS
    start, stop = rng.uniform(0, room, size=(2, 2))
    pan_T2 = np.rint(np.linspace(start, stop, num_frames)).astype(int)
    frames_THWC = np.stack([field[y : y + CANVAS, x : x + CANVAS] for x, y in pan_T2])

    # Timetable: one run of evidence, the rest cut into spells.
    length = round(num_frames * rng.uniform(*EVIDENCE_SHARES))
    first = int(rng.integers(0, num_frames - length + 1))
    evidence = slice(first, first + length)
    spell = np.arange(num_frames) // max(1, round(num_frames * SPELL_SHARE))
    has_evidence = np.zeros(num_frames, bool)
    has_evidence[evidence] = True

    difficulty = str(rng.choice(list(SIZES), p=SIZE_SHARES))
    size = float(rng.uniform(*SIZES[difficulty]))

    is_decoy = (rng.random(num_frames) < DECOY_RATE)[spell] & ~has_evidence
    for number in np.unique(spell[is_decoy]):
        when = np.flatnonzero(is_decoy & (spell == number))
        wrong = int((label + rng.integers(1, len(CLASS_NAMES))) % len(CLASS_NAMES))
        decoy_size = float(rng.uniform(SIZES["tiny"][0], SIZES["large"][1]))
        part_THWC = frames_THWC[when]
        pale: dict[str, Any] = {"saturation": DECOY_SATURATION, "opacity": DECOY_OPACITY, "patterned": False}
        _draw(rng, part_THWC, wrong, decoy_size, softness=max(3.0, decoy_size / 4), **pale)
        frames_THWC[when] = part_THWC

    _draw(rng, frames_THWC[evidence], label, size, saturation=0.85)

    is_blurred = (rng.random(num_frames) < BLUR_RATE)[spell]
    for t in np.flatnonzero(is_blurred):
        frames_THWC[t] = ndimage.gaussian_filter(frames_THWC[t], (BLUR_SIGMA, BLUR_SIGMA, 0))
    is_dark = (rng.random(num_frames) < DARK_RATE)[spell]
    frames_THWC[is_dark] *= DARK_GAIN
    frames_THWC += rng.normal(0, NOISE, size=(*frames_THWC.shape[:3], 1)).astype(np.float32)

    meta = VideoMeta(
        label,
        difficulty,
        size,
        evidence=(first, first + length),
        blurred=tuple(np.flatnonzero(is_blurred).tolist()),
        dark=tuple(np.flatnonzero(is_dark).tolist()),
        decoys=tuple(np.flatnonzero(is_decoy).tolist()),
    )
    return np.clip(np.rint(frames_THWC), 0, 255).astype(np.uint8), meta


def write_video(path: Path, frames_THWC: np.ndarray) -> None:
    """Encode (T, H, W, 3) uint8 RGB frames as H.264 in MP4; the same frames give the same bytes."""
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, FPS)
        stream.codec_context.thread_count = 1
        stream.options = {"crf": "17", "preset": "veryfast", "x264-params": X264_PARAMS}
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
    unclear = {*meta.blurred, *meta.dark}
    return {
        "video_id": path.stem,
        "split": split,
        "path": path.as_posix(),
        "label": meta.label,
        "class_name": CLASS_NAMES[meta.label],
        "kind": "coarse" if CLASS_NAMES[meta.label] in COARSE_SHAPES else "fine",
        "difficulty": meta.difficulty,
        "size": round(meta.size, 2),
        "first_frame": meta.evidence[0],
        "last_frame": meta.evidence[1] - 1,
        "num_blurred": len(meta.blurred),
        "num_dark": len(meta.dark),
        "num_decoy": len(meta.decoys),
        "num_clear_evidence": len(set(range(*meta.evidence)) - unclear),
    }


def contact_sheet(path: Path, num_frames: int = 16, num_shown: int = 6) -> None:
    """Write a PNG with a row per class: an easy (large) and a hard (small, partly unclear) video.

    Frames with evidence are outlined in white. Only the training split of data seed 0 is drawn.
    """
    shown = np.linspace(0, num_frames - 1, num_shown).round().astype(int)

    def strip(label: int, difficulty: str, unclear: bool) -> np.ndarray:
        for index in range(label, 100_000, len(CLASS_NAMES)):
            frames_THWC, meta = render_video(video_rng(0, "train", index), label, num_frames)
            evidence = set(range(*meta.evidence)) & set(shown.tolist())
            spoilt = evidence & {*meta.blurred, *meta.dark}
            if meta.difficulty == difficulty and len(evidence - spoilt) >= 1 and bool(spoilt) == unclear:
                break
        margin = (CANVAS - CROP) // 2
        pictures = frames_THWC[shown, margin:-margin, margin:-margin].copy()
        for picture_HWC, t in zip(pictures, shown, strict=True):
            if t in evidence:
                for edge in (picture_HWC[:2], picture_HWC[-2:], picture_HWC[:, :2], picture_HWC[:, -2:]):
                    edge[...] = 255
        return np.concatenate(list(pictures), axis=1)

    gap = np.full((CROP, 8, 3), 255, np.uint8)
    rows = [
        np.concatenate([strip(label, "large", False), gap, strip(label, "small", True)], axis=1)
        for label in range(len(CLASS_NAMES))
    ]
    Image.fromarray(np.concatenate(rows)).quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)
