"""What a run's settings are, and who set each of them: `make config`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.layers import SECTIONS, Layer, set_by
from benchmarks.run import Run

WIDTH = 52  # columns of a value, before the place that it comes from


def explain(run: Run, layers: Sequence[Layer]) -> str:
    """Every setting of a run, section by section, as YAML, with the layer that set it in a comment.

    Args:
        run: composed.
        layers: what it was composed of, in order of precedence.
    """
    lines = [
        f"# {run.label} on {run.data_request}, profile {run.profile}, seed {run.seed}",
        f"target: {run.config['target']}",
    ]
    for section in SECTIONS:
        values: Any = run.search if section == "search" else run.config[section]
        if section == "stages":
            values = {stage["name"]: {key: stage[key] for key in stage if key != "name"} for stage in values}
        lines.append(f"{section}:" if values else f"{section}: {{}}")
        lines += _lines(run, layers, values, (section,))
    return "\n".join(lines)


def _lines(run: Run, layers: Sequence[Layer], values: dict[str, Any], keys: tuple[str, ...]) -> Iterator[str]:
    indent = "  " * len(keys)
    for key, value in values.items():
        here = (*keys, str(key))
        if isinstance(value, dict) and value and not _is_network(value):
            yield f"{indent}{key}:"
            yield from _lines(run, layers, value, here)
        else:
            yield f"{f'{indent}{key}: {json.dumps(value, ensure_ascii=False)}':{WIDTH}} # {_place(run, layers, here)}"


def _is_network(value: dict[str, Any]) -> bool:
    return value.keys() == {"name", "size"}


def _place(run: Run, layers: Sequence[Layer], keys: tuple[str, ...]) -> str:
    if place := set_by(layers, *keys):
        return place
    # Every stage is the recipe's unless something else is said of it, those of the warm-up too.
    is_of_stage = keys[0] == "stages" or keys[:2] in {("recipe", of) for of in ("stage", "warmup")}
    if is_of_stage and (place := set_by(layers, "recipe", "stage", keys[-1])):
        return f"{place} (recipe.stage)"
    if is_of_stage:
        return "default of Stage"
    schemas = {"recipe": "Recipe", "trainer": "TrainerSettings"}
    schemas |= {
        "model": run.method_class.__name__,
        "test": run.method_class.__name__,
        "data": run.catalogue_class.__name__,
    }
    return f"default of {schemas[keys[0]]}"
