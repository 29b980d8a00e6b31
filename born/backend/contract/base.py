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
    """A backend without its operations.

    Attributes:
        name: what `born.get_backend` calls it.
    """

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
        """Continue from a snapshot.

        Raises:
            DomainError: `random_state` did not give it; the generator is what it was.
        """
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

        An update reads and writes it together with `x`: a backend may choose its place
        in memory accordingly.

        Args:
            x: the parameter.
            dtype: of the slot.
            number: which of the parameter's slots it is, counted from 1.
        """
        return self.zeros(x.shape, dtype)

    def global_norm(self, xs: Sequence[RawTensor]) -> RawTensor:
        """The square root of the sum of the squares of all elements, float64 of shape ().

        It is added up in double, and stays on the device.
        """
        total = self.zeros((), "float64")
        for x in xs:
            wide = self.astype(x, "float64")
            total = self.add(total, self.sum(self.mul(wide, wide)))
        return self.sqrt(total)
