"""Where backends keep what they have compiled, and files that are whole or not there."""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path
from typing import Any, Final

DIRECTORY_VARIABLE: Final = "BORN_CACHE_DIR"


def cache_directory() -> Path:
    """`$BORN_CACHE_DIR`, or born's folder in the user's cache."""
    chosen = os.environ.get(DIRECTORY_VARIABLE)
    if chosen:
        return Path(chosen)
    platformdirs: Any = importlib.import_module("platformdirs")  # only backends that compile
    return Path(platformdirs.user_cache_dir("born"))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
