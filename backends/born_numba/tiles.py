"""Tiles: sums in registers, inside compiled loops.

A matrix product is fast if a block of its sums stays in registers while rows and columns stream by.
LLVM does not find such blocks by itself. So here a tile is a type of its own: rows by columns of
vectors, each of as many floats as a register holds, with the few operations that products need.
LLVM makes of them what the processor has: two registers for one vector if its own are shorter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import Parameter, Signature
from typing import Any, Final, NamedTuple

import numpy as np

from born_numba.compiler import binding, intrinsic, ir, models, register_model, types

_WIDE: Final = 64  # bytes of AVX-512's vectors, of which there are 32
_NARROW: Final = 32  # bytes of AVX's, of which there are 16; NEON has 32 of half the size

_INT: Final = ir.IntType(32)
_LONG: Final = ir.IntType(64)
_DOUBLE: Final = ir.DoubleType()


class Form(NamedTuple):
    """The size of a tile: rows by columns of vectors of some bytes."""

    rows: int
    columns: int
    bytes: int


@cache
def vector_bytes() -> int:
    """The bytes of this processor's vectors."""
    return _WIDE if binding.get_host_cpu_features().get("avx512f") else _NARROW


def forms(width: int) -> tuple[Form, Form]:
    """The tiles that fill the registers of processors with vectors of `width` bytes.

    The first is for many rows, the second for one or two.
    """
    return Form(8 if width == _WIDE else 4, 3, width), Form(2, 4, width)


@cache
def operations(form: Form, dtype: np.dtype[Any]) -> dict[str, Any]:
    """What a loop calls of a tile; addresses are of elements, and pitches in bytes.

    `nothing()` is a tile of zeros, and `spread(a)` one whose rows are all of one number each, read
    from a. `add_products(tile, a, b, place)` adds the column of numbers from a times the row of
    vectors from b + place[0]. `add_rows(tile, a, pitch, b, place)` adds to row i and column j the
    product of the vectors at a + i pitch and at b + place[j]. `write(tile, a, pitch)` writes rows
    of vectors; `add_totals(tile, a, pitch)` adds the sum of each to rows of float64.
    """
    code, tile, number = _Code(form, dtype), _Tile(form, dtype), types.int64
    return {
        name: _operation(getattr(code, name), result(*arguments))
        for name, result, arguments in (
            ("nothing", tile, ()),
            ("spread", tile, (number,)),
            ("add_products", tile, (tile, *[number] * 3)),
            ("add_rows", tile, (tile, *[number] * 4)),
            ("write", types.void, (tile, number, number)),
            ("add_totals", types.void, (tile, number, number)),
        )
    }


def _operation(write: Callable[..., Any], signature: Any) -> Any:
    """A function for compiled loops, whose machine code `write` writes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result = write(builder, *args)
        return context.get_dummy_value() if result is None else result

    def typed(context: Any, *arguments: Any) -> Any:
        return signature, generate

    # Numba wants to see as many parameters as there are.
    names = ("context", *(f"a{i}" for i in range(len(signature.args))))
    parameters = [Parameter(name, Parameter.POSITIONAL_ONLY) for name in names]
    typed.__dict__["__signature__"] = Signature(parameters)
    return intrinsic(typed)


class _Tile(types.Type):  # type: ignore[misc]  # Numba is imported at run time
    """Numba's type of a tile."""

    def __init__(self, form: Form, dtype: np.dtype[Any]) -> None:
        self.llvm = _llvm(form, dtype)
        super().__init__(name=f"{form}, {dtype.name}")  # pyright: ignore[reportUnknownMemberType]  # as above


def _llvm(form: Form, dtype: np.dtype[Any]) -> Any:
    """LLVM's type: an array of vectors, which it takes apart into registers."""
    element = ir.FloatType() if dtype == np.float32 else _DOUBLE
    vector = ir.VectorType(element, form.bytes // dtype.itemsize)
    return ir.ArrayType(vector, form.rows * form.columns)


@register_model(_Tile)
class _Model(models.PrimitiveModel):  # type: ignore[misc]  # Numba is imported at run time
    """How Numba keeps a tile."""

    def __init__(self, manager: Any, tile: Any) -> None:
        super().__init__(manager, tile, tile.llvm)  # pyright: ignore[reportUnknownMemberType]  # as above


class _Code:
    """The machine code of `operations`."""

    def __init__(self, form: Form, dtype: np.dtype[Any]) -> None:
        self._rows, self._columns, self._width = form
        self._tile = _llvm(form, dtype)
        self._vector = self._tile.element
        self._size = dtype.itemsize

    def nothing(self, builder: Any) -> Any:
        return ir.Constant(self._tile, None)

    def spread(self, builder: Any, a: Any) -> Any:
        sums = ir.Constant(self._tile, ir.Undefined)
        for i in range(self._rows):
            one = self._spread(builder, a, i * self._size)
            for j in range(self._columns):
                sums = builder.insert_value(sums, one, i * self._columns + j)
        return sums

    def add_products(self, builder: Any, sums: Any, a: Any, b: Any, place: Any) -> Any:
        line = builder.add(b, self._load(builder, place, 0, _LONG))
        vectors = [
            self._load(builder, line, j * self._width, self._vector) for j in range(self._columns)
        ]
        for i in range(self._rows):
            one = self._spread(builder, a, i * self._size)
            sums = self._added(builder, sums, i, one, vectors)
        return sums

    def add_rows(self, builder: Any, sums: Any, a: Any, pitch: Any, b: Any, place: Any) -> Any:
        vectors: list[Any] = []
        for j in range(self._columns):
            line = builder.add(b, self._load(builder, place, 8 * j, _LONG))
            vectors.append(self._load(builder, line, 0, self._vector))
        for i in range(self._rows):
            one = self._load(builder, _further(builder, a, pitch, i), 0, self._vector)
            sums = self._added(builder, sums, i, one, vectors)
        return sums

    def write(self, builder: Any, sums: Any, a: Any, pitch: Any) -> None:
        for i in range(self._rows):
            row = _further(builder, a, pitch, i)
            for j in range(self._columns):
                place = self._pointer(builder, row, j * self._width, self._vector)
                value = builder.extract_value(sums, i * self._columns + j)
                builder.store(value, place, align=self._size)

    def add_totals(self, builder: Any, sums: Any, a: Any, pitch: Any) -> None:
        for i in range(self._rows):
            row = _further(builder, a, pitch, i)
            for j in range(self._columns):
                place = self._pointer(builder, row, 8 * j, _DOUBLE)
                total = self._total(builder, builder.extract_value(sums, i * self._columns + j))
                if self._vector.element != _DOUBLE:
                    total = builder.fpext(total, _DOUBLE)
                builder.store(builder.fadd(builder.load(place), total), place)

    def _added(self, builder: Any, sums: Any, i: int, one: Any, vectors: list[Any]) -> Any:
        """Row i plus one vector times each of the others, rounded once where there is an FMA."""
        for j, other in enumerate(vectors, i * self._columns):
            product = builder.fmul(one, other, flags=("contract",))
            total = builder.fadd(builder.extract_value(sums, j), product, flags=("contract",))
            sums = builder.insert_value(sums, total, j)
        return sums

    def _pointer(self, builder: Any, address: Any, step: int, kind: Any) -> Any:
        place = builder.add(address, ir.Constant(_LONG, step))
        return builder.inttoptr(place, kind.as_pointer())

    def _load(self, builder: Any, address: Any, step: int, kind: Any) -> Any:
        return builder.load(self._pointer(builder, address, step, kind), align=self._size)

    def _spread(self, builder: Any, address: Any, step: int) -> Any:
        """A vector of one number, which is loaded."""
        number = self._load(builder, address, step, self._vector.element)
        none = ir.Constant(self._vector, ir.Undefined)
        first = builder.insert_element(none, number, ir.Constant(_INT, 0))
        return builder.shuffle_vector(first, none, _lanes([0] * self._vector.count))

    def _total(self, builder: Any, x: Any) -> Any:
        """The sum of a vector, half by half."""
        count = self._vector.count
        while count > 1:
            count //= 2
            halves = (_lanes(list(range(first, first + count))) for first in (0, count))
            x = builder.fadd(*(builder.shuffle_vector(x, x, half) for half in halves))
        return builder.extract_element(x, ir.Constant(_INT, 0))


def _lanes(numbers: list[int]) -> Any:
    """Which lanes of a vector to take."""
    return ir.Constant(ir.VectorType(_INT, len(numbers)), numbers)


def _further(builder: Any, address: Any, pitch: Any, times: int) -> Any:
    """An address some pitches further."""
    return builder.add(address, builder.mul(pitch, ir.Constant(_LONG, times)))
