"""Update kernels: the same bits from the rule on tensors, op by op, and in every backend."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest

from born import fusion, optim
from born.backend import Backend
from born.backend.update import UpdateKernel
from born.fusion.expression import V
from born.raw import Array, HostArray, RawTensor
from tests.fusion.kernels import (
    Dtypes,
    arrays_of,
    assert_all_same,
    backend_of,
    check_update,
    evaluate,
    kernel_of,
    traced,
)
from tests.optim.making import ADAM, BASIC, class_for

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


@every_kernel
@pytest.mark.parametrize("config", BASIC, ids=repr)
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
        scalars = rule.scalars_at(step)
        check_update(kernel, rule.function, tensors, scalars, backend, f"step {step}")
        expected = [evaluate(rule.function, arrays, scalars) for arrays in tensors]
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
    check_update(kernel, rule.function, tensors, rule.scalars_at(3))


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


def _constants(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    zero: Any = 0
    scalar: Any = s / t
    return p, scalar, zero


def _rounded(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    narrow = fusion.cast(g * s, "bfloat16")
    return (
        p - fusion.cast(narrow + a, "float16") * fusion.cast(s, "float16"),
        fusion.cast(a, "float32") + g - narrow,
        fusion.cast(b, "bfloat16"),
    )


RuleFunction: TypeAlias = Callable[..., Any]


def _swapped(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    return a, b, p


def _with_the_gradient(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    return g, p, p * s


def _unchanged(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    return p, a, b


def _one_value_everywhere(p: V, g: V, a: V, b: V, *, s: float, t: int) -> tuple[V, V, V]:
    x = p * s - g
    return x, x, x


RULES: tuple[RuleFunction, ...] = (
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
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)

MIXED: tuple[Dtypes, ...] = (
    ("float32",) * 4,
    ("float64",) * 4,
    ("bfloat16", "bfloat16", "float32", "bfloat16"),
    ("float32", "float32", "float64", "float16"),
    ("float64", "float64", "float32", "float16"),
)


@every_kernel
@pytest.mark.parametrize("dtypes", MIXED, ids="-".join)
@every_rule
@pytest.mark.parametrize("special", [False, True], ids=["", "special"])
def test_operations_agree(rule: RuleFunction, dtypes: Dtypes, name: str, special: bool) -> None:
    kernel = kernel_of(name, traced(rule, ("a", "b"), "s"), dtypes)
    arrays = arrays_of(dtypes, 1013, 3, special)
    for t in (1, 2):
        check_update(kernel, rule, [arrays], {"s": 0.1, "t": t}, backend_of(name), f"t {t}")


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_powers_exponentials_and_logarithms_are_of_numpy(name: str) -> None:
    def rule(p: V, g: V, *, s: float, t: int) -> tuple[V]:
        return (fusion.exp(p) - fusion.log(fusion.abs(g)) * fusion.abs(p) ** s,)

    dtypes = ("float32", "float32")
    kernel = kernel_of(name, traced(rule, (), "s"), dtypes)
    check_update(kernel, rule, [arrays_of(dtypes, 1013, 3)], {"s": 1.5, "t": 1})


def _averaged(p: V, g: V, m: V, *, lr: float, t: int) -> tuple[V, V]:
    m = m + (g - m) / t
    return p - lr * m, m


AVERAGED: Dtypes = ("float32", "float32", "float32")
SCALARS: dict[str, float] = {"lr": 0.1, "t": 3}


@pytest.fixture
def where(name: str) -> Backend:
    return backend_of(name)


@pytest.fixture
def averaged(name: str) -> UpdateKernel:
    return kernel_of(name, traced(_averaged, ("m",), "lr"), AVERAGED)


def check(
    kernel: UpdateKernel,
    where: Backend,
    targets: list[RawTensor],
    gradient: RawTensor,
    expected: list[HostArray],
) -> None:
    kernel([targets], [gradient], [kernel.program.host(**SCALARS)])
    assert_all_same([where.to_numpy(x) for x in targets], expected, "in place")


@every_kernel
def test_each_parameter_has_scalars_of_its_own(averaged: UpdateKernel, where: Backend) -> None:
    tensors = [arrays_of(AVERAGED, size, size) for size in (5, 70_000, 3, 0, 1)]
    scalars: list[dict[str, float]] = [{"lr": 0.1, "t": t} for t in (1, 9, 4, 1, 9)]
    check_update(averaged, _averaged, tensors, scalars, where)


@every_kernel
@pytest.mark.parametrize("numbers", [(1,), (2, 0), (2, 1, 0), (1, 2), ()])
def test_some_of_the_bound_tensors(
    averaged: UpdateKernel, where: Backend, numbers: tuple[int, ...]
) -> None:
    tensors = [arrays_of(AVERAGED, size, size) for size in (4, 5, 4)]
    raws = [[where.from_numpy(x) for x in arrays] for arrays in tensors]
    bound = averaged.bind([[p, m] for p, _, m in raws])
    sets = [averaged.program.host(lr=0.1, t=t) for t in (1, 7)]
    chosen = [number % 2 for number in numbers]
    for _ in range(2):  # a plan for some of them is kept; it must not serve for others
        if numbers:
            step = bound.prepare(numbers, [raws[number][1] for number in numbers])
            step.run(sets, sets=chosen)
    for number, (p, g, m) in enumerate(tensors):
        for _ in range(2 if number in numbers else 0):
            p, m = evaluate(_averaged, [p, g, m], {"lr": 0.1, "t": (1, 7)[number % 2]})
        got = [where.to_numpy(raws[number][which]) for which in (0, 2)]
        assert_all_same(got, [p, m], f"tensor {number}")


LAYOUTS: dict[str, tuple[Callable[[HostArray], HostArray], Callable[[Array], Array]]] = {
    "transposed": (lambda x: x.T, lambda memory: memory.T),
    "every other": (lambda x: np.repeat(x, 2, -1), lambda memory: memory[..., ::2]),
    "backwards": (lambda x: x[::-1], lambda memory: memory[::-1]),
}
"""Name -> what memory holds for an array laid out so, and the view of it that is the array."""


every_shape = pytest.mark.parametrize("shape", [(3, 5), (300, 501)], ids=str)


@every_kernel
@every_shape
@pytest.mark.parametrize("layout", [*LAYOUTS, "misaligned"])
def test_arrays_laid_out_otherwise(
    name: str, averaged: UpdateKernel, where: Backend, layout: str, shape: tuple[int, ...]
) -> None:
    if (name, layout) == ("cupy", "misaligned"):
        pytest.skip("a device's arrays are aligned")

    def lay_out(x: HostArray) -> RawTensor:
        if layout != "misaligned":
            spread, seen = LAYOUTS[layout]
            return RawTensor(seen(where.from_numpy(spread(x)).array))
        view = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
        view[...] = x
        return RawTensor(view)

    arrays = arrays_of(AVERAGED, shape, 5)
    expected = evaluate(_averaged, arrays, SCALARS)
    for odd in itertools.product((lay_out, where.from_numpy), repeat=3):
        p, g, m = (place(x) for place, x in zip(odd, arrays, strict=True))
        check(averaged, where, [p, m], g, expected)
        assert_all_same([where.to_numpy(g)], arrays[1:2], "gradient")


@every_kernel
@every_shape
def test_gradient_may_be_broadcast(averaged: UpdateKernel, where: Backend, shape: Any) -> None:
    p, _, m = arrays_of(AVERAGED, shape, 5)
    for g in (np.float32(0.5), np.arange(shape[1], dtype=np.float32)):
        expected = evaluate(_averaged, [p, np.broadcast_to(g, shape), m], SCALARS)
        gradient = where.broadcast_to(where.from_numpy(np.asarray(g)), shape)
        check(averaged, where, [where.from_numpy(p), where.from_numpy(m)], gradient, expected)


@every_kernel
@pytest.mark.parametrize("length", [3, 300])
def test_gradient_may_be_a_view(averaged: UpdateKernel, where: Backend, length: int) -> None:
    # As the gradient of sum(P * P^T) / 2, written by hand.
    p, _, m = arrays_of(AVERAGED, (length, length), 5)
    got = [where.from_numpy(p), where.from_numpy(m)]
    check(averaged, where, got, where.transpose(got[0]), evaluate(_averaged, [p, p.T, m], SCALARS))


@every_host_kernel
@pytest.mark.parametrize("offset", [1, 17])
def test_gradient_may_overlap_its_parameter(
    averaged: UpdateKernel, where: Backend, offset: int
) -> None:
    # Longer than any tile, so that one is written before the next reads what lay there.
    buffer, _, m = arrays_of(AVERAGED, 600_000, 5)
    for p, g in ((np.s_[offset:], np.s_[:-offset]), (np.s_[:-offset], np.s_[offset:])):
        memory = buffer.copy()
        expected = evaluate(_averaged, [buffer[p], buffer[g], m[offset:]], SCALARS)
        targets = [RawTensor(memory[p]), RawTensor(m[offset:].copy())]
        check(averaged, where, targets, RawTensor(memory[g]), expected)


@every_kernel
def test_kernels_can_be_copied(averaged: UpdateKernel) -> None:
    assert copy.deepcopy(averaged).source == averaged.source


def _parameter_first(p: V, g: V, m: V, *, lr: float, t: int) -> tuple[V, V]:
    return p - lr * g, m + g * g


@every_kernel
def test_gradient_may_be_its_parameter(name: str, where: Backend) -> None:
    # As the gradient of sum(p * p) / 2, written by hand.
    program = traced(_parameter_first, ("m",), "lr")
    kernel = kernel_of(name, program, AVERAGED)
    p, _, m = arrays_of(AVERAGED, 1000, 5)
    expected = evaluate(_parameter_first, [p, p, m], SCALARS)
    got = [where.from_numpy(p), where.from_numpy(m)]
    check(kernel, where, got, got[0], expected)


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


TEXTS = {
    "numpy": r"^def tile\((.|\n)*np\.subtract\(a1, a2, out=",
    "plain": "m <- ",
    "numba": r"^# computes in float32\ndef update\((.|\n)*x2 = .*# m\n(.|\n)*store_float32\(x2, j,",
}


@every_host_kernel
def test_source_is_text_that_can_be_read(averaged: UpdateKernel, name: str) -> None:
    assert re.search(TEXTS[name], averaged.source)


# Adam: one for the step, one for its denominator, and one for what is widened.
@pytest.mark.parametrize(("stored", "most"), [("float32", 2), ("bfloat16", 3)])
def test_numpy_uses_few_buffers(stored: str, most: int) -> None:
    rule = optim.Adam.rule(optim.AdamConfig(lr=0.1))
    kernel: Any = kernel_of("numpy", rule.program, _dtypes(stored, "float32", 2))
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
