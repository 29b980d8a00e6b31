"""Newton-Schulz iterations that threads share: they are those of the plain formula, and in little
memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import pytest

from born import optim
from born.backend import Backend
from born.backend.orthogonal import orthogonalize
from born.backend.threads import Pool
from born.raw import HostArray, RawTensor
from born_numpy import NumpyBackend, orthogonal
from born_numpy.arena import ARENA
from tests.optim.making import parameter

SHAPES = [(150, 150), (200, 140), (130, 260), (3, 70, 90), (40, 40), (50, 30), (2, 0, 5, 3), (4, 0)]
"""Square, tall and wide; several in one parameter; small ones that share the threads; none."""

SCALARS = (3.4445, -4.775, 2.0315, 1e-7)


def _drawn(shape: tuple[int, ...], dtype: str) -> HostArray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


@contextmanager
def _no_limit() -> Generator[bool]:
    """What `one_thread` gives without threadpoolctl."""
    yield False


@pytest.mark.parametrize(
    ("workers", "steps", "dtype"),
    [(1, 4, "float64"), (2, 3, "float64"), (3, 2, "float64"), (2, 0, "float32"), (2, 5, "float32")],
)
def test_shared_iterations_are_the_plain_ones(
    workers: int, steps: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orthogonal, "POOL", Pool(workers))
    monkeypatch.setattr(orthogonal, "_LARGE", 2**20)  # 101 x 101, so that the test is short
    backend = NumpyBackend()
    xs = [_drawn(shape, dtype) for shape in SHAPES]
    a, b, c, eps = SCALARS
    expected = [orthogonalize(backend, RawTensor(x), steps, (a, b, c), eps).array for x in xs]
    # Products in pieces may be rounded otherwise than whole ones; NumPy's own bits are the same.
    rtol = 1e-4 if dtype == "float32" else 1e-11
    for limited in (True, False):
        if not limited:
            monkeypatch.setattr(orthogonal, "one_thread", _no_limit)
        found = orthogonal.orthogonalize_all(
            backend, [x.copy() for x in xs], [SCALARS] * len(xs), steps
        )
        for x, y in zip(found, expected, strict=True):
            assert x.dtype == y.dtype
            assert x.flags.c_contiguous
            np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


def test_nothing_is_said_of_what_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orthogonal, "_LARGE", 2**20)
    x = np.full((150, 150), np.inf, np.float32)
    (found,) = orthogonal.orthogonalize_all(NumpyBackend(), [x], [SCALARS], 5)
    assert np.isnan(found).all()


@pytest.mark.parametrize("size", [512, 256])
def test_a_step_takes_three_matrices(
    size: int, cpu_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ARENA, "most", 0)  # so that all that is taken is seen
    parameters = [parameter(_drawn((size, size), "float32"), cpu_backend) for _ in range(3)]
    grads = {p.raw: RawTensor(p.raw.array.copy()) for p in parameters}
    optimizer = optim.Muon(parameters, lr=0.1)
    optimizer.step(grads)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        optimizer.step(grads)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 2 * grads[parameters[0].raw].array.nbytes < most - before < 4e6
