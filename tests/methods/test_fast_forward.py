"""FastForward: what it reads against a plain loop, what that costs, the agent's losses by hand, frames as they come."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adavid.cost import Ledger, price
from adavid.losses import cross_entropy
from adavid.networks.backbones import BackboneSpec
from benchmarks.compose import compose
from methods.fast_forward import ENTROPY_WEIGHT, FastForward, FastForwardOnline
from tests.conftest import NUM_CLASSES, opinionated, padded_batch

NETWORK = BackboneSpec("narrow/4-8-8", 32)
LENGTHS = [8, 8, 5, 1]
HIDDEN, STEPS = 10, 5
SEEDS = (0, 6, 7, 9)


def make(method_class: type = FastForward, seed: int = 0, **settings):  # type: ignore[no-untyped-def]
    jumps = [-2, -1, 1, 2, 4] if method_class is FastForward else [1, 2, 4]
    torch.manual_seed(seed)
    sizes = {"num_frames": 8, "steps": STEPS, "hidden": HIDDEN, "jumps": jumps, "k": 3, "price": 0.1}
    return opinionated(method_class(NUM_CLASSES, **{"network": NETWORK, **sizes, **settings}), seed)


class ByHand:
    """One video by itself: its state after every frame that is read."""

    def __init__(self, method: FastForward | FastForwardOnline, frames_TCHW: Tensor) -> None:
        self.method, self.num_frames = method, len(frames_TCHW)
        self.feature_TD = method.network.backbone(frames_TCHW)
        self.state: tuple[Tensor, Tensor] = (torch.zeros(1, HIDDEN), torch.zeros(1, HIDDEN))

    def read(self, frame: int) -> Tensor:
        """The state h (H,) after one more frame."""
        self.state = self.method.lstm(self.feature_TD[frame][None], self.state)
        return self.state[0][0]

    def walk(self) -> list[int]:
        visited, target, ahead = list[int](), 0, True
        while len(visited) < min(STEPS, self.num_frames):
            onward = [*range(target, self.num_frames), *range(target - 1, -1, -1)]
            back = [*range(min(target, self.num_frames - 1), -1, -1), *range(max(target, -1) + 1, self.num_frames)]
            at = next(t for t in (onward if ahead else back) if t not in visited)
            visited.append(at)
            h_H = self.read(at)
            jump = self.method.jumps[int(self.method.jump(h_H).argmax())]
            target, ahead = at + jump, jump > 0
            if float(self.method.stop(h_H)) > 0 or target >= self.num_frames:
                break
        return visited


@torch.no_grad()
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method_class", [FastForward, FastForwardOnline])
def test_what_is_read_against_a_plain_loop(method_class: type, seed: int) -> None:
    method = make(method_class, seed)
    batch, ledger = padded_batch(method, LENGTHS), Ledger(4)
    output, num_steps = method(batch, ledger), []
    for b, length in enumerate(LENGTHS):
        video = ByHand(method, batch.frames["frames"][b, :length])
        visited = video.walk()
        if method_class is FastForward:
            codes_T = [visited.index(t) if t in visited else STEPS for t in range(length)]
        else:
            codes_T = [int(t not in visited) for t in range(length)]
        assert output.action_BT[b].tolist() == [*codes_T, *[-1] * (8 - length)]
        torch.testing.assert_close(output.logits_BK[b], method.predict(video.state[0][0]))
        num_steps.append(len(visited))
    row = price(method.network.backbone, torch.zeros(1, 3, 32, 32)).macs
    assert ledger.macs["network"].tolist() == [row * num for num in num_steps]
    num_features, num_decided = method.network.backbone.num_features, [min(num, STEPS - 1) for num in num_steps]
    assert ledger.macs["lstm"].tolist() == [4 * HIDDEN * (num_features + HIDDEN) * num for num in num_steps]
    assert ledger.macs["stop"].tolist() == [HIDDEN * num for num in num_decided]
    assert ledger.macs["jump"].tolist() == [HIDDEN * len(method.jumps) * num for num in num_decided]
    assert "expect" not in ledger.macs
    again = method(batch, Ledger(4), forced=output.action_BT)
    assert torch.equal(again.logits_BK, output.logits_BK) and torch.equal(again.action_BT, output.action_BT)


def test_some_stop_early_and_some_go_back() -> None:
    actions = []
    for seed in SEEDS:
        method = make(seed=seed)
        actions += method(padded_batch(method, [8, 8, 8, 8]), Ledger(4)).action_BT.tolist()
    orders = [[code for code in row if code < STEPS] for row in actions]
    assert len({len(order) for order in orders}) > 1
    assert any(order != sorted(order) for order in orders)


@pytest.mark.parametrize("method_class", [FastForward, FastForwardOnline])
def test_the_agents_losses_by_hand(method_class: type) -> None:
    """Cross-entropy, what is expected, both heads' entropies, and REINFORCE, of what was drawn."""
    method = make(method_class)
    method.stop.train()
    batch = padded_batch(method, LENGTHS)
    torch.manual_seed(1)
    terms = method.agent_loss(batch, Ledger(4))
    torch.manual_seed(1)
    output = method(batch, Ledger(4))
    aux, never = output.aux, STEPS if method_class is FastForward else 1
    errors, rewards, expectation, policy, entropy = [], [], torch.zeros(()), torch.zeros(()), torch.zeros(())
    for b, length in enumerate(LENGTHS):
        codes = output.action_BT[b].tolist()
        visited = sorted((t for t in range(length) if codes[t] < never), key=lambda t: codes[t])
        video, label = ByHand(method, batch.frames["frames"][b, :length]), int(batch.label_BK[b].argmax())
        states = [video.read(t) for t in visited]
        errors.append(cross_entropy(method.predict(states[-1])[None], batch.label_BK[b : b + 1])[0])
        rewards.append(float(method.predict(states[-1]).detach().softmax(0)[label]) - 0.1 * len(visited))
        decided = [n for n, video_n in enumerate(aux["video_N"].tolist()) if video_n == b]
        assert len(decided) == min(len(visited), STEPS - 1)
        for n, h_H in zip(decided, states, strict=False):
            gain, stops, jump = rewards[-1] - method.expect(h_H.detach())[0], aux["stops_N"][n], aux["jump_N"][n]
            prob_stop, prob_J = method.stop(h_H)[0].sigmoid(), method.jump(h_H).softmax(0)
            log_prob = prob_stop.log() if stops else (1 - prob_stop).log() + prob_J[jump].log()
            expectation = expectation + gain.square() / 4
            policy = policy - gain.detach() * log_prob / 4
            entropy = entropy + torch.distributions.Bernoulli(prob_stop).entropy() / 4
            entropy = entropy + torch.distributions.Categorical(prob_J).entropy() / 4
    torch.testing.assert_close(terms["error"], torch.stack(errors).mean())
    assert float(terms["reward"]) == pytest.approx(sum(rewards) / 4, abs=1e-6)
    torch.testing.assert_close(terms["expectation"], expectation)
    torch.testing.assert_close(terms["entropy"] * len(aux["video_N"]) / 4, entropy)
    expected = torch.stack(errors).mean() + policy + expectation - ENTROPY_WEIGHT * entropy
    torch.testing.assert_close(terms["loss"], expected)
    of_stop = [
        torch.autograd.grad(loss, method.stop.weight, retain_graph=True)[0] for loss in (terms["loss"], expected)
    ]
    torch.testing.assert_close(*of_stop)


def test_the_warmup_learns_after_every_frame() -> None:
    method = make(steps=8)  # of frames in their order all there are, so that nothing is left to chance
    batch, errors = padded_batch(method, LENGTHS), []
    for b, length in enumerate(LENGTHS):
        video = ByHand(method, batch.frames["frames"][b, :length])
        label = batch.label_BK[b : b + 1].argmax(1)
        errors += [F.cross_entropy(method.predict(video.read(t))[None], label) for t in range(length)]
    torch.testing.assert_close(method.warmup_loss(batch, Ledger(4))["loss"], torch.stack(errors).mean())


@torch.no_grad()
def test_controls_decide_nothing_and_are_of_one_training() -> None:
    for choice in ("even", "random"):
        control, ledger = make(choice=choice), Ledger(4)
        action_BT = control(padded_batch(control, LENGTHS), ledger).action_BT
        assert set(ledger.macs) == {"network", "lstm", "predict"}
        assert [[code for code in row if 0 <= code < STEPS] for row in action_BT.tolist()] == [[0, 1, 2]] * 3 + [[0]]
    for choice, frames in (("first", [0, 1, 2]), ("even", [0, 2, 4])):  # every (8 // 3)-th, however long the video
        control, ledger = make(FastForwardOnline, choice=choice), Ledger(4)
        batch = padded_batch(control, LENGTHS)
        action_BT = control(batch, ledger).action_BT
        assert set(ledger.macs) == {"network", "lstm", "predict"}
        expected_BT = torch.ones_like(action_BT)
        expected_BT[:, frames] = 0
        assert torch.equal(action_BT, expected_BT.masked_fill(~batch.mask["frames"], -1))
    run, online = compose("fast_forward"), compose("fast_forward_online")
    others = [compose("fast_forward", variant=name) for name in ("even", "random")]
    assert all(other.model_hash == run.model_hash for other in others)
    others = [compose("fast_forward_online", variant=name) for name in ("even", "first")]
    assert all(other.model_hash == online.model_hash != run.model_hash for other in others)


def test_errors() -> None:
    with pytest.raises(ValueError, match="^fast_forward: steps must be 2 or more and jumps none of 0, got 1 and "):
        make(steps=1)
    with pytest.raises(ValueError, match="^fast_forward: k must lie in 1 to 5, the steps, got 6$"):
        make(k=6)
    with pytest.raises(ValueError, match=r"^fast_forward_online: jumps must lead ahead, got \[-1, 1\]$"):
        make(FastForwardOnline, jumps=[-1, 1])
