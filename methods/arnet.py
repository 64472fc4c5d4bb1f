"""AR-Net: a policy chooses, frame by frame, at which resolution to look, or to skip.

Meng, Lin, Panda, Sattigeri, Karlinsky, Oliva, Saenko, Feris: "AR-Net: Adaptive Frame Resolution for Efficient
Action Recognition", ECCV 2020. Official code: https://github.com/mengyuest/AR-Net (read, not used).

Departures from the official code (from the paper only where said):
- A skipped frame is not looked at: neither part of the LSTM's state moves and nothing is paid (the code keeps h but
  lets c move, and computes the features of skipped frames: `cell_moves`). The paper's text is followed.
- Evaluation and fine-tuning take the arg max (the code samples Gumbel noise in both: a printed number is one draw).
- The lowest resolution predicts from the CNN's feature (the paper's footnote 4; the code from h_t: `lowest`).
- Equation 11 is the sum of squares as printed (the code takes the L2 norm, weighted 3).
- The lookup table of equation 10 is the bill itself: an action's branch, plus the policy network's cost shared among
  the frames that the action covers. The code leaves the policy out and prices the lowest resolution at 0.
- Warm-up is every network by itself, as in the code, the policy's CNN included (the paper trains the networks together
  under a fixed policy; the code's policy CNN has no warm-up).
- The temperature falls with every step, not every epoch. Fine-tuning freezes the policy with its BatchNorm statistics.
- Of the code's learning-rate multipliers only the policy's linear layer keeps one (there: all linear layers, biases);
  no dropout before the LSTM (the code: `policy_dropout`).
- Evaluation resizes the short side to 256 pixels and keeps the aspect, as the code (the paper: to 256 x 256). Lower
  resolutions are resized bilinearly with antialiasing (the code: single pixels of the crop, `nearest`). In training n
  frames make segments of n / T (the code: n // T, which never reaches the end); a video of fewer than T is spread over
  them (the code repeats its last frame: `data.short_videos`).
- Several labels share the target evenly (the code takes the first); the last epoch is evaluated, none is chosen on val.
- Options that the paper does not have. In the profiles of small networks `dearest_gflops`, equation 10 on the paper's
  scale: on their own, alpha would weigh next to nothing. In tiny, whose networks start from nothing, `normalize`, a
  LayerNorm before the LSTM; and, in the YAML, slow branches with fixed BatchNorm statistics in joint training.
- Policy gradient (supplementary, E) has a detached reward and scores only the draws that took effect; equation 11 is
  taken over these draws; the backbones learn by cross-entropy alone.
- Table 4's rows keep alpha and beta (the paper moves its losses until GFLOPs match, and prints no weights).

B videos, T frames (CHW: channels, height, width), N routed rows, K classes, A actions, D features, H hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adavid import (
    ActionSpace,
    BackboneSpec,
    CausalMethod,
    Chunk,
    FrameClassifier,
    Ledger,
    MethodOutput,
    RecurrentPolicy,
    UsedMean,
    VideoBatch,
    by_size,
    cross_entropy,
    no_frames,
    price,
    reinforce_loss,
    run_on_frames,
)


class State(NamedTuple):
    """Where the policy stands in each of B videos."""

    h_BH: Tensor
    c_BH: Tensor
    choice_BA: Tensor  # the action in force, one-hot; straight-through in training
    left_B: Tensor  # frames that the action in force still covers
    mean: UsedMean  # of the predictions so far


class ARNet(CausalMethod):
    """AR-Net.

    Args:
        num_classes: K.
        backbones: one a resolution, from the highest to the lowest; the last is the policy's feature extractor too.
        skips: numbers of frames that a skipping action covers, its own included (F_i in the paper).
        num_frames: T.
        resolutions: sizes that the policy may choose; empty means all ("skipping only" gives the highest alone).
        hidden: width of the policy's LSTM.
        normalize: LayerNorm before the LSTM, for networks without ImageNet weights (not in the paper).
        alpha: weight of the efficiency loss (equation 12).
        beta: weight of the balance loss.
        dearest_gflops: scale equation 10's table so that its dearest action costs this; 0 leaves the true GFLOPs.
        estimator: "gumbel" (straight-through) or "policy_gradient".
        lookahead: frames that the policy may glance at in one call; 1 never looks at a skipped frame.
        dropout: before each linear head.
        policy_dropout: before the policy's LSTM.
        lowest: what the lowest resolution predicts from: its network's "feature", or h_t, the policy's "state".
        cell_moves: the LSTM glances at skipped frames too and lets them move c, nothing else.
        nearest: lower resolutions take single pixels of the highest one.
    """

    test_time = ("lookahead",)
    covers_A: Tensor

    def __init__(
        self,
        num_classes: int,
        backbones: Sequence[BackboneSpec],
        skips: Sequence[int] = (1, 2, 4),
        num_frames: int = 16,
        resolutions: Sequence[int] = (),
        hidden: int = 512,
        normalize: bool = False,
        alpha: float = 0.1,
        beta: float = 0.3,
        dearest_gflops: float = 0.0,
        estimator: Literal["gumbel", "policy_gradient"] = "gumbel",
        lookahead: int = 1,
        dropout: float = 0.5,
        policy_dropout: float = 0.0,
        lowest: Literal["feature", "state"] = "feature",
        cell_moves: bool = False,
        nearest: bool = False,
    ) -> None:
        super().__init__()
        sizes = [spec.size for spec in by_size("arnet", backbones).values()]
        chosen = [spec for spec in backbones if not resolutions or spec.size in resolutions]
        if not set(resolutions) <= set(sizes) or not chosen:
            raise ValueError(f"arnet: resolutions must be among {sizes}, got {list(resolutions)}")
        if min([num_frames, lookahead, hidden, *skips]) < 1:
            raise ValueError("arnet: num_frames, lookahead, hidden and skips must be 1 or more")
        if not 0 <= alpha <= 1 or beta < 0:
            raise ValueError(f"arnet: alpha must lie in [0, 1] and beta not be negative, got {alpha} and {beta}")
        self.specs, self.glance_size, self.lookahead = tuple(backbones), sizes[-1], lookahead
        self.num_classes, self.lowest, self.cell_moves, self.nearest = num_classes, lowest, cell_moves, nearest
        self.alpha, self.beta, self.dearest_gflops, self.estimator = alpha, beta, dearest_gflops, estimator
        self.views = {"frames": backbones[0].view(num_frames)}
        self.actions = ActionSpace.of_resolutions([spec.size for spec in chosen], skips)
        self.register_buffer("covers_A", torch.tensor(self.actions.covers), persistent=False)
        make = partial(FrameClassifier, num_classes=num_classes, dropout=dropout)
        self.branches = nn.ModuleDict({str(spec.size): make(spec) for spec in chosen if spec != backbones[-1]})
        self.glance = make(backbones[-1])
        num_features = self.glance.backbone.num_features
        # Equations 2 and 5: an LSTM over the glances and a linear layer
        self.policy = RecurrentPolicy(num_features, hidden, len(self.actions), normalize, policy_dropout)
        if lowest == "state":
            self.policy.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(hidden, num_classes))
        if lowest == "state" or self.glance_size not in self.actions.sizes:
            self.glance.head = nn.Identity()  # it only decides

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        sizes = {f"branches.{size}": int(size) for size in self.branches} | {"glance": self.glance_size}
        return {name: spec for name, size in sizes.items() for spec in self.specs if spec.size == size}

    # Section 3.2: the policy

    def init_state(self, num_videos: int) -> State:
        weight = self.policy.fc.weight
        zeros_BH = weight.new_zeros(num_videos, self.policy.lstm.hidden_size)
        zeros_BA = weight.new_zeros(num_videos, len(self.actions))
        left_B = torch.zeros(num_videos, dtype=torch.long, device=weight.device)
        return State(zeros_BH, zeros_BH, zeros_BA, left_B, no_frames(num_videos, self.num_classes, weight))

    def decide(
        self, feature_BD: Tensor, mask_B: Tensor, state: State, ledger: Ledger, forced_B: Tensor | None = None
    ) -> tuple[State, Tensor]:
        """Decide about one frame of each video that is not inside a skip (equations 2 and 3).

        Returns:
            the next state, and the action logits (B, A), zero where no decision was due.
        """
        (video_N,) = (mask_B & (state.left_B == 0)).nonzero(as_tuple=True)
        logits_BA = torch.zeros_like(state.choice_BA)
        if len(video_N):
            memory = (state.h_BH[video_N], state.c_BH[video_N])
            logits_NA, (h_NH, c_NH) = ledger.run("policy", self.policy, feature_BD[video_N], memory, owner_N=video_N)
            choice_NA = self.choose(logits_NA, None if forced_B is None else forced_B[video_N])
            logits_BA = logits_BA.index_put((video_N,), logits_NA)
            state = state._replace(
                h_BH=state.h_BH.index_put((video_N,), h_NH),
                c_BH=state.c_BH.index_put((video_N,), c_NH),
                choice_BA=state.choice_BA.index_put((video_N,), choice_NA),
                left_B=state.left_B.index_put((video_N,), self.covers_A[choice_NA.argmax(-1)]),
            )
        return state._replace(left_B=(state.left_B - 1).clamp(min=0)), logits_BA

    def move_cell(self, feature_BD: Tensor, skipped_B: Tensor, state: State, ledger: Ledger) -> State:
        """The code's way inside a skip: c takes the frame in, h stays."""
        (video_N,) = skipped_B.nonzero(as_tuple=True)
        memory = (state.h_BH[video_N], state.c_BH[video_N])
        _, (_, c_NH) = ledger.run("policy", self.policy, feature_BD[video_N], memory, owner_N=video_N)
        return state._replace(c_BH=state.c_BH.index_put((video_N,), c_NH))

    def choose(self, logits_NA: Tensor, forced_N: Tensor | None) -> Tensor:
        """One-hot actions (N, A): sampled while the policy learns (equations 6 to 8), else the arg max."""
        if forced_N is None and self.policy.training:
            if self.estimator == "gumbel":
                return F.gumbel_softmax(logits_NA, self.temperature, hard=True)
            forced_N = torch.distributions.Categorical(logits=logits_NA).sample()
        action_N = logits_NA.argmax(-1) if forced_N is None else forced_N
        return F.one_hot(action_N, len(self.actions)).to(logits_NA.dtype)

    # Section 3.1: route each frame to the backbone of its resolution, average the predictions

    def step(self, chunk: Chunk, state: State, ledger: Ledger) -> tuple[State, Tensor, dict[str, Tensor]]:
        """Decide frame by frame, then run each network once, on all frames that it is for."""
        mask_BT = chunk.mask_BT
        num_videos, num_frames = mask_BT.shape
        time_T = torch.arange(num_frames, device=mask_BT.device)
        lookahead = num_frames if chunk.dense else self.lookahead
        feature_BTD = state.h_BH.new_zeros(num_videos, num_frames, self.glance.backbone.num_features)
        choices, logits, visited, hidden = [], [], [], []
        for t in range(num_frames):
            if t % lookahead == 0:  # glance at the coming frames, but not at those known to be skipped
                unseen_B1 = state.left_B[:, None] * (not self.cell_moves)
                ahead_BT = (time_T >= t + unseen_B1) & (time_T < t + lookahead)
                feature_BTD = self.glance_at(chunk, mask_BT & ahead_BT, feature_BTD, ledger)
            visited.append(mask_BT[:, t] & (state.left_B == 0))
            forced_B = None if chunk.forced_BT is None else chunk.forced_BT[:, t]
            if self.cell_moves:
                state = self.move_cell(feature_BTD[:, t], mask_BT[:, t] & (state.left_B > 0), state, ledger)
            state, logits_BA = self.decide(feature_BTD[:, t], mask_BT[:, t], state, ledger, forced_B)
            choices.append(state.choice_BA)
            logits.append(logits_BA)
            hidden.append(state.h_BH)
        said_BTD = torch.stack(hidden, 1) if self.lowest == "state" else feature_BTD
        choice_BTA = torch.stack(choices, 1) * mask_BT[..., None]
        action_BT = choice_BTA.argmax(-1).masked_fill(~mask_BT, -1)

        used_BT = torch.zeros_like(choice_BTA[..., 0])
        total_BTK = choice_BTA.new_zeros(num_videos, num_frames, self.num_classes)
        for a, size in enumerate(self.actions.sizes):
            if size:
                seen_BT = mask_BT if chunk.dense else action_BT == a
                logits_BTK = self.predict(size, chunk, seen_BT, said_BTD, ledger)
                used_BT = used_BT + choice_BTA[..., a]
                total_BTK = total_BTK + choice_BTA[..., a, None] * logits_BTK
        aux = {"choice_BTA": choice_BTA, "policy_BTA": torch.stack(logits, 1), "visited_BT": torch.stack(visited, 1)}
        return state._replace(mean=state.mean.add(total_BTK, used_BT)), action_BT, aux

    def glance_at(self, chunk: Chunk, seen_BT: Tensor, feature_BTD: Tensor, ledger: Ledger) -> Tensor:
        """The features (B, T, D) with those of the seen frames in the lowest resolution."""
        backbone, size = self.glance.backbone, self.glance_size
        frames_BTCHW, nearest = chunk.frames_BTCHW, self.nearest
        return run_on_frames(ledger, "glance", backbone, frames_BTCHW, seen_BT, size, feature_BTD, nearest=nearest)

    def predict(self, size: int, chunk: Chunk, seen_BT: Tensor, said_BTD: Tensor, ledger: Ledger) -> Tensor:
        """Equation 4: the prediction (B, T, K) of one resolution's network for the frames that it sees."""
        logits_BTK = said_BTD.new_zeros(*seen_BT.shape, self.num_classes)
        if size != self.glance_size:
            branch, frames_BTCHW, nearest = self.branches[str(size)], chunk.frames_BTCHW, self.nearest
            return run_on_frames(ledger, str(size), branch, frames_BTCHW, seen_BT, size, logits_BTK, nearest=nearest)
        video_N, frame_N = seen_BT.nonzero(as_tuple=True)  # the policy has computed what the head reads already
        if len(video_N) == 0:
            return logits_BTK
        head = self.policy.get_submodule("head") if self.lowest == "state" else self.glance.head
        logits_NK = ledger.run(str(size), head, said_BTD[video_N, frame_N], owner_N=video_N)
        return logits_BTK.index_put((video_N, frame_N), logits_NK.to(logits_BTK.dtype))

    def answer(self, state: State, ledger: Ledger) -> Tensor:
        return state.mean.mean_BK()

    # Section 3.3: losses

    def joint_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Equation 12, or its policy-gradient form (supplementary, E)."""
        output = self(batch, ledger, dense=True)
        mask_BT, choice_BTA = batch.mask["frames"], output.aux["choice_BTA"]
        accuracy_B = cross_entropy(output.logits_BK, batch.label_BK)  # equation 9
        flops_B = (choice_BTA * self.gflops_table()).sum(-1).sum(1) / mask_BT.sum(1)  # equation 10
        if self.estimator == "policy_gradient":
            return self.policy_gradient_loss(output, accuracy_B, flops_B)
        accuracy, gflops = accuracy_B.mean(), flops_B.mean()
        balance = self.balance(choice_BTA.sum((0, 1)) / mask_BT.sum())
        loss = (1 - self.alpha) * accuracy + self.alpha * gflops + self.beta * balance
        return {"loss": loss, "accuracy": accuracy, "gflops": gflops, "balance": balance}

    def policy_gradient_loss(self, output: MethodOutput, accuracy_B: Tensor, flops_B: Tensor) -> dict[str, Tensor]:
        """REINFORCE on -equation 12 over the draws that took effect, beside the backbones' cross-entropy."""
        log_BTA, visited_BT = output.aux["policy_BTA"].log_softmax(-1), output.aux["visited_BT"]
        log_taken_B = ((log_BTA * output.aux["choice_BTA"]).sum(-1) * visited_BT).sum(1)
        policy = reinforce_loss(log_taken_B, -((1 - self.alpha) * accuracy_B + self.alpha * flops_B))
        balance = self.balance((log_BTA.exp() * visited_BT[..., None]).sum((0, 1)) / visited_BT.sum())
        accuracy = accuracy_B.mean()
        loss = (1 - self.alpha) * accuracy + policy + self.beta * balance
        return {"loss": loss, "accuracy": accuracy, "gflops": flops_B.mean(), "balance": balance}

    def balance(self, used_A: Tensor) -> Tensor:
        """Equation 11, of the shares of the actions."""
        return (used_A - 1 / len(self.actions)).square().sum()

    def gflops_table(self) -> Tensor:
        """Equation 10's table: GFLOPs (A,) of a frame under each action, the policy's share included."""
        h_1H, c_1H, *_ = self.init_state(1)
        feature_1D = h_1H.new_zeros(1, self.glance.backbone.num_features)
        frames = {spec.size: torch.zeros(()).expand(spec.view(1).shape) for spec in self.specs}  # shapes have a price
        glance = price(self.glance.backbone, frames[self.glance_size]).macs
        policy = glance + price(self.policy, feature_1D, (h_1H, c_1H)).macs
        from_state = self.lowest == "state"
        head = price(self.policy.get_submodule("head"), h_1H) if from_state else price(self.glance.head, feature_1D)
        branch = {0: 0, self.glance_size: head.macs}
        branch |= {int(size): price(module, frames[int(size)]).macs for size, module in self.branches.items()}
        branch_A = torch.tensor([float(branch[size]) for size in self.actions.sizes], device=feature_1D.device)
        table_A = (branch_A + policy / (1 if self.cell_moves else self.covers_A)) / 1e9
        return table_A * (self.dearest_gflops / table_A.max() if self.dearest_gflops else 1.0)
