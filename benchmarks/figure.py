"""What was measured, as pictures; `python -m benchmarks.figure FILE.json` draws them again."""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from benchmarks.libraries import INSTALL
from benchmarks.report import FORMAT

Json: TypeAlias = Mapping[str, Any]
"""A part of what `report.document` gives."""

_INK: Final = "#1b1f24"
_GREY: Final = "#6f7780"
_FAINT: Final = "#f4f5f7"
_STYLES: Final = {
    "born numba": ("#2563a6", "o"),
    "born numpy": ("#d9822b", "o"),
    "born cupy": ("#2563a6", "o"),
    "PyTorch default": ("#b08fd8", "^"),
    "PyTorch foreach": ("#8a5cc0", "s"),
    "PyTorch fused": ("#4a1d78", "D"),
    "JAX jit": ("#2a8f72", "v"),
}
"""Colour and marker."""

_YARDSTICKS: Final = {"limit": "loop without arithmetic", "copy": "copy of as many bytes"}
"""What is no library -> what the pictures call it."""

_DOTS_WIDTH: Final = 8.8  # inches
_ROW: Final = 0.19
_HEADROOM: Final = 1.6
_GAP: Final = 1.8  # rows from the last of a work to the name of the next, that included
_CURVE_SIZE: Final = (6.4, 5.0)
_DPI: Final = 140
_FOOTER_CHARACTERS: Final = 15  # an inch of the footer's type holds that many, at least

_NANO: Final = 1e9
_MILLI: Final = 1e3


def written(document: Json, path: Path) -> str:
    """Draw a run and say where the pictures are, or why there are none.

    Args:
        document: what `report.document` gives.
        path: of the PNG; where a run has ratios and curves, of that with the ratios.
    """
    try:
        figures: Any = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        return f"No picture: {error}; run: {INSTALL}"
    works: Sequence[Json] = [work for work in document["works"] if work["competitors"]]
    rated = [work for work in works if work["point"] is None and work["ours"]]
    curved = [work for work in works if work["point"] is not None]
    drawn: list[tuple[Path, Any]] = []
    rows = document.get("overview", ())
    summed_up = {row["work"] for row in rows}
    rated = [work for work in rated if work["name"] not in summed_up]
    if rows:
        beside = path.with_name(f"{path.stem}-optimizers.png") if rated else path
        drawn.append((beside, overview(figures, rows)))
    if rated:
        drawn.append((path, ratios(figures, rated)))
    if curved:
        beside = path.with_name(f"{path.stem}-curves.png") if rated else path
        drawn.append((beside, curves(figures, curved)))
    for place, figure in drawn:
        _sign(figure, document["machine"])
        figure.savefig(place, dpi=_DPI)
    return "\n".join(f"Picture: {place}" for place, _ in drawn) or "No picture: nothing was timed"


def _sign(figure: Any, machine: Json) -> None:
    """Say at the foot where and with what it was measured."""
    device = machine["gpu"]["name"] if "gpu" in machine else machine["processor"]
    packages = [f"{name} {version}" for name, version in machine["packages"].items() if version]
    words = f"{device}, {machine['cores']} cores. Python {machine['python']}, {', '.join(packages)}"
    width = int(figure.get_figwidth() * _FOOTER_CHARACTERS)
    figure.text(0.01, 0.0, textwrap.fill(words, width), fontsize=7, color=_GREY, va="bottom")


# -- ratios ----------------------------------------------------------------------------------


def ratios(figures: Any, works: Sequence[Json]) -> Any:
    """A row for each rival of each work, a dot and its spread for each of born's backends."""
    rows = sum(len(_rivals(work)) + _GAP for work in works)
    height = rows * _ROW + _HEADROOM
    figure = figures.Figure(figsize=(_DOTS_WIDTH, height), layout="constrained")
    footer = 2.5 * _ROW / height
    figure.get_layout_engine().set(rect=(0, footer, 1, 1 - footer))
    axes = figure.add_subplot()
    ours = list(dict.fromkeys(name for work in works for name in work["ours"]))
    top = 0.0
    for work in works:
        top = _group(axes, work, ours, top)
    _finish_ratios(axes, ours, top)
    return figure


def overview(figures: Any, rows: Sequence[Json]) -> Any:
    """A row for each optimizer: its share of the limit, PyTorch's time over its own, its memory."""
    height = len(rows) * _OVERVIEW_ROW + _HEADROOM
    figure = figures.Figure(figsize=(_OVERVIEW_WIDTH, height), layout="constrained")
    footer = 2.5 * _ROW / height
    figure.get_layout_engine().set(rect=(0, footer, 1, 1 - footer), wspace=0.06)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, key in ((left, "limit"), (right, "ratio")):
        for y, row in enumerate(rows):
            if y % 2:
                axes.axhspan(y - 0.5, y + 0.5, color=_FAINT, lw=0, zorder=0)
            if row[key] is None:
                continue
            colour = _style(row["ours"] if key == "limit" else row["beside"])[0]
            _dot(axes, row[key], y, colour)
            _beside(axes, (1.0, _COLUMN), y, f"{row[key]['median']:.2f}", colour)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="x", color=_GREY, alpha=0.2, lw=0.6)
        axes.axvline(1, color=_INK, lw=1.1, zorder=1)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(labelsize=8.5)
    left.set_yticks(range(len(rows)), [row["work"] for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    left.set_xlim(0, max(1.1, *(row["limit"]["high"] for row in rows if row["limit"])))
    left.set_xlabel("Share of the machine's limit\n(every stream moved once)", fontsize=9)
    right.set_xscale("log")
    low, high = right.get_xlim()
    every = [step * 10.0**power for power in range(-2, 4) for step in _FINE]
    right.set_xticks([tick for tick in every if min(low, 1) <= tick <= high])
    right.xaxis.set_major_formatter("{x:g}")
    right.xaxis.minorticks_off()
    right.set_xlabel(
        "Time of PyTorch's fastest over born's\n(1 or more: born is as fast)", fontsize=9
    )
    for y, row in enumerate(rows):
        if row["beyond"] is not None:
            megabytes = f"{row['beyond'] / 1e6:.2f} MB"
            _beside(right, (1.0, _COLUMN + _MEMORY_COLUMN), y, megabytes, _INK)
    right.set_title("beyond", loc="right", fontsize=8.5, color=_GREY, x=_MEMORY_HEAD)
    for name in dict.fromkeys(row["beside"] for row in rows if row["beside"]):
        right.plot([], [], "o", ms=6, mec="white", color=_style(name)[0], label=name)
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=8.5)
    return figure


_OVERVIEW_WIDTH: Final = 10.5  # inches
_OVERVIEW_ROW: Final = 0.24
_MEMORY_COLUMN: Final = 62.0  # points
_MEMORY_HEAD: Final = 1.33  # widths of the axes


def _rivals(work: Json) -> list[Json]:
    return [each for each in work["competitors"] if each["name"] not in work["ours"]]


def _group(axes: Any, work: Json, ours: Sequence[str], top: float) -> float:
    """Draw a work from `top` downwards; returns where the next one begins."""
    _beside(axes, _NAMES_END, top, work["name"], _INK, "bold")
    rivals = _rivals(work)
    for row, rival in enumerate(rivals, start=1):
        y = top + row
        name: str = rival["name"]
        called, colour = _YARDSTICKS.get(name, name), _GREY if name in _YARDSTICKS else _INK
        _beside(axes, _NAMES_END, y, called, colour)
        if row % 2:
            axes.axhspan(y - 0.5, y + 0.5, color=_FAINT, lw=0, zorder=0)
        for column, mine in enumerate(ours, start=1):
            if mine in rival["ratios"]:
                spread, colour = rival["ratios"][mine], _style(mine)[0]
                _dot(axes, spread, y, colour)
                _beside(axes, (1.0, _COLUMN * column), y, f"{spread['median']:.2f}", colour)
    return top + len(rivals) + _GAP


_NAMES_END: Final = (0.0, -8.0)
"""Where the names of rows end: at the left edge of the axes, and so many points from there."""

_COLUMN: Final = 38.0  # points


def _beside(
    axes: Any, place: tuple[float, float], y: float, text: str, colour: str, weight: str = "normal"
) -> None:
    """Write at the height of a row so that the text ends at a place outside of the axes."""
    share, points = place
    axes.annotate(
        text, (share, y), xycoords=axes.get_yaxis_transform(), xytext=(points, 0),
        textcoords="offset points", ha="right", va="center", fontsize=8.5, color=colour,
        fontweight=weight, annotation_clip=False,
    )  # fmt: skip


def _dot(axes: Any, spread: Json, y: float, colour: str) -> None:
    axes.plot(
        [spread["low"], spread["high"]], [y, y], color=colour, lw=3, alpha=0.35,
        solid_capstyle="round", zorder=2,
    )  # fmt: skip
    axes.plot(spread["median"], y, "o", ms=6, mfc=colour, mec="white", mew=0.8, zorder=3)


_FINE: Final = (1, 2, 5)
_COARSE: Final = (1, 3)
_WIDE: Final = 300
"""From this ratio of an axis's ends on, fine ticks would run into each other."""


def _finish_ratios(axes: Any, ours: Sequence[str], bottom: float) -> None:
    axes.set_xscale("log")
    axes.set_ylim(bottom - _GAP + 0.8, -1.0)
    axes.set_yticks([])
    low, high = axes.get_xlim()
    steps = _COARSE if high / low > _WIDE else _FINE
    every = [step * 10.0**power for power in range(-4, 5) for step in steps]
    axes.set_xticks([tick for tick in every if low <= tick <= high])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.minorticks_off()
    axes.tick_params(labelsize=8.5)
    axes.grid(axis="x", color=_GREY, alpha=0.2, lw=0.6)
    axes.axvline(1, color=_INK, lw=1.1, zorder=1)
    axes.spines[["top", "right", "left"]].set_visible(False)
    for name in ours:
        axes.plot([], [], "o-", lw=3, ms=6, mec="white", color=_style(name)[0], label=name)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=len(ours), frameon=False, fontsize=9,
        borderaxespad=0.2,
    )  # fmt: skip
    axes.set_xlabel(
        "Time of the other over time of born: to the right of 1, born is faster.\n"
        "Dots are medians, bars the middle half of the rounds.",
        fontsize=9,
        color=_INK,
    )


# -- curves ----------------------------------------------------------------------------------


def curves(figures: Any, works: Sequence[Json]) -> Any:
    """A panel for each curve: what a step costs, on logarithmic scales."""
    names = list(dict.fromkeys(work["point"]["curve"] for work in works))
    width, height = _CURVE_SIZE
    figure = figures.Figure(figsize=(width * len(names), height), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.04, 1, 0.96), wspace=0.03)
    for index, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), index + 1)
        _panel(axes, name, [work for work in works if work["point"]["curve"] == name])
    return figure


def _panel(axes: Any, name: str, works: Sequence[Json]) -> None:
    axis = works[0]["point"]["axis"]
    lines = _lines(works, each=axis == "elements")
    for competitor, points in lines.items():
        values, lows, medians, highs = zip(*points, strict=True)
        colour, marker = _style(competitor)
        ours = competitor.startswith("born")
        axes.fill_between(values, lows, highs, color=colour, alpha=0.12, lw=0)
        axes.plot(
            values, medians, "--" if competitor in _YARDSTICKS else "-", marker=marker, ms=4.5,
            color=colour, lw=2.4 if ours else 1.3, zorder=3 if ours else 2,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(name, loc="left", fontsize=11, color=_INK)
    axes.set_xlabel(axis, fontsize=9)
    unit = "nanoseconds an element" if axis == "elements" else "milliseconds"
    axes.set_ylabel(f"{unit}, a step", fontsize=9)
    axes.xaxis.set_major_formatter(_short)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.tick_params(labelsize=8.5)
    axes.grid(color=_GREY, alpha=0.2, lw=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    _label_ends(axes, {name: points[-1] for name, points in lines.items()})


def _short(value: float, _: object = None) -> str:
    """A tick's label.

    >>> _short(100), _short(10_000), _short(1e8)
    ('100', '10k', '100M')
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


_Points: TypeAlias = list[tuple[int, float, float, float]]


def _lines(works: Sequence[Json], each: bool) -> dict[str, _Points]:
    """Competitor -> value, and the quartiles there: ns an element, or ms a step."""
    lines: dict[str, _Points] = {}
    for work in works:
        value: int = work["point"]["value"]
        unit = _NANO / value if each else _MILLI
        for competitor in work["competitors"]:
            spread = competitor["seconds"]
            low, median, high = (spread[key] * unit for key in ("low", "median", "high"))
            lines.setdefault(competitor["name"], []).append((value, low, median, high))
    return lines


_APART: Final = 0.047
"""How far labels stand apart, as a share of the axis."""


def _label_ends(axes: Any, ends: Mapping[str, tuple[int, float, float, float]]) -> None:
    """Write each competitor's name at the end of its line, none over another."""
    to_share = axes.transScale + axes.transLimits
    wanted = sorted(
        (float(to_share.transform((value, median))[1]), name)
        for name, (value, _, median, _) in ends.items()
    )
    previous = -1.0
    for share, name in wanted:
        previous = max(share, previous + _APART)
        axes.annotate(
            _YARDSTICKS.get(name, name), (1.0, previous), xycoords="axes fraction",
            xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5,
            color=_style(name)[0], fontweight="bold" if name.startswith("born") else "normal",
        )  # fmt: skip


def _style(name: str) -> tuple[str, str]:
    """The colour and the marker of a competitor; of a yardstick, ink and none."""
    return _STYLES.get(name, (_INK, ""))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        given = Path(argument)
        record = json.loads(given.read_text(encoding="utf-8"))
        if record.get("format") != FORMAT:
            sys.exit(f"{given}: expected a record of format {FORMAT}; run the benchmark again")
        print(written(record, given.with_suffix(".png")))
