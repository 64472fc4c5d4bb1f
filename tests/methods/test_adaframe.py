"""AdaFrame: walks against a plain loop, when they stop, what they cost, the agent's losses by hand, controls."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from adavid.cost import Ledger, price
from adavid.data.transforms import resize_frames
from adavid.losses import cross_entropy
from adavid.networks.backbones import BackboneSpec
from benchmarks.compose import compose
from methods.adaframe import AdaFrame
from tests.conftest import NUM_CLASSES, opinionated, padded_batch

LARGE, SMALL = BackboneSpec("narrow/4-8-8", 32), BackboneSpec("narrow/4-4-4", 16)
LENGTHS = [8, 8, 5, 1]
HIDDEN, DISCOUNT = 10, 0.9


def make(**settings) -> AdaFrame:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    sizes = {"num_frames": 8, "memory": 3, "steps": 6, "hidden": HIDDEN, "mu": 0.1, "k": 4}
    return opinionated(AdaFrame(NUM_CLASSES, **{"network": LARGE, "glance": SMALL, **sizes, **settings}))


def codes(place: int, num_features: int) -> list[float]:
    angles = [place / 10000 ** (2 * (d // 2) / num_features) for d in range(num_features)]
    return [math.sin(angle) if d % 2 == 0 else math.cos(angle) for d, angle in enumerate(angles)]


class ByHand:
    """One video by itself: what it remembers, and its state after every frame that it looks at."""

    def __init__(self, method: AdaFrame, frames_TCHW: Tensor) -> None:
        self.method, self.num_frames = method, len(frames_TCHW)
        slots = min(3, self.num_frames)
        held = [(2 * m + 1) * self.num_frames // (2 * slots) for m in range(slots)]
        self.feature_TD = method.network.backbone(frames_TCHW)
        self.glance_MD = method.glance.backbone(resize_frames(frames_TCHW[held], 16))
        self.key_MD = self.glance_MD + torch.tensor([codes(t, self.glance_MD.shape[1]) for t in held])
        self.state: tuple[Tensor, Tensor] = (torch.zeros(1, HIDDEN), torch.zeros(1, HIDDEN))

    def look(self, frame: int) -> Tensor:
        """The state h (H,) after one more frame."""
        fit_M = self.key_MD @ self.method.context.query(self.state[0])[0]
        context_D = fit_M.softmax(0) @ self.glance_MD
        self.state = self.method.lstm(torch.cat([self.feature_TD[frame], context_D])[None], self.state)
        return self.state[0][0]

    def nearest(self, target: int, at: int, visited: list[int]) -> int:
        ahead = [*range(target, self.num_frames)], [*range(target - 1, -1, -1)]
        behind = [*range(target, -1, -1)], [*range(target + 1, self.num_frames)]
        order = ahead if target >= at else behind
        return next(t for part in order for t in part if t not in visited)

    def walk(self) -> list[int]:
        visited, target, at, utilities = list[int](), self.num_frames // 2, -1, list[float]()
        while True:
            at = self.nearest(target, at, visited)
            visited.append(at)
            h_H = self.look(at)
            utilities.append(float(self.method.utility(h_H)))
            num_low = sum(max(utilities[: s + 1]) - of > self.method.mu for s, of in enumerate(utilities))
            is_over = num_low >= {8: 3, 6: 2, 4: 2}[self.method.steps]
            if is_over or len(visited) in (self.method.steps, self.num_frames):
                return visited
            place = float(self.method.select(h_H).sigmoid())
            target = min(int(place * self.num_frames), self.num_frames - 1)


@torch.no_grad()
@pytest.mark.parametrize(("steps", "mu"), [(8, 0.0), (6, 10.0), (6, -1.0), (4, -1.0)])
def test_walks_against_a_plain_loop(steps: int, mu: float) -> None:
    method = make(steps=steps, mu=mu, k=2)
    batch, ledger = padded_batch(method, LENGTHS), Ledger(4)
    output, num_steps = method(batch, ledger), []
    for b, length in enumerate(LENGTHS):
        video = ByHand(method, batch.frames["frames"][b, :length])
        visited = video.walk()
        codes_T = [visited.index(t) if t in visited else steps for t in range(length)]
        assert output.action_BT[b].tolist() == [*codes_T, *[-1] * (8 - length)]
        torch.testing.assert_close(output.logits_BK[b], method.predict(video.state[0][0]))
        num_steps.append(len(visited))
    if mu == 0.0:
        assert min(num_steps[:2]) < steps
    else:  # below 0 every frame counts against going on
        longest = method.patience if mu < 0.0 else steps
        assert num_steps == [min(longest, length) for length in LENGTHS]
    row = price(method.network.backbone, torch.zeros(1, 3, 32, 32)).macs
    assert ledger.macs["network"].tolist() == [row * num for num in num_steps]
    row = price(method.glance.backbone, torch.zeros(1, 3, 16, 16)).macs
    assert ledger.macs["glance"].tolist() == [row * min(3, length) for length in LENGTHS]
    num_features, num_glance = method.network.backbone.num_features, method.glance.backbone.num_features
    assert ledger.macs["lstm"].tolist() == [4 * HIDDEN * (num_features + num_glance + HIDDEN) * n for n in num_steps]
    assert ledger.macs["utility"].tolist() == [HIDDEN * num for num in num_steps]
    assert ledger.macs["select"].tolist() == [HIDDEN * (num - 1) for num in num_steps]


@torch.no_grad()
def test_decisions_of_its_own_are_replayed() -> None:
    method = make()
    batch = padded_batch(method, LENGTHS)
    own = method(batch, Ledger(4))
    again = method(batch, Ledger(4), forced=own.action_BT)
    assert torch.equal(again.logits_BK, own.logits_BK) and torch.equal(again.action_BT, own.action_BT)


def test_the_agents_losses_by_hand() -> None:
    """Rewards, returns, utility's error and the policy gradient, of the walk that was drawn."""
    method = make(steps=3, k=2)
    method.utility.train(), method.select.train()
    batch = padded_batch(method, LENGTHS)
    torch.manual_seed(1)
    terms = method.agent_loss(batch, Ledger(4))
    torch.manual_seed(1)
    _, action_BT, steps = method.walk(batch, Ledger(4))
    errors, utility_losses, policy_losses, rewards = [], [], [], []
    for b, length in enumerate(LENGTHS):
        visited = sorted((t for t in range(length) if action_BT[b, t] < 3), key=lambda t: action_BT[b, t])
        assert len(visited) == min(3, length)
        video, label = ByHand(method, batch.frames["frames"][b, :length]), int(batch.label_BK[b].argmax())
        margins, states = [0.0], []
        for t in visited:
            states.append(video.look(t))
            prob_K = method.predict(states[-1]).detach().softmax(0)
            others = max(float(prob_K[k]) for k in range(NUM_CLASSES) if k != label)
            margins.append(float(prob_K[label]) - others)
        reward = [max(0.0, margins[s + 1] - max(margins[: s + 1])) for s in range(len(visited))]
        returns = [sum(DISCOUNT ** (u - s) * reward[u] for u in range(s, len(reward))) for s in range(len(reward))]
        utilities = [method.utility(h_H)[0] for h_H in states]
        log_probs = [
            float(step.log_prob_M.detach()[step.video_M.tolist().index(b)]) if b in step.video_M else 0.0
            for step in steps
        ][: len(visited)]
        assert [of != 0 for of in log_probs] == [True] * (len(visited) - 1) + [False]  # nothing after the last frame
        errors.append(cross_entropy(method.predict(states[-1])[None], batch.label_BK[b : b + 1])[0])
        utility_losses.append(sum(0.5 * (u - r) ** 2 for u, r in zip(utilities, returns, strict=True)))
        policy_losses.append(
            -sum(p * (r - float(u.detach())) for p, r, u in zip(log_probs, returns, utilities, strict=True))
        )
        rewards.append(sum(reward))
    torch.testing.assert_close(terms["error"], torch.stack(errors).mean())
    torch.testing.assert_close(terms["utility"], torch.stack(utility_losses).mean())
    assert float(terms["reward"]) == pytest.approx(sum(rewards) / 4, abs=1e-6)
    expected = torch.stack(errors).mean() + torch.stack(utility_losses).mean() + sum(policy_losses) / 4
    torch.testing.assert_close(terms["loss"], expected)


@torch.no_grad()
def test_controls_have_no_heads_to_pay_and_are_of_one_training() -> None:
    for choice in ("even", "random"):
        control, ledger = make(choice=choice), Ledger(4)
        action_BT = control(padded_batch(control, LENGTHS), ledger).action_BT
        assert not {"select", "utility"} & set(ledger.macs)
        assert [sorted(c for c in row if 0 <= c < 6) for row in action_BT.tolist()] == [[0, 1, 2, 3]] * 3 + [[0]]
        assert all(row == sorted(row) for row in [[c for c in row if 0 <= c < 6] for row in action_BT.tolist()])
    run = compose("adaframe")
    others = [compose("adaframe", variant=name) for name in ("even", "random", "five")]
    assert [other.model_hash == run.model_hash for other in others] == [True, True, False]


def test_errors() -> None:
    with pytest.raises(ValueError, match="^adaframe: memory must be 1 or more and steps 2 or more, got 0 and 6$"):
        make(memory=0)
    with pytest.raises(ValueError, match="^adaframe: k must lie in 1 to 6, the steps, got 7$"):
        make(k=7)
