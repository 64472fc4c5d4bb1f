"""Every table and figure of the papers, as papers.yaml lists them: what it prints, and what would measure the same."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from adavid.config import build, load_yaml
from benchmarks.layers import ROOT, check_known, checked_label, shown
from benchmarks.report.entries import PAPER, ROOTS
from benchmarks.report.tables import each, read_reported

PAPERS = ROOT / "benchmarks" / "report" / "papers.yaml"
QUANTITIES = "quantities.csv"  # what papers print beside scores and costs
OWN_COST, EQUAL_COST, CLOCK, FIXED_K, WATCHED = "its own cost", "equal cost", "the clock", "fixed K", "watched"
# What the transcribed tables call data sets that the catalogue calls otherwise, and with which settings.
CATALOGUED = {
    "mini_kinetics": ("minikinetics", ""),
    "something_v1": ("something", "data.version=v1"),
    "something_v2": ("something", ""),
}


def words_of_data(printed: str) -> str:
    """A data set of the papers as the command line takes it: 'DATA=something ARGS="data.version=v1"'."""
    name, args = CATALOGUED.get(printed, (printed, ""))
    return f"DATA={name}" + (f' ARGS="{args}"' if args else "")


PUBLICATION = re.compile(r"(.+?\(\w+ \d{4}\)(?: and .+?\(\w+ \d{4}\))?), (.*)")


@dataclass(frozen=True)
class Row:
    """What stands in an exhibit under one name.

    Attributes:
        reported: 'method/variant/backbone' of the transcribed rows, as patterns; "" where nothing is printed.
        of: the publication that they are quoted from; "" for the exhibit's own.
        run: 'method' or 'method@variant' that makes it with profile=paper; "" where nothing does.
        args: settings that it takes.
        command: of make.
        here: 'method@variant#point' that stands for it in the committed records; "" where there is none.
        profile: of the records that may stand for it; "" for any.
        why_not: why nothing is run, or stands for it.
    """

    reported: str = ""
    of: str = ""
    run: str = ""
    args: str = ""
    command: str = "bench"
    here: str = ""
    profile: str = ""
    why_not: str = ""

    def __post_init__(self) -> None:
        if not self.run and not self.why_not:
            raise ValueError("expected 'run', or 'why_not'")
        for label in (self.run, self.here.partition("#")[0]):
            if label:
                checked_label(label, "run")

    @property
    def counterpart(self) -> tuple[str, str]:
        """The label and the point ("" for the main one) of what stands for it here; two "" where nothing does."""
        named = self.here or ("" if self.args or self.why_not else self.run)
        label, _, point = named.partition("#")
        return label, point

    def prints(self, method: str, variant: str, backbone: str) -> bool:
        """Whether a transcribed row is this one's."""
        if not self.reported:
            return False
        name, of_variant, of_backbone, *_ = [*self.reported.split("/", 2), "", "", ""]
        patterns = (name, of_variant, of_backbone or "*")
        return all(
            any(fnmatchcase(value, pattern) for pattern in of.split("|"))
            for value, of in zip((method, variant, backbone), patterns, strict=True)
        )

    def make(self, data: str) -> str:
        """The command line that makes it on a data set of the papers with profile=paper; "" where nothing does."""
        if not self.run:
            return ""
        method, _, variant = self.run.partition("@")
        name, of_data = CATALOGUED.get(data, (data, ""))
        args = " ".join(word for word in (self.args, of_data) if word)
        words = [
            f"make {self.command} METHOD={method}",
            *([f"VARIANT={variant}"] if variant else []),
            f"DATA={name} PROFILE=paper ROOT=/path/to/{name}",
            *([f'ARGS="{args}"'] if args else []),
        ]
        return " ".join(words)


@dataclass(frozen=True)
class Claim:
    """An order of two rows that an exhibit prints: `of` has the higher score than `against`, or the lower one.

    Attributes:
        at: at which cost they are compared: each at its own one, at equal cost, by the clock; or along the videos, at a
            fixed number of frames seen closely or where a share has been watched.
        by: along the videos, what of the baseline is compared with.
        printed: what the paper says, where it prints no numbers; then `of` is said to be above.
        batch: of the clock.
    """

    of: str
    against: str
    at: str = OWN_COST
    by: str = ""
    printed: str = ""
    batch: int = 1

    def __post_init__(self) -> None:
        check_known(self.at, (OWN_COST, EQUAL_COST, CLOCK, FIXED_K, WATCHED), f"at '{self.at}'")

    @property
    def text(self) -> str:
        """For reading."""
        faster = "faster than" if self.at == CLOCK else "above"
        return f"{self.of} {faster} {self.against}" + (" at equal cost" if self.at == EQUAL_COST else "")


@dataclass(frozen=True)
class Exhibit:
    """A table or figure of a paper."""

    paper: str
    name: str
    shows: str
    rows: Mapping[str, Row] = field(default_factory=dict)
    claims: Sequence[Claim] = ()
    measured: Sequence[str] = ()
    commands: Sequence[str] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    note: str = ""
    data: Sequence[str] = ()

    @property
    def title(self) -> str:
        return f"{self.paper}, {self.name}"


@dataclass(frozen=True)
class Printed:
    """What a paper prints of one row on one data set.

    Attributes:
        score: mAP or top-1, in percent, as `metric` says.
        gflops: per video; NaN where it is not printed.
        ms: per video; likewise.
    """

    data: str
    metric: str
    score: float
    gflops: float
    ms: float


@functools.cache
def exhibits(path: Path = PAPERS) -> tuple[Exhibit, ...]:
    """All of the list, in its order.

    Raises:
        ValueError: a key, a method, a variant or a row of a claim is unknown; the message names the exhibit.
    """
    described = OmegaConf.to_container(load_yaml(path).exhibits)
    assert isinstance(described, list)
    return tuple(_exhibit(of, shown(path)) for of in described)


def _exhibit(described: dict[str, Any], file: str) -> Exhibit:
    where = f"{file}: {described.get('paper')}, {described.get('exhibit')}"
    known = ("paper", "exhibit", "shows", "rows", "claims", "measured", "commands", "settings", "note", "data")
    for key in described:
        check_known(key, known, f"{where}: '{key}'")
    rows = {str(name): build(Row, of, f"{where}: {name}") for name, of in described.get("rows", {}).items()}
    claims = [
        build(Claim, of if isinstance(of, dict) else dict(zip(("of", "against"), of, strict=True)), f"{where}: claims")
        for of in described.get("claims", [])
    ]
    for claim in claims:
        for name in (claim.of, *(() if claim.printed else (claim.against,))):
            check_known(name, rows, f"{where}: claims: row '{name}'")
    return Exhibit(
        paper=described["paper"],
        name=described["exhibit"],
        shows=described["shows"],
        rows=rows,
        claims=claims,
        **{key: described[key] for key in known[5:] if key in described},
    )


def exhibits_of(source: str) -> tuple[str, set[str]]:
    """The publication and the exhibits that a transcribed row's source names.

    'LiteEval (IJCV 2021), Tables 1, 7 (gamma=0.05)' is LiteEval (IJCV 2021) and Table 1, Table 7.
    """
    matched = PUBLICATION.match(source)
    if matched is None:
        return source, set()
    publication, places = matched.groups()
    found, kind, prefix = set[str](), "", ""
    for word in re.findall(r"supplementary|READMEs|README|Tables?|Figures?|\d+", re.sub(r"\([^)]*\)?", "", places)):
        if word == "READMEs":
            found.add(word)
        elif word in ("supplementary", "README"):
            prefix = "README " if word == "README" else "Supplementary "
        elif word.isdigit():
            if kind:
                found.add(f"{prefix}{kind} {word}")
        else:
            kind = word.removesuffix("s")
    return publication, found


class Reported:
    """What the papers print, by exhibit and row.

    Args:
        results_dir: holds reported/.
    """

    def __init__(self, results_dir: Path) -> None:
        found = read_reported(results_dir)
        self._rows = list(each(found.fillna({"variant": "", "backbone": ""}))) if found is not None else []
        self._named = [exhibits_of(row.source) for row in self._rows]
        path = results_dir / ROOTS[PAPER] / QUANTITIES
        self._quantities = pd.read_csv(path) if path.exists() else pd.DataFrame()

    def of(self, exhibit: Exhibit, row: Row) -> list[Printed]:
        """What is printed of a row, by data set and falling cost; its own publication's before a quoted one's."""
        own, quoted = [], []
        for printed, (publication, names) in zip(self._rows, self._named, strict=True):
            if exhibit.data and printed.data not in exhibit.data:
                continue
            if not row.prints(printed.method, printed.variant, printed.backbone):
                continue
            if publication == exhibit.paper and exhibit.name in names:
                own.append(_printed(printed))
            elif row.of and publication == row.of:
                quoted.append(_printed(printed))
        have = {printed.data for printed in own}
        both = [*own, *(printed for printed in quoted if printed.data not in have)]
        return sorted(both, key=lambda printed: (printed.data, printed.gflops))

    def quantities(self, exhibit: Exhibit, name: str = "") -> list[Any]:
        """What else an exhibit prints, of one row where it is named."""
        if self._quantities.empty:
            return []
        of = self._quantities
        of = of[(of.source == exhibit.paper) & (of.exhibit == exhibit.name)]
        return list(each(of[of.row == name] if name else of))


def _printed(row: Any) -> Printed:
    metric = "top1" if pd.isna(row.map) else "map"
    score = row.top1 if pd.isna(row.map) else row.map
    return Printed(row.data, metric, float(score), float(row.gflops_per_video), float(row.ms_per_video))
