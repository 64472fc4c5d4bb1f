"""Example videos for the report: the frames that a method was offered, with its decisions, from easy to hard.

N videos, T frames, C channels, H height, W width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torchvision.io import write_jpeg

from adavid.actions import ActionSpace
from adavid.data.batch import View
from adavid.data.catalogue import VideoCatalogue, VideoRecord
from adavid.evaluation.predictions import Predictions
from adavid.evaluation.records import Box, Strip, write_strips_json
from adavid.method import AdaptiveMethod


def write_strips(
    folder: Path,
    method: AdaptiveMethod,
    catalogue: VideoCatalogue,
    predictions: Predictions,
    num_strips: int = 12,
) -> tuple[Strip, ...]:
    """Write `strips/<i>.jpg` and, once all of them are there, `strips.json`.

    The videos are spread evenly over the ranking by what the method spent on them, ties by video id: for a
    method that spends the same on every video, evenly over the ids. A picture holds the frames of the
    method's first view side by side, as evaluation reads them.

    Args:
        folder: of the run.
        method: says the view and the names of the actions.
        catalogue: the videos that it was evaluated on.
        predictions: of the split that `catalogue` reports.
        num_strips: at most; all videos where there are fewer.

    Returns:
        What `strips.json` holds, the cheapest video first.
    """
    checked = catalogue.checked
    record_of = {record.video_id: record for record in checked.videos[catalogue.report_split]}
    view = next(iter(method.views.values()))
    strips = []
    (folder / "strips").mkdir(parents=True, exist_ok=True)
    for i, n in enumerate(_spread(predictions, num_strips)):
        video_id = str(predictions.video_id[n])
        frames_TCHW = catalogue.reading.read(checked.open(record_of[video_id]), {"frames": view})["frames"]
        if frames_TCHW.ndim == 5:  # clips: the frame in the middle of each
            frames_TCHW = frames_TCHW[:, frames_TCHW.shape[1] // 2]
        image = f"strips/{i}.jpg"
        write_jpeg(torch.cat(list(frames_TCHW), dim=-1), str(folder / image), quality=92)
        labels = predictions.label_NK[n].nonzero()[0]
        prediction = predictions.score_NK[n].argmax()
        shown = _shown(catalogue, record_of[video_id], view)
        action_T = predictions.action_NT[n][predictions.action_NT[n] >= 0]
        strip = Strip(
            video_id=video_id,
            label=", ".join(catalogue.class_names[label] for label in labels),
            prediction=catalogue.class_names[prediction],
            correct=bool(prediction in labels),
            gflops=float(predictions.macs_N[n] / 1e9),
            actions=tuple(method.actions.names[kind] for kind in method.actions.kind(action_T)),
            boxes=_boxes(method.actions, action_T),
            shown=shown[: len(action_T)] if shown is not None and len(shown) >= len(action_T) else None,
            image=image,
        )
        strips.append(strip)
    write_strips_json(folder, tuple(strips))
    return tuple(strips)


def _shown(catalogue: VideoCatalogue, record: VideoRecord, view: View) -> tuple[bool, ...] | None:
    """Whether each frame that the view reads shows what tells the class; None where nobody knows."""
    evidence = catalogue.evidence(record)
    if evidence is None:
        return None
    moments = catalogue.reading.moments(catalogue.checked.open(record), view.num_frames)
    return tuple(evidence.is_shown[moments].tolist())


def _boxes(actions: ActionSpace, action_T: np.ndarray) -> tuple[Box | None, ...] | None:
    """The patch of each frame, None where there is none; None for all where the method cuts no patches."""
    grid = actions.grid
    if grid is None:
        return None
    return tuple(grid.box(int(action)) if action < len(grid) else None for action in action_T)


def _spread(predictions: Predictions, num: int) -> np.ndarray:
    """Rows of at most `num` videos, evenly over the ranking by (MACs, video id), both ends included."""
    ranking_N = np.lexsort((predictions.video_id, predictions.macs_N))
    places = np.linspace(0, len(ranking_N) - 1, min(num, len(ranking_N))).round().astype(int)
    return ranking_N[places]
