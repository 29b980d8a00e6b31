"""Moving arrays between the host, the device and other libraries."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from typing_extensions import override

from born.backend.arrays.dispatch import Dispatch
from born.backend.contract.transfer import Transfer
from born.backend.dlpack import check_device
from born.dtypes import as_dtype
from born.errors import DTypeError, OperandError
from born.raw import HostArray, RawTensor


class ArrayTransfer(Transfer, Dispatch):
    """Transfers by the namespace's own functions."""

    @override
    def from_numpy(self, array: HostArray) -> RawTensor:
        return RawTensor(self.xp.array(array, as_dtype(array.dtype), copy=True, order="C"))

    @override
    def to_numpy(self, x: RawTensor, /) -> HostArray:
        return np.array(x.array, as_dtype(x.array.dtype), copy=True, order="C")

    @override
    def from_dlpack(self, data: Any) -> RawTensor:
        check_device(data, self._dlpack_device, repr(self))
        try:
            array = self.xp.from_dlpack(data)
        except BufferError as error:
            raise OperandError(
                f"expected an array that its library shares, got a {type(data).__name__} that it "
                f"does not ({error}); detach or copy it first"
            ) from error
        except (RuntimeError, TypeError, ValueError) as error:
            raise DTypeError(
                f"expected an array of a dtype that {self!r} can share, got "
                f"{getattr(data, 'dtype', type(data).__name__)} ({error}); convert it, or hold a "
                "bfloat16 array by its bits: share an int16 view and view that as bfloat16"
            ) from error
        as_dtype(array.dtype)
        return RawTensor(array)

    @override
    def to_dlpack(self, x: RawTensor, /, **options: Any) -> Any:
        try:
            return super().to_dlpack(x, **options)
        except BufferError as error:
            if x.dtype.name == "bfloat16":
                error.add_note(
                    "expected a dtype that the array's library shares, got bfloat16; share "
                    'raw.array.view("int16") and view it as bfloat16 there, or convert it first'
                )
            raise

    @cached_property
    def _dlpack_device(self) -> tuple[int, int]:
        """Where the arrays are that this backend makes, in DLPack's numbers."""
        kind, index = self.xp.zeros(1).__dlpack_device__()
        return int(kind), int(index)
