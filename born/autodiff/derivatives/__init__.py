"""The derivatives: a table of calculus, one file a topic, one line an operation where it can be.

To add one, open the file of the operation's topic and say what its derivative reads:

    of_input("log", lambda b, g, x: b.div(g, x))
    of_result("exp", lambda b, g, y: b.mul(g, y))

`b` is the backend to differentiate on and `g` the gradient of the result; after them come
the arguments of the operation, its options with the same names and defaults. What a line
names stays in memory until the backward pass reaches it: the input `x` in the first, the
result `y` in the second. A parameter called `x_shape` is given the shape of the tensor `x`
instead, which is all that many derivatives need:

    of_input("sum", lambda b, g, x_shape: b.broadcast_to(g, x_shape))

An operation of several tensors has a function for each of them, or None for one that has
no gradient. A tensor is kept only if a gradient that is required reads it, and a gradient is
summed over the axes along which its tensor was broadcast:

    of_input("mul", lambda b, g, x_shape, y: b.mul(g, y), lambda b, g, x, y_shape: b.mul(g, x))

`pullback_of` is for derivatives that share work between arguments or read several things,
and `constant` for operations whose results carry no gradient. An operation that is in
neither table is differentiated through the operations it is composed of.

Where a function has a kink (`abs`, `relu`, `maximum`, `norm` at zero, ties of `max`), its
derivative is a subgradient: zero, or equal shares among those that tie.
"""

from born.autodiff.derivatives import creation as creation
from born.autodiff.derivatives import elementwise as elementwise
from born.autodiff.derivatives import images as images
from born.autodiff.derivatives import indexing as indexing
from born.autodiff.derivatives import linalg as linalg
from born.autodiff.derivatives import linear as linear
from born.autodiff.derivatives import network as network
from born.autodiff.derivatives import reduction as reduction
from born.autodiff.derivatives import shape as shape
from born.autodiff.derivatives.registrars import CONSTANT as CONSTANT
from born.autodiff.derivatives.registrars import DERIVATIVES as DERIVATIVES
from born.autodiff.derivatives.registrars import Derivative as Derivative
