"""The papers' tables and figures beside what is measured, for reading: results/papers.md, and a section of the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from adavid.files import write_atomically
from benchmarks.report.entries import Entry, read_entries
from benchmarks.report.papers import Exhibit, Reported, exhibits
from benchmarks.report.papers_measured import (
    AGREES,
    BOTH_WAYS,
    DISAGREES,
    NO_ORDER,
    NOT_COMPARABLE,
    UNDECIDED,
    UNMEASURED,
    Boards,
    Outcome,
    name_of,
    outcomes,
)
from benchmarks.report.papers_tables import Table, tables_of

PAPERS_MD = "papers.md"
MEANING = (
    "Printed numbers are those of results/reported. An order is of two rows of an exhibit. It agrees where the paired "
    "difference of mAP of what stands for them here lies on the printed side of 0 with its whole 95 % interval, over "
    "seeds and videos; it disagrees where the interval lies on the other side, and else is undecided. That of costs "
    "agrees where all seeds lie on the printed side. Small networks on other videos cannot give the papers' numbers: "
    "what can agree is the order. A command makes the paper's own row, on its data."
)
VERDICTS = (AGREES, DISAGREES, UNDECIDED, BOTH_WAYS, NO_ORDER, NOT_COMPARABLE, UNMEASURED)


class Shown(NamedTuple):
    """An exhibit for reading."""

    exhibit: Exhibit
    outcomes: list[Outcome]
    tables: list[Table]


class PapersSection(NamedTuple):
    """What the page shows of all exhibits.

    Attributes:
        places: where it is measured, in words.
        meaning: how to read them.
        summary: how many orders agree, by exhibit.
        shown: the exhibits, in the list's order.
    """

    places: str
    meaning: str
    summary: pd.DataFrame
    shown: list[Shown]


def papers_section(entries: Sequence[Entry], results_dir: Path) -> PapersSection:
    """Every table and figure of the papers beside the committed entries.

    Args:
        entries: those that are not committed are left out.
        results_dir: holds reported/ and the cost table.
    """
    boards, reported = Boards(entries), Reported(results_dir)
    shown = []
    for exhibit in exhibits():
        found = outcomes(exhibit, boards, reported)
        shown.append(Shown(exhibit, found, tables_of(exhibit, found, boards, reported, results_dir)))
    return PapersSection(_places(boards), MEANING, summary(shown, [name_of(place) for place in boards.places]), shown)


def _places(boards: Boards) -> str:
    """'sprites/tiny (2,000 videos of the test split), ...'."""
    firsts = [(place, boards.at(place)[0].first) for place in boards.places]
    return ", ".join(
        f"{name_of(place)} ({first.data_info.num_videos:,} videos of the {first.split} split)"
        for place, first in firsts
    )


def summary(shown: Sequence[Shown], places: Sequence[str]) -> pd.DataFrame:
    """How many orders of each exhibit agree, of accuracy or time in each place, and of cost; and of all together."""
    everything = [outcome for of in shown for outcome in of.outcomes]
    rows = []
    for title, found in [*((of.exhibit.title, of.outcomes) for of in shown if of.outcomes), ("all", everything)]:
        by_place = {place: _counts([of.verdict for of in found if of.place == place]) for place in places}
        cost = _counts([of.cost_verdict for of in found if of.cost_verdict])
        nowhere = _counts([of.verdict for of in found if not of.place])
        rows.append({"exhibit": title, **by_place, "cost, everywhere": cost, "measured nowhere": nowhere})
    return pd.DataFrame(rows)


def _counts(verdicts: Sequence[str]) -> str:
    """'4 agree, 2 disagree, 1 undecided'."""
    counts = Counter(verdicts)
    plural = {AGREES: "agree", DISAGREES: "disagree"}
    return ", ".join(f"{counts[verdict]} {plural.get(verdict, verdict)}" for verdict in VERDICTS if counts[verdict])


def write_papers(results_dir: Path) -> str:
    """Writes papers.md from the committed records; the same results give the same bytes.

    Returns:
        its text.

    Raises:
        ValueError: a file among the results, or the list of exhibits, is damaged.
    """
    results_dir = Path(results_dir)
    text = papers_page(papers_section(read_entries(results_dir), results_dir))
    write_atomically(results_dir / PAPERS_MD, text)
    return text


def papers_page(section: PapersSection) -> str:
    """papers.md."""
    parts = [
        "# The papers' tables and figures, and what is measured here",
        "Generated from results/reported and from the committed records under results/reference by `make papers`.",
        f"Measured on {section.places or 'nothing yet'}.",
        section.meaning,
        _markdown(section.summary),
    ]
    paper = ""
    for exhibit, _, tables in section.shown:
        if exhibit.paper != paper:
            paper = exhibit.paper
            parts.append(f"## {paper}")
        parts += [f"### {exhibit.title}", f"Shows {exhibit.shows}."]
        for table in tables:
            parts += [f"{table.title}:", _markdown(table.rows)]
        if "strips" in exhibit.measured:
            parts.append("Measured: the strips of each method on the page, results/leaderboard.html.")
        if exhibit.commands:
            parts.append("With profile=paper: " + ", ".join(f"`{command}`" for command in exhibit.commands) + ".")
        if exhibit.note:
            parts.append(f"Note: {exhibit.note}")
    return "\n\n".join(parts) + "\n"


def _markdown(table: pd.DataFrame) -> str:
    text = table.map(lambda cell: str(cell).replace("|", "\\|"))
    return text.to_markdown(index=False, disable_numparse=True)
