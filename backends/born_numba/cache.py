"""Compiled loops on disk, so that the second process starts without compiling.

A loop's text lies in a folder named by a hash of all it depends on: nothing goes out of date.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

from born.backend.disk import cache_directory, write_whole
from born_numba.compiler import callback, compiled, numba

_NOTICE_AFTER: Final = 1.0  # seconds of compiling that a user will have noticed


def compile_loop(
    source: str,
    name: str,
    signature: Any,
    names: Mapping[str, Any],
    contract: bool = False,
    reassociate: bool = False,
) -> Any:
    """The function `name` of `source`, compiled for one signature, from disk if it is there.

    If it may `contract`, as its source should say, products and sums may be rounded together; if
    it may `reassociate`, sums may be added up in another order.
    """

    def make(function: Any, cache: bool) -> tuple[Any, bool]:
        loop = compiled(function, signature, cache, contract, reassociate)
        return loop, bool(loop.stats.cache_hits)

    return _from_disk(source, name, names, make, repr((str(signature), contract, reassociate)))


def compile_callback(source: str, name: str, signature: Any, names: Mapping[str, Any]) -> Any:
    """The same, as a function that compiled loops call at its `address`."""

    def make(function: Any, cache: bool) -> tuple[Any, bool]:
        loop = callback(function, signature, cache)
        return loop, bool(loop.cache_hits)

    return _from_disk(source, name, names, make, f"callback {signature}")


_Make: TypeAlias = Callable[[Any, bool], tuple[Any, bool]]
"""Compiles a function, which may be kept beside its file; says whether it was found there."""


def _from_disk(source: str, name: str, names: Mapping[str, Any], make: _Make, key: str) -> Any:
    def compile_as(file: str, *, cache: bool) -> tuple[Any, bool]:
        # Numba looks a cached function's module up by name; the loop needs nothing from it.
        namespace: dict[str, Any] = {**names, "__name__": __name__}
        exec(compile(source, file, "exec"), namespace)
        return make(namespace[name], cache)

    def compile_in(folder: Path) -> tuple[Any, bool]:
        return compile_as(str(_written(folder, source)), cache=True)

    started = time.perf_counter()
    folder = _folder(source, key)
    where = f"kept in {folder.parent} for the next run"
    try:
        try:
            loop, was_found = compile_in(folder)
        except OSError:
            raise
        except Exception:  # Numba may raise anything on damaged files
            shutil.rmtree(folder)
            loop, was_found = compile_in(folder)
    except OSError:
        where = "not kept: no folder for it"
        loop, was_found = compile_as(f"<{name}>", cache=False)
    if not was_found:
        _notice(time.perf_counter() - started, where)
    return loop


def _folder(source: str, how: str) -> Path:
    key = repr((source, how, numba.__version__, sys.version, _package()))
    return cache_directory() / "loops" / hashlib.sha256(key.encode()).hexdigest()[:32]


@cache
def _package() -> str:
    """A hash of this package: a loop has what it calls and names from there compiled in."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _written(folder: Path, source: str) -> Path:
    """The file of a loop's text, in a folder where Numba can write beside it."""
    beside = folder / "__pycache__"
    beside.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=beside).close()
    path = folder / "loop.py"
    if not path.exists():  # its age is part of Numba's own key
        write_whole(path, source.encode())
    return path


def _notice(seconds: float, where: str) -> None:
    """Say once where the time went, when it is long enough to be noticed."""
    global _waited, _noticed
    _waited += seconds
    if _waited >= _NOTICE_AFTER and not _noticed:
        _noticed = True
        sys.stderr.write(f"born: compiled loops for {_waited:.1f} s ({where})\n")


_waited = 0.0
_noticed = False
