"""The share of a machine that a process takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adavid.cores import num_cores, share_cores


def test_cores_are_those_that_the_process_is_bound_to_or_that_its_container_pays_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5, 7})
    quota = tmp_path / "cpu.max"
    assert num_cores(quota) == 4
    for text, cores in {"max 100000\n": 4, "150000 100000\n": 2, "10000 100000\n": 1, "900000 100000\n": 4}.items():
        quota.write_text(text)
        assert num_cores(quota) == cores


def test_what_the_user_has_set_stands() -> None:
    environment: dict[str, str] = {}
    share_cores(environment)
    assert environment == {"OMP_NUM_THREADS": str(num_cores()), "OMP_WAIT_POLICY": "passive"}
    theirs = {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "active"}
    share_cores(theirs)
    assert theirs == {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "active"}
    theirs = {"OMP_NUM_THREADS": "3", "GOMP_SPINCOUNT": "100"}  # of which OpenMP takes the policy to be a summary
    share_cores(theirs)
    assert theirs == {"OMP_NUM_THREADS": "3", "GOMP_SPINCOUNT": "100"}


def test_the_command_line_says_it_before_torch_is_loaded() -> None:
    code = (
        "import os, sys; from benchmarks.__main__ import main; assert main(['list']) == 0;"
        "assert 'torch' not in sys.modules; print(os.environ['OMP_WAIT_POLICY'], os.environ['OMP_NUM_THREADS'])"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"passive {num_cores()}"
