"""`minimize`: the least value of a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from born.optim.solvers.conjugate import NewtonCG, NonlinearCG
from born.optim.solvers.descent import Method, method_of
from born.optim.solvers.quasi_newton import BFGS, LBFGS
from born.optim.solvers.result import OptimizeResult

METHODS: Final[dict[str, Method]] = {
    "L-BFGS-B": LBFGS(),
    "BFGS": BFGS(),
    "CG": NonlinearCG(),
    "Newton-CG": NewtonCG(),
}
"""The methods by SciPy's names; the first is the default."""


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    args: Any = (),
    method: Method | str | None = None,
    jac: Callable[..., Any] | bool | str | None = None,
    hess: Callable[..., Any] | None = None,
    hessp: Callable[..., Any] | None = None,
    bounds: Any = None,
    tol: float | None = None,
    callback: Callable[..., object] | None = None,
    options: Mapping[str, Any] | None = None,
) -> OptimizeResult:
    """The least value of a function of many variables, near a starting point.

    What x0 is decides what the function is given:

    ============================== ========================= ===============================
    x0                             is called as              its gradient, without `jac`
    ============================== ========================= ===============================
    a NumPy array, list or number  fun(array, \\*args)        by differences, as in SciPy
    a tensor                       fun(tensor, \\*args)       by the tape
    a dict, list, tuple or         fun(tree, \\*args)         by the tape
    dataclass of tensors
    a model, or parameters         fun(\\*args), after the    by the tape
                                   parameters were set
    ============================== ========================= ===============================

    Args:
        fun: the function; it returns a number, or a tensor of one element.
        x0: where to start. A model, or a list of parameters, is changed in place, and left at the
            best point that was evaluated, also when the run is interrupted.
        args: further arguments.
        method: how to look: `LBFGS()`, the default, `BFGS()`, `NonlinearCG()` or `NewtonCG()`, with
            its settings; or SciPy's name of one, such as "L-BFGS-B".
        jac: a function that returns the gradient, called as `fun` is; or True, if `fun` returns
            (value, gradient). For a model the gradient is what `backward` returns. For a function
            of NumPy arrays "3-point" takes central differences, which have ten digits and not
            eight, for twice the evaluations; no difference leaves the bounds.
        hess: for `NewtonCG`: hess(x, \\*args) is the Hessian, in place of `hessp`.
        hessp: for `NewtonCG`: hessp(x, v, \\*args) is the product of the Hessian with v. Without
            it, for a tensor on Autodiff(Autodiff(backend)), it is `born.autodiff.hvp`; for all
            others a difference of two gradients.
        bounds: for `LBFGS`: a pair (low, high) for each variable, None where there is no bound; or
            scipy.optimize.Bounds. It starts at the point within them that is nearest to x0; a
            variable with two equal ones stays there.
        tol: the largest absolute value of a gradient's element at which to end, in place of the
            method's `gtol`.
        callback: called after each step, with x, or with a result so far if its argument is
            named `intermediate_result`. It ends the run by raising StopIteration.
        options: settings of the method, as `{"maxiter": 100}`; they go before `tol`.

    Returns:
        the best point evaluated. Its `status` says why the run ended:

        ====== ======= ==================================================================
        status success meaning
        ====== ======= ==================================================================
        0      yes     the gradient is at most `gtol`, or f falls by no more than `ftol`
        1      no      `maxiter` steps, or `maxfun` evaluations
        2      no      no lower point along the gradient: precision is lost, or jac is wrong
        3      no      the function or its gradient is not finite at x0
        99     no      the callback raised StopIteration
        ====== ======= ==================================================================

    Raises:
        GradientError: a gradient of another shape than x0.
        ShapeError: a function that returns several numbers, or bounds for another number.
        OperandError: what is no function, or returns no number.
        KeyboardInterrupt: as raised by Ctrl-C; its attribute `result` is what was found so far.

    The methods are callable as SciPy wants its own to be:
    `scipy.optimize.minimize(fun, x0, method=optim.LBFGS())`.

    >>> from born.autodiff import Autodiff
    >>> model = nn.Linear(1, 1, Autodiff(backend))
    >>> x = born.tensor([[0.0], [1.0], [2.0]], model.weight.backend)
    >>> y = born.tensor([[1.0], [3.0], [5.0]], model.weight.backend)
    >>> result = optim.minimize(lambda: nn.mse_loss(model(x), y), model)
    >>> result.message
    'the gradient is small enough'
    >>> round(model.weight.item(), 3), round(model.bias.item(), 3)
    (2.0, 1.0)
    """
    method = method_of(METHODS, method)
    if tol is not None:
        method = method.replace(gtol=tol)
    if options is not None:
        method = method.replace(**dict(options))
    return method(fun, x0, args, jac=jac, hess=hess, hessp=hessp, bounds=bounds, callback=callback)
