"""The room that adaptivity has: what oracles of frames and of resolution attain with uniform's networks.

N videos, B videos of a batch, T frames, K classes, R resolutions from the lowest to the highest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from adavid.cost import Ledger
from adavid.data.batch import VideoBatch, View
from adavid.data.catalogue import Evidence, VideoCatalogue, VideoRecord
from adavid.data.sampling import segment_indices
from adavid.evaluation.metrics import mean_average_precision, top1
from adavid.evaluation.records import Looked, RoomEvidence, RoomPoint, RoomRecord, Sufficient, write_room
from adavid.evaluation.schema import SCHEMA
from adavid.evaluation.stats import seed_names
from adavid.files import locked
from adavid.losses import scores_from_logits
from adavid.method import AdaptiveMethod
from benchmarks.compose import tested
from benchmarks.dashboard import Dashboard
from benchmarks.measure.low_level import separability
from benchmarks.measure.regret import Regret, mean_regret, regret
from benchmarks.models import as_evaluated, data_of, folder_of, prepare, trained
from benchmarks.report.compare import the_entry
from benchmarks.report.entries import Entry, Place, read_entries
from benchmarks.report.room import MEANING, mean_sufficient, shown, shown_beside
from benchmarks.run import Run
from benchmarks.workspace import Workspace

NETWORKS = "cascade"  # uniform's networks at every resolution, trained once
NUM_SEPARATED = 150  # training videos whose frames the low-level statistics are taken of


class Looks(NamedTuple):
    """What the networks say of each frame by itself, and what it costs."""

    video_id: list[str]
    label_NK: np.ndarray
    mask_NT: np.ndarray  # bool, False = padding
    logits_RNTK: np.ndarray
    macs_RNT: np.ndarray  # int64


def main_room(runs: Sequence[Run], workspace: Workspace, split: str = "test") -> RoomRecord:
    """Measure the room on a split; of the reported split write `room.json` beside the methods' folders.

    Args:
        runs: of `NETWORKS`, one a seed, trained now as far as they are not.
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
    sizes, num_frames = sizes_of(first), looks[0].mask_NT.shape[1]
    evidence = sampled_evidence(catalogue, videos, num_frames)
    clear_NT = None if evidence is None else evidence.is_clear
    of_level = {level: np.array([video.level == level for video in videos]) for level in catalogue.level_names}
    of_level = {level: is_of_N for level, is_of_N in of_level.items() if is_of_N.any()}
    points, sufficient = room_points(looks, sizes, clear_NT, of_level)
    record = RoomRecord(
        schema=SCHEMA,
        kind="room",
        data=first.data,
        profile=first.profile,
        split=split,
        fingerprint=catalogue.fingerprint,
        networks=first.method,
        config_hash=first.hash,
        seeds=tuple(run.seed for run in runs),
        num_videos=len(videos),
        num_frames=num_frames,
        sizes=sizes,
        chance=float(looks[0].label_NK.mean()),
        points=points,
        sufficient=sufficient,
        evidence=None if evidence is None else _of_evidence(catalogue, evidence),
    )
    if split == catalogue.report_split and not first.debugging:
        write_room(workspace.records / first.data / first.profile, record)
    return record


def sizes_of(run: Run) -> tuple[int, ...]:
    """The resolutions that the networks have, from the lowest to the highest."""
    return tuple(sorted(spec.size for spec in run.recipe.pyramid))


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
    beside, notes = shown_beside(entries), list[str]()
    if label:
        entry = the_entry(entries, label, place)
        seeds = set(entry.seeds) & set(record.seeds)
        if entry.first.split != record.split or not seeds:
            has = f"{label} has records of the {entry.first.split} split, seeds {seed_names(entry.seeds)}"
            raise ValueError(f"room: {has}; the room is of {record.split}, seeds {seed_names(record.seeds)}")
        entry = entry.of_seeds(seeds)
        beside[f"{label}, seeds {seed_names(seeds)}"] = entry
        if (found := regret_of(run.catalogue, entry)) is not None:
            notes.append(_regret_note(record, label, found))
    room = shown(record, beside)
    texts = (table.to_markdown(index=False, tablefmt="simple", disable_numparse=True) for table in room.tables)
    return "\n\n".join([room.heading, *texts, *room.notes, *notes, MEANING])


def regret_of(catalogue: VideoCatalogue, entry: Entry) -> Regret | None:
    """The regret of a method, a mean over its seeds; None where the data set does not know its evidence."""
    by_id = {video.video_id: video for video in catalogue.checked.videos[entry.first.split]}
    found = []
    for run in entry.predictions():
        videos = [by_id[video_id] for video_id in run.video_id.tolist()]
        evidence = sampled_evidence(catalogue, videos, run.action_NT.shape[1])
        if evidence is None:
            return None
        found.append(regret(run, entry.first.usage.actions, evidence, catalogue.level_names))
    return mean_regret(found)


def _regret_note(record: RoomRecord, label: str, of: Regret) -> str:
    assert record.evidence is not None
    oracle = mean_sufficient(record)
    own, best = (
        {level or "all": f"{size:.1f}" for level, size in sizes.items()} for sizes in (of.size_by_level, oracle)
    )
    levels = [f"{level} {own[level]} ({best[level]})" for level in own if level in best]
    return (
        f"{label} sees {100 * of.close_of_clear:.1f} % of the frames with clear evidence as closely as it can, "
        f"{100 * of.seen_of_clear:.1f} % at all; {100 * of.cost_without:.1f} % of its cost goes to frames without "
        f"evidence, which are {100 * (1 - record.evidence.shown):.1f} % of all. Mean side in pixels of the pictures "
        f"that it sees, and of those that the oracle of both does: {', '.join(levels)}."
    )


# Looking at every frame by itself


def look(run: Run, workspace: Workspace, split: str) -> Looks:
    """Every network on every sampled frame of a split, each frame as a video of its own, billed by the ledger."""
    prepare(run)
    with locked(folder_of(run, workspace) / ".lock"):
        rungs = [tested(run, "room", ladder=f"{size}x1") for size in sizes_of(run)]
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
        if evidence is None:
            return None
        index_T = segment_indices(len(evidence.is_shown), num_frames)
        shown.append(evidence.is_shown[index_T])
        clear.append(evidence.is_clear[index_T])
    return Evidence(np.stack(shown), np.stack(clear))


def room_points(
    looks: Sequence[Looks], sizes: Sequence[int], clear_NT: np.ndarray | None, of_level: Mapping[str, np.ndarray]
) -> tuple[tuple[RoomPoint, ...], tuple[Sufficient, ...]]:
    """Uniform at every resolution and the oracles; and at which resolution the answer is right first.

    Args:
        looks: of each seed.
        sizes: the R resolutions in pixels.
        clear_NT: which frames show clear evidence; None where nobody knows: then there is no oracle of frames.
        of_level: which videos are of a level of difficulty, bool (N,), by its name.
    """
    mask_NT = looks[0].mask_NT
    used: dict[Looked, np.ndarray] = {"all": mask_NT}
    choices: list[tuple[Looked, int | None]] = [("all", size) for size in sizes]
    if clear_NT is not None:
        used["evidence"] = np.where((clear_NT & mask_NT).any(1, keepdims=True), clear_NT & mask_NT, mask_NT)
        choices += [("evidence", sizes[-1]), ("all", None), ("evidence", None)]
    else:
        choices += [("all", None)]
    answers = {frames: [_answers(of, used_NT) for of in looks] for frames, used_NT in used.items()}
    points = []
    for frames, size in choices:
        by_seed = [_taken(of, None if size is None else sizes.index(size)) for of in answers[frames]]
        label_NK = looks[0].label_NK
        points.append(
            RoomPoint(
                frames=frames,
                size=size,
                map=tuple(mean_average_precision(label_NK, of.score_NK) for of in by_seed),
                top1=tuple(top1(label_NK, of.score_NK) for of in by_seed),
                gflops_per_video=tuple(float(of.macs_N.mean()) / 1e9 for of in by_seed),
                levels={
                    level: tuple(top1(label_NK[is_of_N], of.score_NK[is_of_N]) for of in by_seed)
                    for level, is_of_N in of_level.items()
                },
            )
        )
    all_levels = {"": np.ones(len(mask_NT), dtype=bool), **of_level}
    sufficient = [
        Sufficient(frames=frames, level=level, shares=_first_right([of.is_right_RN[:, is_of_N] for of in by_seed]))
        for frames, by_seed in answers.items()
        for level, is_of_N in all_levels.items()
    ]
    return tuple(points), tuple(sufficient)


class Answers(NamedTuple):
    """Of one seed, from the same frames at each resolution."""

    score_RNK: np.ndarray
    macs_RN: np.ndarray
    is_right_RN: np.ndarray


class Taken(NamedTuple):
    """Of one seed, at the resolution chosen for each video."""

    score_NK: np.ndarray
    macs_N: np.ndarray


def _answers(looks: Looks, used_NT: np.ndarray) -> Answers:
    """Uniform's: the average over the frames that are used."""
    total_RNK = np.einsum("rntk,nt->rnk", looks.logits_RNTK, used_NT.astype(np.float32))
    mean_RNK = total_RNK / np.maximum(used_NT.sum(1), 1)[:, None].astype(np.float32)
    score_RNK = scores_from_logits(torch.as_tensor(mean_RNK)).numpy()
    best_RN1 = score_RNK.argmax(-1)[..., None]
    is_right_RN = np.take_along_axis(np.broadcast_to(looks.label_NK > 0, score_RNK.shape), best_RN1, -1)[..., 0]
    return Answers(score_RNK, (looks.macs_RNT * used_NT).sum(-1), is_right_RN)


def _taken(answers: Answers, resolution: int | None) -> Taken:
    """At one resolution; or of each video at the lowest whose answer is right, the highest where none is."""
    right_RN = answers.is_right_RN.copy()
    right_RN[-1] = True
    chosen_N = right_RN.argmax(0) if resolution is None else np.full(right_RN.shape[1], resolution)
    row_N = np.arange(len(chosen_N))
    return Taken(answers.score_RNK[chosen_N, row_N], answers.macs_RN[chosen_N, row_N])


def _first_right(right: Sequence[np.ndarray]) -> tuple[float, ...]:
    """By resolution, the share of the videos that it is the first right one of, and of those without; over seeds."""
    shares = []
    for right_RN in right:
        first_N = np.where(right_RN.any(0), right_RN.argmax(0), len(right_RN))
        shares.append(np.bincount(first_N, minlength=len(right_RN) + 1) / len(first_N))
    return tuple(np.mean(shares, axis=0).tolist())


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
        evidence, source = catalogue.evidence(video), catalogue.checked.open(video.clip)
        assert evidence is not None
        view = View(source.num_frames, catalogue.reading.crop)
        frames_TCHW = catalogue.reading.read(source, {"frames": view})["frames"]
        yield frames_TCHW.permute(0, 2, 3, 1).numpy(), evidence.is_shown
