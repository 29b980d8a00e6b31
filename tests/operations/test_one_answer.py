"""One answer whatever the path: recorded or not, on every backend, whoever made the integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff
from born.backend import Backend
from born.errors import ShapeError
from born.tensor import Tensor

REDUCTIONS: Final = (
    *("sum", "mean", "var", "prod", "max", "min", "logsumexp", "norm"),
    *("argmax", "argmin", "any", "all"),
)
ALONG: Final = ("cumsum", "cumprod", "softmax", "log_softmax")


def answer(call: Callable[[Tensor[Any]], Any], x: np.ndarray[Any, Any], backend: Backend) -> str:
    """What a call gives, or the error it raises."""
    tensor = born.tensor(x, backend)
    tensor.requires_grad = x.dtype.kind == "f"
    try:
        return str(call(tensor))
    except ShapeError as error:
        return f"ShapeError: {error}"


def answers(call: Callable[[Tensor[Any]], Any], x: np.ndarray[Any, Any], inner: Backend) -> str:
    """The one answer of a backend, of Autodiff over it, and while a tape records."""
    autodiff = Autodiff(inner)
    found = [answer(call, x, inner), answer(call, x, autodiff)]
    with autodiff.tape:
        found.append(answer(call, x, autodiff))
    assert len(set(found)) == 1, found
    return found[0]


def _along(name: str, axis: Any) -> Callable[[Tensor[Any]], Any]:
    return lambda t: getattr(ops, name)(t, axis=axis)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "float16", "float32"])
@pytest.mark.parametrize("name", ["cumprod", "cumsum", "prod", "sum"])
def test_products_and_sums_of_any_dtype(name: str, dtype: str, backend: Backend) -> None:
    x = np.array([[3, 5, 100], [7, 1, 90]]).astype(dtype)
    expected = getattr(np, name)(x.astype("float32" if x.dtype.kind == "f" else dtype), axis=1)
    got = answers(lambda t: getattr(ops, name)(t, axis=1).numpy().tolist(), x, backend)
    assert got == str(expected.astype(dtype if x.dtype.kind == "f" else "int64").tolist())
    kind = answers(lambda t: getattr(ops, name)(t, axis=1).dtype, x, backend)
    assert kind == (dtype if x.dtype.kind == "f" else "int64")


@pytest.mark.parametrize("axis", [0, -1, (0,), 0.0])
@pytest.mark.parametrize("name", [*REDUCTIONS, *ALONG])
def test_a_number_has_no_axes(name: str, axis: Any, backend: Backend) -> None:
    got = answers(lambda t: getattr(ops, name)(t, axis=axis), np.array(2.0), backend)
    assert got.startswith("ShapeError: expected")


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 2)])
@pytest.mark.parametrize("name", [*REDUCTIONS, *ALONG])
def test_axes_are_integers(name: str, shape: tuple[int, ...], backend: Backend) -> None:
    x = np.ones(shape, np.float32)
    for wrong in (0.0, "0"):
        got = answers(_along(name, wrong), x, backend)
        assert got.startswith(("ShapeError: expected axes", "ShapeError: expected an axis"))
    for kind in (np.int64, np.int32, np.uint8):
        same = answers(_along(name, kind(0)), x, backend)
        assert same == answers(_along(name, 0), x, backend)


CALLS: Final[dict[str, Callable[[Tensor[Any], Any], Any]]] = {
    "split": lambda t, n: [part.shape for part in ops.split(t, n(2))],
    "split at": lambda t, n: [part.shape for part in ops.split(t, [n(1), n(3)])],
    "split along": lambda t, n: [part.shape for part in ops.split(t, 2, n(1))],
    "reshape": lambda t, n: t.reshape(n(2), n(8)).shape,
    "transpose": lambda t, n: t.transpose(n(1), n(0)).shape,
    "expand_dims": lambda t, n: ops.expand_dims(t, n(1)).shape,
    "squeeze": lambda t, n: ops.squeeze(t[0:1], n(0)).shape,
    "broadcast_to": lambda t, n: ops.broadcast_to(t, (n(2), n(4), n(4))).shape,
    "concatenate": lambda t, n: ops.concatenate([t, t], n(1)).shape,
    "stack": lambda t, n: ops.stack([t, t], n(1)).shape,
    "flip": lambda t, n: ops.flip(t, n(1)).shape,
    "pad": lambda t, n: ops.pad(t, [(n(1), n(0)), (n(0), n(2))]).shape,
    "index": lambda t, n: t[n(1), n(0) : n(2)].shape,
    "layer_norm": lambda t, n: ops.layer_norm(t, axes=n(1)).shape,
    "max_pool2d": lambda t, n: ops.max_pool2d(t.reshape(1, 1, 4, 4), n(2), stride=n(2)).shape,
    "zeros": lambda t, n: born.zeros((n(2), n(3)), t.backend).shape,
    "eye": lambda t, n: born.eye(n(2), t.backend, n(3)).shape,
    "arange": lambda t, n: born.arange(n(3), backend=t.backend).shape,
}


def _with(call: Callable[[Tensor[Any], Any], Any], kind: Any) -> Callable[[Tensor[Any]], Any]:
    return lambda t: call(t, kind)


@pytest.mark.parametrize("name", CALLS)
def test_integers_of_numpy_are_integers(name: str, backend: Backend) -> None:
    x, call = np.ones((4, 4), np.float32), CALLS[name]
    expected = answers(lambda t: call(t, int), x, backend)
    assert not expected.startswith("ShapeError")
    for kind in (np.int64, np.int32, np.uint8):
        assert answers(_with(call, kind), x, backend) == expected


@pytest.mark.parametrize("sections", [2.0, "2", [1.0], None])
def test_sections_are_integers(sections: Any, backend: Backend) -> None:
    got = answers(lambda t: ops.split(t, sections), np.ones(4, np.float32), backend)
    assert got.startswith("ShapeError: expected sections as an integer or a sequence")


@pytest.mark.parametrize("widths", [1, (1, 2), [(0, 1), (2, 0)], np.int64(2)])
def test_pad_takes_the_widths_that_numpy_takes(backend: Backend, widths: Any) -> None:
    x = np.arange(6.0).reshape(2, 3)
    padded = ops.pad(born.tensor(x, backend), widths, 7.0)
    np.testing.assert_array_equal(padded.numpy(), np.pad(x, widths, constant_values=7.0))
