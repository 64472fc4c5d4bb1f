"""Streams: real files, a pipe and a socket, frame for frame what the file holds."""

import io
import socket
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from adavid.data.sampling import clip_indices
from adavid.data.sources import open_source
from adavid.data.stream import stream_frames
from adavid.data.video import Clock
from tests.adavid.data.videos import damaged, write_video

NUM = 100  # FFmpeg looks at up to five seconds of a stream before it gives the first frame


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NUM frames of grey at 10 frames a second, each a little brighter; MPEG-TS, which needs no end to be read."""
    path = tmp_path_factory.mktemp("stream") / "clip.ts"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(NUM):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 2 * i, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_a_frame_from_each_interval(clip: Path) -> None:
    every = list(stream_frames(str(clip), 10))
    assert len(every) == NUM and every[0].frames_SCHW.shape == (1, 3, 48, 64)
    assert every[0].frames_SCHW.dtype == torch.uint8
    np.testing.assert_allclose([frame.seconds for frame in every], np.arange(NUM) / 10, atol=1e-6)
    some = list(stream_frames(str(clip), 2.5))
    np.testing.assert_allclose([frame.seconds for frame in some], np.arange(25) * 0.4, atol=1e-6)
    for frame, i in zip(some, range(0, NUM, 4), strict=True):
        assert torch.equal(frame.frames_SCHW[0], every[i].frames_SCHW[0])
    assert len(list(stream_frames(str(clip), 1000))) == NUM
    assert torch.equal(torch.stack([frame.frames_SCHW[0] for frame in every]), open_source(clip).read(range(NUM)))


def test_clips_are_those_of_the_whole_video(clip: Path) -> None:
    frames_TCHW = open_source(clip).read(range(NUM))
    moments = list(range(0, NUM, 10))
    clips = list(stream_frames(str(clip), 1, clip=8, stride=3))
    assert [round(10 * moment.seconds) for moment in clips] == moments
    streamed = torch.stack([moment.frames_SCHW for moment in clips])
    expected = frames_TCHW[clip_indices(moments, 8, 3, NUM)].unflatten(0, (10, 8))
    assert torch.equal(streamed, expected)


def test_a_pipe_that_cannot_seek(clip: Path) -> None:
    cat = [sys.executable, "-c", f"import sys; sys.stdout.buffer.write(open({str(clip)!r}, 'rb').read())"]
    with subprocess.Popen(cat, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        piped = list(stream_frames(process.stdout, 10))
    assert len(piped) == NUM
    for one, other in zip(piped, stream_frames(str(clip), 10), strict=True):
        assert torch.equal(one.frames_SCHW, other.frames_SCHW)


def test_a_live_stream_is_answered_before_it_ends(clip: Path) -> None:
    content = clip.read_bytes()
    first_seen = threading.Event()

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            most = len(content) * 9 // 10
            connection.sendall(content[:most])
            was_seen.append(first_seen.wait(30))
            connection.sendall(content[most:])

    was_seen: list[bool] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        frames = stream_frames(f"tcp://127.0.0.1:{server.getsockname()[1]}", 10)
        num_frames = 0
        for _ in frames:
            num_frames += 1
            first_seen.set()
        thread.join()
    assert was_seen == [True] and num_frames == NUM


def test_a_clock_goes_on_where_times_are_missing_or_begin_anew() -> None:
    clock = Clock(Fraction(10))
    times = [5.0, 5.1, None, None, 5.4, 5.6, 0.0, 0.1, 0.1, None, 0.4]
    expected = [0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2]
    np.testing.assert_allclose([clock(time) for time in times], expected)
    clock = Clock(Fraction(4))
    np.testing.assert_allclose([clock(time) for time in (None, None, 7.0, 7.5)], [0.0, 0.25, 0.5, 1.0])


def test_a_stream_without_times_has_those_of_its_own_rate(tmp_path: Path) -> None:
    raw = write_video(tmp_path / "raw.h264", bf="0")
    moments = list(stream_frames(str(raw), 5))
    np.testing.assert_allclose([moment.seconds for moment in moments], np.arange(8) / 5, atol=1e-6)


def test_a_clip_over_a_change_of_size_has_the_size_of_its_moment(tmp_path: Path) -> None:
    parts = [write_video(tmp_path / f"{side}.ts", 10, side, side, g="10", bf="0") for side in (64, 32)]
    (tmp_path / "sizes.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    moments = list(stream_frames(str(tmp_path / "sizes.ts"), 25, clip=4, stride=2))
    assert [moment.frames_SCHW.shape for moment in moments] == [(4, 3, 64, 64)] * 10 + [(4, 3, 32, 32)] * 10


def test_a_packet_that_cannot_be_decoded_does_not_end_a_stream(tmp_path: Path) -> None:
    path = damaged(write_video(tmp_path / "a.mp4", g="10", bf="0"), 25)
    seconds = [round(25 * moment.seconds) for moment in stream_frames(str(path), 25)]
    assert seconds == [i for i in range(40) if i != 25]


def test_a_path_with_a_colon_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(Path("a.mp4"), num_frames=3).rename("set:v2.mp4")
    assert len(list(stream_frames("set:v2.mp4", 25))) == 3


def test_what_cannot_be_streamed(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere.mp4: cannot be read as a video"):
        next(stream_frames(str(tmp_path / "nowhere.mp4"), 1))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match="text.mp4: cannot be read as a video"):
        next(stream_frames(str(tmp_path / "text.mp4"), 1))
    with pytest.raises(ValueError, match="the pipe: cannot be read as a video"):
        next(stream_frames(io.BytesIO(b"no video"), 1))
    with pytest.raises(ValueError, match="fps must be positive, got 0"):
        next(stream_frames(str(clip), 0))
    with pytest.raises(ValueError, match="/dev/video99: cannot be read as a video"):
        next(stream_frames("/dev/video99", 1))
