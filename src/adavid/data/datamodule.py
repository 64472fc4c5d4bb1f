"""Videos as batches: records in, batches of several views out. A data set says only what its videos are.

B videos, T frames, K classes, C channels, H height, W width.
"""

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader
from tqdm import tqdm

from adavid.data.batch import VideoBatch, VideoSample, View, collate
from adavid.data.dataset import SPLITS, EpochSampler, VideoDataset, VideoRecord
from adavid.data.packs import PackedCache
from adavid.data.sources import Clip, FrameSource, open_source
from adavid.data.transforms import normalize


class VideoDataModule(LightningDataModule, ABC):
    """A data set of labelled videos. A subclass sets `class_names` and says its `records`.

    Training: one random frame a segment, AR-Net's multi-scale crop and flip, shuffled, the last incomplete
    batch left out unless it is the only one. Evaluation: the centre frame of each segment, the centre crop,
    in order. All of it depends only on (seed, stage, epoch, index).

    Args:
        views: what the method reads, by name.
        batch_size: videos a batch, on each device.
        seed: of the order and the augmentation in training.
        num_workers: processes that load; None for 0 with a cache and otherwise 2, or 1 on a single core.
        resize: evaluation resizes the short side to `resize` and keeps the central `crop` x `crop` pixels,
            both in proportion to the size of the view.
        crop: see `resize`.
        scales: sides of the training crop as fractions of the short side, in descending order.
        flip: whether half of the training clips are mirrored; not where left and right tell classes apart.
        cache: folder to keep every clip's decoded frames in (3 bytes a pixel: for short clips), or None.
        skip_bad: leave out videos that cannot be read, rather than raise.

    Attributes:
        class_names: the name of each label.
        stage: which stage of training is running, set from outside before its data loader is made.
        num_skipped_bad: how many videos `skip_bad` has left out, over all splits.
    """

    class_names: list[str]

    def __init__(
        self,
        views: Mapping[str, View],
        batch_size: int,
        seed: int = 0,
        num_workers: int | None = None,
        resize: int = 256,
        crop: int = 224,
        scales: Sequence[float] = (1, 0.875, 0.75, 0.66),
        flip: bool = True,
        cache: str | None = None,
        skip_bad: bool = False,
    ):
        super().__init__()
        if not 0 < crop <= resize:
            raise ValueError(f"resize={resize}, crop={crop}: the crop must be positive and at most resize")
        if not scales or not all(0 < scale <= 1 for scale in scales):
            raise ValueError(f"scales={list(scales)}: expected fractions of the short side, in (0, 1]")
        if num_workers is None:
            num_workers = 0 if cache is not None else min(2, os.cpu_count() or 1)
        self.views = dict(views)
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.resize, self.crop = resize, crop
        self.scales, self.flip = tuple(scales), flip
        self.cache = None if cache is None else Path(cache)
        self.skip_bad = skip_bad
        self.stage = 0
        self.num_skipped_bad = 0
        self._packs: dict[str, PackedCache] = {}
        self._checked: dict[str, list[VideoRecord]] = {}

    @abstractmethod
    def records(self, split: str) -> list[VideoRecord]:
        """Returns the videos of "train", "val" or "test", ids unique; [] where there is no such split."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def report_split(self) -> str:
        """The split that results are reported on: "test" if there is one, else "val"."""
        return "test" if self.records("test") else "val"

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that change with the videos of any split, their labels or their cuts."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for record in (record for split in SPLITS for record in self.records(split)):
            digest.update(repr((record.video_id, record.labels, record.split, record.start, record.end)).encode())
        return digest.hexdigest()[:8]

    def setup(self, stage: str | None = None) -> None:
        """Reads the records of every split and checks that every video can be read, once."""
        if not self._checked:
            self.check()

    def check(self) -> None:
        """Opens every video of every split and decodes its last frame, or packs it where there is a cache.

        Raises:
            ValueError: a split lacks videos, an id occurs twice, two splits share a clip, or videos cannot be
                read: the first line says how many, and each further line names one.
        """
        good: dict[str, list[VideoRecord]] = {}
        bad: list[str] = []
        split_of: dict[Clip, str] = {}
        for split in SPLITS:
            records = self.records(split)
            self._check_records(split, records)
            for record in records:
                if (other := split_of.setdefault(record.clip, split)) != split:
                    raise ValueError(f"{record.path}: expected in one split, found in {other!r} and {split!r}")
            errors = self._errors(split, records)
            good[split] = [record for record in records if record.clip not in errors]
            bad += [errors[record.clip] for record in records if record.clip in errors]
            if records and not good[split]:
                raise ValueError(f"no {split!r} video can be read; the first: {bad[-len(records)]}")
        if bad and not self.skip_bad:
            head = f"{len(bad)} of the data set's videos cannot be read; skip_bad=true leaves them out"
            raise ValueError("\n".join([head, *bad]))
        self.num_skipped_bad = len(bad)
        self._checked = good

    def _check_records(self, split: str, records: Sequence[VideoRecord]) -> None:
        if split != "test" and not records:
            raise ValueError(f"the data set has no {split!r} videos")
        for video_id, num in Counter(record.video_id for record in records).items():
            if num > 1:
                raise ValueError(f"split {split!r} has {num} videos with the id {video_id!r}, expected 1")
        for record in records:
            assert record.split == split and record.labels, record
            assert all(0 <= label < self.num_classes for label in record.labels), record

    def _errors(self, split: str, records: Sequence[VideoRecord]) -> dict[Clip, str]:
        """Returns why each unreadable clip is so."""
        if not records:
            return {}
        if self.cache is not None:
            self._packs[split] = PackedCache(self.cache, [record.clip for record in records], split)
            return self._packs[split].errors
        errors = {}
        for record in tqdm(records, desc=f"checking {split}", unit="video"):
            try:
                source = open_source(*record.clip)
                source.read([source.num_frames - 1])
            except ValueError as error:
                errors[record.clip] = str(error)
        return errors

    def train_dataloader(self) -> DataLoader[VideoSample]:
        dataset = self.dataset("train")
        num_devices = self.trainer.world_size if self.trainer is not None else 1
        drop_last = len(dataset) // num_devices >= self.batch_size
        return self._loader(dataset, EpochSampler(len(dataset), self.seed, self.stage), drop_last)

    def val_dataloader(self) -> DataLoader[VideoSample]:
        return self._loader(self.dataset("val"))

    def test_dataloader(self) -> DataLoader[VideoSample]:
        return self._loader(self.dataset(self.report_split))

    def on_after_batch_transfer(self, batch: VideoBatch, dataloader_idx: int) -> VideoBatch:
        """Normalises the frames to float32, on the device."""
        return batch._replace(frames={name: normalize(frames) for name, frames in batch.frames.items()})

    def dataset(self, split: str) -> VideoDataset:
        """The readable videos of a split, uint8, as the loaders batch them; `setup` comes first."""
        assert self._checked, "setup() comes first"
        return VideoDataset(
            self._checked[split],
            self.views,
            self._packs[split].open if self.cache is not None else _open_clip,
            resize=self.resize,
            crop=self.crop,
            scales=self.scales,
            flip=self.flip,
            seed=self.seed,
            stage=self.stage,
        )

    def _loader(
        self, dataset: VideoDataset, sampler: EpochSampler | None = None, drop_last: bool = False
    ) -> DataLoader[VideoSample]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=partial(collate, num_classes=self.num_classes),
        )


def _open_clip(clip: Clip) -> FrameSource:
    return open_source(*clip)
