"""Pictures of training, by matplotlib.

>>> import born.plot
>>> records = [{"step": t, "loss": 1 / t, "lr": 0.1, "grad_norm": 2.0} for t in range(1, 9)]
>>> [axes.get_ylabel() for axes in born.plot.history(records).axes]
['loss', 'lr', 'norm']
"""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from born.errors import ConfigError, OperandError
from born.progress import Report
from born.validation import type_error

_NORMS: Final = ("grad_norm", "param_norm", "update_norm")
_RATIO: Final = "update_ratio"
_COLOURS: Final = ("#2563a6", "#d9822b", "#3a8f5c", "#8a5fa8")
_RED: Final = "#c62828"
_WINDOW: Final = 0.02
"""The part of all steps whose mean a smooth line shows."""
_MANY: Final = 200
"""Steps from which noise hides what a loss does."""
_FEW: Final = 30
"""Up to so many values each is a dot too: one alone makes no line."""


def history(records: Iterable[Report | Mapping[str, float]], figure: Any = None) -> Any:
    """Draw how a training went: loss, learning rate and norms, one above the other.

    There is a panel for each of these that any record has: every name with `loss` in it; `lr`; the
    norms of reports; `update_ratio`, in all and, thin, of each parameter that was watched. Steps
    that were skipped are marked in red; how many values are not finite, which no line shows, is
    said beside the name.

    Args:
        records: of each step a mapping from name to number, such as
            `{**report.to_dict(), "loss": loss.item()}`, or a report. Those without a `"step"` are
            counted.
        figure: one of matplotlib to draw into, instead of a new one.

    Returns:
        the figure: `.savefig("history.png")` writes it.

    Raises:
        OperandError: no records, or something else than records of numbers.
        ConfigError: matplotlib is not installed.

    >>> p = nn.Parameter(born.tensor([3.0, 4.0], backend), "p")
    >>> optimizer = optim.SGD([p], lr=0.1, watch=("grad_norm", "update_ratio"))
    >>> reports = [optimizer.step({p.raw: p.tensor.raw}) for _ in range(5)]
    >>> [axes.get_ylabel() for axes in history(reports).axes]
    ['lr', 'norm', 'update / parameter']
    """
    if not _is_several(records):
        remedy = "pass those of all steps, [record, ...]"
        raise type_error("records", "a list of records", records, remedy, OperandError)
    rows = [_numbers(record) for record in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    panels: dict[str, list[str]] = {
        "loss": [name for name in names if "loss" in name.rpartition("/")[2]],
        "lr": [name for name in names if name == "lr"],
        "norm": [name for name in _NORMS if name in names],
        "update / parameter": [name for name in names if name.partition("/")[0] == _RATIO],
    }
    panels = {label: own for label, own in panels.items() if own}
    if not panels:
        raise OperandError(
            "expected records with a loss, lr or norm in them, got "
            f"{len(rows)} with {', '.join(names) or 'nothing'}; write "
            'records.append({**report.to_dict(), "loss": loss.item()})'
        )
    if figure is None:
        size = (7.0, 0.6 + 1.7 * len(panels))
        figure = pyplot().figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    times = [row.get("step", number) for number, row in enumerate(rows, 1)]
    skipped = [t for t, row in zip(times, rows, strict=True) if row.get("applied") == 0]
    for axes, (label, own) in zip(grid, panels.items(), strict=True):
        _draw(axes, label, own, times, rows)
        for t in skipped:
            axes.axvline(t, color=_RED, alpha=0.35, linewidth=1.0, zorder=0)
    grid[-1].xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    grid[-1].set_xlabel("step" + (f" ({len(skipped)} skipped, in red)" if skipped else ""))
    return figure


def _is_several(records: object) -> bool:
    is_one = isinstance(records, Mapping) or hasattr(records, "to_dict")
    return isinstance(records, Iterable) and not is_one


def _numbers(record: object) -> dict[str, float]:
    found: Any = record
    if not isinstance(record, Mapping):
        if not hasattr(record, "to_dict"):
            remedy = 'write {"step": 1, "loss": 0.5}, or pass the report of a step'
            raise type_error("a record", "a mapping or a report", record, remedy, OperandError)
        found = found.to_dict()
    numbers: dict[str, float] = {}
    for name, value in found.items():
        if isinstance(value, int | float):
            numbers[name] = float(value)
        elif hasattr(value, "item") and getattr(value, "size", 1) == 1:
            numbers[name] = float(value.item())
        else:
            raise type_error(f"{name!r} in a record", "a number", value, "leave it", OperandError)
    return numbers


def _draw(
    axes: Any,
    label: str,
    names: Sequence[str],
    times: Sequence[float],
    rows: Sequence[Mapping[str, float]],
) -> None:
    shown: list[float] = []
    colours = iter(_COLOURS * len(names))
    for name in names:
        points = [(t, row[name]) for t, row in zip(times, rows, strict=True) if name in row]
        x, y = zip(*points, strict=True)
        finite = [value for value in y if math.isfinite(value)]
        shown += finite
        if name.startswith(f"{_RATIO}/"):
            axes.plot(x, y, color="#8a929a", linewidth=0.6, alpha=0.6, zorder=1)
            continue
        colour, bad = next(colours), len(y) - len(finite)
        smooth = label == "loss" and len(y) >= _MANY
        axes.plot(
            x,
            y,
            color=colour,
            linewidth=1.4,
            marker="." if len(finite) <= _FEW else "",
            label=f"{name} ({bad} not finite)" if bad else name,
            alpha=0.25 if smooth else 1.0,
        )
        if smooth:
            axes.plot(x, _smoothed(y), color=colour, linewidth=1.4, label=f"{name}, mean")
    # Over more than a factor of 10 the small ones would be a line along the bottom. A norm of 0 is
    # that of a step that was skipped.
    positive = [value for value in shown if value > 0 or label == "loss"]
    if label != "lr" and positive and 0 < 10 * min(positive) < max(positive):
        axes.set_yscale("log")
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25)
    labels = axes.get_legend_handles_labels()[1]
    if len(labels) > 1 or any("not finite" in each for each in labels):
        axes.legend(framealpha=0.8, edgecolor="none", fontsize="small")


def _smoothed(values: Sequence[float]) -> list[float]:
    """The mean of each value and those before it, as far as they are finite."""
    width = max(round(_WINDOW * len(values)), 1)
    sums = _window_sums([x if math.isfinite(x) else 0.0 for x in values], width)
    counts = _window_sums([1.0 if math.isfinite(x) else 0.0 for x in values], width)
    return [x / count if count else math.nan for x, count in zip(sums, counts, strict=True)]


def _window_sums(values: Sequence[float], width: int) -> list[float]:
    """The sum of each value and up to width - 1 before it, without a difference of large sums.

    A window is the end of one block of so many values, and the beginning of the next.
    """
    blocks = [values[start : start + width] for start in range(0, len(values), width)]
    begun = [x for block in blocks for x in itertools.accumulate(block)]
    left = [x for block in blocks for x in [*itertools.accumulate(reversed(block))][::-1]]
    starts = [end - width + 1 for end in range(len(values))]
    return [
        begun[end] + (left[start] if start > 0 and start % width else 0.0)
        for end, start in enumerate(starts)
    ]


def pyplot() -> Any:
    """The module of matplotlib, which is imported when it is needed.

    Raises:
        ConfigError: matplotlib is not installed.

    >>> pyplot().__name__
    'matplotlib.pyplot'
    """
    try:
        return importlib.import_module("matplotlib.pyplot")
    except ImportError as error:
        raise ConfigError(
            f"expected matplotlib to draw with, got {error}; pip install matplotlib"
        ) from error
