"""FrameExit: one frame after another, until a gate finds that the evidence so far is enough.

Ghodrati, Ehteshami Bejnordi, Habibian: "FrameExit: Conditional Early Exiting for Efficient Video Recognition", CVPR
2021. Official code: https://github.com/Qualcomm-AI-research/FrameExit (inference alone; read, not used).

`frame_exit` visits the frames in an order that halves the gaps, `frame_exit_online` as they come.

Departures from the paper, or what it leaves open:
- Gates learn in a stage of their own, as the authors say of theirs, here on videos that the classifiers have not learnt
  (`held_out`): on those that they have, errors are near nothing and every gate exits. The backbone has seen them.
  Optimiser and epochs, of which the paper says nothing, are in the YAML.
- Every step has a gate, as in Figure 2; the first one compares its evidence with none, which is 0 (the code exits
  after the first frame by the softmax's maximum: `first_threshold`). No gate follows the last frame.
- Step t is the t-th frame that is there: a video of fewer frames visits those that it has. After its last one a gate
  still runs, to no effect: online, that none follows is not known.
- The classifier of the step at which a video ends runs, not those before it: its answer depends on no other.
- Frames are the middles of segments, 224 of 256 pixels (the code's run from the first to the last, 224 of 224).
- Three controls that no paper has, by the same classifiers and without gates: k frames evenly spaced, k at random, and
  the first k visits, as the classifiers learnt. Those online are frame_exit's but for the last.

B videos, T frames (CHW: channels, height, width), N rows, M of one step, K classes, D features, H units of evidence.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adavid import (
    ActionSpace,
    AdaptiveMethod,
    BackboneSpec,
    CausalMethod,
    Chunk,
    FrameClassifier,
    FrameMLP,
    Ledger,
    MethodOutput,
    RowNorm,
    VideoBatch,
    blind_frames,
    cross_entropy,
    run_on_frames,
    run_on_rows,
)

LOOK, EXIT = 0, 1
RELEASED = (5, 0, 9, 2, 7, 4, 6, 3, 8, 1)  # of ten frames: the order that the public weights were trained in


def bisecting_order(num_frames: int) -> list[int]:
    """The algorithm of appendix A, from 0: the middle, both ends, then the middles of ever shorter intervals."""
    visits = [(num_frames + 1) // 2, 1, num_frames]
    num_intervals = 2
    while not set(visits) >= set(range(1, num_frames + 1)):
        edges = [1 + i * (num_frames - 1) // num_intervals for i in range(num_intervals + 1)]
        visits += [(low + high) // 2 for low, high in zip(edges, edges[1:], strict=False)]
        num_intervals *= 2
    return [visit - 1 for visit in dict.fromkeys(visits)]


class Gate(nn.Module):
    """From the evidence before and after a frame (N, H), in full precision: logits (N,), above 0 to go on."""

    def __init__(self, width: int, latest_first: bool = False, wide: int = 128, narrow: int = 64) -> None:
        super().__init__()
        self.latest_first = latest_first  # of the two: as the published gates read them
        self.embed = nn.Sequential(
            *(nn.Linear(width, wide), RowNorm(wide), nn.ReLU()),
            *(nn.Linear(wide, narrow), RowNorm(narrow), nn.ReLU()),
        )
        self.decide = nn.Linear(2 * narrow, 1)

    def forward(self, before_NH: Tensor, after_NH: Tensor) -> Tensor:
        with torch.autocast(after_NH.device.type, enabled=False):
            # One call, so that before and after share their statistics in training as they do in evaluation.
            both = self.embed(torch.cat([before_NH, after_NH])).chunk(2)
            return self.decide(torch.cat(both[::-1] if self.latest_first else both, 1))[:, 0]


class State(NamedTuple):
    """Where B videos stand."""

    evidence_BH: Tensor  # z_t: the largest so far
    num_B: Tensor  # frames looked at
    ended_B: Tensor


class Steps(NamedTuple):
    """All steps of B videos, in the order of the visits."""

    mask_BT: Tensor
    num_BT: Tensor  # frames looked at, this one included
    before_BTH: Tensor  # the evidence
    after_BTH: Tensor
    error_BT: Tensor  # cross-entropy of the step's classifier


class Exits(AdaptiveMethod):
    """Both forms: frames are visited one after another, here as they come.

    Args:
        num_classes: K.
        backbone: network and resolution.
        steps: T, each of which has its classifier and, but for the last, its gate.
        width: H of the evidence.
        beta: the larger, the greater the error at which a gate is to exit.
        dropout: before the linear heads.
        first_threshold: where the first classifier is surer a video ends, in place of the first gate; 0: that gate.
        choice: when a video ends: the "gates" say it; or "first", a control, after k visits.
        k: frames of the controls, all of a video that has no more.
    """

    test_time = ("choice", "k")

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec,
        steps: int = 10,
        width: int = 4096,
        beta: float = 1e-3,
        dropout: float = 0.5,
        first_threshold: float = 0.0,
        choice: Literal["gates", "first"] = "gates",
        k: int = 4,
    ) -> None:
        super().__init__()
        if steps < 2 or width < 1:
            raise ValueError(f"frame_exit: steps must be 2 or more and width positive, got {steps} and {width}")
        if beta <= 0 or not 0 <= first_threshold < 1 or k < 1:
            got = f"{beta}, {first_threshold} and {k}"
            raise ValueError(f"frame_exit: beta must be positive, first_threshold in [0, 1), k 1 or more, got {got}")
        self.spec, self.num_classes, self.steps, self.beta = backbone, num_classes, steps, beta
        self.choice: str = choice
        self.k, self.first_threshold = k, first_threshold
        self.order = list(range(steps))
        self.views = {"frames": backbone.view(steps)}
        self.actions = ActionSpace((str(backbone.size), "exit"), (backbone.size, 0))
        self.network = FrameClassifier(backbone, num_classes)
        self.network.head = nn.Identity()  # each step has its own
        self.mlp = FrameMLP(self.network.backbone.num_features, width)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Dropout(dropout), nn.Linear(width, num_classes)) for _ in range(steps)
        )
        self.gates = nn.ModuleList(Gate(width, first_threshold > 0) for _ in range(steps - 1))
        if first_threshold:
            self.gates[0] = nn.Identity()

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {"network": self.spec}

    # Accumulate features, exit

    def visits(self, mask_BT: Tensor) -> list[int]:
        """The frames in the order in which they are visited."""
        return [t for t in self.order if t < mask_BT.shape[1]]

    def init_state(self, num_videos: int) -> State:
        zeros_BH = self.heads[0][1].weight.new_zeros(num_videos, self.heads[0][1].in_features)  # type: ignore[index]
        count_B = torch.zeros(num_videos, dtype=torch.long, device=zeros_BH.device)
        return State(zeros_BH, count_B, count_B > 0)

    def step(self, chunk: Chunk, state: State, ledger: Ledger) -> tuple[State, Tensor, dict[str, Tensor]]:
        """Frame by frame, of the videos that have not ended; the batch's together."""
        mask_BT, forced_BT = chunk.mask_BT, chunk.forced_BT
        feature_BTD = self.features(chunk.frames_BTCHW, mask_BT & chunk.dense, ledger)
        action_BT = torch.full_like(mask_BT, EXIT, dtype=torch.long)
        for t in self.visits(mask_BT):
            look_B = mask_BT[:, t] & (~state.ended_B if forced_BT is None else forced_BT[:, t] == LOOK)
            if not chunk.dense:
                look_BT = torch.zeros_like(mask_BT)
                look_BT[:, t] = look_B
                feature_BTD = self.features(chunk.frames_BTCHW, look_BT, ledger)
            (video_N,) = look_B.nonzero(as_tuple=True)
            if len(video_N):
                state = self.take_in(feature_BTD[video_N, t], video_N, state, ledger)
            action_BT[look_B, t] = LOOK
        return state, action_BT.masked_fill(~mask_BT, -1), {}

    def features(self, frames_BTCHW: Tensor, seen_BT: Tensor, ledger: Ledger) -> Tensor:
        """Of the frames that are seen, (B, T, D), zero elsewhere."""
        zeros_BTD = frames_BTCHW.new_zeros(*seen_BT.shape, self.network.backbone.num_features)
        return run_on_frames(ledger, "network", self.network, frames_BTCHW, seen_BT, self.spec.size, zeros_BTD)

    def take_in(self, feature_ND: Tensor, video_N: Tensor, state: State, ledger: Ledger) -> State:
        """The evidence of one more frame of each of N videos; then their gates, where a frame may follow."""
        before_NH = state.evidence_BH[video_N]
        after_NH = torch.maximum(before_NH, ledger.run("mlp", self.mlp, feature_ND, owner_N=video_N))
        num_N = state.num_B[video_N] + 1
        ends_N = num_N >= (self.steps if self.choice == "gates" else self.k)
        for num in num_N.unique().tolist():
            (row_M,) = (num_N == num).nonzero(as_tuple=True)
            before_MH, after_MH, owner_M = before_NH[row_M], after_NH[row_M], video_N[row_M]
            if self.choice == "gates" and num == 1 and self.first_threshold:
                logits_MK = ledger.run("head", self.heads[0], after_MH, owner_N=owner_M)
                ends_N[row_M] = logits_MK.softmax(-1).amax(-1) > self.first_threshold
            elif self.choice == "gates" and num < self.steps:
                ends_N[row_M] = ledger.run("gate", self.gates[num - 1], before_MH, after_MH, owner_N=owner_M) < 0
        rows = (after_NH, num_N, ends_N)
        return State(*(of_B.index_put((video_N,), of_N) for of_B, of_N in zip(state, rows, strict=True)))

    def answer(self, state: State, ledger: Ledger) -> Tensor:
        """The classifier of as many frames as were looked at; without one, the first, of no evidence."""
        logits_BK = state.evidence_BH.new_zeros(len(state.num_B), self.num_classes)
        which_B = (state.num_B - 1).clamp(min=0)
        for which in which_B.unique().tolist():
            (video_N,) = (which_B == which).nonzero(as_tuple=True)
            logits_NK = ledger.run("head", self.heads[which], state.evidence_BH[video_N], owner_N=video_N)
            logits_BK = logits_BK.index_put((video_N,), logits_NK.to(logits_BK.dtype))
        return logits_BK

    def has_ended(self, state: State) -> Tensor:
        return state.ended_B

    # Training: classifiers, then gates

    def classifier_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """The mean error over all steps, each by its own classifier."""
        known = self.every_step(batch, ledger)
        return {"loss": known.error_BT[known.mask_BT].mean()}

    def gate_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """A gate learns to exit where the error at its step is at most eps_t = beta exp(t / 2)."""
        with torch.no_grad():
            known = self.every_step(batch, ledger)
        losses, exits = [], []
        for num in range(2 if self.first_threshold else 1, self.steps):
            is_step_BT = known.mask_BT & (known.num_BT == num)
            (video_N,) = is_step_BT.any(1).nonzero(as_tuple=True)
            rows = known.before_BTH[is_step_BT], known.after_BTH[is_step_BT]
            logit_N = ledger.run("gate", self.gates[num - 1], *rows, owner_N=video_N)
            goes_on_N = (known.error_BT[is_step_BT] > self.threshold(num)).to(logit_N.dtype)
            losses.append(F.binary_cross_entropy_with_logits(logit_N, goes_on_N, reduction="none"))
            exits.append(logit_N < 0)
        return {"loss": torch.cat(losses).mean(), "exits": torch.cat(exits).float().mean()}

    def threshold(self, num: int) -> float:
        """eps_t, which grows with the frames that were paid for."""
        return self.beta * math.exp(num / 2)

    def every_step(self, batch: VideoBatch, ledger: Ledger) -> Steps:
        """What would be known after every frame, if no gate were there."""
        visits = self.visits(batch.mask["frames"])
        feature_BTD = self.features(batch.frames["frames"], batch.mask["frames"], ledger)
        feature_BTD, mask_BT = feature_BTD[:, visits], batch.mask["frames"][:, visits]
        said_BTH = run_on_rows(ledger, "mlp", self.mlp, feature_BTD, chosen_BT=mask_BT)
        after_BTH = said_BTH.cummax(1).values
        before_BTH = torch.cat([torch.zeros_like(after_BTH[:, :1]), after_BTH[:, :-1]], 1)
        num_BT = mask_BT.cumsum(1)
        error_BT = after_BTH.new_zeros(mask_BT.shape)
        for num, head in enumerate(self.heads, start=1):
            is_step_BT = mask_BT & (num_BT == num)
            (video_N,) = is_step_BT.any(1).nonzero(as_tuple=True)
            logits_NK = ledger.run("head", head, after_BTH[is_step_BT], owner_N=video_N)
            error_BT = error_BT.masked_scatter(is_step_BT, cross_entropy(logits_NK, batch.label_BK[video_N]))
        return Steps(mask_BT, num_BT, before_BTH, after_BTH, error_BT)


class FrameExit(Exits):
    """FrameExit: the whole video is at hand, and its frames are visited in an order that halves the gaps.

    Args:
        order: "bisecting", the paper's; or "released", that of the public weights, which are of ten frames.
        choice: also "even" or "random", controls that look at k frames of the whole video.
        seed: of random frames.
    """

    def __init__(
        self,
        num_classes: int,
        order: Literal["bisecting", "released"] = "bisecting",
        choice: Literal["gates", "first", "even", "random"] = "gates",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, **kwargs)
        self.choice, self.seed = choice, seed
        if order == "released" and self.steps != len(RELEASED):
            raise ValueError(f"frame_exit: order=released is of {len(RELEASED)} frames, got {self.steps}")
        self.order = list(RELEASED) if order == "released" else bisecting_order(self.steps)

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        if forced is None and self.choice in ("even", "random"):
            chosen_BT = blind_frames(self.choice, self.k, mask_BT, batch.video_id, self.seed)
            forced = torch.where(chosen_BT, LOOK, EXIT)
        state = self.init_state(len(mask_BT))
        state, action_BT, aux = self.step(Chunk(frames_BTCHW, mask_BT, forced, dense), state, ledger)
        return MethodOutput(self.answer(state, ledger), action_BT, aux)


class FrameExitOnline(Exits, CausalMethod):
    """FrameExit online: frames as they come, and nothing is known of those to come."""
