"""Frames as a network expects them that was trained on another normalisation than ImageNet's.

X leading axes, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adavid.data.transforms import IMAGENET_MEAN, IMAGENET_STD


class Renormalize(nn.Module):
    """Frames (X, 3, H, W), normalised by ImageNet's mean and deviation, by another one for all channels instead."""

    scale_311: Tensor
    shift_311: Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        mean_3, std_3 = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("scale_311", (std_3 / std)[:, None, None], persistent=False)
        self.register_buffer("shift_311", ((mean_3 - mean) / std)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_311 + self.shift_311
