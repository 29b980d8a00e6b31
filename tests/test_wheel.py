"""What is shipped: the sdist, and the wheel built from it, at work away from the checkout."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.tools import ROOT, output_of, run, unavailable

pytestmark = pytest.mark.wheel

TRAINS = """
import importlib.metadata
import sys
from pathlib import Path

import numpy as np

import born
import born_numpy
from born import checkpoint, nn, optim
from born.autodiff import Autodiff, backward

checkout = Path(sys.argv[1])
assert checkout not in Path(born.__file__).parents, born.__file__
assert checkout not in Path(born_numpy.__file__).parents, born_numpy.__file__
points = importlib.metadata.entry_points(group="born.backends")
assert points["numpy"].value == "born_numpy.entry:NumpyBackend", points
assert "numpy" in born.available_backends()
assert importlib.metadata.version("born-optim") == born.__version__

backend = Autodiff(born.get_backend("numpy"))
model = nn.Linear(3, 1, backend)
optimizer = optim.Adam(model.parameters(), optim.AdamConfig(lr=0.05))
draw = np.random.default_rng(0)
inputs = draw.normal(size=(64, 3)).astype(np.float32)
targets = inputs @ np.array([[1.0], [-2.0], [0.5]], np.float32)
losses = []
for _ in range(200):
    with backend.tape:
        loss = nn.mse_loss(model(born.tensor(inputs, backend)), born.tensor(targets, backend))
    optimizer.step(backward(loss))
    losses.append(loss.item())
checkpoint.save("line.safetensors", model=model, optimizer=optimizer)
checkpoint.load("line.safetensors", model=model, optimizer=optimizer)
print(losses[0], losses[-1])
"""
"""A program that fits a line, saves it and loads it, knowing only what is installed."""


def _virtual_environment(folder: Path) -> Path:
    """Make a clean virtual environment and return its interpreter."""
    output_of([sys.executable, "-m", "venv", folder])
    return folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder away from the checkout."""
    return tmp_path_factory.mktemp("wheel")


@pytest.fixture(scope="module")
def builder(work: Path, request: pytest.FixtureRequest) -> Path:
    """An interpreter that has hatchling; without a package index there is nothing to test."""
    python = _virtual_environment(work / "builder")
    done = run([python, "-m", "pip", "install", "--quiet", "hatchling"])
    if done.returncode != 0:
        unavailable(request.config, f"pip cannot install hatchling here: {done.stderr.strip()}")
    return python


@pytest.fixture(scope="module")
def sdist(work: Path, builder: Path) -> Path:
    """The sdist, built from the checkout."""
    output_of([builder, "-m", "hatchling", "build", "-t", "sdist", "-d", work / "dist"])
    (path,) = (work / "dist").glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(work: Path, builder: Path, sdist: Path) -> Path:
    """The wheel, built from the unpacked sdist."""
    with tarfile.open(sdist) as archive:
        archive.extractall(work / "source", filter="data")
    (source,) = (work / "source").iterdir()
    output_of([builder, "-m", "hatchling", "build", "-t", "wheel", "-d", work / "dist"], cwd=source)
    (path,) = (work / "dist").glob("*.whl")
    return path


def _packages() -> set[str]:
    """Every package of the checkout, as a path inside of the wheel."""
    return {
        path.parent.relative_to(base).as_posix()
        for base, inside in ((ROOT, "born"), (ROOT / "backends", "*"))
        for path in base.glob(f"{inside}/**/__init__.py")
    }


def test_sdist_holds_what_a_build_and_a_reader_need(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    assert {"born/__init__.py", "backends/born_numpy/__init__.py", "tests/conftest.py"} <= names
    assert not {name for name in names if "__pycache__" in name or name.startswith(".git/")}


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    top = {name.split("/")[0] for name in names}
    backends = {path.parent.name for path in (ROOT / "backends").glob("*/__init__.py")}
    assert "born_numpy" in backends
    assert {name for name in top if not name.endswith(".dist-info")} == {"born"} | backends
    packages = {name.rsplit("/", 1)[0] for name in names if name.endswith("/__init__.py")}
    assert packages == _packages()


def test_wheel_ships_type_information_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    top = {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert {f"{package}/py.typed" for package in top} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_wheel_requires_three_packages_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(path).decode()
    required = re.findall(r"^Requires-Dist: ([\w-]+)([^;\n]*)$", metadata, re.MULTILINE)
    assert [name for name, _ in required] == ["numpy", "safetensors", "typing-extensions"]
    assert required[0] == ("numpy", ">=2")


def test_installed_wheel_trains_away_from_the_checkout(work: Path, wheel: Path) -> None:
    python = _virtual_environment(work / "clean")
    output_of([python, "-m", "pip", "install", "--quiet", wheel])
    away = work / "away"
    away.mkdir()
    printed = output_of([python, "-I", "-W", "error", "-c", TRAINS, str(ROOT)], cwd=away)
    first, last = map(float, printed.split())
    # The data lie on a line exactly, so a working optimizer leaves next to nothing.
    assert last < first / 100
