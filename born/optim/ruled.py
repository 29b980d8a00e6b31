"""`Ruled`: what the class of an optimizer says: which config it takes, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, cast

from born.backend import Backend
from born.errors import ConfigTypeError, RuleError
from born.nn import Parameter
from born.optim.config import KINDS, Config, check_names, required_fields
from born.optim.rule import Rule, RuleFunction
from born.optim.transforms import decayed
from born.raw import RawTensor


class Ruled:
    """From the config of an optimizer to the rule of each of its parameters."""

    config_type: ClassVar[type[Config]]
    formula: ClassVar[RuleFunction]
    made_weights: ClassVar[tuple[str, ...]] = ()
    """The names that `weights_from` makes weights for."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        kind: type[Config] | None = vars(cls).get("config_type")
        if kind is not None:
            _check_config_type(cls.__name__, kind)
            _TAKING.setdefault(kind, cls)
            KINDS.setdefault(kind.__name__, kind)

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
    def weights_from(
        cls,
        name: str,
        config: Any,
        t: int,
        p: RawTensor,
        slot: Callable[[str], RawTensor],
        backend: Backend,
    ) -> RawTensor | None:
        """What `optimizer.weights(name)` gives one parameter, or None: a slot of that name.

        Override it to make weights of the state, as the schedule-free optimizers do, and list the
        names in `made_weights`.

        Args:
            name: of the weights.
            config: that the parameter follows.
            t: how many updates it has had, at least one.
            p: its value.
            slot: gives a slot by its name.
            backend: the one that computes.
        """
        return None

    @classmethod
    def has_one_rule(cls) -> bool:
        """Whether a config gives all parameters the same rule."""
        ours = cast("Any", cls.rule_for).__func__
        return ours is cast("Any", Ruled.rule_for).__func__

    def _kind_of(self, config: Config) -> type[Ruled]:
        """The optimizer that takes a config."""
        kind = type(self) if isinstance(config, self.config_type) else _TAKING.get(type(config))
        if kind is None:
            raise ConfigTypeError(
                f"expected the config of an optimizer, got {config!r}; name its class as the "
                "config_type of one"
            )
        return kind

    def _checked_config(self, config: Config | None, **fields: Any) -> Config:
        if not hasattr(self, "config_type"):
            raise RuleError(
                f"{type(self).__name__}: expected a config_type, got none; write "
                "config_type = the class of its config in the body of the class"
            )
        if fields or config is None:
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


def _check_config_type(name: str, kind: object) -> None:
    if not (isinstance(kind, type) and issubclass(kind, Config)):
        raise RuleError(
            f"{name}: expected config_type to be a class that derives from optim.Config, got "
            f"{kind!r}; write config_type = the class of its config"
        )
    if not vars(kind).get("__dataclass_fields__"):
        raise RuleError(
            f"{name}: expected its config to be a dataclass, got {kind.__name__}, which is none; "
            f"write @dataclass(frozen=True, slots=True, kw_only=True) above class {kind.__name__}"
        )


_TAKING: Final[dict[type[Config], type[Ruled]]] = {}
"""A class of configs -> the optimizer that takes them, the first that was defined."""
