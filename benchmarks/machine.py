"""Where a benchmark ran: processor, versions, threads."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_PACKAGES: Final = ("born-optim", "numpy", "torch")
_THREAD_VARIABLES: Final = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def facts() -> dict[str, Any]:
    """What a reader needs to compare figures of two machines, in JSON's types."""
    return {
        "processor": _processor(),
        "cores": _cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "threads": {"PyTorch": _pytorch_threads(), "NumPy's BLAS": _blas_threads()},
        "load": _load(),
    }


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
    if load is not None and load > machine["cores"] / 4:
        lines.append(f"other programs are running (load {load:.1f}): expect a wide spread")
    return "\n".join(lines)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _cores() -> int:
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
