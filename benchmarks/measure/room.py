"""The room that adaptivity has: what oracles of frames and of resolution attain with uniform's networks.

N videos, B videos of a batch, T frames, K classes, S seeds, R resolutions from the lowest to the highest, F choices of
frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from adavid.cost import Ledger
from adavid.data.batch import VideoBatch, View
from adavid.data.catalogue import Evidence, VideoCatalogue, VideoRecord
from adavid.data.sampling import segment_indices
from adavid.evaluation.room import (
    RoomAnswers,
    RoomEvidence,
    RoomRecord,
    room_points,
    sufficient_shares,
    write_room,
)
from adavid.evaluation.schema import SCHEMA
from adavid.evaluation.stats import seed_names
from adavid.files import locked
from adavid.losses import scores_from_logits
from adavid.method import AdaptiveMethod
from benchmarks.compose import evaluated_with
from benchmarks.dashboard import Dashboard
from benchmarks.measure.low_level import separability
from benchmarks.models import as_evaluated, data_of, folder_of, prepare, trained
from benchmarks.report.compare import the_entry
from benchmarks.report.entries import Place, read_entries
from benchmarks.report.regret import Regret, entry_regret
from benchmarks.report.room import MEANING, shown, shown_beside
from benchmarks.run import Run
from benchmarks.workspace import Workspace

NUM_SEPARATED = 150  # training videos whose frames the low-level statistics are taken of


class Looks(NamedTuple):
    """What the networks say of each frame by itself, and what it costs."""

    video_id: list[str]
    label_NK: np.ndarray
    mask_NT: np.ndarray  # bool, False = padding
    logits_RNTK: np.ndarray
    macs_RNT: np.ndarray  # int64


def main_room(runs: Sequence[Run], workspace: Workspace, split: str = "test") -> RoomRecord:
    """Measure the room on a split; of the reported split write `room.json` and `.npz` beside the methods' folders.

    Args:
        runs: of the networks (see `room_networks`), one a seed, trained now as far as they are not.
        workspace: where their models lie.
        split: "val", or "test" for the split that results are reported on.

    Raises:
        ValueError: as training does.
    """
    first = runs[0]
    split = first.catalogue.report_split if split == "test" else split
    looks = [look(run, workspace, split) for run in runs]
    catalogue, videos = first.catalogue, first.catalogue.checked.videos[split]
    assert all(of.video_id == [video.video_id for video in videos] for of in looks)
    evidence = sampled_evidence(catalogue, videos, looks[0].mask_NT.shape[1])
    answers = room_answers(looks, evidence, [video.level for video in videos])
    sizes = sizes_of(first)
    record = RoomRecord(
        schema=SCHEMA,
        kind="room",
        data=first.data,
        profile=first.profile,
        split=split,
        fingerprint=catalogue.fingerprint,
        networks=first.label,
        config_hash=first.hash,
        seeds=tuple(run.seed for run in runs),
        num_videos=len(videos),
        num_frames=looks[0].mask_NT.shape[1],
        sizes=sizes,
        chance=float(answers.label_NK.mean()),
        points=room_points(answers, sizes, catalogue.level_names),
        sufficient=sufficient_shares(answers, catalogue.level_names),
        evidence=None if evidence is None else _of_evidence(catalogue, evidence),
    )
    if split == catalogue.report_split and not first.debugging:
        write_room(workspace.records / first.data / first.profile, record, answers)
    return record


def room_text(record: RoomRecord, run: Run, workspace: Workspace, label: str = "") -> str:
    """The room for reading; and where a method stands in it, with its regret, from its records.

    Args:
        record: of the room.
        run: one of those that it was measured with.
        workspace: where the results lie.
        label: of the method, 'method' or 'method@variant'; "" for none.

    Raises:
        ValueError: the method has no records, or none of the room's split or of its seeds.
    """
    place = Place(record.data, record.profile, record.fingerprint)
    entries = [entry for entry in read_entries(workspace.results) if entry.place == place]
    beside, missed = shown_beside(entries), dict[str, Regret]()
    if label:
        entry = the_entry(entries, label, place)
        seeds = set(entry.seeds) & set(record.seeds)
        if entry.first.split != record.split or not seeds:
            has = f"{label} has records of the {entry.first.split} split, seeds {seed_names(entry.seeds)}"
            raise ValueError(f"room: {has}; the room is of {record.split}, seeds {seed_names(record.seeds)}")
        beside[label] = entry = entry.of_seeds(seeds)
        videos = run.catalogue.checked.videos[record.split]
        evidence = sampled_evidence(run.catalogue, videos, entry.first.frames.num_frames)
        if evidence is not None:
            video_id = np.array([video.video_id for video in videos])
            missed[label] = entry_regret(entry, video_id, *evidence, run.catalogue.level_names)
    room = shown(record, beside, missed)
    texts = [table.to_markdown(index=False, tablefmt="simple", disable_numparse=True) for _, table in room.tables]
    titled = [part for (title, _), text in zip(room.tables, texts, strict=True) for part in (title, text) if part]
    return "\n\n".join([room.heading, *titled, *room.notes, MEANING])


def sizes_of(run: Run) -> tuple[int, ...]:
    """The resolutions that the networks have, from the lowest to the highest."""
    return tuple(sorted(spec.size for spec in run.recipe.pyramid))


# Looking at every frame by itself


def look(run: Run, workspace: Workspace, split: str) -> Looks:
    """Every network on every sampled frame of a split, each frame as a video of its own, billed by the ledger."""
    prepare(run)
    with locked(folder_of(run, workspace) / ".lock"):
        rungs = [evaluated_with(run, "room", ladder=f"{size}x1") for size in sizes_of(run)]
        methods = [trained(run, workspace, Dashboard("off"), at).to(run.device) for at in rungs]
    data = data_of(run, methods[0])
    loader = data.val_dataloader() if split == "val" else data.test_dataloader()
    parts = []
    for batch in tqdm(loader, desc=f"looking, seed {run.seed}", unit="batch", leave=False):
        on_device = data.on_after_batch_transfer(data.transfer_batch_to_device(batch, run.device, 0), 0)
        with as_evaluated(run):
            parts.append(look_at(methods, on_device))
    video_ids, labels, masks, logits, macs = zip(*parts, strict=True)
    return Looks(
        [video_id for of in video_ids for video_id in of],
        np.concatenate(labels),
        np.concatenate(masks),
        np.concatenate(logits, axis=1),
        np.concatenate(macs, axis=1),
    )


def look_at(methods: Sequence[AdaptiveMethod], batch: VideoBatch) -> Looks:
    """What each method says of each frame of a batch, taken as a video of its own."""
    shape = batch.mask["frames"].shape
    alone = VideoBatch(
        {"frames": batch.frames["frames"].flatten(0, 1).unsqueeze(1)},
        {"frames": batch.mask["frames"].flatten()[:, None]},
        batch.label_BK.repeat_interleave(shape[1], dim=0),
        [f"{video_id}, frame {t}" for video_id in batch.video_id for t in range(shape[1])],
    )
    logits, macs = [], []
    for method in methods:
        ledger = Ledger(len(alone.video_id), alone.label_BK.device)
        logits.append(method(alone, ledger).logits_BK.float().unflatten(0, shape))
        macs.append(ledger.total_B.unflatten(0, shape))
    arrays = (batch.label_BK, batch.mask["frames"], torch.stack(logits), torch.stack(macs))
    return Looks(batch.video_id, *(array.cpu().numpy() for array in arrays))


# Oracles


def sampled_evidence(catalogue: VideoCatalogue, videos: Sequence[VideoRecord], num_frames: int) -> Evidence | None:
    """Which of the frames that evaluation reads show the evidence, (N, T); None where the data set does not know."""
    shown, clear = [], []
    for video in videos:
        evidence = catalogue.evidence(video)
        if catalogue.reading.per_second:
            raise ValueError("room: expected data.per_second=0: oracles choose among as many frames of every video")
        if evidence is None:
            return None
        index_T = segment_indices(len(evidence.is_shown), num_frames, short=catalogue.reading.short_videos)
        shown.append(evidence.is_shown[index_T])
        clear.append(evidence.is_clear[index_T])
    return Evidence(np.stack(shown), np.stack(clear))


def room_answers(looks: Sequence[Looks], evidence: Evidence | None, levels: Sequence[str]) -> RoomAnswers:
    """What uniform answers, the average over frames: over all, and over those with clear evidence where there are some.

    Args:
        looks: of each seed.
        evidence: which frames show it, (N, T); None where nobody knows.
        levels: of difficulty, one a video.
    """
    first, mask_NT = looks[0], looks[0].mask_NT
    used = [mask_NT]
    if evidence is not None:
        clear_NT = evidence.is_clear & mask_NT
        used.append(np.where(clear_NT.any(1, keepdims=True), clear_NT, mask_NT))
    used_FNT = np.stack(used)
    return RoomAnswers(
        video_id=np.array(first.video_id, dtype=np.str_),
        label_NK=first.label_NK.astype(np.uint8),
        level_N=np.array(levels, dtype=np.str_),
        score_SFRNK=np.stack([_scores(of.logits_RNTK, used_FNT) for of in looks]),
        macs_SFRN=np.stack([np.einsum("rnt,fnt->frn", of.macs_RNT, used_FNT) for of in looks]),
        is_shown_NT=np.zeros((len(mask_NT), 0), bool) if evidence is None else evidence.is_shown & mask_NT,
        is_clear_NT=np.zeros((len(mask_NT), 0), bool) if evidence is None else evidence.is_clear & mask_NT,
    )


def _scores(logits_RNTK: np.ndarray, used_FNT: np.ndarray) -> np.ndarray:
    """(F, R, N, K): the softmax of the mean over the used frames."""
    total_FRNK = np.einsum("rntk,fnt->frnk", logits_RNTK, used_FNT.astype(logits_RNTK.dtype))
    num_FN = np.maximum(used_FNT.sum(-1), 1).astype(logits_RNTK.dtype)
    return scores_from_logits(torch.as_tensor(total_FRNK / num_FN[:, None, :, None])).numpy()


# The evidence


def _of_evidence(catalogue: VideoCatalogue, sampled: Evidence) -> RoomEvidence:
    return RoomEvidence(
        shown=float(sampled.is_shown.mean()),
        clear=float(sampled.is_clear.mean()),
        without_clear=float((~sampled.is_clear.any(1)).mean()),
        separability=separability(_whole_videos(catalogue)),
    )


def _whole_videos(catalogue: VideoCatalogue) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every frame, as evaluation crops it, of training videos from all over the split; and which show the evidence."""
    videos = catalogue.checked.videos["train"]
    chosen = np.unique(np.linspace(0, len(videos) - 1, NUM_SEPARATED).round().astype(int))
    for video in (videos[i] for i in chosen.tolist()):
        evidence, source = catalogue.evidence(video), catalogue.checked.open(video)
        assert evidence is not None
        view = View(source.num_frames, catalogue.reading.crop)
        frames_TCHW = catalogue.reading.read(source, {"frames": view})["frames"]
        yield frames_TCHW.permute(0, 2, 3, 1).numpy(), evidence.is_shown
