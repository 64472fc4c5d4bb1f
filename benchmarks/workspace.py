"""Where results, records and what can be made anew lie."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.layers import ROOT

PUBLISHED = "reference"  # the folder of results whose records are committed


@dataclass(frozen=True)
class Workspace:
    """The folders of a benchmark.

    Attributes:
        results: holds the leaderboard, and a folder for each kind of record.
        records: where this process leaves its records: `runs` in the results, or `reference`, which are committed.
        cache: generated data, decoded frames, hashes of files, shared backbones, what training draws and frozen
            networks say of it; may be deleted between runs.
    """

    results: Path
    records: Path
    cache: Path

    @classmethod
    def of(
        cls, results: str = "", records: str = "", cache: str = "", environment: Mapping[str, str] = os.environ
    ) -> Workspace:
        """From what the user says, else the environment (ADAVID_RESULTS, _RECORDS, _CACHE), else the checkout.

        Args:
            results: folder.
            records: folder, relative to the results.
            cache: folder.
            environment: variables.
        """
        root = Path(results or environment.get("ADAVID_RESULTS") or ROOT / "results")
        records = records or environment.get("ADAVID_RECORDS") or "runs"
        return cls(root, root / records, Path(cache or environment.get("ADAVID_CACHE") or ROOT / "cache"))

    @property
    def is_published(self) -> bool:
        """Whether its records are those that are committed with the project."""
        return self.records.name == PUBLISHED

    @property
    def shown_cache(self) -> str:
        """The cache as records may name it: from the present folder, where it lies below it."""
        cache, here = self.cache.resolve(), Path.cwd()
        return str(cache.relative_to(here)) if cache.is_relative_to(here) else str(cache)
