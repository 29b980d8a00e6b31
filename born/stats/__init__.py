"""Distributions as log-densities, with the names and the parameters of `scipy.stats`.

`norm.logpdf(x, loc, scale)` and its kin are differentiable by all their arguments, which are
tensors or numbers that broadcast; at least one of them is a tensor. Outside of a distribution's
support a density is zero, and its logarithm -inf. Parameters that are none, such as a negative
scale, give NaN. To draw from a distribution, see `born.random`.

Those that need the gamma function compute it as `ops.special` does, by SciPy on a CPU.
"""

from born.stats.continuous import beta as beta
from born.stats.continuous import cauchy as cauchy
from born.stats.continuous import chi2 as chi2
from born.stats.continuous import expon as expon
from born.stats.continuous import gamma as gamma
from born.stats.continuous import laplace as laplace
from born.stats.continuous import norm as norm
from born.stats.continuous import t as t
from born.stats.continuous import uniform as uniform
from born.stats.discrete import bernoulli as bernoulli
from born.stats.discrete import binom as binom
from born.stats.discrete import categorical as categorical
from born.stats.discrete import multinomial as multinomial
from born.stats.discrete import nbinom as nbinom
from born.stats.discrete import poisson as poisson
from born.stats.multivariate import dirichlet as dirichlet
from born.stats.multivariate import multivariate_normal as multivariate_normal
