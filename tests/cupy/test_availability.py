"""Without a device, the backend says what is missing and what to do about it."""

from __future__ import annotations

import importlib.util
import re
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import born
from born.errors import BackendUnavailableError, DomainError, OperandError
from born_cupy.entry import ENTRY, load, unavailable_reason
from tests.simulator import CupyBackend


class CUDARuntimeError(RuntimeError):
    """CUDA's refusal, with its number."""

    def __init__(self, status: int) -> None:
        super().__init__(f"cudaError {status}")
        self.status = status


def machine(
    monkeypatch: pytest.MonkeyPatch,
    status: int = 0,
    devices: int = 1,
    driver: int = 12090,
    compiler: bool = True,
    blas: bool = True,
) -> None:
    """Pretend that CuPy is installed on a machine like this.

    Args:
        monkeypatch: undoes it.
        status: what CUDA answers when asked for devices.
        devices: how many there are.
        driver: the version of CUDA that the driver supports.
        compiler: whether NVRTC is found.
        blas: whether cuBLAS is found.
    """

    def count() -> int:
        if status:
            raise CUDARuntimeError(status)
        return devices

    def is_installed(name: str) -> bool:
        return True

    def version() -> tuple[int, int]:
        if not compiler:
            raise RuntimeError("libnvrtc.so.12 is not there")
        return 12, 9

    runtime = SimpleNamespace(
        getDeviceCount=count,
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: 12090,
        CUDARuntimeError=CUDARuntimeError,
    )

    class Cuda:
        def __getattr__(self, name: str) -> object:
            if name == "cublas" and not blas:
                raise ImportError('Failure finding "libcublas.so.12"')
            return {"runtime": runtime, "cublas": None}[name]

    nvrtc = ModuleType("nvrtc")
    vars(nvrtc).update(getVersion=version)
    monkeypatch.setattr("born_cupy.entry._is_installed", is_installed)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=Cuda()))
    monkeypatch.setitem(sys.modules, "cupy_backends.cuda.libs.nvrtc", nvrtc)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ({"status": 35, "driver": 0}, "there is no NVIDIA driver; install one"),
        ({"status": 35, "driver": 11080}, r"supports CUDA 11\.8 and CuPy needs 12\.9; update"),
        ({"status": 100}, "finds no device; check nvidia-smi and CUDA_VISIBLE_DEVICES"),
        ({"status": 999}, r"CUDA does not start \(cudaError 999\); check that nvidia-smi works"),
        ({"devices": 2}, "there is no device 2, the devices are from 0 to 1; use one of these"),
        ({"devices": 1}, "there is no device 2, the devices are 0; use one of these"),
        (
            {"devices": 3, "driver": 11080},
            r"supports CUDA 11\.8 and the compiler .*, NVRTC, is of CUDA 12\.9; update the driver",
        ),
        ({"devices": 3, "blas": False}, r"cuBLAS is not found \(Failure.*\); run: pip install"),
        ({"devices": 3, "compiler": False}, r"NVRTC is not found \(libnvrtc.*\); run: pip install"),
    ],
)
def test_what_is_missing(
    what: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, **what)
    assert re.search(reason, unavailable_reason(2) or "")


def test_a_machine_with_all_that_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    assert ENTRY.unavailable_reason() is None
    assert unavailable_reason(1) is not None


def test_packages_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without_cupy(name: str) -> Any:
        return None if name == "cupy" else found(name)

    monkeypatch.setattr("importlib.util.find_spec", without_cupy)
    monkeypatch.setenv("BORN_CACHE_DIR", "anywhere")  # or platformdirs is needed as well
    message = r'cupy not installed; run: pip install "born-optim\[cuda12\]", or .*\[cuda13\]'
    with pytest.raises(BackendUnavailableError, match=rf"got 'cupy': {message}"):
        born.get_backend("cupy")
    assert not born.available_backends()["cupy"]
    with pytest.raises(BackendUnavailableError, match=f"^expected the package cupy, .*{message}"):
        load()


def test_a_package_that_does_not_import(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "does not import" in (unavailable_reason() or "")


@pytest.mark.parametrize("device", [-1, 0.5, "0", None])
def test_devices_that_are_no_numbers(device: Any, cupy: Any) -> None:
    with pytest.raises(DomainError, match=r"^expected the number of a CUDA device, got .*; device"):
        CupyBackend(device=device)


def test_streams_that_are_none_or_of_another_device(cupy: Any) -> None:
    with cupy.cuda.Device(1):
        elsewhere = cupy.cuda.Stream()
    for stream in (elsewhere, "stream", 7):
        with pytest.raises(OperandError, match=r"^expected a CuPy stream of device 0 or None, got"):
            CupyBackend(stream=stream)
