"""The checkpoint file: safetensors, sealed so that a change of any byte is noticed.

Its header's map of strings has one entry of born's, `born`, itself JSON:

- `version`: of this format. A reader refuses a newer one.
- `digest`: SHA-256 of the header and its length, with zeros in place of the digest.
- `tensors`: the shape, dtype and SHA-256 of each tensor.
- what the caller saves beside the tensors.

Later versions keep the first two, so that a newer file is not taken for a damaged one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import (
    save_file,  # pyright: ignore[reportUnknownVariableType]  # its os.PathLike has no parameter
)

from born.dtypes import as_dtype
from born.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointNotFoundError,
    CheckpointVersionError,
    CheckpointWriteError,
)
from born.raw import HostArray

VERSION: Final = 1

_KEY: Final = "born"  # the name of born's string among the metadata that safetensors allows
_LENGTH_BYTES: Final = 8  # of the header's length, little-endian, as safetensors defines it
_ZEROS: Final = b"0" * 64  # as many as a SHA-256 has hexadecimal digits


@dataclass(frozen=True, slots=True)
class Contents:
    """What a checkpoint file holds: JSON types, and the tensors asked for, read-only."""

    document: Mapping[str, Any]
    arrays: Mapping[str, HostArray]


def write(path: Path, arrays: Mapping[str, HostArray], document: Mapping[str, Any]) -> None:
    """Write a checkpoint file, or leave what is there as it is."""
    target, mode = _target(path)
    # safetensors writes memory as it lies, whatever the strides, but not in another byte order.
    ordered = {
        name: np.asarray(array, as_dtype(array.dtype), order="C") for name, array in arrays.items()
    }
    token = secrets.token_hex(len(_ZEROS) // 2)  # stands where the digest will be
    text = json.dumps(
        {
            "version": VERSION,
            "digest": token,
            "tensors": {name: _entry(array) for name, array in ordered.items()},
            **document,
        },
        allow_nan=False,
    )
    temporary = target.with_name(f".born-{secrets.token_hex(8)}.tmp")
    try:
        _write_sealed(temporary, ordered, text, token, mode)
        os.replace(temporary, target)
    except (OSError, SafetensorError) as error:
        size = sum(array.nbytes for array in ordered.values())
        raise CheckpointWriteError(
            f"{path}: expected to write a checkpoint of {size} bytes, got "
            f"{error}; free space or choose another path, any previous file is untouched"
        ) from error
    finally:
        # An error in the clean-up must not hide the one before it.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _target(path: Path) -> tuple[Path, int | None]:
    """The file to replace, and its mode if it is there; a link to a checkpoint stays a link."""
    target = path
    try:
        target = Path(os.path.realpath(path))
        found = os.stat(target)
    except FileNotFoundError:
        return target, None
    except (OSError, ValueError) as error:  # a loop of links, or a NUL in the name
        raise CheckpointWriteError(
            f"{path}: expected to write a checkpoint, got {error}; check it or choose another path"
        ) from error
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
        raise CheckpointWriteError(
            f"{path}: expected a regular file to replace, got a pipe, device or socket; "
            "choose another path"
        )
    return target, stat.S_IMODE(found.st_mode)


def _write_sealed(
    path: Path, arrays: Mapping[str, HostArray], text: str, token: str, mode: int | None
) -> None:
    with open(path, "xb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode) if mode is None else mode
    save_file(dict(arrays), path, {_KEY: text})
    # safetensors makes a file that only its owner can read; the user's umask decides that here.
    os.chmod(path, mode)
    with open(path, "r+b") as file:
        prefix, header = _read_header(file)
        digest = _digest(prefix, header, token)
        file.seek(_LENGTH_BYTES)
        file.write(header.replace(token.encode(), digest.encode()))
        file.flush()
        os.fsync(file.fileno())


def _entry(array: HostArray) -> dict[str, Any]:
    return {
        "shape": list(array.shape),
        "dtype": array.dtype.name,
        "sha256": hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest(),
    }


def _sync_folder(folder: Path) -> None:
    """Make the renaming survive a power failure, where folders can be flushed."""
    # Elsewhere (Windows, some network drives) the old file may come back, but whole.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(path: Path, wanted: Callable[[str], bool]) -> Contents:
    """Read a checkpoint file, check every byte of it, and keep the tensors `wanted` by name."""
    try:
        with open(path, "rb") as file:
            return _read_sealed(file, wanted)
    except CheckpointError:
        raise
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise CheckpointCorruptError(
            f"{path}: expected a checkpoint as it was written, got a header with entries of "
            "another kind; use another copy or an earlier checkpoint"
        ) from error
    except (FileNotFoundError, IsADirectoryError) as error:
        raise CheckpointNotFoundError(
            f"{path}: expected a checkpoint file, got {error.strerror}; check the path"
        ) from error
    except (OSError, ValueError) as error:  # no permission, or not the name of a file
        raise CheckpointError(
            f"{path}: expected a checkpoint file that can be read, got {error}; check the path"
        ) from error


def _damage(file: BinaryIO, content: str) -> CheckpointCorruptError:
    return CheckpointCorruptError(
        f"{file.name}: expected a checkpoint as it was written, got {content}; "
        "use another copy or an earlier checkpoint"
    )


def _read_sealed(file: BinaryIO, wanted: Callable[[str], bool]) -> Contents:
    prefix, header = _read_header(file)
    places, document = _parsed(file, header)
    digest = document.get("digest")
    if not isinstance(digest, str) or len(digest) != len(_ZEROS):
        raise _damage(file, "a header without its digest")
    if _digest(prefix, header, digest) != digest:
        raise _damage(file, "a header that does not match its digest")
    version = document.pop("version")
    if version > VERSION:
        raise CheckpointVersionError(
            f"{file.name}: expected format version {VERSION} or older, got {version}; update born"
        )
    start = len(prefix) + len(header)
    size = os.fstat(file.fileno()).st_size - start
    expected = max((end for _, end in places.values()), default=0)
    if size != expected:
        raise _damage(file, f"{size} bytes of elements in place of {expected}")
    arrays: dict[str, HostArray] = {}
    for name, entry in document.pop("tensors").items():
        begin, end = places[name]
        file.seek(start + begin)
        elements = file.read(end - begin)
        if hashlib.sha256(elements).hexdigest() != entry["sha256"]:
            raise _damage(file, f"a tensor {name!r} that does not match its checksum")
        if wanted(name):
            dtype = as_dtype(entry["dtype"])
            arrays[name] = np.ndarray(tuple(entry["shape"]), dtype, elements)
    return Contents(document, arrays)


def _read_header(file: BinaryIO) -> tuple[bytes, bytes]:
    """The bytes of the header's length, and the header."""
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(_LENGTH_BYTES)
    length = int.from_bytes(prefix, "little")
    if size < _LENGTH_BYTES or length > size - _LENGTH_BYTES:
        raise _damage(file, f"a file of {size} bytes that ends within its header")
    return prefix, file.read(length)


def _parsed(file: BinaryIO, header: bytes) -> tuple[dict[str, tuple[int, int]], dict[str, Any]]:
    """The place of each tensor, and born's document."""
    try:
        fields: dict[str, Any] = json.loads(header)
        document: dict[str, Any] = dict(json.loads(fields.pop("__metadata__")[_KEY]).items())
        places = {name: tuple(field["data_offsets"]) for name, field in fields.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if _is_foreign(header):
            raise CheckpointCorruptError(
                f"{file.name}: expected a checkpoint as it was written, "
                f"got a file without the entry {_KEY!r} in its metadata, as other libraries write "
                "safetensors; use another copy if it is a checkpoint, or read its arrays with "
                "safetensors.numpy.load_file for model.load_state_dict"
            ) from error
        raise _damage(file, "a header that is not a checkpoint's") from error
    return places, document


def _is_foreign(header: bytes) -> bool:
    """Whether a header is that of a sound safetensors file that born did not write."""
    try:
        fields: dict[str, Any] = json.loads(header)
        return bool(fields) and _KEY not in fields.get("__metadata__", {})
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False


def _digest(prefix: bytes, header: bytes, digits: str) -> str:
    """The digest of a header in which `digits` stand in the digest's place."""
    masked = header.replace(digits.encode(errors="replace"), _ZEROS)
    return hashlib.sha256(prefix + masked).hexdigest()
