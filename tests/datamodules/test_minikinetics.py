from pathlib import Path

import pytest

from datamodules.minikinetics import MiniKineticsCatalogue

ANNOTATIONS = (Path(__file__).parents[2] / "../shared/annotations").resolve()


def write_lists(root, train="train/air drumming/x 60 0\n"):
    (root / "mini_train_videofolder.txt").write_text(train)
    (root / "mini_val_videofolder.txt").write_text("val/yoga/y z 300 1")
    (root / "minik_classInd.txt").write_text("air drumming\nyoga\n")
    return str(root)


def test_lists(tmp_path):
    path = write_lists(tmp_path)
    (tmp_path / "val" / "yoga").mkdir(parents=True)
    (tmp_path / "val" / "yoga" / "y z.mp4").touch()
    catalogue = MiniKineticsCatalogue(path)
    assert catalogue.class_names == ["air drumming", "yoga"] and catalogue.report_split == "val"
    found = [(r.video_id, r.path, r.labels) for split in ("train", "val") for r in catalogue.records(split)]
    assert found == [
        ("train/air drumming/x", tmp_path / "train/air drumming/x", (0,)),
        ("val/yoga/y z", tmp_path / "val/yoga/y z.mp4", (1,)),
    ]


@pytest.mark.parametrize("line", ["a b", "a 60 x", "a 60 2", "a 60 -1"])
def test_malformed_lines(tmp_path, line):
    with pytest.raises(ValueError) as caught:
        MiniKineticsCatalogue(write_lists(tmp_path, train=f"a 60 0\n{line}\n"))
    expected = "expected folder num_frames label with a label below 2"
    assert str(caught.value) == f"{tmp_path}/mini_train_videofolder.txt, line 2: {expected}, got {line!r}"


def test_absent_list(tmp_path):
    with pytest.raises(ValueError, match="/minik_classInd.txt: no such file$"):
        MiniKineticsCatalogue(str(tmp_path))


def test_real_lists(tmp_path):
    if not ANNOTATIONS.is_dir():
        pytest.skip("the real lists are not here")
    catalogue = MiniKineticsCatalogue(
        write_lists(tmp_path),
        val_list=str(ANNOTATIONS / "minik_val_videofolder.txt"),
        class_list=str(ANNOTATIONS / "minik_classInd.txt"),
    )
    val = catalogue.records("val")
    assert (catalogue.num_classes, len(val)) == (200, 9867)
    assert catalogue.published == (200, {"train": 121215, "val": 9867}) and catalogue.metric == "top1"
    assert val[0].video_id == "images/val/air drumming/7LSJ2Ryv1a8_000000_000010"
    assert {label for r in val for label in r.labels} == set(range(200))
    assert all(catalogue.class_names[r.labels[0]] == r.video_id.split("/")[2] for r in val)
