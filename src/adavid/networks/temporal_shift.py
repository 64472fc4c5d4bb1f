"""Temporal shift: a network of frames that exchanges some of its channels between neighbouring frames, at no cost.

Lin, Gan, Han: "TSM: Temporal Shift Module for Efficient Video Understanding", ICCV 2019, section 3. Official code:
https://github.com/mit-han-lab/temporal-shift-module (MIT; read, not used).

An eighth of the channels, unless another part is asked for, comes from the next frame, as much from the one before,
zeros beyond the ends, in front of the first convolution of every residual block ("residual shift"): of all blocks of a
ResNet, of every second one of each stage in networks as deep as ResNet-101, and of MobileNetV2's blocks that have a
shortcut. EfficientNets are made of the same blocks, which the paper did not try.

N videos, T frames (CHW: channels, height, width).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models._efficientnet_blocks import InvertedResidual as EfficientBlock
from timm.models.resnet import BasicBlock as NarrowBlock
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck

DIVISOR = 8  # the part of the channels that comes from each side
DEEP = 23  # blocks of the longest stage; from these on every second block shifts


class TemporalShift(nn.Module):
    """Shifts the channels of videos whose frames come one after another, before a convolution.

    Shapes: (N * T, C, H, W) in, the convolution's out.
    """

    def __init__(self, convolution: nn.Module, num_segments: int, divisor: int = DIVISOR) -> None:
        super().__init__()
        self.convolution, self.num_segments, self.divisor = convolution, num_segments, divisor

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(shift(x, self.num_segments, self.divisor))


def shift(x: Tensor, num_segments: int, divisor: int = DIVISOR) -> Tensor:
    """Frames (N * T, C, H, W) with an eighth of the channels from the next one and an eighth from the one before."""
    x_NTCHW = x.unflatten(0, (-1, num_segments))
    fold = x.shape[1] // divisor
    from_next = F.pad(x_NTCHW[:, 1:, :fold], (0, 0, 0, 0, 0, 0, 0, 1))
    from_last = F.pad(x_NTCHW[:, :-1, fold : 2 * fold], (0, 0, 0, 0, 0, 0, 1, 0))
    return torch.cat([from_next, from_last, x_NTCHW[:, :, 2 * fold :]], 2).flatten(0, 1)


def insert(stages: nn.Sequential, num_segments: int, divisor: int, name: str) -> None:
    """Let the residual blocks of a network's stages shift.

    Raises:
        ValueError: the network has no blocks for which the paper says where.
    """
    residual = (BasicBlock, Bottleneck, NarrowBlock)
    blocks = [[module for module in stage.modules() if isinstance(module, residual)] for stage in stages]
    inverted = [module for module in stages.modules() if isinstance(module, InvertedResidual)]
    efficient = [module for module in stages.modules() if isinstance(module, EfficientBlock)]
    if not any(blocks) and not inverted and not efficient:
        known = "ResNets, MobileNetV2 and EfficientNets"
        raise ValueError(f"backbone 'tsm/{num_segments}/{name}': temporal shift is for {known}")
    step = 2 if max(map(len, blocks)) >= DEEP else 1
    for block in (block for of_stage in blocks for block in of_stage[::step]):
        block.conv1 = TemporalShift(block.conv1, num_segments, divisor)
    for block in inverted:
        if block.use_res_connect:
            block.conv[0] = TemporalShift(block.conv[0], num_segments, divisor)
    for block in efficient:
        if block.has_skip:
            block.conv_pw = TemporalShift(block.conv_pw, num_segments, divisor)
