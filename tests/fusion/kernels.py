"""Running one rule in every way there is, and comparing the bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pytest

import born
from born.backend import Backend
from born.backend.plain_update import PlainUpdate
from born.backend.update import UpdateKernel, compute_dtype
from born.dtypes import as_dtype
from born.errors import BackendUnavailableError
from born.fusion import Program, trace
from born.raw import HostArray
from born_numpy import NumpyBackend
from tests.operations.computing import computing

NUMPY: Final = NumpyBackend()

Dtypes = tuple[str, ...]
"""Of the parameter, its gradient and each slot."""

NEEDS_NUMBA: Final = 'numba is not installed; run: pip install -e ".[numba]"'

SPECIAL: Final = (0.0, -0.0, 1.0, -1.0, 1e-40, -3e38, np.inf, -np.inf, np.nan, 0.1)
"""Values at which careless code goes wrong; 1e-40 is subnormal in float32."""


def numba_backend() -> Backend:
    """The Numba backend; the test is skipped where Numba is missing."""
    pytest.importorskip("numba", reason=NEEDS_NUMBA)
    return born.get_backend("numba")


def backend_of(name: str) -> Backend:
    """The backend whose arrays a kernel takes; the test is skipped where it cannot be used."""
    if name == "numba":
        return numba_backend()
    if name != "cupy":
        return NUMPY
    try:
        return computing(name)
    except BackendUnavailableError as error:
        pytest.skip(str(error))


def kernel_of(name: str, program: Program, dtypes: Dtypes) -> UpdateKernel:
    """The kernel of a backend, or `"plain"` for the one that every backend has."""
    kinds = tuple(as_dtype(dtype) for dtype in dtypes)
    backend = backend_of(name)
    if name == "plain":
        return PlainUpdate(backend, program, kinds)
    return backend.compile_update(program, kinds)


def arrays_of(
    dtypes: Dtypes, shape: tuple[int, ...] | int, seed: int, special: bool = False
) -> list[HostArray]:
    """A parameter, its gradient and its slots; the slots are not negative, as averages of squares.

    `special` sprinkles infinities, NaN, zeros of both signs and subnormal numbers.
    """
    rng = np.random.default_rng(seed)
    arrays: list[HostArray] = []
    for index, dtype in enumerate(dtypes):
        values = rng.normal(size=shape)
        if index >= 2:
            values = np.abs(values)
        if special:
            chosen = rng.choice(np.array(SPECIAL), size=shape)
            values = np.where(rng.random(shape) < 0.5, chosen, values)
        with np.errstate(all="ignore"):
            arrays.append(np.asarray(values).astype(as_dtype(dtype)))
    return arrays


def evaluate(
    function: Callable[..., Any], arrays: Sequence[HostArray], scalars: Mapping[str, float]
) -> list[HostArray]:
    """The rule on tensors: in the compute dtype, rounded once to the dtype of each target."""
    compute = compute_dtype([array.dtype for array in arrays])
    with np.errstate(all="ignore"):
        tensors = [born.tensor(array.astype(compute), NUMPY) for array in arrays]
        returned: tuple[Any, ...] = function(*tensors, **scalars)
        targets = [arrays[0], *arrays[2:]]
        return [
            np.broadcast_to(
                x.numpy() if isinstance(x, born.Tensor) else compute.type(x), array.shape
            ).astype(array.dtype)
            for x, array in zip(returned, targets, strict=True)
        ]


def run(
    kernel: UpdateKernel,
    arrays: Sequence[Sequence[HostArray]],
    scalars: Sequence[Mapping[str, float]],
    backend: Backend = NUMPY,
) -> list[list[HostArray]]:
    """One update of copies of some parameters, each (p, g, *slots): p and the slots after it."""
    copies = [[backend.from_numpy(array) for array in every] for every in arrays]
    targets = [[every[0], *every[2:]] for every in copies]
    gradients = [every[1] for every in copies]
    values = [kernel.program.host(**each) for each in scalars]
    with np.errstate(all="ignore"):
        kernel(targets, gradients, values)
    return [[backend.to_numpy(raw) for raw in target] for target in targets]


def assert_all_same(got: Sequence[HostArray], expected: Sequence[HostArray], label: str) -> None:
    """`assert_same_bits` for each of some arrays."""
    for which, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert_same_bits(a, b, f"{label}, output {which}")


def check_update(
    kernel: UpdateKernel,
    function: Callable[..., Any],
    arrays: Sequence[Sequence[HostArray]],
    scalars: Mapping[str, float] | Sequence[Mapping[str, float]],
    backend: Backend = NUMPY,
    label: str = "",
) -> None:
    """One update of some parameters, by a kernel, gives the bits of the rule on tensors."""
    sets = [scalars] * len(arrays) if isinstance(scalars, Mapping) else scalars
    after = run(kernel, arrays, sets, backend=backend)
    for each, values, got in zip(arrays, sets, after, strict=True):
        assert_all_same(got, evaluate(function, each, values), f"{label}, size {each[0].size}")


def traced(function: Callable[..., Any], slots: Sequence[str], *scalars: str) -> Program:
    """The program of a rule that takes these scalars, and `t`."""
    return trace(function, tuple(slots), (*scalars, "t"))


def assert_same_bits(got: HostArray, expected: HostArray, label: str = "") -> None:
    """Equal to the last bit and the sign of zero; one NaN is as good as another."""
    assert got.dtype == expected.dtype, label
    assert got.shape == expected.shape, label
    unsigned = np.dtype(f"u{got.dtype.itemsize}")
    a, b = (np.ascontiguousarray(x).view(unsigned) for x in (got, expected))
    both_nan = np.isnan(got) & np.isnan(expected)
    wrong = (a != b) & ~both_nan
    if wrong.any():
        first = np.argmax(wrong)
        values = f"{got.reshape(-1)[first]!r}, expected {expected.reshape(-1)[first]!r}"
        pytest.fail(f"{label}: {wrong.sum()} of {wrong.size} differ, element {first} is {values}")
