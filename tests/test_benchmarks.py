"""The logic of `benchmarks/`. No test here looks at how long anything takes."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import __main__ as command
from benchmarks import machine, optimizer_step, report, training_step
from benchmarks.harness import (
    Competitor,
    DisagreementError,
    Result,
    Settings,
    Skipped,
    Spread,
    Work,
    check_agreement,
    measure,
    run,
)
from benchmarks.training_step import Network, born_step, make_problem
from born_numpy import NumpyBackend

SETTINGS = Settings(rounds=5, pause=0.0, settle=0.5, sample=1.0, warm_up=4.0)
SMALL = Network(3, 4, 2, batch=5)


class Loss:
    """What a step returns."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = value

    def item(self) -> float:
        return self.value


class World:
    """A clock that only the steps of competitors move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def clock(self) -> float:
        return self.now

    def competitor(
        self, name: str, seconds: Callable[[], float], ours: bool = False, loss: float = 1.0
    ) -> Competitor:
        def step() -> Loss:
            self.now += seconds()
            self.ran.append(name)
            return Loss(loss)

        return Competitor(name, step, ours)


def two_works() -> list[Result]:
    samples = {"born one": [2e-6, 2e-6], "other": [3e-6, 5e-6]}
    more = {"born one": [1e-3], "born two": [5e-4], "other": [2e-3]}
    return [
        Result("first", samples, ["born one"], [Skipped("absent", "not installed")]),
        Result("the second", more, ["born one", "born two"], []),
    ]


def test_spread_is_the_median_between_the_quartiles() -> None:
    assert Spread.of([5.0, 1.0, 4.0, 2.0, 3.0]) == Spread(2.0, 3.0, 4.0)
    assert Spread.of([1.0, 2.0]) == Spread(1.25, 1.5, 1.75)


def test_spread_of_one_value_is_that_value() -> None:
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


def test_ratio_over_one_means_that_ours_is_faster() -> None:
    result = Result("work", {"ours": [1.0, 2.0], "theirs": [3.0, 6.0]}, ["ours"], [])
    assert result.ratio("theirs", "ours").median == 3.0
    assert result.ratio("ours", "theirs").median == pytest.approx(1 / 3)


def test_ratios_are_taken_within_a_round() -> None:
    # The machine slows down fourfold half way: absolute times spread, the ratio does not.
    result = Result("work", {"ours": [1.0, 1.0, 4.0], "theirs": [2.0, 2.0, 8.0]}, ["ours"], [])
    assert result.ratio("theirs", "ours") == Spread(2.0, 2.0, 2.0)
    assert result.seconds("theirs").high > result.seconds("theirs").median


def test_measure_gives_seconds_a_step_for_each_round() -> None:
    world = World()
    fast = world.competitor("fast", lambda: 0.25)
    slow = world.competitor("slow", lambda: 3.0)
    assert measure([fast, slow], SETTINGS, world.clock) == {"fast": [0.25] * 5, "slow": [3.0] * 5}


def test_measure_warms_up_each_competitor_first() -> None:
    world = World()
    names = ["a", "b"]
    measure([world.competitor(name, lambda: 1.0) for name in names], SETTINGS, world.clock)
    warmed = world.ran[: world.ran.index("b")]
    assert warmed == ["a"] * len(warmed)
    assert len(warmed) >= SETTINGS.warm_up


def test_measure_lets_competitors_take_turns_in_changing_order() -> None:
    world = World()
    settings = Settings(rounds=20, pause=0.0, settle=1.0, sample=1.0, warm_up=1.0)
    competitors = [world.competitor(name, lambda: 1.0) for name in "abc"]
    measure(competitors, settings, world.clock)
    turns = "".join(world.ran[3:])  # the first three steps are the warm-up
    rounds = [turns[start : start + 6] for start in range(0, len(turns), 6)]
    assert len(rounds) == settings.rounds
    # Each competitor has one untimed and one timed step in every round.
    assert all(sorted(each) == list("aabbcc") for each in rounds)
    assert all(each[0::2] == each[1::2] for each in rounds)
    assert len(set(rounds)) > 1


def test_measure_draws_the_same_order_for_the_same_seed() -> None:
    orders: list[list[str]] = []
    for _ in range(2):
        world = World()
        competitors = [world.competitor(name, lambda: 1.0) for name in "abc"]
        measure(competitors, SETTINGS, world.clock)
        orders.append(world.ran)
    assert orders[0] == orders[1]


def test_competitors_that_compute_something_else_are_refused() -> None:
    world = World()
    same = world.competitor("first", lambda: 1.0, loss=2.0)
    close = world.competitor("close", lambda: 1.0, loss=2.0001)
    check_agreement([same, close], tolerance=1e-3)
    with pytest.raises(DisagreementError, match=r"step 0 of close .* 2\.0, that of first, got 2\."):
        check_agreement([same, close], tolerance=1e-5)


def test_run_checks_then_times_and_keeps_who_was_skipped() -> None:
    world = World()
    absent = Skipped("absent", "not installed")

    def prepare() -> list[Competitor | Skipped]:
        return [
            world.competitor("born", lambda: 1.0, ours=True),
            absent,
            world.competitor("other", lambda: 2.0),
        ]

    result = run(Work("work", prepare, tolerance=0.0), SETTINGS, world.clock)
    assert result.work == "work"
    assert result.ours == ["born"]
    assert result.skipped == [absent]
    assert result.ratio("other", "born") == Spread(2.0, 2.0, 2.0)


def test_run_times_nothing_when_outcomes_differ() -> None:
    world = World()
    prepared = [world.competitor("a", lambda: 1.0), world.competitor("b", lambda: 1.0, loss=9.0)]
    with pytest.raises(DisagreementError, match="make them compute the same"):
        run(Work("work", lambda: prepared, tolerance=1e-5), SETTINGS, world.clock)


def test_table_is_aligned_and_complete() -> None:
    assert report.table(two_works()) == (
        """\
work        competitor                  µs a step        over born one        over born two
----------  ----------  -------------------------  -------------------  -------------------
first       born one             2.0 (2.0 to 2.0)
            other                4.0 (3.5 to 4.5)  2.00 (1.75 to 2.25)
            absent      skipped: not installed
----------  ----------  -------------------------  -------------------  -------------------
the second  born one    1000.0 (1000.0 to 1000.0)                       2.00 (2.00 to 2.00)
            born two       500.0 (500.0 to 500.0)  0.50 (0.50 to 0.50)
            other       2000.0 (2000.0 to 2000.0)  2.00 (2.00 to 2.00)  4.00 (4.00 to 4.00)
----------  ----------  -------------------------  -------------------  -------------------
"""
        + report.LEGEND
    )


def test_document_survives_json_and_holds_every_sample() -> None:
    document = report.document(two_works(), SETTINGS, {"cores": 2})
    again = json.loads(json.dumps(document))
    assert again == document
    first = again["works"][0]
    assert first["name"] == "first"
    assert first["skipped"] == [{"name": "absent", "reason": "not installed"}]
    assert first["competitors"][1]["samples"] == [3e-6, 5e-6]
    assert first["competitors"][1]["ratios"]["born one"]["median"] == pytest.approx(2.0)
    assert again["settings"]["rounds"] == SETTINGS.rounds
    assert again["machine"] == {"cores": 2}


def without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `torch` look as if it were not installed."""
    find = importlib.import_module

    def missing(name: str, package: str | None = None) -> ModuleType:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'")
        return find(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)


def test_facts_are_described_where_packages_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pytorch(monkeypatch)
    here = machine.facts()
    assert json.loads(json.dumps(here)) == here
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


def test_without_pytorch_born_runs_and_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pytorch(monkeypatch)
    found = training_step.competitors(SMALL)
    names = [each.name for each in found if isinstance(each, Competitor) and each.ours]
    assert "born numpy" in names
    (absent,) = [each for each in found if each.name == "PyTorch"]
    assert isinstance(absent, Skipped)
    assert absent.reason == "No module named 'torch'; run: pip install -e \".[parity]\""
    assert machine.facts()["threads"]["PyTorch"] is None


def test_a_variant_that_pytorch_lacks_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> Callable[[], Loss]:
        raise RuntimeError("no fused kernel")

    torch = ModuleType("torch")
    torch.__dict__["__version__"] = "1.0"

    def find(name: str) -> ModuleType:
        assert name == "torch"
        return torch

    monkeypatch.setattr(training_step, "pytorch_step", refuse)
    monkeypatch.setattr(importlib, "import_module", find)
    found = training_step.pytorch_competitors(make_problem(SMALL))
    assert found == [
        Skipped(f"PyTorch {variant}", "PyTorch 1.0: no fused kernel")
        for variant in ("default", "foreach", "fused")
    ]


def test_the_training_step_trains() -> None:
    step = born_step(make_problem(SMALL), NumpyBackend())
    losses = [step().item() for _ in range(400)]
    assert sum(losses[-32:]) < sum(losses[:32])


def test_problems_are_the_same_each_time() -> None:
    one, two = make_problem(SMALL), make_problem(SMALL)
    assert one.weights.keys() == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert all((one.weights[name] == two.weights[name]).all() for name in one.weights)
    assert all((a[1] == b[1]).all() for a, b in zip(one.batches, two.batches, strict=True))


def test_every_benchmark_has_work() -> None:
    names = [work.name for benchmark in command.BENCHMARKS.values() for work in benchmark()]
    assert len(names) == len(set(names)) >= 2


@pytest.mark.parametrize("names", [[], ["training-step"], ["training-step", "training-step"]])
def test_command_prints_a_table_and_writes_json(
    names: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    done: list[Settings] = []

    def measured(work: Work, settings: Settings) -> Result:
        done.append(settings)
        return Result(work.name, {"born numpy": [1e-4]}, ["born numpy"], [])

    monkeypatch.setattr(command, "run", measured)
    without_pytorch(monkeypatch)
    path = tmp_path / "new" / "figures.json"
    assert command.main([*names, "--quick", "--rounds", "3", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "training step 64-32-10, batch 32" in printed
    assert "training step 784-512-10, batch 128" in printed
    assert str(path) in printed
    chosen = dict.fromkeys(names) or command.BENCHMARKS
    works = sum(len(command.BENCHMARKS[name]()) for name in chosen)
    assert [settings.rounds for settings in done] == [3] * works
    assert len(json.loads(path.read_text(encoding="utf-8"))["works"]) == works


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sorting"], "expected one of training-step, optimizer-step, got 'sorting'"),
        (["--rounds", "0"], "expected at least 1, got 0"),
    ],
)
def test_command_refuses_what_it_does_not_know(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert message in capsys.readouterr().err


def test_help_says_how_to_read_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert "A ratio over 1 means born is faster" in printed
    assert 'pip install -e ".[parity]"' in printed
    assert all(name in printed for name in command.BENCHMARKS)


def test_bandwidth_is_shown_where_bytes_are_known() -> None:
    result = Result("moving", {"born one": [2e-6, 2e-6]}, ["born one"], [], bytes=28_000)
    shown = report.table([result])
    assert "GB/s" in shown
    assert " 14.0" in shown


def test_yardstick_without_an_outcome_is_not_compared() -> None:
    class One:
        def item(self) -> float:
            return 1.0

    library = Competitor("library", One)
    yardstick = Competitor("yardstick", lambda: None)
    check_agreement([library, yardstick, library], tolerance=0.0)
    assert yardstick.step() is None


@pytest.mark.parametrize("job", optimizer_step.JOBS[1:4], ids=str)
def test_optimizers_agree(job: optimizer_step.Job) -> None:
    small = replace(job, size=10, tensors=3)
    done = [each for each in optimizer_step.competitors(small) if isinstance(each, Competitor)]
    assert any(each.ours for each in done)
    check_agreement(done, small.tolerance)
