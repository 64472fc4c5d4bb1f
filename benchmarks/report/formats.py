"""Numbers for reading."""

from __future__ import annotations

import numpy as np
import pandas as pd


def pm(mean: float, std: float, decimals: int = 2) -> str:
    """'85.12 +- 0.31', and no more than the mean where there is one seed."""
    return f"{mean:.{decimals}f}" + ("" if np.isnan(std) else f" +- {std:.{decimals}f}")


def significant(value: float, digits: int = 3) -> str:
    """At least `digits` significant digits, thousands set apart, without exponents; empty for NaN."""
    if pd.isna(value):
        return ""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:,.{decimals}f}"


def times(value: float) -> str:
    """'1.73x', empty for NaN."""
    return "" if pd.isna(value) else f"{value:.2f}x"


def plus_minus(text: str) -> str:
    """The sign itself, where there is more than ASCII."""
    return text.replace("+-", "\N{PLUS-MINUS SIGN}")
