"""`Optimizer`: the one driver of every update rule.

Its concerns have a module each: `ruled.py`, which rule follows from a config; `holding.py`, the
parameters with their groups and settings; `stepping.py`, the step; `saving.py`, the state.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, cast, overload

from born.backend import B
from born.backend.update import UpdateKernel
from born.errors import ConfigError, ParameterError
from born.nn import Module, Parameter
from born.optim.around import Around, Wrapper
from born.optim.averaging import Average
from born.optim.checks import checked_parameters, mismatches, several_parameters
from born.optim.config import Config
from born.optim.explain import Explanation, explanation
from born.optim.groups import Group, checked_groups
from born.optim.holding import C_co
from born.optim.loss_scale import LossScale
from born.optim.precision import PLAIN, Precision
from born.optim.projections import Projection
from born.optim.saving import Saving
from born.optim.stepping import Stepping
from born.raw import RawTensor
from born.tensor import B2, Tensor
from born.validation import mismatch_text


class Optimizer(Stepping[B, C_co], Saving[B, C_co]):
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
            such elements as 0; `"keep"` leaves them and their state alone, but for the count of
            updates, which is their parameter's. `"ignore"` by default.
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
        checked = checked_parameters(parameters)
        settings = cast("C_co", self._checked_config(config, **fields))
        around = Around(
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
        super().__init__(checked, settings, checked_groups(groups), around)

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
        moved = several_parameters(parameters)
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

    def __copy__(self) -> Self:
        """For the same parameters, with a state of its own."""
        return self.to(self._parameters)

    def _named_groups(self) -> list[Group]:
        """The groups as pickle takes them: where it does not find a function, by what it selects.

        Raises:
            ConfigError: a function among the settings that pickle does not find by its name.
        """
        groups: list[Group] = []
        for group, members in zip(self._groups, self.group_members, strict=True):
            named = group
            if callable(group.select) and _unpicklable(group.select) is not None:
                named = group.replace(select=[self._parameters[index] for index in members])
            groups.append(named)
            settings = {"lr_scale": group.lr_scale, "config": group.config, **group.fields}
            _check_picklable({f"{name} of {group}": x for name, x in settings.items()})
        _check_picklable({"config": self._config, **self._around.keywords()})
        return groups

    def __reduce__(self) -> tuple[Any, ...]:
        """For pickle, best together with the model: `pickle.dumps((model, optimizer))`."""
        self._check_own_values("to pickle an optimizer", "pickle the model alone")
        options = {"groups": self._named_groups(), **self._around.keywords()}
        return _resumed, (type(self), self._parameters, self._config, self.state_dict(), options)


def _unpicklable(value: object) -> str | None:
    """Why pickle refuses a setting, if it does."""
    try:
        pickle.dumps(value)
    except Exception as error:  # of whichever kind an object in it raises
        return str(error)
    return None


def _check_picklable(settings: Mapping[str, object]) -> None:
    for name, value in settings.items():
        reason = _unpicklable(value)
        if reason is not None:
            raise ConfigError(
                f"{name}: expected settings that pickle finds by their names, got {value!r} "
                f"({reason}); define its functions at the top of a module, or write a checkpoint"
            )


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
