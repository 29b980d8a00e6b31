"""The host's generator and the device's share of its work.

The state stays with NumPy's generator, so it is saved and restored as on the CPU. A kernel makes
the numbers that come next, and the generator moves on as if it had made them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from born_cupy.kernels.random import BLOCK


def state_of(generator: np.random.Generator, count: int, double: bool) -> tuple[np.generic, ...]:
    """How many blocks of the stream `count` numbers take (64 bits each if `double`); the state."""
    state: Any = generator.bit_generator.state
    used, halves = int(state["buffer_pos"]), 0 if double else int(state["has_uint32"])
    words = count if double else (max(count - halves, 0) + 1) // 2
    blocks = -(-(used + words) // BLOCK)
    numbers = (*state["state"]["counter"], *state["state"]["key"], *state["buffer"])
    return (
        np.int64(max(blocks, 1)),  # one even where all there is to make is the half that is left
        *(np.uint64(number) for number in numbers),
        np.int64(used),
        np.int64(halves),
        np.uint32(state["uinteger"]),
    )


def skip(generator: np.random.Generator, count: int, double: bool) -> None:
    """Leave the generator as if it had drawn `count` numbers.

    It draws up to the end of a block, jumps over whole blocks, and draws the rest, at least one
    number, so that nothing of its state is guessed.
    """
    dtype = np.float64 if double else np.float32
    numbers_per_block = BLOCK if double else 2 * BLOCK
    bits: Any = generator.bit_generator
    state = bits.state
    left = (BLOCK - int(state["buffer_pos"])) * (numbers_per_block // BLOCK)
    if not double:
        left += int(state["has_uint32"])
    blocks = (count - left - 1) // numbers_per_block
    if blocks > 0:
        generator.random(left, dtype)
        count -= left + blocks * numbers_per_block
        half = {key: state[key] for key in ("has_uint32", "uinteger")} if double else {}
        bits.advance(blocks)  # which forgets a half that is left
        bits.state = {**bits.state, **half}
    generator.random(count, dtype)
