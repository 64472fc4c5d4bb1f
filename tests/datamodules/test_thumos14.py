from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

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


def detection(path: str, **options: Any) -> Thumos14Catalogue:
    return Thumos14Catalogue(path, task="detection", **options)


def structure(part: str, *videos: tuple[int, Any, Any, str]) -> np.ndarray:
    """As MATLAB keeps it: numbers, first and further classes, and whether they show none."""
    fields = ("video_name", "primary_action_index", "secondary_actions_indices", "background_video")
    found = np.zeros((1, len(videos)), dtype=[(name, object) for name in fields])
    for n, (number, *of_video) in enumerate(videos):
        found[0, n] = (f"video_{part}_{number:07d}", *of_video)
    return found


def write_recognition(root: Path) -> str:
    (root / "videos").mkdir(exist_ok=True)
    folder = root / "annotations" / "meta"
    folder.mkdir(parents=True)
    (folder / "Class Index.txt").write_text("1 ApplyEyeMakeup\n2 ApplyLipstick\n3 Archery\n")
    none = np.zeros((0, 0))
    validation = structure("validation", *((n, n % 3 + 1, none, "NO") for n in range(1, 11)))
    test = structure("test", (4, 3, np.array([[1, 2]]), "NO"), (5, none, none, "YES"), (6, 2, 3, "NO"))
    savemat(folder / "validation_set.mat", {"validation_videos": validation})
    savemat(folder / "test_set_meta.mat", {"test_videos": test})
    return str(root)


def test_recognition_has_the_classes_of_the_release_and_several_a_video(tmp_path: Path) -> None:
    path = write_recognition(tmp_path)
    catalogue = Thumos14Catalogue(path)
    assert catalogue.class_names == ["ApplyEyeMakeup", "ApplyLipstick", "Archery"]
    assert numbers(catalogue, "train") == [1, 2, 3, 4, 6, 7, 8, 9] and numbers(catalogue, "val") == [5, 10]
    assert [record.labels for record in catalogue.records("train")][:3] == [(1,), (2,), (0,)]
    assert [(r.video_id[-1], r.labels) for r in catalogue.records("test")] == [("4", (0, 1, 2)), ("6", (1, 2))]
    assert catalogue.left_out == "1 test videos that show no class"
    assert catalogue.published == (101, {"train+val": 1010, "test": 1574}) and catalogue.metric == "map"
    as_papers = Thumos14Catalogue(path, validate_on="test")
    assert numbers(as_papers, "train") == list(range(1, 11)) and numbers(as_papers, "val") == [4, 6]


def test_files_of_the_release_that_are_not_as_expected_are_named(tmp_path: Path) -> None:
    path = write_recognition(tmp_path)
    folder = tmp_path / "annotations" / "meta"
    savemat(folder / "test_set_meta.mat", {"test_videos": structure("test", (4, 7, 1, "NO"))})
    expected = (
        r"test_videos\(1\): expected video_test_<number> and classes from 1 to 3, got 'video_test_0000004' and \[7, 1\]"
    )
    with pytest.raises(ValueError, match=expected):
        Thumos14Catalogue(path)
    savemat(folder / "test_set_meta.mat", {"videos": 1})
    with pytest.raises(ValueError, match=r"test_set_meta.mat: expected a structure 'test_videos'$"):
        Thumos14Catalogue(path)
    (folder / "test_set_meta.mat").write_bytes(b"no MATLAB")
    with pytest.raises(ValueError, match=r"test_set_meta.mat: expected a MATLAB file: "):
        Thumos14Catalogue(path)
    (folder / "Class Index.txt").unlink()
    with pytest.raises(ValueError, match=r"Class Index.txt: expected once, found none in .*annotations$"):
        Thumos14Catalogue(path)


def numbers(catalogue: Thumos14Catalogue, split: str) -> list[int]:
    return [int(record.video_id[-7:]) for record in catalogue.records(split)]


def test_a_part_of_the_training_videos_is_held_out(tmp_path: Path) -> None:
    catalogue = detection(write(tmp_path))
    assert catalogue.class_names == ["BaseballPitch", "Diving"] and catalogue.report_split == "test"
    assert numbers(catalogue, "train") == [1, 2, 3, 4, 6, 7, 8, 9] and numbers(catalogue, "val") == [5, 10]
    assert [(r.video_id, r.labels) for r in catalogue.records("test")] == [("video_test_0000004", (0, 1))]
    assert catalogue.published == (20, {"train+val": 200, "test": 213}) and catalogue.metric == "map"


def test_as_papers_do_all_are_trained_on_and_the_test_videos_are_reported(tmp_path: Path) -> None:
    catalogue = detection(write(tmp_path), validate_on="test")
    assert numbers(catalogue, "train") == list(range(1, 11)) and numbers(catalogue, "val") == [4]
    assert catalogue.report_split == "val" and catalogue.published == (20, {"train": 200, "val": 213})


def test_what_is_ambiguous_is_left_out_and_counted(tmp_path: Path) -> None:
    catalogue = detection(write(tmp_path))
    assert catalogue.left_out == "3 Ambiguous segments; 1 test videos with nothing but Ambiguous segments"
    record = catalogue.records("train")[2]
    assert record.labels == (0, 1) and record.segments == ((72.8, 76.4), (0.2, 0.4), (1.0, 1.2))


def test_the_annotated_times_show_the_evidence(tmp_path: Path) -> None:
    path = write(tmp_path)
    write_video(tmp_path / "videos" / "validation" / "video_validation_0000003.mp4", num_frames=40)  # 25 a second
    catalogue = detection(path)
    evidence = catalogue.evidence(catalogue.records("train")[2])
    assert evidence is not None and np.flatnonzero(evidence.is_shown).tolist() == [*range(5, 11), *range(25, 31)]


@pytest.mark.parametrize(
    "line", ["video_validation_0000003 1.0", "video_validation_0000003 a b", "video_test_0000001 1 2"]
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path, Diving_val=f"video_validation_0000003  0.2 0.4\n{line}\n")
    with pytest.raises(ValueError, match=f"/annotations/val/Diving_val.txt, line 2: expected video.*, got {line!r}$"):
        detection(path)


def test_annotations_that_are_not_there_or_there_twice(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(ValueError, match="/none: no such folder$"):
        detection(path, annotations="none")
    with pytest.raises(ValueError, match="/annotations/val: has no annotations <Class>_test.txt$"):
        detection(path, annotations="annotations/val")
    (tmp_path / "annotations" / "Diving_val.txt").touch()
    with pytest.raises(ValueError, match="val/Diving_val.txt: expected once, found .*/annotations/Diving_val.txt too$"):
        detection(path)
