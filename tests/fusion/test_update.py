"""Update kernels: the same bits from the rule on tensors, op by op, and in every backend."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from born import fusion, optim
from born.backend import Backend
from born.backend.update import compute_dtype
from born.fusion.expression import V
from born.raw import Array, HostArray, RawTensor
from tests.fusion.kernels import (
    Dtypes,
    arrays_of,
    assert_same_bits,
    backend_of,
    evaluate,
    kernel_of,
    run,
    traced,
)
from tests.optim.making import ADAM, CONFIGS, class_for

KERNELS = ("plain", "numpy", "numba", "cupy")
every_kernel = pytest.mark.parametrize("name", KERNELS)
every_host_kernel = pytest.mark.parametrize("name", ["plain", "numpy", "numba"])

# On both sides of what divides them evenly and of a chunk (65,536), and together more than what
# NumPy's kernel takes to several threads (262,144).
SIZES = (0, 1, 7, 1000, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537, 131_073)

STORED: dict[str, tuple[str, str]] = {
    "float32": ("float32", "float32"),
    "float64": ("float64", "float64"),
    "float16": ("float16", "float32"),
    "bfloat16": ("bfloat16", "float32"),
    "bfloat16 alone": ("bfloat16", "bfloat16"),
    "float32 with bfloat16 slots": ("float32", "bfloat16"),
    "float32 with float16 slots": ("float32", "float16"),
    "float32 with float64 slots": ("float32", "float64"),
    "float64 with float32 slots": ("float64", "float32"),
    "float64 with float16 slots": ("float64", "float16"),
}
"""Name -> the dtype of the parameter, and of its slots."""


def _dtypes(parameter: str, slot: str, slots: int) -> Dtypes:
    return (parameter, parameter, *[slot] * slots)


# -- every optimizer -----------------------------------------------------------------------


@every_kernel
@pytest.mark.parametrize("config", CONFIGS, ids=repr)
@pytest.mark.parametrize("stored", STORED)
def test_every_way_gives_the_same_bits(config: optim.Config, stored: str, name: str) -> None:
    rule = class_for(config).rule(config)
    slots = len(rule.slots)
    if slots == 0 and " " in stored:
        stored = stored.split()[0]  # no slots to be of another dtype
    dtypes = _dtypes(*STORED[stored], slots)
    kernel, backend = kernel_of(name, rule.program, dtypes), backend_of(name)
    tensors = [arrays_of(dtypes, size, seed) for seed, size in enumerate(SIZES)]
    for step in range(1, 4):
        scalars = {**rule.scalars, "t": step}
        expected = [evaluate(rule.function, arrays, scalars) for arrays in tensors]
        after = run(kernel, tensors, [scalars] * len(tensors), backend=backend)
        for size, got, wanted in zip(SIZES, after, expected, strict=True):
            for which, (a, b) in enumerate(zip(got, wanted, strict=True)):
                assert_same_bits(a, b, f"step {step}, size {size}, output {which}")
        tensors = [
            [p, arrays_of(dtypes, p.shape, step * 100 + k)[1], *state]
            for k, (p, *state) in enumerate(expected)
        ]


@pytest.mark.parametrize("name", ["numpy", "numba"])
@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float32 with bfloat16 slots"])
def test_several_tiles_and_threads_give_the_same_bits(stored: str, name: str) -> None:
    rule = optim.Adam.rule(ADAM)
    dtypes = _dtypes(*STORED[stored], len(rule.slots))
    kernel = kernel_of(name, rule.program, dtypes)
    # Over the largest tile (262,144), together over what compiled loops take to several
    # threads (1,048,576), and none divided evenly.
    tensors = [arrays_of(dtypes, size, size) for size in (900_001, 5, 262_147)]
    scalars = {**rule.scalars, "t": 3}
    after = run(kernel, tensors, [scalars] * len(tensors))
    for arrays, got in zip(tensors, after, strict=True):
        for a, b in zip(got, evaluate(rule.function, arrays, scalars), strict=True):
            assert_same_bits(a, b)


# -- every operation -----------------------------------------------------------------------


def _arithmetic(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    return p + g * s - a / b, -fusion.abs(g) * 0.1 + a**2, b - s / a


def _products(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    # Slots with slots alone: nothing here lifts the precision to the parameter's.
    return p - a * b, a * b * a, b * b + a


def _choices(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    larger = fusion.maximum(p, fusion.minimum(g, s))
    finite = fusion.where(fusion.isfinite(g), g, 0.0)
    late = fusion.where(t == 1, a, b)
    return fusion.where(g > a, larger, finite), late, fusion.where(p <= g, b, s)


def _signs(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    return p - s * fusion.sign(g) * a, fusion.sign(p) * s + a, fusion.sqrt(b) - fusion.sign(s * g)


def _swapped(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    return a, b, p


def _with_the_gradient(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    return g, p, p * s


def _constants(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    zero: Any = 0
    scalar: Any = s / t
    return p, scalar, zero


def _unchanged(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    return p, a, b


def _one_value_everywhere(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    x = p * s - g
    return x, x, x


def _rounded(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    narrow = fusion.cast(g * s, "bfloat16")
    return (
        p - fusion.cast(narrow + a, "float16") * fusion.cast(s, "float16"),
        fusion.cast(a, "float32") + g - narrow,
        fusion.cast(b, "bfloat16"),
    )


RULES: tuple[Callable[..., Any], ...] = (
    _arithmetic,
    _products,
    _choices,
    _signs,
    _swapped,
    _with_the_gradient,
    _constants,
    _unchanged,
    _one_value_everywhere,
    _rounded,
)

MIXED: tuple[Dtypes, ...] = (
    ("float32",) * 4,
    ("float64",) * 4,
    ("bfloat16", "bfloat16", "float32", "bfloat16"),
    ("float32", "float32", "float64", "float16"),
    ("float64", "float64", "float32", "float16"),
)


@every_kernel
@pytest.mark.parametrize("dtypes", MIXED, ids="-".join)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("special", [False, True], ids=["", "special"])
def test_operations_agree(
    rule: Callable[..., Any], dtypes: Dtypes, name: str, special: bool
) -> None:
    kernel = kernel_of(name, traced(rule, ("a", "b"), "s"), dtypes)
    arrays = arrays_of(dtypes, 1013, 3, special)
    for t in (1, 2):
        scalars: dict[str, float] = {"s": 0.1, "t": t}
        (got,) = run(kernel, [arrays], [scalars], backend=backend_of(name))
        expected = evaluate(rule, arrays, scalars)
        for which, (a, b) in enumerate(zip(got, expected, strict=True)):
            assert_same_bits(a, b, f"t {t}, output {which}")


@every_kernel
@pytest.mark.parametrize("dtypes", MIXED, ids="-".join)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_scaled_program_is_the_rule_with_the_gradient_times_the_scale(
    rule: Callable[..., Any], dtypes: Dtypes, name: str
) -> None:
    def by_hand(p: V, g: V, *slots: V, factor: float, **scalars: Any) -> Any:
        return rule(p, g * factor, *slots, **scalars)

    kernel = kernel_of(name, traced(rule, ("a", "b"), "s").scaled, dtypes)
    arrays = arrays_of(dtypes, 1013, 3, special=True)
    scalars: dict[str, float] = {"s": 0.1, "t": 2}
    (got,) = run(kernel, [arrays], [scalars], scale=0.3, backend=backend_of(name))
    factor = float(compute_dtype([x.dtype for x in arrays]).type(0.3))
    expected = evaluate(by_hand, arrays, {**scalars, "factor": factor})
    for which, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert_same_bits(a, b, f"output {which}")


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_powers_exponentials_and_logarithms_are_of_numpy(name: str) -> None:
    def rule(p: V, g: V, *, s: float, t: int) -> tuple[V]:
        return (fusion.exp(p) - fusion.log(fusion.abs(g)) * fusion.abs(p) ** s,)

    kernel = kernel_of(name, traced(rule, (), "s"), ("float32", "float32"))
    arrays = arrays_of(("float32", "float32"), 1013, 3)
    scalars: dict[str, float] = {"s": 1.5, "t": 1}
    ((got,),) = run(kernel, [arrays], [scalars])
    assert_same_bits(got, evaluate(rule, arrays, scalars)[0])


# -- what is behind the call ---------------------------------------------------------------


def _averaged(p: V, g: V, m: V, *, lr: float, t: int) -> tuple[V, V]:
    m = m + (g - m) / t
    return p - lr * m, m


AVERAGED: Dtypes = ("float32", "float32", "float32")


@every_kernel
def test_each_parameter_has_scalars_of_its_own(name: str) -> None:
    kernel = kernel_of(name, traced(_averaged, ("m",), "lr"), AVERAGED)
    tensors = [arrays_of(AVERAGED, size, size) for size in (5, 70_000, 3, 0, 1)]
    scalars: list[dict[str, float]] = [{"lr": 0.1, "t": t} for t in (1, 9, 4, 1, 9)]
    after = run(kernel, tensors, scalars, backend=backend_of(name))
    for arrays, each, got in zip(tensors, scalars, after, strict=True):
        for a, b in zip(got, evaluate(_averaged, arrays, each), strict=True):
            assert_same_bits(a, b)


@every_kernel
@pytest.mark.parametrize("numbers", [(1,), (2, 0), (2, 1, 0), (1, 2), ()])
def test_some_of_the_bound_tensors_in_any_order(name: str, numbers: tuple[int, ...]) -> None:
    kernel, backend = kernel_of(name, traced(_averaged, ("m",), "lr"), AVERAGED), backend_of(name)
    tensors = [arrays_of(AVERAGED, size, size) for size in (4, 5, 4)]
    raws = [[backend.from_numpy(x) for x in arrays] for arrays in tensors]
    bound = kernel.bind([[p, m] for p, _, m in raws])
    sets = [kernel.program.host(lr=0.1, t=t) for t in (1, 7)]
    chosen = [number % 2 for number in numbers]
    for _ in range(2):  # a plan for some of them is kept; it must not serve for others
        if numbers:
            step = bound.prepare(numbers, [raws[number][1] for number in numbers])
            step.run(sets, sets=chosen)
    for number, arrays in enumerate(tensors):
        p, g, m = arrays
        if number in numbers:
            scalars: dict[str, float] = {"lr": 0.1, "t": (1, 7)[number % 2]}
            for _ in range(2):
                p, m = evaluate(_averaged, [p, g, m], scalars)
        assert_same_bits(backend.to_numpy(raws[number][0]), p)
        assert_same_bits(backend.to_numpy(raws[number][2]), m)


LAYOUTS: dict[str, tuple[Callable[[HostArray], HostArray], Callable[[Array], Array]]] = {
    "transposed": (lambda x: x.T, lambda memory: memory.T),
    "every other": (lambda x: np.repeat(x, 2, -1), lambda memory: memory[..., ::2]),
    "backwards": (lambda x: x[::-1], lambda memory: memory[::-1]),
}
"""Name -> what memory holds for an array laid out so, and the view of it that is the array."""


@every_kernel
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3, 5), (300, 501)], ids=str)
def test_arrays_that_are_not_contiguous(name: str, layout: str, shape: tuple[int, ...]) -> None:
    backend, (spread, seen) = backend_of(name), LAYOUTS[layout]
    _check_laid_out(
        name, shape, lambda x: RawTensor(seen(backend.from_numpy(spread(x)).array)), backend
    )


def _misaligned(x: HostArray) -> RawTensor:
    memory = np.zeros(x.nbytes + 1, np.uint8)
    view = memory[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return RawTensor(view)


@every_host_kernel
@pytest.mark.parametrize("shape", [(3, 5), (300, 501)], ids=str)
def test_arrays_that_are_misaligned(name: str, shape: tuple[int, ...]) -> None:
    _check_laid_out(name, shape, _misaligned, backend_of(name))


def _check_laid_out(
    name: str, shape: tuple[int, ...], lay_out: Callable[[HostArray], RawTensor], backend: Backend
) -> None:
    kernel = kernel_of(name, traced(_averaged, ("m",), "lr"), AVERAGED)
    p, g, m = arrays_of(AVERAGED, shape, 5)
    scalars: dict[str, float] = {"lr": 0.1, "t": 3}
    expected = evaluate(_averaged, [p, g, m], scalars)
    values = kernel.program.host(**scalars)
    for odd in itertools.product((False, True), repeat=3):
        a, b, c = (
            lay_out(x) if strange else backend.from_numpy(x)
            for x, strange in zip((p, g, m), odd, strict=True)
        )
        kernel([[a, c]], [b], [values])
        for got, wanted in zip((a, c, b), (*expected, g), strict=True):
            assert_same_bits(backend.to_numpy(got), wanted, str(odd))


@every_kernel
@pytest.mark.parametrize("shape", [(3, 5), (300, 501)], ids=str)
def test_gradient_that_is_one_number_repeated(name: str, shape: tuple[int, ...]) -> None:
    kernel, backend = kernel_of(name, traced(_averaged, ("m",), "lr"), AVERAGED), backend_of(name)
    p, _, m = arrays_of(AVERAGED, shape, 5)
    scalars: dict[str, float] = {"lr": 0.1, "t": 3}
    for g in (np.float32(0.5), np.arange(shape[1], dtype=np.float32)):
        wide = np.broadcast_to(g, shape)
        got = [backend.from_numpy(p), backend.from_numpy(m)]
        gradient = backend.broadcast_to(backend.from_numpy(np.asarray(g)), shape)
        kernel([got], [gradient], [kernel.program.host(**scalars)])
        for a, b in zip(got, evaluate(_averaged, [p, wide, m], scalars), strict=True):
            assert_same_bits(backend.to_numpy(a), b)


@every_kernel
@pytest.mark.parametrize("length", [3, 300])
def test_gradient_may_be_a_view_of_its_parameter(name: str, length: int) -> None:
    # As the gradient of sum(P * P^T) / 2, written by hand.
    kernel, backend = kernel_of(name, traced(_averaged, ("m",), "lr"), AVERAGED), backend_of(name)
    p, _, m = arrays_of(AVERAGED, (length, length), 5)
    scalars: dict[str, float] = {"lr": 0.1, "t": 3}
    expected = evaluate(_averaged, [p, p.T, m], scalars)
    got = [backend.from_numpy(p), backend.from_numpy(m)]
    kernel([got], [backend.transpose(got[0])], [kernel.program.host(**scalars)])
    for a, b in zip(got, expected, strict=True):
        assert_same_bits(backend.to_numpy(a), b)


@every_host_kernel
@pytest.mark.parametrize("offset", [1, 17])
def test_gradient_may_overlap_its_parameter(name: str, offset: int) -> None:
    # Longer than any tile, so that one is written before the next reads what lay there.
    kernel = kernel_of(name, traced(_averaged, ("m",), "lr"), AVERAGED)
    buffer, _, m = arrays_of(AVERAGED, 600_000, 5)
    scalars: dict[str, float] = {"lr": 0.1, "t": 3}
    values = kernel.program.host(**scalars)
    for p, g in ((np.s_[offset:], np.s_[:-offset]), (np.s_[:-offset], np.s_[offset:])):
        memory = buffer.copy()
        expected = evaluate(_averaged, [buffer[p], buffer[g], m[offset:]], scalars)
        got = [RawTensor(memory[p]), RawTensor(m[offset:].copy())]
        kernel([got], [RawTensor(memory[g])], [values])
        for a, b in zip(got, expected, strict=True):
            assert_same_bits(a.array, b)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_can_be_copied(name: str) -> None:
    kernel = kernel_of(name, traced(_averaged, ("m",), "lr"), AVERAGED)
    assert copy.deepcopy(kernel).source == kernel.source


def _parameter_first(p: V, g: V, m: V, *, lr: float, t: int) -> tuple[V, V]:
    return p - lr * g, m + g * g


@every_kernel
@pytest.mark.parametrize("scaled", [False, True])
def test_gradient_may_be_its_parameter(name: str, scaled: bool) -> None:
    # As the gradient of sum(p * p) / 2, written by hand.
    program = traced(_parameter_first, ("m",), "lr")
    kernel = kernel_of(name, program.scaled if scaled else program, AVERAGED)
    backend = backend_of(name)
    p, _, m = arrays_of(AVERAGED, 1000, 5)
    scalars: dict[str, float] = {"lr": 0.1, "t": 3}
    expected = evaluate(_parameter_first, [p, p * np.float32(0.5 if scaled else 1.0), m], scalars)
    got = [backend.from_numpy(p), backend.from_numpy(m)]
    scale = backend.full((), 0.5, "float32") if scaled else None
    kernel([got], [got[0]], [program.host(**scalars)], scale)
    for a, b in zip(got, expected, strict=True):
        assert_same_bits(backend.to_numpy(a), b)


@pytest.mark.parametrize("name", ["numpy", "numba"])
@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("size", [3, 300_000])
def test_numbers_that_are_not_finite_pass_without_a_word(name: str, stored: str, size: int) -> None:
    # Warnings are errors here. A scalar of 1e300 is infinite in float32.
    rule = optim.Adam.rule(ADAM)
    dtypes = _dtypes(*STORED[stored], 2)
    kernel = kernel_of(name, rule.program, dtypes)
    for value, lr in ((np.inf, 0.1), (np.nan, 0.1), (-np.inf, 0.1), (3e4, 1e300)):
        p, g, m, v = arrays_of(dtypes, size, 1)
        g[...] = value
        raws = [RawTensor(x) for x in (p, m, v)]
        kernel([raws], [RawTensor(g)], [rule.program.host(**{**rule.scalars, "lr": lr}, t=1)])
        assert not np.isfinite(p.astype(np.float64)).any() or stored == "float64"


def test_source_is_text_that_can_be_read() -> None:
    program = traced(_averaged, ("m",), "lr")
    numpy = kernel_of("numpy", program, AVERAGED)
    assert "np.subtract(a1, a2, out=" in numpy.source
    assert numpy.source.startswith("def tile(")
    plain = kernel_of("plain", program, AVERAGED)
    assert "m <- " in plain.source
    numba = kernel_of("numba", program, AVERAGED)
    assert numba.source.startswith("# computes in float32\ndef update(")
    assert "m_2[j] = " in numba.source


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_equal_programs_share_a_kernel(name: str) -> None:
    def same(p: V, g: V, m: V, *, lr: float, t: int) -> tuple[V, V]:
        m = m + (g - m) / t
        return p - lr * m, m

    one, other = traced(_averaged, ("m",), "lr"), traced(same, ("m",), "lr")
    assert one == other
    assert kernel_of(name, one, AVERAGED).source == kernel_of(name, other, AVERAGED).source


@pytest.mark.parametrize(
    ("config", "stored", "most"),
    [
        (optim.AdamConfig(lr=0.1), "float32", 2),  # Adam: one for the step, one for its denominator
        (optim.AdamConfig(lr=0.1), "bfloat16", 3),  # and one for what is widened
    ],
    ids=repr,
)
def test_numpy_uses_few_buffers(config: optim.Config, stored: str, most: int) -> None:
    rule = class_for(config).rule(config)
    dtypes = (stored, stored, *("float32" for _ in rule.slots))
    kernel: Any = kernel_of("numpy", rule.program, dtypes)
    assert len(kernel.buffers) <= most, kernel.source


def _warmed(p: Any, g: Any, *, lr: float, t: int) -> Any:
    return (p - lr * fusion.where(t <= 2, 0.0, g),)


def _signed(p: Any, g: Any, *, lr: float, t: int) -> Any:
    return (p - lr * fusion.where(g > 0, 1.0, -1.0),)


def _cast_choice(p: Any, g: Any, *, lr: float, t: int) -> Any:
    return (p - fusion.cast(fusion.where(t <= 2, 0.1, g), "bfloat16"),)


def _forgets(p: Any, g: Any, *, lr: float, t: int) -> Any:
    return (fusion.where(t <= 2, 0.5, p),)


@pytest.mark.parametrize("t", [1, 3])
@pytest.mark.parametrize("function", [_warmed, _signed, _cast_choice, _forgets])
@pytest.mark.parametrize("name", ["plain", "numpy", "numba"])
def test_choices_between_numbers(name: str, function: Callable[..., Any], t: int) -> None:
    g = np.array([0.5, -2.0, 0.0], np.float32)
    p = RawTensor(np.ones(3, np.float32))
    program = traced(function, (), "lr")
    kernel_of(name, program, ("float32",) * 2)([[p]], [RawTensor(g)], [program.host(lr=0.5, t=t)])
    (expected,) = np.array([function(1.0, float(x), lr=0.5, t=t) for x in g], np.float32).T
    np.testing.assert_array_equal(p.array, expected)
