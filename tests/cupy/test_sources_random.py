"""Uniform numbers on the device are those of NumPy's generator, from wherever it stands."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest

from born.raw import HostArray, as_dtype
from born_cupy import philox
from born_cupy.sources import Source
from born_cupy.sources.random import dropout, uniform
from tests.cupy.kernels import FLOATING, LAUNCHER, numbers

COUNTS: Final = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 1000, 40_001)
BEFORE: Final = [(0, 0), (0, 1), (1, 0), (2, 1), (3, 0), (3, 1), (4, 0), (5, 3), (7, 2)]
"""How many doubles and then how many floats were drawn before."""

ALMOST_OVER: Final = np.array([2**64 - 2, 2**64 - 1, 2**64 - 1, 5], np.uint64)
"""A counter whose lower words are soon to carry."""


def generator_at(before: tuple[int, int], seed: int = 3) -> np.random.Generator:
    """A generator in the middle of its stream."""
    generator = np.random.Generator(np.random.Philox(seed))
    generator.random(before[0])
    generator.random(before[1], np.float32)
    return generator


def drawn(
    source: Source, generator: np.random.Generator, count: int, double: bool, *arguments: Any
) -> None:
    """What the backend does to draw."""
    state = philox.state_of(generator, count, double)
    LAUNCHER.elements(source, int(state[0]), *arguments, np.int64(count), *state)
    philox.skip(generator, count, double)


def uniforms(generator: np.random.Generator, count: int, dtype: str) -> HostArray:
    """Numbers made by the kernel."""
    result = np.empty(count, as_dtype(dtype))
    drawn(uniform(result.dtype), generator, count, dtype == "float64", result)
    return result


def on_host(generator: np.random.Generator, count: int, dtype: str) -> HostArray:
    """Numbers made by NumPy."""
    made = generator.random(count, np.float64 if dtype == "float64" else np.float32)
    return made.astype(as_dtype(dtype))


def assert_same(generator: np.random.Generator, other: np.random.Generator) -> None:
    """Two generators stand at the same place."""
    assert repr(generator.bit_generator.state) == repr(other.bit_generator.state)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_and_state_are_numpys(dtype: str, before: tuple[int, int], count: int) -> None:
    ours, theirs = generator_at(before), generator_at(before)
    for _ in range(2):
        assert uniforms(ours, count, dtype).tobytes() == on_host(theirs, count, dtype).tobytes()
        assert_same(ours, theirs)


@pytest.mark.parametrize("dtype", FLOATING)
def test_every_dtype_is_rounded_as_on_the_host(dtype: str) -> None:
    ours, theirs = generator_at((1, 1)), generator_at((1, 1))
    assert uniforms(ours, 999, dtype).tobytes() == on_host(theirs, 999, dtype).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_counter_carries_from_word_to_word(dtype: str) -> None:
    ours, theirs = generator_at((2, 0)), generator_at((2, 0))
    for generator in (ours, theirs):
        state: Any = generator.bit_generator.state
        state["state"]["counter"] = ALMOST_OVER
        generator.bit_generator.state = state
    assert uniforms(ours, 50, dtype).tobytes() == on_host(theirs, 50, dtype).tobytes()
    assert_same(ours, theirs)


def test_a_buffer_that_the_counter_does_not_stand_for_is_used_up_as_it_is() -> None:
    ours, theirs = generator_at((0, 0)), generator_at((0, 0))
    for generator in (ours, theirs):
        state: Any = generator.bit_generator.state
        generator.bit_generator.state = {
            **state,
            "buffer": np.arange(4, dtype=np.uint64) << 40,
            "buffer_pos": 1,
        }
    assert uniforms(ours, 9, "float64").tobytes() == on_host(theirs, 9, "float64").tobytes()
    assert_same(ours, theirs)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("dtype", FLOATING)
def test_dropout_draws_the_mask_of_the_cpu(dtype: str, p: float) -> None:
    ours, theirs = generator_at((1, 1)), generator_at((1, 1))
    x = numbers((777,), dtype)
    y, mask = np.empty_like(x), np.empty_like(x)
    scale = 0.0 if p == 1 else 1 / (1 - p)
    real = np.float64 if dtype == "float64" else np.float32
    drawn(dropout(x.dtype), ours, 777, False, x, y, mask, np.float32(p), real(scale))
    kept = (theirs.random(777, np.float32) >= p).astype(x.dtype) * x.dtype.type(scale)
    assert mask.tobytes() == kept.tobytes()
    assert y.tobytes() == (x * kept).tobytes()
    assert_same(ours, theirs)
