"""`backward` and what it returns: a map from raw tensor to gradient."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast, overload

from typing_extensions import override

from born.autodiff.autodiff import Autodiff, check_scalar, recording
from born.backend import B, Backend
from born.errors import (
    BackendMismatchError,
    GradientError,
    MissingGradientError,
    OperandError,
    TapeError,
)
from born.raw import RawTensor
from born.tensor import Tensor, is_tensor

_Default = TypeVar("_Default")


class Gradients(Mapping[RawTensor, RawTensor]):
    """Gradients by the raw tensor they belong to.

    Look one up by `RawTensor`, `Tensor` or `Parameter`. Two maps add up entry by
    entry, where a missing one counts as zero, and a map times a number scales
    every entry: that is how gradients of several batches are averaged.

    Args:
        values: tensor -> gradient.
        backend: the backend that the gradients were computed on.
        leaves: which of the tensors are leaves, all by default; the others are results
            that `backward` was asked to retain.

    >>> import born
    >>> from born.autodiff import Autodiff, backward
    >>> from born_numpy import NumpyBackend
    >>> backend = Autodiff(NumpyBackend())
    >>> x = born.tensor([3.0], backend)
    >>> x.requires_grad = True
    >>> with backend.tape:
    ...     loss = (x * x).sum()
    >>> gradients = backward(loss)
    >>> (gradients + gradients * 0.5)[x].array
    array([9.], dtype=float32)
    """

    __slots__ = ("_backend", "_leaves", "_values")

    def __init__(
        self,
        values: Mapping[RawTensor, RawTensor],
        backend: Backend,
        leaves: Iterable[RawTensor] | None = None,
    ) -> None:
        self._values = values if values.__class__ is dict else dict(values)
        self._backend = backend
        self._leaves: Iterable[RawTensor] | None = leaves

    @property
    def leaves(self) -> frozenset[RawTensor]:
        """The tensors that are leaves, and not results that were retained."""
        # Made when asked for: a training step asks for gradients and nothing else.
        return frozenset(self._values if self._leaves is None else self._leaves)

    @property
    def by_raw(self) -> Mapping[RawTensor, RawTensor]:
        """The same map, of raw tensors only."""
        return self._values

    @property
    def backend(self) -> Backend:
        """The backend that the gradients were computed on."""
        return self._backend

    @override
    def __getitem__(self, key: RawTensor | Tensor[Any]) -> RawTensor:
        """The gradient of a tensor; `MissingGradientError` if the loss does not depend on it."""
        try:
            return self._values[_raw(key)]
        except KeyError as error:
            raise MissingGradientError(
                f"expected a tensor that the loss depends on, got {key!r}; set requires_grad "
                "before recording, or name it in retain if it is not a leaf"
            ) from error

    @overload
    def get(self, key: RawTensor | Tensor[Any], default: None = None, /) -> RawTensor | None: ...
    @overload
    def get(self, key: RawTensor | Tensor[Any], default: RawTensor, /) -> RawTensor: ...
    @overload
    def get(self, key: RawTensor | Tensor[Any], default: _Default, /) -> RawTensor | _Default: ...
    @override
    def get(self, key: RawTensor | Tensor[Any], default: Any = None, /) -> Any:
        """The gradient of a tensor, or a default if it has none."""
        return self._values.get(_raw(key), default)

    @override
    def __contains__(self, key: object) -> bool:
        return (key.raw if isinstance(key, Tensor) else key) in self._values

    @override
    def __iter__(self) -> Iterator[RawTensor]:
        return iter(self._values)

    @override
    def __len__(self) -> int:
        return len(self._values)

    def select(self, tensors: Iterable[RawTensor | Tensor[Any]]) -> Gradients:
        """Only the gradients of these tensors, those without one left out; the same gradients.

        For a model trained by two optimizers: `first.step(gradients.select(encoder.parameters()))`.
        """
        wanted = [_raw(tensor) for tensor in tensors]
        values = {raw: self._values[raw] for raw in wanted if raw in self._values}
        return Gradients(values, self._backend, self.leaves & values.keys())

    def __radd__(self, other: int) -> Gradients:
        """The map itself, so that `sum` adds up several."""
        if other != 0:
            raise OperandError(
                f"expected gradients or the 0 that sum starts with, got {other!r}; "
                "add two maps, or multiply one by a number"
            )
        return self

    def __add__(self, other: Gradients) -> Gradients:
        """The sum, entry by entry, of two maps computed on one backend; in memory of its own."""
        if not isinstance(cast("object", other), Gradients):
            raise OperandError(
                f"expected gradients to add, got {type(other).__name__}; "
                "add two maps, or multiply one by a number"
            )
        if self._backend is not other._backend:
            raise BackendMismatchError(
                f"expected gradients of one backend, got {self._backend!r} and "
                f"{other._backend!r}; compute both on the same backend object"
            )
        backend, ours, theirs = self._backend, self._values, other._values
        values: dict[RawTensor, RawTensor] = {}
        for raw in {**ours, **theirs}:
            of_both = raw in ours and raw in theirs
            values[raw] = (
                backend.add(ours[raw], theirs[raw])
                if of_both
                else backend.copy(ours[raw] if raw in ours else theirs[raw])
            )
        return Gradients(values, self._backend, self.leaves | other.leaves)

    def __mul__(self, factor: float) -> Gradients:
        values = {raw: self._backend.mul(g, factor) for raw, g in self._values.items()}
        return Gradients(values, self._backend, self._leaves)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Gradients:
        values = {raw: self._backend.div(g, divisor) for raw, g in self._values.items()}
        return Gradients(values, self._backend, self._leaves)

    def __repr__(self) -> str:
        shapes = ", ".join(str(raw.shape) for raw in self._values)
        return f"Gradients of {len(self)} tensors of shapes {shapes or 'none'}"


def backward(
    loss: Tensor[Autodiff[B]],
    *,
    seed: Tensor[Any] | RawTensor | None = None,
    retain: Iterable[Tensor[Any] | RawTensor] = (),
    keep_tape: bool = False,
) -> Gradients:
    """The gradients of `loss` with respect to every leaf it depends on.

    The walk starts at `loss`, whatever was recorded after it, and frees each record that
    it passes; records that it does not reach live on with their results.

    Args:
        loss: a tensor recorded by this thread, of one element unless `seed` is given.
        seed: the gradient of what follows with respect to `loss`, of its shape and
            dtype; 1 by default.
        retain: results (not leaves) whose gradients to return as well, where the loss
            depends on them.
        keep_tape: whether to leave the records as they were, for another backward pass.
            Step the optimizer after the last pass, not between two.

    Returns:
        raw tensor -> gradient of the same shape and dtype, in memory that no other gradient
        has. It is computed on `loss.backend.inner`; of a loss that a level further inside
        recorded, `with backend.inner.tape`, on the inner backend of that level.

    Raises:
        TapeError: the loss, or a tensor to retain, is not on this thread's tape; or a
            record that leads to it is gone (freed by a pass before, or cleared) or of
            another tape; or a value that is needed has changed since it was recorded.
        ShapeError: the loss does not have one element, and there is no seed.
        GradientError: the seed differs from the loss in shape or dtype.

    >>> import born
    >>> from born.autodiff import Autodiff
    >>> from born_numpy import NumpyBackend
    >>> backend = Autodiff(NumpyBackend())
    >>> x = born.tensor([1.0, 2.0], backend)
    >>> x.requires_grad = True
    >>> with backend.tape:
    ...     y = x * x
    ...     loss = y.sum()
    >>> gradients = backward(loss, retain=[y])
    >>> gradients[x].array, gradients[y].array
    (array([2., 4.], dtype=float32), array([1., 1.], dtype=float32))
    """
    check_tensor(loss, "a recorded tensor as the loss")
    backend = loss.backend
    if not isinstance(cast("object", backend), Autodiff):
        raise TapeError(
            f"expected a loss on an Autodiff backend, got one on {backend!r}, which records "
            "nothing; make the model's tensors on Autodiff(backend)"
        )
    raw = loss.raw
    tape = recording(backend, raw)
    inner, root = tape.inner, tape.root(raw)
    if seed is None:
        check_scalar(raw)
        start = inner.ones(raw.shape, raw.dtype)
    else:
        # A copy, since a gradient may be the seed itself, and owns its memory.
        start = inner.copy(_checked_seed(loss, seed))
    to_retain = [(tensor, tape.root(tensor)) for tensor in map(_checked_raw, retain)]
    leaves, retained = tape.walk(root, start, inner, to_retain, keep=keep_tape)
    if not retained:
        return Gradients(leaves, inner)
    return Gradients({**retained, **leaves}, inner, leaves)


def check_tensor(value: object, what: str) -> None:
    """Refuse what is not a tensor."""
    if not isinstance(value, Tensor):
        raise OperandError(
            f"expected {what}, got {value!r} of type {type(value).__name__}; compute it from "
            "tensors, inside `with backend.tape:`"
        )


def _checked_raw(tensor: object) -> RawTensor:
    if isinstance(tensor, RawTensor):
        return tensor
    check_tensor(tensor, "tensors to retain the gradients of")
    return cast("Tensor[Any]", tensor).raw


def _checked_seed(loss: Tensor[Any], seed: object) -> RawTensor:
    """The gradient to start from, refused if it is not like the loss."""
    if is_tensor(seed) and seed.backend.innermost is not loss.backend.innermost:
        raise BackendMismatchError(
            f"expected a seed on the loss's backend {loss.backend!r}, got one on "
            f"{seed.backend!r}; make it with born.tensor(value, loss.backend)"
        )
    raw = seed.raw if is_tensor(seed) else seed
    if not isinstance(raw, RawTensor):
        raise OperandError(
            f"expected a seed that is a tensor, got {type(seed).__name__}; "
            "make it with born.tensor(value, loss.backend)"
        )
    if raw.shape != loss.shape or raw.dtype != loss.dtype:
        raise GradientError(
            f"expected a seed of shape {loss.shape} and dtype {loss.dtype}, the loss's own, "
            f"got {raw.shape} and {raw.dtype}; reshape or convert it"
        )
    return raw


def _raw(key: Tensor[Any] | RawTensor) -> RawTensor:
    return key.raw if isinstance(key, Tensor) else key
