"""`Layer`, and how parameters, layers and tensors are found in its fields."""

from __future__ import annotations

import itertools
import reprlib
from collections import UserList, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set, ValuesView
from typing import Any, Final, Self, TypeAlias, TypeVar, cast

import numpy as np
from typing_extensions import TypeIs

from born.backend import Backend
from born.errors import BackendMismatchError, ParameterError
from born.nn.parameter import Buffer, Held
from born.raw import HostArray
from born.tensor import Tensor

_Kind = TypeVar("_Kind")

_INDENT: Final = "  "


class Layer:
    """What modules and layers without parameters share: a mode, and the layers inside.

    Layers and parameters are found in the instance's fields, in the order in which the
    fields were set, also inside lists, tuples and mappings. Names of fields, indices and
    keys make up the path: `blocks.0.weight`. Nothing has to be registered, and
    `super().__init__()` need not be called.

    Derive from `Module` or `Stateless` rather than from this class.

    >>> layer = nn.Dropout(0.5)
    >>> isinstance(layer, Layer), layer.training, layer.eval().training
    (True, True, False)
    """

    training: bool = True
    """Whether layers that differ between training and use, such as `Dropout`, train."""

    def named_fields(self) -> Iterator[tuple[str, object]]:
        """The names and values in which layers and parameters are looked for.

        Override it to name the children otherwise.
        """
        yield from vars(self).items()
        for owner in type(self).__mro__:
            names = vars(owner).get("__slots__", ())
            for name in (names,) if isinstance(names, str) else names:
                if name not in ("__dict__", "__weakref__") and hasattr(self, name):
                    yield name, getattr(self, name)

    def named_modules(self) -> list[tuple[str, Layer]]:
        """This layer (at the empty path) and every layer inside, each once, by path.

        >>> [path for path, _ in nn.Sequential(nn.ReLU(), nn.Flatten()).named_modules()]
        ['', '0', '1']
        """
        return [(path, part) for path, part in walk(self) if isinstance(part, Layer)]

    def train(self, mode: bool = True) -> Self:
        """Set `training` here and in every layer inside; returns this layer."""
        for _, layer in self.named_modules():
            # A frozen dataclass may be a module, and refuses to have its mode set.
            object.__setattr__(layer, "training", mode)
        return self

    def eval(self) -> Self:
        """The same as `train(False)`."""
        return self.train(False)

    @reprlib.recursive_repr("...")
    def __repr__(self) -> str:
        constants = [
            f"{name}={value!r}"
            for name, value in self.named_fields()
            if name != "training" and not name.startswith("_") and _is_constant(value)
        ]
        parts = list(children(self, is_part))
        shown = constants + [f"{name}={_shown(part)}" for name, part in parts]
        name = type(self).__name__
        if not any(isinstance(part, Layer) for _, part in parts):
            return f"{name}({', '.join(shown)})"
        body = ",\n".join(shown).replace("\n", f"\n{_INDENT}")
        return f"{name}(\n{_INDENT}{body}\n)"


Part: TypeAlias = Layer | Held[Any]


def is_part(value: object) -> TypeIs[Part]:
    """Whether a value is a layer, a parameter or a buffer."""
    return isinstance(value, (Layer, Held))


def walk(layer: Layer) -> Iterator[tuple[str, Part]]:
    """The layer and all layers, parameters and buffers in it by path, each once, depth first."""
    seen: set[int] = set()

    def visit(path: str, part: Part) -> Iterator[tuple[str, Part]]:
        identity = id(part.raw if isinstance(part, Held) else part)
        if identity not in seen:
            seen.add(identity)
            yield path, part
            if isinstance(part, Layer):
                for name, child in children(part, is_part):
                    yield from visit(f"{path}.{name}" if path else name, child)

    return visit("", layer)


def children(
    layer: Layer, wanted: Callable[[object], TypeIs[_Kind]]
) -> Iterator[tuple[str, _Kind]]:
    """The wanted values in a layer's fields and in containers there, but not in layers there."""
    for name, field in layer.named_fields():
        yield from _inside(name, field, wanted, ())


def _inside(
    path: str,
    value: object,
    wanted: Callable[[object], TypeIs[_Kind]],
    around: tuple[object, ...],
) -> Iterator[tuple[str, _Kind]]:
    """The wanted values in a field; `around` are the containers that it lies in."""
    searched = value
    if wanted(value):
        yield path, value
        return
    items: Iterable[tuple[object, object]]
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        if any(is_part(key) for key, _ in items):
            raise _misplaced(path, "keys of a mapping, which are not searched", "them its values")
    elif isinstance(value, (list, tuple)):
        items = enumerate(cast("list[object] | tuple[object, ...]", value))
    elif _is_unsearched(value):
        items = enumerate(list(value))
    elif _is_used_up(value):
        text = f"{_article(value)}, which looking for them would use up"
        raise _misplaced(path, text, "it a list or a dict")
    else:
        return
    if any(searched is container for container in around):
        raise _misplaced(path, "a container that contains itself", "a copy without the circle")
    for key, item in items:
        for place, found in _inside(f"{path}.{key}", item, wanted, (*around, searched)):
            if is_part(found) and _is_unsearched(searched):
                raise _misplaced(path, _article(searched), "it a list or a dict")
            yield place, found


def _is_unsearched(value: object) -> TypeIs[Iterable[object]]:
    """Whether a container is one in which layers and parameters have no lasting path."""
    if isinstance(value, np.ndarray):
        array = cast("HostArray", value)
        return array.dtype.kind == "O" and array.ndim > 0
    return isinstance(value, (Set, ValuesView, deque, UserList))


def _is_used_up(value: object) -> bool:
    """Whether a value is an iterator of Python's that may yield layers."""
    return (
        isinstance(value, Iterator)
        and type(cast("object", value)).__module__ in ("builtins", "itertools")
        and not isinstance(value, itertools.count)
    )


def _article(value: object) -> str:
    return "an object array" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def _misplaced(path: str, got: str, remedy: str) -> ParameterError:
    return ParameterError(
        f"expected layers and parameters in lists, tuples or the values of mappings, got {got} "
        f"at {path!r}; make {remedy}"
    )


def common_backend(layer: Layer) -> Backend | None:
    """The backend of every tensor in a layer and below, or None if there are no tensors."""
    places = [
        (f"{path}.{name}".lstrip("."), value.backend if isinstance(value, Tensor) else value)
        for path, part in walk(layer)
        if isinstance(part, Layer)
        for name, value in children(part, _is_placed)
    ]
    for path, backend in places:
        first, common = places[0]
        if backend is not common:
            raise BackendMismatchError(
                f"expected a module on one backend, got {common!r} at {first!r} and "
                f"{backend!r} at {path!r}; make all of it on the same backend object"
            )
    return places[0][1] if places else None


def tensors_in(layer: Layer) -> Iterator[Tensor[Any]]:
    """Every tensor in a layer and below: parameters, buffers and constants."""
    for _, part in walk(layer):
        if isinstance(part, Layer):
            for _, value in children(part, _is_tensor):
                yield value


def _is_tensor(value: object) -> TypeIs[Tensor[Any]]:
    return isinstance(value, Tensor)


def _is_placed(value: object) -> TypeIs[Tensor[Any] | Backend]:
    return isinstance(value, (Tensor, Backend))


def _shown(part: Part) -> str:
    if not isinstance(part, Held):
        return repr(part)
    dtype = "" if part.dtype.name == "float32" else f" {part.dtype}"
    if isinstance(part, Buffer):
        return f"{part.shape}{dtype} buffer"
    return f"{part.shape}{dtype}{'' if part.requires_grad else ' frozen'}"


def _is_constant(value: object) -> bool:
    """Whether a field is a setting to show, such as a probability or a stride."""
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        return bool(items) and all(map(_is_constant, items))
    return value is None or isinstance(value, (bool, int, float, str))
