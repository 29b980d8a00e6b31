"""How a NumPy-like namespace is reached: random numbers, creation, transfer, dispatch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
from typing_extensions import TypeIs

from born.backend.dlpack import check_device
from born.backend.fused import Backend
from born.backend.protocol import Operand, RandomState, Scalar
from born.errors import (
    DomainError,
    DTypeError,
    OperandError,
    ShapeError,
)
from born.raw import Array, DTypeLike, HostArray, RawTensor, Shape, as_dtype, bool_

INTEGRAL: Final = "iub"  # dtype kinds that no gradient flows through


def is_half(dtype: np.dtype[Any]) -> bool:
    """Whether a floating dtype has two bytes, so that sums and products want float32."""
    return dtype.itemsize == 2


class ArrayBase(Backend):
    """Random state, creation, transfer and dispatch over a namespace `xp`.

    Arithmetic in float16 and bfloat16 that adds up many numbers (sums, matrix
    products) is done in float32 and rounded once.

    Args:
        xp: the namespace.
        seed: where the random generator starts.
    """

    def __init__(self, xp: Any, seed: int = 0) -> None:
        self.xp: Final = xp
        self._ndarray: Final = xp.ndarray
        self.seed(seed)

    # -- random state: drawn on the host, so that one seed gives one model everywhere --

    def seed(self, seed: int) -> None:
        """Start the generator (Philox, counter-based) anew."""
        try:
            self._generator = np.random.Generator(np.random.Philox(operator.index(seed)))
        except (TypeError, ValueError) as error:
            raise DomainError(
                f"expected a non-negative integer seed, got {seed!r}; seed=0 is the default"
            ) from error

    @property
    def random_state(self) -> RandomState:
        """The state of the generator; `set_random_state` continues from it."""
        state = self._generator.bit_generator.state
        inner = {name: [int(word) for word in words] for name, words in state["state"].items()}
        return {
            "bit_generator": "Philox",
            "state": inner,
            "buffer": [int(word) for word in state["buffer"]],
            "buffer_pos": int(state["buffer_pos"]),
            "has_uint32": int(state["has_uint32"]),
            "uinteger": int(state["uinteger"]),
        }

    def set_random_state(self, state: RandomState) -> None:
        """Continue from what `random_state` gave.

        Raises:
            DomainError: it is no such state; the generator is what it was.
        """
        self._generator = self._generator_at(state)

    def check_random_state(self, state: RandomState) -> None:
        """Refuse what `set_random_state` would refuse, changing nothing."""
        self._generator_at(state)

    def _generator_at(self, state: RandomState) -> np.random.Generator:
        bits = np.random.Philox(0)
        try:
            words: Mapping[str, list[int]] = state["state"]
            lengths = ((words["counter"], 4), (words["key"], 2), (state["buffer"], 4))
            if not all(_are_words(listed, length) for listed, length in lengths):
                raise ValueError("not words of 64 bits, as many as there should be")
            limits = (("buffer_pos", 4), ("has_uint32", 1), ("uinteger", 2**32 - 1))
            if not all(_is_natural(state[name], most) for name, most in limits):
                raise ValueError("a number out of range")
            arrays = {name: np.array(words[name], np.uint64) for name in ("counter", "key")}
            restored: Any = {
                **state,
                "state": arrays,
                "buffer": np.array(state["buffer"], np.uint64),
            }
            bits.state = restored
        except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
            raise DomainError(
                f"expected the random state of a Philox generator, got {state!r}; "
                "pass what random_state gave"
            ) from error
        return np.random.Generator(bits)

    def normal(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        """Draws from the standard normal distribution, made on the host."""
        return self._drawn(self._generator.standard_normal, shape, dtype)

    def uniform(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        """Draws from [0, 1), made on the host."""
        return self._drawn(self._generator.random, shape, dtype)

    def _drawn(self, draw: Callable[..., HostArray], shape: Shape, dtype: DTypeLike) -> RawTensor:
        wanted = as_dtype(dtype)
        if wanted.kind in INTEGRAL:
            raise DTypeError(
                f"expected a floating dtype to draw random numbers in, got {wanted}; "
                "draw floats and convert them with .astype"
            )
        drawn = draw(shape, dtype=np.float64 if wanted.itemsize == 8 else np.float32)
        return RawTensor(self.xp.asarray(np.asarray(drawn).astype(wanted, copy=False)))

    # -- creation and transfer --

    def from_numpy(self, array: HostArray) -> RawTensor:
        """Copy a host array."""
        as_dtype(array.dtype)
        return RawTensor(self.xp.array(array, copy=True, order="C"))

    def to_numpy(self, x: RawTensor, /) -> HostArray:
        """Copy to a host array."""
        return np.array(x.array, copy=True, order="C")

    def from_dlpack(self, data: Any) -> RawTensor:
        """Hold an array of another library, on the same device, without a copy.

        Raises:
            OperandError: it is no array with `__dlpack__`, or its library does not share it.
            BackendMismatchError: it is on another device.
            DTypeError: it has a dtype that the namespace or born does not know.
        """
        check_device(data, self._dlpack_device, repr(self))
        try:
            array = self.xp.from_dlpack(data)
        except BufferError as error:
            raise OperandError(
                f"expected an array that its library shares, got a {type(data).__name__} that it "
                f"does not ({error}); detach or copy it first"
            ) from error
        except (RuntimeError, TypeError, ValueError) as error:
            raise DTypeError(
                f"expected an array of a dtype that {self!r} can share, got "
                f"{getattr(data, 'dtype', type(data).__name__)} ({error}); convert it, or hold a "
                "bfloat16 array by its bits: share an int16 view and view that as bfloat16"
            ) from error
        as_dtype(array.dtype)
        return RawTensor(array)

    def to_dlpack(self, x: RawTensor, /, **options: Any) -> Any:
        """A capsule for another library to hold `x` by.

        Raises:
            BufferError: the namespace cannot share the dtype; DLPack asks for this error.
        """
        try:
            return super().to_dlpack(x, **options)
        except BufferError as error:
            if x.dtype.name == "bfloat16":
                error.add_note(
                    "expected a dtype that the array's library shares, got bfloat16; share "
                    'raw.array.view("int16") and view it as bfloat16 there, or convert it first'
                )
            raise

    @cached_property
    def _dlpack_device(self) -> tuple[int, int]:
        """Where the arrays are that this backend makes, in DLPack's numbers."""
        kind, index = self.zeros((1,), bool_).array.__dlpack_device__()
        return int(kind), int(index)

    def full(self, shape: Shape, value: Scalar, dtype: DTypeLike) -> RawTensor:
        """A tensor of one value."""
        wanted = as_dtype(dtype)
        try:
            if wanted.kind in "iu" and value != int(value):
                raise ValueError("not a whole number")
            return RawTensor(self.xp.full(shape, value, wanted))
        except (OverflowError, ValueError) as error:
            raise DTypeError(
                f"expected a value that {wanted} holds, got {value!r}; use another value or dtype"
            ) from error

    def zeros(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        """A tensor of zeros."""
        return RawTensor(self.xp.zeros(shape, as_dtype(dtype)))

    def ones(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        """A tensor of ones."""
        array = self.xp.empty(shape, as_dtype(dtype))
        array.fill(1)  # half a microsecond sooner than the namespace's `ones`
        return RawTensor(array)

    def arange(self, start: Scalar, stop: Scalar, step: Scalar, dtype: DTypeLike) -> RawTensor:
        """Equally spaced numbers."""
        if step == 0:
            raise DomainError("expected a step other than 0, got 0; use step=1")
        return RawTensor(self.xp.arange(start, stop, step).astype(as_dtype(dtype)))

    def eye(self, rows: int, columns: int, dtype: DTypeLike) -> RawTensor:
        """The identity."""
        return RawTensor(self.xp.eye(rows, columns, dtype=as_dtype(dtype)))

    def astype(self, x: RawTensor, /, dtype: DTypeLike) -> RawTensor:
        """Rounded to another dtype."""
        return RawTensor(x.array.astype(as_dtype(dtype)))

    def copy(self, x: RawTensor, /) -> RawTensor:
        """In new, contiguous memory."""
        return RawTensor(x.array.copy(order="C"))

    def assign(self, target: RawTensor, value: RawTensor, /) -> None:
        """Write into memory that exists."""
        if target.shape != value.shape:
            raise ShapeError(
                f"expected a value of shape {target.shape} to assign, got {value.shape}; "
                "reshape it first"
            )
        if target.dtype != value.dtype:
            raise self._mixed("assign", target, value)
        target.array[...] = value.array

    # -- how operations reach the namespace --

    def _called(self, function: Callable[..., Any]) -> str:
        """What errors call a function of the namespace."""
        return function.__name__

    def _wrap(self, array: Array) -> RawTensor:
        """Hold a result; NumPy returns scalars where it should return arrays of no axes."""
        if array.__class__ is not self._ndarray:
            array = self.xp.asarray(array)
        return RawTensor(array)

    def _mixed(self, name: str, x: RawTensor, y: RawTensor) -> DTypeError:
        return DTypeError(
            f"expected one dtype in {name}, got {x.dtype} and {y.dtype}; "
            f'convert one with .astype("{x.dtype}") or .astype("{y.dtype}")'
        )

    def _weak(self, name: str, value: object, dtype: np.dtype[Any]) -> Any:
        """A Python number (or NumPy scalar) as an operand that cannot promote `dtype`."""
        if is_numpy_scalar(value):
            value = value.item()
        if not isinstance(value, bool | int | float):
            raise OperandError(
                f"expected a tensor or a Python number in {name}, got {type(value).__name__}; "
                "make it a tensor with born.tensor(value, backend)"
            )
        if dtype.kind in INTEGRAL and (
            isinstance(value, float) or (dtype == bool_ and not isinstance(value, bool))
        ):
            raise DTypeError(
                f"expected a number that {dtype} holds in {name}, got {value!r}; "
                'convert the tensor first, for example with .astype("float32")'
            )
        # NumPy's rule for weak scalars does not know bfloat16, which would become float32.
        return dtype.type(value) if dtype.kind == "V" else value

    def _arrays(self, name: str, x: Operand, y: Operand) -> tuple[Any, Any]:
        """Two operands ready for a function of the namespace, their dtypes checked."""
        if isinstance(x, RawTensor):
            a = x.array
            if isinstance(y, RawTensor):
                b = y.array
                if a.dtype != b.dtype:
                    raise self._mixed(name, x, y)
                return a, b
            return a, y if y.__class__ is float and a.dtype.kind == "f" else self._weak(
                name, y, a.dtype
            )
        if isinstance(y, RawTensor):
            b = y.array
            return self._weak(name, x, b.dtype), b
        raise OperandError(
            f"expected at least one tensor in {name}, got {x!r} and {y!r}; "
            "use Python's own arithmetic for numbers"
        )

    def _binary(self, function: Callable[..., Array], x: Operand, y: Operand) -> RawTensor:
        name = self._called(function)
        a, b = self._arrays(name, x, y)
        try:
            out = function(a, b)
        except ValueError as error:
            raise misfit(name, a, b, error) from error
        except TypeError as error:
            raise DTypeError(
                f"expected numbers in {name}, got {getattr(a, 'dtype', a)}; "
                'convert with .astype("float32")'
            ) from error
        except OverflowError as error:
            raise DTypeError(
                f"expected a number that fits the tensor's dtype in {name}, got {x!r} and {y!r}; "
                "convert the tensor to a wider dtype"
            ) from error
        if out.__class__ is not self._ndarray:
            out = self.xp.asarray(out)
        return RawTensor(out)

    def _float_unary(self, function: Callable[..., Array], x: RawTensor) -> RawTensor:
        a = x.array
        self._require_floating(self._called(function), a)
        out = function(a)
        if out.__class__ is not self._ndarray:
            out = self.xp.asarray(out)
        return RawTensor(out)

    def _require_floating(self, name: str, array: Array) -> None:
        if array.dtype.kind in INTEGRAL:
            raise DTypeError(
                f"expected a floating dtype in {name}, got {array.dtype}; "
                'convert with .astype("float32")'
            )


def misfit(name: str, a: Any, b: Any, error: Exception) -> ShapeError:
    """The error for operands whose shapes do not broadcast or multiply."""
    shapes = f"{getattr(a, 'shape', ())} and {getattr(b, 'shape', ())}"
    return ShapeError(
        f"expected shapes that fit in {name}, got {shapes} ({error}); "
        "reshape, transpose or index one of them"
    )


def is_numpy_scalar(value: object) -> TypeIs[np.generic[Any]]:
    """Whether a value is one of NumPy's scalars, which count as Python numbers."""
    return isinstance(value, np.generic)


def _are_words(listed: Sequence[object], length: int) -> bool:
    """Whether a list holds so many integers of 64 bits."""
    return len(listed) == length and all(_is_natural(word, 2**64 - 1) for word in listed)


def _is_natural(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
