"""Routing: averages over used frames, skips that stay in force, branches that see their rows alone."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor, nn

from adavid.chunks import made
from adavid.cost import Ledger
from adavid.routing import (
    draw_frames,
    even_frames,
    hold_skips,
    mean_of_used,
    no_frames,
    random_order,
    run_on_frames,
    run_on_rows,
    run_over_time,
    top_frames,
    video_generator,
)


def test_mean_of_used() -> None:
    logits_BTK = torch.tensor([[[2.0, 4.0], [0.0, 0.0], [4.0, 0.0]], [[0.0, 0.0]] * 3])
    used_BT = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    expected_BK = torch.tensor([[3.0, 2.0], [0.0, 0.0]])
    for used in (used_BT, used_BT.bool(), used_BT.long()):
        torch.testing.assert_close(mean_of_used(logits_BTK, used), expected_BK)


def test_a_mean_taken_in_frame_by_frame_is_that_of_all_frames() -> None:
    logits_BTK, used_BT = torch.randn(3, 4, 5), torch.rand(3, 4).round()
    used_BT[1] = 0
    mean = no_frames(3, 5, logits_BTK)
    for t in range(4):
        (video_N,) = (torch.rand(3) < 0.5).logical_or(used_BT[:, t] > 0).nonzero(as_tuple=True)  # some unused, too
        mean = mean.add_rows(video_N, logits_BTK[video_N, t], used_BT[video_N, t, None])
    torch.testing.assert_close(mean.mean_BK(), mean_of_used(logits_BTK * used_BT[..., None], used_BT))
    assert (mean.mean_BK()[1] == 0).all()


@pytest.mark.parametrize("one", [1 - 2**-24, 1.0, 1 + 2**-23])
def test_gradient_of_mean_of_used(one: float) -> None:
    """A straight-through 1 is 1 up to rounding; the gradient is the same on either side, that of a mean."""
    logits_BTK = torch.tensor([[[3.0], [0.0]]])
    used_BT = torch.tensor([[one, 0.0]], requires_grad=True)
    mean_of_used(used_BT[..., None] * logits_BTK, used_BT).sum().backward()
    torch.testing.assert_close(used_BT.grad, torch.tensor([[0.0, -3.0]]), rtol=1e-5, atol=1e-5)


def test_hold_skips() -> None:
    covers_A = torch.tensor([1, 1, 2, 4])  # a look, skip-1, skip-2, skip-4
    draw_BT = torch.tensor([[2, 0, 3, 1, 2, 0, 1, 3], [0, 1, 0, 1, 0, 1, 2, 2], [3, 3, 3, 3, 2, 3, 0, 3]])
    held_BT = torch.tensor([[2, 2, 3, 3, 3, 3, 1, 3], [0, 1, 0, 1, 0, 1, 2, 2], [3, 3, 3, 3, 2, 2, 0, 3]])
    assert torch.equal(hold_skips(draw_BT, covers_A), held_BT)
    assert torch.equal(hold_skips(held_BT, covers_A), held_BT)
    assert torch.equal(hold_skips(draw_BT[:, :1], covers_A), draw_BT[:, :1])


class Mean(nn.Module):
    """Mean colour (N, 3), and the shapes that came by."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []
        self.linear = nn.Linear(3, 3, bias=False)
        nn.init.eye_(self.linear.weight)

    def forward(self, frames_NCHW: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(frames_NCHW.shape))
        return self.linear(frames_NCHW.mean((2, 3)))


def test_run_on_frames() -> None:
    module, ledger = Mean(), Ledger(3)
    frames_BTCHW = torch.arange(18.0).reshape(3, 2, 3, 1, 1).expand(-1, -1, -1, 8, 8)
    chosen_BT = torch.tensor([[True, False], [False, False], [True, True]])
    before_BTX = torch.full((3, 2, 3), -1.0)
    module.shapes.clear()
    out_BTX = run_on_frames(ledger, "mean", module, frames_BTCHW, chosen_BT, 4, before_BTX)
    assert module.shapes == [(3, 3, 4, 4)], "one call, the chosen rows, at the size"
    torch.testing.assert_close(out_BTX[chosen_BT], frames_BTCHW[chosen_BT].mean((2, 3)))
    assert (out_BTX[~chosen_BT] == -1).all() and (before_BTX == -1).all()
    assert ledger.macs["mean"].tolist() == [9, 0, 18]


def test_nothing_chosen_is_nothing_run() -> None:
    module, ledger, out_BTX = Mean(), Ledger(2), torch.zeros(2, 2, 3)
    frames_BTCHW, chosen_BT = torch.zeros(2, 2, 3, 8, 8), torch.zeros(2, 2, dtype=torch.bool)
    assert run_on_frames(ledger, "mean", module, frames_BTCHW, chosen_BT, 4, out_BTX) is out_BTX
    assert not module.shapes and ledger.total_B.tolist() == [0, 0]


def test_a_videos_randomness_is_its_own() -> None:
    def draw(seed: int, video_id: str) -> int:
        return int(video_generator(seed, video_id).integers(2**62))

    assert draw(0, "a") == draw(0, "a")
    assert len({draw(0, "a"), draw(1, "a"), draw(0, "b"), draw(0, "1/a"), draw(1, "1/a")}) == 5


def test_clips_go_whole_to_networks_that_read_them_and_by_their_middle_to_others() -> None:
    clips_BTSCHW = torch.randn(2, 3, 5, 3, 8, 8)
    chosen_BT = torch.tensor([[True, False, True], [False, True, False]])
    seen = []

    class Sees(nn.Module):
        reads_clips = False

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return x.flatten(1)[:, :1]

    module = Sees()
    for module.reads_clips in (False, True):
        run_on_frames(Ledger(2), "m", module, clips_BTSCHW, chosen_BT, 8, torch.zeros(2, 3, 1))
    rows = clips_BTSCHW[chosen_BT]
    assert any(torch.equal(x, rows[:, 2]) for x in seen) and any(torch.equal(x, rows) for x in seen)
    with pytest.raises(ValueError, match="^m: reads clips, but the method's view is of frames"):
        run_on_frames(Ledger(2), "m", module, clips_BTSCHW[:, :, 2], chosen_BT, 8, torch.zeros(2, 3, 1))


def test_rows_go_through_in_one_call_and_come_back_to_their_places() -> None:
    x_BTX, y_BTX = torch.randn(2, 3, 4), torch.randn(2, 3, 5)
    chosen_BT = torch.tensor([[True, False, True], [False, True, False]])
    module = nn.Bilinear(4, 5, 2, bias=False)
    ledger = CountingLedger(2)
    out_BTY = run_on_rows(ledger, "both", module, x_BTX, y_BTX, chosen_BT=chosen_BT)
    expected_BTY = module(x_BTX, y_BTX) * chosen_BT[..., None]
    torch.testing.assert_close(out_BTY, expected_BTY)
    assert ledger.owners == [[0, 0, 1]]


class CountingLedger(Ledger):
    """Runs without a price; remembers whose rows ran."""

    def __init__(self, num_videos: int) -> None:
        super().__init__(num_videos)
        self.owners: list[list[int]] = []

    def run(self, name, module, *inputs, owner_N):  # type: ignore[no-untyped-def]
        self.owners.append(owner_N.tolist())
        return module(*made(inputs))


def test_a_recurrent_cell_takes_in_the_used_frames_alone() -> None:
    cell = nn.GRUCell(3, 2)
    x_BTD, h_BH = torch.randn(2, 3, 3), torch.randn(2, 2)
    used_BT = torch.tensor([[True, False, True], [False, True, False]])
    for seen_BT in (None, torch.ones_like(used_BT)):
        ledger = Ledger(2)
        h_BTH = run_over_time(ledger, "cell", cell, x_BTD, h_BH, used_BT, seen_BT)
        first_H = cell(x_BTD[0, 0], h_BH[0])
        torch.testing.assert_close(h_BTH[0], torch.stack([first_H, first_H, cell(x_BTD[0, 2], first_H)]))
        second_H = cell(x_BTD[1, 1], h_BH[1])
        torch.testing.assert_close(h_BTH[1], torch.stack([h_BH[1], second_H, second_H]))
        num_B = used_BT.sum(1) if seen_BT is None else seen_BT.sum(1)
        assert torch.equal(ledger.total_B, num_B * (3 * 2 * (3 + 2)))


def test_a_patch_is_cut_where_its_corner_is() -> None:
    frames_BTCHW = torch.randn(2, 3, 3, 8, 8)
    chosen_BT = torch.tensor([[True, False, True], [False, True, False]])
    corner_BT2 = torch.tensor([[[0, 0], [9, 9], [4, 4]], [[9, 9], [1, 3], [9, 9]]])  # 9: no patch there
    zeros_BTX = torch.zeros(2, 3, 3)
    out_BTX = run_on_frames(Ledger(2), "patch", Mean(), frames_BTCHW, chosen_BT, 4, zeros_BTX, corner_BT2)
    torch.testing.assert_close(out_BTX[0, 2], frames_BTCHW[0, 2, :, 4:, 4:].mean((1, 2)))
    torch.testing.assert_close(out_BTX[1, 1], frames_BTCHW[1, 1, :, 1:5, 3:7].mean((1, 2)))
    assert out_BTX[0, 1].eq(0).all()


def test_random_frames_are_every_set_of_their_size_alike() -> None:
    mask_BT = torch.ones(6000, 4, dtype=torch.bool)
    mask_BT[3000:, 3] = False
    drawn_BT = draw_frames(2, mask_BT, [f"video {b}" for b in range(6000)], seed=0)
    assert (drawn_BT <= mask_BT).all() and (drawn_BT.sum(1) == 2).all()
    for part_BT, num_sets in ((drawn_BT[:3000], 6), (drawn_BT[3000:], 3)):
        sets, counts = part_BT.unique(dim=0, return_counts=True)
        assert len(sets) == num_sets and chisquare(counts).pvalue > 0.001
    assert torch.equal(draw_frames(9, mask_BT[2999:3001], ["a", "b"], seed=0), mask_BT[2999:3001])


def test_a_random_order_has_every_place_once_and_the_frames_that_there_are_first() -> None:
    torch.manual_seed(0)
    mask_BT = torch.tensor([[True, False, True, True]]).repeat(200, 1)
    order_BT = random_order(mask_BT)
    assert (order_BT.sort(1).values == torch.arange(4)).all() and (order_BT[:, 1] == 3).all()
    assert len(order_BT.unique(dim=0)) == 6  # of three frames


def test_even_frames_are_the_middles_of_segments() -> None:
    mask_BT = torch.tensor([[True] * 8, [True] * 3 + [False] * 5])
    for num, first, second in (
        (1, [4], [1]),
        (2, [2, 6], [0, 2]),
        (4, [1, 3, 5, 7], [0, 1, 2]),
        (9, range(8), range(3)),
    ):
        chosen_BT = even_frames(num, mask_BT)
        assert [row.nonzero().flatten().tolist() for row in chosen_BT] == [list(first), list(second)]
    assert not even_frames(2, torch.zeros(1, 4, dtype=torch.bool)).any()


def test_top_frames_are_those_of_the_highest_scores_the_earlier_of_equal_ones() -> None:
    score_BT = torch.tensor([[1.0, 3.0, 2.0, 3.0], [-5.0, -7.0, 9.0, -6.0]])
    mask_BT = torch.tensor([[True] * 4, [True, True, False, True]])
    for num, first, second in (
        (1, [1], [0]),
        (2, [1, 3], [0, 3]),
        (3, [1, 2, 3], [0, 1, 3]),
        (4, [0, 1, 2, 3], [0, 1, 3]),
    ):
        assert [row.nonzero().flatten().tolist() for row in top_frames(num, score_BT, mask_BT)] == [first, second]
