"""The checkpoint file: safetensors, sealed so that a change of any byte is noticed.

A safetensors file is the length of its header, the header (JSON: the dtype, shape and place of each
tensor, and a map of strings), and the elements. Of the strings one is born's, `born`, itself JSON:

- `version`: of this format. A reader refuses a newer one.
- `digest`: SHA-256 of the header and its length, with zeros in place of the digest.
- `checksums`: of each tensor, the SHA-256 of the SHA-256s of its pieces of a mebibyte, so that
  several threads can check one tensor.
- what the caller saves beside the tensors.

Later versions keep the first two, in this order, so that a newer file is not taken for a damaged
one, and a header is checked before it is parsed. Version 1 had, in place of `checksums`, `tensors`:
each one's shape, dtype and SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
from safetensors import SafetensorError, safe_open

from born.checkpoint.pieces import read_at
from born.errors import CheckpointCorruptError, CheckpointError, CheckpointVersionError
from born.raw import Shape

VERSION: Final = 2

_KEY: Final = "born"  # the name of born's string among the metadata that safetensors allows
_METADATA: Final = "__metadata__"
_LENGTH_BYTES: Final = 8  # of the header's length, little-endian, as safetensors defines it
_ALIGNMENT: Final = 8  # of the elements, as the safetensors library pads its headers
_DIGEST: Final = re.compile(rb'\\"digest\\": \\"([0-9a-f]{64})\\"')  # within JSON within JSON

ZEROS: Final = "0" * 64
"""What stands for a digest that is not known yet."""

DTYPES: Final = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}
"""What safetensors calls the dtypes that born knows, and how many bytes an element has."""

_CODES: Final = {name: code for code, (name, _) in DTYPES.items()}


# -- writing -------------------------------------------------------------------------------


def field(shape: Shape, dtype: np.dtype[Any], begin: int, end: int) -> dict[str, Any]:
    """What the header says of a tensor, whose place counts from the first element."""
    return {"dtype": _CODES[dtype.name], "shape": list(shape), "data_offsets": [begin, end]}


def header(
    fields: Mapping[str, Any], document: Mapping[str, Any], checksums: Mapping[str, str]
) -> bytes:
    """The length and the header, whose length does not depend on digest and checksums."""
    ours = {"version": VERSION, "digest": ZEROS, "checksums": checksums, **document}
    text = json.dumps(ours, allow_nan=False)
    encoded = json.dumps({_METADATA: {_KEY: text}, **fields}).encode()
    encoded += b" " * (-len(encoded) % _ALIGNMENT)
    return len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded


def sealed(unsealed: bytes) -> bytes:
    """A header with its digest in place of the first zeros."""
    digest = hashlib.sha256(unsealed).hexdigest()
    return unsealed.replace(ZEROS.encode(), digest.encode(), 1)


# -- reading -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """What the header says of a tensor: its dtype in safetensors' words, and an empty checksum
    in a file that born did not write.
    """

    shape: Shape
    code: str
    begin: int
    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says, checked.

    Attributes:
        version: of the format; 0 for a file of another library.
        document: what was saved beside the tensors.
        entries: what is known of each tensor.
    """

    version: int
    document: dict[str, Any]
    entries: dict[str, Entry]


def read_header(path: Path, file: BinaryIO, foreign: bool) -> Header:
    """Read and check the header of a checkpoint; with `foreign`, of any safetensors file."""
    try:
        return _checked(path, file, foreign)
    except CheckpointError:
        raise
    except _FORGED as error:
        raise damage(path, "a header with entries of another kind") from error


_FORGED: Final = (
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
    ValueError,
)
"""What comes of JSON that is not what born writes."""


def _checked(path: Path, file: BinaryIO, foreign: bool) -> Header:
    """The header of a file, if its digest and its layout are sound."""
    prefix, header = _bytes(path, file)
    size = os.fstat(file.fileno()).st_size - len(prefix) - len(header)
    match = _DIGEST.search(header)
    if match is None:
        if any(word in header for word in _OURS) or not _is_foreign(path):
            raise damage(path, "a header without its digest")
        if not foreign:
            raise CheckpointCorruptError(
                f"{path}: expected a checkpoint as it was written, got a file without the entry "
                f"{_KEY!r} in its metadata, as other libraries write safetensors; use another "
                "copy if it is a checkpoint, or read its weights with checkpoint.load_weights"
            )
        document: dict[str, Any] = {"version": 0}
    else:
        masked = header.replace(match[1], ZEROS.encode())
        if hashlib.sha256(prefix + masked).hexdigest().encode() != match[1]:
            raise damage(path, "a header that does not match its digest")
        document = _json(path, _json(path, header)[_METADATA][_KEY])
    version = document.pop("version")
    if type(version) is not int or version < (match is not None):
        raise damage(path, f"a format version {version!r}")
    if version > VERSION:
        raise CheckpointVersionError(
            f"{path}: expected format version {VERSION} or older, got {version}; update born"
        )
    fields = _json(path, header)
    fields.pop(_METADATA, None)
    start = len(prefix) + len(header)
    if version == 1:
        checksums = {name: entry["sha256"] for name, entry in document.pop("tensors").items()}
    else:
        checksums = document.pop("checksums", {})
    document.pop("digest", None)
    entries = {
        name: _entry(path, name, field, start, checksums.get(name, ""))
        for name, field in fields.items()
    }
    if version and set(checksums) != set(entries):
        raise damage(path, "checksums of other tensors than it holds")
    expected = sum(entry.size for entry in entries.values())
    if size != expected:
        raise damage(path, f"{size} bytes of elements in place of {expected}")
    if any(entry.begin + entry.size > start + size for entry in entries.values()):
        raise damage(path, "tensors beyond its end")
    return Header(version, document, entries)


def _bytes(path: Path, file: BinaryIO) -> tuple[bytes, bytes]:
    """The bytes of the header's length, and the header."""
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(_LENGTH_BYTES)
    length = int.from_bytes(prefix, "little")
    if size < _LENGTH_BYTES or length > size - _LENGTH_BYTES:
        raise damage(path, f"a file of {size} bytes that ends within its header")
    header = bytearray(length)
    if not read_at(file.fileno(), memoryview(header), _LENGTH_BYTES):
        raise damage(path, "one that was cut while it was read")
    return prefix, bytes(header)


def _json(path: Path, text: bytes | str) -> dict[str, Any]:
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise damage(path, "a header that is not JSON") from error
    if not isinstance(value, dict):
        raise TypeError
    return cast("dict[str, Any]", value)


def _entry(path: Path, name: str, field: dict[str, Any], start: int, checksum: object) -> Entry:
    """What the header says of one tensor; `TypeError` if it is something else."""
    offsets, shape = field["data_offsets"], tuple(field["shape"])
    if len(offsets) != 2:
        raise TypeError
    begin, end = offsets
    whole = all(type(number) is int and number >= 0 for number in (begin, end, *shape))
    code = field["dtype"]
    if not whole or end < begin or not isinstance(checksum, str) or not isinstance(code, str):
        raise TypeError
    if code in DTYPES and end - begin != math.prod(shape) * DTYPES[code][1]:
        raise damage(path, f"a tensor {name!r} of {end - begin} bytes and shape {shape}")
    return Entry(shape, code, start + begin, end - begin, checksum)


_OURS: Final = (rb"\"digest\"", rb"\"version\"", rb"\"checksums\"", rb"\"sha256\"")
"""What a damaged header of born's still has some of, whatever single region was changed."""


def _is_foreign(path: Path) -> bool:
    """Whether safetensors finds a file sound, and born did not write it."""
    try:
        opened: Any = safe_open(path, framework="np")  # it has no type information
        with opened as file:
            return bool(file.keys()) and _KEY not in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def damage(path: Path, content: str) -> CheckpointCorruptError:
    """The error that says what was found in place of what was written."""
    return CheckpointCorruptError(
        f"{path}: expected a checkpoint as it was written, got {content}; "
        "use another copy or an earlier checkpoint"
    )
