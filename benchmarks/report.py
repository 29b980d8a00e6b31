"""What was measured, as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain, repeat
from typing import Any, Final

from benchmarks.footprint import Footprint
from benchmarks.harness import Result, Settings, Skipped, Spread

FORMAT: Final = 3
"""The version of the JSON document; it grows when the meaning of a key changes."""

LEGEND: Final = (
    "Medians of all rounds; in brackets, the middle half of the rounds. "
    "A ratio over 1 means born is faster."
)

_MICRO: Final = 1e6
_MILLI: Final = 1e3
_LONG: Final = 1e-2  # seconds from which on a step is shown in milliseconds
_GIGA: Final = 1e9
_MEGA: Final = 1e6
_GAP: Final = "  "


def tables(results: Sequence[Result]) -> str:
    """The works with ratios in one table, and then one for each curve."""
    rated = [result for result in results if result.point is None]
    curves = dict.fromkeys(result.point.curve for result in results if result.point is not None)
    parts = [*([table(rated)] if rated else []), *(curve_table(results, name) for name in curves)]
    return "\n\n".join(parts)


def table(results: Sequence[Result]) -> str:
    """One aligned table: a row for each competitor of each work, a ratio for each of born's."""
    ours = list(dict.fromkeys(name for result in results for name in result.ours))
    rated = any(result.bytes is not None for result in results)
    rate = ["GB/s"] if rated else []
    head = ["work", "competitor", "a step", *rate, *(f"over {name}" for name in ours)]
    blocks = [_rows(result, ours, rated=rated) for result in results]
    widths = [max(map(len, column)) for column in zip(head, *chain(*blocks), strict=True)]
    rule = _GAP.join("-" * width for width in widths)
    lines = [_line(head, widths), rule]
    for result, rows in zip(results, blocks, strict=True):
        lines += [_line(row, widths) for row in rows]
        lines += [
            _line(
                ["" if rows else result.work, each.name, f"skipped: {each.reason}"],
                [*widths[:2], 0],
            )
            for each in result.skipped
        ]
        lines.append(rule)
    return "\n".join([*lines, LEGEND])


def curve_table(results: Sequence[Result], curve: str) -> str:
    """Microseconds a step: a row for each point of the curve, a column for each competitor."""
    on_it = [result for result in results if result.point and result.point.curve == curve]
    points = [result.point for result in on_it if result.point]
    medians: dict[int, dict[str, str]] = {point.value: {} for point in points}
    for result, point in zip(on_it, points, strict=True):
        for name in result.samples:
            medians[point.value][name] = f"{result.seconds(name).median * _MICRO:,.1f}"
    names = list(dict.fromkeys(name for cells in medians.values() for name in cells))
    rows = [
        [points[0].axis, *names],
        *([f"{value:,}", *(cells.get(n, "-") for n in names)] for value, cells in medians.items()),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = _GAP.join("-" * width for width in widths)
    lines = [
        _GAP.join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(
        [f"{curve}: µs a step, medians", lines[0], rule, *lines[1:], rule, *_absent(on_it)]
    )


def _absent(results: Sequence[Result]) -> list[str]:
    """Each reason once, with the points that it holds for."""
    found: dict[Skipped, list[str]] = {}
    for result in results:
        for each in result.skipped:
            found.setdefault(each, []).append(f"{result.point.value:,}" if result.point else "")
    return [
        f"{each.name} skipped at {', '.join(values)}: {each.reason}"
        for each, values in found.items()
    ]


def footprint_table(footprints: Sequence[Footprint | Skipped]) -> str:
    """Megabytes a step takes beyond what has to be there, one line for each library."""
    lines = ["Memory of steps beyond parameters, gradients and state:"]
    for each in footprints:
        if isinstance(each, Skipped):
            lines.append(f"  {each.name} skipped: {each.reason}")
        else:
            lines.append(f"  {each.work}, {each.library}: {each.beyond / _MEGA:,.2f} MB")
    return "\n".join(lines)


def document(
    results: Sequence[Result],
    settings: Settings,
    machine: Mapping[str, Any],
    footprints: Sequence[Footprint | Skipped] = (),
    overview: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """A run in JSON's types: medians and quartiles, in seconds."""
    return {
        "format": FORMAT,
        "machine": dict(machine),
        "settings": asdict(settings),
        "works": [_record(result) for result in results],
        "footprints": [asdict(each) for each in footprints],
        **({"overview": list(overview)} if overview else {}),
    }


def dumped(document: Mapping[str, Any]) -> str:
    """A document as JSON, with each competitor on a line of its own and floats of five digits."""
    shortened: dict[str, Any] = json.loads(json.dumps(document), parse_float=_five_digits)
    parts = {key: json.dumps(value) for key, value in shortened.items()}
    works: list[str] = []
    for work in shortened["works"]:
        competitors = ",\n  ".join(map(json.dumps, work.pop("competitors")))
        works.append(f'{json.dumps(work)[:-1]}, "competitors": [\n  {competitors}]}}')
    parts["works"] = "[\n " + ",\n ".join(works) + "]"
    return "{\n" + ",\n".join(f'"{key}": {text}' for key, text in parts.items()) + "\n}\n"


def _five_digits(number: str) -> float:
    return float(f"{float(number):.5g}")


def _rows(result: Result, ours: Sequence[str], *, rated: bool) -> list[list[str]]:
    rows: list[list[str]] = []
    seconds = {name: result.seconds(name) for name in result.samples}
    long = min((each.median for each in seconds.values()), default=0.0) >= _LONG
    unit, name_of_unit = (_MILLI, "ms") if long else (_MICRO, "µs")
    moved = [] if result.bytes is None else [f"  moves {_megabytes(result.bytes)}"]
    works = chain([result.work, *moved], repeat(""))
    for name, work in zip(result.samples, works, strict=False):
        ratios = [
            _shown(result.ratio(name, mine), 1.0, 2) if mine in result.ours and mine != name else ""
            for mine in ours
        ]
        rate = "" if result.bytes is None else f"{result.bytes / seconds[name].median / _GIGA:.1f}"
        remark = result.remarks.get(name)
        called = f"{name} ({remark})" if remark else name
        taken = f"{_shown(seconds[name], unit, 1)} {name_of_unit}"
        rows.append([work, called, taken, *([rate] if rated else []), *ratios])
    return rows


def _megabytes(count: int) -> str:
    """Three digits, or all before the point."""
    megabytes = count / _MEGA
    return f"{megabytes:,.0f} MB" if megabytes >= 100 else f"{megabytes:.3g} MB"


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
            "remark": result.remarks.get(name),
            "seconds": asdict(result.seconds(name)),
            "ratios": {ours: asdict(result.ratio(name, ours)) for ours in result.ours},
            "rounds": len(samples),
        }
        for name, samples in result.samples.items()
    ]
    return {
        "name": result.work,
        "ours": list(result.ours),
        "bytes": result.bytes,
        "point": None if result.point is None else asdict(result.point),
        "competitors": competitors,
        "skipped": [asdict(each) for each in result.skipped],
    }
