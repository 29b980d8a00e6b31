"""`Tape`: what it records, what each record saves, and when it lets go."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff, Tape, backward
from born.errors import TapeError
from tests.autodiff.leaf import AD, T, leaf


def fail_while_recording(x: T, results: list[weakref.ref[Any]] | None = None) -> None:
    """Record exp(x), and fail before the block ends."""
    with x.backend.tape:
        y = ops.exp(x)
        if results is not None:
            results.append(weakref.ref(y.raw.array))
        raise KeyError


def recording(tape: Tape) -> bool:
    """Whether it records; asked anew, as a type checker would not."""
    return tape.is_recording


def test_only_what_a_leaf_reaches_is_recorded(autodiff: AD) -> None:
    x, constant = leaf(autodiff, 1.0, 2.0), born.ones(2, autodiff, "float64")
    tape = autodiff.tape
    ops.mul(x, constant)
    assert len(tape) == 0, "not recording"
    with tape:
        ops.exp(constant * constant + 1)
        assert len(tape) == 0, "no leaf reaches it"
        y = x * constant
        assert len(tape) == 1
        ops.argmax(y)
        born.zeros(3, autodiff)
        ops.greater(y, 0)
        ops.mul(y.detach(), 2)
        ops.add(y.astype("int64"), 1)
        assert len(tape) == 1, "no gradient flows through these"
        total = (y + 1).sum()
        assert len(tape) == 3
    ops.mul(y, 2)
    assert len(tape) == 3, "not recording any more"
    del total
    assert len(tape) == 1, "a record lives as long as a result that leads to it"


def test_frozen_leaf_is_a_constant(autodiff: AD) -> None:
    x, y = leaf(autodiff, 2.0), leaf(autodiff, 3.0)
    y.requires_grad = False
    with autodiff.tape:
        ops.mul(y, y)
        assert len(autodiff.tape) == 0
        loss = (x * y).sum()
    gradients = backward(loss)
    assert list(gradients) == [x.raw]


def test_walk_starts_at_the_loss_whatever_came_after(autodiff: AD) -> None:
    x = leaf(autodiff, 2.0, 3.0)
    with autodiff.tape:
        loss = (x * x).sum()
        other = ops.exp(x) * 100
        (loss * other).sum()
    assert autodiff.to_numpy(backward(loss)[x]).tolist() == [4.0, 6.0]


def test_tensor_used_many_times_adds_up(autodiff: AD) -> None:
    x = leaf(autodiff, 3.0)
    with autodiff.tape:
        y = x * x + x
        loss = (y * y + ops.maximum(x, x) + ops.concatenate([x, x]).sum()).sum()
    # d/dx (x^2 + x)^2 = 2 (x^2 + x)(2x + 1), plus 1, plus 2.
    assert autodiff.to_numpy(backward(loss)[x]).tolist() == [2 * 12 * 7 + 3.0]


def test_pieces_recorded_apart_make_one_tape(autodiff: AD) -> None:
    x, tape = leaf(autodiff, 2.0), autodiff.tape
    tape.start_recording()
    y = x * x
    tape.stop_recording()
    assert not tape.is_recording
    constant = y * 1.0
    with tape:
        loss = (y * constant).sum()
    assert autodiff.to_numpy(backward(loss)[x]).tolist() == [16.0]


def test_recording_nests(autodiff: AD) -> None:
    tape = autodiff.tape
    assert isinstance(tape, Tape)
    assert tape is not Autodiff(autodiff.inner).tape
    with tape as entered:
        assert entered is tape is autodiff.tape
        with tape:
            assert recording(tape)
        assert recording(tape)
    assert not recording(tape)
    with pytest.raises(TapeError, match=r"expected a tape that is recording, got one .*; call"):
        tape.stop_recording()
    assert not recording(tape)


def test_clear_forgets_and_goes_on(autodiff: AD) -> None:
    x, tape = leaf(autodiff, 2.0), autodiff.tape
    with tape:
        before = (x * x).sum()
        tape.clear()
        assert len(tape) == 0
        assert tape.is_recording
        loss = (x * 3).sum()
        assert len(tape) == 2
    with pytest.raises(TapeError, match="a record of the loss on the tape, got one that was clea"):
        backward(before)
    assert autodiff.to_numpy(backward(loss)[x]).tolist() == [3.0]


def test_error_inside_the_block_leaves_an_empty_tape(autodiff: AD) -> None:
    x, tape = leaf(autodiff, 2.0), autodiff.tape
    with pytest.raises(KeyError):
        fail_while_recording(x)
    assert not recording(tape)
    assert len(tape) == 0
    with tape:
        product = ops.mul(x, x)
        with pytest.raises(KeyError):
            fail_while_recording(x)
        assert recording(tape), "the outer block goes on"
        assert len(tape) == 1, "with what it had recorded"
        del product
        loss = (x * 5).sum()
    assert autodiff.to_numpy(backward(loss)[x]).tolist() == [5.0]


@pytest.fixture
def counted() -> Iterator[None]:
    """No garbage collection: what is freed was freed because nothing refers to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


SAVED: Final[dict[str, tuple[Callable[[T, T], T], tuple[bool, bool, bool]]]] = {
    "add": (lambda x, y: x + y, (False, False, False)),
    "sub": (lambda x, y: x - y, (False, False, False)),
    "mul": (lambda x, y: x * y, (True, True, False)),
    "mul by a number": (lambda x, y: x * 2.0 + y, (False, False, False)),
    "mul by a constant": (lambda x, y: x * y.detach(), (False, True, False)),
    "div": (lambda x, y: x / y, (False, True, True)),
    "matmul": (lambda x, y: x @ y, (True, True, False)),
    "maximum": (ops.maximum, (False, False, False)),
    "exp": (lambda x, y: ops.exp(x), (False, False, True)),
    "log": (lambda x, y: ops.log(x), (True, False, False)),
    "tanh": (lambda x, y: ops.tanh(x), (False, False, True)),
    "relu": (lambda x, y: ops.relu(x), (False, False, True)),
    "sqrt": (lambda x, y: ops.sqrt(x), (False, False, True)),
    "sum": (lambda x, y: ops.sum(x), (False, False, False)),
    "mean": (lambda x, y: ops.mean(x), (False, False, False)),
    "reshape": (lambda x, y: x.reshape(1, -1), (False, False, False)),
    "getitem": (lambda x, y: x[0], (False, False, False)),
    "concatenate": (lambda x, y: ops.concatenate([x, y]), (False, False, False)),
    "softmax": (lambda x, y: ops.softmax(x), (False, False, True)),
    "where": (lambda x, y: ops.where(x.detach() > 0, x, y), (False, False, False)),
    "dropout": (lambda x, y: ops.dropout(x, 0.5), (False, False, False)),
    "layer_norm": (lambda x, y: ops.layer_norm(x), (False, False, False)),
    "rms_norm": (lambda x, y: ops.rms_norm(x), (False, False, False)),
    "logsumexp": (lambda x, y: ops.logsumexp(x), (True, False, True)),
}
"""Operation -> whether its record keeps its first tensor, its second, and its result."""


@pytest.mark.parametrize("name", SAVED)
@pytest.mark.usefixtures("counted")
def test_record_saves_what_its_backward_reads(name: str, autodiff: AD) -> None:
    function, expected = SAVED[name]
    source = leaf(autodiff, 1.0, 2.0, 3.0)
    with autodiff.tape:
        x, y = source * 1.0, source + 1.0
        result = function(x, y)
        loss = (result if result.size == 1 else result.sum()) * 1.0
    alive = [weakref.ref(each.raw.array) for each in (x, y, result)]
    assert isinstance(loss, born.Tensor)
    del x, y, result
    assert tuple(each() is not None for each in alive) == expected


PRODUCTS: Final[dict[str, tuple[Callable[[T, T], T], float]]] = {
    "mul": (lambda tracked, factor: tracked * factor, 2.0),
    "linear": (lambda tracked, factor: ops.linear(factor, tracked), 4.0),
}
"""Product -> each element of its gradient, for factors of twos of shape (2, 2)."""


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.usefixtures("counted")
def test_only_the_factor_of_a_tracked_tensor_is_saved(name: str, autodiff: AD) -> None:
    product, slope = PRODUCTS[name]
    x, constant = born.ones((2, 2), autodiff), born.ones((2, 2), autodiff)
    x.requires_grad = True
    with autodiff.tape:
        tracked, factor = x + 1.0, constant + 1.0
        y = product(tracked, factor)
        alive = weakref.ref(tracked.raw.array), weakref.ref(factor.raw.array)
        del tracked, factor
        assert alive[0]() is None
        assert alive[1]() is not None
        loss = y.sum()
    assert autodiff.to_numpy(backward(loss)[x]).tolist() == [[slope] * 2] * 2


@pytest.mark.usefixtures("counted")
def test_records_are_freed_as_they_are_walked(autodiff: AD) -> None:
    x = leaf(autodiff, 1.0, 2.0)
    alive: list[bool] = []
    with autodiff.tape:
        early = ops.exp(x)
        late = ops.exp(early)
        loss = late.sum()
    watched = weakref.ref(late.raw.array)

    class Spy(type(autodiff.inner)):  # type: ignore[misc]  # the backend under test, whichever
        """Looks, when the walk reaches the first record, whether the later one is still there."""

        def mul(self, g: Any, y: Any, /) -> Any:
            alive.append(watched() is not None)
            return super().mul(g, y)

    autodiff.inner.__class__ = Spy
    del early, late
    backward(loss)
    # Its own pullback holds the late result; the early one's no longer does.
    assert alive == [True, False]


@pytest.mark.usefixtures("counted")
def test_backward_frees_the_whole_tape(autodiff: AD) -> None:
    x = leaf(autodiff, 1.0, 2.0)
    with autodiff.tape:
        y = ops.exp(x)
        loss = y.sum()
        after = ops.exp(y)  # recorded after the loss
    alive = weakref.ref(y.raw.array), weakref.ref(after.raw.array)
    del y, after
    assert backward(loss)[x].shape == (2,)
    assert [each() for each in alive] == [None, None]
    assert len(autodiff.tape) == 0


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("how", ["clear", "error", "failing backward"])
def test_a_tape_that_ends_otherwise_is_freed_too(how: str, autodiff: AD) -> None:
    x, tape = leaf(autodiff, 1.0, 2.0), autodiff.tape
    alive: list[weakref.ref[Any]] = []

    def record() -> T:
        y = ops.exp(x)
        alive.append(weakref.ref(y.raw.array))
        return y.sum()

    if how == "clear":
        with tape:
            record()
        tape.clear()
    elif how == "error":
        with pytest.raises(KeyError):
            fail_while_recording(x, alive)
    else:
        with tape:
            loss = record()

        class Failing(type(autodiff.inner)):  # type: ignore[misc]  # the backend under test
            def mul(self, x: Any, y: Any, /) -> Any:
                raise MemoryError

        autodiff.inner.__class__ = Failing
        with pytest.raises(MemoryError):
            backward(loss)
        with pytest.raises(TapeError, match="consumed"):
            backward(loss)
        gc.collect()  # of the tracebacks, whose frames hold what the error passed through
    assert [each() for each in alive] == [None]
    assert len(tape) == 0


def test_each_use_of_a_leaf_counts_as_it_was_then(autodiff: AD) -> None:
    x = born.tensor([1.0, 2.0], autodiff)
    for first, second, expected in [
        (True, True, [5.0, 5.0]),
        (True, False, [2.0, 2.0]),
        (False, True, [3.0, 3.0]),
    ]:
        with autodiff.tape:
            x.requires_grad = first
            y = x * 2.0
            x.requires_grad = second
            loss = (y + x * 3.0).sum()
        np.testing.assert_array_equal(autodiff.to_numpy(backward(loss)[x]), expected)


def test_leaf_that_nothing_came_from_is_no_loss(autodiff: AD) -> None:
    used, unused = born.tensor(1.0, autodiff), born.tensor(1.0, autodiff)
    used.requires_grad = unused.requires_grad = True
    with autodiff.tape:
        _ = used * 2.0
        with pytest.raises(TapeError, match="expected a loss on the tape"):
            backward(unused, keep_tape=True)
        assert backward(used)[used].item() == 1.0
