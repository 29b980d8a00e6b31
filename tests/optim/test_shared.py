"""What parameters have in common, whatever their rules and settings: totals, and slots of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.backend import Backend
from born.errors import RuleError
from born.fusion import matmul, norm, total
from born.raw import HostArray
from tests.optim.making import parameter, raw

SHAPES = {"a": (2, 3), "b": (3,), "c": ()}
Parameters = list[nn.Parameter[Backend]]
Made = Callable[[Parameters], optim.Optimizer[Backend]]


def parameters(backend: Backend) -> Parameters:
    rng = np.random.default_rng(0)
    return [parameter(rng.normal(size=s), backend, n, "float64") for n, s in SHAPES.items()]


def gradients(t: int) -> dict[str, HostArray]:
    rng = np.random.default_rng(t)
    return {name: rng.normal(size=shape) + 0.5 for name, shape in SHAPES.items()}


def take_step(optimizer: optim.Optimizer[Backend], given: dict[str, HostArray]) -> None:
    own = optimizer.parameters
    optimizer.step({p.raw: raw(given[p.name], p.backend, "float64") for p in own})


SAFE: dict[str, Made] = {
    "adafactor": lambda p: optim.create("adafactor", p, wrappers=[optim.finite_only]),
    "muon": lambda p: optim.Muon(p, lr=0.1, wrappers=[optim.finite_only]),
    "muon, clipped and skipping": lambda p: optim.Muon(
        p, lr=0.1, wrappers=[optim.finite_only], max_norm=1.0, nonfinite="skip"
    ),
    "a slot more": lambda p: optim.SGD(
        p,
        lr=0.1,
        momentum=0.9,
        wrappers=[optim.finite_only],
        groups=[optim.Group("b", momentum=0.0)],
    ),
    "another rule, wrapped": lambda p: optim.Adam(
        p,
        lr=0.1,
        wrappers=[optim.centralized, optim.finite_only],
        groups=[optim.Group("b", config=optim.LionConfig())],
    ),
    "prodigy": lambda p: optim.Prodigy(
        p,
        d0=0.1,
        wrappers=[optim.finite_only],
        max_norm=1.0,
        groups=[optim.Group("b", weight_decay=0.1)],
    ),
}


@pytest.mark.parametrize("make", SAFE.values(), ids=SAFE)
@pytest.mark.parametrize("bad", SHAPES)
def test_one_bad_element_keeps_parameters_of_all_rules(
    make: Made, bad: str, cpu_backend: Backend
) -> None:
    optimizer = make(parameters(cpu_backend))
    take_step(optimizer, gradients(1))
    before = {p.name: p.numpy().copy() for p in optimizer.parameters}
    given = gradients(2)
    take_step(optimizer, {**given, bad: given[bad] * np.nan})
    for p in optimizer.parameters:
        assert np.array_equal(p.numpy(), before[p.name]), p.name
    take_step(optimizer, given)
    for p in optimizer.parameters:
        assert not np.array_equal(p.numpy(), before[p.name]), p.name
        assert np.isfinite(p.numpy()).all()


@dataclass
class Setting:
    """What a group of Prodigy's may have for itself."""

    lr: float = 1.0
    eps: float = 1e-8
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)


def prodigy(settings: dict[str, Setting], steps: int) -> dict[str, HostArray]:
    """Algorithm 4 of Mishchenko and Defazio (2024), parameter by parameter."""
    d0 = d = 0.1
    beta3, r = 0.95, 0.0
    p = {each.name: each.numpy().copy() for each in parameters(born.get_backend("numpy"))}
    start = {name: value.copy() for name, value in p.items()}
    m, v, s = ({name: np.zeros(shape) for name, shape in SHAPES.items()} for _ in range(3))
    for t in range(1, steps + 1):
        g = gradients(t)
        r *= beta3
        for name, own in settings.items():
            beta1, beta2 = own.betas
            m[name] = beta1 * m[name] + (1 - beta1) * d * g[name]
            v[name] = beta2 * v[name] + (1 - beta2) * (d * g[name]) ** 2
            s[name] = beta3 * s[name] + d * d * own.lr / d0 * g[name]
            r += d * d * own.lr / d0 * float(np.sum(g[name] * (start[name] - p[name])))
        new = max(d, r / sum(float(np.sum(np.abs(each))) for each in s.values()))
        for name, own in settings.items():
            update = m[name] / (np.sqrt(v[name]) + new * own.eps) + own.weight_decay * p[name]
            p[name] = p[name] - own.lr * d * update
        d = new
    return p


PRODIGY: dict[str, dict[str, Any]] = {
    "one": {},
    "no decay": {"weight_decay": 0.1},
    "lr 0": {"lr": 0.0},
    "a rate of its own": {"lr": 0.5},
    "eps": {"eps": 0.5},
    "betas": {"betas": (0.5, 0.75)},
}


@pytest.mark.parametrize("own", PRODIGY.values(), ids=PRODIGY)
def test_groups_of_prodigy_share_one_estimate(own: dict[str, Any], cpu_backend: Backend) -> None:
    groups = [optim.Group("b", **own)] if own else []
    optimizer = optim.Prodigy(parameters(cpu_backend), d0=0.1, beta3=0.95, groups=groups)
    expected = prodigy({"a": Setting(), "b": Setting(**own), "c": Setting()}, 8)
    for t in range(1, 9):
        take_step(optimizer, gradients(t))
    for p in optimizer.parameters:
        np.testing.assert_allclose(p.numpy(), expected[p.name], rtol=1e-12, atol=1e-14)


def test_a_rate_of_a_group_may_change_on_the_way(cpu_backend: Backend) -> None:
    def late(t: int) -> float:
        return 1.0 if t < 5 else 0.5

    optimizer = optim.Prodigy(
        parameters(cpu_backend), d0=0.1, beta3=0.95, groups=[optim.Group("b", lr=late)]
    )
    for t in range(1, 5):
        take_step(optimizer, gradients(t))
    expected = prodigy({name: Setting() for name in SHAPES}, 4)
    for p in optimizer.parameters:
        np.testing.assert_allclose(p.numpy(), expected[p.name], rtol=1e-12, atol=1e-14)
    take_step(optimizer, gradients(5))
    assert not np.allclose(optimizer.parameters[1].numpy(), expected["b"])


@pytest.mark.parametrize("own", [{"beta3": 0.5}, {"d0": 0.5}, {"d_coef": 2.0}], ids=str)
def test_what_all_share_cannot_differ(own: dict[str, Any], cpu_backend: Backend) -> None:
    (name,) = own
    message = rf"prodigy: expected one {name} for all parameters, .* for parameter 1 \('b'\)"
    with pytest.raises(RuleError, match=message):
        optim.Prodigy(parameters(cpu_backend), d0=0.1, groups=[optim.Group("b", **own)])


def test_equal_schedules_of_betas_are_one(cpu_backend: Backend) -> None:
    def rising(t: int) -> float:
        return 0.999 if t > 3 else 0.99

    optimizer = optim.Prodigy(
        parameters(cpu_backend),
        d0=0.1,
        betas=(0.9, rising),
        groups=[optim.Group("b", weight_decay=0.1)],
    )
    for t in range(1, 6):
        take_step(optimizer, gradients(t))


def test_products_need_square_matrices(cpu_backend: Backend) -> None:
    @optim.rule
    def squared(p: Any, g: Any, *, lr: float) -> Any:
        return (p - lr * matmul(g, g),)

    class Squared(optim.Optimizer[Backend, optim.SGDConfig]):
        config_type = optim.SGDConfig
        formula = squared

    square, wide = (
        parameter(np.ones(s), cpu_backend, n) for n, s in (("s", (2, 2)), ("w", (2, 3)))
    )
    Squared([square], lr=0.1)
    message = (
        r"parameter 1 \('w'\): .*test_shared.py, line \d+ .* matmul needs matrices of as many rows"
    )
    with pytest.raises(RuleError, match=message):
        Squared([square, wide], lr=0.1)


def test_errors_name_the_function_that_was_called() -> None:
    def scaled(p: Any, g: Any) -> Any:
        return (p - g / norm(g, axis=0),)

    with pytest.raises(RuleError, match=r"norm\(x, axis=0\) has no such axis"):
        optim.rule(scaled)


def test_programs_print_their_stages(cpu_backend: Backend) -> None:
    p = parameter(np.ones((2, 3)), cpu_backend)
    (kernel,) = optim.LAMB([p], lr=0.1).kernels
    lines = str(kernel.program).splitlines()
    assert lines[0] == "lamb(p, g, m, v)"
    first, second = lines.index("  stage 1"), lines.index("  stage 2")
    assert "    r12 = sum(p, p)            # tensor" in lines[first:second]
    assert "    r24 = mul(r23, r11)" in lines[second:]
    (kernel,) = optim.Adafactor([p], lr=0.1).kernels
    assert str(kernel.program).startswith("adafactor(p, g, row: rows, column: columns)\n")
    (kernel,) = optim.Prodigy([p], lr=1.0).kernels
    text = str(kernel.program)
    assert "# tensor, of all: total0" in text
    assert "\ngroup\n" in text
    assert text.endswith("numerator <- d9")


def test_a_short_program_in_full() -> None:
    @optim.rule
    def plain(p: Any, g: Any) -> Any:
        return (p - total(g) * g,)

    assert str(optim.Rule(plain, slots=(), scalars={}).program).splitlines() == [
        "plain(p, g)",
        "  stage 1",
        "    r0 = sum(g)      # tensor, of all: total0",
        "  stage 2",
        "    r1 = mul(q0, g)",
        "    r2 = sub(p, r1)",
        "  p <- r2",
        "group",
        "  q0 = total0  (after round 1)",
    ]
