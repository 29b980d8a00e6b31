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

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why this backend cannot be used here and what to do about it, or None if it can."""
        return None

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
        """Restart the random generator; a seed gives the same numbers on every backend."""
        absent()

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
