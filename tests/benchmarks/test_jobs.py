"""Many command lines at once: what fails does not stop the others, what is ended leaves nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import jobs
from benchmarks.jobs import Cell, run_all
from benchmarks.layers import ROOT


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Cells run `sh -c <words>` in place of adavid, in an empty folder."""
    popen = subprocess.Popen
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda words, **options: popen(["sh", "-c", words[-1]], **options))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cells(**words: str) -> list[Cell]:
    return [Cell(name, (text,)) for name, text in words.items()]


def test_one_that_fails_is_named_and_stops_no_other(scripts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = cells(good="echo a; echo b", bad="echo begun; echo adavid: no such thing >&2; exit 3", late="touch ran")
    assert run_all(many, 1, scripts / "logs") == ["bad"]
    assert (scripts / "ran").exists() and (scripts / "logs" / "bad.txt").read_text().startswith("begun\n")
    said = capsys.readouterr().out.splitlines()
    log = scripts / "logs"
    assert said == [
        f"[1/3] good: started, see {log / 'good.txt'}",
        "[1/3] good: done in 0 s: b",
        f"[2/3] bad: started, see {log / 'bad.txt'}",
        "[2/3] bad: failed after 0 s, status 3: no such thing",
        f"[3/3] late: started, see {log / 'late.txt'}",
        "[3/3] late: done in 0 s: said nothing",
        f"failed: bad: no such thing, see {log / 'bad.txt'}",
    ]
    with pytest.raises(ValueError, match="^1 of 3 failed: bad; RETRY=1 runs what failed again$"):
        jobs.check_all_done(["bad"], 3)
    jobs.check_all_done([], 3)


def test_so_many_at_a_time_with_an_equal_share_of_the_cores(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(jobs, "num_cores", lambda: 9)
    # Each waits for the other: one after the other, they would never end.
    meet = "touch $0{0}; while ! [ -e $0{1} ]; do sleep 0.05; done; echo $OMP_NUM_THREADS"
    assert run_all(cells(a=meet.format("a", "b"), b=meet.format("b", "a"), c="true"), 2, scripts) == []
    assert (scripts / "a.txt").read_text() == (scripts / "b.txt").read_text() == "4\n"
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    echo, done = "echo $OMP_NUM_THREADS", list[Cell]()
    for many, threads in ({"a": echo}, "7"), ({"a": echo, "b": "exit 1"}, "3"):
        run_all(cells(**many), 2, scripts, done.append)
        assert (scripts / "a.txt").read_text() == f"{threads}\n"
    assert done == cells(a=echo) * 2  # not what has failed


def test_cells_that_would_wait_for_each_other_are_started_apart(
    scripts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {"arnet 0": "0", "uniform 0": "0", "arnet 1": "1"}
    run_all([Cell(name, ("sleep 0.3",), seed) for name, seed in named.items()], 2, scripts)
    started = [line for line in capsys.readouterr().out.splitlines() if "started" in line]
    assert [line.partition(": ")[0] for line in started] == ["[1/3] arnet 0", "[2/3] arnet 1", "[3/3] uniform 0"]


def test_what_failed_is_run_again_on_request_alone(scripts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = cells(good="echo good >> ran", bad="echo bad >> ran; echo no luck; exit 3")
    for retry, ran in ((False, 1), (False, 1), (True, 2)):
        assert run_all(many, 1, scripts / "logs", retry=retry) == ["bad"]
        assert (scripts / "ran").read_text().count("bad") == ran
    log = scripts / "logs" / "bad.txt"
    assert f"bad: failed before, see {log}; RETRY=1 runs it again" in capsys.readouterr().out
    assert run_all(cells(bad="true"), 1, scripts / "logs") == []  # other settings, another line
    assert not list((scripts / "logs").glob("*.failed"))


def test_a_cell_waits_for_the_one_that_it_comes_after(scripts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def some(of_first: str) -> list[Cell]:
        return [Cell("first", (of_first,)), Cell("then", ("test -e made && touch ran",), after="first")]

    assert run_all(some("sleep 0.3; touch made"), 2, scripts) == [] and (scripts / "ran").exists()
    assert run_all(some("exit 1"), 2, scripts) == ["first", "then"]
    assert "[2/2] then: not started, as first failed" in capsys.readouterr().out
    assert run_all(some("touch made")[1:], 2, scripts) == []  # the first was done long ago


def test_each_slot_has_gpus_of_its_own(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def seen(gpus: str, *nums: int) -> list[str]:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
        all_here = f"while [ $(ls $0? | wc -l) -lt {len(nums)} ]; do sleep 0.05; done"
        words = [f"touch $0{i}; {all_here}; echo $CUDA_VISIBLE_DEVICES" for i in range(len(nums))]
        some = [Cell(str(i), (words[i],), num_gpus=num) for i, num in enumerate(nums)]
        assert run_all(some, len(nums), scripts / "logs") == []
        for i in range(len(nums)):
            (scripts / f"sh{i}").unlink()
        return [(scripts / "logs" / f"{i}.txt").read_text().strip() for i in range(len(nums))]

    assert seen("3,5", 1, 1, 1) == ["3", "5", "3"]
    assert seen("a,b,c,d", 2, 2) == ["a,b", "c,d"]
    assert seen("3", 1, 1) == ["3", "3"]  # no choice
    assert seen("3,5", 0, 4) == ["3,5", "3,5"]  # which it takes is its own to say, or it is for it to refuse


def test_a_line_is_for_any_shell(scripts: Path) -> None:
    assert Cell("x", ("bench", "a b", "")).line == f"{sys.executable} -m adavid.command bench 'a b' ''"


def test_jobs_of_a_cluster_are_run_and_fail_as_processes_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr(Cell, "line", property(lambda cell: f"sh -c '{cell.words[0]}'"))
    start = jobs.Submission(tmp_path / "submitit", {"timeout_min": 1}, cluster="local")
    done: list[Cell] = []
    many = cells(good="echo fine", bad="echo no luck; exit 3")
    assert run_all(many, 2, tmp_path / "logs", done.append, start=start) == ["bad"] and done == many[:1]
    assert [(tmp_path / "logs" / f"{name}.txt").read_text() for name in ("good", "bad")] == ["fine\n", "no luck\n"]
    with pytest.raises(ValueError, match="^LAUNCHER=slurm: .*colour"):
        jobs.Submission(tmp_path / "submitit", {"colour": "red"}, cluster="local")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_ends_it_ends_all(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import signal, subprocess\nfrom pathlib import Path\nfrom benchmarks import jobs\npopen = subprocess.Popen\n"
        f"signal.signal({int(number)}, signal.default_int_handler)\n"  # it may be ignored where tests run
        "jobs.GRACE_S = 0.5\n"  # a shell that waits does not end when it is asked to
        "jobs.subprocess.Popen = lambda words, **options: popen(['sh', '-c', words[-1]], **options)\n"
        "cells = [jobs.Cell(name, (f'sleep 60 & echo $! > {name}; wait',)) for name in 'ab']\n"
        "jobs.run_all([*cells, jobs.Cell('c', ('touch c',))], 2, Path('logs'))\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    while not all((tmp_path / name).exists() and (tmp_path / name).read_text().strip() for name in "ab"):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    process.wait(20)
    assert process.returncode != 0 and not (tmp_path / "c").exists()
    for name in "ab":
        sleeper = Path("/proc") / (tmp_path / name).read_text().strip()
        if sleeper.parent.exists():
            assert not sleeper.exists() or "(sleep) Z" in (sleeper / "stat").read_text()


def test_nonsense_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^jobs=0: expected 1 or more$"):
        run_all(cells(a="true"), 0, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file: cannot be made"):
        run_all(cells(a="true"), 1, tmp_path / "file")
