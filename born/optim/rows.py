"""`Rows`: the scalars of parameters that one kernel updates, as they are in each update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

from born.fusion.host import Host, HostRows, Scalars
from born.optim.config import Config
from born.optim.fields import checked_at
from born.optim.rule import Rule, number_of
from born.optim.scalars import Scalar
from born.optim.schedules import Product


class Rows:
    """Sets of scalars, rows, of rules of one formula.

    Args:
        host: what computes them for a kernel.
        rows: the rule of each, its config, and what the host is given of parameters.
    """

    def __init__(
        self, host: Host, rows: Sequence[tuple[Rule, Config, Mapping[str, float]]]
    ) -> None:
        self._host = host
        self._values: list[dict[str, Scalar]] = [{**rule.scalars, **x} for rule, _, x in rows]
        self._checks = [config.schedule_checks() for _, config, _ in rows]
        self._forms: dict[tuple[str, ...], _Form] = {}

    def __len__(self) -> int:
        return len(self._values)

    def at(
        self, t: int, given: Mapping[str, Any], chosen: Sequence[int] | None = None
    ) -> list[Scalars]:
        """The scalars of update t, of each row or of those chosen.

        Functions of t are called once, whatever the number of rows that have them, and their values
        used as Python's numbers, in double; the schedules of configs are checked.

        Args:
            t: the number of the update.
            given: what one step alone gives, to all rows.
            chosen: the rows asked for, all by default.
        """
        names = tuple(given)
        if names not in self._forms:
            self._forms[names] = self._form(names)
        form = self._forms[names]
        if form.is_constant:
            return form.computed({"t": t, **given}, (), chosen)
        known: dict[int, Any] = {}

        def value_at(value: Any, t: int) -> Any:
            if not callable(value):
                return value
            if id(value) not in known:
                if isinstance(value, Product):  # such as that of lr and a group's lr_scale
                    known[id(value)] = value.of(value_at, t)
                else:
                    known[id(value)] = value(t)
            return known[id(value)]

        numbers = range(len(self)) if chosen is None else chosen
        seen = set[tuple[int, int]]()
        for row in numbers:
            for check, value in self._checks[row]:
                if (id(check), id(value)) not in seen:
                    seen.add((id(check), id(value)))
                    checked_at(check, value, t, value_at)
        first = self._values[0]
        shared = {name: number_of(name, value_at(first[name], t)) for name in form.shared}
        own = [
            tuple([number_of(name, value_at(self._values[row][name], t)) for name in form.own])
            for row in numbers
        ]
        return form.computed({"t": t, **given, **shared}, own if form.own else (), chosen)

    def _form(self, given: Sequence[str]) -> _Form:
        """How the rows are computed where a step gives these."""
        host, (first, *others) = self._host, self._values
        arguments = [name for name in host.arguments if name != "t" and name not in given]
        scheduled = [name for name in arguments if any(callable(x[name]) for x in self._values)]
        shared = [name for name in scheduled if all(x[name] is first[name] for x in others)]
        own = [name for name in scheduled if name not in shared]
        kept = [name for name in arguments if name not in scheduled]
        fixed = [{name: cast("float", row[name]) for name in kept} for row in self._values]
        is_constant = not scheduled and not any(self._checks)
        return _Form(HostRows(host, fixed, own), shared, own, is_constant)


class _Form(NamedTuple):
    """How rows are computed.

    Attributes:
        computed: from what an update gives.
        shared: the names of functions of t that all rows have in common.
        own: those of the others.
        is_constant: whether there are none, and no schedule has to be checked.
    """

    computed: HostRows
    shared: Sequence[str]
    own: Sequence[str]
    is_constant: bool
