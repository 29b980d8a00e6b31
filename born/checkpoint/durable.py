"""Files that are replaced whole: a crash leaves the old one or the new one, never a part.

A new file is written under a temporary name beside the old one, flushed to the disk, and then
renamed. While it is written it is locked, so that the leftover of a process that was killed can
be told from a file that another process is writing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from born.errors import CheckpointWriteError

if sys.platform != "win32":
    import fcntl

PREFIX: Final = ".born-"
SUFFIX: Final = ".tmp"
"""A temporary file is called `.born-{process id}-{random}.tmp`."""

_STALE: Final = 3600.0  # seconds; where files cannot be locked, who is still writing is a guess

_NO_FLUSH: Final = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF}
"""What systems say whose folders cannot be flushed: Windows, and some network drives."""


@contextmanager
def replacement(path: Path) -> Generator[BinaryIO]:
    """A new file, which takes the place of `path` if the block ends without an error.

    A link to a file stays a link, and a file that is replaced hands on its mode.

    Raises:
        CheckpointWriteError: what is there is not a file, or the new file has taken its place
            but may not survive a power failure. Other errors are the system's.
    """
    target, mode = _destination(path)
    remove_leftovers(target.parent)
    file = _new_file(target.parent)
    temporary = Path(file.name)
    try:
        with file:
            if mode is not None:
                os.chmod(temporary, mode)
            yield file
            _flush(file.fileno())
            if sys.platform != "win32":  # while it is locked
                os.replace(temporary, target)
        if sys.platform == "win32":  # which does not rename an open file
            os.replace(temporary, target)
    finally:
        # An error in the clean-up must not hide the one before it.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    _flush_folder(target)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, so that they survive a power failure; or an `OSError`."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        _flush_folder(each)


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove the temporary files of processes that were killed; returns which.

    Those that are being written stay. So do all, where the system cannot tell.
    """
    removed: list[Path] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX):
                with contextlib.suppress(OSError):
                    if _remove_stale(Path(entry.path)):
                        removed.append(Path(entry.path))
    return removed


def _destination(path: Path) -> tuple[Path, int | None]:
    """The file to replace, at the end of all links, and its mode if it is there."""
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
    if stat.S_ISDIR(found.st_mode):
        raise CheckpointWriteError(
            f"{path}: expected a file to write or replace, got a folder; add the name of a file, "
            "or choose another path"
        )
    if not stat.S_ISREG(found.st_mode):
        raise CheckpointWriteError(
            f"{path}: expected a regular file to replace, got a pipe, device or socket; "
            "choose another path"
        )
    return target, stat.S_IMODE(found.st_mode)


def _new_file(folder: Path) -> BinaryIO:
    """A temporary file, locked where that is possible."""
    while True:
        path = folder / f"{PREFIX}{os.getpid()}-{secrets.token_hex(8)}{SUFFIX}"
        file = open(path, "xb", buffering=0)  # noqa: SIM115  # its user closes it
        try:
            if sys.platform == "win32" or _is_ours(file.fileno()):
                return file
        except BaseException:
            file.close()
            path.unlink(missing_ok=True)
            raise
        file.close()  # a clean-up came between, and has removed it or is about to


if sys.platform != "win32":

    def _is_ours(descriptor: int) -> bool:
        """Lock a new file; False if a clean-up has taken it for a leftover."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks, where nothing is taken for a leftover
            return True
        return os.fstat(descriptor).st_nlink > 0

    def _remove_stale(path: Path) -> bool:
        """Remove a temporary file unless it is locked; whether it was removed."""
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)
        return True

    def _flush(descriptor: int) -> None:
        """Have the system write a file to the disk itself."""
        full: int | None = getattr(fcntl, "F_FULLFSYNC", None)
        if full is not None:  # macOS, whose fsync leaves data in the drive's cache
            with contextlib.suppress(OSError):
                fcntl.fcntl(descriptor, full)
                return
        os.fsync(descriptor)

else:

    def _remove_stale(path: Path) -> bool:
        """Remove a temporary file that nobody has written to for long."""
        if time.time() - path.stat().st_mtime < _STALE:
            return False
        path.unlink()
        return True

    def _flush(descriptor: int) -> None:
        """Have the system write a file to the disk itself."""
        os.fsync(descriptor)


def _flush_folder(target: Path) -> None:
    """Make a renaming survive a power failure, where folders can be flushed."""
    try:
        descriptor = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise CheckpointWriteError(
                f"{target}: expected the new checkpoint on the disk, got {error}; it is in place, "
                "but may not survive a power failure: save again, to another disk"
            ) from error
