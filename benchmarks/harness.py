"""Timing competitors against each other so that the ratios can be believed.

A machine's speed drifts while a program runs: clocks change, caches are shared, other programs
wake up. So the competitors take turns, in an order drawn anew for each of many short rounds, and
each runs untimed until the threads of the one before have come to rest and its own are where the
system leaves them; what takes long waits for the former and settles by itself. A ratio is taken
within a round, where drift is the same for both, and what is reported is the median of the rounds
with the middle half of them as its spread.

Where the system puts a buffer in memory is chance, stays as it is for as long as the buffer
lives, and makes some competitor a tenth faster or slower. So everything is made anew several
times in a run.
"""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from benchmarks.clocks import Step, Stopwatch, wall_time


@dataclass(frozen=True, slots=True)
class Competitor:
    """One library doing the work.

    Attributes:
        name: what the table calls it.
        step: does the work once. It returns a number that all competitors agree on after
            the same number of steps, such as the loss; or None if it is no library but a
            yardstick, which computes something else.
        ours: whether it is born's, to which the others are compared.
    """

    name: str
    step: Step
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """A competitor that cannot run here.

    Attributes:
        name: what the table calls it.
        reason: why, and what to install.
    """

    name: str
    reason: str


Entry: TypeAlias = Competitor | Skipped
"""One line of a table: who takes part, or why not."""


@dataclass(frozen=True, slots=True)
class Point:
    """Where a work lies on a curve of cost against something.

    Attributes:
        curve: what the table and the picture call the curve.
        axis: what is varied, such as `"tensors"`.
        value: how much of it there is.
    """

    curve: str
    axis: str
    value: int


CHECKED_STEPS: Final = 20
"""For how many steps the outcomes of competitors are compared before they are timed."""


_CHECKED_AGAIN: Final = 3
"""The same in later draws, which compute what the first did."""


@dataclass(frozen=True, slots=True)
class Work:
    """Something to be done by several competitors.

    Attributes:
        name: what the table calls it.
        prepare: makes the competitors, each in the same state; called when their turn comes,
            so that only one work's data is in memory.
        tolerance: the largest relative difference allowed between their outcomes.
        bytes: how many bytes of memory it has to move, where that is what limits it.
        stopwatch: what times the steps.
        checked: for how many steps the outcomes are compared.
        draws: how many times its competitors are made anew, so that chance in where memory
            lies evens out; the rounds are shared out among them.
        remark: what to say beside a competitor, given its last outcome before it is timed.
        point: where it lies on a curve, if on one.
    """

    name: str
    prepare: Callable[[], Sequence[Entry]]
    tolerance: float
    bytes: int | None = None
    stopwatch: Stopwatch = wall_time
    checked: int = CHECKED_STEPS
    draws: int = 1
    remark: Callable[[float], str] | None = None
    point: Point | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How thoroughly to measure.

    Attributes:
        rounds: how many samples are taken of each competitor.
        pause: seconds of sleep before each sample.
        settle: seconds of untimed steps after the pause, which is how long it takes until a
            library runs as in a long loop. The worker threads of the one before spin for a
            while after their work is done (OpenBLAS's for 0.1 s) and take a core from whoever
            comes next; then the system has to put the next one's threads on cores of their
            own. On two cores a step of JAX takes 2.6 ms for the first 0.1 s and 1.5 ms after.
        sample: seconds that a sample lasts at least; it holds one step or more.
        warm_up: seconds of untimed steps before the first round.
        budget: seconds that the rounds of one work may take together. Where steps are so long
            that they would take more, there are fewer rounds, though never less than
            `LEAST_ROUNDS`.
        seed: what the order within the rounds is drawn from.
    """

    rounds: int = 24
    pause: float = 0.05
    settle: float = 0.2
    sample: float = 0.05
    warm_up: float = 0.5
    budget: float = 60.0
    seed: int = 0

    def shared_by(self, draws: int) -> Settings:
        """For one of several draws: as many rounds and as much time as all together would have."""
        return replace(
            self,
            rounds=math.ceil(self.rounds / draws),
            warm_up=self.warm_up / draws,
            budget=self.budget / draws,
        )

    def quick(self) -> Settings:
        """For a first look: fewer rounds, and a wider spread."""
        return replace(self, rounds=5, warm_up=self.warm_up / 5, budget=self.budget / 5)


LEAST_ROUNDS: Final = 3
"""However long a round takes: the fewest that have a middle and a spread."""

_LONG: Final = 0.2
"""Seconds of a step that is timed after a longer sleep in place of untimed ones right before it:
what those would bring into the caches is lost in it, and threads settle within it."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several values, between the quartiles.

    Attributes:
        low: a quarter of the values is smaller.
        median: half of the values is smaller.
        high: a quarter of the values is larger.
    """

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured of one work.

    Attributes:
        work: its name.
        samples: competitor -> seconds a step, round by round.
        ours: which of the competitors are born's.
        skipped: those that did not run.
        bytes: of the work.
        remarks: competitor -> what to say beside it.
        point: of the work.
    """

    work: str
    samples: Mapping[str, Sequence[float]]
    ours: Sequence[str]
    skipped: Sequence[Skipped]
    bytes: int | None = None
    remarks: Mapping[str, str] = field(default_factory=dict[str, str])
    point: Point | None = None

    def seconds(self, name: str) -> Spread:
        """Seconds a step."""
        return Spread.of(self.samples[name])

    def ratio(self, name: str, ours: str) -> Spread:
        """How many times longer `name` took than `ours`; over 1 means that `ours` is faster."""
        pairs = zip(self.samples[name], self.samples[ours], strict=True)
        return Spread.of([theirs / mine for theirs, mine in pairs])


class DisagreementError(Exception):
    """Competitors that ought to do the same work compute different numbers."""


def run(work: Work, settings: Settings) -> Result:
    """Prepare the competitors of a work, check that they do the same, and time them.

    Raises:
        DisagreementError: they do not do the same.
    """
    samples: dict[str, list[float]] = {}
    last: dict[str, float] = {}
    ours: list[str] = []
    skipped: list[Skipped] = []
    share = settings.shared_by(work.draws)
    for done in range(0, settings.rounds, share.rounds):
        gc.collect()  # what the work or the draw before held in circles
        prepared = work.prepare()
        competitors = [each for each in prepared if isinstance(each, Competitor)]
        # Also compiles, where a library does, or that would be taken for the time of a step.
        steps = work.checked if done == 0 else min(work.checked, _CHECKED_AGAIN)
        outcomes = check_agreement(competitors, work.tolerance, steps)
        last = last or outcomes
        rounds = min(share.rounds, settings.rounds - done)
        here = replace(share, rounds=rounds, seed=settings.seed + done)
        for name, seconds in measure(competitors, here, work.stopwatch).items():
            samples.setdefault(name, []).extend(seconds)
        ours = [each.name for each in competitors if each.ours]
        skipped = [each for each in prepared if isinstance(each, Skipped)]
        del prepared, competitors  # before the next are made: memory may not hold both
    remark = work.remark
    return Result(
        work=work.name,
        samples=samples,
        ours=ours,
        skipped=skipped,
        bytes=work.bytes,
        remarks={} if remark is None else {name: remark(value) for name, value in last.items()},
        point=work.point,
    )


def check_agreement(
    competitors: Sequence[Competitor], tolerance: float, steps: int = CHECKED_STEPS
) -> dict[str, float]:
    """Step each competitor and compare its outcomes with those of the first.

    Returns:
        competitor -> its last outcome, for those that have one.

    Raises:
        DisagreementError: an outcome differs by more than `tolerance`, relatively.
    """
    expected: list[float] = []
    last: dict[str, float] = {}
    for competitor in competitors:
        first = competitor.step()
        if first is None:
            continue
        outcomes = [first.item(), *(_item(competitor) for _ in range(steps - 1))]
        expected = expected or outcomes
        for index, (theirs, ours) in enumerate(zip(outcomes, expected, strict=True)):
            if not math.isclose(theirs, ours, rel_tol=tolerance):
                raise DisagreementError(
                    f"expected the outcome of step {index} of {competitor.name} to be within "
                    f"{tolerance:g} of {ours!r}, that of {competitors[0].name}, got {theirs!r}; "
                    "timing different work would say nothing, so make them compute the same"
                )
        last[competitor.name] = outcomes[-1]
    return last


def _item(competitor: Competitor) -> float:
    outcome = competitor.step()
    return math.nan if outcome is None else outcome.item()


def measure(
    competitors: Sequence[Competitor], settings: Settings, stopwatch: Stopwatch = wall_time
) -> dict[str, list[float]]:
    """Let the competitors take turns.

    Returns:
        competitor -> seconds a step, one for each round, in the order given.
    """
    samples: dict[str, list[float]] = {each.name: [] for each in competitors}
    order = list(competitors)
    draw = random.Random(settings.seed)
    with _small_collections():
        costs = {each.name: _cost(each, settings.warm_up, stopwatch) for each in competitors}
        for _ in range(_rounds(settings, costs.values())):
            draw.shuffle(order)
            for each in order:
                cost = costs[each.name]
                if cost < _LONG:
                    time.sleep(settings.pause)
                    stopwatch(each.step, _steps(settings.settle, cost))
                else:
                    time.sleep(settings.pause + settings.settle)
                steps = _steps(settings.sample, cost)
                samples[each.name].append(stopwatch(each.step, steps) / steps)
    return samples


def _cost(competitor: Competitor, warm_up: float, stopwatch: Stopwatch) -> float:
    """Seconds a step, roughly, once warm."""
    steps, spent = 1, 0.0
    while True:
        seconds = stopwatch(competitor.step, steps)
        spent += seconds
        if spent >= warm_up:
            return seconds / steps
        steps *= 2


def _rounds(settings: Settings, costs: Collection[float]) -> int:
    """As many rounds as are asked for, or as the budget allows."""
    turns = [
        settings.pause + max(settings.settle, cost) + max(settings.sample, cost) for cost in costs
    ]
    affordable = int(settings.budget / sum(turns)) if turns else settings.rounds
    return min(settings.rounds, max(LEAST_ROUNDS, affordable))


def _steps(seconds: float, cost: float) -> int:
    return max(1, math.ceil(seconds / cost))


@contextmanager
def _small_collections() -> Generator[None, None, None]:
    """Keep the garbage collector on, as users have it, but away from what is there already.

    One competitor's garbage would else make it visit the modules of all the others.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
