"""Making tensors, and writing into them."""

from __future__ import annotations

from born.backend.arguments import Scalar
from born.backend.contract.operation import absent, like, optional, required
from born.backend.contract.primitives import Primitives
from born.dtypes import DTypeLike
from born.raw import RawTensor, Shape


class Creation(Primitives):
    """Operations that make tensors, or write into one."""

    @required
    def full(self, shape: Shape, value: Scalar, dtype: DTypeLike) -> RawTensor:
        """A tensor of one value."""
        absent()

    @optional
    def zeros(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        """A tensor of zeros."""
        return self.full(shape, 0, dtype)

    @optional
    def ones(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        """A tensor of ones."""
        return self.full(shape, 1, dtype)

    @required
    def arange(self, start: Scalar, stop: Scalar, step: Scalar, dtype: DTypeLike) -> RawTensor:
        """`start, start + step, ...` up to but without `stop`."""
        absent()

    @required
    def eye(self, rows: int, columns: int, dtype: DTypeLike) -> RawTensor:
        """Ones on the main diagonal, zeros elsewhere."""
        absent()

    @required
    def normal(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        """Draws from the standard normal distribution."""
        absent()

    uniform = like(normal, "uniform", "Draws from the uniform distribution over [0, 1).")

    @required
    def astype(self, x: RawTensor, /, dtype: DTypeLike) -> RawTensor:
        """`x` rounded to another dtype, in new memory."""
        absent()

    @required
    def copy(self, x: RawTensor, /) -> RawTensor:
        """`x` in new, contiguous memory."""
        absent()

    @required
    def assign(self, target: RawTensor, value: RawTensor, /) -> None:
        """Write `value`, of the same shape and dtype, into the memory of `target`."""
        absent()
