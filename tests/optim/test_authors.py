"""Rules as an author writes them from `docs/howto/optimizer.md`: short, with the same bits."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.errors import DomainError, RuleError
from born.fusion import abs, maximum, mean, minimum, norm, sign, sqrt, where

MOST_LINES = 25


@optim.rule
def yogi(p: Any, g: Any, m: Any, v: Any, *, lr: float, beta1: float, beta2: float, t: int) -> Any:
    m = beta1 * m + (1 - beta1) * g
    v = v - (1 - beta2) * sign(v - g * g) * g * g
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return p - lr * m_hat / (sqrt(v_hat) + 1e-3), m, v


@optim.rule
def lamb(p: Any, g: Any, m: Any, v: Any, *, lr: float, beta1: float, beta2: float, t: int) -> Any:
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    u = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + 1e-6) + 0.01 * p
    ratio = where(norm(p) > 0, where(norm(u) > 0, norm(p) / norm(u), 1.0), 1.0)
    return p - lr * ratio * u, m, v


@optim.rule(row=optim.Slot("rows"), column=optim.Slot("columns"))
def adafactor(p: Any, g: Any, row: Any, column: Any, *, lr: float, t: int) -> Any:
    new = t**-0.8
    row = (1 - new) * row + new * mean(g * g, axis=-1)
    column = (1 - new) * column + new * mean(g * g, axis=-2)
    u = g / sqrt(maximum(row * column / maximum(mean(row), 1e-7), 1e-14))
    step = minimum(lr, 1 / sqrt(t)) * maximum(sqrt(mean(p * p)), 1e-3)
    return p - step * u / maximum(sqrt(mean(u * u)), 1.0), row, column


@optim.rule
def scaled_sign(p: Any, g: Any, m: Any, *, lr: float, beta1: float) -> Any:
    m = beta1 * m + (1 - beta1) * g
    return p - lr * mean(abs(g)) * sign(m), m


RULES: list[Callable[..., Any]] = [yogi, lamb, adafactor, scaled_sign]
every_rule = pytest.mark.parametrize("formula", RULES, ids=lambda f: f.__name__)


def run(formula: Callable[..., Any], backend_name: str, dtype: str = "float32") -> list[Any]:
    class Own(optim.Optimizer[Any, Any]):
        """A rule of one's own over Adam's fields."""

        config_type = optim.AdamConfig

    Own.formula = formula
    backend = born.get_backend(backend_name)
    values = [np.linspace(-1.0, 2.0, size * 6).reshape(size, 6) for size in (3, 40)]
    parameters = [nn.Parameter(born.tensor(x, backend, dtype)) for x in values]
    optimizer = Own(parameters, optim.AdamConfig(lr=0.1))
    for t in range(8):
        given = [np.cos(x * (t + 1)) for x in values]
        raws = [born.tensor(g, backend, dtype).raw for g in given]
        optimizer.step({p.raw: g for p, g in zip(parameters, raws, strict=True)})
    return [p.numpy() for p in parameters]


@every_rule
def test_rule_is_short(formula: Callable[..., Any]) -> None:
    assert len(inspect.getsource(formula).splitlines()) <= MOST_LINES


@every_rule
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cpu_backends_give_it_the_same_bits(formula: Callable[..., Any], dtype: str) -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    ours, theirs = (run(formula, name, dtype) for name in ("numpy", "numba"))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True))
    assert all(np.isfinite(a).all() for a in ours)


def test_print_in_a_rule_shows_names(capsys: pytest.CaptureFixture[str]) -> None:
    @optim.rule
    def talking(p: Any, g: Any, *, lr: float) -> Any:
        print(g, f"{lr}", g * g, copy.copy(p))  # noqa: T201  # what authors do
        return (p - lr * g,)

    shown = "<g, of rank element> <scalar lr> <r0, of rank element> <p, of rank element>"
    assert capsys.readouterr().out.splitlines()[0] == shown


def test_a_slot_has_no_default_value() -> None:
    def started(p: Any, g: Any, m: Any = 0.5, *, lr: float) -> Any:
        return p - lr * g, m

    with pytest.raises(
        RuleError, match=r"test_authors\.py, line .*got m=0\.5; where a slot starts"
    ):
        optim.rule(started)


def test_a_slot_is_declared_by_a_slot() -> None:
    wrong: Any = "tensor"
    with pytest.raises(
        RuleError, match=r"the slot 'm' as a Slot, got 'tensor'.*write m=optim.Slot"
    ):
        optim.rule(m=wrong)(scaled_sign)


def test_a_config_is_a_dataclass() -> None:
    class Bare(optim.Config):
        """Without its decorator."""

    for wrong, message in (
        (Bare, r"@dataclass\(frozen=True"),
        (dict, r"derives from optim\.Config"),
    ):
        with pytest.raises(RuleError, match=rf"Own: expected .*{message}"):
            type("Own", (optim.Optimizer,), {"config_type": wrong, "formula": scaled_sign})


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_scalars_without_a_value_change_nothing(name: str) -> None:
    if name == "numba":
        pytest.importorskip("numba", reason="compiled loops need Numba")

    class Own(optim.Optimizer[Any, Any]):
        """It divides by zero in its third step."""

        config_type = optim.SGDConfig

        @staticmethod
        def formula(p: Any, g: Any, m: Any, *, lr: float, t: int) -> Any:
            return p - lr / (3.0 - t) * g, m + g

    backend = born.get_backend(name)
    w = nn.Parameter(born.ones((3,), backend), "w")
    optimizer = Own([w], optim.SGDConfig(lr=0.5))
    grads = {w.raw: born.ones((3,), backend).raw}
    for _ in range(2):
        optimizer.step(grads)
    before = w.numpy()
    with pytest.raises(
        DomainError, match=r"formula: expected scalars .* t=3 and ZeroDivisionError"
    ):
        optimizer.step(grads)
    np.testing.assert_array_equal(w.numpy(), before)
    assert optimizer.state_dict()["t.0"].item() == 2


def test_scalars_that_no_step_changes_are_checked_first() -> None:
    class Own(optim.Optimizer[Any, Any]):
        """It takes the root of a negative number."""

        config_type = optim.SGDConfig

        @staticmethod
        def formula(p: Any, g: Any, *, lr: float) -> Any:
            return (p - sqrt(lr - 1.0) * g,)

    backend = born.get_backend("numpy")
    w = nn.Parameter(born.ones((3,), backend), "w")
    optimizer = Own([w], optim.SGDConfig(lr=0.5))
    with pytest.raises(
        DomainError, match=r"expected scalars .* lr=0\.5 and ValueError: math domain"
    ):
        optimizer.step({w.raw: born.ones((3,), backend).raw})
