"""What goes around a rule does what its docstring says: against plain NumPy, in double."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

import born
from born import nn, optim
from born.backend import Backend
from born.errors import ConfigError, RuleError
from born.raw import HostArray

STEPS = 7
SHAPES = ((3, 4), (5,), (2, 3, 2, 2), ())
LR = 0.25
MOMENTUM = 0.5
Wrap = Callable[[optim.Rule], optim.Rule]


def start(index: int) -> HostArray:
    shape = SHAPES[index]
    wave = np.cos(np.arange(np.prod(shape, dtype=int), dtype=float) + 1.0 + index)
    return np.asarray(wave.reshape(shape))


def slope(t: int, index: int) -> HostArray:
    shape = SHAPES[index]
    wave = np.sin(0.5 + index + t * np.arange(1.0, 1 + np.prod(shape, dtype=int)))
    return np.asarray(wave.reshape(shape) * (3.0 if t % 2 else 0.02))


class Sgd:
    """The rule inside: SGD with momentum, its update as a difference."""

    def __init__(self, index: int) -> None:
        self.p, self.m = start(index), np.zeros(SHAPES[index])

    def step(self, g: HostArray) -> HostArray:
        self.m = MOMENTUM * self.m + g
        return LR * self.m


AVERAGED: Any = optim.averaged


def run(
    transform: Wrap, backend: Backend, dtype: str = "float64", steps: int = STEPS
) -> optim.Optimizer[Any]:
    class Wrapped(optim.Optimizer[Any, Any]):
        config_type: ClassVar[type[optim.Config]] = optim.SGDConfig

        @classmethod
        def rule(cls, config: Any) -> optim.Rule:
            return transform(optim.SGD.rule(config))

    parameters = [nn.Parameter(born.tensor(start(i), backend, dtype)) for i in range(len(SHAPES))]
    optimizer = Wrapped(parameters, optim.SGDConfig(lr=LR, momentum=MOMENTUM))
    for t in range(1, steps + 1):
        given = [born.tensor(slope(t, i), backend, dtype) for i in range(len(SHAPES))]
        optimizer.step({p.raw: g.raw for p, g in zip(parameters, given, strict=True)})
    return optimizer


def units(x: HostArray) -> HostArray:
    """The norm of each unit, to be broadcast."""
    if x.ndim < 2:
        return np.asarray(np.sqrt((x * x).sum()))
    flat = x.reshape(x.shape[0], -1)
    norms = np.sqrt((flat * flat).sum(-1))
    return np.asarray(norms.reshape(-1, *[1] * (x.ndim - 1)))


def adaptive(states: list[Sgd], gs: list[HostArray]) -> list[HostArray]:
    limits = [0.1 * np.maximum(units(each.p), 1e-3) for each in states]
    return [g * np.minimum(1, c / units(g)) for g, c in zip(gs, limits, strict=True)]


def centred(states: list[Sgd], gs: list[HostArray]) -> list[HostArray]:
    return [
        g - g.reshape(len(g), -1).mean(-1).reshape(-1, *[1] * (g.ndim - 1)) if g.ndim > 1 else g
        for g in gs
    ]


GRADIENTS: list[tuple[Wrap, Any]] = [
    (lambda rule: optim.clipped(rule, adaptive=0.1), adaptive),
    (optim.centralized, centred),
]


@pytest.mark.parametrize(("transform", "change"), GRADIENTS)
def test_gradients_are_changed_by_unit(transform: Wrap, change: Any, backend: Backend) -> None:
    states = [Sgd(i) for i in range(len(SHAPES))]
    for t in range(1, STEPS + 1):
        changed = change(states, [slope(t, i) for i in range(len(SHAPES))])
        for each, g in zip(states, changed, strict=True):
            each.p = each.p - each.step(g)
    optimizer = run(transform, backend)
    for p, each in zip(optimizer.parameters, states, strict=True):
        np.testing.assert_allclose(p.numpy(), each.p, rtol=1e-12, atol=1e-14)


STEPPED: list[tuple[Wrap, Callable[[list[HostArray]], list[HostArray]]]] = [
    (
        lambda rule: optim.clip_step(rule, max_norm=0.5),
        lambda us: [u * min(1.0, 0.5 / np.sqrt(sum((x * x).sum() for x in us))) for u in us],
    ),
    (
        lambda rule: optim.clip_step(rule, tensor_norm=0.5),
        lambda us: [u * min(1.0, 0.5 / np.sqrt((u * u).sum())) for u in us],
    ),
    (
        lambda rule: optim.clip_step(rule, value=0.3),
        lambda us: [np.clip(u, -0.3, 0.3) for u in us],
    ),
]


@pytest.mark.parametrize(("transform", "change"), STEPPED)
def test_steps_are_clipped(transform: Wrap, change: Any, backend: Backend) -> None:
    states = [Sgd(i) for i in range(len(SHAPES))]
    for t in range(1, STEPS + 1):
        updates = change([each.step(slope(t, i)) for i, each in enumerate(states)])
        for each, update in zip(states, updates, strict=True):
            each.p = each.p - update
    optimizer = run(transform, backend)
    for p, each in zip(optimizer.parameters, states, strict=True):
        np.testing.assert_allclose(p.numpy(), each.p, rtol=1e-12, atol=1e-14)


def test_average_may_be_uniform_or_by_a_schedule(backend: Backend) -> None:
    uniform = run(lambda rule: optim.averaged(rule, "uniform"), backend)
    faded = run(lambda rule: optim.averaged(rule, lambda t: 1 / (1 + t)), backend)
    for index in range(len(SHAPES)):
        each, passed = Sgd(index), list[HostArray]()
        average = each.p
        for t in range(1, STEPS + 1):
            each.p = each.p - each.step(slope(t, index))
            passed.append(each.p)
            decay = 1 / (1 + t)
            average = decay * average + (1 - decay) * each.p
        shown = uniform.weights("average").state_dict()[str(index)]
        np.testing.assert_allclose(shown.numpy(), np.mean(passed, axis=0), rtol=1e-12)
        shown = faded.weights("average").state_dict()[str(index)]
        np.testing.assert_allclose(shown.numpy(), average, rtol=1e-12)


def test_lookahead_goes_back_every_kth_update(backend: Backend) -> None:
    optimizer = run(lambda rule: optim.lookahead(rule, k=3, alpha=0.25), backend)
    for index, p in enumerate(optimizer.parameters):
        each = Sgd(index)
        slow = each.p
        for t in range(1, STEPS + 1):
            each.p = each.p - each.step(slope(t, index))
            if t % 3 == 0:
                slow = slow + 0.25 * (each.p - slow)
                each.p = slow
        np.testing.assert_allclose(p.numpy(), each.p, rtol=1e-12)
        shown = optimizer.weights("slow").state_dict()[str(index)]
        np.testing.assert_allclose(shown.numpy(), slow, rtol=1e-12)


def test_averages_begin_where_the_weights_were_at_the_first_step(backend: Backend) -> None:
    """Loaded after the optimizer was made, as checkpoints of pretrained models are."""
    both: list[Wrap] = [optim.averaged, lambda rule: optim.lookahead(rule, k=1, alpha=0.5)]
    for transform in both:

        class Wrapped(optim.SGD[Any]):
            @classmethod
            def rule(cls, config: Any, transform: Any = transform) -> optim.Rule:
                made: optim.Rule = transform(optim.SGD.rule(config))
                return made

        p = nn.Parameter(born.full(3, 7.0, backend))
        optimizer = Wrapped([p], lr=0.5)
        p.assign(born.ones(3, backend))
        optimizer.step({p.raw: born.zeros(3, backend).raw})
        for key, value in optimizer.state_dict().items():
            if key != "t.0":
                assert backend.to_numpy(value).tolist() == [1.0] * 3
        assert p.numpy().tolist() == [1.0] * 3


def test_first_updates_move_only_the_state(backend: Backend) -> None:
    optimizer = run(lambda rule: optim.warm_state(rule, 3), backend)
    for index, p in enumerate(optimizer.parameters):
        each = Sgd(index)
        for t in range(1, STEPS + 1):
            update = each.step(slope(t, index))
            each.p = each.p - update * (t > 3)
        np.testing.assert_allclose(p.numpy(), each.p, rtol=1e-12)


@pytest.mark.parametrize("k", [1, 3])
def test_accumulated_rule_updates_by_the_mean_of_k(k: int, backend: Backend) -> None:
    optimizer = run(lambda rule: optim.accumulated(rule, k), backend)
    for index, p in enumerate(optimizer.parameters):
        each = Sgd(index)
        for t in range(k, STEPS + 1, k):
            mean = np.mean([slope(t - i, index) for i in range(k)], axis=0)
            each.p = each.p - each.step(mean)
        np.testing.assert_allclose(p.numpy(), each.p, rtol=1e-12)


def test_schedules_of_an_accumulated_rule_count_its_updates(backend: Backend) -> None:
    class Wrapped(optim.SGD[Any]):
        @classmethod
        def rule(cls, config: Any) -> optim.Rule:
            return optim.accumulated(optim.SGD.rule(config), 2)

    p = nn.Parameter(born.zeros(1, backend))
    optimizer = Wrapped([p], lr=optim.schedules.Exponential(0.1, 0.1))
    found: list[float] = []
    for _ in range(4):
        optimizer.step({p.raw: born.ones(1, backend).raw})
        found.append(p.item())
    np.testing.assert_allclose(found, [0.0, -0.1, -0.1, -0.11], rtol=1e-6)


@pytest.mark.parametrize(
    "projection",
    [
        optim.NonNegative(),
        optim.Box(low=-0.25, high=0.5),
        optim.UnitNorm(),
        optim.UnitNorm(axis=-2),
    ],
    ids=repr,
)
def test_projection_within_the_rule_is_that_of_the_optimizer(
    projection: optim.Projection, backend: Backend
) -> None:
    shapes = [(3, 4), (2, 5)]
    fused = [nn.Parameter(born.tensor(np.full(s, 0.1), backend, "float64")) for s in shapes]
    plain = [nn.Parameter(born.tensor(np.full(s, 0.1), backend, "float64")) for s in shapes]

    class Wrapped(optim.SGD[Any]):
        @classmethod
        def rule(cls, config: Any) -> optim.Rule:
            return optim.projected(optim.SGD.rule(config), projection)

    one = Wrapped(fused, lr=1.0, momentum=0.5)
    two = optim.SGD(plain, lr=1.0, momentum=0.5, projections=[projection])
    for t in range(3):
        gs = [born.tensor(np.sin(t + np.arange(np.prod(s)).reshape(s)), backend) for s in shapes]
        gs[0] = gs[0] if t else born.full((3, 4), 0.1, backend, "float64")  # to all zeros at first
        one.step({p.raw: g.raw for p, g in zip(fused, gs, strict=True)})
        two.step({p.raw: g.raw for p, g in zip(plain, gs, strict=True)})
        for left, right in zip(fused, plain, strict=True):
            np.testing.assert_allclose(left.numpy(), right.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("projection", [optim.Simplex(), optim.Monotonic(), optim.UnitNorm(axis=0)])
def test_projection_that_is_no_formula_is_refused(projection: optim.Projection) -> None:
    with pytest.raises(ConfigError, match=r"give it to the optimizer as projections=\["):
        optim.projected(optim.SGD.rule(optim.SGDConfig(lr=0.1)), projection)


WRONG: list[tuple[Wrap, str]] = [
    (lambda rule: optim.clip_step(rule), r"one of max_norm, tensor_norm, value to clip by"),
    (lambda rule: optim.averaged(rule, 1.0), r"average: expected a float .* below 1, got 1\.0"),
    (lambda rule: AVERAGED(rule, "mean"), r'or "uniform", got \'mean\''),
    (lambda rule: optim.lookahead(rule, k=0), r"expected k of at least 1, got 0"),
    (lambda rule: optim.lookahead(rule, alpha=2.0), r"lookahead\.alpha: expected .* at most 1"),
    (lambda rule: optim.warm_state(rule, -1), r"expected steps of at least 0, got -1"),
    (lambda rule: optim.accumulated(rule, 0), r"expected k of at least 1, got 0"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_wrong_settings_are_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrong(optim.SGD.rule(optim.SGDConfig(lr=0.1)))


def test_parameter_in_pieces_is_not_seen_as_a_matrix(backend: Backend) -> None:
    whole = born.zeros((4, 3, 2), backend)
    turned = nn.Parameter(whole.transpose(2, 1, 0).detach(), "kernel")

    class Wrapped(optim.SGD[Any]):
        @classmethod
        def rule(cls, config: Any) -> optim.Rule:
            return optim.centralized(optim.SGD.rule(config))

    with pytest.raises(RuleError, match=r"of shape \(2, 3, 4\) in one piece of memory, to be seen"):
        Wrapped([turned], lr=0.1)


def noise(backend: Backend, dtype: str, seed: int = 0, steps: int = 1) -> list[HostArray]:
    """What two parameters of zeros become by noise alone."""
    sizes = ((60, 50), (7,))
    parameters = [nn.Parameter(born.zeros(shape, backend, dtype)) for shape in sizes]

    def stirred(rule: optim.Rule) -> optim.Rule:
        return optim.noisy(rule, 1.0, seed)

    optimizer = optim.SGD(parameters, lr=1.0, wrappers=[stirred])
    for _ in range(steps):
        optimizer.step({p.raw: born.zeros(p.shape, backend, dtype).raw for p in parameters})
    return [p.numpy().astype(np.float64) for p in parameters]


def test_noise_has_the_moments_of_a_normal_number(backend: Backend) -> None:
    first, second = noise(backend, "float32")
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0), (6, 15.0)):
        spread = np.std(first**power) / np.sqrt(first.size)
        assert abs((first**power).mean() - moment) < 5 * spread, power
    assert abs(np.corrcoef(first.ravel()[1:], first.ravel()[:-1])[0, 1]) < 0.1
    assert abs(np.corrcoef(first.ravel(), noise(backend, "float32", seed=1)[0].ravel())[0, 1]) < 0.1
    later = noise(backend, "float32", steps=2)[0] - first
    assert abs(np.corrcoef(first.ravel(), later.ravel())[0, 1]) < 0.1
    assert second.tolist() != first.ravel()[:7].tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_noise_has_the_same_bits_everywhere(dtype: str, backend: Backend) -> None:
    ours, theirs = noise(backend, dtype, 3), noise(born.get_backend("numpy"), dtype, 3)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))


def test_noise_of_a_seed_that_is_too_large_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected a seed below 2,097,152, got 4194304"):
        optim.noisy(optim.SGD.rule(optim.SGDConfig(lr=0.1)), 0.1, 2**22)


def everything(rule: optim.Rule) -> optim.Rule:
    rule = optim.lookahead(optim.warm_state(rule, 2), k=3)
    rule = optim.projected(optim.clip_step(rule, value=0.3), optim.Box(low=-0.5, high=0.5))
    rule = optim.averaged(optim.clip_step(rule, max_norm=0.4), "uniform")
    rule = optim.clipped(optim.centralized(rule), adaptive=0.1)
    return optim.accumulated(optim.averaged(rule, 0.5), 2)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_all_of_them_together_have_the_same_bits_everywhere(dtype: str) -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    both = [run(everything, born.get_backend(name), dtype) for name in ("numpy", "numba")]
    states = [each.state_dict() for each in both]
    for key in states[0]:
        left, right = (np.asarray(each[key].array) for each in states)
        assert left.tobytes() == right.tobytes(), key
    names = ("velocity", "slow", "average.uniform", "average_", "sum.of2", "t")
    assert set(states[0]) == {f"{name}.{i}" for name in names for i in range(len(SHAPES))}
