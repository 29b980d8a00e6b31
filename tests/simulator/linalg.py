"""The simulator's linear algebra: NumPy's, which does not complain but gives NaN, as CuPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tests.simulator.arrays import host_of, on_device
from tests.tools import is_tuple

NAMES: Final = ("cholesky", "solve", "inv", "qr", "svd", "eigh", "slogdet", "det")


def _function(name: str) -> Callable[..., Any]:
    compute: Callable[..., Any] = getattr(np.linalg, name)

    def function(*arguments: Any, **options: Any) -> Any:
        hosts = [host_of(argument) for argument in arguments]
        if hosts[0].dtype.char not in "fd":
            raise TypeError(f"Unsupported dtype {hosts[0].dtype}")
        lost = 1.0
        with np.errstate(all="ignore"):
            try:
                results = compute(*hosts, **options)
            except np.linalg.LinAlgError:
                # The shapes are those of what does work, the values are lost.
                one = np.zeros_like(hosts[0]) + np.eye(*hosts[0].shape[-2:], dtype=hosts[0].dtype)
                results, lost = compute(one, *hosts[1:], **options), np.nan
        if is_tuple(results):
            return tuple(on_device(np.array(each * lost)) for each in results)
        return on_device(np.array(results * lost))

    return function


def namespace() -> dict[str, Callable[..., Any]]:
    """The functions of the module `cupy.linalg`."""
    return {name: _function(name) for name in NAMES}
