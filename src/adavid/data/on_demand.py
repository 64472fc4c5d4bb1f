"""What a decoder that serves frames on demand would decode, by arithmetic: nothing is decoded inside a method.

N frames of a request.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def num_decoded_on_demand(requests: Iterable[np.ndarray]) -> int:
    """How many frames one decoder decodes for a video's requests, one after the other.

    It goes forward from where it stands, or from the key frame before a frame where that is nearer or the frame lies
    behind; frames that it was asked for are kept, those that it passed over are not.

    Args:
        requests: the places (N, 2) of each, `FrameSource.places`, in any order: it serves them in that of the file.
    """
    position, num_decoded = -1, 0
    served = set[int]()
    for place_N2 in requests:
        for frame, key_frame in sorted(map(tuple, place_N2.tolist())):
            if frame in served:
                continue
            first = max(key_frame, position + 1) if frame > position else key_frame
            num_decoded += frame - first + 1
            position = frame
            served.add(frame)
    return num_decoded
