"""Visiting the frames of videos one after another, in an order of the method's own: a frame a step, none twice.

What such a method answers depends on the order, so its decisions are coded by step: `action_BT` says as which a frame
was visited, from 0.

B videos, T frames (CHW: channels, height, width), N videos that take a step, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adavid.cost import Ledger
from adavid.networks.backbones import FrameClassifier
from adavid.routing import run_on_frames


class Looks:
    """What a network says of the frames that B videos have looked at: each is computed, and paid for, once.

    Args:
        ledger: who pays.
        name: of the network on the bill.
        network: its features are what a look gives.
        frames_BTCHW: of the videos.

    Attributes:
        feature_BTD: of the frames looked at; 0 elsewhere.
        seen_BT: which these are.
    """

    def __init__(self, ledger: Ledger, name: str, network: FrameClassifier, frames_BTCHW: Tensor) -> None:
        self._ledger, self._name, self._network, self._frames_BTCHW = ledger, name, network, frames_BTCHW
        shape = frames_BTCHW.shape[:2]
        self.feature_BTD = frames_BTCHW.new_zeros(*shape, network.backbone.num_features)
        self.seen_BT = torch.zeros(shape, dtype=torch.bool, device=frames_BTCHW.device)

    def at(self, look_BT: Tensor) -> Tensor:
        """The features (B, T, D), with those of more frames."""
        new_BT, backbone, size = look_BT & ~self.seen_BT, self._network.backbone, self._network.size
        self.seen_BT = self.seen_BT | new_BT
        self.feature_BTD = run_on_frames(
            self._ledger, self._name, backbone, self._frames_BTCHW, new_BT, size, self.feature_BTD
        )
        return self.feature_BTD


class Walk:
    """The frames that B videos visit one after another.

    Args:
        looks: what a visit gives.
        mask_BT: the frames that there are.
        never: the code of a frame that is not visited.
        forced_BT: decisions from outside, as `action_BT` has them: frames are visited by rising code, those of one code
            in their order in the video. None: where the method says.

    Attributes:
        open_BT: the frames that are there and have not been visited.
        action_BT: the decisions so far.
    """

    def __init__(
        self,
        looks: Looks,
        mask_BT: Tensor,
        never: int,
        forced_BT: Tensor | None = None,
    ) -> None:
        self._looks = looks
        self._num_B = torch.zeros_like(mask_BT[:, 0], dtype=torch.long)
        self._left_BT: Tensor | None = None  # of those that are forced
        self.open_BT = mask_BT.clone()
        self.action_BT = torch.full_like(mask_BT, never, dtype=torch.long).masked_fill(~mask_BT, -1)
        if forced_BT is not None:
            self.action_BT = forced_BT.masked_fill(~mask_BT, -1)
            self._left_BT = mask_BT & (forced_BT != never)

    def goes_on(self, video_N: Tensor, wish_N: Tensor) -> Tensor:
        """Which of N videos visit one more frame: those that wish to, or are forced to, and have one left."""
        if self._left_BT is not None:
            return self._left_BT[video_N].any(1)
        return wish_N & self.open_BT[video_N].any(1)

    def visit(self, video_N: Tensor, target_N: Tensor, ahead_N: Tensor) -> tuple[Tensor, Tensor]:
        """Each of N videos, that go on, visits the frame that it wants, or the nearest open one.

        Args:
            video_N: which videos.
            target_N: the frame (index of T) that each wants.
            ahead_N: which way the nearest open one is looked for first; where there is none, it is the other way.

        Returns:
            the frames visited (N,) and their features (N, D).
        """
        if self._left_BT is None:
            frame_N = nearest(self.open_BT[video_N], target_N, ahead_N)
            self.action_BT[video_N, frame_N] = self._num_B[video_N]
        else:
            frame_N = first(self._left_BT[video_N], self.action_BT[video_N])
            self._left_BT[video_N, frame_N] = False
        self.open_BT[video_N, frame_N] = False
        self._num_B[video_N] += 1
        look_BT = torch.zeros_like(self.open_BT)
        look_BT[video_N, frame_N] = True
        return frame_N, self._looks.at(look_BT)[video_N, frame_N]


def frame_at(place_N: Tensor, num_N: Tensor) -> Tensor:
    """The frame (N,) at a place, 0 to 1, in a video of so many frames (N,); outside of it the first or last."""
    return torch.minimum((place_N.clamp(min=0) * num_N).long(), num_N - 1)


def nearest(open_NT: Tensor, target_N: Tensor, ahead_N: Tensor) -> Tensor:
    """The open frame (N,) that is the target, or the nearest one ahead of it, or behind; else the nearest other one."""
    num_frames = open_NT.shape[1]
    place_T = torch.arange(num_frames, device=open_NT.device)
    gap_NT = (place_T - target_N[:, None]) * torch.where(ahead_N, 1, -1)[:, None]
    rank_NT = torch.where(gap_NT >= 0, gap_NT, num_frames - gap_NT)
    return rank_NT.masked_fill(~open_NT, 3 * num_frames).argmin(1)


def first(left_NT: Tensor, code_NT: Tensor) -> Tensor:
    """The frame (N,) that is left with the lowest code, of several the earliest."""
    num_frames = left_NT.shape[1]
    place_T = torch.arange(num_frames, device=left_NT.device)
    rank_NT = code_NT * num_frames + place_T
    return rank_NT.masked_fill(~left_NT, torch.iinfo(rank_NT.dtype).max).argmin(1)


def in_order(chosen_BT: Tensor, never: int) -> Tensor:
    """Decisions (B, T) that visit the chosen frames in their order in the video."""
    return torch.where(chosen_BT, chosen_BT.cumsum(1) - 1, never)
