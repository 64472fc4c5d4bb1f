"""Records beside those that other code made before them: what is the same, and for which code that speaks."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adavid.evaluation.predictions import read_predictions
from adavid.evaluation.records import Record
from adavid.evaluation.schema import read_json, write_json
from benchmarks.__main__ import main
from benchmarks.report.retrained import (
    BY_SAME,
    BY_TODAYS,
    NOT_SHOWN,
    OTHER_RESULTS,
    RETRAINED_CSV,
    Codes,
    Retrained,
    compared,
    num_moved,
    read_retrained,
    retrained,
    write_retrained,
)
from tests.benchmarks.toys import GFLOP, NUM_VIDEOS, add

ACTIONS = ("64", "32")


def made(results: Path, code: str, *, points: tuple[str, ...] = ("test", "shuffled"), **more: Any) -> Path:
    """A run's records, by this code; gives the folder of all records."""
    for point in points:
        add(results, "sharp", actions=ACTIONS, code=code, point=point, **more)
    return results / "reference"


def change(records: Path, point: str = "test", **arrays: Any) -> None:
    """Puts other arrays beside a record."""
    (path,) = records.rglob(f"{point}.npz")
    np.savez_compressed(path, **vars(read_predictions(path)) | arrays)


def predicted(records: Path, point: str = "test") -> dict[str, np.ndarray]:
    (path,) = records.rglob(f"{point}.npz")
    return {name: array.copy() for name, array in vars(read_predictions(path)).items()}


def update(records: Path, **values: Any) -> None:
    """Puts other values into all records."""
    for path in records.rglob("*.json"):
        write_json(path, read_json(Record, path).model_copy(update=values))


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return made(tmp_path / "before", "aaaa0000")


@pytest.fixture
def after(tmp_path: Path) -> Path:
    return made(tmp_path / "after", "bbbb0000")


def test_the_same_scores_are_the_same(before: Path, after: Path) -> None:
    (of,) = compared(before, after)
    assert of.verdict == "same" and (of.points, of.videos, of.seed, of.machine) == (2, NUM_VIDEOS, 0, "same")
    assert (of.data, of.profile, of.label, of.config_hash) == ("toys", "tiny", "sharp", "abcdef01")
    assert (of.code_before, of.code_after, of.commit_before, of.commit_after) == (
        *("aaaa0000", "bbbb0000"),
        *("0" * 40, "0" * 40),
    )
    assert (of.score, of.decisions, of.bills, of.map, of.gflops) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(("shift", "verdict"), [(5e-5, "same"), (1e-3, "other")])
def test_scores_agree_within_the_tolerance(before: Path, after: Path, shift: float, verdict: str) -> None:
    score_NK = predicted(after, "shuffled")["score_NK"]
    score_NK[7, 1] += shift
    change(after, "shuffled", score_NK=score_NK)
    (of,) = compared(before, after)
    assert of.verdict == verdict and of.score == pytest.approx(shift, rel=1e-2)


def test_one_other_decision_or_bill_is_another_result(before: Path, after: Path) -> None:
    action_NT = predicted(after)["action_NT"]
    action_NT[3, 2] = 1 - action_NT[3, 2]
    change(after, action_NT=action_NT)
    (of,) = compared(before, after)
    assert (of.verdict, of.decisions, of.bills) == ("other", 1, 0)
    change(after, action_NT=predicted(before)["action_NT"], macs_N=predicted(before)["macs_N"] + GFLOP)
    (of,) = compared(before, after)
    assert (of.verdict, of.decisions, of.bills) == ("other", 0, NUM_VIDEOS)


def test_another_bill_of_training_is_another_result(before: Path, tmp_path: Path) -> None:
    (of,) = compared(before, made(tmp_path / "after", "bbbb0000", train_gmacs=8.0))
    assert (of.verdict, of.bills) == ("other", 0) and of.gflops == pytest.approx(0.2)  # of 10


@pytest.mark.parametrize(
    ("machine", "said"),
    [({"device": "another"}, "another"), ({"num_threads": 2}, "another"), ({"num_threads": None}, "unknown")],
)
def test_another_machine_may_show_that_code_is_the_same_but_not_that_it_is_another(
    before: Path, after: Path, machine: dict[str, Any], said: str
) -> None:
    update(after, **machine)
    (of,) = compared(before, after)
    assert (of.machine, of.verdict) == (said, "same")
    change(after, score_NK=predicted(after)["score_NK"] + 0.1)
    (of,) = compared(before, after)
    assert of.verdict == "unclear"
    assert Codes([of]).standing("aaaa0000", "bbbb0000") == NOT_SHOWN


def test_videos_are_compared_by_name_and_none_may_be_missing(before: Path, after: Path) -> None:
    reversed_N = slice(None, None, -1)
    change(after, **{name: array[reversed_N] for name, array in predicted(after).items()})
    (of,) = compared(before, after)
    assert of.verdict == "same"
    change(after, **{name: array[:-2] for name, array in predicted(after).items()})
    with pytest.raises(ValueError) as caught:
        retrained(after, str(before))
    (path,) = after.rglob("test.json")
    expected = "expected the same videos as before: 'video000' and 1 more missing now"
    assert str(caught.value) == f"{path}: {expected}"
    assert not (after / RETRAINED_CSV).exists()


def test_another_configuration_or_the_same_code_is_no_comparison(before: Path, after: Path, tmp_path: Path) -> None:
    assert not compared(before, made(tmp_path / "elsewhere", "bbbb0000", config_hash="0123456789"))
    assert not compared(before, before)
    update(after, config_hash="abcdef0129")  # at the same place
    assert not compared(before, after)


def test_records_of_no_commit_are_refused(before: Path, after: Path) -> None:
    update(after, git_revision="0" * 40 + "-dirty")
    with pytest.raises(ValueError, match=r"\.json: made from a checkout with changes: commit them"):
        compared(before, after)


def test_points_of_other_code_are_a_comparison_of_their_own(before: Path, after: Path, tmp_path: Path) -> None:
    made(tmp_path / "before", "cccc0000", points=("curve-a=1", "curve-a=2"))
    made(tmp_path / "after", "bbbb0000", points=("curve-a=1", "curve-a=2"))
    of_curve, of_main = sorted(compared(before, after), key=lambda of: of.code_before, reverse=True)
    assert [(of.code_before, of.points) for of in (of_curve, of_main)] == [("cccc0000", 2), ("aaaa0000", 2)]


@pytest.mark.parametrize(
    ("moved", "noise", "verdict"),
    [
        (240, 0, "other"),  # every video of two records
        (24, 2, "other"),
        (24, 3, "unclear"),  # not ten times as many as move on other threads
        (2, 0, "unclear"),  # a few, which rounding may have moved
        (240, None, "unclear"),  # not tried on other threads
    ],
)
def test_a_short_training_convicts_code_by_more_than_rounding(moved: int, noise: int | None, verdict: str) -> None:
    numbers = {"points": 2, "videos": NUM_VIDEOS, "score": 0.5, "moved": moved, "noise": noise}
    of = comparison("a", "b").model_copy(update={"extent": "short", **numbers})
    assert of.verdict == verdict
    assert of.model_copy(update={"score": 0.0}).verdict == "same"
    assert of.model_copy(update={"extent": "whole"}).verdict == "other"


def test_videos_move_by_their_scores_or_bills(before: Path, after: Path) -> None:
    score_NK, macs_N = predicted(after)["score_NK"], predicted(after)["macs_N"]
    score_NK[:3, 0] += 0.02
    score_NK[3:9, 0] += 0.005  # less than rounding may make of it
    macs_N[2:5] += 1
    change(after, score_NK=score_NK, macs_N=macs_N)
    (of,) = compared(before, after, "short")
    assert (of.extent, of.moved, of.noise) == ("short", 5, None) and num_moved(before, after) == 5
    update(after, num_threads=None, device="another")  # as old code says it, or does not
    assert compared(before, after, "short")[0].machine == "same"


def comparison(code_before: str, code_after: str, score: float = 0.0, seed: int = 0) -> Retrained:
    of_run = {"data": "toys", "profile": "tiny", "label": "sharp", "config_hash": "abcdef01", "seed": seed}
    commits = {"commit_before": "0" * 40, "commit_after": "1" * 40}
    numbers = {"points": 1, "videos": 9, "score": score, "decisions": 0, "bills": 0, "moved": 0, "map": 0, "gflops": 0}
    codes = {"code_before": code_before, "code_after": code_after}
    return Retrained.model_validate({**of_run, **commits, **codes, "extent": "whole", "machine": "same", **numbers})


def test_a_chain_of_comparisons_counts_in_either_direction() -> None:
    codes = Codes([comparison("a", "b"), comparison("b", "c"), comparison("d", "e")])
    standings = {code: codes.standing(code, "c") for code in "abcde"}
    assert standings == {"a": BY_SAME, "b": BY_SAME, "c": BY_TODAYS, "d": NOT_SHOWN, "e": NOT_SHOWN}
    assert codes.standing("c", "a") == BY_SAME
    assert codes.standing("a", None) == NOT_SHOWN and not codes.has_others


def test_one_other_result_outweighs_all_that_are_the_same() -> None:
    pair = [comparison("a", "b"), comparison("a", "b", seed=1), comparison("a", "b", score=0.1, seed=2)]
    assert Codes(pair).standing("a", "b") == Codes(pair).standing("b", "a") == OTHER_RESULTS
    along = Codes([comparison("a", "b"), comparison("b", "c", score=0.1), comparison("c", "d")])
    assert [along.standing(code, "d") for code in "abcd"] == [OTHER_RESULTS, OTHER_RESULTS, BY_SAME, BY_TODAYS]
    closed = Codes([comparison("a", "b"), comparison("b", "c"), comparison("a", "c", score=0.1)])
    assert closed.standing("a", "c") == closed.standing("b", "c") == OTHER_RESULTS


def test_the_file_keeps_each_comparison_once_and_sorted(before: Path, after: Path, tmp_path: Path) -> None:
    path = after / RETRAINED_CSV
    write_retrained(path, [comparison("x", "y", seed=3), comparison("1234", "1e05", score=0.1)])
    last = retrained(after, str(before)).splitlines()[-1]
    assert last.startswith(f"Comparisons in {path}: 3. One seed that was trained again speaks for what else")
    text = path.read_text()
    assert retrained(after, str(before)) and path.read_text() == text
    assert [(of.code_before, of.verdict) for of in read_retrained(path)] == [
        *(("1234", "other"), ("aaaa0000", "same"), ("x", "same"))
    ]
    path.write_text(text.replace(",other\n", ",same\n"))
    with pytest.raises(ValueError, match=r"retrained\.csv, line 2: verdict: expected 'other' by its numbers, got 's"):
        read_retrained(path)
    path.write_text(text.replace(",3,", ",three,"))
    with pytest.raises(ValueError, match=r"retrained\.csv, line 4: seed: .* integer"):
        read_retrained(path)


def test_what_was_there_before_is_read_from_a_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def git(*words: str) -> None:
        author = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *author, *words], cwd=tmp_path, check=True, capture_output=True)

    records = made(tmp_path / "results", "aaaa0000")
    made(tmp_path / "results", "aaaa0000", seed=1)
    git("init")
    git("add", ".")
    git("commit", "-m", "before")
    words = ["retrained", "--results", str(tmp_path / "results")]
    assert main(words) == 0
    assert "no record was made anew by other code than at HEAD" in capsys.readouterr().out
    made(tmp_path / "results", "bbbb0000")
    assert main(words) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first == (
        "sharp on toys, seed 0, 2 records: same: scores differ by 0 at most, 0 decisions, 0 bills, mAP by 0 points; "
        "code aaaa0000 before, bbbb0000 now"
    )
    assert last.startswith(f"Comparisons in {records / RETRAINED_CSV}: 1. ")
    assert Codes.of(records / "toys").standing("aaaa0000", "bbbb0000") == BY_SAME
    assert main([*words, "no-commit"]) == 2
    assert "before 'no-commit': expected a commit of the repository that holds" in capsys.readouterr().err
