"""Nothing that a frame looks like at a glance gives away whether it shows the evidence."""

from __future__ import annotations

import numpy as np

from benchmarks.measure.low_level import separability
from datamodules import sprites_drawing as drawing

NUM_VIDEOS, NUM_FRAMES, LARGEST = 150, 32, 0.65


def test_no_low_level_statistic_finds_the_evidence() -> None:
    margin = (drawing.CANVAS - drawing.CROP) // 2
    crop = slice(margin, margin + drawing.CROP)

    def video(index: int) -> tuple[np.ndarray, np.ndarray]:
        label = index % len(drawing.CLASS_NAMES)
        frames_THWC, meta = drawing.render_video(drawing.video_rng(0, "train", index), label, NUM_FRAMES)
        return frames_THWC[:, crop, crop], meta.has_evidence_T

    auc = separability(map(video, range(NUM_VIDEOS)))
    assert len(auc) == 13 + 64 + 3
    assert {name: value for name, value in auc.items() if value > LARGEST} == {}
