"""Accuracy: macro average precision and top-1, on the scores of all videos at once.

Shapes: N videos, B videos of a batch, K classes.
"""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import average_precision_score


def average_precision(
    label_NK: np.ndarray,
    score_NK: np.ndarray,
    *,
    first_label_alone: bool = False,
    ties_in_order: bool = False,
    absent_renumber: bool = False,
) -> np.ndarray:
    """Average precision of each class: scikit-learn's, equal scores forming one threshold.

    The three options are what the public code of AR-Net (Meng et al., ECCV 2020; `cal_map` in ops/utils.py) and of
    those that took it over, AdaFocus among them, does; published numbers are met by them alone.

    Args:
        label_NK: multi-hot labels, over the full set of classes.
        score_NK: scores, higher is more likely.
        first_label_alone: of each video only the label with the lowest number counts: their "mAP" on ActivityNet, where
            "mmAP" is of all labels.
        ties_in_order: every video is a threshold of its own: of equal scores, the earlier video's comes first. There it
            is whatever order the sort gives.
        absent_renumber: the labels that some video has are numbered anew, from 0, and the scores are not: behind a
        class
            that no video has, each is compared with another one's scores.

    Returns:
        float64 (K,), fractions; a class without positives has 0.

    Raises:
        ValueError: the shapes differ, or a score is not finite.
    """
    label_NK, score_NK = checked(label_NK, score_NK)
    if first_label_alone:
        label_NK = first_labels(label_NK)
    if absent_renumber:
        present_NK = label_NK[:, label_NK.any(axis=0)]
        label_NK = np.pad(present_NK, ((0, 0), (0, label_NK.shape[1] - present_NK.shape[1])))
    of_class = _average_precision_in_order if ties_in_order else average_precision_score
    ap_K = np.zeros(label_NK.shape[1])
    for k in np.flatnonzero(label_NK.any(axis=0)):
        ap_K[k] = of_class(label_NK[:, k], score_NK[:, k])
    return ap_K


def mean_average_precision(label_NK: np.ndarray, score_NK: np.ndarray, **options: bool) -> float:
    """The mean of `average_precision` over ALL classes, those without positives included (with 0)."""
    return float(average_precision(label_NK, score_NK, **options).mean())


def first_labels(label_NK: np.ndarray) -> np.ndarray:
    """The labels, bool (N, K), without all but the one with the lowest number of each video."""
    label_NK = np.asarray(label_NK) > 0
    return label_NK & (label_NK.cumsum(axis=1) == 1)


def published_map(label_NK: np.ndarray, score_NK: np.ndarray) -> float:
    """What AR-Net's and AdaFocus's code prints as mAP on ActivityNet: all three options of `average_precision`."""
    return mean_average_precision(label_NK, score_NK, first_label_alone=True, ties_in_order=True, absent_renumber=True)


def _average_precision_in_order(label_N: np.ndarray, score_N: np.ndarray) -> float:
    """The mean, over the positives by falling score, of the share of positives so far; equal scores in their order."""
    ranked_N = label_N[np.argsort(-score_N, kind="stable")]
    return float((ranked_N.cumsum() / np.arange(1, len(ranked_N) + 1))[ranked_N].mean())


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
