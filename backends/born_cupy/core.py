"""`CupyCore`: the required operations, where CuPy differs from NumPy."""

from __future__ import annotations

import importlib
import operator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from typing_extensions import override

from born.backend import ArrayBackend, Axis, Operand
from born.dtypes import INTEGRAL, is_half
from born.errors import BackendUnavailableError, DomainError
from born.raw import (
    Array,
    DTypeLike,
    HostArray,
    RawTensor,
    Shape,
    as_dtype,
    float32,
    int64,
    is_floating,
)
from born_cupy import philox
from born_cupy.availability import unavailable_reason
from born_cupy.sources import Source, elementwise, faults, random

if TYPE_CHECKING:
    from born_cupy.compiler import Compiler
    from born_cupy.faults import Faults
    from born_cupy.home import Home
    from born_cupy.launch import Launcher


class CupyCore(ArrayBackend):
    """The operations of `ArrayBackend` on a device, before kernels of its own.

    Attributes:
        device: the number of the device.
        strict: whether faults are raised at once, and scatters add in order.
        home: the device and stream that operations run on.
        faults: what kernels have found wrong with values that the host has not seen.
        compile: from the text of a kernel to something that can be launched.
        launcher: launches kernels.
    """

    def __init__(self, device: int, stream: Any, strict: bool, seed: int) -> None:
        self.device: Final = _number(device)
        reason = unavailable_reason(self.device)
        if reason is not None:
            raise BackendUnavailableError(f"expected CUDA device {device}, got none: {reason}")
        cupy: Any = _module("runtime").cupy
        super().__init__(cupy, seed)
        self.strict: Final = strict
        self.home: Final[Home] = _module("home").Home(self.device, stream)
        with self.home:
            self.faults: Final[Faults] = _module("faults").Faults()
            self.compile: Final[Compiler] = _module("compiler").Compiler(self.device)
            processors: int = cupy.cuda.Device(self.device).attributes["MultiProcessorCount"]
            self.launcher: Final[Launcher] = _module("launch").Launcher(self.compile, processors)

    def here(self) -> Home:
        """Makes the device and stream of this backend current, in a `with` statement."""
        return self.home

    @property
    def stream(self) -> Any:
        """The stream that operations run on."""
        return self.home.stream

    def synchronize(self) -> None:
        """Wait until the device has nothing left to do.

        Raises:
            IndexOutOfRangeError, DomainError: an operation since the last wait was given an
                index, a label or a power that it could not use.
        """
        self.home.synchronize()
        self.faults.examine()

    def extent(self, x: RawTensor) -> tuple[int, int]:
        """The first address of a tensor's memory and the first after it."""
        array = x.array
        start = stop = int(array.data.ptr)
        if array.size:
            reach = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)]
            start += sum(step for step in reach if step < 0)
            stop += sum(step for step in reach if step > 0) + array.itemsize
        return start, stop

    # -- kernels --

    def _flat(self, array: Array) -> Array:
        """The elements one after another in memory, as kernels take them."""
        return self.xp.ascontiguousarray(array)

    def _elementwise(self, name: str, *operands: RawTensor) -> RawTensor:
        """A function of `born_cupy.sources.elementwise`, of tensors of one shape and dtype."""
        arrays = [self._flat(operand.array) for operand in operands]
        result = self.xp.empty(operands[0].shape, operands[0].dtype)
        source = elementwise.elementwise(name, result.dtype)
        self.launcher.elements(source, result.size, *arrays, result, np.int64(result.size))
        return RawTensor(result)

    def _check_range(self, operation: str, values: Array, length: int) -> None:
        """Report integers that are not from 0 to `length - 1`."""
        self.launcher.elements(
            faults.check_range(),
            values.size,
            self._flat(values.astype(int64, copy=False)),
            np.int64(values.size),
            np.int64(length),
            *self.faults.arguments(operation),
        )
        self.faults.pending = True

    def _draw(self, source: Source, count: int, double: bool, *arguments: Any) -> None:
        """Launch a kernel of `born_cupy.sources.random`, and move on past what it draws."""
        if not count:
            return
        with self._generator.bit_generator.lock:  # two threads are not to draw the same
            state = philox.state_of(self._generator, count, double)
            blocks = int(state[0])
            self.launcher.elements(source, blocks, *arguments, np.int64(count), *state)
            philox.skip(self._generator, count, double)

    # -- transfer and random numbers --

    def to_numpy(self, x: RawTensor, /) -> HostArray:
        """Copy to a host array, when everything before it is done.

        Raises:
            IndexOutOfRangeError, DomainError: as for `synchronize`.
        """
        host: HostArray = x.array.get()
        self.faults.examine()
        return host

    def uniform(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        """Draws from [0, 1), made on the device: the numbers that the host would make."""
        wanted = as_dtype(dtype)
        if wanted.kind in INTEGRAL:
            return super().uniform(shape, wanted)
        result = self.xp.empty(shape, wanted)
        self._draw(random.uniform(wanted), result.size, wanted.itemsize == 8, result)
        return RawTensor(result)

    # -- what CuPy has no bfloat16 for --

    def where(self, condition: RawTensor, x: Operand, y: Operand, /) -> RawTensor:
        """x where the condition holds, y elsewhere."""
        a, b = self._operand_arrays("where", x, y)
        dtype = b.dtype if isinstance(y, RawTensor) else a.dtype
        if dtype.kind != "V":
            return super().where(condition, x, y)
        # CuPy would widen to float32; to choose between bits, no arithmetic is needed.
        chosen = super().where(condition, _bits(a), _bits(b))
        return RawTensor(chosen.array.view(dtype))

    def argmax(self, x: RawTensor, /, axis: int | None = None, keepdims: bool = False) -> RawTensor:
        """The index of the first largest element."""
        return super().argmax(_known(x), axis, keepdims)

    def argmin(self, x: RawTensor, /, axis: int | None = None, keepdims: bool = False) -> RawTensor:
        """The index of the first smallest element."""
        return super().argmin(_known(x), axis, keepdims)

    def any(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """Whether any is non-zero."""
        return super().any(_known(x), axis, keepdims)

    def all(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """Whether all are non-zero."""
        return super().all(_known(x), axis, keepdims)

    def logical_not(self, x: RawTensor, /) -> RawTensor:
        """Zero."""
        return super().logical_not(_known(x))

    def _product(self, a: Array, b: Array) -> Array:
        """a @ b of one dtype."""
        # cuBLAS multiplies matrices of halves and adds up in float32. CuPy does not ask it to
        # for a stack of matrices, nor for a product of one element, which it rounds early.
        matrices = a.ndim == b.ndim == 2 and a.shape[0] * b.shape[1] > 1
        if is_half(a.dtype) and matrices and a.shape[1] == b.shape[0]:
            return a.dot(b)
        return super()._product(a, b)

    # -- what CUDA's pow would round, though the result is exact or nearly --

    def pow(self, x: Operand, y: Operand, /) -> RawTensor:
        """x to the power of y; of 1 a copy, of 2 a product and of -1 a quotient.

        CUDA's `pow` is off by a unit in the last place even of (-3)^1. Powers of 1/2 stay with
        it: a square root has other results for -0 and for minus infinity.
        """
        if isinstance(x, RawTensor) and not isinstance(y, RawTensor) and is_floating(x.dtype):
            power = self._weak("power", y, x.dtype)
            if power == 1:
                return self.copy(x)
            if power == -1:
                return self.div(1.0, x)
        return super().pow(x, y)

    # -- what the host would have to wait for --

    def _check_power(self, x: Operand, y: Operand) -> None:
        """Refuse integers to negative powers: of a tensor of powers, when somebody waits."""
        if not isinstance(y, RawTensor):
            super()._check_power(x, y)
        elif isinstance(x, RawTensor) and x.dtype.kind in INTEGRAL and y.dtype.kind == "i":
            self._check_range("pow", y.array, np.iinfo(np.int64).max)

    @override
    def check_label_range(self, labels: RawTensor, classes: int) -> None:
        self._check_range("labels", labels.array, classes)

    def check_rows(self, index: RawTensor, rows: int) -> None:
        """Report integers that name no row of a table, when somebody waits."""
        self._check_range("rows", index.array, rows)


def _module(name: str) -> Any:
    """A module that imports CuPy, which takes time that only who asks for a device has to wait."""
    return importlib.import_module(f"born_cupy.{name}")


def _number(device: int) -> int:
    try:
        number = operator.index(device)
        if number < 0:
            raise ValueError("below zero")
    except (TypeError, ValueError) as error:
        raise DomainError(
            f"expected the number of a CUDA device, got {device!r}; device=0 is the first"
        ) from error
    return number


def _bits(part: Any) -> Operand:
    """The bits of a bfloat16 array or number."""
    bits = part.view(np.uint16)
    return int(bits) if isinstance(part, np.generic) else RawTensor(bits)


def _known(x: RawTensor) -> RawTensor:
    """A bfloat16 tensor in float32, which holds all its values; another as it is."""
    return RawTensor(x.array.astype(float32)) if x.dtype.kind == "V" else x
