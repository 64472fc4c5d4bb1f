"""AdaFocus-TSM, TSM and TSM+: by hand, video by video; a planted best patch is found."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from adavid.cost import Ledger
from adavid.data.batch import VideoBatch
from adavid.data.transforms import resize_frames
from adavid.networks.backbones import Backbone, BackboneSpec
from adavid.policy_gradient import discounted_returns
from adavid.stage import Stage
from benchmarks.compose import compose
from methods.adafocus_tsm import AdaFocusTSM, Policy
from methods.tsm import TSM
from tests.conftest import NUM_CLASSES, opinionated, random_batch

GLANCE, FOCUS = BackboneSpec("tsm/3/narrow/8-16-24", 16), BackboneSpec("tsm/4/narrow/8-16-24", 24)


def make() -> AdaFocusTSM:
    return opinionated(AdaFocusTSM(NUM_CLASSES, GLANCE, FOCUS, patch_size=16, squeezed=4, policy_hidden=8))


class ByHand:
    """One video of a batch, no patch cut but by slicing."""

    def __init__(self, method: AdaFocusTSM, batch: VideoBatch, b: int) -> None:
        self.method, self.label = method, int(batch.label_BK[b].argmax())
        self.focus_1TCHW = batch.frames["focus"][b : b + 1]
        clip_1SCHW = resize_frames(batch.frames["glance"][b : b + 1], 16)
        self.map_1SDHW = method.glance.backbone.stages(clip_1SCHW)
        self.glance_K = method.glance(clip_1SCHW)[0].mean(0)

    def logits(self, row: int, column: int) -> Tensor:
        patch_1TCHW = self.focus_1TCHW[..., row : row + 16, column : column + 16]
        return self.glance_K + self.method.focus(patch_1TCHW)[0].mean(0)

    def confidence(self, row: int, column: int) -> Tensor:
        return self.logits(row, column).softmax(-1)[self.label]


@torch.no_grad()
def test_forward_by_hand() -> None:
    method = make()
    batch = random_batch(method, 3)
    output = method(batch, Ledger(3))
    for b in range(3):
        video = ByHand(method, batch, b)
        mean_2 = method.policy.actor(method.policy(video.map_1SDHW))[0]
        row, column = (int(fraction * 8) for fraction in mean_2)  # 24 - 16 pixels of room
        assert output.action_BT[b].tolist() == [9 * row + column] * 4
        torch.testing.assert_close(output.logits_BK[b], video.logits(row, column))
    assert len(output.action_BT.unique()) > 1


def test_views_are_independent() -> None:
    """8 glance and 12 focus frames, each sampled for itself; decisions are about the latter."""
    views = compose("adafocus_tsm", profile="paper").build_method(174).views
    assert {name: view.shape for name, view in views.items()} == {
        "focus": (12, 3, 224, 224),
        "glance": (8, 3, 224, 224),
    }
    assert next(iter(views)) == "focus"
    views = compose("tsm_plus", profile="paper").build_method(174).views
    assert {name: view.num_frames for name, view in views.items()} == {"focus": 8, "glance": 8}


def test_stage_2_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reward, the Gaussian's log-probability at the clipped point, and their gradient."""
    method = make()
    batch = random_batch(method, 3)
    sample_B2 = torch.tensor([[0.3, 1.4], [-0.2, 0.6], [0.99, 0.5]])
    random_BT = torch.tensor([[10], [80], [44]]).expand(3, 4)
    monkeypatch.setattr(Normal, "sample", lambda self: sample_B2)
    monkeypatch.setattr(method, "random_places", lambda batch: random_BT)
    terms = method.policy_loss(batch, Ledger(3))

    rewards, log_probs, values = [], [], []
    for b, (row, column) in enumerate([(2, 8), (0, 4), (7, 4)]):
        video = ByHand(method, batch, b)
        other = video.confidence(*divmod(int(random_BT[b, 0]), 9))
        rewards.append((video.confidence(row, column) - other).detach())
        h_1H = method.policy(video.map_1SDHW.detach())
        point_2 = sample_B2[b].clip(0, 1)
        distance_2 = (point_2 - method.policy.actor(h_1H)[0]) / 0.25
        log_probs.append(-(distance_2.square() / 2).sum())  # up to a constant
        values.append(method.policy.critic(h_1H)[0, 0])
    torch.testing.assert_close(terms["reward"], torch.stack(rewards).mean())
    return_B = discounted_returns(torch.stack(rewards)[:, None], torch.ones(3, 1, dtype=torch.bool))[:, 0]
    value_B = torch.stack(values)
    actor = -(torch.stack(log_probs) * (return_B - value_B).detach()).mean()
    loss = actor + 0.5 * (return_B - value_B).square().mean()  # the entropy of a fixed deviation has no gradient
    method.policy.zero_grad()
    terms["loss"].backward()
    ours = [parameter.grad.clone() for parameter in method.policy.parameters()]
    method.policy.zero_grad()
    loss.backward()
    for ours_grad, parameter in zip(ours, method.policy.parameters(), strict=True):
        torch.testing.assert_close(ours_grad, parameter.grad, rtol=1e-4, atol=1e-6)


def planted(num_videos: int) -> tuple[VideoBatch, Tensor]:
    """Grey videos with a square somewhere, bright for class 0 and dark for class 1; the square's corner."""
    corner_B2 = torch.randint(9, (num_videos, 2))
    label_B = torch.randint(2, (num_videos,))
    frames_BTCHW = torch.zeros(num_videos, 2, 3, 16, 16)
    for b, (row, column) in enumerate(corner_B2.tolist()):
        frames_BTCHW[b, :, :, row : row + 8, column : column + 8] = 1 - 2 * label_B[b]
    frames = {"focus": frames_BTCHW, "glance": frames_BTCHW}
    mask = {name: torch.ones(num_videos, 2, dtype=torch.bool) for name in frames}
    label_BK = nn.functional.one_hot(label_B, 2).float()
    return VideoBatch(frames, mask, label_BK, [str(b) for b in range(num_videos)]), corner_B2


class PatchMean(nn.Module):
    """Confident by how bright or dark the patch is; clips (N, T, 3, H, W) in, logits (N, T, 2) out."""

    def forward(self, clip_NTCHW: Tensor) -> Tensor:
        mean_NT = clip_NTCHW.mean((2, 3, 4))
        return torch.stack([3 * mean_NT, -3 * mean_NT], -1)


def test_the_policy_learns_a_planted_best_patch() -> None:
    specs = (BackboneSpec("tsm/2/narrow/4-8-12", 16),) * 2
    method = AdaFocusTSM(2, *specs, patch_size=8)
    pool = nn.AdaptiveAvgPool2d(1)
    to_frames, to_videos = nn.Flatten(0, 1), nn.Unflatten(0, (-1, 2))
    stages: list[nn.Module] = [to_frames, nn.AvgPool2d(4), to_videos]
    glance = Backbone(stages, nn.Sequential(to_frames, pool, nn.Flatten(1), to_videos), 3)
    method.glance.backbone, method.glance.head = glance, nn.Linear(3, 2)
    nn.init.zeros_(method.glance.head.weight)
    method.focus.backbone, method.focus.head = PatchMean(), nn.Identity()
    method.policy = Policy(2 * 3, 4, 16, 32)
    test, corner_B2 = planted(200)

    def distance() -> float:
        """Pixels between the patch and the square, the mean over rows and columns."""
        action_B = method.eval()(test, Ledger(200)).action_BT[:, 0]
        method.train()
        return float((torch.stack(method.grid.corner(action_B), -1) - corner_B2).abs().float().mean())

    assert distance() > 1.9
    optimizer = torch.optim.Adam(method.policy.parameters(), lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        method.policy_loss(planted(32)[0], Ledger(32))["loss"].backward()
        optimizer.step()
    assert distance() < 1.5  # 0.8 to 1.2 over ten seeds, where a policy that stays in the middle has 2.2 to 2.4


@torch.no_grad()
def test_tsm_plus_is_the_sum_of_two_averages() -> None:
    method = opinionated(TSM(NUM_CLASSES, {"focus": FOCUS, "glance": GLANCE}))
    batch = random_batch(method, 2)
    expected_BK = sum(method.networks[name](batch.frames[name]).mean(1) for name in ("focus", "glance"))
    torch.testing.assert_close(method(batch, Ledger(2)).logits_BK, expected_BK)


def test_networks_without_shift_are_refused() -> None:
    with pytest.raises(ValueError, match="tsm: expected a network with temporal shift, tsm/8/narrow/8-16-32 or so"):
        TSM(NUM_CLASSES, {"focus": BackboneSpec("narrow/8-16-32", 16)})


def test_the_stages_of_the_paper() -> None:
    """Appendix B.2; TSM+ trains as AdaFocus-TSM does, without a policy."""
    focus, policy, classifier = compose("adafocus_tsm", profile="paper").stages
    assert (focus.epochs, focus.lr, focus.lr * focus.lr_scale["focus.head"]) == (10, 1e-5, 0.01)
    assert (policy.epochs, policy.lr) == (50, 3e-4)
    assert (classifier.epochs, classifier.lr, classifier.train) == (10, 5e-4, ["focus.head"])
    for plus, ours in zip(compose("tsm_plus", profile="paper").stages, (focus, classifier), strict=True):
        assert (plus.epochs, plus.lr, plus.optimizer, plus.schedule) == (
            ours.epochs,
            ours.lr,
            ours.optimizer,
            ours.schedule,
        )


def test_a_last_stage_of_the_head_alone_pays_for_forward_passes_through_the_rest() -> None:
    method = TSM(NUM_CLASSES, {"focus": FOCUS, "glance": GLANCE})
    method.enter(Stage("classifier", train=["networks.focus.head"], epochs=1))
    ledger = Ledger(2)
    method.classification_loss(random_batch(method, 2), ledger)
    head = 4 * 24 * NUM_CLASSES  # frames, features, classes
    assert ledger.train_macs == int(ledger.total_B.sum()) + 2 * 2 * head
