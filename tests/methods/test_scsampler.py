"""SCSampler: what it chooses, what that costs, its two losses by hand, and its controls."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adavid.cost import Ledger, price
from adavid.data.batch import VideoBatch
from adavid.losses import cross_entropy
from adavid.networks.backbones import BackboneSpec
from benchmarks.compose import compose
from benchmarks.measure.flops import bill
from benchmarks.measure.usage import forced_usage, parse_usage
from methods.scsampler import SCSampler
from tests.conftest import NUM_CLASSES, opinionated, random_batch

LARGE, SMALL = BackboneSpec("narrow/4-8-8", 32), BackboneSpec("narrow/4-4-4", 16)
LENGTHS = [8, 8, 5, 2]


def make(**settings) -> SCSampler:  # type: ignore[no-untyped-def]
    settings = {"classifier": LARGE, "sampler": SMALL, "num_frames": 8, "k": 3, **settings}
    return opinionated(SCSampler(NUM_CLASSES, **settings))


def padded_batch(method: SCSampler) -> VideoBatch:
    batch = random_batch(method, len(LENGTHS))
    for b, length in enumerate(LENGTHS):
        batch.mask["frames"][b, length:] = False
    return batch


def frame_logits(method: SCSampler, batch: VideoBatch, name: str) -> Tensor:
    """What a network says of every frame, (B, T, K)."""
    every_BT = torch.ones_like(batch.mask["frames"])
    return method.logits(name, batch, every_BT, Ledger(len(every_BT)))


def chosen(method: SCSampler, batch: VideoBatch) -> list[list[int]]:
    action_BT = method(batch, Ledger(len(LENGTHS))).action_BT
    return [(action_T == 0).nonzero().flatten().tolist() for action_T in action_BT]


@torch.no_grad()
def test_the_frames_of_the_largest_logits_are_classified_and_paid() -> None:
    method = make()
    batch, ledger = padded_batch(method), Ledger(4)
    output = method(batch, ledger)
    said_BTK, answer_BTK = (frame_logits(method, batch, name) for name in ("sampler", "classifier"))
    for b, length in enumerate(LENGTHS):
        surest = sorted(range(length), key=lambda t: -said_BTK[b, t].max())[:3]
        torch.testing.assert_close(output.logits_BK[b], answer_BTK[b, sorted(surest)].mean(0))
        assert output.action_BT[b].tolist() == [-1 if t >= length else int(t not in surest) for t in range(8)]
    sizes = {"sampler": 16, "classifier": 32}
    row = {name: price(getattr(method, name), torch.zeros(1, 3, side, side)).macs for name, side in sizes.items()}
    assert ledger.macs["sampler"].tolist() == [length * row["sampler"] for length in LENGTHS]
    assert ledger.macs["classifier"].tolist() == [min(3, length) * row["classifier"] for length in LENGTHS]
    assert len({tuple(of) for of in chosen(method, batch)[:2]}) == 2, "videos get frames of their own"


@torch.no_grad()
def test_the_controls_choose_without_the_sampler_and_do_not_pay_it() -> None:
    even, at_random = make(choice="even"), make(choice="random")
    batch = padded_batch(even)
    assert chosen(even, batch) == [[1, 4, 6], [1, 4, 6], [0, 2, 4], [0, 1]]
    assert chosen(at_random, batch) == chosen(at_random, batch) != chosen(make(choice="random", seed=1), batch)
    for control in (even, at_random):
        ledger = Ledger(4)
        output = control(batch, ledger)
        assert list(ledger.macs) == ["classifier"]
        answer_BTK = frame_logits(control, batch, "classifier")
        expected = [answer_BTK[b, frames].mean(0) for b, frames in enumerate(chosen(control, batch))]
        torch.testing.assert_close(output.logits_BK, torch.stack(expected))


def test_controls_and_k_are_of_one_training() -> None:
    run = compose("scsampler")
    others = [compose("scsampler", variant="even"), compose("scsampler", variant="random")]
    others.append(compose("scsampler", overrides=["test.k=2"]))
    assert {other.model_hash for other in others} == {run.model_hash} and len({o.hash for o in [run, *others]}) == 4
    assert compose("scsampler", variant="ranking").model_hash != run.model_hash


def test_each_network_learns_to_classify_the_video_from_all_frames() -> None:
    method = make()
    batch = padded_batch(method)
    for name, loss in (("classifier", method.classifier_loss), ("sampler", method.action_loss)):
        said_BTK = frame_logits(method, batch, name)
        mean_BK = torch.stack([said_BTK[b, :length].mean(0) for b, length in enumerate(LENGTHS)])
        torch.testing.assert_close(loss(batch, Ledger(4))["loss"], cross_entropy(mean_BK, batch.label_BK).mean())


def test_the_ranking_loss_by_hand() -> None:
    method = make(margin=0.5)
    batch = padded_batch(method)
    batch.label_BK[1, 0] = 1  # two labels: their mean
    large_BTK, small_BTK = (frame_logits(method, batch, name).detach() for name in ("classifier", "sampler"))
    losses, in_order = [], 0
    for b, length in enumerate(LENGTHS):
        labels = batch.label_BK[b].nonzero().flatten()
        large_T, small_T = large_BTK[b, :, labels].mean(1), small_BTK[b, :, labels].mean(1)
        for i in range(length):
            for j in range(i + 1, length):
                target = 1.0 if large_T[i] > large_T[j] else -1.0
                losses.append(max(0.0, 0.5 - target * float(small_T[i] - small_T[j])))
                in_order += bool(target * (small_T[i] - small_T[j]) > 0)
    terms = method.ranking_loss(batch, Ledger(4))
    assert len(losses) == 28 + 28 + 10 + 1
    assert terms["loss"].item() == pytest.approx(sum(losses) / len(losses), rel=1e-4)
    assert terms["in_order"].item() == pytest.approx(in_order / len(losses))
    terms["loss"].backward()
    assert all(p.grad is None for p in method.classifier.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in method.sampler.parameters())


def test_videos_of_one_frame_have_nothing_to_rank() -> None:
    method = make()
    batch = random_batch(method, 2)
    batch.mask["frames"][:, 1:] = False
    assert method.ranking_loss(batch, Ledger(2))["loss"] == 0


def test_the_papers_usage_costs_the_papers_gflops() -> None:
    run = compose("scsampler", profile="paper")
    method = run.build_method(200).eval()
    usage = parse_usage("paper", run.config["usage"])
    ledger = bill(method, forced_usage(method.actions, usage, 1, 16), 200)
    assert ledger.total_B.item() / 1e9 == pytest.approx(41.95, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"k": 0}, "scsampler: k must be 1 or more, got 0"),
        ({"margin": -0.1}, "scsampler: margin must not be negative, got -0.1"),
    ],
)
def test_errors(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}$"):
        make(**settings)
