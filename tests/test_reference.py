"""The committed records: what they say they are, by the hashes of their configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from adavid.config import locate
from adavid.evaluation.records import (
    FORCED_LATENCY_JSON,
    OTHER_KINDS,
    LatencyRecord,
    Record,
    identity,
    model_identity,
    read_records,
)
from adavid.evaluation.schema import read_json, to_json
from benchmarks.compose import compose
from benchmarks.layers import ROOT, catalogue, data_file, method_files
from benchmarks.report.compare import with_comparisons
from benchmarks.report.entries import Entry, group
from benchmarks.report.markdown import PAGES, with_tables
from benchmarks.report.retrained import RETRAINED_CSV, SHORT, read_retrained, write_retrained
from benchmarks.report.tables import leaderboard, read_reported, rounded
from tests.conftest import COPIES

REFERENCE = ROOT / "results" / "reference"
TIMED_WITH = ["recipe.pretrained=false"]  # with random weights


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """All of them; where none are committed there is nothing to hold."""
    found = read_records(REFERENCE)
    if not found:
        pytest.skip("no records are committed")
    return found


def test_pictures_are_of_data_sets_that_may_be_published() -> None:
    publishable = {kind for kind in catalogue("datamodules") if locate(data_file(kind).content.target).publishable}
    assert publishable == {"sprites"}
    pictures = [path for suffix in ("jpg", "jpeg", "png", "mp4", "avi") for path in REFERENCE.rglob(f"*.{suffix}")]
    assert {path.relative_to(REFERENCE).parts[0] for path in pictures} <= publishable


def test_every_hash_is_reproduced_from_its_configuration(records: list[Record]) -> None:
    for record in records:
        assert identity(record.config, record.data_info.fingerprint) == record.config_hash, record.path
        assert model_identity(record.config, record.data_info.fingerprint) == record.model_hash, record.path
        *_, data, profile, label, config_hash, seed, _ = record.path.parts
        assert (data, profile, seed) == (record.data, record.profile, f"seed{record.seed}"), record.path
        if record.point in ("test", "shuffled"):  # a curve's points may be of other models than their folder's
            assert (label, config_hash) == (record.label, record.config_hash), record.path


def test_every_hash_is_that_of_todays_settings(records: list[Record]) -> None:
    """What is added later is neutral where it is not said, and a default that changes makes other runs."""
    runs = {(of.data, of.profile, of.method, of.variant): of for of in records if of.point in ("test", "shuffled")}
    for (data, profile, method, variant), record in runs.items():
        folder = COPIES.get(data)
        if folder is not None and not folder.exists():  # what its videos hold is in its hash
            continue
        if variant in ("", *method_files(method).variants):  # not a model that a curve has trained
            run = compose(method, data, profile, variant, [] if folder is None else [f"data.path={folder}"])
            assert (run.hash, run.model_hash) == (record.config_hash, record.model_hash), record.path


@pytest.mark.parametrize("path", sorted(REFERENCE.rglob(FORCED_LATENCY_JSON)), ids=lambda path: path.parts[-4])
def test_the_hash_of_forced_times_is_that_of_todays_configuration(path) -> None:  # type: ignore[no-untyped-def]
    record = read_json(LatencyRecord, path)
    run = compose(record.method, record.data, record.profile, record.variant, TIMED_WITH, record.seed)
    assert run.hash == record.config_hash == path.parts[-3]


def test_a_file_read_and_written_is_the_same_bytes(records: list[Record]) -> None:
    for record in records:
        assert to_json(record) == record.path.read_text(encoding="utf-8"), record.path
    for path in (path for path in REFERENCE.rglob("*.json") if path.name in OTHER_KINDS):
        assert to_json(read_json(OTHER_KINDS[path.name], path)) == path.read_text(encoding="utf-8"), path


def test_what_was_trained_again_is_of_records_that_are_here(records: list[Record], tmp_path: Path) -> None:
    path = REFERENCE / RETRAINED_CSV
    comparisons = read_retrained(path)
    write_retrained(tmp_path / path.name, comparisons)
    assert (tmp_path / path.name).read_text(encoding="utf-8") == path.read_text(encoding="utf-8")
    assert comparisons
    places = {record.path.parents[1].relative_to(REFERENCE) for record in records}
    short = [of for of in comparisons if of.extent == SHORT]  # of settings of their own
    whole = [of for of in comparisons if of.extent != SHORT]
    assert {Path(of.data, of.profile, of.label, of.config_hash) for of in whole} <= places
    assert {Path(of.data, of.profile, of.label) for of in short} <= {place.parent for place in places}
    assert {of.code_before for of in short} <= {record.code for record in records}


@pytest.mark.slow
def test_the_committed_tables_follow_from_the_committed_records(records: list[Record]) -> None:
    """The leaderboard's and those of the pages: one test, as the comparisons take their time."""
    entries = with_comparisons(group(records))
    made = rounded(leaderboard(entries, read_reported(ROOT / "results")))
    committed = (ROOT / "results" / "leaderboard.csv").read_text(encoding="utf-8").splitlines()
    assert made.to_csv(index=False).splitlines() == [line for line in committed if ",local," not in line]

    def of_place(data: str, profile: str) -> list[Entry]:
        return [entry for entry in entries if (entry.place.data, entry.place.profile) == (data, profile)]

    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert with_tables(text, of_place, page.name) == text, "run make readme"
