"""The checkout that a process works in: methods, data sets and the benchmark are not installed, they stand there."""

from __future__ import annotations

import sys
from pathlib import Path


def checkout() -> Path:
    """The root of the checkout, from which `methods`, `datamodules` and `benchmarks` can be imported from now on.

    It is the one that this package stands in, or else the one that the present folder lies in.

    Raises:
        ValueError: there is none.
    """
    here = Path.cwd()
    for root in (Path(__file__).resolve().parents[2], here, *here.parents):
        if (root / "benchmarks" / "recipe.yaml").is_file():
            if str(root) not in sys.path:
                sys.path.insert(0, str(root))
            return root
    raise ValueError(f"{here}: expected a checkout of AdaVid, with benchmarks/recipe.yaml, here or above")
