"""Lists as AR-Net (Meng et al., ECCV 2020) and its successors share them: a line a video, classes by number."""

from __future__ import annotations

from pathlib import Path

from adavid import FaultKind, ListedCatalogue, VideoRecord


def read_numbered_classes(catalogue: ListedCatalogue, path: Path) -> list[str]:
    """The names of a class list with lines `label,name`, numbered from 0 in order."""
    names: list[str] = []
    for line in catalogue.lines(path):
        label, _, name = line.text.partition(",")
        if label.strip() != str(len(names)) or not name.strip():
            catalogue.malformed(line.where, f"'{len(names)},name'", line.text)
        names.append(name.strip())
    return names


def read_labelled(catalogue: ListedCatalogue, path: Path, videos: Path, split: str) -> None:
    """Adds the videos of a list with lines `video_id,num_frames,label[,label...]`, repeats of a label included.

    The video is `<video_id>` or `v_<video_id>` in `videos`, a file or a folder of frames.
    """
    expected = f"video_id,num_frames,label[,label...] with labels below {catalogue.num_classes}"
    for line in catalogue.lines(path):
        try:
            video_id, _, *labels = line.text.split(",")
            distinct = tuple(sorted({int(label) for label in labels}))
        except ValueError:
            distinct = ()
        if not distinct or not 0 <= distinct[0] <= distinct[-1] < catalogue.num_classes:
            kind = FaultKind.LABEL if distinct else FaultKind.ROW
            catalogue.malformed(line.where, expected, line.text, kind)
            continue
        video = catalogue.medium(line.where, videos / video_id, videos / f"v_{video_id}")
        catalogue.add(VideoRecord(video_id, video, distinct, split))
