"""The door of the CuPy backend. Behind it, everything imports CuPy at its top."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any, Final

from born.backend import Backend
from born.backend.disk import DIRECTORY_VARIABLE
from born.backend.registry import Entry
from born.errors import BackendUnavailableError

_INSTALL: Final = 'pip install "born-optim[cuda12]", or "born-optim[cuda13]" for CUDA 13'

_NO_DEVICE: Final = 100  # cudaErrorNoDevice
_OLD_DRIVER: Final = 35  # cudaErrorInsufficientDriver


def _needed() -> tuple[str, ...]:
    """The packages to have; where compiled kernels go may be said in the environment instead."""
    return ("cupy",) if os.environ.get(DIRECTORY_VARIABLE) else ("cupy", "platformdirs")


def unavailable_reason(device: int = 0) -> str | None:
    """Why a device cannot be used, or None if it can."""
    reason = _missing_package()
    if reason is not None:
        return reason
    cuda: Any = importlib.import_module("cupy").cuda
    return (
        _missing_device(cuda.runtime, device)
        or _missing_compiler(cuda.runtime.driverGetVersion())
        or _missing_blas(cuda)
    )


def load() -> type[Backend]:
    """The class `CupyBackend`, for which CuPy is imported."""
    reason = _missing_package()
    if reason is not None:
        raise BackendUnavailableError(f"expected the package cupy, got none: {reason}")
    backend: type[Backend] = importlib.import_module("born_cupy.backend").CupyBackend
    return backend


def _missing_package() -> str | None:
    missing = [name for name in _needed() if not _is_installed(name)]
    if missing:
        return f"{' and '.join(missing)} not installed; run: {_INSTALL}"
    try:
        importlib.import_module("cupy")
    except ImportError as error:
        return f"CuPy is installed but does not import ({error}); reinstall it: {_INSTALL}"
    return None


def _missing_device(runtime: Any, device: int) -> str | None:
    try:
        count: int = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        if error.status == _OLD_DRIVER:
            return _driver(runtime.driverGetVersion(), runtime.runtimeGetVersion())
        if error.status == _NO_DEVICE:
            return "the NVIDIA driver finds no device; check nvidia-smi and CUDA_VISIBLE_DEVICES"
        return f"CUDA does not start ({error}); check that nvidia-smi works"
    if device >= count:
        named = f"from 0 to {count - 1}" if count > 1 else "0"
        return f"there is no device {device}, the devices are {named}; use one of these"
    return None


def _driver(installed: int, needed: int) -> str:
    """What to say of a driver, given the CUDA versions as the runtime numbers them.

    >>> _driver(11080, 12090)
    'the NVIDIA driver supports CUDA 11.8 and CuPy needs 12.9; update the driver, ...'
    """
    if installed == 0:
        return "there is no NVIDIA driver; install one, or use the numba or numpy backend"
    return (
        f"the NVIDIA driver supports CUDA {_version(installed)} and CuPy needs "
        f"{_version(needed)}; update the driver, or install CuPy for an older CUDA"
    )


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _missing_compiler(driver: int) -> str | None:
    nvrtc: Any = importlib.import_module("cupy_backends.cuda.libs.nvrtc")
    try:
        major, minor = nvrtc.getVersion()
    except Exception as error:  # CuPy raises whatever looking for the library led to
        return f"CUDA's compiler NVRTC is not found ({error}); run: {_INSTALL}"
    if major > driver // 1000:
        # Within one major version, a driver runs what any compiler made.
        return (
            f"the NVIDIA driver supports CUDA {_version(driver)} and the compiler that CuPy finds, "
            f"NVRTC, is of CUDA {major}.{minor}; update the driver, or uninstall nvidia-cuda-nvrtc "
            f"and install one for CUDA {driver // 1000}"
        )
    return None


def _missing_blas(cuda: Any) -> str | None:
    try:
        cuda.cublas  # noqa: B018  # CuPy looks for the library when the module is asked for
    except ImportError as error:
        return f"CUDA's cuBLAS is not found ({error}); run: {_INSTALL}"
    return None


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


ENTRY: Final = Entry(unavailable_reason, load)
