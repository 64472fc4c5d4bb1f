import os
import shutil
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torchvision.io import encode_jpeg, write_jpeg, write_png

from adavid.data import video
from adavid.data.batch import View
from adavid.data.folder import FrameFolder
from adavid.data.reading import Reading
from adavid.data.source import Recounted
from adavid.data.sources import list_media, list_others, medium_name, open_source
from adavid.data.video import Timeline, VideoFile, counted_timeline
from tests.adavid.data.videos import damaged, decode_all, packets_of, write_video

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


@pytest.mark.parametrize("kept_bytes", [video.KEPT_BYTES, 20_000, 0])
def test_a_file_without_times_is_decoded_once_where_its_frames_can_be_kept(tmp_path, monkeypatch, kept_bytes):
    path = write_video(tmp_path / "old.avi", **VIDEOS["old.avi"])
    truth_THWC, opened = decode_all(path), []
    open_video = video.opened
    monkeypatch.setattr(video, "opened", lambda path: opened.append(path) or open_video(path))
    monkeypatch.setattr(video, "KEPT_BYTES", kept_bytes)
    is_kept = kept_bytes == 1 << 28
    source = VideoFile(path)
    for indices in ([39, 3, 20], [5]):
        assert np.array_equal(source.read_THWC(indices), truth_THWC[indices])
        assert source.num_decoded == max(indices) + 1
    assert len(opened) == (3 if is_kept else 4)  # what its packets tell; decoded for the times, and for a read or two
    timeline = counted_timeline(path)
    opened.clear()
    assert np.array_equal(VideoFile(path, 0.2, timeline=timeline).read_THWC([0]), truth_THWC[[5]])
    assert len(opened) == 1  # the times are known


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


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),  # clockwise, as phones write it
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),
        ((1, 0, 0, -1), np.flipud),
        ((0, -1, -1, 0), lambda image: np.fliplr(np.rot90(image))),
        ((0, 1, 1, 0), lambda image: np.flipud(np.rot90(image))),
        ((0, 0, 0, 0), lambda image: image),
    ],
)
def test_pictures_are_turned_and_mirrored_as_their_matrix_says(tmp_path, matrix, shown):
    path = write_video(tmp_path / "a.mp4", num_frames=3)
    stored = decode_all(path)
    a, b, c, d = (65536 * of for of in matrix)
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    assert_same_frames(VideoFile(path), np.stack([shown(image) for image in stored]), [[0, 1, 2]])


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


def cut_off(path, share=2 / 3):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def test_an_mp4_cut_before_its_index_is_refused(tmp_path):
    path = cut_off(write_video(tmp_path / "a.mp4"))
    with pytest.raises(ValueError, match=f"^{path}: cannot be read as a video"):
        VideoFile(path)


@pytest.mark.parametrize("name", ["front_index.mp4", "a.mkv", "a.ts", "a.avi"])
def test_of_a_file_that_is_cut_off_is_read_what_decodes(tmp_path, name):
    options = {"container_options": {"movflags": "faststart"}} if name.endswith("mp4") else {}
    path = write_video(tmp_path / name, **options, **(SHORT_GOP | ({"codec": "mpeg4"} if name == "a.avi" else {})))
    truth_THWC = decode_all(path)
    source = VideoFile(cut_off(path))
    assert 15 < source.num_frames < 32
    same = np.array([np.array_equal(source.read_THWC([i])[0], truth_THWC[i]) for i in range(source.num_frames)])
    assert same[:-2].all()  # of the last one shown, and of the last one stored, a part may lack


def test_a_packet_that_cannot_be_decoded_loses_its_own_frame_and_is_counted(tmp_path):
    path = write_video(tmp_path / "a.mp4", g="10", bf="0")
    whole = decode_all(path)
    damaged(path, 35)
    told = VideoFile(path)
    assert told.num_frames == 40 and np.array_equal(told.read_THWC([34])[0], whole[34])  # all is as the container says
    with pytest.raises(Recounted, match=f"^{path}: the container counts 40 frames, of which 39 decode$"):
        told.read([35])
    assert told.num_frames == 39
    truth_THWC = decode_all(path, is_strict=False)
    for source in (told, VideoFile(path, timeline=counted_timeline(path))):
        assert_same_frames(source, truth_THWC, reads_of(39))
    assert counted_timeline(path).num_lost == 1
    views = {"v": View(40, 48)}
    assert torch.equal(*(Reading(48, 48, (1,), False).read(VideoFile(path, *of), views)["v"] for of in ((), (0, None))))


def test_a_file_of_which_nothing_decodes_is_refused_with_its_reason(tmp_path):
    path = damaged(write_video(tmp_path / "a.mp4", g="10", bf="0"), *range(40))
    with pytest.raises(ValueError, match=f"^{path}: no frame can be decoded \\(Invalid data found"):
        counted_timeline(path)


def test_key_frames_that_are_none_are_found_out(tmp_path):
    """Phones write every packet as one: MP4 without a table of them."""
    path = write_video(tmp_path / "a.mp4", codec="mpeg4", g="250", bf="0")
    truth_THWC = decode_all(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"stss", b"free"))
    assert all(is_keyframe for *_, is_keyframe in packets_of(path))
    assert_same_frames(VideoFile(path), truth_THWC, reads_of(40))
    timeline = counted_timeline(path)
    assert len(timeline.keyframes) < 10  # those that it has in truth
    assert_same_frames(VideoFile(path, timeline=timeline), truth_THWC, reads_of(40))


def test_times_in_the_order_of_decoding_are_not_believed(tmp_path):
    """An AVI with B-frames, put into an MP4 as it is."""
    path = tmp_path / "remuxed.mp4"
    whole = write_video(tmp_path / "whole.mp4", g="12", bf="3", **{"x264-params": "b-adapt=0"})
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for number, packet in enumerate(source.demux(stream)):
            if packet.size:
                packet.pts = packet.dts = number * int(Fraction(1, 25) / stream.time_base)
                packet.stream = copy
                target.mux(packet)
    truth_THWC = decode_all(whole)
    for i in range(40):
        assert_same_frames(VideoFile(path), truth_THWC, [[i]])
    timeline = counted_timeline(path)
    assert not timeline.is_timed and np.allclose(timeline.seconds, np.arange(40) / 25)
    assert_same_frames(VideoFile(path, timeline=timeline), truth_THWC, [[i] for i in range(40)])


def test_packets_before_the_first_key_frame_are_no_frames(tmp_path):
    whole = write_video(tmp_path / "whole.mkv", g="10", bf="0")
    path = tmp_path / "cut.mkv"
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size and number >= 7:
                packet.stream = copy
                target.mux(packet)
    source = VideoFile(path, timeline=counted_timeline(path))
    assert_same_frames(source, decode_all(whole)[10:], reads_of(30))


def test_of_two_streams_the_one_that_moves_is_read(tmp_path):
    """A still first, as a cover or a thumbnail."""
    path = tmp_path / "two.mkv"
    moving = write_video(tmp_path / "moving.mp4", **SHORT_GOP)
    still = write_video(tmp_path / "still.mp4", num_frames=1, width=32, height=32)
    with av.open(str(still)) as one, av.open(str(moving)) as other, av.open(str(path), "w") as target:
        pairs = [(source, target.add_stream_from_template(source.streams.video[0])) for source in (one, other)]
        for source, copy in pairs:
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = copy
                    target.mux(packet)
    assert_same_frames(VideoFile(path), decode_all(moving), reads_of(40))


def test_tags_in_another_encoding_are_not_read(tmp_path):
    path = tmp_path / "tagged.mp4"
    with av.open(str(path), "w", container_options={}) as container:
        container.metadata["title"] = "caf#"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"caf#", b"caf\xe9"))
    assert VideoFile(path).num_frames == 1


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("set:v2").mkdir()
    write_video(Path("a.mp4"), num_frames=3).rename("set:v2/a:b.mp4")
    assert VideoFile(Path("set:v2/a:b.mp4")).num_frames == 3


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(ValueError, match=r"pipe.mp4: expected a file$"):
        VideoFile(tmp_path / "pipe.mp4")


def test_frames_have_their_own_size_not_the_containers(tmp_path):
    """One size after another, as streams that adapt to the line are kept."""
    path = tmp_path / "sizes.ts"
    parts = [write_video(tmp_path / f"{side}.ts", 10, side, side, g="10", bf="0") for side in (64, 32)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    source = VideoFile(path)
    truth = [image for part in parts for image in decode_all(part)]
    assert source.num_frames == 20
    for image, expected in zip(source.images(range(20)), truth, strict=True):
        assert np.array_equal(image, expected)
    assert [tuple(group.shape) for group in source.groups(range(5, 15))] == [(5, 3, 64, 64), (5, 3, 32, 32)]
    with pytest.raises(ValueError, match="sizes.ts: the frames differ in size$"):
        source.read([0, 19])
    views = Reading(64, 64, (1, 0.875), True).read(source, {"v": View(4, 32)}, np.random.default_rng(0))
    assert views["v"].shape == (4, 3, 32, 32)


def test_large_frames_are_held_a_few_at_a_time(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", num_frames=16)
    reading, views = Reading(32, 28, (1, 0.75), True), {"a": View(8, 28), "b": View(4, 14)}
    for seed in (None, 0, 1):
        at_once, few = (
            reading.read(VideoFile(path), views, None if seed is None else np.random.default_rng(seed))
            for _ in monkeypatched_group_bytes(monkeypatch, 1 << 26, 2 * 64 * 48 * 3)
        )
        assert all(torch.equal(at_once[name], few[name]) for name in views)
    assert [len(group) for group in VideoFile(path).groups(range(5))] == [2, 2, 1]


def test_sixteen_frames_of_4k_need_less_than_300_mb(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 3840, 2160, "yuv420p"
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame(3840, 2160, "yuv420p")))
        container.mux(stream.encode())
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from adavid.data.batch import View\n"
        "from adavid.data.reading import Reading\n"
        "from adavid.data.sources import open_source\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = peak()\n"
        "views = Reading(256, 224, (1,), True).read(open_source(Path(sys.argv[1])), {'v': View(16, 224)})\n"
        "print(views['v'].shape[0], peak() - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    num_frames, num_mb = map(int, run.stdout.split())
    assert num_frames == 16 and num_mb < 300


def monkeypatched_group_bytes(monkeypatch, *values):
    for value in values:
        monkeypatch.setattr("adavid.data.source.GROUP_BYTES", value)
        yield value


def test_a_timeline_is_what_it_was_as_bytes(tmp_path):
    for name in ("variable.mkv", "old.avi"):
        timeline = counted_timeline(write_video(tmp_path / name, **VIDEOS[name]))
        again = Timeline.from_bytes(timeline.to_bytes())
        assert all(np.array_equal(getattr(timeline, of), getattr(again, of)) for of in ("pts", "keyframes"))
        assert all(getattr(timeline, of) == getattr(again, of) for of in ("tick", "is_timed", "is_counted", "num_lost"))


def test_seconds_are_those_of_presentation(tmp_path):
    path = write_video(tmp_path / "variable.mkv", pts=VARIABLE, **SHORT_GOP)
    seconds = (np.array(VARIABLE) - VARIABLE[0]) / 100
    assert np.allclose(VideoFile(path).seconds, seconds)
    inside = seconds[(seconds >= 0.5) & (seconds < 1.5)]
    assert np.allclose(VideoFile(path, 0.5, 1.5).seconds, inside - inside[0])
    assert FrameFolder(write_frames(tmp_path / "frames")).seconds is None


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
    with pytest.raises(ValueError, match="empty: no JPEG frame in this folder, nor a PNG or WebP one$"):
        open_source(tmp_path / "empty")
    folder = write_frames(tmp_path / "video", num_frames=2)
    with pytest.raises(ValueError, match="video: a folder of frames has no times, .* without data.frame_rate$"):
        open_source(folder, start=1.0)
    (folder / "image_00003.jpg").write_text("not a picture")
    with pytest.raises(ValueError, match="image_00003.jpg: cannot be decoded") as caught:
        open_source(folder).read([2])
    assert "\n" not in str(caught.value)
    write_jpeg(torch.zeros(3, 8, 8, dtype=torch.uint8), str(folder / "image_00003.jpg"))
    with pytest.raises(ValueError, match="video: the frames differ in size$"):
        open_source(folder).read([0, 2])


def test_a_folder_of_a_known_rate_is_cut_by_time(tmp_path):
    folder = write_frames(tmp_path / "video")
    truth_THWC = FrameFolder(folder).read_THWC(range(12))
    source = open_source(folder, 0.5, 1.25, frame_rate=4)
    assert_same_frames(source, truth_THWC[2:5], reads_of(3))
    assert source.seconds.tolist() == [0, 0.25, 0.5]
    assert FrameFolder(folder, frame_rate=4).seconds.tolist() == [i / 4 for i in range(12)]
    with pytest.raises(ValueError, match=r"video: no frame from 3 s to the end; the last frame is at 2.75 s$"):
        open_source(folder, 3, frame_rate=4)


def test_flow_beside_the_frames_is_no_frame(tmp_path):
    """As TSN's and MMAction2's extraction writes them."""
    folder = write_frames(tmp_path / "video", 3, name="img_{:05d}.jpg")
    for axis in "xy":
        shutil.copytree(write_frames(tmp_path / axis, 2, name=f"flow_{axis}_{{:05d}}.jpg"), folder, dirs_exist_ok=True)
    source = FrameFolder(folder)
    assert source.num_frames == 3 and source.read([0, 1, 2])[:, 0, 0, 0].tolist() == [20, 40, 60]
    with pytest.raises(ValueError, match=r"x: expected the frames of one video, found flow_x_#\.jpg$"):
        FrameFolder(tmp_path / "x")


def test_pictures_of_two_kinds_are_refused(tmp_path):
    folder = write_frames(tmp_path / "video", 2, name="left_{}.jpg")
    shutil.copytree(write_frames(tmp_path / "other", 2, name="right_{}.jpg"), folder, dirs_exist_ok=True)
    with pytest.raises(ValueError, match=r"found 2 kinds, left_#\.jpg, right_#\.jpg$"):
        FrameFolder(folder)
    assert FrameFolder(write_frames(tmp_path / "v", 2, name="v_{}.jpg")).num_frames == 2


def test_pictures_are_turned_as_their_cameras_say(tmp_path):
    """EXIF's orientation 6: the picture is to be turned clockwise by a quarter."""
    gray = torch.arange(0, 240, 10, dtype=torch.uint8).repeat(3, 8, 1)
    plain = encode_jpeg(gray, quality=100).numpy().tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (tmp_path / "v").mkdir()
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    (tmp_path / "v" / "1.jpg").write_bytes(plain[:2] + segment + plain[2:])
    (image,) = FrameFolder(tmp_path / "v").images([0])
    (upright,) = (torch.rot90(gray, -1, (1, 2)),)
    assert image.shape == (24, 8, 3) and np.abs(image.astype(int) - upright.permute(1, 2, 0).numpy()).max() <= 2


def test_frames_may_be_png(tmp_path):
    (tmp_path / "v").mkdir()
    for i in range(3):
        write_png(torch.full((3, 8, 8), 7 * i, dtype=torch.uint8), str(tmp_path / "v" / f"{i}.png"))
    assert FrameFolder(tmp_path / "v").read([2, 0])[:, 0, 0, 0].tolist() == [14, 0]


def test_media(tmp_path):
    write_frames(tmp_path / "frames", num_frames=1)
    for name in ("b.mp4", "v.1.MKV", "v.1.mkv", "a.txt", ".hidden.mp4"):
        (tmp_path / name).touch()
    assert [p.name for p in list_media(tmp_path)] == ["b.mp4", "frames", "v.1.MKV", "v.1.mkv"]
    assert [p.name for p in list_others(tmp_path)] == ["a.txt"]
    names = {"frames": "frames", "b": "b.mp4", "v.1": "v.1.mkv"}
    assert {medium_name(path): path for path in list_media(tmp_path)} == {
        stem: tmp_path / name for stem, name in names.items()
    }
