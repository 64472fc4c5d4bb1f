"""Whether methods come in the same order on several boards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

from benchmarks.layers import references
from benchmarks.report.columns import BY_KEY, COLUMNS
from benchmarks.report.entries import Entry

NUM_RESAMPLES = 10_000


class Correlation(NamedTuple):
    """Spearman's rank correlation of methods, and the 95 % interval of a bootstrap of the methods."""

    value: float
    low: float
    high: float
    num_methods: int

    def __str__(self) -> str:
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}], {self.num_methods} methods"


def correlation(x_N: Sequence[float], y_N: Sequence[float]) -> Correlation:
    """Of pairs, one a method; ties share their ranks.

    What each pair owes to seeds and to test videos is in how pairs scatter. Resamples of one rank alone are left out.
    """
    pairs_N2 = np.array([x_N, y_N]).T
    index_RN = np.random.default_rng(0).integers(len(pairs_N2), size=(NUM_RESAMPLES, len(pairs_N2)))
    rank_RN2 = rankdata(pairs_N2[index_RN], axis=1)
    centred_RN2 = rank_RN2 - rank_RN2.mean(1, keepdims=True)
    x_RN, y_RN = centred_RN2[..., 0], centred_RN2[..., 1]
    spread_R = np.sqrt((x_RN**2).sum(1) * (y_RN**2).sum(1))
    drawn_R = ((x_RN * y_RN).sum(1) / np.where(spread_R > 0, spread_R, np.nan))[spread_R > 0]
    low, high = np.percentile(drawn_R, (2.5, 97.5))
    return Correlation(float(spearmanr(*pairs_N2.T).statistic), float(low), float(high), len(pairs_N2))


def rank_tables(boards: Sequence[Sequence[Entry]]) -> list[pd.DataFrame]:
    """The main rows that all boards have: each with its rank on each, and how the others agree with the first board.

    By mAP, whatever it costs; and by the difference to what is attained at a method's own cost.

    Raises:
        ValueError: a board has no entries.
    """
    if not all(boards):
        raise ValueError("expected committed records of every board")
    by_label = [{entry.label: entry for entry in board if not entry.variant} for board in boards]
    names = [f"{board[0].place.data}/{board[0].place.profile}" for board in boards]
    line = next(iter(references()))
    of_map = BY_KEY["map"]
    of_line = next(column for column in COLUMNS if column.title == f"vs {line}")
    labels = sorted(set.intersection(*map(set, by_label)), key=lambda label: (-of_map.read(by_label[0][label]), label))
    methods = pd.DataFrame({"method": [f"`{label}`" for label in labels]})
    agreements = []
    for column in (of_map, of_line):
        values = pd.DataFrame(
            {name: [column.read(of[label]) for label in labels] for name, of in zip(names, by_label, strict=True)}
        )
        ranks = values.dropna().rank(ascending=False).reindex(values.index)
        for name in names:
            methods[f"{column.title}, {name}"] = list(map(_cell, values[name], ranks[name]))
        first, *others = names
        known = values.dropna()
        agreement = {
            f"{name} with {first}": str(correlation(known[first], known[name])) if len(known) > 2 else ""
            for name in others
        }
        agreements.append({"order by": column.title} | agreement)
    return [methods, pd.DataFrame(agreements)]


def _cell(value: float, rank: float) -> str:
    """'87.98 (1)'; without a rank where another board has no such number, empty where this one has none."""
    if pd.isna(value):
        return ""
    return f"{value:.2f}" if pd.isna(rank) else f"{value:.2f} ({rank:g})"
