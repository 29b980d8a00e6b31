"""Where a benchmark ran: processor, versions, threads."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = (
    "born-optim",
    "numpy",
    "numba",
    "torch",
    "jax",
    "optax",
    "autograd",
    "mygrad",
    "scikit-learn",
)
_GPU_PACKAGES: Final = ("born-optim", "numpy", "cupy-cuda12x", "cupy-cuda13x", "torch")
_KIBI: Final = 1024
_MEGA: Final = 1e6
_THREAD_VARIABLES: Final = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def facts(cupy: Any = None) -> dict[str, Any]:
    """What a reader needs to compare figures of two machines, in JSON's types.

    Args:
        cupy: the module, where a GPU computes.
    """
    packages = _PACKAGES if cupy is None else _GPU_PACKAGES
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "threads": {"PyTorch": _pytorch_threads(), "NumPy's BLAS": _blas_threads()},
        "load": _load(),
    }
    if cupy is not None:
        found["gpu"] = _gpu(cupy)
    return found


def described(machine: Mapping[str, Any]) -> str:
    """The facts as a few lines to stand above the table."""
    packages = [f"{name} {version or 'missing'}" for name, version in machine["packages"].items()]
    threads = [f"{name} {count or 'unknown'}" for name, count in machine["threads"].items()]
    load = machine["load"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}",
        ", ".join(packages),
        f"threads: {', '.join(threads)}",
    ]
    if "gpu" in machine:
        gpu = machine["gpu"]
        lines.insert(
            0,
            f"{gpu['name']}, {gpu['cache'] / _MEGA:.0f} MB of L2 cache, CUDA {gpu['runtime']}, "
            f"driver for {gpu['driver']}",
        )
    if load is not None and load > machine["cores"] / 4:
        lines.append(f"other programs are running (load {load:.1f}): expect a wide spread")
    return "\n".join(lines)


def free_memory() -> int | None:
    """Bytes that programs may still take, where the system says."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * _KIBI
    except OSError:
        pass  # not Linux
    return None


def _gpu(cupy: Any) -> dict[str, Any]:
    device = cupy.cuda.Device()
    runtime = cupy.cuda.runtime
    return {
        "name": runtime.getDeviceProperties(device.id)["name"].decode(),
        "cache": int(device.attributes["L2CacheSize"]),
        "runtime": _cuda_version(runtime.runtimeGetVersion()),
        "driver": _cuda_version(runtime.driverGetVersion()),
    }


def _cuda_version(number: int) -> str:
    """CUDA's own way to write a version as one number, undone.

    >>> _cuda_version(12090), _cuda_version(13000)
    ('12.9', '13.0')
    """
    return f"{number // 1000}.{number % 1000 // 10}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _load() -> float | None:
    """How many programs wanted to run during the last minute, where the system says."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pytorch_threads() -> int | None:
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        return None
    count: int = torch.get_num_threads()
    return count


def _blas_threads() -> int | None:
    """The threads of the BLAS that NumPy loaded; only threadpoolctl can ask it."""
    try:
        threadpoolctl: Any = importlib.import_module("threadpoolctl")
    except ImportError:
        set_by_hand = (os.environ.get(name) for name in _THREAD_VARIABLES)
        return next((int(value) for value in set_by_hand if value and value.isdecimal()), None)
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return max((int(pool["num_threads"]) for pool in pools), default=None)
