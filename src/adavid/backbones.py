"""Backbones: per-frame networks from torchvision and timm behind one small interface.

A backbone's name is `library/network`:

    torchvision/resnet50            the papers' networks, ImageNet weights pinned below
    timm/efficientnet_b3.ra2_in1k   any timm EfficientNet or DPN; the tag after the dot names the weights
    narrow/8-16-32                  timm's ResNet for tiny frames: width of the stem, then channels of each stage

N rows (frames), D features, K classes.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, cast

import timm
import torchvision
from timm.layers import SelectAdaptivePool2d
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

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


class Backbone(nn.Module):
    """A network without its head: `stages` in order, then global pooling.

    Shapes: frames (N, 3, H, W) in, features (N, D) out, D = `num_features`.
    """

    def __init__(self, stages: list[nn.Module], pool: nn.Module, num_features: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.pool = pool
        self.num_features = num_features

    def forward(self, x_NCHW: Tensor) -> Tensor:
        for stage in self.stages:
            x_NCHW = stage(x_NCHW)
        return self.pool(x_NCHW).flatten(1)


class FrameClassifier(nn.Module):
    """A backbone with a linear head: one prediction a frame.

    Shapes: frames (N, 3, H, W) in, logits (N, K) out; `size` is H and W.
    """

    size: int

    def __init__(self, spec: BackboneSpec, num_classes: int, dropout: float = 0.0, pretrained: bool = False) -> None:
        super().__init__()
        self.size = spec.size
        self.backbone = build_backbone(spec.name, pretrained)
        linear = nn.Linear(self.backbone.num_features, num_classes)
        nn.init.normal_(linear.weight, std=0.001)  # as TSN and AR-Net: first predictions near uniform
        nn.init.zeros_(linear.bias)
        self.head: nn.Module = nn.Sequential(nn.Dropout(dropout), linear)

    def forward(self, frames_NCHW: Tensor) -> Tensor:
        return self.head(self.backbone(frames_NCHW))


def build_backbone(name: str, pretrained: bool = False) -> Backbone:
    """Build a backbone by name, with ImageNet weights if `pretrained`.

    Raises:
        ValueError: unknown library or network, or weights that cannot be fetched.
    """
    library, _, network = name.partition("/")
    builders = {"torchvision": _torchvision, "timm": _timm, "narrow": _narrow}
    if library not in builders or not network:
        raise ValueError(f"backbone '{name}': expected library/network, the library one of {', '.join(builders)}")
    try:
        return builders[library](network, pretrained)
    except OSError as error:  # urllib's and the hub's connection errors are both OSErrors
        raise ValueError(
            f"backbone '{name}': its ImageNet weights cannot be fetched ({error}); "
            "recipe.pretrained=false starts from random weights instead"
        ) from error


def _torchvision(network: str, pretrained: bool) -> Backbone:
    if network not in _TORCHVISION_WEIGHTS:
        raise ValueError(f"backbone 'torchvision/{network}' is unknown{_nearest(network, _TORCHVISION_WEIGHTS)}")
    weights = _TORCHVISION_WEIGHTS[network] if pretrained else None
    model = torchvision.models.get_model(network, weights=weights)
    if network == "mobilenet_v2":
        return Backbone(list(model.features), nn.AdaptiveAvgPool2d(1), model.last_channel)
    stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
    stages = [stem, model.layer1, model.layer2, model.layer3, model.layer4]
    return Backbone(stages, model.avgpool, model.fc.in_features)


def _timm(network: str, pretrained: bool) -> Backbone:
    families = ("efficientnet_", "dpn")
    if not network.startswith(families) or not timm.is_model(network):
        known = [name for family in families for name in timm.list_models(f"{family}*")]
        raise ValueError(f"backbone 'timm/{network}' is unknown{_nearest(network, known)}")
    model: Any = timm.create_model(network, pretrained=pretrained)
    if network.startswith("dpn"):
        return Backbone(list(model.features), nn.AdaptiveAvgPool2d(1), model.num_features)
    stem = nn.Sequential(model.conv_stem, model.bn1)
    top = nn.Sequential(model.conv_head, model.bn2)
    return Backbone([stem, *model.blocks, top], nn.AdaptiveAvgPool2d(1), model.num_features)


def _narrow(network: str, pretrained: bool) -> Backbone:
    """timm's ResNet for frames of a few dozen pixels: a deep stem, then one BasicBlock a stage.

    It ends in average plus maximum pooling: small evidence must not drown in the background.
    """
    if pretrained:
        raise ValueError(f"backbone 'narrow/{network}' has no pretrained weights: set recipe.pretrained=false")
    try:
        stem_width, *channels = (int(width) for width in network.split("-"))
    except ValueError:
        channels = []
    if len(channels) < 2:
        raise ValueError(f"backbone 'narrow/{network}': expected widths such as narrow/8-16-32")
    blocks = (1,) * len(channels)
    model = ResNet(cast(Any, BasicBlock), blocks, channels=tuple(channels), stem_type="deep", stem_width=stem_width)
    stem = nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool)
    stages = [stem, *(getattr(model, f"layer{i + 1}") for i in range(len(channels)))]
    return Backbone(stages, SelectAdaptivePool2d(pool_type="avgmax"), channels[-1])


def _nearest(word: str, known: object) -> str:
    match = difflib.get_close_matches(word, list(known), n=1)  # type: ignore[call-overload]
    return f"; did you mean '{match[0]}'?" if match else ""
