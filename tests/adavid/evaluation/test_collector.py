"""Collecting answers and bills: each video once, the same numbers from one process and from two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer

from adavid.cost import Ledger
from adavid.evaluation.collector import Evaluation, GFLOPsCallback
from adavid.evaluation.metrics import mean_average_precision
from adavid.networks.backbones import BackboneSpec
from adavid.training import evaluate, join, make_trainer
from methods.random_policy import RandomPolicy
from tests.conftest import NUM_CLASSES, RandomVideos, opinionated, start_ranks

QUIET: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}


def make() -> RandomPolicy:
    """Videos cost differently, some frames are skipped."""
    torch.manual_seed(0)  # the same weights in every process
    specs = [BackboneSpec("narrow/4-8-8", 24), BackboneSpec("narrow/4-4-8", 16)]
    return opinionated(RandomPolicy(NUM_CLASSES, specs, num_frames=3))


def assert_same(one: Evaluation, other: Evaluation) -> None:
    for name, value in vars(one.predictions).items():
        if name == "score_NK":
            np.testing.assert_allclose(getattr(other.predictions, name), value, rtol=1e-5)
        else:
            np.testing.assert_array_equal(getattr(other.predictions, name), value)
    assert other.components == pytest.approx(one.components)
    assert other.audited_gflops == pytest.approx(one.audited_gflops)
    assert other.frames_decoded == pytest.approx(one.frames_decoded)
    assert other.frames_decoded_on_demand == pytest.approx(one.frames_decoded_on_demand)


def test_what_each_video_answered_and_spent_is_collected() -> None:
    method = make()
    data = RandomVideos(method, num_batches=2, num_videos=3)
    data.batches = [
        batch._replace(num_decoded_B=torch.tensor([i, 5, 6]), group=["a", "", "a"])
        for i, batch in enumerate(data.batches)
    ]
    evaluation = evaluate(method, data, QUIET)
    predictions = evaluation.predictions
    assert predictions.video_id.tolist() == ["v0-0", "v0-1", "v0-2", "v1-0", "v1-1", "v1-2"]
    ledgers = [Ledger(3), Ledger(3)]
    with torch.no_grad():
        outputs = [method(batch, ledger) for batch, ledger in zip(data.batches, ledgers, strict=True)]
    assert predictions.group_N.tolist() == ["a", "", "a"] * 2
    macs_N = torch.cat([ledger.total_B for ledger in ledgers])
    action_NT = torch.cat([output.action_BT for output in outputs])
    assert predictions.macs_N.tolist() == macs_N.tolist() and len(set(macs_N.tolist())) > 1
    assert predictions.action_NT.tolist() == action_NT.tolist()
    assert predictions.frames_used_N.tolist() == (action_NT < 2).sum(1).tolist()
    scores_NK = torch.cat([output.logits_BK for output in outputs]).softmax(-1)
    np.testing.assert_allclose(predictions.score_NK, scores_NK, rtol=1e-5)
    for name in ("24", "16"):
        bill = sum(int(ledger.macs[name].sum()) for ledger in ledgers if name in ledger.macs)
        assert evaluation.components[name] == pytest.approx(bill / 6 / 1e9)
    audited = sum(int(ledger.audited_total_B.sum()) for ledger in ledgers)
    assert evaluation.audited_gflops == pytest.approx(audited / 6 / 1e9)
    assert evaluation.frames_decoded == pytest.approx((0 + 5 + 6 + 1 + 5 + 6) / 6)
    assert evaluation.frames_decoded_on_demand == pytest.approx(predictions.frames_used_N.mean())  # each by itself


def test_a_repeated_video_counts_once() -> None:
    method = make()
    data = RandomVideos(method, num_batches=3)
    once = evaluate(method, data, QUIET)
    data.batches = [data.batches[i] for i in (0, 2, 1, 2, 2)]
    assert_same(once, evaluate(method, data, QUIET))


def test_a_second_split_starts_afresh_and_validation_logs_the_whole() -> None:
    method, cost = make(), GFLOPsCallback()
    data = RandomVideos(method, num_batches=2)
    trainer = Trainer(callbacks=[cost], logger=False, enable_checkpointing=False, **QUIET)
    for _ in range(2):
        (logged,) = trainer.validate(method, data, verbose=False)
        predictions = cost.evaluation.predictions
        assert len(predictions.video_id) == 8
        score = mean_average_precision(predictions.label_NK, predictions.score_NK)
        assert logged["val/map"] == pytest.approx(score)
        assert logged["val/gflops_per_video"] == pytest.approx(predictions.macs_N.mean() / 1e9)
        usage = [logged[f"val/usage/{name}"] for name in method.actions.names]
        assert usage == pytest.approx([(predictions.action_NT == a).mean() for a in range(len(usage))])


def _one_of_two(rank: int, folder: Path) -> None:
    method, cost, settings = make(), GFLOPsCallback(), {**QUIET, "devices": 2}
    join(settings)
    data = RandomVideos(method, num_batches=7, num_videos=1)
    data.batches = data.batches[rank::2]
    evaluation = evaluate(method, data, settings)
    trainer = make_trainer(settings, callbacks=[cost], logger=False, enable_checkpointing=False)
    (logged,) = trainer.validate(method, data, verbose=False) or ({},)
    torch.save({"test": evaluation, "val": cost.evaluation, "logged": logged}, folder / f"{rank}.pt")


@pytest.mark.slow
def test_two_processes_say_what_one_says(tmp_path: Path) -> None:
    start_ranks(_one_of_two, tmp_path)
    method = make()
    data = RandomVideos(method, num_batches=7, num_videos=1)  # seven: four for one process, three for the other
    alone = evaluate(method, data, QUIET)
    assert len(alone.predictions.video_id) == 7
    score = mean_average_precision(alone.predictions.label_NK, alone.predictions.score_NK)
    for rank in range(2):
        saved = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        assert_same(alone, saved["test"])
        assert_same(alone, saved["val"])
        if rank == 0:
            assert saved["logged"]["val/map"] == pytest.approx(score)
            assert saved["logged"]["val/gflops_per_video"] == pytest.approx(alone.predictions.macs_N.mean() / 1e9)
