"""`Precision`: how parameters of 16 bits keep what rounding would lose, and what state is kept in.

All of it is written around the rule, as a formula: so every optimizer has it, and its one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

import numpy as np

from born.dtypes import is_half
from born.errors import ConfigTypeError
from born.fusion import cast as rounded
from born.fusion import where
from born.fusion.program import ELEMENT
from born.optim.config import Settings, cached
from born.optim.fields import AUTO, Interval
from born.optim.rule import Rule, RuleFunction, free_name
from born.optim.slot import PARAMETER, Slot
from born.validation import type_error

Carried: TypeAlias = Callable[[Any, Sequence[Any]], Any]
"""From a parameter and its slots to the number that it stands for."""

MASTER: Final = "master"
STOCHASTIC: Final = "stochastic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision(Settings):
    """What an optimizer does about few digits: `optim.Adam(model, precision=optim.Precision(...))`.

    A parameter of bfloat16 has 8 binary digits: a step smaller than 1/512 of it rounds to
    nothing, and training stalls. Parameters of more than 16 bits are not concerned.

    >>> p = nn.Parameter(born.ones(1, backend, "bfloat16"))
    >>> exact = optim.SGD([p], lr=1e-3, precision=optim.Precision(parameters="master"))
    >>> for _ in range(100):
    ...     report = exact.step({p.raw: born.ones(1, p.backend, "bfloat16").raw})
    >>> p.numpy().item()
    0.8984375
    """

    parameters: Literal["nearest", "stochastic", "kahan", "master"] = "nearest"
    """How those of float16 and bfloat16 are updated: `"nearest"` rounds each new value;
    `"stochastic"` rounds it up or down by chance, so that small steps add up in the mean;
    `"kahan"` keeps what rounding took, in bfloat16 (2 bytes an element); `"master"` keeps a float32
    copy of each, of which it is the rounding (4 bytes)."""
    slots: Literal["int8", "float8_e4m3fn", "float8_e5m2"] | None = None
    """What slots are kept as: one byte an element, and a scale for each block of 256. That is for
    arrays of the parameters' shape that hold averages, momentum and the like: copies of parameters,
    what a rule asks to be `exact`, and slots that the config gives a dtype, stay as they are.
    A new value is rounded to one of its neighbours by chance, so that the mean of many is right and
    averages with a long memory follow; what chance adds is about 10% of a second moment in int8,
    and more in the others. Keep a slot in full by its dtype in the config: `v_dtype="float32"`,
    `slow_dtype="float32"`."""
    seed: Annotated[int, Interval(0, 2**23 - 1)] = 0
    """Of the chance in `"stochastic"` and in `slots`: with the same one the same bits, on every
    backend and after a resume; another one is another draw, to see what chance does to a run."""

    def applied(self, rules: Sequence[Rule], dtypes: Sequence[np.dtype[Any]]) -> list[Rule]:
        """The rules of parameters as they are for these dtypes; those of equal ones are one object.

        >>> rule = optim.SGD.rule(optim.SGDConfig(lr=0.1))
        >>> kinds = [np.dtype("float16"), np.dtype("float32")]
        >>> master = optim.Precision(parameters="master")
        >>> [each.slots for each in master.applied([rule, rule], kinds)]
        [('master',), ()]
        """
        made: dict[tuple[int, np.dtype[Any]], Rule] = {}
        for rule, dtype in zip(rules, dtypes, strict=True):
            if (id(rule), dtype) not in made:
                made[id(rule), dtype] = self._applied(rule, dtype)
        return [made[id(rule), dtype] for rule, dtype in zip(rules, dtypes, strict=True)]

    def _applied(self, rule: Rule, dtype: np.dtype[Any]) -> Rule:
        return self._with_codecs(self._with_parameters(rule, dtype))

    def _with_codecs(self, rule: Rule) -> Rule:
        if self.slots is None:
            return rule
        coded = [
            slot
            for slot in rule.slots
            if rule.kind(slot).rank == ELEMENT
            and rule.kind(slot).start != PARAMETER
            and not rule.kind(slot).exact
            and rule.slot_dtypes.get(slot, AUTO) == AUTO
        ]
        if not coded:
            return rule
        return replace(rule, slot_codecs=dict.fromkeys(coded, self.slots), slot_seed=self.seed)

    def _with_parameters(self, rule: Rule, dtype: np.dtype[Any]) -> Rule:
        if not is_half(dtype):
            return rule
        if self.parameters == "nearest":
            return replace(rule, carried=_as_rounded(dtype.name))
        if self.parameters == STOCHASTIC:
            function = _with_chance(rule.function, dtype.name, self.seed)
            return replace(rule, function=function)
        if self.parameters == MASTER:
            slot = free_name(rule, "master")
            function = _with_master(rule.function, dtype.name)
            kept = _with_slot(rule, function, slot, "float32", Slot(start=PARAMETER))
            return replace(kept, carried=_as_master(dtype.name, len(rule.slots)))
        slot = free_name(rule, "compensation")
        function = _with_compensation(rule.function, dtype.name)
        kept = _with_slot(rule, function, slot, "bfloat16", Slot())
        return replace(kept, carried=_as_compensated(dtype.name, len(rule.slots)))


PLAIN: Final = Precision()
"""What an optimizer does that is not told."""


def checked_precision(precision: Precision) -> Precision:
    """Refuse what is no `Precision`."""
    if not isinstance(cast("object", precision), Precision):
        raise type_error(
            "precision",
            "an optim.Precision",
            precision,
            'write optim.Precision(parameters="master")',
            ConfigTypeError,
        )
    return precision


def _with_slot(rule: Rule, function: RuleFunction, slot: str, dtype: str, kind: Slot) -> Rule:
    return replace(
        rule,
        function=function,
        slots=(*rule.slots, slot),
        slot_dtypes={**rule.slot_dtypes, slot: dtype},
        slot_kinds={**rule.slot_kinds, slot: kind},
    )


def _exact_by_master(p: Any, master: Any, dtype: str) -> Any:
    """The master; where p was written by something else, such as loaded weights, p counts."""
    return where(rounded(master, dtype) == p, master, p)


def _exact_by_compensation(p: Any, lost: Any, dtype: str) -> Any:
    """p and what it lost."""
    # What was lost is at most half a unit of p in the last place; half of that, rounded itself,
    # never makes another p. If it does, p was written by something else, and counts alone.
    return where(rounded(p + 0.5 * lost, dtype) == p, p + lost, p)


@cached
def _as_rounded(dtype: str) -> Carried:
    def carried(p: Any, slots: Sequence[Any]) -> Any:
        return rounded(p, dtype)

    return carried


@cached
def _as_master(dtype: str, place: int) -> Carried:
    def carried(p: Any, slots: Sequence[Any]) -> Any:
        return _exact_by_master(rounded(p, dtype), slots[place], dtype)

    return carried


@cached
def _as_compensated(dtype: str, place: int) -> Carried:
    def carried(p: Any, slots: Sequence[Any]) -> Any:
        return _exact_by_compensation(p, rounded(slots[place], "bfloat16"), dtype)

    return carried


@cached  # equal rules share one function, and so one program
def _with_master(function: RuleFunction, dtype: str) -> RuleFunction:
    def mastered(p: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        *own, master = slots
        exact = _exact_by_master(p, master, dtype)
        stepped, *state = function(exact, g, *own, **scalars)
        return stepped, *state, stepped

    return _named(mastered, function)


@cached
def _with_compensation(function: RuleFunction, dtype: str) -> RuleFunction:
    def compensated(p: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        *own, lost = slots
        exact = _exact_by_compensation(p, lost, dtype)
        stepped, *state = function(exact, g, *own, **scalars)
        near = rounded(stepped, dtype)
        return near, *state, stepped - near

    return _named(compensated, function)


@cached
def _with_chance(function: RuleFunction, dtype: str, seed: int) -> RuleFunction:
    def by_chance(p: Any, g: Any, *slots: Any, t: Any, **scalars: Any) -> tuple[Any, ...]:
        stepped, *state = function(p, g, *slots, t=t, **scalars)
        return stepped.round_stochastically(dtype, t, seed), *state

    return _named(by_chance, function)


def _named(function: RuleFunction, inner: RuleFunction) -> RuleFunction:
    """`function` under the name of the rule that it goes around."""
    function.__name__ = getattr(inner, "__name__", "rule")
    vars(function)["__wrapped__"] = inner
    return function
