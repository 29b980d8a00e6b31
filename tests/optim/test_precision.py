"""Parameters of 16 bits: what rounding each step would lose, and how it is kept."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import born
from born import checkpoint, nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.errors import CheckpointMismatchError, ConfigError, ConfigTypeError, StateDictError
from born.optim.naming import OPTIMIZERS
from born.raw import HostArray
from tests.optim.making import assert_same, contents, parameter, raw, step

KEPT = ("kahan", "master")
halves = pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
kept = pytest.mark.parametrize("how", KEPT)

STARTS = np.random.default_rng(0).normal(size=(6, 5))
SLOPES = np.random.default_rng(1).normal(size=(6, 5))


def precise(how: Any, **fields: Any) -> optim.Precision:
    return optim.Precision(parameters=how, **fields)


def descend(backend: Backend, dtype: str, how: str, steps: int = 200) -> Any:
    """How far a parameter, and one of float32 beside it, moved; and a unit in its last place."""
    p = parameter(STARTS, backend, dtype=dtype)
    q = parameter(p.numpy().astype(np.float32), backend)
    optimizer = optim.SGD([p], lr=1e-4, precision=precise(how))
    other = optim.SGD([q], lr=1e-4)
    first = q.numpy()
    g = raw(SLOPES, backend, dtype)
    wide = raw(backend.to_numpy(g).astype(np.float32), backend)
    for _ in range(steps):
        optimizer.step({p.raw: g})
        other.step({q.raw: wide})
    last = q.numpy()
    unit = np.spacing(np.abs(last)) * 2.0 ** (23 - (7 if dtype == "bfloat16" else 10))
    return p.numpy().astype(np.float32) - first, last - first, unit


@halves
@kept
def test_small_steps_add_up_to_those_of_float32(backend: Backend, dtype: str, how: str) -> None:
    moved, expected, unit = descend(backend, dtype, how)
    assert (np.abs(expected) > unit).any(), "farther than rounding hides"
    # Half a unit is the parameter's own rounding; Kahan's rest is rounded in each step.
    bound = {"master": 0.51, "kahan": 0.75}[how]
    assert (np.abs(moved - expected) <= bound * unit).all()


@halves
def test_small_steps_add_up_in_the_mean(backend: Backend, dtype: str) -> None:
    moved, expected, unit = descend(backend, dtype, "stochastic")
    # A sum of 200 roundings, each off by a unit at most with mean 0: its variance is at most 200/4.
    assert (np.abs(moved - expected) <= 5 * np.sqrt(200 / 4) * unit).all()
    off = (moved - expected) / unit
    assert abs(off.mean()) <= 5 * np.sqrt(200 / 4 / off.size)
    assert (moved[np.abs(expected) > 2 * unit] != 0).mean() > 0.9


@halves
def test_seeds_draw_otherwise(backend: Backend, dtype: str) -> None:
    found: list[HostArray] = []
    for seed in (0, 0, 1):
        p = parameter(np.ones(500), backend, dtype=dtype)
        optimizer = optim.SGD([p], lr=2e-4, precision=precise("stochastic", seed=seed))
        step(optimizer)
        found.append(p.numpy().astype(np.float32))
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


@halves
def test_small_steps_are_lost_without(backend: Backend, dtype: str) -> None:
    moved, expected, unit = descend(backend, dtype, "nearest")
    steady = (moved == 0) & (np.abs(expected) > unit)
    assert steady.sum() >= 5, "parameters that should have moved by a unit and more did not"


@halves
@kept
def test_a_parameter_that_was_written_counts(backend: Backend, dtype: str, how: str) -> None:
    p = parameter(STARTS, backend, dtype=dtype)
    optimizer = optim.SGD([p], lr=0.01, precision=precise(how))
    for _ in range(3):
        optimizer.step({p.raw: raw(SLOPES, backend, dtype)})
    backend.assign(p.raw, raw(np.full((6, 5), 0.5), backend, dtype))
    optimizer.step({p.raw: raw(np.zeros((6, 5)), backend, dtype)})
    unit = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    assert (np.abs(p.numpy().astype(np.float32) - 0.5) <= unit).all()


@pytest.mark.parametrize("how", ["nearest", *KEPT])
def test_wider_parameters_are_not_concerned(backend: Backend, how: str) -> None:
    plain, precisely = (
        optim.Adam([parameter(STARTS, backend)], lr=0.1, precision=precision)
        for precision in (optim.Precision(), precise(how))
    )
    assert plain.kernels[0].program is precisely.kernels[0].program
    for optimizer in (plain, precisely):
        step(optimizer)
    assert_same(contents(plain), contents(precisely))


@kept
def test_a_copy_and_a_state_go_on_the_same(backend: Backend, how: str) -> None:
    p = parameter(STARTS, backend, dtype="bfloat16")
    optimizer = optim.Adam([p], lr=1e-3, precision=precise(how))
    for _ in range(3):
        step(optimizer, 0.3)
    twin = copy.deepcopy(optimizer)
    for each in (optimizer, twin):
        step(each, -0.2)
    assert_same(contents(optimizer), contents(twin))


def test_what_is_no_precision_is_refused(backend: Backend) -> None:
    p = parameter(STARTS, backend)
    with pytest.raises(
        ConfigTypeError, match=r"expected precision as an optim\.Precision, got 'master'"
    ):
        optim.SGD([p], lr=0.1, precision="master")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigError, match="expected one of 'nearest', 'stochastic', 'kahan',"):
        precise("double")


# -- state in one byte an element --------------------------------------------------------------

SLOTS = ("int8", "float8_e4m3fn", "float8_e5m2")


def coded(backend: Backend, slots: Any = "int8", size: Any = (20, 30)) -> Any:
    p = parameter(np.random.default_rng(0).normal(size=size), backend, "w")
    optimizer = optim.Adam([p], lr=0.1, precision=optim.Precision(slots=slots))
    g = raw(np.random.default_rng(1).normal(size=size), backend)
    optimizer.step({p.raw: g})
    return optimizer


def kept_bytes(optimizer: Any) -> int:
    return sum(x.nbytes for key, x in optimizer.state_dict().items() if key[:2] != "t.")


def test_adam_keeps_a_quarter(backend: Backend) -> None:
    wide, narrow = (kept_bytes(coded(backend, slots, (300, 700))) for slots in (None, "int8"))
    assert narrow <= 0.26 * wide


@pytest.mark.parametrize("policy", ["zero", "keep"])
@pytest.mark.parametrize("kind", ["adam", "adamax"])
def test_slots_move_before_the_loss_scale_is_known(
    backend: Backend, kind: str, policy: str
) -> None:
    found: list[dict[str, HostArray]] = []
    for scale in (None, optim.LossScale(start=1.0)):
        p = parameter(STARTS, backend, "w")
        precision = optim.Precision(slots="float8_e5m2")
        optimizer = optim.create(
            kind, [p], lr=0.1, precision=precision, nonfinite=policy, loss_scale=scale
        )
        for _ in range(3):
            optimizer.step({p.raw: raw(SLOPES, backend)})
        found.append(contents(optimizer))
    assert any(found[0]["m.float8_e5m2.0"])
    assert_same(found[0], {key: found[1][key] for key in found[0]})


@pytest.mark.parametrize("kind", ["adam", "lamb"])
def test_seeds_round_slots_otherwise(backend: Backend, kind: str) -> None:
    def codes(seed: int, resumed: bool = False) -> bytes:
        p = parameter(STARTS, backend, "w")
        precision = optim.Precision(slots="int8", seed=seed)
        optimizer = optim.create(kind, [p], lr=0.1, precision=precision)
        for _ in range(3):
            optimizer.step({p.raw: raw(SLOPES, backend)})
            optimizer = copy.copy(optimizer) if resumed else optimizer
        return b"".join(x.tobytes() for x in contents(optimizer).values())

    assert codes(0) == codes(0)
    assert len({codes(seed) for seed in (0, 1, 2**23 - 1)}) == 3
    assert codes(1, resumed=True) == codes(1)


@pytest.mark.parametrize("slots", SLOTS)
def test_a_state_goes_back_and_forth(backend: Backend, slots: str) -> None:
    optimizer, plain = coded(backend, slots), coded(backend, None)
    before = contents(optimizer)
    plain.load_state_dict(optimizer.state_dict(decoded=True))
    optimizer.load_state_dict(plain.state_dict(), encode=True)
    assert_same(contents(optimizer), before)


def test_a_state_kept_otherwise_is_refused(backend: Backend) -> None:
    narrow, wide, other = (coded(backend, slots) for slots in ("int8", None, "float8_e5m2"))
    before = contents(narrow)
    with pytest.raises(StateDictError, match=r"by load_state_dict\(state, encode=True\)") as error:
        narrow.load_state_dict(wide.state_dict())
    assert "'m.int8.0': missing, expected shape (612,) and dtype uint8" in str(error.value)
    with pytest.raises(StateDictError, match=r"take state_dict\(decoded=True\)"):
        wide.load_state_dict(narrow.state_dict())
    with pytest.raises(StateDictError, match=r"take state_dict\(decoded=True\)"):
        narrow.load_state_dict(other.state_dict())
    assert_same(contents(narrow), before)


def test_a_checkpoint_holds_the_bytes(backend: Backend, tmp_path: Path) -> None:
    optimizer, twin, wide = coded(backend), coded(backend), coded(backend, None)
    path = tmp_path / "adam.safetensors"
    step(optimizer)
    checkpoint.save(path, optimizer=optimizer)
    checkpoint.load(path, optimizer=twin)
    assert_same(twin_state := state_of(twin), state_of(optimizer))
    assert twin_state["m.int8.0"].dtype == np.uint8
    with pytest.raises(CheckpointMismatchError, match=r"m\.int8: unexpected"):
        checkpoint.load(path, optimizer=wide)


def state_of(optimizer: Any) -> dict[str, Any]:
    return {key: x for key, x in contents(optimizer).items() if key[:2] != "p."}


def test_a_step_that_is_skipped_changes_no_byte(backend: Backend) -> None:
    class Safe(optim.Adam[Any]):
        @classmethod
        def rule(cls, config: Any) -> optim.Rule:
            return optim.finite_only(optim.Adam.rule(config))

    for dtype, how in (("float32", "nearest"), ("bfloat16", "master"), ("float16", "kahan")):
        p = parameter(STARTS, backend, dtype=dtype)
        optimizer = Safe([p], lr=1e-3, precision=precise(how, slots="int8"))
        for _ in range(4):
            optimizer.step({p.raw: raw(SLOPES, backend, dtype)})
        before = contents(optimizer)
        step(optimizer, float("nan"))
        after = contents(optimizer)
        for each in (before, after):
            del each["t.0"]
        assert_same(after, before)


def test_copies_of_parameters_and_what_has_a_dtype_stay_numbers(backend: Backend) -> None:
    precision = optim.Precision(slots="int8")
    p = parameter(STARTS, backend)
    names = set(optim.ASGD([p], lr=0.1, precision=precision).state_dict())
    assert names == {"average.0", "rate.0", "t.0"}
    adam = optim.SGD([p], lr=0.1, momentum=0.9, state_dtype="float32", precision=precision)
    assert set(adam.state_dict()) == {"velocity.0", "t.0"}
    master = parameter(STARTS, backend, dtype="bfloat16")
    both = optim.Adam([master], lr=0.1, precision=precise("master", slots="int8"))
    assert {key: x.dtype.name for key, x in both.state_dict().items()} == {
        "m.int8.0": "uint8",
        "v.int8.0": "uint8",
        "master.0": "float32",
        "t.0": "int64",
    }


def strayed(backend: Backend, slot: str, config: Any, by: float) -> tuple[float, float]:
    """How far a slot in int8 is from float32's after the gradients' mean moved and their size fell
    by a factor: as a share of its norm, and in the mean of all elements' ratios."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(2, 512))
    precisions = precise("nearest", slots="int8"), precise("nearest")
    pair = [(parameter(np.zeros(512), backend), each) for each in precisions]
    runs = [(p, optim.create(config, [p], precision=each)) for p, each in pair]
    for t in range(500):
        g = raw((means[t // 250] + rng.normal(size=512)) * by ** (t // 250), backend)
        for p, optimizer in runs:
            optimizer.step({p.raw: g})
    x, y = (
        backend.to_numpy(optimizer.state_dict(decoded=True)[f"{slot}.0"]).astype(np.float64)
        for _, optimizer in runs
    )
    return float(np.linalg.norm(x - y) / np.linalg.norm(y)), float(abs((x / y).mean() - 1))


@pytest.mark.parametrize(("decay", "by"), [(0.99, 1.0), (0.999, 1.0), (0.9999, 1.0), (0.99, 0.1)])
def test_averages_with_a_long_memory_follow(backend: Backend, decay: float, by: float) -> None:
    """Rounded to nearest, v of 0.999 was a third off, and all of it to one side."""
    error, bias = strayed(backend, "v", optim.AdamConfig(betas=(0.9, decay)), by)
    assert 0.01 < error < 0.12
    assert bias < 0.02


def test_slow_averages_follow_and_a_dtype_keeps_them_exact(backend: Backend) -> None:
    """What `Precision.slots` states."""
    assert strayed(backend, "m", optim.AdamConfig(), 1.0)[0] < 0.06
    assert strayed(backend, "slow", optim.AdEMAMixConfig(), 1.0)[0] < 0.25
    wide = optim.AdamConfig(v_dtype="float32")
    assert strayed(backend, "v", wide, 1.0)[0] == 0
    # m, which stays coded, moves nothing that the slow one is made of.
    assert strayed(backend, "slow", optim.AdEMAMixConfig(slow_dtype="float32"), 1.0)[0] == 0


def test_an_explanation_counts_the_bytes(backend: Backend) -> None:
    p = parameter(np.ones((300, 400)), backend, "w", "bfloat16")
    precision = precise("master", slots="int8")
    explained = optim.Adam([p], lr=0.1, precision=precision).explain()
    (row,) = explained.parameters
    codes = 300 * 400 + 4 * 469
    expected = [("m", "int8", codes), ("v", "int8", codes), ("master", "float32", 480_000)]
    assert [(slot.name, slot.dtype, slot.nbytes) for slot in row.slots] == expected
    (kernel,) = explained.kernels
    assert (kernel.name, kernel.nbytes) == ("adam", 300 * 400 * (2 + 2 + 2 + 2 + 2 + 8))


def test_clipping_goes_with_it(backend: Backend) -> None:
    """By way of totals over all gradients, with some parameters left out."""
    ps = [parameter(np.ones(size), backend) for size in (300, 7, 1)]
    narrow, wide = (
        optim.Adam(ps, lr=0.01, max_norm=1.0, precision=optim.Precision(slots=slots))
        for slots in ("int8", None)
    )
    moved: list[list[HostArray]] = []
    for optimizer in (narrow, wide):
        for p in ps:
            backend.assign(p.raw, raw(np.ones(p.shape), backend))
        for t in range(5):
            chosen = ps if t % 2 else ps[:2]
            optimizer.step({p.raw: raw(np.linspace(1, 9, p.size), backend) for p in chosen})
        moved.append([p.numpy() - 1 for p in ps])
    for a, b in zip(*moved, strict=True):
        assert (np.abs(a - b) <= 0.1 * np.abs(b)).all()


def test_digits_are_read_as_well() -> None:
    sklearn = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    inputs, labels = sklearn.load_digits(return_X_y=True)
    inputs = (inputs / 16).astype(np.float32)

    def accuracy(precision: optim.Precision, seed: int, dtype: str = "float32") -> float:
        backend = Autodiff(born.get_backend("numpy", seed=seed))
        order = np.random.default_rng(seed).permutation(len(inputs))
        train, test = order[:1300], order[1300:]
        model = nn.Sequential(
            nn.Linear(64, 64, backend, dtype=dtype),
            nn.ReLU(),
            nn.Linear(64, 10, backend, dtype=dtype),
        )
        optimizer = optim.Adam(model, lr=5e-3, precision=precision)
        for t in range(200):
            chosen = train[np.arange(64 * t, 64 * t + 64) % len(train)]
            with backend.tape:
                logits = model(born.tensor(inputs[chosen], backend, dtype)).astype("float32")
                loss = nn.cross_entropy(logits, born.tensor(labels[chosen], backend))
            optimizer.step(backward(loss))
        found = model(born.tensor(inputs[test], backend, dtype)).numpy().argmax(axis=1)
        return 100 * float((found == labels[test]).mean())

    seeds = range(4)
    expected = np.mean([accuracy(optim.Precision(), seed) for seed in seeds])
    assert expected > 96
    for slots in ("int8", "float8_e4m3fn"):
        precision = optim.Precision(slots=slots)
        assert np.mean([accuracy(precision, seed) for seed in seeds]) > expected - 0.5
    narrow = precise("master", slots="int8")
    assert np.mean([accuracy(narrow, seed, "bfloat16") for seed in seeds]) > expected - 0.5


# -- every optimizer ---------------------------------------------------------------------------

DRAWN = np.random.default_rng(7)
INPUTS = DRAWN.normal(size=(256, 12)).astype(np.float32)
LABELS = np.argmax(INPUTS @ DRAWN.normal(size=(12, 5)), axis=1)
STEPS = 40


@cache
def losses(name: str, precision: optim.Precision, dtype: str = "float32") -> tuple[float, float]:
    """The loss of a small network before and after training by an optimizer."""
    backend = born.get_backend("numpy", seed=3)
    recording = Autodiff(backend)
    model = nn.Sequential(
        nn.Linear(12, 16, recording, dtype=dtype),
        nn.Tanh(),
        nn.Linear(16, 5, recording, dtype=dtype),
    )
    kind = OPTIMIZERS[name]
    rates = {"asgd": 0.3, "sgd": 0.3, "lamb": 0.02, "lion": 0.01, "signum": 0.01, "radam": 0.03}
    rates |= {"adam": 0.01, "adamw": 0.01, "adamax": 0.01, "ademamix": 0.01, "adan": 0.01}
    fields = {"lr": rates[name]} if name in rates else {}
    optimizer = kind(model, kind.config_type(**fields), precision=precision)
    found: list[float] = []
    for t in range(STEPS):
        chosen = slice(64 * (t % 4), 64 * (t % 4) + 64)
        with recording.tape:
            logits = model(born.tensor(INPUTS[chosen], recording, dtype)).astype("float32")
            loss = nn.cross_entropy(logits, born.tensor(LABELS[chosen], recording))
        optimizer.step(backward(loss))
        found.append(loss.item())
    return found[0], float(np.mean(found[-4:]))


every_optimizer = pytest.mark.parametrize("name", optim.names())


@every_optimizer
@pytest.mark.parametrize("slots", SLOTS)
def test_state_in_one_byte_trains_as_well(name: str, slots: Any) -> None:
    first, expected = losses(name, optim.Precision())
    _, last = losses(name, optim.Precision(slots=slots))
    gained = first - expected
    assert gained > 0.05
    assert abs(last - expected) <= (0.3 if slots == "float8_e5m2" else 0.1) * gained


@every_optimizer
@halves
@pytest.mark.parametrize("how", ["stochastic", *KEPT])
def test_parameters_of_16_bits_train_as_well(name: str, dtype: str, how: str) -> None:
    first, expected = losses(name, optim.Precision())
    _, last = losses(name, precise(how), dtype)
    assert abs(last - expected) <= 0.1 * (first - expected)
