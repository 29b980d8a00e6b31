"""The arena lends memory again when nobody holds it, and not before."""

from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

import born
from born import nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.raw import HostArray
from born_numpy.arena import ARENA, LARGE, Arena
from tests.tools import python

FLOAT32: Final = np.dtype(np.float32)
SHAPE: Final = (256, 256)


def place(array: HostArray) -> int:
    return array.ctypes.data


ESCAPES: Final[dict[str, Callable[[HostArray], Any]]] = {
    "view": lambda x: x[3:, ::2].T,
    "reshaped": lambda x: x.reshape(-1)[-1:],
    "other dtype": lambda x: x.view(np.uint8),
    "DLPack": np.from_dlpack,
    "buffer": lambda x: x.data,
    "capsule": lambda x: x.__dlpack__(),
    "subclass": lambda x: x.view(np.recarray),
    "iterator": np.nditer,
    "base": lambda x: x.base,
    "block": lambda x: x.base.base if x.base is not None else None,
}


@pytest.mark.parametrize("name", ESCAPES)
def test_memory_is_not_lent_again_while_anything_holds_it(name: str) -> None:
    arena = Arena(2**24)
    lent = arena.empty(SHAPE, FLOAT32)
    where: int = place(lent)
    held: object = ESCAPES[name](lent)
    lent[...] = 7
    del lent
    others = [arena.empty(SHAPE, FLOAT32) for _ in range(3)]
    for other in others:
        other[...] = 0
    assert where not in map(place, others)
    if name in ("view", "reshaped", "DLPack"):
        assert (np.asarray(held) == 7).all()


def test_the_latest_memory_is_lent_again() -> None:
    arena = Arena(2**24)
    first, second = arena.empty(SHAPE, FLOAT32), arena.empty(SHAPE, FLOAT32)
    places = [place(first), place(second)]
    del first, second
    assert arena.free_bytes == 2 * 256 * 256 * 4
    again = [arena.empty((2 * 256 * 128,), np.dtype(np.int32)) for _ in range(2)]
    assert [place(array) for array in again] == places[::-1]
    assert arena.made == 3  # with the one that it is calibrated by


def test_arrays_are_aligned_writeable_and_contiguous() -> None:
    array = Arena(2**24).empty((3, 100_001), np.dtype(np.float64))
    assert place(array) % 64 == 0
    assert array.flags.writeable
    assert array.flags.c_contiguous
    assert type(array) is np.ndarray
    array[...] = 1
    assert array.sum() == 300_003


def test_free_memory_is_bounded_and_can_be_cleared() -> None:
    arena = Arena(2**20)
    arrays = [arena.empty((2**17,), FLOAT32) for _ in range(5)]
    del arrays
    assert arena.free_bytes == 2**20
    arena.clear()
    assert arena.free_bytes == 0
    array = arena.empty((2**17,), FLOAT32)
    assert array.shape == (2**17,)


@pytest.mark.parametrize("most", [0, 2**20])
def test_small_arrays_and_those_of_no_arena_are_numpys_own(most: int) -> None:
    arena = Arena(most)
    assert arena.empty((LARGE // 4 - 1,), FLOAT32).base is None
    assert (arena.empty((LARGE // 4,), FLOAT32).base is None) == (most == 0)
    assert arena.empty((0, 2**40), FLOAT32).shape == (0, 2**40)


def test_sizes_that_nobody_asks_for_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("born_numpy.arena._IDLE", 10)
    arena = Arena(2**24)
    arena.empty((2**16,), FLOAT32)
    for _ in range(20):
        arena.empty((2**18,), FLOAT32)
    assert arena.free_bytes == 2**20 + 2**18
    held = [arena.empty((2**18,), FLOAT32) for _ in range(2)]
    assert arena.free_bytes == 0
    assert len(held) == 2


def test_threads_do_not_share_memory_by_accident() -> None:
    arena = Arena(2**24)
    wrong: list[int] = []

    def work(number: int) -> None:
        kept: list[HostArray] = []
        for step in range(300):
            array = arena.empty(SHAPE, FLOAT32)
            array[0], array[-1] = number, step
            kept.append(array)
            if len(kept) > 3:
                old = kept.pop(0)
                if old[0, 0] != number or old[-1, 0] != step - 3:
                    wrong.append(step)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert arena.free_bytes == (arena.made - 1) * 2**18


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_has_its_own_copies() -> None:
    script = """
import os
import numpy as np
from born_numpy.arena import ARENA
x = ARENA.empty((256, 256), np.dtype(np.float32))
x[...] = 1
ARENA.empty((256, 256), np.dtype(np.float32))  # free from here on
child = os.fork()
if not child:
    y = ARENA.empty((256, 256), np.dtype(np.float32))
    y[...] = 2
    x[...] = 3
    os._exit(0)
os.waitpid(child, 0)
z = ARENA.empty((256, 256), np.dtype(np.float32))
z[...] = 4
print(float(x.min()), float(x.max()))
"""
    assert python(script).split() == ["1.0", "1.0"]


def test_the_environment_switches_it_off() -> None:
    script = """
import os
os.environ["BORN_ARENA_BYTES"] = "0"
import born
x = born.get_backend("numpy").ones((1000, 1000), "float32")
print(x.array.base is None)
"""
    assert python(script).split() == ["True"]


def test_a_wrong_environment_says_what_is_wrong() -> None:
    script = """
import os
os.environ["BORN_ARENA_BYTES"] = "much"
import born
try:
    born.get_backend("numpy")
except born.errors.ConfigError as error:
    print(error)
"""
    assert "expected a number of bytes in BORN_ARENA_BYTES, got 'much'" in python(script)


def test_an_exception_holds_no_more_than_its_traceback(cpu_backend: Backend) -> None:
    before = ARENA.free_bytes

    def fail() -> None:
        held = cpu_backend.ones((500, 500), "float32")
        raise RuntimeError(held.shape)

    for _ in range(3):
        with pytest.raises(RuntimeError):
            fail()
    gc.collect()
    made = ARENA.made
    cpu_backend.ones((500, 500), "float32")
    assert ARENA.made == made
    assert ARENA.free_bytes >= before


def test_a_training_loop_allocates_nothing_large_from_its_third_step_on(
    cpu_backend: Backend,
) -> None:
    backend = Autodiff(cpu_backend)
    width = 128
    table = nn.Embedding(16, width, backend)
    block = nn.TransformerBlock(width, 4, backend)
    head = nn.Linear(width, 16, backend)
    parameters = [*table.parameters(), *block.parameters(), *head.parameters()]
    optimizer = optim.Adam(parameters, optim.AdamConfig(lr=1e-3))
    generator = np.random.default_rng(0)
    tokens = born.tensor(generator.integers(0, 16, (32, 64)), backend)
    following = born.tensor(generator.integers(0, 16, 32 * 64), backend)

    def step() -> None:
        with backend.tape:
            logits = head(block(table(tokens), causal=True))
            loss = nn.cross_entropy(logits.reshape(-1, 16), following)
        optimizer.step(backward(loss))

    for _ in range(2):
        step()
    made = ARENA.made
    tracemalloc.start()
    step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert ARENA.made == made
    assert peak < 32 * 64 * width * 4  # a tensor between two layers
