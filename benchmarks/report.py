"""What was measured, as one table and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any, Final

from benchmarks.harness import Result, Settings, Spread

FORMAT: Final = 1
"""The version of the JSON document; it grows when the meaning of a key changes."""

LEGEND: Final = (
    "Medians of all rounds; in brackets, the middle half of the rounds. "
    "A ratio over 1 means born is faster."
)

_MICRO: Final = 1e6
_GIGA: Final = 1e9
_GAP: Final = "  "


def table(results: Sequence[Result]) -> str:
    """One aligned table: a row for each competitor of each work, a ratio for each of born's."""
    ours = list(dict.fromkeys(name for result in results for name in result.ours))
    rated = any(result.bytes is not None for result in results)
    rate = ["GB/s"] if rated else []
    head = ["work", "competitor", "µs a step", *rate, *(f"over {name}" for name in ours)]
    blocks = [_rows(result, ours, rated=rated) for result in results]
    widths = [max(map(len, column)) for column in zip(head, *chain(*blocks), strict=True)]
    rule = _GAP.join("-" * width for width in widths)
    lines = [_line(head, widths), rule]
    for result, rows in zip(results, blocks, strict=True):
        lines += [_line(row, widths) for row in rows]
        lines += [
            _line(["", each.name, f"skipped: {each.reason}"], [*widths[:2], 0])
            for each in result.skipped
        ]
        lines.append(rule)
    return "\n".join([*lines, LEGEND])


def document(
    results: Sequence[Result], settings: Settings, machine: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything there is to know about a run, in JSON's types; times are in seconds."""
    return {
        "format": FORMAT,
        "machine": dict(machine),
        "settings": asdict(settings),
        "works": [_record(result) for result in results],
    }


def _rows(result: Result, ours: Sequence[str], *, rated: bool) -> list[list[str]]:
    rows: list[list[str]] = []
    for name in result.samples:
        seconds = result.seconds(name)
        ratios = [
            _shown(result.ratio(name, mine), 1.0, 2) if mine in result.ours and mine != name else ""
            for mine in ours
        ]
        rate = "" if result.bytes is None else f"{result.bytes / seconds.median / _GIGA:.1f}"
        work = "" if rows else result.work
        rows.append([work, name, _shown(seconds, _MICRO, 1), *([rate] if rated else []), *ratios])
    return rows


def _shown(spread: Spread, unit: float, digits: int) -> str:
    low, median, high = (
        f"{value * unit:.{digits}f}" for value in (spread.low, spread.median, spread.high)
    )
    return f"{median} ({low} to {high})"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Names to the left, figures to the right."""
    padded = [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return _GAP.join(padded).rstrip()


def _record(result: Result) -> dict[str, Any]:
    competitors: list[dict[str, Any]] = [
        {
            "name": name,
            "seconds": asdict(result.seconds(name)),
            "ratios": {ours: asdict(result.ratio(name, ours)) for ours in result.ours},
            "samples": list(samples),
        }
        for name, samples in result.samples.items()
    ]
    return {
        "name": result.work,
        "ours": list(result.ours),
        "bytes": result.bytes,
        "competitors": competitors,
        "skipped": [asdict(each) for each in result.skipped],
    }
