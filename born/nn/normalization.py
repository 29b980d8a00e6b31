"""Normalisation over trailing axes, over the batch, and over channels in groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from born import ops
from born.backend import B
from born.backend.recomputing import is_recomputing
from born.creation import ones, zeros
from born.dtypes import DTypeLike
from born.errors import ConfigError, ShapeError, TapeError
from born.nn.module import Module
from born.nn.parameter import Buffer, Parameter
from born.operands import backend_of, optional_operand
from born.raw import RawTensor, Shape
from born.tensor import B2, Tensor
from born.validation import flag, integer, number, shape


class LayerNorm(Module[B]):
    """y = (x - mean) / sqrt(var + eps) * w + b, mean and variance over the trailing axes.

    Args:
        normalized_shape: the shape of the trailing axes, or the length of the last.
        backend: where the parameters live.
        eps: added to the variance, against division by zero; at least 0.
        bias: whether there is a b.
        dtype: of the parameters, a floating dtype.

    Attributes:
        weight: w, of shape `normalized_shape`, ones at first.
        bias: b, of that shape, zeros at first, or None.

    Source: Ba, Kiros and Hinton (2016), "Layer Normalization", section 3.

    >>> LayerNorm(3, backend)(born.tensor([1.0, 2.0, 3.0], backend)).numpy().round(3)
    array([-1.225,  0.   ,  1.225], dtype=float32)
    """

    weight: Parameter[B]
    bias: Parameter[B] | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        backend: B,
        eps: float = 1e-5,
        bias: bool = True,
        dtype: DTypeLike = "float32",
    ) -> None:
        lengths = shape("normalized_shape", normalized_shape)
        self.eps = number("eps", eps, low=0.0)
        self.weight = Parameter(ones(lengths, backend, dtype))
        self.bias = None
        if flag("bias", bias):
            self.bias = Parameter(zeros(lengths, backend, dtype))

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> LayerNorm[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Normalise `x`, of shape `(..., *normalized_shape)`."""
        backend_of(type(self).__name__, x)
        _check_trailing(x.raw.shape, self.weight.raw.shape)
        return ops.layer_norm(x, self.weight, self.bias, axes=self.weight.ndim, eps=self.eps)


class RMSNorm(Module[B]):
    """y = x / sqrt(mean(x^2) + eps) * w, the mean over the trailing axes.

    Arguments and errors as for `LayerNorm`; eps is added to the mean square.

    Attributes:
        weight: w, of shape `normalized_shape`, ones at first.

    Source: Zhang and Sennrich (2019), "Root Mean Square Layer Normalization", equation 4.

    >>> RMSNorm(2, backend)(born.tensor([3.0, 4.0], backend)).numpy().round(3)
    array([0.849, 1.131], dtype=float32)
    """

    weight: Parameter[B]

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        backend: B,
        eps: float = 1e-6,
        dtype: DTypeLike = "float32",
    ) -> None:
        lengths = shape("normalized_shape", normalized_shape)
        self.eps = number("eps", eps, low=0.0)
        self.weight = Parameter(ones(lengths, backend, dtype))

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> RMSNorm[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Normalise `x`, of shape `(..., *normalized_shape)`."""
        backend_of(type(self).__name__, x)
        _check_trailing(x.raw.shape, self.weight.raw.shape)
        return ops.rms_norm(x, self.weight, axes=self.weight.ndim, eps=self.eps)


class _BatchNorm(Module[B]):
    """What batch normalisation of any number of axes shares."""

    weight: Parameter[B] | None
    bias: Parameter[B] | None
    running_mean: Buffer[B] | None
    running_var: Buffer[B] | None
    num_batches_tracked: Buffer[B] | None

    _axes: ClassVar[tuple[int, ...]]
    _shape: ClassVar[str]

    def __init__(
        self,
        num_features: int,
        backend: B,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.num_features = integer("num_features", num_features)
        self.eps = number("eps", eps, low=0.0)
        self.momentum = None if momentum is None else number("momentum", momentum, 0.0, 1.0)
        length = (self.num_features,)
        learned, tracked = flag("affine", affine), flag("track_running_stats", track_running_stats)
        self.weight = Parameter(ones(length, backend, dtype)) if learned else None
        self.bias = Parameter(zeros(length, backend, dtype)) if learned else None
        self.running_mean = Buffer(zeros(length, backend, dtype)) if tracked else None
        self.running_var = Buffer(ones(length, backend, dtype)) if tracked else None
        self.num_batches_tracked = None
        if tracked:
            self.num_batches_tracked = Buffer(zeros((), backend, "int64"))

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Normalise each channel of `x`."""
        backend_of(type(self).__name__, x)
        if x.ndim not in self._axes or x.shape[1] != self.num_features:
            raise ShapeError(
                f"expected a tensor of shape {self._shape} with {self.num_features} channels, got "
                f"{x.shape}; reshape it, or make the layer with its number of channels"
            )
        mean, variance = self.running_mean, self.running_var
        if not self.training and mean is not None and variance is not None:
            return ops.batch_norm(
                x, self.weight, self.bias, mean=mean, variance=variance, eps=self.eps
            )
        if self.training and x.raw.of_examples:
            raise TapeError(
                "expected examples that batch normalisation in training takes together, got one at "
                "a time, in per_example_gradients; call .eval() first, or use another norm, such "
                "as GroupNorm or LayerNorm"
            )
        count = x.size // self.num_features
        if self.training and count == 1:
            raise ShapeError(
                "expected more than one value for each channel in training, got shape "
                f"{x.shape}; pass a larger batch, or call eval() first"
            )
        weight = optional_operand("batch_norm", x.backend, self.weight)
        bias = optional_operand("batch_norm", x.backend, self.bias)
        y, _, _, batch_mean, batch_variance = x.backend.batch_norm(x.raw, weight, bias, self.eps)
        tracked = self.training and count and not is_recomputing()
        if tracked and mean is not None and variance is not None:
            self._track(mean, batch_mean, 1.0)
            self._track(variance, batch_variance, count / (count - 1))
        return Tensor(y, x.backend)

    def _track(self, running: Buffer[B], batch: RawTensor, unbiased: float) -> None:
        """Move a running statistic towards that of a batch; nothing of it is recorded."""
        inner = running.backend.innermost
        target = batch if unbiased == 1.0 else inner.mul(batch, unbiased)
        if target.dtype != running.dtype:
            target = inner.astype(target, running.dtype)
        step = inner.sub(target, running.raw)
        seen = self.num_batches_tracked
        if self.momentum is not None:
            step = inner.mul(step, self.momentum)
        elif seen is not None:
            step = inner.div(step, inner.astype(inner.add(seen.raw, 1), running.dtype))
        inner.assign(running.raw, inner.add(running.raw, step))
        if seen is not None and running is self.running_var:
            inner.assign(seen.raw, inner.add(seen.raw, 1))


class BatchNorm1d(_BatchNorm[B]):
    """y = (x - mean) / sqrt(var + eps) * w + b, each channel over the batch.

    In training, mean and var are those of the batch, and running ones follow them:

        running ← (1 - momentum) · running + momentum · of the batch

    with the unbiased variance, which divides by one less than the number of elements; what
    normalises is the biased one. After `model.eval()` the running ones are used.

    Args:
        num_features: channels of x, the length of its second axis.
        backend: where parameters and buffers live.
        eps: added to the variance, against division by zero; at least 0.
        momentum: the weight of the newest batch in the running statistics, from 0 to 1; None for
            the mean over all batches.
        affine: whether there are w and b.
        track_running_stats: whether there are running statistics; without them, the batch's own
            are used after `eval()` too.
        dtype: of parameters and running statistics, a floating dtype.

    Attributes:
        weight: w, of shape `(num_features,)`, ones at first, or None.
        bias: b, of that shape, zeros at first, or None.
        running_mean: a `Buffer` of that shape, zeros at first, or None.
        running_var: a `Buffer` of that shape, ones at first, or None.
        num_batches_tracked: a `Buffer`, how many batches they have followed, or None.

    Raises:
        ShapeError: x is not of shape `(batch, num_features)` or `(batch, num_features, length)`,
            or has one value for a channel in training.

    Source: Ioffe and Szegedy (2015), "Batch Normalization: Accelerating Deep Network Training
    by Reducing Internal Covariate Shift", algorithms 1 and 2.

    >>> layer = BatchNorm1d(1, backend)
    >>> layer(born.tensor([[1.0], [3.0]], backend)).numpy().round(3).tolist()
    [[-1.0], [1.0]]
    >>> layer.running_mean.tolist(), layer.running_var.tolist()
    ([0.2...], [1.1...])
    """

    _axes = (2, 3)
    _shape = "(batch, channels) or (batch, channels, length)"

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> BatchNorm1d[B2]: ...


class BatchNorm2d(_BatchNorm[B]):
    """Batch normalisation of images `(batch, channels, height, width)`.

    Equation, arguments, attributes, errors and source as for `BatchNorm1d`.

    >>> BatchNorm2d(3, backend)(born.zeros((2, 3, 4, 4), backend)).shape
    (2, 3, 4, 4)
    """

    _axes = (4,)
    _shape = "(batch, channels, height, width)"

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> BatchNorm2d[B2]: ...


class GroupNorm(Module[B]):
    """y = (x - mean) / sqrt(var + eps) * w + b, over groups of channels of each element.

    It computes the same in training and in use.

    Args:
        num_groups: how many groups the channels are cut into; a divisor of `num_channels`.
        num_channels: length of the second axis of x.
        backend: where the parameters live.
        eps: added to the variance, against division by zero; at least 0.
        affine: whether there are w and b.
        dtype: of the parameters, a floating dtype.

    Attributes:
        weight: w, of shape `(num_channels,)`, ones at first, or None.
        bias: b, of that shape, zeros at first, or None.

    Source: Wu and He (2018), "Group Normalization", section 3.1.

    >>> GroupNorm(2, 4, backend)(born.zeros((3, 4, 5), backend)).shape
    (3, 4, 5)
    """

    weight: Parameter[B] | None
    bias: Parameter[B] | None

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        backend: B,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.num_groups = integer("num_groups", num_groups)
        self.num_channels = integer("num_channels", num_channels)
        if self.num_channels % self.num_groups:
            raise ConfigError(
                f"expected num_channels divisible by num_groups={num_groups}, got {num_channels}; "
                "change one"
            )
        self.eps = number("eps", eps, low=0.0)
        self.weight = self.bias = None
        if flag("affine", affine):
            length = (self.num_channels,)
            self.weight = Parameter(ones(length, backend, dtype))
            self.bias = Parameter(zeros(length, backend, dtype))

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> GroupNorm[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Normalise `x`, of shape `(batch, num_channels, ...)`."""
        backend_of(type(self).__name__, x)
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ShapeError(
                f"expected a tensor of shape (batch, {self.num_channels}, ...), got {x.shape}; "
                "make the layer with its number of channels"
            )
        return ops.group_norm(x, self.num_groups, self.weight, self.bias, eps=self.eps)


class _InstanceNorm(Module[B]):
    """What instance normalisation of lines and images shares."""

    weight: Parameter[B] | None
    bias: Parameter[B] | None

    _axes: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        num_features: int,
        backend: B,
        eps: float = 1e-5,
        affine: bool = False,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.num_features = integer("num_features", num_features)
        self.eps = number("eps", eps, low=0.0)
        self.weight = self.bias = None
        if flag("affine", affine):
            length = (self.num_features,)
            self.weight = Parameter(ones(length, backend, dtype))
            self.bias = Parameter(zeros(length, backend, dtype))

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Normalise each channel of each element of the batch."""
        backend_of(type(self).__name__, x)
        if x.ndim != 2 + len(self._axes) or x.shape[1] != self.num_features:
            raise ShapeError(
                f"expected {'images' if len(self._axes) == 2 else 'lines'} of shape (batch, "
                f"{self.num_features}, {', '.join(self._axes)}), got {x.shape}; make the layer "
                "with their number of channels"
            )
        return ops.group_norm(x, self.num_features, self.weight, self.bias, eps=self.eps)


class InstanceNorm1d(_InstanceNorm[B]):
    """Instance normalisation of lines `(batch, channels, length)`; all else as `InstanceNorm2d`.

    >>> InstanceNorm1d(3, backend)(born.zeros((2, 3, 4), backend)).shape
    (2, 3, 4)
    """

    _axes = ("length",)

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> InstanceNorm1d[B2]: ...


class InstanceNorm2d(_InstanceNorm[B]):
    """y = (x - mean) / sqrt(var + eps) * w + b, over each channel of each image.

    It computes the same in training and in use.

    Args:
        num_features: channels of x.
        backend: where the parameters live.
        eps: added to the variance, against division by zero; at least 0.
        affine: whether there are w and b; not by default.
        dtype: of the parameters, a floating dtype.

    Attributes:
        weight: w, of shape `(num_features,)`, ones at first, or None.
        bias: b, of that shape, zeros at first, or None.

    Source: Ulyanov, Vedaldi and Lempitsky (2016), "Instance Normalization: The Missing
    Ingredient for Fast Stylization", equation 4.

    >>> InstanceNorm2d(3, backend)(born.zeros((2, 3, 4, 4), backend)).shape
    (2, 3, 4, 4)
    """

    _axes = ("height", "width")

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> InstanceNorm2d[B2]: ...


def _check_trailing(got: Shape, trailing: Shape) -> None:
    # A weight would silently broadcast against an axis of another length.
    if got[len(got) - len(trailing) :] != trailing:
        raise ShapeError(
            f"expected a tensor whose last axes have shape {trailing}, got shape {got}; "
            "make the layer with the shape of the axes it normalises"
        )
