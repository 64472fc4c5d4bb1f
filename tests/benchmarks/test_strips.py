"""Strips from folders of JPEG frames whose colours say which frame of which video they are."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.io import ImageReadMode, decode_jpeg, read_file, write_jpeg

from adavid.actions import ActionSpace, PatchGrid
from adavid.data.batch import View
from adavid.data.catalogue import Evidence, VideoCatalogue, VideoRecord
from adavid.evaluation.predictions import Predictions
from adavid.evaluation.records import Strip
from adavid.evaluation.schema import read_json
from benchmarks.strips import write_strips

NUM_VIDEOS, NUM_FRAMES, SIZE = 9, 4, 16
ACTIONS = ActionSpace(("16", "skip-1"), (16, 0))
METHOD: Any = SimpleNamespace(views={"frames": View(NUM_FRAMES, SIZE), "glance": View(2, 8)}, actions=ACTIONS)


class Colours(VideoCatalogue):
    class_names = ["cat", "dog"]

    def __init__(self, root: Path) -> None:
        super().__init__(num_workers=0, resize=SIZE, crop=SIZE)
        self.root = root

    def records(self, split: str) -> list[VideoRecord]:
        paths = sorted((self.root / split).iterdir())
        return [VideoRecord(path.name, path, (0,), split) for path in paths]


@pytest.fixture
def colours(tmp_path: Path) -> Colours:
    greys = {f"test/test{i}": [grey(i, t) for t in range(NUM_FRAMES)] for i in range(NUM_VIDEOS)}
    for video, of_frames in (greys | {"train/a": [250], "val/b": [255]}).items():
        (tmp_path / "videos" / video).mkdir(parents=True)
        for t, value in enumerate(of_frames):
            frame_CHW = torch.full((3, SIZE, SIZE), value, dtype=torch.uint8)
            write_jpeg(frame_CHW, str(tmp_path / "videos" / video / f"{t}.jpg"), quality=100)
    return Colours(tmp_path / "videos")


def grey(video: int, frame: int) -> int:
    return 25 * video + 5 * frame


def predictions(macs_N: np.ndarray) -> Predictions:
    order = np.arange(NUM_VIDEOS)
    action_NT = np.zeros((NUM_VIDEOS, NUM_FRAMES), dtype=int)
    action_NT[:, 1] = 1
    action_NT[order == 4, 3] = -1
    return Predictions(
        video_id=np.array([f"test{i}" for i in order]),
        label_NK=np.array([[1, int(i == 4)] for i in order]),
        score_NK=np.array([[0.2, 0.8]] * NUM_VIDEOS),
        action_NT=action_NT,
        macs_N=macs_N,
        frames_used_N=np.full(NUM_VIDEOS, NUM_FRAMES),
        level_N=np.full(NUM_VIDEOS, ""),
    )


def test_strips_go_evenly_from_easy_to_hard(colours: Colours, tmp_path: Path) -> None:
    macs_N = np.arange(NUM_VIDEOS)[::-1] * 10**9  # the last video is the cheapest
    strips = write_strips(tmp_path / "run", METHOD, colours, predictions(macs_N), num_strips=3)
    assert [strip.video_id for strip in strips] == ["test8", "test4", "test0"]
    assert read_json(tuple[Strip, ...], tmp_path / "run" / "strips.json") == strips
    assert json.loads((tmp_path / "run" / "strips.json").read_text())[0] == {
        "video_id": "test8",
        "label": "cat",
        "prediction": "dog",
        "correct": False,
        "gflops": 0.0,
        "actions": ["16", "skip-1", "16", "16"],
        "image": "strips/0.jpg",
    }
    # Several labels, and padding, which is no decision.
    assert (strips[1].label, strips[1].correct) == ("cat, dog", True)
    assert strips[1].actions == ("16", "skip-1", "16")
    for strip in strips:
        image_CHW = decode_jpeg(read_file(str(tmp_path / "run" / strip.image)), ImageReadMode.RGB)
        assert image_CHW.shape == (3, SIZE, NUM_FRAMES * SIZE)
        frames_TCHW = torch.stack(image_CHW.split(SIZE, dim=-1)).float()
        expected = [grey(int(strip.video_id[-1]), t) for t in range(NUM_FRAMES)]
        assert frames_TCHW.mean((1, 2, 3)).tolist() == pytest.approx(expected, abs=2)


def test_equal_costs_spread_over_video_ids(colours: Colours, tmp_path: Path) -> None:
    given = predictions(np.full(NUM_VIDEOS, 7))
    chosen = [
        [strip.video_id for strip in write_strips(tmp_path, METHOD, colours, rows, num_strips=5)]
        for rows in (given, given.select(np.arange(NUM_VIDEOS)[::-1]))
    ]
    assert chosen == [[f"test{i}" for i in (0, 2, 4, 6, 8)]] * 2


def test_few_videos_are_all_shown(colours: Colours, tmp_path: Path) -> None:
    assert len(write_strips(tmp_path, METHOD, colours, predictions(np.arange(NUM_VIDEOS)))) == NUM_VIDEOS


def test_patches_are_boxes(colours: Colours, tmp_path: Path) -> None:
    grid = PatchGrid(SIZE, SIZE // 2, 2)
    given = predictions(np.arange(NUM_VIDEOS))
    places_NT = np.tile([3, 4, 0, 1], (NUM_VIDEOS, 1))  # 4 is the skip
    cuts_patches: Any = SimpleNamespace(
        views=METHOD.views, actions=ActionSpace(("patch-8", "skip"), (SIZE // 2, 0), grid=grid)
    )
    strips = write_strips(tmp_path, cuts_patches, colours, replace(given, action_NT=places_NT))
    assert strips[0].actions == ("patch-8", "skip", "patch-8", "patch-8")
    assert strips[0].boxes == ((0.5, 0.5, 0.5, 0.5), None, (0, 0, 0.5, 0.5), (0, 0.5, 0.5, 0.5))
    assert read_json(tuple[Strip, ...], tmp_path / "strips.json") == strips


def test_the_frames_that_show_the_class_are_marked_where_the_data_set_knows(colours: Colours, tmp_path: Path) -> None:
    given = predictions(np.arange(NUM_VIDEOS))
    assert all(strip.shown is None for strip in write_strips(tmp_path, METHOD, colours, given))
    is_shown = np.array([False, True, True, False])
    colours.evidence = lambda record: Evidence(is_shown, is_shown)  # type: ignore[method-assign]
    strips = write_strips(tmp_path, METHOD, colours, given)
    by_id = {strip.video_id: strip.shown for strip in strips}
    assert by_id["test0"] == (False, True, True, False) and by_id["test4"] == (
        False,
        True,
        True,
    )  # padding is not shown
    assert read_json(tuple[Strip, ...], tmp_path / "strips.json") == strips
