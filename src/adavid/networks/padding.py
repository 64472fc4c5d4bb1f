"""TensorFlow's "same" padding, made for one size: what EfficientNets were given that left TensorFlow for torch.

With a stride of 2 an odd map is padded by one more than an even one. timm's networks look at each map anew; AR-Net's
(efficientnet_pytorch) are made for the size that each network was published at, and pad every picture as one of that
size. At that size the two are the same.

N frames, C channels, H height, W width.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn


class FixedPadding(nn.Conv2d):
    """A convolution that pads (N, C, H, W) on the left and above by `before` and on the right and below by `after`."""

    before: int
    after: int

    def forward(self, x_NCHW: Tensor) -> Tensor:
        padded_NCHW = F.pad(x_NCHW, (self.before, self.after, self.before, self.after))
        return self._conv_forward(padded_NCHW, self.weight, self.bias)


def fix_padding(network: nn.Module, size: int) -> None:
    """Lets the convolutions that look at each map pad all maps as they pad those of frames of `size` pixels.

    They stand in the order in which they run, and no other layer makes maps smaller.
    """
    for module in network.modules():
        if isinstance(module, Conv2dSame):
            kernel, stride = module.kernel_size[0], module.stride[0]
            rounded_up = -(-size // stride)
            missing = max((rounded_up - 1) * stride + kernel - size, 0)
            module.__class__ = FixedPadding  # type: ignore[assignment]  # the same weights under the same name
            fixed = cast(FixedPadding, module)
            fixed.before, fixed.after = missing // 2, missing - missing // 2
            size = rounded_up
