"""Media decoded whole: to keep their frames, or to know which of them there are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from adavid.data.folder import FrameFolder
from adavid.data.source import Recounted
from adavid.data.sources import Clip, open_source
from adavid.data.video import Timeline, counted_timeline

Frames = np.ndarray | str  # of a clip, uint8 (T, H, W, C); or why it cannot be decoded
Checked = Timeline | int | str  # of a file, or how many frames a folder has; or why it cannot be decoded


def decoded(clip: Clip) -> Frames:
    """All frames of a clip, channels last: that is what decoding gives and resizing is quickest on."""
    try:
        source = open_source(*clip)
        try:
            return source.read_THWC(range(source.num_frames))
        except Recounted:
            return source.read_THWC(range(source.num_frames))
    except ValueError as error:
        return str(error)


def checked(path: Path) -> Checked:
    """What is there, every frame of it decoded: of a file, those that decode."""
    try:
        if not os.path.isdir(path):
            return counted_timeline(path)
        folder = FrameFolder(path)
        for _ in folder.images(range(folder.num_frames)):
            pass
        return folder.num_frames
    except ValueError as error:
        return str(error)
