"""How policies learn from a reward that no gradient passes through: REINFORCE, and proximal policy optimisation.

REINFORCE (Williams: "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", 1992)
with a baseline that leaves the video itself out, so that the gradient stays unbiased (as Kool, van Hoof, Welling: "Buy
4 REINFORCE Samples, Get a Baseline for Free!", 2019, do for several samples of one input).

PPO (Schulman, Wolski, Dhariwal, Radford, Klimov: "Proximal Policy Optimization Algorithms", 2017, equations 7 and 9) as
GFNet and AdaFocus train their policies, one update a batch; the constants are those of GFNet (Wang et al., NeurIPS
2020), whose "training hyper-parameters" AdaFocus adopts.

B videos, T decisions, N decisions of all videos.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

DISCOUNT = 0.7
CLIP = 0.2
VALUE_WEIGHT = 0.5
ENTROPY_WEIGHT = 0.01


def reinforce_loss(log_prob_B: Tensor, reward_B: Tensor) -> Tensor:
    """Minus the mean of log-probability times advantage, whose gradient is minus the expected reward's.

    Args:
        log_prob_B: of all the decisions about a video together, under the policy that took them.
        reward_B: what they were worth; a number, through which nothing learns.
    """
    return -(leave_one_out_advantage(reward_B.detach()) * log_prob_B).mean()


def leave_one_out_advantage(reward_B: Tensor) -> Tensor:
    """Each video's reward minus the mean of the batch's other videos'; a single video's is its reward."""
    num_others = max(1, len(reward_B) - 1)
    return reward_B - (reward_B.sum() - reward_B) / num_others


def discounted_returns(reward_BT: Tensor, mask_BT: Tensor, discount: float = DISCOUNT) -> Tensor:
    """R_t = r_t + discount * R_{t+1}, normalised to mean 0 and deviation 1 over all decisions of the batch.

    Args:
        reward_BT: rewards; those outside the mask count as 0.
        mask_BT: True where a decision was taken; returns elsewhere are 0.
        discount: gamma.
    """
    reward_BT = reward_BT * mask_BT
    returns, later_B = [], torch.zeros_like(reward_BT[:, 0])
    for t in reversed(range(reward_BT.shape[1])):
        later_B = reward_BT[:, t] + discount * later_B
        returns.append(later_B)
    return_BT = torch.stack(returns[::-1], 1)
    num = mask_BT.sum()
    mean = (return_BT * mask_BT).sum() / num
    deviation = (((return_BT - mean).square() * mask_BT).sum() / num).sqrt()
    return (return_BT - mean) / (deviation + 1e-5) * mask_BT


def ppo_loss(
    log_prob_N: Tensor, old_log_prob_N: Tensor, return_N: Tensor, value_N: Tensor, entropy_N: Tensor
) -> dict[str, Tensor]:
    """The clipped surrogate, the critic's squared error and the entropy's bonus: "loss", and each by its name.

    Args:
        log_prob_N: of the actions taken, under the policy that learns.
        old_log_prob_N: under the policy that took them. In the first update of a batch the two are equal, so that the
            clipping does not bind and the gradient is that of an actor with a critic as its baseline.
        return_N: see `discounted_returns`.
        value_N: the critic's estimate of it.
        entropy_N: of the policy, in nats.
    """
    advantage_N = return_N - value_N.detach()
    ratio_N = (log_prob_N - old_log_prob_N.detach()).exp()
    surrogate = torch.minimum(ratio_N * advantage_N, ratio_N.clip(1 - CLIP, 1 + CLIP) * advantage_N).mean()
    value, entropy = F.mse_loss(value_N, return_N), entropy_N.mean()
    loss = -surrogate + VALUE_WEIGHT * value - ENTROPY_WEIGHT * entropy
    return {"loss": loss, "surrogate": surrogate, "value": value, "entropy": entropy}
