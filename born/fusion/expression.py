"""The maths an update rule may use: operators, and these functions.

Each takes Python numbers and gives one, or asks anything like `Value`. So one formula computes
with numbers, with tensors, or with symbols that write down what is to be computed.
"""

from __future__ import annotations

import builtins
import math
import struct
from typing import Any, Final, Protocol, Self, TypeVar, overload


class Value(Protocol):
    """What a rule computes with: elementwise maths with its own kind and with numbers.

    Annotate the arrays of a rule with a type variable bound to it, as they are all of one
    kind. Comparisons, and so the condition of `where`, are such values too.

    >>> from typing import TypeVar
    >>> V = TypeVar("V", bound=Value)
    >>> def descend(p: V, g: V, *, lr: float, t: int) -> tuple[V]:
    ...     return (p - lr * g,)
    """

    def __add__(self, other: Self | float, /) -> Self: ...
    def __radd__(self, other: float, /) -> Self: ...
    def __sub__(self, other: Self | float, /) -> Self: ...
    def __rsub__(self, other: float, /) -> Self: ...
    def __mul__(self, other: Self | float, /) -> Self: ...
    def __rmul__(self, other: float, /) -> Self: ...
    def __truediv__(self, other: Self | float, /) -> Self: ...
    def __rtruediv__(self, other: float, /) -> Self: ...
    def __pow__(self, other: Self | float, /) -> Self: ...
    def __neg__(self) -> Self: ...
    def __lt__(self, other: Self | float, /) -> Self: ...
    def __le__(self, other: Self | float, /) -> Self: ...
    def __gt__(self, other: Self | float, /) -> Self: ...
    def __ge__(self, other: Self | float, /) -> Self: ...

    def sqrt(self) -> Self:
        """The square root."""
        ...

    def exp(self) -> Self:
        """e to the power of each element."""
        ...

    def log(self) -> Self:
        """The natural logarithm."""
        ...

    def expm1(self) -> Self:
        """exp(x) - 1, exact near zero."""
        ...

    def log1p(self) -> Self:
        """log(1 + x), exact near zero."""
        ...

    def sin(self) -> Self:
        """The sine."""
        ...

    def cos(self) -> Self:
        """The cosine."""
        ...

    def tanh(self) -> Self:
        """The hyperbolic tangent."""
        ...

    def erf(self) -> Self:
        """The error function."""
        ...

    def sigmoid(self) -> Self:
        """1 / (1 + exp(-x))."""
        ...

    def softplus(self) -> Self:
        """log(1 + exp(x))."""
        ...

    def relu(self) -> Self:
        """max(x, 0)."""
        ...

    def abs(self) -> Self:
        """The absolute value."""
        ...

    def sign(self) -> Self:
        """-1, 0 or 1."""
        ...

    def isfinite(self) -> Self:
        """Whether each element is neither infinite nor NaN."""
        ...

    def maximum(self, other: Self | float, /) -> Self:
        """The larger of the two; NaN where either is."""
        ...

    def minimum(self, other: Self | float, /) -> Self:
        """The smaller of the two; NaN where either is."""
        ...

    def where(self, x: Self | float, y: Self | float, /) -> Self:
        """Of a condition: x where it holds, y elsewhere."""
        ...

    @property
    def dtype(self) -> Any:
        """The dtype of the elements."""
        ...

    def astype(self, dtype: Any, /) -> Self:
        """Rounded to another dtype."""
        ...


V = TypeVar("V", bound=Value)


@overload
def sqrt(x: float, /) -> float: ...
@overload
def sqrt(x: V, /) -> V: ...
def sqrt(x: Any, /) -> Any:
    """The square root.

    >>> sqrt(9.0)
    3.0
    """
    return math.sqrt(x) if isinstance(x, (int, float)) else x.sqrt()


@overload
def exp(x: float, /) -> float: ...
@overload
def exp(x: V, /) -> V: ...
def exp(x: Any, /) -> Any:
    """e to the power of x.

    >>> exp(0.0)
    1.0
    """
    return math.exp(x) if isinstance(x, (int, float)) else x.exp()


@overload
def log(x: float, /) -> float: ...
@overload
def log(x: V, /) -> V: ...
def log(x: Any, /) -> Any:
    """The natural logarithm.

    >>> log(1.0)
    0.0
    """
    return math.log(x) if isinstance(x, (int, float)) else x.log()


@overload
def abs(x: float, /) -> float: ...
@overload
def abs(x: V, /) -> V: ...
def abs(x: Any, /) -> Any:
    """|x|.

    >>> abs(-2.0)
    2.0
    """
    return builtins.abs(x) if isinstance(x, (int, float)) else x.abs()


@overload
def sign(x: float, /) -> float: ...
@overload
def sign(x: V, /) -> V: ...
def sign(x: Any, /) -> Any:
    """-1, 0 or 1, as x is below, at or above zero.

    >>> sign(-2.0)
    -1.0
    """
    return float((x > 0) - (x < 0)) if isinstance(x, (int, float)) else x.sign()


@overload
def isfinite(x: float, /) -> bool: ...
@overload
def isfinite(x: V, /) -> V: ...
def isfinite(x: Any, /) -> Any:
    """Whether x is neither infinite nor NaN.

    >>> isfinite(1.0)
    True
    """
    return math.isfinite(x) if isinstance(x, (int, float)) else x.isfinite()


@overload
def maximum(x: float, y: float, /) -> float: ...
@overload
def maximum(x: V, y: V | float, /) -> V: ...
@overload
def maximum(x: float, y: V, /) -> V: ...
def maximum(x: Any, y: Any, /) -> Any:
    """The larger of x and y; NaN where either is.

    >>> maximum(1.0, 2.0)
    2.0
    """
    if not isinstance(x, (int, float)):
        return x.maximum(y)
    if not isinstance(y, (int, float)):
        return y.maximum(x)
    return x + y if math.isnan(x) or math.isnan(y) else max(x, y)


@overload
def minimum(x: float, y: float, /) -> float: ...
@overload
def minimum(x: V, y: V | float, /) -> V: ...
@overload
def minimum(x: float, y: V, /) -> V: ...
def minimum(x: Any, y: Any, /) -> Any:
    """The smaller of x and y; NaN where either is.

    >>> minimum(1.0, 2.0)
    1.0
    """
    if not isinstance(x, (int, float)):
        return x.minimum(y)
    if not isinstance(y, (int, float)):
        return y.minimum(x)
    return x + y if math.isnan(x) or math.isnan(y) else min(x, y)


@overload
def where(condition: bool, x: float, y: float, /) -> float: ...
@overload
def where(condition: bool, x: V, y: V | float, /) -> V: ...
@overload
def where(condition: bool, x: float, y: V, /) -> V: ...
@overload
def where(condition: V, x: V | float, y: V | float, /) -> V: ...
def where(condition: Any, x: Any, y: Any, /) -> Any:
    """x where the condition holds, y elsewhere; both are computed.

    >>> where(3 > 2, 1.0, 0.0)
    1.0
    """
    if isinstance(condition, bool):
        return x if condition else y
    return condition.where(x, y)


@overload
def cast(x: float, dtype: str) -> float: ...
@overload
def cast(x: V, dtype: str) -> V: ...
def cast(x: Any, dtype: str) -> Any:
    """x rounded to a dtype of fewer digits, as storing it would, and computed on as before.

    Args:
        x: what to round, to nearest and to even; not a truth value.
        dtype: `"float16"`, `"bfloat16"` or `"float32"`, others being a `TypeError`. One with
            as many digits as the rule computes with changes nothing.

    >>> cast(0.1, "bfloat16")
    0.10009765625
    """
    if dtype not in CASTS:
        raise TypeError(
            f"cast rounds to {', '.join(CASTS)}, not to {dtype!r}; a rule computes in float32, "
            "or in float64 for parameters of float64"
        )
    if isinstance(x, bool):
        raise TypeError(
            "cast was given a truth value, which becomes a number by where(condition, 1.0, 0.0)"
        )
    return _rounded(x, dtype) if isinstance(x, (int, float)) else x.astype(dtype).astype(x.dtype)


CASTS: Final = ("float16", "bfloat16", "float32")
"""What `cast` rounds to."""


def _rounded(x: float, dtype: str) -> float:
    """A number rounded to a dtype; to bfloat16 by way of float32, as arrays are."""
    code = "e" if dtype == "float16" else "f"
    try:
        packed = struct.pack(f"<{code}", x)
    except OverflowError:
        return math.copysign(math.inf, x)
    if dtype == "bfloat16" and not math.isnan(x):
        bits = int.from_bytes(packed, "little")
        packed = (bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000).to_bytes(4, "little")
    rounded: float = struct.unpack(f"<{code}", packed)[0]
    return rounded
