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
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.dtypes import as_dtype
from born.errors import BackendMismatchError, DomainError, OperandError
from born.raw import HostArray, RawTensor
from tests.optim.making import (
    ADAM,
    CONFIGS,
    assert_unchanged,
    contents,
    gradients,
    make,
    parameter,
    raw,
    two,
)
from tests.tools import allocated

every_config = pytest.mark.parametrize("config", CONFIGS, ids=repr)


def _after_one_step(config: optim.Config, backend: Backend, by: float, **options: Any) -> Any:
    parameters = two(backend)
    optimizer = make(config, parameters)
    optimizer.step(gradients(parameters, by), **options)
    return contents(optimizer)


@every_config
@pytest.mark.parametrize("kind", ["number", "raw", "tensor"])
def test_scale_multiplies_every_gradient(config: optim.Config, kind: str, backend: Backend) -> None:
    scale: Any = 0.25
    if kind == "raw":
        scale = raw(0.25, backend)
    if kind == "tensor":
        scale = born.tensor([0.25], backend, "float64")  # rounded to what the rule computes in
    expected = _after_one_step(config, backend, 0.75)
    got = _after_one_step(config, backend, 3.0, scale=scale)
    for key, array in expected.items():
        assert got[key].tobytes() == array.tobytes(), key


@every_config
def test_norm_above_the_largest_allowed_is_clipped(config: optim.Config, backend: Backend) -> None:
    # Five elements of 3.2 with the scale of 0.5 have the norm 1.6 sqrt(5), so each becomes
    # 1 / sqrt(5): a float32's last place is left to the division.
    expected = _after_one_step(config, backend, 1 / math.sqrt(5))
    got = _after_one_step(config, backend, 3.2, scale=0.5, max_norm=1.0)
    for key, array in expected.items():
        np.testing.assert_allclose(got[key], array, rtol=1e-6, err_msg=key)


@every_config
def test_norm_within_bounds_changes_no_bit(config: optim.Config, backend: Backend) -> None:
    expected = _after_one_step(config, backend, 0.3)
    got = _after_one_step(config, backend, 0.3, max_norm=10.0)
    for key, array in expected.items():
        assert got[key].tobytes() == array.tobytes(), key


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
    p = parameter([1.0, 2.0], backend)
    p.raw.grad = raw([4.0, 8.0], backend)
    optim.SGD([p], optim.SGDConfig(lr=1.0)).step(scale=0.25)
    np.testing.assert_array_equal(p.numpy(), [0.0, 0.0])


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
    parameters = [
        parameter([0.0], backend, dtype=dtype) for dtype in ("float32", "float64", "bfloat16")
    ]
    optimizer = optim.SGD(parameters, optim.SGDConfig(lr=1.0))
    slopes = {
        p.raw: raw([g], backend, str(p.dtype)) for p, g in zip(parameters, (2, 3, 6), strict=True)
    }
    optimizer.step(slopes, max_norm=3.5)  # the norm is 7
    values = [float(p.numpy()[0]) for p in parameters]
    assert values == [-1.0, -1.5, -3.0]


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_gradient_that_is_not_finite_is_no_crash(value: float, backend: Backend) -> None:
    p = parameter([1.0, 1.0], backend)
    optim.SGD([p], optim.SGDConfig(lr=1.0)).step({p.raw: raw([value, 1.0], backend)}, max_norm=1.0)
    assert not np.isfinite(p.numpy()[0])


def test_gradients_of_zero_stay_zero(backend: Backend) -> None:
    p = parameter([1.0], backend)
    optim.SGD([p], optim.SGDConfig(lr=1.0)).step({p.raw: raw([0.0], backend)}, max_norm=1.0)
    np.testing.assert_array_equal(p.numpy(), [1.0])


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


@pytest.mark.parametrize(("options", "error", "message"), BAD, ids=str)
def test_bad_scales_change_nothing(
    options: dict[str, Any], error: type[Exception], message: str, backend: Backend
) -> None:
    if isinstance(options.get("scale"), RawTensor):
        options = {"scale": backend.from_numpy(options["scale"].array)}
    parameters = two(backend)
    optimizer = make(ADAM, parameters)
    before = contents(optimizer)
    with pytest.raises(error, match=message):
        optimizer.step(gradients(parameters), **options)
    assert_unchanged(optimizer, before)


@pytest.mark.parametrize(("options", "error", "message"), BAD[:7], ids=str)
def test_bad_scales_are_refused_where_no_gradient_is(
    options: dict[str, Any], error: type[Exception], message: str, backend: Backend
) -> None:
    with pytest.raises(error, match=message):
        make(ADAM, two(backend)).step({}, **options)


@pytest.mark.parametrize(("largest", "expected"), [(1e300, [-2.0, -3.0]), (1e-300, [1.0, 1.0])])
def test_largest_norm_that_float32_does_not_hold(
    largest: float, expected: list[float], backend: Backend
) -> None:
    p, still = parameter([1.0, 1.0], backend), parameter([1.0, 1.0], backend)
    slopes = {p.raw: raw([3.0, 4.0], backend), still.raw: raw([0.0, 0.0], backend)}
    optim.SGD([p, still], optim.SGDConfig(lr=1.0)).step(slopes, max_norm=largest)
    np.testing.assert_array_equal(p.numpy(), expected)
    optim.SGD([still], optim.SGDConfig(lr=1.0)).step(
        {still.raw: slopes[still.raw]}, max_norm=largest
    )
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
    optimizer = make(CONFIGS[0], parameters)
    with pytest.raises(BackendMismatchError, match="expected a scale on the gradients' device"):
        optimizer.step(gradients(parameters), scale=RawTensor(np.ones(()).view(Elsewhere)))


# -- the norm itself -----------------------------------------------------------------------

SIZES = (0, 1, 255, 256, 257, 16_384, 16_385, 1_048_575, 1_048_577, 2_500_000)
DTYPES = ("float32", "float64", "float16", "bfloat16")


def _arrays(seed: int) -> list[HostArray]:
    rng = np.random.default_rng(seed)
    sizes: list[int] = rng.permutation(SIZES).tolist()
    bfloat16 = as_dtype("bfloat16")
    dtypes: list[np.dtype[Any]] = [
        np.dtype("float32"),
        np.dtype("float64"),
        np.dtype("float16"),
        bfloat16,
    ]
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
def test_norm_of_one_dtype(dtype: str, backend: Backend) -> None:
    x = np.array([[3.0, 0.0], [0.0, -4.0]]).astype(as_dtype(dtype))
    norm = backend.global_norm([backend.from_numpy(x), backend.from_numpy(x[:, 0])])
    assert norm.dtype == np.float64
    np.testing.assert_allclose(backend.to_numpy(norm), math.sqrt(34), rtol=1e-7)


def test_norm_does_not_overflow_in_float32(backend: Backend) -> None:
    x = backend.from_numpy(np.array([3e30, 4e30], np.float32))
    np.testing.assert_allclose(backend.to_numpy(backend.global_norm([x])), 5e30, rtol=1e-6)


def test_norm_of_a_view(backend: Backend) -> None:
    x = backend.from_numpy(np.arange(600, dtype=np.float32).reshape(20, 30))
    view = RawTensor(x.array.T[::2])
    expected = np.linalg.norm(np.arange(600.0).reshape(20, 30).T[::2])
    np.testing.assert_allclose(backend.to_numpy(backend.global_norm([view])), expected, rtol=1e-6)


LAYOUTS: dict[str, Callable[[HostArray], HostArray]] = {
    "transposed": lambda x: x.T,
    "rows apart": lambda x: x[::2],
    "columns apart": lambda x: x[:, ::3],
    "backwards": lambda x: x[::-1, ::-1],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_norm_of_a_view_has_the_bits_of_its_copy_s(
    layout: str, dtype: str, cpu_backend: Backend
) -> None:
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


def test_gradients_may_have_been_made_by_autodiff(backend: Backend) -> None:
    autodiff = Autodiff(backend)
    p = nn.Parameter(born.tensor([3.0, 4.0], autodiff))
    with autodiff.tape:
        loss = (p * p).sum()
    optim.SGD([p], optim.SGDConfig(lr=1.0)).step(backward(loss), max_norm=5.0)
    np.testing.assert_allclose(p.numpy(), [0.0, 0.0], atol=1e-6)
