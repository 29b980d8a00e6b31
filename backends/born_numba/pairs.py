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
    element = ir.FloatType() if dtype == np.float32 else ir.DoubleType()
    single, double = ir.VectorType(element, PAIRS), ir.VectorType(element, 2 * PAIRS)
    number = types.int64

    def load(builder: Any, address: Any, kind: Any) -> Any:
        size = 8 if kind is _LONG else dtype.itemsize
        return builder.load(builder.inttoptr(address, kind.as_pointer()), align=size)

    def store(builder: Any, value: Any, address: Any) -> None:
        place = builder.inttoptr(address, value.type.as_pointer())
        builder.store(value, place, align=8 if value.type == _LONG else dtype.itemsize)

    def larger(builder: Any, a: Any, b: Any) -> tuple[Any, Any]:
        """The larger of each two (value, place), the first if both are equal, or NaN."""
        more = builder.fcmp_unordered("ugt", b[0], a[0])  # or either is NaN
        won = builder.and_(more, builder.fcmp_ordered("ord", a[0], a[0]))
        return builder.select(won, b[0], a[0]), builder.select(won, b[1], a[1])

    @intrinsic
    def choose(context: Any, above: Any, below: Any, y: Any, winner: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            best: list[tuple[Any, Any]] = []
            for row in (0, 1):
                both = load(builder, args[row], double)
                pair = (
                    (
                        builder.shuffle_vector(both, both, _lanes(range(side, 2 * PAIRS, 2))),
                        ir.Constant(_LONG, [2 * row + side] * PAIRS),
                    )
                    for side in (0, 1)
                )
                best.append(larger(builder, *pair))
            value, place = larger(builder, *best)
            store(builder, value, args[2])
            store(builder, place, args[3])
            return context.get_dummy_value()

        return types.void(number, number, number, number), generate

    @intrinsic
    def part(context: Any, g: Any, winner: Any, first: Any, out: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            slopes = load(builder, args[0], single)
            places = load(builder, args[1], _LONG)
            none = ir.Constant(single, None)
            start = builder.insert_element(
                ir.Constant(_LONG, ir.Undefined), args[2], ir.Constant(ir.IntType(32), 0)
            )
            left = builder.shuffle_vector(start, start, _lanes([0] * PAIRS))
            right = builder.add(left, ir.Constant(_LONG, [1] * PAIRS))
            pair = [
                builder.select(builder.icmp_signed("==", places, side), slopes, none)
                for side in (left, right)
            ]
            turns = [k // 2 + PAIRS * (k % 2) for k in range(2 * PAIRS)]
            store(builder, builder.shuffle_vector(*pair, _lanes(turns)), args[3])
            count = PAIRS
            while count > 1:
                count //= 2
                low, high = (_lanes(range(k, k + count)) for k in (0, count))
                halves = (builder.shuffle_vector(places, places, each) for each in (low, high))
                places = builder.or_(*halves)
            return builder.extract_element(places, ir.Constant(ir.IntType(32), 0))

        return number(number, number, number, number), generate

    return {"choose": choose, "part": part}


def _lanes(numbers: Any) -> Any:
    """Which lanes of two vectors to take."""
    lanes = list(numbers)
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
