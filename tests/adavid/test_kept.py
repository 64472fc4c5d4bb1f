"""What frozen networks say is kept for a stage: the same outputs, billed once."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer

from adavid.cost import Ledger, price
from adavid.data.datamodule import VideoDataModule
from adavid.data.draws import Draws
from adavid.kept import ROWS, KeptFeatures
from adavid.networks.backbones import BackboneSpec, FrameClassifier
from adavid.stage import Stage
from adavid.store import Store
from adavid.training import channels_last, fit
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


def test_a_picture_that_comes_back_is_not_looked_at_again(tmp_path: Path) -> None:
    network, kept, frames_NCHW = frozen().backbone, KeptFeatures(tmp_path), torch.randn(4, 3, 16, 16)
    row = price(network, frames_NCHW).macs
    ledgers = [Ledger(2, kept=kept) for _ in range(3)]
    given = [frames_NCHW, frames_NCHW.flip(0), torch.cat([frames_NCHW[:3], torch.randn(1, 3, 16, 16)])]
    for ledger, x_NCHW in zip(ledgers, given, strict=True):
        torch.testing.assert_close(ledger.run("net", network, x_NCHW, owner_N=OWNER), network(x_NCHW))
        assert ledger.total_B.tolist() == [2 * row, 2 * row]  # the videos pay as ever
    assert [ledger.train_macs for ledger in ledgers] == [4 * row, 0, row]


def test_the_same_picture_twice_in_a_batch_runs_once_and_none_runs_on_nothing(tmp_path: Path) -> None:
    network, ledger, frame_1CHW = frozen().backbone, Ledger(2, kept=KeptFeatures(tmp_path)), torch.randn(1, 3, 16, 16)
    out_NK = ledger.run("net", network, frame_1CHW.expand(4, -1, -1, -1), owner_N=OWNER)
    torch.testing.assert_close(out_NK, network(frame_1CHW).expand(4, -1))
    assert ledger.run("net", network, frame_1CHW[:0], owner_N=OWNER[:0]).shape == (0, 8)
    assert ledger.train_macs == price(network, frame_1CHW).macs


def test_what_a_network_says_under_other_settings_is_another_matter(tmp_path: Path) -> None:
    network, kept, frames_NCHW = frozen().backbone, KeptFeatures(tmp_path), torch.randn(4, 3, 16, 16)
    assert kept.takes(network, (frames_NCHW, True))
    for settings in ((), (True,), (), (True,)):
        torch.testing.assert_close(kept.run(network, frames_NCHW, *settings)[0], network(frames_NCHW, *settings))
    every_stage_ND = network(frames_NCHW, True)
    torch.testing.assert_close(every_stage_ND[:, -network.num_features :], network(frames_NCHW))
    assert every_stage_ND.shape[1] > network.num_features


def test_what_learns_or_is_not_a_function_of_the_picture_is_not_kept(tmp_path: Path) -> None:
    network, kept, frames_NCHW = frozen(), KeptFeatures(tmp_path), torch.randn(4, 3, 16, 16)
    assert kept.takes(network, (frames_NCHW,))
    assert not kept.takes(network, (frames_NCHW.clone().requires_grad_(),))
    assert not kept.takes(torch.nn.Identity(), (torch.randn(4, 8),)) and not kept.takes(network, (frames_NCHW, OWNER))
    assert not kept.takes(frozen().train(), (frames_NCHW,))  # dropout draws, BatchNorm mixes the rows
    assert not kept.takes(frozen().requires_grad_(), (frames_NCHW,))


def counted(network: torch.nn.Module) -> list[int]:
    """Grows with every run of a network, by the rows that it was run on."""
    rows: list[int] = []
    network.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    return rows


def test_it_is_kept_in_files_for_the_stages_and_runs_that_come_after(tmp_path: Path) -> None:
    frames_NCHW, bills = torch.randn(4, 3, 16, 16), []
    outputs, runs = [], []
    for _ in range(2):  # another process builds the network anew
        network, ledger = frozen().backbone, Ledger(2, kept=KeptFeatures(tmp_path))
        runs.append(counted(network))
        outputs.append(ledger.run("net", network, frames_NCHW, owner_N=OWNER))
        bills.append(ledger.train_macs)
    assert runs == [[ROWS], []]
    assert torch.equal(*outputs) and bills[0] == bills[1] > 0  # billed as if it had run: the files are of this machine
    other = frozen().backbone
    next(other.parameters()).data += 1
    torch.testing.assert_close(KeptFeatures(tmp_path).run(other, frames_NCHW)[0], other(frames_NCHW))


def test_what_is_said_of_a_picture_does_not_depend_on_its_company(tmp_path: Path) -> None:
    network, frames_NCHW = frozen(), torch.randn(2 * ROWS + 3, 3, 16, 16)
    together, _ = KeptFeatures(tmp_path / "together").run(network, frames_NCHW)
    alone = KeptFeatures(tmp_path / "alone")
    for n, frame_CHW in enumerate(frames_NCHW):
        assert torch.equal(alone.run(network, frame_CHW[None])[0], together[n : n + 1])


def test_maps_of_networks_that_lie_channels_last_are_kept(tmp_path: Path) -> None:
    frames_NCHW = torch.randn(ROWS, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    stages = channels_last(frozen().backbone.stages)  # type: ignore[arg-type]
    rows = counted(stages)
    fresh, recalled = (KeptFeatures(tmp_path).run(stages, frames_NCHW)[0] for _ in range(2))
    assert fresh.ndim == 4 and torch.equal(fresh, recalled) and rows == [ROWS]
    torch.testing.assert_close(fresh, stages(frames_NCHW))


def test_what_is_larger_than_its_picture_is_computed_each_time(tmp_path: Path) -> None:
    wide = torch.nn.Conv2d(3, 4, 1).eval().requires_grad_(False)
    rows, kept, frames_NCHW = counted(wide), KeptFeatures(tmp_path), torch.randn(ROWS, 3, 16, 16)
    assert [kept.run(wide, frames_NCHW)[1] for _ in range(2)] == [ROWS, 0]  # billed once
    assert rows == [ROWS, ROWS]


def test_networks_are_told_apart_by_all_that_their_outputs_follow_from(tmp_path: Path) -> None:
    class Shifted(torch.nn.Module):
        """Has a buffer that no checkpoint holds, and a setting that it does not print."""

        def __init__(self, by: float) -> None:
            super().__init__()
            self.register_buffer("by", torch.tensor(by), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((1, 2, 3)) + self.by

    kept, frames_NCHW = KeptFeatures(tmp_path), torch.randn(ROWS, 3, 16, 16)
    ones = [kept.run(Shifted(by).eval(), frames_NCHW)[0] for by in (0.0, 1.0)]
    torch.testing.assert_close(ones[1], ones[0] + 1)
    half_precision, _ = kept.run(Shifted(0.0).eval().half(), frames_NCHW.half())
    assert half_precision.dtype == torch.half


def test_without_room_it_is_computed_again(tmp_path: Path) -> None:
    network, frames_NCHW = frozen().backbone, torch.randn(4, 3, 16, 16)
    rows, full = counted(network), KeptFeatures(tmp_path, partial(Store, max_bytes=0))
    for _ in range(2):
        torch.testing.assert_close(full.run(network, frames_NCHW)[0], network(frames_NCHW))
    assert rows == [ROWS, 4, ROWS, 4]


def test_a_broken_file_is_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, frames_NCHW = frozen(), torch.randn(4, 3, 16, 16)
    expected, _ = KeptFeatures(tmp_path).run(network, frames_NCHW)
    (file,) = tmp_path.glob("*.sqlite")
    file.write_bytes(b"no database" * 1000)
    assert torch.equal(KeptFeatures(tmp_path).run(network, frames_NCHW)[0], expected)
    assert f"{file.name}: file is not a database; set aside" in capsys.readouterr().err


@pytest.mark.parametrize("keep", [False, True])
def test_a_head_that_learns_over_a_frozen_backbone_is_billed_apart(keep: bool, tmp_path: Path) -> None:
    classifier, frames_NCHW = frozen(), torch.randn(4, 3, 16, 16)
    kept = KeptFeatures(tmp_path) if keep else None
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
        self.spent: list[int] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.spent.append(pl_module.train_macs)

    on_train_end = on_train_epoch_start

    @property
    def by_epoch(self) -> list[int]:
        return [end - start for start, end in zip(self.spent, self.spent[1:], strict=False)]


def test_a_stage_over_a_frozen_backbone_learns_the_same_for_less(root: Path, tmp_path: Path) -> None:
    stage = Stage("probe", ["classifier.head"], epochs=5, lr=0.1)
    methods, spent = [], []
    for keep in (None, tmp_path / "features"):
        torch.manual_seed(0)
        method, macs, draws = Uniform(3, SPEC, num_frames=4, dropout=0.0), Macs(), Draws(2, tmp_path / "draws")
        videos = VideoDataModule(Videos(videos_in(root)), method.views, batch_size=7, draws=draws)
        folder = tmp_path / str(keep is None)
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


class Stopped(Callback):
    """Ends a training after its second epoch, as a power cut might."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == 2:
            raise RuntimeError("stopped")


def test_a_training_that_goes_on_bills_what_one_in_one_go_does(root: Path, tmp_path: Path) -> None:
    spent, stage = [], Stage("probe", ["classifier.head"], epochs=3, lr=0.1)
    for stops in (False, True):
        folder = tmp_path / str(stops)
        for callbacks in ([Stopped()], []) if stops else ([],):
            torch.manual_seed(0)
            method, draws = Uniform(3, SPEC, num_frames=4, dropout=0.0), Draws(2, tmp_path / "kept")
            videos = VideoDataModule(Videos(videos_in(root)), method.views, batch_size=7, draws=draws)
            with contextlib.suppress(RuntimeError):
                fit(method, [stage], lambda _, data=videos: data, folder, 0, TRAINER, callbacks, keep=tmp_path / "kept")  # type: ignore[misc]
        spent.append(method.train_macs)
    assert spent[0] == spent[1] > 0
