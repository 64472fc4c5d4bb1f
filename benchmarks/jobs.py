"""Many command lines of `adavid`, some at a time: a process for each, the cores shared out among them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from adavid.cores import num_cores

POLL_S = 0.1
GRACE_S = 10.0  # from the request to end to the end by force


@dataclass(frozen=True)
class Cell:
    """One command line of many.

    Attributes:
        name: what its progress lines and its log are called; unlike all others'.
        words: what stands after `adavid`.
        apart: cells of which this is equal want the same things made, such as the backbones of one seed: where one of
            them makes what another waits for, a third with other needs is started first.
    """

    name: str
    words: tuple[str, ...]
    apart: str = ""


@dataclass(frozen=True)
class _Job:
    cell: Cell
    number: int
    process: subprocess.Popen[bytes]
    log: Path
    started: float


def run_all(
    cells: Sequence[Cell], jobs: int, logs: Path, when_done: Callable[[Cell], None] = lambda cell: None
) -> list[str]:
    """Run the command lines, `jobs` at a time; one that fails does not stop the others, and none outlives this call.

    Each gets an equal share of the threads that this process may have: OMP_NUM_THREADS, by default one a core. What it
    prints goes to `<name>.txt`; its start and its end are lines here.

    Args:
        cells: the command lines, the first ones first.
        jobs: how many at a time, from 1 on.
        logs: folder, made if need be.
        when_done: called with each that has not failed, as it ends.

    Returns:
        the names of those that failed.

    Raises:
        ValueError: `jobs` is less than 1, or the folder cannot be made.
        KeyboardInterrupt: the user ended it, or whoever started this process did (SIGTERM, SIGHUP).
    """
    if jobs < 1:
        raise ValueError(f"jobs={jobs}: expected 1 or more")
    try:
        logs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{logs}: cannot be made ({error.strerror})") from error
    waiting, running, failed = list(cells), list[_Job](), list[str]()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    threads = max(1, (int(limit) if limit.isdigit() else num_cores()) // max(1, min(jobs, len(cells))))
    # A bar that is written to a file is a line each time.
    environment = {"TQDM_MININTERVAL": "30", **os.environ, "OMP_NUM_THREADS": str(threads)}
    with _asked_to_end() as asked:
        try:
            while (waiting or running) and not asked:
                while waiting and len(running) < jobs:
                    cell = _next(waiting, {job.cell.apart for job in running})
                    waiting.remove(cell)
                    job = _start(cell, len(cells) - len(waiting), logs, environment)
                    running.append(job)
                    print(f"[{job.number}/{len(cells)}] {cell.name}: started, see {job.log}", flush=True)
                for job in [job for job in running if job.process.poll() is not None]:
                    running.remove(job)
                    status = job.process.returncode
                    took = f"{time.monotonic() - job.started:.0f} s"
                    said = f"failed after {took}, status {status}" if status else f"done in {took}"
                    print(f"[{job.number}/{len(cells)}] {job.cell.name}: {said}: {_last_line(job.log)}", flush=True)
                    if status:
                        failed.append(job.cell.name)
                    else:
                        when_done(job.cell)
                time.sleep(POLL_S)
        finally:
            _end(running)
        if asked:
            raise KeyboardInterrupt
    return failed


def check_all_done(failed: Sequence[str], num_cells: int) -> None:
    """ValueError that names the cells that failed, if any did."""
    if failed:
        raise ValueError(f"{len(failed)} of {num_cells} failed: {', '.join(failed)}")


def _next(waiting: Sequence[Cell], running: set[str]) -> Cell:
    """The first cell that has nothing to wait for in those that run, else the first."""
    return next((cell for cell in waiting if cell.apart not in running), waiting[0])


def _start(cell: Cell, number: int, logs: Path, environment: dict[str, str]) -> _Job:
    log = logs / f"{''.join(c if c.isalnum() or c in '.,=@-' else '_' for c in cell.name)}.txt"
    words = [sys.executable, "-m", "adavid.command", *cell.words]
    with open(log, "wb") as file:
        # A session of its own, so that with it end the processes that it has started.
        process = subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return _Job(cell, number, process, log, time.monotonic())


def _end(jobs: Sequence[_Job]) -> None:
    """End jobs with all that they have started."""
    for job in jobs:
        _signal(job, signal.SIGINT)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and any(job.process.poll() is None for job in jobs):
        time.sleep(POLL_S)
    for job in jobs:
        _signal(job, signal.SIGKILL)
        job.process.wait()


def _signal(job: _Job, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # all have ended
        os.killpg(job.process.pid, number)


def _last_line(log: Path) -> str:
    """The last that a command said, a bar left out that was drawn over."""
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("adavid: ") if lines else "said nothing"


@contextmanager
def _asked_to_end() -> Iterator[list[int]]:
    """The signals that ask this process to end, as they come: an exception could lose a job that has just started."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # the others get no signals
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    heard = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in heard:
        signal.signal(number, lambda number, frame: asked.append(number))
    try:
        yield asked
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
