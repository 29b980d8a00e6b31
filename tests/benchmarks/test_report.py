"""The tables, the JSON and the pictures of `benchmarks/`."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks import figure, machine, report
from benchmarks.footprint import Footprint
from benchmarks.harness import Result, Settings, Skipped
from tests.benchmarks.world import a_curve, two_works, without

FACTS: dict[str, Any] = {
    "processor": "a processor",
    "cores": 2,
    "python": "3.11",
    "packages": {"numpy": "2.0", "torch": None},
}
PNG = b"\x89PNG"


def test_table_is_aligned_and_complete() -> None:
    assert report.tables(two_works()) == (
        """\
work        competitor                        a step        over born one        over born two
----------  ----------------  ----------------------  -------------------  -------------------
first       born one             2.0 (2.0 to 2.0) µs
            other                4.0 (3.5 to 4.5) µs  2.00 (1.75 to 2.25)
            absent            skipped: not installed
----------  ----------------  ----------------------  -------------------  -------------------
the second  born one          20.0 (20.0 to 20.0) ms                       2.00 (2.00 to 2.00)
            born two          10.0 (10.0 to 10.0) ms  0.50 (0.50 to 0.50)
            other (reads 9%)  40.0 (40.0 to 40.0) ms  2.00 (2.00 to 2.00)  4.00 (4.00 to 4.00)
----------  ----------------  ----------------------  -------------------  -------------------
"""
        + report.LEGEND
    )


def test_bandwidth_is_shown_where_bytes_are_known() -> None:
    samples = {"born one": [2e-6, 2e-6], "other": [4e-6, 4e-6]}
    head, _, one, other, *_ = report.tables(
        [Result("moving", samples, ["born one"], [], bytes=28_000)]
    ).splitlines()
    assert "GB/s" in head
    assert one.split() == ["moving", "born", "one", "2.0", "(2.0", "to", "2.0)", "µs", "14.0"]
    assert other.split()[:6] == ["moves", "0.028", "MB", "other", "4.0", "(4.0"]


def test_work_that_nobody_could_do_is_named() -> None:
    nobody = Result("digits", {}, [], [Skipped("all", "no data")])
    assert "digits  all         skipped: no data" in report.tables([nobody])


def test_curves_are_tables_of_their_own() -> None:
    assert report.tables(a_curve()) == (
        """\
cost: µs a step, medians
tensors  born numpy  other
-------  ----------  -----
      1         2.0    3.0
  1,000     4,000.0      -
-------  ----------  -----
other skipped at 1,000: takes minutes"""
    )


def test_document_survives_json_with_medians_and_quartiles() -> None:
    settings = Settings()
    footprints: list[Footprint | Skipped] = [
        Footprint("work", "born one", 512),
        Skipped("other", "no GPU"),
    ]
    works = [*two_works(), *a_curve()]
    document = report.document(works, settings, {"cores": 2}, footprints)
    again = json.loads(report.dumped(document))
    first, second, point, _ = again["works"]
    assert first["name"] == "first"
    assert first["point"] is None
    assert first["skipped"] == [{"name": "absent", "reason": "not installed"}]
    assert first["competitors"][1]["rounds"] == 2
    assert first["competitors"][1]["seconds"]["median"] == pytest.approx(4e-6)
    assert first["competitors"][1]["ratios"]["born one"]["median"] == pytest.approx(2.0)
    assert second["competitors"][2]["remark"] == "reads 9%"
    assert point["point"] == {"curve": "cost", "axis": "tensors", "value": 1}
    assert again["settings"]["rounds"] == settings.rounds
    assert again["machine"] == {"cores": 2}
    assert again["footprints"][0]["beyond"] == 512


def test_footprints_are_listed_in_megabytes() -> None:
    found: list[Footprint | Skipped] = [
        Footprint("Adam", "born cupy", 250_000),
        Skipped("PyTorch", "no GPU"),
    ]
    assert report.footprint_table(found).splitlines()[1:] == [
        "  Adam, born cupy: 0.25 MB",
        "  PyTorch skipped: no GPU",
    ]


def test_facts_are_described_where_packages_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, {"torch"})
    here = machine.facts()
    assert json.loads(json.dumps(here)) == here
    assert here["threads"]["PyTorch"] is None
    facts = {
        **here,
        "cores": 4,
        "packages": {"numpy": "2.0", "torch": None},
        "threads": {"PyTorch": None, "NumPy's BLAS": 4},
        "load": 3.0,
    }
    text = machine.described(facts)
    assert "4 cores" in text
    assert "numpy 2.0, torch missing" in text
    assert "PyTorch unknown, NumPy's BLAS 4" in text
    assert "other programs are running (load 3.0)" in text
    assert "other programs" not in machine.described({**facts, "load": 0.5})


def test_ratios_and_curves_are_drawn_apart(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    works = [*two_works(), *a_curve()]
    document = report.document(works, Settings(), FACTS)
    said = figure.written(document, tmp_path / "all.png")
    paths = [tmp_path / "all.png", tmp_path / "all-curves.png"]
    assert said == "\n".join(f"Picture: {path}" for path in paths)
    assert all(path.read_bytes().startswith(PNG) for path in paths)


def test_curves_alone_take_the_name_given(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    gpu = {**FACTS, "gpu": {"name": "a GPU"}}
    document = report.document(a_curve(), Settings(), gpu)
    assert figure.written(document, tmp_path / "c.png") == f"Picture: {tmp_path / 'c.png'}"
    assert (tmp_path / "c.png").read_bytes().startswith(PNG)


def test_every_rival_of_every_work_is_in_the_picture() -> None:
    figures = pytest.importorskip("matplotlib.figure", reason="pictures need matplotlib")
    document = report.document(two_works(), Settings(), FACTS)
    drawn = figure.ratios(figures, document["works"])
    words = [text.get_text() for text in drawn.axes[0].texts]
    assert words.count("other") == 2
    # The median of the ratios to each of born's backends, where it took part.
    assert [word for word in words if word[0].isdigit()] == ["2.00", "2.00", "4.00"]


def test_labels_at_the_ends_of_curves_stand_apart() -> None:
    figures = pytest.importorskip("matplotlib.figure", reason="pictures need matplotlib")
    point = a_curve()[0]
    crowded = replace(point, samples={**point.samples, "nearly the same": [3.01e-6]})
    document = report.document([crowded], Settings(), FACTS)
    drawn = figure.curves(figures, document["works"])
    heights = sorted(text.xy[1] for text in drawn.axes[0].texts)
    assert len(heights) == 3
    assert all(b - a > 0.04 for a, b in pairwise(heights))


def test_without_matplotlib_there_is_a_reason_in_place_of_a_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without(monkeypatch, {"matplotlib"})
    document = report.document(two_works(), Settings(), FACTS)
    said = figure.written(document, tmp_path / "none.png")
    assert said.startswith("No picture: No module named 'matplotlib.figure'; run: pip install")
    assert not (tmp_path / "none.png").exists()


def test_where_nothing_was_timed_there_is_no_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    nobody = Result("digits", {}, [], [Skipped("all", "no data")])
    document = report.document([nobody], Settings(), FACTS)
    assert figure.written(document, tmp_path / "none.png") == "No picture: nothing was timed"
