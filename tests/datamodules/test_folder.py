import pytest
import torch
from torchvision.io import write_jpeg

from adavid.data.batch import View
from adavid.data.datamodule import VideoDataModule
from datamodules.folder import FolderCatalogue


def add_videos(root, *names):
    for i, name in enumerate(names):
        (root / name).mkdir(parents=True)
        write_jpeg(torch.full((3, 20, 20), 9 * i, dtype=torch.uint8), str(root / name / "image_00001.jpg"))
    return root


def test_splits_as_folders(tmp_path):
    add_videos(tmp_path, "train/cat/a", "train/dog/b", "train/dog/c", "val/dog/a", "test/cat/z")
    (tmp_path / "train" / "dog" / "notes.txt").touch()
    (tmp_path / "train" / "dog" / ".hidden.mp4").touch()
    catalogue = FolderCatalogue(str(tmp_path))
    assert catalogue.class_names == ["cat", "dog"] and catalogue.report_split == "test"
    assert catalogue.left_out == "1 files called *.txt, which is no video's suffix"
    found = {split: [(r.video_id, r.labels) for r in catalogue.records(split)] for split in ("train", "val", "test")}
    assert found == {
        "train": [("train/cat/a", (0,)), ("train/dog/b", (1,)), ("train/dog/c", (1,))],
        "val": [("val/dog/a", (1,))],
        "test": [("test/cat/z", (0,))],
    }
    assert not catalogue.checked.bad
    module = VideoDataModule(catalogue, {"v": View(2, 16)}, batch_size=2)
    assert next(iter(module.train_dataloader())).frames["v"].shape == (2, 2, 3, 16, 16)


def test_split_by_class_and_seed(tmp_path):
    add_videos(tmp_path, *(f"cat/{i}" for i in range(10)), *(f"dog/{i}" for i in range(3)), "owl/0")

    def val_ids(**options):
        catalogue = FolderCatalogue(str(tmp_path), **options)
        train, val = ({r.video_id for r in catalogue.records(split)} for split in ("train", "val"))
        assert len(train | val) == 14 and not train & val
        return val

    assert sorted(i.split("/")[0] for i in val_ids()) == ["cat", "cat", "dog"]
    assert val_ids() == val_ids(split_seed=0)
    assert len({frozenset(val_ids(split_seed=s)) for s in range(9)}) > 1


@pytest.mark.parametrize(
    ("videos", "folders", "message"),
    [
        (["train/cat/a"], [], "{}: has train/ but no val/"),
        (["val/cat/a"], [], "{}: has val/ but no train/"),
        ([], [], "{}: has no sub-folders; expected one for each class"),
        (["cat/a"], ["dog"], "{}/dog: has neither videos nor folders of frames"),
        (["cat/a", "dog/b"], [], "{}: a class needs 2 videos or more to be split into train and val"),
        (["train/cat/a", "val/cats/a"], [], "{}/val/cats: no such class in train/; did you mean 'cat'?"),
    ],
)
def test_errors(tmp_path, videos, folders, message):
    add_videos(tmp_path, *videos)
    for folder in folders:
        (tmp_path / folder).mkdir()
    with pytest.raises(ValueError) as caught:
        FolderCatalogue(str(tmp_path))
    assert str(caught.value) == message.format(tmp_path)


def test_absent_folder(tmp_path):
    with pytest.raises(ValueError, match="absent: no such folder$"):
        FolderCatalogue(str(tmp_path / "absent"))


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(ValueError, match=f"^{tmp_path}/y+: cannot be read as a folder \\(File name too long\\)$"):
        FolderCatalogue(str(tmp_path / ("y" * 300)))


def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    add_videos(tmp_path, "train/cat/a", "val/cat/b")

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.iterdir", refused)
    with pytest.raises(ValueError, match=f"^{tmp_path}/train: cannot be read as a folder \\(Permission denied\\)$"):
        FolderCatalogue(str(tmp_path))
