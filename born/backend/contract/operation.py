"""How the contract marks its operations as required or optional, and what holds for all.

Every operation takes and returns `RawTensor`. Three rules hold for all of them:

- a result is a new `RawTensor`, never an argument, though it may share memory;
- Python numbers are weak: they take the dtype of the tensor beside them, and two
  tensors of different dtypes are a `DTypeError`;
- nothing is recorded, nothing leaves the device, and only `assign` writes into
  memory that exists.

Shapes broadcast as in NumPy, and `axis` and `keepdims` mean what they mean there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar, cast

from born.errors import BornError

_Method = TypeVar("_Method", bound=Callable[..., Any])

OPERATIONS: Final[dict[str, bool]] = {}
"""Every operation of the contract: name -> whether a backend must supply it."""


def required(method: _Method) -> _Method:
    """Mark an operation that a backend must supply, as `abc.abstractmethod` does.

    Type checkers do not see it: `Autodiff` supplies its operations from a table.
    """

    OPERATIONS[method.__name__] = True
    vars(method)["__isabstractmethod__"] = True
    return method


def like(declared: _Method, name: str, doc: str) -> _Method:
    """Declare a required operation of the same arguments as another."""

    @functools.wraps(declared)
    def operation(self: object, *args: object, **options: object) -> NoReturn:
        absent()

    operation.__name__, operation.__doc__ = name, doc
    operation.__qualname__ = declared.__qualname__.replace(declared.__name__, name)
    return required(cast("_Method", operation))


def optional(method: _Method) -> _Method:
    """Mark an operation that is composed from others; a backend overrides it only to be faster."""
    OPERATIONS[method.__name__] = False
    return method


def absent() -> NoReturn:
    """The body of a required operation: reached only through `super()`."""
    raise BornError(
        "expected a backend's own operation, reached the contract, which has no body; "
        "do not call super() from a required operation"
    )
