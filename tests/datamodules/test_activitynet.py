from pathlib import Path

import pytest
import torch
from torchvision.io import write_jpeg

from datamodules.activitynet import ActivityNetCatalogue

ANNOTATIONS = (Path(__file__).parents[2] / "../shared/annotations").resolve()


def write_lists(root, train="a,100,1\nb,90,0,2,0\n", val="c-d,5,2\n", classes="0,Run, fast\n1,Walk\n2,Sit\n"):
    (root / "videos").mkdir()
    for name, text in [("actnet_train_split", train), ("actnet_val_split", val), ("classInd", classes)]:
        (root / f"{name}.txt").write_text(text)
    return str(root)


def test_lists(tmp_path):
    path = write_lists(tmp_path)
    videos = tmp_path / "videos"
    (videos / "v_b.mkv").touch()
    (videos / "c-d").mkdir()
    write_jpeg(torch.zeros(3, 20, 20, dtype=torch.uint8), str(videos / "c-d" / "image_00001.jpg"))
    catalogue = ActivityNetCatalogue(path)
    assert catalogue.class_names == ["Run, fast", "Walk", "Sit"] and catalogue.report_split == "val"
    found = [(r.video_id, r.path.name, r.labels) for split in ("train", "val") for r in catalogue.records(split)]
    assert found == [("a", "a", (1,)), ("b", "v_b.mkv", (0, 2)), ("c-d", "c-d", (2,))]


@pytest.mark.parametrize("line", ["a,100", "a,100,x", "a", "", "a,100,3", "a,100,-1", "a,100,0,3"])
def test_malformed_lines(tmp_path, line):
    path = write_lists(tmp_path, val=f"c,5,2\n{line}\n")
    with pytest.raises(ValueError) as caught:
        ActivityNetCatalogue(path)
    expected = "expected video_id,num_frames,label[,label...] with labels below 3"
    assert str(caught.value) == f"{tmp_path}/actnet_val_split.txt, line 2: {expected}, got {line!r}"


def test_other_errors(tmp_path):
    with pytest.raises(ValueError, match="/videos: no such file or folder$"):
        ActivityNetCatalogue(str(tmp_path))
    path = write_lists(tmp_path, classes="0,Run\n2,Sit\n")
    with pytest.raises(ValueError, match="/classInd.txt: expected '1,name', got '2,Sit'$"):
        ActivityNetCatalogue(path)
    with pytest.raises(ValueError, match="/none.txt: no such file or folder$"):
        ActivityNetCatalogue(path, val_list="none.txt")


def test_real_lists(tmp_path):
    if not ANNOTATIONS.is_dir():
        pytest.skip("the real lists are not here")
    catalogue = ActivityNetCatalogue(str(ANNOTATIONS), videos=str(tmp_path), class_list="actnet_classInd.txt")
    train, val = catalogue.records("train"), catalogue.records("val")
    assert (catalogue.num_classes, len(train), len(val)) == (200, 10024, 4926)
    assert [sum(len(r.labels) > 1 for r in records) for records in (train, val)] == [6, 7]
    assert len({r.video_id for r in train + val}) == 14950
    assert catalogue.class_names[2] == "Arm wrestling"
