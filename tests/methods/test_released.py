"""The authors' checkpoints: every key of a made one is used, each weight comes where its authors had it.

What a file holds is made here from torchvision's own networks, under the authors' names, each tensor full of a number
of its own: it takes no memory, and says where it went.

N rows, T frames (CHW: channels, height, width), K classes, D features, H hidden units.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from adavid.cost import Ledger
from adavid.data.batch import whole_videos
from adavid.loading import build_method
from adavid.method import AdaptiveMethod
from adavid.networks.backbones import build_backbone
from adavid.released import read_released, translated
from benchmarks.compose import compose, untrained
from benchmarks.layers import method_files
from benchmarks.released import layout_of, with_layout
from benchmarks.run import Run

K = 3  # classes
File = dict[str, Tensor]
Part = Mapping[str, Tensor]  # shapes, under the names that the authors have inside a part


@functools.cache
def torchvisions(network: str) -> Part:
    with torch.device("meta"):
        return torchvision.models.get_model(network, num_classes=K).state_dict()


def named(name: str, part: Part) -> Part:
    return {f"{name}.{key}": value for key, value in part.items()}


def without(prefix: str, part: Part) -> Part:
    return {key: value for key, value in part.items() if not key.startswith(prefix)}


def of(module: nn.Module) -> Part:
    return module.to("meta").state_dict()


def linear(num_in: int, num_out: int = K) -> Part:
    return of(nn.Linear(num_in, num_out, device="meta"))


def children(resnet: Part) -> Part:
    """A ResNet as `nn.Sequential(*children)`, without its head."""
    place = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    parts = {key: key.split(".", 1) for key in without("fc.", resnet)}
    return {f"{place[first]}.{rest}": resnet[key] for key, (first, rest) in parts.items()}


def shifted(resnet: Part) -> Part:
    """TSM's: the first convolution of every block inside `net`."""
    blocks = {key: key.startswith(("layer", "4.", "5.", "6.", "7.")) for key in resnet}
    return {key.replace(".conv1.", ".conv1.net.") if blocks[key] else key: value for key, value in resnet.items()}


def flat_mobilenet(shifts: bool = False) -> Part:
    """MobileNetV2 as it was before torchvision grouped a convolution with what follows it."""
    tensors = iter(torchvisions("mobilenet_v2").values())
    in_blocks = []
    for block in range(1, 18):
        places = (0, 1, 3, 4) if block == 1 else (0, 1, 3, 4, 6, 7)
        wraps = shifts and block in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)  # those with a shortcut
        in_blocks += [f"features.{block}.conv.{place}{'.net' * (wraps and place == 0)}" for place in places]
    layers = ["features.0.0", "features.0.1", *in_blocks, "features.18.0", "features.18.1"]
    return {key: next(tensors) for key in alternating(layers)} | {"classifier.weight": linear(1280)["weight"]}


def mmaction_mobilenet() -> Part:
    tensors = iter(torchvisions("mobilenet_v2").values())
    layers = ["conv1.conv", "conv1.bn"]
    for layer, num in enumerate((1, 2, 3, 4, 3, 3, 1), start=1):
        for block in range(num):
            wraps = block > 0  # the first of a layer changes the number of channels
            for place in range(2 if layer == 1 else 3):
                net = ".net" * (wraps and place == 0)
                layers += [f"layer{layer}.{block}.conv.{place}{net}.{kind}" for kind in ("conv", "bn")]
    return {key: next(tensors) for key in alternating([*layers, "conv2.conv", "conv2.bn"])}


def alternating(layers: list[str]) -> list[str]:
    """The keys of convolutions and norms in turn."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [f"{layer}.{key}" for i, layer in enumerate(layers) for key in (norm if i % 2 else ("weight",))]


# The files of the authors, each a key and the shape of what it holds, in the order of their modules


def arnet() -> Part:
    networks = ("resnet50", "resnet34", "resnet18")
    bases = [named(f"base_model_list.{i}", without("fc.", torchvisions(of))) for i, of in enumerate(networks)]
    heads = [named(f"new_fc_list.{i}", linear(num)) for i, num in enumerate((2048, 512, 512))]
    lite = named("lite_backbone", without("classifier", flat_mobilenet()))
    policy = named("rnn", of(nn.LSTMCell(1280, 512))) | named("linear", linear(512, 7)) | named("lite_fc", linear(512))
    return named("module", functools.reduce(lambda a, b: {**a, **b}, [*bases, *heads, lite, policy]))


def adafocus() -> Part:
    glancer = named("glancer.net", torchvisions("mobilenet_v2"))
    focuser = named("focuser.net", torchvisions("resnet50"))
    encoder = nn.Sequential(nn.Conv2d(1280, 32, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, 1024))
    policy = named("state_encoder", of(encoder)) | named("gru", of(nn.GRU(1024, 1024)))
    policy |= named("actor.0", linear(1024, 49)) | named("critic.0", linear(1024, 1))
    fc = named("gru", of(nn.GRU(3328, 1024))) | named("fc", linear(1024))
    return {**glancer, **focuser, **named("policy", policy), **named("fc", fc)}


def adafocus_tsm() -> Part:
    glancer = named("glancer.net", flat_mobilenet(shifts=True)) | {"glancer.net.classifier.bias": linear(1280)["bias"]}
    focuser = named("focuser.net.base_model", shifted(children(torchvisions("resnet50"))))
    encoder = nn.Sequential(
        *(nn.Conv2d(10240, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(3136, 1024), nn.BatchNorm1d(1024)),
    )
    policy = named("state_encoder", of(encoder)) | named("gru", of(nn.GRU(1024, 1024)))
    policy |= named("actor.0", linear(1024, 2)) | named("critic.0", linear(1024, 1))
    return {**glancer, **focuser, **named("policy", policy), **named("fc", linear(2048))}


def tsm() -> Part:
    base = named("base_model", shifted(without("fc.", torchvisions("resnet50"))))
    return named("module", {**base, **named("new_fc", linear(2048))})


def sofnet() -> Part:
    file = dict(named("base_model", torchvisions("resnet50"))) | dict(named("new_fc", linear(2048)))
    blocks = {"base": 64, "conv_2": 256, "conv_3": 512, "conv_4": 1024, "conv_5": 2048}
    for part, block in zip(children(torchvisions("resnet50")), blocks, strict=False):
        file[f"block_cnn_dict.{block}.{part}"] = torch.empty((), device="meta")
    for block, num in blocks.items():
        file |= named(f"block_rnn_dict.{block}", of(nn.LSTMCell(num, 512)))
        file |= named(f"block_fc_dict.{block}.2", linear(num, num))
        file |= named(f"action_fc_dict.{block}", linear(512, 2))
        file |= named(f"block_pred_rnn_fc_dict.{block}", linear(512))
    return named("module", file)


def frame_exit() -> Part:
    file = dict(named("backbone", children(torchvisions("resnet50"))))
    file |= named("mlp.layers", of(nn.Sequential(nn.Linear(2048, 4096), nn.BatchNorm1d(4096))))
    for i in range(9):
        gate = {"conv1": nn.Conv2d(4096, 128, 1), "conv2": nn.Conv2d(128, 64, 1)}
        gate |= {"bn1": nn.BatchNorm2d(128), "bn2": nn.BatchNorm2d(64), "linear": nn.Linear(128, 1)}
        file |= named(f"exit_selector.{i}", of(nn.ModuleDict(gate)))
    for i in range(10):
        file |= named(f"classifiers.{i}", linear(4096))
    return named("module", file)


def ocsampler() -> Part:
    sampler = named("sampler", {**mmaction_mobilenet(), **named("logit", linear(1280, 1))})
    head = named("layers", of(nn.Sequential(nn.Linear(2048, 4096), nn.BatchNorm1d(4096)))) | named("fc", linear(4096))
    return {**sampler, **named("backbone.model", children(torchvisions("resnet50"))), **named("cls_head", head)}


FILES: dict[str, Callable[[], Part]] = {
    **{"arnet": arnet, "adafocus": adafocus, "adafocus_tsm": adafocus_tsm, "tsm": tsm},
    **{"sofnet": sofnet, "frame_exit": frame_exit, "ocsampler": ocsampler},
}
# By our name, theirs: the parts that are whole networks, whose tensors must lie in the same order here and there.
NETWORKS = {
    "arnet": {"branches.224.backbone": "base_model_list.0", "branches.168.backbone": "base_model_list.1"}
    | {"branches.112.backbone": "base_model_list.2", "glance.backbone": "lite_backbone"},
    "adafocus": {"glance": "glancer.net.features", "focus": "focuser.net"},
    "adafocus_tsm": {"glance.backbone": "glancer.net.features", "focus.backbone": "focuser.net.base_model"},
    "tsm": {"networks.focus.backbone": "base_model"},
    "sofnet": {"network.backbone": "base_model"},
    "frame_exit": {"network.backbone": "backbone"},
    "ocsampler": {"network.backbone": "backbone.model", "sampler.backbone": "sampler"},
}
# Of the rest some, likewise.
OTHERS = {
    "arnet": {
        "policy.lstm.weight_hh": "rnn.weight_hh",
        "policy.fc.bias": "linear.bias",
        "policy.head.1.weight": "lite_fc.weight",
        "branches.112.head.1.bias": "new_fc_list.2.bias",
    },
    "adafocus": {
        "policy.encoder.3.weight": "policy.state_encoder.3.weight",
        "policy.gru.bias_ih": "policy.gru.bias_ih_l0",
        "policy.actor.bias": "policy.actor.0.bias",
        "classifier.head.1.weight": "fc.fc.weight",
    },
    "adafocus_tsm": {
        "glance.head.1.bias": "glancer.net.classifier.bias",
        "focus.head.1.bias": "fc.bias",
        "policy.encoder.6.running_var": "policy.state_encoder.5.running_var",
    },
    "tsm": {"networks.focus.head.1.weight": "new_fc.weight"},
    "sofnet": {
        "policies.4.embed.weight": "block_fc_dict.conv_5.2.weight",
        "policies.1.cell.weight_ih": "block_rnn_dict.conv_2.weight_ih",
        "policies.3.fc.bias": "action_fc_dict.conv_4.bias",
        "inner.0.bias": "block_pred_rnn_fc_dict.base.bias",
    },
    "frame_exit": {
        "gates.1.embed.0.weight": "exit_selector.0.conv1.weight",
        "gates.8.embed.4.bias": "exit_selector.7.bn2.bias",
        "heads.9.1.bias": "classifiers.9.bias",
        "mlp.norm.running_mean": "mlp.layers.1.running_mean",
    },
    "ocsampler": {
        "scorer.weight": "sampler.logit.weight",
        "head.1.bias": "cls_head.fc.bias",
        "mlp.fc.bias": "cls_head.layers.0.bias",
    },
}


def numbered(part: Part) -> File:
    """Tensors full of numbers of their own, which take no memory."""
    return {key: torch.tensor(float(i)).expand(value.shape) for i, (key, value) in enumerate(part.items())}


@functools.cache
def run_of(name: str, *words: str) -> Run:
    layout = layout_of(method_files(name))
    return compose(name, profile="paper", variant=layout.variant, overrides=words)


def as_read(file: File) -> File:
    """A file's tensors as `read_released` names them."""
    keys = (key.removeprefix("module.").removesuffix("_l0") for key in file)
    return dict(zip(keys, file.values(), strict=True))


def test_every_layout_has_a_file_here() -> None:
    assert FILES.keys() == NETWORKS.keys() == OTHERS.keys() == set(with_layout())


@pytest.mark.parametrize("name", FILES)
def test_every_key_is_used_and_each_weight_comes_where_it_was(name: str) -> None:
    method, layout = untrained(run_of(name), K), layout_of(method_files(name))
    theirs = as_read(numbered(FILES[name]()))
    state = translated(theirs, layout, method, name)
    assert {key: value.shape for key, value in state.items()} == {
        key: of.shape for key, of in method.state_dict().items()
    }

    def numbers(tensors: Mapping[str, Tensor], part: str, *but: str) -> list[float]:
        return [
            float(value.flatten()[0])
            for key, value in tensors.items()
            if key.startswith(f"{part}.") and not key.startswith(but)
        ]

    for ours, part in NETWORKS[name].items():
        heads = (f"{part}.fc.", f"{part}.logit.")
        assert numbers(state, ours) == numbers(theirs, part, *heads), ours
    for ours, key in OTHERS[name].items():
        assert state[ours].flatten()[0] == theirs[key.removesuffix("_l0")].flatten()[0], ours
    said = [float(value.flatten()[0]) for value in state.values()]
    assert len(said) == len(set(said)), "each of theirs is used once"


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_shape_or_with_a_key_too_few_or_too_many_is_refused(name: str) -> None:
    method, layout = untrained(run_of(name), K), layout_of(method_files(name))
    theirs = as_read(numbered(FILES[name]()))
    theirs_name = next(iter(OTHERS[name].values()))
    key = theirs_name.removesuffix("_l0")
    less = {of: value for of, value in theirs.items() if of != key}
    expected = f"expected the weights of {type(method).__name__} as {layout.source} has them"
    with pytest.raises(ValueError) as caught:
        translated(less | {"surplus.weight": torch.zeros(1)}, layout, method, "file.pth")
    assert str(caught.value) == f"file.pth: {expected}: 1 missing ({key}), 1 left over (surplus.weight)"
    with pytest.raises(
        ValueError, match=rf"^file.pth: {key}: expected \(.*\), got \(7,\): another number of classes"
    ) as caught:
        translated(theirs | {key: torch.zeros(7)}, layout, method, "file.pth")
    assert "\n" not in str(caught.value)


def test_a_method_without_what_the_weights_need_is_said_to_lack_it() -> None:
    method, layout = untrained(compose("arnet", profile="paper"), K), layout_of(method_files("arnet"))
    with pytest.raises(ValueError) as caught:
        translated(as_read(numbered(arnet())), layout, method, "file.pth")
    lacks = "2 of ARNet not in it at all (glance.head.1.weight, glance.head.1.bias)"
    assert str(caught.value).endswith(f": 2 left over (lite_fc.weight, lite_fc.bias), {lacks}")


def test_the_efficientnets_of_arnets_authors() -> None:
    """efficientnet_pytorch's names, in the order in which its blocks run."""
    names = [("efficientnet_b3", (2, 3, 3, 5, 5, 6, 2)), ("efficientnet_b1", (2, 3, 3, 4, 4, 5, 2))]
    names += [("efficientnet_b0", (1, 2, 2, 3, 3, 4, 1))]
    file: dict[str, Tensor] = {}
    for i, (network, depths) in enumerate(names):
        with torch.device("meta"):
            tensors = iter(build_backbone(f"timm/tf_{network}.aa_in1k").state_dict().values())
        layers = ["_conv_stem", "_bn0"]
        for block in range(sum(depths)):
            expansion = [] if block < depths[0] else ["_expand_conv", "_bn0"]
            inside = [*expansion, "_depthwise_conv", "_bn1", "_se_reduce", "_se_expand", "_project_conv", "_bn2"]
            layers += [f"_blocks.{block}.{layer}" for layer in inside]
        for layer in [*layers, "_conv_head", "_bn1"]:
            keys = ["weight"]
            if "_bn" in layer:
                keys = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
            elif "_se_" in layer:
                keys = ["weight", "bias"]
            file |= {f"base_model_list.{i}.{layer}.{key}": next(tensors) for key in keys}
        assert next(tensors, None) is None
    rest = {key: value for key, value in as_read(dict(arnet())).items() if not key.startswith(("base_model", "new_fc"))}
    for i, width in enumerate((1536, 1280, 1280)):
        rest |= named(f"new_fc_list.{i}", linear(width))
    method = untrained(run_of("arnet", "recipe.family=efficientnet_tf"), K)
    theirs = numbered({**file, **rest})
    state = translated(theirs, layout_of(method_files("arnet")), method, "file.pth")
    for i, size in enumerate((224, 168, 112)):
        ours = [value.flatten()[0] for key, value in state.items() if key.startswith(f"branches.{size}.backbone.")]
        assert ours == [value.flatten()[0] for key, value in theirs.items() if key.startswith(f"base_model_list.{i}.")]


# With values: what the parts say when they are put together by hand


def imported(name: str, file: File, tmp_path: Path, *words: str) -> AdaptiveMethod:
    """The method with the weights of a file, which is written and read."""
    run, layout = run_of(name, *words), layout_of(method_files(name))
    torch.save(file, tmp_path / "file.pth.tar")
    method = build_method(run.method_class, K, run.arguments)
    theirs = read_released(tmp_path / "file.pth.tar", layout)
    method.load_state_dict(translated(theirs, layout, method, "file"))
    return method.eval()


def random_state(part: Part) -> File:
    """Values small enough for a deep network, variances positive."""
    generator = torch.Generator().manual_seed(0)

    def values(key: str, value: Tensor) -> Tensor:
        if value.ndim > 1:
            return torch.randn(value.shape, generator=generator) / (value[0].numel() ** 0.5)
        if key.endswith("num_batches_tracked"):
            return torch.tensor(5)
        drawn = torch.rand(value.shape, generator=generator)
        return 0.5 + drawn if key.endswith(("running_var", "weight")) else 0.2 * (drawn - 0.5)

    return {key: values(key, value) for key, value in part.items()}


def sub(file: File, name: str, *, of: nn.Module, strict: bool = True) -> nn.Module:
    """A module with the tensors of a part of the file."""
    part = {key.removeprefix(f"{name}."): value for key, value in file.items() if key.startswith(f"{name}.")}
    of.load_state_dict(part, strict=strict)
    return of.eval()


@pytest.mark.slow  # a ResNet-50 of random weights
@torch.no_grad()
def test_arnet_answers_as_its_parts_put_together_by_hand(tmp_path: Path) -> None:
    """Of five frames the first goes to ResNet-50, the second to ResNet-18, the third begins a skip of two, the last is
    the policy's network's: which has seen the skipped ones, in c."""
    file = random_state(arnet())
    saved: Any = {"state_dict": file, "epoch": 46, "arch": "resnet50", "best_prec1": torch.tensor(0.7)}
    method = imported("arnet", saved, tmp_path, "model.num_frames=5")
    frames_THW = torch.randn(5, 3, 224, 224)
    action_T = torch.tensor([0, 2, 5, 5, 3])
    names = ("224", "168", "112", "84", "skip-1", "skip-2", "skip-4")
    assert tuple(method.actions.names) == names
    batch = whole_videos({"frames": frames_THW[None]}, K)
    logits_K = method(batch, Ledger(1, "cpu"), action_T[None]).logits_BK[0]

    theirs = as_read(file)

    def frame_logits(i: int, network: nn.Module, size: int, frame: Tensor) -> Tensor:
        network.fc = nn.Identity()
        sub(theirs, f"base_model_list.{i}", of=network)
        resized = F.interpolate(frame[None], (size, size))  # the nearest pixel
        head = sub(theirs, f"new_fc_list.{i}", of=nn.Linear(theirs[f"new_fc_list.{i}.weight"].shape[1], K))
        return head(network(resized))[0]

    mobilenet = torchvision.models.mobilenet_v2()
    mobilenet.classifier = nn.Identity()
    flat = [value for key, value in theirs.items() if key.startswith("lite_backbone.")]
    mobilenet.load_state_dict(dict(zip(mobilenet.state_dict(), flat, strict=True)))  # its numbering is another today
    mobilenet.eval()
    lstm, head = sub(theirs, "rnn", of=nn.LSTMCell(1280, 512)), sub(theirs, "lite_fc", of=nn.Linear(512, K))
    h_1H = c_1H = torch.zeros(1, 512)
    for t in range(5):
        after_1H, c_1H = lstm(mobilenet(F.interpolate(frames_THW[t : t + 1], (84, 84))), (h_1H, c_1H))
        h_1H = h_1H if t == 3 else after_1H  # inside the skip
    expected_K = frame_logits(0, torchvision.models.resnet50(), 224, frames_THW[0])
    expected_K += frame_logits(2, torchvision.models.resnet18(), 112, frames_THW[1]) + head(h_1H)[0]
    torch.testing.assert_close(logits_K, expected_K / 3, rtol=1e-4, atol=1e-4)


@pytest.mark.slow  # a ResNet-50 of random weights
@torch.no_grad()
def test_adafocus_answers_as_its_parts_put_together_by_hand(tmp_path: Path) -> None:
    file = random_state(adafocus())
    state = {
        part: {key.partition(".")[2]: value for key, value in file.items() if key.startswith(f"{part}.")}
        for part in ("glancer", "focuser", "policy", "fc")
    }
    method = imported("adafocus", state, tmp_path, "model.num_frames=2")  # type: ignore[arg-type]
    frames_THW = torch.randn(2, 3, 224, 224)
    output = method(whole_videos({"frames": frames_THW[None]}, K), Ledger(1, "cpu"))

    glance, focus = torchvision.models.mobilenet_v2(num_classes=K), torchvision.models.resnet50(num_classes=K)
    sub(file, "glancer.net", of=glance)
    sub(file, "focuser.net", of=focus).fc = nn.Identity()
    map_TDHW = glance.features(frames_THW)
    encoder = nn.Sequential(
        nn.Conv2d(1280, 32, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 1024), nn.ReLU()
    )
    x_T1H = sub(file, "policy.state_encoder", of=encoder)(map_TDHW)[:, None]
    h_T1H, _ = sub(file, "policy.gru", of=nn.GRU(1024, 1024))(x_T1H)
    place_T = sub(file, "policy.actor.0", of=nn.Linear(1024, 49))(h_T1H[:, 0]).argmax(-1)
    assert output.action_BT[0].tolist() == place_T.tolist()
    corners = [(int(place) // 7 * 96 // 6, int(place) % 7 * 96 // 6) for place in place_T]
    patches = [frame[:, y : y + 128, x : x + 128] for frame, (y, x) in zip(frames_THW, corners, strict=True)]
    feature_TD = torch.cat([map_TDHW.mean((2, 3)), focus(torch.stack(patches))], 1)
    memory_T1H, _ = sub(file, "fc.gru", of=nn.GRU(3328, 1024))(feature_TD[:, None])
    expected_K = sub(file, "fc.fc", of=nn.Linear(1024, K))(memory_T1H[-1, 0])
    torch.testing.assert_close(output.logits_BK[0], expected_K, rtol=1e-4, atol=1e-4)


class Shifted(nn.Module):
    """TSM's wrapped convolution, for one video."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x_TCHW: Tensor) -> Tensor:
        fold, moved = x_TCHW.shape[1] // 8, torch.zeros_like(x_TCHW)
        moved[:-1, :fold] = x_TCHW[1:, :fold]
        moved[1:, fold : 2 * fold] = x_TCHW[:-1, fold : 2 * fold]
        moved[:, 2 * fold :] = x_TCHW[:, 2 * fold :]
        return self.net(moved)


@torch.no_grad()
def test_tsm_answers_as_its_parts_put_together_by_hand(tmp_path: Path) -> None:
    """Another ResNet than the published, smaller one: its layout is the same."""
    network = torchvision.models.resnet18(num_classes=K)
    for block in (block for i in range(1, 5) for block in getattr(network, f"layer{i}")):
        block.conv1 = Shifted(block.conv1)
    file = random_state(named("module.base_model", without("fc.", network.state_dict())))
    file |= random_state(named("module.new_fc", linear(512)))
    words = "model.networks={focus: {name: tsm/4/torchvision/resnet18, size: 64}}"
    method = imported("tsm", {"state_dict": file}, tmp_path, words)  # type: ignore[dict-item]
    frames_TCHW = torch.randn(4, 3, 64, 64)
    logits_K = method(whole_videos({"focus": frames_TCHW[None]}, K), Ledger(1, "cpu")).logits_BK[0]
    network.fc = nn.Identity()
    sub(as_read(file), "base_model", of=network)
    expected_K = sub(as_read(file), "new_fc", of=nn.Linear(512, K))(network(frames_TCHW)).mean(0)
    torch.testing.assert_close(logits_K, expected_K, rtol=1e-4, atol=1e-4)


@pytest.mark.slow  # a ResNet-50 of random weights
@torch.no_grad()
def test_sofnet_answers_as_its_parts_put_together_by_hand(tmp_path: Path) -> None:
    file = random_state(sofnet())
    method = imported("sofnet", file, tmp_path, "model.num_frames=2", "model.backbone.size=96")
    frames_TCHW = torch.randn(2, 3, 224, 224)
    used_BT = torch.zeros(1, 2, dtype=torch.long)
    batch = whole_videos({"frames": frames_TCHW[None]}, K)
    logits_K = method(batch, Ledger(1, "cpu"), used_BT).logits_BK[0]
    network = sub(as_read(file), "base_model", of=torchvision.models.resnet50(num_classes=K))
    network.fc = sub(as_read(file), "new_fc", of=nn.Linear(2048, K))
    expected_TK = network(F.interpolate(frames_TCHW, (96, 96)))
    torch.testing.assert_close(logits_K, expected_TK.mean(0), rtol=1e-4, atol=1e-4)

    own_T = method(batch, Ledger(1, "cpu")).action_BT[0]  # by the policies: the first frame's, from empty memories
    x_1CHW, passed = F.interpolate(frames_TCHW[:1], (96, 96)), 0
    stages = [nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)]
    stages += [network.layer1, network.layer2, network.layer3, network.layer4]
    for name, stage in zip(("base", "conv_2", "conv_3", "conv_4", "conv_5"), stages, strict=True):
        x_1CHW = stage(x_1CHW)
        num = x_1CHW.shape[1]
        x_1D = sub(as_read(file), f"block_fc_dict.{name}.2", of=nn.Linear(num, num))(x_1CHW.mean((2, 3)))
        h_1H, _ = sub(as_read(file), f"block_rnn_dict.{name}", of=nn.LSTMCell(num, 512))(x_1D)
        if sub(as_read(file), f"action_fc_dict.{name}", of=nn.Linear(512, 2))(h_1H).argmax() == 0:
            break
        passed += 1
    assert own_T[0] == 5 - passed


@torch.no_grad()
def test_frame_exits_gates_say_what_the_published_ones_say(tmp_path: Path) -> None:
    """One by one on made evidence: convolutions of one pixel, the evidence after a frame before that before it."""
    file = random_state(frame_exit())
    method = imported("frame_exit", file, tmp_path)
    before_NH, after_NH = torch.rand(2, 5, 4096)
    for i in (0, 7):
        gate = {
            key.removeprefix(f"exit_selector.{i}."): value
            for key, value in as_read(file).items()
            if key.startswith(f"exit_selector.{i}.")
        }

        def embed(z_NH: Tensor, gate: File = gate) -> Tensor:
            x_NCHW = z_NH[:, :, None, None]
            for layer in ("1", "2"):
                x_NCHW = F.conv2d(x_NCHW, gate[f"conv{layer}.weight"], gate[f"conv{layer}.bias"])
                of_norm = [gate[f"bn{layer}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
                x_NCHW = F.relu(F.batch_norm(x_NCHW, *of_norm))
            return x_NCHW.flatten(1)

        both_ND = torch.cat([embed(after_NH), embed(before_NH)], 1)
        expected_N = F.linear(both_ND, gate["linear.weight"], gate["linear.bias"])[:, 0]
        torch.testing.assert_close(method.gates[i + 1](before_NH, after_NH), expected_N, rtol=1e-4, atol=1e-4)
    assert isinstance(method.gates[0], nn.Identity)


# Files


def test_old_numbers_of_numpy_are_read_and_code_is_not(tmp_path: Path) -> None:
    import argparse

    import numpy as np

    layout, path = layout_of(method_files("tsm")), tmp_path / "file.pth.tar"
    content = {"state_dict": {"module.new_fc.weight": torch.ones(2, 3)}, "best_prec1": np.float64(0.5)}
    optimizer = {"state": {0: {"momentum_buffer": torch.zeros(3)}}}
    torch.save(content | {"optimizer": optimizer}, path)
    assert {key: value.shape for key, value in read_released(path, layout).items()} == {"new_fc.weight": (2, 3)}
    torch.save(content | {"args": argparse.Namespace(arch="resnet50")}, path)
    with pytest.raises(ValueError) as caught:
        read_released(path, layout)
    needs = "it needs argparse.Namespace, and to load that would run code of the file; save its tensors alone"
    assert str(caught.value) == f"{path}: expected tensors and numbers alone: {needs}"


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_was_cut_short_is_named(tmp_path: Path, zipped: bool) -> None:
    layout, path = layout_of(method_files("tsm")), tmp_path / "file.pth.tar"
    torch.save({"module.new_fc.weight": torch.ones(200, 30)}, path, _use_new_zipfile_serialization=zipped)
    for size in (0, 7, len(path.read_bytes()) // 2):
        path.write_bytes(path.read_bytes()[:size] if size else b"")
        with pytest.raises(
            ValueError, match=rf"^{path}: expected a checkpoint of torch: cut short, or another kind"
        ) as caught:
            read_released(path, layout)
        assert "\n" not in str(caught.value)
        torch.save({"module.new_fc.weight": torch.ones(200, 30)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"none.pth: no such file$"):
        read_released(tmp_path / "none.pth", layout)
