"""Trees: tensors in dicts, lists, tuples, dataclasses and modules, as one argument or result.

Taken apart, a tree is a list of tensors and a `Tree` that puts others in their places. A module
is not copied: it counts as its parameters, which are differentiated by wherever they are used.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

from typing_extensions import TypeIs

from born import ops
from born.backend.arguments import is_tuple
from born.dtypes import is_floating
from born.errors import DTypeError, OperandError, ShapeError, TapeError
from born.operands import backend_mismatch
from born.raw import RawTensor
from born.tensor import Tensor, is_tensor


class Parametric(Protocol):
    """What has parameters with paths: `born.nn.Module`, which lies on a floor of its own."""

    def named_parameters(self) -> Sequence[tuple[str, Any]]:
        """Every parameter with its path."""
        ...


class Leaf(NamedTuple):
    """A tensor of a tree.

    Attributes:
        tensor: it.
        path: how to get to it, as `['bias']` or `.weight`.
        held: whether a module holds it, and so it keeps its identity.
    """

    tensor: Tensor[Any]
    path: str
    held: bool


class Held(NamedTuple):
    """What takes the place of a module: for each parameter its path, raw tensor and value."""

    paths: Sequence[str]
    raws: Sequence[RawTensor]
    values: Sequence[Any]


class Tree:
    """The shape of a tree: what is around its tensors, and what is in it besides.

    Args:
        value: a tensor, or dicts, lists, tuples and dataclasses of them at any depth, or
            modules. Numbers, names and functions among them stay as they are.
        what: what to call it in an error of tensors that are not floating; without it, they
            stay as they are, too.
    """

    def __init__(self, value: object, what: str | None = None) -> None:
        self.value: Final = value
        self.leaves: Final = list(_leaves(value, what, "", ()))

    @property
    def tensors(self) -> list[Tensor[Any]]:
        """Its tensors, in order."""
        return [leaf.tensor for leaf in self.leaves]

    def filled(self, values: Sequence[Any], held: Callable[[Held], Any] | None = None) -> Any:
        """The same tree with other values in place of its tensors.

        Args:
            values: one for each tensor.
            held: what to make of those of a module; without it, the module stays.
        """
        rest = iter(values)
        return _filled(self.value, rest, held)

    @property
    def is_tensor(self) -> bool:
        """Whether it is one tensor."""
        return is_tensor(self.value)


def by_path(held: Held) -> dict[str, Any]:
    """The values of a module's parameters by their paths."""
    return dict(zip(held.paths, held.values, strict=True))


def mapped(value: Any, function: Callable[[Tensor[Any]], Any]) -> Any:
    """The same tree with another value for each tensor, of any dtype; modules stay."""
    if is_tensor(value):
        return function(value)
    children = [] if _is_parametric(value) else _children(value)
    if not children:
        return value
    return _rebuilt(value, {key: mapped(child, function) for key, _, child in children})


def joined(tree: Tree) -> Tensor[Any]:
    """A tensor as it is, or the floating ones of a tree, of one dtype, end to end in a vector."""
    if tree.is_tensor:
        return tree.tensors[0]
    return ops.concatenate([ops.ravel(x) for x in tree.tensors])


def parted(x: Tensor[Any], form: Tree) -> Any:
    """The tree of some form that a vector was joined from."""
    if form.is_tensor:
        return x
    ends = [0, *itertools.accumulate(leaf.size for leaf in form.tensors)]
    return form.filled(
        [
            ops.reshape(x[start:stop], leaf.shape)
            for (start, stop), leaf in zip(itertools.pairwise(ends), form.tensors, strict=True)
        ]
    )


def paths_of(value: object, path: str = "") -> dict[str, Tensor[Any]]:
    """The tensors of a tree, of any dtype, by how to get to each; those of modules are left out."""
    if is_tensor(value):
        return {path: value}
    children = [] if _is_parametric(value) else _children(value)
    return {k: x for _, step, child in children for k, x in paths_of(child, path + step).items()}


def _is_parametric(value: object) -> TypeIs[Parametric]:
    # As isinstance says of the protocol, but it takes a tenth of the time.
    return hasattr(value.__class__, "named_parameters")


def _parameters(module: Parametric) -> list[tuple[str, Tensor[Any]]]:
    return [(path, p) for path, p in module.named_parameters() if p.requires_grad]


def _is_mapping(value: object) -> TypeIs[Mapping[Any, Any]]:
    return isinstance(value, Mapping)


def _is_list(value: object) -> TypeIs[list[Any]]:
    return isinstance(value, list)


def _field_names(value: object) -> Sequence[str] | None:
    """The names of a named tuple or a dataclass."""
    if is_tuple(value):
        return cast("Sequence[str] | None", getattr(value, "_fields", None))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [each.name for each in dataclasses.fields(value)]
    return None


def _children(value: object) -> list[tuple[Any, str, Any]]:
    """Key, path and value of each child."""
    if _is_mapping(value):
        return [(key, f"[{key!r}]", each) for key, each in value.items()]
    names = _field_names(value)
    if names is not None:
        return [(name, f".{name}", getattr(value, name)) for name in names]
    if _is_list(value) or is_tuple(value):
        return [(i, f"[{i}]", child) for i, child in enumerate(value)]
    return []


def _leaves(
    value: object, what: str | None, path: str, around: tuple[object, ...]
) -> Iterator[Leaf]:
    """The floating tensors of a tree, in order; `around` is what it lies in."""
    if is_tensor(value):
        if not is_floating(value.dtype):
            if what is None:
                return
            place = f" at {path}" if path else ""
            raise TapeError(
                f"expected a floating tensor {what}, got one of dtype {value.dtype}{place}; "
                "make it with born.tensor(value, backend), or leave it out"
            )
        yield Leaf(value, path, held=False)
    elif _is_parametric(value):
        for name, parameter in _parameters(value):
            yield Leaf(parameter, f"{path}.{name}", held=True)
    else:
        if any(value is each for each in around):
            raise OperandError(
                f"expected a tree of tensors, got one that contains itself at {path}; make a copy "
                "without the circle"
            )
        for _, step, child in _children(value):
            yield from _leaves(child, what, path + step, (*around, value))


def _filled(value: object, rest: Iterator[Any], held: Callable[[Held], Any] | None) -> Any:
    """A tree with the next values in place of its floating tensors."""
    if is_tensor(value):
        return next(rest) if is_floating(value.dtype) else value
    if _is_parametric(value):
        named = _parameters(value)
        values = [next(rest) for _ in named]
        if held is None:
            return value
        return held(Held([path for path, _ in named], [p.raw for _, p in named], values))
    children = _children(value)
    if not children:
        return value
    return _rebuilt(value, {key: _filled(child, rest, held) for key, _, child in children})


def _rebuilt(value: Any, made: dict[Any, Any]) -> Any:
    """The same container with other children, of its own type where one can be made."""
    kind: type[Any] = value.__class__
    if kind is dict:
        return made
    children = list(made.values())
    if kind is list:
        return children
    if kind is tuple:
        return tuple(children)
    if is_tuple(value):
        return kind._make(children) if _field_names(value) is not None else kind(children)
    if isinstance(value, dict | list):
        # A copy keeps what it has besides, as the factory of a defaultdict.
        twin: Any = copy.copy(cast("Any", value))
        if isinstance(value, dict):
            twin.update(made)
        else:
            twin[:] = children
        return twin
    if _is_mapping(value):
        try:
            return kind(made)
        except TypeError:
            return made
    # A dataclass: of the same class with other fields, which `__init__` need not take.
    twin = object.__new__(kind)
    held: dict[str, Any] = getattr(value, "__dict__", {})
    for name, each in {**held, **made}.items():
        object.__setattr__(twin, name, each)
    return twin


def aligned(tree: Tree, other: Any, what: str) -> list[RawTensor | None]:
    """The raw tensors of another tree of the same form, or of mappings in place of modules.

    Raises:
        ShapeError: another form, or a tensor of another shape.
    """
    made: list[RawTensor | None] = []
    _align(tree.value, other, what, "", made)
    return made


def _align(value: object, other: Any, what: str, path: str, made: list[RawTensor | None]) -> None:
    """Append the gradients in `other`, of the form of a tree, in the order of its leaves."""
    place = f" at {path}" if path else ""
    if is_tensor(value):
        if not is_floating(value.dtype):
            return
        if not is_tensor(other):
            raise OperandError(
                f"expected {what} as a tensor{place}, got {type(other).__name__}; make it with "
                "born.tensor"
            )
        made.append(_fitting(value, other.raw, what, place))
        if other.backend is not value.backend:
            raise backend_mismatch(value.backend, other.backend)
    elif _is_parametric(value):
        for name, parameter in _parameters(value):
            found = other.get(name if name in other else parameter)
            raw = found.raw if is_tensor(found) else found
            made.append(None if raw is None else _fitting(parameter, raw, what, f" at {name}"))
    else:
        children = _children(value)
        theirs = {key: child for key, _, child in _children(other)}
        if children and theirs.keys() != {key for key, _, _ in children}:
            raise ShapeError(
                f"expected {what} with {', '.join(str(key) for key, _, _ in children)}{place}, got "
                f"{', '.join(map(str, theirs)) or type(other).__name__}; make a tree of one form"
            )
        for key, step, child in children:
            _align(child, theirs[key], what, path + step, made)


def _fitting(x: Tensor[Any], raw: RawTensor, what: str, place: str) -> RawTensor:
    expected = f"expected {what} of the point's shape {x.shape} and dtype {x.dtype}{place}"
    if raw.shape != x.shape:
        raise ShapeError(f"{expected}, got {raw.shape}; reshape it first")
    if raw.dtype != x.dtype:
        raise DTypeError(f"{expected}, got {raw.dtype}; convert it with .astype")
    return raw
