"""Activations as layers; `born.ops` has them as functions."""

from __future__ import annotations

from typing import Any, get_args

from typing_extensions import override

from born import ops
from born.backend import Approximation, B
from born.errors import DomainError
from born.fusion import where
from born.nn.module import Stateless
from born.ops.fused import fused
from born.tensor import Tensor
from born.validation import choice, integer, number


@fused
def _leaky_relu(x: Any, *, slope: float) -> Any:
    return where(x > 0.0, x, slope * x)


class ReLU(Stateless):
    """max(x, 0).

    Source: Nair and Hinton (2010), "Rectified Linear Units Improve Restricted
    Boltzmann Machines".

    >>> ReLU()(born.tensor([-2.0, 3.0], backend)).numpy().tolist()
    [0.0, 3.0]
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.relu(x)


class LeakyReLU(Stateless):
    """x where it is positive, slope x elsewhere.

    Source: Maas, Hannun and Ng (2013), "Rectifier Nonlinearities Improve Neural
    Network Acoustic Models", equation 2.

    >>> LeakyReLU(0.5)(born.tensor([-2.0, 3.0], backend)).numpy().tolist()
    [-1.0, 3.0]
    """

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = number("slope", slope)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return _leaky_relu(x, slope=self.slope)


class GELU(Stateless):
    """x Phi(x), Phi the distribution function of the standard normal distribution.

    Args:
        approximate: `"none"` for the exact form, `"tanh"` for
            x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))); another is a `DomainError`.

    Source: Hendrycks and Gimpel (2016), "Gaussian Error Linear Units (GELUs)", section 2.

    >>> GELU()(born.tensor([-1.0, 1.0], backend)).numpy().round(4).tolist()
    [-0.158..., 0.841...]
    """

    def __init__(self, approximate: Approximation = "none") -> None:
        self.approximate: Approximation = choice(
            "approximate", approximate, get_args(Approximation), DomainError
        )

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.gelu(x, approximate=self.approximate)


class SiLU(Stateless):
    """x sigmoid(x).

    Source: Elfwing, Uchibe and Doya (2018), "Sigmoid-weighted linear units for neural
    network function approximation in reinforcement learning".

    >>> SiLU()(born.zeros((1,), backend)).item()
    0.0
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.silu(x)


class Sigmoid(Stateless):
    """1 / (1 + exp(-x)), without overflow on either side.

    >>> Sigmoid()(born.zeros((1,), backend)).item()
    0.5
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.sigmoid(x)


class Tanh(Stateless):
    """The hyperbolic tangent.

    >>> Tanh()(born.zeros((1,), backend)).item()
    0.0
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.tanh(x)


class Softplus(Stateless):
    """log(1 + exp(x)), without overflow.

    Source: Dugas et al. (2001), "Incorporating Second-Order Functional Knowledge for
    Better Option Pricing".

    >>> Softplus()(born.tensor([1000.0], backend)).item()
    1000.0
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.softplus(x)


class Softmax(Stateless):
    """exp(x) / sum(exp(x)) along an axis, without overflow.

    For training a classifier use `nn.cross_entropy`, which takes the logits.

    Args:
        axis: the axis along which the results add up to one.

    >>> Softmax()(born.tensor([5.0, 5.0], backend)).numpy().tolist()
    [0.5, 0.5]
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = integer("axis", axis, least=None)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.softmax(x, axis=self.axis)


class LogSoftmax(Stateless):
    """log(softmax(x)) along an axis, without overflow or log(0).

    Arguments and errors as for `Softmax`.

    >>> LogSoftmax()(born.tensor([5.0], backend)).item()
    0.0
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = integer("axis", axis, least=None)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.log_softmax(x, axis=self.axis)
