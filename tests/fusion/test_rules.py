"""What a rule may be called, keep and be given."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest

from born import optim
from born.backend import Backend
from born.errors import ConfigError, DTypeError, RuleError
from born.fusion import trace
from tests.fusion.kernels import kernel_of
from tests.optim.making import parameter


def plain(p: Any, g: Any, *slots: Any, lr: Any, t: Any) -> Any:
    return (p - lr * g, *slots)


@pytest.mark.parametrize(
    ("slots", "message"),
    [
        (["m", "m"], "distinct names .* got p, g, m, m, lr, t"),
        *[([name], "distinct names") for name in ("p", "t", "lr")],
        *[([name], f"got '{name}'") for name in ("m.0", "1", "lambda", "__h0")],
        (["exp avg"], "got 'exp avg'; rename it"),
    ],
    ids=str,
)
def test_names_that_would_be_confused_are_refused(slots: list[str], message: str) -> None:
    with pytest.raises(RuleError, match=message):
        trace(plain, slots, ["lr", "t"])


@pytest.mark.parametrize("scalar", ["lr", "lambda", "a b"])
def test_names_of_scalars_that_would_be_confused_are_refused(scalar: str) -> None:
    with pytest.raises(RuleError, match="distinct names" if scalar == "lr" else f"got '{scalar}'"):
        trace(plain, [], ["lr", scalar, "t"])


@pytest.mark.parametrize("name", ["s0", "a0", "b0", "c0", "r0", "j", "n", "np", "real", "sqrt"])
@pytest.mark.parametrize("kind", ["numpy", "numba"])
def test_names_of_generated_text_may_be_used(name: str, kind: str) -> None:
    kernel = kernel_of(kind, trace(plain, [name], ["lr", "t"]), ("float32",) * 3)
    assert kernel.program.arrays == ("p", "g", name)


def _counts() -> Callable[..., Any]:
    calls: list[int] = []

    def counts(p: Any, g: Any, *, lr: Any, t: Any) -> Any:
        calls.append(1)
        return (p - lr * len(calls) * g,)

    return counts


def test_rule_that_counts_its_calls_is_refused() -> None:
    message = r"test_rules\.py, line .* keeps something from call to call"
    with pytest.raises(RuleError, match=message):
        optim.rule(_counts())
    rule = optim.Rule(_counts(), slots=(), scalars={"lr": 0.1})
    with pytest.raises(RuleError, match=message):
        _ = rule.program


def test_output_that_an_earlier_call_kept_is_refused() -> None:
    kept: list[Any] = []

    def keeps(p: Any, g: Any, *, t: Any) -> Any:
        kept.append(p - g)
        return (kept[0],)

    with pytest.raises(RuleError, match="expected the rule to return arrays"):
        optim.rule(keeps)


class _Callable:
    def __call__(self, p: Any, g: Any, *, lr: Any, t: Any) -> Any:
        return (p - lr * g,)


def _descend(p: Any, g: Any, /, *, lr: Any, t: Any) -> Any:
    return (p - lr * g,)


@pytest.mark.parametrize(
    "function",
    [functools.partial(plain, lr=2.0), _Callable(), functools.partial(_Callable()), _descend],
)
def test_a_rule_may_be_anything_that_can_be_called(function: Callable[..., Any]) -> None:
    assert optim.rule(function) is function
    with pytest.raises(RuleError, match=r"1 values, got 2|2 values, got 1"):
        trace(lambda *a, **k: function(*a[:2], **k), ["m"], ["lr", "t"])


def test_objects_are_named_by_their_class() -> None:
    assert trace(_Callable(), [], ["lr", "t"]).name == "_Callable"
    with pytest.raises(RuleError, match=r"^_Callable: expected a rule of operators"):
        trace(_Callable(), ["m"], ["lr", "t"])


def test_what_has_no_signature_is_refused() -> None:
    with pytest.raises(RuleError, match="expected a rule"):
        optim.rule(max)


@pytest.mark.parametrize("value", [None, "x", [1.0], np.ones(2)], ids=repr)
def test_scalars_are_numbers(value: Any) -> None:
    with pytest.raises(RuleError, match="expected the scalar 'lr' as a number"):
        optim.Rule(plain, slots=(), scalars={"lr": value})


def test_host_computes_in_double_whatever_a_scalar_came_in() -> None:
    def damped(p: Any, g: Any, *, lr: Any, b: Any, t: Any) -> Any:
        return (p - lr / (1 - b**t) * g,)

    single: Any = {"lr": np.float32(0.1), "b": np.float32(0.999)}
    listed: Any = []
    rule = optim.Rule(damped, slots=listed, scalars=single)
    assert rule.slots == ()
    (value,) = rule.program.host(**rule.scalars, t=3)
    assert value == float(single["lr"]) / (1 - float(single["b"]) ** 3)


@pytest.mark.parametrize(
    ("dtypes", "message"),
    [
        ({"zz": "float32"}, "expected dtypes of the slots m, got one of 'zz'"),
        ({"m": "int32"}, "expected a floating dtype for the slot 'm', got 'int32'"),
    ],
)
def test_slot_dtypes_are_those_of_slots_and_floating(dtypes: dict[str, str], message: str) -> None:
    with pytest.raises(RuleError, match=re.escape(message)):
        optim.Rule(plain, slots=("m",), scalars={"lr": 0.1}, slot_dtypes=dtypes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested(optim.Config):
    lr: float = 0.1
    betas: tuple[float, float] = (0.5, 0.25)
    eps: tuple[float, float] = (1.0, 2.0)
    beta1: float = 3.0
    m_dtype: str = "bfloat16"


def test_arguments_are_bound_by_their_names() -> None:
    def formula(p: Any, g: Any, m: Any, v: Any, *, eps1: Any, beta2: Any, beta1: Any) -> Any:
        return p - beta1 * g / eps1, m * beta2, v

    rule = optim.Rule.from_config(formula, Nested())
    assert list(rule.scalars.items()) == [("eps1", 1.0), ("beta2", 0.25), ("beta1", 3.0)]
    assert rule.slots == ("m", "v")
    dtypes = [rule.slot_dtype(slot, np.dtype("float64")).name for slot in rule.slots]
    assert dtypes == ["bfloat16", "float64"]


def _named(scalar: str) -> Callable[..., Any]:
    names: dict[str, Any] = {}
    exec(f"def moves(p, g, *, lr, {scalar}): return (p - g,)", names)
    function: Callable[..., Any] = names["moves"]
    return function


@pytest.mark.parametrize(
    ("scalar", "message"),
    [
        ("beta3", r"^moves: .* field of Nested, .* 'beta3' beside the fields lr, betas, eps, b"),
        ("momentum", "got 'momentum' beside the fields lr, .*; correct the name, or add the field"),
        ("betas", r"expected the scalar 'betas' as a number, got \(0.5, 0.25\)"),
        ("m_dtype", "expected the scalar 'm_dtype' as a number, got 'bfloat16'"),
    ],
)
def test_scalar_that_the_config_does_not_have_is_refused(scalar: str, message: str) -> None:
    with pytest.raises(RuleError, match=message):
        optim.Rule.from_config(_named(scalar), Nested())


def test_number_of_the_update_may_be_left_out() -> None:
    def moves(p: Any, g: Any, m: Any, v: Any, *, lr: Any) -> Any:
        return p - lr * g, v, m

    rule = optim.Rule.from_config(moves, Nested())
    assert rule.program == trace(plain_with_swapped_slots, ["m", "v"], ["lr", "t"])
    assert rule.function(3.0, 2.0, 5.0, 7.0, lr=0.5, t=4) == (2.0, 7.0, 5.0)
    assert replace(rule, scalars={"lr": 1.0}).function is rule.function
    with pytest.raises(RuleError, match="in the order in which the rule takes them, m, v, got v"):
        _ = replace(rule, slots=("v", "m"), slot_dtypes={}).program


def plain_with_swapped_slots(p: Any, g: Any, m: Any, v: Any, *, lr: Any, t: Any) -> Any:
    return p - lr * g, v, m


def test_optimizer_without_a_formula_says_what_to_write(backend: Backend) -> None:
    class Nothing(optim.Optimizer[Backend, Nested]):
        config_type = Nested

    with pytest.raises(RuleError, match=r"^Nothing: expected a formula or .*; write formula ="):
        Nothing([parameter(1.0, backend)], Nested())

    class Untyped(optim.Optimizer[Backend, Nested]):
        formula = _decayed

    with pytest.raises(RuleError, match=r"^Untyped: expected a config_type.*; write config_type ="):
        Untyped([parameter(1.0, backend)], Nested())


def _decayed(p: Any, g: Any, *, lr: Any, weight_decay: Any) -> Any:
    return (p - lr * (g + weight_decay * p),)


def test_transforms_compose_and_keep_their_scalars_apart() -> None:
    scalars = {"lr": 0.5, "weight_decay": 2.0}
    rule = optim.l2(optim.l2(optim.Rule(_decayed, slots=(), scalars=scalars), 4.0), 8.0)
    assert rule.function(1.0, 1.0, **rule.scalars, t=1) == (1.0 - 0.5 * (1.0 + 8.0 + 4.0 + 2.0),)
    assert [op for op, _ in rule.program.instructions].count("add") == 3
    assert sorted(rule.program.host(**rule.scalars, t=1)) == [0.5, 2.0, 4.0, 8.0]


def test_equal_rules_stay_equal_under_a_transform() -> None:
    one, other = (
        optim.Rule(_decayed, slots=(), scalars={"lr": lr, "weight_decay": 1.0}) for lr in (1.0, 2.0)
    )
    assert optim.l2(one, 1.0).program is optim.l2(other, 2.0).program


def test_penalty_of_nothing_leaves_the_rule_as_it_is() -> None:
    rule = optim.Rule(_decayed, slots=(), scalars={"lr": 1.0, "weight_decay": 1.0})
    assert optim.l2(rule, 0.0) is rule
    with pytest.raises(ConfigError, match=r"l2\.weight_decay: expected a number, got 'x'"):
        optim.l2(rule, cast("Any", "x"))


def test_bfloat16_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise DTypeError("run: pip install ml_dtypes")

    monkeypatch.setattr("born.dtypes._RESOLVED", {})
    monkeypatch.setattr("born.dtypes._import_bfloat16", missing)
    with pytest.raises(ConfigError, match="m_dtype: run: pip install ml_dtypes"):
        optim.AdamConfig(m_dtype="bfloat16")
