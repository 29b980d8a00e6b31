"""Schedules: the values of PyTorch's and Optax's own, and what an optimizer makes of them."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from born import checkpoint, nn, optim
from born.autodiff import Autodiff
from born.backend import Backend
from born.errors import CheckpointMismatchError, ConfigError, ConfigTypeError, DomainError
from born.optim import schedules
from born.optim.config import KINDS, Config
from born.optim.schedules import Schedule
from born_numpy import NumpyBackend
from tests.optim.making import make, parameter, raw, two
from tests.optim.record_schedules import COUNTS, METRICS, RECORDED

REFERENCE: Final[Mapping[str, Any]] = dict(np.load(RECORDED))
DOUBLE, SINGLE = 1e-12, 5e-7
"""How far theirs may be: PyTorch's multiply step by step in double, Optax's are float32."""

SAME: dict[str, Schedule] = {
    "step": schedules.Step(0.8, every=7, factor=0.3),
    "multi-step": schedules.MultiStep(0.8, after=(3, 10, 30), factor=0.3),
    "exponential": schedules.Exponential(0.8, 0.9),
    "linear": schedules.Linear(0.2, 0.8, steps=25),
    "polynomial": schedules.Polynomial(0.8, 0.0, steps=25, power=2.5),
    "cosine": schedules.Cosine(0.8, steps=25, floor=0.1),
    "restarts": schedules.Cosine(0.8, steps=50, floor=0.1, periods=5),
    "restarts doubling": schedules.Cosine(0.8, steps=105, floor=0.1, periods=4, period_factor=2.0),
    "one-cycle": schedules.OneCycle(0.8, steps=50, rise=0.33),
    "one-cycle linear": schedules.OneCycle(0.8, steps=50, shape="linear"),
    "one-cycle in three": schedules.OneCycle(
        0.8, steps=50, rise=0.33, div_factor=10.0, three_phase=True
    ),
    "sequence": schedules.Sequence(
        (schedules.Linear(0.08, 0.8, steps=10), schedules.Exponential(0.8, 0.9)), after=(10,)
    ),
    "optax polynomial": schedules.Polynomial(0.8, 0.1, steps=25, power=2.5),
    "optax linear": schedules.Linear(0.2, 0.8, steps=25),
    "optax exponential": schedules.Exponential(0.8, 0.5, every=5, floor=0.05),
    "optax staircase": schedules.Step(0.8, every=5, factor=0.5),
    "optax cosine": schedules.Cosine(0.8, steps=25, floor=0.1),
    # For one step more, without the one that theirs does at 0.
    "optax warm-up": schedules.Cosine(0.8, steps=25, warmup=10, floor=0.1),
    "optax one-cycle": schedules.OneCycle(0.8, steps=45, rise=0.33, variant="optax"),
    "optax one-cycle in three": schedules.OneCycle(
        0.8, steps=45, div_factor=10.0, shape="linear", three_phase=True, variant="optax"
    ),
    "optax constants": schedules.Piecewise(((1, 0.8), (4, 0.4), (11, 0.04))),
    "optax cosines": schedules.Piecewise(((1, 0.8), (6, 0.4), (21, 0.8)), shape="cosine"),
    "optax lines": schedules.Piecewise(((1, 0.8), (6, 0.4), (21, 0.8)), shape="linear"),
    "optax join": schedules.Sequence(
        (schedules.Linear(0.0, 0.8, steps=10), schedules.Exponential(0.8, 0.9)), after=(10,)
    ),
}

PLATEAUS: dict[str, schedules.Plateau] = {
    "plateau": schedules.Plateau(0.8, factor=0.5, patience=1),
    "plateau with cooldown": schedules.Plateau(0.8, factor=0.5, patience=0, cooldown=2, floor=0.3),
    "plateau of differences": schedules.Plateau(
        0.8, factor=0.5, patience=1, threshold=0.3, relative=False
    ),
    "plateau of an accuracy": schedules.Plateau(0.8, factor=0.5, patience=3, maximize=True),
}

EXAMPLES: list[Schedule] = [
    *SAME.values(),
    *PLATEAUS.values(),
    schedules.Constant(0.3),
    schedules.InverseSqrt(0.8, warmup=4),
    schedules.WarmupStableDecay(0.8, steps=40, warmup=5, decay=10, shape="sqrt"),
    schedules.Product((schedules.Cosine(1.0, steps=30), schedules.Plateau(0.5), 0.25)),
]
every_example = pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)


# -- values ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAME)
def test_values_are_those_of_others(name: str) -> None:
    theirs = REFERENCE[name]
    # They count from 0, and so does their warm-up, whose first step is wasted.
    first = 1 if name == "optax warm-up" else 0
    ours = [SAME[name](count + 1) for count in range(len(theirs) - first)]
    tolerance = SINGLE if name.startswith("optax") else DOUBLE
    np.testing.assert_allclose(ours, theirs[first:], rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize("name", PLATEAUS)
def test_plateaus_are_those_of_pytorch(name: str) -> None:
    schedule, values = PLATEAUS[name], list[float]()
    for metric in METRICS:
        schedule = schedule.observed(metric)
        values.append(schedule(len(values) + 1))
    np.testing.assert_allclose(values, REFERENCE[name], rtol=DOUBLE)
    assert len(set(values)) > 1


def test_everything_recorded_is_compared() -> None:
    recorded = {name for name in REFERENCE if not name.endswith("_version")}
    assert recorded == SAME.keys() | PLATEAUS.keys()


def test_every_schedule_has_an_example() -> None:
    public = {
        value
        for value in vars(schedules).values()
        if isinstance(value, type) and issubclass(value, Schedule) and value is not Schedule
    }
    assert public == {type(schedule) for schedule in EXAMPLES}


def test_every_schedule_is_on_its_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text(encoding="utf-8")
    use, _, rest = page.partition("## Each of them")
    for name in {type(schedule).__name__ for schedule in EXAMPLES}:
        assert re.search(rf"^\| .*`{name}\(.* \|$", use, re.M), f"when to use {name}"
        assert re.search(rf"^{name} +1 ┤.{{40}}", rest, re.M), f"a picture of {name}"
        assert re.search(rf"^\| `{name}` \|.*\|.*\|$", rest, re.M), f"the formula of {name}"


def test_phases_meet_where_they_should() -> None:
    wsd = schedules.WarmupStableDecay(2.0, steps=100, warmup=10, decay=20, floor=0.5)
    assert [wsd(t) for t in (1, 9, 10, 80)] == [0.2, 1.8, 2.0, 2.0]
    assert wsd(100) == pytest.approx(0.5 + 1.5 / 21)
    assert wsd(101) == wsd(10**6) == 0.5
    rise = schedules.InverseSqrt(2.0, warmup=10)
    assert [rise(t) for t in (1, 5, 10, 40)] == [0.2, 1.0, 2.0, 1.0]
    triangle = schedules.WarmupStableDecay(1.0, steps=10, warmup=4, decay=6)
    assert [round(triangle(t) * 28) for t in range(1, 12)] == [7, 14, 21, 28, *range(24, -1, -4)]
    lowered = schedules.Cosine(1.0, steps=20, periods=2, peak_factor=0.5)
    assert [round(lowered(t), 12) for t in (1, 11, 20, 21)] == [
        1.0,
        0.5,
        round(lowered(20), 12),
        0.0,
    ]


@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt"])
def test_no_update_is_wasted_at_zero(shape: str) -> None:
    for schedule in (
        schedules.Cosine(1.0, steps=30, warmup=7),
        schedules.WarmupStableDecay(1.0, steps=30, warmup=7, decay=9, shape=shape),
        schedules.Linear(1.0, 0.0, steps=30),
    ):
        assert min(schedule(t) for t in range(1, 31)) > 0
        assert schedule(31) == 0


@given(
    st.integers(1, 60), st.integers(0, 60), st.integers(1, 5), st.floats(0.5, 3), st.floats(0, 0.5)
)
def test_a_cosine_stays_between_its_floor_and_its_peak(
    steps: int, warmup: int, periods: int, factor: float, floor: float
) -> None:
    if warmup > steps:
        warmup = steps
    schedule = schedules.Cosine(1.0, steps, warmup, floor, periods, factor)
    values = [schedule(t) for t in range(max(warmup, 1), steps + 3)]
    assert values[0] == 1.0
    assert all(floor - 1e-15 <= value <= 1.0 for value in values)
    assert values[-1] == values[-2] == floor
    # Each period falls, and there are no more rises than periods after the first.
    assert sum(b > a + 1e-9 for a, b in pairwise(values)) <= periods - 1


@every_example
def test_between_landmarks_schedules_are_monotonic(schedule: Schedule) -> None:
    if getattr(schedule, "periods", 1) > 1:
        pytest.skip("restarts come back to the first peak, which is a landmark")
    marks = sorted({1, *schedule.landmarks})
    for first, last in pairwise(marks):
        values = np.array([schedule(t) for t in range(first, last + 1)])
        assert (np.diff(values) <= 1e-15).all() or (np.diff(values) >= -1e-15).all()


@every_example
def test_schedules_go_to_json_and_back(schedule: Schedule) -> None:
    text = json.dumps(schedule.to_json())
    again = type(schedule).from_json(json.loads(text))
    assert again == schedule
    assert [again(t) for t in range(1, 60)] == [schedule(t) for t in range(1, 60)]
    config = optim.AdamConfig(lr=schedule, betas=(schedules.Constant(0.5), 0.9))
    assert optim.AdamConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@every_example
def test_schedules_are_values(schedule: Schedule) -> None:
    assert copy.deepcopy(schedule) == schedule == pickle.loads(pickle.dumps(schedule))
    assert hash(copy.copy(schedule)) == hash(schedule)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, dataclasses.fields(schedule)[0].name, 3)


# -- what is refused -------------------------------------------------------------------


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: schedules.Cosine(1.0, steps=0), r"Cosine\.steps: expected an integer .* at least 1"),
    (lambda: schedules.Cosine(1.0, 10, warmup=11), r"Cosine\.steps: expected at least the 11 st"),
    (lambda: schedules.Cosine(math.nan, 10), r"Cosine\.peak: expected a finite number"),
    (lambda: schedules.WarmupStableDecay(1.0, 10, 6, 5), r"expected at least the 11 steps of its"),
    (lambda: schedules.WarmupStableDecay(1.0, 9, 1, 1, shape="x"), r'"linear", "cosine" or "sqrt"'),
    (lambda: schedules.OneCycle(1.0, 9, variant="keras"), r'expected "torch" or "optax", got'),
    (lambda: schedules.OneCycle(1.0, 9, div_factor=0.0), r"expected div_factor and .* above 0"),
    (lambda: schedules.MultiStep(1.0, after=(5, 5)), r"MultiStep\.after: .* ascending .* \(5, 5\)"),
    (lambda: schedules.MultiStep(1.0, after=3), r"MultiStep\.after: expected a tuple, got 3"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # refused
    (lambda: schedules.MultiStep(1.0, (2.5,)), r"after\[0\]: expected an integer, got 2\.5"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # refused
    (lambda: schedules.Piecewise(()), r"Piecewise\.points: expected at least one point"),
    (lambda: schedules.Piecewise(((3, 1.0), (2, 1.0))), r"points: expected .* ascending"),
    (lambda: schedules.Sequence((1.0, 2.0), ()), r"Sequence\.after: .* got 0 of them for 2"),
    (lambda: schedules.Product(()), r"Product\.factors: expected at least one factor"),
    (lambda: schedules.Plateau(1.0, factor=2.0), r"Plateau\.factor: .* at most 1, got 2\.0"),
    (lambda: schedules.Linear(schedules.Constant(1), 0, 9), r"Linear\.start: expected a number"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # refused
    (lambda: optim.SGDConfig(lr=schedules.Linear(1.0, -1.0, 9)), r"SGDConfig\.lr: .* at least 0"),
    (lambda: optim.SGDConfig(momentum=schedules.Constant(1.0)), r"momentum: .* below 1, got 1\.0"),
    (lambda: optim.AdamConfig(betas=(0.9, lambda t: t)), r"betas\[1\]: expected .* got 1"),
    (lambda: optim.AdamConfig(lr=lambda t: "x"), r"AdamConfig\.lr: expected a number, got 'x'"),  # type: ignore[arg-type,return-value]  # pyright: ignore[reportArgumentType]  # refused
    (lambda: optim.AdamConfig(lr=schedules.Cosine), r"a function of t, got the class Cosine; make"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # refused
    (lambda: optim.AdamConfig(m_dtype=schedules.Constant(1)), r"m_dtype: expected a str, got"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # refused
    (lambda: schedules.Plateau(1.0).observed("x"), r"expected a metric that is a number, got 'x'"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # refused
    (lambda: optim.AdamConfig().observed(1.0), r"AdamConfig: expected a schedule that observes a"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert ";" in str(caught.value)


def test_a_count_from_zero_is_refused() -> None:
    with pytest.raises(DomainError, match=r"number of an update, from 1, got 0; a count from 0"):
        schedules.Cosine(1.0, 10)(0)


def test_a_value_that_a_field_cannot_hold_is_refused_when_its_update_comes() -> None:
    p = parameter([1.0], NumpyBackend())
    config = optim.SGDConfig(lr=lambda t: 3.0 - t)
    optimizer = optim.SGD([p], config)
    grads = {p.raw: raw([1.0], p.backend)}
    for _ in range(3):
        optimizer.step(grads)
    before = p.numpy()
    with pytest.raises(ConfigError, match=r"SGDConfig\.lr: .* at least 0, got -1\.0") as caught:
        optimizer.step(grads)
    assert any("in update t = 4" in note for note in caught.value.__notes__)
    np.testing.assert_array_equal(p.numpy(), before)
    assert optimizer.timestep == 3


# -- in an optimizer -------------------------------------------------------------------


SCHEDULED: list[Config] = [
    optim.SGDConfig(
        lr=schedules.Cosine(0.1, steps=8, warmup=2),
        momentum=schedules.Linear(0.5, 0.9, steps=6),
        weight_decay=schedules.Step(0.1, every=3),
    ),
    optim.AdamConfig(
        lr=schedules.OneCycle(0.1, steps=8),
        betas=(schedules.Linear(0.95, 0.85, steps=4), lambda t: 1 - 1 / (t + 1)),
        eps=schedules.Exponential(1e-3, 0.5),
        weight_decay=schedules.Product((schedules.Linear(0.1, 0.0, steps=4), 0.5)),
    ),
]


def _pull(p: nn.Parameter[Any]) -> Any:
    return p.backend.innermost.add(p.backend.innermost.mul(p.raw, 0.3), 0.1)


def _train(optimizer: optim.Optimizer[Any], steps: int) -> None:
    for _ in range(steps):
        optimizer.step({p.raw: _pull(p) for p in optimizer.parameters})


def _bits(parameters: list[nn.Parameter[Any]]) -> bytes:
    return b"".join(p.numpy().tobytes() for p in parameters)


@pytest.mark.parametrize("config", SCHEDULED, ids=lambda config: type(config).__name__)
def test_a_step_uses_the_values_of_its_update(config: Config, backend: Backend) -> None:
    names = config.scheduled
    ours, theirs = two(backend), two(backend)
    scheduled = make(config, ours)

    def at(value: Any, t: int) -> Any:
        if isinstance(value, tuple):
            return tuple(at(item, t) for item in value)  # pyright: ignore[reportUnknownVariableType]  # a field's
        return value(t) if callable(value) else value

    plain = make(config.replace(**{n: at(getattr(config, n), 1) for n in names}), theirs)
    for t in range(1, 11):
        plain.config = config.replace(**{name: at(getattr(config, name), t) for name in names})
        assert scheduled.lr == plain.lr == plain.config.lr
        _train(scheduled, 1)
        _train(plain, 1)
        assert _bits(ours) == _bits(theirs)


@pytest.mark.parametrize("config", SCHEDULED, ids=lambda config: type(config).__name__)
def test_resumed_runs_have_the_bits_of_uninterrupted_ones(
    config: Config, backend: Backend, tmp_path: Path
) -> None:
    whole = two(backend)
    _train(make(config, whole), 10)
    for k in range(11):
        first, second = two(backend), two(backend)
        optimizer = make(config, first)
        _train(optimizer, k)
        checkpoint.save(tmp_path / "run.safetensors", optimizer=optimizer)
        for p, value in zip(second, first, strict=True):
            p.assign(value.numpy())
        resumed = make(config, second)
        checkpoint.load(tmp_path / "run.safetensors", optimizer=resumed)
        assert resumed.config == config
        _train(resumed, 10 - k)
        assert _bits(second) == _bits(whole), f"resumed after {k}"


def test_a_parameter_that_joins_late_has_its_own_update_number(backend: Backend) -> None:
    early, late = parameter([0.0], backend), parameter([0.0], backend)
    optimizer = optim.SGD([early, late], lr=schedules.Linear(1.0, 2.0, steps=1))
    one = raw([1.0], backend)
    optimizer.step({early.raw: one})
    optimizer.step({early.raw: one, late.raw: one})
    assert (early.numpy()[0], late.numpy()[0]) == (-3.0, -1.0)


def test_setting_lr_overrides_a_schedule_and_a_checkpoint_keeps_that(
    backend: Backend, tmp_path: Path
) -> None:
    parameters = two(backend)
    optimizer = optim.Adam(parameters, lr=schedules.Cosine(0.1, steps=10))
    _train(optimizer, 3)
    assert optimizer.lr == schedules.Cosine(0.1, steps=10)(4)
    optimizer.lr = 0.5
    assert (optimizer.lr, optimizer.config.lr) == (0.5, 0.5)
    checkpoint.save(tmp_path / "run.safetensors", optimizer=optimizer)
    again = optim.Adam(two(backend), lr=schedules.Cosine(0.1, steps=10))
    checkpoint.load(tmp_path / "run.safetensors", optimizer=again)
    assert again.lr == 0.5
    again.lr = schedules.Constant(0.25)
    assert again.lr == 0.25


def test_a_plateau_resumes_from_a_checkpoint(backend: Backend, tmp_path: Path) -> None:
    plateau = schedules.Plateau(1.0, factor=0.5, patience=1)
    config = optim.SGDConfig(lr=schedules.Product((plateau, 0.1)), momentum=0.5)
    path = tmp_path / "run.safetensors"
    whole = optim.SGD(two(backend), config)
    rates: list[float] = []
    for metric in METRICS:
        whole.observe(metric)
        rates.append(whole.lr)
    for k in range(len(METRICS)):
        first, second = (optim.SGD(two(backend), config) for _ in range(2))
        for metric in METRICS[:k]:
            first.observe(metric)
        checkpoint.save(path, optimizer=first)
        checkpoint.load(path, optimizer=second)
        for metric, rate in zip(METRICS[k:], rates[k:], strict=True):
            second.observe(metric)
            assert second.lr == rate
    assert config.lr(1) == 0.1  # type: ignore[operator]  # pyright: ignore[reportCallIssue]  # a schedule


def _warm(t: int) -> float:
    return 0.1 * min(1.0, t / 4)


def test_a_plain_function_is_saved_by_name_and_taken_from_the_optimizer(
    backend: Backend, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    config = optim.SGDConfig(lr=schedules.Product((_warm, 0.5)))
    checkpoint.save(path, optimizer=optim.SGD(two(backend), config))
    same = optim.SGD(two(backend), config)
    checkpoint.load(path, optimizer=same)
    assert same.config == config
    other = optim.SGD(two(backend), lr=schedules.Product((lambda t: 1.0, 0.5)))
    with pytest.raises(CheckpointMismatchError, match=r"expected _warm, a function .* only the na"):
        checkpoint.load(path, optimizer=other)
    with pytest.raises(ConfigError, match=r"SGDConfig\.lr: expected one of Constant.* 'Missing'"):
        optim.SGDConfig.from_json({**config.to_json(), "lr": {"type": "Missing"}})


@dataclass(frozen=True, slots=True)
class Zigzag(Schedule):
    """A schedule such as users write."""

    low: float
    high: float = 1.0

    def at(self, t: int) -> float:
        return self.high if t % 2 else self.low


def test_a_users_schedule_is_one_like_any_other() -> None:
    config = optim.SGDConfig(lr=Zigzag(0.5))
    assert optim.SGDConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert KINDS["Zigzag"] is Zigzag
    assert Zigzag(0.5).text(4, height=1, width=23).count("█") == 10
    with pytest.raises(ConfigTypeError, match=r"Zigzag\.low: expected a number, got 'a'"):
        Zigzag("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # refused


def test_any_field_of_a_users_config_takes_a_schedule(backend: Backend) -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class TwistConfig(Config):
        lr: float = 0.1
        twist: tuple[float, ...] = (0.0, 0.0)

    @optim.rule
    def twisted(p: Any, g: Any, *, lr: float, twist1: float, twist2: float) -> Any:
        return (p - lr * g + twist1 - twist2,)

    class Twist(optim.Optimizer[Any, TwistConfig]):
        config_type = TwistConfig
        formula = twisted

    p = parameter([0.0], backend)
    fields: dict[str, Any] = {
        "lr": schedules.Linear(0.5, 1.0, steps=1),
        "twist": (schedules.Linear(10.0, 20.0, steps=1), 1.0),
    }
    optimizer = Twist([p], TwistConfig(**fields))
    for _ in range(2):
        optimizer.step({p.raw: raw([1.0], backend)})
    assert p.numpy().item() == -0.5 + 10 - 1 - 1 + 20 - 1


def test_it_moves_with_its_schedule(backend: Backend) -> None:
    optimizer = optim.Adam(two(backend), lr=schedules.Cosine(0.1, steps=10))
    _train(optimizer, 3)
    other = Autodiff(NumpyBackend())
    moved = optimizer.to([nn.Parameter(p.to(other), p.name) for p in optimizer.parameters])
    assert moved.lr == optimizer.lr
    assert moved.config == optimizer.config


# -- pictures --------------------------------------------------------------------------


@every_example
def test_text_is_as_wide_as_asked(schedule: Schedule) -> None:
    lines = schedule.text().split("\n")
    assert len(lines) == 9
    assert max(map(len, lines)) <= 60
    assert "█" in lines[7]
    (line,) = schedule.text(height=1).split("\n")
    assert len(line) <= 60


def test_text_shows_where_it_is_high() -> None:
    rows = schedules.text(lambda t: float(t > 10), 20, width=23, height=2).split("\n")
    assert rows == [
        "1 ┤          ██████████",
        "0 ┤▁▁▁▁▁▁▁▁▁▁██████████",
        "  └1                 20",
    ]
    assert schedules.text(0.5, 20, width=20, height=1) == "0.5 ┤" + "█" * 15


@every_example
def test_a_plot_draws_its_values(schedule: Schedule) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib draws")
    axes = schedules.plot(schedule, COUNTS)
    (line,) = axes.get_lines()
    assert list(line.get_xdata()) == list(range(1, COUNTS + 1))
    assert list(line.get_ydata()) == [schedule(t) for t in range(1, COUNTS + 1)]
    assert schedule.plot(10).get_ylabel() == "value"
    pyplot.close("all")


def test_plotting_without_matplotlib_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(ConfigError, match=r"expected matplotlib to draw with.*pip install matpl"):
        schedules.plot(0.1)


def test_text_of_what_is_not_finite_has_room_for_the_rest() -> None:
    def broken(t: int) -> float:
        return {3: math.inf, 9: math.nan, 10: -math.inf}.get(t, float(t))

    *lines, _ = schedules.text(broken, 20, width=24, height=2).splitlines()
    assert lines[0].startswith("20 ┤")
    assert lines[1].startswith(" 1 ┤")
    columns = list(zip(*(line[4:].ljust(20) for line in lines), strict=True))
    assert columns[2] == ("█", "█")
    assert columns[8] == columns[9] == (" ", " ")
