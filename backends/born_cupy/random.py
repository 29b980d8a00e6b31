"""Random numbers on the device."""

from __future__ import annotations

from typing_extensions import override

from born.backend.arrays.random import ArrayRandom
from born.dtypes import INTEGRAL, DTypeLike, as_dtype
from born.raw import RawTensor, Shape
from born_cupy.kernels import random
from born_cupy.launch import Launching


class CupyRandom(ArrayRandom, Launching):
    """Uniform numbers made on the device: those that the host would make."""

    @override
    def uniform(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        wanted = as_dtype(dtype)
        if wanted.kind in INTEGRAL:
            return super().uniform(shape, wanted)
        result = self.xp.empty(shape, wanted)
        self._draw(random.uniform(wanted), result.size, wanted.itemsize == 8, result)
        return RawTensor(result)
