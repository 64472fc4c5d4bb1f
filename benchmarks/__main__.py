"""Train, evaluate, record and compare methods that spend compute adaptively on a video."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adavid.cores import share_cores
from benchmarks.layers import ROOT, catalogue, method_files, methods_of, profiles
from benchmarks.workspace import PUBLISHED, Workspace

if TYPE_CHECKING:
    from benchmarks.dashboard import Dashboard
    from benchmarks.jobs import Cell
    from benchmarks.run import Run

WRAPPED = "ValueError: "  # before the message of another process's error
Command = Callable[[argparse.Namespace, Workspace], int | None]  # the exit status, where it is another than 0


def main(words: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit status: 2 after a user's mistake, which gets one line; 1 after what nobody has foreseen, which gets one
        line too, and a file with the trace, and where `check-data` finds what would end a training.
    """
    if "torch" not in sys.modules:  # which is set up as it is loaded
        share_cores()
    warnings.filterwarnings("ignore", module="pytorch_lightning|torch.jit|fvcore|lightning_fabric")
    cache = Path(tempfile.gettempdir())
    try:
        words = sys.argv[1:] if words is None else words
        arguments = _parser().parse_args(words, argparse.Namespace(words=words))
        workspace = Workspace.of(arguments.results, arguments.records, arguments.cache)
        cache = workspace.cache
        return arguments.command(arguments, workspace) or 0
    except ValueError as error:
        if not _is_foreseen(error):
            return _unforeseen(error, cache)
        # What a process that loads videos raised comes wrapped in its traceback.
        _say(str(error).rpartition(WRAPPED)[2].strip())
        return getattr(error, "status", 2)
    except BrokenPipeError:  # a reader such as head has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        return _unforeseen(error, cache)
    return 0


def _is_foreseen(error: ValueError) -> bool:
    """Whether the project itself says what is wrong, in this process or in one that loads videos."""
    *_, innermost = traceback.extract_tb(error.__traceback__)
    return Path(innermost.filename).is_relative_to(ROOT) or WRAPPED in str(error)


def _unforeseen(error: Exception, cache: Path) -> int:
    """The last resort: one line, and where the trace is."""
    text = " ".join(str(error).split())
    launch = _launch_module()
    if launch is not None and launch.is_of_connection(error):
        _say(f"another process of this run has ended; {launch.AGAIN}; the trace is in {_keep_trace(cache)}")
        return 1
    _say(f"{type(error).__name__}: {text}; the trace is in {_keep_trace(cache)}")
    return 1


def _say(problem: str) -> None:
    """What has gone wrong, once: a rank that this command has started leaves it to the process that started it."""
    launch = _launch_module()
    if launch is not None and launch.is_own():
        launch.report(problem)
    else:
        print(f"adavid: {problem}", file=sys.stderr)


def _launch_module() -> Any:
    """What starts a command once a device; None where nothing has loaded it, as torch's part of it is slow to load."""
    return sys.modules.get("benchmarks.launch")


def _keep_trace(cache: Path) -> Path:
    """Write the trace of the present error where its author's maintainer finds it."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (cache / "errors", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(traceback.format_exc(), encoding="utf-8")
        except OSError:
            continue
        return folder / name
    traceback.print_exc()
    return Path("the lines above")


# The options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="adavid", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=function)
        folders = sub.add_argument_group("folders")
        folders.add_argument("--results", default="", help="of results (ADAVID_RESULTS; the checkout's)")
        folders.add_argument("--records", default="", help="in it, for new records (ADAVID_RECORDS; runs)")
        folders.add_argument("--cache", default="", help="for what can be made anew (ADAVID_CACHE; the checkout's)")
        return sub

    sub = command("bench", _bench, "train, evaluate and record")
    _add_run(sub)
    _add_wandb(sub)
    sub.add_argument("--split", default="test", choices=("test", "val"), help="val: to choose by, leaves no record")
    sub.add_argument("--no-board", dest="board", action="store_false", help="leave the leaderboard as it is")
    _add_jobs(sub)
    _add_print(sub)
    sub = command("import", _import, "evaluate and record what a method's authors have released")
    _add_run(sub)
    _add_wandb(sub)
    sub.add_argument("--no-board", dest="board", action="store_false", help="leave the leaderboard as it is")
    sub.set_defaults(split="test", jobs=1, print=False, launcher="local", slurm="", retry=False)
    sub = command("curve", _curve, "evaluate at several operating points")
    _add_run(sub)
    _add_wandb(sub)
    sub.add_argument("--point", default="", help="this one alone, by the name of its record")
    sub.add_argument(
        "--points-apart", action="store_true", help="with several jobs: each point in a process of its own"
    )
    _add_jobs(sub)
    _add_print(sub)
    sub = command("latency", _latency, "time evaluation against a baseline in the same run")
    _add_run(sub)
    sub.add_argument("--usage", default="", help="force decisions: a usage of the method's YAML, or action=share,...")
    sub = command("predict", _predict, "watch a video or a live stream; or classify a video as a whole")
    _add_run(sub)
    sub.add_argument("--source", required=True, help="a file, a URL, a video device, or - for the standard input")
    sub.add_argument("--fps", default=None, type=float, help="frames a second of the video's time (1)")
    sub.add_argument(
        "--max-close", default=0, type=int, help="stop after K frames at the highest resolution; 0: at the end"
    )
    sub = command("export", _export, "a trained method in one file, with a model card, which adavid.load takes")
    _add_run(sub)
    sub.add_argument("--into", default="", help="folder for the files (exported, in the results)")
    _add_run(command("online", _online, "accuracy and cost along the videos, stopping early, beside uniform's"))
    sub = command(
        "room", _room, "what oracles of frames and of resolution attain, and where a method stands beside them"
    )
    _add_settings(sub)
    _add_seeds(sub)
    sub.add_argument("--split", default="test", choices=("test", "val"), help="val: leaves no record")
    sub.add_argument("--method", default="", help="of which there are records: its regret")
    sub.add_argument("--variant", default="", help="of that method")
    sub = command("tune", _tune, "try settings on the validation split, the same number for every method")
    _add_method(sub)
    sub.add_argument(
        "--trials", default=8, type=int, help="that every method is to have, those of earlier calls included"
    )
    _add_jobs(sub)
    sub = command("trial", _trial, "one trial of tune, which starts it: in a process of its own")
    sub.add_argument("request", help="what it runs, as JSON")
    sub.add_argument("outcome", type=Path, help="the file for what it attains")
    _add_run(command("config", _config, "print every setting, and who set it"))
    command("flops", _flops, "the cost table")
    sub = command("leaderboard", _leaderboard_as, "regenerate the leaderboard from the result files")
    sub.add_argument("--format", default="", help="latex: its tables for papers too, leaderboard.tex")
    command("readme", _readme, "regenerate the tables of README.md and docs/ from the committed records")
    command("papers", _papers, "every table and figure of the papers beside what is measured, as results/papers.md")
    sub = command("compare", _compare, "paired differences of a method from what it has to beat, or from another one")
    sub.add_argument("a")
    sub.add_argument("b", nargs="?", default="", help="without it: all that a claim about the first has to beat")
    sub.add_argument("--seeds", default="", help="comma-separated; the two have to have the same without it")
    sub.add_argument("--data", default=None)
    sub.add_argument("--profile", default=None)
    sub = command("reference", _reference, "make what the plan of the committed records still lacks")
    sub.add_argument("--dry-run", action="store_true", help="print the plan alone")
    sub.add_argument("--method", default="", help="these of the catalogue alone, as of bench")
    _add_settings(sub)
    _add_jobs(sub)
    _add_print(sub)
    sub.set_defaults(records=PUBLISHED)
    sub = command("retrained", _retrained, "compare what other code has made anew with the records before, and keep it")
    sub.add_argument("before", nargs="?", default="HEAD", help="a commit with the records before, or a folder of them")
    sub.set_defaults(records=PUBLISHED)
    text = "train briefly with the code of committed records and with today's, and keep how they compare"
    sub = command("both-codes", _both_codes, text)
    sub.add_argument("--method", default="", help="these of the catalogue alone, as of bench")
    _add_settings(sub)
    sub.set_defaults(records=PUBLISHED)
    sub = command("verify", _verify, "score records anew from their predictions, and recompute their hashes")
    sub.add_argument("folder", help="of records, or above some")
    sub = command(
        "check-data", _check_data, "whether a copy of a data set is whole: all that is wrong with it, by name"
    )
    _add_settings(sub)
    sub = command("prepare", _prepare, "decode a data set once, into pictures of which each can be had by itself")
    sub.add_argument("--into", required=True, help="the folder for them, which data.prepared takes")
    sub.add_argument("--short", default=256, type=int, help="pixels of the short side; 0: as it is")
    sub.add_argument("--quality", default=95, type=int, help="of the JPEGs; 0: raw pixels")
    sub.add_argument("--fps", default=0.0, type=float, help="pictures a second at most; 0: every frame")
    sub.add_argument("--jobs", default=None, type=int, help="videos at a time (one a core)")
    _add_settings(sub)
    sub = command("data-bench", _data_bench, "time reading a data set's videos, from files and prepared, beside others")
    sub.add_argument("--videos", default=8, type=int, help="so many of the training split's")
    _add_settings(sub)
    command("list", _list, "methods, variants and data sets")
    return parser


def _add_run(sub: argparse.ArgumentParser) -> None:
    _add_method(sub)
    _add_seeds(sub)
    text = "file of weights that the method's authors have released, for a run that is not trained here"
    sub.add_argument("--checkpoint", default="", help=text)


def _add_seeds(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--seeds", default="0", help="comma-separated")


def _add_method(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--method", required=True, help="names of the catalogue, comma-separated, or package.module:Class; all"
    )
    sub.add_argument("--variant", default="", help="of the method's variants; comma-separated, empty for none")
    _add_settings(sub)


def _add_settings(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--data", default="sprites", help="data sets, folder:/path or csv:/path/file.csv among them; comma-separated"
    )
    sub.add_argument("--profile", default="tiny", help=f"{' or '.join(profiles())}; comma-separated")
    sub.add_argument("overrides", nargs="*", help="section.key=value")


def _add_wandb(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--wandb", default="off", choices=("off", "offline", "online"))


def _add_jobs(sub: argparse.ArgumentParser) -> None:
    text = "runs at a time, each in a process with its share of the cores and GPUs; 1: in this one, up to a failure"
    sub.add_argument("--jobs", default=1, type=int, help=text)
    sub.add_argument("--retry", action="store_true", help="run those again that failed in an earlier call")
    sub.add_argument("--launcher", default="local", choices=("local", "slurm"), help="slurm: a job of it for each run")
    sub.add_argument(
        "--slurm", default="", help="of its jobs, as submitit calls it: timeout_min=60 gpus_per_node=1 ..."
    )


def _add_print(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--print", action="store_true", help="print a line for each run that is left, and run none")


def _runs(arguments: argparse.Namespace, workspace: Workspace) -> list[Run]:
    """Every run that the options ask for, all checked before the first one starts."""
    from adavid.chunks import CHUNKS
    from benchmarks.compose import compose
    from benchmarks.released import compose_released
    from benchmarks.sweep import data_sets

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # importing it, as compose does, has set INFO
    CHUNKS.folder = workspace.cache / "chunks"
    checkpoint = getattr(arguments, "checkpoint", "")
    make = partial(compose_released, Path(checkpoint)) if checkpoint else compose
    return [
        make(
            method,
            data=data,
            profile=profile,
            variant=variant,
            overrides=arguments.overrides,
            seed=seed,
            cache=workspace.shown_cache,
        )
        for data in data_sets(arguments.data)
        for profile in _listed(arguments.profile)
        for seed in _seeds(arguments.seeds)
        for method in _methods(arguments, profile)
        for variant in _listed(arguments.variant)
    ]


def _methods(arguments: argparse.Namespace, profile: str) -> list[str]:
    return methods_of(profile) if arguments.method == "all" else _listed(arguments.method)


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _one_run(arguments: argparse.Namespace, workspace: Workspace, command: str) -> Run:
    run, *more = _runs(arguments, workspace)
    if more:
        raise ValueError(f"{command}: expected one method and one seed")
    return run


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(seed) for seed in text.split(",")]
    except ValueError:
        raise ValueError(f"seeds '{text}': expected whole numbers, for example 0,1,2") from None
    if min(seeds) < 0:
        raise ValueError(f"seeds '{text}': expected numbers from 0 on, for example 0,1,2")
    return seeds


def _is_apart(arguments: argparse.Namespace, runs: Sequence[Run]) -> bool:
    """Whether the runs are for processes of their own."""
    if arguments.jobs < 1:
        raise ValueError(f"jobs={arguments.jobs}: expected 1 or more")
    return arguments.print or arguments.launcher != "local" or (arguments.jobs > 1 and len(runs) > 1)


def _run_cells(arguments: argparse.Namespace, cells: Sequence[Cell], jobs: int, logs: Path) -> list[str]:
    """Print or run command lines; returns the names of those that failed."""
    from benchmarks.jobs import run_all

    if arguments.print:
        here = shlex.quote(str(Path.cwd()))
        for cell in cells:
            print(f"cd {here} && {cell.line}")
        return []
    return run_all(cells, jobs, logs, **_how(arguments, logs)) if cells else []


def _how(arguments: argparse.Namespace, logs: Path) -> dict[str, Any]:
    """What the options say of how command lines are run, beside how many at a time: arguments of `run_all`."""
    from adavid.config import parse_overrides
    from benchmarks.jobs import Submission

    parameters = {str(key): value for key, value in parse_overrides(arguments.slurm.split()).items()}
    if arguments.launcher == "local" and parameters:
        raise ValueError("slurm: it is for LAUNCHER=slurm")
    given = {"retry": True} if arguments.retry else {}
    start = {} if arguments.launcher == "local" else {"start": Submission(logs / "slurm", parameters)}
    return given | start


def _sweep(arguments: argparse.Namespace, workspace: Workspace, runs: Sequence[Run], cells: Sequence[Cell]) -> None:
    """Run what is left of some runs.

    Raises:
        ValueError: some failed, or srun or torchrun has started this command several times.
    """
    from benchmarks.jobs import check_all_done

    if any(run.num_devices > 1 for run in runs):
        from benchmarks.launch import num_processes

        if (num_started := num_processes()) > 1:
            raise ValueError(f"jobs={arguments.jobs}: expected 1, as {num_started} processes were started")
    if not arguments.print:
        print(f"{len(cells)} left to do of {len(runs)} runs", flush=True)
    check_all_done(_run_cells(arguments, cells, arguments.jobs, workspace.cache / "logs"), len(cells))


def _words(arguments: argparse.Namespace) -> list[str]:
    """What all command lines of a sweep have in common."""
    checkpoint = getattr(arguments, "checkpoint", "")
    released = ["--checkpoint", checkpoint] if checkpoint else []
    return [*_folder_words(arguments), *released, "--wandb", arguments.wandb, *arguments.overrides]


def _folder_words(arguments: argparse.Namespace) -> list[str]:
    """The folders, for a command line that may be run in another environment."""
    names = ("results", "records", "cache")
    given = {name: getattr(arguments, name) or os.environ.get(f"ADAVID_{name.upper()}", "") for name in names}
    return [word for name, value in given.items() if value for word in (f"--{name}", value)]


def _has_run_on_devices(arguments: argparse.Namespace, runs: Sequence[Run]) -> bool:
    """Whether the runs take several devices and the command has been run, by processes of which this is none."""
    num_devices = {run.num_devices for run in runs}
    if num_devices == {1}:
        return False
    if len(num_devices) > 1:
        raise ValueError("trainer.devices: expected as many for all runs of a command; give it once for all")
    from benchmarks.launch import has_run

    return has_run(arguments.words, num_devices.pop(), runs[0].config["trainer"])


def _dashboard(arguments: argparse.Namespace) -> closing[Dashboard]:
    from adavid import ranks
    from benchmarks.dashboard import Dashboard

    return closing(Dashboard(arguments.wandb if ranks.is_first() else "off"))


# The commands


def _bench(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from adavid import ranks
    from benchmarks.runner import bench, validate
    from benchmarks.sweep import bench_cells

    runs = _runs(arguments, workspace)
    if _is_apart(arguments, runs):
        _sweep(arguments, workspace, runs, bench_cells(runs, workspace, _words(arguments), arguments.split))
    elif _has_run_on_devices(arguments, runs):
        return
    else:
        with _dashboard(arguments) as dashboard:
            for run in runs:
                if arguments.split == "val":
                    print(validate(run, workspace, dashboard))
                else:
                    bench(run, workspace, dashboard)
    is_shown = arguments.split == "test" and not runs[0].debugging and arguments.board and not arguments.print
    if is_shown and ranks.is_first():
        _leaderboard(arguments, workspace)


def _import(arguments: argparse.Namespace, workspace: Workspace) -> None:
    if not arguments.checkpoint:
        raise ValueError("import: expected a file of released weights: CHECKPOINT=file.pth.tar")
    _bench(arguments, workspace)


def _curve(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from adavid import ranks
    from benchmarks.report import curve_report
    from benchmarks.runner import bench_curve
    from benchmarks.sweep import curve_cells

    runs = _runs(arguments, workspace)
    if _is_apart(arguments, runs) or arguments.points_apart:
        cells = curve_cells(runs, workspace, _words(arguments), arguments.points_apart)
        _sweep(arguments, workspace, runs, cells)
    elif _has_run_on_devices(arguments, runs):
        return
    else:
        with _dashboard(arguments) as dashboard:
            for run in runs:
                bench_curve(run, workspace, dashboard, arguments.point)
    if arguments.print or arguments.point or not ranks.is_first():
        return
    seeds = {run.seed for run in runs}
    for data, profile, label in dict.fromkeys((run.data, run.profile, run.label) for run in runs):
        print(curve_report(workspace.results, label, data, profile, seeds))


def _latency(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from adavid.chunks import CHUNKS
    from benchmarks.dashboard import Dashboard
    from benchmarks.measure.latency import main_latency
    from benchmarks.reference import is_on_board
    from benchmarks.runner import bench

    runs = _runs(arguments, workspace)
    CHUNKS.folder = None  # measured in this run: what is kept may be of an hour when the machine was busy
    for run in runs:
        if not arguments.usage and not run.released and is_on_board(run):
            bench(run, workspace, Dashboard("off"))  # at once where it is trained: decisions are to be its own
        print(main_latency(run, workspace, arguments.usage), flush=True)


def _predict(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.measure.online import predict

    run = _one_run(arguments, workspace, "predict")
    for line in predict(run, workspace, arguments.source, arguments.fps, arguments.max_close):
        print(line, flush=True)


def _export(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.export import export

    into = Path(arguments.into) if arguments.into else workspace.results / "exported"
    for run in _runs(arguments, workspace):
        print(export(run, workspace, into))


def _online(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.measure.online import main_online

    for run in _runs(arguments, workspace):
        print(main_online(run, workspace))


def _room(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from adavid.evaluation.schema import method_label
    from benchmarks.layers import room_networks
    from benchmarks.measure.room import main_room, room_text

    if arguments.variant and not arguments.method:
        raise ValueError(f"room: variant '{arguments.variant}': expected its method too")
    if arguments.method and arguments.split == "val":
        raise ValueError(f"room: {arguments.method}: expected SPLIT=test, records are of it")
    for name in ("data", "profile"):
        if len(_listed(getattr(arguments, name))) > 1:
            raise ValueError(f"room: expected one {name}, got {getattr(arguments, name)}")
    method, _, variant = room_networks(arguments.profile).partition("@")
    runs = _runs(argparse.Namespace(**vars(arguments) | {"method": method, "variant": variant}), workspace)
    record = main_room(runs, workspace, arguments.split)
    print(room_text(record, runs[0], workspace, method_label(arguments.method, arguments.variant)))


def _tune(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.tune import studies, tune

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for name in ("trials", "jobs"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"{name}: expected 1 or more, got {getattr(arguments, name)}")
    asked = (arguments.data, arguments.profile, arguments.variant, arguments.overrides)
    how = _how(arguments, workspace.cache / "logs" / "tune")
    for study in studies(workspace, _methods(arguments, arguments.profile), *asked):
        print(tune(study, workspace, arguments.trials, arguments.jobs, **how), flush=True)


def _trial(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.trial import Request, main_trial

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    request = Request.model_validate_json(arguments.request)
    if not _has_run_on_devices(arguments, [request.run()]):
        print(main_trial(request, arguments.outcome))


def _config(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.compose import layers_of
    from benchmarks.explain import explain

    run = _one_run(arguments, workspace, "config")
    files = method_files(arguments.method)
    cache = workspace.shown_cache
    layers = layers_of(files, run.data_request, run.profile, run.variant, arguments.overrides, run.seed, cache)
    print(explain(run, layers))


def _flops(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.measure.flops import main_flops

    print(main_flops(workspace.results))


def _leaderboard(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.report import console_table, write_leaderboard

    print(console_table(write_leaderboard(workspace.results)))


def _leaderboard_as(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from adavid.config import nearest
    from adavid.files import write_atomically
    from benchmarks.report import leaderboard_tables, write_leaderboard

    if not arguments.format:
        return _leaderboard(arguments, workspace)
    if arguments.format != "latex":
        raise ValueError(f"format '{arguments.format}' is unknown; {nearest(arguments.format, ['latex'])}")
    path = workspace.results / "leaderboard.tex"
    write_atomically(path, leaderboard_tables(write_leaderboard(workspace.results)))
    print(path)


def _readme(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.report import write_tables

    write_tables(workspace.results)


def _papers(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.report import write_papers

    print(write_papers(workspace.results))


def _compare(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.compose import data_name
    from benchmarks.report import compare

    data = arguments.data and data_name(arguments.data)
    seeds = _seeds(arguments.seeds) if arguments.seeds else ()
    print(compare(workspace.results, arguments.a, arguments.b, data, arguments.profile, seeds))


def _reference(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.jobs import check_all_done
    from benchmarks.reference import board_of, left_of, plan, superseded_checkpoints, table

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # importing it has set INFO
    board = board_of(arguments.data, arguments.profile)
    named = _methods(arguments, board.profile) if arguments.method else []
    lines = plan(board, named, arguments.overrides, workspace.shown_cache)
    if not arguments.print:
        print(table(lines, workspace, arguments.jobs), flush=True)
    left = [line.cell for line in left_of(lines, workspace.records)]
    if arguments.dry_run or not left:
        return
    _check_committed("reference")
    settings = ("--data", board.data, "--profile", board.profile, *arguments.overrides)
    cells = [replace(cell, words=(*cell.words, *settings, *_folder_words(arguments))) for cell in left]
    timed = [cell for cell in cells if cell.words[0] == "latency"]  # by itself, or it times the others too
    logs = workspace.cache / "logs" / "reference"
    for path in superseded_checkpoints(lines, workspace.records):  # beside which a record would stand
        if arguments.print:
            print(f"rm {shlex.quote(str(path.resolve()))}")
        else:
            path.unlink()
    failed: list[str] = []
    for some, jobs in (([cell for cell in cells if cell not in timed], arguments.jobs), (timed, 1)):
        failed += _run_cells(arguments, some, jobs, logs)
    if arguments.print:
        return
    _leaderboard(arguments, workspace)
    check_all_done(failed, len(cells))


def _retrained(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.report.retrained import retrained

    print(retrained(workspace.records, arguments.before))


def _both_codes(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.both_codes import both_codes
    from benchmarks.reference import board_of

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    board = board_of(arguments.data, arguments.profile)
    named = _methods(arguments, board.profile) if arguments.method else []
    _check_committed("both-codes")
    for line in both_codes(board, workspace, named, arguments.overrides):
        print(line, flush=True)


def _check_committed(command: str) -> None:
    from adavid.environment import git_revision

    if git_revision().endswith("-dirty"):
        raise ValueError(
            f"{command}: the checkout has changes: commit them first, as records name the commit they are of"
        )


def _verify(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.report.verify import verify

    verify(Path(arguments.folder))


def _check_data(arguments: argparse.Namespace, workspace: Workspace) -> int:
    from benchmarks.check_data import check_data

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    page, is_trainable = check_data(arguments.data, arguments.profile, arguments.overrides, workspace)
    print(page)
    return 0 if is_trainable else 1


def _prepare(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from adavid.data.prepared import Format
    from benchmarks.compose import data_settings
    from benchmarks.prepare import prepare

    if not arguments.into:
        raise ValueError("prepare: expected a folder for the pictures: CACHE=/path")
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ValueError(f"jobs={arguments.jobs}: expected 1 or more")
    wanted = Format(arguments.short, arguments.quality, arguments.fps)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    settings = data_settings(arguments.data, arguments.profile, arguments.overrides, workspace.shown_cache)
    catalogue = settings.catalogue_class(**settings.arguments)
    for line in prepare(catalogue, Path(arguments.into), wanted, arguments.jobs):
        print(line, flush=True)


def _data_bench(arguments: argparse.Namespace, workspace: Workspace) -> None:
    from benchmarks.compose import data_settings
    from benchmarks.measure.reading import data_bench

    if arguments.videos < 1:
        raise ValueError(f"videos={arguments.videos}: expected 1 or more")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    settings = data_settings(arguments.data, arguments.profile, arguments.overrides, workspace.shown_cache)
    catalogue = settings.catalogue_class(**settings.arguments)
    print(data_bench(catalogue, settings.num_frames, arguments.videos))


def _list(arguments: argparse.Namespace, workspace: Workspace) -> None:
    for name in catalogue():
        files = method_files(name)
        same = [f"the same run as {other} in profile {profile}" for profile, other in files.same_as.items()]
        variants = [f"variants: {', '.join(files.variants)}"] if files.variants else []
        print("  ".join([name, *same, *variants]))
    print(f"data sets: {', '.join(catalogue('datamodules'))}, folder:/path, csv:/path/file.csv")


if __name__ == "__main__":
    sys.exit(main())
