"""Videos prepared: the same frames at the same times, written once, whole or not at all."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from adavid.data import prepared
from adavid.data.contents import content_hashes
from adavid.data.prepared import Format, Prepared, Written, is_whole
from adavid.data.sources import Clip, open_source
from adavid.data.transforms import resize_short
from tests.adavid.data.test_sources import SHORT_GOP, assert_same_frames, cut_off, reads_of, write_frames
from tests.adavid.data.videos import Videos, damaged, decode_all, write_video

RAW = Format(short=0, quality=0)


def prepare(folder, wanted, *paths, num_processes=None):
    made = Prepared.make(folder, wanted)
    contents = content_hashes(paths)
    written = list(made.write(contents, num_processes))
    return made, contents, written


@pytest.fixture
def variable(tmp_path):
    return write_video(tmp_path / "a.mkv", pts=[4 * i + 3 * (i % 5 == 2) for i in range(40)], **SHORT_GOP)


def test_raw_pixels_are_exact_and_frames_are_those_of_the_video(tmp_path, variable):
    folder = write_frames(tmp_path / "frames")
    made, contents, written = prepare(tmp_path / "cache", RAW, variable, folder)
    assert all(isinstance(of, Written) and of.num_bytes > 0 for of in written)
    for path in (variable, folder):
        source, read = made.open(Clip(path), contents[path]), open_source(path)
        assert_same_frames(source, read.read_THWC(range(read.num_frames)), reads_of(read.num_frames))
        assert np.array_equal(source.seconds, read.seconds) if path == variable else source.seconds is None
    assert source.num_decoded == 0
    cut = Clip(variable, 0.5, 1.2)
    source, read = made.open(cut, contents[variable]), open_source(*cut)
    assert_same_frames(source, read.read_THWC(range(read.num_frames)), reads_of(read.num_frames))
    assert np.array_equal(source.seconds, read.seconds)


def test_a_folder_of_a_known_rate_is_cut_by_time(tmp_path):
    folder = write_frames(tmp_path / "frames")
    made, contents, _ = prepare(tmp_path / "cache", RAW, folder)
    source = made.open(Clip(folder, 0.5, 1.25), contents[folder], frame_rate=4)
    assert_same_frames(source, open_source(folder).read_THWC([2, 3, 4]), reads_of(3))
    assert source.seconds.tolist() == [0, 0.25, 0.5]
    with pytest.raises(ValueError, match="a folder of frames has no times, .* without data.frame_rate$"):
        made.open(Clip(folder, 0.5), contents[folder])


def test_jpegs_are_each_within_their_rounding_where_nothing_is_sharp(tmp_path):
    folder = write_frames(tmp_path / "frames", height=240, width=320)
    made, contents, _ = prepare(tmp_path / "cache", Format(short=0), folder)
    source, truth_THWC = made.open(Clip(folder), contents[folder]), open_source(folder).read_THWC(range(12))
    for indices in reads_of(12):
        assert np.abs(source.read_THWC(indices).astype(int) - truth_THWC[indices]).max() <= 2


def test_large_pictures_are_reduced_and_small_ones_left(tmp_path):
    large = write_video(tmp_path / "large.mp4", num_frames=3, width=128, height=96)
    small = write_video(tmp_path / "small.mp4", num_frames=3)
    made, contents, _ = prepare(tmp_path / "cache", Format(short=48, quality=0), large, small)
    expected_TCHW = resize_short(open_source(large).read(range(3)), 48)
    assert expected_TCHW.shape == (3, 3, 48, 64)
    assert (made.open(Clip(large), contents[large]).read(range(3)) == expected_TCHW).all()
    assert np.array_equal(made.open(Clip(small), contents[small]).read_THWC(range(3)), decode_all(small))


def test_fewer_pictures_a_second_are_the_first_of_equal_intervals(tmp_path, variable):
    made, contents, _ = prepare(tmp_path / "cache", Format(0, 0, fps=5), variable)
    source, seconds = made.open(Clip(variable), contents[variable]), open_source(variable).seconds
    first = [int(np.flatnonzero(seconds >= i / 5 - 1e-6)[0]) for i in range(int(seconds[-1] * 5) + 1)]
    assert_same_frames(source, decode_all(variable)[first], [list(range(len(first)))])
    assert np.array_equal(source.seconds, seconds[first])


def test_a_bad_packet_is_counted_and_a_video_of_none_is_named(tmp_path):
    lost = damaged(write_video(tmp_path / "lost.mp4", g="10", bf="0"), 35)
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    made, contents, written = prepare(tmp_path / "cache", RAW, lost, text)
    assert written[0].num_lost == 1 and made.open(Clip(lost), contents[lost]).num_frames == 39
    assert written[1].startswith(f"{text}: cannot be read as a video")
    with pytest.raises(ValueError, match="text.mp4: is not among the prepared videos of .*: make prepare$"):
        made.open(Clip(text), contents[text])


def test_the_same_bytes_whoever_writes_them(tmp_path, variable):
    paths = [variable, write_frames(tmp_path / "frames"), write_video(tmp_path / "b.mp4", num_frames=5)]
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder, num_processes in zip(folders, (1, 2), strict=True):
        prepare(folder, Format(), *paths, num_processes=num_processes)
    shards = [sorted(folder.glob("*/*")) for folder in folders]
    assert len(shards[0]) == 3
    assert [shard.read_bytes() for shard in shards[0]] == [shard.read_bytes() for shard in shards[1]]


def test_a_shard_that_is_cut_off_is_found_out(tmp_path, variable):
    made, contents, _ = prepare(tmp_path / "cache", RAW, variable)
    shard = made.shard(contents[variable])
    assert is_whole(shard)
    cut_off(shard, 0.9)
    assert not is_whole(shard)
    with pytest.raises(ValueError, match=f"^{shard}: cut off, or no shard \\(.*\\): make prepare$"):
        made.open(Clip(variable), contents[variable])
    with pytest.raises(ValueError, match="no 'train' video can be read; the first: .*: cut off, or no shard"):
        other = write_video(tmp_path / "other.mp4", num_frames=5)
        _ = Videos({"train": [variable], "val": [other]}, prepared=str(tmp_path / "cache"), skip_bad=True).checked


def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(tmp_path, variable, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepared, "write_atomically", lambda path, content: full())
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "format.json").write_text(json.dumps({"short": 0, "quality": 0}))
    with pytest.raises(ValueError, match=r"safetensors: cannot be written \(No space left on device\)$"):
        prepare(tmp_path / "cache", RAW, variable)
    assert not list((tmp_path / "cache").glob("*/*"))


def test_another_format_needs_another_folder(tmp_path):
    Prepared.make(tmp_path / "cache", Format())
    with pytest.raises(ValueError, match="cache: was prepared with short=256, not 128: expected another folder$"):
        Prepared.make(tmp_path / "cache", Format(short=128))
    (tmp_path / "cache" / "format.json").write_text('{"size": 3}')
    with pytest.raises(ValueError, match=r"format.json: expected the format of prepared videos \("):
        Prepared(tmp_path / "cache")
    with pytest.raises(ValueError, match="empty: has no format.json, so nothing was prepared there: make prepare$"):
        Prepared(tmp_path / "empty")
    with pytest.raises(ValueError, match="quality=101, fps=0: expected a short side"):
        Format(quality=101)


def test_the_format_is_in_the_fingerprint_and_the_folder_is_not(tmp_path, variable):
    other = write_video(tmp_path / "other.mp4", num_frames=5)
    videos = {"train": [variable], "val": [other]}
    prints = [Videos(videos).fingerprint]
    for name, wanted in (("raw", RAW), ("jpeg", Format()), ("small", Format(short=32))):
        prepare(tmp_path / name, wanted, variable, other)
        prints.append(Videos(videos, prepared=str(tmp_path / name)).fingerprint)
        shutil.move(tmp_path / name, tmp_path / f"{name} moved")
        moved = Videos(videos, prepared=str(tmp_path / f"{name} moved"))
        assert moved.fingerprint == prints[-1]
        assert moved.checked.open(moved.checked.videos["val"][0]).num_frames == 5
    assert len(set(prints)) == 4
    with pytest.raises(ValueError, match=r"what is prepared needs no cache, expected cache=null$"):
        Videos(videos, prepared="x", cache="y")


def test_real_clips_are_within_the_error_that_the_readme_states(tmp_path):
    clips = Path(__file__).parents[3] / "../shared/clips"
    if not clips.is_dir():
        pytest.skip("the real clips are not here")
    paths = [clips / name for name in ("arm_wrestling.mp4", "cleaning_pool.mp4")]
    made, contents, _ = prepare(tmp_path / "cache", Format(), *paths)
    for path in paths:
        source, read = made.open(Clip(path), contents[path]), open_source(path)
        assert source.num_frames == read.num_frames and np.array_equal(source.seconds, read.seconds)
        some = list(range(0, read.num_frames, 20))
        truth_TCHW = read.read(some)
        truth_TCHW = resize_short(truth_TCHW, 256) if min(truth_TCHW.shape[2:]) > 256 else truth_TCHW
        assert (source.read(some).float() - truth_TCHW.float()).abs().mean() < 1.5
