"""Drawing one call of an operation: Hypothesis draws the shapes, a generator the values.

Hypothesis would shrink values towards zero, where functions have their kinks; so it
draws only the seed, and the values keep a distance from each other and from zero.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar, cast

import numpy as np
from hypothesis import strategies as st

from born.backend import Axis, Backend
from born.raw import HostArray, RawTensor, Shape
from tests.tools import is_tuple

_Choice = TypeVar("_Choice")

Results: TypeAlias = RawTensor | Sequence[RawTensor]

Apply: TypeAlias = (
    Callable[[Backend], Results]
    | Callable[[Backend, RawTensor], Results]
    | Callable[[Backend, RawTensor, RawTensor], Results]
)
"""Calls an operation on a backend with the tensors of a case."""

Reference: TypeAlias = (
    Callable[[], Any] | Callable[[HostArray], Any] | Callable[[HostArray, HostArray], Any]
)
"""Computes the same in NumPy."""

SOME_LENGTHS: Final = (1, 2, 3, 4)
"""Lengths of axes, short: a directional derivative sees a wrong element of four as of many."""

ZERO_LENGTHS: Final = (0, 0, 1, 2)
"""Lengths that make most shapes hold no element."""

LONG_LENGTHS: Final = (2, 33, 257, 5000)
"""Lengths at which kernels change how they share out a row: beyond a group of threads, and beyond
what a block of them takes at once."""

MANY_LENGTHS: Final = (2, 17, 33)
"""Lengths that make most shapes hold thousands of elements."""

MOST_AXES: Final = 3

MOST_ELEMENTS: Final = 70_000
"""Elements of a shape: many times what the simulated device takes at once."""

GRID_STEP: Final = 0.1
GRID_OFFSET: Final = 0.03
"""Elements of `distinct` differ by 0.1, their magnitudes by 0.04, and none is nearer to zero
than 0.03: far more than the 2e-4 by which a central difference moves them."""

LAYOUTS: Final = ("contiguous", "transposed", "strided", "flipped")
"""How a tensor lies in memory."""


@dataclass(frozen=True)
class Case:
    """One call of an operation.

    Attributes:
        inputs: its floating tensor arguments, in float64.
        apply: calls it on a backend with those arguments as raw tensors.
        reference: the same in NumPy, or None where there is nothing to compare with.
    """

    inputs: tuple[HostArray, ...]
    apply: Apply
    reference: Reference | None = None

    def results(self, backend: Backend, raws: Sequence[RawTensor]) -> list[RawTensor]:
        """What the operation returns, as a list."""
        found = cast("Callable[..., Results]", self.apply)(backend, *raws)
        return [found] if isinstance(found, RawTensor) else list(found)

    def expected(self, inputs: Sequence[HostArray]) -> list[HostArray]:
        """What the reference gives, as a list; it may warn of means of nothing."""
        reference = cast("Callable[..., Any]", self.reference)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            found = reference(*inputs)
        several = cast("list[HostArray]", found) if isinstance(found, list) else [found]
        return [np.asarray(each) for each in several]


class Draw:
    """One call of an operation.

    Args:
        draw: Hypothesis's own function.
        name: the operation.
        lengths: the lengths that an axis may have.
        most_axes: how many axes a tensor may have, unless its operation needs more.
    """

    def __init__(
        self,
        draw: st.DrawFn,
        name: str,
        lengths: Sequence[int] = SOME_LENGTHS,
        most_axes: int = MOST_AXES,
    ) -> None:
        self._draw = draw
        self.name = name
        self.lengths = lengths
        self.most_axes = most_axes
        self._generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    # -- the call ------------------------------------------------------------------------

    def call(self, reference: Callable[..., Any], *operands: Any, **options: Any) -> Case:
        """A call of the operation with some operands and options.

        Args:
            reference: the same in NumPy; it takes the options by name, the operation by position.
            operands: in order. Arrays of float64 are the inputs of the case; other arrays, such
                as indices, become tensors that no gradient is for; the rest is given as it is.
            options: in the operation's order.
        """
        is_input = [getattr(operand, "dtype", None) == np.float64 for operand in operands]
        inputs = (x for x, tracked in zip(operands, is_input, strict=True) if tracked)

        def arguments(given: Sequence[Any], other: Callable[[Any], Any]) -> list[Any]:
            left = iter(given)
            paired = zip(operands, is_input, strict=True)
            return [next(left) if tracked else other(operand) for operand, tracked in paired]

        def apply(b: Backend, *tensors: RawTensor) -> Results:
            given = arguments(tensors, lambda operand: _on(b, operand))
            results: Results = getattr(b, self.name)(*given, *options.values())
            # A tuple holds residuals beside the result.
            return results[0] if isinstance(results, tuple) else results

        def expected(*arrays: HostArray) -> Any:
            given = arguments(arrays, lambda operand: operand)
            return reference(*given, **options)

        return Case(tuple(map(np.asarray, inputs)), apply, expected)

    # -- arguments -----------------------------------------------------------------------

    def choice(self, choices: Sequence[_Choice]) -> _Choice:
        """One of several."""
        return self._draw(st.sampled_from(choices))

    def flag(self) -> bool:
        """A truth value."""
        return self._draw(st.booleans())

    def integer(self, least: int, most: int) -> int:
        """An integer, both ends included."""
        return self._draw(st.integers(least, most))

    def shape(self, least: int = 0, most: int = 0) -> Shape:
        """A shape of at least `least` axes, and at most `most` or what is usual."""
        shape: Shape = ()
        for _ in range(self.integer(least, max(least, most or self.most_axes))):
            length = self.choice(self.lengths)
            shape = (*shape, length if length * math.prod(shape) <= MOST_ELEMENTS else 1)
        return shape

    def broadcasting(self, count: int, least: int = 0) -> list[Shape]:
        """Shapes that broadcast together."""
        whole = self.shape(least)
        return [self.stretched(whole) for _ in range(count)]

    def stretched(self, whole: Shape) -> Shape:
        """A shape that broadcasts to this one: leading axes left out, others of length one."""
        kept = whole[self.integer(0, len(whole)) :]
        return tuple(1 if self.flag() else length for length in kept)

    def axis(self, ndim: int) -> int:
        """One axis, counted from either end."""
        return self.integer(-ndim, ndim - 1)

    def axes(self, shape: Shape, *, filled: bool = False) -> Axis:
        """What `axis` of a reduction may be; if `filled`, none of them of length zero."""
        ndim = len(shape)
        usable = [i for i in range(ndim) if shape[i] or not filled]
        if len(usable) == ndim and self.flag():
            return None
        chosen = [i for i in usable if self.flag()]
        named = tuple(i - ndim if self.flag() else i for i in chosen)
        return named[0] if len(named) == 1 and self.flag() else named

    # -- values --------------------------------------------------------------------------

    def uniform(self, shape: Shape, low: float = -2.0, high: float = 2.0) -> HostArray:
        """Numbers between two bounds."""
        return self._generator.uniform(low, high, shape)

    def distinct(self, shape: Shape, offset: float = GRID_OFFSET) -> HostArray:
        """Numbers of either sign, all apart from each other and from zero, in any order."""
        size = math.prod(shape)
        grid = (np.arange(size) - size // 2) * GRID_STEP + offset
        return self._generator.permutation(grid).reshape(shape)

    def integers(self, shape: Shape, below: int, dtype: str = "int64") -> HostArray:
        """Integers from zero."""
        return self._generator.integers(0, below, shape).astype(dtype)

    def bools(self, shape: Shape) -> HostArray:
        """Truth values."""
        return self._generator.random(shape) < 0.5


def _on(backend: Backend, operand: Any) -> Any:
    """An operand that is not an input, its arrays as tensors."""
    if is_tuple(operand) and any(hasattr(part, "dtype") for part in operand):
        return tuple(_on(backend, part) for part in operand)
    return backend.from_numpy(np.asarray(operand)) if hasattr(operand, "dtype") else operand


def place(backend: Backend, array: HostArray, layout: str = "contiguous") -> RawTensor:
    """A tensor of these values, laid out in memory in one of several ways."""
    if array.ndim == 0 or layout == "contiguous":
        return backend.from_numpy(array)
    if layout == "transposed":
        return backend.transpose(backend.from_numpy(array.T))
    if layout == "flipped":
        return backend.flip(backend.from_numpy(np.flip(array)))
    doubled = backend.from_numpy(np.repeat(array, 2, axis=-1))
    return backend.getitem(doubled, (..., slice(None, None, 2)))
