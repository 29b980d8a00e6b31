"""Operations at special points give what PyTorch and JAX give, or differ as the table says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff, grad
from born.backend import OPERATIONS, B, Backend
from born.raw import HostArray
from tests.operations.computing import computing
from tests.operations.special_points import (
    CALLS,
    DIFFERENCES,
    RECORDED,
    WITHOUT,
    Call,
    Difference,
    point_of,
    weights,
)

TOLERANCE: Final = 1e-13
"""Some roundings of numbers of the size of one: in rows they cancel, so it is absolute as well.
The largest difference seen is 4e-15."""

REFERENCES: Final[dict[str, dict[str, list[list[list[float]]]]]] = json.loads(
    RECORDED.read_text(encoding="utf-8")
)


def weighted(x: born.Tensor[B]) -> born.Tensor[B]:
    """The sum of a tensor with its weights."""
    return ops.sum(x * born.tensor(weights(x.shape), x.backend, dtype=str(x.dtype)))


def orders_of(call: Call, backend: Backend) -> list[list[HostArray]]:
    """What born gives: the value, the gradients, the Hessian times weights."""
    nested = Autodiff(Autodiff(backend))
    xs = [born.tensor(x, nested) for x in call.inputs]
    places = range(len(xs))

    def value(*xs: born.Tensor[Any]) -> born.Tensor[Any]:
        return weighted(call.ours(*xs))

    def slopes(*xs: born.Tensor[Any]) -> born.Tensor[Any]:
        first, *others = [weighted(grad(value, i)(*xs)) for i in places]
        return sum(others, start=first)

    orders = [[call.ours(*xs)]]
    for function in (value, slopes)[: call.orders]:
        orders.append([grad(function, i)(*xs) for i in places])
    return [[np.asarray(each.numpy(), np.float64) for each in order] for order in orders]


def mismatches(call: Call, library: str, backend: Backend) -> list[tuple[int, HostArray, str]]:
    """The order, the point and both numbers of every element that differs."""
    found: list[tuple[int, HostArray, str]] = []
    with np.errstate(all="ignore"):
        orders = orders_of(call, backend)
    for order, (ours, theirs) in enumerate(
        zip(orders, REFERENCES[library][call.name], strict=True)
    ):
        for mine, recorded in zip(ours, theirs, strict=True):
            other = np.array(recorded)
            assert mine.size == other.size
            absolute = 0.0 if all(x.ndim == 1 for x in call.inputs) else TOLERANCE
            same = np.isclose(mine.ravel(), other, rtol=TOLERANCE, atol=absolute, equal_nan=True)
            for place in np.flatnonzero(~same):
                numbers = f"born {mine.ravel()[place]}, {library} {other[place]}"
                found.append((order, point_of(call, mine.size, int(place)), numbers))
    return found


def explains(difference: Difference, name: str, library: str, order: int, at: HostArray) -> bool:
    """Whether the table has this difference."""
    return (
        difference.library == library
        and order in difference.orders
        and (not difference.calls or name in difference.calls)
        and difference.at(at)
    )


def differences(backend_name: str) -> list[Difference]:
    """The table, as far as it concerns a backend."""
    return [each for each in DIFFERENCES if backend_name == "cupy" or not each.device]


recent = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.1.0",
    reason="NumPy 2.0 does not take the square root for a power of a half",
)


@recent
@pytest.mark.parametrize("library", REFERENCES)
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_special_points(name: str, library: str, backend_name: str) -> None:
    found = mismatches(CALLS[name], library, computing(backend_name))
    unexplained = [
        f"order {order} at {at.tolist()}: {numbers}"
        for order, at, numbers in found
        if not any(explains(each, name, library, order, at) for each in differences(backend_name))
    ]
    assert not unexplained


@recent
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_difference_is_there(backend_name: str) -> None:
    left: dict[tuple[int, str], Difference] = {
        (i, name): difference
        for i, difference in enumerate(DIFFERENCES)
        if not difference.device  # which the simulator has not
        for name in difference.calls or ("",)
    }
    for name, call in CALLS.items():
        for library in REFERENCES:
            for order, at, _ in mismatches(call, library, computing(backend_name)):
                for i, difference in enumerate(DIFFERENCES):
                    if explains(difference, name, library, order, at):
                        left.pop((i, name), None)
                        left.pop((i, ""), None)
    stale = [f"{name} {each.library} {each.orders}: {each.why}" for (_, name), each in left.items()]
    assert not stale, "the table has differences that are none"


def test_every_operation_has_calls_or_a_reason() -> None:
    called = {call.operation for call in CALLS.values()}
    assert not called & set(WITHOUT)
    missing = sorted(set(OPERATIONS) - called - set(WITHOUT))
    assert not missing, "give them calls in special_points.py, or a reason in WITHOUT"
    assert called | set(WITHOUT) <= set(OPERATIONS)


def test_the_record_is_of_the_table() -> None:
    for library, recorded in REFERENCES.items():
        assert list(recorded) == list(CALLS), library


@pytest.mark.parametrize(("library", "module"), [("torch", "torch"), ("jax", "jax")])
def test_the_record_is_what_the_libraries_give(library: str, module: str) -> None:
    pytest.importorskip(module, reason=f"{module} is not installed: the benchmarks extra")
    from tests.operations.record_special_points import LIBRARIES

    run = LIBRARIES[library]
    for name in ("pow", "norm", "logsumexp", "max_pool2d:padding 1"):
        again: Sequence[Sequence[HostArray]] = run(CALLS[name])
        for order, recorded in zip(again, REFERENCES[library][name], strict=True):
            for mine, theirs in zip(order, recorded, strict=True):
                np.testing.assert_allclose(mine.ravel(), theirs, rtol=TOLERANCE, atol=TOLERANCE)
