"""How NVRTC is asked to compile, by whatever binds it: CuPy, or a test without CuPy."""

from __future__ import annotations

from typing import Any, Final

from born.errors import BornError
from born_cupy.kernels import Source

_VIRTUAL: Final = "compute_"


def options(architecture: str, exact: bool) -> tuple[str, ...]:
    """What NVRTC is told.

    Args:
        architecture: such as `"sm_90"`, or `"compute_90"` for text that any later
            device can finish compiling.
        exact: leave every operation as it is written, instead of contracting a product
            and a sum into one rounding.

    >>> options("sm_90", exact=True)[-1]
    '--fmad=false'
    """
    return (
        "--std=c++17",
        f"--gpu-architecture={architecture}",
        "--ftz=false",
        "--prec-div=true",
        "--prec-sqrt=true",
        f"--fmad={'false' if exact else 'true'}",
    )


def compile_source(nvrtc: Any, source: Source, architecture: str) -> bytes:
    """The machine code of a text, or its PTX where the architecture is a virtual one.

    Args:
        nvrtc: the library, with the names of CuPy's binding of it.
        source: the kernel.
        architecture: as for `options`.

    Raises:
        BornError: the compiler refuses it; the message holds what it says.
    """
    program = nvrtc.createProgram(source.whole, f"{source.name}.cu", (), ())
    try:
        nvrtc.compileProgram(program, options(architecture, source.exact))
        virtual = architecture.startswith(_VIRTUAL)
        code: bytes = nvrtc.getPTX(program) if virtual else nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError as error:
        raise BornError(
            f"expected NVRTC to compile the kernel {source.name!r}, but {error}:\n"
            f"{nvrtc.getProgramLog(program)}\nplease report this as a defect of born"
        ) from error
    finally:
        nvrtc.destroyProgram(program)
    return code


def architecture_for(capability: int, supported: tuple[int, ...]) -> str:
    """The device's own architecture, or the newest that the compiler knows, for the driver.

    Args:
        capability: the device's, such as 90.
        supported: those that the compiler knows.

    Raises:
        BornError: the compiler knows none that the device can run.

    >>> architecture_for(90, (80, 90, 100)), architecture_for(120, (80, 90))
    ('sm_90', 'compute_90')
    """
    if capability in supported:
        return f"sm_{capability}"
    older = [known for known in supported if known < capability]
    if not older:
        raise BornError(
            f"expected a device of compute capability {min(supported) / 10} or newer, which this "
            f"CUDA toolkit compiles for, got {capability / 10}; install CuPy for an older CUDA"
        )
    return f"{_VIRTUAL}{max(older)}"
