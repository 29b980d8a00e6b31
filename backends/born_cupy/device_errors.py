"""`DeviceErrors`: values that kernels could not use, raised when the host waits for the device."""

from __future__ import annotations

from typing import Final

import numpy as np

from born.errors import BornError, DomainError, IndexOutOfRangeError
from born.raw import Array
from born_cupy.device import cupy
from born_cupy.kernels.device_errors import REPORT_LENGTH

_INDEX: Final = (
    IndexOutOfRangeError,
    "expected an index within an axis of {length} elements, got {value}; check the index",
)

_EXPECTED: Final[dict[str, tuple[type[BornError], str]]] = {
    "getitem": _INDEX,
    "index_add": _INDEX,
    "gather": _INDEX,
    "scatter_add": _INDEX,
    "labels": (
        IndexOutOfRangeError,
        "expected labels from 0 to {last}, got labels from outside of that, such as {value}; "
        "check the labels or the number of classes",
    ),
    "rows": (
        IndexOutOfRangeError,
        "expected integers from 0 to {last}, got integers such as {value}; "
        "check them, or make the table larger",
    ),
    "pow": (
        DomainError,
        "expected integers to non-negative powers, got a negative one: {value}; "
        'convert the base with .astype("float32")',
    ),
}
"""Operation -> the error for a value that it cannot use, and what to say."""

_NUMBERS: Final = {operation: np.int64(i) for i, operation in enumerate(_EXPECTED)}


class DeviceErrors:
    """A report in device memory: kernels write to it, `raise_reported` reads it if `pending`."""

    def __init__(self) -> None:
        self.pending = False
        self._report = cupy.zeros(REPORT_LENGTH, np.int64)

    def arguments(self, operation: str) -> tuple[Array, np.int64]:
        """What a kernel takes to report for an operation."""
        return self._report, _NUMBERS[operation]

    def raise_reported(self) -> None:
        """Wait for the report, if there may be one, and raise it once."""
        if not self.pending:
            return
        self.pending = False
        count, number, value, length = (int(word) for word in self._report.get())
        if count:
            self._report.fill(0)
            operation = list(_EXPECTED)[number]
            error, text = _EXPECTED[operation]
            said = text.format(value=value, length=length, last=length - 1)
            raise error(f"{said} (seen by {operation}, for {count} values)")
