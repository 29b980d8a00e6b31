"""CuPy, and `DeviceContext`: the device and the stream that a backend's operations run on."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, cast

from born.errors import BackendMismatchError, OperandError, OutOfMemoryError
from born.raw import Array, RawTensor

cupy: Final[Any] = importlib.import_module("cupy")
"""The package, which ships no types. It imports without a GPU; asking it for memory then raises."""


class DeviceContext:
    """A device and a stream, which a `with` statement makes current for this thread.

    With one device and no stream asked for, CuPy's current ones are right already and nothing
    is done: a switch costs microseconds, as much as launching a kernel. A lack of memory
    inside the statement is raised as born's `OutOfMemoryError`.

    Attributes:
        device: the number of the device.
        processors: how many multiprocessors it has.
        shared: bytes of shared memory that a block can have.
        switches: whether entering does anything.
    """

    def __init__(self, device: int, stream: Any = None) -> None:
        if stream is not None and getattr(stream, "device_id", None) not in (device, -1):
            raise OperandError(
                f"expected a CuPy stream of device {device} or None, got {stream!r}; make one "
                f"with cupy.cuda.Stream() under cupy.cuda.Device({device})"
            )
        self.device: Final = device
        self.switches: Final[bool] = stream is not None or cupy.cuda.runtime.getDeviceCount() > 1
        self._device = cupy.cuda.Device(device)
        attributes = self._device.attributes
        self.processors: Final[int] = attributes["MultiProcessorCount"]
        self.shared: Final[int] = attributes["MaxSharedMemoryPerBlockOptin"]
        self._stream = stream

    @property
    def stream(self) -> Any:
        """The stream asked for, or the one that is current."""
        if self._stream is not None:
            return self._stream
        return cupy.cuda.get_current_stream()

    def __enter__(self) -> None:
        if self.switches:
            self._device.__enter__()
            if self._stream is not None:
                self._stream.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.switches:
            if self._stream is not None:
                self._stream.__exit__(kind, error, traceback)
            self._device.__exit__(kind, error, traceback)
        if isinstance(error, MemoryError):
            self.check_memory(error)

    def synchronize(self) -> None:
        """Wait until the device has nothing left to do."""
        self._device.synchronize()

    def check_arrays(self, operation: str, arguments: Sequence[Any]) -> None:
        """Refuse arrays on the host or on another device: a `BackendMismatchError`."""
        for argument in arguments:
            if argument.__class__ is RawTensor:
                array = argument.array
                if not isinstance(array, cupy.ndarray) or array.data.device_id != self.device:
                    raise self._mismatch(operation, array)
            elif argument.__class__ is tuple or argument.__class__ is list:
                self.check_arrays(operation, argument)

    def _mismatch(self, operation: str, array: Array) -> BackendMismatchError:
        if isinstance(array, cupy.ndarray):
            return BackendMismatchError(
                f"expected arrays on device {self.device} in {operation}, got one on device "
                f"{array.data.device_id}; move it with tensor.to(backend)"
            )
        kind: type[object] = type(cast("object", array))
        return BackendMismatchError(
            f"expected arrays on device {self.device} in {operation}, got a "
            f"{kind.__module__}.{kind.__qualname__}; copy it there with backend.from_numpy(array)"
        )

    def check_memory(self, error: MemoryError) -> None:
        """Raise born's error in place of CuPy's; leave another error alone."""
        if not isinstance(error, cupy.cuda.memory.OutOfMemoryError):
            return
        lost: Any = error
        requested: int = lost._size  # CuPy says it nowhere else but in the message
        with self._device:
            free: int = cupy.cuda.runtime.memGetInfo()[0]
        raise OutOfMemoryError(
            f"expected room for {requested:,} bytes on device {self.device}, got {free:,} bytes "
            "free; let go of tensors, or use smaller batches or a smaller model",
            requested,
            free,
        ) from error
