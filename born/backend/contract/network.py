"""Softmax, cross-entropy, normalisation and dropout.

An operation that leaves what its derivative reads, such as the mask of a dropout, returns a
tuple: the result first, the residuals after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

from born.backend.arguments import (
    beside_channels,
    check_floating,
    check_losses,
    check_probability,
    normal_axis,
    trailing_axes,
)
from born.backend.cells import check_recurrence, order_of
from born.backend.contract.operation import optional
from born.backend.contract.primitives import Primitives
from born.dtypes import is_half
from born.errors import DTypeError, IndexOutOfRangeError, ShapeError
from born.fusion import cells
from born.raw import RawTensor

Reduction: TypeAlias = Literal["mean", "sum", "none"]

CellName: TypeAlias = Literal["tanh", "relu", "lstm", "gru"]
"""A cell of a recurrent network: a plain one by its activation, or one with gates."""


class Network(Primitives):
    """What networks are made of, beside products and convolutions."""

    @optional
    def softmax(self, x: RawTensor, /, axis: int = -1) -> RawTensor:
        """exp(x) / sum(exp(x)), shifted by the largest element."""
        check_floating("softmax", x)
        if x.shape[normal_axis(axis, x.ndim)] == 0:
            return self.copy(x)
        e = self.exp(self.sub(x, self.max(x, axis, keepdims=True)))
        return self.div(e, self.sum(e, axis, keepdims=True))

    @optional
    def softmax_backward(self, g: RawTensor, y: RawTensor, /, axis: int = -1) -> RawTensor:
        """The gradient of `softmax` where its result is `y`, times `g`."""
        weighted = self.sum(self.mul(g, y), axis, keepdims=True)
        return self.mul(y, self.sub(g, weighted))

    @optional
    def log_softmax(self, x: RawTensor, /, axis: int = -1) -> RawTensor:
        """log(softmax(x)), shifted by the largest element."""
        check_floating("log_softmax", x)
        if x.shape[normal_axis(axis, x.ndim)] == 0:
            return self.copy(x)
        shifted = self.sub(x, self.max(x, axis, keepdims=True))
        total = self.sum(self.exp(shifted), axis, keepdims=True)
        # An infinite number leaves nothing to the others, and NaN to itself.
        return self.sub(shifted, self.log(self.where(self.isfinite(total), total, 1)))

    @optional
    def log_softmax_backward(self, g: RawTensor, y: RawTensor, /, axis: int = -1) -> RawTensor:
        """The gradient of `log_softmax` where its result is `y`, times `g`."""
        return self.sub(g, self.mul(self.exp(y), self.sum(g, axis, keepdims=True)))

    @optional
    def cross_entropy(
        self,
        logits: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> tuple[RawTensor, RawTensor]:
        """The cross-entropy of integer labels under softmax(logits), and those probabilities."""
        check_floating("cross_entropy", logits)
        check_losses(label_smoothing, reduction)
        self.check_labels(logits, labels)
        log_p = self.log_softmax(logits)
        picked = self.squeeze(self.gather(log_p, self.expand_dims(labels, -1), axis=-1), -1)
        losses = self.neg(picked)
        if label_smoothing:
            uniform = self.neg(self.mean(log_p, -1))
            losses = self.add(
                self.mul(losses, 1.0 - label_smoothing), self.mul(uniform, label_smoothing)
            )
        return self._reduce_losses(losses, reduction), self.exp(log_p)

    @optional
    def cross_entropy_backward(
        self,
        g: RawTensor,
        probabilities: RawTensor,
        labels: RawTensor,
        /,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> RawTensor:
        """The gradient of `cross_entropy` with respect to its logits, times `g`."""
        if is_half(g.dtype):  # in which a count may be infinite
            wide = self.cross_entropy_backward(
                self.astype(g, "float32"),
                self.astype(probabilities, "float32"),
                labels,
                label_smoothing,
                reduction,
            )
            return self.astype(wide, g.dtype)
        rows = self.expand_dims(labels, -1)
        hit = self.full(rows.shape, label_smoothing - 1.0, probabilities.dtype)
        delta = self.scatter_add(probabilities, rows, hit, axis=-1)
        if label_smoothing:
            delta = self.sub(delta, label_smoothing / probabilities.shape[-1])
        if reduction == "mean":
            g = self.div(g, max(labels.size, 1))
        elif reduction == "none":
            g = self.expand_dims(g, -1)
        return self.mul(delta, g)

    def _reduce_losses(self, losses: RawTensor, reduction: Reduction) -> RawTensor:
        if reduction == "mean":
            return self.mean(losses)
        return self.sum(losses) if reduction == "sum" else losses

    def check_labels(self, logits: RawTensor, labels: RawTensor) -> None:
        """Refuse labels that are not integers, one for each row of logits, each naming a class."""
        if labels.dtype.kind not in "iu":
            raise DTypeError(
                f"expected integer class labels, got {labels.dtype}; "
                'convert them with .astype("int64")'
            )
        if logits.ndim == 0 or labels.shape != logits.shape[:-1]:
            raise ShapeError(
                f"expected labels of shape {logits.shape[:-1]} for logits of shape "
                f"{logits.shape} (classes last), got {labels.shape}; "
                "pass one integer label for each row of logits"
            )
        self.check_label_range(labels, logits.shape[-1])

    def check_label_range(self, labels: RawTensor, classes: int) -> None:
        """Refuse integer labels that are not from 0 to `classes - 1`."""
        if labels.size == 0:
            return
        least, most = self.min(labels).item(), self.max(labels).item()
        if least < 0 or most >= classes:
            raise label_range_error(classes, least, most)

    @optional
    def layer_norm(
        self,
        x: RawTensor,
        weight: RawTensor | None,
        bias: RawTensor | None,
        /,
        axes: int = 1,
        eps: float = 1e-5,
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        """Zero mean and unit variance over the last `axes` axes, then scaled and shifted.

        The residuals are the normalised `x` and one over its standard deviation.
        """
        check_floating("layer_norm", x)
        normal, scale = self._normalized(x, trailing_axes(x, axes), eps, True)
        y = normal if weight is None else self.mul(normal, weight)
        y = y if bias is None else self.add(y, bias)
        return (self.reshape(y, y.shape) if y is normal else y), normal, scale

    def _normalized(
        self, x: RawTensor, axes: tuple[int, ...], eps: float, centred: bool
    ) -> tuple[RawTensor, RawTensor]:
        """x, or its distance from its mean, over its root mean square; and one over that."""
        if centred:
            x = self.sub(x, self.mean(x, axes, keepdims=True))
        squares = self.mean(self.mul(x, x), axes, keepdims=True)
        scale = self.rsqrt(self.add(squares, eps))
        return self.mul(x, scale), scale

    @optional
    def layer_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        """The gradient of the normalisation inside `layer_norm`, times `g`."""
        trailing = trailing_axes(normal, axes)
        mean = self.mean(g, trailing, keepdims=True)
        along = self.mean(self.mul(g, normal), trailing, keepdims=True)
        return self.mul(scale, self.sub(self.sub(g, mean), self.mul(normal, along)))

    def layer_norm_gradients(
        self,
        g: RawTensor,
        normal: RawTensor,
        scale: RawTensor,
        weight: RawTensor | None,
        axes: int,
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        """The gradients of `layer_norm` for x, weight and bias; residuals as it leaves them."""
        inner = g if weight is None else self.mul(g, weight)
        shape = g.shape[g.ndim - axes :]
        # As rows of a matrix, whose columns are added up.
        matrix = (math.prod(g.shape[: g.ndim - axes]), math.prod(shape))
        total, along = (
            self.reshape(self.sum(self.reshape(part, matrix), 0), shape)
            for part in (g, self.mul(g, normal))
        )
        return self.layer_norm_backward(inner, normal, scale, axes), along, total

    @optional
    def rms_norm(
        self, x: RawTensor, weight: RawTensor | None, /, axes: int = 1, eps: float = 1e-6
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        """`x` over its root mean square along the last `axes` axes, then scaled.

        The residuals are as in `layer_norm`.
        """
        check_floating("rms_norm", x)
        normal, scale = self._normalized(x, trailing_axes(x, axes), eps, False)
        y = self.reshape(normal, x.shape) if weight is None else self.mul(normal, weight)
        return y, normal, scale

    @optional
    def rms_norm_backward(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, /, axes: int = 1
    ) -> RawTensor:
        """The gradient of the normalisation inside `rms_norm`, times `g`."""
        along = self.mean(self.mul(g, normal), trailing_axes(normal, axes), keepdims=True)
        return self.mul(scale, self.sub(g, self.mul(normal, along)))

    @optional
    def batch_norm(
        self, x: RawTensor, weight: RawTensor | None, bias: RawTensor | None, /, eps: float = 1e-5
    ) -> tuple[RawTensor, RawTensor, RawTensor, RawTensor, RawTensor]:
        """Zero mean and unit variance of each channel, the second axis, then scaled and shifted.

        The residuals are the normalised `x`; one over its standard deviation, of one element for
        each channel and as many axes as `x`; its mean and its variance, of shape (channels,).
        """
        check_floating("batch_norm", x)
        axes, channels = beside_channels(x), x.shape[1]
        mean = self.mean(x, axes, keepdims=True)
        centred = self.sub(x, mean)
        variance = self.mean(self.mul(centred, centred), axes)
        normal, scale = self._normalized(centred, axes, eps, False)
        y = normal if weight is None else self.mul(normal, self._of_channels(weight, x.ndim))
        y = y if bias is None else self.add(y, self._of_channels(bias, x.ndim))
        y = self.reshape(y, y.shape) if y is normal else y
        return y, normal, scale, self.reshape(mean, (channels,)), variance

    def _of_channels(self, x: RawTensor, ndim: int) -> RawTensor:
        """One element for each channel, to broadcast with a tensor of `ndim` axes."""
        return self.reshape(x, (x.size, *(1,) * (ndim - 2)))

    def batch_norm_gradients(
        self, g: RawTensor, normal: RawTensor, scale: RawTensor, weight: RawTensor | None
    ) -> tuple[RawTensor, RawTensor, RawTensor]:
        """The gradients of `batch_norm` for x, weight and bias; residuals as it leaves them."""
        axes, count = beside_channels(g), max(g.size // max(g.shape[1], 1), 1)
        total, along = self.sum(g, axes), self.sum(self.mul(g, normal), axes)
        mean = self._of_channels(self.div(total, count), g.ndim)
        slope = self._of_channels(self.div(along, count), g.ndim)
        gain = scale if weight is None else self.mul(scale, self._of_channels(weight, g.ndim))
        inner = self.sub(self.sub(g, mean), self.mul(normal, slope))
        return self.mul(gain, inner), along, total

    @optional
    def attention(
        self,
        q: RawTensor,
        k: RawTensor,
        v: RawTensor,
        mask: RawTensor | None = None,
        /,
        causal: bool = False,
        scale: float = 1.0,
    ) -> tuple[RawTensor, RawTensor]:
        """softmax(scale q k^T + mask) v for q (..., T, D), k (..., S, D) and v (..., S, E).

        Leading axes broadcast. A mask (..., T, S) of bools says what takes part, a floating one is
        added. If `causal`, the last query sees all keys, the one before all but the last, and
        so on. A row that sees nothing is 0. The residual is what `attention_gradients` reads, here
        the logarithm of each row's sum of exponentials, (..., T, 1).
        """
        scores = self._scores(q, k, mask, causal, scale)
        total = self.logsumexp(scores, -1, keepdims=True)
        return self.matmul(self._weights(scores, total), v), total

    def attention_gradients(
        self,
        g: RawTensor,
        q: RawTensor,
        k: RawTensor,
        v: RawTensor,
        mask: RawTensor | None,
        y: RawTensor,
        total: RawTensor,
        causal: bool,
        scale: float,
        for_mask: bool,
    ) -> tuple[RawTensor, RawTensor, RawTensor, RawTensor | None]:
        """The gradients of `attention` for q, k, v and, if wanted, the mask; not summed to shapes.

        `y` and `total` are what it returned.
        """
        weights = self._weights(self._scores(q, k, mask, causal, scale), total)
        of_weights = self.matmul(g, turned(self, v))
        along = self.sum(self.mul(g, y), -1, keepdims=True)
        slopes = self.mul(weights, self.sub(of_weights, along))
        scaled = self.mul(slopes, scale)
        return (
            self.matmul(scaled, k),
            self.matmul(turned(self, scaled), q),
            self.matmul(turned(self, weights), g),
            slopes if for_mask else None,
        )

    def _scores(
        self, q: RawTensor, k: RawTensor, mask: RawTensor | None, causal: bool, scale: float
    ) -> RawTensor:
        """scale q k^T + mask, with minus infinity where a query does not see a key."""
        scores = self.mul(self.matmul(q, turned(self, k)), scale)
        if mask is not None:
            is_flag = mask.dtype.kind == "b"
            scores = self.where(mask, scores, -math.inf) if is_flag else self.add(scores, mask)
        if causal:
            queries, keys = scores.shape[-2:]
            last = self.arange(keys - queries, keys, 1, "int64")
            seen = self.greater_equal(self.expand_dims(last, 1), self.arange(0, keys, 1, "int64"))
            scores = self.where(seen, scores, -math.inf)
        return scores

    def _weights(self, scores: RawTensor, total: RawTensor) -> RawTensor:
        """exp(scores - total), and 0 for a row that sees nothing, whose total is not finite."""
        nothing = self.equal(total, -math.inf)
        return self.exp(self.sub(scores, self.where(nothing, 0.0, total)))

    @optional
    def recurrence(
        self,
        z: RawTensor,
        initial: RawTensor,
        weight: RawTensor,
        bias: RawTensor | None = None,
        mask: RawTensor | None = None,
        /,
        cell: CellName = "tanh",
        reverse: bool = False,
    ) -> tuple[RawTensor, RawTensor]:
        """All states of a recurrent cell, step after step, from what inputs give to its gates.

        z is of shape (steps, batch, gates width), `initial` of shape (states, batch, width) with
        two states of an LSTM, the hidden one first, and one of others; the weight that multiplies
        the hidden state is (gates width, width), its bias (gates width,). A mask (steps, batch) of
        bools says which steps there are: at others, the states stay. In reverse, the last step
        comes first. The result is (states, steps, batch, width).

        The residual is the backend's own, of shape (steps, batch, ...).
        """
        check_recurrence(z, initial, weight, bias, mask, cell)
        steps, (count, batch, width) = z.shape[0], initial.shape
        if not steps:
            return self.zeros((count, 0, batch, width), z.dtype), self.zeros(z.shape, z.dtype)
        turned = self.transpose(weight)
        state = [self.getitem(initial, i) for i in range(count)]
        states, products = [state] * steps, [z] * steps
        for t in order_of(steps, reverse):
            q = self.matmul(state[0], turned)
            q = q if bias is None else self.add(q, bias)
            after = self._cell(cell, self.getitem(z, t), q, state)
            if mask is not None:
                there = self.expand_dims(self.getitem(mask, t), 1)
                pairs = zip(after, state, strict=True)
                after = [self.where(there, new, old) for new, old in pairs]
            states[t], products[t] = state, q = after, q
        each = [self.stack([at[i] for at in states]) for i in range(count)]
        return self.stack(each), self.stack(products)

    def _cell(
        self, cell: CellName, z: RawTensor, q: RawTensor, state: Sequence[RawTensor]
    ) -> list[RawTensor]:
        """The states after one step."""
        if cell == "lstm":
            i, f, g, o = self._gates(self.add(z, q), 4)
            (c,) = self.fused(cells.LSTM_MEMORY.formula, (i, f, g, state[1]))
            return [self.fused(cells.LSTM_HIDDEN.formula, (o, c))[0], c]
        if cell == "gru":
            gates = *self._gates(z, 3), *self._gates(q, 3)
            return [self.fused(cells.GRU.formula, (*gates, state[0]))[0]]
        return [self.fused(cells.SIMPLE[cell].formula, (z, q))[0]]

    def _gates(self, x: RawTensor, count: int) -> list[RawTensor]:
        """The parts of a tensor along its last axis."""
        width = x.shape[-1] // count
        return [
            self.getitem(x, (..., slice(start * width, (start + 1) * width)))
            for start in range(count)
        ]

    def recurrence_gradients(
        self,
        g: RawTensor,
        z: RawTensor,
        initial: RawTensor,
        weight: RawTensor,
        bias: RawTensor | None,
        mask: RawTensor | None,
        states: RawTensor,
        kept: RawTensor,
        cell: CellName,
        reverse: bool,
    ) -> tuple[RawTensor, RawTensor, RawTensor, RawTensor]:
        """The gradients of `recurrence` for z, initial, weight and bias.

        `states` and `kept` are what it returned.
        """
        steps, (count, batch, width) = z.shape[0], initial.shape
        if not steps:
            empty = [self.zeros(x.shape, z.dtype) for x in (z, initial, weight)]
            return empty[0], empty[1], empty[2], self.zeros(weight.shape[:1], z.dtype)
        carried = [self.zeros((batch, width), z.dtype) for _ in range(count)]
        order = order_of(steps, reverse)
        of_z, of_q, earlier = [z] * steps, [z] * steps, [z] * steps
        for place in range(steps - 1, -1, -1):
            t = order[place]
            before = [
                self.getitem(states, (i, order[place - 1])) if place else self.getitem(initial, i)
                for i in range(count)
            ]
            arrived = [self.add(self.getitem(g, (i, t)), carry) for i, carry in enumerate(carried)]
            there = None if mask is None else self.expand_dims(self.getitem(mask, t), 1)
            passed = arrived
            if there is not None:
                passed = [self.where(there, each, 0.0) for each in arrived]
            zt, qt = self.getitem(z, t), self.getitem(kept, t)
            dz, dq, direct = self._cell_gradients(cell, passed, zt, qt, before)
            through = self.matmul(dq, weight)
            direct[0] = through if direct[0] is None else self.add(direct[0], through)
            carried = [each for each in direct if each is not None]
            if there is not None:
                pairs = zip(carried, arrived, strict=True)
                carried = [self.add(c, self.where(there, 0.0, a)) for c, a in pairs]
            of_z[t], of_q[t], earlier[t] = dz, dq, before[0]
        rows = self.reshape(self.stack(of_q), (steps * batch, weight.shape[0]))
        hidden = self.reshape(self.stack(earlier), (steps * batch, width))
        of_weight = self.matmul(self.transpose(rows), hidden)
        return self.stack(of_z), self.stack(carried), of_weight, self.sum(rows, 0)

    def _cell_gradients(
        self,
        cell: CellName,
        g: Sequence[RawTensor],
        z: RawTensor,
        q: RawTensor,
        before: Sequence[RawTensor],
    ) -> tuple[RawTensor, RawTensor, list[RawTensor | None]]:
        """The gradients of `_cell` for z, q, and the states before but for their way through q."""
        if cell == "lstm":
            i, f, o_, o = self._gates(self.add(z, q), 4)
            (c,) = self.fused(cells.LSTM_MEMORY.formula, (i, f, o_, before[1]))
            of_o, of_c = self._slopes(cells.LSTM_HIDDEN, g[0], (o, c))
            memory = self._slopes(cells.LSTM_MEMORY, self.add(g[1], of_c), (i, f, o_, before[1]))
            both = self.concatenate([*memory[:3], of_o], axis=-1)
            return both, both, [None, memory[3]]
        if cell == "gru":
            inputs = (*self._gates(z, 3), *self._gates(q, 3), before[0])
            found = self._slopes(cells.GRU, g[0], inputs)
            of_z, of_q = (self.concatenate(found[i : i + 3], axis=-1) for i in (0, 3))
            return of_z, of_q, [found[6]]
        made = cells.SIMPLE[cell]
        of_z, of_q = self._slopes(made, g[0], (z, q))
        return of_z, of_q, [None]

    def _slopes(
        self, cell: cells.Cell, g: RawTensor, inputs: Sequence[RawTensor]
    ) -> list[RawTensor]:
        """The gradients of a formula for all its inputs."""
        how = cell.derivative
        read = [inputs[i] for i in how.kept_inputs]
        read += self.fused(cell.formula, inputs) if how.kept_outputs else ()
        found = self.fused(how.formula, (g, *read))
        return [found[result] for result in how.results]

    @optional
    def dropout(self, x: RawTensor, /, p: float) -> tuple[RawTensor, RawTensor]:
        """Each element zeroed with probability `p`, the others over 1 - p; and the mask."""
        check_probability(p)
        keep = self.greater_equal(self.uniform(x.shape, "float32"), p)
        mask = self.mul(self.astype(keep, x.dtype), 0.0 if p == 1 else 1.0 / (1.0 - p))
        return self.mul(x, mask), mask


def turned(b: Primitives, x: RawTensor) -> RawTensor:
    """The last two axes exchanged."""
    return b.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def label_range_error(classes: int, least: float, most: float) -> IndexOutOfRangeError:
    """The error for labels from `least` to `most`, some of which name no class."""
    return IndexOutOfRangeError(
        f"expected labels from 0 to {classes - 1}, got labels from {least} to {most}; "
        "check the labels or the number of classes"
    )
