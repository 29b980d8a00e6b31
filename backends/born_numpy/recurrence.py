"""Recurrent cells: a product and one pass for each step, threads over the rows of a batch.

The rows of a batch never meet, so each thread takes some of them through all steps, with products
of its own on one thread of BLAS.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np

from born.backend import CellName
from born.backend.cells import order_of
from born.backend.threads import POOL, taken
from born.raw import HostArray, RawTensor
from born_numpy.arena import empty
from born_numpy.blas import one_thread
from born_numpy.products import product

_SERIAL: Final = 4_000_000
"""Multiplications in all steps below which a second thread costs more than it does."""

_KEPT: Final[dict[CellName, int]] = {"tanh": 0, "relu": 0, "lstm": 4, "gru": 4}
"""How many numbers of each unit a step keeps: the gates, and what a GRU's reset gate multiplies."""


class Step(NamedTuple):
    """One step of a cell, for some rows.

    Attributes:
        forward: called with z, q, bias, the states before (h0, c0), those after (h, c) to be
            written, what is kept to be written, and which rows there are (none for all).
        backward: called with the gradients of h and c, what was kept, h0, c0, h, c; the gradient of
            h that came through the product of the step after (dh), which the next product
            overwrites, that of c (dc) and that of h past the product (rest), both to be
            carried on; the gradients of z and q to be written; and which rows there are.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]


class Walk(NamedTuple):
    """All steps of a cell, for some rows of a batch.

    Attributes:
        forward: called with z, the initial states, the turned weight, the bias, all states and what
            is kept to be written, the mask (without columns for all rows), room for a product,
            whether the order is reversed, and the first row and the one after the last.
        backward: called with the gradients of all states, what was kept, all states, the initial
            ones, the weight, the mask, zeros that end as dh, dc and rest of a `Step`, the
            gradients of z and q to be written, the order and the rows.
        uses_blas: whether products are those of BLAS, which has threads too.
    """

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    uses_blas: bool


def is_known(*tensors: RawTensor | None) -> bool:
    """Whether all tensors are float32 or all float64."""
    dtypes = {x.dtype for x in tensors if x is not None}
    return len(dtypes) == 1 and dtypes.pop().char in "fd"


def _rows_there(mask: HostArray | None, steps: int) -> HostArray:
    return np.empty((steps, 0), np.bool_) if mask is None else np.ascontiguousarray(mask)


def _each(batch: int, work: int, uses_blas: bool, run: Callable[[int, int], None]) -> None:
    """Run for ranges of rows, on several threads if it is enough."""
    workers = min(POOL.workers, batch)
    if work < _SERIAL or workers < 2:
        run(0, batch)
        return
    with one_thread() if uses_blas else nullcontext(True) as free:
        if not free:  # BLAS takes all threads for one product
            run(0, batch)
            return
        bounds = [batch * i // workers for i in range(workers + 1)]
        pieces = deque(pairwise(bounds))

        def some() -> None:
            for first, last in taken(pieces):
                run(first, last)

        POOL.share(some)


def recurrence(
    walk: Walk,
    z: HostArray,
    initial: HostArray,
    weight: HostArray,
    bias: HostArray | None,
    mask: HostArray | None,
    cell: CellName,
    reverse: bool,
) -> tuple[RawTensor, RawTensor]:
    """All states, and what the gradients read."""
    z, initial = np.ascontiguousarray(z), np.ascontiguousarray(initial)
    length, batch, gates = z.shape
    width, dtype = weight.shape[1], z.dtype
    there = _rows_there(mask, length)
    turned = np.ascontiguousarray(weight.T)
    shift = np.zeros(gates, dtype) if bias is None else np.ascontiguousarray(bias)
    states = empty((len(initial), length, batch, width), dtype)
    kept = empty((length, batch, _KEPT[cell] * width), dtype)

    def run(first: int, last: int) -> None:
        q = np.empty((last - first, gates), dtype)
        walk.forward(z, initial, turned, shift, states, kept, there, q, reverse, first, last)

    _each(batch, z.size * width, walk.uses_blas, run)
    return RawTensor(states), RawTensor(kept)


def gradients(
    walk: Walk,
    g: HostArray,
    z: HostArray,
    initial: HostArray,
    weight: HostArray,
    mask: HostArray | None,
    states: HostArray,
    kept: HostArray,
    cell: CellName,
    reverse: bool,
) -> tuple[HostArray, HostArray, HostArray, HostArray]:
    """The gradients of z, the initial states, the weight and, row after row, the products."""
    g, initial, weight = map(np.ascontiguousarray, (g, initial, weight))
    length, batch, _ = z.shape
    width, dtype = weight.shape[1], z.dtype
    there = _rows_there(mask, length)
    of_z = empty(z.shape, dtype)
    of_q = empty(z.shape, dtype) if cell == "gru" else of_z
    of_initial = np.empty(initial.shape, dtype)

    def run(first: int, last: int) -> None:
        dh, dc, rest = (np.zeros((last - first, width), dtype) for _ in range(3))
        walk.backward(
            *(g, kept, states, initial, weight, there),
            *(dh, dc, rest, of_z, of_q, reverse, first, last),
        )
        of_initial[-1, first:last] = dc
        np.add(dh, rest, out=of_initial[0, first:last])

    _each(batch, z.size * width, walk.uses_blas, run)
    end, rows = order_of(length, reverse)[0], of_q.reshape(length * batch, -1)
    with one_thread():  # it is small, and BLAS's threads would wait awake for more
        of_weight = np.dot(of_q[end].T, initial[0])
    if length > 1:
        later, earlier = (of_q[:-1], states[0, 1:]) if reverse else (of_q[1:], states[0, :-1])
        of_weight += product(later.reshape(-1, later.shape[2]).T, earlier.reshape(-1, width))
    return of_z, of_initial, of_weight, rows


# -- the cells in NumPy -------------------------------------------------------------------------


def _walk(step: Step) -> Walk:
    """Step after step, with products of BLAS."""

    def forward(
        z: Any, initial: Any, turned: Any, shift: Any, states: Any, kept: Any, mask: Any, q: Any,
        reverse: bool, first: int, last: int,
    ) -> None:  # fmt: skip
        rows = slice(first, last)
        h, c = initial[0, rows], initial[-1, rows]
        with np.errstate(all="ignore"):
            for t in order_of(len(z), reverse):
                np.dot(h, turned, out=q)
                after, memory = states[0, t, rows], states[-1, t, rows]
                step.forward(
                    z[t, rows], q, shift, h, c, after, memory, kept[t, rows], mask[t, rows]
                )
                h, c = after, memory

    def backward(
        g: Any, kept: Any, states: Any, initial: Any, weight: Any, mask: Any,
        dh: Any, dc: Any, rest: Any, of_z: Any, of_q: Any,
        reverse: bool, first: int, last: int,
    ) -> None:  # fmt: skip
        rows, order = slice(first, last), order_of(len(of_z), reverse)
        with np.errstate(all="ignore"):
            for place in range(len(order) - 1, -1, -1):
                t = order[place]
                before = states[:, order[place - 1], rows] if place else initial[:, rows]
                after, slopes, products = states[:, t, rows], g[:, t, rows], of_q[t, rows]
                step.backward(
                    *(slopes[0], slopes[-1], kept[t, rows], before[0], before[-1]),
                    *(after[0], after[-1], dh, dc, rest, of_z[t, rows], products, mask[t, rows]),
                )
                np.dot(products, weight, out=dh)

    return Walk(forward, backward, uses_blas=True)


def _sigmoid(x: HostArray) -> None:
    """1 / (1 + e^-x), in place."""
    x *= -1  # NumPy 2.4's `negative` of float32 is wrong in place where columns are apart
    np.exp(x, out=x)
    x += 1
    np.reciprocal(x, out=x)


def _parts(x: HostArray, count: int) -> list[HostArray]:
    width = x.shape[1] // count
    return [x[:, place * width : (place + 1) * width] for place in range(count)]


def _keep(there: HostArray, *pairs: tuple[HostArray, HostArray]) -> None:
    """Put the second of each pair into the rows of the first that are not there."""
    if there.size:
        absent = ~there[:, None]
        for new, old in pairs:
            np.copyto(new, old, where=absent)


def _simple(bend: Callable[[HostArray], object], slope: Callable[[HostArray], HostArray]) -> Step:
    def forward(
        z: Any, q: Any, bias: Any, h0: Any, c0: Any, h: Any, c: Any, kept: Any, t: Any
    ) -> None:
        np.add(z, q, out=h)
        h += bias
        bend(h)
        _keep(t, (h, h0))

    def backward(
        gh: Any, gc: Any, kept: Any, h0: Any, c0: Any, h: Any, c: Any,
        dh: Any, dc: Any, rest: Any, dz: Any, dq: Any, there: Any,
    ) -> None:  # fmt: skip
        total = gh + dh
        total += rest
        rest[...] = 0
        np.multiply(total, slope(h), out=dz)
        _keep(there, (dz, rest), (rest, total))

    return Step(forward, backward)


def _rectify(x: HostArray) -> None:
    np.maximum(x, 0, out=x)


def _bend(x: HostArray) -> None:
    np.tanh(x, out=x)


def _lstm(
    z: Any, q: Any, bias: Any, h0: Any, c0: Any, h: Any, c: Any, kept: Any, there: Any
) -> None:
    width = h.shape[1]
    np.add(z, q, out=kept)
    kept += bias
    i, f, g, o = _parts(kept, 4)
    _sigmoid(kept[:, : 2 * width])
    np.tanh(g, out=g)
    _sigmoid(o)
    np.multiply(f, c0, out=c)
    c += i * g
    np.tanh(c, out=h)
    h *= o
    _keep(there, (h, h0), (c, c0))


def _lstm_backward(
    gh: Any, gc: Any, kept: Any, h0: Any, c0: Any, h: Any, c: Any,
    dh: Any, dc: Any, rest: Any, dz: Any, dq: Any, there: Any,
) -> None:  # fmt: skip
    i, f, g, o = _parts(kept, 4)
    di, df, dg, do = _parts(dz, 4)
    total = gh + dh
    total += rest
    memory = gc + dc
    bent = np.tanh(c)
    np.multiply(total, bent, out=do)
    do *= o * (1 - o)
    slope = total * o
    slope *= 1 - bent * bent
    slope += memory
    np.multiply(slope, g * i * (1 - i), out=di)
    np.multiply(slope, i * (1 - g * g), out=dg)
    np.multiply(slope, c0 * f * (1 - f), out=df)
    np.multiply(slope, f, out=dc)
    rest[...] = 0
    if there.size:
        dz[~there] = 0
        _keep(there, (rest, total), (dc, memory))


def _gru(
    z: Any, q: Any, bias: Any, h0: Any, c0: Any, h: Any, c: Any, kept: Any, there: Any
) -> None:
    width = h.shape[1]
    q += bias
    r, u, n, reset = _parts(kept, 4)
    np.add(z[:, : 2 * width], q[:, : 2 * width], out=kept[:, : 2 * width])
    _sigmoid(kept[:, : 2 * width])
    reset[...] = q[:, 2 * width :]
    np.multiply(r, reset, out=n)
    n += z[:, 2 * width :]
    np.tanh(n, out=n)
    np.subtract(h0, n, out=h)
    h *= u
    h += n
    _keep(there, (h, h0))


def _gru_backward(
    gh: Any, gc: Any, kept: Any, h0: Any, c0: Any, h: Any, c: Any,
    dh: Any, dc: Any, rest: Any, dz: Any, dq: Any, there: Any,
) -> None:  # fmt: skip
    width = h.shape[1]
    r, u, n, reset = _parts(kept, 4)
    dr, du, dn = _parts(dz, 3)
    total = gh + dh
    total += rest
    np.multiply(total, (1 - u) * (1 - n * n), out=dn)
    np.multiply(total, (h0 - n) * u * (1 - u), out=du)
    np.multiply(dn, reset * r * (1 - r), out=dr)
    np.multiply(total, u, out=rest)
    if there.size:
        dz[~there] = 0
        _keep(there, (rest, total))
    dq[...] = dz
    dq[:, 2 * width :] *= r


WALKS: Final[dict[CellName, Walk]] = {
    "tanh": _walk(_simple(_bend, lambda h: 1 - h * h)),
    "relu": _walk(_simple(_rectify, lambda h: (h > 0).astype(h.dtype))),
    "lstm": _walk(Step(_lstm, _lstm_backward)),
    "gru": _walk(Step(_gru, _gru_backward)),
}
"""The cells, in passes of NumPy over rows that fit in the cache."""
