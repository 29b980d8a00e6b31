"""`Dropout`: noise that keeps a network from relying on single units."""

from __future__ import annotations

from typing_extensions import override

from born import ops
from born.backend import B
from born.nn.module import Stateless
from born.tensor import Tensor
from born.validation import number


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
