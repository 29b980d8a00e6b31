"""The table of functions: values against NumPy's, derivatives by differences and PyTorch."""

from __future__ import annotations

import inspect
import math
import sys
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff, grad
from born.backend import OPERATIONS, ArrayBackend, Backend
from born.errors import (
    DomainError,
    DTypeError,
    LinAlgError,
    MissingPackageError,
    OperandError,
    ShapeError,
    TapeError,
)
from born.raw import HostArray, RawTensor
from born_numpy.special import special
from tests.operations.computing import computing
from tests.operations.differences import TOLERANCE, Objective, central_difference
from tests.operations.drawing import Case
from tests.operations.special_points import LARGE, LEFT, LINE, RIGHT
from tests.operations.test_values import EPSILON, rounded

pytest.importorskip("scipy", reason="SciPy is not installed: the scipy extra")
from tests.operations.functions import FUNCTIONS, Function, scipy_special  # which asks for SciPy

NAMES: Final = list(FUNCTIONS)
DIFFERENTIABLE: Final = [name for name, function in FUNCTIONS.items() if function.orders > 0]
IN_TORCH: Final = [name for name in DIFFERENTIABLE if FUNCTIONS[name].torch is not None]


def tensors(function: Function, backend: Backend, dtype: str = "float64") -> list[Any]:
    """The inputs as tensors."""
    return [born.tensor(rounded(x, dtype), backend) for x in function.inputs]


def called(function: Function, *xs: Any) -> Any:
    """The result, or a skip where a device's library lacks the function."""
    try:
        return function.ours(*xs)
    except MissingPackageError as error:
        if "expected CuPy to have" in str(error):
            pytest.skip(str(error))
        raise


def case_of(function: Function) -> Case:
    """The call as one of those that the tables of operations draw."""

    def apply(b: Backend, *raws: RawTensor) -> RawTensor:
        raw: RawTensor = called(function, *(born.Tensor(raw, b) for raw in raws)).raw
        return raw

    return Case(function.inputs, apply, function.reference)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values(name: str, backend_name: str) -> None:
    function, backend = FUNCTIONS[name], computing(backend_name)
    for dtype, epsilon in EPSILON.items():
        given = tensors(function, backend, dtype)
        found = called(function, *given)
        exact = [x.numpy().astype(np.float64) for x in given]
        expected = np.asarray(function.reference(*exact))
        assert found.shape == expected.shape
        mine = found.numpy()
        if expected.dtype.kind in "bi":
            assert found.dtype.kind == expected.dtype.kind
            np.testing.assert_array_equal(mine, expected)
            continue
        assert str(found.dtype) == dtype
        # Rounding an argument of a composed function costs as much as rounding the result.
        np.testing.assert_allclose(
            mine.astype(np.float64),
            expected,
            rtol=function.rounding * epsilon,
            atol=function.rounding * epsilon * float(np.nanmax(np.abs(expected), initial=0.0)),
        )


@pytest.mark.parametrize("name", [name for name in NAMES if FUNCTIONS[name].integers])
def test_integers_and_bools_are_those_of_numpy(name: str, backend_name: str) -> None:
    function, backend = FUNCTIONS[name], computing(backend_name)
    for dtype in ("int64", "int32", "uint8", "bool"):
        arrays = [rounded(x, dtype) for x in function.inputs]
        found = function.ours(*(born.tensor(x, backend) for x in arrays))
        expected = np.asarray(function.reference(*arrays))
        assert found.dtype == (np.int64 if expected.dtype.kind == "u" else expected.dtype) or (
            found.dtype == expected.dtype
        )
        np.testing.assert_array_equal(found.numpy(), expected)


_PAD_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "linear_ramp": {"end_values": (20, -3)},
    "maximum": {},
    "mean": {"stat_length": 3},
    "minimum": {"stat_length": (1, 2)},
    "reflect": {"reflect_type": "odd"},
}


def _padding(mode: str, options: dict[str, Any]) -> Callable[[Any, Any], Any]:
    return lambda of, x: of.pad(x, 3, mode=mode, **options)


INTEGERS: Final = np.array([[7, -7, 7, -7, 0, 6, 5], [3, 3, -3, -3, 2, -2, 0]])

OF_INTEGERS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "fmod": lambda of, x: of.fmod(x[0], x[1]),
    "fmod by a number": lambda of, x: of.fmod(x, -3),
    **{f"pad: {mode}": _padding(mode, options) for mode, options in _PAD_OPTIONS.items()},
}
"""What NumPy computes of signed integers as integers."""


@pytest.mark.parametrize("name", OF_INTEGERS)
def test_signed_integers_are_those_of_numpy(name: str, backend_name: str) -> None:
    backend, call = computing(backend_name), OF_INTEGERS[name]
    with np.errstate(divide="ignore"):
        expected = call(np, INTEGERS)
        found = call(ops, born.tensor(INTEGERS, backend))
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives_are_the_slopes(name: str, backend_name: str) -> None:
    function, backend = FUNCTIONS[name], computing(backend_name)
    seed = zlib.crc32(name.encode())
    objective = Objective(case_of(function), backend, seed)
    directions = [objective.direction(i) for i in range(len(function.inputs))]
    autodiff: Autodiff[Any] = Autodiff(backend)
    xs = tensors(function, autodiff)

    def slopes(*xs: born.Tensor[Any]) -> born.Tensor[Any]:
        return objective.slopes_along(directions, *xs)

    for i, direction in enumerate(directions):
        first = grad(objective.value, argnum=i)(*xs).numpy() * direction
        check(objective.at, function.inputs, i, direction, first)
        second = grad(slopes, argnum=i)(*xs).numpy() * direction
        check(
            lambda inputs: objective.slopes_at(directions, inputs),
            function.inputs,
            i,
            direction,
            second,
        )


def check(
    function: Callable[[Sequence[HostArray]], float],
    inputs: Sequence[HostArray],
    place: int,
    direction: HostArray,
    found: HostArray,
) -> None:
    """The slope by a central difference is the sum of what was found."""
    expected = central_difference(function, inputs, place, direction)
    scale = 1.0 + np.abs(found).sum() + abs(function(inputs))
    assert abs(found.sum() - expected) <= TOLERANCE * scale


@pytest.mark.parametrize("name", IN_TORCH)
def test_derivatives_are_those_of_torch(name: str, backend_name: str) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: the parity extra")
    function, autodiff = FUNCTIONS[name], Autodiff(computing(backend_name))
    leaves = [torch.tensor(x, requires_grad=True) for x in function.inputs]
    assert function.torch is not None
    y = function.torch(torch, *leaves)
    weight = np.random.default_rng(3).normal(size=tuple(y.shape))
    first = torch.autograd.grad((y * torch.tensor(weight)).sum(), leaves, create_graph=True)
    total: Any = sum((each * each).sum() for each in first)
    second = (
        torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
        if total.requires_grad
        else [torch.zeros_like(x) for x in leaves]
    )
    xs = tensors(function, autodiff)

    def value(*xs: Any) -> Any:
        return (called(function, *xs) * born.tensor(weight, xs[0].backend)).sum()

    def squares(*xs: Any) -> Any:
        found = [grad(value, argnum=i)(*xs) for i in range(len(xs))]
        return sum(((each * each).sum() for each in found[1:]), start=(found[0] * found[0]).sum())

    for i in range(len(xs)):
        np.testing.assert_allclose(
            grad(value, argnum=i)(*xs).numpy(), first[i].detach().numpy(), rtol=1e-10, atol=1e-10
        )
        np.testing.assert_allclose(
            grad(squares, argnum=i)(*xs).numpy(), second[i].numpy(), rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("name", [name for name in NAMES if FUNCTIONS[name].orders == 0])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_constants_have_no_gradient(name: str, backend_name: str) -> None:
    function, autodiff = FUNCTIONS[name], Autodiff(computing(backend_name))
    xs = tensors(function, autodiff)
    for x in xs:
        x.requires_grad = True
    with autodiff.tape:
        y = called(function, *xs)
        if y.dtype.kind != "f":
            assert autodiff.tape.origin_of(y.raw) is None
            return
    for i in range(len(xs)):
        gradient = grad(lambda *xs: called(function, *xs).sum(), argnum=i)(*xs)
        assert not gradient.numpy().any()


# -- what may be missing, and what is refused ----------------------------------------------


def test_without_scipy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    special.cache_clear()
    x = born.ones(2, born.get_backend("numpy"))
    with pytest.raises(
        MissingPackageError, match=r"expected SciPy .* gammaln, got none .*born-optim\[scipy\]"
    ):
        ops.special.gammaln(x)
    np.testing.assert_allclose(ops.special.logit(x * 0.5).numpy(), 0.0)
    special.cache_clear()


def test_namespace_without_special_functions_says_so() -> None:
    class Plain(ArrayBackend):
        name = "plain"

        def __repr__(self) -> str:
            return "Plain()"

    with pytest.raises(MissingPackageError, match=r"special functions for i0, got Plain\(\)"):
        ops.special.i0(born.ones(2, Plain(np)))


def test_unknown_name_is_refused(backend: Backend) -> None:
    x = backend.ones((2,), "float32")
    for name, operands in (("sine", [x]), ("arctan2", [x]), ("arctan", [x, x])):
        with pytest.raises(OperandError, match=rf"in ufunc, got '{name}' of {len(operands)}; "):
            backend.ufunc(name, *operands)


def test_bad_operands_are_refused(backend: Backend) -> None:
    x, whole = born.ones(2, backend), born.arange(2, backend=backend)
    with pytest.raises(DTypeError, match=r"floating dtype in arctan, got int64"):
        ops.arctan(whole)
    with pytest.raises(DTypeError, match=r"one dtype in hypot, got float32 and float64"):
        ops.hypot(x, x.astype("float64"))
    with pytest.raises(ShapeError, match=r"fit in arctan2, got \(2,\) and \(3,\)"):
        ops.arctan2(x, born.ones(3, backend))
    with pytest.raises(OperandError, match=r"at least one tensor in hypot, got 3.0, 4.0"):
        ops.hypot(3.0, 4.0)
    with pytest.raises(OperandError, match=r"at least one tensor in fmax, got 3.0 and 4.0"):
        ops.fmax(3.0, 4.0)
    bad: Any = "1"
    with pytest.raises(OperandError, match=r"a tensor or a Python number in fmod, got str"):
        ops.fmod(x, bad)
    with pytest.raises(DomainError, match=r"order from 0 on in polygamma, got -1"):
        ops.special.polygamma(-1, x)


def test_no_derivative_is_taken_where_none_is_known(autodiff: Autodiff[Backend]) -> None:
    def by_shape(a: born.Tensor[Any]) -> born.Tensor[Any]:
        return ops.special.gammainc(a, 1.0).sum()

    def by_limit(a: born.Tensor[Any]) -> born.Tensor[Any]:
        return ops.special.gammainc(a.detach(), a).sum()

    x = born.ones(2, autodiff)
    with pytest.raises(TapeError, match=r"constant as operand 0 of gammainc,.*; use \.detach\(\)"):
        grad(by_shape)(x)
    assert grad(by_limit)(x).shape == (2,)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3)])
def test_shapes_are_kept(shape: tuple[int, ...], backend: Backend) -> None:
    x = born.full(shape, 0.5, backend)
    for function in (ops.arctan, ops.sinc, ops.rint, ops.special.expit, ops.square):
        assert function(x).shape == shape
    for pair in (ops.hypot, ops.logaddexp, ops.fmax):
        assert pair(x, 1.0).shape == pair(1.0, x).shape == shape


_WRONG: Any = "yx"
_FRACTION: Any = 0.5


def _without_backend() -> born.Tensor[Any]:
    return born.linspace(0, 1)


REFUSED: Final[dict[str, tuple[Callable[[Any], object], type[Exception], str]]] = {
    "moveaxis": (lambda x: ops.moveaxis(x, (0, 1), 0), ShapeError, r"as many destinations as axes"),
    "moveaxis twice": (lambda x: ops.moveaxis(x, (0, 0), (0, 1)), ShapeError, r"each axis once"),
    "swapaxes": (lambda x: ops.swapaxes(x, 0, 5), ShapeError, r"an axis from -2 to 1"),
    "roll": (lambda x: ops.roll(x, (1, 2, 3), (0, 1)), ShapeError, r"as many shifts as axes"),
    "repeat": (lambda x: ops.repeat(x, (1, 2, 3, 4), 0), ShapeError, r"one count, or 2, .* got 4"),
    "block": (lambda x: ops.block([[x], x]), ShapeError, r"lists of one depth"),
    "block, empty": (lambda x: ops.block([]), ShapeError, r"lists of one depth"),
    "broadcast_arrays": (
        lambda x: ops.broadcast_arrays(x, x.T),
        ShapeError,
        r"that broadcast, got \[\(2, 3\), \(3, 2\)\]",
    ),
    "meshgrid": (lambda x: ops.meshgrid(x, indexing=_WRONG), DomainError, r'"xy" or "ij" .*yx'),
    "ix_": (
        lambda x: ops.ix_(x),
        ShapeError,
        r"vectors of integers or bools in ix_, got shape \(2, 3\)",
    ),
    "window": (lambda x: ops.sliding_window(x, 4, 1), ShapeError, r"at most 3 along axis 1, got 4"),
    "windows": (lambda x: ops.sliding_window(x, 4), ShapeError, r"as many lengths as axes"),
    "tril": (lambda x: ops.tril(x[0]), ShapeError, r"in tril, got shape \(3,\)"),
    "diagonal": (lambda x: ops.diagonal(x[0]), ShapeError, r"two axes in diagonal, got shape"),
    "diag": (lambda x: ops.diag(x[None]), ShapeError, r"one or two axes in diag"),
    "full_like": (lambda x: ops.full_like(x, 0.5, "int64"), DTypeError, r"int64 holds, got 0.5"),
    "linspace": (lambda x: born.linspace(x, 1.0, -1), ShapeError, r"points from 0 on, got -1"),
    "linspace of numbers": (lambda x: _without_backend(), OperandError, r"pass backend="),
    "topk": (lambda x: ops.topk(x, 4), ShapeError, r"k from 0 to 3 in topk .*got 4"),
    "partition": (lambda x: ops.partition(x, 3), ShapeError, r"an axis from -3 to 2"),
    "quantile": (lambda x: ops.quantile(x, 1.5), DomainError, r"from 0 to 1, got 1.5"),
    "quantile of integers": (
        lambda x: ops.quantile(x.astype("int64"), 0.5),
        DTypeError,
        r"floating dtype in quantile, got int64",
    ),
    "method": (
        lambda x: ops.quantile(x, 0.5, method=_WRONG),
        DomainError,
        r"linear, .* in quantile, got 'yx'",
    ),
    "method of nanquantile": (
        lambda x: ops.nanquantile(x, 0.5, method="lower"),
        DomainError,
        r"linear, .* in nanquantile, got 'lower'",
    ),
    "nanquantile: weights": (
        lambda x: ops.nanquantile(x, 0.5, weights=x),
        DomainError,
        r"method='inverted_cdf' beside weights in nanquantile, got 'linear'",
    ),
    "one_hot": (lambda x: ops.one_hot(x, 3), DTypeError, r"integers from 0 to 2 in one_hot, got f"),
    "one_hot: classes": (
        lambda x: ops.one_hot(x.astype("int64"), -1),
        DomainError,
        r"classes of at least 0, got -1",
    ),
    "side": (
        lambda x: ops.searchsorted(x[0], x, _WRONG),
        DomainError,
        r'"left" or "right" .* got \'yx\'',
    ),
    "searchsorted": (lambda x: ops.searchsorted(x, x), ShapeError, r"a sorted vector .*\(2, 3\)"),
    "average": (
        lambda x: ops.average(x, 0, x[0]),
        ShapeError,
        r"weights of shape \(2, 3\) .* got shape \(3,\)",
    ),
    "cov": (lambda x: ops.cov(x[None]), ShapeError, r"at most two axes in cov"),
    "cov: counts": (
        lambda x: ops.cov(x, fweights=x[0]),
        DomainError,
        r"integers as fweights in cov, got float32",
    ),
    "cov: weights": (lambda x: ops.cov(x, aweights=x), ShapeError, r"aweights as a vector of 3"),
    "quantile: weights": (
        lambda x: ops.quantile(x, 0.5, weights=x),
        DomainError,
        r"method='inverted_cdf' beside weights in quantile, got 'linear'",
    ),
    "quantile: negative weights": (
        lambda x: ops.quantile(x, 0.5, method="inverted_cdf", weights=x - 9.0),
        DomainError,
        r"weights from 0 on in quantile",
    ),
    "quantile: infinite weights": (
        lambda x: ops.quantile(x, 0.5, method="inverted_cdf", weights=x * math.inf),
        DomainError,
        r"finite weights from 0 on in quantile",
    ),
    "average: weights of zero": (
        lambda x: ops.average(x, 0, x[:, 0] * 0.0),
        DomainError,
        r"weights in average whose sum is not 0, got a sum of 0",
    ),
    "average: weights that cancel": (
        lambda x: ops.average(x, 1, ops.sign(x - x.mean(1, keepdims=True))),
        DomainError,
        r"weights in average whose sum is not 0",
    ),
    "cov: weights of zero": (
        lambda x: ops.cov(x, aweights=x[0] * 0.0),
        DomainError,
        r"weights in cov whose sum is not 0",
    ),
    "cov: negative weights": (
        lambda x: ops.cov(x, aweights=-x[0]),
        DomainError,
        r"aweights from 0 on in cov, got one below or NaN",
    ),
    "cov: negative counts": (
        lambda x: ops.cov(x, fweights=-x[0].astype("int64")),
        DomainError,
        r"fweights from 0 on in cov",
    ),
    "bincount: one weight": (
        lambda x: ops.bincount(x.astype("int64")[0], x[0, :1]),
        ShapeError,
        r"a weight for each of the 3 integers in bincount, got shape \(1,\)",
    ),
    "unique: no axis": (lambda x: ops.unique(x[0, 0], axis=0), ShapeError, r"no axis of a tensor"),
    "pad: ends of other axes": (
        lambda x: ops.pad(x[0], 1, mode="linear_ramp", end_values=[(0, 1), (2, 3)]),
        ShapeError,
        r"end_values of pad as a pair for each of 1 axes",
    ),
    "multigammaln": (
        lambda x: ops.special.multigammaln(x, 0),
        DomainError,
        r"d of at least 1",
    ),
    "where of nansum": (
        lambda x: ops.nansum(x, where=x),
        DTypeError,
        r"bools as where= of nansum, got float32",
    ),
    "nanmax: where without initial": (
        lambda x: ops.nanmax(x, where=x > 0.0),
        DomainError,
        r"initial= beside where= in nanmax",
    ),
    "where": (lambda x: ops.sum(x, where=x), DTypeError, r"bools as where= of sum, got float32"),
    "where without initial": (
        lambda x: ops.max(x, where=x > 0.0),
        DomainError,
        r"initial= beside where= in max",
    ),
    "pad: a mode as the value": (lambda x: ops.pad(x, 1, _WRONG), DomainError, r"pass mode='yx'"),
    "pad: mode": (lambda x: ops.pad(x, 1, mode=_WRONG), DomainError, r"one of constant, edge, "),
    "pad: nothing": (lambda x: ops.pad(x[:0], 1, mode="edge"), ShapeError, r"axis 0 to pad with"),
    "pad: length": (
        lambda x: ops.pad(x, 1, mode="mean", stat_length=0),
        DomainError,
        r"stat_length from 1 on in pad, got 0",
    ),
    "period": (lambda x: ops.interp(x, x[0], x[0], period=0.0), DomainError, r"period other"),
    "nanargmax": (lambda x: ops.nanargmax(x * math.nan), DomainError, r"in nanargmax, got one"),
    "diff": (lambda x: ops.diff(x, -1), DomainError, r"from 0 on in diff, got -1"),
    "gradient": (lambda x: ops.gradient(x, 1.0, 2.0, 3.0), ShapeError, r"one distance, or 2"),
    "gradient of few": (lambda x: ops.gradient(x[:1], axis=0), ShapeError, r"and 1 points"),
    "coordinates": (lambda x: ops.gradient(x, x[0], axis=0), ShapeError, r"2 coordinates .*\(3,\)"),
    "interp": (lambda x: ops.interp(x, x[0], x[:, 0]), ShapeError, r"\(3,\) and \(2,\)"),
    "convolve": (lambda x: ops.convolve(x, x[0]), ShapeError, r"two vectors"),
    "mode": (lambda x: ops.convolve(x[0], x[0], _WRONG), DomainError, r'"full", "same" or'),
    "bincount": (lambda x: ops.bincount(x[0]), DomainError, r"integers from 0 on in bincount"),
    "UPLO": (lambda x: ops.linalg.eigh(x, _WRONG), DomainError, r'UPLO "L" or "U"'),
    "sqrtm": (lambda x: ops.linalg.sqrtm(x), ShapeError, r"square matrix in sqrtm"),
    "solve_banded": (
        lambda x: ops.linalg.solve_banded((1, 1), x, x[0]),
        ShapeError,
        r"3 diagonals .* got shape \(2, 3\)",
    ),
    "solve_sylvester": (
        lambda x: ops.linalg.solve_sylvester(x, x, x),
        ShapeError,
        r"\(m, n\) in solve_sylvester",
    ),
    "tensorinv": (lambda x: ops.linalg.tensorinv(x, 1), ShapeError, r"got shape \(2, 3\)"),
    "tensorsolve": (lambda x: ops.linalg.tensorsolve(x, x[0]), ShapeError, r"as many unknowns"),
    "roll by a fraction": (lambda x: ops.roll(x, _FRACTION), ShapeError, r"shift .*got 0.5"),
    "a fraction of an axis": (lambda x: ops.moveaxis(x, _FRACTION, 1), ShapeError, r"axis .* 0.5"),
    "tril by a fraction": (lambda x: ops.tril(x, _FRACTION), ShapeError, r"k .*got 0.5"),
    "topk of a fraction": (lambda x: ops.topk(x, _FRACTION), ShapeError, r"k .*got 0.5"),
    "diff by a fraction": (lambda x: ops.diff(x, _FRACTION), DomainError, r"n .*got 0.5"),
    "round to a fraction": (lambda x: ops.round(x, _FRACTION), DomainError, r"decimals .*got 0.5"),
    "round beyond range": (lambda x: ops.round(x, 400), DomainError, r"from -300 to 300 .*got 400"),
    "quantile of text": (lambda x: ops.quantile(x, _WRONG), DomainError, r"got 'yx'"),
    "weights in a list": (lambda x: ops.average(x, weights=_WRONG), OperandError, r"got str"),
    "histogram": (lambda x: ops.histogram(x * math.nan), DomainError, r"finite .* in histogram"),
    "distance of text": (lambda x: ops.gradient(x, _WRONG), DomainError, r"a distance .*got 'yx'"),
    "bands": (lambda x: ops.linalg.solve_banded(_WRONG, x, x), ShapeError, r"bands"),
    "linspace of text": (lambda x: born.linspace(_WRONG, x), DomainError, r"an end .*got 'yx'"),
    "names of formulas": (lambda x: ops.sinc(x.astype("int64")), DTypeError, r"as x of sinc, got"),
    "geomspace": (
        lambda x: born.geomspace(-1, 1, backend=x.backend),
        DomainError,
        r"of one sign, and not zero, got -1 and 1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_arguments_are_refused(name: str, backend: Backend) -> None:
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=rf"^expected .*{message}.*; |^expected .*; {message}"):
        call(born.ones((2, 3), backend))


def test_numbers_between_two_are_those_of_numpy(backend: Backend) -> None:
    made = born.linspace(0, 1, 7, backend=backend, dtype="float64").numpy()
    np.testing.assert_array_equal(made, np.linspace(0, 1, 7))
    made = born.linspace(3, 0, 4, endpoint=False, backend=backend).numpy()
    np.testing.assert_array_equal(made, np.linspace(3, 0, 4, False, dtype=np.float32))
    made = born.logspace(0, 3, 4, backend=backend, dtype="float64").numpy()
    np.testing.assert_allclose(made, np.logspace(0, 3, 4), rtol=1e-15)
    made = born.geomspace(-1, -8, 4, backend=backend).numpy()
    np.testing.assert_allclose(made, np.geomspace(-1, -8, 4), rtol=1e-6)
    assert born.linspace(0, 1, 0, backend=backend).shape == (0,)


def test_grids_index_as_in_numpy(backend: Backend) -> None:
    x = np.arange(12.0).reshape(3, 4)
    rows, columns = np.array([2, 0]), np.array([1, 1, 3])
    index = ops.ix_(born.tensor(rows, backend), born.tensor(columns, backend))
    found = born.tensor(x, backend)[index]
    np.testing.assert_array_equal(found.numpy(), x[np.ix_(rows, columns)])


ROWS_OF: Final = {*OPERATIONS, "astype", "copy"}
OTHER_TESTS: Final = "linear linalg fused interop einsum network images indexing"
"""The files of born.ops whose functions have tests of their own."""


def test_every_function_has_a_call() -> None:
    called_here = {name.partition(":")[0] for name in FUNCTIONS} | ROWS_OF
    elsewhere = {f"born.ops.{each}" for each in OTHER_TESTS.split()}
    missing = {
        function.__name__
        for home in (ops, ops.special)
        for function in vars(home).values()
        if inspect.isfunction(function)
        and function.__module__ not in elsewhere
        and not function.__name__.startswith("_")
        and function.__name__ not in called_here
    }
    assert missing - {"call_ufunc", "array_equal", "ix_"} == set()


TIES: Final[dict[str, tuple[Callable[[Any], Any], list[float], list[float]]]] = {
    "sort": (lambda x: ops.sort(x)[0], [2.0, 1.0, 1.0], [0.0, 1.0, 0.0]),
    "descending": (lambda x: ops.sort(x, descending=True)[0], [1.0, 2.0, 2.0], [0.0, 1.0, 0.0]),
    "topk": (lambda x: ops.topk(x, 1)[0], [1.0, 2.0, 2.0], [0.0, 1.0, 0.0]),
    "median": (ops.median, [1.0, 2.0, 2.0, 3.0], [0.0, 0.5, 0.5, 0.0]),
    "median of equals": (ops.median, [2.0, 2.0, 2.0], [0.0, 1.0, 0.0]),
    "unique": (lambda x: ops.unique(x), [2.0, 1.0, 2.0], [1.0, 1.0, 0.0]),
    "cummax": (lambda x: ops.cummax(x), [1.0, 1.0, 0.0], [1.0, 2.0, 0.0]),
    "cummax after NaN": (lambda x: ops.cummax(x)[2:], [1.0, math.nan, 5.0], [0.0, 1.0, 0.0]),
    "logaddexp": (lambda x: ops.logaddexp(x, x.detach()), [1.0, math.inf], [0.5, 0.0]),
    "logcumsumexp": (ops.logcumsumexp, [-math.inf, -math.inf, 0.0], [1.0, 0.0, 1.0]),
    "nanstd of one": (ops.nanstd, [2.0, math.nan], [0.0, 0.0]),
    "nanmax": (ops.nanmax, [2.0, math.nan, 2.0], [0.5, 0.0, 0.5]),
    "hypot": (lambda x: ops.hypot(x, 0.0), [0.0, -2.0], [0.0, -1.0]),
    "heaviside": (lambda x: ops.heaviside(x, x), [-1.0, 0.0, 2.0], [0.0, 1.0, 0.0]),
    "fmax": (lambda x: ops.fmax(x, 1.0), [math.nan, 1.0, 2.0], [0.0, 0.5, 1.0]),
    "nan_to_num": (ops.nan_to_num, [math.nan, math.inf, 2.0], [0.0, 0.0, 1.0]),
    "logit": (ops.special.logit, [0.5, 1.0], [4.0, math.inf]),
    "xlogy": (lambda x: ops.special.xlogy(x, x.detach()), [0.0, 1.0], [0.0, 0.0]),
    "xlogy by y": (lambda x: ops.special.xlogy(x.detach() * 0, x), [0.0, 2.0], [0.0, 0.0]),
    "entr": (ops.special.entr, [0.0, 1.0], [0.0, -1.0]),
    "i1": (ops.special.i1, [0.0], [0.5]),
    "j1": (ops.special.j1, [0.0], [0.5]),
    "interp outside": (
        lambda x: ops.interp(x, ops.ones_like(x).cumsum(0), x.detach()),
        [-3.0, 9.0],
        [0.0, 0.0],
    ),
}
"""A function, where to take its gradient, and the subgradient that is promised."""


@pytest.mark.parametrize("name", TIES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_subgradients_are_those_promised(name: str, backend_name: str) -> None:
    function, at, expected = TIES[name]
    x = born.tensor(np.array(at), Autodiff(computing(backend_name)))

    def total(x: born.Tensor[Any]) -> born.Tensor[Any]:
        return called_with(function, x).sum()

    # CUDA's j1 is two units in the last place off.
    np.testing.assert_allclose(grad(total)(x).numpy(), expected, rtol=5e-16)


def called_with(function: Callable[[Any], Any], x: born.Tensor[Any]) -> born.Tensor[Any]:
    """The result of a function of one tensor."""
    found: born.Tensor[Any] = function(x)
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_nan_is_sorted_last(dtype: str, backend: Backend) -> None:
    x = born.tensor([math.nan, 2.0, -math.inf, math.nan, math.inf, -0.0, 0.0], backend, dtype=dtype)
    assert ops.argsort(x).tolist() == [2, 5, 6, 1, 4, 0, 3]
    assert ops.argsort(x, descending=True).tolist() == [0, 3, 4, 1, 5, 6, 2]
    assert ops.searchsorted(ops.sort(x), math.nan).item() == 5
    assert ops.median(x).item() != ops.median(x).item()
    assert ops.nanmedian(x).item() == 0.0


def test_statistics_of_nothing(backend: Backend) -> None:
    x = born.zeros((2, 0), backend)
    for function in (ops.median, ops.nanmedian, ops.nanmean, ops.nanstd):
        assert np.isnan(function(x, axis=1).numpy()).tolist() == [True, True]
    assert ops.sort(x).shape == ops.cummax(x, 1).shape == ops.logcumsumexp(x, 1).shape == (2, 0)
    assert ops.quantile(x, [0.1, 0.9], axis=0).shape == (2, 0)
    assert ops.nansum(x, axis=1).tolist() == [0.0, 0.0]


def test_halves_count_beyond_their_range(backend: Backend) -> None:
    x = born.full((70_000,), 100.0, backend, dtype="float16")
    assert ops.nanmean(x).item() == ops.average(x, weights=x).item() == 100.0
    assert ops.median(x).item() == ops.nanmedian(x).item() == 100.0


METHODS: Final[dict[str, tuple[Any, ...]]] = {
    "argsort": (0,),
    "clip": (-0.5, 0.5),
    "cumprod": (1,),
    "diagonal": (1,),
    "flatten": (),
    "ravel": (),
    "repeat": (2, 0),
    "round": (1,),
    "swapaxes": (0, 1),
    "trace": (-1,),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_those_of_arrays(name: str, backend: Backend) -> None:
    x = np.linspace(-1.0, 1.3, 12).reshape(3, 4)
    found = getattr(born.tensor(x, backend), name)(*METHODS[name])
    np.testing.assert_allclose(found.numpy(), getattr(x, name)(*METHODS[name]), rtol=1e-14)


@pytest.mark.parametrize(
    "name", ["xlogy", "xlog1py", "logaddexp", "logaddexp2", "fmax", "heaviside"]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_pairs_of_special_points_are_those_of_numpy(name: str, backend: Backend) -> None:
    ours, theirs = getattr(ops.special, name, None), getattr(scipy_special, name, None)
    function, reference = ours or getattr(ops, name), theirs or getattr(np, name)
    found = function(born.tensor(LEFT, backend), born.tensor(RIGHT, backend)).numpy()
    np.testing.assert_allclose(found, reference(LEFT, RIGHT), rtol=1e-14)


@pytest.mark.parametrize("name", ["logit", "entr", "expit", "log_expit", "sinc", "rint", "signbit"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_special_points_are_those_of_numpy(name: str, backend: Backend) -> None:
    ours, theirs = getattr(ops.special, name, None), getattr(scipy_special, name, None)
    function, reference = ours or getattr(ops, name), theirs or getattr(np, name)
    x = LINE[np.abs(LINE) < LARGE] if name == "sinc" else LINE  # of no digits modulo a period
    found = function(born.tensor(x, backend)).numpy()
    np.testing.assert_allclose(found, reference(x), rtol=1e-14)


def test_matrices_without_a_real_root_are_refused(cpu_backend: Backend) -> None:
    x = born.tensor([[-1.0, 0.0], [0.0, 2.0]], cpu_backend, dtype="float64")
    with pytest.raises(LinAlgError, match=r"negative real axis in sqrtm.*no real root"):
        ops.linalg.sqrtm(x)
    assert ops.linalg.sqrtm(born.zeros((0, 0), cpu_backend)).shape == (0, 0)


def test_only_the_upper_triangle_is_read_if_asked_for(backend: Backend) -> None:
    whole = np.array([[4.0, 2.0], [2.0, 3.0]])
    x = born.tensor(np.triu(whole), backend)
    np.testing.assert_allclose(
        ops.linalg.eigh(x, UPLO="U")[0].numpy(), np.linalg.eigvalsh(whole), rtol=1e-14
    )
    factor = ops.linalg.cholesky(x, upper=True).numpy()
    np.testing.assert_allclose(factor.T @ factor, whole, rtol=1e-14)


@pytest.mark.parametrize("q", [0.5, [0.0, 0.25, 1.0]])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_nanquantile_with_weights_is_that_of_numpy(q: Any, axis: Any, backend: Backend) -> None:
    draw = np.random.default_rng(3)
    x, weights = draw.normal(size=(4, 9)), draw.uniform(0.0, 2.0, (4, 9))
    x[draw.random((4, 9)) < 0.3] = np.nan
    x[2], weights[0, :3] = np.nan, 0.0
    options: dict[str, Any] = {"method": "inverted_cdf"}
    found = ops.nanquantile(
        born.tensor(x, backend), q, axis, weights=born.tensor(weights, backend), **options
    )
    with warnings.catch_warnings(action="ignore"):  # a row without numbers
        reference: Any = np.nanquantile
        expected = reference(x, q, axis=axis, weights=weights, **options)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-14)


def test_one_hot(backend: Backend) -> None:
    labels = np.array([[2, 0], [1, 5]])
    for dtype in ("float32", "int64", "bool"):
        found = ops.one_hot(born.tensor(labels, backend), 3, dtype)
        assert str(found.dtype) == dtype
        np.testing.assert_array_equal(found.numpy(), labels[..., None] == np.arange(3))
    assert ops.one_hot(born.tensor(labels[:0], backend), 3).shape == (0, 2, 3)
