import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import av
import numpy as np
import pytest

from adavid.data.batch import View
from adavid.data.datamodule import VideoDataModule
from datamodules import sprites_drawing as drawing
from datamodules.sprites import SpritesCatalogue


def make(root: Path, **options) -> SpritesCatalogue:
    sizes = {"num_train": 20, "num_val": 10, "num_test": 10, "num_frames": 8} | options
    return SpritesCatalogue(root=str(root), num_processes=1, num_workers=0, **sizes)


def prepare(root: Path, num_train: int = 20) -> None:
    _ = make(root, num_train=num_train).drawn


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SpritesCatalogue:
    data = make(tmp_path_factory.mktemp("sprites"))
    _ = data.drawn
    return data


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes(data, tmp_path):
    for split in drawing.SPLITS:
        (tmp_path / split).mkdir()
    for job in [("train", 3), ("test", 7)]:
        row = drawing.make_video(tmp_path, 0, 8, job)
        assert (tmp_path / row["path"]).read_bytes() == (data.folder / row["path"]).read_bytes()
    other = drawing.make_video(tmp_path, 1, 8, ("train", 3))
    assert (tmp_path / other["path"]).read_bytes() != (data.folder / other["path"]).read_bytes()


def test_splits_are_disjoint_and_balanced(data):
    contents = [video for path, video in files(data.folder).items() if path.endswith(".mp4")]
    assert len(set(contents)) == len(contents) == 40
    for split, num in [("train", 2), ("val", 1), ("test", 1)]:
        assert sorted(record.labels[0] for record in data.records(split)) == sorted([*range(10)] * num)
        assert all(record.level in data.level_names for record in data.records(split))
        assert all(record.split == split and record.path.is_file() for record in data.records(split))


def test_files_are_h264_with_every_frame(data):
    with av.open(str(data.records("val")[0].path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        frames = list(container.decode(video=0))
    assert len(frames) == 8
    assert (frames[0].width, frames[0].height) == (72, 72)


@pytest.mark.parametrize("label", range(len(drawing.CLASS_NAMES)))
def test_evidence_in_part_of_the_frames(label, monkeypatch):
    for name in ("BLUR_RATE", "DARK_RATE", "BOARD_RATE", "NOISE", "BACKDROP_DEPTH"):
        monkeypatch.setattr(drawing, name, 0.0)
    frames_THWC, meta = drawing.render_video(np.random.default_rng(label), label, 32)
    assert 4 <= meta.has_evidence_T.sum() <= 8
    # Before a backdrop of one colour, only the sign is seen.
    spread_T = (frames_THWC.max((1, 2)).astype(int) - frames_THWC.min((1, 2))).max(-1)
    assert ((spread_T > 0) == meta.has_evidence_T).all()
    assert set(meta.content) == {"e", "-"} and set(meta.condition) == {"c"}


def test_evidence_comes_in_runs_with_long_gaps():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        runs = drawing.runs_of_evidence(rng, 32)
        lengths = [run.stop - run.start for run in runs]
        assert runs[0].start >= 0 and runs[-1].stop <= 32
        assert 4 <= lengths[0] <= 7 if len(runs) == 1 else all(2 <= length <= 4 for length in lengths)
        assert len(runs) == 1 or runs[1].start - runs[0].stop >= 7
        spells = list(drawing.spells_between(rng, runs, 32))
        shown = np.zeros(32, int)
        for part in [*runs, *spells]:
            shown[part] += 1
        assert (shown == 1).all()


def test_at_least_half_of_the_evidence_is_clear():
    for index in range(40):
        _, meta = drawing.render_video(np.random.default_rng(index), index % 10, 16)
        clear_T = meta.has_evidence_T & ~meta.is_blurred_T & ~meta.is_dark_T
        assert clear_T.sum() >= meta.has_evidence_T.sum() / 2
        assert not (meta.has_evidence_T & meta.has_board_T).any()
        low, high = drawing.LEVELS[meta.level].sizes
        assert low <= meta.size <= high


def test_mirrored_symbols_of_classes_are_the_same():
    x, y = np.linspace(-1.2, 1.2, 41)[None], np.linspace(-1.2, 1.2, 41)[:, None]
    for name in drawing.CLASS_NAMES:
        distance = drawing.symbol_distance(name, x, y)
        np.testing.assert_allclose(distance, distance[:, ::-1], atol=1e-12)
        assert distance.min() < 0 < distance.max()
    assert not set(drawing.BOARD_SYMBOLS) & set(drawing.CLASS_NAMES)


def test_a_board_is_as_large_as_a_sign():
    x, y = np.linspace(-20, 20, 401)[None], np.linspace(-20, 20, 401)[:, None]
    sign, _ = drawing._sign(["bar"], x, y, 8.0, 4.0)
    board, _ = drawing._board(["equals", "colon"], x, y, 8.0, 4.0)
    assert (sign < 0).mean() == pytest.approx((board < 0).mean(), rel=0.02)


def test_objects_stay_inside_the_evaluation_crop():
    for index in range(30):
        rng = np.random.default_rng(index)
        path_T2 = drawing.drift(rng, 16, 20.0)
        assert path_T2.min() >= 4 + 10 and path_T2.max() <= 68 - 10


def test_generated_once(data):
    before = {path: path.stat().st_mtime_ns for path in data.folder.rglob("*")}
    again = make(data.root)
    assert again.drawn.equals(data.drawn)
    assert {path: path.stat().st_mtime_ns for path in again.folder.rglob("*")} == before
    assert make(data.root, num_frames=9).folder != data.folder
    assert make(data.root, data_seed=1).folder != data.folder
    assert make(data.root, flip=False).folder == data.folder


def test_two_processes_at_once(data, tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=prepare, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert files(make(tmp_path).folder) == files(data.folder)


def test_a_killed_generation_leaves_nothing_half_made(data, tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_prepare_in_own_group, args=(tmp_path,))
    process.start()
    unfinished = make(tmp_path, num_train=20)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.mp4")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    if process.exitcode == -signal.SIGKILL:
        assert not unfinished.folder.exists()
    _ = unfinished.drawn
    assert files(unfinished.folder) == files(data.folder)


def no_parameters(folder: Path) -> None:
    (folder / "parameters.json").unlink()


def other_parameters(folder: Path) -> None:
    (folder / "parameters.json").write_text('{"data_seed": 1}')


def cut_parameters(folder: Path) -> None:
    (folder / "parameters.json").write_text("{")


def no_labels(folder: Path) -> None:
    (folder / "labels.csv").unlink()


def cut_labels(folder: Path) -> None:
    labels = folder / "labels.csv"
    labels.write_text("\n".join(labels.read_text().splitlines()[:-1]) + "\n")


def empty_labels(folder: Path) -> None:
    (folder / "labels.csv").write_text("")


def no_table(folder: Path) -> None:
    (folder / "labels.csv").write_bytes(bytes(range(256)))


def other_level(folder: Path) -> None:
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace(",large,", ",huge,"))


def no_video(folder: Path) -> None:
    (folder / "val" / "val-00003.mp4").unlink()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (no_parameters, "parameters.json: no such file"),
        (other_parameters, "parameters.json says other parameters"),
        (cut_parameters, "parameters.json: Expecting property name"),
        (no_labels, "labels.csv: no such file"),
        (cut_labels, "labels.csv does not list all videos"),
        (empty_labels, "labels.csv: No columns to parse from file"),
        (no_table, "labels.csv: expected text in UTF-8"),
        (other_level, "labels.csv does not list all videos"),
        (no_video, "val/val-00003.mp4 is missing"),
    ],
)
def test_a_damaged_folder_is_named_set_aside_and_made_anew(data, tmp_path, capsys, monkeypatch, damage, problem):
    folder = make(tmp_path).folder
    shutil.copytree(data.folder, folder)
    damage(folder)
    monkeypatch.setattr(
        SpritesCatalogue, "_generate", lambda self, partial: shutil.copytree(data.folder, partial, dirs_exist_ok=True)
    )
    assert make(tmp_path).drawn.equals(data.drawn)
    assert files(folder) == files(data.folder) != files(folder.with_name(f"{folder.name}.broken"))
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("adavid: "))
    assert line.startswith(f"adavid: {folder}: ") and problem in line
    assert line.endswith(f"; set aside as {folder.name}.broken and made anew")


def _prepare_in_own_group(root: Path) -> None:
    os.setpgrp()
    prepare(root)


def test_a_batch(data):
    batch = next(iter(VideoDataModule(data, {"frames": View(4, 64)}, 4).train_dataloader()))
    assert batch.frames["frames"].shape == (4, 4, 3, 64, 64)
    assert batch.label_BK.shape == (4, 10)


def test_the_identity_is_of_the_parameters_alone_and_computed_once(data):
    assert data.fingerprint is data.fingerprint
    assert SpritesCatalogue().fingerprint == SpritesCatalogue(root="elsewhere", flip=False).fingerprint == "cd88ef92"


def test_a_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=f"^{tmp_path}/file/root: cannot be written \\(Not a directory\\)$"):
        _ = make(tmp_path / "file" / "root").drawn


def test_bad_sizes_are_named(tmp_path):
    with pytest.raises(ValueError, match="num_val=3: expected at least 10, one video a class"):
        make(tmp_path, num_val=3)
    with pytest.raises(ValueError, match="num_frames=2: expected at least 8"):
        make(tmp_path, num_frames=2)
