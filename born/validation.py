"""What arguments are checked with, in layers, configs and backends alike.

Errors begin with the argument's name, "expected p as a number, got 'x'", or that of a field,
"AdamConfig.lr: expected a number". Values out of range or of the wrong type raise `error`, except
that `ConfigError` becomes `ConfigTypeError` for the wrong type.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Collection, Sequence
from numbers import Real
from typing import Any, Final, TypeAlias, TypeVar, cast

from typing_extensions import TypeIs

from born.errors import BornError, ConfigError, ConfigTypeError

_Choice = TypeVar("_Choice")

Pair: TypeAlias = int | tuple[int, int]
"""A size for height and width: one integer for both, or two."""

LARGEST: Final = 2**63 - 1
"""The largest size that arrays count with."""


def integer(
    name: str, value: object, least: int | None = 1, error: type[BornError] = ConfigError
) -> int:
    """`value` as a Python integer of at least `least`; None sets no bound."""
    if type(value) is not int:  # most are, and it takes time to look further
        try:
            if isinstance(value, bool):
                raise TypeError
            value = operator.index(cast("Any", value))
        except TypeError:
            raise type_error(
                name, "an integer", value, "convert it with int() first", error
            ) from None
    if least is not None and value < least:
        raise error(
            f"expected {name} of at least {least}, got {value}; "
            f"pass for example {name}={max(least, 1)}"
        )
    if least and value > LARGEST:  # a size; seeds count from 0, and are larger
        raise error(f"expected {name} of at most {LARGEST}, got {value}; pass a smaller one")
    return value


def number(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    error: type[BornError] = ConfigError,
) -> float:
    """`value` as a Python float, finite and from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise type_error(name, "a number", value, "convert it with float() first", error)
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not (low <= result <= high and math.isfinite(result)):
        bounds = f" from {low:g}" if low > -math.inf else ""
        bounds += f" to {high:g}" if high < math.inf else ""
        raise error(
            f"{_expected(name)} a finite number{bounds}, got {result}; choose one in that range"
        )
    return result


def flag(name: str, value: object, error: type[BornError] = ConfigError) -> bool:
    """`value`, a bool."""
    if not isinstance(value, bool):
        raise type_error(name, "True or False", value, "check the order of the arguments", error)
    return value


def pair(
    name: str, value: object, least: int = 1, error: type[BornError] = ConfigError
) -> tuple[int, int]:
    """A size for height and width, from one integer for both or from two."""
    if type(value) is int or not _is_sequence(value):  # most are, and a look further takes time
        size = integer(name, value, least, error)
        return size, size
    sizes = tuple(integer(name, size, least, error) for size in value)
    if len(sizes) != 2:
        raise error(
            f"expected {name} as one integer or two (height, width), got {len(sizes)}: {sizes}; "
            "pass one to use it for both"
        )
    return sizes[0], sizes[1]


def shape(name: str, value: object, error: type[BornError] = ConfigError) -> tuple[int, ...]:
    """A shape of at least one axis and no axis of length zero, from one length or several."""
    if not _is_sequence(value):
        return (integer(name, value, error=error),)
    lengths = tuple(integer(name, length, error=error) for length in value)
    if not lengths:
        raise error(f"expected {name} with at least one axis, got {value!r}; pass a length")
    return lengths


def choice(
    name: str, value: _Choice, options: Collection[_Choice], error: type[BornError] = ConfigError
) -> _Choice:
    """`value`, which is one of `options`; the first of them is the usual one."""
    if value not in options:
        first, *others = (f'"{option}"' for option in options)
        listed = ", ".join([first, *others[:-1]]) + "".join(f" or {last}" for last in others[-1:])
        raise error(f"expected {name}={listed}, got {value!r}; {first} is the usual one")
    return value


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with so many arguments, as far as it says."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # as of many that are written in C
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def mismatch_text(expected: str, mismatches: Sequence[str], remedy: str) -> str:
    """The message of an error that lists mismatches, each on its own line."""
    count = f"{len(mismatches)} mismatch{'es' if len(mismatches) > 1 else ''}"
    listed = "".join(f"\n  {mismatch}" for mismatch in mismatches)
    return f"expected {expected}, got {count}; {remedy}:{listed}"


def _is_sequence(value: object) -> TypeIs[Sequence[object]]:
    if isinstance(value, tuple | list):  # which to ask whether it is another one would cost more
        return True
    return isinstance(value, Sequence) and not isinstance(value, str)


def type_error(
    name: str, kind: str, value: object, remedy: str, error: type[BornError]
) -> BornError:
    """The error for a value of the wrong type."""
    message = f"{_expected(name)} {kind}, got {value!r} of type {type(value).__name__}; {remedy}"
    return ConfigTypeError(message) if error is ConfigError else error(message)


def _expected(name: str) -> str:
    return f"{name}: expected" if "." in name else f"expected {name} as"
