"""Commands of the user's as processes of their own, to be killed, or to run at once."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.__main__ import main
from benchmarks.layers import ROOT

# Every command is forked from one process that has imported what it needs, which takes longer than most runs here.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["benchmarks.__main__", "benchmarks.runner"])


@dataclass(frozen=True)
class Command:
    """A command in a session of its own.

    Attributes:
        process: that runs it.
        output: file of all that it prints.
    """

    process: Any
    output: Path

    def ended(self) -> str:
        """Wait for it, which must succeed; returns what it has printed."""
        self.process.join()
        printed = self.output.read_text(encoding="utf-8")
        assert self.process.exitcode == 0, printed
        return printed


def started(words: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Command:
    """`adavid` and these words, with more in its environment; what it prints goes to a file in the folder."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".txt", delete=False) as file:
        output = Path(file.name)
    paths = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}  # for the processes that it starts
    process = SERVER.Process(target=_run, args=(list(words), paths | dict(environment or {}), output))
    process.start()
    return Command(process, output)


def _run(words: list[str], environment: dict[str, str], output: Path) -> None:
    os.setsid()
    os.environ.update(environment)
    with open(output, "wb") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.exit(main(words))
