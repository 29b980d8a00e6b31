"""How parameters, layers and tensors are found in the fields of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, TypeVar, cast

from typing_extensions import TypeIs

from born.backend import Backend
from born.errors import BackendMismatchError, ParameterError
from born.nn.parameter import Parameter
from born.tensor import Tensor

_Kind = TypeVar("_Kind")


class Fielded:
    """An object whose fields are searched; `Layer` is the only kind."""

    def named_fields(self) -> Iterator[tuple[str, object]]:
        """The names and values in which layers and parameters are looked for.

        Override it to give children names of your own.
        """
        yield from vars(self).items()
        for owner in type(self).__mro__:
            names = vars(owner).get("__slots__", ())
            for name in (names,) if isinstance(names, str) else names:
                if name not in ("__dict__", "__weakref__") and hasattr(self, name):
                    yield name, getattr(self, name)


Part: TypeAlias = Fielded | Parameter[Any]


def is_part(value: object) -> TypeIs[Part]:
    """Whether a value is a layer or a parameter."""
    return isinstance(value, (Fielded, Parameter))


def walk(layer: Fielded) -> Iterator[tuple[str, Part]]:
    """The layer and all layers and parameters in it with their paths, each once, depth first."""
    seen: set[int] = set()

    def visit(path: str, part: Part) -> Iterator[tuple[str, Part]]:
        identity = id(part.raw if isinstance(part, Parameter) else part)
        if identity not in seen:
            seen.add(identity)
            yield path, part
            if isinstance(part, Fielded):
                for name, child in children(part, is_part):
                    yield from visit(f"{path}.{name}" if path else name, child)

    return visit("", layer)


def children(
    layer: Fielded, wanted: Callable[[object], TypeIs[_Kind]]
) -> Iterator[tuple[str, _Kind]]:
    """The wanted values in a layer's fields and in containers there, but not in layers there."""
    for name, field in layer.named_fields():
        yield from _inside(name, field, wanted)


def _inside(
    path: str, value: object, wanted: Callable[[object], TypeIs[_Kind]]
) -> Iterator[tuple[str, _Kind]]:
    if wanted(value):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            yield from _inside(f"{path}.{key}", item, wanted)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(cast("list[object] | tuple[object, ...]", value)):
            yield from _inside(f"{path}.{index}", item, wanted)
    elif isinstance(value, (set, frozenset)) and any(map(wanted, cast("set[object]", value))):
        raise ParameterError(
            f"expected layers and parameters in lists, tuples or mappings, got a set at {path!r}, "
            "whose order changes from run to run; make it a list"
        )


def common_backend(layer: Fielded) -> Backend | None:
    """The backend of every tensor in a layer and below, or None if there are no tensors.

    Raises:
        BackendMismatchError: there is more than one backend.
    """
    places = [
        (f"{path}.{name}".lstrip("."), found.backend if isinstance(found, Tensor) else found)
        for path, part in walk(layer)
        if isinstance(part, Fielded)
        for name, found in children(part, _is_placed)
    ]
    for path, backend in places:
        first, common = places[0]
        if backend is not common:
            raise BackendMismatchError(
                f"expected a module on one backend, got {common!r} at {first!r} and "
                f"{backend!r} at {path!r}; make all of it on the same backend object"
            )
    return places[0][1] if places else None


def _is_placed(value: object) -> TypeIs[Tensor[Any] | Backend]:
    return isinstance(value, (Tensor, Backend))
