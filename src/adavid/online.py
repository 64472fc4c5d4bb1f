"""Watching videos frame by frame, without looking ahead: an answer, a decision and a bill after every frame.

B videos, T frames (CHW: channels, height, width), K classes, A actions by kind.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from adavid.cost import Ledger
from adavid.method import AdaptiveMethod, CausalMethod, Chunk


class Observation(NamedTuple):
    """What is known of B videos after a frame."""

    logits_BK: Tensor  # the prediction from all frames so far, before softmax
    action_B: Tensor  # int64, the decision about this frame
    macs_B: Tensor  # int64, spent so far, this prediction and those before it included


class OnlinePredictor:
    """A causal method at work on B videos side by side.

    Its answer after frame n is the one that `method` gives to a batch of the first n frames. Its bill is that of this
    batch too, but for the part that turns a state into an answer, which runs after every frame, and for what a
    method with `lookahead` would look at ahead of its decisions.

    Args:
        method: in evaluation mode, on the device that the frames will be on.
        num_videos: B.

    Attributes:
        ledger: who has paid what.
        num_close_B: frames so far that the method looked at in the highest resolution that it has, int64.

    Raises:
        ValueError: the method is no `CausalMethod`.
    """

    def __init__(self, method: AdaptiveMethod, num_videos: int = 1) -> None:
        if not isinstance(method, CausalMethod):
            raise ValueError(f"{type(method).__name__} cannot run online: it is no CausalMethod")
        assert not method.training
        self.method = method
        self.ledger = Ledger(num_videos, method.device)
        self.num_close_B = torch.zeros(num_videos, dtype=torch.long, device=method.device)
        self._state = method.init_state(num_videos)

    @property
    def has_ended(self) -> bool:
        """Whether no further frame can change any answer."""
        return bool(torch.as_tensor(self.method.has_ended(self._state)).all())

    @torch.inference_mode()
    def observe(self, frames_BCHW: Tensor, mask_B: Tensor | None = None) -> Observation:
        """Take in one frame of each video, normalised, of the size of the method's view; False in the mask: none."""
        if mask_B is None:
            mask_B = torch.ones(len(frames_BCHW), dtype=torch.bool, device=frames_BCHW.device)
        chunk = Chunk(frames_BCHW[:, None], mask_B[:, None])
        self._state, action_B1, _ = self.method.step(chunk, self._state, self.ledger)
        self.ledger.reads.clear()  # a stream may have no end
        action_B = action_B1[:, 0]
        actions = self.method.actions
        is_close_A = torch.tensor([*actions.is_close, False], device=action_B.device)  # -1: padding
        self.num_close_B += is_close_A[actions.kind(action_B)]
        return Observation(self.method.answer(self._state, self.ledger), action_B, self.ledger.total_B)
