"""`python -m benchmarks COMMAND`: what the Makefile calls."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from pytorch_lightning.utilities.exceptions import MisconfigurationException

from benchmarks.compose import PROFILES, ROOT, catalogue, compose, data_name
from benchmarks.run import Run
from benchmarks.runner import RESULTS


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake ends in one line and exit status 2."""
    arguments = _parser().parse_args(words)
    warnings.filterwarnings("ignore", module="pytorch_lightning|torch.jit|fvcore|lightning_fabric")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    try:
        arguments.command(arguments)
    except (ValueError, MisconfigurationException) as error:
        # What a process that loads videos raised comes wrapped in its traceback.
        print(f"adavid: {str(error).rpartition('ValueError: ')[2].strip()}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # a reader such as head has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name: str, function: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=function)
        return sub

    def run_options(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--method", required=True, help="a name of the catalogue, all, or package.module:Class")
        sub.add_argument("--variant", default="", help="one of the method's variants")
        sub.add_argument("--data", default="sprites", help="a data set, folder:/path or csv:/path/file.csv")
        sub.add_argument("--profile", default="tiny", help=" or ".join(PROFILES))
        sub.add_argument("--seeds", default="0", help="comma-separated")
        sub.add_argument("--wandb", default="off", choices=("off", "offline", "online"))
        sub.add_argument("overrides", nargs="*", help="section.key=value")

    sub = command("bench", _bench, "train, evaluate and record")
    run_options(sub)
    sub.add_argument("--split", default="test", choices=("test", "val"), help="val: to choose by, leaves no record")
    run_options(command("curve", _curve, "evaluate at several operating points"))
    sub = command("latency", _latency, "time evaluation against a baseline in the same run")
    run_options(sub)
    sub.add_argument("--usage", default="", help="force decisions: a usage of the method's YAML, or action=share,...")
    sub = command("predict", _predict, "watch a video or a live stream, a prediction after every frame")
    run_options(sub)
    sub.add_argument("--source", required=True, help="a file, a URL, a video device, or - for the standard input")
    sub.add_argument("--fps", default=1.0, type=float, help="frames a second of the video's time")
    sub.add_argument(
        "--max-close", default=0, type=int, help="stop after K frames at the highest resolution; 0: at the end"
    )
    run_options(command("online", _online, "accuracy and cost along the videos, stopping early, beside uniform's"))
    command("flops", _flops, "the cost table")
    command("leaderboard", _leaderboard, "regenerate the leaderboard from the result files")
    sub = command("compare", _compare, "paired difference of two methods on the same videos")
    sub.add_argument("a")
    sub.add_argument("b")
    sub.add_argument("--data", default=None)
    sub.add_argument("--profile", default=None)
    command("list", _list, "methods, variants and data sets")
    return parser


def _runs(arguments: argparse.Namespace) -> list[Run]:
    """Every run that the options ask for, all checked before the first one starts."""
    methods = catalogue() if arguments.method == "all" else [arguments.method]
    try:
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
    except ValueError:
        raise ValueError(f"seeds '{arguments.seeds}': expected whole numbers, for example 0,1,2") from None
    if min(seeds) < 0:
        raise ValueError(f"seeds '{arguments.seeds}': expected numbers from 0 on, for example 0,1,2")
    return [
        compose(method, arguments.data, arguments.profile, arguments.variant, arguments.overrides, seed)
        for seed in seeds
        for method in methods
    ]


def _bench(arguments: argparse.Namespace) -> None:
    from benchmarks.dashboard import Dashboard
    from benchmarks.runner import bench, validate

    runs = _runs(arguments)
    if arguments.split == "val":
        for run in runs:
            print(validate(run, Dashboard(arguments.wandb)))
        return
    for run in runs:
        bench(run, Dashboard(arguments.wandb))
    _leaderboard(arguments)


def _curve(arguments: argparse.Namespace) -> None:
    from benchmarks.dashboard import Dashboard
    from benchmarks.report import curve_report
    from benchmarks.runner import curve

    runs = _runs(arguments)
    for run in runs:
        curve(run, Dashboard(arguments.wandb))
    for method in dict.fromkeys(run.label for run in runs):
        print(curve_report(RESULTS, method, data=runs[0].data, profile=runs[0].profile))


def _latency(arguments: argparse.Namespace) -> None:
    from benchmarks.measure.latency import main_latency

    for run in _runs(arguments):
        print(main_latency(run, arguments.usage))


def _predict(arguments: argparse.Namespace) -> None:
    from benchmarks.measure.online import predict

    (run, *more) = _runs(arguments)
    if more:
        raise ValueError("predict: expected one method and one seed")
    for line in predict(run, arguments.source, arguments.fps, arguments.max_close):
        print(line, flush=True)


def _online(arguments: argparse.Namespace) -> None:
    from benchmarks.measure.online import main_online

    for run in _runs(arguments):
        print(main_online(run))


def _flops(arguments: argparse.Namespace) -> None:
    from benchmarks.measure.flops import main_flops

    print(main_flops())


def _leaderboard(arguments: argparse.Namespace) -> None:
    from benchmarks.report import console_table, write_leaderboard

    print(console_table(write_leaderboard(RESULTS)))


def _compare(arguments: argparse.Namespace) -> None:
    from benchmarks.report import compare

    data = arguments.data and data_name(arguments.data)
    print(compare(RESULTS, arguments.a, arguments.b, data=data, profile=arguments.profile))


def _list(arguments: argparse.Namespace) -> None:
    from adavid.config import load_yaml

    for name in catalogue():
        variants = load_yaml(ROOT / "methods" / f"{name}.yaml").get("variants", {})
        print(name + (f"  variants: {', '.join(variants)}" if variants else ""))
    print(f"data sets: {', '.join(catalogue('datamodules'))}, folder:/path, csv:/path/file.csv")


if __name__ == "__main__":
    sys.exit(main())
