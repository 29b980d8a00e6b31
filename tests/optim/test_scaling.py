"""Scaled gradients and clipping by global norm: one more scalar of the update."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.autodiff import Autodiff
from born.backend import Backend
from born.dtypes import as_dtype
from born.errors import BackendMismatchError, DomainError, OperandError
from born.raw import HostArray, RawTensor
from tests.optim.making import (
    ADAM,
    SGD,
    assert_unchanged,
    contents,
    every_config,
    gradients,
    make,
    parameter,
    raw,
    step,
    two,
)
from tests.tools import allocated


def check_step(
    config: optim.Config,
    backend: Backend,
    expected: float,
    given: float,
    rtol: float = 0.0,
    **options: Any,
) -> None:
    """A step by gradients of one value with options does what one by another does without."""
    plain, scaled = make(config, two(backend)), make(config, two(backend))
    step(plain, expected)
    step(scaled, given, **options)
    if not rtol:
        assert_unchanged(scaled, contents(plain))
    for key, array in contents(plain).items():
        np.testing.assert_allclose(contents(scaled)[key], array, rtol=rtol, err_msg=key)


@every_config
@pytest.mark.parametrize("kind", ["number", "raw", "tensor"])
def test_scale_multiplies_every_gradient(config: optim.Config, kind: str, backend: Backend) -> None:
    scales: dict[str, Any] = {
        "number": 0.25,
        "raw": raw(0.25, backend),
        "tensor": born.tensor([0.25], backend, "float64"),  # rounded to what the rule computes in
    }
    check_step(config, backend, 0.75, 3.0, scale=scales[kind])


@every_config
def test_norm_above_the_largest_allowed_is_clipped(config: optim.Config, backend: Backend) -> None:
    # Five elements of 3.2 with the scale of 0.5 have the norm 1.6 sqrt(5), so each becomes
    # 1 / sqrt(5): a float32's last place is left to the division.
    check_step(config, backend, 1 / math.sqrt(5), 3.2, rtol=1e-6, scale=0.5, max_norm=1.0)


@every_config
def test_norm_within_bounds_changes_no_bit(config: optim.Config, backend: Backend) -> None:
    check_step(config, backend, 0.3, 0.3, max_norm=10.0)


def test_clipping_is_that_of_pytorch(backend: Backend) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape) for shape in ((3, 4), (7,))]
    slopes = [rng.normal(size=x.shape) * 5 for x in values]
    theirs = [torch.nn.Parameter(torch.tensor(x)) for x in values]
    for p, g in zip(theirs, slopes, strict=True):
        p.grad = torch.tensor(g)
    torch.nn.utils.clip_grad_norm_(theirs, 2.0)
    torch.optim.SGD(theirs, lr=0.1).step()
    ours = [parameter(x, backend, dtype="float64") for x in values]
    optimizer = optim.SGD(ours, optim.SGDConfig(lr=0.1))
    pairs = zip(ours, slopes, strict=True)
    optimizer.step({p.raw: raw(g, backend, "float64") for p, g in pairs}, max_norm=2.0)
    for p, q in zip(ours, theirs, strict=True):
        # PyTorch adds 1e-6 to the norm, which is about 17 here.
        np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=1e-6)


def test_accumulated_gradients_are_scaled_too(backend: Backend) -> None:
    autodiff = Autodiff(backend)
    p = nn.Parameter(born.tensor([3.0, 4.0], autodiff))
    optimizer = optim.SGD([p], optim.SGDConfig(lr=1.0))
    with autodiff.tape:
        loss = (p * p).sum()
    loss.backward()
    optimizer.step(scale=0.25, max_norm=2.5)
    np.testing.assert_allclose(p.numpy(), [1.5, 2.0], rtol=1e-6)


@pytest.mark.parametrize("kind", [int, Fraction, np.float32, np.float64, np.int64])
def test_numbers_of_any_kind_will_do(kind: Any, backend: Backend) -> None:
    p = parameter([0.0], backend)
    optimizer = optim.SGD([p], optim.SGDConfig(lr=1.0))
    optimizer.step({p.raw: raw([4.0], backend)}, scale=kind(2), max_norm=kind(3))
    np.testing.assert_array_equal(p.numpy(), [-3.0])


def test_only_gradients_of_parameters_to_be_updated_count(backend: Backend) -> None:
    p, frozen = parameter([0.0], backend), parameter([0.0], backend)
    frozen.requires_grad = False
    optimizer = optim.SGD([p, frozen], optim.SGDConfig(lr=1.0))
    large = {p.raw: raw([3.0], backend), frozen.raw: raw([1e6], backend)}
    optimizer.step(large, max_norm=1.5)
    np.testing.assert_array_equal(p.numpy(), [-1.5])
    np.testing.assert_array_equal(frozen.numpy(), [0.0])


def test_parameters_of_several_dtypes_have_one_norm(backend: Backend) -> None:
    parameters = [parameter([0.0], backend, dtype=d) for d in ("float32", "float64", "bfloat16")]
    optimizer = optim.SGD(parameters, optim.SGDConfig(lr=1.0))
    slopes = zip(parameters, (2, 3, 6), strict=True)
    optimizer.step({p.raw: raw([g], backend, str(p.dtype)) for p, g in slopes}, max_norm=3.5)
    assert [p.item() for p in parameters] == [-1.0, -1.5, -3.0]  # the norm is 7


@pytest.mark.parametrize("value", [math.inf, math.nan, 0.0])
def test_norms_that_are_not_finite_or_zero(value: float, backend: Backend) -> None:
    p = parameter([1.0, 1.0], backend)
    step(optim.SGD([p], optim.SGDConfig(lr=1.0)), value, max_norm=1.0)
    assert (p.numpy() == 1.0).all() if value == 0.0 else not np.isfinite(p.numpy()).any()


BAD: tuple[tuple[dict[str, Any], type[Exception], str], ...] = (
    ({"max_norm": 0.0}, DomainError, "expected a finite max_norm above 0, got 0.0"),
    ({"max_norm": -1}, DomainError, "expected a finite max_norm above 0, got -1"),
    ({"max_norm": math.nan}, DomainError, "expected a finite max_norm above 0, got nan"),
    ({"max_norm": math.inf}, DomainError, "expected a finite max_norm above 0, got inf"),
    ({"max_norm": "1"}, OperandError, "expected max_norm as a number, got '1'"),
    ({"scale": "1"}, OperandError, "expected scale as a number"),
    ({"scale": True}, OperandError, "expected scale as a number"),
    ({"scale": RawTensor(np.ones(2, np.float32))}, OperandError, "expected a scale of one element"),
    ({"scale": RawTensor(np.ones((), np.int64))}, OperandError, "of a floating dtype"),
)


@pytest.mark.parametrize(
    ("case", "some"), [(case, True) for case in BAD] + [(case, False) for case in BAD[:7]], ids=str
)
def test_bad_scales_change_nothing(case: Any, some: bool, backend: Backend) -> None:
    options, error, message = case
    scale: Any = options.get("scale")
    if isinstance(scale, RawTensor):
        options = dict[str, Any](scale=backend.from_numpy(scale.array))
    optimizer = make(ADAM, two(backend))
    before = contents(optimizer)
    with pytest.raises(error, match=message):
        optimizer.step(gradients(optimizer.parameters if some else []), **options)
    assert_unchanged(optimizer, before)


@pytest.mark.parametrize(("largest", "expected"), [(1e300, [-2.0, -3.0]), (1e-300, [1.0, 1.0])])
def test_largest_norm_beyond_float32(largest: float, expected: Any, backend: Backend) -> None:
    p, still = parameter([1.0, 1.0], backend), parameter([1.0, 1.0], backend)
    slopes = {p.raw: raw([3.0, 4.0], backend), still.raw: raw([0.0, 0.0], backend)}
    optim.SGD([p, still], optim.SGDConfig(lr=1.0)).step(slopes, max_norm=largest)
    np.testing.assert_array_equal(p.numpy(), expected)
    step(optim.SGD([still], optim.SGDConfig(lr=1.0)), 0.0, max_norm=largest)
    np.testing.assert_array_equal(still.numpy(), [1.0, 1.0])


@pytest.mark.parametrize("other", ["float32", "float64"])
def test_scale_may_be_one_of_the_parameters(other: str, backend: Backend) -> None:
    scale, p = parameter([2.0], backend), parameter([1.0, 1.0], backend, dtype=other)
    optimizer = optim.SGD([scale, p], optim.SGDConfig(lr=1.0))
    slopes = {scale.raw: raw([1.0], backend), p.raw: raw([1.0, 1.0], backend, other)}
    optimizer.step(slopes, scale=scale)
    np.testing.assert_array_equal(scale.numpy(), [0.0])
    np.testing.assert_array_equal(p.numpy(), [-1.0, -1.0])


def test_scale_of_another_kind_of_array_is_refused(backend: Backend) -> None:
    class Elsewhere(np.ndarray[Any, Any]):
        pass

    parameters = two(backend)
    optimizer = make(SGD, parameters)
    with pytest.raises(BackendMismatchError, match="expected a scale on the gradients' device"):
        optimizer.step(gradients(parameters), scale=RawTensor(np.ones(()).view(Elsewhere)))


SIZES = (0, 1, 255, 256, 257, 16_384, 16_385, 1_048_575, 1_048_577, 2_500_000)
DTYPES = ("float32", "float64", "float16", "bfloat16")


def _arrays(seed: int) -> list[HostArray]:
    rng = np.random.default_rng(seed)
    sizes: list[int] = rng.permutation(SIZES).tolist()
    dtypes = [as_dtype(dtype) for dtype in DTYPES]
    return [np.asarray(rng.normal(size=n)).astype(dtypes[i % 4]) for i, n in enumerate(sizes)]


def test_norm_is_right_to_the_last_digits(backend: Backend) -> None:
    arrays = _arrays(1)
    got = backend.to_numpy(backend.global_norm([backend.from_numpy(x) for x in arrays]))
    exact = math.sqrt(sum(math.fsum((x.astype(np.float64) ** 2).tolist()) for x in arrays))
    assert got.dtype == np.float64
    assert got.shape == ()
    np.testing.assert_allclose(got, exact, rtol=1e-14)


@pytest.mark.parametrize("seed", [1, 2])
def test_norm_has_the_same_bits_on_every_cpu_backend(seed: int) -> None:
    pytest.importorskip("numba", reason='numba is not installed; pip install -e ".[numba]"')
    arrays = _arrays(seed)
    norms = [
        backend.to_numpy(backend.global_norm([backend.from_numpy(x) for x in arrays])).tobytes()
        for backend in (born.get_backend("numpy"), born.get_backend("numba"))
    ]
    assert norms[0] == norms[1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_of_one_dtype_and_of_views(dtype: str, backend: Backend) -> None:
    x = backend.from_numpy(np.array([[3.0, 9.0, 0.0], [0.0, 9.0, -4.0]]).astype(as_dtype(dtype)))
    norm = backend.global_norm([RawTensor(x.array[:, ::2]), RawTensor(x.array.T[0])])
    assert norm.dtype == np.float64
    np.testing.assert_allclose(backend.to_numpy(norm), math.sqrt(34), rtol=1e-7)


def test_norm_does_not_overflow_in_float32(backend: Backend) -> None:
    x = backend.from_numpy(np.array([3e30, 4e30], np.float32))
    np.testing.assert_allclose(backend.to_numpy(backend.global_norm([x])), 5e30, rtol=1e-6)


LAYOUTS: dict[str, Callable[[HostArray], HostArray]] = {
    "transposed": lambda x: x.T,
    "rows apart": lambda x: x[::2],
    "columns apart": lambda x: x[:, ::3],
    "backwards": lambda x: x[::-1, ::-1],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_norm_of_a_view_is_of_its_copy(layout: str, dtype: str, cpu_backend: Backend) -> None:
    x = np.random.default_rng(3).normal(size=(1500, 1400)).astype(as_dtype(dtype))
    view = LAYOUTS[layout](x)
    xs = [view, x[0, :7], view[:3]]
    norms = [
        cpu_backend.global_norm([RawTensor(each) for each in given]).array.tobytes()
        for given in (xs, [each.copy() for each in xs])
    ]
    assert norms[0] == norms[1]


def test_norm_of_a_view_takes_no_copy_of_it(cpu_backend: Backend) -> None:
    view = RawTensor(np.ones((1500, 1400), np.float32).T)
    cpu_backend.global_norm([view])  # what is compiled is compiled here
    # The view has eight times as many bytes.
    assert allocated(lambda: cpu_backend.global_norm([view])) < 2**20
