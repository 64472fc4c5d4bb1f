"""The room in the report: its tables, and which part of it a method missed, in closed form.

N videos, T frames, A kinds of action.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from adavid.actions import ActionSpace
from adavid.evaluation.predictions import Predictions
from adavid.evaluation.room import (
    ROOM_JSON,
    RoomAnswers,
    RoomEvidence,
    RoomRecord,
    room_points,
    sufficient_shares,
    write_room,
)
from adavid.evaluation.schema import SCHEMA
from benchmarks.report import write_leaderboard
from benchmarks.report.entries import read_entries
from benchmarks.report.markdown import committed, with_tables
from benchmarks.report.regret import prices, regret
from benchmarks.report.room import shown_room
from tests.benchmarks.toys import ACTIONS, CLASSES, NUM_FRAMES, NUM_VIDEOS, add

LEVELS = ("easy", "hard")
KINDS = ActionSpace(("64", "32", "skip"), (64, 32, 0)).kinds


def predictions(action_NT: list[list[int]], macs_N: list[int], levels: tuple[str, ...] = LEVELS) -> Predictions:
    num = len(action_NT)
    ids, label_NK = np.array([f"v{n}" for n in range(num)]), np.ones((num, 2))
    used_N = (np.array(action_NT) >= 0).sum(1)
    return Predictions(ids, label_NK, label_NK / 2, np.array(action_NT), np.array(macs_N), used_N, np.array(levels))


def test_prices_are_exact_where_frames_are_billed_for_their_decisions() -> None:
    kind_NT = np.random.default_rng(0).integers(3, size=(50, 8))
    macs_N = np.array([1000, 300, 10])[kind_NT].sum(1)
    assert prices(kind_NT, macs_N, KINDS) == pytest.approx([1000, 300, 10], rel=1e-3)


def test_prices_that_bills_leave_open_are_those_of_pixels() -> None:
    kind_NT = np.tile([0, 1, 1, 2, 2, 2, 2, -1], (50, 1))  # every video alike
    assert prices(kind_NT, np.full(50, 600), KINDS) == pytest.approx([400, 100, 0], rel=1e-3, abs=1e-3)


def test_regret_in_closed_form() -> None:
    of = predictions([[0, 1, 2, 2], [0, 0, 2, -1]], [500, 800])
    shown_NT = np.array([[1, 1, 1, 0], [0, 0, 1, 1]], bool)
    clear_NT = np.array([[1, 0, 1, 0], [0, 0, 1, 1]], bool)  # the last of them is padding
    found = regret(of, KINDS, shown_NT, clear_NT, LEVELS)
    assert found.close_of_clear == pytest.approx(1 / 3) and found.seen_of_clear == pytest.approx(1 / 3)
    assert found.cost_without == pytest.approx(800 / 1300, rel=1e-3)
    assert found.size_by_level == pytest.approx({"": (3 * 64 + 32) / 4, "easy": 48, "hard": 64})
    nothing = regret(predictions([[2, 2]], [0], ("easy",)), KINDS, *np.zeros((2, 1, 2), bool), LEVELS)
    assert np.isnan([nothing.close_of_clear, nothing.cost_without, nothing.size_by_level["easy"]]).all()


def add_room(results: Path, fingerprint: str = "f0f0f0f0", num_frames: int = NUM_FRAMES) -> RoomRecord:
    """The committed one, of the toys' videos; one seed."""
    rng = np.random.default_rng(0)
    ids = np.array([f"video{n:03d}" for n in range(NUM_VIDEOS)])
    label_NK = np.eye(len(CLASSES), dtype=np.uint8)[np.arange(NUM_VIDEOS) % len(CLASSES)]
    is_shown_NT = np.tile(np.arange(num_frames) < num_frames // 2, (NUM_VIDEOS, 1))
    score_SFRNK = rng.random((1, 2, 2, NUM_VIDEOS, len(CLASSES))).astype(np.float32)
    macs_SFRN = np.array([[[1, 4], [1, 2]]]).repeat(NUM_VIDEOS).reshape(1, 2, 2, NUM_VIDEOS) * 10**9
    answers = RoomAnswers(
        ids, label_NK, np.resize(LEVELS, NUM_VIDEOS), score_SFRNK, macs_SFRN, is_shown_NT, is_shown_NT
    )
    record = RoomRecord(
        **{"schema": SCHEMA, "kind": "room", "data": "toys", "profile": "tiny", "split": "test", "chance": 1 / 3},
        **{"fingerprint": fingerprint, "networks": "cascade", "config_hash": "abcdef01", "seeds": (0,)},
        **{"num_videos": NUM_VIDEOS, "num_frames": num_frames, "sizes": (32, 64)},
        points=room_points(answers, (32, 64), LEVELS),
        sufficient=sufficient_shares(answers, LEVELS),
        evidence=RoomEvidence(shown=0.5, clear=0.5, without_clear=0, separability={"dull": 0.51, "bright": 0.625}),
    )
    write_room(results / "reference" / "toys" / "tiny", record, answers)
    return record


def test_the_page_shows_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    action_NT = np.tile([0, 2, 1, 2], (NUM_VIDEOS, 1))
    add(tmp_path, "sharp", actions=ACTIONS, action_NT=action_NT, levels=LEVELS)
    add(tmp_path, "uniform", variant="ceiling", levels=LEVELS, accuracy=1.0, gflops=8.0)
    record = add_room(tmp_path)
    write_leaderboard(tmp_path)
    markdown, page = (tmp_path / "leaderboard.md").read_text(), (tmp_path / "leaderboard.html").read_text()
    highest = record.points[1]
    cells = [f"{100 * highest.map[0]:.2f}", f"{100 * highest.top1[0]:.2f}"]
    cells += [f"{100 * highest.levels[level][0]:.2f}" for level in LEVELS]
    for text in (markdown, page):
        assert "The room that adaptivity has" in text and "120 videos of the test split, T = 4" in text
        assert "of 2 low-level statistics the one that finds" in text.lower() and "AUC of 0.625" in text
        assert all(cell in text for cell in cells)
    rows = {
        row.split("|")[1].strip(): [cell.strip() for cell in row.split("|")[2:]]
        for row in markdown.splitlines()
        if row.startswith("|")
    }
    assert rows["uniform at 64 px"][:4] == cells and rows["uniform at 64 px"][5] == "100.0"
    assert rows["oracle of frames"][4:6] == ["2.00", "50.0"] and rows["chance"][:2] == ["33.33", "33.33"]
    assert rows["ceiling: uniform@ceiling"][0] == "100.00" and rows["ceiling: uniform@ceiling"][5] == "200.0"
    (missed,) = (of for title, of in (shown_room(read_entries(tmp_path)) or pytest.fail()).tables if "missed" in title)
    assert list(missed[""]) == ["uniform", "oracle of both", "sharp"]
    assert missed.iloc[0].tolist()[1:5] == ["100.0", "100.0", "50.0", "64.0"]
    assert missed.iloc[2].tolist()[1:5] == ["50.0", "50.0", "20.0", "48.0"]  # a 32 costs a quarter of a 64
    table = with_tables(
        "<!-- table: room of toys/tiny -->\n<!-- end of table -->", partial(committed, tmp_path), "page.md"
    )
    assert "oracle of both" in table


def test_a_room_of_other_videos_is_not_shown(tmp_path: Path) -> None:
    add(tmp_path, "sharp", actions=ACTIONS)
    assert shown_room(read_entries(tmp_path)) is None
    add_room(tmp_path, "0f0f0f0f")
    assert shown_room(read_entries(tmp_path)) is None
    add_room(tmp_path, num_frames=NUM_FRAMES + 1)  # what it knows of frames is of others than the method's
    shown = shown_room(read_entries(tmp_path))
    assert shown is not None and len(shown.tables) == 2
    path = tmp_path / "reference" / "toys" / "tiny" / ROOM_JSON
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"room\.json: "):
        shown_room(read_entries(tmp_path))
