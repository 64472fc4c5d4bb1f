"""Writes the leaderboard: .csv, .md, .png and .html (one page that loads nothing from elsewhere)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import pandas as pd
from tqdm import tqdm

from adavid.files import write_atomically
from benchmarks.report import charts, tables
from benchmarks.report.columns import ON_PAGE, REPORTED
from benchmarks.report.compare import BASELINE, MEANING
from benchmarks.report.entries import Entry, Place, read_entries
from benchmarks.report.formats import plus_minus
from benchmarks.report.sections import PaperSection, Section, measured_section, paper_sections


def write_leaderboard(results_dir: Path, out_dir: Path | None = None, baseline: str = BASELINE) -> pd.DataFrame:
    """Regenerates leaderboard.csv, .md, .html and .png; the same results give the same bytes.

    Args:
        results_dir: holds reference/, runs/ and reported/.
        out_dir: where the files go; `results_dir` where not given.
        baseline: the method whose operating points are the equal-cost reference.

    Returns:
        The table, as `tables.leaderboard` gives it.

    Raises:
        ValueError: there are no results, or a file among them is damaged.
    """
    results_dir, out_dir = Path(results_dir), Path(out_dir or results_dir)
    entries = read_entries(results_dir)
    table = tables.leaderboard(entries, tables.read_reported(results_dir))
    if table.empty:
        raise ValueError(f"{results_dir}: expected results, found none; run a benchmark first")

    by_place: dict[Place, list[Entry]] = {}
    for entry in entries:
        by_place.setdefault(entry.place, []).append(entry)
    places = sorted(by_place, key=lambda place: (-len(by_place[place]), place))
    sections = [measured_section(by_place[place], table, baseline) for place in tqdm(places, desc="leaderboard")]
    papers = paper_sections(table)
    specs: dict[str, alt.TopLevelMixin] = {}
    for section in sections:
        specs |= section.charts
    specs |= {paper.name: paper.chart for paper in papers if paper.chart is not None}

    csv = tables.rounded(table).to_csv(index=False, lineterminator="\n")
    write_atomically(out_dir / "leaderboard.csv", csv)
    write_atomically(out_dir / "leaderboard.md", _markdown(table, places))
    write_atomically(out_dir / "leaderboard.png", charts.to_png(next(iter(specs.values()))))
    write_atomically(out_dir / "leaderboard.html", _html(sections, papers, specs, baseline))
    return table


def _markdown(table: pd.DataFrame, places: Sequence[Place]) -> str:
    parts = ["# Leaderboard", "Generated from the records under `results/` by `make leaderboard`."]
    if places:
        parts += ["![mAP over GFLOPs per video](leaderboard.png)", "## Measured", MEANING]
    for place in places:
        rows = tables.rows_of(table, place)
        parts.append(f"### {place.data}, profile {place.profile}, videos {place.videos}")
        parts += [tables.measured_table(rows, "pipe"), *tables.caveats(rows)]
    papers = table[table.origin == REPORTED]
    if len(papers):
        parts += ["## Reported in papers", "Each by its own recipe and accounting: context, not competitors."]
    for data in sorted(set(papers.data)):
        parts += [f"### {data}", tables.reported_table(papers[papers.data == data])]
    return "\n\n".join(parts) + "\n"


def _html(
    sections: Sequence[Section],
    papers: Sequence[PaperSection],
    specs: dict[str, alt.TopLevelMixin],
    baseline: str,
) -> str:
    import vl_convert as vlc

    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html.j2")
    bundle = vlc.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=charts.vegalite_version())
    return template.render(
        sections=sections,
        papers=papers,
        baseline=baseline,
        meaning=plus_minus(MEANING),
        columns=ON_PAGE,
        bundle=bundle.replace("</script", "<\\/script"),
        specs=_json({name: chart.to_dict() for name, chart in specs.items()}),
    )


def _json(content: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(content, sort_keys=True, allow_nan=False).replace("</", "<\\/")
