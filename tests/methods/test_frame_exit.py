"""FrameExit: the order of the visits, exits that are real, its two losses by hand, and both forms against a loop."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from adavid.cost import Ledger, price
from adavid.data.batch import VideoBatch
from adavid.losses import cross_entropy
from adavid.method import Chunk
from adavid.networks.backbones import BackboneSpec
from adavid.routing import even_frames
from adavid.stage import Stage
from benchmarks.compose import compose
from benchmarks.layers import method_files
from benchmarks.measure.flops import bill
from benchmarks.measure.usage import forced_usage, parse_usage
from methods.frame_exit import RELEASED, Exits, FrameExit, FrameExitOnline, Gate, bisecting_order
from tests.conftest import NUM_CLASSES, opinionated, random_batch, random_decisions

SPEC, NUM_FRAMES, WIDTH = BackboneSpec("narrow/4-8-8", 16), 6, 12
LENGTHS = [6, 6, 6, 6, 4, 1]


def make(form: type[Exits] = FrameExit, **settings) -> Exits:  # type: ignore[no-untyped-def]
    settings = {"backbone": SPEC, "steps": NUM_FRAMES, "width": WIDTH, **settings}
    return opinionated(form(NUM_CLASSES, **settings))


def padded_batch(method: Exits) -> VideoBatch:
    batch = random_batch(method, len(LENGTHS))
    for b, length in enumerate(LENGTHS):
        batch.mask["frames"][b, length:] = False
    return batch


def visits_of(method: Exits, length: int) -> list[int]:
    order = range(NUM_FRAMES) if isinstance(method, FrameExitOnline) else bisecting_order(NUM_FRAMES)
    return [t for t in order if t < length]


def alone(method: Exits, frames_TCHW: Tensor, length: int, forced_T: Tensor | None) -> tuple[Tensor, list[int]]:
    """One video by itself, as the paper reads: its logits, and the frames that it looked at."""
    z_H, looked = torch.zeros(1, WIDTH), []
    for t in visits_of(method, length):
        if forced_T is not None and forced_T[t] != 0:
            continue
        feature = method.network.backbone(frames_TCHW[t][None])
        before, z_H = z_H, torch.maximum(z_H, method.mlp(feature))
        looked.append(t)
        is_last = len(looked) == NUM_FRAMES
        if forced_T is None and not is_last and float(method.gates[len(looked) - 1](before, z_H)) < 0:
            break
    return method.heads[max(0, len(looked) - 1)](z_H)[0], looked


@pytest.mark.parametrize("form", [FrameExit, FrameExitOnline])
@torch.no_grad()
def test_answers_exits_and_bill_are_those_of_a_plain_loop(form: type[Exits]) -> None:
    num_looks = set()
    for seed in range(4):
        method = opinionated(make(form), seed)
        batch, rows = padded_batch(method), {}
        shapes = {"network": [(3, 16, 16)], "mlp": [(method.network.backbone.num_features,)]}
        shapes |= {"gate": [(WIDTH,), (WIDTH,)], "head": [(WIDTH,)]}
        parts = {"network": method.network, "mlp": method.mlp, "gate": method.gates[0], "head": method.heads[0]}
        for name, part in parts.items():
            rows[name] = price(part, *(torch.zeros(1, *shape) for shape in shapes[name])).macs
        for forced_BT in (None, random_decisions(method, batch)):
            ledger = Ledger(len(LENGTHS))
            output = method(batch, ledger, forced_BT)
            for b, length in enumerate(LENGTHS):
                forced_T = None if forced_BT is None else forced_BT[b]
                logits_K, looked = alone(method, batch.frames["frames"][b], length, forced_T)
                torch.testing.assert_close(output.logits_BK[b], logits_K)
                expected = [-1 if t >= length else int(t not in looked) for t in range(NUM_FRAMES)]
                assert output.action_BT[b].tolist() == expected
                num, num_gates = len(looked), min(len(looked), NUM_FRAMES - 1)
                macs = num * (rows["network"] + rows["mlp"]) + num_gates * rows["gate"] + rows["head"]
                assert ledger.total_B[b] == macs
                num_looks.add(num)
    assert num_looks >= {1, 2, 3}, "videos end at different frames"


@torch.no_grad()
def test_the_published_first_exit_is_by_the_classifiers_confidence() -> None:
    """No gate after the first frame; the others read the evidence after a frame before that before it."""
    method = make(first_threshold=0.5)
    batch = random_batch(method, 24)
    score_BK = batch.frames["frames"].new_zeros(24, NUM_CLASSES)
    exits = []
    for b, frames_TCHW in enumerate(batch.frames["frames"]):
        z_H, num = torch.zeros(1, WIDTH), 0
        for t in bisecting_order(NUM_FRAMES):
            before, z_H = z_H, torch.maximum(z_H, method.mlp(method.network.backbone(frames_TCHW[t][None])))
            num += 1
            if num == 1:
                ends = bool(method.heads[0](z_H).softmax(-1).max() > 0.5)
            elif num < NUM_FRAMES:
                gate = method.gates[num - 1]
                ends = bool(gate.decide(torch.cat([gate.embed(z_H), gate.embed(before)], 1)) < 0)
            if ends:
                break
        exits.append(num)
        score_BK[b] = method.heads[num - 1](z_H)[0]
    output = method(batch, Ledger(24))
    assert (output.action_BT == 0).sum(1).tolist() == exits and 1 in exits and len(set(exits)) > 1
    torch.testing.assert_close(output.logits_BK, score_BK)
    method.train()
    assert method.gate_loss(batch, Ledger(24))["loss"].isfinite()


def test_the_order_is_that_of_the_papers_algorithm() -> None:
    assert bisecting_order(8) == [3, 0, 7, 1, 5, 2, 4, 6]
    assert bisecting_order(10) == [4, 0, 9, 2, 6, 1, 3, 5, 7, 8]
    assert bisecting_order(16) == [7, 0, 15, 3, 11, 1, 5, 9, 13, 2, 4, 6, 8, 10, 12, 14]
    for num in range(1, 40):
        assert sorted(bisecting_order(num)) == list(range(num))
    assert compose("frame_exit", profile="paper", overrides=["model.order=released"]).build_method(3).order == [
        *RELEASED
    ]


@torch.no_grad()
def test_controls_look_at_k_frames_and_pay_no_gate() -> None:
    method = make()
    batch = padded_batch(method)
    for choice, k in (("even", 3), ("random", 3), ("first", 3), ("even", NUM_FRAMES), ("random", NUM_FRAMES + 1)):
        control = make(choice=choice, k=k)
        control.load_state_dict(method.state_dict())
        ledger = Ledger(len(LENGTHS))
        output = control(batch, ledger)
        looks_BT = output.action_BT == 0
        assert looks_BT.sum(1).tolist() == [min(k, length) for length in LENGTHS]
        assert "gate" not in ledger.macs
        forced = method(batch, Ledger(len(LENGTHS)), output.action_BT)
        assert torch.equal(output.logits_BK, forced.logits_BK) and torch.equal(output.action_BT, forced.action_BT)
        if choice == "even":
            assert torch.equal(looks_BT, even_frames(k, batch.mask["frames"]))
        if choice == "first":
            expected = [set(visits_of(method, length)[:k]) for length in LENGTHS]
            assert [set(looks_T.nonzero()[:, 0].tolist()) for looks_T in looks_BT] == expected
    with pytest.raises(ValueError, match="^frame_exit: beta must be positive, .* k 1 or more, got .* and 0$"):
        make(k=0)


def test_controls_are_of_one_training() -> None:
    for name in ("frame_exit", "frame_exit_online"):
        run = compose(name)
        others = [compose(name, variant=variant) for variant in method_files(name).variants_in("tiny")]
        assert others and {other.model_hash for other in others} == {run.model_hash}
        other_seeds = [compose(name, variant=variant, seed=1) for variant in method_files(name).variants_in("tiny")]
        assert [other.hash for other in other_seeds] == [other.hash for other in others]


def test_a_gate_says_in_evaluation_what_it_has_learnt_to_say() -> None:
    """Evidence grows along the video: were before and after normalised apart in training, evaluation would differ."""
    torch.manual_seed(0)
    gate, before_NH = Gate(WIDTH), torch.rand(64, WIDTH)
    after_NH = before_NH + 3
    for _ in range(200):
        learnt_N = gate.train()(before_NH, after_NH)
    torch.testing.assert_close(gate.eval()(before_NH, after_NH), learnt_N, rtol=0.02, atol=0.02)


@torch.no_grad()
def test_a_frame_a_step_in_its_own_order_answers_what_one_call_answers() -> None:
    method = make()
    batch, ledger = padded_batch(method), Ledger(len(LENGTHS))
    frames_BTCHW, mask_BT = batch.frames["frames"], batch.mask["frames"]
    state, action_BT = method.init_state(len(LENGTHS)), torch.full(mask_BT.shape, -1)
    for t in bisecting_order(NUM_FRAMES):
        is_due_BT = mask_BT & (torch.arange(NUM_FRAMES) == t)
        state, taken_BT, _ = method.step(Chunk(frames_BTCHW, is_due_BT), state, ledger)
        action_BT = torch.where(is_due_BT, taken_BT, action_BT)
    at_once_ledger = Ledger(len(LENGTHS))
    at_once = method(batch, at_once_ledger)
    assert torch.equal(method.answer(state, ledger), at_once.logits_BK) and torch.equal(action_BT, at_once.action_BT)
    assert torch.equal(ledger.total_B, at_once_ledger.total_B)
    assert [read.frame_N.unique().tolist() for read in at_once_ledger.reads] == [
        [t] for t in bisecting_order(NUM_FRAMES) if (action_BT[:, t] == 0).any()
    ]


@torch.no_grad()
def test_the_order_of_visits_is_no_part_of_the_answer_of_all_frames() -> None:
    offline, online = make(), make(FrameExitOnline)
    online.load_state_dict(offline.state_dict())
    batch = padded_batch(offline)
    all_BT = torch.zeros_like(batch.mask["frames"], dtype=torch.long)
    answers = [method(batch, Ledger(len(LENGTHS)), all_BT).logits_BK for method in (offline, online)]
    torch.testing.assert_close(*answers)


def test_the_classifiers_loss_by_hand() -> None:
    method = make()
    batch, errors = padded_batch(method), []
    for b, length in enumerate(LENGTHS):
        z_H = torch.zeros(1, WIDTH)
        for num, t in enumerate(visits_of(method, length)):
            z_H = torch.maximum(z_H, method.mlp(method.network.backbone(batch.frames["frames"][b, t][None])))
            errors.append(cross_entropy(method.heads[num](z_H), batch.label_BK[b : b + 1])[0])
    assert len(errors) == sum(LENGTHS)
    torch.testing.assert_close(method.classifier_loss(batch, Ledger(len(LENGTHS)))["loss"], torch.stack(errors).mean())


def test_the_gates_loss_by_hand_and_nothing_else_learns_from_it() -> None:
    method = make(beta=0.5)
    batch, losses, exits = padded_batch(method), [], 0
    for b, length in enumerate(LENGTHS):
        z_H = torch.zeros(1, WIDTH)
        for num, t in enumerate(visits_of(method, length), start=1):
            before, z_H = (
                z_H,
                torch.maximum(z_H, method.mlp(method.network.backbone(batch.frames["frames"][b, t][None]))),
            )
            if num == NUM_FRAMES:
                continue
            error = cross_entropy(method.heads[num - 1](z_H), batch.label_BK[b : b + 1])
            logit = method.gates[num - 1](before, z_H)
            goes_on = (error > 0.5 * math.exp(num / 2)).float()
            losses.append(F.binary_cross_entropy_with_logits(logit, goes_on))
            exits += int(logit < 0)
    terms = method.gate_loss(batch, Ledger(len(LENGTHS)))
    torch.testing.assert_close(terms["loss"], torch.stack(losses).mean())
    assert terms["exits"].item() == pytest.approx(exits / len(losses))
    terms["loss"].backward()
    learnt = {name.partition(".")[0] for name, p in method.named_parameters() if p.grad is not None}
    assert learnt == {"gates"}


def test_gates_learn_to_exit_where_the_error_is_small() -> None:
    """Of videos whose errors do not change they learn it by heart: each ends at its first step below the threshold."""
    num_looks = []
    for beta in (1e-6, 0.1, 1e6):
        method = make(beta=beta)
        batch = random_batch(method, 8)
        method.enter(Stage("gates", ["gates"], epochs=1))
        optimizer = torch.optim.Adam(method.gates.parameters(), lr=0.05)
        for _ in range(60):
            method.train()
            optimizer.zero_grad()
            method.gate_loss(batch, Ledger(8))["loss"].backward()
            optimizer.step()
        with torch.no_grad():
            error_BT = method.eval().every_step(batch, Ledger(8)).error_BT
            looked_B = (method(batch, Ledger(8)).action_BT == 0).sum(1)
        is_small_BT = error_BT <= beta * (torch.arange(1, NUM_FRAMES + 1) / 2).exp()
        is_small_BT[:, -1] = True
        assert looked_B.tolist() == (is_small_BT.int().argmax(1) + 1).tolist()
        num_looks.append(float(looked_B.float().mean()))
    assert num_looks[0] > num_looks[1] > num_looks[2] == 1


def test_the_papers_usage_costs_the_papers_gflops() -> None:
    """4.12 a frame, which leaves out the MLP, the gates and the head: at most .3 %."""
    run = compose("frame_exit", profile="paper")
    method = run.build_method(200).eval()
    usage = parse_usage("paper", run.config["usage"])
    ledger = bill(method, forced_usage(method.actions, usage, 100, 10), 200)
    frames = ledger.macs["network"].sum().item()
    assert ledger.total_B.sum().item() / 100 / 1e9 == pytest.approx(26.1, rel=0.01)
    assert frames < ledger.total_B.sum().item() <= 1.003 * frames


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 1}, "frame_exit: steps must be 2 or more and width positive, got 1 and 12"),
        ({"beta": 0.0}, "frame_exit: beta must be positive, first_threshold in .* got 0.0, 0.0 and 4"),
        ({"first_threshold": 1.0}, "frame_exit: beta must be positive, first_threshold in .* got 0.001, 1.0 and 4"),
        ({"order": "released"}, "frame_exit: order=released is of 10 frames, got 6"),
    ],
)
def test_errors(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}$"):
        make(**settings)
