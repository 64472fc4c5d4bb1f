"""The videos of a split, each as all the views of it, and the order in which training sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from torch.utils.data import Dataset, Sampler

from adavid.data.batch import VideoSample, View
from adavid.data.catalogue import VideoCatalogue


class VideoDataset(Dataset[VideoSample]):
    """The readable videos of a split. A key is an index in evaluation, and (epoch, index) in training.

    In training everything random about a sample is drawn from (seed, stage, epoch, index): whatever the number of
    workers, and after a resumption, it is the same.
    """

    def __init__(
        self, catalogue: VideoCatalogue, split: str, views: Mapping[str, View], seed: int = 0, stage: int = 0
    ) -> None:
        self.catalogue = catalogue
        self.records = catalogue.checked.videos[split]
        self.views = views
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
        source = self.catalogue.checked.open(record)
        frames = self.catalogue.reading.read(source, self.views, rng)
        return VideoSample(frames, record.labels, record.video_id, source.num_decoded, record.level, record.group)


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
