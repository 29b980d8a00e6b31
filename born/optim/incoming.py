"""`Incoming`: from what a step is given to a gradient for each parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from born.autodiff import Gradients
from born.errors import BackendMismatchError, GradientError
from born.nn import Parameter
from born.optim.checks import StepChecks
from born.raw import RawTensor, memory_of


class Incoming:
    """Hands out the gradients of an optimizer's parameters, those that are frozen left out."""

    def __init__(
        self, owner: str, parameters: Sequence[Parameter[Any]], checks: StepChecks
    ) -> None:
        self._owner = owner
        self._backend = parameters[0].backend
        self._inner = self._backend.innermost
        self._checks = checks
        self._raws = [p.raw for p in parameters]
        self._index = {raw: i for i, raw in enumerate(self._raws)}
        self._owners = {id(memory_of(raw.array)) for raw in self._raws}
        self.frozen: frozenset[int] = frozenset()

    def gradients(self, grads: Mapping[RawTensor, RawTensor] | None) -> list[RawTensor | None]:
        """For each parameter the gradient to follow, or None."""
        if grads is None:
            gradients = [raw.grad for raw in self._raws]
        else:
            self._check_mapping(grads)
            get = grads.by_raw.get if isinstance(grads, Gradients) else grads.get
            gradients = [get(raw) for raw in self._raws]
            if len(grads) != sum([gradient is not None for gradient in gradients]):
                self._check_keys(grads)
        for index, (raw, gradient) in enumerate(zip(self._raws, gradients, strict=True)):
            if gradient is None:
                continue
            if gradient.__class__ is not RawTensor and not isinstance(
                cast("object", gradient), RawTensor
            ):
                raise GradientError(
                    f"{self._checks.label(index)}: expected a gradient as a RawTensor, "
                    f"got {type(gradient).__name__}; pass tensor.raw, or RawTensor(array)"
                )
            array = gradient.array
            owner = getattr(array, "base", None)
            owner = array if owner is None else owner
            if gradient in self._index or (
                (id(owner) in self._owners or owner.__class__ is not raw.array.__class__)
                and self._overlaps_another(index, gradient)
            ):
                # Another parameter's memory as a gradient: its update must not come between.
                gradients[index] = self._inner.copy(gradient)
            if not raw.requires_grad:
                self._checks.check_gradient(index, gradient)
                gradients[index] = None
        for index in self.frozen:
            frozen = gradients[index]
            if frozen is not None:
                self._checks.check_gradient(index, frozen)
                gradients[index] = None
        return gradients

    def _overlaps_another(self, index: int, gradient: RawTensor) -> bool:
        """Whether a gradient lies in the memory of another parameter than its own."""
        own_array, array = self._raws[index].array, gradient.array
        if array.__class__ is not own_array.__class__ or array.device != own_array.device:
            return False  # refused later, by name
        own = self._inner.extent(gradient)
        if own is None:
            return False
        others = [self._inner.extent(raw) for i, raw in enumerate(self._raws) if i != index]
        return any(
            other is not None and own[0] < other[1] and other[0] < own[1] for other in others
        )

    def _check_mapping(self, grads: Mapping[RawTensor, RawTensor]) -> None:
        if isinstance(grads, Gradients):
            if grads.backend.innermost is not self._inner:
                raise BackendMismatchError(
                    f"expected gradients on the parameters' backend {self._backend!r}, got "
                    f"gradients on {grads.backend!r}; compute the loss with the parameters' own "
                    "backend"
                )
        elif not isinstance(cast("object", grads), Mapping):
            raise GradientError(
                "expected a mapping from a parameter's raw tensor to its gradient, got "
                f"{type(grads).__name__}; write {{parameter.raw: gradient}}"
            )

    def _check_keys(self, grads: Mapping[RawTensor, RawTensor]) -> None:
        """Refuse gradients for tensors that this optimizer does not hold.

        Those of a loss are for all optimizers that follow it, and this one takes its own; if there
        are none, the loss is another model's.
        """
        keys: Iterable[object] = grads.leaves if isinstance(grads, Gradients) else grads
        unknown = [key for key in keys if key not in self._index]
        if isinstance(grads, Gradients) and len(unknown) < len(grads.leaves):
            return
        if unknown:
            raise GradientError(
                f"expected gradients for the {len(self._raws)} tensors that this "
                f"{self._owner} holds, got {len(unknown)} for others, the first for "
                f"{unknown[0]!r}; use parameter.raw as the key, and hand over only the gradients "
                "of this optimizer's parameters, or what backward returns for a loss of them"
            )
