"""Convolutions without windows give what those with windows give, for vectors of every length."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest

from born.backend import Window
from born.backend.threads import Pool
from born.raw import HostArray, RawTensor
from born_numpy.convolution import CUTTING, Convolution
from tests.fusion.kernels import NEEDS_NUMBA, numba_backend

pytest.importorskip("numba", reason=NEEDS_NUMBA)

if TYPE_CHECKING:
    from born_numba import convolution
else:
    convolution = importlib.import_module("born_numba.convolution")

EPS: Final = {"float32": 2**-23, "float64": 2**-52}

KINDS: Final = [("float32", 32), ("float32", 64), ("float64", 64)]
"""Dtypes and bytes of a vector: what one processor does not have, LLVM puts together."""


@dataclass(frozen=True)
class Case:
    """Shapes of images and kernels, and how these slide."""

    images: tuple[int, int, int, int]
    outputs: int
    kernel: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def window(self) -> Window:
        """What slides."""
        return Window.of(self.kernel, 1, self.padding, self.dilation)


CASES: Final = [
    Case((2, 3, 5, 6), 4, (3, 2), (1, 1)),
    Case((3, 2, 9, 9), 11, (3, 3), (2, 0)),  # a block of outputs and some, full padding
    Case((2, 6, 7, 5), 9, (2, 3), (0, 1), groups=3),
    Case((1, 4, 6, 7), 4, (3, 3), (2, 1), (2, 1), groups=4),  # one output a group
    Case((2, 2, 1, 2500), 3, (1, 5), (0, 2)),  # a row longer than the room for results
    Case((1, 2, 70, 40), 17, (3, 3), (1, 1)),  # rows that cross from room to room
    Case((40, 3, 30, 28), 9, (3, 3), (1, 1)),  # a batch in pieces
    Case((1, 40, 14, 14), 40, (3, 3), (1, 1)),  # one image, outputs in pieces
]


def draw(shape: tuple[int, ...], dtype: str, seed: int) -> HostArray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def arrays(case: Case, dtype: str) -> tuple[HostArray, HostArray, HostArray, HostArray]:
    """Images, kernels, what is added, and a gradient of what comes out."""
    n, c, h, w = case.images
    x = draw(case.images, dtype, 0)
    weight = draw((case.outputs, c // case.groups, *case.kernel), dtype, 1)
    g = draw((n, case.outputs, *case.window.counts((h, w))), dtype, 3)
    return x, weight, draw((case.outputs,), dtype, 2), g


def results(made: Convolution, bias: HostArray, g: HostArray) -> list[Any]:
    return [made.forward(bias), *made.gradients(g, True, True, True)]


@pytest.mark.parametrize(("dtype", "width"), KINDS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_direct_convolution(case: Case, dtype: str, width: int) -> None:
    x, weight, bias, g = arrays(case, dtype)
    direct = convolution.Direct(x, weight, case.window, case.groups, CUTTING, width)
    exact = [each.astype(np.float64) for each in (x, weight, bias, g)]
    plain = Convolution(exact[0], exact[1], case.window, case.groups, CUTTING)
    of_kernels = g.size / case.outputs
    terms = weight[0].size, weight[0].size * case.outputs, of_kernels, of_kernels
    for found, expected, count in zip(
        results(direct, bias, g), results(plain, exact[2], exact[3]), terms, strict=True
    ):
        assert found.dtype == dtype
        # Sums of so many products of about one, whose errors add up as a random walk.
        tolerance = 24 * EPS[dtype] * count**0.5
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_results_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[6]
    x, weight, bias, g = arrays(case, "float32")
    found: list[list[Any]] = []
    for workers in (1, 3):
        monkeypatch.setattr(convolution, "POOL", Pool(workers))
        direct = convolution.Direct(x, weight, case.window, case.groups, CUTTING)
        found.append(results(direct, bias, g))
    for one, three in zip(*found, strict=True):
        assert one.tobytes() == three.tobytes()


@pytest.mark.parametrize("odd", [np.inf, np.nan])
@pytest.mark.parametrize("place", ["images", "kernels", "gradient"])
def test_what_is_not_finite_stays_where_it_belongs(place: str, odd: float) -> None:
    case = Case((2, 2, 5, 6), 3, (3, 3), (1, 1))
    x, weight, bias, g = arrays(case, "float32")
    {"images": x, "kernels": weight, "gradient": g}[place][0, 0, 0, 0] = odd
    made = [kind(x, weight, case.window, 1, CUTTING) for kind in (convolution.Direct, Convolution)]
    with np.errstate(all="ignore"):
        for found, expected in zip(*(results(each, bias, g) for each in made), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "window", "direct"),
    [
        ((14, 14), Window.of(3, 1, 1), True),
        ((1, 500), Window.of((1, 5)), True),
        ((14, 14), Window.of(3, 2, 1), False),  # a stride
        ((14, 14), Window.of(1), False),  # a product of matrices
        ((14, 14), Window.of(3, 1, 3), False),  # more padding than a kernel reaches
        ((3, 3), Window.of(3), False),  # one result a line
    ],
    ids=str,
)
def test_which_convolutions_are_direct(size: tuple[int, int], window: Window, direct: bool) -> None:
    assert convolution.is_direct(size, window, np.dtype(np.float32)) is direct


@pytest.mark.parametrize("stride", [1, 2])
def test_arrays_that_may_not_be_written(stride: int) -> None:
    case = CASES[0]
    x, weight, bias, g = arrays(case, "float32")
    window = Window.of(case.kernel, stride, case.padding)
    g = np.ascontiguousarray(g[:, :, ::stride, ::stride])
    for each in (x, weight, bias, g):
        each.flags.writeable = False
    backend = numba_backend()
    images, kernels = RawTensor(x), RawTensor(weight)
    y = backend.conv2d(images, kernels, RawTensor(bias), window)
    found = backend.conv2d_gradients(RawTensor(g), images, kernels, window, 1, True, True, True)
    expected = results(Convolution(x, weight, window, 1, CUTTING), bias, g)
    for one, other in zip((y, *found), expected, strict=True):
        assert one is not None
        np.testing.assert_allclose(one.array.ravel(), other.ravel(), rtol=1e-5, atol=1e-5)


def test_loops_of_each_form_have_a_name_of_their_own() -> None:
    # Numba links what different processes have compiled by name.
    kernels, tiles = (
        importlib.import_module(f"born_numba.{name}") for name in ("kernels.convolution", "tiles")
    )
    names = [
        loop.py_func.__name__
        for form in tiles.forms(64)
        for loop in kernels.loops(form, np.dtype(np.float32))
    ]
    assert len(set(names)) == 4
