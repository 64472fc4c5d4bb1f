"""What frozen networks say is kept for a stage: the same outputs, billed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer

from adavid.cost import Ledger, price
from adavid.data.datamodule import VideoDataModule
from adavid.data.dataset import Draws, VideoDataset
from adavid.kept import KeptFeatures
from adavid.networks.backbones import BackboneSpec, FrameClassifier
from adavid.stage import Stage
from adavid.training import fit
from methods.uniform import Uniform
from tests.adavid.data.videos import Videos, videos_in, write_folders

SPEC = BackboneSpec("narrow/4-8-8", 16)
OWNER = torch.tensor([0, 0, 1, 1])
TRAINER = {"accelerator": "cpu", "enable_progress_bar": False}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folders(tmp_path_factory.mktemp("videos"))


def frozen() -> FrameClassifier:
    torch.manual_seed(0)
    return FrameClassifier(SPEC, 3, dropout=0.5).eval().requires_grad_(False)


def test_a_picture_that_comes_back_is_not_looked_at_again() -> None:
    classifier, kept, frames_NCHW = frozen(), KeptFeatures(), torch.randn(4, 3, 16, 16)
    row = price(classifier, frames_NCHW).macs
    ledgers = [Ledger(2, kept=kept) for _ in range(3)]
    given = [frames_NCHW, frames_NCHW.flip(0), torch.cat([frames_NCHW[:3], torch.randn(1, 3, 16, 16)])]
    for ledger, x_NCHW in zip(ledgers, given, strict=True):
        torch.testing.assert_close(ledger.run("net", classifier, x_NCHW, owner_N=OWNER), classifier(x_NCHW))
        assert ledger.total_B.tolist() == [2 * row, 2 * row]  # the videos pay as ever
    assert [ledger.train_macs for ledger in ledgers] == [4 * row, 0, row]


def test_the_same_picture_twice_in_a_batch_runs_once_and_none_runs_on_nothing() -> None:
    classifier, ledger, frame_1CHW = frozen(), Ledger(2, kept=KeptFeatures()), torch.randn(1, 3, 16, 16)
    out_NK = ledger.run("net", classifier, frame_1CHW.expand(4, -1, -1, -1), owner_N=OWNER)
    torch.testing.assert_close(out_NK, classifier(frame_1CHW).expand(4, -1))
    assert ledger.run("net", classifier, frame_1CHW[:0], owner_N=OWNER[:0]).shape == (0, 3)
    assert ledger.train_macs == price(classifier, frame_1CHW).macs


def test_what_learns_or_is_not_a_function_of_the_picture_is_not_kept() -> None:
    classifier, kept, frames_NCHW = frozen(), KeptFeatures(), torch.randn(4, 3, 16, 16)
    assert kept.takes(classifier, (frames_NCHW,))
    assert not kept.takes(classifier, (frames_NCHW.clone().requires_grad_(),))
    assert not kept.takes(torch.nn.Identity(), (torch.randn(4, 8),)) and not kept.takes(
        classifier, (frames_NCHW, OWNER)
    )
    assert not kept.takes(frozen().train(), (frames_NCHW,))  # dropout draws, BatchNorm mixes the rows
    assert not kept.takes(frozen().requires_grad_(), (frames_NCHW,))


def test_without_room_it_is_computed_again() -> None:
    classifier, frames_NCHW = frozen(), torch.randn(4, 3, 16, 16)
    two_rows = KeptFeatures(max_bytes=2 * 3 * 4)
    ledgers = [Ledger(2, kept=two_rows) for _ in range(2)]
    for ledger in ledgers:
        torch.testing.assert_close(ledger.run("net", classifier, frames_NCHW, owner_N=OWNER), classifier(frames_NCHW))
    assert 2 * ledgers[1].train_macs == ledgers[0].train_macs


@pytest.mark.parametrize("kept", [None, KeptFeatures()])
def test_a_head_that_learns_over_a_frozen_backbone_is_billed_apart(kept: KeptFeatures | None) -> None:
    classifier, frames_NCHW = frozen(), torch.randn(4, 3, 16, 16)
    classifier.head.requires_grad_()
    backbone, head = price(classifier.backbone, frames_NCHW).macs, price(classifier.head, torch.zeros(4, 8)).macs
    assert price(classifier, frames_NCHW).macs == backbone + head
    ledgers = [Ledger(2, kept=kept) for _ in range(2)]
    for ledger in ledgers:
        out_NK = ledger.run("net", classifier, frames_NCHW, owner_N=OWNER)
        out_NK.sum().backward()
        torch.testing.assert_close(out_NK, classifier(frames_NCHW))
        assert ledger.total_B.tolist() == [2 * (backbone + head)] * 2
    first, second = (ledger.train_macs for ledger in ledgers)
    assert first == 4 * (backbone + 3 * head) and second == (first if kept is None else 4 * 3 * head)


class Macs(Callback):
    """What each epoch spends."""

    def __init__(self) -> None:
        self.after: list[int] = [0]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.after.append(pl_module.train_macs)

    @property
    def by_epoch(self) -> list[int]:
        return [end - start for start, end in zip(self.after, self.after[1:], strict=False)]


def test_a_stage_over_a_frozen_backbone_learns_the_same_for_less(root: Path, tmp_path: Path) -> None:
    stage = Stage("probe", ["classifier.head"], epochs=5, lr=0.1)
    methods, spent = [], []
    for keep in (False, True):
        torch.manual_seed(0)
        method, macs, draws = Uniform(3, SPEC, num_frames=4, dropout=0.0), Macs(), Draws(2)
        videos = VideoDataModule(Videos(videos_in(root)), method.views, batch_size=7, draws=draws)
        folder = tmp_path / str(keep)
        fit(method, [stage], lambda _, data=videos: data, folder, 0, TRAINER, [macs], keep=keep)  # type: ignore[misc]
        assert method.kept is None  # never in evaluation
        methods.append(method)
        spent.append(macs.by_epoch)
    for name, value in methods[0].state_dict().items():
        torch.testing.assert_close(methods[1].state_dict()[name], value, rtol=1e-4, atol=1e-5)
    every, kept = spent
    frames_NCHW = torch.zeros(7 * 4, 3, 16, 16)
    backbone, head = (
        price(method.classifier.backbone, frames_NCHW).macs,
        price(method.classifier.head, torch.zeros(1, 8)).macs,
    )
    assert every == 5 * [7 * 4 * (backbone + 3 * head)]
    assert kept[2:] == 3 * [7 * 4 * 3 * head] and every[0] >= kept[0] >= kept[1] > kept[2]  # some frames come twice


def test_training_takes_turns_at_fixed_draws(root: Path) -> None:
    catalogue = Videos(videos_in(root))
    views = Uniform(3, SPEC, num_frames=4).views

    def frames(epoch: int, stage: int = 0, draws: Draws | None = None, seed: int = 0) -> torch.Tensor:
        dataset = VideoDataset(catalogue, "train", views, seed=seed, stage=stage, draws=draws)
        return dataset[epoch, 1].frames["frames"]

    draws = Draws(2)
    first, second = frames(0, draws=draws), frames(1, draws=draws)
    assert not torch.equal(first, second) and frames(2, draws=draws) is first and frames(5, 3, draws) is second
    assert torch.equal(frames(4, 1, Draws(2)), first) and not torch.equal(frames(0, 0, Draws(2), seed=1), first)
    assert torch.equal(frames(0), first) and not torch.equal(frames(2), first)  # anew in every epoch
    without_room = Draws(2, max_bytes=0)
    assert torch.equal(frames(0, 0, without_room), first) and not without_room.samples
