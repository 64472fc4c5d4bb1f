"""Code of committed records beside today's: which run speaks for which code, and what follows from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adavid.digest import code_digest
from adavid.evaluation.predictions import read_predictions
from benchmarks.both_codes import OTHER_THREADS, TODAYS, Here, Train, both_codes
from benchmarks.compose import compose
from benchmarks.reference import board_of
from benchmarks.report.retrained import BY_SAME, NOT_SHOWN, OTHER_RESULTS, RETRAINED_CSV, Codes, read_retrained
from benchmarks.run import Run
from benchmarks.workspace import Workspace
from tests.benchmarks.toys import NUM_VIDEOS, add

SPRITES = board_of("sprites", "tiny")
OLD = "aaaa0000"
TODAY = code_digest(*compose("arnet").config["sources"])


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """With records of arnet, by old code."""
    of = Workspace.of(str(tmp_path / "results"), "reference", str(tmp_path / "cache"))
    commit(of, OLD)
    return of


def commit(workspace: Workspace, code: str, **more: Any) -> None:
    add(workspace.results, "arnet", data="sprites", code=code, **more)


class Trained:
    """In place of trainings: what each leaves, and which they were.

    Args:
        codes: by commit.
        change: of the scores (N, K) that are left, by commit and number of threads.
        more: of what the code of a commit leaves, by commit.
    """

    def __init__(
        self,
        codes: dict[str, str] | None = None,
        change: Callable[[str, int], float] = lambda commit, threads: 0.0,
        more: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self.codes, self.change, self.more = codes or {"0" * 40: OLD}, change, more or {}
        self.calls: list[tuple[str, str, int]] = []

    def __call__(self, commit: str, run: Run, threads: int, into: Path) -> None:
        self.calls.append((commit, run.label, threads))
        code = TODAY if commit == TODAYS else self.codes[commit]
        names = {"variant": run.variant, "data": run.data, "root": "runs", "code": code}
        folder = add(into, run.method, **names | self.more.get(commit, {}))
        scores = vars(read_predictions(folder / "test.npz"))
        scores["score_NK"] = scores["score_NK"] + np.float32(self.change(commit, threads))
        np.savez_compressed(folder / "test.npz", **scores)


def lines(workspace: Workspace, train: Train) -> list[str]:
    return list(both_codes(SPRITES, workspace, ["arnet"], train=train))


def test_code_that_makes_the_same_is_kept_as_the_same_and_not_tried_again(workspace: Workspace) -> None:
    train = Trained()
    first, last = lines(workspace, train)
    assert first == (
        "arnet on sprites, seed 0, 1 records of a short training: same: scores differ by 0 at most, 0 decisions, "
        f"0 bills, mAP by 0 points; code {OLD} before, {TODAY} now"
    )
    assert last.startswith(f"Digests of code: 1 same. Comparisons in {workspace.records / RETRAINED_CSV}: 1. ")
    assert train.calls == [(TODAYS, "arnet", 1), ("0" * 40, "arnet", 1)]
    (of,) = read_retrained(workspace.records / RETRAINED_CSV)
    assert (of.extent, of.machine, of.noise, of.verdict) == ("short", "same", None, "same")
    assert Codes.of(workspace.records).standing(OLD, TODAY) == BY_SAME
    assert lines(workspace, train) == ["Digests of code: none left."] and len(train.calls) == 2


@pytest.mark.parametrize(
    ("by_code", "by_threads", "verdict", "standing"),
    [
        (0.1, 0.0, "other", OTHER_RESULTS),
        (0.1, 0.1, "unclear", NOT_SHOWN),  # rounding alone does as much
        (0.005, 0.0, "unclear", NOT_SHOWN),  # what rounding may do, though it did not
    ],
)
def test_what_differs_is_trained_once_more_on_other_threads(
    workspace: Workspace, by_code: float, by_threads: float, verdict: str, standing: str
) -> None:
    train = Trained(change=lambda commit, threads: by_code * (commit == TODAYS) + by_threads * (threads > 1))
    lines(workspace, train)
    assert train.calls[2:] == [("0" * 40, "arnet", OTHER_THREADS)]
    (of,) = read_retrained(workspace.records / RETRAINED_CSV)
    assert (of.verdict, of.noise) == (verdict, NUM_VIDEOS if by_threads else 0)
    assert Codes.of(workspace.records).standing(OLD, TODAY) == standing
    assert lines(workspace, train) == ["Digests of code: none left."]


def test_a_code_that_cannot_run_here_is_a_line_and_the_others_go_on(workspace: Workspace) -> None:
    commit(workspace, "bbbb0000", seed=1)
    train = Trained()

    def fails_once(commit: str, run: Run, threads: int, into: Path) -> None:
        if (commit, len(train.calls)) == ("0" * 40, 1):
            train.codes = {"0" * 40: "bbbb0000"}
            train.calls.append((commit, run.label, threads))
            raise ValueError("the code of commit 0 cannot run here: no such option")
        train(commit, run, threads, into)

    first, second, last = lines(workspace, fails_once)
    assert first.endswith(": the code of commit 0 cannot run here: no such option")
    assert ": same: " in second and last.startswith("Digests of code: 1 could not run here, 1 same.")
    assert [label for commit, label, _ in train.calls if commit == TODAYS] == ["arnet"]  # once for both
    (of,) = read_retrained(workspace.records / RETRAINED_CSV)
    assert of.code_before == "bbbb0000"


def test_a_commit_that_makes_other_code_or_had_other_settings_says_so(workspace: Workspace) -> None:
    (line, _) = lines(workspace, Trained({"0" * 40: "cccc0000"}))
    assert line == f"arnet on sprites, code {OLD}: commit {'0' * 40} makes cccc0000 here"
    (line, _) = lines(workspace, Trained(more={TODAYS: {"config_hash": "0123456789"}}))
    assert f"its settings were others than today's: abcdef0123 at commit {'0' * 40}, 0123456789 now" in line
    assert not (workspace.records / RETRAINED_CSV).exists()


def test_a_method_speaks_for_its_code_before_its_variants_do_and_the_shortest_of_these(workspace: Workspace) -> None:
    commit(workspace, OLD, variant="acc", seed=1)
    commit(workspace, "bbbb0000", variant="acc", epochs=9)
    commit(workspace, "bbbb0000", variant="acc_eff", epochs=2)
    train = Trained()

    def either(commit: str, run: Run, threads: int, into: Path) -> None:
        train.codes = {"0" * 40: "bbbb0000" if run.variant else OLD}
        train(commit, run, threads, into)

    lines(workspace, either)
    of_code = {of.code_before: of.label for of in read_retrained(workspace.records / RETRAINED_CSV)}
    assert of_code == {OLD: "arnet", "bbbb0000": "arnet@acc_eff"}


PROGRAM = """
import json, os, pathlib, sys
print(json.dumps([VERSION, sys.argv[1:], os.environ["OMP_NUM_THREADS"]]))
"""


def test_what_a_variant_without_shared_backbones_shows_is_known_by_its_own_digest(workspace: Workspace) -> None:
    records = workspace.records / "sprites" / "tiny"
    shutil.rmtree(records / "arnet")
    commit(workspace, OLD, variant="joint_only")
    today = code_digest(*compose("arnet", variant="joint_only").config["sources"])
    assert today != TODAY
    train = Trained(more={TODAYS: {"code": today}})
    assert ": same: " in lines(workspace, train)[0]
    assert lines(workspace, train) == ["Digests of code: none left."]


def test_code_of_a_commit_runs_with_its_own_modules_and_an_empty_cache(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    program = repository / "benchmarks" / "__main__.py"
    program.parent.mkdir(parents=True)
    commits = []
    for version in ("'first'", "'second'"):
        program.write_text(PROGRAM.replace("VERSION", version))
        commits.append(committed(repository))
    program.write_text("import sys; sys.exit('adavid: out of order')")  # today's
    here, run = Here(tmp_path / "cache", ("a.b=1",), repository), compose("arnet", cache=str(tmp_path / "cache"))
    for commit, version in zip(commits, ("first", "second"), strict=True):
        here.train(commit, run, 2, tmp_path / "into")
        log = tmp_path / "cache" / "logs" / "both-codes" / f"arnet-{commit}.txt"
        said, words, threads = json.loads(log.read_text())
        assert (said, words[0], threads) == (version, "bench", "2")
        assert {f"data.root={tmp_path}/cache/sprites", f"data.cache={tmp_path}/cache/decoded", "a.b=1"} <= {*words}
        assert not os.path.exists(words[words.index("--cache") + 1])  # of this training alone
    with pytest.raises(ValueError, match=r"^today's code cannot run here: adavid: out of order \(see .*today\.txt\)$"):
        here.train(TODAYS, run, 1, tmp_path / "into")
    with pytest.raises(ValueError, match="^commit 1234 cannot be checked out: .*1234"):
        here.train("1234", run, 1, tmp_path / "into")


def committed(repository: Path) -> str:
    """The name of a commit of what is there."""

    def git(*words: str) -> str:
        author = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *author, *words], cwd=repository, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init")
    git("add", ".")
    git("commit", "-m", "a version")
    return git("rev-parse", "HEAD")
