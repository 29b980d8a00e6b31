"""`StepReport`: what a step did. It is read when somebody asks, and nothing waits before that."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from typing_extensions import override

from born.backend import Backend
from born.backend.contract.transfer import Arrival
from born.errors import GradientError
from born.nn import Parameter
from born.optim.checks import distinct_names
from born.optim.clipping import MAX_NORM, NORM, SCALE
from born.optim.config import Config
from born.optim.nonfinite import NONFINITE, SKIPPING, WATCHED, observed, reductions
from born.optim.rule import Rule
from born.optim.scalars import value_at
from born.optim.treatment import Treatment
from born.raw import HostArray, RawTensor


class Fault(NamedTuple):
    """When a gradient was not finite for the first time.

    >>> Fault("head.weight", 7, 3)
    Fault(parameter='head.weight', step=7, elements=3)
    """

    parameter: str
    step: int
    """The number of the step, from 1; steps that were skipped count, too."""
    elements: int
    """How many elements were not finite in that step."""


class StepReport:
    """What a step of an optimizer did.

    Nothing is read from a device, and nothing computed, before it is asked for: `lr` and
    `missing` never wait, the others for that step alone.

    >>> p = nn.Parameter(born.tensor([3.0, 4.0], backend), "p")
    >>> optimizer = optim.SGD([p], lr=0.1, watch=("grad_norm", "update_ratio"))
    >>> report = optimizer.step({p.raw: born.tensor([0.3, 0.4], p.backend).raw})
    >>> report.applied, report.lr, round(report.grad_norm, 6)
    (True, 0.1, 0.5)
    >>> {name: round(ratio, 6) for name, ratio in report.watched["update_ratio"].items()}
    {'p': 0.01}
    """

    step: int
    """The number t of the update, from 1. A step that is skipped has it, and the next one.

    Of parameters that joined later, or were frozen for a while, it is the largest of all."""

    # Of a step without options; set where it is otherwise, so that to make a report takes no time.
    _missing: Sequence[int] = ()
    _outcome: Outcome | None = None
    _scale: float | RawTensor = 1.0
    _norm: float | RawTensor | None = None
    _max_norm = math.inf
    _is_gathered = False

    def __init__(
        self,
        reporter: Reporter,
        config: Config,
        treatments: Sequence[Treatment],
        counts: Sequence[int],
    ) -> None:
        self._reporter = reporter
        self._config = config
        self._treatments = treatments
        self._counts = counts[:]
        self.step = max(counts) + 1

    def with_options(self, slots: Mapping[str, RawTensor], given: Mapping[str, float]) -> None:
        """Take what gradients were multiplied by."""
        self._scale = slots.get(SCALE, given.get(SCALE, 1.0))
        self._norm = slots.get(NORM)
        self._max_norm = given.get(MAX_NORM, math.inf)

    def with_missing(self, indices: Sequence[int]) -> None:
        """Take which parameters had no gradient."""
        self._missing = indices

    def as_gathered(self) -> None:
        """Say that gradients were added to those of an update that is not due yet."""
        self._is_gathered = True

    def with_outcome(self, outcome: Outcome) -> None:
        """Take what was looked at in the step."""
        self._outcome = outcome

    @property
    def lr(self) -> float:
        """The learning rate of the step, for parameters of no group; `lrs` has that of each.

        Of several it is that of those with most updates.
        """
        return lr_of_all(self._config, self._treatments, self._counts, self._idle)

    @property
    def group_lrs(self) -> dict[int, float]:
        """The number of a group of parameters -> its learning rate, as of `lr`.

        Where an optimizer treats some of a group by another config, as `Muon` does, it is that of
        the first that follows its own.
        """
        return group_lrs(self._config, self._treatments, self._counts, self._idle)

    @property
    def lrs(self) -> dict[str, float]:
        """The learning rate that each parameter with a gradient was updated with, by its name.

        >>> old, new = (nn.Parameter(born.zeros(1, backend), name) for name in ("old", "new"))
        >>> optimizer = optim.SGD([old], lr=optim.schedules.Linear(1.0, 0.0, steps=4))
        >>> report = optimizer.step({old.raw: old.tensor.raw})
        >>> optimizer.add_group(optim.Group(new))
        >>> optimizer.step({p.raw: p.tensor.raw for p in (old, new)}).lrs
        {'old': 0.75, 'new': 1.0}
        """
        return {
            self._reporter.names[index]: value_at(each.config.lr, count + 1)
            for index, (each, count) in enumerate(zip(self._treatments, self._counts, strict=True))
            if index not in self._idle
        }

    @property
    def _idle(self) -> frozenset[int]:
        return frozenset(self._missing)

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the parameters that had no gradient, or take none."""
        return tuple(self._reporter.names[index] for index in self._missing)

    @property
    def applied(self) -> bool:
        """Whether anything was updated: not if all gradients were missing, the step was skipped, or
        its gradients were only added up (`accumulate`)."""
        if self._is_gathered or len(self._missing) == len(self._reporter.names):
            return False
        return self._outcome is None or not (self._reporter.skips and self._outcome.bad)

    @property
    def nonfinite(self) -> dict[str, int]:
        """Of each gradient that was not finite, by its parameter's name, how many elements.

        Empty with `nonfinite="ignore"`, which does not look.
        """
        outcome = self._outcome
        return {} if outcome is None else self._named(outcome.bad)

    @property
    def watched(self) -> dict[str, dict[str, float]]:
        """For each name in the optimizer's `watch`: parameter -> value.

        Of those that had a gradient: the norms of the gradient (scaled, not yet clipped), of the
        parameter before the step, of its change, and the last over the one before. The change is
        the one that training goes on from: of a parameter of 16 bits after it is rounded, and so 0
        where all steps are lost; of the master, or with what Kahan keeps, where there is that. It
        is measured before projections.
        """
        if self._outcome is None:
            return {}
        return {name: self._named(self._values(name)) for name in self._reporter.watch}

    @property
    def grad_norm(self) -> float | None:
        """The norm of all gradients together, scaled but not clipped.

        It is known if gradients were clipped by it, or if `watch` has it; else it is None.
        """
        return self._total("grad_norm") if self._norm is None else self._number("_norm")

    @property
    def param_norm(self) -> float | None:
        """The norm of all parameters together before the step, if it is watched."""
        return self._total("param_norm")

    @property
    def update_norm(self) -> float | None:
        """The norm of the change of all parameters together, if it is watched."""
        return self._total("update_norm")

    @property
    def update_ratio(self) -> float | None:
        """`update_norm` over `param_norm`, if it is watched; about 1e-3 is usual."""
        if "update_ratio" not in self._reporter.watch or self._outcome is None:
            return None
        return _ratio(self._sum("update_norm"), self._sum("param_norm"))

    @property
    def clip_factor(self) -> float:
        """What gradients were multiplied by to clip them: 1.0 if they were small enough."""
        if self._norm is None:
            return 1.0
        norm = self._number("_norm")
        return self._max_norm / norm if norm > self._max_norm else norm * 0.0 + 1.0

    def to_dict(self, per_parameter: bool = True) -> dict[str, float]:
        """All of it as numbers under flat names, for any logger.

        Args:
            per_parameter: whether the learning rates of groups are in it, too, under
                `"lr/group 0"`, and what is watched of each parameter, under
                `"update_ratio/head.weight"`.

        >>> p = nn.Parameter(born.zeros(2, backend), "p")
        >>> optimizer = optim.SGD([p], lr=0.1, nonfinite="skip")
        >>> optimizer.step({p.raw: born.tensor([1.0, np.nan], p.backend).raw}).to_dict()
        {'step': 1, 'applied': 0, 'lr': 0.1, 'nonfinite': 1}
        """
        numbers: dict[str, float] = {
            "step": self.step,
            "applied": int(self.applied),
            "lr": self.lr,
        }
        if self._is_gathered:
            numbers["gathered"] = 1
        if per_parameter:
            numbers |= {f"lr/group {group}": lr for group, lr in self.group_lrs.items()}
        if self._norm is not None:
            numbers["clip_factor"] = self.clip_factor
        for name in WATCHED:
            value: float | None = getattr(self, name)
            if value is not None:
                numbers[name] = value
        if self._missing:
            numbers["missing"] = len(self._missing)
        if self._reporter.policy != "ignore" and not self._is_gathered:
            numbers["nonfinite"] = sum(self.nonfinite.values())
        if per_parameter:
            numbers |= {
                f"{name}/{parameter}": value
                for name, values in self.watched.items()
                for parameter, value in values.items()
            }
        return numbers

    @override
    def __repr__(self) -> str:
        shown = self.to_dict(per_parameter=False)
        state = "applied" if shown.pop("applied") else "skipped"
        if shown.pop("gathered", 0):
            state = "gradients added up"
        elif len(self._missing) == len(self._reporter.names):
            state = "nothing to update"
        rest = ", ".join(f"{name}={value:.4g}" for name, value in shown.items() if name != "step")
        return f"StepReport({self.step}: {state}, {rest})"

    def _named(self, values: Mapping[int, Any]) -> dict[str, Any]:
        return {self._reporter.names[index]: value for index, value in values.items()}

    def _values(self, name: str) -> dict[int, float]:
        """What is watched, by the number of the parameter."""
        if self._outcome is None:
            return {}
        if name == "update_ratio":
            updates, sizes = self._values("update_norm"), self._values("param_norm")
            return {index: _ratio(updates[index], sizes[index]) for index in updates}
        values = self._outcome.column(f"step_{name}")
        if name == "grad_norm":
            scale = abs(self._number("_scale"))
            values = {index: value * scale for index, value in values.items()}
        return values

    def _number(self, name: str) -> float:
        """An attribute as a number, read from the device once."""
        value: float | RawTensor = getattr(self, name)
        if isinstance(value, RawTensor):
            value = float(self._reporter.backend.to_numpy(value))
            setattr(self, name, value)
        return value

    def _total(self, name: str) -> float | None:
        watched = name in self._reporter.watch and self._outcome is not None
        return self._sum(name) if watched else None

    def _sum(self, name: str) -> float:
        return math.hypot(*self._values(name).values())


def lr_of_all(
    config: Config,
    treatments: Sequence[Treatment],
    counts: Sequence[int],
    idle: Collection[int] = (),
) -> float:
    """The learning rate of an update, of parameters that are in no group.

    Args:
        config: of the optimizer.
        treatments: of its parameters.
        counts: how many updates each has had before.
        idle: those that are not updated; they count only if all are.
    """
    own = [i for i, each in enumerate(treatments) if each.group is None and not each.frozen]
    own = own or list(range(len(counts)))
    return value_at(config.lr, 1 + max(counts[i] for i in _busy(own, idle)))


def group_lrs(
    config: Config,
    treatments: Sequence[Treatment],
    counts: Sequence[int],
    idle: Collection[int] = (),
) -> dict[int, float]:
    """The learning rate of each group in an update; as for `lr_of_all`."""
    members: dict[int, list[int]] = {}
    for index, each in enumerate(treatments):
        if each.group is not None:
            members.setdefault(each.group, []).append(index)
    rates: dict[int, float] = {}
    for group, indices in members.items():
        own = [i for i in indices if isinstance(treatments[i].config, type(config))]
        busy = _busy(own or indices, idle)
        first = max(busy, key=lambda i: counts[i])
        rates[group] = value_at(treatments[first].config.lr, counts[first] + 1)
    return rates


def _busy(indices: Sequence[int], idle: Collection[int]) -> Sequence[int]:
    return [i for i in indices if i not in idle] or indices


def _ratio(update: float, size: float) -> float:
    return update / size if size else (math.inf if update else 0.0)


class Outcome:
    """The sums of one step, on their way to the host.

    Attributes:
        arrival: of all of them.
        indices: the parameters with a gradient.
        attempt: the number of the step, those that were skipped among them.
        is_left_out: whether it is known that it was skipped.
    """

    def __init__(
        self, arrival: Arrival, rows: Mapping[str, int], indices: Sequence[int], attempt: int
    ) -> None:
        self.arrival = arrival
        self.indices = indices
        self.attempt = attempt
        self.is_left_out = False
        self._rows = rows
        self._array: HostArray | None = None

    def column(self, name: str) -> dict[int, float]:
        """What there is under a name, by the number of the parameter, of those with a gradient."""
        if self._array is None:
            self._array = self.arrival.array()
        own: list[float] = self._array[self._rows[name]].tolist()
        return {index: own[index] for index in sorted(self.indices)}

    @property
    def bad(self) -> dict[int, int]:
        """The parameters whose gradients are not finite, and in how many elements."""
        if NONFINITE not in self._rows:
            return {}
        return {index: int(count) for index, count in self.column(NONFINITE).items() if count}


class Reporter:
    """What an optimizer looks at in its steps, and what it has seen.

    Args:
        backend: the one that computes.
        policy: what is done about gradients that are not finite.
        watch: what reports tell of each parameter.

    Attributes:
        names: of the parameters; their numbers where they have none.
        skips: whether steps are left out.
        slots: for each parameter what `observed` writes, parts of one buffer.
        skipped: how many steps were left out, as far as is known.
        first: parameter -> its first fault.
        pending: a step of which it is not known whether it was skipped.
    """

    def __init__(self, backend: Backend, policy: str, watch: Sequence[str]) -> None:
        self.backend: Final = backend
        self.policy: Final = policy
        self.watch: Final = tuple(watch)
        self.skips: Final = policy in SKIPPING
        self.rows: Final = {name: row for row, name in enumerate(reductions(policy, watch))}
        self.names: list[str] = []
        self.slots: list[tuple[RawTensor, ...]] = []
        self.skipped = 0
        self.first: dict[int, Fault] = {}
        self.pending: Outcome | None = None
        self._buffer = backend.zeros((), "float64")
        self._error: GradientError | None = None

    def of(self, parameters: Sequence[Parameter[Any]]) -> Reporter:
        """What looks at these parameters, the first of which this one has looked at."""
        new = copy.copy(self)
        new.names = distinct_names(parameters)
        new._buffer = self.backend.zeros((len(self.rows), len(parameters)), "float64")
        new.slots = [
            tuple(new._part(row, index) for row in range(len(self.rows)))
            for index in range(len(parameters))
        ]
        return new

    def _part(self, row: int, index: int) -> RawTensor:
        """A view of one element, as a slice and a change of shape are on every backend."""
        place = (slice(row, row + 1), slice(index, index + 1))
        return self.backend.reshape(self.backend.getitem(self._buffer, place), ())

    def around(self, rule: Rule) -> Rule:
        """A rule with what is looked at."""
        return observed(rule, self.policy, self.watch, (NORM,))

    def seen(self, indices: Sequence[int], step: int) -> Outcome:
        """What a step has written, which has updated some parameters unless it was skipped."""
        arrival = self.backend.fetch(self._buffer)
        outcome = Outcome(arrival, self.rows, indices, step + self.skipped)
        if self.policy != "ignore":
            if arrival.is_here:
                self._note(outcome)
            else:
                self.pending = outcome
        return outcome

    def settle(self, counts: list[int]) -> None:
        """Learn how the last step ended, and take it from the counts if it was skipped.

        It waits for that step alone, not for what was asked of the device since.
        """
        outcome, self.pending = self.pending, None
        if outcome is not None and self._note(outcome):
            for index in outcome.indices:
                counts[index] -= 1

    def _note(self, outcome: Outcome) -> bool:
        """Keep what there is to say of a step; whether it was skipped."""
        bad = outcome.bad
        for index, count in bad.items():
            fault = Fault(self.names[index], outcome.attempt, count)
            self.first.setdefault(index, fault)
        outcome.is_left_out = self.skips and bool(bad)
        if outcome.is_left_out and self.policy == "raise":
            self._error = GradientError(self._text(outcome, bad))
        elif outcome.is_left_out:
            self.skipped += 1
        return outcome.is_left_out

    def counts(self) -> dict[str, int]:
        """What it has seen, by name: a run that is resumed tells the same of it."""
        if self.policy == "ignore":
            return {}
        none = Fault("", 0, 0)
        faults = [self.first.get(index, none) for index in range(len(self.names))]
        return {
            SKIPPED: self.skipped,
            **{f"{FAULT_STEP}.{index}": fault.step for index, fault in enumerate(faults)},
            **{f"{FAULT_ELEMENTS}.{index}": fault.elements for index, fault in enumerate(faults)},
        }

    def take_counts(self, counts: Mapping[str, int]) -> None:
        """Take what `counts` has given, of another."""
        if self.policy == "ignore":
            return
        self.skipped = counts[SKIPPED]
        self.first = {
            index: Fault(name, step, counts[f"{FAULT_ELEMENTS}.{index}"])
            for index, name in enumerate(self.names)
            if (step := counts[f"{FAULT_STEP}.{index}"])
        }

    def unless_skipped(self, new: RawTensor, old: RawTensor) -> RawTensor:
        """`new`, or `old` if the last step, of which that is not yet known, is skipped."""
        if self.pending is None or not self.skips:
            return new
        backend, row = self.backend, self.rows[NONFINITE]
        counts = backend.stack([self.slots[index][row] for index in self.pending.indices])
        return backend.where(backend.equal(backend.sum(counts), 0.0), new, old)

    def applied(self) -> RawTensor:
        """1 if the last step was applied, 0 if it is skipped: a float64 on the device."""
        one, zero = (self.backend.full((), x, "float64") for x in (1.0, 0.0))
        return self.unless_skipped(one, zero)

    def _text(self, outcome: Outcome, bad: Mapping[int, int]) -> str:
        listed = [f"{self.names[index]!r} ({count} elements)" for index, count in bad.items()]
        shown = ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
        return (
            f"expected finite gradients, got NaN or infinity in step {outcome.attempt} in those of "
            f"{len(bad)} of {len(outcome.indices)} parameters: {shown}; nothing was updated. A "
            'smaller lr or max_norm may help, and nonfinite="skip" goes on'
        )

    def check(self) -> None:
        """Raise the error of a step that had one."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The first fault of each parameter that had one, the earliest first."""
        return tuple(sorted(self.first.values(), key=lambda fault: fault.step))


SKIPPED: Final = "skipped.0"
FAULT_STEP: Final = "fault_step"
FAULT_ELEMENTS: Final = "fault_elements"
"""Names, in a state, of how many steps were skipped, and of each parameter's first fault."""

_SHOWN: Final = 8
"""How many parameters an error names."""
