"""A trained method by itself, for people who want the model and not the benchmark: `adavid.load(path)`.

B videos, T frames, S frames of a clip, K classes, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from adavid.checkout import checkout
from adavid.config import build, locate, schema
from adavid.cost import Ledger
from adavid.data.batch import View, whole_videos
from adavid.data.reading import Reading
from adavid.data.sources import open_source
from adavid.data.transforms import normalize
from adavid.evaluation.records import MAIN, Record
from adavid.evaluation.schema import read_json
from adavid.exported import SUFFIX, Exported, read_exported
from adavid.losses import scores_from_logits
from adavid.method import AdaptiveMethod
from adavid.training import channels_last, last_checkpoint, read_checkpoint

NOT_OF_THE_USER = ("num_classes",)  # arguments of a method that the data set gives
# Drawing values where there are none takes torch's reference implementations, which load its compiler.
FILLS = {Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_}


class Answer(NamedTuple):
    """What a method says of B videos, and what saying it cost."""

    score_BK: Tensor  # float32, sums to 1 over the classes
    action_BT: Tensor  # int64, the decision about each frame, an index into `method.actions`
    macs_B: Tensor  # int64, multiply-accumulates


@dataclass(frozen=True)
class TrainedMethod:
    """A method ready for frames.

    Attributes:
        method: in evaluation mode, on its device.
        class_names: the name of each of the K classes.
        reading: how evaluation reads a video.
    """

    method: AdaptiveMethod
    class_names: tuple[str, ...]
    reading: Reading

    @torch.inference_mode()
    def __call__(self, frames: Mapping[str, Tensor]) -> Answer:
        """Classify B videos of which the views are there.

        Args:
            frames: by view, RGB uint8 (B, T, C, H, W), or (B, T, S, C, H, W) where the method reads clips: as many
                frames, of the size, that `method.views` says.
        """
        views = self.method.views
        if frames.keys() != views.keys():
            raise ValueError(f"frames: expected the views {', '.join(views)}, got {', '.join(frames) or 'none'}")
        for name, view in views.items():
            given = frames[name]
            is_long_enough = given.ndim > 1 and (given.shape[1] == view.num_frames or self._may_be_short(given, view))
            if given.dtype != torch.uint8 or not is_long_enough or given.shape[2:] != torch.Size(view.shape[1:]):
                shape = ", ".join(map(str, view.shape))
                raise ValueError(f"frames: {name}: expected uint8 (B, {shape}), got {given.dtype} {tuple(given.shape)}")
        device = self.method.device
        num_videos = len(next(iter(frames.values())))
        on_device = {name: normalize(given.to(device)) for name, given in frames.items()}
        batch = whole_videos(on_device, len(self.class_names))
        ledger = Ledger(num_videos, device)
        output = self.method(batch, ledger)
        return Answer(scores_from_logits(output.logits_BK), output.action_BT, ledger.total_B)

    def _may_be_short(self, given: Tensor, view: View) -> bool:
        """Whether a video may have so few frames: where so many are read a second of its time."""
        return self.reading.per_second > 0 and 0 < given.shape[1] < view.num_frames

    def classify(self, path: str | Path, start: float | None = None, end: float | None = None) -> Answer:
        """Classify one video, B = 1, read as evaluation reads it.

        Args:
            path: a video file, or a folder of JPEG frames.
            start: seconds after the first frame, of the part that is meant.
            end: likewise.

        Raises:
            ValueError: it cannot be read; the message names it.
        """
        views = self.reading.read(open_source(Path(path), start, end), self.method.views)
        return self({name: frames[None] for name, frames in views.items()})


@contextmanager
def without_weights() -> Iterator[None]:
    """Networks that are built within have the shapes of their weights and none of their values."""
    with _Uninitialised(), torch.device("meta"):
        yield


class _Uninitialised(TorchFunctionMode):
    """Initialisation does nothing: of weights without values it would take most of the time."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in FILLS or getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def build_method(
    method_class: type[AdaptiveMethod], num_classes: int, settings: Mapping[str, Any], **changes: Any
) -> AdaptiveMethod:
    """An untrained method from its arguments as a configuration has them; `changes` replace some.

    Raises:
        ValueError: a setting is unknown, of the wrong type or out of range.
    """
    values = build(schema(method_class, NOT_OF_THE_USER), settings, "model")
    constructor: Any = method_class
    method: AdaptiveMethod = constructor(num_classes, **(vars(values) | changes))
    return method


def restored(
    method_class: type[AdaptiveMethod],
    num_classes: int,
    settings: Mapping[str, Any],
    checkpoint: Path,
    device: torch.device | str,
) -> AdaptiveMethod:
    """A trained method, in evaluation mode on a device, from the checkpoint of its last stage.

    Raises:
        ValueError: the checkpoint is damaged; it has been set aside.
    """
    method = channels_last(build_method(method_class, num_classes, settings))
    state = read_checkpoint(checkpoint, method)
    if state is None:
        raise ValueError(f"{checkpoint}: damaged; make bench trains the method anew")
    method.train_macs = state["train_macs"]
    return method.to(device).eval()


def load(path: str | Path, device: torch.device | str = "cpu") -> TrainedMethod:
    """The trained method of a run's folder, `results/runs/<data>/<profile>/<method>/<hash>/seed<n>`, or of one file.

    Its class is found where the checkout has it; the data set is not needed.

    Args:
        path: of the folder, with the main record and the last stage's checkpoint; or of a file of `make export`.
        device: where the method is to run.

    Raises:
        ValueError: there is no such record, no such checkpoint or file, or one of them is damaged.
    """
    checkout()
    path = Path(path)
    if path.suffix == SUFFIX:
        exported = read_exported(path)
        return _trained(exported.record, _with_weights(exported, path).to(device).eval())
    record = read_json(Record, path / f"{MAIN}.json")
    checkpoint = last_checkpoint(path, [stage.name for stage in record.training.stages])
    if not checkpoint.exists():
        raise ValueError(f"{checkpoint}: no such file; committed records come without their models: make bench")
    return _trained(record, restored(*_built_as(record), checkpoint, device))


def _built_as(record: Record) -> tuple[type[AdaptiveMethod], int, dict[str, Any]]:
    """Its class, its number of classes and its arguments, as it was evaluated."""
    config = record.config
    return locate(config["target"]), len(record.data_info.class_names), config["model"] | config["test"]


def _with_weights(exported: Exported, path: Path) -> AdaptiveMethod:
    method = channels_last(build_method(*_built_as(exported.record)))
    expected = {key: value.shape for key, value in method.state_dict().items()}
    if {key: value.shape for key, value in exported.weights.items()} != expected:
        raise ValueError(f"{path}: expected the weights of a {type(method).__name__} as its record configures it")
    method.load_state_dict(exported.weights)
    return method


def _trained(record: Record, method: AdaptiveMethod) -> TrainedMethod:
    data = record.config["data"]
    later = {key: data[key] for key in ("short_videos", "per_second") if key in data}  # records from before have none
    reading = Reading(data["resize"], data["crop"], tuple(data["scales"]), data["flip"], **later)
    return TrainedMethod(method, record.data_info.class_names, reading)
