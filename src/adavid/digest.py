"""Which code a result was made with: a digest of the source that trains and evaluates it."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from adavid.checkout import checkout

# What trains and evaluates every method; of the benchmark nothing else is followed.
ALWAYS = ("adavid.training", "benchmarks.models")
# Not followed: what only reads settings, which are in a result's configuration, or writes files; and what scores
# predictions, which a reader repeats.
APART = (
    *("adavid", "adavid.config", "adavid.files", "adavid.loading", "adavid.checkout", "adavid.environment"),
    "adavid.digest",
)
SCORES = "adavid.evaluation."
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def code_digest(*modules: str, beside: Sequence[str] = ALWAYS) -> str:
    """Eight hexadecimal digits of modules, and of the project's that they reach by import.

    Comments, docstrings and layout make no difference to it.

    Args:
        modules: by dotted name: a method's, its data set's, those that train what it starts from.
        beside: further ones, likewise; what trains and evaluates, unless said otherwise.

    Raises:
        ValueError: there is no source of one.
    """
    sources = reached(*modules, beside=beside)
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(f"{name}:{_digest(sources[name], sources[name].stat().st_mtime_ns)}\n".encode())
    return digest.hexdigest()[:8]


def reached(*modules: str, beside: Sequence[str] = ALWAYS) -> dict[str, Path]:
    """The modules, those beside them, and what they reach by import, each with its file."""
    checkout()
    own = {"adavid", "methods", "datamodules", *(name.partition(".")[0] for name in modules)}
    sources: dict[str, Path] = {}
    left = [*modules, *beside]
    while left:
        name = left.pop()
        if name in sources:
            continue
        path = _source(name)
        if path is None:
            raise ValueError(f"{name}: expected a module of which the source is here")
        sources[name] = path
        for module, of_it in _imports(path, path.stat().st_mtime_ns):
            if module.partition(".")[0] in own and _counts(other := _home(module, of_it)):
                left.append(other)
    return sources


def _counts(module: str) -> bool:
    return module not in APART and (not module.startswith(SCORES) or module == f"{SCORES}collector")


def _source(name: str) -> Path | None:
    """A module's file, found without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    return Path(spec.origin) if spec is not None and spec.origin else None


def _home(module: str, name: str) -> str:
    """Where what is imported from a module of the project stands: `adavid` exports what others define."""
    if module == "adavid" and name in _exports():
        return _exports()[name]
    package = _source(module)
    is_module = name and package is not None and package.name == "__init__.py" and _source(f"{module}.{name}")
    return f"{module}.{name}" if is_module else module


@functools.cache
def _exports() -> dict[str, str]:
    """The module of each name that `adavid` exports."""
    tree = ast.parse(Path(__file__).with_name("__init__.pyi").read_text(encoding="utf-8"))
    lines = (node for node in tree.body if isinstance(node, ast.ImportFrom))
    return {alias.name: f"adavid.{node.module}" for node in lines for alias in node.names}


@functools.cache
def _imports(path: Path, changed: int) -> tuple[tuple[str, str], ...]:
    """What a module imports, as (module, name), the name "" where it is the module itself."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.module, alias.name) for alias in node.names]
    return tuple(found)


@functools.cache
def _digest(path: Path, changed: int) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return hashlib.sha256(" ".join(_words(tree)).encode()).hexdigest()


def _words(node: object) -> Iterator[str]:
    """A syntax tree as words, without docstrings, and without fields that are empty: later Pythons know more."""
    if isinstance(node, list):
        yield "["
        for item in node:
            yield from _words(item)
        yield "]"
    elif isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for field, value in ast.iter_fields(node):
            if field == "body" and isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
                value = value[1:]
            if value is not None and value != []:
                yield field
                yield from _words(value)
        yield ")"
    else:
        yield repr(node)
