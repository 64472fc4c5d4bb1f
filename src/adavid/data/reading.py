"""How the views of a video are read: which moments, and which part of the picture.

T frames, S frames of a clip, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from adavid.data.batch import View
from adavid.data.sampling import clip_indices, segment_indices
from adavid.data.sources import FrameSource
from adavid.data.transforms import crop_frames, evaluation_crop, multi_scale_crop


@dataclass(frozen=True)
class Reading:
    """Which part of the picture is kept.

    Attributes:
        resize: evaluation resizes the short side to `resize` and keeps the central `crop` x `crop` pixels, both in
            proportion to the size of the view.
        crop: see `resize`.
        scales: sides of the training crop as fractions of the short side, in descending order.
        flip: whether half of the training clips are mirrored.

    Raises:
        ValueError: a number is out of range.
    """

    resize: int
    crop: int
    scales: tuple[float, ...]
    flip: bool

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.resize:
            raise ValueError(f"resize={self.resize}, crop={self.crop}: the crop must be positive and at most resize")
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(f"scales={list(self.scales)}: expected fractions of the short side, in (0, 1]")

    def read(
        self, source: FrameSource, views: Mapping[str, View], rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        """All the views of a video, in one pass over it; they show the same region, at the same moments.

        Args:
            source: of the video, or of the part of one.
            views: by name.
            rng: training draws one random frame a segment, AR-Net's multi-scale crop and whether to mirror it from
                this; without one it is as evaluation reads, the centre frame of each segment and the centre crop.

        Returns:
            by view, uint8 (T, C, H, W), or (T, S, C, H, W) where it reads clips.

        Raises:
            ValueError: a frame cannot be decoded; the message names the file.
        """
        indices = _indices(source.num_frames, views, rng)
        needed = sorted(set().union(*indices.values()))
        frames_TCHW = source.read(needed)
        height, width = frames_TCHW.shape[-2:]
        if rng is not None:
            size = max(view.size for view in views.values())
            box = multi_scale_crop(height, width, size, self.scales, rng)
            flipped = self.flip and rng.random() < 0.5
        frames = {}
        for name, view in views.items():
            view_TCHW = frames_TCHW[np.searchsorted(needed, indices[name])]
            if rng is None:
                view_TCHW = self.crop_for(view_TCHW, view)
            else:
                view_TCHW = crop_frames(view_TCHW, box, view.size)
                view_TCHW = view_TCHW.flip(-1) if flipped else view_TCHW
            frames[name] = view_TCHW.reshape(view.shape)
        return frames

    def places(self, source: FrameSource, views: Mapping[str, View]) -> dict[str, np.ndarray]:
        """Where a decoder finds the frames that evaluation reads, by view (T, S, 2): see `FrameSource.places`."""
        indices = _indices(source.num_frames, views, None)
        return {name: source.places(indices[name]).reshape(view.num_frames, -1, 2) for name, view in views.items()}

    def crop_for(self, frames_TCHW: Tensor, view: View) -> Tensor:
        """The evaluation crop, uint8 (T, C, H, W), of frames as a view has them."""
        return evaluation_crop(frames_TCHW, self.resize, self.crop, view.size)


def _indices(num_frames: int, views: Mapping[str, View], rng: np.random.Generator | None) -> dict[str, list[int]]:
    """Which of a video's frames each view shows; views of the same length show the same."""
    lengths = sorted({view.num_frames for view in views.values()})
    moments = {length: segment_indices(num_frames, length, rng) for length in lengths}
    return {
        name: clip_indices(moments[view.num_frames], view.clip, view.stride, num_frames) for name, view in views.items()
    }
