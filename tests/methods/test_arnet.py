"""AR-Net's equations in closed form, and that a skipped frame is not looked at.

B videos, T frames, K classes, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adavid.cost import Ledger, price
from adavid.data.batch import VideoBatch
from adavid.data.transforms import resize_frames
from adavid.losses import cross_entropy
from adavid.method import MethodOutput
from adavid.networks.backbones import BackboneSpec
from benchmarks.compose import compose
from benchmarks.layers import method_files
from methods.arnet import ARNet
from tests.conftest import NUM_CLASSES, opinionated, random_batch, random_decisions

SPECS = [BackboneSpec("narrow/4-8-8", 32), BackboneSpec("narrow/4-8-12", 24), BackboneSpec("narrow/4-4-8", 16)]
R32, R24, R16, SKIP1, SKIP2, SKIP4 = range(6)


def make(num_frames: int = 8, specs: list[BackboneSpec] = SPECS, **changes: Any) -> ARNet:
    model = ARNet(NUM_CLASSES, specs, num_frames=num_frames, **{"hidden": 8, "dropout": 0.0, **changes})
    opinionated(model)
    with torch.no_grad():  # features centred and scaled: decisions differ from frame to frame
        noise_NCHW = random_batch(model, 8, seed=9).frames["frames"].flatten(0, 1)
        feature_ND = model.glance.backbone(resize_frames(noise_NCHW, model.glance_size))
        model.policy.lstm.weight_ih /= feature_ND.std(0) + 1e-3
        model.policy.lstm.bias_ih.copy_(-model.policy.lstm.weight_ih @ feature_ND.mean(0))
    return model


def forced_to(model: ARNet, rows: list[list[int]]) -> Tensor:
    """From now on the model, however it is called, decides so."""
    forced_BT = torch.tensor(rows)
    forward = ARNet.forward

    def with_decisions(batch: VideoBatch, ledger: Ledger, forced: None = None, dense: bool = False) -> MethodOutput:
        return forward(model, batch, ledger, forced_BT, dense)

    model.forward = with_decisions  # type: ignore[method-assign]
    return forced_BT


def straight_through(rows: list[list[int]]) -> Callable[..., Tensor]:
    """F.gumbel_softmax without its luck: the given action at each call, for every video, and the soft gradient."""
    calls = iter(rows)

    def sample(logits_NA: Tensor, tau: float, hard: bool) -> Tensor:
        assert hard
        soft_NA = (logits_NA / tau).softmax(-1)
        hard_NA = F.one_hot(torch.tensor(next(calls)), logits_NA.shape[-1]).to(logits_NA)
        return hard_NA - soft_NA.detach() + soft_NA

    return sample


def frame_logits(model: ARNet, batch: VideoBatch, action: int) -> Tensor:
    """Equation 4 for every frame, without any routing, (B, T, K)."""
    frames, size = batch.frames["frames"], model.actions.sizes[action]
    branch = model.glance if size == model.glance_size else model.branches[str(size)]
    return branch(resize_frames(frames.flatten(0, 1), size)).unflatten(0, frames.shape[:2])


# Equation 10


def test_the_table_adds_up_to_the_bill() -> None:
    model = make(num_frames=11)
    batch = random_batch(model, 2)
    rows = [
        [R32, R24, R16, SKIP1, SKIP2, SKIP2, SKIP4, SKIP4, SKIP4, SKIP4, R32],
        [SKIP4, SKIP4, SKIP4, SKIP4, SKIP2, SKIP2, SKIP4, SKIP4, SKIP4, SKIP4, SKIP1],
    ]
    ledger = Ledger(2)
    action_BT = model(batch, ledger, forced=torch.tensor(rows)).action_BT
    assert action_BT.tolist() == rows
    table_A = model.gflops_table().double()
    torch.testing.assert_close(table_A[action_BT].sum(1) * 1e9, ledger.total_B.double(), rtol=1e-6, atol=0)
    look = price(model.glance.backbone, torch.zeros(1, 3, 16, 16)).macs
    look += price(model.policy, torch.zeros(1, 8), (torch.zeros(1, 8), torch.zeros(1, 8))).macs
    assert ledger.total_B[1] == 4 * look, "a visit is paid, the frames that the skip covers are free"


def test_dearest_gflops_scales_the_table() -> None:
    true, scaled = make(), make(dearest_gflops=4.11)
    table_A, scaled_A = (model.gflops_table() for model in (true, scaled))
    torch.testing.assert_close(scaled_A.max(), torch.tensor(4.11))
    torch.testing.assert_close(scaled_A / scaled_A.max(), table_A / table_A.max())
    assert table_A.argmax() == R32


@torch.no_grad()
def test_a_network_of_clips_is_priced_by_the_clip() -> None:
    """Only the highest resolution reads clips; the others, priced at their own size, the frame in the middle."""
    specs = [BackboneSpec("slowfast/r50-8x8", 32), SPECS[-1]]
    model = opinionated(ARNet(NUM_CLASSES, specs, num_frames=1, skips=(1,), hidden=8))
    batch, ledger = random_batch(model, 3), Ledger(3)
    assert batch.frames["frames"].shape == (3, 1, 32, 3, 32, 32)
    model(batch, ledger, torch.tensor([[0], [1], [2]]))
    torch.testing.assert_close(model.gflops_table().double() * 1e9, ledger.total_B.double(), rtol=1e-6, atol=0)


# Equations 11 and 12


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.3), (0.0, 0.0), (1.0, 0.0), (0.0, 2.0)])
def test_joint_loss(alpha: float, beta: float) -> None:
    model = make(num_frames=4, alpha=alpha, beta=beta, dearest_gflops=3.0)
    batch = random_batch(model, 2)
    action_BT = forced_to(model, [[R32, R16, SKIP2, SKIP2], [R32, R32, R24, SKIP1]])
    terms = model.joint_loss(batch, Ledger(2))
    accuracy = cross_entropy(model(batch, Ledger(2)).logits_BK, batch.label_BK).mean()
    gflops = model.gflops_table()[action_BT].mean()
    balance = sum((count / 8 - 1 / 6) ** 2 for count in (3, 1, 1, 1, 2, 0))
    torch.testing.assert_close(terms["accuracy"], accuracy)
    torch.testing.assert_close(terms["gflops"], gflops)
    torch.testing.assert_close(terms["balance"], torch.tensor(balance))
    torch.testing.assert_close(terms["loss"], (1 - alpha) * accuracy + alpha * gflops + beta * balance)


def test_the_bill_of_a_loss_is_not_rounded_under_autocast() -> None:
    model = make(num_frames=4, dearest_gflops=4.11)
    batch = random_batch(model, 2)
    forced_to(model, [[R32, R16, SKIP2, SKIP2], [R32, R32, R24, SKIP1]])
    gflops = model.joint_loss(batch, Ledger(2))["gflops"]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model.joint_loss(batch, Ledger(2))["gflops"], gflops)


def test_padding_is_in_no_loss() -> None:
    model = make(num_frames=4)
    batch = random_batch(model, 2)
    rows = [[R32, R16, SKIP2, SKIP2], [R32, R32, SKIP1, R24]]
    forced_to(model, rows)
    short = model.joint_loss(batch, Ledger(2))
    frames = torch.cat([batch.frames["frames"], torch.full((2, 3, 3, 32, 32), 99.0)], 1)
    mask = torch.arange(7).expand(2, -1) < 4
    forced_to(model, [row + [R32] * 3 for row in rows])
    long = model.joint_loss(batch._replace(frames={"frames": frames}, mask={"frames": mask}), Ledger(2))
    torch.testing.assert_close(long, short)


# Skipping, averaging


@torch.no_grad()
def test_what_is_skipped_is_not_looked_at() -> None:
    model = make(num_frames=12)
    batch = random_batch(model, 6)
    before = model(batch, Ledger(6))
    visited_BT = before.aux["visited_BT"]
    assert not visited_BT.all() and len(before.action_BT.unique()) > 2
    frames = batch.frames["frames"].clone()
    frames[~visited_BT] = torch.nan
    after = model(batch._replace(frames={"frames": frames}), Ledger(6))
    assert torch.equal(before.logits_BK, after.logits_BK) and torch.equal(before.action_BT, after.action_BT)
    for name, value in before.aux.items():
        assert torch.equal(value, after.aux[name]), name


@torch.no_grad()
def test_decisions_in_a_loop_are_the_forward_and_a_skip_moves_no_state() -> None:
    model = make(num_frames=12)
    batch = random_batch(model, 6)
    whole = model(batch, Ledger(6))
    state, ledger, choices = model.init_state(6), Ledger(6), []
    for t in range(12):
        feature_BD = model.glance.backbone(resize_frames(batch.frames["frames"][:, t], 16))
        inside_B, before = state.left_B > 0, state
        state, logits_BA = model.decide(feature_BD, torch.ones(6, dtype=torch.bool), state, ledger)
        for part in ("h_BH", "c_BH", "choice_BA"):
            moved_B = (getattr(state, part) != getattr(before, part)).any(-1)
            assert not moved_B[inside_B].any()
            assert part == "choice_BA" or moved_B[~inside_B].all()
        assert (logits_BA[inside_B] == 0).all()
        torch.testing.assert_close(logits_BA, whole.aux["policy_BTA"][:, t])
        choices.append(state.choice_BA.argmax(-1))
    assert torch.equal(torch.stack(choices, 1), whole.action_BT)
    assert (
        ledger.macs["policy"].sum()
        == whole.aux["visited_BT"].sum() * price(model.policy, feature_BD, (state.h_BH, state.c_BH)).macs
    )


AS_RELEASED = {"lowest": "state", "cell_moves": True, "nearest": True}


@torch.no_grad()
def by_the_published_code(model: ARNet, frames_TCHW: Tensor, forced_T: Tensor | None) -> tuple[Tensor, list[int]]:
    """One video as the authors' code takes it in: its logits, and its decisions."""
    h, c = torch.zeros(1, 8), torch.zeros(1, 8)
    left, action, actions, used = 0, 0, [], []
    for t, frame in enumerate(frames_TCHW):
        after, c = model.policy.lstm(model.glance.backbone(F.interpolate(frame[None], (16, 16))), (h, c))
        if left == 0:  # else the last action, and h with it, stay in force
            h = after
            action = int(model.policy.fc(h).argmax()) if forced_T is None else int(forced_T[t])
            left = model.actions.covers[action]
        left -= 1
        actions.append(action)
        size = model.actions.sizes[action]
        if size == 16:
            used.append(model.policy.head(h)[0])
        elif size:
            used.append(model.branches[str(size)](F.interpolate(frame[None], (size, size)))[0])
    return torch.stack(used).mean(0) if used else torch.zeros(NUM_CLASSES), actions


@torch.no_grad()
def test_the_published_codes_ways_are_options() -> None:
    """The lowest resolution predicts from h, c takes skipped frames in, frames are single pixels of the crop."""
    model = make(num_frames=12, **AS_RELEASED)
    batch = random_batch(model, 6)
    own = model(batch, Ledger(6))
    assert {R16, SKIP2, SKIP4} & set(own.action_BT.unique().tolist()) and len(own.action_BT.unique()) > 2
    forced_BT = random_decisions(model, batch)
    for output, forced in ((own, None), (model(batch, Ledger(6), forced_BT), forced_BT)):
        for b in range(6):
            frames_TCHW = batch.frames["frames"][b]
            logits_K, actions = by_the_published_code(model, frames_TCHW, None if forced is None else forced[b])
            assert output.action_BT[b].tolist() == actions
            torch.testing.assert_close(output.logits_BK[b], logits_K)
    dense = model(batch, Ledger(6), forced_BT, dense=True)
    torch.testing.assert_close(dense.logits_BK, model(batch, Ledger(6), forced_BT).logits_BK)
    ledger = Ledger(6)
    model(batch, ledger, forced_BT)
    glance = price(model.glance.backbone, torch.zeros(1, 3, 16, 16)).macs
    assert (ledger.macs["glance"] == 12 * glance).all(), "skipped frames are paid, since they are looked at"
    per_frame_B = model.gflops_table()[forced_BT].sum(1)
    torch.testing.assert_close(per_frame_B, ledger.total_B / 1e9, rtol=1e-5, atol=0)


def test_the_policys_dropout_is_of_training_alone() -> None:
    model, plain = make(policy_dropout=0.5), make()
    batch = random_batch(model, 2)
    model.load_state_dict(plain.state_dict())
    assert torch.equal(model(batch, Ledger(2)).logits_BK, plain(batch, Ledger(2)).logits_BK)
    state = (torch.zeros(4, 8), torch.zeros(4, 8))
    feature_ND = torch.ones(1, model.glance.backbone.num_features).expand(4, -1)
    logits_NA, _ = model.train().policy(feature_ND, state)
    assert len(logits_NA.unique(dim=0)) > 1


@torch.no_grad()
def test_lookahead_changes_the_bill_alone() -> None:
    model = make(num_frames=8)
    batch = random_batch(model, 6)
    for seed in range(20):  # until the untrained policy skips some frames and not others
        visited_BT = opinionated(model, seed)(batch, Ledger(6)).aux["visited_BT"]
        if not visited_BT.all() and visited_BT[:, 1:].any():
            break
    outputs, glances = {}, {}
    for model.lookahead in (1, 3, 8):
        ledger = Ledger(6)
        outputs[model.lookahead] = model(batch, ledger)
        glance = price(model.glance.backbone, torch.zeros(1, 3, 16, 16)).macs
        glances[model.lookahead] = ledger.macs["glance"] / glance
    for output in outputs.values():
        torch.testing.assert_close(output.logits_BK, outputs[1].logits_BK)
        assert torch.equal(output.action_BT, outputs[1].action_BT)
    assert torch.equal(glances[1], outputs[1].aux["visited_BT"].sum(1).float())
    assert (glances[8] == 8).all()
    assert (glances[1] <= glances[3]).all() and (glances[3] <= 8).all()
    assert glances[1].sum() < glances[3].sum() < glances[8].sum()


@torch.no_grad()
@pytest.mark.parametrize("dense", [False, True])
def test_average_is_over_the_used_frames(dense: bool) -> None:
    model = make(num_frames=6)
    batch = random_batch(model, 2)
    forced = torch.tensor([[R32, SKIP2, SKIP2, R24, R16, SKIP1], [SKIP4] * 4 + [SKIP1, R16]])
    logits = {action: frame_logits(model, batch, action) for action in (R32, R24, R16)}
    expected_BK = torch.stack([(logits[R32][0, 0] + logits[R24][0, 3] + logits[R16][0, 4]) / 3, logits[R16][1, 5]])
    torch.testing.assert_close(model(batch, Ledger(2), forced, dense).logits_BK, expected_BK)


def test_a_video_without_used_frames_is_uniform_and_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(num_frames=4)
    batch = random_batch(model, 2)
    assert (model(batch, Ledger(2), torch.full((2, 4), SKIP4)).logits_BK == 0).all()
    model.policy.train()
    monkeypatch.setattr(F, "gumbel_softmax", straight_through([[SKIP2, SKIP2]] * 2))
    terms = model.joint_loss(batch, Ledger(2))
    torch.testing.assert_close(terms["accuracy"], torch.tensor(float(NUM_CLASSES)).log())
    terms["loss"].backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert model.policy.lstm.weight_ih.grad.abs().sum() > 0, "it must be able to learn its way out"


# Gradients through the choice


@pytest.mark.parametrize("temperature", [5.0, 0.5, 0.1])
def test_gradient_reaches_what_decides(temperature: float) -> None:
    model = make(alpha=1.0, beta=0.0, dearest_gflops=4.0)  # the bill alone: no way but through the choice
    model.policy.train()
    model.temperature = temperature
    model.joint_loss(random_batch(model, 8), Ledger(8))["loss"].backward()
    for part in (model.policy.lstm, model.policy.fc, model.glance.backbone):
        assert next(part.parameters()).grad.abs().sum() > 0
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.branches.parameters())


@pytest.mark.parametrize("used", [R32, R16])
def test_gradient_of_a_single_used_frame(used: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(num_frames=3).double()
    batch = random_batch(model, 1, dtype=torch.float64)
    model.policy.train()
    for temperature in (0.7, 2.0, 5.0):  # a sum of straight-through ones is 1 up to rounding, on either side
        model.temperature = temperature
        monkeypatch.setattr(F, "gumbel_softmax", straight_through([[SKIP1], [used], [SKIP1]]))
        output = model(batch, Ledger(1), dense=True)
        (gradient_BTA,) = torch.autograd.grad(output.logits_BK[0, 0], output.aux["choice_BTA"])
        expected_BTA = torch.zeros_like(gradient_BTA)
        for action in (R32, R24, R16):  # of a mean, by a weight: its value minus the mean
            expected_BTA[..., action] = (frame_logits(model, batch, action) - output.logits_BK[:, None])[..., 0]
        torch.testing.assert_close(gradient_BTA, expected_BTA)


def test_policy_logits_are_in_full_precision_under_autocast() -> None:
    model = make()
    batch = random_batch(model, 4)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        for dense in (False, True):
            logits_BTA = model(batch, Ledger(4), dense=dense).aux["policy_BTA"]
            assert logits_BTA.dtype == torch.float32
            assert (logits_BTA != logits_BTA.bfloat16().float()).any(), "rounded on the way"


# Policy gradient


def enumerated(model: ARNet, batch: VideoBatch, rows: list[list[int]]) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of the policy's parameters: expected over all draws of both videos, and of the expected reward."""
    parameters = list(model.policy.parameters())
    trajectories = []
    for row in rows:
        forced_to(model, [row, row])
        output = model(batch, Ledger(2), dense=True)
        log_BTA = output.aux["policy_BTA"].log_softmax(-1).gather(-1, output.action_BT[..., None])[..., 0]
        probability_B = (log_BTA * output.aux["visited_BT"]).sum(1).exp()
        cost_B = model.gflops_table()[output.action_BT].mean(1)
        reward_B = -(1 - model.alpha) * cross_entropy(output.logits_BK, batch.label_BK) - model.alpha * cost_B
        trajectories.append((row, probability_B, reward_B.detach()))
    torch.testing.assert_close(sum(p for _, p, _ in trajectories), torch.ones(2))
    objective = -sum((p * reward).mean() for _, p, reward in trajectories)
    expected = [torch.zeros_like(parameter) for parameter in parameters]
    for (row, p, _), (other_row, other_p, _) in product(trajectories, repeat=2):
        forced_to(model, [row, other_row])
        loss = model.joint_loss(batch, Ledger(2))["loss"]
        for total, gradient in zip(expected, torch.autograd.grad(loss, parameters), strict=True):
            total += (p[0] * other_p[1]).detach() * gradient
    return expected, list(torch.autograd.grad(objective, parameters))


@pytest.mark.parametrize(
    ("skip", "rows"), [(1, [[0], [1]]), (2, [[0, 0], [0, 1], [1, 1]])], ids=["one-frame", "truncated-skip"]
)
def test_policy_gradient_is_unbiased(skip: int, rows: list[list[int]]) -> None:
    settings = {"estimator": "policy_gradient", "alpha": 0.4, "beta": 0.0, "dearest_gflops": 2.0}
    model = make(len(rows[0]), SPECS[-1:], skips=(skip,), **settings)
    batch = random_batch(model, 2)
    expected, true = enumerated(model, batch, rows)
    for estimate, gradient in zip(expected, true, strict=True):
        torch.testing.assert_close(estimate, gradient, rtol=1e-3, atol=1e-6)
    assert max(gradient.abs().max() for gradient in true) > 1e-2


def test_policy_gradient_loss_in_numbers() -> None:
    model = make(3, estimator="policy_gradient", alpha=0.25, beta=0.5, dearest_gflops=2.0)
    batch = random_batch(model, 3)
    forced_to(model, [[R32, SKIP2, SKIP2], [R16, R16, R24], [SKIP1, SKIP1, R32]])
    output = model(batch, Ledger(3), dense=True)
    log_BTA, visited_BT = output.aux["policy_BTA"].log_softmax(-1), output.aux["visited_BT"]
    assert visited_BT.tolist() == [[True, True, False], [True] * 3, [True] * 3]
    accuracy_B = cross_entropy(output.logits_BK, batch.label_BK)
    gflops_B = model.gflops_table()[output.action_BT].mean(1)
    r = (-0.75 * accuracy_B - 0.25 * gflops_B).tolist()
    taken = [[log_BTA[b, t, output.action_BT[b, t]] for t in range(3) if visited_BT[b, t]] for b in range(3)]
    policy = sum(-(r[b] - (sum(r) - r[b]) / 2) * sum(taken[b]) for b in range(3)) / 3
    balance = (log_BTA.exp()[visited_BT].mean(0) - 1 / 6).square().sum()
    terms = model.joint_loss(batch, Ledger(3))
    torch.testing.assert_close(terms["balance"], balance)
    torch.testing.assert_close(terms["loss"], 0.75 * accuracy_B.mean() + policy + 0.5 * balance)
    # The reward is a number: the branches learn by cross-entropy alone.
    branches = list(model.branches.parameters())
    ours = torch.autograd.grad(terms["loss"], branches)
    theirs = torch.autograd.grad(0.75 * accuracy_B.mean(), branches)
    torch.testing.assert_close(ours, theirs)


def test_policy_gradient_draws_from_the_policy() -> None:
    model = make(estimator="policy_gradient")
    model.policy.train()
    logits_A = torch.tensor([1.0, 0.0, -1.0, 0.5, 0.0, 2.0])
    share_A = model.choose(logits_A.expand(20_000, -1), None).mean(0)
    torch.testing.assert_close(share_A, logits_A.softmax(-1), rtol=0, atol=0.015)  # more than 4 standard errors


# Variants and errors


@torch.no_grad()
def test_skipping_only_and_resolution_only() -> None:
    skipping = make(resolutions=(32,))
    assert skipping.actions.names == ("32", "skip-1", "skip-2", "skip-4")
    assert list(skipping.shared_backbones()) == ["branches.32", "glance"]
    ledger = Ledger(4)
    skipping(random_batch(skipping, 4), ledger, torch.tensor([[0, 1, 2, 2, 3, 3, 3, 3]] * 4))
    assert set(ledger.macs) == {"glance", "policy", "32"} and not list(skipping.glance.head.parameters())
    resolution = make(skips=())
    assert resolution.actions.names == ("32", "24", "16") and resolution.actions.covers == (1, 1, 1)
    output = resolution(random_batch(resolution, 4), Ledger(4))
    assert output.aux["visited_BT"].all() and (output.aux["choice_BTA"].sum((1, 2)) == 8).all()


TABLES = {  # a variant, its stages, whether there is a warm-up before them, its arguments that are not the method's
    "": (["joint", "finetune"], True, {}),
    "resolution_only": (["joint", "finetune"], True, {"skips": []}),  # Table 4
    "skipping_only": (["joint", "finetune"], True, {"resolutions": [224]}),
    "acc": (["joint", "finetune"], True, {"alpha": 0.0, "beta": 0.0}),  # Table 5
    "acc_eff": (["joint", "finetune"], True, {"beta": 0.0}),
    "joint_only": (["joint"], False, {}),  # Table 6
    "no_finetune": (["joint"], True, {}),
    "policy_gradient": (["joint", "finetune"], True, {"estimator": "policy_gradient"}),  # supplementary, Table 3
}


def test_the_papers_ablations_are_the_variants() -> None:
    runs = {variant: compose("arnet", profile="paper", variant=variant) for variant in TABLES}
    assert set(runs[""].variants) == TABLES.keys() - {""} | {"released"}
    for variant, (names, is_warm, arguments) in TABLES.items():
        run, faster = runs[variant], 2.0 if variant == "policy_gradient" else 1.0
        assert [stage.name for stage in run.stages] == names, variant
        assert (run.recipe.warmup is not None) == is_warm, variant
        assert run.config["model"] == runs[""].config["model"] | arguments, variant
        for stage, same in zip(run.stages, runs[""].stages, strict=False):
            assert stage == replace(same, lr=faster * same.lr), (variant, stage.name)
    assert [(stage.epochs, stage.lr) for stage in runs["policy_gradient"].stages] == [(50, 0.002), (50, 0.001)]
    assert (runs[""].config["model"]["alpha"], runs[""].config["model"]["beta"]) == (0.1, 0.3)


def test_a_tiny_ablation_is_the_method_but_for_what_it_is_about() -> None:
    whole = compose("arnet")
    for variant in method_files("arnet").variants_in("tiny"):
        run = compose("arnet", variant=variant)
        changed = {"lr_scale", "freeze_norm", "epochs", "tau_decay"} if variant == "joint_only" else set()
        for stages in zip(run.stages, whole.stages, strict=False):
            ours, theirs = ({key: value for key, value in vars(of).items() if key not in changed} for of in stages)
            assert ours == theirs, variant
    alone = compose("arnet", variant="joint_only").stages[0]
    temperature = alone.tau * math.exp(alone.tau_decay * alone.epochs)
    joint = compose("arnet").stages[0]
    assert temperature == pytest.approx(joint.tau * math.exp(joint.tau_decay * joint.epochs), rel=0.01)
    assert set(alone.lr_scale.values()) == {1.0}, "the networks start from nothing"


@pytest.mark.parametrize(
    ("specs", "changes", "words"),
    [
        (SPECS, {"alpha": 1.5}, r"alpha must lie in \[0, 1\].*1.5"),
        (SPECS, {"beta": -1.0}, "beta not be negative.*-1.0"),
        (SPECS[::-1], {}, r"from the highest to the lowest resolution, got \[16, 24, 32\]"),
        ([SPECS[0], SPECS[0]], {}, r"got \[32, 32\]"),
        (SPECS, {"resolutions": (48,)}, r"resolutions must be among \[32, 24, 16\], got \[48\]"),
        (SPECS, {"skips": (0, 2)}, "skips must be 1 or more"),
        (SPECS, {"lookahead": 0}, "lookahead"),
    ],
)
def test_errors_are_one_line(specs: list[BackboneSpec], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        ARNet(NUM_CLASSES, specs, **changes)
    assert "\n" not in str(error.value)
