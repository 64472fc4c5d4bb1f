"""How the views of a video are read: which moments, and which part of the picture.

T frames, S frames of a clip, C channels, H height, W width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from adavid.config import nearest
from adavid.data.batch import View
from adavid.data.sampling import clip_indices, segment_indices
from adavid.data.source import FrameSource, Recounted
from adavid.data.transforms import crop_frames, evaluation_crop, multi_scale_crop

SHORT_VIDEOS = ("spread", "last", "first")


@dataclass(frozen=True)
class Reading:
    """Which part of the picture is kept.

    Attributes:
        resize: evaluation resizes the short side to `resize` and keeps the central `crop` x `crop` pixels, both in
            proportion to the size of the view.
        crop: see `resize`.
        scales: sides of the training crop as fractions of the short side, in descending order.
        flip: whether half of the training clips are mirrored.
        short_videos: how a video of fewer frames than are read is filled: see `segment_indices`.
        per_second: frames that are read of a second of a video, up to as many as the view has; 0: as many as the view
            has, of any video.

    Raises:
        ValueError: a number is out of range.
    """

    resize: int
    crop: int
    scales: tuple[float, ...]
    flip: bool
    short_videos: str = "spread"
    per_second: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.resize:
            raise ValueError(f"resize={self.resize}, crop={self.crop}: the crop must be positive and at most resize")
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(f"scales={list(self.scales)}: expected fractions of the short side, in (0, 1]")
        if self.short_videos not in SHORT_VIDEOS:
            expected = nearest(self.short_videos, SHORT_VIDEOS)
            raise ValueError(f"short_videos: '{self.short_videos}' is unknown; {expected}")
        if not 0 <= self.per_second < np.inf:
            raise ValueError(f"per_second={self.per_second:g}: expected frames a second, 0 for as many of any video")

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
        again = copy.deepcopy(rng)
        try:
            return self._read(source, views, rng)
        except Recounted:
            return self._read(source, views, again)

    def _read(
        self, source: FrameSource, views: Mapping[str, View], rng: np.random.Generator | None
    ) -> dict[str, Tensor]:
        indices = self.indices(source, views, rng)
        needed = np.unique(np.concatenate(list(indices.values())))
        cut = self.crop_for if rng is None else self._training_crop(views, rng)
        cuts: dict[str, list[Tensor]] = {name: [] for name in views}
        num_read = 0
        # Group by group, as 16 frames of 4K have 400 MB and what is cut of them 10.
        for group_NCHW in source.groups(needed.tolist()):
            group = needed[num_read : num_read + len(group_NCHW)]
            for name, view in views.items():
                is_shown = np.isin(group, indices[name])
                if is_shown.any():
                    shown_NCHW = group_NCHW if is_shown.all() else group_NCHW[is_shown]
                    cuts[name].append(cut(shown_NCHW, view))
            num_read += len(group)
        frames = {}
        for name, view in views.items():
            shown = np.unique(indices[name])
            frames[name] = torch.cat(cuts[name])[np.searchsorted(shown, indices[name])].reshape(-1, *view.shape[1:])
        return frames

    def places(self, source: FrameSource, views: Mapping[str, View]) -> dict[str, np.ndarray]:
        """Where a decoder finds the frames that evaluation reads, by view (T, S, 2): see `FrameSource.places`."""
        indices = self.indices(source, views, None)
        return {name: source.places(indices[name]).reshape(-1, view.clip, 2) for name, view in views.items()}

    def crop_for(self, frames_TCHW: Tensor, view: View) -> Tensor:
        """The evaluation crop, uint8 (T, C, H, W), of frames as a view has them."""
        return evaluation_crop(frames_TCHW, self.resize, self.crop, view.size)

    def _training_crop(self, views: Mapping[str, View], rng: np.random.Generator) -> Callable[[Tensor, View], Tensor]:
        """Cuts frames as training reads them: one draw for all, whatever their size."""
        size = max(view.size for view in views.values())
        drawn = copy.deepcopy(rng)
        _ = multi_scale_crop(size, size, size, self.scales, rng)  # as many draws for any size of frame
        is_flipped = self.flip and rng.random() < 0.5

        def cut(frames_NCHW: Tensor, view: View) -> Tensor:
            height, width = frames_NCHW.shape[-2:]
            box = multi_scale_crop(height, width, size, self.scales, copy.deepcopy(drawn))
            cropped = crop_frames(frames_NCHW, box, view.size)
            return cropped.flip(-1) if is_flipped else cropped

        return cut

    def moments(self, source: FrameSource, num_frames: int, rng: np.random.Generator | None = None) -> list[int]:
        """Which of a video's frames are read, or lie in the middle of the clips that are, by a view of `num_frames`.

        Raises:
            ValueError: so many are to be read a second, and nobody knows when the video's frames are shown.
        """
        if self.per_second:
            if source.seconds is None:
                raise ValueError(f"{source.name}: expected to know when its frames are shown, for data.per_second")
            interval = source.seconds[-1] / max(source.num_frames - 1, 1)
            in_time = round((source.seconds[-1] + interval) * self.per_second)
            num_frames = min(num_frames, max(1, in_time))
        return segment_indices(source.num_frames, num_frames, rng, self.short_videos)

    def indices(
        self, source: FrameSource, views: Mapping[str, View], rng: np.random.Generator | None = None
    ) -> dict[str, list[int]]:
        """Which of a video's frames each view shows; views of the same length show the same."""
        lengths = sorted({view.num_frames for view in views.values()})
        moments = {length: self.moments(source, length, rng) for length in lengths}
        return {
            name: clip_indices(moments[view.num_frames], view.clip, view.stride, source.num_frames)
            for name, view in views.items()
        }
