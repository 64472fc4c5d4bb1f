"""Many command lines of `adavid`, some at a time: a process for each, the cores and GPUs shared out among them.

Or a job of SLURM for each; or a line to print, for whoever runs them otherwise.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from adavid.cores import num_cores
from adavid.files import write_atomically

POLL_S = 0.1
GRACE_S = 10.0  # from the request to end to the end by force
FAILED = ".failed"  # beside the log of a cell that failed
TIMEOUT_MIN = 24 * 60  # of a job of SLURM; the next one goes on where it ended


@dataclass(frozen=True)
class Cell:
    """One command line of many.

    Attributes:
        name: what its progress lines and its log are called; unlike all others'.
        words: what stands after `adavid`.
        apart: cells of which this is equal want the same things made, such as the backbones of one seed: where one of
            them makes what another waits for, a third with other needs is started first.
        after: the name of one that is to be done first, and without which this one is not started; "" for none.
        num_gpus: that it takes, where there are some; 0 leaves all to it, which says itself which it takes.
    """

    name: str
    words: tuple[str, ...]
    apart: str = ""
    after: str = ""
    num_gpus: int = 1

    @property
    def line(self) -> str:
        """As a shell takes it, in the present folder."""
        return shlex.join([sys.executable, "-m", "adavid.command", *self.words])

    def log(self, logs: Path) -> Path:
        """The file in a folder that holds what it prints."""
        return logs / f"{''.join(c if c.isalnum() or c in '.,=@-' else '_' for c in self.name)}.txt"


class Job(Protocol):
    """A command line that was started."""

    def poll(self) -> int | None:
        """Its exit status; None while it runs."""

    def interrupt(self) -> None:
        """Ask it to end, with all that it has started."""

    def kill(self) -> None:
        """End it by force."""


# Starts a command line, given the file for what it prints, and what is added to its environment.
Start = Callable[[Cell, Path, Mapping[str, str]], Job]


@dataclass(frozen=True)
class _Running:
    cell: Cell
    number: int
    slot: int
    job: Job
    log: Path
    started: float


def run_all(
    cells: Sequence[Cell],
    jobs: int,
    logs: Path,
    when_done: Callable[[Cell], None] = lambda cell: None,
    *,
    retry: bool = False,
    start: Start | None = None,
) -> list[str]:
    """Run the command lines, `jobs` at a time; one that fails does not stop the others, and none outlives this call.

    Each gets an equal share of the threads that this process may have: OMP_NUM_THREADS, by default one a core; and
    where there are several GPUs, those of its slot. What it prints goes to `<name>.txt`; its start and its end are
    lines here, and those that failed are listed at the end.

    One that fails leaves its command line beside its log, in `<name>.failed`: as long as that is there, the same line
    is run again on request alone. One that was ended with this call, or with the machine, has not failed.

    Args:
        cells: the command lines, the first ones first.
        jobs: how many at a time, from 1 on.
        logs: folder, made if need be.
        when_done: called with each that has not failed, as it ends.
        retry: run those again that failed in an earlier call.
        start: starts one; None starts a process (`Process`).

    Returns:
        the names of those that failed, now or earlier, and of those that were to be done after one of them.

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
    start = start or Process
    limit = os.environ.get("OMP_NUM_THREADS", "")
    threads = max(1, (int(limit) if limit.isdigit() else num_cores()) // max(1, min(jobs, len(cells))))
    gpus = _visible_gpus()
    waiting, running, failed = list(cells), list[_Running](), dict[str, str]()

    def say(number: int, cell: Cell, text: str) -> None:
        print(f"[{number}/{len(cells)}] {cell.name}: {text}", flush=True)

    def taken(cell: Cell) -> int:
        """The number of a cell that waits no longer."""
        waiting.remove(cell)
        return len(cells) - len(waiting)

    def leave_out(cell: Cell, why: str) -> None:
        failed[cell.name] = why
        say(taken(cell), cell, why)

    for cell in cells:
        if not retry and _failed_before(cell, logs):
            leave_out(cell, f"failed before, see {cell.log(logs)}; RETRY=1 runs it again")
    with _asked_to_end() as asked:
        try:
            while (waiting or running) and not asked:
                for cell in [cell for cell in waiting if cell.after in failed]:
                    leave_out(cell, f"not started, as {cell.after} failed")
                while len(running) < jobs and (following := _next(waiting, [of.cell for of in running])) is not None:
                    number, log = taken(following), following.log(logs)
                    slot = min(set(range(jobs)) - {of.slot for of in running})
                    environment = {"OMP_NUM_THREADS": str(threads), **_gpus_of(slot, following.num_gpus, gpus)}
                    log.with_suffix(FAILED).unlink(missing_ok=True)
                    job = start(following, log, environment)
                    running.append(_Running(following, number, slot, job, log, time.monotonic()))
                    say(number, following, f"started, see {log}")
                for of, status in [(of, of.job.poll()) for of in running]:
                    if status is None:
                        continue
                    running.remove(of)
                    took, last = f"{time.monotonic() - of.started:.0f} s", _last_line(of.log)
                    if status:
                        write_atomically(of.log.with_suffix(FAILED), of.cell.line)
                        failed[of.cell.name] = f"{last}, see {of.log}"
                        say(of.number, of.cell, f"failed after {took}, status {status}: {last}")
                    else:
                        say(of.number, of.cell, f"done in {took}: {last}")
                        when_done(of.cell)
                time.sleep(POLL_S)
        finally:
            _end([of.job for of in running])
        if asked:
            raise KeyboardInterrupt
    for name, why in failed.items():
        print(f"failed: {name}: {why}", flush=True)
    return list(failed)


def check_all_done(failed: Sequence[str], num_cells: int) -> None:
    """ValueError that names the cells that failed, if any did."""
    if failed:
        raise ValueError(f"{len(failed)} of {num_cells} failed: {', '.join(failed)}; RETRY=1 runs what failed again")


def _failed_before(cell: Cell, logs: Path) -> bool:
    """Whether this very command line failed in an earlier call; with other settings it is another one."""
    mark = cell.log(logs).with_suffix(FAILED)
    return mark.exists() and mark.read_text(encoding="utf-8") == cell.line


def _next(waiting: Sequence[Cell], running: Sequence[Cell]) -> Cell | None:
    """The first cell that has nothing to wait for in those that run, else the first; None where all are for later."""
    unfinished = {cell.name for cell in (*waiting, *running)}
    ready = [cell for cell in waiting if cell.after not in unfinished]
    apart = {cell.apart for cell in running}
    return next((cell for cell in ready if cell.apart not in apart), ready[0] if ready else None)


def _visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name]
    import torch  # slow, and a plan that is printed does without

    return [str(i) for i in range(torch.cuda.device_count())]


def _gpus_of(slot: int, num: int, gpus: Sequence[str]) -> dict[str, str]:
    """What says which GPUs are a slot's: so many, all slots in turn; nothing where there is no choice."""
    if len(gpus) < 2 or not 1 <= num <= len(gpus):
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpus[(slot * num + i) % len(gpus)] for i in range(num))}


class Process:
    """A command line as a process of this machine; see `Job`."""

    def __init__(self, cell: Cell, log: Path, environment: Mapping[str, str]) -> None:
        with open(log, "wb") as file:
            # A session of its own, so that with it end the processes that it has started.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "adavid.command", *cell.words],
                # A bar that is written to a file is a line each time.
                env={"TQDM_MININTERVAL": "30", **os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def poll(self) -> int | None:
        return self._process.poll()

    def interrupt(self) -> None:
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # all have ended
            os.killpg(self._process.pid, number)


class Submission:
    """Starts each command line as a job of SLURM, by submitit; cores and GPUs are SLURM's to share out.

    Args:
        folder: for submitit's files, on a disk that all machines see, as the present folder and the cache are.
        parameters: of the jobs, as submitit calls them: timeout_min, gpus_per_node, slurm_partition, ...
        cluster: submitit's name of it.

    Raises:
        ValueError: submitit is not installed, there is no SLURM here, or a parameter is not known.
    """

    def __init__(self, folder: Path, parameters: Mapping[str, Any], cluster: str = "slurm") -> None:
        try:
            import submitit
        except ImportError:
            raise ValueError("LAUNCHER=slurm: expected submitit: pip install -e '.[slurm]'") from None
        try:
            self._executor = submitit.AutoExecutor(folder, cluster=cluster)
            self._executor.update_parameters(**{"timeout_min": TIMEOUT_MIN, "name": "adavid", **parameters})
        except (RuntimeError, NameError, TypeError, AssertionError, ValueError) as error:
            raise ValueError(f"LAUNCHER=slurm: {' '.join(str(error).split())}") from None

    def __call__(self, cell: Cell, log: Path, environment: Mapping[str, str]) -> Job:
        from submitit.helpers import CommandFunction

        log.write_text("submitted\n", encoding="utf-8")
        line = f"cd {shlex.quote(os.getcwd())} && exec {cell.line} > {shlex.quote(str(log.resolve()))} 2>&1"
        return _Submitted(self._executor.submit(CommandFunction(["sh", "-c", line], verbose=False)))


class _Submitted:
    """A job of submitit's; see `Job`."""

    def __init__(self, job: Any) -> None:
        self._job = job

    def poll(self) -> int | None:
        if not self._job.done():
            return None
        return 0 if self._job.exception() is None else 1

    def interrupt(self) -> None:
        self._job.cancel()

    def kill(self) -> None:
        """The cluster does it, as it was asked to."""


def _end(jobs: Sequence[Job]) -> None:
    """End jobs with all that they have started."""
    for job in jobs:
        job.interrupt()
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and any(job.poll() is None for job in jobs):
        time.sleep(POLL_S)
    for job in jobs:
        job.kill()


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
