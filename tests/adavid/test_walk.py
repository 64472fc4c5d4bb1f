"""Walks: which frame comes next, that none is computed twice, and that decisions from outside are followed."""

from __future__ import annotations

import torch

from adavid.cost import Ledger, price
from adavid.networks.backbones import BackboneSpec, FrameClassifier
from adavid.walk import Looks, Walk, first, frame_at, in_order, nearest

SIZE, NEVER = 16, 3


def make_looks(num_videos: int = 2, num_frames: int = 5) -> tuple[Looks, Ledger, torch.Tensor]:
    torch.manual_seed(0)
    network = FrameClassifier(BackboneSpec("narrow/4-8-8", SIZE), 2).eval()
    frames_BTCHW = torch.rand(num_videos, num_frames, 3, SIZE, SIZE)
    ledger = Ledger(num_videos)
    with torch.no_grad():
        expected_BTD = network.backbone(frames_BTCHW.flatten(0, 1)).unflatten(0, (num_videos, num_frames))
    return Looks(ledger, "network", network, frames_BTCHW), ledger, expected_BTD


def test_the_nearest_open_frame_lies_in_the_direction_of_the_jump_if_there_is_one() -> None:
    open_T = torch.tensor([True, False, False, True, True, False])
    cases = [  # target, ahead, frame
        (3, True, 3),
        (3, False, 3),
        (2, True, 3),
        (2, False, 0),
        (1, True, 3),
        (5, True, 4),
        (5, False, 4),
        (0, False, 0),
    ]
    for target, ahead, frame in cases:
        found_N = nearest(open_T[None], torch.tensor([target]), torch.tensor([ahead]))
        assert found_N.tolist() == [frame], (target, ahead)
    only_behind = torch.tensor([[True, False, False]])
    assert nearest(only_behind, torch.tensor([1]), torch.tensor([True])).tolist() == [0]


def test_a_place_is_of_the_whole_video_and_its_ends_hold_what_lies_outside() -> None:
    place_N, num_N = torch.tensor([-0.3, 0.0, 0.24, 0.25, 0.99, 1.0, 1.7]), torch.full((7,), 4)
    assert frame_at(place_N, num_N).tolist() == [0, 0, 0, 1, 3, 3, 3]


def test_of_the_frames_left_the_lowest_code_comes_first_then_the_earliest() -> None:
    code_NT = torch.tensor([[2, 0, 0, 1]])
    assert first(torch.tensor([[True, True, True, True]]), code_NT).tolist() == [1]
    assert first(torch.tensor([[True, False, False, True]]), code_NT).tolist() == [3]


def test_chosen_frames_in_order() -> None:
    chosen_BT = torch.tensor([[True, False, True], [False, False, True]])
    assert in_order(chosen_BT, NEVER).tolist() == [[0, NEVER, 1], [NEVER, NEVER, 0]]


@torch.no_grad()
def test_a_frame_is_computed_and_paid_once() -> None:
    looks, ledger, expected_BTD = make_looks()
    first_BT = torch.tensor([[True, True, False, False, False], [False, True, False, False, False]])
    second_BT = torch.tensor([[True, False, True, False, False], [False, True, False, False, False]])
    for look_BT in (first_BT, second_BT):
        torch.testing.assert_close(looks.at(look_BT)[look_BT], expected_BTD[look_BT])
    assert looks.seen_BT.tolist() == (first_BT | second_BT).tolist()
    macs = price(looks._network.backbone, torch.zeros(1, 3, SIZE, SIZE)).macs
    assert ledger.total_B.tolist() == [3 * macs, macs]


@torch.no_grad()
def test_a_walk_goes_where_it_wants_and_never_twice() -> None:
    looks, ledger, expected_BTD = make_looks()
    mask_BT = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    walk, both_N, ahead_N = Walk(looks, mask_BT, NEVER), torch.tensor([0, 1]), torch.tensor([True, True])
    for step, (target, frames) in enumerate([(1, [1, 1]), (1, [2, 0])]):
        assert walk.goes_on(both_N, ahead_N).tolist() == [True, True]
        frame_N, feature_ND = walk.visit(both_N, torch.tensor([target, target]), ahead_N)
        assert frame_N.tolist() == frames, step
        torch.testing.assert_close(feature_ND, expected_BTD[both_N, frame_N])
    assert walk.goes_on(both_N, ahead_N).tolist() == [True, False], "a video without frames left"
    assert walk.goes_on(both_N, ~ahead_N).tolist() == [False, False], "who does not want to"
    assert walk.action_BT.tolist() == [[NEVER, 0, 1, NEVER, NEVER], [1, 0, -1, -1, -1]]
    assert mask_BT.tolist() == [[True] * 5, [True] * 2 + [False] * 3], "the caller's mask stays"


@torch.no_grad()
def test_a_walk_from_outside_follows_the_codes() -> None:
    looks, _, _ = make_looks()
    mask_BT = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    forced_BT = torch.tensor([[NEVER, 1, NEVER, 0, 1], [NEVER, 2, 0, 0, 0]])
    walk, video_N, visited = Walk(looks, mask_BT, NEVER, forced_BT), torch.tensor([0, 1]), []
    while len(video_N := video_N[walk.goes_on(video_N, torch.zeros_like(video_N, dtype=torch.bool))]):
        frame_N, _ = walk.visit(video_N, torch.zeros_like(video_N), torch.ones_like(video_N, dtype=torch.bool))
        visited.append(dict(zip(video_N.tolist(), frame_N.tolist(), strict=True)))
    assert visited == [{0: 3, 1: 1}, {0: 1}, {0: 4}]
    assert walk.action_BT.tolist() == [[NEVER, 1, NEVER, 0, 1], [NEVER, 2, -1, -1, -1]]
