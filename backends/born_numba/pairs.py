"""Pairs of neighbours, several at once, inside compiled loops: for pooling by two.

LLVM does not vectorise loops over rows as short as those of small images. These take eight pairs at
a time, wherever they lie, and leave it to the loop that what is past a row's end is written again.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from born_numba.compiler import intrinsic, ir, types

PAIRS: Final = 8
"""How many pairs are taken at once."""

_LONG: Final = ir.VectorType(ir.IntType(64), PAIRS)


@cache
def operations(dtype: np.dtype[Any]) -> dict[str, Any]:
    """What a loop calls, for one dtype; all arguments are addresses.

    `choose(above, below, y, winner)` writes the largest elements of blocks of two by two, and as
    int64 which of the four those are: the first of those that tie, and NaN before all others.
    `part(g, winner, first, out)` writes pairs: g where the winner is `first`, a number, and zero;
    then g where it is the next one, and zero. It gives the bits of all winners together.
    """
    vectors, number = _Vectors(dtype), types.int64

    @intrinsic
    def choose(context: Any, above: Any, below: Any, y: Any, winner: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vectors.choose(builder, *args)
            return context.get_dummy_value()

        return types.void(number, number, number, number), generate

    @intrinsic
    def part(context: Any, g: Any, winner: Any, first: Any, out: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return vectors.part(builder, *args)

        return number(number, number, number, number), generate

    return {"choose": choose, "part": part}


class _Vectors:
    """What is generated for elements of one dtype."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        element = ir.FloatType() if dtype == np.float32 else ir.DoubleType()
        self.single, self.double = ir.VectorType(element, PAIRS), ir.VectorType(element, 2 * PAIRS)
        self.size = dtype.itemsize

    def choose(self, builder: Any, above: Any, below: Any, y: Any, winner: Any) -> None:
        best: list[tuple[Any, Any]] = []
        for row, address in enumerate((above, below)):
            both = self._load(builder, address, self.double)
            left, right = (
                (
                    builder.shuffle_vector(both, both, _lanes(range(side, 2 * PAIRS, 2))),
                    ir.Constant(_LONG, [2 * row + side] * PAIRS),
                )
                for side in (0, 1)
            )
            best.append(_larger(builder, left, right))
        value, place = _larger(builder, *best)
        self._store(builder, value, y)
        self._store(builder, place, winner)

    def part(self, builder: Any, g: Any, winner: Any, first: Any, out: Any) -> Any:
        slopes = self._load(builder, g, self.single)
        places = self._load(builder, winner, _LONG)
        none = ir.Constant(self.single, None)
        left = _repeated(builder, first)
        right = builder.add(left, ir.Constant(_LONG, [1] * PAIRS))
        pair = [
            builder.select(builder.icmp_signed("==", places, side), slopes, none)
            for side in (left, right)
        ]
        turns = [k // 2 + PAIRS * (k % 2) for k in range(2 * PAIRS)]
        self._store(builder, builder.shuffle_vector(*pair, _lanes(turns)), out)
        return _bits_together(builder, places)

    def _load(self, builder: Any, address: Any, kind: Any) -> Any:
        place = builder.inttoptr(address, kind.as_pointer())
        return builder.load(place, align=8 if kind == _LONG else self.size)

    def _store(self, builder: Any, value: Any, address: Any) -> None:
        place = builder.inttoptr(address, value.type.as_pointer())
        builder.store(value, place, align=8 if value.type == _LONG else self.size)


def _larger(builder: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """The larger of each two (value, place), the first if both are equal, or NaN."""
    more = builder.fcmp_unordered("ugt", b[0], a[0])  # or either is NaN
    won = builder.and_(more, builder.fcmp_ordered("ord", a[0], a[0]))
    return builder.select(won, b[0], a[0]), builder.select(won, b[1], a[1])


def _repeated(builder: Any, number: Any) -> Any:
    """A number in each lane."""
    start = builder.insert_element(ir.Constant(_LONG, ir.Undefined), number, ir.Constant(_INDEX, 0))
    return builder.shuffle_vector(start, start, _lanes([0] * PAIRS))


def _bits_together(builder: Any, numbers: Any) -> Any:
    """The bits of all lanes, by halves."""
    count = PAIRS
    while count > 1:
        count //= 2
        low, high = (_lanes(range(k, k + count)) for k in (0, count))
        halves = (builder.shuffle_vector(numbers, numbers, each) for each in (low, high))
        numbers = builder.or_(*halves)
    return builder.extract_element(numbers, ir.Constant(_INDEX, 0))


_INDEX: Final = ir.IntType(32)


def _lanes(numbers: Any) -> Any:
    """Which lanes of two vectors to take."""
    lanes = list(numbers)
    return ir.Constant(ir.VectorType(_INDEX, len(lanes)), lanes)
