"""MultiAgent: several agents, evenly spaced at first, each move back, stay or move ahead, all at once.

Wu, He, Tan, Chen, Wen: "Multi-Agent Reinforcement Learning Based Frame Sampling for Effective Untrimmed Video
Recognition", ICCV 2019. There is no public code, and its text was not at hand: what follows is the method as later
papers and recollection have it, and a choice where they say nothing.

Recalled: an agent observes its frame and those of the agents beside it, through a recurrent network over its steps; all
share a policy and a classifier; an agent is paid for what its move adds to the probability of the label; they stop when
all stay; the prediction is the mean of the classifier's at their last frames.
Choices:
- A move is of one candidate; at the ends of the video it is none. A number of steps is the most.
- Agents that end on one frame count once, so that the answer follows from which frames it is made on.
- The baseline of an agent's return at a step is its return in another rollout. Discount .9, entropy paid for.
- The classifier is the network's own linear head, which also learns on all frames that agents visit.
- Two controls that no paper has: the same classifier on k frames, evenly spaced or at random.
Published costs count the last frames alone (7.82 GFLOPs for each of 2 to 8 agents), or all that are visited, about 4.9
an agent: here a frame is paid once whoever visits it. Decisions from outside say which frames are looked at, not how
the agents came there, so that their recurrent network is not paid in a replay.

B videos, T frames (CHW: channels, height, width), A agents, M moves, R rollouts of all videos, N of them that have not
stopped, or agents of theirs, S steps, K classes, D features, H units of the recurrent network.
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
    blind_frames,
    consensus_loss,
    cross_entropy,
    modal_share,
    returns,
    run_on_rows,
    segment_middles,
)

ANSWERED, PASSED, SKIP = 0, 1, 2
MOVES = (-1, 0, 1)
DISCOUNT = 0.9
ENTROPY_WEIGHT = 0.01
ROLLOUTS = 2


class Steps(NamedTuple):
    """Where the agents of R rollouts were, and how they moved."""

    place_SRA: Tensor  # one more than there are moves
    log_prob_SRA: Tensor  # of the moves; 0 once a rollout has stopped
    entropy_SRA: Tensor  # in nats; likewise
    move_SRA: Tensor  # an index of MOVES
    moves_SR: Tensor  # which rollouts had not stopped


class MultiAgent(AdaptiveMethod):
    """MultiAgent.

    Args:
        num_classes: K.
        network: and its resolution.
        num_frames: T.
        agents: A.
        steps: S at most.
        hidden: H.
        choice: of the frames: the "agents" have it; or "even" or "random", controls that look at k frames.
        k: frames of the controls.
        seed: of random frames.
        dropout: before the network's linear head.
    """

    test_time = ("choice", "k")

    def __init__(
        self,
        num_classes: int,
        network: BackboneSpec,
        num_frames: int = 64,
        agents: int = 4,
        steps: int = 8,
        hidden: int = 512,
        choice: Literal["agents", "even", "random"] = "agents",
        k: int = 8,
        seed: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if min(agents, steps, hidden, k) < 1:
            raise ValueError("multi_agent: agents, steps, hidden and k must be 1 or more")
        self.spec, self.num_classes, self.num_agents, self.steps = network, num_classes, agents, steps
        self.choice, self.k, self.seed = choice, k, seed
        self.views = {"frames": network.view(num_frames)}
        self.actions = ActionSpace(("answered on", "passed", "skip"), (network.size, network.size, 0))
        self.network = FrameClassifier(network, num_classes, dropout)
        self.observe = nn.GRUCell(3 * self.network.backbone.num_features, hidden)
        self.policy = nn.Linear(hidden, len(MOVES))

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {"network": self.spec}

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
        looks = Looks(ledger, "network", self.network, frames_BTCHW)
        if dense:
            looks.at(mask_BT)
        if forced is None and self.choice != "agents":
            forced = torch.where(blind_frames(self.choice, self.k, mask_BT, batch.video_id, self.seed), ANSWERED, SKIP)
        if forced is None:
            place_SBA = self.move(looks, mask_BT, ledger).place_SRA
            visited_BT = at_places(place_SBA.permute(1, 0, 2).flatten(1), mask_BT)
            forced = torch.where(visited_BT, PASSED, SKIP)
            forced = torch.where(at_places(place_SBA[-1], mask_BT), ANSWERED, forced)
        action_BT = forced.masked_fill(~mask_BT, -1)
        answered_BT = action_BT == ANSWERED
        feature_BTD = looks.at(answered_BT | (action_BT == PASSED))
        return MethodOutput(self.classify(feature_BTD, answered_BT, ledger), action_BT, {})

    def classify(self, feature_BTD: Tensor, answered_BT: Tensor, ledger: Ledger) -> Tensor:
        """The log of the mean probability (B, K) over some frames; of none, 0."""
        logits_BTK = run_on_rows(ledger, "head", self.network.head, feature_BTD, chosen_BT=answered_BT)
        log_BTK = logits_BTK.log_softmax(-1).masked_fill(~answered_BT[..., None], torch.finfo(logits_BTK.dtype).min)
        num_B1 = answered_BT.sum(1, keepdim=True)
        return torch.where(num_B1 > 0, log_BTK.logsumexp(1) - num_B1.clamp(min=1).log(), 0.0)

    # Agents that observe and move

    def move(self, looks: Looks, mask_BT: Tensor, ledger: Ledger, num_rollouts: int = 1) -> Steps:
        """From evenly spaced places to where all stay; rollouts of all videos side by side, drawn in training."""
        video_R = torch.arange(len(mask_BT), device=mask_BT.device).repeat(num_rollouts)
        num_R1 = mask_BT.sum(1)[video_R, None]
        place_RA = segment_middles(self.num_agents, num_R1)
        h_RAH = self.policy.weight.new_zeros(*place_RA.shape, self.observe.hidden_size)
        moves_R, move_M = num_R1[:, 0] > 0, torch.tensor(MOVES, device=mask_BT.device)
        zeros_RA = h_RAH[..., 0]
        places, log_probs, entropies, moves, moving = [place_RA], [], [], [], []
        for _ in range(self.steps):
            (row_N,) = moves_R.nonzero(as_tuple=True)
            if len(row_N) == 0:
                break
            feature_BTD = looks.at(at_places(place_RA[row_N], mask_BT, video_R[row_N]))
            own_NAD = feature_BTD[video_R[row_N, None], place_RA[row_N]].to(h_RAH.dtype)
            beside_NAD = torch.cat([torch.zeros_like(own_NAD[:, :1]), own_NAD, torch.zeros_like(own_NAD[:, :1])], 1)
            seen_NAD = torch.cat([beside_NAD[:, :-2], own_NAD, beside_NAD[:, 2:]], -1)
            owner_N = video_R[row_N].repeat_interleave(self.num_agents)
            with torch.autocast(own_NAD.device.type, enabled=False):
                rows = seen_NAD.flatten(0, 1), h_RAH[row_N].flatten(0, 1)
                h_NH = ledger.run("observe", self.observe, *rows, owner_N=owner_N)
                logits_NM = ledger.run("policy", self.policy, h_NH, owner_N=owner_N)
            policy = torch.distributions.Categorical(logits=logits_NM)
            drawn_N = policy.sample() if self.policy.training else logits_NM.argmax(1)
            by_agent = (len(row_N), self.num_agents)
            drawn_NA = drawn_N.view(by_agent)
            moves.append(torch.ones_like(place_RA).index_put((row_N,), drawn_NA))
            log_probs.append(zeros_RA.index_put((row_N,), policy.log_prob(drawn_N).view(by_agent)))
            entropies.append(zeros_RA.index_put((row_N,), policy.entropy().view(by_agent)))
            moving.append(moves_R)
            h_RAH = h_RAH.index_put((row_N,), h_NH.view(*by_agent, -1))
            place_RA = torch.minimum((place_RA + move_M[moves[-1]]).clamp(min=0), num_R1 - 1)
            places.append(place_RA)
            moves_R = moves_R.index_put((row_N,), (drawn_NA != MOVES.index(0)).any(1))
        trace = (torch.stack(part) for part in (places, log_probs, entropies, moves, moving))
        return Steps(*trace)

    # Training: the network, then the agents beside its head

    def network_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Uniform's."""
        return {"loss": consensus_loss(ledger, "network", self.network, batch)}

    def agents_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """REINFORCE for every agent, and the cross-entropy of the classifier at the frames that agents visit."""
        mask_BT = batch.mask["frames"]
        looks = Looks(ledger, "network", self.network, batch.frames["frames"])
        steps = self.move(looks, mask_BT, ledger, ROLLOUTS)
        video_R = torch.arange(len(mask_BT), device=mask_BT.device).repeat(ROLLOUTS)
        visited_BT = at_places(steps.place_SRA.permute(1, 0, 2).flatten(1), mask_BT, video_R)
        logits_BTK = run_on_rows(ledger, "head", self.network.head, looks.at(visited_BT), chosen_BT=visited_BT)
        label_BTK = batch.label_BK[:, None].expand_as(logits_BTK)
        error = cross_entropy(logits_BTK[visited_BT], label_BTK[visited_BT]).mean()
        share_BTK = label_BTK / label_BTK.sum(-1, keepdim=True)
        worth_BT = (logits_BTK.detach().float().softmax(-1) * share_BTK).sum(-1)
        worth_SRA = worth_BT[video_R[:, None], steps.place_SRA]
        reward_RAS = (worth_SRA[1:] - worth_SRA[:-1]).permute(1, 2, 0)
        return_SRA = returns(reward_RAS.flatten(0, 1), DISCOUNT).view(reward_RAS.shape).permute(2, 0, 1)
        of_rollout = return_SRA.unflatten(1, (ROLLOUTS, len(mask_BT)))
        others = (of_rollout.sum(1, keepdim=True) - of_rollout) / (ROLLOUTS - 1)
        gain_SRA = (of_rollout - others).flatten(1, 2).to(steps.log_prob_SRA.dtype)
        num_rollouts = len(video_R)
        policy = -(gain_SRA * steps.log_prob_SRA).sum() / num_rollouts
        num_moves = (steps.moves_SR.sum() * self.num_agents).clamp(min=1)
        entropy = steps.entropy_SRA.sum() / num_moves
        terms = {"error": error, "reward": reward_RAS.sum() / num_rollouts, "entropy": entropy}
        terms["modal"] = modal_share(steps.move_SRA[steps.moves_SR].flatten())
        terms["frames"] = visited_BT.sum(1).float().mean()
        return {"loss": error + policy - ENTROPY_WEIGHT * entropy, **terms}


def at_places(place_RA: Tensor, mask_BT: Tensor, video_R: Tensor | None = None) -> Tensor:
    """The frames (B, T) at which agents are: in each row those of a video, which is the row's unless it is said."""
    at_BT = torch.zeros_like(mask_BT)
    video_R = torch.arange(len(mask_BT), device=mask_BT.device) if video_R is None else video_R
    at_BT[video_R[:, None].expand_as(place_RA), place_RA] = True
    return at_BT & mask_BT
