"""MultiAgent: moves against a plain loop, what they cost, the agents' losses by hand, controls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adavid.cost import Ledger, price
from adavid.losses import cross_entropy
from adavid.networks.backbones import BackboneSpec
from adavid.walk import Looks
from benchmarks.compose import compose
from methods.multi_agent import ANSWERED, DISCOUNT, ENTROPY_WEIGHT, MOVES, PASSED, ROLLOUTS, SKIP, MultiAgent
from tests.conftest import NUM_CLASSES, opinionated, padded_batch

NETWORK = BackboneSpec("narrow/4-8-8", 32)
LENGTHS = [8, 8, 5, 1]
HIDDEN, AGENTS, STEPS = 10, 3, 4


def make(seed: int = 0, **settings) -> MultiAgent:  # type: ignore[no-untyped-def]
    torch.manual_seed(seed)
    sizes = {"num_frames": 8, "agents": AGENTS, "steps": STEPS, "hidden": HIDDEN, "k": 4}
    return opinionated(MultiAgent(NUM_CLASSES, **{"network": NETWORK, **sizes, **settings}), seed)


class ByHand:
    """One video by itself: where its agents are, what each remembers, and how they move."""

    def __init__(self, method: MultiAgent, frames_TCHW: Tensor) -> None:
        self.method, self.num_frames = method, len(frames_TCHW)
        self.feature_TD = method.network.backbone(frames_TCHW)
        self.places = [(2 * a + 1) * self.num_frames // (2 * AGENTS) for a in range(AGENTS)]
        self.h = [torch.zeros(1, HIDDEN) for _ in range(AGENTS)]

    def observe(self) -> Tensor:
        """The policy's logits (A, moves)."""
        nothing_D = torch.zeros_like(self.feature_TD[0])
        of = [nothing_D, *(self.feature_TD[place] for place in self.places), nothing_D]
        for a in range(AGENTS):
            self.h[a] = self.method.observe(torch.cat(of[a : a + 3])[None], self.h[a])
        return torch.cat([self.method.policy(h_1H) for h_1H in self.h])

    def move(self, moves: list[int]) -> None:
        self.places = [
            min(max(place + MOVES[move], 0), self.num_frames - 1)
            for place, move in zip(self.places, moves, strict=True)
        ]

    def walk(self) -> tuple[set[int], set[int], int]:
        """The frames that were visited, those of the answer, and the number of steps."""
        visited, num_steps = set(self.places), 0
        while num_steps < STEPS:
            moves, num_steps = self.observe().argmax(1).tolist(), num_steps + 1
            self.move(moves)
            visited |= set(self.places)
            if all(MOVES[move] == 0 for move in moves):
                break
        return visited, set(self.places), num_steps


def answer(method: MultiAgent, feature_TD: Tensor, frames: set[int]) -> Tensor:
    """The log of the mean probability (K,)."""
    return method.network.head(feature_TD[sorted(frames)]).softmax(1).mean(0).log()


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_moves_against_a_plain_loop(seed: int) -> None:
    method = make(seed)
    batch, ledger = padded_batch(method, LENGTHS), Ledger(4)
    output, num_visited, num_steps = method(batch, ledger), [], []
    for b, length in enumerate(LENGTHS):
        video = ByHand(method, batch.frames["frames"][b, :length])
        visited, answered, steps = video.walk()
        codes = [ANSWERED if t in answered else PASSED if t in visited else SKIP for t in range(length)]
        assert output.action_BT[b].tolist() == [*codes, *[-1] * (8 - length)]
        torch.testing.assert_close(output.logits_BK[b], answer(method, video.feature_TD, answered))
        num_visited.append(len(visited | answered))
        num_steps.append(steps)
    row = price(method.network.backbone, torch.zeros(1, 3, 32, 32)).macs
    assert ledger.macs["network"].tolist() == [row * num for num in num_visited]
    num_features = method.network.backbone.num_features
    of_gru = 3 * HIDDEN * (3 * num_features + HIDDEN)
    assert ledger.macs["observe"].tolist() == [of_gru * AGENTS * num for num in num_steps]
    assert ledger.macs["policy"].tolist() == [len(MOVES) * HIDDEN * AGENTS * num for num in num_steps]


@torch.no_grad()
def test_a_replay_looks_at_the_same_frames_without_moving() -> None:
    method, ledger = make(), Ledger(4)
    batch = padded_batch(method, LENGTHS)
    own = method(batch, Ledger(4))
    again = method(batch, ledger, forced=own.action_BT)
    torch.testing.assert_close(again.logits_BK, own.logits_BK)  # the network's calls hold other frames
    assert torch.equal(again.action_BT, own.action_BT)
    assert set(ledger.macs) == {"network", "head"}


def test_agents_move_and_some_meet() -> None:
    with torch.no_grad():
        actions = [make(seed)(padded_batch(make(seed), [8] * 4), Ledger(4)).action_BT for seed in range(4)]
    action_NT = torch.cat(actions)
    assert (action_NT == PASSED).any() and ((action_NT == ANSWERED).sum(1) < AGENTS).any()


def test_the_agents_losses_by_hand() -> None:
    """Rewards, discounted returns against those of the other rollout, entropy and the classifier's error."""
    method = make()
    method.policy.train()
    batch = padded_batch(method, LENGTHS)
    torch.manual_seed(1)
    terms = method.agents_loss(batch, Ledger(4))
    torch.manual_seed(1)
    steps = _moves(method, batch)
    num_videos, errors, reward, entropies, policy = len(LENGTHS), [], 0.0, [], torch.zeros(())
    for b, length in enumerate(LENGTHS):
        label, visited, returns, log_probs = int(batch.label_BK[b].argmax()), set[int](), {}, {}
        for r in range(ROLLOUTS):
            row, video = r * num_videos + b, ByHand(method, batch.frames["frames"][b, :length])
            worth_T = method.network.head(video.feature_TD).detach().softmax(1)[:, label]
            worths, num_moves = [worth_T[video.places]], int(steps.moves_SR[:, row].sum())
            visited |= set(video.places)
            for s in range(num_moves):
                assert video.places == steps.place_SRA[s, row].tolist()
                policy_A = torch.distributions.Categorical(logits=video.observe())
                moves_A = steps.move_SRA[s, row]
                log_probs[r, s] = policy_A.log_prob(moves_A)
                entropies.append(policy_A.entropy())
                video.move(moves_A.tolist())
                visited |= set(video.places)
                worths.append(worth_T[video.places])
            reward += float((worths[-1] - worths[0]).sum())
            for s in range(steps.moves_SR.shape[0]):
                later = [DISCOUNT ** (u - s) * (worths[u + 1] - worths[u]) for u in range(s, num_moves)]
                returns[r, s] = torch.stack(later).sum(0) if later else torch.zeros(AGENTS)
        for (r, s), log_prob_A in log_probs.items():
            policy = policy - ((returns[r, s] - returns[1 - r, s]) * log_prob_A).sum() / (ROLLOUTS * num_videos)
        for t in sorted(visited):
            logits_1K = method.network.head(method.network.backbone(batch.frames["frames"][b, t : t + 1]))
            errors.append(cross_entropy(logits_1K, batch.label_BK[b : b + 1])[0])
    error, entropy = torch.stack(errors).mean(), torch.cat(entropies).mean()
    torch.testing.assert_close(terms["error"], error)
    torch.testing.assert_close(terms["entropy"], entropy)
    assert float(terms["reward"]) == pytest.approx(reward / (ROLLOUTS * num_videos), abs=1e-6)
    torch.testing.assert_close(terms["loss"], error + policy - ENTROPY_WEIGHT * entropy)


def _moves(method: MultiAgent, batch):  # type: ignore[no-untyped-def]
    looks = Looks(Ledger(len(batch.label_BK)), "network", method.network, batch.frames["frames"])
    return method.move(looks, batch.mask["frames"], Ledger(len(batch.label_BK)), ROLLOUTS)


@torch.no_grad()
def test_controls_have_no_agents_and_are_of_one_training() -> None:
    for choice in ("even", "random"):
        control, ledger = make(choice=choice), Ledger(4)
        action_BT = control(padded_batch(control, LENGTHS), ledger).action_BT
        assert set(ledger.macs) == {"network", "head"}
        assert (action_BT == ANSWERED).sum(1).tolist() == [4, 4, 4, 1] and not (action_BT == PASSED).any()
    run = compose("multi_agent")
    assert all(compose("multi_agent", variant=name).model_hash == run.model_hash for name in ("even", "random"))


def test_errors() -> None:
    with pytest.raises(ValueError, match="^multi_agent: agents, steps, hidden and k must be 1 or more$"):
        make(agents=0)
