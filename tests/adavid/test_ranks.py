"""Several ranks train as one does: the same bill, course and weights, and none goes its own way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from adavid import ranks
from adavid.networks.backbones import BackboneSpec
from adavid.stage import Stage
from adavid.training import fit, join
from methods.uniform import Uniform
from tests.conftest import NUM_CLASSES, RandomVideos, start_ranks

SETTINGS: dict[str, Any] = {"accelerator": "cpu", "enable_progress_bar": False}
NUM_RANKS = 2


def trained(folder: Path, freeze_norm: bool) -> Uniform:
    """Fitted in two stages, by each rank on its part of every batch of four."""
    torch.manual_seed(0)
    method = Uniform(NUM_CLASSES, BackboneSpec("narrow/4-4-8", 16), num_frames=2, dropout=0.0)
    data = RandomVideos(method, num_batches=3)
    for i, batch in enumerate(data.batches):
        share = slice(ranks.rank(), None, ranks.world_size())
        frames, mask = ({view: of[share] for view, of in views.items()} for views in (batch.frames, batch.mask))
        assert batch.num_decoded_B is not None and batch.places is not None
        data.batches[i] = batch._replace(
            frames=frames,
            mask=mask,
            label_BK=batch.label_BK[share],
            video_id=batch.video_id[share],
            num_decoded_B=batch.num_decoded_B[share],
            places=batch.places[share],
        )
    stages = [Stage(name, train=["classifier"], epochs=2, lr=0.05, freeze_norm=freeze_norm) for name in ("one", "two")]
    settings = {**SETTINGS, "devices": ranks.world_size()}
    fit(method, stages, lambda stage: data, folder, seed=0, trainer=settings)
    return method


def rank_of_two(rank: int, folder: Path) -> None:
    join({**SETTINGS, "devices": NUM_RANKS})
    assert (ranks.rank(), ranks.world_size(), ranks.is_first()) == (rank, NUM_RANKS, rank == 0)
    assert ranks.gathered(rank) == [0, 1] and ranks.of_first(lambda: f"of {rank}") == "of 0"
    made = folder / "made"
    with ranks.first_in_front():
        assert made.exists() == (rank > 0)
        made.touch()
    for _ in range(2):
        with ranks.locked_together(folder / "lock"):
            pass
    for freeze_norm in (True, False):
        method = trained(folder / f"freeze_norm={freeze_norm}", freeze_norm)
        state = {"weights": method.state_dict(), "macs": method.train_macs, "course": method.course}
        torch.save(state, folder / f"{rank}-{freeze_norm}.pt")


@pytest.mark.slow
def test_two_ranks_train_what_one_trains(tmp_path: Path) -> None:
    start_ranks(rank_of_two, tmp_path, num_ranks=NUM_RANKS)
    for freeze_norm in (True, False):
        first, second = (torch.load(tmp_path / f"{rank}-{freeze_norm}.pt") for rank in range(NUM_RANKS))
        alone = trained(tmp_path / f"alone-{freeze_norm}", freeze_norm)
        assert first["macs"] == second["macs"] == alone.train_macs
        assert first["course"] == second["course"]
        for name, value in alone.state_dict().items():
            # BatchNorm's statistics too: each has counted other videos.
            assert torch.equal(first["weights"][name], second["weights"][name]), name
            if freeze_norm:
                torch.testing.assert_close(first["weights"][name], value, rtol=1e-5, atol=1e-6)
        saved = tmp_path / f"freeze_norm={freeze_norm}"
        assert sorted(path.name for path in saved.iterdir()) == ["0-one.pt", "1-two.pt"]


def test_a_process_by_itself_is_the_first_rank_of_one(tmp_path: Path) -> None:
    assert (ranks.rank(), ranks.world_size(), ranks.is_first()) == (0, 1, True)
    assert ranks.gathered("mine") == ["mine"] and ranks.of_first(lambda: 3) == 3
    with ranks.first_in_front(), ranks.locked_together(tmp_path / "lock"):
        value = torch.ones(2)
        ranks.average([value])
    assert value.tolist() == [1, 1]
