"""What tests share: small random batches, methods whose decisions differ from video to video, data in memory."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from pytorch_lightning import LightningDataModule
from torch import multiprocessing as mp
from torch import nn
from torch.utils.data import DataLoader

from adavid import chunks
from adavid.data.batch import VideoBatch
from adavid.data.source import alone
from adavid.method import AdaptiveMethod
from adavid.routing import hold_skips

torch.set_num_threads(1)
# Tests build hundreds of networks beside the million objects of the libraries: to look for cycles every 700 objects, as
# Python does, takes a fifth of the time that it takes to compose a run.
gc.set_threshold(50_000, 20, 20)
NUM_CLASSES = 5
UCF101 = Path(__file__).resolve().parents[2] / "shared" / "ucf101"
COPIES = {"ucf101": UCF101, "ucf101_untrimmed": UCF101}  # of data sets that are not made here; a test does without them


def start_ranks(work: Callable[..., None], *arguments: Any, num_ranks: int = 2) -> None:
    """Runs `work(rank, *arguments)` in a process for each rank, with the variables that torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A fork has loaded all that this process has, but could not use its GPUs.
    method = "spawn" if torch.cuda.is_available() else "fork"
    mp.start_processes(_as_rank, (work, port, num_ranks, arguments), nprocs=num_ranks, start_method=method)


def _as_rank(rank: int, work: Callable[..., None], port: int, num_ranks: int, arguments: tuple[Any, ...]) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0"}
    os.environ |= {"WORLD_SIZE": str(num_ranks), "LOCAL_WORLD_SIZE": str(num_ranks)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "TORCHELASTIC_RUN_ID": "test"}
    torch.set_num_threads(1)
    work(rank, *arguments)


def random_batch(
    method: AdaptiveMethod, num_videos: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> VideoBatch:
    """Videos of noise; each frame has its own contrast and colour, so that a policy has something to go by."""
    generator = torch.Generator().manual_seed(seed)
    frames, mask, places = {}, {}, {}
    for name, view in method.views.items():
        places[name] = alone(range(view.num_frames * view.clip)).reshape(view.num_frames, view.clip, 2)
        shape = (num_videos, *view.shape)
        of_moment = (*shape[:2], *(1 for _ in shape[2:-3]))
        contrast = 4 * torch.rand(*of_moment, 1, 1, 1, generator=generator)
        colour = 2 * torch.randn(*of_moment, 3, 1, 1, generator=generator)
        frames[name] = (colour + contrast * torch.randn(shape, generator=generator)).to(dtype)
        mask[name] = torch.ones(shape[:2], dtype=torch.bool)
    label_BK = nn.functional.one_hot(torch.arange(num_videos) % NUM_CLASSES, NUM_CLASSES).float()
    video_id = [f"v{seed}-{b}" for b in range(num_videos)]
    return VideoBatch(frames, mask, label_BK, video_id, torch.zeros(num_videos), places=[places] * num_videos)


def padded_batch(method: AdaptiveMethod, lengths: Sequence[int]) -> VideoBatch:
    """Videos of noise that have so many frames."""
    batch = random_batch(method, len(lengths))
    for b, length in enumerate(lengths):
        batch.mask["frames"][b, length:] = False
    return batch


def random_decisions(method: AdaptiveMethod, batch: VideoBatch, seed: int = 0) -> torch.Tensor:
    """Valid decisions (B, T), drawn from all actions."""
    shape = next(iter(batch.mask.values())).shape
    actions = method.actions
    draw_BT = torch.randint(len(actions), shape, generator=torch.Generator().manual_seed(seed))
    return hold_skips(draw_BT, torch.tensor(actions.covers)[actions.kind(torch.arange(len(actions)))])


def opinionated(method: AdaptiveMethod, seed: int = 0) -> AdaptiveMethod:
    """Untrained, but with settled BatchNorm statistics and linear layers loud enough to decide differently."""
    torch.manual_seed(seed)
    for module in method.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=1.0 / module.in_features**0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LSTMCell | nn.GRUCell):
            nn.init.normal_(module.weight_ih, std=3.0 / module.input_size**0.5)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.clamp_(min=0.5)  # some networks start with residual branches that say nothing
    return method.eval()


class RandomVideos(LightningDataModule):
    """Batches of noise, ready made."""

    def __init__(self, method: AdaptiveMethod, num_batches: int = 2, num_videos: int = 4) -> None:
        super().__init__()
        self.batches = [random_batch(method, num_videos, seed) for seed in range(num_batches)]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)

    val_dataloader = test_dataloader = train_dataloader


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow ones first: a process that has no test left waits for the last of the others, which is short then."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _timed_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A heavy call runs two rows at once: finding the fastest number takes seconds for each of the papers' networks."""
    monkeypatch.setattr(chunks, "_by_time", lambda run, most: (2, {}))
