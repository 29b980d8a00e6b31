"""Where large slots lie, and that a loop's chunks begin where cache lines do."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.dtypes import as_dtype
from born.fusion.codec import BLOCK
from born.raw import HostArray
from born_numpy import NumpyBackend
from born_numpy.alignment import LINE, slot, to_line
from tests.fusion.kernels import NEEDS_NUMBA

LARGE = 300_001


def _at(offset: int, size: int = LARGE) -> HostArray:
    """A float32 array whose first element lies this many bytes behind a cache line's start."""
    memory = np.zeros(size * 4 + 2 * LINE, np.uint8)
    first = (offset - memory.ctypes.data) % LINE
    return memory[first : first + size * 4].view(np.float32)


@pytest.mark.parametrize("offset", range(0, LINE, 4))
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_cache_lines_of_slots_begin_where_the_parameters_do(offset: int, dtype: str) -> None:
    parameter = _at(offset, 2 * LARGE)
    lead = to_line(parameter)
    assert parameter[lead:].ctypes.data % LINE == 0
    places: set[int] = set()
    for number in (1, 2, 3):
        array = slot(parameter, as_dtype(dtype), number).array
        assert array.shape == parameter.shape
        assert array.dtype == as_dtype(dtype)
        assert not array.any()
        assert array.flags.c_contiguous
        assert array.flags.aligned
        address = array[lead:].ctypes.data
        assert address % LINE == 0
        places.add(address % 4096)
    assert len(places) == 3


def test_small_slots_are_plain_zeros() -> None:
    array = slot(np.ones((3, 5), np.float32), as_dtype("float32"), 1).array
    assert array.base is None
    np.testing.assert_array_equal(array, np.zeros((3, 5)))


def test_slot_of_a_view_has_its_shape() -> None:
    parameter = np.ones((600, 1000), np.float32).T
    assert slot(parameter, as_dtype("float32"), 1).array.shape == (1000, 600)


def test_optimizer_lays_out_its_slots() -> None:
    parameter = nn.Parameter(born.ones((LARGE,), NumpyBackend()))
    optimizer: Any = optim.Adam([parameter], optim.AdamConfig())
    ((m, v),) = optimizer._buffers
    lead = to_line(parameter.raw.array)
    assert m.array[lead:].ctypes.data % LINE == v.array[lead:].ctypes.data % LINE == 0
    assert m.array.ctypes.data % 4096 != v.array.ctypes.data % 4096


@pytest.mark.parametrize("offset", [0, 4, 16, 60])
@pytest.mark.parametrize(
    ("size", "most"),
    [
        (0, 0),
        (1, 1),
        (16_384, 16_384),
        (16_500, 16_384),
        (65_540, 16_384),
        (LARGE, 16_384),
        (1_500_000, 32_768),
        (3_000_001, 65_536),
    ],
)
def test_chunks_cover_a_tensor_once(offset: int, size: int, most: int) -> None:
    pytest.importorskip("numba", reason=NEEDS_NUMBA)
    boundaries: Any = importlib.import_module("born_numba.update")._boundaries
    parameter = _at(offset, size)
    for aligned in (True, False):
        found = boundaries(parameter, aligned)
        assert found == sorted(set(found))
        assert found[:1] + found[-1:] == ([0, size] if size else [])
        if aligned:
            assert all(parameter[i:].ctypes.data % LINE == 0 for i in found[1:-1])
        else:
            assert all(i % BLOCK == 0 for i in found[:-1])
        assert max((b - a for a, b in itertools.pairwise(found)), default=0) == most
