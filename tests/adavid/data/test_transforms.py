import numpy as np
import pytest
import torch

from adavid.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Crop,
    center_crop,
    crop_frames,
    cut_patches,
    multi_scale_crop,
    normalize,
    resize_frames,
)

ARNET_SCALES = (1, 0.875, 0.75, 0.66)


def frames(num_frames=2, height=60, width=80):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (num_frames, 3, height, width), dtype=torch.uint8, generator=generator)


def draws(*args, num=2000):
    rng = np.random.default_rng(0)
    return {multi_scale_crop(*args, rng) for _ in range(num)}


def test_crop_sides_are_the_papers():
    # 340 x 256, as extracted frames are: 256 * (1, .875, .75, .66), 224 being the size itself.
    crops = draws(256, 340, 224, ARNET_SCALES)
    sides = (256, 224, 192, 168)
    pairs = {(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1}
    assert {(crop.height, crop.width) for crop in crops} == pairs
    assert all(c.top + c.height <= 256 and c.left + c.width <= 340 for c in crops)


def test_crop_has_thirteen_places():
    crops = draws(72, 88, 64, (1,))  # a 72 x 72 crop has steps of 0 down and 4 across
    assert {(crop.top, crop.left) for crop in crops} == {(0, left) for left in (0, 4, 8, 12, 16)}
    places = {(crop.top // 2, crop.left // 2) for crop in draws(72, 72, 64, (0.875,))}
    assert places == {(y, x) for y in range(5) for x in range(5) if y % 2 == x % 2}
    assert len(places) == 13


def test_crop_snaps_to_the_size_but_stays_in_the_frame():
    assert {(crop.height, crop.width) for crop in draws(72, 72, 64, (0.875,))} == {(64, 64)}  # 63 px
    assert {(crop.height, crop.width) for crop in draws(72, 72, 60, (0.875,))} == {(63, 63)}
    assert draws(63, 63, 64, (1,)) == {Crop(0, 0, 63, 63)}


def test_crop_depends_on_the_generator_alone():
    args = (256, 340, 224, ARNET_SCALES)
    first, second = ([multi_scale_crop(*args, np.random.default_rng([1, 2, 3, i])) for i in range(9)] for _ in "ab")
    assert first == second and len(set(first)) > 1


def test_crop_of_the_right_size_leaves_pixels_alone():
    frames_TCHW = frames()
    cropped = crop_frames(frames_TCHW, Crop(3, 5, 48, 48), 48)
    assert torch.equal(cropped, frames_TCHW[:, :, 3:51, 5:53])
    assert crop_frames(frames_TCHW, Crop(3, 5, 40, 48), 24).shape == (2, 3, 24, 24)


def test_center_crop_without_resizing_leaves_pixels_alone():
    frames_TCHW = frames()
    assert torch.equal(center_crop(frames_TCHW, 60, 60), frames_TCHW[:, :, :, 10:70])
    assert torch.equal(center_crop(frames_TCHW, 60, 40), frames_TCHW[:, :, 10:50, 20:60])


def test_center_crop_keeps_the_aspect_ratio():
    # A ramp from left to right, 2 a pixel, keeps its slope per unit of width.
    ramp = (torch.arange(80) * 2).to(torch.uint8).expand(1, 3, 60, 80)
    cropped = center_crop(ramp, 30, 20)  # 30 x 40, of which columns 10 to 29
    assert cropped.shape == (1, 3, 20, 20) and cropped.dtype == torch.uint8
    expected = (torch.arange(10, 30) * 2 + 0.5) * 2
    assert (cropped[0, 0, 0].float() - expected).abs().max() <= 0.5
    tall = center_crop(ramp.transpose(2, 3), 30, 20)
    assert torch.equal(tall, cropped.transpose(2, 3))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_resize_frames(dtype):
    frames_NCHW = frames(height=64, width=64).to(dtype)
    assert resize_frames(frames_NCHW, 64) is frames_NCHW
    halved = resize_frames(frames_NCHW, 32)
    assert halved.shape == (2, 3, 32, 32) and halved.dtype == dtype
    # The mean survives an antialiased resize, as it would not survive a nearest or an aliased one.
    assert abs(halved.float().mean() - frames_NCHW.float().mean()) < 0.6
    constant = torch.full((1, 3, 64, 64), 7, dtype=dtype)
    torch.testing.assert_close(resize_frames(constant, 24), torch.full((1, 3, 24, 24), 7, dtype=dtype))


def test_normalize():
    frames_BTCHW = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1, 1).expand(2, 4, 3, 5, 5)
    normal = normalize(frames_BTCHW)
    assert normal.dtype == torch.float32 and normal.shape == (2, 4, 3, 5, 5)
    for channel, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)):
        torch.testing.assert_close(normal[0, 0, channel, 0, 0].item(), -mean / std)
        torch.testing.assert_close(normal[1, 3, channel, 4, 4].item(), (1 - mean) / std)


def test_patches_are_what_slicing_gives():
    frames_NCHW = frames(3)
    corner_N2 = torch.tensor([[0, 0], [45, 65], [7, 31]])
    patches_NCHW = cut_patches(frames_NCHW, corner_N2, 15)
    for patch, frame, (row, column) in zip(patches_NCHW, frames_NCHW, corner_N2.tolist(), strict=True):
        assert torch.equal(patch, frame[:, row : row + 15, column : column + 15])
    clips_NSCHW = torch.stack([frames_NCHW, frames_NCHW.flip(0)], 1)
    assert torch.equal(cut_patches(clips_NSCHW, corner_N2, 15)[:, 0], patches_NCHW)
    assert cut_patches(clips_NSCHW, corner_N2, 15).shape == (3, 2, 3, 15, 15)
