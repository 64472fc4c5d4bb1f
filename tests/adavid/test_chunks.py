"""Chunks: the same answers to rounding, the same bills to the last digit, frames made when it is their turn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from adavid import chunks
from adavid.chunks import Chunks, Rows, run_in_chunks
from adavid.cost import Ledger, audit
from benchmarks.compose import compose
from benchmarks.measure.latency import random_batch

SPLIT = ("uniform", "arnet", "sofnet", "liteeval", "adafocus", "adafocus_tsm")  # frames, stages, states, places, videos


@pytest.fixture(autouse=True)
def _timed_chunks() -> None:
    """Here they are timed."""


@pytest.fixture
def by_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call of evaluation is split, three rows at most at once; nothing is measured."""
    monkeypatch.setattr(chunks, "HEAVY_MACS", -1)
    monkeypatch.setattr(Chunks, "_known", lambda *_: 3)


@torch.inference_mode()
def answers(name: str) -> tuple[Tensor, Tensor, Ledger]:
    torch.manual_seed(0)
    method = compose(name).build_method(5).eval()
    ledger = Ledger(4)
    output = method(random_batch(method.views, 4, 5), ledger)
    return output.logits_BK, output.action_BT, ledger


@pytest.mark.parametrize("name", SPLIT)
def test_methods_answer_the_same_to_rounding_and_pay_the_same(name: str, request: pytest.FixtureRequest) -> None:
    logits_BK, action_BT, ledger = answers(name)
    request.getfixturevalue("by_three")
    split_BK, split_BT, of_split = answers(name)
    torch.testing.assert_close(split_BK, logits_BK, rtol=1e-5, atol=1e-5)
    assert torch.equal(split_BT, action_BT)
    for own, other in ((ledger.macs, of_split.macs), (ledger.audited, of_split.audited)):
        assert own.keys() == other.keys() and all(torch.equal(own[part], other[part]) for part in own)


class Sees(nn.Module):
    """A linear layer that remembers how many rows came at once."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.seen = nn.Linear(4, 2, bias=False), list[int]()

    def forward(self, x_ND: Tensor) -> Tensor:
        self.seen.append(len(x_ND))
        return self.linear(x_ND)


def test_chunks_are_as_even_as_can_be_and_rows_are_made_in_their_turn() -> None:
    module, x_ND, made = Sees(), torch.randn(10, 4), list[slice]()

    def make(part: slice) -> Tensor:
        assert len(module.seen) == len(made)
        made.append(part)
        return x_ND[part]

    out_NK = run_in_chunks(module, (Rows.of((10, 4), x_ND, make),), 10, 4)
    assert module.seen == [3, 3, 4] and made == [slice(0, 3), slice(3, 6), slice(6, 10)]
    torch.testing.assert_close(out_NK, module.linear(x_ND))


def test_states_and_what_has_no_rows_go_through() -> None:
    cell, x_ND, state = nn.LSTMCell(4, 3), torch.randn(5, 4), (torch.randn(5, 3), torch.randn(5, 3))
    torch.testing.assert_close(run_in_chunks(cell, (x_ND, state), 5, 2), cell(x_ND, state))

    class Scaled(nn.Module):
        def forward(self, x: Tensor, by: float) -> dict[str, Any]:
            return {"x": by * x, "by": by}

    assert run_in_chunks(Scaled(), (x_ND, 2.0), 5, 2)["by"] == 2.0


@pytest.mark.usefixtures("by_three")
def test_training_runs_rows_together() -> None:
    x_ND, owner_N = torch.randn(8, 4), torch.zeros(8, dtype=torch.long)
    for is_training, expected in ((True, [8]), (False, [2, 3, 3])):
        module = Sees()
        module.eval()
        with torch.no_grad():
            Ledger(1).run("m", module, x_ND[:1], owner_N=owner_N[:1])  # the price of a row
            module.seen.clear()
            Ledger(1, training=is_training).run("m", module, x_ND, owner_N=owner_N)
        assert module.seen == expected
    module.seen.clear()
    Ledger(1).run("m", module, x_ND, owner_N=owner_N)  # gradients
    module.train()
    with torch.no_grad():
        Ledger(1).run("m", module, x_ND, owner_N=owner_N)  # BatchNorm would look at all
    assert module.seen == [8, 8]


def measured(monkeypatch: pytest.MonkeyPatch, then: Callable[[Sees], object]) -> int:
    """How many rows a module ran to be measured."""
    monkeypatch.setattr(chunks, "HEAVY_MACS", 1)
    monkeypatch.setattr(chunks, "MOST_BYTES", 8 * 16)  # eight rows of four numbers
    module = Sees().eval()
    then(module)
    return sum(module.seen)


def test_a_network_is_measured_once_for_its_structure_and_shape(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    x_ND = torch.randn(8, 4)
    first, second = Chunks(tmp_path / "chunks"), Chunks(tmp_path / "chunks")

    def ask(of: Chunks) -> Callable[[Sees], object]:
        return lambda module: of.chunk(module, [x_ND], (x_ND,), 8)

    assert measured(monkeypatch, ask(first)) > 0
    assert measured(monkeypatch, ask(first)) == 0  # another module of the same structure
    assert measured(monkeypatch, ask(second)) == 0  # another process
    (file,) = (tmp_path / "chunks").glob("*.json")
    assert json.loads(file.read_text())["rows"] in (1, 2, 4, 8)
    file.write_text("{")
    assert measured(monkeypatch, ask(Chunks(tmp_path / "chunks"))) > 0
    assert json.loads(file.read_text())["rows"] in (1, 2, 4, 8) and file.with_name(f"{file.name}.broken").exists()


def test_measuring_is_on_no_bill_and_in_no_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adavid.cost.CHUNKS", Chunks())
    x_ND, owner_N, ledger = torch.randn(8, 4), torch.zeros(8, dtype=torch.long), Ledger(1)

    def run(module: Sees) -> None:
        with torch.inference_mode(), audit() as counter:
            ledger.run("m", module, x_ND, owner_N=owner_N)
        assert counter.macs == ledger.audited_total_B.sum() == 8 * 8

    assert measured(monkeypatch, run) > 8


def test_light_calls_are_not_split_and_not_measured() -> None:
    module = Sees().eval()
    x_ND = torch.randn(512, 4)
    assert Chunks().chunk(module, [x_ND], (x_ND,), 8) == 512 and not module.seen
