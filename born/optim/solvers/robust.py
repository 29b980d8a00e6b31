"""Losses of residuals that grow more slowly than squares, so that outliers count for less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from born.errors import ConfigError, DomainError, ShapeError
from born.validation import number

Array: TypeAlias = npt.NDArray[np.float64]
"""On the host, in double: the systems solved here are of n variables."""

Rho: TypeAlias = Callable[[Array], Any]
"""From z, the squares of residuals, to rho(z) and its derivative; a third result is not used."""


def _soft_l1(z: Array) -> Any:
    root = np.sqrt(1 + z)
    return 2 * z / (1 + root), 1 / root


def _huber(z: Array) -> Any:
    root = np.sqrt(np.maximum(z, 1.0))
    return np.where(z <= 1, z, 2 * root - 1), 1 / root


def _cauchy(z: Array) -> Any:
    return np.log1p(z), 1 / (1 + z)


def _arctan(z: Array) -> Any:
    return np.arctan(z), 1 / (1 + z * z)


LOSSES: Final[dict[str, Rho | None]] = {
    "linear": None,
    "soft_l1": _soft_l1,
    "huber": _huber,
    "cauchy": _cauchy,
    "arctan": _arctan,
}
"""The losses by SciPy's names."""


class Loss:
    """What a sum of squares is replaced by: Σ C² ρ((r / C)²), with a scale C of the residuals.

    Near a point it is taken for a sum of squares with the weights ρ'. The second derivative of ρ,
    which is negative, is left out, as it would take the weight of outliers below 0.

    Source: Holland and Welsch (1977), "Robust regression using iteratively reweighted
    least-squares"; Agarwal et al., "Ceres Solver", which leaves it out too.
    """

    def __init__(self, loss: object, scale: object) -> None:
        if not callable(loss) and (not isinstance(loss, str) or loss not in LOSSES):
            raise ConfigError(
                f"expected loss as one of {', '.join(LOSSES)}, or a function of z that returns "
                f"rho(z) and its derivative, got {loss!r}; correct the name"
            )
        self._rho = cast("Rho", loss) if callable(loss) else LOSSES[loss]
        self._scale = number("f_scale", scale, error=DomainError)
        if self._scale <= 0.0:
            raise DomainError(
                f"expected f_scale above 0, got {scale!r}; it is the size of a residual from which "
                "on it counts for less"
            )

    def cost(self, residuals: Array) -> float:
        """Half of the sum."""
        if self._rho is None:
            return 0.5 * float(residuals @ residuals)
        return 0.5 * self._scale**2 * float(np.sum(self._values(residuals)[0]))

    def weighted(self, residuals: Array, jacobian: Array) -> tuple[Array, Array]:
        """Residuals and a Jacobian whose sum of squares has the gradient of the cost."""
        if self._rho is None:
            return residuals, jacobian
        root = np.sqrt(np.maximum(self._values(residuals)[1], 0.0))
        return residuals * root, jacobian * root[:, None]

    def _values(self, residuals: Array) -> list[Array]:
        assert self._rho is not None
        values = [
            np.asarray(each, np.float64) for each in self._rho((residuals / self._scale) ** 2)
        ]
        if len(values) < 2 or any(each.shape != residuals.shape for each in values[:2]):
            raise ShapeError(
                f"expected a loss that returns rho and its derivative, each of shape "
                f"{residuals.shape}, got shapes {[each.shape for each in values]}; return both for "
                "each element of z"
            )
        return values
