"""One page says everything that is wrong with a copy of a data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from adavid.data.catalogue import VideoCatalogue
from adavid.data.decoding import checked
from benchmarks.__main__ import main
from benchmarks.layers import catalogue
from tests.adavid.data.videos import write_video


def check(cache: Path, *words: str) -> int:
    return main(["check-data", "--cache", str(cache), *words])


def said(text: str) -> dict[str, list[str]]:
    """What is named under each heading of a page."""
    headings: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("    "):
            headings[list(headings)[-1]].append(line.strip())
        elif line:
            headings[line] = []
    return headings


def write_activitynet(root: Path) -> Path:
    """A copy with each of the faults that a list can show."""
    videos = root / "videos"
    videos.mkdir(parents=True)
    lengths = {"good": 20, "also": 21, "short": 5, "both": 22, "first": 23, "second": 24, "v_valid": 25}
    for name, num_frames in lengths.items():
        write_video(videos / f"{name}.mp4", num_frames=num_frames)
    (videos / "text.mp4").write_text("no video")
    (videos / "unknown.mp4").touch()
    (videos / "both").mkdir()
    shutil.copy(videos / "good.mp4", videos / "doubled.mp4")
    shutil.copy(videos / "also.mp4", videos / "copied.mp4")
    (videos / "linked.mp4").symlink_to(videos / "first.mp4")
    (root / "classInd.txt").write_text("0,Run\n1,Walk\n2,Sit\n")
    train = ["good,1,0", "also,1,1", "short,1,2", "text,1,0", "gone,1,0", "doubled,1,0", "both,1,1", "first,1,0"]
    train += ["second,1,0", "second,1,1", "good,1,7", "no line"]
    (root / "actnet_train_split.txt").write_text("\n".join(train))
    (root / "actnet_val_split.txt").write_text("valid,1,0\ncopied,1,1\nlinked,1,0\nlost,1,1\n")
    return root


def test_every_fault_of_a_copy_is_on_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_activitynet(tmp_path / "copy")
    assert check(tmp_path / "cache", "--data", "activitynet", f"data.path={root}") == 1
    found = said(capsys.readouterr().out)
    lists, videos = f"{root}/actnet_train_split.txt", root / "videos"
    expected = "expected video_id,num_frames,label[,label...] with labels below 3"
    missing = tmp_path / "cache" / "check-data" / "activitynet-missing.txt"
    ending = (
        *("rows that are not as expected", "labels that are unknown", "names of several videos"),
        *(
            "ids that occur twice in a split",
            "videos that are missing",
            "videos that cannot be read",
            "videos in two splits",
        ),
    )
    assert found == {
        "activitynet, profile tiny": [],
        "classes: 3 of 200 published": [],
        "train: 10 videos of 10,024 published, of 3 classes": [],
        "val: 4 videos of 4,926 published, of 2 classes": [],
        "rows that are not as expected: 1 (ends a training)": [f"{lists}, line 12: {expected}, got 'no line'"],
        "labels that are unknown: 1 (ends a training)": [f"{lists}, line 11: {expected}, got 'good,1,7'"],
        "names of several videos: 1 (ends a training)": [
            f"{lists}, line 7: expected one video, found {videos}/both and {videos}/both.mp4"
        ],
        "ids that occur twice in a split: 1 (ends a training)": ["second in 'train'"],
        "videos that are missing: 2 (ends a training without data.skip_bad=true)": [
            f"gone: {videos}/gone",
            f"lost: {videos}/lost",
        ],
        "videos that cannot be read: 2 (ends a training without data.skip_bad=true)": [
            f"{videos}/both: no JPEG frame in this folder, nor a PNG or WebP one",
            next(
                name
                for name in found["videos that cannot be read: 2 (ends a training without data.skip_bad=true)"]
                if "text.mp4" in name
            ),
        ],
        "videos with fewer than 16 frames: 1 (ends no training)": ["short: 5"],
        "videos in two splits: 1 (ends a training)": [
            f"{videos}/linked.mp4: expected in one split, found in 'train' as {videos}/first.mp4 and 'val'"
        ],
        "copies in two splits: 1 (ends no training)": [
            f"{videos}/copied.mp4 in 'val' is a copy of {videos}/also.mp4 in 'train'"
        ],
        "copies within a split: 1 (ends no training)": [f"{videos}/doubled.mp4 is a copy of {videos}/good.mp4"],
        "videos that no list names: 1 (ends no training)": [f"{videos}/unknown.mp4"],
        "classes without a video in a split: 1 (ends no training)": ["Sit in 'val'"],
        f"the ids of all that are missing: {missing}": [],
        f"a training would not start: {', '.join(ending)}": [],
    }
    assert missing.read_text() == "gone\nlost\n"


def test_of_many_names_the_first_few_stand_on_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_activitynet(tmp_path / "copy")
    (root / "actnet_val_split.txt").write_text("".join(f"lost{n},1,1\n" for n in range(2000)) + "v_valid,1,0\n")
    assert check(tmp_path / "cache", "--data", "activitynet", f"data.path={root}", "data.skip_bad=true") == 1
    found = said(capsys.readouterr().out)
    names = found["videos that are missing: 2,001 (ends no training)"]
    assert len(names) == 6 and names[-1] == "and 1,996 more"
    assert len((tmp_path / "cache/check-data/activitynet-missing.txt").read_text().splitlines()) == 2001


def write_csv(root: Path, *rows: str) -> str:
    root.mkdir(exist_ok=True)
    for name, num_frames in (("a", 40), ("b", 41)):
        write_video(root / f"{name}.mp4", num_frames=num_frames)
    (root / "list.csv").write_text("\n".join(["path,label,split,start,end", *rows]))
    return f"csv:{root}/list.csv"


def test_a_whole_copy_has_nothing_to_say_and_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_csv(tmp_path, "a.mp4,run,train,,", "b.mp4,run,val,,")
    assert check(tmp_path / "cache", "--data", data) == 0
    assert list(said(capsys.readouterr().out)) == [
        *(f"{data}, profile tiny", "classes: 1", "train: 1 videos, of 1 classes", "val: 1 videos, of 1 classes"),
        "a training would start",
    ]


def test_a_list_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (
        "a.mp4,run,train,0,1",
        "a.mp4,run,val,0.5,1.5",
        "b.mp4,walk,train,,",
        "b.mp4,wlak,val,,",
        "b.mp4,walk,tst,,",
    )
    data = write_csv(tmp_path, *rows, "c.mp4,walk,val,,", "b.mp4,walk,val,2,1")
    assert check(tmp_path / "cache", "--data", data) == 1
    found = said(capsys.readouterr().out)
    file = f"{tmp_path}/list.csv"
    assert found["labels that are unknown: 1 (ends a training)"] == [
        f"{file}, line 5: class 'wlak' has no video in train; did you mean 'walk'?"
    ]
    assert found["rows that are not as expected: 2 (ends a training)"] == [
        f"{file}, line 6: unknown split 'tst'; did you mean 'test'?",
        f"{file}, line 8: start=2 must be before end=1",
    ]
    assert found["videos that are missing: 1 (ends a training without data.skip_bad=true)"] == [
        f"c.mp4: {tmp_path}/c.mp4"
    ]
    (windows,) = found["videos in two splits: 1 (ends a training)"]
    assert windows.startswith(f"{tmp_path}/a.mp4 from 0.5 s to 1.5 s: expected in one split, found in 'train' as ")


def test_a_folder_with_videos_beside_their_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, name, num_frames in (("train", "a", 20), ("train", "b", 21), ("val", "c", 22)):
        (tmp_path / split / "run").mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / split / "run" / f"{name}.mp4", num_frames=num_frames)
    for folder in ("train/run/a", "val/run/b"):
        (tmp_path / folder).mkdir()
        shutil.copy(Path(__file__).parents[2] / "docs" / "sprites.png", tmp_path / folder / "1.jpg")
    (tmp_path / "val" / "walk").mkdir()
    assert check(tmp_path / "cache", "--data", f"folder:{tmp_path}") == 1
    found = said(capsys.readouterr().out)
    assert found["videos beside their frames: 2 (ends a training)"] == [
        f"a video and its frames by their names, expected one of them: {tmp_path}/{one} in {split!r} and "
        f"{tmp_path}/{other} in {other_split!r}"
        for one, split, other, other_split in (
            ("train/run/a", "train", "train/run/a.mp4", "train"),
            ("train/run/b.mp4", "train", "val/run/b", "val"),
        )
    ]
    assert found["classes without a video: 1 (ends a training)"] == [
        f"{tmp_path}/val/walk: has neither videos nor folders of frames"
    ]


@pytest.mark.parametrize("kind", [kind for kind in catalogue("datamodules") if kind != "sprites"])
def test_of_an_empty_folder_every_data_set_has_a_page(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert check(tmp_path / "cache", "--data", kind, f"data.path={tmp_path}/empty") == 1
    page = capsys.readouterr().out
    assert page.startswith(f"{kind}, profile tiny\n") and f"{tmp_path}/empty" in page


def test_files_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_csv(tmp_path, "a.mp4,run,train,,", "b.mp4,run,val,,")
    looked_at: list[Path] = []
    monkeypatch.setattr("adavid.data.checks.checked", lambda path: looked_at.append(path) or checked(path))
    assert check(tmp_path / "cache", "--data", data) == 0
    assert sorted(path.name for path in looked_at) == ["a.mp4", "b.mp4"]
    looked_at.clear()
    assert check(tmp_path / "cache", "--data", data) == 0 and not looked_at


def test_a_word_that_is_wrong_is_answered_as_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path / "cache", "--data", "activitynte") == 2
    assert capsys.readouterr().err == "adavid: data set 'activitynte' is unknown; did you mean 'activitynet'?\n"
    assert check(tmp_path / "cache", "--data", "activitynet", "data.pth=x") == 2
    assert capsys.readouterr().err == "adavid: data.pth is unknown; did you mean 'path'?\n"


def test_what_is_looked_over_is_never_trained_on() -> None:
    assert VideoCatalogue.faults is None
