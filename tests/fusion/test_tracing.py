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


# -- what comes out ------------------------------------------------------------------------


def test_equal_expressions_are_computed_once() -> None:
    def rule(p: Any, g: Any, m: Any, *, lr: Any, t: Any) -> Any:
        return p - lr * (g * g) + fusion.sqrt(g * g), m + g * g

    program = of(rule, "m")
    assert [each.op for each in program.instructions].count("mul") == 2  # g g, and lr times it
    assert program.scalars == 1


def test_what_no_output_needs_is_dropped() -> None:
    def rule(p: Any, g: Any, m: Any, *, lr: Any, t: Any) -> Any:
        unused = fusion.exp(g) / m
        return p - g, (m, unused)[0]

    assert lines(of(rule, "m")) == ["r0 = sub(p, g)", "p <- r0", "m <- m"]


def test_scalars_are_computed_on_the_host_in_double() -> None:
    def rule(p: Any, g: Any, *, lr: Any, beta: Any, t: Any) -> Any:
        return (p - lr / (1 - beta**t) * fusion.sqrt(lr) * g,)

    program = of(rule)
    assert [each.op for each in program.instructions] == ["mul", "sub"]
    (value,) = program.host(lr=0.1, beta=0.999, t=3)
    assert value == 0.1 / (1 - 0.999**3) * math.sqrt(0.1)
    assert type(value) is float


def test_host_functions_are_those_of_the_expressions() -> None:
    def rule(p: Any, g: Any, *, lr: Any, t: Any) -> Any:
        x = fusion.maximum(fusion.exp(-lr), fusion.minimum(fusion.log(lr + t), abs(-lr)))
        y = fusion.where(fusion.isfinite(lr), fusion.sign(lr), 2.0)
        return (p * x + g * y,)

    program = of(rule)
    expected = max(math.exp(-0.5), min(math.log(2.5), 0.5))
    assert program.host(lr=0.5, t=2) == (expected, 1.0)


def test_outputs_come_in_the_order_they_are_returned() -> None:
    def rule(p: Any, g: Any, m: Any, v: Any, *, lr: Any, t: Any) -> Any:
        m, v = v + g, m - g
        return p, m, v

    assert lines(of(rule, "m", "v")) == [
        "r0 = add(v, g)",
        "r1 = sub(m, g)",
        "p <- p",
        "m <- r0",
        "v <- r1",
    ]


@pytest.mark.parametrize("t", [1, 2])
def test_condition_on_a_scalar(t: int) -> None:
    def rule(p: Any, g: Any, m: Any, *, lr: Any, t: Any) -> Any:
        return p, fusion.where(t == 1, g, m)

    program = of(rule, "m")
    assert lines(program) == ["r0 = where(s0, g, m)", "p <- p", "m <- r0"]
    assert program.host(lr=0.1, t=t) == (float(t == 1),)


def test_condition_on_elements() -> None:
    def rule(p: Any, g: Any, *, lr: Any, t: Any) -> Any:
        return (fusion.where(fusion.isfinite(g), p - lr * g, p),)

    assert "r0 = isfinite(g)" in lines(of(rule))


def test_constants_become_scalars() -> None:
    def rule(p: Any, g: Any, *, t: Any) -> Any:
        return (p * 2 - g * 0.5 + fusion.maximum(g, -math.inf) * 2,)

    program = of(rule)
    assert program.host(t=1) == (2.0, 0.5, -math.inf)


@pytest.mark.parametrize("value", [0, 1.5, math.inf, -math.inf, math.nan], ids=str)
def test_output_may_be_a_constant(value: float) -> None:
    program = of(lambda p, g, *, t: (value,))
    np.testing.assert_equal(program.host(t=1), (float(value),))


@pytest.mark.parametrize("value", [np.float64(2.0), np.sqrt(2.0), np.float64("inf")], ids=str)
def test_constant_of_numpy_in_double_is_a_number(value: float) -> None:
    program = of(lambda p, g, *, t: (p - value * g,))
    assert program.host(t=1) == (float(value),)


def test_squares_are_products() -> None:
    program = of(lambda p, g, *, t: (p - g**2,))
    assert lines(program) == ["r0 = mul(g, g)", "r1 = sub(p, r0)", "p <- r1"]


def test_scalar_may_be_called_like_a_result_on_the_host() -> None:
    program = of(lambda p, g, *, h1, h0, t: (p - (h0 * 2 + 1) * (h0 + t * h1) * g,))
    assert program.host(h0=3.0, h1=5.0, t=1) == (7.0 * 8.0,)


def test_scalar_may_be_called_like_a_function_of_the_host() -> None:
    def rule(p: Any, g: Any, *, lr: Any, sqrt: Any, float: Any, t: Any) -> Any:
        return (p - fusion.sqrt(lr + 1) * (sqrt + 2) * (float + lr) * g,)

    program = of(rule)
    assert program.host(lr=3.0, sqrt=0.5, float=0.25, t=1) == (2.0 * 2.5 * 3.25,)


def test_programs_are_equal_by_what_they_compute() -> None:
    one = of(lambda p, g, *, lr, t: (p - lr * g,))
    other = of(lambda p, g, *, rate, t: (p - rate * g,))
    assert one == other
    assert hash(one) == hash(other)
    assert one != of(lambda p, g, *, lr, t: (p + lr * g,))


def test_program_shows_itself_and_its_host() -> None:
    program = of(lambda p, g, *, lr, t: (p - lr / t * g,))
    assert str(program).startswith("<lambda>(p, g)\n  r0 = mul(s0, g)")
    assert "lr / t" in program.host_source


# -- what is refused -----------------------------------------------------------------------


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
    (lambda p, g, *, t: (p - np.sqrt(g),), OPERATORS),
    (lambda p, g, *, t: (p - g / math.sqrt(t),), OPERATORS),
    (lambda p, g, *, t: (p - g * float(t),), OPERATORS),
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
def test_rule_that_cannot_be_traced_names_its_line(
    function: Callable[..., Any], message: str
) -> None:
    source, first = inspect.getsourcelines(function)
    line = first + next((i for i, text in enumerate(source) if "# here" in text), 0)
    for define in (optim.rule, of):
        with pytest.raises(RuleError, match=rf"test_tracing\.py, line {line} .*{message}") as error:
            define(function)
        assert isinstance(error.value, BornError)


WRONG_OUTPUTS: list[tuple[Callable[..., Any], str]] = [
    (lambda p, g, m, *, t: None, "the parameter and its 1 slots, 2 values, got 1"),
    (lambda p, g, m, *, t: p - g, "1 slots, 2 values, got 1; return them as one tuple"),
    (lambda p, g, m, *, t: (p, g, m), "2 values, got 3"),
    (lambda p, g, m, *, t: [p, m], "expected the rule to return"),
    (lambda p, g, m, *, t: (p - g, "m"), "expected the rule to return arrays, got 'm'"),
    (
        lambda p, g, m, *, t: (p - g, np.zeros(3)),
        "expected the rule to return arrays, got array",
    ),
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


def test_rule_that_is_decorated_stays_what_it_was() -> None:
    def descend(p: float, g: float, *, lr: float, t: int) -> tuple[float]:
        return (p - lr * g,)

    assert optim.rule(descend) is descend


# -- how often -----------------------------------------------------------------------------


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
