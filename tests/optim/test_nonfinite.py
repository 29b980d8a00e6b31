"""Gradients that are not finite: what each policy changes, and what it says of them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from born import optim
from born.backend import Backend
from born.errors import ConfigError, GradientError
from born.optim import schedules
from born.optim.nonfinite import POLICIES
from born.optim.state import RECORDS
from born.raw import HostArray, RawTensor
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

every_value = pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])

SKIPPED: tuple[tuple[optim.Config, dict[str, Any]], ...] = (
    (ADAM, {}),
    (ADAM, {"max_norm": 0.5}),
    (optim.AdafactorConfig(lr=0.1), {}),
    (optim.ProdigyConfig(), {}),
)
"""Slots of each rank: elements, rows and columns, one number for all parameters."""


def three(backend: Backend, dtype: str = "float32") -> list[Parameter]:
    return [
        parameter([[1.0, -2.0], [3.0, 4.0]], backend, "first", dtype),
        parameter([0.5, 1.5, 2.5], backend, "second", dtype),
        parameter(0.5, backend, "third", dtype),
    ]


def slopes(
    parameters: list[Parameter], t: int, bad: dict[int, float] | None = None
) -> dict[RawTensor, RawTensor]:
    """Gradients of step t; the first element of some of them is another."""
    gradients: dict[RawTensor, RawTensor] = {}
    for index, p in enumerate(parameters):
        g: HostArray = np.sin(np.arange(p.size) * (index + 1.0) + t + 1.0).reshape(p.shape)
        if bad and index in bad:
            g.flat[0] = bad[index]
        gradients[p.raw] = raw(g, p.backend, p.dtype.name)
    return gradients


def go(
    optimizer: optim.Optimizer[Any], t: int, bad: dict[int, float] | None = None, **options: Any
) -> optim.StepReport:
    return optimizer.step(slopes(list(optimizer.parameters), t, bad), **options)


def with_policy(
    config: optim.Config, backend: Backend, policy: str, **options: Any
) -> optim.Optimizer[Any]:
    made = type(make(config, three(backend)))
    return made(three(backend), config, nonfinite=policy, **options)


@every_value
@pytest.mark.parametrize(("config", "options"), SKIPPED)
def test_skipped_step_changes_nothing(
    config: optim.Config, value: float, options: dict[str, Any], backend: Backend
) -> None:
    optimizer = with_policy(config, backend, "skip")
    go(optimizer, 0, **options)
    before = contents(optimizer)
    report = go(optimizer, 1, {1: value}, **options)
    assert not report.applied
    assert_unchanged(optimizer, before)
    assert optimizer.timestep == 1
    assert go(optimizer, 1, **options).applied
    assert optimizer.timestep == 2


def test_run_goes_on_as_if_skipped_steps_had_not_been(backend: Backend) -> None:
    config = ADAM.replace(lr=schedules.Cosine(1.0, steps=10, warmup=3))
    plain, skipping = make(config, three(backend)), with_policy(config, backend, "skip")
    for t in range(5):
        lr = plain.lr
        go(plain, t)
        for _ in range(t % 3):
            go(skipping, t, {t % 3: np.nan})
        report = go(skipping, t)
        assert (report.lr, report.step) == (lr, t + 1)
    assert_unchanged(skipping, contents(plain))
    assert skipping.timestep == 5


DAMPENED = optim.SGDConfig(lr=0.1, momentum=0.9, dampening=0.5)

FIRST_UPDATE = (
    *CONFIGS,
    DAMPENED,
    optim.AdafactorConfig.like("optax"),
    optim.MuonConfig.like("optax"),
)
"""Also rules whose first update is another: undampened, or all of an average."""


@pytest.mark.parametrize("config", FIRST_UPDATE, ids=repr)
def test_first_good_gradient_is_the_first(config: optim.Config, backend: Backend) -> None:
    if backend.name != "numpy" and config is not DAMPENED:
        pytest.skip("kernels of every optimizer to compile; what is left out is in their programs")
    plain, skipping, zeroed, zeros = (
        with_policy(config, backend, policy) for policy in ("ignore", "skip", "zero", "ignore")
    )
    for t in range(3):
        if t != 1:
            assert not go(skipping, t, {1: np.nan}).applied
        go(plain, t)
        go(skipping, t)
        bad = {0: np.inf, 2: np.nan} if t == 0 else {1: np.nan}
        go(zeroed, t, bad)
        go(zeros, t, dict.fromkeys(bad, 0.0))
    assert_unchanged(skipping, contents(plain))
    assert_unchanged(zeroed, contents(zeros))


def test_elements_that_begin_late_begin_from_no_state(backend: Backend) -> None:
    # The first update of their parameter is over, so theirs is dampened.
    p = parameter([1.0, 1.0], backend)
    optimizer = optim.SGD([p], DAMPENED, nonfinite="keep")
    optimizer.step({p.raw: raw([2.0, np.nan], backend)})
    np.testing.assert_allclose(p.numpy(), [0.8, 1.0], rtol=1e-6)
    optimizer.step({p.raw: raw([2.0, 2.0], backend)})
    np.testing.assert_allclose(p.numpy(), [0.8 - 0.1 * 2.8, 1.0 - 0.1 * 1.0], rtol=1e-6)


def refuse(optimizer: optim.Optimizer[Any], match: str, bad: dict[int, float]) -> None:
    """A step that raises; on a device that the host is ahead of, the next one does."""

    def twice() -> None:
        for _ in range(2):
            go(optimizer, 1, bad)

    with pytest.raises(GradientError, match=match):
        twice()


def test_raise_changes_nothing_and_names_the_parameters(backend: Backend) -> None:
    optimizer = with_policy(ADAM, backend, "raise")
    go(optimizer, 0)
    before = contents(optimizer)
    refuse(
        optimizer,
        r"expected finite gradients, got NaN or infinity in step 2 in those of 2 of 3 parameters: "
        r"'second' \(1 elements\), 'third' \(1 elements\); nothing was updated",
        {1: np.nan, 2: np.inf},
    )
    assert_unchanged(optimizer, before)
    plain = make(ADAM, three(backend))
    for each in (plain, optimizer):
        go(each, 0) if each is plain else None
        assert go(each, 1).applied
    assert_unchanged(optimizer, contents(plain))


def test_zero_is_a_gradient_of_zero(backend: Backend) -> None:
    plain, zeroed = make(ADAM, three(backend)), with_policy(ADAM, backend, "zero")
    for t in range(3):
        go(plain, t, {0: 0.0})
        assert go(zeroed, t, {0: np.nan}).applied
    assert_unchanged(zeroed, contents(plain))


def test_keep_leaves_elements_and_their_state_alone(backend: Backend) -> None:
    kept, plain = (with_policy(ADAM, backend, policy) for policy in ("keep", "ignore"))
    for optimizer in (kept, plain):
        go(optimizer, 0)
    before = contents(kept)
    go(kept, 1, {1: -np.inf})
    go(plain, 1)
    assert kept.timestep == 2
    after, moved = contents(kept), contents(plain)
    for key in ("p.1", "m.1", "v.1"):
        assert after[key][0] == before[key][0]
        assert after[key][0] != moved[key][0]
        np.testing.assert_array_equal(after[key][1:], moved[key][1:])


@pytest.mark.parametrize("policy", ["skip", "zero", "keep"])
def test_faults_are_the_first_of_each_parameter(policy: str, backend: Backend) -> None:
    optimizer = with_policy(ADAM, backend, policy)
    bad: list[dict[int, float]] = [{}, {2: np.nan}, {0: np.inf, 2: np.nan}, {}, {1: np.inf}]
    reports = [go(optimizer, t, each) for t, each in enumerate(bad)]
    assert [report.nonfinite for report in reports] == [
        {},
        {"third": 1},
        {"first": 1, "third": 1},
        {},
        {"second": 1},
    ]
    assert optimizer.faults == (("third", 2, 1), ("first", 3, 1), ("second", 5, 1))


def test_parameter_without_gradient_is_not_looked_at(backend: Backend) -> None:
    optimizer = with_policy(ADAM, backend, "skip")
    parameters = list(optimizer.parameters)
    go(optimizer, 0, {1: np.nan})
    report = optimizer.step(slopes([parameters[0]], 1))
    assert report.applied
    assert report.nonfinite == {}
    assert report.missing == ("second", "third")


def test_late_parameters_keep_their_own_count(backend: Backend) -> None:
    plain, careful = make(ADAM, three(backend)), with_policy(ADAM, backend, "skip")
    for optimizer in (plain, careful):
        ours = list(optimizer.parameters)
        optimizer.step(slopes(ours[:2], 0))
        if optimizer is careful:
            careful.step(slopes(ours[:2], 1, {0: np.inf}))
        go(optimizer, 1)
    assert_unchanged(careful, contents(plain))


def test_other_dtypes_and_kernels_share_one_decision(backend: Backend) -> None:
    parameters = [parameter([1.0], backend, d, d) for d in ("float32", "float64", "float16")]
    optimizer = optim.SGD(parameters, lr=1.0, nonfinite="skip")
    report = optimizer.step(slopes(parameters, 0, {2: np.inf}))
    assert report.nonfinite == {"float16": 1}
    assert [p.item() for p in parameters] == [1.0, 1.0, 1.0]


def test_projections_are_left_out_as_well(backend: Backend) -> None:
    p = parameter([-1.0, 2.0], backend)
    optimizer = optim.SGD([p], lr=1.0, projections=[optim.NonNegative()], nonfinite="skip")
    optimizer.step({p.raw: raw([np.nan, 0.0], backend)})
    assert p.numpy().tolist() == [-1.0, 2.0]
    optimizer.step({p.raw: raw([0.0, 0.0], backend)})
    assert p.numpy().tolist() == [0.0, 2.0]


def test_state_is_that_of_a_plain_optimizer(backend: Backend) -> None:
    optimizer = with_policy(ADAM, backend, "skip", watch=("update_ratio",))
    go(optimizer, 0, {0: np.nan})
    plain = make(ADAM, three(backend))
    seen = {x for x in optimizer.state_dict() if x.rpartition(".")[0] in RECORDS}
    assert optimizer.state_dict().keys() - seen == plain.state_dict().keys()
    plain.load_state_dict(optimizer.state_dict())
    assert plain.timestep == 0


@pytest.mark.parametrize("pickled", [False, True])
def test_copies_keep_the_policy(pickled: bool, backend: Backend) -> None:
    optimizer = with_policy(ADAM, backend, "skip", watch=("update_ratio",))
    go(optimizer, 0)
    twin = pickle.loads(pickle.dumps(optimizer)) if pickled else copy.deepcopy(optimizer)
    report = go(twin, 1, {0: np.nan})
    assert not report.applied
    assert "update_ratio" in report.watched
    assert_unchanged(twin, contents(optimizer))


def test_config_may_change_under_way(backend: Backend) -> None:
    optimizer = with_policy(ADAM, backend, "skip")
    go(optimizer, 0, {0: np.nan}, max_norm=1.0)
    optimizer.lr = 0.01
    assert not go(optimizer, 0, {0: np.nan}, max_norm=1.0).applied
    plain = make(ADAM.replace(lr=0.01), three(backend))
    for each in (optimizer, plain):
        assert go(each, 0, max_norm=1.0).lr == 0.01
    assert_unchanged(optimizer, contents(plain))


BAD: tuple[tuple[dict[str, Any], str], ...] = (
    (
        {"nonfinite": "ignor"},
        "expected nonfinite to be one of 'raise', 'skip', 'zero', 'keep', 'ignore', got 'ignor'",
    ),
    ({"nonfinite": None}, "expected nonfinite to be one of .*, got None"),
    (
        {"watch": ("norm",)},
        r"expected watch to be a tuple of 'grad_norm', 'param_norm', 'update_norm', "
        r"'update_ratio', got \('norm',\)",
    ),
    ({"watch": "grad_norm"}, "expected watch to be a tuple of .*, got 'grad_norm'"),
)


@pytest.mark.parametrize(("options", "text"), BAD)
def test_what_is_refused(options: dict[str, Any], text: str, backend: Backend) -> None:
    with pytest.raises(ConfigError, match=text):
        optim.SGD(three(backend), lr=0.1, **options)


def test_nothing_is_looked_at_by_default(backend: Backend) -> None:
    optimizer = make(ADAM, three(backend))
    report = go(optimizer, 0, {0: np.nan})
    assert report.applied
    assert report.nonfinite == {}
    assert optimizer.faults == ()
    assert not any(kernel.program.staged for kernel in optimizer.kernels)
    assert set(POLICIES) == {"raise", "skip", "zero", "keep", "ignore"}


def test_model_trains_through_bad_batches(backend: Backend) -> None:
    (p, *_) = three(backend)
    optimizer = optim.Adam([p], ADAM, nonfinite="skip")
    for t in range(60):
        g = p.numpy() * (np.nan if t % 3 == 0 else 1.0)
        optimizer.step({p.raw: raw(g, backend)})
    assert optimizer.timestep == 40
    assert np.abs(p.numpy()).max() < 3.0


def test_average_and_gathered_gradients_are_left_out_as_well(backend: Backend) -> None:
    if backend.name == "numba":
        pytest.skip("more kernels to compile; their passes are those of the tests above")
    options: dict[str, Any] = {"accumulate": 2, "average": 0.5}
    plain, skipping = (with_policy(ADAM, backend, p, **options) for p in ("ignore", "skip"))
    for t in range(2):
        go(plain, t)
        go(skipping, t)
    reports = [go(skipping, 7, {1: np.nan}), go(skipping, 8)]  # one bad batch of an update
    assert [report.applied for report in reports] == [False, False]
    assert reports[1].nonfinite == {"second": 1}
    for t in range(2, 4):
        go(plain, t)
        go(skipping, t)
    assert_unchanged(skipping, contents(plain))
    assert skipping.timestep == 2
