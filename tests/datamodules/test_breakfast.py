from pathlib import Path

import pytest

from datamodules.breakfast import BreakfastCatalogue

RELEASE = (
    *("P03/cam01/P03_cereals.avi", "P03/stereo/P03_cereals_ch0.avi", "P03/stereo/P03_cereals_ch1.avi"),
    *("P15/webcam02/P15_tea.avi", "P16/cam01/P16_scrambledegg.avi", "P46/cam02/P46_milk.avi"),
    *("P47/cam02/P47_salat.avi", "P54/cam01/P54_juice.avi"),
)


def write(root: Path, *files: str) -> str:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
        (root / f"{file}.labels").touch()  # the release has such, which are no videos
    return str(root)


def people(catalogue: BreakfastCatalogue) -> dict[str, list[str]]:
    return {split: sorted({r.group for r in catalogue.records(split)}) for split in ("train", "val", "test")}


def test_the_release(tmp_path: Path) -> None:
    catalogue = BreakfastCatalogue(write(tmp_path, *RELEASE))
    assert catalogue.num_classes == 10 and catalogue.metric == "top1" and catalogue.report_split == "test"
    assert people(catalogue) == {"train": ["P16", "P46"], "val": ["P47", "P54"], "test": ["P03", "P15"]}
    found = [(r.video_id, catalogue.class_names[r.labels[0]]) for r in catalogue.records("test")]
    assert found == [
        ("P03_cam01_P03_cereals", "cereals"),
        ("P03_stereo_P03_cereals_ch0", "cereals"),
        ("P03_stereo_P03_cereals_ch1", "cereals"),
        ("P15_webcam02_P15_tea", "tea"),
    ]


def test_a_flat_copy_and_folders_of_frames(tmp_path: Path) -> None:
    write(tmp_path, "P03_cam01_P03_cereals.mp4", "P20_stereo01_P20_tea/00001.jpg")
    catalogue = BreakfastCatalogue(str(tmp_path))
    (tested,), (trained,) = catalogue.records("test"), catalogue.records("train")
    assert (tested.video_id, tested.path.name) == ("P03_cam01_P03_cereals", "P03_cam01_P03_cereals.mp4")
    assert (trained.video_id, trained.path.name, trained.group) == ("P20_stereo01_P20_tea",) * 2 + ("P20",)


def test_as_papers_do_all_others_are_trained_on_and_the_tested_are_reported(tmp_path: Path) -> None:
    catalogue = BreakfastCatalogue(write(tmp_path, *RELEASE), validate_on="test")
    assert people(catalogue) == {"train": ["P16", "P46", "P47", "P54"], "val": ["P03", "P15"], "test": []}
    other = BreakfastCatalogue(str(tmp_path), split="s4")
    assert people(other) == {"train": ["P03", "P15", "P16"], "val": [], "test": ["P46", "P47", "P54"]}


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("P03/cam01/P03_cereal.avi", "class 'cereal' is unknown; did you mean 'cereals'\\?"),
        ("P03/cam01/P04_cereals.avi", "expected P03_<activity>, got 'P04_cereals.avi'"),
        (
            "P02/cam01/P02_cereals.avi",
            "expected <person>/<camera>/<person>_<activity>, P03 to P54, got 'P02_cereals.avi'",
        ),
        ("P03/cam01/P03_cereals_ch2.avi", "expected <person>/.*, got 'P03_cereals_ch2.avi'"),
        ("cereals.avi", "expected <person>/ or <person>_<camera>_<person>_<activity>, got 'cereals.avi'"),
    ],
)
def test_a_file_that_is_called_otherwise_is_named(tmp_path: Path, file: str, message: str) -> None:
    path = write(tmp_path, *RELEASE, file)
    with pytest.raises(ValueError, match=f"^{tmp_path}/{file}: {message}$"):
        BreakfastCatalogue(path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="/none: no such folder$"):
        BreakfastCatalogue(str(tmp_path / "none"))
