"""The videos of a catalogue as batches of a method's views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from adavid.data.batch import VideoBatch, VideoSample, View, collate
from adavid.data.catalogue import VideoCatalogue, VideoRecord
from adavid.data.dataset import EpochSampler, VideoDataset, held_out
from adavid.data.draws import Draws
from adavid.data.transforms import normalize


class VideoDataModule(LightningDataModule):
    """The videos of a catalogue, for one stage of training or one evaluation; cheap to make.

    Training: shuffled, the last incomplete batch left out unless it is the only one. Evaluation: in order. How a video
    is read, `Reading.read` says. All of it depends only on (seed, stage, epoch, index).

    Each rank of a run on several devices gets its part of every batch in training, and its share of the videos in
    evaluation: each video once, so that some ranks have a video more, and one that would have none the first one's.

    Args:
        catalogue: what the videos are, and how they are read.
        views: what the method reads, by name.
        batch_size: videos a batch, of all devices together, of which each gets an equal part.
        seed: of the order and the augmentation in training.
        stage: which stage of training it is for, from 0.
        draws: see `VideoDataset`.
        videos: of the training split, as a `Stage` says it.
    """

    def __init__(
        self,
        catalogue: VideoCatalogue,
        views: Mapping[str, View],
        batch_size: int,
        seed: int = 0,
        stage: int = 0,
        draws: Draws | None = None,
        videos: str = "all",
    ) -> None:
        super().__init__()
        self.catalogue = catalogue
        self.views = dict(views)
        self.batch_size = batch_size
        self.seed, self.stage, self.draws, self.videos = seed, stage, draws, videos

    def setup(self, stage: str | None = None) -> None:
        """Checks that every video can be read, once a catalogue; see `VideoCatalogue.checked`."""
        _ = self.catalogue.checked

    def train_dataloader(self) -> DataLoader[VideoSample]:
        dataset = self._dataset("train")
        part, (rank, world_size) = self._part(dataset.records), self._share()
        sampler = EpochSampler(len(dataset), self.seed, self.stage, part, rank, world_size)
        drop_last = len(sampler.only) >= self.batch_size
        if world_size > 1 and not drop_last:
            raise ValueError(
                f"recipe.batch_size: {len(sampler.only)} videos to train on are less than a batch of "
                f"{self.batch_size}, of which each of {world_size} devices gets an equal part"
            )
        return self._loader(dataset, sampler, drop_last)

    def val_dataloader(self) -> DataLoader[VideoSample]:
        return self._in_order("val")

    def test_dataloader(self) -> DataLoader[VideoSample]:
        return self._in_order(self.catalogue.report_split)

    def on_after_batch_transfer(self, batch: VideoBatch, dataloader_idx: int) -> VideoBatch:
        """Normalises the frames to float32, on the device."""
        return batch._replace(frames={name: normalize(frames) for name, frames in batch.frames.items()})

    def _share(self) -> tuple[int, int]:
        """Which share of the videos this rank gets, from 0, and of how many."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _in_order(self, split: str) -> DataLoader[VideoSample]:
        dataset, (rank, world_size) = self._dataset(split), self._share()
        return self._loader(dataset, range(rank, len(dataset), world_size) or range(1))

    def _part(self, records: Sequence[VideoRecord]) -> set[int] | None:
        """The indices of those that a stage of `videos` is for; None: all."""
        if self.videos == "all":
            return None
        apart = set(held_out([record.group or record.video_id for record in records]))
        return apart if self.videos == "held_out" else set(range(len(records))) - apart

    def _dataset(self, split: str) -> VideoDataset:
        draws = self.draws if split == "train" else None
        return VideoDataset(self.catalogue, split, self.views, self.seed, self.stage, draws)

    def _loader(
        self, dataset: VideoDataset, sampler: EpochSampler | range, drop_last: bool = False
    ) -> DataLoader[VideoSample]:
        num_workers = self.catalogue.num_workers
        return DataLoader(
            dataset,
            batch_size=self.batch_size // self._share()[1],
            sampler=sampler,
            drop_last=drop_last,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=partial(collate, num_classes=self.catalogue.num_classes),
        )
