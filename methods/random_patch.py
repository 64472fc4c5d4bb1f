"""Random patch: AdaFocus's networks, each frame's patch at a random place.

The baseline of AdaFocus (Wang et al., ICCV 2021) for its policy. f_L and f_C train as AdaFocus's do, in its first and
its last stage, here both on random patches, of AdaFocus's places. No policy runs, so none is paid. With a single place,
in the middle of the frame, it is the other baseline, `center_patch`.

In evaluation the places follow from the seed and the video's id, so that a run can be repeated.

B videos, T frames (CHW: channels, height, width), K classes, D features, H hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adavid import (
    ActionSpace,
    AdaptiveMethod,
    BackboneSpec,
    Ledger,
    MethodOutput,
    PatchGrid,
    RecurrentClassifier,
    VideoBatch,
    build_backbone,
    draw_actions,
    loss_of_every_step,
    run_on_frames,
    run_on_rows,
    run_over_time,
)


class RandomPatch(AdaptiveMethod):
    """Random patches.

    Args:
        num_classes: K.
        glance: network that sees every frame as a whole.
        focus: network that sees a patch; fine-tuned on whole frames of this size, the size of the frames.
        num_frames: T.
        patch_size: pixels.
        places: rows and columns of places for the patch; 1 is the centre alone.
        hidden: width of the classifier's GRU.
        normalize: LayerNorm before the GRU, for networks without ImageNet weights.
        seed: of the places in evaluation.
        dropout: before the head.
    """

    def __init__(
        self,
        num_classes: int,
        glance: BackboneSpec,
        focus: BackboneSpec,
        num_frames: int = 16,
        patch_size: int = 128,
        places: int = 7,
        hidden: int = 1024,
        normalize: bool = False,
        seed: int = 0,
        dropout: float = 0.8,
    ) -> None:
        super().__init__()
        if min(places, hidden) < 1:
            raise ValueError("random_patch: places and hidden must be 1 or more")
        if glance.view(num_frames).clip > 1:
            raise ValueError(f"random_patch: glance: expected a network of frames, got {glance.name}")
        self.specs, self.seed = {"glance": glance, "focus": focus}, seed
        self.grid = PatchGrid(focus.size, patch_size, places)
        self.views = {"frames": focus.view(num_frames)}
        self.actions = ActionSpace((f"patch-{patch_size}",), (patch_size,), grid=self.grid)
        self.glance = build_backbone(glance.name)
        self.focus = build_backbone(focus.name)
        widths = (self.glance.num_features, self.focus.num_features)
        self.classifier = RecurrentClassifier(widths, hidden, num_classes, dropout, normalize)

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return self.specs

    def draw(self, batch: VideoBatch) -> Tensor:
        """Random places (B, T), -1 on padding."""
        mask_BT = batch.mask["frames"]
        seed = None if self.training else self.seed
        return draw_actions(len(self.grid), mask_BT, batch.video_id, seed).masked_fill(~mask_BT, -1)

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        action_BT = self.draw(batch) if forced is None else forced.masked_fill(~mask_BT, -1)
        features = []
        for name, backbone, size, corner_BT2 in (
            ("glance", self.glance, self.specs["glance"].size, None),
            ("focus", self.focus, self.grid.patch_size, torch.stack(self.grid.corner(action_BT.clip(0)), -1)),
        ):
            zeros_BTD = frames_BTCHW.new_zeros(*mask_BT.shape, backbone.num_features)
            features.append(run_on_frames(ledger, name, backbone, frames_BTCHW, mask_BT, size, zeros_BTD, corner_BT2))
        h_BH = self.classifier.init_state(len(mask_BT))
        memory_BTH = run_over_time(ledger, "classifier", self.classifier, torch.cat(features, -1), h_BH, mask_BT)
        owner_B = torch.arange(len(h_BH), device=h_BH.device)
        logits_BK = ledger.run("head", self.classifier.head, memory_BTH[:, -1], owner_N=owner_B)
        return MethodOutput(logits_BK, action_BT, {"memory_BTH": memory_BTH})

    def step_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Cross-entropy of the prediction after every frame."""
        mask_BT = batch.mask["frames"]
        memory_BTH = self(batch, ledger, dense=True).aux["memory_BTH"]
        logits_BTK = run_on_rows(ledger, "head", self.classifier.head, memory_BTH, chosen_BT=mask_BT)
        return {"loss": loss_of_every_step(logits_BTK, batch, mask_BT)}
