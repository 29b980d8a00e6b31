"""Loops that are shared with the threads of NumPy's BLAS, and those that are not."""

from __future__ import annotations

import copy
import ctypes
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from born.backend.threads import Pool
from born.nn import Parameter
from born.optim import Adam, AdamConfig
from born.raw import HostArray, RawTensor
from born.tensor import Tensor
from tests.fusion.kernels import NEEDS_NUMBA, assert_same_bits, numba_backend
from tests.tools import python

pytest.importorskip("numba", reason=NEEDS_NUMBA)

SIZE = 300_001
PRODUCT = 2**24
"""Multiplications of a matrix product after which BLAS's threads are awake for certain."""


@pytest.fixture
def team() -> Any:
    """The module, where NumPy's BLAS lends threads."""
    module: Any = importlib.import_module("born_numba.team")
    blas = module.TEAM._blas
    if blas is None or blas.workers() < 2:
        pytest.skip("NumPy's BLAS has no threads to lend: it is no OpenBLAS, or held to one")
    return module


def rest(team: Any) -> None:
    """As if this thread's last product were long ago."""
    team.TEAM._products.ended = float("-inf")


def is_noted(team: Any) -> bool:
    """Whether this thread is known to have had a large product."""
    noted: bool = team.TEAM._products.ended > float("-inf")
    return noted


@pytest.fixture
def asked(team: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many of BLAS's threads were asked for, each time that some were."""
    blas, calls = team.TEAM._blas, list[int]()
    share = blas.share

    def record(entry: Any, arguments: HostArray, threads: int) -> None:
        calls.append(threads)
        share(entry, arguments, threads)

    monkeypatch.setattr(blas, "share", record)
    rest(team)
    yield calls
    rest(team)


class Problem:
    """A parameter of ones, and Adam steps along one gradient."""

    def __init__(self, size: int = SIZE) -> None:
        self.backend = numba_backend()
        self.p = Parameter(Tensor(RawTensor(np.ones(size, np.float32)), self.backend))
        self.g = RawTensor(np.random.default_rng(0).normal(size=size).astype(np.float32))
        self.optimizer = Adam([self.p], AdamConfig(lr=0.1))

    def step(self) -> None:
        self.optimizer.step({self.p.raw: self.g})

    def stepped_alone(self, steps: int) -> HostArray:
        """What steps leave of the parameter that no thread has shared in."""
        other = Problem(self.p.raw.array.size)
        module: Any = importlib.import_module("born_numba.team")
        for _ in range(steps):
            rest(module)
            other.step()
        array: HostArray = other.p.raw.array
        return array


def test_each_of_the_threads_runs_the_function_once(team: Any) -> None:
    compiler: Any = importlib.import_module("born_numba.compiler")
    memory: Any = importlib.import_module("born_numba.memory")
    gettid: Any = ctypes.CDLL(None).gettid
    gettid.argtypes, gettid.restype = (), ctypes.c_int
    carray, data, pointer = compiler.numba.carray, memory.DATA, memory.pointer
    read64, take = memory.read64, memory.take

    def mark(arguments: Any) -> Any:
        table = read64(arguments + data)
        carray(pointer(table), (1,), np.int64)[take(table) + 1] = gettid()
        return 0

    address = compiler.types.uint64
    made = compiler.numba.cfunc(compiler.types.int64(address), nopython=True)(mark)
    most = team.TEAM._blas.workers()
    for threads in {2, most}:
        found = np.zeros(1 + most, np.int64)
        team.TEAM._blas.share(compiler.Entry(made), found, threads)
        assert found[0] == threads
        seen = set(found[1 : 1 + threads].tolist())
        assert len(seen) == threads
        assert threading.get_native_id() in seen
        assert not found[1 + threads :].any()


def test_a_step_right_after_a_product_is_shared(team: Any, asked: list[int]) -> None:
    problem = Problem()
    problem.step()
    assert asked == []  # nobody has said that the threads are awake
    team.TEAM.note_product(PRODUCT)
    problem.step()
    assert asked == [min(team.TEAM._blas.workers(), 9)]
    assert_same_bits(problem.p.raw.array, problem.stepped_alone(2))


def test_a_step_some_time_after_a_product_is_not(
    team: Any, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    team.TEAM.note_product(PRODUCT)
    now = team.time.perf_counter() + team._AWAKE
    monkeypatch.setattr(team.time, "perf_counter", lambda: now)
    Problem().step()
    assert asked == []


@pytest.mark.parametrize(("below", "product"), [(1, PRODUCT), (0, 262_143)])
def test_small_steps_and_small_products_wake_nobody(
    below: int, product: int, team: Any, asked: list[int]
) -> None:
    problem = Problem(team.LEAST_SHARED - below)
    team.TEAM.note_product(product)
    problem.step()
    assert asked == []


def ones(*shape: int, dtype: str = "float32") -> RawTensor:
    return RawTensor(np.ones(shape, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", ["matmul", "linear_gradients", "of x alone", "of the weight alone", "of relu"]
)
@pytest.mark.parametrize(("inner", "large"), [(63, False), (64, True)])
def test_large_products_of_the_backend_are_noted(
    team: Any, name: str, dtype: str, inner: int, large: bool
) -> None:
    backend: Any = numba_backend()
    rows, outputs = 128, 32  # times 64 it is what BLAS takes several threads for
    x, weight = ones(rows, inner, dtype=dtype), ones(outputs, inner, dtype=dtype)
    g = ones(rows, outputs, dtype=dtype)
    operations: dict[str, Callable[[], object]] = {
        "matmul": lambda: backend.matmul(g, weight),
        "linear_gradients": lambda: backend.linear_gradients(g, x, weight, True),
        "of x alone": lambda: backend.linear_gradients(g, None, weight, False),
        "of the weight alone": lambda: backend.linear_gradients(g, x, None, False),
        "of relu": lambda: backend.linear_gradients(g, x, weight, True, g),
    }
    rest(team)
    operations[name]()
    assert is_noted(team) == large


def test_products_that_blas_does_not_share_are_not_noted(team: Any) -> None:
    backend = numba_backend()
    rest(team)
    backend.matmul(ones(64, 32, 32), ones(64, 32, 32))  # each is small
    backend.matmul(ones(256, 256, dtype="int64"), ones(256, 256, dtype="int64"))
    backend.matmul(ones(256, 256, dtype="float16"), ones(256, 256, dtype="float16"))
    assert not is_noted(team)


def test_a_product_is_noted_for_its_own_thread(team: Any) -> None:
    rest(team)
    thread = threading.Thread(target=team.TEAM.note_product, args=(PRODUCT,))
    thread.start()
    thread.join()
    assert not is_noted(team)


class Lender:
    """As many threads as one likes, none of which exists."""

    def __init__(self, workers: int) -> None:
        self.workers = lambda: workers
        self.asked: list[int] = []

    def share(self, entry: Any, arguments: HostArray, threads: int) -> None:
        self.asked.append(threads)


class Alone:
    """An entry that counts how often it is run."""

    def __init__(self) -> None:
        self.runs = 0

    def call(self, address: int) -> None:
        self.runs += 1


@pytest.mark.parametrize(
    ("workers", "size", "threads"),
    [(64, 65_536, 2), (64, 100_000, 3), (64, 10_000_000, 64), (2, 10_000_000, 2), (1, 65_536, 0)],
)
def test_threads_are_lent_by_size(team: Any, workers: int, size: int, threads: int) -> None:
    lender, entry = Lender(workers), Alone()
    small = team.Team(lender)
    small.note_product(PRODUCT)
    small.share(entry, np.zeros(1), size)
    assert lender.asked == [threads] * (threads > 0)
    assert entry.runs == (threads == 0)


def test_a_pool_of_more_threads_is_preferred_for_large_work(
    team: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team, "POOL", Pool(5))
    lender, entry = Lender(4), Alone()
    small = team.Team(lender)
    small.note_product(PRODUCT)
    small.share(entry, np.zeros(1), team._LARGE - 1)
    assert (lender.asked, entry.runs) == ([4], 0)
    small.share(entry, np.zeros(1), team._LARGE)
    assert lender.asked == [4]
    assert entry.runs >= 1


def test_threads_lent_to_another_are_not_waited_for(team: Any) -> None:
    class Slow(Lender):
        """Lends until it is told to stop."""

        def share(self, entry: Any, arguments: HostArray, threads: int) -> None:
            super().share(entry, arguments, threads)
            begun.set()
            assert end.wait(10.0)

    begun, end, entry = threading.Event(), threading.Event(), Alone()
    busy = team.Team(Slow(4))

    def first() -> None:
        busy.note_product(PRODUCT)
        busy.share(entry, np.zeros(1), 100_000)

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(10.0)
    busy.note_product(PRODUCT)
    busy.share(entry, np.zeros(1), 100_000)
    assert entry.runs == 1
    end.set()
    thread.join()
    busy.share(entry, np.zeros(1), 100_000)
    assert busy._blas.asked == [3, 3]


def test_every_element_is_updated_once_whoever_shares_at_the_same_time(
    team: Any, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("born_numba.update"), "_CHUNKS_OF", (256, 256))
    problems = [Problem(70_000) for _ in range(4)]
    steps = 30

    def train(problem: Problem) -> None:
        x = np.ones((128, 512), np.float32)
        for _ in range(steps):
            np.dot(x, x.T)
            team.TEAM.note_product(PRODUCT)
            problem.step()

    threads = [threading.Thread(target=train, args=(problem,)) for problem in problems]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) > steps
    expected = problems[0].stepped_alone(steps)
    for problem in problems:
        assert_same_bits(problem.p.raw.array, expected)


SHARED = """
import os, sys
import numpy as np
from born import nn, optim
from born.raw import RawTensor
from born.tensor import Tensor
from born_numba import NumbaBackend

backend = NumbaBackend()
from born_numba.team import TEAM
if TEAM._blas is None:
    sys.exit()
calls = []
share = TEAM._blas.share
TEAM._blas.share = lambda entry, arguments, threads: (
    calls.append(threads), share(entry, arguments, threads)
)
x, weight = (RawTensor(np.ones((512, 512), np.float32)) for _ in range(2))

def trained():
    p = nn.Parameter(Tensor(RawTensor(np.ones(200_000, np.float32)), backend))
    optimizer = optim.SGD([p], optim.SGDConfig(lr=0.25))
    for _ in range(4):
        backend.linear_gradients(x, x, weight, False)
        optimizer.step({p.raw: RawTensor(np.ones(200_000, np.float32))})
    return bool((p.numpy() == 0.0).all())

"""

FORK = (
    SHARED
    + """
assert trained()
child = os.fork()
before = len(calls)
assert trained()
if TEAM._blas.workers() > 1:
    assert len(calls) > before > 0
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
)


FORK_MEANWHILE = (
    SHARED
    + """
import random, threading, time

p = nn.Parameter(Tensor(RawTensor(np.zeros(1_000_000, np.float32)), backend))
optimizer = optim.SGD([p], optim.SGDConfig(lr=1.0))
g = RawTensor(np.ones(1_000_000, np.float32))
steps, running = 0, True

def train():
    global steps
    while running:
        TEAM.note_product(2**24)
        optimizer.step({p.raw: g})
        steps += 1

thread = threading.Thread(target=train, daemon=True)
thread.start()
for _ in range(100):
    time.sleep(random.random() / 200)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    before, end = steps, time.monotonic() + 10.0
    while steps == before:
        assert time.monotonic() < end, "the step after the fork does not end"
        time.sleep(1e-3)
running = False
thread.join()
assert TEAM._blas.workers() < 2 or calls
assert (p.numpy() == -steps).all()
"""
)

DISJOINT = """
import threading
import numpy as np
from born import nn, optim
from born.raw import RawTensor
from born.tensor import Tensor
from born_numba import NumbaBackend

backend = NumbaBackend()
ps = [nn.Parameter(Tensor(RawTensor(np.zeros(70_000, np.float32)), backend)) for _ in range(6)]
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


@pytest.mark.skipif(sys.platform != "linux", reason="BLAS's threads are used on Linux only")
@pytest.mark.parametrize(
    "script",
    [FORK, FORK_MEANWHILE],
    ids=["after", "meanwhile"],
)
def test_forked_child_shares_with_threads_of_its_own(script: str) -> None:
    python(script)


def test_threads_may_step_parameters_of_their_own_of_one_optimizer() -> None:
    python(DISJOINT)


def test_bounds_are_not_checked_where_none_are_known() -> None:
    python(SHARED + "assert trained()", NUMBA_BOUNDSCHECK="1")


def test_kernels_can_be_copied() -> None:
    kernel = Problem(3).optimizer.kernels[0]
    assert copy.deepcopy(kernel).source == kernel.source
    targets = [[RawTensor(np.zeros(3, np.float32)) for _ in range(3)]]
    g = [RawTensor(np.ones(3, np.float32))]
    copied = copy.deepcopy(kernel.bind(targets))
    copied([0], g, [(0.0,) * kernel.program.scalars], [0])  # the copy's own arrays are written
    assert not targets[0][0].array.any()


def test_only_where_it_was_tried_are_threads_borrowed(
    team: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team.sys, "platform", "darwin")
    assert team._of_numpy() is None


def test_blas_held_to_one_thread_lends_none() -> None:
    python(SHARED + "assert trained() and not calls", OPENBLAS_NUM_THREADS="1")


def test_library_that_lends_no_threads_is_told_apart(team: Any) -> None:
    with pytest.raises(AttributeError, match="no function get_parallel"):
        team.Blas(ctypes.CDLL(None))


def test_openmp_threads_are_not_borrowed(team: Any) -> None:
    class Library:
        """An OpenBLAS whose threads are OpenMP's."""

        openblas_get_parallel = staticmethod(lambda: 2)

    with pytest.raises(AttributeError, match="not its own"):
        team.Blas(Library())


def test_steps_without_such_a_blas(team: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = team.Team(None)
    monkeypatch.setattr(importlib.import_module("born_numba.update"), "TEAM", alone)
    problem = Problem()
    alone.note_product(PRODUCT)
    problem.step()
    assert_same_bits(problem.p.raw.array, problem.stepped_alone(1))


@pytest.mark.parametrize("error", [ImportError, OSError, AttributeError])
def test_numpy_without_openblas_is_no_error(
    error: type[Exception], team: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(team, "Blas", refuse)
    assert team._of_numpy() is None
