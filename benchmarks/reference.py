"""The plan of a board's committed records: the command lines that make them, which were run, how long the others take.

It follows from the recipe's `boards` and from the catalogue: every method, every curve, every variant. A record of
today's settings counts whatever code made it, unless today's was shown to make other results; the plan says by which
code records are, and whether that was shown to make the same (see `benchmarks.report.retrained`). What was shown to be
another is made anew, and so is a folder that is removed.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pandas as pd
from omegaconf import OmegaConf

from adavid.config import build
from adavid.digest import code_digest
from adavid.environment import device_name
from adavid.evaluation.records import LATENCY_JSON, MAIN, ONLINE_JSON, OTHER_KINDS, Record, read_records
from adavid.evaluation.room import ROOM_JSON, RoomRecord
from adavid.evaluation.schema import read_json
from benchmarks.compose import compose, like
from benchmarks.jobs import Cell
from benchmarks.layers import (
    BASELINE,
    RECIPE,
    check_known,
    method_files,
    methods_of,
    recipe_file,
    references,
    room_networks,
    shown,
)
from benchmarks.measure.online import is_worth_watching
from benchmarks.models import last_stage
from benchmarks.report.retrained import (
    BY_SAME,
    BY_TODAYS,
    NOT_SHOWN,
    OTHER_RESULTS,
    SPEAKS_FOR,
    Codes,
    worst,
)
from benchmarks.run import Run
from benchmarks.runner import curve_points
from benchmarks.workspace import Workspace

WITHOUT_CODE = "that name no code"  # times, answers along the videos, the room
COLUMNS = {  # of the plan, where lines are by how their records stand to today's code
    BY_TODAYS: "by today's code",
    BY_SAME: "by the same",
    NOT_SHOWN: "nothing shown",
    OTHER_RESULTS: "other results",
    WITHOUT_CODE: "without code",
}
MEASURES = ("curve", "online", "latency", "room")
BOUND = "uniform@ceiling"  # what the data allow, at ten times the training: one seed, as nothing is compared with it


@dataclass(frozen=True)
class Board:
    """All methods on a data set in a profile, as far as their records are committed.

    Attributes:
        data: a name of the data catalogue.
        profile: one of the recipe's.
        seeds: of every method's main row, and of what is measured of it.
        variant_seeds: of its variants; none where the board has no variants.
        measures: what is measured beside the main rows.
        latency_seeds: those of its seeds that are timed, which takes the machine for itself; None are all.

    Raises:
        ValueError: a measure is unknown.
    """

    data: str
    profile: str
    seeds: list[int]
    variant_seeds: list[int] = field(default_factory=list)
    measures: list[str] = field(default_factory=list)
    latency_seeds: list[int] | None = None

    def __post_init__(self) -> None:
        assert set(self.latency_seeds or []) <= set(self.seeds)
        for measure in self.measures:
            check_known(measure, MEASURES, f"{shown(RECIPE)}: boards: {self.data}, {self.profile}: measure '{measure}'")


def boards() -> list[Board]:
    """Those of the recipe."""
    described = OmegaConf.to_container(recipe_file().content.boards)
    assert isinstance(described, list)
    return [build(Board, of, "boards") for of in described]


def is_on_board(run: Run) -> bool:
    """Whether records of a run's data set are committed in its profile: it trains in minutes, or within the hour."""
    return any((board.data, board.profile) == (run.data, run.profile) for board in boards())


def board_of(data: str, profile: str) -> Board:
    """The board of a data set in a profile.

    Raises:
        ValueError: no records of it are committed.
    """
    found = next((board for board in boards() if (board.data, board.profile) == (data, profile)), None)
    if found is None:
        known = ", ".join(f"DATA={board.data} PROFILE={board.profile}" for board in boards())
        raise ValueError(f"reference: no records of {data} in profile {profile} are committed; there is {known}")
    return found


@dataclass(frozen=True)
class Line:
    """One command line of the plan.

    Attributes:
        command: bench, curve, online, latency or room.
        run: what it is run on.
        files: in the run's folder, that are there once it is done.
        trainings: that it takes.
        evaluations: on the reported split, that it takes beside those of the trainings.
    """

    command: str
    run: Run
    files: tuple[str, ...]
    trainings: int = 0
    evaluations: int = 0

    @property
    def seeds(self) -> str:
        """Those that it is run on, as a word of the command line."""
        return str(self.run.seed)

    @property
    def cell(self) -> Cell:
        """As it is run: what it needs made is of its seed."""
        run = self.run
        words = (self.command, "--method", run.method, "--variant", run.variant, "--seeds", self.seeds)
        board = ("--no-board",) if self.command == "bench" else ()
        name = f"{self.command} {run.label} seed {self.seeds}"
        return Cell(name, (*words, *board), apart=self.seeds, num_gpus=run.num_gpus)

    def is_done(self, records: Path) -> bool:
        """Whether its records are in a folder of records, with today's settings: their hash names the folder."""
        folder = self.run.folder(records)
        return all((folder / name).exists() for name in self.files)

    @property
    def models(self) -> list[Run]:
        """The runs whose models it makes use of."""
        return [self.run]

    def standings(self, records: Path, codes: Codes) -> dict[str, str]:
        """How the codes that made its records stand to today's, by digest; none where files name no code, as times."""
        paths = [self.run.folder(records) / name for name in self.files if name not in OTHER_KINDS]
        today = code_digest(*self.run.config["sources"])
        made_by = {read_json(Record, path).code for path in paths if path.exists()}
        return {code: codes.standing(code, today) for code in made_by}

    def seconds(self, times: Mapping[str, tuple[float, float]]) -> float:
        """What it may take, by its run's own times, or where there are none by the medians of all that there are."""
        all_s = [median(of) for of in zip(*times.values(), strict=True)]
        train_s, eval_s = times.get(self.run.label, all_s)
        return self.trainings * (train_s + eval_s) + self.evaluations * eval_s


@dataclass(frozen=True)
class OnlineLine(Line):
    """A run that is watched frame by frame, and beside it the baseline.

    Attributes:
        baseline: as it is trained for the run; of any seed.
    """

    baseline: Run = field(kw_only=True)

    @property
    def models(self) -> list[Run]:
        return [self.run, dataclasses.replace(self.baseline, seed=self.run.seed)]


@dataclass(frozen=True)
class RoomLine(Line):
    """The room that adaptivity has: one command for all seeds, its file beside the methods' folders.

    Attributes:
        all_seeds: those that a record of its networks has.
    """

    all_seeds: tuple[int, ...] = ()

    @property
    def seeds(self) -> str:
        return ",".join(map(str, self.all_seeds))

    @property
    def models(self) -> list[Run]:
        return [dataclasses.replace(self.run, seed=seed) for seed in self.all_seeds]

    @property
    def cell(self) -> Cell:
        return Cell("room", ("room", "--seeds", self.seeds))

    def is_done(self, records: Path) -> bool:
        path = records / self.run.data / self.run.profile / ROOM_JSON
        if not path.exists():
            return False
        record = read_json(RoomRecord, path)
        return (record.config_hash, record.seeds) == (self.run.hash, self.all_seeds)


def plan(board: Board, methods: Sequence[str] = (), overrides: Sequence[str] = (), cache: str = "cache") -> list[Line]:
    """The command lines in the order in which they are run.

    Main rows, what is measured of them, variants, the curves of those that claims have to beat, the room. A variant
    that is one of its method's own `baselines` is a control: it has the seeds of the main rows, on every board. The
    baseline that others are watched beside is in the plan with them.

    Args:
        board: whose records they make.
        methods: of the catalogue; none are all of them, those that are one run once.
        overrides: see `compose`.
        cache: likewise.
    """

    def composed(method: str, variant: str = "") -> Run:
        return compose(method, board.data, board.profile, variant, overrides, cache=cache)

    named = [composed(method) for method in methods or methods_of(board.profile)]
    watched = [run for run in named if "online" in board.measures and is_worth_watching(run)]
    is_named = BASELINE in {run.method for run in named}
    runs = [*([composed(BASELINE)] if watched and not is_named else []), *named]
    controls, variants = list[Run](), list[Run]()
    for method, variant in ((run.method, name) for run in named for name in _own_variants(run.method, board.profile)):
        if f"{method}@{variant}" in method_files(method).baselines:
            controls.append(composed(method, variant))
        elif board.variant_seeds:
            variants.append(composed(method, variant))
    compared_along = {label for labels in references().values() for label in labels}
    networks = room_networks(board.profile)
    of_measure: dict[str, list[Line]] = {
        "curve": [_curve(run) for run in runs if run.config["curve"]],
        "online": [OnlineLine("online", run, (ONLINE_JSON,), 0, 2, baseline=like(run, BASELINE)) for run in watched],
        "latency": [Line("latency", run, (LATENCY_JSON,), 0, 1) for run in runs],
    }
    timed = board.seeds if board.latency_seeds is None else board.latency_seeds
    seeds_of = dict.fromkeys(MEASURES, board.seeds) | {"latency": timed}
    lines = [
        *_seeded(board.seeds, [_bench(run) for run in (*runs, *controls)]),
        *(line for name, of in of_measure.items() if name in board.measures for line in _seeded(seeds_of[name], of)),
        *_seeded(board.variant_seeds, [_bench(run) for run in variants if run.label != BOUND]),
        *_seeded(board.variant_seeds, [_curve(run) for run in variants if run.label in compared_along]),
        *(_room(run, board) for run in (*runs, *variants) if "room" in board.measures and run.label == networks),
        *_seeded(board.variant_seeds[:1], [_bench(run) for run in variants if run.label == BOUND]),
    ]
    return list(_trained_once(lines))


def left_of(lines: Sequence[Line], records: Path) -> list[Line]:
    """Those that are to be run.

    A record stands for the model that is beside it. So where a line needs a model that is not there, as none is in a
    fresh clone, all records of its run are made anew with it; and so they are where today's code was shown to make
    others.
    """
    old = {line.run.folder(records) for line in superseded(lines, records)}

    def is_left(line: Line) -> bool:
        return not line.is_done(records) or any(run.folder(records) in old for run in line.models)

    needed = [(run, run.folder(records)) for line in lines if is_left(line) for run in line.models]
    anew = old | {folder for run, folder in needed if not last_stage(run, folder).exists()}
    return [line for line in lines if is_left(line) or line.run.folder(records) in anew]


def superseded(lines: Sequence[Line], records: Path) -> list[Line]:
    """Those with a record of which today's code was shown to make another."""
    codes = Codes.of(records)
    if not codes.has_others:  # so that no record is read
        return []
    return [line for line in lines if OTHER_RESULTS in line.standings(records, codes).values()]


def superseded_checkpoints(lines: Sequence[Line], records: Path) -> list[Path]:
    """What is to be removed so that such a line is trained anew, the further models of its curve included."""
    folders = dict[Path, None]()
    for line in superseded(lines, records):
        points = curve_points(line.run) if line.command == "curve" else ()
        folders |= dict.fromkeys(run.folder(records) for run in (line.run, *(point.run for point in points)))
    return [path for folder in folders for path in sorted([*folder.glob("*.pt"), *folder.glob("*.ckpt")])]


def times(results: Path, device: str) -> dict[str, tuple[float, float]]:
    """Seconds of a training and of an evaluation by the run's label, medians of all records made on a device."""
    timed: dict[str, list[Record]] = {}
    for record in read_records(results):
        is_timed = record.times.keys() >= {"train_s", "eval_s"}
        if record.point == MAIN and record.device == device and is_timed:
            timed.setdefault(record.label, []).append(record)
    return {
        label: (median(of.times["train_s"] for of in records), median(of.times["eval_s"] for of in records))
        for label, records in timed.items()
    }


def table(lines: Sequence[Line], workspace: Workspace, jobs: int) -> str:
    """The plan for reading: a row for all seeds of a run, by which code they are, and what is left."""
    device = device_name(lines[0].run.device)
    known = times(workspace.results, device)
    codes = Codes.of(workspace.records)
    rows: dict[tuple[str, str], dict[str, str]] = {}
    left = left_of(lines, workspace.records)
    to_do = {line.cell.name for line in left}
    seen, unshown, recorded = Counter[str](), set[str](), set[str]()
    for line in lines:
        row = rows.setdefault((line.command, line.run.label), dict.fromkeys((*COLUMNS.values(), "to do"), ""))
        standings = line.standings(workspace.records, codes)
        unshown |= {code for code, standing in standings.items() if standing == NOT_SHOWN}
        if line.is_done(workspace.records) and OTHER_RESULTS not in standings.values():
            recorded.add(line.cell.name)
        if line.cell.name in to_do:
            row["to do"] += f" {line.seeds}"
        if standings or line.cell.name not in to_do:
            standing = worst(standings.values()) if standings else WITHOUT_CODE
            row[COLUMNS[standing]] += f" {line.seeds}"
            seen[standing] += 1
    columns = [
        {"command": command, "run": label} | {f"seeds {key}": text.strip() for key, text in row.items()}
        for (command, label), row in rows.items()
    ]
    shown = pd.DataFrame(columns).to_markdown(index=False, tablefmt="simple", disable_numparse=True)
    again = len(to_do & recorded)
    count = f"{len(recorded)} of {len(lines)} recorded; to do: {len(left)}"
    count += f", {again} of them again: what is missing needs their models, which are not here" if again else ""
    by_code = [f"of {len(lines)}: " + ", ".join(f"{seen[standing]} {standing}" for standing in COLUMNS)]
    if seen[NOT_SHOWN]:
        by_code.append(f"Nothing shown: {len(unshown)} digests of code (`make both-codes`). {SPEAKS_FOR}.")
    elif seen[BY_SAME]:
        by_code.append(f"{SPEAKS_FOR}.")
    return "\n".join([shown, "", count + _duration(left, known, device, jobs), *by_code])


def _duration(left: Sequence[Line], known: Mapping[str, tuple[float, float]], device: str, jobs: int) -> str:
    """How long what is left may take, in words; "" where nothing is, or where none was timed."""
    if not left or not known:
        return ""
    hours = sum(line.seconds(known) for line in left) / 3600 / jobs
    untimed = sum(line.run.label not in known for line in left)
    others = f" ({untimed} of them as the others, which were timed)" if untimed else ""
    return f", about {hours:.1f} h by the times of records made on {device}{others}"


def _own_variants(method: str, profile: str) -> list[str]:
    """The variants that its own YAML names: those of a method that it extends are that one's."""
    files = method_files(method)
    return [name for name in files.files[-1].names("variants") if name in files.variants_in(profile)]


def _room(run: Run, board: Board) -> Line:
    seeds = tuple(board.variant_seeds if run.variant else board.seeds)
    return RoomLine("room", run, (), 0, 2 * len(seeds), seeds)


def _bench(run: Run) -> Line:
    return Line("bench", run, (f"{MAIN}.json",), 1)


def _curve(run: Run) -> Line:
    points = list(curve_points(run))
    further = {point.run.model_hash for point in points} - {run.model_hash}
    return Line("curve", run, tuple(f"{point.name}.json" for point in points), len(further), len(points))


def _trained_once(lines: Sequence[Line]) -> Iterator[Line]:
    """A variant that is only evaluated differently trains nothing."""
    models = set()
    for line in lines:
        model = (line.run.model_hash, line.run.seed)
        if line.trainings and line.command == "bench" and model in models:
            line = dataclasses.replace(line, trainings=0, evaluations=line.evaluations + 1)
        models.add(model)
        yield line


def _seeded(seeds: Sequence[int], lines: Sequence[Line]) -> Iterator[Line]:
    """Each with all seeds before the next: side by side they share no backbone."""
    for line in lines:
        for seed in seeds:
            yield dataclasses.replace(line, run=dataclasses.replace(line.run, seed=seed))
