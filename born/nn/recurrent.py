"""Recurrent layers: whole sequences through plain, gated and long short-term memory cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from typing_extensions import override

from born import ops
from born.backend import B, CellName
from born.dtypes import DTypeLike, bool_
from born.errors import OperandError, ShapeError
from born.fusion.cells import GATES
from born.nn import init
from born.nn.module import Module
from born.nn.parameter import Parameter
from born.operands import backend_of
from born.raw import Shape
from born.tensor import B2, Tensor
from born.validation import choice, flag, integer, number


class _Recurrent(Module[B]):
    """What layers of recurrent cells share: parameters, directions, and the way through."""

    _cell: CellName
    _states: ClassVar[int] = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        backend: B,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.input_size = integer("input_size", input_size)
        self.hidden_size = integer("hidden_size", hidden_size)
        self.num_layers = integer("num_layers", num_layers)
        self.batch_first = flag("batch_first", batch_first)
        self.dropout = number("dropout", dropout, 0.0, 1.0)
        self.bidirectional = flag("bidirectional", bidirectional)
        self._bias = flag("bias", bias)
        width, gates = self.hidden_size, GATES[self._cell] * self.hidden_size
        bound = 1 / math.sqrt(width)
        for layer in range(self.num_layers):
            inputs = width * self._directions if layer else self.input_size
            for suffix in self._suffixes:
                shapes: dict[str, Shape] = {
                    "weight_ih": (gates, inputs),
                    "weight_hh": (gates, width),
                }
                if self._bias:
                    shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
                for name, shape in shapes.items():
                    first = init.uniform(shape, backend, -bound, bound, dtype)
                    setattr(self, f"{name}_l{layer}{suffix}", Parameter(first))

    @property
    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _run(
        self, x: Tensor[B], initial: list[Tensor[B]] | None, mask: Tensor[B] | None
    ) -> tuple[Tensor[B], list[Tensor[B]]]:
        """The result, and each of the last states, of shape (layers directions, batch, width)."""
        backend_of(type(self).__name__, x)
        if x.ndim != 3 or x.shape[2] != self.input_size:
            order = "batch, steps" if self.batch_first else "steps, batch"
            raise ShapeError(
                f"expected x of shape ({order}, {self.input_size}), got {x.shape}; reshape it, or "
                "change batch_first"
            )
        if self.batch_first:
            x = x.transpose(1, 0, 2)
            mask = None if mask is None else mask.transpose()
        steps, batch, _ = x.shape
        if not steps:
            raise ShapeError(
                f"expected a sequence of at least one step, got x of shape {x.shape}; leave out "
                "empty sequences"
            )
        count, width = self.num_layers * self._directions, self.hidden_size
        if initial is None:
            raw = x.backend.zeros((self._states, count, batch, width), x.dtype)
            initial = [Tensor(x.backend.getitem(raw, i), x.backend) for i in range(self._states)]
        for each in initial:
            if each.shape != (count, batch, width):
                raise ShapeError(
                    f"expected initial states of shape {(count, batch, width)}, got {each.shape}; "
                    "they have an entry for each layer and direction, and then the batch"
                )
        there = None if mask is None else mask.reshape(*mask.shape, 1)
        if there is not None and there.dtype == bool_ and there.shape[:2] == x.shape[:2]:
            x = ops.where(
                there, x, 0.0
            )  # NaN in what is not there would reach the weights as 0 NaN
        last: list[list[Tensor[B]]] = [[] for _ in range(self._states)]
        for layer in range(self.num_layers):
            if layer and self.training and self.dropout > 0.0:
                x = ops.dropout(x, self.dropout)
            sides: list[Tensor[B]] = []
            for suffix in self._suffixes:
                place = layer * self._directions + len(sides)
                begin = ops.stack([each[place] for each in initial])
                states = self._layer(x, begin, mask, f"_l{layer}{suffix}")
                y, end = states[0], 0 if suffix else steps - 1
                for state in range(self._states):
                    last[state].append(states[state, end])
                sides.append(y if there is None else ops.where(there, y, 0.0))
            x = ops.concatenate(sides, axis=-1) if len(sides) > 1 else sides[0]
        y = x.transpose(1, 0, 2) if self.batch_first else x
        return y, [ops.stack(each) for each in last]

    def _layer(
        self, x: Tensor[B], begin: Tensor[B], mask: Tensor[B] | None, suffix: str
    ) -> Tensor[B]:
        """All states of one layer in one direction."""
        bias_ih = self._held(f"bias_ih{suffix}") if self._bias else None
        bias_hh = self._held(f"bias_hh{suffix}") if self._bias else None
        if bias_ih is not None and bias_hh is not None and self._cell != "gru":
            # What a step adds to both products alike is added once.
            bias_hh = bias_ih + bias_hh
            bias_ih = None
        steps, batch, inputs = x.shape
        rows = x.reshape(steps * batch, inputs)
        z = ops.linear(rows, self._held(f"weight_ih{suffix}"), bias_ih)
        return ops.recurrence(
            z.reshape(steps, batch, z.shape[1]),
            begin,
            self._held(f"weight_hh{suffix}"),
            bias_hh,
            mask,
            cell=self._cell,
            reverse=suffix.endswith("reverse"),
        )

    def _held(self, name: str) -> Tensor[B]:
        return cast("Tensor[B]", getattr(self, name))


class RNN(_Recurrent[B]):
    """A plain recurrent network (Elman, 1990).

        h_t = f(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)

    Args:
        input_size: length of the last axis of x.
        hidden_size: of the last axis of h.
        backend: where the parameters live; its random state is used.
        num_layers: how many there are, each with the one before as its input.
        nonlinearity: f, `"tanh"` or `"relu"`.
        bias: whether there are b_ih and b_hh.
        batch_first: whether x is of shape `(batch, steps, input_size)`; by default, steps come
            first.
        dropout: the probability of zero, in training, between layers.
        bidirectional: whether a second network, with parameters of its own, goes through the steps
            from the last one on; results are those of both, one after the other.
        dtype: of the parameters, a floating dtype.

    Attributes:
        weight_ih_l0: W_ih of the first layer, of shape `(hidden_size, input_size)`; that of the
            others is `(hidden_size, hidden_size)`, or twice as wide with two directions. They are
            called as in PyTorch, `weight_ih_l1_reverse` and so on, and start, as all parameters
            do, uniform within 1 / sqrt(hidden_size).
        weight_hh_l0: W_hh, of shape `(hidden_size, hidden_size)`.
        bias_ih_l0: b_ih, of shape `(hidden_size,)`.
        bias_hh_l0: b_hh, of that shape.

    Calling it with x gives y and h: y holds h_t of the last layer for every t, and h the last h_t
    of each layer and direction, of shape `(num_layers directions, batch, hidden_size)`.

    Source: Elman (1990), "Finding Structure in Time".

    >>> layer = RNN(3, 4, backend)
    >>> y, h = layer(born.zeros((5, 2, 3), backend))
    >>> y.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        backend: B,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.nonlinearity = choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        self._cell = nonlinearity
        super().__init__(
            input_size,
            hidden_size,
            backend,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            dtype,
        )

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> RNN[B2]: ...

    def forward(
        self, x: Tensor[B], /, initial: Tensor[B] | None = None, mask: Tensor[B] | None = None
    ) -> tuple[Tensor[B], Tensor[B]]:
        """All steps of x.

        Args:
            x: shape `(steps, batch, input_size)`, or the batch first if so made.
            initial: h before the first step, of the shape of the h that is returned; zeros by
                default.
            mask: bools of the shape of x without its last axis: which steps there are. At others
                the states stay as they are and y is zero, so that sequences of several lengths are
                one batch, and h is each one's last.
        """
        y, (h,) = self._run(x, None if initial is None else [initial], mask)
        return y, h


class GRU(_Recurrent[B]):
    """A gated recurrent unit (Cho et al., 2014).

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
        u = sigmoid(W_iu x + b_iu + W_hu h + b_hu)
        n = tanh(W_in x + b_in + r (W_hn h + b_hn))
        h ← (1 - u) n + u h

    Arguments, attributes and results as for `RNN`, which has a nonlinearity besides. Parameters
    hold those of r, u and n, one after the other, and are three times as long.

    Source: Cho et al. (2014), "Learning Phrase Representations using RNN Encoder-Decoder for
    Statistical Machine Translation", section 2.3; r after the product, as in cuDNN and PyTorch.

    >>> layer = GRU(3, 4, backend, num_layers=2, batch_first=True, bidirectional=True)
    >>> y, h = layer(born.zeros((2, 5, 3), backend))
    >>> y.shape, h.shape, layer.weight_hh_l1_reverse.shape
    ((2, 5, 8), (4, 2, 4), (12, 4))
    """

    _cell = "gru"

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> GRU[B2]: ...

    def forward(
        self, x: Tensor[B], /, initial: Tensor[B] | None = None, mask: Tensor[B] | None = None
    ) -> tuple[Tensor[B], Tensor[B]]:
        """All steps of x; arguments as for `RNN`."""
        y, (h,) = self._run(x, None if initial is None else [initial], mask)
        return y, h


class LSTM(_Recurrent[B]):
    """A long short-term memory (Hochreiter and Schmidhuber, 1997), with forget gates.

        i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)
        f = sigmoid(W_if x + b_if + W_hf h + b_hf)
        g = tanh(W_ig x + b_ig + W_hg h + b_hg)
        o = sigmoid(W_io x + b_io + W_ho h + b_ho)
        c ← f c + i g;    h ← o tanh(c)

    Arguments and attributes as for `RNN`, which has a nonlinearity besides. Parameters hold those
    of i, f, g and o, one after the other, and are four times as long.

    Calling it with x gives y and (h, c): y holds h of the last layer after every step, h and c are
    those after the last one, of shape `(num_layers directions, batch, hidden_size)`.

    Source: Gers, Schmidhuber and Cummins (2000), "Learning to Forget: Continual Prediction with
    LSTM", section 2 and 3.

    >>> layer = LSTM(3, 4, backend)
    >>> y, (h, c) = layer(born.zeros((5, 2, 3), backend))
    >>> y.shape, h.shape, c.shape
    ((5, 2, 4), (1, 2, 4), (1, 2, 4))
    """

    _cell = "lstm"
    _states = 2

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> LSTM[B2]: ...

    def forward(
        self,
        x: Tensor[B],
        /,
        initial: tuple[Tensor[B], Tensor[B]] | None = None,
        mask: Tensor[B] | None = None,
    ) -> tuple[Tensor[B], tuple[Tensor[B], Tensor[B]]]:
        """All steps of x; `initial` is (h, c), other arguments are as for `RNN`."""
        y, (h, c) = self._run(x, None if initial is None else list(initial), mask)
        return y, (h, c)


class _Cell(Module[B]):
    """What single steps of recurrent networks share."""

    weight_ih: Parameter[B]
    weight_hh: Parameter[B]
    bias_ih: Parameter[B] | None
    bias_hh: Parameter[B] | None

    _cell: CellName

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        backend: B,
        bias: bool = True,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.input_size = integer("input_size", input_size)
        self.hidden_size = integer("hidden_size", hidden_size)
        gates = GATES[self._cell] * self.hidden_size
        bound = 1 / math.sqrt(self.hidden_size)

        def drawn(*shape: int) -> Parameter[B]:
            return Parameter(init.uniform(shape, backend, -bound, bound, dtype))

        self.weight_ih = drawn(gates, self.input_size)
        self.weight_hh = drawn(gates, self.hidden_size)
        learned = flag("bias", bias)
        self.bias_ih = drawn(gates) if learned else None
        self.bias_hh = drawn(gates) if learned else None

    def _step(self, x: Tensor[B], states: Sequence[Tensor[B]] | None, count: int) -> Tensor[B]:
        """All states after a step, of shape (states, batch, width)."""
        backend_of(type(self).__name__, x)
        if x.ndim != 2 or x.shape[1] != self.input_size:
            raise ShapeError(
                f"expected x of shape (batch, {self.input_size}), got {x.shape}; a cell takes one "
                "step of a batch"
            )
        shape = (x.shape[0], self.hidden_size)
        if states is None:
            begin = Tensor(x.backend.zeros((count, *shape), x.dtype), x.backend)
        else:
            if not isinstance(states, tuple | list) or len(states) != count:
                raise OperandError(
                    f"expected {count} states in a tuple, got {type(states).__name__}; hand over "
                    "what the step before returned"
                )
            for each in states:
                if each.shape != shape:
                    raise ShapeError(
                        f"expected states of shape {shape}, got {each.shape}; hand over what the "
                        "step before returned"
                    )
            begin = ops.stack(list(states))
        z = ops.linear(x, self.weight_ih, self.bias_ih)
        z = ops.expand_dims(z, 0)
        return ops.recurrence(z, begin, self.weight_hh, self.bias_hh, cell=self._cell)[:, 0]


class RNNCell(_Cell[B]):
    """One step of an `RNN`, for loops of your own: h' = f(W_ih x + b_ih + W_hh h + b_hh).

    Args:
        input_size: length of the last axis of x.
        hidden_size: of the last axis of h.
        backend: where the parameters live; its random state is used.
        bias: whether there are b_ih and b_hh.
        nonlinearity: f, `"tanh"` or `"relu"`.
        dtype: of the parameters, a floating dtype.

    Attributes:
        weight_ih: W_ih, of shape `(hidden_size, input_size)`; parameters are called and start as
            in PyTorch, uniform within 1 / sqrt(hidden_size).
        weight_hh: W_hh, of shape `(hidden_size, hidden_size)`.
        bias_ih: b_ih, of shape `(hidden_size,)`, or None.
        bias_hh: b_hh, of that shape, or None.

    >>> cell = RNNCell(3, 4, backend)
    >>> h = cell(born.zeros((2, 3), backend))
    >>> cell(born.zeros((2, 3), backend), h).shape
    (2, 4)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        backend: B,
        bias: bool = True,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        dtype: DTypeLike = "float32",
    ) -> None:
        self.nonlinearity = choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        self._cell = nonlinearity
        super().__init__(input_size, hidden_size, backend, bias, dtype)

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> RNNCell[B2]: ...

    def forward(self, x: Tensor[B], /, h: Tensor[B] | None = None) -> Tensor[B]:
        """The h after x, of shape `(batch, input_size)`; the one before is zeros by default."""
        return self._step(x, None if h is None else [h], 1)[0]


class GRUCell(_Cell[B]):
    """One step of a `GRU`, with its equations and source; all else as for `RNNCell`.

    >>> cell = GRUCell(3, 4, backend)
    >>> cell(born.zeros((2, 3), backend), born.zeros((2, 4), backend)).shape, cell.weight_hh.shape
    ((2, 4), (12, 4))
    """

    _cell = "gru"

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> GRUCell[B2]: ...

    def forward(self, x: Tensor[B], /, h: Tensor[B] | None = None) -> Tensor[B]:
        """The h after x, of shape `(batch, input_size)`; the one before is zeros by default."""
        return self._step(x, None if h is None else [h], 1)[0]


class LSTMCell(_Cell[B]):
    """One step of an `LSTM`, with its equations and source; all else as for `RNNCell`.

    Calling it with x, and (h, c) after the first step, gives the new (h, c).

    >>> cell = LSTMCell(3, 4, backend)
    >>> h, c = cell(born.zeros((2, 3), backend))
    >>> h, c = cell(born.zeros((2, 3), backend), (h, c))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    _cell = "lstm"

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> LSTMCell[B2]: ...

    def forward(
        self, x: Tensor[B], /, states: tuple[Tensor[B], Tensor[B]] | None = None
    ) -> tuple[Tensor[B], Tensor[B]]:
        """The (h, c) after x, of shape `(batch, input_size)`; before are zeros by default."""
        both = self._step(x, states, 2)
        return both[0], both[1]
