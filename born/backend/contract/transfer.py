"""Moving tensors between the host, the device and other libraries."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any

from born.backend.contract.operation import absent, required
from born.backend.contract.primitives import Primitives
from born.raw import HostArray, RawTensor


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
