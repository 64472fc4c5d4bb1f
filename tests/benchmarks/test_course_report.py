"""Policies in training, in the report: what they were in the first and the last epoch, and whether they collapsed."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from benchmarks.report import write_leaderboard
from benchmarks.report.course import course_table
from benchmarks.report.entries import read_entries
from benchmarks.report.markdown import committed, with_tables
from tests.benchmarks.toys import NUM_FRAMES, NUM_VIDEOS, add


def decided_alike(num_videos: int) -> np.ndarray:
    """Decisions (N, T) of two actions, the same ones for so many videos, and all others in turns for the rest."""
    others = np.array([*itertools.product((0, 1), repeat=NUM_FRAMES)][1:])
    return np.concatenate(
        [np.zeros((num_videos, NUM_FRAMES), int), np.resize(others, (NUM_VIDEOS - num_videos, NUM_FRAMES))]
    )


def test_a_collapsed_policy_is_found_and_said(tmp_path: Path) -> None:
    actions = ("64", "32")
    add(tmp_path, "plain", course={"all/loss": (2.0, 1.0)})
    for seed, (last, num_alike) in enumerate(((0.5, 60), (0.97, 90))):
        course = {"agent/entropy": (1.0 + seed, 0.25), "agent/modal": (0.3, 0.4, last), "warmup/loss": (1.0,)}
        own = {"course": course, "actions": actions, "action_NT": decided_alike(num_alike), "model_hash": "walks"}
        add(tmp_path, "walker", seed=seed, **own)
    add(tmp_path, "walker", variant="even", config_hash="0fe3", seed=1, **own)
    add(tmp_path, "settler", course={"policy/modal": (0.2, 0.5)}, actions=actions, action_NT=decided_alike(118))
    entries = read_entries(tmp_path)
    table = course_table(entries, [entry.label for entry in entries])
    assert table is not None
    assert {row.pop("method"): row for row in table.to_dict("records")} == {
        "settler": {
            **{"stage": "policy", "entropy, first to last epoch": ""},
            **{"commonest decision, first to last epoch": "20.0% to 50.0%"},
            **{"videos decided alike": "98.3%", "collapsed": "1 of 1 seeds"},
        },
        "walker": {
            **{"stage": "agent", "entropy, first to last epoch": "1.50 to 0.25"},
            **{"commonest decision, first to last epoch": "30.0% to 73.5%"},
            **{"videos decided alike": "62.5%", "collapsed": "1 of 2 seeds"},
        },
    }
    write_leaderboard(tmp_path)
    for page in ("leaderboard.md", "leaderboard.html"):
        text = (tmp_path / page).read_text(encoding="utf-8")
        assert "Policies in training" in text and "1 of 2 seeds" in text
    mark = "<!-- table: courses of toys/tiny -->"
    text = with_tables(f"{mark}\n<!-- end of table -->", lambda *place: committed(tmp_path, *place), "a page")
    assert "1 of 2 seeds" in text and "`plain`" not in text


def test_a_variant_with_a_training_of_its_own_has_a_row(tmp_path: Path) -> None:
    for variant, model_hash, entropy in (("", "walks", 1.0), ("even", "walks", 1.0), ("five", "walks5", 0.5)):
        course = {"agent/entropy": (entropy,)}
        add(tmp_path, "walker", variant=variant, course=course, config_hash=f"0{variant}", model_hash=model_hash)
    entries = read_entries(tmp_path)
    table = course_table(entries, [entry.label for entry in entries])
    assert table is not None and {*zip(table["method"], table["entropy, first to last epoch"], strict=True)} == {
        ("walker", "1.00 to 1.00"),
        ("walker@five", "0.50 to 0.50"),
    }


def test_records_that_say_nothing_of_their_training_leave_it_out(tmp_path: Path) -> None:
    add(tmp_path, "plain")
    entries = read_entries(tmp_path)
    assert course_table(entries, ["plain"]) is None
    write_leaderboard(tmp_path)
    assert "Policies in training" not in (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
