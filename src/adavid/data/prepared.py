"""Videos decoded once and kept as pictures, of which each can be had by itself: a shard a video.

A shard is a safetensors file, named by what its video's file or folder holds. It has the pictures, as JPEGs or as raw
pixels, which of the video's frames they are, when each is shown, and of what it was made.

T frames, C channels, H height, W width.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from adavid.data.folder import FrameFolder
from adavid.data.processes import answers
from adavid.data.source import FrameSource, part_between
from adavid.data.sources import Clip
from adavid.data.video import UprightRGB, counted_timeline
from adavid.files import locked, read_text, reason, write_atomically

FORMAT = "format.json"  # in the folder: what all its shards are like


@dataclass(frozen=True)
class Format:
    """What the pictures of a prepared data set are like.

    Attributes:
        short: pixels of the short side, to which larger pictures are reduced; 0 leaves each as it is.
        quality: of the JPEGs, from 1 to 100; 0 keeps raw pixels.
        fps: pictures a second at most, the first ones of as many equal intervals; 0 keeps every frame.
        edition: of this module.

    Raises:
        ValueError: a number is out of range.
    """

    short: int = 256
    quality: int = 95
    fps: float = 0.0
    edition: int = 1

    def __post_init__(self) -> None:
        if self.short < 0 or not 0 <= self.quality <= 100 or self.fps < 0:
            expected = "expected a short side and pictures a second of 0 or more, and a quality from 0 to 100"
            raise ValueError(f"short={self.short}, quality={self.quality}, fps={self.fps:g}: {expected}")


class Written(NamedTuple):
    """A shard that was written."""

    num_bytes: int
    num_lost: int  # packets of the video that could not be decoded


class Prepared:
    """A folder of shards, all of one format.

    Args:
        folder: of them.

    Raises:
        ValueError: it is none; the message names it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not os.path.exists(folder / FORMAT):
            raise ValueError(f"{folder}: has no {FORMAT}, so nothing was prepared there: make prepare")
        self.format = _read_format(folder / FORMAT)

    @classmethod
    def make(cls, folder: Path, wanted: Format) -> Prepared:
        """One to be filled; where it is there already, it must be of the wanted format.

        Raises:
            ValueError: it is of another one, or cannot be written.
        """
        with locked(folder / ".lock"):
            if not os.path.exists(folder / FORMAT):
                write_atomically(folder / FORMAT, json.dumps(dataclasses.asdict(wanted)))
        made = cls(folder)
        for name, value in dataclasses.asdict(wanted).items():
            if (found := getattr(made.format, name)) != value:
                raise ValueError(f"{folder}: was prepared with {name}={found}, not {value}: expected another folder")
        return made

    def shard(self, content: str) -> Path:
        """Where the shard of a video lies, by the hash of what its file holds."""
        return self.folder / content[:2] / f"{content}.safetensors"

    def open(self, clip: Clip, content: str | None, frame_rate: float = 0.0) -> FrameSource:
        """The pictures of a clip.

        Args:
            clip: of the data set.
            content: the hash of what its file or folder holds.
            frame_rate: of a folder, in frames a second, where it is known.

        Raises:
            ValueError: they are not there, or cut off, or none is in the clip; the message names the video.
        """
        if content is None or not os.path.exists(self.shard(content)):
            raise ValueError(f"{clip.path}: is not among the prepared videos of {self.folder}: make prepare")
        return PreparedClip(self.shard(content), clip, frame_rate)

    def write(self, contents: Mapping[Path, str], num_processes: int | None = None) -> Iterator[Written | str]:
        """Writes the shards of videos, several at a time; yields for each, in order, what was written, or why not.

        Args:
            contents: the hash of what each file or folder holds.
            num_processes: None for one a core.

        Raises:
            ValueError: the folder cannot be written, or is full.
        """
        requests = [Request(path, self.shard(content), self.format) for path, content in contents.items()]
        for answer in answers(_write, requests, num_processes):
            if isinstance(answer, Stopped):
                raise ValueError(answer.message)
            yield answer


class PreparedClip(FrameSource):
    """The pictures of a video, or of a part of one, from its shard: they decode no other frame than what is asked for.

    Raises:
        ValueError: the shard is cut off, or another program's, or has nothing of the clip; the message names it.
    """

    def __init__(self, shard: Path, clip: Clip, frame_rate: float = 0.0) -> None:
        self._shard = shard
        with _opened(shard) as file:
            names = file.keys()
            self._is_raw = "pixels" in names
            self._end_T = file.get_tensor("end")
            frame_T = file.get_tensor("frame")
            seconds_T = file.get_tensor("seconds") if "seconds" in names else None
        if seconds_T is None and frame_rate:
            seconds_T = frame_T / frame_rate
        part = part_between(str(clip.path), seconds_T, clip.start, clip.end)
        self._first = part.start or 0
        self.num_frames = len(self._end_T[part])
        if seconds_T is not None:
            self.seconds = seconds_T[part] - seconds_T[self._first]

    @property
    def name(self) -> str:
        return str(self._shard)

    def _decode(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        with _opened(self._shard) as file:
            pictures = file.get_slice("pixels" if self._is_raw else "jpeg")
            for index in wanted:
                at = self._first + index
                if self._is_raw:
                    yield pictures[at : at + 1][0]
                else:
                    start = int(self._end_T[at - 1]) if at else 0
                    yield self._image(pictures[start : int(self._end_T[at])])

    def _image(self, jpeg: np.ndarray) -> np.ndarray:
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg

        try:
            return decode_jpeg(torch.from_numpy(jpeg), ImageReadMode.RGB).permute(1, 2, 0).numpy()
        except RuntimeError as error:
            raise ValueError(f"{self._shard}: a picture cannot be decoded ({reason(error)})") from error


def is_whole(shard: Path) -> bool:
    """Whether a shard is there, and not cut off."""
    try:
        with _opened(shard) as file:
            return "end" in file.keys()  # noqa: SIM118 - no mapping
    except ValueError:
        return False


def _opened(shard: Path) -> Any:
    try:
        return safe_open(shard, "np")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{shard}: cut off, or no shard ({reason(error)}): make prepare") from error


def _read_format(file: Path) -> Format:
    text = read_text(file)
    try:
        return Format(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file}: expected the format of prepared videos ({reason(error)})") from None


# What a process that prepares does


class Request(NamedTuple):
    """A shard to write."""

    path: Path  # of the video
    shard: Path
    format: Format


class Stopped(NamedTuple):
    """Why no shard can be written there."""

    message: str


def _write(request: Request) -> Written | Stopped | str:
    """Writes a shard, whole or not at all; or says why the video cannot be read, or the shard not written."""
    pictures = _Pictures(request.format)
    try:
        if os.path.isdir(request.path):
            seconds_T, num_lost = None, 0
            folder = FrameFolder(request.path)
            for image in folder.images(range(folder.num_frames)):
                pictures.add(image)
        else:
            to_rgb = UprightRGB()
            timeline = counted_timeline(request.path, lambda frame, now: pictures.add(partial(to_rgb, frame), now))
            seconds_T, num_lost = timeline.seconds[pictures.frames], timeline.num_lost
        arrays = pictures.arrays(request.path)
    except ValueError as error:
        return str(error)
    if seconds_T is not None:
        arrays["seconds"] = seconds_T
    made_of = {"video": request.shard.stem, "num_lost": num_lost, **dataclasses.asdict(request.format)}
    try:
        # One entry of metadata: several would stand in another order each time.
        content = save(arrays, {"made of": json.dumps(made_of)})
        write_atomically(request.shard, content)
    except OSError as error:
        return Stopped(f"{request.shard}: cannot be written ({reason(error)})")
    return Written(len(content), num_lost)


class _Pictures:
    """The pictures of a shard, one after the other."""

    def __init__(self, wanted: Format) -> None:
        self._format = wanted
        self._images: list[np.ndarray] = []
        self._num_seen = 0
        self._due = 0  # the interval of which a picture is wanted next
        self.frames: list[int] = []

    def add(self, image: np.ndarray | Callable[[], np.ndarray], seconds: float | None = None) -> None:
        """The next frame (H, W, C), or what makes it; and when it is shown, where that is known."""
        frame, self._num_seen = self._num_seen, self._num_seen + 1
        if self._format.fps and seconds is not None:
            interval = int(seconds * self._format.fps + 1e-6)
            if interval < self._due:
                return
            self._due = interval + 1
        self.frames.append(frame)
        self._images.append(_picture(image() if callable(image) else image, self._format))

    def arrays(self, path: Path) -> dict[str, np.ndarray]:
        """Those of the shard."""
        frame_T = np.array(self.frames, dtype=np.int64)
        if self._format.quality:
            end_T = np.cumsum([len(jpeg) for jpeg in self._images], dtype=np.int64)
            return {"jpeg": np.concatenate(self._images), "end": end_T, "frame": frame_T}
        if len({image.shape for image in self._images}) > 1:
            raise ValueError(f"{path}: the frames differ in size, which raw pixels may not")
        return {"pixels": np.stack(self._images), "end": np.arange(1, 1 + len(frame_T)), "frame": frame_T}


def _picture(image: np.ndarray, wanted: Format) -> np.ndarray:
    """A frame (H, W, C) reduced, and as the bytes of a JPEG."""
    import torch
    from torchvision.io import encode_jpeg

    from adavid.data.transforms import resize_short

    image_CHW = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    if 0 < wanted.short < min(image.shape[:2]):
        image_CHW = resize_short(image_CHW[None], wanted.short)[0]
    if wanted.quality:
        return encode_jpeg(image_CHW.contiguous(), wanted.quality).numpy()
    return image_CHW.permute(1, 2, 0).contiguous().numpy()
