"""Compiled loops on disk, so that the second process starts without compiling.

A loop's text lives in a folder of its own under the user's cache directory, with what
Numba made of it beside it and a manifest of checksums. What does not match its
manifest is thrown away and made again; a folder that cannot be written is read from a
copy, since Numba would go elsewhere, where no manifest is; and a folder that can be
neither written nor read only costs the compilation.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from born.backend.disk import cache_directory, write_whole
from born_numba.compiler import CFUNC, NJIT, Entry, Way, configuration, numba, types

_MANIFEST: Final = "manifest.json"
_SOURCE: Final = "loop.py"
_NOTICE_AFTER: Final = 1.0  # seconds of compiling that a user will have noticed


def compile_loop(
    source: str, name: str, signature: Any, names: Mapping[str, Any]
) -> Callable[..., Any]:
    """The function `name` of `source`, compiled for one signature, from disk if it is there.

    Args:
        source: the text of the function.
        name: what it is called there.
        signature: Numba's, so that it is compiled now and for nothing else.
        names: what the text may use.
    """
    loop: Callable[..., Any] = _compiled(_Request(source, name, names, signature, NJIT))
    return loop


def compile_entry(source: str, name: str, names: Mapping[str, Any]) -> Entry:
    """The function `name` of `source` for C to call, from disk if it is there.

    It takes the address of an array object and returns an integer.
    """
    signature = types.int64(types.uint64)
    return Entry(_compiled(_Request(source, name, names, signature, CFUNC)))


@dataclass(frozen=True, slots=True)
class _Request:
    """What to compile, and how.

    Attributes:
        source: the text of the function.
        name: what it is called there.
        names: what the text may use.
        signature: Numba's.
        way: what is made of it.
    """

    source: str
    name: str
    names: Mapping[str, Any]
    signature: Any
    way: Way

    def folder(self) -> Path:
        """Where it is kept."""
        versions = (numba.__version__, sys.version)
        signature = f"{self.way.name} {self.signature}"
        key = repr((self.source, signature, versions, _origin()))
        return cache_directory() / "loops" / hashlib.sha256(key.encode()).hexdigest()[:32]

    def compiled(self, file: str, *, cache: bool) -> Any:
        """Its function, as if it stood in a file."""
        # Numba looks a cached function's module up by name; the loop needs nothing from it.
        namespace: dict[str, Any] = {**self.names, "__name__": __name__}
        exec(compile(self.source, file, "exec"), namespace)
        with _beside_the_source:
            return self.way.compile(namespace[self.name], self.signature, cache)


def _compiled(request: _Request) -> Any:
    """What Numba makes of it, from disk if it is there."""
    started = time.perf_counter()
    folder = request.folder()
    try:
        loop = _kept(folder, request)
        where = f"kept in {folder.parent} for the next run"
    except Exception:  # whatever is wrong with the cache, the loop can do without
        loop = request.compiled(f"<{request.name}>", cache=False)
        where = "not kept: no folder for it"
    if not request.way.was_read(loop):
        _notice(time.perf_counter() - started, where)
    return loop


def _kept(folder: Path, request: _Request) -> Any:
    """The loop from disk, or compiled and kept there."""
    sound = _is_sound(folder, request.source)
    if not sound:
        _remove(folder)
    if _is_writable(folder):
        _write(folder / _SOURCE, request.source)
        loop = _read(folder, request)
        if not request.way.was_read(loop):
            _write(folder / _MANIFEST, json.dumps(_checksums(folder)))
        return loop
    if not sound:
        raise PermissionError(f"{folder} cannot be written")
    with tempfile.TemporaryDirectory(prefix="born-") as temporary:
        copy = Path(temporary) / folder.name
        shutil.copytree(folder, copy)
        for place in (copy, *copy.rglob("*")):  # what cannot be written is copied as such
            place.chmod(place.stat().st_mode | stat.S_IRWXU)
        if not _is_sound(copy, request.source):
            raise RuntimeError(f"{folder} changed while it was copied")
        return _read(copy, request)


def _read(folder: Path, request: _Request) -> Any:
    """The loop as Numba finds or puts it in a folder, and nowhere else."""
    loop = request.compiled(str(folder / _SOURCE), cache=True)
    kept = request.way.kept_in(loop)
    if Path(kept).parent != folder:
        raise RuntimeError(f"Numba kept the loop in {kept}, not in {folder}")
    return loop


class _BesideTheSource:
    """Keeps Numba from the directory in NUMBA_CACHE_DIR, where no manifest would be checked."""

    def __init__(self) -> None:
        self._before = ""
        self._renew()
        # A child forked while another thread compiles would wait for it in vain.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._before = configuration.CACHE_DIR
        configuration.CACHE_DIR = ""

    def __exit__(self, *_: object) -> None:
        configuration.CACHE_DIR = self._before
        self._lock.release()


_beside_the_source: Final = _BesideTheSource()


@cache
def _origin() -> str:
    """A checksum of this package: a loop has what it calls and names from there compiled in."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _checksums(folder: Path) -> dict[str, str]:
    """Relative path -> checksum of everything in the folder but the manifest."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != _MANIFEST)
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _is_sound(folder: Path, source: str) -> bool:
    """Whether a folder holds what its manifest says, for this text."""
    try:
        return (
            json.loads((folder / _MANIFEST).read_text()) == _checksums(folder)
            and (folder / _SOURCE).read_text() == source
        )
    except (OSError, ValueError, RecursionError):
        return False


def _is_writable(folder: Path) -> bool:
    """Whether Numba can write beside a text in a folder, which is made if it is not there."""
    beside = folder / "__pycache__"
    try:
        beside.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=beside).close()
    except OSError:
        return False
    return True


def _remove(folder: Path) -> None:
    """Take away what is in the place of a folder."""
    if folder.is_dir():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    """Write a file in one step, unless it says so already: its age is part of Numba's key."""
    if not path.exists() or path.read_text() != text:
        write_whole(path, text.encode())


def _notice(seconds: float, where: str) -> None:
    """Say once where the time went, to whoever has by now waited for it noticeably."""
    global _waited, _noticed
    _waited += seconds
    if _waited >= _NOTICE_AFTER and not _noticed:
        _noticed = True
        sys.stderr.write(f"born: compiled loops for {_waited:.1f} s ({where})\n")


_waited = 0.0
_noticed = False
