"""`detect_nonfinite` names the operation, and the line, that first is not finite."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import born
from born import fusion, nn, ops, optim
from born.autodiff import (
    Autodiff,
    backward,
    checkpointed,
    custom_vjp,
    detect_nonfinite,
    grad,
    per_example_gradients,
)
from born.autodiff.tape import Tape
from born.backend import Backend
from born.errors import NonFiniteError, OperandError
from born.tensor import Tensor

Function = Callable[[Tensor[Any]], Tensor[Any]]


def log(x: Tensor[Any]) -> Tensor[Any]:
    return ops.log(x)


def quotient(x: Tensor[Any]) -> Tensor[Any]:
    return 1.0 / (x + 1.0)


def root(x: Tensor[Any]) -> Tensor[Any]:
    return ops.sqrt(x + 1.0)


def hidden_norm(x: Tensor[Any]) -> Tensor[Any]:
    y = x * 0.0
    return ops.where(y.sum() > 0.0, ops.sqrt((y * y).sum()), 0.0)


@born.fused
def logarithm(x: Any) -> Any:
    return fusion.log(x)


def found(
    function: Callable[[], object], backend: Autodiff[Any], match: str = "expected finite results"
) -> NonFiniteError:
    with pytest.raises(NonFiniteError, match=match) as caught, detect_nonfinite(backend):
        function()
    return caught.value


def line_of(error: NonFiniteError, function: Callable[..., Any], offset: int) -> None:
    assert error.filename == __file__
    assert error.line == inspect.getsourcelines(function)[1] + offset


@pytest.mark.parametrize(
    ("function", "name", "text"),
    [(log, "log", "1 NaN and 0 infinite of 2"), (quotient, "div", "0 NaN and 1 infinite of 2")],
)
def test_forward(function: Function, name: str, text: str, backend: Backend) -> None:
    recorder = Autodiff(backend)
    x = born.tensor([2.0, -1.0], recorder)
    error = found(lambda: function(x), recorder, text)
    assert error.operation == name
    assert error.derivative_of is None
    assert "float32 (2,)" in str(error)
    assert "in the forward pass" in str(error)
    line_of(error, function, 1)


@pytest.mark.parametrize(("function", "offset"), [(root, 1), (hidden_norm, 2)])
def test_derivative(function: Function, offset: int, backend: Backend) -> None:
    recorder = Autodiff(backend)
    x = born.tensor([-1.0, 3.0], recorder)
    x.requires_grad = True

    def passes() -> None:
        with recorder.tape:
            loss = function(x).sum()
        backward(loss)

    for run in (passes, lambda: grad(lambda x: function(x).sum())(x)):
        error = found(run, recorder, "in the derivative of sqrt, which was called at")
        assert error.derivative_of == "sqrt"
        line_of(error, function, offset)


def test_second_derivative_and_examples(backend: Backend) -> None:
    recorder = Autodiff(backend)

    def power(x: Tensor[Any]) -> Tensor[Any]:
        return (x**1.5).sum()  # whose second derivative at 0 is infinite

    def saving(x: Tensor[Any]) -> tuple[Tensor[Any], Tensor[Any]]:
        return power(x), x

    def reciprocal(x: Tensor[Any], g: Tensor[Any]) -> Tensor[Any]:
        return g / x

    x = born.tensor([0.0], recorder)
    error = found(lambda: grad(lambda x: grad(power)(x).sum())(x), recorder, "in the derivative")
    line_of(error, power, 1)
    found(lambda: grad(checkpointed(power))(x - 1.0), recorder)
    line_of(found(lambda: grad(custom_vjp(power, saving, reciprocal))(x), recorder), reciprocal, 1)
    batch = born.tensor([[1.0], [-1.0]], recorder)
    weight = born.tensor([1.0], recorder)

    def example(w: Tensor[Any], x: Tensor[Any]) -> Tensor[Any]:
        return ops.log(w * x).sum()

    per = per_example_gradients(example)
    assert found(lambda: per(weight, batch), recorder).operation == "log"


def test_fused(backend: Backend) -> None:
    recorder = Autodiff(backend)
    x = born.tensor([-1.0, 2.0], recorder)
    assert found(lambda: logarithm(x), recorder).operation == "logarithm"


def test_training_step(backend: Backend) -> None:
    recorder = Autodiff(backend)
    model = nn.Sequential(nn.Linear(2, 3, recorder), nn.Tanh(), nn.Linear(3, 1, recorder))
    optimizer = optim.SGD(model, lr=0.1)
    x = born.tensor([[0.0, 1.0]], recorder)

    def step(bad: bool) -> None:
        with recorder.tape:
            y = model(x)
            loss = ops.sqrt(y * 0.0).sum() if bad else (y * y).sum()
        optimizer.step(backward(loss))

    with detect_nonfinite(recorder):
        step(False)
    line_of(found(lambda: step(True), recorder, "derivative of sqrt"), step, 3)


def test_what_is_given_may_be_infinite(backend: Backend) -> None:
    recorder = Autodiff(backend)
    x = born.tensor([1.0, -1.0], recorder)
    with detect_nonfinite(recorder):
        masked = ops.where(x > 0.0, x, -np.inf)
        np.testing.assert_allclose(ops.exp(masked).numpy(), [np.e, 0.0], rtol=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # outside NumPy warns as ever
def test_leaves_all_as_it_was(backend: Backend) -> None:
    recorder = Autodiff(backend)
    x = born.tensor([-1.0], recorder)
    x.requires_grad = True
    tape, inner = recorder.tape, recorder.tape.inner
    with detect_nonfinite(recorder):
        with detect_nonfinite(recorder):
            pass
        with pytest.raises(NonFiniteError):
            ops.log(x)
        apart: list[Any] = []
        thread = threading.Thread(target=lambda: apart.append(ops.log(x)))
        thread.start()
        thread.join()
        assert np.isnan(apart[0].item())  # another thread's
        with recorder.tape:
            loss = ops.sqrt(x + 1.0).sum()
    assert (recorder.tape, type(tape), tape.inner, tape.kind) == (tape, Tape, inner, Tape)
    assert np.isinf(backward(loss)[x].item())  # recorded inside, walked outside
    assert np.isnan(ops.log(x).item())
    levels = Autodiff(recorder)
    y = born.tensor([-1.0], levels)
    found(lambda: ops.log(y), levels)


def test_refuses_a_backend_that_records_nothing(backend: Any) -> None:
    with (
        pytest.raises(OperandError, match="expected an Autodiff backend"),
        detect_nonfinite(backend),
    ):
        pass
