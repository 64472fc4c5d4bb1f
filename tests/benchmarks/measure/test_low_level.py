"""Low-level statistics of frames, in closed form. T frames, H height, W width, C channels."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.measure.low_level import low_level, separability


def frames(*colours: tuple[int, int, int], side: int = 12) -> np.ndarray:
    """A frame of each colour."""
    return np.tile(np.array(colours, dtype=np.uint8)[:, None, None], (1, side, side, 1))


def test_frames_of_one_colour() -> None:
    of = low_level(frames((255, 0, 0), (100, 100, 100), (0, 0, 0)))
    red = 0.299 * 255
    assert of["brightness, mean"] == pytest.approx([red, 100, 0], abs=1e-3)
    assert of["brightness, max 8"] == pytest.approx(of["brightness, min 8"])
    assert of["frame difference"] == pytest.approx([100 - red, 100 - red, 100], abs=1e-3)
    assert of["saturation, mean"].tolist() == of["saturation, max 64"].tolist() == [1, 0, 0]
    assert of["chroma, max 8"].tolist() == [255, 0, 0]
    for name in ("brightness, std", "sharpness, mean", "sharpness, variance", "sharpness, max 8", "colours, entropy"):
        assert of[name] == pytest.approx([0, 0, 0], abs=1e-4), name
    assert of["colours, bin 48"].tolist() == [1, 0, 0] and of["colours, bin 21"].tolist() == [0, 1, 0]
    assert of["colours, change"].tolist() == [2, 2, 2]
    assert of["colours, distance from the clip's mean"] == pytest.approx([4 / 3] * 3)


def test_one_bright_pixel() -> None:
    pictures = frames((0, 0, 0), (0, 0, 0), side=10)
    pictures[1, 5, 5] = 255
    of = low_level(pictures)
    assert of["brightness, max 8"] == pytest.approx([0, 255 / 8])
    assert of["brightness, min 8"].tolist() == [0, 0]
    assert of["sharpness, max 8"] == pytest.approx([0, (4 * 255 + 4 * 255) / 8])  # the pixel and its four neighbours
    assert of["sharpness, mean"] == pytest.approx([0, 8 * 255 / 64])
    share = 1 / 100
    assert of["colours, entropy"][1] == pytest.approx(-share * np.log(share) - (1 - share) * np.log(1 - share))


def test_what_gives_the_evidence_away_is_found() -> None:
    rng = np.random.default_rng(0)
    is_shown_T = np.arange(40) % 4 == 0
    pictures = rng.integers(0, 200, size=(40, 16, 16, 3), dtype=np.uint8)
    pictures[is_shown_T, 3, 3] = (255, 0, 0)
    auc = separability([(pictures, is_shown_T), (255 - pictures, is_shown_T)])
    assert all(0.5 <= value <= 1 for value in auc.values())
    pictures[is_shown_T, :4, :4] = 255
    assert separability([(pictures, is_shown_T)])["brightness, max 8"] == 1
    with pytest.raises(ValueError, match="expected frames with evidence and frames without"):
        separability([(pictures, np.zeros(40, bool))])
