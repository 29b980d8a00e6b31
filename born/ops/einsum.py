"""Sums of products of tensors, by Einstein's convention."""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, overload

import numpy as np

from born.backend import B
from born.errors import DomainError, DTypeError, OperandError, ShapeError
from born.operands import backend_of, raw_operand
from born.ops.linear import matmul
from born.ops.reduction import sum as total
from born.ops.shape import reshape, squeeze, transpose
from born.raw import Shape
from born.tensor import Tensor, is_tensor

_LETTERS: Final = string.ascii_letters
_FORM: Final = '"ij,jk->ik"'


@overload
def einsum(subscripts: str, *operands: Tensor[B]) -> Tensor[B]: ...
@overload
def einsum(subscripts: Tensor[B], *operands: Tensor[B] | Sequence[Any]) -> Tensor[B]: ...
def einsum(subscripts: Any, *operands: Any) -> Any:
    """A sum of products, one letter for each axis.

        einsum("ij,jk->ik", x, y)_ik = sum_j x_ij y_jk

    A letter that the result does not have is summed over. Without `->` the result has the letters
    that occur once, in alphabetical order. A letter that occurs twice in one operand takes its
    diagonal; `...` stands for axes that broadcast. Two at a time, operands are multiplied by
    matrix products; NumPy's `einsum_path` says in which order.

    Args:
        subscripts: the letters of each operand, separated by commas, and after `->` those of the
            result. The form `einsum(x, [0, 1], y, [1, 2], [0, 2])` works too.
        operands: tensors of one dtype.

    Raises:
        DomainError: subscripts that cannot be read.
        ShapeError: letters that do not fit the shapes.

    >>> x = born.tensor([[1.0, 2.0], [3.0, 4.0]], backend)
    >>> ops.einsum("ij->j", x)
    Tensor([4., 6.], dtype=float32)
    >>> ops.einsum("ii", x)
    Tensor(5., dtype=float32)
    >>> ops.einsum("bi,ij,bj->b", x, x, x)
    Tensor([ 27., 133.], dtype=float32)
    """
    if is_tensor(subscripts):
        subscripts, operands = _from_sublists((subscripts, *operands))
    _check_operands(subscripts, operands)
    terms, result = _parsed(subscripts, operands)
    sizes = _sizes(subscripts, terms, operands)
    _check_result(subscripts, result, sizes)
    factors = [
        _without_repeats(*_without_ones(term, operand, sizes))
        for term, operand in zip(terms, operands, strict=True)
    ]
    term, value = _summed(*_product(factors, result), set(result))
    missing = [letter for letter in result if letter not in term]
    value = reshape(value, (*value.shape, *(1 for _ in missing)))
    value = _arranged(term + "".join(missing), value, result)
    return value if value is not operands[0] else value * 1


# -- reading -------------------------------------------------------------------------------


def _check_operands(subscripts: object, operands: Sequence[Tensor[Any]]) -> None:
    if not isinstance(subscripts, str):
        raise OperandError(
            f"expected subscripts such as {_FORM} in einsum, got {subscripts!r}; write a string"
        )
    if not operands:
        raise ShapeError(
            f"expected operands after {subscripts!r} in einsum, got none; pass tensors"
        )
    backend = backend_of("einsum", operands[0])
    for other in operands[1:]:
        if raw_operand("einsum", backend, other).dtype != operands[0].dtype:
            raise DTypeError(
                f"expected one dtype in einsum, got {operands[0].dtype} and {other.dtype}; convert "
                f'one with .astype("{other.dtype}")'
            )


def _check_result(subscripts: str, result: str, sizes: Mapping[str, int]) -> None:
    if unknown := set(result) - set(sizes):
        raise DomainError(
            f"expected letters of operands in the result of {subscripts!r}, got "
            f"{', '.join(sorted(unknown))}; name the axes of operands"
        )
    if len(set(result)) < len(result):
        raise DomainError(
            f"expected each letter of the result of {subscripts!r} once, got {result!r}; drop the "
            "repeated one"
        )


def _from_sublists(operands: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """The string for the form that alternates tensors and lists of integers."""
    pairs = len(operands) // 2
    tensors, lists = operands[0 : 2 * pairs : 2], operands[1 : 2 * pairs : 2]
    last = operands[2 * pairs :]

    def letters(numbers: Iterable[Any]) -> str:
        try:
            return "".join("..." if n is Ellipsis else _LETTERS[n] for n in numbers)
        except (IndexError, TypeError) as error:
            raise DomainError(
                f"expected lists of integers from 0 to 51 in einsum, got {numbers!r}; or write "
                f"the subscripts as a string such as {_FORM}"
            ) from error

    subscripts = ",".join(map(letters, lists))
    return subscripts + "".join(f"->{letters(each)}" for each in last), tuple(tensors)


def _parsed(subscripts: str, operands: Sequence[Tensor[Any]]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, with letters in place of `...`."""
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if any(not set(each.replace("...", "", 1)) <= set(_LETTERS) for each in (*terms, result)):
        raise DomainError(
            f"expected letters, '...', ',' and '->' in einsum, got {subscripts!r}; write "
            f"subscripts such as {_FORM}"
        )
    if len(terms) != len(operands):
        raise ShapeError(
            f"expected an operand for each of the {len(terms)} terms of {subscripts!r}, got "
            f"{len(operands)}; separate the terms by commas"
        )
    # Axes under `...` are aligned at their last.
    hidden = [
        x.ndim - len(term.replace("...", "")) if "..." in term else 0
        for term, x in zip(terms, operands, strict=True)
    ]
    spare = [letter for letter in _LETTERS if letter not in subscripts]
    broad = "".join(spare[: max(0, *hidden)])
    terms = [
        term.replace("...", broad[len(broad) - count :] if count > 0 else "")
        for term, count in zip(terms, hidden, strict=True)
    ]
    if arrow:
        return terms, result.replace("...", broad)
    once = [letter for letter, count in Counter("".join(terms)).items() if count == 1]
    return terms, broad + "".join(sorted(set(once) - set(broad)))


def _sizes(subscripts: str, terms: list[str], operands: Sequence[Tensor[Any]]) -> dict[str, int]:
    """The length of each letter; axes of one element broadcast."""
    sizes: dict[str, int] = {}
    for term, x in zip(terms, operands, strict=True):
        if len(term) != x.ndim:
            raise ShapeError(
                f"expected a tensor of {len(term)} axes for {term!r} of {subscripts!r}, got shape "
                f"{x.shape}; name each axis, or write '...'"
            )
        for letter, length in zip(term, x.shape, strict=True):
            known = sizes.get(letter, 1)
            if known != 1 and length not in (1, known):
                shapes = ", ".join(str(each.shape) for each in operands)
                raise ShapeError(
                    f"expected axes of one length for {letter!r} of {subscripts!r}, got {known} "
                    f"and {length}; the shapes are {shapes}"
                )
            sizes[letter] = length if known == 1 else known
    return sizes


# -- computing -----------------------------------------------------------------------------


def _without_ones(term: str, x: Tensor[B], sizes: dict[str, int]) -> tuple[str, Tensor[B]]:
    """Without the axes of length one that broadcast along a longer one of another operand."""
    stretched = [i for i, letter in enumerate(term) if x.shape[i] == 1 != sizes[letter]]
    if not stretched:
        return term, x
    kept = "".join(letter for i, letter in enumerate(term) if i not in stretched)
    return kept, squeeze(x, tuple(stretched))


def _without_repeats(term: str, x: Tensor[B]) -> tuple[str, Tensor[B]]:
    """The diagonal along letters that occur more than once."""
    for letter, count in Counter(term).items():
        if count == 1:
            continue
        places = [i for i, each in enumerate(term) if each == letter]
        rest = [i for i in range(len(term)) if i not in places]
        x = transpose(x, (*rest, *places))
        along = np.arange(x.shape[-1])
        x = x[(..., *(along for _ in places))]
        term = "".join(term[i] for i in rest) + letter
    return term, x


def _product(factors: list[tuple[str, Tensor[B]]], result: str) -> tuple[str, Tensor[B]]:
    """The product of all operands, summed over most letters that the result does not have."""
    waiting = list(factors)
    for places in _path(waiting, result):
        taken = [waiting.pop(place) for place in sorted(places, reverse=True)]
        needed = set(result).union(*(term for term, _ in waiting))
        while len(taken) > 1:
            right, left = taken.pop(), taken.pop()
            rest = needed.union(*(term for term, _ in taken))
            taken.append(_multiplied(left, right, rest))
        waiting += taken
    return waiting[0]


def _path(terms: Sequence[tuple[str, Tensor[Any]]], result: str) -> list[tuple[int, ...]]:
    """Which operands to multiply next; the product goes to the end."""
    if len(terms) < 3:
        return [tuple(range(len(terms)))]
    subscripts = ",".join(term for term, _ in terms)
    # Of the arrays only the shapes are read.
    shapes = [np.broadcast_to(np.float32(0), x.shape) for _, x in terms]
    known = "".join(letter for letter in result if letter in subscripts)
    path, _ = np.einsum_path(f"{subscripts}->{known}", *shapes, optimize="greedy")
    return [tuple(step) for step in path[1:]]


def _summed(term: str, x: Tensor[B], needed: set[str]) -> tuple[str, Tensor[B]]:
    """Summed over the letters that nothing else has."""
    axes = tuple(i for i, letter in enumerate(term) if letter not in needed)
    if not axes:
        return term, x
    return "".join(letter for letter in term if letter in needed), total(x, axis=axes)


def _arranged(term: str, x: Tensor[B], wanted: str) -> Tensor[B]:
    """With the axes in another order."""
    return x if term == wanted else transpose(x, [term.index(letter) for letter in wanted])


def _multiplied(
    factor: tuple[str, Tensor[B]], other: tuple[str, Tensor[B]], needed: set[str]
) -> tuple[str, Tensor[B]]:
    """The product of two operands, summed over the letters that are not needed."""
    (left, x), (right, y) = factor, other
    left, x = _summed(left, x, needed | set(right))
    right, y = _summed(right, y, needed | set(left))
    shared = [letter for letter in left if letter in right]
    batch = "".join(letter for letter in shared if letter in needed)
    inner = "".join(letter for letter in shared if letter not in needed)
    rows = "".join(letter for letter in left if letter not in shared)
    columns = "".join(letter for letter in right if letter not in shared)
    x = _arranged(left, x, batch + rows + inner)
    y = _arranged(right, y, batch + inner + columns)
    b, m, k = _lengths(x.shape, len(batch), len(rows))
    n = y.shape[len(batch) + len(inner) :]
    if not inner:  # nothing to sum
        product = reshape(x, (*b, *m, *(1 for _ in n))) * reshape(y, (*b, *(1 for _ in m), *n))
        return batch + rows + columns, product
    product = matmul(
        reshape(x, (*b, math.prod(m), math.prod(k))), reshape(y, (*b, math.prod(k), math.prod(n)))
    )
    return batch + rows + columns, reshape(product, (*b, *m, *n))


def _lengths(shape: Shape, batch: int, rows: int) -> tuple[Shape, Shape, Shape]:
    return shape[:batch], shape[batch : batch + rows], shape[batch + rows :]
