from collections import Counter
from pathlib import Path

import pytest

from benchmarks.compose import compose
from datamodules.ucf101 import Ucf101Catalogue
from tests.adavid.data.videos import write_video
from tests.conftest import UCF101

NAMES = ["ApplyLipstick", "HandstandPushups", "YoYo"]


def clip_of(name: str, group: int, clip: int = 1) -> str:
    return f"{name}/v_{name.replace('stand', 'Stand')}_g{group:02d}_c{clip:02d}.avi"  # as the official lists have it


def write_lists(root: Path, train: str = "") -> str:
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("".join(f"{k + 1} {name}\r\n" for k, name in enumerate(NAMES)))
    listed = [f"{clip_of(name, group)} {k + 1}" for k, name in enumerate(NAMES) for group in (8, 22, 25)]
    (lists / "trainlist02.txt").write_text("\r\n".join(listed) + train)
    (lists / "testlist02.txt").write_text("\n".join(clip_of(name, group) for name in NAMES for group in (1, 7)))
    return str(root)


def write_copy(root: Path) -> str:
    """A copy of two classes with clips to train on, validate on and test on, in every fold."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("".join(f"{k + 1} {name}\n" for k, name in enumerate(NAMES)))
    for fold, tested in enumerate(((1, 2), (3, 4), (5, 6)), start=1):
        train = [clip_of(name, g) for name in NAMES[:2] for g in (1, 2, 3, 4, 5, 6, 22, 23) if g not in tested]
        (lists / f"trainlist0{fold}.txt").write_text("".join(f"{clip} 1\n" for clip in train))
        (lists / f"testlist0{fold}.txt").write_text("\n".join(clip_of(n, g) for n in NAMES[:2] for g in tested))
    for k, name in enumerate(NAMES[:2]):
        for group in (1, 2, 3, 4, 5, 6, 22, 23):
            file = root / "UCF-101" / clip_of(name, group)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_video(file, 10 + 10 * k + group, codec="mpeg4")
    return str(root)


def touch(root: Path, *clips: str) -> None:
    for clip in clips:
        path = root / "UCF-101" / clip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_partial_copy(tmp_path: Path) -> None:
    path = write_lists(tmp_path)
    lipstick, handstand, yoyo = ([clip_of(name, group) for group in (8, 22, 25, 1, 7)] for name in NAMES)
    touch(tmp_path, *lipstick, *handstand[:4], yoyo[-1])
    catalogue = Ucf101Catalogue(path, fold=2)
    assert catalogue.class_names == NAMES[:2]  # the third has no clip to train on
    assert catalogue.left_out == "1 class and 1 clip of the others"
    assert set(catalogue.absent) == {handstand[4], *yoyo[:4]}
    found = {split: [(r.video_id, r.labels, r.group) for r in catalogue.records(split)] for split in ("train", "val")}
    assert found == {
        "train": [(lipstick[0], (0,), "ApplyLipstick/g08"), (handstand[0], (1,), "HandstandPushups/g08")],
        "val": [
            (of[i], (k,), f"{NAMES[k]}/g{22 + 3 * (i - 1)}")
            for k, of in enumerate((lipstick, handstand))
            for i in (1, 2)
        ],
    }
    assert [record.video_id for record in catalogue.records("test")] == [*lipstick[3:], handstand[3]]
    touch(tmp_path, *handstand, *yoyo)
    assert Ucf101Catalogue(path, fold=2).left_out == ""


def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_lists(tmp_path)
    for num_frames, group in ((3, 8), (4, 22), (5, 1)):
        file = tmp_path / "UCF-101" / clip_of("YoYo", group)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_video(file, num_frames, codec="mpeg4")
    assert Ucf101Catalogue(path, fold=2).checked
    assert "adavid: left out: 2 classes and 2 clips of the others\n" in capsys.readouterr().err


def test_runs_take_turns_at_the_folds(tmp_path: Path) -> None:
    path = write_copy(tmp_path)
    runs = [Ucf101Catalogue(path, turn=seed) for seed in range(4)]
    alone = [Ucf101Catalogue(path, fold=fold) for fold in (1, 2, 3)]
    tested = [{record.video_id for record in catalogue.records("test")} for catalogue in alone]
    assert all(tested) and len(set.union(*tested)) == sum(map(len, tested))  # every clip in one test list
    for seed, run in enumerate(runs):
        assert run.turns == (seed % 3, 3)
        assert [record.video_id for record in run.records("test")] == [
            record.video_id for record in alone[seed % 3].records("test")
        ]
    assert len({run.fingerprint for run in runs}) == 1  # they are reported as one
    assert len({run.fingerprint for run in (runs[0], *alone)}) == 4 and all(of.turns is None for of in alone)
    hashes = {compose("uniform", "ucf101", overrides=[f"data.path={path}"], seed=seed).hash for seed in range(3)}
    of_one = [compose("uniform", "ucf101", overrides=[f"data.path={path}", "data.fold=2"], seed=s) for s in range(2)]
    assert len(hashes) == 1 and hashes.isdisjoint({of_one[0].hash}) and of_one[0].hash == of_one[1].hash


@pytest.mark.parametrize("line", ["YoYo/v_YoYo_g1_c01.avi 3", "YoYos/v_YoYos_g01_c01.avi 3", "v_YoYo_g01_c01.avi"])
def test_malformed_lines(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError) as caught:
        Ucf101Catalogue(write_lists(tmp_path, train=f"\n{line}\n"), fold=2)
    expected = "expected <Class>/v_<Class>_g01_c01.avi, the class one of classInd.txt"
    assert str(caught.value) == f"{tmp_path}/ucfTrainTestlist/trainlist02.txt, line 10: {expected}, got {line!r}"


def test_nothing_there(tmp_path: Path) -> None:
    path = write_lists(tmp_path)
    with pytest.raises(ValueError, match="/trainlist01.txt: no such file$"):
        Ucf101Catalogue(path)
    with pytest.raises(ValueError, match="/UCF-101: no such folder$"):
        Ucf101Catalogue(path, fold=2)
    (tmp_path / "UCF-101").mkdir()
    with pytest.raises(ValueError, match=f"/UCF-101: has no clip to train on, such as {clip_of(NAMES[0], 8)}$"):
        Ucf101Catalogue(path, fold=2)
    (tmp_path / "ucfTrainTestlist" / "classInd.txt").write_text("1 YoYo\n3 YoYos\n")
    with pytest.raises(ValueError, match="/classInd.txt: expected '2 <class>', got '3 YoYos'$"):
        Ucf101Catalogue(path, fold=2)


def test_the_official_lists() -> None:
    if not UCF101.is_dir():
        pytest.skip("the real clips are not here")
    tested: Counter[str] = Counter()
    for fold, (num_train, num_test) in {1: (209, 106), 2: (204, 111), 3: (217, 98)}.items():
        catalogue = Ucf101Catalogue(str(UCF101), fold=fold)  # type: ignore[arg-type]
        assert catalogue.num_classes == 10 and catalogue.left_out.startswith("91 classes and ")
        assert [len(catalogue.records(split)) for split in ("train", "val", "test")] == [num_train, 61, num_test]
        tested.update(record.video_id for record in catalogue.records("test"))
    assert len(tested) == 315 and set(tested.values()) == {1}
