import time
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from adavid.evaluation.metrics import mean_average_precision
from adavid.evaluation.predictions import Predictions
from adavid.evaluation.stats import (
    Difference,
    bootstrap_map,
    group_indices,
    interval,
    interval_of_mean,
    mean_map,
    multiplicities,
    paired_difference,
    paired_difference_to_mix,
    upper_hull,
)


def a_run(quality: float, gmacs: float = 1.0, num_videos: int = 120, num_classes: int = 4, seed: int = 0):
    """Scores that favour the true class by `quality`; the videos' order differs from seed to seed."""
    rng = np.random.default_rng(seed)
    row = rng.permutation(num_videos)
    label_NK = np.eye(num_classes)[row % num_classes]
    return scored(label_NK, rng.random((num_videos, num_classes)) + quality * label_NK, row, gmacs)


def scored(
    label_NK: np.ndarray, score_NK: np.ndarray, row: Iterable[int] | None = None, gmacs: float = 1.0
) -> Predictions:
    """A run on videos of which only labels and scores matter."""
    num_videos = len(label_NK)
    return Predictions(
        video_id=np.array([f"v{i}" for i in (range(num_videos) if row is None else row)]),
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
    np.testing.assert_allclose(bootstrap_map(scored(label_NK, score_NK), 100, seed=7), brute_force, atol=1e-12)


def test_bootstrap_is_fast() -> None:
    rng = np.random.default_rng(0)
    label_NK, score_NK = np.eye(10)[rng.integers(10, size=2000)], rng.random((2000, 10))
    start = time.perf_counter()
    assert bootstrap_map(scored(label_NK, score_NK)).shape == (1000,)
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
    replicates = bootstrap_map(run)
    assert replicates.std() == pytest.approx(np.std(maps), rel=0.3)


def test_videos_of_a_group_are_drawn_together() -> None:
    """Three copies of every video in a group of its own say no more than one."""
    one = a_run(0.3)
    copies = one.select(np.repeat(np.arange(120), 3))
    groups = np.char.add("g", np.repeat(one.video_id, 3))
    copies = replace(copies, video_id=np.array([f"copy{i}" for i in range(360)]), group_N=groups)
    np.testing.assert_allclose(bootstrap_map(copies), bootstrap_map(one), atol=1e-12)
    alone = replace(copies, group_N=np.full(360, ""))
    assert bootstrap_map(alone).std() < 0.7 * bootstrap_map(one).std()  # the square root of a third
    with pytest.raises(ValueError, match=r"360 such\): expected one group$"):
        paired_difference({0: copies}, {0: alone})
    with pytest.raises(ValueError, match="expected one group"):
        mean_map({0: copies, 1: alone})
    some = replace(one, group_N=np.array(["a", "v1", "", "a"] + [""] * 116))  # a group may be called as a video is
    assert group_indices(some).tolist() == [0, 1, 2, 0, *range(3, 119)]


def runs_of(quality: float, *seeds: int, gmacs: float = 1.0) -> dict[int, Predictions]:
    return {seed: a_run(quality, gmacs, seed=seed) for seed in seeds}


def maps_of(runs: dict[int, Predictions]) -> list[float]:
    return [mean_average_precision(run.label_NK, run.score_NK) for run in runs.values()]


def test_identical_models_differ_by_exactly_nothing() -> None:
    runs = runs_of(0.3, 0, 1)
    difference = paired_difference(runs, runs)
    assert difference.mean == 0 and difference.interval == (0, 0) and difference.per_seed == {0: 0, 1: 0}


def test_paired_difference_pairs_seeds_and_matches_videos_by_id() -> None:
    better, worse = runs_of(0.6, 0, 1, 2), {seed: a_run(0.2, seed=5 + seed) for seed in range(3)}
    difference = paired_difference(better, worse)
    expected = np.subtract(maps_of(better), maps_of(worse))
    assert list(difference.per_seed.values()) == pytest.approx(expected)
    assert difference.mean == pytest.approx(expected.mean())
    assert 0 < difference.interval[0] < difference.mean < difference.interval[1]

    shuffled = {s: run.select(np.random.default_rng(9).permutation(len(run.video_id))) for s, run in better.items()}
    np.testing.assert_allclose(paired_difference(shuffled, worse).interval, difference.interval)


def test_an_interval_adds_the_seeds_part_to_the_videos() -> None:
    value_S, replicate_R = [0.1, 0.2, 0.3], 0.2 + 0.01 * np.random.default_rng(0).standard_normal(1000)
    half = 4.303 * 0.1 / np.sqrt(3)  # Student's t with 2 degrees of freedom
    assert interval_of_mean(value_S, replicate_R) == pytest.approx((0.2 - half, 0.2 + half), rel=0.03)
    assert interval_of_mean([0.2] * 3, np.arange(1001)) == pytest.approx((25, 975), abs=1)
    assert interval_of_mean([0.2], np.arange(101)) == pytest.approx((2.5, 97.5))  # one seed: videos alone


def test_the_interval_of_a_mean_is_the_means() -> None:
    runs = runs_of(0.3, 0, 1, 2)
    estimate = mean_map(runs)
    assert list(estimate.per_seed.values()) == pytest.approx(maps_of(runs))
    assert estimate.interval[0] < estimate.mean < estimate.interval[1]
    one = mean_map({0: runs[0]})
    assert one.interval == interval(bootstrap_map(by_id(runs[0])))


def by_id(run: Predictions) -> Predictions:
    return run.select(np.argsort(run.video_id))


# Standard deviations of a difference's effects: of the seed, of the video, and of what both do together.
EFFECTS = {"seeds": (1.0, 0.5, 0.5), "videos": (0.02, 4.0, 1.0), "equal": (0.1, 1.0, 1.0), "together": (0.0, 0.0, 3.0)}


@pytest.mark.slow
@pytest.mark.parametrize("num_seeds", [3, 5])
@pytest.mark.parametrize("dominant", EFFECTS)
def test_intervals_cover_other_seeds_and_other_videos(dominant: str, num_seeds: int) -> None:
    """Crossed random effects whose mean is known: at least 93 % of the 95 % intervals hold it."""
    of_seed, of_video, of_both = EFFECTS[dominant]
    num_videos, num_replicates, num_trials = 100, 300, 1000
    rng = np.random.default_rng(0)
    num_covered = 0
    for _ in range(num_trials):
        value_SN = (
            of_seed * rng.standard_normal((num_seeds, 1))
            + of_video * rng.standard_normal(num_videos)
            + of_both * rng.standard_normal((num_seeds, num_videos))
        )
        count_RN = rng.multinomial(num_videos, np.full(num_videos, 1 / num_videos), size=num_replicates)
        replicate_R = count_RN @ value_SN.mean(axis=0) / num_videos
        low, high = interval_of_mean(value_SN.mean(axis=1).tolist(), replicate_R)
        num_covered += low <= 0 <= high
    assert num_covered / num_trials >= 0.93


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ((0.001, 0.02), "better"),
        ((-0.02, -0.001), "worse"),
        ((-0.005, -0.001), "worse"),
        ((-0.009, 0.03), "no worse than 1 point"),
        ((-0.011, 0.03), "undecided"),
    ],
)
def test_verdicts_say_what_an_interval_supports(bounds: tuple[float, float], verdict: str) -> None:
    assert Difference({0: 0.0}, bounds).verdict == verdict


def test_runs_on_other_videos_or_of_other_seeds_cannot_be_paired() -> None:
    run = a_run(0.3)
    with pytest.raises(ValueError, match=r"video .* \(20 such\)"):
        paired_difference({0: run}, {0: run.select(np.arange(100))})
    with pytest.raises(ValueError, match="each of them once, got video 'v.*' 2 times"):
        paired_difference({0: run}, {0: run.select(np.append(np.arange(120), 3))})
    relabelled = replace(run, label_NK=1 - run.label_NK)
    with pytest.raises(ValueError, match="one labelling"):
        paired_difference({0: run}, {0: relabelled})
    with pytest.raises(ValueError, match="at least one run"):
        paired_difference({0: run}, {})
    with pytest.raises(ValueError, match="^seeds 0, 1 against 0: expected the same$"):
        paired_difference({0: run, 1: run}, {0: run})


def test_hull_in_closed_form() -> None:
    points = [(8.0, 0.9), (1.0, 0.5), (4.0, 0.8), (2.0, 0.55), (4.0, 0.6)]  # the last two are below the hull
    assert upper_hull(points) == [1, 2, 0]
    assert upper_hull([]) == []
    assert upper_hull([*points, (9.0, 0.85)])[-1] == 0  # nobody has to spend more to get less
    assert upper_hull([(3.0, 0.7)]) == [0]


def test_difference_to_a_mix_is_to_the_weighted_mean_of_each_seed() -> None:
    method, cheap, dear = runs_of(0.5, 0, 1), runs_of(0.1, 0, 1), {seed: a_run(0.6, seed=4 + seed) for seed in (0, 1)}
    difference = paired_difference_to_mix(method, [(0.25, cheap), (0.75, dear)])
    mixed = 0.25 * np.array(maps_of(cheap)) + 0.75 * np.array(maps_of(dear))
    assert list(difference.per_seed.values()) == pytest.approx(np.array(maps_of(method)) - mixed)
    assert difference.interval[0] < difference.mean < difference.interval[1]
    same = paired_difference_to_mix(method, [(0.5, method), (0.5, method)])
    assert same.mean == pytest.approx(0) and same.interval == pytest.approx((0, 0))
