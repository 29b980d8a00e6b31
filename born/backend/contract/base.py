"""The parts of a backend that are not operations: device, random generator, optimizer memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeAlias

from born.backend.contract.operation import absent
from born.backend.contract.primitives import Primitives
from born.dtypes import DTypeLike
from born.errors import TapeError
from born.raw import RawTensor

RandomState: TypeAlias = Mapping[str, Any]
"""The state of a generator as JSON types."""


class Base(Primitives):
    """A backend without its operations; `name` is what `born.get_backend` calls it."""

    name: str
    drawing: Seeded | None = None  # which generator is in the place of its own

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why this backend cannot be used here and what to do about it, or None if it can."""
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle: a new backend of the same class and options, at the same random numbers.

        What is pickled together keeps one backend; what is pickled apart comes back on several,
        between which `x.to(backend)` moves.
        """
        return _remade, (type(self), self._options(), self.random_state)

    def _options(self) -> dict[str, Any]:
        """What its class takes to make another one, apart from the seed."""
        return {}

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Itself: a copied model computes on the backend of the original."""
        return self

    def synchronize(self) -> None:
        """Wait until everything asked of the device is done. A CPU has nothing to wait for."""
        return

    @property
    def random_state(self) -> RandomState:
        """A snapshot of the random generator, as JSON types."""
        absent()

    def set_random_state(self, state: RandomState) -> None:
        """Continue from a snapshot; refuse what `random_state` did not give, and change nothing."""
        absent()

    def check_random_state(self, state: RandomState) -> None:
        """Refuse what `set_random_state` would refuse, changing nothing."""
        absent()

    def seed(self, seed: int) -> None:
        """Restart the random generator; a seed gives the same numbers on every backend.

        A forked child, and a backend that was pickled, go on from where the generator was, and so
        draw the same numbers as the original: seed each worker differently.
        """
        absent()

    def drawn(self, distribution: str, *parameters: Any) -> Any:
        """Draws on the host, of a distribution and with parameters as `numpy.random.Generator`'s.

        `ValueError` for parameters out of range, as NumPy raises it.
        """
        absent()

    def seeded(self, seed: int) -> Seeded:
        """A context in which random numbers come from a generator of their own.

        Afterwards the backend's generator goes on where it was. Entered again, the context
        goes on where it was, too: several of them are several independent generators. The
        generator belongs to the backend, not to the thread that enters.

        Args:
            seed: where it starts, a non-negative integer; `DomainError` for anything else.

        >>> backend = born.get_backend("numpy")
        >>> noise = backend.seeded(7)
        >>> with noise:
        ...     first = born.rand(2, backend)
        >>> with noise:
        ...     second = born.rand(2, backend)
        >>> with backend.seeded(7):
        ...     both = born.rand(4, backend)
        >>> both.tolist() == first.tolist() + second.tolist()
        True
        """
        return Seeded(self, seed)

    def accumulate(self, loss: RawTensor, *, keep_tape: bool = False) -> None:
        """Add the gradient of `loss` into every leaf it depends on; `Autodiff` knows how."""
        raise TapeError(
            f"expected a loss on an Autodiff backend, got one on {type(self).__name__}, "
            "which records nothing; make the model's tensors on Autodiff(backend)"
        )

    def extent(self, x: RawTensor) -> tuple[int, int] | None:
        """The first address of a tensor's memory and the first after it, if the backend knows."""
        return None

    def slot(self, x: RawTensor, dtype: DTypeLike, number: int) -> RawTensor:
        """Zeros of the shape of `x`, for an optimizer to carry from update to update.

        An update goes through `x` and its slots, whose `number` counts from 1, together: a backend
        may choose a slot's place in memory accordingly.
        """
        return self.zeros(x.shape, dtype)

    def global_norm(self, xs: Sequence[RawTensor]) -> RawTensor:
        """The root of the sum of all squares, in double: shape (), and not waited for."""
        total = self.zeros((), "float64")
        for x in xs:
            wide = self.astype(x, "float64")
            total = self.add(total, self.sum(self.mul(wide, wide)))
        return self.sqrt(total)


def _remade(kind: type[Base], options: dict[str, Any], state: RandomState) -> Base:
    backend = kind(**options)
    backend.set_random_state(state)
    return backend


class Seeded:
    """What `Backend.seeded` returns: a generator that stands in for a backend's while entered.

    Args:
        backend: whose.
        seed: where it starts.
    """

    def __init__(self, backend: Base, seed: int) -> None:
        self._backend = backend
        before = backend.random_state
        backend.seed(seed)
        self._state = backend.random_state
        backend.set_random_state(before)
        # For each time that it was entered: whose place it took, and where that was.
        self._before: list[tuple[Seeded | None, RandomState]] = []

    @property
    def random_state(self) -> RandomState:
        """Where the generator is, as JSON types, for a checkpoint's metadata."""
        return self._backend.random_state if self._backend.drawing is self else self._state

    def set_random_state(self, state: RandomState) -> None:
        """Continue from a snapshot, of this or another generator."""
        self._backend.check_random_state(state)
        self._state = state
        if self._backend.drawing is self:
            self._backend.set_random_state(state)

    def __enter__(self) -> Self:
        backend = self._backend
        other, state = backend.drawing, backend.random_state
        if other is not None:
            other._state = state
        self._before.append((other, state))
        backend.set_random_state(self._state)
        backend.drawing = self
        return self

    def __exit__(self, *error: object) -> None:
        backend = self._backend
        self._state = backend.random_state
        other, state = self._before.pop()
        backend.set_random_state(state if other is None else other._state)
        backend.drawing = other
