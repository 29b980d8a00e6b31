"""Arguments of the short examples: counts, and a backend, each refused with a message."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import born
from born.backend import Backend
from born.errors import BackendUnavailableError


def parsed(description: str, **counts: tuple[int, str]) -> argparse.Namespace:
    """Each count by its name, of its default and what it counts, and `backend`."""
    parser = argparse.ArgumentParser(description=description)
    for name, (default, what) in counts.items():
        text = f"{what} (default: {default})"
        parser.add_argument(f"--{name}", type=at_least(1), default=default, metavar="N", help=text)
    text = "what computes: numpy, numba, cupy or auto (default)"
    parser.add_argument("--backend", type=usable, default="auto", metavar="NAME", help=text)
    return parser.parse_args()


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is an integer of this size or more."""

    def integer(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"expected an integer of at least {least}, got {text!r}"
            )
        return int(text)

    return integer


def usable(name: str) -> Backend:
    """The backend of a name."""
    try:
        return born.get_backend(name)
    except BackendUnavailableError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
