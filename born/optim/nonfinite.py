"""What an optimizer does about gradients that are not finite, as a rule around its own.

Nothing here waits for a device: whether a step changes anything is decided where the gradients are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from born.errors import ConfigError
from born.fusion import all_finite, isfinite, norm, sum, where
from born.fusion.program import ELEMENT, TENSOR
from born.optim.config import cached
from born.optim.rule import Rule, RuleFunction
from born.optim.slot import PARAMETER, Slot

POLICIES: Final = ("raise", "skip", "zero", "keep", "ignore")
SKIPPING: Final = ("raise", "skip")
"""The policies that leave out a whole step."""
WATCHED: Final = ("grad_norm", "param_norm", "update_norm", "update_ratio")
"""What a step can tell of each parameter; see `Optimizer`."""

NONFINITE: Final = "step_nonfinite"
"""The slot of rank tensor for how many elements of a gradient are not finite in this step."""


def check_policy(policy: object) -> None:
    """Refuse a policy that there is not."""
    if not isinstance(policy, str) or policy not in POLICIES:
        raise ConfigError(
            f"expected nonfinite to be one of {', '.join(map(repr, POLICIES))}, got {policy!r}; "
            '"skip" leaves out steps whose gradients are not finite'
        )


def check_watch(watch: object) -> None:
    """Refuse what cannot be watched."""
    names = cast("tuple[object, ...]", watch) if isinstance(watch, tuple | list) else (None,)
    if not all(isinstance(name, str) and name in WATCHED for name in names):
        raise ConfigError(
            f"expected watch to be a tuple of {', '.join(map(repr, WATCHED))}, got {watch!r}; "
            'write watch=("grad_norm",)'
        )


def reductions(policy: str, watch: Sequence[str]) -> tuple[str, ...]:
    """The slots that `observed` adds for a policy and for what is watched, in order."""
    wanted = dict.fromkeys(name for name in watch if name != "update_ratio")
    if "update_ratio" in watch:
        wanted |= dict.fromkeys(("param_norm", "update_norm"))
    own = () if policy == "ignore" else (NONFINITE,)
    return (*own, *(f"step_{name}" for name in wanted))


def observed(
    rule: Rule, policy: str, watch: Sequence[str] = (), always: Collection[str] = ()
) -> Rule:
    """`rule` with a policy for gradients that are not finite, and with sums that tell of a step.

    Args:
        rule: what to do with a gradient.
        policy: `"raise"` and `"skip"`: if any element of any gradient is not finite, nothing
            changes. `"zero"`: such elements count as 0. `"keep"`: they count as 0, and where they
            are, neither the parameter nor its slots change. `"ignore"`: none.
        watch: names out of `WATCHED`.
        always: slots that change in a step that is skipped, too.

    The rule gets a slot of rank tensor more for each of `reductions`, and writes it in each step.
    They come from passes that it takes anyway.

    >>> plain = Rule(lambda p, g: (p - g,), slots=(), scalars={})
    >>> observed(plain, "skip", ["grad_norm"]).function(4.0, float("inf"), 0.0, 0.0, t=1)
    (4.0, 1.0, inf)
    """
    added = reductions(policy, watch)
    if not added:
        return rule
    kept = tuple(slot not in always for slot in rule.slots)
    elements = tuple(rule.kind(slot).rank == ELEMENT for slot in rule.slots)
    copies = (False, *(rule.kind(slot).start == PARAMETER for slot in rule.slots))
    return replace(
        rule,
        function=_observed(rule.function, policy, added, kept, elements, copies, rule.carried),
        slots=(*rule.slots, *added),
        slot_kinds={**rule.slot_kinds, **dict.fromkeys(added, Slot(TENSOR))},
    )


@cached  # equal rules share one function, and so one program
def _observed(
    function: RuleFunction,
    policy: str,
    added: tuple[str, ...],
    kept: tuple[bool, ...],
    elements: tuple[bool, ...],
    copies: tuple[bool, ...],
    carried: Callable[[Any, Sequence[Any]], Any] | None,
) -> RuleFunction:
    @functools.wraps(function)
    def stepped(p: Any, g: Any, *slots: Any, t: Any, **scalars: Any) -> tuple[Any, ...]:
        old = (p, *slots[: len(kept)])
        values: dict[str, Any] = {}
        finite: Any = None
        if policy != "ignore":
            finite = isfinite(g)
            values[NONFINITE] = sum(where(finite, 0.0, 1.0))
        fine: Any = all_finite(g) if policy in ("raise", "skip") else None
        if policy in ("zero", "keep"):
            g = where(finite, g, 0.0)
        new: tuple[Any, ...] = function(p, g, *old[1:], t=t, **scalars)
        if fine is not None:
            chosen = [True, *kept]
            new = tuple(
                where(fine, after, before) if undone else after
                for undone, before, after in zip(chosen, old, new, strict=True)
            )
        elif policy == "keep":
            chosen = [True, *elements]
            # A copy of p is one of its value now, which may have been loaded since it was made.
            held = [where(t == 1, p, x) if each else x for x, each in zip(old, copies, strict=True)]
            new = tuple(
                where(finite, after, before) if undone else after
                for undone, before, after in zip(chosen, held, new, strict=True)
            )
        if "step_grad_norm" in added:
            values["step_grad_norm"] = norm(g)
        if "step_param_norm" in added:
            values["step_param_norm"] = norm(p)
        if "step_update_norm" in added:
            before, after = p, new[0]
            if carried is not None:
                before, after = carried(p, old[1:]), carried(after, new[1:])
            values["step_update_norm"] = norm(after - before)
        return (*new, *[values[name] for name in added])

    vars(stepped).pop("__signature__", None)  # which knows fewer slots
    vars(stepped).pop("__wrapped__", None)
    return stepped
