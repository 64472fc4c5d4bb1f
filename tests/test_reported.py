"""The transcribed tables: every row is well formed, sourced, and consistent with itself."""

import csv
import re
from pathlib import Path

import pytest

REPORTED = Path(__file__).parents[1] / "results" / "reported"
COSTS = REPORTED / "backbone_costs.csv"
QUANTITIES = REPORTED / "quantities.csv"
FILES = sorted(path for path in REPORTED.glob("*.csv") if path not in (COSTS, QUANTITIES))
COLUMNS = [
    "method", "variant", "backbone", "data", "num_frames", "map", "top1",
    "gflops_per_frame", "gflops_per_video", "ms_per_video", "source", "note",
]  # fmt: skip


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="ascii") as file:
        return list(csv.DictReader(file, strict=True))


def rows() -> list[tuple[str, dict[str, str]]]:
    """Every reported row, labelled for the assertion message."""
    return [(f"{path.name}: {list(row.values())}", row) for path in FILES for row in read(path)]


def test_one_file_per_source() -> None:
    assert {path.stem for path in FILES} >= {"arnet", "liteeval", "sofnet", "adafocus", "others"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_columns_and_keys(path: Path) -> None:
    table = read(path)
    assert table and all(list(row) == COLUMNS for row in table)
    keys = [tuple(row[name] for name in ("method", "variant", "backbone", "data", "source")) for row in table]
    assert len(set(keys)) == len(keys)


def test_names_and_sources() -> None:
    for label, row in rows():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", row["method"]), label
        assert re.fullmatch(r"[a-z][a-z0-9_]*", row["data"]), label
        assert re.fullmatch(r"[\w-]+ \([A-Z]+ \d{4}\).*|AR-Net, repository README", row["source"]), label


def test_scores_are_percentages() -> None:
    for label, row in rows():
        scores = [float(row[name]) for name in ("map", "top1") if row[name]]
        assert scores and all(1 < score <= 100 for score in scores), label  # above 1: not a fraction


def test_costs_are_positive() -> None:
    for label, row in rows():
        assert not row["num_frames"] or int(row["num_frames"]) > 0, label
        for name in ("gflops_per_frame", "gflops_per_video", "ms_per_video"):
            assert not row[name] or float(row[name]) > 0, label
        assert not row["ms_per_video"] or re.search(r"ms on an? |ms on one ", row["note"]), label


def test_cost_per_video_is_cost_per_frame_times_frames() -> None:
    for label, row in rows():
        if not (row["gflops_per_frame"] and row["num_frames"]):
            continue
        num_frames = int(row["num_frames"])
        gap = abs(float(row["gflops_per_frame"]) * num_frames - float(row["gflops_per_video"]))
        # Two decimals per frame and one per video leave this much to rounding; a paper's own slip is noted.
        assert (gap > 0.0051 * num_frames + 0.051) == ("does not equal" in row["note"]), label


def test_backbone_costs() -> None:
    table = read(COSTS)
    assert list(table[0]) == ["network", "resolution", "gflops", "feature_dim", "source"]
    gflops = {(row["network"], int(row["resolution"])): float(row["gflops"]) for row in table}
    assert len(gflops) == len(table) == 11
    assert (
        gflops["ResNet-50", 224] == 4.1103 and gflops["MobileNetV2", 84] == 0.0529 and gflops["DPN-107", 224] == 18.34
    )
    assert all(row["feature_dim"] in ("", "512", "1280", "1536", "2048") and row["source"] for row in table)


def test_quantities_are_numbers_of_a_source_each_once() -> None:
    table = read(QUANTITIES)
    assert table and all(
        list(row) == ["exhibit", "row", "data", "quantity", "value", "spread", "source"] for row in table
    )
    keys = [tuple(row[name] for name in ("source", "exhibit", "row", "data", "quantity")) for row in table]
    assert len(set(keys)) == len(keys)
    for row in table:
        assert float(row["value"]) > 0 and (not row["spread"] or float(row["spread"]) >= 0), row
        assert re.fullmatch(r"[\w-]+ \([A-Z]+ \d{4}\)", row["source"]), row
