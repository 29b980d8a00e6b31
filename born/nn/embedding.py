"""`Embedding`: a table of vectors, looked up by index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from born import ops
from born.backend import B
from born.dtypes import DTypeLike
from born.errors import ConfigError, DTypeError
from born.nn import init
from born.nn.module import Module
from born.nn.parameter import Parameter
from born.operands import raw_operand
from born.tensor import B2, Tensor
from born.validation import integer


class Embedding(Module[B]):
    """y = W[x]: the rows of a table that integers select.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: length of a row.
        backend: where the table lives; its random state is used.
        dtype: of the table, a floating dtype.
        padding_idx: a row for what fills sequences up, from the end if negative: zeros at first,
            and without a gradient. None by default.

    Attributes:
        weight: W, `(num_embeddings, embedding_dim)`, first drawn from N(0, 1), as in PyTorch.

    >>> Embedding(10, 4, backend)(born.tensor(np.array([[3, 1, 4]]), backend)).shape
    (1, 3, 4)
    """

    weight: Parameter[B]

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        backend: B,
        dtype: DTypeLike = "float32",
        padding_idx: int | None = None,
    ) -> None:
        rows = integer("num_embeddings", num_embeddings)
        table = init.normal((rows, integer("embedding_dim", embedding_dim)), backend, dtype=dtype)
        self.padding_idx = None
        if padding_idx is not None:
            place = integer("padding_idx", padding_idx, least=None)
            if not -rows <= place < rows:
                raise ConfigError(
                    f"expected a padding_idx from {-rows} to {rows - 1}, got {padding_idx}; make "
                    "the table larger, or choose one of its rows"
                )
            self.padding_idx = place % rows
            home = backend.innermost
            row = Tensor(home.getitem(table.raw, self.padding_idx), home)
            home.assign(row.raw, home.zeros(row.shape, row.dtype))
        self.weight = Parameter(table)

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> Embedding[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """The rows at `x`, integers of any shape; of shape `(*x.shape, embedding_dim)`.

        A row that the table does not have is an `IndexOutOfRangeError`.
        """
        raw_operand("Embedding", self.weight.backend, x)
        rows = self.weight.shape[0]
        if x.dtype.kind not in "iu":
            raise DTypeError(
                f"expected integers from 0 to {rows - 1}, got {x.dtype}; "
                'convert them with .astype("int64")'
            )
        self.weight.backend.innermost.check_rows(x.raw, rows)
        y = ops.take(self.weight, x, axis=0)
        if self.padding_idx is None:
            return y
        return ops.where(ops.expand_dims(x != self.padding_idx, -1), y, y.detach())
