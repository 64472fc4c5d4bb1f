from pathlib import Path

import numpy as np
import pytest

from datamodules.thumos14 import Thumos14Catalogue
from tests.adavid.data.videos import write_video

FILES = {
    "BaseballPitch_val": "".join(f"video_validation_{n:07d}  72.8 76.4\n" for n in range(1, 11)),
    "Diving_val": "video_validation_0000003  0.2 0.4\nvideo_validation_0000003  1.0 1.2\n",
    "Ambiguous_val": "video_validation_0000003  5.0 6.0\n",
    "BaseballPitch_test": "video_test_0000004 1.0 2.5\r\n\r\n",
    "Diving_test": "video_test_0000004  3.0 4.5",
    "Ambiguous_test": "video_test_0001292  1.0 2.0\nvideo_test_0001292  5.0 6.0\n",
}


def write(root: Path, **more: str) -> str:
    (root / "videos" / "validation").mkdir(parents=True, exist_ok=True)
    for name, text in {**FILES, **more}.items():
        folder = root / "annotations" / name.rpartition("_")[2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.txt").write_bytes(text.encode())
    return str(root)


def numbers(catalogue: Thumos14Catalogue, split: str) -> list[int]:
    return [int(record.video_id[-7:]) for record in catalogue.records(split)]


def test_a_part_of_the_training_videos_is_held_out(tmp_path: Path) -> None:
    catalogue = Thumos14Catalogue(write(tmp_path))
    assert catalogue.class_names == ["BaseballPitch", "Diving"] and catalogue.report_split == "test"
    assert numbers(catalogue, "train") == [1, 2, 3, 4, 6, 7, 8, 9] and numbers(catalogue, "val") == [5, 10]
    assert [(r.video_id, r.labels) for r in catalogue.records("test")] == [("video_test_0000004", (0, 1))]
    assert catalogue.published == (20, {"train+val": 200, "test": 213}) and catalogue.metric == "map"


def test_as_papers_do_all_are_trained_on_and_the_test_videos_are_reported(tmp_path: Path) -> None:
    catalogue = Thumos14Catalogue(write(tmp_path), validate_on="test")
    assert numbers(catalogue, "train") == list(range(1, 11)) and numbers(catalogue, "val") == [4]
    assert catalogue.report_split == "val" and catalogue.published == (20, {"train": 200, "val": 213})


def test_what_is_ambiguous_is_left_out_and_counted(tmp_path: Path) -> None:
    catalogue = Thumos14Catalogue(write(tmp_path))
    assert catalogue.left_out == "3 Ambiguous segments; 1 test videos with nothing but Ambiguous segments"
    record = catalogue.records("train")[2]
    assert record.labels == (0, 1) and record.segments == ((72.8, 76.4), (0.2, 0.4), (1.0, 1.2))


def test_the_annotated_times_show_the_evidence(tmp_path: Path) -> None:
    path = write(tmp_path)
    write_video(tmp_path / "videos" / "validation" / "video_validation_0000003.mp4", num_frames=40)  # 25 a second
    catalogue = Thumos14Catalogue(path)
    evidence = catalogue.evidence(catalogue.records("train")[2])
    assert evidence is not None and np.flatnonzero(evidence.is_shown).tolist() == [*range(5, 11), *range(25, 31)]


@pytest.mark.parametrize(
    "line", ["video_validation_0000003 1.0", "video_validation_0000003 a b", "video_test_0000001 1 2"]
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, Diving_val=f"video_validation_0000003  0.2 0.4\n{line}\n")
    with pytest.raises(ValueError, match=f"/annotations/val/Diving_val.txt, line 2: expected video.*, got {line!r}$"):
        Thumos14Catalogue(path)


def test_annotations_that_are_not_there_or_there_twice(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(ValueError, match="/none: no such folder$"):
        Thumos14Catalogue(path, annotations="none")
    with pytest.raises(ValueError, match="/annotations/val: has no annotations <Class>_test.txt$"):
        Thumos14Catalogue(path, annotations="annotations/val")
    (tmp_path / "annotations" / "Diving_val.txt").touch()
    with pytest.raises(ValueError, match="val/Diving_val.txt: expected once, found .*/annotations/Diving_val.txt too$"):
        Thumos14Catalogue(path)
