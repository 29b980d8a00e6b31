"""Each library in a process of its own: what is printed of its turns."""

from __future__ import annotations

import pytest

from benchmarks import side_by_side
from benchmarks.side_by_side import FUSED, OURS, Row, Turns

ROW = Row("a step", {}, {FUSED: 1.5}, None)


def _turns(*seconds: float) -> Turns:
    return Turns(list(seconds), [2 * each for each in seconds], [0.0], 1e6 * max(seconds))


def test_a_line_shows_the_least_times_and_the_spread_of_turns() -> None:
    found = {OURS: _turns(1.0, 2.0, 4.0), FUSED: _turns(2.0, 3.0, 8.0)}
    (line,) = side_by_side.lines(ROW, found)
    assert "| 1e+03 / 2e+03 | 2.00 (2.00, 1.75 to 2.00) | 2.00 | 1.5 | 4 / 8 |" in line


def test_rounds_are_shared_out_among_processes_started_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def of_processes(number: int, row: Row, rounds: int) -> dict[str, Turns | str]:
        asked.append(rounds)
        other: Turns | str = "its process ended" if len(asked) == 2 else _turns(float(len(asked)))
        return {OURS: _turns(*[float(len(asked))] * rounds), FUSED: other}

    monkeypatch.setattr(side_by_side, "_of_processes", of_processes)
    for rounds in (1, 2, 4, 15):
        asked.clear()
        found = side_by_side.measured(0, ROW, rounds)
        assert sum(asked) == rounds
        assert len(asked) == min(3, rounds)
        ours = found[OURS]
        assert isinstance(ours, Turns)
        assert len(ours.seconds) == rounds
        assert found[FUSED] == "its process ended" or rounds == 1


def test_clipping_is_among_the_rows() -> None:
    titles = [row.title for row in side_by_side.rows()]
    assert "Adam with max_norm, 50 tensors of 320k" in titles
