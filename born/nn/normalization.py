"""Normalisation over the trailing axes, with learned scale and shift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from typing_extensions import override

from born import ops
from born.backend import B
from born.dtypes import DTypeLike
from born.errors import ShapeError
from born.nn.module import Module
from born.nn.parameter import Parameter
from born.raw import Shape
from born.tensor import B2, Tensor
from born.validation import flag, number, shape


class LayerNorm(Module[B]):
    """y = (x - mean) / sqrt(var + eps) * w + b, mean and variance over the trailing axes.

    Args:
        normalized_shape: the shape of the trailing axes, or the length of the last.
        backend: where the parameters live.
        eps: added to the variance, against division by zero; at least 0.
        bias: whether there is a b.
        dtype: of the parameters, a floating dtype.

    Attributes:
        weight: w, of shape `normalized_shape`, ones at first.
        bias: b, of that shape, zeros at first, or None.

    Source: Ba, Kiros and Hinton (2016), "Layer Normalization", section 3.

    >>> LayerNorm(3, backend)(born.tensor([1.0, 2.0, 3.0], backend)).numpy().round(3)
    array([-1.225,  0.   ,  1.225], dtype=float32)
    """

    weight: Parameter[B]
    bias: Parameter[B] | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        backend: B,
        eps: float = 1e-5,
        bias: bool = True,
        dtype: DTypeLike = "float32",
    ) -> None:
        lengths = shape("normalized_shape", normalized_shape)
        self.eps = number("eps", eps, low=0.0)
        self.weight = Parameter(Tensor(backend.ones(lengths, dtype), backend))
        self.bias = None
        if flag("bias", bias):
            self.bias = Parameter(Tensor(backend.zeros(lengths, dtype), backend))

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> LayerNorm[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Normalise `x`, of shape `(..., *normalized_shape)`."""
        _check_trailing(x.shape, self.weight.shape)
        return ops.layer_norm(x, self.weight, self.bias, axes=self.weight.ndim, eps=self.eps)


class RMSNorm(Module[B]):
    """y = x / sqrt(mean(x^2) + eps) * w, the mean over the trailing axes.

    Arguments and errors as for `LayerNorm`; eps is added to the mean square.

    Attributes:
        weight: w, of shape `normalized_shape`, ones at first.

    Source: Zhang and Sennrich (2019), "Root Mean Square Layer Normalization", equation 4.

    >>> RMSNorm(2, backend)(born.tensor([3.0, 4.0], backend)).numpy().round(3)
    array([0.849, 1.131], dtype=float32)
    """

    weight: Parameter[B]

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        backend: B,
        eps: float = 1e-6,
        dtype: DTypeLike = "float32",
    ) -> None:
        lengths = shape("normalized_shape", normalized_shape)
        self.eps = number("eps", eps, low=0.0)
        self.weight = Parameter(Tensor(backend.ones(lengths, dtype), backend))

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> RMSNorm[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Normalise `x`, of shape `(..., *normalized_shape)`."""
        _check_trailing(x.shape, self.weight.shape)
        return ops.rms_norm(x, self.weight, axes=self.weight.ndim, eps=self.eps)


def _check_trailing(got: Shape, trailing: Shape) -> None:
    # A weight would silently broadcast against an axis of another length.
    if got[len(got) - len(trailing) :] != trailing:
        raise ShapeError(
            f"expected a tensor whose last axes have shape {trailing}, got shape {got}; "
            "make the layer with the shape of the axes it normalises"
        )
