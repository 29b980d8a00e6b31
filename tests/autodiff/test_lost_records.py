"""A record that is gone, foreign or out of date is an error, never a constant."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import born
from born import nn, ops, optim
from born.autodiff import Autodiff, Tape, backward, grad, value_and_grad
from born.backend import Backend
from born.errors import TapeError
from tests.autodiff.leaf import T, leaf

GONE = r"expected a record of .* on the tape, got one that {}; .* \.detach\(\)"
CONSUMED = GONE.format("a backward pass has consumed")


def host(autodiff: Autodiff[Backend], raw: born.RawTensor) -> list[Any]:
    """A gradient as a list."""
    values: list[Any] = autodiff.to_numpy(raw).tolist()
    return values


# -- what a backward pass frees, and what it leaves ------------------------------------------


def test_the_usual_loop_of_a_gan_trains_the_generator(autodiff: Autodiff[Backend]) -> None:
    w, v = leaf(autodiff, 2.0), leaf(autodiff, 3.0)  # generator w z, discriminator v x
    with autodiff.tape:
        fake = w * 1.5
    with autodiff.tape:
        d_loss = ((v * fake.detach()) ** 2).sum()
    assert host(autodiff, backward(d_loss)[v]) == [2 * 3.0 * 3.0**2]
    with autodiff.tape:
        g_loss = ((v * fake - 1) ** 2).sum()
    gradients = backward(g_loss)
    assert host(autodiff, gradients[w]) == [2 * (3 * 3.0 - 1) * 3 * 1.5]


def test_two_heads_over_a_trunk_that_is_freed(autodiff: Autodiff[Backend]) -> None:
    x = leaf(autodiff, 2.0)
    with autodiff.tape:
        trunk = x * x
        first, second = (trunk * 2).sum(), (trunk * 3).sum()
    backward(first)
    with pytest.raises(TapeError, match=CONSUMED):
        backward(second)


def test_hidden_state_carried_over_a_backward_pass(autodiff: Autodiff[Backend]) -> None:
    w, state = leaf(autodiff, 0.5), born.ones(1, autodiff, "float64")
    for step in range(3):
        with autodiff.tape:
            state = ops.tanh(w * state + 1.0)
            loss = (state * state).sum()
        if step:
            with pytest.raises(TapeError, match=CONSUMED):
                backward(loss)
        else:
            backward(loss)
    state = born.ones(1, autodiff, "float64")
    for _ in range(3):
        with autodiff.tape:
            state = ops.tanh(w * state.detach() + 1.0)
            loss = (state * state).sum()
        assert w.raw in backward(loss)


def test_a_cleared_record_is_an_error(autodiff: Autodiff[Backend]) -> None:
    x = leaf(autodiff, 2.0)
    with autodiff.tape:
        y = x * x
        autodiff.tape.clear()
        loss = (y * x).sum()
    with pytest.raises(TapeError, match=GONE.format("was cleared")):
        backward(loss)


def test_a_record_of_another_thread_is_an_error(autodiff: Autodiff[Backend]) -> None:
    x = leaf(autodiff, 2.0)

    def part() -> T:
        with autodiff.tape:
            return x * x

    with ThreadPoolExecutor(1) as pool:
        y = pool.submit(part).result()
    with autodiff.tape:
        loss = (y * x).sum()
    with pytest.raises(TapeError, match=r"recorded by this thread .* \.detach\(\)"):
        backward(loss)
    with autodiff.tape:
        loss = (y.detach() * x).sum()
    assert host(autodiff, backward(loss)[x]) == [4.0]


def test_a_detached_tensor_is_a_constant_whatever_became_of_its_record(
    autodiff: Autodiff[Backend],
) -> None:
    x = leaf(autodiff, 3.0)
    with autodiff.tape:
        y = x * x
        backward(y.sum())
        loss = (y.detach() * x).sum()
    assert host(autodiff, backward(loss)[x]) == [9.0]


def test_many_losses_of_one_tape_take_time_in_proportion(autodiff: Autodiff[Backend]) -> None:
    x = leaf(autodiff, 3.0)
    with autodiff.tape:
        losses = [(x * float(i)).sum() for i in range(3000)]
    looked_at = 0
    origin = Tape._forget_gone  # pyright: ignore[reportPrivateUsage]  # what is counted

    def counted(tape: Tape) -> None:
        nonlocal looked_at
        looked_at += len(tape._nodes)  # pyright: ignore[reportPrivateUsage]  # what is counted
        origin(tape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tape, "_forget_gone", counted)
        for i, loss in enumerate(losses):
            assert host(autodiff, backward(loss)[x]) == [float(i)]
    assert looked_at <= 2 * len(losses)


def test_a_dropped_loss_is_freed_with_its_records(autodiff: Autodiff[Backend]) -> None:
    x = leaf(autodiff, 1.0, 2.0, 3.0)
    gc.disable()
    try:
        with autodiff.tape:
            for _ in range(5000):
                ops.exp(ops.tanh(x) / x).sum()
                assert len(autodiff.tape) == 0
    finally:
        gc.enable()


# -- inside functions that are differentiated ------------------------------------------------


def _with_backward(x: T) -> T:
    y = x * x
    backward(y.sum())
    return (y * 2).sum()


def _after_clear(x: T) -> T:
    x.backend.tape.clear()
    return (x * x).sum()


def _with_clear(x: T) -> T:
    y = x * x
    x.backend.tape.clear()
    return (y * 2).sum()


@pytest.mark.parametrize("function", [_with_backward, _with_clear, _after_clear])
def test_a_function_that_ends_its_own_records_has_no_gradient(
    function: Callable[[T], T], autodiff: Autodiff[Backend]
) -> None:
    with pytest.raises(TapeError, match=r"\.detach\(\)"):
        grad(function)(leaf(autodiff, 2.0))


def test_a_value_returned_by_value_and_grad_is_a_constant(autodiff: Autodiff[Backend]) -> None:
    x = leaf(autodiff, 2.0)
    scale = born.ones((), autodiff, "float64")

    def scaled(x: T, factor: T) -> T:
        return (x * factor).sum()

    values: list[float] = []
    for _ in range(3):
        scale, gradient = value_and_grad(scaled)(x, scale)
        values += [float(scale), *gradient.numpy().tolist()]
    assert values == [2.0, 1.0, 4.0, 2.0, 8.0, 4.0]


def test_a_tensor_that_leaks_out_of_a_function_is_an_error(autodiff: Autodiff[Backend]) -> None:
    leaked: list[T] = []

    def function(x: T) -> T:
        leaked.append(x * x)
        return leaked[-1].sum()

    x = leaf(autodiff, 2.0)
    grad(function)(x)
    with autodiff.tape:
        loss = (leaked[0] * x).sum()
    with pytest.raises(TapeError, match=r"recorded by this thread and in this call of grad"):
        backward(loss)


# -- values that changed ---------------------------------------------------------------------


def test_a_parameter_stepped_between_forward_and_backward(autodiff: Autodiff[Backend]) -> None:
    p = nn.Parameter(born.tensor([2.0], autodiff), "weight")
    optimizer = optim.SGD([p], optim.SGDConfig(lr=1.0))
    with autodiff.tape:
        loss = (p * p * p).sum()
    optimizer.step({p.raw: born.ones(1, autodiff).raw})
    with pytest.raises(TapeError, match=r"'weight' of shape \(1,\) that was changed since"):
        backward(loss)


@pytest.mark.parametrize("change", ["assign", "load"])
def test_a_parameter_written_between_forward_and_backward(
    change: str, autodiff: Autodiff[Backend]
) -> None:
    layer = nn.Linear(2, 1, autodiff, dtype="float64")
    x = leaf(autodiff, 1.0, 2.0)
    with autodiff.tape:
        loss = (layer(x) ** 2).sum()
    if change == "assign":
        autodiff.assign(layer.weight.raw, autodiff.inner.ones((1, 2), "float64"))
    else:
        layer.load_state_dict(layer.state_dict())
    with pytest.raises(TapeError, match="was changed since"):
        backward(loss)


VIEWS: dict[str, Callable[[T], T]] = {
    "reshape": lambda p: p.reshape((2, 1)),
    "transpose": lambda p: p.reshape((2, 1)).T,
    "getitem": lambda p: p[:1],
    "flip": ops.flip,
    "broadcast_to": lambda p: ops.broadcast_to(p, (3, 2)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_change_is_seen_through_a_view(name: str, autodiff: Autodiff[Backend]) -> None:
    p = leaf(autodiff, 1.0, 2.0)
    with autodiff.tape:
        view = VIEWS[name](p)
        loss, linear = (view * view).sum(), view.sum()
    memory = view.raw.array.base is not None
    autodiff.assign(p.raw, autodiff.inner.from_numpy(np.array([10.0, 20.0])))
    assert p.raw in backward(linear, keep_tape=True)
    if memory:
        with pytest.raises(TapeError, match="was changed since"):
            backward(loss)


def test_a_constant_that_changed_is_an_error_too(autodiff: Autodiff[Backend]) -> None:
    p, frozen = leaf(autodiff, 1.0), leaf(autodiff, 2.0)
    frozen.requires_grad = False
    with autodiff.tape:
        loss = (p * frozen).sum()
    autodiff.assign(frozen.raw, p.raw)
    with pytest.raises(TapeError, match="was changed since"):
        backward(loss)


@pytest.mark.parametrize("name", ["detached", "a view", "a result", "a constant"])
def test_memory_that_is_read_under_another_name(name: str, autodiff: Autodiff[Backend]) -> None:
    p, q = leaf(autodiff, 1.0, 2.0), leaf(autodiff, 3.0, 4.0)
    constant = born.ones(2, autodiff, "float64")
    with autodiff.tape:
        if name == "detached":
            loss, changed = (p.detach() * q).sum(), p
        elif name == "a view":
            loss, changed = (p.reshape((2, 1)).T[0] ** 2).sum(), p
        elif name == "a result":
            changed = ops.exp(q)
            loss = (changed * 2.0).sum()
        else:
            loss, changed = (constant * q).sum(), constant
    autodiff.assign(changed.raw, autodiff.inner.zeros((2,), "float64"))
    with pytest.raises(TapeError, match="was changed since"):
        backward(loss)


def test_a_parameter_whose_value_no_gradient_reads_may_change(autodiff: Autodiff[Backend]) -> None:
    p, q = leaf(autodiff, 2.0), leaf(autodiff, 3.0)
    with autodiff.tape:
        loss = (p + q * 2.0).sum()
    autodiff.assign(q.raw, p.raw)
    gradients = backward(loss)
    assert [host(autodiff, gradients[each]) for each in (p, q)] == [[1.0], [2.0]]


def test_a_pass_after_the_change_is_right_where_it_was_recorded_after(
    autodiff: Autodiff[Backend],
) -> None:
    p = leaf(autodiff, 2.0)
    with autodiff.tape:
        first = (p * p).sum()
    backward(first)
    autodiff.assign(p.raw, autodiff.inner.from_numpy(np.array([5.0])))
    with autodiff.tape:
        second = (p * p).sum()
    assert host(autodiff, backward(second)[p]) == [10.0]


# -- values that leave -----------------------------------------------------------------------

LEAVING: dict[str, Callable[[T], object]] = {
    "float": float,
    "item": lambda x: x.sum().item(),
    "numpy": lambda x: x.numpy(),
    "NumPy's function": lambda x: np.sum(np.asarray(x)),
    "a list": lambda x: born.tensor([x.sum(), x.sum()], x.backend),
    "another backend": lambda x: x.to(x.backend.innermost),
    "memory": np.from_dlpack,
    "a deep copy": copy.deepcopy,
}


@pytest.mark.parametrize("use", LEAVING)
def test_a_value_that_leaves_a_function_is_an_error(use: str, autodiff: Autodiff[Backend]) -> None:
    def function(x: T) -> T:
        LEAVING[use](x)
        return (x * x).sum()

    with pytest.raises(TapeError, match=r"ops.stack.*\.detach\(\)"):
        grad(function)(leaf(autodiff, 3.0))


def test_decisions_and_detached_values_may_leave(autodiff: Autodiff[Backend]) -> None:
    def function(x: T) -> T:
        assert repr(x * 1.0) == "Tensor([3.], dtype=float64)", "what is shown needs no gradient"
        scale = 2.0 if x.sum() > 0 else x.detach().item()
        return (x * scale).sum()

    assert grad(function)(leaf(autodiff, 3.0)).numpy().tolist() == [2.0]


def test_a_list_of_recorded_tensors_is_no_constant(autodiff: Autodiff[Backend]) -> None:
    x = leaf(autodiff, 2.0, 3.0)
    with autodiff.tape:
        parts = x[0] * 1.0, x[1] * 2.0
        with pytest.raises(TapeError, match=r"ops.stack.*\.detach\(\)"):
            born.tensor([[1.0, parts[0]], [0.0, parts[1]]], autodiff)
        loss = ops.stack(parts).sum()
    assert born.tensor([part.item() for part in parts], autodiff).numpy().tolist() == [2.0, 6.0]
    assert host(autodiff, backward(loss)[x]) == [1.0, 2.0]
