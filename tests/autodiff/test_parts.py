"""Gradients of slices are put together once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff, backward, grad
from born.backend import Backend
from born.raw import RawTensor

Index: TypeAlias = Any

INDICES: Final[dict[str, Sequence[Index]]] = {
    "rows": [0, 1, 2, 3],
    "some rows": [0, 2],
    "rows in any order, some negative": [3, -4, 1, 2],
    "a row twice": [0, 1, 2, 2],
    "halves": [slice(0, 2), slice(2, 4)],
    "halves of another axis": [(slice(None), slice(0, 1)), (slice(None), slice(1, 6))],
    "steps": [slice(0, 4, 2), slice(1, 4, 2)],
    "backwards": [slice(None, None, -1)],
    "overlapping": [slice(0, 3), slice(1, 4)],
    "as many elements, one twice": [slice(0, 2), slice(1, 3)],
    "empty": [slice(0, 0), slice(0, 4)],
    "an ellipsis": [(..., 0), (..., slice(1, 6))],
    "a new axis": [None, (0, None)],
    "of two kinds": [0, (slice(1, 4), slice(0, 6)), (0, 1)],
    "whole": [slice(None), ()],
    "elements": [(i, j) for i in range(4) for j in range(6)],
    "integers": [np.array([0, 0, 3]), 1],
    "a mask": [np.array([True, False, True, False]), slice(1, 2)],
}


def _used(x: Any, index: Index, number: int) -> Any:
    part = x[index]
    return (part * part * float(number + 1)).sum()


@pytest.mark.parametrize("name", INDICES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_parts_add_up(name: str, dtype: str, backend: Backend) -> None:
    on = Autodiff(backend)
    values = np.arange(1, 25, dtype=dtype).reshape(4, 6) / 8
    x = born.tensor(values, on)
    x.requires_grad = True
    indices = INDICES[name]
    held = [born.tensor(i, on) if isinstance(i, np.ndarray) else i for i in indices]
    with on.tape:
        loss = _used(x, held[0], 0)
        for number, index in enumerate(held[1:], 1):
            loss = loss + _used(x, index, number)
    expected = np.zeros((4, 6))
    for number, index in enumerate(indices):
        weight = 2.0 * (number + 1) * values[index].astype(np.float64)
        np.add.at(expected, index, weight)
    found = backend.to_numpy(backward(loss)[x])
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=2e-3 if dtype == "float16" else 1e-6)


def test_parts_meet_a_whole_gradient_of_the_same_tensor(backend: Backend) -> None:
    on = Autodiff(backend)
    x = born.tensor(np.arange(6.0), on)
    x.requires_grad = True
    with on.tape:
        y = x * 2.0
        loss = y[1] + y.sum() + y[1:3].sum() + (y * y).sum() + x[0]
    found = backend.to_numpy(backward(loss, retain=[y])[x])
    np.testing.assert_allclose(found, [3.0, 14.0, 20.0, 26.0, 34.0, 42.0])


def test_a_part_does_not_share_memory_with_its_gradient(backend: Backend) -> None:
    on = Autodiff(backend)
    x = born.tensor(np.ones(4), on)
    x.requires_grad = True
    with on.tape:
        y = x[:]
        loss = y.sum()
    gradients = backward(loss, retain=[y])
    backend.assign(gradients[x], backend.zeros((4,), "float64"))
    np.testing.assert_array_equal(backend.to_numpy(gradients[y]), np.ones(4))


def test_a_loop_over_slices_takes_no_longer_for_each_when_there_are_more(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = Autodiff(backend)
    x = born.tensor(np.ones((64, 2)), on)
    x.requires_grad = True
    calls: list[int] = []
    kind = type(backend)
    known: Callable[..., RawTensor] = kind.assembled

    def counted(self: Any, shape: Any, dtype: Any, parts: Any) -> RawTensor:
        calls.append(len(parts))
        return known(self, shape, dtype, parts)

    monkeypatch.setattr(kind, "assembled", counted)
    with on.tape:
        state = x[0]
        for step in range(1, 64):
            state = state * 0.5 + x[step]
        loss = state.sum()
    found = backend.to_numpy(backward(loss)[x])
    assert calls == [64]
    np.testing.assert_allclose(found[:, 0], 0.5 ** np.arange(63, -1, -1))


def test_second_derivatives_pass_through_slices(backend: Backend) -> None:
    on = Autodiff(backend)
    x = born.tensor(np.array([1.0, 2.0, 3.0]), on)

    def cubes(x: Any) -> Any:
        return x[0] ** 3 + (x[1:] ** 3).sum() + x[0] * x[2]

    second = grad(lambda x: ops.sum(grad(cubes)(x) * born.tensor(np.ones(3), on)))(x)
    np.testing.assert_allclose(second.numpy(), [7.0, 12.0, 19.0])
