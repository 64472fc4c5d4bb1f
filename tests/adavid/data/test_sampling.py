import numpy as np
import pytest

from adavid.data.sampling import clip_indices, segment_indices


@pytest.mark.parametrize(
    ("num_available", "num_frames", "expected"),
    [
        (16, 4, [2, 6, 10, 14]),
        (10, 4, [1, 3, 6, 8]),  # tick 2.5: 1.25, 3.75, 6.25, 8.75
        (4, 4, [0, 1, 2, 3]),
        (1, 3, [0, 0, 0]),
        (3, 6, [0, 0, 1, 1, 2, 2]),
        (3000, 1, [1500]),
    ],
)
def test_evaluation_takes_the_centre_of_each_segment(num_available, num_frames, expected):
    assert segment_indices(num_available, num_frames) == expected


@pytest.mark.parametrize(
    ("short", "num_available", "expected"),
    [
        ("last", 3, [0, 1, 2, 2, 2]),
        ("last", 5, [0, 1, 2, 3, 4]),
        ("last", 10, [1, 3, 5, 7, 9]),
        ("first", 3, [0, 0, 0, 0, 0]),
        ("first", 5, [0, 0, 0, 0, 0]),  # TSM's code asks for more frames than it reads
        ("first", 10, [1, 3, 5, 7, 9]),
    ],
)
def test_short_videos_are_filled_as_authors_fill_them(short, num_available, expected):
    assert segment_indices(num_available, 5, short=short) == expected
    if num_available <= 3:
        assert segment_indices(num_available, 5, np.random.default_rng(0), short) == expected


@pytest.mark.parametrize("num_available", [1, 2, 5, 16, 17, 100])
def test_training_takes_one_index_of_each_segment(num_available):
    rng = np.random.default_rng(0)
    tick = num_available / 16
    for _ in range(200):
        indices = segment_indices(num_available, 16, rng)
        assert indices == sorted(indices)
        assert all(int(tick * i) <= index < tick * (i + 1) for i, index in enumerate(indices))


def test_training_is_uniform_over_all_frames():
    rng = np.random.default_rng(0)
    counts = np.bincount(np.concatenate([segment_indices(10, 4, rng) for _ in range(4000)]), minlength=10)
    # 4 draws from 10 frames: each is drawn 0.4 times on average, with a deviation below 0.5 / sqrt(4000).
    assert np.abs(counts / 4000 - 0.4).max() < 4 * 0.5 / 4000**0.5


def test_clips_lie_around_their_moment_and_end_with_the_video():
    assert clip_indices([0, 5, 9], 1, 2, 10) == [0, 5, 9]
    assert clip_indices([0, 5, 9], 4, 2, 10) == [0, 0, 0, 2, 1, 3, 5, 7, 5, 7, 9, 9]
