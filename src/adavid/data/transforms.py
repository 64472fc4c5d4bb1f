"""What is done to frames: crops and flips in the worker, resizing and normalisation on the device.

T frames, N routed rows, S frames of a clip, C channels, H height, W width, P pixels along a patch. A crop is drawn
once per clip, so that all its frames and views agree.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SNAP = 3  # a crop less than this many pixels off the wanted size takes that size: no resize, no blur


class Crop(NamedTuple):
    """A rectangle of a frame, in pixels."""

    top: int
    left: int
    height: int
    width: int


def multi_scale_crop(height: int, width: int, size: int, scales: Sequence[float], rng: np.random.Generator) -> Crop:
    """Draws AR-Net's (and TSN's) training crop: its sides from `scales`, at one of 13 places.

    The two sides are `scales` times the short side, chosen as a pair whose positions in `scales` differ by at
    most 1 ("max_distort 1"). The 13 places are the corners, the middles of the edges, the centre and the four
    inner quarter points.

    Args:
        height: the frame's height in pixels.
        width: the frame's width in pixels.
        size: the side in pixels that the crop will be resized to.
        scales: fractions of the short side, in descending order.
        rng: the clip's generator.
    """
    sides = [int(min(height, width) * scale) for scale in scales]
    # A crop never leaves the frame, whatever size it snaps to.
    sides = [size if abs(side - size) < SNAP and size <= min(height, width) else side for side in sides]
    pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    crop_height, crop_width = pairs[rng.integers(len(pairs))]
    step_y, step_x = (height - crop_height) // 4, (width - crop_width) // 4
    # The cells of a 5 x 5 grid of places whose row and column are both even or both odd.
    places = [(y, x) for y in range(5) for x in range(5) if y % 2 == x % 2]
    y, x = places[rng.integers(len(places))]
    return Crop(y * step_y, x * step_x, crop_height, crop_width)


def crop_frames(frames_TCHW: Tensor, crop: Crop, size: int) -> Tensor:
    """Returns the crop of every frame, resized to size x size pixels: uint8 (T, C, size, size)."""
    top, left, height, width = crop
    return resize_frames(frames_TCHW[..., top : top + height, left : left + width], size)


def center_crop(frames_TCHW: Tensor, resize: int, size: int) -> Tensor:
    """Returns the evaluation crop, uint8 (T, C, size, size): the short side resized, then the centre.

    Args:
        frames_TCHW: uint8 frames.
        resize: the short side in pixels after resizing, at least `size`; the aspect ratio is kept.
        size: the side of the crop in pixels.
    """
    assert resize >= size
    frames_TCHW = resize_short(frames_TCHW, resize)
    height, width = frames_TCHW.shape[-2:]
    top, left = round((height - size) / 2), round((width - size) / 2)
    return frames_TCHW[..., top : top + size, left : left + size]


def resize_short(frames_TCHW: Tensor, side: int) -> Tensor:
    """Returns uint8 frames with a short side of so many pixels, the aspect ratio kept; untouched where it is so."""
    height, width = frames_TCHW.shape[-2:]
    short = min(height, width)
    if short == side:
        return frames_TCHW
    return _interpolate(frames_TCHW, height * side // short, width * side // short)


def evaluation_crop(frames_TCHW: Tensor, resize: int, crop: int, size: int) -> Tensor:
    """Returns the centre crop of a view of `size` pixels: the share of the picture, crop / resize, is every view's."""
    return center_crop(frames_TCHW, round(resize * size / crop), size)


def resize_frames(frames_NCHW: Tensor, size: int, nearest: bool = False) -> Tensor:
    """Returns the frames, or clips of frames, at size x size pixels (bilinear, antialiased), on their device.

    Frames that are so already come back untouched.

    Args:
        frames_NCHW: uint8 or floating-point frames, any number of leading axes; uint8 results are rounded.
        size: the side in pixels.
        nearest: take single pixels instead: what some released networks were trained on.
    """
    if frames_NCHW.shape[-2:] == (size, size):
        return frames_NCHW
    if nearest:
        return F.interpolate(frames_NCHW.flatten(0, -4), (size, size)).unflatten(0, frames_NCHW.shape[:-3])
    return _interpolate(frames_NCHW.flatten(0, -4), size, size).unflatten(0, frames_NCHW.shape[:-3])


def cut_patches(frames_NCHW: Tensor, corner_N2: Tensor, size: int) -> Tensor:
    """Returns the patch of size x size pixels of each frame, or clip (N, S, C, H, W), without waiting for the device.

    Args:
        frames_NCHW: uint8 or floating-point frames.
        corner_N2: int64, row and column of the patch's top left pixel; all of it lies in the frame.
        size: the side in pixels.
    """
    offset_P = torch.arange(size, device=corner_N2.device)
    row_NP1, column_N1P = corner_N2[:, 0, None, None] + offset_P[:, None], corner_N2[:, 1, None, None] + offset_P
    frame_N11 = torch.arange(len(corner_N2), device=corner_N2.device)[:, None, None]
    # The axes of an advanced index come first where a slice stands among them.
    patch_NPP = frames_NCHW[frame_N11, ..., row_NP1, column_N1P]
    return patch_NPP.movedim((1, 2), (-2, -1))


def normalize(frames: Tensor) -> Tensor:
    """Returns uint8 frames (..., C, H, W) as float32, by ImageNet's mean and deviation, on their device."""
    assert frames.dtype == torch.uint8, frames.dtype
    mean_C11 = torch.tensor(IMAGENET_MEAN, device=frames.device)[:, None, None]
    std_C11 = torch.tensor(IMAGENET_STD, device=frames.device)[:, None, None]
    return frames.float().div_(255).sub_(mean_C11).div_(std_C11)


def _interpolate(frames_NCHW: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(frames_NCHW, (height, width), mode="bilinear", antialias=True)
