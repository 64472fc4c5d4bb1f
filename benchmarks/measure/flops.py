"""The cost tables: the papers' networks beside what the papers print, every method by action.

The unit is the GMAC, 1e9 multiply-accumulates (the papers' "GFLOPs"). B videos, T frames, N routed rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from tqdm import tqdm

from adavid.chunks import shaped
from adavid.config import load_yaml
from adavid.cost import Ledger, Price, price
from adavid.data.batch import whole_videos
from adavid.files import write_atomically
from adavid.method import AdaptiveMethod
from adavid.networks.backbones import BackboneSpec, build_backbone
from benchmarks.compose import compose
from benchmarks.layers import ROOT, catalogue, methods_of, profiles
from benchmarks.measure.latency import NUM_CLASSES
from benchmarks.measure.usage import forced_usage
from benchmarks.run import Run

REPORTED = ROOT / "results" / "reported" / "backbone_costs.csv"
NUM_VIDEOS = 25  # of a stated usage: with 16 frames each, shares in steps of a quarter of a percent


class DryLedger(Ledger):
    """Bills without running: only one row of zeros runs, for the shape of the outputs, and stands for all."""

    def run(self, name: str, module: nn.Module, *inputs: Any, owner_N: Tensor) -> Any:
        inputs = shaped(inputs)
        self.bill(name, price(module, *inputs), owner_N)
        outputs = module(*tree_map_only(Tensor, lambda x: x.new_zeros(1, *x.shape[1:]), inputs))
        return tree_map_only(Tensor, lambda y: y.expand(len(owner_N), *y.shape[1:]), outputs)


def main_flops(results: Path) -> str:
    """Compute both tables; write them to `flops.md` and, all digits, `flops.csv` and `flops_methods.csv`.

    Args:
        results: folder to write into; the papers' costs are read from `reported` in the repository's.

    Returns:
        the tables for reading.
    """
    networks, methods = network_table(), method_table()
    text = "\n\n".join(
        [
            "# What running costs",
            'GMACs a frame (1 MAC = 1 "FLOP" of the papers), by `make flops`. `audited` is the part of '
            "convolutions, matrix products, recurrent layers and attention. "
            f"Heads have {NUM_CLASSES} classes in `profile=paper`.",
            "## Networks of `profile=paper`, beside what their papers print",
            "AR-Net's supplementary Table 2, LiteEval's section 4.1. `printed way` repeats the computation behind the "
            "printed number, where it is known, with our counter.",
            _markdown(networks, 4),
            "## Methods",
            "A frame's bill where all frames of a video take one action, or at a stated usage, by component; `below "
            "dearest` is what the method's dearest decision costs more (SoF-Net's equation 10, policies included). "
            "Recurrent layers are priced in full, which the papers leave out or approximate.",
            _markdown(methods, 4),
        ]
    )
    write_atomically(results / "flops.csv", networks.to_csv(index=False))
    write_atomically(results / "flops_methods.csv", methods.to_csv(index=False))
    write_atomically(results / "flops.md", text + "\n")
    return text


def network_table() -> pd.DataFrame:
    """One row for each network of the papers' pyramids; empty where no paper prints a number."""
    recipe = compose(catalogue()[0], profile="paper").recipe
    specs = dict.fromkeys(spec for pyramid in recipe.pyramids.values() for spec in pyramid)
    notes = load_yaml(Path(__file__).with_suffix(".yaml"))
    reported = pd.read_csv(REPORTED, index_col=["network", "resolution"])["gflops"]
    rows = []
    for spec in tqdm(specs, desc="networks", leave=False):
        note = notes.get(str(spec), {})
        own = network_price(spec, NUM_CLASSES)
        row: dict[str, Any] = {"network": str(spec), "gmacs": own.macs / 1e9, "audited": own.audited / 1e9}
        key = (note.get("reported"), spec.size)
        if key in reported.index:
            printed = float(reported[key])
            row |= {"reported": printed, "reported/gmacs": printed / row["gmacs"]}
            row |= {"printed way": _printed_way(spec, note), "why": note["why"]}
        rows.append(row)
    return pd.DataFrame(rows)


def network_price(spec: BackboneSpec, num_classes: int) -> Price:
    """The price of one frame through a network and its linear head."""
    backbone = build_backbone(spec.name).eval()
    of_backbone = price(backbone, torch.zeros(spec.view(1).shape))
    of_head = price(nn.Linear(backbone.num_features, num_classes), torch.zeros(1, backbone.num_features))
    return Price(of_backbone.macs + of_head.macs, of_backbone.audited + of_head.audited)


def _printed_way(spec: BackboneSpec, note: Mapping[str, Any]) -> float:
    """GMACs as the paper arrived at them: with other heads, or at another size and scaled by area; nan if unknown."""
    if "native" in note:
        return network_price(BackboneSpec(spec.name, note["native"]), 1000).macs / 1e9 * (spec.size / 224) ** 2
    if "heads" in note:
        counted = network_price(spec, note["heads"])
        return (counted.audited if note.get("tally") == "audited" else counted.macs) / 1e9
    return float("nan")


def method_table() -> pd.DataFrame:
    """The bill of a frame of every method of the catalogue, by action and at the usages of its YAML."""
    runs = [compose(name, profile=profile) for profile in profiles() for name in methods_of(profile)]
    table = pd.DataFrame([row for run in tqdm(runs, desc="methods", leave=False) for row in method_rows(run)])
    columns = ["method", "profile", "decisions", "gmacs", "below dearest", "audited", "components"]
    return table[columns]


def method_rows(run: Run) -> list[dict[str, Any]]:
    """The rows of one method: all frames under each action, then each stated usage."""
    num_classes = NUM_CLASSES if run.profile == "paper" else run.catalogue.num_classes
    method = run.build_method(num_classes).eval()
    actions, num_frames = method.actions, next(iter(method.views.values())).num_frames
    decisions = {  # of a patch's places the first, as they cost the same
        f"all {name}": torch.full((1, num_frames), actions.first_index(kind)) for kind, name in enumerate(actions.names)
    }
    for name, shares in run.config.get("usage", {}).items():
        shares = {str(action): share for action, share in shares.items()}
        decisions[f"usage {name}"] = forced_usage(actions, shares, NUM_VIDEOS, num_frames)
    rows: list[dict[str, Any]] = []
    for name, action_BT in decisions.items():
        ledger = bill(method, action_BT, num_classes)
        per_frame = 1 / (action_BT.numel() * 1e9)
        components = {part: macs_B.sum().item() * per_frame for part, macs_B in ledger.macs.items()}
        rows.append(
            {
                "method": run.label,
                "profile": run.profile,
                "decisions": name,
                "gmacs": sum(components.values()),
                "audited": ledger.audited_total_B.sum().item() * per_frame,
                "components": " + ".join(f"{part} {macs:.4f}" for part, macs in components.items() if macs),
            }
        )
    dearest = max(row["gmacs"] for row in rows)
    return [{**row, "below dearest": dearest - row["gmacs"]} for row in rows]


def bill(method: AdaptiveMethod, action_BT: Tensor, num_classes: int) -> DryLedger:
    """What B videos of full length would cost under the given decisions; nearly nothing runs."""
    ledger = DryLedger(len(action_BT))
    nothing = {name: torch.zeros(()).expand(len(action_BT), *view.shape) for name, view in method.views.items()}
    batch = whole_videos(nothing, num_classes)
    with torch.inference_mode():
        method(batch, ledger, action_BT)
    return ledger


def _markdown(table: pd.DataFrame, digits: int) -> str:
    text = table.map(lambda value: f"{value:.{digits}f}" if isinstance(value, float) else value)
    return text.replace("nan", "").fillna("").to_markdown(index=False, disable_numparse=True)
