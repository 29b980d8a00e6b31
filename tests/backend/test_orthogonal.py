"""Newton-Schulz iterations that threads share: they are those of the plain formula, and in little
memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest

from born import optim
from born.backend import Backend
from born.backend.orthogonal import divisor, orthogonalize
from born.backend.threads import Pool
from born.raw import HostArray, RawTensor
from born_numpy import NumpyBackend, orthogonal
from born_numpy.arena import ARENA
from born_numpy.blas import one_thread
from tests.optim.making import parameter

SHAPES = [(150, 150), (200, 140), (130, 260), (3, 70, 90), (40, 40), (50, 30), (2, 0, 5, 3), (4, 0)]
"""Square, tall and wide; several in one parameter; small ones that share the threads; none."""

SCALARS = (3.4445, -4.775, 2.0315, 1e-7, 0.25)


def _drawn(shape: tuple[int, ...], dtype: str) -> HostArray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


@contextmanager
def _no_limit() -> Generator[bool]:
    """What `one_thread` gives without threadpoolctl."""
    yield False


@pytest.mark.parametrize(
    ("workers", "steps", "dtype", "preconditioning"),
    [
        (1, 4, "float64", "frobenius"),
        (2, 3, "float64", "aol"),
        (3, 2, "float64", "schatten"),
        (2, 0, "float32", "spectral"),
        (2, 5, "float32", "frobenius"),
    ],
)
def test_shared_iterations_are_the_plain_ones(
    workers: int,
    steps: int,
    dtype: str,
    preconditioning: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orthogonal, "POOL", Pool(workers))
    monkeypatch.setattr(orthogonal, "_LARGE", 2**20)  # 101 x 101, so that the test is short
    backend = NumpyBackend()
    xs = [_drawn(shape, dtype) for shape in SHAPES]
    a, b, c, eps, added = SCALARS
    expected = [
        orthogonalize(backend, RawTensor(x), steps, (a, b, c), eps, added, preconditioning).array
        for x in xs
    ]
    # Products in pieces may be rounded otherwise than whole ones; NumPy's own bits are the same.
    rtol = 1e-4 if dtype == "float32" else 1e-11
    for limited in (True, False):
        if not limited:
            monkeypatch.setattr(orthogonal, "one_thread", _no_limit)
        found = orthogonal.orthogonalize_all(
            backend, [x.copy() for x in xs], [SCALARS] * len(xs), steps, preconditioning
        )
        for x, y in zip(found, expected, strict=True):
            assert x.dtype == y.dtype
            assert x.flags.c_contiguous
            np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


def test_preconditionings_divide_by_the_norms_of_their_names() -> None:
    backend = NumpyBackend()
    for shape in ((4, 6), (3, 4, 6), (6, 6)):
        x = _drawn(shape, "float64")
        values = np.linalg.svd(x, compute_uv=False)
        sums = np.abs(x @ x.swapaxes(-1, -2)).sum(-1, keepdims=True)
        expected = {
            "frobenius": np.sqrt((values**2).sum(-1)) + 0.5,
            "spectral": values.max(-1) + 0.5,
            "schatten": (values**4).sum(-1) ** 0.25,
            "aol": np.sqrt(sums),
        }
        for name, lengths in expected.items():
            found = divisor(backend, RawTensor(x), 1e-8, 0.5, name).array
            if name != "aol" and len(shape) == 3:
                lengths = lengths[:, None, None]
            np.testing.assert_allclose(found, lengths, rtol=1e-12)
            whole = orthogonalize(backend, RawTensor(x), 0, (0, 0, 0), 1e-8, 0.5, name).array
            np.testing.assert_array_equal(whole, x / found)
            turned = RawTensor(x.swapaxes(-1, -2))
            if shape != (6, 6):  # of which rows are rows
                other = orthogonalize(backend, turned, 0, (0, 0, 0), 1e-8, 0.5, name).array
                np.testing.assert_allclose(other.swapaxes(-1, -2), whole, rtol=1e-12)
            zeros = RawTensor(np.zeros(shape))
            assert not orthogonalize(backend, zeros, 1, (3, 2, 1), 1e-8, 0.0, name).array.any()


def test_largest_singular_value_is_found_beside_equal_ones() -> None:
    for dtype, rtol in (("float64", 1e-13), ("float32", 1e-6)):
        x = (3e-5 * np.eye(60, 70)).astype(dtype)
        x[7, 7] = 2.999e-5
        found = divisor(NumpyBackend(), RawTensor(x), 0.0, 0.0, "spectral").array
        np.testing.assert_allclose(found, 3e-5, rtol=rtol)


def test_nothing_is_said_of_what_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orthogonal, "_LARGE", 2**20)
    x = np.full((150, 150), np.inf, np.float32)
    (found,) = orthogonal.orthogonalize_all(NumpyBackend(), [x], [SCALARS], 5, "frobenius")
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


def test_blas_is_limited_by_any_thread_and_freed_by_whichever_leaves_last() -> None:
    threadpoolctl: Any = pytest.importorskip("threadpoolctl")
    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    if not libraries:
        pytest.skip("threadpoolctl knows no BLAS here")

    def counts() -> list[int]:
        return [library.get_num_threads() for library in libraries]

    def enter(limit: ExitStack) -> None:
        limit.enter_context(one_thread())

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = counts()
        for others in (False, True):  # one that began before this thread, and one while it is in
            with ExitStack() as limit, ThreadPoolExecutor(1) as thread:
                with one_thread() if others else nullcontext():
                    thread.submit(enter, limit).result()
                    assert counts() == [1] * len(libraries)
                thread.submit(limit.close).result()
            assert counts() == before
