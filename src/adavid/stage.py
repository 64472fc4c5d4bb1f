"""One stage of training: what learns, for how long, by which loss."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stage:
    """One stage of training. Everything not named in `train` is frozen, BatchNorm statistics and dropout included.

    Attributes:
        name: shown in logs and records.
        epochs: passes over the training split.
        train: dotted names of the sub-modules that learn.
        loss: the method's function that gives this stage's loss.
        lr: learning rate.
        lr_scale: factors of it for single sub-modules, by dotted name; the longest matching name wins.
        optimizer: "sgd", "nesterov" (SGD with Nesterov's momentum) or "adamw", which without weight decay is Adam.
        momentum: of SGD.
        weight_decay: of weights; biases and norms do not decay.
        schedule: "constant", "step", "cosine" or "onecycle".
        milestones: of "step", in epochs: at each the learning rate falls to a tenth.
        clip_norm: largest gradient norm; 0 leaves gradients alone.
        freeze_norm: BatchNorm layers keep their statistics although their weights learn.
        tau: Gumbel-Softmax temperature at the start.
        tau_decay: the temperature is multiplied by exp(`tau_decay`) every epoch, in small steps.
        videos: "all" of the training split; "held_out", a fifth of it, whole groups by a hash of their names; or
            "other", the rest. What learns from how well another part of the method does needs videos that that part
            has not learnt.
    """

    name: str
    train: list[str]
    epochs: int
    loss: str = "classification_loss"
    lr: float = 0.001
    lr_scale: dict[str, float] = field(default_factory=dict)
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "constant"
    milestones: list[int] = field(default_factory=list)
    clip_norm: float = 20.0
    freeze_norm: bool = False
    tau: float = 5.0
    tau_decay: float = -0.045
    videos: str = "all"

    def __post_init__(self) -> None:
        for key, allowed in (
            ("optimizer", ("sgd", "nesterov", "adamw")),
            ("schedule", ("constant", "step", "cosine", "onecycle")),
            ("videos", ("all", "held_out", "other")),
        ):
            if getattr(self, key) not in allowed:
                raise ValueError(
                    f"stage '{self.name}': {key} is one of {', '.join(allowed)}, got '{getattr(self, key)}'"
                )
        for key in ("epochs", "lr", "tau"):
            if not getattr(self, key) > 0:  # nor is NaN
                raise ValueError(f"stage '{self.name}': {key} must be positive, got {getattr(self, key)}")
        for key in ("weight_decay", "momentum", "clip_norm"):
            if not getattr(self, key) >= 0:
                raise ValueError(f"stage '{self.name}': {key} must not be negative, got {getattr(self, key)}")
        if self.milestones and self.schedule != "step":
            raise ValueError(f"stage '{self.name}': milestones are for the schedule 'step', got '{self.schedule}'")
        if not self.train:
            raise ValueError(f"stage '{self.name}': train names no sub-module")
