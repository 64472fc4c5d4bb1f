"""Every figure in the README's tables, computed anew from the committed files alone.

Scikit-learn's average precision and plain numpy on the JSON and NPZ files: nothing of the code that made the tables is
used, so that a mistake there is not made twice. Which videos a replicate holds is said by numpy's generator, drawn from
in the order that `adavid.evaluation.stats` draws in: so intervals agree to their last digit.

N videos, K classes, S seeds, R replicates, P positives of a class by falling score.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.optimize import lsq_linear
from scipy.stats import t as student
from sklearn.metrics import average_precision_score

ROOT = Path(__file__).resolve().parents[1]
NUM_REPLICATES, CHUNK = 1000, 64
NUM_T = 200  # of Student's t, each as likely as the others
REFERENCES = yaml.safe_load((ROOT / "benchmarks" / "recipe.yaml").read_text())["references"]
SHUFFLED = "its own decisions shuffled across videos"
BLOCK = re.compile(r"<!-- table: (\w+)(?: of [\w/]+)? -->\n(.*?)<!-- end of table -->", re.DOTALL)
MARGIN = 1.0  # points of mAP


@dataclass(frozen=True)
class Run:
    """The files of one seed at one point."""

    json_path: Path

    @functools.cached_property
    def record(self) -> dict:  # type: ignore[type-arg]
        return json.loads(self.json_path.read_text())  # type: ignore[no-any-return]

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The predictions, videos in the order of their names."""
        with np.load(self.json_path.with_suffix(".npz")) as held:
            order = np.argsort(held["video_id"])
            return {name: held[name][order] for name in held.files}

    @functools.cached_property
    def map(self) -> float:
        label_NK, score_NK = self.arrays["label_NK"], self.arrays["score_NK"]
        of_class = [
            average_precision_score(label_NK[:, k], score_NK[:, k]) if label_NK[:, k].any() else 0.0
            for k in range(label_NK.shape[1])
        ]
        return float(np.mean(of_class))

    @functools.cached_property
    def map_R(self) -> np.ndarray:
        """On draws of videos that are the same for all runs."""
        label_NK, score_NK = self.arrays["label_NK"], self.arrays["score_NK"]
        assert weighted_map(label_NK, score_NK, np.ones((1, len(label_NK)), dtype=int)) == pytest.approx(self.map)
        few = np.array_split(draws(len(label_NK)), NUM_REPLICATES // CHUNK)  # which fit into the processor's cache
        return np.concatenate([weighted_map(label_NK, score_NK, count_RN) for count_RN in few])

    @property
    def gflops(self) -> float:
        return float(self.arrays["macs_N"].mean() / 1e9)

    @property
    def top1_N(self) -> np.ndarray:
        best_N = self.arrays["score_NK"].argmax(axis=1)
        return np.asarray(self.arrays["label_NK"][np.arange(len(best_N)), best_N])


@functools.cache
def draws(num_videos: int) -> np.ndarray:
    """How often each video is in each replicate, (R, N)."""
    rng = np.random.default_rng(0)
    chunks = [min(CHUNK, NUM_REPLICATES - start) for start in range(0, NUM_REPLICATES, CHUNK)]
    drawn_RN = np.concatenate([rng.integers(num_videos, size=(num_videos, num)).T for num in chunks])
    return np.stack([np.bincount(drawn_N, minlength=num_videos) for drawn_N in drawn_RN]).astype(np.int32)


def weighted_map(label_NK: np.ndarray, score_NK: np.ndarray, count_RN: np.ndarray) -> np.ndarray:
    """mAP where each video is there as often as `count_RN` says; equal scores are one threshold."""
    total_R = np.zeros(len(count_RN))
    for k in range(label_NK.shape[1]):
        order_N = np.argsort(-score_NK[:, k], kind="stable")
        falling_N, place_P = -score_NK[order_N, k], np.flatnonzero(label_NK[order_N, k] > 0)
        if len(place_P) == 0:
            continue
        last_P = np.searchsorted(falling_N, falling_N[place_P], side="right")  # videos that are scored no lower
        positive_RP = count_RN[:, order_N[place_P]]
        seen_RP = count_RN[:, order_N].cumsum(axis=1)[:, last_P - 1]
        found_RP = positive_RP.cumsum(axis=1)[:, np.searchsorted(place_P, last_P) - 1]
        precision_RP = found_RP / np.maximum(seen_RP, 1)
        total_R += (positive_RP * precision_RP).sum(axis=1) / np.maximum(positive_RP.sum(axis=1), 1)
    return total_R / label_NK.shape[1]


Points = dict[str, dict[int, Run]]  # by point, then by seed


@functools.cache
def read(folder: Path) -> dict[str, Points]:
    """The records of a place by label: every label has one configuration."""
    labels: dict[str, Points] = {}
    for path in sorted(folder.glob("*/*/seed*/*.npz")):
        run = Run(path.with_suffix(".json"))
        label, config_hash = path.parts[-4:-2]
        labels.setdefault(label, {}).setdefault(path.stem, {})[run.record["seed"]] = run
        assert len({other.name for other in (folder / label).iterdir()}) == 1, f"{label}: {config_hash} is not alone"
    return {label: points for label, points in labels.items() if "test" in points}


def rows_of(table: str) -> list[dict[str, str]]:
    """The rows of a Markdown table, by column."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()]
    return [dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]]


def agrees(text: str, value: float) -> None:
    """The figure printed is the value, rounded to its decimals."""
    printed = float(text.replace(",", "").removesuffix("x"))
    decimals = len(text.removesuffix("x").partition(".")[2])
    assert abs(printed - value) <= 0.5 * 10**-decimals * (1 + 1e-6) + 1e-9, f"{text} for {value}"


def agrees_with_interval(low: str, high: str, value_S: Sequence[float], value_R: np.ndarray, least: float) -> None:
    """The bounds printed, in points, are those of the mean over seeds; none is below `least`, and none above 1."""
    errors = np.zeros(1)
    if len(value_S) > 1:
        t = student.ppf((np.arange(NUM_T) + 0.5) / NUM_T, df=len(value_S) - 1)
        errors = np.std(value_S, ddof=1) / np.sqrt(len(value_S)) * t
    bounds = 100 * np.clip(np.quantile(value_R[:, None] + errors, [0.025, 0.975]), least, 1)
    agrees(low, float(bounds[0]))
    agrees(high, float(bounds[1]))


def check_methods(rows: list[dict[str, str]], labels: dict[str, Points]) -> None:
    assert {row["method"].strip("`") for row in rows} == {label for label in labels if "@" not in label}
    for row in rows:
        runs = list(labels[row["method"].strip("`")]["test"].values())
        map_S = [run.map for run in runs]
        agrees(row["mAP %"], 100 * float(np.mean(map_S)))
        low, _, high = row["95 %"].partition(" to ")
        agrees_with_interval(low, high, map_S, np.mean([run.map_R for run in runs], axis=0), 0)
        if len(runs) > 1:
            agrees(row["std over seeds"], 100 * float(np.std(map_S, ddof=1)))
        assert row["seeds"] == str(len(runs))
        gflops, num_frames = float(np.mean([run.gflops for run in runs])), runs[0].arrays["action_NT"].shape[1]
        agrees(row["GFLOPs / video"], gflops)
        agrees(row["/ frame"], gflops / num_frames)
        used, _, frames = row["frames used"].partition(" of ")
        agrees(used, float(np.mean([run.arrays["frames_used_N"].mean() for run in runs])))
        assert frames == str(num_frames)
        agrees(row["train GMACs"], gmacs(runs))


def gmacs(runs: Sequence[Run]) -> float:
    return float(np.mean([run.record["training"]["gmacs"] for run in runs]))


def on_val(runs: Sequence[Run], key: str) -> float:
    return float(np.mean([run.record["validation"][key] for run in runs]))


Parts = list[tuple[float, dict[int, Run]]]  # what a method is compared with: weights and runs


def line_at(own: dict[int, Run], of: Sequence[str], labels: dict[str, Points]) -> Parts:
    """The operating points that are best on val at the method's cost there, mixed to its cost on test."""
    points = [runs for label in of for name, runs in labels[label].items() if name != "shuffled"]
    seeds = set(own)
    points = [{s: runs[s] for s in seeds} for runs in points if seeds <= set(runs)]
    points = [runs for runs in points if all(run.record.get("validation") for run in runs.values())]
    cost = on_val(list(own.values()), "gflops_per_video")
    found: list[tuple[float, Parts]] = []
    val = [(on_val(list(p.values()), "gflops_per_video"), on_val(list(p.values()), "map")) for p in points]
    for (cost_a, map_a), a in zip(val, points, strict=True):
        if cost_a <= cost * (1 + 1e-9):
            found.append((map_a, [(1.0, a)]))
        for (cost_b, map_b), b in zip(val, points, strict=True):
            if cost_a < cost < cost_b:
                share = (cost - cost_a) / (cost_b - cost_a)
                low, high, mine = (np.mean([run.gflops for run in of.values()]) for of in (a, b, own))
                weight = float(np.clip((mine - low) / (high - low), 0, 1))
                found.append(((1 - share) * map_a + share * map_b, [(1 - weight, a), (weight, b)]))
    return max(found, key=lambda height_and_parts: height_and_parts[0])[1]


def verdict(low: float, high: float) -> str:
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "no worse than 1 point" if low > -MARGIN else "undecided"


def check_differences(rows: list[dict[str, str]], labels: dict[str, Points]) -> None:
    assert rows
    for row in rows:
        points, against = labels[row["method"].strip("`")], row["against"]
        own = points["test"]
        if row["mAP [95 %]"] == "not comparable":
            check_why_not(row["note"], own, REFERENCES.get(against, [against]), labels)
            continue
        chosen = re.search(r"seeds ([\d, ]+) of both", row["note"])
        if chosen:
            own = {int(seed): own[int(seed)] for seed in chosen[1].split(", ")}
        if against in REFERENCES:
            parts = line_at(own, REFERENCES[against], labels)
        else:
            other = points["shuffled"] if against == SHUFFLED else labels[against]["test"]
            assert chosen or set(other) == set(own), f"{row['method']} and {against}: other seeds"
            parts = [(1.0, {seed: other[seed] for seed in own})]
        terms = [(1.0, own), *((-weight, runs) for weight, runs in parts)]
        value_S = [sum(weight * runs[seed].map for weight, runs in terms) for seed in sorted(own)]
        value_R = np.mean([sum(weight * runs[s].map_R for weight, runs in terms) for s in sorted(own)], axis=0)

        mean, low, high = re.fullmatch(r"(\S+) \[(\S+), (\S+)\]", row["mAP [95 %]"]).groups()  # type: ignore[union-attr]
        agrees(mean, 100 * float(np.mean(value_S)))
        agrees_with_interval(low, high, value_S, value_R, -1)
        rounded = [(float(low) + a, float(high) + b) for a in (-0.005, 0.005) for b in (-0.005, 0.005)]
        assert row["verdict"] in {verdict(*bounds) for bounds in rounded}, row
        for text, value in zip(row["by seed"].split(", "), value_S, strict=True):
            agrees(text, 100 * value)
        gflops = sum(weight * np.mean([run.gflops for run in runs.values()]) for weight, runs in parts)
        agrees(row["GFLOPs"], float(np.mean([run.gflops for run in own.values()]) / gflops))

        trainings = {  # of several points of one model there is one
            runs[min(own)].record["model_hash"]: gmacs(list(runs.values())) for weight, runs in parts if weight > 0
        }
        mine, its = gmacs(list(own.values())), sum(trainings.values())
        unequal = re.search(r"unequal training: (\S+) against (\S+) GMACs", row["note"])
        assert (unequal is not None) == (max(mine, its) > 1.05 * min(mine, its)), row
        if unequal:
            agrees(unequal[1], mine)
            agrees(unequal[2], its)
        assert ("one seed" in row["note"]) == (len(own) == 1)


def check_why_not(why: str, own: dict[int, Run], of: Sequence[str], labels: dict[str, Points]) -> None:
    """There is nothing to compare with: no records, none of the seeds, or none that is cheap enough."""
    if why.startswith("no results"):
        assert not any(name in labels and set(own) & set(labels[name]["test"]) for name in of), why
        return
    cheap = re.fullmatch(r"cheaper than its cheapest point \((\S+) against (\S+) GFLOPs on val\)", why)
    assert cheap, why
    costs = [
        on_val(list(runs.values()), "gflops_per_video")
        for name in of
        for point, runs in labels[name].items()
        if point != "shuffled" and set(own) <= set(runs)
    ]
    assert float(cheap[1]) == pytest.approx(on_val(list(own.values()), "gflops_per_video"), rel=1e-4)
    assert float(cheap[1]) < float(cheap[2]) and float(cheap[2]) == pytest.approx(min(costs), rel=1e-4)


def check_levels(rows: list[dict[str, str]], labels: dict[str, Points]) -> None:
    for row in rows:
        runs = list(labels[row["top-1 %"]]["test"].values())
        agrees(row["all"], 100 * float(np.mean([run.top1_N.mean() for run in runs])))
        for column in list(row)[1:-1]:
            name, count = re.fullmatch(r"(.*) \(([\d,]+)\)", column).groups()  # type: ignore[union-attr]
            right = [run.top1_N[run.arrays["level_N"] == name] for run in runs]
            assert {f"{len(of):,}" for of in right} == {count}
            agrees(row[column], 100 * float(np.mean([of.mean() for of in right])))


@dataclass(frozen=True)
class Room:
    """The committed answers from which the room follows: F is all frames, then those with clear evidence."""

    folder: Path

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "room.npz") as held:
            return dict(held)

    @functools.cached_property
    def record(self) -> dict:  # type: ignore[type-arg]
        return json.loads((self.folder / "room.json").read_text())  # type: ignore[no-any-return]

    @functools.cached_property
    def first_right_SFN(self) -> np.ndarray:
        """The index of the lowest resolution at which the answer is right; the number of them where it never is."""
        score_SFRNK, true_N = self.arrays["score_SFRNK"], self.arrays["label_NK"].argmax(axis=1)
        right_SFRN = score_SFRNK.argmax(axis=-1) == true_N
        return np.where(right_SFRN.any(axis=2), right_SFRN.argmax(axis=2), score_SFRNK.shape[2])

    def taken(self, f: int, r_SN: np.ndarray) -> tuple[list[float], list[float], list[np.ndarray]]:
        """mAP, GFLOPs and which videos are right, by seed, where each video is looked at in a resolution of its own."""
        label_NK, row_N = self.arrays["label_NK"], np.arange(r_SN.shape[1])
        score = [of[f, r_N, row_N] for of, r_N in zip(self.arrays["score_SFRNK"], r_SN, strict=True)]
        gflops = [of[f, r_N, row_N].mean() / 1e9 for of, r_N in zip(self.arrays["macs_SFRN"], r_SN, strict=True)]
        every = np.ones((1, len(label_NK)), dtype=np.int32)
        right = [label_NK[row_N, of.argmax(axis=1)] > 0 for of in score]
        return [float(weighted_map(label_NK, of, every)[0]) for of in score], gflops, right


def check_room(rows: list[dict[str, str]], labels: dict[str, Points], folder: Path) -> None:
    room = Room(folder)
    sizes, level_N, first_SFN = room.record["sizes"], room.arrays["level_N"], room.first_right_SFN
    highest = len(sizes) - 1
    resolution_SFN = np.minimum(first_SFN, highest)
    whole = room.taken(0, np.full_like(first_SFN[:, 0], highest))[1]
    taken = {f"uniform at {size} px": (0, np.full_like(first_SFN[:, 0], r)) for r, size in enumerate(sizes)}
    taken["oracle of frames"] = (1, np.full_like(first_SFN[:, 0], highest))
    taken |= {"oracle of resolution": (0, resolution_SFN[:, 0]), "oracle of both": (1, resolution_SFN[:, 1])}
    for row in rows:
        levels_N = level_N
        if row[""] == "chance":
            maps, gflops = [float(room.arrays["label_NK"].mean())], [0.0]
            right = [np.full(len(level_N), maps[0])]
        elif row[""] in taken:
            maps, gflops, right = room.taken(*taken.pop(row[""]))
        else:
            runs = list(labels[row[""].removeprefix("ceiling: ")]["test"].values())
            assert all(np.array_equal(run.arrays["level_N"], runs[0].arrays["level_N"]) for run in runs)
            maps, gflops, right = [run.map for run in runs], [run.gflops for run in runs], [run.top1_N for run in runs]
            levels_N = runs[0].arrays["level_N"]
        agrees(row["mAP %"], 100 * float(np.mean(maps)))
        agrees(row["top-1 %"], 100 * float(np.mean(right)))
        for level in set(levels_N.tolist()) & set(row):
            agrees(row[level], 100 * float(np.mean([of[levels_N == level].mean() for of in right])))
        assert set(levels_N.tolist()) <= set(row)
        agrees(row["GFLOPs/video"], float(np.mean(gflops)))
        agrees(row["of uniform's, %"], 100 * float(np.mean(gflops) / np.mean(whole)))
        for text, value in zip(
            filter(None, row["mAP by seed"].split(", ")), maps if len(maps) > 1 else [], strict=True
        ):
            agrees(text, 100 * value)
    assert not taken


def check_sufficient(rows: list[dict[str, str]], labels: dict[str, Points], folder: Path) -> None:
    room = Room(folder)
    level_N, sizes = room.arrays["level_N"], room.record["sizes"]
    assert len(rows) == 2 * (1 + len(set(level_N.tolist())))
    for row in rows:
        first_SN = room.first_right_SFN[:, ["all frames", "clear evidence"].index(row["frames"])]
        of_level = first_SN if row["level"] == "all" else first_SN[:, level_N == row["level"]]
        for r, column in enumerate([*(f"{size} px" for size in sizes), "none"]):
            agrees(row[column], 100 * float((of_level == r).mean()))


def check_regret(rows: list[dict[str, str]], labels: dict[str, Points], folder: Path) -> None:
    room = Room(folder)
    arrays, sizes = room.arrays, [*room.record["sizes"], room.record["sizes"][-1]]
    order = np.argsort(arrays["video_id"])
    is_shown_NT, is_clear_NT = arrays["is_shown_NT"][order], arrays["is_clear_NT"][order]
    level_N = arrays["level_N"][order]
    of_level = {"all videos": np.ones(len(order), dtype=bool)} | {k: level_N == k for k in set(level_N.tolist())}
    for row in rows:
        columns: dict[str, list[float]] = {key: [] for key in list(row)[1:]}
        if row[""] == "uniform":
            columns["clear evidence seen"] = columns["as closely as it can"] = [100.0]
            columns["cost on frames without evidence"] = [100 * float(1 - is_shown_NT.mean())]
            columns |= {level: [float(sizes[-1])] for level in of_level}
        elif row[""] == "oracle of both":
            needed_SN = np.array(sizes)[room.first_right_SFN[:, 1][:, order]]
            columns["clear evidence seen"] = [100.0]
            columns |= {level: [float(needed_SN[:, is_of_N].mean())] for level, is_of_N in of_level.items()}
        for run in labels.get(row[""] if row[""] != "uniform" else "", {}).get("test", {}).values():
            actions = run.record["usage"]["actions"]
            places = np.repeat(np.arange(len(actions)), [action["places"] for action in actions])
            kind_NT = np.where(run.arrays["action_NT"] < 0, len(actions), places[run.arrays["action_NT"]])
            size_NT = np.array([*(action["size"] for action in actions), 0])[kind_NT]
            price_NT = fitted_prices(kind_NT, run.arrays["macs_N"], np.array([a["size"] for a in actions]))
            clear = size_NT[is_clear_NT & (kind_NT < len(actions))]
            columns["clear evidence seen"].append(100 * float((clear > 0).mean()))
            columns["as closely as it can"].append(100 * float((clear == size_NT.max()).mean()))
            columns["cost on frames without evidence"].append(
                100 * float(price_NT[~is_shown_NT].sum() / price_NT.sum())
            )
            for level, is_of_N in of_level.items():
                seen = size_NT[is_of_N][size_NT[is_of_N] > 0]
                columns[level].append(float(seen.mean()))
        for key, values in columns.items():
            assert (row[key] == "") == (not values), row
            if values:
                agrees(row[key], float(np.mean(values)))


def fitted_prices(kind_NT: np.ndarray, macs_N: np.ndarray, size_A: np.ndarray) -> np.ndarray:
    """What each frame cost: prices that explain the bills best, next to prices in proportion to pixels."""
    count_NA = np.stack([(kind_NT == kind).sum(axis=1) for kind in range(len(size_A))], axis=1).astype(float)
    weight, pixels_A = 1e-3 * np.linalg.norm(count_NA), size_A.astype(float) ** 2
    prior_A = pixels_A * macs_N.sum() / (count_NA @ pixels_A).sum()
    both = np.concatenate([count_NA, weight * np.eye(len(size_A))])
    bounds = lsq_linear(both, np.concatenate([macs_N.astype(float), weight * prior_A]), (0, np.inf), tol=1e-14)
    return np.array([*bounds.x, 0.0])[kind_NT]


OF_ROOM: dict[str, Callable[[list[dict[str, str]], dict[str, Points], Path], None]] = {
    "room": check_room,
    "sufficient": check_sufficient,
    "regret": check_regret,
}
CHECKS: dict[str, Callable[[list[dict[str, str]], dict[str, Points]], None]] = {
    "methods": check_methods,
    "differences": check_differences,
    "variants": check_differences,
    "levels": check_levels,
}


def check(text: str, folder: Path, is_whole: bool = True) -> None:
    """Every figure in a text's tables is that of the records in a folder; `is_whole`: it has no other tables."""
    labels, blocks = read(folder), BLOCK.findall(text)
    assert blocks
    for name, table in blocks:
        if name in OF_ROOM and not (folder / "room.json").exists():
            assert not table.strip()
        elif name in OF_ROOM:
            OF_ROOM[name](rows_of(table), labels, folder)
        else:
            CHECKS[name](rows_of(table), labels)
    if not is_whole:
        return
    unchecked = re.findall(r"^\|.*\d\.\d\d.*$", BLOCK.sub("", text), re.MULTILINE)
    assert not unchecked, "figures in a table that is not generated"


@pytest.mark.slow
def test_the_readmes_figures_follow_from_the_committed_files() -> None:
    records = ROOT / "results" / "reference" / "sprites" / "tiny"
    if not read(records):
        pytest.skip("no records are committed")
    check((ROOT / "README.md").read_text(encoding="utf-8"), records)
    check((ROOT / "docs" / "sprites.md").read_text(encoding="utf-8"), records, is_whole=False)


MARKS = "".join(f"<!-- table: {name} of toys/tiny -->\n<!-- end of table -->\n" for name in (*CHECKS, *OF_ROOM))


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with all that the tables can hold: costs on val that are not those on test, a variant of fewer seeds."""
    from tests.benchmarks.test_room_report import LEVELS as levels
    from tests.benchmarks.test_room_report import add_room
    from tests.benchmarks.toys import ACTIONS, add

    results = tmp_path_factory.mktemp("results")
    add_room(results)
    add(results, "uniform", variant="ceiling", gflops=16.0, accuracy=0.9, levels=levels)
    for seed in range(3):
        add(results, "uniform", seed=seed, gflops=4.0, accuracy=0.75, levels=levels, train_gmacs=102.0)
        for i, (gflops, accuracy, val) in enumerate([(1.0, 0.5, 0.5), (2.0, 0.7, 0.55), (3.0, 0.7, 0.74)]):
            add(
                results,
                "uniform",
                seed=seed,
                point=f"curve-{i}",
                gflops=gflops,
                accuracy=accuracy,
                on_val=(gflops, val),
            )
        point = {"seed": seed, "actions": ACTIONS, "levels": levels, "train_gmacs": 200.0}
        add(results, "cascade", gflops=2.5, accuracy=0.7, on_val=(2.6, 0.72), **point)  # type: ignore[arg-type]
        add(results, "cascade", gflops=1.5, accuracy=0.6, on_val=(1.4, 0.66), point="curve-0", **point)  # type: ignore[arg-type]
        for name in ("test", "shuffled"):
            accuracy = 0.8 + 0.05 * seed if name == "test" else 0.5
            add(results, "arnet", gflops=2.0, accuracy=accuracy, point=name, **{**point, "train_gmacs": 100.0})  # type: ignore[arg-type]
        add(results, "multi_scale", seed=seed, gflops=5.0, accuracy=0.8, levels=levels)
    add(results, "arnet", variant="acc", gflops=9.0, actions=ACTIONS, levels=levels)
    return results


@pytest.fixture(scope="module")
def text(toys: Path) -> str:
    from benchmarks.report.markdown import committed, with_tables

    return with_tables(MARKS, partial(committed, toys), "page.md")


def test_the_recomputation_finds_the_tables_true(text: str, toys: Path) -> None:
    check(text, toys / "reference" / "toys" / "tiny")
    against = [row["against"] for row in rows_of(dict(BLOCK.findall(text))["differences"])]
    assert against == ["uniform", *REFERENCES, "multi_scale", SHUFFLED]


@pytest.mark.parametrize("table", (*CHECKS, *OF_ROOM))
def test_the_recomputation_finds_a_figure_that_is_false(text: str, toys: Path, table: str) -> None:
    """Any single figure that is off by two in its last digit."""
    (start, end) = next(found.span(2) for found in BLOCK.finditer(text) if found[1] == table)
    figures = list(re.finditer(r"\d[\d,]*\.\d+", text[start:end]))
    assert len(figures) > 3
    for figure in figures:
        value, decimals = float(figure[0].replace(",", "")), len(figure[0].partition(".")[2])
        false = f"{value + 2 * 10**-decimals:.{decimals}f}"
        at = start + figure.start(), start + figure.end()
        with pytest.raises(AssertionError):
            check(text[: at[0]] + false + text[at[1] :], toys / "reference" / "toys" / "tiny")
