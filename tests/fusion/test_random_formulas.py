"""Formulas drawn at random: values as in NumPy's double, derivatives as central differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import born
from born import fusion
from born.autodiff import Autodiff, grad
from born.raw import HostArray, Shape

# Smooth, and of the size of one whatever they are given, so that differences show the derivative.
UNARY: Final[dict[str, Callable[[Any], Any]]] = {
    "tanh": fusion.tanh,
    "sigmoid": fusion.sigmoid,
    "erf": fusion.erf,
    "sin": fusion.sin,
    "cos": fusion.cos,
    "softplus": fusion.softplus,
    "gelu": fusion.gelu,
    "silu": fusion.silu,
    "neg": lambda x: -x,
    "exp": lambda x: fusion.exp(fusion.tanh(x)),
    "expm1": lambda x: fusion.expm1(fusion.sin(x)),
    "log": lambda x: fusion.log(x * x + 1.0),
    "log1p": lambda x: fusion.log1p(x * x),
    "sqrt": lambda x: fusion.sqrt(x * x + 0.5),
    "cube": lambda x: fusion.tanh(x) ** 3,
    "power": lambda x: (fusion.sigmoid(x) + 0.5) ** 1.7,
}
BINARY: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: fusion.tanh(x) * y,
    "div": lambda x, y: x / (y * y + 1.0),
    "pow": lambda x, y: (fusion.sigmoid(x) + 0.5) ** fusion.tanh(y),
    "where": lambda x, y: fusion.where(fusion.cos(y) > 2.0, y, x),
}


@dataclass(frozen=True)
class Drawn:
    """A formula of x, y and a scalar, as a list of steps."""

    steps: tuple[tuple[str, int, int], ...]

    def __call__(self, x: Any, y: Any, s: float) -> Any:
        values = [x, y, x * s]
        for name, one, other in self.steps:
            a, b = values[-1 - one % len(values)], values[-1 - other % len(values)]
            values.append(UNARY[name](a) if name in UNARY else BINARY[name](a, b))
        return values[-1] + x * y


FORMULAS: Final = st.builds(
    Drawn,
    st.lists(
        st.tuples(st.sampled_from([*UNARY, *BINARY]), st.integers(0, 4), st.integers(0, 4)),
        min_size=1,
        max_size=7,
    ).map(tuple),
)
SHAPES: Final = st.sampled_from([((3, 4), (3, 4)), ((4,), (3, 4)), ((3, 1), (4,)), ((), (2,))])

STEP: Final = 1e-5
DIFFERENCES: Final = 1e-6
"""Of slopes and curvatures of the size of ten at most, by steps whose square is 1e-10."""


def _drawn(draw: Any, shape: Shape) -> HostArray:
    return np.asarray(draw.uniform(-1.5, 1.5, shape))


@given(formula=FORMULAS, shapes=SHAPES, dtype=st.sampled_from(["float64", "float32"]))
@settings(max_examples=12)  # a compiled loop takes a second
def test_random_formula(
    formula: Drawn, shapes: tuple[Shape, Shape], dtype: str, backend_name: str
) -> None:
    backend = Autodiff(born.get_backend(backend_name))
    draw: Any = np.random.default_rng(len(formula.steps))
    x, y = _drawn(draw, shapes[0]), _drawn(draw, shapes[1])

    def named(x: Any, y: Any, *, s: float) -> Any:
        return formula(x, y, s)

    function = born.fused(named)
    plain = born.get_backend("numpy")
    exact = formula(born.tensor(x, plain), born.tensor(y, plain), 0.7).numpy()

    def value(x: HostArray, y: HostArray) -> HostArray:
        tensors = (born.tensor(each.astype(dtype), backend) for each in (x, y))
        return function(*tensors, s=0.7).numpy()

    tolerance = 1e-12 if dtype == "float64" else 1e-4  # float32 loses digits where terms cancel
    np.testing.assert_allclose(value(x, y), exact, rtol=tolerance, atol=tolerance)
    if dtype == "float32":
        return
    for place in range(2):
        tensors = [born.tensor(each, backend) for each in (x, y)]

        def total(varied: Any, place: int = place, tensors: Any = tensors) -> Any:
            given = list(tensors)
            given[place] = varied
            return function(*given, s=0.7).sum()

        slope = grad(total)(tensors[place]).numpy()
        direction = draw.standard_normal(slope.shape)
        moved: list[list[HostArray]] = [[x, y], [x, y]]
        moved[0][place] = moved[0][place] + STEP * direction
        moved[1][place] = moved[1][place] - STEP * direction
        difference = (value(*moved[0]).sum() - value(*moved[1]).sum()) / (2 * STEP)
        np.testing.assert_allclose((slope * direction).sum(), difference, atol=DIFFERENCES)
