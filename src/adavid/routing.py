"""Sending frames to branches: sparsely in evaluation, densely in training.

B videos, T frames (CHW: channels, height, width), S frames of a clip, N routed rows, K classes, A actions, D features,
H hidden units, X whatever shape a module's output has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from adavid.chunks import Rows
from adavid.cost import Ledger
from adavid.data.transforms import cut_patches, resize_frames


def run_on_frames(
    ledger: Ledger,
    name: str,
    module: nn.Module,
    frames_BTCHW: Tensor,
    chosen_BT: Tensor,
    size: int,
    out_BTX: Tensor,
    corner_BT2: Tensor | None = None,
    view: str = "frames",
    nearest: bool = False,
) -> Tensor:
    """Run `module` on the chosen frames of all videos, at `size` pixels, each billed to its video.

    In evaluation frames are gathered and resized chunk by chunk, as the ledger runs them.

    The whole frame is resized; or, with corners, it sees the patch of that size whose top left pixel is there.

    Where the view is of clips (B, T, S, C, H, W), a module gets whole clips if it `reads_clips`, else the frame in the
    middle of each.

    Args:
        view: that the frames are of.
        nearest: see `resize_frames`.

    Returns:
        `out_BTX` with the module's output, one row of X numbers a frame, at the chosen frames.
    """
    video_N, frame_N = chosen_BT.nonzero(as_tuple=True)
    if len(video_N) == 0:
        return out_BTX
    reads_clips, is_of_clips = getattr(module, "reads_clips", False), frames_BTCHW.ndim == 6
    if reads_clips and not is_of_clips:
        raise ValueError(f"{name}: reads clips, but the method's view is of frames, as its first network reads them")
    inner = frames_BTCHW.shape[2] // 2 if is_of_clips and not reads_clips else None
    ledger.read(view, video_N, frame_N, inner)

    def make(part: slice) -> Tensor:
        index = video_N[part], frame_N[part]
        rows = frames_BTCHW[index] if inner is None else frames_BTCHW[*index, inner]
        if corner_BT2 is None:
            return resize_frames(rows, size, nearest)
        return cut_patches(rows, corner_BT2[index], size)

    shape = frames_BTCHW.shape[2 if inner is None else 3 : -2]
    rows = Rows.of((len(video_N), *shape, size, size), frames_BTCHW, make)
    rows_NX = ledger.run(name, module, rows, owner_N=video_N)
    return out_BTX.index_put((video_N, frame_N), rows_NX.to(out_BTX.dtype))


def read_frames(
    ledger: Ledger,
    frames_BTCHW: Tensor,
    video_N: Tensor,
    frame_N: Tensor,
    size: int,
    nearest: bool = False,
    view: str = "frames",
) -> Tensor:
    """Frames (N, C, H, W) at `size` pixels, for what is run by hand: `run_on_frames` reads them itself."""
    ledger.read(view, video_N, frame_N)
    return resize_frames(frames_BTCHW[video_N, frame_N], size, nearest)


def run_on_videos(
    ledger: Ledger,
    name: str,
    module: nn.Module,
    frames_BTCHW: Tensor,
    size: int,
    corner_BT2: Tensor | None = None,
    view: str = "frames",
    nearest: bool = False,
) -> Tensor:
    """Run `module`, which reads whole videos, on all of their frames in one call; otherwise as `run_on_frames` does.

    Returns:
        the module's output, with videos on the leading axis.
    """
    num_videos, num_frames = frames_BTCHW.shape[:2]
    owner_B = torch.arange(num_videos, device=frames_BTCHW.device)
    frame_T = torch.arange(num_frames, device=frames_BTCHW.device)
    ledger.read(view, owner_B.repeat_interleave(num_frames), frame_T.repeat(num_videos))

    def make(part: slice) -> Tensor:
        some_BTCHW = frames_BTCHW[part]
        if corner_BT2 is None:
            return resize_frames(some_BTCHW, size, nearest)
        patch_NCHW = cut_patches(some_BTCHW.flatten(0, 1), corner_BT2[part].flatten(0, 1), size)
        return patch_NCHW.unflatten(0, some_BTCHW.shape[:2])

    clips = Rows.of((*frames_BTCHW.shape[:-2], size, size), frames_BTCHW, make)
    return ledger.run(name, module, clips, owner_N=owner_B)


def run_on_rows(ledger: Ledger, name: str, module: nn.Module, *inputs_BTX: Tensor, chosen_BT: Tensor) -> Tensor:
    """Run `module` on what the inputs hold for the chosen frames, in one call, each billed to its video.

    Returns:
        the module's outputs at the chosen frames (B, T, ...), zeros elsewhere.
    """
    video_N, frame_N = chosen_BT.nonzero(as_tuple=True)
    rows = (input_BTX[video_N, frame_N] for input_BTX in inputs_BTX)
    out_NX = ledger.run(name, module, *rows, owner_N=video_N)
    return out_NX.new_zeros(*chosen_BT.shape, *out_NX.shape[1:]).index_put((video_N, frame_N), out_NX)


def run_over_time(
    ledger: Ledger,
    name: str,
    cell: nn.Module,
    x_BTD: Tensor,
    h_BH: Tensor,
    used_BT: Tensor,
    seen_BT: Tensor | None = None,
) -> Tensor:
    """Run a recurrent cell over the used frames, one after another, each billed to its video.

    Frames that are seen, but not used, run and change nothing: how a method that skips frames routes densely.

    Returns:
        the state (B, T, H) after each frame; a frame that is not used leaves it as it was, at first `h_BH`.
    """
    seen_BT = used_BT if seen_BT is None else seen_BT
    states = []
    for t in range(used_BT.shape[1]):
        (video_N,) = seen_BT[:, t].nonzero(as_tuple=True)
        if len(video_N):
            before_NH = h_BH[video_N]
            after_NH = ledger.run(name, cell, x_BTD[video_N, t], before_NH, owner_N=video_N)
            h_BH = h_BH.index_put((video_N,), torch.where(used_BT[video_N, t, None], after_NH, before_NH))
        states.append(h_BH)
    return torch.stack(states, 1)


class UsedMean(NamedTuple):
    """The mean of the used frames' logits so far, of B videos; without a used frame all logits are zero."""

    total_BK: Tensor
    num_B1: Tensor

    def add(self, logits_BTK: Tensor, used_BT: Tensor) -> UsedMean:
        """Take in T more frames, their logits zero where not used; see `mean_of_used`."""
        return UsedMean(self.total_BK + logits_BTK.sum(1), self.num_B1 + used_BT.sum(1, keepdim=True))

    def add_rows(self, video_N: Tensor, logits_NK: Tensor, used_N1: Tensor) -> UsedMean:
        """Take in one more frame of each of N different videos; `used_N1` is 1 or 0 and may carry gradients."""
        total_BK = self.total_BK.index_add(0, video_N, used_N1 * logits_NK.to(self.total_BK.dtype))
        return UsedMean(total_BK, self.num_B1.index_add(0, video_N, used_N1))

    def mean_BK(self) -> Tensor:
        """The mean logits (B, K)."""
        # A straight-through 1 is 1 up to rounding: a floor of 1 would cut the gradient of a single used frame.
        return self.total_BK / self.num_B1.clamp(min=0.5)


def no_frames(num_videos: int, num_classes: int, like: Tensor) -> UsedMean:
    """The mean before the first frame, with the dtype and on the device of `like`."""
    return UsedMean(like.new_zeros(num_videos, num_classes), like.new_zeros(num_videos, 1))


def mean_of_used(logits_BTK: Tensor, used_BT: Tensor) -> Tensor:
    """Average the frames' logits (B, T, K), zero at unused frames, over the used ones.

    `used_BT` is 1 or 0 and may carry gradients. A video without a used frame gets zero logits: every class is
    equally likely.
    """
    return UsedMean(logits_BTK.sum(1), used_BT.sum(1, keepdim=True)).mean_BK()


def video_generator(seed: int, video_id: str) -> np.random.Generator:
    """Randomness of one video, where training is not: the same alone, in any batch and in any order."""
    digest = hashlib.sha256(f"{seed}/{video_id}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def draw_actions(num_actions: int, mask_BT: Tensor, video_ids: Sequence[str], seed: int | None) -> Tensor:
    """Uniformly random actions (B, T), from `video_generator`; without a seed from torch's, as in training."""
    if seed is None:
        return torch.randint(num_actions, mask_BT.shape, device=mask_BT.device)
    generators = [video_generator(seed, video_id) for video_id in video_ids]
    draws = np.stack([generator.integers(num_actions, size=mask_BT.shape[1]) for generator in generators])
    return torch.as_tensor(draws, device=mask_BT.device)


def draw_frames(num: int, mask_BT: Tensor, video_ids: Sequence[str], seed: int) -> Tensor:
    """`num` random frames (B, T) of each video, all where it has no more, from `video_generator`; fewer among more."""
    draws = np.stack([video_generator(seed, video_id).random(mask_BT.shape[1]) for video_id in video_ids])
    return top_frames(num, -torch.as_tensor(draws).to(mask_BT.device), mask_BT)


def even_frames(num: int, mask_BT: Tensor) -> Tensor:
    """`num` frames (B, T) of each video, evenly spaced: the middles of as many segments; all where it has no more."""
    place_BT, middle_BN = mask_BT.cumsum(1) - 1, segment_middles(num, mask_BT.sum(1, keepdim=True))
    return mask_BT & (place_BT[..., None] == middle_BN[:, None]).any(-1)


def segment_middles(num: int, num_B1: Tensor) -> Tensor:
    """The places (B, num), from 0, in the middle of as many segments of videos that have so many frames (B, 1)."""
    segment_N = torch.arange(num, device=num_B1.device)
    return (2 * segment_N + 1) * num_B1 // (2 * num)


def random_order(mask_BT: Tensor) -> Tensor:
    """As which (B, T), from 0, each frame comes in a random order of torch's; those that there are come first."""
    draw_BT = torch.rand_like(mask_BT, dtype=torch.float32).masked_fill(~mask_BT, 1.0)
    return draw_BT.argsort(1).argsort(1)


def blind_frames(how: str, num: int, mask_BT: Tensor, video_ids: Sequence[str], seed: int) -> Tensor:
    """A control's frames (B, T), which nobody looked for: "even" as `even_frames`, "random" as `draw_frames`."""
    assert how in ("even", "random"), how
    return even_frames(num, mask_BT) if how == "even" else draw_frames(num, mask_BT, video_ids, seed)


def top_frames(num: int, score_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """The `num` frames (B, T) of each video that have the highest scores; all where it has no more.

    Of equal ones the earlier goes first, on every device; fewer are among more.
    """
    falling_BT = score_BT.masked_fill(~mask_BT, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return mask_BT & (falling_BT.argsort(1) < num)


def hold_skips(draw_BT: Tensor, covers_A: Tensor) -> Tensor:
    """Let an action drawn at a visited frame stay in force for as many frames as it covers.

    Args:
        draw_BT: int64, an action for every frame, as if each were visited.
        covers_A: int64, frames that each action covers, its own included.
    """
    action_BT = draw_BT.clone()
    left_B = torch.zeros_like(draw_BT[:, 0])
    for t in range(draw_BT.shape[1]):
        held_B = left_B > 0
        if t > 0:
            action_BT[:, t] = torch.where(held_B, action_BT[:, t - 1], draw_BT[:, t])
        left_B = torch.where(held_B, left_B, covers_A[action_BT[:, t]]) - 1
    return action_BT
