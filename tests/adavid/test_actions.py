import numpy as np
import pytest
import torch

from adavid.actions import Action, ActionSpace, PatchGrid, is_close, place_shares


def test_adafocus_places_are_its_codes() -> None:
    grid = PatchGrid(224, 96, 7)  # (floor(i / 6 * 128), floor(j / 6 * 128))
    assert len(grid) == 49
    corner_P2 = torch.stack(grid.corner(torch.arange(49)), -1).tolist()
    assert corner_P2[:7] == [[0, 0], [0, 21], [0, 42], [0, 64], [0, 85], [0, 106], [0, 128]]
    assert corner_P2[7] == [21, 0] and corner_P2[-1] == [128, 128]
    assert grid.box(8) == (21 / 224, 21 / 224, 96 / 224, 96 / 224)


def test_every_pixel_is_a_place() -> None:
    grid = PatchGrid.every_pixel(10, 7)
    assert torch.stack(grid.corner(torch.arange(16)), -1).tolist() == [
        [row, column] for row in range(4) for column in range(4)
    ]
    assert PatchGrid.every_pixel(10, 10).corner(0) == (0, 0)


@pytest.mark.parametrize(("frame_size", "patch_size", "corner"), [(224, 96, 64), (64, 20, 22), (9, 4, 2), (5, 5, 0)])
def test_a_single_place_is_in_the_middle(frame_size: int, patch_size: int, corner: int) -> None:
    grid = PatchGrid(frame_size, patch_size, 1)
    assert len(grid) == 1 and grid.corner(0) == (corner, corner)
    assert torch.stack(grid.corner(torch.zeros(2, dtype=torch.long)), -1).tolist() == [[corner, corner]] * 2


def test_the_map_of_places() -> None:
    assert place_shares(np.array([0, 0, 3, 1]), 2) == [[0.5, 0.25], [0, 0.25]]
    for side in (7, 10, 25):
        fine = np.array(place_shares(np.arange(side**2), side))
        assert fine == pytest.approx(np.full((7, 7), 1 / 49))
    corner = np.array(place_shares(np.array([1]), 10))  # the second of 10 columns: .1 to .2; cells of 1/7
    assert corner[0, :2] == pytest.approx([10 / 7 - 1, 2 - 10 / 7]) and corner.sum() == pytest.approx(1)
    assert place_shares(np.array([], int), 2) == [[0, 0], [0, 0]]


@pytest.mark.parametrize("patch_size", [0, 17])
def test_a_patch_fits_the_frame(patch_size: int) -> None:
    with pytest.raises(ValueError, match=f"patch: expected 1 to 16 pixels, the frame's, got {patch_size}"):
        PatchGrid(16, patch_size, 7)


def test_kinds() -> None:
    plain = ActionSpace(("64", "32", "skip"), (64, 32, 0))
    patches = ActionSpace(("patch", "skip"), (8, 0), grid=PatchGrid(16, 8, 2))
    assert (len(plain), len(patches)) == (3, 5)
    assert [plain.first_index(kind) for kind in range(3)] == [0, 1, 2]
    assert [patches.first_index(kind) for kind in range(2)] == [0, 4]
    for of in (torch.tensor, np.array):
        assert plain.kind(of([-1, 0, 1, 2])).tolist() == [-1, 0, 1, 2]
        assert patches.kind(of([-1, 0, 1, 3, 4])).tolist() == [-1, 0, 0, 0, 1]


def test_a_frame_is_seen_closely_where_none_is_seen_more_so() -> None:
    actions = ActionSpace(("64", "32", "64-wide", "skip"), (64, 32, 64, 0), covers=(1, 1, 1, 2))
    assert actions.is_close == is_close(actions.kinds) == (True, False, True, False)
    assert actions.kinds[3] == Action("skip", 0, covers=2, places=1)
    patches = ActionSpace(("patch-8", "skip"), (8, 0), grid=PatchGrid(16, 8, 3))
    assert [action.places for action in patches.kinds] == [9, 1] and patches.is_close == (True, False)


def test_labels() -> None:
    patches = ActionSpace(("patch-8", "skip"), (8, 0), grid=PatchGrid(16, 8, 3))
    assert [patches.describe(action) for action in (0, 5, 9)] == ["patch-8 at 0,0", "patch-8 at 4,8", "skip"]
    assert ActionSpace(("64", "skip"), (64, 0)).describe(1) == "skip"


def test_resolutions_and_skips() -> None:
    actions = ActionSpace.of_resolutions((64, 32), (1, 4))
    assert actions.names == ("64", "32", "skip-1", "skip-4")
    assert actions.sizes == (64, 32, 0, 0) and actions.covers == (1, 1, 1, 4)
    assert ActionSpace.of_resolutions((64,), ()).names == ("64",)
