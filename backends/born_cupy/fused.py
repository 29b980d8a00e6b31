"""Formulas on the device: one kernel each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from born.backend.broadcast import walk
from born.backend.plain_fused import check_operands
from born.fusion import Formula
from born.raw import RawTensor
from born_cupy.kernels.fused import fused
from born_cupy.kernels.source import Source
from born_cupy.launch import Launching


class CupyFused(Launching):
    """Formulas by one launch; halves are computed in float32 and rounded once."""

    def fused(
        self, formula: Formula, arrays: Sequence[RawTensor], scalars: Sequence[float] = ()
    ) -> tuple[RawTensor, ...]:
        """The results of a formula."""
        shape, dtype = check_operands(formula, arrays)
        shapes = tuple(raw.shape for raw in arrays)
        placed = tuple(each != shape for each in shapes)
        numbers: list[Any] = []
        axes = 0
        if any(placed):
            joined = walk(shape, shapes)
            axes = len(joined.lengths)
            numbers += joined.lengths
            for steps, strided in zip(joined.strides, placed, strict=True):
                numbers += steps if strided else ()
        results = [RawTensor(self.xp.empty(shape, dtype)) for _ in formula.outputs]
        key = (CupyFused, dtype, placed, axes)
        source: Source | None = formula.compiled.get(key)
        if source is None:
            source = formula.compiled[key] = fused(formula, dtype, placed, axes)
        size = results[0].size
        written = [result.array for result in results]
        self._launch(source, size, *written, *arrays, size, *numbers, *map(np.float64, scalars))
        return tuple(results)
