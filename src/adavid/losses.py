"""What methods learn by: cross-entropy of a video's prediction, and of the prediction after every frame.

B videos, T frames, K classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from adavid.data.batch import VideoBatch


def cross_entropy(logits_BK: Tensor, label_BK: Tensor) -> Tensor:
    """Cross-entropy (B,) of each video; several labels share the target evenly."""
    return F.cross_entropy(logits_BK.float(), label_BK / label_BK.sum(-1, keepdim=True), reduction="none")


def loss_of_every_step(logits_BTK: Tensor, batch: VideoBatch, mask_BT: Tensor) -> Tensor:
    """Cross-entropy of the predictions after each frame, the mean over all frames of the batch."""
    label_BTK = batch.label_BK[:, None].expand_as(logits_BTK)
    return cross_entropy(logits_BTK[mask_BT], label_BTK[mask_BT]).mean()


def scores_from_logits(logits_BK: Tensor) -> Tensor:
    """The softmax in float32 (half-precision scores tie, and ties change the ranking), shape (B, K)."""
    return logits_BK.float().softmax(dim=-1)
