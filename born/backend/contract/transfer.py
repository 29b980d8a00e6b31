"""Moving tensors between the host, the device and other libraries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from typing import Any

from typing_extensions import override

from born.backend.contract.operation import absent, required
from born.backend.contract.primitives import Primitives
from born.raw import HostArray, RawTensor


class Arrival(ABC):
    """A copy of a tensor on its way to the host."""

    @property
    @abstractmethod
    def is_here(self) -> bool:
        """Whether `array` would not wait."""

    @abstractmethod
    def array(self) -> HostArray:
        """The copy, after a wait for it alone."""


class Arrived(Arrival):
    """A copy that is there."""

    def __init__(self, array: HostArray) -> None:
        self._array = array

    @property
    @override
    def is_here(self) -> bool:
        return True

    @override
    def array(self) -> HostArray:
        return self._array


class Transfer(Primitives):
    """Where tensors come from and go to."""

    @required
    def from_numpy(self, array: HostArray) -> RawTensor:
        """Copy a host array to the device, keeping its dtype."""
        absent()

    @required
    def to_numpy(self, x: RawTensor, /) -> HostArray:
        """Copy a tensor to the host."""
        absent()

    def fetch(self, x: RawTensor, /) -> Arrival:
        """Begin to copy a tensor to the host, as it is after what has been asked for so far.

        The default copies at once; a backend that computes while the host goes on does not wait.
        """
        return Arrived(self.to_numpy(x))

    def from_dlpack(self, data: Any) -> RawTensor:
        """Hold an array of another library without a copy; errors as in `born.from_dlpack`."""
        absent()

    def to_dlpack(self, x: RawTensor, /, **options: Any) -> Any:
        """A DLPack capsule of `x`, by `__dlpack__`'s options; `BufferError` if it has none."""
        return x.__dlpack__(**options)

    def prefetch(self, batches: Iterable[Sequence[HostArray]]) -> Generator[list[RawTensor]]:
        """Copy batches of host arrays to the device, in order; `born.data.prefetch` hands them in.

        The default copies on demand; a backend whose copies take time sends the next batch early.
        """
        for batch in batches:
            yield [self.from_numpy(array) for array in batch]
