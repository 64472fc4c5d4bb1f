"""How policies fared in training: whether they still try different things, or have settled on one."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

import numpy as np
import pandas as pd

from adavid.evaluation.records import Record
from benchmarks.report.entries import Entry, predictions_of

ENTROPY, MODAL = "entropy", "modal"  # terms of a stage's loss that say so
COLLAPSED = 0.95  # of a policy's decisions are the same one
MEANING = (
    "What policies that learn by reinforcement did in the first and in the last epoch of their training, means over "
    "seeds: the entropy of a decision, in nats (left out where places are drawn with a fixed spread: it stays the "
    "same), and how large a share of decisions is the commonest one. Then what they do in evaluation: the largest "
    f"share of videos with the same decisions, all of them. At {COLLAPSED:.0%} and above, of the last epoch's "
    "decisions or of the videos, a policy has collapsed."
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
        courses = [part.training.course for part in _parts(entry)]
        terms = [key.rpartition("/") for course in courses for key in course]
        for stage in dict.fromkeys(stage for stage, _, term in terms if term in (ENTROPY, MODAL)):
            row = {"method": name, "stage": stage}
            for title, term in (("entropy", ENTROPY), ("commonest decision", MODAL)):
                known = [course[f"{stage}/{term}"] for course in courses if f"{stage}/{term}" in course]
                ends = [_text(mean(means[epoch] for means in known), term) for epoch in (0, -1)] if known else []
                row[f"{title}, first to last epoch"] = " to ".join(ends)
            last = [course.get(f"{stage}/{MODAL}", (0.0,))[-1] for course in courses]
            alike = [_decided_alike(part) for part in _parts(entry)]
            collapsed = [max(shares) >= COLLAPSED for shares in zip(last, alike, strict=True)]
            row["videos decided alike"] = _text(mean(alike), MODAL)
            row["collapsed"] = f"{sum(collapsed)} of {len(collapsed)} seeds"
            rows.append(row)
    return pd.DataFrame(rows) if rows else None


def _parts(entry: Entry) -> list[Record]:
    """Its trainings: a record for each seed."""
    return [part for record in entry.main for part in record.parts]


def _models(entry: Entry) -> set[tuple[str, int]]:
    """What was trained, for each seed."""
    return {(part.model_hash, part.seed) for part in _parts(entry)}


def _decided_alike(record: Record) -> float:
    """The share of videos whose decisions are the commonest ones."""
    _, counts = np.unique(predictions_of([record]).action_NT, axis=0, return_counts=True)
    return float(counts.max() / counts.sum())


def _text(value: float, term: str) -> str:
    return f"{value:.1%}" if term == MODAL else f"{value:.2f}"
