"""Multi-scale: every frame through the networks of all resolutions, all predictions averaged.

The baseline of AR-Net (Meng et al., ECCV 2020, section 4.1: "gathers the frame-level predictions by processing
different resolutions through our backbone framework"). It trains under its own routing: every network on every frame.

Departures: the networks are trained together on the averaged prediction; AR-Net's code evaluates AR-Net's own networks
with all of them on, the lowest resolution predicting from the LSTM's state, and counts the policy network once more (no
policy runs here, so none is paid).

B videos, T frames (CHW: channels, height, width), K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from adavid import (
    ActionSpace,
    BackboneSpec,
    CausalMethod,
    Chunk,
    FrameClassifier,
    Ledger,
    UsedMean,
    by_size,
    no_frames,
    run_on_frames,
)


class MultiScale(CausalMethod):
    """All resolutions of all frames.

    Args:
        num_classes: K.
        backbones: one a resolution, from the highest to the lowest.
        num_frames: T.
        dropout: before each linear head.
    """

    def __init__(
        self,
        num_classes: int,
        backbones: Sequence[BackboneSpec],
        num_frames: int = 16,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.specs, self.num_classes = by_size("multi_scale", backbones), num_classes
        self.views = {"frames": backbones[0].view(num_frames)}
        self.actions = ActionSpace(("+".join(self.specs),), (backbones[0].size,))
        self.branches = nn.ModuleDict(
            {size: FrameClassifier(spec, num_classes, dropout) for size, spec in self.specs.items()}
        )

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {f"branches.{size}": spec for size, spec in self.specs.items()}

    def init_state(self, num_videos: int) -> UsedMean:
        return no_frames(num_videos, self.num_classes, next(self.parameters()))

    def step(self, chunk: Chunk, state: UsedMean, ledger: Ledger) -> tuple[UsedMean, Tensor, dict[str, Tensor]]:
        frames_BTCHW, mask_BT = chunk.frames_BTCHW, chunk.mask_BT
        zeros_BTK = frames_BTCHW.new_zeros(*mask_BT.shape, self.num_classes)
        total_BTK = zeros_BTK
        for size, branch in self.branches.items():
            total_BTK = total_BTK + run_on_frames(ledger, size, branch, frames_BTCHW, mask_BT, int(size), zeros_BTK)
        return state.add(total_BTK / len(self.branches), mask_BT), mask_BT.long() - 1, {}

    def answer(self, state: UsedMean, ledger: Ledger) -> Tensor:
        return state.mean_BK()
