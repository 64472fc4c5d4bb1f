"""What a decoder would decode on demand: by hand, and as a real one does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from adavid.cost import Ledger
from adavid.data.batch import View
from adavid.data.folder import FrameFolder
from adavid.data.on_demand import num_decoded_on_demand
from adavid.data.reading import Reading
from adavid.data.sources import Montage
from adavid.data.video import VideoFile
from adavid.evaluation.collector import decoded_on_demand
from tests.adavid.data.test_sources import write_frames
from tests.adavid.data.videos import write_video


def requests(*frames: list[int], gop: int) -> list[np.ndarray]:
    """Of a file with a key frame every `gop` frames."""
    return [np.array([[frame, frame - frame % gop] for frame in request]) for request in frames]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([[0]], 1),
        ([[9]], 10),  # from the key frame at 0
        ([[15]], 6),  # from that at 10
        ([[5, 38]], 6 + 9),
        ([[38, 5]], 6 + 9),  # of one request in the file's order
        ([[38], [5]], 9 + 6),
        ([[12, 13]], 3 + 1),  # forward
        ([[12], [13], [19]], 3 + 1 + 6),
        ([[13], [12]], 4 + 3),  # back: from the key frame, as what was passed over is not kept
        ([[12], [13], [12, 13]], 3 + 1),  # what was served is
        ([[19], [20]], 10 + 1),  # a key frame
        ([[19], [21]], 10 + 2),
        ([[8], [4], [6]], 9 + 5 + 2),
        ([], 0),
        ([[]], 0),
    ],
)
def test_a_table_made_by_hand(asked: list[list[int]], expected: int) -> None:
    shaped = [request.reshape(-1, 2) for request in requests(*asked, gop=10)]
    assert num_decoded_on_demand(shaped) == expected


def test_uniform_and_bisecting_orders_of_a_long_and_of_a_short_group_of_pictures() -> None:
    """16 of 320 frames: on demand and in a row they cost the same; out of order no more only where seeking is cheap."""
    frames = list(range(10, 320, 20))
    visits = [frames[i] for i in (8, 0, 15, 4, 12, 2, 6, 10, 14, 1, 3, 5, 7, 9, 11, 13)]
    decoded = {
        gop: [num_decoded_on_demand(requests(*asked, gop=gop)) for asked in ([frames], [[f] for f in visits])]
        for gop in (1, 20, 320)
    }
    assert decoded[1] == [16, 16] and decoded[20] == [16 * 11, 16 * 11]
    assert decoded[320][0] == 311 < decoded[320][1]


@pytest.mark.parametrize("name", ["short.mp4", "long.mkv", "old.avi"])
def test_one_request_is_what_a_read_decodes(tmp_path: Path, name: str) -> None:
    options = {"short.mp4": {"g": "10", "bf": "0"}, "long.mkv": {"g": "250", "bf": "0"}}
    path = write_video(tmp_path / name, **options.get(name, {"codec": "mpeg4", "g": "8", "bf": "0"}))
    for source in (VideoFile(path), VideoFile(path, start=0.5)):
        source.read([0])  # the first read of an AVI file is of frames that are there already
        for indices in ([0], [9], [5, 23], [12, 13], [19, 0], [3, 3]):
            source.read(indices)
            assert num_decoded_on_demand([source.places(indices)]) == source.num_decoded, indices


def test_pictures_are_decoded_each_by_itself(tmp_path: Path) -> None:
    folder = FrameFolder(write_frames(tmp_path / "frames", 5))
    assert num_decoded_on_demand([folder.places([4]), folder.places([1, 4])]) == 2


def test_no_decoder_goes_from_one_clip_into_the_next(tmp_path: Path) -> None:
    clips = [VideoFile(write_video(tmp_path / f"{i}.mp4", g="250", bf="0")) for i in range(2)]  # of 40 frames
    montage = Montage(clips, [40, 20])
    assert num_decoded_on_demand([montage.places([39]), montage.places([40])]) == 40 + 2
    assert num_decoded_on_demand([montage.places([59])]) == 40  # the clip's at (19 + 1/2) / 20 of its length
    for indices in ([0, 39], [41, 3], [59]):
        montage.read(indices)
        assert num_decoded_on_demand([montage.places(indices)]) == montage.num_decoded


def test_calls_of_networks_are_requests(tmp_path: Path) -> None:
    """Two videos, a view of frames and one of clips of three: who sees what, and when."""
    source = VideoFile(write_video(tmp_path / "a.mp4", num_frames=32, g="8", bf="0"))
    views = {"frames": View(4, 16), "clips": View(2, 16, clip=3)}  # frames 4, 12, 20, 28; clips around 8 and 24
    places = Reading(16, 16, (1.0,), flip=False).places(source, views)
    assert places["frames"][..., 0].tolist() == [[4], [12], [20], [28]]
    assert places["clips"][..., 0].tolist() == [[7, 8, 9], [23, 24, 25]]
    assert (places["clips"][..., 1] == places["clips"][..., 0] // 8 * 8).all()
    ledger = Ledger(2)
    both, video_1 = torch.tensor([0, 1]), torch.tensor([1])
    ledger.read("frames", both, torch.tensor([1, 3]))
    assert decoded_on_demand(ledger.reads, [places, places]).tolist() == [5, 5]
    ledger.read("clips", video_1, torch.tensor([0]))  # 7, 8 and 9
    ledger.read("clips", video_1, torch.tensor([1]), inner=1)  # 24 alone
    assert decoded_on_demand(ledger.reads, [places, places]).tolist() == [5, 5 + 8 + 1 + 1 + 1]
    assert decoded_on_demand([], [places]).tolist() == [0]
