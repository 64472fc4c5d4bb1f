import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torchvision.io import write_jpeg

from adavid.data import sources
from adavid.data.sources import FrameFolder, VideoFile, list_media, media_by_name, open_source
from tests.adavid.data.videos import decode_all, write_video

CLIPS = Path(__file__).parents[3] / "../shared/clips"
REAL_VIDEOS = ["applying_eye_makeup.avi", "arm_wrestling.mp4", "cleaning_pool.mp4", "flipping_pancake.mkv"]
LONG_GOP = {"g": "250", "bf": "3"}
SHORT_GOP = {"g": "8", "bf": "2"}
VARIABLE = [int(t) for t in np.cumsum([4 + 9 * (i % 7 == 3) + i % 3 for i in range(40)])]

VIDEOS = {
    "constant.mp4": dict(SHORT_GOP),
    "long_gop.mp4": dict(LONG_GOP),
    "open_gop.mp4": {"g": "8", "bf": "3", "x264-params": "open-gop=1:b-adapt=0"},
    "intra.mp4": {"g": "1"},
    "variable.mp4": {"pts": VARIABLE, **SHORT_GOP},
    "variable.mkv": {"pts": VARIABLE, **SHORT_GOP},
    "late_start.mp4": {"pts": [500 + 4 * i for i in range(40)], **SHORT_GOP},
    "late_start.mkv": {"pts": [500 + 4 * i for i in range(40)], **SHORT_GOP},
    "plain.mkv": dict(SHORT_GOP),
    "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}, **SHORT_GOP},
    "stream.ts": dict(SHORT_GOP),
    "old.avi": {"codec": "mpeg4", "g": "8", "bf": "2"},
    "vp9.webm": {"codec": "libvpx-vp9", "g": "8", "deadline": "realtime", "cpu-used": "8"},
}


def assert_same_frames(source, truth_THWC, reads):
    assert source.num_frames == len(truth_THWC)
    for indices in reads:
        frames_TCHW = source.read(indices)
        assert frames_TCHW.dtype == torch.uint8
        assert np.array_equal(frames_TCHW.permute(0, 2, 3, 1).numpy(), truth_THWC[list(indices)]), indices


def reads_of(num_frames):
    rng = np.random.default_rng(0)
    few = [rng.integers(0, num_frames, 4).tolist() for _ in range(4)]
    last = num_frames - 1
    return [list(range(num_frames)), [last], [0], [last, 0, last // 2, last], *few]


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_equal_a_sequential_decode(tmp_path, name):
    path = write_video(tmp_path / name, **VIDEOS[name])
    truth_THWC = decode_all(path)
    assert len(truth_THWC) == 40
    assert_same_frames(VideoFile(path), truth_THWC, reads_of(40))


@pytest.mark.parametrize("kept_bytes", [sources.KEPT_BYTES, 20_000, 0])
def test_a_file_without_times_is_decoded_once_where_its_frames_can_be_kept(tmp_path, monkeypatch, kept_bytes):
    path = write_video(tmp_path / "old.avi", **VIDEOS["old.avi"])
    truth_THWC, opened = decode_all(path), []
    open_video = sources._open_video
    monkeypatch.setattr(sources, "_open_video", lambda path: opened.append(path) or open_video(path))
    monkeypatch.setattr(sources, "KEPT_BYTES", kept_bytes)
    is_kept = kept_bytes == 1 << 28
    source = VideoFile(path)
    for indices in ([39, 3, 20], [5]):
        assert np.array_equal(source.read_THWC(indices), truth_THWC[indices])
        assert source.num_decoded == max(indices) + 1
    assert len(opened) == (2 if is_kept else 3)  # decoded for the times, and for a read or two
    VideoFile(path, 0.2).read([0])
    assert len(opened) == (3 if is_kept else 4)  # the times are known


@pytest.mark.parametrize("name", REAL_VIDEOS)
def test_real_videos_equal_a_sequential_decode(name):
    if not CLIPS.is_dir():
        pytest.skip("the real clips are not here")
    truth_THWC = decode_all(CLIPS / name)
    assert_same_frames(VideoFile(CLIPS / name), truth_THWC, reads_of(len(truth_THWC))[1:])


def test_edit_list(tmp_path):
    """A cut without re-encoding keeps frames before the cut that players do not show."""
    whole = write_video(tmp_path / "whole.mp4", g="12", bf="2")
    cut = tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        tick = int(Fraction(1, 25) / stream.time_base)
        for packet in source.demux(stream):
            if packet.pts is not None and packet.pts >= 12 * tick:
                packet.pts, packet.dts = packet.pts - 18 * tick, packet.dts - 18 * tick
                packet.stream = copy
                target.mux(packet)
    with av.open(str(cut)) as container:
        num_packets = sum(packet.size > 0 for packet in container.demux(video=0))
    truth_THWC = decode_all(whole)[18:]
    assert num_packets > len(truth_THWC) == 22
    assert_same_frames(VideoFile(cut), truth_THWC, reads_of(22))


def test_start_and_end_are_half_open_and_relative_to_the_first_frame(tmp_path):
    path = write_video(tmp_path / "late.mp4", pts=[500 + 10 * i for i in range(40)], **SHORT_GOP)
    truth_THWC = decode_all(path)
    for start, end, first, last in [
        (0.3, 0.7, 3, 7),
        (0.25, None, 3, 40),
        (None, 1.01, 0, 11),
        (3.9, 9, 39, 40),
    ]:
        assert_same_frames(VideoFile(path, start, end), truth_THWC[first:last], reads_of(last - first))
    with pytest.raises(ValueError, match=r"late.mp4: no frame from 3.95 s to the end; the last frame is at 3.9 s$"):
        VideoFile(path, start=3.95)
    with pytest.raises(ValueError, match=r"late.mp4: no frame from 0.01 s to 0.02 s; the last"):
        VideoFile(path, 0.01, 0.02)


def test_start_and_end_follow_a_variable_frame_rate(tmp_path):
    path = write_video(tmp_path / "variable.mkv", pts=VARIABLE, **SHORT_GOP)
    seconds = (np.array(VARIABLE) - VARIABLE[0]) / 100
    inside = np.flatnonzero((seconds >= 0.5) & (seconds < 1.5))
    assert_same_frames(VideoFile(path, 0.5, 1.5), decode_all(path)[inside], [list(range(len(inside)))])


def test_num_decoded(tmp_path):
    source = VideoFile(write_video(tmp_path / "a.mp4", g="10", bf="0"))
    for indices, num_decoded in [
        ([0], 1),
        ([9], 10),
        ([35], 6),
        ([5, 38], 6 + 9),
        ([12, 13], 4),
        ([39, 0], 11),
    ]:
        source.read(indices)
        assert source.num_decoded == num_decoded, indices
    long = VideoFile(write_video(tmp_path / "b.mp4", g="250", bf="0"))
    long.read([10, 20, 30])
    assert long.num_decoded == 31  # forward, rather than from the keyframe for each


def test_sideways_pictures_are_turned(tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=3)
    upright = decode_all(path)
    matrix = [0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30]  # a quarter turn clockwise, as phones write it
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(content)
    assert_same_frames(VideoFile(path), np.rot90(upright, -1, axes=(1, 2)), [[0, 1, 2]])


def test_unreadable_files_raise_one_line(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    audio = tmp_path / "audio.mp4"
    with av.open(str(audio), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    for path, reason in [
        (text, r"cannot be read as a video \(Invalid data found when processing input\)"),
        (empty, r"cannot be read as a video \("),
        (tmp_path / "absent.mp4", r"cannot be read as a video \(No such file or directory\)"),
        (audio, "has no video stream"),
    ]:
        with pytest.raises(ValueError, match=f"^{path}: {reason}") as caught:
            open_source(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["end_index.mp4", "front_index.mp4"])
def test_truncated_mp4_raises(tmp_path, name):
    options = {"movflags": "faststart"} if "front" in name else {}
    path = write_video(tmp_path / name, container_options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    reason = "truncated; its index points past its end" if "front" in name else "cannot be read as a video"
    with pytest.raises(ValueError, match=f"^{path}: {reason}"):
        VideoFile(path)


def test_truncated_mkv_ends_early(tmp_path):
    path = write_video(tmp_path / "a.mkv", **SHORT_GOP)
    truth_THWC = decode_all(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    source = VideoFile(path)
    assert 20 < source.num_frames < 32
    assert_same_frames(source, truth_THWC[: source.num_frames], [[0, source.num_frames - 1]])


def test_frame_that_cannot_be_decoded_raises(tmp_path):
    path = write_video(tmp_path / "a.mp4", g="10", bf="0")
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    for packet in packets[30:]:
        content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(content)
    source = VideoFile(path)
    source.read([29])
    with pytest.raises(ValueError, match=f"^{path}: ") as caught:
        source.read([39])
    assert "\n" not in str(caught.value)


def write_frames(folder, num_frames=12, height=24, width=32, name="image_{:05d}.jpg"):
    folder.mkdir(parents=True)
    for index in range(1, num_frames + 1):
        gray = torch.full((3, height, width), 20 * index, dtype=torch.uint8)
        write_jpeg(gray, str(folder / name.format(index)), quality=100)
    return folder


@pytest.mark.parametrize("name", ["image_{:05d}.jpg", "{}.JPEG"])
def test_frame_folder(tmp_path, name):
    folder = write_frames(tmp_path / "video", name=name)
    (folder / "._image_00001.jpg").touch()
    (folder / "notes.txt").touch()
    source = open_source(folder)
    assert isinstance(source, FrameFolder) and source.num_frames == 12
    frames_TCHW = source.read([11, 0, 1, 0])
    assert frames_TCHW.shape == (4, 3, 24, 32) and frames_TCHW.dtype == torch.uint8
    assert frames_TCHW[:, 0, 0, 0].tolist() == [240, 20, 40, 20]
    assert source.num_decoded == 3


def test_frame_folder_errors(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no JPEG frame in this folder$"):
        open_source(tmp_path / "empty")
    folder = write_frames(tmp_path / "video", num_frames=2)
    with pytest.raises(ValueError, match="video: a folder of frames has no times, so it takes no start and no end$"):
        open_source(folder, start=1.0)
    (folder / "image_00003.jpg").write_text("not a picture")
    with pytest.raises(ValueError, match="image_00003.jpg: cannot be decoded") as caught:
        open_source(folder).read([2])
    assert "\n" not in str(caught.value)
    write_jpeg(torch.zeros(3, 8, 8, dtype=torch.uint8), str(folder / "image_00003.jpg"))
    with pytest.raises(ValueError, match="video: the frames differ in size$"):
        open_source(folder).read([0, 2])


def test_media(tmp_path):
    write_frames(tmp_path / "frames", num_frames=1)
    for name in ("b.mp4", "v.1.MKV", "v.1.mkv", "a.txt", ".hidden.mp4"):
        (tmp_path / name).touch()
    assert [p.name for p in list_media(tmp_path)] == ["b.mp4", "frames", "v.1.MKV", "v.1.mkv"]
    names = {"frames": "frames", "b": "b.mp4", "v.1": "v.1.mkv"}
    assert media_by_name(tmp_path) == {stem: tmp_path / name for stem, name in names.items()}
    assert media_by_name(tmp_path / "absent") == {}
