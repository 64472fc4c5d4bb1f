"""Random frames: uniform's network on k frames drawn at random, their predictions averaged.

The reference for every choice of frames: what k frames are worth that nobody chose. It trains as uniform does, on all
T frames; k plays no part in it.

In evaluation the frames follow from the seed and the video's id, so that a run can be repeated; a smaller k draws among
the frames of a larger one.

Departures: none, there is no paper of it.

B videos, T frames (CHW: channels, height, width), K classes.
"""

from __future__ import annotations

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
    cross_entropy,
    draw_frames,
    mean_of_used,
    run_on_frames,
)

LOOK, SKIP = 0, 1


class RandomFrames(AdaptiveMethod):
    """Average of the predictions of random frames.

    Args:
        num_classes: K.
        backbone: network and resolution.
        num_frames: T.
        k: frames to draw of each video.
        frame_size: pixels at which frames are read, before the device resizes them; 0 means the backbone's.
        seed: of the frames in evaluation.
        dropout: before the linear head.
    """

    test_time = ("k",)

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec,
        num_frames: int = 16,
        k: int = 1,
        frame_size: int = 0,
        seed: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not 1 <= k <= num_frames:
            raise ValueError(f"random_frames: k must lie in 1 to {num_frames}, the frames that are read, got {k}")
        self.spec, self.num_classes, self.k, self.seed = backbone, num_classes, k, seed
        self.views = {"frames": backbone.view(num_frames, frame_size)}
        self.actions = ActionSpace((str(backbone.size), "skip"), (backbone.size, 0))
        self.classifier = FrameClassifier(backbone, num_classes, dropout)

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {"classifier": self.spec}

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        if forced is None:
            looks_BT = draw_frames(self.k, mask_BT, batch.video_id, self.seed)
        else:
            looks_BT = mask_BT & (forced == LOOK)
        seen_BT = mask_BT if dense else looks_BT
        zeros_BTK = frames_BTCHW.new_zeros(*mask_BT.shape, self.num_classes)
        name, size = self.actions.names[LOOK], self.spec.size
        logits_BTK = run_on_frames(ledger, name, self.classifier, frames_BTCHW, seen_BT, size, zeros_BTK)
        action_BT = torch.where(looks_BT, LOOK, SKIP).masked_fill(~mask_BT, -1)
        return MethodOutput(mean_of_used(logits_BTK * looks_BT[..., None], looks_BT), action_BT, {})

    def classification_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Uniform's: cross-entropy of the prediction from all frames."""
        all_BT = torch.full_like(batch.mask["frames"], LOOK, dtype=torch.long)
        logits_BK = self(batch, ledger, all_BT, dense=True).logits_BK
        return {"loss": cross_entropy(logits_BK, batch.label_BK).mean()}
