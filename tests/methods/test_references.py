"""The references that a learned policy has to beat, in closed form: cascade, random frames, the patch in the centre.

B videos, T frames, K classes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor

from adavid.cost import Ledger, price
from adavid.data.batch import VideoBatch
from adavid.losses import cross_entropy
from adavid.networks.backbones import BackboneSpec
from adavid.stage import Stage
from benchmarks.compose import compose, warmup_of
from methods.cascade import Cascade, Rung, parse_ladder, spread, whole_ladder
from methods.random_frames import RandomFrames
from methods.random_patch import RandomPatch
from methods.uniform import Uniform
from tests.conftest import NUM_CLASSES, RandomVideos, opinionated, random_batch, random_decisions
from tests.methods.test_baselines import per_frame, videos, with_padding

SPECS = [BackboneSpec("narrow/4-8-8", 32), BackboneSpec("narrow/4-8-12", 24), BackboneSpec("narrow/4-4-8", 16)]
LADDER = "16x1-16x4-24x4-32x3-32x8"


def cascade(ladder: str = LADDER, threshold: float = 0.5, **settings: Any) -> Cascade:
    return opinionated(Cascade(NUM_CLASSES, SPECS, num_frames=8, ladder=ladder, threshold=threshold, **settings))


def prices(model: Cascade) -> dict[int, int]:
    return {int(size): price(net, torch.zeros(1, 3, int(size), int(size))).macs for size, net in model.networks.items()}


def rows(chosen: list[Tensor], b: int = 0) -> list[list[int]]:
    return [chosen_BT[b].nonzero().flatten().tolist() for chosen_BT in chosen]


# The ladder


@pytest.mark.parametrize(
    ("num_frames", "frames"), [(16, [1, 3, 6, 16]), (8, [1, 2, 4, 8]), (3, [1, 1, 2, 3]), (1, [1, 1, 1, 1])]
)
def test_the_whole_ladder_rises_from_one_frame_to_all(num_frames: int, frames: list[int]) -> None:
    ladder = whole_ladder([64, 48, 32, 24], num_frames)
    assert ladder == tuple(map(Rung, [24, 32, 48, 64], frames))
    assert whole_ladder([64], num_frames) == (Rung(64, num_frames),)


def test_a_ladder_is_read_as_it_is_written() -> None:
    assert parse_ladder("24x1-24x4-64x16", [64, 24], 16) == (Rung(24, 1), Rung(24, 4), Rung(64, 16))
    assert "-".join(map(str, parse_ladder(LADDER, [32, 24, 16], 8))) == LADDER


MISTAKES = {
    "24": "expected rungs of pixels x frames, such as 24x1-64x8, got '24'",
    "24x1 64x8": "expected rungs of pixels x frames, such as 24x1-64x8, got '24x1 64x8'",
    "25x1-64x8": "no network for 25x1, expected one of 24, 32, 48, 64 pixels",
    "24x0": "expected 1 to 8 frames, as many as are read, got 24x0",
    "24x1-64x9": "expected 1 to 8 frames, as many as are read, got 64x9",
    "64x4-24x8": "expected rising resolutions, or more frames at the same, got '64x4-24x8'",
    "24x4-24x4": "expected rising resolutions, or more frames at the same, got '24x4-24x4'",
}


@pytest.mark.parametrize("ladder", MISTAKES)
def test_a_ladder_that_cannot_be_climbed_is_refused_in_one_line(ladder: str) -> None:
    with pytest.raises(ValueError) as caught:
        compose("cascade", overrides=[f"test.ladder={ladder}", "recipe.num_frames=8"])
    assert str(caught.value) == f"cascade: ladder: {MISTAKES[ladder]}"


@pytest.mark.parametrize("threshold", [-0.1, 1.1])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(ValueError, match=rf"^cascade: threshold must lie in \[0, 1\], got {threshold}$"):
        cascade(threshold=threshold)


def test_frames_are_spread_as_segments_are_and_lie_inside_each_other() -> None:
    mask_BT = torch.arange(16) < torch.tensor([16, 5, 1])[:, None]
    assert rows([spread(mask_BT, num) for num in (1, 2, 4, 16)]) == [[8], [4, 12], [2, 6, 10, 14], [*range(16)]]
    assert rows([spread(mask_BT, num) for num in (1, 2, 4, 16)], 1) == [[2], [1, 3], [0, 1, 3, 4], [0, 1, 2, 3, 4]]
    assert rows([spread(mask_BT, num) for num in (1, 2, 4, 16)], 2) == [[0]] * 4
    for num in range(1, 17):
        assert spread(mask_BT, num).sum(1).tolist() == [num, min(num, 5), 1]
    model = opinionated(Cascade(NUM_CLASSES, SPECS, 16, "16x1-16x2-16x5-24x3-32x4-32x16"))
    one, two, five, _, four, every = model.frames_of_rungs(mask_BT)
    assert (one <= two).all() and (two <= five).all() and (four <= every).all() and torch.equal(every, mask_BT)


# What it answers and pays


@torch.no_grad()
@pytest.mark.parametrize("size", [16, 24, 32])
def test_a_single_rung_is_uniform_at_its_resolution(size: int) -> None:
    model = cascade(f"{size}x8")
    (spec,) = (spec for spec in SPECS if spec.size == size)
    uniform = opinionated(Uniform(NUM_CLASSES, spec, num_frames=8, frame_size=32))
    uniform.classifier.load_state_dict(model.networks[str(size)].state_dict())
    batch, ledger, bill = with_padding(random_batch(model, 3), [8, 5, 1]), Ledger(3), Ledger(3)
    ours, theirs = model(batch, ledger), uniform(batch, bill)
    torch.testing.assert_close(ours.logits_BK, theirs.logits_BK)
    assert torch.equal(ours.action_BT, theirs.action_BT) and torch.equal(ledger.total_B, bill.total_B)


@torch.no_grad()
def test_each_path_costs_its_rungs_and_no_frame_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand-picked confidences: video b stops after its b-th rung."""
    model = cascade()
    batch, ledger = random_batch(model, 5), Ledger(5)
    asked = iter(range(5))
    monkeypatch.setattr(model, "is_sure", lambda logits_BK: torch.arange(5) == next(asked))
    output = model(batch, ledger)
    macs = prices(model)
    # 16x1 and 16x4 share a frame, 24x4 is anew, 32x3 is inside 32x8.
    expected = [macs[16], 4 * macs[16]]
    expected += [expected[1] + 4 * macs[24]]
    expected += [expected[2] + 3 * macs[32], expected[2] + 8 * macs[32]]
    assert ledger.total_B.tolist() == expected
    chosen = model.frames_of_rungs(batch.mask["frames"])
    assert rows(chosen) == [[5], [1, 3, 5, 7], [1, 3, 5, 7], [1, 4, 6], [0, 1, 2, 3, 4, 5, 6, 7]]
    frame_BTK = [per_frame(model.networks[str(rung.size)], batch, rung.size) for rung in model.ladder]
    for b in range(5):  # the last rung's network, on the last rung's frames alone
        torch.testing.assert_close(output.logits_BK[b], frame_BTK[b][b, rows(chosen)[b]].mean(0))
    assert model.actions.names == ("32x8", "32x3", "24x4", "16x4", "16x1", "skip")
    assert model.actions.sizes == (32, 32, 24, 16, 16, 0)
    assert output.action_BT.tolist() == [
        [5, 5, 5, 5, 5, 4, 5, 5],
        [5, 3, 5, 3, 5, 3, 5, 3],
        [5, 2, 5, 2, 5, 2, 5, 2],
        [5, 1, 5, 2, 1, 2, 1, 2],
        [0] * 8,
    ]


@torch.no_grad()
def test_a_video_stops_by_its_own_confidence() -> None:
    model = cascade()
    batch = random_batch(model, 12)
    chosen = model.frames_of_rungs(batch.mask["frames"])
    scores = [
        per_frame(model.networks[str(rung.size)], batch, rung.size).double().mul(frames_BT[..., None]).sum(1)
        / frames_BT.sum(1, keepdim=True)
        for rung, frames_BT in zip(model.ladder, chosen, strict=True)
    ]
    confidence_RB = torch.stack(scores).softmax(-1).amax(-1)
    model.threshold = float(confidence_RB.median())
    output = model(batch, Ledger(12))
    reached = []
    for b in range(12):
        above = (confidence_RB[:, b] > model.threshold).nonzero().flatten().tolist()
        reached.append(above[0] if above else len(model.ladder) - 1)
        torch.testing.assert_close(output.logits_BK[b].double(), scores[reached[b]][b], rtol=1e-4, atol=1e-4)
    assert output.action_BT.amin(1).tolist() == [len(model.ladder) - 1 - rung for rung in reached]
    assert len(set(reached)) > 2


@torch.no_grad()
def test_at_0_all_stop_at_once_and_at_1_none_does() -> None:
    model = cascade(threshold=0.0)
    macs, batch = prices(model), random_batch(model, 3)
    for bold in (1.0, 1e6):  # so sure of everything that the probability rounds to 1
        for network in model.networks.values():
            network.head[1].weight.mul_(bold)
        for threshold, expected in ((0.0, macs[16]), (1.0, 4 * macs[16] + 4 * macs[24] + 8 * macs[32])):
            model.threshold, ledger = threshold, Ledger(3)
            model(batch, ledger)
            assert ledger.total_B.tolist() == [expected] * 3


@torch.no_grad()
@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.6, 1.0])
def test_its_own_decisions_are_replayed_and_anothers_followed(threshold: float) -> None:
    model = cascade(threshold=threshold)
    batch = with_padding(random_batch(model, 8), [8, 8, 8, 8, 8, 5, 2, 1])
    own, ledger = model(batch, Ledger(8)), Ledger(8)
    again = model(batch, ledger, forced=own.action_BT)
    assert torch.equal(again.action_BT, own.action_BT) and torch.equal(again.logits_BK, own.logits_BK)
    for forced_BT in (own.action_BT.flip(0), random_decisions(model, batch)):
        sparse, dense = (model(batch, Ledger(8), forced=forced_BT, dense=dense) for dense in (False, True))
        torch.testing.assert_close(sparse.logits_BK, dense.logits_BK, rtol=1e-5, atol=1e-5)
        assert torch.equal(sparse.action_BT, dense.action_BT)
        highest_B = forced_BT.masked_fill(forced_BT < 0, 5).masked_fill(~batch.mask["frames"], 5).amin(1)
        assert sparse.action_BT.masked_fill(~batch.mask["frames"], 5).amin(1).tolist() == highest_B.tolist()
    nothing = Ledger(8)
    assert (model(batch, nothing, forced=torch.full((8, 8), 5)).logits_BK == 0).all() and not nothing.macs


# How its networks train


def test_the_networks_do_not_see_each_other() -> None:
    """The gradient of the sum is each network's own, whatever the ladder and the threshold."""
    model = cascade(dropout=0.0)
    batch = with_padding(random_batch(model, 4), [8, 8, 3, 1])
    terms = model.classification_loss(batch, Ledger(4))
    terms["loss"].backward()
    own = []
    for spec in SPECS:
        uniform = opinionated(Uniform(NUM_CLASSES, spec, num_frames=8, frame_size=32, dropout=0.0))
        network = model.networks[str(spec.size)]
        uniform.classifier.load_state_dict(network.state_dict())
        loss = uniform.classification_loss(batch, Ledger(4))["loss"]
        loss.backward()
        own.append(loss.item())
        assert terms[str(spec.size)].item() == pytest.approx(loss.item())
        for ours, theirs in zip(network.parameters(), uniform.classifier.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)
    assert terms["loss"].item() == pytest.approx(sum(own))
    other = cascade("16x1-32x2", threshold=0.0, dropout=0.0)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.classification_loss(batch, Ledger(4))["loss"], terms["loss"])


def test_each_networks_gradient_is_clipped_by_itself() -> None:
    model = cascade()
    model.enter(Stage("further", ["networks"], epochs=1, clip_norm=1.0))
    norms = {"32": 10.0, "24": 0.5, "16": 2.0}
    for size, network in model.networks.items():
        parameters = list(network.parameters())
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        parameters[-1].grad[0] = norms[size]
    model.configure_gradient_clipping(torch.optim.SGD(model.parameters(), lr=0.1))
    for size, network in model.networks.items():
        assert float([*network.parameters()][-1].grad[0]) == pytest.approx(min(1.0, norms[size]), rel=1e-4)


def test_a_step_of_training_is_uniforms() -> None:
    """With clipping that binds: a step of the optimiser moves each network as it moves it alone."""
    stage = Stage("further", ["networks"], epochs=1, lr=0.1, clip_norm=0.01)
    model = cascade(dropout=0.0)
    state = {key: value.clone() for key, value in model.state_dict().items()}

    def stepped(method: Any, of: Stage) -> dict[str, Tensor]:
        method.train().enter(of)
        settings = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        Trainer(max_steps=1, enable_checkpointing=False, limit_val_batches=0, accelerator="cpu", **settings).fit(
            method, RandomVideos(method, num_batches=1)
        )
        return method.state_dict()

    ours = stepped(model, stage)
    for spec in SPECS:
        uniform = Uniform(NUM_CLASSES, spec, num_frames=8, frame_size=32, dropout=0.0)
        prefix = f"networks.{spec.size}."
        uniform.classifier.load_state_dict(
            {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        )
        alone = stepped(uniform, Stage("further", ["classifier"], epochs=1, lr=0.1, clip_norm=0.01))
        for key, value in alone.items():
            mine = ours[key.replace("classifier.", prefix)]
            torch.testing.assert_close(mine, value, rtol=1e-4, atol=1e-6)
            assert "head" not in key or not torch.equal(mine, state[key.replace("classifier.", prefix)])


def test_ladder_threshold_and_k_change_neither_weights_nor_training() -> None:
    for name, points in (
        ("cascade", [{"ladder": "24x1-64x2"}, {"threshold": 0.1}]),
        ("random_frames", [{"k": 1}, {"k": 2}]),
    ):
        run = compose(name)
        losses = []
        for point in ({}, *points):
            torch.manual_seed(0)
            method = run.build_method(NUM_CLASSES, **point).train()
            batch = random_batch(method, 2)
            losses.append(method.classification_loss(batch, Ledger(2))["loss"])
        assert all(torch.equal(loss, losses[0]) for loss in losses)


# Random frames


def random_frames(k: int, seed: int = 0) -> RandomFrames:
    return opinionated(RandomFrames(NUM_CLASSES, SPECS[0], num_frames=8, k=k, seed=seed))


def looked(model: RandomFrames, batch: VideoBatch) -> Tensor:
    with torch.no_grad():
        return model(batch, Ledger(len(batch.video_id))).action_BT == 0


@torch.no_grad()
@pytest.mark.parametrize("k", [1, 3, 8])
def test_k_random_frames_cost_k_frames_and_are_averaged(k: int) -> None:
    model = random_frames(k)
    lengths = [8, 8, 5, 2]
    batch, ledger = with_padding(random_batch(model, 4), lengths), Ledger(4)
    output = model(batch, ledger)
    macs = price(model.classifier, torch.zeros(1, 3, 32, 32)).macs
    assert ledger.total_B.tolist() == [min(k, length) * macs for length in lengths]
    frame_BTK = per_frame(model.classifier, batch, 32)
    for b, length in enumerate(lengths):
        taken = (output.action_BT[b] == 0).nonzero().flatten().tolist()
        assert len(taken) == min(k, length) and max(taken) < length
        torch.testing.assert_close(output.logits_BK[b], frame_BTK[b, taken].mean(0))
        assert output.action_BT[b].tolist() == [-1 if t >= length else 0 if t in taken else 1 for t in range(8)]


def test_the_draw_is_the_videos_own_and_repeatable() -> None:
    model = random_frames(3)
    batch = random_batch(model, 30)
    first = looked(model, batch)
    torch.manual_seed(7)
    backwards = VideoBatch({"frames": batch.frames["frames"].flip(0)}, batch.mask, batch.label_BK, batch.video_id[::-1])
    assert torch.equal(looked(model, backwards).flip(0), first)
    assert len(first.unique(dim=0)) > 15, "videos get frames of their own"
    assert not torch.equal(looked(random_frames(3, seed=1), batch), first)
    assert (first <= looked(random_frames(4), batch)).all(), "fewer frames are among more"


def test_all_frames_are_uniform_and_so_is_the_training() -> None:
    model, uniform = random_frames(8), opinionated(Uniform(NUM_CLASSES, SPECS[0], num_frames=8))
    uniform.load_state_dict(model.state_dict())
    batch = with_padding(random_batch(model, 3), [8, 4, 1])
    torch.testing.assert_close(model(batch, Ledger(3)).logits_BK, uniform(batch, Ledger(3)).logits_BK)
    for model.k in (1, 8):
        ours = model.classification_loss(batch, Ledger(3))["loss"]
        torch.testing.assert_close(ours, uniform.classification_loss(batch, Ledger(3))["loss"])
    expected = cross_entropy(uniform(batch, Ledger(3)).logits_BK, batch.label_BK).mean()
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("profile", ["tiny", "paper"])
def test_random_frames_trains_as_uniform_was_tuned(profile: str) -> None:
    assert compose("random_frames", profile=profile).stages == compose("uniform", profile=profile).stages


@pytest.mark.parametrize("k", [0, 9])
def test_no_more_frames_are_drawn_than_are_read(k: int) -> None:
    with pytest.raises(ValueError, match=rf"^random_frames: k must lie in 1 to 8, the frames that are read, got {k}$"):
        compose("random_frames", overrides=[f"test.k={k}", "recipe.num_frames=8"])


# The patch in the centre


@torch.no_grad()
def test_the_centre_patch_is_random_patch_with_its_patch_in_the_middle() -> None:
    center, random = compose("center_patch"), compose("random_patch")
    assert center.method_class is RandomPatch
    assert [replace(stage, lr=1.0) for stage in center.stages] == [replace(stage, lr=1.0) for stage in random.stages]
    assert {key for key, value in center.config["model"].items() if value != random.config["model"][key]} == {"places"}
    model, other = opinionated(center.build_method(NUM_CLASSES)), opinionated(random.build_method(NUM_CLASSES))
    assert model.grid.corner(0) == (20, 20) and len(model.actions) == 1  # 24 of 64 pixels
    other.load_state_dict(model.state_dict())
    batch = random_batch(model, 2)
    bills = Ledger(2), Ledger(2)
    ours = model(batch, bills[0])
    middle_BT = torch.full_like(ours.action_BT, len(other.grid) // 2)
    torch.testing.assert_close(ours.logits_BK, other(batch, bills[1], forced=middle_BT).logits_BK)
    assert torch.equal(bills[0].total_B, bills[1].total_B)
    assert torch.equal(model.draw(videos(20)), torch.zeros(20, 8, dtype=torch.long))


def test_the_ceiling_trains_about_ten_times_as_much_as_uniform() -> None:
    """In multiply-accumulates, the warm-up of its own backbone included."""

    def work(variant: str) -> float:
        run = compose("uniform", variant=variant)
        spec = BackboneSpec(**run.config["model"]["backbone"])
        row = price(run.build_method(NUM_CLASSES).classifier, torch.zeros(1, 3, spec.size, spec.size)).macs
        of_stages = [(run, run.recipe.num_frames), (warmup_of(run, spec), run.recipe.warmup_frames)]
        return row * sum(num_frames * stage.epochs for of, num_frames in of_stages for stage in of.stages)

    assert 7 < work("ceiling") / work("") < 13
    with pytest.raises(ValueError, match="^uniform: variant 'ceiling' is the method itself in profile paper$"):
        compose("uniform", profile="paper", variant="ceiling")
