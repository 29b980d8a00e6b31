"""`grad`, `value_and_grad` and `hvp`, and backends that record on two levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff, backward, grad, hvp, jacobian, value_and_grad
from born.backend import Backend
from born.errors import BornError, OperandError, ShapeError, TapeError
from tests.autodiff.leaf import AD

T: TypeAlias = "born.Tensor[Any]"


def sum_of_squares(x: T) -> T:
    return (x * x).sum()


def sum_of_cubes(x: T) -> T:
    return (x * x * x).sum()


def of(function: Callable[[T], T]) -> Callable[[T], T]:
    return function


def identity(x: T) -> T:
    return x


@pytest.fixture
def nested(backend: Backend) -> Autodiff[AD]:
    return Autodiff(Autodiff(backend))


def vector(backend: Backend, *values: float) -> T:
    """A float64 tensor that requires no gradient."""
    return born.tensor(np.array(values), backend)


def test_value_and_gradient(autodiff: AD) -> None:
    x = vector(autodiff, 1.0, 2.0)
    value, gradient = value_and_grad(sum_of_cubes)(x)
    assert value.item() == 9.0
    assert gradient.numpy().tolist() == [3.0, 12.0]
    assert gradient.backend is autodiff
    assert grad(sum_of_cubes)(x).numpy().tolist() == [3.0, 12.0]
    assert x.requires_grad is False
    assert len(autodiff.tape) == 0


def test_argument_to_differentiate_by(autodiff: AD) -> None:
    x, y = vector(autodiff, 1.0, 2.0), vector(autodiff, 3.0, 4.0)

    def function(x: T, y: T, power: int, *, scale: float = 1.0) -> T:
        return (x**power * y * scale).sum()

    assert grad(function)(x, y, 2).numpy().tolist() == [6.0, 16.0]
    assert grad(function, argnum=1)(x, y, 2, scale=2.0).numpy().tolist() == [2.0, 8.0]


def test_captured_tensors_are_constants(autodiff: AD) -> None:
    x, weight = vector(autodiff, 3.0), vector(autodiff, 2.0)
    weight.requires_grad = True
    assert grad(of(lambda y: (y * x).sum()))(x).numpy().tolist() == [3.0]
    assert grad(of(lambda y: (x * x).sum()))(x).numpy().tolist() == [0.0]
    assert grad(of(lambda x: (x * weight).sum()))(x).numpy().tolist() == [2.0]
    assert weight.raw.grad is None


def test_constant_function_and_identity(autodiff: AD) -> None:
    constant = of(lambda x: born.ones((), x.backend))
    value, gradient = value_and_grad(constant)(vector(autodiff, 1.0, 2.0))
    assert value.item() == 1.0
    assert gradient.numpy().tolist() == [0.0, 0.0]
    assert grad(identity)(born.tensor(2.0, autodiff)).item() == 1.0
    assert grad(sum_of_squares)(vector(autodiff)).shape == (0,)


def test_what_is_recorded_already_stays(autodiff: AD) -> None:
    x = vector(autodiff, 2.0)
    x.requires_grad = True
    with autodiff.tape:
        loss = (x * x).sum()
    assert grad(of(lambda y: (y * 5).sum()))(x).numpy().tolist() == [5.0]
    assert autodiff.to_numpy(backward(loss)[x]).tolist() == [4.0]


def test_higher_derivatives(backend: Backend) -> None:
    x = born.tensor(np.float64(0.7), Autodiff(Autodiff(Autodiff(backend))))
    once = grad(ops.sin)
    twice = grad(once)
    thrice = grad(twice)
    # Each level rounds a few times.
    np.testing.assert_allclose(once(x).item(), math.cos(0.7), rtol=1e-15)
    np.testing.assert_allclose(twice(x).item(), -math.sin(0.7), rtol=1e-15)
    np.testing.assert_allclose(thrice(x).item(), -math.cos(0.7), rtol=1e-15)


def test_hessian_vector_product_of_a_quadratic_form(nested: Autodiff[AD]) -> None:
    matrix = np.array([[2.0, 1.0, 0.0], [3.0, -1.0, 4.0], [0.5, 0.0, 1.0]])
    a: T = born.tensor(matrix, nested)
    x, v = vector(nested, 1.0, 2.0, 3.0), vector(nested, 0.5, -1.0, 2.0)
    found = hvp(of(lambda x: x @ a @ x))(x, v)
    np.testing.assert_allclose(found.numpy(), (matrix + matrix.T) @ v.numpy(), rtol=1e-15)


def test_hessian_is_symmetric(nested: Autodiff[AD]) -> None:
    labels = born.tensor(np.array([0, 2]), nested)
    generator = np.random.default_rng(0)
    weight = born.tensor(generator.normal(size=(3, 4)), nested)

    def function(x: T) -> T:
        return ops.cross_entropy(ops.linear(ops.layer_norm(x.reshape(2, 4)), weight), labels)

    x = born.tensor(generator.normal(size=8), nested)
    rows = [hvp(function)(x, born.tensor(row, nested)).numpy() for row in np.eye(8)]
    # Elements are of size one, and made of some hundred terms.
    np.testing.assert_allclose(np.array(rows), np.array(rows).T, atol=1e-13)
    assert np.abs(rows).max() > 0.01


def test_inner_variable_is_not_taken_for_the_outer(nested: Autodiff[AD]) -> None:
    one = born.tensor(np.float64(1.0), nested)
    # d/dx (x d/dy (x + y)) = 1, not 2; d/dx (x d/dy (x y)) = 2x.
    assert grad(of(lambda x: x * grad(of(lambda y: x + y))(one)))(one).item() == 1.0
    assert grad(of(lambda x: x * grad(of(lambda y: x * y))(one)))(one).item() == 2.0


def levels(backend: Backend, count: int) -> Autodiff[Any]:
    """`count` times `Autodiff` around a backend."""
    made: Autodiff[Any] = Autodiff(backend)
    return made if count == 1 else levels(made, count - 1)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_derivatives_of_any_order(count: int, backend: Backend) -> None:
    x = born.tensor(np.float64(0.7), levels(backend, count))
    function: Callable[..., T] = ops.sin
    for expected in (math.cos(0.7), -math.sin(0.7), -math.cos(0.7), math.sin(0.7)):
        function = grad(function)
        # Each level rounds a few times.
        np.testing.assert_allclose(function(x).item(), expected, rtol=4e-15)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_loss_of_derivatives_is_recorded_with_the_rest(
    count: int, order: int, backend: Backend
) -> None:
    autodiff = levels(backend, count)
    x, weight = vector(autodiff, 0.5, 2.0), vector(autodiff, 3.0, 4.0)
    x.requires_grad = weight.requires_grad = True
    factor, power = {1: (4, 3), 2: (12, 2), 3: (24, 1)}[order]

    def derivative(y: T, times: int) -> T:
        if times == 0:
            return (weight * y**4).sum()
        return grad(of(lambda z: derivative(z, times - 1)))(y).sum()

    with autodiff.tape:
        shift = weight * 0.0
        slope = grad(of(lambda y: derivative(y, order - 1)))(x + shift)
        loss = (slope * slope).sum() + (weight * x).sum()
    gradients = backward(loss)
    # slope = f w x^n, so loss = sum f^2 w^2 x^2n + w x
    w, at = weight.numpy(), x.numpy()
    slope_at = factor * w * at**power
    np.testing.assert_allclose(slope.numpy(), slope_at, rtol=1e-13)
    by_weight = 2 * slope_at * factor * at**power + at
    by_x = 2 * slope_at * factor * w * power * at ** (power - 1) + w
    np.testing.assert_allclose(autodiff.to_numpy(gradients[weight]), by_weight, rtol=1e-13)
    np.testing.assert_allclose(autodiff.to_numpy(gradients[x]), by_x, rtol=1e-13)
    assert len(autodiff.tape) == 0


def test_a_captured_result_counts_as_a_constant_of_the_inner_function_alone(autodiff: AD) -> None:
    x, weight = vector(autodiff, 2.0), vector(autodiff, 3.0)
    weight.requires_grad = True
    leaked: list[T] = []

    def function(y: T) -> T:
        leaked.append(y * weight)
        return (y * y * scale).sum()

    with autodiff.tape:
        scale = weight * weight
        loss = (grad(function)(x) + leaked[0]).sum()
    # 2 x w^2 + x w, by w
    assert autodiff.to_numpy(backward(loss)[weight]).tolist() == [4 * 2.0 * 3.0 + 2.0]


def test_inner_variable_is_not_taken_for_the_outer_on_one_level(autodiff: AD) -> None:
    one = born.tensor(np.float64(1.0), autodiff)
    one.requires_grad = True
    with autodiff.tape:
        loss = one * grad(of(lambda y: one * y))(one.detach())
    # x d/dy (x y) = x^2
    assert autodiff.to_numpy(backward(loss)[one]).tolist() == 2.0
    assert grad(of(lambda x: x * grad(of(lambda y: x + y))(x)))(one).item() == 1.0
    assert grad(of(lambda x: x * grad(of(lambda y: x * y))(x)))(one).item() == 2.0


def test_a_loss_that_an_inner_level_recorded(nested: Autodiff[AD]) -> None:
    x, weight = vector(nested, 1.0, 2.0), vector(nested, 3.0, 4.0)
    weight.requires_grad = True
    expected = [24.0, 128.0]
    for accumulated in (False, True):
        with nested.inner.tape:
            slope = grad(of(lambda y: (weight * y * y).sum()))(x)
            loss = (slope * slope).sum() * 3.0
        if accumulated:
            loss.backward()
            found = weight.raw.grad
        else:
            found = backward(loss)[weight]
        assert found is not None
        assert nested.to_numpy(found).tolist() == [3 * value for value in expected]


def test_gradient_penalty_reaches_the_weights(nested: Autodiff[AD]) -> None:
    x, weight = vector(nested, 1.0, 2.0), vector(nested, 3.0, 4.0)
    x.requires_grad = weight.requires_grad = True
    with nested.inner.tape:
        with nested.tape:
            loss = (weight * x * x).sum()
        slopes = born.Tensor(backward(loss)[x], nested.inner)
        penalty = (slopes * slopes).sum()
    gradients = backward(penalty)
    # penalty = sum (2 w x)^2
    assert nested.to_numpy(gradients[weight]).tolist() == [24.0, 128.0]
    assert nested.to_numpy(gradients[x]).tolist() == [72.0, 256.0]


def test_either_level_may_record_alone(nested: Autodiff[AD]) -> None:
    x = vector(nested, 1.0, 2.0)
    x.requires_grad = True
    with nested.tape:
        loss = (ops.layer_norm(x) * x).sum()
    outer = nested.to_numpy(backward(loss)[x])
    with nested.inner.tape:
        inner_loss = (ops.layer_norm(x) * x).sum()
    on_inner = born.Tensor(inner_loss.raw, nested.inner)
    np.testing.assert_allclose(outer, nested.to_numpy(backward(on_inner)[x]), atol=1e-12)


def test_wrapping_hands_on_everything_else(nested: Autodiff[AD]) -> None:
    computing = nested.inner.inner
    assert nested.innermost is computing
    assert nested.name == computing.name
    assert repr(nested) == f"Autodiff(Autodiff({computing!r}))"
    nested.seed(3)
    state = nested.random_state
    first = nested.to_numpy(nested.normal((4,), "float32"))
    nested.check_random_state(state)
    nested.set_random_state(state)
    np.testing.assert_array_equal(first, computing.to_numpy(computing.normal((4,), "float32")))
    nested.synchronize()


def test_derivatives_need_a_backend_that_records(backend: Backend) -> None:
    with pytest.raises(TapeError, match=r"expected a tensor on an Autodiff backend, got .*; make"):
        grad(sum_of_squares)(vector(backend, 1.0))


def three(x: T) -> Any:
    return 3.0


no_tensor: Any = grad(identity)
REFUSED: Final[dict[str, tuple[Callable[[T], object], type[BornError], str]]] = {
    "several results": (
        grad(of(lambda x: x * x)),
        ShapeError,
        r"expected a loss with one element, got shape \(2,\)",
    ),
    "no tensor returned": (grad(three), BornError, r"expected .*tensor.*got.*; "),
    "no such argument": (
        grad(sum_of_squares, argnum=1),
        ShapeError,
        r"expected a positional argument number 1 .*got 1 .*; ",
    ),
    "a number": (lambda x: no_tensor(1.0), TapeError, r"a floating tensor .*got float; make it"),
    "a text": (lambda x: no_tensor("x"), TapeError, r"a floating tensor .*got str; make it"),
    "nothing": (lambda x: no_tensor(None), TapeError, r"a floating tensor .*got NoneType; make it"),
    "integers": (
        lambda x: grad(sum_of_squares)(x.astype("int64")),
        TapeError,
        r"expected a floating tensor .*got one of dtype int64",
    ),
    "a vector of another shape": (
        lambda x: hvp(sum_of_squares)(x, x[:1]),
        ShapeError,
        r"expected a vector .* \(2,\) .*, got \(1,\); reshape",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_gradient(case: str, autodiff: AD) -> None:
    call, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        call(vector(autodiff, 1.0, 2.0))
    assert not autodiff.tape.is_recording


def test_error_inside_the_function_leaves_the_tape_as_it_was(autodiff: AD) -> None:
    x = vector(autodiff, 1.0)

    def failing(x: T) -> T:
        (x * x).sum()
        raise KeyError

    before = autodiff.tape
    with pytest.raises(KeyError):
        grad(failing)(x)
    assert autodiff.tape is before
    assert not before.is_recording
    assert len(before) == 0


@pytest.mark.parametrize("argnum", [(0, 0), (), (0, "x"), "x", 0.0, True])
def test_argnum_is_one_integer(argnum: Any, autodiff: Autodiff[Backend]) -> None:
    x = born.ones((), autodiff)

    def square(y: born.Tensor[Autodiff[Backend]]) -> born.Tensor[Autodiff[Backend]]:
        return y * y

    with pytest.raises(OperandError, match="expected argnums as one integer or a tuple"):
        grad(square, argnum)(x)


def test_arguments_may_be_counted_from_the_last(autodiff: AD) -> None:
    x, y = born.tensor([2.0], autodiff), born.tensor([3.0], autodiff)

    def function(x: born.Tensor[AD], y: born.Tensor[AD]) -> born.Tensor[AD]:
        return (x * x * y).sum()

    assert grad(function, argnums=-1)(x, y).tolist() == [4.0]
    assert [each.tolist() for each in grad(function, argnums=(-1, 0))(x, y)] == [[4.0], [12.0]]
    assert jacobian(function, argnums=-2)(x, y).tolist() == [12.0]
    with pytest.raises(OperandError, match=r"different arguments .* numbers \(0, -2\) of 2"):
        grad(function, argnums=(0, -2))(x, y)
    with pytest.raises(ShapeError, match=r"argument number -3 .* 2 positional"):
        grad(function, argnums=-3)(x, y)
