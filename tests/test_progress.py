"""The line of progress: what it says, when it asks, and where it goes."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest
from typing_extensions import override

import born
from born import nn, optim
from born.backend import Backend
from born.errors import DomainError, OperandError


class Terminal(io.StringIO):
    """What takes a program for a terminal."""

    @override
    def isatty(self) -> bool:
        return True


class Late:
    """A number that counts how often it is asked for."""

    def __init__(self, value: float) -> None:
        self.value, self.asked = value, 0

    def item(self) -> float:
        """The number."""
        self.asked += 1
        return self.value


def without_times(text: str) -> list[str]:
    return re.sub(r"[\d.]+(e-\d+)? (s|ms|µs)/(step|epoch)", "TIME", text).splitlines()


def test_lines_are_few_and_the_last_is_there() -> None:
    file = io.StringIO()
    steps = born.progress(range(25), lines=3, file=file)
    assert len(steps) == 25
    for step in steps:
        steps.show({"lr": 0.5}, accuracy=step / 25, loss=1.0 / (1 + step))
    assert without_times(file.getvalue()) == [
        "step 9/25  loss 0.1111  lr 0.5  accuracy 0.32  TIME",
        "step 18/25  loss 0.05556  lr 0.5  accuracy 0.68  TIME",
        "step 25/25  loss 0.04  lr 0.5  accuracy 0.96  TIME",
    ]
    assert steps.done == 25


def test_lines_without_an_end_become_rarer() -> None:
    file = io.StringIO()
    for step in born.progress(iter(range(60)), file=file):
        if step == 54:
            break
    assert [line.split()[1] for line in without_times(file.getvalue())] == [
        *("1", "2", "5", "10", "20", "50", "54")
    ]


def test_run_that_goes_on_counts_from_there() -> None:
    file = io.StringIO()
    epochs = born.progress(range(7, 10), "epoch", done=6, lines=3, file=file)
    assert (len(epochs), list(epochs)) == (9, [7, 8, 9])
    assert without_times(file.getvalue()) == ["epoch 9/9  TIME"]


def test_what_is_shown_is_read_for_a_line_only() -> None:
    late = Late(0.5)
    steps = born.progress(range(100), lines=4, file=io.StringIO())
    for _ in steps:
        steps.show(loss=late)
    assert late.asked == 4


def test_report_shows_its_norm_and_that_it_was_skipped(backend: Backend) -> None:
    p = nn.Parameter(born.tensor([3.0, 4.0], backend), "p")
    optimizer = optim.SGD([p], lr=0.5, nonfinite="skip", watch=("grad_norm", "update_ratio"))
    file = io.StringIO()
    steps = born.progress([1.0, float("nan")], file=file)
    for slope in steps:
        report = optimizer.step({p.raw: born.full(2, slope, backend).raw})
        steps.show(report, loss=p.tensor.sum())
    assert without_times(file.getvalue()) == [
        "step 1/2  loss 6  lr 0.5  grad_norm 1.414  TIME",
        "step 2/2  loss 6  lr 0.5  grad_norm nan  skipped  TIME",
    ]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_error_in_the_loop_comes_through(error: BaseException) -> None:
    file = io.StringIO()
    steps = born.progress(range(9), file=file)

    def fail() -> None:
        for step in steps:
            steps.show(loss=float(step))
            if step == 2:
                raise error

    with pytest.raises(type(error)):
        fail()
    assert without_times(file.getvalue())[-1] == "step 2/9  loss 1  TIME"


def test_terminal_gets_a_bar_with_a_row_for_each_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich", reason="rich is not installed")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "70")
    file = Terminal()
    epochs = born.progress(range(2), "epoch", file=file)
    for _ in epochs:
        steps = born.progress(range(3), "step", file=file)
        for step in steps:
            steps.show({"lr": 0.25}, loss=float(step))
        epochs.show(loss=7.0)
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", file.getvalue())
    assert "step " in text
    last = text.rstrip().splitlines()[-1]
    assert re.match(r"epoch 2/2 ━+ \d\d:\d\d loss 7  .*/epoch", last)


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (100, r"step 3/3 ━{12} \d\d:\d\d loss 0.5  lr 0.25  grad_norm 12.5  more 1  .*/step"),
        (80, r"step 3/3 ━+ \d\d:\d\d loss 0.5  lr 0.25  grad_norm 12.5  .*/step"),
        (40, r"step 3/3 ━+ \d\d:\d\d loss 0.5  lr 0.25$"),
        (24, r"step 3/3 \d\d:\d\d loss 0.5$"),
    ],
)
def test_narrow_terminals_show_the_loss_to_the_last(
    columns: int, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich", reason="rich is not installed")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    file = Terminal()
    steps = born.progress(range(3), file=file)
    for _ in steps:
        steps.show({"lr": 0.25, "more": 1.0}, grad_norm=12.5, loss=0.5)
    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", file.getvalue())
    assert re.match(row, text.rstrip().splitlines()[-1].rstrip())


def test_without_rich_a_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    file = Terminal()
    list(born.progress(range(2), lines=1, file=file))
    assert without_times(file.getvalue()) == ["step 2/2  TIME"]


REFUSED: tuple[tuple[dict[str, Any], type[Exception], str], ...] = (
    ({"total": -1}, DomainError, "expected total of at least 0, got -1"),
    ({"done": -1}, DomainError, "expected done of at least 0, got -1"),
    ({"lines": 0}, DomainError, "expected lines of at least 1, got 0"),
)


@pytest.mark.parametrize(("options", "error", "text"), REFUSED)
def test_numbers_out_of_range_are_refused(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        born.progress(range(3), **options)


def test_only_numbers_are_shown() -> None:
    steps = born.progress(range(3), file=io.StringIO())
    with pytest.raises(OperandError, match="expected loss as a number, got 'high' of type str"):
        steps.show(loss="high")  # type: ignore[arg-type]  # the point
