"""Stages: what freezes, what learns at which rate, and errors that name the stage."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn

from adavid.actions import ActionSpace
from adavid.cost import Ledger
from adavid.data.batch import VideoBatch, View
from adavid.losses import cross_entropy
from adavid.method import AdaptiveMethod, MethodOutput
from adavid.routing import mean_of_used, run_on_frames
from adavid.stage import Stage
from tests.conftest import NUM_CLASSES, RandomVideos, random_batch


class Toy(AdaptiveMethod):
    """One frame at 4 pixels, a body with BatchNorm and dropout, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.views, self.actions = {"frames": View(2, 4)}, ActionSpace(("4",), (4,))
        layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten())
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(16, 8, bias=False), nn.BatchNorm1d(8), nn.Linear(8, NUM_CLASSES))
        self.header = nn.Linear(2, 2)  # a name that begins like another

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        frames, mask = batch.frames["frames"], batch.mask["frames"]
        whole = nn.Sequential(*self.body, *self.head)
        logits = run_on_frames(ledger, "4", whole, frames, mask, 4, frames.new_zeros(*mask.shape, NUM_CLASSES))
        return MethodOutput(mean_of_used(logits, mask), mask.long() - 1, {})


def entered(**settings: Any) -> Toy:
    method = Toy()
    method.enter(Stage("s", **{"train": ["body", "head"], "epochs": 4, **settings}))
    return method


def fit(method: Toy, *callbacks: Callback, **settings: Any) -> None:
    Trainer(
        max_epochs=method.stage.epochs,
        callbacks=list(callbacks),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        **settings,
    ).fit(method, RandomVideos(method))


# Stage


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": "adam"}, "stage 's': optimizer is one of sgd, nesterov, adamw, got 'adam'"),
        ({"schedule": "linear"}, "stage 's': schedule is one of constant, step, cosine, onecycle, got 'linear'"),
        ({"epochs": 0}, "stage 's': epochs must be positive, got 0"),
        ({"lr": -0.1}, "stage 's': lr must be positive, got -0.1"),
        ({"tau": 0.0}, "stage 's': tau must be positive, got 0.0"),
        ({"weight_decay": -1.0}, "stage 's': weight_decay must not be negative, got -1.0"),
        ({"momentum": -1.0}, "stage 's': momentum must not be negative"),
        ({"clip_norm": -1.0}, "stage 's': clip_norm must not be negative"),
        ({"milestones": [1]}, "stage 's': milestones are for the schedule 'step', got 'constant'"),
        ({"lr": math.nan}, "stage 's': lr must be positive, got nan"),
        ({"videos": "half"}, "stage 's': videos is one of all, held_out, other, got 'half'"),
        ({"train": []}, "stage 's': train names no sub-module"),
        ({"train": ["tail"]}, r"stage 's': Toy has no sub-module 'tail' \(it has body, head, header\)"),
        ({"lr_scale": {"head.9": 2.0}}, "stage 's': Toy has no sub-module 'head.9'"),
        ({"loss": "no_loss"}, "stage 's': Toy has no loss 'no_loss'"),
    ],
)
def test_stage_errors(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        entered(**settings)
    assert "\n" not in str(error.value)


# Freezing


def test_what_is_not_named_is_frozen_statistics_and_dropout_included() -> None:
    method = entered(train=["head"])
    method.train()
    frozen = {name for name, parameter in method.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in method.named_parameters() if not name.startswith("head.")}
    modes = {name: module.training for name, module in method.named_modules()}
    assert modes[""] and modes["head"] and modes["head.1"]
    assert not modes["body.1"] and not modes["body.2"] and not modes["header"]
    before = {name: buffer.clone() for name, buffer in method.named_buffers()}
    method.classification_loss(random_batch(method, 4), Ledger(4))
    moved = {name for name, buffer in method.named_buffers() if not torch.equal(buffer, before[name])}
    assert moved == {"head.1.running_mean", "head.1.running_var", "head.1.num_batches_tracked"}


def test_dotted_names_and_the_next_stage() -> None:
    method = entered(train=["head.2", "body.0"])
    learning = {name.rpartition(".")[0] for name, parameter in method.named_parameters() if parameter.requires_grad}
    assert learning == {"head.2", "body.0"}
    method.train()
    assert not method.head[1].training and not method.body[2].training
    method.enter(Stage("next", train=["body"], epochs=1))
    assert method.body[2].training and method.body[1].training and not method.head[2].weight.requires_grad
    method.eval()
    assert not any(module.training for module in method.modules())


def test_freeze_norm_keeps_statistics_but_learns_weights() -> None:
    method = entered(freeze_norm=True)
    method.train()
    before = {name: buffer.clone() for name, buffer in method.named_buffers()}
    method.classification_loss(random_batch(method, 4), Ledger(4))["loss"].backward()
    assert all(torch.equal(buffer, before[name]) for name, buffer in method.named_buffers())
    assert method.body[1].weight.grad.abs().sum() > 0 and method.body[2].training


def test_fitting_keeps_frozen_modules_as_they_are() -> None:
    method = entered(train=["head"], lr=0.1, epochs=1)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    fit(method)
    for name, value in method.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("head."), name


# Optimizer and schedule


def groups_of(method: Toy, num_steps: int = 8) -> tuple[torch.optim.Optimizer, Any]:
    method._num_steps = lambda: num_steps  # type: ignore[method-assign]
    configured = method.configure_optimizers()
    return configured["optimizer"], configured["lr_scheduler"]["scheduler"]


def test_the_longest_name_scales_and_only_matrices_decay() -> None:
    method = entered(lr=0.1, weight_decay=0.01, lr_scale={"head": 2.0, "head.2": 5.0}, optimizer="adamw")
    optimizer, _ = groups_of(method)
    assert isinstance(optimizer, torch.optim.AdamW)
    of = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    expected = {
        method.body[0].weight: (0.1, 0.01),
        method.body[0].bias: (0.1, 0.0),
        method.body[1].weight: (0.1, 0.0),
        method.head[0].weight: (0.2, 0.01),
        method.head[1].bias: (0.2, 0.0),
        method.head[2].weight: (0.5, 0.01),
        method.head[2].bias: (0.5, 0.0),
    }
    for parameter, settings in expected.items():
        assert of[id(parameter)] == settings
    assert len(of) == sum(parameter.requires_grad for parameter in method.parameters()) == 9


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1.0] * 8),
        ("step", [1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        ("cosine", [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]),
    ],
)
def test_schedules(schedule: str, expected: list[float]) -> None:
    milestones = {"milestones": [1, 3]} if schedule == "step" else {}
    optimizer, scheduler = groups_of(entered(schedule=schedule, lr=0.5, lr_scale={"head": 2.0}, **milestones))
    factors = []
    for _ in range(8):  # 4 epochs of 2 steps
        factors.append([group["lr"] / group["initial_lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert {group["initial_lr"] for group in optimizer.param_groups} == {0.5, 1.0}
    for step, value in enumerate(expected):
        assert factors[step] == pytest.approx([value] * len(optimizer.param_groups)), step


def test_onecycle() -> None:
    optimizer, scheduler = groups_of(entered(schedule="onecycle", lr=0.5, lr_scale={"head": 2.0}), num_steps=11)
    rates: dict[float, list[float]] = {0.5: [], 1.0: []}
    for _ in range(11):
        for group in optimizer.param_groups:
            rates[group["max_lr"]].append(group["lr"])
        optimizer.step()
        if len(rates[1.0]) < 11 * 2:
            scheduler.step()
    for peak, values in rates.items():
        assert values[0] == pytest.approx(peak / 25) and max(values) <= peak * (1 + 1e-9)
        assert max(values) > 0.95 * peak and values[-1] == pytest.approx(peak / 25 / 1e4)


def test_temperature_falls_by_the_epoch_over_steps() -> None:
    class Recorder(Callback):
        seen: list[float] = []

        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
            self.seen.append(pl_module.temperature)

    method = entered(epochs=3, tau=5.0, tau_decay=-0.4, lr=1e-4)
    fit(method, Recorder())
    assert Recorder.seen == pytest.approx([5.0 * math.exp(-0.4 * step / 2) for step in range(6)])


@pytest.mark.parametrize("clip_norm", [0.0, 1e-3])
def test_clip_norm(clip_norm: float) -> None:
    method = entered(epochs=1, lr=1.0, momentum=0.0, weight_decay=0.0, clip_norm=clip_norm)
    before = [parameter.detach().clone() for parameter in method.parameters()]
    fit(method, limit_train_batches=1)
    pairs = zip(method.parameters(), before, strict=True)
    moved = sum(float((new - old).detach().square().sum()) for new, old in pairs) ** 0.5
    assert moved == pytest.approx(1e-3, rel=1e-2) if clip_norm else moved > 0.01


def test_checkpoint_carries_what_training_cost() -> None:
    method = entered(epochs=1)
    fit(method)
    assert method.train_macs > 0
    checkpoint: dict[str, Any] = {}
    method.on_save_checkpoint(checkpoint)
    twin = Toy()
    twin.on_load_checkpoint(checkpoint)
    assert twin.train_macs == method.train_macs


def test_cross_entropy_shares_the_target_among_labels() -> None:
    logits_BK = torch.tensor([[1.0, 2.0, 0.0], [0.0, 3.0, 1.0]])
    label_BK = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    log_BK = logits_BK.log_softmax(-1)
    expected_B = torch.stack([-log_BK[0, 0], -(log_BK[1, 1] + log_BK[1, 2]) / 2])
    torch.testing.assert_close(cross_entropy(logits_BK, label_BK), expected_B)


class TwoViews(Toy):
    """Its networks see frames that it does not name as a view of its own."""

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        output = super().forward(batch, ledger, forced, dense)
        video_N, frame_N = batch.mask["frames"].nonzero(as_tuple=True)
        ledger.read("large", video_N, frame_N)
        return output


def test_what_is_seen_is_of_the_methods_views() -> None:
    method = TwoViews()
    method.enter(Stage("s", train=["body", "head"], epochs=1))
    words = (
        "^TwoViews: a network saw frames of the view 'large', expected one of frames: "
        r"run_on_frames\(..., view=...\) names it$"
    )
    with pytest.raises(ValueError, match=words):
        fit(method)
    with pytest.raises(ValueError, match=words):
        method.validation_step(random_batch(method, 2), 0)
