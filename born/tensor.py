"""`Tensor[B]`, what people compute with."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Self, cast

import numpy as np
from typing_extensions import TypeIs

from born.backend import Axis, Backend, Index, Scalar
from born.backend import B as B
from born.dtypes import DTypeLike, is_floating
from born.errors import DTypeError, OperandError, ShapeError
from born.operands import B2 as B2
from born.operands import ShapeLike, TensorBase, as_shape, check_backend, operand, raw_index
from born.raw import HostArray, RawTensor, Shape

_MOST_SHOWN = 1000  # elements; a larger tensor's repr shows its shape, as reading it may be slow


class Tensor(TensorBase[B]):
    """An array on a backend, with NumPy's operators and methods.

    Two tensors meet in an operation only on the same backend object and with the
    same dtype; Python numbers take the dtype of the tensor beside them. Most
    programs make one with `born.tensor`, `born.zeros` and the like.

    Args:
        raw: the storage.
        backend: what computes with it.

    >>> import born
    >>> from born_numpy import NumpyBackend
    >>> x = born.tensor([[1.0, 2.0], [3.0, 4.0]], NumpyBackend())
    >>> (x @ x + 1).sum(axis=0)
    Tensor([24., 34.], dtype=float32)
    """

    __slots__ = ()

    __array_ufunc__ = None  # NumPy's operators leave the work to these

    # -- what it is --

    @property
    def shape(self) -> Shape:
        """The length of each axis."""
        return self.raw.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.raw.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.raw.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        return self.raw.dtype

    @property
    def device(self) -> str:
        """Where the elements are."""
        return self.raw.device

    @property
    def nbytes(self) -> int:
        """The size of the elements in bytes."""
        return self.raw.nbytes

    @property
    def requires_grad(self) -> bool:
        """Whether tapes record what is computed from this tensor; settable on floating ones."""
        return self.raw.requires_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if wanted and not is_floating(self.dtype):
            raise DTypeError(
                f"expected a floating tensor to require a gradient, got {self.dtype}; "
                'convert it with .astype("float32")'
            )
        self.raw.requires_grad = wanted

    # -- elsewhere --

    def to(self, backend: B2) -> Tensor[B2]:
        """This tensor on another backend, of the same dtype.

        It is a constant there, as `detach` makes one: no gradient passes from one backend
        to the other. Memory is shared where both compute on the same innermost backend,
        as `Autodiff(backend)` and `backend` do, and copied otherwise. On the backend
        where it is, it is returned as it is.

        >>> import born
        >>> from born.autodiff import Autodiff
        >>> from born_numpy import NumpyBackend
        >>> backend = Autodiff(NumpyBackend())
        >>> born.ones(2, NumpyBackend()).to(backend) + born.ones(2, backend)
        Tensor([2., 2.], dtype=float32)
        """
        here: Backend = self.backend
        if here is check_backend(backend):
            return cast("Tensor[B2]", self)
        home, there = here.innermost, backend.innermost
        if home is there:
            return Tensor(RawTensor(self.raw.array), backend)
        return Tensor(there.from_numpy(home.to_numpy(self.raw)), backend)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy off every tape; on another backend if `memo` replaces this one."""
        made = copy.copy(self)
        made.backend = memo.get(id(self.backend), self.backend)
        known = memo.get(id(self.raw))
        if known is None:
            known = _copied(self.raw, self.backend.innermost, made.backend.innermost)
            memo[id(self.raw)] = known
        made.raw = known
        return made

    def numpy(self) -> HostArray:
        """A copy of the elements as a NumPy array, moved from the device if need be."""
        return self.backend.to_numpy(self.raw)

    def item(self) -> float | int | bool:
        """The only element as a Python number.

        Raises:
            ShapeError: there is not exactly one.
        """
        if self.size != 1:
            raise ShapeError(
                f"expected a tensor of one element, got shape {self.shape}; "
                "index or reduce it, or use .numpy()"
            )
        value: float | int | bool = self.backend.to_numpy(self.raw).item()
        return value

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __array__(self, dtype: DTypeLike | None = None, *, copy: bool | None = None) -> HostArray:
        """The elements for NumPy; a device array refuses, as its own library does."""
        return self.raw.__array__(dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        """The memory as a DLPack capsule, without a copy: `torch.from_dlpack(tensor)`."""
        return self.backend.to_dlpack(self.raw, **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        """The DLPack device type and index."""
        return self.raw.__dlpack_device__()

    def __repr__(self) -> str:
        if self.size > _MOST_SHOWN:
            return f"Tensor(shape={self.shape}, dtype={self.dtype}, device={self.device!r})"
        prefix = f"{type(self).__name__}("
        text = np.array2string(self.numpy(), separator=", ", prefix=prefix)
        return f"{prefix}{text}, dtype={self.dtype})"

    # -- gradients --

    def backward(self, *, keep_tape: bool = False) -> None:
        """Add the gradient of this one-element tensor into `grad` of every leaf it depends on.

        It consumes the tape, unless told to keep it for another loss recorded there.
        `born.autodiff.backward` returns the gradients instead.

        Raises:
            TapeError: the backend records nothing, or this tensor is not on its tape.
            ShapeError: this tensor has not exactly one element.
        """
        self.backend.accumulate(self.raw, keep_tape=keep_tape)

    def detach(self) -> Tensor[B]:
        """The same memory as a constant: no tape knows where it came from."""
        return Tensor(RawTensor(self.raw.array), self.backend)

    # -- arithmetic --

    def _of(self, raw: RawTensor) -> Tensor[B]:
        return Tensor(raw, self.backend)

    def __add__(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        return Tensor(self.backend.add(self.raw, operand(self.backend, other)), self.backend)

    def __radd__(self, other: Scalar) -> Tensor[B]:
        return Tensor(self.backend.add(operand(self.backend, other), self.raw), self.backend)

    def __sub__(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        return Tensor(self.backend.sub(self.raw, operand(self.backend, other)), self.backend)

    def __rsub__(self, other: Scalar) -> Tensor[B]:
        return Tensor(self.backend.sub(operand(self.backend, other), self.raw), self.backend)

    def __mul__(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        return Tensor(self.backend.mul(self.raw, operand(self.backend, other)), self.backend)

    def __rmul__(self, other: Scalar) -> Tensor[B]:
        return Tensor(self.backend.mul(operand(self.backend, other), self.raw), self.backend)

    def __truediv__(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        return Tensor(self.backend.div(self.raw, operand(self.backend, other)), self.backend)

    def __rtruediv__(self, other: Scalar) -> Tensor[B]:
        return Tensor(self.backend.div(operand(self.backend, other), self.raw), self.backend)

    def __pow__(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        return Tensor(self.backend.pow(self.raw, operand(self.backend, other)), self.backend)

    def __rpow__(self, other: Scalar) -> Tensor[B]:
        return Tensor(self.backend.pow(operand(self.backend, other), self.raw), self.backend)

    def __matmul__(self, other: Tensor[B]) -> Tensor[B]:
        right = operand(self.backend, other)
        if not isinstance(right, RawTensor):
            raise OperandError(
                f"expected a tensor on the right of @, got {other!r}; use * for a number"
            )
        return Tensor(self.backend.matmul(self.raw, right), self.backend)

    def __neg__(self) -> Tensor[B]:
        return self._of(self.backend.neg(self.raw))

    def __abs__(self) -> Tensor[B]:
        return self._of(self.backend.abs(self.raw))

    # -- comparison and logic --

    def __eq__(self, other: Tensor[B] | Scalar) -> Tensor[B]:  # type: ignore[override]  # elementwise, as in NumPy
        if not _is_comparable(other):
            return NotImplemented  # equal to nothing else, as Python has it
        return self._of(self.backend.equal(self.raw, operand(self.backend, other)))

    def __ne__(self, other: Tensor[B] | Scalar) -> Tensor[B]:  # type: ignore[override]  # elementwise, as in NumPy
        if not _is_comparable(other):
            return NotImplemented
        return self._of(self.backend.not_equal(self.raw, operand(self.backend, other)))

    __hash__ = object.__hash__

    def __lt__(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        return self._of(self.backend.less(self.raw, operand(self.backend, other)))

    def __le__(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        return self._of(self.backend.less_equal(self.raw, operand(self.backend, other)))

    def __gt__(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        return self._of(self.backend.greater(self.raw, operand(self.backend, other)))

    def __ge__(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        return self._of(self.backend.greater_equal(self.raw, operand(self.backend, other)))

    def __and__(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        """Both non-zero (logical, not bitwise)."""
        return self._of(self.backend.logical_and(self.raw, operand(self.backend, other)))

    def __or__(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        """Either non-zero (logical, not bitwise)."""
        return self._of(self.backend.logical_or(self.raw, operand(self.backend, other)))

    def __invert__(self) -> Tensor[B]:
        """Zero (logical, not bitwise)."""
        return self._of(self.backend.logical_not(self.raw))

    # -- functions of each element --

    def abs(self) -> Tensor[B]:
        """|x|."""
        return self._of(self.backend.abs(self.raw))

    def exp(self) -> Tensor[B]:
        """e to the x."""
        return self._of(self.backend.exp(self.raw))

    def log(self) -> Tensor[B]:
        """The natural logarithm."""
        return self._of(self.backend.log(self.raw))

    def sqrt(self) -> Tensor[B]:
        """The square root."""
        return self._of(self.backend.sqrt(self.raw))

    def sign(self) -> Tensor[B]:
        """-1, 0 or 1."""
        return self._of(self.backend.sign(self.raw))

    def sin(self) -> Tensor[B]:
        """The sine."""
        return self._of(self.backend.sin(self.raw))

    def cos(self) -> Tensor[B]:
        """The cosine."""
        return self._of(self.backend.cos(self.raw))

    def tanh(self) -> Tensor[B]:
        """The hyperbolic tangent."""
        return self._of(self.backend.tanh(self.raw))

    def sigmoid(self) -> Tensor[B]:
        """1 / (1 + exp(-x))."""
        return self._of(self.backend.sigmoid(self.raw))

    def relu(self) -> Tensor[B]:
        """max(x, 0)."""
        return self._of(self.backend.relu(self.raw))

    def clamp(self, low: Scalar | None = None, high: Scalar | None = None) -> Tensor[B]:
        """Held between two numbers; None leaves that side open."""
        return self._of(self.backend.clamp(self.raw, low, high))

    def maximum(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        """The larger of the two; NaN where either is."""
        return self._of(self.backend.maximum(self.raw, operand(self.backend, other, "maximum")))

    def minimum(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        """The smaller of the two; NaN where either is."""
        return self._of(self.backend.minimum(self.raw, operand(self.backend, other, "minimum")))

    def isfinite(self) -> Tensor[B]:
        """Whether each element is neither infinite nor NaN."""
        return self._of(self.backend.isfinite(self.raw))

    def where(self, x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
        """Of a bool tensor: x where it holds, y elsewhere."""
        return self._of(
            self.backend.where(
                self.raw, operand(self.backend, x, "where"), operand(self.backend, y, "where")
            )
        )

    def astype(self, dtype: DTypeLike) -> Tensor[B]:
        """Rounded to another dtype; a gradient passes between floating ones."""
        return self._of(self.backend.astype(self.raw, dtype))

    def copy(self) -> Tensor[B]:
        """A copy; a gradient passes."""
        return self._of(self.backend.copy(self.raw))

    # -- reductions --

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
        """The sum along the axes, all by default; of integers and bools, int64."""
        return self._of(self.backend.sum(self.raw, axis, keepdims))

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
        """The arithmetic mean along the axes."""
        return self._of(self.backend.mean(self.raw, axis, keepdims))

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor[B]:
        """The variance along the axes, over n - ddof."""
        return self._of(self.backend.var(self.raw, axis, ddof, keepdims))

    def prod(self, axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
        """The product along the axes."""
        return self._of(self.backend.prod(self.raw, axis, keepdims))

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
        """The largest element along the axes."""
        return self._of(self.backend.max(self.raw, axis, keepdims))

    def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
        """The smallest element along the axes."""
        return self._of(self.backend.min(self.raw, axis, keepdims))

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor[B]:
        """The index of the first largest element, int64."""
        return self._of(self.backend.argmax(self.raw, axis, keepdims))

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor[B]:
        """The index of the first smallest element, int64."""
        return self._of(self.backend.argmin(self.raw, axis, keepdims))

    def any(self, axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
        """Whether any element is non-zero."""
        return self._of(self.backend.any(self.raw, axis, keepdims))

    def all(self, axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
        """Whether every element is non-zero."""
        return self._of(self.backend.all(self.raw, axis, keepdims))

    def cumsum(self, axis: int) -> Tensor[B]:
        """The running sum along an axis."""
        return self._of(self.backend.cumsum(self.raw, axis))

    # -- shape --

    def reshape(self, *shape: ShapeLike) -> Tensor[B]:
        """The same elements in another shape, given as integers or as one tuple."""
        lengths = tuple(length for part in shape for length in as_shape(part))
        return self._of(self.backend.reshape(self.raw, lengths))

    def transpose(self, *axes: int) -> Tensor[B]:
        """The axes in another order; reversed by default."""
        return self._of(self.backend.transpose(self.raw, axes or None))

    @property
    def T(self) -> Tensor[B]:  # noqa: N802  # NumPy's name
        """The axes reversed."""
        return self._of(self.backend.transpose(self.raw))

    def squeeze(self, axis: Axis = None) -> Tensor[B]:
        """Without axes of length one."""
        return self._of(self.backend.squeeze(self.raw, axis))

    def flatten(self) -> Tensor[B]:
        """All elements along one axis."""
        return self._of(self.backend.reshape(self.raw, (-1,)))

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError(
                "expected a tensor with axes to take the length of, got one with none; "
                "use .item() for its element"
            )
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor[B]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Index) -> Tensor[B]:
        return self._of(self.backend.getitem(self.raw, raw_index(index, self.backend)))


def is_tensor(value: object) -> TypeIs[Tensor[Any]]:
    """Whether a value is a tensor, on any backend."""
    return isinstance(value, Tensor)


def _copied(raw: RawTensor, home: Backend, target: Backend) -> RawTensor:
    """A copy on another innermost backend, or the same, with its gradient, off every tape."""
    made = home.copy(raw) if home is target else target.from_numpy(home.to_numpy(raw))
    made.requires_grad = raw.requires_grad
    if raw.grad is not None:
        made.grad = _copied(raw.grad, home, target)
    return made


def _is_comparable(other: object) -> bool:
    """Whether == compares with it element by element, or refuses it; None is never equal."""
    return isinstance(other, Tensor | int | float | np.generic | np.ndarray | list | tuple)
