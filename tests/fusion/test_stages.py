"""Rules of several stages: right, and of the same bits however they are run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

import born
from born import nn, optim
from born.backend import Backend
from born.backend.plain_update import PlainUpdate
from born.backend.update import UpdateKernel
from born.dtypes import as_dtype
from born.errors import RuleError
from born.fusion import (
    Program,
    abs,
    all_finite,
    isfinite,
    matmul,
    max,
    maximum,
    mean,
    norm,
    orthogonalize,
    sqrt,
    sum,
    total,
    where,
)
from born.optim import Slot
from born.raw import HostArray, RawTensor
from born_numpy import NumpyBackend
from tests.fusion.kernels import assert_same_bits, numba_backend


class PlainBackend(NumpyBackend):
    """NumPy with updates instruction by instruction: what other kernels are compared with."""

    @override
    def compile_update(self, program: Program, dtypes: tuple[np.dtype[Any], ...]) -> UpdateKernel:
        return PlainUpdate(self, program, dtypes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(optim.Config):
    """What the rules here take."""

    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-3
    decay: float = 0.1
    d0: float = 1e-3


@optim.rule
def lamb(
    p: Any, g: Any, m: Any, v: Any, *, lr: Any, beta1: Any, beta2: Any, eps: Any, decay: Any, t: Any
) -> Any:
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    u = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps) + decay * p
    ratio = where((norm(p) > 0) & (norm(u) > 0), norm(p) / norm(u), 1.0)
    return p - lr * ratio * u, m, v


@optim.rule(row=Slot("rows"), col=Slot("columns"))
def adafactor(p: Any, g: Any, row: Any, col: Any, v: Any, *, lr: Any, beta2: Any) -> Any:
    if p.ndim < 2:
        v = beta2 * v + (1 - beta2) * g * g
        u = g / (sqrt(v) + 1e-3)
    else:
        row = beta2 * row + (1 - beta2) * mean(g * g, axis=-1)
        col = beta2 * col + (1 - beta2) * mean(g * g, axis=-2)
        u = g / (sqrt(row * col / mean(row, axis=-2)) + 1e-3)
    return p - lr * u / maximum(1.0, sqrt(mean(u * u))), row, col, v


@optim.rule(p0=Slot(start="p"), d=Slot("group", start="d0"))
def prodigy(p: Any, g: Any, s: Any, p0: Any, d: Any, *, lr: Any, beta2: Any) -> Any:
    s = beta2 * s + (1 - beta2) * d * g
    estimate = total(g * (p0 - p)) / (total(abs(s)) + 1e-3)
    larger = maximum(d, estimate)
    return p - lr * larger * g, s, p0, larger


@optim.rule
def muon(p: Any, g: Any, m: Any, *, lr: Any, beta1: Any) -> Any:
    m = beta1 * m + (1 - beta1) * g
    return p - lr * sqrt(maximum(1.0, p.rows / p.columns)) * orthogonalize(m), m


@optim.rule(skipped=Slot("group"))
def finite_only(p: Any, g: Any, m: Any, skipped: Any, *, lr: Any, beta1: Any, t: Any) -> Any:
    finite = all_finite(g)
    moved = beta1 * m + (1 - beta1) * g
    step = moved / (1 - beta1 ** (t - skipped))
    skips = skipped + where(finite, 0.0, 1.0)
    return where(finite, p - lr * step, p), where(finite, moved, m), skips


@optim.rule(row=Slot("rows"), col=Slot("columns", start=1.0), top=Slot("tensor"))
def everything(p: Any, g: Any, row: Any, col: Any, top: Any, *, lr: Any, t: Any) -> Any:
    along = norm(g, axis=-1) + max(p, axis=-1)
    down = sum(g * p, axis=-2) - max(g, axis=-2) + col
    a = g / (along + 3.0) * p + down
    top = 0.9 * top + mean(a) + sum(along) / p.size + max(down) + mean(row)
    b = where(a > mean(a, axis=-2), a, along)
    b = where(isfinite(b), b, 0.0) / (1.0 + abs(top))
    return p - lr * b / t, mean(b, axis=-1), sum(b, axis=-2), top


@optim.rule
def sign_of_momentum(p: Any, g: Any, m: Any, *, lr: Any, beta1: Any) -> Any:
    m = where(isfinite(g), beta1 * m + (1 - beta1) * g, m)
    return p - lr * mean(abs(m)) * where(m > 0, 1.0, -1.0) / (max(abs(m)) + sqrt(norm(p))), m


RULES: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        lamb, adafactor, prodigy, muon, finite_only, everything, sign_of_momentum,
    )
}  # fmt: skip

SHAPES = {
    "lamb": [(3, 5), (7,), (), (300, 70), (40_000,), (0, 4)],
    "adafactor": [(3, 5), (7,), (2, 3, 4), (300, 70), (65, 1), (20_000, 3), (3, 20_000), (4, 0)],
    "muon": [(3, 5), (70, 30), (2, 3, 4), (0, 4)],
    "everything": [(3, 5), (7,), (2, 3, 4), (65, 1), (20_000, 3), (3, 20_000), (0, 4), (4, 0)],
}
OTHERS = [(3, 5), (7,), (), (40_000,), (0, 4)]


def optimizer_of(function: Callable[..., Any]) -> type[optim.Optimizer[Backend, Config]]:
    class Made(optim.Optimizer[Any, Config]):
        config_type = Config
        formula = function

    return Made


def drawn(shapes: Sequence[Any], dtype: str, seed: int, special: bool = False) -> list[HostArray]:
    rng = np.random.default_rng(seed)
    arrays: list[HostArray] = [
        np.array(rng.normal(size=tuple(shape))).astype(as_dtype(dtype)) for shape in shapes
    ]
    if special:
        for array in arrays:
            array[rng.random(array.shape) < 0.01] = np.nan
    return arrays


def trained(
    function: Callable[..., Any],
    shapes: Sequence[Any],
    dtype: str,
    backend: Backend,
    steps: int = 3,
    special: bool = False,
    **options: Any,
) -> dict[str, HostArray]:
    """Everything that some steps leave behind."""
    parameters = [nn.Parameter(born.tensor(x, backend)) for x in drawn(shapes, dtype, 0)]
    optimizer = optimizer_of(function)(parameters, Config())
    for step in range(1, steps + 1):
        slopes = drawn(shapes, dtype, step, special and step == 2)
        pairs = zip(parameters, slopes, strict=True)
        optimizer.step({p.raw: born.tensor(g, backend).raw for p, g in pairs}, **options)
    state = {key: backend.to_numpy(x) for key, x in optimizer.state_dict().items()}
    return state | {f"p.{i}": p.numpy() for i, p in enumerate(parameters)}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("options", [{}, {"scale": 0.5, "max_norm": 0.7}], ids=["", "clipped"])
def test_every_way_gives_the_same_bits(
    name: str, dtype: str, options: dict[str, Any], cpu_backend: Backend
) -> None:
    function, shapes = RULES[name], SHAPES.get(name, OTHERS)
    special = name in ("finite_only", "sign_of_momentum")
    expected = trained(function, shapes, dtype, PlainBackend(), special=special, **options)
    got = trained(function, shapes, dtype, cpu_backend, special=special, **options)
    assert got.keys() == expected.keys()
    for key, array in expected.items():
        assert_same_bits(got[key], array, f"{name} {key}")


# A loop takes seconds to compile, so only where the dtypes matter.
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["lamb", "everything"])
def test_compiled_loops_give_the_same_bits(name: str, dtype: str) -> None:
    numba, shapes = numba_backend(), SHAPES[name]
    expected = trained(RULES[name], shapes, dtype, NumpyBackend())
    got = trained(RULES[name], shapes, dtype, numba)
    for key, array in expected.items():
        assert_same_bits(got[key], array, f"{name} {key}")


@pytest.mark.parametrize("options", [{}, {"max_norm": 0.7}], ids=["", "clipped"])
def test_threads_that_take_whole_tensors_give_the_same_bits(options: dict[str, Any]) -> None:
    # Those that several threads share lie between those that one thread takes.
    shapes = [(17_000,), (600_000,), (0,), (), *8 * [(70_000,)], (530_000,), (5, 7)]
    numba = numba_backend()
    expected = trained(lamb, shapes, "float32", NumpyBackend(), special=True, **options)
    got = trained(lamb, shapes, "float32", numba, special=True, **options)
    for key, array in expected.items():
        assert_same_bits(got[key], array, key)


# -- against the formulas, in double -----------------------------------------------------------


def check(function: Callable[..., Any], shapes: Sequence[Any], update: Any, **options: Any) -> None:
    """Some steps follow `update(state, p, g, t) -> p`, to a few units in the last place."""
    got = trained(function, shapes, "float64", NumpyBackend(), 5, **options)
    values = drawn(shapes, "float64", 0)
    state: dict[Any, Any] = {"start": [x.copy() for x in values]}
    for t in range(1, 6):
        slopes = drawn(shapes, "float64", t)
        if options:
            length = math.sqrt(math.fsum(float((g * g).sum()) for g in slopes))
            slopes = [g * options["max_norm"] / np.maximum(length, 0.7) for g in slopes]
        values = update(state, values, slopes, t)
    for i, value in enumerate(values):
        np.testing.assert_allclose(got[f"p.{i}"], value, rtol=1e-13, atol=1e-14)


def test_lamb_is_that_of_the_paper() -> None:
    def update(state: Any, values: Any, slopes: Any, t: int) -> Any:
        new: list[Any] = []
        for i, (p, g) in enumerate(zip(values, slopes, strict=True)):
            m, v = state.get(i, (0.0, 0.0))
            m, v = 0.9 * m + (1 - 0.9) * g, 0.99 * v + (1 - 0.99) * g * g
            state[i] = m, v
            u = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.99**t)) + 1e-3) + 0.1 * p
            new.append(p - 0.1 * np.sqrt((p * p).sum() / (u * u).sum()) * u)
        return new

    check(lamb, [(3, 5), (), (300, 70)], update)
    check(lamb, [(3, 5), (), (300, 70)], update, max_norm=0.7)


def test_adafactor_is_that_of_the_paper() -> None:
    def update(state: Any, values: Any, slopes: Any, t: int) -> Any:
        new: list[Any] = []
        for i, (p, g) in enumerate(zip(values, slopes, strict=True)):
            if p.ndim < 2:
                state[i] = 0.99 * state.get(i, 0.0) + (1 - 0.99) * g * g
                u = g / (np.sqrt(state[i]) + 1e-3)
            else:
                row, col = state.get(i, (0.0, 0.0))
                row = 0.99 * row + (1 - 0.99) * (g * g).mean(-1, keepdims=True)
                col = 0.99 * col + (1 - 0.99) * (g * g).mean(-2, keepdims=True)
                state[i] = row, col
                u = g / (np.sqrt(row * col / row.mean(-2, keepdims=True)) + 1e-3)
            new.append(p - 0.1 * u / np.maximum(1.0, np.sqrt((u * u).mean())))
        return new

    check(adafactor, [(3, 5), (7,), (2, 3, 4), (300, 70)], update)


def test_prodigy_estimates_one_distance_for_all() -> None:
    def update(state: Any, values: Any, slopes: Any, t: int) -> Any:
        d, s = state.get("d", 1e-3), state.get("s", [0.0] * len(values))
        s = [0.99 * each + (1 - 0.99) * d * g for each, g in zip(s, slopes, strict=True)]
        pairs = zip(slopes, state["start"], values, strict=True)
        above = np.sum([(g * (p0 - p)).sum() for g, p0, p in pairs])
        below = np.sum([np.abs(each).sum() for each in s])
        d = np.maximum(d, above / (below + 1e-3))
        state["d"], state["s"] = d, s
        return [p - 0.1 * d * g for p, g in zip(values, slopes, strict=True)]

    check(prodigy, [(3, 5), (7,), (40_000,)], update)


def newton_schulz(x: Any) -> Any:
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / np.maximum(np.sqrt((x * x).sum()), 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
    return x.T if tall else x


def test_muon_orthogonalizes() -> None:
    def update(state: Any, values: Any, slopes: Any, t: int) -> Any:
        new: list[Any] = []
        for i, (p, g) in enumerate(zip(values, slopes, strict=True)):
            state[i] = 0.9 * state.get(i, 0.0) + (1 - 0.9) * g
            longer = np.sqrt(np.maximum(1.0, p.shape[0] / p.shape[1]))
            new.append(p - 0.1 * longer * newton_schulz(state[i]))
        return new

    check(muon, [(3, 5), (70, 30)], update)


def test_functions_of_numbers_and_of_tensors() -> None:
    x = born.tensor(np.arange(6.0).reshape(2, 3), NumpyBackend())
    assert (sum(2.0), mean(2.0), max(2.0), norm(-2.0), total(2.0), matmul(2.0, 3.0)) == (
        2.0, 2.0, 2.0, 2.0, 2.0, 6.0,
    )  # fmt: skip
    assert all_finite(1.0)
    np.testing.assert_array_equal(mean(x, axis=-1).numpy(), [[1.0], [4.0]])
    np.testing.assert_array_equal(max(x, axis=-2).numpy(), [[3.0, 4.0, 5.0]])
    assert total(x).item() == sum(x).item() == 15.0
    np.testing.assert_allclose(
        orthogonalize(x).numpy(), newton_schulz(np.arange(6.0).reshape(2, 3)), rtol=1e-12
    )


def test_sums_of_squares_and_products_do_not_overflow() -> None:
    @optim.rule
    def unit(p: Any, g: Any, *, lr: Any) -> Any:
        return (p - lr * g / norm(g) - lr * g / sqrt(sum(g * g)),)

    backend: Backend = born.get_backend("numpy")
    parameter = nn.Parameter(born.zeros((2,), backend))
    optimizer = optimizer_of(unit)([parameter], Config(lr=1.0))
    optimizer.step({parameter.raw: born.tensor([3e30, 4e30], parameter.backend, "float32").raw})
    np.testing.assert_allclose(parameter.numpy(), [-1.2, -1.6], rtol=1e-6)


# -- slots ------------------------------------------------------------------------------------


def test_slots_have_the_shape_of_their_rank_and_their_start(cpu_backend: Backend) -> None:
    values = {"p": drawn([(2, 3, 4)], "bfloat16", 0)[0]}
    p = nn.Parameter(born.tensor(values["p"], cpu_backend))
    made = optimizer_of(everything)([p], Config()).state_dict()
    shapes = {key: (x.shape, x.dtype.name) for key, x in made.items()}
    assert shapes == {
        "row.0": ((2, 3), "float32"),
        "col.0": ((2, 4), "float32"),
        "top.0": ((), "float64"),
        "t.0": ((), "int64"),
    }
    assert (cpu_backend.to_numpy(made["col.0"]) == 1.0).all()
    made = optimizer_of(prodigy)([p, nn.Parameter(p.tensor * 1.0)], Config(d0=0.5)).state_dict()
    assert [key for key in made if key.startswith("d")] == ["d.0"]
    assert made["d.0"].item() == 0.5
    np.testing.assert_array_equal(cpu_backend.to_numpy(made["p0.0"]), p.numpy().astype(np.float32))


@pytest.mark.parametrize("name", ["prodigy", "everything"])
def test_state_resumes_to_the_bit(name: str, cpu_backend: Backend) -> None:
    shapes = SHAPES.get(name, OTHERS)
    made = optimizer_of(RULES[name])

    def parameters() -> list[Any]:
        return [nn.Parameter(born.tensor(x, cpu_backend)) for x in drawn(shapes, "float32", 0)]

    def step(optimizer: Any, number: int) -> None:
        pairs = zip(optimizer.parameters, drawn(shapes, "float32", number), strict=True)
        optimizer.step({p.raw: born.tensor(g, cpu_backend).raw for p, g in pairs})

    first = made(parameters(), Config())
    for number in (1, 2):
        step(first, number)
    second = made([nn.Parameter(p.tensor * 1.0) for p in first.parameters], Config(d0=7.0))
    second.load_state_dict(first.state_dict())
    for optimizer in (first, second):
        step(optimizer, 3)
    for key, x in first.state_dict().items():
        assert_same_bits(
            cpu_backend.to_numpy(second.state_dict()[key]), cpu_backend.to_numpy(x), key
        )


def test_a_step_that_is_not_finite_changes_nothing_and_does_not_count(
    cpu_backend: Backend,
) -> None:
    def after(slopes: list[float]) -> dict[str, HostArray]:
        p, q = (nn.Parameter(born.tensor([1.0, 2.0], cpu_backend)) for _ in range(2))
        optimizer = optimizer_of(finite_only)([p, q], Config())
        for slope in slopes:
            g = born.tensor([0.5, slope], cpu_backend, "float32").raw
            optimizer.step({p.raw: g, q.raw: born.ones((2,), cpu_backend).raw})
        state = {key: cpu_backend.to_numpy(x) for key, x in optimizer.state_dict().items()}
        return {"p": p.numpy(), "q": q.numpy(), "m": state["m.0"], "skips": state["skipped.0"]}

    plain, skipping = after([1.0, 2.0]), after([1.0, math.nan, math.inf, 2.0])
    assert skipping.pop("skips") == 2
    for key, array in skipping.items():
        assert_same_bits(array, plain[key], key)


def test_each_parameter_has_its_own_count_and_may_miss_a_gradient(cpu_backend: Backend) -> None:
    shapes = [(3, 5), (7,), (4, 4)]
    got = trained(lamb, shapes[:1], "float64", cpu_backend, 2)
    parameters = [nn.Parameter(born.tensor(x, cpu_backend)) for x in drawn(shapes, "float64", 0)]
    optimizer = optimizer_of(lamb)(parameters, Config())
    parameters[1].requires_grad = False
    still = parameters[1].numpy().copy()
    one = {p.raw: born.ones(p.shape, cpu_backend, dtype="float64").raw for p in parameters}
    del one[parameters[0].raw]
    optimizer.step(one)  # the first joins late
    for step in (1, 2):
        first = born.tensor(drawn(shapes[:1], "float64", step)[0], cpu_backend).raw
        optimizer.step({**one, parameters[0].raw: first})
    np.testing.assert_array_equal(parameters[1].numpy(), still)
    assert_same_bits(parameters[0].numpy(), got["p.0"])


def test_parameters_that_are_not_contiguous(cpu_backend: Backend) -> None:
    for function in (lamb, everything):
        shapes = [(6, 4), (3, 6, 4)]
        apart = [
            nn.Parameter(born.Tensor(RawTensor(x.copy().swapaxes(0, -1)), cpu_backend))
            for x in drawn(shapes, "float64", 0)
        ]
        whole = [nn.Parameter(born.tensor(p.numpy().copy(), cpu_backend)) for p in apart]
        for parameters in (apart, whole):
            optimizer = optimizer_of(function)(parameters, Config())
            optimizer.step({p.raw: (p.tensor * 2.0).raw for p in parameters}, max_norm=1.0)
        for p, q in zip(apart, whole, strict=True):
            assert_same_bits(np.ascontiguousarray(p.numpy()), q.numpy(), function.__name__)


def test_rules_may_be_chosen_for_each_parameter(cpu_backend: Backend) -> None:
    class Either(optim.Optimizer[Any, Config]):
        config_type = Config
        formula = lamb

        @classmethod
        @override
        def rule_for(cls, config: Config, parameter: Any) -> optim.Rule:
            return optim.Rule.from_config(muon if len(parameter.shape) == 2 else lamb, config)

    shapes = [(3, 5), (7,)]
    parameters = [nn.Parameter(born.tensor(x, cpu_backend)) for x in drawn(shapes, "float64", 0)]
    optimizer = Either(parameters, Config())
    assert list(optimizer.state_dict()) == ["m.0", "m.1", "v.1", "t.0", "t.1"]
    pairs = zip(parameters, drawn(shapes, "float64", 1), strict=True)
    optimizer.step({p.raw: born.tensor(g, cpu_backend).raw for p, g in pairs}, max_norm=1.0)
    optimizer.lr = 0.5
    assert len(optimizer.kernels) == 2


# -- errors, and what is shown -----------------------------------------------------------------


def _branching(p: Any, g: Any, *, lr: Any) -> Any:
    return (p - lr * g if norm(g) > 1 else p,)


def _matrix_of_vector(p: Any, g: Any, *, lr: Any) -> Any:
    return (p - lr * orthogonalize(g),)


def _rows_of_scalar(p: Any, g: Any, *, lr: Any) -> Any:
    return (p - lr * g / norm(g, axis=-1),)


def _wide(p: Any, g: Any, d: Any, *, lr: Any) -> Any:
    return p - d * g, norm(g)


def _wide_enough(p: Any, g: Any, d: Any, *, lr: Any) -> Any:
    return p - lr * d * g, d


def _unknown_axis(p: Any, g: Any, *, lr: Any) -> Any:
    return (p - lr * sum(g, axis=0),)


def _nothing_left(p: Any, g: Any, *, lr: Any) -> Any:
    return (p - lr * sum(norm(g)) * g,)


def _total_of_little(p: Any, g: Any, *, lr: Any) -> Any:
    return (p - lr * total(norm(g)) * g,)


def _too_early(p: Any, g: Any, *, lr: Any) -> Any:
    if p.ndim > 4:
        ratio = norm(g)
    u = ratio * g  # pyright: ignore[reportPossiblyUnboundVariable]  # the mistake
    return (p - lr * u,)


def _too_early_for_vectors(p: Any, g: Any, *, lr: Any) -> Any:
    if p.ndim > 1:
        length = norm(g)
    return (p - lr * g / length,)  # pyright: ignore[reportPossiblyUnboundVariable]  # the mistake


BAD: tuple[tuple[Callable[..., Any], dict[str, Slot], str], ...] = (
    (_branching, {}, r"line \d+ \(.*norm\(g\) > 1.*\).*cannot branch on a value"),
    (_wide, {"d": Slot("group")}, r"slot 'd' of rank group, got one of rank tensor; .* total"),
    (_unknown_axis, {}, r"line \d+ .*sum\(x, axis=0\) has no such axis"),
    (_nothing_left, {}, r"line \d+ .*nothing to reduce in a value of rank tensor"),
    (
        _too_early,
        {},
        r"line \d+ \(u = ratio \* g.*\): .* before it reads it, got .*'ratio'.* 2 axes",
    ),
    (_total_of_little, {}, r"line \d+ .*total adds up elements, not a value of rank tensor"),
)


@pytest.mark.parametrize("case", BAD, ids=lambda case: case[0].__name__)
def test_mistakes_are_named_by_their_line(case: Any) -> None:
    function, kinds, message = case
    with pytest.raises(RuleError, match=message):
        optim.rule(**kinds)(function)


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        (_matrix_of_vector, (3,), r"parameter 1 \('odd'\): .*line \d+ .*orthogonalize needs a mat"),
        (_too_early_for_vectors, (3,), r"parameter 1 \('odd'\): .*line \d+ .*'length'.* 1 axis"),
        (_rows_of_scalar, (), r"parameter 1 \('odd'\): .*line \d+ .*needs rows and columns, and"),
        (everything, (), r"parameter 1 \('odd'\): .*line \d+ .*the slot 'row' of rank rows needs"),
    ],
)
def test_parameters_that_do_not_suit_a_rule_are_named(
    function: Any, shape: Any, message: str
) -> None:
    backend: Backend = born.get_backend("numpy")
    fine = nn.Parameter(born.zeros((2, 3), backend), "fine")
    odd = nn.Parameter(born.zeros(shape, backend), "odd")
    with pytest.raises(RuleError, match=message):
        optimizer_of(function)([fine, odd], Config())


def test_slots_are_checked() -> None:
    with pytest.raises(RuleError, match="expected a slot's rank to be one of element, rows"):
        Slot("row")
    with pytest.raises(RuleError, match="copy of the parameter to be of rank element"):
        Slot("rows", start="p")
    with pytest.raises(RuleError, match="expected kinds of the slots m, got one of 'n'"):
        optim.rule(n=Slot("rows"))(muon)
    unknown = optim.rule(d=Slot("group", start="e0"))(_wide_enough)
    with pytest.raises(RuleError, match=r"expected its start to be .* a field of Config, got 'e0'"):
        optim.Rule.from_config(unknown, Config())


def test_source_and_program_show_stages(cpu_backend: Backend) -> None:
    p = nn.Parameter(born.zeros((2, 3), cpu_backend))
    (kernel,) = optimizer_of(lamb)([p], Config()).kernels
    assert "r14 = sum(p, p)" in str(kernel.program)
    assert "# stage 1\n" in kernel.source
    assert "# stage 2, tensor: r21 = div(r15, r18)" in kernel.source
    (kernel,) = optimizer_of(prodigy)([p], Config()).kernels
    assert "d <- " in str(kernel.program.group)


# -- rules drawn at random ---------------------------------------------------------------------

STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / (abs(y) + 0.5),
    "where": lambda x, y: where(x > y, x, y),
    "maximum": maximum,
    "sqrt": lambda x, y: sqrt(abs(x)),
    "sum": lambda x, y: sum(x * y) if rank(x) == rank(y) == "element" else x,
    "mean": lambda x, y: mean(x) if rank(x) in ("element", "rows", "columns") else x,
    "norm": lambda x, y: norm(x) if rank(x) == "element" else x,
    "rows": lambda x, y: mean(x, axis=-1) if rank(x) == "element" else x,
    "columns": lambda x, y: sum(x, axis=-2) / 8.0 if rank(x) == "element" else x,
    "most": lambda x, y: max(x, axis=-1) if rank(x) in ("element", "columns") else x,
    "total": lambda x, y: total(x * 0.01) if rank(x) == "element" else x,
}


def rank(x: Any) -> str:
    found: str = x.rank
    return found


@dataclass(frozen=True)
class Drawn:
    """A rule of p, g, a slot of elements and one of the group, as a list of steps."""

    steps: tuple[tuple[str, int, int], ...]
    outputs: tuple[int, int]

    def __call__(self, p: Any, g: Any, m: Any, d: Any, *, lr: float) -> Any:
        values: list[Any] = [p, g, m, d]
        for kind, x, y in self.steps:
            values.append(STEPS[kind](values[-1 - x % len(values)], values[-1 - y % len(values)]))
        for_all = [x for x in values if rank(x) == "group"][-1]
        first, second = (values[-1 - pick % len(values)] for pick in self.outputs)
        return p - lr * first, second, for_all

    @property
    def __name__(self) -> str:
        return "drawn"


NUMBERS = st.integers(0, 9)
DRAWN = st.builds(
    Drawn,
    st.lists(st.tuples(st.sampled_from(sorted(STEPS)), NUMBERS, NUMBERS), max_size=9).map(tuple),
    st.tuples(NUMBERS, NUMBERS),
)


def check_drawn(rule: Drawn, dtype: str, seed: int, backend: Backend) -> None:
    shapes = [(5, 7), (3,), (2, 3, 300)]

    class Made(optim.Optimizer[Any, Config]):
        config_type = Config

        @classmethod
        @override
        def rule(cls, config: Config) -> optim.Rule:
            kinds = {"d": Slot("group", start=1.0)}
            scalars = {"lr": config.lr}
            return optim.Rule(rule, slots=("m", "d"), scalars=scalars, slot_kinds=kinds)

    results: list[dict[str, HostArray]] = []
    for each in (PlainBackend(), backend):
        parameters = [nn.Parameter(born.tensor(x, each)) for x in drawn(shapes, dtype, seed)]
        optimizer = Made(parameters, Config())
        for step in (1, 2):
            pairs = zip(parameters, drawn(shapes, dtype, seed + step), strict=True)
            optimizer.step({p.raw: born.tensor(g, each).raw for p, g in pairs})
        state = {key: each.to_numpy(x) for key, x in optimizer.state_dict().items()}
        results.append(state | {f"p.{i}": p.numpy() for i, p in enumerate(parameters)})
    text = f"{optimizer.kernels[0].program}\n{optimizer.kernels[0].source}"
    for key, array in results[0].items():
        assert_same_bits(results[1][key], array, f"{text}\n{key}")


@given(DRAWN, st.sampled_from(["float32", "float64", "bfloat16"]), NUMBERS)
@settings(max_examples=60)
def test_random_rules_of_several_stages_agree(rule: Drawn, dtype: str, seed: int) -> None:
    check_drawn(rule, dtype, seed, NumpyBackend())
