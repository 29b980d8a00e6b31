"""Random numbers, drawn on the host, so that one seed gives one model on every backend."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from typing_extensions import override

from born.backend.arrays.dispatch import Dispatch
from born.backend.contract.base import Base, RandomState
from born.backend.contract.creation import Creation
from born.dtypes import INTEGRAL, DTypeLike, as_dtype, is_half
from born.errors import DomainError, DTypeError
from born.raw import HostArray, RawTensor, Shape


class ArrayRandom(Base, Creation, Dispatch):
    """Random numbers of a Philox generator, which counts: it can go on from any state."""

    @override
    def seed(self, seed: int) -> None:
        try:
            self._generator = np.random.Generator(np.random.Philox(operator.index(seed)))
        except (TypeError, ValueError) as error:
            raise DomainError(
                f"expected a non-negative integer seed, got {seed!r}; seed=0 is the default"
            ) from error

    @property
    @override
    def random_state(self) -> RandomState:
        state = self._generator.bit_generator.state
        inner = {name: [int(word) for word in words] for name, words in state["state"].items()}
        return {
            "bit_generator": "Philox",
            "state": inner,
            "buffer": [int(word) for word in state["buffer"]],
            "buffer_pos": int(state["buffer_pos"]),
            "has_uint32": int(state["has_uint32"]),
            "uinteger": int(state["uinteger"]),
        }

    @override
    def set_random_state(self, state: RandomState) -> None:
        self._generator = self._restored_generator(state)

    @override
    def check_random_state(self, state: RandomState) -> None:
        self._restored_generator(state)

    def _restored_generator(self, state: RandomState) -> np.random.Generator:
        """A generator that goes on from a state; what is not one is refused."""
        bits = np.random.Philox(0)
        try:
            words: Mapping[str, list[int]] = state["state"]
            lengths = ((words["counter"], 4), (words["key"], 2), (state["buffer"], 4))
            if not all(_are_words(listed, length) for listed, length in lengths):
                raise ValueError("not words of 64 bits, as many as there should be")
            limits = (("buffer_pos", 4), ("has_uint32", 1), ("uinteger", 2**32 - 1))
            if not all(_is_natural(state[name], most) for name, most in limits):
                raise ValueError("a number out of range")
            arrays = {name: np.array(words[name], np.uint64) for name in ("counter", "key")}
            restored: Any = {
                **state,
                "state": arrays,
                "buffer": np.array(state["buffer"], np.uint64),
            }
            bits.state = restored
        except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
            raise DomainError(
                f"expected the random state of a Philox generator, got {state!r}; "
                "pass what random_state gave"
            ) from error
        return np.random.Generator(bits)

    @override
    def drawn(self, distribution: str, *parameters: Any) -> Any:
        return getattr(self._generator, distribution)(*parameters)

    @override
    def normal(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        return self._draw_on_host(self._generator.standard_normal, shape, dtype)

    @override
    def uniform(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        return below_one(self._draw_on_host(self._generator.random, shape, dtype))

    def _draw_on_host(
        self, draw: Callable[..., HostArray], shape: Shape, dtype: DTypeLike
    ) -> RawTensor:
        """Numbers that the host draws, so that every backend draws the same."""
        wanted = as_dtype(dtype)
        if wanted.kind in INTEGRAL:
            raise DTypeError(
                f"expected a floating dtype to draw random numbers in, got {wanted}; "
                "draw floats and convert them with .astype"
            )
        drawn = draw(shape, dtype=np.float64 if wanted.itemsize == 8 else np.float32)
        return RawTensor(self.xp.asarray(np.asarray(drawn).astype(wanted, copy=False)))


def below_one(drawn: RawTensor) -> RawTensor:
    """Draws of which those that were rounded up to 1, as to halves, become the number before it."""
    if is_half(drawn.dtype):
        bits = drawn.array.view(np.uint16)
        bits -= (drawn.array == 1).astype(np.uint16)
    return drawn


def _are_words(listed: Sequence[object], length: int) -> bool:
    return len(listed) == length and all(_is_natural(word, 2**64 - 1) for word in listed)


def _is_natural(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
