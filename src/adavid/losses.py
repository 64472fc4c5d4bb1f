"""What methods learn by: cross-entropy of a video's prediction, and of the prediction after every frame.

B videos, T frames (CHW: channels, height, width), K classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from adavid.cost import Ledger
from adavid.data.batch import VideoBatch
from adavid.networks.backbones import FrameClassifier
from adavid.routing import mean_of_used, run_on_frames


def cross_entropy(logits_BK: Tensor, label_BK: Tensor) -> Tensor:
    """Cross-entropy (B,) of each video; several labels share the target evenly."""
    return F.cross_entropy(logits_BK.float(), label_BK / label_BK.sum(-1, keepdim=True), reduction="none")


def consensus_loss(ledger: Ledger, name: str, network: FrameClassifier, batch: VideoBatch) -> Tensor:
    """Cross-entropy of the average of what a network says of all frames, as TSN has it (Wang et al., ECCV 2016).

    Args:
        ledger: who pays.
        name: of the network on the bill.
        network: logits (N, K) of frames (N, C, H, W).
        batch: its view "frames" is read.
    """
    frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
    zeros_BTK = frames_BTCHW.new_zeros(*mask_BT.shape, batch.label_BK.shape[1])
    logits_BTK = run_on_frames(ledger, name, network, frames_BTCHW, mask_BT, network.size, zeros_BTK)
    return cross_entropy(mean_of_used(logits_BTK, mask_BT), batch.label_BK).mean()


def loss_of_every_step(logits_BTK: Tensor, batch: VideoBatch, mask_BT: Tensor) -> Tensor:
    """Cross-entropy of the predictions after each frame, the mean over all frames of the batch."""
    label_BTK = batch.label_BK[:, None].expand_as(logits_BTK)
    return cross_entropy(logits_BTK[mask_BT], label_BTK[mask_BT]).mean()


def scores_from_logits(logits_BK: Tensor) -> Tensor:
    """The softmax in float32 (half-precision scores tie, and ties change the ranking), shape (B, K)."""
    return logits_BK.float().softmax(dim=-1)
