"""What frames look like to someone who recognises nothing, and whether that gives away which of them show the evidence.

T frames, H height, W width, P pixels, C channels (RGB), B bins, N frames of all videos.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from sklearn.metrics import roc_auc_score

LUMA = np.array((0.299, 0.587, 0.114), dtype=np.float32)  # of R, G and B
LEVELS = 4  # of each channel, in the colour histogram


def low_level(frames_THWC: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of each frame of a clip, float (T,) each.

    Brightness, saturation and chroma are of pixels, sharpness is the absolute Laplacian of the brightness; "max 8" is
    the mean over the eight most extreme pixels. Change is from the frame before, that of the first is the second's.

    Args:
        frames_THWC: uint8, two frames or more.
    """
    frames_THWC = frames_THWC.astype(np.float32)
    luma_THW = frames_THWC @ LUMA
    highest_TP, lowest_TP = (_flat(of(frames_THWC, axis=-1)) for of in (np.max, np.min))
    chroma_TP = highest_TP - lowest_TP
    saturation_TP = chroma_TP / np.maximum(highest_TP, 1)
    edge_TP, luma_TP = _flat(np.abs(_laplacian(luma_THW))), _flat(luma_THW)
    histogram_TB = _histogram(frames_THWC)
    return {
        "brightness, mean": luma_TP.mean(1),
        "brightness, std": luma_TP.std(1),
        "brightness, max 8": _mean_of_largest(luma_TP, 8),
        "brightness, min 8": -_mean_of_largest(-luma_TP, 8),
        "frame difference": _since_the_last(luma_TP).mean(1),
        "sharpness, mean": edge_TP.mean(1),
        "sharpness, variance": edge_TP.var(1),
        "sharpness, max 8": _mean_of_largest(edge_TP, 8),
        "sharpness, max 64": _mean_of_largest(edge_TP, 64),
        "saturation, mean": saturation_TP.mean(1),
        "saturation, max 8": _mean_of_largest(saturation_TP, 8),
        "saturation, max 64": _mean_of_largest(saturation_TP, 64),
        "chroma, max 8": _mean_of_largest(chroma_TP, 8),
        **{f"colours, bin {b}": share_T for b, share_T in enumerate(histogram_TB.T)},
        "colours, entropy": -(histogram_TB * np.log(np.maximum(histogram_TB, 1e-9))).sum(1),
        "colours, change": _since_the_last(histogram_TB).sum(1),
        "colours, distance from the clip's mean": np.abs(histogram_TB - histogram_TB.mean(0)).sum(1),
    }


def separability(videos: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """How well each statistic alone tells frames with evidence from those without: max(AUC, 1 - AUC) over all frames.

    Args:
        videos: each one's frames, uint8 (T, H, W, C), and which of them show the evidence, bool (T,).

    Raises:
        ValueError: all frames show it, or none.
    """
    statistics, is_shown = zip(*((low_level(frames), is_shown_T) for frames, is_shown_T in videos), strict=True)
    is_shown_N = np.concatenate(is_shown)
    if is_shown_N.all() or not is_shown_N.any():
        raise ValueError("separability: expected frames with evidence and frames without")
    values = {name: np.concatenate([of[name] for of in statistics]) for name in statistics[0]}
    auc = {name: float(roc_auc_score(is_shown_N, value_N)) for name, value_N in values.items()}
    return {name: max(value, 1 - value) for name, value in auc.items()}


def _flat(maps_THW: np.ndarray) -> np.ndarray:
    return maps_THW.reshape(len(maps_THW), -1)


def _mean_of_largest(values_TP: np.ndarray, num: int) -> np.ndarray:
    return np.partition(values_TP, -num, axis=1)[:, -num:].mean(1)


def _since_the_last(values_TP: np.ndarray) -> np.ndarray:
    """Absolute change from one frame to the next; the first frame gets the second's."""
    change_TP = np.abs(np.diff(values_TP, axis=0))
    return np.concatenate([change_TP[:1], change_TP])


def _laplacian(luma_THW: np.ndarray) -> np.ndarray:
    """Of the inner pixels."""
    across = luma_THW[:, 1:-1, :-2] + luma_THW[:, 1:-1, 2:]
    along = luma_THW[:, :-2, 1:-1] + luma_THW[:, 2:, 1:-1]
    return 4 * luma_THW[:, 1:-1, 1:-1] - across - along


def _histogram(frames_THWC: np.ndarray) -> np.ndarray:
    """Shares of the pixels by colour, (T, B), each channel in `LEVELS` steps."""
    step_TPC = (frames_THWC * (LEVELS / 256)).astype(np.int64).reshape(len(frames_THWC), -1, 3)
    colour_TP = (step_TPC[..., 0] * LEVELS + step_TPC[..., 1]) * LEVELS + step_TPC[..., 2]
    num_bins, num_pixels = LEVELS**3, colour_TP.shape[1]
    return np.stack([np.bincount(colour_P, minlength=num_bins) / num_pixels for colour_P in colour_TP])
