"""The room that adaptivity has, in closed form; and measured on a few videos.

N videos, B videos of a batch, T frames, K classes, R resolutions, F choices of frames.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from adavid.cost import Ledger
from adavid.data.catalogue import Evidence, VideoRecord
from adavid.evaluation.room import RoomRecord, read_room_answers, room_points, sufficient_shares
from adavid.evaluation.schema import read_json
from benchmarks.__main__ import main
from benchmarks.measure.room import Looks, look_at, room_answers, sampled_evidence
from benchmarks.report.verify import room_mismatches, verify
from datamodules.sprites import SpritesCatalogue
from methods.cascade import Cascade
from methods.uniform import Uniform
from tests.adavid.data.videos import Videos, write_video
from tests.conftest import NUM_CLASSES, opinionated, random_batch
from tests.methods.test_references import SPECS

YES, NO = [4.0, 0.0], [0.0, 4.0]
SIZES, LEVELS = (32, 64), ("easy", "hard")


def looks() -> Looks:
    """Three videos of class 0, two frames of each, at two resolutions that cost 1 and 4 GFLOPs a frame."""
    low = [[YES, YES], [NO, YES], [NO, NO]]
    high = [[YES, YES], [YES, NO], [YES, NO]]
    label_NK = np.array([[1, 0], [1, 0], [1, 0]])
    macs_RNT = np.broadcast_to(np.array([1, 4])[:, None, None] * 10**9, (2, 3, 2))
    return Looks(["a", "b", "c"], label_NK, np.ones((3, 2), bool), np.array([low, high], np.float32), macs_RNT)


def test_oracles_in_closed_form() -> None:
    """Video a is right everywhere; b at the low resolution on its second frame, c on its first frame, closely."""
    clear_NT = np.array([[False, False], [False, True], [True, False]])
    answers = room_answers([looks()], Evidence(clear_NT, clear_NT), ["easy", "easy", "hard"])
    points = {(of.frames, of.size): of for of in room_points(answers, SIZES, LEVELS)}
    right = {key: of.top1[0] for key, of in points.items()}
    # Averages that are level count for class 0, which comes first.
    assert right == pytest.approx(
        {("all", 32): 2 / 3, ("all", 64): 1, ("evidence", 64): 2 / 3, ("all", None): 1, ("evidence", None): 1}
    )
    gflops = {key: of.gflops_per_video[0] for key, of in points.items()}
    assert gflops == pytest.approx(
        {
            ("all", 32): 2,
            ("all", 64): 8,
            ("evidence", 64): (8 + 4 + 4) / 3,  # of video a, where nobody knows, both frames
            ("all", None): (2 + 2 + 8) / 3,
            ("evidence", None): (2 + 1 + 4) / 3,
        }
    )
    assert points["evidence", 64].levels == {"easy": (0.5,), "hard": (1.0,)}
    shares = {(of.frames, of.level): of.shares for of in sufficient_shares(answers, LEVELS)}
    assert shares["all", ""] == pytest.approx((2 / 3, 1 / 3, 0))
    assert shares["evidence", "easy"] == (1, 0, 0) and shares["evidence", "hard"] == (0, 1, 0)


def test_what_is_never_right_takes_the_highest() -> None:
    of = looks()
    wrong = of._replace(label_NK=np.array([[0, 1], [1, 0], [1, 0]]))
    answers = room_answers([of, wrong], None, ["", "", ""])
    assert answers.score_SFRNK.shape == (2, 1, 2, 3, 2) and answers.is_shown_NT.shape == (3, 0)
    answers = room_answers([wrong], None, ["", "", ""])
    *_, oracle = room_points(answers, SIZES, ())
    assert (oracle.frames, oracle.size) == ("all", None) and oracle.top1 == (pytest.approx(2 / 3),)
    assert oracle.gflops_per_video == (pytest.approx((8 + 2 + 8) / 3),)
    (share,) = sufficient_shares(answers, ())
    assert share.shares == pytest.approx((1 / 3, 1 / 3, 1 / 3))


@torch.inference_mode()
def test_frames_looked_at_alone_add_up_to_uniform() -> None:
    """Score and bill of all frames are those of uniform itself; padding is no frame and costs nothing."""
    cascade = Cascade(NUM_CLASSES, SPECS, num_frames=4)
    methods = [
        opinionated(Cascade(NUM_CLASSES, SPECS, num_frames=4, ladder=f"{spec.size}x1")) for spec in reversed(SPECS)
    ]
    for method in methods:
        method.load_state_dict(methods[0].state_dict())
    batch = random_batch(cascade, 3)
    batch.mask["frames"][1, 2:] = False
    of = look_at(methods, batch)
    assert of.logits_RNTK.shape == (3, 3, 4, NUM_CLASSES) and of.video_id == batch.video_id
    assert not of.macs_RNT[:, 1, 2:].any() and of.macs_RNT[:, 1, :2].all()
    answers = room_answers([of], None, [""] * 3)
    for r, spec in enumerate(reversed(SPECS)):
        uniform = Uniform(NUM_CLASSES, spec, num_frames=4, frame_size=SPECS[0].size).eval()
        uniform.classifier.load_state_dict(methods[0].networks[str(spec.size)].state_dict())
        ledger = Ledger(3)
        score_NK = uniform(batch, ledger).logits_BK.softmax(-1)
        np.testing.assert_allclose(answers.score_SFRNK[0, 0, r], score_NK, rtol=1e-4, atol=1e-5)
        assert answers.macs_SFRN[0, 0, r].tolist() == ledger.total_B.tolist()


class Told(Videos):
    """Knows which frames show the evidence, of the videos that it was told of."""

    told: dict[str, Evidence]

    def evidence(self, record: VideoRecord) -> Evidence | None:
        return self.told.get(record.video_id)


def test_the_evidence_is_of_the_frames_that_evaluation_reads() -> None:
    catalogue = Told({"train": [], "val": [], "test": []})
    is_shown = np.array([0, 1, 0, 0, 0, 1, 1, 1], bool)
    catalogue.told = {"a": Evidence(is_shown, is_shown & (np.arange(8) > 5))}
    a, b = (VideoRecord(name, Path(name), (0,), "val") for name in "ab")
    shown_NT, clear_NT = sampled_evidence(catalogue, [a, a], 4) or ()
    assert shown_NT.tolist() == [[True, False, True, True]] * 2  # frames 1, 3, 5 and 7
    assert clear_NT.tolist() == [[False, False, False, True]] * 2
    assert sampled_evidence(catalogue, [a, b], 4) is None


def test_sprites_says_which_frames_show_the_sign(tmp_path: Path) -> None:
    catalogue = SpritesCatalogue(root=str(tmp_path))
    drawn = pd.DataFrame({"video_id": ["v"], "content": ["bee-e-"], "condition": ["cbcxcc"]})
    vars(catalogue)["drawn"] = drawn
    evidence = catalogue.evidence(VideoRecord("v", tmp_path, (0,), "val"))
    assert evidence.is_shown.tolist() == [False, True, True, False, True, False]
    assert evidence.is_clear.tolist() == [False, False, True, False, True, False]


WORDS = [
    *("recipe.warmup=null", "recipe.batch_size=5", "recipe.num_frames=4", "stages.further.epochs=1"),
    *("data.num_workers=0", "trainer.enable_progress_bar=false", "trainer.accelerator=cpu"),
]


def test_a_data_set_that_knows_no_evidence_has_an_oracle_of_resolution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, num in (("train", 3), ("val", 2)):
        for name in ("cat", "dog"):
            (tmp_path / "videos" / split / name).mkdir(parents=True)
            for i in range(num):
                write_video(tmp_path / "videos" / split / name / f"{i}.mp4", 6, 64, 64, crf=str(18 + i))
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    assert main(["room", "--data", f"folder:{tmp_path / 'videos'}", *folders, *WORDS]) == 0
    out = capsys.readouterr().out
    assert "\noracle of resolution " in out and "\noracle of frames " not in out
    assert "does not know which frames show the evidence" in out
    record = read_json(RoomRecord, tmp_path / "results" / "runs" / "folder-videos" / "tiny" / "room.json")
    assert record.evidence is None and record.split == "val" and record.sizes == (24, 32, 48, 64)
    assert record.chance == 0.5 and len(record.points) == 5


@pytest.mark.slow
def test_the_room_of_a_few_sprites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*WORDS, "data.num_train=10", "data.num_val=10", "data.num_test=20", "data.num_frames=8"]
    words += ["data.num_processes=1"]
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    assert main(["room", "--split", "val", *folders, *words]) == 0
    path = tmp_path / "results" / "runs" / "sprites" / "tiny" / "room.json"
    assert not path.exists() and "10 videos of the val split" in capsys.readouterr().out
    assert main(["bench", "--method", "uniform", *folders, *words]) == 0
    capsys.readouterr()
    assert main(["room", "--method", "uniform", *folders, *words]) == 0
    out = capsys.readouterr().out
    assert "20 videos of the test split, T = 4" in out and "What was missed" in out and "AUC of" in out
    record = read_json(RoomRecord, path)
    assert [point.size for point in record.points] == [24, 32, 48, 64, 64, None, None]
    assert list(room_mismatches(record, read_room_answers(path))) == []
    spoilt = record.model_copy(update={"chance": 0.2})
    assert list(room_mismatches(spoilt, read_room_answers(path))) == ["chance: recorded 0.2, recomputed 0.1"]
    verify(path.parent)
    assert main(["room", "--method", "arnet", *folders, *words]) == 2
    assert "no results of 'arnet'" in capsys.readouterr().err


def test_what_room_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["room", "--variant", "acc"]) == 2
    assert "variant 'acc': expected its method too" in capsys.readouterr().err
    assert main(["room", "--method", "arnet", "--split", "val"]) == 2
    assert "expected SPLIT=test" in capsys.readouterr().err
