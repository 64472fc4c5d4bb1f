"""FrameGlimpse: an LSTM glances at a few frames, one after another, and says each time where to look next.

Yeung, Russakovsky, Mori, Fei-Fei: "End-to-end Learning of Action Detection from Frame Glimpses in Videos", CVPR 2016.
Official code: https://github.com/syyeung/frameglimpses (detectors; no licence; read, not used). The papers that compare
with it have a form that classifies videos, which nobody published: this is one.

As in the code: the place of a glimpse enters beside its features, with no gradient through it; the next place is
N(l, .08^2) in training, l in evaluation; a number of glimpses that is fixed.
Choices:
- One layer of LSTM (the code: three). The place that it says is squashed to lie in the video (the code's is not, and
  stops learning where it is cut off). The first glimpse is in the middle (the code: at the start).
- The reward is the probability of the label after the last glimpse, or whether it is the most probable, a variant (the
  code: detections that match). Its baseline is learned, and subtracted (the code: subtraction is commented out).
- No frame is seen twice: the nearest that has not been, first in the direction of the jump.
- The LSTM learns on random frames in a stage of its own before the policy.
- Two controls that no paper has: the same LSTM on as many frames, evenly spaced or at random, in their order in the
  video.

B videos, T frames (CHW: channels, height, width), N videos that take a step, M of them that take one more, K classes,
D features, H units of the LSTM.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from adavid import (
    ActionSpace,
    AdaptiveMethod,
    BackboneSpec,
    FrameClassifier,
    Ledger,
    Looks,
    MethodOutput,
    VideoBatch,
    Walk,
    blind_frames,
    consensus_loss,
    cross_entropy,
    frame_at,
    in_order,
    modal_share,
    random_order,
)

DEVIATION = 0.08  # of the next place, in training


class Observation(nn.Module):
    """A glimpse and where it was: features (N, D) and places (N,) in [0, 1] in, (N, H) out."""

    def __init__(self, num_features: int, hidden: int) -> None:
        super().__init__()
        self.place, self.both = nn.Linear(1, 1), nn.Linear(num_features + 1, hidden)

    def forward(self, feature_ND: Tensor, place_N: Tensor) -> Tensor:
        coded_N1 = self.place(place_N[:, None]).sigmoid()
        return self.both(torch.cat([feature_ND, coded_N1], 1)).relu()


class Step(NamedTuple):
    """What is known after a glimpse at each of N videos, of which M get one more."""

    video_N: Tensor
    h_NH: Tensor
    video_M: Tensor
    mean_M: Tensor  # l, of the whole video
    log_prob_M: Tensor
    h_MH: Tensor


class FrameGlimpse(AdaptiveMethod):
    """FrameGlimpse, which classifies videos.

    Args:
        num_classes: K.
        network: and its resolution.
        num_frames: T.
        steps: glimpses.
        hidden: H.
        reward: "probability" of the label, or "correct": 1 where it is the most probable.
        choice: of the frames: the "agent" has it; or "even" or "random", controls that look at as many.
        seed: of random frames.
        dropout: before the network's linear head, in its fine-tuning.
    """

    test_time = ("choice",)

    def __init__(
        self,
        num_classes: int,
        network: BackboneSpec,
        num_frames: int = 64,
        steps: int = 6,
        hidden: int = 1024,
        reward: Literal["probability", "correct"] = "probability",
        choice: Literal["agent", "even", "random"] = "agent",
        seed: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if steps < 2:
            raise ValueError(f"frame_glimpse: steps must be 2 or more, got {steps}")
        self.spec, self.num_classes, self.steps, self.reward = network, num_classes, steps, reward
        self.choice, self.seed = choice, seed
        self.views = {"frames": network.view(num_frames)}
        names = [f"look {step}" for step in range(1, steps + 1)]
        self.actions = ActionSpace((*names, "skip"), (*(network.size for _ in names), 0))
        self.network = FrameClassifier(network, num_classes, dropout)
        self.observe = Observation(self.network.backbone.num_features, hidden)
        self.lstm = nn.LSTMCell(hidden, hidden)
        self.predict, self.locate, self.expect = (nn.Linear(hidden, num) for num in (num_classes, 1, 1))

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {"network": self.spec}

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        mask_BT = batch.mask["frames"]
        if forced is None and self.choice != "agent":
            forced = in_order(blind_frames(self.choice, self.steps, mask_BT, batch.video_id, self.seed), self.steps)
        h_BH, action_BT, _ = self.walk(batch, ledger, forced, dense, leads=self.choice == "agent")
        owner_B = torch.arange(len(h_BH), device=h_BH.device)
        return MethodOutput(ledger.run("predict", self.predict, h_BH, owner_N=owner_B), action_BT, {})

    # Section 3.1: glimpses

    def walk(
        self,
        batch: VideoBatch,
        ledger: Ledger,
        forced: Tensor | None = None,
        dense: bool = False,
        leads: bool = True,
    ) -> tuple[Tensor, Tensor, list[Step]]:
        """The last state (B, H), the decisions (B, T), and the steps; no place is said unless the agent `leads`."""
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        looks = Looks(ledger, "network", self.network, frames_BTCHW)
        if dense:
            looks.at(mask_BT)
        walk, num_B, steps = Walk(looks, mask_BT, self.steps, forced), mask_BT.sum(1), list[Step]()
        h_BH = c_BH = self.predict.weight.new_zeros(len(mask_BT), self.lstm.hidden_size)
        (video_N,) = mask_BT.any(1).nonzero(as_tuple=True)
        target_N, ahead_N = num_B[video_N] // 2, torch.ones_like(video_N, dtype=torch.bool)
        with torch.autocast(frames_BTCHW.device.type, enabled=False):
            while len(video_N):
                frame_N, feature_ND = walk.visit(video_N, target_N, ahead_N)
                rows = feature_ND.to(h_BH.dtype), ((frame_N + 0.5) / num_B[video_N]).to(h_BH.dtype)
                seen_NH = ledger.run("observe", self.observe, *rows, owner_N=video_N)
                h_NH, c_NH = ledger.run("lstm", self.lstm, seen_NH, (h_BH[video_N], c_BH[video_N]), owner_N=video_N)
                h_BH, c_BH = h_BH.index_put((video_N,), h_NH), c_BH.index_put((video_N,), c_NH)
                wish_N = torch.full_like(ahead_N, len(steps) + 1 < self.steps)
                (row_M,) = walk.goes_on(video_N, wish_N).nonzero(as_tuple=True)
                video_M, h_MH = video_N[row_M], h_NH[row_M]
                mean_M = torch.zeros_like(h_MH[:, 0])
                if leads:
                    mean_M = ledger.run("locate", self.locate, h_MH, owner_N=video_M)[:, 0].sigmoid()
                place = torch.distributions.Normal(mean_M, DEVIATION)
                place_M = place.sample() if self.locate.training else mean_M.detach()
                steps.append(Step(video_N, h_NH, video_M, mean_M, place.log_prob(place_M), h_MH))
                target_N = frame_at(place_M, num_B[video_M])
                video_N, ahead_N = video_M, target_N >= frame_N[row_M]
        return h_BH, walk.action_BT, steps

    # Training: the network, the LSTM on random frames, then all but the network

    def network_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Uniform's."""
        return {"loss": consensus_loss(ledger, "network", self.network, batch)}

    def warmup_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Cross-entropy of the predictions after every glimpse, at random frames in a random order."""
        order_BT = random_order(batch.mask["frames"]).clamp(max=self.steps)
        _, _, steps = self.walk(batch, ledger, order_BT, leads=False)
        errors = []
        for step in steps:
            logits_NK = ledger.run("predict", self.predict, step.h_NH, owner_N=step.video_N)
            errors.append(cross_entropy(logits_NK, batch.label_BK[step.video_N]))
        return {"loss": torch.cat(errors).mean()}

    def agent_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Section 3.2: the last prediction's cross-entropy, and REINFORCE with a learned baseline."""
        h_BH, _, steps = self.walk(batch, ledger)
        owner_B = torch.arange(len(h_BH), device=h_BH.device)
        logits_BK = ledger.run("predict", self.predict, h_BH, owner_N=owner_B)
        error = cross_entropy(logits_BK, batch.label_BK).mean()
        reward_B = self.worth(logits_BK.detach(), batch.label_BK)
        policy, expectation = 0.0 * error, 0.0 * error
        for step in steps:
            expected_M = ledger.run("expect", self.expect, step.h_MH.detach(), owner_N=step.video_M)[:, 0]
            gain_M = reward_B[step.video_M] - expected_M
            policy = policy - (gain_M.detach() * step.log_prob_M).sum() / len(reward_B)
            expectation = expectation + gain_M.square().sum() / len(reward_B)
        place_N = torch.cat([step.mean_M.detach() for step in steps])
        modal = modal_share((place_N * self.views["frames"].num_frames).long())
        terms = {"error": error, "reward": reward_B.mean(), "expectation": expectation, "modal": modal}
        return {"loss": error + policy + expectation, **terms}

    def worth(self, logits_BK: Tensor, label_BK: Tensor) -> Tensor:
        """The reward (B,) of a prediction."""
        if self.reward == "correct":
            return label_BK.gather(1, logits_BK.argmax(1, keepdim=True))[:, 0].to(logits_BK.dtype)
        return (logits_BK.float().softmax(-1) * label_BK).sum(1).to(logits_BK.dtype)
