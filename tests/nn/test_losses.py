"""The losses against their formulas, at their edges, and against PyTorch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import numpy as np
import pytest

import born
from born import nn, ops
from born.autodiff import Autodiff, backward, check_gradients
from born.backend import Backend
from born.errors import ConfigError, ConfigTypeError, DomainError, DTypeError, ShapeError

# Sums of a few dozen float64 terms of order one.
TOLERANCE = 1e-13

REDUCTIONS: dict[Any, Callable[[Any], Any]] = {"mean": np.mean, "sum": np.sum, "none": np.asarray}

Loss = Callable[..., Any]
AD = Autodiff[Backend]


def huber(r: Any, delta: float) -> Any:
    near = abs(r) <= delta
    return near * r * r / 2 + ~near * delta * (abs(r) - delta / 2)


FORMULAS: dict[str, tuple[Loss, dict[str, Any], Callable[[Any, Any], Any]]] = {
    "mse_loss": (nn.mse_loss, {}, lambda p, t: (p - t) ** 2),
    "l1_loss": (nn.l1_loss, {}, lambda p, t: abs(p - t)),
    "huber_loss": (nn.huber_loss, {}, lambda p, t: huber(p - t, 1.0)),
    "huber_loss, delta=0.3": (nn.huber_loss, {"delta": 0.3}, lambda p, t: huber(p - t, 0.3)),
    "smooth_l1_loss": (nn.smooth_l1_loss, {}, lambda p, t: huber(p - t, 1.0)),
    "smooth_l1_loss, beta=2.5": (
        nn.smooth_l1_loss,
        {"beta": 2.5},
        lambda p, t: huber(p - t, 2.5) / 2.5,
    ),
    "smooth_l1_loss, beta=0": (nn.smooth_l1_loss, {"beta": 0.0}, lambda p, t: abs(p - t)),
    "binary_cross_entropy_with_logits": (
        nn.binary_cross_entropy_with_logits,
        {},
        lambda x, t: -t * np.log(1 / (1 + np.exp(-x))) - (1 - t) * np.log(1 / (1 + np.exp(x))),
    ),
    "kl_div": (nn.kl_div, {}, lambda q, p: p * (np.log(p) - q)),
    "kl_div, log_target=True": (
        nn.kl_div,
        {"log_target": True},
        lambda q, p: np.exp(p) * (p - q),
    ),
}
"""Each loss with its options, and its formula; PyTorch has them under the same names."""


def pair_of_arrays(shape: tuple[int, ...] = (4, 5)) -> tuple[Any, Any]:
    chance = np.random.default_rng(0)
    return chance.normal(0.0, 1.5, shape), chance.uniform(0.0, 1.0, shape)


@pytest.mark.parametrize("shape", [(4, 5), (), (0, 3)])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", FORMULAS)
def test_loss_is_its_formula(backend: Backend, name: str, reduction: Any, shape: Any) -> None:
    loss, options, formula = FORMULAS[name]
    predictions, targets = (np.asarray(each) for each in pair_of_arrays(shape))
    p, t = born.tensor(predictions, backend), born.tensor(targets, backend)
    got = loss(p, t, reduction=reduction, **options)
    with np.errstate(invalid="ignore"), warnings.catch_warnings(action="ignore"):  # no elements
        expected = REDUCTIONS[reduction](formula(predictions, targets))
    assert got.shape == np.shape(expected)
    np.testing.assert_allclose(got.numpy(), expected, rtol=TOLERANCE)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(4,), (2, 3), ()])
def test_cross_entropy_is_its_formula(
    backend: Backend, shape: tuple[int, ...], reduction: Any, smoothing: float
) -> None:
    chance = np.random.default_rng(1)
    logits, labels = chance.normal(size=(*shape, 6)), chance.integers(0, 6, shape)
    got = nn.cross_entropy(
        born.tensor(logits, backend), born.tensor(np.asarray(labels), backend), smoothing, reduction
    )
    target = (1 - smoothing) * np.eye(6)[labels] + smoothing / 6
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = REDUCTIONS[reduction](-(target * log_p).sum(-1))
    assert got.shape == np.shape(expected)
    np.testing.assert_allclose(got.numpy(), expected, rtol=TOLERANCE)


def gradient(autodiff: AD, loss: Loss, x: Any, targets: Any, **options: Any) -> tuple[float, Any]:
    """The value of a loss, and its gradient in the predictions."""
    x = nn.Parameter(born.tensor(x, autodiff))
    with autodiff.tape:
        value = loss(x, born.tensor(targets, autodiff), **options)
    return value.item(), autodiff.to_numpy(backward(value)[x])


@pytest.mark.parametrize(
    ("x", "t", "value", "slope"),
    [
        (0.0, 1.0, math.log(2.0), -0.5),
        (0.0, 0.0, math.log(2.0), 0.5),
        (0.0, 0.25, math.log(2.0), 0.25),
        (50.0, 1.0, math.exp(-50.0), -math.exp(-50.0)),
        (-50.0, 0.0, math.exp(-50.0), math.exp(-50.0)),
        (1000.0, 0.0, 1000.0, 1.0),
        (-1000.0, 1.0, 1000.0, -1.0),
        (1000.0, 1.0, 0.0, 0.0),
    ],
)
def test_bce_is_stable(x: float, t: float, value: float, slope: float, autodiff: AD) -> None:
    loss = nn.binary_cross_entropy_with_logits
    got, derivative = gradient(autodiff, loss, np.array([x]), np.array([t]))
    assert got == pytest.approx(value, rel=1e-13)
    assert derivative[0] == pytest.approx(slope, rel=1e-13)


@pytest.mark.parametrize("edge", [(0, 0, 0), (1, 0.5, 1), (2, 2, 2), (-5, 8, -2), (3, 4, 2)])
def test_huber_joins_its_branches(edge: tuple[float, float, float], autodiff: AD) -> None:
    r, value, slope = edge
    got, derivative = gradient(autodiff, nn.huber_loss, np.array([r * 1.0]), np.zeros(1), delta=2.0)
    assert got == value
    # Where the branches meet, any number between the slopes at either side will do: both are 2.
    assert derivative[0] == slope


@pytest.mark.parametrize("name", FORMULAS)
def test_shapes_dtypes_and_reductions_are_checked(backend: Backend, name: str) -> None:
    loss = FORMULAS[name][0]
    column, x = born.zeros((3, 1), backend), born.zeros((3,), backend)
    with pytest.raises(ShapeError, match=rf"{loss.__name__}, \(3, 1\), got \(3,\); reshape one"):
        loss(column, x)
    with pytest.raises(DTypeError, match=r"float32.*float64"):
        loss(x, born.zeros((3,), backend, dtype="float64"))
    with pytest.raises(DomainError, match=r'"mean", "sum".* "\w+", got \'average\''):
        loss(x, x, reduction="average")


@pytest.mark.parametrize("delta", [0.0, -1.0, math.inf, math.nan])
def test_huber_delta_is_checked(backend: Backend, delta: float) -> None:
    x = born.zeros((3,), backend)
    with pytest.raises(ConfigError, match="delta as a finite number"):
        nn.huber_loss(x, x, delta)
    wrong: Any = "1"
    with pytest.raises(ConfigTypeError, match="delta as a number, got '1'"):
        nn.huber_loss(x, x, wrong)


@pytest.mark.parametrize("function", [nn.cross_entropy, nn.accuracy])
def test_labels_are_checked(backend: Backend, function: Callable[..., Any]) -> None:
    logits = born.zeros((2, 3), backend)
    with pytest.raises(ShapeError, match=r"labels of shape \(2,\) .* got \(3,\)"):
        function(logits, born.tensor(np.array([0, 1, 2]), backend))
    with pytest.raises(DTypeError, match="expected integer class labels, got float32"):
        function(logits, born.zeros((2,), backend))


def test_accuracy_counts_hits(backend: Backend) -> None:
    logits = born.tensor([[[0.0, 1.0], [1.0, 0.0]], [[2.0, 1.0], [0.0, 3.0]]], backend)
    labels = np.array([[1, 1], [0, 1]])
    for dtype in (np.int64, np.int32, np.uint8):
        got = nn.accuracy(logits, born.tensor(labels.astype(dtype), backend))
        assert isinstance(got, float)
        assert got == 0.75
    nothing = born.tensor(np.zeros(0, np.int64), backend)
    assert math.isnan(nn.accuracy(born.zeros((0, 3), backend), nothing))


def torch_gradient(name: str, predictions: Any, targets: Any, **options: Any) -> tuple[float, Any]:
    torch: Any = pytest.importorskip("torch", reason="the parity extra installs PyTorch")
    x = torch.tensor(predictions, requires_grad=True)
    value = getattr(torch.nn.functional, name)(x, torch.tensor(targets), **options)
    value.backward()
    return value.item(), x.grad.numpy()


PARITY: list[tuple[Loss, dict[str, Any]]] = [
    *((loss, options) for loss, options, _ in FORMULAS.values()),
    *((nn.cross_entropy, {"label_smoothing": smoothing}) for smoothing in (0.0, 0.2)),
]


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("loss", "options"), PARITY)
def test_loss_and_gradient_agree_with_pytorch(
    loss: Loss, options: dict[str, Any], reduction: str, autodiff: AD
) -> None:
    predictions, targets = pair_of_arrays()
    if loss is nn.cross_entropy:
        targets = np.random.default_rng(2).integers(0, 5, 4)
    options = options | {"reduction": reduction}
    expected = torch_gradient(loss.__name__, predictions, targets, **options)
    value, slope = gradient(autodiff, loss, predictions, targets, **options)
    assert value == pytest.approx(expected[0], rel=TOLERANCE)
    # Differences of probabilities near each other cancel, to a few units in the last place of one.
    atol = 1e-15 if loss is nn.cross_entropy else 1e-16
    np.testing.assert_allclose(slope, expected[1], rtol=TOLERANCE, atol=atol)


VECTORS = np.random.default_rng(3).normal(size=(3, 4, 5))
LABELS = np.array([2, 0, -100, 1])

Of1: TypeAlias = Callable[[Any], Any]
Of2: TypeAlias = Callable[[Any, Any], Any]
Of3: TypeAlias = Callable[[Any, Any, Any], Any]
Of4: TypeAlias = Callable[[Any, Any, Any, Any], Any]

loose: Any = nn  # callers pass what no type allows


def compared(mine: Of1 | Of2 | Of3, theirs: Of2 | Of3 | Of4, autodiff: AD, *arrays: Any) -> None:
    """Values and gradients in float64 are those of PyTorch."""
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: the parity extra")
    tensors = [nn.Parameter(born.tensor(x, autodiff)) for x in arrays]
    leaves = [torch.tensor(x, requires_grad=True) for x in arrays]
    expected = cast("Loss", theirs)(torch, *leaves)
    expected.sum().backward()
    with autodiff.tape:
        found = cast("Loss", mine)(*tensors)
        loss = found.sum()
    gradients = backward(loss)
    np.testing.assert_allclose(found.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-13)
    for tensor, leaf in zip(tensors, leaves, strict=True):
        np.testing.assert_allclose(
            autodiff.to_numpy(gradients[tensor]), leaf.grad.numpy(), rtol=1e-11, atol=1e-13
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_nll_loss_is_that_of_pytorch(autodiff: AD, reduction: Any, weighted: bool) -> None:
    weight = np.array([0.5, 1.0, 2.0, 1.5, 0.1])
    w = born.tensor(weight, autodiff) if weighted else None
    compared(
        lambda x: nn.nll_loss(
            x, born.tensor(LABELS, autodiff), reduction, ignore_index=-100, weight=w
        ),
        lambda torch, x: torch.nn.functional.nll_loss(
            x,
            torch.tensor(LABELS),
            torch.tensor(weight) if weighted else None,
            reduction=reduction,
        ),
        autodiff,
        VECTORS[0],
    )


def test_nll_loss_of_log_softmax_is_cross_entropy(backend: Backend) -> None:
    logits, labels = born.tensor(VECTORS[0], backend), born.tensor(abs(LABELS) % 5, backend)
    found = nn.nll_loss(ops.log_softmax(logits), labels).item()
    np.testing.assert_allclose(found, nn.cross_entropy(logits, labels).item(), rtol=1e-14)


@pytest.mark.parametrize("axis", [-1, 0])
def test_cosine_similarity_is_that_of_pytorch(autodiff: AD, axis: int) -> None:
    compared(
        lambda x, y: nn.cosine_similarity(x, y, axis),
        lambda torch, x, y: torch.nn.functional.cosine_similarity(x, y, axis),
        autodiff,
        VECTORS[0],
        VECTORS[1, :1],
    )


SIGNS = np.where(np.random.default_rng(7).random((4, 5)) < 0.5, -1.0, 1.0)
SHARES = np.random.default_rng(8).uniform(0.1, 0.9, (3, 4, 5))

FURTHER: dict[str, tuple[str, dict[str, Any], list[Any], dict[str, Any]]] = {
    "binary_cross_entropy": ("binary_cross_entropy", {}, [SHARES[0], SHARES[1]], {}),
    "gaussian": ("gaussian_nll_loss", {}, [*SHARES], {}),
    "full gaussian": ("gaussian_nll_loss", {"full": True}, [*SHARES[:2], SHARES[2, :, :1]], {}),
    "poisson": ("poisson_nll_loss", {}, [VECTORS[0], 4 * SHARES[0]], {}),
    "full poisson": ("poisson_nll_loss", {"full": True}, [VECTORS[0], 4 * SHARES[0]], {}),
    "rates": ("poisson_nll_loss", {"log_input": False}, [SHARES[1], 4 * SHARES[0]], {}),
    "ranking": ("margin_ranking_loss", {"margin": 0.3}, [*VECTORS[:2]], {"targets": SIGNS}),
    "cosine": ("cosine_embedding_loss", {"margin": 0.1}, [*VECTORS[:2]], {"targets": SIGNS[:, 0]}),
}
"""A loss, its options, its arguments, and a constant one after them."""


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", FURTHER)
def test_further_losses_are_those_of_pytorch(autodiff: AD, name: str, reduction: Any) -> None:
    function, options, arrays, constants = FURTHER[name]
    options = {**options, "reduction": reduction}
    last = list(constants.values())
    targets = [born.tensor(np.ascontiguousarray(each), autodiff) for each in last]

    def ours(*x: Any) -> Any:
        return getattr(nn, function)(*x, *targets, **options)

    def theirs(torch: Any, *x: Any) -> Any:
        constant = [torch.tensor(np.ascontiguousarray(each)) for each in last]
        return getattr(torch.nn.functional, function)(*x, *constant, **options)

    compared(ours, theirs, autodiff, *arrays)


def test_weights_of_binary_cross_entropy_are_those_of_pytorch(autodiff: AD) -> None:
    weight = np.array([0.5, 1.0, 2.0, 1.5, 0.1])
    w = born.tensor(weight, autodiff)
    compared(
        lambda p, t: nn.binary_cross_entropy(p, t, weight=w),
        lambda torch, p, t: torch.nn.functional.binary_cross_entropy(p, t, torch.tensor(weight)),
        autodiff,
        *SHARES[:2],
    )


def test_probabilities_that_are_sure_cost_a_hundred_at_most(autodiff: AD) -> None:
    p, t = np.array([0.0, 1.0, 0.5, 1.0]), np.array([0.5, 1.0, 0.0, 0.0])
    value, slope = gradient(autodiff, nn.binary_cross_entropy, p, t, reduction="sum")
    assert value == pytest.approx(50.0 + math.log(2.0) + 100.0, rel=1e-15)
    assert np.isfinite(slope).all()


def test_second_derivatives_of_further_losses(autodiff: AD) -> None:
    x, y, v = (born.tensor(each, autodiff) for each in 0.4 + SHARES / 4)
    signs = born.tensor(SIGNS, autodiff)
    losses: list[Of2] = [
        nn.binary_cross_entropy,
        lambda x, y: nn.poisson_nll_loss(x, 4.0 * y, full=True),
        lambda x, y: nn.poisson_nll_loss(x, y, log_input=False),
        lambda x, y: nn.cosine_embedding_loss(x, y, signs[:, 0]),
    ]
    for loss in losses:
        check_gradients(loss, x, y, order=2)
    check_gradients(nn.gaussian_nll_loss, x, y, v, order=2)


def test_a_mean_over_nothing_is_nan_with_a_gradient_of_zero(autodiff: AD) -> None:
    labels, none = np.array([-1, -1]), born.zeros((3,), autodiff, dtype="float64")
    logits = np.array([[0.0, 1.0, 2.0]] * 2)
    losses: list[tuple[Loss, Any, dict[str, Any]]] = [
        (nn.cross_entropy, labels, {"ignore_index": -1}),
        (nn.nll_loss, labels, {"ignore_index": -1}),
        (nn.cross_entropy, labels + 1, {"weight": none}),
        (nn.mse_loss, logits, {"weight": none}),
    ]
    for loss, targets, options in losses:  # a warning would be an error here
        value, slope = gradient(autodiff, loss, logits, targets, **options)
        assert math.isnan(value)
        assert not slope.any()


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("options", [{}, {"p": 1.0}, {"p": 3.5, "swap": True}, {"swap": True}])
def test_triplet_margin_loss_is_that_of_pytorch(
    autodiff: AD, reduction: Any, options: dict[str, Any]
) -> None:
    compared(
        lambda a, p, n: loose.triplet_margin_loss(a, p, n, 0.7, reduction, **options),
        lambda torch, a, p, n: torch.nn.functional.triplet_margin_loss(
            a, p, n, margin=0.7, reduction=reduction, **options
        ),
        autodiff,
        *VECTORS,
    )


def test_distances_of_any_norm_stay_in_range(autodiff: AD) -> None:
    zero = np.zeros((1, 3))
    for p, expected in ((3.0, 2e200), (math.inf, 2e200 / 3 ** (1 / 3)), (1.5, 0.0)):
        width = 2e200 / 3 ** (1 / 3) if expected else 0.0
        options = {"margin": 0.0, "p": p, "eps": 0.0}
        loss: Loss = nn.triplet_margin_loss
        far, x = np.full((1, 3), width), nn.Parameter(born.tensor(zero, autodiff))
        with autodiff.tape:
            found = loss(x, born.tensor(far, autodiff), born.tensor(zero, autodiff), **options)
        assert found.item() == pytest.approx(expected, rel=1e-14)
        assert np.isfinite(autodiff.to_numpy(backward(found)[x])).all()


WEIGHT = np.random.default_rng(5).uniform(0.5, 2.0, (4, 5))
WEIGHTED: dict[str, dict[str, Any]] = {
    "mse_loss": {"weight": WEIGHT},
    "l1_loss": {"weight": WEIGHT},
    "binary_cross_entropy_with_logits": {"weight": WEIGHT},
    "binary_cross_entropy_with_logits: positive": {"pos_weight": WEIGHT[0]},
    "binary_cross_entropy_with_logits: both": {"pos_weight": WEIGHT[0], "weight": WEIGHT[:, :1]},
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_are_those_of_pytorch(autodiff: AD, name: str, reduction: Any) -> None:
    given, function = WEIGHTED[name], name.partition(":")[0]
    ours = {key: born.tensor(value, autodiff) for key, value in given.items()}
    compared(
        lambda x, t: getattr(nn, function)(x, t, reduction, **ours),
        lambda torch, x, t: getattr(torch.nn.functional, function)(
            x, t, reduction=reduction, **{key: torch.tensor(each) for key, each in given.items()}
        ),
        autodiff,
        *pair_of_arrays(),
    )


@pytest.mark.parametrize("loss", [nn.mse_loss, nn.l1_loss, nn.huber_loss, nn.smooth_l1_loss])
def test_a_mean_is_over_the_sum_of_weights(backend: Backend, loss: Loss) -> None:
    arrays = pair_of_arrays()
    x, t = (born.tensor(each, backend) for each in arrays)
    found = loss(x, t, weight=born.tensor(WEIGHT[0], backend)).item()
    weight = np.broadcast_to(WEIGHT[0], (4, 5))
    expected = np.average(loss(x, t, reduction="none").numpy(), weights=weight)
    assert found == pytest.approx(expected, rel=1e-14)


def test_what_weighs_nothing_may_be_infinite(autodiff: AD) -> None:
    x, t, weight = np.array([math.inf, 1.0]), np.zeros(2), np.array([0.0, 2.0])
    w = born.tensor(weight, autodiff)
    losses: list[Loss] = [nn.mse_loss, nn.l1_loss, nn.huber_loss, nn.smooth_l1_loss]
    for loss in losses:
        bare, _ = gradient(autodiff, loss, x[1:], t[1:], reduction="sum")
        found, _ = gradient(autodiff, loss, x, t, weight=w)
        assert found == bare
    for x_there, t_there in ((math.inf, 1.0), (-math.inf, 0.0)):  # sure, and right
        loss = nn.binary_cross_entropy_with_logits
        assert gradient(autodiff, loss, np.array([x_there]), np.array([t_there])) == (0.0, 0.0)
        value, slope = gradient(autodiff, loss, np.array([-x_there]), np.array([t_there]))
        assert (value, abs(slope)) == (math.inf, 1.0)
        found, slope = gradient(
            autodiff, loss, np.array([-x_there]), np.array([t_there]), weight=w[:1]
        )
        assert (found, abs(slope)) == (0.0, 0.0)
    value, slope = gradient(
        autodiff, nn.kl_div, np.zeros(1), np.array([-math.inf]), log_target=True
    )
    assert (value, slope) == (0.0, 0.0)


def test_second_derivatives(autodiff: AD) -> None:
    x, t, w = (born.tensor(each, autodiff) for each in (*pair_of_arrays(), WEIGHT))
    a, p, n = (born.tensor(each, autodiff) for each in VECTORS)
    losses: list[tuple[Of2 | Of3 | Of4, tuple[Any, ...]]] = [
        (lambda x, t, w: nn.mse_loss(x, t, weight=w), (x, t, w)),
        (lambda x, t: nn.smooth_l1_loss(x, t, 2.5), (x, t)),
        (
            lambda x, t, w, p: nn.binary_cross_entropy_with_logits(x, t, weight=w, pos_weight=p),
            (x, t, w, born.tensor(WEIGHT[0], autodiff)),
        ),
        (lambda a, p, n: nn.triplet_margin_loss(a, p, n, 9.0, p=3.0, swap=True), (a, p, n)),
        (lambda x, t: nn.kl_div(x, t, log_target=True), (x, t)),
    ]
    for loss, inputs in losses:
        check_gradients(loss, *inputs, order=2)


def test_kl_div_over_the_batch(backend: Backend) -> None:
    q, p = (born.tensor(x, backend) for x in (VECTORS[0], abs(VECTORS[1])))
    found = nn.kl_div(q, p, "batchmean").item()
    np.testing.assert_allclose(found, nn.kl_div(q, p, "sum").item() / 4, rtol=1e-14)


def test_losses_at_zero_have_finite_gradients(autodiff: AD) -> None:
    zero = nn.Parameter(born.zeros((2, 3), autodiff))
    one = born.ones((2, 3), autodiff)
    losses: list[Of1] = [
        lambda x: nn.cosine_similarity(x, one).sum(),
        lambda x: nn.triplet_margin_loss(x, x, one, eps=0.0),
        lambda x: nn.kl_div(one, x),
    ]
    for loss in losses:
        with autodiff.tape:
            value = loss(zero)
        assert np.isfinite(value.item())
        assert np.isfinite(autodiff.to_numpy(backward(value)[zero])).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_losses_of_every_dtype(backend: Backend, dtype: str) -> None:
    x, y, z = (born.tensor(v, backend, dtype=dtype) for v in VECTORS)
    labels = born.tensor(abs(LABELS) % 5, backend)
    losses: list[Of3] = [
        lambda x, y, z: nn.nll_loss(x, labels),
        lambda x, y, z: nn.kl_div(x, y, log_target=True),
        lambda x, y, z: nn.cosine_similarity(x, y).mean(),
        lambda x, y, z: nn.triplet_margin_loss(x, y, z),
    ]
    for loss in losses:
        found = loss(x, y, z)
        exact = loss(*(born.tensor(t.numpy().astype("float64"), backend) for t in (x, y, z))).item()
        assert str(found.dtype) == dtype
        # Squares and sums of a handful of numbers of order one, each rounded.
        tolerance = 32 * {"float32": 2**-23, "float16": 2**-10, "bfloat16": 2**-7}[dtype]
        assert abs(found.astype("float64").item() - exact) <= tolerance


REFUSED: list[tuple[Of2, type[Exception], str]] = [
    (lambda x, i: nn.nll_loss(x, i[:1]), ShapeError, r"labels of shape \(4,\)"),
    (
        lambda x, i: nn.nll_loss(x, i, weight=x[0, :2]),
        ShapeError,
        "a weight for each of the 5 classes",
    ),
    (lambda x, i: nn.nll_loss(i, i), DTypeError, "a floating dtype in nll_loss"),
    (lambda x, i: nn.kl_div(x, x[:1]), ShapeError, "targets of the shape of the predictions"),
    (lambda x, i: loose.kl_div(x, x, "most"), DomainError, 'reduction="mean", "sum", "none" or'),
    (lambda x, i: nn.triplet_margin_loss(x, x, x[:1]), ShapeError, "of the predictions"),
    (lambda x, i: nn.triplet_margin_loss(x, x, x, -1.0), ConfigError, "margin as a finite"),
    (lambda x, i: nn.triplet_margin_loss(x, x, x, p=0.5), ConfigError, "p as a finite number from"),
    (lambda x, i: nn.smooth_l1_loss(x, x, -1.0), ConfigError, "beta as a finite number from 0"),
    (lambda x, i: nn.mse_loss(x, x, weight=i), ShapeError, r"in mse_loss, got \(4, 5\) and \(4,\)"),
    (
        lambda x, i: nn.mse_loss(x[0], x[0], weight=x),
        ShapeError,
        r"weight in mse_loss to broadcast to the shape \(5,\) of the predictions, got \(4, 5\)",
    ),
    (
        lambda x, i: nn.l1_loss(x, x, weight=x.astype("float32")),
        DTypeError,
        "weights of one dtype with the predictions in l1_loss, float64, got float32",
    ),
    (
        lambda x, i: nn.binary_cross_entropy_with_logits(x, x, pos_weight=x[:, :2]),
        ShapeError,
        r"in binary_cross_entropy_with_logits, got \(4, 5\) and \(4, 2\)",
    ),
    (lambda x, i: nn.binary_cross_entropy(x, x[:1]), ShapeError, "in binary_cross_entropy, "),
    (lambda x, i: nn.binary_cross_entropy(x, x, weight=i), ShapeError, "got .* and"),
    (lambda x, i: nn.gaussian_nll_loss(x, x, x[:, :2]), ShapeError, "in gaussian_nll_loss, got"),
    (lambda x, i: nn.gaussian_nll_loss(x, x, x, eps=0.0), ConfigError, "eps as a finite number"),
    (lambda x, i: nn.poisson_nll_loss(x, i), ShapeError, "in poisson_nll_loss, "),
    (lambda x, i: nn.margin_ranking_loss(x, x, x[:1]), ShapeError, "in margin_ranking_loss, "),
    (lambda x, i: nn.cosine_embedding_loss(x, x, x), ShapeError, "in cosine_embedding_loss, "),
    (
        lambda x, i: nn.cosine_embedding_loss(x, x, x[:, 0], 2.0),
        ConfigError,
        "margin as a finite number from -1 to 1,",
    ),
    (lambda x, i: nn.cosine_similarity(i, i), DTypeError, "in cosine_similarity, got int64"),
    (lambda x, i: nn.cosine_similarity(x, x[:2]), ShapeError, "that broadcast in cosine"),
]


@pytest.mark.parametrize(("call", "error", "words"), REFUSED)
def test_what_these_losses_refuse(
    backend: Backend, call: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(born.tensor(VECTORS[0], backend), born.tensor(abs(LABELS) % 5, backend))
