"""NumPy's functions, called with tensors: `np.exp(x)` and `np.sum(x)` are tensors, and recorded.

Those below are born's own. Of a function that born does not have, a ufunc is an `OperandError`;
others get the elements as arrays, as those of the libraries that know NumPy alone do, except
where a tape has recorded them, since no gradient would pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born.ops import (
    creation,
    elementwise,
    indexing,
    linalg,
    order,
    reduction,
    sampled,
    shape,
    statistics,
)
from born.ops.einsum import einsum
from born.ops.linear import dot, inner, kron, matmul, outer, tensordot, vdot
from born.tensor import NUMPY_FUNCTIONS, NUMPY_UFUNCS

_REDUCTIONS: Final = "all any argmax argmin cumprod cumsum max mean min prod sum var"
_STATISTICS: Final[dict[str, str]] = {
    "1": "corrcoef cov histogram unique",
    "2": """
        count_nonzero median nanargmax nanargmin nancumprod nancumsum nanmax nanmean nanmedian
        nanmin nanprod nanstd nansum nanvar ptp
    """,
    "3": """
        argpartition average bincount convolve correlate diff gradient interp nanpercentile
        nanquantile partition percentile quantile sort trapezoid
    """,
}
"""How many arguments by position mean the same -> the functions."""


def _statistic(name: str) -> Callable[..., Any]:
    """A function of one of the three modules that statistics are in."""
    found: Callable[..., Any] = next(
        getattr(each, name) for each in (statistics, order, sampled) if name in vars(each)
    )
    return found


_SHAPES: Final = """
append array_split atleast_1d atleast_2d atleast_3d block broadcast_to column_stack concatenate
diag diagflat diagonal dsplit dstack expand_dims flip fliplr flipud hsplit hstack moveaxis ravel
repeat reshape roll rollaxis rot90 split squeeze stack swapaxes tile trace transpose tril triu
unstack vsplit vstack
"""
_LINALG: Final[dict[str, str]] = {
    "1": "cholesky det inv pinv slogdet",
    "2": "matrix_power norm solve",
}
_ANY: Final = 99  # arguments, each of them a tensor
_OTHER_NAMES: Final[dict[str, Callable[..., Any]]] = {
    "absolute": elementwise.abs,
    "bitwise_and": elementwise.logical_and,
    "bitwise_or": elementwise.logical_or,
    "degrees": elementwise.rad2deg,
    "divide": elementwise.div,
    "fabs": elementwise.abs,
    "matmul": matmul,
    "multiply": elementwise.mul,
    "negative": elementwise.neg,
    "power": elementwise.pow,
    "radians": elementwise.deg2rad,
    "subtract": elementwise.sub,
}
_SAME_NAMES: Final = [
    name for name in vars(elementwise) if isinstance(getattr(np, name, None), np.ufunc)
]
NUMPY_UFUNCS.update({name: getattr(elementwise, name) for name in _SAME_NAMES} | _OTHER_NAMES)

# Function -> born's, and how many arguments by position mean the same to both.
NUMPY_FUNCTIONS.update(
    {
        **{name: (getattr(reduction, name), 2) for name in _REDUCTIONS.split()},
        "amax": (reduction.max, 2),
        "amin": (reduction.min, 2),
        **{name: (getattr(elementwise, name), 1) for name in ("isneginf", "isposinf", "sinc")},
        "clip": (elementwise.clamp, 3),
        "fix": (elementwise.trunc, 1),
        "nan_to_num": (elementwise.nan_to_num, 1),
        "round": (elementwise.round, 2),
        "copy": (creation.copy, 1),
        "where": (elementwise.where, 3),
        **{
            name: (_statistic(name), int(count))
            for count, names in _STATISTICS.items()
            for name in names.split()
        },
        "argsort": (reduction.argsort, 2),
        "digitize": (indexing.digitize, 3),
        "searchsorted": (indexing.searchsorted, 3),
        "take_along_axis": (indexing.gather, 3),
        **{name: (getattr(shape, name), 4) for name in _SHAPES.split()},
        **{name: (getattr(shape, name), _ANY) for name in ("broadcast_arrays", "ix_", "meshgrid")},
        **{each.__name__: (each, 2) for each in (dot, inner, kron, outer, vdot)},
        "cross": (linalg.cross, 2),
        "einsum": (einsum, _ANY),
        "tensordot": (tensordot, 3),
        **{
            f"linalg.{name}": (getattr(linalg, name), int(count))
            for count, names in _LINALG.items()
            for name in names.split()
        },
        "full_like": (creation.full_like, 3),
        "ones_like": (creation.ones_like, 2),
        "zeros_like": (creation.zeros_like, 2),
    }
)
