"""`Optimizer`: the one driver of every update rule."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Generic, Self, cast, overload

from typing_extensions import TypeVar

from born.backend import B
from born.backend.update import UpdateKernel
from born.errors import (
    ConfigError,
    ConfigTypeError,
    ParameterError,
    RuleError,
    StateDictError,
)
from born.nn import Module, Parameter
from born.optim import state as states
from born.optim.accumulation import BATCHES, Accumulation
from born.optim.around import Around, Wrapper
from born.optim.averaging import Average
from born.optim.checks import StepChecks, check_memory, checked_parameters, mismatches
from born.optim.clipping import (
    MAX_NORM,
    NORM,
    SCALE,
    Scale,
    check_options,
    double,
    scale_tensor,
)
from born.optim.config import KINDS, Config, check_names, required_fields
from born.optim.explain import Explanation, explanation
from born.optim.groups import Group, checked_groups, group_numbers
from born.optim.incoming import Incoming
from born.optim.loss_scale import LOSS_SCALE, LossScale, as_factor
from born.optim.plan import Plan
from born.optim.plans import Plans, programs
from born.optim.precision import PLAIN, Precision
from born.optim.projections import Projection, selected
from born.optim.report import Fault, Reporter, StepReport
from born.optim.rule import Rule, RuleFunction
from born.optim.scalars import Scalar, value_at
from born.optim.slots import Coded, by_name, coded_slots, described, own_slots, shared_slots
from born.optim.transforms import decayed
from born.optim.treatment import Treatment, treatments
from born.optim.weights import Weights
from born.raw import RawTensor
from born.tensor import B2, Tensor
from born.validation import mismatch_text

C_co = TypeVar("C_co", bound=Config, default=Config, covariant=True)


class Optimizer(Generic[B, C_co]):
    """Updates parameters from their gradients by a rule; the base of every optimizer.

    A subclass says which config it takes and the formula that its fields go into.
    Everything else is done here: gradients are handed out and checked, state is kept,
    saved and restored, and the rule is run on the computing backend, where no tape
    records it.

    Args:
        parameters: what to train: a model, or parameters, each once, all on one backend.
        config: the settings, of the class that the optimizer names in `config_type`.
        groups: settings of their own for some of the parameters.
        projections: what parameters are held to: after each update, those that a pattern of a
            projection matches are moved to the nearest point that it allows.
        max_norm: clip every step by global norm, as `step` says, unless it is given another.
        accumulate: update in every so many-th step, by the mean of the gradients since the last
            update. The other steps only add them up, and count nowhere.
        average: keep an average of the parameters, which `weights("average")` gives: how much of it
            is kept in an update, such as 0.999, or `"uniform"`.
        wrappers: functions from rule to rule that go around the rule, the first the innermost:
            `[optim.centralized, lambda rule: optim.lookahead(rule, k=5)]`.
        precision: how parameters of 16 bits keep what rounding would lose, and what the state is
            kept in.
        nonfinite: what to do about gradients with NaN or infinities. `"raise"` an error, or
            `"skip"` the step: neither changes a byte, nor the count of updates. `"zero"` counts
            such elements as 0; `"keep"` leaves them and their state alone. `"ignore"` by default.
        watch: which of `"grad_norm"`, `"param_norm"`, `"update_norm"` and `"update_ratio"` the
            `StepReport` tells of each parameter.
        loss_scale: for float16: what `scale_loss` multiplies a loss by, and steps divide gradients
            by. Where they are not finite, the step is skipped and the scale shrinks.
        fields: the fields of that class, in place of a config: `optim.Adam(p, lr=1e-3)`.

    Attributes:
        config_type: the class of the config.
        formula: the update, as `Rule.from_config` takes it.

    Raises:
        ParameterError: no parameters, something that is not a parameter, one twice, or
            parameters of two backends; a group or projection that matches none, or two groups
            that match the same one.
        ConfigTypeError: a config of another class, or both a config and fields.
        ConfigError: a field that is unknown, or a value that the config refuses.

    >>> from dataclasses import dataclass
    >>> from born.fusion import sign
    >>> from born.backend import B
    >>> @dataclass(frozen=True, slots=True, kw_only=True)
    ... class SignConfig(optim.Config):
    ...     lr: float = 0.1
    >>> @optim.rule
    ... def sign_descent(p, g, *, lr):
    ...     return (p - lr * sign(g),)
    >>> class SignDescent(optim.Optimizer[B, SignConfig]):
    ...     config_type = SignConfig
    ...     formula = sign_descent
    >>> p = nn.Parameter(born.tensor([1.0, 1.0], backend))
    >>> optimizer = SignDescent([p], SignConfig())
    >>> report = optimizer.step({p.raw: born.tensor([-7.0, 3.0], p.backend).raw})
    >>> p.numpy()
    array([1.1, 0.9], dtype=float32)
    """

    config_type: ClassVar[type[Config]]
    formula: ClassVar[RuleFunction]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        kind: type[Config] | None = vars(cls).get("config_type")
        if kind is not None:
            _TAKING.setdefault(kind, cls)
            KINDS.setdefault(kind.__name__, kind)

    def __init__(
        self,
        parameters: Module[B] | Iterable[Parameter[B]],
        config: C_co | None = None,
        *,
        groups: Sequence[Group] = (),
        projections: Sequence[Projection] = (),
        max_norm: float | None = None,
        accumulate: int = 1,
        average: Average | None = None,
        wrappers: Sequence[Wrapper] = (),
        precision: Precision = PLAIN,
        nonfinite: str = "ignore",
        watch: Sequence[str] = (),
        loss_scale: LossScale | None = None,
        **fields: Any,
    ) -> None:
        if loss_scale is not None and nonfinite == "ignore":
            nonfinite = "skip"
        self._parameters = checked_parameters(parameters)
        self._config = cast("C_co", self._checked_config(config, **fields))
        self._around = Around(
            projections=projections,
            max_norm=max_norm,
            accumulate=accumulate,
            average=average,
            wrappers=wrappers,
            precision=precision,
            nonfinite=nonfinite,
            watch=watch,
            loss_scale=loss_scale,
        )
        self._inner = self._parameters[0].backend.innermost
        self._reporter = Reporter(self._inner, nonfinite, watch)
        self._updates: list[int] = []
        self._buffers: list[tuple[RawTensor, ...]] = []
        self._accumulation: Accumulation | None = None
        self._shared: dict[str, RawTensor] = {}
        self.shown: Weights[B] | None = None
        self._hold(self._parameters, checked_groups(groups))

    def _hold(self, parameters: tuple[Parameter[B], ...], groups: tuple[Group, ...]) -> None:
        """Take hold of parameters, those that are there already first; or of none of them."""
        inner, checks = self._inner, StepChecks(parameters)
        counts = (
            self._counts if self._updates else []
        )  # after a wait, before the reporter is copied
        numbers = group_numbers(groups, parameters)
        treatments = self._treated(self._config, groups, numbers, parameters)
        check_memory(inner, parameters)
        projected = selected(self._around.projections, parameters)
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

        plans = Plans(inner, targets, checks, treatments, looked_at)
        k, gathering = self._around.accumulate, None
        if k > 1:
            gathering = Accumulation(k, inner, raws, checks, self._accumulation)
        self._parameters, self._groups, self._numbers = parameters, groups, numbers
        self._raws, self._checks, self._projected = raws, checks, projected
        self._buffers, self._shared, self._plans = buffers, shared, plans
        self._accumulation = gathering
        self._updates = [*counts, *(0 for _ in new)]
        self._reporter = reporter
        self._incoming = Incoming(type(self).__name__, parameters, checks)
        self._take(treatments)

    @classmethod
    def rule(cls, config: Any) -> Rule:
        """The rule that follows from a config: the `formula`, with arguments bound by name.

        Override it where the config chooses the formula, or a transform such as `optim.l2`; the
        argument is annotated with `config_type`. The fields of `UpdateConfig` are seen to here. A
        class without a formula is a `RuleError`.
        """
        if not hasattr(cls, "formula"):
            raise RuleError(
                f"{cls.__name__}: expected a formula or a method rule(config), got neither; write "
                "formula = the function of the update in the body of the class"
            )
        return decayed(Rule.from_config(cls.formula, config), config)

    @classmethod
    def rule_for(cls, config: Any, parameter: Parameter[Any]) -> Rule:
        """The rule of one parameter, by default that of all of them.

        Override it where parameters take different formulas of the same config, or keep different
        slots, such as matrices and vectors.
        """
        return cls.rule(config)

    @classmethod
    def config_for(cls, config: Any, parameter: Parameter[Any]) -> Config:
        """The config that a parameter follows, by default that of all of them.

        Override it where some parameters take the rule of another optimizer: return its config,
        which the config has as a field, the same object for all of them.
        """
        return cast("Config", config)

    @classmethod
    def has_one_rule(cls) -> bool:
        """Whether a config gives all parameters the same rule."""
        ours = cast("Any", cls.rule_for).__func__
        return ours is cast("Any", Optimizer.rule_for).__func__

    def _kind_of(self, config: Config) -> type[Optimizer[Any, Any]]:
        """The optimizer that takes a config."""
        kind = type(self) if isinstance(config, self.config_type) else _TAKING.get(type(config))
        if kind is None:
            raise ConfigTypeError(
                f"expected the config of an optimizer, got {config!r}; name its class as the "
                "config_type of one"
            )
        return kind

    def _treated(
        self,
        config: Config,
        groups: Sequence[Group],
        numbers: Sequence[int | None],
        parameters: Sequence[Parameter[Any]],
    ) -> list[Treatment]:
        found = treatments(self._kind_of, config, groups, numbers, parameters)
        return self._around.wrapped(found, [p.dtype for p in parameters])

    def _take(self, treatments: list[Treatment]) -> None:
        self._treatments = treatments
        self._rules = [each.rule for each in treatments]
        self._incoming.frozen = frozenset(i for i, each in enumerate(treatments) if each.frozen)

    # -- what it holds ---------------------------------------------------------------------

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
    def faults(self) -> tuple[Fault, ...]:
        """Which gradients were not finite, each with the first step of it, the earliest first.

        With `nonfinite="ignore"` nobody looks, and there are none.

        >>> p = nn.Parameter(born.zeros(2, backend), "p")
        >>> optimizer = optim.SGD([p], lr=0.1, nonfinite="skip")
        >>> for value in (1.0, np.inf, np.nan):
        ...     report = optimizer.step({p.raw: born.full(2, value, p.backend).raw})
        >>> optimizer.faults, optimizer.timestep
        ((Fault(parameter='p', step=2, elements=2),), 1)
        """
        if self._reporter.pending is not None:
            self._reporter.settle(self._updates)
        return self._reporter.faults

    @property
    def config(self) -> C_co:
        """The settings, with the current learning rate.

        Set it, to one of the same class, to change them between steps; the state stays as it is, so
        one that keeps other state (momentum cannot be switched on under way) is a `ConfigError`.
        """
        return self._config

    @config.setter
    def config(self, config: Config) -> None:
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
        self.configure(groups=groups)

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
        self._config, self._groups, self._numbers = checked, chosen, numbers
        self._take(treatments)

    def _proposed(
        self, config: Config, groups: Sequence[Group] | None
    ) -> tuple[list[Treatment], tuple[Group, ...], list[int | None]]:
        """The treatments by a config and groups, if they can be, with what they follow from."""
        chosen = self._groups if groups is None else checked_groups(groups)
        numbers = self._numbers if groups is None else group_numbers(chosen, self._parameters)
        treatments = self._treated(config, chosen, numbers, self._parameters)
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
        given: Iterable[Parameter[B]]
        given = parameters.parameters() if isinstance(parameters, Module) else parameters
        self._check_own_values("to add parameters", "they would be lost")
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
        for raw, each in zip(self._raws, self._treatments, strict=True):
            if raw is parameter.raw:
                return each.config
        raise ParameterError(
            f"expected a parameter of this {type(self).__name__}, got {parameter!r}, which it does "
            "not hold; pass one of optimizer.parameters"
        )

    def explain(self) -> Explanation:
        """What is done to each parameter, and what a step costs: as data, and printed as a table.

        >>> model = nn.Linear(64, 10, backend)
        >>> optimizer = optim.LAMB(model, lr=0.1)
        >>> [(kernel.name, kernel.passes, kernel.nbytes) for kernel in optimizer.explain().kernels]
        [('lamb', 2, 26000)]
        """
        plans, clips = self._plans, self._around.max_norm is not None
        gathering = self._accumulation
        return explanation(
            type(self).__name__,
            self._parameters,
            self._treatments,
            self._groups,
            self._buffers,
            [*self._shared.values(), *(gathering.sums if gathering is not None else ())],
            plans.scaled(None, True) if clips else plans.plain,
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
        """The learning rate of the next step.

        Set it, to what the config accepts, for the steps that follow: a number takes the place
        of a schedule.
        """
        return value_at(self._config.lr, self.timestep + 1)

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

    @property
    def kernels(self) -> tuple[UpdateKernel, ...]:
        """What the backend made of the rule, a kernel for each combination of dtypes.

        `kernel.source` is what was generated, as text, and `kernel.program` what it was
        generated from. A backend may run several programs that are alike by one kernel.
        Steps with a `scale` or `max_norm` run the rule with its gradient multiplied first, compiled
        when it is needed.

        >>> p = nn.Parameter(born.zeros(3, backend))
        >>> (kernel,) = optim.SGD([p], optim.SGDConfig(lr=0.1)).kernels
        >>> print(kernel.program)
        sgd(p, g)
          r0 = mul(s0, g)
          r1 = sub(p, r0)
          p <- r1
        >>> print(kernel.source, end="")
        def tile(a0, a1, s0, b0):
            np.multiply(s0, a1, out=b0)
            np.subtract(a0, b0, out=a0)
        """
        return tuple(bundle.kernel for bundle in self._plans.plain.bundles)

    def __repr__(self) -> str:
        count = len(self._parameters)
        return (
            f"{type(self).__name__}({count} parameter{'s' if count > 1 else ''}, {self._config!r})"
        )

    # -- updating ----------------------------------------------------------------------------

    def step(
        self,
        grads: Mapping[RawTensor, RawTensor] | None = None,
        *,
        scale: Scale | None = None,
        max_norm: float | None = None,
    ) -> StepReport:
        """Update every parameter that has a gradient, in place.

        A parameter without one is left alone: not updated, not decayed, its count of
        updates not advanced. So is one whose `requires_grad` is False.

        Args:
            grads: raw tensor of a parameter -> its gradient, of the same shape and
                dtype, from `born.autodiff.backward` or from anywhere else. Without it,
                the gradients that `Tensor.backward` has accumulated in the parameters.
            scale: what gradients are multiplied by first, 1 by default: one over a loss
                scale, or over the number of batches that were added up. A number, or a
                tensor of one element, which is not waited for.
            max_norm: clip by global norm: where the square root of the sum of the
                squares of all gradients, scaled, is larger than this, all are
                multiplied by max_norm over it. Neither costs a pass over the
                parameters; the norm takes one over the gradients.

        Returns:
            what the step did; whatever a device has to be asked for is read when it is used.

        Raises:
            OperandError: a scale or norm of the wrong type.
            DomainError: a norm that is not above 0.
            GradientError: a gradient of another shape or dtype, or for a tensor that
                this optimizer does not hold.
            BackendMismatchError: a gradient or scale on another backend.

            Every gradient is checked before the first parameter changes. A step that is
            interrupted, as by Ctrl-C, may leave some elements updated and others not: go
            on from a checkpoint.
        """
        self._check_own_values("to step", "the step would be lost")
        gradients = self._incoming.gradients(grads)
        self._checks.check_arrays()
        if max_norm is None:
            max_norm = self._around.max_norm
        if self._accumulation is not None:
            return self._gather(self._accumulation, gradients, scale, max_norm)
        return self._updated(gradients, scale, max_norm)

    def _updated(
        self,
        gradients: Sequence[RawTensor | None],
        scale: Scale | None,
        max_norm: float | None,
    ) -> StepReport:
        """An update by gradients that were checked."""
        if scale is None and max_norm is None:
            return self._run(self._plans.plain, gradients, {}, {})
        kind, slots, given = self._options(gradients, scale, max_norm)
        plan = self._plans.scaled(kind, max_norm is not None)
        return self._run(plan, gradients, slots, given)

    def _options(
        self,
        gradients: Sequence[RawTensor | None],
        scale: Scale | None,
        max_norm: float | None,
    ) -> tuple[str | None, dict[str, RawTensor], dict[str, float]]:
        """The options of a step, checked: the kind of scale, and slots and scalars of this step."""
        check_options(scale, max_norm)
        given: dict[str, float] = {}
        kind, slots = None, dict[str, RawTensor]()
        if isinstance(scale, RawTensor | Tensor):
            like = next((gradient for gradient in gradients if gradient is not None), None)
            if like is not None:
                kind = "tensor"
                slots[SCALE] = scale_tensor(self._inner, like, scale)
        elif scale is not None:
            kind, given[SCALE] = "number", double(scale)
        if max_norm is not None:
            given[MAX_NORM] = double(max_norm)
            slots[NORM] = self._inner.zeros((), "float64")
        return kind, slots, given

    def _gather(
        self,
        accumulation: Accumulation,
        gradients: Sequence[RawTensor | None],
        scale: Scale | None,
        max_norm: float | None,
    ) -> StepReport:
        """A step that adds gradients up, and updates by their mean if it is due."""
        share = 1 / accumulation.k  # in the sums, which 16 bits could not hold
        kind, slots, given = self._options(gradients, share if scale is None else scale, None)
        if kind == "tensor":
            slots[SCALE] = self._inner.mul(slots[SCALE], share)
        elif scale is not None and kind == "number":
            given[SCALE] *= share
        check_options(None, max_norm)
        accumulation.add(gradients, kind, slots, given)
        if accumulation.is_due:
            means = accumulation.taken()
            for index, raw in enumerate(self._raws):  # what was frozen meanwhile
                if index in self._incoming.frozen or not raw.requires_grad:
                    means[index] = None
            return self._updated(means, None, max_norm)
        report = StepReport(self._reporter, self._config, self._treatments, max(self._counts) + 1)
        report.with_missing([index for index, g in enumerate(gradients) if g is None])
        report.as_gathered()
        return report

    def _run(
        self,
        plan: Plan,
        gradients: Sequence[RawTensor | None],
        slots: Mapping[str, RawTensor],
        given: Mapping[str, float],
    ) -> StepReport:
        reporter, counts = self._reporter, self._updates
        if reporter.pending is not None:
            reporter.settle(counts)
        report = StepReport(reporter, self._config, self._treatments, max(counts) + 1)
        if None in gradients:
            report.with_missing([index for index, g in enumerate(gradients) if g is None])
        if slots or given:
            report.with_options(slots, given)
            slots = {**self._shared, **slots}
        if not reporter.rows:
            plan.run(gradients, counts, self._count, slots or self._shared, given)
            return report
        reporter.check()
        updated: list[int] = []
        plan.run(gradients, counts, updated.extend, slots or self._shared, given)
        outcome = reporter.seen(updated, report.step)
        if not outcome.is_left_out:
            self._count(updated)
        reporter.check()
        report.with_outcome(outcome)
        return report

    def _count(self, indices: Sequence[int]) -> None:
        """Count an update of each of some parameters, and hold them to their projections."""
        counts, raws = self._updates, self._raws
        for index in indices:
            counts[index] += 1
            changes = raws[index].changes
            if changes is None:
                raws[index].touch()
            else:
                changes[0] += 1  # which is what it does, without a call for each
        if self._projected:
            self._project(indices)

    def _check_own_values(self, what: str, otherwise: str) -> None:
        """Refuse what would take the values that `weights` shows for the parameters' own."""
        if self.shown is not None:
            raise ParameterError(
                f"expected {what} with the parameters' own values, got it inside of {self.shown}; "
                f"leave the with statement first, or {otherwise}"
            )

    def _project(self, indices: Sequence[int]) -> None:
        """Hold some parameters to their projections."""
        for index in indices:
            raw = self._raws[index]
            for projection in self._projected.get(index, ()):
                projected = projection(Tensor(raw, self._inner)).raw
                self._inner.assign(raw, self._reporter.unless_skipped(projected, raw))

    def scale_loss(self, loss: Tensor[B]) -> Tensor[B]:
        """A loss times the present `loss_scale`, for the backward pass; without one, as it is."""
        scale = self._shared.get(LOSS_SCALE)
        if scale is None:
            return loss
        return loss * Tensor(as_factor(self._inner, scale, loss.dtype), loss.backend)

    @property
    def loss_scale(self) -> float:
        """The present loss scale, 1 without one; it waits for the device."""
        scale = self._shared.get(LOSS_SCALE)
        return 1.0 if scale is None else float(self._inner.to_numpy(scale))

    def zero_grad(self) -> None:
        """Forget the gradients that `Tensor.backward` has accumulated in the parameters."""
        for parameter in self._parameters:
            parameter.zero_grad()

    # -- weights ------------------------------------------------------------------------------

    def weights(self, name: str) -> Weights[B]:
        """Other values of the parameters that the state holds, such as an average of them.

        Used in a `with` statement, they take the parameters' place inside it. `.state_dict()` gives
        them by the parameters' names.

        Args:
            name: a slot of every parameter's shape, such as `"average"` of `ASGD`; or what an
                optimizer makes of its state, `"x"` of the schedule-free ones.

        Raises:
            StateDictError: no such weights.

        >>> p = nn.Parameter(born.ones(2, backend), "p")
        >>> optimizer = optim.ASGD([p], lr=0.25, begin=0, shrink=0.0)
        >>> for _ in range(2):
        ...     report = optimizer.step({p.raw: born.ones(2, p.backend).raw})
        >>> with optimizer.weights("average"):
        ...     print(p.numpy().round(2))
        [0.5 0.5]
        >>> optimizer.weights("average").state_dict()["p"].numpy().round(2)
        array([0.5, 0.5], dtype=float32)
        """
        return Weights(self, name)

    def weights_of(self, name: str, index: int) -> RawTensor:
        """The value that `weights` gives one parameter: here a slot; override it for others."""
        raw, live = self._raws[index], self._live.get(f"{name}.{index}")
        rule = self._rules[index]
        if not self._counts[index] and name in rule.own_slots and rule.kind(name).start == "p":
            return raw  # which may have been loaded since the slot was made
        if live is None or live.shape != raw.shape:
            kept = [
                slot
                for slot in dict.fromkeys(key.rpartition(".")[0] for key in self._live)
                if (x := self._live.get(f"{slot}.{index}")) is not None and x.shape == raw.shape
            ]
            raise StateDictError(
                f"{self._checks.label(index)}: expected a slot of its shape, one of "
                f"{', '.join(kept) or '(none)'}, got {name!r}; correct the name"
            )
        return live

    # -- state ---------------------------------------------------------------------------------

    def state_dict(self, *, decoded: bool = False) -> dict[str, RawTensor]:
        """A snapshot of the state; nothing in it aliases what the optimizer goes on to use.

        Args:
            decoded: give slots that are kept in one byte an element as float32, under the names
                that they have where they are.

        Returns:
            `{slot}.{index}` -> what the rule carries for that parameter, of its shape
            and dtype, such as `velocity.0`; and `t.{index}` -> the number of updates
            it has had, int64 of shape (). With `accumulate` there are `gradient_sum.{index}` and
            `gathered.{index}`, the gradients of the batches so far, and `batches.0`, too. What is
            kept in one byte an element has its codec in its name, as `m.int8.0`.

        >>> p = nn.Parameter(born.zeros((2, 3), backend))
        >>> {key: x.shape for key, x in optim.Adam([p], optim.AdamConfig()).state_dict().items()}
        {'m.0': (2, 3), 'v.0': (2, 3), 't.0': ()}
        """
        state = states.copied(self._inner, self._live, self._coded if decoded else {})
        return state | states.counts_as_tensors(self._inner, self._numbered)

    def live_state(self) -> dict[str, RawTensor | int]:
        """The state itself, named as in `state_dict`: its buffers, and the counts as integers.

        What is written to a buffer changes the optimizer.

        >>> optimizer = optim.Adam([nn.Parameter(born.zeros(3, backend))], optim.AdamConfig())
        >>> list(optimizer.live_state())
        ['m.0', 'v.0', 't.0']
        """
        self._check_own_values("to save or load a state", "save the model alone")
        return {**self._live, **self._numbered}

    def state_owners(self) -> dict[str, int | None]:
        """Whose each entry of `state_dict` is: the index of a parameter, or None for all."""
        shared = {BATCHES, *(f"{slot}.0" for slot in self._shared)}
        return {
            key: None if key in shared else int(key.rpartition(".")[2]) for key in self.live_state()
        }

    def check_state_dict(self, state: states.OptimizerState) -> list[str]:
        """Every reason why `state` could not be loaded, in words; changes nothing."""
        return states.mismatches(self._inner, self._live, self._numbered, state)

    def load_state_dict(self, state: states.OptimizerState, *, encode: bool = False) -> None:
        """Write a state into the optimizer's buffers, all of it or nothing.

        Args:
            state: what `state_dict` gives. Tensors and NumPy arrays will do as well,
                and Python integers for `t.{index}`.
            encode: take numbers for slots that are kept in one byte an element, and round them.

        Raises:
            StateDictError: entries are missing, unexpected, misshapen or mistyped, or a
                count is negative; the message lists every one, and nothing was changed.
        """
        if encode:
            state = states.encoded(self._inner, self._coded, state)
        lines = self.check_state_dict(state)
        if lines:
            remedy = states.remedy(self._coded, state)
            expected = f"a state dict of this {type(self).__name__}"
            raise StateDictError(mismatch_text(expected, lines, remedy))
        counts = states.write(self._inner, self._live, self._numbered, state)
        self._updates = [counts[f"t.{index}"] for index in range(len(self._raws))]
        if self._accumulation is not None:
            self._accumulation.take_counts(counts)

    @overload
    def to(self, parameters: Module[B] | Iterable[Parameter[B]]) -> Self: ...

    @overload
    def to(self, parameters: Module[B2] | Iterable[Parameter[B2]]) -> Optimizer[B2, C_co]: ...

    def to(self, parameters: Module[Any] | Iterable[Parameter[Any]]) -> Optimizer[Any, C_co]:
        """A new optimizer that goes on where this one is, with its parameters moved elsewhere.

        It has this one's config, with the current learning rate, and copies of its state.
        This one stays as it is.

        Args:
            parameters: what this optimizer's own have become, in the same order, as in
                `optimizer.to(model.to(backend))`.

        Raises:
            ParameterError: more or fewer of them, or one of another shape, dtype or name;
                the message lists every mismatch.

        >>> p = nn.Parameter(born.zeros((2,), backend))
        >>> optimizer = optim.Adam([p], optim.AdamConfig(lr=0.5))
        >>> report = optimizer.step({p.raw: born.ones((2,), p.backend).raw})
        >>> other = optimizer.to([nn.Parameter(p.to(backend))])
        >>> other, other.timestep
        (Adam(1 parameter, AdamConfig(lr=0.5)), 1)
        """
        moved = parameters.parameters() if isinstance(parameters, Module) else list(parameters)
        groups = [group.moved(self._parameters, moved) for group in self._groups]
        options = self._around.keywords()
        twin = type(self)(moved, self._config, groups=groups, **options)
        lines = mismatches(self._parameters, twin.parameters)
        if lines:
            expected = f"the {len(self._raws)} parameters of this {type(self).__name__}, moved"
            remedy = "pass model.to(backend).parameters(), of the model that this one was made for"
            raise ParameterError(mismatch_text(expected, lines, remedy))
        state: dict[str, Tensor[Any] | int] = {
            name: Tensor(buffer, self._inner) for name, buffer in self._live.items()
        }
        state |= self._numbered
        twin.load_state_dict(state)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """For copies of the parameters, or those that the same copy has made of a model's."""
        self._check_own_values("to copy an optimizer", "copy the model alone")
        return self.to(copy.deepcopy(self._parameters, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, best together with the model: `pickle.dumps((model, optimizer))`."""
        self._check_own_values("to pickle an optimizer", "pickle the model alone")
        options = {"groups": self._groups, **self._around.keywords()}
        return _resumed, (type(self), self._parameters, self._config, self.state_dict(), options)

    @property
    def _live(self) -> dict[str, RawTensor]:
        """The buffers by name."""
        live = by_name(self._rules, self._buffers)
        live |= {f"{name}.0": slot for name, slot in self._shared.items()}
        return live if self._accumulation is None else live | self._accumulation.live()

    @property
    def _numbered(self) -> dict[str, int]:
        """The counts by name."""
        counts = {f"t.{index}": count for index, count in enumerate(self._counts)}
        return counts if self._accumulation is None else counts | self._accumulation.counts()

    @property
    def _coded(self) -> dict[str, Coded]:
        return coded_slots(self._rules, self._raws)

    def _checked_config(self, config: Config | None, **fields: Any) -> Config:
        if not hasattr(self, "config_type"):
            raise RuleError(
                f"{type(self).__name__}: expected a config_type, got none; write "
                "config_type = the class of its config in the body of the class"
            )
        if fields:
            if config is not None:
                raise ConfigTypeError(
                    f"expected a config or its fields for {type(self).__name__}, got both {config} "
                    f"and {', '.join(fields)}; write config.replace({next(iter(fields))}=...)"
                )
            check_names(self.config_type, fields, required_fields(self.config_type))
            return self.config_type(**fields)
        if not isinstance(config, self.config_type):
            raise ConfigTypeError(
                f"expected a config of class {self.config_type.__name__} for "
                f"{type(self).__name__}, got {config!r} of type {type(config).__name__}; "
                f"write {type(self).__name__}(parameters, {self.config_type.__name__}(lr=...))"
            )
        return config


_TAKING: Final[dict[type[Config], type[Optimizer[Any, Any]]]] = {}
"""A class of configs -> the optimizer that takes them, the first that was defined."""


def _resumed(
    kind: type[Optimizer[Any, Any]],
    parameters: tuple[Parameter[Any], ...],
    config: Config,
    state: dict[str, RawTensor],
    options: dict[str, Any],
) -> Optimizer[Any, Any]:
    optimizer = kind(parameters, config, **options)
    optimizer.load_state_dict(state)
    return optimizer
