"""Policy gradients in closed form.

B videos, T decisions or frames, N decisions of all videos, A actions.
"""

import math
from itertools import combinations, permutations, product

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from adavid.policy_gradient import (
    discounted_returns,
    draw_set,
    leave_one_out_advantage,
    modal_share,
    ppo_loss,
    reinforce_loss,
    returns,
    set_log_prob,
)


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
    reward_BT = torch.tensor([[1.0, 2.0, 4.0], [3.0, 1.0, 0.0]])
    assert returns(reward_BT, 0.5).tolist() == [[3.0, 4.0, 4.0], [3.5, 1.0, 0.0]]
    assert returns(reward_BT, 0.0).tolist() == reward_BT.tolist()


def test_normalised_returns_in_closed_form() -> None:
    reward_BT = torch.tensor([[1.0, 2.0, 4.0], [3.0, 1.0, 99.0]])
    mask_BT = torch.tensor([[True, True, True], [True, True, False]])
    plain = torch.tensor([1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4, 3 + 0.5, 1])  # not the 99, which is padding
    expected = (plain - plain.mean()) / (plain.std(correction=0) + 1e-5)
    return_BT = discounted_returns(reward_BT, mask_BT, discount=0.5)
    torch.testing.assert_close(return_BT[mask_BT], expected)
    assert return_BT[1, 2] == 0


def test_the_share_of_the_commonest_decision() -> None:
    assert modal_share(torch.tensor([2, 0, 2, 1])) == 0.5 and modal_share(torch.tensor([3, 3])) == 1.0
    assert modal_share(torch.zeros(0, dtype=torch.long)) == 0.0


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


# Sets


def sets_of(num: int, num_frames: int, num_padding: int = 0) -> Tensor:
    """All sets of so many frames, (sets, T)."""
    sets = torch.zeros(math.comb(num_frames, num), num_frames + num_padding, dtype=torch.bool)
    for row, chosen in enumerate(combinations(range(num_frames), num)):
        sets[row, list(chosen)] = True
    return sets


@pytest.mark.parametrize("num", [1, 2, 4, 5])
def test_the_probability_of_a_set_is_the_sum_over_its_orders(num: int) -> None:
    logit_T = torch.randn(7, dtype=torch.float64)
    set_BT = sets_of(num, 5, num_padding=2)
    mask_BT = (torch.arange(7) < 5).expand(len(set_BT), -1)
    log_prob_B = set_log_prob(logit_T.expand(len(set_BT), -1), set_BT, mask_BT)
    weight_T = logit_T[:5].exp()
    for chosen_T, log_prob in zip(set_BT, log_prob_B, strict=True):
        total = 0.0
        for order in permutations(chosen_T.nonzero().flatten().tolist()):
            prob, left = 1.0, float(weight_T.sum())
            for frame in order:
                prob *= float(weight_T[frame]) / left
                left -= float(weight_T[frame])
            total += prob
        assert log_prob.exp().item() == pytest.approx(total)
    assert log_prob_B.exp().sum().item() == pytest.approx(1)


def test_sets_of_several_sizes_side_by_side() -> None:
    logit_BT = torch.randn(3, 6, dtype=torch.float64)
    set_BT = torch.tensor([[1, 0, 1, 1, 0, 0], [0, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]).bool()
    mask_BT = torch.tensor([[True] * 6, [True] * 6, [True] * 2 + [False] * 4])
    together_B = set_log_prob(logit_BT, set_BT, mask_BT)
    alone = [set_log_prob(logit_BT[b : b + 1], set_BT[b : b + 1], mask_BT[b : b + 1])[0] for b in range(3)]
    torch.testing.assert_close(together_B, torch.stack(alone))
    assert together_B[2].abs() < 1e-12, "there is no other set of two frames of two"


@pytest.mark.parametrize("scale", [50.0, 500.0])
def test_the_gradient_is_finite_where_the_policy_is_sure(scale: float) -> None:
    logit_BT = (scale * torch.tensor([[1.0, -1.0, 0.0, 1.0], [-1.0, -1.0, 1.0, 1.0]])).requires_grad_()
    set_BT = torch.tensor([[False, True, True, False], [True, False, False, False]])
    mask_BT = torch.tensor([[True] * 4, [True, True, False, False]])
    log_prob_B = set_log_prob(logit_BT, set_BT, mask_BT)
    log_prob_B.sum().backward()
    assert log_prob_B.isfinite().all() and logit_BT.grad.isfinite().all()


def test_reinforce_of_sets_is_unbiased() -> None:
    """Over all sets of two of four frames, the expected gradient is that of the expected reward."""
    logit_T = torch.randn(4, dtype=torch.float64, requires_grad=True)
    set_BT, reward_B = sets_of(2, 4), torch.randn(6, dtype=torch.float64)
    log_prob_B = set_log_prob(logit_T.expand(6, -1), set_BT, torch.ones_like(set_BT))
    (true_T,) = torch.autograd.grad((log_prob_B.exp() * reward_B).sum(), logit_T, retain_graph=True)
    expected_T = torch.zeros(4, dtype=torch.float64)
    for log_prob, reward in zip(log_prob_B, reward_B, strict=True):
        (gradient_T,) = torch.autograd.grad(-reinforce_loss(log_prob[None], reward[None]), logit_T, retain_graph=True)
        expected_T += log_prob.exp().detach() * gradient_T
    torch.testing.assert_close(expected_T, true_T)


def test_sets_are_drawn_as_probable_as_they_are() -> None:
    logit_T, set_BT = torch.tensor([0.5, -1.0, 1.0, 0.0, 9.0]), sets_of(2, 4, num_padding=1)
    mask_T = torch.tensor([True] * 4 + [False])
    drawn_BT = draw_set(2, logit_T.expand(20000, -1), mask_T.expand(20000, -1))
    assert (drawn_BT.sum(1) == 2).all() and not drawn_BT[:, 4].any()
    counts = [(drawn_BT == chosen_T).all(1).sum().item() for chosen_T in set_BT]
    prob_B = set_log_prob(logit_T.expand(6, -1), set_BT, mask_T.expand(6, -1)).exp()
    assert chisquare(counts, 20000 * prob_B.double().numpy() / float(prob_B.double().sum())).pvalue > 0.001
    assert torch.equal(draw_set(9, logit_T[None], mask_T[None]), mask_T[None])
