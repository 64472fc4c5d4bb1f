import pytest
import torch

from adavid.cost import price
from adavid.networks.backbones import BackboneSpec, FrameClassifier, build_backbone, clip_view
from adavid.networks.temporal_shift import TemporalShift, shift


def test_the_shift_in_closed_form() -> None:
    """Channel 0 of 8 from the next frame, channel 1 from the one before, zeros beyond the ends; videos never mix."""
    x = torch.arange(2 * 3 * 8.0).view(6, 8, 1, 1) + 1
    shifted = shift(x, 3)[:, :, 0, 0].view(2, 3, 8)
    frames = x[:, :, 0, 0].view(2, 3, 8)
    for video in range(2):
        assert shifted[video, :, 0].tolist() == [frames[video, 1, 0], frames[video, 2, 0], 0]
        assert shifted[video, :, 1].tolist() == [0, frames[video, 0, 1], frames[video, 1, 1]]
        assert torch.equal(shifted[video, :, 2:], frames[video, :, 2:])


def test_another_part_of_the_channels_may_be_shifted() -> None:
    """tsm/3-10/...: of ten channels one from the next frame and one from the one before, of 19 as well."""
    x = torch.randn(3, 10, 1, 1)
    expected = x.clone()
    expected[:, 0] = torch.cat([x[1:, 0], torch.zeros(1, 1, 1)])
    expected[:, 1] = torch.cat([torch.zeros(1, 1, 1), x[:-1, 1]])
    assert torch.equal(shift(x, 3, 10), expected)
    assert torch.equal(shift(torch.ones(3, 19, 1, 1), 3, 10)[:, 2:], torch.ones(3, 17, 1, 1))
    spec = BackboneSpec("tsm/3-10/narrow/4-8-8", 16)
    backbone = build_backbone(spec.name)
    assert spec.num_segments == 3 and str(spec) == "tsm/3-10/narrow/4-8-8@16"
    assert {of.divisor for of in backbone.modules() if isinstance(of, TemporalShift)} == {10}


@pytest.mark.parametrize(
    ("network", "num"),
    [
        ("torchvision/resnet50", 16),  # all blocks
        ("torchvision/resnet101", 2 + 2 + 12 + 2),  # every second one of each stage
        ("torchvision/mobilenet_v2", 10),  # those with a shortcut
        ("narrow/8-16-32", 2),
        ("lite/0", 9),  # those with a shortcut
    ],
)
def test_where_the_shifts_are(network: str, num: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(f"tsm/4/{network}")
    assert sum(isinstance(module, TemporalShift) for module in backbone.modules()) == num


def test_a_still_video_sees_no_difference_but_at_its_ends() -> None:
    """Frames far from both ends get what they would get from equal neighbours: the shift of a still video is none."""
    backbone = build_backbone("tsm/8/narrow/8-16-32").eval()
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # timm's residual branches start at zero
    still = torch.randn(1, 1, 3, 32, 32).expand(1, 8, 3, 32, 32)
    feature_TD = backbone(still)[0]
    torch.testing.assert_close(feature_TD[3], feature_TD[4])  # two blocks: the ends reach two frames far
    assert not torch.allclose(feature_TD[0], feature_TD[4])


def test_shapes_price_and_view() -> None:
    spec = BackboneSpec("tsm/4/narrow/8-16-32", 32)
    assert spec.num_segments == 4 and BackboneSpec("narrow/8-16-32", 32).num_segments == 0
    assert clip_view("tsm", spec).shape == (4, 3, 32, 32) and clip_view("tsm", spec, 64).size == 64
    network, still = FrameClassifier(spec, 5).eval(), FrameClassifier(BackboneSpec("narrow/8-16-32", 32), 5).eval()
    assert network(torch.randn(2, 4, 3, 32, 32)).shape == (2, 4, 5)
    assert network.backbone.stages(torch.randn(2, 4, 3, 32, 32)).shape == (2, 4, 32, 4, 4)
    # The shift is free: a row, a video of 4 frames, costs what 4 frames cost.
    of_video, of_frame = price(network, torch.zeros(1, 4, 3, 32, 32)), price(still, torch.zeros(1, 3, 32, 32))
    assert of_video == (4 * of_frame.macs, 4 * of_frame.audited)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tsm/8/timm/dpn68", "backbone 'tsm/8/timm/dpn68': temporal shift is for ResNets, MobileNetV2"),
        ("tsm/8-1/torchvision/resnet50", "expected tsm/frames/library/network, such as tsm/8/torchvision/resnet50"),
        ("tsm/8-/torchvision/resnet50", "expected tsm/frames/library/network, such as tsm/8/torchvision/resnet50"),
        ("tsm/x/torchvision/resnet50", "expected tsm/frames/library/network, such as tsm/8/torchvision/resnet50"),
        ("tsm/8/torchvision/resnet5", "'torchvision/resnet5' is unknown; did you mean 'resnet50'"),
    ],
)
def test_mistakes(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_backbone(name)


def test_a_network_without_shift_is_refused() -> None:
    with pytest.raises(
        ValueError, match="tsm: expected a network with temporal shift, tsm/8/torchvision/resnet50 or so"
    ):
        clip_view("tsm", BackboneSpec("torchvision/resnet50", 224))
