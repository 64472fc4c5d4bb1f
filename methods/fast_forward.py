"""FastForward: an agent reads a frame, says whether it has seen enough, and if not, how far to jump.

Fan, Xu, Zhu, Yan, Ge, Yang: "Watching a Small Portion could be as Good as Watching All: Towards Efficient Video
Classification", IJCAI 2018. There is no public code, and its text was not at hand: what follows is the method as later
papers and recollection have it, and a choice where they say nothing.

Recalled: a recurrent network over the frames that it reads; a fast-forward head over jumps both ways; an adaptive-stop
head; a reward at the end, by the classification; a learned baseline.
Choices:
- Jumps are in candidates: 2 and 1 back, 1, 2, 4 and 8 ahead. A jump past the end stops.
- The reward is the probability of the label, less `price` for each frame.
- One LSTM. Its stop head starts at -2 (an even one would see two frames and never learn to go on), both heads are paid
  for entropy, and the LSTM learns on random frames in their order in a stage of its own before the policy.
- No frame is read twice: the nearest that has not been, first in the direction of the jump.
- Controls that no paper has: the same LSTM on k frames, evenly spaced or at random, in their order in the video.
`fast_forward_online` has no jumps back: frames are read as they come, and nothing is known of those to come.

B videos, T frames (CHW: channels, height, width), N videos that read a frame, M of them that go on or decide, K
classes, D features, H units of the LSTM, J jumps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

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
    Ledger,
    Looks,
    MethodOutput,
    VideoBatch,
    Walk,
    blind_frames,
    consensus_loss,
    cross_entropy,
    draw_set,
    in_order,
    modal_share,
)

LOOK, SKIP = 0, 1  # online, where frames are read in their order
ENTROPY_WEIGHT = 0.01
STOP_AT_FIRST = -2.0  # the stop head's bias


class Decision(NamedTuple):
    """What is decided after a frame of N videos; in training what was drawn, else the likeliest."""

    video_N: Tensor
    stops_N: Tensor
    jump_N: Tensor  # an index of the jumps
    log_prob_N: Tensor  # of both, but that a video that stops does not jump
    entropy_N: Tensor  # of both heads, in nats
    expected_N: Tensor  # the reward, in training


class State(NamedTuple):
    """Where B videos stand."""

    h_BH: Tensor
    c_BH: Tensor
    num_B: Tensor  # frames read
    wait_B: Tensor  # online: frames that pass before the next one is read
    ended_B: Tensor


class Reader(AdaptiveMethod):
    """Both forms: what is read, remembered, decided and learnt.

    Args:
        num_classes: K.
        network: and its resolution.
        num_frames: T.
        steps: frames that are read at most.
        hidden: H.
        jumps: in candidates.
        price: of a frame, in probability of the label.
        choice: of the frames: the "agent" has it; or a control.
        k: frames of the controls.
        dropout: before the network's linear head, in its fine-tuning.
    """

    test_time: ClassVar[tuple[str, ...]] = ("choice", "k")

    def __init__(
        self,
        num_classes: int,
        network: BackboneSpec,
        num_frames: int = 64,
        steps: int = 16,
        hidden: int = 1024,
        jumps: Sequence[int] = (-2, -1, 1, 2, 4, 8),
        price: float = 0.02,
        choice: str = "agent",
        k: int = 4,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if steps < 2 or 0 in jumps or not jumps:
            raise ValueError(f"fast_forward: steps must be 2 or more and jumps none of 0, got {steps} and {[*jumps]}")
        if not 1 <= k <= steps:
            raise ValueError(f"fast_forward: k must lie in 1 to {steps}, the steps, got {k}")
        self.spec, self.num_classes, self.steps, self.price = network, num_classes, steps, price
        self.jumps, self.choice, self.k = list(jumps), choice, k
        self.views = {"frames": network.view(num_frames)}
        self.network = FrameClassifier(network, num_classes, dropout)
        self.lstm = nn.LSTMCell(self.network.backbone.num_features, hidden)
        self.stop, self.jump = nn.Linear(hidden, 1), nn.Linear(hidden, len(self.jumps))
        self.predict, self.expect = nn.Linear(hidden, num_classes), nn.Linear(hidden, 1)
        nn.init.constant_(self.stop.bias, STOP_AT_FIRST)

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {"network": self.spec}

    @property
    def leads(self) -> bool:
        """Whether the agent has the choice, as it has wherever it learns."""
        return self.choice == "agent" or self.stop.training

    def init_state(self, num_videos: int) -> State:
        zeros_BH = self.predict.weight.new_zeros(num_videos, self.lstm.hidden_size)
        zeros_B = torch.zeros(num_videos, dtype=torch.long, device=zeros_BH.device)
        return State(zeros_BH, zeros_BH, zeros_B, zeros_B, zeros_B > 0)

    def answer(self, state: State, ledger: Ledger) -> Tensor:
        owner_B = torch.arange(len(state.h_BH), device=state.h_BH.device)
        return ledger.run("predict", self.predict, state.h_BH, owner_N=owner_B)

    def read(self, feature_ND: Tensor, video_N: Tensor, state: State, ledger: Ledger) -> State:
        """One more frame of each of N videos."""
        with torch.autocast(feature_ND.device.type, enabled=False):
            rows = feature_ND.to(state.h_BH.dtype), (state.h_BH[video_N], state.c_BH[video_N])
            h_NH, c_NH = ledger.run("lstm", self.lstm, *rows, owner_N=video_N)
        return state._replace(
            h_BH=state.h_BH.index_put((video_N,), h_NH),
            c_BH=state.c_BH.index_put((video_N,), c_NH),
            num_B=state.num_B.index_put((video_N,), state.num_B[video_N] + 1),
        )

    def decide(self, video_N: Tensor, state: State, ledger: Ledger) -> Decision:
        """Whether N videos stop, and how far they jump."""
        h_NH = state.h_BH[video_N]
        with torch.autocast(h_NH.device.type, enabled=False):
            stop_N = ledger.run("stop", self.stop, h_NH, owner_N=video_N)[:, 0]
            jump_NJ = ledger.run("jump", self.jump, h_NH, owner_N=video_N)
            expected_N = torch.zeros_like(stop_N)
            if self.stop.training:
                expected_N = ledger.run("expect", self.expect, h_NH.detach(), owner_N=video_N)[:, 0]
        if self.stop.training and len(video_N):  # torch draws nothing from no distribution
            stops_N = torch.rand_like(stop_N) < stop_N.sigmoid()
            drawn_N = torch.distributions.Categorical(logits=jump_NJ).sample()
        else:
            stops_N, drawn_N = stop_N > 0, jump_NJ.argmax(1)
        log_jump_NJ = jump_NJ.log_softmax(1)
        log_stop_N = torch.where(stops_N, F.logsigmoid(stop_N), F.logsigmoid(-stop_N))
        log_prob_N = log_stop_N + torch.where(stops_N, 0.0, log_jump_NJ.gather(1, drawn_N[:, None])[:, 0])
        of_stop_N = F.binary_cross_entropy_with_logits(stop_N, stop_N.sigmoid(), reduction="none")
        entropy_N = of_stop_N - (log_jump_NJ.exp() * log_jump_NJ).sum(1)
        return Decision(video_N, stops_N, drawn_N, log_prob_N, entropy_N, expected_N)

    # Training: the network, the LSTM on random frames, then all but the network

    def network_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Uniform's."""
        return {"loss": consensus_loss(ledger, "network", self.network, batch)}

    def warmup_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Cross-entropy of the predictions after every frame, of random ones in their order in the video."""
        mask_BT = batch.mask["frames"]
        look_BT = draw_set(self.steps, torch.zeros_like(mask_BT, dtype=self.predict.weight.dtype), mask_BT)
        frames_BTCHW, state, errors = batch.frames["frames"], self.init_state(len(mask_BT)), []
        feature_BTD = Looks(ledger, "network", self.network, frames_BTCHW).at(look_BT)
        for t in range(look_BT.shape[1]):
            (video_N,) = look_BT[:, t].nonzero(as_tuple=True)
            state = self.read(feature_BTD[video_N, t], video_N, state, ledger)
            logits_NK = ledger.run("predict", self.predict, state.h_BH[video_N], owner_N=video_N)
            errors.append(cross_entropy(logits_NK, batch.label_BK[video_N]))
        return {"loss": torch.cat(errors).mean()}

    def agent_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Cross-entropy where it stops, and REINFORCE for both heads with a learned baseline."""
        output = self(batch, ledger)
        num_B, made = output.aux.pop("num_B"), Decision(**output.aux)
        error, num_videos = cross_entropy(output.logits_BK, batch.label_BK).mean(), len(num_B)
        prob_BK = output.logits_BK.detach().float().softmax(-1)
        reward_B = (prob_BK * batch.label_BK).sum(1) - self.price * num_B
        gain_N = reward_B[made.video_N].to(made.expected_N.dtype) - made.expected_N
        policy = -(gain_N.detach() * made.log_prob_N).sum() / num_videos
        expectation, entropy = gain_N.square().sum() / num_videos, made.entropy_N.sum() / num_videos
        loss = error + policy + expectation - ENTROPY_WEIGHT * entropy
        terms = {"error": error, "reward": reward_B.mean(), "expectation": expectation, "frames": num_B.float().mean()}
        return {"loss": loss, **terms, "entropy": made.entropy_N.mean(), "modal": modal_share(made.jump_N)}


def traced(state: State, decisions: Sequence[Decision]) -> dict[str, Tensor]:
    """What the loss needs: of all decisions, one after another."""
    columns = zip(Decision._fields, zip(*decisions, strict=True), strict=False)
    return {"num_B": state.num_B} | {name: torch.cat(parts) for name, parts in columns}


class FastForward(Reader):
    """FastForward on a whole video.

    Args:
        choice: of the frames: the "agent" has it; or "even" or "random", controls that read k frames.
        seed: of random frames.
    """

    def __init__(
        self, num_classes: int, choice: Literal["agent", "even", "random"] = "agent", seed: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(num_classes, choice=choice, **kwargs)
        self.seed = seed
        names, size = [f"look {step}" for step in range(1, self.steps + 1)], self.spec.size
        self.actions = ActionSpace((*names, "skip"), (*(size for _ in names), 0))

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        if forced is None and not self.leads:
            forced = in_order(blind_frames(self.choice, self.k, mask_BT, batch.video_id, self.seed), self.steps)
        looks = Looks(ledger, "network", self.network, frames_BTCHW)
        if dense:
            looks.at(mask_BT)
        walk, state, num_B = Walk(looks, mask_BT, self.steps, forced), self.init_state(len(mask_BT)), mask_BT.sum(1)
        decisions, jump_J = list[Decision](), torch.tensor(self.jumps, device=mask_BT.device)
        (video_N,) = mask_BT.any(1).nonzero(as_tuple=True)
        target_N, ahead_N, num_steps = torch.zeros_like(video_N), torch.ones_like(video_N, dtype=torch.bool), 0
        while len(video_N):
            frame_N, feature_ND = walk.visit(video_N, target_N, ahead_N)
            state, num_steps = self.read(feature_ND, video_N, state, ledger), num_steps + 1
            wish_N, target_N = torch.full_like(ahead_N, num_steps < self.steps), frame_N
            if self.leads and num_steps < self.steps:
                decision = self.decide(video_N, state, ledger)
                decisions.append(decision)
                target_N = frame_N + jump_J[decision.jump_N]
                wish_N = ~decision.stops_N & (target_N < num_B[video_N])
            (row_M,) = walk.goes_on(video_N, wish_N).nonzero(as_tuple=True)
            ahead_N = (target_N >= frame_N)[row_M]
            video_N, target_N = video_N[row_M], target_N[row_M]
        return MethodOutput(self.answer(state, ledger), walk.action_BT, traced(state, decisions))


class FastForwardOnline(Reader, CausalMethod):
    """FastForward on frames as they come: it jumps ahead alone.

    Args:
        choice: of the frames: the "agent" has it; or a control that reads k, the "first" or every (T // k)-th, "even".
    """

    def __init__(self, num_classes: int, choice: Literal["agent", "even", "first"] = "agent", **kwargs: Any) -> None:
        super().__init__(num_classes, choice=choice, **kwargs)
        if min(self.jumps) < 1:
            raise ValueError(f"fast_forward_online: jumps must lead ahead, got {self.jumps}")
        self.control_stride = max(self.views["frames"].num_frames // self.k, 1) if choice == "even" else 1
        self.actions = ActionSpace((str(self.spec.size), "skip"), (self.spec.size, 0))

    def step(self, chunk: Chunk, state: State, ledger: Ledger) -> tuple[State, Tensor, dict[str, Tensor]]:
        """Frame by frame, of the videos that wait for none; the batch's together."""
        mask_BT, forced_BT = chunk.mask_BT, chunk.forced_BT
        looks, decisions = Looks(ledger, "network", self.network, chunk.frames_BTCHW), list[Decision]()
        if chunk.dense:
            looks.at(mask_BT)
        look_BT, jump_J = torch.zeros_like(mask_BT), torch.tensor(self.jumps, device=mask_BT.device)
        for t in range(mask_BT.shape[1]):
            is_due_B = ~state.ended_B & (state.wait_B == 0) if forced_BT is None else forced_BT[:, t] == LOOK
            state = state._replace(wait_B=(state.wait_B - mask_BT[:, t].long()).clamp(min=0))
            look_BT[:, t] = mask_BT[:, t] & is_due_B
            (video_N,) = look_BT[:, t].nonzero(as_tuple=True)
            state = self.read(looks.at(look_BT)[video_N, t], video_N, state, ledger)
            most = self.steps if self.leads else self.k
            ends_N, wait_N = state.num_B[video_N] >= most, torch.full_like(video_N, self.control_stride - 1)
            if self.leads:
                (row_M,) = (state.num_B[video_N] < self.steps).nonzero(as_tuple=True)
                video_M = video_N[row_M]
                decision = self.decide(video_M, state, ledger)
                decisions.append(decision)
                ends_N = ends_N.index_put((row_M,), decision.stops_N)
                wait_N = wait_N.index_put((row_M,), jump_J[decision.jump_N] - 1)
            state = state._replace(
                ended_B=state.ended_B.index_put((video_N,), ends_N),
                wait_B=state.wait_B.index_put((video_N,), wait_N),
            )
        action_BT = torch.where(look_BT, LOOK, SKIP).masked_fill(~mask_BT, -1)
        return state, action_BT, traced(state, decisions)

    def has_ended(self, state: State) -> Tensor:
        return state.ended_B
