"""Pictures of training: which panels there are, and what is drawn in them."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import born
import born.plot
from born import nn, optim
from born.backend import Backend
from born.errors import ConfigError, OperandError

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
matplotlib.use("agg")

RECORDS: list[dict[str, Any]] = [
    {"step": t, "loss": 10.0 / t, "validation_loss": 20.0 / t, "lr": 0.1, "grad_norm": 2.0}
    for t in range(1, 31)
]


def lines(axes: Any) -> dict[str, list[float]]:
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


def test_panels_are_those_that_records_fill(tmp_path: Path) -> None:
    figure = born.plot.history(RECORDS)
    loss, lr, norm = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "lr", "norm"]
    assert lines(loss) == {
        name: [record[name] for record in RECORDS] for name in ("loss", "validation_loss")
    }
    assert (loss.get_yscale(), lr.get_yscale(), norm.get_yscale()) == ("log", "linear", "linear")
    assert norm.get_xlabel() == "step"
    figure.savefig(tmp_path / "history.png")
    assert (tmp_path / "history.png").stat().st_size > 10_000
    matplotlib.pyplot.close(figure)


def test_long_noisy_losses_are_smoothed_and_gaps_are_left_out() -> None:
    records = [{"loss": math.nan if t % 50 == 0 else 1.0 + t % 2} for t in range(400)]
    (axes,) = born.plot.history([*records, {"lr": 1.0}]).axes[:1]
    smooth = lines(axes)["loss, mean"]
    assert len(smooth) == 400
    assert smooth[399] == pytest.approx(1.5, abs=0.1)
    matplotlib.pyplot.close("all")


def test_skipped_steps_are_marked(backend: Backend) -> None:
    p = nn.Parameter(born.ones(3, backend), "p")
    optimizer = optim.SGD([p], lr=0.1, nonfinite="skip", watch=("update_ratio",))
    reports = [
        optimizer.step({p.raw: born.full(3, slope, backend).raw})
        for slope in (1.0, math.nan, 1.0, math.inf)
    ]
    lr, ratio = born.plot.history(reports).axes
    assert ratio.get_xlabel() == "step (2 skipped, in red)"
    assert [line.get_xdata()[0] for line in lr.get_lines()[1:]] == [2, 3]
    assert set(lines(ratio)) >= {"update_ratio"}
    matplotlib.pyplot.close("all")


def test_a_single_value_is_a_dot_and_what_no_line_shows_is_said() -> None:
    loss, lr = born.plot.history([{"loss": math.nan, "lr": 0.1}]).axes
    assert list(lines(loss)) == ["loss (1 not finite)"]
    assert loss.get_legend() is not None
    assert lr.get_legend() is None
    assert lr.get_lines()[0].get_marker() == "."
    assert all(tick == int(tick) for tick in lr.get_xticks())
    (long,) = born.plot.history([{"loss": 1.0}] * 50).axes
    assert long.get_lines()[0].get_marker() == ""
    matplotlib.pyplot.close("all")


def test_figure_of_the_caller_is_used(backend: Backend) -> None:
    figure = matplotlib.pyplot.figure()
    records = [{"loss": born.tensor([2.0], backend)}, {"loss": np.float32(1.0)}]
    assert born.plot.history(records, figure) is figure  # type: ignore[arg-type]  # tensors will do
    assert lines(figure.axes[0])["loss"] == [2.0, 1.0]
    matplotlib.pyplot.close(figure)


REFUSED: tuple[tuple[Any, str], ...] = (
    ([], r"expected records with a loss, lr or norm in them, got 0 with nothing; write records"),
    ([{"accuracy": 1.0}], "got 1 with accuracy"),
    ([3.0], r"expected a record as a mapping or a report, got 3\.0"),
    ([{"loss": "low"}], "expected 'loss' in a record as a number, got 'low'"),
)


@pytest.mark.parametrize(("records", "text"), REFUSED)
def test_what_is_no_record_is_refused(records: Any, text: str) -> None:
    with pytest.raises(OperandError, match=text):
        born.plot.history(records)


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ConfigError, match=r"expected matplotlib to draw with.*pip install matpl"):
        born.plot.history(RECORDS)


def test_a_smooth_line_is_of_means_whatever_came_before() -> None:
    values = [1e30, *(float(t) for t in range(1, 400)), float("nan"), 7.0]
    (axes,) = born.plot.history([{"loss": x} for x in values]).axes
    smoothed = axes.lines[1].get_ydata()
    width = round(0.02 * len(values))
    for end in (1, 2, width, width + 1, 200, len(values) - 1, len(values)):
        own = [x for x in values[max(end - width, 0) : end] if x == x]
        assert smoothed[end - 1] == pytest.approx(sum(own) / len(own), rel=1e-12), end
