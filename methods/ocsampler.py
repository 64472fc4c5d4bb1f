"""OCSampler: a small network scores all frames once, and the k best of them are classified together.

Lin, Duan, Chen, Lin, Wang: "OCSampler: Compressing Videos to One Clip with Single-step Sampling", CVPR 2022. Official
code: https://github.com/MCG-NJU/OCSampler (no licence; read, not used).

Departures from the official code:
- The reward is the probability of the label, by which the set beats as many evenly spaced frames. The published one, a
  variant, is of the most probable class, whatever it is: it pays for errors that the classifier is sure of.
- log pi of a set is exact for every k (the code's exact form sums over k! orders). As there, no entropy is paid for:
  what its configuration says of it a hook overwrites with 0.
- The classifier, FrameExit's without exits, trains on random sets of all sizes, so that no policy's sets are new to it.
- Frames are the middles of segments (the code draws offsets, with a fixed seed, in evaluation too). The evenly spaced
  ones of the reward are those of all methods here: 0, 2, 4, 5, 7, 9 of ten (the code: 0, 1, 3, 5, 7, 9).
- Temporal shift moves an eighth of the channels each way, as TSM's (the code on ActivityNet: a tenth, tsm/10-10/...).
- The small network's frames are resized bilinearly with antialiasing (the code: single pixels of the crop, `nearest`).
- In the profile of frozen networks the scores are of each frame by itself: what a network with temporal shift says
  of a frame is no function of the frame, and is not kept.
- Two controls that no paper has: k frames evenly spaced and k at random, at which only the classifier looks.

B videos, T frames (CHW: channels, height, width), K classes, D features, H width of the evidence.
"""

from __future__ import annotations

from functools import partial
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
    VideoBatch,
    View,
    blind_frames,
    cross_entropy,
    draw_set,
    even_frames,
    random_order,
    run_on_frames,
    run_on_rows,
    run_on_videos,
    set_log_prob,
    top_frames,
)

LOOK, SKIP = 0, 1


class OCSampler(AdaptiveMethod):
    """OCSampler.

    Args:
        num_classes: K.
        backbone: the classifier's network and resolution.
        sampler: the small network, with temporal shift over the T frames or of single frames, and its resolution.
        candidates: T.
        k: frames of the set.
        width: H of the evidence.
        reward: "label", the probability of the label; or "confidence", of the most probable class, as published.
        choice: of the frames: "policy"; or "even" or "random", the controls, for which the small network does not run.
        seed: of random frames in evaluation.
        dropout: before the linear heads.
        nearest: the small network's frames are single pixels of the classifier's.
    """

    test_time = ("choice",)

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec,
        sampler: BackboneSpec,
        candidates: int = 10,
        k: int = 6,
        width: int = 4096,
        reward: Literal["label", "confidence"] = "label",
        choice: Literal["policy", "even", "random"] = "policy",
        seed: int = 0,
        dropout: float = 0.5,
        nearest: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= k <= 8 or width < 1:
            raise ValueError(f"ocsampler: k must lie in 1 to 8 and width be positive, got {k} and {width}")
        if sampler.num_segments not in (0, candidates):
            raise ValueError(f"ocsampler: sampler: expected a network of {candidates} frames, got {sampler.name}")
        self.specs, self.num_classes = {"network": backbone, "sampler": sampler}, num_classes
        self.k, self.reward, self.choice, self.seed, self.nearest = k, reward, choice, seed, nearest
        self.views: dict[str, View] = {"frames": backbone.view(candidates)}
        self.actions = ActionSpace((str(backbone.size), "skip"), (backbone.size, 0))
        self.network, self.sampler = FrameClassifier(backbone, num_classes), FrameClassifier(sampler, num_classes)
        self.network.head = self.sampler.head = nn.Identity()  # what is classified is the evidence of all frames
        self.mlp = FrameMLP(self.network.backbone.num_features, width)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, num_classes))
        self.scorer = nn.Linear(self.sampler.backbone.num_features, 1)
        nn.init.normal_(self.scorer.weight, std=0.01)

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return self.specs

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        mask_BT = batch.mask["frames"]
        chosen_BT = self.choose(batch, ledger)
        looks_BT = chosen_BT if forced is None else mask_BT & (forced == LOOK)
        said_BTH = self.look(batch, mask_BT if dense else looks_BT, ledger)
        action_BT = torch.where(looks_BT, LOOK, SKIP).masked_fill(~mask_BT, -1)
        return MethodOutput(self.classify(said_BTH, looks_BT, ledger), action_BT, {})

    # The policy: section 3.2

    def choose(self, batch: VideoBatch, ledger: Ledger) -> Tensor:
        """The k frames (B, T) of each video."""
        mask_BT = batch.mask["frames"]
        if self.choice != "policy":
            return blind_frames(self.choice, self.k, mask_BT, batch.video_id, self.seed)
        return top_frames(self.k, self.score(batch, ledger), mask_BT)

    def score(self, batch: VideoBatch, ledger: Ledger) -> Tensor:
        """Logits (B, T) of the frames, in full precision."""
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        spec, backbone = self.specs["sampler"], self.sampler.backbone
        if spec.num_segments:
            whole_BTCHW = frames_BTCHW[:, : spec.num_segments]  # beyond it is padding
            feature_BTD = run_on_videos(ledger, "sampler", backbone, whole_BTCHW, spec.size, nearest=self.nearest)
            beyond = mask_BT.shape[1] - spec.num_segments
            feature_BTD = torch.cat([feature_BTD, feature_BTD.new_zeros(len(mask_BT), beyond, feature_BTD.shape[2])], 1)
        else:
            zeros_BTD = frames_BTCHW.new_zeros(*mask_BT.shape, backbone.num_features)
            run = partial(run_on_frames, ledger, "sampler", backbone, nearest=self.nearest)
            feature_BTD = run(frames_BTCHW, mask_BT, spec.size, zeros_BTD)
        with torch.autocast(feature_BTD.device.type, enabled=False):
            feature_BTD = feature_BTD.to(self.scorer.weight.dtype)
            return run_on_rows(ledger, "sampler", self.scorer, feature_BTD, chosen_BT=mask_BT)[..., 0]

    # The classifier: the maximum of what the frames of a set say

    def look(self, batch: VideoBatch, seen_BT: Tensor, ledger: Ledger) -> Tensor:
        """What frames say (B, T, H), 0 where they are not seen."""
        frames_BTCHW, backbone = batch.frames["frames"], self.network.backbone
        zeros_BTD = frames_BTCHW.new_zeros(*seen_BT.shape, backbone.num_features)
        size = self.specs["network"].size
        feature_BTD = run_on_frames(ledger, "network", backbone, frames_BTCHW, seen_BT, size, zeros_BTD)
        return run_on_rows(ledger, "mlp", self.mlp, feature_BTD, chosen_BT=seen_BT)

    def classify(self, said_BTH: Tensor, set_BT: Tensor, ledger: Ledger) -> Tensor:
        """The prediction (B, K) from a set of frames."""
        evidence_BH = (said_BTH * set_BT[..., None]).amax(1)
        owner_B = torch.arange(len(evidence_BH), device=evidence_BH.device)
        return ledger.run("head", self.head, evidence_BH, owner_N=owner_B)

    # Training: the classifier, then the policy

    def classifier_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Cross-entropy of the prediction from a random set, of any size from a single frame to all."""
        mask_BT = batch.mask["frames"]
        size_B1 = (torch.rand_like(mask_BT[:, :1], dtype=torch.float32) * mask_BT.sum(1, keepdim=True)).long() + 1
        set_BT = mask_BT & (random_order(mask_BT) < size_B1)
        logits_BK = self.classify(self.look(batch, mask_BT, ledger), set_BT, ledger)
        return {"loss": cross_entropy(logits_BK, batch.label_BK).mean()}

    def policy_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Section 3.3: REINFORCE of the set as one decision; what evenly spaced frames earn is the baseline."""
        mask_BT, logit_BT = batch.mask["frames"], self.score(batch, ledger)
        set_BT = draw_set(self.k, logit_BT, mask_BT)
        with torch.no_grad():
            said_BTH = self.look(batch, mask_BT, ledger)
            drawn_B = self.worth(self.classify(said_BTH, set_BT, ledger), batch)
            even_B = self.worth(self.classify(said_BTH, even_frames(self.k, mask_BT), ledger), batch)
        log_prob_B = set_log_prob(logit_BT, set_BT, mask_BT)
        loss = -((drawn_B - even_B) * log_prob_B).mean()
        top = torch.where(mask_BT, logit_BT, -torch.inf).softmax(1).amax(1).mean()
        return {"loss": loss, "worth": drawn_B.mean(), "gain": (drawn_B - even_B).mean(), "top": top}

    def worth(self, logits_BK: Tensor, batch: VideoBatch) -> Tensor:
        """What a set is worth (B,): a probability."""
        prob_BK = logits_BK.float().softmax(-1)
        return prob_BK.amax(-1) if self.reward == "confidence" else (prob_BK * batch.label_BK).sum(-1)
