"""`make prepare`: what it says, that it goes on where it was ended, and that a run reads what it wrote."""

import os
import signal
import time
from pathlib import Path

import pytest

from adavid.data.prepared import Format
from benchmarks.__main__ import main
from benchmarks.prepare import UNREADABLE, prepare
from tests.adavid.data.test_sources import cut_off
from tests.adavid.data.videos import Videos, write_video
from tests.benchmarks.commands import started


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_video(folder / f"{i}.mp4", num_frames=10 + i) for i in range(20)]
    return {"train": paths[:15], "val": paths[15:]}


def shards(folder: Path) -> dict[str, bytes]:
    return {shard.name: shard.read_bytes() for shard in folder.glob("*/*.safetensors")}


def test_it_says_what_there_is_to_do_and_what_that_takes(videos: dict[str, list[Path]], tmp_path: Path) -> None:
    lines = list(prepare(Videos(videos), tmp_path, Format(), jobs=1))
    assert lines[0] == "20 videos: 0 prepared already, 20 to do; 0 are not there"
    assert lines[1].startswith("the other 10 take about ") and lines[1].endswith(" are free")
    assert lines[2].startswith("prepared 20 videos, ") and len(lines) == 3
    assert len(shards(tmp_path)) == 20 and (tmp_path / UNREADABLE).read_text() == ""


def test_what_is_there_is_not_done_again_and_what_was_cut_off_is(videos: dict[str, list[Path]], tmp_path: Path) -> None:
    list(prepare(Videos(videos), tmp_path, Format(), jobs=1))
    whole = shards(tmp_path)
    times = {shard: shard.stat().st_mtime_ns for shard in tmp_path.glob("*/*.safetensors")}
    cut = cut_off(min(times), 0.5)
    lines = list(prepare(Videos(videos), tmp_path, Format(), jobs=1))
    assert lines[0] == "20 videos: 19 prepared already, 1 to do; 0 are not there"
    assert shards(tmp_path) == whole
    assert [shard for shard, changed in times.items() if shard.stat().st_mtime_ns != changed] == [cut]


def test_what_cannot_be_read_is_listed(videos: dict[str, list[Path]], tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    more = videos | {"test": [tmp_path / "text.mp4", tmp_path / "absent.mp4"]}
    lines = list(prepare(Videos(more), tmp_path / "into", Format(), jobs=1))
    assert lines[0] == "21 videos: 0 prepared already, 21 to do; 1 are not there"
    listed = (tmp_path / "into" / UNREADABLE).read_text().splitlines()
    assert listed[0] == f"{tmp_path}/absent.mp4: not there, or no file"
    assert listed[1].startswith(f"{tmp_path}/text.mp4: cannot be read as a video")
    assert lines[-3:] == [
        f"2 cannot be read, see {tmp_path / 'into' / UNREADABLE}; the first:",
        *map("  ".__add__, listed),
    ]
    with pytest.raises(ValueError, match="^prepare: of 1 videos none is there; the first: .*absent.mp4: not there"):
        list(prepare(Videos({"train": [tmp_path / "absent.mp4"]}), tmp_path / "none", Format()))
    assert not (tmp_path / "none").exists()


def test_too_little_room_is_said_before_it_is_filled(
    videos: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.prepare.shutil.disk_usage", lambda folder: _Usage())
    with pytest.raises(ValueError, match=r"has 1e-06 GB free, and the rest takes about .* GB: expected more room"):
        list(prepare(Videos(videos), tmp_path, Format(), jobs=1))


class _Usage:
    free = 1000


def test_a_folder_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--into", ""]) == 2
    assert capsys.readouterr().err == "adavid: prepare: expected a folder for the pictures: CACHE=/path\n"


@pytest.mark.slow
def test_one_that_was_killed_goes_on_and_yields_the_same_bytes(videos: dict[str, list[Path]], tmp_path: Path) -> None:
    rows = [f"{path},c,{split}" for split, paths in videos.items() for path in paths]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    whole, into = tmp_path / "whole", tmp_path / "into"
    list(prepare(Videos(videos), whole, Format(), jobs=1))
    data = ["--data", f"csv:{tmp_path}/list.csv", "--cache", str(tmp_path / "cache")]
    killed = started(["prepare", *data, "--jobs", "2", "--into", str(into)], tmp_path).process
    while killed.is_alive() and len(shards(into)) < 3:
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.join()
    times = {shard: shard.stat().st_mtime_ns for shard in into.glob("*/*.safetensors")}
    assert len(times) >= 3
    list(prepare(Videos(videos), into, Format(), jobs=1))
    assert all(shard.stat().st_mtime_ns == changed for shard, changed in times.items())
    assert shards(into) == shards(whole) and len(shards(whole)) == 20
