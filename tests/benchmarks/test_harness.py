"""How `benchmarks/` times. No test here looks at how long anything takes."""

from __future__ import annotations

import weakref
from dataclasses import replace
from itertools import chain, repeat

import pytest

from benchmarks.clocks import host_time
from benchmarks.harness import (
    LEAST_ROUNDS,
    Competitor,
    DisagreementError,
    Entry,
    Result,
    Settings,
    Skipped,
    Spread,
    Work,
    check_agreement,
    measure,
    run,
)
from tests.benchmarks.world import UNHURRIED, Loss, World

SETTINGS = Settings(rounds=5, pause=0.0, settle=0.05, sample=1.0, warm_up=4.0, budget=UNHURRIED)


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
    samples = measure([fast, slow], SETTINGS, world.stopwatch)
    assert samples == {"fast": [0.25] * 5, "slow": [3.0] * 5}


def test_measure_warms_up_each_competitor_first() -> None:
    world = World()
    names = ["a", "b"]
    measure([world.competitor(name, lambda: 1.0) for name in names], SETTINGS, world.stopwatch)
    warmed = world.ran[: world.ran.index("b")]
    assert warmed == ["a"] * len(warmed)
    assert len(warmed) >= SETTINGS.warm_up


def test_measure_lets_competitors_take_turns_in_changing_order() -> None:
    world = World()
    settings = Settings(rounds=20, pause=0.0, settle=0.1, sample=0.1, warm_up=0.1, budget=UNHURRIED)
    competitors = [world.competitor(name, lambda: 0.1) for name in "abc"]
    measure(competitors, settings, world.stopwatch)
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
        measure(competitors, SETTINGS, world.stopwatch)
        orders.append(world.ran)
    assert orders[0] == orders[1]


def test_a_long_step_is_timed_without_one_before_it() -> None:
    world = World()
    settings = replace(SETTINGS, warm_up=1.0)
    measure([world.competitor("training", lambda: 5.0)], settings, world.stopwatch)
    assert len(world.ran) == 1 + settings.rounds  # one to warm up


@pytest.mark.parametrize(("budget", "rounds"), [(1000.0, 5), (8.5, 4), (0.0, LEAST_ROUNDS)])
def test_a_budget_cuts_rounds_down_to_the_fewest_that_have_a_spread(
    budget: float, rounds: int
) -> None:
    world = World()
    settings = replace(SETTINGS, sample=1.0, settle=1.0, budget=budget)
    samples = measure([world.competitor("a", lambda: 0.125)], settings, world.stopwatch)
    assert samples == {"a": [0.125] * rounds}


@pytest.mark.parametrize(("step", "asleep"), [(0.125, 0.5), (3.0, 2.5)])
def test_long_steps_sleep_for_as_long_as_short_ones_settle(
    step: float, asleep: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("benchmarks.harness.time.sleep", slept.append)
    world = World()
    settings = replace(SETTINGS, pause=0.5, settle=2.0)
    measure([world.competitor("a", lambda: step)], settings, world.stopwatch)
    assert slept == [asleep] * settings.rounds


def test_rounds_asked_for_below_the_fewest_are_kept() -> None:
    world = World()
    settings = replace(SETTINGS, rounds=1, budget=0.0)
    assert measure([world.competitor("a", lambda: 1.0)], settings, world.stopwatch) == {"a": [1.0]}


def test_quick_settings_ask_for_less_but_let_threads_settle_as_long() -> None:
    settings = Settings()
    quick = settings.quick()
    assert quick.rounds < settings.rounds
    assert quick.warm_up < settings.warm_up
    assert quick.budget < settings.budget
    assert (quick.pause, quick.settle, quick.sample) == (
        settings.pause,
        settings.settle,
        settings.sample,
    )


def test_competitors_that_compute_something_else_are_refused() -> None:
    world = World()
    same = world.competitor("first", lambda: 1.0, loss=2.0)
    close = world.competitor("close", lambda: 1.0, loss=2.0001)
    assert check_agreement([same, close], tolerance=1e-3) == {"first": 2.0, "close": 2.0001}
    with pytest.raises(DisagreementError, match=r"step 0 of close .* 2\.0, that of first, got 2\."):
        check_agreement([same, close], tolerance=1e-5)


def test_yardstick_without_an_outcome_is_not_compared() -> None:
    library = Competitor("library", Loss)
    yardstick = Competitor("yardstick", lambda: None)
    assert check_agreement([library, yardstick, library], tolerance=0.0) == {"library": 1.0}
    assert yardstick.step() is None


def test_run_checks_then_times_and_keeps_who_was_skipped() -> None:
    world = World()
    absent = Skipped("absent", "not installed")

    def prepare() -> list[Entry]:
        return [
            world.competitor("born", lambda: 1.0, ours=True),
            absent,
            world.competitor("other", lambda: 2.0, loss=1.0),
        ]

    work = Work(
        "work",
        prepare,
        tolerance=0.0,
        stopwatch=world.stopwatch,
        checked=1,
        remark=lambda value: f"reached {value:g}",
    )
    result = run(work, SETTINGS)
    assert world.ran[:2] == ["born", "other"]  # checked for one step each
    assert result.work == "work"
    assert result.ours == ["born"]
    assert result.skipped == [absent]
    assert result.remarks == {"born": "reached 1", "other": "reached 1"}
    assert result.ratio("other", "born") == Spread(2.0, 2.0, 2.0)


def test_run_times_nothing_when_outcomes_differ() -> None:
    world = World()
    prepared = [world.competitor("a", lambda: 1.0), world.competitor("b", lambda: 1.0, loss=9.0)]
    with pytest.raises(DisagreementError, match="make them compute the same"):
        run(Work("work", lambda: prepared, tolerance=1e-5, stopwatch=world.stopwatch), SETTINGS)


def test_run_without_anybody_reports_why() -> None:
    absent = Skipped("all", "no data")
    result = run(Work("work", lambda: [absent], tolerance=0.0), SETTINGS)
    assert result.samples == {}
    assert result.skipped == [absent]


def test_host_time_leaves_out_waiting_and_keeps_the_queue_short() -> None:
    world = World()
    queued = 0
    longest = 0

    def launch() -> None:
        nonlocal queued, longest
        world.now += 1.0
        queued += 1
        longest = max(longest, queued)

    def synchronize() -> None:
        nonlocal queued
        world.now += 100.0 * queued
        queued = 0

    assert host_time(synchronize, world.clock)(launch, 50) == 50.0
    assert longest < 50
    assert queued == 0


# -- draws -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounds", "draws", "each"),
    [(6, 3, [2, 2, 2]), (7, 3, [3, 3, 1]), (2, 6, [1, 1]), (5, 1, [5])],
)
def test_competitors_are_made_anew_for_every_draw(rounds: int, draws: int, each: list[int]) -> None:
    world = World()
    costs = iter([1.0, 2.0, 4.0])

    def prepare() -> list[Competitor]:
        cost = next(costs)
        return [world.competitor("a", lambda: cost), world.competitor("b", lambda: 2 * cost)]

    settings = replace(SETTINGS, rounds=rounds, warm_up=0.0)
    work = Work("w", prepare, tolerance=0.0, stopwatch=world.stopwatch, draws=draws)
    result = run(work, settings)
    expected = [
        cost for cost, times in zip([1.0, 2.0, 4.0], each, strict=False) for _ in range(times)
    ]
    assert result.samples == {"a": expected, "b": [2 * cost for cost in expected]}
    assert result.ratio("b", "a") == Spread(2.0, 2.0, 2.0)


def test_draws_share_the_time_that_one_would_have_had() -> None:
    settings = replace(SETTINGS, rounds=12, warm_up=3.0, budget=6.0).shared_by(3)
    assert (settings.rounds, settings.warm_up, settings.budget) == (4, 1.0, 2.0)


@pytest.mark.parametrize("losses", [[1.0, 9.0], [9.0, 1.0]])
def test_outcomes_are_compared_in_every_draw(losses: list[float]) -> None:
    world = World()
    of_draw = iter(losses)

    def prepare() -> list[Competitor]:
        loss = next(of_draw)
        first = world.competitor("a", lambda: 1.0)
        return [first, world.competitor("b", lambda: 1.0, loss=loss)]

    work = Work("w", prepare, tolerance=0.1, stopwatch=world.stopwatch, draws=2)
    with pytest.raises(DisagreementError):
        run(work, SETTINGS)


def test_what_a_first_step_compiles_is_not_timed() -> None:
    world = World()

    def prepare() -> list[Competitor]:
        costs = chain([100.0], repeat(0.5))
        return [world.competitor("a", lambda: next(costs))]

    work = Work("w", prepare, tolerance=0.0, stopwatch=world.stopwatch, draws=SETTINGS.rounds)
    result = run(work, replace(SETTINGS, warm_up=0.0))
    assert result.samples == {"a": SETTINGS.rounds * [0.5]}


def test_what_a_draw_held_is_let_go_before_the_next() -> None:
    alive: list[weakref.ref[Loss]] = []

    def prepare() -> list[Competitor]:
        assert [held() for held in alive] == [None] * len(alive)
        buffer = Loss()
        alive.append(weakref.ref(buffer))
        return [Competitor("a", lambda: buffer)]

    work = Work("w", prepare, tolerance=0.0, stopwatch=lambda step, steps: 1.0, draws=3)
    run(work, replace(SETTINGS, rounds=3))
    assert len(alive) == 3
