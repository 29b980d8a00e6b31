"""born: training with the arrays people already have.

A typed backend contract, a gradient tape over any backend, optimizers written once
as the paper's formula, and checkpoints that survive crashes.
"""

import importlib as _importlib
import warnings as _warnings
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

# NumPy before all else: CPython's memory arenas come and go while it is imported amid modules
# of born's own, which took 60 ms of page faults.
import numpy as _numpy  # noqa: F401  # pyright: ignore[reportUnusedImport]  # for the order

from born.backend import available_backends as available_backends
from born.backend import get_backend as get_backend
from born.creation import arange as arange
from born.creation import eye as eye
from born.creation import from_dlpack as from_dlpack
from born.creation import full as full
from born.creation import geomspace as geomspace
from born.creation import linspace as linspace
from born.creation import logspace as logspace
from born.creation import ones as ones
from born.creation import rand as rand
from born.creation import randn as randn
from born.creation import tensor as tensor
from born.creation import zeros as zeros
from born.ops import interop as _interop  # noqa: F401  # pyright: ignore[reportUnusedImport]  # tells tensors of NumPy's functions
from born.ops.fused import fused as fused
from born.progress import progress as progress
from born.raw import RawTensor as RawTensor
from born.tensor import Tensor as Tensor

if _TYPE_CHECKING:
    from born import autodiff as autodiff
    from born import checkpoint as checkpoint
    from born import data as data
    from born import errors as errors
    from born import fusion as fusion
    from born import nn as nn
    from born import ops as ops
    from born import optim as optim
    from born import random as random
    from born import stats as stats

__version__ = "0.1.0"

_PACKAGES = (
    *("autodiff", "checkpoint", "data", "errors", "fusion", "nn", "ops", "optim", "random"),
    "stats",
)


if not _TYPE_CHECKING:  # for which any name would be there

    def __getattr__(name: str) -> _Any:
        """A package of born's, imported where it is first asked for: `born.nn`."""
        if name in _PACKAGES:
            return _importlib.import_module(f"born.{name}")
        raise AttributeError(f"module 'born' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *_PACKAGES})


# Infinities and NaN are results, and tensors hand them on: NumPy's warnings of them would name
# lines of born, not of the caller, and a device gives none. NumPy goes on warning elsewhere.
_warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"born(_numpy|_numba)?(\.|$)")
