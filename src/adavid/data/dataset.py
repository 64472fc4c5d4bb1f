"""The videos of a split, each as all the views of it, and the order in which training sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from torch.utils.data import Dataset, Sampler

from adavid.data.batch import VideoSample, View
from adavid.data.catalogue import VideoCatalogue


class Draws:
    """A fixed number of training's draws of each video, each kept once it is read, as far as there is room.

    Args:
        num: of each video.
        max_bytes: of samples; further ones are read whenever it is their turn.
    """

    def __init__(self, num: int, max_bytes: int = 4 << 30) -> None:
        assert num > 0
        self.num = num
        self.samples: dict[tuple[int, int], VideoSample] = {}  # by draw and video
        self._bytes_left = max_bytes

    def keep(self, key: tuple[int, int], sample: VideoSample) -> None:
        num_bytes = sum(frames.nbytes for frames in sample.frames.values())
        if num_bytes <= self._bytes_left:
            self.samples[key] = sample
            self._bytes_left -= num_bytes


class VideoDataset(Dataset[VideoSample]):
    """The readable videos of a split. A key is an index in evaluation, and (epoch, index) in training.

    In training everything random about a sample is drawn from (seed, stage, epoch, index): whatever the number of
    workers, and after a resumption, it is the same.

    Args:
        catalogue: of the videos.
        split: which of them.
        views: what is read of each.
        seed: of training.
        stage: likewise.
        draws: None draws anew in every epoch. With `Draws` training takes turns at so many of each video, every stage
            at the same ones, so that pictures come back and none is decoded twice.
    """

    def __init__(
        self,
        catalogue: VideoCatalogue,
        split: str,
        views: Mapping[str, View],
        seed: int = 0,
        stage: int = 0,
        draws: Draws | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.records = catalogue.checked.videos[split]
        self.views = views
        self.seed, self.stage, self.draws = seed, stage, draws

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: int | tuple[int, int]) -> VideoSample:
        if isinstance(key, int):
            return self._read(key, None)
        epoch, index = key
        if self.draws is None:
            return self._read(index, np.random.default_rng([self.seed, self.stage, epoch, index]))
        draw = epoch % self.draws.num
        if (draw, index) not in self.draws.samples:
            sample = self._read(index, np.random.default_rng([self.seed, 0, draw, index]))
            self.draws.keep((draw, index), sample)
            return sample
        return self.draws.samples[draw, index]

    def _read(self, index: int, rng: np.random.Generator | None) -> VideoSample:
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
