"""Recurrent networks over the frames' features: a classifier of videos, a policy that decides about each frame.

N rows, T frames, D features, H hidden units, K classes, A actions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Head(nn.Sequential):
    """Dropout and a linear layer, in full precision."""

    def forward(self, h_NH: Tensor) -> Tensor:
        with torch.autocast(h_NH.device.type, enabled=False):
            return super().forward(h_NH)


class RecurrentClassifier(nn.Module):
    """The features of several networks side by side through a GRU, in full precision; `head` predicts from its state.

    Shapes: features (N, D) and state (N, H) in, the next state out; `head`: state in, logits (N, K) out.

    Args:
        num_features: of each network; D is their sum.
        hidden: H.
        num_classes: K.
        dropout: before the head.
        normalize: LayerNorm of each network's features, for networks without ImageNet weights.
    """

    def __init__(
        self, num_features: Sequence[int], hidden: int, num_classes: int, dropout: float, normalize: bool = False
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(num) if normalize else nn.Identity() for num in num_features)
        self.num_features, self.hidden = tuple(num_features), hidden
        self.gru = nn.GRUCell(sum(num_features), hidden)
        self.head = Head(nn.Dropout(dropout), nn.Linear(hidden, num_classes))

    def forward(self, feature_ND: Tensor, h_NH: Tensor) -> Tensor:
        with torch.autocast(feature_ND.device.type, enabled=False):
            parts = feature_ND.to(h_NH.dtype).split(self.num_features, -1)
            x_ND = torch.cat([norm(part) for norm, part in zip(self.norms, parts, strict=True)], -1)
            return self.gru(x_ND, h_NH)

    def init_state(self, num_videos: int) -> Tensor:
        """The state (B, H) before the first frame."""
        return self.gru.weight_hh.new_zeros(num_videos, self.hidden)


class RecurrentPolicy(nn.Module):
    """An LSTM over the features and a linear layer to the logits of actions, in full precision.

    Shapes: feature (N, D) and state (h, c), each (N, H), in; logits (N, A) and the next state out.

    Args:
        num_features: D.
        hidden: H.
        num_actions: A.
        normalize: LayerNorm of the features, for networks without ImageNet weights.
        dropout: of the features.
    """

    def __init__(
        self, num_features: int, hidden: int, num_actions: int, normalize: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(num_features) if normalize else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTMCell(num_features, hidden)
        self.fc = nn.Linear(hidden, num_actions)

    def forward(self, feature_ND: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        with torch.autocast(feature_ND.device.type, enabled=False):
            x_ND = self.dropout(self.norm(feature_ND.to(self.fc.weight.dtype)))
            h_NH, c_NH = self.lstm(x_ND, state)
            return self.fc(h_NH), (h_NH, c_NH)
