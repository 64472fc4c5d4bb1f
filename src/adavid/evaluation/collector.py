"""What a method answers and spends while a split is evaluated, collected video by video.

B videos, N videos of a whole split, T frames, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from adavid import ranks
from adavid.cost import Read
from adavid.data.batch import VideoBatch
from adavid.data.on_demand import num_decoded_on_demand
from adavid.evaluation.metrics import mean_average_precision, top1
from adavid.evaluation.predictions import Predictions
from adavid.evaluation.summary import action_shares
from adavid.losses import scores_from_logits
from adavid.method import AdaptiveMethod


@dataclass(frozen=True)
class Evaluation:
    """What a model answered and spent on a split, each video once.

    Attributes:
        predictions: per video.
        components: mean GFLOPs per video of each component.
        audited_gflops: mean GFLOPs per video that the independent counter sees too.
        frames_decoded: mean a video; 0 where all came from a cache.
        frames_decoded_on_demand: mean a video that a decoder would decode for what networks saw, when they are to.
    """

    predictions: Predictions
    components: dict[str, float]
    audited_gflops: float
    frames_decoded: float
    frames_decoded_on_demand: float


class GFLOPsCallback(Callback):
    """Collects each video's bill, and its prediction with it, while a method is validated or tested.

    The collected rows are gathered over all ranks by video id, each video once, so that metrics are computed over the
    whole split (means of means over uneven ranks would be wrong). `evaluation` holds the last split.
    """

    def __init__(self) -> None:
        self.evaluation: Evaluation | None = None
        self._rows: dict[str, list[np.ndarray]] = {}
        self._components: dict[str, dict[str, int]] = {}

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rows, self._components = {}, {}

    on_test_epoch_start = on_validation_epoch_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: VideoBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, AdaptiveMethod)
        assert batch.num_decoded_B is not None and batch.places is not None
        output, ledger = outputs["output"], outputs["ledger"]
        is_seen_A = torch.tensor([*pl_module.actions.is_seen, False], device=output.action_BT.device)  # -1: padding
        rows = {
            "video_id": np.array(batch.video_id, dtype=np.str_),
            "label_NK": batch.label_BK.cpu().numpy(),
            "score_NK": scores_from_logits(output.logits_BK).cpu().numpy(),
            "action_NT": output.action_BT.cpu().numpy(),
            "macs_N": ledger.total_B.cpu().numpy(),
            "frames_used_N": is_seen_A[pl_module.actions.kind(output.action_BT)].sum(1).cpu().numpy(),
            "level_N": np.array(batch.level or [""] * len(batch.video_id), dtype=np.str_),
            "group_N": np.array(batch.group or [""] * len(batch.video_id), dtype=np.str_),
            "decoded_N": batch.num_decoded_B.cpu().numpy(),
            "on_demand_N": decoded_on_demand(ledger.reads, batch.places),
            "audited_N": ledger.audited_total_B.cpu().numpy(),
        }
        for name, value in rows.items():
            self._rows.setdefault(name, []).append(value)
        bills = {name: macs_B.tolist() for name, macs_B in ledger.macs.items()}
        for b, video_id in enumerate(batch.video_id):
            self._components[video_id] = {name: macs[b] for name, macs in bills.items()}

    on_test_batch_end = on_validation_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, AdaptiveMethod)
        self._gather()
        assert self.evaluation is not None
        predictions = self.evaluation.predictions
        values = {
            "val/map": mean_average_precision(predictions.label_NK, predictions.score_NK),
            "val/top1": top1(predictions.label_NK, predictions.score_NK),
            "val/gflops_per_video": float(predictions.macs_N.mean()) / 1e9,
        }
        actions = pl_module.actions
        shares = action_shares(actions.kind(predictions.action_NT), len(actions.names))
        values |= {f"val/usage/{name}": share for name, share in zip(actions.names, shares, strict=True)}
        # Equal on every rank: gathered already, so nothing is left to synchronise.
        pl_module.log_dict(values, rank_zero_only=True)
        pl_module.log("map", values["val/map"], prog_bar=True, logger=False, rank_zero_only=True)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._gather()

    def _gather(self) -> None:
        own = {name: np.concatenate(parts) for name, parts in self._rows.items()}
        shares = ranks.gathered((own, self._components))
        rows = {name: np.concatenate([of_rank[name] for of_rank, _ in shares]) for name in own}
        components = {video_id: bill for _, bills in shares for video_id, bill in bills.items()}
        audited_N, decoded_N, on_demand_N = (rows.pop(f"{name}_N") for name in ("audited", "decoded", "on_demand"))
        _, first = np.unique(rows["video_id"], return_index=True)
        names = sorted({name for bill in components.values() for name in bill})
        means = {name: sum(bill.get(name, 0) for bill in components.values()) / len(components) for name in names}
        self.evaluation = Evaluation(
            Predictions(**rows).unique(),
            {name: macs / 1e9 for name, macs in means.items()},
            float(audited_N[first].mean()) / 1e9,
            float(decoded_N[first].mean()),
            float(on_demand_N[first].mean()),
        )


def decoded_on_demand(reads: Sequence[Read], places: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    """How many frames of each of B videos a decoder would decode for what networks saw of them, when they did.

    Args:
        reads: of a ledger, one call after the other.
        places: of each video, by view (T, S, 2).
    """
    requests_B: list[list[np.ndarray]] = [[] for _ in places]
    for read in reads:
        video_N, frame_N = read.video_N.cpu().numpy(), read.frame_N.cpu().numpy()
        inner = slice(None) if read.inner is None else read.inner
        for b in np.unique(video_N).tolist():
            requests_B[b].append(places[b][read.view][frame_N[video_N == b], inner].reshape(-1, 2))
    return np.array([num_decoded_on_demand(requests) for requests in requests_B])
