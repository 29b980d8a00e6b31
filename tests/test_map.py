"""The map of the house: topics that name the files of every layer, few classes deep, no circles.

`pytest -s tests/test_map.py` prints what is counted.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from types import FrameType
from typing import Final

import pytest

import born
from born import nn, ops, optim
from born.backend import OPERATIONS, ArrayBackend, Backend, get_backend
from tests.operations.table import ROWS
from tests.tools import ROOT

DERIVATIVES: Final = ROOT / "born" / "autodiff" / "derivatives"
REGISTRARS: Final = {"of_input", "of_result", "pullback_of", "constant"}

MADE: Final = {"random": "creation", "transfer": "creation"}
"""What is drawn, and what comes from the host, is made, to the layers that compute nothing."""

MOST_CLASSES: Final = 5
"""The depth of a backend: itself, what it stands on, and the contract."""

MOST_FILES: Final = 12
_OF_A_DEVICE: Final = 3  # its context, its compiler, and the table that goes there
"""The files of born and of a backend that a step passes on its way to memory."""


# -- one operation, one topic --------------------------------------------------------------


def entered(path: Path) -> Iterator[str]:
    """The operations whose derivatives a file enters."""
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and getattr(call.func, "id", None) in REGISTRARS:
            for argument in call.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value


DERIVED: Final = {name: path.stem for path in DERIVATIVES.glob("*.py") for name in entered(path)}


def bound(path: Path) -> Iterator[str]:
    """The names that the classes of a file bind."""
    for kind in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(kind, ast.ClassDef):
            for node in kind.body:
                if isinstance(node, ast.FunctionDef):
                    yield node.name
                elif isinstance(node, ast.Assign):
                    yield from (each.id for each in node.targets if isinstance(each, ast.Name))


ON_DEVICE: Final = {
    name: path.stem
    for path in (ROOT / "backends" / "born_cupy").glob("*.py")
    for name in bound(path)
    if name in OPERATIONS and path.stem != "backend"  # which makes, and asks for what was made
}
KERNELS: Final = ROOT / "backends" / "born_cupy" / "kernels"


def topics(name: str) -> dict[str, str]:
    """Layer -> the file that an operation is in, for every layer that has it."""
    written = {
        "contract": getattr(Backend, name),
        "arrays": getattr(ArrayBackend, name),
        "ops": getattr(ops, name, None) or getattr(ops.linalg, name, None),
        "rows": ROWS[name].draw,
    }
    files = {
        layer: function.__module__.rpartition(".")[2].removeprefix("rows_")
        for layer, function in written.items()
        if function is not None
    }
    for layer, found in {"derivatives": DERIVED, "born_cupy": ON_DEVICE}.items():
        files |= {layer: found[name]} if name in found else {}
    return files


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_has_one_topic(name: str) -> None:
    files = topics(name)
    print(f"\n{name}: {', '.join(f'{layer} {file}.py' for layer, file in files.items())}", end="")
    assert len({MADE.get(file, file) for file in files.values()}) == 1, files


def test_derivatives_are_of_operations() -> None:
    assert set(DERIVED) <= set(OPERATIONS)
    assert {"exp", "matmul", "argmax"} <= set(DERIVED), "the registrars are found"


@pytest.mark.parametrize("topic", sorted(set(ON_DEVICE.values())))
def test_kernels_of_a_topic_are_in_the_file_of_its_name(topic: str) -> None:
    assert {"softmax", "argmax", "unfold", "linear_relu"} <= set(ON_DEVICE), "operations are found"
    shared = {"Source", "source.THREADS", "source.real"}
    used = {
        each.removeprefix("born_cupy.kernels.")
        for each in imported(KERNELS.parent / f"{topic}.py", topic)
        if each.startswith("born_cupy.kernels.")
    }
    assert used - shared == ({topic} if (KERNELS / f"{topic}.py").exists() else set())


# -- the place of a thing ------------------------------------------------------------------


def defined(path: Path) -> Iterator[str]:
    """The functions and classes of a file, and the methods by the name of their class."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (
                f"{node.name}.{x.name}" for x in node.body if isinstance(x, ast.FunctionDef)
            )


def test_what_the_page_says_is_in_a_file_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    places = re.findall(r"`([\w.]+)` in `(\w+/[\w/]+\.py)`", page)
    assert ("Tape.walk", "born/autodiff/tape.py") in places, "the table is found"
    missing = [(name, path) for name, path in places if name not in defined(ROOT / path)]
    assert missing == []


# -- few classes deep ----------------------------------------------------------------------


def depth(kind: type) -> int:
    """How many classes lie on the longest way from this one to the root of a topic."""
    if kind.__module__ in ("abc", "builtins", "typing"):
        return 0
    return 1 + max(map(depth, kind.__bases__))


def test_backend_is_few_classes_deep(backend_name: str) -> None:
    kind = type(get_backend(backend_name))
    print(f"\n{kind.__name__}: {depth(kind)} classes deep", end="")
    assert depth(kind) <= MOST_CLASSES


# -- no circle at file level ---------------------------------------------------------------


def imported(path: Path, module: str) -> Iterator[str]:
    """The modules that a file imports anywhere in it, for types alone as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{module} imports by a relative name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports(package: Path) -> dict[str, set[str]]:
    """Each file of a package, as a module, and the other files of it that it imports."""
    files = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts): path
        for path in package.rglob("*.py")
        if path.name != "__main__.py"
    }
    modules = {name.removesuffix(".__init__"): path for name, path in files.items()}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        named = imported(path, module)
        # `from package import name` reads the file of a module, or else that of the package.
        read = {each if each in modules else each.rpartition(".")[0] for each in named}
        graph[module] = (read & set(modules)) - {module}
    return graph


@pytest.mark.parametrize(
    "package", ["born", "backends/born_numpy", "backends/born_numba", "backends/born_cupy"]
)
def test_files_import_each_other_in_no_circle(package: str) -> None:
    graph = imports(ROOT / package)
    assert any(graph.values())
    order = list(TopologicalSorter(graph).static_order())
    print(f"\n{package}: {len(order)} files, no circle", end="")


# -- few files to follow a step through ----------------------------------------------------


def test_step_passes_few_files(backend_name: str) -> None:
    backend = get_backend(backend_name)
    weight = nn.Parameter(born.ones((4,), backend))
    optimizer = optim.Adam([weight], optim.AdamConfig())
    gradients = {weight.raw: backend.ones((4,), "float32")}
    optimizer.step(gradients)
    passed: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        passed.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        optimizer.step(gradients)
    finally:
        sys.setprofile(None)
    files = sorted(
        Path(file).relative_to(ROOT).as_posix() for file in passed if file.startswith(f"{ROOT}/b")
    )
    print(f"\na step on {backend_name} passes {len(files)} files: {', '.join(files)}", end="")
    assert 0 < len(files) <= MOST_FILES + _OF_A_DEVICE * (backend_name == "cupy")
