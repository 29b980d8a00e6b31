"""Loops that are shared with the threads of NumPy's BLAS, and those that are not."""

from __future__ import annotations

import ctypes
import importlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from born.nn import Parameter
from born.optim import Adam, AdamConfig
from born.raw import HostArray, RawTensor
from born.tensor import Tensor
from tests.fusion.kernels import NEEDS_NUMBA, assert_same_bits, numba_backend
from tests.numba.test_process import python

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


@pytest.fixture
def asked(team: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many of BLAS's threads were asked for, each time that some were."""
    blas, calls = team.TEAM._blas, list[int]()
    share = blas.share

    def record(entry: Any, arguments: HostArray, threads: int) -> None:
        calls.append(threads)
        share(entry, arguments, threads)

    monkeypatch.setattr(blas, "share", record)
    yield calls
    team.TEAM._product_ended = -1.0


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
        team = importlib.import_module("born_numba.team").TEAM
        for _ in range(steps):
            team._product_ended = -1.0
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
    threads = min(team.TEAM._blas.workers(), 2 * SIZE // team.LEAST_SHARED)
    assert asked == [threads]
    assert_same_bits(problem.p.raw.array, problem.stepped_alone(2))


def test_a_step_some_time_after_a_product_is_not(
    team: Any, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    team.TEAM.note_product(PRODUCT)
    now = team.time.perf_counter() + team._AWAKE
    monkeypatch.setattr(team.time, "perf_counter", lambda: now)
    Problem().step()
    assert asked == []


@pytest.mark.parametrize(("below", "product"), [(1, PRODUCT), (0, 1000)])
def test_small_steps_and_small_products_wake_nobody(
    below: int, product: int, team: Any, asked: list[int]
) -> None:
    problem = Problem(team.LEAST_SHARED - below)
    team.TEAM.note_product(product)
    problem.step()
    assert asked == []


def test_products_of_the_backend_are_noted(team: Any) -> None:
    backend = numba_backend()
    x, weight = (RawTensor(np.ones((128, 784), np.float32)) for _ in range(2))
    bias = RawTensor(np.zeros(128, np.float32))
    g = RawTensor(np.ones((128, 128), np.float32))
    operations: list[Any] = [
        lambda: backend.matmul(x, backend.transpose(weight)),
        lambda: backend.linear(RawTensor(x.array[:32]), weight),
        lambda: backend.linear_relu(RawTensor(x.array[:32]), weight, bias),
        lambda: backend.linear_gradients(g, x, weight, True),
        lambda: backend.linear_gradients(g, x, weight, True, g),
    ]
    for operation in operations:
        operation()  # compiles what it needs, for longer than the threads are awake
        team.TEAM._product_ended = -1.0
        operation()
        assert team.TEAM._is_awake()
    team.TEAM._product_ended = -1.0


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


@pytest.mark.skipif(sys.platform != "linux", reason="BLAS's threads are used on Linux only")
def test_forked_child_shares_with_threads_of_its_own() -> None:
    python(FORK)


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
