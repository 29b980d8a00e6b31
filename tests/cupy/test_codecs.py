"""Coded slots and stochastic rounding on the device have the bits of NumPy's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from born.backend import codecs
from born.fusion import Program, trace
from born.fusion.codec import CODECS, coded_size
from born.raw import HostArray
from born_cupy.kernels import Source
from born_cupy.kernels.update import CHUNK
from tests.cupy import nvrtc
from tests.cupy.updating import run_on_host, source_of
from tests.fusion.kernels import Dtypes, arrays_of, assert_same_bits, kernel_of, run
from tests.fusion.test_codecs import adam, by_chance
from tests.simulator import host

SIZES = (0, 1, 255, 256, 257, 1000, CHUNK, CHUNK + 300, 2 * CHUNK + 5)

KEPT: tuple[tuple[str, tuple[str, str]], ...] = (
    *(("float32", (codec, codec)) for codec in CODECS),
    ("bfloat16", ("int8", "float8_e5m2")),
    ("float16", ("", "int8")),
    ("float64", ("float8_e4m3fn", "int8")),
)


def program_of(kept: tuple[str, str]) -> Program:
    return trace(adam, ["m", "v"], ["lr", "t"]).with_codecs(("", "", *kept))


def dtypes_of(dtype: str, kept: tuple[str, str]) -> Dtypes:
    return (dtype, dtype, *("uint8" if codec else "float32" for codec in kept))


CHANCE = trace(by_chance, ["m"], ["lr", "t"]), ("bfloat16", "bfloat16", "float32")


def every_source() -> Iterator[Source]:
    for dtype, kept in KEPT:
        yield source_of(program_of(kept), dtypes_of(dtype, kept))
    yield source_of(*CHANCE)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    """All kernels in one run of the compiler, which is slow to start."""
    host.build(every_source())


def arrays_for(dtype: str, kept: tuple[str, str], size: int, seed: int) -> list[HostArray]:
    """A parameter, its gradient and slots, some of them coded."""
    p, g, *slots = arrays_of((dtype, dtype, "float32", "float32"), size, seed)
    if seed % 2:
        slots[0] = slots[0] * np.float32(1e-36)
    elif size > 300:
        slots[0][290] = np.nan
    coded: list[HostArray] = []
    for slot, codec in zip(slots, kept, strict=True):
        codes = np.empty(coded_size(size), np.uint8)
        if codec:
            codecs.encode(slot, codec, codes, np)
        coded.append(codes if codec else slot)
    return [p, g, *coded]


def check(program: Program, dtypes: Dtypes, tensors: Any, scalars: Any) -> None:
    expected = run(kernel_of("numpy", program, dtypes), tensors, scalars)
    run_on_host(program, dtypes, tensors, scalars)
    for (p, _, *slots), wanted in zip(tensors, expected, strict=True):
        for which, (a, b) in enumerate(zip((p, *slots), wanted, strict=True)):
            assert_same_bits(a, b, f"size {p.size}, output {which}")


@pytest.mark.parametrize(("dtype", "kept"), KEPT, ids=str)
def test_coded_slots_have_the_bytes_of_numpy(dtype: str, kept: tuple[str, str]) -> None:
    program, dtypes = program_of(kept), dtypes_of(dtype, kept)
    for t in (1, 2):
        tensors = [arrays_for(dtype, kept, size, seed) for seed, size in enumerate(SIZES)]
        scalars = [{"lr": 0.1, "t": t, "__number": i} for i in range(len(SIZES))]
        check(program, dtypes, tensors, scalars)


def test_chance_has_the_bits_of_numpy() -> None:
    program, dtypes = CHANCE
    tensors = [arrays_of(dtypes, size, seed, seed % 2 == 0) for seed, size in enumerate(SIZES)]
    scalars = [{"lr": 1e-3, "t": 5, "__number": i} for i in range(len(SIZES))]
    check(program, dtypes, tensors, scalars)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_compiler_of_the_device_takes_them(architecture: str) -> None:
    for source in every_source():
        assert nvrtc.compile(source, architecture)
