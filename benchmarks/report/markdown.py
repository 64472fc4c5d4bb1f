"""The Markdown that is generated: leaderboard.md, and tables of other pages between their marks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import pandas as pd

from adavid.files import write_atomically
from benchmarks.layers import ROOT, catalogue, method_files
from benchmarks.report import tables
from benchmarks.report.columns import BY_KEY, REPORTED
from benchmarks.report.compare import MEANING, Comparison, with_comparisons
from benchmarks.report.course import MEANING as OF_COURSES
from benchmarks.report.course import course_table
from benchmarks.report.entries import REFERENCE, Entry, Place, read_entries, series_names
from benchmarks.report.formats import markdown_table, significant, times
from benchmarks.report.ranks import rank_tables
from benchmarks.report.room import CEILING, shown_room
from benchmarks.report.room import MEANING as ORACLES

MACHINES = (
    "A record is of the machine that it names. Another processor rounds otherwise, and a training then goes another "
    "way: made anew there, the records are other seeds of the same distribution, not the same digits."
)
# <!-- table: NAME -->, of the embedded data set in profile tiny, or <!-- table: NAME of DATA/PROFILE DATA/PROFILE -->
BLOCK = re.compile(r"(<!-- table: (\w+)(?: of (\S+/\S+(?: \S+/\S+)*))? -->\n).*?(<!-- end of table -->)", re.DOTALL)
MARK = "<!-- table: "
EMBEDDED = "sprites/tiny"
PAGES = (ROOT / "README.md", ROOT / "docs" / "sprites.md", ROOT / "docs" / "ucf101.md")
Committed = Callable[[str, str], Sequence[Entry]]  # the committed entries of a data set in a profile


def leaderboard_page(table: pd.DataFrame, by_place: Mapping[Place, Sequence[Entry]]) -> str:
    """leaderboard.md.

    Args:
        table: `tables.leaderboard`.
        by_place: the entries with their comparisons, places in order.
    """
    parts = ["# Leaderboard", "Generated from the records under `results/` by `make leaderboard`."]
    if by_place:
        parts += ["![mAP over GFLOPs per video](leaderboard.png)", "## Measured", MACHINES, MEANING]
    for place, entries in by_place.items():
        rows, names = tables.rows_of(table, place), series_names(entries)
        parts.append(f"### {place.data}, profile {place.profile}, videos {place.videos}")
        parts += [tables.measured_table(rows, "pipe"), *tables.caveats(rows)]
        compared = [(names[entry.name], entry.comparisons) for entry in entries if entry.comparisons]
        parts += ["#### Differences of mAP", difference_table(compared)] if compared else []
        if (levels := tables.levels_table(entries)) is not None:
            parts += ["#### By level of difficulty", markdown_table(levels)]
        if (room := shown_room(entries)) is not None:
            parts += ["#### The room that adaptivity has", f"{room.heading}. {ORACLES}"]
            for title, shown in room.tables:
                parts += [*([f"{title}:"] if title else []), markdown_table(shown)]
            parts += room.notes
        if (courses := course_table(entries, [names[entry.name] for entry in entries])) is not None:
            parts += ["#### Policies in training", OF_COURSES, markdown_table(courses)]
    papers = table[table.origin == REPORTED]
    if len(papers):
        parts += ["## Reported in papers", "Each by its own recipe and accounting: context, not competitors."]
    for data in sorted(set(papers.data)):
        parts += [f"### {data}", tables.reported_table(papers[papers.data == data])]
    return "\n\n".join(parts) + "\n"


def difference_table(compared: Sequence[tuple[str, Sequence[Comparison]]]) -> str:
    """A row for each comparison of each method."""
    rows = [
        {
            "method": name,
            "against": comparison.against,
            "mAP [95 %]": comparison.points or "not comparable",
            "verdict": comparison.difference.verdict if comparison.difference else "",
            "by seed": comparison.per_seed,
            "GFLOPs": times(comparison.cost_ratio),
            "note": "; ".join(comparison.notes) or comparison.why_not,
        }
        for name, of in compared
        for comparison in of
    ]
    return markdown_table(pd.DataFrame(rows))


def write_tables(results_dir: Path, pages: Sequence[Path] = PAGES) -> None:
    """Replaces what stands between `<!-- table: NAME -->` and `<!-- end of table -->`, from the committed records.

    They are those of `sprites` in profile tiny; `<!-- table: NAME of DATA/PROFILE -->` is of others.

    Raises:
        ValueError: a page has no such mark or one of an unknown table, or there are no records.
    """
    entries = cache(partial(committed, results_dir))
    texts = [with_tables(page.read_text(encoding="utf-8"), entries, str(page)) for page in pages]
    for page, text in zip(pages, texts, strict=True):
        write_atomically(page, text)


def committed(results_dir: Path, data: str, profile: str) -> list[Entry]:
    """The committed entries of one place, with their comparisons.

    Raises:
        ValueError: there are none, or they are of different videos.
    """
    entries = [
        entry
        for entry in read_entries(results_dir)
        if entry.root == REFERENCE and (entry.place.data, entry.place.profile) == (data, profile)
    ]
    if len({entry.place for entry in entries}) != 1:
        raise ValueError(f"{results_dir}: expected committed records of {data} (profile {profile}), of the same videos")
    return with_comparisons(entries)


def with_tables(text: str, entries: Committed, what: str) -> str:
    """A text with its generated tables as they follow from the entries of places; an error calls it `what`."""
    names = [name for _, name, *_ in BLOCK.findall(text)]
    if not names or set(names) - set(TABLES) or len(names) < text.count(MARK):
        known = ", ".join(f"<!-- table: {name} -->" for name in TABLES)
        raise ValueError(
            f"{what}: expected marks of tables among {known}, or of DATA/PROFILE, each before an <!-- end of table -->"
        )

    def table(found: re.Match[str]) -> str:
        places = (place.split("/") for place in (found[3] or EMBEDDED).split())
        made = TABLES[found[2]](*(entries(data, profile) for data, profile in places))
        return f"{found[1]}\n{made}\n\n{found[4]}"

    return BLOCK.sub(table, text)


def _methods(entries: Sequence[Entry]) -> str:
    """A row for each method's main configuration, by falling mAP."""
    columns = ("gflops_per_video", "gflops_per_frame", "frames_used", "train_gmacs")
    rows = [
        {
            "method": f"`{row.method}`",
            "mAP %": f"{row.map:.2f}",
            "95 %": f"{row.map_low:.2f} to {row.map_high:.2f}",
            "std over seeds": "" if pd.isna(row.map_std) else f"{row.map_std:.2f}",
            "seeds": BY_KEY["num_seeds"].text(row),
            **{BY_KEY[key].title: BY_KEY[key].text(row) for key in columns},
        }
        for row in tables.each(tables.leaderboard([entry for entry in entries if not entry.variant]))
    ]
    return markdown_table(pd.DataFrame(rows))


def _differences(entries: Sequence[Entry]) -> str:
    """What each published method, one that names its paper's baselines, has to beat."""
    published = [name for name in catalogue() if method_files(name).baselines]
    return difference_table([(f"`{e.label}`", e.comparisons) for e in entries if e.label in published])


def _variants(entries: Sequence[Entry]) -> str:
    """Each variant against its method's main configuration."""
    compared = [(f"`{e.label}`", [c for c in e.comparisons if c.against == e.method]) for e in entries if e.variant]
    return difference_table(compared)


def _levels(entries: Sequence[Entry]) -> str:
    levels = tables.levels_table([entry for entry in entries if not entry.variant])
    return "" if levels is None else markdown_table(levels)


def _times(entries: Sequence[Entry]) -> str:
    """How much faster evaluation is than the baseline's: by the bill, and by the clock at each batch size.

    At their best: the least time that the baseline takes at any batch size over the least that the method takes.
    """
    rows = []
    for entry in entries:
        for record in entry.latencies:
            at = {f"batch {row.batch_size}": times(row.speedup_realised) for row in record.rows}
            own = min(row.ms_per_video for row in record.rows)
            baseline = min(row.baseline_ms_per_video for row in record.rows)
            theory = record.rows[-1].speedup_theoretical
            best = {"ms / video at its best": significant(own), "both at their best": times(baseline / own)}
            rows.append({"method": f"`{entry.label}`", "by the bill": times(theory)} | at | best)
    return markdown_table(pd.DataFrame(rows))


def _ranks(*boards: Sequence[Entry]) -> str:
    """The methods' order on several boards, and how far it agrees with that on the first one."""
    return "\n\n".join(markdown_table(table) for table in rank_tables(boards))


def _room(number: int, entries: Sequence[Entry]) -> str:
    """One of the tables of the room: what is attained, the resolution that is enough, what methods missed."""
    room = shown_room([entry for entry in entries if not entry.variant or entry.variant == CEILING])
    return "" if room is None or number >= len(room.tables) else markdown_table(room.tables[number][1])


def _courses(entries: Sequence[Entry]) -> str:
    """What policies did in training, methods and variants."""
    table = course_table(entries, [f"`{entry.label}`" for entry in entries])
    return "" if table is None else markdown_table(table)


TABLES: dict[str, Callable[..., str]] = {  # of the entries of each place that a mark names
    "methods": _methods,
    "differences": _differences,
    "variants": _variants,
    "levels": _levels,
    "room": partial(_room, 0),
    "sufficient": partial(_room, 1),
    "regret": partial(_room, 2),
    "courses": _courses,
    "times": _times,
    "ranks": _ranks,
}
