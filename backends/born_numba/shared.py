"""Functions that loops of generated text call, compiled once for all of them.

What a loop calls in the ordinary way is compiled again as a part of it. These are machine code of
their own, which loops find by a symbol: whatever is called once for many elements may be one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final

from born_numba.cache import compile_callback
from born_numba.compiler import binding, cgutils, intrinsic, types

ADDRESS: Final = types.uint64
COUNT: Final = types.int64
DOUBLE: Final = types.float64
NOTHING: Final = types.void


class Shared:
    """A function as those of loops call it by its name.

    Args:
        function: what is compiled, when the first loop calls it.
        signature: of numbers: they are passed as C does.
        names: what it means by its global names, if not what its module does.
        suffix: of its name, if there are others of the same text.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        signature: Any,
        names: Mapping[str, Any] | None = None,
        suffix: str = "",
    ) -> None:
        self._function, self._signature = function, signature
        self._names = names or {}
        self.name = function.__name__ + suffix

    @cached_property
    def called(self) -> Any:
        """What loops are given by its name."""
        name = self._function.__name__
        source = inspect.getsource(self._function)
        source = source[source.index("def ") :].replace(f"def {name}(", f"def {self.name}(", 1)
        known = {**self._function.__globals__, **self._names}
        self._code = compile_callback(source, self.name, self._signature, known)  # kept alive
        symbol = f"born_{self.name}"
        binding.add_symbol(symbol, self._code.address)
        return _external(symbol, self._signature)


def _external(symbol: str, signature: Any) -> Any:
    """What calls the function of a symbol where a loop has its name."""

    def generate(context: Any, builder: Any, own: Any, args: Any) -> Any:
        result = signature.return_type
        is_empty = result == types.void
        form = cgutils.ir.FunctionType(
            cgutils.ir.VoidType() if is_empty else context.get_value_type(result),
            [context.get_value_type(each) for each in signature.args],
        )
        function = cgutils.get_or_insert_function(builder.module, form, symbol)
        found = builder.call(function, args)
        return context.get_dummy_value() if is_empty else found

    # Numba tells an intrinsic's arguments by their names.
    arguments = ", ".join(f"x{number}" for number in range(len(signature.args)))
    names: dict[str, Any] = {"found": (signature, generate)}
    exec(f"def typed(typing_context, {arguments}): return found", names)
    return intrinsic(names["typed"])


def shared_in(source: str, functions: Mapping[str, Shared]) -> dict[str, Any]:
    """Of some functions those that a text calls, by name."""
    return {name: function.called for name, function in functions.items() if f"{name}(" in source}
