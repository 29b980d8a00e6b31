"""`Holding`: an optimizer's parameters, groups and settings, as they are and as they change."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Generic, cast

from typing_extensions import TypeVar

from born.backend import B, Backend
from born.errors import ConfigError, ParameterError
from born.nn import Module, Parameter
from born.optim.accumulation import Accumulation
from born.optim.around import Around
from born.optim.checks import StepChecks, check_memory, checked_parameters, several_parameters
from born.optim.config import Config
from born.optim.groups import Group, checked_groups, group_numbers
from born.optim.incoming import Incoming
from born.optim.plans import Plans, programs
from born.optim.projecting import Projecting
from born.optim.projections import selected
from born.optim.report import Reporter, lr_of_all
from born.optim.rule import Rule
from born.optim.ruled import Ruled
from born.optim.scalars import Scalar
from born.optim.slots import described, own_slots, shared_slots
from born.optim.treatment import Treatment, treatments
from born.optim.weights import Weights
from born.raw import RawTensor
from born.validation import type_error

C_co = TypeVar("C_co", bound=Config, default=Config, covariant=True)


class Holding(Ruled, Generic[B, C_co]):
    """What an optimizer holds: parameters with their state and counts, a config, and groups."""

    def __init__(
        self,
        parameters: tuple[Parameter[B], ...],
        config: C_co,
        groups: tuple[Group, ...],
        around: Around,
    ) -> None:
        self._parameters, self._config, self._around = parameters, config, around
        self._inner: Backend = parameters[0].backend.innermost
        self._reporter = Reporter(self._inner, around.nonfinite, around.watch)
        self._updates: list[int] = []
        self._buffers: list[tuple[RawTensor, ...]] = []
        self._accumulation: Accumulation | None = None
        self._shared: dict[str, RawTensor] = {}
        self.shown: Weights[B] | None = None
        self._hold(parameters, groups)

    def _hold(self, parameters: tuple[Parameter[B], ...], groups: tuple[Group, ...]) -> None:
        """Take hold of parameters, those that are there already first; or of none of them."""
        inner, checks = self._inner, StepChecks(parameters)
        counts = (
            self._counts if self._updates else []
        )  # after a wait, before the reporter is copied
        numbers = group_numbers(groups, parameters)
        check_memory(inner, parameters)
        projected = selected(self._around.projections, parameters)
        treatments = self._treated(self._config, groups, numbers, parameters, projected)
        raws, rules = [p.raw for p in parameters], [each.rule for each in treatments]
        programs(raws, treatments, checks)
        self._check_slots(rules)
        new = range(len(self._buffers), len(raws))
        buffers = [*self._buffers, *(own_slots(inner, raws[i], rules[i]) for i in new)]
        shared = {**shared_slots(inner, rules), **self._around.shared(inner), **self._shared}
        reporter = self._reporter.of(parameters)
        targets = [
            (raw, *slots, *seen)
            for raw, slots, seen in zip(raws, buffers, reporter.slots, strict=True)
        ]

        def looked_at(rule: Rule) -> Rule:
            return self._around.outermost(reporter.around(rule))

        clips = self._around.max_norm is not None
        plans = Plans(inner, targets, checks, treatments, looked_at, clips=clips)
        projecting = Projecting(
            inner, parameters, projected, treatments, buffers, self._around, reporter
        )
        k, gathering = self._around.accumulate, None
        if k > 1:
            gathering = Accumulation(k, inner, raws, checks, self._accumulation)
        self._parameters, self._groups, self._numbers = parameters, groups, numbers
        self._raws, self._checks, self._projected = raws, checks, projected
        self._buffers, self._shared, self._plans = buffers, shared, plans
        self._accumulation, self._projecting = gathering, projecting
        self._updates = [*counts, *(0 for _ in new)]
        self._reporter = reporter
        self._incoming = Incoming(type(self).__name__, parameters, checks)
        self._take(treatments)

    def _treated(
        self,
        config: Config,
        groups: Sequence[Group],
        numbers: Sequence[int | None],
        parameters: Sequence[Parameter[Any]],
        projected: Collection[int],
    ) -> list[Treatment]:
        found = treatments(self._kind_of, config, groups, numbers, parameters)
        return self._around.wrapped(found, [p.dtype for p in parameters], projected)

    def _take(self, treatments: list[Treatment]) -> None:
        self._treatments = treatments
        self._rules = [each.rule for each in treatments]
        self._incoming.frozen = frozenset(i for i, each in enumerate(treatments) if each.frozen)

    @property
    def parameters(self) -> tuple[Parameter[B], ...]:
        """The parameters, in the order that the indices in `state_dict` count."""
        return self._parameters

    @property
    def backend(self) -> B:
        """The backend of the parameters."""
        return self._parameters[0].backend

    @property
    def timestep(self) -> int:
        """The largest number of updates that any parameter has had."""
        return max(self._counts)

    @property
    def _counts(self) -> list[int]:
        """The number of updates of each parameter, after a wait for the last step to end if that
        may have been skipped."""
        if self._reporter.pending is not None:
            self._reporter.settle(self._updates)
        return self._updates

    @property
    def config(self) -> C_co:
        """The settings, with the current learning rate.

        Set it, to one of the same class, to change them between steps; the state stays as it is, so
        one that keeps other state (momentum cannot be switched on under way) is a `ConfigError`.
        """
        return self._config

    @config.setter
    def config(self, config: Config | None) -> None:
        if config is None:  # which `configure` takes for the present one
            raise type_error(
                "config", "a config", config, "config.replace(...) makes one", ConfigError
            )
        self.configure(config=config)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The groups of parameters with settings of their own.

        Set it to change them between steps: state and counts stay with the parameters, so a group
        whose rule keeps other state than its parameters have is a `ConfigError`.

        >>> model = nn.Sequential(nn.Linear(3, 4, backend), nn.Linear(4, 2, backend))
        >>> optimizer = optim.Adam(model, lr=0.1, groups=[optim.Group("0.*", freeze=True)])
        >>> optimizer.groups = [optim.Group("0.*", lr_scale=0.1)]  # thawed, to move slowly
        """
        return self._groups

    @groups.setter
    def groups(self, groups: Sequence[Group]) -> None:
        self.configure(groups=checked_groups(groups))

    @property
    def group_members(self) -> list[list[int]]:
        """The indices of each group's parameters."""
        count = len(self._groups)
        return [[i for i, n in enumerate(self._numbers) if n == each] for each in range(count)]

    def configure(
        self, *, config: Config | None = None, groups: Sequence[Group] | None = None
    ) -> None:
        """Set the config, the groups, or both at once: as by the properties, all or nothing."""
        checked = cast("C_co", self._config if config is None else self._checked_config(config))
        treatments, chosen, numbers = self._proposed(checked, groups)
        self._plans.take(treatments)
        self._projecting.take(treatments)
        self._config, self._groups, self._numbers = checked, chosen, numbers
        self._take(treatments)

    def _proposed(
        self, config: Config, groups: Sequence[Group] | None
    ) -> tuple[list[Treatment], tuple[Group, ...], list[int | None]]:
        """The treatments by a config and groups, if they can be, with what they follow from."""
        chosen = self._groups if groups is None else checked_groups(groups)
        numbers = self._numbers if groups is None else group_numbers(chosen, self._parameters)
        treatments = self._treated(config, chosen, numbers, self._parameters, self._projected)
        self._check_slots([each.rule for each in treatments])
        return treatments, chosen, numbers

    def add_group(self, group: Group, parameters: Module[B] | Iterable[Parameter[B]] = ()) -> None:
        """Add a group under way, and parameters that this optimizer does not hold yet.

        The state and the counts of all others stay. New parameters come last, with no update so far
        of their own. Those that `group` lists are added by themselves.

        Args:
            group: the settings; of parameters that are there already, or of new ones.
            parameters: to be added: a model or parameters; those that are there already are
                passed over.

        >>> encoder, head = nn.Linear(3, 4, backend), nn.Linear(4, 2, backend)
        >>> optimizer = optim.Adam(head, lr=0.1)
        >>> optimizer.add_group(optim.Group(encoder.parameters(), lr=0.01))
        >>> optimizer
        Adam(4 parameters, AdamConfig(lr=0.1))
        """
        (group,) = checked_groups([group])
        self._check_own_values("to add parameters", "they would be lost")
        given = several_parameters(parameters)
        held = {p.raw for p in self._parameters}
        new = {p.raw: p for p in (*given, *group.listed) if p.raw not in held}
        joined = checked_parameters([*self._parameters, *new.values()])
        self._hold(joined, (*self._groups, group))

    def config_of(self, parameter: Parameter[Any]) -> Config:
        """The settings that a parameter follows, with those of its group.

        Raises:
            ParameterError: a parameter that this optimizer does not hold.

        >>> p = nn.Parameter(born.zeros(3, backend), "p")
        >>> optim.SGD([p], lr=0.1, groups=[optim.Group("p", momentum=0.9)]).config_of(p)
        SGDConfig(lr=0.1, momentum=0.9)
        """
        wanted = getattr(parameter, "raw", None)
        for raw, each in zip(self._raws, self._treatments, strict=True):
            if raw is wanted:
                return each.config
        raise ParameterError(
            f"expected a parameter of this {type(self).__name__}, got {parameter!r}, which it does "
            "not hold; pass one of optimizer.parameters"
        )

    def check_config(self, config: Config, groups: Sequence[Group] | None = None) -> list[str]:
        """Every reason why a config, or groups, could not be set, in words; changes nothing."""
        try:
            self._proposed(config, groups)
        except ConfigError as error:
            return [str(error)]
        return []

    def _check_slots(self, rules: Sequence[Rule]) -> None:
        """Refuse rules that keep other state than the parameters have already."""
        known = len(self._buffers)
        if not known:
            return
        raws, old, new = self._raws, self._rules, rules[:known]
        different = [
            index
            for index, (theirs, ours, raw) in enumerate(zip(new, old, raws, strict=True))
            if theirs is not ours and described([theirs], [raw]) != described([ours], [raw])
        ]
        if not different:
            return
        theirs, ours, where = described(new, raws), described(old, raws), ""
        if theirs == ours:  # but not of each parameter
            first = different[0]
            where = f"{self._checks.label(first)}: "
            theirs, ours = (described([each[first]], [raws[first]]) for each in (new, old))
        raise ConfigError(
            f"{where}expected a config that keeps {ours} like the present one, got one that keeps "
            f"{theirs}; make a new {type(self).__name__} with it"
        )

    @property
    def lr(self) -> float:
        """The learning rate of the next step, for parameters of no group.

        A report tells what each was updated with: `report.lrs`.

        Set it, to what the config accepts, for the steps that follow: a number takes the place
        of a schedule.
        """
        return lr_of_all(self._config, self._treatments, self._counts)

    @lr.setter
    def lr(self, lr: Scalar) -> None:
        self.config = self._config.replace(lr=lr)

    def observe(self, metric: float) -> None:
        """Show a metric to the schedules that look at one, such as `schedules.Plateau`.

        What they have seen is kept in the config or the group, and so in checkpoints. If none of
        them looks at a metric, that is a `ConfigError`.

        >>> p = nn.Parameter(born.zeros(3, backend))
        >>> optimizer = optim.SGD([p], lr=optim.schedules.Plateau(0.1, factor=0.5, patience=0))
        >>> optimizer.observe(7.0)
        >>> optimizer.observe(8.0)
        >>> optimizer.lr
        0.05
        """
        groups = tuple(group.observed(metric) for group in self._groups)
        same = all(new is old for new, old in zip(groups, self._groups, strict=True))
        config = self._config.observed(metric, required=same)
        self.configure(config=config, groups=groups)

    def _check_own_values(self, what: str, otherwise: str) -> None:
        """Refuse what would take the values that `weights` shows for the parameters' own."""
        if self.shown is not None:
            raise ParameterError(
                f"expected {what} with the parameters' own values, got it inside of {self.shown}; "
                f"leave the with statement first, or {otherwise}"
            )
