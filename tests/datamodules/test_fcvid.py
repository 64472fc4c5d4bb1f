from pathlib import Path

import pytest
import torch

from datamodules.fcvid import FcvidCatalogue


def write_arnet(root: Path) -> str:
    (root / "videos").mkdir()
    (root / "classInd.txt").write_text("0,beach\n1,makingCake\n")
    (root / "fcvid_train_split.txt").write_text("x1,30,1\nx2,40,0,1\n")
    (root / "fcvid_val_split.txt").write_text("x3,50,0")
    return str(root)


def write_release(root: Path, split: str = "beach/a b.mp4 train\nbeach/c.mp4 test\n", labels: str = "") -> str:
    (root / "videos" / "beach").mkdir(parents=True)
    (root / "videos" / "beach" / "a b.flv").touch()
    (root / "FCVID_VideoName_TrainTestSplit.txt").write_text(split)
    rows = [["1", *["0"] * 238], ["0", "1", *["0"] * 236, "1"]]
    (root / "FCVID_Label.txt").write_text(labels or "\r\n".join("\t".join(row) for row in rows))
    return str(root)


def test_arnets_lists(tmp_path: Path) -> None:
    path = write_arnet(tmp_path)
    (tmp_path / "videos" / "x2.mp4").touch()
    catalogue = FcvidCatalogue(path)
    assert catalogue.class_names == ["beach", "makingCake"] and catalogue.report_split == "val"
    assert catalogue.metric == "map" and catalogue.reading.flip
    found = [(r.video_id, r.path.name, r.labels) for split in ("train", "val") for r in catalogue.records(split)]
    assert found == [("x1", "x1", (1,)), ("x2", "x2.mp4", (0, 1)), ("x3", "x3", (0,))]
    assert catalogue.published == (239, {"train": 45611, "val": 45612})


def test_the_releases_lists(tmp_path: Path) -> None:
    catalogue = FcvidCatalogue(write_release(tmp_path), lists="release")
    assert catalogue.num_classes == 239 and catalogue.class_names[7] == "class 7"
    found = [(r.video_id, r.path.name, r.labels) for split in ("train", "val") for r in catalogue.records(split)]
    assert found == [("beach/a b.mp4", "a b.flv", (0,)), ("beach/c.mp4", "c", (1, 238))]


def test_liteevals_ground_truth(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    flags = torch.zeros(239)
    flags[[3, 238]] = 1
    torch.save({"gt": {"x1": flags, "x2": torch.eye(239)[7]}}, tmp_path / "train_gt.pth")
    torch.save({"gt": {"x3": torch.eye(239)[0]}}, tmp_path / "test_gt.pth")
    catalogue = FcvidCatalogue(str(tmp_path), lists="liteeval")
    found = [(r.video_id, r.labels) for split in ("train", "val") for r in catalogue.records(split)]
    assert found == [("x1", (3, 238)), ("x2", (7,)), ("x3", (0,))]
    torch.save({"gt": {"x3": torch.zeros(239)}}, tmp_path / "test_gt.pth")
    message = (
        "test_gt.pth, video x3: expected 239 zeros and ones, a one among them, got '239 numbers, 0 of them not 0'$"
    )
    with pytest.raises(ValueError, match=message):
        FcvidCatalogue(str(tmp_path), lists="liteeval")
    (tmp_path / "test_gt.pth").write_text("gt")
    with pytest.raises(ValueError, match="test_gt.pth: expected {'gt': {video_id: a tensor}}: "):
        FcvidCatalogue(str(tmp_path), lists="liteeval")


def test_what_the_release_does_not_say_is_named(tmp_path: Path) -> None:
    path = write_release(tmp_path, split="beach/a.mp4 train\nbeach/c.mp4 val\n")
    with pytest.raises(ValueError, match=r"Split.txt, line 2: expected '<category>.* test', got 'beach/c.mp4 val'$"):
        FcvidCatalogue(path, lists="release")
    (tmp_path / "FCVID_Label.txt").write_text("1 0 1\n")
    message = "FCVID_Label.txt: expected a line for each of the 2 videos of FCVID_VideoName_TrainTestSplit.txt, got 1$"
    with pytest.raises(ValueError, match=message):
        FcvidCatalogue(path, lists="release")
    (tmp_path / "FCVID_Label.txt").write_text("1 0 1\n1 0 1\n")
    message = "FCVID_Label.txt, line 1: expected 239 zeros and ones, a one among them, got '1 0 1'$"
    with pytest.raises(ValueError, match=message):
        FcvidCatalogue(path, lists="release")
