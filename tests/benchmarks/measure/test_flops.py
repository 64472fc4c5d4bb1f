"""The cost tables: numbers that are known by other means."""

import pandas as pd
import pytest
import torch
from torch import nn

from adavid.cost import Ledger, price
from adavid.method import AdaptiveMethod
from adavid.networks.backbones import BackboneSpec
from benchmarks.compose import compose
from benchmarks.layers import ROOT, catalogue, profiles
from benchmarks.measure.flops import DryLedger, bill, method_rows, network_price
from benchmarks.measure.latency import NUM_CLASSES
from benchmarks.measure.usage import forced_usage, parse_usage

PAPER_USAGE = parse_usage("224=.39,168=.165,112=.14,84=.005,skip-1=.06,skip-2=.10,skip-4=.14", {})


@pytest.fixture(scope="module")
def method() -> AdaptiveMethod:
    return compose("arnet", profile="paper").build_method(200).eval()


def frame_macs(method: AdaptiveMethod) -> dict[str, int]:
    """Multiply-accumulates of one frame by component."""
    frame = {size: torch.zeros(1, 3, int(size), int(size)) for size in method.branches}
    branches = {size: price(branch, frame[size]).macs for size, branch in method.branches.items()}
    glance = price(method.glance.backbone, torch.zeros(1, 3, 84, 84)).macs
    return branches | {"glance": glance, "84": 1280 * 200, "policy": 4 * 512 * (1280 + 512) + 512 * 7}


def test_the_papers_usage_costs_the_papers_gflops(method: AdaptiveMethod) -> None:
    action_BT = forced_usage(method.actions, PAPER_USAGE, 25, 16)
    ledger = bill(method, action_BT, 200)
    num_visits = 156 + 66 + 56 + 2 + 24 + 40 // 2 + 56 // 4
    num_frames = {"224": 156, "168": 66, "112": 56, "84": 2, "glance": num_visits, "policy": num_visits}
    expected = {name: num_frames[name] * macs for name, macs in frame_macs(method).items()}
    assert {name: macs_B.sum().item() for name, macs_B in ledger.macs.items()} == expected
    assert round(sum(expected.values()) / 400 / 1e9, 2) == 2.09


def test_heads_of_400_classes_give_the_papers_table(method: AdaptiveMethod) -> None:
    macs = frame_macs(method)
    wider = {"224": 2048 * 200, "168": 512 * 200, "112": 512 * 200}
    gmacs = {size: round((macs[size] + more) / 1e9, 4) for size, more in wider.items()}
    assert gmacs == {"224": 4.1103, "168": 2.2490, "112": 0.4863}  # Table 2 swaps two digits: 0.4683
    assert round((macs["glance"] + 1280 * 400) / 1e9, 4) == 0.0529


def test_network_price() -> None:
    of_200, of_400 = (network_price(BackboneSpec("narrow/8-16-32", 24), num) for num in (200, 400))
    assert of_400.macs - of_200.macs == of_400.audited - of_200.audited == 32 * 200
    assert of_200.macs > of_200.audited > 0


def test_dry_ledger_bills_as_the_real_one() -> None:
    lstm, x_N3, h_N4 = nn.LSTMCell(3, 4), torch.randn(5, 3), torch.randn(5, 4)
    owner_N = torch.tensor([0, 0, 2, 1, 2])
    ledgers = Ledger(3), DryLedger(3)
    real, dry = (ledger.run("lstm", lstm, x_N3, (h_N4, h_N4), owner_N=owner_N) for ledger in ledgers)
    assert [x.shape for x in real] == [x.shape for x in dry]
    assert torch.equal(ledgers[0].total_B, ledgers[1].total_B)
    assert torch.equal(ledgers[0].audited_total_B, ledgers[1].audited_total_B)


@pytest.mark.parametrize("name", ["arnet", "uniform"])
def test_method_rows(name: str) -> None:
    run = compose(name, profile="tiny")
    first = run.recipe.pyramid[0].size
    run.config["usage"] = {"stated": {first: 1.0}}
    rows = {row["decisions"]: row for row in method_rows(run)}
    assert rows["usage stated"]["gmacs"] == pytest.approx(rows[f"all {first}"]["gmacs"]) != 0
    assert str(first) in rows[f"all {first}"]["components"]


def test_the_committed_table_knows_every_method_and_network() -> None:
    methods, networks = (pd.read_csv(ROOT / "results" / f"{name}.csv") for name in ("flops_methods", "flops"))
    assert set(methods.method) == set(catalogue()) and set(methods.profile) == set(profiles())
    pyramids = compose("uniform", profile="paper").recipe.pyramids.values()
    assert set(networks.network) == {str(spec) for pyramid in pyramids for spec in pyramid}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "patch_size", "gflops"),
    [
        # 26.6, 32.7, 35.1 and AdaFocus-TSM's are published; the others of AdaFocus follow from its networks.
        *(("adafocus", size, gflops) for size, gflops in ((96, 17.2), (128, 26.6), (160, 38.5), (192, 53.2))),
        *(("adafocus_tsm", size, gflops) for size, gflops in ((144, 23.5), (160, 27.5), (176, 33.7))),
        ("tsm", 0, 32.7),
        ("tsm_plus", 0, 35.1),
        ("adafocus_plus", 0, 19.6),  # at the share of patches that this point implies
    ],
)
def test_adafocus_costs_what_its_papers_print(name: str, patch_size: int, gflops: float) -> None:
    run = compose(name, profile="paper", overrides=[f"model.patch_size={patch_size}"] if patch_size else [])
    method = run.build_method(NUM_CLASSES).eval()
    num_frames = next(iter(method.views.values())).num_frames
    shares = {method.actions.names[0]: 1.0} if len(method.actions.names) == 1 else run.config["usage"]["paper"]
    ledger = bill(method, forced_usage(method.actions, shares, 25, num_frames), NUM_CLASSES)
    assert ledger.total_B.double().mean().item() / 1e9 == pytest.approx(gflops, rel=0.02)
