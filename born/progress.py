"""`progress`: a line that shows how training goes."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Generator, Iterable, Mapping, Sized
from contextlib import suppress
from typing import Any, ClassVar, Final, Generic, Protocol, TextIO, TypeAlias, TypeVar, cast

from typing_extensions import override

from born.errors import DomainError, OperandError
from born.validation import integer, type_error

T = TypeVar("T")

_LINES: Final = 10
"""How many lines there are in all where there is no terminal."""

_PERIOD: Final = 0.1
"""Seconds between two pictures on a terminal: as often as anybody can read."""

_FIRST: Final = ("loss", "lr", "grad_norm")
"""What comes first in a line."""

_OF_REPORTS: Final = ("lr", "grad_norm")
"""What a line takes from a report; it has no room for more."""


class Report(Protocol):
    """What tells of itself in numbers, such as an `optim.StepReport`."""

    def to_dict(self, per_parameter: bool = True) -> Mapping[str, float]:
        """Numbers by name."""
        ...


class Scalar(Protocol):
    """A number that may have to be asked for, such as a tensor of one element."""

    def item(self) -> Any:
        """The number."""
        ...


Number: TypeAlias = "float | Scalar"


def progress(
    items: Iterable[T],
    unit: str = "step",
    *,
    total: int | None = None,
    done: int = 0,
    lines: int = _LINES,
    file: TextIO | None = None,
) -> Progress[T]:
    """Go through items and show how far one is, how long each takes, and what is told to `show`.

    On a terminal that is a bar (with the package rich); anywhere else a line now and then. Where a
    line has no room for all, the bar is the first to go, and the loss the last.

    Args:
        items: such as `range(1000)`, or a `DataLoader`.
        unit: what an item is.
        total: how many items there are, if `done + len(items)` does not say it.
        done: how many were over before, of a run that goes on.
        lines: how many lines there are in all where there is no bar. If it is not known how many
            items there are, they come after 1, 2, 5, 10, 20, ...
        file: where to write; `sys.stdout` by default.

    Raises:
        DomainError: a number below 0, or fewer than one line.

    >>> steps = progress(range(4), lines=2)
    >>> for step in steps:  # doctest: +ELLIPSIS
    ...     steps.show(loss=1 / (1 + step))
    step 2/4  loss 0.5  .../step
    step 4/4  loss 0.25  .../step
    """
    if not isinstance(cast("object", items), Iterable):
        remedy = "write range(1000) for so many steps"
        raise type_error("items", "something to go through", items, remedy, OperandError)
    done = integer("done", done, 0, DomainError)
    if total is None and isinstance(items, Sized):
        total = done + len(items)
    if total is not None:
        total = integer("total", total, 0, DomainError)
    lines = integer("lines", lines, 1, DomainError)
    return Progress(items, unit, total, done, lines, file or sys.stdout)


class Progress(Generic[T]):
    """Items to go through, with a line that says how it goes; `progress` makes one.

    Attributes:
        done: how many items are over.
    """

    def __init__(
        self,
        items: Iterable[T],
        unit: str,
        total: int | None,
        done: int,
        lines: int,
        file: TextIO,
    ) -> None:
        self._items = items
        self._unit = unit
        self._total = total
        self._lines = lines
        self._file = file
        self._reports: tuple[Report | Mapping[str, Number], ...] = ()
        self._before = self.done = done

    def show(self, *reports: Report | Mapping[str, Number], **numbers: Number) -> None:
        """Say what the line is to show from now on.

        It costs next to nothing: tensors, and what reports have to ask a device for, are read when
        a line is written.

        Args:
            reports: of an optimizer's step, or mappings from name to number.
            numbers: others, such as `loss=loss`.

        Raises:
            OperandError: something that is no number.
        """
        for name, number in numbers.items():
            value: object = number
            if not (isinstance(value, int | float) or hasattr(value, "item")):
                remedy = "pass a number or a tensor"
                raise type_error(name, "a number", value, remedy, OperandError)
        self._reports = (*reports, numbers)

    def __len__(self) -> int:
        if self._total is None:
            raise TypeError("expected total=, got items of which nobody knows how many there are")
        return self._total

    def __iter__(self) -> Generator[T]:
        self.done = last = self._before
        line = _made(self._file, self._unit, self._total, self._lines)
        line.begin(self.done)
        start = time.perf_counter()
        try:
            for item in self._items:
                yield item
                self.done += 1
                if line.is_due(self.done):
                    now = time.perf_counter()
                    line.write(self.done, self._words((now - start) / (self.done - last)))
                    start, last = now, self.done
        finally:
            with suppress(Exception):  # a loop that ends by an error is not to end by another
                if self.done > last:
                    elapsed = time.perf_counter() - start
                    line.write(self.done, self._words(elapsed / (self.done - last)))
            line.close()

    def _words(self, seconds: float) -> list[str]:
        numbers: dict[str, float] = {}
        is_skipped = False
        for report in self._reports:
            if isinstance(report, Mapping):
                numbers |= {name: _read(number) for name, number in report.items()}
            else:
                told = report.to_dict(per_parameter=False)
                is_skipped |= told.get("applied") == 0 and "gathered" not in told
                numbers |= {name: told[name] for name in _OF_REPORTS if name in told}
        first = [name for name in _FIRST if name in numbers]
        order = dict.fromkeys((*first, *numbers))
        words = [f"{name} {numbers[name]:.4g}" for name in order]
        words += ["skipped"] if is_skipped else []
        return [*words, f"{_duration(seconds)}/{self._unit}"]


def _read(number: Number) -> float:
    return float(number) if isinstance(number, int | float) else float(number.item())


def _duration(seconds: float) -> str:
    """A time in a unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


# -- where lines go ------------------------------------------------------------------------------


class _Lines:
    """Lines of text, one now and then."""

    def __init__(self, file: TextIO, unit: str, total: int | None, lines: int) -> None:
        self._file = file
        self._unit = unit
        self._total = total
        self._every = None if total is None else max(-(-total // lines), 1)

    def begin(self, done: int) -> None:
        """Nothing is to be seen before the first line."""

    def is_due(self, done: int) -> bool:
        if self._every is None:
            return str(done).rstrip("0") in ("1", "2", "5")
        return done % self._every == 0 or done == self._total

    def write(self, done: int, words: list[str]) -> None:
        of = "" if self._total is None else f"/{self._total}"
        self._file.write("  ".join([f"{self._unit} {done}{of}", *words]) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Nothing is left to do."""


class _Bar(_Lines):
    """A bar of rich. One inside of another is a second row, for as long as it lasts."""

    _display: ClassVar[Any] = None
    """What all bars are rows of, while there are any."""
    _rows: ClassVar[int] = 0
    _bar: ClassVar[Any] = None
    """The column of the bars, whose width is for the words to leave."""

    def __init__(self, console: Any, unit: str, total: int | None) -> None:
        if _Bar._display is None:
            rich: Any = importlib.import_module("rich.progress")
            _Bar._bar = rich.BarColumn(bar_width=_BAR)
            _Bar._display = _display(console, _Bar._bar)
            _Bar._display.start()
        _Bar._rows += 1
        self._console = console
        self._taken = len(unit) + 2 * len(str(total or "??????")) + _TIME + 5
        self._row: Any = _Bar._display.add_task(unit, total=total, text="")
        self._drawn = 0.0

    @override
    def begin(self, done: int) -> None:
        _Bar._display.update(self._row, completed=done)

    @override
    def is_due(self, done: int) -> bool:
        now = time.perf_counter()
        if now - self._drawn < _PERIOD:
            return False
        self._drawn = now
        return True

    @override
    def write(self, done: int, words: list[str]) -> None:
        room = self._console.width - self._taken
        order = sorted(range(len(words)), key=lambda i: _rank(words[i], i == len(words) - 1))
        while order and len("  ".join(words[i] for i in order)) > room:
            order.pop()
        text = "  ".join(words[i] for i in sorted(order))
        # It never grows again, so that a row does not jump as its numbers change their lengths.
        bar, display = _Bar._bar, _Bar._display
        bar.bar_width = min(bar.bar_width, room - len(text) - 1)
        if bar.bar_width < _LEAST_BAR:
            display.columns = tuple(each for each in display.columns if each is not bar)
        display.update(self._row, completed=done, text=text)

    @override
    def close(self) -> None:
        _Bar._rows -= 1
        if _Bar._rows:
            _Bar._display.remove_task(self._row)
        else:
            display, _Bar._display = _Bar._display, None
            display.stop()


_BAR: Final = 12  # columns
_LEAST_BAR: Final = 4  # the same; one that is shorter says nothing
_TIME: Final = 5  # the same, of less than an hour


def _rank(word: str, is_last: bool) -> int:
    """What is worth its room comes first: a loss, then what else there is in every line."""
    name = word.partition(" ")[0]
    if is_last:
        return len(_WORTH)
    return _WORTH.index(name) if name in _WORTH else len(_WORTH) + 1


_WORTH: Final = ("loss", "skipped", "lr", "grad_norm")


def _display(console: Any, bar: Any) -> Any:
    rich: Any = importlib.import_module("rich.progress")
    column: Any = importlib.import_module("rich.table").Column
    return rich.Progress(
        rich.TextColumn("{task.description}", table_column=column(no_wrap=True)),
        rich.MofNCompleteColumn(table_column=column(no_wrap=True)),
        bar,
        rich.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        rich.TextColumn("{task.fields[text]}", table_column=column(no_wrap=True), markup=False),
        console=console,
    )


def _made(file: TextIO, unit: str, total: int | None, lines: int) -> _Lines:
    """A bar where somebody looks on, lines elsewhere, and where rich is not installed."""
    try:
        rich: Any = importlib.import_module("rich.console")
    except ImportError:
        return _Lines(file, unit, total, lines)
    console: Any = rich.Console(file=file)
    if console.is_terminal or console.is_jupyter:
        return _Bar(console, unit, total)
    return _Lines(file, unit, total, lines)
