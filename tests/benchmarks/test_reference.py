"""The plan of the committed records: it follows from the catalogue, knows what is there, and goes on from it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from adavid.digest import code_digest
from adavid.evaluation.records import LATENCY_JSON, ONLINE_JSON
from adavid.evaluation.room import ROOM_JSON
from adavid.evaluation.schema import write_json
from benchmarks import jobs, reference
from benchmarks.__main__ import main
from benchmarks.compose import compose
from benchmarks.jobs import Cell
from benchmarks.layers import methods_of, room_networks
from benchmarks.models import last_stage
from benchmarks.reference import (
    BOUND,
    COLUMNS,
    MEASURES,
    Board,
    Line,
    RoomLine,
    board_of,
    left_of,
    plan,
    superseded,
    superseded_checkpoints,
    table,
)
from benchmarks.report.retrained import RETRAINED_CSV, Codes, write_retrained
from benchmarks.workspace import Workspace
from tests.benchmarks.test_retrained import comparison
from tests.benchmarks.test_room_report import add_room
from tests.benchmarks.toys import add
from tests.datamodules.test_ucf101 import write_copy

SPRITES = board_of("sprites", "tiny")
SEEDS, VARIANT_SEEDS = SPRITES.seeds, SPRITES.variant_seeds


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    return plan(SPRITES, ["lstm", "lstm_cf", "liteeval", "tsm", "uniform"])


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "results", tmp_path / "results" / "reference", tmp_path / "cache")


def test_every_method_its_curve_and_its_variants_are_in_the_plan(lines: list[Line]) -> None:
    seeds: dict[tuple[str, str], tuple[int, ...]] = {}
    for line in lines:
        key = (line.command, line.run.label)
        seeds[key] = (*seeds.get(key, ()), line.run.seed)
    mains = [("bench", name) for name in ("lstm", "lstm_cf", "liteeval", "tsm", "uniform")]
    curves = [("curve", name) for name in ("lstm", "lstm_cf", "liteeval", "uniform")]  # tsm has no other points
    timed = [("latency", name) for _, name in mains]
    measured = [*mains, *curves, ("online", "liteeval"), *timed]  # lstm decides nothing
    rows = list(seeds)
    assert rows[: len(measured)] == measured
    variants = rows[len(measured) :]
    assert {seeds.pop(key) for key in timed} == {(0,)}
    assert variants[0] == ("bench", "lstm@last") and ("bench", "lstm_cf@last") not in variants
    assert {name.partition("@")[0] for _, name in variants[1:]} == {"liteeval", "uniform"} and len(variants) > 5
    assert seeds.pop(("bench", BOUND)) == (0,)
    assert all(list(of) == (VARIANT_SEEDS if "@" in label else SEEDS) for (_, label), of in seeds.items())
    assert set(VARIANT_SEEDS) <= set(SEEDS)


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["lite", "tiny"])
def test_every_variant_and_every_point_of_the_catalogue_can_be_planned(profile: str) -> None:
    lines = plan(Board("sprites", profile, [0], [0], list(MEASURES)))
    assert {line.run.method for line in lines} == set(methods_of(profile))


def test_a_methods_own_controls_have_the_seeds_of_the_main_rows() -> None:
    def seeds(board: Board, label: str) -> list[int]:
        lines = plan(board, ["scsampler"])
        return [line.run.seed for line in lines if (line.command, line.run.label) == ("bench", label)]

    assert seeds(SPRITES, "scsampler@even") == seeds(SPRITES, "scsampler@random") == SEEDS
    assert seeds(SPRITES, "scsampler@ranking") == VARIANT_SEEDS
    without_variants = replace(SPRITES, variant_seeds=[])
    assert seeds(without_variants, "scsampler@even") == SEEDS and not seeds(without_variants, "scsampler@ranking")


def test_a_board_of_real_videos_has_a_seed_a_fold_and_times(tmp_path: Path) -> None:
    words = [f"data.path={write_copy(tmp_path)}"]
    for data in ("ucf101", "ucf101_untrimmed"):
        board = board_of(data, "lite")
        lines = plan(board, ["uniform", "arnet"], [*words, *(["data.labelled=1"] if "_" in data else [])])
        assert board.seeds == [0, 1, 2] and lines[0].run.catalogue.turns == (0, 3)
        commands = [(line.command, line.run.label) for line in lines if line.run.seed == 0]
        measured = [(command, name) for command in ("bench", "curve") for name in ("uniform", "arnet")]
        online = [("online", "arnet")] if "online" in board.measures else []
        assert commands == [*measured, *online, ("latency", "uniform"), ("latency", "arnet")]
        assert {line.run.seed for line in lines if line.command == "latency"} == {0}


def test_boards_that_there_are_none_of() -> None:
    with pytest.raises(ValueError) as caught:
        board_of("sprites", "paper")
    assert str(caught.value).startswith(
        "reference: no records of sprites in profile paper are committed; there is DATA="
    )
    with pytest.raises(ValueError, match="boards: sprites, tiny: measure 'curves' is unknown; did you mean 'curve'"):
        Board("sprites", "tiny", [0], measures=["curves"])


def test_times_are_taken_alone(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[list[str], int]] = []

    def run_all(cells: Sequence[Cell], num_jobs: int, logs: Path) -> list[str]:
        ran.append(([cell.words[0] for cell in cells], num_jobs))
        assert all("--data sprites --profile tiny recipe.dropout=0.1 --results" in " ".join(of.words) for of in cells)
        return []

    timed = replace(SPRITES, measures=["latency"], seeds=[0], variant_seeds=[])
    monkeypatch.setattr(reference, "board_of", lambda data, profile: timed)
    monkeypatch.setattr(reference, "methods_of", lambda profile: ["uniform", "lstm"])
    monkeypatch.setattr(jobs, "run_all", run_all)
    monkeypatch.setattr("benchmarks.__main__._leaderboard", lambda *_: None)
    monkeypatch.setattr("adavid.environment.git_revision", lambda: "0" * 40)
    folders = ["--results", str(workspace.results), "--cache", str(workspace.cache)]
    assert main(["reference", "--jobs", "2", *folders, "recipe.dropout=0.1"]) == 0
    assert ran == [(["bench", "bench"], 2), (["latency", "latency"], 1)]
    assert main(["reference", "--method", "lstm", *folders, "recipe.dropout=0.1"]) == 0
    assert ran[2:] == [(["bench"], 1), (["latency"], 1)]


def test_a_line_is_one_command(lines: list[Line]) -> None:
    by_name = {line.cell.name: line.cell for line in lines}
    assert len(by_name) == len(lines)
    words = ("bench", "--method", "lstm", "--variant", "last", "--seeds", "2", "--no-board")
    assert by_name["bench lstm@last seed 2"] == Cell("bench lstm@last seed 2", words, "2")
    assert by_name["curve uniform seed 4"].words == ("curve", "--method", "uniform", "--variant", "", "--seeds", "4")


def test_a_curve_is_done_with_all_of_its_points(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["curve.train={dropout: [0.0, 0.5, 0.1]}", "curve.test={num_frames: [2, 4]}"]
    monkeypatch.setattr(reference, "compose", lambda *of, **options: compose(*of[:-1], words, **options))
    (line,) = (line for line in plan(SPRITES, ["uniform"]) if (line.command, line.run.seed) == ("curve", 1))
    assert len(line.files) == line.evaluations == 3 * 2
    assert line.trainings == 2  # it is trained itself without dropout
    folder = line.run.folder(workspace.records)
    folder.mkdir(parents=True)
    for name in line.files:
        assert not line.is_done(workspace.records)
        (folder / name).touch()
    assert line.is_done(workspace.records)


def test_the_room_is_measured_once_for_all_seeds(workspace: Workspace) -> None:
    (line,) = (line for line in plan(SPRITES, ["cascade"]) if line.command == "room")
    assert line.cell == Cell("room", ("room", "--seeds", "0,1,2")) and not line.is_done(workspace.records)
    path = workspace.records / "sprites" / "tiny" / ROOM_JSON
    other = add_room(workspace.results)
    for record, seeds, is_done in (
        (other, other.seeds, False),
        (other.model_copy(update={"config_hash": line.run.hash}), other.seeds, True),
        (other.model_copy(update={"config_hash": line.run.hash}), (7, 8, 9), False),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, record)
        assert isinstance(line, RoomLine)
        of_seeds = replace(line, all_seeds=seeds)
        assert of_seeds.is_done(workspace.records) is is_done and not of_seeds.standings(workspace.records, Codes())


def test_the_plan_says_what_is_left_and_how_long_it_takes(
    lines: list[Line], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = [line for line in lines if (line.command, line.run.label) in {("bench", "lstm"), ("curve", "lstm")}]
    assert len(some) == 10
    add(workspace.results, "lstm", seed=0)  # on other data; timed at a second for training and one for evaluation
    for seed in (0, 2):
        folder = next(line for line in some if line.run.seed == seed).run.folder(workspace.records)
        folder.mkdir(parents=True)
        (folder / "test.json").symlink_to(next(workspace.results.rglob("toys/**/test.json")))
    monkeypatch.setattr(reference, "device_name", lambda device: "another")
    again = "2 of them again: what is missing needs their models, which are not here"  # the curves do
    assert f"\n2 of 10 recorded; to do: 10, {again}\n" in table(some, workspace, 2)
    for line in some:
        if line.is_done(workspace.records):
            last_stage(line.run, line.run.folder(workspace.records)).touch()
    assert "\n2 of 10 recorded; to do: 8\n" in table(some, workspace, 2)
    monkeypatch.setattr(reference, "device_name", lambda device: "a machine")
    text = table(some, workspace, 2)
    assert re.search(r"^bench +lstm +0 2 +1 3 4$", text, re.M) and re.search(r"^curve +lstm +0 1 2 3 4$", text, re.M)
    assert "\n2 of 10 recorded; to do: 8, about 0.0 h by the times of records made on a machine\n" in text
    bench, curve = some[0], some[-1]
    assert bench.seconds({"lstm": (100.0, 5.0)}) == 105 and curve.seconds({"lstm": (100.0, 5.0)}) == 5 * len(
        curve.files
    )
    assert bench.seconds({"tsm": (10.0, 1.0), "uniform": (20.0, 3.0)}) == 15 + 2  # as the others are
    assert "\n1 of 1 recorded; to do: 0\nof 1: 0 by today's code" in table(lines[:1], workspace, 1)


def test_the_plan_says_which_code_was_shown_to_make_the_same_and_makes_anew_what_was_not(
    lines: list[Line], workspace: Workspace
) -> None:
    (today,) = {code_digest(*line.run.config["sources"]) for line in lines if line.run.method == "lstm"}
    some = [line for line in lines if line.run.label == "lstm" and line.command in ("bench", "latency")]
    benches, (timed,) = some[:5], some[5:]
    for line, code in zip(benches, (today, "aaaa0000", "bbbb0000", "cccc0000"), strict=False):
        folder = line.run.folder(workspace.records)
        made = add(workspace.results, "lstm", root="made", seed=line.run.seed, code=code)
        shutil.copytree(made, folder)
        (folder / "0-all.pt").touch()
        last_stage(line.run, folder).touch()
    (timed.run.folder(workspace.records) / LATENCY_JSON).touch()
    same, other = comparison("aaaa0000", today), comparison("bbbb0000", today, score=0.1)
    write_retrained(workspace.records / RETRAINED_CSV, [same, other])
    text = table(some, workspace, 1)
    assert re.search(r"^command +run +" + " +".join(f"seeds {name}" for name in (*COLUMNS.values(), "to do")), text)
    assert re.search(r"^bench +lstm +0 +1 +3 +2 +2 4$", text, re.M) and re.search(r"^latency +lstm +0$", text, re.M)
    assert "\n4 of 6 recorded; to do: 2, about" in text or "\n4 of 6 recorded; to do: 2\n" in text
    assert (
        "\nof 6: 1 by today's code, 1 by code that was shown to make the same, "
        "1 by other code of which nothing was shown, 1 by other code with other results, 1 that name no code\n"
        "Nothing shown: 1 digests of code (`make both-codes`). One seed"
    ) in text
    assert [line.run.seed for line in superseded(some, workspace.records)] == [2]
    removed = superseded_checkpoints(some, workspace.records)
    folder = benches[2].run.folder(workspace.records)
    assert set(removed) == {folder / "0-all.pt", last_stage(benches[2].run, folder)}
    # With a newer record it is done.
    shutil.rmtree(folder)
    shutil.copytree(benches[0].run.folder(workspace.records), folder)
    assert [line.run.seed for line in left_of(some, workspace.records)] == [4]


def test_a_line_is_made_anew_with_any_of_its_models(workspace: Workspace) -> None:
    lines = [line for line in plan(SPRITES, ["liteeval"]) if line.run.seed == 0]
    (online,) = (line for line in lines if line.command == "online")
    bench = next(line for line in lines if line.cell.name == "bench uniform seed 0")
    for line, file in ((online, ONLINE_JSON), (bench, "test.json")):
        folder = line.run.folder(workspace.records)
        shutil.copytree(add(workspace.results, "uniform", root="made", code="aaaa0000"), folder)
        (folder / file).touch()
        last_stage(line.run, folder).touch()
    some = [online, bench]
    assert not left_of(some, workspace.records)
    today = code_digest(*bench.run.config["sources"])
    write_retrained(workspace.records / RETRAINED_CSV, [comparison("aaaa0000", today, score=0.1)])
    assert left_of(some, workspace.records) == some


def test_a_variant_that_is_only_evaluated_differently_trains_nothing() -> None:
    trainings = {line.run.label: line.trainings for line in plan(SPRITES, ["sofnet"]) if line.command == "bench"}
    assert trainings["sofnet"] == trainings["sofnet@no_guidance"] == 1
    assert trainings["sofnet@no_early_termination"] == 0


def test_the_room_needs_the_models_of_all_its_seeds(workspace: Workspace) -> None:
    lines = [line for line in plan(SPRITES, ["cascade"]) if line.command in ("bench", "room")]
    benches = [line for line in lines if line.command == "bench"]
    for line in (line for line in benches if line.run.label == room_networks("tiny")):
        folder = line.run.folder(workspace.records)
        folder.mkdir(parents=True)
        (folder / "test.json").touch()
        if line.run.seed != 1:
            last_stage(line.run, folder).touch()
    left = {line.cell.name for line in left_of(lines, workspace.records)}
    assert left - {f"bench cascade seed {seed}" for seed in SEEDS} == {"bench cascade@longer seed 1", "room"}


def test_to_be_watched_needs_the_models_of_the_baseline_too(workspace: Workspace) -> None:
    lines = plan(SPRITES, ["liteeval"])
    of_baseline = {line.cell.name for line in lines if line.run.label == "uniform"}
    assert {f"{command} uniform seed 1" for command in ("bench", "curve")} <= of_baseline
    assert not {line.run.label for line in lines} & {"uniform@longer", "uniform@ceiling"}  # nobody asked for them
    for line in lines:
        folder = line.run.folder(workspace.records)
        folder.mkdir(parents=True, exist_ok=True)
        for name in line.files:
            (folder / name).touch()
    assert not left_of(lines, workspace.records)  # what is recorded needs no model
    for online in (line for line in lines if line.command == "online" and line.run.seed in (1, 2)):
        (online.run.folder(workspace.records) / ONLINE_JSON).unlink()
        for run in online.models if online.run.seed == 2 else [online.run]:
            last_stage(run, run.folder(workspace.records)).touch()
    left = {line.cell.name for line in left_of(lines, workspace.records)}
    assert left == {name for name in of_baseline if name.endswith(" 1")} | {f"online liteeval seed {i}" for i in (1, 2)}
    labels = [line.run.label for line in plan(SPRITES, ["liteeval", "uniform"]) if line.command == "bench"]
    assert labels.count("uniform") == len(SEEDS)
    assert not any(line.run.label == "uniform" for line in plan(replace(SPRITES, measures=[]), ["liteeval"]))


def test_the_command_prints_the_plan_and_runs_what_is_left(
    tmp_path: Path, lines: list[Line], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[Sequence[Cell], int]] = []
    revision = "0" * 40
    monkeypatch.setattr(reference, "plan", lambda board, methods, overrides, cache: lines[:2])
    monkeypatch.setattr(jobs, "run_all", lambda cells, number, logs: ran.append((cells, number)) or [cells[1].name])
    monkeypatch.setattr("adavid.environment.git_revision", lambda: revision)
    monkeypatch.setattr("benchmarks.__main__._leaderboard", lambda *_: None)
    words = ["reference", "--jobs", "3", "--results", str(tmp_path)]
    assert main([*words, "--dry-run"]) == 0 and not ran
    assert "0 of 2 recorded; to do: 2" in capsys.readouterr().out
    revision += "-dirty"
    assert main(words) == 2 and not ran
    assert "commit them first" in capsys.readouterr().err
    revision = revision.removesuffix("-dirty")
    assert main(words) == 2
    assert capsys.readouterr().err == "adavid: 1 of 2 failed: bench lstm seed 1; RETRY=1 runs what failed again\n"
    ((cells, number),) = ran
    assert number == 3 and cells[0].words == (
        *lines[0].cell.words,
        *("--data", "sprites", "--profile", "tiny"),
        "--results",
        str(tmp_path),
        "--records",
        "reference",
    )


def test_several_jobs_are_a_command_for_each_method_and_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[Sequence[Cell]] = []
    monkeypatch.setattr(jobs, "run_all", lambda cells, number, logs: ran.append(cells) or [])
    words = ["--method", "all", "--seeds", "0,3", "--jobs", "2", "--split", "val", "recipe.batch_size=8"]
    monkeypatch.setattr("benchmarks.__main__.methods_of", lambda profile: ["cascade", "sofnet"])
    assert main(["bench", *words, "--cache", str(tmp_path)]) == 0
    (cells,) = ran
    assert [cell.apart for cell in cells] == ["sprites tiny 0", "sprites tiny 3"] * 2
    of_run = ("--method", "cascade", "--variant", "", "--data", "sprites", "--profile", "tiny", "--seeds", "3")
    assert cells[1] == Cell(
        "bench cascade on sprites, tiny, seed 3",
        (
            *("bench", "--split", "val", "--no-board", *of_run),
            *("--cache", str(tmp_path), "--wandb", "off", "recipe.batch_size=8"),
        ),
        "sprites tiny 3",
    )
    assert main(["bench", "--method", "tsm, lstm", *words[2:], "--cache", str(tmp_path)]) == 0
    assert [cell.name for cell in ran[1]] == [
        "bench tsm on sprites, tiny, seed 0",
        "bench tsm on sprites, tiny, seed 3",
        "bench lstm on sprites, tiny, seed 0",
        "bench lstm on sprites, tiny, seed 3",
    ]
    assert main(["bench", "--method", "uniform", "--seeds", "0,1", "--jobs", "0"]) == 2
    assert capsys.readouterr().err == "adavid: jobs=0: expected 1 or more\n"
