"""How policies fared in training: whether they still try different things, or have settled on one."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

import pandas as pd

from benchmarks.report.entries import Entry

ENTROPY, MODAL = "entropy", "modal"  # terms of a stage's loss that say so
COLLAPSED = 0.95  # of a policy's decisions are the same one
MEANING = (
    "What policies that learn by reinforcement did in the first and in the last epoch of their training, means over "
    "seeds: the entropy of a decision, in nats, and how large a share of decisions is the commonest one. At "
    f"{COLLAPSED:.0%} and above a policy has collapsed."
)


def course_table(entries: Sequence[Entry], names: Sequence[str]) -> pd.DataFrame | None:
    """A row for each stage that has a policy to speak of, None where no record speaks of one.

    Args:
        entries: of one place.
        names: what each is called.
    """
    rows = []
    of_methods = {model for entry in entries if not entry.variant for model in _models(entry)}
    for entry, name in zip(entries, names, strict=True):
        if entry.variant and _models(entry) <= of_methods:  # the method's own training, evaluated otherwise
            continue
        courses = [part.training.course for record in entry.main for part in record.parts]
        terms = [key.rpartition("/") for course in courses for key in course]
        for stage in dict.fromkeys(stage for stage, _, term in terms if term in (ENTROPY, MODAL)):
            row = {"method": name, "stage": stage}
            for title, term in (("entropy", ENTROPY), ("commonest decision", MODAL)):
                known = [course[f"{stage}/{term}"] for course in courses if f"{stage}/{term}" in course]
                for when, epoch in (("first epoch", 0), ("last epoch", -1)):
                    values = [means[epoch] for means in known]
                    row[f"{title}, {when}"] = _text(mean(values), term) if values else ""
            last = [course[f"{stage}/{MODAL}"][-1] for course in courses if f"{stage}/{MODAL}" in course]
            row["collapsed"] = f"{sum(share >= COLLAPSED for share in last)} of {len(last)} seeds" if last else ""
            rows.append(row)
    return pd.DataFrame(rows) if rows else None


def _models(entry: Entry) -> set[tuple[str, int]]:
    """What was trained, for each seed."""
    return {(part.model_hash, part.seed) for record in entry.main for part in record.parts}


def _text(value: float, term: str) -> str:
    return f"{value:.1%}" if term == MODAL else f"{value:.2f}"
