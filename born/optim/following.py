"""What follows an update: an average of the parameter, or a step back to where it was.

It sees the parameter after the update, and where that is projected, after its projection: so a rule
can be parted into the update and what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeAlias

from born.errors import ConfigError
from born.fusion import where
from born.fusion.program import GROUP
from born.optim.config import cached
from born.optim.rule import Rule, RuleFunction, wrapping
from born.optim.scalars import Scalar
from born.optim.slot import PARAMETER, Slot

After: TypeAlias = Callable[..., tuple[Any, Any]]
"""`(p before the update, p after it, slot, t, *scalars) -> (p, slot)`."""

APPLIED: Final = "step_applied"
"""The slot of rank group for whether the update was applied, if it may have been skipped."""


class Parted(NamedTuple):
    """A rule in two: the update, which leaves the slots of what follows alone, and that."""

    update: Rule
    after: Rule | None


class _Part(NamedTuple):
    inner: RuleFunction
    after: After
    names: tuple[str, ...]


def followed(
    rule: Rule, after: After, slot: str, scalars: Mapping[str, Scalar], meaning: str = ""
) -> Rule:
    """`rule` and then `after`, which keeps a slot that starts as a copy of the parameter.

    Args:
        rule: what updates p.
        after: what follows.
        slot: its slot.
        scalars: those that it takes, in this order, under names that the rule does not have.
        meaning: what tells the slot from others under its name, as of `Slot`.
    """
    return replace(
        rule,
        function=_followed(rule.function, after, tuple(scalars)),
        slots=(*rule.slots, slot),
        slot_kinds={**rule.slot_kinds, slot: Slot(start=PARAMETER, meaning=meaning)},
        scalars={**rule.scalars, **scalars},
    )


@cached  # equal rules share one function, and so one program
def _followed(function: RuleFunction, after: After, names: tuple[str, ...]) -> RuleFunction:
    def whole(p: Any, g: Any, *slots: Any, t: Any, **scalars: Any) -> tuple[Any, ...]:
        own = [scalars.pop(name) for name in names]
        *inner, slot = slots
        stepped, *state = function(p, g, *inner, t=t, **scalars)
        new, slot = after(p, stepped, slot, t, *own)
        return new, *state, slot

    vars(whole)[_PART] = _Part(function, after, names)
    return wrapping(whole, function)


_PART: Final = "born_part"


def _part(function: RuleFunction) -> _Part | None:
    """What `_followed` has made a function of; not one that copied its attributes."""
    part: _Part | None = getattr(function, _PART, None)
    return part if part is not None and vars(function).get("__wrapped__") is part.inner else None


def parted(rule: Rule, skips: bool) -> Parted:
    """A rule in two, to project the parameter in between; all of it is the update if it can be.

    Args:
        rule: the whole.
        skips: whether updates may be skipped: then what follows has the slot `APPLIED`.

    Raises:
        ConfigError: something else is around what follows.
    """
    parts: list[_Part] = []
    function = rule.function
    while (part := _part(function)) is not None:
        parts.insert(0, part)
        function = part.inner
    _check_order(function)
    if not parts:
        return Parted(rule, None)
    names = [name for part in parts for name in part.names]
    slots = rule.slots[-len(parts) :]
    own = {name: value for name, value in rule.scalars.items() if name not in names}
    update = replace(rule, function=_held(function, len(parts)), scalars=own)
    after = _following(tuple((part.after, part.names) for part in parts), skips)
    kinds = {slot: rule.kind(slot) for slot in slots}
    return Parted(
        update,
        Rule(
            after,
            slots=(*slots, APPLIED) if skips else slots,
            scalars={name: rule.scalars[name] for name in names},
            slot_kinds={**kinds, APPLIED: Slot(GROUP)} if skips else kinds,
        ),
    )


def _check_order(function: RuleFunction) -> None:
    inner: RuleFunction | None = function
    while inner is not None:
        if _part(inner) is not None:
            raise ConfigError(
                "expected lookahead and averages around all other wrappers where parameters are "
                "projected, so that they see what is allowed, got another one around them; write "
                "them last: wrappers=[optim.cautious, optim.lookahead]"
            )
        inner = vars(inner).get("__wrapped__")


@cached
def _held(function: RuleFunction, count: int) -> RuleFunction:
    def held(p: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        return *function(p, g, *slots[:-count], **scalars), *slots[-count:]

    return wrapping(held, function)


@cached
def _following(parts: tuple[tuple[After, tuple[str, ...]], ...], skips: bool) -> RuleFunction:
    """A rule for the parameter after the update, with what it was before as the gradient."""

    def following(p: Any, g: Any, *slots: Any, t: Any, **scalars: Any) -> tuple[Any, ...]:
        old, new, state = p, p, list[Any]()
        for (after, names), slot in zip(parts, slots, strict=False):
            new, kept = after(g, new, slot, t, *[scalars[name] for name in names])
            state.append(kept)
        if not skips:
            return new, *state
        applied = slots[-1]
        kept_slots = [where(applied > 0, x, y) for x, y in zip(state, slots, strict=False)]
        return where(applied > 0, new, old), *kept_slots, applied

    return following
