"""Training takes turns at draws that are kept in files."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch

from adavid.data.batch import View
from adavid.data.datamodule import VideoDataModule
from adavid.data.dataset import VideoDataset
from adavid.data.draws import Draws
from adavid.data.reading import Reading
from adavid.store import Store
from tests.adavid.data.videos import Videos, videos_in, write_folders

VIEWS = {"frames": View(4, 16)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folders(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a video was read."""
    counted: Counter[str] = Counter()
    read = Reading.read
    monkeypatch.setattr(Reading, "read", lambda *args: counted.update(["read"]) or read(*args))  # type: ignore[func-returns-value]
    return counted


def frames(
    root: Path, epoch: int, draws: Draws | None = None, stage: int = 0, seed: int = 0, size: int = 16
) -> torch.Tensor:
    views = {"frames": View(4, size)}
    dataset = VideoDataset(Videos(videos_in(root)), "train", views, seed=seed, stage=stage, draws=draws)
    return dataset[epoch, 1].frames["frames"]


def test_epochs_take_turns_whatever_the_stage(root: Path, tmp_path: Path, reads: Counter[str]) -> None:
    draws = Draws(2, tmp_path)
    first, second = frames(root, 0, draws), frames(root, 1, draws)
    assert reads["read"] == 2 and not torch.equal(first, second)
    assert torch.equal(frames(root, 2, draws), first) and torch.equal(frames(root, 5, draws, stage=3), second)
    assert torch.equal(frames(root, 4, Draws(2, tmp_path), stage=1), first)  # another process
    assert reads["read"] == 2
    assert torch.equal(frames(root, 0), first) and not torch.equal(frames(root, 2), first)  # anew in every epoch


def test_what_other_frames_follow_from_is_kept_apart(root: Path, tmp_path: Path) -> None:
    draws = Draws(2, tmp_path)
    first = frames(root, 0, draws)
    assert not torch.equal(frames(root, 0, draws, seed=1), first)
    assert frames(root, 0, draws, size=8).shape != first.shape
    assert torch.equal(frames(root, 0, draws), first)


def test_all_of_a_sample_comes_back(root: Path, tmp_path: Path) -> None:
    plain = VideoDataset(Videos(videos_in(root)), "train", VIEWS)
    kept = [VideoDataset(Videos(videos_in(root)), "train", VIEWS, draws=Draws(1, tmp_path)) for _ in range(2)]
    for index in range(len(plain)):
        expected = plain[0, index]
        for dataset in kept:
            sample = dataset[0, index]
            assert sample._replace(frames={}) == expected._replace(frames={}, num_decoded=0)
            assert torch.equal(sample.frames["frames"], expected.frames["frames"])


def test_without_room_it_is_read_again(root: Path, tmp_path: Path, reads: Counter[str]) -> None:
    without_room = Draws(2, tmp_path, partial(Store, max_bytes=0))
    assert torch.equal(frames(root, 0, without_room), frames(root, 0, without_room)) and reads["read"] == 2


def test_workers_keep_them_too_and_evaluation_keeps_nothing(root: Path, tmp_path: Path) -> None:
    batches = []
    for num_workers in (2, 0):
        videos = Videos(videos_in(root), num_workers=num_workers)
        data = VideoDataModule(videos, VIEWS, batch_size=7, draws=Draws(2, tmp_path))
        batches.append(next(iter(data.train_dataloader())).frames["frames"])
        next(iter(data.val_dataloader()))
    assert torch.equal(*batches) and len(list(tmp_path.glob("*.sqlite"))) == 1
