"""The videos of a split, each as all the views of it, and the order in which training sees them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from torch.utils.data import Dataset, Sampler

from adavid.data.batch import VideoSample, View
from adavid.data.catalogue import VideoCatalogue
from adavid.data.draws import Draws, Frames

Places = dict[str, np.ndarray]  # by view, `FrameSource.places`
Read = tuple[Frames, int, Places | None]  # how many were decoded for them; and where they are, in evaluation


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
        if draws is not None:
            ids = [record.video_id for record in self.records]  # the fingerprint is of all folds
            self._kept = draws.of(repr((catalogue.fingerprint, catalogue.reading, sorted(views.items()), seed, ids)))

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: int | tuple[int, int]) -> VideoSample:
        if isinstance(key, int):
            return self._sample(key, self._read(key))
        epoch, index = key
        if self.draws is None:
            return self._sample(index, self._read(index, self.stage, epoch))
        draw = epoch % self.draws.num
        frames = self._kept.get(f"{draw}-{index}", self.views, lambda: self._read(index, 0, draw)[0])
        return self._sample(index, (frames, 0, None))

    def _read(self, index: int, *of_training: int) -> Read:
        """A video's frames, for evaluation, or drawn for a stage and an epoch."""
        source = self.catalogue.checked.open(self.records[index])
        rng = np.random.default_rng([self.seed, *of_training, index]) if of_training else None
        frames = self.catalogue.reading.read(source, self.views, rng)
        return frames, source.num_decoded, None if of_training else self.catalogue.reading.places(source, self.views)

    def _sample(self, index: int, read: Read) -> VideoSample:
        record, (frames, num_decoded, places) = self.records[index], read
        return VideoSample(frames, record.labels, record.video_id, num_decoded, record.level, record.group, places)


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index) for every video, or for some, in an order drawn from (seed, stage, epoch).

    Of several ranks each yields its share of that one order: every so manieth, so that batches of equal size, one a
    rank, are the batches that one rank would see. What is left over, a video for some ranks alone, is left out.

    Lightning calls `set_epoch`, under distributed training too.

    Args:
        num_videos: of the split.
        seed: of the order, with the stage.
        stage: likewise.
        only: the indices of some; None yields all.
        rank: whose share, from 0.
        world_size: of how many.
    """

    def __init__(
        self,
        num_videos: int,
        seed: int,
        stage: int,
        only: Collection[int] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.num_videos = num_videos
        self.seed, self.stage = seed, stage
        self.only = frozenset(range(num_videos) if only is None else only)
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.only) // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # The samples' generators take their index as the last number; no sample has this one.
        rng = np.random.default_rng([self.seed, self.stage, self.epoch, self.num_videos])
        order = [index for index in rng.permutation(self.num_videos).tolist() if index in self.only]
        for index in order[self.rank : len(self) * self.world_size : self.world_size]:
            yield self.epoch, index


def held_out(groups: Sequence[str]) -> list[int]:
    """The indices of some videos, whole groups by rising hash of their names until they are a fifth, and never all.

    Args:
        groups: whose group each video is of: its own id where it stands alone.

    Raises:
        ValueError: all are of one group, so that none would be left.
    """
    members = defaultdict[str, list[int]](list)
    for index, group in enumerate(groups):
        members[group].append(index)
    if len(members) < 2:
        raise ValueError("held-out videos: expected a training split of two groups of videos or more, got one")
    apart: list[int] = []
    *falling, _ = sorted(members, key=lambda group: hashlib.sha256(group.encode()).hexdigest())
    for group in falling:
        if len(apart) >= max(2, len(groups) // 5):
            break
        apart += members[group]
    return sorted(apart)
