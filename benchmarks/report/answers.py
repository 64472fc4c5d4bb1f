"""What a reader asks first, answered from the entries of one place: a sentence, and each method's number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from adavid.evaluation import stats
from benchmarks.layers import BASELINE, references
from benchmarks.report.approaches import REFERENCES, mode_of
from benchmarks.report.columns import BY_KEY, LATENCY_BATCH_SIZES
from benchmarks.report.compare import Comparison
from benchmarks.report.curves import Close
from benchmarks.report.entries import Entry
from benchmarks.report.formats import anchor, bounds, significant, times
from benchmarks.report.references import UNEQUAL, unequal_training

MAX_NAMED = 6  # methods beside the first one
ONE_VIDEO = LATENCY_BATCH_SIZES[1]
NOTICED = 1.05  # a ratio of times that counts, and is coloured
UNEQUAL_MARK = "*"


class Named(NamedTuple):
    """A method in an answer: its name, what is said of it, in more words too, and where the page says more."""

    name: str
    text: str
    more: str = ""
    tone: str = ""  # "positive", "negative" or neither
    place: str = ""  # "--vs-..." of a comparison, after its anchor; its row where ""


class Answer(NamedTuple):
    """A question, its answer in a sentence, and the methods that it is about, by what is said of them."""

    question: str
    answer: str
    named: list[tuple[str, list[Named]]]
    note: str = ""


def answers(entries: Sequence[Entry], names: Mapping[str, str]) -> list[Answer]:
    """The answers that there are.

    Args:
        entries: of one place, with their comparisons.
        names: what to call an entry, by `Entry.name`.
    """
    own = [entry for entry in entries if not entry.variant]
    deciding = [entry for entry in own if mode_of(entry.method) != REFERENCES]
    to_beat = {label for labels in references().values() for label in labels}
    with_references = [entry for entry in entries if not entry.variant or entry.label in to_beat]
    at_equal_cost = [_at_equal_cost(deciding, names, line) for line in references()]
    found = (_cheapest(with_references, names), *at_equal_cost, _time(own, names))
    return [answer for answer in found if answer is not None]


def in_words(comparison: Comparison) -> str:
    """'better than cascade at equal cost'."""
    verdict = comparison.difference.verdict if comparison.difference else "not comparable"
    return f"{verdict} {'with' if not comparison.difference else WITH.get(verdict, 'than')} {comparison.against}"


NO_WORSE = f"no worse than {100 * stats.MARGIN:g} point"
WITH = {"undecided": "against", NO_WORSE: "below"}


def tone_of(difference: stats.Difference | None) -> str:
    """How a difference is coloured: by what its interval supports."""
    low, high = difference.interval if difference else (0.0, 0.0)
    return "positive" if low > 0 else "negative" if high < 0 else ""


def _cheapest(entries: Sequence[Entry], names: Mapping[str, str]) -> Answer | None:
    """By where curves come within a point of the baseline: of all, and of the methods that decide."""
    baseline = next((entry for entry in entries if entry.label == BASELINE), None)
    if baseline is None:
        return None
    close = [(entry.curve.close, entry) for entry in entries if entry.curve and entry.curve.close]
    close.sort(key=lambda of: (of[0].gflops, names[of[1].name]))
    marks = {entry.name: _mark(unequal_training(entry.train_gmacs(), baseline.train_gmacs())) for _, entry in close}

    def share(of: Close) -> str:
        return times(of.gflops / baseline.gflops())

    named = [
        Named(names[entry.name], f"{significant(of.gflops)} ({share(of)}){marks[entry.name]}", bounds(*of.interval))
        for of, entry in close[: MAX_NAMED + 1]
    ]
    first = close[:1]
    deciding = [(of, entry) for of, entry in close if mode_of(entry.method) != REFERENCES][:1]
    said = [
        f"{names[entry.name]}{marks[entry.name]}, for {significant(of.gflops)} GFLOPs {bounds(*of.interval)}, "
        f"{share(of)} of {BASELINE}'s cost"
        for of, entry in [*first, *deciding]
    ]
    if not deciding:
        said.append(f"{'none' if close else 'None'} of those that decide")
    elif first == deciding:
        del said[1]
    else:
        said[1] = f"of those that decide {said[1]}"
    score = f"{BASELINE} has {100 * baseline.mean(lambda record: record.metrics.map):.2f} % at"
    full = f"{score} {significant(baseline.gflops())} GFLOPs a video"
    note = (
        "GFLOPs a video at which a method's curve, on the test videos, reaches that; a cost between two operating "
        "points is that of giving each video to one of them at random."
    )
    of_training = f" {UNEQUAL_MARK} {UNEQUAL}: more than 5 % from {BASELINE}'s." if any(marks.values()) else ""
    question = f"Which method is the cheapest within 1 point of {BASELINE}?"
    return Answer(
        question, f"{'; '.join(said)}. {full[0].upper()}{full[1:]}.", [("", named)] if named else [], note + of_training
    )


def _mark(note: str) -> str:
    """Of a pair whose training differs, wherever it is printed."""
    return UNEQUAL_MARK if note.startswith(UNEQUAL) else ""


def _at_equal_cost(entries: Sequence[Entry], names: Mapping[str, str], line: str) -> Answer | None:
    """How many methods are better than a line, and which."""
    found = [(entry, c) for entry in entries for c in entry.comparisons if c.against == line and c.difference]
    if not found:
        return None
    by_verdict: dict[str, list[Named]] = {verdict: [] for verdict in ("better", NO_WORSE, "undecided", "worse")}
    for entry, comparison in sorted(found, key=lambda of: -of[1].difference.mean):  # type: ignore[union-attr]
        difference = comparison.difference
        assert difference is not None
        mark = "".join(dict.fromkeys(map(_mark, comparison.notes)))
        of_method = (names[entry.name], f"{100 * difference.mean:+.2f}{mark}", comparison.points, tone_of(difference))
        by_verdict[difference.verdict].append(Named(*of_method, f"--vs-{anchor(line)}"))
    num_better, num_worse = len(by_verdict["better"]), len(by_verdict["worse"])
    text = f"{num_better} of {len(found)} {'is' if num_better == 1 else 'are'} better, {num_worse} worse."
    named = [(verdict, of) for verdict, of in by_verdict.items() if of]
    is_marked = any(of.text.endswith(UNEQUAL_MARK) for _, group in named for of in group)
    note = f"{UNEQUAL_MARK} {UNEQUAL}: more than 5 % from the line's." if is_marked else ""
    return Answer(f"Which methods are better than the {line}?", text, named, note)


def _time(entries: Sequence[Entry], names: Mapping[str, str]) -> Answer | None:
    """What the methods save by the clock, one video at a time."""
    question = "How much time does it really save, one video at a time?"
    keys = ("speedup_realised", "speedup_allowed", "speedup_theoretical", "ms_per_video")
    timed = []
    for entry in entries:
        real, allowed, theory, ms = (BY_KEY[f"{key}_batch{ONE_VIDEO}"].read(entry) for key in keys)
        if not np.isnan(real):
            tone = "positive" if real > NOTICED else "negative" if real < 1 / NOTICED else ""
            alone = "" if np.isnan(allowed) else f"networks alone {times(allowed)}, "
            said = f"{times(real)} ({alone}bill {times(theory)})", f"{significant(ms)} ms a video", tone
            timed.append((real, Named(names[entry.name], *said)))
    if not timed:
        return Answer(question, "Not timed yet: make latency METHOD=all.", [])
    timed.sort(key=lambda of: (-of[0], of[1].name))
    num_faster = sum(real > NOTICED for real, _ in timed)
    are_faster = "is faster than its" if num_faster == 1 else "are faster than their"
    text = f"{num_faster} of {len(timed)} timed methods {are_faster} baseline at batch {ONE_VIDEO}."
    note = (
        "The baseline's time over the method's, the same run and device; of their networks alone, what these allow; by "
        "the bill, the ratio of their GFLOPs."
    )
    return Answer(question, text, [("", [named for _, named in timed])], note)
