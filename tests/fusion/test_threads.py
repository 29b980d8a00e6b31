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
    """Where a backend's updates are shared out.

    Attributes:
        backend: its name.
        least: what holds the number of elements from which they are, and its name there.
        pool: who shares them.
    """

    backend: str
    least: tuple[Any, str]
    pool: Recording

    def share_from(self, size: int, patch: pytest.MonkeyPatch) -> None:
        """Share updates of so many elements."""
        patch.setattr(*self.least, size)
        if self.backend == "numba":
            patch.setattr(importlib.import_module("born_numba.update"), "LEAST_SHARED", size)


@pytest.fixture(params=["numpy", "numba"])
def update(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Update:
    """A backend's updates, with a pool of their own and small pieces."""
    backend_of(request.param)
    module = importlib.import_module(f"born_{request.param}.update")
    pool = Recording()
    if request.param == "numpy":
        monkeypatch.setattr(module, "POOL", pool)
        monkeypatch.setattr(module, "_tile_size", _tiles_of(64))
        return Update("numpy", (module, "_PARALLEL"), pool)
    team = importlib.import_module("born_numba.team")
    monkeypatch.setattr(team, "POOL", pool)
    monkeypatch.setattr(team.TEAM, "_blas", None)
    monkeypatch.setattr(module, "_CHUNKS_OF", (16, 16))
    return Update("numba", (team, "_LARGE"), pool)


def _run(update: Update, size: int, steps: int) -> HostArray:
    """What steps of 1 leave of zeros."""
    program = traced(_descend, (), "lr")
    p = RawTensor(np.zeros(size, np.float32))
    bound = kernel_of(update.backend, program, ("float32", "float32")).bind([[p]])
    gradients = [RawTensor(np.ones(size, np.float32))]
    scalars = [program.host(lr=1.0, t=1)]
    for _ in range(steps):
        bound([0], gradients, scalars, [0])
    array: HostArray = p.array
    return array


def _tiles_of(size: int) -> Callable[[object], int]:
    return lambda buffers: size


def test_every_element_is_updated_once_a_step(
    update: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    update.share_from(1, monkeypatch)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads meet as often as they can
    try:
        steps = 20
        np.testing.assert_array_equal(_run(update, SIZE, steps), -float(steps))
    finally:
        sys.setswitchinterval(interval)
    assert update.pool.asked == steps * [WORKERS]


def test_what_is_small_stays_on_one_thread(update: Update) -> None:
    np.testing.assert_array_equal(_run(update, 1_000, 2), -2.0)
    assert set(update.pool.asked) <= {1}  # or it does not ask for helpers in the first place


def test_what_is_large_is_shared(update: Update, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # pieces of the usual size
    holder, name = update.least
    monkeypatch.setattr(holder, "POOL", update.pool)
    if update.backend == "numba":
        monkeypatch.setattr(holder.TEAM, "_blas", None)
    np.testing.assert_array_equal(_run(update, getattr(holder, name), 1), -1.0)
    assert update.pool.asked == [WORKERS]


@pytest.mark.parametrize("name", ["numpy", "numba"])
@pytest.mark.parametrize(("sizes", "expected"), [((2, 3), 1), ((2_000_000, 500_000), 2)], ids=str)
def test_norms_of_several_stretches_are_shared(
    name: str, sizes: tuple[int, ...], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Recording()
    monkeypatch.setattr(global_norm, "POOL", pool)
    xs = [RawTensor(np.ones(size, np.float32)) for size in sizes]
    assert backend_of(name).global_norm(xs).item() == pytest.approx(np.sqrt(sum(sizes)))
    assert pool.asked == [expected]


def test_the_pool_of_the_process_is_shared_by_the_backends() -> None:
    modules = ["born_numpy.update", "born_numpy.global_norm"]
    if importlib.util.find_spec("numba") is not None:
        modules.append("born_numba.team")
    get: Callable[[str], Any] = importlib.import_module
    assert all(get(module).POOL is threads.POOL for module in modules)
