"""LSTM: every frame through one network, its features through an LSTM, the steps' predictions averaged.

The baseline of AR-Net (Meng et al., ECCV 2020, section 4.1: "updates ResNet-50 predictions at the highest resolution by
hidden states and averages all predictions") and of LiteEval (Wu et al., 2019), which predicts from the last step:
`prediction=last`. It trains under its own routing: all frames.

Departures from AR-Net's code: the LSTM's cost is its true number of multiply-accumulates (the code approximates it by
the squared feature size).

B videos, T frames, N routed rows, K classes, D features, H hidden units.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from adavid.backbones import BackboneSpec, build_backbone
from adavid.cost import Ledger
from adavid.data import VideoBatch, View
from adavid.method import ActionSpace, AdaptiveMethod, MethodOutput
from adavid.routing import mean_of_used, run_on_frames


class LSTM(AdaptiveMethod):
    """Recurrent baseline.

    Args:
        num_classes: K.
        backbone: network and resolution.
        num_frames: T.
        hidden: width H of the LSTM.
        normalize: LayerNorm before the LSTM, for networks without ImageNet weights, as in methods/arnet.py.
        prediction: "average" of all steps (AR-Net) or the "last" step alone (LiteEval).
        dropout: before the linear head.
        pretrained: start from ImageNet.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec,
        num_frames: int = 16,
        hidden: int = 512,
        normalize: bool = False,
        prediction: Literal["average", "last"] = "average",
        dropout: float = 0.5,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        if hidden < 1:
            raise ValueError(f"lstm: hidden must be 1 or more, got {hidden}")
        self.spec, self.prediction, self.num_classes = backbone, prediction, num_classes
        self.views = {"frames": View(num_frames, backbone.size)}
        self.actions = ActionSpace((str(backbone.size),), (backbone.size,))
        self.backbone = build_backbone(backbone.name, pretrained)
        self.norm = nn.LayerNorm(self.backbone.num_features) if normalize else nn.Identity()
        self.lstm = nn.LSTMCell(self.backbone.num_features, hidden)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, num_classes))

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {"backbone": self.spec}

    def init_state(self, num_videos: int) -> tuple[Tensor, Tensor]:
        zeros_BH = self.lstm.weight_hh.new_zeros(num_videos, self.lstm.hidden_size)
        return zeros_BH, zeros_BH

    def step(
        self, feature_BD: Tensor, mask_B: Tensor, state: tuple[Tensor, Tensor], ledger: Ledger
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Take in one frame of each video; returns the next state and the prediction (B, K), zero on padding."""
        (video_N,) = mask_B.nonzero(as_tuple=True)
        h_BH, c_BH = state
        logits_BK = h_BH.new_zeros(len(mask_B), self.num_classes)
        if len(video_N):
            memory = (h_BH[video_N], c_BH[video_N])
            h_NH, c_NH = ledger.run("lstm", self.lstm, feature_BD[video_N], memory, owner_N=video_N)
            logits_NK = ledger.run("head", self.head, h_NH, owner_N=video_N)
            h_BH = h_BH.index_put((video_N,), h_NH.to(h_BH.dtype))
            c_BH = c_BH.index_put((video_N,), c_NH.to(c_BH.dtype))
            logits_BK = logits_BK.index_put((video_N,), logits_NK.to(logits_BK.dtype))
        return (h_BH, c_BH), logits_BK

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        feature_BTD = frames_BTCHW.new_zeros(*mask_BT.shape, self.lstm.input_size)
        name, size = self.actions.names[0], self.spec.size
        feature_BTD = run_on_frames(ledger, name, self.backbone, frames_BTCHW, mask_BT, size, feature_BTD)
        feature_BTD = self.norm(feature_BTD)
        state = self.init_state(len(mask_BT))
        logits = []
        for t in range(mask_BT.shape[1]):
            state, logits_BK = self.step(feature_BTD[:, t], mask_BT[:, t], state, ledger)
            logits.append(logits_BK)
        logits_BTK = torch.stack(logits, 1)
        if self.prediction == "average":
            answer_BK = mean_of_used(logits_BTK, mask_BT)
        else:
            last_B = mask_BT.sum(1) - 1
            answer_BK = logits_BTK[torch.arange(len(last_B), device=last_B.device), last_B]
        return MethodOutput(answer_BK, mask_BT.long() - 1, {})
