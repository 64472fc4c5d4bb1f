"""Cascade: networks such as uniform's at rising cost, until one of them is confident. Nothing is trained to decide.

The reference that a learned policy has to beat. Cascades of classifiers that stop where one is sure: Viola, Jones:
"Rapid Object Detection using a Boosted Cascade of Simple Features", CVPR 2001; by the confidence of a network's
softmax, among others Teerapittayanon, McDanel, Kung: "BranchyNet", ICPR 2016.

A ladder has rungs, each a resolution and a number of frames, from one frame at the lowest resolution to all frames at
the highest. At every rung the prediction is uniform's, the average of that resolution's network over the rung's
frames; the video stops there once the prediction's largest probability is above a threshold. A rung's frames are
evenly spaced among those of the next rung at the same resolution, so that none is run twice.

The networks train as uniform's do, each by its own loss and its own gradient norm: they share a stage, in which they
see the same frames, and nothing else. Ladder and threshold play no part in it: one training serves all of them. Under
a budget that is equal for all methods the networks share what uniform spends on one, and each is the weaker for it; the
variant `longer` trains each as uniform's.

Departures: none, there is no paper of exactly this.

B videos, T frames (CHW: channels, height, width), N frames of a rung, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

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
    cross_entropy,
    mean_of_used,
    run_on_frames,
)


class Rung(NamedTuple):
    """A resolution in pixels and a number of frames: `32x4`."""

    size: int
    frames: int

    def __str__(self) -> str:
        return f"{self.size}x{self.frames}"


def whole_ladder(sizes: Collection[int], num_frames: int) -> tuple[Rung, ...]:
    """A rung for every resolution, from one frame at the lowest to all at the highest, growing by equal factors."""
    steps = max(1, len(sizes) - 1)
    first = 0 if len(sizes) > 1 else 1  # a single rung takes all frames
    return tuple(Rung(size, round(num_frames ** (i / steps))) for i, size in enumerate(sorted(sizes), first))


def parse_ladder(text: str, sizes: Collection[int], num_frames: int) -> tuple[Rung, ...]:
    """The rungs of `24x1-32x4-64x16`, the cheapest first.

    Raises:
        ValueError: it is not of that form, asks for a resolution or for frames that there are not, or does not rise.
    """
    if not re.fullmatch(r"\d+x\d+(-\d+x\d+)*", text):
        raise ValueError(f"cascade: ladder: expected rungs of pixels x frames, such as 24x1-64x8, got '{text}'")
    ladder = tuple(Rung(*map(int, rung.split("x"))) for rung in text.split("-"))
    for rung in ladder:
        if rung.size not in sizes:
            known = ", ".join(map(str, sorted(sizes)))
            raise ValueError(f"cascade: ladder: no network for {rung}, expected one of {known} pixels")
        if not 1 <= rung.frames <= num_frames:
            raise ValueError(f"cascade: ladder: expected 1 to {num_frames} frames, as many as are read, got {rung}")
    if list(ladder) != sorted(set(ladder)):
        raise ValueError(f"cascade: ladder: expected rising resolutions, or more frames at the same, got '{text}'")
    return ladder


def spread(pool_BT: Tensor, num: int) -> Tensor:
    """`num` of a pool's frames (B, T), the centres of as many equal segments; all where it has no more."""
    num_B1 = pool_BT.sum(1, keepdim=True)
    centre_BN = (2 * torch.arange(num, device=pool_BT.device) + 1) * num_B1 // (2 * num)
    rank_BT = pool_BT.cumsum(1) - 1
    return pool_BT & (rank_BT[:, :, None] == centre_BN[:, None]).any(-1)


class Cascade(AdaptiveMethod):
    """Confidence cascade.

    Args:
        num_classes: K.
        backbones: one a resolution, from the highest to the lowest.
        num_frames: T.
        ladder: rungs, pixels x frames, the cheapest first: "24x1-32x4-64x16"; empty has one for every resolution, from
            one frame at the lowest to all at the highest.
        threshold: a video stops once its largest probability is above this; 0 stops at the first rung, 1 never.
        dropout: before each linear head.
    """

    test_time = ("ladder", "threshold")

    def __init__(
        self,
        num_classes: int,
        backbones: Sequence[BackboneSpec],
        num_frames: int = 16,
        ladder: str = "",
        threshold: float = 0.9,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 <= threshold <= 1:
            raise ValueError(f"cascade: threshold must lie in [0, 1], got {threshold}")
        self.specs, self.num_classes, self.threshold = by_size("cascade", backbones), num_classes, threshold
        self.views = {"frames": backbones[0].view(num_frames)}
        sizes = [spec.size for spec in backbones]
        self.ladder = parse_ladder(ladder, sizes, num_frames) if ladder else whole_ladder(sizes, num_frames)
        rungs = self.ladder[::-1]  # a frame's action is the highest rung that has looked at it
        self.actions = ActionSpace((*map(str, rungs), "skip"), (*(rung.size for rung in rungs), 0))
        self.networks = nn.ModuleDict(
            {size: FrameClassifier(spec, num_classes, dropout) for size, spec in self.specs.items()}
        )

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {f"networks.{size}": spec for size, spec in self.specs.items()}

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        """Rung after rung, each on the videos that are still going; forced, up to the highest rung of the decisions."""
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        skip = len(self.ladder)
        zeros_BTK = frames_BTCHW.new_zeros(*mask_BT.shape, self.num_classes)
        logits = {rung.size: zeros_BTK for rung in self.ladder}
        known = {rung.size: torch.zeros_like(mask_BT) for rung in self.ladder}
        if dense:
            logits |= {int(size): self.look(int(size), frames_BTCHW, mask_BT, zeros_BTK, ledger) for size in self.specs}
            known = {size: mask_BT for size in logits}
        action_BT = torch.full_like(mask_BT, skip, dtype=torch.long).masked_fill(~mask_BT, -1)
        last_B = None if forced is None else forced.masked_fill(~mask_BT | (forced < 0), skip).amin(1)
        goes_B, logits_BK = mask_BT.any(1), zeros_BTK[:, 0]
        for n, (rung, frames_BT) in enumerate(zip(self.ladder, self.frames_of_rungs(mask_BT), strict=True)):
            size, action = rung.size, skip - 1 - n
            if last_B is not None:
                goes_B = last_B <= action
            used_BT = frames_BT & goes_B[:, None]
            logits[size] = self.look(size, frames_BTCHW, used_BT & ~known[size], logits[size], ledger)
            known[size] = known[size] | used_BT
            action_BT = action_BT.masked_fill(used_BT, action)
            mean_BK = mean_of_used(logits[size] * used_BT[..., None], used_BT)
            logits_BK = torch.where(goes_B[:, None], mean_BK, logits_BK)
            if last_B is None:
                goes_B = goes_B & ~self.is_sure(mean_BK)
        return MethodOutput(logits_BK, action_BT, {})

    def frames_of_rungs(self, mask_BT: Tensor) -> list[Tensor]:
        """The frames (B, T) of each rung, those of one resolution inside each other."""
        pools, chosen = dict[int, Tensor](), list[Tensor]()
        for rung in reversed(self.ladder):
            pools[rung.size] = spread(pools.get(rung.size, mask_BT), rung.frames)
            chosen.append(pools[rung.size])
        return chosen[::-1]

    def look(self, size: int, frames_BTCHW: Tensor, chosen_BT: Tensor, logits_BTK: Tensor, ledger: Ledger) -> Tensor:
        """The logits (B, T, K) with those of the chosen frames, by the network of one resolution."""
        network = self.networks[str(size)]
        return run_on_frames(ledger, str(size), network, frames_BTCHW, chosen_BT, size, logits_BTK)

    def is_sure(self, logits_BK: Tensor) -> Tensor:
        return logits_BK.float().softmax(-1).amax(-1) > self.threshold

    # Training: several of uniform's side by side

    def classification_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """The sum of the networks' losses, each uniform's: cross-entropy of its own average over all frames."""
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        zeros_BTK = frames_BTCHW.new_zeros(*mask_BT.shape, self.num_classes)
        terms = {}
        for size in self.specs:
            logits_BTK = self.look(int(size), frames_BTCHW, mask_BT, zeros_BTK, ledger)
            terms[size] = cross_entropy(mean_of_used(logits_BTK, mask_BT), batch.label_BK).mean()
        return {"loss": torch.stack([*terms.values()]).sum(), **terms}

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        """Each network by its own norm: a norm of all would let the large gradients of one shorten another's."""
        assert self.stage is not None
        if self.stage.clip_norm:
            for network in self.networks.values():
                nn.utils.clip_grad_norm_(network.parameters(), self.stage.clip_norm)
