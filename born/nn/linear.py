"""`Linear`: the affine map."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from typing_extensions import override

from born import ops
from born.backend import B
from born.dtypes import DTypeLike
from born.nn import init
from born.nn.module import Module
from born.nn.parameter import Parameter
from born.ops.linear import Activation
from born.tensor import B2, Tensor
from born.validation import choice, flag, integer


class Linear(Module[B]):
    """y = x W^T + b, or f(x W^T + b) with an activation f.

    Args:
        in_features: length of the last axis of x.
        out_features: length of the last axis of y.
        backend: where the parameters live; its random state is used.
        bias: whether there is a b.
        dtype: of the parameters, a floating dtype.
        activation: f, by its name in `born.ops`; none by default. It is computed in
            the same pass as the sum, faster than by a layer of its own.

    Attributes:
        weight: W, of shape `(out_features, in_features)`.
        bias: b, of shape `(out_features,)`, or None. Both start within `nn.init.default_bound`.

    >>> layer = Linear(4, 2, backend)
    >>> layer(born.zeros((3, 4), backend)).shape
    (3, 2)
    >>> layer, Linear(4, 2, backend, activation="relu")
    (Linear(weight=(2, 4), bias=(2,)), Linear(activation='relu', weight=(2, 4), bias=(2,)))
    """

    weight: Parameter[B]
    bias: Parameter[B] | None
    activation: Activation | None = None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        backend: B,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        activation: Activation | None = None,
    ) -> None:
        shape = (integer("out_features", out_features), integer("in_features", in_features))
        if activation is not None:
            self.activation = choice("activation", activation, get_args(Activation))
        self.weight, self.bias = init.weight_and_bias(shape, backend, flag("bias", bias), dtype)

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> Linear[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Map the last axis of `x`, of shape `(..., in_features)`."""
        return ops.linear(x, self.weight, self.bias, activation=self.activation)
