"""SoF-Net: after every stage of one network a policy decides whether the frame goes on or stops; confident videos end.

Seon, Hwang, Mun, Han: "Stop or Forward: Dynamic Layer Skipping for Efficient Action Recognition", WACV 2023. Official
code: https://github.com/sunutf/Stop-or-Forward-SoF-Net- (read, not used).

Departures from the paper: equation 5's MLP is one linear layer, as in the code and in TSN (no depth is printed). The
warm-up reads frames at 224 pixels and resizes them on the device, what follows reads them at the network's size.
Policies pool as their network before its head; the FC in an LSTM's place has a ReLU. Equation 15 holds for the
probability of going on, since the gate is 0 or 1. Gates weigh equation 13 as they fall, over the batch.
Departures from the official code, where it differs from the paper, which is followed: a stopped frame runs no further
(code: it does, masked); evaluation takes the arg max, without dropout (code: samples, with it: a new draw each time);
alpha, beta, decay and steps as printed; inner classifiers learn only where the gate goes on, the last gate unguided
(code: by the final classifier); equation 10 is of what follows the gate, LSTMs left out (code: in, and a gate off);
memory is of the last frame that passed all gates; equation 7 holds after any frame from T_min + 1 on (code: one more,
used ones alone: `min_frames` 4, `ends_when_used`); frames are resized as in arnet.py (code: `nearest_from` 224).

B videos, T frames (CHW: channels, height, width), N videos that look at a frame, M of them that go on, G gates, K
classes, D features, H hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
    UsedMean,
    VideoBatch,
    cross_entropy,
    no_frames,
    price,
    read_frames,
)

Memory = tuple[Tensor, ...]  # an LSTM's h and c, each (B, H); empty without temporal modelling


class Policy(nn.Module):
    """Equations 2 and 3, in full precision: of features (N, D) and memory logits (N, 2), h (N, H) and memory."""

    def __init__(self, num_features: int, hidden: int, temporal: bool, normalize: bool) -> None:
        super().__init__()
        self.temporal = temporal
        self.norm = nn.LayerNorm(num_features) if normalize else nn.Identity()
        self.embed = nn.Linear(num_features, num_features)  # W_x
        self.cell = nn.LSTMCell(num_features, hidden) if temporal else nn.Linear(num_features, hidden)
        self.fc = nn.Linear(hidden, 2)  # W_q

    def forward(self, feature_ND: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Memory]:
        with torch.autocast(feature_ND.device.type, enabled=False):
            x_ND = self.embed(self.norm(feature_ND.to(self.fc.weight.dtype)))
            after: Memory = self.cell(x_ND, memory) if self.temporal else ()
            h_NH = after[0] if self.temporal else torch.relu(self.cell(x_ND))
            return self.fc(h_NH), h_NH, after


class State(NamedTuple):
    """Where B videos stand."""

    memories: tuple[Memory, ...]  # of each policy, since the last used frame
    mean: UsedMean  # of the predictions
    num_seen_B: Tensor  # frames looked at so far
    ended_B: Tensor  # early terminated


class SoFNet(CausalMethod):
    """SoF-Net.

    Args:
        num_classes: K.
        backbone: network and resolution; a policy stands after each of its stages.
        num_frames: T.
        hidden: width H of the policies' LSTMs.
        temporal: False puts a fully connected layer in the LSTM's place.
        guidance: False leaves the policy guidance loss and its inner classifiers out.
        rho: end a video once its prediction is above this probability (equation 7); 1 never does.
        min_frames: T_min, a video ends after more frames than this.
        alpha: weight of accuracy against efficiency (equation 8).
        beta: weight of the inner classifiers against self-supervision (equation 12).
        total_gflops: scale equation 10's table so that the whole network costs this; 0 leaves the true GFLOPs.
        normalize: LayerNorm before the policies, for networks without ImageNet weights (not in the paper).
        dropout: before the linear head.
        nearest_from: frames are read at so many pixels a side, of which the network sees single ones; 0: at its size.
        ends_when_used: end a video after used frames alone.
    """

    test_time = ("rho", "min_frames", "ends_when_used")  # no frame is left out while it learns

    def __init__(
        self,
        num_classes: int,
        backbone: BackboneSpec,
        num_frames: int = 16,
        hidden: int = 512,
        temporal: bool = True,
        guidance: bool = True,
        rho: float = 0.999,
        min_frames: int = 3,
        alpha: float = 0.9,
        beta: float = 0.9,
        total_gflops: float = 0.0,
        normalize: bool = False,
        dropout: float = 0.5,
        nearest_from: int = 0,
        ends_when_used: bool = False,
    ) -> None:
        super().__init__()
        if hidden < 1 or min_frames < 0 or total_gflops < 0:
            raise ValueError("sofnet: hidden must be 1 or more, min_frames and total_gflops not negative")
        if not all(0 <= value <= 1 for value in (rho, alpha, beta)):
            raise ValueError(f"sofnet: rho, alpha and beta must lie in [0, 1], got {rho}, {alpha} and {beta}")
        self.spec, self.num_classes, self.hidden, self.temporal = backbone, num_classes, hidden, temporal
        self.guidance, self.rho, self.min_frames, self.nearest = guidance, rho, min_frames, nearest_from > 0
        self.alpha, self.beta, self.total_gflops, self.ends_when_used = alpha, beta, total_gflops, ends_when_used
        self.views = {"frames": backbone.view(num_frames, nearest_from)}
        self.network = FrameClassifier(backbone, num_classes, dropout)
        self.shapes = self.network.backbone.map_shapes(backbone)
        self.widths = [self.network.backbone.pool(torch.zeros(of)).flatten(1).shape[1] for of in self.shapes[1:]]  # D
        self.policies = nn.ModuleList(Policy(width, hidden, temporal, normalize) for width in self.widths)
        if guidance:
            self.inner = nn.ModuleList(nn.Linear(hidden, num_classes) for _ in self.widths)  # W_cls
        gates = [f"res{n + 1}" for n in range(len(self.widths))]
        self.actions = ActionSpace(("used", *reversed(gates), "exit"), (backbone.size, *(0 for _ in gates), 0))

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {"network": self.spec}

    # Section 3.2: stop or forward, early termination

    def init_state(self, num_videos: int) -> State:
        weight = self.network.head[1].weight  # type: ignore[index]
        memory = (weight.new_zeros(num_videos, self.hidden),) * 2 if self.temporal else ()
        num_B = torch.zeros(num_videos, dtype=torch.long, device=weight.device)
        return State((memory,) * len(self.policies), no_frames(num_videos, self.num_classes, weight), num_B, num_B > 0)

    def step(self, chunk: Chunk, state: State, ledger: Ledger) -> tuple[State, Tensor, dict[str, Tensor]]:
        """Frame by frame, since a policy remembers only frames that passed all gates; the batch's videos together."""
        mask_BT, forced_BT, num_gates = chunk.mask_BT, chunk.forced_BT, len(self.policies)
        feature_BTD = self.features(chunk, ledger) if chunk.dense else None
        actions, said = [], []
        for t in range(mask_BT.shape[1]):
            watched_B = mask_BT[:, t] & ~(state.ended_B if forced_BT is None else forced_BT[:, t] > num_gates)
            (video_N,) = watched_B.nonzero(as_tuple=True)
            action_B = torch.full_like(state.num_seen_B, num_gates + 1).masked_fill(~mask_BT[:, t], -1)
            if len(video_N):
                forced_N = None if forced_BT is None else forced_BT[video_N, t]
                if feature_BTD is not None:
                    of_stages = feature_BTD[video_N, t].split(self.widths, 1)
                    state, passed_N, gates = self.weigh(of_stages, video_N, forced_N, state, ledger)
                    said.append(gates)
                else:
                    frame_N = torch.full_like(video_N, t)
                    x_N = read_frames(ledger, chunk.frames_BTCHW, video_N, frame_N, self.spec.size, self.nearest)
                    state, passed_N = self.stop_or_forward(x_N, video_N, forced_N, state, ledger)
                action_B = action_B.index_put((video_N,), num_gates - passed_N)
            actions.append(action_B)
            state = state._replace(num_seen_B=state.num_seen_B + watched_B)
            if forced_BT is None and not chunk.dense:
                state = state._replace(ended_B=state.ended_B | self.is_sure(state, action_B))
        names = said[0] if said else ()
        return state, torch.stack(actions, 1), {name: torch.cat([gates[name] for gates in said]) for name in names}

    def stop_or_forward(
        self, x_N: Tensor, video_N: Tensor, forced_N: Tensor | None, state: State, ledger: Ledger
    ) -> tuple[State, Tensor]:
        """A frame of each of N videos, stage after stage until a gate stops it. Also how many gates it passed (N,)."""
        passed_N, memories = torch.zeros_like(video_N), list[Memory]()
        row_M, video_M, x_M = torch.arange(len(video_N), device=video_N.device), video_N, x_N
        for n in range(len(self.policies)):
            x_M, feature_MD = self.look(n, x_M, video_M, ledger)
            forced_M = None if forced_N is None else forced_N[row_M]
            _, go_M, _, after = self.decide(n, feature_MD, video_M, forced_M, state, ledger)
            (on,) = (go_M > 0.5).nonzero(as_tuple=True)
            if len(on) == 0:
                return state, passed_N
            memories.append(after)
            if len(on) < len(row_M):  # nothing is copied where all go on
                row_M, video_M, x_M, feature_MD = (rows[on] for rows in (row_M, video_M, x_M, feature_MD))
                memories = [tuple(part_MH[on] for part_MH in memory) for memory in memories]
            passed_N[row_M] = n + 1
        return self.remember(state, video_M, go_M.new_ones(len(on), 1), feature_MD, memories, ledger), passed_N

    def weigh(
        self, features: Sequence[Tensor], video_N: Tensor, forced_N: Tensor | None, state: State, ledger: Ledger
    ) -> tuple[State, Tensor, dict[str, Tensor]]:
        """The same after all stages: the gates weigh what a frame changes. Also what the losses need of them."""
        said = [self.decide(n, feature_ND, video_N, forced_N, state, ledger) for n, feature_ND in enumerate(features)]
        logits, gates, hidden, memories = zip(*said, strict=True)
        used_N1, passed_N = state.mean.num_B1.new_ones(len(video_N), 1), torch.zeros_like(video_N)
        for go_N in gates:
            used_N1 = used_N1 * go_N[:, None]  # s: the product of the gates
            passed_N += used_N1[:, 0] > 0.5
        mixed = [
            tuple(used_N1 * new_NH + (1 - used_N1) * old_BH[video_N] for old_BH, new_NH in zip(*both, strict=True))
            for both in zip(state.memories, memories, strict=True)
        ]
        state = self.remember(state, video_N, used_N1, features[-1], mixed, ledger)
        heard = {"logits_NG2": torch.stack(logits, 1), "go_NG": torch.stack(gates, 1), "h_NGH": torch.stack(hidden, 1)}
        return state, passed_N, {"video_N": video_N, **heard}

    def features(self, chunk: Chunk, ledger: Ledger) -> Tensor:
        """Pooled features after all stages, side by side (B, T, D), of all frames at once."""
        video_N, frame_N = chunk.mask_BT.nonzero(as_tuple=True)
        x_N = read_frames(ledger, chunk.frames_BTCHW, video_N, frame_N, self.spec.size, self.nearest)
        if any(parameter.requires_grad for parameter in self.network.backbone.parameters()):
            looked = list[Tensor]()
            for n in range(len(self.policies)):
                x_N, feature_ND = self.look(n, x_N, video_N, ledger)
                looked.append(feature_ND)
            all_ND = torch.cat(looked, 1)
        else:  # in one go: what a frozen network says of a picture can be kept, maps between its stages cannot
            all_ND = ledger.run("res", self.network.backbone, x_N, True, owner_N=video_N)
        return all_ND.new_zeros(*chunk.mask_BT.shape, sum(self.widths)).index_put((video_N, frame_N), all_ND)

    def look(self, n: int, x_N: Tensor, video_N: Tensor, ledger: Ledger) -> tuple[Tensor, Tensor]:
        """Run one more stage; pool what comes out (equation 1)."""
        x_N = ledger.run(f"res{n + 1}", self.network.backbone.stages[n], x_N, owner_N=video_N)
        return x_N, ledger.run(f"policy{n + 1}", self.network.backbone.pool, x_N, owner_N=video_N)

    def decide(
        self, n: int, feature_ND: Tensor, video_N: Tensor, forced_N: Tensor | None, state: State, ledger: Ledger
    ) -> tuple[Tensor, Tensor, Tensor, Memory]:
        """A policy's output and g (N,), 1 to go on: sampled while the policies learn (equation 4), else the arg max."""
        before = tuple(part_BH[video_N] for part_BH in state.memories[n])
        logits_N2, h_NH, after = ledger.run(f"policy{n + 1}", self.policies[n], feature_ND, before, owner_N=video_N)
        if forced_N is not None:  # the later the gate that stops a frame, the lower the action
            go_N = (forced_N < len(self.policies) - n).to(logits_N2.dtype)
        elif self.policies.training:
            go_N = F.gumbel_softmax(logits_N2, self.temperature, hard=True)[:, 1]
        else:
            go_N = logits_N2.argmax(-1).to(logits_N2.dtype)
        return logits_N2, go_N, h_NH, after

    def remember(
        self, state: State, video_N: Tensor, used_N1: Tensor, feature_ND: Tensor, after: list[Memory], ledger: Ledger
    ) -> State:
        """A used frame's prediction counts and the policies remember it."""
        logits_NK = ledger.run("head", self.network.head, feature_ND, owner_N=video_N)
        pairs = [zip(*both, strict=True) for both in zip(state.memories, after, strict=True)]
        memories = tuple(tuple(old_BH.index_put((video_N,), new_NH) for old_BH, new_NH in pair) for pair in pairs)
        return state._replace(memories=memories, mean=state.mean.add_rows(video_N, logits_NK, used_N1))

    def answer(self, state: State, ledger: Ledger) -> Tensor:
        """Equation 6, before the softmax."""
        return state.mean.mean_BK()

    def is_sure(self, state: State, action_B: Tensor) -> Tensor:
        """Equation 7, after a frame about which that was decided."""
        score_B = state.mean.mean_BK().float().softmax(-1).amax(-1)
        may_end_B = action_B == 0 if self.ends_when_used else state.mean.num_B1[:, 0] > 0.5
        return may_end_B & (score_B > self.rho) & (state.num_seen_B > self.min_frames)

    def has_ended(self, state: State) -> Tensor:
        return state.ended_B

    # Section 3.3: training

    def joint_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Equation 8. N rows are all frames of all videos."""
        output = self(batch, ledger, dense=True)
        go_NG = output.aux["go_NG"]
        accuracy = cross_entropy(output.logits_BK, batch.label_BK).mean()  # equation 9
        efficiency = (go_NG * go_NG.new_tensor(self.remaining_gflops())).mean()  # equation 11
        loss = self.alpha * accuracy + (1 - self.alpha) * efficiency
        terms = {"accuracy": accuracy, "efficiency": efficiency, "used": go_NG.prod(-1).mean()}
        if self.guidance:
            inner, itself = self.guidance_losses(output.aux, batch.label_BK, ledger)
            loss = loss + self.beta * inner + (1 - self.beta) * itself  # equation 12
            terms |= {"inner": inner, "self": itself}
        return {"loss": loss, **terms}

    def guidance_losses(self, aux: dict[str, Tensor], label_BK: Tensor, ledger: Ledger) -> tuple[Tensor, Tensor]:
        """Equations 13 to 15: the inner classifiers' loss, and the policies' own."""
        video_N, go_NG, logits_NG2 = aux["video_N"], aux["go_NG"].detach(), aux["logits_NG2"]
        hidden = zip(self.inner, aux["h_NGH"].unbind(1), strict=True)
        predictions = [ledger.run("inner", fc, h_NH, owner_N=video_N) for fc, h_NH in hidden]
        error_NG = torch.stack([cross_entropy(logits_NK, label_BK[video_N]) for logits_NK in predictions], 1)
        inner = (go_NG * error_NG).sum() / go_NG.sum().clamp(min=1)
        grows_NG = (error_NG[:, 1:] < error_NG[:, :-1]).to(error_NG.dtype)  # p(y), from gate to gate
        forward_NG = logits_NG2[:, :-1, 1] - logits_NG2[:, :-1, 0]
        return inner, F.binary_cross_entropy_with_logits(forward_NG, grows_NG)

    def remaining_gflops(self) -> list[float]:
        """Equation 10's table: what a frame still costs that goes on at each gate, up to its prediction."""
        network, rows = self.network, [torch.zeros(()).expand(shape) for shape in self.shapes[:-1]]
        stages = [price(stage, x).macs for stage, x in zip(network.backbone.stages, rows, strict=True)]
        costs = [*stages, price(network.head, torch.zeros(1, network.backbone.num_features)).macs]
        scale = self.total_gflops / sum(costs) if self.total_gflops else 1e-9
        return [scale * sum(costs[n + 1 :]) for n in range(len(stages))]
