"""Who may import whom. Each check runs on the project and on a small tree that breaks it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS: Mapping[str, tuple[str, ...]] = {
    "schemas": ("schemas",),
    "learners": ("schemas", "learners"),
    "streams": ("schemas", "learners", "streams"),
}
ONLY_IN: Mapping[str, tuple[str, ...]] = {
    "faust": ("streams/engine/faust_worker.py",),
    "mode": ("streams/engine/faust_worker.py",),
    "torch": ("learners/deep/*",),
    "river": (
        "learners/river_descent.py",
        "learners/river/*",
        "streams/demo/records.py",
        "streams/bench/quality_streams.py",
    ),
    "pandas": ("learners/river/*",),
    "onnx": ("streams/models/onnx_file.py",),
    "confluent_kafka": ("streams/engine/kafka*.py", "streams/bench/*", "streams/local/*"),
}
LIGHT = ("streams/serving/*", "streams/client/*", "streams/gateway/*", "streams/models/*", "streams/cli/*")
HEAVY = ("faust", "mode", "numba", "river", "pandas", "torch")


@dataclass(frozen=True)
class Import:
    """One imported name; `deferred` when it stands inside a function, or is for the type checker alone."""

    name: str
    deferred: bool


@dataclass(frozen=True)
class Module:
    """One file of the project: `rheostat.streams.x`, `streams/x.py`, what it imports."""

    name: str
    path: str
    imports: tuple[Import, ...]


Tree = Mapping[str, Module]


def read_tree(root: Path) -> Tree:
    """Parse all product code under a root."""
    files = [path for layer in LAYERS for path in sorted((root / layer).rglob("*.py"))]
    return {module.name: module for module in (_read(path, root) for path in files)}


def wrong_layers(tree: Tree) -> list[str]:
    """Imports of a layer that may not be seen, by another name than rheostat's, or relative ones."""
    found = []
    for module in tree.values():
        seen = LAYERS[module.path.split("/")[0]]
        for each in module.imports:
            parts = each.name.split(".")
            if parts[0] in ("", *LAYERS) or (parts[0] == "rheostat" and len(parts) > 1 and parts[1] not in seen):
                found.append(f"{module.path}: {each.name or 'relative import'}")
    return found


def wrong_places(tree: Tree) -> list[str]:
    """Imports of a library outside the files that may use it, deferred ones too."""
    return [
        f"{module.path}: {each.name}"
        for module in tree.values()
        for each in module.imports
        if not any(fnmatch(module.path, allowed) for allowed in ONLY_IN.get(each.name.split(".")[0], ("*",)))
    ]


def heavy_imports(tree: Tree) -> list[str]:
    """Heavy libraries that importing a light module loads, by itself or through others of ours."""
    found = []
    for module in tree.values():
        if any(fnmatch(module.path, light) for light in LIGHT):
            loaded = {each.name.split(".")[0] for name in _closure(tree, module.name) for each in _eager(tree[name])}
            found += [f"{module.path}: {name}" for name in HEAVY if name in loaded]
    return found


def cycle(tree: Tree) -> list[str]:
    """One import cycle between modules, if there is any; deferred imports count too."""
    graph = {name: {each.name for each in module.imports} & set(tree) - {name} for name, module in tree.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _closure(tree: Tree, start: str) -> set[str]:
    """All modules that importing one loads, the packages they lie in included."""
    reached, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name in tree and name not in reached:
            reached.add(name)
            waiting.extend(each.name for each in _eager(tree[name]))
            waiting.append(name.rpartition(".")[0])
    return reached


def _eager(module: Module) -> Iterator[Import]:
    return (each for each in module.imports if not each.deferred)


def _read(path: Path, root: Path) -> Module:
    place = path.relative_to(root)
    parts = place.with_suffix("").parts
    name = ".".join(("rheostat", *(parts[:-1] if parts[-1] == "__init__" else parts)))
    return Module(name, place.as_posix(), tuple(_imports(ast.parse(path.read_text()), deferred=False)))


def _imports(node: ast.AST, deferred: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = "" if child.level else child.module or ""
            yield Import(base, deferred)
            if base:
                yield from (Import(f"{base}.{alias.name}", deferred) for alias in child.names)
        else:
            yield from _imports(child, deferred or _runs_later(child))


def _runs_later(node: ast.AST) -> bool:
    """Whether what stands in it does not run when the module is imported."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name):
        return node.test.id == "TYPE_CHECKING"
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


@pytest.fixture(scope="module")
def project() -> Tree:
    """The project itself."""
    return read_tree(ROOT)


def a_tree(root: Path, **files: str) -> Tree:
    """Write files (`streams__engine__loop="import faust"`) into an empty tree and read it."""
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_tree(root)


def test_the_project_was_read(project: Tree) -> None:
    assert {"rheostat.schemas.catalogue", "rheostat.learners.contract", "rheostat.streams.engine.loop"} <= set(project)


def test_layers_are_kept(project: Tree) -> None:
    assert wrong_layers(project) == []


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("schemas__codec", "from rheostat.learners import contract"),
        ("schemas__codec", "import rheostat.streams.errors"),
        ("learners__linear", "from rheostat.streams.errors import Corrupt"),
        ("learners__linear", "def f():\n    from rheostat.streams import errors"),
        ("streams__loop", "from schemas import catalogue"),
        ("streams__loop", "from . import block"),
    ],
)
def test_a_broken_layer_is_found(tmp_path: Path, place: str, text: str) -> None:
    assert wrong_layers(a_tree(tmp_path, **{place: text}))


def test_libraries_stay_in_their_files(project: Tree) -> None:
    assert wrong_places(project) == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_elsewhere_is_found(tmp_path: Path, library: str) -> None:
    tree = a_tree(tmp_path, streams__intake__stage=f"def f():\n    import {library}.part")
    assert wrong_places(tree) == [f"streams/intake/stage.py: {library}.part"]


def test_serving_client_models_and_the_command_line_stay_light(project: Tree) -> None:
    assert heavy_imports(project) == []


@pytest.mark.parametrize("package", ["serving", "client", "models"])
@pytest.mark.parametrize("library", HEAVY)
def test_a_heavy_import_is_found_through_others(tmp_path: Path, package: str, library: str) -> None:
    files = {
        f"streams__{package}__a": "from rheostat.streams import middle",
        "streams__middle": "from rheostat.learners.deep import Model",
        "learners__deep": f"import {library}",
    }
    assert heavy_imports(a_tree(tmp_path, **files)) == [f"streams/{package}/a.py: {library}"]


def test_a_deferred_import_keeps_a_module_light(tmp_path: Path) -> None:
    files = {"streams__client__a": "def f():\n    from rheostat.learners import deep", "learners__deep": "import torch"}
    assert heavy_imports(a_tree(tmp_path, **files)) == []


def test_there_is_no_import_cycle(project: Tree) -> None:
    assert cycle(project) == []


def test_a_cycle_is_found(tmp_path: Path) -> None:
    files = {
        "streams__a": "from rheostat.streams.b import x",
        "streams__b": "import rheostat.streams.c",
        "streams__c": "def f():\n    from rheostat.streams import a",
    }
    assert set(cycle(a_tree(tmp_path, **files))) == {"rheostat.streams.a", "rheostat.streams.b", "rheostat.streams.c"}
