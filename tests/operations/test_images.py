"""Operations on images and lines that are composed of others: of any dtype, of none, and twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff, grad
from born.backend import Backend
from born.errors import DomainError, ShapeError

IMAGES: Final = (2, 2, 5, 6)
LINES: Final = (2, 2, 7)
KERNEL: Final = np.random.default_rng(1).normal(size=(2, 2, 3, 2))


def kernel(x: Any, axes: int = 4) -> Any:
    w = born.tensor(KERNEL if axes == 4 else KERNEL[..., 0], x.backend)
    return w.astype(str(x.dtype))


CALLS: Final[dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]]] = {
    "conv1d": (lambda x: ops.conv1d(x, kernel(x, 3), padding="same"), LINES),
    "conv2d": (lambda x: ops.conv2d(x, kernel(x), padding="same"), IMAGES),
    "conv_transpose2d": (lambda x: ops.conv_transpose2d(x, kernel(x), stride=2), IMAGES),
    "max_pool1d": (lambda x: ops.max_pool1d(x, 2), LINES),
    "avg_pool1d": (lambda x: ops.avg_pool1d(x, 2), LINES),
    "adaptive_avg_pool1d": (lambda x: ops.adaptive_avg_pool1d(x, 3), LINES),
    "adaptive_avg_pool2d": (lambda x: ops.adaptive_avg_pool2d(x, (2, 3)), IMAGES),
    "conv_transpose1d": (lambda x: ops.conv_transpose1d(x, kernel(x, 3), stride=2), LINES),
    "adaptive_max_pool1d": (lambda x: ops.adaptive_max_pool1d(x, 3), LINES),
    "adaptive_max_pool2d": (lambda x: ops.adaptive_max_pool2d(x, (2, 3)), IMAGES),
    "avg_pool1d of what is there": (
        lambda x: ops.avg_pool1d(x, 3, 2, 1, count_include_pad=False),
        LINES,
    ),
    "avg_pool2d of what is there": (
        lambda x: ops.avg_pool2d(x, (2, 3), 2, 1, count_include_pad=False),
        IMAGES,
    ),
    "pixel_shuffle": (lambda x: ops.pixel_shuffle(x, 2), (2, 4, 3, 2)),
    "pixel_unshuffle": (lambda x: ops.pixel_unshuffle(x, 2), (2, 1, 6, 4)),
    "nearest": (lambda x: ops.upsample(x, (7, 12)), IMAGES),
    "repeated": (lambda x: ops.upsample(x, scale_factor=2), IMAGES),
    "bilinear": (lambda x: ops.upsample(x, (7, 12), mode="bilinear"), IMAGES),
}


def drawn(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_dtype_gives_what_float64_gives(name: str, dtype: str, backend: Backend) -> None:
    call, shape = CALLS[name]
    x = born.tensor(drawn(shape), backend, dtype=dtype)
    y = call(x)
    exact = call(x.astype("float64")).numpy()
    assert str(y.dtype) == dtype
    # The sums have at most twelve terms, and the kernel is rounded as well.
    tolerance = 16 * {"float32": 2**-23, "float16": 2**-10, "bfloat16": 2**-7}[dtype]
    np.testing.assert_allclose(y.numpy().astype(np.float64), exact, atol=tolerance * 2)


@pytest.mark.parametrize("name", CALLS)
def test_no_image_gives_none(name: str, autodiff: Autodiff[Backend]) -> None:
    call, shape = CALLS[name]
    x = born.zeros((0, *shape[1:]), autodiff, dtype="float64")
    expected = call(born.zeros((1, *shape[1:]), autodiff, dtype="float64")).shape
    assert call(x).shape == (0, *expected[1:])
    assert grad(lambda x: call(x).sum())(x).shape == x.shape


@pytest.mark.parametrize("name", CALLS)
def test_second_derivatives(name: str, autodiff: Autodiff[Backend]) -> None:
    call, shape = CALLS[name]

    def slope(x: Any) -> Any:
        return (grad(lambda x: (call(x) ** 3).sum())(x) ** 2).sum()

    x, direction = drawn(shape), drawn((*shape, 1))[..., 0] * 0.1
    found = grad(slope)(born.tensor(x, autodiff)).numpy()
    step = 1e-5
    ends = [slope(born.tensor(x + s * step * direction, autodiff)).item() for s in (1, -1)]
    np.testing.assert_allclose(
        (found * direction).sum(), (ends[0] - ends[1]) / 2 / step, rtol=1e-5, atol=1e-6
    )


def test_convolution_and_its_transpose_are_adjoint(backend: Backend) -> None:
    x, w = born.tensor(drawn((2, 4, 7, 8)), backend), born.tensor(drawn((6, 2, 3, 2)), backend)
    options: dict[str, Any] = {"stride": (2, 3), "padding": 1, "groups": 2}
    y = ops.conv2d(x, w, **options)
    g = born.tensor(drawn(y.shape), backend)
    back = ops.conv_transpose2d(g, w, output_padding=(0, 2), **options)
    assert back.shape == x.shape
    np.testing.assert_allclose((y * g).sum().item(), (x * back).sum().item(), rtol=1e-12)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("factors", [(1.3, 0.7), (1.0, 2.5), (1.2, 1.1)])
def test_upsample_by_a_factor_is_that_of_pytorch(mode: Any, factors: Any, backend: Backend) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed: the parity extra")
    x = drawn((2, 2, 3, 5))
    found = ops.upsample(born.tensor(x, backend), scale_factor=factors, mode=mode).numpy()
    expected = torch.nn.functional.interpolate(torch.tensor(x), scale_factor=factors, mode=mode)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"size": 2, "scale_factor": 2}])
def test_upsample_takes_a_size_or_a_factor(options: Any, backend: Backend) -> None:
    with pytest.raises(DomainError, match="a size or a scale_factor in upsample, got"):
        ops.upsample(born.zeros(IMAGES, backend), **options)


def test_same_padding_takes_no_stride(backend: Backend) -> None:
    x = born.zeros(IMAGES, backend, dtype="float64")
    with pytest.raises(ShapeError, match='a stride of 1 with padding="same", got 2; pad'):
        ops.conv2d(x, kernel(x), stride=2, padding="same")
