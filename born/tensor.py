"""`Tensor[B]`, what people compute with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeVar, cast

import numpy as np
from typing_extensions import TypeIs

from born.backend import Axis, Backend, Index, Scalar
from born.backend import B as B
from born.dtypes import DTypeLike, is_floating
from born.errors import DTypeError, OperandError, ShapeError
from born.operands import B2 as B2
from born.operands import (
    ShapeLike,
    TensorBase,
    as_shape,
    check_backend,
    check_stays,
    check_unrecorded,
    operand,
    raw_index,
)
from born.raw import HostArray, RawTensor, Shape

_MOST_SHOWN = 1000  # elements; a larger tensor's repr shows its shape, as reading it may be slow


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _documented(method: _Method, name: str, doc: str | None) -> _Method:
    method.__name__, method.__qualname__, method.__doc__ = name, f"Tensor.{name}", doc
    return method


def _operator(declared: _Method, name: str, doc: str | None = None) -> _Method:
    """An operator typed as another one, by the backend's operation of this name."""

    def method(self: Tensor[B], other: Tensor[B] | Scalar | HostArray) -> Tensor[B]:
        backend = self.backend
        return Tensor(getattr(backend, name)(self.raw, operand(backend, other)), backend)

    return _documented(cast("_Method", method), name, doc)


def _reflected(declared: _Method, name: str) -> _Method:
    """As `_operator`, for a number on the left."""

    def method(self: Tensor[B], other: Scalar) -> Tensor[B]:
        backend = self.backend
        return Tensor(getattr(backend, name)(operand(backend, other), self.raw), backend)

    return _documented(cast("_Method", method), name, None)


def _function(name: str, doc: str | None = None) -> Callable[[Tensor[B]], Tensor[B]]:
    """A method of no arguments."""

    def method(self: Tensor[B]) -> Tensor[B]:
        return Tensor(getattr(self.backend, name)(self.raw), self.backend)

    return _documented(method, name, doc)


def _like(reduction: _Method, name: str, doc: str) -> _Method:
    """A method with the arguments of another reduction."""

    def method(self: Tensor[B], axis: Any = None, keepdims: bool = False) -> Tensor[B]:
        return Tensor(getattr(self.backend, name)(self.raw, axis, keepdims), self.backend)

    return _documented(cast("_Method", method), name, doc)


NUMPY_UFUNCS: Final[dict[str, Callable[..., Any]]] = {}
"""Name of a ufunc -> born's function. `born.ops.interop` fills both."""

NUMPY_FUNCTIONS: Final[dict[str, tuple[Callable[..., Any], int]]] = {}
"""Name of another function -> born's, and the number of arguments by position alike in both."""


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
        check_stays(self.raw, ".to(backend)")
        home, there = here.innermost, backend.innermost
        if home is there:
            return Tensor(self.raw.alias(), backend)
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
        check_stays(self.raw, ".numpy()")
        return self.backend.to_numpy(self.raw)

    def item(self) -> float | int | bool:
        """The only element as a Python number; `ShapeError` if there is not exactly one."""
        if self.size != 1:
            raise ShapeError(
                f"expected a tensor of one element, got shape {self.shape}; "
                "index or reduce it, or use .numpy()"
            )
        check_stays(self.raw, "a Python number")
        value: float | int | bool = self.backend.to_numpy(self.raw).item()
        return value

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def tolist(self) -> Any:
        """The elements as Python numbers, in lists of lists; one number if there are no axes."""
        return self.numpy().tolist()

    def __round__(self, digits: int | None = None) -> float | int:
        """The only element as a Python number, rounded as `round` does."""
        return round(self.item(), digits)

    def __format__(self, spec: str) -> str:
        """The only element by a format such as `.3f`; without one, the same as `str`."""
        return format(self.detach().item(), spec) if spec else str(self)

    def __bool__(self) -> bool:
        return bool(self.detach().item())  # what decides where to go needs no gradient

    def __array__(self, dtype: DTypeLike | None = None, *, copy: bool | None = None) -> HostArray:
        """The elements for NumPy; a device array refuses, as its own library does."""
        check_stays(self.raw, "an array of NumPy's")
        return self.raw.__array__(dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """NumPy's functions of each element, `np.exp(x)`, and its operators with an array left."""
        function = NUMPY_UFUNCS.get(ufunc.__name__)
        if function is None or method != "__call__" or options:
            called = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
            given = "".join(f", {name}=..." for name in options)
            raise OperandError(
                f"expected a function of NumPy's that born has, got np.{called}(...{given}) of a "
                "tensor; use born.ops, whose functions are recorded, or pass x.detach().numpy()"
            )
        return function(*(self._beside(value) for value in inputs))

    def __array_function__(
        self, function: Any, types: Any, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        """NumPy's other functions: `np.sum(x, axis=0)`, `np.linalg.norm(x)`."""
        name = f"{function.__module__}.{function.__name__}".removeprefix("numpy.")
        own, positional = NUMPY_FUNCTIONS.get(name, (None, 0))
        if own is not None and len(args) <= positional and not any(map(_is_foreign, args)):
            first, *others = args
            if isinstance(first, list | tuple):
                first = [self._beside(value) for value in cast("Sequence[object]", first)]
            given = (self._beside(value) for value in (first, *others))
            try:
                return own(*given, **options)
            except OperandError:
                raise
            except TypeError as error:
                if isinstance(error, DTypeError):
                    raise
                raise OperandError(
                    f"expected the arguments of born.ops.{own.__name__} in np.{name} of a tensor, "
                    f"got others: {error}; use born.ops.{own.__name__}"
                ) from error
        if name in ("shape", "ndim", "size"):
            return getattr(args[0], name)
        check_unrecorded([*args, *options.values()])
        return function(*map(_as_arrays, args), **{k: _as_arrays(v) for k, v in options.items()})

    def _beside(self, value: object) -> Any:
        """What NumPy was given beside this tensor: arrays as tensors of its backend."""
        if isinstance(value, np.ndarray):
            return Tensor(self.backend.from_numpy(cast("HostArray", value)), self.backend)
        return value

    def __dlpack__(self, **options: Any) -> Any:
        """The memory as a DLPack capsule, without a copy: `torch.from_dlpack(tensor)`."""
        check_stays(self.raw, "memory for another library")
        return self.backend.to_dlpack(self.raw, **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        """The DLPack device type and index."""
        return self.raw.__dlpack_device__()

    def __repr__(self) -> str:
        if self.size > _MOST_SHOWN:
            return f"Tensor(shape={self.shape}, dtype={self.dtype}, device={self.device!r})"
        prefix = f"{type(self).__name__}("
        text = np.array2string(self.detach().numpy(), separator=", ", prefix=prefix)
        return f"{prefix}{text}, dtype={self.dtype})"

    # -- gradients --

    def backward(self, *, keep_tape: bool = False) -> None:
        """Add the gradient of this one-element tensor into `grad` of every leaf it depends on.

        It frees the records that it walks, unless told to keep them for another loss.
        `born.autodiff.backward` returns the gradients instead.

        Raises:
            TapeError: the backend records nothing, or this tensor is not on its tape.
            ShapeError: this tensor has not exactly one element.
        """
        self.backend.accumulate(self.raw, keep_tape=keep_tape)

    def detach(self) -> Tensor[B]:
        """The same memory as a constant: no tape knows where it came from."""
        return Tensor(self.raw.alias(), self.backend)

    # -- arithmetic --

    def _of(self, raw: RawTensor) -> Tensor[B]:
        return Tensor(raw, self.backend)

    def __add__(self, other: Tensor[B] | Scalar | HostArray) -> Tensor[B]:
        return Tensor(self.backend.add(self.raw, operand(self.backend, other)), self.backend)

    def __radd__(self, other: Scalar) -> Tensor[B]:
        return Tensor(self.backend.add(operand(self.backend, other), self.raw), self.backend)

    __sub__ = _operator(__add__, "sub")
    __mul__ = _operator(__add__, "mul")
    __truediv__ = _operator(__add__, "div")
    __floordiv__ = _operator(__add__, "floor_divide")
    __mod__ = _operator(__add__, "remainder")
    __pow__ = _operator(__add__, "pow")
    __rsub__ = _reflected(__radd__, "sub")
    __rmul__ = _reflected(__radd__, "mul")
    __rtruediv__ = _reflected(__radd__, "div")
    __rfloordiv__ = _reflected(__radd__, "floor_divide")
    __rmod__ = _reflected(__radd__, "remainder")
    __rpow__ = _reflected(__radd__, "pow")
    __neg__ = _function("neg")
    __abs__ = _function("abs")

    def __matmul__(self, other: Tensor[B]) -> Tensor[B]:
        right = operand(self.backend, other)
        if not isinstance(right, RawTensor):
            raise OperandError(
                f"expected a tensor on the right of @, got {other!r}; use * for a number"
            )
        return Tensor(self.backend.matmul(self.raw, right), self.backend)

    def __rmatmul__(self, other: HostArray) -> Tensor[B]:
        left = operand(self.backend, other)
        if not isinstance(left, RawTensor):
            raise OperandError(
                f"expected a tensor on the left of @, got {other!r}; use * for a number"
            )
        return Tensor(self.backend.matmul(left, self.raw), self.backend)

    # -- comparison and logic --

    def __eq__(self, other: Tensor[B] | Scalar | HostArray) -> Tensor[B]:  # type: ignore[override]  # elementwise, as in NumPy
        if not _is_comparable(other):
            return NotImplemented  # equal to nothing else, as Python has it
        return self._of(self.backend.equal(self.raw, operand(self.backend, other)))

    def __ne__(self, other: Tensor[B] | Scalar | HostArray) -> Tensor[B]:  # type: ignore[override]  # elementwise, as in NumPy
        if not _is_comparable(other):
            return NotImplemented
        return self._of(self.backend.not_equal(self.raw, operand(self.backend, other)))

    __hash__ = object.__hash__

    __lt__ = _operator(__add__, "less")
    __le__ = _operator(__add__, "less_equal")
    __gt__ = _operator(__add__, "greater")
    __ge__ = _operator(__add__, "greater_equal")
    __and__ = _operator(__add__, "logical_and", "Both non-zero (logical, not bitwise).")
    __or__ = _operator(__add__, "logical_or", "Either non-zero (logical, not bitwise).")
    __invert__ = _function("logical_not", "Zero (logical, not bitwise).")

    # -- functions of each element --

    abs = _function("abs", "|x|.")
    exp = _function("exp", "e to the x.")
    log = _function("log", "The natural logarithm.")
    expm1 = _function("expm1", "exp(x) - 1, exact near zero.")
    log1p = _function("log1p", "log(1 + x), exact near zero.")
    sqrt = _function("sqrt", "The square root.")
    sign = _function("sign", "-1, 0 or 1.")
    sin = _function("sin", "The sine.")
    cos = _function("cos", "The cosine.")
    tanh = _function("tanh", "The hyperbolic tangent.")
    erf = _function("erf", "The error function.")
    sigmoid = _function("sigmoid", "1 / (1 + exp(-x)).")
    softplus = _function("softplus", "log(1 + exp(x)), without overflow.")
    relu = _function("relu", "max(x, 0).")
    isfinite = _function("isfinite", "Whether each element is neither infinite nor NaN.")
    copy = _function("copy", "A copy; a gradient passes.")

    def clamp(self, low: Scalar | None = None, high: Scalar | None = None) -> Tensor[B]:
        """Held between two numbers; None leaves that side open."""
        return self._of(self.backend.clamp(self.raw, low, high))

    def maximum(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        """The larger of the two; NaN where either is."""
        return self._of(self.backend.maximum(self.raw, operand(self.backend, other, "maximum")))

    def minimum(self, other: Tensor[B] | Scalar) -> Tensor[B]:
        """The smaller of the two; NaN where either is."""
        return self._of(self.backend.minimum(self.raw, operand(self.backend, other, "minimum")))

    def where(self, x: Tensor[B] | Scalar, y: Tensor[B] | Scalar) -> Tensor[B]:
        """Of a bool tensor: x where it holds, y elsewhere."""
        return self._of(
            self.backend.where(
                self.raw, operand(self.backend, x, "where"), operand(self.backend, y, "where")
            )
        )

    clip = clamp

    def round(self, decimals: int = 0) -> Tensor[B]:
        """Rounded to so many decimals, to even where two are as near; its gradient is zero."""
        return _function_of("round")(self, decimals)

    def astype(self, dtype: DTypeLike) -> Tensor[B]:
        """Rounded to another dtype; a gradient passes between floating ones."""
        return self._of(self.backend.astype(self.raw, dtype))

    # -- reductions --

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor[B]:
        """The sum along the axes, all by default; of integers and bools, int64."""
        return self._of(self.backend.sum(self.raw, axis, keepdims))

    mean = _like(sum, "mean", "The arithmetic mean along the axes.")
    prod = _like(sum, "prod", "The product along the axes.")
    max = _like(sum, "max", "The largest element along the axes.")
    min = _like(sum, "min", "The smallest element along the axes.")
    any = _like(sum, "any", "Whether any element is non-zero.")
    all = _like(sum, "all", "Whether every element is non-zero.")

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor[B]:
        """The index of the first largest element, int64."""
        return self._of(self.backend.argmax(self.raw, axis, keepdims))

    argmin = _like(argmax, "argmin", "The index of the first smallest element, int64.")

    def var(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor[B]:
        """The variance along the axes, over n - ddof."""
        return self._of(self.backend.var(self.raw, axis, ddof, keepdims))

    def std(self, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor[B]:
        """The standard deviation along the axes, over n - ddof."""
        return self._of(self.backend.std(self.raw, axis, ddof, keepdims))

    def cumsum(self, axis: int | None = None) -> Tensor[B]:
        """The running sum along an axis, or of all elements in one row."""
        return _function_of("cumsum")(self, axis)

    def cumprod(self, axis: int | None = None) -> Tensor[B]:
        """The running product along an axis, or of all elements in one row."""
        return _function_of("cumprod")(self, axis)

    # -- order --

    def argsort(self, axis: int | None = -1) -> Tensor[B]:
        """The places of the elements in ascending order along an axis, int64."""
        return _function_of("argsort")(self, axis)

    def sort(self, axis: int | None = -1) -> Tensor[B]:
        """The elements in ascending order along an axis; NumPy's writes in place."""
        return _function_of("sort")(self, axis)

    def searchsorted(self, values: Tensor[B] | Scalar, side: str = "left") -> Tensor[B]:
        """Where values would stand in this sorted vector, int64."""
        return _function_of("searchsorted")(self, values, side)

    # -- shape --

    def reshape(self, *shape: ShapeLike) -> Tensor[B]:
        """The same elements in another shape, given as integers or as one tuple."""
        lengths = tuple(length for part in shape for length in as_shape(part))
        return self._of(self.backend.reshape(self.raw, lengths))

    def transpose(self, *axes: int | Sequence[int]) -> Tensor[B]:
        """The axes in another order, given as integers or as one tuple; reversed by default."""
        order: Any = axes[0] if len(axes) == 1 and isinstance(axes[0], tuple | list) else axes
        return self._of(self.backend.transpose(self.raw, order or None))

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

    ravel = flatten

    def swapaxes(self, axis1: int, axis2: int) -> Tensor[B]:
        """With two axes exchanged."""
        return _function_of("swapaxes")(self, axis1, axis2)

    def repeat(self, repeats: int | Sequence[int], axis: int | None = None) -> Tensor[B]:
        """Each element, or slice along an axis, repeated."""
        return _function_of("repeat")(self, repeats, axis)

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor[B]:
        """The diagonals of two axes, in a new axis at the end."""
        return _function_of("diagonal")(self, offset, axis1, axis2)

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor[B]:
        """The sum of each diagonal."""
        return _function_of("trace")(self, offset, axis1, axis2)

    def __len__(self) -> int:
        if not self.shape:
            raise OperandError(
                "expected a tensor with axes to take the length of, got one with none; "
                "use .item() for its element"
            )
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor[B]]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Index) -> Tensor[B]:
        return self._of(self.backend.getitem(self.raw, raw_index(index, self.backend)))

    if not TYPE_CHECKING:  # type checkers refuse it without a method

        def __setitem__(self, index: object, value: object) -> NoReturn:
            raise OperandError(
                "expected to read a tensor, got an assignment to some of its elements; tensors do "
                "not change in place: make another one with ops.where(mask, value, x), "
                "ops.index_add or ops.concatenate, or change the array before born.tensor(array)"
            )


def _function_of(name: str) -> Callable[..., Tensor[Any]]:
    """The function of this name in `born.ops`, which is a floor above and entered it."""
    return NUMPY_FUNCTIONS[name][0]


def is_tensor(value: object) -> TypeIs[Tensor[Any]]:
    """Whether a value is a tensor, on any backend."""
    return isinstance(value, Tensor)


def _is_foreign(value: object) -> bool:
    """Whether an array is of a kind that no tensor has, such as texts beside heights."""
    return isinstance(value, np.ndarray) and cast("HostArray", value).dtype.kind in "OSTUMmc"


def _as_arrays(value: object) -> Any:
    """Arrays for tensors, in lists too."""
    if isinstance(value, list | tuple):
        sequence = cast("list[object] | tuple[object, ...]", value)
        return type(sequence)([_as_arrays(each) for each in sequence])
    return np.asarray(value) if is_tensor(value) else value


def _copied(raw: RawTensor, home: Backend, target: Backend) -> RawTensor:
    """A copy on another innermost backend, or the same, with its gradient, off every tape."""
    check_stays(raw, "a deep copy")
    made = home.copy(raw) if home is target else target.from_numpy(home.to_numpy(raw))
    made.requires_grad = raw.requires_grad
    made.name = raw.name
    if raw.grad is not None:
        made.grad = _copied(raw.grad, home, target)
    return made


def _is_comparable(other: object) -> bool:
    """Whether == compares with it element by element, or refuses it; None is never equal."""
    return isinstance(other, Tensor | int | float | np.generic | np.ndarray | list | tuple)
