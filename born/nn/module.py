"""`Module` and `Layer`: what holds parameters, and how they are found."""

from __future__ import annotations

import copy
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import (
    Any,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from typing_extensions import TypeIs

from born.backend import Backend
from born.errors import BackendMismatchError, ParameterError
from born.nn.parameter import Parameter
from born.nn.state import StateValue, load, problems, snapshot
from born.operands import check_backend
from born.raw import RawTensor
from born.tensor import B2, B, Tensor

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Result_co = TypeVar("_Result_co", covariant=True)
_Kind = TypeVar("_Kind")

_Part: TypeAlias = "Layer | Parameter[Any]"

_INDENT: Final = "  "


class _HasForward(Protocol[_Arguments, _Result_co]):
    """A module seen through its `forward`, so that calling it has that signature."""

    def forward(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result_co: ...


class Layer:
    """What modules and layers without parameters share: a mode, and the layers inside.

    Layers and parameters are found in the instance's fields, in the order in which the
    fields were set, also inside lists, tuples and mappings. A field's name is its part
    of the path, as is an item's index or key: `blocks.0.weight`. Nothing has to be
    registered, and no `super().__init__()` has to be called.

    Derive from `Module` or `Stateless` rather than from this class.

    >>> from born import nn
    >>> layer = nn.Dropout(0.5)
    >>> isinstance(layer, Layer), layer.training, layer.eval().training
    (True, True, False)
    """

    training: bool = True
    """Whether layers that differ between training and use, such as `Dropout`, train."""

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

    def named_modules(self) -> list[tuple[str, Layer]]:
        """This layer (at the empty path) and every layer inside, each once, by path.

        >>> from born import nn
        >>> [path for path, _ in nn.Sequential(nn.ReLU(), nn.Flatten()).named_modules()]
        ['', '0', '1']
        """
        return [(path, found) for path, found in _walk(self) if isinstance(found, Layer)]

    def train(self, mode: bool = True) -> Self:
        """Set `training` here and in every layer inside; returns this layer."""
        for _, layer in self.named_modules():
            # A frozen dataclass may be a module; its mode is not one of its fields.
            object.__setattr__(layer, "training", mode)
        return self

    def eval(self) -> Self:
        """The same as `train(False)`: ready to be used rather than trained."""
        return self.train(False)

    @reprlib.recursive_repr("...")
    def __repr__(self) -> str:
        constants = [
            f"{name}={value!r}"
            for name, value in self.named_fields()
            if name != "training" and not name.startswith("_") and _is_constant(value)
        ]
        children = [
            child for name, value in self.named_fields() for child in _inside(name, value, _is_part)
        ]
        parts = constants + [f"{name}={_shown(child)}" for name, child in children]
        name = type(self).__name__
        if not any(isinstance(child, Layer) for _, child in children):
            return f"{name}({', '.join(parts)})"
        body = ",\n".join(parts).replace("\n", f"\n{_INDENT}")
        return f"{name}(\n{_INDENT}{body}\n)"


class Stateless(Layer, ABC):
    """A layer without parameters: it works on tensors of any backend.

    Subclass it with a `forward` that takes and returns a tensor.

    >>> import born
    >>> from born.tensor import B
    >>> class Square(Stateless):
    ...     def forward(self, x: born.Tensor[B], /) -> born.Tensor[B]:
    ...         return x * x
    >>> Square()(born.tensor([3.0], born.get_backend("numpy"))).numpy()
    array([9.], dtype=float32)
    """

    @abstractmethod
    def forward(self, x: Tensor[B], /) -> Tensor[B]:
        """What the layer computes."""

    def __call__(self, x: Tensor[B], /) -> Tensor[B]:
        """The same as `forward(x)`."""
        return self.forward(x)


class Module(Layer, Generic[B]):
    """A part of a model, with the parameters in its fields; `B` is their backend.

    Subclass it with fields and a `forward` of any signature; calling the module calls
    `forward`. A plain class and a dataclass both do. Parameters, modules and layers
    may lie in fields directly or in lists, tuples and mappings in them; a plain
    `Tensor` in a field is a constant, which is neither trained nor saved.

    >>> import born
    >>> from born import nn
    >>> from born.tensor import B
    >>> class Residual(nn.Module[B]):
    ...     def __init__(self, width: int, backend: B) -> None:
    ...         self.inner = nn.Sequential(nn.Linear(width, width, backend), nn.ReLU())
    ...         self.gain = nn.Parameter(born.ones((), backend))
    ...
    ...     def forward(self, x: born.Tensor[B]) -> born.Tensor[B]:
    ...         return x + self.gain * self.inner(x)
    >>> model = Residual(4, born.get_backend("numpy"))
    >>> model(born.zeros((2, 4), model.gain.backend)).shape
    (2, 4)
    >>> [path for path, _ in model.named_parameters()]
    ['inner.0.weight', 'inner.0.bias', 'gain']
    >>> model
    Residual(
      inner=Sequential(
        0=Linear(weight=(4, 4), bias=(4,)),
        1=ReLU()
      ),
      gain=()
    )
    """

    def __call__(
        self: _HasForward[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        """The same as `forward` with these arguments."""
        return self.forward(*args, **kwargs)

    def named_parameters(self) -> list[tuple[str, Parameter[B]]]:
        """Every parameter with its path, in field order.

        A parameter that lies at several places (tied weights) is listed once, at the
        first; two `Parameter` objects over one storage count as the same. A parameter
        whose `name` is empty takes its path as its name.

        Raises:
            ParameterError: two parameters have the same path, or one lies in a set,
                which has no order.
        """
        found = [
            (path, cast("Parameter[B]", value))
            for path, value in _walk(self)
            if isinstance(value, Parameter)
        ]
        paths: set[str] = set()
        for path, parameter in found:
            if path in paths:
                raise ParameterError(
                    f"expected every path to name one parameter, got two at {path!r}; "
                    "rename a field or a mapping's key"
                )
            paths.add(path)
            parameter.name = parameter.name or path
        return found

    def parameters(self) -> list[Parameter[B]]:
        """Every parameter once, in field order: what an optimizer takes.

        >>> import born
        >>> from born import nn
        >>> [p.name for p in nn.Linear(2, 3, born.get_backend("numpy")).parameters()]
        ['weight', 'bias']
        """
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self) -> None:
        """Forget every parameter's accumulated gradient."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, RawTensor]:
        """Path -> a copy of each parameter's value; nothing aliases the live model.

        >>> import born
        >>> from born import nn
        >>> nn.Linear(2, 3, born.get_backend("numpy")).state_dict()["weight"].shape
        (3, 2)
        """
        return snapshot(self.named_parameters())

    def check_state_dict(self, state: Mapping[str, StateValue]) -> list[str]:
        """Every reason why `state` could not be loaded, in words; changes nothing.

        >>> import born, numpy as np
        >>> from born import nn
        >>> layer = nn.Linear(2, 3, born.get_backend("numpy"), bias=False)
        >>> layer.check_state_dict({"weight": np.zeros((3, 1), np.float32)})
        ["'weight': expected shape (3, 2), got (3, 1)"]
        """
        return problems(self.named_parameters(), state)

    def load_state_dict(self, state: Mapping[str, StateValue]) -> None:
        """Write the values of `state` into the parameters, all of them or none.

        The parameters keep their storage, so references to them stay good, and nothing
        in `state` is held on to.

        Args:
            state: path -> `RawTensor`, `Tensor` or NumPy array, for exactly the paths
                of `named_parameters`, of the parameters' shapes and dtypes.

        Raises:
            StateDictError: entries are missing, unexpected, misshapen or mistyped; the
                message lists every one, and nothing was changed.

        >>> import born, numpy as np
        >>> from born import nn
        >>> layer = nn.Linear(1, 1, born.get_backend("numpy"), bias=False)
        >>> layer.load_state_dict({"weight": np.full((1, 1), 7, np.float32)})
        >>> layer.weight.item()
        7.0
        """
        load(self.named_parameters(), state, owner=type(self).__name__)

    @overload
    def to(self, backend: B) -> Self: ...

    @overload
    def to(self, backend: B2) -> Module[B2]: ...

    def to(self, backend: B2) -> Self | Module[B2]:
        """The same module on another backend; this one stays as it is.

        It is a deep copy, with memory of its own, in which every tensor and every
        `backend` lies elsewhere: parameters, constants, and what `backward` has
        accumulated. What is shared here is shared there; names, modes and
        `requires_grad` are kept. What a tape has recorded is a constant there.

        Args:
            backend: where to. Type checkers know that born's own modules keep their class,
                and yours where the new backend is of the old one's class. For the rest,
                declare `def to(self, backend: B2) -> Net[B2]: ...` in your class `Net`, under
                `if TYPE_CHECKING:`.

        Raises:
            OperandError: it is no backend.
            BackendMismatchError: the tensors inside are on more than one backend.

        >>> import born
        >>> from born import nn
        >>> from born.autodiff import Autodiff
        >>> layer = nn.Linear(2, 3, born.get_backend("numpy"))
        >>> twin = layer.to(Autodiff(born.get_backend("numpy")))
        >>> twin, twin.parameters()[0].backend
        (Linear(weight=(3, 2), bias=(3,)), Autodiff(NumpyBackend()))
        """
        check_backend(backend)
        home = self._home()
        # What a deep copy finds in its memo, it takes in place of a copy; so does `Tensor`.
        twin = copy.deepcopy(self, {} if home is None else {id(home): backend})
        for (_, layer), (_, copied) in zip(self.named_modules(), twin.named_modules(), strict=True):
            # A frozen dataclass with slots leaves behind what is none of its fields.
            object.__setattr__(copied, "training", layer.training)
        return twin

    def _home(self) -> Backend | None:
        """The one backend that lies in the fields here and below, or None where none does."""
        places = [
            (f"{path}.{below}".lstrip("."), found.backend if isinstance(found, Tensor) else found)
            for path, layer in self.named_modules()
            for name, field in layer.named_fields()
            for below, found in _inside(name, field, _is_placed)
        ]
        for path, backend in places:
            first, home = places[0]
            if backend is not home:
                raise BackendMismatchError(
                    f"expected a module on one backend, got {home!r} at {first!r} and "
                    f"{backend!r} at {path!r}; make all of it on the same backend object"
                )
        return places[0][1] if places else None


def _walk(layer: Layer) -> Iterator[tuple[str, _Part]]:
    """`layer` and all layers and parameters inside, each once, depth first."""
    seen: set[int] = set()

    def visit(path: str, value: _Part) -> Iterator[tuple[str, _Part]]:
        identity = id(value.raw if isinstance(value, Parameter) else value)
        if identity in seen:
            return
        seen.add(identity)
        yield path, value
        if isinstance(value, Layer):
            for name, field in value.named_fields():
                for below, child in _inside(name, field, _is_part):
                    yield from visit(f"{path}.{below}" if path else below, child)

    return visit("", layer)


def _is_part(value: object) -> TypeIs[_Part]:
    return isinstance(value, (Layer, Parameter))


def _is_placed(value: object) -> TypeIs[Tensor[Any] | Backend]:
    return isinstance(value, (Tensor, Backend))


def _inside(
    path: str, value: object, wanted: Callable[[object], TypeIs[_Kind]]
) -> Iterator[tuple[str, _Kind]]:
    """What is wanted of a field's contents, through containers but not into layers."""
    if wanted(value):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            yield from _inside(f"{path}.{key}", item, wanted)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(cast("list[object] | tuple[object, ...]", value)):
            yield from _inside(f"{path}.{index}", item, wanted)
    elif isinstance(value, (set, frozenset)) and any(
        wanted(item) for item in cast("set[object]", value)
    ):
        raise ParameterError(
            f"expected layers and parameters in lists, tuples or mappings, got a set at {path!r}, "
            "whose order changes from run to run; make it a list"
        )


def _shown(value: _Part) -> str:
    if isinstance(value, Layer):
        return repr(value)
    dtype = "" if value.dtype.name == "float32" else f" {value.dtype}"
    return f"{value.shape}{dtype}{'' if value.requires_grad else ' frozen'}"


def _is_constant(value: object) -> bool:
    """Whether a field is a setting worth showing, such as a probability or a stride."""
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        return bool(items) and all(map(_is_constant, items))
    return value is None or isinstance(value, (bool, int, float, str))
