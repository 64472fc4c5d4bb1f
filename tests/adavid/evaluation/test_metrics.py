import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from adavid.evaluation.metrics import (
    average_precision,
    classes_without_positives,
    first_labels,
    mean_average_precision,
    published_map,
    top1,
)
from adavid.losses import scores_from_logits


@pytest.mark.parametrize("decimals", [1, 2, 8])  # 1: nearly every score is tied
@pytest.mark.parametrize("num_labels", [1, 3])
def test_equals_sklearn_with_absent_and_one_video_classes(decimals: int, num_labels: int) -> None:
    rng = np.random.default_rng(decimals)
    score_NK = rng.random((200, 12)).round(decimals)
    label_NK = np.zeros((200, 12), np.uint8)
    for row in label_NK:
        row[rng.choice(10, num_labels, replace=False)] = 1
    label_NK[17, 10] = 1  # class 10 has one video, class 11 none
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn says that a class has no positives
        expected = average_precision_score(label_NK, score_NK, average="macro")
    assert mean_average_precision(label_NK, score_NK) == pytest.approx(expected, abs=1e-12)
    assert average_precision(label_NK, score_NK)[11] == 0
    assert classes_without_positives(label_NK, [f"class {k}" for k in range(12)]) == ["class 11"]


def test_closed_form() -> None:
    label_NK = np.array([[1], [0], [1], [0]])
    score_NK = np.array([[0.9], [0.8], [0.7], [0.1]])
    assert average_precision(label_NK, score_NK) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(label_NK, np.full((4, 1), 0.5)) == pytest.approx(0.5)  # one tie: the base rate


def test_top1_accepts_any_of_several_labels() -> None:
    label_NK = np.array([[1, 1, 0], [0, 0, 1], [0, 1, 0]])
    score_NK = np.array([[0.1, 0.8, 0.1], [0.6, 0.3, 0.1], [0.1, 0.5, 0.4]])
    assert top1(label_NK, score_NK) == pytest.approx(2 / 3)


def test_scores_are_float32_whatever_the_logits() -> None:
    logits_BK = torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16)
    score_BK = scores_from_logits(logits_BK)
    assert score_BK.dtype == torch.float32
    torch.testing.assert_close(score_BK[0, 0], 1 / (1 + torch.tensor(1.0).exp()))


def test_what_users_get_wrong_is_named() -> None:
    with pytest.raises(ValueError, match=r"labels \(4, 2\), scores \(4, 3\)"):
        mean_average_precision(np.ones((4, 2)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="finite"):
        mean_average_precision(np.ones((1, 1)), np.full((1, 1), np.nan))


# As the authors' code counts


def test_of_several_labels_the_lowest_number_is_the_first() -> None:
    label_NK = np.array([[0, 1, 1], [1, 0, 1], [0, 0, 1]])
    assert first_labels(label_NK).tolist() == [[False, True, False], [True, False, False], [False, False, True]]
    score_NK = np.array([[0.0, 1.0, 0.5], [1.0, 0.0, 0.9], [0.0, 0.0, 0.1]])
    assert mean_average_precision(label_NK, score_NK) == 1
    # The last class has the third video alone, which is ranked third.
    assert mean_average_precision(label_NK, score_NK, first_label_alone=True) == pytest.approx((1 + 1 + 1 / 3) / 3)


@pytest.mark.parametrize(
    ("label_N", "expected"), [([1, 0, 1, 0], (1 + 2 / 3) / 2), ([0, 1, 0, 1], (1 / 2 + 2 / 4) / 2)]
)
def test_equal_scores_in_the_order_of_the_videos(label_N: list[int], expected: float) -> None:
    label_NK, score_NK = np.array(label_N)[:, None], np.full((4, 1), 0.5)
    assert average_precision(label_NK, score_NK) == pytest.approx(0.5)
    assert average_precision(label_NK, score_NK, ties_in_order=True) == pytest.approx(expected)


def test_without_ties_the_order_makes_no_difference() -> None:
    rng = np.random.default_rng(0)
    label_NK, score_NK = rng.random((50, 6)) < 0.3, rng.permutation(300).reshape(50, 6) / 300
    expected = average_precision(label_NK, score_NK)
    assert average_precision(label_NK, score_NK, ties_in_order=True) == pytest.approx(expected, abs=1e-12)


def test_behind_an_absent_class_labels_meet_the_scores_of_others() -> None:
    label_NK = np.array([[1, 0, 0], [0, 0, 1]])  # nobody has the second class
    score_NK = np.array([[0.8, 0.15, 0.05], [0.1, 0.1, 0.8]])
    assert average_precision(label_NK, score_NK).tolist() == [1, 0, 1]
    # The third class is the second one now: its video has the lower of the second one's scores.
    assert average_precision(label_NK, score_NK, absent_renumber=True).tolist() == [1, 0.5, 0]


def test_what_is_published_has_all_three() -> None:
    label_NK = np.array([[1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]])
    score_NK = np.array([[0.8, 0.1, 0.0, 0.1], [0.1, 0.1, 0.7, 0.1], [0.1, 0.1, 0.2, 0.6]])
    # Labels 0, 1 and 2 of the videos in turn, on the scores of the classes 0, 1 (all equal) and 2.
    assert published_map(label_NK, score_NK) == pytest.approx((1 + 1 / 2 + 1 / 2 + 0) / 4)
    assert published_map(np.eye(3), np.eye(3)) == mean_average_precision(np.eye(3), np.eye(3)) == 1
