"""From the text of a kernel to something that can be launched.

CuPy's own compile path adds `-ftz=true`, which turns subnormal numbers into zeros. So NVRTC,
which CuPy binds, is called directly, and what it compiled is kept on disk.
"""

from __future__ import annotations

import hashlib
import importlib
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from born.backend.disk import cache_directory, write_whole
from born_cupy.device import cupy
from born_cupy.kernels import Source
from born_cupy.nvrtc import architecture_for, compile_source, options

_nvrtc: Final[Any] = importlib.import_module("cupy_backends.cuda.libs.nvrtc")
_function: Final[Any] = importlib.import_module("cupy.cuda.function")
_FREE_SHARED: Final = 48 * 1024  # bytes of shared memory that a kernel need not ask for


class Kernel:
    """A kernel on the device that is current when it is compiled."""

    def __init__(self, source: Source, function: Any) -> None:
        self.source = source
        self._function = function

    def __call__(self, blocks: int, threads: int, arguments: Sequence[Any]) -> None:
        """Launch on the current stream and return at once; arguments are of the very types that
        the text declares."""
        if blocks:
            self._function((blocks,), (threads,), arguments, self.source.shared)


class Compiler:
    """Kernels of one device (by number), each compiled once a process and kept on disk."""

    def __init__(self, device: int) -> None:
        self._device = device
        self._lock = threading.Lock()
        self._kernels: dict[Source, Kernel] = {}
        self.architecture: Final = architecture_for(
            int(cupy.cuda.Device(device).compute_capability), _nvrtc.getSupportedArchs()
        )

    def __call__(self, source: Source) -> Kernel:
        """The kernel of a text."""
        kernel = self._kernels.get(source)
        if kernel is None:
            with self._lock:
                kernel = self._kernels.setdefault(source, self._load(source))
        return kernel

    def _load(self, source: Source) -> Kernel:
        module = _function.Module()
        with cupy.cuda.Device(self._device):
            module.load(self._code(source))
            function = module.get_function(source.name)
            if source.shared > _FREE_SHARED:
                attribute = cupy.cuda.driver.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                cupy.cuda.driver.funcSetAttribute(function.ptr, attribute, source.shared)
            return Kernel(source, function)

    def _code(self, source: Source) -> bytes:
        """What the compiler makes of a text, from disk if it is there."""
        given = options(self.architecture, source.exact)
        key = repr((source.whole, given, _nvrtc.getVersion()))
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        path = cache_directory() / "cuda" / f"{name}.cubin"
        with suppress(OSError):
            return path.read_bytes()
        code = compile_source(_nvrtc, source, self.architecture)
        with suppress(OSError):  # without a folder for it, the next process compiles it again
            write_whole(path, code)
        return code
