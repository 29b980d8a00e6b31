"""Transforms of rules, what `weights` shows, and optimizers by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import born
from born import nn, optim
from born.backend import Backend
from born.errors import ConfigError, ParameterError, StateDictError
from born.optim.naming import OPTIMIZERS

STEPS = 6
STARTS = (np.linspace(-2.0, 3.0, 12).reshape(3, 4), np.array([0.5, -1.5]))


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedConfig(optim.AdamConfig):
    """Adam's, for a rule with something around it."""


def wrapped(transform: Callable[[optim.Rule], optim.Rule]) -> type[optim.Optimizer[Any, Any]]:
    class Wrapped(optim.Optimizer[Any, Any]):
        config_type: ClassVar[type[optim.Config]] = WrappedConfig

        @classmethod
        def rule(cls, config: Any) -> optim.Rule:
            return transform(optim.Adam.rule(config))

    return Wrapped


def slopes(t: int, index: int) -> Any:
    g = np.sin(1.0 + np.arange(STARTS[index].size).reshape(STARTS[index].shape) * (t + 1))
    return g * (3.0 if t % 2 else 0.2)


def run(
    made: type[optim.Optimizer[Any, Any]], backend: Backend, dtype: str = "float64"
) -> tuple[optim.Optimizer[Any, Any], list[Any]]:
    parameters = [nn.Parameter(born.tensor(x, backend, dtype)) for x in STARTS]
    optimizer = made(parameters, WrappedConfig(lr=0.1))
    for t in range(STEPS):
        given = [born.tensor(slopes(t, i), backend, dtype) for i in range(len(STARTS))]
        optimizer.step({p.raw: g.raw for p, g in zip(parameters, given, strict=True)})
    return optimizer, [p.numpy() for p in parameters]


def reference(change: Callable[[list[Any]], list[Any]]) -> list[Any]:
    """Adam in NumPy over gradients that are changed beforehand."""
    values, m, v = list(STARTS), [0.0 * x for x in STARTS], [0.0 * x for x in STARTS]
    for t in range(1, STEPS + 1):
        for i, g in enumerate(change([slopes(t - 1, i) for i in range(len(STARTS))])):
            m[i], v[i] = 0.9 * m[i] + (1 - 0.9) * g, 0.999 * v[i] + (1 - 0.999) * g * g
            m_hat, v_hat = m[i] / (1 - 0.9**t), v[i] / (1 - 0.999**t)
            values[i] = values[i] - 0.1 * m_hat / (np.sqrt(v_hat) + 1e-8)
    return values


def by_norm(g: Any, size: Any) -> Any:
    return g * min(1.0, 1.0 / size)


CLIPPED: list[tuple[Callable[[optim.Rule], optim.Rule], Callable[[list[Any]], list[Any]]]] = [
    (
        lambda rule: optim.clipped(rule, max_norm=1.0),
        lambda gs: [by_norm(g, np.sqrt(sum((x * x).sum() for x in gs))) for g in gs],
    ),
    (
        lambda rule: optim.clipped(rule, tensor_norm=1.0),
        lambda gs: [by_norm(g, np.linalg.norm(g)) for g in gs],
    ),
    (lambda rule: optim.clipped(rule, value=0.5), lambda gs: [np.clip(g, -0.5, 0.5) for g in gs]),
    (optim.maximized, lambda gs: [-g for g in gs]),
]


@pytest.mark.parametrize(("transform", "change"), CLIPPED)
def test_gradients_are_clipped_as_it_says(transform: Any, change: Any, backend: Backend) -> None:
    _, values = run(wrapped(transform), backend)
    for ours, theirs in zip(values, reference(change), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_caution_moves_only_what_agrees(backend: Backend) -> None:
    _, values = run(wrapped(optim.cautious), backend)
    states: list[dict[str, Any]] = [{} for _ in STARTS]
    for i, start in enumerate(STARTS):
        p, m, v = start, 0.0 * start, 0.0 * start
        for t in range(1, STEPS + 1):
            g = slopes(t - 1, i)
            m, v = 0.9 * m + (1 - 0.9) * g, 0.999 * v + (1 - 0.999) * g * g
            update = 0.1 * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            agrees = update * g > 0
            p = p - update * agrees / max(agrees.mean(), 1e-3)
        states[i]["p"] = p
        np.testing.assert_allclose(values[i], p, rtol=1e-12)


def test_average_is_a_slot_and_can_be_shown(backend: Backend) -> None:
    optimizer, values = run(wrapped(lambda rule: optim.averaged(rule, 0.5)), backend)
    average: Any = STARTS[1]
    p, m, v = STARTS[1], 0.0 * STARTS[1], 0.0 * STARTS[1]
    for t in range(1, STEPS + 1):
        g = slopes(t - 1, 1)
        m, v = 0.9 * m + (1 - 0.9) * g, 0.999 * v + (1 - 0.999) * g * g
        p = p - 0.1 * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        average = 0.5 * average + 0.5 * p
    with optimizer.weights("average"):
        np.testing.assert_allclose(optimizer.parameters[1].numpy(), average, rtol=1e-12)
    assert optimizer.parameters[1].numpy().tobytes() == values[1].tobytes()


def test_one_bad_element_keeps_everything(backend: Backend) -> None:
    optimizer, values = run(wrapped(optim.finite_only), backend)
    _, plain = run(wrapped(lambda rule: rule), backend)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(values, plain, strict=True))
    before = {key: backend.to_numpy(x).tobytes() for key, x in optimizer.state_dict().items()}
    bad = np.ones((3, 4))
    bad[1, 2] = np.inf
    first, second = optimizer.parameters
    fine = born.ones(2, backend, "float64")
    grads = {first.raw: born.tensor(bad, backend).raw, second.raw: fine.raw}
    optimizer.step(grads)
    for p, value in zip(optimizer.parameters, values, strict=True):
        assert p.numpy().tobytes() == value.tobytes()
    after = {key: backend.to_numpy(x).tobytes() for key, x in optimizer.state_dict().items()}
    assert {key for key in after if after[key] != before[key]} == {"t.0", "t.1"}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_all_of_them_together_have_the_same_bits_everywhere(dtype: str) -> None:
    def transform(rule: optim.Rule) -> optim.Rule:
        rule = optim.cautious(optim.independent(rule, 0.01))
        rule = optim.averaged(optim.decoupled(rule, 0.1))
        rule = optim.clipped(optim.clipped(rule, tensor_norm=2.0), max_norm=1.0)
        return optim.finite_only(optim.l2(rule, 0.1))

    pytest.importorskip("numba", reason="Numba is not installed")
    made = wrapped(transform)
    both = [run(made, born.get_backend(name), dtype)[1] for name in ("numpy", "numba")]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*both, strict=True))


@pytest.mark.parametrize("options", [{}, {"value": 1.0, "max_norm": 1.0}])
def test_clipping_takes_one_limit(options: Any) -> None:
    with pytest.raises(ConfigError, match="one of max_norm, tensor_norm, value, adaptive to clip"):
        optim.clipped(optim.Adam.rule(optim.AdamConfig()), **options)


def test_weights_that_are_not_there_are_refused(backend: Backend) -> None:
    optimizer, _ = run(wrapped(lambda rule: rule), backend)
    with pytest.raises(StateDictError, match=r"one of m, v, got 'average'; correct"):
        optimizer.weights("average")


def test_no_step_and_no_second_entry_while_weights_are_shown(backend: Backend) -> None:
    optimizer, values = run(wrapped(optim.averaged), backend)
    shown = optimizer.weights("average")

    def interrupted() -> None:
        with shown:
            with pytest.raises(ParameterError, match=r"expected to step with.*inside of Weights"):
                optimizer.step({})
            with pytest.raises(ParameterError, match="entered already; leave"), shown:
                pass
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert optimizer.parameters[0].numpy().tobytes() == values[0].tobytes()
    assert list(shown.state_dict()) == ["0", "1"]


@pytest.mark.parametrize("name", optim.names())
def test_every_optimizer_is_made_by_its_name_and_by_its_json(name: str, backend: Backend) -> None:
    p = nn.Parameter(born.ones((2, 2), backend))
    by_name = optim.create(name.upper(), [p], lr=0.25)
    assert type(by_name) is OPTIMIZERS[name]
    config = optim.from_config(by_name.config.to_json())
    assert config == by_name.config
    assert type(optim.create(config, [p], lr=0.5)) is type(by_name)


def test_a_name_or_a_config_that_no_optimizer_has() -> None:
    with pytest.raises(ConfigError, match=r"got 'adma'; did you mean adam"):
        optim.create("adma", [])
    with pytest.raises(ConfigError, match=r"got 'x'; one of adabelief, "):
        optim.create("x", [])
    with pytest.raises(ConfigError, match=r"the config of one of .* got a NoneConfig; read"):
        optim.from_config({"type": "NoneConfig"})
    with pytest.raises(ConfigError, match=r"a mapping with the name of a config under 'type'"):
        optim.from_config({})
