"""Whether methods come in the same order on several boards; how much faster they are."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmarks.report.markdown import committed, with_tables
from benchmarks.report.ranks import correlation
from tests.benchmarks.toys import ACTIONS, add, add_latency

# Of ten methods, d the differences of their ranks: 1 - 6 sum(d^2) / (n (n^2 - 1)).
RISING = [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10]
SWAPPED = [20.0, 10, 30, 40, 50, 60, 70, 80, 100, 90]


def test_the_correlation_in_closed_form() -> None:
    same, other = correlation(RISING, [x**3 for x in RISING]), correlation(RISING, [-x for x in RISING])
    assert tuple(same) == pytest.approx((1, 1, 1, 10)) and tuple(other) == pytest.approx((-1, -1, -1, 10))
    swapped = correlation(RISING, SWAPPED)
    assert swapped.value == pytest.approx(1 - 6 * 4 / (10 * 99)) and swapped.low < swapped.value < swapped.high <= 1
    assert str(swapped).startswith("+0.98 [+0.") and str(swapped).endswith(", 10 methods")


def test_few_methods_leave_the_order_open() -> None:
    few = correlation(RISING[:5], SWAPPED[:5])
    assert few.value == pytest.approx(0.9) and few.low < 0.2


def test_methods_are_ranked_on_every_board_and_those_that_lack_one_left_out(tmp_path: Path) -> None:
    accuracy = {"uniform": (0.9, 0.6), "lstm": (0.8, 0.9), "arnet": (0.6, 0.75), "sofnet": (0.4, 0.4)}
    for method, on_board in accuracy.items():
        for data, share in zip(("toys", "real"), on_board, strict=True):
            add(tmp_path, method, data=data, accuracy=share, actions=("64",) if method == "uniform" else ACTIONS)
    add(tmp_path, "tsm", data="toys")
    add(tmp_path, "lstm", data="toys", variant="last", accuracy=1.0)
    text = "<!-- table: ranks of toys/tiny real/tiny -->\n<!-- end of table -->"
    lines = with_tables(text, partial(committed, tmp_path), "page.md").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    (head, _, *methods, _, _, of_map, _) = cells
    assert head[:3] == ["method", "mAP %, toys/tiny", "mAP %, real/tiny"]
    assert [row[0] for row in methods[:4]] == ["`uniform`", "`lstm`", "`arnet`", "`sofnet`"]
    assert [row[1][-3:] for row in methods[:4]] == ["(1)", "(2)", "(3)", "(4)"]
    assert [row[2][-3:] for row in methods[:4]] == ["(3)", "(1)", "(2)", "(4)"]
    assert of_map[0] == "mAP %" and of_map[1].startswith(f"{1 - 6 * (4 + 1 + 1) / (4 * 15):+.2f} [")
    with pytest.raises(ValueError, match="expected committed records of sprites"):
        with_tables(text.replace("toys", "sprites"), partial(committed, tmp_path), "page.md")


def test_speed_ups_at_each_batch_size_and_of_both_at_their_best(tmp_path: Path) -> None:
    add_latency(add(tmp_path, "sharp", actions=ACTIONS))
    add(tmp_path, "blunt")  # not timed
    text = "<!-- table: times of toys/tiny -->\n<!-- end of table -->"
    made = with_tables(text, partial(committed, tmp_path), "page.md")
    row = next(line for line in made.splitlines() if "sharp" in line)
    assert [cell.strip() for cell in row.split("|")[2:-1]] == ["2.00x", "1.50x", "1.50x", "5.00", "1.80x"]
    assert "blunt" not in made
