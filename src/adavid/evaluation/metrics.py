"""Accuracy: macro average precision and top-1, on the scores of all videos at once.

Shapes: N videos, B videos of a batch, K classes.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import average_precision_score


def average_precision(label_NK: np.ndarray, score_NK: np.ndarray) -> np.ndarray:
    """Average precision of each class: scikit-learn's, equal scores forming one threshold.

    Args:
        label_NK: multi-hot labels, over the full set of classes (never renumbered).
        score_NK: scores, higher is more likely.

    Returns:
        float64 (K,), fractions; a class without positives has 0.

    Raises:
        ValueError: the shapes differ, or a score is not finite.
    """
    label_NK, score_NK = checked(label_NK, score_NK)
    present_K = label_NK.any(axis=0)
    ap_K = np.zeros(label_NK.shape[1])
    for k in np.flatnonzero(present_K):
        ap_K[k] = average_precision_score(label_NK[:, k], score_NK[:, k])
    return ap_K


def mean_average_precision(label_NK: np.ndarray, score_NK: np.ndarray) -> float:
    """The mean of `average_precision` over ALL classes, those without positives included (with 0)."""
    return float(average_precision(label_NK, score_NK).mean())


def classes_without_positives(label_NK: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """The names of the classes that no video has, and that therefore score 0."""
    return [name for name, present in zip(class_names, np.any(label_NK, axis=0), strict=True) if not present]


def top1(label_NK: np.ndarray, score_NK: np.ndarray) -> float:
    """The fraction of videos whose best-scored class is among their labels."""
    label_NK, score_NK = checked(label_NK, score_NK)
    best_N1 = score_NK.argmax(axis=1, keepdims=True)
    return float(np.take_along_axis(label_NK, best_N1, axis=1).mean())


def checked(label_NK: np.ndarray, score_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The labels as booleans and the scores, of one shape and finite, or ValueError."""
    label_NK, score_NK = np.asarray(label_NK) > 0, np.asarray(score_NK)
    if label_NK.ndim != 2 or label_NK.shape != score_NK.shape or not label_NK.size:
        raise ValueError(f"labels {label_NK.shape}, scores {score_NK.shape}: expected one (videos, classes)")
    if not np.isfinite(score_NK).all():
        raise ValueError("scores: expected finite numbers, got NaN or infinity")
    return label_NK, score_NK
