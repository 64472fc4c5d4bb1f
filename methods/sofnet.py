"""SoF-Net: after every stage of one network a policy decides whether the frame goes on or stops; confident videos end.

Seon, Hwang, Mun, Han: "Stop or Forward: Dynamic Layer Skipping for Efficient Action Recognition", WACV 2023. Official
code: https://github.com/sunutf/Stop-or-Forward-SoF-Net- (read, not used).

Departures from the paper:
- The warm-up (15 epochs, all frames go on) is the suite's own, from which all methods start.
- A policy pools as its network pools before its head (average, for ResNets).
- Equation 15 holds for the probability of going on: the sampled gate is 0 or 1, where cross-entropy is not finite.
- Gates weigh equation 13 as they fall, without gradient, over the batch and not video by video.
- The suite's batch size for all methods (the paper: 24), and gradients clipped as everywhere here.
- `normalize`, a LayerNorm before the policies for networks that start from nothing, is not in the paper.
- Without temporal modelling ("replacing LSTM with an FC layer") the layer is followed by a ReLU.
Departures from the official code, where it differs from the paper, which is followed: a stopped frame runs no further
(code: every block on every frame, masked); evaluation takes the arg max (code: samples); alpha and beta as printed;
inner classifiers learn only where the gate goes on; a policy's memory is that of the last frame that passed all gates.

B videos, T frames, N routed rows, G gates, K classes, D features, H hidden units.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adavid import (
    ActionSpace,
    BackboneSpec,
    CausalMethod,
    FrameClassifier,
    Ledger,
    UsedMean,
    VideoBatch,
    cross_entropy,
    no_frames,
    price,
    resize_frames,
)

Memory = tuple[Tensor, ...]  # an LSTM's h and c, each (B, H); empty without temporal modelling
USED = 0


class Policy(nn.Module):
    """Equations 2 and 3, in full precision.

    Shapes: pooled features (N, D) and memory in; logits (N, 2) of stopping and going on, h (N, H) and memory out.
    """

    def __init__(self, num_features: int, hidden: int, temporal: bool, normalize: bool) -> None:
        super().__init__()
        self.hidden, self.temporal = hidden, temporal
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
        pretrained: start from ImageNet.
    """

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
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        if hidden < 1 or min_frames < 0 or total_gflops < 0:
            raise ValueError("sofnet: hidden must be 1 or more, min_frames and total_gflops not negative")
        for name, value in (("rho", rho), ("alpha", alpha), ("beta", beta)):
            if not 0 <= value <= 1:
                raise ValueError(f"sofnet: {name} must lie in [0, 1], got {value}")
        self.spec, self.num_classes = backbone, num_classes
        self.guidance, self.rho, self.min_frames = guidance, rho, min_frames
        self.alpha, self.beta, self.total_gflops = alpha, beta, total_gflops
        self.views = {"frames": backbone.view(num_frames)}
        self.network = FrameClassifier(backbone, num_classes, dropout, pretrained)
        self.shapes = self._shapes()
        widths = [self.network.backbone.pool(torch.zeros(shape)).flatten(1).shape[1] for shape in self.shapes[1:]]
        self.policies = nn.ModuleList(Policy(width, hidden, temporal, normalize) for width in widths)
        if guidance:
            self.inner = nn.ModuleList(nn.Linear(hidden, num_classes) for _ in widths)  # W_cls
        gates = [f"res{n + 1}" for n in range(len(widths))]
        self.actions = ActionSpace(("used", *reversed(gates), "exit"), (backbone.size, *(0 for _ in gates), 0))

    def _shapes(self) -> list[torch.Size]:
        """Of one row before each stage and after the last."""
        stages = copy.deepcopy(self.network.backbone.stages).to("meta").eval()
        x_1CHW = torch.zeros(1, *self.spec.view(1).shape[1:], device="meta")
        try:
            return [x_1CHW.shape] + [(x_1CHW := stage(x_1CHW)).shape for stage in stages]
        except AttributeError:  # pathways side by side
            raise ValueError(f"sofnet: the stages of {self.spec} do not hand on one map each") from None

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return {"network": self.spec}

    # Section 3.2: stop or forward, early termination

    def init_state(self, num_videos: int) -> State:
        weight = self.network.head[1].weight  # type: ignore[index]
        zeros = lambda policy: weight.new_zeros(num_videos, policy.hidden)  # noqa: E731
        memories = tuple((zeros(policy), zeros(policy)) if policy.temporal else () for policy in self.policies)
        count_B = torch.zeros(num_videos, dtype=torch.long, device=weight.device)
        return State(memories, no_frames(num_videos, self.num_classes, weight), count_B, count_B > 0)

    def step(
        self,
        frames_BTCHW: Tensor,
        mask_BT: Tensor,
        state: State,
        ledger: Ledger,
        forced_BT: Tensor | None = None,
        dense: bool = False,
    ) -> tuple[State, Tensor, dict[str, Tensor]]:
        """Frame by frame, since a policy remembers only frames that passed all gates; the batch's videos together."""
        num_gates, actions, said = len(self.policies), [], []
        features = self._features(frames_BTCHW, mask_BT, ledger) if dense else []
        for t in range(mask_BT.shape[1]):
            forced_B = None if forced_BT is None else forced_BT[:, t]
            watched_B = mask_BT[:, t] & ~state.ended_B
            if forced_B is not None:
                watched_B = watched_B & (forced_B <= num_gates)
            action_B = torch.full_like(state.num_seen_B, num_gates + 1).masked_fill(~mask_BT[:, t], -1)
            (video_N,) = watched_B.nonzero(as_tuple=True)
            x_N = frames_BTCHW[:0, t] if dense else resize_frames(frames_BTCHW[video_N, t], self.spec.size)
            used_N = state.mean.num_B1.new_ones(len(video_N))  # s: the product of the gates
            memories: list[Memory] = []
            gates = []
            for n, policy in enumerate(self.policies):
                if len(video_N) == 0:
                    break
                if dense:
                    feature_ND = features[n][video_N, t]
                else:
                    x_N, feature_ND = self._look(n, x_N, video_N, ledger)
                before = tuple(part_BH[video_N] for part_BH in state.memories[n])
                logits_N2, h_NH, after = ledger.run(f"policy{n + 1}", policy, feature_ND, before, owner_N=video_N)
                go_N = self._choose(logits_N2, None if forced_B is None else forced_B[video_N] < num_gates - n)
                action_B[video_N[(used_N > 0.5) & (go_N < 0.5)]] = num_gates - n
                used_N = used_N * go_N
                memories.append(after)
                gates.append((logits_N2, go_N, h_NH))
                if not dense:  # a stopped frame runs no further
                    (on_M,) = (go_N > 0.5).nonzero(as_tuple=True)
                    video_N, used_N, x_N, feature_ND = (rows[on_M] for rows in (video_N, used_N, x_N, feature_ND))
                    memories = [tuple(part_NH[on_M] for part_NH in memory) for memory in memories]
            if len(video_N):
                action_B[video_N[used_N > 0.5]] = USED
                logits_NK = ledger.run("head", self.network.head, feature_ND, owner_N=video_N)
                state = self._remember(state, video_N, used_N, logits_NK, memories)
                if dense:
                    said.append((video_N, *(torch.stack(parts, 1) for parts in zip(*gates, strict=True))))
            state = state._replace(num_seen_B=state.num_seen_B + watched_B)
            if forced_B is None and not dense:
                state = state._replace(ended_B=state.ended_B | self._is_sure(state))
            actions.append(action_B)
        names = ("video_N", "logits_NG2", "go_NG", "h_NGH")
        aux = {name: torch.cat(parts) for name, parts in zip(names, zip(*said, strict=True), strict=False)}
        return state, torch.stack(actions, 1), aux

    def answer(self, state: State, ledger: Ledger) -> Tensor:
        """Equation 6, before the softmax."""
        return state.mean.mean_BK()

    def has_ended(self, state: State) -> Tensor:
        return state.ended_B

    def _look(self, n: int, x_N: Tensor, video_N: Tensor, ledger: Ledger) -> tuple[Tensor, Tensor]:
        """Run one more stage; pool what comes out (equation 1)."""
        backbone = self.network.backbone
        x_N = ledger.run(f"res{n + 1}", backbone.stages[n], x_N, owner_N=video_N)
        return x_N, ledger.run(f"policy{n + 1}", backbone.pool, x_N, owner_N=video_N)

    def _features(self, frames_BTCHW: Tensor, mask_BT: Tensor, ledger: Ledger) -> list[Tensor]:
        """Pooled features (B, T, D) after each stage, of all frames at once."""
        video_N, frame_N = mask_BT.nonzero(as_tuple=True)
        x_N = resize_frames(frames_BTCHW[video_N, frame_N], self.spec.size)
        features = []
        for n in range(len(self.policies)):
            x_N, feature_ND = self._look(n, x_N, video_N, ledger)
            zeros_BTD = feature_ND.new_zeros(*mask_BT.shape, feature_ND.shape[1])
            features.append(zeros_BTD.index_put((video_N, frame_N), feature_ND))
        return features

    def _choose(self, logits_N2: Tensor, forced_N: Tensor | None) -> Tensor:
        """g (N,): 1 to go on. Sampled while the policies learn (equation 4), else the arg max."""
        if forced_N is not None:
            return forced_N.to(logits_N2.dtype)
        if self.policies.training:
            return F.gumbel_softmax(logits_N2, self.temperature, hard=True)[:, 1]
        return logits_N2.argmax(-1).to(logits_N2.dtype)

    @staticmethod
    def _remember(state: State, video_N: Tensor, used_N: Tensor, logits_NK: Tensor, after: list[Memory]) -> State:
        """A used frame's prediction counts and the policies remember it."""
        used_N1 = used_N[:, None]
        memories = tuple(
            tuple(
                old_BH.index_put((video_N,), used_N1 * new_NH + (1 - used_N1) * old_BH[video_N])
                for old_BH, new_NH in zip(before, memory, strict=True)
            )
            for before, memory in zip(state.memories, after, strict=True)
        )
        total_BK, num_B1 = state.mean
        total_BK = total_BK.index_add(0, video_N, used_N1 * logits_NK.to(total_BK.dtype))
        return state._replace(memories=memories, mean=UsedMean(total_BK, num_B1.index_add(0, video_N, used_N1)))

    def _is_sure(self, state: State) -> Tensor:
        """Equation 7."""
        score_B = state.mean.mean_BK().float().softmax(-1).amax(-1)
        has_used_B = state.mean.num_B1[:, 0] > 0.5
        return has_used_B & (score_B > self.rho) & (state.num_seen_B > self.min_frames)

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
            inner, itself = self._guidance(output.aux, batch.label_BK, ledger)
            loss = loss + self.beta * inner + (1 - self.beta) * itself  # equation 12
            terms |= {"inner": inner, "self": itself}
        return {"loss": loss, **terms}

    def _guidance(self, aux: dict[str, Tensor], label_BK: Tensor, ledger: Ledger) -> tuple[Tensor, Tensor]:
        """Equations 13 to 15: the inner classifiers' loss, and the policies' own."""
        video_N, go_NG, logits_NG2 = aux["video_N"], aux["go_NG"].detach(), aux["logits_NG2"]
        predictions = [
            ledger.run("inner", fc, h_NH, owner_N=video_N)
            for fc, h_NH in zip(self.inner, aux["h_NGH"].unbind(1), strict=True)
        ]
        error_NG = torch.stack([cross_entropy(logits_NK, label_BK[video_N]) for logits_NK in predictions], 1)
        inner = (go_NG * error_NG).sum() / go_NG.sum().clamp(min=1)
        grows_NG = (error_NG[:, 1:] < error_NG[:, :-1]).to(error_NG.dtype)  # p(y), from gate to gate
        forward_NG = logits_NG2[:, :-1, 1] - logits_NG2[:, :-1, 0]
        return inner, F.binary_cross_entropy_with_logits(forward_NG, grows_NG)

    def remaining_gflops(self) -> list[float]:
        """Equation 10's table: what a frame still costs that goes on at each gate, up to its prediction."""
        network = self.network
        stages = [
            price(stage, torch.zeros(()).expand(shape)).macs
            for stage, shape in zip(network.backbone.stages, self.shapes, strict=False)
        ]
        costs = [*stages, price(network.head, torch.zeros(1, network.backbone.num_features)).macs]
        scale = self.total_gflops / sum(costs) if self.total_gflops else 1e-9
        return [scale * sum(costs[n + 1 :]) for n in range(len(stages))]
