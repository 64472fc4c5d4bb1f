"""Every figure in the tables of the README and of docs/, computed anew from the committed files alone.

Scikit-learn's average precision and plain numpy on the JSON and NPZ files: nothing of the code that made the tables is
used, so that a mistake there is not made twice. Which videos a replicate holds is said by numpy's generator, drawn from
in the order that `adavid.evaluation.stats` draws in: so intervals agree to their last digit.

N videos, G groups of them, K classes, S seeds, R replicates, P positives of a class by falling score.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.optimize import lsq_linear
from scipy.sparse import csr_array
from scipy.stats import rankdata, spearmanr
from scipy.stats import t as student
from sklearn.metrics import average_precision_score

from benchmarks.report.markdown import PAGES

ROOT = Path(__file__).resolve().parents[1]
NUM_REPLICATES, CHUNK = 1000, 64
NUM_T = 200  # of Student's t, each as likely as the others
REFERENCES = yaml.safe_load((ROOT / "benchmarks" / "recipe.yaml").read_text())["references"]
SHUFFLED = "its own decisions shuffled across videos"
BLOCK = re.compile(r"<!-- table: (\w+)(?: of ([\w/ ]+))? -->\n(.*?)<!-- end of table -->", re.DOTALL)
EMBEDDED = "sprites/tiny"  # of a mark that says no place
MARGIN = 1.0  # points of mAP
EQUAL_COST = 1.05  # above it, a method is beyond the end of a line


@dataclass(frozen=True)
class Run:
    """The files of one seed at one point, or of several seeds that took turns at folds, each with its own videos."""

    json_paths: tuple[Path, ...]

    @functools.cached_property
    def records(self) -> list[dict]:  # type: ignore[type-arg]
        return [json.loads(path.read_text()) for path in self.json_paths]

    @property
    def parts(self) -> list[Run]:
        """The seeds that took turns, each by itself."""
        return [Run((path,)) for path in self.json_paths]

    @property
    def model(self) -> tuple[str, int]:
        """What its one training made."""
        (record,) = self.records
        return record["model_hash"], record["seed"]

    @property
    def course(self) -> dict[str, list[float]]:
        """The terms of its one training's losses, by stage and name, a mean an epoch."""
        (record,) = self.records
        found: dict[str, list[float]] = record["training"].get("course", {})
        return found

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The predictions, videos in the order of their names."""
        parts = [dict(np.load(path.with_suffix(".npz"))) for path in self.json_paths]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        order = np.argsort(joined["video_id"])
        return {name: of[order] for name, of in joined.items()}

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
        """On draws of groups of videos that are the same for all runs."""
        label_NK, score_NK = self.arrays["label_NK"], self.arrays["score_NK"]
        assert weighted_map(label_NK, score_NK, np.ones((1, len(label_NK)), dtype=int)) == pytest.approx(self.map)
        names = self.arrays.get("group_N", np.full(len(label_NK), ""))
        groups: dict[str, int] = {}  # in order of appearance; a video without one is one itself
        group_N = [groups.setdefault(name or f"video {n}", len(groups)) for n, name in enumerate(names.tolist())]
        return weighted_map(label_NK, score_NK, draws(len(groups))[:, group_N])

    @property
    def gflops(self) -> float:
        return float(self.arrays["macs_N"].mean() / 1e9)

    @property
    def top1_N(self) -> np.ndarray:
        best_N = self.arrays["score_NK"].argmax(axis=1)
        return np.asarray(self.arrays["label_NK"][np.arange(len(best_N)), best_N])


@functools.cache
def draws(num_groups: int) -> np.ndarray:
    """How often each group is in each replicate, (R, G)."""
    rng = np.random.default_rng(0)
    chunks = [min(CHUNK, NUM_REPLICATES - start) for start in range(0, NUM_REPLICATES, CHUNK)]
    drawn_RG = np.concatenate([rng.integers(num_groups, size=(num_groups, num)).T for num in chunks])
    return np.stack([np.bincount(drawn_G, minlength=num_groups) for drawn_G in drawn_RG]).astype(np.int32)


def weighted_map(label_NK: np.ndarray, score_NK: np.ndarray, count_RN: np.ndarray) -> np.ndarray:
    """mAP where each video is there as often as `count_RN` says; equal scores are one threshold."""
    count_NR, total_R = np.ascontiguousarray(count_RN.T), np.zeros(len(count_RN))
    for label_N, score_N in zip(label_NK.T > 0, score_NK.T, strict=True):
        (positive_P,) = label_N.nonzero()
        positive_P = positive_P[np.argsort(-score_N[positive_P])]
        first_N = np.searchsorted(-score_N[positive_P], -score_N)  # the highest threshold that each video reaches
        (reaching_M,) = (first_N < len(positive_P)).nonzero()
        seen_PR, found_PR = (
            reached(first_N[of], len(positive_P), count_NR[of]).cumsum(axis=0, dtype=np.int32)
            for of in (reaching_M, positive_P)
        )
        precision_PR = found_PR / np.maximum(seen_PR, 1)
        positive_PR = count_NR[positive_P]
        total_R += (positive_PR * precision_PR).sum(axis=0) / np.maximum(positive_PR.sum(axis=0), 1)
    return total_R / label_NK.shape[1]


def reached(first_M: np.ndarray, num_thresholds: int, count_MR: np.ndarray) -> np.ndarray:
    """How often videos reach each threshold, (P, R), and none that is higher."""
    where = (np.ones(len(first_M), np.int32), (first_M, np.arange(len(first_M))))
    return csr_array(where, shape=(num_thresholds, len(first_M))) @ count_MR


Points = dict[str, dict[int, Run]]  # by point, then by seed


@functools.cache
def read(folder: Path) -> dict[str, Points]:
    """The records of a place by label: every label has one configuration.

    Where seeds take turns at folds, a row's seed is the round: those seeds of it that have one fold each.
    """
    turns: dict[tuple[str, str, int], dict[int, Path]] = {}
    for path in sorted(folder.glob("*/*/seed*/*.npz")):
        record = json.loads(path.with_suffix(".json").read_text())
        label, config_hash = path.parts[-4:-2]
        num_folds = record["data_info"].get("num_folds", 1)
        turn, fold = divmod(record["seed"], num_folds)
        turns.setdefault((label, path.stem, turn), dict.fromkeys(range(num_folds), Path()))[fold] = path
        assert len({other.name for other in (folder / label).iterdir()}) == 1, f"{label}: {config_hash} is not alone"
    labels: dict[str, Points] = {}
    for (label, point, turn), of_fold in turns.items():
        assert Path() not in of_fold.values(), f"{label}: {point} of round {turn} is not of all folds"
        run = Run(tuple(path.with_suffix(".json") for path in of_fold.values()))
        labels.setdefault(label, {}).setdefault(point, {})[turn] = run
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
    return float(np.mean([record["training"]["gmacs"] for run in runs for record in run.records]))


def on_val(runs: Sequence[Run], key: str) -> float:
    return float(np.mean([record["validation"][key] for run in runs for record in run.records]))


Parts = list[tuple[float, dict[int, Run]]]  # what a method is compared with: weights and runs


def line_at(own: dict[int, Run], of: Sequence[str], labels: dict[str, Points]) -> Parts:
    """The operating points that are best on val at the method's cost there, mixed to its cost on test; where none costs
    as little, nothing.
    """
    points = [runs for label in of for name, runs in labels[label].items() if name != "shuffled"]
    seeds = set(own)
    points = [{s: runs[s] for s in seeds} for runs in points if seeds <= set(runs)]
    points = [runs for runs in points if all(of.get("validation") for run in runs.values() for of in run.records)]
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
    return max(found, key=lambda height_and_parts: height_and_parts[0])[1] if found else []


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
        its_gflops = sum(weight * np.mean([run.gflops for run in runs.values()]) for weight, runs in parts)
        ratio = float(np.mean([run.gflops for run in own.values()]) / its_gflops)
        agrees(row["GFLOPs"], ratio)
        beyond = re.search(r"it costs (\S+) of its last point", row["note"])
        assert (beyond is not None) == (against in REFERENCES and ratio > EQUAL_COST), row
        if beyond:
            agrees(beyond[1], ratio)

        trainings = {  # of several points of one model there is one
            runs[min(own)].records[0]["model_hash"]: gmacs(list(runs.values())) for weight, runs in parts if weight > 0
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
            actions = run.records[0]["usage"]["actions"]
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


def check_times(rows: list[dict[str, str]], labels: dict[str, Points], folder: Path) -> None:
    """One row a seed that was timed, and all that are recorded."""
    timed = {label: sorted(folder.glob(f"{label}/*/seed*/latency.json")) for label in labels}
    shown = [row["method"].strip("`") for row in rows]
    assert sorted(shown) == sorted(label for label, paths in timed.items() for _ in paths)
    for row in rows:
        at = json.loads(timed[row["method"].strip("`")].pop(0).read_text())["rows"]
        agrees(row["by the bill"], at[-1]["baseline_gflops_per_video"] / at[-1]["gflops_per_video"])
        for size in at:
            agrees(row[f"batch {size['batch_size']}"], size["speedup_realised"])
        own, baseline = (min(size[key] for size in at) for key in ("ms_per_video", "baseline_ms_per_video"))
        agrees(row["ms / video at its best"], own)
        agrees(row["both at their best"], baseline / own)


def check_ranks(table: str, boards: Sequence[dict[str, Points]]) -> None:
    """Two tables: the methods that all boards have, and how far the order of each agrees with that of the first."""
    methods, agreements = (rows_of(part) for part in table.strip().split("\n\n"))
    names = [row["method"].strip("`") for row in methods]
    assert set(names) == {label for label in set.intersection(*map(set, boards)) if "@" not in label}
    by_map = [[100 * float(np.mean([run.map for run in of[name]["test"].values()])) for name in names] for of in boards]
    line = next(iter(REFERENCES))
    by_line = [[100 * above_line(name, REFERENCES[line], labels) for name in names] for labels in boards]
    columns = list(methods[0])[1:]
    assert [row["order by"] for row in agreements] == ["mAP %", f"vs {line}"]
    for agreement, values in zip(agreements, (by_map, by_line), strict=True):
        values_BM = np.array(values)
        is_known_M = ~np.isnan(values_BM).any(axis=0)
        for value_M in values_BM:
            column, ranks = columns.pop(0), iter(rankdata(-value_M[is_known_M]))
            for row, value, is_known in zip(methods, value_M, is_known_M, strict=True):
                text, _, rank = row[column].partition(" ")
                assert (text == "") == np.isnan(value) and (rank != "") == is_known
                if text:
                    agrees(text, value)
                if rank:
                    agrees(rank.strip("()"), next(ranks))
        first_M, *others = values_BM[:, is_known_M]
        for printed, other_M in zip(list(agreement.values())[1:], others, strict=True):
            found = re.fullmatch(r"(\S+) \[(\S+), (\S+)\], (\d+) methods", printed)
            assert found and int(found[4]) == is_known_M.sum()
            drawn_RM = np.random.default_rng(0).integers(len(other_M), size=(10_000, len(other_M)))
            rank_RM, other_RM = rankdata(first_M[drawn_RM], axis=1), rankdata(other_M[drawn_RM], axis=1)
            of_both_R = (rank_RM * other_RM).mean(1) - rank_RM.mean(1) * other_RM.mean(1)
            with np.errstate(invalid="ignore"):  # a resample of one rank alone has no correlation
                drawn_R = of_both_R / (rank_RM.std(1) * other_RM.std(1))
            low, high = np.nanpercentile(drawn_R, (2.5, 97.5))
            for text, value in zip(found.groups(), (spearmanr(first_M, other_M).statistic, low, high), strict=False):
                agrees(text, float(value))
    assert not columns


def above_line(label: str, of: Sequence[str], labels: dict[str, Points]) -> float:
    """Its mAP above the line's at its own cost; not a number for those of the line, and where it does not reach."""
    own = labels[label]["test"]
    parts = [] if label in of else line_at(own, of, labels)
    if not parts:
        return np.nan
    return float(np.mean([own[s].map - sum(weight * runs[s].map for weight, runs in parts) for s in own]))


def check_courses(rows: list[dict[str, str]], labels: dict[str, Points]) -> None:
    """A row for each stage with a policy, of methods and of variants that were trained by themselves."""
    trained = {label: [part for run in of["test"].values() for part in run.parts] for label, of in labels.items()}
    models = {label: {run.model for run in runs} for label, runs in trained.items()}
    of_methods = {model for label, found in models.items() if "@" not in label for model in found}
    expected = set()
    for label, runs in trained.items():
        if "@" not in label or not models[label] <= of_methods:
            terms = [key.split("/") for run in runs for key in run.course]
            expected |= {(label, stage) for stage, term in terms if term in ("entropy", "modal")}
    assert sorted((row["method"].strip("`"), row["stage"]) for row in rows) == sorted(expected)
    for row in rows:
        runs, stage = trained[row["method"].strip("`")], row["stage"]
        for column, term in (("entropy", "entropy"), ("commonest decision", "modal")):
            means = [run.course[f"{stage}/{term}"] for run in runs if f"{stage}/{term}" in run.course]
            text, unit = row[f"{column}, first to last epoch"], 100 if term == "modal" else 1
            ends = [unit * float(np.mean([of[epoch] for of in means])) for epoch in (0, -1)] if means else []
            for printed, value in zip(text.split(" to ") if text else [], ends, strict=True):
                agrees(printed.removesuffix("%"), value)
        alike = [max(Counter(map(tuple, run.arrays["action_NT"].tolist())).values()) / len(run.top1_N) for run in runs]
        agrees(row["videos decided alike"].removesuffix("%"), 100 * float(np.mean(alike)))
        last = [run.course.get(f"{stage}/modal", [0.0])[-1] for run in runs]
        num_collapsed = sum(share >= 0.95 or of_end >= 0.95 for share, of_end in zip(alike, last, strict=True))
        assert row["collapsed"] == f"{num_collapsed} of {len(runs)} seeds"


OF_FOLDER: dict[str, Callable[[list[dict[str, str]], dict[str, Points], Path], None]] = {
    "room": check_room,
    "sufficient": check_sufficient,
    "regret": check_regret,
    "times": check_times,
}
OF_RECORDS: dict[str, Callable[[list[dict[str, str]], dict[str, Points]], None]] = {
    "methods": check_methods,
    "differences": check_differences,
    "variants": check_differences,
    "levels": check_levels,
    "courses": check_courses,
}
RANKS = "ranks"


def check(text: str, reference: Path, is_whole: bool = True) -> None:
    """Every figure in a text's tables is that of the records they are of; `is_whole`: it has no other tables."""
    blocks = BLOCK.findall(text)
    assert blocks
    for name, places, table in blocks:
        folders = [reference / place for place in (places or EMBEDDED).split()]
        if name == RANKS:
            check_ranks(table, [read(folder) for folder in folders])
            continue
        (folder,) = folders
        if not table.strip():  # nothing is recorded that it could show
            assert name in OF_FOLDER and not list(folder.rglob("latency.json" if name == "times" else "room.json"))
        elif name in OF_FOLDER:
            OF_FOLDER[name](rows_of(table), read(folder), folder)
        else:
            OF_RECORDS[name](rows_of(table), read(folder))
    if not is_whole:
        return
    unchecked = re.findall(r"^\|.*\d\.\d\d.*$", BLOCK.sub("", text), re.MULTILINE)
    assert not unchecked, "figures in a table that is not generated"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)  # each by itself, side by side
def test_a_pages_figures_follow_from_the_committed_files(page: Path) -> None:
    reference = ROOT / "results" / "reference"
    if not read(reference / EMBEDDED):
        pytest.skip("no records are committed")
    check(page.read_text(encoding="utf-8"), reference, is_whole=page.name == "README.md")


TOYS, FOLDS = "toys/tiny", "folds/tiny"
PLACES = [*((name, TOYS) for name in (*OF_RECORDS, *OF_FOLDER)), ("methods", FOLDS), ("differences", FOLDS)]
PLACES += [(RANKS, f"{TOYS} {FOLDS}")]
MARKS = "".join(f"<!-- table: {name} of {places} -->\n<!-- end of table -->\n" for name, places in PLACES)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with all that the tables can hold: costs on val that are not those on test, a variant of fewer seeds.

    In `folds` seeds take turns at folds, and videos are in groups.
    """
    from tests.benchmarks.test_room_report import LEVELS as levels
    from tests.benchmarks.test_room_report import add_room
    from tests.benchmarks.toys import ACTIONS, add, add_latency

    results = tmp_path_factory.mktemp("results")
    add_room(results)
    add(results, "uniform", variant="ceiling", gflops=16.0, accuracy=0.9, levels=levels)
    for seed, more in [
        (seed, of) for seed in range(3) for of in ({}, {"data": "folds", "num_folds": 3, "num_groups": 9})
    ]:
        point = {"seed": seed, "levels": levels, **more}
        add(results, "uniform", gflops=4.0, accuracy=0.75, train_gmacs=102.0, **point)  # type: ignore[arg-type]
        for i, (gflops, accuracy, val) in enumerate([(1.0, 0.5, 0.5), (2.0, 0.7, 0.55), (3.0, 0.7, 0.74)]):
            cost = {"gflops": gflops, "on_val": (gflops, val), "point": f"curve-{i}"}
            add(results, "uniform", accuracy=accuracy, **cost, **point)  # type: ignore[arg-type]
        point |= {"actions": ACTIONS, "train_gmacs": 200.0}
        add(results, "cascade", gflops=2.5, accuracy=0.7, on_val=(2.6, 0.72), **point)  # type: ignore[arg-type]
        add(results, "cascade", gflops=1.5, accuracy=0.6, on_val=(1.4, 0.66), point="curve-0", **point)  # type: ignore[arg-type]
        course = {"policy/entropy": (1.25 + seed, 0.5, 0.25), "policy/modal": (0.3, 0.4, 0.9 + 0.04 * seed)}
        for name in ("test", "shuffled"):
            accuracy = 0.8 + 0.05 * seed if name == "test" else 0.5
            point["course"] = course if name == "test" else None
            add(results, "arnet", gflops=2.0, accuracy=accuracy, point=name, **{**point, "train_gmacs": 100.0})  # type: ignore[arg-type]
        point |= {"actions": ("64",), "train_gmacs": 10.0, "course": None}
        folder = add(results, "multi_scale", gflops=5.0, accuracy=0.8, **point)  # type: ignore[arg-type]
        add_latency(folder)
        accuracy = 0.6 if more else 0.9
        add(results, "sofnet", gflops=3.0, accuracy=accuracy, **point)  # type: ignore[arg-type]
    add(results, "arnet", variant="acc", gflops=9.0, actions=ACTIONS, levels=levels)
    return results


@pytest.fixture(scope="module")
def text(toys: Path) -> str:
    from benchmarks.report.markdown import committed, with_tables

    return with_tables(MARKS, partial(committed, toys), "page.md")


def test_the_recomputation_finds_the_tables_true(text: str, toys: Path) -> None:
    check(text, toys / "reference")
    (table,) = (table for name, places, table in BLOCK.findall(text) if (name, places) == ("differences", TOYS))
    against = [row["against"] for row in rows_of(table) if row["method"] == "`arnet`"]
    assert against == ["uniform", *REFERENCES, "multi_scale", SHUFFLED]


@pytest.mark.parametrize(("table", "places"), PLACES)
def test_the_recomputation_finds_a_figure_that_is_false(text: str, toys: Path, table: str, places: str) -> None:
    """Any single figure that is off by two in its last digit."""
    (block,) = (found for found in BLOCK.finditer(text) if (found[1], found[2]) == (table, places))
    before, made, after = text[block.start() : block.start(3)], block[3], text[block.end(3) : block.end()]
    figures = list(re.finditer(r"\d[\d,]*\.\d+", made))
    assert len(figures) > 3
    for figure in figures:
        value, decimals = float(figure[0].replace(",", "")), len(figure[0].partition(".")[2])
        false = f"{value + 2 * 10**-decimals:.{decimals}f}"
        with pytest.raises(AssertionError):
            check(before + made[: figure.start()] + false + made[figure.end() :] + after, toys / "reference")
