"""Rules drawn at random compute the same bits in every way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from born import fusion
from born.fusion.program import EXACT
from tests.fusion.kernels import Dtypes, arrays_of, check_update, kernel_of, traced

SLOTS = ("a", "b", "c")

# Of one precision: what happens where they mix, test_update.py has by table.
DTYPES: tuple[Dtypes, ...] = (
    ("float32",) * 5,
    ("float64",) * 5,
    ("float16", "float16", "float32", "bfloat16", "float32"),
)

BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "maximum": fusion.maximum,
    "minimum": fusion.minimum,
}
UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": lambda x: -x,
    "abs": fusion.abs,
    "sign": fusion.sign,
    "sqrt": fusion.sqrt,
    "square": lambda x: x**2,
    "cast_float16": lambda x: fusion.cast(x, "float16"),
    "cast_bfloat16": lambda x: fusion.cast(x, "bfloat16"),
    "cast_float32": lambda x: fusion.cast(x, "float32"),
}
CONDITIONS: dict[str, Callable[[Any, Any], Any]] = {
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "isfinite": lambda x, y: fusion.isfinite(x),
}
KINDS = (*BINARY, *UNARY, *[f"where {name}" for name in CONDITIONS], "where t", "scalar")


@dataclass(frozen=True)
class Drawn:
    """A rule of p, g, a, b, c and a scalar s, as a list of steps."""

    steps: tuple[tuple[str, tuple[int, ...]], ...]  # kinds, and what chooses the operands
    outputs: tuple[int, ...]  # counted from the end of all values

    def __call__(self, *arrays: Any, s: float, t: int) -> tuple[Any, ...]:
        values: list[Any] = list(arrays)
        scalars: list[Any] = [s, 0.0, -1.5, t, s / t, 3.0]
        for kind, picks in self.steps:
            x, y = (values[pick % len(values)] for pick in picks[:2])
            # The second is a scalar for every third number.
            z = scalars[picks[2] % len(scalars)] if picks[2] % 3 == 0 else y
            w = scalars[picks[3] % len(scalars)] if picks[3] % 3 == 0 else x
            if kind in BINARY:
                values.append(BINARY[kind](*((x, z) if picks[3] % 2 else (z, x))))
            elif kind in UNARY:
                values.append(UNARY[kind](x))
            elif kind == "where t":
                values.append(fusion.where(t > picks[2] % 4, x, y))
            elif kind == "scalar":
                scalars.append(scalars[picks[0] % len(scalars)] * (1 - s**t))
            else:
                condition = CONDITIONS[kind.removeprefix("where ")](x, z)
                values.append(fusion.where(condition, y, w))
        return tuple(values[-1 - pick % len(values)] for pick in self.outputs)

    @property
    def __name__(self) -> str:
        return "drawn"


NUMBERS = st.integers(0, 50)


def drawn(operations: int) -> st.SearchStrategy[Drawn]:
    step = st.tuples(st.sampled_from(KINDS), st.tuples(*[NUMBERS] * 4))
    steps = st.lists(step, min_size=operations // 3, max_size=operations).map(tuple)
    outputs = st.tuples(*[st.integers(0, 12)] * (1 + len(SLOTS)))
    return st.builds(Drawn, steps, outputs)


def test_every_exact_operation_that_a_rule_can_write_is_drawn() -> None:
    written = {*BINARY, *UNARY, *CONDITIONS, "where"} - {"square"}
    by_chance = {"stochastic_float16", "stochastic_bfloat16"}  # which tests of precision draw
    assert written == EXACT - {"eq", "ne", "logical_and", "logical_or", "logical_not"} - by_chance


def _check(name: str, rule: Drawn, dtypes: Dtypes, seed: int, t: int) -> None:
    kernel = kernel_of(name, traced(rule, SLOTS, "s"), dtypes)
    tensors = [arrays_of(dtypes, size, seed + size, special=True) for size in (61, 3)]
    text = f"{kernel.program}\n{kernel.source}\n"
    check_update(kernel, rule, tensors, {"s": 0.3, "t": t}, label=text)


@pytest.mark.parametrize("name", ["plain", "numpy"])
@given(rule=drawn(15), dtypes=st.sampled_from(DTYPES), seed=NUMBERS, t=st.integers(1, 3))
@settings(max_examples=150)
def test_random_rules_agree(name: str, rule: Drawn, dtypes: Dtypes, seed: int, t: int) -> None:
    _check(name, rule, dtypes, seed, t)


@pytest.fixture(scope="module")
def throwaway_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A kernel cache that is not the user's: these programs will not be seen again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BORN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


# A kernel takes half a second to compile, so few programs, each of many operations, and no
# search for a smaller one that fails: the plain way finds that sooner.
@pytest.mark.usefixtures("throwaway_cache")
@given(rule=drawn(30), dtypes=st.sampled_from(DTYPES), seed=NUMBERS, t=st.integers(1, 3))
@settings(max_examples=20, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_random_rules_agree_when_compiled(rule: Drawn, dtypes: Dtypes, seed: int, t: int) -> None:
    _check("numba", rule, dtypes, seed, t)
