"""Which frames of a video are read: one a segment (Wang et al., Temporal Segment Networks, ECCV 2016), or a clip.

T frames or clips, S frames of a clip.
"""

from collections.abc import Sequence

import numpy as np


def segment_indices(
    num_available: int, num_frames: int, rng: np.random.Generator | None = None, short: str = "spread"
) -> list[int]:
    """Returns one frame index from each of `num_frames` equal segments, in order of time.

    Segment i covers [tick * i, tick * (i + 1)) with tick = num_available / num_frames. With a generator the
    index is uniform in the segment (training); without one it is the centre, int(tick / 2 + tick * i), as in
    AR-Net's evaluation. A video shorter than `num_frames` repeats frames; the indices never decrease.

    Authors fill short videos in ways of their own: with their last frame (AR-Net's and AdaFocus's code), or with their
    first frame alone, where they have no more than `num_frames` (TSM's).

    Args:
        num_available: frames in the video, at least 1.
        num_frames: frames to read, at least 1.
        rng: the source of randomness in training; None in evaluation.
        short: what becomes of a short video: "spread", "last" or "first".
    """
    assert num_available > 0 and num_frames > 0
    if short == "last" and num_available < num_frames:
        return np.minimum(np.arange(num_frames), num_available - 1).tolist()
    if short == "first" and num_available <= num_frames:
        return [0] * num_frames
    tick = num_available / num_frames
    offset_T = np.full(num_frames, 0.5) if rng is None else rng.random(num_frames)
    index_T = (tick * offset_T + tick * np.arange(num_frames)).astype(np.int64)
    # The sum can round up to the end of the last segment, which is not a frame.
    return np.minimum(index_T, num_available - 1).tolist()


def clip_indices(moments: Sequence[int], clip: int, stride: int, num_available: int) -> list[int]:
    """Returns the frames of the clips around some frames, clip after clip; past an end its last frame repeats.

    Args:
        moments: the frame in the middle of each clip: the one with `clip // 2` frames before it.
        clip: frames in a clip; with 1 they are the moments themselves.
        stride: how far apart they are in the video.
        num_available: frames in the video.
    """
    index_TS = np.asarray(moments)[:, None] + stride * (np.arange(clip) - clip // 2)
    return index_TS.clip(0, num_available - 1).flatten().tolist()
