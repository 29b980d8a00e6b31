"""What x0 may be: arrays, tensors and trees of them, or the parameters of a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
from typing_extensions import override

import born.ops as ops
from born.autodiff import Autodiff, backward, hvp, jacobian
from born.autodiff.transforms import value_and_grad
from born.autodiff.trees import Tree, aligned, joined, parted
from born.backend import Backend, get_backend
from born.creation import tensor
from born.dtypes import is_floating
from born.errors import DTypeError, GradientError, OperandError, ShapeError
from born.nn import Module, Parameter
from born.optim.solvers.differences import differences
from born.optim.solvers.objective import (
    Objective,
    Point,
    Vector,
    as_array,
    as_number,
    check_result,
    pair,
    real,
)
from born.raw import HostArray, RawTensor
from born.tensor import Tensor, is_tensor

_EPS: Final = {8: 2.0**-52, 4: 2.0**-23, 2: 2.0**-8}
"""The rounding of a floating dtype by its bytes."""
_TOGETHER: Final = 2**22
"""The most numbers in the derivatives of any one value that are computed at once."""


class OfArrays(Objective):
    """A function of NumPy arrays, as SciPy has them."""

    def __init__(
        self, fun: Callable[..., Any], x0: Any, args: object, jac: Any, hessp: Any
    ) -> None:
        super().__init__(args)
        try:
            if np.iscomplexobj(x0):
                raise TypeError("it is complex; minimize over its real and imaginary parts")
            self._x0 = real(x0).copy()
        except (TypeError, ValueError, OverflowError) as error:
            raise OperandError(
                f"expected x0 as an array of real numbers, a tensor, a model or parameters, got "
                f"{type(x0).__name__}: {error}"
            ) from error
        self._fun, self.jac, self._hessp = fun, jac, hessp
        self._backend = get_backend("numpy")

    @override
    def start(self) -> Vector:
        return self._vector(self._x0)

    @override
    def to_user(self, x: Vector) -> Any:
        return x.numpy().reshape(self._x0.shape).copy()

    @override
    def value_and_gradient(self, x: Vector) -> tuple[float, Vector]:
        result = self.call(x)
        if self.jac is True:
            value, gradient = pair(result)
            self.njev += 1
            return as_number(value), self._checked(gradient)
        value = as_number(result)
        if not math.isfinite(value):
            return value, x * math.nan
        if callable(self.jac):
            self.njev += 1
            return value, self._checked(self.user_jac(x))
        return value, self._differences(x, value)

    @override
    def call(self, x: Vector) -> Any:
        self.nfev += 1
        with self.as_called():
            return self._fun(self.to_user(x), *self.args)

    @override
    def jacobian(self, x: Vector, m: int) -> HostArray:
        raise NotImplementedError  # arrays are differentiated by differences

    def _differences(self, x: Vector, value: float) -> Vector:
        def called(there: HostArray) -> HostArray:
            return np.array([as_number(self.call(self._vector(there)))])

        base = np.array([value])
        return self._vector(
            differences(called, x.numpy(), base, self.limits, central=isinstance(self.jac, str))
        )

    @override
    def curvature(self, point: Point, direction: Vector) -> Vector:
        self.nhev += 1
        if self._hessp is None:
            return super().curvature(point, direction)
        x, v = self.to_user(point.x), self.to_user(direction)
        with self.as_called():
            product = self._hessp(x, v, *self.args)
        return self._checked(product)

    def _vector(self, array: Any) -> Vector:
        return tensor(np.asarray(array, np.float64).reshape(-1), self._backend)

    def _checked(self, gradient: Any) -> Vector:
        array = as_array("a gradient", gradient, GradientError)
        if array.shape != self._x0.shape and array.size != self._x0.size:
            raise GradientError(
                f"expected a gradient of shape {self._x0.shape}, that of x0, got {array.shape}; "
                "return one number for each of x"
            )
        return self._vector(array)


class OfTensors(Objective):
    """A function of one tensor; a tape gives the gradient, unless the function does."""

    def __init__(
        self, fun: Callable[..., Any], x0: Tensor[Any], args: object, jac: Any, hessp: Any
    ) -> None:
        super().__init__(args)
        _check_floating(x0)
        self._x0, self._fun, self.jac, self._hessp = x0, fun, jac, hessp
        self.difference = _EPS[x0.dtype.itemsize] ** 0.5
        self._home: Any = x0.backend
        self._inner: Any = self._home.innermost
        records = isinstance(x0.backend, Autodiff)
        self._recording: Autodiff[Any] = self._home if records else Autodiff(self._home)
        self._twice = isinstance(self._recording.inner, Autodiff)

    @override
    def start(self) -> Vector:
        x0 = Tensor(self._inner.copy(self._x0.raw), self._inner)
        return x0.reshape(-1).astype("float64")

    @override
    def to_user(self, x: Vector) -> Any:
        return self._tensor(x, self._home)

    @override
    def value_and_gradient(self, x: Vector) -> tuple[float, Vector]:
        if self.jac is True:
            self.njev += 1
            value, gradient = pair(self.call(x))
            return as_number(value), self._checked(gradient)
        if callable(self.jac):
            value = as_number(self.call(x))
            if not math.isfinite(value):
                return value, x * math.nan
            self.njev += 1
            return value, self._checked(self.user_jac(x))
        self.nfev += 1
        self.njev += 1
        point = self._tensor(x, self._recording)
        with self.as_called():
            value, gradient = value_and_grad(self._fun)(point, *self.args)
        return as_number(value), self._checked(gradient)

    @override
    def curvature(self, point: Point, direction: Vector) -> Vector:
        self.nhev += 1
        x, v = (self._tensor(each, self._recording) for each in (point.x, direction))
        if self._hessp is not None:
            with self.as_called():
                product = self._hessp(x, v, *self.args)
            return self._checked(product)
        if self.jac is None and self._twice:
            with self.as_called():
                product = hvp(lambda y: self._fun(y, *self.args))(x, v)
            return self._checked(product)
        return super().curvature(point, direction)

    @override
    def call(self, x: Vector) -> Any:
        self.nfev += 1
        with self.as_called():
            return self._fun(self._tensor(x, self._home), *self.args)

    @override
    def jacobian(self, x: Vector, m: int) -> HostArray:
        self.nfev += 1
        point = self._tensor(x, self._recording)

        def residuals(x: Tensor[Any]) -> Tensor[Any]:
            # A result of x, so that a function that returns what it is given has a record too.
            result = self._fun(x * 1.0, *self.args)
            check_result(result)
            return cast("Tensor[Any]", result)

        with self.as_called():
            found = jacobian(residuals, chunk_size=at_once(m, x.size))(point)
        return cast("HostArray", found.numpy().reshape(m, x.size))

    def _tensor(self, x: Vector, backend: Any) -> Tensor[Any]:
        """A vector as a tensor like x0, in memory of its own."""
        raw = self._inner.copy(x.reshape(self._x0.shape).astype(self._x0.dtype).raw)
        return Tensor(raw, backend)

    def _checked(self, gradient: Any) -> Vector:
        raw: object = gradient.raw if isinstance(gradient, Tensor) else gradient
        if not isinstance(raw, RawTensor):
            raise GradientError(
                f"expected a gradient as a tensor, since x0 is one, got {type(raw).__name__}; make "
                "it with born.tensor"
            )
        if raw.shape != self._x0.shape:
            raise GradientError(
                f"expected a gradient of shape {self._x0.shape}, that of x0, got {raw.shape}; "
                "return one number for each of x"
            )
        return Tensor(raw, self._inner).reshape(-1).astype("float64")


class OfTrees(OfTensors):
    """A function of a dict, list, tuple or dataclass of tensors, at any depth."""

    def __init__(
        self, fun: Callable[..., Any], x0: Tree, args: object, jac: Any, hessp: Any
    ) -> None:
        self._form = x0

        def of_vector(x: Tensor[Any], *args: Any) -> Any:
            return fun(parted(x, x0), *args)

        def product(x: Tensor[Any], v: Tensor[Any], *args: Any) -> Any:
            assert hessp is not None
            return hessp(parted(x, x0), parted(v, x0), *args)

        super().__init__(of_vector, joined(x0), args, jac, None if hessp is None else product)

    @override
    def to_user(self, x: Vector) -> Any:
        return parted(super().to_user(x), self._form)

    @override
    def _checked(self, gradient: Any) -> Vector:
        if isinstance(gradient, Tensor):  # of the vector, by the tape
            return super()._checked(gradient)
        aligned(self._form, gradient, "a gradient")
        return super()._checked(joined(Tree(gradient)))


class _Holder(Module[Any]):
    """Parameters from anywhere as a module, by which functions can be differentiated."""

    def __init__(self, parameters: Sequence[Parameter[Any]]) -> None:
        super().__init__()
        self.parameters_held = list(parameters)


class OfParameters(Objective):
    """A function without arguments, that computes a loss from parameters which are set for it."""

    def __init__(
        self,
        fun: Callable[..., Any],
        x0: Module[Any] | Sequence[Parameter[Any]],
        args: object,
        jac: Any,
    ) -> None:
        super().__init__(() if args == () else args)
        self._x0, self._fun, self.jac = x0, fun, jac
        every = x0.parameters() if isinstance(x0, Module) else x0
        self.parameters = [p for p in every if p.requires_grad]
        if not self.parameters:
            raise OperandError(
                "expected a model with parameters to fit, got none that requires a gradient; "
                "set requires_grad"
            )
        self.difference = max(_EPS[p.dtype.itemsize] for p in self.parameters) ** 0.5
        self.backend = cast("Backend", self.parameters[0].backend)
        self._inner = self.backend.innermost
        if jac is None and not isinstance(self.backend, Autodiff):
            raise OperandError(
                f"expected a model on Autodiff, which records what is computed, got one on "
                f"{self.backend!r}; make it there, or return (loss, gradients) with jac=True"
            )
        if callable(jac):
            raise OperandError(
                f"expected jac=True or None for a model, got {jac!r}; a function that returns "
                "(loss, gradients), as backward gives them, goes with jac=True"
            )

    @override
    def start(self) -> Vector:
        return self.flat([p.raw for p in self.parameters])

    @override
    def to_user(self, x: Vector) -> Any:
        self.restore(x)
        return self._x0

    @override
    def gradient_to_user(self, g: Vector) -> Any:
        return [Tensor(each.raw, self.backend) for each in self._pieces(g)]

    @override
    def restore(self, x: Vector) -> None:
        for p, piece in zip(self.parameters, self._pieces(x), strict=True):
            p.assign(Tensor(piece.raw, self.backend))

    @override
    def value_and_gradient(self, x: Vector) -> tuple[float, Vector]:
        self.njev += 1
        grads: Mapping[RawTensor, RawTensor]
        if self.jac is True:
            value, grads = pair(self.call(x))
        else:
            value = self._recorded(x)
            with self.as_called():
                grads = backward(value)
        zeros = [grads.get(p.raw) for p in self.parameters]
        return as_number(value), self.flat(
            [
                self._inner.zeros(p.shape, p.dtype) if raw is None else raw
                for p, raw in zip(self.parameters, zeros, strict=True)
            ]
        )

    @override
    def call(self, x: Vector) -> Any:
        self.restore(x)
        self.nfev += 1
        with self.as_called():
            return self._fun(*self.args)

    def _recorded(self, x: Vector) -> Tensor[Any]:
        with cast("Autodiff[Any]", self.backend).tape:
            result = self.call(x)
        check_result(result)
        return cast("Tensor[Any]", result)

    @override
    def jacobian(self, x: Vector, m: int) -> HostArray:
        self.restore(x)
        self.nfev += 1
        holder = _Holder(self.parameters)

        def residuals(held: _Holder) -> Tensor[Any]:
            result = self._fun(*self.args)
            check_result(result)
            return cast("Tensor[Any]", result)

        with self.as_called():
            found = jacobian(residuals, chunk_size=at_once(m, x.size))(holder)
        return np.concatenate([each.numpy().reshape(m, -1) for each in found.values()], axis=1)

    def flat(self, raws: Sequence[RawTensor]) -> Vector:
        """The tensors of all parameters as one vector, in new memory."""
        pieces = [Tensor(raw, self._inner).reshape(-1).astype("float64") for raw in raws]
        return ops.concatenate(pieces)

    def _pieces(self, x: Vector) -> list[Tensor[Any]]:
        pieces: list[Tensor[Any]] = []
        start = 0
        for p in self.parameters:
            piece = x[start : start + p.size]
            pieces.append(piece.reshape(p.shape).astype(p.dtype))
            start += p.size
        return pieces


def at_once(m: int, n: int) -> int:
    """How many gradients of m residuals by n variables are computed at once."""
    return max(1, _TOGETHER // max(m, n))


def objective_of(
    fun: Callable[..., Any], x0: Any, args: object = (), jac: Any = None, hessp: Any = None
) -> Objective:
    """The objective for whatever x0 is."""
    if not callable(cast("object", fun)):
        raise OperandError(
            f"expected a function to minimize, got {fun!r}; pass the function itself, which is "
            "called with points"
        )
    named = isinstance(jac, str) and jac in {"2-point", "3-point"}
    if not (jac is None or isinstance(jac, bool) or callable(jac) or named):
        raise OperandError(
            f"expected jac as None, True, '2-point', '3-point' or a function, got {jac!r}; True "
            "says that fun returns (value, gradient)"
        )
    if jac is False or (named and jac == "2-point"):
        jac = None
    objective: Objective
    parameters, tree = as_parameters(x0), None if is_tensor(x0) else _tensors_in(x0)
    if (
        named
        and jac == "3-point"
        and not (parameters is None and tree is None and not is_tensor(x0))
    ):
        raise OperandError(
            "expected jac='3-point' for a function of NumPy arrays, got tensors, whose derivatives "
            "are exact; leave it out"
        )
    if parameters is not None and hessp is not None:
        raise OperandError(
            "expected no hessp for a model, whose curvature is taken from its gradients, got "
            f"{hessp!r}; leave it out"
        )
    if parameters is not None:
        objective = OfParameters(fun, parameters, args, jac)
    elif is_tensor(x0):
        objective = OfTensors(fun, x0, args, jac, hessp)
    elif tree is not None:
        objective = OfTrees(fun, tree, args, jac, hessp)
    else:
        objective = OfArrays(fun, x0, args, jac, hessp)
    if objective.start().size == 0:
        raise ShapeError("expected x0 with at least one element, got none; there is nothing to fit")
    return objective


def _tensors_in(x0: object) -> Tree | None:
    """A tree of tensors; None for anything else."""
    if isinstance(x0, np.ndarray | float | int):
        return None
    tree = Tree(x0)
    if not tree.leaves or any(leaf.held for leaf in tree.leaves):
        return None
    dtypes = sorted({leaf.tensor.dtype.name for leaf in tree.leaves})
    if len(dtypes) > 1:
        raise DTypeError(
            f"expected x0 of tensors of one dtype, got {', '.join(dtypes)}; convert them with "
            '.astype("float64")'
        )
    return tree


def as_parameters(x0: object) -> Any:
    """A model, or parameters as a list; None for anything else."""
    if isinstance(x0, Module):
        return cast("object", x0)
    if isinstance(x0, Parameter):
        return [x0]
    if isinstance(x0, list | tuple):
        items = cast("Sequence[object]", x0)
        if items and all(isinstance(item, Parameter) for item in items):
            return list(items)
    return None


def _check_floating(x0: Tensor[Any]) -> None:
    if not is_floating(x0.dtype):
        raise DTypeError(
            f'expected x0 of a floating dtype, got {x0.dtype}; convert it with .astype("float64")'
        )
