"""Activations as layers; `born.ops` has them as functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from typing_extensions import override

from born import ops
from born.backend import Approximation, B
from born.backend.arguments import normal_axis
from born.dtypes import DTypeLike, as_dtype
from born.errors import ConfigError, DomainError, ShapeError
from born.fusion import abs, clip, expm1, sigmoid, softplus, tanh, where
from born.nn.module import Module, Stateless
from born.nn.parameter import Parameter
from born.operands import backend_of
from born.ops.fused import fused_as
from born.tensor import B2, Tensor
from born.validation import choice, integer, number

# To the last digit of float64: those of PyTorch, which solve equation 14 of the paper.
_SELU_ALPHA: Final = 1.6732632423543772848170429916717
_SELU_SCALE: Final = 1.0507009873554804934193349852946


@fused_as("LeakyReLU")
def _leaky_relu(x: Any, *, slope: float) -> Any:
    return where(x > 0.0, x, slope * x)


def _exponential(x: Any, alpha: float) -> Any:
    there = x > 0.0
    return where(there, x, alpha * expm1(where(there, 0.0, x)))


@fused_as("ELU")
def _elu(x: Any, *, alpha: float) -> Any:
    return _exponential(x, alpha)


@fused_as("SELU")
def _selu(x: Any) -> Any:
    return _SELU_SCALE * _exponential(x, _SELU_ALPHA)


@fused_as("Mish")
def _mish(x: Any) -> Any:
    return x * tanh(softplus(x))


@fused_as("LogSigmoid")
def _log_sigmoid(x: Any) -> Any:
    return -softplus(-x)


@fused_as("PReLU")
def _prelu(x: Any, slope: Any) -> Any:
    return where(x > 0.0, x, slope * x)


@fused_as("GLU")
def _gated(x: Any, gate: Any) -> Any:
    return x * sigmoid(gate)


@fused_as("Hardtanh")
def _clipped(x: Any, *, low: float, high: float) -> Any:
    return clip(x, low, high)


@fused_as("Hardsigmoid")
def _hard_sigmoid(x: Any) -> Any:
    return clip(x / 6.0 + 0.5, 0.0, 1.0)


@fused_as("Hardswish")
def _hard_swish(x: Any) -> Any:
    return x * clip(x / 6.0 + 0.5, 0.0, 1.0)


@fused_as("Softsign")
def _softsign(x: Any) -> Any:
    return x / (1.0 + abs(x))


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


class PReLU(Module[B]):
    """x where it is positive, a learned slope times x elsewhere.

    Args:
        backend: where the slopes live.
        num_parameters: how many slopes: one for all, or one for each channel, the second axis of x.
        init: the first value of each.
        dtype: of the slopes, a floating dtype.

    Attributes:
        weight: the slopes, of shape `(num_parameters,)`.

    Source: He et al. (2015), "Delving Deep into Rectifiers", equation 1.

    >>> PReLU(backend)(born.tensor([-2.0, 3.0], backend)).numpy().tolist()
    [-0.5, 3.0]
    """

    weight: Parameter[B]

    def __init__(
        self,
        backend: B,
        num_parameters: int = 1,
        init: float = 0.25,
        dtype: DTypeLike = "float32",
    ) -> None:
        count = integer("num_parameters", num_parameters)
        first = backend.full((count,), number("init", init), as_dtype(dtype))
        self.weight = Parameter(Tensor(first, backend))

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> PReLU[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Rectify `x`, of any shape, or of `(batch, num_parameters, ...)`."""
        backend_of(type(self).__name__, x)
        count = self.weight.shape[0]
        if count == 1:
            return _prelu(x, self.weight)
        if x.ndim < 2 or x.shape[1] != count:
            raise ShapeError(
                f"expected a tensor of shape (batch, {count}, ...), got {x.shape}; make the layer "
                "with its number of channels, or with one slope"
            )
        return _prelu(x, self.weight.reshape(count, *(1,) * (x.ndim - 2)))


class ELU(Stateless):
    """x where it is positive, alpha (e^x - 1) elsewhere.

    Args:
        alpha: minus what it tends to on the negative side.

    Source: Clevert, Unterthiner and Hochreiter (2016), "Fast and Accurate Deep Network Learning
    by Exponential Linear Units (ELUs)", equation 15.

    >>> ELU()(born.tensor([-1000.0, 3.0], backend)).numpy().tolist()
    [-1.0, 3.0]
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = number("alpha", alpha)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return _elu(x, alpha=self.alpha)


class SELU(Stateless):
    """1.0507 x where it is positive, 1.0507 · 1.6733 (e^x - 1) elsewhere.

    With weights of variance 1 / fan_in, means and variances stay near 0 and 1 from layer to layer.

    Source: Klambauer et al. (2017), "Self-Normalizing Neural Networks", equations 2 and 14.

    >>> SELU()(born.tensor([-1000.0, 1.0], backend)).numpy().round(4).tolist()
    [-1.758..., 1.050...]
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return _selu(x)


class Mish(Stateless):
    """x tanh(softplus(x)).

    Source: Misra (2020), "Mish: A Self Regularized Non-Monotonic Activation Function".

    >>> Mish()(born.tensor([0.0, 1.0], backend)).numpy().round(4).tolist()
    [0.0, 0.865...]
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return _mish(x)


class GLU(Stateless):
    """a sigmoid(b), a the first half of x along an axis and b the second.

    Args:
        axis: the axis, of even length.

    Source: Dauphin et al. (2017), "Language Modeling with Gated Convolutional Networks",
    equation 1.

    >>> GLU()(born.tensor([3.0, 0.0], backend)).numpy().tolist()
    [1.5]
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = integer("axis", axis, least=None)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        backend_of(type(self).__name__, x)
        if x.shape[normal_axis(self.axis, x.ndim)] % 2:
            raise ShapeError(
                f"expected an even length along axis {self.axis}, whose halves are a value and its "
                f"gate, got shape {x.shape}; make the layer before it twice as wide"
            )
        value, gate = ops.split(x, 2, axis=self.axis)
        return _gated(value, gate)


class Hardtanh(Stateless):
    """x clipped to [low, high]; with 0 and 6 this is the ReLU6 of MobileNet.

    Args:
        low: the lower bound.
        high: the upper bound, above the lower.

    Source: Collobert (2004), "Large Scale Machine Learning", section 5.2.

    >>> Hardtanh(0.0, 6.0)(born.tensor([-2.0, 3.0, 9.0], backend)).numpy().tolist()
    [0.0, 3.0, 6.0]
    """

    def __init__(self, low: float = -1.0, high: float = 1.0) -> None:
        self.low, self.high = number("low", low), number("high", high)
        if not self.low < self.high:
            raise ConfigError(f"expected low below high, got {low} and {high}; swap them")

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return _clipped(x, low=self.low, high=self.high)


class Hardsigmoid(Stateless):
    """x / 6 + 1/2, clipped to [0, 1].

    Source: Howard et al. (2019), "Searching for MobileNetV3", section 5.2.

    >>> Hardsigmoid()(born.tensor([-4.0, 0.0, 1.5], backend)).numpy().tolist()
    [0.0, 0.5, 0.75]
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return _hard_sigmoid(x)


class Hardswish(Stateless):
    """x times its `Hardsigmoid`.

    Source: Howard et al. (2019), "Searching for MobileNetV3", section 5.2.

    >>> Hardswish()(born.tensor([-1.0, 1.5, 4.0], backend)).numpy().round(4).tolist()
    [-0.333..., 1.125, 4.0]
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return _hard_swish(x)


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


class LogSigmoid(Stateless):
    """log(sigmoid(x)), without log(0).

    >>> LogSigmoid()(born.tensor([-1000.0, 0.0], backend)).numpy().round(3).tolist()
    [-1000.0, -0.693...]
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return _log_sigmoid(x)


class Softsign(Stateless):
    """x / (1 + |x|).

    Source: Bergstra et al. (2009), "Quadratic Polynomials Learn Better Image Features".

    >>> Softsign()(born.tensor([-1.0, 3.0], backend)).numpy().tolist()
    [-0.5, 0.75]
    """

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return _softsign(x)


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
