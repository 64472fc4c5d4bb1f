"""Clips between other clips: what fills how much of the time, and that no split shows another one's groups."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from adavid import SPLITS, View
from adavid.data.sources import open_source
from datamodules.ucf101_untrimmed import LONGEST, NUM_FRAMES, SHORTEST, Ucf101UntrimmedCatalogue, _lengths
from tests.conftest import UCF101
from tests.datamodules.test_ucf101 import clip_of, write_copy

SHARE = (0.2, 0.3)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A copy whose first class has a label, and whose second surrounds it."""
    return write_copy(tmp_path_factory.mktemp("ucf101"))


def catalogue(path: str, **options: object) -> Ucf101UntrimmedCatalogue:
    given: dict[str, object] = {"fold": 1, "labelled": 1, "share": SHARE, "videos_per_clip": 4}
    return Ucf101UntrimmedCatalogue(path, **(given | options))  # type: ignore[arg-type]


def test_the_evidence_fills_its_share_and_the_rest_is_of_other_classes(path: str) -> None:
    videos = catalogue(path)
    assert videos.class_names == ["ApplyLipstick"]
    assert [len(videos.records(split)) for split in SPLITS] == [16, 8, 8]
    shares = []
    for record in (record for split in SPLITS for record in videos.records(split)):
        (evidence,) = (part for part in record.parts if part.clip.path == record.path)
        assert record.labels == (0,) and "/ApplyLipstick/" in str(record.path)
        assert all("/HandstandPushups/" in str(part.clip.path) for part in record.parts if part != evidence)
        assert sum(part.num_frames for part in record.parts) == NUM_FRAMES
        assert min(part.num_frames for part in record.parts) >= SHORTEST
        shares.append(evidence.num_frames / NUM_FRAMES)
        assert record.group == "ApplyLipstick/" + record.video_id.split("_")[2]
    assert min(shares) >= SHARE[0] - 0.5 / NUM_FRAMES and max(shares) <= SHARE[1] + 0.5 / NUM_FRAMES
    assert np.ptp(shares) > 0.5 * (SHARE[1] - SHARE[0])


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_no_split_shows_a_group_of_another(path: str, fold: int) -> None:
    videos = catalogue(path, fold=fold)
    groups = {
        split: {clip.path.name.rpartition("_")[0] for record in videos.records(split) for clip in record.clips}
        for split in SPLITS
    }
    assert all(groups.values()) and len(set.union(*groups.values())) == sum(map(len, groups.values()))
    assert videos.checked


def test_it_is_the_same_every_time_and_another_by_seed_and_share(path: str, tmp_path: Path) -> None:
    first = catalogue(path)
    assert [catalogue(path).records(split) for split in SPLITS] == [first.records(split) for split in SPLITS]
    moved = str(shutil.copytree(path, tmp_path / "moved"))
    assert catalogue(path).fingerprint == first.fingerprint == catalogue(moved).fingerprint
    others = [catalogue(path, data_seed=1), catalogue(path, share=(0.2, 0.31)), catalogue(path, videos_per_clip=3)]
    assert len({videos.fingerprint for videos in (first, *others)}) == 4
    turns = [catalogue(path, fold=None, turn=turn).fingerprint for turn in range(3)]
    assert len(set(turns)) == 1 and turns[0] != catalogue(path, fold=None, data_seed=1).fingerprint


def test_a_video_is_read_as_its_clips_one_after_the_other(path: str) -> None:
    videos = catalogue(path)
    record = videos.records("test")[0]
    source = videos.checked.open(record)
    assert source.num_frames == NUM_FRAMES
    first = 0
    for part in record.parts:
        clip = open_source(*part.clip)
        expected = clip.read([(2 * i + 1) * clip.num_frames // (2 * part.num_frames) for i in (0, part.num_frames - 1)])
        assert (source.read([first, first + part.num_frames - 1]) == expected).all()
        first += part.num_frames
    order = [NUM_FRAMES - 1, 0, 0, NUM_FRAMES // 2]
    assert (source.read(order) == source.read(range(NUM_FRAMES))[order]).all()
    assert source.num_decoded >= len(set(order)) - 1
    assert videos.reading.read(source, {"frames": View(16, 32)})["frames"].shape == (16, 3, 32, 32)


def test_lengths_fill_the_time() -> None:
    for num_frames in (0, *range(SHORTEST, NUM_FRAMES)):
        lengths = _lengths(num_frames)
        assert sum(lengths) == num_frames and all(SHORTEST <= length <= LONGEST for length in lengths)


def test_clips_that_cannot_be_read_are_named_once(path: str, tmp_path: Path) -> None:
    copy = shutil.copytree(path, tmp_path / "copy")
    bad = copy / "UCF-101" / clip_of("HandstandPushups", 3)
    bad.write_bytes(b"no video")
    with pytest.raises(ValueError) as caught:
        _ = catalogue(str(copy)).checked
    head, *named = str(caught.value).splitlines()
    assert head.endswith("of the data set's videos cannot be read; skip_bad=true leaves them out")
    assert len(named) == 1 and str(bad) in named[0]
    videos = catalogue(str(copy), skip_bad=True)
    left = videos.checked.videos["train"]
    assert 0 < len(left) == len(videos.records("train")) - len(videos.checked.bad)
    assert all(bad != clip.path for record in left for clip in record.clips)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"share": (0.4, 0.2)}, r"share=\[0.4, 0.2\]: expected the least and the most, from 0.05 to 0.95"),
        ({"share": (0.2,)}, "expected the least and the most"),
        ({"share": (0.2, 1.0)}, "expected the least and the most"),
        ({"videos_per_clip": 0}, "videos_per_clip=0: expected 1 or more"),
        ({"labelled": 10}, "labelled=10: expected 1 to 9 of every ten classes"),
        ({"labelled": 2}, "has no train clip of a class without a label, to surround videos with"),
    ],
)
def test_what_cannot_be(path: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        catalogue(path, **options)


@pytest.mark.slow
@pytest.mark.skipif(not UCF101.exists(), reason="needs a copy of UCF101")
def test_the_real_clips() -> None:
    folds = [Ucf101UntrimmedCatalogue(str(UCF101), fold=fold) for fold in (1, 2, 3)]
    tested = [record.video_id for fold in folds for record in fold.records("test")]
    assert len(folds[0].class_names) == 7 and len(tested) == len(set(tested)) >= 600
    frames = folds[0].checked.open(folds[0].records("val")[0]).read([0, NUM_FRAMES - 1])
    assert frames.shape == (2, 3, 240, 320)
