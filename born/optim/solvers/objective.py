"""What a solver minimizes: a function of arrays, of tensors or trees of them, or of parameters.

Inside, a point is one vector in double on the device of x0, whatever x0 is made of.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias, cast

import numpy as np

from born.creation import tensor
from born.errors import BornError, OperandError, ShapeError
from born.optim.solvers.differences import ONE_SIDED, Limits
from born.raw import HostArray
from born.tensor import Tensor, is_tensor

Vector: TypeAlias = Tensor[Any]
"""A point, a gradient or a direction: one axis, float64, where nothing records."""


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A point x, the function f there, and its gradient g."""

    x: Vector
    f: float
    g: Vector

    @property
    def is_finite(self) -> bool:
        """Whether the function and its gradient are finite there."""
        return math.isfinite(self.f) and math.isfinite(largest(self.g))


def dot(x: Vector, y: Vector) -> float:
    """The inner product."""
    return float((x * y).sum().item())


def largest(x: Vector) -> float:
    """The largest absolute value."""
    return float(x.abs().max().item())


def length(x: Vector) -> float:
    """The Euclidean norm; one that overflows is infinite."""
    scale = largest(x)
    return scale * math.sqrt(dot(x / scale, x / scale)) if 0 < scale < math.inf else scale


class Objective(ABC):
    """A function with its gradient, and how often they were computed."""

    jac: Any

    def __init__(self, args: object) -> None:
        self.args: tuple[Any, ...] = args if isinstance(args, tuple) else (args,)
        self.nfev = self.njev = self.nhev = 0
        self._errors = np.geterr()
        self.difference = ONE_SIDED
        self.best: Point | None = None
        self.limits: Limits | None = None

    def as_called(self) -> np.errstate:
        """The user's own choice of NumPy's warnings; a solver has none of its own to show."""
        return np.errstate(**self._errors)

    @abstractmethod
    def start(self) -> Vector:
        """x0."""

    @abstractmethod
    def value_and_gradient(self, x: Vector) -> tuple[float, Vector]:
        """The function, and its gradient unless the function is not finite."""

    @abstractmethod
    def to_user(self, x: Vector) -> Any:
        """A point in the form that x0 had."""

    def gradient_to_user(self, g: Vector) -> Any:
        """A gradient in the form that x0 had."""
        return self.to_user(g)

    def restore(self, x: Vector) -> None:  # noqa: B027  # only models have anything to restore
        """Leave a model at this point."""

    def at(self, x: Vector) -> Point:
        """The function and its gradient at a point; the best one is kept."""
        point = Point(x, *self.value_and_gradient(x))
        if (self.best is None or point.f < self.best.f) and point.is_finite:
            self.best = point
        return point

    @abstractmethod
    def call(self, x: Vector) -> Any:
        """What the user's function returns at a point."""

    @abstractmethod
    def jacobian(self, x: Vector, m: int) -> HostArray:
        """The derivatives of the m numbers that it returns, of shape (m, n), by the tape."""

    def user_jac(self, x: Vector) -> Any:
        """What the user's function of derivatives returns at a point."""
        with self.as_called():
            return self.jac(self.to_user(x), *self.args)

    def vector(self, x: HostArray) -> Vector:
        """An array of all variables as a point."""
        point: Vector = tensor(x, self.start().backend)
        return point

    def curvature(self, point: Point, direction: Vector) -> Vector:
        """The product of the Hessian with a direction: here, by a difference of gradients."""
        size = length(direction)
        step = self.difference * max(1.0, length(point.x)) / size
        there = self.at(point.x + direction * step).g
        product: Vector = (there - point.g) / step
        return product


def check_result(value: object) -> None:
    """Refuse a result that a backward pass cannot start from."""
    if not isinstance(value, Tensor):
        raise OperandError(
            f"expected a function that returns a tensor, got {type(value).__name__}; compute it "
            "from x, or from the model's parameters, with born's operations"
        )


def real(values: Any) -> HostArray:
    """Numbers as an array in double; NumPy takes None for NaN, and '1' for 1."""
    array = np.asarray(values)
    if array.dtype.kind in "OSUMmc":
        wrong = [each for each in array.reshape(-1).tolist() if not isinstance(each, Real)]
        if wrong or array.dtype.kind in "Mm":
            raise TypeError(f"{(wrong[0] if wrong else array.dtype)!r} is not a number")
    return array.astype(np.float64, copy=False)


def as_array(name: str, value: Any, error: type[BornError] = OperandError) -> HostArray:
    """What a user's function returns as an array in double."""
    try:
        return real(value.numpy() if is_tensor(value) else value)
    except (TypeError, ValueError, OverflowError) as reason:
        raise error(
            f"expected {name} of real numbers, got {type(value).__name__}: {reason}; make an "
            "array of them"
        ) from reason


def as_number(value: Any) -> float:
    """The value of a function: a number, or a tensor or array of one element."""
    size = getattr(value, "size", 1)
    if size != 1:
        raise ShapeError(
            f"expected a function that returns one number, got shape {value.shape}; sum or "
            "average it"
        )
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, OverflowError) as error:
        raise OperandError(
            f"expected a function that returns a number, got {type(value).__name__}; return the "
            "value, or (value, gradient) with jac=True"
        ) from error


def pair(result: object) -> tuple[Any, Any]:
    """The value and the gradient that a function returns together."""
    kind = type(result).__name__
    values = cast("tuple[object, ...]", result) if isinstance(result, tuple) else ()
    if len(values) != 2:
        raise OperandError(
            f"expected (value, gradient) from the function, since jac is True, got a "
            f"{kind}; return both, or leave jac out"
        )
    return values
