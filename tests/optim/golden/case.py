"""`Case`: an optimizer of born with some config, and the reference that it has to follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from born import optim
from tests.optim.golden.data import rate


@dataclass(frozen=True)
class Case:
    """One trajectory.

    Attributes:
        name: of the optimizer in born.
        library: `"torch"`, `"optax"`, ..., or `"formula"`: who computes the reference.
        function: what computes it there.
        options: what it is called with there, beside the learning rate.
        fields: of born's config, beside the learning rate.
        system: whose preset the config is made by, if any.
        lr: the learning rate that each step's is made from.
        steady: whether the learning rate stays as it is.
        together: whether all parameters have gradients from the first step on.
        pulled: whether gradients point the same way in each step.
        relative: by how much born may differ. Both sides round some twenty operations a step.
    """

    name: str
    library: str
    function: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    system: str | None = None
    lr: float = 0.1
    relative: float = 1e-10
    steady: bool = False
    together: bool = False
    pulled: bool = False

    @property
    def config(self) -> Any:
        """born's config."""
        made: Any = getattr(optim, f"{self.name}Config")
        fields = {"lr": self.lr, **self.fields}
        return made(**fields) if self.system is None else made.like(self.system, **fields)

    def rate(self, t: int) -> float:
        """The learning rate of step t."""
        return self.lr if self.steady else rate(self.lr, t)

    @property
    def key(self) -> str:
        """What the recording is filed under."""
        options = ",".join(
            f"{name}={getattr(value, '__name__', value)}" for name, value in self.options.items()
        )
        how = ";steady" * self.steady + ";together" * self.together
        how += ";pulled" * self.pulled
        return f"{self.library}.{self.function}({options};lr={self.lr}{how})"

    def __str__(self) -> str:
        fields = ",".join(f"{name}={value}" for name, value in self.fields.items())
        like = f" like {self.system}" if self.system else ""
        return f"{self.name}({fields}){like} of {self.library}.{self.function}"
