"""Steps as one pass: what they allocate, and arrays that changed behind the optimizer's back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.backend import Backend
from born.errors import (
    BackendMismatchError,
    BornError,
    DomainError,
    GradientError,
    ParameterError,
)
from born.raw import HostArray, RawTensor
from tests.optim.making import (
    ADAM,
    MOMENTUM,
    SGD,
    Parameter,
    assert_unchanged,
    contents,
    every_config,
    gradients,
    make,
    parameter,
    raw,
    step,
)
from tests.tools import allocated

LARGE = 4_000_000
ALLOWANCE = 4 * 2**20
"""What a step may allocate beyond parameters, gradients and state, in bytes."""


@pytest.mark.parametrize(
    "options",
    [{}, {"scale": 0.5, "max_norm": 1.0}],
    ids=repr,
)
@pytest.mark.parametrize("dtypes", ["float32", "bfloat16", "float32 bfloat16 float64", "strided"])
@pytest.mark.parametrize("config", [MOMENTUM, ADAM], ids=repr)
def test_step_allocates_no_array_of_a_parameter(
    config: optim.Config, dtypes: str, options: dict[str, Any], cpu_backend: Backend
) -> None:
    kinds = ["float32"] if dtypes == "strided" else dtypes.split()
    small = [parameter([1.0], cpu_backend, dtype=dtype) for dtype in kinds]
    step(make(config, small), **options)  # Whatever is compiled is compiled here.
    size = (LARGE // 2000, 2000)
    held = [nn.Parameter(born.ones(size, cpu_backend, dtype=dtype)) for dtype in kinds]
    slopes = {p.raw: born.ones(size, cpu_backend, dtype=str(p.dtype)).raw for p in held}
    if dtypes == "strided":
        slopes = {held[0].raw: RawTensor(np.ones(size[::-1], np.float32).T)}
    optimizer = make(config, held)
    # The first step, which makes scratch, is the hungriest.
    assert allocated(lambda: optimizer.step(slopes, **options)) < ALLOWANCE
    assert all((p.numpy()[[0, -1]] < 1).all() for p in held)


def test_scale_too_large_for_the_rule_is_infinite_without_a_word(backend: Backend) -> None:
    p = parameter([1.0], backend)
    make(SGD, [p]).step({p.raw: raw([1.0], backend)}, scale=1e300)
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
    with pytest.raises(DomainError, match="ZeroDivisionError") as failure:
        optimizer.step({one.raw: raw([1.0], backend), two.raw: raw([1.0], backend, "float64")})
    assert one.numpy() == two.numpy() == 1.0
    assert "scalars of the rule third for update t = 3" in "".join(failure.value.__notes__)


@every_config
@pytest.mark.parametrize("shape", [None, (1, 2), (700, 3)], ids=["replaced", "shorter", "longer"])
@pytest.mark.parametrize("fitting", [True, False], ids=["new gradient", "old gradient"])
def test_array_that_was_changed_is_refused_and_nothing_changes(
    config: optim.Config, shape: Any, fitting: bool, backend: Backend
) -> None:
    first, second = parameter(1.0, backend, "first"), parameter(np.ones((2, 3)), backend, "second")
    optimizer = make(config, [first, second])
    slopes = gradients([first, second])
    optimizer.step(slopes)
    if shape is None:
        second.raw.array = second.raw.array.copy()
    elif backend.zeros((), "float32").device == "cpu":
        second.raw.array.resize(shape, refcheck=False)
    else:
        pytest.skip("only NumPy's arrays can be resized")
    if fitting:
        slopes |= gradients([second])
    before = contents(optimizer)
    with pytest.raises(ParameterError, match=r"parameter 1 \('second'\): expected the array .*; "):
        optimizer.step(slopes)
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
def test_parameters_that_share_memory_are_refused(indices: Any, backend: Backend) -> None:
    parameters = _views(backend, backend.ones((4, 3), "float32"), *indices)
    named = r"do not share memory, got .*\('[xy]'\).*\('[xy]'\).*; copy one"
    for order in (parameters, parameters[::-1]):
        with pytest.raises(ParameterError, match=named):
            optim.SGD(order, optim.SGDConfig())


@pytest.mark.parametrize("index", [np.s_[1:1], np.s_[0:0], np.s_[4:], np.s_[2:2, 1:]], ids=str)
@pytest.mark.parametrize("whole", [np.s_[:], np.s_[1:3]], ids=str)
def test_empty_parameters_share_no_memory(index: Any, whole: Any, backend: Backend) -> None:
    buffer = backend.ones((4, 3), "float32")
    apart, empty, full = _views(backend, buffer, index, whole)
    for order in ([empty, full], [full, empty], [apart, full, empty]):
        optimizer = optim.SGD(order, optim.SGDConfig(lr=0.5))
        step(optimizer, 0.0)
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
def test_mismatch_changes_no_group(config: optim.Config, name: str, backend: Backend) -> None:
    on_host = backend.zeros((), "float32").device == "cpu"
    if (name == "on the host" and on_host) or (name == "byte order" and not on_host):
        pytest.skip("an array of the host is refused on devices only, its byte order on the host")
    build, error = MISMATCHES[name]
    fine = parameter([1.0, 2.0], backend, "fine", dtype="float64")
    odd = parameter([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], backend, "odd")
    late = parameter([1.0], backend, "late", dtype="bfloat16")
    parameters = [fine, odd, late]
    optimizer = make(config, parameters)
    slopes = gradients(parameters)
    optimizer.step(slopes)
    before = contents(optimizer)
    with pytest.raises(error, match=r"parameter 1 \('odd'\): expected a gradient .* got .*; "):
        optimizer.step(slopes | {odd.raw: build(odd, backend)})
    assert_unchanged(optimizer, before)
    optimizer.step(slopes)
    assert optimizer.timestep == 2


def test_slots_are_kept_in_the_dtype_that_is_asked_for(backend: Backend) -> None:
    p = parameter([1.0, 2.0], backend)
    optimizer = optim.Adam([p], optim.AdamConfig(m_dtype="bfloat16", v_dtype="float64"))
    step(optimizer)
    state = optimizer.state_dict()
    assert (state["m.0"].dtype.name, state["v.0"].dtype.name) == ("bfloat16", "float64")
    again = optim.Adam([p], optimizer.config)
    again.load_state_dict(state)
    assert_unchanged(again, contents(optimizer))
    with pytest.raises(BornError, match=r"expected a config that keeps .*; make a new Adam"):
        optimizer.config = optim.AdamConfig(m_dtype="bfloat16")
    for unknown in ("half a float", "complex64"):
        with pytest.raises(BornError, match=rf"expected .* got '{unknown}'"):
            optim.AdamConfig(m_dtype=unknown)
    (kernel,) = optimizer.kernels
    assert [dtype.name for dtype in kernel.dtypes] == ["float32", "float32", "bfloat16", "float64"]
    assert kernel.source
    assert kernel.program.name in str(kernel.program)


def test_parameters_as_each_others_gradients(backend: Backend) -> None:
    first, second = parameter([1.0], backend), parameter([10.0], backend)
    optimizer = optim.SGD([first, second], optim.SGDConfig(lr=1.0))
    optimizer.step({first.raw: second.raw, second.raw: first.raw})
    assert (first.item(), second.item()) == (-9.0, 9.0)
