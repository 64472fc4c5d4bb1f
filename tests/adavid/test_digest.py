"""Which code a result was made with: what is followed, and what makes no difference to the digest."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adavid.digest import code_digest, reached

METHOD = '''"""What it is."""

import adavid
from adavid import resize_frames
import mine.parts


class Method:
    """A method."""

    size = 3

    def forward(self, x):
        """Doubles."""
        return 2 * x
'''


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of its own, with a method and what it imports."""
    (tmp_path / "mine").mkdir()
    for name, text in (("__init__", ""), ("method", METHOD), ("parts", "WIDTH = 3\n"), ("other", "WIDTH = 4\n")):
        (tmp_path / "mine" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    importlib.invalidate_caches()
    return tmp_path / "mine"


def write(path: Path, text: str) -> None:
    path.write_text(text)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))  # however quick the test is


def test_comments_docstrings_and_layout_make_no_difference_and_a_constant_does(mine: Path) -> None:
    before = code_digest("mine.method")
    text = METHOD.replace("What it is.", "Something else.").replace("Doubles.", "Twice as much.")
    write(mine / "method.py", text.replace("size = 3", "size = (\n        3  # a comment\n    )"))
    assert code_digest("mine.method") == before
    write(mine / "method.py", METHOD.replace("size = 3", "size = 4"))
    assert code_digest("mine.method") != before
    write(mine / "method.py", METHOD)
    assert code_digest("mine.method") == before


def test_what_is_imported_counts_and_nothing_else(mine: Path) -> None:
    before = code_digest("mine.method")
    write(mine / "other.py", "WIDTH = 5\n")
    assert code_digest("mine.method") == before
    write(mine / "parts.py", "WIDTH = 5\n")
    assert code_digest("mine.method") != before
    with pytest.raises(ValueError, match=r"^mine\.nothing: expected a module of which the source is here$"):
        code_digest("mine.nothing")


def test_a_method_reaches_what_it_runs_on_and_no_other_method() -> None:
    names = set(reached("methods.arnet", "datamodules.sprites"))
    assert names >= {"methods.arnet", "datamodules.sprites", "datamodules.sprites_drawing", "benchmarks.models"}
    assert names >= {"adavid.method", "adavid.cost", "adavid.routing", "adavid.training", "adavid.networks.backbones"}
    assert {name for name in names if name.startswith("methods.")} == {"methods.arnet"}
    assert {name for name in names if name.startswith("benchmarks.")} == {"benchmarks.models"}
    assert "adavid.networks.frame_mlp" not in names and "adavid.evaluation.stats" not in names
    assert "adavid.networks.frame_mlp" in reached("methods.frame_exit")


def test_a_digest_loads_no_network_library() -> None:
    code = (
        "import sys; from adavid.digest import code_digest; code_digest('methods.arnet'); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
