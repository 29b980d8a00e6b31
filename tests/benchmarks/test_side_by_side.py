"""Libraries in turn: what a process answers, and the table made of it."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import pytest

from benchmarks import side_by_side
from benchmarks.side_by_side import OURS, Row, Turns, check, lines


class _Number:
    def __init__(self, value: float) -> None:
        self._value = value

    def item(self) -> float:
        return self._value


def _row(tolerance: float | None = 1e-3) -> Row:
    counted = iter(range(1000))
    makers = {OURS: lambda: lambda: _Number(next(counted)), "lazy": _missing}
    return Row("counting", makers, {"other": 2.0}, tolerance)


def _missing() -> Any:
    raise ImportError("no such library")


def _turns(*seconds: float, first: float = 1.0) -> Turns:
    return Turns(list(seconds), [second * 2 for second in seconds], [first], 5e6)


def test_a_process_answers_until_it_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "rows", lambda: [_row()])
    ours, theirs = multiprocessing.Pipe()
    served = threading.Thread(target=side_by_side.serve, args=(0, OURS, theirs))
    served.start()
    assert ours.recv() == [0.0, 1.0, 2.0]
    ours.send(5)
    seconds, busy, peak = ours.recv()
    assert seconds > 0
    assert busy >= 0
    assert peak > 1e6
    ours.send(None)
    served.join(10)
    assert not served.is_alive()


def test_a_library_that_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "rows", lambda: [_row()])
    ours, theirs = multiprocessing.Pipe()
    side_by_side.serve(0, "lazy", theirs)
    assert ours.recv() == "ImportError: no such library"


def test_the_table_gives_the_ratio_of_the_fastest_turns() -> None:
    found: dict[str, Turns | str] = {OURS: _turns(0.002, 0.003), "other": _turns(0.006, 0.005)}
    (line,) = lines(_row(), found)
    assert line == "| counting | other | 2 / 5 | 2.50 | 2.50 | 2.0 | 5 / 5 |"


@pytest.mark.parametrize("absent", [OURS, "other"])
def test_the_table_says_who_does_not_take_part(absent: str) -> None:
    found: dict[str, Turns | str] = {OURS: _turns(0.002), "other": _turns(0.005)}
    found[absent] = "ImportError: no such library"
    (line,) = lines(_row(), found)
    assert "no such library" in line
    assert line.count("|") == side_by_side.HEAD[0].count("|")


def test_what_computes_something_else_is_not_compared() -> None:
    with pytest.raises(RuntimeError, match="expected the same results of counting"):
        check(_row(), "other", _turns(1.0), _turns(1.0, first=1.1))
    check(_row(None), "other", _turns(1.0), _turns(1.0, first=1.1))


def test_every_row_has_its_competitors() -> None:
    for row in side_by_side.rows():
        assert set(row.makers) == {OURS, *row.asked}
