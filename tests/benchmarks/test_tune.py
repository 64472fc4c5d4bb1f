"""Tuning: what may be searched, which points are tried, that killing changes nothing, and what a trial leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from adavid.evaluation.schema import read_json, to_json, write_json
from adavid.training import Diverged
from benchmarks import trial as trial_module
from benchmarks import tune as tune_module
from benchmarks.__main__ import main
from benchmarks.compose import compose, data_name, layers_of
from benchmarks.jobs import Cell
from benchmarks.layers import ROOT, merge, method_files, methods_of
from benchmarks.measure.flops import network_price
from benchmarks.models import folder_of
from benchmarks.report.tuning import Trial, num_trials, read_trials, tuning_file, write_trials
from benchmarks.run import Run
from benchmarks.search import NothingToSearch, as_yaml, ends, points, present, search_space
from benchmarks.trial import Outcome, Request, attempt
from benchmarks.tune import Study, Tuning, studies, tune, words_of
from benchmarks.workspace import Workspace
from tests.adavid.data.videos import write_video
from tests.conftest import COPIES

LR, ALPHA = "stages.joint.lr", "model.alpha"
OF_ARNET = {ALPHA: {"low": 0.01, "high": 0.3, "log": True}, LR: {"low": 0.001, "high": 0.01, "log": True}}
WORDS = [
    *("recipe.batch_size=4", "recipe.num_frames=4", "recipe.warmup=null", "stages.further.epochs=1"),
    *("data.num_workers=0", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "results", tmp_path / "results" / "runs", tmp_path / "cache")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for split, num in (("train", 4), ("val", 2), ("test", 1)):
        for name in ("cat", "dog"):
            for i in range(num):
                path = root / split / name / f"{i}.mp4"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_video(path, num_frames=8, width=64, height=64, crf=str(18 + i), preset="ultrafast")
    return root


# The search space


@pytest.fixture(scope="module")
def arnet() -> Run:
    return compose("arnet")


def test_a_space_is_of_the_settings_types(arnet: Run) -> None:
    axes = {"model.hidden": {"low": 16, "high": 128}, "model.normalize": {"choices": [True, False]}, **OF_ARNET}
    space = search_space(replace(arnet, search={**axes, "stages.finetune.lr": None}))
    assert [type(axis).__name__ for axis in space.values()] == [
        *("IntDistribution", "CategoricalDistribution", "FloatDistribution", "FloatDistribution")
    ]
    assert present(arnet, space) == {
        **{"model.hidden": "64", "model.normalize": "true"},
        **{ALPHA: str(arnet.config["model"]["alpha"]), LR: str(arnet.config["stages"][0]["lr"])},
    }
    low, high = ends(space)
    assert list(low.values()) == ["16", "true", "0.01", "0.001"] and list(high.values()) == [
        "128",
        "false",
        "0.3",
        "0.01",
    ]


MISTAKES: dict[str, tuple[Any, str]] = {
    "model.alhpa": ({"low": 0.1, "high": 0.2}, "search.model.alhpa is unknown; did you mean 'model.alpha'?"),
    "stages.join.lr": ({"low": 0.1, "high": 0.2}, "search.stages.join.lr is unknown; did you mean 'stages.joint.lr'?"),
    "recipe.dropout": ({"low": 0.1, "high": 0.2}, "search.recipe.dropout is unknown; did you mean 'model.dropout'?"),
    "stages.joint.train": ({"choices": [1, 2]}, "search.stages.joint.train is unknown"),
    "stages.joint.epochs": ({"low": 1, "high": 2}, "search.stages.joint.epochs: training budgets are equal by rule"),
    "model.alpha": ({"lwo": 0.1, "high": 0.2}, "search.model.alpha.lwo is unknown; did you mean 'low'?"),
    "model.alpha ": (0.1, "search.model.alpha: expected {low: , high: } or {choices: []}, got 0.1"),
    "model.alpha  ": ({"low": 0.01}, "search.model.alpha: expected low and high, or choices"),
    "model.beta": ({"low": 0.1, "high": 0.2, "choices": [0.3]}, "search.model.beta: expected low and high, or choices"),
    "model.beta ": ({"low": 0.4, "high": 0.2}, "search.model.beta: expected low below high, got 0.4 and 0.2"),
    "model.beta  ": ({"low": 0.0, "high": 1.0, "log": True}, "search.model.beta: expected a positive low of a log"),
    "model.beta   ": ({"low": 0.4, "high": 1.0}, "search.model.beta: expected a range around what it is now, 0.3, got"),
    "model.beta    ": ({"low": "x", "high": 1.0}, "search.model.beta.low: "),
    "model.beta     ": ({"choices": [0.3]}, "search.model.beta: expected two plain values or more, each once"),
    "model.beta      ": ({"choices": [0.1, 0.2]}, "search.model.beta: expected what it is now, 0.3, among the choices"),
    "model.hidden": ({"low": 0.5, "high": 128}, "search.model.hidden: expected whole numbers, got 0.5 and 128"),
    "model.lookahead": ({"low": 1, "high": 2}, "search.model.lookahead is unknown"),  # of evaluation alone
    "model.normalize": ({"low": 0, "high": 1}, "search.model.normalize: a range is for numbers, it is True; expected"),
    "model.estimator": ({"low": 0, "high": 1}, "search.model.estimator: a range is for numbers"),
}


@pytest.mark.parametrize("key", MISTAKES)
def test_a_mistake_in_a_space_is_answered_in_one_line(key: str, arnet: Run) -> None:
    values, expected = MISTAKES[key]
    with pytest.raises(ValueError) as caught:
        search_space(replace(arnet, search={key.strip(): values}))
    assert str(caught.value).startswith(expected) and "\n" not in str(caught.value)


def test_a_method_without_a_space_says_so() -> None:
    assert not any(compose(name, profile="paper").search for name in ("arnet", "uniform"))  # the papers' values
    with pytest.raises(
        NothingToSearch, match="^uniform: its YAML states no `search` in profile paper, nothing to tune"
    ):
        search_space(compose("uniform", profile="paper"))


def test_a_space_is_no_part_of_a_run(arnet: Run) -> None:
    assert set(arnet.search) == {ALPHA, LR} and "search" not in arnet.config
    with pytest.raises(ValueError, match="^search: stands in a method's YAML, not on the command line$"):
        compose("arnet", overrides=["search.model.alpha.low=0.1"])


@pytest.mark.parametrize("name", methods_of("tiny"))
def test_the_methods_of_the_catalogue_search_as_many_settings(name: str) -> None:
    run = compose(name)
    if run.search:  # what has no settings of its own is not tuned
        space = search_space(run)
        assert len(space) == 2
        for key, text in {**ends(space)[0], **ends(space)[1]}.items():
            assert text != present(run, space)[key], f"{key}: what it is now lies at the end of its range"


@pytest.mark.slow
@pytest.mark.parametrize("name", methods_of("tiny"))
def test_the_ends_of_the_catalogues_spaces_can_be_run(name: str) -> None:
    if compose(name).search:
        for corner in ends(search_space(compose(name))):
            compose(name, overrides=words_of(corner))


def test_the_points_are_spread_evenly_and_more_of_them_begin_with_the_same(arnet: Run) -> None:
    space = search_space(replace(arnet, search=OF_ARNET | {"model.normalize": {"choices": [True, False]}}))
    seven, sixteen = points(space, 5, 7), points(space, 5, 16)
    assert sixteen[:7] == seven and points(space, 6, 7) != seven
    for key in (ALPHA, LR):
        low, high = OF_ARNET[key]["low"], OF_ARNET[key]["high"]
        values = [float(point[key]) for point in sixteen]
        assert all(low <= value <= high for value in values)
        assert all(len(re.sub(r"^0\.0*|e.*", "", point[key])) <= 3 for point in sixteen)  # short enough for a YAML
        assert sum(value < (low * high) ** 0.5 for value in values) == 8  # even in the logarithm
    assert sorted(point["model.normalize"] for point in sixteen) == ["false"] * 8 + ["true"] * 8


def test_equal_axes_get_equal_points() -> None:
    of = {name: points(search_space(compose(name)), 5, 3) for name in ("uniform", "lstm")}
    assert of["uniform"] == of["lstm"]


# The files


def a_trial(number: int, objective: float | None = None, **changes: Any) -> Trial:
    numbers = {"val_map": 80.0, "gflops_per_video": 0.1, "objective": objective, "train_gmacs": 5.0}
    numbers = numbers if objective is not None else {}
    settings = {ALPHA: "0.06", LR: "1e-05"}
    own = {"state": "complete" if numbers else "failed", "settings": settings, "seconds": 1.0, **numbers}
    return Trial(**{"number": number, "revision": "abc", "study": "12345678", **own, **changes})


def test_trials_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tuning_file(tmp_path, "sprites", "tiny", "arnet")
    assert num_trials(tmp_path, "sprites", "tiny", "arnet") == 0
    trials = [a_trial(2, 70.0), a_trial(0), a_trial(1, 1 / 3)]
    write_trials(file, trials)
    assert file == tmp_path / "tuning" / "sprites" / "tiny" / "arnet.csv"
    assert read_trials(file) == sorted(trials, key=lambda trial: trial.number)
    assert num_trials(tmp_path, "sprites", "tiny", "arnet") == 3
    first, *_ = file.read_text().splitlines()
    names = "val_map,gflops_per_video,objective,train_gmacs,seconds,revision,study"
    assert first == f"number,state,model.alpha,stages.joint.lr,{names}"


BROKEN = {
    "a number": (",70.0,", ",much,", "line 3: objective: "),
    "a state": ("complete", "done", "line 3: state: "),
    "a number too few": (",70.0,", ",,", "line 3: Value error, trial 1: expected numbers where it is complete"),
    "a trial twice": ("\n1,", "\n0,", "expected each trial once"),
    "a column": ("seconds", "secs", "line 2: secs: Extra inputs|line 2: seconds: Field required"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_named_in_one_line(fault: str, tmp_path: Path) -> None:
    old, new, expected = BROKEN[fault]
    write_trials(tmp_path / "a.csv", [a_trial(0), a_trial(1, 70.0)])
    (tmp_path / "a.csv").write_text((tmp_path / "a.csv").read_text().replace(old, new))
    with pytest.raises(ValueError, match=rf"^{tmp_path}/a\.csv[:,] ({expected})") as caught:
        read_trials(tmp_path / "a.csv")
    assert "\n" not in str(caught.value)


def test_the_committed_trials_are_as_many_for_every_method() -> None:
    files = sorted((ROOT / "results" / "tuning").rglob("*.csv"))
    if not files:
        pytest.skip("none are committed")
    for folder in {file.parent for file in files}:
        numbers = {file.stem: len(read_trials(file)) for file in files if file.parent == folder}
        assert len(set(numbers.values())) == 1 and min(numbers.values()) >= 8, numbers
        board = ROOT / "results" / "reference" / folder.relative_to(ROOT / "results" / "tuning")
        recorded = {of.name.partition("@")[0] for of in board.glob("*/")}
        searched = {
            name
            for name in methods_of(folder.name)
            if merge(layers_of(method_files(name), "sprites", folder.name))["search"]
        }
        assert recorded & searched <= set(numbers) <= searched  # a board, and its tuning, may be made step by step


@pytest.mark.parametrize("file", sorted((ROOT / "results" / "tuning").rglob("*.csv")), ids=lambda file: file.stem)
def test_the_best_of_the_committed_trials_stands_in_the_yaml(file: Path) -> None:
    data, copy = file.parents[1].name, COPIES.get(file.parents[1].name)
    if copy is not None and not copy.exists():
        pytest.skip(f"needs a copy of {data}")
    run = compose(file.stem, data, file.parent.name, overrides=[] if copy is None else [f"data.path={copy}"])
    complete = [trial for trial in read_trials(file) if trial.objective is not None]
    best = max(complete, key=lambda trial: trial.objective or 0.0)
    assert present(run, search_space(run)) == best.settings


# Studies


def attained(number: int) -> Outcome:
    """Trial 2 diverges, trial 3 is the best."""
    if number == 2:
        return Outcome(state="failed", seconds=1.0, reason="stage 'joint' diverged")
    numbers = {"val_map": 60.0 + 5 * (number == 3), "gflops_per_video": 0.01, "train_gmacs": 5.0}
    return Outcome(state="complete", seconds=1.0, **numbers)


class Stub:
    """Stands for the processes; `kill_after` so many trials."""

    def __init__(self, kill_after: int = 99) -> None:
        self.kill_after, self.ran = kill_after, list[Cell]()

    def __call__(self, cells: Sequence[Cell], jobs: int, logs: Path, when_done: Callable[[Cell], None]) -> list[str]:
        for i in sorted(range(len(cells)), key=lambda i: i % jobs):  # not in their order
            if len(self.ran) == self.kill_after:
                raise KeyboardInterrupt
            self.ran.append(cells[i])
            write_json(outcome := Path(cells[i].words[-1]), attained(int(outcome.stem)))
            when_done(cells[i])
        return []

    @property
    def settings(self) -> list[dict[str, str]]:
        """What was tried: the last words of each trial's request."""
        return [dict(word.split("=") for word in json.loads(cell.words[1])["overrides"][-2:]) for cell in self.ran]


@pytest.fixture
def study(workspace: Workspace, videos: Path) -> Study:
    words = ["recipe.warmup=null", "data.num_workers=0", "recipe.batch_size=2", "trainer.accelerator=cpu"]
    return Study.of(workspace, "arnet", f"folder:{videos}", "tiny", "", words)


def test_a_killed_tuning_goes_on_to_the_trials_of_an_uninterrupted_one(
    study: Study, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_module, "run_all", whole := Stub())
    said = tune(study, workspace, 5, jobs=1)
    trials = read_trials(study.file)
    assert [trial.settings for trial in trials] == whole.settings and len(trials) == 5
    assert trials[0].settings == study.now and len({trial.study for trial in trials}) == 1
    study.file.unlink()
    monkeypatch.setattr(tune_module, "run_all", Stub(kill_after=2))
    with pytest.raises(KeyboardInterrupt):
        tune(study, workspace, 5, jobs=2)
    assert [trial.number for trial in read_trials(study.file)] == [0, 2]  # a failed one is counted
    monkeypatch.setattr(tune_module, "run_all", rest := Stub())
    assert tune(study, workspace, 5, jobs=2) == said
    assert len(rest.ran) == 3 and read_trials(study.file) == trials
    assert tune(study, workspace, 3, jobs=1) == said and len(rest.ran) == 3  # nothing more to do
    tune(study, workspace, 8, jobs=1)
    assert read_trials(study.file)[:5] == trials and num_trials(workspace.results, study.run.data, "tiny", "arnet") == 8


def test_the_objective_is_map_less_the_price_of_its_share_of_uniforms_cost(
    study: Study, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, num_classes = study.run.recipe, study.run.catalogue.num_classes
    full = recipe.num_frames * network_price(recipe.pyramid[0], num_classes).macs / 1e9
    assert study.full_gflops() == pytest.approx(full)
    monkeypatch.setattr(tune_module, "run_all", Stub())
    tune(study, workspace, 4, jobs=1)
    objectives = [trial.objective for trial in read_trials(study.file)]
    price = Tuning.of_recipe().price
    assert price == 10.0 and objectives[2] is None
    assert objectives[0] == pytest.approx(60 - price * 0.01 / full) and objectives[3] == pytest.approx(
        65 - price * 0.01 / full
    )


def test_the_best_stands_beside_the_present_with_the_lines_that_would_set_it(
    study: Study, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tune_module, "run_all", Stub())
    title, rule, best, now, how, *text = tune(study, workspace, 4, jobs=1).splitlines()
    assert f"{study.run.label} on {study.run.data}, profile tiny: 4 trials, 1 of them diverged, see " in title
    assert rule.startswith("objective: mAP on val - 10 * GFLOPs a video / ")
    best_words = " ".join(words_of(read_trials(study.file)[3].settings))
    assert best.startswith("best:    trial 3, 65.00 mAP on val") and best.endswith(best_words)
    assert now.startswith("present: trial 0, 60.00 mAP on val") and now.endswith(" ".join(words_of(study.now)))
    assert how == "To set the best, in methods/arnet.yaml under profiles.tiny:"
    assert yaml.safe_load("\n".join(text)) == as_yaml(read_trials(study.file)[3].settings)
    assert set(yaml.safe_load("\n".join(text))) == {"model", "stages"}
    settled = replace(study, now=read_trials(study.file)[3].settings)
    assert tune(settled, workspace, 4, jobs=1).endswith("It is what stands in the YAML: there is nothing to change.")
    assert "present: not tried, " in tune(replace(study, now={ALPHA: "0.2"}), workspace, 4, jobs=1)


def test_trials_of_other_settings_are_not_mixed(
    study: Study, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_module, "run_all", Stub())
    tune(study, workspace, 2, jobs=1)
    words = list(study.request.overrides)
    given = (workspace, "arnet", study.request.data, "tiny", "")
    assert tune(Study.of(*given, [*words, "trainer.enable_progress_bar=false"]), workspace, 2, jobs=1)  # incidental
    for other in (
        Study.of(*given, [*words, "model.beta=0.2"]),
        replace(study, tuning=replace(study.tuning, price=1.0)),
        replace(study, space=search_space(replace(study.run, search={LR: OF_ARNET[LR]}))),
    ):
        with pytest.raises(
            ValueError, match=r"arnet\.csv: its trials are of other settings, videos or ranges"
        ) as caught:
            tune(other, workspace, 2, jobs=1)
        assert "\n" not in str(caught.value)


def test_what_the_recipe_says_of_trials_gives_way_to_the_command_line(workspace: Workspace) -> None:
    plain = Study.of(workspace, "uniform", "sprites", "tiny", "", [])
    assert plain.run.seed == plain.tuning.seed not in range(5)
    assert plain.request.overrides == tuple(plain.tuning.overrides) and plain.run.debugging == []
    given = Study.of(workspace, "uniform", "sprites", "tiny", "", ["trainer.limit_train_batches=0.25"])
    assert given.run.config["trainer"]["limit_train_batches"] == 0.25


# Commands


def test_mistakes_of_the_command_get_one_line_and_leave_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    for words, expected in {
        ("--method", "arent"): "method 'arent' is unknown; did you mean 'arnet'?",
        ("--method", "arnet", "--trials", "0"): "trials: expected 1 or more, got 0",
        ("--method", "arnet", "--jobs=-1"): "jobs: expected 1 or more, got -1",
        ("--method", "arnet", "model.alpha=0.1"): "model.alpha: it is searched; give another one",
        ("--method", "arnet", "--profile", "paper"): "arnet: its YAML states no `search` in profile paper",
        ("--method", "arnet", "--data", "folder:/nowhere"): "/nowhere",
    }.items():
        assert main(["tune", *words, *folders]) == 2
        error = capsys.readouterr().err.strip()
        assert expected in error and "\n" not in error
    assert not list(tmp_path.rglob("*"))


def test_among_all_methods_those_without_a_space_are_named_and_left_out(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = Request.run

    def without_lstms(request: Request, *words: str) -> Run:
        run = plain(request, *words)
        return replace(run, search={}) if run.method == "lstm" else run

    monkeypatch.setattr(Request, "run", without_lstms)
    found = studies(workspace, ["uniform", "lstm", "tsm"], "sprites", "tiny", "", [])
    assert [study.run.method for study in found] == ["uniform", "tsm"]
    assert capsys.readouterr().out == "lstm: its YAML states no `search` in profile tiny, nothing to tune\n"


# Processes


def test_a_trial_is_a_command_line(study: Study, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several at a time, the others go on where one fails; what it prints last is what it attained."""
    monkeypatch.setattr(tune_module, "run_all", stub := Stub())
    tune(study, workspace, 2, jobs=1)
    first, second = stub.ran
    command, request, outcome = second.words
    assert (command, first.name, second.name) == ("trial", "arnet trial 0", "arnet trial 1")
    assert Request.model_validate_json(request).overrides[:-2] == study.request.overrides
    assert Path(outcome).is_relative_to(workspace.cache.resolve())
    monkeypatch.setattr(tune_module, "run_all", lambda cells, jobs, logs, when_done: [cells[0].name])
    with pytest.raises(ValueError, match="^1 of 2 failed: arnet trial 2; RETRY=1"):
        tune(study, workspace, 4, jobs=2)
    assert len(read_trials(study.file)) == 2


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"state": "failed", "reason": "stage 'joint' diverged"}, "stage 'joint' diverged\n"),
        ({"state": "complete", "val_map": 60.0, "gflops_per_video": 0.01}, "60.00 mAP on val, 0.01 GFLOPs a video\n"),
    ],
)
def test_a_trial_says_and_writes_what_it_attained(
    numbers: dict[str, Any],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    request = Request(
        method="arnet", data="sprites", profile="tiny", variant="", seed=0, overrides=(), results="", cache=""
    )
    asked: list[Request] = []
    made = Outcome(seconds=1.0, **numbers)
    monkeypatch.setattr(trial_module, "attempt", lambda request: asked.append(request) or made)
    assert main(["trial", request.model_dump_json(), str(tmp_path / "1.json")]) == 0
    assert asked == [request] and read_json(Outcome, tmp_path / "1.json") == made and capsys.readouterr().out == said


# One trial


def a_request(videos: Path, workspace: Workspace, *words: str) -> Request:
    return Request(
        method="uniform", data=f"folder:{videos}", profile="tiny", variant="", seed=0,
        overrides=(*WORDS, *words), results=str(workspace.results), cache=str(workspace.cache),
    )  # fmt: skip


def test_a_trial_that_diverges_has_failed_and_leaves_nothing(
    videos: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(run: Run, workspace: Workspace, dashboard: Any) -> None:
        (folder_of(run, workspace)).mkdir(parents=True)
        raise Diverged("stage 'further' diverged in epoch 1")

    monkeypatch.setattr(trial_module, "validated", diverges)
    outcome = attempt(a_request(videos, workspace, "trainer.limit_train_batches=0.5"))
    assert (outcome.state, outcome.reason, outcome.val_map) == ("failed", "stage 'further' diverged in epoch 1", None)
    assert not [path for path in workspace.cache.rglob("*") if "seed" in path.name] and not workspace.results.exists()
    assert json.loads(to_json(outcome)) == {"state": "failed", "seconds": outcome.seconds, "reason": outcome.reason}


def test_a_backbone_that_diverges_is_no_trials_failure(
    videos: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*arguments: Any) -> None:
        raise Diverged("stage 'segments' diverged")

    monkeypatch.setattr(trial_module, "shared_backbone", diverges)
    request = a_request(videos, workspace)
    words = tuple(word for word in request.overrides if "warmup" not in word)
    with pytest.raises(Diverged):
        attempt(request.model_copy(update={"overrides": words}))


@pytest.mark.slow
def test_tuning_from_the_command_to_its_file(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    words = ["tune", "--method", "uniform", "--data", f"folder:{videos}", "--trials", "2", *folders]
    small = [word for word in WORDS if "warmup" not in word]
    small += ["recipe.warmup.segments.epochs=1"]
    assert main([*words, "--jobs", "2", *small]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    (file,) = (path for path in (tmp_path / "results").rglob("*") if path.is_file())
    assert file == tuning_file(tmp_path / "results", data_name(f"folder:{videos}"), "tiny", "uniform")
    trials = read_trials(file)
    assert [trial.number for trial in trials] == [0, 1] and all(trial.state == "complete" for trial in trials)
    assert trials[0].train_gmacs == trials[1].train_gmacs and "best:    trial " in said
    assert len(list((tmp_path / "cache" / "backbones").rglob("classifier.pt"))) == 1
    assert not [path for path in (tmp_path / "cache").rglob("*.pt") if "backbones" not in path.parts]
    before = file.read_text()
    assert main([*words, *small]) == 0  # nothing is left to do
    assert file.read_text() == before and "trial 0 of 2" not in capsys.readouterr().out


def test_what_only_evaluation_makes_use_of_is_searched_too() -> None:
    run = compose("adaframe")
    assert present(run, search_space(run))["test.mu"] == str(run.config["test"]["mu"])
