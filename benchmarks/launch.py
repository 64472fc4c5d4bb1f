"""A command whose runs take several devices: a process for each, started by srun, by torchrun or here."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure, get_error_handler
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from adavid import ranks
from adavid.training import join

GRACE_S = 5  # from the request to end, once another process has failed, to the end by force
POLL_S = 1.0
AGAIN = "the same command goes on from the last checkpoint"
OWN = "adavid-"  # and the id of the process that has started the others: what its processes know it by


class LaunchFailed(ValueError):
    """A process of the command has failed, and the others were ended; the message is its own.

    Attributes:
        status: the exit status of the command.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def has_run(words: Sequence[str], num_devices: int, trainer: Mapping[str, Any]) -> bool:
    """Starts the command once a device, and waits for it; or joins, where it is started once a device already.

    Args:
        words: of the command line.
        num_devices: of its runs, over all nodes.
        trainer: arguments of Lightning's Trainer.

    Returns:
        whether the command has been run; else this process is a rank, and is to run it.

    Raises:
        ValueError: another number of processes was started, or the nodes are several and nobody has started any.
        LaunchFailed: a process has failed.
        KeyboardInterrupt: the command was asked to end.
    """
    if ranks.world_size() == num_devices:
        return False
    num_started = num_processes()
    if num_started == 1:
        if trainer.get("num_nodes", 1) > 1:
            raise ValueError("trainer.num_nodes: expected srun or torchrun to start the command once a device, on each")
        _launch(words, num_devices)
        return True
    if num_started != num_devices:
        raise ValueError(f"trainer.devices: {num_devices} devices, but {num_started} processes were started")
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    join(trainer)
    if is_own():
        torch.set_num_threads(max(1, torch.get_num_threads() // num_devices))
        threading.Thread(target=_end_with, args=(_launcher(),), daemon=True).start()
    if not ranks.is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    return False


def num_processes() -> int:
    """So many times srun or torchrun has started this command, or this module; 1 where nobody did."""
    if TorchElasticEnvironment.detect():
        return int(os.environ["WORLD_SIZE"])
    # A batch script has the variables of its job, but is no step of it.
    if "SLURM_STEP_ID" in os.environ and SLURMEnvironment.detect():
        return int(os.environ["SLURM_NTASKS"])
    return 1


def is_own() -> bool:
    """Whether this module has started this process."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(OWN)


def is_of_connection(error: Exception) -> bool:
    """Whether it is what a rank gets to hear when another one is gone: torch has no one type for it."""
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in ("gloo", "nccl"))


def report(message: str) -> None:
    """Hands what has gone wrong in this process, in one line, to the one that has started it."""
    get_error_handler().record_exception(RuntimeError(message))


def _launch(words: Sequence[str], num_devices: int) -> None:
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_devices,
        run_id=f"{OWN}{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        shutdown_timeout=GRACE_S,
    )
    # torch would tell every rank, at every stage, that `trainer.strategy=ddp` may be faster.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    logging.disable(logging.CRITICAL)  # of torch's tables of what has failed: one line says it
    try:
        elastic_launch(config, sys.executable)("-m", "adavid.command", *words)
    except ChildFailedError as error:
        raise _failure(error.failures) from None
    except SignalException:
        raise KeyboardInterrupt from None
    finally:
        logging.disable(logging.NOTSET)


def _failure(failures: Mapping[int, ProcessFailure]) -> LaunchFailed:
    """What went wrong first: a user's mistake, or a process that was killed; others fail when it is gone."""

    def order(rank: int) -> tuple[bool, bool, int]:
        status = failures[rank].exitcode
        return status != 2, status >= 0 or -status == signal.SIGTERM, failures[rank].timestamp

    rank = min(failures, key=order)
    failure = failures[rank]
    if failure.exitcode >= 0:
        said: Any = failure.message  # as `report` wrote it, else torch's own words
        message = said["message"] if isinstance(said, dict) else said
        return LaunchFailed(message.removeprefix("RuntimeError: "), failure.exitcode)
    name = signal.Signals(-failure.exitcode).name
    return LaunchFailed(f"the process of device {rank} was ended by {name}, and with it the others; {AGAIN}", 1)


def _launcher() -> int:
    return int(os.environ["TORCHELASTIC_RUN_ID"].removeprefix(OWN))


def _end_with(launcher: int) -> None:
    """Ends this process once the one that has started it is gone, which cannot do it then."""
    while os.getppid() == launcher:
        time.sleep(POLL_S)
    os._exit(1)
