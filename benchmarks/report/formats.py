"""Numbers for reading."""

from __future__ import annotations

import numpy as np
import pandas as pd


def pm(mean: float, std: float, decimals: int = 2) -> str:
    """'85.12 +- 0.31', and no more than the mean where there is one seed."""
    return f"{mean:.{decimals}f}" + ("" if np.isnan(std) else f" +- {std:.{decimals}f}")


def interval(mean: float, low: float, high: float) -> str:
    """'+0.02 [-1.83, +2.25]': a difference of fractions with its interval, in points."""
    return f"{100 * mean:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def significant(value: float, digits: int = 3) -> str:
    """At least `digits` significant digits, thousands set apart, without exponents; empty for NaN."""
    if pd.isna(value):
        return ""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{decimals}f}"


def bounds(low: float, high: float) -> str:
    """'[0.830, 1.21]'; what is infinite is never reached."""
    texts = ("never" if np.isinf(bound) else significant(bound) for bound in (low, high))
    return f"[{', '.join(texts)}]"


def times(value: float) -> str:
    """'1.73x', empty for NaN."""
    return "" if pd.isna(value) else f"{value:.2f}x"


def plus_minus(text: str) -> str:
    """The sign itself, where there is more than ASCII."""
    return text.replace("+-", "\N{PLUS-MINUS SIGN}")


def markdown_table(table: pd.DataFrame) -> str:
    """A table of texts, the first column to the left, the others to the right."""
    align = ("left", *("right",) * (table.shape[1] - 1))
    return table.to_markdown(index=False, colalign=align, disable_numparse=True)


def anchor(text: str) -> str:
    """A name for links."""
    return "".join(character if character.isalnum() else "-" for character in text.lower())
