"""Tensors to differentiate by."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

import born
from born.autodiff import Autodiff
from born.backend import Backend

T: TypeAlias = "born.Tensor[Autodiff[Backend]]"


def leaf(autodiff: Autodiff[Backend], *values: float) -> T:
    """A float64 tensor that requires a gradient."""
    x = born.tensor(np.array(values), autodiff)
    x.requires_grad = True
    return x
