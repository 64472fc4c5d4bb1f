"""Prepare a data set: its videos decoded once, into pictures of which each can be had by itself."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from adavid.cores import num_cores
from adavid.data.catalogue import VideoCatalogue
from adavid.data.contents import content_hashes
from adavid.data.prepared import Format, Prepared, Written, is_whole
from adavid.files import write_atomically

SAMPLE = 8  # videos, evenly spaced, by which the others are estimated; none if they are no more than twice as many
UNREADABLE = "unreadable.txt"  # in the folder
NUM_NAMED = 5


class _Done(NamedTuple):
    """What became of some videos."""

    written: list[Written]
    errors: list[str]
    num_bytes_read: int
    seconds: float  # of all that it took, but for what it took to begin


def prepare(catalogue: VideoCatalogue, folder: Path, wanted: Format, jobs: int | None = None) -> Iterator[str]:
    """Writes the shards that are not there yet; yields what there is to say, line by line.

    A shard is there whole or not at all, so that a run that was ended goes on where it was. Whatever cannot be read is
    listed in the folder, in `unreadable.txt`.

    Args:
        catalogue: of the videos.
        folder: for the shards.
        wanted: what they are to be like.
        jobs: processes at once; None for one a core.

    Raises:
        ValueError: the folder is of another format, cannot be written, or has too little room; or no video is there.
    """
    clips = (clip for records in catalogue.splits.values() for record in records for clip in record.clips)
    contents = content_hashes(dict.fromkeys(clip.path for clip in clips), catalogue.contents)
    absent = [f"{path}: not there, or no file" for path, content in contents.items() if content is None]
    if len(absent) == len(contents):
        raise ValueError(f"prepare: of {len(contents)} videos none is there; the first: {absent[0]}")
    made = Prepared.make(folder, wanted)
    distinct = {content: path for path, content in contents.items() if content is not None}
    left = {path: content for content, path in distinct.items() if not is_whole(made.shard(content))}
    num_done = len(distinct) - len(left)
    yield f"{len(distinct):,} videos: {num_done:,} prepared already, {len(left):,} to do; {len(absent):,} are not there"
    done = []
    if len(left) > 2 * SAMPLE:
        some = dict(list(left.items())[:: len(left) // SAMPLE])
        left = {path: content for path, content in left.items() if path not in some}
        done = [_write(made, some, jobs, "preparing some")]
        yield _estimate(done[0], left, folder)
    done += [_write(made, left, jobs, "preparing")]
    errors = [*absent, *(error for part in done for error in part.errors)]
    write_atomically(folder / UNREADABLE, "".join(f"{error}\n" for error in errors))
    yield from _summary([of for part in done for of in part.written], errors, folder)


def _write(made: Prepared, contents: Mapping[Path, str], jobs: int | None, name: str) -> _Done:
    num_bytes = sum(map(_size, contents))
    answers = made.write(contents, min(jobs or num_cores(), max(1, len(contents))))
    found, begun = list[Written | str](), time.monotonic()
    for answer in tqdm(answers, name, len(contents), unit="video", disable=not contents):
        begun = begun if found else time.monotonic()
        found.append(answer)
    seconds = (time.monotonic() - begun) * len(found) / max(1, len(found) - 1)
    written = [of for of in found if isinstance(of, Written)]
    return _Done(written, [of for of in found if isinstance(of, str)], num_bytes, seconds)


def _estimate(sample: _Done, rest: Collection[Path], folder: Path) -> str:
    """What the rest will take, by its size on disk; ValueError where there is no room for it."""
    share = sum(map(_size, rest)) / max(1, sample.num_bytes_read)
    num_bytes = share * sum(of.num_bytes for of in sample.written)
    free = shutil.disk_usage(folder).free
    takes = f"about {_duration(share * sample.seconds)} and {_gigabytes(num_bytes)}"
    if num_bytes > free:
        raise ValueError(
            f"{folder}: has {_gigabytes(free)} free, and the rest takes {takes}: expected more room, or fewer pictures "
            "a second (FPS), smaller ones (SHORT) or a lower quality (QUALITY)"
        )
    return f"the other {len(rest):,} take {takes}; {_gigabytes(free)} are free"


def _summary(written: list[Written], errors: list[str], folder: Path) -> Iterator[str]:
    num_bytes, num_lossy = sum(of.num_bytes for of in written), sum(of.num_lost > 0 for of in written)
    yield f"prepared {len(written):,} videos, {_gigabytes(num_bytes)}"
    if num_lossy:
        yield f"{num_lossy:,} of them lack frames, which cannot be decoded"
    if errors:
        yield f"{len(errors):,} cannot be read, see {folder / UNREADABLE}; the first:"
        yield from (f"  {error}" for error in errors[:NUM_NAMED])


def _size(path: Path) -> int:
    """Bytes of a video file, or of a folder's frames."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def _gigabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:,.3g} GB"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
