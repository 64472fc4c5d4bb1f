"""Equal budgets in profile tiny: what every method's training takes, its backbones included, lies within 5 %."""

from __future__ import annotations

import pytest
import torch

from adavid.cost import Ledger
from adavid.method import AdaptiveMethod
from adavid.stage import Stage
from benchmarks.compose import compose, shared_backbones, warmup_of
from benchmarks.layers import methods_of
from benchmarks.report.references import EQUAL_TRAINING
from benchmarks.run import Run
from tests.conftest import NUM_CLASSES, random_batch

NUM_VIDEOS = 5  # one a class
SHARE = {"all": 1.0, "held_out": 0.2, "other": 0.8}  # of the training split, by what a stage says of its videos


def videos_of_an_epoch(run: Run, stage: Stage) -> int:
    """Whole batches, and no more of them than the data set's limit."""
    limit, batch_size = run.config["trainer"]["limit_train_batches"], run.config["recipe"]["batch_size"]
    num_videos = int(SHARE[stage.videos] * run.config["data"]["num_train"])
    return batch_size * min(limit, num_videos // batch_size)


def macs_per_video(method: AdaptiveMethod, stage: Stage) -> float:
    """Of training in a stage; decisions are those of an untrained method."""
    torch.manual_seed(0)
    method.enter(stage)
    method.train()
    ledger = Ledger(NUM_VIDEOS, torch.device("cpu"))
    getattr(method, stage.loss)(random_batch(method, NUM_VIDEOS), ledger)
    return ledger.train_macs / NUM_VIDEOS


@pytest.mark.slow
def test_every_method_trains_for_as_many_macs() -> None:
    of_training: dict[str, float] = {}  # by the hash of what is trained: methods share their backbones' trainings

    def macs_of_training(run: Run) -> float:
        if run.model_hash not in of_training:
            method = run.build_method(NUM_CLASSES)
            of_training[run.model_hash] = sum(
                stage.epochs * videos_of_an_epoch(run, stage) * macs_per_video(method, stage) for stage in run.stages
            )
        return of_training[run.model_hash]

    spent = {}
    for name in methods_of("tiny"):
        run = compose(name)
        warmups = [warmup_of(run, spec) for spec in dict.fromkeys(shared_backbones(run))]
        spent[name] = sum(map(macs_of_training, (run, *warmups)))
    cheapest, dearest = min(spent, key=lambda name: spent[name]), max(spent, key=lambda name: spent[name])
    assert spent[dearest] <= EQUAL_TRAINING * spent[cheapest], (dearest, cheapest, spent)
