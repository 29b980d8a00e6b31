"""A world in which nothing takes time but what is said to, and libraries that are not there."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from types import ModuleType

import pytest

from benchmarks.clocks import Step, wall_time
from benchmarks.harness import Competitor, Point, Result, Skipped

UNHURRIED = 1e9
"""A budget of seconds that no test uses up."""


class Loss:
    """What a step returns."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    def item(self) -> float:
        return self.value


class World:
    """A clock that only the steps of competitors move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def clock(self) -> float:
        return self.now

    def stopwatch(self, step: Step, steps: int) -> float:
        return wall_time(step, steps, self.clock)

    def competitor(
        self, name: str, seconds: Callable[[], float], ours: bool = False, loss: float = 1.0
    ) -> Competitor:
        def step() -> Loss:
            self.now += seconds()
            self.ran.append(name)
            return Loss(loss)

        return Competitor(name, step, ours)


def two_works() -> list[Result]:
    """One with a library that is absent, and one with two of born's backends."""
    samples = {"born one": [2e-6, 2e-6], "other": [3e-6, 5e-6]}
    more = {"born one": [2e-2], "born two": [1e-2], "other": [4e-2]}
    return [
        Result("first", samples, ["born one"], [Skipped("absent", "not installed")]),
        Result("the second", more, ["born one", "born two"], [], remarks={"other": "reads 9%"}),
    ]


def a_curve() -> list[Result]:
    """Two points, the second without the other library."""
    absent = [Skipped("other", "takes minutes")]
    few = Point("cost", "tensors", 1)
    many = Point("cost", "tensors", 1000)
    return [
        Result("one", {"born numpy": [2e-6], "other": [3e-6]}, ["born numpy"], [], point=few),
        Result("many", {"born numpy": [4e-3]}, ["born numpy"], absent, point=many),
    ]


def without(monkeypatch: pytest.MonkeyPatch, packages: Collection[str]) -> None:
    """Let packages look as if they were not installed."""
    find = importlib.import_module

    def missing(name: str, package: str | None = None) -> ModuleType:
        if name.split(".")[0] in packages:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return find(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
