"""`Sequential`: layers applied one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from typing_extensions import override

from born.backend import B
from born.errors import BornError, ParameterError
from born.nn.module import Module, Stateless
from born.nn.traversal import Layer
from born.tensor import B2, Tensor


class _OneToOne(Protocol[B]):
    """A module that takes one tensor and returns one."""

    training: bool

    def __call__(self, x: Tensor[B], /) -> Tensor[B]: ...


Chainable: TypeAlias = _OneToOne[B] | Stateless
"""A layer that takes one tensor and returns one: what `Sequential` is made of.

Write `list[Chainable[B]]` for a field that holds layers of several kinds.
"""


class Sequential(Module[B]):
    """Layers applied one after the other; each is named by its place: `0`, `1`, ...

    Args:
        layers: modules and layers that take one tensor and return one. Their backend
            is the type parameter, so at least one of them must have it.

    Raises:
        ParameterError: an argument is not a layer.

    >>> model = Sequential(nn.Linear(4, 8, backend), nn.ReLU(), nn.Linear(8, 2, backend))
    >>> model(born.zeros((3, 4), backend)).shape
    (3, 2)
    >>> model[1], len(model), [path for path, _ in model.named_parameters()]
    (ReLU(), 3, ['0.weight', '0.bias', '2.weight', '2.bias'])
    """

    layers: tuple[Chainable[B], ...]

    def __init__(self, *layers: Chainable[B]) -> None:
        for index, layer in enumerate(layers):
            if not isinstance(cast("object", layer), Layer):
                raise ParameterError(
                    f"expected layers, got {type(layer).__name__} at place {index}; pass an "
                    "instance of a Module, such as nn.ReLU(), or a function as nn.Lambda(function)"
                )
        self.layers = layers

    if TYPE_CHECKING:  # no type says for all classes at once that `to` keeps the class

        @override
        def to(self, backend: B2) -> Sequential[B2]: ...

    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """Pass `x` through every layer."""
        for index, layer in enumerate(self.layers):
            try:
                x = layer(x)
            except BornError as error:
                error.add_note(
                    f"in layer {index} of a Sequential, {type(layer).__name__}, which was given "
                    f"shape {x.shape}"
                )
                raise
        return x

    @override
    def named_fields(self) -> Iterator[tuple[str, object]]:
        return ((str(index), layer) for index, layer in enumerate(self.layers))

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: int) -> Chainable[B]:
        return self.layers[index]

    def __iter__(self) -> Iterator[Chainable[B]]:
        return iter(self.layers)
