"""What the documents name exists, and what is generated in them is up to date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adavid.config import load_yaml
from benchmarks.keys import MARK, PAGE, key_tables

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_keys_of_the_configuration_are_those_of_the_code() -> None:
    _, _, generated = PAGE.read_text(encoding="utf-8").partition(MARK)
    assert generated.strip() == key_tables().strip(), "run make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_links_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = {page.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)", text)}
    folders = "benchmarks|datamodules|docs|methods|src/adavid|tests"
    files = {ROOT / name for name in re.findall(rf"\b(?:{folders})/[\w/]+\.(?:py|yaml|md|pyi)\b", text)}
    assert [str(path) for path in sorted(links | files) if not path.exists()] == []


def test_every_module_has_its_room_in_the_plan() -> None:
    plan = ARCHITECTURE[ARCHITECTURE.index("## The rooms") : ARCHITECTURE.index("## A batch")]
    words = set(re.findall(r"\w+", plan))
    modules = [path for folder in ("src/adavid", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    names = {path.parent.name if path.stem == "__init__" else path.stem for path in modules}
    inside = {"report", "data", "networks", "measure"}  # rooms whose modules the plan does not list
    listed = {path.stem for path in modules if path.parent.name not in inside and not path.stem.startswith("__")}
    assert listed <= words, sorted(listed - words)
    assert {"adavid", "data", "networks", "evaluation", "measure", "report"} <= names & words


def test_the_ten_questions_take_two_files_at_most() -> None:
    rows = [
        line.split("|")[1:-1] for line in ARCHITECTURE.splitlines() if line.startswith("| W") or line.startswith("| H")
    ]
    assert len(rows) == 10
    for question, answer, where in rows:
        assert question.strip().endswith("?") and answer.strip()
        files = re.findall(r"`([^`]+)`", where)
        assert 1 <= len(files) <= 2 and all((ROOT / name).exists() for name in files), question


def test_what_the_answers_say_of_adafocus_and_tsm_is_so() -> None:
    adafocus = load_yaml(ROOT / "methods" / "adafocus.yaml")
    assert adafocus.data_sets.minikinetics.profiles.paper.stages.classifier.lr == 0.0005
    assert "num_frames" not in load_yaml(ROOT / "methods" / "tsm.yaml").model
