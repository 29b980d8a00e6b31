"""NVRTC without CuPy, a driver or a device: kernels are compiled, and thrown away.

The library comes with the wheels nvidia-cuda-nvrtc (CUDA 13) and nvidia-cuda-nvrtc-cu12,
or with the system's CUDA toolkit.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from born_cupy import nvrtc
from born_cupy.kernels import Source

ARCHITECTURES: Final = ("sm_80", "sm_90")
"""What every kernel is compiled for."""

REGISTERS: Final = 65_536
"""Registers that the threads of a block share, on all architectures."""

_REGISTER_COUNT: Final = b"\x04\x2f\x08\x00"
"""What stands before a kernel's number and its count of registers in machine code."""

NEEDS_NVRTC: Final = "NVRTC is not installed; run: pip install nvidia-cuda-nvrtc"

_Program = ctypes.c_void_p


class NVRTCError(RuntimeError):
    """A call that failed."""


class Nvrtc:
    """The library under the names of CuPy's binding, as far as born uses them.

    Args:
        path: of the shared library.
    """

    NVRTCError = NVRTCError

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            said: bytes = self._library.nvrtcGetErrorString(status)
            raise NVRTCError(f"{said.decode()} ({status})")

    def getVersion(self) -> tuple[int, int]:
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        return major.value, minor.value

    def createProgram(
        self, src: str, name: str, headers: Sequence[str], include_names: Sequence[str]
    ) -> ctypes.c_void_p:
        assert not headers
        assert not include_names
        program = _Program()
        parts = (src.encode(), name.encode(), 0, None, None)
        self._call("nvrtcCreateProgram", ctypes.byref(program), *parts)
        return program

    def compileProgram(self, prog: ctypes.c_void_p, options: Sequence[str]) -> None:
        listed = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        self._call("nvrtcCompileProgram", prog, len(options), listed)

    def destroyProgram(self, prog: ctypes.c_void_p) -> None:
        self._call("nvrtcDestroyProgram", ctypes.byref(prog))

    def getCUBIN(self, prog: ctypes.c_void_p) -> bytes:
        return self._content("CUBIN", prog)

    def getPTX(self, prog: ctypes.c_void_p) -> bytes:
        return self._content("PTX", prog)

    def getProgramLog(self, prog: ctypes.c_void_p) -> str:
        return self._content("ProgramLog", prog).rstrip(b"\0").decode()

    def _content(self, what: str, prog: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", prog, ctypes.byref(size))
        content = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", prog, content)
        return content.raw


def installed() -> list[str]:
    """The paths of the libraries found, the newest first; empty if there is none."""
    spec = importlib.util.find_spec("nvidia")
    wheels = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    patterns = ("cu13/lib/libnvrtc.so.13", "cuda_nvrtc/lib/libnvrtc.so.12")
    found = [str(path) for pattern in patterns for wheel in wheels for path in wheel.glob(pattern)]
    system = ctypes.util.find_library("nvrtc")
    return found or ([system] if system else [])


@functools.cache
def library() -> Nvrtc:
    """The newest NVRTC here; the calling test is skipped where there is none."""
    paths = installed()
    if not paths:
        pytest.skip(NEEDS_NVRTC)
    return Nvrtc(paths[0])


def compile(source: Source, architecture: str) -> bytes:
    """What NVRTC makes of a kernel, with the options of born_cupy.

    Args:
        source: the kernel.
        architecture: such as `"sm_90"`.

    Raises:
        BornError: it does not compile.
    """
    return nvrtc.compile_source(library(), source, architecture)


def registers(code: bytes) -> int:
    """How many registers a thread of the one kernel in some machine code has."""
    (place,) = (found.end() for found in re.finditer(re.escape(_REGISTER_COUNT), code))
    return int.from_bytes(code[place + 4 : place + 8], "little")
