"""Where a function has a kink or ties, its gradient is the subgradient that is promised."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff, backward, grad, hvp
from born.backend import Backend
from born.raw import HostArray

T: TypeAlias = "born.Tensor[Any]"
One: TypeAlias = Callable[[T], T]
Two: TypeAlias = Callable[[T, T], T]


def gradients(
    function: One | Two, autodiff: Autodiff[Backend], *values: object
) -> list[list[float]]:
    """The gradients of the sum of a function's result by each of its arguments."""
    tensors = [born.tensor(np.array(value, np.float64), autodiff) for value in values]
    for tensor in tensors:
        tensor.requires_grad = True
    with autodiff.tape:
        loss = ops.sum(cast("Callable[..., T]", function)(*tensors))
    found = backward(loss)
    return [autodiff.to_numpy(found[tensor]).tolist() for tensor in tensors]


KINKS: Final[dict[str, tuple[One, list[float], list[float]]]] = {
    "abs": (ops.abs, [-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]),
    "relu": (ops.relu, [-1.0, 0.0, 1.0], [0.0, 0.0, 1.0]),
    "clamp passes at its bounds": (
        lambda x: ops.clamp(x, -1, 1),
        [-2.0, -1.0, 0.0, 1.0, 2.0],
        [0.0, 1.0, 1.0, 1.0, 0.0],
    ),
    "maximum of a number": (lambda x: ops.maximum(x, 0), [-1.0, 0.0, 1.0], [0.0, 0.5, 1.0]),
    "max shares among ties": (ops.max, [3.0, 1.0, 3.0], [0.5, 0.0, 0.5]),
    "min shares among ties": (ops.min, [1.0, 1.0, 3.0], [0.5, 0.5, 0.0]),
    "norm at zero": (ops.norm, [0.0, 0.0], [0.0, 0.0]),
    "1-norm with a zero": (lambda x: ops.norm(x, order=1), [0.0, -2.0], [0.0, -1.0]),
    "infinity-norm shares among ties": (
        lambda x: ops.norm(x, order=math.inf),
        [2.0, -2.0, 1.0],
        [0.5, -0.5, 0.0],
    ),
    "infinity-norm at zero": (lambda x: ops.norm(x, order=math.inf), [0.0, 0.0], [0.0, 0.0]),
    "prod with one zero": (ops.prod, [2.0, 0.0, 5.0], [0.0, 10.0, 0.0]),
    "prod with two zeros": (ops.prod, [0.0, 0.0, 5.0], [0.0, 0.0, 0.0]),
    "cumprod with a zero": (lambda x: ops.cumprod(x, 0), [2.0, 0.0, 5.0], [1.0, 12.0, 0.0]),
    "square at zero and below": (lambda x: x**2, [0.0, -3.0], [0.0, -6.0]),
    "first power at zero": (lambda x: x**1, [0.0, 2.0], [1.0, 1.0]),
    "zeroth power at zero": (lambda x: x**0, [0.0, 2.0], [0.0, 0.0]),
    "cube at zero and below": (lambda x: x**3, [0.0, -2.0], [0.0, 12.0]),
    "powers of zero": (lambda x: 0**x, [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]),
    "zeroth power far out": (lambda x: x**0, [math.inf, -math.inf, math.nan], [0.0, 0.0, 0.0]),
    "zeroth power by a tensor": (
        lambda x: ops.pow(x, x.detach() * 0),
        [0.0, 2.0, -3.0],
        [0.0, 0.0, 0.0],
    ),
    "deviation": (ops.std, [1.0, 3.0], [-0.5, 0.5]),
}
"""A function, where to take its gradient, and what that is."""


@pytest.mark.parametrize("case", KINKS)
def test_subgradient(case: str, autodiff: Autodiff[Backend]) -> None:
    function, at, expected = KINKS[case]
    assert gradients(function, autodiff, at) == [expected]


NAN: Final = math.nan

STAYS: Final[dict[str, tuple[One, list[float], list[float]]]] = {
    "relu": (ops.relu, [NAN, 1.0, -1.0], [NAN, 1.0, 0.0]),
    "abs": (ops.abs, [NAN, 1.0], [NAN, 1.0]),
    "clamp": (lambda x: ops.clamp(x, 0, 1), [NAN, 0.5, 2.0], [NAN, 1.0, 0.0]),
    "clamp from below": (lambda x: ops.clamp(x, 0), [NAN, 0.5, -2.0], [NAN, 1.0, 0.0]),
    "maximum": (lambda x: ops.maximum(x, 0), [NAN, 1.0, -1.0], [NAN, 1.0, 0.0]),
    "minimum": (lambda x: ops.minimum(x, 0), [NAN, 1.0, -1.0], [NAN, 0.0, 1.0]),
    "max": (ops.max, [NAN, 1.0], [NAN, NAN]),
    "min": (ops.min, [1.0, NAN], [NAN, NAN]),
    "logsumexp": (ops.logsumexp, [NAN, 1.0], [NAN, NAN]),
    "norm": (ops.norm, [NAN, 1.0], [NAN, NAN]),
    "infinity-norm": (lambda x: ops.norm(x, order=math.inf), [NAN, 1.0], [NAN, NAN]),
    "std": (ops.std, [NAN, 1.0], [NAN, NAN]),
}
"""A function, and its gradient where one of the numbers is NaN."""


@pytest.mark.parametrize("case", STAYS)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_nan_stays_nan(case: str, autodiff: Autodiff[Backend]) -> None:
    function, at, expected = STAYS[case]
    np.testing.assert_array_equal(gradients(function, autodiff, at), [expected])


@pytest.mark.parametrize("width", [3, 40])
def test_nan_stays_nan_in_a_layer(width: int, autodiff: Autodiff[Backend]) -> None:
    weight = born.ones((width, 2), autodiff, dtype="float64")
    bias = born.zeros(width, autodiff, dtype="float64")
    (found,) = gradients(
        lambda x: ops.linear(x, weight, bias, activation="relu"), autodiff, [[NAN, 1.0], [1.0, 2.0]]
    )
    assert np.isnan(found).tolist() == [[True, True], [False, False]]


def test_sign_carries_no_gradient(autodiff: Autodiff[Backend]) -> None:
    x = born.tensor([1.0, 0.0], autodiff)

    def function(x: T) -> T:
        return ops.sum(ops.sign(x))

    assert grad(function)(x).numpy().tolist() == [0.0, 0.0]


def test_maximum_and_minimum_share_ties_evenly(autodiff: Autodiff[Backend]) -> None:
    x, y = [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]
    assert gradients(ops.maximum, autodiff, x, y) == [[0.0, 0.5, 1.0], [1.0, 0.5, 0.0]]
    assert gradients(ops.minimum, autodiff, x, y) == [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]


def test_power_of_zero_by_both_arguments(autodiff: Autodiff[Backend]) -> None:
    by_base, by_exponent = gradients(ops.pow, autodiff, [0.0, 0.0, 0.0], [0.0, 1.0, 2.0])
    assert by_base == [0.0, 1.0, 0.0]
    assert by_exponent == [0.0, 0.0, 0.0]


def test_power_of_negative_numbers_by_the_base(autodiff: Autodiff[Backend]) -> None:
    exponent = born.tensor(np.array([2.0, 3.0]), autodiff)
    assert gradients(lambda x: ops.pow(x, exponent), autodiff, [-2.0, -1.0]) == [[-4.0, 3.0]]


def test_max_pool_gives_a_tie_to_its_first_element(autodiff: Autodiff[Backend]) -> None:
    image = np.full((1, 1, 2, 2), 7.0)
    (found,) = gradients(lambda x: ops.max_pool2d(x, 2), autodiff, image)
    assert np.asarray(found).ravel().tolist() == [1.0, 0.0, 0.0, 0.0]


def test_max_pool_padding_never_wins(autodiff: Autodiff[Backend]) -> None:
    image = np.full((1, 1, 2, 2), -5.0)
    (found,) = gradients(lambda x: ops.max_pool2d(x, 2, stride=2, padding=1), autodiff, image)
    assert np.asarray(found).ravel().tolist() == [1.0, 1.0, 1.0, 1.0]


def test_max_pool_padding_never_wins_over_minus_infinity(autodiff: Autodiff[Backend]) -> None:
    image = np.full((1, 1, 2, 2), -math.inf)
    (found,) = gradients(lambda x: ops.max_pool2d(x, 2, stride=2, padding=1), autodiff, image)
    assert np.asarray(found).ravel().tolist() == [1.0, 1.0, 1.0, 1.0]


def test_embedding_rows_add_up(autodiff: Autodiff[Backend]) -> None:
    index = born.tensor(np.array([2, 0, 2, -1]), autodiff)
    (found,) = gradients(lambda table: ops.take(table, index), autodiff, np.zeros((3, 2)))
    np.testing.assert_array_equal(found, [[1.0, 1.0], [0.0, 0.0], [3.0, 3.0]])


def test_variance_without_freedom_has_no_gradient(autodiff: Autodiff[Backend]) -> None:
    (found,) = gradients(lambda x: ops.var(x, ddof=1), autodiff, [2.0])
    assert np.isnan(found).all()


@pytest.mark.parametrize("order", [1, 2, math.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_second_derivative_of_a_norm_at_zero(backend: Backend, order: float) -> None:
    nested = Autodiff(Autodiff(backend))
    x, v = born.zeros(3, nested), born.ones(3, nested)

    def function(x: T) -> T:
        return ops.norm(x, order=order)

    # Where there is none, as for a cone at its tip, it is NaN and not a number that is wrong.
    assert np.isnan(hvp(function)(x, v).numpy()).tolist() == [order == 2] * 3


@pytest.mark.parametrize("size", [0.0, 3.0])
def test_deviation_of_equal_numbers(backend: Backend, size: float) -> None:
    x = born.full((4,), size, Autodiff(backend), dtype="float64")
    assert ops.std(x).item() == 0.0

    def root(x: T) -> T:
        return ops.sqrt(ops.var(x))

    assert grad(ops.std)(x).numpy().tolist() == [0.0] * 4
    with np.errstate(all="ignore"):
        assert np.isnan(grad(root)(x).numpy()).all()


def test_second_derivative_of_a_square_at_zero(backend: Backend) -> None:
    x = born.zeros((), Autodiff(Autodiff(backend)))

    def square(x: T) -> T:
        return x**2

    def cube(x: T) -> T:
        return x**3

    assert grad(grad(square))(x).item() == 2.0
    assert grad(grad(cube))(x).item() == 0.0


def test_second_derivative_through_dropout_keeps_its_mask(backend: Backend) -> None:
    nested = Autodiff(Autodiff(backend))
    x = born.tensor(np.linspace(0.5, 1.5, 16), nested)

    def kept(x: T) -> T:
        nested.seed(3)
        dropped = ops.dropout(x, 0.5)
        return ops.sum(dropped * dropped * dropped)

    nested.seed(3)
    mask: HostArray = nested.to_numpy(nested.dropout(nested.ones((16,), "float64"), 0.5)[0])
    assert set(mask) == {0.0, 2.0}
    found = hvp(kept)(x, born.ones(16, nested, "float64")).numpy()
    # Three factors of a mask of zeros and twos; six roundings at most.
    np.testing.assert_allclose(found, 6.0 * x.numpy() * mask**3, rtol=1e-15)
