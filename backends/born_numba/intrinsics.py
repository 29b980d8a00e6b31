"""Memory by address, inside compiled loops.

Unpacking hundreds of arrays into Numba's own structure on every call costs more than a small
update, so a loop gets the addresses of NumPy's array objects and reads their fields itself. The
layout is that of `PyArrayObject` in NumPy's C interface (`numpy/ndarraytypes.h`), on which every
compiled extension relies; `layout_holds` checks it against NumPy's own word.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from born_numba.compiler import embedded, intrinsic, ir, types

_HEADER: Final = object.__basicsize__  # the object's own head, which precedes NumPy's fields
DATA: Final = np.uint64(_HEADER)
NDIM: Final = np.uint64(_HEADER + 8)
SHAPE: Final = np.uint64(_HEADER + 16)
DESCR: Final = np.uint64(_HEADER + 40)
FLAGS: Final = np.uint64(_HEADER + 48)

C_CONTIGUOUS: Final = np.uint32(0x0001)  # NPY_ARRAY_C_CONTIGUOUS
ALIGNED: Final = np.uint32(0x0100)  # NPY_ARRAY_ALIGNED
WRITEABLE: Final = np.uint32(0x0400)  # NPY_ARRAY_WRITEABLE


@cache
def layout_holds() -> bool:
    """Whether NumPy's array objects have their fields where the loops look for them."""
    array = np.zeros((2, 3), np.float32)
    array.flags.writeable = False

    def field(kind: Any, offset: np.uint64) -> int:
        value: int = kind.from_address(id(array) + int(offset)).value
        return value

    flags = field(ctypes.c_uint32, FLAGS)
    if (
        field(ctypes.c_uint64, DATA) != array.ctypes.data
        or field(ctypes.c_int32, NDIM) != array.ndim
        or field(ctypes.c_uint64, DESCR) != id(array.dtype)
        or flags & (C_CONTIGUOUS | ALIGNED | WRITEABLE) != C_CONTIGUOUS | ALIGNED
    ):
        return False
    lengths = (ctypes.c_int64 * array.ndim).from_address(field(ctypes.c_uint64, SHAPE))
    return tuple(lengths) == array.shape


_LINE: Final = 64  # bytes of a cache line
_BYTE: Final = ir.IntType(8)
_HALF: Final = ir.HalfType()


@intrinsic
def pointer(typing_context: Any, address: Any) -> Any:
    """An address as a pointer, for `numba.carray`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], _BYTE.as_pointer())

    return types.voidptr(types.uint64), generate


def _loader(element: Any, result: Any) -> Any:
    def load(typing_context: Any, address: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load(_element(builder, element, *args))

        return result(types.uint64, types.int64), generate

    return intrinsic(load)


def _storer(element: Any, argument: Any) -> Any:
    def store(typing_context: Any, address: Any, number: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store(args[2], _element(builder, element, *args[:2]))
            return context.get_dummy_value()

        return types.void(types.uint64, types.int64, argument), generate

    return intrinsic(store)


def _element(builder: Any, element: Any, address: Any, number: Any) -> Any:
    place = builder.inttoptr(address, element.as_pointer())
    return builder.gep(place, [number], inbounds=True)


# An element of memory by the address of its first and its number. Arrays would do the same, but
# take Numba twice as long to compile.
_LONG: Final = ir.IntType(64)
load_uint8: Final = _loader(_BYTE, types.uint8)
load_uint16: Final = _loader(ir.IntType(16), types.uint16)
load_uint32: Final = _loader(ir.IntType(32), types.uint32)
load_uint64: Final = _loader(_LONG, types.uint64)
load_int64: Final = _loader(_LONG, types.int64)
load_float32: Final = _loader(ir.FloatType(), types.float32)
load_float64: Final = _loader(ir.DoubleType(), types.float64)
store_uint8: Final = _storer(_BYTE, types.uint8)
store_uint16: Final = _storer(ir.IntType(16), types.uint16)
store_float32: Final = _storer(ir.FloatType(), types.float32)
store_float64: Final = _storer(ir.DoubleType(), types.float64)


@intrinsic
def address_of(typing_context: Any, address: Any, number: Any, size: Any) -> Any:
    """Where an element is, given where the first is and how many bytes each takes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.add(args[0], builder.mul(args[1], args[2]))

    return types.uint64(types.uint64, types.int64, types.int64), generate


@intrinsic
def data(typing_context: Any, table: Any, number: Any) -> Any:
    """Where the memory of an array is whose object's address a table holds."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = builder.load(_element(builder, _LONG, *args))
        field = builder.add(array, ir.Constant(_LONG, int(DATA)))
        return builder.load(builder.inttoptr(field, _LONG.as_pointer()))

    return types.uint64(types.uint64, types.int64), generate


def room(size: int) -> Any:
    """What finds room for some bytes in a loop, as long as it runs, and returns its address."""

    def make(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            with builder.goto_entry_block():
                memory = builder.alloca(ir.ArrayType(_BYTE, size))
                memory.align = _LINE
            return builder.ptrtoint(memory, _LONG)

        return types.uint64(), generate

    return intrinsic(make)


def _reader(bits: int, result: Any) -> Any:
    def read(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.load(builder.inttoptr(args[0], ir.IntType(bits).as_pointer()))

        return result(types.uint64), generate

    return intrinsic(read)


read64: Final = _reader(64, types.uint64)
"""The 64 bits at an address."""

read32: Final = _reader(32, types.uint32)
"""The 32 bits at an address."""


def _conversion(argument: Any, result: Any, convert: Callable[[Any, Any], Any]) -> Any:
    """`convert(builder, value)` of a value of one type, giving one of another."""

    def conversion(typing_context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return convert(builder, args[0])

        return result(argument), generate

    return intrinsic(conversion)


float32_of_half: Final = _conversion(
    types.uint16,
    types.float32,
    lambda builder, bits: builder.fpext(builder.bitcast(bits, _HALF), ir.FloatType()),
)
"""The bits of a float16 as a float32."""

half_of_float32: Final = _conversion(
    types.float32,
    types.uint16,
    lambda builder, x: builder.bitcast(builder.fptrunc(x, _HALF), ir.IntType(16)),
)
"""A float32 rounded to float16, to nearest and to even, as bits."""

float32_of_bits: Final = _conversion(
    types.uint32, types.float32, lambda builder, bits: builder.bitcast(bits, ir.FloatType())
)
"""32 bits as the float32 that they are."""

float64_of_bits: Final = _conversion(
    types.uint64, types.float64, lambda builder, bits: builder.bitcast(bits, ir.DoubleType())
)
"""64 bits as the float64 that they are."""

bits_of_float32: Final = _conversion(
    types.float32, types.uint32, lambda builder, x: builder.bitcast(x, ir.IntType(32))
)
"""The bits of a float32."""


@intrinsic
def take(typing_context: Any, counter: Any) -> Any:
    """The next number of a counter at an address: no two threads are given the same."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", place, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(types.uint64), generate


def _mover(size: int) -> Any:
    vector = ir.VectorType(_BYTE, size).as_pointer()

    def move(typing_context: Any, to: Any, source: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            to, source = (builder.inttoptr(each, vector) for each in args)
            builder.store(builder.load(source, align=1), to, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return intrinsic(move)


_move64: Final = _mover(64)
_move32: Final = _mover(32)
_move16: Final = _mover(16)
_move8: Final = _mover(8)
_move4: Final = _mover(4)


@embedded
def copy(to: Any, source: Any, size: Any) -> None:
    """Copy a multiple of four bytes between addresses, as fast for a few as for many.

    The last vector, or the second of two, overlaps what was copied before it.
    """
    if size >= 64:
        for i in range(0, size - 63, 64):
            _move64(to + i, source + i)
        _move64(to + size - 64, source + size - 64)
    elif size >= 32:
        _move32(to, source)
        _move32(to + size - 32, source + size - 32)
    elif size >= 16:
        _move16(to, source)
        _move16(to + size - 16, source + size - 16)
    elif size >= 8:
        _move8(to, source)
        _move8(to + size - 8, source + size - 8)
    elif size >= 4:
        _move4(to, source)
