"""A checkpoint file is read: a checked header, and tensors that are read when they are needed."""

from __future__ import annotations

import hashlib
import math
import os
import stat
import sys
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from typing_extensions import override

from born.checkpoint.format import DTYPES, Header, damage, read_header
from born.checkpoint.pieces import PIECE, bytes_of, checksum, read_at, share
from born.dtypes import as_dtype, convert_exactly
from born.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    CheckpointNotFoundError,
    DTypeError,
)
from born.nn.state import StoredTensor
from born.raw import HostArray, Shape


class File:
    """A checkpoint that is open for reading, with a header that is sound.

    Attributes:
        path: what it was opened as.
        version: of the format; 0 for a file of another library.
        document: what was saved beside the tensors.
        entries: what is known of each tensor.
    """

    def __init__(
        self,
        path: Path,
        file: BinaryIO,
        header: Header,
    ) -> None:
        self.path = path
        self.version = header.version
        self.document = header.document
        self.entries = header.entries
        self._descriptor = file.fileno()
        self._opened = self._facts()

    def keys(self, before: str) -> set[str]:
        """The names of tensors that begin with `before`, by what comes after."""
        return {name.removeprefix(before) for name in self.entries if name.startswith(before)}

    def damaged(self, names: Iterable[str] | None = None) -> list[str]:
        """Those of the tensors, or of all, that do not match their checksums."""
        chosen = list(self.entries if names is None else names)
        digests = {name: self._digests(name) for name in chosen}
        pieces = [(name, piece) for name in chosen for piece in range(len(digests[name]))]
        local = threading.local()

        def do(job: tuple[str, int]) -> None:
            name, piece = job
            if not hasattr(local, "buffer"):
                local.buffer = bytearray(PIECE)
            entry = self.entries[name]
            begin = piece * PIECE
            part = memoryview(local.buffer)[: min(PIECE, entry.size - begin)]
            self._read_at(part, entry.begin + begin)
            digests[name][piece] = hashlib.sha256(part).digest()

        if self.version == 1:
            return [name for name in chosen if self._digest_1(name) != self.entries[name].checksum]
        share(do, pieces, sum(self.entries[name].size for name in chosen))
        return [name for name in chosen if checksum(digests[name]) != self.entries[name].checksum]

    def check(self, names: Iterable[str] | None = None) -> None:
        """Refuse the file if one of the tensors, or of all, does not match its checksum."""
        bad = self.damaged(names) if self.version else []
        if bad:
            if len(bad) == 1:
                raise self.damage(f"a tensor {bad[0]!r} that does not match its checksum")
            listed = ", ".join(map(repr, bad[:_LISTED])) + (", ..." if len(bad) > _LISTED else "")
            raise self.damage(f"{len(bad)} tensors that do not match their checksums: {listed}")

    def stored(self, name: str) -> Stored:
        """A tensor of the file, to be read later."""
        entry = self.entries[name]
        if entry.code not in DTYPES:
            raise CheckpointMismatchError(
                f"{self.path}: expected tensors of dtypes that born knows ({', '.join(DTYPES)}), "
                f"got {name!r} of {entry.code}; convert it with the library that wrote it"
            )
        dtype = as_dtype(DTYPES[entry.code][0])
        return Stored(self, name, entry.shape, dtype, dtype)

    def read(self, name: str) -> HostArray:
        """The elements of one tensor, checked."""
        self.check([name])
        stored = self.stored(name)
        array = np.empty(stored.shape, stored.dtype)
        stored.read_into(array)
        return array

    def read_bytes(self, name: str, target: memoryview) -> None:
        """Read the elements of a tensor, which are not checked."""
        entry = self.entries[name]

        def do(begin: int) -> None:
            self._read_at(target[begin : begin + PIECE], entry.begin + begin)

        share(do, range(0, entry.size, PIECE), entry.size)

    def check_unchanged(self) -> None:
        """Refuse a file that was written to since it was opened: what was read may be anything."""
        if self._facts() != self._opened:
            raise CheckpointCorruptError(
                f"{self.path}: expected a file that nobody writes to, got one that was changed "
                "while it was read; what was loaded is not to be trusted, load again"
            )

    def damage(self, content: str) -> CheckpointCorruptError:
        """The error that says what was found in place of what was written."""
        return damage(self.path, content)

    def _facts(self) -> tuple[int, int]:
        found = os.fstat(self._descriptor)
        return found.st_size, found.st_mtime_ns

    def _digests(self, name: str) -> list[bytes]:
        return [b""] * math.ceil(self.entries[name].size / PIECE)

    def _digest_1(self, name: str) -> str:
        """A tensor's checksum as version 1 took it."""
        entry = self.entries[name]
        digest = hashlib.sha256()
        buffer = memoryview(bytearray(min(PIECE, entry.size)))
        for begin in range(0, entry.size, PIECE):
            part = buffer[: entry.size - begin]
            self._read_at(part, entry.begin + begin)
            digest.update(part)
        return digest.hexdigest()

    def _read_at(self, part: memoryview, place: int) -> None:
        try:
            if not read_at(self._descriptor, part, place):
                raise self.damage("one that was cut while it was read")
        except OSError as error:
            raise _unreadable(self.path, error) from error


_LISTED: Final = 5  # names in a message


@dataclass(frozen=True)
class Stored(StoredTensor):
    """A tensor in a file, as one of `dtype`; `found` is that of the file."""

    file: File
    name: str
    shape: Shape
    dtype: np.dtype[Any]
    found: np.dtype[Any]

    def converted(self, dtype: np.dtype[Any]) -> Stored:
        """The same, to be read as another dtype."""
        return Stored(self.file, self.name, self.shape, dtype, self.found)

    @override
    def read_into(self, target: HostArray) -> None:
        array = target if self.dtype == self.found else np.empty(self.shape, self.found)
        self.file.read_bytes(self.name, bytes_of(array))
        if sys.byteorder == "big":
            array.byteswap(inplace=True)
        if array is not target:
            try:
                target[...] = convert_exactly(array, self.dtype)
            except DTypeError as error:
                raise CheckpointMismatchError(
                    f"{self.file.path}: {self.name!r}: {error}, nothing was changed"
                ) from error


@contextmanager
def open_file(path: Path, foreign: bool = False) -> Generator[File]:
    """Open a checkpoint and check its header; with `foreign`, any safetensors file."""
    try:
        mode = path.stat().st_mode  # asked once: another process may remove the file meanwhile
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise CheckpointError(  # before opening a pipe waits for who writes to it
                f"{path}: expected a regular file, got a pipe, device or socket; check the path"
            )
        file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed below
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CheckpointNotFoundError(
            f"{path}: expected a checkpoint file, got {error.strerror}; check the path"
        ) from error
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:  # no permission, or not the name of a file
        raise _unreadable(path, error) from error
    with file:
        try:
            header = read_header(path, file, foreign)
        except CheckpointError:
            raise
        except OSError as error:
            raise _unreadable(path, error) from error
        yield File(path, file, header)


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path}: expected a checkpoint file that can be read, got {error}; check the path"
    )
