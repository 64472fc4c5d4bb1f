"""The shape suffixes of the methods' tensors are explained where a reader meets them: in the file's own docstring."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

FILES = sorted(path for path in (Path(__file__).parents[2] / "methods").glob("*.py") if path.stem != "__init__")


def suffix_letters(tree: ast.Module) -> set[str]:
    """The axes in names such as `logits_BTK` or `both_MD`."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    suffixes = (re.fullmatch(r"[a-z][a-z0-9_]*_([A-Z0-9]*[A-Z][A-Z0-9]*)", name) for name in names)
    return {letter for suffix in suffixes if suffix for letter in suffix[1] if letter.isalpha()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_legend_has_every_axis_and_no_other(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (legend,) = re.findall(r"^B videos, .*", ast.get_docstring(tree) or "", re.MULTILINE | re.DOTALL)
    explained = set(re.findall(r"\b[A-Z]\b", legend)) | set("".join(re.findall(r"\b[CD]HW\b", legend)))
    assert suffix_letters(tree) == explained
