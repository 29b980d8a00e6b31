"""Slots in one byte an element, and stochastic rounding: what they mean, the same everywhere."""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np
import pytest

from born.backend import Backend, codecs
from born.backend.coded_update import CodedUpdate
from born.dtypes import as_dtype
from born.fusion import norm, sqrt, total, trace
from born.fusion.codec import BLOCK, CODECS, coded_size
from born.raw import HostArray, RawTensor
from born_numpy import NumpyBackend
from tests.fusion.kernels import assert_same_bits, backend_of

every_codec = pytest.mark.parametrize("codec", CODECS)
halves = pytest.mark.parametrize("dtype", codecs.DROPPED)
SIZES: Final = (0, 1, 255, 256, 257, 5000)
KINDS: Final = ("normal", "squares", "wide", "sparse", "tiny")


def numbers(kind: str, size: int, seed: int = 0) -> HostArray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=size)
    if kind == "squares":
        x = x * x
    elif kind == "wide":
        x = x * 10.0 ** rng.uniform(-12, 0, size)
    elif kind == "sparse":
        x = x * (rng.random(size) < 0.05)
    elif kind == "tiny":
        x = x * 1e-33
    return np.asarray(x, np.float32)


def encoded(x: HostArray, codec: str, key: int | None = None, start: int = 0) -> HostArray:
    codes = np.empty(coded_size(x.size), np.uint8)
    codecs.encode(x, codec, codes, np, key, start)
    return codes


def decoded(codes: HostArray, codec: str, size: int) -> HostArray:
    x = np.empty(size, np.float32)
    codecs.decode(codes, codec, x, np)
    return x


def scales(x: HostArray) -> HostArray:
    """The largest magnitude of each element's block."""
    padded = np.zeros(-(-x.size // BLOCK) * BLOCK, np.float32)
    padded[: x.size] = np.abs(x)
    most: HostArray = padded.reshape(-1, BLOCK).max(axis=1).repeat(BLOCK)
    return most[: x.size]


@every_codec
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_decoded_encodes_to_the_same_bytes(codec: str, size: int, kind: str) -> None:
    codes = encoded(numbers(kind, size), codec)
    assert codes.size == size + 4 * -(-size // BLOCK)
    assert_same_bits(encoded(decoded(codes, codec, size), codec), codes)
    for key in range(20):  # chance has nothing to choose
        assert_same_bits(encoded(decoded(codes, codec, size), codec, key), codes)


@every_codec
@pytest.mark.parametrize("kind", ["normal", "squares"])
def test_chance_chooses_a_neighbour_and_its_mean_is_the_number(codec: str, kind: str) -> None:
    x, draws = numbers(kind, BLOCK), 4000
    nearest = decoded(encoded(x, codec), codec, BLOCK).astype(np.float64)
    many = np.tile(x, draws)
    y = decoded(encoded(many, codec, key=7), codec, many.size).reshape(draws, BLOCK)
    low, high = y.min(axis=0), y.max(axis=0)
    chosen = low < high  # the others are so near to a code that no draw left it
    assert chosen.mean() > 0.9
    assert ((nearest == low) | (nearest == high)).all()
    assert ((low <= x) & (x <= high))[chosen].all()
    assert ((y == low) | (y == high)).all()
    apart = (high - low).astype(np.float64)
    share = np.divide(x - low, apart, out=np.zeros(BLOCK), where=apart > 0)
    error = y.mean(axis=0, dtype=np.float64) - x
    bound = apart * (5 * np.sqrt(share * (1 - share) / draws) + 1e-4)
    assert (np.abs(error) <= bound)[chosen].all()


@every_codec
def test_chance_is_a_function_of_number_and_key(codec: str) -> None:
    x = numbers("normal", 5 * BLOCK)
    whole = encoded(x, codec, key=3)
    parts = encoded(x[2 * BLOCK :], codec, key=3, start=2 * BLOCK)
    assert_same_bits(whole[2 * codecs.FULL :], parts)
    assert (encoded(x, codec, key=4) != whole).mean() > 0.1


NEAREST: Final = {
    "int8": (0.0165, 0.0505),
    "float8_e4m3fn": (0.036, 0.0626),
    "float8_e5m2": (0.072, 0.1251),
}
"""How far a number is from its code at most: as a share of the block's largest, and of itself where
it is above a hundredth of that."""


@every_codec
@pytest.mark.parametrize("kind", ["normal", "squares"])
def test_errors_are_bounded(codec: str, kind: str) -> None:
    x = numbers(kind, 100_000)
    error, most = np.abs(decoded(encoded(x, codec), codec, x.size) - x), scales(x)
    of_block, of_itself = NEAREST[codec]
    assert (error <= of_block * most).all()
    large = np.abs(x) > 0.01 * most
    assert (error[large] <= of_itself * np.abs(x[large])).all()
    at_top = np.abs(x) == most
    assert (error[at_top] == 0).all()


@every_codec
@pytest.mark.parametrize("kind", ["wide", "sparse"])
def test_signs_stay_and_only_zero_is_zero(codec: str, kind: str) -> None:
    x = numbers(kind, 3000)
    assert_same_bits(np.sign(decoded(encoded(x, codec), codec, x.size)), np.sign(x))


@pytest.mark.parametrize("codec", CODECS[1:])
def test_float8_has_the_bytes_of_ml_dtypes(codec: str) -> None:
    x = numbers("normal", 10 * BLOCK)
    rows = encoded(x, codec).reshape(-1, BLOCK + 4)
    scale = rows[:, :4].copy().view(np.float32)
    top = np.float32(codecs.FLOAT8[codec].largest)
    kind = np.dtype(getattr(ml_dtypes, codec))
    assert float(np.array(top).astype(kind)) == top
    fractions = x.reshape(-1, BLOCK) * (np.float32(1) / scale * top)
    expected = fractions.astype(kind).view(np.uint8)
    assert np.array_equal(rows[:, 4:], expected)


@every_codec
def test_nan_and_infinity_are_not_lost(codec: str) -> None:
    x = numbers("normal", 3 * BLOCK)
    x[10], x[BLOCK + 10] = np.nan, -np.inf
    y = decoded(encoded(x, codec), codec, x.size)
    assert np.isnan(y[: 2 * BLOCK]).all()
    assert np.isfinite(y[2 * BLOCK :]).all()


# -- around rules --


def by_norm(p: Any, g: Any, m: Any, v: Any, *, lr: Any, t: Any) -> Any:
    """With a total of gradients alone, as clipping has it."""
    return adam(p, g / sqrt(total(g * g)), m, v, lr=lr, t=t)


def adam(p: Any, g: Any, m: Any, v: Any, *, lr: Any, t: Any) -> Any:
    m = 0.9 * m + 0.1 * g
    v = 0.99 * v + 0.01 * g * g
    return p - lr * m / (sqrt(v) + 1e-8), m, v


def layerwise(p: Any, g: Any, m: Any, v: Any, *, lr: Any, t: Any) -> Any:
    m = 0.9 * m + 0.1 * g
    v = 0.99 * v + 0.01 * g * g
    u = m / (sqrt(v) + 1e-8)
    return p - lr * norm(p) / (norm(u) + 1e-8) * u, m, v


def clipped(p: Any, g: Any, m: Any, v: Any, *, lr: Any, t: Any) -> Any:
    """With a total of what is kept coded: the slots are needed before it, and after."""
    m = 0.9 * m + 0.1 * g
    v = 0.99 * v + 0.01 * g * g
    return p - lr * m / (sqrt(v) + sqrt(total(m * m))), m, v


SHAPES: Final = ((3,), (256,), (300, 7), (20_000,), ())


class Other(NumpyBackend):
    """Arrays of which born knows nothing but the contract."""

    compile_update = Backend.compile_update
    encode_slot = Backend.encode_slot
    decode_slot = Backend.decode_slot
    round_stochastically = Backend.round_stochastically


def updated(backend: Backend, program: Any, dtypes: tuple[Any, ...], steps: int = 3) -> list[bytes]:
    """What some parameters and their slots become."""
    rng = np.random.default_rng(3)
    p, _, *slots = (as_dtype(dtype) for dtype in dtypes)
    kernel = backend.compile_update(program, tuple(map(as_dtype, dtypes)))
    targets: list[list[RawTensor]] = []
    gradients: list[RawTensor] = []
    for shape in SHAPES:
        size = int(np.prod(shape))
        kept = [
            backend.zeros((coded_size(size),), "uint8")
            if program.codec(i)
            else backend.zeros(shape, x)
            for i, x in enumerate(slots, 2)
        ]
        targets.append([backend.from_numpy(rng.normal(size=shape).astype(p)), *kept])
        spread = rng.normal(size=shape) * 10.0 ** rng.uniform(-5, 0, shape)
        gradients.append(backend.from_numpy(np.asarray(spread).astype(p)))
    for t in range(1, steps + 1):
        sizes = {"size": 1, "rows": 1, "columns": 1, "matrices": 1}
        given = [
            {f"__{name}": {**sizes, "number": i}[name] for name in program.sizes}
            for i in range(len(SHAPES))
        ]
        common = program.group
        group = common and backend.begin_group(common, [], common.host(lr=1e-3, t=t))
        scalars = [program.host(lr=1e-3, t=t, **each) for each in given]
        kernel(targets, gradients, scalars, group)
    return [backend.to_numpy(raw).tobytes() for target in targets for raw in target]


def assert_alike(program: Any, dtypes: tuple[str, ...]) -> None:
    expected = updated(Other(), program, dtypes)
    for name in ("numpy", "numba"):
        assert updated(backend_of(name), program, dtypes) == expected, name


@every_codec
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_backends_agree_to_the_bit(codec: str, dtype: str) -> None:
    program = trace(adam, ["m", "v"], ["lr", "t"]).with_codecs(("", "", codec, codec))
    assert_alike(program, (dtype, dtype, "uint8", "uint8"))


def test_one_slot_may_be_coded_beside_another() -> None:
    program = trace(adam, ["m", "v"], ["lr", "t"]).with_codecs(("", "", "", "int8"))
    assert_alike(program, ("float16", "float16", "bfloat16", "uint8"))


@pytest.mark.parametrize("rule", [layerwise, clipped, by_norm])
def test_rules_of_several_stages_agree_to_the_bit(rule: Any) -> None:
    codec = "int8"
    program = trace(rule, ["m", "v"], ["lr", "t"]).with_codecs(("", "", codec, codec))
    assert_alike(program, ("float32", "float32", "uint8", "uint8"))


def test_a_clipped_update_decodes_in_its_one_pass() -> None:
    program = trace(by_norm, ["m", "v"], ["lr", "t"]).with_codecs(("", "", "int8", "int8"))
    dtypes = tuple(map(as_dtype, ("float32", "float32", "uint8", "uint8")))
    assert not isinstance(backend_of("numpy").compile_update(program, dtypes), CodedUpdate)
    source = backend_of("numba").compile_update(program, dtypes).source
    assert "encode_int8" in source


def test_a_program_without_codecs_has_the_kernel_that_it_had() -> None:
    program = trace(adam, ["m", "v"], ["lr", "t"])
    dtypes = tuple(map(as_dtype, ["float32"] * 4))
    for name in ("numpy", "numba"):
        source = backend_of(name).compile_update(program, dtypes).source
        assert not any(word in source for word in ("kept", "decode", "encode", "start)", "first"))


# -- stochastic rounding --


def test_words_are_functions_of_number_and_key() -> None:
    words = codecs.random_words(0, 1000, 7, np)
    assert_same_bits(codecs.random_words(400, 600, 7, np), words[400:])
    assert (codecs.random_words(0, 1000, 8, np) != words).mean() > 0.99


def test_words_are_spread_evenly() -> None:
    keys = [codecs.key_of(t, number, 0) for t in (1, 2, 3) for number in range(3)]
    words = np.array([codecs.random_words(0, 2**16, key, np) for key in keys])
    for bit in range(32):
        share = ((words >> np.uint32(bit)) & 1).mean(axis=1)
        assert (np.abs(share - 0.5) < 5 * 0.5 / 2**8).all(), bit
    correlation = np.corrcoef(words.astype(np.float64)) - np.eye(len(keys))
    assert np.abs(correlation).max() < 5 / 2**8
    beside = np.corrcoef(words[0, 1:].astype(np.float64), words[0, :-1].astype(np.float64))
    assert abs(beside[0, 1]) < 5 / 2**8


@halves
@pytest.mark.parametrize("size", [1.0, -1.0, 3e-6])
def test_the_mean_of_many_roundings_is_the_number(dtype: str, size: float) -> None:
    count, kind = 200_000, as_dtype(dtype)
    for share in (0.05, 1 / 3, 0.8):
        base = np.float32(np.array(size).astype(kind))
        above = np.float32(np.nextafter(base.astype(kind), np.array(np.inf).astype(kind)))
        x = np.full(count, base + share * (above - base), np.float32)
        y = codecs.round_stochastically(x, dtype, 0, 5, np)
        assert set(np.unique(y).tolist()) == {base.item(), above.item()}
        mean = ((y.astype(np.float64) - x) / (above - base)).mean()
        assert abs(mean) < 5 * np.sqrt(share * (1 - share) / count) + 2.0**-13


@halves
def test_exact_numbers_and_what_is_not_finite_stay(dtype: str) -> None:
    x = np.random.default_rng(0).normal(size=1000).astype(as_dtype(dtype)).astype(np.float32)
    x[:4] = np.nan, np.inf, -np.inf, -0.0
    assert_same_bits(codecs.round_stochastically(x, dtype, 3, 11, np), x)


def by_chance(p: Any, g: Any, m: Any, *, lr: Any, t: Any) -> Any:
    m = 0.9 * m + g
    return (p - lr * m).round_stochastically("bfloat16", t, 3), m


def by_chance_in_stages(p: Any, g: Any, m: Any, *, lr: Any, t: Any) -> Any:
    m = 0.9 * m + g
    return (p - lr * norm(g) * m).round_stochastically("bfloat16", t, 3), m


@pytest.mark.parametrize("rule", [by_chance, by_chance_in_stages])
def test_backends_draw_the_same(rule: Any) -> None:
    assert_alike(trace(rule, ["m"], ["lr", "t"]), ("bfloat16", "bfloat16", "float32"))
