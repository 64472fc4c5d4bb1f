"""The page in a real browser: no errors, what it offers, wide and narrow screens, light and dark."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.layers import ROOT
from benchmarks.report import write_leaderboard
from tests.benchmarks.browser import CHROMIUM, Page, browser
from tests.benchmarks.toys import ACTIONS, add, add_latency, add_online, add_strips

COMMITTED = ROOT / "results" / "leaderboard.html"
MAX_BYTES = 5e6
METHODS = (("uniform", 8.0, 0.9), ("arnet", 2.0, 0.8), ("frame_exit", 3.0, 0.85), ("sofnet", 4.0, 0.7))
needs_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two places, with all that there can be of AR-Net."""
    results = tmp_path_factory.mktemp("results")
    for method, gflops, accuracy in METHODS:
        actions = ("64",) if method == "uniform" else ACTIONS
        folder = add(results, method, gflops=gflops, accuracy=accuracy, actions=actions)
        point = {"num_frames": 2}
        add(results, method, point="curve-num_frames=2", gflops=gflops / 2, accuracy=0.6, operating_point=point)
        if method == "arnet":
            add(results, method, point="shuffled", gflops=gflops, accuracy=0.5, actions=actions)
            add(results, method, variant="acc", gflops=gflops, accuracy=0.6, actions=actions)
            add_online(folder, max_close=2, top1=0.5)
            add_latency(folder)
            add_strips(folder, ACTIONS)
    half = {"trainer": {"precision": "bf16-mixed"}}
    add(results, "arnet", config=half, config_hash="bfbfbfbfbf", gflops=2.0, root="runs")
    add(results, "uniform", data="others")
    reported = results / "reported"
    reported.mkdir()
    (reported / "paper.csv").write_text(
        "method,variant,backbone,data,num_frames,map,top1,gflops_per_frame,gflops_per_video,ms_per_video,source,note\n"
        "arnet,,ResNet-50,toys,16,73.8,,,33.47,,A paper (2020),a < b\n"
        "tsm,1 clip,ResNet-50,toys,16,70.1,,,65.0,,A paper (2020),\n"
        "other,,ResNet-50,toys,16,71.1,,,20.0,,A paper (2020),conflict: 70 with 3 clips\n"
    )
    write_leaderboard(results)
    return results / "leaderboard.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


def rows_of(page: Page) -> list[str]:
    """The methods that the first table shows, in order, and its groups."""
    found: list[str] = page.run(
        "[...document.querySelector('table.board').tBodies[0].rows].filter(row => row.checkVisibility())"
        ".map(row => row.querySelector('a')?.textContent ?? row.dataset.group)"
    )
    return found


def click(page: Page, selector: str) -> None:
    page.run(f"document.querySelector({selector!r}).click()")


def opened(page: Page) -> None:
    """All that is folded is open, all charts in view are drawn."""
    page.run("document.querySelectorAll('.view:not([hidden]) details.card').forEach(of => { of.open = true; })")
    in_view = "of.checkVisibility() && of.getBoundingClientRect().top < innerHeight"
    charts = f"[...document.querySelectorAll('.chart')].filter(of => {in_view})"
    page.wait(f"{charts}.every(of => of.querySelector('svg'))")


def fitting_tabs(page: Page, width: int) -> list[str]:
    """All tabs, each of which was opened and is no wider than that: the window itself grows with what is too wide."""
    tabs: list[str] = page.run("[...document.querySelectorAll('nav a[data-view]')].map(tab => tab.hash)")
    for tab in tabs:
        page.run(f"location.hash = {tab!r}")
        page.wait(f"!document.querySelector({tab!r}).hidden")
        opened(page)
        assert page.run("document.documentElement.scrollWidth") <= width, tab
    return tabs


@needs_a_browser
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_has_no_errors(made: Path, page: Page, width: int, scheme: str) -> None:
    page.open(made, width=width, height=6000, scheme=scheme)
    tabs = fitting_tabs(page, width)
    assert tabs[2:] == ["#exhibits", "#reported", "#reading"] and len(tabs) == 5
    assert page.errors == []
    ground = page.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) > 3 * 128) == (scheme == "light")


@needs_a_browser
def test_tables_are_sorted_searched_grouped_and_unfolded(made: Path, page: Page) -> None:
    page.open(made)
    assert rows_of(page) == ["offline", "frame_exit", "online", "arnet", "sofnet", "reference", "uniform"]
    click(page, "[data-ungroup]")
    assert rows_of(page) == ["uniform", "frame_exit", "arnet", "sofnet"] or rows_of(page)[0] == "frame_exit"
    click(page, "th[data-key=gflops_per_video]")
    assert rows_of(page) == ["uniform", "sofnet", "frame_exit", "arnet"]  # the dearest first
    click(page, "th[data-key=gflops_per_video]")
    assert rows_of(page) == ["arnet", "frame_exit", "sofnet", "uniform"]
    click(page, ".fold")
    assert rows_of(page)[:2] == ["arnet", "arnet@acc"]
    page.run(
        "const box = document.querySelector('[data-filter]'); box.value = 'EXIT'; box.dispatchEvent(new Event('input'))"
    )
    assert rows_of(page) == ["frame_exit"]
    page.run("box.value = ''; box.dispatchEvent(new Event('input'))")
    click(page, "[data-group=reference][data-group-of]")
    assert "uniform" not in rows_of(page)
    is_shown = "document.querySelector('th[data-key=top1]').checkVisibility()"
    assert not page.run(is_shown)
    click(page, "input[data-column=top1]")
    assert page.run(is_shown)
    assert page.errors == []


@needs_a_browser
def test_a_link_opens_what_it_names(made: Path, page: Page) -> None:
    page.open(made)
    section = page.run("document.querySelector('.view').id")
    shown = "document.getElementById({!r})?.checkVisibility() && document.querySelectorAll('.found').length == 1"
    for what in ("arnet-acc", "arnet--vs-uniform", "arnet--decisions", "arnet--decisions-1"):
        page.open(made, f"#{section}--{what}")
        assert page.run(shown.format(f"{section}--{what}")), what
    page.wait("document.querySelectorAll('.of-method .chart svg').length > 0")
    assert page.run("document.querySelectorAll('.strip .frame').length") == 4
    page.open(made, "#reported-toys")
    assert page.run(shown.format("reported-toys"))
    groups = page.run("[...document.querySelectorAll('#reported tr.group')].map(row => row.dataset.group)")
    assert groups == ["views: not said", "views: 1 clip"]
    assert page.errors == []


@needs_a_browser
@pytest.mark.parametrize("width", [1400, 400])
def test_a_row_that_a_link_names_is_what_one_sees(page: Page, width: int) -> None:
    """Once the charts above it are drawn, and not under the table's head."""
    box = "document.querySelector('tr.found td.name')?.getBoundingClientRect()"
    at_its_middle = "document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2)"
    is_seen = f"(box => box !== undefined && Boolean({at_its_middle}?.closest('tr.found')))({box})"
    rests = "document.querySelectorAll('.view:not([hidden]) .chart[data-drawn]').length > 0"
    page.open(COMMITTED, width=width, height=900)
    section = page.run("document.querySelector('.view:not([hidden])').id")
    page.run(f"document.querySelector('.answers a[href=\"#{section}--sofnet\"]').click()")
    page.wait(rests)
    time.sleep(0.5)  # for what moves it once more
    assert page.run(is_seen), "by a click"
    page.open(COMMITTED, f"#{section}--sofnet", width=width, height=900)
    page.wait(rests)
    time.sleep(0.5)
    assert page.run(is_seen), "by its address"


@needs_a_browser
def test_names_are_left_to_a_touch_on_a_narrow_screen(made: Path, page: Page) -> None:
    texts = "[...document.querySelectorAll('.view:not([hidden]) .chart text')]"
    names = f"{texts}.filter(of => of.textContent == 'frame_exit').length"
    for width, number in ((1400, 1), (400, 0)):
        page.open(made, width=width, height=3000)
        page.wait("document.querySelector('.chart svg') !== null")
        assert page.run(names) == number
    page.run("var box = document.querySelector('[class*=main_marks] path').getBoundingClientRect()")
    middle = page.run("[box.x + box.width / 2, box.y + box.height / 2]")
    touch = [{"x": middle[0] + 4, "y": middle[1] + 4}]
    page.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=touch)
    page.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    page.wait("document.querySelector('#vg-tooltip-element.visible') !== null")
    said = page.run("document.querySelector('#vg-tooltip-element').textContent")
    assert re.search("GFLOPs.video", said) and "undefined" not in said and any(name in said for name, *_ in METHODS)


@needs_a_browser
def test_rows_of_other_precision_stand_apart(made: Path) -> None:
    text = made.read_text()
    assert text.count("In other precision: bf16-mixed, a machine") == 1
    main, _, other = text.partition("In other precision")
    assert "(local)" not in main.partition("<tbody>")[2].partition("</tbody>")[0]
    assert "local</span>" in other.partition("</tbody>")[0]


def test_the_committed_page_is_small() -> None:
    assert COMMITTED.stat().st_size < MAX_BYTES


@needs_a_browser
def test_the_committed_page_fits_on_a_phone(page: Page) -> None:
    page.open(COMMITTED, width=400, height=3000)
    assert len(fitting_tabs(page, 400)) > 3


@needs_a_browser
@pytest.mark.parametrize("axis", ["log", "linear"])
def test_names_do_not_overlap_on_the_committed_page(page: Page, axis: str) -> None:
    page.open(COMMITTED, width=1400, height=3000)
    for tab in page.run("[...document.querySelectorAll('nav a[data-view]')].map(tab => tab.hash)")[:-3]:
        page.run(f"location.hash = {tab!r}")
        page.wait(f"document.querySelector('{tab} .chart svg') !== null")
        page.run(f"delete document.querySelector('{tab} .chart').dataset.drawn")
        page.run(f"document.querySelector('{tab} [data-axis={axis}]').click()")
        page.wait(f"document.querySelector('{tab} .chart').dataset.drawn === ''")
        box = (
            "const box = of.getBoundingClientRect(); return [box.left, box.top, box.right, box.bottom, of.textContent]"
        )
        texts = f"[...document.querySelectorAll('{tab} .chart [class*=labels_marks] text')]"
        names = page.run(f"{texts}.map(of => {{ {box}; }})")
        assert len(names) > 5
        for i, (left, top, right, bottom, name) in enumerate(names):
            over = [
                n
                for a, b, c, d, n in names[:i]
                if min(right, c) - max(left, a) > 1 and min(bottom, d) - max(top, b) > 2
            ]
            assert not over, f"{tab}, {axis}: {name} stands over {over}"
