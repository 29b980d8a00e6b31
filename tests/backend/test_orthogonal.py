"""Newton-Schulz iterations that threads share: they are those of the plain formula, and in little
memory."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
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
from born_numpy import NumpyBackend, blas, orthogonal
from born_numpy.arena import ARENA
from born_numpy.blas import one_thread
from tests.optim.making import parameter

SHAPES = [
    *((150, 150), (200, 140), (130, 260), (280, 300), (310, 270)),
    *((3, 70, 90), (40, 40), (50, 30), (2, 0, 5, 3), (4, 0)),
]
"""Square, tall and wide, also of several blocks of rows; several in one parameter; small ones that
share the threads; none."""

SCALARS = (3.4445, -4.775, 2.0315, 1e-7, 0.25)


def _drawn(shape: tuple[int, ...], dtype: str) -> HostArray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


@contextmanager
def _no_limit() -> Generator[bool]:
    """What `one_thread` gives without threadpoolctl."""
    yield False


@pytest.mark.parametrize(
    ("workers", "steps", "dtype", "preconditioning", "scalars"),
    [
        (1, 4, "float64", "frobenius", SCALARS),
        (2, 3, "float64", "aol", SCALARS),
        (3, 2, "float64", "schatten", SCALARS),
        (2, 3, "float32", "spectral", SCALARS),
        (2, 0, "float32", "spectral", SCALARS),
        (2, 5, "float32", "frobenius", SCALARS),
        (2, 3, "float64", "frobenius", (1.5, -0.5, 0.0, 1e-7, 0.0)),
        (1, 3, "float64", "frobenius", (1.5, -0.5, 1e-9, 1e-7, 0.0)),  # no square to complete
        (2, 2, "float64", "frobenius", (1.5, 0.25, -0.75, 1e-7, 0.0)),
    ],
)
def test_shared_iterations_are_the_plain_ones(
    workers: int,
    steps: int,
    dtype: str,
    preconditioning: str,
    scalars: tuple[float, float, float, float, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orthogonal, "POOL", Pool(workers))
    monkeypatch.setattr(orthogonal, "_LARGE", 2**20)  # 101 x 101, so that the test is short
    backend = NumpyBackend()
    xs = [_drawn(shape, dtype) for shape in SHAPES]
    a, b, c, eps, added = scalars
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
            backend, [x.copy() for x in xs], [scalars] * len(xs), steps, preconditioning
        )
        for x, y in zip(found, expected, strict=True):
            assert x.dtype == y.dtype
            assert x.flags.c_contiguous
            np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


CHILD = """
    import hashlib, os, sys

    threads = int(sys.argv[1])
    os.sched_getaffinity = lambda _: set(range(threads))
    os.cpu_count = lambda: threads
    import numpy as np

    import born
    from born import nn, optim
    from born.backend.threads import POOL

    assert POOL.workers == threads
    rng = np.random.default_rng(0)
    shapes = [(330, 340), (100, 120), (3, 90, 70), (1_100_000,), (40,)]
    backend = born.get_backend("numpy")
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    for name in ("muon", "lamb", "adamw"):
        parameters = [nn.Parameter(born.tensor(array.copy(), backend)) for array in arrays]
        options = {"preconditioning": "spectral"} if name == "muon" else {}
        optimizer = optim.create(name, parameters, lr=0.1, max_norm=1.0, **options)
        grads = {p.raw: born.tensor(x, backend).raw for p, x in zip(parameters, arrays)}
        optimizer.step(grads)
        for p in parameters:
            print(name, p.shape, hashlib.sha256(p.raw.array.tobytes()).hexdigest())
"""
"""Prints what a step gives, in a process with so many threads, of born and of BLAS each."""


def test_a_step_has_the_same_bits_however_many_threads_there_are() -> None:
    threadpoolctl: Any = pytest.importorskip("threadpoolctl")
    if not threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers:
        pytest.skip("threadpoolctl knows no BLAS here, which then has threads of its own")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CHILD), str(threads)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": str(threads)},
        )
        for threads in (1, 2, 3, 4)
    ]
    printed = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0] * len(children)
    assert printed[0].count("\n") == 15
    assert printed[1:] == printed[:1] * (len(children) - 1)


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
    blas.find_libraries.cache_clear()  # other tests may have loaded more since
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
