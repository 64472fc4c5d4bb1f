"""Writes the leaderboard: .csv, .md, .png, .svg and .html (one page that loads nothing from elsewhere)."""

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
from benchmarks.layers import BASELINE, references
from benchmarks.report import charts, tables
from benchmarks.report.approaches import MODES
from benchmarks.report.columns import AT_FIRST, ON_PAGE
from benchmarks.report.compare import MEANING, with_comparisons
from benchmarks.report.course import MEANING as OF_COURSES
from benchmarks.report.entries import Entry, Place, read_entries
from benchmarks.report.formats import plus_minus
from benchmarks.report.markdown import MACHINES, leaderboard_page
from benchmarks.report.papers_text import PapersSection, papers_section
from benchmarks.report.room import MEANING as ORACLES
from benchmarks.report.sections import PaperSection, Section, measured_section, paper_sections


def write_leaderboard(results_dir: Path, out_dir: Path | None = None) -> pd.DataFrame:
    """Regenerates leaderboard.csv, .md, .html, .png and .svg; the same results give the same bytes.

    Args:
        results_dir: holds reference/, runs/ and reported/.
        out_dir: where the files go; `results_dir` where not given.

    Returns:
        The table, as `tables.leaderboard` gives it.

    Raises:
        ValueError: there are no results, or a file among them is damaged.
    """
    results_dir, out_dir = Path(results_dir), Path(out_dir or results_dir)
    entries = with_comparisons(read_entries(results_dir))
    table = tables.leaderboard(entries, tables.read_reported(results_dir))
    if table.empty:
        raise ValueError(f"{results_dir}: expected results, found none; run a benchmark first")

    by_place: dict[Place, list[Entry]] = {}
    for entry in entries:
        by_place.setdefault(entry.place, []).append(entry)
    places = sorted(by_place, key=lambda place: (-len(by_place[place]), place))
    sections = [measured_section(by_place[place], table) for place in tqdm(places, desc="leaderboard")]
    papers = paper_sections(table)
    specs: dict[str, alt.TopLevelMixin] = {}
    for section in sections:
        specs |= section.charts
    specs |= {paper.name: paper.chart for paper in papers if paper.chart is not None}

    first = next(iter(specs.values()))
    csv = tables.rounded(table).to_csv(index=False, lineterminator="\n")
    write_atomically(out_dir / "leaderboard.csv", csv)
    write_atomically(out_dir / "leaderboard.md", leaderboard_page(table, {place: by_place[place] for place in places}))
    write_atomically(out_dir / "leaderboard.png", charts.to_png(first))
    write_atomically(out_dir / "leaderboard.svg", charts.to_svg(first))
    write_atomically(out_dir / "leaderboard.html", _html(sections, papers, papers_section(entries, results_dir), specs))
    return table


def _html(
    sections: Sequence[Section],
    papers: Sequence[PaperSection],
    exhibits: PapersSection,
    specs: dict[str, alt.TopLevelMixin],
) -> str:
    import vl_convert as vlc

    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html.j2")
    bundle = vlc.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=charts.vegalite_version())
    decisions = [decisions for section in sections for decisions in section.decisions]
    strips = {of.anchor: [of.examples.videos, of.examples.legend] for of in decisions if of.examples is not None}
    return template.render(
        sections=sections,
        papers=papers,
        exhibits=exhibits,
        baseline=BASELINE,
        lines=references(),
        machines=MACHINES,
        meaning=plus_minus(MEANING),
        oracles=ORACLES,
        of_courses=OF_COURSES,
        columns=ON_PAGE,
        at_first=AT_FIRST,
        modes=MODES,
        labels_from=charts.LABELLED_WIDTHS[0],
        bundle=bundle.replace("</script", "<\\/script"),
        specs=_json({name: _short(chart.to_dict()) for name, chart in specs.items()}),
        strips=_json(strips),
        pictures=_json({name: uri for section in sections for name, uri in section.pictures.items()}),
    )


def _json(content: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")


def _short(content: Any) -> Any:
    """The same with numbers to six significant digits: more than a screen has."""
    if isinstance(content, float):
        return float(f"{content:.6g}")
    if isinstance(content, list):
        return [_short(item) for item in content]
    return {key: _short(value) for key, value in content.items()} if isinstance(content, dict) else content
