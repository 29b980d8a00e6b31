"""What a piece finds out, written as it comes: a piece that is stopped keeps what it had."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import Result, Spread

_NAME: Final = 94  # columns of a table's first
_MANY: Final = 1000  # from here on without a decimal point


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number, and what it ought to be.

    Attributes:
        name: what was measured.
        value: the number, a median where there are several.
        low: the lower quartile.
        high: the upper quartile.
        unit: of the number; "x" for a ratio, over 1 where born is ahead.
        target: what it ought to reach; None where nothing is asked.
        at_most: whether the target is a bound from above.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str = "x"
    target: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass(slots=True)
class Recorder:
    """Prints figures and appends them to a file, a line of JSON each.

    Attributes:
        path: the file.
        judged: whether targets count; a rehearsal's sizes say nothing.
    """

    path: Path
    judged: bool = True
    figures: list[Figure] = field(default_factory=list[Figure])

    def add(self, name: str, value: float, **more: Any) -> None:
        """Record a figure; `more` are the other fields of `Figure`."""
        if not self.judged:
            more.pop("target", None)
        figure = Figure(name=name, value=value, **more)
        self.figures.append(figure)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(figure)) + "\n")
        print(line(figure), flush=True)

    def ratio(self, result: Result, theirs: str, ours: str, **more: Any) -> None:
        """Record how many times longer `theirs` took than `ours`, where both ran."""
        if theirs in result.samples and ours in result.samples:
            spread = result.ratio(theirs, ours)
            name = f"{result.work}: {ours} against {theirs}"
            self.add(name, spread.median, low=spread.low, high=spread.high, **more)

    def seconds(self, result: Result) -> None:
        """Record how long each competitor's step took, in microseconds."""
        for name in result.samples:
            spread = _scaled(result.seconds(name), 1e6)
            self.add(
                f"{result.work}: {name}", spread.median, low=spread.low, high=spread.high, unit="us"
            )
        for skipped in result.skipped:
            print(f"{result.work}: {skipped.name} skipped: {skipped.reason}", flush=True)


def _scaled(spread: Spread, by: float) -> Spread:
    return Spread(by * spread.low, by * spread.median, by * spread.high)


def read(path: Path) -> list[Figure]:
    """The figures of a file; none where it was never written."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Figure(**json.loads(each)) for each in lines if each.endswith("}")]


def line(figure: Figure) -> str:
    """A figure as one line of a table.

    >>> line(Figure(name="share of the bandwidth", value=0.934, target=0.9)).split()
    ['share', 'of', 'the', 'bandwidth', '0.934', 'x', 'of', '0.9', 'met']
    """
    value = f"{_number(figure.value)} {figure.unit}"
    if figure.low is not None and figure.high is not None:
        value += f" ({_number(figure.low)} to {_number(figure.high)})"
    aim = verdict = ""
    if figure.target is not None:
        aim = f"{'at most' if figure.at_most else 'of'} {figure.target:g}"
        verdict = "met" if figure.met else "SHORT"
    return f"{figure.name:<{_NAME}}{value:<30}{aim:<12}{verdict}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= _MANY else f"{value:.4g}"


def table(figures: Sequence[Figure], most: int) -> list[str]:
    """Those with a target first, then as many of the others as there is room for."""
    aimed = [figure for figure in figures if figure.target is not None]
    others = [figure for figure in figures if figure.target is None]
    shown = [line(figure) for figure in (*aimed, *others)]
    left = len(shown) - most
    return shown if left <= 0 else [*shown[: most - 1], f"... and {left + 1} more in the JSON"]
