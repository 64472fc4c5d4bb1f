"""Uniform: every frame through one network, predictions averaged (TSN).

Wang, Xiong, Wang, Qiao, Lin, Tang, Van Gool: "Temporal Segment Networks", ECCV 2016; the baseline of AR-Net, section
4.1. It trains under its own (trivial) routing. The shared backbones of all methods are fine-tuned in this form.

Departures: none known; AR-Net's code trains it at a lower budget than AR-Net, here the budgets are equal.

B videos, T frames (CHW: channels, height, width), K classes.
"""

from __future__ import annotations

from torch import Tensor

from adavid import (
    ActionSpace,
    BackboneSpec,
    CausalMethod,
    Chunk,
    FrameClassifier,
    Ledger,
    UsedMean,
    no_frames,
    run_on_frames,
)


class Uniform(CausalMethod):
    """Average of frame-level predictions.

    Args:
        num_classes: K.
        backbone: network and resolution.
        num_frames: T.
        frame_size: pixels at which frames are read, before the device resizes them; 0 means the backbone's.
        dropout: before the linear head.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec,
        num_frames: int = 16,
        frame_size: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.spec, self.num_classes = backbone, num_classes
        self.views = {"frames": backbone.view(num_frames, frame_size)}
        self.actions = ActionSpace((str(backbone.size),), (backbone.size,))
        self.classifier = FrameClassifier(backbone, num_classes, dropout)

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {"classifier": self.spec}

    def init_state(self, num_videos: int) -> UsedMean:
        return no_frames(num_videos, self.num_classes, next(self.parameters()))

    def step(self, chunk: Chunk, state: UsedMean, ledger: Ledger) -> tuple[UsedMean, Tensor, dict[str, Tensor]]:
        frames_BTCHW, mask_BT = chunk.frames_BTCHW, chunk.mask_BT
        zeros_BTK = frames_BTCHW.new_zeros(*mask_BT.shape, self.num_classes)
        name, size = self.actions.names[0], self.spec.size
        logits_BTK = run_on_frames(ledger, name, self.classifier, frames_BTCHW, mask_BT, size, zeros_BTK)
        action_BT = mask_BT.long() - 1  # the only action, or -1 on padding
        return state.add(logits_BTK, mask_BT), action_BT, {"logits_BTK": logits_BTK}

    def answer(self, state: UsedMean, ledger: Ledger) -> Tensor:
        return state.mean_BK()
