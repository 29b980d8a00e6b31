"""`Backend`: the whole contract, one class from its topics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from born.backend import codecs
from born.backend.coded_update import CodedUpdate, is_coded
from born.backend.contract.base import Base
from born.backend.contract.creation import Creation
from born.backend.contract.elementwise import Elementwise
from born.backend.contract.images import Images
from born.backend.contract.indexing import Indexing
from born.backend.contract.linalg import Linalg
from born.backend.contract.linear import Linear
from born.backend.contract.network import Network
from born.backend.contract.reduction import Reductions
from born.backend.contract.shape import Shapes
from born.backend.contract.transfer import Transfer
from born.backend.plain_fused import run_plain
from born.backend.plain_update import PlainGroup, PlainUpdate
from born.backend.update import GroupUpdate, Scalars, UpdateKernel
from born.fusion import Formula, GroupProgram, Program
from born.raw import RawTensor


class Backend(
    Base,
    Creation,
    Transfer,
    Elementwise,
    Reductions,
    Shapes,
    Indexing,
    Linear,
    Linalg,
    Network,
    Images,
):
    """What born computes with: the contract every backend meets.

    Subclass it, or better `ArrayBackend`, to add a backend; name it in the
    entry-point group `born.backends` for `born.get_backend` to find it.

    >>> import born
    >>> isinstance(born.get_backend("numpy"), Backend)
    True
    """

    @property
    def innermost(self) -> Backend:
        """The backend that computes: `self`, unless it wraps another."""
        return self

    def compile_update(self, program: Program, dtypes: tuple[np.dtype[Any], ...]) -> UpdateKernel:
        """Compile a traced update rule for one combination of dtypes.

        Args:
            program: from `born.fusion.trace`.
            dtypes: of the parameter, the gradient and the slots, in the program's order.

        Returns:
            a kernel that updates all parameters of an optimizer in one call; by
            default one that runs instruction by instruction.
        """
        if is_coded(program, dtypes):
            return CodedUpdate(self, program, dtypes, self.compile_update, is_shared=False)
        return PlainUpdate(self, program, dtypes)

    def decode_slot(self, codes: RawTensor, codec: str, x: RawTensor) -> None:
        """Write to `x`, of float32, what the bytes of a coded slot stand for.

        By default, as the two that follow, on the host.
        """
        values = np.empty(x.size, np.float32)
        codecs.decode(self.to_numpy(codes), codec, values, np)
        self.assign(x, self.from_numpy(values.reshape(x.shape)))

    def encode_slot(
        self, x: RawTensor, codec: str, codes: RawTensor, key: int | None = None
    ) -> None:
        """Write to `codes`, flat and of uint8, what stands for float32 numbers: the nearest, or
        with a key, by chance."""
        stored = np.empty(codes.size, np.uint8)
        values = np.ascontiguousarray(self.to_numpy(x)).reshape(-1)
        codecs.encode(values, codec, stored, np, key)
        self.assign(codes, self.from_numpy(stored))

    def round_stochastically(self, x: RawTensor, /, dtype: str, key: int) -> RawTensor:
        """Each float32 number as one of its neighbours in `dtype`, the nearer more likely.

        What is chosen follows from the element's number and the key alone.
        """
        values = np.ascontiguousarray(self.to_numpy(x)).reshape(-1)
        rounded = codecs.round_stochastically(values, dtype, 0, key, np)
        return self.from_numpy(rounded.reshape(x.shape))

    def fused(
        self, formula: Formula, arrays: Sequence[RawTensor], scalars: Sequence[float] = ()
    ) -> tuple[RawTensor, ...]:
        """Compute a traced formula, by default instruction by instruction.

        Args:
            formula: from `born.fusion.trace_formula`, or its derivative.
            arrays: its inputs, which broadcast: all of one floating dtype, but for truth values.
            scalars: what `formula.host` gave.

        Returns:
            its results, each new and in the shape that the inputs broadcast to. Halves are
            computed in float32 and rounded once.

        Raises:
            DTypeError: inputs of other dtypes.
            ShapeError: shapes that do not broadcast.
        """
        return run_plain(self, formula, arrays, scalars)

    def begin_group(
        self, program: GroupProgram, slots: Sequence[RawTensor], scalars: Scalars
    ) -> GroupUpdate:
        """One step of what is computed once for all parameters of an optimizer, in double.

        Args:
            program: the `group` of the parameters' programs.
            slots: float64 of shape (), which the step writes at its end.
            scalars: what `program.host` gives.
        """
        return PlainGroup(self, program, slots, scalars)


B = TypeVar("B", bound=Backend)
"""The type of a backend, in everything that is made on one."""
