"""Attention: masks, grouped heads, positions and caches, beside formulas in NumPy."""

from __future__ import annotations

import copy
import tracemalloc
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

import born
from born import nn, ops
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.errors import (
    BackendMismatchError,
    ConfigError,
    DomainError,
    DTypeError,
    OperandError,
    ShapeError,
)
from born.raw import HostArray
from tests.operations import naive
from tests.operations.computing import computing

RNG: Final = np.random.default_rng(3)


def drawn(*shape: int) -> HostArray:
    return RNG.uniform(-1.0, 1.0, shape)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("flags", [None, "bool", "float"])
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (3, 7), (7, 3), (300, 700)])
def test_grouped_heads_repeat_keys(
    queries: int, keys: int, flags: str | None, causal: bool, backend: Backend
) -> None:
    q, k, v = drawn(2, 4, queries, 6), drawn(2, 2, keys, 6), drawn(2, 2, keys, 3)
    mask = {None: None, "bool": drawn(queries, keys) > 0, "float": drawn(2, 4, queries, keys)}[
        flags
    ]
    given = None if mask is None else born.tensor(mask, backend)
    tensors = [born.tensor(x, backend) for x in (q, k, v)]
    found = ops.attention(tensors[0], tensors[1], tensors[2], given, causal=causal)
    k, v = np.repeat(k, 2, axis=1), np.repeat(v, 2, axis=1)
    expected = naive.attention(q, k, v, mask, causal, 6**-0.5)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-14)


def test_large_scores_do_not_overflow_and_hidden_rows_are_zero(backend: Backend) -> None:
    x = born.tensor(np.array([[1e4, 0.0], [0.0, 1e4]], np.float32), backend)
    mask = born.tensor(np.array([[True, True], [False, False]]), backend)
    leaf = nn.Parameter(born.tensor(x.numpy(), Autodiff(backend)))
    with leaf.backend.tape:
        y = ops.attention(leaf, leaf, leaf, born.tensor(mask.numpy(), leaf.backend))
        loss = y.sum()
    assert y.numpy().tolist() == [[1e4, 0.0], [0.0, 0.0]]
    assert np.isfinite(leaf.backend.to_numpy(backward(loss)[leaf])).all()


def test_scores_are_not_kept() -> None:
    autodiff = Autodiff(computing("numpy"))
    x = nn.Parameter(born.tensor(drawn(512, 8).astype(np.float32), autodiff))
    tracemalloc.start()
    with autodiff.tape:
        loss = ops.attention(x, x, x, causal=True).sum()
        kept, _ = tracemalloc.get_traced_memory()
    backward(loss)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    scores = 4 * 512 * 512
    assert kept < scores / 10  # the result, and a number for each row
    assert peak < 3 * scores  # a tile of them at a time, and what is computed from it


def test_generation_with_a_cache_is_the_whole_at_once(backend: Backend) -> None:
    block = nn.TransformerBlock(12, 3, backend, key_value_heads=1, rotary=True, dtype="float64")
    x = born.tensor(drawn(2, 6, 12), backend)
    whole = block(x, causal=True).numpy()
    cache = nn.KeyValueCache()
    parts = [
        block(x[:, i:j], causal=True, cache=cache).numpy() for i, j in ((0, 3), (3, 4), (4, 6))
    ]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-12, atol=1e-14)
    assert cache.length == 6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("keys", [1, 7, 70])
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
@pytest.mark.parametrize("case", ["plain", "views", "nan", "far"])
def test_one_query_is_as_one_of_two(
    case: str, lead: tuple[int, ...], keys: int, dtype: str, backend: Backend
) -> None:
    arrays = [drawn(*lead, 1, 6), drawn(*lead, 2 * keys, 6), drawn(*lead, 2 * keys, 5)]
    if case == "nan":
        arrays[1][..., 0, 0] = np.nan
    if case == "far":  # all products are minus infinity: nothing is seen
        arrays[0][...], arrays[1][...] = 1e200, -1e200
    with np.errstate(over="ignore"):
        q, *both = (born.tensor(x.astype(dtype), backend) for x in arrays)
    k, v = (x[..., ::2, :] if case == "views" else x[..., :keys, :] for x in both)
    alone = ops.attention(q, k, v, causal=True).numpy()
    twice = ops.attention(ops.concatenate([q, q], axis=-2), k, v).numpy()
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(alone, twice[..., :1, :], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("limit", [None, 40])
def test_a_cache_grows_and_is_used_again(limit: int | None, backend: Backend) -> None:
    layer = nn.MultiHeadAttention(8, 2, backend, rotary=True, dtype="float64")
    cache = nn.KeyValueCache(limit)
    for batch in (3, 3, 2):
        x = born.tensor(drawn(batch, 40, 8), backend)
        whole = layer(x, causal=True).numpy()
        cache.reset()
        assert cache.length == 0
        for i in range(40):
            part = layer(x[:, i : i + 1], causal=True, cache=cache).numpy()
            np.testing.assert_allclose(part[:, 0], whole[:, i], rtol=1e-12, atol=1e-14)
        assert cache.length == 40


@pytest.mark.parametrize("window", [1, 3, 20, 100])
@pytest.mark.parametrize("limit", [None, 50])
def test_a_window_is_a_banded_mask(limit: int | None, window: int, backend: Backend) -> None:
    block = nn.TransformerBlock(12, 3, backend, key_value_heads=1, rotary=True, dtype="float64")
    x = born.tensor(drawn(2, 50, 12), backend)
    places = np.arange(50)[:, None] - np.arange(50)
    band = born.tensor((places >= 0) & (places < window), backend)
    whole = block(x, band).numpy()
    cache = branch = nn.KeyValueCache(limit, window=window)
    for begin, end in [(0, 7), (7, 9), *((i, i + 1) for i in range(9, 45)), (45, 50)]:
        part = block(x[:, begin:end], causal=True, cache=cache).numpy()
        np.testing.assert_allclose(part, whole[:, begin:end], rtol=1e-12, atol=1e-14)
        if end == 20:
            branch = copy.copy(cache)
    assert cache.length == 50
    part = block(x[:, 20:25], causal=True, cache=branch).numpy()
    np.testing.assert_allclose(part, whole[:, 20:25], rtol=1e-12, atol=1e-14)


def test_a_window_joins_a_mask(backend: Backend) -> None:
    layer = nn.MultiHeadAttention(8, 2, backend, dtype="float64")
    x, places = born.tensor(drawn(1, 6, 8), backend), np.arange(6)[:, None] - np.arange(6)
    chosen = np.random.default_rng(1).random((6, 6)) < 0.7
    for given in (chosen, np.where(chosen, 0.5, -1.0)):
        banded = np.where(places < 3, given, False if given is chosen else -np.inf)
        cache = nn.KeyValueCache(window=3)
        found = layer(x, born.tensor(given, backend), causal=True, cache=cache)
        expected = layer(x, born.tensor(banded, backend), causal=True)
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-12, atol=1e-14)


def test_a_window_bounds_memory_and_leaves_what_it_gave(backend: Backend) -> None:
    cache, x = nn.KeyValueCache(window=5), born.tensor(drawn(1, 1, 1, 2), backend)
    given: list[Any] = []
    for i in range(100):
        k, v = cache.extended(x + i, x - i)
        assert k.shape == v.shape == (1, 1, min(i + 1, 5), 2)
        given.append((k, k.numpy().copy()))
    assert all((k.numpy() == before).all() for k, before in given)
    last = x.numpy()[0, 0, 0, 0] + np.arange(95, 100)
    np.testing.assert_array_equal(given[-1][0].numpy()[0, 0, :, 0], last)
    cache.reset()
    x = born.tensor(drawn(1, 1, 1, 1000), backend)
    tracemalloc.start()
    for _ in range(200):
        cache.extended(x, x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cache.length == 200
    assert peak < 1_000_000  # all tokens' keys and values would be 3.2 MB


def test_what_a_cache_gave_stays_while_it_grows(backend: Backend) -> None:
    cache, x = nn.KeyValueCache(), born.tensor(drawn(1, 2, 5, 4), backend)
    first, _ = cache.extended(x, x)
    before = first.numpy().copy()
    for _ in range(8):
        cache.extended(-x, -x)
    np.testing.assert_array_equal(first.numpy(), before)
    assert cache.length == 45


def test_a_gradient_passes_to_the_tokens_of_a_call_and_no_further(backend: Backend) -> None:
    autodiff = Autodiff(backend)
    x = nn.Parameter(born.tensor(drawn(1, 1, 2, 4), autodiff))
    cache = nn.KeyValueCache()
    with autodiff.tape:
        cache.extended(x * 1.0, x * 1.0)
        k, v = cache.extended(x * 2.0, x * 3.0)
        loss = (k + v).sum()
    assert k.shape == (1, 1, 4, 4)
    assert (backend.to_numpy(backward(loss)[x]) == 5.0).all()


def test_a_failed_call_leaves_a_cache_as_it_was(backend: Backend) -> None:
    cache, x = nn.KeyValueCache(4), born.tensor(drawn(2, 1, 3, 4), backend)
    cache.extended(x, x)
    other = computing("numpy")
    for wrong, kind, text in (
        (x, ShapeError, "at most 4 tokens in a cache, got 3 and 3 more; reset it"),
        (x[:1, :, :1], ShapeError, r"float64 \(2, 1, '...', 4\), got float64 \(1, 1, "),
        (
            x[:, :, :1].astype("float32"),
            DTypeError,
            "like those in the cache, float64 .*, got float32 ",
        ),
        (born.tensor(drawn(2, 1, 1, 4), other), BackendMismatchError, "one backend object"),
    ):
        with pytest.raises(kind, match=f"^expected .*{text}"):
            cache.extended(wrong, wrong)
        assert cache.length == 3
    k, _ = cache.extended(x[:, :, :1], x[:, :, :1])
    np.testing.assert_array_equal(k.numpy(), x.numpy()[:, :, [0, 1, 2, 0]])


def test_rotary_products_see_distances_only(backend: Backend) -> None:
    q, k = (born.tensor(np.tile(drawn(1, 8), (9, 1)), backend) for _ in range(2))
    products = (nn.rotary(q) @ nn.rotary(k).T).numpy()
    later = (nn.rotary(q, 5) @ nn.rotary(k, 5).T).numpy()
    np.testing.assert_allclose(later, products, atol=1e-13)
    for distance in range(-8, 9):
        along = np.diagonal(products, distance)
        np.testing.assert_allclose(along, along[0], atol=1e-13)
    np.testing.assert_allclose(ops.norm(nn.rotary(q), -1).numpy(), ops.norm(q, -1).numpy())


def test_batches_of_nothing_are_attended(backend: Backend) -> None:
    layer = nn.MultiHeadAttention(4, 2, backend, window=2)
    for shape in ((0, 3, 4), (2, 0, 4)):
        x = born.zeros(shape, backend)
        for options in ({}, {"memory": x}, {"cache": nn.KeyValueCache()}):
            settings: dict[str, Any] = options
            assert layer(x, causal=True, **settings).shape == shape


def test_vectors_of_no_length_are_all_alike(backend: Backend) -> None:
    q, v = born.zeros((2, 0), backend), born.tensor([[1.0], [3.0]], backend)
    assert ops.attention(q, q, v).numpy().tolist() == [[2.0], [2.0]]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_keep_their_dtype(dtype: str, backend: Backend) -> None:
    autodiff = Autodiff(backend)
    x = nn.Parameter(born.tensor(drawn(2, 4, 4), autodiff, dtype=dtype))
    with autodiff.tape:
        y = ops.attention(x, x, x, causal=True)
        loss = y.sum()
    assert y.dtype == x.dtype == backward(loss)[x].dtype
    wide = x.numpy().astype(np.float64)
    expected = naive.attention(wide, wide, wide, None, True, 0.5)
    np.testing.assert_allclose(y.numpy().astype(np.float64), expected, atol=2e-2)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("flags", [None, "bool", "float"])
@pytest.mark.parametrize(
    ("queries", "keys", "window"), [(1, 9, 3), (4, 9, 3), (17, 17, 1), (17, 17, 30), (21, 21, 3)]
)
def test_a_window_of_attention_is_a_band(
    queries: int,
    keys: int,
    window: int,
    flags: str | None,
    causal: bool,
    backend: Backend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_blocks_when_short(monkeypatch)
    autodiff = Autodiff(backend)
    q, k, v = (
        nn.Parameter(born.tensor(drawn(2, heads, length, 3), autodiff))
        for heads, length in ((4, queries), (2, keys), (2, keys))
    )
    distance = np.arange(keys - queries, keys)[:, None] - np.arange(keys)
    band = (abs(distance) < window) & (distance >= 0 if causal else True)
    mask = {None: None, "bool": drawn(queries, keys) > -0.5, "float": drawn(2, 1, queries, keys)}[
        flags
    ]
    both = band if mask is None else band & mask if flags == "bool" else np.where(band, mask, -1e99)
    found: list[list[Any]] = []
    for over, options in (
        (mask, {"causal": causal, "window": window}),
        (mask, {"causal": causal, "window": window, "dropout": 1e-300}),  # none, in other words
        (both, {}),
    ):
        given = None if over is None else born.tensor(over, autodiff)
        settings: dict[str, Any] = options
        with autodiff.tape:
            y = ops.attention(q, k, v, given, **settings)
            loss = (y * y).sum()
        gradients = backward(loss)
        found.append([y.numpy(), *(autodiff.to_numpy(gradients[x]) for x in (q, k, v))])
    for *ours, expected in zip(*found, strict=True):
        for each in ours:
            np.testing.assert_allclose(each, expected, rtol=1e-11, atol=1e-12)


def in_blocks_when_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut short sequences into blocks as long ones are."""
    monkeypatch.setattr("born.ops.windowed._BLOCK", 2)
    monkeypatch.setattr("born.ops.windowed._SPARED", 1)


def test_matrices_have_a_window_too(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    in_blocks_when_short(monkeypatch)
    x = born.tensor(drawn(17, 4), backend)
    one, two = x[None], ops.stack([x, x])[:, None]
    whole = ops.attention(one, one, one, causal=True, window=2)[0]
    for q, expected in ((x, whole), (two, ops.stack([whole, whole])[:, None])):
        found = ops.attention(q, x, x, causal=True, window=2)
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-13)
    with pytest.raises(DomainError, match="window of at least 1, got 0"):
        ops.attention(x, x, x, window=0)


def test_a_window_takes_memory_in_proportion_to_it() -> None:
    x = born.tensor(drawn(8192, 4).astype(np.float32), computing("numpy"))
    tracemalloc.start()
    ops.attention(x, x, x, causal=True, window=16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8192 * 8192 / 8  # bits of a band would be as many


def test_dropout_of_attention_is_in_training(backend: Backend) -> None:
    layer = nn.MultiHeadAttention(8, 2, backend, dropout=0.5, dtype="float64")
    bare = nn.MultiHeadAttention(8, 2, backend, dtype="float64")
    bare.load_state_dict(layer.state_dict())
    x = born.tensor(drawn(2, 5, 8), backend)
    assert (layer(x).numpy() != layer(x).numpy()).any()
    np.testing.assert_array_equal(layer.eval()(x).numpy(), bare(x).numpy())


def test_dropped_weights_are_scaled(backend: Backend) -> None:
    backend.seed(1)
    keys = born.zeros((2, 1, 400, 1), backend)
    y = ops.attention(keys[:, :, :1], keys, keys + 1.0, dropout=0.25).numpy()
    # Of 400 weights a quarter is dropped, give or take 2%, and the others grow to make up for it.
    np.testing.assert_allclose(y, 1.0, atol=0.15)
    assert (y != 1.0).any()


def test_a_memory_is_attended_to(backend: Backend) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: the parity extra")
    autodiff = Autodiff(backend)
    layer = nn.MultiHeadAttention(8, 2, autodiff, dtype="float64")
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True).double()
    state = {name: x.numpy() for name, x in theirs.state_dict().items()}
    names = {"in_proj_": "project.", "out_proj.": "out."}
    for old, new in names.items():
        state = {name.replace(old, new): x for name, x in state.items()}
    layer.load_state_dict(state)
    x, memory, hidden = drawn(3, 4, 8), drawn(3, 6, 8), np.arange(6) > np.array([[5], [3], [1]])
    leaves = [torch.tensor(each, requires_grad=True) for each in (x, memory)]
    expected, _ = theirs(
        leaves[0], leaves[1], leaves[1], key_padding_mask=torch.tensor(hidden), need_weights=False
    )
    (expected**2).sum().backward()
    tensors = [nn.Parameter(born.tensor(each, autodiff)) for each in (x, memory)]
    mask = born.tensor(~hidden[:, None, None], autodiff)
    with autodiff.tape:
        y = layer(tensors[0], mask, memory=tensors[1])
        loss = (y * y).sum()
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-11, atol=1e-13)
    gradients = backward(loss)
    weights = [
        (layer.project.weight, theirs.in_proj_weight),
        (layer.out.bias, theirs.out_proj.bias),
    ]
    for ours, other in [*zip(tensors, leaves, strict=True), *weights]:
        assert ours is not None
        found = autodiff.to_numpy(gradients[ours])
        np.testing.assert_allclose(found, other.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_a_layer_with_a_window_generates_what_it_gives_at_once(backend: Backend) -> None:
    block = nn.TransformerBlock(12, 3, backend, rotary=True, dtype="float64", window=4)
    x = born.tensor(drawn(2, 20, 12), backend)
    whole = block(x, causal=True).numpy()
    for cache in (nn.KeyValueCache(), nn.KeyValueCache(window=4)):
        for i, j in ((0, 7), (7, 8), (8, 9), (9, 20)):
            part = block(x[:, i:j], causal=True, cache=cache).numpy()
            np.testing.assert_allclose(part, whole[:, i:j], rtol=1e-11, atol=1e-13)


REFUSALS: Final[list[tuple[Callable[[Any], object], type[Exception], str]]] = [
    (lambda b: nn.MultiHeadAttention(6, 4, b), ConfigError, "divide the width 6"),
    (lambda b: nn.MultiHeadAttention(8, 4, b, key_value_heads=3), ConfigError, "a multiple of"),
    (lambda b: nn.MultiHeadAttention(6, 2, b, rotary=True), ConfigError, "even width of a head"),
    (lambda b: nn.MultiHeadAttention(6, 2, b)(born.zeros((3, 6), b)), ShapeError, "tokens, 6"),
    (lambda b: nn.MultiHeadAttention(6, 2, b, window=0), ConfigError, "window of at least 1"),
    (lambda b: nn.MultiHeadAttention(6, 2, b, dropout=2.0), ConfigError, "dropout as a finite"),
    (
        lambda b: nn.MultiHeadAttention(6, 2, b)(
            born.zeros((1, 3, 6), b), memory=born.zeros((1, 3, 4), b)
        ),
        ShapeError,
        r"memory of shape \(batch, tokens, 6\)",
    ),
    (
        lambda b: nn.MultiHeadAttention(6, 2, b)(
            born.zeros((3, 2, 6), b), memory=born.zeros((2, 4, 6), b)
        ),
        ShapeError,
        "a memory for all of x, or for each of its 3",
    ),
    (
        lambda b: nn.MultiHeadAttention(6, 2, b)(
            born.zeros((1, 3, 6), b), cache=nn.KeyValueCache(), memory=born.zeros((1, 3, 6), b)
        ),
        OperandError,
        "a cache or a memory",
    ),
    (lambda b: nn.rotary(born.zeros((2, 3), b)), ShapeError, "an even last axis"),
    (lambda b: nn.KeyValueCache(0), ConfigError, "limit"),
    (lambda b: nn.KeyValueCache(window=0), ConfigError, "window"),
    (lambda b: nn.sinusoidal(2, 3, b), ConfigError, "an even width"),
    (lambda b: attended(b, (2, 3), (2, 4), (2, 3)), ShapeError, "queries"),
    (lambda b: attended(b, (3,), (2, 3), (2, 3)), ShapeError, "queries"),
    (lambda b: attended(b, (3, 2, 4), (2, 2, 4), (2, 2, 4)), ShapeError, "as many"),
    (lambda b: attended(b, (3, 4), (2, 4), (2, 4)), ShapeError, "a mask that broadcast"),
    (
        lambda b: attended(b, (2, 1, 2, 4), (3, 1, 2, 4), (3, 1, 2, 4)),
        ShapeError,
        "leading axes and a mask",
    ),
    (
        lambda b: attended(b, (2, 4), (2, 4), (2, 4), "float64"),
        DTypeError,
        "one dtype in attention",
    ),
]


def attended(
    backend: Backend,
    q: tuple[int, ...],
    k: tuple[int, ...],
    v: tuple[int, ...],
    mask: str = "float32",
) -> born.Tensor[Backend]:
    """Attention of zeros of these shapes, under a mask of a dtype."""
    tensors = [born.zeros(shape, backend) for shape in (q, k, v)]
    return ops.attention(tensors[0], tensors[1], tensors[2], born.zeros((2, 2), backend, mask))


@pytest.mark.parametrize(("call", "kind", "text"), REFUSALS)
def test_refusals(
    call: Callable[[Any], object], kind: type[Exception], text: str, backend: Backend
) -> None:
    with pytest.raises(kind, match=f"^expected .*{text}.*got"):
        call(backend)
