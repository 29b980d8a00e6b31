"""Optimizers: each a config, and the formula of the paper.

>>> import born
>>> from born import nn, optim
>>> model = nn.Linear(64, 10, born.get_backend("numpy"))
>>> optim.SGD(model.parameters(), optim.SGDConfig(lr=0.1))
SGD(2 parameters, SGDConfig(lr=0.1, momentum=0.0, ...))
"""

from born.optim import schedules as schedules
from born.optim.adam import Adam as Adam
from born.optim.adam import AdamConfig as AdamConfig
from born.optim.config import Config as Config
from born.optim.fields import Interval as Interval
from born.optim.optimizer import Optimizer as Optimizer
from born.optim.rule import Rule as Rule
from born.optim.rule import rule as rule
from born.optim.scalars import Scalar as Scalar
from born.optim.sgd import SGD as SGD
from born.optim.sgd import SGDConfig as SGDConfig
from born.optim.slot import Slot as Slot
from born.optim.solvers import BFGS as BFGS
from born.optim.solvers import LBFGS as LBFGS
from born.optim.solvers import Dogleg as Dogleg
from born.optim.solvers import GaussNewton as GaussNewton
from born.optim.solvers import LevenbergMarquardt as LevenbergMarquardt
from born.optim.solvers import NewtonCG as NewtonCG
from born.optim.solvers import NonlinearCG as NonlinearCG
from born.optim.solvers import OptimizeResult as OptimizeResult
from born.optim.solvers import least_squares as least_squares
from born.optim.solvers import minimize as minimize
from born.optim.transforms import l2 as l2
