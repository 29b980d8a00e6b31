"""`Host`: what a rule computes of its scalars alone, once an update, in Python's doubles."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final, TypeAlias

from born.errors import DomainError
from born.fusion import expression

_FUNCTIONS: Final[dict[str, Any]] = {
    f"__{name}": getattr(expression, name)
    for name in ("abs", "exp", "isfinite", "log", "maximum", "minimum", "sign", "sqrt", "where")
} | {f"__cast_{dtype}": partial(expression.cast, dtype=dtype) for dtype in expression.CASTS}

Scalars: TypeAlias = tuple[float, ...]
"""What a `Host` gives: the scalars of one tensor's update."""


class Host:
    """From the scalars of a rule, and `t`, to those of its kernel.

    Args:
        arguments: the names of the rule's scalars, `t` among them.
        lines: what to compute, in order: name and text, of which `__` marks born's own names.
        handed: the texts of what the kernel is given.
        called: the name of the rule, for tracebacks.

    Attributes:
        source: the text of the function.

    >>> host = Host(("lr", "t"), (("__h0", "lr / t"),), ("__h0", "lr"), "descend")
    >>> host(lr=1.0, t=4)
    (0.25, 1.0)
    >>> print(host.source)
    def host(lr, t):
        __h0 = lr / t
        return (__float(__h0), __float(lr), )
    <BLANKLINE>
    """

    def __init__(
        self,
        arguments: Sequence[str],
        lines: Sequence[tuple[str, str]],
        handed: Sequence[str],
        called: str,
    ) -> None:
        self.arguments = tuple(arguments)
        self.lines = tuple(lines)
        self.handed = tuple(handed)
        self.called = called
        values = "".join(f"__float({text}), " for text in handed)
        body = [*(f"{name} = {text}" for name, text in lines), f"return ({values})"]
        self.source = _function("host", arguments, body)
        self._function: Callable[..., Scalars] = _compiled(self.source, called)["host"]

    def __call__(self, **scalars: Any) -> Scalars:
        """The scalars of a kernel, given those of a rule."""
        try:
            return self._function(**scalars)
        except (ArithmeticError, ValueError) as error:
            raise _refused(self.called, error, scalars) from error


class HostRows:
    """A `Host` for several sets of its arguments, rows, at once.

    What no update changes is computed here, what no row changes once an update, and the rest for
    each row: by the steps of one row alone, so with the same bits.

    Args:
        host: for one set.
        fixed: for each row, the arguments that no update changes.
        own: the names of those that an update gives to each row. The others it gives to all.

    Attributes:
        source: the text of the function.

    >>> lines = ("__h0", "beta**t"), ("__h1", "lr / __h0")
    >>> host = Host(("lr", "beta", "t"), lines, ("beta", "__h1"), "descend")
    >>> rows = HostRows(host, [{"lr": 1.0, "beta": 0.5}, {"lr": 3.0, "beta": 0.5}])
    >>> rows({"t": 2})
    [(0.5, 4.0), (0.5, 12.0)]
    >>> print(rows.source)
    def made(beta, __out0):
        def host(__rows, t):
            __h0 = beta**t
            __all = []
            for lr, in __rows:
                __h1 = lr / __h0
                __out1 = __float(__h1)
                __all.append((__out0, __out1, ))
            return __all
        return host
    <BLANKLINE>
    """

    def __init__(
        self, host: Host, fixed: Sequence[Mapping[str, float]], own: Sequence[str] = ()
    ) -> None:
        outputs = [f"__out{place}" for place in range(len(host.handed))]
        self._called = host.called
        lines = [*host.lines]
        lines += [(out, f"__float({x})") for out, x in zip(outputs, host.handed, strict=True)]
        own = [name for name in host.arguments if name in own]
        given = [name for name in host.arguments if name not in fixed[0] and name not in own]
        once, each_time = _parted(lines, {*own, *given})
        known = _columns(host, fixed, once)
        shared = {name: column[0] for name, column in known.items() if _is_one(column)}
        at_once, by_row = _parted(each_time, {*own, *(known.keys() - shared.keys())})
        read = {*outputs}.union(*(_names(text) for _, text in each_time))
        constants = [name for name in shared if name in read]
        columns = [name for name in known if name in read and name not in shared]
        self._rows = list(zip(*(known[name] for name in columns), strict=True))
        self._rows = self._rows or [()] * len(fixed)
        self.source = _text(constants, given, at_once, [*columns, *own], by_row, outputs)
        made = _compiled(self.source, host.called)["made"]
        self._function: Callable[..., list[Scalars]] = made(*[shared[name] for name in constants])

    def __call__(
        self,
        given: Mapping[str, float],
        own: Sequence[tuple[float, ...]] = (),
        chosen: Sequence[int] | None = None,
    ) -> list[Scalars]:
        """What the kernel is given, of each row.

        Args:
            given: the arguments that an update gives to all rows.
            own: for each of the rows asked for, those that it gives to that one, in the order of
                the host's arguments.
            chosen: the rows asked for, all by default.
        """
        rows = self._rows if chosen is None else [self._rows[row] for row in chosen]
        if own:
            rows = [(*row, *values) for row, values in zip(rows, own, strict=True)]
        try:
            return self._function(rows, **given)
        except (ArithmeticError, ValueError) as error:
            raise _refused(self._called, error, given) from error


_Lines: TypeAlias = Sequence[tuple[str, str]]


def _parted(lines: _Lines, names: set[str]) -> tuple[_Lines, _Lines]:
    """The lines that depend on none of these names, and those that do."""
    reached = set(names)
    parts: tuple[list[tuple[str, str]], list[tuple[str, str]]] = [], []
    for name, text in lines:
        depends = not reached.isdisjoint(_names(text))
        parts[depends].append((name, text))
        if depends:
            reached.add(name)
    return parts


def _columns(
    host: Host, fixed: Sequence[Mapping[str, float]], lines: _Lines
) -> dict[str, list[float]]:
    """The values in each row of its arguments, and of lines that depend on nothing else."""
    arguments = [name for name in host.arguments if name in fixed[0]]
    names = [*arguments, *(name for name, _ in lines)]
    body = [*(f"{name} = {text}" for name, text in lines), f"return [{', '.join(names)}]"]
    constants = _compiled(_function("constants", arguments, body), host.called)["constants"]
    try:
        rows = [constants(*[row[name] for name in arguments]) for row in fixed]
    except (ArithmeticError, ValueError) as error:
        raise _refused(host.called, error, {name: fixed[0][name] for name in arguments}) from error
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _refused(called: str, error: Exception, given: Mapping[str, float]) -> DomainError:
    """The error of a formula whose scalars have no value, as by a division by zero."""
    values = ", ".join(f"{name}={value}" for name, value in given.items() if name[:2] != "__")
    return DomainError(
        f"{called}: expected scalars that its formula can compute with, got {values or 'some'} and "
        f"{type(error).__name__}: {error}; change them, or guard the formula by maximum"
    )


def _is_one(column: Sequence[float]) -> bool:
    """Whether all are the same number, of the same type and sign."""
    return len({repr(value) for value in column}) == 1


def _text(
    constants: Sequence[str],
    given: Sequence[str],
    at_once: _Lines,
    columns: Sequence[str],
    by_row: _Lines,
    outputs: Sequence[str],
) -> str:
    """The text of a function that makes the function of all rows, given its constants."""
    values = "".join(f"{out}, " for out in outputs)
    names = "".join(f"{name}, " for name in columns).rstrip() or "()"
    body = [f"{name} = {text}" for name, text in at_once]
    if by_row:
        body += ["__all = []", f"for {names} in __rows:"]
        body += [f"    {name} = {text}" for name, text in by_row]
        body += [f"    __all.append(({values}))", "return __all"]
    else:
        body.append(f"return [({values}) for {names} in __rows]")
    inner = _function("host", ["__rows", *given], body).splitlines()
    return _function("made", constants, [*inner, "return host"])


def _function(name: str, arguments: Sequence[str], body: Sequence[str]) -> str:
    return "\n".join([f"def {name}({', '.join(arguments)}):", *(f"    {x}" for x in body), ""])


def _names(text: str) -> list[str]:
    return re.findall(r"\w+", text)


@lru_cache(1024)
def _compiled(source: str, called: str) -> dict[str, Any]:
    """What a text defines."""
    namespace: dict[str, Any] = {**_FUNCTIONS, "__float": float, "__bool": bool}
    exec(compile(source, f"<host scalars of {called}>", "exec"), namespace)
    return namespace


NO_HOST: Final = Host((), (), (), "nothing")
"""That of a program which takes no scalars."""
