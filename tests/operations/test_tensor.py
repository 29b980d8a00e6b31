"""`Tensor` and the functions of `born.ops`: another face of the same operations."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff, backward
from born.backend import OPERATIONS, Backend
from born.backend.contract.elementwise import UFUNCS
from born.errors import BornError, DTypeError, OperandError, ShapeError
from born.ops.linear import Activation

ELSEWHERE = "from_numpy to_numpy assign zeros ones full arange eye normal uniform gaussian"
"""What `born`, `Tensor` and `born.stats` offer: creation, transfer, and a density."""


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_a_function_of_tensors(name: str) -> None:
    if name in ELSEWHERE.split() or name.endswith("_backward"):
        assert not hasattr(ops, name)
    elif name == "ufunc":
        assert all(
            callable(getattr(ops, each, None) or getattr(ops.special, each)) for each in UFUNCS
        )
    else:
        assert callable(getattr(ops, name, None) or getattr(ops.linalg, name))


@pytest.mark.parametrize(
    "name", ["add", "sub", "mul", "truediv", "pow", "eq", "ne", "lt", "le", "gt", "ge"]
)
def test_operators_are_those_of_numpy(name: str, backend: Backend) -> None:
    function: Callable[[Any, Any], Any] = getattr(operator, name)
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([2.0, 3.0])
    x, y = born.tensor(a, backend), born.tensor(b, backend)
    np.testing.assert_array_equal(function(x, y).numpy(), function(a, b))
    np.testing.assert_array_equal(function(x, 2).numpy(), function(a, 2))
    np.testing.assert_array_equal(function(2, x).numpy(), function(2, a))
    np.testing.assert_array_equal(function(x, np.float64(2)).numpy(), function(a, 2))
    np.testing.assert_array_equal(function(np.float64(2), x).numpy(), function(2, a))


def test_unary_operators_and_logic(backend: Backend) -> None:
    x = born.tensor(np.array([-1.0, 0.0, 2.0]), backend)
    positive, negative = x > 0, x < 0
    assert (-x).numpy().tolist() == [1.0, 0.0, -2.0]
    assert abs(x).numpy().tolist() == [1.0, 0.0, 2.0]
    assert (positive | negative).numpy().tolist() == [True, False, True]
    assert (positive & negative).numpy().tolist() == [False, False, False]
    assert (~positive).numpy().tolist() == [True, True, False]
    assert (x.T @ x).item() == 5.0


def test_methods_are_those_of_numpy(backend: Backend) -> None:
    a = np.random.default_rng(0).uniform(0.5, 2.0, (2, 3, 4))
    x = born.tensor(a, backend)
    pairs: list[tuple[born.Tensor[Backend], Any]] = [
        (x.sum(), a.sum()),
        (x.sum(axis=(0, 2)), a.sum(axis=(0, 2))),
        (x.mean(axis=1, keepdims=True), a.mean(axis=1, keepdims=True)),
        (x.var(axis=0, ddof=1), a.var(axis=0, ddof=1)),
        (x.prod(axis=0), a.prod(axis=0)),
        (x.max(axis=2), a.max(axis=2)),
        (x.min(), a.min()),
        (x.argmax(axis=1), a.argmax(axis=1)),
        (x.argmin(), a.argmin()),
        (x.cumsum(axis=1), a.cumsum(axis=1)),
        ((x > 1).any(axis=0), (a > 1).any(axis=0)),
        ((x > 1).all(), (a > 1).all()),
        (x.reshape(6, -1), a.reshape(6, -1)),
        (x.reshape((4, 6)), a.reshape(4, 6)),
        (x.transpose(1, 0, 2), a.transpose(1, 0, 2)),
        (x.transpose(), a.transpose()),
        (x.T, a.T),
        (x[:, :1].squeeze(1), a[:, 0]),
        (x.flatten(), a.ravel()),
        (x.exp(), np.exp(a)),
        (x.log(), np.log(a)),
        (x.sqrt(), np.sqrt(a)),
        (x.sin(), np.sin(a)),
        (x.cos(), np.cos(a)),
        (x.tanh(), np.tanh(a)),
        (x.sigmoid(), 1 / (1 + np.exp(-a))),
        ((x - 1).relu(), np.maximum(a - 1, 0)),
        ((x - 1).abs(), np.abs(a - 1)),
        ((x - 1).sign(), np.sign(a - 1)),
        (x.clamp(1, 1.5), a.clip(1, 1.5)),
        (x.astype("int64"), a.astype("int64")),
        (x.copy(), a),
        (x.detach(), a),
    ]
    for found, expected in pairs:
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-14)
        assert found.dtype == np.asarray(expected).dtype


@pytest.mark.parametrize("activation", ["relu", "gelu", "sigmoid", "silu", "softplus", "tanh"])
def test_linear_applies_an_activation_by_name(
    activation: Activation, autodiff: Autodiff[Backend]
) -> None:
    x = born.tensor(np.linspace(-1.0, 1.0, 6).reshape(2, 3), autodiff)
    weight = born.tensor(np.linspace(-2.0, 2.0, 12).reshape(4, 3), autodiff)
    weight.requires_grad = True
    results: list[Any] = []
    for apart in (True, False):
        with autodiff.tape:
            if apart:
                y = getattr(ops, activation)(ops.linear(x, weight))
            else:
                y = ops.linear(x, weight, activation=activation)
            loss = y.sum()
        results.append((y.numpy(), autodiff.to_numpy(backward(loss)[weight])))
    for found, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_indexing_takes_what_numpy_takes(backend: Backend) -> None:
    a = np.arange(24.0).reshape(2, 3, 4)
    x = born.tensor(a, backend)
    index = born.tensor(np.array([1, 0, 1]), backend)
    np.testing.assert_array_equal(x[1].numpy(), a[1])
    np.testing.assert_array_equal(x[..., None, ::2].numpy(), a[..., None, ::2])
    np.testing.assert_array_equal(x[index].numpy(), a[[1, 0, 1]])
    np.testing.assert_array_equal(x[[1, 0, 1], :, [0, 1, 2]].numpy(), a[[1, 0, 1], :, [0, 1, 2]])
    np.testing.assert_array_equal(x[np.array([1, 0])].numpy(), a[[1, 0]])
    np.testing.assert_array_equal(x[x > 10].numpy(), a[a > 10])
    assert x[[]].shape == (0, 3, 4)
    np.testing.assert_array_equal([row.numpy() for row in x], list(a))
    assert len(x) == 2


def test_tensor_keeps_the_dtype_of_an_array_and_copies_it(backend: Backend) -> None:
    array = np.array([1.0, 2.0])
    x = born.tensor(array, backend)
    array[0] = 9.0
    assert x.dtype == np.float64
    assert x.numpy().tolist() == [1.0, 2.0]
    x.numpy()[0] = 9.0
    assert x.numpy().tolist() == [1.0, 2.0]
    assert born.tensor(np.float16(1.5), backend).dtype == np.float16
    assert born.tensor(x, backend, dtype="float32").dtype == np.float32


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1, "int64"),
        (1.5, "float32"),
        ([1, 2], "int64"),
        ([[1, 2.5]], "float32"),
        ([True, 2], "int64"),
        ([], "float32"),
        (True, "bool"),
        ([True], "bool"),
        (2**62 + 1, "int64"),
    ],
)
def test_python_numbers_get_the_dtype_of_their_kind(
    data: Any, dtype: str, backend: Backend
) -> None:
    made = born.tensor(data, backend)
    assert made.dtype == dtype
    assert made.numpy().tolist() == data


def test_an_integer_that_int64_does_not_hold_is_refused(backend: Backend) -> None:
    for data in (2**63, [0, -(2**63) - 1], [2**70, 1]):
        with pytest.raises(DTypeError, match="expected numbers that int64 holds"):
            born.tensor(data, backend)
    assert born.tensor(float(2**63), backend).item() == 2.0**63


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (7, "int64"),
        (7.0, "float32"),
        (True, "bool"),
        (np.int8(7), "int64"),
        (np.float64(7), "float32"),
    ],
)
def test_full_and_arange_take_the_dtype_of_the_numbers(
    value: Any, dtype: str, backend: Backend
) -> None:
    made = born.full(2, value, backend)
    assert made.dtype == dtype
    assert made.numpy().tolist() == [value, value]
    if dtype != "bool":
        assert born.arange(value, backend=backend).dtype == dtype
        assert born.arange(0, 9, value, backend=backend).dtype == dtype


def test_python_numbers_are_weak(backend: Backend) -> None:
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        x = born.ones(2, backend, dtype)
        for result in (x + 1, 2.0 * x, x / 3, x**2, x - True, ops.maximum(x, 0.5), 1 - x):
            assert result.dtype == x.dtype
    x = born.ones(2, backend, "int32")
    assert (x + 1).dtype == np.int32
    assert (x > 0.5).numpy().all()


def test_creation(backend: Backend) -> None:
    assert born.zeros((2, 3), backend).shape == (2, 3)
    assert born.ones(2, backend, "int64").numpy().tolist() == [1, 1]
    assert born.full((), 7, backend).item() == 7
    assert born.arange(3, backend=backend).numpy().tolist() == [0, 1, 2]
    assert born.arange(5, 1, -2, backend=backend, dtype="int64").numpy().tolist() == [5, 3]
    assert born.eye(2, backend, 3).numpy().tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert born.randn((3, 2), backend, "float64").shape == (3, 2)
    assert (born.rand(100, backend) < 1).all().item()


def test_numbers_and_sizes(backend: Backend) -> None:
    x = born.tensor(2.5, backend)
    assert (float(x), int(x), bool(x), x.item()) == (2.5, 2, True, 2.5)
    assert repr(x) == "Tensor(2.5, dtype=float32)"
    assert "shape=(2000,)" in repr(born.zeros(2000, backend))
    row = born.tensor([1.0, 2.0], backend)
    assert (row.nbytes, row.ndim, row.size) == (8, 1, 2)
    assert len({row, row, x}) == 2


def test_host_tensors_are_shared_with_numpy(cpu_backend: Backend) -> None:
    row = born.tensor([1.0, 2.0], cpu_backend)
    assert row.device == "cpu"
    assert np.asarray(row).tolist() == [1.0, 2.0]
    assert np.from_dlpack(row).tolist() == [1.0, 2.0]


def test_detached_tensor_is_a_constant_over_the_same_memory(autodiff: Autodiff[Backend]) -> None:
    x = born.tensor([1.0, 2.0], autodiff)
    x.requires_grad = True
    with autodiff.tape:
        y = x * 2
        assert len(autodiff.tape) == 1
        assert (y.detach() * 3).numpy().tolist() == [6.0, 12.0]
        assert len(autodiff.tape) == 1
    constant = y.detach()
    autodiff.assign(y.raw, autodiff.zeros((2,), y.dtype))
    assert constant.numpy().tolist() == [0.0, 0.0]


def test_only_floating_tensors_require_gradients(backend: Backend) -> None:
    counts = born.zeros(2, backend, "int64")
    with pytest.raises(DTypeError, match="expected a floating tensor to require a gradient"):
        counts.requires_grad = True
    assert counts.requires_grad is False


def test_one_element_is_formatted_and_rounded(backend: Backend) -> None:
    x, many = born.tensor(2.34567, backend), born.ones(2, backend)
    assert f"{x:.3f} {x:8.1e}|{x}" == "2.346  2.3e+00|Tensor(2.34567, dtype=float32)"
    assert f"{many}" == str(many)
    assert round(x, 2) == round(x.item(), 2)
    assert round(x) == 2
    assert f"{born.tensor(3, backend, 'int64'):03d}" == "003"
    for use in (lambda: f"{many:.3f}", lambda: round(many, 2)):
        with pytest.raises(ShapeError, match=r"one element, got shape \(2,\)"):
            use()


def test_elements_as_lists(backend: Backend) -> None:
    assert born.tensor([[1, 2]], backend, "int64").tolist() == [[1, 2]]
    assert born.tensor(1.5, backend).tolist() == 1.5


@pytest.mark.parametrize("use", [len, iter, list])
def test_a_tensor_without_axes_has_no_length(use: Any, backend: Backend) -> None:
    with pytest.raises(TypeError, match="got one with none") as caught:
        use(born.tensor(1.0, backend))
    assert isinstance(caught.value, BornError)


@pytest.mark.parametrize("axes", [(), ((2, 0, 1),), ([2, 0, 1],), (2, 0, 1), (-1, 0, 1)])
def test_transpose_takes_integers_or_a_tuple(axes: Any, backend: Backend) -> None:
    a = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(
        born.tensor(a, backend).transpose(*axes).numpy(), a.transpose(*axes)
    )


def test_numbers_beside_tensors_in_joins(backend: Backend) -> None:
    a = np.array([[1.0, 2.0], [3.0, 4.0]])
    x: Any = born.tensor(a, backend)  # mypy joins a tensor and a number as an object
    np.testing.assert_array_equal(ops.stack([0.5, x, 1]).numpy(), [a * 0 + 0.5, a, a * 0 + 1])
    np.testing.assert_array_equal(ops.stack([x[0, 0], 7], axis=-1).numpy(), [1.0, 7.0])
    np.testing.assert_array_equal(
        ops.concatenate([x, 9], axis=-1).numpy(), [[1.0, 2.0, 9.0], [3.0, 4.0, 9.0]]
    )
    np.testing.assert_array_equal(ops.where(x > 2, 1, x).numpy(), np.where(a > 2, 1, a))
    assert ops.stack([x, 1]).dtype == x.dtype
    for join in (ops.stack, ops.concatenate):
        with pytest.raises(OperandError, match="expected a tensor in"):
            join([1.0, 2.0])
        with pytest.raises(BornError):
            join([x.astype("int64"), 0.5])


@pytest.mark.parametrize(
    "name", ["add", "sub", "mul", "truediv", "pow", "eq", "lt", "ge", "matmul"]
)
def test_arrays_of_the_same_dtype_are_constants(name: str, autodiff: Autodiff[Backend]) -> None:
    function: Callable[[Any, Any], Any] = getattr(operator, name)
    a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[2.0, 2.0], [1.0, 5.0]])
    x = born.tensor(a, autodiff)
    for found, expected in ((function(x, b), function(a, b)), (function(b, x), function(b, a))):
        assert isinstance(found, born.Tensor)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-14)
    for other in (b.astype("float32"), b.astype("int64")):
        with pytest.raises(DTypeError, match=r"float64|int64"):
            function(x, other)
        with pytest.raises(DTypeError, match=r"float64|int64"):
            function(other, x)


def test_gradients_pass_beside_arrays(autodiff: Autodiff[Backend]) -> None:
    x = born.tensor(np.ones((2, 2)), autodiff)
    x.requires_grad = True
    with autodiff.tape:
        loss = (np.array([[1.0, 2.0]]) @ x * np.array([3.0, 4.0])).sum()
    gradient = autodiff.to_numpy(backward(loss)[x])
    np.testing.assert_array_equal(gradient, [[3.0, 4.0], [6.0, 8.0]])


def test_a_tensor_of_another_library_is_named(backend: Backend) -> None:
    theirs: Any = type("Tensor", (), {"__module__": "torch"})()
    with pytest.raises(OperandError, match=r"expected a tensor in exp, got torch\.Tensor; make"):
        ops.exp(theirs)
    with pytest.raises(OperandError, match=r"got torch\.Tensor; make"):
        ops.add(born.ones(2, backend), theirs)


def test_a_ragged_index_is_refused(backend: Backend) -> None:
    with pytest.raises(ShapeError, match="equal lengths, got a ragged one"):
        born.ones(3, backend)[[[1], [2, 0]]]
