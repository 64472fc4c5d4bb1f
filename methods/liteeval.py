"""LiteEval: a coarse RNN watches every frame, a gate decides which frames a fine network looks at.

Wu, Li, Xiong, Jiang, Davis: "A Coarse-to-Fine Framework for Resource Efficient Video Recognition", IJCV 2021; first
"LiteEval", NeurIPS 2019. Official code: https://github.com/zxwu/lite_eval (read, not used; it starts from features).

Departures from the paper:
- T frames, one a segment: 25, as its baselines read (the paper reads one frame a second, some 139 on ActivityNet). The
  batch size is the recipe's, since here frames are read; from cached features the paper takes 128 videos (ActivityNet),
  256 (FCVID, whose RNNs are the default) or 512 (Kinetics).
- How long it trains is not printed: 50 epochs (the code: 500, at .1, .01 after 40 and .001 after 80). Adam at 1e-4
  throughout is the paper's, without weight decay (the code's is 1e-4); gradients are clipped at the code's 5.
- The backbones' fine-tuning as image classifiers is the suite's warm-up and a stage of its own, with the loss that the
  uniform baseline trains with.
- The gate and W_p have a bias, as in the code (equations 2 and 6 print none).
- Equations 3 and 5 hold for the cell state too (the text says so for the coarse RNN alone).
- The temperature, which "decreases from a high value", falls as AR-Net's.
- "RL" is said to be REINFORCE, without its reward: here it is minus equation 7's value for the video, with the mean of
  the batch's other videos as the baseline; with cross-entropy's own, its gradient is equation 7's in expectation.
- `normalize`, a LayerNorm before the RNNs and the gate for networks that start from nothing, is not in the paper.
Departures from the official code, where it differs from the paper, which is followed: features are taken as they come
(code: scaled to unit L2 norm, then projected, with BatchNorm); the gate sees v_c and h_f (code: c_f too); usage is
constrained per video, by the fine fraction (code: by a batch's mean coarse fraction, its weight growing from 1 to 2);
Gumbel noise is not halved; the temperature falls over all of training (code: it restarts every epoch, and stays above
.98); padding is not looked at; the last epoch is evaluated (code: the best on test).

B videos, T frames (CHW: channels, height, width), N videos that have the frame, M of them that the fine network looks
at, K classes, D features, H hidden units (Hc coarse, Hf fine).
"""

from __future__ import annotations

from collections.abc import Sequence
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
    VideoBatch,
    consensus_loss,
    cross_entropy,
    reinforce_loss,
    run_on_frames,
)

Memory = tuple[Tensor, ...]  # an RNN's state, h first: (h, c), or (h,) for a GRU
FINE, COARSE = 0, 1


class SRUCell(nn.Module):
    """Simple Recurrent Unit (Lei et al., EMNLP 2018, equations 1 to 4), with a projected highway where D is not H.

    Shapes: input (N, D) and state (h, c), each (N, H), in; the next state out.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.input = nn.Linear(input_size, 3 * hidden_size, bias=False)
        self.highway = nn.Identity() if input_size == hidden_size else nn.Linear(input_size, hidden_size, bias=False)
        self.peephole = nn.Parameter(torch.zeros(2, hidden_size))
        self.bias = nn.Parameter(torch.zeros(2, hidden_size))

    def forward(self, x_ND: Tensor, state: Memory) -> Memory:
        c_NH = state[1]
        w_NH, f_NH, r_NH = self.input(x_ND).chunk(3, -1)
        forget_NH = torch.sigmoid(f_NH + self.peephole[0] * c_NH + self.bias[0])
        reset_NH = torch.sigmoid(r_NH + self.peephole[1] * c_NH + self.bias[1])
        c_NH = forget_NH * c_NH + (1 - forget_NH) * w_NH
        return reset_NH * c_NH + (1 - reset_NH) * self.highway(x_ND), c_NH


class RNN(nn.Module):
    """One step of a recurrent network, in full precision.

    Shapes: features (N, D), several side by side, and state in; the next state out.
    """

    def __init__(self, num_features: Sequence[int], hidden: int, cell: str, normalize: bool) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(num) if normalize else nn.Identity() for num in num_features)
        self.num_features, self.hidden, self.num_states = tuple(num_features), hidden, 1 if cell == "gru" else 2
        self.cell = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "sru": SRUCell}[cell](sum(num_features), hidden)

    def init_state(self, num_videos: int) -> Memory:
        """The state before the first frame, (B, H) each."""
        zeros_BH = next(self.cell.parameters()).new_zeros(num_videos, self.hidden)
        return (zeros_BH,) * self.num_states

    def forward(self, feature_ND: Tensor, state: Memory) -> Memory:
        with torch.autocast(feature_ND.device.type, enabled=False):
            parts = feature_ND.to(state[0].dtype).split(self.num_features, -1)
            x_ND = torch.cat([norm(part) for norm, part in zip(self.norms, parts, strict=True)], -1)
            after = self.cell(x_ND, state[0] if self.num_states == 1 else state)
            return (after,) if self.num_states == 1 else after


class Gate(nn.Module):
    """Equation 2, in full precision. Shapes: v_c (N, D) and h_f (N, Hf) in, logits (N, 2) of fine and coarse out."""

    def __init__(self, num_features: int, hidden: int, normalize: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(num_features) if normalize else nn.Identity()
        self.fc = nn.Linear(num_features + hidden, 2)

    def forward(self, coarse_ND: Tensor, h_NH: Tensor) -> Tensor:
        with torch.autocast(coarse_ND.device.type, enabled=False):
            return self.fc(torch.cat([self.norm(coarse_ND.to(h_NH.dtype)), h_NH], -1))


class State(NamedTuple):
    """Where the two RNNs stand in each of B videos."""

    coarse: Memory
    fine: Memory


class LiteEval(CausalMethod):
    """LiteEval.

    Args:
        num_classes: K.
        fine: network and resolution that the gate may ask for.
        coarse: network and resolution that sees every frame.
        num_frames: T.
        fine_hidden: width Hf of the fine RNN.
        coarse_hidden: width Hc of the coarse RNN, below Hf.
        cell: of both RNNs.
        sync: copy the coarse RNN's state into the fine RNN's where the gate stays shut (equation 5); without it
            there is no coarse RNN, since nothing would see its state.
        normalize: LayerNorm of the features, for networks without ImageNet weights (not in the paper).
        weight: lambda of equation 7. A fine frame costs lambda times what it adds to (share - gamma)^2, in nats: gamma
            binds where that is as much as the frame is worth.
        target: gamma of equation 7, the fraction of the frames that get fine features.
        estimator: "gumbel" (straight-through) or "reinforce" (LiteEval-RL).
        dropout: before the backbones' linear heads, in their fine-tuning.
    """

    def __init__(
        self,
        num_classes: int,
        fine: BackboneSpec,
        coarse: BackboneSpec,
        num_frames: int = 25,
        fine_hidden: int = 2048,
        coarse_hidden: int = 512,
        cell: Literal["lstm", "gru", "sru"] = "lstm",
        sync: bool = True,
        normalize: bool = False,
        weight: float = 2.0,
        target: float = 0.05,
        estimator: Literal["gumbel", "reinforce"] = "gumbel",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 < coarse_hidden < fine_hidden:
            raise ValueError(f"liteeval: coarse_hidden must lie between 0 and fine_hidden, got {coarse_hidden}")
        if not 0 <= target <= 1 or weight < 0:
            raise ValueError(f"liteeval: target must lie in [0, 1] and weight not be negative, got {target}, {weight}")
        if coarse.size > fine.size:
            raise ValueError(f"liteeval: coarse frames must not be larger than fine ones, got {coarse.size}")
        self.specs = {"fine": fine, "coarse": coarse}
        self.sync, self.weight, self.target, self.estimator = sync, weight, target, estimator
        self.views = {"frames": fine.view(num_frames)}
        self.actions = ActionSpace(("fine", "coarse"), (fine.size, coarse.size))
        self.fine = FrameClassifier(fine, num_classes, dropout)
        self.coarse = FrameClassifier(coarse, num_classes, dropout)
        num_coarse, num_fine = self.coarse.backbone.num_features, self.fine.backbone.num_features
        if sync:
            self.coarse_rnn = RNN([num_coarse], coarse_hidden, cell, normalize)
        self.fine_rnn = RNN([num_coarse, num_fine], fine_hidden, cell, normalize)
        self.gate = Gate(num_coarse, fine_hidden, normalize)
        self.head = nn.Linear(fine_hidden, num_classes)  # W_p

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return self.specs

    # Section 3.1: coarse RNN, gate, fine RNN, synchronisation

    def init_state(self, num_videos: int) -> State:
        coarse = self.coarse_rnn.init_state(num_videos) if self.sync else ()
        return State(coarse, self.fine_rnn.init_state(num_videos))

    def step(self, chunk: Chunk, state: State, ledger: Ledger) -> tuple[State, Tensor, dict[str, Tensor]]:
        """Algorithm 1; the coarse features, which depend on no decision, of all frames at once."""
        mask_BT, forced_BT, dense = chunk.mask_BT, chunk.forced_BT, chunk.dense
        coarse_BTD = self.look("coarse", self.coarse, chunk, mask_BT, ledger)
        if dense:
            fine_BTD = self.look("fine", self.fine, chunk, mask_BT, ledger)
        at, opened, gates = [], [], []
        for t in range(mask_BT.shape[1]):
            (video_N,) = mask_BT[:, t].nonzero(as_tuple=True)
            coarse_ND = coarse_BTD[video_N, t]
            coarse, before = (self.rows_of(memory, video_N) for memory in state)
            if self.sync:
                coarse = ledger.run("coarse_rnn", self.coarse_rnn, coarse_ND, coarse, owner_N=video_N)  # equation 1
            gate_N2 = ledger.run("gate", self.gate, coarse_ND, before[0], owner_N=video_N)
            open_N = self.choose(gate_N2, None if forced_BT is None else forced_BT[video_N, t])
            fine = self.synchronize(coarse, before) if self.sync else before
            (look_M,) = (torch.ones_like(open_N) if dense else open_N).nonzero(as_tuple=True)
            if len(look_M):
                video_M, open_M1 = video_N[look_M], open_N[look_M, None]
                if not dense:
                    look_BT = torch.zeros_like(mask_BT)
                    look_BT[video_M, t] = True
                    fine_BTD = self.look("fine", self.fine, chunk, look_BT, ledger)
                both_MD = torch.cat([coarse_ND[look_M], fine_BTD[video_M, t]], -1)
                taken = tuple(part_NH[look_M] for part_NH in before)
                looked = ledger.run("fine_rnn", self.fine_rnn, both_MD, taken, owner_N=video_M)  # equation 3
                fine = tuple(  # equation 4
                    part_NH.index_put((look_M,), open_M1 * looked_MH + (1 - open_M1) * part_NH[look_M])
                    for part_NH, looked_MH in zip(fine, looked, strict=True)
                )
            state = State(self.put(state.coarse, video_N, coarse), self.put(state.fine, video_N, fine))
            at.append((video_N, torch.full_like(video_N, t)))
            opened.append(open_N)
            gates.append(gate_N2)
        video_N, frame_N = (torch.cat(of_frames) for of_frames in zip(*at, strict=True))  # of all frames
        zeros_BT = torch.zeros_like(mask_BT, dtype=opened[0].dtype)
        open_BT = zeros_BT.index_put((video_N, frame_N), torch.cat(opened))
        gate_BT2 = zeros_BT[..., None].expand(-1, -1, 2).index_put((video_N, frame_N), torch.cat(gates))
        log_BT2 = gate_BT2.log_softmax(-1)
        action_BT = torch.where(open_BT > 0.5, FINE, COARSE)
        log_BT = log_BT2.gather(2, action_BT[..., None])[..., 0] * mask_BT
        return state, action_BT.masked_fill(~mask_BT, -1), {"open_BT": open_BT, "log_prob_BT": log_BT}

    def answer(self, state: State, ledger: Ledger) -> Tensor:
        """Equation 6, before the softmax."""
        h_BH = state.fine[0]
        return ledger.run("head", self.head, h_BH, owner_N=torch.arange(len(h_BH), device=h_BH.device))

    def look(self, name: str, network: FrameClassifier, chunk: Chunk, chosen_BT: Tensor, ledger: Ledger) -> Tensor:
        """Features (B, T, D), zero where not chosen."""
        frames_BTCHW, backbone = chunk.frames_BTCHW, network.backbone
        zeros_BTD = frames_BTCHW.new_zeros(*chosen_BT.shape, backbone.num_features)
        return run_on_frames(ledger, name, backbone, frames_BTCHW, chosen_BT, network.size, zeros_BTD)

    def choose(self, gate_N2: Tensor, forced_N: Tensor | None) -> Tensor:
        """B_t (N,): 1 to look closely. Sampled while the gate learns (equation 9), else the arg max."""
        if forced_N is None and self.gate.training and len(gate_N2):  # torch draws nothing from no distribution
            if self.estimator == "gumbel":
                return F.gumbel_softmax(gate_N2, self.temperature, hard=True)[:, FINE]
            forced_N = torch.distributions.Categorical(logits=gate_N2).sample()
        action_N = gate_N2.argmax(-1) if forced_N is None else forced_N
        return (action_N == FINE).to(gate_N2.dtype)

    @staticmethod
    def synchronize(coarse: Memory, fine: Memory) -> Memory:
        """Equation 5, for the hidden and the cell state."""
        return tuple(torch.cat([c_NH, f_NH[:, c_NH.shape[1] :]], 1) for c_NH, f_NH in zip(coarse, fine, strict=True))

    @staticmethod
    def rows_of(memory: Memory, video_N: Tensor) -> Memory:
        """An RNN's state in N videos, which ascend: as it is where they are all."""
        return tuple(part_BH if len(video_N) == len(part_BH) else part_BH[video_N] for part_BH in memory)

    @staticmethod
    def put(memory: Memory, video_N: Tensor, rows: Memory) -> Memory:
        """An RNN's state with that of N videos replaced."""
        both = zip(memory, rows, strict=True)
        return tuple(new if len(new) == len(old) else old.index_put((video_N,), new) for old, new in both)

    # Section 3.2: optimisation

    def backbone_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Section 4.1: both backbones by themselves, each a classifier of frames, as the uniform baseline trains."""
        fine = consensus_loss(ledger, "fine", self.fine, batch)
        coarse = consensus_loss(ledger, "coarse", self.coarse, batch)
        return {"loss": fine + coarse, "fine": fine, "coarse": coarse}

    def joint_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Equation 7, or its REINFORCE form."""
        output = self(batch, ledger, dense=True)
        accuracy_B = cross_entropy(output.logits_BK, batch.label_BK)
        usage_B = output.aux["open_BT"].sum(1) / batch.mask["frames"].sum(1)
        constraint_B = (usage_B - self.target).square()
        terms = {"accuracy": accuracy_B.mean(), "usage": usage_B.mean(), "constraint": constraint_B.mean()}
        if self.estimator == "gumbel":
            return {"loss": (accuracy_B + self.weight * constraint_B).mean(), **terms}
        policy = reinforce_loss(output.aux["log_prob_BT"].sum(1), -(accuracy_B + self.weight * constraint_B))
        return {"loss": accuracy_B.mean() + policy, **terms}
