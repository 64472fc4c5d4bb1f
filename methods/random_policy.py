"""Random policy: AR-Net's networks, each frame's action drawn from the uniform distribution.

The baseline of AR-Net (Meng et al., ECCV 2020, section 4.1). It trains under its own routing: random actions, by
cross-entropy alone.

Departures from AR-Net's code:
- A skip drawn at a visited frame covers as many frames as AR-Net's does (the code lets skip-2 and skip-4 cover their
  own frame only).
- No policy network runs, so none is paid (the code charges it; the lowest resolution's network runs when drawn).
- In evaluation the actions follow from the seed and the video's id, so that a run can be repeated.

B videos, T frames (CHW: channels, height, width), K classes, A actions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from adavid import (
    ActionSpace,
    AdaptiveMethod,
    BackboneSpec,
    FrameClassifier,
    Ledger,
    MethodOutput,
    VideoBatch,
    by_size,
    draw_actions,
    hold_skips,
    mean_of_used,
    run_on_frames,
)


class RandomPolicy(AdaptiveMethod):
    """Random actions.

    Args:
        num_classes: K.
        backbones: one a resolution, from the highest to the lowest.
        skips: numbers of frames that a skipping action covers, its own included.
        num_frames: T.
        seed: of the actions in evaluation.
        dropout: before each linear head.
    """

    covers_A: Tensor

    def __init__(
        self,
        num_classes: int,
        backbones: Sequence[BackboneSpec],
        skips: Sequence[int] = (1, 2, 4),
        num_frames: int = 16,
        seed: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.specs, self.num_classes, self.seed = by_size("random_policy", backbones), num_classes, seed
        self.views = {"frames": backbones[0].view(num_frames)}
        self.actions = ActionSpace.of_resolutions([spec.size for spec in backbones], skips)
        self.register_buffer("covers_A", torch.tensor(self.actions.covers), persistent=False)
        self.branches = nn.ModuleDict(
            {size: FrameClassifier(spec, num_classes, dropout) for size, spec in self.specs.items()}
        )

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {f"branches.{size}": spec for size, spec in self.specs.items()}

    def draw(self, batch: VideoBatch) -> Tensor:
        """Actions (B, T) for every frame, -1 on padding."""
        mask_BT = batch.mask["frames"]
        seed = None if self.training else self.seed
        draw_BT = draw_actions(len(self.actions), mask_BT, batch.video_id, seed)
        return hold_skips(draw_BT, self.covers_A).masked_fill(~mask_BT, -1)

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        action_BT = self.draw(batch) if forced is None else forced.masked_fill(~mask_BT, -1)
        logits_BTK = frames_BTCHW.new_zeros(*mask_BT.shape, self.num_classes)
        for a, (name, branch) in enumerate(self.branches.items()):
            taken_BT = action_BT == a
            seen_BT = mask_BT if dense else taken_BT
            zeros_BTK = torch.zeros_like(logits_BTK)
            branch_BTK = run_on_frames(ledger, name, branch, frames_BTCHW, seen_BT, int(name), zeros_BTK)
            logits_BTK = logits_BTK + taken_BT[..., None] * branch_BTK
        used_BT = (action_BT >= 0) & (action_BT < len(self.branches))
        return MethodOutput(mean_of_used(logits_BTK, used_BT), action_BT, {})
