"""Listen to Look: hard look-ups against a plain loop, what they cost, soft and straight-through training, controls."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from adavid.cost import Ledger, price
from adavid.data.batch import VideoBatch
from adavid.losses import cross_entropy
from adavid.networks.backbones import BackboneSpec
from benchmarks.compose import compose
from methods.listen_to_look import ListenToLook
from tests.conftest import NUM_CLASSES, opinionated, random_batch

LARGE, SMALL = BackboneSpec("narrow/4-8-8", 32), BackboneSpec("narrow/4-4-4", 16)
LENGTHS = [8, 8, 5, 2]


def make(**settings) -> ListenToLook:  # type: ignore[no-untyped-def]
    sizes = {"num_frames": 8, "k": 3, "steps": 3, "width": 6, "hidden": 10}
    return opinionated(ListenToLook(NUM_CLASSES, **{"classifier": LARGE, "glance": SMALL, **sizes, **settings}))


def padded_batch(method: ListenToLook) -> VideoBatch:
    batch = random_batch(method, len(LENGTHS))
    for b, length in enumerate(LENGTHS):
        batch.mask["frames"][b, length:] = False
    return batch


def features(method: ListenToLook, batch: VideoBatch, name: str, b: int) -> Tensor:
    """Of all frames that a video has, (T, D)."""
    one = batch._replace(
        frames={"frames": batch.frames["frames"][b : b + 1, : LENGTHS[b]]},
        mask={"frames": batch.mask["frames"][b : b + 1, : LENGTHS[b]]},
    )
    return method.features(name, one, one.mask["frames"], Ledger(1))[0]


def look_up(method: ListenToLook, glance_TD: Tensor, soft: bool) -> tuple[list[int], list[Tensor]]:
    """One video by itself: the frames of most attention, and the weights at each step."""
    key_TH = method.keys(glance_TD)
    x_1D, state, visited, weights = glance_TD.mean(0, keepdim=True), None, list[int](), []
    for _ in range(min(method.k, len(glance_TD))):
        state = method.lstm(x_1D, state)
        fit_T = (key_TH @ method.query(state[0])[0]) / math.sqrt(6)
        fit_T[visited] = -torch.inf
        weight_T = fit_T.softmax(0)
        visited.append(int(weight_T.argmax()))
        weights.append(weight_T)
        x_1D = (weight_T @ glance_TD)[None] if soft else glance_TD[visited[-1:]]
    return visited, weights


@torch.no_grad()
def test_the_frames_of_most_attention_are_classified_and_paid() -> None:
    method = make()
    batch, ledger = padded_batch(method), Ledger(4)
    output = method(batch, ledger)
    for b, length in enumerate(LENGTHS):
        visited, _ = look_up(method, features(method, batch, "glance", b), soft=False)
        assert len(set(visited)) == min(3, length)
        mean_1D = features(method, batch, "classifier", b)[visited].mean(0, keepdim=True)
        torch.testing.assert_close(output.logits_BK[b], method.classifier.head(mean_1D)[0])
        assert output.action_BT[b].tolist() == [-1 if t >= length else int(t not in visited) for t in range(8)]
    num_glance, num_steps = method.glance.backbone.num_features, [min(3, length) for length in LENGTHS]
    num_open = [sum(range(length - steps + 1, length + 1)) for length, steps in zip(LENGTHS, num_steps, strict=True)]
    assert ledger.macs["attention"].tolist() == [6 * num for num in num_open]
    assert ledger.macs["lstm"].tolist() == [4 * 10 * (num_glance + 10) * steps for steps in num_steps]
    key, query = (
        price(part, torch.zeros(1, size)).macs for part, size in ((method.keys, num_glance), (method.query, 10))
    )
    assert ledger.macs["keys"].tolist() == [key * length for length in LENGTHS]
    assert ledger.macs["query"].tolist() == [query * steps for steps in num_steps]
    row = price(method.classifier.backbone, torch.zeros(1, 3, 32, 32)).macs
    assert ledger.macs["classifier"].tolist() == [row * steps for steps in num_steps]
    assert "attended" not in ledger.macs


@pytest.mark.parametrize("attention", ["soft", "straight"])
def test_the_querys_loss_by_hand(attention: str) -> None:
    method = make(attention=attention)
    batch, logits = padded_batch(method), []
    for b in range(4):
        visited, weights = look_up(method, features(method, batch, "glance", b), soft=attention == "soft")
        feature_TD = features(method, batch, "classifier", b)
        mean_D = torch.stack(weights).mean(0) @ feature_TD if attention == "soft" else feature_TD[visited].mean(0)
        logits.append(method.classifier.head(mean_D[None])[0])
    terms = method.query_loss(batch, Ledger(4))
    expected = cross_entropy(torch.stack(logits), batch.label_BK).mean()
    torch.testing.assert_close(terms["loss"], expected)
    terms["loss"].backward()
    gradients = [p.grad for part in (method.keys, method.lstm, method.query) for p in part.parameters()]
    assert all(grad is not None for grad in gradients) and sum(float(grad.abs().sum()) for grad in gradients) > 0


def test_the_classifier_trains_as_uniforms() -> None:
    method = make()
    batch = padded_batch(method)
    means = [features(method, batch, "classifier", b).mean(0) for b in range(4)]
    expected = cross_entropy(method.classifier.head(torch.stack(means)), batch.label_BK).mean()
    torch.testing.assert_close(method.classifier_loss(batch, Ledger(4))["loss"], expected)


@torch.no_grad()
def test_controls_choose_without_glances_and_are_of_one_training() -> None:
    for choice in ("even", "random"):
        control, ledger = make(choice=choice), Ledger(4)
        batch = padded_batch(control)
        action_BT = control(batch, ledger).action_BT
        assert set(ledger.macs) == {"classifier", "head"} and (action_BT == 0).sum(1).tolist() == [3, 3, 3, 2]
    run = compose("listen_to_look")
    others = [compose("listen_to_look", variant=name) for name in ("even", "random", "straight")]
    assert [other.model_hash == run.model_hash for other in others] == [True, True, False]


def test_errors() -> None:
    with pytest.raises(ValueError, match="^listen_to_look: k, steps, width and hidden must be 1 or more$"):
        make(k=0)
