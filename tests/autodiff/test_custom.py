"""Functions with derivatives of their own, computed anew, in loops, and of what a solver finds."""

# Functions of trees are typed as of anything.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

import born
from born import nn, ops
from born.autodiff import (
    Autodiff,
    backward,
    check_gradients,
    checkpointed,
    custom_vjp,
    grad,
    hessian,
    implicit,
    jacobian,
    scan,
    vjp,
)
from born.autodiff.implicit import DENSE
from born.backend import Backend
from born.errors import (
    BornError,
    DomainError,
    GradientError,
    LinAlgError,
    OperandError,
    ShapeError,
    TapeError,
)
from tests.autodiff.leaf import AD, T, of


def close(found: Any, expected: Any, rtol: float = 1e-12) -> None:
    found, expected = (
        each.numpy() if isinstance(each, born.Tensor) else each for each in (found, expected)
    )
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


# -- a derivative of its own -------------------------------------------------------------


def test_a_given_derivative_takes_the_place_of_the_own(autodiff: AD) -> None:
    calls: list[str] = []

    def function(x: T, y: T, n: int) -> tuple[T, T]:
        calls.append("function")
        return x * y * n, y

    def forward(x: T, y: T, n: int) -> tuple[tuple[T, T], Any]:
        calls.append("forward")
        return (x * y * n, y), (x, y)

    def pull(saved: Any, g: tuple[T, T]) -> tuple[T, T | None, None]:
        x, y = saved
        return g[0] * y * 100.0, g[1] * x, None

    own = custom_vjp(function, forward, pull)
    x, y = of(autodiff, 2.0), of(autodiff, 3.0)
    assert own(x, y, 4)[0].tolist() == [24.0]
    assert calls == ["function"]
    dx, dy = grad(lambda x, y: (own(x, y, 4)[0] + 2.0 * own(x, y, 4)[1]).sum(), (0, 1))(x, y)
    assert (dx.tolist(), dy.tolist()) == ([300.0], [4.0])
    assert "function" not in calls[1:]
    twice = grad(lambda y: grad(lambda x: own(x, y, 4)[0].sum())(x).sum())(y)
    assert twice.tolist() == [100.0]
    x.requires_grad = True
    with autodiff.tape:
        loss = own(x, y, 4)[0].sum()
    assert autodiff.to_numpy(backward(loss)[x]).tolist() == [300.0]
    assert jacobian(lambda x: own(x, y, 4)[0])(x.detach()).tolist() == [[300.0]]


def test_results_of_several_dtypes(autodiff: AD) -> None:
    def function(x: T) -> tuple[T, T]:
        return x.astype("float32"), x

    def pull(saved: Any, g: tuple[T, T]) -> T:
        assert [x.dtype.name for x in g] == ["float32", "float64"]
        return g[0].astype("float64") * 10.0 + g[1]

    own = custom_vjp(function, lambda x: (function(x), None), pull)
    x = of(autodiff, 1.0, 2.0)
    found = grad(lambda x: own(x)[0].astype("float64").sum() + (own(x)[1] * x).sum())(x)
    assert found.tolist() == [12.0, 14.0]


def test_what_a_derivative_of_its_own_cannot_do(autodiff: AD) -> None:
    x, weight = of(autodiff, 2.0), of(autodiff, 3.0)
    weight.requires_grad = True

    def captures(x: T) -> T:
        return x * weight

    own = custom_vjp(captures, lambda x: (captures(x), None), lambda _, g: g)
    with (
        autodiff.tape,
        pytest.raises(TapeError, match=r"got a recorded tensor .* elsewhere; make it an argument"),
    ):
        own(x)
    make: Any = custom_vjp
    two = make(ops.add, lambda x, y: (x + y, None), lambda _, g: g)
    with pytest.raises(OperandError, match=r"expected 2 gradients from backward, .* got Tensor"):
        grad(lambda x: two(x, x).sum())(x)
    bare = make(ops.sin, ops.sin, lambda _, g: g)
    with pytest.raises(OperandError, match=r"expected \(result, saved\) from forward"):
        grad(lambda x: bare(x).sum())(x)
    wide = make(ops.sin, lambda x: (ops.sin(x), None), lambda _, g: g.sum())
    with pytest.raises(ShapeError, match=r"expected a gradient of the point's shape"):
        grad(lambda x: wide(x).sum())(x)
    assert not autodiff.tape.is_recording
    _, pull = vjp(ops.sin, x)
    with pytest.raises(TapeError, match="call vjp inside of what is differentiated"):
        grad(lambda v: pull(v)[0].sum())(x)


# -- checks ------------------------------------------------------------------------------


def test_check_gradients_says_where_they_differ(autodiff: AD) -> None:
    x = of(autodiff, 0.5, -1.0, 2.0)

    def wrong_at_one(tree: dict[str, T]) -> T:
        y = tree["a"]
        return y * y + born.tensor(np.array([0.0, 1.0, 0.0]), autodiff) * y * y.detach()

    check_gradients(lambda t: ops.exp(t["a"]) * t["a"], {"a": x}, order=2)
    check_gradients(lambda x, y: (x * y, x.sum()), x, x * 2.0)
    check_gradients(ops.sin, x.astype("float32"))
    with pytest.raises(GradientError) as caught:
        check_gradients(wrong_at_one, {"a": x})
    # weights 1 + sin(1 + i sqrt 2) / 2; the gradient is w (2 + 1) x, and the difference w 4 x
    weight = 1 + 0.5 * np.sin(1 + np.sqrt(2))
    message = str(caught.value)
    assert message.startswith("expected the gradient of input 0['a'] to be -")
    assert f"{-4 * weight:.6g}"[:6] in message
    assert f"{-3 * weight:.6g}"[:6] in message
    assert "at index (1,)" in message
    assert message.count("to be") == 1


def test_check_gradients_of_second_derivatives(autodiff: AD) -> None:
    x = of(autodiff, 0.5)

    def pull(saved: T, g: T) -> T:
        return g * 3.0 * saved.detach() ** 2  # whose own derivative is zero

    def cubed(x: T) -> T:
        return x**3

    def forward(x: T) -> tuple[T, T]:
        return cubed(x), x

    cube = custom_vjp(cubed, forward, pull)
    check_gradients(cube, x)
    with pytest.raises(GradientError, match="expected the second derivative of input 0 to be"):
        check_gradients(cube, x, order=2)


# -- checkpoints -------------------------------------------------------------------------


def test_checkpointed_layers_have_the_same_gradients(autodiff: AD) -> None:
    model = nn.Sequential(
        nn.Linear(3, 8, autodiff), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 2, autodiff)
    )
    x = born.randn((5, 3), autodiff)
    x.requires_grad = True
    scale = born.full((), 3.0, autodiff)
    scale.requires_grad = True
    found: list[list[Any]] = []
    for wrap in (False, True):
        autodiff.seed(1)
        block: Callable[[T], T] = checkpointed(model) if wrap else model
        with autodiff.tape:
            captured = scale * scale  # a result that the function uses

            def function(x: T, captured: T = captured, block: Callable[[T], T] = block) -> T:
                return block(x * captured)

            function = checkpointed(function) if wrap else function
            loss = (function(x) ** 2).sum() + born.rand((), autodiff)
        gradients = backward(loss)
        after = born.rand(2, autodiff).tolist()
        raws = [x.raw, scale.raw, *(p.raw for p in model.parameters())]
        found.append([loss.item(), after, *(autodiff.to_numpy(gradients[r]) for r in raws)])
    for plain, anew in zip(*found, strict=True):
        np.testing.assert_array_equal(plain, anew)
    values: list[T] = []
    for f in (model.eval(), checkpointed(model)):

        def squares(x: T, f: Callable[[T], T] = f) -> T:
            return (f(x) ** 2).sum()

        values.append(grad(squares)(x.detach()))
    np.testing.assert_array_equal(values[0].numpy(), values[1].numpy())


class _Counter(nn.Module[AD]):
    """The calls so far times x: what it assigns is in its result."""

    def __init__(self, backend: AD) -> None:
        self.calls = nn.Buffer(born.zeros((), backend, dtype="float64"))

    def forward(self, x: T) -> T:
        self.calls.assign(self.calls + 1)
        return self.calls * x


def test_computing_anew_assigns_nothing(autodiff: AD) -> None:
    x = of(autodiff, [0.5, -1.0], [2.0, 3.0], [1.0, -4.0])
    found: list[list[Any]] = []
    for wrap in (False, True):
        counter = _Counter(autodiff)
        model = nn.Sequential(nn.BatchNorm1d(2, autodiff, dtype="float64"), counter, nn.Dropout())
        inside: Callable[[T], T] = checkpointed(model) if wrap else model
        block = checkpointed(inside) if wrap else inside  # one in the other
        autodiff.seed(3)
        gradients = _slopes(autodiff, block, x)
        gradients = _slopes(autodiff, block, x)
        assert counter.calls.item() == 2
        counter.calls.assign(np.array(7.0))  # outside, it is written again
        assert counter.calls.item() == 7
        state = [autodiff.to_numpy(raw) for raw in model.state_dict().values()]
        found.append([*state, *(autodiff.to_numpy(gradients[p]) for p in model.parameters())])
    for plain, anew in zip(*found, strict=True):
        np.testing.assert_array_equal(plain, anew)
        assert np.isfinite(plain).all()


def _slopes(autodiff: AD, block: Callable[[T], T], x: T) -> Any:
    with autodiff.tape:
        loss = (block(x) * x).sum()
    return backward(loss)


def _gradient_of(autodiff: AD, parameter: T, value: Callable[[], T]) -> Any:
    with autodiff.tape:
        loss = value()
    return autodiff.to_numpy(backward(loss)[parameter])


@pytest.mark.parametrize("chunk", [None, 1, 3, 9])
def test_what_is_both_an_argument_and_captured_gets_both_gradients(
    autodiff: AD, chunk: int | None
) -> None:
    p: T = nn.Parameter(of(autodiff, 0.3, 0.4))
    close(_gradient_of(autodiff, p, lambda: checkpointed(lambda c: c * p)(p).sum()), [0.6, 0.8])
    # The captured one is returned, and not used; and one is given twice.
    close(_gradient_of(autodiff, p, lambda: checkpointed(lambda c: (c, p))(p)[1].sum()), [1.0] * 2)
    close(
        _gradient_of(autodiff, p, lambda: checkpointed(lambda a, b: a * a * b)(p, p).sum()),
        [3 * 0.3**2, 3 * 0.4**2],
    )

    def power() -> T:
        return scan(lambda c, _: (c * p, None), p, None, 4, chunk=chunk)[0].sum()

    close(_gradient_of(autodiff, p, power), [5 * 0.3**4, 5 * 0.4**4])

    # The same of what is computed
    z = of(autodiff, 0.3, 0.4)
    close(grad(lambda z: checkpointed(lambda c: c * z)(z).sum())(z), [0.6, 0.8])
    close(grad(lambda z: checkpointed(lambda c: c * z)(z).sum())(z * 2.0), [1.2, 1.6])
    close(
        hessian(lambda z: checkpointed(lambda c: c * z * z)(z).sum())(z),
        np.diag([6 * 0.3, 6 * 0.4]),
    )

    def bent(z: T, chunk: int | None) -> T:
        return scan(lambda c, _: (ops.tanh(c * z) + z, c.sum()), z, None, 9, chunk=chunk)[0].sum()

    close(grad(lambda z: bent(z, chunk))(z), grad(lambda z: bent(z, 9))(z))


def test_tied_weights_of_a_checkpointed_module(autodiff: AD) -> None:
    layer = nn.Linear(2, 2, autodiff, dtype="float64")
    x = of(autodiff, [1.0, -2.0])

    def tied(w: T) -> T:
        return (layer(x) @ w).sum()

    def twice(m: nn.Linear[Any], n: nn.Linear[Any]) -> T:
        return (m(x) * n(x)).sum()

    def both(m: nn.Linear[Any], w: T) -> T:
        return twice(m, m) * w.sum()

    weight = layer.weight
    cases: list[tuple[Callable[[], T], Callable[[], T]]] = [
        (lambda: tied(weight), lambda: checkpointed(tied)(weight)),
        (lambda: twice(layer, layer), lambda: checkpointed(twice)(layer, layer)),
        (lambda: twice(layer, layer) * weight.sum(), lambda: checkpointed(both)(layer, weight)),
    ]
    for plain, anew in cases:
        expected = _gradient_of(autodiff, weight, plain)
        close(_gradient_of(autodiff, weight, anew), expected)
        by_module: Any = grad(lambda _: anew())  # noqa: B023  # called at once
        close(autodiff.to_numpy(by_module(layer)[weight]), expected)


def test_second_derivatives_pass_checkpoints(autodiff: AD) -> None:
    x = of(autodiff, 0.3, 0.7)
    cube = checkpointed(lambda x: x**3)
    close(hessian(lambda x: cube(cube(x)).sum())(x), np.diag(72 * x.numpy() ** 7))
    close(grad(lambda x: grad(lambda y: (cube(y) * x).sum())(x).sum())(x), 9 * x.numpy() ** 2)


def test_a_parameter_that_changed_since_a_checkpoint(autodiff: AD) -> None:
    weight = nn.Parameter(of(autodiff, 2.0), "weight")
    with autodiff.tape:
        loss = checkpointed(lambda x: x * weight)(of(autodiff, 3.0)).sum()
    weight.assign(np.array([5.0]))
    with pytest.raises(TapeError, match=r"'weight'.*changed"):
        backward(loss)


def memory_of(function: Callable[[], object]) -> int:
    """The most that is allocated at once, in bytes."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_checkpoints_take_less_memory(cpu_backend: Backend) -> None:
    autodiff = Autodiff(cpu_backend)
    x = born.ones(20_000, autodiff, "float64")

    def ten(x: T) -> T:
        for _ in range(10):
            x = ops.sin(x)
        return x

    def hundred(x: T, layer: Callable[[T], T]) -> T:
        for _ in range(10):
            x = layer(x)
        return x.sum()

    plain = memory_of(lambda: grad(hundred)(x, ten))
    anew = memory_of(lambda: grad(hundred)(x, checkpointed(ten)))
    assert anew < plain / 3  # 10 + 10 arrays for 100, and a few more


# -- scan --------------------------------------------------------------------------------


def sine_loop(carry: dict[str, T], x: T) -> tuple[dict[str, T], tuple[T, None]]:
    state = ops.sin(carry["state"] * 1.1 + x)
    return {"state": state, "count": carry["count"] + 1}, (state * x, None)


@pytest.mark.parametrize("chunk", [None, 1, 3, 7])
def test_scan_is_a_loop(chunk: int | None, autodiff: AD) -> None:
    draw = np.random.default_rng(0)
    xs = born.tensor(draw.normal(size=(7, 2)), autodiff)
    init = {"state": born.tensor(draw.normal(size=2), autodiff), "count": born.tensor(0, autodiff)}

    def by_scan(xs: T, state: T) -> T:
        carry, (ys, _) = scan(sine_loop, {**init, "state": state}, xs, chunk=chunk)
        assert ys.shape == (7, 2)
        assert carry["count"].item() == 7
        result: T = (carry["state"] ** 2).sum() + ys.sum()
        return result

    def by_loop(xs: T, state: T) -> T:
        carry, total = {**init, "state": state}, born.zeros((), autodiff, "float64")
        for i in range(7):
            carry, (y, _) = sine_loop(carry, xs[i])
            total = total + y.sum()
        return (carry["state"] ** 2).sum() + total

    for numbers in (0, 1):
        for derivative in (grad, hessian):
            found, expected = (
                derivative(f, numbers)(xs, init["state"]) for f in (by_scan, by_loop)
            )
            close(found, expected)
    # Rows that some do not use, and a pass that is walked twice.
    _, pull = vjp(
        lambda xs: scan(lambda c, x: (c, x), init["state"], xs[:4], chunk=chunk)[1][1:], xs
    )
    for _ in range(2):
        close(
            pull(born.ones((3, 2), autodiff, "float64"))[0],
            [[0.0] * 2] + [[1.0] * 2] * 3 + [[0.0] * 2] * 3,
        )


def test_scan_without_xs_and_with_parameters(autodiff: AD) -> None:
    rate = nn.Parameter(of(autodiff, 0.5), "rate")

    def decay(x: T, _: None) -> tuple[T, T]:
        x = x * rate
        return x, x

    with autodiff.tape:
        last, ys = scan(decay, of(autodiff, 1.0), length=10)
        loss = last.sum() + ys.sum()
    gradient = autodiff.to_numpy(backward(loss)[rate])
    close(gradient, [10 * 0.5**9 + sum(k * 0.5 ** (k - 1) for k in range(1, 11))])
    carry, nothing = scan(decay, of(autodiff, 1.0), length=0)
    assert carry.tolist() == [1.0]
    assert nothing is None


def test_memory_of_a_scan_grows_as_the_root_of_its_length(cpu_backend: Backend) -> None:
    autodiff = Autodiff(cpu_backend)
    size = 4_000
    x = born.ones(size, autodiff, "float64")

    def step(x: T, _: None) -> tuple[T, None]:
        return ops.sin(x), None

    def total(x: T, length: int, chunk: int | None = None) -> T:
        return scan(step, x, length=length, chunk=chunk)[0].sum()

    def taken(length: int, chunk: int | None = None) -> float:
        return memory_of(lambda: grad(total)(x, length, chunk)) / (8 * size)

    states = {n: taken(n) for n in (64, 256)}
    everything = taken(256, 256)
    # 2 sqrt(n) states, and what one step and its gradient take.
    assert states[64] < 2 * 8 + 12
    assert states[256] < 2 * 16 + 12
    assert everything > 256


# -- solvers -----------------------------------------------------------------------------


def contraction(x: T, a: T) -> T:
    return ops.tanh(x * 0.5 + a)


def fixed_point(a: T) -> T:
    x, rest = a, 1.0
    while rest > 1e-15:
        following = contraction(x, a)
        rest = float((following - x).abs().max())
        x = following
    return x


def test_derivatives_of_a_fixed_point(autodiff: AD) -> None:
    solve = implicit(fixed_point, lambda x, a: x - contraction(x, a))
    a = of(autodiff, 0.3, -0.7)
    x = solve(a).numpy()
    slope = 1 - x**2
    close(jacobian(solve)(a), np.diag(slope / (1 - slope / 2)), 1e-10)
    check_gradients(solve, a, order=2, rtol=1e-5, atol=1e-6)
    third = grad(lambda a: grad(lambda a: grad(lambda a: solve(a).sum())(a).sum())(a).sum())(a)
    moved = [hessian(lambda a: solve(a).sum())(a + s * 1e-5).numpy().diagonal() for s in (1, -1)]
    close(third, (moved[0] - moved[1]) / 2e-5, 1e-6)
    a.requires_grad = True
    with autodiff.tape:
        loss = (solve(a) ** 2).sum()
    close(autodiff.to_numpy(backward(loss)[a]), 2 * x * slope / (1 - slope / 2), 1e-10)


def test_derivatives_of_a_minimiser_by_trees_and_modules(autodiff: AD) -> None:
    draw = np.random.default_rng(0)
    a, y = draw.normal(size=(9, 3)), draw.normal(size=9)
    design, target = born.tensor(a, autodiff), born.tensor(y, autodiff)

    def ridge(w: T, problem: dict[str, T]) -> T:
        rest = design @ w - problem["y"]
        return 0.5 * (rest**2).sum() + 0.5 * problem["penalty"] * (w**2).sum()

    def solver(problem: dict[str, T]) -> T:
        left = (
            ops.transpose(design) @ design
            + born.eye(3, autodiff, dtype="float64") * problem["penalty"]
        )
        return ops.linalg.solve(left, ops.transpose(design) @ problem["y"])

    solve: Any = implicit(solver, grad(ridge))
    problem = {"y": target, "penalty": born.tensor(0.7, autodiff, "float64")}
    by_problem: Any = grad(lambda p: (solve(p) ** 2).sum())
    explicit: Any = solver
    directly: Any = grad(lambda p: (explicit(p) ** 2).sum())
    for key, expected in directly(problem).items():
        close(by_problem(problem)[key], expected, 1e-10)
    layer = nn.Linear(1, 1, autodiff, dtype="float64")
    root: Any = implicit(
        lambda layer, x: layer(x).reshape(()) / 3.0,
        lambda z, layer, x: 3.0 * z - layer(x).reshape(()),
    )
    x = born.full((1, 1), 2.0, autodiff, "float64")
    found = grad(root)(layer, x)
    close(autodiff.to_numpy(found[layer.weight]), [[2 / 3]])


def test_many_variables_are_solved_without_a_matrix(autodiff: AD) -> None:
    size = DENSE + 44
    a = born.tensor(np.linspace(-1.0, 1.0, size), autodiff)

    def residual(x: T, a: T) -> T:
        neighbours = ops.concatenate([x[1:], x[:1]])
        return x + 0.3 * ops.sin(neighbours) - a

    def solver(a: T) -> T:
        x = a
        for _ in range(60):
            x = x - residual(x, a)
        return x

    solve = implicit(solver, residual)
    found = grad(lambda a: (solve(a) ** 2).sum())(a).numpy()
    unrolled = grad(lambda a: (solver(a) ** 2).sum())(a).numpy()
    close(found, unrolled, 1e-8)
    v = born.ones(size, autodiff, "float64")
    twice = grad(lambda a: (grad(lambda a: (solve(a) ** 2).sum())(a) * v).sum())(a)
    directly = grad(lambda a: (grad(lambda a: (solver(a) ** 2).sum())(a) * v).sum())(a)
    close(twice, directly.numpy(), 1e-6)
    flat = implicit(lambda a: a, lambda x, a: x * 0.0 + a * 0.0)
    with pytest.raises(LinAlgError, match=r"expected the linear system .* GMRES"):
        grad(lambda a: flat(a).sum())(a)


def test_implicit_solves_for_a_tree_of_unknowns(autodiff: AD) -> None:
    a, c = born.tensor([5.0, 7.0], autodiff, "float64"), born.tensor(6.0, autodiff, "float64")

    def solver(a: T, c: T) -> dict[str, Any]:
        root = ops.sqrt(a * a - 4.0 * c)
        return {"larger": 0.5 * (a + root), "others": [0.5 * (a - root).sum(), "a name"]}

    def residual(found: dict[str, Any], a: T, c: T) -> dict[str, Any]:
        x, total = found["larger"], found["others"][0]
        return {"larger": x * (a - x) - c, "others": [(a - x).sum() - total, "a name"]}

    def loss(solve: Any, a: T, c: T) -> T:
        found = solve(a, c)
        product: T = (found["larger"] ** 2).sum() * found["others"][0]
        return product

    solve = implicit(solver, residual)
    assert solve(a, c)["others"][1] == "a name"
    for argnums in (1, 2):
        first, second = (grad(loss, argnums)(each, a, c) for each in (solve, solver))
        close(first, second.numpy(), 1e-12)
    once = lambda each, a: (grad(loss, 1)(each, a, c) ** 2).sum()  # noqa: E731  # of both alike
    close(grad(once, 1)(solve, a), grad(once, 1)(solver, a).numpy(), 1e-10)


def _keyed_otherwise(x: T, *, chunk: int) -> Any:
    def step(c: dict[str, T], _: None) -> Any:
        return {"b": c["a"]}, None

    return scan(step, {"a": x}, length=4, chunk=chunk)


REFUSED: Final[dict[str, tuple[Callable[[T], object], type[BornError], str]]] = {
    "a solver without a tensor": (
        lambda x: implicit(lambda a: 1.0, lambda x, a: x)(x),
        OperandError,
        r"expected a solver that returns a tensor or a tree of tensors, got float; return the",
    ),
    "equations of another form": (
        lambda x: grad(
            lambda a: implicit(lambda a: {"x": a, "y": a}, lambda u, a: u["x"])(a)["x"].sum()
        )(x),
        ShapeError,
        r"expected a residual with x, y, got Tensor; make a tree of one form",
    ),
    "too few equations": (
        lambda x: grad(lambda a: implicit(lambda a: a, lambda x, a: x.sum())(a).sum())(x),
        ShapeError,
        r"expected a residual of the shape \(2,\) of the solution, got \(\); return one",
    ),
    "a check in halves": (
        lambda x: check_gradients(ops.sin, x.astype("float16")),
        OperandError,
        "expected inputs of float64 or float32 .* got float16; convert",
    ),
    "a check of nothing": (
        lambda x: check_gradients(lambda x: 1.0, x),
        OperandError,
        "expected a function that returns a tensor, got float",
    ),
    "a check of a third order": (
        lambda x: check_gradients(ops.sin, x, order=3),
        DomainError,
        r"expected order=.*, got 3",
    ),
    "a check of a module": (
        lambda x: check_gradients(lambda m: m.weight.sum(), nn.Linear(1, 1, x.backend)),
        OperandError,
        "got a module; pass a function of its parameters' values",
    ),
    "a carry of other keys": (
        lambda x: _keyed_otherwise(x, chunk=2),
        OperandError,
        r"expected a carry with the same tensors after a step, \['a'\], got \['b'\]; a step",
    ),
    "a carry of other keys, all kept": (
        lambda x: _keyed_otherwise(x, chunk=4),
        OperandError,
        "expected a carry with the same tensors",
    ),
    "a carry of more": (
        lambda x: scan(lambda c, _: ((c, c), None), x, length=2),  # type: ignore[arg-type,return-value]  # on purpose
        OperandError,
        r"same tensors after a step, itself, got \[0\], \[1\]",
    ),
    "no length": (lambda x: scan(lambda c, _: (c, c), x), ShapeError, "got none; pass xs"),
    "two lengths": (
        lambda x: scan(lambda c, _: (c, c), x, (x, x[:1])),
        ShapeError,
        "got 2, 1; pass xs of one length",
    ),
    "no pair from a step": (
        lambda x: scan(lambda c, _: c, x, length=2),  # type: ignore[arg-type,return-value]  # on purpose
        OperandError,
        r"expected a function that returns \(carry, y\), got Tensor",
    ),
    "a carry of another shape": (
        lambda x: scan(lambda c, _: (c[:1], None), x, length=2),
        ShapeError,
        r"expected a carry .* \(2,\) float64, got \(1,\) float64",
    ),
    "no steps at once": (
        lambda x: scan(lambda c, _: (c, c), x, length=2, chunk=0),
        DomainError,
        "expected chunk",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, autodiff: AD) -> None:
    call, error, message = REFUSED[case]
    before = autodiff.tape
    with pytest.raises(error, match=message):
        call(of(autodiff, 1.0, 2.0))
    assert autodiff.tape is before
    assert len(before) == 0
