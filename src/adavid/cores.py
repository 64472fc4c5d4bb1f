"""How many cores this process may use, and how the threads of its networks share them with other programs.

It must be said before torch is loaded, so nothing here loads it.
"""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # "quota period" in microseconds; a quota of "max" is none


def num_cores(cpu_max: Path = CPU_MAX) -> int:
    """The cores that this process may keep busy: those that it is bound to, or fewer where a container has a quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or no quota
        return cores


def share_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """One thread a core; threads that wait for each other sleep. What the user has set stands.

    By default OpenMP's threads wait by spinning: where another program has one of the cores, the others spin for as
    long as that program is at work, at every layer, and the training is several times slower than on one thread.
    """
    environment.setdefault("OMP_NUM_THREADS", str(num_cores()))
    if "GOMP_SPINCOUNT" not in environment:
        environment.setdefault("OMP_WAIT_POLICY", "passive")
