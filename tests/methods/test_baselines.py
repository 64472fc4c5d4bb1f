"""AR-Net's and LiteEval's baselines in closed form.

B videos, T frames, K classes, A actions.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare
from torch import Tensor

from adavid.cost import Ledger, price
from adavid.data.batch import VideoBatch
from adavid.data.transforms import resize_frames
from adavid.networks.backbones import BackboneSpec
from benchmarks.compose import compose
from methods.lstm import LSTM
from methods.multi_scale import MultiScale
from methods.random_policy import RandomPolicy
from methods.uniform import Uniform
from tests.conftest import NUM_CLASSES, opinionated, random_batch

SPECS = [BackboneSpec("narrow/4-8-8", 32), BackboneSpec("narrow/4-8-12", 24), BackboneSpec("narrow/4-4-8", 16)]


def with_padding(batch: VideoBatch, lengths: list[int]) -> VideoBatch:
    mask_BT = torch.arange(batch.mask["frames"].shape[1]) < torch.tensor(lengths)[:, None]
    return batch._replace(mask={"frames": mask_BT})


def per_frame(module: torch.nn.Module, batch: VideoBatch, size: int) -> Tensor:
    frames = batch.frames["frames"]
    return module(resize_frames(frames.flatten(0, 1), size)).unflatten(0, frames.shape[:2])


@torch.no_grad()
def test_uniform_is_the_mean_of_its_frames() -> None:
    model = opinionated(Uniform(NUM_CLASSES, SPECS[1], num_frames=5, frame_size=32))
    batch = with_padding(random_batch(model, 2), [5, 3])
    output = model(batch, Ledger(2))
    logits_BTK = per_frame(model.classifier, batch, 24)
    torch.testing.assert_close(output.logits_BK, torch.stack([logits_BTK[0].mean(0), logits_BTK[1, :3].mean(0)]))
    assert output.action_BT.tolist() == [[0] * 5, [0, 0, 0, -1, -1]]


@torch.no_grad()
def test_multi_scale_is_the_mean_of_its_resolutions_and_pays_for_all() -> None:
    model = opinionated(MultiScale(NUM_CLASSES, SPECS, num_frames=4))
    batch, ledger, bill = with_padding(random_batch(model, 2), [4, 1]), Ledger(2), Ledger(2)
    output = model(batch, ledger)
    logits_BTK = sum(per_frame(model.branches[str(spec.size)], batch, spec.size) for spec in SPECS) / 3
    torch.testing.assert_close(output.logits_BK, torch.stack([logits_BTK[0].mean(0), logits_BTK[1, 0]]))
    opinionated(Uniform(NUM_CLASSES, SPECS[0], num_frames=4))(batch, bill)
    assert (ledger.total_B > bill.total_B).all() and torch.equal(ledger.macs["32"], bill.macs["32"])
    assert ledger.total_B[0] == 4 * ledger.total_B[1]


@torch.no_grad()
@pytest.mark.parametrize("prediction", ["average", "last"])
def test_lstm_steps_through_what_the_mask_leaves(prediction: str) -> None:
    model = opinionated(LSTM(NUM_CLASSES, SPECS[2:], num_frames=5, hidden=8, prediction=prediction))
    lengths = [5, 2, 1]
    batch, ledger = with_padding(random_batch(model, 3), lengths), Ledger(3)
    output = model(batch, ledger)
    feature_BTD = per_frame(model.backbones["16"], batch, 16)
    for b, length in enumerate(lengths):
        state, steps = (torch.zeros(1, 8), torch.zeros(1, 8)), []
        for t in range(length):
            state = model.lstm(feature_BTD[b, None, t], state)
            steps.append(model.head(state[0])[0])
        expected_K = steps[-1] if prediction == "last" else sum(steps) / length
        torch.testing.assert_close(output.logits_BK[b], expected_K)
    num_answers = torch.tensor([1, 1, 1] if prediction == "last" else lengths)
    assert torch.equal(ledger.macs["head"], num_answers * price(model.head, torch.zeros(1, 8)).macs)
    rest_B = ledger.total_B - ledger.macs["head"]
    assert rest_B.tolist() == [length * int(rest_B[2]) for length in lengths]


@torch.no_grad()
@pytest.mark.parametrize("normalize", [False, True])
def test_lstm_takes_in_the_features_of_all_networks_side_by_side(normalize: bool) -> None:
    model = opinionated(LSTM(NUM_CLASSES, SPECS[::2], 4, hidden=8, normalize=normalize, prediction="last"))
    lengths = [4, 2]
    batch, ledger = with_padding(random_batch(model, 2), lengths), Ledger(2)
    output = model(batch, ledger)
    fine_BTD, coarse_BTD = (per_frame(model.backbones[size], batch, int(size)) for size in ("32", "16"))
    both_BTD = torch.cat([fine_BTD, coarse_BTD], -1)
    if normalize:
        both_BTD = F.layer_norm(both_BTD, both_BTD.shape[-1:])
    for b, length in enumerate(lengths):
        state = (torch.zeros(1, 8), torch.zeros(1, 8))
        for t in range(length):
            state = model.lstm(both_BTD[b, None, t], state)
        torch.testing.assert_close(output.logits_BK[b], model.head(state[0])[0])
    lstm_macs = 4 * 8 * (both_BTD.shape[-1] + 8)
    assert ledger.macs["lstm"].tolist() == [length * lstm_macs for length in lengths]
    for size in (32, 16):
        macs = price(model.backbones[str(size)], torch.zeros(1, 3, size, size)).macs
        assert ledger.macs[str(size)].tolist() == [length * macs for length in lengths]


@torch.no_grad()
def test_uniform_cf_is_the_mean_of_both_networks_and_of_the_frames() -> None:
    run = compose("uniform_cf")
    model = opinionated(run.build_method(NUM_CLASSES))
    (fine, coarse), lengths = model.branches.values(), [run.recipe.num_frames, 3]
    batch = with_padding(random_batch(model, 2), lengths)
    output = model(batch, Ledger(2))
    assert (fine.size, coarse.size) == (64, 32) and output.action_BT.shape == (2, run.recipe.num_frames)
    frame_BTK = (per_frame(fine, batch, 64) + per_frame(coarse, batch, 32)) / 2
    expected_BK = torch.stack([frame_BTK[b, :length].mean(0) for b, length in enumerate(lengths)])
    torch.testing.assert_close(output.logits_BK, expected_BK)


def random_policy(num_frames: int = 8, seed: int = 0) -> RandomPolicy:
    return opinionated(RandomPolicy(NUM_CLASSES, SPECS, skips=(1, 2, 4), num_frames=num_frames, seed=seed))


def videos(num_videos: int, num_frames: int = 8) -> VideoBatch:
    """Nothing to see: draws follow from the names."""
    mask = {"frames": torch.ones(num_videos, num_frames, dtype=torch.bool)}
    return VideoBatch({}, mask, torch.zeros(num_videos, 1), [f"clip {i}.mp4" for i in range(num_videos)])


def visits(action_T: list[int], covers: tuple[int, ...]) -> list[int]:
    """The actions at visited frames; every one must stay in force for as long as it covers."""
    taken, t = [], 0
    while t < len(action_T):
        span = action_T[t : t + covers[action_T[t]]]
        assert span == [action_T[t]] * len(span)
        taken.append(action_T[t])
        t += covers[action_T[t]]
    return taken


def test_random_actions_follow_from_seed_and_video_id_alone() -> None:
    model, batch = random_policy(), videos(50)
    action_BT = model.draw(batch)
    torch.manual_seed(7)
    backwards = batch._replace(video_id=batch.video_id[::-1])
    assert torch.equal(model.draw(backwards).flip(0), action_BT)
    alone = videos(1)._replace(video_id=[batch.video_id[31]])
    assert torch.equal(model.draw(alone)[0], action_BT[31])
    assert not torch.equal(random_policy(seed=1).draw(batch), action_BT)
    assert len(action_BT.unique(dim=0)) > 45, "videos get actions of their own"


def test_random_actions_are_uniform_where_drawn_and_skips_cover() -> None:
    model = random_policy()
    for training in (False, True):
        model.train(training)
        rows = model.draw(videos(2000)).tolist()
        counts = [0] * len(model.actions)
        for row in rows:
            for action in visits(row, model.actions.covers):
                counts[action] += 1
        assert chisquare(counts).pvalue > 0.001
    assert model.draw(videos(2000)).tolist() != rows, "training draws anew"


@torch.no_grad()
def test_random_policy_pays_for_what_it_uses() -> None:
    model = random_policy()
    batch, ledger = with_padding(random_batch(model, 6), [8, 8, 8, 8, 5, 2]), Ledger(6)
    output = model(batch, ledger)
    forced = torch.full((6, 8), 5)
    assert (output.action_BT[4:, 5:] == -1).all()
    prices = [price(branch, torch.zeros(1, 3, int(size), int(size))).macs for size, branch in model.branches.items()]
    price_A = torch.tensor([*prices, 0, 0, 0, 0])  # skips, and padding at -1
    assert torch.equal(price_A[output.action_BT].sum(1), ledger.total_B)
    bill = Ledger(6)
    assert (model(batch, bill, forced).logits_BK == 0).all() and (bill.total_B == 0).all()


@pytest.mark.parametrize("name", ["arnet", "lstm", "multi_scale", "random_policy"])
@pytest.mark.parametrize("sizes", [[], [16, 16], [8, 16]])
def test_networks_come_from_the_highest_resolution_down(name: str, sizes: list[int]) -> None:
    words = ", ".join(f"{{name: narrow/4-8-8, size: {size}}}" for size in sizes)
    with pytest.raises(ValueError, match=rf"{name}: backbones must come from the highest .*got \[{str(sizes)[1:-1]}\]"):
        compose(name, overrides=[f"model.backbones=[{words}]"])
