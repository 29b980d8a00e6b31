"""Update kernels in NumPy: tiles of the arrays through ufuncs that write where they are told.

A tile and the buffers of its program fit the second-level cache, so each array is read and
written once. Ufuncs release the interpreter's lock, so tiles run on several threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np
from typing_extensions import override

from born.backend import codecs
from born.backend.threads import POOL, taken
from born.backend.update import (
    BoundUpdate,
    Check,
    PreparedStep,
    Scalars,
    UpdateKernel,
    accept,
    element_dtype,
)
from born.dtypes import as_dtype, bool_, float32
from born.fusion import ARRAY, BOOLEAN, RESULT, SCALAR, Program, Ref
from born.fusion.codec import BLOCK, coded_size
from born.fusion.program import stochastic
from born.raw import Array, RawTensor
from born_numpy.alignment import LINE, to_line
from born_numpy.writer import Writer, ufunc_name

_SCRATCH: Final = 3_670_016  # bytes of buffers of all threads: 3.5 MiB, so that 4 MB is kept
_LARGEST_TILE: Final = 262_144  # elements; both measured: docs/notes/performance.md
_TILE_STEP: Final = 4_096  # elements: tiles begin where pages and cache lines do
_PARALLEL: Final = 262_144  # elements from which a second thread pays; measured: as above


class NumpyUpdate(UpdateKernel):
    """A program as a Python function that updates one tile with ufuncs."""

    def __init__(
        self,
        program: Program,
        dtypes: tuple[np.dtype[Any], ...],
        reductions: Reductions = (),
    ) -> None:
        decoded = tuple(float32 if program.codec(i) else x for i, x in enumerate(dtypes))
        source, self.buffers, self.tile = _tile(program, decoded, reductions)
        self.coded = [(i, codec) for i, codec in enumerate(program.codecs) if codec]
        self.indexed = program.indexed  # its tiles take the number of their first element, last
        self.is_plain = not self.coded and not self.indexed
        self.tile_size = _tile_size(self.buffers)
        super().__init__(program, dtypes, source)

    def update(
        self,
        arrays: Sequence[Any],
        pieces: list[Any],
        start: int,
        scalars: Scalars,
        buffers: Sequence[Array],
    ) -> None:
        """One tile of arrays of which some are coded, or whose elements' numbers are asked for."""
        length = pieces[0].size
        for i, codec in self.coded:
            pieces[i] = np.empty(length, np.float32)
            codecs.decode(arrays[i][_coded(start, start + length)], codec, pieces[i], np)
        number = (start,) if self.indexed else ()
        self.tile(*pieces, *scalars, *buffers, *number)
        chance = [scalars[ref.index] for ref in self.program.chance]
        for place, (i, codec) in enumerate(self.coded):
            key = codecs.slot_key(chance, place)
            codes = arrays[i][_coded(start, start + length)]
            codecs.encode(pieces[i], codec, codes, np, key, start)

    def buffers_of(self, length: int) -> list[Array]:
        """The thread's buffers of a tile."""
        return _scratch.buffers(self.buffers, length)

    @override
    def bind(self, targets: Sequence[Sequence[RawTensor]], check: Check = accept) -> BoundUpdate:
        return _Bound(self, targets, check)


Reductions: TypeAlias = tuple[tuple[int, tuple[Ref, ...]], ...]
"""What is reduced of a tile: a number, and the values that go into it."""


@cache
def _tile(
    program: Program, dtypes: tuple[np.dtype[Any], ...], reductions: Reductions
) -> tuple[str, list[np.dtype[Any]], Callable[..., None]]:
    """The text of a tile function, the buffers it takes, and the function: once a process."""
    writer = _TileWriter(program, dtypes, reductions)
    source = writer.source()
    namespace: dict[str, Any] = {"np": np, "round_stochastically": _round_stochastically}
    exec(compile(source, f"<update of {program.name}>", "exec"), namespace)
    return source, writer.buffers, namespace["tile"]


def _tile_size(buffers: Sequence[np.dtype[Any]]) -> int:
    """How many elements a tile has: many, for with each call a thread may wait for the lock."""
    each = sum(dtype.itemsize for dtype in buffers) or 1
    affordable = _SCRATCH // (POOL.workers * each) // _TILE_STEP * _TILE_STEP
    return max(_TILE_STEP, min(affordable, _LARGEST_TILE))


class _TileWriter(Writer):
    """Writes the text of a tile function, with as few buffers as can be."""

    def __init__(
        self, program: Program, dtypes: tuple[np.dtype[Any], ...], reductions: Reductions
    ) -> None:
        self.program = program
        self.dtypes = dtypes
        self.compute = element_dtype(program, dtypes)
        last: dict[Ref, float] = dict(program.last_use())
        self.reductions: dict[int, list[tuple[str, tuple[Ref, ...]]]] = {}
        for number, (_, refs) in enumerate(reductions):
            # Behind the instruction that gives the last of its values.
            after = max(ref.index if ref.kind == RESULT else -1 for ref in refs)
            self.reductions.setdefault(after, []).append((f"k{number}", refs))
            for ref in refs:
                last[ref] = max(last.get(ref, -1), after + 0.5)
        super().__init__(last)

    def source(self) -> str:
        """The text, whole."""
        for index, dtype in enumerate(self.dtypes):
            if dtype == self.compute:
                self.places[Ref(ARRAY, index)] = f"a{index}"
        self._reduce(-1)
        for number, (op, args) in enumerate(self.program.instructions):
            self._instruction(number, op, args)
            self._reduce(number)
        self._store()
        arguments = [f"a{i}" for i in range(len(self.dtypes))]
        arguments += [f"s{i}" for i in range(self.program.scalars)]
        arguments += [f"b{i}" for i in range(len(self.buffers))]
        arguments += [f"k{i}" for i in range(sum(map(len, self.reductions.values())))]
        arguments += ["start"] if self.program.indexed else []
        body = "".join(f"    {line}\n" for line in self.lines or ["pass"])
        return f"def tile({', '.join(arguments)}):\n{body}"

    def _reduce(self, number: int) -> None:
        """What is reduced of values that are there behind an instruction."""
        for name, refs in self.reductions.get(number, ()):
            self.lines.append(f"{name}({', '.join(self._place(ref) for ref in refs)})")

    def _place(self, ref: Ref) -> str:
        """Where a value is; an array of fewer digits is widened when it is first needed."""
        if ref.kind == ARRAY and ref not in self.places:
            self.places[ref] = self.take(self.compute)
            self.lines.append(f"np.copyto({self.places[ref]}, a{ref.index})")
        return self.places.get(ref, str(ref))

    def _target(self, number: int) -> str | None:
        """The array that the result of instruction `number` may be written to at once."""
        result = Ref(RESULT, number)
        if self.program.outputs.count(result) != 1:
            return None
        index = self.program.targets[self.program.outputs.index(result)]
        # The gradient may be the parameter's own memory.
        sources = (0, 1) if index == 0 else (index,)
        read_later = any(self.last.get(Ref(ARRAY, source), -1) > number for source in sources)
        return None if read_later or self.dtypes[index] != self.compute else f"a{index}"

    def _instruction(self, number: int, op: str, args: tuple[Ref, ...]) -> None:
        values = [self._place(arg) for arg in args]
        dtype = bool_ if op in BOOLEAN else self.compute
        # where copies before it selects, so its result must not lie where its arguments do.
        if op != "where":
            self.release(number, args)
        place = self._target(number) if dtype == self.compute else None
        if op == "where":
            place = self._where(number, place, args, values)
        else:
            place = place or self.take(dtype)
            if narrow := stochastic(op):
                listed = f"{place}, {', '.join(values)}"
                self.lines.append(f'round_stochastically("{narrow}", start, {listed})')
            elif op.startswith("cast_"):
                cast = self.take(as_dtype(op.removeprefix("cast_")))
                self.give_back(cast)
                self.lines.append(f'np.copyto({cast}, {values[0]}, casting="unsafe")')
                self.lines.append(f"np.copyto({place}, {cast})")
            else:
                self.lines.append(f"np.{ufunc_name(op)}({', '.join(values)}, out={place})")
        self.places[Ref(RESULT, number)] = place

    def _where(
        self, number: int, target: str | None, args: tuple[Ref, ...], values: list[str]
    ) -> str:
        """Choose elements, into the target or else into the memory of what is not needed after."""
        condition, x, y = values
        place = target
        if place is None and args[2].kind != SCALAR and y.startswith("b"):
            dead = self.last[args[2]] == number and y not in (condition, x)
            place = y if dead else None
        if place is None:
            place = self.take(self.compute)
        if args[0].kind == SCALAR:
            self.lines.append(f"np.copyto({place}, {x} if {condition} else {y})")
        elif place == x:
            opposite = self.take(bool_)
            self.lines.append(f"np.logical_not({condition}, out={opposite})")
            self.lines.append(f"np.copyto({place}, {y}, where={opposite})")
            self.give_back(opposite)
        else:
            if place != y:
                self.lines.append(f"np.copyto({place}, {y})")
            self.lines.append(f"np.copyto({place}, {x}, where={condition})")
        self.release(number, [arg for arg in args if self.places.get(arg) != place])
        return place

    def _store(self) -> None:
        """Write the outputs that are not in their arrays yet, none before it was last read."""
        pending: list[tuple[str, str]] = []
        for index, ref in zip(self.program.targets, self.program.outputs, strict=True):
            if ref == Ref(ARRAY, index):
                continue
            place = self._place(ref)
            if place == f"a{index}":
                continue
            if ref.kind == ARRAY and place.startswith("a"):
                saved = self.take(self.compute)
                self.lines.append(f"np.copyto({saved}, {place})")
                place = saved
            pending.append((f"a{index}", place))
        self.lines += [f'np.copyto({to}, {place}, casting="unsafe")' for to, place in pending]


class _Scratch(threading.local):
    """A thread's buffers, one tile long, in one piece of memory that is kept from step to step."""

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)

    def buffers(self, dtypes: Sequence[np.dtype[Any]], length: int) -> list[Array]:
        """An array for each dtype, beginning at cache lines."""
        sizes = [-(-length * dtype.itemsize // LINE) * LINE for dtype in dtypes]
        if self.memory.nbytes < sum(sizes):
            self.memory = np.empty(0, np.uint8)  # let go before more is asked for
            memory = np.empty(sum(sizes) + LINE, np.uint8)
            self.memory = memory[to_line(memory) :]
        start, arrays = 0, list[Array]()
        for size, dtype in zip(sizes, dtypes, strict=True):
            arrays.append(self.memory[start : start + length * dtype.itemsize].view(dtype))
            start += size
        return arrays


_scratch: Final = _Scratch()


_Tile: TypeAlias = tuple[list[Array], int, int, int, bool]
"""The arrays of a tensor, its place among the gradients, the first element of a tile and that
after it, and whether the arrays are contiguous."""


class _Bound(BoundUpdate):
    def __init__(
        self, kernel: NumpyUpdate, targets: Sequence[Sequence[RawTensor]], check: Check
    ) -> None:
        self._kernel = kernel
        self._check = check
        self._arrays = [[raw.array for raw in target] for target in targets]
        self._shapes = [arrays[0].shape for arrays in self._arrays]

    @override
    def prepare(self, numbers: Sequence[int], gradients: Sequence[RawTensor]) -> PreparedStep:
        kernel, dtype = self._kernel, self._kernel.dtypes[1]
        tiles: list[_Tile] = []
        total = longest = 0
        # Nothing is called for a gradient that is as it most often is: this runs in every step.
        for place, (number, gradient) in enumerate(zip(numbers, gradients, strict=True)):
            p, *slots = self._arrays[number]
            g = gradient.array
            if not (
                g.__class__ is p.__class__ is np.ndarray
                and g.shape == p.shape == self._shapes[number]
                and g.dtype is p.dtype is dtype
                and p.flags.writeable
            ):
                self._check(number, gradient)
            if not (g.flags.owndata and p.flags.owndata):
                g = apart(g, p)
            arrays, copied = [p, g, *slots], list[np.dtype[Any]]()
            for column, array in enumerate(arrays):
                if array.flags.c_contiguous:  # as what is coded always is
                    arrays[column] = array.reshape(-1)
                else:  # an iterator, whose tiles are copies
                    arrays[column] = array.flat
                    copied.append(array.dtype)
            length = _tile_size([*kernel.buffers, *copied]) if copied else kernel.tile_size
            size = p.size
            total += size
            longest = max(longest, min(length, size))
            for start in range(0, size, length):
                tiles.append((arrays, place, start, min(start + length, size), not copied))
        return _Step(kernel, tiles, longest, total)


@dataclass(slots=True)
class _Step(PreparedStep):
    kernel: NumpyUpdate
    tiles: list[_Tile]
    longest: int
    size: int

    @override
    def run(
        self,
        scalars: Sequence[Scalars],
        sets: Sequence[int] | None = None,
        values: RawTensor | None = None,
        finished: int = 0,
    ) -> None:
        if self.size < _PARALLEL:
            self._update(self.tiles, scalars, sets)
        else:
            tiles = deque(self.tiles)
            POOL.share(lambda: self._update(taken(tiles), scalars, sets))

    def _update(
        self, tiles: Iterable[_Tile], scalars: Sequence[Scalars], sets: Sequence[int] | None
    ) -> None:
        kernel, length = self.kernel, self.longest
        whole = buffers = _scratch.buffers(kernel.buffers, length)
        with np.errstate(all="ignore"):  # an infinite gradient is the caller's affair, not news
            for arrays, place, start, stop, contiguous in tiles:
                if stop - start != length:
                    length = stop - start
                    buffers = [buffer[:length] for buffer in whole]
                pieces = [array[start:stop] for array in arrays]
                numbers = scalars[sets[place] if sets else 0]
                if kernel.is_plain:
                    kernel.tile(*pieces, *numbers, *buffers)
                else:
                    kernel.update(arrays, pieces, start, numbers, buffers)
                if not contiguous:
                    write_back(arrays, pieces, start, stop)
                    pieces.clear()  # or copies would live while the next ones are made


def _coded(start: int, stop: int) -> slice:
    """Where elements from a boundary of blocks on lie in an array of a codec."""
    first = start // BLOCK * codecs.FULL
    return slice(first, first + coded_size(stop - start))


def _round_stochastically(
    dtype: str, start: int, out: Array, x: Any, t: float, number: float, seed: float
) -> None:
    single = np.ascontiguousarray(np.broadcast_to(x, out.shape), np.float32).reshape(-1)
    key = codecs.key_of(t, number, seed)
    rounded = codecs.round_stochastically(single, dtype, start, key, np)
    out[...] = rounded.reshape(out.shape)


def apart(gradient: Array, parameter: Array) -> Array:
    """The gradient, copied if it overlaps its parameter without being the same memory."""
    if not np.may_share_memory(gradient, parameter):
        return gradient
    same = gradient.ctypes.data == parameter.ctypes.data and gradient.strides == parameter.strides
    return gradient if same else gradient.copy()


def write_back(arrays: Sequence[Array], tiles: Sequence[Array], start: int, stop: int) -> None:
    """Write tiles that were copies to the arrays, but never the gradient's."""
    for i, (array, tile) in enumerate(zip(arrays, tiles, strict=True)):
        if i != 1 and tile is not None and not isinstance(array, np.ndarray):
            array[start:stop] = tile
