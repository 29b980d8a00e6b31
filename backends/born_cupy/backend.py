"""`CupyBackend`: born on NVIDIA GPUs."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from born.backend import OPERATIONS
from born.backend.update import UpdateKernel
from born.fusion import Program
from born.raw import HostArray, RawTensor
from born_cupy.availability import unavailable_reason
from born_cupy.images import CupyImages

_Kind = TypeVar("_Kind", bound=type[CupyImages])

_ALSO_AT_HOME: Final = (
    "synchronize",
    "extent",
    "check_labels",
    "check_rows",
    "global_norm",
    "linear_gradients",
    "from_dlpack",
    "to_dlpack",
)
"""Methods that are no operations and need the device as well."""


def _at_home(kind: _Kind) -> _Kind:
    """A class whose operations each run on its backend's own device and stream."""
    for name in (*OPERATIONS, *_ALSO_AT_HOME):
        setattr(kind, name, _operation(name, getattr(kind, name)))
    return kind


def _operation(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def operation(self: CupyImages, /, *args: Any, **options: Any) -> Any:
        home = self.home
        home.check(name, args)
        try:
            if home.switches:
                with home:
                    result = method(self, *args, **options)
            else:
                result = method(self, *args, **options)
        except MemoryError as error:
            translated = home.out_of_memory(error)
            if translated is error:
                raise
            raise translated from error
        if self.strict:
            with home:
                self.faults.examine()
        return result

    return operation


@_at_home
class CupyBackend(CupyImages):
    """Compute on an NVIDIA GPU with CuPy, and with kernels of its own.

    Operations return before the device has done them; what asks for a value waits:
    `to_numpy`, `item`, `synchronize`, and an index by a mask, whose result has as many
    elements as the mask has ones. On a machine with one device and without a stream of
    its own, a backend runs on CuPy's current stream and costs nothing to get there; else
    each operation makes its device and stream current, and restores those before.

    Whether integers on the device are in range (indices, labels, powers of integers) is
    only known there. An index out of range reads a zero or adds nothing, and no memory
    but the tensor's is touched; the error is raised where somebody waits next.

    Sums, products, and the derivatives of indexing add in an order that is fixed by the
    shapes, except that `index_add` and `scatter_add` of repeated indices add in any order
    unless `strict`. Matrix products are cuBLAS's, which gives the same bits in each run
    on the same device and version as long as one stream is used.

    Updates have the CPU's bits, strict or not: 0 units in the last place, since their
    kernels round every operation as IEEE 754 says. Rules with powers, exponentials or
    logarithms differ by those of CUDA's functions, at most 2 (`exp`, `log`) to 8 (`pow`)
    in float32 and 1 to 2 in float64 (CUDA C++ programming guide, mathematical functions).

    Random numbers are those of the CPU for the same seed: uniform ones made on the
    device, normal ones on the host.

    Args:
        device: the number of the device, from 0; 0 by default.
        stream: a `cupy.cuda.Stream` to run on; by default the one that is current when an
            operation is called.
        strict: raise faults where they happen, though that waits for the device, and add up
            repeated indices in order.
        seed: where the random generator starts; 0 by default.

    Raises:
        BackendUnavailableError: CuPy, the driver or the device is missing; the message
            says which, and what to do.
        DomainError: the device is not a number from 0.
        OperandError: the stream is none, or of another device.
    """

    name = "cupy"

    def __init__(
        self, device: int = 0, stream: Any = None, strict: bool = False, seed: int = 0
    ) -> None:
        super().__init__(device, stream, strict, seed)

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why there is no device to compute on here, or None if there is."""
        return unavailable_reason()

    def compile_update(self, program: Program, dtypes: tuple[np.dtype[Any], ...]) -> UpdateKernel:
        """Compile a traced update rule to one kernel."""
        with self.home:
            update = importlib.import_module("born_cupy.update")
            kernel: UpdateKernel = update.CupyUpdate(program, dtypes, self.home, self.compile)
        return kernel

    def global_norm(self, xs: Sequence[RawTensor]) -> RawTensor:
        """The norm of all elements of all tensors, which stays on the device."""
        module = importlib.import_module("born_cupy.global_norm")
        norm: RawTensor = module.global_norm(xs, self.compile, self.stream)
        return norm

    def prefetch(self, batches: Iterable[Sequence[HostArray]]) -> Generator[list[RawTensor]]:
        """Copy batches to the device, each while the one before it is computed with."""
        transfer = importlib.import_module("born_cupy.transfer")
        uploaded: Generator[list[RawTensor]] = transfer.prefetch(self, batches)
        return uploaded

    def __repr__(self) -> str:
        return f"CupyBackend(device={self.device})"
