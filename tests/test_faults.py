"""What programs that once went wrong without a word, or with a misleading one, give now.

Each row is such a program, on NumPy's arrays, and the value that is right or the error that says
what to do. The topics have tests of their own for others of the kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
import pytest

import born
from born import nn, ops, optim
from born.autodiff import Autodiff, backward, grad
from born.backend import Backend
from born.errors import BornError, DTypeError, OperandError, ParameterError, ShapeError, TapeError

AD = Autodiff[Backend]


def t(b: AD, x: Any, dtype: str = "float64") -> Any:
    return born.tensor(np.array(x, dtype), b)


def leaf(b: AD, *values: float, dtype: str = "float64") -> Any:
    x = t(b, values, dtype)
    x.requires_grad = True
    return x


def differentiated(function: Callable[[Any], Any], argnum: Any = 0) -> Callable[[Any], Any]:
    of_any: Any = grad
    found: Callable[[Any], Any] = of_any(function, argnum)
    return found


def gan(b: AD) -> Any:
    g, d = leaf(b, 2.0), leaf(b, 3.0)
    with b.tape:
        fake = g * 5.0
        d_loss = (d * fake.detach()).sum()
    d_loss.backward()
    with b.tape:
        g_loss = (d * fake).sum()
    return b.to_numpy(backward(g_loss)[g]).tolist()


def stepped_between(b: AD) -> object:
    p = nn.Parameter(t(b, [2.0]), "p")
    with b.tape:
        loss = (p * p * p).sum()
    optim.SGD([p], lr=0.5).step({p.raw: born.ones(1, b, "float64").raw})
    return backward(loss)


def penalty(b: AD) -> Any:
    w, x = leaf(b, 3.0), t(b, [2.0])
    with b.tape:
        slope = differentiated(lambda y: (w * y * y).sum())(x)
        loss = (slope * slope).sum()
    return b.to_numpy(backward(loss)[w]).tolist()  # 2 (2 w x) 2 x


def count_of_a_half_mean(b: AD) -> float:
    x = leaf(b, *[1.0] * 70_000, dtype="float16")
    with b.tape:
        loss = x.mean()
    return float(b.to_numpy(backward(loss)[x])[0])


def halves_taken_often(b: AD) -> float:
    x = leaf(b, 1.0, dtype="float16")
    with b.tape:
        loss = ops.take(x, t(b, [0] * 5000, "int64")).sum()
    return float(b.to_numpy(backward(loss)[x])[0])


def shared_gradients(b: AD) -> float:
    p, q = leaf(b, 1.0), leaf(b, 2.0)
    with b.tape:
        loss = ((p + q) ** 2).sum()
    gradients = backward(loss)
    gradients[p].array[...] *= 0.5
    return float(gradients[q].array[0])


def dropped_parameter(b: AD) -> None:
    layer: Any = nn.Linear(1, 1, b)
    layer.weight *= 0.5


VALUES: Final[dict[str, tuple[Callable[[AD], Any], Any]]] = {
    "A: the loop of a GAN": (gan, [15.0]),
    "B: a gradient penalty on one level": (penalty, [96.0]),
    "B: a second derivative on one level": (
        lambda b: differentiated(differentiated(ops.sin))(t(b, 0.5)).item(),
        -math.sin(0.5),
    ),
    "C: a mean along the first axis": (
        lambda b: (
            abs(
                t(b, np.full((1_000_000, 2), 1000.1), "float32").mean(axis=0).numpy() - 1000.1
            ).max()
            < 1e-4
        ),
        True,
    ),
    "C: the count of a mean in halves": (count_of_a_half_mean, float(np.float16(1 / 70_000))),
    "C: a row that is taken 5000 times": (halves_taken_often, 5000.0),
    "C: random halves": (lambda b: float(born.rand(100_000, b, "float16").max()) < 1.0, True),
    "C: layer_norm of large numbers": (
        lambda b: ops.layer_norm(t(b, [[1e38, -1e38]], "float32")).tolist(),
        [[1.0, -1.0]],
    ),
    "D: a double from a number": (lambda b: born.tensor(0.1, b, dtype="float64").item(), 0.1),
    "D: an integer beyond float32": (
        lambda b: born.tensor([16777217], b, dtype="int64").tolist(),
        [16777217],
    ),
    "D: another byte order": (lambda b: t(b, [1.5], ">f4").dtype, np.dtype("=f4")),
    "D: an empty mask": (
        lambda b: born.zeros((0, 5), b)[np.zeros((0, 5), bool)].shape,
        (0,),
    ),
    "F: gradients are two arrays": (shared_gradients, 6.0),
    "H: a NumPy integer as a size": (lambda b: born.zeros(cast("int", np.int64(2)), b).shape, (2,)),
    "J: a format": (lambda b: f"{t(b, 1.23456):.3f}", "1.235"),
    "J: fields of a config": (lambda b: optim.Adam([nn.Parameter(t(b, [1.0]))], lr=0.5).lr, 0.5),
    "J: integers": (
        lambda b: [x.dtype.name for x in (born.tensor([1], b), born.arange(2, backend=b))],
        ["int64"] * 2,
    ),
    "J: axes as a tuple": (lambda b: t(b, [[1.0, 2.0]]).transpose((1, 0)).shape, (2, 1)),
    "J: // and %": (lambda b: ((t(b, -7.0) // 2.0).item(), (t(b, -7.0) % 3.0).item()), (-4.0, 2.0)),
    "J: np.sum and np.exp": (lambda b: np.sum(np.exp(t(b, [0.0, 0.0]))).item(), 2.0),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_that_were_wrong(case: str, autodiff: AD) -> None:
    program, expected = VALUES[case]
    assert (
        program(autodiff) == pytest.approx(expected)
        if isinstance(expected, float)
        else program(autodiff) == expected
    )


ERRORS: Final[dict[str, tuple[Callable[[AD], Any], type[BornError], str]]] = {
    "A: float(x) inside of grad": (
        lambda b: differentiated(lambda x: x * float(x))(t(b, 2.0)),
        TapeError,
        r"ops\.stack",
    ),
    "B: a step between forward and backward": (stepped_between, TapeError, "'p'.*changed"),
    "G: a set of parameters": (
        lambda b: optim.SGD({nn.Parameter(t(b, [1.0]))}, lr=0.1),
        ParameterError,
        "expected",
    ),
    "G: a parameter times a number": (dropped_parameter, ParameterError, r"assign\(value\)"),
    "H: an axis of no axes": (lambda b: t(b, 1.0).sum(axis=0), ShapeError, "expected no axis"),
    "I: integers in mean": (lambda b: t(b, [1], "int64").mean(), DTypeError, "in mean, got int64"),
    "I: a slice of step 0": (lambda b: t(b, [1.0])[::0], BornError, "step"),
    "I: eye(-1)": (lambda b: born.eye(-1, b), ShapeError, "non-negative lengths"),
    "I: zeros(2**63)": (lambda b: born.zeros(2**63, b), ShapeError, "at most"),
    "I: a ragged index": (lambda b: t(b, [1.0])[[[0], [0, 1]]], ShapeError, "ragged"),
    "I: argnum of a name": (
        lambda b: differentiated(ops.sin, (0, "x"))(t(b, 1.0)),
        OperandError,
        "one integer",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_that_say_what_to_do(case: str, autodiff: AD) -> None:
    program, error, words = ERRORS[case]
    with pytest.raises(error, match=words):
        program(autodiff)


def test_a_list_that_contains_itself(backend: Backend) -> None:
    looped: list[Any] = []
    looped.append(looped)
    with pytest.raises(ShapeError, match="contains itself"):
        born.tensor(looped, backend)
