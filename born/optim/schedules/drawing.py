"""Pictures of schedules: of matplotlib, and of characters."""

from __future__ import annotations

import math
from typing import Any, Final

from born.errors import OperandError
from born.optim.scalars import Scalar, value_at
from born.plot import pyplot
from born.validation import integer, number

_STEPS: Final = 100
"""How many updates are drawn of a function that does not say where it ends."""

_BARS: Final = " ▁▂▃▄▅▆▇█"


def plot(schedule: Scalar, steps: int | None = None, axes: Any = None) -> Any:
    """Draw a schedule with matplotlib, and return its axes.

    Args:
        schedule: a schedule, any function of t, or a number.
        steps: how many updates to draw; by default to the schedule's last landmark.
        axes: those of matplotlib to draw into, instead of new ones; several schedules may share
            them.

    Raises:
        ConfigError: matplotlib is not installed.

    >>> axes = schedules.plot(schedules.Cosine(3e-4, steps=10_000, warmup=500))
    >>> axes.get_xlabel()
    'update'
    """
    times, values = _sampled(schedule, steps, 2000)
    if axes is None:
        axes = pyplot().subplots(figsize=(6.4, 3.2), layout="constrained")[1]
    # A jump is a jump, unless there are too many updates to see one.
    style = "steps-post" if len(times) <= 200 else "default"
    axes.plot(times, values, drawstyle=style, label=type(schedule).__name__)
    axes.set_xlabel("update")
    axes.set_ylabel("value")
    axes.grid(visible=True, alpha=0.3)
    return axes


def text(schedule: Scalar, steps: int | None = None, *, width: int = 60, height: int = 8) -> str:
    """A picture of a schedule in characters.

    Args:
        schedule: a schedule, any function of t, or a number.
        steps: how many updates to draw; by default to the schedule's last landmark.
        width: how many columns it may take.
        height: how many lines the curve takes; with 1 the picture is a single line.

    >>> print(schedules.text(schedules.Cosine(1.0, 100, warmup=20), width=40, height=4))
           1 ┤     ▆██▇▆▅▄▃▁
             ┤   ▄██████████▇▆▄▂
             ┤ ▁▆████████████████▆▄▂
    0.000376 ┤▄██████████████████████▇▅▄▃▂▁▁
             └1                          100
    """
    width, height = integer("width", width, 20), integer("height", height)
    last = _last(schedule, steps)
    marks = [t for t in getattr(schedule, "landmarks", (1,)) if t <= last]
    extremes = [value_at(schedule, t) for t in marks]
    extremes += _sampled(schedule, last, 10 * width)[1]
    extremes = [value for value in extremes if math.isfinite(value)] or [math.nan]
    low, high = min(extremes), max(extremes)
    names = (f"{high:.3g}", f"{low:.3g}" if height > 1 and low < high else "")
    margin = max(map(len, names))
    columns = width - margin - 2
    bars = [_mean(schedule, last, columns, column) for column in range(columns)]
    eighths = [_eighths(bar, low, high, 8 * height) for bar in bars]
    lines: list[str] = []
    for row in range(height - 1, -1, -1):
        name = names[0] if row == height - 1 else names[1] if row == 0 else ""
        line = "".join(_BARS[min(8, max(0, each - 8 * row))] for each in eighths)
        lines.append(f"{name:>{margin}} ┤{line}".rstrip())
    if height == 1:
        return lines[0]
    return "\n".join([*lines, f"{'':{margin}} └1{last:>{columns - 1}}"])


def _mean(schedule: Scalar, last: int, columns: int, column: int) -> float:
    """What a schedule is on average over the updates of a column."""
    first, end = 1 + column * last // columns, 1 + (column + 1) * last // columns
    times = range(first, max(end, first + 1), max(1, (end - first) // 16))
    return sum(value_at(schedule, t) for t in times) / len(times)


def _eighths(value: float, low: float, high: float, most: int) -> int:
    """How high a bar is, in eighths of a line; what is least is still to be seen."""
    if not math.isfinite(value):  # an infinity fills its column; NaN leaves it empty
        return most if value > 0 else 0
    part = (value - low) / (high - low) if high > low else 1.0
    return 1 + round(part * (most - 1))


def _sampled(schedule: Scalar, steps: int | None, most: int) -> tuple[list[int], list[float]]:
    """At most so many updates, evenly spread, and the values there."""
    last = _last(schedule, steps)
    count = min(last, most)
    times = [1 + round(i * (last - 1) / max(1, count - 1)) for i in range(count)]
    return times, [value_at(schedule, t) for t in times]


def _last(schedule: Scalar, steps: int | None) -> int:
    """The last update to draw."""
    if not callable(schedule):
        number("schedule", schedule, error=OperandError)
    if steps is not None:
        return integer("steps", steps)
    last: int = getattr(schedule, "steps", max(getattr(schedule, "landmarks", (1,))))
    return last if last > 1 else _STEPS
