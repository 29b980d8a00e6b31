"""`OptimizeResult`: what a solver returns."""

from __future__ import annotations

from typing import Any

from typing_extensions import override


class OptimizeResult(dict[str, Any]):
    """What a solver found, and why it ended; entries are attributes too, as of SciPy's.

    Attributes:
        x: the best point that was evaluated, of the kind of x0: an array, a tensor, or the model
            itself, which holds it.
        fun: the function there; of `least_squares`, the residuals.
        jac: the gradient there, of the kind of x (a list of tensors for a model); of
            `least_squares`, the Jacobian.
        nit: how many steps were taken.
        nfev, njev, nhev: how many times the function, its gradient or Jacobian, and products with
            its Hessian were computed.
        status: why it ended, as a number; the solver's documentation has the list.
        message: the same in words.
        success: whether it ended because it had converged.

    >>> result = optim.minimize(lambda x: float((x - 3.0) ** 2), 0.0)
    >>> result.success, result["nit"] == result.nit, round(float(result.x), 6)
    (True, True, 3.0)
    """

    x: Any
    fun: Any
    jac: Any
    nit: int
    nfev: int
    njev: int
    nhev: int
    status: int
    message: str
    success: bool

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"expected one of {', '.join(self)}, got {name!r}; correct the name"
            ) from None

    @override
    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    @override
    def __repr__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:>{width}}: {value!r}" for name, value in self.items())
