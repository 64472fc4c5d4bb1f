"""Many clips decoded whole, one after the other, by as many processes as there are cores.

Processes, not threads: of the time that a small frame takes, Python holds its lock for most. They are this module run
as a program, each with a part of the clips; so a process that uses them needs no guard around its main module, as
with `multiprocessing`, and one that is killed leaves none behind: they end at the next clip that nobody reads.

T frames, C channels, H height, W width.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

import adavid
from adavid.cores import num_cores
from adavid.data.sources import Clip, open_source

PIPE_BYTES = 1 << 20  # so that a small clip waits in the pipe, not in its process, which goes on to the next
CLIPS_A_PROCESS = 50  # fewer are decoded while a process starts
Frames = np.ndarray | str  # of a clip, uint8 (T, H, W, C); or why it cannot be decoded


def decoded(clip: Clip) -> Frames:
    """All frames of a clip, channels last: that is what decoding gives and resizing is quickest on."""
    try:
        source = open_source(*clip)
        return source.read_THWC(range(source.num_frames))
    except ValueError as error:
        return str(error)


def all_decoded(clips: Sequence[Clip], num_processes: int | None = None) -> Iterator[Frames]:
    """The frames of each clip, in order; a clip a process is under way at any time, or waits to be taken.

    Args:
        clips: what to decode.
        num_processes: None for one a core, and for few clips none but this one.

    Raises:
        ValueError: one of the processes has ended before its time; the message names its clip.
    """
    if num_processes is None:
        num_processes = min(num_cores(), len(clips) // CLIPS_A_PROCESS)
    if num_processes < 2:
        yield from map(decoded, clips)
        return
    with _processes([clips[i::num_processes] for i in range(num_processes)]) as processes:
        for i, clip in enumerate(clips):
            process = processes[i % num_processes]
            assert process.stdout is not None
            try:
                yield pickle.load(process.stdout)
            except (EOFError, pickle.UnpicklingError) as error:
                raise ValueError(f"{clip.path}: the process that decoded it ended, status {process.wait()}") from error


@contextmanager
def _processes(parts: Sequence[Sequence[Clip]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A process for each part of the clips; all are ended afterwards."""
    processes: list[subprocess.Popen[bytes]] = []
    package = str(Path(adavid.__file__).parents[1])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        for part in parts:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            processes.append(process)
            assert process.stdin is not None and process.stdout is not None
            with suppress(BrokenPipeError), process.stdin:  # one that has ended is named when its clip is due
                pickle.dump(list(part), process.stdin)
            with suppress(OSError, AttributeError):  # not everywhere to be had
                fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _serve(asked: BinaryIO, answers: BinaryIO) -> None:
    """What such a process does: the frames of the clips that it is asked for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that reads
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # where that one is gone
    for clip in pickle.load(asked):
        pickle.dump(decoded(clip), answers, protocol=5)
        answers.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
