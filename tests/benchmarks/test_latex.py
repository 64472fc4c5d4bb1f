"""Tables for papers: whole, escaped, and compiled where there is a compiler."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.report import leaderboard_tables
from benchmarks.report.compare import with_comparisons
from benchmarks.report.entries import read_entries
from benchmarks.report.tables import leaderboard
from tests.benchmarks.toys import ACTIONS, add

UNESCAPED = r"(?<!\\)[%#_^~]"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    results = tmp_path_factory.mktemp("results")
    for seed in (0, 1):
        add(results, "frame_exit", seed=seed, gflops=2.0, actions=ACTIONS, data="a_set")
        add(results, "frame_exit", seed=seed, variant="no_exit", gflops=3.0, data="a_set")
        add(results, "uniform", seed=seed, data="a_set")
    return leaderboard_tables(leaderboard(with_comparisons(read_entries(results))))


def test_tables_are_whole_and_escaped(text: str) -> None:
    body = re.sub(r"^%.*|%$", "", text, flags=re.M)  # less comments
    assert body.count("{") == body.count("}") and body.count(r"\begin") == body.count(r"\end") == 4
    assert not re.search(UNESCAPED, body)
    for table in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", body, re.S):
        rows = [line for line in table[1].splitlines() if line.endswith(r"\\")]
        assert len(rows) > 1 and {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(table[0]) - 1}
    assert r"frame\_exit@no\_exit" in body and r"a\_set, profile tiny: methods." in body
    assert re.search(r"\d\.\d\d \$\\pm\$ \d", body) and not re.search(r"[\s\[]-\d", body)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_tables_compile(text: str, tmp_path: Path) -> None:
    packages = r"\usepackage{booktabs}\usepackage{graphicx}"
    (tmp_path / "a.tex").write_text(rf"\documentclass{{article}}{packages}\begin{{document}}{text}\end{{document}}")
    subprocess.run(["pdflatex", "-halt-on-error", "a.tex"], cwd=tmp_path, check=True, capture_output=True)
