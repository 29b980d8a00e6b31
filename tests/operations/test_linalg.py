"""Linear algebra beyond the table: every keyword, edges, and matrices without a derivative."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import born
from born import ops
from born.autodiff import Autodiff, backward, grad
from born.backend import Backend
from born.backend.contract.linalg import transposed
from born.errors import DomainError, DTypeError, LinAlgError, OperandError, ShapeError
from born.raw import HostArray, Shape
from tests.operations.computing import computing
from tests.tools import is_tuple

NP: Final[Any] = np
"""NumPy, for calls that its types do not know."""

RNG: Final = np.random.default_rng(7)


def on(backend: Backend, *shape: int) -> tuple[HostArray, born.Tensor[Backend]]:
    array = RNG.uniform(-1.0, 1.0, shape)
    return array, born.tensor(array, backend)


def gradient_of(
    function: Callable[[born.Tensor[Any]], born.Tensor[Any]], x: Any, backend: Backend
) -> HostArray:
    """The gradient of the sum of a function's result."""
    leaf = born.tensor(np.asarray(x, np.float64), Autodiff(backend))
    leaf.requires_grad = True
    with leaf.backend.tape:
        loss = function(leaf).sum()
    return leaf.backend.to_numpy(backward(loss)[leaf])


# -- products ------------------------------------------------------------------------------

FORMS: Final = (
    *(
        "ij,jk->ik",
        "ij,jk",
        "ij->ji",
        "ij->",
        "ii",
        "ii->i",
        "iij->j",
        "ij,ij->",
        "i,j->ij",
        "ij,j",
    ),
    *(
        "bij,bjk->bik",
        "b...i,...ij->b...j",
        "...ij,...jk->...ik",
        "...i->...",
        "ijk,kji->",
        "i,i,i",
    ),
    *(
        "ij,jk,kl->il",
        "ij,kj,kl,lm->im",
        "abc,ad,be,cf->def",
        "i,j,k->kji",
        "ij,ij,jk->ki",
        "ii,jj",
    ),
    *("bi,ij,bj->b", "ij,i->j", "iijj->ij", "ijij->ij", "i...->...i", "...,...->..."),
)
LENGTHS: Final = {"i": 2, "j": 3, "k": 4, "b": 2, "l": 3, "m": 2}


@pytest.mark.parametrize("form", FORMS)
def test_einsum_is_numpys_and_has_its_slopes(form: str, backend: Backend) -> None:
    terms = form.partition("->")[0].split(",")
    shapes = [
        tuple(
            n for c in t.replace("...", ".") for n in ((5, 1) if c == "." else (LENGTHS.get(c, 2),))
        )
        for t in terms
    ]
    arrays = [RNG.uniform(0.5, 1.5, shape) for shape in shapes]
    tensors = [born.tensor(array, backend) for array in arrays]
    expected = np.einsum(form, *arrays)
    found = ops.einsum(form, *tensors)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-13)
    # The sum is linear in each operand: its slope along the operand is the sum itself.
    for i, array in enumerate(arrays):

        def of_one(x: born.Tensor[Any], i: int = i) -> born.Tensor[Any]:
            others = [born.tensor(each, x.backend) for each in arrays]
            return ops.einsum(form, *others[:i], x, *others[i + 1 :])

        slope = gradient_of(of_one, array, backend)
        np.testing.assert_allclose((slope * array).sum(), expected.sum(), rtol=1e-12)


@given(data=st.data())
@settings(max_examples=60)
def test_einsum_of_any_subscripts(backend_name: str, data: st.DataObject) -> None:
    letters = "abcd"
    sizes = {letter: data.draw(st.integers(0, 3)) for letter in letters}
    terms = data.draw(st.lists(st.text(letters, max_size=3), min_size=1, max_size=3))
    known = sorted(set("".join(terms)))
    result = "".join(data.draw(st.permutations(known))[: data.draw(st.integers(0, len(known)))])
    arrays = [RNG.uniform(-1, 1, tuple(sizes[c] for c in term)) for term in terms]
    # A length of one broadcasts along the others' axis of that letter.
    arrays = [
        x[tuple(slice(0, 1) for _ in x.shape)] if data.draw(st.booleans()) and x.size else x
        for x in arrays
    ]
    form = f"{','.join(terms)}->{result}"
    backend = computing(backend_name)
    try:
        expected = np.einsum(form, *arrays)
    except ValueError:
        return  # NumPy refuses a diagonal of axes of unequal lengths
    found = ops.einsum(form, *(born.tensor(array, backend) for array in arrays))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_einsum_takes_lists_of_axes(backend: Backend) -> None:
    (a, x), (b, y) = on(backend, 2, 3), on(backend, 3, 4)
    expected = np.einsum(a, [0, 1], b, [1, 2], [2, 0])
    np.testing.assert_allclose(ops.einsum(x, [0, 1], y, [1, 2], [2, 0]).numpy(), expected)
    np.testing.assert_allclose(ops.einsum(x, [0, 1], y, [1, 2]).numpy(), a @ b)


ANY: Final[tuple[Any, ...]] = (3, 1.5)
"""What types would refuse."""

Call: TypeAlias = Callable[["born.Tensor[Any]"], object]

REFUSALS: Final[list[tuple[Call, type[Exception], str]]] = [
    (lambda x: ops.einsum("ij,jk", x), ShapeError, "an operand for each of the 2 terms"),
    (lambda x: ops.einsum("ijk", x), ShapeError, r"3 axes .* got shape \(2, 3\)"),
    (lambda x: ops.einsum("ij->k", x), DomainError, "letters of operands .* got k"),
    (lambda x: ops.einsum("ij->ii", x), DomainError, "each letter .* once"),
    (lambda x: ops.einsum("i_->i", x), DomainError, "letters, '...'"),
    (lambda x: ops.einsum("ij,ij", x, x.T), ShapeError, "one length for 'i'"),
    (lambda x: ops.einsum("ij,ij", x, x.astype("float32")), DTypeError, "one dtype"),
    (lambda x: ops.einsum(ANY[0], x), OperandError, "subscripts such as"),
    (lambda x: ops.einsum(x, ["i"]), DomainError, "integers from 0 to 51"),
    (lambda x: ops.einsum("ij", *[x][:0]), ShapeError, "got none"),
    (lambda x: ops.tensordot(x, x, 1), ShapeError, "equal lengths"),
    (lambda x: ops.tensordot(x, x, 3), ShapeError, "from 0 to 2 axes"),
    (lambda x: ops.linalg.solve(x, x), ShapeError, "square matrices in solve"),
    (lambda x: ops.linalg.inv(x[0]), ShapeError, "last two axes in inv"),
    (lambda x: ops.linalg.solve(x @ x.T, x[0]), ShapeError, "shapes that fit in solve"),
    (lambda x: ops.linalg.matrix_norm(x, ord=3), DomainError, "ord to be one of"),
    (lambda x: ops.linalg.norm(x, ord="fro", axis=0), DomainError, "a number as ord"),
    (lambda x: ops.linalg.norm(x[None], ord=1), ShapeError, "one or two axes"),
    (lambda x: ops.linalg.cross(x, x, axis=0), ShapeError, "three elements"),
    (lambda x: ops.linalg.matrix_power(x, 2), ShapeError, "square matrices in matrix_power"),
    (lambda x: ops.linalg.matrix_power(x @ x.T, ANY[1]), DTypeError, "an integer power"),
    (lambda x: ops.linalg.multi_dot([x]), ShapeError, "at least two"),
    (lambda x: ops.linalg.cholesky(x @ x.T * -1), LinAlgError, "positive definite .*; add"),
    (lambda x: ops.linalg.inv(x @ x.T * 0), LinAlgError, "has an inverse .*; use lstsq"),
    (lambda x: ops.linalg.svd(x * math.nan), LinAlgError, "finite .*; look for NaN"),
]


@pytest.mark.parametrize(("call", "kind", "text"), REFUSALS)
def test_refusals(call: Call, kind: type[Exception], text: str) -> None:
    x = born.tensor(np.arange(6.0).reshape(2, 3), computing("numpy"))
    with pytest.raises(kind, match=f"^expected .*{text}"):
        call(x)
    assert issubclass(LinAlgError, np.linalg.LinAlgError)


def test_products_are_numpys(backend: Backend) -> None:
    (a, x), (b, y), (c, z) = on(backend, 2, 3), on(backend, 4, 3, 5), on(backend, 3)
    pairs: list[tuple[born.Tensor[Any], Any]] = [
        (ops.dot(x, z), np.dot(a, c)),
        (ops.dot(x, y), np.dot(a, b)),
        (ops.dot(z, y), np.dot(c, b)),
        (ops.vdot(x, x), np.vdot(a, a)),
        (ops.vecdot(x, z), NP.vecdot(a, c)),
        (ops.vecdot(y, y, axis=1), NP.vecdot(b, b, axis=1)),
        (ops.inner(x, z), np.inner(a, c)),
        (ops.inner(x, x), np.inner(a, a)),
        (ops.outer(x, z), np.outer(a, c)),
        (ops.kron(x, z), np.kron(a, c)),
        (ops.kron(y, x), np.kron(b, a)),
        (ops.tensordot(y, x, ([1], [1])), np.tensordot(b, a, ([1], [1]))),
        (ops.tensordot(y, x, (1, 1)), np.tensordot(b, a, (1, 1))),
        (ops.tensordot(x, z, 1), np.tensordot(a, c, 1)),
        (ops.tensordot(x, z, 0), np.tensordot(a, c, 0)),
        (ops.tensordot(y, y, ([0, 1, 2], [0, 1, 2])), (b * b).sum()),
        (ops.linalg.multi_dot([x.T, x, z]), np.linalg.multi_dot([a.T, a, c])),
        (ops.linalg.multi_dot([z, x.T, x, x.T]), np.linalg.multi_dot([c, a.T, a, a.T])),
        (ops.linalg.cross(x, z), np.linalg.cross(a, c)),
        (ops.linalg.cross(y, y[:, ::-1], axis=1), np.linalg.cross(b, b[:, ::-1], axis=1)),
        (ops.linalg.trace(y), np.trace(b, axis1=1, axis2=2)),
        (ops.trace(y, 0, 1, 2), np.trace(b, axis1=1, axis2=2)),
        (ops.linalg.matrix_transpose(y), np.linalg.matrix_transpose(b)),
    ]
    for offset in range(-4, 6):
        pairs.append((ops.linalg.diagonal(y, offset=offset), NP.linalg.diagonal(b, offset=offset)))
    for found, expected in pairs:
        assert found.shape == np.shape(expected)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-14)


# -- norms and functions of matrices -------------------------------------------------------


@pytest.mark.parametrize("ord", [None, "fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf, 0, 3, 0.5])
def test_norm_is_numpys(ord: Any, backend: Backend) -> None:
    a, x = on(backend, 3, 4, 2)
    norm: Any = ops.linalg.norm
    calls: list[dict[str, Any]] = []
    if not isinstance(ord, str):
        calls += [{"axis": 1}, {"axis": -1, "keepdims": True}]
    if ord not in (0, 3, 0.5):
        calls += [{"axis": (0, 1)}, {"axis": (2, 0)}, {"axis": (1, 2), "keepdims": True}]
    for options in calls:
        found = norm(x, ord, **options)
        expected = NP.linalg.norm(a, ord, **options)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
    if ord is None:
        np.testing.assert_allclose(ops.linalg.norm(x).item(), np.linalg.norm(a))


def test_numbers_of_a_matrix_are_numpys(backend: Backend) -> None:
    a, x = on(backend, 2, 3, 3)
    for p in (None, 2, -2, 1, -1, math.inf, "fro"):
        found = ops.linalg.cond(x, p).numpy()
        np.testing.assert_allclose(found, np.linalg.cond(a, p), rtol=1e-10)
    for n in (-3, -1, 0, 1, 2, 7):
        found = ops.linalg.matrix_power(x, n).numpy()
        np.testing.assert_allclose(found, np.linalg.matrix_power(a, n), rtol=1e-8)
    flat = a @ np.diag([1.0, 1.0, 0.0])
    assert ops.linalg.matrix_rank(born.tensor(flat, backend)).tolist() == [2, 2]
    assert ops.linalg.matrix_rank(born.zeros((0, 3), backend)).item() == 0
    expected = NP.linalg.lstsq(flat[0], a[1, 0], rcond=None)[0]
    found = ops.linalg.lstsq(born.tensor(flat[0], backend), x[1, 0]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    spd = a @ a.swapaxes(1, 2) + np.eye(3)
    factor = ops.linalg.cholesky(born.tensor(spd, backend))
    found = ops.linalg.cholesky_solve(factor, x).numpy()
    np.testing.assert_allclose(found, np.linalg.solve(spd, a), rtol=1e-10)
    np.testing.assert_allclose(
        ops.linalg.eigvalsh(born.tensor(spd, backend)).numpy(), np.linalg.eigvalsh(spd)
    )


@pytest.mark.parametrize("n", [63, 64, 65, 200])
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("trans", [True, False])
def test_triangular_systems_of_many_blocks(
    n: int, lower: bool, trans: bool, backend: Backend
) -> None:
    a = RNG.uniform(-1, 1, (n, n)) / n + np.eye(n)
    part = np.tril(a) if lower else np.triu(a)
    y = RNG.uniform(-1, 1, (2, n, 3))
    found = ops.linalg.solve_triangular(
        born.tensor(a, backend), born.tensor(y, backend), lower=lower, trans=trans
    )
    expected = np.linalg.solve(part.T if trans else part, y)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1.0, 30.0, 1000.0])
def test_expm_of_any_size(scale: float, backend: Backend) -> None:
    # exp(t [[0, -1], [1, 0]]) turns by t; of a nilpotent matrix two terms are left.
    turn = np.array([[0.0, -1.0], [1.0, 0.0]]) * scale
    c, s = math.cos(scale), math.sin(scale)
    nilpotent = np.array([[0.0, scale], [0.0, 0.0]])
    found = ops.linalg.expm(born.tensor(np.stack([turn, nilpotent]), backend)).numpy()
    np.testing.assert_allclose(found[0], [[c, -s], [s, c]], atol=2e-16 * max(scale, 4) * 20)
    np.testing.assert_allclose(found[1], [[1.0, scale], [0.0, 1.0]], rtol=1e-13)
    assert np.isnan(ops.linalg.expm(born.tensor(turn * math.nan, backend)).numpy()).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_halves_are_computed_in_float32(dtype: str, backend: Backend) -> None:
    a = RNG.uniform(-1, 1, (3, 3)) + 3 * np.eye(3)
    x = born.tensor(a, backend, dtype=dtype)
    for found in (ops.linalg.inv(x), *ops.linalg.qr(x), *ops.linalg.svd(x), ops.linalg.det(x)):
        assert str(found.dtype) == dtype


@pytest.mark.parametrize("name", ["inv", "cholesky", "expm", "det", "pinv", "qr", "svd", "eigh"])
@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0), (0, 3, 3)])
def test_matrices_without_elements(name: str, shape: tuple[int, ...], backend: Backend) -> None:
    x = born.zeros(shape, backend, "float64")
    found: Any = getattr(ops.linalg, name)(x)
    if name == "expm":
        assert found.shape == shape
        return
    options = {"full_matrices": False} if name == "svd" else {}
    expected: Any = getattr(np.linalg, name)(np.zeros(shape), **options)
    if is_tuple(expected):
        assert [each.shape for each in found] == [each.shape for each in expected]
    else:
        np.testing.assert_array_equal(found.numpy(), expected)


# -- derivatives where they are delicate ---------------------------------------------------


def test_eigenvalues_that_are_equal(backend: Backend) -> None:
    # Their sum and every symmetric function have a derivative; one vector has none.
    one = np.eye(3)
    slope = gradient_of(lambda x: ops.linalg.eigvalsh(x), one, backend)
    np.testing.assert_allclose(slope, one, atol=1e-15)
    weights = np.diag([1.0, 2.0, 3.0])

    def rebuilt_of(x: born.Tensor[Any]) -> born.Tensor[Any]:
        values, vectors = ops.linalg.eigh(x)
        return (vectors * values) @ vectors.T * born.tensor(weights, x.backend)

    rebuilt = gradient_of(rebuilt_of, one, backend)
    np.testing.assert_allclose(rebuilt, weights, atol=1e-14)
    lost = gradient_of(lambda x: ops.linalg.eigh(x)[1][0, 1:], one, backend)
    assert np.isnan(lost).any()


def test_singular_values_that_are_equal_or_zero(backend: Backend) -> None:
    slope = gradient_of(lambda x: ops.linalg.svdvals(x), np.diag([2.0, 2.0, 0.0]), backend)
    assert np.isfinite(slope).all()
    np.testing.assert_allclose(np.diag(slope)[:2], [1.0, 1.0], atol=1e-15)


def test_determinant_of_a_singular_matrix_has_a_gradient() -> None:
    backend = computing("numpy")
    x = np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 1.0], [0.0, 0.0, 3.0]])
    cofactors = np.array([[12.0, -6.0, 0.0], [-6.0, 3.0, 0.0], [2.0, -1.0, 0.0]])
    np.testing.assert_allclose(gradient_of(ops.linalg.det, x, backend), cofactors, atol=1e-13)
    np.testing.assert_array_equal(gradient_of(ops.linalg.det, np.zeros((3, 3)), backend), 0.0)


def test_one_of_several_results_is_enough(backend: Backend) -> None:
    x = RNG.uniform(-1, 1, (4, 2))
    autodiff = Autodiff(backend)

    def second(x: born.Tensor[Any]) -> born.Tensor[Any]:
        return ops.linalg.qr(x)[1].sum()

    def both(x: born.Tensor[Any]) -> born.Tensor[Any]:
        q, r = ops.linalg.qr(x)
        return r.sum() + q.sum() * 0.0

    found, expected = (grad(f)(born.tensor(x, autodiff)).numpy() for f in (second, both))
    np.testing.assert_allclose(found, expected)


def test_gaussian_evidence_and_its_slope(backend: Backend) -> None:
    # log N(y; 0, K) by the factor, and its derivative by the closed form.
    n, length = 30, 0.7
    points, y = np.linspace(0, 3, n), RNG.normal(size=n)
    squares = (points[:, None] - points) ** 2

    def evidence(log_length: born.Tensor[Any]) -> born.Tensor[Any]:
        far = born.tensor(squares, log_length.backend) / ops.exp(2 * log_length)
        kernel = ops.exp(-0.5 * far) + born.tensor(0.1 * np.eye(n), log_length.backend)
        factor = ops.linalg.cholesky(kernel)
        white = ops.linalg.solve_triangular(factor, born.tensor(y, log_length.backend), lower=True)
        return -0.5 * ops.vdot(white, white) - ops.log(ops.diagonal(factor)).sum()

    kernel = np.exp(-0.5 * squares / length**2)
    inner = kernel * squares / length**2
    inverse = np.linalg.inv(kernel + 0.1 * np.eye(n))
    weights = inverse @ y
    expected = 0.5 * (weights @ inner @ weights - np.trace(inverse @ inner))
    found = gradient_of(evidence, math.log(length), backend)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("installed", [True, False])
def test_large_factors_and_triangular_systems(
    installed: bool, batch: Shape, cpu_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not installed:
        linalg = importlib.import_module("born_numpy.linalg")
        monkeypatch.setattr(linalg, "_scipy", lambda: None)
    b, draw = cpu_backend, np.random.default_rng(0)
    n = 70  # more than what a call to LAPACK for each pays from
    x = draw.standard_normal((*batch, n, n))
    a = x @ x.swapaxes(-1, -2) + n * np.eye(n)
    factor = b.cholesky(b.from_numpy(a))
    np.testing.assert_allclose(b.to_numpy(factor), np.linalg.cholesky(a), rtol=1e-11, atol=1e-13)
    inverse = b.to_numpy(b.cholesky_inverse(factor))
    np.testing.assert_allclose(inverse @ a, np.broadcast_to(np.eye(n), a.shape), atol=1e-12)
    y = draw.standard_normal((n, 3))
    for lower, turned, across in itertools.product((True, False), repeat=3):
        # The other triangle is not read; and the matrix may lie in memory either way.
        part = np.tril(a) if lower else np.triu(a)
        other = np.where(part == 0, np.nan, a)
        raw = b.from_numpy(other.swapaxes(-1, -2) if across else other)
        raw = transposed(b, raw) if across else raw
        found = b.to_numpy(b.solve_triangular(raw, b.from_numpy(y), lower, turned))
        expected = np.linalg.solve(part.swapaxes(-1, -2) if turned else part, y)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    with pytest.raises(LinAlgError, match="a positive definite matrix in cholesky"):
        b.cholesky(b.from_numpy(-a))
    a[..., 5, 5] = 0.0
    with pytest.raises(LinAlgError, match="a matrix that has an inverse in solve_triangular"):
        b.solve_triangular(b.from_numpy(a), b.from_numpy(y))
