"""`scan`: a loop whose backward pass keeps few of its steps and computes the others again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from born import ops
from born.autodiff.calls import tensors_of
from born.autodiff.custom import checkpointed, unstacked
from born.autodiff.trees import mapped, paths_of
from born.backend.arguments import is_tuple
from born.errors import DomainError, OperandError, ShapeError
from born.tensor import Tensor, is_tensor
from born.validation import integer

C = TypeVar("C")
Y = TypeVar("Y")


def scan(
    function: Callable[[C, Any], tuple[C, Y]],
    init: C,
    xs: Any = None,
    length: int | None = None,
    *,
    chunk: int | None = None,
) -> tuple[C, Y]:
    """Carry a value through steps: `carry, y = function(carry, x)` for each x, the ys stacked.

    The name and the arguments are those of `jax.lax.scan`. The steps are recorded in chunks: of
    n steps in chunks of c, the backward pass keeps n / c values of the carry, and computes one
    chunk after the other again. With c = √n, the default, that is memory for 2 √n steps instead
    of n, for a second computation of each step.

    Args:
        function: from the carry and one x to the next carry, of the same form, shapes and dtypes,
            and a y, a tensor, a tree or None. Parameters that it uses get their gradients.
        init: the first carry, a tensor or a tree of them.
        xs: a tensor, or a tree of them, with the steps along the first axis; None if the function
            needs none.
        length: how many steps there are, if `xs` does not say.
        chunk: how many steps to keep at a time; `length` keeps them all and computes none again.

    Returns:
        the last carry, and the ys, stacked along a new first axis.

    Raises:
        ShapeError: `xs` of several lengths, or a carry that changes its shape.
        OperandError: `function` returns no pair, or a carry of another form.

    >>> import born
    >>> from born.autodiff import Autodiff, grad
    >>> from born_numpy import NumpyBackend
    >>> x = born.tensor([1.0, 2.0, 3.0], Autodiff(NumpyBackend()))
    >>> total, sums = scan(lambda total, x: (total + x, total + x), x[0] * 0.0, x)
    >>> sums
    Tensor([1., 3., 6.], dtype=float32)

    Source: Griewank (1992), "Achieving logarithmic growth of temporal and spatial complexity in
    reverse automatic differentiation", for what checkpoints can do.
    """
    count = _count(xs, length)
    size = max(1, math.isqrt(count)) if chunk is None else integer("chunk", chunk, 1, DomainError)
    keep_all = size >= count

    def steps(carry: C, part: Any, number: int) -> tuple[C, Any]:
        """A chunk: its last carry, and its ys, stacked."""
        ys: list[Any] = []
        columns = [unstacked(x, number) for x in tensors_of(part)]
        for i in range(number):
            pair: Any = function(carry, _replaced(part, [column[i] for column in columns]))
            if not is_tuple(pair) or len(pair) != 2:
                raise OperandError(
                    "expected a function that returns (carry, y), got "
                    f"{type(pair).__name__}; return None for y if there is none"
                )
            _check_carry(carry, pair[0])
            carry = pair[0]
            ys.append(pair[1])
        return carry, _together(ops.stack, ys)

    run = steps if keep_all else checkpointed(steps)
    parts: list[Any] = []
    carry = init
    for start in range(0, count, size):
        number = min(size, count - start)
        piece = _replaced(xs, [x[start : start + number] for x in tensors_of(xs)])
        carry, made = run(carry, piece, number)
        parts.append(made)
    return carry, _together(ops.concatenate, parts)


def _count(xs: Any, length: int | None) -> int:
    """The number of steps, which all of xs and `length` agree on."""
    lengths = [x.shape[0] if x.ndim else None for x in tensors_of(xs)]
    if length is not None:
        lengths.append(integer("length", length, 0, DomainError))
    found = set(lengths)
    if len(found) != 1 or None in found:
        told = ", ".join(str(each) for each in lengths) or "none"
        raise ShapeError(
            f"expected xs with the same number of steps along their first axes, got {told}; "
            "pass xs of one length, or length if there are no xs"
        )
    return lengths[0] or 0


def _together(join: Callable[[Sequence[Tensor[Any]]], Tensor[Any]], values: list[Any]) -> Any:
    """Trees of one form as one, each tensor joined."""
    if not values:
        return None
    columns = [tensors_of(value) for value in values]
    if len({len(column) for column in columns}) != 1:
        raise OperandError(
            "expected ys of one form from all steps, got another number of tensors from some; "
            "return the same tree in each step"
        )
    return _replaced(values[0], [join(list(column)) for column in zip(*columns, strict=True)])


def _replaced(tree: Any, tensors: list[Tensor[Any]]) -> Any:
    """A tree with other tensors, in order."""
    if is_tensor(tree):
        return tensors[0]
    rest = iter(tensors)

    def following(_: Tensor[Any]) -> Tensor[Any]:
        return next(rest)

    return mapped(tree, following)


def _check_carry(before: Any, after: Any) -> None:
    """Refuse a step that returns a carry of another form."""
    alike = is_tensor(before) and is_tensor(after)  # most often, and in every step
    if alike and before.shape == after.shape and before.dtype == after.dtype:
        return
    theirs, ours = paths_of(before), paths_of(after)
    if theirs.keys() != ours.keys():
        held = [", ".join(path or "itself" for path in each) or "none" for each in (theirs, ours)]
        raise OperandError(
            f"expected a carry with the same tensors after a step, {held[0]}, got {held[1]}; a "
            "step returns the carry for the next one"
        )
    old, new = (
        [(each[path].shape, each[path].dtype) for path in theirs] for each in (theirs, ours)
    )
    if old != new:
        shown = [", ".join(f"{shape} {dtype}" for shape, dtype in each) for each in (old, new)]
        raise ShapeError(
            f"expected a carry of the same shapes and dtypes after a step, {shown[0] or 'none'}, "
            f"got {shown[1] or 'none'}; a step returns the carry for the next one"
        )
