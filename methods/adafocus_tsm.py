"""AdaFocus-TSM: AdaFocus with networks that mix a video's frames; one place for the patch in all of them.

Wang, Chen, Jiang, Song, Han, Huang: "Adaptive Focus for Efficient Video Recognition", ICCV 2021, section 4.2 and
appendix B.2. Official code: https://github.com/blackfeather-wang/AdaFocus (no licence; read, not used). The temporal
shift is that of Lin, Gan, Han (ICCV 2019), `adavid.networks.temporal_shift`.

Departures from the official code:
- f_C starts with the linear layer of f_L's fine-tuning (there: anew).
- The optimiser has Nesterov's momentum, as the appendix says (the code's has not); batch size and dropout before f_C
  are those of all stages (in the code's stage III 32 videos, none); epochs, precision as in methods/adafocus.py.
- Short videos are spread over the frames, as in methods/tsm.py (the code takes their first: `data.short_videos`).
- The Gaussian's deviation is .25 in training; clipping to the frame keeps the density of the unclipped Gaussian at the
  clipped point, as in the code. In evaluation the mean is taken; the place is a whole pixel in both.
- Returns are normalised by their population deviation; several labels share the target evenly, and their probabilities
  add up in the reward.

B videos, T frames of f_L and S of f_G (CHW: channels, height, width; of f_G's map DHW), K classes, D features,
H hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from adavid import (
    ActionSpace,
    AdaptiveMethod,
    BackboneSpec,
    FrameClassifier,
    Ledger,
    MethodOutput,
    PatchGrid,
    VideoBatch,
    clip_view,
    cross_entropy,
    discounted_returns,
    ppo_loss,
    run_on_videos,
)

DEVIATION = 0.25


class Policy(nn.Module):
    """pi: the maps of all of a video's frames in, (B, S, D, h, w); what it makes of them (B, H) out, in full precision.

    `actor` gives the mean of the place, row and column as fractions of the free room; `critic` serves training.
    """

    def __init__(self, num_channels: int, side: int, squeezed: int, hidden: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(1, 2),
            nn.Conv2d(num_channels, squeezed, 1, bias=False),
            nn.BatchNorm2d(squeezed),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(squeezed * side**2, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
        )
        self.gru = nn.GRUCell(hidden, hidden)
        self.actor = nn.Sequential(nn.Linear(hidden, 2), nn.Sigmoid())
        self.critic = nn.Linear(hidden, 1)

    def forward(self, map_BSDHW: Tensor) -> Tensor:
        with torch.autocast(map_BSDHW.device.type, enabled=False):
            return self.gru(self.encoder(map_BSDHW.to(self.critic.weight.dtype)))


class AdaFocusTSM(AdaptiveMethod):
    """AdaFocus-TSM.

    Args:
        num_classes: K.
        glance: f_G, with temporal shift over its own S frames.
        focus: f_L, with temporal shift over its own T frames; fine-tuned on whole frames of this size.
        patch_size: pixels.
        squeezed: channels that the policy's 1 x 1 convolution keeps.
        policy_hidden: H, width of the policy.
        dropout: before the linear heads.
    """

    fewest_videos = 2  # the policy sees one row a video, and its BatchNorm needs two

    def __init__(
        self,
        num_classes: int,
        glance: BackboneSpec,
        focus: BackboneSpec,
        patch_size: int = 144,
        squeezed: int = 64,
        policy_hidden: int = 1024,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if min(squeezed, policy_hidden) < 1:
            raise ValueError("adafocus_tsm: squeezed and policy_hidden must be 1 or more")
        self.specs = {"glance": glance, "focus": focus}
        self.grid = PatchGrid.every_pixel(focus.size, patch_size)
        # Decisions are about the frames of the first view.
        self.views = {name: clip_view("adafocus_tsm", self.specs[name], focus.size) for name in ("focus", "glance")}
        self.actions = ActionSpace((f"patch-{patch_size}",), (patch_size,), grid=self.grid)
        self.glance = FrameClassifier(glance, num_classes, dropout)
        self.focus = FrameClassifier(focus, num_classes, dropout)
        backbone = self.glance.backbone
        side = backbone.map_side(glance.size)
        self.policy = Policy(glance.num_segments * backbone.num_features, side, squeezed, policy_hidden)

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        return self.specs

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        map_BSDHW, global_BK = self.glance_at(batch, ledger)
        mean_B2, _ = self.decide(map_BSDHW, ledger)
        mask_BT = batch.mask["focus"]
        action_BT = self.place(mean_B2)[:, None].expand_as(mask_BT) if forced is None else forced
        local_BK = self.focus_on(batch, action_BT, ledger)
        return MethodOutput(global_BK + local_BK, action_BT.masked_fill(~mask_BT, -1), {})

    # The networks; a batch's frames beyond theirs are padding

    def glance_at(self, batch: VideoBatch, ledger: Ledger) -> tuple[Tensor, Tensor]:
        """f_G: the maps (B, S, D, h, w) and the averaged prediction (B, K)."""
        spec, backbone = self.specs["glance"], self.glance.backbone
        frames_BSCHW = batch.frames["glance"][:, : spec.num_segments]
        owner_B = torch.arange(len(frames_BSCHW), device=frames_BSCHW.device)
        map_BSDHW = run_on_videos(ledger, "glance", backbone.stages, frames_BSCHW, spec.size, view="glance")
        feature_BSD = ledger.run("glance", backbone.pool, map_BSDHW, owner_N=owner_B)
        return map_BSDHW, ledger.run("glance", self.glance.head, feature_BSD, owner_N=owner_B).mean(1)

    def decide(self, map_BSDHW: Tensor, ledger: Ledger) -> tuple[Tensor, Tensor]:
        """pi: the mean of the place (B, 2), fractions of the free room, and the state (B, H) that it follows from."""
        owner_B = torch.arange(len(map_BSDHW), device=map_BSDHW.device)
        h_BH = ledger.run("policy", self.policy, map_BSDHW, owner_N=owner_B)
        with torch.autocast(map_BSDHW.device.type, enabled=False):
            return ledger.run("policy", self.policy.actor, h_BH, owner_N=owner_B), h_BH

    def place(self, fraction_B2: Tensor) -> Tensor:
        """The place (B,) at row and column `fraction_B2` of the free room, cut down to whole pixels."""
        row_and_column = (fraction_B2 * (self.grid.side - 1)).long()
        return row_and_column[:, 0] * self.grid.side + row_and_column[:, 1]

    def focus_on(self, batch: VideoBatch, action_BT: Tensor, ledger: Ledger) -> Tensor:
        """f_L and f_C: the averaged prediction (B, K) from the patches."""
        num_frames, size = self.specs["focus"].num_segments, self.grid.patch_size
        frames_BTCHW = batch.frames["focus"][:, :num_frames]
        corner_BT2 = torch.stack(self.grid.corner(action_BT[:, :num_frames]), -1)
        owner_B = torch.arange(len(frames_BTCHW), device=frames_BTCHW.device)
        feature_BTD = run_on_videos(ledger, "focus", self.focus.backbone, frames_BTCHW, size, corner_BT2, view="focus")
        return ledger.run("focus", self.focus.head, feature_BTD, owner_N=owner_B).mean(1)

    # The three stages of training, appendix B.2

    def focus_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Stage I: f_L and f_C on random patches."""
        _, global_BK = self.glance_at(batch, ledger)
        local_BK = self.focus_on(batch, self.random_places(batch), ledger)
        return {"loss": cross_entropy(global_BK + local_BK, batch.label_BK).mean()}

    def policy_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Stage II: pi by PPO. The reward is the confidence with its patch minus that with a random one."""
        map_BSDHW, global_BK = self.glance_at(batch, ledger)
        mean_B2, h_BH = self.decide(map_BSDHW, ledger)
        gaussian = Normal(mean_B2, DEVIATION)
        taken_B2 = gaussian.sample().clip(0, 1)
        action_BT = self.place(taken_B2)[:, None].expand_as(batch.mask["focus"])
        confidence_B = self.confidence(global_BK + self.focus_on(batch, action_BT, ledger), batch)
        random_BK = global_BK + self.focus_on(batch, self.random_places(batch), ledger)
        reward_B1 = (confidence_B - self.confidence(random_BK, batch))[:, None]
        owner_B = torch.arange(len(h_BH), device=h_BH.device)
        with torch.autocast(h_BH.device.type, enabled=False):
            value_B = ledger.run("critic", self.policy.critic, h_BH, owner_N=owner_B)[:, 0]
        log_prob_B = gaussian.log_prob(taken_B2).sum(-1)
        return_B = discounted_returns(reward_B1, torch.ones_like(reward_B1, dtype=torch.bool))[:, 0]
        terms = ppo_loss(log_prob_B, log_prob_B, return_B, value_B, gaussian.entropy().sum(-1))
        return terms | {"reward": reward_B1.mean(), "confidence": confidence_B.mean()}

    def random_places(self, batch: VideoBatch) -> Tensor:
        """One random place a video, (B, T)."""
        mask_BT = batch.mask["focus"]
        return torch.randint(len(self.grid), (len(mask_BT), 1), device=mask_BT.device).expand_as(mask_BT)

    @staticmethod
    def confidence(logits_BK: Tensor, batch: VideoBatch) -> Tensor:
        """p_y, the probability (B,) of the video's labels."""
        return (logits_BK.float().softmax(-1) * batch.label_BK).sum(-1)
