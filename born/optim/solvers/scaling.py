"""How large a change of each variable is taken to be."""

from __future__ import annotations

from typing import Any

import numpy as np

from born.errors import ConfigError, ShapeError
from born.optim.solvers.robust import Array


class Scaling:
    """What variables are multiplied by, so that steps of one length matter alike."""

    def __init__(self, x_scale: Any, n: int) -> None:
        self._follows = isinstance(x_scale, str) and x_scale == "jac"
        self.scale: Array = np.zeros(n)
        if self._follows:
            return
        try:
            values = np.asarray(x_scale, np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"expected x_scale as 'jac' or the sizes of the variables, got {x_scale!r}; "
                "correct it"
            ) from error
        if values.size not in (1, n):
            raise ShapeError(
                f"expected x_scale as one number, or one for each of the {n} variables, got shape "
                f"{values.shape}; complete it"
            )
        if not ((values > 0) & (values < np.inf)).all():
            raise ConfigError(
                f"expected x_scale of positive numbers, got {x_scale!r}; pass the usual size of "
                "each variable"
            )
        self.scale = 1.0 / np.broadcast_to(values.reshape(-1), (n,))

    def update(self, jacobian: Array) -> Array:
        """The scale after another Jacobian was seen: the largest norms of its columns so far."""
        if self._follows:
            norms = np.linalg.norm(jacobian, axis=0)
            first = not self.scale.any()
            self.scale = np.maximum(self.scale, np.where(norms > 0, norms, first * 1.0))
        return self.scale
