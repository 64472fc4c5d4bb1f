"""Decisions from outside: shares of the frames by action, and decisions that have them.

B videos, T frames, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adavid.actions import ActionSpace
from adavid.config import nearest


def parse_usage(text: str, known: Mapping[str, Mapping[Any, float]]) -> dict[str, float] | None:
    """Shares of the frames by action: "224=0.5,skip-1=0.5", the name of a known usage, or "" for None.

    Raises:
        ValueError: an unknown name, or a share that is not a number.
    """
    if not text:
        return None
    if "=" not in text:
        if text not in known:
            raise ValueError(f"usage '{text}' is unknown; {nearest(text, known)}, or action=share,...")
        return {str(name): float(share) for name, share in known[text].items()}
    try:
        pairs = [word.rsplit("=", 1) for word in text.split(",")]
        return {name.strip(): float(share) for name, share in pairs}
    except ValueError:
        raise ValueError(f"usage '{text}': expected action=share,... with numbers") from None


def check_shares(actions: ActionSpace, shares: Mapping[Any, Any]) -> dict[str, float]:
    """The shares by the actions' full names.

    Raises:
        ValueError: an unknown action, shares that are no numbers, negative or do not sum to 1.
    """
    checked: dict[str, float] = {}
    for name, share in shares.items():
        if not isinstance(share, int | float):
            raise ValueError(f"usage: the share of '{name}' must be a number, got {share!r}")
        if share < 0:
            raise ValueError(f"usage: the share of '{name}' must not be negative, got {share}")
        checked[_action_named(str(name), actions)] = float(share)
    if abs(sum(checked.values()) - 1) > 1e-6:
        raise ValueError(f"usage: shares must sum to 1, got {sum(checked.values()):.6g}")
    return checked


def forced_usage(
    actions: ActionSpace, shares: Mapping[str, float], num_videos: int, num_frames: int, seed: int = 0
) -> Tensor:
    """Decisions (B, T) in which each action has its share of the frames, as nearly as whole runs allow.

    Actions that cover several frames come in whole runs, none cut off by a video's end; single frames
    share the rest by largest remainder. Runs are spread evenly over the videos and shuffled within them. Where the
    first action has places, each frame that takes it gets one at random.

    Args:
        actions: the method's.
        shares: fractions of the frames by action's name, 1 in sum; absent means 0. A name may leave out what follows a
            dash where this names one action.
        num_videos: B.
        num_frames: T.
        seed: of the shuffling.

    Raises:
        ValueError: an unknown action, shares that are negative or do not sum to 1, or runs that fit no video.
    """
    shares = check_shares(actions, shares)
    wanted_A = [shares.get(name, 0.0) * num_videos * num_frames for name in actions.names]
    num_runs_A = [0 if k == 1 else round(wanted / k) for wanted, k in zip(wanted_A, actions.covers, strict=True)]
    rest = num_videos * num_frames - sum(num * k for num, k in zip(num_runs_A, actions.covers, strict=True))
    singles = [a for a, k in enumerate(actions.covers) if k == 1 and wanted_A[a] > 0]
    refusal = f"usage: {num_videos} videos of {num_frames} frames cannot hold whole runs of these shares"
    if rest < 0 or (rest > 0 and not singles):
        raise ValueError(refusal)
    for a, num in zip(singles, _largest_remainder([wanted_A[a] for a in singles], rest), strict=True):
        num_runs_A[a] = num

    rng = np.random.default_rng(seed)
    runs = [a for a, num in enumerate(num_runs_A) for _ in range(num)]
    rng.shuffle(runs)
    runs.sort(key=lambda a: -actions.covers[a])  # stable: the longest first, in random order within a length
    videos: list[list[int]] = [[] for _ in range(num_videos)]
    left_B = np.full(num_videos, num_frames)
    for a in runs:
        b = rng.choice(np.flatnonzero(left_B == left_B.max()))
        if left_B[b] < actions.covers[a]:
            raise ValueError(refusal)
        videos[b].append(a)
        left_B[b] -= actions.covers[a]
    for video in videos:
        rng.shuffle(video)
    kind_BT = np.array([[a for a in video for _ in range(actions.covers[a])] for video in videos])
    place_BT = rng.integers(actions.num_places, size=kind_BT.shape)
    return torch.tensor(np.where(kind_BT == 0, place_BT, kind_BT + actions.num_places - 1))


def _action_named(name: str, actions: ActionSpace) -> str:
    """The action of that name, or the only one that begins so: "patch" is patch-96 and patch-128 alike."""
    begin_so = [known for known in actions.names if known.startswith(f"{name}-")]
    if name not in actions.names and len(begin_so) != 1:
        raise ValueError(f"usage: action '{name}' is unknown; {nearest(name, actions.names)}")
    return name if name in actions.names else begin_so[0]


def _largest_remainder(wanted: Sequence[float], total: int) -> list[int]:
    """Whole numbers in proportion to `wanted` that sum to `total`."""
    if not wanted:
        return []
    exact = np.array(wanted) * total / sum(wanted)
    counts = np.floor(exact + 1e-9).astype(int)
    short = np.argsort(counts - exact, kind="stable")[: total - counts.sum()]
    counts[short] += 1
    return counts.tolist()
