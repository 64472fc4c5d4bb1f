import time
from dataclasses import replace

import numpy as np
import pytest

from adavid.evaluation.metrics import mean_average_precision
from adavid.evaluation.predictions import Predictions
from adavid.evaluation.stats import (
    bootstrap_map,
    curve_at,
    interval,
    multiplicities,
    paired_difference,
    paired_difference_to_curve,
    upper_hull,
)


def a_run(quality: float, gmacs: float = 1.0, num_videos: int = 120, num_classes: int = 4, seed: int = 0):
    """Scores that favour the true class by `quality`; the videos' order differs from seed to seed."""
    rng = np.random.default_rng(seed)
    row = rng.permutation(num_videos)
    label_NK = np.eye(num_classes)[row % num_classes]
    score_NK = rng.random((num_videos, num_classes)) + quality * label_NK
    return Predictions(
        video_id=np.array([f"v{i}" for i in row]),
        label_NK=label_NK,
        score_NK=score_NK,
        action_NT=np.zeros((num_videos, 2)),
        macs_N=np.full(num_videos, int(gmacs * 1e9)),
        frames_used_N=np.full(num_videos, 2),
        level_N=np.full(num_videos, ""),
    )


@pytest.mark.parametrize("decimals", [1, 8])
def test_bootstrap_equals_sklearn_on_the_resampled_videos(decimals: int) -> None:
    rng = np.random.default_rng(3)
    label_NK = rng.random((40, 5)) < [0.5, 0.3, 0.1, 0.03, 0]  # rare ones are absent from some replicates
    score_NK = rng.random((40, 5)).round(decimals)
    weight_NR = np.concatenate(list(multiplicities(40, 100, seed=7)), axis=1)
    assert (weight_NR.sum(axis=0) == 40).all()
    brute_force = [
        mean_average_precision(np.repeat(label_NK, weight_N, axis=0), np.repeat(score_NK, weight_N, axis=0))
        for weight_N in weight_NR.T
    ]
    np.testing.assert_allclose(bootstrap_map(label_NK, score_NK, 100, seed=7), brute_force, atol=1e-12)


def test_bootstrap_is_fast() -> None:
    rng = np.random.default_rng(0)
    label_NK, score_NK = np.eye(10)[rng.integers(10, size=2000)], rng.random((2000, 10))
    start = time.perf_counter()
    assert bootstrap_map(label_NK, score_NK).shape == (1000,)
    assert time.perf_counter() - start < 5  # a third of a second on one core


def test_interval_of_the_percentiles() -> None:
    assert interval(np.arange(101)) == pytest.approx((2.5, 97.5))
    assert interval(np.arange(101), level=0.5) == pytest.approx((25, 75))


def test_interval_covers_the_spread_between_samples() -> None:
    """The bootstrap's spread is the spread over fresh draws of videos, which is what it estimates."""
    maps = []
    for seed in range(200):
        run = a_run(0.3, seed=seed)
        maps.append(mean_average_precision(run.label_NK, run.score_NK))
    replicates = bootstrap_map(run.label_NK, run.score_NK)
    assert replicates.std() == pytest.approx(np.std(maps), rel=0.3)


def test_identical_models_differ_by_exactly_nothing() -> None:
    runs = [a_run(0.3, seed=seed) for seed in range(2)]
    difference = paired_difference(runs, runs)
    assert difference.mean == 0 and difference.interval == (0, 0)
    assert difference.per_seed == difference.reference_per_seed


def test_paired_difference_averages_seeds_and_matches_videos_by_id() -> None:
    better, worse = [a_run(0.6, seed=seed) for seed in range(3)], [a_run(0.2, seed=seed) for seed in (5, 6)]
    difference = paired_difference(better, worse)
    own_S, reference_S = difference.per_seed, difference.reference_per_seed
    assert len(own_S) == 3 and len(reference_S) == 2
    assert difference.mean == pytest.approx(np.mean(own_S) - np.mean(reference_S))
    assert 0 < difference.interval[0] < difference.mean < difference.interval[1]

    shuffled = [run.select(np.random.default_rng(9).permutation(len(run.video_id))) for run in better]
    np.testing.assert_allclose(paired_difference(shuffled, worse).interval, difference.interval)


def test_runs_on_other_videos_cannot_be_paired() -> None:
    run = a_run(0.3)
    with pytest.raises(ValueError, match=r"video .* \(20 such\)"):
        paired_difference([run], [run.select(np.arange(100))])
    with pytest.raises(ValueError, match="each of them once, got video 'v.*' 2 times"):
        paired_difference([run], [run.select(np.append(np.arange(120), 3))])
    relabelled = replace(run, label_NK=1 - run.label_NK)
    with pytest.raises(ValueError, match="one labelling"):
        paired_difference([run], [relabelled])
    with pytest.raises(ValueError, match="at least one run"):
        paired_difference([run], [])


def test_hull_in_closed_form() -> None:
    points = [(8.0, 0.9), (1.0, 0.5), (4.0, 0.8), (2.0, 0.55), (4.0, 0.6)]  # the last two are below the hull
    assert upper_hull(points) == [(1.0, 0.5), (4.0, 0.8), (8.0, 0.9)]
    assert upper_hull([]) == []
    assert upper_hull([*points, (9.0, 0.85)])[-1] == (8.0, 0.9)  # nobody has to spend more to get less
    assert curve_at(1, points) == 0.5
    assert curve_at(2, points) == pytest.approx(0.6)
    assert curve_at(6, points) == pytest.approx(0.85)
    assert curve_at(100, points) == 0.9
    assert curve_at(3, [(3.0, 0.7)]) == 0.7
    with pytest.raises(ValueError, match="cost 0.9: expected at least 1,"):
        curve_at(0.9, points)
    with pytest.raises(ValueError, match="at least one point"):
        curve_at(1, [])


def test_a_point_of_the_curve_differs_from_its_hull_by_nothing() -> None:
    levels = [(0.0, 1), (0.5, 2), (0.6, 4)]
    cheap, middle, dear = ([a_run(quality, gmacs, seed=s) for s in range(2)] for quality, gmacs in levels)
    difference = paired_difference_to_curve(middle, [cheap, middle, dear])
    assert difference.mean == 0 and difference.interval == (0, 0)


def test_difference_to_a_curve_is_taken_at_the_method_s_cost() -> None:
    cheap, dear = [a_run(0.1, 1)], [a_run(0.5, 3)]
    method = [a_run(0.5, gmacs, seed=seed) for seed, gmacs in enumerate((1.5, 2.5))]
    difference = paired_difference_to_curve(method, [dear, cheap])
    of_cheap, of_dear = (mean_average_precision(run.label_NK, run.score_NK) for run in (*cheap, *dear))
    assert difference.reference_per_seed == pytest.approx(((of_cheap + of_dear) / 2,))
    assert difference.mean == pytest.approx(np.mean(difference.per_seed) - (of_cheap + of_dear) / 2)
    assert difference.interval[0] < difference.mean < difference.interval[1]
    with pytest.raises(ValueError, match="expected at least 1e"):
        paired_difference_to_curve([a_run(0.5, 0.5)], [dear, cheap])
    with pytest.raises(ValueError, match="at least one point"):
        paired_difference_to_curve(method, [])
