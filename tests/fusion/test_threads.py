"""Updates and norms that several threads share."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from born.backend import threads
from born.backend.threads import Pool, Work
from born.raw import HostArray, RawTensor
from born_numpy import global_norm
from tests.fusion.kernels import backend_of, kernel_of, traced

WORKERS = 4
SIZE = 200_000


class Recording(Pool):
    """A pool that says how many threads were asked for."""

    def __init__(self) -> None:
        super().__init__(WORKERS)
        self.asked: list[int] = []

    def share(self, work: Work, threads: int | None = None) -> None:
        self.asked.append(self.workers if threads is None else threads)
        super().share(work, threads)


def _descend(p: Any, g: Any, *, lr: Any, t: Any) -> Any:
    return (p - lr * g,)


class Update(NamedTuple):
    """Where a backend's updates are shared out."""

    backend: str
    module: Any  # holds the pool that shares them, and the least number of elements
    pool: Recording  # in place of that pool


@pytest.fixture(params=["numpy", "numba"])
def update(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Update:
    """A backend's updates, with a pool of their own."""
    backend_of(request.param)
    module = importlib.import_module(f"born_{request.param}.update")
    pool = Recording()
    monkeypatch.setattr(module, "POOL", pool)
    return Update(request.param, module, pool)


def _tile_size(buffers: object) -> int:
    return 64


@pytest.fixture
def small_pieces(update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of so few elements that a small tensor has many."""
    if update.backend == "numpy":
        monkeypatch.setattr(update.module, "_tile_size", _tile_size)
    else:
        monkeypatch.setattr(update.module, "_CHUNKS_OF", (16, 16))


def _run(update: Update, size: int, steps: int) -> HostArray:
    program = traced(_descend, (), "lr")
    p = RawTensor(np.zeros(size, np.float32))
    bound = kernel_of(update.backend, program, ("float32", "float32")).bind([[p]])
    gradients = [RawTensor(np.ones(size, np.float32))]
    scalars = [program.host(lr=1.0, t=1)]
    for _ in range(steps):
        bound.prepare([0], gradients).run(scalars)
    array: HostArray = p.array
    return array


@pytest.mark.usefixtures("small_pieces")
def test_elements_are_updated_once_a_step(update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update.module, "_PARALLEL", 1)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads meet as often as they can
    try:
        steps = 20
        np.testing.assert_array_equal(_run(update, SIZE, steps), -float(steps))
    finally:
        sys.setswitchinterval(interval)
    assert update.pool.asked == steps * [WORKERS]


@pytest.mark.parametrize(("fewer", "asked"), [(1, []), (0, [WORKERS])])
def test_only_what_is_large_is_shared(update: Update, fewer: int, asked: list[int]) -> None:
    np.testing.assert_array_equal(_run(update, update.module._PARALLEL - fewer, 1), -1.0)
    assert update.pool.asked == asked


@pytest.mark.parametrize("name", ["numpy", "numba"])
@pytest.mark.parametrize(("sizes", "asked"), [((2, 3), []), ((2_000_000, 500_000), [2])], ids=str)
def test_norms_of_several_stretches_are_shared(
    name: str, sizes: tuple[int, ...], asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Recording()
    monkeypatch.setattr(global_norm, "POOL", pool)
    xs = [RawTensor(np.ones(size, np.float32)) for size in sizes]
    assert backend_of(name).global_norm(xs).item() == pytest.approx(np.sqrt(sum(sizes)))
    assert pool.asked == asked


def test_the_pool_of_the_process_is_shared_by_the_backends() -> None:
    modules = ["born_numpy.update", "born_numpy.global_norm"]
    if importlib.util.find_spec("numba") is not None:
        modules.append("born_numba.update")
    get: Callable[[str], Any] = importlib.import_module
    assert all(get(module).POOL is threads.POOL for module in modules)
