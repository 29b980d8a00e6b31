"""What a rule may be called, keep and be given."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from born import dtypes, optim
from born.errors import ConfigError, DTypeError, RuleError
from born.fusion import trace
from tests.fusion.kernels import kernel_of


def plain(p: Any, g: Any, *slots: Any, lr: Any, t: Any) -> Any:
    return (p - lr * g, *slots)


@pytest.mark.parametrize(
    ("slots", "scalars", "message"),
    [
        (["m", "m"], [], "names of its own .* got p, g, m, m, lr, t"),
        (["p"], [], "names of its own"),
        (["t"], [], "names of its own"),
        (["lr"], [], "names of its own"),
        ([], ["lr"], "names of its own"),
        (["exp avg"], [], "got 'exp avg'; rename it"),
        (["m.0"], [], "got 'm.0'"),
        (["1"], [], "got '1'"),
        (["lambda"], [], "got 'lambda'"),
        (["__h0"], [], "got '__h0'"),
        ([], ["lambda"], "got 'lambda'"),
        ([], ["a b"], "got 'a b'"),
    ],
    ids=str,
)
def test_names_that_would_be_confused_are_refused(
    slots: Sequence[str], scalars: Sequence[str], message: str
) -> None:
    with pytest.raises(RuleError, match=message):
        trace(plain, slots, ["lr", *scalars, "t"])


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


@pytest.mark.parametrize(
    "function", [functools.partial(plain, lr=2.0), _Callable(), functools.partial(_Callable())]
)
def test_a_rule_may_be_anything_that_can_be_called(function: Callable[..., Any]) -> None:
    assert optim.rule(function) is function
    with pytest.raises(RuleError, match=r"1 values, got 2|2 values, got 1"):
        trace(lambda *a, **k: function(*a[:2], **k), ["m"], ["lr", "t"])


def test_objects_are_named_by_their_class() -> None:
    assert trace(_Callable(), [], ["lr", "t"]).name == "_Callable"
    with pytest.raises(RuleError, match=r"^_Callable: expected a rule of operators"):
        trace(_Callable(), ["m"], ["lr", "t"])


def test_rule_with_positional_only_arguments() -> None:
    def descend(p: Any, g: Any, /, *, lr: Any, t: Any) -> Any:
        return (p - lr * g,)

    assert optim.rule(descend) is descend


def test_what_has_no_signature_is_refused() -> None:
    with pytest.raises(RuleError, match="expected a rule"):
        optim.rule(max)


@pytest.mark.parametrize("value", [None, "x", [1.0], np.ones(2)], ids=repr)
def test_scalars_are_numbers(value: Any) -> None:
    with pytest.raises(RuleError, match="expected the scalar 'lr' to be a number"):
        optim.Rule(plain, slots=(), scalars={"lr": value})


def test_host_computes_in_double_whatever_a_scalar_came_in() -> None:
    def damped(p: Any, g: Any, *, lr: Any, b: Any, t: Any) -> Any:
        return (p - lr / (1 - b**t) * g,)

    single: Any = {"lr": np.float32(0.1), "b": np.float32(0.999)}
    rule = optim.Rule(damped, slots=(), scalars=single)
    (value,) = rule.program.host(**rule.scalars, t=3)
    assert value == float(single["lr"]) / (1 - float(single["b"]) ** 3)


def test_slots_may_be_listed() -> None:
    slots: Any = ["m"]
    rule = optim.Rule(plain, slots=slots, scalars={"lr": 0.1})
    assert rule.program.arrays == ("p", "g", "m")


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


def test_bfloat16_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise DTypeError("run: pip install ml_dtypes")

    monkeypatch.setattr(dtypes, "_RESOLVED", {})
    monkeypatch.setattr(dtypes, "_import_bfloat16", missing)
    with pytest.raises(ConfigError, match="m_dtype: run: pip install ml_dtypes"):
        optim.AdamConfig(m_dtype="bfloat16")
