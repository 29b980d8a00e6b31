"""The simulator's compiler and loader: a module's code is its text, run by `host`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from born_cupy.kernels import Source
from born_cupy.kernels.source import PRELUDE
from tests.simulator import host
from tests.simulator.arrays import ndarray
from tests.simulator.machine import (
    SHARED_MEMORY,
    CUDARuntimeError,
    Stream,
    broken_fences,
    current_device,
    get_current_stream,
)

_MOST_SHUFFLED: Final = 4096
"""Blocks that are run in an order of their own, other than the last launch's."""


class NVRTCError(RuntimeError):
    """What the compiler refuses; the simulator's refuses nothing before a kernel is loaded."""


class Nvrtc:
    """The names of CuPy's binding of NVRTC."""

    NVRTCError = NVRTCError

    def getVersion(self) -> tuple[int, int]:
        return 0, 0

    def getSupportedArchs(self) -> tuple[int, ...]:
        return 80, 90

    def createProgram(
        self, src: str, name: str, headers: Sequence[str], include_names: Sequence[str]
    ) -> str:
        return src

    def compileProgram(self, prog: str, options: Sequence[str]) -> None:
        assert "--gpu-architecture=sm_90" in options

    def getCUBIN(self, prog: str) -> bytes:
        return prog.encode()

    def getPTX(self, prog: str) -> bytes:
        raise NVRTCError("the simulator's device has its own architecture")

    def getProgramLog(self, prog: str) -> str:
        return ""

    def destroyProgram(self, prog: str) -> None:
        return


class Module:
    """Code on the device."""

    def __init__(self) -> None:
        self._text = ""

    def load(self, cubin: bytes) -> None:
        self._text = cubin.decode()

    def get_function(self, name: str) -> Function:
        return Function(Source(name, self._text.removeprefix(PRELUDE)))


CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: Final = 8
_FREE_SHARED: Final = 48 * 1024  # bytes that a launch may ask for without leave


def funcSetAttribute(f: Function, attribute: int, value: int) -> None:
    assert attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    if value > SHARED_MEMORY:
        raise CUDARuntimeError(1, "CUDA_ERROR_INVALID_VALUE: invalid argument")
    f.most_shared = value


class Function:
    """A kernel."""

    def __init__(self, source: Source) -> None:
        self._kernel = host.kernel_of(source)
        self._most_threads = host.most_threads(source)
        self._device = current_device()
        self._shared = host.shared(source)
        self.most_shared = _FREE_SHARED
        self.ptr = self  # what a handle stands for

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: Sequence[Any],
        shared_mem: int = 0,
        stream: Stream | None = None,
        enable_cooperative_groups: bool = False,
    ) -> None:
        assert shared_mem == self._shared, f"{self._kernel.source.name}: another shared array"
        if shared_mem > self.most_shared:
            raise CUDARuntimeError(1, "CUDA_ERROR_INVALID_VALUE: invalid argument")
        values = [self._value(argument) for argument in args]
        self._kernel.check(values)
        # CuPy launches one block where none is asked for.
        blocks, threads = max(1, *grid), max(1, *block)
        assert threads <= self._most_threads, f"{self._kernel.source.name}: beyond its bounds"
        if current_device() != self._device:
            raise CUDARuntimeError(400, "CUDA_ERROR_INVALID_HANDLE: invalid resource handle")
        asked = stream or get_current_stream()
        asked.run(lambda: self._run(blocks, threads, values))

    def _value(self, argument: Any) -> Any:
        if not isinstance(argument, ndarray):
            # CuPy makes int64 of a Python integer and float64 of a float.
            return np.array(argument)[()]
        if argument.memory.device_id != self._device:
            raise CUDARuntimeError(700, "cudaErrorIllegalAddress: an illegal memory access")
        return argument.host

    def _run(self, blocks: int, threads: int, values: list[Any]) -> None:
        order = next(_turns) if blocks <= _MOST_SHUFFLED else None
        self._kernel(blocks, threads, values, order)
        assert not broken_fences(), f"{self._kernel.source.name} wrote outside of all memory"


_turns: Final = itertools.count()
