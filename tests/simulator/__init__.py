"""A simulator of a GPU under the name cupy: see README.md beside this file for what it promises.

>>> with installed():
...     import cupy
...     str(cupy.zeros(2).device)
'<CUDA Device 0>'
"""

from __future__ import annotations

import functools
import gc
import importlib
import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from born.backend.disk import DIRECTORY_VARIABLE
from tests.simulator import arrays, compiler, functions, host, linalg, machine
from tests.simulator.catalogue import every_source

if TYPE_CHECKING:
    from born_cupy import CupyBackend as CupyBackend
else:

    def CupyBackend(*arguments, **options):
        """The backend over what is installed when it is made, which here is the simulator."""
        return importlib.import_module("born_cupy").CupyBackend(*arguments, **options)


def _module(name: str, **contents: Any) -> ModuleType:
    made = ModuleType(name, "A simulator.")
    made.__spec__ = ModuleSpec(name, None)
    vars(made).update(contents)
    return made


def _library(name: str) -> ModuleType:
    """What CuPy looks for when it is asked for, and may not find on a machine."""
    if name != "cublas":
        raise AttributeError(f"module 'cupy.cuda' has no attribute {name!r}")
    return _module("cupy_backends.cuda.libs.cublas")


def modules() -> dict[str, ModuleType]:
    """The modules of the package, by name."""
    function = _module("cupy.cuda.function", Module=compiler.Module, Function=compiler.Function)
    memory = _module(
        "cupy.cuda.memory",
        OutOfMemoryError=machine.OutOfMemoryError,
        MemoryPointer=machine.MemoryPointer,
    )
    runtime = _module(
        "cupy.cuda.runtime",
        CUDARuntimeError=machine.CUDARuntimeError,
        getDeviceCount=lambda: machine.DEVICES,
        driverGetVersion=lambda: 12090,
        runtimeGetVersion=lambda: 12090,
        getDeviceProperties=machine.getDeviceProperties,
        memGetInfo=machine.memory_info,
    )
    driver = _module(
        "cupy_backends.cuda.api.driver",
        CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=(
            compiler.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        ),
        funcSetAttribute=compiler.funcSetAttribute,
    )
    cuda = _module(
        "cupy.cuda",
        driver=driver,
        __getattr__=_library,
        function=function,
        memory=memory,
        runtime=runtime,
        Device=machine.Device,
        Event=machine.Event,
        MemoryPointer=machine.MemoryPointer,
        Stream=machine.Stream,
        alloc_pinned_memory=machine.alloc_pinned_memory,
        get_current_stream=machine.get_current_stream,
        get_elapsed_time=machine.get_elapsed_time,
    )
    cupy = _module(
        "cupy",
        cuda=cuda,
        ndarray=arrays.ndarray,
        ufunc=arrays.ufunc,
        float32=np.float32,
        linalg=_module("cupy.linalg", **linalg.namespace()),
        get_default_memory_pool=lambda: machine.pool,
        **functions.namespace(),
    )
    nvrtc = _module("cupy_backends.cuda.libs.nvrtc")
    binding = compiler.Nvrtc()
    for name in dir(binding):
        if not name.startswith("_"):
            setattr(nvrtc, name, getattr(binding, name))
    special = _module("cupyx.scipy.special", **functions.special())
    every = (special, cupy, cuda, driver, function, memory, runtime, nvrtc)
    parents = (
        "cupyx",
        "cupyx.scipy",
        "cupy_backends",
        "cupy_backends.cuda",
        "cupy_backends.cuda.api",
        "cupy_backends.cuda.libs",
    )
    return {made.__name__: made for made in (*every, *map(_module, parents))}


def install_for_good() -> None:
    """Put the simulator in its place, and compile all there is in one run of the compiler."""
    if host.compiler() is None:
        raise pytest.UsageError(f"--simulator: {host.NEEDS_COMPILER}")
    machine.Memory.guarded = False  # the tests of kernels look for reads out of bounds
    _swap_in()
    host.build(every_source())


@contextmanager
def installed() -> Generator[None]:
    """The simulator in place of the package, until the end of a `with` statement."""
    before = _swap_out()
    kept = os.environ.get(DIRECTORY_VARIABLE)
    _swap_in()
    try:
        yield
    finally:
        _modules.update(_swap_out())
        sys.modules.update(before)
        os.environ.pop(DIRECTORY_VARIABLE)
        if kept is not None:
            os.environ[DIRECTORY_VARIABLE] = kept


_modules: Final[dict[str, ModuleType]] = {}
"""The simulator's modules, and those of born_cupy that were imported over them."""


@functools.cache
def _cache_directory() -> str:
    # Not among a user's: what the simulator compiles is worth nothing to a device.
    return tempfile.mkdtemp(prefix="born_simulator_")


def _swap_in() -> None:
    """Put the simulator where the package is imported from."""
    if not _modules:
        _modules.update(modules())
    os.environ[DIRECTORY_VARIABLE] = _cache_directory()
    sys.modules.update(_modules)


def _swap_out() -> dict[str, ModuleType]:
    """Take the package out of its place, and the modules that were imported over it."""
    names = [name for name in sys.modules if _is_of_device(name)]
    return {name: sys.modules.pop(name) for name in names}


def _is_of_device(name: str) -> bool:
    package, _, module = name.partition(".")
    if package == "born_cupy":
        return module.partition(".")[0] not in ("", "entry", "kernels", "nvrtc", "philox")
    return package in ("cupy", "cupyx", "cupy_backends")


@contextmanager
def waiting() -> Generator[list[str]]:
    """The calls that make the host wait for a device, as they come."""
    seen: list[str] = []
    before = len(machine.waits)
    gc.disable()  # what was in use before may have to wait when it is freed
    try:
        yield seen
    finally:
        gc.enable()
        seen += machine.waits[before:]
