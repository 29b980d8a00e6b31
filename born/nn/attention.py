"""Attention layers, and the positions that they are told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from typing_extensions import override

from born import ops
from born.backend import B
from born.dtypes import DTypeLike, as_dtype, bool_
from born.errors import ConfigError, DTypeError, OperandError, ShapeError
from born.nn.dropout import Dropout
from born.nn.linear import Linear
from born.nn.module import Module
from born.nn.normalization import LayerNorm
from born.operands import backend_mismatch, backend_of
from born.ops.linear import Activation
from born.raw import HostArray
from born.tensor import B2, Tensor
from born.validation import flag, integer, number


class KeyValueCache:
    """The keys and values of the tokens that were seen, for generating one after another.

    Hand one to each attention layer of a model; it grows by what the layer is called with.
    It is for use, not for training: no gradient passes to what it holds from before.

    Args:
        limit: how many tokens it may be given, for which it takes memory at once; no limit by
            default, and memory that doubles when it is full.
        window: how many tokens each token sees, itself and those before it; all by default. Of
            earlier ones the memory is let go, so that a text may go on for ever.

    Source of the window: Beltagy, Peters and Cohan (2020), arXiv:2004.05150, section 3.1.

    >>> layer, cache = MultiHeadAttention(4, 2, backend), KeyValueCache(limit=8)
    >>> for token in range(3):
    ...     y = layer(born.zeros((1, 1, 4), backend), causal=True, cache=cache)
    >>> cache.length
    3
    """

    def __init__(self, limit: int | None = None, window: int | None = None) -> None:
        self.limit = None if limit is None else integer("limit", limit)
        self.window = None if window is None else integer("window", window)
        self._length = 0
        self._end = 0  # of the tokens in its memory, which has gone on where there is a window
        self._rooms: tuple[Tensor[Any], Tensor[Any]] | None = None

    def __copy__(self) -> Self:
        """One that goes on by itself, as branches of a text do."""
        made = type(self)(self.limit, self.window)
        if self._rooms is not None:
            made._length, made._end = self._length, self._end
            key, value = (Tensor(x.backend.copy(x.raw), x.backend) for x in self._rooms)
            made._rooms = key, value
        return made

    @property
    def length(self) -> int:
        """How many tokens it was given: the position of the next."""
        return self._length

    def reset(self) -> None:
        """Forget all tokens, for another text."""
        self._length, self._end, self._rooms = 0, 0, None  # what it gave may still be held

    def extended(self, k: Tensor[B], v: Tensor[B]) -> tuple[Tensor[B], Tensor[B]]:
        """All keys and values that these see, their own last, each (..., tokens, width of a head).

        With a window these are one less before the first of them, and all from there on. The
        results lie in the memory of the cache, where nothing writes to them later.

        Raises:
            ShapeError: more tokens than its limit, or another shape than that of what it holds.
            BackendMismatchError: tensors of another backend than that of what it holds.
            DTypeError: another dtype.
        """
        count = k.raw.shape[-2]
        if self.limit is not None and self._length + count > self.limit:
            raise ShapeError(
                f"expected at most {self.limit} tokens in a cache, got {self._length} and "
                f"{count} more; reset it, or make it with a larger limit"
            )
        rooms = self._with_room(k, v, count)
        first, start, stop = self._first, self._end, self._end + count
        try:
            for room, new in zip(rooms, (k, v), strict=True):
                room.backend.assign(_tokens(room, start, stop).raw, new.raw)
        except (ShapeError, DTypeError) as error:
            held, got = (
                " and ".join(f"{x.dtype} {(*x.shape[:-2], '...', x.shape[-1])}" for x in xs)
                for xs in (rooms, (k, v))
            )
            raise type(error)(
                f"expected keys and values like those in the cache, {held}, got {got}; reset it "
                "before another batch"
            ) from error
        self._length, self._end = self._length + count, stop
        if k.raw.node is None and v.raw.node is None:
            return _tokens(rooms[0], first, stop), _tokens(rooms[1], first, stop)
        k, v = (
            ops.concatenate([_tokens(room, first, start), new], axis=-2)
            for room, new in zip(rooms, (k, v), strict=True)
        )
        return k, v

    def mask(self, tokens: int, keys: int, backend: B) -> Tensor[B] | None:
        """Which of the keys that `extended` gave each of the tokens sees; None for all.

        Bools of shape (tokens, keys); that none sees a later one is for `causal` to say.
        """
        if self.window is None or tokens == 1 or keys <= self.window:
            return None
        places = np.arange(keys - tokens, keys)[:, None] - np.arange(keys)
        return Tensor(backend.from_numpy(places < self.window), backend)

    @property
    def _first(self) -> int:
        """Where the tokens in its memory begin that the next one sees."""
        return 0 if self.window is None else max(0, self._end - self.window + 1)

    def _with_room(self, k: Tensor[B], v: Tensor[B], more: int) -> tuple[Tensor[B], Tensor[B]]:
        """Memory of keys and of values for more tokens, with those that are still seen."""
        rooms: tuple[Tensor[B], Tensor[B]] | None = self._rooms if self._length else None
        if rooms is not None:
            for x in (k, v):
                if x.backend is not rooms[0].backend:
                    raise backend_mismatch(rooms[0].backend, x.backend)
            if rooms[0].raw.shape[-2] >= self._end + more:
                return rooms
        first, held = self._first, self._end - self._first
        # As many again as are copied, so that a copy is seldom.
        needed = held + max(more, self.window or 0)
        count = max(_LEAST_ROOM, 1 << (needed - 1).bit_length())
        if self.limit is not None:
            count = self.limit if self.window is None else min(self.limit, count)
        made = [_room(x, count) for x in rooms or (k, v)]
        for room, old in zip(made, rooms or (), strict=False):
            seen = _tokens(old, first, self._end).raw
            room.backend.assign(_tokens(room, 0, held).raw, seen)
        self._end, self._rooms = held, (made[0], made[1])
        return self._rooms


_LEAST_ROOM: Final = 16  # tokens


def _room(x: Tensor[B], tokens: int) -> Tensor[B]:
    shape = (*x.shape[:-2], tokens, x.shape[-1])
    return Tensor(x.backend.zeros(shape, x.dtype), x.backend)


def _tokens(room: Tensor[B], start: int, stop: int) -> Tensor[B]:
    """Some tokens of a room, in its memory."""
    part = room.backend.getitem(room.raw, (..., slice(start, stop), _ALL))
    return Tensor(part, room.backend)


_ALL: Final = slice(None)


class MultiHeadAttention(Module[B]):
    """Attention in several heads, each over a part of the width, joined by an affine map.

        y = W_o [head_1, ..., head_h] + b_o,    head_i = attention(q_i, k_i, v_i)

    with q, k and v from one affine map of x each, or k and v from one of a memory, such as what an
    encoder has made of another sequence (`ops.attention` says what attention is).

    Args:
        width: length of the last axis of x and y.
        heads: into how many heads it is cut; a divisor of `width`.
        backend: where the parameters live; its random state is used.
        key_value_heads: how many heads keys and values have, a divisor of `heads`, each of
            which serves several queries (grouped queries); `heads` by default.
        rotary: whether to turn queries and keys by their positions (`rotary`).
        bias: whether the affine maps have one.
        dtype: of the parameters, a floating dtype.
        window: how far each token sees, itself counted, as for `ops.attention`; all by default. A
            `KeyValueCache` with the same window lets go of what is no longer seen.
        dropout: the probability of zero, in training, for each weight of the attention.

    Attributes:
        project: the affine maps to queries, keys and values, one after the other.
        out: the affine map of the joined heads.

    Source: Vaswani et al. (2017), "Attention Is All You Need", section 3.2.2.

    >>> layer = MultiHeadAttention(8, 2, backend)
    >>> layer(born.zeros((3, 5, 8), backend), causal=True).shape
    (3, 5, 8)
    """

    project: Linear[B]
    out: Linear[B]

    def __init__(
        self,
        width: int,
        heads: int,
        backend: B,
        key_value_heads: int | None = None,
        rotary: bool = False,
        bias: bool = True,
        dtype: DTypeLike = "float32",
        window: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        self.heads = integer("heads", heads)
        self.window = None if window is None else integer("window", window)
        self.dropout = number("dropout", dropout, 0.0, 1.0)
        groups = self.heads if key_value_heads is None else key_value_heads
        self.key_value_heads = integer("key_value_heads", groups)
        self.width = integer("width", width)
        self.rotary = flag("rotary", rotary)
        if self.width % self.heads or self.heads % self.key_value_heads:
            raise ConfigError(
                f"expected heads that divide the width {width} and are a multiple of "
                f"key_value_heads, got heads={heads} and key_value_heads={groups}; change one"
            )
        depth = self.width // self.heads
        if self.rotary and depth % 2:
            raise ConfigError(
                f"expected an even width of a head for rotary positions, got {depth}; change heads"
            )
        both = self.width + 2 * depth * self.key_value_heads
        self.project = Linear(self.width, both, backend, bias, dtype)
        self.out = Linear(self.width, self.width, backend, bias, dtype)

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> MultiHeadAttention[B2]: ...

    def forward(
        self,
        x: Tensor[B],
        /,
        mask: Tensor[B] | None = None,
        *,
        causal: bool = False,
        cache: KeyValueCache | None = None,
        memory: Tensor[B] | None = None,
    ) -> Tensor[B]:
        """Attend from x, of shape `(batch, T, width)`, to itself and to what the cache holds.

        `mask` and `causal` are those of `ops.attention`; a mask is of shape `(batch, 1, T, S)` or
        one that broadcasts to `(batch, heads, T, S)`. With a `memory`, of shape
        `(batch, S, width)`, x attends to that and not to itself.
        """
        self._check("x", x)
        batch, tokens, _ = x.shape
        if memory is None:
            q, k, v = self._parts(self.project(x), batch, tokens, cache is not None)
        else:
            if cache is not None:
                raise OperandError(
                    "expected a cache or a memory, got both; a memory is the same for every token, "
                    "so leave out the cache"
                )
            q, k, v = self._crossed(x, memory)
        if self.rotary:
            start = 0 if cache is None else cache.length
            q, k = rotary(q, start), rotary(k, start)
        if cache is not None:
            k, v = cache.extended(k, v)
            mask = _both(mask, cache.mask(tokens, k.shape[-2], x.backend))
        dropout = self.dropout if self.training else 0.0
        y = ops.attention(q, k, v, mask, causal=causal, window=self.window, dropout=dropout)
        joined = ops.transpose(y, (0, 2, 1, 3))
        return self.out(ops.reshape(joined, (batch, tokens, self.width)))

    def _check(self, name: str, x: Tensor[B]) -> None:
        backend_of(type(self).__name__, x)
        if x.ndim != 3 or x.shape[-1] != self.width:
            raise ShapeError(
                f"expected {name} of shape (batch, tokens, {self.width}), got {x.shape}; reshape it"
            )

    def _crossed(self, x: Tensor[B], memory: Tensor[B]) -> tuple[Tensor[B], Tensor[B], Tensor[B]]:
        """Queries of x, keys and values of a memory, each (batch, heads, tokens, depth)."""
        self._check("memory", memory)
        if len(memory) not in (1, len(x)):
            raise ShapeError(
                f"expected a memory for all of x, or for each of its {len(x)}, got shape "
                f"{memory.shape}; select those of x"
            )
        weight, bias, end = self.project.weight, self.project.bias, self.width
        first = ops.linear(x, weight[:end], None if bias is None else bias[:end])
        second = ops.linear(memory, weight[end:], None if bias is None else bias[end:])
        q, k, v = (
            ops.transpose(ops.reshape(part, (*part.shape[:2], -1, end // self.heads)), (0, 2, 1, 3))
            for part in (first, *ops.split(second, 2, axis=-1))
        )
        return q, k, v

    def _parts(
        self, joined: Tensor[B], batch: int, tokens: int, generating: bool
    ) -> tuple[Tensor[B], Tensor[B], Tensor[B]]:
        """Queries, keys and values of all heads, each (batch, heads, tokens, depth)."""
        depth, ends = self.width // self.heads, [self.heads, self.heads + self.key_value_heads]
        if generating:  # few tokens, where each operation counts
            heads = ops.transpose(ops.reshape(joined, (batch, tokens, -1, depth)), (0, 2, 1, 3))
            q, k, v = ops.split(heads, ends, axis=1)
            return q, k, v
        # Cut along the rows that the product has, into which their gradients go without a copy.
        q, k, v = (
            ops.transpose(ops.reshape(part, (batch, tokens, -1, depth)), (0, 2, 1, 3))
            for part in ops.split(joined, [end * depth for end in ends], axis=-1)
        )
        return q, k, v


def _both(mask: Tensor[B] | None, band: Tensor[B] | None) -> Tensor[B] | None:
    """A mask, of bools or to be added, and one of bools."""
    if mask is None or band is None:
        return band if mask is None else mask
    return mask & band if mask.dtype == bool_ else ops.where(band, mask, -math.inf)


class TransformerBlock(Module[B]):
    """Attention and a network of two layers, each added to what it is given, normalised first.

        x ← x + attention(norm_1(x));    x ← x + W_2 f(W_1 norm_2(x))

    Args:
        width: length of the last axis of x.
        heads: of the attention; a divisor of `width`.
        backend: where the parameters live; its random state is used.
        hidden: width of the layer inside; 4 · width by default.
        activation: f by its name in `born.ops`.
        dropout: the probability of zero for what is added.
        key_value_heads: as for `MultiHeadAttention`.
        rotary: as for `MultiHeadAttention`.
        dtype: of the parameters.
        window: as for `MultiHeadAttention`.

    Source: Radford et al. (2019), "Language Models are Unsupervised Multitask Learners", section
    2.3: normalisation before, not after.

    >>> block = TransformerBlock(8, 2, backend)
    >>> block(born.zeros((3, 5, 8), backend), causal=True).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        width: int,
        heads: int,
        backend: B,
        hidden: int | None = None,
        activation: Activation = "gelu",
        dropout: float = 0.0,
        key_value_heads: int | None = None,
        rotary: bool = False,
        dtype: DTypeLike = "float32",
        window: int | None = None,
    ) -> None:
        inner = 4 * width if hidden is None else hidden
        self.norm_1 = LayerNorm(width, backend, dtype=dtype)
        self.attention = MultiHeadAttention(
            width, heads, backend, key_value_heads, rotary, dtype=dtype, window=window
        )
        self.norm_2 = LayerNorm(width, backend, dtype=dtype)
        self.up = Linear(width, inner, backend, dtype=dtype, activation=activation)
        self.down = Linear(inner, width, backend, dtype=dtype)
        self.dropout = Dropout(dropout)

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> TransformerBlock[B2]: ...

    def forward(
        self,
        x: Tensor[B],
        /,
        mask: Tensor[B] | None = None,
        *,
        causal: bool = False,
        cache: KeyValueCache | None = None,
    ) -> Tensor[B]:
        """Transform x, of shape `(batch, T, width)`; arguments as for `MultiHeadAttention`."""
        heads = self.attention(self.norm_1(x), mask, causal=causal, cache=cache)
        x = x + self.dropout(heads)
        return x + self.dropout(self.down(self.up(self.norm_2(x))))


def rotary(x: Tensor[B], start: int = 0, base: float = 10_000.0) -> Tensor[B]:
    """Vectors turned by angles that grow with their positions, so that products see distances.

        (x_i, x_{i + D/2}) ← rotation by position · base^(-2 i / D),    i < D/2

    Args:
        x: queries or keys, shape (..., T, D), D even.
        start: the position of the first; the others follow.
        base: of the frequencies.

    Source: Su et al. (2021), arXiv:2104.09864, section 3.2, in the halves that GPT-NeoX and
    Llama pair.

    >>> rotary(born.ones((2, 2), backend)).numpy().round(3)
    array([[ 1.   ,  1.   ],
           [-0.301,  1.382]], dtype=float32)
    """
    backend_of("rotary", x)
    if x.ndim < 2 or x.shape[-1] % 2:
        raise ShapeError(
            f"expected an even last axis and positions before it in rotary, got shape {x.shape}; "
            "reshape it"
        )
    angles = _angles(x.shape[-2], x.shape[-1] // 2, start, base)
    cosine, sine = (
        Tensor(x.backend.from_numpy(part.astype(x.dtype)), x.backend)
        for part in (np.cos(angles), np.sin(angles))
    )
    a, b = ops.split(x, 2, axis=-1)
    return ops.concatenate([a * cosine - b * sine, a * sine + b * cosine], axis=-1)


def sinusoidal(
    length: int, width: int, backend: B, dtype: DTypeLike = "float32", base: float = 10_000.0
) -> Tensor[B]:
    """Fixed positions to add to a sequence: sines and cosines of falling frequencies.

        y[t, 2 i] = sin(t base^(-2 i / width)),    y[t, 2 i + 1] = cos(the same)

    Returns:
        shape (length, width); width is even.

    Source: Vaswani et al. (2017), section 3.5.

    >>> sinusoidal(2, 2, backend).numpy().round(3)
    array([[0.   , 1.   ],
           [0.841, 0.54 ]], dtype=float32)
    """
    if integer("width", width) % 2:
        raise ConfigError(f"expected an even width of positions, got {width}; add one")
    angles = _angles(integer("length", length), width // 2, 0, base)
    both = np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, width)
    return Tensor(backend.from_numpy(both.astype(as_dtype(dtype))), backend)


def _angles(length: int, half: int, start: int, base: float) -> HostArray:
    """position · base^(-i / half), in double."""
    frequencies = np.exp(np.arange(half) * (-math.log(base) / max(half, 1)))
    angles: HostArray = np.arange(start, start + length)[:, None] * frequencies
    return angles
