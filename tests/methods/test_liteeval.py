"""LiteEval's equations in closed form, its bill, and that the fine network sees opened frames alone.

B videos, T frames, K classes, D features, H hidden units (Hc coarse, Hf fine).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare
from torch import Tensor, nn

from adavid.cost import Ledger, price
from adavid.data.batch import VideoBatch
from adavid.data.transforms import resize_frames
from adavid.losses import cross_entropy
from adavid.method import Chunk, MethodOutput
from adavid.networks.backbones import BackboneSpec
from benchmarks.compose import compose
from benchmarks.layers import catalogue, merge, method_files, profiles
from benchmarks.run import Run
from methods.liteeval import COARSE, FINE, RNN, LiteEval, SRUCell
from tests.conftest import NUM_CLASSES, opinionated, random_batch, random_decisions

FINE_SPEC, COARSE_SPEC = BackboneSpec("narrow/4-8-12", 32), BackboneSpec("narrow/4-4-6", 16)
HF, HC = 10, 4


def make(num_frames: int = 6, **changes: Any) -> LiteEval:
    arguments = {"fine_hidden": HF, "coarse_hidden": HC, "dropout": 0.0, **changes}
    model = LiteEval(NUM_CLASSES, FINE_SPEC, COARSE_SPEC, num_frames=num_frames, **arguments)
    opinionated(model)
    with torch.no_grad():  # about half of the first frames opened, and what an RNN takes in neither faint nor saturated
        noise_NCHW = random_batch(model, 8, seed=9).frames["frames"].flatten(0, 1)
        feature_ND = model.coarse.backbone(resize_frames(noise_NCHW, COARSE_SPEC.size))
        if not changes.get("normalize"):
            model.gate.fc.weight[:, : feature_ND.shape[1]] *= 2 / feature_ND.std()
        logits_N2 = model.gate(feature_ND, feature_ND.new_zeros(len(feature_ND), HF))
        model.gate.fc.bias -= logits_N2.median(0).values
        for part in (model.fine_rnn.cell, getattr(model, "coarse_rnn", model.fine_rnn).cell):
            for parameter in part.parameters():
                parameter.copy_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
    return model


def videos(model: LiteEval, lengths: list[int], **options: Any) -> VideoBatch:
    """Random videos; where one is over there is nothing that could be looked at unnoticed."""
    batch = random_batch(model, len(lengths), **options)
    mask_BT = torch.arange(batch.mask["frames"].shape[1]) < torch.tensor(lengths)[:, None]
    frames = batch.frames["frames"].clone()
    frames[~mask_BT] = torch.nan
    return batch._replace(frames={"frames": frames}, mask={"frames": mask_BT})


def forced_to(model: LiteEval, rows: list[list[int]]) -> Tensor:
    """From now on the model, however it is called, decides so."""
    forced_BT = torch.tensor(rows)
    forward = LiteEval.forward

    def with_decisions(batch: VideoBatch, ledger: Ledger, forced: None = None, dense: bool = False) -> MethodOutput:
        return forward(model, batch, ledger, forced_BT, dense)

    model.forward = with_decisions  # type: ignore[method-assign]
    return forced_BT


def features(model: LiteEval, batch: VideoBatch) -> tuple[Tensor, Tensor]:
    """v_c and v_f of every frame, (B, T, D)."""
    frames = batch.frames["frames"]
    both = [
        network.backbone(resize_frames(frames.flatten(0, 1), network.size)) for network in (model.coarse, model.fine)
    ]
    return both[0].unflatten(0, frames.shape[:2]), both[1].unflatten(0, frames.shape[:2])


def gate_parameters(model: LiteEval) -> list[Tensor]:
    return [model.gate.fc.weight, model.gate.fc.bias]


# Equations 1 to 6


def by_hand(
    model: LiteEval, batch: VideoBatch, cell: str, normalize: bool, forced_BT: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, K), decisions (B, T) and their log-probabilities (B, T), frame by frame."""

    def run(rnn: RNN, x_1D: Tensor, state: list[Tensor]) -> list[Tensor]:
        return [rnn.cell(x_1D, state[0])] if cell == "gru" else list(rnn.cell(x_1D, tuple(state)))

    norm = (lambda x: F.layer_norm(x, x.shape[-1:])) if normalize else (lambda x: x)
    num_states = 1 if cell == "gru" else 2
    mask_BT = batch.mask["frames"]
    action_BT = torch.full(mask_BT.shape, -1)
    log_BT = torch.zeros(mask_BT.shape, dtype=batch.frames["frames"].dtype)
    logits = []
    for b, mask_T in enumerate(mask_BT):
        h_c = [log_BT.new_zeros(1, HC)] * num_states
        h_f = [log_BT.new_zeros(1, HF)] * num_states
        for t in range(int(mask_T.sum())):
            frame_1CHW = batch.frames["frames"][b, t, None]
            v_c = model.coarse.backbone(resize_frames(frame_1CHW, COARSE_SPEC.size))
            v_f = model.fine.backbone(frame_1CHW)
            gate_2 = F.linear(torch.cat([norm(v_c), h_f[0]], 1), model.gate.fc.weight, model.gate.fc.bias)[0]
            action = int(gate_2.argmax()) if forced_BT is None else int(forced_BT[b, t])
            if model.sync:
                h_c = run(model.coarse_rnn, norm(v_c), h_c)
            if action == FINE:
                h_f = run(model.fine_rnn, torch.cat([norm(v_c), norm(v_f)], 1), h_f)
            elif model.sync:
                h_f = [torch.cat([small[:, :HC], large[:, HC:]], 1) for small, large in zip(h_c, h_f, strict=True)]
            action_BT[b, t], log_BT[b, t] = action, gate_2.log_softmax(0)[action]
        logits.append(F.linear(h_f[0], model.head.weight, model.head.bias)[0])
    return torch.stack(logits), action_BT, log_BT


@torch.no_grad()
@pytest.mark.parametrize("forced", [False, True], ids=["own", "forced"])
@pytest.mark.parametrize(
    ("cell", "sync", "normalize"),
    [("lstm", True, False), ("lstm", False, False), ("gru", True, False), ("sru", True, True), ("sru", False, False)],
)
def test_forward_is_the_equations_frame_by_frame(cell: str, sync: bool, normalize: bool, forced: bool) -> None:
    model = make(cell=cell, sync=sync, normalize=normalize).double()
    batch = videos(model, [6, 3, 6, 1], dtype=torch.float64)
    decisions = random_decisions(model, batch) if forced else None
    logits_BK, action_BT, log_BT = by_hand(model, batch, cell, normalize, decisions)
    assert (action_BT == FINE).any(1).sum() >= 2 and (action_BT == COARSE).any(1).sum() >= 2
    for dense in (False, True):
        output = model(batch, Ledger(4), decisions, dense)
        assert torch.equal(output.action_BT, action_BT)
        torch.testing.assert_close(output.logits_BK, logits_BK)
        torch.testing.assert_close(output.aux["log_prob_BT"], log_BT)
        assert torch.equal(output.aux["open_BT"], (action_BT == FINE).double())


@torch.no_grad()
def test_a_shut_gate_copies_both_states_and_keeps_the_rest() -> None:
    model = make(num_frames=1)
    batch = videos(model, [1, 1])
    ones = torch.ones(2, HF)
    before = model.init_state(2)._replace(fine=(2 * ones, 3 * ones))
    chunk = Chunk(batch.frames["frames"], batch.mask["frames"], forced_BT=torch.tensor([[COARSE], [FINE]]))
    after, _, _ = model.step(chunk, before, Ledger(2))
    for copied_BH, coarse_BH, value in zip(after.fine, after.coarse, (2, 3), strict=True):
        assert torch.equal(copied_BH[0], torch.cat([coarse_BH[0], torch.full((HF - HC,), value)]))
        assert not (copied_BH[1, :HC] == coarse_BH[1]).any(), "an open gate synchronises nothing"


@torch.no_grad()
def test_without_sync_a_video_that_is_never_opened_is_not_seen() -> None:
    model = make(sync=False)
    batch = videos(model, [6, 2])
    assert not hasattr(model, "coarse_rnn") and model.init_state(2).coarse == ()
    shut_BT = torch.full((2, 6), COARSE)
    torch.testing.assert_close(model(batch, Ledger(2), shut_BT).logits_BK, model.head.bias.expand(2, -1))


# Recurrent cells


@torch.no_grad()
@pytest.mark.parametrize("num_inputs", [6, 5])
def test_sru_cell_by_hand(num_inputs: int) -> None:
    cell = SRUCell(num_inputs, 6).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter)
    x_ND, h_NH, c_NH = (torch.randn(3, num, dtype=torch.float64) for num in (num_inputs, 6, 6))
    w, w_f, w_r = cell.input.weight[:6], cell.input.weight[6:12], cell.input.weight[12:]
    (v_f, v_r), (b_f, b_r) = cell.peephole, cell.bias
    for n in range(3):
        x, c = x_ND[n], c_NH[n]
        f = 1 / (1 + torch.exp(-(w_f @ x + v_f * c + b_f)))
        r = 1 / (1 + torch.exp(-(w_r @ x + v_r * c + b_r)))
        c_next = f * c + (1 - f) * (w @ x)
        h_next = r * c_next + (1 - r) * (x if num_inputs == 6 else cell.highway.weight @ x)
        for state in ((h_NH, c_NH), (torch.zeros_like(h_NH), c_NH)):  # the hidden state feeds nothing
            ours_h, ours_c = cell(x_ND, state)
            torch.testing.assert_close((ours_h[n], ours_c[n]), (h_next, c_next))
    assert sum(p.numel() for p in cell.parameters()) == (3 + (num_inputs != 6)) * 6 * num_inputs + 4 * 6


@pytest.mark.parametrize(("cell", "num_states"), [("lstm", 2), ("gru", 1), ("sru", 2)])
def test_the_number_of_states(cell: str, num_states: int) -> None:
    state = make(cell=cell).init_state(3)
    assert [part.shape for part in state.coarse] == [(3, HC)] * num_states
    assert [part.shape for part in state.fine] == [(3, HF)] * num_states


@torch.no_grad()
@pytest.mark.parametrize("cell", ["lstm", "gru", "sru"])
def test_recurrence_and_gate_are_in_full_precision_under_autocast(cell: str) -> None:
    model = make(cell=cell)
    coarse_ND, fine_ND = (
        torch.randn(3, network.backbone.num_features).bfloat16() for network in (model.coarse, model.fine)
    )
    small, large = (tuple(torch.randn_like(part) for part in state) for state in model.init_state(3))
    calls = {
        model.coarse_rnn: (coarse_ND, small),
        model.fine_rnn: (torch.cat([coarse_ND, fine_ND], 1), large),
        model.gate: (coarse_ND, large[0]),
    }
    for module, inputs in calls.items():
        plain = module(*inputs)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(module(*inputs), plain, rtol=0, atol=0)


# Equation 7


@pytest.mark.parametrize(("weight", "target"), [(2.0, 0.05), (0.5, 0.3), (0.0, 1.0), (20.0, 0.0)])
def test_joint_loss(weight: float, target: float) -> None:
    model = make(num_frames=4, weight=weight, target=target)
    batch = videos(model, [4, 4, 2])
    forced_BT = forced_to(model, [[FINE, COARSE, FINE, FINE], [COARSE] * 4, [FINE, COARSE, FINE, FINE]])
    logits_BK, _, _ = by_hand(model, batch, "lstm", False, forced_BT)
    accuracy = -sum(logits_BK[b].log_softmax(0)[b] for b in range(3)) / 3
    usages = (3 / 4, 0.0, 1 / 2)  # of the third video's two frames
    constraint = sum((usage - target) ** 2 for usage in usages) / 3
    terms = model.joint_loss(batch, Ledger(3))
    torch.testing.assert_close(terms["accuracy"], accuracy)
    torch.testing.assert_close(terms["usage"], torch.tensor(sum(usages) / 3))
    torch.testing.assert_close(terms["constraint"], torch.tensor(constraint))
    torch.testing.assert_close(terms["loss"], accuracy + weight * constraint)


def straight_through(rows: list[list[int]]) -> Callable[..., Tensor]:
    """F.gumbel_softmax without its luck: the given actions at each call, a video each, and the soft gradient."""
    calls = iter(rows)

    def sample(logits_N2: Tensor, tau: float, hard: bool) -> Tensor:
        assert hard
        soft_N2 = (logits_N2 / tau).softmax(-1)
        return F.one_hot(torch.tensor(next(calls)), 2) - soft_N2.detach() + soft_N2

    return sample


@pytest.mark.parametrize("temperature", [5.0, 0.7])
def test_gradient_goes_straight_through_the_gate(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(num_frames=1, target=0.3).double()
    batch = videos(model, [1, 1], dtype=torch.float64)
    model.gate.train()
    model.temperature = temperature
    monkeypatch.setattr(F, "gumbel_softmax", straight_through([[FINE, COARSE]]))
    terms = model.joint_loss(batch, Ledger(2))
    coarse_BD, fine_BD = (part_BTD[:, 0] for part_BTD in features(model, batch))
    zeros = torch.zeros(2, HF, dtype=torch.float64)
    looked_BH = model.fine_rnn.cell(torch.cat([coarse_BD, fine_BD], 1), (zeros, zeros))[0]
    copied_BH = F.pad(model.coarse_rnn.cell(coarse_BD, (zeros[:, :HC], zeros[:, :HC]))[0], (0, HF - HC))
    soft_B = (model.gate(coarse_BD, zeros) / temperature).softmax(-1)[:, FINE]
    slope_B = soft_B * (1 - soft_B) / temperature  # of B_t by the logit of "fine", minus that by the one of "coarse"
    score_BK = model.head(torch.stack([looked_BH[0], copied_BH[1]])).softmax(-1) - batch.label_BK
    by_open = {
        "accuracy": ((score_BK @ model.head.weight) * (looked_BH - copied_BH)).sum(1),
        "constraint": 2 * (torch.tensor([1.0, 0.0]) - 0.3),
    }
    for term, by_open_B in by_open.items():
        weight, bias = torch.autograd.grad(terms[term], gate_parameters(model), retain_graph=True)
        push_B = by_open_B * slope_B / 2
        torch.testing.assert_close(bias, torch.stack([push_B.sum(), -push_B.sum()]))
        expected_D = push_B @ torch.cat([coarse_BD, zeros], 1)
        torch.testing.assert_close(weight, torch.stack([expected_D, -expected_D]))
        assert bias.abs().min() > 1e-4
    torch.testing.assert_close(terms["loss"], terms["accuracy"] + 2 * terms["constraint"])


@pytest.mark.parametrize(("weight", "target"), [(2.0, 0.05), (20.0, 0.01), (20.0, 0.1)])
def test_the_slope_of_the_penalty(weight: float, target: float) -> None:
    """By an opening: 2 lambda (share - gamma) / T, of the video's own share and length, over the batch's mean."""
    model = make(num_frames=4, weight=weight, target=target)
    batch = videos(model, [4, 4, 2])
    open_BT = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]], requires_grad=True)
    output = MethodOutput(torch.zeros(3, NUM_CLASSES), batch.mask["frames"].long() - 1, {"open_BT": open_BT})
    model.forward = lambda *_, **__: output  # type: ignore[method-assign]
    (slope_BT,) = torch.autograd.grad(model.joint_loss(batch, Ledger(3))["loss"], open_BT)
    expected = [2 * weight * (share - target) / length / 3 for share, length in ((1 / 4, 4), (0, 4), (1, 2))]
    torch.testing.assert_close(slope_BT, torch.tensor(expected)[:, None].expand(3, 4))


def test_gamma_binds_in_tiny() -> None:
    """What a video's first fine frame costs, in nats, differs by gamma by as much as a frame is worth there.

    Half of the videos open one at .26; at .03 nearly all do, which is the most that the paper's weight asks.
    """
    runs = {
        variant: compose("liteeval", variant=variant) for variant in ("gamma_01", "gamma_03", "gamma_05", "gamma_10")
    }
    gammas = [run.config["model"]["target"] for run in runs.values()]
    assert gammas == [0.01, 0.03, 0.05, 0.1]
    tuned, costs = compose("liteeval"), []
    for run in runs.values():
        assert run.config["model"] == tuned.config["model"] | {"target": run.config["model"]["target"]}
        assert run.config["stages"] == tuned.config["stages"]
        model, share = run.config["model"], 1 / run.recipe.num_frames
        costs.append(model["weight"] * ((share - model["target"]) ** 2 - model["target"] ** 2))
    assert costs == sorted(costs, reverse=True) and costs[0] - costs[-1] > 0.3
    paper = compose("liteeval", profile="paper").config["model"]
    assert (paper["weight"], paper["target"]) == (2.0, 0.05)


@pytest.mark.parametrize("estimator", ["gumbel", "reinforce"])
def test_the_gate_draws_from_its_softmax_while_it_learns_and_takes_the_best_after(estimator: str) -> None:
    model = make(estimator=estimator)
    model.temperature = 3.0
    logits_N2 = torch.tensor([0.4, 1.2]).expand(4000, 2)
    assert (model.choose(logits_N2, None) == 0).all()
    model.gate.train()
    opened = int(model.choose(logits_N2, None).sum())
    p_open = float(logits_N2[0].softmax(0)[FINE])
    assert chisquare([opened, 4000 - opened], [4000 * p_open, 4000 * (1 - p_open)]).pvalue > 0.001
    assert model.choose(logits_N2, torch.full((4000,), FINE)).all()


def test_backbone_loss_is_that_of_two_classifiers_of_frames() -> None:
    model = make(num_frames=4)
    batch = videos(model, [4, 2])
    expected = {}
    for name, network in (("fine", model.fine), ("coarse", model.coarse)):
        rows = [resize_frames(batch.frames["frames"][b, :length], network.size) for b, length in enumerate((4, 2))]
        logits_BK = torch.stack([network(frames).mean(0) for frames in rows])
        expected[name] = cross_entropy(logits_BK, batch.label_BK).mean()
    terms = model.backbone_loss(batch, Ledger(2))
    torch.testing.assert_close(terms, {"loss": expected["fine"] + expected["coarse"], **expected})


# REINFORCE


@pytest.mark.parametrize("num_videos", [3, 1])
def test_reinforce_loss_in_numbers(num_videos: int) -> None:
    model = make(num_frames=3, estimator="reinforce", weight=1.5, target=0.2)
    lengths = [3, 3, 2][:num_videos]
    batch = videos(model, lengths)
    rows = [[FINE, COARSE, COARSE], [COARSE, COARSE, FINE], [FINE, FINE, FINE]][:num_videos]
    forced_BT = forced_to(model, rows)
    logits_BK, _, log_BT = by_hand(model, batch, "lstm", False, forced_BT)
    accuracy_B = cross_entropy(logits_BK, batch.label_BK)
    usages = (1 / 3, 1 / 3, 1.0)
    r = [-accuracy - 1.5 * (usage - 0.2) ** 2 for accuracy, usage in zip(accuracy_B.tolist(), usages, strict=False)]
    others = [(sum(r) - r[b]) / 2 if num_videos > 1 else 0.0 for b in range(num_videos)]
    policy = sum(-(r[b] - others[b]) * log_BT[b, : lengths[b]].sum() for b in range(num_videos)) / num_videos
    terms = model.joint_loss(batch, Ledger(num_videos))
    torch.testing.assert_close(terms["accuracy"], accuracy_B.mean())
    torch.testing.assert_close(terms["loss"], accuracy_B.mean() + policy)
    # The gate learns by the policy term alone.
    ours = torch.autograd.grad(terms["loss"], gate_parameters(model), retain_graph=True)
    torch.testing.assert_close(ours, torch.autograd.grad(policy, gate_parameters(model)))
    assert max(gradient.abs().max() for gradient in ours) > 1e-3
    assert torch.autograd.grad(terms["accuracy"], gate_parameters(model), allow_unused=True) == (None, None)


def test_reinforce_is_the_gradient_of_equation_7_in_expectation() -> None:
    model = make(num_frames=2, estimator="reinforce", weight=1.5, target=0.2).double()
    batch = videos(model, [2, 1], dtype=torch.float64)
    parts = (model.coarse_rnn, model.fine_rnn, model.gate, model.head)
    parameters = [parameter for part in parts for parameter in part.parameters()]
    choices = [list(product((FINE, COARSE), repeat=2)), [(FINE, FINE), (COARSE, FINE)]]
    objective, total = torch.zeros((), dtype=torch.float64), 0.0
    expected = [torch.zeros_like(parameter) for parameter in parameters]
    for rows in product(*choices):
        forced_BT = forced_to(model, [list(row) for row in rows])
        logits_BK, _, log_BT = by_hand(model, batch, "lstm", False, forced_BT)
        probability = log_BT.sum().exp()
        usage_B = torch.stack([(forced_BT[0] == FINE).double().mean(), (forced_BT[1, 0] == FINE).double()])
        value = (cross_entropy(logits_BK, batch.label_BK) + 1.5 * (usage_B - 0.2) ** 2).mean()
        objective, total = objective + probability * value, total + probability.item()
        loss = model.joint_loss(batch, Ledger(2))["loss"]
        for sum_, gradient in zip(expected, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
            if gradient is not None:
                sum_ += probability.detach() * gradient
    assert total == pytest.approx(1)
    true = torch.autograd.grad(objective, parameters)
    torch.testing.assert_close(tuple(expected), true, rtol=1e-4, atol=1e-7)  # cross-entropy is in float32


# The bill


@torch.no_grad()
@pytest.mark.parametrize("cell", ["lstm", "gru", "sru"])
@pytest.mark.parametrize("sync", [True, False])
def test_the_bill_by_component(cell: str, sync: bool) -> None:
    model = make(num_frames=5, cell=cell, sync=sync)
    batch, ledger = videos(model, [5, 5, 2]), Ledger(3)
    rows = [[FINE, COARSE, FINE, FINE, COARSE], [COARSE] * 5, [COARSE, FINE, FINE, FINE, FINE]]
    model(batch, ledger, torch.tensor(rows))
    num_coarse, num_fine = model.coarse.backbone.num_features, model.fine.backbone.num_features
    assert num_coarse != HC and num_coarse + num_fine != HF

    def rnn_macs(num_in: int, hidden: int) -> int:
        return {
            "lstm": 4 * hidden * (num_in + hidden),
            "gru": 3 * hidden * (num_in + hidden),
            "sru": 4 * hidden * num_in,
        }[cell]

    frames, opened = torch.tensor([5, 5, 2]), torch.tensor([3, 0, 1])
    expected = {
        "coarse": frames * price(model.coarse.backbone, torch.zeros(1, 3, 16, 16)).macs,
        "gate": frames * 2 * (num_coarse + HF),
        "fine": opened * price(model.fine.backbone, torch.zeros(1, 3, 32, 32)).macs,
        "fine_rnn": opened * rnn_macs(num_coarse + num_fine, HF),
        "head": torch.full((3,), HF * NUM_CLASSES),
    }
    if sync:
        expected["coarse_rnn"] = frames * rnn_macs(num_coarse, HC)
    assert {name: macs_B.tolist() for name, macs_B in ledger.macs.items()} == {
        name: macs_B.tolist() for name, macs_B in expected.items()
    }


@torch.no_grad()
def test_the_fine_network_sees_opened_frames_alone() -> None:
    model = make()
    batch = videos(model, [6, 4, 6, 5])
    seen: list[Tensor] = []
    model.fine.backbone.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    action_BT = model(batch, Ledger(4)).action_BT
    video_N, moment_N = (action_BT == FINE).T.nonzero(as_tuple=True)[::-1]  # in the order of time
    assert 0 < len(video_N) < 21
    assert torch.equal(torch.cat(seen), batch.frames["frames"][video_N, moment_N])
    assert len(seen) == len(moment_N.unique()), "one call for all videos at a moment"
    seen.clear()
    shut = model(batch, Ledger(4), torch.full((4, 6), COARSE))
    assert not seen and (shut.action_BT[batch.mask["frames"]] == COARSE).all()
    model(batch, Ledger(4), action_BT, dense=True)
    assert sum(map(len, seen)) == 21


# Sizes of the papers' data sets


def written(kind: str, root: Path) -> str:
    """The lists of a data set with two classes and no videos; the source to compose with."""
    (root / "videos").mkdir()
    texts = {
        "activitynet": {
            "actnet_train_split.txt": "a,9,0\nb,9,1\n",
            "actnet_val_split.txt": "c,9,1\n",
            "classInd.txt": "0,Run\n1,Sit\n",
        },
        "minikinetics": {
            "mini_train_videofolder.txt": "train/run/a 9 0\ntrain/sit/b 9 1\n",
            "mini_val_videofolder.txt": "val/sit/c 9 1\n",
            "minik_classInd.txt": "run\nsit\n",
        },
    }
    for name, text in texts[kind].items():
        (root / name).write_text(text)
    return f"{kind}:{root}"


files_of = functools.cache(method_files)


def said_of(kind: str, name: str, profile: str) -> dict[str, Any]:
    """What a method's YAML, or one that it extends, says of a data set."""
    layers = files_of(name).layers("data_sets", kind, "profiles", profile)
    return {section: values for section, values in merge(layers).items() if values} if layers else {}


OF_DATA = [
    (kind, name, profile)
    for kind in catalogue("datamodules")
    for name in catalogue()
    for profile in profiles()
    if said_of(kind, name, profile)
]


@pytest.mark.parametrize(("kind", "name", "profile"), OF_DATA)
def test_a_data_sets_own_sizes_reach_its_methods(kind: str, name: str, profile: str, tmp_path: Path) -> None:
    assert name in catalogue()
    source = written(kind, tmp_path)
    values = flat(said_of(kind, name, profile))
    (other,) = {"tiny", "paper"} - {profile}
    without, within = (flat(plain(compose(name, *data))) for data in (("sprites", profile), (source, profile)))
    assert values.items() <= within.items()
    changed = {key for key in without if without[key] != within[key]}
    assert changed, "says nothing new"
    assert changed <= values.keys()
    assert plain(compose(name, source, other)) == plain(compose(name, profile=other))
    assert values.items().isdisjoint(flat(plain(compose("uniform", source, profile))).items())
    key, value = next(iter(values.items()))
    assert flat(plain(compose(name, source, profile, overrides=[f"{key}={2 * value}"])))[key] == 2 * value


def plain(run: Run) -> dict[str, Any]:
    """Model and stages, these by name."""
    return {"model": run.config["model"], "stages": {stage["name"]: stage for stage in run.config["stages"]}}


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Values by their dotted paths."""
    if not isinstance(tree, Mapping):
        return {path: tree}
    return {key: leaf for name, of in tree.items() for key, leaf in flat(of, f"{path}.{name}".lstrip(".")).items()}


@pytest.mark.parametrize(
    ("kind", "coarse_hidden", "fine_hidden", "coarse_macs", "fine_macs"),
    [
        ("", 512, 2048, 3_670_016, 44_040_192),  # FCVID's
        ("activitynet", 64, 512, 344_064, 7_864_320),
        ("minikinetics", 1024, 2048, 4 * 1024 * (1280 + 1024), 44_040_192),
    ],
)
def test_the_papers_rnns_and_what_they_cost(
    kind: str, coarse_hidden: int, fine_hidden: int, coarse_macs: int, fine_macs: int, tmp_path: Path
) -> None:
    run = compose("liteeval", written(kind, tmp_path) if kind else "sprites", "paper")
    with torch.device("meta"):
        model = run.build_method(200)
    for rnn, num_in, hidden, macs in (
        (model.coarse_rnn, 1280, coarse_hidden, coarse_macs),
        (model.fine_rnn, 1280 + 2048, fine_hidden, fine_macs),
    ):
        assert rnn.hidden == hidden
        state = (torch.zeros(1, hidden),) * 2
        assert price(rnn.to_empty(device="cpu"), torch.zeros(1, num_in), state).macs == macs


def test_baselines_have_the_same_two_networks_and_frames() -> None:
    for profile, num_frames in (("tiny", None), ("paper", 25)):
        ours = compose("liteeval", profile=profile).config["model"]
        assert num_frames in (None, ours["num_frames"])
        for name in ("uniform_cf", "lstm_cf"):
            theirs = compose(name, profile=profile).config["model"]
            assert theirs["backbones"] == [ours["fine"], ours["coarse"]]
            assert theirs["num_frames"] == ours["num_frames"]
        assert compose("lstm_cf", profile=profile).config["model"]["prediction"] == "last"
        last = compose("lstm", profile=profile, variant="last").config["model"]
        assert (last["backbones"], last["num_frames"]) == ([ours["fine"]], ours["num_frames"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"coarse_hidden": 0}, "coarse_hidden must lie between 0 and fine_hidden, got 0"),
        ({"coarse_hidden": HF}, f"coarse_hidden must lie between 0 and fine_hidden, got {HF}"),
        ({"target": 1.5}, r"target must lie in \[0, 1\] and weight not be negative, got 1.5, 2.0"),
        ({"target": -0.1}, r"target must lie in \[0, 1\].*got -0.1, "),
        ({"weight": -1.0}, "weight not be negative, got 0.05, -1.0"),
        ({"coarse": BackboneSpec("narrow/4-4-6", 48)}, "coarse frames must not be larger than fine ones, got 48"),
    ],
)
def test_errors_are_one_line(changes: dict[str, Any], words: str) -> None:
    arguments = {"fine": FINE_SPEC, "coarse": COARSE_SPEC, "fine_hidden": HF, "coarse_hidden": HC} | changes
    with pytest.raises(ValueError, match=words) as error:
        LiteEval(NUM_CLASSES, **arguments)
    assert "\n" not in str(error.value)
