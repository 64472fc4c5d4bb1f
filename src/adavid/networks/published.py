"""What others call the weights of a network: the namings in which ResNets, MobileNetV2 and EfficientNets are published.

Networks here name their weights by stage (`Backbone`); a released file names them as the code did that trained it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from adavid.networks.backbones import Backbone

Rules = Mapping[str, str]  # regular expressions of our keys, and what stands there in theirs; the first that fits

# Keys begin with the number of the stage that holds the first weights, from 0.
NAMINGS: Mapping[str, Rules] = {
    "torchvision's ResNet": {
        r"0\.0\.": "conv1.",
        r"0\.1\.": "bn1.",
        r"([1-4])\.": r"layer\1.",
    },
    "a ResNet as a sequence of its children": {
        r"0\.([01])\.": r"\1.",
        r"1\.": "4.",
        r"2\.": "5.",
        r"3\.": "6.",
        r"4\.": "7.",
    },
    "torchvision's MobileNetV2": {
        r"": "features.",
    },
    "MobileNetV2 with blocks numbered flat, as torchvision's were before 0.4": {
        r"(0|18)\.": r"features.\1.",
        r"1\.conv\.0\.([01])\.": r"features.1.conv.\1.",
        r"1\.conv\.1\.": "features.1.conv.3.",
        r"1\.conv\.2\.": "features.1.conv.4.",
        r"(\d+)\.conv\.0\.(?:convolution\.)?1\.": r"features.\1.conv.1.",
        r"(\d+)\.conv\.0\.0\.": r"features.\1.conv.0.",
        r"(\d+)\.conv\.0\.convolution\.0\.": r"features.\1.conv.0.net.",
        r"(\d+)\.conv\.1\.0\.": r"features.\1.conv.3.",
        r"(\d+)\.conv\.1\.1\.": r"features.\1.conv.4.",
        r"(\d+)\.conv\.2\.": r"features.\1.conv.6.",
        r"(\d+)\.conv\.3\.": r"features.\1.conv.7.",
    },
    "MMAction's MobileNetV2": {
        r"0\.0\.": "conv1.conv.",
        r"0\.1\.": "conv1.bn.",
        r"18\.0\.": "conv2.conv.",
        r"18\.1\.": "conv2.bn.",
        r"1\.conv\.0\.0\.": "layer1.0.conv.0.conv.",
        r"1\.conv\.0\.1\.": "layer1.0.conv.0.bn.",
        r"1\.conv\.1\.": "layer1.0.conv.1.conv.",
        r"1\.conv\.2\.": "layer1.0.conv.1.bn.",
        r"(\d+)\.conv\.([01])\.0\.": r"block\1.conv.\2.conv.",
        r"(\d+)\.conv\.([01])\.1\.": r"block\1.conv.\2.bn.",
        r"(\d+)\.conv\.0\.convolution\.0\.": r"block\1.conv.0.net.conv.",
        r"(\d+)\.conv\.0\.convolution\.1\.": r"block\1.conv.0.net.bn.",
        r"(\d+)\.conv\.2\.": r"block\1.conv.2.conv.",
        r"(\d+)\.conv\.3\.": r"block\1.conv.2.bn.",
    },
    "efficientnet_pytorch's EfficientNet": {
        r"0\.0\.": "_conv_stem.",
        r"0\.1\.": "_bn0.",
        r"8\.0\.": "_conv_head.",
        r"8\.1\.": "_bn1.",
        r"(\d+)\.(\d+)\.se\.conv_(reduce|expand)\.": r"stage\1.\2._se_\3.",
        r"1\.(\d+)\.conv_dw\.": r"stage1.\1._depthwise_conv.",  # blocks without expansion come first
        r"1\.(\d+)\.bn1\.": r"stage1.\1._bn1.",
        r"1\.(\d+)\.conv_pw\.": r"stage1.\1._project_conv.",
        r"1\.(\d+)\.bn2\.": r"stage1.\1._bn2.",
        r"(\d+)\.(\d+)\.conv_pw\.": r"stage\1.\2._expand_conv.",
        r"(\d+)\.(\d+)\.bn1\.": r"stage\1.\2._bn0.",
        r"(\d+)\.(\d+)\.conv_dw\.": r"stage\1.\2._depthwise_conv.",
        r"(\d+)\.(\d+)\.bn2\.": r"stage\1.\2._bn1.",
        r"(\d+)\.(\d+)\.conv_pwl\.": r"stage\1.\2._project_conv.",
        r"(\d+)\.(\d+)\.bn3\.": r"stage\1.\2._bn2.",
    },
}
BLOCKS = (1, 2, 3, 4, 3, 3, 1)  # in each of MMAction's layers of MobileNetV2


def namings(backbone: Backbone) -> Iterator[dict[str, str]]:
    """Under each naming, what it calls the parameters and buffers of a network, by our key: all but one are others'.

    Temporal shift, which wraps a convolution, is `net` to those who publish it.
    """
    keys = list(backbone.state_dict())
    first = min(int(key.split(".")[1]) for key in keys)  # with temporal shift the first stage holds no weights
    blocks = {(stage, block) for _, stage, block, *_ in (key.split(".") for key in keys)}
    num_before = {stage: sum(1 <= int(of) - first < stage for of, _ in blocks) for stage in range(1, 8)}
    for rules in NAMINGS.values():
        named = {}
        for key in keys:
            _, stage, rest = key.split(".", 2)
            named[key] = _published(f"{int(stage) - first}.{rest}", rules, num_before)
        yield named


def _published(key: str, rules: Rules, num_before: Mapping[int, int]) -> str:
    """What stands for a key under the rules; `num_before` numbers an EfficientNet's blocks over its stages."""
    for pattern, replacement in rules.items():
        if re.match(pattern, key):
            key = re.sub(f"^{pattern}", replacement, key, count=1)
            break
    key = re.sub(r"^block(\d+)", lambda found: _layer(int(found[1]) - 1), key)
    key = re.sub(r"^stage(\d+)\.(\d+)", lambda found: f"_blocks.{num_before[int(found[1])] + int(found[2])}", key)
    return key.replace(".convolution.", ".net.")


def _layer(block: int) -> str:
    """MMAction's name of one of MobileNetV2's blocks, from 0."""
    for layer, num in enumerate(BLOCKS, start=1):
        if block < num:
            return f"layer{layer}.{block}"
        block -= num
    return f"layer{len(BLOCKS) + 1}.{block}"  # no MobileNetV2
