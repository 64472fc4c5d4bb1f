"""How policies learn from a reward that no gradient passes through: REINFORCE, and proximal policy optimisation.

REINFORCE (Williams: "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning", 1992)
with a baseline that leaves the video itself out, so that the gradient stays unbiased (as Kool, van Hoof, Welling: "Buy
4 REINFORCE Samples, Get a Baseline for Free!", 2019, do for several samples of one input).

PPO (Schulman, Wolski, Dhariwal, Radford, Klimov: "Proximal Policy Optimization Algorithms", 2017, equations 7 and 9) as
GFNet and AdaFocus train their policies, one update a batch; the constants are those of GFNet (Wang et al., NeurIPS
2020), whose "training hyper-parameters" AdaFocus adopts.

Sets of frames drawn without replacement (Plackett: "The Analysis of Permutations", 1975; Luce: "Individual Choice
Behavior", 1959): each draw takes one of the frames that are left, in proportion to exp(logit).

B videos, T decisions or frames, N decisions of all videos; K frames of a set.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from adavid.routing import top_frames

DISCOUNT = 0.7
CLIP = 0.2
VALUE_WEIGHT = 0.5
ENTROPY_WEIGHT = 0.01
MOST_OF_A_SET = 8  # frames: 256 subsets


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


def returns(reward_BT: Tensor, discount: float) -> Tensor:
    """R_t = r_t + discount * R_{t+1} (B, T), of rewards that are 0 where no decision was taken."""
    later_B, falling = torch.zeros_like(reward_BT[:, 0]), []
    for t in reversed(range(reward_BT.shape[1])):
        later_B = reward_BT[:, t] + discount * later_B
        falling.append(later_B)
    return torch.stack(falling[::-1], 1)


def discounted_returns(reward_BT: Tensor, mask_BT: Tensor, discount: float = DISCOUNT) -> Tensor:
    """R_t = r_t + discount * R_{t+1}, normalised to mean 0 and deviation 1 over all decisions of the batch.

    Args:
        reward_BT: rewards; those outside the mask count as 0.
        mask_BT: True where a decision was taken; returns elsewhere are 0.
        discount: gamma.
    """
    return_BT = returns(reward_BT * mask_BT, discount)
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


def modal_share(action_N: Tensor) -> Tensor:
    """The share of decisions that are the commonest one, 1 where a policy has collapsed; of none at all 0."""
    return action_N.bincount(minlength=1).max() / max(1, len(action_N))


def draw_set(num: int, logit_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """`num` frames (B, T) of each video, drawn without replacement; all of a video that has no more.

    The highest of logits with Gumbel noise are such a draw (Vieira, 2014; Kool et al., "Stochastic Beams", 2019).
    """
    noise_BT = -torch.empty_like(logit_BT).exponential_().log()
    return top_frames(num, logit_BT.detach() + noise_BT, mask_BT)


def set_log_prob(logit_BT: Tensor, set_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """The log-probability (B,) that drawing without replacement gives the set, in whatever order.

    The sum over all orders, by way of the probabilities that the first draws were each of the 2^K subsets.

    Args:
        logit_BT: of each frame.
        set_BT: the frames drawn.
        mask_BT: those that there are.
    """
    num_K = int(set_BT.sum(1).max())
    assert num_K <= MOST_OF_A_SET, f"a set of {num_K} has too many subsets"
    absent = torch.finfo(logit_BT.dtype).min / 4  # not -inf, whose gradient is not a number where nothing else is
    member_BK = torch.where(set_BT, logit_BT, absent).topk(num_K, dim=1).values if num_K else logit_BT[:, :0]
    others_B = torch.where(mask_BT & ~set_BT, logit_BT, absent).logsumexp(1)
    num_B = set_BT.sum(1)
    first_B = torch.zeros_like(others_B)
    reached = [first_B]  # by subset: bit k of its number stands for member k
    for subset in range(1, 2**num_K):
        ways = []
        for k in range(num_K):
            before = subset - 2**k
            if subset >> k & 1:
                left = [member_BK[:, j] for j in range(num_K) if not before >> j & 1]
                ways.append(reached[before] + member_BK[:, k] - torch.stack([others_B, *left]).logsumexp(0))
        reached.append(torch.stack(ways).logsumexp(0))
    return torch.stack(reached).gather(0, (2**num_B - 1)[None])[0]
