"""Any folder of videos, one sub-folder a class: DATA=folder:/path."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from adavid import SPLITS, FaultKind, VideoCatalogue, VideoRecord, list_folder, list_media, list_others, nearest


class FolderCatalogue(VideoCatalogue):
    """Videos as <path>/<split>/<class>/<video>, or without splits as <path>/<class>/<video>.

    A video is a file or a folder of JPEG frames; other files are left out, and counted. Splits are train, val and, if
    there is one, test. Without them every fifth video of a class, drawn at random, is in val.

    Args:
        path: the folder.
        split_seed: what the split is drawn from where the folder has none; not the seed of a run, so that
            runs compare on the same videos.
        **options: see `VideoCatalogue`.

    Raises:
        ValueError: a folder, a split, a class or a video is missing; the message names it.
    """

    def __init__(self, path: str, split_seed: int = 0, **options: Any):
        super().__init__(**options)
        root = Path(path)
        if present := [split for split in SPLITS if os.path.isdir(root / split)]:
            if missing := [split for split in ("train", "val") if split not in present]:
                self.refuse(FaultKind.FOLDER, f"{root}: has {present[0]}/ but no {missing[0]}/")
            videos = {split: self._videos(root / split) for split in present}
        else:
            videos = _split(self._videos(root), np.random.default_rng(split_seed))
            if not any(videos["val"].values()):
                problem = f"{root}: a class needs 2 videos or more to be split into train and val"
                self.refuse(FaultKind.SPLIT, problem)
        self.class_names = sorted(videos.get("train", ()))
        self._records = []
        for split, by_class in videos.items():
            for name, paths in by_class.items():
                if name not in self.class_names:
                    problem = f"{root / split / name}: no such class in train/"
                    self.refuse(FaultKind.LABEL, f"{problem}; {nearest(name, self.class_names)}")
                    continue
                label = self.class_names.index(name)
                for video in paths:
                    video_id = video.relative_to(root).as_posix()
                    self._records.append(VideoRecord(video_id, video, (label,), split))

    def records(self, split: str) -> list[VideoRecord]:
        return [record for record in self._records if record.split == split]

    def _videos(self, folder: Path) -> dict[str, list[Path]]:
        """Returns the videos by class."""
        classes = [path for path in list_folder(folder) if os.path.isdir(path)]
        if not classes:
            raise ValueError(f"{folder}: has no sub-folders; expected one for each class")
        videos = {path.name: list_media(path) for path in classes}
        for path in classes:
            for other in list_others(path):
                self.leave_out(f"files called *{other.suffix}, which is no video's suffix")
        for name in [name for name, paths in videos.items() if not paths]:
            self.refuse(FaultKind.CLASS, f"{folder / name}: has neither videos nor folders of frames")
            del videos[name]
        return videos


def _split(videos: dict[str, list[Path]], rng: np.random.Generator) -> dict[str, dict[str, list[Path]]]:
    """Returns the videos by split and class, about a fifth of each class in val and at least one in train."""
    split: dict[str, dict[str, list[Path]]] = {"train": {}, "val": {}}
    for name, paths in videos.items():
        num_val = min(max(1, round(len(paths) / 5)), len(paths) - 1)
        chosen = set(rng.permutation(len(paths))[:num_val].tolist())
        split["val"][name] = [path for i, path in enumerate(paths) if i in chosen]
        split["train"][name] = [path for i, path in enumerate(paths) if i not in chosen]
    return split
