"""The leaderboard, the comparisons and the curves, from the result files alone.

`write_leaderboard(results_dir, out_dir)`, `console_table(leaderboard)`, `leaderboard_tables(leaderboard)`,
`compare(results_dir, a, b)`, `curve_report(results_dir, method)`, `write_papers(results_dir)`,
`write_tables(results_dir)` and `verify(folder)` are what the command line calls.
"""

from benchmarks.report.compare import compare, curve_report
from benchmarks.report.latex import leaderboard_tables
from benchmarks.report.markdown import write_tables
from benchmarks.report.page import write_leaderboard
from benchmarks.report.papers_text import write_papers
from benchmarks.report.tables import console_table
from benchmarks.report.verify import verify

__all__ = [
    "compare",
    "console_table",
    "curve_report",
    "leaderboard_tables",
    "verify",
    "write_leaderboard",
    "write_papers",
    "write_tables",
]
