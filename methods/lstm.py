"""LSTM: every frame through one network or several, the features through an LSTM, its steps or the last one predict.

The baseline of AR-Net (Meng et al., ECCV 2020, section 4.1: "updates ResNet-50 predictions at the highest resolution by
hidden states and averages all predictions") and of LiteEval (Wu et al., 2021, section 4.2.1: "produces classification
scores using hidden states from the last time step"), which is `prediction=last`. With two networks it is LiteEval's
LSTM+CF ("concatenated coarse and fine features"), methods/lstm_cf.yaml. It trains under its own routing: all frames.

Departures from AR-Net's code: the LSTM's cost is its true number of multiply-accumulates (the code approximates it by
the squared feature size); dropout stands after the LSTM (there before it). From LiteEval's paper: the networks learn
too, as AR-Net's baseline does.

B videos, T frames (CHW: channels, height, width), N routed rows, K classes, D features, H hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from adavid import (
    ActionSpace,
    BackboneSpec,
    CausalMethod,
    Chunk,
    Ledger,
    UsedMean,
    build_backbone,
    by_size,
    no_frames,
    run_on_frames,
)


class State(NamedTuple):
    """Where the LSTM stands in each of B videos."""

    h_BH: Tensor
    c_BH: Tensor
    mean: UsedMean  # of the steps' predictions


class LSTM(CausalMethod):
    """Recurrent baseline.

    Args:
        num_classes: K.
        backbones: network and resolution; with several, from the highest resolution to the lowest.
        num_frames: T.
        hidden: width H of the LSTM.
        normalize: LayerNorm before the LSTM, for networks without ImageNet weights, as in methods/arnet.py.
        prediction: "average" of all steps (AR-Net) or the "last" step alone (LiteEval).
        dropout: before the linear head.
    """

    def __init__(
        self,
        num_classes: int,
        backbones: Sequence[BackboneSpec],
        num_frames: int = 16,
        hidden: int = 512,
        normalize: bool = False,
        prediction: Literal["average", "last"] = "average",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"lstm: hidden must be 1 or more, got {hidden}")
        self.specs, self.num_classes = by_size("lstm", backbones), num_classes
        self.prediction = prediction
        self.views = {"frames": backbones[0].view(num_frames)}
        self.actions = ActionSpace(("+".join(self.specs),), (backbones[0].size,))
        networks = {size: build_backbone(spec.name) for size, spec in self.specs.items()}
        self.widths = {size: network.num_features for size, network in networks.items()}
        self.backbones = nn.ModuleDict(networks)
        self.norm = nn.LayerNorm(sum(self.widths.values())) if normalize else nn.Identity()
        self.lstm = nn.LSTMCell(sum(self.widths.values()), hidden)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, num_classes))

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {f"backbones.{size}": spec for size, spec in self.specs.items()}

    def init_state(self, num_videos: int) -> State:
        zeros_BH = self.lstm.weight_hh.new_zeros(num_videos, self.lstm.hidden_size)
        return State(zeros_BH, zeros_BH, no_frames(num_videos, self.num_classes, zeros_BH))

    def step(self, chunk: Chunk, state: State, ledger: Ledger) -> tuple[State, Tensor, dict[str, Tensor]]:
        frames_BTCHW, mask_BT = chunk.frames_BTCHW, chunk.mask_BT
        features = []
        for size, backbone in self.backbones.items():
            zeros_BTD = frames_BTCHW.new_zeros(*mask_BT.shape, self.widths[size])
            features.append(run_on_frames(ledger, size, backbone, frames_BTCHW, mask_BT, int(size), zeros_BTD))
        feature_BTD = torch.cat(features, -1)
        for t in range(mask_BT.shape[1]):
            (video_N,) = mask_BT[:, t].nonzero(as_tuple=True)
            if len(video_N):
                state = self.take_in(feature_BTD[video_N, t], video_N, state, ledger)
        return state, mask_BT.long() - 1, {}

    def take_in(self, feature_ND: Tensor, video_N: Tensor, state: State, ledger: Ledger) -> State:
        """Take in one frame of the N videos that have one."""
        memory = (state.h_BH[video_N], state.c_BH[video_N])
        feature_ND = ledger.run("norm", self.norm, feature_ND, owner_N=video_N)
        h_NH, c_NH = ledger.run("lstm", self.lstm, feature_ND, memory, owner_N=video_N)
        mean = state.mean
        if self.prediction == "average":
            logits_NK = ledger.run("head", self.head, h_NH, owner_N=video_N)
            mean = mean.add_rows(video_N, logits_NK, mean.num_B1.new_ones(len(video_N), 1))
        h_BH = state.h_BH.index_put((video_N,), h_NH.to(state.h_BH.dtype))
        return State(h_BH, state.c_BH.index_put((video_N,), c_NH.to(state.c_BH.dtype)), mean)

    def answer(self, state: State, ledger: Ledger) -> Tensor:
        if self.prediction == "average":
            return state.mean.mean_BK()
        owner_B = torch.arange(len(state.h_BH), device=state.h_BH.device)
        return ledger.run("head", self.head, state.h_BH, owner_N=owner_B)
