"""`Parameter`: shares its tensor's storage, holds a gradient, and refuses what does not match."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import born
from born import nn
from born.autodiff import Autodiff, backward, grad
from born.backend import Backend
from born.errors import (
    BackendMismatchError,
    BornError,
    DTypeError,
    GradientError,
    OperandError,
    ParameterError,
    ShapeError,
    TapeError,
)
from born_numpy import NumpyBackend

AD = Autodiff[Backend]


def test_parameter_is_a_tensor_over_the_same_storage(backend: Backend) -> None:
    tensor = born.tensor([1.0, 2.0], backend)
    parameter = nn.Parameter(tensor, "w")
    assert isinstance(parameter, born.Tensor)
    assert parameter.raw is tensor.raw
    assert parameter.backend is backend
    assert parameter.name == "w"
    assert type(parameter.tensor) is born.Tensor
    assert parameter.tensor.raw is tensor.raw
    np.testing.assert_array_equal((parameter * 2.0).numpy(), [2.0, 4.0])
    for result in (parameter + parameter, parameter.T, parameter.detach()):
        assert type(result) is born.Tensor
    parameter.grad = tensor
    np.testing.assert_array_equal(parameter.grad.numpy(), [1.0, 2.0])
    parameter.grad = None
    assert parameter.raw.grad is None


def test_parameter_requires_a_gradient_until_it_is_frozen(autodiff: AD) -> None:
    tensor = born.ones((2,), autodiff)
    parameter = nn.Parameter(tensor)
    assert tensor.raw.requires_grad
    parameter.requires_grad = False
    other = nn.Parameter(born.ones((2,), autodiff))
    with autodiff.tape:
        loss = (parameter * other).sum()
    loss.backward()
    assert parameter.grad is None
    assert other.grad is not None


def test_backward_accumulates_and_zero_grad_forgets(autodiff: AD) -> None:
    parameter = nn.Parameter(born.tensor([1.0, 2.0], autodiff))
    for _ in range(2):
        with autodiff.tape:
            loss = (parameter * parameter).sum()
        loss.backward()
    assert parameter.grad is not None
    np.testing.assert_array_equal(parameter.grad.numpy(), [4.0, 8.0])
    parameter.zero_grad()
    assert parameter.grad is None


MISMATCHES: dict[str, tuple[Callable[[Backend], Any], str]] = {
    "shape": (lambda b: born.ones((2,), b), r"shape \(3,\) .* got shape \(2,\)"),
    "dtype": (lambda b: born.ones((3,), b, dtype="float64"), r"dtype float32 .* got .* float64"),
    "backend": (lambda _: born.ones((3,), born.get_backend("numpy")), "parameter's own backend"),
    "type": (lambda _: np.ones(3, np.float32), "got ndarray; make it a tensor"),
}


@pytest.mark.parametrize("mismatch", MISMATCHES)
def test_grad_that_does_not_fit_is_refused(backend: Backend, mismatch: str) -> None:
    make, words = MISMATCHES[mismatch]
    parameter = nn.Parameter(born.zeros((3,), backend), "weight")
    before = parameter.grad = born.ones((3,), backend)
    with pytest.raises(GradientError, match=words) as caught:
        parameter.grad = make(backend)
    assert "'weight'" in str(caught.value)
    assert parameter.raw.grad is before.raw


def test_only_floating_tensors_are_parameters(backend: Backend) -> None:
    numbers = born.tensor(np.arange(3), backend)
    with pytest.raises(DTypeError, match=r"'steps', got int64; .*astype\(\"float32\"\)"):
        nn.Parameter(numbers, "steps")
    assert not numbers.raw.requires_grad
    array: Any = np.zeros(3)
    with pytest.raises(ParameterError, match=r"got ndarray; make one with born\.tensor"):
        nn.Parameter(array)


def test_recorded_results_are_not_parameters(autodiff: AD) -> None:
    first = nn.Parameter(born.ones((2,), autodiff))
    with autodiff.tape:
        result = first * 2.0
        constant = born.ones((2,), autodiff) * 2.0
    with pytest.raises(ParameterError, match=r"got a recorded result; take \.detach\(\)"):
        nn.Parameter(result)
    assert nn.Parameter(result.detach()).requires_grad
    assert nn.Parameter(constant).requires_grad


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_every_floating_dtype_will_do(backend: Backend, dtype: str) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="ml_dtypes defines bfloat16")
    assert nn.Parameter(born.zeros((0, 2), backend, dtype=dtype)).dtype.name == dtype


def test_repr_shows_name_shape_dtype_and_frozenness(backend: Backend) -> None:
    parameter = nn.Parameter(born.zeros((2, 3), backend), "w")
    assert repr(parameter) == "Parameter('w', shape=(2, 3), dtype=float32)"
    parameter.requires_grad = False
    assert repr(parameter) == "Parameter('w', shape=(2, 3), dtype=float32, frozen)"


def test_assign_writes_into_the_memory_that_is_there(autodiff: AD) -> None:
    parameter = nn.Parameter(born.tensor([[1.0, 2.0], [3.0, 4.0]], autodiff))
    raw, array = parameter.raw, parameter.raw.array
    parameter.assign(parameter.T)  # a view of the same memory
    np.testing.assert_array_equal(parameter.numpy(), [[1.0, 3.0], [2.0, 4.0]])
    with autodiff.tape:
        parameter.assign(parameter * 2.0)
    np.testing.assert_array_equal(parameter.numpy(), [[2.0, 6.0], [4.0, 8.0]])
    parameter.assign(np.zeros((2, 2), np.float32))
    np.testing.assert_array_equal(parameter.numpy(), np.zeros((2, 2)))
    assert parameter.raw is raw
    assert parameter.raw.array is array
    assert parameter.raw.changes == [3]
    assert parameter.raw.node is None


def test_a_backward_pass_does_not_mix_values_before_and_after_assign(autodiff: AD) -> None:
    parameter = nn.Parameter(born.tensor([2.0], autodiff), "p")
    with autodiff.tape:
        loss = (parameter * parameter).sum()
    parameter.assign(parameter * 0.5)
    with pytest.raises(TapeError, match="'p'"):
        backward(loss)


def _read_only(parameter: nn.Parameter[Any]) -> Any:
    parameter.raw.array.flags.writeable = False
    return parameter.tensor


REFUSED_VALUES: list[tuple[Callable[[nn.Parameter[Any]], Any], type[BornError], str]] = [
    (lambda p: born.ones((3,), p.backend), ShapeError, r"got shape \(3,\)"),
    (lambda p: np.ones((), np.float32), ShapeError, r"got shape \(\)"),
    (lambda p: born.ones((2,), p.backend, "float64"), DTypeError, "got float64"),
    (lambda p: np.ones(2), DTypeError, "got float64"),
    (lambda p: 0.5, OperandError, "got float"),
    (lambda p: [1.0, 2.0], OperandError, "got list"),
    (lambda p: born.ones((2,), p.backend.inner), BackendMismatchError, "one on NumpyBackend"),
    (_read_only, ParameterError, "can be written"),
]


@pytest.mark.parametrize("case", REFUSED_VALUES)
def test_assign_refuses_what_does_not_fit(case: Any) -> None:
    build, error, message = case
    parameter = nn.Parameter(born.ones((2,), Autodiff(NumpyBackend())), "w")
    value = build(parameter)
    expected = r"shape \(2,\) and dtype float32 for parameter 'w'"
    with pytest.raises(error, match=f"{expected}.*{message}"):
        parameter.assign(value)
    np.testing.assert_array_equal(parameter.numpy(), [1.0, 1.0])
    assert not parameter.raw.changes


def test_assign_of_what_is_being_differentiated_is_refused(autodiff: AD) -> None:
    parameter = nn.Parameter(born.ones((), autodiff))

    def loss(x: born.Tensor[AD]) -> born.Tensor[AD]:
        parameter.assign(x * 2.0)
        return parameter * x

    with pytest.raises(TapeError, match=r"got Parameter\.assign, through which no gradient"):
        grad(loss)(born.ones((), autodiff))
