"""`Around`: what surrounds an optimizer's update, all of it in one place.

What is around the rule of each parameter, as slots, scalars and stages that are fused with it, is
listed in `wrapped`; what is around the whole of a step, in `Optimizer.step`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias, cast

import numpy as np

from born.backend import Backend
from born.errors import ConfigError
from born.optim.averaging import Average, averaged, checked_average
from born.optim.clipping import check_options
from born.optim.following import Parted, parted
from born.optim.loss_scale import LossScale, check_loss_scale
from born.optim.nonfinite import SKIPPING, check_policy, check_watch
from born.optim.precision import PLAIN, Precision, checked_precision
from born.optim.projections import Projection
from born.optim.rule import Rule
from born.optim.treatment import Treatment
from born.raw import RawTensor
from born.validation import integer, takes

Wrapper: TypeAlias = Callable[[Rule], Rule]
"""From rule to rule, as `optim.centralized` and its kin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The keywords of an optimizer's constructor that are not its config's.

    Attributes:
        projections: what parameters are held to after an update.
        max_norm: the norm that all gradients together are clipped to, unless a step says another.
        wrappers: from rule to rule, the first the innermost.
        average: which average of each parameter is kept; around the wrappers.
        accumulate: how many batches of gradients there are to an update.
        precision: how parameters of 16 bits are updated; around all else that is around a rule.
        nonfinite: what is done about gradients that are not finite; around that and around what
            a step multiplies its gradients by, by the `Reporter`.
        watch: what reports tell of each parameter, in the same place.
        loss_scale: what gradients are divided by; around everything.
    """

    projections: Sequence[Projection] = ()
    max_norm: float | None = None
    wrappers: Sequence[Wrapper] = ()
    average: Average | None = None
    accumulate: int = 1
    precision: Precision = PLAIN
    nonfinite: str = "ignore"
    watch: Sequence[str] = ()
    loss_scale: LossScale | None = None

    def __post_init__(self) -> None:
        check_options(None, self.max_norm)
        integer("accumulate", self.accumulate, 1, ConfigError)
        if not isinstance(self.wrappers, list | tuple) or not all(map(callable, self.wrappers)):
            raise ConfigError(
                "expected a list of functions from rule to rule as wrappers, got "
                f"{self.wrappers!r}; write wrappers=[optim.centralized]"
            )
        for wrapper in self.wrappers:
            if not takes(wrapper, 1):
                name = getattr(wrapper, "__name__", "wrapper")
                arguments = ", ".join(inspect.signature(wrapper).parameters)
                raise ConfigError(
                    f"expected wrappers that take a rule alone, got {name}"
                    f"({arguments}); give it the rest, as lambda rule: "
                    f"optim.{name}(rule, ...)"
                )
        if self.average is not None:
            checked_average(self.average)
        check_policy(self.nonfinite)
        check_watch(self.watch)
        checked_precision(self.precision)
        check_loss_scale(self.loss_scale)

    def wrapped(
        self,
        treatments: Sequence[Treatment],
        dtypes: Sequence[np.dtype[Any]],
        projected: Collection[int],
    ) -> list[Treatment]:
        """Parameters' rules with what surrounds them; equal rules stay one object.

        Those that are `projected` are parted in the update and what follows it.
        """
        made: dict[tuple[int, bool], Parted] = {}
        found: list[Parted] = []
        for index, each in enumerate(treatments):
            key = id(each.rule), index in projected
            if key not in made:
                rule = self._wrapped(each.rule)
                skips = self.nonfinite in SKIPPING
                made[key] = parted(rule, skips) if key[1] else Parted(rule, None)
            found.append(made[key])
        rules = self.precision.applied([each.update for each in found], dtypes)
        return [
            each._replace(rule=rule, after=own.after)
            for each, rule, own in zip(treatments, rules, found, strict=True)
        ]

    def _wrapped(self, rule: Rule) -> Rule:
        """A rule with what surrounds it, from the inside to the outside."""
        for wrapper in self.wrappers:
            rule = wrapper(rule)
            if not isinstance(cast("object", rule), Rule):
                raise ConfigError(
                    f"expected wrappers that return a rule, got {rule!r} from {wrapper!r}; "
                    "write lambda rule: optim.lookahead(rule, k=5)"
                )
        return rule if self.average is None else averaged(rule, self.average)

    def outermost(self, rule: Rule) -> Rule:
        """A rule with what goes around even that which looks at the gradients of a step."""
        return rule if self.loss_scale is None else self.loss_scale.applied(rule)

    def shared(self, backend: Backend) -> dict[str, RawTensor]:
        """The slots of rank group of what is outermost, as they start."""
        return {} if self.loss_scale is None else self.loss_scale.slots(backend)

    def keywords(self) -> Mapping[str, Any]:
        """As the constructor takes them."""
        return {each.name: getattr(self, each.name) for each in fields(self)}
