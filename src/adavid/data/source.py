"""What frames come from, whatever they are stored as: a video, some of its frames, in order of presentation.

T frames, N frames of a group, C channels, H height, W width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

GROUP_BYTES = 1 << 24  # of the frames that are held at once, of which views are cut: one of 4K has 25 MB


def alone(indices: Sequence[int]) -> np.ndarray:
    """The places (T, 2) of frames that need no other one: each is its own key frame."""
    return np.repeat(np.asarray(indices, dtype=np.int64)[:, None], 2, axis=1)


def part_between(name: str, seconds_T: np.ndarray | None, start: float | None, end: float | None) -> slice:
    """The frames that are shown from a time on and before another, in seconds after the first frame.

    Raises:
        ValueError: there is none, or nobody knows when they are shown; the message has the name.
    """
    if start is None and end is None:
        return slice(None)
    if seconds_T is None:
        raise ValueError(
            f"{name}: a folder of frames has no times, so it takes no start and no end without data.frame_rate"
        )
    first = 0 if start is None else int(np.searchsorted(seconds_T, start))
    last = len(seconds_T) if end is None else int(np.searchsorted(seconds_T, end))
    if first >= last:
        until = "the end" if end is None else f"{end:g} s"
        raise ValueError(f"{name}: no frame from {start or 0:g} s to {until}; the last frame is at {seconds_T[-1]:g} s")
    return slice(first, last)


class Recounted(ValueError):
    """A file has other frames than its container says; they are counted now, so ask again."""


class FrameSource(ABC):
    """The frames of one video or clip, by index: RGB uint8.

    Torch is loaded by who asks for tensors: a process that only decodes is there in a tenth of the time.

    Attributes:
        num_frames: how many there are, at least 1.
        num_decoded: how many frames the latest reading decoded, those passed over on the way included.
        seconds: when each frame is shown (T,), float64, after the first one; None where nobody knows.
    """

    num_frames: int
    num_decoded: int = 0
    seconds: np.ndarray | None = None

    @abstractmethod
    def _decode(self, wanted: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields the frames (H, W, C) at these indices, which ascend and differ; sets `num_decoded`."""

    def places(self, indices: Sequence[int]) -> np.ndarray:
        """Returns where a decoder finds each frame (T, 2): its place in the file, and that of the key frame before.

        Here each frame is its own key frame: it needs no other one.
        """
        return alone(indices)

    def images(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yields the frames (H, W, C), each of its own size, one after the other; the indices never fall.

        Raises:
            ValueError: a frame cannot be decoded; the message names the file.
            Recounted: see there.
        """
        assert all(0 <= index < self.num_frames for index in indices), (indices, self.num_frames)
        images, latest = self._decode(sorted(set(indices))), -1
        for index in indices:
            assert index >= latest, indices
            if index > latest:
                image, latest = next(images), index
            yield image
        for _ in images:  # so that it comes to its end
            raise AssertionError

    def groups(self, indices: Sequence[int]) -> Iterator[Tensor]:
        """Yields the frames as tensors (N, C, H, W), as many at once as are of one size and fit into `GROUP_BYTES`.

        Args:
            indices: that never fall.

        Raises:
            ValueError, Recounted: as `images` does.
        """
        group: list[np.ndarray] = []
        for image in self.images(indices):
            if group and (image.shape != group[0].shape or (len(group) + 1) * image.nbytes > GROUP_BYTES):
                yield _tensor(group)
                group = []
            group.append(image)
        if group:
            yield _tensor(group)

    def read_THWC(self, indices: Sequence[int]) -> np.ndarray:
        """Returns the frames (T, H, W, C), contiguous; indices may repeat and be in any order.

        Raises:
            ValueError: as `images` does; or the frames differ in size.
            Recounted: see there.
        """
        distinct = sorted(set(indices))
        images = dict(zip(distinct, self.images(distinct), strict=True))
        if len({image.shape for image in images.values()}) > 1:
            raise ValueError(f"{self.name}: the frames differ in size")
        return np.stack([images[index] for index in indices])

    def read(self, indices: Sequence[int]) -> Tensor:
        """Returns what `read_THWC` does as a tensor (T, C, H, W)."""
        return _tensor(self.read_THWC(indices))

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call it."""


def _tensor(images: Sequence[np.ndarray] | np.ndarray) -> Tensor:
    import torch

    if isinstance(images, list):
        images = np.stack(images) if len(images) > 1 else np.ascontiguousarray(images[0])[None]
    return torch.from_numpy(images).permute(0, 3, 1, 2)
