"""Recurrent layers against PyTorch, under its names, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

import born
from born import nn, ops
from born.autodiff import Autodiff, backward, grad
from born.backend import Backend
from born.errors import ConfigError, DTypeError, OperandError, ShapeError

F64: Final = "float64"
STEPS, BATCH, INPUTS, WIDTH = 5, 3, 4, 2
LENGTHS: Final = (5, 2, 3)
X: Final = np.random.default_rng(0).normal(size=(STEPS, BATCH, INPUTS))
THERE: Final = np.arange(STEPS)[:, None] < np.array(LENGTHS)
TOLERANCE: Final = 1e-12
"""Both compute in float64, each in its own order."""

KINDS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "tanh": ("RNN", {}),
    "relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
}
SHAPES: Final[list[dict[str, Any]]] = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "batch_first": True, "bias": False},
]

loose: Any = nn  # one table holds layers of every signature


def made(kind: str, backend: Any, **options: Any) -> Any:
    name, more = KINDS[kind]
    return getattr(loose, name)(INPUTS, WIDTH, backend, dtype=F64, **more, **options)


def states(kind: str, result: Any) -> list[Any]:
    """y and the last states, as a list."""
    y, last = result
    return [y, *last] if kind == "lstm" else [y, last]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", SHAPES, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_values_and_gradients_are_those_of_pytorch(
    kind: str, options: dict[str, Any], masked: bool, autodiff: Autodiff[Backend]
) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: the parity extra")
    first = options.get("batch_first", False)
    layer = made(kind, autodiff, **options)
    name, more = KINDS[kind]
    theirs = getattr(torch.nn, name)(INPUTS, WIDTH, **more, **options).double()
    assert [path for path, _ in layer.named_parameters()] == list(theirs.state_dict())
    layer.load_state_dict({path: x.numpy() for path, x in theirs.state_dict().items()})
    data, there = (X.swapaxes(0, 1), THERE.T) if first else (X, THERE)
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    draw = np.random.default_rng(1)
    begin = [draw.normal(size=(count, BATCH, WIDTH)) for _ in range(2 if kind == "lstm" else 1)]
    leaves = [torch.tensor(each, requires_grad=True) for each in (data.copy(), *begin)]
    given = leaves[0]
    if masked:
        pack = torch.nn.utils.rnn.pack_padded_sequence
        given = pack(given, torch.tensor(LENGTHS), batch_first=first, enforce_sorted=False)
    y, last = theirs(given, tuple(leaves[1:]) if kind == "lstm" else leaves[1])
    if masked:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=first)
    expected = states(kind, (y, last))
    weights = [draw.normal(size=tuple(each.shape)) for each in expected]
    total: Any = 0.0
    for each, weight in zip(expected, weights, strict=True):
        total = total + (each * torch.tensor(weight)).sum()
    total.backward()

    tensors = [nn.Parameter(born.tensor(each, autodiff)) for each in (data, *begin)]
    mask = born.tensor(there, autodiff) if masked else None
    with autodiff.tape:
        initial = tuple(tensors[1:]) if kind == "lstm" else tensors[1]
        found = states(kind, layer(tensors[0], initial, mask))
        parts = [(f * born.tensor(w, autodiff)).sum() for f, w in zip(found, weights, strict=True)]
        loss = ops.stack(parts).sum()
    gradients = backward(loss)
    for ours, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(
            ours.numpy(), other.detach().numpy(), rtol=TOLERANCE, atol=TOLERANCE
        )
    pairs = [(p, getattr(theirs, path)) for path, p in layer.named_parameters()]
    for ours, other in [*zip(tensors, leaves, strict=True), *pairs]:
        np.testing.assert_allclose(
            autodiff.to_numpy(gradients[ours]), other.grad.numpy(), rtol=TOLERANCE, atol=TOLERANCE
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [False, True])
def test_cells_are_steps_of_their_layers(
    kind: str, bias: bool, autodiff: Autodiff[Backend]
) -> None:
    layer = made(kind, autodiff, bias=bias)
    name, more = KINDS[kind]
    cell = getattr(loose, f"{name}Cell")(INPUTS, WIDTH, autodiff, dtype=F64, bias=bias, **more)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x = nn.Parameter(born.tensor(X, autodiff))
    found: list[list[Any]] = []
    for stepped in (False, True):
        with autodiff.tape:
            if stepped:
                state: Any = cell(x[0])
                for t in range(1, STEPS):
                    state = cell(x[t], state)
                last = list(state) if kind == "lstm" else [state]
            else:
                last = [each[0] for each in states(kind, layer(x))[1:]]
            loss = ops.stack([(each * each).sum() for each in last]).sum()
        gradients, module = backward(loss), cell if stepped else layer
        slopes = [autodiff.to_numpy(gradients[p]) for p in (x, *module.parameters())]
        found.append([each.numpy() for each in last] + slopes)
    for whole, step in zip(*found, strict=True):
        np.testing.assert_allclose(step, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_float32_is_near_float64(
    kind: Any, masked: bool, reverse: bool, cpu_backend: Backend
) -> None:
    """Of rows enough for several threads, through a hundred steps."""
    draw = np.random.default_rng(0)
    gates = {"lstm": 4, "gru": 3}.get(kind, 1)
    backend: Any = Autodiff(cpu_backend)
    shapes = [(100, 40, gates * 32), (2 if kind == "lstm" else 1, 40, 32), (gates * 32, 32)]
    arrays = [draw.uniform(-0.3, 0.3, shape) for shape in (*shapes, (gates * 32,))]
    there = born.tensor(draw.random((100, 40)) < 0.7, backend) if masked else None
    found: list[list[Any]] = []
    for dtype in ("float32", "float64"):
        tensors: list[Any] = [nn.Parameter(born.tensor(a, backend, dtype=dtype)) for a in arrays]
        z, initial, weight, bias = tensors
        with backend.tape:
            y = ops.recurrence(z, initial, weight, bias, there, cell=kind, reverse=reverse)
            loss = (y * y).mean()
        gradients = backward(loss)
        found.append([y.numpy(), *(backend.to_numpy(gradients[t]) for t in tensors)])
    for got, expected in zip(*found, strict=True):
        # A hundred steps, each of some roundings, that shrink or grow little on the way.
        scale = np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_a_masked_step_changes_nothing(kind: str, backend: Backend) -> None:
    layer = made(kind, backend)
    x, mask = born.tensor(X, backend), born.tensor(THERE, backend)
    y, *last = states(kind, layer(x, None, mask))
    assert (y.numpy()[~THERE] == 0).all()
    for n, length in enumerate(LENGTHS):
        alone = states(kind, layer(x[:length, n : n + 1]))
        np.testing.assert_allclose(y.numpy()[:length, n], alone[0].numpy()[:, 0], atol=1e-14)
        for whole, part in zip(last, alone[1:], strict=True):
            np.testing.assert_allclose(whole.numpy()[:, n], part.numpy()[:, 0], atol=1e-14)


def test_gradients_of_gradients(backend: Backend) -> None:
    layer = made("lstm", Autodiff(backend))
    x = born.tensor(X, layer.weight_ih_l0.backend)

    def energy(x: Any) -> Any:
        y, _ = layer(x)
        return (y * y).sum()

    def slope(x: Any) -> Any:
        return (grad(energy)(x) ** 2).sum()

    found, step = grad(slope)(x).numpy(), 1e-5
    direction = np.random.default_rng(2).normal(size=X.shape)
    ends = [slope(born.tensor(X + s * step * direction, x.backend)).item() for s in (1, -1)]
    np.testing.assert_allclose((found * direction).sum(), (ends[0] - ends[1]) / 2 / step, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_nothing_has_gradients_of_zero(kind: str, autodiff: Autodiff[Backend]) -> None:
    layer = made(kind, autodiff)
    with autodiff.tape:
        loss = layer(born.zeros((STEPS, 0, INPUTS), autodiff, dtype=F64))[0].sum()
    found = backward(loss)
    for parameter in layer.parameters():
        assert not autodiff.to_numpy(found[parameter.raw]).any()
        assert found[parameter.raw].shape == parameter.shape


def test_dropout_is_between_layers_and_in_training(backend: Backend) -> None:
    layer = made("gru", backend, num_layers=2, dropout=1.0)
    bare = made("gru", backend, num_layers=2)
    bare.load_state_dict(layer.state_dict())
    x = born.tensor(X, backend)
    silent = x * 0.0
    assert (layer(x)[0].numpy() != bare(x)[0].numpy()).any()
    np.testing.assert_array_equal(layer(x)[0].numpy(), layer(silent)[0].numpy())
    np.testing.assert_array_equal(layer.eval()(x)[0].numpy(), bare(x)[0].numpy())


def test_layers_move(backend: Backend) -> None:
    layer = made("lstm", backend)
    there = Autodiff(born.get_backend("numpy"))
    y, _ = layer.to(there)(born.tensor(X, there))
    np.testing.assert_allclose(y.numpy(), layer(born.tensor(X, backend))[0].numpy(), atol=1e-14)


def test_parameters_start_within_their_bound(backend: Backend) -> None:
    layer = nn.LSTM(100, 16, backend, num_layers=2)
    values = np.concatenate([p.numpy().ravel() for p in layer.parameters()])
    assert 0.24 < np.abs(values).max() <= 0.25
    assert {p.dtype.name for p in nn.GRU(2, 2, backend, dtype="float16").parameters()} == {
        "float16"
    }


REFUSED: dict[str, tuple[Callable[[Any], object], type[Exception], str]] = {
    "axes": (lambda b: made("gru", b)(born.zeros((3, 4), b)), ShapeError, r"\(steps, batch, 4\)"),
    "width": (
        lambda b: made("gru", b, batch_first=True)(born.zeros((1, 3, 5), b)),
        ShapeError,
        r"\(batch, steps, 4\), got \(1, 3, 5\)",
    ),
    "no step": (
        lambda b: made("gru", b)(born.zeros((0, 3, 4), b)),
        ShapeError,
        "at least one step",
    ),
    "initial": (
        lambda b: made("gru", b)(born.tensor(X, b), born.zeros((3, 2), b)),
        ShapeError,
        r"initial states of shape \(1, 3, 2\), got \(3, 2\)",
    ),
    "mask": (
        lambda b: made("gru", b)(born.tensor(X, b), None, born.tensor(THERE.T, b)),
        ShapeError,
        r"expected mask of shape \(5, 3\)",
    ),
    "mask of numbers": (
        lambda b: made("gru", b)(born.tensor(X, b), None, born.tensor(THERE * 1.0, b)),
        DTypeError,
        "a mask of bools in recurrence, got float",
    ),
    "x of a cell": (
        lambda b: nn.GRUCell(4, 2, b)(born.zeros((5, 3, 4), b)),
        ShapeError,
        r"x of shape \(batch, 4\), got \(5, 3, 4\); a cell takes one step",
    ),
    "a state of a cell with two": (
        lambda b: loose.LSTMCell(4, 2, b)(born.zeros((3, 4), b), born.zeros((3, 2), b)),
        OperandError,
        "2 states in a tuple, got Tensor; hand over",
    ),
    "states of a cell": (
        lambda b: loose.LSTMCell(4, 2, b)(born.zeros((3, 4), b), (born.zeros((2, 2), b),) * 2),
        ShapeError,
        r"states of shape \(3, 2\), got \(2, 2\); hand over",
    ),
    "sizes": (lambda b: nn.RNN(0, 2, b), ConfigError, "input_size of at least 1"),
    "nonlinearity": (
        lambda b: loose.RNN(2, 2, b, nonlinearity="gelu"),
        ConfigError,
        'nonlinearity="tanh" or "relu"',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name: str, backend: Backend) -> None:
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call(backend)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_masked_out_may_be_anything(kind: str, autodiff: Autodiff[Backend]) -> None:
    layer = made(kind, autodiff)
    found: list[list[Any]] = []
    for filler in (0.0, np.nan, np.inf):
        x = nn.Parameter(born.tensor(np.where(THERE[..., None], X, filler), autodiff))
        with autodiff.tape:
            loss = layer(x, None, born.tensor(THERE, autodiff))[0].sum()
        gradients = backward(loss)
        found.append([autodiff.to_numpy(gradients[p]) for p in (x, *layer.parameters())])
    for others in found[1:]:
        for got, expected in zip(others, found[0], strict=True):
            np.testing.assert_array_equal(got, expected)
