"""`Home`: the device and the stream that a backend's operations run on."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, cast

from born.errors import BackendMismatchError, OperandError, OutOfMemoryError
from born.raw import Array, RawTensor
from born_cupy.runtime import cupy


class Home:
    """A device and a stream, which a `with` statement makes current for this thread.

    CuPy launches on the device and stream that are current for the calling thread. Where
    there is one device and no stream was asked for, they are right already, and nothing
    is done: a switch costs microseconds, as much as launching a kernel.

    Args:
        device: the number of the device.
        stream: a stream on it, or None for whichever is current.

    Attributes:
        device: the number of the device.
        switches: whether entering does anything.

    Raises:
        OperandError: it is no stream, or one of another device.
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
            translated = self.out_of_memory(error)
            if translated is not error:
                raise translated from error

    def synchronize(self) -> None:
        """Wait until the device has nothing left to do."""
        self._device.synchronize()

    def check(self, operation: str, arguments: Sequence[Any]) -> None:
        """Refuse tensors whose arrays are elsewhere.

        Raises:
            BackendMismatchError: one is on the host or on another device.
        """
        for argument in arguments:
            if argument.__class__ is RawTensor:
                array = argument.array
                if not isinstance(array, cupy.ndarray) or array.data.device_id != self.device:
                    raise self._misplaced(operation, array)
            elif argument.__class__ is tuple or argument.__class__ is list:
                self.check(operation, argument)

    def _misplaced(self, operation: str, array: Array) -> BackendMismatchError:
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

    def out_of_memory(self, error: MemoryError) -> MemoryError:
        """Born's error in place of CuPy's; another error as it is."""
        if not isinstance(error, cupy.cuda.memory.OutOfMemoryError):
            return error
        lost: Any = error
        requested: int = lost._size  # CuPy says it nowhere else but in the message
        with self:
            free: int = cupy.cuda.runtime.memGetInfo()[0]
        return OutOfMemoryError(
            f"expected room for {requested:,} bytes on device {self.device}, got {free:,} bytes "
            "free; let go of tensors, or use smaller batches or a smaller model",
            requested,
            free,
        )
