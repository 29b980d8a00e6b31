"""The hierarchy of errors that the docstring draws is the one there is."""

from __future__ import annotations

from collections.abc import Iterator

from born import errors
from born.errors import BornError


def drawn(error: type[BornError], indent: str = "    ") -> Iterator[str]:
    """The lines of an error and of those below it, each beside the builtins that it adds."""
    builtins = [base.__name__ for base in error.__bases__ if base.__module__ == "builtins"]
    yield f"{indent + error.__name__:37}{' '.join(builtins)}".rstrip()
    for kind in error.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from drawn(kind, indent + "  ")


def test_docstring_draws_every_error() -> None:
    documentation = errors.__doc__ or ""
    start = documentation.index("    BornError")
    assert documentation[start:].rstrip().splitlines() == list(drawn(BornError))
