"""Steps as one pass: what they allocate, and arrays that changed behind the optimizer's back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.backend import Backend
from born.errors import BackendMismatchError, BornError, DTypeError, GradientError, ParameterError
from born.raw import Array, HostArray, RawTensor
from tests.optim.making import (
    ADAM,
    CONFIGS,
    Parameter,
    assert_unchanged,
    contents,
    make,
    parameter,
    raw,
)
from tests.tools import allocated

every_config = pytest.mark.parametrize("config", CONFIGS, ids=repr)

LARGE = 4_000_000
ALLOWANCE = 4 * 2**20
"""What a step may allocate beyond parameters, gradients and state, in bytes."""


@pytest.mark.parametrize("options", [{}, {"scale": 0.5, "max_norm": 1.0}], ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", [CONFIGS[3], CONFIGS[5]], ids=repr)
def test_step_allocates_no_array_of_a_parameter(
    config: optim.Config, dtype: str, options: dict[str, Any], cpu_backend: Backend
) -> None:
    small = nn.Parameter(born.ones((3,), cpu_backend, dtype=dtype))
    # Whatever is compiled is compiled here.
    make(config, [small]).step(
        {small.raw: born.ones((3,), cpu_backend, dtype=dtype).raw}, **options
    )
    p = nn.Parameter(born.ones((LARGE,), cpu_backend, dtype=dtype))
    optimizer = make(config, [p])
    gradients = {p.raw: born.ones((LARGE,), cpu_backend, dtype=dtype).raw}
    # The first step, which makes scratch, is the hungriest.
    assert allocated(lambda: optimizer.step(gradients, **options)) < ALLOWANCE
    assert (p.numpy()[[0, -1]] < 1).all()


@pytest.mark.parametrize("case", ["strided gradients", "several dtypes"])
def test_what_is_out_of_the_ordinary_allocates_as_little(case: str, cpu_backend: Backend) -> None:
    size = (LARGE // 2000, 2000)
    dtypes = ["float32"] if case == "strided gradients" else ["float32", "bfloat16", "float64"]
    held = [nn.Parameter(born.ones(size, cpu_backend, dtype=dtype)) for dtype in dtypes]
    gradients = {p.raw: born.ones(size, cpu_backend, dtype=str(p.dtype)).raw for p in held}
    if case == "strided gradients":
        gradients = {held[0].raw: RawTensor(np.ones(size[::-1], np.float32).T)}
    optimizer = make(CONFIGS[5], held)
    small = make(CONFIGS[5], [parameter([1.0], cpu_backend, dtype=dtype) for dtype in dtypes])
    small.step({p.raw: raw([1.0], cpu_backend, str(p.dtype)) for p in small.parameters})
    assert allocated(lambda: optimizer.step(gradients)) < ALLOWANCE


def test_scale_too_large_for_the_rule_is_infinite_without_a_word(backend: Backend) -> None:
    p = parameter([1.0], backend)
    make(CONFIGS[0], [p]).step({p.raw: raw([1.0], backend)}, scale=1e300)
    assert not np.isfinite(p.numpy()).any()


def test_scalars_that_fail_change_nothing(backend: Backend) -> None:
    def third(p: Any, g: Any, *, lr: Any, t: Any) -> Any:
        return (p - lr / (t - 3) * g,)

    class Third(optim.Optimizer[Any, optim.SGDConfig]):
        config_type = optim.SGDConfig

        @classmethod
        def rule(cls, config: optim.SGDConfig) -> optim.Rule:
            return optim.Rule(third, slots=(), scalars={"lr": config.lr})

    one, two = parameter([1.0], backend), parameter([1.0], backend, dtype="float64")
    optimizer = Third([one, two], optim.SGDConfig(lr=1.0))
    for _ in range(2):  # so that only the second group divides by zero in the next
        optimizer.step({two.raw: raw([0.0], backend, "float64")})
    with pytest.raises(ZeroDivisionError) as failure:
        optimizer.step({one.raw: raw([1.0], backend), two.raw: raw([1.0], backend, "float64")})
    assert one.numpy() == two.numpy() == 1.0
    assert "scalars of the rule third for update t = 3" in "".join(failure.value.__notes__)


def test_kernels_can_be_looked_at(backend: Backend) -> None:
    parameters = [parameter([1.0], backend), parameter([1.0], backend, dtype="float64")]
    optimizer = make(ADAM, parameters)
    assert [kernel.dtypes[0] for kernel in optimizer.kernels] == [p.dtype for p in parameters]
    assert all(kernel.source for kernel in optimizer.kernels)
    assert all(kernel.program.name in str(kernel.program) for kernel in optimizer.kernels)


# -- arrays that changed -------------------------------------------------------------------


def _shorter(array: HostArray) -> HostArray:
    array.resize((1, 2), refcheck=False)
    return array


def _longer(array: HostArray) -> HostArray:
    array.resize((700, 3), refcheck=False)
    return array


def _replaced(array: Array) -> Array:
    return array.copy()


every_gradient = pytest.mark.parametrize(
    "fitting", [True, False], ids=["new gradient", "old gradient"]
)


@every_config
@pytest.mark.parametrize("change", [_replaced, _shorter, _longer])
@every_gradient
def test_array_that_was_changed_is_refused_and_nothing_changes(
    config: optim.Config,
    change: Callable[[Array], Array],
    fitting: bool,
    backend: Backend,
    request: pytest.FixtureRequest,
) -> None:
    if change is not _replaced:  # only NumPy's arrays can be resized
        request.getfixturevalue("cpu_backend")
    first, second = parameter(1.0, backend, "first"), parameter(np.ones((2, 3)), backend, "second")
    optimizer = make(config, [first, second])
    gradients = {p.raw: raw(np.ones(p.shape), backend) for p in (first, second)}
    optimizer.step(gradients)
    second.raw.array = change(second.raw.array)
    if fitting:
        gradients[second.raw] = raw(np.ones(second.shape), backend)
    before = contents(optimizer)
    with pytest.raises(ParameterError, match=r"parameter 1 \('second'\): expected the array .*; "):
        optimizer.step(gradients)
    assert_unchanged(optimizer, before)


def _views(backend: Backend, buffer: RawTensor, *indices: Any) -> list[Parameter]:
    parameters = [parameter(1.0, backend, "apart")]
    for name, index in zip("xy", indices, strict=True):
        tensor = born.Tensor(RawTensor(buffer.array[index]), backend)
        parameters.append(nn.Parameter(tensor, name))
    return parameters


OVERLAPPING = [
    (np.s_[:], np.s_[:]),
    (np.s_[:, :2], np.s_[:, 1:]),
    (np.s_[2:3], np.s_[:]),
    (np.s_[::-1], np.s_[1:2, 0]),
]


@pytest.mark.parametrize("indices", OVERLAPPING, ids=str)
def test_parameters_that_share_memory_are_refused_by_name(
    indices: tuple[Any, Any], backend: Backend
) -> None:
    parameters = _views(backend, backend.ones((4, 3), "float32"), *indices)
    for order in (parameters, parameters[::-1]):
        with pytest.raises(ParameterError, match=r"do not share memory, got .*; copy one") as error:
            optim.SGD(order, optim.SGDConfig())
        assert "('x')" in str(error.value)
        assert "('y')" in str(error.value)


@pytest.mark.parametrize("index", [np.s_[1:1], np.s_[0:0], np.s_[4:], np.s_[2:2, 1:]], ids=str)
@pytest.mark.parametrize("whole", [np.s_[:], np.s_[1:3]], ids=str)
def test_parameters_without_elements_share_no_memory(
    index: Any, whole: Any, backend: Backend
) -> None:
    buffer = backend.ones((4, 3), "float32")
    apart, empty, full = _views(backend, buffer, index, whole)
    for order in ([empty, full], [full, empty], [apart, full, empty]):
        optimizer = optim.SGD(order, optim.SGDConfig(lr=0.5))
        optimizer.step({p.raw: raw(np.zeros(p.shape), backend) for p in order})
    overlapping = _views(backend, buffer, whole, np.s_[2:])[1:]
    for order in ([empty, *overlapping], [*overlapping, empty]):
        with pytest.raises(ParameterError, match=r"\('x'\) and .*\('y'\)|\('y'\) and .*\('x'\)"):
            optim.SGD(order, optim.SGDConfig())


def test_halves_of_one_buffer_are_welcome(backend: Backend) -> None:
    buffer = backend.ones((4, 3), "float32")
    parameters = _views(backend, buffer, np.s_[:2], np.s_[2:])
    optimizer = optim.SGD(parameters, optim.SGDConfig(lr=0.5))
    optimizer.step({parameters[2].raw: raw(np.ones((2, 3)), backend)})
    assert backend.to_numpy(buffer).tolist() == [[1.0] * 3] * 2 + [[0.5] * 3] * 2


# -- gradients that do not fit, in optimizers of several dtypes -----------------------------


class _Subclass(np.ndarray[Any, np.dtype[Any]]):
    """An array of another kind."""


Build = Callable[[Parameter, Backend], RawTensor]


def _of(build: Callable[[Parameter], HostArray]) -> Build:
    return lambda p, backend: backend.from_numpy(build(p))


MISMATCHES: dict[str, tuple[Build, type[BornError]]] = {
    "float64": (_of(lambda p: np.ones(p.shape, np.float64)), GradientError),
    "int32": (_of(lambda p: np.ones(p.shape, np.int32)), GradientError),
    "transposed": (_of(lambda p: np.ones(p.shape[::-1], np.float32)), GradientError),
    "one axis more": (_of(lambda p: np.ones((*p.shape, 1), np.float32)), GradientError),
    "flat": (_of(lambda p: np.ones(p.size, np.float32)), GradientError),
    "one number": (_of(lambda p: np.ones((), np.float32)), GradientError),
    "empty": (_of(lambda p: np.ones((0, 2), np.float32)), GradientError),
    "subclass": (
        lambda p, _: RawTensor(np.ones(p.shape, np.float32).view(_Subclass)),
        BackendMismatchError,
    ),
    "scalar": (lambda p, _: RawTensor(np.float32(1.0)), BackendMismatchError),
    "on the host": (lambda p, _: RawTensor(np.ones(p.shape, np.float32)), BackendMismatchError),
    "byte order": (lambda p, _: RawTensor(np.ones(p.shape, ">f4")), GradientError),
}
"""Name -> a gradient that no parameter has, and the error that says so."""


@every_config
@pytest.mark.parametrize("name", MISMATCHES)
def test_gradient_unlike_its_parameter_changes_no_group(
    config: optim.Config, name: str, backend: Backend
) -> None:
    on_host = backend.zeros((), "float32").device == "cpu"
    if (name == "on the host" and on_host) or (name == "byte order" and not on_host):
        pytest.skip("an array of the host is refused on devices only, its byte order on the host")
    build, error = MISMATCHES[name]
    fine = parameter([1.0, 2.0], backend, "fine", dtype="float64")
    odd = parameter([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], backend, "odd")
    late = parameter([1.0], backend, "late", dtype="bfloat16")
    parameters = [fine, odd, late]
    optimizer = make(config, parameters)
    gradients = {p.raw: raw(np.ones(p.shape), backend, p.dtype.name) for p in parameters}
    optimizer.step(gradients)
    before = contents(optimizer)
    with pytest.raises(error, match=r"parameter 1 \('odd'\): expected a gradient .* got .*; "):
        optimizer.step(gradients | {odd.raw: build(odd, backend)})
    assert_unchanged(optimizer, before)
    optimizer.step(gradients)
    assert optimizer.timestep == 2


# -- state in another dtype ------------------------------------------------------------------


def test_slots_are_kept_in_the_dtype_that_is_asked_for(backend: Backend) -> None:
    p = parameter([1.0, 2.0], backend)
    optimizer = optim.Adam([p], optim.AdamConfig(m_dtype="bfloat16", v_dtype="float64"))
    optimizer.step({p.raw: raw([1.0, -1.0], backend)})
    state = optimizer.state_dict()
    assert state["m.0"].dtype.name == "bfloat16"
    assert state["v.0"].dtype.name == "float64"
    again = optim.Adam([p], optimizer.config)
    again.load_state_dict(state)
    assert_unchanged(again, contents(optimizer))


@pytest.mark.parametrize("dtype", ["int32", "bool", "complex64", "half a float"])
def test_slot_of_a_dtype_that_is_no_float_is_refused(dtype: str, backend: Backend) -> None:
    with pytest.raises(BornError, match=r"expected .* got .*") as error:
        optim.Adam([parameter([1.0], backend)], optim.AdamConfig(m_dtype=dtype))
    assert isinstance(error.value, DTypeError | ValueError)


def test_slot_dtype_cannot_change_under_way(backend: Backend) -> None:
    optimizer = optim.Adam([parameter([1.0], backend)], optim.AdamConfig())
    with pytest.raises(BornError, match=r"expected a config that keeps .*; make a new Adam"):
        optimizer.config = optim.AdamConfig(m_dtype="bfloat16")


def test_parameters_as_each_others_gradients(backend: Backend) -> None:
    first = nn.Parameter(born.full(3, 1.0, backend))
    second = nn.Parameter(born.full(3, 10.0, backend))
    optimizer = optim.SGD([first, second], optim.SGDConfig(lr=1.0))
    optimizer.step({first.raw: second.raw, second.raw: first.raw})
    assert first.numpy().tolist() == [-9.0] * 3
    assert second.numpy().tolist() == [9.0] * 3
