"""OCSampler: sets, what they cost, the classifier that pools them, and the policy's reward by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adavid.cost import Ledger, price
from adavid.data.batch import VideoBatch
from adavid.networks.backbones import BackboneSpec
from adavid.policy_gradient import set_log_prob
from benchmarks.compose import compose
from benchmarks.measure.flops import bill
from benchmarks.measure.usage import forced_usage, parse_usage
from methods import ocsampler
from methods.ocsampler import OCSampler
from tests.conftest import NUM_CLASSES, opinionated, random_batch

LARGE = BackboneSpec("narrow/4-8-8", 32)
OF_FRAMES, OF_VIDEOS = BackboneSpec("narrow/4-4-4", 16), BackboneSpec("tsm/8/narrow/4-4-4", 16)
LENGTHS = [8, 8, 5, 2]


def make(sampler: BackboneSpec = OF_FRAMES, **settings) -> OCSampler:  # type: ignore[no-untyped-def]
    settings = {"backbone": LARGE, "sampler": sampler, "candidates": 8, "k": 3, "width": 12, **settings}
    return opinionated(OCSampler(NUM_CLASSES, **settings))


def padded_batch(method: OCSampler) -> VideoBatch:
    batch = random_batch(method, len(LENGTHS))
    for b, length in enumerate(LENGTHS):
        batch.mask["frames"][b, length:] = False
    return batch


def answer(method: OCSampler, batch: VideoBatch, b: int, frames: list[int]) -> Tensor:
    """What the classifier says (K,) of some frames of a video."""
    said = method.mlp(method.network.backbone(batch.frames["frames"][b, frames]))
    return method.head(said.amax(0)[None])[0]


@pytest.mark.parametrize("sampler", [OF_FRAMES, OF_VIDEOS], ids=["frames", "videos"])
@torch.no_grad()
def test_the_best_frames_are_classified_together_and_paid(sampler: BackboneSpec) -> None:
    method = make(sampler)
    batch, ledger = padded_batch(method), Ledger(4)
    output, score_BT = method(batch, ledger), method.score(batch, Ledger(4))
    for b, length in enumerate(LENGTHS):
        best = sorted(sorted(range(length), key=lambda t: -score_BT[b, t])[:3])
        torch.testing.assert_close(output.logits_BK[b], answer(method, batch, b, best))
        assert output.action_BT[b].tolist() == [-1 if t >= length else int(t not in best) for t in range(8)]
    frame, features = torch.zeros(1, 3, 16, 16), torch.zeros(1, method.sampler.backbone.num_features)
    whole = frame if sampler is OF_FRAMES else frame[None].expand(-1, 8, -1, -1, -1)
    row, score = price(method.sampler.backbone, whole).macs, price(method.scorer, features).macs
    times = LENGTHS if sampler is OF_FRAMES else [1] * 4
    assert ledger.macs["sampler"].tolist() == [
        num * row + length * score for num, length in zip(times, LENGTHS, strict=True)
    ]
    row = price(method.network.backbone, torch.zeros(1, 3, 32, 32)).macs
    assert ledger.macs["network"].tolist() == [min(3, length) * row for length in LENGTHS]


@torch.no_grad()
def test_the_controls_choose_without_the_sampler_and_do_not_pay_it() -> None:
    for choice in ("even", "random"):
        control = make(choice=choice)
        batch, ledger = padded_batch(control), Ledger(4)
        output = control(batch, ledger)
        assert "sampler" not in ledger.macs
        chosen = [(action_T == 0).nonzero().flatten().tolist() for action_T in output.action_BT]
        if choice == "even":
            assert chosen == [[1, 4, 6], [1, 4, 6], [0, 2, 4], [0, 1]]
        expected = torch.stack([answer(control, batch, b, frames) for b, frames in enumerate(chosen)])
        torch.testing.assert_close(output.logits_BK, expected)


def test_controls_are_of_one_training() -> None:
    run = compose("ocsampler")
    others = [compose("ocsampler", variant=name) for name in ("even", "random", "confidence")]
    assert [other.model_hash == run.model_hash for other in others] == [True, True, False]


def test_the_classifier_learns_from_sets_of_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    method, sets = make(), []
    batch = padded_batch(method)
    plain = method.classify
    monkeypatch.setattr(
        method, "classify", lambda said, set_BT, ledger: sets.append(set_BT) or plain(said, set_BT, ledger)
    )
    for _ in range(200):
        method.classifier_loss(batch, Ledger(4))
    set_SBT = torch.stack(sets)
    assert not (set_SBT & ~batch.mask["frames"]).any()
    for b, length in enumerate(LENGTHS):
        sizes = set_SBT[:, b].sum(1)
        assert set(sizes.tolist()) == set(range(1, length + 1))
        assert set_SBT[:, b, :length].any(0).all(), "every frame has its turn"


@pytest.mark.parametrize("reward", ["label", "confidence"])
def test_the_policys_loss_by_hand(reward: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method = make(reward=reward)
    batch = padded_batch(method)
    set_BT = torch.zeros(4, 8, dtype=torch.bool)
    drawn = [[0, 2, 7], [1, 2, 3], [0, 1, 4], [0, 1]]
    for b, frames in enumerate(drawn):
        set_BT[b, frames] = True
    monkeypatch.setattr(ocsampler, "draw_set", lambda num, logit_BT, mask_BT: set_BT)
    terms = method.policy_loss(batch, Ledger(4))
    log_prob_B = set_log_prob(method.score(batch, Ledger(4)), set_BT, batch.mask["frames"])
    expected = 0.0
    for b, even in enumerate([[1, 4, 6], [1, 4, 6], [0, 2, 4], [0, 1]]):
        worth = []
        for frames in (drawn[b], even):
            prob_K = answer(method, batch, b, frames).detach().softmax(0)
            worth.append(float((prob_K * batch.label_BK[b]).sum() if reward == "label" else prob_K.max()))
        expected -= (worth[0] - worth[1]) * log_prob_B[b].item() / 4
    assert terms["loss"].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    terms["loss"].backward()
    learnt = {name.partition(".")[0] for name, p in method.named_parameters() if p.grad is not None}
    assert learnt == {"sampler", "scorer"}


@pytest.mark.parametrize(("k", "gflops"), [(6, 25.75), (5, 21.65), (4, 17.5)])
def test_the_papers_usage_costs_the_papers_gflops(k: int, gflops: float) -> None:
    run = compose("ocsampler", profile="paper", overrides=[f"model.k={k}"])
    method = run.build_method(200).eval()
    usage = parse_usage(f"224={k / 10},skip={1 - k / 10}", {})
    ledger = bill(method, forced_usage(method.actions, usage, 1, 10), 200)
    assert ledger.total_B.item() / 1e9 == pytest.approx(gflops, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"k": 9}, "ocsampler: k must lie in 1 to 8 and width be positive, got 9 and 12"),
        (
            {"candidates": 4, "sampler": OF_VIDEOS},
            "ocsampler: sampler: expected a network of 4 frames, got tsm/8/narrow",
        ),
    ],
)
def test_errors(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}"):
        make(**settings)
