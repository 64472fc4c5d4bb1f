"""SCSampler: a small network looks at every frame, and the k frames of which it is surest go to a large one.

Korbar, Tran, Torresani: "SCSampler: Sampling Salient Clips from Video for Efficient Action Recognition", ICCV 2019, of
frames of one network's resolution: the form that the papers compare with, made and run by AR-Net's authors (Meng et
al., ECCV 2020, Table 2; https://github.com/mengyuest/AR-Net, read, not used). The published sampler reads clips as they
are compressed, and sound.

Departures from AR-Net's code:
- Both networks start from the shared backbones. The large one trains as uniform's, in a stage of its own, and is frozen
  while the small one learns (the code: 50 epochs elsewhere).
- The ranking loss, a variant, has a margin of .1. Without one, as in the code, a network that says the same of every
  frame has a loss of 0.
- Equal frames: the earlier one goes first (the code leaves it to the sort). Several labels share the target evenly.
- Two controls that no paper has: k frames evenly spaced and k at random, at which only the large network looks.
The code evaluates on 224 pixels by default, but counts the small network's cost at 84, as its training has it: 84 here.

B videos, T frames (CHW: channels, height, width), K classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from adavid import (
    ActionSpace,
    AdaptiveMethod,
    BackboneSpec,
    FrameClassifier,
    Ledger,
    MethodOutput,
    VideoBatch,
    blind_frames,
    cross_entropy,
    mean_of_used,
    run_on_frames,
    top_frames,
)

LOOK, SKIP = 0, 1


class SCSampler(AdaptiveMethod):
    """SCSampler.

    Args:
        num_classes: K.
        classifier: the large network and its resolution.
        sampler: the small network, which looks at every frame, and its resolution.
        num_frames: T.
        k: frames that the large network looks at, all of a video that has no more.
        choice: which: "salient"; or "even" or "random", the controls, for which the small network does not run.
        margin: of the ranking loss, in logits.
        seed: of random frames in evaluation.
        dropout: before each linear head.
    """

    test_time = ("k", "choice")

    def __init__(
        self,
        num_classes: int,
        classifier: BackboneSpec,
        sampler: BackboneSpec,
        num_frames: int = 16,
        k: int = 10,
        choice: Literal["salient", "even", "random"] = "salient",
        margin: float = 0.1,
        seed: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if k < 1:
            raise ValueError(f"scsampler: k must be 1 or more, got {k}")
        if margin < 0:
            raise ValueError(f"scsampler: margin must not be negative, got {margin}")
        self.specs, self.num_classes = {"classifier": classifier, "sampler": sampler}, num_classes
        self.k, self.choice, self.margin, self.seed = k, choice, margin, seed
        self.views = {"frames": classifier.view(num_frames)}
        self.actions = ActionSpace((str(classifier.size), "skip"), (classifier.size, 0))
        self.classifier = FrameClassifier(classifier, num_classes, dropout)
        self.sampler = FrameClassifier(sampler, num_classes, dropout)

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return self.specs

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        mask_BT = batch.mask["frames"]
        chosen_BT = self.choose(batch, ledger)
        looks_BT = chosen_BT if forced is None else mask_BT & (forced == LOOK)
        logits_BTK = self.logits("classifier", batch, mask_BT if dense else looks_BT, ledger)
        action_BT = torch.where(looks_BT, LOOK, SKIP).masked_fill(~mask_BT, -1)
        return MethodOutput(mean_of_used(logits_BTK * looks_BT[..., None], looks_BT), action_BT, {})

    def choose(self, batch: VideoBatch, ledger: Ledger) -> Tensor:
        """The k frames (B, T) of each video: section 3.1's saliency is the largest logit of any class."""
        mask_BT = batch.mask["frames"]
        if self.choice != "salient":
            return blind_frames(self.choice, self.k, mask_BT, batch.video_id, self.seed)
        saliency_BT = self.logits("sampler", batch, mask_BT, ledger).amax(-1)
        return top_frames(self.k, saliency_BT, mask_BT)

    def logits(self, name: str, batch: VideoBatch, seen_BT: Tensor, ledger: Ledger) -> Tensor:
        """What a network says (B, T, K) of the frames that it sees, zero of the others."""
        frames_BTCHW, network, size = batch.frames["frames"], self.get_submodule(name), self.specs[name].size
        zeros_BTK = frames_BTCHW.new_zeros(*seen_BT.shape, self.num_classes)
        return run_on_frames(ledger, name, network, frames_BTCHW, seen_BT, size, zeros_BTK)

    # Training: the large network by itself, then the small one

    def classifier_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Uniform's: cross-entropy of the prediction from all frames."""
        return self.loss_of("classifier", batch, ledger)

    def action_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """AC, section 3.2: the sampler is a classifier of the video, from all frames."""
        return self.loss_of("sampler", batch, ledger)

    def loss_of(self, name: str, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        mask_BT = batch.mask["frames"]
        logits_BK = mean_of_used(self.logits(name, batch, mask_BT, ledger), mask_BT)
        return {"loss": cross_entropy(logits_BK, batch.label_BK).mean()}

    def ranking_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """SAL-RANK, section 3.2: of two frames the one that the large network finds more of the label in goes first."""
        mask_BT = batch.mask["frames"]
        share_B1K = (batch.label_BK / batch.label_BK.sum(1, keepdim=True))[:, None]
        with torch.no_grad():
            of_large_BT = (self.logits("classifier", batch, mask_BT, ledger) * share_B1K).sum(-1)
        of_small_BT = (self.logits("sampler", batch, mask_BT, ledger) * share_B1K).sum(-1)
        is_pair_BTT = (mask_BT[:, :, None] & mask_BT[:, None]).triu(diagonal=1)
        target_BTT = torch.where(of_large_BT[:, :, None] > of_large_BT[:, None], 1.0, -1.0)
        ahead_BTT = target_BTT * (of_small_BT[:, :, None] - of_small_BT[:, None])
        loss_BTT = (self.margin - ahead_BTT).clamp(min=0) * is_pair_BTT
        num_pairs = is_pair_BTT.sum().clamp(min=1)
        in_order = ((ahead_BTT > 0) & is_pair_BTT).sum() / num_pairs
        return {"loss": loss_BTT.sum() / num_pairs, "in_order": in_order}
