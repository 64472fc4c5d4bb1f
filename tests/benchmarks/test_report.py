"""The report on synthetic records, with numbers known in closed form."""

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from adavid.actions import Action, PatchGrid
from adavid.evaluation.stats import paired_difference
from benchmarks.layers import references
from benchmarks.report import compare, console_table, curve_report, write_leaderboard
from benchmarks.report.answers import Answer, answers
from benchmarks.report.approaches import LOOKS, approach_of, mode_of
from benchmarks.report.charts import MARKS, SEEN, UNSEEN, action_colours, tradeoff
from benchmarks.report.compare import comparisons, with_comparisons
from benchmarks.report.entries import Entry, read_entries, series_names
from benchmarks.report.labels import HEIGHT, WIDTH, place
from benchmarks.report.markdown import committed, with_tables
from benchmarks.report.references import Line, baselines, operating_points, unequal_training
from benchmarks.report.tables import curve_points, leaderboard, mean_online_points, pareto_front, read_reported, rounded
from tests.benchmarks.toys import ACTIONS, CLASSES, NUM_FRAMES, NUM_VIDEOS, add, add_latency, add_online, add_strips

REQUIRED = (
    *(
        "method",
        "variant",
        "data",
        "profile",
        "origin",
        "num_seeds",
        "map",
        "map_std",
        "top1",
        "gflops_per_frame",
    ),
    *(
        "gflops_per_video",
        "frames_used",
        "train_gmacs",
        "ms_per_video",
        "speedup_realised",
        "speedup_theoretical",
    ),
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uniform with a curve, and an adaptive method with all there can be; two seeds; one local run."""
    results = tmp_path_factory.mktemp("results")
    for seed in (0, 1):
        add(results, "uniform", seed=seed, gflops=4.0, accuracy=0.8)
        point = {"num_frames": 2}
        add(
            results,
            "uniform",
            seed=seed,
            point="curve-num_frames=2",
            gflops=1.0,
            accuracy=0.5,
            operating_point=point,
        )
        folder = add(results, "sharp", seed=seed, gflops=2.0, accuracy=0.9, actions=ACTIONS)
        add(results, "sharp", seed=seed, point="shuffled", gflops=2.0, accuracy=0.6, actions=ACTIONS)
        point = {"num_frames": 3}
        add(
            results,
            "sharp",
            seed=seed,
            point="curve-num_frames=3",
            gflops=1.5,
            accuracy=0.8,
            operating_point=point,
        )
        add_online(folder, max_close=2 + seed, top1=0.5 + 0.2 * seed)
        if seed == 0:
            add_latency(folder)
            add_strips(folder, ACTIONS)
    add(results, "sharp", root="runs", actions=ACTIONS, gflops=2.0)
    add(results, "sharp", variant="b", actions=ACTIONS, gflops=8.0)
    reported = results / "reported"
    reported.mkdir()
    (reported / "paper.csv").write_text(
        "method,variant,backbone,data,num_frames,map,top1,gflops_per_frame,gflops_per_video,ms_per_video,"
        "source,note\n"
        "sharp,,ResNet-50,toys,16,73.8,,,33.47,,A paper (2020),a < b\n"
        "blunt,,ResNet-50,toys,16,70.1,,,65.0,,A paper (2020),\n"
        "other,,ResNet-50,toys,16,71.1,,,20.0,,A paper (2020),\n"
    )
    (reported / "networks.csv").write_text("network,gflops\nResNet-50,4.1\n")
    return results


@pytest.fixture(scope="module")
def written(results: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    out = tmp_path_factory.mktemp("out")
    return out, write_leaderboard(results, out)


def json_of(out: Path, name: str) -> dict[str, Any]:
    """What the page holds as JSON under a name."""
    page = (out / "leaderboard.html").read_text()
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, flags=re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


specs_of = partial(json_of, name="specs")  # the page's charts, by name


def data_of(spec: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of a chart whose layers share them."""
    (rows,) = spec["datasets"].values()
    return pd.DataFrame(rows)


def table_of(results: Path) -> pd.DataFrame:
    return leaderboard(read_entries(results), read_reported(results))


def test_rows_aggregate_seeds(results: Path) -> None:
    table = table_of(results)
    assert set(REQUIRED) <= set(table.columns)
    maps = [
        json.loads(p.read_text())["metrics"]["map"] for p in results.glob("reference/toys/tiny/sharp/*/*/test.json")
    ]
    row = table[(table.method == "sharp") & (table.record == "reference") & (table.variant == "")].iloc[0]
    assert len(maps) == row.num_seeds == 2
    assert row["map"] == pytest.approx(50 * sum(maps))
    assert row.map_std == pytest.approx(100 * abs(maps[0] - maps[1]) / np.sqrt(2))
    assert row.map_low < row["map"] < row.map_high
    assert row.gflops_per_video == pytest.approx(2.0)
    assert row.gflops_per_frame == pytest.approx(0.5)
    assert row.train_gmacs == pytest.approx(10.5)
    assert (row.ms_per_video, row.ms_per_video_batch1) == (5.0, 9.0)
    assert (row.speedup_realised, row.speedup_theoretical) == (1.5, 2.0)
    own = ("own_baseline", "speedup_realised_own", "speedup_allowed_own", "speedup_theoretical_own")
    for suffix in ("", "_batch1"):
        assert [getattr(row, key + suffix) for key in own] == ["multi_scale", 0.9, 0.7, 3.0]
        assert getattr(row, f"speedup_from_file{suffix}") == 1.3


def test_what_is_not_measured_is_empty(results: Path) -> None:
    table = table_of(results)
    local = table[table.record == "local"].iloc[0]
    assert local.num_seeds == 1 and np.isnan(local.map_std) and np.isnan(local.ms_per_video)
    uniform = table[table.method == "uniform"].iloc[0]
    assert np.isnan(uniform.speedup_realised)
    assert not table.ms_per_video.isna().all()


def test_rows_are_main_points_measured_first(results: Path) -> None:
    table = table_of(results)
    assert list(table.record).count("paper") == 3
    assert list(table.origin) == ["measured"] * 4 + ["reported"] * 3
    assert list(table["map"][:4]) == sorted(table["map"][:4], reverse=True)


def test_pareto_front() -> None:
    points = pd.DataFrame({"gflops_per_video": [1.0, 2.0, 2.0, 3.0, 4.0], "map": [50.0, 60.0, 55.0, 60.0, 61.0]})
    assert list(pareto_front(points).index) == [0, 1, 4]


def test_files(written: tuple[Path, pd.DataFrame]) -> None:
    out, table = written
    read = pd.read_csv(out / "leaderboard.csv")
    assert [*read.columns, "metric"] == list(table.columns) and len(read) == len(table)
    assert read["map"].to_numpy() == pytest.approx(table["map"].to_numpy(), abs=0.005)
    assert Image.open(out / "leaderboard.png").width > 1000
    assert (out / "leaderboard.svg").read_text().startswith("<svg")
    markdown = (out / "leaderboard.md").read_text()
    assert markdown.index("## Measured") < markdown.index("sharp@b") < markdown.index("## Reported in papers")
    assert not list(out.glob(".*"))


def test_page_is_self_contained(written: tuple[Path, pd.DataFrame]) -> None:
    page = (written[0] / "leaderboard.html").read_text()
    own = re.sub(r'<script type="text/plain" id="bundle">.*?</script>', "", page, count=1, flags=re.DOTALL)
    assert "http" not in own.replace("https://vega.github.io/schema/", "")
    assert not re.search(r"<(?:link|img|iframe)\b|\bsrc=|@import|url\((?!\$)", own)
    (picture,) = json_of(written[0], "pictures").values()
    assert picture.startswith("data:image/webp;base64,") and page.count("data:image/") == 1


def test_points_along_the_videos_are_means_of_the_same_seeds(results: Path) -> None:
    (entry,) = [entry for entry in read_entries(results) if entry.online]
    points = mean_online_points(entry.online, "sharp")
    close = points[points.axis == "close"]
    assert list(close.value) == [1, 1, 1, 2, 2, 2]  # one of the two seeds has no 3
    assert list(close.series) == ["sharp", "Uniform-K", "Seq-K"] * 2
    assert list(points[points.axis == "watched"].series) == ["sharp", "uniform"] * 2
    assert set(points.num_seeds) == {2}
    assert points.top1.to_numpy() == pytest.approx(60)
    assert points.top1_std.to_numpy() == pytest.approx(20 / np.sqrt(2))
    assert points["map"].to_numpy() == pytest.approx(30)
    assert list(close.gflops) == [1, 2, 2, 2, 4, 4]


def test_page_shows_what_was_measured_along_the_videos(written: tuple[Path, pd.DataFrame]) -> None:
    charts = {name.partition("-online-")[2]: spec for name, spec in specs_of(written[0]).items() if "-online-" in name}
    assert set(charts) == {"close", "top1", "gflops"}
    assert set(data_of(charts["close"]).series) == {"sharp", "Uniform-K", "Seq-K"}
    assert set(data_of(charts["gflops"]).value) == {0.5, 1.0}
    assert (written[0] / "leaderboard.html").read_text().count("<h4>sharp along the videos</h4>") == 1


def test_page_without_a_frame_seen_closely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    add_online(add(tmp_path, "sharp"), max_close=0, top1=0.5)
    write_leaderboard(tmp_path)
    assert {name.partition("-online-")[2] for name in specs_of(tmp_path)} == {"", "top1", "gflops"}
    assert "Uniform-K" not in (tmp_path / "leaderboard.html").read_text()


def test_page_shows_frames_at_the_highest_resolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    monkeypatch.setattr("benchmarks.report.sections.MAX_BOXES", 2)
    video_N = np.arange(NUM_VIDEOS)
    num_N = video_N % len(CLASSES) + video_N // len(CLASSES) % 2  # cats 0 or 1, dogs 1 or 2, owls 2 or 3
    action_NT = np.where(np.arange(NUM_FRAMES) < num_N[:, None], 0, 1)
    for seed in (0, 1):
        add(tmp_path, "sharp", seed=seed, actions=ACTIONS, action_NT=action_NT)
        add(tmp_path, "uniform", seed=seed)
    write_leaderboard(tmp_path)
    ((name, spec),) = [(name, spec) for name, spec in specs_of(tmp_path).items() if name.endswith("-close")]
    assert "sharp" in name
    rows = data_of(spec).set_index("row")
    assert list(rows.index) == ["owl", "cat"]
    assert list(rows.loc["owl", ["least", "lower", "median", "upper", "most"]]) == [2, 2, 2.5, 3, 3]
    assert list(rows["mean"]) == [2.5, 0.5] and set(rows.num_videos) == {40}
    page = (tmp_path / "leaderboard.html").read_text()
    assert f"1.50 \N{PLUS-MINUS SIGN} {np.sqrt(2 / 3 + 1 / 4):.2f} of 4 frames; 2 of 3 classes" in page


def test_page_shows_where_the_patches_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    grid, actions = PatchGrid(16, 8, 2), ("patch-8", "skip")
    for seed, places in ((0, (0, 0, 3, 4)), (1, (0, 1, 4, 4))):  # 4 is the skip
        action_NT = np.tile(places, (NUM_VIDEOS, 1))
        folder = add(tmp_path, "focused", seed=seed, actions=actions, action_NT=action_NT, grid=grid)
    add_strips(folder, actions, boxes=(grid.box(3), None) * (NUM_FRAMES // 2))
    write_leaderboard(tmp_path)
    specs = specs_of(tmp_path)
    ((_, heat),) = [(name, spec) for name, spec in specs.items() if name.endswith("-where")]
    cells = data_of(heat).set_index(["row", "column"]).share
    assert [cells[0, 0], cells[0, 1], cells[1, 0], cells[1, 1]] == pytest.approx([7 / 12, 1 / 4, 0, 1 / 6], rel=1e-5)
    (boxes,) = [data_of(spec) for name, spec in specs.items() if name.endswith("-close")]
    assert set(boxes["mean"]) == {2.5}  # frames with a patch
    ((videos, _),) = json_of(tmp_path, "strips").values()
    patches = [patch for _, _, patch, _ in videos[0][-1]]
    assert patches == [[50, 50, 50, 50], None] * (NUM_FRAMES // 2)


def test_frames_are_drawn_as_they_were_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    actions = ("whole", "half", "gate", "leave")  # whatever their names
    action_NT = np.tile(np.arange(NUM_FRAMES), (NUM_VIDEOS, 1))
    add_strips(add(tmp_path, "sharp", actions=actions, sizes=(64, 32, 0, 0), action_NT=action_NT), actions)
    add(tmp_path, "uniform", actions=("plain",), sizes=(64,))
    write_leaderboard(tmp_path)
    ((videos, legend),) = json_of(tmp_path, "strips").values()
    looks = {action: (colour, is_seen) for action, colour, is_seen in legend}
    assert [(action, scale, *looks[action]) for action, scale, *_ in videos[0][-1]] == [
        ("whole", 100, SEEN[0], True),
        ("half", 50, SEEN[-1], True),
        ("gate", 100, UNSEEN[0], False),
        ("leave", 100, UNSEEN[-1], False),
    ]
    (usage,) = [spec for name, spec in specs_of(tmp_path).items() if name.endswith("-usage")]
    scale = usage["encoding"]["color"]["scale"]
    colours = dict(zip(scale["domain"], scale["range"], strict=True))
    assert colours["plain"] == colours["whole"] == SEEN[0] and colours["gate"] == UNSEEN[0]


def chart_of(results: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The chart of accuracy against cost: its layers by name, and the rows of each that has some of its own."""
    entries = read_entries(results)
    chart = tradeoff(curve_points(entries, series_names(entries)), "uniform", []).to_dict()
    layers = {layer["name"]: layer for layer in chart["layer"]}
    rows = {
        name: chart["datasets"].get(layer.get("data", chart.get("data", {})).get("name"))
        for name, layer in layers.items()
    }
    return layers, rows


def test_colours_and_shapes_are_of_what_a_method_decides(tmp_path: Path) -> None:
    for i, method in enumerate(("uniform", "tsm", "arnet", "scsampler", "ocsampler", "mine")):
        add(tmp_path, method, gflops=1.0 + i)
    layers, rows = chart_of(tmp_path)
    for channel, look in (("color", 0), ("shape", 1)):
        scale = layers["main"]["encoding"][channel]["scale"]
        found = dict(zip(scale["domain"], scale["range"], strict=True))
        own = {title: value for title, value in found.items() if title not in MARKS}
        assert own == {
            LOOKS[name].title: LOOKS[name][1 + look] for name in ("none", "resolution", "selection", "other")
        }
        assert set(found) - set(own) == set(MARKS) - {"decisions shuffled"}
    assert {row["series"]: row["approach"] for row in rows["labels"]}["mine"] == "not said"
    assert len({look.colour for look in LOOKS.values()}) == len({look.shape for look in LOOKS.values()}) == 8


def test_curves_join_the_points_along_one_setting_by_rising_cost(tmp_path: Path) -> None:
    add(tmp_path, "uniform", gflops=9.0)
    add(tmp_path, "sharp", gflops=4.0)
    for num_frames, gflops, accuracy in ((12, 3.0, 0.4), (4, 1.0, 0.6), (8, 2.0, 0.2)):
        point = {"num_frames": num_frames}
        add(tmp_path, "sharp", point=f"curve-{num_frames}", gflops=gflops, accuracy=accuracy, operating_point=point)
    for size in (32, 64):
        for num_frames in (2, 4, 8):
            point = {"num_frames": num_frames, "size": size}
            name, gflops = f"curve-{num_frames},{size}", size * num_frames / 32 + 0.1 * num_frames
            add(tmp_path, "grid", point=name, gflops=gflops, operating_point=point)
    add(tmp_path, "grid", gflops=7.0)
    for ladder, cost in (
        ("24x4-64x8", 1.0),
        ("24x8-64x8", 1.5),
        ("32x4-64x8", 1.2),
    ):  # names: more of them than numbers
        for threshold in (0.4, 0.6):
            point = {"ladder": ladder, "threshold": threshold}
            name = f"curve-{ladder},{threshold}"
            add(tmp_path, "steps", point=name, gflops=cost + threshold, operating_point=point)
    add(tmp_path, "steps", gflops=1.8, operating_point={"ladder": "24x4-64x8", "threshold": 0.8})
    for ladder, cost in (("24x4", 1.0), ("64x2", 2.0)):
        add(tmp_path, "rungs", point=f"curve-{ladder}", gflops=cost, operating_point={"ladder": ladder})
    add(tmp_path, "rungs", gflops=3.0, operating_point={"ladder": "64x8"})
    lines: dict[str, list[float]] = {}
    for row in chart_of(tmp_path)[1]["lines"]:
        lines.setdefault(row["line"], []).append(row["gflops_per_video"])
    assert lines == {
        "sharp ": [1.0, 2.0, 3.0, 4.0],
        "grid size=32": pytest.approx([2.2, 4.4, 8.8]),
        "grid size=64": pytest.approx([4.2, 8.4, 16.8]),
        "steps ladder=24x4-64x8": pytest.approx([1.4, 1.6, 1.8]),
        "steps ladder=24x8-64x8": pytest.approx([1.9, 2.1]),
        "steps ladder=32x4-64x8": pytest.approx([1.6, 1.8]),
    }


def test_names_stand_beside_their_points_and_on_nothing_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    points = [(x, y) for x, y in rng.uniform(0.3, 0.7, (28, 2))]  # noqa: C416
    names = [f"a_method_{i}" for i in range(len(points))]
    labels = place(points, names, points, (900, 1200), 500)
    for width in (900, 1000, 1200):
        boxes = []
        for (x, y), label, name in zip(points, labels, names, strict=True):
            middle, half = (
                np.array([x * width + label.dx, y * 500 + label.dy]),
                np.array([WIDTH * len(name) / 2, HEIGHT / 2]),
            )
            boxes.append((middle, half))
            assert (middle - half >= 0).all() and (middle + half <= (width, 500)).all()
        for i, (a, half_a) in enumerate(boxes):
            assert all((np.abs(a - b) >= half_a + half_b - 1e-9).any() for b, half_b in boxes[:i])


def test_what_a_method_decides_stands_in_its_yaml_and_makes_its_mode() -> None:
    assert (approach_of("arnet"), approach_of("adafocus_plus"), approach_of("nobodys")) == (
        "resolution",
        "patch",
        "other",
    )
    assert approach_of("frameexit") == "exit"  # as papers' rows call it
    modes = {name: mode_of(name) for name in ("arnet", "frame_exit", "frame_exit_online", "uniform", "cascade", "mine")}
    assert list(modes.values()) == ["online", "offline", "online", "reference", "reference", "offline"]


def test_colours_tell_a_methods_actions_apart() -> None:
    long = [Action(f"skip-{covers}", 0, covers) for covers in (1, 2, 4, 8)]
    other = [Action("64", 64), Action("stay", 0), Action("skip-2", 0, 2)]
    colours = action_colours([other, [*long, Action("64", 64), Action("fine", 64), Action("24", 24)]])
    assert list(colours)[:3] == ["64", "fine", "24"]
    assert (colours["64"], colours["fine"], colours["24"]) == (SEEN[0], SEEN[0], SEEN[-1])
    assert (colours["skip-1"], colours["skip-8"]) == (UNSEEN[0], UNSEEN[-1])
    assert len({colours[action.name] for action in long}) == len(long)


def test_a_class_that_no_video_has_is_said_wherever_the_score_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    add(tmp_path, "sharp", actions=ACTIONS, classes=(*CLASSES, "yak"))
    add(tmp_path, "uniform", classes=(*CLASSES, "yak"))
    add(tmp_path, "sharp", data="others")
    table = write_leaderboard(tmp_path)
    note = "no video of 1 of 4 classes (yak), which score 0: mAP at most 75.00"
    assert table["map"][table.data == "toys"].max() <= 75
    others, toys = console_table(table).split("\n\n")
    assert toys.splitlines()[-1] == f"Note: {note}." and "Note" not in others
    assert (tmp_path / "leaderboard.md").read_text().count(f"\n\nNote: {note}.\n") == 1
    read = pd.read_csv(tmp_path / "leaderboard.csv")
    assert set(read.note[read.data == "toys"]) == {note} and read.note[read.data == "others"].isna().all()
    page = (tmp_path / "leaderboard.html").read_text()
    assert page.count(f"<p>{note}</p>") == 2 and "<dd>yak</dd>" in page
    assert note in compare(tmp_path, "sharp", "uniform", data="toys")


def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    folder = add(tmp_path, "sharp", actions=ACTIONS)
    add_latency(folder)
    add_online(folder, max_close=1, top1=0.5)
    add_strips(folder, ACTIONS)
    write_leaderboard(tmp_path)
    damages: list[tuple[str, bytes | None]] = [("strips/0.jpg", None)]  # gone
    for name in ("test.json", "latency.json", "online.json", "strips.json"):
        whole = (folder / name).read_bytes()
        damages += [(name, whole[: len(whole) // 2]), (name, b'{"version": 1}')]
    for name, content in damages:
        whole = (folder / name).read_bytes()
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"^{re.escape(str(folder / name))}: expected[^\n]*$"):
            write_leaderboard(tmp_path)
        (folder / name).write_bytes(whole)


def test_examples_of_other_actions_are_refused(tmp_path: Path) -> None:
    add_strips(add(tmp_path, "sharp", actions=ACTIONS), ("64", "skip-3"))
    (entry,) = read_entries(tmp_path)
    with pytest.raises(ValueError, match=r"strips.json: action 'skip-3' is unknown; did you mean 'skip-1'"):
        _ = entry.strips


def test_page_keeps_reported_rows_apart(written: tuple[Path, pd.DataFrame]) -> None:
    page = (written[0] / "leaderboard.html").read_text()
    measured, _, papers = page.partition('id="reported"')
    assert "blunt" not in measured.split("<main", 1)[1] and "blunt" in papers
    assert "a &lt; b" in papers
    assert "its own decisions shuffled across videos" in measured and "shuffled" not in papers.split("</section>")[0]


def test_same_results_give_the_same_bytes(
    results: Path, written: tuple[Path, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    write_leaderboard(results, tmp_path)
    for name in ("leaderboard.csv", "leaderboard.md", "leaderboard.html"):
        assert (tmp_path / name).read_bytes() == (written[0] / name).read_bytes()


def test_reported_rows_alone_make_a_page(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    (tmp_path / "reported").symlink_to(results / "reported")
    assert set(write_leaderboard(tmp_path).origin) == {"reported"}


def test_no_results(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected results, found none"):
        write_leaderboard(tmp_path)
    with pytest.raises(ValueError, match="no results: there are some on nothing"):
        compare(tmp_path, "sharp", "uniform")


def test_a_method_that_is_run_as_another_one_is_found(tmp_path: Path) -> None:
    add(tmp_path, "uniform")
    assert compare(tmp_path, "tsn") == compare(tmp_path, "uniform")
    assert "vs uniform: " in compare(tmp_path, "tsn", "uniform")


def test_compare_with_itself_is_zero(results: Path) -> None:
    text = compare(results, "sharp", "sharp")
    assert "vs sharp: +0.00 mAP [+0.00, +0.00], no worse than 1 point, at 1.00x" in text


def test_compare(results: Path) -> None:
    text = compare(results, "sharp:reference", "uniform", data="toys")
    assert "vs cascade at equal cost: not comparable, no results of cascade under its conditions" in text
    lines = re.findall(r"vs (.*): (\S+) mAP \[\S+, \S+\], .*, at (\S+)x .*per seed: (\S+), ([^;\n]+)", text)
    assert [(against, ratio) for against, _, ratio, *_ in lines] == [
        ("uniform", "0.50"),
        ("equal-cost line", "1.00"),
        ("its own decisions shuffled across videos", "1.00"),
    ]
    for _, mean, _, *per_seed in lines:
        assert float(mean) == pytest.approx(np.mean([float(value) for value in per_seed]), abs=0.011)
    assert compare(results, "sharp:reference", data="toys").count("vs uniform") == 1


def test_seeds_that_do_not_match_are_refused_until_they_are_chosen(results: Path) -> None:
    with pytest.raises(ValueError) as error:
        compare(results, "sharp@b", "uniform")
    expected = "sharp@b has seeds 0 and uniform has seeds 0, 1: expected the same; SEEDS=0 compares on those"
    assert str(error.value) == expected
    text = compare(results, "sharp@b", "uniform", seeds=[0])
    assert text.count("one seed: the interval covers videos alone") == 2  # uniform, and the line of its points
    with pytest.raises(ValueError, match="seeds 0, 5: expected some that there are; sharp@b has seeds 0 and"):
        compare(results, "sharp@b", "uniform", seeds=[0, 5])


def test_without_a_reference_seeds_are_matched_and_named(results: Path) -> None:
    text = compare(results, "sharp@b")
    assert re.search(r"vs sharp: .*seeds 0 of both; one seed: the interval covers videos alone", text)
    assert re.search(r"vs uniform: .*seeds 0 of both; one seed", text)


def test_a_claim_has_to_beat_its_papers_baselines_too(tmp_path: Path) -> None:
    for method, gmacs in (("arnet", 100.0), ("uniform", 103.0), ("multi_scale", 80.0)):
        for seed in (0, 1, 2):
            add(tmp_path, method, seed=seed, train_gmacs=gmacs)
    add(tmp_path, "arnet", variant="acc", seed=1)
    (variant,) = [entry for entry in read_entries(tmp_path) if entry.variant]
    against = [comparison.against for comparison in comparisons(variant, read_entries(tmp_path))]
    assert against == ["arnet", "uniform", *references(), "multi_scale"]
    text = compare(tmp_path, "arnet")
    assert re.search(r"vs multi_scale: .*; unequal training: 101 against 81 GMACs$", text, re.M)
    assert re.search(r"vs uniform: [^;]*; per seed: [^;]*$", text, re.M)


def test_unequal_training_is_said_wherever_a_pair_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    add(tmp_path, "arnet", actions=ACTIONS, train_gmacs=8606)
    add(tmp_path, "uniform", train_gmacs=5672)
    write_leaderboard(tmp_path)
    said, pairs = "unequal training: 8,606 against 5,672 GMACs", 2  # uniform, and the line of its points
    assert compare(tmp_path, "arnet").count(said) == compare(tmp_path, "arnet", "uniform").count(said) == pairs
    markdown, page = ((tmp_path / f"leaderboard.{kind}").read_text() for kind in ("md", "html"))
    assert markdown.count(said) == pairs and markdown.count(", unequal training") == 1  # the row's cell
    assert page.count(said) == pairs + 1 and page.count(", unequal training</summary>") == 1
    (row,) = pd.read_csv(tmp_path / "leaderboard.csv").query("method == 'arnet'").itertuples()
    assert said in row.equal_cost_line_notes
    text = "<!-- table: differences of toys/tiny -->\n<!-- end of table -->"
    readme = with_tables(text, partial(committed, tmp_path), "page.md")
    assert readme.count(said) == pairs


def test_what_was_not_trained_here_is_never_called_unequal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    add(tmp_path, "arnet", actions=ACTIONS, train_gmacs=None)
    add(tmp_path, "uniform", train_gmacs=5672)
    said = "not trained here: what training took is not known of both"
    for pair in (("arnet", ""), ("arnet", "uniform"), ("uniform", "arnet")):
        text = compare(tmp_path, *pair)
        assert said in text and "unequal training:" not in text and "nan" not in text
    assert re.search(r"^arnet .* not trained here ", compare(tmp_path, "arnet"), re.M)  # in place of train GMACs
    write_leaderboard(tmp_path)
    markdown, page = ((tmp_path / f"leaderboard.{kind}").read_text() for kind in ("md", "html"))
    assert markdown.count(", not trained here") == 1 and markdown.count("| not trained here |") == 1
    assert said in page and not re.search(r"unequal training: [\d,]+ against", page)
    (row,) = pd.read_csv(tmp_path / "leaderboard.csv").query("method == 'arnet'").itertuples()
    assert np.isnan(row.train_gmacs)


def test_the_budget_rule() -> None:
    assert unequal_training(float("nan"), 100).startswith("not trained here")
    assert unequal_training(8606, 5672) == "unequal training: 8,606 against 5,672 GMACs"
    assert unequal_training(105, 100) == unequal_training(100, 105) == unequal_training(0, 0) == ""
    assert unequal_training(105.1, 100) and unequal_training(100, 105.1) and unequal_training(1, 0)


def line_of_toys(results: Path, *on_val: tuple[float, float], costs: tuple[float, ...]) -> list[Entry]:
    """uniform's points, which cost `costs` on test, and `sharp`; two seeds."""
    for seed in (0, 1):
        for i, (val, gflops) in enumerate(zip(on_val, costs, strict=True)):
            point = "test" if i == 0 else f"curve-num_frames={i}"
            add(results, "uniform", seed=seed, point=point, gflops=gflops, accuracy=0.5 + 0.1 * i, on_val=val)
        add(results, "sharp", seed=seed, gflops=2.0)
    return read_entries(results)


def test_the_line_is_chosen_on_val_and_evaluated_on_test(tmp_path: Path) -> None:
    on_val = ((4.0, 0.9), (1.0, 0.5), (2.0, 0.6), (3.0, 0.95))  # the third is below the hull, the first beyond the best
    entries = line_of_toys(tmp_path, *on_val, costs=(4.0, 1.0, 2.0, 3.5))
    sharp, _ = sorted(entries, key=lambda entry: entry.label)
    line = Line.of(operating_points(entries, sharp, ["uniform"]))
    assert [point.name for point in line.points] == ["curve-num_frames=1", "curve-num_frames=3"]

    mix = line.at(val_gflops=2.0, test_gflops=2.0)
    assert [weight for weight, _ in mix.parts] == pytest.approx([0.6, 0.4])  # .6 of 1 and .4 of 3.5 GFLOPs
    maps = [point.test[1] for point in line.points]
    assert mix.test == pytest.approx((2.0, 0.6 * maps[0] + 0.4 * maps[1]))

    assert mix.train_gmacs == pytest.approx(10.5)  # two points of one model
    for seed in (0, 1):
        add(tmp_path, "cascade", seed=seed, gflops=2.0, accuracy=0.6, on_val=(2.0, 0.8), train_gmacs=30.0)
    both = Line.of(operating_points(read_entries(tmp_path), sharp, ["uniform", "cascade"]))
    assert both.at(1.5, 1.5).train_gmacs == pytest.approx(10.5 + 30.5) and both.at(2.0, 2.0).train_gmacs == 30.5

    (dearest,) = line.at(val_gflops=9.0, test_gflops=9.0).parts
    assert dearest == (1.0, line.points[-1])
    assert [weight for weight, _ in line.at(2.9, 3.6).parts] == [0.0, 1.0]  # no more than all of the dear one
    with pytest.raises(ValueError, match=r"cheaper than its cheapest point \(0.9 against 1 GFLOPs on val\)"):
        line.at(0.9, 0.9)
    with pytest.raises(ValueError, match="no operating point with numbers on val"):
        Line.of([])


def test_the_line_has_the_methods_seeds_or_is_none(tmp_path: Path) -> None:
    line_of_toys(tmp_path, (4.0, 0.9), (1.0, 0.5), costs=(4.0, 1.0))
    add(tmp_path, "uniform", seed=0, point="curve-num_frames=9", gflops=1.5)
    add(tmp_path, "other", seed=5)
    other, sharp, _ = sorted(read_entries(tmp_path), key=lambda entry: entry.label)
    entries = read_entries(tmp_path)
    names = {point.name for point in operating_points(entries, sharp, ["uniform"])}
    assert names == {"test", "curve-num_frames=1"}  # the other one lacks a seed
    assert operating_points(entries, other, ["uniform"]) == []
    assert operating_points(entries, sharp, ["cascade"]) == []
    one_seed = sharp.of_seeds([0])
    assert {point.name for point in operating_points(entries, one_seed, ["uniform"])} == {*names, "curve-num_frames=9"}


def test_what_has_no_numbers_on_val_is_not_compared_at_equal_cost(tmp_path: Path) -> None:
    add(tmp_path, "sharp", on_val=None)
    add(tmp_path, "uniform")
    assert "vs equal-cost line: not comparable, it has no numbers on val" in compare(tmp_path, "sharp")
    add(tmp_path, "sharp")
    add(tmp_path, "uniform", on_val=None)
    assert "vs equal-cost line: not comparable, no operating point with numbers on val" in compare(tmp_path, "sharp")


def test_a_method_that_a_line_does_not_reach_is_called_so(tmp_path: Path) -> None:
    line_of_toys(tmp_path, (4.0, 0.9), (1.0, 0.5), costs=(4.0, 1.0))
    for seed in (0, 1):
        add(tmp_path, "dear", seed=seed, gflops=8.0)
    said = "beyond its end: it costs 2.00x of its last point"
    dear, sharp = (compare(tmp_path, name) for name in ("dear", "sharp"))
    assert f"; {said}" in re.findall(r"vs equal-cost line: .*", dear)[0] and "beyond" not in sharp
    (row,) = leaderboard(with_comparisons(read_entries(tmp_path))).query("method == 'dear'").itertuples()
    assert row.equal_cost_line_notes == said


def test_rows_say_the_difference_at_equal_cost(written: tuple[Path, pd.DataFrame], results: Path) -> None:
    out, table = written
    (entry,) = [e for e in with_comparisons(read_entries(results)) if e.name.startswith("sharp#") and e.root != "local"]
    (line,) = [comparison.difference for comparison in entry.comparisons if comparison.against == "equal-cost line"]
    assert line is not None
    row = table[(table.method == "sharp") & (table.record == "reference") & (table.variant == "")].iloc[0]
    assert row.equal_cost_line == pytest.approx(100 * line.mean)
    assert (row.equal_cost_line_low, row.equal_cost_line_high) == pytest.approx(tuple(100 * b for b in line.interval))
    assert row.equal_cost_line_verdict == line.verdict and np.isnan(row.cascade_at_equal_cost)
    assert np.isnan(table[table.method == "uniform"].equal_cost_line.iloc[0])
    cell = f"{100 * line.mean:+.2f} [{100 * line.interval[0]:+.2f}, {100 * line.interval[1]:+.2f}] {line.verdict}"
    for name in ("leaderboard.md", "leaderboard.html"):
        text = (out / name).read_text()
        assert cell in text and "other seeds of the same distribution, not the same digits" in text
    assert "by seed: " in (out / "leaderboard.html").read_text()


def test_accuracy_by_level_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    for seed in (0, 1):
        folder = add(tmp_path, "sharp", seed=seed, levels=("easy", "hard"))
    write_leaderboard(tmp_path)
    records = [json.loads(path.read_text()) for path in folder.parent.glob("*/test.json")]
    means = [100 * np.mean([record["levels"][i]["accuracy"] for record in records]) for i in range(2)]
    top1 = 100 * np.mean([record["metrics"]["top1"] for record in records])
    cells = [f"{value:.1f}" for value in (*means, top1)]
    markdown = (tmp_path / "leaderboard.md").read_text()
    assert re.search(rf"\| sharp +\| +{cells[0]} \| +{cells[1]} \| +{cells[2]} \|", markdown)
    assert f"easy ({NUM_VIDEOS // 2})" in (tmp_path / "leaderboard.html").read_text()


def test_marked_tables_are_replaced_and_nothing_else(results: Path) -> None:
    entries = partial(committed, results)
    mark = "<!-- table: methods of toys/tiny -->"
    text = f"a\n{mark}\nold\n<!-- end of table -->\nb\n<!-- table: variants of toys/tiny -->\n<!-- end of table -->"
    with pytest.raises(ValueError, match="expected marks of tables among <!-- table: methods -->"):
        with_tables("nothing", entries, "page.md")
    with pytest.raises(ValueError, match="expected committed records of sprites"):  # what a mark without a place is of
        with_tables("<!-- table: methods -->\n<!-- end of table -->", entries, "page.md")
    made = with_tables(text, entries, "page.md")
    assert made.startswith(f"a\n{mark}\n\n| method ") and "old" not in made
    assert with_tables(made, entries, "page.md") == made


@pytest.mark.parametrize(
    ("a", "message"),
    [
        ("shrap", "no results of 'shrap'; did you mean 'sharp'"),
        ("sharp@c", "did you mean 'sharp@b'"),
        ("zzz", "there is sharp, sharp@b, uniform"),
    ],
)
def test_compare_names_the_nearest(results: Path, a: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(results, a, "uniform")


def test_several_configurations_need_a_choice(tmp_path: Path) -> None:
    add(tmp_path, "sharp", config_hash="0123456789")
    add(tmp_path, "sharp")
    with pytest.raises(ValueError, match="sharp#01234567:reference, sharp#abcdef01:reference"):
        compare(tmp_path, "sharp", "sharp")
    assert "+0.00 mAP" in compare(tmp_path, "sharp#0123", "sharp#abcd")


def test_other_videos_are_another_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    add(tmp_path, "sharp", actions=ACTIONS)
    add(tmp_path, "uniform", fingerprint="0e0e0e0e")
    with pytest.raises(ValueError, match="videos f0f0f0f0.*videos 0e0e0e0e.*expected one in common"):
        compare(tmp_path, "sharp", "uniform")
    text = console_table(write_leaderboard(tmp_path))
    assert "videos f0f0f0f0" in text and "videos 0e0e0e0e" in text


def test_the_page_compares_only_under_equal_conditions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"")
    add(tmp_path, "sharp", actions=ACTIONS, config={"recipe": {"batch_size": 16}})
    add(tmp_path, "uniform", config={"recipe": {"batch_size": 99}})
    write_leaderboard(tmp_path)
    assert "no results under its conditions" in page_row(tmp_path, "uniform")
    quiet = {"recipe": {"batch_size": 16}, "trainer": {"enable_progress_bar": False}}  # makes no other conditions
    add(tmp_path, "uniform", config=quiet, config_hash="0123456789")
    write_leaderboard(tmp_path)
    assert "not comparable" not in page_row(tmp_path, "uniform")
    add(tmp_path, "uniform", config={"recipe": {"batch_size": 16}, "model": {"dropout": 1}}, config_hash="0011223344")
    write_leaderboard(tmp_path)
    assert "several configurations under its conditions" in page_row(tmp_path, "uniform")


def page_row(results: Path, against: str) -> str:
    """What the page says of the comparison with a reference."""
    page = (results / "leaderboard.html").read_text()
    (row,) = re.findall(rf"this comparison\">{against}</a></td>\n(.*?)</tr>", page, re.DOTALL)
    return str(row)


def test_of_several_baselines_the_one_of_equal_training_is_taken(tmp_path: Path) -> None:
    add(tmp_path, "sharp", train_gmacs=8.0)
    for gmacs in (7.0, 8.1, 20.0):
        add(tmp_path, "uniform", train_gmacs=gmacs, config_hash=str(gmacs))
    *uniform, sharp = sorted(read_entries(tmp_path), key=lambda entry: (entry.label == "sharp", entry.config_hash))

    def fair(*named: Entry) -> list[float]:
        return [entry.train_gmacs() for entry in baselines(named, sharp, "uniform")]

    assert fair(*uniform) == [8.1]
    assert fair(*(entry for entry in uniform if entry.train_gmacs() == 7)) == [7.0]  # a single one, called unequal


def test_the_warm_up_is_part_of_the_training_that_is_compared(tmp_path: Path) -> None:
    def warmed_up(epochs: int) -> dict[str, Any]:
        return {"recipe": {"batch_size": 16, "warmup": {"segments": {"epochs": epochs}}}}

    add(tmp_path, "sharp", config=warmed_up(4), train_gmacs=100.0)
    add(tmp_path, "uniform", config=warmed_up(5), train_gmacs=101.0)
    assert re.search(r"vs uniform: [^;]*; per seed: [^;]*; one seed: [^;]*$", compare(tmp_path, "sharp"), re.M)
    add(tmp_path, "uniform", config=warmed_up(4), train_gmacs=50.0, config_hash="0123456789")
    assert "unequal training: 100 against 50 GMACs" in compare(tmp_path, "sharp")  # of the two, that with its warm-up


def test_curve(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"png")
    text = curve_report(results, "sharp:reference", out_dir=tmp_path)
    assert "num_frames=3" in text and "equal-cost line" in text and re.search(r" [+-]\d+\.\d\d \[", text)
    assert (tmp_path / "curve-toys-tiny-sharp.png").read_bytes() == b"png"
    with pytest.raises(ValueError, match="expected curve points"):
        curve_report(results, "sharp@b", out_dir=tmp_path)


def test_a_point_of_a_curve_is_compared_on_its_own_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.charts.to_png", lambda chart: b"png")
    line_of_toys(tmp_path, (2.0, 0.9), costs=(2.0,))
    add(tmp_path, "sharp", seed=1, point="curve-k=1", gflops=2.0, accuracy=0.7)
    entries = {entry.label: entry for entry in read_entries(tmp_path)}
    of_seed_1 = paired_difference(entries["sharp"].runs("curve-k=1"), entries["uniform"].of_seeds([1]).runs())
    of_both = paired_difference(entries["sharp"].runs(), entries["uniform"].runs())
    rows = {line.split()[0]: line for line in curve_report(tmp_path, "sharp").splitlines() if line.strip()}
    for row, difference in (("curve-k=1", of_seed_1), ("main", of_both)):
        assert f"{100 * difference.mean:+.2f} [{100 * difference.interval[0]:+.2f}, " in rows[row]
    assert "seeds 1 of both; one seed" in rows["curve-k=1"] and "of both" not in rows["main"]


def test_a_data_set_whose_papers_print_top1_is_sorted_by_it_and_names_it_first(tmp_path: Path) -> None:
    for method, accuracy in (("a", 0.5), ("b", 0.9), ("c", 0.7)):
        folder = add(tmp_path, method, accuracy=accuracy, metric="top1")
        record = json.loads((folder / "test.json").read_text())
        assert record["data_info"]["metric"] == "top1"
        record["metrics"]["map"] = 1 - record["metrics"]["map"]
        (folder / "test.json").write_text(json.dumps(record))
    table = table_of(tmp_path)
    assert table.method.tolist() == ["b", "c", "a"] and table["map"].is_monotonic_increasing
    titles = console_table(table).splitlines()[1]
    assert titles.index("top-1") < titles.index("mAP %")
    assert "metric" not in rounded(table).columns
    add(tmp_path / "others", "a")  # where nobody says it, as in records from before
    titles = console_table(table_of(tmp_path / "others")).splitlines()[1]
    assert titles.index("mAP %") < titles.index("top-1")


def test_console_table(written: tuple[Path, pd.DataFrame]) -> None:
    text = console_table(written[1])
    assert "sharp@b" in text and "blunt" not in text
    assert console_table(written[1], data="nothing") == "no measured results"


def test_entries_know_what_is_adaptive(results: Path) -> None:
    assert {entry.label: entry.is_adaptive for entry in read_entries(results)} == {
        "sharp": True,
        "sharp@b": True,
        "uniform": False,
    }


def test_the_page_answers_what_a_reader_asks_first(tmp_path: Path) -> None:
    add(tmp_path, "uniform", gflops=8.0, accuracy=0.8)
    add(tmp_path, "uniform", point="curve-k=1", gflops=1.0, accuracy=0.1, operating_point={"k": 1})
    folder = add(tmp_path, "arnet", gflops=2.0, accuracy=0.95, actions=ACTIONS)
    add(tmp_path, "sofnet", gflops=7.0, accuracy=0.2, actions=ACTIONS)
    add_latency(folder)
    entries = with_comparisons(read_entries(tmp_path))
    cheapest, line, time = answers(entries, series_names(entries))
    assert cheapest.answer.startswith("arnet, for 2.00 GFLOPs [2.00, 2.00], 0.25x of uniform's cost. Uniform has ")
    assert [named.name for _, of in cheapest.named for named in of] == ["arnet", "uniform"]
    assert line.answer == "1 of 2 is better, 1 worse."
    assert [(verdict, [named.name for named in of]) for verdict, of in line.named] == [
        ("better", ["arnet"]),
        ("worse", ["sofnet"]),
    ]
    assert time.answer == "1 of 1 timed methods is faster than its baseline at batch 1."
    assert time.named[0][1][0].text == "1.50x (networks alone 1.80x, bill 2.00x)"


def test_what_decides_nothing_is_an_answer_too_and_unequal_training_is_marked(tmp_path: Path) -> None:
    def cheapest() -> Answer:
        entries = with_comparisons(read_entries(tmp_path))
        return answers(entries, series_names(entries))[0]

    add(tmp_path, "uniform", gflops=8.0, accuracy=0.8)
    add(tmp_path, "uniform", point="curve-k=1", gflops=1.0, accuracy=0.1, operating_point={"k": 1})
    add(tmp_path, "arnet", variant="plain", gflops=0.5, accuracy=0.95, actions=ACTIONS)  # a variant is no method
    add(tmp_path, "cascade", variant="longer", gflops=2.0, accuracy=0.95, train_gmacs=100.0)
    assert cheapest().answer.startswith(
        "cascade@longer*, for 2.00 GFLOPs [2.00, 2.00], 0.25x of uniform's cost; none of those that decide. Uniform has"
    )
    add(tmp_path, "arnet", gflops=4.0, accuracy=0.95, actions=ACTIONS, train_gmacs=11.0)
    answer = cheapest()
    assert "0.25x of uniform's cost; of those that decide arnet*, for 4.00 GFLOPs [4.00, 4.00], 0.50x" in answer.answer
    assert [(of.name, of.text) for of in answer.named[0][1]][:2] == [
        ("cascade@longer", "2.00 (0.25x)*"),
        ("arnet", "4.00 (0.50x)*"),
    ]
    assert answer.note.endswith("* unequal training: more than 5 % from uniform's.")
    entries = with_comparisons(read_entries(tmp_path))
    line = answers(entries, series_names(entries))[1]
    assert line.named[0][1][0].text.endswith("*") and line.note.startswith("* unequal training")


def test_the_views_of_papers_rows_are_what_a_row_says_of_itself(tmp_path: Path) -> None:
    (tmp_path / "reported").mkdir()
    (tmp_path / "reported" / "paper.csv").write_text(
        "method,variant,data,map,gflops_per_video,source,note\n"
        'a,"T=8, 1 clip",toys,1,1,A paper (2020),\n'
        "b,10 clips of 16 frames,toys,1,1,A paper (2020),\n"
        "c,,toys,1,1,A paper (2020),mean of 3 crops\n"
        "d,,toys,1,1,A paper (2020),conflict: others have 45.6 (1 clip)\n"
    )
    reported = read_reported(tmp_path)
    assert reported is not None and list(reported["views"]) == ["1 clip", "10 clips", "3 crops", ""]
