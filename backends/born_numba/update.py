"""Update kernels as compiled loops over a table of addresses and chunks.

One call updates any number of tensors: the loop walks their chunks and computes the whole rule on
one element after another, eight or sixteen at a time in the processor's registers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
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
from born.fusion import ARRAY, BOOLEAN, SCALAR, Program, Ref
from born.fusion.codec import BLOCK
from born.fusion.program import stochastic
from born.raw import HostArray, RawTensor
from born_numba import codecs, intrinsics
from born_numba.cache import compile_loop
from born_numba.compiler import inlined, numba, types
from born_numpy import alignment, global_norm
from born_numpy.update import NumpyUpdate

_CHUNKS_OF: Final = 16_384, 65_536  # elements: of small tensors, and of large ones
_PER_TENSOR: Final = 32  # chunks of those between; for both see docs/notes/performance.md
_PARALLEL: Final = 524_288  # elements from which a second thread pays; measured: as above

_TEXTS: Final = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "neg": "-{}",
    "lt": "{} < {}",
    "le": "{} <= {}",
    "gt": "{} > {}",
    "ge": "{} >= {}",
    "eq": "{} == {}",
    "ne": "{} != {}",
    "logical_and": "{} and {}",
    "logical_or": "{} or {}",
    "logical_not": "not {}",
    "where": "{1} if {0} else {2}",
    "sign": "{0} if {0} != {0} else real({0} > 0) - real({0} < 0)",
    "maximum": "{0} if {0} > {1} or {0} != {0} else {1}",
    "minimum": "{0} if {0} < {1} or {0} != {0} else {1}",
    "sqrt": "np.sqrt({})",
    "isfinite": "np.isfinite({})",
    "cast_float16": "real(float32_of_half(half_of_float32({0})))",
    "cast_bfloat16": "real(float32_of_bits(np.uint32(bfloat16_of_float32({0})) << np.uint32(16)))",
    "cast_float32": "real(np.float32({0}))",
}
"""The operations that a loop does not call by name."""

LOADS: Final = {
    "float16": "float32_of_half({}[j])",
    "bfloat16": "float32_of_bits(np.uint32({}[j]) << np.uint32(16))",
}
STORES: Final = {"float16": "half_of_float32({})", "bfloat16": "bfloat16_of_float32({})"}


carray: Final[Any] = numba.carray  # for the texts


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


@inlined
def word(table: Any, number: Any) -> Any:
    """A number that a table holds."""
    return intrinsics.read64(table + np.uint64(8 * number))


@inlined
def data(table: Any, number: Any) -> Any:
    """Where the memory of an array is whose address a table holds."""
    return intrinsics.pointer(intrinsics.read64(word(table, number) + intrinsics.DATA))


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
        source, self.loop = _loop(program, dtypes)
        super().__init__(program, dtypes, source)

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
def _loop(program: Program, dtypes: tuple[np.dtype[Any], ...]) -> tuple[str, _Loop]:
    source = _coded_source(program, dtypes) if program.codecs else _source(program, dtypes)
    names = {"real": element_dtype(program, dtypes).type}
    return source, compile_text(source, "update", SIGNATURE, names)


def _source(program: Program, dtypes: tuple[np.dtype[Any], ...]) -> str:
    used = program.last_use()
    stored = {
        index: ref
        for index, ref in zip(program.targets, program.outputs, strict=True)
        if ref != Ref(ARRAY, index)
    }
    lines = [
        f"# computes in {element_dtype(program, dtypes).name}",
        "def update(arguments):",
        "    table = read64(arguments + DATA)",
        f"    objects = carray(data(table, _OBJECTS), (1, {len(dtypes)}), np.uint64)",
        "    gradients = carray(data(table, _GRADIENTS), (1,), np.uint64)",
        "    chunks = carray(data(table, _CHUNKS), (1, 4), np.int64)",
        f"    scalars = carray(data(table, _SCALARS), (1, {program.scalars}), np.float64)",
        "    sets = carray(data(table, _SETS), (1,), np.int64)",
        "    while True:",
        f"        c = take(table + np.uint64({8 * _NEXT}))",
        "        if c >= np.int64(word(table, _PIECES)):",
        "            return 0",
        "        i = chunks[c, 0]",
        "        start = np.uint64(chunks[c, 1])",
        "        n = chunks[c, 2]",
        "        k = sets[i]",
    ]
    # Rounded here, without the warning that NumPy would give where one is out of range.
    lines += [
        f"        s{number} = real(scalars[k, {number}])" for number in range(program.scalars)
    ]
    loads: list[str] = []
    arrays = [f"{letter}_{index}" for index, letter in enumerate(program.arrays)]
    for index, dtype in enumerate(dtypes):
        if index not in stored and Ref(ARRAY, index) not in used:
            continue
        element = "uint16" if dtype.itemsize == 2 else dtype.name
        object_ = "gradients[chunks[c, 3]]" if index == 1 else f"objects[i, {index}]"
        address = f"read64({object_} + DATA) + start * np.uint64({dtype.itemsize})"
        lines.append(f"        {arrays[index]} = carray(pointer({address}), (n,), np.{element})")
        load = LOADS.get(dtype.name, "{}[j]").format(arrays[index])
        if Ref(ARRAY, index) in used:
            loads.append(f"            a{index} = real({load})")
    lines += ["        for j in range(n):", *numbering(program), *loads]
    for number, (op, args) in enumerate(program.instructions):
        lines.append(f"            r{number} = {instruction_text(op, args)}")
    for index, ref in stored.items():
        value = STORES.get(dtypes[index].name, "{}").format(ref)
        lines.append(f"            {arrays[index]}[j] = {value}")
    if not stored:
        lines.append("            pass")
    return "\n".join(lines) + "\n"


def _coded_source(program: Program, dtypes: tuple[np.dtype[Any], ...]) -> str:
    """The text of a loop over blocks, of which what is coded is kept until its scale is known."""
    plain = tuple(np.dtype(np.float32) if program.codec(i) else x for i, x in enumerate(dtypes))
    used = program.last_use()
    stored = {
        index: ref
        for index, ref in zip(program.targets, program.outputs, strict=True)
        if ref != Ref(ARRAY, index)
    }
    lines = [f"# keeps {', '.join(codec or '-' for codec in program.codecs)}"]
    lines += _source(replace(program, codecs=()), plain).splitlines()
    # All that is set up for a chunk stays, but for the arrays of the chunk, which become a block's.
    body = next(n for n, line in enumerate(lines) if line.startswith("        for j in range(n):"))
    head = [line for line in lines[:body] if " = carray(pointer(" not in line]
    entry = head.index("    while True:")
    kept = [f"    kept{i} = np.empty({BLOCK}, np.float32)" for i in stored if program.codec(i)]
    blocks: list[str] = []
    views: list[str] = []
    loads: list[str] = []
    for index, dtype in enumerate(dtypes):
        if index not in stored and Ref(ARRAY, index) not in used:
            continue
        object_ = "gradients[chunks[c, 3]]" if index == 1 else f"objects[i, {index}]"
        blocks.append(f"        at{index} = read64({object_} + DATA)")
        codec = program.codec(index)
        if codec:
            views += codecs.block_text(codec, index)
            load = codecs.load_text(codec, index)
        else:
            name = f"{program.arrays[index]}_{index}"
            element = "uint16" if dtype.itemsize == 2 else dtype.name
            address = f"at{index} + start * np.uint64({dtype.itemsize})"
            views.append(f"{name} = carray(pointer({address}), (count,), np.{element})")
            load = LOADS.get(dtype.name, "{}[j]").format(name)
        if Ref(ARRAY, index) in used:
            loads.append(f"                a{index} = real({load})")
    keys = [f"        {codecs.key_text(program, i)}" for i in stored if program.codec(i)]
    lines = [*head[:entry], *kept, *head[entry:], *blocks, *keys]
    lines += [
        f"        for first in range(chunks[c, 1], chunks[c, 1] + n, {BLOCK}):",
        f"            count = min({BLOCK}, chunks[c, 1] + n - first)",
        "            start = np.uint64(first)",
        *(f"            {view}" for view in views),
        "            for j in range(count):",
        *numbering(program, 16),
        *loads,
    ]
    for number, (op, args) in enumerate(program.instructions):
        lines.append(f"                r{number} = {instruction_text(op, args)}")
    for index, ref in stored.items():
        if program.codec(index):
            lines.append(f"                kept{index}[j] = np.float32({ref})")
        else:
            value = STORES.get(dtypes[index].name, "{}").format(ref)
            lines.append(f"                {program.arrays[index]}_{index}[j] = {value}")
    lines += [
        f"            {codecs.store_text(program.codec(index), index)}"
        for index in stored
        if program.codec(index)
    ]
    return "\n".join(lines) + "\n"


def numbering(program: Program, spaces: int = 12) -> list[str]:
    """The line that finds the number of an element, if an instruction asks for it."""
    line = f"{' ' * spaces}at = np.uint32(np.uint32(start) + np.uint32(j))"
    return [line] if program.indexed else []


def instruction_text(op: str, args: tuple[Ref, ...]) -> str:
    """The text of an instruction."""
    values = [str(arg) for arg in args]
    if dtype := stochastic(op):
        return codecs.rounding_text(dtype, values)
    if op == "where" and args[0].kind == SCALAR:
        values[0] = f"{values[0]} != 0"
    return operation_text(op, values)


def operation_text(op: str, values: Sequence[str]) -> str:
    """The text of an operation on these."""
    pattern = _TEXTS.get(op)
    text = f"{op}({', '.join(values)})" if pattern is None else pattern.format(*values)
    return f"bool({text})" if op in BOOLEAN and op.startswith("logical") else text


_MISMATCH: Final = '''\
def first_mismatch(arguments):
    """The place in numbers of the first gradient that is not like its parameter, or -1."""
    table = read64(arguments + DATA)
    objects = read64(word(table, _OBJECTS) + DATA)
    gradients = carray(data(table, _GRADIENTS), (1,), np.uint64)
    numbers = carray(data(table, _NUMBERS), (1,), np.uint64)
    sizes = carray(data(table, _SIZES), (1,), np.uint64)
    row = np.uint64(8) * word(table, _ARRAYS)
    descr, width = word(table, _DTYPE), word(table, _WIDTH)
    for place in range(word(table, _TENSORS)):
        number = numbers[place]
        p = read64(objects + row * number)
        g = gradients[place]
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
            length = read64(ours + np.uint64(8) * np.uint64(axis))
            if read64(theirs + np.uint64(8) * np.uint64(axis)) != length:
                return place
            size *= length
        if size != sizes[number]:
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
        x = carray(pointer(read64(objects[k] + DATA)), (n,), element)
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
    load = LOADS.get(dtype.name, "{}[j]").format("x").replace("[j]", "[start + lane]")
    element = np.uint16 if dtype.itemsize == 2 else dtype.type
    signature = types.void(types.uint64[::1], types.int64[::1], types.float64[::1])
    names = {"LANES": global_norm.LANES, "element": element}
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
        self._sizes = np.array([arrays[0].size for arrays in self._arrays], np.int64)
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
            _SIZES: self._sizes,
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
