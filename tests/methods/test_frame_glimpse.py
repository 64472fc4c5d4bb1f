"""FrameGlimpse: glimpses against a plain loop, what they cost, the agent's losses by hand, controls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adavid.cost import Ledger, price
from adavid.losses import cross_entropy
from adavid.networks.backbones import BackboneSpec
from benchmarks.compose import compose
from methods.frame_glimpse import DEVIATION, FrameGlimpse
from tests.conftest import NUM_CLASSES, opinionated, padded_batch

NETWORK = BackboneSpec("narrow/4-8-8", 32)
LENGTHS = [8, 8, 5, 1]
HIDDEN = 10


def make(**settings) -> FrameGlimpse:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    return opinionated(
        FrameGlimpse(NUM_CLASSES, **{"network": NETWORK, "num_frames": 8, "steps": 3, "hidden": HIDDEN, **settings})
    )


class ByHand:
    """One video by itself: its state after every glimpse."""

    def __init__(self, method: FrameGlimpse, frames_TCHW: Tensor) -> None:
        self.method, self.num_frames = method, len(frames_TCHW)
        self.feature_TD = method.network.backbone(frames_TCHW)
        self.state: tuple[Tensor, Tensor] = (torch.zeros(1, HIDDEN), torch.zeros(1, HIDDEN))

    def look(self, frame: int) -> Tensor:
        """The state h (H,) after one more glimpse."""
        place = torch.tensor([(frame + 0.5) / self.num_frames])
        coded = self.method.observe.place(place).sigmoid()
        seen_H = self.method.observe.both(torch.cat([self.feature_TD[frame], coded])).relu()
        self.state = self.method.lstm(seen_H[None], self.state)
        return self.state[0][0]

    def walk(self) -> list[int]:
        visited, target, at = list[int](), self.num_frames // 2, -1
        while len(visited) < min(3, self.num_frames):
            ahead = [*range(target, self.num_frames), *range(target - 1, -1, -1)]
            behind = [*range(target, -1, -1), *range(target + 1, self.num_frames)]
            at = next(t for t in (ahead if target >= at else behind) if t not in visited)
            visited.append(at)
            place = float(self.method.locate(self.look(at)).sigmoid())
            target = min(int(place * self.num_frames), self.num_frames - 1)
        return visited


@torch.no_grad()
def test_glimpses_against_a_plain_loop() -> None:
    method = make()
    batch, ledger = padded_batch(method, LENGTHS), Ledger(4)
    output = method(batch, ledger)
    for b, length in enumerate(LENGTHS):
        video = ByHand(method, batch.frames["frames"][b, :length])
        visited = video.walk()
        codes_T = [visited.index(t) if t in visited else 3 for t in range(length)]
        assert output.action_BT[b].tolist() == [*codes_T, *[-1] * (8 - length)]
        torch.testing.assert_close(output.logits_BK[b], method.predict(video.state[0][0]))
    num_steps, num_features = [3, 3, 3, 1], method.network.backbone.num_features
    row = price(method.network.backbone, torch.zeros(1, 3, 32, 32)).macs
    assert ledger.macs["network"].tolist() == [row * num for num in num_steps]
    assert ledger.macs["observe"].tolist() == [(1 + (num_features + 1) * HIDDEN) * num for num in num_steps]
    assert ledger.macs["lstm"].tolist() == [4 * HIDDEN * (HIDDEN + HIDDEN) * num for num in num_steps]
    assert ledger.macs["locate"].tolist() == [HIDDEN * (num - 1) for num in num_steps]
    assert ledger.macs["predict"].tolist() == [HIDDEN * NUM_CLASSES] * 4
    again = method(batch, Ledger(4), forced=output.action_BT)
    assert torch.equal(again.logits_BK, output.logits_BK) and torch.equal(again.action_BT, output.action_BT)


@pytest.mark.parametrize("reward", ["probability", "correct"])
def test_the_agents_losses_by_hand(reward: str) -> None:
    """Cross-entropy, what is expected, and REINFORCE, of the walk that was drawn."""
    method = make(reward=reward)
    method.locate.train()
    batch = padded_batch(method, LENGTHS)
    torch.manual_seed(1)
    terms = method.agent_loss(batch, Ledger(4))
    torch.manual_seed(1)
    _, action_BT, steps = method.walk(batch, Ledger(4))
    errors, rewards, expectation, policy = [], [], torch.zeros(()), 0.0
    for b, length in enumerate(LENGTHS):
        visited = sorted((t for t in range(length) if action_BT[b, t] < 3), key=lambda t: int(action_BT[b, t]))
        video, label = ByHand(method, batch.frames["frames"][b, :length]), int(batch.label_BK[b].argmax())
        states = [video.look(t) for t in visited]
        prob_K = method.predict(states[-1]).detach().softmax(0)
        errors.append(cross_entropy(method.predict(states[-1])[None], batch.label_BK[b : b + 1])[0])
        rewards.append(float(prob_K[label]) if reward == "probability" else float(prob_K.argmax() == label))
        for step, h_H in zip(steps, states[:-1], strict=False):
            row = step.video_M.tolist().index(b)
            gain = rewards[-1] - method.expect(h_H)[0]
            expectation = expectation + gain.square() / 4
            torch.testing.assert_close(step.mean_M[row], method.locate(h_H)[0].sigmoid())
            policy -= float(gain.detach() * step.log_prob_M[row].detach()) / 4
    torch.testing.assert_close(terms["error"], torch.stack(errors).mean())
    assert float(terms["reward"]) == pytest.approx(sum(rewards) / 4, abs=1e-6)
    torch.testing.assert_close(terms["expectation"], expectation)
    torch.testing.assert_close(terms["loss"], torch.stack(errors).mean() + expectation + policy)


def test_places_are_drawn_around_what_it_says() -> None:
    """The log density of N(l, .08^2), whose gradient to l is that of REINFORCE."""
    method = make(steps=2)
    method.locate.train()
    (step, _) = method.walk(padded_batch(method, [8]), Ledger(1))[2]
    mean, log_prob = float(step.mean_M.detach()), float(step.log_prob_M.detach())
    distance = (-2 * (log_prob + 0.9189385332 + torch.tensor(DEVIATION).log())).clamp(min=0).sqrt() * DEVIATION
    (gradient,) = torch.autograd.grad(step.log_prob_M.sum(), step.mean_M)
    assert abs(float(gradient)) == pytest.approx(float(distance) / DEVIATION**2, rel=1e-3) and 0 < mean < 1


@torch.no_grad()
def test_controls_say_no_places_and_are_of_one_training() -> None:
    for choice in ("even", "random"):
        control, ledger = make(choice=choice), Ledger(4)
        action_BT = control(padded_batch(control, LENGTHS), ledger).action_BT
        assert "locate" not in ledger.macs
        assert [[code for code in row if 0 <= code < 3] for row in action_BT.tolist()] == [[0, 1, 2]] * 3 + [[0]]
    run = compose("frame_glimpse")
    others = [compose("frame_glimpse", variant=name) for name in ("even", "random", "correct")]
    assert [other.model_hash == run.model_hash for other in others] == [True, True, False]


def test_errors() -> None:
    with pytest.raises(ValueError, match="^frame_glimpse: steps must be 2 or more, got 1$"):
        make(steps=1)
