"""Compiled loops on disk, so that the second process starts without compiling.

A loop's text lies in a folder named by a hash of all it depends on: nothing goes out of date.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from born.backend.disk import cache_directory, write_whole
from born_numba.compiler import compiled, numba

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

    def compile_as(file: str, *, cache: bool) -> Any:
        # Numba looks a cached function's module up by name; the loop needs nothing from it.
        namespace: dict[str, Any] = {**names, "__name__": __name__}
        exec(compile(source, file, "exec"), namespace)
        return compiled(namespace[name], signature, cache, contract, reassociate)

    def compile_in(folder: Path) -> Any:
        return compile_as(str(_written(folder, source)), cache=True)

    started = time.perf_counter()
    folder = _folder(source, signature, contract, reassociate)
    where = f"kept in {folder.parent} for the next run"
    try:
        try:
            loop = compile_in(folder)
        except OSError:
            raise
        except Exception:  # Numba may raise anything on damaged files
            shutil.rmtree(folder)
            loop = compile_in(folder)
    except OSError:
        where = "not kept: no folder for it"
        loop = compile_as(f"<{name}>", cache=False)
    if not loop.stats.cache_hits:
        _notice(time.perf_counter() - started, where)
    return loop


def _folder(source: str, signature: Any, *options: bool) -> Path:
    key = repr((source, str(signature), options, numba.__version__, sys.version, _package()))
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
