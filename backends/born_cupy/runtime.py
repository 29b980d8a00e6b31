"""CuPy without its types, of which it ships none."""

from __future__ import annotations

import importlib
from typing import Any, Final

cupy: Final[Any] = importlib.import_module("cupy")
"""The package. It imports without a GPU; asking it for memory then raises."""
