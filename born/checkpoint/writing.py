"""A checkpoint file is written: one tensor after the other, hashed on the way."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from born.checkpoint.durable import replacement
from born.checkpoint.format import ZEROS, field, header, sealed
from born.checkpoint.pieces import PIECE, bytes_of, checksum, share, write_at
from born.dtypes import as_dtype
from born.errors import CheckpointWriteError
from born.raw import HostArray, Shape


@dataclass(frozen=True, slots=True)
class Source:
    """A tensor to write: what it is, and where to get its elements when their turn comes."""

    shape: Shape
    dtype: np.dtype[Any]
    host: Callable[[], HostArray]

    @classmethod
    def of(cls, array: HostArray) -> Source:
        """An array on the host as it will be when its turn comes."""
        return cls(array.shape, as_dtype(array.dtype), lambda: array)

    @property
    def nbytes(self) -> int:
        """The size of the elements."""
        return math.prod(self.shape) * self.dtype.itemsize


def write(
    path: Path,
    sources: Mapping[str, Source],
    document: Mapping[str, Any],
    threads: int | None = None,
) -> None:
    """Write a checkpoint file, or leave what is there as it is.

    One tensor after the other is taken from its source, hashed and written, on `threads` or all of
    the pool.
    """
    # Readers that map the file want each tensor aligned: those of wide elements come first.
    names = sorted(sources, key=lambda name: -sources[name].dtype.itemsize)
    fields: dict[str, Any] = {}
    end = 0
    for name in names:
        source = sources[name]
        begin, end = end, end + source.nbytes
        fields[name] = field(source.shape, source.dtype, begin, end)
    checksums = dict.fromkeys(names, ZEROS)
    start = len(header(fields, document, checksums))
    try:
        with replacement(path) as file:
            for name in names:
                place = start + fields[name]["data_offsets"][0]
                elements = _elements(sources[name])
                checksums[name] = _write_elements(file.fileno(), elements, place, threads)
                del elements  # a copy from a device goes before the next one comes
            whole = sealed(header(fields, document, checksums))
            write_at(file.fileno(), memoryview(whole), 0)
    except CheckpointWriteError:
        raise
    except OSError as error:
        raise CheckpointWriteError(
            f"{path}: expected to write a checkpoint of {start + end} bytes, got {error}; "
            "free space or choose another path, any previous file is untouched"
        ) from error


def _elements(source: Source) -> memoryview:
    """The elements as bytes, in the order and byte order of the file."""
    dtype = source.dtype if sys.byteorder == "little" else source.dtype.newbyteorder("<")
    return bytes_of(np.asarray(source.host(), dtype, order="C"))


def _write_elements(descriptor: int, elements: memoryview, place: int, threads: int | None) -> str:
    """Hash and write the elements of a tensor; returns their checksum."""
    digests: list[bytes] = [b""] * math.ceil(len(elements) / PIECE)

    def do(piece: int) -> None:
        begin = piece * PIECE
        part = elements[begin : begin + PIECE]
        digests[piece] = hashlib.sha256(part).digest()
        write_at(descriptor, part, place + begin)

    share(do, range(len(digests)), len(elements), threads)
    return checksum(digests)
