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

    Args:
        catalogue: what the videos are, and how they are read.
        views: what the method reads, by name.
        batch_size: videos a batch, on each device.
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
        sampler = EpochSampler(len(dataset), self.seed, self.stage, self._part(dataset.records))
        num_devices = self.trainer.world_size if self.trainer is not None else 1
        drop_last = len(sampler) // num_devices >= self.batch_size
        return self._loader(dataset, sampler, drop_last)

    def val_dataloader(self) -> DataLoader[VideoSample]:
        return self._loader(self._dataset("val"))

    def test_dataloader(self) -> DataLoader[VideoSample]:
        return self._loader(self._dataset(self.catalogue.report_split))

    def on_after_batch_transfer(self, batch: VideoBatch, dataloader_idx: int) -> VideoBatch:
        """Normalises the frames to float32, on the device."""
        return batch._replace(frames={name: normalize(frames) for name, frames in batch.frames.items()})

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
        self, dataset: VideoDataset, sampler: EpochSampler | None = None, drop_last: bool = False
    ) -> DataLoader[VideoSample]:
        num_workers = self.catalogue.num_workers
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=partial(collate, num_classes=self.catalogue.num_classes),
        )
