"""Sharpness-aware minimization: the gradient where the loss nearby is highest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from born.autodiff import Autodiff, Gradients, backward
from born.backend import B, Backend
from born.errors import OperandError
from born.raw import RawTensor
from born.tensor import Tensor
from born.validation import number


def sharpness_aware(
    loss: Callable[[], Tensor[Autodiff[B]]], rho: float = 0.05, *, adaptive: bool = False
) -> Gradients:
    """The gradients of a loss at the worst point near the parameters, to hand to an optimizer.

    With g the gradients at the parameters p, all of them together as one vector::

        e = rho · g / |g|                 the gradients at p + e are returned
        e = rho · p² g / |p g|            adaptive: however a layer is scaled

    Steps along them lead to where the loss is low all around, which often generalizes better. It
    takes two forward and two backward passes. Afterwards the parameters have the bits that they
    had before, also if the loss raises an error.

    Args:
        loss: computes the loss, and records it: its body begins with `with backend.tape:`. It is
            called twice, on the same batch.
        rho: how far away the worst point is looked for; 0.05 to 0.2, and ten times as far if
            adaptive.
        adaptive: measure distances relative to the size of each element.

    Raises:
        ConfigError: rho is not a number of at least 0.
        OperandError: the loss is not a function.

    >>> from born.autodiff import Autodiff
    >>> recording = Autodiff(backend)
    >>> p = nn.Parameter(born.tensor([3.0, 4.0], recording))
    >>> def loss():
    ...     with recording.tape:
    ...         return (p * p).sum() / 2.0
    >>> grads = optim.sharpness_aware(loss, rho=0.5)
    >>> grads[p].array, p.numpy()
    (array([3.3, 4.4], dtype=float32), array([3., 4.], dtype=float32))

    Source: Foret, Kleiner, Mobahi and Neyshabur (2021), "Sharpness-Aware Minimization for
    Efficiently Improving Generalization", equation 2; Kwon, Kim, Park and Choi (2021), "ASAM", for
    the adaptive form.
    """
    number("rho", rho, low=0.0)
    if not callable(loss):
        raise OperandError(
            f"expected a function that computes and records the loss, got {type(loss).__name__}; "
            "write a function, since it is called twice"
        )
    first = loss()
    grads = backward(first)
    backend: Any = first.backend.innermost
    leaves = [raw for raw in grads.by_raw if raw.requires_grad]
    steps = _steps(backend, [(raw, grads[raw]) for raw in leaves], rho, adaptive)
    before = [backend.copy(raw) for raw in leaves]
    try:
        for raw, step in zip(leaves, steps, strict=True):
            backend.assign(raw, backend.add(raw, step))
            raw.touch()
        return backward(loss())
    finally:
        for raw, value in zip(leaves, before, strict=True):
            backend.assign(raw, value)
            raw.touch()


def _steps(
    backend: Backend, pairs: list[tuple[RawTensor, RawTensor]], rho: float, adaptive: bool
) -> list[RawTensor]:
    """e for each parameter; the norm stays on the device."""
    scaled = [backend.mul(p, g) if adaptive else g for p, g in pairs]
    norm = backend.global_norm(scaled)
    # Where all gradients are 0, so is each step, whatever it is divided by.
    some = backend.greater(norm, 0.0)
    factor = backend.div(rho, backend.where(some, norm, backend.full((), 1.0, "float64")))
    steps: list[RawTensor] = []
    for (p, _), each in zip(pairs, scaled, strict=True):
        step = backend.mul(each, backend.astype(factor, each.dtype))
        steps.append(backend.mul(p, step) if adaptive else step)
    return steps
