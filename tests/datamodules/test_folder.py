import pytest
import torch
from torchvision.io import write_jpeg

from adavid.data.batch import View
from datamodules.folder import FolderDataModule

OPTIONS = {"views": {"v": View(2, 16)}, "batch_size": 2, "num_workers": 0}


def add_videos(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
        write_jpeg(torch.zeros(3, 20, 20, dtype=torch.uint8), str(root / name / "image_00001.jpg"))
    return root


def test_splits_as_folders(tmp_path):
    add_videos(tmp_path, "train/cat/a", "train/dog/b", "train/dog/c", "val/dog/a", "test/cat/z")
    (tmp_path / "train" / "dog" / "notes.txt").touch()
    (tmp_path / "train" / "dog" / ".hidden.mp4").touch()
    module = FolderDataModule(str(tmp_path), **OPTIONS)
    assert module.class_names == ["cat", "dog"] and module.report_split == "test"
    found = {split: [(r.video_id, r.labels) for r in module.records(split)] for split in ("train", "val", "test")}
    assert found == {
        "train": [("train/cat/a", (0,)), ("train/dog/b", (1,)), ("train/dog/c", (1,))],
        "val": [("val/dog/a", (1,))],
        "test": [("test/cat/z", (0,))],
    }
    module.setup("fit")
    assert next(iter(module.train_dataloader())).frames["v"].shape == (2, 2, 3, 16, 16)


def test_split_by_class_and_seed(tmp_path):
    add_videos(tmp_path, *(f"cat/{i}" for i in range(10)), *(f"dog/{i}" for i in range(3)), "owl/0")

    def val_ids(**options):
        module = FolderDataModule(str(tmp_path), **OPTIONS, **options)
        train, val = ({r.video_id for r in module.records(split)} for split in ("train", "val"))
        assert len(train | val) == 14 and not train & val
        return val

    assert sorted(i.split("/")[0] for i in val_ids()) == ["cat", "cat", "dog"]
    assert val_ids() == val_ids(seed=5)
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
        FolderDataModule(str(tmp_path), **OPTIONS)
    assert str(caught.value) == message.format(tmp_path)


def test_absent_folder(tmp_path):
    with pytest.raises(ValueError, match="absent: no such folder$"):
        FolderDataModule(str(tmp_path / "absent"), **OPTIONS)
