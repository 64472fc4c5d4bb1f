"""Views of videos, and batches of them.

B videos, T frames, S frames of a clip, K classes, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class View:
    """What a method reads of a video: `num_frames` frames of `size` x `size` pixels.

    With `clip` above 1 it reads as many clips: that many frames, `stride` apart in the video, around each.
    """

    num_frames: int
    size: int
    clip: int = 1
    stride: int = 1

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.size < 1:
            raise ValueError(f"num_frames={self.num_frames}, size={self.size}: expected 1 or more")
        assert self.clip >= 1 and self.stride >= 1

    @property
    def shape(self) -> tuple[int, ...]:
        """(T, 3, H, W) of a whole video, or (T, S, 3, H, W) where it reads clips of S frames."""
        return (self.num_frames, *((self.clip,) if self.clip > 1 else ()), 3, self.size, self.size)


class VideoBatch(NamedTuple):
    """B videos. Frames are uint8 as loaded and normalised float32 as a method gets them."""

    frames: dict[str, Tensor]  # by view, (B, T, C, H, W), or (B, T, S, C, H, W) where it reads clips
    mask: dict[str, Tensor]  # by view, bool (B, T), False = padding
    label_BK: Tensor  # float32, 1 for each label
    video_id: list[str]
    num_decoded_B: Tensor | None = None  # int64, frames decoded to get these; 0 from a cache
    forced_BT: Tensor | None = None  # int64, decisions to evaluate with in place of the method's own
    level: list[str] | None = None  # of difficulty, as the data set says it; evaluation reports by it
    group: list[str] | None = None  # of videos that are not independent; intervals are for other groups
    places: list[dict[str, np.ndarray]] | None = None  # of each video: see `VideoSample`


def whole_videos(frames: Mapping[str, Tensor], num_classes: int) -> VideoBatch:
    """A batch of unlabelled videos without padding, on the device of their frames.

    Args:
        frames: by view, (B, T, C, H, W), or (B, T, S, C, H, W) where it reads clips.
        num_classes: K.
    """
    first = next(iter(frames.values()))
    mask = {name: torch.ones(given.shape[:2], dtype=torch.bool, device=given.device) for name, given in frames.items()}
    label_BK = torch.zeros(len(first), num_classes, device=first.device)
    return VideoBatch(dict(frames), mask, label_BK, [f"video-{b}" for b in range(len(first))])


class VideoSample(NamedTuple):
    """One video of a batch to be."""

    frames: dict[str, Tensor]  # by view, uint8 (T, C, H, W), or (T, S, C, H, W) where it reads clips
    labels: tuple[int, ...]
    video_id: str
    num_decoded: int
    level: str = ""
    group: str = ""
    places: dict[str, np.ndarray] | None = None  # by view, (T, S, 2): `FrameSource.places`; None in training


def collate(samples: Sequence[VideoSample], num_classes: int) -> VideoBatch:
    """Makes a batch; clips shorter than the longest of their view are padded with zeros at the end."""
    frames, mask = {}, {}
    for name in samples[0].frames:
        clips = [sample.frames[name] for sample in samples]
        frames[name] = pad_sequence(clips, batch_first=True)
        length_B = torch.tensor([len(clip) for clip in clips])
        mask[name] = torch.arange(frames[name].shape[1]) < length_B[:, None]
    label_BK = torch.zeros(len(samples), num_classes)
    for label_K, sample in zip(label_BK, samples, strict=True):
        label_K[list(sample.labels)] = 1
    num_decoded_B = torch.tensor([sample.num_decoded for sample in samples])
    return VideoBatch(
        frames,
        mask,
        label_BK,
        [sample.video_id for sample in samples],
        num_decoded_B,
        level=[sample.level for sample in samples],
        group=[sample.group for sample in samples],
        places=[sample.places for sample in samples if sample.places is not None] or None,
    )
