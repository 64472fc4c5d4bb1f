"""Clips decoded once and kept: the same frames, made anew whenever they would not be."""

import json
import multiprocessing
import os
import subprocess
import sys
from contextlib import contextmanager
from functools import partial

import pytest

from adavid.data import processes
from adavid.data.contents import content_hashes
from adavid.data.decoding import decoded
from adavid.data.packs import PackedCache
from adavid.data.processes import answers
from adavid.data.sources import Clip, open_source
from adavid.data.video import VideoFile
from tests.adavid.data.test_sources import assert_same_frames, reads_of, write_frames
from tests.adavid.data.videos import write_video


def clips_for_cache(folder):
    write_video(folder / "a.mp4", num_frames=10)
    write_video(folder / "b.mkv", num_frames=5, width=32, height=32)
    (folder / "bad.mp4").write_text("not a video")
    return [
        Clip(folder / "a.mp4"),
        Clip(folder / "b.mkv"),
        Clip(folder / "a.mp4", 0.2, 0.3),
        Clip(folder / "bad.mp4"),
    ]


def pack(folder, clips):
    hashes = content_hashes(clip.path for clip in clips)
    return PackedCache(folder, {clip: hashes[clip.path] for clip in clips})


def only_bad(path, *times):
    assert path.name == "bad.mp4", "decoded again"
    return open_source(path, *times)


def test_packed_cache(tmp_path):
    clips = clips_for_cache(tmp_path)
    cache = pack(tmp_path / "new" / "cache", [*clips, clips[0]])
    for clip in clips[:3]:
        source = VideoFile(*clip)
        packed = cache.clips[clip]
        truth_THWC = source.read(range(source.num_frames)).permute(0, 2, 3, 1).numpy()
        assert_same_frames(packed, truth_THWC, reads_of(source.num_frames))
        assert packed.num_decoded == 0
    assert list(cache.errors) == [clips[3]] and clips[3] not in cache.clips
    assert "bad.mp4: cannot be read as a video" in cache.errors[clips[3]]


def test_packed_cache_is_made_once_and_anew_when_a_file_changes(tmp_path, monkeypatch):
    clips = clips_for_cache(tmp_path)
    folder = tmp_path / "cache"
    errors = pack(folder, clips).errors
    with monkeypatch.context() as patch:
        patch.setattr("adavid.data.decoding.open_source", only_bad)
        again = pack(folder, clips)
        assert again.clips[clips[0]].num_frames == 10 and again.errors == errors
    write_video(clips[0].path, num_frames=7)
    os.utime(clips[0].path, ns=(1, 1))
    assert pack(folder, clips).clips[clips[0]].num_frames == 7
    write_video(clips[3].path, num_frames=3)
    mended = pack(folder, clips)
    assert not mended.errors and mended.clips[clips[3]].num_frames == 3


def test_a_moved_file_is_in_the_same_pack_and_a_bad_one_is_named_where_it_lies(tmp_path, monkeypatch):
    clips, folder = clips_for_cache(tmp_path), tmp_path / "cache"
    pack(folder, clips)
    (tmp_path / "moved").mkdir()
    moved = [clip._replace(path=tmp_path / "moved" / clip.path.name) for clip in clips]
    for clip in {clip.path for clip in clips}:
        clip.rename(tmp_path / "moved" / clip.name)
    monkeypatch.setattr("adavid.data.decoding.open_source", only_bad)
    cache = pack(folder, moved)
    assert cache.clips[moved[0]].num_frames == 10 and len(list(folder.glob("*.bin"))) == 1
    assert cache.errors[moved[3]].startswith(f"{tmp_path}/moved/bad.mp4: ")


def test_a_mended_frame_makes_a_new_pack(tmp_path):
    frames = write_frames(tmp_path / "frames")
    good = (frames / "image_00004.jpg").read_bytes()
    (frames / "image_00004.jpg").write_bytes(good[:300])
    clips = [Clip(frames)]
    assert "image_00004.jpg: cannot be decoded" in pack(tmp_path / "cache", clips).errors[clips[0]]
    (frames / "image_00004.jpg").write_bytes(good)
    assert pack(tmp_path / "cache", clips).clips[clips[0]].num_frames == 12


def test_what_can_be_decoded_by_now_is_packed(tmp_path, monkeypatch):
    clips = clips_for_cache(tmp_path)[:1]

    def failing(path, *times):
        raise ValueError(f"{path}: no decoder")

    with monkeypatch.context() as patch:
        patch.setattr("adavid.data.decoding.open_source", failing)
        assert pack(tmp_path / "cache", clips).errors
    assert pack(tmp_path / "cache", clips).clips[clips[0]].num_frames == 10


def cut_index(pack_file, index):
    index.write_text(index.read_text()[:-5])


def other_index(pack_file, index):
    index.write_text(json.dumps(json.loads(index.read_text())[1:]))


def no_index(pack_file, index):
    index.write_text('{"a": 1}')


def cut_pack(pack_file, index):
    os.truncate(pack_file, pack_file.stat().st_size - 1)


def no_pack(pack_file, index):
    pack_file.unlink()


@pytest.mark.parametrize("damage", [cut_index, other_index, no_index, cut_pack, no_pack])
def test_a_damaged_pack_is_named_set_aside_and_made_anew(tmp_path, capsys, damage):
    clips, folder = clips_for_cache(tmp_path), tmp_path / "cache"
    pack(folder, clips)
    (pack_file,), (index,) = folder.glob("*.bin"), folder.glob("*.json")
    damage(pack_file, index)
    broken = index.read_text()
    capsys.readouterr()
    cache = pack(folder, clips)
    truth_THWC = VideoFile(clips[1].path).read(range(5)).permute(0, 2, 3, 1).numpy()
    assert_same_frames(cache.clips[clips[1]], truth_THWC, reads_of(5))
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("adavid: "))
    assert line.startswith(f"adavid: {index}: ") and line.endswith(f"; set aside as {index.name}.broken and made anew")
    assert (folder / f"{index.name}.broken").read_text() == broken


def test_packed_cache_survives_an_interrupted_build(tmp_path, monkeypatch):
    clips = clips_for_cache(tmp_path)
    folder = tmp_path / "cache"

    def interrupt(path, *times):
        if path.name == "b.mkv":
            raise KeyboardInterrupt
        return open_source(path, *times)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("adavid.data.decoding.open_source", interrupt)
        pack(folder, clips)
    assert not list(folder.glob("*.json")) and not list(folder.glob("*.bin"))
    assert pack(folder, clips).clips[clips[1]].num_frames == 5
    assert not list(folder.glob("*.partial"))


def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adavid.data.packs.os.replace", full)
    with pytest.raises(ValueError, match=r"\.bin: cannot be written \(No space left on device\)$"):
        pack(tmp_path / "cache", clips_for_cache(tmp_path))
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".lock"}


def build(folder, clips, barrier, results):
    built = []
    build_pack = PackedCache._build
    PackedCache._build = lambda self, *args: built.append(1) or build_pack(self, *args)
    barrier.wait()
    cache = pack(folder, clips)
    results.put((len(built), cache.clips[clips[0]].read([3, 1]).sum().item()))


def test_two_processes_make_one_pack(tmp_path):
    clips = clips_for_cache(tmp_path)
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=build, args=(tmp_path / "cache", clips, barrier, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    outcomes = [results.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(built for built, _ in outcomes) == [0, 1]
    assert {total for _, total in outcomes} == {VideoFile(*clips[0]).read([3, 1]).sum().item()}


def test_several_processes_make_the_same_pack(tmp_path, monkeypatch):
    clips = clips_for_cache(tmp_path)
    alone = pack(tmp_path / "alone", clips)
    monkeypatch.setattr("adavid.data.packs.answers", partial(answers, num_processes=3))
    together = pack(tmp_path / "together", clips)
    assert together.errors == alone.errors and list(together.clips) == list(alone.clips)
    for kind in ("*.bin", "*.json"):
        (one,), (other,) = (tmp_path / "alone").glob(kind), (tmp_path / "together").glob(kind)
        assert one.name == other.name and one.read_bytes() == other.read_bytes()


def test_many_clips_take_a_process_a_core_and_few_take_none(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", num_frames=3)
    asked = []

    @contextmanager
    def none(work, parts):
        asked.append([len(part) for part in parts])
        raise InterruptedError
        yield

    monkeypatch.setattr(processes, "_processes", none)
    monkeypatch.setattr(processes, "num_cores", lambda: 3)
    few = [Clip(tmp_path / "a.mp4", None, 10.0 + i) for i in range(2 * processes.MEDIA_A_PROCESS + 1)]
    assert len(list(answers(decoded, few[: processes.MEDIA_A_PROCESS]))) == processes.MEDIA_A_PROCESS and not asked
    for clips in (few, [*few, *few]):
        with pytest.raises(InterruptedError):
            list(answers(decoded, clips))
    assert asked == [[51, 50], [68, 67, 67]]


def test_what_ends_a_decoding_process_is_said_and_leaves_neither_a_pack_nor_a_process(tmp_path, monkeypatch):
    clips, all_started = clips_for_cache(tmp_path), []

    @contextmanager
    def with_one_killed(work, parts, start=processes._processes):
        with start(work, parts) as started:
            all_started.extend(started)
            started[1].kill()
            yield started

    monkeypatch.setattr(processes, "_processes", with_one_killed)
    monkeypatch.setattr("adavid.data.packs.answers", partial(answers, num_processes=2))
    with pytest.raises(ValueError, match=r"b\.mkv: the process that decoded it ended, status -9$"):
        pack(tmp_path / "cache", clips)
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".lock"}
    assert None not in [process.poll() for process in all_started]


def test_a_process_that_only_decodes_loads_no_network_library():
    code = (
        "import sys, adavid.data.decoding; print(*[name for name in ('torch', 'torchvision') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
