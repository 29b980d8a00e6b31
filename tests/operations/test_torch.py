"""Values and gradients against PyTorch, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

import numpy as np
import pytest

import born
from born import nn, ops
from born.autodiff import Autodiff, backward
from born.backend import Backend
from born.raw import HostArray

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: the parity extra")
functional: Any = torch.nn.functional

TOLERANCE: Final = 1e-12
"""Both compute in float64, each in its own order: some hundred terms, each good to 1e-16."""

CONVOLUTIONS: Final[list[dict[str, Any]]] = [
    {},
    {"stride": 2, "padding": 1},
    {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)},
    {"groups": 2, "dilation": 2, "padding": 2},
    {"groups": 4, "stride": 3, "padding": 1},
]

POOLS: Final[list[tuple[Any, ...]]] = [
    (2,),
    (3, 2, 1),
    ((2, 3), (1, 2), (1, 1)),
    ((3, 1), 3, (1, 0)),
]


T: TypeAlias = "born.Tensor[Any]"
Mine: TypeAlias = Callable[[T], T] | Callable[[T, T], T] | Callable[[T, T, T], T]
Theirs: TypeAlias = (
    Callable[[Any], Any] | Callable[[Any, Any], Any] | Callable[[Any, Any, Any], Any]
)


def check(
    mine: Mine,
    theirs: Theirs,
    autodiff: Autodiff[Backend],
    *arrays: HostArray,
) -> None:
    """Equal values, and equal gradients of the same weighted sum."""
    tensors = [born.tensor(x, autodiff) for x in arrays]
    leaves = [torch.tensor(x, requires_grad=True) for x in arrays]
    for tensor in tensors:
        tensor.requires_grad = True
    expected = cast("Callable[..., Any]", theirs)(*leaves)
    weight = np.random.default_rng(1).normal(size=tuple(expected.shape))
    (expected * torch.tensor(weight)).sum().backward()
    with autodiff.tape:
        found = cast("Callable[..., T]", mine)(*tensors)
        loss = ops.sum(found * born.tensor(weight, autodiff))
    gradients = backward(loss)
    np.testing.assert_allclose(
        found.numpy(), expected.detach().numpy(), rtol=TOLERANCE, atol=TOLERANCE
    )
    for tensor, leaf in zip(tensors, leaves, strict=True):
        np.testing.assert_allclose(
            autodiff.to_numpy(gradients[tensor]), leaf.grad.numpy(), rtol=TOLERANCE, atol=TOLERANCE
        )


def normal(*shape: int) -> HostArray:
    """Normally distributed numbers, the same in every run."""
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_conv2d(options: dict[str, Any], autodiff: Autodiff[Backend]) -> None:
    groups = options.get("groups", 1)
    arrays = normal(2, 4, 7, 8), normal(4, 4 // groups, 3, 2), normal(4)
    check(
        lambda x, w, b: ops.conv2d(x, w, b, **options),
        lambda x, w, b: functional.conv2d(x, w, b, **options),
        autodiff,
        *arrays,
    )


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("kernel", [(3, 3), (4, 2), (1, 5)])
@pytest.mark.parametrize("dilation", [1, 3])
def test_conv2d_of_the_same_size(
    kernel: tuple[int, int], dilation: int, autodiff: Autodiff[Backend]
) -> None:
    check(
        lambda x, w: ops.conv2d(x, w, padding="same", dilation=dilation),
        lambda x, w: functional.conv2d(x, w, padding="same", dilation=dilation),
        autodiff,
        normal(2, 2, 7, 8),
        normal(3, 2, *kernel),
    )


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}])
def test_conv1d(options: dict[str, Any], autodiff: Autodiff[Backend]) -> None:
    check(
        lambda x, w, b: ops.conv1d(x, w, b, **options),
        lambda x, w, b: functional.conv1d(x, w, b, **options),
        autodiff,
        *(normal(2, 4, 9), normal(6, 4 // options.get("groups", 1), 3), normal(6)),
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": (3, 2), "padding": (0, 1), "groups": 2, "dilation": (1, 2)},
        {"stride": (3, 1), "output_padding": (2, 0)},
        {"dilation": 3, "output_padding": 2, "padding": 2},
    ],
    ids=str,
)
def test_conv_transpose2d(options: dict[str, Any], autodiff: Autodiff[Backend]) -> None:
    each = 6 // options.get("groups", 1)
    check(
        lambda x, w, b: ops.conv_transpose2d(x, w, b, **options),
        lambda x, w, b: functional.conv_transpose2d(x, w, b, **options),
        autodiff,
        *(normal(2, 4, 5, 6), normal(4, each, 3, 2), normal(6)),
    )


@pytest.mark.parametrize("size", [1, (2, 3), (7, 8), (5, 4), 9])
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_adaptive_pools(size: Any, kind: str, autodiff: Autodiff[Backend]) -> None:
    name = f"adaptive_{kind}_pool2d"
    check(
        lambda x: getattr(ops, name)(x, size),
        lambda x: getattr(functional, name)(x, size),
        autodiff,
        normal(2, 3, 7, 8),
    )


def test_the_first_of_those_that_tie_wins(autodiff: Autodiff[Backend]) -> None:
    check(
        lambda x: ops.adaptive_max_pool2d(x, (3, 2)),
        lambda x: functional.adaptive_max_pool2d(x, (3, 2)),
        autodiff,
        np.floor(normal(2, 3, 7, 5)),
    )


@pytest.mark.parametrize("sizes", [(3, 2, 1), ((2, 3), (1, 2), (1, 1)), (4, 3, 2)])
def test_means_of_what_is_there(sizes: Any, autodiff: Autodiff[Backend]) -> None:
    check(
        lambda x: ops.avg_pool2d(x, *sizes, count_include_pad=False),
        lambda x: functional.avg_pool2d(x, *sizes, count_include_pad=False),
        autodiff,
        normal(2, 3, 7, 5),
    )


@pytest.mark.parametrize("function", ["pixel_shuffle", "pixel_unshuffle"])
def test_pixels_and_channels(function: str, autodiff: Autodiff[Backend]) -> None:
    check(
        lambda x: getattr(ops, function)(x, 2),
        lambda x: getattr(functional, function)(x, 2),
        autodiff,
        normal(2, 8, 4, 6),
    )


def test_conv_transpose1d(autodiff: Autodiff[Backend]) -> None:
    options: Any = {"stride": 3, "padding": 1, "output_padding": 2, "groups": 2, "dilation": 2}
    check(
        lambda x, w, b: ops.conv_transpose1d(x, w, b, **options),
        lambda x, w, b: functional.conv_transpose1d(x, w, b, **options),
        autodiff,
        *(normal(2, 4, 5), normal(4, 3, 3), normal(6)),
    )


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [0, 2, "same"])
def test_padding_modes(padding: Any, mode: Any, autodiff: Autodiff[Backend]) -> None:
    options: Any = {"padding": padding, "padding_mode": mode, "dilation": (1, 2)}
    theirs = torch.nn.Conv2d(3, 4, (4, 2), dtype=torch.float64, **options)
    ours = nn.Conv2d(3, 4, (4, 2), autodiff, dtype="float64", **options)
    ours.load_state_dict({name: x.numpy() for name, x in theirs.state_dict().items()})
    check(ours, theirs, autodiff, normal(2, 3, 7, 5))


@pytest.mark.parametrize(
    "options",
    [
        {"size": (14, 24)},
        {"size": (5, 11)},
        {"scale_factor": 3},
        {"scale_factor": (1.5, 0.7)},
        {"size": (3, 20), "mode": "bilinear"},
        {"scale_factor": 2, "mode": "bilinear"},
        {"scale_factor": (1.7, 0.6), "mode": "bilinear"},
        {"size": (14, 5), "mode": "bilinear", "align_corners": True},
        {"size": (1, 8), "mode": "bilinear", "align_corners": True},
    ],
    ids=str,
)
def test_upsample(options: dict[str, Any], autodiff: Autodiff[Backend]) -> None:
    check(
        lambda x: ops.upsample(x, **options),
        lambda x: functional.interpolate(x, **options),
        autodiff,
        normal(2, 3, 7, 8),
    )


@pytest.mark.parametrize("name", ["max_pool1d", "avg_pool1d"])
def test_pools_of_lines(name: str, autodiff: Autodiff[Backend]) -> None:
    for options in ((2,), (3, 2, 1)):
        check(
            lambda x, o=options: getattr(ops, name)(x, *o),
            lambda x, o=options: getattr(functional, name)(x, *o),
            autodiff,
            normal(2, 3, 9),
        )


@pytest.mark.parametrize("options", POOLS, ids=str)
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
def test_pools(name: str, options: tuple[Any, ...], autodiff: Autodiff[Backend]) -> None:
    check(
        lambda x: getattr(ops, name)(x, *options),
        lambda x: getattr(functional, name)(x, *options),
        autodiff,
        normal(2, 3, 7, 8),
    )


def test_max_pool2d_dilated(autodiff: Autodiff[Backend]) -> None:
    check(
        lambda x: ops.max_pool2d(x, 2, 2, 1, 3),
        lambda x: functional.max_pool2d(x, 2, 2, 1, 3),
        autodiff,
        normal(2, 3, 7, 8),
    )


@pytest.mark.parametrize("name", ["gelu", "silu", "softplus"])
def test_activations(name: str, autodiff: Autodiff[Backend]) -> None:
    check(getattr(ops, name), getattr(functional, name), autodiff, 3.0 * normal(5, 7))


def test_gelu_by_tanh(autodiff: Autodiff[Backend]) -> None:
    check(
        lambda x: ops.gelu(x, "tanh"),
        lambda x: functional.gelu(x, approximate="tanh"),
        autodiff,
        3.0 * normal(5, 7),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy(smoothing: float, reduction: Any, autodiff: Autodiff[Backend]) -> None:
    labels = np.array([2, 0, 1, 2])
    check(
        lambda x: ops.cross_entropy(x, born.tensor(labels, autodiff), smoothing, reduction),
        lambda x: functional.cross_entropy(
            x, torch.tensor(labels), label_smoothing=smoothing, reduction=reduction
        ),
        autodiff,
        normal(4, 3),
    )


def test_normalisation(autodiff: Autodiff[Backend]) -> None:
    check(
        lambda x, w, b: ops.layer_norm(x, w, b, axes=2),
        lambda x, w, b: functional.layer_norm(x, (3, 5), w, b),
        autodiff,
        *(normal(4, 3, 5), normal(3, 5), normal(3, 5)),
    )
    check(
        lambda x, w: ops.rms_norm(x, w, eps=1e-6),
        lambda x, w: functional.rms_norm(x, (5,), w, eps=1e-6),
        autodiff,
        *(normal(4, 5), normal(5)),
    )


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 5), (2, 4, 3, 5)])
def test_norms_of_channels(shape: tuple[int, ...], autodiff: Autodiff[Backend]) -> None:
    arrays = normal(*shape), normal(4), normal(4)[::-1].copy()
    check(
        lambda x, w, b: ops.batch_norm(x, w, b, eps=0.1),
        lambda x, w, b: functional.batch_norm(x, None, None, w, b, training=True, eps=0.1),
        autodiff,
        *arrays,
    )
    mean, variance = normal(4), normal(4) ** 2
    check(
        lambda x, w, b: ops.batch_norm(
            x,
            w,
            b,
            mean=born.tensor(mean, autodiff),
            variance=born.tensor(variance, autodiff),
            eps=0.1,
        ),
        lambda x, w, b: functional.batch_norm(
            x, torch.tensor(mean), torch.tensor(variance), w, b, eps=0.1
        ),
        autodiff,
        *arrays,
    )
    check(
        lambda x, w, b: ops.group_norm(x, 2, w, b, eps=0.1),
        lambda x, w, b: functional.group_norm(x, 2, w, b, 0.1),
        autodiff,
        *arrays,
    )


def test_unfold_and_fold(autodiff: Autodiff[Backend]) -> None:
    options = {"padding": 1, "stride": 2, "dilation": 1}
    check(
        lambda x: ops.unfold(x, (3, 2), **options),
        lambda x: functional.unfold(x, (3, 2), **options).reshape(2, 3, 6, -1),
        autodiff,
        normal(2, 3, 5, 6),
    )
    columns = normal(2, 3, 6, 12)
    check(
        lambda c: ops.fold(c, (5, 6), (3, 2), **options),
        lambda c: functional.fold(c.reshape(2, 18, 12), (5, 6), (3, 2), **options),
        autodiff,
        columns,
    )
