"""Functions of functions: several arguments, trees and modules, Jacobians, Hessians, examples."""

# Functions of trees are typed as of anything.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import functools
import operator
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
import pytest

import born
from born import nn, ops, optim
from born.autodiff import (
    Autodiff,
    Gradients,
    backward,
    grad,
    hessian,
    hessian_diagonal,
    hvp,
    jacobian,
    jvp,
    per_example_gradients,
    stop_gradient,
    value_and_grad,
    vjp,
)
from born.backend import Backend
from born.errors import (
    BackendMismatchError,
    BornError,
    DomainError,
    DTypeError,
    OperandError,
    ShapeError,
    TapeError,
)
from tests.autodiff.leaf import AD, T, of

RTOL: Final = 1e-12  # of float64, for functions that round some hundred times


def close(found: Any, expected: Any, rtol: float = RTOL) -> None:
    found, expected = (
        each.numpy() if isinstance(each, born.Tensor) else each for each in (found, expected)
    )
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


@dataclass
class Line:
    """A tree with a name in it, and a field that `__init__` does not take."""

    slope: T
    name: str
    shift: T | None = None
    calls: list[int] = field(default_factory=lambda: [0], init=False)


class Pair(NamedTuple):
    first: T
    second: T


# -- arguments ---------------------------------------------------------------------------


def test_several_arguments_and_a_second_result(autodiff: AD) -> None:
    x, y = of(autodiff, 1.0, 2.0), of(autodiff, 3.0, 4.0)

    def function(x: T, y: T, scale: float) -> tuple[T, dict[str, T]]:
        z = x * y * scale
        return z.sum(), {"z": z}

    (dx, dy), aux = grad(function, (0, 1), has_aux=True)(x, y, 2.0)
    close(dx, [6.0, 8.0])
    close(dy, [2.0, 4.0])
    (value, aux), gradient = value_and_grad(function, 1, has_aux=True)(x, y, scale=2.0)
    assert (value.item(), gradient.tolist()) == (22.0, [2.0, 4.0])
    # A second result is a constant to what is recorded afterwards.
    x.requires_grad = True
    with autodiff.tape:
        loss = (aux["z"] * x).sum()
    close(autodiff.to_numpy(backward(loss)[x]), [6.0, 16.0])


def test_trees_keep_their_form(autodiff: AD) -> None:
    x = of(autodiff, 2.0)
    tree = {
        "line": Line(x, "fit", shift=of(autodiff, 1.0)),
        "pair": Pair(x, x * 2.0),
        "list": [x, (x, None, "name", 3)],
    }

    def function(tree: Any, more: T) -> T:
        line, pair = tree["line"], tree["pair"]
        assert (line.name, line.calls) == ("fit", [0])
        inside, nothing, name, three = tree["list"][1]
        assert (nothing, name) == (None, "name")
        total = line.slope * pair.first * pair.second + line.shift * inside * three
        total = total + tree["list"][0] * more
        result: T = total.sum()
        return result

    gradient: Any = grad(function)
    found = gradient(tree, of(autodiff, 5.0))
    assert isinstance(found["line"], Line)
    assert isinstance(found["pair"], Pair)
    assert (found["line"].name, found["line"].calls) == ("fit", [0])
    close(found["line"].slope, [8.0])
    close(found["line"].shift, [6.0])
    close(found["pair"].first, [8.0])
    close(found["pair"].second, [4.0])
    close(found["list"][0], [5.0])
    close(found["list"][1][0], [3.0])
    assert found["list"][1][1:] == (None, "name", 3)
    times: Any = hvp(function)
    product = times(tree, found, of(autodiff, 5.0))
    # d2/(ds dp2) = p1, and so on, times the gradient.
    close(product["line"].slope, [4.0 * 8.0 + 2.0 * 4.0])


def test_modules_are_differentiated_by_their_parameters(autodiff: AD) -> None:
    model = nn.Sequential(nn.Linear(3, 4, autodiff), nn.Tanh(), nn.Linear(4, 1, autodiff))
    x, y = born.randn((5, 3), autodiff), born.randn((5, 1), autodiff)
    first: Any = model[0]
    frozen: nn.Parameter[AD] | None = first.bias
    assert frozen is not None
    frozen.requires_grad = False

    def loss(model: nn.Sequential[AD], x: T) -> T:
        return nn.mse_loss(model(x), y)

    value, gradients = value_and_grad(loss)(model, x)
    with autodiff.tape:
        recorded = loss(model, x)
    expected = backward(recorded)
    assert isinstance(gradients, Gradients)
    assert set(gradients) == set(expected)
    for raw in expected:
        np.testing.assert_array_equal(
            autodiff.to_numpy(gradients[raw]), autodiff.to_numpy(expected[raw])
        )
    before = value.item()
    optim.SGD(model.parameters(), lr=0.1).step(gradients)
    assert loss(model, x).item() < before
    assert frozen.raw not in gradients
    # H v by the module, and by a difference of gradients along v
    product = hvp(loss)(model, gradients, x)
    step = 1e-3
    at = {raw: autodiff.to_numpy(raw) for raw in gradients}

    def gradient_at(distance: float) -> Gradients:
        for raw, value in at.items():
            moved = value + np.float32(distance) * autodiff.to_numpy(gradients[raw])
            autodiff.inner.assign(raw, autodiff.from_numpy(moved))
        return grad(loss)(model, x)

    ahead, behind = gradient_at(step), gradient_at(-step)
    for parameter in gradients:
        difference = autodiff.to_numpy(ahead[parameter]) - autodiff.to_numpy(behind[parameter])
        # float32: the difference of two gradients keeps three digits.
        np.testing.assert_allclose(
            autodiff.to_numpy(product[parameter]), difference / (2 * step), atol=5e-3
        )


def test_values_of_parameters_stay_inside(autodiff: AD) -> None:
    layer = nn.Linear(1, 1, autodiff)
    x = born.ones((1, 1), autodiff)

    def read(layer: nn.Linear[AD]) -> T:
        return layer(x).sum() * float(layer.weight)

    with pytest.raises(TapeError, match="expected tensors to stay tensors"):
        grad(read)(layer)
    assert isinstance(layer.weight.item(), float)  # it may leave again


def test_modules_in_trees_and_inner_gradients(autodiff: AD) -> None:
    layer = nn.Linear(1, 1, autodiff, bias=False)
    layer.weight.assign(np.array([[3.0]], np.float32))
    x = born.full((1, 1), 2.0, autodiff)

    def energy(x: T, layer: nn.Linear[AD]) -> T:
        return (layer(x) ** 2).sum()

    def penalty(parts: dict[str, Any]) -> T:
        slope = grad(energy)(parts["x"], parts["layer"])
        return (slope**2).sum()  # (2 w^2 x)^2

    found = grad(penalty)({"x": x, "layer": layer})
    close(found["x"], [[2 * 36.0 * 18.0]], 1e-6)
    weight = autodiff.to_numpy(found["layer"][layer.weight])
    close(weight, [[16 * 27.0 * 4.0]], 1e-6)
    assert len(autodiff.tape) == 0


# -- products ----------------------------------------------------------------------------


def test_products_with_the_jacobian(autodiff: AD) -> None:
    x, y = of(autodiff, 0.3, -0.5, 1.1), of(autodiff, 2.0)
    v, w = of(autodiff, 1.0, 2.0, -1.0), of(autodiff, 0.5)

    def function(x: T, y: T) -> dict[str, T]:
        return {"a": ops.sin(x) * y, "b": (x * x).sum() * y, "n": born.arange(3, backend=autodiff)}

    value, tangent = jvp(function, (x, y), (v, w))
    cos, sin, at = np.cos(x.numpy()), np.sin(x.numpy()), x.numpy()
    close(value["a"], sin * 2.0)
    close(tangent["a"], cos * 2.0 * v.numpy() + sin * 0.5)
    close(tangent["b"], [2.0 * 2.0 * at @ v.numpy() + (at @ at) * 0.5])
    assert tangent["n"].tolist() == [0, 0, 0]

    def floats(x: T, y: T) -> tuple[T, T]:
        both = function(x, y)
        return both["a"], both["b"]

    (_, b), pull = vjp(floats, x, y)
    for _ in range(2):
        gx, gy = pull((v, of(autodiff, 3.0)))
        close(gx, v.numpy() * cos * 2.0 + 3.0 * 2.0 * at * 2.0)
        close(gy, [v.numpy() @ sin + 3.0 * (at @ at)])
    assert b.shape == (1,)
    assert vjp(lambda x: (x, "aux"), y, has_aux=True)[2] == "aux"  # type: ignore[misc]  # three


def test_products_nest(autodiff: AD) -> None:
    x, v = of(autodiff, 0.3, -0.5), of(autodiff, 1.0, 2.0)
    along = grad(lambda x: jvp(ops.sin, (x,), (v,))[1].sum())(x)
    close(along, -np.sin(x.numpy()) * v.numpy())
    second = jvp(lambda x: jvp(ops.exp, (x,), (v,))[1], (x,), (v,))[1]
    close(second, np.exp(x.numpy()) * v.numpy() ** 2)
    x.requires_grad = True
    with autodiff.tape:
        loss = vjp(ops.sin, x)[1](v)[0].sum()
    close(autodiff.to_numpy(backward(loss)[x]), -np.sin(x.numpy()) * v.numpy())


def test_a_constant_has_a_jacobian_of_zeros(autodiff: AD) -> None:
    x = of(autodiff, 1.0, 2.0)
    constant = born.ones(3, autodiff, "float64")
    assert jacobian(lambda x: constant)(x).tolist() == [[0.0, 0.0]] * 3
    assert jvp(lambda x: constant, (x,), (x,))[1].tolist() == [0.0] * 3
    assert hessian(lambda x: x.sum())(x).tolist() == [[0.0, 0.0]] * 2
    assert jacobian(lambda x: x)(of(autodiff)).shape == (0, 0)
    assert vjp(lambda x: constant, x)[1](constant)[0].tolist() == [0.0, 0.0]


# -- Jacobians ---------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_size", [None, 1, 4])
@pytest.mark.parametrize("shape", [(2, 3), (7, 5)])
def test_jacobian_by_either_way(
    shape: tuple[int, int], chunk_size: int | None, autodiff: AD
) -> None:
    draw = np.random.default_rng(0)
    matrix = draw.normal(size=shape)
    for a in (matrix, matrix.T):
        weight = born.tensor(a, autodiff)
        x = born.tensor(draw.normal(size=(a.shape[1],)), autodiff)
        found = jacobian(lambda x: ops.tanh(weight @ x), chunk_size=chunk_size)(x)  # noqa: B023  # called at once
        slope = 1 - np.tanh(a @ x.numpy()) ** 2
        close(found, slope[:, None] * a)


@pytest.mark.parametrize("rows", [1, 5])
def test_jacobian_of_trees_and_modules(rows: int, autodiff: AD) -> None:
    model = nn.Linear(2, 3, autodiff, dtype="float64")
    x = born.tensor(np.random.default_rng(0).normal(size=(rows, 2)), autodiff)

    def function(model: nn.Linear[AD], x: T) -> dict[str, T]:
        return {"y": model(x), "total": x.sum(0)}

    found = jacobian(function, (0, 1))(model, x)
    by_model, by_x = found["y"]
    assert by_model["weight"].shape == (rows, 3, 3, 2)
    for row in range(rows):
        for out in range(3):
            expected = np.zeros((3, 2))
            expected[out] = x.numpy()[row]
            close(by_model["weight"].numpy()[row, out], expected)
            close(by_x.numpy()[row, out, row], model.weight.numpy()[out])
    close(by_model["bias"], np.broadcast_to(np.eye(3), (rows, 3, 3)))
    assert found["total"][0]["weight"].numpy().any() == False  # noqa: E712  # of NumPy's
    close(found["total"][1].numpy()[0, :, 0], np.ones(rows))


def test_levels_of_autodiff_give_the_same(backend: Backend) -> None:
    values = np.random.default_rng(0).normal(size=(3, 3))

    def wide(w: Any) -> Any:
        return ops.softmax(w @ w, axis=-1)

    def tall(w: Any) -> Any:
        return ops.concatenate([w @ w, ops.exp(w)], 0)

    def found(level: Any) -> list[Any]:
        w = born.tensor(values, level)
        squares = hessian(lambda w: (wide(w) * w).sum())(w)
        nested = jacobian(lambda w: jacobian(wide)(w).sum(0))(w)
        return [x.numpy() for x in (jacobian(wide)(w), jacobian(tall)(w), squares, nested)]

    one, two = Autodiff(backend), Autodiff(Autodiff(backend))
    for once, twice in zip(found(one), found(two), strict=True):
        close(twice, once)


def test_hessian_its_product_and_its_diagonal_agree(autodiff: AD) -> None:
    labels = born.tensor(np.array([0, 2]), autodiff)
    draw = np.random.default_rng(0)
    weight = born.tensor(draw.normal(size=(3, 4)), autodiff)

    def function(x: T) -> T:
        normal = ops.layer_norm(x.reshape(2, 4))
        return ops.cross_entropy(ops.linear(ops.gelu(normal), weight), labels)

    x = born.tensor(draw.normal(size=8), autodiff)
    whole = hessian(function)(x).numpy()
    rows = [hvp(function)(x, born.tensor(row, autodiff)).numpy() for row in np.eye(8)]
    close(whole, rows)
    close(whole, whole.T)
    close(hessian(function, chunk_size=3)(x), whole)
    close(hessian_diagonal(function, chunk_size=3)(x), np.diag(whole))
    close(jacobian(jacobian(function))(x), whole)
    third = jacobian(hessian(function))(x).numpy()
    close(third, third.transpose(2, 1, 0), 1e-10)
    step = 1e-6
    moved = [born.tensor(x.numpy() + s * step * np.eye(8)[0], autodiff) for s in (1, -1)]
    ahead, behind = (grad(function)(each).numpy() for each in moved)
    close(whole[0], (ahead - behind) / (2 * step), 1e-6)


def test_a_loss_of_a_jacobian_is_recorded(autodiff: AD) -> None:
    x, weight = of(autodiff, 0.5, 2.0), of(autodiff, 3.0, 4.0)
    weight.requires_grad = True
    with autodiff.tape:
        loss = (jacobian(lambda x: weight * x * x)(x) ** 2).sum()  # sum (2 w x)^2
    close(autodiff.to_numpy(backward(loss)[weight]), 8 * weight.numpy() * x.numpy() ** 2)
    close(grad(lambda x: (hessian(lambda x: (x**4).sum())(x) ** 2).sum())(x), 576 * x.numpy() ** 3)


# -- examples ----------------------------------------------------------------------------


class Mixed(nn.Module[Any]):
    """A layer of each kind."""

    def __init__(self, backend: AD) -> None:
        self.table = nn.Embedding(5, 16, backend)
        self.convolution = nn.Conv2d(1, 2, 3, backend, padding=1)
        self.norm = nn.LayerNorm((4,), backend)
        self.rms = nn.RMSNorm((4,), backend)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.Linear(8, 6, backend, activation="relu")
        self.last = nn.Linear(6, 3, backend)

    def forward(self, tokens: T) -> T:
        images = self.table(tokens).reshape(-1, 1, 4, 4)
        hidden = self.rms(ops.gelu(self.norm(self.convolution(images))))
        return self.last(self.relu(self.pool(hidden).reshape(-1, 8)))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_of_each_example(reduction: Any, autodiff: AD) -> None:
    model = Mixed(autodiff)
    draw = np.random.default_rng(0)
    tokens = born.tensor(draw.integers(0, 5, 6), autodiff)
    labels = born.tensor(draw.integers(0, 3, 6), autodiff)

    def loss(model: Mixed, tokens: T, labels: T, scale: float = 1.0) -> T:
        return ops.cross_entropy(model(tokens), labels, reduction=reduction) * scale

    found = per_example_gradients(loss)(model, tokens, labels, scale=2.0)
    assert list(found) == [path for path, _ in model.named_parameters()]
    for i in range(6):
        one = grad(loss)(model, tokens[i : i + 1], labels[i : i + 1], 2.0)
        for path, parameter in model.named_parameters():
            expected = autodiff.to_numpy(one[parameter])
            # float32, in products of other sizes
            np.testing.assert_allclose(
                found[path].numpy()[i], expected, rtol=1e-4, atol=1e-5, err_msg=path
            )
    assert len(autodiff.tape) == 0


def test_examples_of_trees_and_what_does_not_depend_on_them(autodiff: AD) -> None:
    w, x = {"a": of(autodiff, 2.0), "b": of(autodiff, 3.0)}, of(autodiff, 1.0, 2.0, 3.0)

    def loss(w: dict[str, T], batch: dict[str, T]) -> T:
        return (w["a"] * batch["x"]).sum() + (w["b"] * w["b"]).sum()

    found = per_example_gradients(loss)(w, {"x": x})
    assert found["a"].tolist() == [[1.0], [2.0], [3.0]]
    assert found["b"].tolist() == [[6.0]] * 3


def test_batch_normalisation_has_no_gradients_of_examples(autodiff: AD) -> None:
    def loss(model: Any, x: T) -> T:
        y: T = model(x)
        return (y * y).sum()

    flat, images = born.randn((4, 3), autodiff), born.randn((4, 3, 2, 2), autodiff)
    for layer, x in (
        (nn.BatchNorm1d(3, autodiff), flat),
        (nn.BatchNorm2d(3, autodiff), images),
        (nn.BatchNorm2d(3, autodiff, track_running_stats=False), images),
    ):
        message = r"batch normalisation in training takes together.*call \.eval\(\) first"
        with pytest.raises(TapeError, match=message):
            per_example_gradients(loss)(layer, x)
        assert per_example_gradients(loss)(layer.eval(), x)["weight"].shape == (4, 3)


def test_stop_gradient_in_trees(autodiff: AD) -> None:
    x = of(autodiff, 3.0)
    assert grad(lambda x: (x * stop_gradient({"x": x})["x"]).sum())(x).tolist() == [3.0]


def _any(tree: Any, *rest: Any) -> Any:
    tensor: T = tree if hasattr(tree, "sum") else tree["a"]
    return tensor.sum()


grad_of_any: Any = grad(_any)
hvp_of_any: Any = hvp(_any)


# -- what is refused ---------------------------------------------------------------------

REFUSED: Final[dict[str, tuple[Callable[[T], object], type[BornError], str]]] = {
    "a circle": (
        lambda x: grad_of_any(_circle(x)),
        OperandError,
        r"expected a tree .* contains itself at \['x'\]\[1\]; make a copy",
    ),
    "integers in a tree": (
        lambda x: grad_of_any({"n": [x, x.astype("int64")]}),
        TapeError,
        r"expected a floating tensor .* int64 at \['n'\]\[1\]; .*leave it out",
    ),
    "nothing in a tree": (lambda x: grad_of_any({"n": 1.0}), TapeError, "or a tree of them, got"),
    "no pair": (
        lambda x: grad(_any, has_aux=True)(x),
        OperandError,
        r"\(value, aux\), since has_aux is True, got Tensor; return both",
    ),
    "two backends": (
        lambda x: grad(_any, (0, 1))(x, x.to(Autodiff(x.backend.inner))),
        BackendMismatchError,
        "expected tensors of one backend object",
    ),
    "a vector of another form": (
        lambda x: hvp_of_any({"a": x}, {"b": x}),
        ShapeError,
        "expected a vector with a, got b; make a tree of one form",
    ),
    "a vector that is none": (
        lambda x: hvp_of_any(x, 1.0),
        OperandError,
        r"expected a vector as a tensor, got float; make it with born\.tensor",
    ),
    "a vector of another dtype": (
        lambda x: hvp_of_any(x, x.astype("float32")),
        DTypeError,
        r"expected a vector .*float64, got float32; convert",
    ),
    "tangents for fewer": (
        lambda x: jvp(_any, (x, x), (x,)),
        ShapeError,
        "expected a tangent for each of 2 primals, got 1; pass both",
    ),
    "no primals": (lambda x: jvp(_any, (1.0,), (1.0,)), TapeError, "got float; make it"),
    "a Jacobian of integers": (
        lambda x: jacobian(lambda x: x.astype("int64"))(x),
        TapeError,
        "expected a floating tensor to take derivatives of, got one of dtype int64",
    ),
    "no rows at once": (
        lambda x: jacobian(_any, chunk_size=0),
        DomainError,
        "expected chunk_size .*1",
    ),
    "no examples": (
        lambda x: per_example_gradients(_any)(x),
        ShapeError,
        "expected a batch beside the parameters, got no tensor with examples",
    ),
    "batches of two lengths": (
        lambda x: per_example_gradients(_any)(x, born.ones(2, x.backend), born.ones(3, x.backend)),
        ShapeError,
        "expected batches of one length, got 2 and 3 examples; pass constants by keyword",
    ),
    "a batch without axes": (
        lambda x: per_example_gradients(_any)(x, x.sum()),
        ShapeError,
        "got a tensor without axes; pass a constant by keyword",
    ),
    "a choice by an example": (
        lambda x: per_example_gradients(_chosen)(x, x),
        TapeError,
        r"another for each example; use ops\.where in place of if",
    ),
}


def _chosen(w: T, x: T) -> T:
    return w.sum() if x > 0 else w.mean()


def _circle(x: T) -> dict[str, Any]:
    inside: list[Any] = [x]
    inside.append(inside)
    return {"x": inside}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, autodiff: AD) -> None:
    call, error, message = REFUSED[case]
    before = autodiff.tape
    with pytest.raises(error, match=message):
        call(of(autodiff, 1.0, 2.0))
    assert autodiff.tape is before
    assert len(before) == 0


class Named(dict[str, Any]):
    """A dict that knows more than its items."""

    title = ""


def test_containers_keep_their_types(autodiff: AD) -> None:
    def loss(tree: Any) -> Any:
        parts: Any = list(tree.values()) if isinstance(tree, Mapping) else tree
        return functools.reduce(operator.add, ((x * x).sum() for x in parts))

    x, y = born.tensor([1.0, 2.0], autodiff), born.tensor(3.0, autodiff)
    named = Named(b=y, a=x)
    named.title = "two"
    trees: list[Any] = [
        OrderedDict(b=y, a=x),
        defaultdict(list, b=y, a=x),
        named,
        MappingProxyType({"b": y, "a": x}),
        UserDict({"b": y, "a": x}),
    ]
    gradient: Any = grad(loss)
    for tree in trees:
        found = gradient(tree)
        assert type(found) is type(tree)
        assert list(found) == ["b", "a"]
        assert found["a"].tolist() == [2.0, 4.0]
    assert gradient(trees[1]).default_factory is list
    assert gradient(named).title == "two"
