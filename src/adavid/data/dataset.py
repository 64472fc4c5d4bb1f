"""The videos of a split, each as all the views of it.

T frames, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset, Sampler

from adavid.data.batch import VideoSample, View
from adavid.data.sampling import clip_indices, segment_indices
from adavid.data.sources import Clip, FrameSource
from adavid.data.transforms import crop_frames, evaluation_crop, multi_scale_crop

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class VideoRecord:
    """One labelled video, or the part of one from `start` to `end`, in seconds after its first frame."""

    video_id: str
    path: Path
    labels: tuple[int, ...]
    split: str
    start: float | None = None
    end: float | None = None

    @property
    def clip(self) -> Clip:
        return Clip(self.path, self.start, self.end)


class VideoDataset(Dataset[VideoSample]):
    """The videos of a split. A key is an index in evaluation, and (epoch, index) in training.

    All the views of a sample come from one pass over the video and show the same region. In training
    everything random about a sample is drawn from (seed, stage, epoch, index): whatever the number of
    workers, and after a resumption, it is the same.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        views: Mapping[str, View],
        open_clip: Callable[[Clip], FrameSource],
        *,
        resize: int,
        crop: int,
        scales: Sequence[float],
        flip: bool,
        seed: int,
        stage: int,
    ):
        self.records = records
        self.views = views
        self.open_clip = open_clip
        self.resize, self.crop = resize, crop
        self.scales, self.flip = scales, flip
        self.seed, self.stage = seed, stage

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: int | tuple[int, int]) -> VideoSample:
        if isinstance(key, tuple):
            epoch, index = key
            rng = np.random.default_rng([self.seed, self.stage, epoch, index])
        else:
            index, rng = key, None
        record = self.records[index]
        source = self.open_clip(record.clip)
        # Views of the same length show the same frames.
        lengths = sorted({view.num_frames for view in self.views.values()})
        moments = {length: segment_indices(source.num_frames, length, rng) for length in lengths}
        indices = {
            name: clip_indices(moments[view.num_frames], view.clip, view.stride, source.num_frames)
            for name, view in self.views.items()
        }
        needed = sorted(set().union(*indices.values()))
        frames_TCHW = source.read(needed)
        height, width = frames_TCHW.shape[-2:]
        if rng is not None:
            size = max(view.size for view in self.views.values())
            box = multi_scale_crop(height, width, size, self.scales, rng)
            flipped = self.flip and rng.random() < 0.5
        frames = {}
        for name, view in self.views.items():
            view_TCHW = frames_TCHW[np.searchsorted(needed, indices[name])]
            if rng is None:
                view_TCHW = evaluation_crop(view_TCHW, self.resize, self.crop, view.size)
            else:
                view_TCHW = crop_frames(view_TCHW, box, view.size)
                view_TCHW = view_TCHW.flip(-1) if flipped else view_TCHW
            frames[name] = view_TCHW.reshape(view.shape)
        return VideoSample(frames, record.labels, record.video_id, source.num_decoded)


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) for every video, in an order drawn from (seed, stage, epoch).

    Lightning calls `set_epoch`, under distributed training too.
    """

    def __init__(self, num_videos: int, seed: int, stage: int):
        self.num_videos = num_videos
        self.seed, self.stage = seed, stage
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_videos

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # The samples' generators take their index as the last number; no sample has this one.
        rng = np.random.default_rng([self.seed, self.stage, self.epoch, self.num_videos])
        for index in rng.permutation(self.num_videos).tolist():
            yield self.epoch, index
