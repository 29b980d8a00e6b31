"""NVRTC is asked in the right way, and its answers are told apart."""

from __future__ import annotations

from typing import Final

import pytest

from born.errors import BornError
from born_cupy.kernels import Source
from born_cupy.nvrtc import architecture_for, options
from tests.cupy import nvrtc

FUSED: Final = """
extern "C" __global__ void tried(float *x, half_bits *y, bfloat_bits *z, double *d) {
    float a = as<float>(*y);
    x[0] = a * x[1] + x[2];
    x[3] = sqrtf(x[4]) / x[5];
    put(*y, x[6]);
    put(*z, as<double>(*z) * *d);
    put(*y, *d);
}
"""


def assembly(exact: bool) -> str:
    """What the text above becomes, for a device that is to finish compiling it."""
    return nvrtc.compile(Source("tried", FUSED, exact), "compute_80").decode()


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_the_shared_text_compiles_to_machine_code(architecture: str) -> None:
    code = nvrtc.compile(Source("tried", FUSED), architecture)
    assert code.startswith(b"\x7fELF")


def test_exact_kernels_round_every_operation() -> None:
    exact = assembly(exact=True)
    assert "fma.rn.f32" not in exact
    for instruction in ("mul.rn.f32", "add.rn.f32", "sqrt.rn.f32", "div.rn.f32"):
        assert instruction in exact


def test_other_kernels_contract_a_product_and_a_sum() -> None:
    assert "fma.rn.f32" in assembly(exact=False)


@pytest.mark.parametrize("exact", [True, False])
def test_subnormal_numbers_are_not_flushed_to_zero(exact: bool) -> None:
    assert ".ftz" not in assembly(exact)


def test_halves_are_converted_by_the_devices_own_instructions() -> None:
    text = assembly(exact=True)
    for instruction in ("cvt.f32.f16", "cvt.rn.f16.f32", "cvt.rn.f16.f64"):
        assert instruction in text


def test_a_text_that_does_not_compile_shows_what_the_compiler_says() -> None:
    broken = Source("broken", 'extern "C" __global__ void broken() { nonsense; }')
    with pytest.raises(BornError, match=r'(?s)broken.*identifier "nonsense" is undefined'):
        nvrtc.compile(broken, "sm_90")


def test_every_operation_is_told_how_to_round() -> None:
    told = options("sm_90", exact=False)
    assert {"--ftz=false", "--prec-div=true", "--prec-sqrt=true", "--fmad=true"} < set(told)
    assert "--gpu-architecture=sm_90" in told


def test_a_device_older_than_the_compiler_is_refused() -> None:
    with pytest.raises(BornError, match=r"capability 7\.5 or newer.*got 7\.0; install CuPy"):
        architecture_for(70, (75, 80))
