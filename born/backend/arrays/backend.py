"""`ArrayBackend`: the contract, met over a namespace like NumPy's."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from born.backend import codecs
from born.backend.arrays.creation import ArrayCreation
from born.backend.arrays.elementwise import ArrayElementwise
from born.backend.arrays.images import ArrayImages
from born.backend.arrays.indexing import ArrayIndexing
from born.backend.arrays.linalg import ArrayLinalg
from born.backend.arrays.linear import ArrayLinear
from born.backend.arrays.network import ArrayNetwork
from born.backend.arrays.random import ArrayRandom
from born.backend.arrays.reduction import ArrayReductions
from born.backend.arrays.shape import ArrayShapes
from born.backend.arrays.transfer import ArrayTransfer
from born.backend.backend import Backend
from born.raw import RawTensor


class ArrayBackend(
    ArrayCreation,
    ArrayRandom,
    ArrayTransfer,
    ArrayElementwise,
    ArrayReductions,
    ArrayShapes,
    ArrayIndexing,
    ArrayLinear,
    ArrayLinalg,
    ArrayNetwork,
    ArrayImages,
    Backend,
):
    """The whole contract over a namespace `xp` like NumPy's.

    NumPy and CuPy differ only in what they override. Where the contract has a default,
    the operations here give the same, to rounding, with fewer passes over memory; in
    float16 and bfloat16 they compute in float32 and round once.

    Args:
        xp: the namespace, such as the module numpy.
        seed: where the random generator starts; 0 by default.

    >>> class Plain(ArrayBackend):
    ...     name = "plain"
    >>> backend = Plain(np)
    >>> backend.relu(backend.from_numpy(np.array([-1.0, 2.0]))).array
    array([0., 2.])
    """

    def __init__(self, xp: Any, seed: int = 0) -> None:
        super().__init__(xp)
        self.seed(seed)

    @override
    def decode_slot(self, codes: RawTensor, codec: str, x: RawTensor) -> None:
        codecs.decode(codes.array, codec, x.array.reshape(-1), self.xp)

    @override
    def encode_slot(
        self, x: RawTensor, codec: str, codes: RawTensor, key: int | None = None
    ) -> None:
        codecs.encode(x.array.reshape(-1), codec, codes.array, self.xp, key)

    @override
    def round_stochastically(self, x: RawTensor, /, dtype: str, key: int) -> RawTensor:
        values = self.xp.ascontiguousarray(x.array).reshape(-1)
        rounded = codecs.round_stochastically(values, dtype, 0, key, self.xp)
        return RawTensor(rounded.reshape(x.shape))
