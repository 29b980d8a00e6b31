"""The derivatives: one row an operation.

A row is called after the operation, as `rule(b, out, needs, *arguments)`: `b` is
the backend to differentiate on, `out` what the operation returned, `needs` which
tensor arguments a gradient is due for. It returns the pullback, which maps the
gradient `g` of the result to those of the tensor arguments, or None where the
operation is constant. A pullback closes over what it reads and nothing else:
what a closure names stays in memory until the backward pass reaches it.

Where a function has a kink (`abs`, `relu`, `maximum`, `norm` at zero, ties of
`max`), the row takes a subgradient: zero, or equal shares among those that tie.
"""

from born.autodiff.vjps import elementwise as elementwise
from born.autodiff.vjps import network as network
from born.autodiff.vjps import reduction as reduction
from born.autodiff.vjps import shape as shape
from born.autodiff.vjps.table import PASSED_THROUGH as PASSED_THROUGH
from born.autodiff.vjps.table import VJPS as VJPS
from born.autodiff.vjps.table import Arguments as Arguments
from born.autodiff.vjps.table import Row as Row
