"""SoF-Net: equations 1 to 15 by hand, frames that run no further, videos that end."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adavid.cost import Ledger, price
from adavid.data.batch import VideoBatch
from adavid.kept import KeptFeatures
from adavid.losses import cross_entropy
from adavid.networks.backbones import BackboneSpec
from benchmarks.compose import compose, warmup_of
from benchmarks.measure.flops import bill
from benchmarks.measure.latency import RecordingLedger
from methods.sofnet import SoFNet, State
from tests.conftest import NUM_CLASSES, opinionated, random_batch, random_decisions

SPEC = BackboneSpec("narrow/4-8-12-16", 16)
NUM_GATES = 4
EXIT = NUM_GATES + 1


def make(**settings) -> SoFNet:  # type: ignore[no-untyped-def]
    settings = {"backbone": SPEC, "num_frames": 6, "hidden": 8, "rho": 1.0, **settings}
    return opinionated(SoFNet(NUM_CLASSES, **settings))


def padded_batch(method: SoFNet, num_videos: int = 5) -> VideoBatch:
    batch = random_batch(method, num_videos)
    batch.mask["frames"][1, 4:] = False
    return batch


def one_by_one(method: SoFNet, batch: VideoBatch, forced_BT: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Each video by itself, frame after frame, as the paper's section 3.2 reads: logits and actions."""
    answers = []
    action_BT = torch.full_like(batch.mask["frames"], -1, dtype=torch.long)
    for b, frames_TCHW in enumerate(batch.frames["frames"]):
        memory = [(torch.zeros(1, 8), torch.zeros(1, 8)) for _ in range(NUM_GATES)]
        used, ended = [], False
        for t in range(int(batch.mask["frames"][b].sum())):
            action_BT[b, t] = EXIT
            if ended or (forced_BT is not None and forced_BT[b, t] == EXIT):
                continue
            x, after, stopped = frames_TCHW[t][None], [], None
            for n, (stage, policy) in enumerate(zip(method.network.backbone.stages, method.policies, strict=True)):
                x = stage(x)
                pooled = method.network.backbone.pool(x).flatten(1)
                embedded = policy.embed(pooled)
                if policy.temporal:
                    after.append(policy.cell(embedded, memory[n]))
                    h = after[-1][0]
                else:
                    h = policy.cell(embedded).relu()
                q = policy.fc(h)[0]
                goes_on = bool(q[1] > q[0]) if forced_BT is None else int(forced_BT[b, t]) < NUM_GATES - n
                if not goes_on:
                    stopped = n
                    break
            if stopped is None:
                used.append(method.network.head(pooled)[0])
                memory = after or memory
            action_BT[b, t] = 0 if stopped is None else NUM_GATES - stopped
            if forced_BT is None and used and t + 1 > method.min_frames:
                ended = bool(torch.stack(used).mean(0).softmax(-1).max() > method.rho)
        answers.append(torch.stack(used).mean(0) if used else torch.zeros(NUM_CLASSES))
    return torch.stack(answers), action_BT


@pytest.mark.parametrize(
    "settings",
    [{}, {"temporal": False}, {"rho": 0.5}, {"rho": 0.3, "min_frames": 1}, {"rho": 0.0, "min_frames": 0}],
)
@torch.no_grad()
def test_answers_are_those_of_a_plain_loop(settings: dict[str, float]) -> None:
    for seed in range(4):
        method = opinionated(make(**settings), seed)
        batch = padded_batch(method)
        for forced_BT in (None, random_decisions(method, batch)):
            if forced_BT is not None:
                forced_BT = forced_BT.masked_fill(~batch.mask["frames"], -1)
            output = method(batch, Ledger(5), forced_BT)
            logits_BK, action_BT = one_by_one(method, batch, forced_BT)
            assert torch.equal(output.action_BT, action_BT)
            torch.testing.assert_close(output.logits_BK, logits_BK)


@torch.no_grad()
def test_a_stopped_frame_runs_no_further() -> None:
    method = make()
    batch = padded_batch(method)
    forced_BT = random_decisions(method, batch).masked_fill(~batch.mask["frames"], -1)
    ledger = Ledger(5)
    method(batch, ledger, forced_BT)
    x = batch.frames["frames"][:1, 0]
    watched_BT = (forced_BT >= 0) & (forced_BT < EXIT)
    expected = {}
    for n, stage in enumerate(method.network.backbone.stages):
        reached_B = (watched_BT & (forced_BT <= NUM_GATES - n)).sum(1)
        expected[f"res{n + 1}"] = reached_B * price(stage, x).macs
        x = stage(x)
        pooled = method.network.backbone.pool(x)
        width = pooled.shape[1]
        macs = price(method.network.backbone.pool, x).macs + width**2 + 4 * 8 * (width + 8) + 2 * 8
        expected[f"policy{n + 1}"] = reached_B * macs
    expected["head"] = (forced_BT == 0).sum(1) * 16 * NUM_CLASSES
    assert {name: macs_B.tolist() for name, macs_B in ledger.macs.items()} == {
        name: macs_B.tolist() for name, macs_B in expected.items()
    }


@torch.no_grad()
def test_a_video_ends_when_it_is_sure_and_not_before() -> None:
    method = make(rho=0.21, min_frames=2)  # any prediction is above it
    method.policies[0].fc.bias.copy_(torch.tensor([-100.0, 100.0]))
    for policy in method.policies:
        policy.fc.bias.copy_(torch.tensor([-100.0, 100.0]))
    batch = random_batch(method, 2)
    ledger = RecordingLedger(2)
    output = method(batch, ledger)
    assert output.action_BT.tolist() == [[0, 0, 0, EXIT, EXIT, EXIT]] * 2
    assert len([call for call in ledger.calls if call.module is method.network.head]) == 3
    first = batch._replace(
        frames={"frames": batch.frames["frames"][:, :3]}, mask={"frames": batch.mask["frames"][:, :3]}
    )
    bill_of_three = Ledger(2)
    torch.testing.assert_close(method(first, bill_of_three).logits_BK, output.logits_BK)
    assert torch.equal(bill_of_three.total_B, ledger.total_B)
    method.rho = 1.0
    assert (method(batch, Ledger(2)).action_BT == 0).all()


@pytest.mark.parametrize(("ends_when_used", "last"), [(False, EXIT), (True, 0)])
@torch.no_grad()
def test_a_video_may_be_left_to_end_after_used_frames_alone(ends_when_used: bool, last: int) -> None:
    """Sure since its first frame, of six of which five are used: equation 7 ends it after the fifth, which is not."""
    method = make(rho=0.21, min_frames=4, ends_when_used=ends_when_used)  # any prediction is above it
    batch, is_used_T = random_batch(method, 1), iter([True, True, True, True, False, True])

    def look(x_N: Tensor, video_N: Tensor, forced_N: None, state: State, ledger: Ledger) -> tuple[State, Tensor]:
        if not next(is_used_T):
            return state, torch.tensor([NUM_GATES - 1])
        sure_NK = 9 * torch.eye(NUM_CLASSES)[:1]
        mean = state.mean.add_rows(video_N, sure_NK, torch.ones(1, 1))
        return state._replace(mean=mean), torch.tensor([NUM_GATES])

    method.stop_or_forward = look  # type: ignore[method-assign, assignment]
    assert method(batch, Ledger(1)).action_BT[0].tolist() == [0, 0, 0, 0, 1, last]


@torch.no_grad()
def test_frames_may_be_single_pixels_of_a_larger_crop() -> None:
    method = make(nearest_from=32)
    assert method.views["frames"].size == 32
    batch, used_BT = random_batch(method, 2), torch.zeros(2, 6, dtype=torch.long)
    frames = F.interpolate(batch.frames["frames"].flatten(0, 1), (16, 16))  # every second pixel
    assert torch.equal(frames, batch.frames["frames"].flatten(0, 1)[..., ::2, ::2])
    expected_BK = method.network(frames).unflatten(0, (2, 6)).mean(1)
    for dense in (False, True):
        torch.testing.assert_close(method(batch, Ledger(2), used_BT, dense).logits_BK, expected_BK)


def test_losses_by_hand() -> None:
    method = make(rho=0.0, min_frames=0, alpha=0.7, beta=0.6, total_gflops=2.0)  # nothing ends while it learns
    batch = padded_batch(method)
    batch.label_BK[0, 2] = 1  # two labels
    terms = method.joint_loss(batch, Ledger(5))  # in evaluation mode: the gates are the arg max
    output = method(batch, Ledger(5), dense=True)
    aux = output.aux
    torch.testing.assert_close(terms["accuracy"], cross_entropy(output.logits_BK, batch.label_BK).mean())

    costs = [price(s, torch.zeros(x)).macs for s, x in zip(method.network.backbone.stages, method.shapes, strict=False)]
    total = sum(costs) + 16 * NUM_CLASSES
    table = [2.0 * (total - sum(costs[: n + 1])) / total for n in range(NUM_GATES)]
    assert method.remaining_gflops() == pytest.approx(table)
    num_frames = 6 * 5 - 2
    efficiency = sum(table[n] * float(aux["go_NG"][:, n].sum()) for n in range(NUM_GATES)) / (num_frames * NUM_GATES)
    assert terms["efficiency"].item() == pytest.approx(efficiency)

    inner, num_forward, itself = 0.0, 0, 0.0
    aux = {name: value.detach() for name, value in aux.items()}
    for video, q_G2, go_G, h_GH in zip(*aux.values(), strict=True):
        label_K = batch.label_BK[video]
        errors = [
            -(fc(h).log_softmax(-1) * label_K).sum() / label_K.sum() for fc, h in zip(method.inner, h_GH, strict=True)
        ]
        inner += sum(error.item() for error, go in zip(errors, go_G, strict=True) if go)
        num_forward += int(go_G.sum())
        for n in range(NUM_GATES - 1):
            forward = q_G2[n].softmax(-1)[1]
            itself -= (forward.log() if errors[n + 1] < errors[n] else (1 - forward).log()).item()
    itself /= num_frames * (NUM_GATES - 1)
    assert 0 < num_forward < num_frames * NUM_GATES
    assert terms["inner"].item() == pytest.approx(inner / num_forward, rel=1e-5)
    assert terms["self"].item() == pytest.approx(itself, rel=1e-5)
    loss = 0.7 * terms["accuracy"] + 0.3 * efficiency + 0.6 * terms["inner"] + 0.4 * terms["self"]
    torch.testing.assert_close(terms["loss"], loss)


def test_losses_where_no_frame_goes_on() -> None:
    method = make()
    for policy in method.policies:
        torch.nn.init.zeros_(policy.fc.weight)
        policy.fc.bias.data = torch.tensor([9.0, -9.0])
    terms = method.joint_loss(random_batch(method, 3), Ledger(3))
    assert terms["used"] == terms["inner"] == terms["efficiency"] == 0
    torch.testing.assert_close(terms["accuracy"], torch.tensor(5.0).log())
    terms["loss"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


@torch.no_grad()
def test_a_frozen_network_is_run_in_one_go_to_the_same_features_and_bill(tmp_path: Path) -> None:
    method = make()
    batch = padded_batch(method)
    forced_BT = random_decisions(method, batch).masked_fill(~batch.mask["frames"], -1)
    learning, plain, keeping = Ledger(5), Ledger(5), Ledger(5, kept=KeptFeatures(tmp_path))
    expected = method(batch, learning, forced_BT, dense=True)
    method.network.backbone.requires_grad_(False)
    for ledger in (plain, keeping):
        torch.testing.assert_close(method(batch, ledger, forced_BT, dense=True).logits_BK, expected.logits_BK)
        assert torch.equal(ledger.total_B, learning.total_B)
    before = keeping.train_macs
    assert plain.train_macs == before
    method(batch, keeping, forced_BT, dense=True)
    network_macs = (
        28 * price(method.network.backbone, batch.frames["frames"][:1, 0]).macs
    )  # of 30 frames two are padding
    pools = [
        price(method.network.backbone.pool, torch.zeros(shape)).macs for shape in method.shapes[1:-1]
    ]  # of the stages before the last, whose pool is the network's
    assert keeping.train_macs == 2 * before - network_macs - 28 * sum(pools)


def test_a_policy_learns_from_every_frame_it_let_through() -> None:
    """Straight-through: the accuracy's gradient reaches the gates of used frames, whatever came before."""
    method = make(guidance=False, alpha=1.0)
    method.train()
    method.temperature = 1.0
    method.joint_loss(random_batch(method, 6), Ledger(6))["loss"].backward()
    assert all(policy.fc.weight.grad.abs().sum() > 0 for policy in method.policies)
    assert not hasattr(method, "inner")


def test_the_papers_warm_up_is_the_baselines_too() -> None:
    sofnet, tsn = (compose(name, profile="paper") for name in ("sofnet", "tsn"))
    (warm,) = warmup_of(sofnet, sofnet.recipe.pyramid[0]).stages
    assert (warm.epochs, warm.lr, warm.weight_decay, warm.optimizer, warm.schedule) == (
        *(15, 0.001, 1e-5),
        *("sgd", "constant"),
    )
    assert sofnet.recipe == tsn.recipe and sofnet.recipe.batch_size == 24
    (joint,), (further,) = sofnet.stages, tsn.stages
    ours, theirs = (
        {key: vars(of)[key] for key in vars(of).keys() - {"name", "train", "loss"}} for of in (joint, further)
    )
    assert ours == theirs


def test_the_papers_costs() -> None:
    tsn, sofnet = (compose(name, profile="paper").build_method(200).eval() for name in ("tsn", "sofnet"))
    whole = bill(tsn, torch.zeros(1, 16, dtype=torch.long), 200).total_B.item() / 1e9
    assert whole == pytest.approx(40.3, rel=0.01)
    table = sofnet.remaining_gflops()
    assert [round(gflops, 3) for gflops in table] == [2.447, 2.066, 1.485, 0.584, 0.0]
    assert table[0] + 0.0673 == pytest.approx(whole / 16, abs=1e-4)  # the stem


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rho": 1.5}, r"rho, alpha and beta must lie in \[0, 1\], got 1.5, "),
        ({"alpha": -0.1}, r"rho, alpha and beta must lie in \[0, 1\], got .*, -0.1 and"),
        ({"beta": 2.0}, r"rho, alpha and beta must lie in \[0, 1\], got .* and 2.0"),
        ({"hidden": 0}, "hidden must be 1 or more"),
        ({"min_frames": -1}, "min_frames and total_gflops not negative"),
        (
            {"backbone": BackboneSpec("slowfast/r50-8x8", 32)},
            "the stages of slowfast/r50-8x8@32 do not hand on one map",
        ),
    ],
)
def test_errors(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(**settings)


def test_pooled_features_are_in_full_precision_under_bf16() -> None:
    method = make()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = method(random_batch(method, 2), Ledger(2))
    assert output.logits_BK.dtype == torch.float32
    assert F.softmax(output.logits_BK, -1).isfinite().all()
