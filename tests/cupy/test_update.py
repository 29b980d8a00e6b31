"""Update kernels of the device have the bits of NumPy's, and access memory as they should.

The text is the device's own, compiled for the host: what differs there is how the machine
rounds, and it is told to round every operation as IEEE 754 says, as the device is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from born import fusion, optim
from born.fusion.expression import V
from born.raw import HostArray
from born_cupy.kernels.update import CHUNK
from tests.cupy import nvrtc
from tests.cupy.updating import dtypes_of, every_update, run_on_host, source_of
from tests.fusion.kernels import Dtypes, arrays_of, assert_same_bits, kernel_of, run, traced
from tests.fusion.test_update import MIXED, RULES, STORED
from tests.optim.making import ADAM, BASIC, class_for
from tests.simulator import host

SIZES = (0, 1, 7, 8, 9, 0, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5, 0)
"""On both sides of a vector, a block's turn and a chunk; some without elements."""


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """All kernels in one run of the compiler, which is slow to start."""
    host.build(every_update())


def _copies(tensors: list[list[HostArray]]) -> list[list[HostArray]]:
    return [[array.copy() for array in every] for every in tensors]


def _check(
    program: fusion.Program,
    dtypes: Dtypes,
    tensors: list[list[HostArray]],
    scalars: list[dict[str, float]],
) -> None:
    expected = run(
        kernel_of("numpy", program, dtypes), tensors, scalars * (len(tensors) // len(scalars))
    )
    after = _copies(tensors)
    run_on_host(program, dtypes, after, scalars)
    for before, (p, g, *slots), wanted in zip(tensors, after, expected, strict=True):
        for which, (a, b) in enumerate(zip((p, *slots), wanted, strict=True)):
            assert_same_bits(a, b, f"{program}\n{p.shape}, output {which}")
        assert g.tobytes() == before[1].tobytes()


@pytest.mark.parametrize("config", BASIC, ids=repr)
@pytest.mark.parametrize("stored", STORED)
def test_every_optimizer_has_the_bits_of_numpy(config: optim.Config, stored: str) -> None:
    rule = class_for(config).rule(config)
    dtypes = dtypes_of(config, stored)
    tensors = [arrays_of(dtypes, size, seed, seed % 2 == 0) for seed, size in enumerate(SIZES)]
    for t in (1, 3):
        _check(rule.program, dtypes, tensors, [rule.scalars_at(t)])


@pytest.mark.parametrize("dtypes", MIXED, ids="-".join)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_operation_has_the_bits_of_numpy(rule: Callable[..., Any], dtypes: Dtypes) -> None:
    program = traced(rule, ("a", "b"), "s")
    for t in (1, 2):
        tensors = [arrays_of(dtypes, 1013, t, special=True)]
        _check(program, dtypes, tensors, [{"s": 0.1, "t": t}])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_powers_exponentials_and_logarithms_are_near(dtype: str) -> None:
    def rule(p: V, g: V, *, s: float, t: int) -> tuple[V]:
        return (fusion.exp(p) - fusion.log(fusion.abs(g)) * fusion.abs(p) ** s,)

    program = traced(rule, (), "s")
    p, g = arrays_of((dtype, dtype), 1013, 3)
    ((expected,),) = run(
        kernel_of("numpy", program, (dtype, dtype)), [[p, g]], [{"s": 1.5, "t": 1}]
    )
    run_on_host(program, (dtype, dtype), [[p, g]], [{"s": 1.5, "t": 1}])
    # A few units in the last place of each function, and terms no larger than 20.
    np.testing.assert_allclose(p, expected, rtol=0, atol=80 * float(np.finfo(dtype).eps))


def test_each_tensor_has_scalars_of_its_own() -> None:
    rule = optim.Adam.rule(ADAM)
    dtypes = ("float32",) * 4
    tensors = [arrays_of(dtypes, size, size) for size in (5, CHUNK + 3, 3, 0, 1)]
    _check(rule.program, dtypes, tensors, [rule.scalars_at(t) for t in (1, 9, 4, 1, 9)])


@pytest.mark.parametrize(
    "dtypes", [("float32",) * 4, ("bfloat16", "bfloat16", "float32", "float16")]
)
def test_arrays_at_any_address(dtypes: Dtypes) -> None:
    rule = optim.Adam.rule(ADAM)
    scalars: dict[str, float] = rule.scalars_at(2)
    for shifts in itertools.product((0, 1), repeat=4):
        arrays = arrays_of(dtypes, 205, 1)
        (expected,) = run(kernel_of("numpy", rule.program, dtypes), [arrays], [scalars])
        moved: list[HostArray] = []
        for array, shift in zip(arrays, shifts, strict=True):
            memory = np.zeros(array.size + 16, array.dtype)
            first = (-memory.ctypes.data % 16) // array.itemsize + shift
            view = memory[first : first + array.size]
            view[:] = array
            moved.append(view)
        run_on_host(rule.program, dtypes, [moved], [scalars])
        for got, wanted in zip((moved[0], *moved[2:]), expected, strict=True):
            assert_same_bits(got, wanted, str(shifts))


def test_whole_vectors_are_loaded_and_stored_at_once() -> None:
    rule = optim.Adam.rule(ADAM)
    text = nvrtc.compile(source_of(rule.program, ("float32",) * 4), "compute_80").decode()
    assert text.count("ld.global.v4.u32") == 4
    assert text.count("st.global.v4.u32") == 3
    assert "fma." not in text
    assert ".ftz" not in text
    assert ".approx" not in text
    assert ".local" not in text


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_every_update_kernel_compiles_for_the_device(architecture: str) -> None:
    for source in {*every_update()}:
        assert nvrtc.compile(source, architecture)
