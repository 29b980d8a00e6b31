"""Gradients of several batches, added up for one update: as a rule, and for an optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from born.backend import Backend
from born.dtypes import float32
from born.errors import ConfigError
from born.fusion import where
from born.optim.averaging import Every
from born.optim.checks import StepChecks, quiet
from born.optim.config import Config, cached
from born.optim.plans import Plans
from born.optim.rule import Rule, RuleFunction, free_name, from_rule, wrapping
from born.optim.scalars import Scalar
from born.optim.slot import Slot
from born.optim.treatment import Treatment
from born.raw import RawTensor
from born.validation import integer


@from_rule
def accumulated(rule: Rule, k: int) -> Rule:
    """`rule` in every k-th update, by the mean of the last k gradients; the others only add.

    The sum is in the slot `sum`. Schedules, and the t of the rule, count its own updates. Every
    update passes over all the state: an optimizer with `accumulate=k` does not, and its
    `timestep` counts as the schedules do. What `rule` computes of all parameters together, such as
    a global norm, is of those with a gradient in that step, and so only sound if all have one in
    each.

    Args:
        rule: what to do with the mean.
        k: how many gradients there are in it.

    >>> plain = Rule(lambda p, g: (p - g,), slots=(), scalars={})
    >>> rule = accumulated(plain, 2)
    >>> p, total = 4.0, 0.0
    >>> for t in (1, 2):
    ...     now = {name: value(t) for name, value in rule.scalars.items()}
    ...     p, total = rule.function(p, float(t), total, **now, t=t)
    >>> p, total
    (2.5, 0.0)
    """
    k = integer("k", k, 1, ConfigError)
    slot, due, number = (free_name(rule, x) for x in ("sum", "sum_due", "update_number"))
    scalars = {
        name: Counting(k, value) if callable(value) else value
        for name, value in rule.scalars.items()
    }
    return replace(
        rule,
        function=_every_kth(rule.function, k, due, number),
        slots=(*rule.slots, slot),
        slot_kinds={**rule.slot_kinds, slot: Slot(meaning=f"of{k}")},
        scalars={**scalars, due: Every(k), number: Counting(k, _itself)},
    )


@dataclass(frozen=True, slots=True)
class Counting:
    """A function of the number of the update, as one of the number of the gradient: k to one.

    >>> [Counting(2, float)(t) for t in (1, 2, 3, 4)]
    [1.0, 1.0, 2.0, 2.0]
    """

    k: int
    function: Any

    def __call__(self, t: int) -> float:
        """What it is for gradient t."""
        value: float = self.function((t + self.k - 1) // self.k)
        return value


def _itself(t: int) -> float:
    return t


@cached  # equal rules share one function, and so one program
def _every_kth(function: RuleFunction, k: int, due: str, number: str) -> RuleFunction:
    def kth(p: Any, g: Any, *slots: Any, t: Any, **scalars: Any) -> tuple[Any, ...]:
        now, update = scalars.pop(due) > 0, scalars.pop(number)
        *own, total = slots
        total = total + g
        new = function(p, total / k, *own, t=update, **scalars)
        kept = [where(now, after, before) for after, before in zip(new, (p, *own), strict=True)]
        return *kept, where(now, 0.0, total)

    return wrapping(kth, function)


class Accumulation:
    """The gradients that an optimizer gathers until an update is due.

    They are added up in the parameters' dtype, or in float32 for those of 16 bits.

    Args:
        k: how many batches there are to an update.
        backend: what computes.
        parameters: whose gradients they are.
        checks: those of every step.
        earlier: what has gathered those of the first parameters so far.

    Attributes:
        batches: how many there were since the last update.
        gathered: how many of them gave each parameter a gradient.
        sums: the gradients so far, for each parameter that has `gathered` one.
    """

    def __init__(
        self,
        k: int,
        backend: Backend,
        parameters: Sequence[RawTensor],
        checks: StepChecks,
        earlier: Accumulation | None,
    ) -> None:
        self.k = k
        self._backend = backend
        self._dtypes = [raw.dtype for raw in parameters]
        self.batches = 0
        self.gathered, self.sums = list[int](), list[RawTensor]()
        if earlier is not None:
            self.batches = earlier.batches
            self.gathered, self.sums = [*earlier.gathered], [*earlier.sums]
        for raw in parameters[len(self.sums) :]:
            dtype = float32 if raw.dtype.itemsize < float32.itemsize else raw.dtype
            self.sums.append(backend.slot(raw, dtype, 1))
            self.gathered.append(0)
        self._first, self._more = (self._plans(each, checks) for each in (_FIRST, _MORE))

    def _plans(self, rule: Rule, checks: StepChecks) -> Plans:
        treatments = [Treatment(_NONE, rule, None, False)] * len(self.sums)
        targets = [(each,) for each in self.sums]
        return Plans(self._backend, targets, checks, treatments, None, self._dtypes)

    @property
    def is_due(self) -> bool:
        """Whether all batches of an update are there."""
        return self.batches == self.k

    def add(
        self,
        gradients: Sequence[RawTensor | None],
        kind: str | None,
        slots: Mapping[str, RawTensor],
        given: Mapping[str, float],
    ) -> None:
        """Add up the gradients of a batch, scaled first as `Plans.scaled` says.

        1 / k is part of the scale: the sums are means.
        """
        for plans, is_first in ((self._first, True), (self._more, False)):
            own = [
                gradient if (count == 0) == is_first else None
                for gradient, count in zip(gradients, self.gathered, strict=True)
            ]
            if any(gradient is not None for gradient in own):
                plan = plans.plain if kind is None else plans.scaled(kind, False)
                plan.run(own, [0] * len(own), _nothing, slots, given)
        for index, gradient in enumerate(gradients):
            if gradient is not None:
                self.gathered[index] += 1
        self.batches += 1

    def taken(self) -> list[RawTensor | None]:
        """The sums, or None where there were no gradients; and it begins anew."""
        gathered, self.batches = self.gathered, 0
        self.gathered = [0] * len(gathered)
        with quiet():
            return [
                None
                if count == 0
                else (each if each.dtype == dtype else self._backend.astype(each, dtype))
                for count, each, dtype in zip(gathered, self.sums, self._dtypes, strict=True)
            ]

    def live(self) -> dict[str, RawTensor]:
        """The sums by name."""
        return {f"gradient_sum.{index}": each for index, each in enumerate(self.sums)}

    def counts(self) -> dict[str, int]:
        """What is counted, by name."""
        counts = {f"gathered.{index}": count for index, count in enumerate(self.gathered)}
        return {**counts, BATCHES: self.batches, ACCUMULATE: self.k}

    def take_counts(self, counts: Mapping[str, int]) -> None:
        """Take what `counts` has given, of another."""
        self.gathered = [counts[f"gathered.{index}"] for index in range(len(self.sums))]
        self.batches = counts[BATCHES] % self.k


BATCHES: Final = "batches.0"
"""The name, in a state, of how many batches there were since the last update."""
ACCUMULATE: Final = "accumulate.0"
"""The name, in a state, of how many batches there are to an update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _NoConfig(Config):
    lr: Scalar = 0.0


_NONE: Final = _NoConfig()


def _taken(p: Any, g: Any) -> tuple[Any, ...]:
    return (g,)


def _added(p: Any, g: Any) -> tuple[Any, ...]:
    return (p + g,)


_FIRST: Final = Rule(_taken, slots=(), scalars={})
_MORE: Final = Rule(_added, slots=(), scalars={})


def _nothing(indices: Sequence[int]) -> None:
    """Adding up is no update."""
