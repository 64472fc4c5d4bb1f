"""Fitting in stages: a killed run ends where an uninterrupted one does, a diverged one is said as such."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from adavid.cost import Ledger
from adavid.data.batch import VideoBatch
from adavid.networks.backbones import BackboneSpec
from adavid.stage import Stage
from adavid.training import Diverged, evaluate, fit, make_trainer
from methods.random_policy import RandomPolicy
from methods.uniform import Uniform
from tests.conftest import NUM_CLASSES, RandomVideos, opinionated

STAGES = [
    Stage("first", train=["classifier"], epochs=1, lr=0.01),
    Stage("second", train=["classifier"], epochs=3, lr=0.01, optimizer="adamw", schedule="onecycle"),
]
TRAINER = {"accelerator": "cpu", "enable_progress_bar": False}


class Killed(Exception):
    pass


class Kill(Callback):
    """Raises in a stage, at a batch of an epoch; counts the batches before."""

    def __init__(self, stage: str = "", epoch: int = 0, batch: int = 0) -> None:
        self.at, self.batches = (stage, epoch, batch), []

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        here = (pl_module.stage.name, trainer.current_epoch, batch_idx)
        if here == self.at:
            raise Killed
        self.batches.append(here)


def make(seed: int = 0) -> Uniform:
    torch.manual_seed(seed)
    return Uniform(NUM_CLASSES, BackboneSpec("narrow/4-4-8", 16), num_frames=2, dropout=0.5)


def run(folder: Path, callback: Callback, method: Uniform | None = None, seed: int = 0) -> Uniform:
    method = method or make()
    fit(method, STAGES, lambda stage: RandomVideos(method), folder, seed, TRAINER, [callback])
    return method


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Uniform, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return run(folder, Kill()), folder


def test_one_file_a_stage_and_a_finished_run_is_loaded(whole: tuple[Uniform, Path]) -> None:
    method, folder = whole
    assert sorted(path.name for path in folder.iterdir()) == ["0-first.pt", "1-second.pt"]
    callback = Kill()
    again = run(folder, callback, make(seed=1))
    assert not callback.batches and again.stage is None and again.train_macs == method.train_macs > 0
    assert again.course == method.course
    for name, value in method.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize(("stage", "epoch", "batch"), [("first", 0, 1), ("second", 0, 0), ("second", 2, 1)])
def test_a_killed_run_goes_on(whole: tuple[Uniform, Path], tmp_path: Path, stage: str, epoch: int, batch: int) -> None:
    with pytest.raises(Killed):
        run(tmp_path, Kill(stage, epoch, batch))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == {"first": [], "second": ["0-first.pt"] + ["1-second.ckpt"] * (epoch > 0)}[stage]
    callback = Kill()
    # What a stage starts from is the caller's: the same seed gives it. Everything later comes from the files.
    method = run(tmp_path, callback, make(seed=0 if stage == "first" else 1))
    assert callback.batches[0] == (stage, epoch, 0), "the broken epoch starts anew, finished ones do not run again"
    assert method.train_macs == whole[0].train_macs and method.course == whole[0].course
    for name, value in whole[0].state_dict().items():
        assert torch.equal(method.state_dict()[name], value), name


def test_the_course_of_a_training_is_the_mean_of_every_epoch(tmp_path: Path) -> None:
    class Losses(Callback):
        def __init__(self) -> None:
            self.of: dict[tuple[str, int], list[float]] = {}

        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, *args: Any) -> None:
            self.of.setdefault((pl_module.stage.name, trainer.current_epoch), []).append(float(outputs["loss"]))

    losses = Losses()
    course = run(tmp_path, losses).course
    assert {name: len(means) for name, means in course.items()} == {"first/loss": 1, "second/loss": 3}
    for (stage, epoch), values in losses.of.items():  # batches of as many videos
        assert course[f"{stage}/loss"][epoch] == pytest.approx(sum(values) / len(values), rel=1e-5)


def test_every_stage_that_is_trained_gets_data_of_its_own(whole: tuple[Uniform, Path], tmp_path: Path) -> None:
    method, asked = make(), []

    def data(stage: int) -> RandomVideos:
        asked.append(stage)
        return RandomVideos(method)

    fit(method, STAGES, data, tmp_path, 0, TRAINER)
    fit(method, STAGES, data, tmp_path, 0, TRAINER)
    assert asked == [0, 1]


def test_another_seed_is_another_run(whole: tuple[Uniform, Path], tmp_path: Path) -> None:
    other = run(tmp_path, Kill(), seed=1)
    assert any(not torch.equal(other.state_dict()[name], value) for name, value in whole[0].state_dict().items())


def test_every_epoch_has_a_seed_of_its_own(tmp_path: Path) -> None:
    class Recorder(Callback):
        def __init__(self) -> None:
            self.seeds: dict[Any, int] = {}

        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
            self.seeds[pl_module.stage.name, trainer.current_epoch] = torch.initial_seed()

    first, again, other = Recorder(), Recorder(), Recorder()
    for i, (recorder, seed) in enumerate(((first, 0), (again, 0), (other, 1))):
        torch.manual_seed(i)
        run(tmp_path / str(i), recorder, seed=seed)
    assert first.seeds == again.seeds
    assert len({*first.seeds.values(), *other.seeds.values()}) == 2 * (1 + 3)


class Diverging(Uniform):
    """From an epoch on the loss is NaN; or it is finite, and its gradient is not."""

    def classification_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        loss = super().classification_loss(batch, ledger)["loss"]
        if self.stage is not None and self.stage.name == "second" and self.trainer.current_epoch >= 1:
            (weight, *_) = self.classifier.head.parameters()
            loss = loss * torch.nan if self.by_loss else loss + (weight - weight.detach()).sum().sqrt()
        return {"loss": loss}


def fit_diverging(folder: Path, by_loss: bool, trainer: dict[str, Any], callback: Callback) -> None:
    method = Diverging(NUM_CLASSES, BackboneSpec("narrow/4-4-8", 16), num_frames=2)
    method.by_loss = by_loss
    data = RandomVideos(method)
    fit(method, STAGES, lambda stage: data, folder, 0, trainer, [callback], section="recipe.warmup")


@pytest.mark.parametrize("by_loss", [True, False], ids=["loss", "weights"])
@pytest.mark.parametrize("validates", [True, False])
def test_a_diverged_training_is_said_as_such_and_not_kept(tmp_path: Path, by_loss: bool, validates: bool) -> None:
    words = (
        r"^stage 'second' diverged in epoch 2: its loss or a weight is not finite; "
        r"try a lower recipe.warmup.second.lr than 0.01$"
    )
    trainer = TRAINER if validates else {**TRAINER, "limit_val_batches": 0}
    for first_epoch in (0, 1):  # again: what was kept is from before
        callback = Kill()
        with pytest.raises(Diverged, match=words):
            fit_diverging(tmp_path, by_loss, trainer, callback)
        epochs = [epoch for stage, epoch, _ in callback.batches if stage == "second"]
        assert epochs == [epoch for epoch in (0, 1) if epoch >= first_epoch for _ in range(2)]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["0-first.pt", "1-second.ckpt"]
        kept = torch.load(tmp_path / "1-second.ckpt", weights_only=False)
        assert kept["epoch"] == 0 and all(value.isfinite().all() for value in kept["state_dict"].values())


def test_a_batch_below_the_methods_fewest_is_refused_before_a_step(tmp_path: Path) -> None:
    class Pairs(Uniform):
        fewest_videos = 2

    method = Pairs(NUM_CLASSES, BackboneSpec("narrow/4-4-8", 16), num_frames=2)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    with pytest.raises(ValueError, match=r"^stage 'first': Pairs trains on 2 videos or more, got 1$"):
        fit(method, STAGES, lambda stage: RandomVideos(method, num_videos=1), tmp_path, 0, TRAINER)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"^recipe.batch_size: Pairs trains on 2 videos or more, got 1$"):
        Pairs.check_batch(1, "recipe.batch_size")
    Pairs.check_batch(2, "recipe.batch_size")
    fit(method, STAGES[:1], lambda stage: RandomVideos(method, num_videos=2), tmp_path, 0, TRAINER)


def test_evaluate_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    method = make().eval()
    data = RandomVideos(method)
    evaluation = evaluate(method, data, TRAINER)
    assert len(evaluation.predictions.video_id) == 8 and not list(tmp_path.iterdir())
    assert evaluation.components == {"16": pytest.approx(evaluation.predictions.macs_N.mean() / 1e9)}


def test_evaluate_with_decisions_from_outside() -> None:
    specs = [BackboneSpec("narrow/4-8-8", 24), BackboneSpec("narrow/4-4-8", 16)]
    method = opinionated(RandomPolicy(NUM_CLASSES, specs, num_frames=3))
    data = RandomVideos(method)
    own = evaluate(method, data, TRAINER).predictions
    decided = {video_id: torch.tensor([0, i % 3, 1]) for i, video_id in enumerate(own.video_id.tolist())}
    forced = evaluate(method, data, TRAINER, "val", decided).predictions
    assert forced.action_NT.tolist() == [[0, i % 3, 1] for i in range(8)] != own.action_NT.tolist()
    again = evaluate(method, data, TRAINER).predictions
    assert again.action_NT.tolist() == own.action_NT.tolist()


def test_full_precision_is_float32_and_mixed_precision_may_take_tf32() -> None:
    for precision, may_take_tf32 in {"bf16-mixed": True, "32-true": False}.items():
        make_trainer({"accelerator": "cpu", "precision": precision}, logger=False, enable_checkpointing=False)
        assert torch.backends.cudnn.allow_tf32 is may_take_tf32
    torch.backends.cudnn.allow_tf32 = True
    make_trainer({"accelerator": "cpu"}, logger=False, enable_checkpointing=False)
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
