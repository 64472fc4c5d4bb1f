"""AdaFrame: an LSTM that has glanced at the whole video says where to look next, and when it has seen enough.

Wu, Xiong, Ma, Socher, Davis: "AdaFrame: Adaptive Frame Selection for Fast Video Recognition", CVPR 2019; "A Dynamic
Frame Selection Framework for Fast Video Recognition", TPAMI 2020. There is no public code, and its text was not at
hand: what follows is the method as later papers and recollection have it, and a choice where they say nothing.

Recalled:
- The memory is of frames evenly spaced, with sinusoidal codes of their places for the attention alone. The next place
  is N(a_t, .1^2) in training, its mean in evaluation. The margin's reward and discount; the losses and their weights.
- It stops once utility has been mu below its highest p times.
Choices:
- p is half of the steps less 1, at least 2. What is recalled, half of them and 1, leaves no room for the means that
  AR-Net prints, 3.1 frames of 5 and 5.8 of 10.
- The first frame is the middle one. Before it the margin counts as 0. A return is of the step's own reward and those to
  come.
- No frame is visited twice: the nearest that has not been, first in the direction of the jump.
- The LSTM learns on random frames in a stage of its own before the policy: an untrained one earns next to nothing.
- The prediction is made once, at the end. Of several labels the margin is that of their mean probability.
- Two controls that no paper has: the same LSTM on k frames, evenly spaced or at random, in their order in the video.
No published cost can be met by it: 78.97 GFLOPs with 8.65 frames leave a glance at 139 frames, not a memory of 16.

B videos, T frames (CHW: channels, height, width), N videos that take a step, M slots of the memory, S steps, K classes,
D features, H units of the LSTM.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
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
    even_frames,
    frame_at,
    in_order,
    modal_share,
    random_order,
    returns,
    run_on_frames,
)

DISCOUNT = 0.9
DEVIATION = 0.1  # of the next place, in training


class Memory(NamedTuple):
    """What glances at M frames of each video say."""

    feature_BMD: Tensor
    code_BMD: Tensor  # of their places
    is_there_BM: Tensor


class Context(nn.Module):
    """What the memory holds that fits the state: h (N, H) and the memory of N videos in, (N, D) out."""

    def __init__(self, hidden: int, num_features: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, num_features, bias=False)  # W_h

    def forward(self, h_NH: Tensor, feature_NMD: Tensor, code_NMD: Tensor, is_there_NM: Tensor) -> Tensor:
        fit_NM = ((feature_NMD + code_NMD) @ self.query(h_NH)[..., None])[..., 0]
        weight_NM = fit_NM.masked_fill(~is_there_NM, -torch.inf).softmax(1)
        return (weight_NM[:, None] @ feature_NMD)[:, 0]


class Step(NamedTuple):
    """What is known after a frame of N videos, of which M are to visit one more."""

    video_N: Tensor
    h_NH: Tensor
    utility_N: Tensor
    video_M: Tensor
    mean_M: Tensor  # of the place that each goes to, of the whole video
    log_prob_M: Tensor  # of the place


class AdaFrame(AdaptiveMethod):
    """AdaFrame.

    Args:
        num_classes: K.
        network: the large one and its resolution.
        glance: the small one, which fills the memory, and its resolution.
        num_frames: T.
        memory: M.
        steps: S, and the most in evaluation.
        hidden: H.
        mu: by how much utility has to be below its highest to count against going on.
        choice: of the frames: the "agent" has it; or "even" or "random", controls that look at k frames.
        k: frames of the controls.
        seed: of random frames.
        dropout: before the network's linear head, in its fine-tuning.
    """

    test_time = ("mu", "choice", "k")

    def __init__(
        self,
        num_classes: int,
        network: BackboneSpec,
        glance: BackboneSpec,
        num_frames: int = 64,
        memory: int = 16,
        steps: int = 10,
        hidden: int = 1024,
        mu: float = 0.7,
        choice: Literal["agent", "even", "random"] = "agent",
        k: int = 5,
        seed: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if memory < 1 or steps < 2:
            raise ValueError(f"adaframe: memory must be 1 or more and steps 2 or more, got {memory} and {steps}")
        if not 1 <= k <= steps:
            raise ValueError(f"adaframe: k must lie in 1 to {steps}, the steps, got {k}")
        self.specs, self.num_classes = {"network": network, "glance": glance}, num_classes
        self.num_slots, self.steps, self.mu, self.choice, self.k, self.seed = memory, steps, mu, choice, k, seed
        self.views = {"frames": network.view(num_frames)}
        names = [f"look {step}" for step in range(1, steps + 1)]
        self.actions = ActionSpace((*names, "skip"), (*(network.size for _ in names), 0))
        self.network, self.glance = FrameClassifier(network, num_classes, dropout), FrameClassifier(glance, num_classes)
        self.glance.head = nn.Identity()  # it only fills the memory
        num_features, num_glance = self.network.backbone.num_features, self.glance.backbone.num_features
        self.context = Context(hidden, num_glance)
        self.lstm = nn.LSTMCell(num_features + num_glance, hidden)
        self.predict = nn.Linear(hidden, num_classes)
        self.select, self.utility = nn.Linear(hidden, 1), nn.Linear(hidden, 1)

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return self.specs

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        mask_BT = batch.mask["frames"]
        if forced is None and self.choice != "agent":
            forced = in_order(blind_frames(self.choice, self.k, mask_BT, batch.video_id, self.seed), self.steps)
        h_BH, action_BT, _ = self.walk(batch, ledger, forced, dense, leads=self.choice == "agent")
        owner_B = torch.arange(len(h_BH), device=h_BH.device)
        return MethodOutput(ledger.run("predict", self.predict, h_BH, owner_N=owner_B), action_BT, {})

    # Section 3.2: global memory, LSTM, where to look next, when to stop

    def walk(
        self,
        batch: VideoBatch,
        ledger: Ledger,
        forced: Tensor | None = None,
        dense: bool = False,
        leads: bool = True,
    ) -> tuple[Tensor, Tensor, list[Step]]:
        """The last state (B, H), the decisions (B, T), and the steps; without the agent's heads unless it `leads`."""
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        looks = Looks(ledger, "network", self.network, frames_BTCHW)
        if dense:
            looks.at(mask_BT)
        walk = Walk(looks, mask_BT, self.steps, forced)
        memory, num_B, steps = self.remember(batch, ledger), mask_BT.sum(1), list[Step]()
        h_BH = c_BH = self.predict.weight.new_zeros(len(mask_BT), self.lstm.hidden_size)
        highest_B, num_low_B = torch.full_like(h_BH[:, 0], -torch.inf), torch.zeros_like(num_B)
        (video_N,) = mask_BT.any(1).nonzero(as_tuple=True)
        target_N, ahead_N = num_B[video_N] // 2, torch.ones_like(video_N, dtype=torch.bool)
        with torch.autocast(frames_BTCHW.device.type, enabled=False):
            while len(video_N):
                frame_N, feature_ND = walk.visit(video_N, target_N, ahead_N)
                held = (part_BM[video_N] for part_BM in memory)
                context_ND = ledger.run("context", self.context, h_BH[video_N], *held, owner_N=video_N)
                both_ND = torch.cat([feature_ND.to(context_ND.dtype), context_ND], 1)
                h_NH, c_NH = ledger.run("lstm", self.lstm, both_ND, (h_BH[video_N], c_BH[video_N]), owner_N=video_N)
                h_BH, c_BH = h_BH.index_put((video_N,), h_NH), c_BH.index_put((video_N,), c_NH)
                wish_N, utility_N = torch.full_like(ahead_N, len(steps) + 1 < self.steps), torch.zeros_like(h_NH[:, 0])
                if leads:
                    utility_N = ledger.run("utility", self.utility, h_NH, owner_N=video_N)[:, 0]
                    highest_N = torch.maximum(highest_B[video_N], utility_N.detach())
                    num_low_N = num_low_B[video_N] + (highest_N - utility_N > self.mu)
                    highest_B = highest_B.index_put((video_N,), highest_N)
                    num_low_B = num_low_B.index_put((video_N,), num_low_N)
                    if not self.utility.training:  # training takes all steps
                        wish_N &= num_low_N < self.patience
                (row_M,) = walk.goes_on(video_N, wish_N).nonzero(as_tuple=True)
                video_M = video_N[row_M]
                mean_M = torch.zeros_like(h_NH[row_M, 0])
                if leads:
                    mean_M = ledger.run("select", self.select, h_NH[row_M], owner_N=video_M)[:, 0].sigmoid()
                place = torch.distributions.Normal(mean_M, DEVIATION)
                place_M = place.sample() if self.select.training else mean_M
                steps.append(Step(video_N, h_NH, utility_N, video_M, mean_M, place.log_prob(place_M.detach())))
                target_N = frame_at(place_M, num_B[video_M])
                video_N, ahead_N = video_M, target_N >= frame_N[row_M]
        return h_BH, walk.action_BT, steps

    def remember(self, batch: VideoBatch, ledger: Ledger) -> Memory:
        """Glances at M frames evenly spaced, all of a video that has no more."""
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        held_BT = even_frames(self.num_slots, mask_BT)
        zeros_BTD = frames_BTCHW.new_zeros(*mask_BT.shape, self.glance.backbone.num_features)
        size = self.specs["glance"].size
        glance_BTD = run_on_frames(ledger, "glance", self.glance.backbone, frames_BTCHW, held_BT, size, zeros_BTD)
        num_missing = max(0, self.num_slots - held_BT.shape[1])
        held_BT, glance_BTD = F.pad(held_BT, (0, num_missing)), F.pad(glance_BTD, (0, 0, 0, num_missing))
        frame_BM = held_BT.long().argsort(dim=1, descending=True, stable=True)[:, : self.num_slots]
        video_B1 = torch.arange(len(mask_BT), device=mask_BT.device)[:, None]
        feature_BMD = glance_BTD[video_B1, frame_BM].to(self.predict.weight.dtype)
        return Memory(feature_BMD, place_codes(frame_BM, feature_BMD), held_BT[video_B1, frame_BM])

    @property
    def patience(self) -> int:
        """p, how often utility may be low."""
        return max(2, self.steps // 2 - 1)

    # Training: the network, the LSTM on random frames, then all but the network

    def network_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Uniform's."""
        return {"loss": consensus_loss(ledger, "network", self.network, batch)}

    def warmup_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Cross-entropy of the predictions after every step, at random frames in a random order."""
        order_BT = random_order(batch.mask["frames"]).clamp(max=self.steps)
        _, _, steps = self.walk(batch, ledger, order_BT, leads=False)
        errors = [self.error(step, batch, ledger)[0] for step in steps]
        return {"loss": torch.cat(errors).mean()}

    def agent_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Section 3.3: the last prediction's cross-entropy, utility's squared error, and the policy gradient."""
        _, _, steps = self.walk(batch, ledger)
        zeros_B = self.predict.weight.new_zeros(len(batch.label_BK))
        error_B, highest_B, rewards, utilities, log_probs = zeros_B, zeros_B, [], [], []
        for step in steps:
            error_N, margin_N = self.error(step, batch, ledger)
            error_B = error_B.index_put((step.video_N,), error_N)
            rewards.append(zeros_B.index_put((step.video_N,), (margin_N - highest_B[step.video_N]).clamp(min=0)))
            highest_B = highest_B + rewards[-1]
            utilities.append(zeros_B.index_put((step.video_N,), step.utility_N))
            log_probs.append(zeros_B.index_put((step.video_M,), step.log_prob_M))
        utility_BS, reward_BS = torch.stack(utilities, 1), torch.stack(rewards, 1)
        return_BS = returns(reward_BS, DISCOUNT)  # 0 where no step is taken, as utility is
        gain_BS = return_BS - utility_BS.detach()
        error, utility = error_B.mean(), 0.5 * (utility_BS - return_BS).square().sum(1).mean()
        policy = -(torch.stack(log_probs, 1) * gain_BS).sum(1).mean()
        terms = {"error": error, "utility": utility, "reward": reward_BS.sum(1).mean()}
        place_N = torch.cat([step.mean_M.detach() for step in steps])
        modal = modal_share((place_N * self.views["frames"].num_frames).long())
        return {"loss": error + utility + policy, **terms, "modal": modal}

    def error(self, step: Step, batch: VideoBatch, ledger: Ledger) -> tuple[Tensor, Tensor]:
        """Of the prediction after a step: its cross-entropy, and the margin of the labels, a number; both (N,)."""
        logits_NK = ledger.run("predict", self.predict, step.h_NH, owner_N=step.video_N)
        label_NK = batch.label_BK[step.video_N]
        prob_NK = logits_NK.detach().float().softmax(-1)
        of_labels_N = (prob_NK * label_NK).sum(1) / label_NK.sum(1)
        margin_N = of_labels_N - prob_NK.masked_fill(label_NK > 0, 0.0).amax(1)
        return cross_entropy(logits_NK, label_NK), margin_N.to(logits_NK.dtype)


def place_codes(frame_BM: Tensor, like_BMD: Tensor) -> Tensor:
    """Sinusoidal codes (B, M, D) of places, as Vaswani et al. (2017) have them."""
    num_features = like_BMD.shape[-1]
    place_D = torch.arange(num_features, device=frame_BM.device)
    rate_D = 10000.0 ** (-(place_D // 2 * 2) / num_features)
    angle_BMD = frame_BM[..., None] * rate_D
    return torch.where(place_D % 2 == 0, angle_BMD.sin(), angle_BMD.cos()).to(like_BMD.dtype)
