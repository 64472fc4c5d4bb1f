"""Every table and figure of the papers: none is missing, its commands compose, its orders are judged."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from adavid.config import nearest
from benchmarks.compose import compose
from benchmarks.layers import ROOT, catalogue
from benchmarks.report import write_papers
from benchmarks.report.entries import read_entries
from benchmarks.report.papers import CATALOGUED, Claim, Exhibit, Reported, Row, exhibits, exhibits_of, words_of_data
from benchmarks.report.papers_measured import AGREES, DISAGREES, NO_ORDER, UNDECIDED, UNMEASURED, Boards, outcomes
from benchmarks.report.papers_tables import commands_of, tables_of
from benchmarks.report.ratios import CLOSE, SEEN, ratios_by_class
from benchmarks.report.tables import read_reported
from benchmarks.run import Run
from tests.benchmarks.toys import ACTIONS, add, add_latency, add_online

RESULTS = Path(__file__).parents[2] / "results"
OF_PAPERS = {
    "AR-Net (ECCV 2020)": [
        *(f"Table {number}" for number in range(1, 7)),
        *(f"Figure {number}" for number in range(1, 5)),
        *(f"Supplementary Table {number}" for number in range(1, 4)),
        *(f"Supplementary Figure {number}" for number in range(1, 5)),
    ],
    "LiteEval (IJCV 2021)": [*(f"Table {number}" for number in range(1, 11)), *(f"Figure {i}" for i in range(1, 6))],
    "SoF-Net (WACV 2023)": [*(f"Table {number}" for number in range(1, 6)), *(f"Figure {i}" for i in range(1, 5))],
    "AdaFocus (ICCV 2021)": ["Appendix A", "Appendix B.1", "Appendix B.2"],
}
HEADER = "method,variant,backbone,data,num_frames,map,top1,gflops_per_frame,gflops_per_video,ms_per_video,source,note\n"


def test_no_table_and_no_figure_is_left_out() -> None:
    listed = {(exhibit.paper, exhibit.name) for exhibit in exhibits()}
    assert listed >= {(paper, name) for paper, names in OF_PAPERS.items() for name in names}
    assert len(listed) == len(exhibits())


def test_every_transcribed_row_stands_in_the_exhibits_that_its_source_names() -> None:
    by_title = {(exhibit.paper, exhibit.name): exhibit for exhibit in exhibits()}
    papers = {exhibit.paper for exhibit in exhibits() if exhibit.paper != "AdaFocusV2 (CVPR 2022)"}
    reported = read_reported(RESULTS)
    assert reported is not None
    lost = []
    for printed in reported.fillna({"variant": "", "backbone": ""}).itertuples():
        publication, names = exhibits_of(str(printed.source))
        for name in names if publication in papers else ():
            rows = by_title[publication, name].rows.values()
            if sum(row.prints(printed.method, printed.variant, printed.backbone) for row in rows) != 1:
                lost.append((publication, name, printed.method, printed.variant, printed.backbone))
    assert not lost


def test_every_row_that_a_paper_prints_is_found() -> None:
    reported = Reported(RESULTS)
    missing = [
        (exhibit.title, name)
        for exhibit in exhibits()
        for name, row in exhibit.rows.items()
        if row.reported and not reported.of(exhibit, row)
    ]
    assert not missing
    for exhibit in exhibits():  # what is printed beside scores is of a row of its exhibit
        assert {of.row for of in reported.quantities(exhibit)} <= set(exhibit.rows), exhibit.title


def test_sources_name_their_exhibits() -> None:
    several = "AR-Net (ECCV 2020), Tables 1, 5 (alpha=0.1 beta=0.3), Figure 3 (plot script), supplementary Table 3"
    assert exhibits_of(several) == (
        "AR-Net (ECCV 2020)",
        {"Table 1", "Table 5", "Figure 3", "Supplementary Table 3"},
    )
    assert exhibits_of("AdaFocus (ICCV 2021), README Figure 5") == ("AdaFocus (ICCV 2021)", {"README Figure 5"})
    assert exhibits_of("AR-Net, repository README") == ("AR-Net, repository README", set())


@pytest.fixture()
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets whose lists are not there: all but the videos is composed and checked."""
    monkeypatch.setattr(Run, "catalogue", SimpleNamespace(num_classes=200, fingerprint="00000000"))


@pytest.mark.slow  # every network of the papers is built, without weights
@pytest.mark.parametrize("paper", dict.fromkeys(exhibit.paper for exhibit in exhibits()))
def test_every_command_of_the_paper_composes(paper: str, anywhere: None) -> None:
    reported, lines = Reported(RESULTS), set[str]()
    for exhibit in (exhibit for exhibit in exhibits() if exhibit.paper == paper):
        for row in exhibit.rows.values():
            lines |= {row.make(of.data) for of in reported.of(exhibit, row)} if row.run else set()
            lines |= {row.make("activitynet")} if row.run and not row.reported and not exhibit.commands else set()
        lines |= {command for command in exhibit.commands if "PROFILE=paper" in command}
    for line in sorted(lines):
        words = dict(word.split("=", 1) for word in line.partition(" ARGS=")[0].split()[2:])
        args = line.partition(' ARGS="')[2].rstrip('"').split()
        run = compose(
            words["METHOD"], words["DATA"], words["PROFILE"], words.get("VARIANT", ""), [*args, "data.path=/videos"]
        )
        assert run.config["curve"] or not line.startswith("make curve"), line


def test_settings_are_those_that_are_printed(anywhere: None) -> None:
    checked = 0
    for exhibit in exhibits():
        for name, settings in exhibit.settings.items():
            method, _, data = name.partition(" on ")
            config = compose(method, data, "paper", overrides=["data.path=/videos"]).config
            stages = {stage["name"]: stage for stage in config["stages"]}
            for key, value in settings.items():
                section, part, *rest = key.split(".")
                found = stages[part] if section == "stages" else config[section][part]
                if rest and rest[0] == "segments":
                    found = found[rest.pop(0)]
                found = found[rest.pop(0)] if rest else found
                assert (found[".".join(rest)] if rest else found) == value, f"{exhibit.title}: {name}: {key}"
                checked += 1
    assert checked > 20


def reported_in(results: Path, *rows: str) -> Reported:
    """What papers print: rows of method,variant,map,gflops,ms of 'Toys (ICCV 2026), Table 1' on data set real."""
    lines = []
    for row in rows:
        method, variant, score, gflops, ms = row.split(",")
        lines.append(f'{method},{variant},,real,,{score},,,{gflops},{ms},"Toys (ICCV 2026), Table 1",\n')
    (results / "reported").mkdir(exist_ok=True)
    (results / "reported" / "toys.csv").write_text(HEADER + "".join(lines))
    return Reported(results)


def exhibit_of(*claims: Claim) -> Exhibit:
    rows = {
        "AR-Net": Row(reported="arnet/*", run="arnet"),
        "Uniform": Row(reported="uniform/*", run="uniform"),
        "LSTM": Row(reported="lstm", run="lstm"),
        "IDT": Row(reported="idt", why_not="no network"),
    }
    return Exhibit("Toys (ICCV 2026)", "Table 1", "an order", rows, claims)


def test_an_order_agrees_where_the_interval_lies_on_the_printed_side(tmp_path: Path) -> None:
    for seed in range(3):
        add(tmp_path, "arnet", seed=seed, accuracy=0.9, gflops=2.0, actions=ACTIONS)
        add(tmp_path, "uniform", seed=seed, accuracy=0.4, gflops=4.0)
        add(tmp_path, "lstm", seed=seed, accuracy=0.9, gflops=4.0)
    claims = [Claim("AR-Net", "Uniform"), Claim("Uniform", "AR-Net"), Claim("AR-Net", "LSTM"), Claim("AR-Net", "IDT")]
    boards = Boards(read_entries(tmp_path))
    printed = reported_in(tmp_path, "arnet,,70,10,", "uniform,,60,20,", "lstm,,70,20,", "idt,,50,,")
    above, below, equal, quoted = outcomes(exhibit_of(*claims), boards, printed)
    assert (above.verdict, above.printed, above.place) == (AGREES, "+10.0 (real)", "toys/tiny")
    assert (above.printed_cost, above.cost, above.cost_verdict) == ("0.50x (real)", "0.50x", AGREES)
    assert below.verdict == AGREES and below.cost_verdict == AGREES  # the same order, said the other way round
    assert equal.verdict == NO_ORDER and equal.cost_verdict == AGREES
    assert (quoted.verdict, quoted.place, quoted.note) == (UNMEASURED, "", "no network")
    printed = reported_in(tmp_path, "arnet,,60,20,", "uniform,,70,10,", "lstm,,69,20,", "idt,,50,,")
    above, below, unlike, _ = outcomes(exhibit_of(*claims), boards, printed)
    assert (above.verdict, above.cost_verdict, below.verdict) == (DISAGREES, DISAGREES, DISAGREES)
    assert unlike.verdict == UNDECIDED  # both are right about nine of ten videos


def test_points_beside_a_curve_at_equal_cost(tmp_path: Path) -> None:
    """Printed: 64 at a cost of 15, where the hull from (10, 60) to (20, 66) has 63; no hull reaches the point of 30."""
    add(tmp_path, "arnet", accuracy=0.9, gflops=3.0, actions=ACTIONS)
    for point, gflops, accuracy in (("test", 4.0, 0.6), ("curve-num_frames=2", 2.0, 0.2)):
        set_to = {"num_frames": int(gflops)}
        add(tmp_path, "uniform", point=point, accuracy=accuracy, gflops=gflops, operating_point=set_to)
    printed = reported_in(tmp_path, "arnet,,64,15,", "arnet,b,90,30,", "uniform,,60,10,", "uniform,b,66,20,")
    exhibit = exhibit_of(Claim("AR-Net", "Uniform", at="equal cost"))
    (outcome,) = outcomes(exhibit, Boards(read_entries(tmp_path)), printed)
    assert outcome.printed == "+1.0 (real)" and outcome.cost == "1.00x" and outcome.verdict in (AGREES, UNDECIDED)


def test_the_clock_and_the_answers_along_the_videos(tmp_path: Path) -> None:
    record = add(tmp_path, "arnet", actions=ACTIONS)
    add_latency(record)
    add_online(record, max_close=2, top1=0.5)
    printed = reported_in(tmp_path, "arnet,,64,15,50", "uniform,,60,10,100")
    claims = [
        Claim("AR-Net", "Uniform", at="the clock", batch=16),
        Claim("AR-Net", "Uniform-K", at="fixed K", by="uniform-k", printed="above, in words"),
    ]
    clock, first, second = outcomes(exhibit_of(*claims), Boards(read_entries(tmp_path)), printed)
    assert clock.printed == "2.00x (real)" and clock.claim == "AR-Net faster than Uniform, batch 16"
    assert (clock.here, clock.verdict, clock.cost) == ("1.50x [1.00x, 2.00x]", UNDECIDED, "0.50x")
    assert [of.claim for of in (first, second)] == ["AR-Net above Uniform-K, K = 1", "AR-Net above Uniform-K, K = 2"]
    assert first.printed == "above, in words" and first.verdict == UNDECIDED and first.cost == "0.50x"


def test_ratios_by_class_in_closed_form(tmp_path: Path) -> None:
    add(tmp_path, "arnet", actions=ACTIONS)
    (entry,) = read_entries(tmp_path)
    table = ratios_by_class(entry)
    by_class = entry.first.usage.by_class
    for row in table.to_dict("records"):
        close, low, _ = by_class[row["class"]]  # of 64 and of 32 pixels, and skipped
        assert row[SEEN] == pytest.approx(close + low)
        assert row[CLOSE] == pytest.approx(close / (close + low) if close + low else 0)
    assert list(table[CLOSE]) == sorted(table[CLOSE], reverse=True)


def test_a_list_that_names_what_there_is_not_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "papers.yaml"
    path.write_text("exhibits:\n- {paper: P, exhibit: Table 1, shows: it, rows: {A: {run: arnet}}, claims: [[A, B]]}\n")
    with pytest.raises(ValueError, match=r"Table 1: claims: row 'B'.*there is A|Table 1: claims: row 'B'"):
        exhibits(path)
    path.write_text("exhibits:\n- {paper: P, exhibit: Table 1, shows: it, rows: {A: {run: arnett}}}\n")
    with pytest.raises(ValueError, match=nearest("arnett", ["arnet"])):
        exhibits(path)


def test_the_page_of_the_papers_names_every_exhibit_and_gives_the_same_bytes(tmp_path: Path) -> None:
    add_online(add(tmp_path, "liteeval", actions=("fine", "coarse"), sizes=(64, 32)), max_close=2, top1=0.5)
    add(tmp_path, "uniform")
    for name in ("reported", "flops.csv"):
        (tmp_path / name).symlink_to(RESULTS / name)
    text = write_papers(tmp_path)
    assert (tmp_path / "papers.md").read_text() == text == write_papers(tmp_path)
    assert all(f"### {exhibit.title}" in text for exhibit in exhibits())
    assert "not implemented" not in text.lower() and "Until the K-th fine feature: liteeval on toys/tiny" in text
    methods = {row.run.partition("@")[0] for exhibit in exhibits() for row in exhibit.rows.values()}
    assert methods >= {"arnet", "liteeval", "sofnet", "adafocus", "adafocus_plus", "adafocus_tsm", "tsm_plus"}


def test_further_tables_are_of_a_known_kind(tmp_path: Path) -> None:
    exhibit = Exhibit("Toys (ICCV 2026)", "Table 1", "it", measured=["useage"])
    with pytest.raises(ValueError, match="measured: 'useage'.*usage"):
        tables_of(exhibit, [], Boards([]), Reported(tmp_path), tmp_path)
    assert CATALOGUED["something_v1"] == ("something", "data.version=v1")


def test_commands_name_data_sets_that_there_are() -> None:
    row, settings = Row(run="arnet"), {"arnet on something": {"stages.joint.epochs": 1}, "sofnet on fcvid": {}}
    of_settings = Exhibit("Toys (ICCV 2026)", "Table 1", "settings", {"AR-Net": row}, settings=settings)
    assert (
        commands_of(row, [], of_settings)
        == "`make bench METHOD=arnet DATA=something PROFILE=paper ROOT=/path/to/something`"
    )
    reported = Reported(ROOT / "results")
    printed = {of.data for exhibit in exhibits() for row in exhibit.rows.values() for of in reported.of(exhibit, row)}
    assert {"mini_kinetics", "something_v1"} < printed
    for data in printed:
        name = re.fullmatch(r'DATA=(\w+)(?: ARGS="data\.version=v1")?', words_of_data(data))
        assert name and name[1] in catalogue("datamodules"), data


def test_no_measurement_is_counted_twice_by_the_clock() -> None:
    for exhibit in exhibits():
        timed = [(claim.of, claim.batch) for claim in exhibit.claims if claim.at == "the clock"]
        assert len(set(timed)) == len(timed), exhibit.exhibit


@pytest.mark.parametrize("row", [row for of in exhibits() for row in of.rows.values() if "patch_size=" in row.why_not])
def test_patches_that_stand_for_the_papers_differ_as_these_do(row: Row) -> None:
    here = int(re.findall(r"patch_size=(\d+)", row.why_not)[0])
    ours = compose(row.run, overrides=[f"model.patch_size={here}"])  # can be had
    theirs, base = (compose(row.run, profile="paper", overrides=words) for words in ([row.args], []))
    share = theirs.config["model"]["patch_size"] / base.config["model"]["patch_size"]
    assert here == pytest.approx(share * compose(row.run).config["model"]["patch_size"], rel=0.15)
    assert ours.config["model"]["patch_size"] == here
