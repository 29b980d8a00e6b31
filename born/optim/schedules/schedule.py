"""`Schedule`: the base of every schedule."""

from __future__ import annotations

import math
from abc import ABCMeta, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from born.errors import ConfigError, DomainError, OperandError
from born.optim.config import KINDS, Settings, field_types, observe
from born.optim.schedules import drawing
from born.validation import integer


@dataclass(frozen=True)
class Schedule(Settings, metaclass=ABCMeta):
    """A hyperparameter as a function of t, the number of the update, which counts from 1.

    A subclass is a dataclass with `frozen` and `slots` that has a method `at(t)`; its fields are
    checked, and written to JSON, as those of a config are.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, slots=True)
    ... class Halving(schedules.Schedule):
    ...     start: float
    ...     def at(self, t):
    ...         return self.start / 2 ** (t - 1)
    >>> p = nn.Parameter(born.zeros(3, backend))
    >>> optimizer = optim.SGD([p], lr=Halving(0.5))
    >>> optimizer.lr, optimizer.config.lr(3)
    (0.5, 0.125)
    """

    __slots__: ClassVar[Iterable[str]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        KINDS[cls.__name__] = cls

    @abstractmethod
    def at(self, t: int) -> float:
        """The value for update t, which is at least 1."""

    def __call__(self, t: int) -> float:
        """The value for update t, which counts from 1."""
        if type(t) is not int:
            t = integer("t", t, None, OperandError)
        if t < 1:
            raise DomainError(
                f"expected t as the number of an update, from 1, got {t}; a count from 0, as of "
                "PyTorch's and Optax's, is t - 1"
            )
        return self.at(t)

    @property
    def landmarks(self) -> tuple[int, ...]:
        """The updates between which it is monotonic, as far as it ends.

        A config checks its values there, and `plot` draws to the last of them.
        """
        return (1,)

    def observed(self, metric: float) -> Self:
        """The schedule after it has seen a metric; itself, if nothing in it looks at one."""
        values = {name: getattr(self, name) for name in field_types(type(self))}
        changes = {
            name: changed
            for name, value in values.items()
            if (changed := observe(value, metric)) is not value
        }
        return self.replace(**changes) if changes else self

    def plot(self, steps: int | None = None) -> Any:
        """`schedules.plot` of this schedule: a picture, as the axes of matplotlib."""
        return drawing.plot(self, steps)

    def text(self, steps: int | None = None, *, width: int = 60, height: int = 8) -> str:
        """`schedules.text` of this schedule: a picture of characters."""
        return drawing.text(self, steps, width=width, height=height)


LINEAR: Final = "linear"
COSINE: Final = "cosine"
SHAPES: Final = (COSINE, LINEAR)


def between(start: float, end: float, part: float, shape: str = LINEAR) -> float:
    """From start, where part is 0, to end, where it is 1; outside of that, what is nearer."""
    if part <= 0.0:
        return start
    if part >= 1.0:
        return end
    if shape == COSINE:
        return end + (start - end) * (1.0 + math.cos(math.pi * part)) / 2.0
    return start + (end - start) * part


def warmed(peak: float, t: int, warmup: int) -> float:
    """The value in a linear warm-up: peak · t / warmup, so that no update is wasted at 0."""
    return peak * (t / warmup)


def check_fits(kind: object, warmup: int, steps: int) -> None:
    """Refuse phases that take longer than there are steps."""
    if warmup > steps:
        raise ConfigError(
            f"{type(kind).__name__}.steps: expected at least the {warmup} steps of its phases, "
            f"got {steps}; steps counts all updates, those of the warm-up among them"
        )
