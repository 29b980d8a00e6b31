"""Tensors to differentiate by."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

import born
from born.autodiff import Autodiff
from born.backend import Backend

AD: TypeAlias = Autodiff[Backend]
T: TypeAlias = "born.Tensor[AD]"


def leaf(autodiff: AD, *values: float) -> T:
    """A float64 tensor that requires a gradient."""
    x = born.tensor(np.array(values), autodiff)
    x.requires_grad = True
    return x


def of(autodiff: AD, *values: Any) -> T:
    """A float64 tensor that does not."""
    return born.tensor(np.array(values, np.float64), autodiff)
