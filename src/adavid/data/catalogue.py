"""Data sets: what their videos are and how they are read. A subclass says only what the videos are."""

from __future__ import annotations

import hashlib
import os
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from adavid.data.checks import Checks
from adavid.data.contents import content_hashes
from adavid.data.packs import PackedCache, PackedClip
from adavid.data.prepared import Prepared
from adavid.data.reading import Reading
from adavid.data.source import FrameSource
from adavid.data.sources import VIDEO_SUFFIXES, Clip, Montage, Part, open_source

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One labelled video, or the part of one from `start` to `end`, in seconds after its first frame.

    `level` is one of the data set's levels of difficulty, "" where it has none: it is reported by, and trains nothing.
    `group` names videos that are not independent of each other, cut from one recording or shot in one place, "" where
    the video stands alone: a group is in one split, and intervals are for other groups.
    `parts` is what the video is put together of where it is no file of its own: clips in order of time, each with the
    number of frames that it fills. Then `path` is that of the part which the labels and the group are of.
    `segments` are the times at which what the labels say is seen, from and to, in seconds after the file's first frame;
    empty where nobody has noted them. They are for oracles, and train nothing.
    """

    video_id: str
    path: Path
    labels: tuple[int, ...]
    split: str
    start: float | None = None
    end: float | None = None
    level: str = ""
    group: str = ""
    parts: tuple[Part, ...] = ()
    segments: tuple[tuple[float, float], ...] = ()

    @property
    def clips(self) -> tuple[Clip, ...]:
        """What has to be read for it."""
        if not self.parts:
            return (Clip(self.path, self.start, self.end),)
        return tuple(part.clip for part in self.parts)


class Evidence(NamedTuple):
    """Which frames of a clip show what tells its class: bool, one for each frame in the clip's order.

    Attributes:
        is_shown: the frame shows it, however badly.
        is_clear: it shows it so that the class can be told from this frame; never where it is not shown.
    """

    is_shown: np.ndarray
    is_clear: np.ndarray


class Published(NamedTuple):
    """How large a data set is by its authors' or the papers' count.

    Attributes:
        num_classes: with a video.
        num_videos: by split; "train+val" counts two of them together.
    """

    num_classes: int
    num_videos: Mapping[str, int]


class FaultKind(StrEnum):
    """What may be wrong with a data set's lists and folders, in plural: faults are counted by it."""

    LIST = "lists that cannot be read"
    ROW = "rows that are not as expected"
    LABEL = "labels that are unknown"
    FOLDER = "folders that are not as expected"
    NAME = "names of several videos"
    CLASS = "classes without a video"
    SPLIT = "splits without a video"


class Fault(NamedTuple):
    """Something that is wrong with a data set, and one line that names it."""

    kind: FaultKind
    message: str


class Turns(NamedTuple):
    """Which of a data set's folds a run reads, of how many, where the runs take turns.

    Attributes:
        fold: from 0.
        num_folds: runs that are reported as one: the test videos of all folds are the data set's.
    """

    fold: int
    num_folds: int


@dataclass(frozen=True)
class CheckedVideos:
    """What can be read of a data set.

    Attributes:
        videos: by split.
        bad: why each other video cannot be read, over all splits; the messages name the files.
        open_clip: opens what is read for them.
    """

    videos: Mapping[str, tuple[VideoRecord, ...]]
    bad: tuple[str, ...]
    open_clip: Callable[[Clip], FrameSource]

    def open(self, record: VideoRecord) -> FrameSource:
        """Opens one of the videos."""
        sources = [self.open_clip(clip) for clip in record.clips]
        return Montage(sources, [part.num_frames for part in record.parts]) if record.parts else sources[0]


class VideoCatalogue(ABC):
    """A data set of labelled videos, and how they are read: a value, which nobody changes once it is made.

    A subclass sets `class_names` and says its `records`. Everything else follows from them and is computed once, when
    it is first asked for: making a catalogue opens no video.

    Args:
        num_workers: processes that load; None for 0 with a cache and otherwise 2, or 1 on a single core.
        resize: evaluation resizes the short side to `resize` and keeps the central `crop` x `crop` pixels,
            both in proportion to the size of the view.
        crop: see `resize`.
        scales: sides of the training crop as fractions of the short side, in descending order.
        flip: whether half of the training clips are mirrored; not where left and right tell classes apart.
        cache: folder to keep every clip's decoded frames in (3 bytes a pixel: for short clips), or None.
        contents: file to keep the files' content hashes in, and which of them could be decoded, so that each is read
            through once, or None.
        skip_bad: leave out videos that cannot be read, rather than raise.
        prepared: folder in which the videos were prepared (see `Prepared`), to be read from there; or None.
        frame_rate: of folders of frames, in frames a second; 0 where it is not known: then they are not cut by time.
        short_videos: how a video of fewer frames than a method reads is filled: its frames "spread", the "last" one
            repeated (AR-Net's and AdaFocus's code), or the "first" alone (TSM's, where it has no more than are read).
        per_second: frames to read of a second of a video, up to as many as a method reads (LiteEval: 1); 0: as many of
            any video.

    Attributes:
        class_names: the name of each label.
        level_names: levels of difficulty, easiest first, where the data set has some.
        left_out: what of the data set is not used, counted by reason, in words; "" where all of it is.
        absent: the ids of videos that its lists name and that are left out because they are not there.
        published: how large it is said to be, where somebody says it.
        metric: what the papers on this data set print.
        publishable: whether its pictures may stand in records that are committed.
        turns: where the runs of different seeds read different folds, which one this is.
        reading: how the views of one video are read.
        faults: what is wrong with its lists, where that is collected rather than raised; see `surveyed`.

    Raises:
        ValueError: an argument is out of range.
    """

    class_names: Sequence[str]
    level_names: Sequence[str] = ()
    left_out: str = ""
    absent: Sequence[str] = ()
    published: Published | None = None
    metric: Literal["map", "top1"] = "map"
    publishable: bool = False
    turns: Turns | None = None
    faults: list[Fault] | None = None

    def __init__(
        self,
        num_workers: int | None = None,
        resize: int = 256,
        crop: int = 224,
        scales: Sequence[float] = (1, 0.875, 0.75, 0.66),
        flip: bool = True,
        cache: str | None = None,
        contents: str | None = None,
        skip_bad: bool = False,
        prepared: str | None = None,
        frame_rate: float = 0.0,
        short_videos: str = "spread",
        per_second: float = 0.0,
    ):
        if prepared is not None and cache is not None:
            raise ValueError(f"prepared={prepared}: what is prepared needs no cache, expected cache=null")
        if not 0 <= frame_rate < np.inf:
            raise ValueError(f"frame_rate={frame_rate:g}: expected frames a second, 0 where it is not known")
        if frame_rate and cache is not None:
            raise ValueError(f"frame_rate={frame_rate:g}: a cache cuts no folders of frames, expected cache=null")
        if num_workers is not None and num_workers < 0:
            raise ValueError(f"num_workers={num_workers}: expected 0 or more")
        if num_workers is None:
            num_workers = 0 if cache is not None else min(2, os.cpu_count() or 1)
        self.num_workers = num_workers
        self.reading = Reading(resize, crop, tuple(scales), flip, short_videos, per_second)
        self.cache = None if cache is None else Path(cache)
        self.contents = None if contents is None else Path(contents)
        self.skip_bad = skip_bad
        self.prepared = None if prepared is None else Prepared(Path(prepared))
        self.frame_rate = frame_rate
        self._num_left_out: Counter[str] = Counter()

    @classmethod
    def surveyed(cls, **arguments: Any) -> Self:
        """One that is only looked over: what is wrong with its lists is kept in `faults`, and the row left out.

        Raises:
            ValueError: an argument is out of range, or nothing can be said of the rest.
        """
        catalogue = cls.__new__(cls)
        catalogue.faults = []
        catalogue.__init__(**arguments)  # type: ignore[misc]
        return catalogue

    def refuse(self, kind: FaultKind, message: str) -> None:
        """What a data set does where its lists or files are wrong; where it returns, the row is to be left out.

        Args:
            kind: of what is wrong.
            message: one line that names the file and what was expected.

        Raises:
            ValueError: the message, unless the data set is only looked over.
        """
        if self.faults is None:
            raise ValueError(message)
        self.faults.append(Fault(kind, message))

    def leave_out(self, reason: str, num: int = 1) -> None:
        """Rows or files that the data set makes no use of: counted in `left_out` under their reason, in plural."""
        if num:
            self._num_left_out[reason] += num
            self.left_out = "; ".join(f"{num:,} {reason}" for reason, num in self._num_left_out.items())

    # What a data set says of itself

    @abstractmethod
    def records(self, split: str) -> Sequence[VideoRecord]:
        """Returns the videos of "train", "val" or "test", ids unique; none where there is no such split.

        Asked once for each split, before anything is read: here a data set may make its files.
        """

    def unlisted(self) -> Iterator[Path]:
        """Videos that lie where its own do, and that no list names; none where a data set has no lists."""
        return iter(())

    def evidence(self, record: VideoRecord) -> Evidence | None:
        """Which frames show what tells the class; None where a data set does not know.

        Here it follows from the times that a record's segments say and those of the file's frames: whoever noted a time
        has seen the class there, so what is shown is clear. A folder of frames has no times.

        Oracles and regret are measured with it (`make room`); no method gets to see it.
        """
        if not record.segments or record.parts:
            return None
        seconds_T = self.open_clip(Clip(record.path)).seconds
        if seconds_T is None:
            return None
        end = np.inf if record.end is None else record.end
        return shown_at(seconds_T[((record.start or 0) <= seconds_T) & (seconds_T < end)], record.segments)

    def in_turn(self) -> Sequence[VideoCatalogue]:
        """The data set as each fold has it, where the runs take turns; by itself, as here, where they do not."""
        return [self]

    # What follows from it

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def splits(self) -> Mapping[str, tuple[VideoRecord, ...]]:
        """The records of every split."""
        return {split: tuple(self.records(split)) for split in SPLITS}

    @property
    def report_split(self) -> str:
        """The split that results are reported on: "test" if there is one, else "val"."""
        return "test" if self.splits["test"] else "val"

    @cached_property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that change with the videos of any split, their pictures, labels or cuts.

        Where the runs take turns, with those of any fold: the same for all runs that are reported together.
        """
        if self.turns is not None:
            of_folds = [fold.fingerprint for fold in self.in_turn()]
            return hashlib.sha256(repr(of_folds).encode()).hexdigest()[:8]
        digest = hashlib.sha256(repr(list(self.class_names)).encode())
        if self.prepared is not None:
            digest.update(repr(self.prepared.format).encode())
        for record in self._all_records():
            identity = (record.video_id, record.labels, record.split, record.start, record.end)
            digest.update(repr((*identity, self.hashes[record.path])).encode())
            for part in record.parts:
                of_part = (part.clip.start, part.clip.end, part.num_frames, self.hashes[part.clip.path])
                digest.update(repr(of_part).encode())
        return digest.hexdigest()[:8]

    @cached_property
    def checked(self) -> CheckedVideos:
        """The videos that can be read: every frame is decoded, once a content, or packed where there is a cache.

        Where hashes of contents are kept, so is which frames this code, with these libraries, has decoded.

        What a partial copy lacks it says on stderr, and which files lack frames, and that some are copies of each other
        in two splits.

        Raises:
            ValueError: a split lacks videos, an id occurs twice, two splits share a group or a file, or parts of one
                that overlap, or videos cannot be read: the first line says how many, and each further line names one.
        """
        for split, records in self.splits.items():
            self._check_records(split, records)
        if fault := next(self.group_faults(), ""):
            raise ValueError(fault)
        if self.left_out:
            print(f"adavid: left out: {self.left_out}", file=sys.stderr)
        copies = self._copies()
        videos: dict[str, tuple[VideoRecord, ...]] = {}
        packed: dict[Clip, PackedClip] = {}
        bad: list[str] = []
        unreadable: set[Clip] = set()
        for split, records in self.splits.items():
            clips = list(dict.fromkeys(clip for record in records for clip in record.clips))
            if records and self.cache is not None:
                pack = PackedCache(self.cache, {clip: self.hashes[clip.path] for clip in clips}, split)
                packed |= pack.clips
                errors = pack.errors
            else:
                errors = self.errors(clips, split)
            videos[split] = tuple(record for record in records if errors.keys().isdisjoint(record.clips))
            unreadable |= errors.keys()
            of_records = ([errors[clip] for clip in record.clips if clip in errors] for record in records)
            messages = [of_record[0] for of_record in of_records if of_record]
            if records and not videos[split]:
                raise ValueError(f"no {split!r} video can be read; the first: {messages[0]}")
            bad += messages
        if bad and not self.skip_bad:
            head = f"{len(bad)} of the data set's videos cannot be read; skip_bad=true leaves them out"
            raise ValueError("\n".join([head, *dict.fromkeys(bad)]))
        if copies := [copy for copy in copies if copy.clip not in unreadable]:
            more = f", and {len(copies) - 1} more" if len(copies) > 1 else ""
            print(f"adavid: the same pictures in two splits: {copies[0].message}{more}", file=sys.stderr)
        if self.cache is None and self.prepared is None and (lacking := list(self._checks.incomplete(self.hashes))):
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            print(f"adavid: frames that cannot be decoded are left out of {lacking[0]}{more}", file=sys.stderr)
        return CheckedVideos(videos, tuple(bad), packed.__getitem__ if self.cache is not None else self.open_clip)

    def open_clip(self, clip: Clip) -> FrameSource:
        """Opens a clip that was checked, from where it was prepared if it was.

        Raises:
            ValueError: it cannot be read; the message names the file.
        """
        content = self.hashes.get(clip.path)
        if self.prepared is not None:
            return self.prepared.open(clip, content, self.frame_rate)
        return open_source(*clip, self._checks.timeline(clip.path, content), self.frame_rate)

    @cached_property
    def _checks(self) -> Checks:
        return Checks(self.contents)

    @cached_property
    def hashes(self) -> dict[Path, str | None]:
        """What the files hold, by path."""
        paths = (clip.path for record in self._all_records() for clip in record.clips)
        return content_hashes(paths, self.contents)

    def errors(self, clips: Sequence[Clip], split: str) -> dict[Clip, str]:
        """Why clips cannot be read, of those that cannot."""
        of_files: Mapping[Path, str] = {}
        if self.prepared is None:
            of_files = self._checks.errors({clip.path: self.hashes[clip.path] for clip in clips}, split)
        errors: dict[Clip, str] = {}
        for clip in clips:
            if clip.path in of_files:
                errors[clip] = of_files[clip.path]
            elif self.prepared is not None or clip.start is not None or clip.end is not None:
                try:
                    self.open_clip(clip)
                except ValueError as error:
                    errors[clip] = str(error)
        return errors

    def lengths(self, clips: Iterable[Clip]) -> dict[Clip, int]:
        """How many frames clips have that were checked, all of them readable."""
        clips = list(clips)
        of_files: Mapping[Path, int] = {}
        if self.prepared is None:
            of_files = self._checks.lengths({clip.path: self.hashes[clip.path] for clip in clips})
        is_whole = {clip: clip.start is None and clip.end is None and clip.path in of_files for clip in clips}
        return {clip: of_files[clip.path] if is_whole[clip] else self.open_clip(clip).num_frames for clip in clips}

    def _all_records(self) -> Iterator[VideoRecord]:
        for records in self.splits.values():
            yield from records

    def _check_records(self, split: str, records: Sequence[VideoRecord]) -> None:
        if split != "test" and not records:
            raise ValueError(f"the data set has no {split!r} videos")
        for video_id, num in Counter(record.video_id for record in records).items():
            if num > 1:
                raise ValueError(f"split {split!r} has {num} videos with the id {video_id!r}, expected 1")
        for record in records:
            assert record.split == split and record.labels, record
            assert all(0 <= label < self.num_classes for label in record.labels), record
            assert record.level in ("", *self.level_names), record

    def group_faults(self) -> Iterator[str]:
        """Which groups are in two splits, for people."""
        first: dict[str, VideoRecord] = {}
        for record in self._all_records():
            other = first.setdefault(record.group, record) if record.group else record
            if other.split != record.split:
                videos = f"{other.path} in {other.split!r} and {record.path} in {record.split!r}"
                yield f"group {record.group!r}: expected in one split, found {videos}"

    def _copies(self) -> list[Repeat]:
        """Clips that show an earlier split's pictures, from another file; ValueError where it is the same video."""
        if twins := next(self.twins(), None):
            raise ValueError(twins.message)
        copies = []
        for repeat in self.repeats():
            if repeat.is_same_file:
                raise ValueError(repeat.message)
            copies.append(repeat)
        return copies

    def repeats(self) -> Iterator[Repeat]:
        """Clips that show pictures of an earlier split's, each with one of those, of the same file if there is one."""
        by_content: dict[str, list[_Shown]] = {}
        for shown in dict.fromkeys(_Shown(of.split, clip) for of in self._all_records() for clip in of.clips):
            content = self.hashes[shown.clip.path]
            if content is None:
                continue
            earlier = by_content.setdefault(content, [])
            shared = [other for other in earlier if other.split != shown.split and _overlap(other.clip, shown.clip)]
            same = [other for other in shared if os.path.samefile(other.clip.path, shown.clip.path)]
            if shared:
                yield Repeat(*(same or shared)[0], *shown, bool(same))
            earlier.append(shown)

    def twins(self) -> Iterator[Twins]:
        """A file and a folder of one name, a video and its frames: in one folder, or in two splits of a class."""
        first: dict[tuple[Any, ...], tuple[str, Path]] = {}
        records = {clip.path: record for record in self._all_records() for clip in record.clips}
        if all(os.path.splitext(path)[1].lower() in VIDEO_SUFFIXES for path in records):
            return
        for path, record in records.items():
            folder, name = os.path.split(path)
            stem, suffix = os.path.splitext(name)
            name = stem if suffix.lower() in VIDEO_SUFFIXES else name
            found = None
            for place in ((folder, name), (record.labels, name)):
                split, other = first.setdefault(place, (record.split, path))
                if other is path or found is not None:
                    continue
                is_near = split != record.split or other.parent == path.parent
                if is_near and os.path.isdir(other) != os.path.isdir(path):
                    found = Twins(other, split, path, record.split)
            if found is not None:
                yield found


class _Shown(NamedTuple):
    """A clip that videos of a split show."""

    split: str
    clip: Clip


class Repeat(NamedTuple):
    """A clip that shows what one of an earlier split does, and whether they are of the same file."""

    first_split: str
    first: Clip
    split: str
    clip: Clip
    is_same_file: bool

    @property
    def message(self) -> str:
        """For people."""
        if not self.is_same_file:
            return f"{_named(self.clip)} in {self.split!r} is a copy of {_named(self.first)} in {self.first_split!r}"
        named = "" if self.first == self.clip else f" as {_named(self.first)}"
        return f"{_named(self.clip)}: expected in one split, found in {self.first_split!r}{named} and {self.split!r}"


class Twins(NamedTuple):
    """A file and a folder of one name."""

    first: Path
    first_split: str
    path: Path
    split: str

    @property
    def message(self) -> str:
        """For people."""
        places = [f"{self.first} in {self.first_split!r}", f"{self.path} in {self.split!r}"]
        return f"a video and its frames by their names, expected one of them: {' and '.join(places)}"


def shown_at(seconds_T: np.ndarray, segments: Sequence[tuple[float, float]]) -> Evidence:
    """The frames at these times that lie in one of the segments, ends included."""
    is_shown_T = np.zeros(len(seconds_T), dtype=bool)
    for start, end in segments:
        is_shown_T |= (start <= seconds_T) & (seconds_T <= end)
    return Evidence(is_shown_T, is_shown_T)


def _overlap(one: Clip, other: Clip) -> bool:
    last_start = max(one.start or 0, other.start or 0)
    return all(clip.end is None or last_start < clip.end for clip in (one, other))


def _named(clip: Clip) -> str:
    if clip.start is None and clip.end is None:
        return str(clip.path)
    end = "its end" if clip.end is None else f"{clip.end:g} s"
    return f"{clip.path} from {clip.start or 0:g} s to {end}"
