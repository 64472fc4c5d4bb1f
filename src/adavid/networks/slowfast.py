"""SlowFast networks (Feichtenhofer, Fan, Malik, He: "SlowFast Networks for Video Recognition", ICCV 2019, table 1).

The 8x8 form with ResNet-50: of a clip of 32 frames the slow pathway reads 8, the fast one all. Where table 1 leaves
something open, as the official configuration has it (https://github.com/facebookresearch/SlowFast, read, not used):
lateral convolutions over 7 frames, BatchNorm and ReLU after them, a block's last BatchNorm starting at zero.

And as the published weights were trained: frames are normalised by one mean and deviation for all channels, the slow
pathway's 8 frames lie evenly from the first to the last (0, 4, 8, 13, 17, 22, 26, 31: not every fourth), and space is
pooled in windows of 7 x 7 cells, all that there are of a frame of 224 pixels. Of a larger one the published head gives
each window a prediction, and averages their softmaxes. What is read here is a feature, before any head: the mean over
the windows, at which a linear head says the mean of what it says at each. (The mean over all cells, which weighs those
at the border more, is what no head was trained on.)

N clips, S frames (slow S / 4), CHW: channels, height, width, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adavid.networks.normalization import Renormalize

WEIGHTS = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/SLOWFAST_8x8_R50.pyth"

CLIP, STRIDE = 32, 2  # frames of a clip, and how far apart in the video
ALPHA = 4  # frames of the fast pathway for each of the slow one
MEAN, STD = 0.45, 0.225  # that frames are normalised by
WINDOW = 7  # cells on a side that are pooled together
WIDTHS, FAST_WIDTHS = (64, 256, 512, 1024, 2048), (8, 32, 64, 128, 256)  # after the stem and each stage; beta = 1 / 8
DEPTHS = (3, 4, 6, 3)
SLOW_KERNELS = (1, 1, 3, 3)  # frames that the slow pathway's blocks see at once; the fast ones always see 3

Pathways = tuple[Tensor, Tensor]  # slow (N, C, S / 4, H, W) and fast (N, C, S, H, W)


class Split(nn.Module):
    """Clips (N, S, 3, H, W), normalised as ImageNet's, in, both pathways out."""

    def __init__(self) -> None:
        super().__init__()
        self.renormalize = Renormalize(MEAN, STD)

    def forward(self, clip_NSCHW: Tensor) -> Pathways:
        fast_NCSHW = self.renormalize(clip_NSCHW).transpose(1, 2)
        slow_S = torch.tensor(slow_frames(clip_NSCHW.shape[1]), device=clip_NSCHW.device)
        return fast_NCSHW.index_select(2, slow_S), fast_NCSHW


def slow_frames(num_frames: int) -> list[int]:
    """The frames of a clip that the slow pathway reads, evenly from the first to the last, rounded down."""
    num_slow = num_frames // ALPHA
    return [i * (num_frames - 1) // max(num_slow - 1, 1) for i in range(num_slow)]


class Bottleneck(nn.Module):
    """A residual block whose first convolution sees `frames` frames."""

    def __init__(self, num_in: int, num_out: int, frames: int, stride: int) -> None:
        super().__init__()
        inner = num_out // 4
        self.body = nn.Sequential(
            *conv_norm(num_in, inner, (frames, 1, 1)),
            nn.ReLU(inplace=True),
            *conv_norm(inner, inner, (1, 3, 3), (1, stride, stride)),
            nn.ReLU(inplace=True),
            *conv_norm(inner, num_out, (1, 1, 1)),
        )
        nn.init.zeros_(self.body[-1].weight)  # type: ignore[arg-type]
        same = num_in == num_out and stride == 1
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*conv_norm(num_in, num_out, (1, 1, 1), (1, stride, stride)))
        )

    def forward(self, x_NCSHW: Tensor) -> Tensor:
        return torch.relu(self.body(x_NCSHW) + self.shortcut(x_NCSHW))


class Stage(nn.Module):
    """Both pathways by themselves, then what the fast one tells the slow one, beside the slow one's channels."""

    def __init__(self, slow: nn.Module, fast: nn.Module, num_fast: int, lateral: bool) -> None:
        super().__init__()
        self.slow, self.fast = slow, fast
        self.lateral = (
            nn.Sequential(*conv_norm(num_fast, 2 * num_fast, (7, 1, 1), (ALPHA, 1, 1)), nn.ReLU(inplace=True))
            if lateral
            else None
        )

    def forward(self, pathways: Pathways) -> Pathways:
        slow_NCSHW, fast_NCSHW = self.slow(pathways[0]), self.fast(pathways[1])
        if self.lateral is not None:
            slow_NCSHW = torch.cat([slow_NCSHW, self.lateral(fast_NCSHW)], 1)
        return slow_NCSHW, fast_NCSHW


class PoolBoth(nn.Module):
    """Both pathways in, the mean of each over time and over windows of space side by side out: (N, D)."""

    def forward(self, pathways: Pathways) -> Tensor:
        maps = [x_NCSHW.mean(2) for x_NCSHW in pathways]
        windows = [F.avg_pool2d(x_NCHW, min(WINDOW, *x_NCHW.shape[-2:]), stride=1) for x_NCHW in maps]
        return torch.cat([x_NCHW.mean((2, 3)) for x_NCHW in windows], 1)


def slowfast_stages() -> list[nn.Module]:
    """Table 1 from the data layer to res5, with random weights."""
    layers: list[nn.Module] = [Split(), Stage(stem(WIDTHS[0], 1), stem(FAST_WIDTHS[0], 5), FAST_WIDTHS[0], True)]
    for i, (depth, frames) in enumerate(zip(DEPTHS, SLOW_KERNELS, strict=True)):
        stride = 1 if i == 0 else 2
        slow = blocks(WIDTHS[i] + 2 * FAST_WIDTHS[i], WIDTHS[i + 1], depth, frames, stride)
        fast = blocks(FAST_WIDTHS[i], FAST_WIDTHS[i + 1], depth, 3, stride)
        layers.append(Stage(slow, fast, FAST_WIDTHS[i + 1], lateral=i + 1 < len(DEPTHS)))
    for layer in layers:
        for module in layer.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return layers


def load_kinetics(stages: Sequence[nn.Module], published: Mapping[str, Any]) -> None:
    """Loads the published weights (Kinetics-400, PyTorchVideo's model zoo): what the file at `WEIGHTS` holds."""
    state = published["model_state"]
    module = nn.ModuleList(stages)
    module.load_state_dict({key: state[published_name(key)] for key in module.state_dict()})


def published_name(key: str) -> str:
    """What the published weights call a parameter or buffer of `slowfast_stages`, in a list."""
    stage, part, *place, last = key.split(".")
    block = f"blocks.{int(stage) - 1}"
    if part == "lateral":
        return f"{block}.multipathway_fusion.{('conv_fast_to_slow', 'norm')[int(place[0])]}.{last}"
    pathway = f"{block}.multipathway_blocks.{('slow', 'fast').index(part)}"
    if len(place) == 1:  # the stem
        return f"{pathway}.{('conv', 'norm')[int(place[0])]}.{last}"
    number, branch, layer = place
    if branch == "shortcut":
        return f"{pathway}.res_blocks.{number}.branch1_{('conv', 'norm')[int(layer)]}.{last}"
    convolution, kind = divmod(int(layer), 3)
    return f"{pathway}.res_blocks.{number}.branch2.{('conv', 'norm')[kind]}_{'abc'[convolution]}.{last}"


def stem(num_out: int, frames: int) -> nn.Module:
    """7 x 7 pixels and `frames` frames, then a maximum: a quarter of the resolution, all of the frames."""
    return nn.Sequential(
        *conv_norm(3, num_out, (frames, 7, 7), (1, 2, 2)),
        nn.ReLU(inplace=True),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    )


def blocks(num_in: int, num_out: int, depth: int, frames: int, stride: int) -> nn.Module:
    """A residual stage; its first block changes width and resolution."""
    return nn.Sequential(
        *(Bottleneck(num_out if i else num_in, num_out, frames, 1 if i else stride) for i in range(depth))
    )


def conv_norm(
    num_in: int, num_out: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)
) -> tuple[nn.Module, nn.Module]:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Conv3d(num_in, num_out, kernel, stride, padding, bias=False), nn.BatchNorm3d(num_out)
