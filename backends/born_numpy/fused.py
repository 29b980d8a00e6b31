"""Formulas in NumPy: ufuncs over tiles that fit in the cache, which write where they are told.

Arrays of few elements go through the same ufuncs whole. Those are vectorised by hand in NumPy
itself, `exp` and `tanh` among them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from born.backend.arrays.erf import erf, erf_float32
from born.backend.plain_fused import check_operands
from born.backend.threads import POOL, taken
from born.backend.update import compute_dtype
from born.dtypes import as_dtype, bool_
from born.fusion import ARRAY, BOOLEAN, CONSTANT, RESULT, SCALAR, Formula, Ref
from born.raw import Array, RawTensor
from born_numpy.arena import empty
from born_numpy.writer import Writer, ufunc_name

_WHOLE: Final = (
    4_096  # elements up to which arrays go whole: buffers would cost more than they save
)
_TILE: Final = 16_384  # elements; some ten buffers of a tile stay in a cache of 1 MB
_PARALLEL: Final = 131_072  # elements from which a second thread pays

_SILENT: Final = BOOLEAN.union(["neg", "abs", "sign", "where", "maximum", "minimum", "relu"])
"""The operations of which NumPy never warns."""


class NumpyFormula:
    """A formula as two Python functions of one dtype: of whole arrays, and of a tile."""

    def __init__(self, formula: Formula, dtype: np.dtype[Any]) -> None:
        whole, tile = _Writer(formula, dtype, False), _Writer(formula, dtype, True)
        self.formula = formula
        self.dtype = dtype
        self.source = whole.source() + "\n" + tile.source()
        self.buffers = tile.buffers
        self.warns = any(op not in _SILENT for op, _ in formula.instructions)
        names: dict[str, Any] = {
            "np": np,
            "erf": _erf_into,
            "inf": np.inf,
            "nan": np.nan,
            "real": compute_dtype([dtype]).type,
            "element": dtype,
        }
        exec(compile(self.source, f"<{formula.name}>", "exec"), names)
        self.whole: Callable[..., tuple[Array, ...]] = names["whole"]
        self.tile: Callable[..., None] = names["tile"]

    def run(self, arrays: Sequence[RawTensor], scalars: Sequence[float]) -> tuple[RawTensor, ...]:
        """The results."""
        given = [raw.array for raw in arrays]
        first = given[0]
        shape, alike = first.shape, True
        for array in given:
            alike = alike and array.shape == shape and array.dtype is self.dtype
        if not alike:
            shape, _ = check_operands(self.formula, arrays)
        size = first.size if alike else int(np.prod(shape, dtype=np.int64))
        if size > _WHOLE:
            return self._in_tiles(given, scalars, shape, size)
        if self.warns:
            with np.errstate(all="ignore"):
                results = self.whole(*given, *scalars)
        else:
            results = self.whole(*given, *scalars)
        if len(results) == 1 and results[0].__class__ is np.ndarray and results[0].shape == shape:
            return (RawTensor(results[0]),)
        return tuple(
            [
                RawTensor(each)
                if each.__class__ is np.ndarray and each.shape == shape
                else RawTensor(np.array(np.broadcast_to(each, shape)))
                for each in results
            ]
        )

    def _in_tiles(
        self, given: list[Array], scalars: Sequence[float], shape: tuple[int, ...], size: int
    ) -> tuple[RawTensor, ...]:
        results = [empty(shape, self.dtype) for _ in self.formula.outputs]
        if all(array.shape == shape and array.flags.c_contiguous for array in given):
            every = [array.reshape(-1) for array in (*results, *given)]
        else:
            every = [*results, *(np.broadcast_to(array, shape) for array in given)]
        pieces = deque(_tiles(every))

        def work() -> None:
            scratch = _scratch.of(self.buffers)
            with np.errstate(all="ignore"):
                for piece in taken(pieces):
                    first = piece[0]
                    buffers = [buffer[: first.size].reshape(first.shape) for buffer in scratch]
                    self.tile(*piece, *scalars, *buffers)

        if size < _PARALLEL:
            work()
        else:
            POOL.share(work)
        return tuple([RawTensor(result) for result in results])


def _tiles(arrays: list[Array]) -> Iterator[list[Array]]:
    """Arrays of one shape, cut into tiles."""
    first = arrays[0]
    if first.size <= _TILE:
        yield arrays
        return
    inner = first.size // len(first)
    if inner > _TILE:
        for i in range(len(first)):
            yield from _tiles([array[i] for array in arrays])
        return
    step = _TILE // inner
    for start in range(0, len(first), step):
        yield [array[start : start + step] for array in arrays]


class _Scratch(threading.local):
    """A thread's buffers, one tile long each."""

    def __init__(self) -> None:
        self.kept: dict[np.dtype[Any], list[Array]] = {}

    def of(self, dtypes: Sequence[np.dtype[Any]]) -> list[Array]:
        """A buffer for each dtype."""
        used: dict[np.dtype[Any], int] = {}
        buffers: list[Array] = []
        for dtype in dtypes:
            kept = self.kept.setdefault(dtype, [])
            number = used.get(dtype, 0)
            used[dtype] = number + 1
            if number == len(kept):
                kept.append(np.empty(_TILE, dtype))
            buffers.append(kept[number])
        return buffers


_scratch: Final = _Scratch()


def _erf_into(x: Array, out: Array | None = None) -> Array:
    """The error function, in the dtype of x."""
    flat = np.asarray(x).reshape(-1)  # what has no axes becomes a scalar in NumPy's functions
    y = (erf_float32 if flat.dtype == np.float32 else erf)(np, flat).reshape(np.shape(x))
    if out is None:
        return y
    np.copyto(out, y)
    return out


class _Writer(Writer):
    """Writes the text of a function of whole arrays, or of one of a tile and its buffers."""

    def __init__(self, formula: Formula, dtype: np.dtype[Any], tiled: bool) -> None:
        super().__init__(formula.last_use())
        self.formula = formula
        self.dtype = dtype
        self.tiled = tiled
        self.compute = compute_dtype([dtype])

    def source(self) -> str:
        """The text, whole."""
        formula = self.formula
        for i, truth in enumerate(formula.truths):
            if truth or self.dtype == self.compute:
                self.places[Ref(ARRAY, i)] = f"a{i}"
        for number, (op, args) in enumerate(formula.instructions):
            values = [self._place(arg) for arg in args]
            self._write(number, op, args, values)
        results = [self._result(number, ref) for number, ref in enumerate(formula.outputs)]
        given = [f"a{i}" for i in range(len(formula.arrays))]
        given += [f"s{i}" for i in range(formula.scalars)]
        if self.tiled:
            outs = [f"o{i}" for i in range(len(formula.outputs))]
            given = [*outs, *given, *(f"b{i}" for i in range(len(self.buffers)))]
        else:
            self.lines.append(f"return ({''.join(f'{result}, ' for result in results)})")
        body = "".join(f"    {line}\n" for line in self.lines)
        return f"def {'tile' if self.tiled else 'whole'}({', '.join(given)}):\n{body}"

    def _place(self, ref: Ref) -> str:
        """Where a value is; a half is widened when it is first needed."""
        if ref.kind == CONSTANT:
            return repr(float(self.formula.constants[ref.index]))
        if ref.kind == ARRAY and ref not in self.places:
            if self.tiled:
                self.places[ref] = self.take(self.compute)
                self.lines.append(f"np.copyto({self.places[ref]}, a{ref.index})")
            else:
                self.places[ref] = f"w{ref.index}"
                self.lines.append(f"w{ref.index} = a{ref.index}.astype(np.{self.compute.name})")
        return self.places.get(ref, str(ref))

    def _write(self, number: int, op: str, args: tuple[Ref, ...], values: list[str]) -> None:
        """One instruction."""
        result = Ref(RESULT, number)
        if not self.tiled:
            self.places[result] = f"r{number}"
            self.lines.append(f"r{number} = {self._call(op, args, values)}")
            return
        # What copies, or is made in several steps, must not lie where its arguments do.
        several = op in ("where", "softplus", "erf")
        if not several:
            self.release(number, args)
        place = self._target(result, op) or self.take(bool_ if op in BOOLEAN else self.compute)
        self.places[result] = place
        self.lines += self._steps(op, args, values, place)
        if several:
            self.release(number, args)

    def _target(self, result: Ref, op: str) -> str | None:
        """The result's own array, if it can be written there at once."""
        if result in self.formula.outputs and self.dtype == self.compute and op not in BOOLEAN:
            return f"o{self.formula.outputs.index(result)}"
        return None

    def _call(self, op: str, args: tuple[Ref, ...], values: list[str]) -> str:
        """An instruction as an expression that makes a new array."""
        x = values[0]
        if op == "where":
            _, first, second = values
            both = all(arg.kind in (SCALAR, CONSTANT) for arg in args[1:])
            first = f"real({first})" if both else first
            if args[0].kind in (SCALAR, CONSTANT):
                return f"{first} if {x} else {second}"
            return f"np.where({x}, {first}, {second})"
        if op.startswith("cast_"):
            narrow = f"np.dtype({as_dtype(op.removeprefix('cast_')).name!r})"
            return f"{x}.astype({narrow}).astype(np.{self.compute.name})"
        composed = {
            "relu": f"np.maximum({x}, 0.0)",
            "erf": f"erf({x})",
            "sigmoid": f"np.divide(1.0, np.add(np.exp(np.negative({x})), 1.0))",
            "softplus": f"np.add(np.maximum({x}, 0.0), "
            f"np.log1p(np.exp(np.negative(np.absolute({x})))))",
        }
        return composed.get(op) or f"np.{ufunc_name(op)}({', '.join(values)})"

    def _steps(self, op: str, args: tuple[Ref, ...], values: list[str], place: str) -> list[str]:
        """An instruction as steps that write to a place."""
        x = values[0]
        if op == "where":
            if args[0].kind in (SCALAR, CONSTANT):
                return [f"np.copyto({place}, {values[1]} if {x} else {values[2]})"]
            return [
                f"np.copyto({place}, {values[2]})",
                f"np.copyto({place}, {values[1]}, where={x})",
            ]
        if op.startswith("cast_"):
            narrow = self.take(as_dtype(op.removeprefix("cast_")))
            self.give_back(narrow)
            return [
                f'np.copyto({narrow}, {x}, casting="unsafe")',
                f"np.copyto({place}, {narrow})",
            ]
        if op == "relu":
            return [f"np.maximum({x}, 0.0, out={place})"]
        if op == "erf":
            return [f"erf({x}, {place})"]
        if op == "sigmoid":
            return [
                f"np.negative({x}, out={place})",
                f"np.exp({place}, out={place})",
                f"np.add({place}, 1.0, out={place})",
                f"np.divide(1.0, {place}, out={place})",
            ]
        if op == "softplus":
            rest = self.take(self.compute)
            self.give_back(rest)
            return [
                f"np.absolute({x}, out={rest})",
                f"np.negative({rest}, out={rest})",
                f"np.exp({rest}, out={rest})",
                f"np.log1p({rest}, out={rest})",
                f"np.maximum({x}, 0.0, out={place})",
                f"np.add({place}, {rest}, out={place})",
            ]
        return [f"np.{ufunc_name(op)}({', '.join(values)}, out={place})"]

    def _result(self, number: int, ref: Ref) -> str:
        """Where a result is in the end: in its own array if there are tiles."""
        value = self._place(ref)
        if self.tiled:
            if value != f"o{number}":
                self.lines.append(f'np.copyto(o{number}, {value}, casting="unsafe")')
            return value
        if ref.kind == ARRAY:
            return f"{value}.astype(element)"
        if ref.kind != RESULT:
            return f"np.full((), {value}, element)"
        if self.dtype != self.compute:
            return f"{value}.astype(element)"
        return value
