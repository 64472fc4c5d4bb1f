"""One file with a trained method: what comes back from it is what went in, and what is none is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import adavid
from adavid.cost import Ledger
from adavid.evaluation.records import Record
from adavid.evaluation.schema import read_json
from adavid.exported import read_exported, sha256_of, write_exported
from adavid.method import AdaptiveMethod
from adavid.training import channels_last
from benchmarks.compose import compose
from benchmarks.export import model_card
from benchmarks.layers import catalogue, method_files
from tests.benchmarks.toys import ACTIONS, add
from tests.conftest import NUM_CLASSES, opinionated, random_batch

EMBEDDED = [name for name in catalogue() if "tiny" not in method_files(name).same_as]


def record_of(name: str, folder: Path) -> Record:
    """A record of a method as sprites has it, of as many classes as the tests' batches."""
    run = compose(name)
    record = read_json(Record, add(folder, name, actions=ACTIONS) / "test.json")
    classes = {"class_names": tuple(f"class {k}" for k in range(NUM_CLASSES))}
    return record.model_copy(update={"config": run.config, "data_info": record.data_info.model_copy(update=classes)})


def exported(name: str, folder: Path) -> tuple[AdaptiveMethod, Path]:
    """A method whose weights nobody has trained, and its file."""
    method = channels_last(opinionated(compose(name).build_method(NUM_CLASSES))).eval()  # as every model is evaluated
    record, file = record_of(name, folder), folder / f"{name}.safetensors"
    weights = method.state_dict()
    write_exported(file, record, weights, model_card(record, sha256_of(weights), file.name))
    return method, file


@pytest.mark.parametrize("name", EMBEDDED)
@torch.no_grad()
def test_an_exported_method_answers_and_bills_as_before(name: str, tmp_path: Path) -> None:
    method, file = exported(name, tmp_path)
    loaded = adavid.load(file)
    batch = random_batch(method, 3)
    outputs, bills = [], []
    for of in (method, loaded.method):
        ledger = Ledger(3)
        outputs.append(of(batch, ledger))
        bills.append(ledger.total_B)
    assert torch.equal(outputs[0].logits_BK, outputs[1].logits_BK)
    assert torch.equal(outputs[0].action_BT, outputs[1].action_BT) and torch.equal(*bills)
    assert len(loaded.class_names) == NUM_CLASSES and not loaded.method.training


def test_the_card_says_what_the_file_is(tmp_path: Path) -> None:
    method, file = exported("arnet", tmp_path)
    record, weights, card, sha256 = read_exported(file)
    assert sha256 == sha256_of(method.state_dict()) == sha256_of(weights)
    for fact in (
        f"{100 * record.metrics.map:.2f} %",
        "GFLOPs a video",
        "fingerprint",
        "Apache-2.0",
        sha256,
        file.name,
        "narrow/",
    ):
        assert fact in card
    assert str(record.config_hash) in card and "adavid.load" in card


def test_a_file_that_is_none_of_ours_is_refused_in_one_line(tmp_path: Path) -> None:
    _, file = exported("uniform", tmp_path)
    content = file.read_bytes()
    changed = bytearray(content)
    changed[-1] ^= 1
    text, foreign = b"no safetensors", tmp_path / "foreign.safetensors"
    for damaged, reason in (
        (bytes(changed), "damaged: its weights"),
        (content[:-8], "expected a"),
        (text, "expected a"),
    ):
        foreign.write_bytes(damaged)
        with pytest.raises(ValueError, match=reason) as refused:
            adavid.load(foreign)
        assert "\n" not in str(refused.value) and str(foreign) in str(refused.value)
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(ValueError, match="safetensors without adavid, card, record, sha256"):
        adavid.load(foreign)
    with pytest.raises(ValueError, match="expected a file of make export"):
        adavid.load(tmp_path / "missing.safetensors")


def test_weights_of_another_method_are_refused(tmp_path: Path) -> None:
    _, file = exported("uniform", tmp_path)
    record, weights, card, _ = read_exported(file)
    short = dict(list(weights.items())[1:])
    write_exported(file, record, short, card)
    with pytest.raises(ValueError, match="expected the weights of a Uniform as its record configures it"):
        adavid.load(file)
