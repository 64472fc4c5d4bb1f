import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from adavid.evaluation.metrics import average_precision, classes_without_positives, mean_average_precision, top1
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
