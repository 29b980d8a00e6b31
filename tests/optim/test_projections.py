"""Projections: the nearest point, by the conditions that only it meets, and beside SciPy."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import born
from born import checkpoint, nn, optim
from born.backend import Backend
from born.errors import ConfigError, DTypeError, ParameterError, ShapeError
from born.optim import projections
from born_numpy import NumpyBackend
from tests.optim.making import gradients, parameter, raw

Array = npt.NDArray[np.float64]

NUMPY: Final = NumpyBackend()
TOLERANCE: Final = 1e-12
"""Of numbers up to 100 in double, after some hundred additions."""

vectors = arrays(
    np.float64,
    st.integers(1, 30),
    elements=st.one_of(st.floats(-100, 100), st.sampled_from([0.0, 1.0, -1.0])),
)


def apply(function: Callable[..., born.Tensor[Any]], x: Array, **options: Any) -> Array:
    return np.asarray(function(born.tensor(x, NUMPY), **options).numpy(), np.float64)


# -- the conditions of Karush, Kuhn and Tucker -------------------------------------------


@given(vectors, st.sampled_from([0.0, 0.1, 3.0]))
def test_monotonic(x: Array, margin: float) -> None:
    y = apply(projections.monotonic, x, margin=margin)
    steps = np.diff(y) - margin
    assert (steps >= -TOLERANCE * 100).all()
    # y - x = D'μ with a multiplier μ ≥ 0 for each step, which is 0 where the step is larger.
    multipliers = np.cumsum(x - y)
    assert (multipliers >= -TOLERANCE * 3000).all()
    assert abs(multipliers[-1]) <= TOLERANCE * 3000
    assert (np.abs(multipliers[:-1] * steps) <= TOLERANCE * 1e5).all()


@given(vectors, st.sampled_from([1.0, 0.25, 10.0]))
def test_simplex(x: Array, total: float) -> None:
    y = apply(projections.simplex, x, total=total)
    assert (y >= 0).all()
    assert abs(y.sum() - total) <= TOLERANCE * 100
    # y - x = μ - τ: one τ for all, and a multiplier μ ≥ 0 where y is 0.
    threshold = (x - y)[y > 0]
    assert np.ptp(threshold) <= TOLERANCE * 100
    assert (x[y == 0] <= threshold.max() + TOLERANCE * 100).all()


@given(vectors)
def test_unit_norm(x: Array) -> None:
    y = apply(projections.unit_norm, x)
    assert abs(np.linalg.norm(y) - 1) <= 1e-15
    # As near as any point of the sphere can be: the difference of the norms.
    assert abs(np.linalg.norm(y - x) - abs(np.linalg.norm(x) - 1)) <= TOLERANCE * 100


@given(vectors)
def test_box_and_non_negative(x: Array) -> None:
    np.testing.assert_array_equal(apply(projections.non_negative, x), np.maximum(x, 0))
    np.testing.assert_array_equal(
        apply(projections.box, x, low=-0.5, high=2.0), np.clip(x, -0.5, 2.0)
    )


@given(vectors)
def test_what_is_allowed_stays(x: Array) -> None:
    for function in (projections.monotonic, projections.simplex, projections.unit_norm):
        once = apply(function, x)
        np.testing.assert_allclose(apply(function, once), once, atol=TOLERANCE)
    rising = np.unique(x.round(3))
    np.testing.assert_array_equal(apply(projections.monotonic, rising), rising)


# -- beside others ---------------------------------------------------------------------


def test_the_example_of_the_documents() -> None:
    y = apply(projections.monotonic, np.array([0.0, 1.0, 1.0, 2.0]), margin=0.1)
    np.testing.assert_allclose(y, [0, 0.95, 1.05, 2], rtol=0, atol=1e-15)


@pytest.mark.parametrize("seed", range(8))
def test_a_quadratic_solver_finds_no_nearer_point(seed: int) -> None:
    scipy: Any = pytest.importorskip("scipy.optimize", reason="SciPy is not needed by born")
    x = np.random.default_rng(seed).normal(size=8) * 2
    # Of steps that are at least 0, after the first: a bounded problem of least squares.
    ramp, low = 0.3 * np.arange(8), np.array([-np.inf] + [0.0] * 7)
    steps = scipy.lsq_linear(np.tri(8), x - ramp, (low, np.inf), method="bvls", tol=1e-14).x
    y = apply(projections.monotonic, x, margin=0.3)
    np.testing.assert_allclose(y, np.cumsum(steps) + ramp, atol=1e-9)
    # A row of large weight for the sum, which leaves an error of about its inverse square.
    weighted = np.vstack([np.eye(8), np.full(8, 1e5)])
    y = apply(projections.simplex, x)
    np.testing.assert_allclose(y, scipy.nnls(weighted, np.append(x, 1e5))[0], atol=1e-8)


@given(arrays(np.float64, (3, 6), elements=st.floats(-10, 10)), st.booleans())
def test_both_ways_to_monotonic_are_one(x: Array, decreasing: bool) -> None:
    tensor = born.tensor(x, NUMPY)
    fast = projections.monotonic(tensor, axis=0, margin=0.2, decreasing=decreasing).numpy()
    columns = [
        projections.monotonic(tensor[:, i], margin=0.2, decreasing=decreasing).numpy()
        for i in range(6)
    ]
    np.testing.assert_allclose(fast, np.stack(columns, axis=1), atol=1e-13)
    sign = -1 if decreasing else 1
    ramp = 0.2 * np.arange(3)
    pooled = projections._pooled  # pyright: ignore[reportPrivateUsage]  # the other way
    for i in range(6):
        expected = sign * (pooled(sign * x[:, i] - ramp) + ramp)
        np.testing.assert_allclose(fast[:, i], expected, atol=1e-13)


def test_long_sequences_are_pooled_on_the_host() -> None:
    x = np.random.default_rng(0).normal(size=5000) + np.arange(5000) / 1000
    y = apply(projections.monotonic, x)
    assert (np.diff(y) >= -1e-12).all()
    multipliers = np.cumsum(x - y)
    assert multipliers.min() >= -1e-9
    assert abs(multipliers[-1]) <= 1e-9


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_dtypes_and_extremes(dtype: str, backend: Backend) -> None:
    x = born.tensor(np.array([[3e30, -1e30, 1e-30], [0.0, 0.0, 0.0]]), backend, dtype=dtype)
    for function in (
        projections.unit_norm,
        projections.simplex,
        projections.monotonic,
        projections.non_negative,
    ):
        y = function(x)
        assert y.dtype == x.dtype
        assert y.shape == x.shape
        assert np.isfinite(y.numpy().astype(np.float64)).all()
    rows = projections.unit_norm(x, axis=1).numpy().astype(np.float64)
    np.testing.assert_allclose((rows**2).sum(axis=1), 1, rtol=2e-2 if dtype == "bfloat16" else 1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_never_hidden(value: float, backend: Backend) -> None:
    for n in (3, 3000):  # on the device, and on the host
        x = born.tensor(np.array([1.0, value, *[2.0] * (n - 2)]), backend, dtype="float32")
        for function in (projections.unit_norm, projections.simplex, projections.monotonic):
            with np.errstate(invalid="ignore"):
                assert not np.isfinite(function(x).numpy()).all()
    for y in (projections.non_negative(x), projections.box(x, 0.0, 1.0)):
        assert np.isnan(y.numpy()[1]) == np.isnan(value)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_ties_zeros_and_single_elements(n: int, backend: Backend) -> None:
    for value in (0.0, 0.5, -3.0):
        x = born.full((2, n), value, backend, dtype="float64")
        unit = np.sign(value) or 1.0
        np.testing.assert_allclose(projections.unit_norm(x, 1).numpy(), unit / np.sqrt(n))
        np.testing.assert_allclose(projections.simplex(x).numpy(), 1 / n)
        np.testing.assert_allclose(projections.simplex(x, total=0.0).numpy(), 0.0)
        np.testing.assert_array_equal(projections.monotonic(x, axis=0).numpy(), x.numpy())
        np.testing.assert_array_equal(projections.box(x, 0.25, 0.25).numpy(), 0.25)
        np.testing.assert_array_equal(projections.box(x).numpy(), x.numpy())
        np.testing.assert_array_equal(projections.box(x, low=-1.0).numpy(), max(value, -1.0))


def test_nothing_to_project(backend: Backend) -> None:
    empty = born.zeros((3, 0), backend)
    for function in (projections.non_negative, projections.box, projections.monotonic):
        assert function(empty).shape == (3, 0)
    for function in (projections.unit_norm, projections.simplex):
        with pytest.raises(ShapeError, match=r"at least one element along axis .*, got shape"):
            function(empty)
    assert projections.simplex(empty, axis=0).shape == (3, 0)
    with pytest.raises(DTypeError, match="of a floating dtype, got int64, which has no room"):
        projections.unit_norm(born.arange(3, backend=backend))


def test_many_sequences_take_no_more_memory_than_one() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 400))
    tracemalloc.start()
    y = projections.monotonic(born.tensor(x, NUMPY), axis=1).numpy()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * x.nbytes  # as matrices they would be 400 times as large, and several
    one = projections.monotonic(born.tensor(x[7], NUMPY)).numpy()
    np.testing.assert_allclose(y[7], one, atol=1e-12)


# -- in an optimizer -------------------------------------------------------------------


def _named(backend: Backend) -> list[nn.Parameter[Backend]]:
    return [
        parameter([0.2, 0.1, 0.3], backend, "a.rate"),
        parameter([0.0, 1.0, 1.0, 2.0], backend, "calibrator.y"),
        parameter([1.0, 2.0], backend, "free"),
    ]


HELD: Final = [optim.NonNegative("*.rate"), optim.Monotonic("calibrator.*", margin=0.1)]


def test_they_are_applied_after_each_update(backend: Backend) -> None:
    held, plain = _named(backend), _named(backend)
    optimizer = optim.SGD(held, lr=0.5, momentum=0.9, projections=HELD)
    other = optim.SGD(plain, lr=0.5, momentum=0.9)
    for size in (1.0, -0.3, 0.2):
        optimizer.step(gradients(held, size))
        other.step(gradients(plain, size))
        for p, projection in zip(plain, HELD, strict=False):
            p.assign(projection(p.tensor))
        for ours, theirs in zip(held, plain, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    assert (held[0].numpy() >= 0).all()
    assert held[2].numpy()[0] < 1
    # One without a gradient is left alone, even where it is not allowed.
    held[0].assign(np.array([-1.0, 0.0, 0.0], np.float32))
    optimizer.step({held[2].raw: raw([1.0, 1.0], backend)})
    assert held[0].numpy()[0] == -1.0


def test_they_go_along_and_resume(backend: Backend, tmp_path: Path) -> None:
    whole, first, second = (_named(backend) for _ in range(3))
    optimizer = optim.Adam(whole, lr=0.3, projections=HELD)
    for _ in range(6):
        optimizer.step(gradients(whole, 0.7))
    half = optim.Adam(first, lr=0.3, projections=HELD)
    for _ in range(3):
        half.step(gradients(first, 0.7))
    checkpoint.save(tmp_path / "run.safetensors", optimizer=half)
    for p, q in zip(second, first, strict=True):
        p.assign(q.numpy())
    resumed = optim.Adam(second, lr=0.3, projections=HELD)
    checkpoint.load(tmp_path / "run.safetensors", optimizer=resumed)
    parameters, copied = copy.deepcopy((first, half))
    loaded_parameters, loaded = pickle.loads(pickle.dumps((first, half)))
    for run, own in ((resumed, second), (copied, parameters), (loaded, loaded_parameters)):
        for _ in range(3):
            run.step(gradients(own, 0.7))
        for p, q in zip(own, whole, strict=True):
            np.testing.assert_array_equal(p.numpy(), q.numpy())


def test_without_a_pattern_a_projection_is_for_all(backend: Backend) -> None:
    held = _named(backend)
    optimizer = optim.SGD(held, lr=10.0, projections=[optim.Simplex(), optim.Box(high=0.5)])
    optimizer.step(gradients(held))
    for p in held:
        assert (p.numpy() >= 0).all()
        assert (p.numpy() <= 0.5).all()
    rows = parameter(np.ones((2, 4)), backend)
    optim.SGD([rows], lr=0.1, projections=[optim.UnitNorm()]).step(gradients([rows]))
    np.testing.assert_allclose(rows.numpy(), 0.5, atol=1e-7)


def _less(p: Any, g: Any) -> Any:
    return (p - g,)


def test_a_box_may_be_open(backend: Backend) -> None:
    moved = [0.1, 0.5, 0.5, 0.9]
    for low, high in ((None, 0.5), (0.5, None), (None, None)):
        box = optim.Box(low=low, high=high)
        p = parameter([0.2, 0.4, 0.6, 0.8], backend)
        g = raw([1.0, -1.0, 1.0, -1.0], backend)
        optim.SGD([p], lr=0.1, projections=[box]).step({p.raw: g})
        ends = (-np.inf if low is None else low), (np.inf if high is None else high)
        np.testing.assert_allclose(p.numpy(), np.clip(moved, *ends), rtol=1e-6)
        rule = optim.projected(optim.Rule(_less, slots=(), scalars={}), box)
        assert [rule.function(x, 0.0, t=1)[0] for x in moved] == np.clip(moved, *ends).tolist()


def test_projections_are_settings() -> None:
    for projection in (*HELD, optim.Box(), optim.UnitNorm(), optim.Simplex(total=2.0)):
        data = json.loads(json.dumps(projection.to_json()))
        assert type(projection).from_json(data) == projection


def test_what_cannot_be_projected_is_refused() -> None:
    parameters = _named(NUMPY)
    with pytest.raises(ParameterError, match=r"NonNegative\(select='\*\.weight'\) to match.*'a\.r"):
        optim.SGD(parameters, lr=0.1, projections=[optim.NonNegative("*.weight")])
    with pytest.raises(ConfigError, match=r"expected projections such as .*, got 'rate'"):
        optim.SGD(parameters, lr=0.1, projections=["rate"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]  # refused
    with pytest.raises(ConfigError, match=r"expected a list of projections, got NonNegative"):
        optim.SGD(parameters, lr=0.1, projections=optim.NonNegative())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # refused
    with pytest.raises(ShapeError, match=r"expected an axis of 1, got 3") as caught:
        optim.SGD(parameters, lr=0.1, projections=[optim.Monotonic("free", axis=3)])
    assert "on Parameter('free'" in caught.value.__notes__[0]
    with pytest.raises(ConfigError, match=r"expected low of at most high, got 1\.0 and 0\.0"):
        optim.Box(low=1.0, high=0.0)
    with pytest.raises(ConfigError, match=r"Monotonic\.margin: .* at least 0, got -1\.0"):
        optim.Monotonic(margin=-1.0)
    with pytest.raises(ConfigError, match=r"margin .* from 0"):
        projections.monotonic(born.zeros(3, NUMPY), margin=-1.0)
    with pytest.raises(ShapeError, match=r"expected a tensor with an axis to be monotonic along"):
        projections.monotonic(born.zeros((), NUMPY))
    with pytest.raises(ShapeError, match=r"expected an axis of 1, got 3"):
        projections.monotonic(born.zeros(3, NUMPY), axis=3)


# -- what follows an update --------------------------------------------------------------


class Followed:
    """SGD whose steps are projected, and then averaged, or taken back as by lookahead."""

    def __init__(self, start: Array, project: Callable[[Array], Array]) -> None:
        self.p, self.project = start, project
        self.average = self.slow = project(start)

    def step(self, g: Array, t: int, decay: float | None, k: int | None) -> None:
        self.p = self.project(self.p - 0.3 * g)
        if k is not None and t % k == 0:
            self.slow = self.slow + 0.5 * (self.p - self.slow)
            self.p = self.slow
        if decay is not None:
            self.average = decay * self.average + (1 - decay) * self.p
        self.p = self.project(self.p)


KINDS: Final[dict[str, tuple[optim.Projection, Callable[..., born.Tensor[Any]]]]] = {
    "simplex": (optim.Simplex(), projections.simplex),
    "monotonic": (optim.Monotonic(margin=0.1), partial(projections.monotonic, margin=0.1)),
    "non-negative": (optim.NonNegative(), projections.non_negative),
    "unit norm": (optim.UnitNorm(), partial(projections.unit_norm, axis=-1)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("average", "k"), [(0.8, None), ("uniform", None), (0.8, 2), (None, 2)])
def test_what_follows_an_update_sees_what_is_projected(
    kind: str, average: Any, k: int | None, backend: Backend
) -> None:
    if backend.name == "numba" and (kind != "simplex" or k is None):
        pytest.skip("another kernel to compile for each")
    projection, function = KINDS[kind]
    rng = np.random.default_rng(0)
    start = rng.normal(size=(2, 5))
    p, free = (parameter(start, backend, name, "float64") for name in ("p", "free"))
    optimizer = optim.SGD(
        [p, free],
        lr=0.3,
        average=average,
        nonfinite="skip",
        projections=[dataclasses.replace(projection, select="p")],
        wrappers=[] if k is None else [lambda rule: optim.lookahead(rule, k=k)],
    )
    held = Followed(start, lambda x: apply(function, x))
    loose = Followed(start, lambda x: x)
    for t in range(1, 6):
        g = rng.normal(size=start.shape)
        bad = {x.raw: raw(np.full(start.shape, np.nan), backend, "float64") for x in (p, free)}
        optimizer.step(bad)  # which changes nothing
        optimizer.step({x.raw: raw(g, backend, "float64") for x in (p, free)})
        decay = 1 - 1 / t if average == "uniform" else average
        for each in (held, loose):
            each.step(g, t, decay, k)
        np.testing.assert_allclose(p.numpy(), held.p, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(free.numpy(), loose.p, rtol=1e-12, atol=1e-14)
    values = [p.numpy()]
    if average is not None:
        averaged = {n: x.numpy() for n, x in optimizer.weights("average").state_dict().items()}
        np.testing.assert_allclose(averaged["free"], loose.average, rtol=1e-12, atol=1e-14)
        expected = apply(function, held.average)
        np.testing.assert_allclose(averaged["p"], expected, rtol=1e-12, atol=1e-14)
        if kind != "unit norm":  # of what is allowed, an average is
            np.testing.assert_allclose(held.average, expected, rtol=1e-12, atol=1e-14)
        values.append(averaged["p"])
    for value in values:
        np.testing.assert_allclose(value, apply(function, value), rtol=1e-14, atol=1e-15)


def test_what_is_projected_goes_on_after_a_resume(backend: Backend) -> None:
    def make() -> tuple[Any, Any]:
        p = parameter([[0.5, 0.9, -1.0]], backend, "p", "bfloat16")
        return p, optim.Adam(
            [p],
            lr=0.1,
            average=0.9,
            projections=[optim.Simplex()],
            precision=optim.Precision(parameters="master"),
            wrappers=[lambda rule: optim.lookahead(rule, k=2)],
        )

    (p, whole), (q, other) = make(), make()
    for t in range(5):
        whole.step(gradients([p], 0.1 * t))
        master = backend.to_numpy(whole.state_dict()["master.0"])
        assert master.sum() == pytest.approx(1.0, abs=1e-6)
        assert (master >= 0.0).all()
        assert (backend.to_numpy(p.raw) == master.astype(p.dtype)).all()
        if t == 2:
            q.assign(p)
            other.load_state_dict(whole.state_dict())
        elif t > 2:
            other.step(gradients([q], 0.1 * t))
    for key, value in whole.state_dict().items():
        assert (backend.to_numpy(value) == backend.to_numpy(other.state_dict()[key])).all(), key
    assert (p.numpy() == q.numpy()).all()
    copied = copy.deepcopy(whole)
    assert copied.timestep == 5


@pytest.mark.parametrize("base", [optim.ScheduleFreeSGDConfig(lr=0.5), optim.ASGDConfig(lr=0.5)])
def test_weights_that_a_rule_keeps_are_allowed_ones(base: Any, backend: Backend) -> None:
    p = parameter([0.5, 0.9, -1.0], backend, "p", "float64")
    optimizer = optim.create(base, [p], projections=[optim.Simplex()])
    for t in range(4):
        optimizer.step({p.raw: raw([0.3 * t, -1.0, 1.0], backend, "float64")})
    name = "x" if isinstance(base, optim.ScheduleFreeSGDConfig) else "average"
    x = optimizer.weights(name).state_dict()["p"].numpy()
    assert (x >= 0).all()
    assert x.sum() == pytest.approx(1.0, abs=1e-15)


def test_what_follows_an_update_is_last_among_the_wrappers() -> None:
    p = parameter([1.0], NUMPY, "p")
    late, early = ([optim.cautious, optim.lookahead], [optim.lookahead, optim.cautious])
    optim.SGD([p], lr=0.1, projections=[optim.NonNegative()], wrappers=late)
    optim.SGD([p], lr=0.1, wrappers=early)
    with pytest.raises(ConfigError, match=r"write them last: wrappers=\[optim.cautious, optim.loo"):
        optim.SGD([p], lr=0.1, projections=[optim.NonNegative()], wrappers=early)
