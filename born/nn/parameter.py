"""`Parameter`, a tensor that training changes, and `Buffer`, one that is saved but not trained."""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np

from born.backend import B
from born.backend.recomputing import is_recomputing
from born.dtypes import is_floating
from born.errors import (
    BackendMismatchError,
    DTypeError,
    GradientError,
    OperandError,
    ParameterError,
    ShapeError,
)
from born.operands import check_stays
from born.raw import HostArray, RawTensor
from born.tensor import Tensor


class Held(Tensor[B]):
    """A tensor that a module keeps under a name: a `Parameter` or a `Buffer`."""

    __slots__ = ("_name",)

    purpose: ClassVar = "moved"  # what becomes of it, beside being saved
    _kind: ClassVar = "tensor"

    def __init__(self, tensor: Tensor[B], name: str = "") -> None:
        label = _label(self._kind, name)
        if not isinstance(cast("object", tensor), Tensor):
            raise ParameterError(
                f"expected a born.Tensor{label}, got {type(tensor).__name__}; "
                "make one with born.tensor(data, backend)"
            )
        if tensor.raw.node is not None:
            # Its gradient would flow on to what it was computed from and not stay here.
            raise ParameterError(
                f"expected a tensor that no tape has recorded{label}, got a recorded result; "
                "take .detach() of it, or make it before recording starts"
            )
        super().__init__(tensor.raw, tensor.backend)
        self.name = name

    @property
    def name(self) -> str:
        """What error messages and checkpoints call it."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = self.raw.name = name

    @property
    def tensor(self) -> Tensor[B]:
        """It as a plain tensor over the same storage."""
        return Tensor(self.raw, self.backend)

    def assign(self, value: Tensor[B] | HostArray) -> None:
        """Write a value into its memory: optimizers and modules go on holding it.

        It is not recorded. A backward pass that needs the value from before is a `TapeError`.
        Where `checkpointed` computes a function again, nothing is written again.

        Args:
            value: a tensor on its backend, or a NumPy array, of its shape and dtype.

        Raises:
            ShapeError: another shape.
            DTypeError: another dtype.
            BackendMismatchError: a tensor of another backend.
            OperandError: neither a tensor nor an array.
            ParameterError: its array is read-only.

        >>> scale = nn.Parameter(born.tensor([2.0, 4.0], backend))
        >>> scale.assign(scale * 0.5)
        >>> scale.numpy()
        array([1., 2.], dtype=float32)
        """
        expected = f"expected a value of shape {self.shape} and dtype {self.dtype}"
        expected += self._label()
        if not isinstance(cast("object", value), Tensor | np.ndarray):
            raise OperandError(
                f"{expected}, got {type(value).__name__}; make it a tensor with born.tensor"
            )
        if value.shape != self.shape:
            raise ShapeError(f"{expected}, got shape {value.shape}; reshape or broadcast it")
        if value.dtype != self.dtype:
            raise DTypeError(f"{expected}, got {value.dtype}; convert it with .astype")
        if not getattr(self.raw.array.flags, "writeable", True):
            raise ParameterError(f"{expected} for an array that can be written; copy it first")
        inner = self.backend.innermost
        if not isinstance(value, Tensor):
            if is_recomputing():
                return
            inner.assign(self.raw, inner.from_numpy(value))
            return
        if value.backend is not self.backend:
            raise BackendMismatchError(
                f"{expected} on {self.backend!r}, got one on {value.backend!r}; "
                f"move it with .to({self._kind}.backend)"
            )
        check_stays(value.raw, f"{type(self).__name__}.assign")
        if is_recomputing():
            return
        # Copied first: it may be a view of the same memory, such as its transpose.
        inner.assign(self.raw, inner.copy(value.raw))

    def _label(self) -> str:
        return _label(self._kind, self.name)

    def _shown(self, *more: str) -> str:
        name = f"{self.name!r}, " if self.name else ""
        details = "".join(f", {each}" for each in more)
        return f"{type(self).__name__}({name}shape={self.shape}, dtype={self.dtype}{details})"


class Parameter(Held[B]):
    """A tensor that training changes, usable wherever a tensor is.

    A tape records what is computed from it.

    Args:
        tensor: its first value, of a floating dtype. The parameter shares its storage, so
            updates of the parameter are seen through it.
        name: what error messages and checkpoints call it. A module fills an empty name
            with the path at which it first lists the parameter.

    Raises:
        ParameterError: `tensor` is not a tensor, or is a result that a tape has recorded.
        DTypeError: its dtype cannot carry a gradient.

    >>> weight = Parameter(born.zeros((2, 3), backend), "weight")
    >>> weight.name, weight.shape, weight.requires_grad, weight.grad
    ('weight', (2, 3), True, None)
    """

    __slots__ = ()

    purpose = "trained"
    _kind = "parameter"

    def __init__(self, tensor: Tensor[B], name: str = "") -> None:
        if isinstance(cast("object", tensor), Tensor) and not is_floating(tensor.dtype):
            raise DTypeError(
                f"expected a floating dtype{_label(self._kind, name)}, got {tensor.dtype}; "
                'only floats carry gradients: convert with .astype("float32")'
            )
        super().__init__(tensor, name)
        self.raw.requires_grad = True

    @property
    def grad(self) -> Tensor[B] | None:
        """The gradient that `Tensor.backward` has accumulated, or None.

        Set it to one computed elsewhere, of the parameter's shape, dtype and backend, or to None.
        """
        gradient = self.raw.grad
        return None if gradient is None else Tensor(gradient, self.backend)

    @grad.setter
    def grad(self, gradient: Tensor[B] | None) -> None:
        self.raw.grad = None if gradient is None else self._checked_gradient(gradient)

    def zero_grad(self) -> None:
        """Forget the accumulated gradient.

        >>> bias = Parameter(born.zeros((2,), backend))
        >>> bias.grad = born.ones((2,), bias.backend)
        >>> bias.zero_grad()
        >>> bias.grad is None
        True
        """
        self.raw.grad = None

    def _checked_gradient(self, gradient: Tensor[B]) -> RawTensor:
        expected = (
            f"expected a gradient of shape {self.shape} and dtype {self.dtype}{self._label()}"
        )
        if not isinstance(cast("object", gradient), Tensor):
            raise GradientError(
                f"{expected}, got {type(gradient).__name__}; make it a tensor with born.tensor"
            )
        if gradient.shape != self.shape or gradient.dtype != self.dtype:
            raise GradientError(
                f"{expected}, got shape {gradient.shape} and dtype {gradient.dtype}; "
                "a gradient has the shape and the dtype of its parameter"
            )
        if gradient.backend is not self.backend:
            raise GradientError(
                f"{expected} on {self.backend!r}, got one on {gradient.backend!r}; "
                "make it on the parameter's own backend"
            )
        return gradient.raw

    def __repr__(self) -> str:
        return self._shown() if self.requires_grad else self._shown("frozen")


class Buffer(Held[B]):
    """A tensor that a module saves and moves, but does not train, such as a running mean.

    It is in the module's `state_dict` and in its checkpoints, and not among its `parameters`:
    no optimizer gets it, and no tape records what is computed from it.

    Args:
        tensor: its first value, of any dtype; the buffer shares its storage.
        name: what error messages and checkpoints call it, as for `Parameter`.

    Raises:
        ParameterError: `tensor` is not a tensor, or is a result that a tape has recorded.

    >>> from born.backend import B
    >>> class Counter(nn.Module[B]):
    ...     def __init__(self, backend: B) -> None:
    ...         self.calls = Buffer(born.zeros((), backend, dtype="int64"))
    ...
    ...     def forward(self, x: born.Tensor[B]) -> born.Tensor[B]:
    ...         self.calls.assign(self.calls + 1)
    ...         return x
    >>> counter = Counter(backend)
    >>> x = counter(counter(born.ones((2,), backend)))
    >>> counter.parameters(), counter.state_dict()["calls"].item()
    ([], 2)
    """

    __slots__ = ()

    _kind = "buffer"

    def __init__(self, tensor: Tensor[B], name: str = "") -> None:
        super().__init__(tensor, name)
        self.raw.requires_grad = False

    def __repr__(self) -> str:
        return self._shown()


def _label(kind: str, name: str) -> str:
    return f" for {kind} {name!r}" if name else ""
