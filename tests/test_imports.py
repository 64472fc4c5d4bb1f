"""The directions in which the rooms may import each other, and no circles."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"adavid": ROOT / "src", "benchmarks": ROOT, "methods": ROOT, "datamodules": ROOT}
# What each room may import of the project. The command line finds methods and data sets by name, in their YAML.
ALLOWED = {
    "adavid": {"adavid"},
    "methods": {"adavid"},
    "datamodules": {"adavid", "datamodules.arnet_lists", "datamodules.sprites_drawing", "datamodules.ucf101"},
    "benchmarks.pretrain": {"adavid", "datamodules"},  # no part of a run: it makes weights that come along
    "benchmarks.report": {"adavid", "benchmarks.layers", "benchmarks.report"},
    "benchmarks": {"adavid", "benchmarks"},
}


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((folder / package).rglob("*.py")):
            name = ".".join(path.relative_to(folder).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """The modules of the project that a module imports, and whether when it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_once = {id(node) for node in ast.walk(tree)}
    for node in ast.walk(tree):
        for_types_alone = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or for_types_alone:
            at_once -= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            name = name if name in MODULES else name.rpartition(".")[0]
            if name.partition(".")[0] in FOLDERS:
                yield name, id(node) in at_once


def within(name: str, rooms: set[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def test_the_rooms_import_in_one_direction() -> None:
    wrong = []
    for name, path in MODULES.items():
        room = max((room for room in ALLOWED if within(name, {room})), key=len)
        wrong += [f"{name} imports {other}" for other, _ in imports(path) if not within(other, ALLOWED[room])]
        if room in ("methods", "datamodules"):  # each stands by itself on what `adavid` exports
            wrong += [f"{name} imports {other}" for other, _ in imports(path) if other.startswith("adavid.")]
    assert not wrong


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: {other for other, at_once in imports(path) if at_once} for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_reading_results_loads_no_network_and_no_decoder() -> None:
    heavy = ("torch", "torchvision", "timm", "pytorch_lightning", "av")
    code = f"import sys, benchmarks.report; print(*[name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
