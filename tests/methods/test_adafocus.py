"""AdaFocus: the stages by hand, frame by frame; where the patches are; a planted best patch is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from adavid.cost import Ledger
from adavid.data.batch import VideoBatch
from adavid.losses import cross_entropy
from adavid.networks.backbones import Backbone, BackboneSpec
from adavid.policy_gradient import discounted_returns
from benchmarks.compose import compose, shared_backbones, warmup_of
from methods.adafocus import AdaFocus, Policy
from methods.random_patch import RandomPatch
from tests.adavid.test_routing import CountingLedger
from tests.conftest import NUM_CLASSES, opinionated, random_batch

GLANCE, FOCUS = BackboneSpec("narrow/4-8-12", 16), BackboneSpec("narrow/4-8-12", 24)
SETTINGS = {"glance": GLANCE, "focus": FOCUS, "num_frames": 4, "patch_size": 16, "places": 3, "hidden": 8}
SKIPPED = 9  # the action after the 9 places


def make(**settings) -> AdaFocus:  # type: ignore[no-untyped-def]
    return opinionated(AdaFocus(NUM_CLASSES, **{**SETTINGS, "policy_hidden": 8, "squeezed": 4, **settings}))


def padded_batch(method: AdaFocus | RandomPatch, num_videos: int = 3) -> VideoBatch:
    batch = random_batch(method, num_videos)
    batch.mask["frames"][1, 3:] = False
    return batch


class ByHand:
    """One video of a batch, a frame at a time, no patch cut but by slicing."""

    def __init__(self, method: AdaFocus, batch: VideoBatch, b: int) -> None:
        self.method, self.frames_TCHW = method, batch.frames["frames"][b]
        self.num_frames = int(batch.mask["frames"][b].sum())
        self.label = int(batch.label_BK[b].argmax())

    def glance(self, t: int) -> tuple[Tensor, Tensor]:
        small = nn.functional.interpolate(self.frames_TCHW[t][None], (16, 16), mode="bilinear", antialias=True)
        map_1DHW = self.method.glance.stages(small)
        return map_1DHW, self.method.glance.pool(map_1DHW)

    def policy(self, policy: Policy, t: int, h_1H: Tensor) -> tuple[Tensor, Tensor]:
        h_1H = policy.gru(policy.encoder(self.glance(t)[0]), h_1H)
        return policy.actor(h_1H), h_1H

    def memory(self, t: int, place: int, h_1H: Tensor) -> Tensor:
        row, column = (place // 3) * 4, (place % 3) * 4  # 24 - 16 pixels in 2 steps
        patch = self.frames_TCHW[t][None, :, row : row + 16, column : column + 16]
        feature = torch.cat([self.glance(t)[1], self.method.focus(patch)], -1)
        return self.method.classifier(feature, h_1H)

    def confidence(self, h_1H: Tensor) -> Tensor:
        return self.method.classifier.head(h_1H).softmax(-1)[0, self.label]


@torch.no_grad()
def test_forward_by_hand() -> None:
    method = make()
    batch = padded_batch(method)
    output = method(batch, Ledger(3))
    for b in range(3):
        video = ByHand(method, batch, b)
        h_1H, memory_1H = torch.zeros(1, 8), torch.zeros(1, 8)
        for t in range(video.num_frames):
            logits_1A, h_1H = video.policy(method.policy, t, h_1H)
            assert output.action_BT[b, t] == logits_1A.argmax()
            memory_1H = video.memory(t, int(logits_1A.argmax()), memory_1H)
            torch.testing.assert_close(output.aux["memory_BTH"][b, t], memory_1H[0])
        torch.testing.assert_close(output.logits_BK[b], method.classifier.head(memory_1H)[0])
    assert output.action_BT[1, 3] == -1
    assert len(output.action_BT.unique()) > 2


def test_stage_1_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-entropy of every step, on the patches that were drawn."""
    method = make()
    batch = padded_batch(method)
    place_BT = torch.tensor([[0, 8, 4, 2], [1, 7, 3, 0], [5, 5, 6, 1]])
    monkeypatch.setattr(method, "random_places", lambda mask_BT: place_BT)
    losses = []
    for b in range(3):
        video, memory_1H = ByHand(method, batch, b), torch.zeros(1, 8)
        for t in range(video.num_frames):
            memory_1H = video.memory(t, int(place_BT[b, t]), memory_1H)
            losses.append(-video.confidence(memory_1H).log())
    torch.testing.assert_close(method.focus_loss(batch, Ledger(3))["loss"], torch.stack(losses).mean())


def test_random_places_are_all_places() -> None:
    method = make()
    place_BT = method.random_places(torch.ones(100, 100, dtype=torch.bool))
    assert torch.bincount(place_BT.flatten(), minlength=9).min() > 0.9 * 10_000 / 9


def test_stage_2_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reward: the confidence with the policy's patch minus that with another, from the same state."""
    method = make()
    batch = padded_batch(method)
    random_BT = torch.tensor([[0, 8, 4, 2], [1, 7, 3, 0], [5, 5, 6, 1]])
    taken_BT = torch.tensor([[3, 1, 2, 7], [8, 0, 4, 4], [6, 2, 0, 5]])
    monkeypatch.setattr(method, "random_places", lambda mask_BT: random_BT)
    monkeypatch.setattr(Categorical, "sample", lambda self: taken_BT)
    terms = method.policy_loss(batch, Ledger(3))

    reward_BT = torch.zeros(3, 4)
    log_probs, values, entropies = [], [], []
    for b in range(3):
        video = ByHand(method, batch, b)
        h_1H, memory_1H = torch.zeros(1, 8), torch.zeros(1, 8)
        for t in range(video.num_frames):
            logits_1A, h_1H = video.policy(method.policy, t, h_1H)
            log_prob_A = logits_1A[0].log_softmax(-1)
            log_probs.append(log_prob_A[taken_BT[b, t]])
            entropies.append(-(log_prob_A.exp() * log_prob_A).sum())
            values.append(method.policy.critic(h_1H)[0, 0])
            other_1H = video.memory(t, int(random_BT[b, t]), memory_1H)
            memory_1H = video.memory(t, int(taken_BT[b, t]), memory_1H)  # the other branch leads nowhere
            reward_BT[b, t] = (video.confidence(memory_1H) - video.confidence(other_1H)).detach()
    mask_BT = batch.mask["frames"]
    torch.testing.assert_close(terms["reward"], reward_BT[mask_BT].mean())
    return_N, value_N = discounted_returns(reward_BT, mask_BT)[mask_BT], torch.stack(values)
    actor = -(torch.stack(log_probs) * (return_N - value_N).detach()).mean()
    critic = 0.5 * (return_N - value_N).square().mean() - 0.01 * torch.stack(entropies).mean()
    method.policy.zero_grad()
    terms["loss"].backward()
    ours = [parameter.grad.clone() for parameter in method.policy.parameters()]
    method.policy.zero_grad()
    (actor + critic).backward()
    for ours_grad, parameter in zip(ours, method.policy.parameters(), strict=True):
        torch.testing.assert_close(ours_grad, parameter.grad, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_stage_3_by_hand() -> None:
    method = make()
    batch = padded_batch(method)
    output = method(batch, Ledger(3))
    logits_BTK = method.classifier.head(output.aux["memory_BTH"])
    losses = [
        cross_entropy(logits_BTK[b, t][None], batch.label_BK[b][None])
        for b, t in batch.mask["frames"].nonzero().tolist()
    ]
    torch.testing.assert_close(method.classifier_loss(batch, Ledger(3))["loss"], torch.cat(losses).mean())


def test_the_second_policys_reward_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make(skips=True, price=0.03)
    batch = padded_batch(method)
    skip_BT = torch.tensor([[0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]])
    monkeypatch.setattr(Categorical, "sample", lambda self: skip_BT)
    terms = method.skip_loss(batch, Ledger(3))
    rewards = []
    with torch.no_grad():
        for b in range(3):
            video = ByHand(method, batch, b)
            h_1H, memory_1H = torch.zeros(1, 8), torch.zeros(1, 8)
            for t in range(video.num_frames):
                logits_1A, h_1H = video.policy(method.policy, t, h_1H)
                looked_1H = video.memory(t, int(logits_1A.argmax()), memory_1H)
                gain = video.confidence(looked_1H) - video.confidence(memory_1H) - 0.03
                rewards.append(-gain if skip_BT[b, t] else gain)
                memory_1H = memory_1H if skip_BT[b, t] else looked_1H
    torch.testing.assert_close(terms["reward"], torch.stack(rewards).mean())
    assert terms["looks"] == pytest.approx(7 / 11)


@torch.no_grad()
def test_a_skipped_frame_costs_a_glance() -> None:
    method = make(skips=True)
    batch = random_batch(method, 2)
    ledger = Ledger(2)
    output = method(batch, ledger, forced=torch.tensor([[SKIPPED] * 4, [0, SKIPPED, 5, SKIPPED]]))
    for name in ("focus", "classifier"):
        assert ledger.macs[name][0] == 0 < ledger.macs[name][1]
    for name in ("glance", "policy", "skip"):
        assert ledger.macs[name][0] == ledger.macs[name][1] > 0
    assert method.actions.kind(output.action_BT).tolist() == [[1, 1, 1, 1], [0, 1, 0, 1]]
    torch.testing.assert_close(output.logits_BK[0], method.classifier.head(torch.zeros(1, 8))[0])


def planted(num_videos: int) -> tuple[VideoBatch, Tensor]:
    """Grey frames with a square, bright for class 0 and dark for class 1, in one of four corners: its place."""
    place_BT = torch.randint(4, (num_videos, 2))
    label_B = torch.randint(2, (num_videos,))
    frames_BTCHW = torch.zeros(num_videos, 2, 3, 16, 16)
    for b, t in torch.cartesian_prod(torch.arange(num_videos), torch.arange(2)).tolist():
        row, column = 8 * (place_BT[b, t] // 2), 8 * (place_BT[b, t] % 2)
        frames_BTCHW[b, t, :, row : row + 8, column : column + 8] = 1 - 2 * label_B[b]
    mask = {"frames": torch.ones(num_videos, 2, dtype=torch.bool)}
    label_BK = nn.functional.one_hot(label_B, 2).float()
    return VideoBatch({"frames": frames_BTCHW}, mask, label_BK, [str(b) for b in range(num_videos)]), place_BT


def test_the_policy_learns_a_planted_best_patch() -> None:
    """f_L sees a patch's brightness, f_C says what this frame's patch tells: only the planted patch helps."""
    spec = BackboneSpec("narrow/4-8-12", 16)
    method = AdaFocus(2, spec, spec, num_frames=2, patch_size=8, places=2, hidden=1)
    method.glance = Backbone([nn.AvgPool2d(4)], nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)), 3, stride=4)
    method.focus = Backbone([nn.Identity()], nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)), 3)
    method.policy = Policy(3, 4, 16, 32, 4, normalize=False)
    method.classifier = type(method.classifier)((3, 3), 1, 2, dropout=0.0)
    gru, head = method.classifier.gru, method.classifier.head[1]
    for parameter in (*gru.parameters(), *head.parameters()):
        nn.init.zeros_(parameter)
    with torch.no_grad():
        gru.bias_ih[1] = -20  # nothing is remembered
        gru.weight_ih[2, 3] = 5
        head.weight[:, 0] = torch.tensor([3.0, -3.0])
    test, place_BT = planted(200)

    def hits() -> float:
        return float((method.eval()(test, Ledger(200)).action_BT == place_BT).float().mean())

    assert hits() < 0.6
    optimizer = torch.optim.Adam(method.policy.parameters(), lr=0.01)
    for _ in range(250):
        optimizer.zero_grad()
        method.policy_loss(planted(32)[0], Ledger(32))["loss"].backward()
        optimizer.step()
    assert hits() > 0.95


def test_random_patches_follow_from_the_seed_and_the_video() -> None:
    method = opinionated(RandomPatch(NUM_CLASSES, **SETTINGS, seed=1))
    batch = padded_batch(method, 6)
    with torch.no_grad():
        first, again = (method(batch, Ledger(6)).action_BT for _ in range(2))
        method.seed = 2
        other = method(batch, Ledger(6)).action_BT
        method.train()
        drawn = method(batch, Ledger(6)).action_BT
    assert torch.equal(first, again) and not torch.equal(first, other) and not torch.equal(first, drawn)
    assert (first[1, 3:] == -1).all() and first.max() < 9 and len(first.unique()) > 5


@torch.no_grad()
def test_random_patch_classifies_as_adafocus_does() -> None:
    """The baseline differs in the places alone."""
    method, random = make(), opinionated(RandomPatch(NUM_CLASSES, **SETTINGS))
    random.load_state_dict({key: value for key, value in method.state_dict().items() if not key.startswith("policy")})
    batch = padded_batch(method)
    action_BT = random(batch, Ledger(3)).action_BT
    ours, theirs = method(batch, Ledger(3), forced=action_BT), random(batch, Ledger(3), forced=action_BT)
    torch.testing.assert_close(ours.logits_BK, theirs.logits_BK)
    torch.testing.assert_close(
        random.step_loss(batch, Ledger(3))["loss"],
        cross_entropy(
            method.classifier.head(theirs.aux["memory_BTH"])[batch.mask["frames"]],
            batch.label_BK[:, None].expand(-1, 4, -1)[batch.mask["frames"]],
        ).mean(),
    )


def test_the_stages_of_the_paper() -> None:
    """Appendix B.1, and the data set that differs."""
    focus, policy, classifier = compose("adafocus", profile="paper").stages
    assert (focus.epochs, focus.lr, focus.lr * focus.lr_scale["classifier"]) == (50, 5e-4, 0.05)
    assert (policy.epochs, policy.lr, policy.optimizer, policy.weight_decay) == (50, 3e-4, "adamw", 0)
    assert (classifier.epochs, classifier.lr) == (10, 5e-3)
    for stage in (focus, classifier):
        assert (stage.optimizer, stage.momentum, stage.weight_decay, stage.schedule) == (
            "nesterov",
            0.9,
            1e-4,
            "cosine",
        )
    skip = next(stage for stage in compose("adafocus_plus", profile="paper").stages if stage.name == "skip")
    assert (skip.epochs, skip.lr, skip.optimizer) == (10, 3e-4, "adamw")


def test_the_warm_up_of_the_paper() -> None:
    """Appendix B.1; its baseline and AdaFocus+ start from the same networks."""
    runs = [compose(name, profile="paper") for name in ("adafocus", "adafocus_plus", "random_patch")]
    warmups = [[warmup_of(run, spec).config for spec in shared_backbones(run)] for run in runs]
    assert warmups[0] == warmups[1] == warmups[2] and len(warmups[0]) == 2
    for config in warmups[0]:
        (stage,) = config["stages"]
        expected = {"epochs": 15, "lr": 0.01, "optimizer": "nesterov", "schedule": "cosine", "weight_decay": 1e-4}
        assert expected.items() <= stage.items() and config["recipe"]["batch_size"] == 64


def test_the_baseline_trains_alike() -> None:
    """In paper f_L, f_C and pi get the same rates and epochs; in tiny rates are tuned, and budgets equal."""
    for profile in ("tiny", "paper"):
        ours = {stage.name: stage for stage in compose("adafocus", profile=profile).stages}
        plus = {stage.name: stage for stage in compose("adafocus_plus", profile=profile).stages}
        for stage in compose("random_patch", profile=profile).stages:
            own = {"epochs": stage.epochs, "lr": stage.lr} if profile == "tiny" else {}
            assert replace(ours[stage.name], loss="step_loss", **own) == stage
        for name, stage in ours.items():
            assert replace(plus[name], epochs=stage.epochs if profile == "tiny" else plus[name].epochs) == stage


@torch.no_grad()
def test_clips_are_cut_whole() -> None:
    """Where f_L reads clips, its patches are of all their frames, and f_G sees the frame in the middle."""
    method = make()
    method.focus.reads_clips = True
    seen = []
    method.focus.forward = lambda clip_NSCHW: seen.append(clip_NSCHW) or torch.zeros(len(clip_NSCHW), 12)
    clips_BTSCHW = torch.randn(1, 2, 5, 3, 24, 24)
    mask_BT, action_BT = torch.ones(1, 2, dtype=torch.bool), torch.tensor([[0, 5]])
    method.focus_on(clips_BTSCHW, torch.zeros(1, 2, 12), action_BT, mask_BT, CountingLedger(1))
    assert torch.equal(seen[0][1], clips_BTSCHW[0, 1, ..., 4:20, 8:24])
    map_BTDHW, _ = method.glance_at(clips_BTSCHW, mask_BT, Ledger(1))
    torch.testing.assert_close(map_BTDHW, method.glance_at(clips_BTSCHW[:, :, 2], mask_BT, Ledger(1))[0])


def test_rewards_are_in_full_precision() -> None:
    """Under bfloat16 only f_G and f_L are computed in it."""
    method = make()
    batch = random_batch(method, 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = method(batch, Ledger(2))
        assert method.confidence(output.aux["memory_BTH"], batch, Ledger(2)).dtype == torch.float32
        assert output.logits_BK.dtype == torch.float32


def test_settings_must_make_sense() -> None:
    with pytest.raises(ValueError, match="adafocus: places, squeezed, policy_hidden and hidden must be 1 or more"):
        make(places=0)
    with pytest.raises(ValueError, match="adafocus: glance: expected a network of frames, got slowfast/r50-8x8"):
        make(glance=BackboneSpec("slowfast/r50-8x8", 64))
    with pytest.raises(ValueError, match="expected a network of frames; METHOD=tsm is for those with temporal shift"):
        make(focus=BackboneSpec("tsm/4/narrow/4-8-12", 24))
    with pytest.raises(ValueError, match=r"stages: none trains skip_policy\.encoder"):
        compose("adafocus", overrides=["model.skips=true"])
    with pytest.raises(ValueError, match="adafocus: price must not be negative, got -0.1"):
        make(skips=True, price=-0.1)
    with pytest.raises(ValueError, match="patch: expected 1 to 24 pixels, the frame's, got 25"):
        AdaFocus(NUM_CLASSES, **{**SETTINGS, "patch_size": 25})
