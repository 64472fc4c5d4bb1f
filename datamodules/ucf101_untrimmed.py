"""Videos with something to skip, of real pixels: a clip of UCF101 between clips that say nothing of its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from adavid import Clip, Part, VideoRecord, video_generator
from datamodules.ucf101 import Ucf101Catalogue

NUM_FRAMES = 320  # of a video
SHORTEST = 16  # frames that a clip of the surroundings fills at least
LONGEST = 120  # and at most: longer surroundings are of several clips


class Ucf101UntrimmedCatalogue(Ucf101Catalogue):
    """Each video is one clip of a labelled class, its evidence, between clips of other classes.

    Of every ten classes in the official order the first `labelled` have a label, and the clips of the others are the
    surroundings: of ten classes, seven and three. Folds, splits and groups are UCF101's own, so the evidence of a split
    and its surroundings come from groups that no other split shows. A video's group is its evidence's.

    A video has 320 frames, of which every clip shows its whole length in its part, at whatever pace that takes; its
    clips are drawn from the video's name and `data_seed` alone. No file is written.

    Args:
        path: see `Ucf101Catalogue`, as for `fold` and `turn` among the options.
        share: of a video's time that its evidence fills, at least and at most, drawn uniformly.
        videos_per_clip: videos with the same evidence, each in other surroundings.
        labelled: of every ten classes, those with a label.
        data_seed: of the drawing.
        **options: see `Ucf101Catalogue`.

    Raises:
        ValueError: as `Ucf101Catalogue`; an argument is out of range; or the copy has no class with a label, or no clip
            to surround a split's videos with.
    """

    published = None  # the videos are this suite's own

    def __init__(
        self,
        path: str,
        share: Sequence[float] = (0.15, 0.4),
        videos_per_clip: int = 3,
        labelled: int = 7,
        data_seed: int = 0,
        **options: Any,
    ):
        super().__init__(path, **options)
        made_of = {"share": share, "videos_per_clip": videos_per_clip, "labelled": labelled, "data_seed": data_seed}
        self._of_fold = partial(self._of_fold, **made_of)
        if not (len(share) == 2 and SHORTEST / NUM_FRAMES <= share[0] <= share[1] <= 1 - SHORTEST / NUM_FRAMES):
            raise ValueError(f"share={list(share)}: expected the least and the most, from 0.05 to 0.95")
        if videos_per_clip < 1:
            raise ValueError(f"videos_per_clip={videos_per_clip}: expected 1 or more")
        if not 0 < labelled < 10:
            raise ValueError(f"labelled={labelled}: expected 1 to 9 of every ten classes")
        self.least, self.most = share
        self.data_seed = data_seed
        named = {k: name for k, name in enumerate(self.class_names) if self.official_names.index(name) % 10 < labelled}
        if not named:
            raise ValueError(f"{path}: has no clip of a class with a label, the first {labelled} of every ten")
        clips, self._records = self._records, []
        for split in dict.fromkeys(record.split for record in clips):
            of_split = [record for record in clips if record.split == split]
            around = [record for record in of_split if record.labels[0] not in named]
            if not around:
                raise ValueError(f"{path}: has no {split} clip of a class without a label, to surround videos with")
            for record in of_split:
                if record.labels[0] in named:
                    label = list(named).index(record.labels[0])
                    self._records += [
                        self._surrounded(replace(record, labels=(label,)), around, i) for i in range(videos_per_clip)
                    ]
        self.class_names = list(named.values())

    def _surrounded(self, record: VideoRecord, around: Sequence[VideoRecord], i: int) -> VideoRecord:
        """The video number `i` of those with this evidence."""
        video_id = f"{record.video_id}#{i}"
        rng = video_generator(self.data_seed, video_id)
        evidence = round(NUM_FRAMES * rng.uniform(self.least, self.most))
        before = int(rng.integers(NUM_FRAMES - evidence + 1))
        after = NUM_FRAMES - evidence - before
        if before < SHORTEST:
            before, after = 0, before + after
        elif after < SHORTEST:
            before, after = before + after, 0
        lengths_before, lengths_after = _lengths(before), _lengths(after)
        num_clips = len(lengths_before) + len(lengths_after)
        drawn = rng.choice(len(around), num_clips, replace=num_clips > len(around)).tolist()
        surroundings = [
            Part(Clip(around[n].path), length)
            for n, length in zip(drawn, [*lengths_before, *lengths_after], strict=True)
        ]
        split = len(lengths_before)
        parts = (*surroundings[:split], Part(Clip(record.path), evidence), *surroundings[split:])
        return replace(record, video_id=video_id, parts=parts)


def _lengths(num_frames: int) -> list[int]:
    """Frames of each of the clips that fill so many: as few clips as may be, and alike."""
    num_clips = -(-num_frames // LONGEST)
    return [num_frames * (i + 1) // num_clips - num_frames * i // num_clips for i in range(num_clips)]
