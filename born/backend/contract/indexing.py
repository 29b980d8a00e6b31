"""Indexing: reading and adding where integers say."""

from __future__ import annotations

from collections.abc import Sequence

from born.backend.arguments import Index, normal_axis
from born.backend.contract.operation import absent, optional, required
from born.backend.contract.primitives import Primitives
from born.dtypes import DTypeLike
from born.errors import DTypeError, IndexOutOfRangeError
from born.raw import RawTensor, Shape


class Indexing(Primitives):
    """Operations that read, or add, where an index says."""

    @required
    def getitem(self, x: RawTensor, /, index: Index) -> RawTensor:
        """`x[index]`, basic and advanced."""
        absent()

    @required
    def index_add(self, x: RawTensor, index: Index, y: RawTensor, /) -> RawTensor:
        """A copy of `x` with `y` added at `index`; repeated indices add up."""
        absent()

    def assembled(
        self, shape: Shape, dtype: DTypeLike, parts: Sequence[tuple[Index, RawTensor]]
    ) -> RawTensor:
        """Zeros of a shape, to which each y of some parts is added at its index."""
        out = self.zeros(shape, dtype)
        for index, y in parts:
            out = self.index_add(out, index, y)
        return out

    @optional
    def take(self, x: RawTensor, index: RawTensor, /, axis: int = 0) -> RawTensor:
        """The slices of `x` along `axis` that an integer tensor names; a table of embeddings."""
        axis = normal_axis(axis, x.ndim)
        if index.dtype.kind not in "iu":
            raise DTypeError(
                f"expected an integer index in take, got {index.dtype}; "
                "use x[mask] to select by a bool mask"
            )
        return self.getitem(x, (*(slice(None),) * axis, index))

    @required
    def gather(self, x: RawTensor, index: RawTensor, /, axis: int) -> RawTensor:
        """Along an axis, the elements of `x` that `index` names (`numpy.take_along_axis`)."""
        absent()

    @required
    def scatter_add(self, x: RawTensor, index: RawTensor, y: RawTensor, /, axis: int) -> RawTensor:
        """A copy of `x` with `y` added where `gather` would have read; repeated indices add up."""
        absent()

    @required
    def searchsorted(self, x: RawTensor, y: RawTensor, /, right: bool = False) -> RawTensor:
        """How many elements of the sorted vector x are below each of y, or not above it; int64."""
        absent()

    def check_rows(self, index: RawTensor, rows: int) -> None:
        """Refuse integers that name no row, negative ones too; a device may say so at a wait."""
        if index.size == 0:
            return
        least, most = self.min(index).item(), self.max(index).item()
        if least < 0 or most >= rows:
            raise IndexOutOfRangeError(
                f"expected integers from 0 to {rows - 1}, got integers from {least} to {most}; "
                "check them, or make the table larger"
            )
