"""How fast videos are read, from their files and prepared, beside other ways to read the same frames."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd

from adavid.data.catalogue import VideoCatalogue
from adavid.data.contents import content_hashes
from adavid.data.prepared import Format, Prepared
from adavid.data.sampling import segment_indices
from adavid.data.sources import Clip, open_source
from adavid.data.video import Timeline, counted_timeline

Reader = Callable[[Path, Sequence[int]], np.ndarray]  # the frames (T, H, W, C) of a file at these indices

NUM_ROUNDS = 5
WRONG = 8.0  # mean difference from the right frame, of 255: decoders round colours in their own ways, by 1 or 2


def data_bench(catalogue: VideoCatalogue, num_frames: int, num_videos: int) -> str:
    """Times reading frames of a data set's videos, in turns, one thread each, and counts the wrong ones.

    Right is what decoding a file in sequence gives.

    Args:
        catalogue: of the videos; those of the training split are read that are files.
        num_frames: of each, the centres of as many segments.
        num_videos: the first ones, whole files.

    Returns:
        a table.

    Raises:
        ValueError: there are no such files, or one cannot be read.
    """
    clips = dict.fromkeys(clip.path for record in catalogue.splits["train"] for clip in record.clips)
    paths = [path for path in clips if path.is_file()][:num_videos]
    if not paths:
        raise ValueError("data-bench: the training split has no video files")
    timelines = {path: counted_timeline(path) for path in paths}
    wanted = {path: segment_indices(len(timelines[path].pts), num_frames) for path in paths}
    truth = {path: _sequential(path, wanted[path]) for path in paths}
    with tempfile.TemporaryDirectory() as folder:
        readers = dict(_readers(paths, timelines, Path(folder)))
        wrong = {
            name: sum(_num_wrong(reader, path, wanted[path], truth[path]) for path in paths)
            for name, reader in readers.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(NUM_ROUNDS):
            for name, reader in readers.items():
                start = time.perf_counter()
                for path in paths:
                    with suppress(Exception):  # counted as wrong
                        reader(path, wanted[path])
                seconds[name].append(time.perf_counter() - start)
    return _table(seconds, wrong, len(paths), num_frames)


def _readers(paths: Sequence[Path], timelines: dict[Path, Timeline], folder: Path) -> Iterator[tuple[str, Reader]]:
    yield "PyAV, in sequence", _sequential
    yield "file", lambda path, indices: open_source(path).read_THWC(indices)
    yield "file, checked", lambda path, indices: open_source(path, timeline=timelines[path]).read_THWC(indices)
    contents = content_hashes(paths)
    for name, wanted in (("prepared", Format()), ("prepared, raw", Format(quality=0))):
        made = Prepared.make(folder / name, wanted)
        list(made.write({path: content for path, content in contents.items() if content is not None}))
        yield name, partial(_of_shard, made, contents)
    for name, reader in (("torchcodec", _torchcodec), ("cv2", _opencv)):
        if importlib.util.find_spec(name) is not None:
            with suppress(Exception):  # torchcodec without FFmpeg's libraries
                reader(paths[0], [0])
                yield name, reader


def _of_shard(made: Prepared, contents: Mapping[Path, str | None], path: Path, indices: Sequence[int]) -> np.ndarray:
    return made.open(Clip(path), contents[path]).read_THWC(indices)


def _sequential(path: Path, indices: Sequence[int]) -> np.ndarray:
    """The plain loop: every frame up to the last one wanted is decoded."""
    images: dict[int, np.ndarray] = {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = "NONE", 1
        for index, frame in enumerate(container.decode(stream)):
            if index in indices:
                images[index] = frame.to_ndarray(format="rgb24", threads=1)
            if index == max(indices):
                break
    return np.stack([images[index] for index in indices])


def _torchcodec(path: Path, indices: Sequence[int]) -> np.ndarray:
    decoders: Any = importlib.import_module("torchcodec.decoders")
    decoder = decoders.VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact")
    frames: np.ndarray = decoder.get_frames_at(list(indices)).data.numpy()
    return frames


def _opencv(path: Path, indices: Sequence[int]) -> np.ndarray:
    cv2: Any = importlib.import_module("cv2")
    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    images = []
    for index in indices:
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        images.append(cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(images)


def _num_wrong(reader: Reader, path: Path, indices: Sequence[int], truth_THWC: np.ndarray) -> int:
    try:
        read_THWC = reader(path, indices)
    except Exception:  # of a library that somebody has installed
        return len(indices)
    if read_THWC.shape != truth_THWC.shape:  # reduced
        return 0 if len(read_THWC) == len(truth_THWC) else len(indices)
    error_T = np.abs(read_THWC.astype(np.int16) - truth_THWC).mean((1, 2, 3))
    return int((error_T > WRONG).sum())


def _table(seconds: dict[str, list[float]], wrong: dict[str, int], num_videos: int, num_frames: int) -> str:
    plain, *_ = seconds.values()
    rows = []
    for name, taken in seconds.items():
        ratios = [own / of_plain for own, of_plain in zip(taken, plain, strict=True)]
        rows.append(
            {
                "source": name,
                "videos / s": f"{num_videos / np.median(taken):.3g}",
                "time, of the plain loop's": f"{np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
                "wrong frames": f"{wrong[name]} of {num_videos * num_frames}",
            }
        )
    head = f"{num_frames} frames of each of {num_videos} videos, one thread, {NUM_ROUNDS} rounds in turns"
    return f"{head}\n{pd.DataFrame(rows).to_markdown(index=False, tablefmt='simple', disable_numparse=True)}"
