"""How NVRTC is asked to compile, by whatever binds it: CuPy, or a test without CuPy."""

from __future__ import annotations

from typing import Any, Final

from born.errors import BornError
from born_cupy.kernels import Source

_VIRTUAL: Final = "compute_"


def options(architecture: str, exact: bool) -> tuple[str, ...]:
    """The options for an architecture; `exact` contracts no product and sum into one rounding.

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
    """The machine code of a text, or its PTX where the architecture is a virtual one."""
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
