"""Policy gradients in closed form.

B videos, T decisions, N decisions of all videos, A actions.
"""

import math
from itertools import product

import pytest
import torch

from adavid.policy_gradient import discounted_returns, leave_one_out_advantage, ppo_loss, reinforce_loss


def test_the_advantage_is_over_the_other_videos() -> None:
    advantage_B = leave_one_out_advantage(torch.tensor([1.0, 3.0, 8.0]))
    torch.testing.assert_close(advantage_B, torch.tensor([1 - (3 + 8) / 2, 3 - (1 + 8) / 2, 8 - (1 + 3) / 2]))
    assert leave_one_out_advantage(torch.full((4,), 0.3)).abs().max() < 1e-6
    assert leave_one_out_advantage(torch.tensor([2.0])) == 2, "a single video has no others"


def test_reinforce_in_closed_form() -> None:
    log_prob_B = torch.tensor([-0.5, -1.0, -2.0], requires_grad=True)
    reward_B = torch.tensor([1.0, 3.0, 8.0], requires_grad=True)
    loss = reinforce_loss(log_prob_B, reward_B)
    assert loss.item() == pytest.approx(-(-4.5 * -0.5 + -1.5 * -1.0 + 6.0 * -2.0) / 3)
    loss.backward()
    torch.testing.assert_close(log_prob_B.grad, torch.tensor([4.5, 1.5, -6.0]) / 3)
    assert reward_B.grad is None, "the reward is a number"


@pytest.mark.parametrize("num_videos", [2, 3])
def test_reinforce_is_unbiased(num_videos: int) -> None:
    """Over all draws of two actions by every video, the expected gradient is that of minus the expected reward."""
    reward_A = torch.tensor([1.5, -0.5], dtype=torch.float64)
    logits_BA = torch.randn(num_videos, 2, dtype=torch.float64, requires_grad=True)
    log_BA = logits_BA.log_softmax(-1)
    (true_BA,) = torch.autograd.grad(-(log_BA.exp() @ reward_A).mean(), logits_BA, retain_graph=True)
    expected_BA = torch.zeros_like(logits_BA)
    for draw in product(range(2), repeat=num_videos):
        action_B = torch.tensor(draw)
        log_prob_B = log_BA.gather(1, action_B[:, None])[:, 0]
        loss = reinforce_loss(log_prob_B, reward_A[action_B])
        (gradient_BA,) = torch.autograd.grad(loss, logits_BA, retain_graph=True)
        expected_BA += log_prob_B.sum().exp().detach() * gradient_BA
    torch.testing.assert_close(expected_BA, true_BA)


def test_returns_in_closed_form() -> None:
    reward_BT = torch.tensor([[1.0, 2.0, 4.0], [3.0, 1.0, 99.0]])
    mask_BT = torch.tensor([[True, True, True], [True, True, False]])
    plain = torch.tensor([1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4, 3 + 0.5, 1])  # not the 99, which is padding
    expected = (plain - plain.mean()) / (plain.std(correction=0) + 1e-5)
    return_BT = discounted_returns(reward_BT, mask_BT, discount=0.5)
    torch.testing.assert_close(return_BT[mask_BT], expected)
    assert return_BT[1, 2] == 0


def test_equal_rewards_say_nothing() -> None:
    return_BT = discounted_returns(torch.full((4, 1), 0.3), torch.ones(4, 1, dtype=torch.bool))
    assert return_BT.abs().max() < 0.1


def test_the_loss_in_closed_form() -> None:
    """Ratios 1.5 and .5 under a gain and a loss: the surrogate takes the worse of ratio and clipped ratio."""
    old_N = torch.tensor([-1.0, -1.0, -1.0, -1.0])
    log_prob_N = old_N + torch.tensor([1.5, 1.5, 0.5, 0.5]).log()
    value_N = torch.tensor([0.0, 1.0, 0.0, 1.0])
    return_N = torch.tensor([2.0, -1.0, 2.0, -1.0])  # advantages 2, -2, 2, -2
    entropy_N = torch.tensor([1.0, 2.0, 3.0, 4.0])
    terms = ppo_loss(log_prob_N, old_N, return_N, value_N, entropy_N)
    surrogate = (1.2 * 2 + 1.5 * -2 + 0.5 * 2 + 0.8 * -2) / 4
    assert terms["surrogate"].item() == pytest.approx(surrogate)
    assert terms["value"].item() == pytest.approx((4 + 4 + 4 + 4) / 4)
    assert terms["loss"].item() == pytest.approx(-surrogate + 0.5 * 4 - 0.01 * 2.5)


def test_the_first_update_is_the_policy_gradient() -> None:
    """With equal probabilities the ratio is 1, and its gradient that of advantage times log-probability."""
    logits = torch.tensor([[0.0, math.log(3.0)]], requires_grad=True)
    taken = torch.distributions.Categorical(logits=logits)
    log_prob_N = taken.log_prob(torch.tensor([0]))
    terms = ppo_loss(log_prob_N, log_prob_N, torch.tensor([2.0]), torch.tensor([0.5]), torch.zeros(1))
    terms["loss"].backward()
    advantage = 1.5  # d log p_0 = (1 - p_0, -p_1)
    torch.testing.assert_close(logits.grad, torch.tensor([[-advantage * 0.75, advantage * 0.75]]))


def test_the_critic_learns_from_its_error_alone() -> None:
    value_N = torch.tensor([1.0], requires_grad=True)
    zero_N = torch.zeros(1)
    ppo_loss(zero_N, zero_N, torch.tensor([3.0]), value_N, zero_N)["loss"].backward()
    torch.testing.assert_close(value_N.grad, torch.tensor([0.5 * 2 * (1.0 - 3.0)]))
