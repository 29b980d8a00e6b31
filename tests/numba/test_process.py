"""Numba in whole processes: when it is imported, its cache on disk, threads and forks."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fusion.kernels import NEEDS_NUMBA
from tests.tools import ROOT, python

pytest.importorskip("numba", reason=NEEDS_NUMBA)

TRAIN = """
import sys
import numpy as np
import born
from born import nn, optim

def train(backend, seed, size=1000):
    rng = np.random.default_rng(seed)
    p = nn.Parameter(born.tensor(rng.normal(size=size).astype(np.float32), backend))
    optimizer = optim.SGD([p], optim.SGDConfig(lr=0.1, momentum=0.9))
    for _ in range(3):
        g = rng.normal(size=size).astype(np.float32)
        optimizer.step({p.raw: backend.from_numpy(g)})
    return p.numpy().tobytes()

numba = born.get_backend("numba")
"""

CHECK = (
    TRAIN
    + """
assert train(numba, 1) == train(born.get_backend("numpy"), 1)
assert not any(name.startswith("torch") for name in sys.modules)
"""
)


@pytest.mark.parametrize(
    "statement",
    [
        "import born, born.optim, born.nn, born.checkpoint",
        "import born_numba",
        "import born; assert 'numba' in born.available_backends()",
        "import born; born.get_backend('numpy')",
    ],
)
def test_numba_is_not_imported_before_it_is_asked_for(statement: str) -> None:
    script = f"import sys; {statement}; print('numba' in sys.modules, 'llvmlite' in sys.modules)"
    assert python(script).split() == ["False", "False"]


def test_auto_takes_numba_where_it_is_installed() -> None:
    script = "import born; print(born.available_backends()['cupy'].usable, born.get_backend())"
    gpu, backend = python(script).split()
    assert gpu == "True" or backend == "NumbaBackend()"


BLOCKED = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("numba", "llvmlite"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Blocker())
"""

HIDDEN = """
import importlib.util

real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numba" else real(name, *rest)
"""


UNAVAILABLE = """
import born
from born.errors import BackendUnavailableError
assert repr(born.get_backend("auto")) != "NumbaBackend()"
try:
    born.get_backend("numba")
except BackendUnavailableError as error:
    print(error)
"""


@pytest.mark.parametrize("hide", [BLOCKED, HIDDEN], ids=["blocked", "hidden"])
def test_missing_numba_is_said_with_the_extra_to_install(hide: str) -> None:
    missing = "\nassert not born.available_backends()['numba']"
    printed = python(hide + UNAVAILABLE + missing)
    assert "numba not installed" in printed
    assert 'pip install "born-optim[numba]"' in printed


COMPILES_NOTHING = """
from numba.core import compiler
def refuse(*args, **kwargs):
    raise AssertionError("compiled")
compiler.compile_extra = refuse
"""


@pytest.mark.parametrize(
    ("raises", "reason"),
    [
        ("ImportError('another NumPy')", "another NumPy"),
        ("OSError('no libllvmlite.so')", "no libllvmlite.so"),
        ("", "NUMBA_DISABLE_JIT is set"),
    ],
    ids=["broken", "incomplete", "disabled"],
)
def test_numba_that_cannot_compile_is_unavailable(raises: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text(f"raise {raises}")
    environment = {"PYTHONPATH": str(tmp_path)} if raises else {"NUMBA_DISABLE_JIT": "1"}
    assert reason in python(UNAVAILABLE, **environment)


def files(directory: Path) -> dict[str, tuple[str, int]]:
    """Path of each file -> a checksum, and when it was written."""
    return {
        str(path.relative_to(directory)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("filled") / "cache"
    python(CHECK, BORN_CACHE_DIR=str(directory))
    return directory


def copy_of(filled: Path, target: Path) -> Path:
    subprocess.run(["cp", "-a", filled, target], check=True)
    return target


def said(setting: str, cache: Path) -> list[str]:
    """What a process that trains says of compiling, after a setting."""
    script = f"""
import contextlib, io, types, born_numba.cache
{setting}
said = io.StringIO()
with contextlib.redirect_stderr(said):
    exec({CHECK!r})
print(said.getvalue())
"""
    lines = python(script, BORN_CACHE_DIR=str(cache)).split("\n")
    return [line for line in lines if line.startswith("born: compiled ")]


@pytest.mark.parametrize(("after", "times"), [(0.0, 1), (1e9, 0)])
def test_time_of_compiling_is_said_once(after: float, times: int, tmp_path: Path) -> None:
    for expected in (times, 0):  # the second process compiles nothing
        assert len(said(f"born_numba.cache._NOTICE_AFTER = {after}", tmp_path)) == expected


def test_time_of_compiling_adds_up(tmp_path: Path) -> None:
    slow = """
clock = iter(range(10**6))
slow = lambda: 0.6 * next(clock)  # each loop takes so long
born_numba.cache.time = types.SimpleNamespace(perf_counter=slow)
"""
    (line,) = said(slow, tmp_path)
    assert line.startswith("born: compiled loops for 1.2 s")


def test_second_process_compiles_nothing(filled: Path) -> None:
    before = files(filled)
    assert any(name.endswith(".nbc") for name in before)
    python(CHECK.replace("numba =", f"{COMPILES_NOTHING}\nnumba ="), BORN_CACHE_DIR=str(filled))
    assert files(filled) == before


@pytest.mark.parametrize(("kind", "length"), [("nbi", 0), ("nbc", 10)])
def test_broken_files_are_made_again(kind: str, length: int, filled: Path, tmp_path: Path) -> None:
    cache = copy_of(filled, tmp_path / "cache")
    for path in cache.rglob(f"*.{kind}"):
        path.write_bytes(path.read_bytes()[:length])
    python(CHECK, BORN_CACHE_DIR=str(cache))
    again = files(cache)
    python(CHECK.replace("numba =", f"{COMPILES_NOTHING}\nnumba ="), BORN_CACHE_DIR=str(cache))
    assert files(cache) == again


def test_loops_of_another_version_are_not_trusted(filled: Path, tmp_path: Path) -> None:
    # A loop has the functions that it calls compiled in, which its text does not show.
    cache = copy_of(filled, tmp_path / "cache")
    shutil.copytree(ROOT / "backends" / "born_numba", tmp_path / "born_numba")
    with (tmp_path / "born_numba" / "compiler.py").open("a", encoding="utf-8") as changed:
        changed.write("# changed\n")
    python(CHECK, BORN_CACHE_DIR=str(cache), PYTHONPATH=str(tmp_path))
    before, after = ({path.name for path in (c / "loops").iterdir()} for c in (filled, cache))
    assert len(after) == 2 * len(before)


@pytest.mark.parametrize("place", ["file", "below a file", "forbidden", "filled, not to write"])
def test_cache_that_cannot_be_written_is_no_error(place: str, filled: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    directories = {
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "cache",
        "forbidden": Path("/proc/born"),  # where even root makes no folder
        "filled, not to write": filled,
    }
    # Also where it is the superuser who runs this, whom no mode keeps from writing.
    refused = """
import tempfile
def refuse(**_):
    raise PermissionError
tempfile.TemporaryFile = refuse
"""
    before = files(filled)
    home = tmp_path / "home"
    environment = {"HOME": str(home), "XDG_CACHE_HOME": str(home)}
    script = refused + CHECK if place.startswith("filled") else CHECK
    python(script, BORN_CACHE_DIR=str(directories[place]), **environment)
    assert (tmp_path / "file").read_text() == "mine"
    assert not home.exists()  # nothing is written where nobody has asked for it
    assert files(filled) == before


LARGE = 1_100_000  # more than one thread takes, on either backend


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
every_name = pytest.mark.parametrize("name", ["numba", "numpy"])

STEPPING = (
    TRAIN
    + """
import multiprocessing, os, subprocess, threading, time, warnings

warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork with threads
backend = born.get_backend("NAME")
small = train(backend, 2)
alone = [train(backend, seed, LARGE) for seed in range(2)]
stop, same = threading.Event(), []

def keep_training(seed):
    while not stop.is_set():
        same.append(train(backend, seed, LARGE) == alone[seed])

def child_trains(_=None):
    return train(backend, 2) == small

threads = [
    threading.Thread(target=keep_training, args=(seed,), daemon=True) for seed in range(2)
]
for thread in threads:
    thread.start()
BODY
while len(same) < 4:
    assert all(thread.is_alive() for thread in threads)
    time.sleep(1e-2)
stop.set()
for thread in threads:
    thread.join()
assert all(same)
child = os.fork()
if child == 0:  # by more than one thread
    os._exit(0 if train(backend, 1, LARGE) == alone[1] else 3)
assert os.waitpid(child, 0)[1] == 0
print("done")
"""
)
"""Something done beside two threads that step all the while, each by more than one thread."""

FORKS = """
for _ in range(200):
    child = os.fork()
    if child == 0:
        os._exit(0 if child_trains() else 3)
    end = time.monotonic() + 20.0
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        assert time.monotonic() < end, "the child hangs"
        time.sleep(5e-4)
    assert ended == (child, 0)
"""

POPEN = """
for _ in range(25):
    subprocess.Popen(["true"], user=os.getuid()).wait(20.0)
    subprocess.run(["true"], timeout=20.0, check=True)
"""

POOLS = """
for _ in range(5):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(child_trains, range(4)).get(20.0) == 4 * [True]
"""


@needs_fork
@every_name
@pytest.mark.parametrize("body", [FORKS, POPEN, POOLS], ids=["forks", "popen", "pools"])
def test_processes_start_beside_steps_and_step(body: str, name: str) -> None:
    script = STEPPING.replace("LARGE", str(LARGE)).replace("NAME", name).replace("BODY", body)
    assert python(script).strip() == "done"


DISJOINT = """
import threading
import numpy as np
import born
from born import nn, optim
from born.raw import RawTensor

backend = born.get_backend("numba")
ps = [nn.Parameter(born.zeros(70_000, backend)) for _ in range(6)]
optimizer = optim.SGD(ps, optim.SGDConfig(lr=1.0))

def train(mine):
    for step in range(600):
        some = mine if step % 2 else mine[:1]
        optimizer.step({p.raw: RawTensor(np.ones(70_000, np.float32)) for p in some})

threads = [threading.Thread(target=train, args=(ps[k : k + 2],)) for k in (0, 2, 4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for k, p in enumerate(ps):
    assert (p.numpy() == (-300 if k % 2 else -600)).all(), (k, p.numpy())
"""


def test_threads_may_step_parameters_of_their_own_of_one_optimizer() -> None:
    python(DISJOINT)


def test_bounds_are_not_checked_where_none_are_known() -> None:
    python(CHECK, NUMBA_BOUNDSCHECK="1")
