"""`Backend`: the whole contract, one class from its topics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

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
        return PlainUpdate(self, program, dtypes)

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
