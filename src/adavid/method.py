"""What every method is: a LightningModule that routes, pays through a ledger, and trains in stages.

B videos, T frames (CHW: channels, height, width), K classes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from adavid import ranks
from adavid.actions import ActionSpace
from adavid.cost import Ledger
from adavid.data.batch import VideoBatch, View
from adavid.kept import KeptFeatures
from adavid.losses import cross_entropy
from adavid.networks.backbones import BackboneSpec
from adavid.stage import Stage


class MethodOutput(NamedTuple):
    """What a method answers for B videos."""

    logits_BK: Tensor  # the video's prediction, before softmax
    action_BT: Tensor  # int64, index into the method's actions; -1 on padding
    aux: dict[str, Tensor]  # whatever the method's own losses need


class Chunk(NamedTuple):
    """The next T frames, one or more, of B videos, and how to take them in: what a causal method steps by."""

    frames_BTCHW: Tensor  # float32, normalised; (B, T, S, C, H, W) where the view is of clips of S frames
    mask_BT: Tensor  # bool, False = padding
    forced_BT: Tensor | None = None  # int64, decisions from outside as `action_BT` has them; None: the method's own
    dense: bool = False  # run every branch on every frame


class AdaptiveMethod(LightningModule, ABC):
    """Base of every method.

    A subclass sets `views` and `actions`, says which sub-modules start from shared backbones, and defines
    `forward` and its losses. In evaluation `forward` routes sparsely (a branch sees only its rows); losses call it
    with `dense=True` (every branch sees every frame, weighted by the decision, so that gradients flow).

    Attributes:
        views: what it reads of a video, by name; decisions are about the frames of the first.
        actions: the decisions that it may take.
        fewest_videos: that a batch must hold for the method to train on it, such as 2 for BatchNorm over videos.
        test_time: arguments of the constructor that training makes no use of: they stand in the section `test`.
    """

    views: Mapping[str, View]
    actions: ActionSpace
    fewest_videos: ClassVar[int] = 1
    test_time: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.stage: Stage | None = None  # set by `enter`; None while evaluating
        self.temperature = 1.0
        # Spent in training, up to the end of the last epoch, by all ranks; NaN: it was trained elsewhere.
        self.train_macs: float = 0
        self.course: dict[str, list[float]] = {}  # what losses and their terms were, "stage/term", a mean an epoch
        self._epoch_macs = 0  # of this epoch's batches, by this rank
        self._terms: list[tuple[int, dict[str, Tensor]]] = []  # of this epoch's batches, with their numbers of videos
        self.kept: KeptFeatures | None = None  # of frozen networks, in the stage under way

    # What a method says of itself

    @abstractmethod
    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        """Classify B videos and bill the ledger.

        Args:
            batch: frames by view, float32 (B, T, 3, H, W), with masks (B, T).
            ledger: who pays, and for what.
            forced: decisions (B, T) taken from outside, as `action_BT` has them; None lets the method decide.
            dense: run every branch on every frame; the answer is the same, the bill is not.
        """

    def shared_backbones(self) -> dict[str, BackboneSpec]:
        """Sub-modules (FrameClassifiers, by dotted name) that start from a shared fine-tuned backbone."""
        return {}

    def classification_loss(self, batch: VideoBatch, ledger: Ledger) -> dict[str, Tensor]:
        """Cross-entropy of the video's prediction."""
        return {"loss": cross_entropy(self(batch, ledger, dense=True).logits_BK, batch.label_BK).mean()}

    @classmethod
    def check_batch(cls, num_videos: int, where: str) -> None:
        """Refuse to train on batches that are too small for the method.

        Args:
            num_videos: of a batch, or of all that there are.
            where: what says the number, such as "recipe.batch_size".

        Raises:
            ValueError: they are fewer than `fewest_videos`.
        """
        if num_videos < cls.fewest_videos:
            raise ValueError(f"{where}: {cls.__name__} trains on {cls.fewest_videos} videos or more, got {num_videos}")

    # Training, one stage at a time

    def enter(self, stage: Stage) -> None:
        """Freeze what `stage` does not train and remember its hyper-parameters.

        Raises:
            ValueError: the stage names a sub-module or loss that the method does not have.
        """
        known = {name for name, _ in self.named_modules() if name}
        for name in [*stage.train, *stage.lr_scale]:
            if name not in known:
                top = ", ".join(name for name, _ in self.named_children())
                raise ValueError(
                    f"stage '{stage.name}': {type(self).__name__} has no sub-module '{name}' (it has {top})"
                )
        if not callable(getattr(self, stage.loss, None)):
            raise ValueError(f"stage '{stage.name}': {type(self).__name__} has no loss '{stage.loss}'")
        self.stage = stage
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(is_inside(name, stage.train))
        self.train(self.training)

    def train(self, mode: bool = True) -> AdaptiveMethod:
        super().train(mode)
        if mode and self.stage is not None:
            for name, module in self.named_modules():
                learns = is_inside(name, self.stage.train) or contains_any(name, self.stage.train)
                if not learns or (self.stage.freeze_norm and isinstance(module, _BatchNorm)):
                    module.training = False
        return self

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        assert self.stage is not None
        self.check_batch(len(batch.video_id), f"stage '{self.stage.name}'")
        progress = self.trainer.global_step / max(1, self._num_steps()) * self.stage.epochs
        self.temperature = self.stage.tau * math.exp(self.stage.tau_decay * progress)
        ledger = Ledger(len(batch.video_id), self.device, self.kept, training=True)
        terms = getattr(self, self.stage.loss)(batch, ledger)
        self._check_reads(ledger)
        self._epoch_macs += ledger.train_macs
        logged = {f"{self.stage.name}/{name}": value.detach() for name, value in terms.items()}
        self._terms.append((len(batch.video_id), dict(logged)))
        logged[f"{self.stage.name}/temperature"] = torch.tensor(self.temperature)
        self.log_dict(logged, batch_size=len(batch.video_id), on_step=True, prog_bar=False)
        return terms["loss"]

    def on_train_epoch_start(self) -> None:
        self._epoch_macs, self._terms = 0, []

    def on_train_epoch_end(self) -> None:
        """Adds the epoch, as all ranks have gone through it, to the bill and the course: means over its videos."""
        self.train_macs += sum(ranks.gathered(self._epoch_macs))
        nums = torch.tensor([num for num, _ in self._terms], dtype=torch.float64)
        num_N = torch.cat(ranks.gathered(nums))
        for name in self._terms[0][1]:
            values = torch.stack([terms[name] for _, terms in self._terms]).double().cpu()
            mean = float((torch.cat(ranks.gathered(values)) * num_N).sum() / num_N.sum())
            self.course.setdefault(name, []).append(float(f"{mean:.6g}"))
        if self.kept is not None:  # a picture that one rank has been given is new to none
            for seen in ranks.gathered(self.kept.seen):
                for network, pictures in seen.items():
                    self.kept.seen.setdefault(network, set()).update(pictures)

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> dict[str, Any]:
        return self._evaluate(batch)

    def test_step(self, batch: VideoBatch, batch_idx: int) -> dict[str, Any]:
        return self._evaluate(batch)

    def _evaluate(self, batch: VideoBatch) -> dict[str, Any]:
        ledger = Ledger(len(batch.video_id), self.device)
        output = self(batch, ledger, batch.forced_BT)
        self._check_reads(ledger)
        return {"output": output, "ledger": ledger}

    def _check_reads(self, ledger: Ledger) -> None:
        """What networks saw is of the method's own views: the decoder's bill follows from it."""
        for view in {read.view for read in ledger.reads} - self.views.keys():
            raise ValueError(
                f"{type(self).__name__}: a network saw frames of the view '{view}', expected one of "
                f"{', '.join(self.views)}: run_on_frames(..., view=...) names it"
            )

    def configure_optimizers(self) -> Any:
        assert self.stage is not None
        stage = self.stage
        groups = [
            {"params": parameters, "lr": stage.lr * scale, "weight_decay": decay}
            for scale, decay, parameters in self._parameter_groups()
        ]
        if stage.optimizer == "adamw":
            optimizer: torch.optim.Optimizer = torch.optim.AdamW(groups)
        else:
            optimizer = torch.optim.SGD(groups, momentum=stage.momentum, nesterov=stage.optimizer == "nesterov")
        num_steps = self._num_steps()
        if stage.schedule == "onecycle":
            peaks: Any = [group["lr"] for group in groups]
            schedule: Any = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=num_steps)
        else:
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._decay(step / num_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
        assert self.stage is not None
        if self.stage.clip_norm:
            self.clip_gradients(optimizer, gradient_clip_val=self.stage.clip_norm, gradient_clip_algorithm="norm")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["train_macs"] = self.train_macs
        checkpoint["course"] = self.course
        checkpoint["seen"] = {} if self.kept is None else self.kept.seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.train_macs = checkpoint["train_macs"]
        self.course = checkpoint.get("course", {})  # none in one that an earlier version wrote, as of what follows
        if self.kept is not None:
            self.kept.seen = checkpoint.get("seen", {})

    def _num_steps(self) -> int:
        return int(self.trainer.estimated_stepping_batches)

    def _decay(self, progress: float) -> float:
        assert self.stage is not None
        if self.stage.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        if self.stage.schedule == "step":
            return 0.1 ** sum(progress * self.stage.epochs >= milestone for milestone in self.stage.milestones)
        return 1.0

    def _parameter_groups(self) -> Iterator[tuple[float, float, list[nn.Parameter]]]:
        """(learning-rate multiplier, weight decay, parameters): biases and norms do not decay."""
        assert self.stage is not None
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                names = [part for part in self.stage.lr_scale if is_inside(name, [part])]
                scale = self.stage.lr_scale[max(names, key=len)] if names else 1.0
                decay = self.stage.weight_decay if parameter.ndim > 1 else 0.0
                groups.setdefault((scale, decay), []).append(parameter)
        for (scale, decay), parameters in groups.items():
            yield scale, decay, parameters


class CausalMethod(AdaptiveMethod):
    """A method whose answer at any frame depends on this frame and those before it, so that it can run online.

    `forward` takes in all frames in one `step`; the online predictor (adavid.online) takes one frame a step. Both then
    ask for the `answer`. The state is the method's own: a tuple of tensors with videos on the leading axis. A frame may
    be a clip, which is there once its last frame is.
    """

    @abstractmethod
    def init_state(self, num_videos: int) -> Any:
        """Where B videos stand before their first frame."""

    @abstractmethod
    def step(self, chunk: Chunk, state: Any, ledger: Ledger) -> tuple[Any, Tensor, dict[str, Tensor]]:
        """Take in the next frames of each video and bill the ledger.

        Returns:
            the next state, the decisions `action_BT` (-1 on padding) and whatever the method's own losses need.
        """

    @abstractmethod
    def answer(self, state: Any, ledger: Ledger) -> Tensor:
        """The prediction (B, K), before softmax, from all frames so far."""

    def has_ended(self, state: Any) -> Tensor | bool:
        """Which videos (B,) no further frame can change: none, unless the method ends them early."""
        return False

    def forward(
        self, batch: VideoBatch, ledger: Ledger, forced: Tensor | None = None, dense: bool = False
    ) -> MethodOutput:
        chunk = Chunk(batch.frames["frames"], batch.mask["frames"], forced, dense)
        state, action_BT, aux = self.step(chunk, self.init_state(len(chunk.mask_BT)), ledger)
        return MethodOutput(self.answer(state, ledger), action_BT, aux)


def is_inside(name: str, parts: Iterable[str]) -> bool:
    """Whether a dotted name is one of `parts` or lies inside one of them: `head.fc` inside `head`."""
    return any(name == part or name.startswith(part + ".") for part in parts)


def contains_any(name: str, parts: Iterable[str]) -> bool:
    """Whether one of `parts` lies inside a dotted name; inside "", the whole, lies every one."""
    return any(not name or part.startswith(name + ".") for part in parts)
