"""Running a kernel on the host: compiled by a C++ compiler, thread after thread.

What a device would leave undefined ends the launch with a `LaunchError`: arguments of
another type than the kernel's, accesses out of line or out of bounds, threads that wait
for others that never come. Shared memory starts as NaN.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from typing_extensions import TypeIs

from born.dtypes import is_numpy_scalar
from born.raw import HostArray
from born_cupy.kernels import Source
from born_cupy.kernels.source import PRELUDE, WORDS

NEEDS_COMPILER: Final = "no C++ compiler to run kernels on the host with: install g++"

FOLDER_VARIABLE: Final = "BORN_HOST_KERNELS"
"""Names the folder that keeps what was compiled, for other processes; without it, none is kept."""

_HERE: Final = Path(__file__).parent
_HEADER: Final = _HERE / "cuda_on_host.h"
_THREADS: Final = _HERE / "cuda_on_host.cpp"
_OPTIONS: Final = (
    "-std=c++17",
    "-O1",
    "-w",
    "-fPIC",
    "-fvisibility=hidden",  # each library has threads of its own
    "-nostdinc++",  # headers of C only, which compile in a third of the time
    "-ffp-contract=off",
    "-fno-strict-aliasing",
    # What these find is reported to functions that the header defines.
    "-fsanitize=alignment,bounds,shift,integer-divide-by-zero,signed-integer-overflow",
)
_SYNCHRONISING: Final = ("__syncthreads", "__syncwarp", "__shfl_")


class LaunchError(AssertionError):
    """A kernel was launched, or behaves, in a way that a device leaves undefined."""


class _Order(ctypes.Structure):
    _fields_ = (
        ("blocks", ctypes.c_uint32),
        ("threads", ctypes.c_uint32),
        ("block_order", ctypes.c_void_p),
        ("thread_order", ctypes.c_void_p),
        ("synchronises", ctypes.c_bool),
    )


def compiler() -> str | None:
    """The path of the C++ compiler, if there is one."""
    return shutil.which("g++")


class HostKernel:
    """A kernel compiled for the host.

    Args:
        source: its text.
        library: what was compiled.
        number: its place in there.
    """

    def __init__(self, source: Source, library: ctypes.PyDLL, number: int) -> None:
        self.source = source
        self._synchronises = any(name in source.text for name in _SYNCHRONISING)
        self._launch = getattr(library, f"launch_{number}")
        self._launch.restype = ctypes.c_char_p
        names = getattr(library, f"parameters_{number}")
        names.restype = ctypes.POINTER(ctypes.c_char_p)
        listed = names()
        self.parameters: list[str] = []
        while (text := listed[len(self.parameters)]) is not None:
            self.parameters.append(text.decode())

    def __call__(
        self, blocks: int, threads: int, arguments: Sequence[Any], order: int | None = None
    ) -> None:
        """Run it, as `launch` does."""
        self.check(arguments)
        values = [_value(argument) for argument in arguments]
        orders: list[HostArray] = []
        if order is not None:
            rng = np.random.default_rng(order)
            orders = [rng.permutation(n).astype(np.uint32) for n in (blocks, threads)]
        places = [each.ctypes.data for each in orders] or [0, 0]
        asked = _Order(blocks, threads, *places, self._synchronises)
        pointers = np.array([value.ctypes.data for value in values], np.uint64)
        fault: bytes | None = self._launch(
            ctypes.byref(asked), ctypes.c_void_p(pointers.ctypes.data)
        )
        if fault is not None:
            raise LaunchError(f"{self.source.name}: {fault.decode()}")

    def check(self, arguments: Sequence[Any]) -> None:
        """Refuse arguments of other types than the parameters'.

        Raises:
            LaunchError: one is.
        """
        if len(arguments) != len(self.parameters):
            raise LaunchError(
                f"{self.source.name} takes {len(self.parameters)} arguments, got {len(arguments)}"
            )
        for place, (kind, argument) in enumerate(zip(self.parameters, arguments, strict=True)):
            if not _fits(kind, argument):
                got = f"{type(argument).__name__} of {getattr(argument, 'dtype', argument)}"
                raise LaunchError(f"argument {place} of {self.source.name} is {kind}, got {got}")


def launch(
    source: Source,
    blocks: int,
    threads: int,
    arguments: Sequence[Any],
    order: int | None = None,
) -> None:
    """Run a kernel on the host.

    Args:
        source: the kernel; compiled if `build` has not done so.
        blocks: how many blocks of threads.
        threads: how many threads in each.
        arguments: NumPy arrays, which it writes into, and NumPy scalars, each of the very
            type that the kernel declares. A pointer to unsigned integers takes any array
            of elements as large.
        order: a seed to shuffle blocks and threads with; by default they run in turn.

    Raises:
        LaunchError: an argument does not fit, or the kernel does what it must not.
    """
    kernel_of(source)(blocks, threads, arguments, order)


def most_threads(source: Source) -> int:
    """How many threads a block of the kernel has at most, as its text tells the compiler."""
    bounds = re.findall(rf"__launch_bounds__\((\d+)\) {source.name}\(", source.text)
    assert len(bounds) == 1, f"{source.name}: its head is not of kernels.source.head"
    return int(bounds[0])


def shared(source: Source) -> int:
    """Bytes of the shared array of real numbers that the kernel's text asks the launch for."""
    arrays = re.findall(r"DYNAMIC_SHARED\(R, \w+, (\d+)\)", source.text)
    assert len(arrays) < 2, f"{source.name}: one array for the launch to make"
    itemsize = 8 if "typedef double R" in source.text else 4
    return sum(itemsize * int(count) for count in arrays)


def kernel_of(source: Source) -> HostKernel:
    """A kernel, compiled."""
    build([source])
    return _kernels[source.name, source.text]


def build(sources: Iterable[Source]) -> None:
    """Compile kernels that are not compiled yet, all in one run of the compiler.

    The calling test is skipped where there is no compiler.
    """
    known = {(source.name, source.text): source for source in sources}
    missing = [source for key, source in known.items() if key not in _kernels]
    if missing:
        library = _compiled(_unit(missing))
        for number, source in enumerate(missing):
            _kernels[source.name, source.text] = HostKernel(source, library, number)


_kernels: Final[dict[tuple[str, str], HostKernel]] = {}
"""By name and text: whether they are exact is all one here."""


@functools.cache
def _folder(kept: str | None) -> tuple[Path, object]:
    """Where libraries are written, and what deletes it in the end."""
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        return Path(kept), None
    temporary = tempfile.TemporaryDirectory(prefix="born_host_")
    return Path(temporary.name), temporary


@functools.cache
def _common(path: str) -> str:
    """What all libraries depend on beside their own text."""
    version = _output([path, "-dumpfullversion", "-dumpmachine"])
    return "\n".join((version, *_OPTIONS, _HEADER.read_text(), _THREADS.read_text()))


def _compiled(text: str) -> ctypes.PyDLL:
    """A library that keeps the interpreter's lock, since its kernels share their state."""
    path = compiler()
    if path is None:
        pytest.skip(NEEDS_COMPILER)
    folder, _ = _folder(os.environ.get(FOLDER_VARIABLE))
    threads = _made(path, folder, _THREADS.read_text(), ".o", "-c")
    return ctypes.PyDLL(str(_made(path, folder, text, ".so", "-shared", threads)))


def _made(path: str, folder: Path, text: str, suffix: str, *options: str | Path) -> Path:
    """The file that a text is compiled to, once for all processes that keep it in one folder."""
    name = hashlib.sha256(f"{_common(path)}\0{text}".encode()).hexdigest()[:32]
    result = folder / f"{name}{suffix}"
    if not result.exists():
        own = Path(tempfile.mkdtemp(dir=folder))
        unit, made = own / "unit.cpp", own / result.name
        unit.write_text(text)
        _output([path, *_OPTIONS, f"-I{_HERE}", unit, *options, "-o", made])
        os.replace(made, result)
        shutil.rmtree(own)
    return result


def _output(command: Sequence[str | Path]) -> str:
    """What the compiler prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaunchError(f"the kernels do not compile for the host:\n{done.stderr}")
    return done.stdout


def _unit(sources: Sequence[Source]) -> str:
    """One text of all kernels, each in a namespace of its own."""
    parts = [f'#include "{_HEADER.name}"\n{PRELUDE}']
    parts.append('NAMED(half_bits, "float16")\nNAMED(bfloat_bits, "bfloat16")\n')
    parts.append(f'NAMED(near_words, "{_NEAR}")\n')
    for number, source in enumerate(sources):
        # Its own name would clash with its namesakes, and hide a function of C in its text.
        head = rf'extern "C" (__global__ void .*?)\b{source.name}\('
        body, found = re.subn(head, r"\1entry(", source.text)
        assert found == 1, f"{source.name}: a text holds the one kernel of its name"
        parts.append(
            f"#undef SHARED_SECTION\n"
            f'#define SHARED_SECTION "shared_{number}"\n'
            f"namespace {{ namespace kernel_{number} {{\n"
            f'#line 1 "{source.name}"\n{body}\n}} }}\n'
            f"EXPORTED({number}, kernel_{number}::entry)\n"
        )
    return "".join(parts)


_NEAR: Final = "near_words"


def _fits(kind: str, argument: Any) -> bool:
    if kind == _NEAR:
        return _is_by_value(argument)
    if not kind.endswith("*"):
        return is_numpy_scalar(argument) and argument.dtype.name == kind
    if not is_host_array(argument) or kind == "void*":
        return is_host_array(argument)
    element = kind.removesuffix("*")
    same_size = element.startswith("uint") and argument.itemsize == np.dtype(element).itemsize
    return argument.dtype.name == element or same_size


def _is_by_value(argument: object) -> TypeIs[HostArray]:
    """Whether an argument is a structure, which CuPy takes from an array of one element."""
    return is_host_array(argument) and argument.size == 1 and argument.nbytes == 8 * WORDS


def is_host_array(value: object) -> TypeIs[HostArray]:
    """Whether a value is NumPy's array."""
    return isinstance(value, np.ndarray)


def _value(argument: Any) -> HostArray:
    """The memory that a kernel's argument is read from."""
    if _is_by_value(argument):
        return argument
    if is_host_array(argument):
        return np.array([argument.ctypes.data], np.uint64)
    return np.array([argument])
