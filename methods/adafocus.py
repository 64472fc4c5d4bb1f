"""AdaFocus: a glance at every frame tells a recurrent policy where to cut the patch that a large network looks at.

Wang, Chen, Jiang, Song, Han, Huang: "Adaptive Focus for Efficient Video Recognition", ICCV 2021. Official code:
https://github.com/blackfeather-wang/AdaFocus (no licence; read, not used). With `skips`, AdaFocus+ (below).

Departures from the official code (the appendix is followed where they differ):
- In evaluation all glances run in one call and all patches in one: no decision depends on what f_L saw. The code looks
  at one patch after another.
- The optimiser has Nesterov's momentum, as the appendix says (the code's has not); biases and norms do not decay; full
  precision (there AMP); no epoch more than printed, the last is evaluated (there the best on the validation split).
- Random patches, the reward's too, take one of the policy's places (there any pixel).
- Evaluation does not run the critic, and the head once, after the last frame.
- Returns are normalised by their population deviation; several labels share the target evenly (the code draws one of
  them each time), and their probabilities add up in the reward.
- Features are computed anew every epoch, as frames are cropped anew; they are sampled as in methods/arnet.py.
- `normalize`, for networks that start from nothing, is not in the paper.
AdaFocus+ was never published in code. From the paper's appendix: a second policy pi', trained with Adam for 10 epochs
and pi's other settings, here with pi's architecture as well. Ours, since neither says: a skipped frame leaves f_C's
state as it is; pi' is trained after pi, with pi and f_C fixed; its reward is built like pi's, the confidence after its
choice minus that after the other one from the same state, where looking costs `price`.

B videos, T frames (CHW: channels, height, width; of f_G's map DHW), N decisions of all videos, K classes, A actions, D
features, H hidden units.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from adavid import (
    ActionSpace,
    BackboneSpec,
    CausalMethod,
    Chunk,
    Ledger,
    PatchGrid,
    RecurrentClassifier,
    VideoBatch,
    build_backbone,
    discounted_returns,
    loss_of_every_step,
    ppo_loss,
    run_on_frames,
    run_on_rows,
    run_over_time,
)

LOOK, SKIP = 0, 1


class Policy(nn.Module):
    """pi: what it takes from f_G's map of a frame, what it remembers, its actor and, in training, its critic."""

    def __init__(
        self, num_features: int, side: int, squeezed: int, hidden: int, num_actions: int, normalize: bool
    ) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(num_features, squeezed, 1, bias=False),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(squeezed * side**2, hidden),
            nn.LayerNorm(hidden) if normalize else nn.Identity(),
            nn.ReLU(),
        )
        self.gru = nn.GRUCell(hidden, hidden)
        self.actor = nn.Linear(hidden, num_actions)
        self.critic = nn.Linear(hidden, 1)


class State(NamedTuple):
    """Where the policies and f_C stand in each of B videos."""

    policy_BH: Tensor
    skip_BH: Tensor
    memory_BH: Tensor


class AdaFocus(CausalMethod):
    """AdaFocus.

    Args:
        num_classes: K.
        glance: f_G, which sees every frame as a whole.
        focus: f_L, which sees a patch; fine-tuned on whole frames of this size, the size of the frames.
        num_frames: T.
        patch_size: P, pixels.
        places: rows and columns of places for the patch.
        squeezed: channels that the policy's 1 x 1 convolution keeps.
        policy_hidden: width of the policy's GRU.
        hidden: width of f_C's GRU.
        skips: AdaFocus+, whose second policy leaves out frames of little value.
        price: of looking, in confidence (AdaFocus+ alone).
        normalize: LayerNorm before the GRUs, for networks without ImageNet weights (not in the paper).
        dropout: before the head.
    """

    def __init__(
        self,
        num_classes: int,
        glance: BackboneSpec,
        focus: BackboneSpec,
        num_frames: int = 16,
        patch_size: int = 128,
        places: int = 7,
        squeezed: int = 32,
        policy_hidden: int = 1024,
        hidden: int = 1024,
        skips: bool = False,
        price: float = 0.02,
        normalize: bool = False,
        dropout: float = 0.8,
    ) -> None:
        super().__init__()
        if min(places, squeezed, policy_hidden, hidden) < 1:
            raise ValueError("adafocus: places, squeezed, policy_hidden and hidden must be 1 or more")
        if price < 0:
            raise ValueError(f"adafocus: price must not be negative, got {price}")
        if glance.view(num_frames).clip > 1:
            raise ValueError(f"adafocus: glance: expected a network of frames, got {glance.name}")
        self.specs, self.price = {"glance": glance, "focus": focus}, price
        self.grid = PatchGrid(focus.size, patch_size, places)
        self.views = {"frames": focus.view(num_frames)}
        names, sizes = (f"patch-{patch_size}", "skip"), (patch_size, 0)
        self.actions = ActionSpace(names[: 1 + skips], sizes[: 1 + skips], grid=self.grid)
        self.glance = build_backbone(glance.name)
        self.focus = build_backbone(focus.name)
        num_features, side = self.glance.num_features, self.glance.map_side(glance.size)
        self.policy = Policy(num_features, side, squeezed, policy_hidden, len(self.grid), normalize)
        if skips:
            self.skip_policy = Policy(num_features, side, squeezed, policy_hidden, 2, normalize)
        self.skips = skips
        widths = (num_features, self.focus.num_features)
        self.classifier = RecurrentClassifier(widths, hidden, num_classes, dropout, normalize)

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return self.specs

    # The three networks

    def init_state(self, num_videos: int) -> State:
        zeros_BH = self.policy.actor.weight.new_zeros(num_videos, self.policy.gru.hidden_size)
        return State(zeros_BH, zeros_BH, self.classifier.init_state(num_videos))

    def step(self, chunk: Chunk, state: State, ledger: Ledger) -> tuple[State, Tensor, dict[str, Tensor]]:
        frames_BTCHW, mask_BT = chunk.frames_BTCHW, chunk.mask_BT
        map_BTDHW, global_BTD = self.glance_at(frames_BTCHW, mask_BT, ledger)
        logits_BTA, policy_BTH = self.decide("policy", self.policy, map_BTDHW, mask_BT, state.policy_BH, ledger)
        action_BT, skip_BTH = logits_BTA.argmax(-1), state.skip_BH[:, None]
        if self.skips:
            skip_BT2, skip_BTH = self.decide("skip", self.skip_policy, map_BTDHW, mask_BT, state.skip_BH, ledger)
            action_BT = action_BT.masked_fill(skip_BT2.argmax(-1) == SKIP, self.actions.first_index(SKIP))
        action_BT = (action_BT if chunk.forced_BT is None else chunk.forced_BT).masked_fill(~mask_BT, -1)
        looks_BT = self.actions.kind(action_BT) == LOOK
        seen_BT = mask_BT if chunk.dense else looks_BT
        feature_BTD = self.focus_on(frames_BTCHW, global_BTD, action_BT, seen_BT, ledger)
        memory_BTH = self.remember(feature_BTD, looks_BT, seen_BT, state.memory_BH, ledger)
        state = State(policy_BTH[:, -1], skip_BTH[:, -1], memory_BTH[:, -1])
        return state, action_BT, {"memory_BTH": memory_BTH}

    def answer(self, state: State, ledger: Ledger) -> Tensor:
        one_BT = torch.ones_like(state.memory_BH[:, :1], dtype=torch.bool)
        return self.predict(state.memory_BH[:, None], one_BT, ledger)[:, 0]

    def glance_at(self, frames_BTCHW: Tensor, mask_BT: Tensor, ledger: Ledger) -> tuple[Tensor, Tensor]:
        """f_G: the map (B, T, D, h, w) and the feature (B, T, D) of every frame."""
        size, stages = self.specs["glance"].size, self.glance.stages
        side = self.glance.map_side(size)
        zeros_BTDHW = frames_BTCHW.new_zeros(*mask_BT.shape, self.glance.num_features, side, side)
        map_BTDHW = run_on_frames(ledger, "glance", stages, frames_BTCHW, mask_BT, size, zeros_BTDHW)
        return map_BTDHW, run_on_rows(ledger, "glance", self.glance.pool, map_BTDHW, chosen_BT=mask_BT)

    def decide(
        self, name: str, policy: Policy, map_BTDHW: Tensor, mask_BT: Tensor, h_BH: Tensor, ledger: Ledger
    ) -> tuple[Tensor, Tensor]:
        """A policy's logits (B, T, A) and states (B, T, H), in full precision."""
        with torch.autocast(map_BTDHW.device.type, enabled=False):
            map_BTDHW = map_BTDHW.to(h_BH.dtype)
            x_BTH = run_on_rows(ledger, name, policy.encoder, map_BTDHW, chosen_BT=mask_BT)
            h_BTH = run_over_time(ledger, name, policy.gru, x_BTH, h_BH, mask_BT)
            return run_on_rows(ledger, name, policy.actor, h_BTH, chosen_BT=mask_BT), h_BTH

    def focus_on(
        self, frames_BTCHW: Tensor, global_BTD: Tensor, action_BT: Tensor, seen_BT: Tensor, ledger: Ledger
    ) -> Tensor:
        """f_L: the features (B, T, D) of the chosen patches, zero where none is seen, after those of f_G."""
        corner_BT2 = torch.stack(self.grid.corner(action_BT.clip(0, len(self.grid) - 1)), -1)
        zeros_BTD = frames_BTCHW.new_zeros(*seen_BT.shape, self.focus.num_features)
        size = self.grid.patch_size
        local_BTD = run_on_frames(ledger, "focus", self.focus, frames_BTCHW, seen_BT, size, zeros_BTD, corner_BT2)
        return torch.cat([global_BTD, local_BTD], -1)

    def remember(self, feature_BTD: Tensor, used_BT: Tensor, seen_BT: Tensor, h_BH: Tensor, ledger: Ledger) -> Tensor:
        """f_C's state (B, T, H) after each frame; it takes in the frames that are used."""
        return run_over_time(ledger, "classifier", self.classifier, feature_BTD, h_BH, used_BT, seen_BT)

    def predict(self, memory_BTH: Tensor, mask_BT: Tensor, ledger: Ledger) -> Tensor:
        """The prediction (B, T, K) from f_C's state after each frame."""
        return run_on_rows(ledger, "head", self.classifier.head, memory_BTH, chosen_BT=mask_BT)

    # The three stages of training, appendix B.1

    def focus_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Stage I: f_L and f_C on random patches."""
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        _, global_BTD = self.glance_at(frames_BTCHW, mask_BT, ledger)
        feature_BTD = self.focus_on(frames_BTCHW, global_BTD, self.random_places(mask_BT), mask_BT, ledger)
        _, memory_BTH = self.memories(feature_BTD, mask_BT, ledger)
        return {"loss": loss_of_every_step(self.predict(memory_BTH, mask_BT, ledger), batch, mask_BT)}

    def policy_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Stage II: pi by PPO. The reward is the confidence with its patch minus that with a random one instead."""
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        map_BTDHW, global_BTD = self.glance_at(frames_BTCHW, mask_BT, ledger)
        h_BH = self.init_state(len(mask_BT)).policy_BH
        logits_BTA, policy_BTH = self.decide("policy", self.policy, map_BTDHW, mask_BT, h_BH, ledger)
        action_BT = Categorical(logits=logits_BTA).sample()
        feature_BTD = self.focus_on(frames_BTCHW, global_BTD, action_BT, mask_BT, ledger)
        other_BTD = self.focus_on(frames_BTCHW, global_BTD, self.random_places(mask_BT), mask_BT, ledger)
        before_BTH, after_BTH = self.memories(feature_BTD, mask_BT, ledger)
        instead_BTH = self.remember_each(other_BTD, before_BTH, mask_BT, ledger)
        confidence_BT = self.confidence(after_BTH, batch, ledger)
        reward_BT = confidence_BT - self.confidence(instead_BTH, batch, ledger)
        terms = self.ppo_terms(self.policy, logits_BTA, policy_BTH, action_BT, reward_BT, mask_BT, ledger)
        return terms | {"confidence": confidence_BT[mask_BT].mean()}

    def skip_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """AdaFocus+: pi' by PPO. The reward is the confidence after its choice minus that after the other one."""
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        map_BTDHW, global_BTD = self.glance_at(frames_BTCHW, mask_BT, ledger)
        state = self.init_state(len(mask_BT))
        logits_BTA, _ = self.decide("policy", self.policy, map_BTDHW, mask_BT, state.policy_BH, ledger)
        feature_BTD = self.focus_on(frames_BTCHW, global_BTD, logits_BTA.argmax(-1), mask_BT, ledger)
        logits_BT2, skip_BTH = self.decide("skip", self.skip_policy, map_BTDHW, mask_BT, state.skip_BH, ledger)
        choice_BT = Categorical(logits=logits_BT2).sample()
        looks_BT = mask_BT & (choice_BT == LOOK)
        before_BTH, _ = self.memories(feature_BTD, looks_BT, ledger)
        looked_BTH = self.remember_each(feature_BTD, before_BTH, mask_BT, ledger)
        gain_BT = self.confidence(looked_BTH, batch, ledger) - self.confidence(before_BTH, batch, ledger)
        reward_BT = torch.where(looks_BT, gain_BT - self.price, self.price - gain_BT)
        terms = self.ppo_terms(self.skip_policy, logits_BT2, skip_BTH, choice_BT, reward_BT, mask_BT, ledger)
        return terms | {"looks": looks_BT.sum() / mask_BT.sum()}

    def classifier_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Stage III: f_C under the decisions that evaluation takes."""
        mask_BT = batch.mask["frames"]
        memory_BTH = self(batch, ledger, dense=True).aux["memory_BTH"]
        return {"loss": loss_of_every_step(self.predict(memory_BTH, mask_BT, ledger), batch, mask_BT)}

    def random_places(self, mask_BT: Tensor) -> Tensor:
        return torch.randint(len(self.grid), mask_BT.shape, device=mask_BT.device)

    def memories(self, feature_BTD: Tensor, looks_BT: Tensor, ledger: Ledger) -> tuple[Tensor, Tensor]:
        """f_C's state (B, T, H) before and after each frame."""
        first_BH = self.classifier.init_state(len(looks_BT))
        after_BTH = self.remember(feature_BTD, looks_BT, looks_BT, first_BH, ledger)
        return torch.cat([first_BH[:, None], after_BTH[:, :-1]], 1), after_BTH

    def remember_each(self, feature_BTD: Tensor, before_BTH: Tensor, mask_BT: Tensor, ledger: Ledger) -> Tensor:
        """f_C's state (B, T, H) after each frame, from the given state before it."""
        return run_on_rows(ledger, "classifier", self.classifier, feature_BTD, before_BTH, chosen_BT=mask_BT)

    def confidence(self, memory_BTH: Tensor, batch: VideoBatch, ledger: Ledger) -> Tensor:
        """p_ty, f_C's probability (B, T) of the video's labels."""
        prob_BTK = self.predict(memory_BTH, batch.mask["frames"], ledger).softmax(-1)
        return (prob_BTK * batch.label_BK[:, None]).sum(-1)

    @staticmethod
    def ppo_terms(
        policy: Policy,
        logits_BTA: Tensor,
        h_BTH: Tensor,
        action_BT: Tensor,
        reward_BT: Tensor,
        mask_BT: Tensor,
        ledger: Ledger,
    ) -> dict[str, Tensor]:
        """PPO's loss and its parts for the actions that a policy took."""
        with torch.autocast(h_BTH.device.type, enabled=False):
            value_BT = run_on_rows(ledger, "critic", policy.critic, h_BTH, chosen_BT=mask_BT)[..., 0]
        taken = Categorical(logits=logits_BTA[mask_BT])
        log_prob_N = taken.log_prob(action_BT[mask_BT])
        return_BT = discounted_returns(reward_BT, mask_BT)
        terms = ppo_loss(log_prob_N, log_prob_N, return_BT[mask_BT], value_BT[mask_BT], taken.entropy())
        return terms | {"reward": reward_BT[mask_BT].mean()}
