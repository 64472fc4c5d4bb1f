"""Sprites: the embedded synthetic data set, real H.264 files generated once by seed.

docs/sprites.md says what is in it and what makes a video easy or hard; `sprites_drawing` draws it.
"""

import hashlib
import io
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd
from tqdm import tqdm

from adavid import Evidence, VideoCatalogue, VideoRecord, locked, read_text, set_aside
from datamodules import sprites_drawing as drawing

LABELS, PARAMETERS = "labels.csv", "parameters.json"  # the files beside the videos


class SpritesCatalogue(VideoCatalogue):
    """Synthetic clips on which adaptivity can be measured.

    The files are generated when first needed, into a folder named after everything that determines them,
    and reused afterwards; several processes may ask at once, and a generation that is killed leaves
    nothing that could be taken for a whole one. A folder that is damaged is made anew.

    Args:
        root: folder that holds the generated data sets.
        num_train: videos in the training split.
        num_val: videos in the validation split.
        num_test: videos in the test split.
        num_frames: length of a clip, at 4 frames a second.
        data_seed: determines every pixel; unlike `seed`, the same for all training runs.
        num_processes: processes that generate; None for one a core.
        resize: see `VideoCatalogue`.
        crop: likewise.
        scales: likewise.
        **options: see `VideoCatalogue`.

    Raises:
        ValueError: a split is smaller than the number of classes, or clips are too short.
    """

    class_names = drawing.CLASS_NAMES
    level_names = tuple(drawing.LEVELS)  # easiest first
    publishable = True

    def __init__(
        self,
        root: str = "data/sprites",
        num_train: int = 1600,
        num_val: int = 400,
        num_test: int = 2000,
        num_frames: int = 32,
        data_seed: int = 0,
        num_processes: int | None = None,
        resize: int = drawing.CANVAS,
        crop: int = drawing.CROP,
        scales: Sequence[float] = (0.875,),  # 63 px snap to 64: a crop moves, but is never resampled
        **options: Any,
    ):
        super().__init__(resize=resize, crop=crop, scales=scales, **options)
        self.num_videos = {"train": num_train, "val": num_val, "test": num_test}
        fewest = len(self.class_names)  # one video a class
        for split, num in self.num_videos.items():
            if num < fewest:
                raise ValueError(f"num_{split}={num}: expected at least {fewest}, one video a class")
        if num_frames < drawing.MIN_FRAMES:
            raise ValueError(f"num_frames={num_frames}: expected at least {drawing.MIN_FRAMES}")
        self.num_frames = num_frames
        self.data_seed = data_seed
        self.num_processes = num_processes or os.cpu_count() or 1
        self.root = Path(root)

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything that determines the files."""
        return {
            "generator_version": drawing.GENERATOR_VERSION,
            "num_videos": self.num_videos,
            "num_frames": self.num_frames,
            "data_seed": self.data_seed,
        }

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(json.dumps(self.parameters, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def folder(self) -> Path:
        """Where the files are, or will be."""
        return self.root / self.fingerprint

    @cached_property
    def drawn(self) -> pd.DataFrame:
        """The videos and what was drawn in each; the files are generated unless they are there and whole.

        Columns: video_id, split, path (relative to `folder`), label, class_name, level (of difficulty: large, medium or
        small), size (px, the sign's diameter), content and condition, a letter a frame (see `drawing.VideoMeta`).
        """
        if self.folder.exists():  # it appears as a whole
            with suppress(ValueError):
                return self._read()
        with locked(self.folder.with_suffix(".lock")):
            if self.folder.exists():  # another process was faster, or it is damaged
                try:
                    return self._read()
                except ValueError as error:
                    set_aside(self.folder, str(error))
            partial_folder = self.folder.with_suffix(".partial")
            shutil.rmtree(partial_folder, ignore_errors=True)  # of a generation that was killed
            for split in drawing.SPLITS:
                (partial_folder / split).mkdir(parents=True)
            self._generate(partial_folder)
            (partial_folder / PARAMETERS).write_text(json.dumps(self.parameters, indent=1) + "\n")
            os.replace(partial_folder, self.folder)
        return self._read()

    def records(self, split: str) -> list[VideoRecord]:
        return [
            VideoRecord(row.video_id, self.folder / row.path, (row.label,), split, level=row.level)
            for row in self.drawn[self.drawn.split == split].itertuples()
        ]

    def evidence(self, record: VideoRecord) -> Evidence:
        """The frames that show the sign; clear are those that are neither blurred nor dark."""
        content, condition = self._letters[record.video_id]
        is_shown = np.array([*content]) == "e"
        return Evidence(is_shown, is_shown & (np.array([*condition]) == "c"))

    @cached_property
    def _letters(self) -> dict[str, tuple[str, str]]:
        """Content and condition by video."""
        drawn = self.drawn
        return dict(zip(drawn.video_id, zip(drawn.content, drawn.condition, strict=True), strict=True))

    def _read(self) -> pd.DataFrame:
        """Returns the table of what was drawn; ValueError where it, or a file that it names, is damaged or missing."""
        if _parsed(self.folder / PARAMETERS, json.load) != self.parameters:
            raise ValueError(f"{PARAMETERS} says other parameters")
        table = _parsed(self.folder / LABELS, pd.read_csv)
        if missing := {"video_id", "split", "path", "label", "level", "content", "condition"} - set(table.columns):
            raise ValueError(f"{LABELS} has no column {sorted(missing)[0]!r}")
        is_known = table.label.isin(range(self.num_classes)) & table.level.isin(self.level_names)
        if table.split.value_counts().to_dict() != self.num_videos or not is_known.all():
            raise ValueError(f"{LABELS} does not list all videos")
        if absent := [path for path in table.path.map(str) if not (self.folder / path).is_file()]:
            raise ValueError(f"{absent[0]} is missing")
        return table

    def _generate(self, folder: Path) -> None:
        jobs = [(split, index) for split, num in self.num_videos.items() for index in range(num)]
        make = partial(drawing.make_video, folder, self.data_seed, self.num_frames)
        # Not forked: the parent has torch's threads.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.num_processes, context) as pool:
            results = pool.map(make, jobs, chunksize=8)
            rows = list(tqdm(results, desc="generating sprites", unit="video", total=len(jobs)))
        pd.DataFrame(rows).to_csv(folder / LABELS, index=False)


def _parsed(path: Path, parse: Callable[[TextIO], Any]) -> Any:
    text = read_text(path)
    try:
        return parse(io.StringIO(text))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
