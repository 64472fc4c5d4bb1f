"""What a frame says, to be pooled by its maximum over any number of frames.

N rows, D features, H width of the evidence.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RowNorm(nn.BatchNorm1d):
    """BatchNorm of rows (N, H); a row by itself, which has no deviation, takes the running statistics."""

    def forward(self, x_NH: Tensor) -> Tensor:
        if len(x_NH) > 1:
            return super().forward(x_NH)
        return F.batch_norm(x_NH, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class FrameMLP(nn.Module):
    """FrameExit's MLP (Ghodrati et al., CVPR 2021): features (N, D) in, evidence (N, H), 0 or more, out.

    In full precision. The evidence of several frames is their maximum, that of none 0.
    """

    def __init__(self, num_features: int, width: int) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(num_features, width), RowNorm(width)

    def forward(self, feature_ND: Tensor) -> Tensor:
        with torch.autocast(feature_ND.device.type, enabled=False):
            return self.norm(self.fc(feature_ND.to(self.fc.weight.dtype))).relu()
