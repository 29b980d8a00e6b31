"""Where arrays of other libraries are, as DLPack tells it."""

from __future__ import annotations

from typing import Any, Final

from born.errors import BackendMismatchError, OperandError

_NAMES: Final = {
    1: "cpu",
    2: "cuda",
    3: "cuda_host",
    4: "opencl",
    7: "vulkan",
    8: "metal",
    10: "rocm",
    11: "rocm_host",
    13: "cuda_managed",
    14: "oneapi",
    15: "webgpu",
}
"""DLPack's numbers for kinds of devices (dlpack.h, DLDeviceType)."""

_CPU: Final = 1
_CUDA: Final = 2

_REACHED: Final = {_CPU: {3, 11, 13}, _CUDA: {13}}
"""Kind of device -> the kinds of memory, beside its own, that it computes on."""


def check_device(data: Any, home: tuple[int, int], backend: str) -> None:
    """Refuse an array that is not in memory which a backend computes on."""
    if not (hasattr(data, "__dlpack__") and hasattr(data, "__dlpack_device__")):
        raise OperandError(
            f"expected an array with __dlpack__, got {type(data).__name__}; "
            "copy it with born.tensor(data, backend)"
        )
    kind, index = data.__dlpack_device__()
    if (kind, index) != home and kind not in _REACHED.get(home[0], ()):
        raise BackendMismatchError(
            f"expected an array on {_device_name(*home)}, where {backend} computes, got one on "
            f"{_device_name(kind, index)}; move it there with its own library first"
        )


def _device_name(kind: int, index: int) -> str:
    """A device as people know it, such as `cuda:1`."""
    return f"{_NAMES.get(kind, f'device kind {int(kind)}')}:{index}"
