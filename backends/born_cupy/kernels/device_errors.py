"""How a kernel reports a value that it cannot use, without anyone waiting for the answer.

A report is four integers in device memory: how many values were at fault since it was last read,
and for the first of them the operation, the value, and the length of the axis it indexes.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from born_cupy.kernels.source import EACH, Source, head

REPORT_LENGTH: Final = 4

FAULT: Final = """\
__device__ inline void fault(i64 *report, i64 operation, i64 value, i64 length) {
    if (atomicAdd((u64 *)report, 1ull)) return;
    report[1] = operation;
    report[2] = value;
    report[3] = length;
}
"""


@cache
def check_range() -> Source:
    """Report the integers that are not from 0 to length - 1.

    (values, size, length, report, operation)
    """
    parameters = "const i64 *values, i64 size, i64 length, i64 *report, i64 operation"
    text = f"""{FAULT}
{head("born_check_range", parameters)} {{
    {EACH} {{
        if (values[i] < 0 || values[i] >= length) fault(report, operation, values[i], length);
    }}
}}
"""
    return Source("born_check_range", text)
