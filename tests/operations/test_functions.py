"""The table of functions: values against NumPy's, derivatives by differences and PyTorch."""

from __future__ import annotations

import inspect
import sys
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
from tests.operations.test_values import EPSILON, rounded

pytest.importorskip("scipy", reason="SciPy is not installed: the scipy extra")
from tests.operations.functions import FUNCTIONS, Function  # which asks for SciPy

NAMES: Final = list(FUNCTIONS)
DIFFERENTIABLE: Final = [name for name, function in FUNCTIONS.items() if function.orders]
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


@pytest.mark.parametrize("name", [name for name in NAMES if not FUNCTIONS[name].orders])
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
    "ix_": (lambda x: ops.ix_(x), ShapeError, r"vectors of integers in ix_, got shape \(2, 3\)"),
    "window": (lambda x: ops.sliding_window(x, 4, 1), ShapeError, r"at most 3 along axis 1, got 4"),
    "windows": (lambda x: ops.sliding_window(x, 4), ShapeError, r"as many lengths as axes"),
    "tril": (lambda x: ops.tril(x[0]), ShapeError, r"in tril, got shape \(3,\)"),
    "diagonal": (lambda x: ops.diagonal(x[0]), ShapeError, r"two axes in diagonal, got shape"),
    "diag": (lambda x: ops.diag(x[None]), ShapeError, r"one or two axes in diag"),
    "full_like": (lambda x: ops.full_like(x, 0.5, "int64"), DTypeError, r"int64 holds, got 0.5"),
    "linspace": (lambda x: born.linspace(x, 1.0, -1), ShapeError, r"points from 0 on, got -1"),
    "linspace of numbers": (lambda x: _without_backend(), OperandError, r"pass backend="),
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


METHODS: Final[dict[str, tuple[Any, ...]]] = {
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
