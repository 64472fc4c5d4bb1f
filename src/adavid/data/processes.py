"""Work on many media, one after the other, by as many processes as there are cores.

Processes, not threads: of the time that a small frame takes, Python holds its lock for most. They are this module run
as a program, each with a part of the media; so a process that uses them needs no guard around its main module, as with
`multiprocessing`, and one that is killed leaves none behind: they end at the next answer that nobody reads. A file on
which a decoder crashes takes its process with it and nothing else.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import adavid
from adavid.cores import num_cores

Medium = TypeVar("Medium")
Answer = TypeVar("Answer")

PIPE_BYTES = 1 << 20  # so that a small answer waits in the pipe, not in its process, which goes on to the next
MEDIA_A_PROCESS = 50  # fewer are done while a process starts
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}


def answers(
    work: Callable[[Medium], Answer], media: Sequence[Medium], num_processes: int | None = None
) -> Iterator[Answer | str]:
    """What `work` says of each medium, in order; one a process is under way at any time, or waits to be taken.

    Where a process crashes on a medium, such as a file that its decoder cannot bear, the answer is a message.

    Args:
        work: a function at the top of a module.
        media: what it takes, with a `path` or as one.
        num_processes: None for one a core, and for few media none but this one.

    Raises:
        ValueError: one of the processes was ended from outside; the message names its medium.
    """
    if num_processes is None:
        num_processes = min(num_cores(), len(media) // MEDIA_A_PROCESS)
    if num_processes < 2:
        yield from map(work, media)
        return
    with _processes(work, [media[i::num_processes] for i in range(num_processes)]) as processes:
        for i, medium in enumerate(media):
            process = processes[i % num_processes]
            assert process.stdout is not None
            try:
                yield pickle.load(process.stdout)
            except (EOFError, pickle.UnpicklingError) as error:
                status, path = process.wait(), getattr(medium, "path", medium)
                message = f"{path}: the process that decoded it ended, status {status}"
                if -status not in CRASHES:
                    raise ValueError(message) from error
                processes[i % num_processes] = _start(work, media[i + num_processes :: num_processes])
                yield message


@contextmanager
def _processes(work: Callable[[Any], Any], parts: Sequence[Sequence[Any]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A process for each part of the media; all are ended afterwards."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes.extend(_start(work, part) for part in parts)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _start(work: Callable[[Any], Any], part: Sequence[Any]) -> subprocess.Popen[bytes]:
    package = str(Path(adavid.__file__).parents[1])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError), process.stdin:  # one that has ended is named when its medium is due
        pickle.dump((work, list(part)), process.stdin)
    with suppress(OSError, AttributeError):  # not everywhere to be had
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return process


def _serve(asked: BinaryIO, answers: BinaryIO) -> None:
    """What such a process does: its work on the media that it is asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that reads
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # where that one is gone
    work, media = pickle.load(asked)
    for medium in media:
        pickle.dump(work(medium), answers, protocol=5)
        answers.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
