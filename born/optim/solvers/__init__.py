"""Solvers: they call a function as often as they need to, and return its least value.

For a function without noise, such as a fit to all of its data, they take a hundredth of the
steps of an optimizer and no learning rate. `minimize` is for any function, `least_squares` for
a sum of squares; both keep to SciPy's conventions.

>>> def rosenbrock(x):
...     return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()
>>> x0 = born.tensor([-1.2, 1.0], backend, dtype="float64")
>>> result = optim.minimize(rosenbrock, x0, method=optim.LBFGS())
>>> result.success, result.x.numpy().round(4)
(True, array([1., 1.]))
"""

from born.optim.solvers.conjugate import NewtonCG as NewtonCG
from born.optim.solvers.conjugate import NonlinearCG as NonlinearCG
from born.optim.solvers.curve import covariance as covariance
from born.optim.solvers.curve import curve_fit as curve_fit
from born.optim.solvers.minimize import minimize as minimize
from born.optim.solvers.quasi_newton import BFGS as BFGS
from born.optim.solvers.quasi_newton import LBFGS as LBFGS
from born.optim.solvers.result import OptimizeResult as OptimizeResult
from born.optim.solvers.squares import least_squares as least_squares
from born.optim.solvers.steps import Dogleg as Dogleg
from born.optim.solvers.steps import GaussNewton as GaussNewton
from born.optim.solvers.steps import LevenbergMarquardt as LevenbergMarquardt
