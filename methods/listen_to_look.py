"""Listen to Look, images alone: a recurrent query looks up, step by step, the frames that are worth a large network.

Gao, Oh, Grauman, Torresani: "Listen to Look: Action Recognition by Previewing Audio", CVPR 2020, its image-only form.
Official code: https://github.com/facebookresearch/Listen-to-Look (features alone; read, not used).

Departures from the official code:
- Evaluation is hard: each step's frame of most attention, and the large network runs on these k alone. As released, it
  takes the soft mean over what the large network says of all frames, which saves nothing.
- The first query follows from the mean of all glances, and no frame is closed to it (there a random one is, always).
- The glances' mean, not their interpolation, is the soft input; no weight normalisation; the last step's own head, an
  option there, is left out.
- `straight`, a variant: one-hot forward and soft backward, so that training looks as evaluation does.
- The classifier trains as uniform's in a stage of its own, and beside the query at a tenth of its rate, which there is
  that of the audio-visual form. New layers start as PyTorch's do (there N(0, .02)).
- Two controls that no paper has: k frames evenly spaced and k at random, at which only the large network looks.

B videos, T frames (CHW: channels, height, width), N rows or videos with a frame left, S steps, K classes, D features or
units of the LSTM, H width of keys.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from adavid import (
    ActionSpace,
    AdaptiveMethod,
    BackboneSpec,
    FrameClassifier,
    FrameMLP,
    Ledger,
    MethodOutput,
    RowNorm,
    VideoBatch,
    blind_frames,
    cross_entropy,
    mean_of_used,
    run_on_frames,
    run_on_rows,
)

LOOK, SKIP = 0, 1


class Attention(nn.Module):
    """How well keys (N, H) fit queries (N, H): logits (N,)."""

    def forward(self, query_NH: Tensor, key_NH: Tensor) -> Tensor:
        return (query_NH[:, None] @ key_NH[..., None])[:, 0, 0] / key_NH.shape[1] ** 0.5


class Attended(nn.Module):
    """The mean (N, D) of features (N, T, D) by their weights (N, T)."""

    def forward(self, weight_NT: Tensor, feature_NTD: Tensor) -> Tensor:
        return (weight_NT[:, None] @ feature_NTD)[:, 0]


class ListenToLook(AdaptiveMethod):
    """Listen to Look.

    Args:
        num_classes: K.
        classifier: the large network and its resolution.
        glance: the small network, which looks at every frame, and its resolution.
        num_frames: T.
        k: frames that are looked up in evaluation, one a step.
        steps: in training.
        width: H of keys and queries.
        hidden: width of the LSTM.
        attention: in training: "soft"; or "straight", one-hot forward and soft backward.
        choice: of the frames: "query"; or "even" or "random", the controls, for which the small network does not run.
        seed: of random frames in evaluation.
        dropout: before the linear head.
    """

    test_time = ("k", "choice")

    def __init__(
        self,
        num_classes: int,
        classifier: BackboneSpec,
        glance: BackboneSpec,
        num_frames: int = 16,
        k: int = 10,
        steps: int = 10,
        width: int = 512,
        hidden: int = 1024,
        attention: Literal["soft", "straight"] = "soft",
        choice: Literal["query", "even", "random"] = "query",
        seed: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if min(k, steps, width, hidden) < 1:
            raise ValueError("listen_to_look: k, steps, width and hidden must be 1 or more")
        self.specs, self.num_classes = {"classifier": classifier, "glance": glance}, num_classes
        self.k, self.steps, self.attention, self.choice, self.seed = k, steps, attention, choice, seed
        self.views = {"frames": classifier.view(num_frames)}
        self.actions = ActionSpace((str(classifier.size), "skip"), (classifier.size, 0))
        self.classifier = FrameClassifier(classifier, num_classes, dropout)
        self.glance = FrameClassifier(glance, num_classes)
        self.glance.head = nn.Identity()  # it only decides
        num_features = self.glance.backbone.num_features
        self.keys = FrameMLP(num_features, width)
        self.lstm = nn.LSTMCell(num_features, hidden)
        self.query = nn.Sequential(nn.Linear(hidden, hidden), RowNorm(hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.fits, self.attended = Attention(), Attended()

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return self.specs

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        mask_BT = batch.mask["frames"]
        chosen_BT = self.choose(batch, ledger)
        looks_BT = chosen_BT if forced is None else mask_BT & (forced == LOOK)
        feature_BTD = self.features("classifier", batch, mask_BT if dense else looks_BT, ledger)
        action_BT = torch.where(looks_BT, LOOK, SKIP).masked_fill(~mask_BT, -1)
        mean_BD = mean_of_used(feature_BTD * looks_BT[..., None], looks_BT)
        return MethodOutput(self.predict(mean_BD, ledger), action_BT, {})

    def choose(self, batch: VideoBatch, ledger: Ledger) -> Tensor:
        """The k frames (B, T) of each video."""
        mask_BT = batch.mask["frames"]
        if self.choice != "query":
            return blind_frames(self.choice, self.k, mask_BT, batch.video_id, self.seed)
        glance_BTD = self.features("glance", batch, mask_BT, ledger)
        return torch.stack(self.look_up(glance_BTD, mask_BT, self.k, "hard", ledger)).sum(0) > 0.5

    def features(self, name: str, batch: VideoBatch, seen_BT: Tensor, ledger: Ledger) -> Tensor:
        """What a network says of the frames that it sees (B, T, D), 0 of the others."""
        frames_BTCHW, network = batch.frames["frames"], self.get_submodule(name)
        assert isinstance(network, FrameClassifier)
        zeros_BTD = frames_BTCHW.new_zeros(*seen_BT.shape, network.backbone.num_features)
        return run_on_frames(ledger, name, network.backbone, frames_BTCHW, seen_BT, network.size, zeros_BTD)

    def predict(self, feature_BD: Tensor, ledger: Ledger) -> Tensor:
        """Logits (B, K)."""
        owner_B = torch.arange(len(feature_BD), device=feature_BD.device)
        return ledger.run("head", self.classifier.head, feature_BD, owner_N=owner_B)

    # Section 3.3: the query

    def look_up(self, glance_BTD: Tensor, mask_BT: Tensor, steps: int, attention: str, ledger: Ledger) -> list[Tensor]:
        """The weights (B, T) of the frames at each step; 0 where a video has no frame left.

        Args:
            steps: each of which closes the frame that it looks up.
            attention: "hard", all on one frame; "soft"; or "straight".
        """
        with torch.autocast(glance_BTD.device.type, enabled=False):
            glance_BTD = glance_BTD.to(self.lstm.weight_hh.dtype)
            key_BTH = run_on_rows(ledger, "keys", self.keys, glance_BTD, chosen_BT=mask_BT)
            open_BT, input_BD = mask_BT, mean_of_used(glance_BTD, mask_BT)
            h_BD = c_BD = glance_BTD.new_zeros(len(mask_BT), self.lstm.hidden_size)
            weights = []
            for _ in range(steps):
                (video_N,) = open_BT.any(1).nonzero(as_tuple=True)
                if len(video_N) == 0:
                    break
                rows = input_BD[video_N], (h_BD[video_N], c_BD[video_N])
                h_ND, c_ND = ledger.run("lstm", self.lstm, *rows, owner_N=video_N)
                query_NH = ledger.run("query", self.query, h_ND, owner_N=video_N)
                query_BTH = torch.zeros_like(key_BTH).index_put(
                    (video_N,), query_NH[:, None].expand_as(key_BTH[video_N])
                )
                fit_BT = run_on_rows(ledger, "attention", self.fits, query_BTH, key_BTH, chosen_BT=open_BT)
                weight_NT = fit_BT.masked_fill(~open_BT, -torch.inf)[video_N].softmax(1)
                best_N = weight_NT.argmax(1)
                one_NT = torch.zeros_like(weight_NT).scatter(1, best_N[:, None], 1.0)
                if attention != "soft":
                    weight_NT = one_NT if attention == "hard" else one_NT + weight_NT - weight_NT.detach()
                if attention == "hard":
                    next_ND = glance_BTD[video_N, best_N]
                else:
                    next_ND = ledger.run("attended", self.attended, weight_NT, glance_BTD[video_N], owner_N=video_N)
                input_BD = input_BD.index_put((video_N,), next_ND)
                h_BD, c_BD = h_BD.index_put((video_N,), h_ND), c_BD.index_put((video_N,), c_ND)
                weights.append(torch.zeros_like(key_BTH[..., 0]).index_put((video_N,), weight_NT))
                open_BT = open_BT.index_put((video_N, best_N), torch.zeros_like(best_N, dtype=torch.bool))
            return weights

    # Training

    def classifier_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Uniform's: cross-entropy of the prediction from all frames."""
        mask_BT = batch.mask["frames"]
        feature_BTD = self.features("classifier", batch, mask_BT, ledger)
        logits_BK = self.predict(mean_of_used(feature_BTD, mask_BT), ledger)
        return {"loss": cross_entropy(logits_BK, batch.label_BK).mean()}

    def query_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Cross-entropy of the prediction from the mean of what the steps attend to."""
        mask_BT = batch.mask["frames"]
        glance_BTD = self.features("glance", batch, mask_BT, ledger)
        feature_BTD = self.features("classifier", batch, mask_BT, ledger)
        weight_SBT = torch.stack(self.look_up(glance_BTD, mask_BT, self.steps, self.attention, ledger))
        mean_BT = weight_SBT.sum(0) / weight_SBT.detach().sum(0).sum(1, keepdim=True)
        owner_B = torch.arange(len(mask_BT), device=mask_BT.device)
        mean_BD = ledger.run("attended", self.attended, mean_BT.to(feature_BTD.dtype), feature_BTD, owner_N=owner_B)
        loss = cross_entropy(self.predict(mean_BD, ledger), batch.label_BK).mean()
        return {"loss": loss, "sharpness": weight_SBT.detach().amax(2).mean()}
