"""The leaderboard's tables for papers: LaTeX with booktabs."""

from __future__ import annotations

import re

import pandas as pd
from tabulate import LATEX_ESCAPE_RULES

from benchmarks.report import tables
from benchmarks.report.columns import BY_KEY, OF_LINES, by_metric
from benchmarks.report.entries import Place

COLUMNS = tuple(
    BY_KEY[key]
    for key in (
        *("method", "map", "map_low", *OF_LINES[:1], "gflops_per_video", "gflops_close_to_baseline", "frames_used"),
        "speedup_realised_batch1",
    )
)
HEADING = """% Generated from the records under results/ by `make leaderboard FORMAT=latex`.
% Needs \\usepackage{booktabs} and \\usepackage{graphicx}."""


def leaderboard_tables(table: pd.DataFrame) -> str:
    """A table for each place's methods and one for their variants; columns that nothing was measured for are left out.

    Args:
        table: `tables.leaderboard`.
    """
    measured = table[table.origin == tables.MEASURED]
    places = sorted({Place(row.data, row.profile, row.videos) for row in tables.each(measured)})
    parts = [HEADING]
    for place in places:
        rows = tables.rows_of(measured, place)
        for what, some in (("methods", rows[rows.variant == ""]), ("variants", rows[rows.variant != ""])):
            if len(some):
                parts.append(_table(some, place, what))
    return "\n\n".join(parts) + "\n"


def _table(rows: pd.DataFrame, place: Place, what: str) -> str:
    columns = [column for column in by_metric(COLUMNS, rows.metric.iloc[0]) if any(map(column.text, tables.each(rows)))]
    text = pd.DataFrame(
        {column.short or column.title: [column.text(row) for row in tables.each(rows)] for column in columns}
    )
    align = ("left", *("right",) * (text.shape[1] - 1))
    tabular = text.to_markdown(index=False, tablefmt="latex_booktabs", colalign=align, disable_numparse=True)
    caption = _escaped(f"{place.data}, profile {place.profile}: {what}.")
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            r"\resizebox{\linewidth}{!}{%",
            _signs(tabular) + "}",
            r"\end{table}",
        ]
    )


def _escaped(text: str) -> str:
    """What stands for itself, as in the table's cells."""
    return "".join(LATEX_ESCAPE_RULES.get(character, character) for character in text)


def _signs(text: str) -> str:
    """+- and the minus of a number as mathematics has them."""
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", text.replace("+-", r"$\pm$"))
