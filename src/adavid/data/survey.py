"""Whether a copy of a data set is whole: everything that is wrong with it, counted and named."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from adavid.data.catalogue import SPLITS, FaultKind, VideoCatalogue, VideoRecord
from adavid.data.sources import Clip

LEAVE_OUT = "data.skip_bad=true"


class Finding(NamedTuple):
    """What is wrong in one respect.

    Attributes:
        kind: what, in plural: it is counted.
        names: of each, for people.
        ends_training: whether a training on this data set would be refused for it.
        remedy: a setting that would let it start all the same.
    """

    kind: str
    names: tuple[str, ...]
    ends_training: bool
    remedy: str = ""


class Count(NamedTuple):
    """How many videos and classes a split has, beside the published number of videos, where there is one."""

    split: str
    num_videos: int
    num_classes: int
    published: int | None


class Survey(NamedTuple):
    """What there is of a data set.

    Attributes:
        num_classes: of the data set; `published_classes` is what its authors say, where somebody does.
        counts: by split, and by splits together where they are published so.
        left_out: rows and files that are not used, in words.
        findings: those with something to name.
        missing: the ids of the videos that are not there.
    """

    num_classes: int
    published_classes: int | None
    counts: tuple[Count, ...]
    left_out: str
    findings: tuple[Finding, ...]
    missing: tuple[str, ...]

    @property
    def is_trainable(self) -> bool:
        """Whether a training would start."""
        return not any(finding.ends_training for finding in self.findings)


def survey(catalogue: VideoCatalogue, num_frames: int) -> Survey:
    """Looks all of a data set over; no fault ends it.

    Args:
        catalogue: made by `VideoCatalogue.surveyed`, so that what its lists lack is known.
        num_frames: T: what has fewer frames is too short.

    Raises:
        ValueError: what is remembered of files cannot be read or written; the message names it.
    """
    records = [record for of_split in catalogue.splits.values() for record in of_split]
    ids = Counter((record.split, record.video_id) for record in records)
    missing = [record for record in records if not all(os.path.exists(clip.path) for clip in record.clips)]
    gone = {clip for record in missing for clip in record.clips}
    errors = {
        clip: error
        for split, of_split in catalogue.splits.items()
        for clip, error in catalogue.errors(sorted(_clips(of_split) - gone, key=str), split).items()
    }
    lengths = catalogue.lengths(_clips(records) - gone - errors.keys())
    repeats = list(catalogue.repeats())
    is_strict = not catalogue.skip_bad
    faults = defaultdict[FaultKind, list[str]](list)
    for fault in catalogue.faults or ():
        faults[fault.kind].append(fault.message)
    if FaultKind.SPLIT not in faults:
        faults[FaultKind.SPLIT] = [split for split in SPLITS[:2] if not catalogue.splits[split]]
    findings = [
        *(Finding(kind, tuple(faults[kind]), True) for kind in FaultKind),
        Finding("ids that occur twice in a split", tuple(f"{i} in {s!r}" for (s, i), n in ids.items() if n > 1), True),
        Finding("videos that are missing", tuple(_named(record) for record in missing), is_strict, LEAVE_OUT),
        Finding("videos that are missing, and left out", tuple(catalogue.absent), False),
        Finding("videos that cannot be read", tuple(errors.values()), is_strict, LEAVE_OUT),
        Finding("splits of which no video can be read", tuple(_unread(catalogue, gone | errors.keys())), True),
        Finding(f"videos with fewer than {num_frames} frames", tuple(_short(records, lengths, num_frames)), False),
        Finding("groups in two splits", tuple(catalogue.group_faults()), True),
        Finding("videos in two splits", tuple(repeat.message for repeat in repeats if repeat.is_same_file), True),
        Finding("videos beside their frames", tuple(twins.message for twins in catalogue.twins()), True),
        Finding("copies in two splits", tuple(r.message for r in repeats if not r.is_same_file), False),
        Finding("copies within a split", tuple(_copies_within(catalogue)), False),
        Finding("videos that no list names", tuple(map(str, catalogue.unlisted())), False),
        Finding("classes without a video in a split", tuple(_empty_classes(catalogue)), False),
    ]
    return Survey(
        num_classes=catalogue.num_classes,
        published_classes=catalogue.published.num_classes if catalogue.published else None,
        counts=tuple(_counts(catalogue)),
        left_out=catalogue.left_out,
        findings=tuple(finding for finding in findings if finding.names),
        missing=tuple(dict.fromkeys([*(record.video_id for record in missing), *catalogue.absent])),
    )


def _counts(catalogue: VideoCatalogue) -> Iterator[Count]:
    published = catalogue.published.num_videos if catalogue.published else {}
    for name in dict.fromkeys([*(split for split in SPLITS if catalogue.splits[split]), *published]):
        of = [record for split in name.split("+") for record in catalogue.splits[split]]
        yield Count(name, len(of), len({label for record in of for label in record.labels}), published.get(name))


def _clips(records: Iterable[VideoRecord]) -> set[Clip]:
    return {clip for record in records for clip in record.clips}


def _named(record: VideoRecord) -> str:
    return f"{record.video_id}: {record.path}"


def _unread(catalogue: VideoCatalogue, bad: set[Clip]) -> Iterator[str]:
    """The splits that have videos, and none that can be read."""
    for split, records in catalogue.splits.items():
        if records and not any(bad.isdisjoint(record.clips) for record in records):
            yield split


def _short(records: Sequence[VideoRecord], lengths: Mapping[Clip, int], num_frames: int) -> Iterator[str]:
    for record in records:
        if not record.parts and (length := lengths.get(record.clips[0])) is not None and length < num_frames:
            yield f"{record.video_id}: {length}"


def _copies_within(catalogue: VideoCatalogue) -> Iterator[str]:
    """Files of a split that hold the same: not those that several videos are cut from."""
    for records in catalogue.splits.values():
        by_content: dict[str, Path] = {}
        for path in dict.fromkeys(clip.path for record in records for clip in record.clips):
            content = catalogue.hashes[path]
            first = by_content.setdefault(content, path) if content is not None else path
            if first is not path:
                yield f"{path} is a copy of {first}"


def _empty_classes(catalogue: VideoCatalogue) -> Iterator[str]:
    for split, records in catalogue.splits.items():
        present = {label for record in records for label in record.labels}
        for label, name in enumerate(catalogue.class_names):
            if records and label not in present:
                yield f"{name} in {split!r}"
