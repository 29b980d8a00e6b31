"""Update kernels as compiled loops over a table of addresses and chunks.

One call updates any number of tensors: the loop walks their chunks and computes the whole rule on
one element after another, eight or sixteen at a time in the processor's registers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import chain, pairwise
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from typing_extensions import override

from born.backend.threads import POOL
from born.backend.update import (
    BoundUpdate,
    Check,
    PreparedStep,
    Scalars,
    UpdateKernel,
    accept,
    element_dtype,
)
from born.fusion import Program
from born.fusion.codec import BLOCK
from born.raw import HostArray, RawTensor
from born_numba import codecs, intrinsics
from born_numba.cache import compile_loop
from born_numba.compiler import inlined, types
from born_numba.elements import Elements, indented, load_text
from born_numba.shared import shared_in
from born_numpy import alignment, global_norm
from born_numpy.update import NumpyUpdate

_CHUNKS_OF: Final = 16_384, 65_536  # elements: of small tensors, and of large ones
_PER_TENSOR: Final = 32  # chunks of those between; for both see docs/notes/performance.md
_PARALLEL: Final = 524_288  # elements from which a second thread pays; measured: as above

room_of_block: Final = intrinsics.room(4 * BLOCK)
"""Room for a block of a codec, in float32."""


@inlined
def bfloat16_of_float32(x: Any) -> Any:
    """A float32 rounded to bfloat16, to nearest and to even, as bits."""
    bits = intrinsics.bits_of_float32(x)
    if x != x:
        return np.uint16((bits >> np.uint32(16)) | np.uint32(0x0040))
    half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return np.uint16((bits + half) >> np.uint32(16))


# What the table of a call holds: the addresses of array objects, then numbers.
_OBJECTS, _GRADIENTS, _NUMBERS, _SIZES, _CHUNKS, _SCALARS, _SETS = range(7)
_ARRAYS, _DTYPE, _WIDTH, _TENSORS, _PIECES, _NEXT = range(7, 13)

_USABLE: Final = intrinsics.C_CONTIGUOUS | intrinsics.ALIGNED
_WRITEABLE: Final = _USABLE | intrinsics.WRITEABLE


def is_compilable(program: Program, dtypes: tuple[np.dtype[Any], ...]) -> bool:
    """Whether a compiled loop gives NumPy's bits.

    Powers, exponentials and logarithms are NumPy's: compiled ones are slower and differ in the
    last bit. A compiled loop would round doubles to float16 by way of float32. And it knows one
    layout of NumPy's array objects.
    """
    halves_of_doubles = element_dtype(program, dtypes) == np.float64 and (
        any(dtype.itemsize == 2 for dtype in dtypes)
        or any(op == "cast_float16" for op, _ in program.instructions)
    )
    return program.exact and not halves_of_doubles and intrinsics.layout_holds()


class NumbaUpdate(UpdateKernel):
    """A program as one compiled loop, with the bits of NumPy's: nothing fused or reordered."""

    def __init__(self, program: Program, dtypes: tuple[np.dtype[Any], ...]) -> None:
        super().__init__(program, dtypes, _source(program, dtypes))

    @cached_property
    def loop(self) -> _Loop:
        """The loop, compiled when a step first asks for it."""
        return _loop(self.program, self.dtypes)

    @override
    def bind(self, targets: Sequence[Sequence[RawTensor]], check: Check = accept) -> BoundUpdate:
        return _Bound(self, targets, check)


_Loop: TypeAlias = Callable[[int], int]
"""A compiled loop: it takes the address of an array object, the table of a call."""

SIGNATURE: Final = types.int64(types.uint64)


def compile_text(source: str, name: str, signature: Any, names: Mapping[str, Any]) -> Any:
    """A compiled function of a text, which finds this module's names beside those given."""
    known = {**vars(intrinsics), **vars(codecs), **globals(), **names}
    return compile_loop(source, name, signature, known)


@cache
def _loop(program: Program, dtypes: tuple[np.dtype[Any], ...]) -> _Loop:
    source = _source(program, dtypes)
    names = {
        "real": element_dtype(program, dtypes).type,
        **shared_in(source, codecs.SHARED),
    }
    loop: _Loop = compile_text(source, "update", SIGNATURE, names)
    return loop


def _source(program: Program, dtypes: tuple[np.dtype[Any], ...]) -> str:
    elements = Elements(program, dtypes)
    chunk = _blocks(elements) if program.codecs else _elements(elements)
    lines = [
        f"# computes in {elements.compute.name}",
        "def update(arguments):",
        "    table = read64(arguments + DATA)",
        "    objects = data(table, _OBJECTS)",
        "    gradients = data(table, _GRADIENTS)",
        "    chunks = data(table, _CHUNKS)",
        "    scalars = data(table, _SCALARS)",
        "    sets = data(table, _SETS)",
        "    pieces = load_int64(table, _PIECES)",
        *(f"    kept{index} = room_of_block()" for index in elements.coded),
        "    while True:",
        f"        c = take(address_of(table, {_NEXT}, 8))",
        "        if c >= pieces:",
        "            return 0",
        "        chunk = address_of(chunks, c, 32)",
        "        i = load_int64(chunk, 0)",
        "        start = load_int64(chunk, 1)",
        "        n = load_int64(chunk, 2)",
        f"        arrays = address_of(objects, i, {8 * len(dtypes)})",
        f"        numbers = address_of(scalars, load_int64(sets, i), {8 * program.scalars})",
        *indented(8, elements.scalars("numbers")),
        *(f"        at{index} = {_array(index)}" for index in elements.used),
        *indented(8, chunk),
    ]
    return "\n".join(lines) + "\n"


def _array(index: int) -> str:
    """The text of where the memory of an array is."""
    return "data(gradients, load_int64(chunk, 3))" if index == 1 else f"data(arrays, {index})"


def _elements(elements: Elements) -> list[str]:
    """The lines that go through the elements of a chunk."""
    places = [line for i in elements.used for line in elements.found(i, f"at{i}", "start")]
    lines = [*elements.values(), *elements.stores()]
    return [*places, "for j in range(n):", *indented(4, lines or ["pass"])]


def _blocks(elements: Elements) -> list[str]:
    """The lines that go through the blocks of a chunk, of which what is coded is kept until its
    scale is known."""
    program = elements.program
    places = [line for i in elements.used for line in elements.found(i, f"at{i}", "first")]
    kept = [codecs.store_text(program.codec(index), index) for index in elements.coded]
    return [
        *(codecs.key_text(program, index) for index in elements.coded),
        "stop = start + n",
        f"for first in range(start, stop, {BLOCK}):",
        f"    count = min({BLOCK}, stop - first)",
        "    start = first",
        *indented(4, places),
        "    for j in range(count):",
        *indented(8, [*elements.values(), *elements.stores()] or ["pass"]),
        *indented(4, kept),
    ]


_MISMATCH: Final = '''\
def first_mismatch(arguments):
    """The place in numbers of the first gradient that is not like its parameter, or -1."""
    table = read64(arguments + DATA)
    objects = data(table, _OBJECTS)
    gradients = data(table, _GRADIENTS)
    numbers = data(table, _NUMBERS)
    sizes = data(table, _SIZES)
    row = 8 * load_int64(table, _ARRAYS)
    descr, width = load_uint64(table, _DTYPE), load_uint64(table, _WIDTH)
    for place in range(load_int64(table, _TENSORS)):
        number = load_int64(numbers, place)
        p = read64(address_of(objects, number, row))
        g = load_uint64(gradients, place)
        if read64(p + DESCR) != descr or read32(p + FLAGS) & _WRITEABLE != _WRITEABLE:
            return place
        if read64(g + DESCR) != descr or read32(g + FLAGS) & _USABLE != _USABLE:
            return place
        axes = read32(p + NDIM)
        if read32(g + NDIM) != axes:
            return place
        ours = read64(p + SHAPE)
        theirs = read64(g + SHAPE)
        size = np.uint64(1)
        for axis in range(axes):
            length = load_uint64(ours, axis)
            if load_uint64(theirs, axis) != length:
                return place
            size *= length
        if size != load_uint64(sizes, number):
            return place
        mine = read64(p + DATA)
        other = read64(g + DATA)
        # A gradient that overlaps its parameter, but is not the same memory, has to be copied.
        if mine != other and mine < other + size * width and other < mine + size * width:
            return place
    return -1
'''


@cache
def _mismatch_loop() -> _Loop:
    loop: _Loop = compile_text(_MISMATCH, "first_mismatch", SIGNATURE, {})
    return loop


_SQUARES: Final = '''\
def squares(objects, sizes, lanes):
    """Add the squares of the elements of arrays to the lanes, element i to lane i mod LANES."""
    for k in range(len(objects)):
        n = sizes[k]
        x = read64(objects[k] + DATA)
        whole = n // LANES * LANES
        for start in range(0, whole, LANES):
            for lane in range(LANES):
                value = np.float64({load})
                lanes[lane] += value * value
        for lane in range(n - whole):
            start = whole
            value = np.float64({load})
            lanes[lane] += value * value
'''


@cache
def _squares_loop(dtype: np.dtype[Any]) -> Callable[..., None]:
    load = load_text(dtype, "x", "start + lane")
    signature = types.void(types.uint64[::1], types.int64[::1], types.float64[::1])
    names = {"LANES": global_norm.LANES}
    # The key of the cache is the text, which must differ where the names do.
    text = f"# {dtype.name}, {global_norm.LANES} lanes\n" + _SQUARES.replace("{load}", load)
    loop: Callable[..., None] = compile_text(text, "squares", signature, names)
    return loop


def add_squares(parts: Sequence[global_norm.Part], lanes: HostArray) -> None:
    """Add the squares of a stretch (`born_numpy.global_norm`) by one compiled loop."""
    arrays = [part for part in parts if isinstance(part, np.ndarray)]
    if len(arrays) < len(parts):  # some are not contiguous
        global_norm.add_squares(parts, lanes)
        return
    objects = np.fromiter(map(id, arrays), np.uint64, len(arrays))
    sizes = np.fromiter((array.size for array in arrays), np.int64, len(arrays))
    _squares_loop(arrays[0].dtype)(objects, sizes, lanes)


_PLAIN: Final[set[type]] = {np.ndarray}
"""The types of arrays whose fields a compiled loop may read."""


class Plan(NamedTuple):
    """How to update some of the bound tensors; it keeps alive the arrays in its table.

    Attributes:
        numbers: which, int64.
        chunks: (tensor, start, length, place in numbers) of each piece, int64.
        sets: which set of scalars each tensor takes, int64: the first.
        table: what the loop is given, but for what differs from call to call.
        size: how many elements the pieces have in all.
        chosen: the latest choice of sets that does not change, and its array.
    """

    numbers: HostArray
    chunks: HostArray
    sets: HostArray
    table: HostArray
    size: int
    chosen: list[tuple[tuple[int, ...], HostArray]]

    def choice(self, sets: Sequence[int]) -> HostArray:
        """Which set of scalars each bound tensor takes, given those of the plan's."""
        if self.chosen and self.chosen[0][0] is sets:
            return self.chosen[0][1]
        choice = np.zeros(len(self.sets), np.int64)
        choice[self.numbers] = sets
        if isinstance(sets, tuple):
            self.chosen[:] = [(sets, choice)]
        return choice


class Addresses:
    """Where the arrays of some tensors are, for loops over any of them.

    Args:
        targets: of each tensor the parameter and its slots.
        dtypes: of the parameter, its gradient and the slots.
    """

    def __init__(
        self, targets: Sequence[Sequence[RawTensor]], dtypes: Sequence[np.dtype[Any]]
    ) -> None:
        self._dtypes = dtypes
        self._aligned = all(dtype.itemsize > 1 for dtype in dtypes)
        self._arrays: list[list[HostArray]] = [[raw.array for raw in target] for target in targets]
        self.sizes = np.array([arrays[0].size for arrays in self._arrays], np.int64)
        self.objects = np.zeros((len(targets), len(dtypes)), np.uint64)
        for row, arrays in zip(self.objects, self._arrays, strict=True):
            row[0] = id(arrays[0])
            row[2:] = [id(array) for array in arrays[1:]]
        self._first_mismatch = _mismatch_loop()
        self._latest: tuple[Sequence[int], Plan] = (), self.planned(())
        self._usable = all(is_usable(array) for arrays in self._arrays for array in arrays)

    def planned(self, numbers: Sequence[int]) -> Plan:
        """How to update some of the tensors."""
        rows = [
            (number, start, stop - start, place)
            for place, number in enumerate(numbers)
            for start, stop in pairwise(_boundaries(self._arrays[number][0], self._aligned))
        ]
        chunks = np.array(rows, np.int64).reshape(-1, 4)
        sets = np.zeros(len(self._arrays), np.int64)
        places, dtype = np.array(numbers, np.int64), self._dtypes[1]
        table = np.zeros(_NEXT + 1, np.uint64)
        for place, array in {
            _OBJECTS: self.objects,
            _NUMBERS: places,
            _SIZES: self.sizes,
            _CHUNKS: chunks,
            _SETS: sets,
        }.items():
            table[place] = id(array)
        # NumPy's built-in dtypes are single objects, so that their address is their identity.
        table[_ARRAYS : _PIECES + 1] = (
            len(self._dtypes),
            id(dtype),
            dtype.itemsize,
            len(places),
            len(chunks),
        )
        return Plan(places, chunks, sets, table, int(chunks[:, 2].sum()), [])

    def gathered(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> Gathered | None:
        """The gradients of some tensors, if loops can go through all of the arrays."""
        arrays = [gradient.array for gradient in gradients]
        if not self._usable or set(map(type, arrays)) != _PLAIN:
            return None
        latest, plan = self._latest
        if numbers != latest:
            plan = self.planned(numbers)
            self._latest = numbers, plan  # it most often stays
        addresses = np.fromiter(map(id, arrays), np.uint64, len(arrays))
        table = plan.table.copy()
        table[_GRADIENTS] = id(addresses)
        if self._first_mismatch(id(table)) >= 0:
            return None
        return Gathered(plan, arrays, addresses, table)


class Gathered(NamedTuple):
    """Gradients that loops can read, the addresses of their objects, and what a loop is given."""

    plan: Plan
    arrays: Sequence[HostArray]
    addresses: HostArray
    table: HostArray


class _Bound(BoundUpdate):
    """The addresses of the bound tensors, and the chunks they fall into."""

    def __init__(
        self, kernel: NumbaUpdate, targets: Sequence[Sequence[RawTensor]], check: Check
    ) -> None:
        self._kernel = kernel
        self._targets = targets
        self._check = check
        self._addresses = Addresses(targets, kernel.dtypes)
        self._fallback: BoundUpdate | None = None

    @override
    def prepare(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> PreparedStep:
        gathered = self._addresses.gathered(numbers, gradients)
        if gathered is not None:
            return LoopStep(self._kernel.loop, gathered.plan, gathered.table, (self, gathered))
        for number, gradient in zip(numbers, gradients, strict=True):
            self._check(number, gradient)
        if self._fallback is None:  # to update what is not contiguous
            kernel = NumpyUpdate(self._kernel.program, self._kernel.dtypes)
            self._fallback = kernel.bind(self._targets)
        return self._fallback.prepare(numbers, gradients)


@dataclass(slots=True)
class LoopStep(PreparedStep):
    """One call of the loop; its table knows by their addresses only what `kept` keeps alive."""

    loop: _Loop
    plan: Plan
    table: HostArray
    kept: object

    @override
    def run(
        self,
        scalars: Sequence[Scalars],
        sets: Sequence[int] | None = None,
        values: RawTensor | None = None,
        finished: int = 0,
    ) -> None:
        run_loop(self.loop, self.plan, self.table, scalars, sets)


def run_loop(
    loop: _Loop,
    plan: Plan,
    table: HostArray,
    scalars: Sequence[Scalars],
    sets: Sequence[int] | None,
) -> None:
    """Call a loop; its table knows by their addresses only what the caller keeps alive."""
    width = len(scalars[0])  # of all: np.array would look at each of them first
    numbers = np.fromiter(chain.from_iterable(scalars), np.float64, len(scalars) * width)
    table[_SCALARS] = id(numbers)
    if sets is not None:
        chosen = plan.choice(sets)
        table[_SETS] = id(chosen)
    if plan.size < _PARALLEL:
        loop(id(table))
    else:
        POOL.share(partial(loop, id(table)))


def table_for(plan: Plan, addresses: HostArray) -> HostArray:
    """The table of a plan with the addresses of its gradients."""
    table = plan.table.copy()
    table[_GRADIENTS] = id(addresses)
    return table


def _boundaries(parameter: HostArray, aligned: bool = True) -> list[int]:
    """Where the chunks of a tensor begin and end: at whole cache lines, but for the first; or, if
    they are not to be `aligned`, at whole blocks of a codec."""
    size = parameter.size
    least, most = _CHUNKS_OF
    chunk = min(max(least, size // _PER_TENSOR // least * least), most)
    first = alignment.to_line(parameter) if aligned and size > chunk else 0
    inner = range(first, size, chunk)
    return [*([0] if first else []), *inner, size] if size else []


def is_usable(array: HostArray) -> bool:
    """Whether loops may go through an array, and write to it."""
    return array.flags.c_contiguous and array.flags.aligned and array.flags.writeable
