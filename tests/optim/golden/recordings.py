"""The recordings of references: a file for each library, a row for each case."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

FOLDER: Final = Path(__file__).parent
LIBRARIES: Final = {
    "torch": ["torch"],
    "optax": ["optax", "jax"],
    "keras": ["keras", "jax"],
    "mlx": ["mlx"],
    "timm": ["timm", "torch"],
    "schedulefree": ["schedulefree", "torch"],
    "prodigyopt": ["prodigyopt", "torch"],
    "formula": ["mpmath"],
}
"""Where references come from -> the packages whose versions are recorded with them."""


def recorded(library: str) -> dict[str, Any]:
    """What is in the file of a library."""
    path = FOLDER / f"{library}.npz"
    if not path.exists():
        return {}
    with np.load(path) as file:
        return dict(file)
