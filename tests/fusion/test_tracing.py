"""Tracing: what a rule becomes, and which rules are refused where they are defined."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false
# A rule says nothing of its arguments' types where it is written to be traced only.

from __future__ import annotations

import contextlib
import inspect
import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import born
from born import fusion, optim
from born.backend import Backend
from born.errors import BornError, RuleError
from born.fusion import Program, trace
from tests.optim.making import parameter, raw


def lines(program: Program) -> list[str]:
    return [line.strip() for line in str(program).splitlines()[1:]]


def of(function: Callable[..., Any], *slots: str) -> Program:
    names = inspect.signature(function).parameters.values()
    return trace(function, slots, [each.name for each in names if each.kind is each.KEYWORD_ONLY])


def test_equal_expressions_are_computed_once() -> None:
    def rule(p: Any, g: Any, m: Any, *, lr: Any, t: Any) -> Any:
        return p - lr * (g * g) + fusion.sqrt(g * g), m + g * g

    program = of(rule, "m")
    assert [each.op for each in program.instructions].count("mul") == 2  # g g, and lr times it
    assert program.scalars == 1


def test_scalars_are_computed_on_the_host_in_double() -> None:
    def rule(p: Any, g: Any, *, lr: Any, beta: Any, t: Any) -> Any:
        return (p - lr / (1 - beta**t) * fusion.sqrt(lr) * g,)

    program = of(rule)
    assert [each.op for each in program.instructions] == ["mul", "sub"]
    (value,) = program.host(lr=0.1, beta=0.999, t=3)
    assert value == 0.1 / (1 - 0.999**3) * math.sqrt(0.1)
    assert type(value) is float


LINES: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "what no output needs is dropped": (
        lambda p, g, m, *, t: (p - g, (m, fusion.exp(g) / m)[0]),
        ["r0 = sub(p, g)", "p <- r0", "m <- m"],
    ),
    "outputs come in the order they are returned": (
        lambda p, g, m, v, *, t: (p, v + g, m - g),
        ["r0 = add(v, g)", "r1 = sub(m, g)", "p <- p", "m <- r0", "v <- r1"],
    ),
    "a condition on a scalar": (
        lambda p, g, m, *, t: (p, fusion.where(t == 1, g, m)),
        ["r0 = where(s0, g, m)", "p <- p", "m <- r0"],
    ),
    "a condition on elements": (
        lambda p, g, *, t: (fusion.where(fusion.isfinite(g), g, p),),
        ["r0 = isfinite(g)", "r1 = where(r0, g, p)", "p <- r1"],
    ),
    "squares are products": (
        lambda p, g, *, t: (p - g**2,),
        ["r0 = mul(g, g)", "r1 = sub(p, r0)", "p <- r1"],
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_rule_becomes_these_lines(name: str) -> None:
    function, expected = LINES[name]
    slots = [each for each in inspect.signature(function).parameters if each in "mv"]
    assert lines(of(function, *slots)) == expected


HOST: list[Any] = [
    (
        lambda p, g, *, lr, t: (
            p * fusion.maximum(fusion.exp(-lr), fusion.minimum(fusion.log(lr + t), abs(-lr)))
            + g * fusion.where(fusion.isfinite(lr), fusion.sign(lr), 2.0),
        ),
        {"lr": 0.5, "t": 2},
        (max(math.exp(-0.5), min(math.log(2.5), 0.5)), 1.0),
    ),
    (lambda p, g, *, t: (p + g * fusion.where(t == 1, 3, 4),), {"t": 1}, (3.0,)),
    (lambda p, g, *, t: (p + g * fusion.where(t == 1, 3, 4),), {"t": 2}, (4.0,)),
    (lambda p, g, *, t: (fusion.where(t == 1, p, g),), {"t": 2}, (0.0,)),
    (
        lambda p, g, *, t: (p * 2 - g * 0.5 + fusion.maximum(g, -math.inf) * 2,),
        {"t": 1},
        (2.0, 0.5, -math.inf),
    ),
    *(
        (lambda p, g, *, t, x=x: (x,), {"t": 1}, (x,))
        for x in (0, 1.5, -math.inf, math.inf, math.nan)
    ),
    *(
        (lambda p, g, *, t, x=x: (p - x * g,), {"t": 1}, (float(x),))
        for x in (np.float64(2.0), np.sqrt(2.0), np.float64("inf"))
    ),
    # Scalars may be called like results and functions of the host.
    (
        lambda p, g, *, h1, h0, t: (p - (h0 * 2 + 1) * (h0 + t * h1) * g,),
        {"h0": 3.0, "h1": 5.0, "t": 1},
        (7.0 * 8.0,),
    ),
    (
        lambda p, g, *, lr, sqrt, float, t: (
            p - fusion.sqrt(lr + 1) * (sqrt + 2) * (float + lr) * g,
        ),
        {"lr": 3.0, "sqrt": 0.5, "float": 0.25, "t": 1},
        (2.0 * 2.5 * 3.25,),
    ),
]


@pytest.mark.parametrize(("function", "scalars", "expected"), HOST)
def test_host_computes_these_scalars(function: Any, scalars: Any, expected: Any) -> None:
    program = trace(function, (), tuple(scalars))
    np.testing.assert_equal(program.host(**scalars), tuple(map(float, expected)))


def test_programs_are_equal_by_what_they_compute() -> None:
    one = of(lambda p, g, *, lr, t: (p - lr * g,))
    other = of(lambda p, g, *, rate, t: (p - rate * g,))
    assert one == other
    assert hash(one) == hash(other)
    assert one != of(lambda p, g, *, lr, t: (p + lr * g,))


def test_program_shows_itself_and_its_host() -> None:
    program = of(lambda p, g, *, lr, t: (p - lr / t * g,))
    assert str(program).startswith("<lambda>(p, g)\n  r0 = mul(s0, g)")
    assert "lr / t" in program.host.source


def _branches(p: Any, g: Any, *, t: Any) -> Any:
    if g > 0:  # here
        return (p - g,)
    return (p,)


def _loops(p: Any, g: Any, *, t: Any) -> Any:
    for x in g:  # here
        p = p - x
    return (p,)


def _mutates(p: Any, g: Any, *, t: Any) -> Any:
    p[0] = g  # here
    return (p,)


def _asks_for_the_dtype(p: Any, g: Any, *, t: Any) -> Any:
    if p.dtype == np.float32:  # here
        return (p,)
    return (p - g,)


def _branches_and_looks_away(p: Any, g: Any, *, t: Any) -> Any:
    with contextlib.suppress(TypeError):
        g = g if g > 0.0 else -g  # here
    return (p - g,)


_kept: list[Any] = []


def _uses_what_an_earlier_call_kept(p: Any, g: Any, *, t: Any) -> Any:
    _kept.append(p * 3.0)
    return (p - g * _kept[0],)  # here


OPERATORS = "expected a rule of operators and the functions of born.fusion"

REFUSED: list[tuple[Callable[..., Any], str]] = [
    (_branches, r"cannot branch on a value.*use where\("),
    (lambda p, g, *, t: (p - g if t == 1 else p,), r"cannot branch on a value.*use where\("),
    (_branches_and_looks_away, "cannot branch on a value"),
    (_loops, OPERATORS),
    (lambda p, g, *, t: (fusion.where(0 < g < 1, p, g),), "cannot branch on a value"),
    (lambda p, g, *, t: (p - np.sqrt(g),), r"np\.sqrt does not take.*use sqrt of born\.fusion"),
    (lambda p, g, *, t: (p - np.sum(g),), "use the functions of born.fusion"),
    (lambda p, g, *, t: (p - g / math.sqrt(t),), "no value yet.*use sqrt, exp"),
    (lambda p, g, *, t: (p - g * float(t),), "no value yet"),
    (lambda p, g, *, t: (p - g[0],), OPERATORS),
    (_mutates, OPERATORS),
    (lambda p, g, *, t: (p - g.sum(),), OPERATORS),
    (lambda p, g, *, t: (p - g * np.ones(3),), OPERATORS),
    (lambda p, g, *, t: (p - g * "0.1",), "computes with its arguments and numbers, not '0.1'"),
    (lambda p, g, *, t: (max(p, g),), "cannot branch on a value"),
    (
        lambda p, g, *, t: (p - fusion.cast(g > 0, "float16"),),
        r"becomes a number by where\(condition",
    ),
    (
        lambda p, g, *, t: (p - fusion.cast(g, "int8"),),
        "cast rounds to float16, bfloat16, float32, not to 'int8'",
    ),
    (lambda p, g, *, t: (p - np.clip(g, -1, 1),), OPERATORS),
    (lambda p, g, *, t: (p - np.mean(g),), "np.mean does not take .*; use mean of born.fusion"),
    (
        lambda p, g, *, t: (p - g.mean(),),
        r"has no 'mean'; write mean\(x\) with mean of born.fusion",
    ),
    (lambda p, g, *, t: (p - g.foo,), "has no 'foo'; use operators and the functions of born"),
    (lambda p, g, *, t: (p - sum(g),), "no elements to go through yet"),
    (lambda p, g, *, t: (p - max(g, 0),), "or maximum and minimum"),
    (lambda p, g, *, t: (p - int(t) * g,), r"has no value yet, for float\(\), int\(\)"),
    (lambda p, g, *, t: (p - float(f"{t:.1f}"),), "no value yet, to print by a format"),
    (lambda p, g, *, t: (p - [g],), r"not \[<g, of rank element>\]"),
    (lambda p, g, *, t: (p - statistics.fmean([p, g]),), OPERATORS),
    (_asks_for_the_dtype, "cannot branch on the dtype"),
    (lambda p, g, *, t: (p - 10**400 * g,), "is beyond the numbers"),
    (_uses_what_an_earlier_call_kept, "a value was kept from an earlier call"),
    (
        lambda p, g, *, t: (p - g.astype("float8"),),
        "astype rounds to float16, bfloat16, float32 in a rule, not to",
    ),
]


@pytest.mark.parametrize(("function", "message"), REFUSED)
def test_refused_rule_names_its_line(function: Callable[..., Any], message: str) -> None:
    source, first = inspect.getsourcelines(function)
    line = first + next((i for i, text in enumerate(source) if "# here" in text), 0)
    for define in (optim.rule, of):
        with pytest.raises(RuleError, match=rf"test_tracing\.py, line {line} .*{message}") as error:
            define(function)
        assert isinstance(error.value, BornError)


WRONG_OUTPUTS: list[tuple[Callable[..., Any], str]] = [
    (lambda p, g, m, *, t: None, "parameter and its slots m, 2 values, got nothing"),
    (lambda p, g, m, *, t: p - g, "slots m, 2 values, got 1; return them as one tuple"),
    (lambda p, g, m, *, t: (p, g, m), "2 values, got 3"),
    (lambda p, g, m, *, t: [p, m], "expected the rule to return"),
    (lambda p, g, m, *, t: (p - g, "m"), "expected the rule to return arrays, got 'm'"),
    (lambda p, g, m, *, t: (p - g, np.zeros(3)), "expected the rule to return arrays, got array"),
]


@pytest.mark.parametrize(("function", "message"), WRONG_OUTPUTS)
def test_wrong_outputs_are_refused(function: Callable[..., Any], message: str) -> None:
    line = inspect.getsourcelines(function)[1]
    with pytest.raises(RuleError, match=rf"test_tracing\.py, line {line} .*{message}"):
        optim.rule(function)


SIGNATURES: list[Callable[..., Any]] = [
    lambda g, p, *, t: (p,),
    lambda p, *, t: (p,),
    lambda p, g, t: (p, t),
    lambda *args, t: args,
]


@pytest.mark.parametrize("function", SIGNATURES)
def test_signature_that_is_not_of_a_rule_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(RuleError, match=r"expected a rule \(p, g, \*slots, \*, scalars, t\), got"):
        optim.rule(function)


MIXED: list[Callable[..., Any]] = [
    lambda p, g, *, t: (p - g * (g > 0),),
    lambda p, g, *, t: (p - ((p > 0) + (g > 0)),),
    lambda p, g, *, t: (fusion.where(g, p, g),),
]


@pytest.mark.parametrize("function", MIXED)
def test_truth_values_and_numbers_do_not_mix(function: Callable[..., Any]) -> None:
    # The contract's operations refuse it, and backends would disagree on what it means.
    with pytest.raises(RuleError, match=r"test_tracing\.py, line \d+ .*; \w+"):
        optim.rule(function)


def test_rule_is_traced_once_for_each_shape_of_config(backend: Backend) -> None:
    calls: list[bool] = []

    def counted(p: Any, g: Any, m: Any, *, lr: Any, t: Any) -> Any:
        calls.append(True)
        return p - lr * g, m + g

    class Counting(optim.Optimizer[Any, optim.SGDConfig]):
        config_type = optim.SGDConfig

        @classmethod
        def rule(cls, config: optim.SGDConfig) -> optim.Rule:
            plain = optim.Rule(counted, slots=("m",), scalars={"lr": config.lr})
            return optim.l2(plain, config.weight_decay)

    first, second = parameter([1.0], backend), parameter([[1.0, 2.0]], backend, dtype="float64")
    optimizer = Counting([first, second], optim.SGDConfig())
    for _ in range(3):
        optimizer.step({first.raw: raw([1.0], backend)})
        optimizer.lr *= 0.5
    Counting([first], optim.SGDConfig(lr=3.0))
    assert len(calls) == 2  # once, and once more to see that it says the same
    optimizer.config = optim.SGDConfig(weight_decay=0.1)
    optimizer.step({second.raw: raw([[1.0, 1.0]], backend, "float64")})
    Counting([first], optim.SGDConfig(weight_decay=0.2))
    assert len(calls) == 4


def test_rule_written_by_a_user_is_run_saved_and_restored(backend: Backend) -> None:
    @optim.rule
    def averaged(p: Any, g: Any, m: Any, *, lr: Any, t: Any) -> Any:
        m = m + (g - m) / t
        return p - lr * m, m

    class Averaged(optim.Optimizer[Any, optim.SGDConfig]):
        config_type = optim.SGDConfig

        @classmethod
        def rule(cls, config: optim.SGDConfig) -> optim.Rule:
            return optim.Rule(averaged, slots=("m",), scalars={"lr": config.lr})

    results: list[list[float]] = []
    for restart in (False, True):
        p = parameter([1.0, 2.0], backend)
        optimizer = Averaged([p], optim.SGDConfig(lr=0.5))
        for g in ([1.0, 2.0], [3.0, -2.0]):
            optimizer.step({p.raw: raw(g, backend)})
            if restart:
                state = optimizer.state_dict()
                optimizer = Averaged([p], optim.SGDConfig(lr=0.5))
                optimizer.load_state_dict(state)
        assert born.Tensor(optimizer.state_dict()["m.0"], backend).numpy().tolist() == [2.0, 0.0]
        results.append(p.numpy().tolist())
    assert results[0] == results[1] == [-0.5, 1.0]


def test_slots_are_named_in_the_order_in_which_the_rule_takes_them() -> None:
    def averaged(p: Any, g: Any, m: Any, v: Any, *, t: Any) -> Any:
        return p - g, m, v

    with pytest.raises(RuleError, match=r"in which the rule takes them, m, v, got v, m"):
        trace(averaged, ["v", "m"], ["t"])
    trace(averaged, ["first", "second"], ["t"])  # names of their own are as good

    def with_scalars(p: Any, g: Any, m: Any, v: Any, t: Any) -> Any:
        return p - g, m, v

    with pytest.raises(RuleError, match="in which the rule takes them, m, v, got v, m"):
        trace(with_scalars, ["v", "m"], ["t"])
