"""`Dropout`: noise that keeps a network from relying on single units."""

from __future__ import annotations

from typing import ClassVar, Final

from typing_extensions import override

from born import ops
from born.backend import B
from born.errors import ShapeError
from born.nn.module import Stateless
from born.operands import backend_of
from born.tensor import Tensor
from born.validation import number

_LINES: Final = ("batch", "channels", "length")


class Dropout(Stateless):
    """In training, zero each element with probability p and divide the others by 1 - p.

    After `model.eval()` it changes nothing. The noise comes from the backend's random state.

    Args:
        p: the probability of zero, from 0 to 1.

    Source: Srivastava et al. (2014), "Dropout: A Simple Way to Prevent Neural Networks
    from Overfitting", section 4, scaled in training rather than in use (section 10).

    >>> x = born.ones((2, 2), backend)
    >>> Dropout(0.5).eval()(x).numpy().tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = number("p", p, low=0.0, high=1.0)

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        return ops.dropout(x, self.p) if self.training and self.p > 0.0 else x


class _ChannelDropout(Dropout):
    """What dropout of channels of lines and images shares."""

    _axes: ClassVar[int]

    @override
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        backend = backend_of(type(self).__name__, x)
        if x.ndim != self._axes:
            shape = ("batch", "channels", "height", "width") if self._axes == 4 else _LINES
            raise ShapeError(
                f"expected a tensor of shape ({', '.join(shape)}), got {x.shape}; reshape it"
            )
        if not self.training or self.p <= 0.0:
            return x
        ones = Tensor(backend.ones((*x.shape[:2], *(1,) * (x.ndim - 2)), x.dtype), backend)
        return x * ops.dropout(ones, self.p)


class Dropout1d(_ChannelDropout):
    """`Dropout` of whole channels of lines `(batch, channels, length)`.

    Neighbours in a line tell of each other, so that zeros among them would change little.

    Arguments as for `Dropout`.

    Source: Tompson et al. (2015), "Efficient Object Localization Using Convolutional Networks",
    section 3.2.

    >>> Dropout1d(0.5).eval()(born.ones((1, 2, 3), backend)).shape
    (1, 2, 3)
    """

    _axes = 3


class Dropout2d(_ChannelDropout):
    """`Dropout` of whole channels of images `(batch, channels, height, width)`; as `Dropout1d`.

    >>> Dropout2d(0.5).eval()(born.ones((1, 2, 3, 3), backend)).shape
    (1, 2, 3, 3)
    """

    _axes = 4
