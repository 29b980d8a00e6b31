"""`born.fused`: values, gradients of any order, what it refuses, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
import pytest

import born
from born import fusion, ops
from born.autodiff import Autodiff, backward, grad, hvp
from born.backend import Backend
from born.errors import (
    BackendMismatchError,
    DTypeError,
    FormulaError,
    OperandError,
    ShapeError,
    TapeError,
)
from born.fusion import (
    clip,
    cos,
    derivative,
    erf,
    exp,
    expm1,
    gelu,
    log,
    log1p,
    maximum,
    minimum,
    relu,
    sigmoid,
    silu,
    sin,
    softplus,
    sqrt,
    tanh,
    trace_formula,
    where,
)
from born.raw import HostArray

T: TypeAlias = "born.Tensor[Any]"

STEP: Final = 1e-6
"""Of central differences in float64: they err by its square, and by rounding over it."""
CLOSE: Final = 1e-7
FLOAT32: Final = 2e-6
"""A few units in the last place, of results of the size of one."""


@born.fused
def swish(x: Any, *, beta: float) -> Any:
    return x * sigmoid(beta * x)


@born.fused
def mixed(x: Any, y: Any, keep: Any, *, beta: float, n: float = 2.0) -> Any:
    z = gelu(x * beta) + tanh(y) * where(keep, x, 0.5)
    powers = z**3 + (x * x + 0.1) ** n / (1 + y * y)
    return powers + maximum(x, y) + clip(x, -0.5, y) + relu(y) * softplus(x)


@born.fused
def every(x: Any, y: Any) -> Any:
    a = exp(x) + expm1(y) * log(x * x + 1.0) - log1p(y * y)
    b = sin(x) * cos(y) + erf(x) / (2.0 + tanh(y)) + silu(x) - sqrt(y * y + 1.0)
    return a * b + minimum(x, y) ** 2 + where((x > y) & (x < 2.0), -x, abs(y))


def drawn(backend: Backend, *shape: int, seed: int = 0, dtype: str = "float64") -> T:
    values = np.random.default_rng(seed).standard_normal(shape)
    return born.tensor(values, backend).astype(dtype)


def differences(function: Callable[[T], T], x: T) -> HostArray:
    """The gradient of a sum by central differences."""
    at = x.numpy()
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[place] = STEP
        up, down = (function(born.tensor(at + s, x.backend)).sum().item() for s in (step, -step))
        found[place] = (up - down) / (2 * STEP)
    return found


def gradient(function: Callable[[T], T], x: T) -> HostArray:
    """The gradient of a sum."""

    def total(x: T) -> T:
        return function(x).sum()

    return grad(total)(x).numpy()


SHAPES: Final = [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (4,)), ((), (2, 3)), ((0, 4), (4,))]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_gradients_are_those_of_differences(shapes: Any, autodiff: Autodiff[Backend]) -> None:
    x, y = (drawn(autodiff, *shape, seed=i) for i, shape in enumerate(shapes))

    def of_x(x: T) -> T:
        return every(x, y)

    def of_y(y: T) -> T:
        return every(x, y)

    for function, at in ((of_x, x), (of_y, y)):
        found = gradient(function, at)
        np.testing.assert_allclose(found, differences(function, at), atol=CLOSE)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_one_pass_computes_what_operations_do(dtype: str, autodiff: Autodiff[Backend]) -> None:
    x, y = drawn(autodiff, 5, 7, dtype=dtype), drawn(autodiff, 7, seed=1, dtype=dtype)
    keep = born.tensor(np.arange(5).reshape(5, 1) % 2 == 0, autodiff)
    wide = "float32" if dtype.endswith("16") else dtype
    found = mixed(x, y, keep, beta=1.5)
    expected = mixed.__wrapped__(x.astype(wide), y.astype(wide), keep, beta=1.5, n=2.0)
    assert found.dtype == x.dtype
    tolerance = {"float64": 1e-14, "float32": FLOAT32, "float16": 2e-3, "bfloat16": 1e-2}[dtype]
    shown, wanted = (each.astype("float64").numpy() for each in (found, expected))
    np.testing.assert_allclose(shown, wanted, rtol=tolerance, atol=tolerance)


def test_second_derivatives(backend: Backend) -> None:
    nested = Autodiff(Autodiff(backend))
    x, y, v = drawn(nested, 3, 4), drawn(nested, 4, seed=1), drawn(nested, 3, 4, seed=2)
    step = 1e-5

    def loss(x: T) -> T:
        return (every(x, y) * every(y, 0.3)).sum()

    product = hvp(loss)(x, v).numpy()
    up, down = grad(loss)(x + v * step).numpy(), grad(loss)(x - v * step).numpy()
    np.testing.assert_allclose(product, (up - down) / (2 * step), atol=1e-6)


def test_layouts_do_not_matter(autodiff: Autodiff[Backend]) -> None:
    x, y = drawn(autodiff, 6, 4), drawn(autodiff, 4, 6, seed=1)
    flipped = every(x[::2], y.T[::2])
    np.testing.assert_array_equal(flipped.numpy(), every(x[::2].copy(), y.T[::2].copy()).numpy())


def test_off_the_tape_and_of_numbers(backend: Backend) -> None:
    x = drawn(backend, 3)
    np.testing.assert_array_equal(every(x, 0.3).numpy(), every(x, x * 0 + 0.3).numpy())
    np.testing.assert_array_equal(swish(beta=2.0, x=x).numpy(), swish(x, beta=2).numpy())
    learned = drawn(backend, 1, seed=3)
    np.testing.assert_allclose(
        swish(x, beta=learned).numpy(), swish(x, beta=learned.numpy().item()).numpy(), rtol=1e-15
    )
    assert type(every.__wrapped__(1.0, 2.0)) is float


def test_a_gradient_reaches_a_learned_scalar(autodiff: Autodiff[Backend]) -> None:
    x, beta = drawn(autodiff, 3, 4), drawn(autodiff, seed=4)

    def of_beta(beta: T) -> T:
        return swish(x, beta=beta)

    found = gradient(of_beta, beta)
    np.testing.assert_allclose(found, differences(of_beta, beta), atol=CLOSE)


@born.fused
def chosen(x: Any, *, bound: float) -> Any:
    beyond = (bound > 1.0) | (bound < -1.0)
    return where(beyond & (x > 0.0) & ~((x > 9.0) | (bound > 99.0)), 3.0 * x, x * x)


@pytest.mark.parametrize(("bound", "slope"), [(0.5, 4.0), (-2.0, 3.0)])
def test_a_comparison_of_numbers_may_choose(
    bound: float, slope: float, autodiff: Autodiff[Backend]
) -> None:
    x = born.tensor([2.0], autodiff)
    assert gradient(lambda x: chosen(x, bound=bound), x).tolist() == [slope]


def test_equal_functions_share_what_is_compiled() -> None:
    def line(x: Any) -> Any:
        return x * 2.0 + 1.0

    first, second = (trace_formula(line, {"x": False}) for _ in range(2))
    assert first is second


# -- what is kept --------------------------------------------------------------------------

One: TypeAlias = Callable[[Any], Any]
Two: TypeAlias = Callable[[Any, Any], Any]
Three: TypeAlias = Callable[[Any, Any, Any], Any]

KEPT: Final[dict[str, tuple[One | Two | Three, str, int]]] = {
    "a result that suffices": (lambda x: tanh(x), "x", 1),
    "one result instead of three arguments": (lambda x, y, z: sigmoid(x + y + z), "x y z", 1),
    "an argument, from which all is computed again": (lambda x: gelu(x), "x", 1),
    "an argument that several parts read": (lambda x: x * exp(x), "x", 1),
    "nothing": (lambda x, y: x + 2.0 * y, "x y", 0),
}


@pytest.mark.parametrize("case", KEPT)
def test_fewest_bytes_are_kept(case: str) -> None:
    function, arrays, kept = KEPT[case]
    formula = trace_formula(function, dict.fromkeys(arrays.split(), False))
    count = len(formula.arrays)
    how = derivative(formula, [True] * count, [1.0] * count)
    assert len(how.kept_inputs) + len(how.kept_outputs) == kept, how.formula
    assert len(how.formula.arrays) == 1 + kept


def test_small_inputs_are_cheaper_than_a_result() -> None:
    def ratio(x: Any, y: Any) -> Any:
        return x / y

    formula = trace_formula(ratio, {"x": False, "y": False})
    assert derivative(formula, [True, True], [0.01, 0.01]).kept_outputs == ()
    assert derivative(formula, [True, True], [1.0, 0.01]).kept_inputs in ((0, 1), (1,))


# -- what is refused -----------------------------------------------------------------------


def branch(x: Any) -> Any:
    return x if x > 0 else -x


def foreign(x: Any) -> Any:
    return np.exp(x)


def truth(x: Any) -> Any:
    return x > 0


def pair(x: Any) -> Any:
    return x, x


def variadic(*xs: Any) -> Any:
    return xs[0]


def centred(x: Any) -> Any:
    return x - fusion.mean(x)


_calls: list[int] = []


def remembering(x: Any) -> Any:
    _calls.append(1)
    return x * float(len(_calls))


REFUSED: Final[dict[Callable[..., Any], str]] = {
    branch: r"test_fused.py, line \d+ \(return x if x > 0.*a formula cannot branch",
    foreign: r"test_fused.py, line \d+ \(return np.exp\(x\)\).*use exp of born.fusion",
    truth: r"\(truth\): expected a formula that returns one array, got a truth value",
    pair: r"returns one array, got \(",
    variadic: r"expected a function with named arguments, at least one, got \*xs",
    remembering: "keeps something from call to call",
    centred: "formula of each element, got one that uses sum",
}


@pytest.mark.parametrize("function", REFUSED, ids=lambda function: function.__name__)
def test_what_is_no_formula_is_refused_where_it_is_defined(function: Callable[..., Any]) -> None:
    with pytest.raises(FormulaError, match=REFUSED[function]):
        born.fused(function)


def test_operands_that_do_not_fit_are_refused(backend: Backend) -> None:
    x = drawn(backend, 3)
    with pytest.raises(DTypeError, match=r"got float64 \(x\) and float32 \(y\)"):
        every(x, x.astype("float32"))
    with pytest.raises(DTypeError, match="floating or bool tensor as y of every, got int64"):
        every(x, x.astype("int64"))
    with pytest.raises(ShapeError, match=r"got x \(3,\), y \(2,\)"):
        every(x, x[:2])
    with pytest.raises(OperandError, match="at least one tensor in every"):
        every(1.0, 2.0)
    with pytest.raises(OperandError, match="expected the arguments x, beta of swish"):
        swish(x)
    with pytest.raises(OperandError, match="expected the arguments x, beta of swish"):
        swish(x, 1.5)
    with pytest.raises(OperandError, match="expected a tensor or a Python number in every"):
        every(x, "two")  # type: ignore[arg-type]  # it is wrong on purpose
    with pytest.raises(BackendMismatchError, match="one backend object"):
        every(x, drawn(born.get_backend("numpy"), 3))


def test_program_and_source_are_shown(backend: Backend) -> None:
    @born.fused
    def shown(x: Any, *, beta: float) -> Any:
        return x * tanh(beta * x) + 0.25

    assert str(shown.program).splitlines() == [
        "shown(x)",
        "  r0 = mul(s0, x)",
        "  r1 = tanh(r0)",
        "  r2 = mul(x, r1)",
        "  r3 = add(r2, 0.25)",
        "  return r3",
    ]

    def loss(x: T) -> T:
        return shown(x, beta=1.0).sum()

    grad(loss)(drawn(Autodiff(backend), 3))
    assert "tanh" in shown.source
    assert repr(shown) == "<fused shown(x, beta)>"


def test_values_changed_since_are_noticed(autodiff: Autodiff[Backend]) -> None:
    x = drawn(autodiff, 3)
    x.requires_grad = True
    with autodiff.tape:
        loss = ops.sum(every(x, 0.5))
    x.raw.touch()
    with pytest.raises(TapeError, match="changed since"):
        backward(loss)
