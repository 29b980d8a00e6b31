"""`Optimizer`: the one driver of every update rule."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Self, cast, overload

from typing_extensions import TypeVar

from born.autodiff import Gradients
from born.backend import B
from born.backend.update import UpdateKernel
from born.errors import (
    BackendMismatchError,
    ConfigError,
    ConfigTypeError,
    GradientError,
    ParameterError,
    RuleError,
    StateDictError,
)
from born.fusion import Program
from born.fusion.program import ELEMENT
from born.nn import Parameter
from born.optim import state as states
from born.optim.checks import StepChecks, check_memory, checked_parameters, mismatches
from born.optim.clipping import (
    MAX_NORM,
    NORM,
    SCALE,
    Scale,
    check_options,
    double,
    scale_tensor,
    scaled,
)
from born.optim.config import Config, check_names, required_fields
from born.optim.groups import Plan
from born.optim.projections import Projection, selected
from born.optim.report import Fault, Reporter, StepReport
from born.optim.rule import Rule, RuleFunction
from born.optim.scalars import Scalar, value_at
from born.optim.slot import PARAMETER
from born.optim.transforms import decayed
from born.optim.weights import Weights
from born.raw import RawTensor, memory_of
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
        parameters: what to train, each once, all on one backend.
        config: the settings, of the class that the optimizer names in `config_type`.
        projections: what parameters are held to: after each update, those that a pattern of a
            projection matches are moved to the nearest point that it allows.
        nonfinite: what to do about gradients with NaN or infinities. `"raise"` an error, or
            `"skip"` the step: neither changes a byte, nor the count of updates. `"zero"` counts
            such elements as 0; `"keep"` leaves them and their state alone. `"ignore"` by default.
        watch: which of `"grad_norm"`, `"param_norm"`, `"update_norm"` and `"update_ratio"` the
            `StepReport` tells of each parameter.
        fields: the fields of that class, in place of a config: `optim.Adam(p, lr=1e-3)`.

    Attributes:
        config_type: the class of the config.
        formula: the update, as `Rule.from_config` takes it.

    Raises:
        ParameterError: no parameters, something that is not a parameter, one twice, or
            parameters of two backends.
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
    >>> _ = SignDescent([p], SignConfig()).step({p.raw: born.tensor([-7.0, 3.0], p.backend).raw})
    >>> p.numpy()
    array([1.1, 0.9], dtype=float32)
    """

    config_type: ClassVar[type[Config]]
    formula: ClassVar[RuleFunction]

    def __init__(
        self,
        parameters: Iterable[Parameter[B]],
        config: C_co | None = None,
        *,
        projections: Sequence[Projection] = (),
        nonfinite: str = "ignore",
        watch: Sequence[str] = (),
        **fields: Any,
    ) -> None:
        self._parameters = checked_parameters(parameters)
        self._index = {p.raw: i for i, p in enumerate(self._parameters)}
        self._config = cast("C_co", self._checked_config(config, **fields))
        self._rules = self._rules_for(self._config)
        self._inner = inner = self._parameters[0].backend.innermost
        check_memory(inner, self._parameters)
        self._raws = [p.raw for p in self._parameters]
        self._owners = {id(memory_of(raw.array)) for raw in self._raws}
        self._checks = StepChecks(self._parameters)
        self._reporter = Reporter(inner, self._parameters, nonfinite, watch)
        rules = self._reporter.around(self._rules)
        programs = self._programs(rules)
        self._buffers = [
            self._slots_of(raw, rule) for raw, rule in zip(self._raws, self._rules, strict=True)
        ]
        self._shared = self._shared_slots()
        self._targets = [
            (raw, *slots, *seen)
            for raw, slots, seen in zip(
                self._raws, self._buffers, self._reporter.slots, strict=True
            )
        ]
        self._plan = self._planned(rules, programs)
        self._variants: dict[tuple[str | None, bool], Plan] = {}
        self._updates = [0] * len(self._parameters)
        self._shown: Weights[B] | None = None
        self._options: dict[str, Any] = {
            "projections": projections,
            "nonfinite": nonfinite,
            "watch": watch,
        }
        self._projected = selected(projections, self._parameters)

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

        Override it where parameters take different formulas, or keep different slots, such as
        matrices and vectors. Return the same object for all parameters that share a rule.
        """
        return cls.rule(config)

    def _rules_for(self, config: Config) -> list[Rule]:
        """The rule of each parameter."""
        if type(self).rule_for.__func__ is Optimizer.rule_for.__func__:  # type: ignore[attr-defined]  # of a class method
            return [self.rule(config)] * len(self._parameters)
        rules: list[Rule] = []
        for parameter in self._parameters:
            rule = self.rule_for(config, parameter)
            # Rules that are alike share their scalars, and so one row of the kernel's table.
            rules.append(next((other for other in rules if other == rule), rule))
        return rules

    def _programs(self, rules: Sequence[Rule]) -> list[Program]:
        """The program of each parameter; equal ones are one object."""
        programs: list[Program] = []
        for index, (raw, rule) in enumerate(zip(self._raws, rules, strict=True)):
            try:
                programs.append(rule.program_for(len(raw.shape)))
            except RuleError as error:
                raise RuleError(f"{self._checks.label(index)}: {error}") from error
        return programs

    def _planned(
        self, rules: Sequence[Rule], programs: Sequence[Program], config: Config | None = None
    ) -> Plan:
        check = self._checks.check_gradient
        return Plan(self._inner, rules, programs, self._targets, check, config or self._config)

    def _slots_of(self, raw: RawTensor, rule: Rule) -> tuple[RawTensor, ...]:
        """The slots that a parameter has for itself."""
        inner, slots = self._inner, list[RawTensor]()
        for number, name in enumerate(rule.own_slots, 1):
            kind, dtype = rule.kind(name), rule.slot_dtype(name, raw.dtype)
            if kind.start == PARAMETER:
                slot = inner.slot(raw, dtype, number)
                inner.assign(slot, raw if raw.dtype == dtype else inner.astype(raw, dtype))
            elif kind.rank == ELEMENT:
                slot = inner.slot(raw, dtype, number)
                if kind.start != 0.0:
                    inner.assign(slot, inner.full(raw.shape, _start(rule, name), dtype))
            else:
                slot = inner.full(kind.shape(raw.shape), _start(rule, name), dtype)
            slots.append(slot)
        return tuple(slots)

    def _shared_slots(self) -> dict[str, RawTensor]:
        """The slots of rank group, by name."""
        return {
            name: self._inner.full((), _start(rule, name), "float64")
            for rule in {id(rule): rule for rule in self._rules}.values()
            for name in rule.group_slots
        }

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
        checked = cast("C_co", self._checked_config(config))
        mismatch = self.check_config(checked)
        if mismatch:
            raise ConfigError(mismatch[0])
        own = self._rules_for(checked)
        rules = self._reporter.around(own)
        programs = self._programs(rules)
        if any(new is not old for new, old in zip(programs, self._plan.programs, strict=True)):
            self._plan = self._planned(rules, programs, checked)
            self._variants = {}
        else:
            self._plan.take_scalars(rules, checked)
            for (scale, clips), plan in self._variants.items():
                plan.take_scalars(self._scaled(own, scale, clips), checked)
        self._config, self._rules = checked, own

    def check_config(self, config: Config) -> list[str]:
        """Every reason why `config` could not be set, in words; changes nothing."""
        theirs, ours = (self._described_slots(r) for r in (self._rules_for(config), self._rules))
        if theirs == ours:
            return []
        return [
            f"expected a config that keeps {ours} like the present one, got one that keeps "
            f"{theirs}: {config}; make a new {type(self).__name__} with it"
        ]

    def _described_slots(self, rules: Sequence[Rule]) -> str:
        """The slots of the parameters' rules, each with its dtypes."""
        dtypes: dict[str, dict[str, None]] = {}
        for raw, rule in zip(self._raws, rules, strict=True):
            for slot in rule.slots:
                kind = rule.kind(slot)
                name = slot if kind.rank == ELEMENT else f"{slot} of rank {kind.rank}"
                dtypes.setdefault(name, {})[str(rule.slot_dtype(slot, raw.dtype))] = None
        return ", ".join(f"{name} ({', '.join(kinds)})" for name, kinds in dtypes.items()) or (
            "no state"
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

        What they have seen is kept in the config, and so in checkpoints. If none of them looks at
        a metric, that is a `ConfigError`.

        >>> p = nn.Parameter(born.zeros(3, backend))
        >>> optimizer = optim.SGD([p], lr=optim.schedules.Plateau(0.1, factor=0.5, patience=0))
        >>> optimizer.observe(7.0)
        >>> optimizer.observe(8.0)
        >>> optimizer.lr
        0.05
        """
        self.config = self._config.observed(metric)

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
        return tuple(group.kernel for group in self._plan.groups)

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
        if self._shown is not None and self._shown.shown:
            raise ParameterError(
                f"expected to step with the parameters' own values, got a step inside of "
                f"{self._shown}; leave the with statement first, or the step would be lost"
            )
        gradients = self._gradients(grads)
        self._checks.check_arrays()
        if scale is None and max_norm is None:
            return self._run(self._plan, gradients, {}, {})
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
        return self._run(self._variant(kind, max_norm is not None), gradients, slots, given)

    def _variant(self, scale: str | None, clips: bool) -> Plan:
        """The rules with their gradients scaled first."""
        plan = self._variants.get((scale, clips))
        if plan is None:
            rules = self._scaled(self._rules, scale, clips)
            plan = self._variants[scale, clips] = self._planned(rules, self._programs(rules))
        return plan

    def _scaled(self, rules: Sequence[Rule], scale: str | None, clips: bool) -> list[Rule]:
        """Rules with their gradients scaled first; equal ones are one object."""
        wide = any(raw.dtype.itemsize > 4 for raw in self._raws)
        made = {id(rule): scaled(rule, scale, clips, wide) for rule in rules}
        return self._reporter.around([made[id(rule)] for rule in rules])

    def _run(
        self,
        plan: Plan,
        gradients: Sequence[RawTensor | None],
        slots: Mapping[str, RawTensor],
        given: Mapping[str, float],
    ) -> StepReport:
        reporter, counts = self._reporter, self._counts
        report = StepReport(reporter, self._config, max(counts) + 1)
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
        counts = self._updates
        for index in indices:
            counts[index] += 1
            self._raws[index].touch()
            for projection in self._projected.get(index, ()):
                projected = projection(Tensor(self._raws[index], self._inner)).raw
                projected = self._reporter.unless_skipped(projected, self._raws[index])
                self._inner.assign(self._raws[index], projected)

    def zero_grad(self) -> None:
        """Forget the gradients that `Tensor.backward` has accumulated in the parameters."""
        for parameter in self._parameters:
            parameter.zero_grad()

    def _gradients(self, grads: Mapping[RawTensor, RawTensor] | None) -> list[RawTensor | None]:
        """For each parameter the gradient to follow, or None."""
        if grads is None:
            gradients = [raw.grad for raw in self._raws]
        else:
            self._check_mapping(grads)
            get = grads.by_raw.get if isinstance(grads, Gradients) else grads.get
            gradients = [get(raw) for raw in self._raws]
            if len(grads) != sum([gradient is not None for gradient in gradients]):
                self._check_keys(grads)
        for index, (raw, gradient) in enumerate(zip(self._raws, gradients, strict=True)):
            if gradient is None:
                continue
            if gradient.__class__ is not RawTensor and not isinstance(
                cast("object", gradient), RawTensor
            ):
                raise GradientError(
                    f"{self._checks.label(index)}: expected a gradient as a RawTensor, "
                    f"got {type(gradient).__name__}; pass tensor.raw, or RawTensor(array)"
                )
            array = gradient.array
            owner = getattr(array, "base", None)
            owner = array if owner is None else owner
            if gradient in self._index or (
                (id(owner) in self._owners or owner.__class__ is not raw.array.__class__)
                and self._overlaps_another(index, gradient)
            ):
                # Another parameter's memory as a gradient: its update must not come between.
                gradients[index] = self._inner.copy(gradient)
            if not raw.requires_grad:
                self._checks.check_gradient(index, gradient)
                gradients[index] = None
        return gradients

    def _overlaps_another(self, index: int, gradient: RawTensor) -> bool:
        """Whether a gradient lies in the memory of another parameter than its own."""
        own_array, array = self._raws[index].array, gradient.array
        if array.__class__ is not own_array.__class__ or array.device != own_array.device:
            return False  # refused later, by name
        own = self._inner.extent(gradient)
        if own is None:
            return False
        others = [self._inner.extent(raw) for i, raw in enumerate(self._raws) if i != index]
        return any(
            other is not None and own[0] < other[1] and other[0] < own[1] for other in others
        )

    def _check_mapping(self, grads: Mapping[RawTensor, RawTensor]) -> None:
        if isinstance(grads, Gradients):
            if grads.backend.innermost is not self._inner:
                raise BackendMismatchError(
                    f"expected gradients on the parameters' backend {self.backend!r}, got "
                    f"gradients on {grads.backend!r}; compute the loss with the parameters' own "
                    "backend"
                )
        elif not isinstance(cast("object", grads), Mapping):
            raise GradientError(
                "expected a mapping from a parameter's raw tensor to its gradient, got "
                f"{type(grads).__name__}; write {{parameter.raw: gradient}}"
            )

    def _check_keys(self, grads: Mapping[RawTensor, RawTensor]) -> None:
        """Refuse gradients for tensors that this optimizer does not hold.

        Those of a loss are for all optimizers that follow it, and this one takes its own; if there
        are none, the loss is another model's.
        """
        keys: Iterable[object] = grads.leaves if isinstance(grads, Gradients) else grads
        unknown = [key for key in keys if key not in self._index]
        if isinstance(grads, Gradients) and len(unknown) < len(grads.leaves):
            return
        if unknown:
            raise GradientError(
                f"expected gradients for the {len(self._parameters)} tensors that this "
                f"{type(self).__name__} holds, got {len(unknown)} for others, the first for "
                f"{unknown[0]!r}; use parameter.raw as the key, and hand over only the gradients "
                "of this optimizer's parameters, or what backward returns for a loss of them"
            )

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
        self._shown = Weights(self, name)
        return self._shown

    def weights_of(self, name: str, index: int) -> RawTensor:
        """The value that `weights` gives one parameter: here a slot; override it for others."""
        raw, live = self._raws[index], self._live.get(f"{name}.{index}")
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

    def state_dict(self) -> dict[str, RawTensor]:
        """A snapshot of the state; nothing in it aliases what the optimizer goes on to use.

        Returns:
            `{slot}.{index}` -> what the rule carries for that parameter, of its shape
            and dtype, such as `velocity.0`; and `t.{index}` -> the number of updates
            it has had, int64 of shape ().

        >>> p = nn.Parameter(born.zeros((2, 3), backend))
        >>> {key: x.shape for key, x in optim.Adam([p], optim.AdamConfig()).state_dict().items()}
        {'m.0': (2, 3), 'v.0': (2, 3), 't.0': ()}
        """
        state = {name: self._inner.copy(buffer) for name, buffer in self._live.items()}
        return state | states.counts_as_tensors(self._inner, self._counts)

    def live_state(self) -> dict[str, RawTensor | int]:
        """The state itself, named as in `state_dict`: its buffers, and the counts as integers.

        What is written to a buffer changes the optimizer.

        >>> optimizer = optim.Adam([nn.Parameter(born.zeros(3, backend))], optim.AdamConfig())
        >>> list(optimizer.live_state())
        ['m.0', 'v.0', 't.0']
        """
        counts = {f"t.{index}": count for index, count in enumerate(self._counts)}
        return {**self._live, **counts}

    def state_owners(self) -> dict[str, int | None]:
        """Whose each entry of `state_dict` is: the index of a parameter, or None for all."""
        shared = {f"{slot}.0" for rule in self._rules for slot in rule.group_slots}
        return {
            key: None if key in shared else int(key.rpartition(".")[2]) for key in self.live_state()
        }

    def check_state_dict(self, state: states.OptimizerState) -> list[str]:
        """Every reason why `state` could not be loaded, in words; changes nothing."""
        return states.mismatches(self._inner, self._live, self._counts, state)

    def load_state_dict(self, state: states.OptimizerState) -> None:
        """Write a state into the optimizer's buffers, all of it or nothing.

        Args:
            state: what `state_dict` gives. Tensors and NumPy arrays will do as well,
                and Python integers for `t.{index}`.

        Raises:
            StateDictError: entries are missing, unexpected, misshapen or mistyped, or a
                count is negative; the message lists every one, and nothing was changed.
        """
        lines = self.check_state_dict(state)
        if lines:
            remedy = "make the optimizer with the parameters and the config that it was saved with"
            expected = f"a state dict of this {type(self).__name__}"
            raise StateDictError(mismatch_text(expected, lines, remedy))
        self._updates = states.write(self._inner, self._live, self._counts, state)

    @overload
    def to(self, parameters: Iterable[Parameter[B]]) -> Self: ...

    @overload
    def to(self, parameters: Iterable[Parameter[B2]]) -> Optimizer[B2, C_co]: ...

    def to(self, parameters: Iterable[Parameter[Any]]) -> Optimizer[Any, C_co]:
        """A new optimizer that goes on where this one is, with its parameters moved elsewhere.

        It has this one's config, with the current learning rate, and copies of its state.
        This one stays as it is.

        Args:
            parameters: what this optimizer's own have become, in the same order, as in
                `optimizer.to(model.to(backend).parameters())`.

        Raises:
            ParameterError: more or fewer of them, or one of another shape, dtype or name;
                the message lists every mismatch.

        >>> p = nn.Parameter(born.zeros((2,), backend))
        >>> optimizer = optim.Adam([p], optim.AdamConfig(lr=0.5))
        >>> _ = optimizer.step({p.raw: born.ones((2,), p.backend).raw})
        >>> other = optimizer.to([nn.Parameter(p.to(backend))])
        >>> other, other.timestep
        (Adam(1 parameter, AdamConfig(lr=0.5)), 1)
        """
        twin = type(self)(parameters, self._config, **self._options)
        lines = mismatches(self._parameters, twin.parameters)
        if lines:
            expected = f"the {len(self._raws)} parameters of this {type(self).__name__}, moved"
            remedy = "pass model.to(backend).parameters(), of the model that this one was made for"
            raise ParameterError(mismatch_text(expected, lines, remedy))
        state: dict[str, Tensor[Any] | int] = {
            name: Tensor(buffer, self._inner) for name, buffer in self._live.items()
        }
        state |= {f"t.{index}": count for index, count in enumerate(self._counts)}
        twin.load_state_dict(state)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """For copies of the parameters, or those that the same copy has made of a model's."""
        return self.to(copy.deepcopy(self._parameters, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, best together with the model: `pickle.dumps((model, optimizer))`."""
        state = self.state_dict()
        return _resumed, (type(self), self._parameters, self._config, state, self._options)

    @property
    def _live(self) -> dict[str, RawTensor]:
        """The buffers by name: the first slot of every parameter, then the second, ..."""
        names = dict.fromkeys(slot for rule in self._rules for slot in rule.own_slots)
        owned = [
            dict(zip(rule.own_slots, buffers, strict=True))
            for rule, buffers in zip(self._rules, self._buffers, strict=True)
        ]
        live = {
            f"{name}.{i}": slots[name]
            for name in names
            for i, slots in enumerate(owned)
            if name in slots
        }
        return live | {f"{name}.0": slot for name, slot in self._shared.items()}

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


def _start(rule: Rule, slot: str) -> float:
    """The number that a slot starts with."""
    start = rule.kind(slot).start
    if not isinstance(start, str):
        return start
    if start not in rule.scalars:
        raise RuleError(
            f"the slot {slot!r}: expected its start to be a number, 'p' or a scalar of the rule, "
            f"got {start!r} beside the scalars {', '.join(rule.scalars)}; correct the name"
        )
    return value_at(rule.scalars[start], 1)
