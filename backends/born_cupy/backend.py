"""`CupyBackend`: born on NVIDIA GPUs."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from typing_extensions import override

from born.backend import OPERATIONS, ArrayBackend
from born.backend.arrays.random import below_one
from born.backend.coded_update import CodedUpdate, is_coded
from born.backend.update import GroupUpdate, Scalars, UpdateKernel
from born.dtypes import INTEGRAL, DTypeLike, as_dtype
from born.errors import BackendUnavailableError, DomainError
from born.fusion import GroupProgram, Program
from born.fusion.codec import BLOCK
from born.raw import HostArray, RawTensor, Shape
from born_cupy import entry
from born_cupy.compiler import Compiler
from born_cupy.device import DeviceContext, cupy
from born_cupy.device_errors import DeviceErrors
from born_cupy.elementwise import CupyElementwise
from born_cupy.fused import CupyFused
from born_cupy.images import CupyImages
from born_cupy.indexing import CupyIndexing
from born_cupy.kernels import coded, random
from born_cupy.kernels.source import THREADS
from born_cupy.linear import CupyLinear
from born_cupy.network import CupyNetwork
from born_cupy.reduction import CupyReductions
from born_cupy.staged import CupyGroup, CupyStages, sum_of_squares
from born_cupy.transfer import Fetch, prefetch
from born_cupy.update import CupyUpdate

_Class = TypeVar("_Class", bound="type[CupyBackend]")
_Method = Callable[..., Any]

_ALSO_ON_DEVICE: Final = (
    "synchronize",
    "fetch",
    "extent",
    "fused",
    "check_labels",
    "check_label_range",
    "check_rows",
    "assembled",
    "decode_slot",
    "encode_slot",
    "round_stochastically",
    "global_norm",
    "linear_gradients",
    "batch_norm_gradients",
    "recurrence_gradients",
    "layer_norm_gradients",
    "conv2d_gradients",
    "attention_gradients",
    "from_dlpack",
    "to_dlpack",
)
"""Methods that are not operations of the contract, and need the device as well."""


def _on_device(kind: _Class) -> _Class:
    """A class whose operations each run on its backend's device and stream."""
    for name in (*OPERATIONS, *_ALSO_ON_DEVICE):
        setattr(kind, name, _operation_on_device(name, getattr(kind, name)))
    return kind


def _operation_on_device(name: str, method: _Method) -> _Method:
    @functools.wraps(method)
    def operation(self: CupyBackend, /, *args: Any, **options: Any) -> Any:
        context = self.context
        context.check_arrays(name, args)
        try:
            if context.switches:
                with context:
                    result = method(self, *args, **options)
            else:
                result = method(self, *args, **options)
        except MemoryError as error:
            context.check_memory(error)
            raise
        if self.strict:
            with context:
                self.errors.raise_reported()
        return result

    return operation


@_on_device
class CupyBackend(
    CupyElementwise,
    CupyFused,
    CupyReductions,
    CupyIndexing,
    CupyLinear,
    CupyNetwork,
    CupyImages,
    ArrayBackend,
):
    """Compute on an NVIDIA GPU with CuPy, and with kernels of its own.

    Operations return before the device has done them; what asks for a value waits: `to_numpy`,
    `item`, `synchronize`, and an index by a mask, whose result has as many elements as the mask
    has ones. On a machine with one device, a backend without a stream runs on CuPy's current
    one; else each operation makes its device and stream current, and restores those before.

    Whether integers on the device are in range (indices, labels, powers of integers) is known
    only there. An index out of range reads a zero or adds nothing, and the error is raised
    where somebody waits next.

    Sums, products, and the derivatives of indexing add in an order that is fixed by the
    shapes, except that `index_add` and `scatter_add` of repeated indices add in any order
    unless `strict`. Matrix products are cuBLAS's, which gives the same bits in each run
    on the same device and version as long as one stream is used.

    Updates have the CPU's bits, strict or not, since their kernels round every operation as
    IEEE 754 says. Rules with powers, exponentials or logarithms differ by those of CUDA's
    functions, at most 2 (`exp`, `log`) to 8 (`pow`) units in the last place in float32 and 1 to
    2 in float64 (CUDA C++ programming guide, mathematical functions).

    Random numbers are those of the CPU for the same seed: uniform ones made on the
    device, normal ones on the host.

    Args:
        device: the number of the device, from 0; 0 by default.
        stream: a `cupy.cuda.Stream` of that device to run on; by default the one that is
            current when an operation is called.
        strict: raise faults where they happen, though that waits for the device, and add up
            repeated indices in order.
        seed: where the random generator starts; 0 by default.

    Raises:
        BackendUnavailableError: CuPy, the driver or the device is missing.
    """

    name = "cupy"

    def __init__(
        self, device: int = 0, stream: Any = None, strict: bool = False, seed: int = 0
    ) -> None:
        self.device: Final = _device_number(device)
        reason = entry.unavailable_reason(self.device)
        if reason is not None:
            raise BackendUnavailableError(f"expected CUDA device {device}, got none: {reason}")
        super().__init__(cupy, seed)
        self.strict = strict
        self.context = DeviceContext(self.device, stream)
        with self.context:
            self.errors = DeviceErrors()
            self.compile = Compiler(self.device)

    @override
    def _options(self) -> dict[str, Any]:
        return {"device": self.device, "strict": self.strict}  # a stream stays in its process

    @classmethod
    @override
    def unavailable_reason(cls) -> str | None:
        return entry.unavailable_reason()

    @property
    def stream(self) -> Any:
        """The stream that operations run on."""
        return self.context.stream

    @override
    def synchronize(self) -> None:
        """Wait until the device has nothing left to do; raise what operations have reported."""
        self.context.synchronize()
        self.errors.raise_reported()

    @override
    def extent(self, x: RawTensor) -> tuple[int, int]:
        array = x.array
        start = stop = int(array.data.ptr)
        if array.size:
            reach = [(n - 1) * step for n, step in zip(array.shape, array.strides, strict=True)]
            start += sum(step for step in reach if step < 0)
            stop += sum(step for step in reach if step > 0) + array.itemsize
        return start, stop

    @override
    def to_numpy(self, x: RawTensor, /) -> HostArray:
        """Copy to a host array, after a wait that raises as `synchronize` does."""
        host: HostArray = x.array.get()
        self.errors.raise_reported()
        return host

    @override
    def fetch(self, x: RawTensor, /) -> Fetch:
        return Fetch(x.array, self.stream)

    @override
    def uniform(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        wanted = as_dtype(dtype)
        if wanted.kind in INTEGRAL:
            return super().uniform(shape, wanted)
        # Made on the device: the numbers that the host would make.
        result = self.xp.empty(shape, wanted)
        self._draw(random.uniform(wanted), result.size, wanted.itemsize == 8, result)
        return below_one(RawTensor(result))

    @override
    def prefetch(self, batches: Iterable[Sequence[HostArray]]) -> Generator[list[RawTensor]]:
        return prefetch(self.context, batches)

    # -- state in one byte an element: CuPy's own kernels would take subnormal numbers for zero --

    @override
    def decode_slot(self, codes: RawTensor, codec: str, x: RawTensor) -> None:
        self._launch(coded.decode(codec), x.size, codes.array, x.array, x.size)

    @override
    def encode_slot(
        self, x: RawTensor, codec: str, codes: RawTensor, key: int | None = None
    ) -> None:
        blocks, chance = -(-x.size // BLOCK), (np.uint32(key or 0), np.int32(key is None))
        arguments = (x, codes.array, x.size, *chance)
        self._launch_blocks(coded.encode(codec), blocks, THREADS, arguments)

    @override
    def round_stochastically(self, x: RawTensor, /, dtype: str, key: int) -> RawTensor:
        result = self.xp.empty(x.shape, x.dtype)
        source = coded.round_stochastically(dtype)
        self._launch(source, x.size, x, result, x.size, np.uint32(key))
        return RawTensor(result)

    @override
    def compile_update(self, program: Program, dtypes: tuple[np.dtype[Any], ...]) -> UpdateKernel:
        if program.staged and is_coded(program, dtypes):
            return CodedUpdate(self, program, dtypes, self.compile_update)
        if program.staged and program.indexed:
            return super().compile_update(program, dtypes)
        with self.context:
            if program.staged:
                return CupyStages(self, program, dtypes, self.context, self.compile)
            return CupyUpdate(program, dtypes, self.context, self.compile)

    @override
    def begin_group(
        self, program: GroupProgram, slots: Sequence[RawTensor], scalars: Scalars
    ) -> GroupUpdate:
        return CupyGroup(program, slots, scalars, self.context, self.compile)

    @override
    def global_norm(self, xs: Sequence[RawTensor]) -> RawTensor:
        return self.sqrt(sum_of_squares(self, xs, self.context, self.compile))

    def __repr__(self) -> str:
        return f"CupyBackend(device={self.device})"


def _device_number(device: int) -> int:
    try:
        number = operator.index(device)
        if number < 0:
            raise ValueError("below zero")
    except (TypeError, ValueError) as error:
        raise DomainError(
            f"expected the number of a CUDA device, got {device!r}; device=0 is the first"
        ) from error
    return number
