"""A simulator of a GPU under the name cupy: see README.md beside this file for what it promises.

>>> with installed():
...     import cupy
...     str(cupy.zeros(2).device)
'<CUDA Device 0>'
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from born.backend.disk import DIRECTORY_VARIABLE
from born_cupy.sources.catalogue import every_source
from tests.simulator import arrays, compiler, functions, host, machine


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
    cuda = _module(
        "cupy.cuda",
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
        get_default_memory_pool=lambda: machine.pool,
        **functions.namespace(),
    )
    nvrtc = _module("cupy_backends.cuda.libs.nvrtc")
    binding = compiler.Nvrtc()
    for name in dir(binding):
        if not name.startswith("_"):
            setattr(nvrtc, name, getattr(binding, name))
    every = (cupy, cuda, function, memory, runtime, nvrtc)
    parents = ("cupy_backends", "cupy_backends.cuda", "cupy_backends.cuda.libs")
    return {made.__name__: made for made in (*every, *map(_module, parents))}


def install_for_good() -> None:
    """Put the simulator in its place, and compile all there is in one run of the compiler."""
    if host.compiler() is None:
        raise pytest.UsageError(f"--simulator: {host.NEEDS_COMPILER}")
    install()
    host.build(every_source())


def install() -> None:
    """Put the simulator where the package is imported from."""
    # Not among a user's: what the simulator compiles is worth nothing to a device.
    os.environ[DIRECTORY_VARIABLE] = tempfile.mkdtemp(prefix="born_simulator_")
    sys.modules.update(modules())


@contextmanager
def installed() -> Generator[None]:
    """The simulator in place of the package, until the end of a `with` statement."""
    before = {name: module for name, module in sys.modules.items() if _is_cupys(name)}
    kept = os.environ.get(DIRECTORY_VARIABLE)
    _forget()
    install()
    try:
        yield
    finally:
        _forget()
        sys.modules.update(before)
        os.environ.pop(DIRECTORY_VARIABLE)
        if kept is not None:
            os.environ[DIRECTORY_VARIABLE] = kept


def _forget() -> None:
    """Forget the package, and those of born_cupy's modules that hold it."""
    for name, module in list(sys.modules.items()):
        holds = name.startswith("born_cupy.") and "cupy" in vars(module)
        if holds or _is_cupys(name):
            del sys.modules[name]


def _is_cupys(name: str) -> bool:
    return name.split(".")[0] in ("cupy", "cupy_backends")


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
