"""`Module`, which holds parameters, and `Stateless`, a layer without any."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MemberDescriptorType
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar, cast, overload

import numpy as np

from born.backend import B, Backend
from born.dtypes import DTypeLike, as_dtype, is_floating
from born.errors import DTypeError, ParameterError, StateDictError
from born.nn.parameter import Held, Parameter
from born.nn.state import StateValue, mismatches, prepared, write
from born.nn.traversal import Layer, common_backend, is_part, tensors_in, walk
from born.operands import check_backend
from born.raw import RawTensor
from born.tensor import B2, Tensor
from born.validation import mismatch_text

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Result_co = TypeVar("_Result_co", covariant=True)


class _HasForward(Protocol[_Arguments, _Result_co]):
    """A module, typed so that calling it has the signature of its `forward`."""

    def forward(self, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result_co: ...


class Stateless(Layer, ABC):
    """A layer without parameters: it works on tensors of any backend.

    A subclass has a `forward` that takes and returns a tensor.

    >>> from born.backend import B
    >>> class Square(Stateless):
    ...     def forward(self, x: born.Tensor[B], /) -> born.Tensor[B]:
    ...         return x * x
    >>> Square()(born.tensor([3.0], backend)).numpy()
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

    A subclass, which may be a dataclass, has fields, searched as `Layer` says, and a
    `forward` of any signature; calling the module calls `forward`. A `Buffer` is saved and moved,
    but not trained; a plain `Tensor` in a field is a constant, which is neither trained nor saved.
    A field that holds a parameter or a buffer refuses a plain tensor, for `module.weight *= 0.5`
    would drop the parameter from the model: write `module.weight.assign(module.weight * 0.5)`.
    A list of modules is a field like any other: there is no `ModuleList`, and no need for one.

    >>> from born.backend import B
    >>> class Residual(nn.Module[B]):
    ...     def __init__(self, width: int, backend: B) -> None:
    ...         self.inner = nn.Sequential(nn.Linear(width, width, backend), nn.ReLU())
    ...         self.gain = nn.Parameter(born.ones((), backend))
    ...
    ...     def forward(self, x: born.Tensor[B]) -> born.Tensor[B]:
    ...         return x + self.gain * self.inner(x)
    >>> model = Residual(4, backend)
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

    def __setattr__(self, name: str, value: object) -> None:
        if value is not None and not is_part(value):
            held: object = vars(self).get(name)
            slot = getattr(type(self), name, None)
            if isinstance(slot, MemberDescriptorType) and hasattr(self, name):
                held = getattr(self, name)
            if isinstance(held, Held):
                kept = cast("Held[B]", held)
                raise ParameterError(
                    f"expected a {type(kept).__name__} in the field {name!r} of "
                    f"{type(self).__name__}, which holds one, got {type(value).__name__}, which "
                    f"is neither {kept.purpose} nor saved; "
                    f"write its value with module.{name}.assign(value), or set the field to None "
                    "first"
                )
        super().__setattr__(name, value)

    def named_parameters(self) -> list[tuple[str, Parameter[B]]]:
        """Every parameter with its path, in field order.

        A parameter at several places (tied weights) is listed once, at the first; two
        `Parameter` objects that share storage count as one. An empty `name` becomes the path.
        Two with one path, or one in a container that is neither a list, a tuple nor a mapping,
        such as a set or a deque, are a `ParameterError`.
        """
        named = self.named_state()
        return [(path, held) for path, held in named if isinstance(held, Parameter)]

    def named_state(self) -> list[tuple[str, Held[B]]]:
        """Every parameter and every `Buffer` with its path: what a checkpoint holds of a model.

        Each is listed once, as by `named_parameters`, with the same errors.

        >>> [path for path, _ in nn.BatchNorm1d(3, backend, affine=False).named_state()]
        ['running_mean', 'running_var', 'num_batches_tracked']
        """
        named: dict[str, Held[B]] = {}
        for path, part in walk(self):
            if isinstance(part, Held):
                if path in named:
                    raise ParameterError(
                        f"expected every path to name one parameter, got two at {path!r}; "
                        "rename a field or a mapping's key"
                    )
                named[path] = held = cast("Held[B]", part)
                held.name = held.name or path
        return list(named.items())

    def parameters(self) -> list[Parameter[B]]:
        """Every parameter once, in field order: what an optimizer takes.

        >>> [p.name for p in nn.Linear(2, 3, backend).parameters()]
        ['weight', 'bias']
        """
        return [parameter for _, parameter in self.named_parameters()]

    def zero_grad(self) -> None:
        """Forget every parameter's accumulated gradient."""
        for parameter in self.parameters():
            parameter.zero_grad()

    def state_dict(self) -> dict[str, RawTensor]:
        """Path -> a copy of the value of each parameter and buffer; nothing aliases the live model.

        >>> nn.Linear(2, 3, backend).state_dict()["weight"].shape
        (3, 2)
        """
        # The computing backend copies: a copy on a tape would keep the tape alive.
        return {path: p.backend.innermost.copy(p.raw) for path, p in self.named_state()}

    def live_state(self) -> dict[str, RawTensor]:
        """The state itself, named as in `state_dict`: what is written to it changes the model.

        >>> layer = nn.Linear(2, 3, backend)
        >>> layer.live_state()["weight"] is layer.weight.raw
        True
        """
        return {path: p.raw for path, p in self.named_state()}

    def check_state_dict(self, state: Mapping[str, StateValue]) -> list[str]:
        """Every reason why `state` cannot be loaded, in words; changes nothing.

        >>> layer = nn.Linear(2, 3, backend, bias=False)
        >>> layer.check_state_dict({"weight": np.zeros((3, 1), np.float32)})
        ["'weight': expected shape (3, 2), got (3, 1)"]
        """
        return mismatches(self.named_state(), state)

    def load_state_dict(self, state: Mapping[str, StateValue]) -> None:
        """Write the values of `state` into parameters and buffers, all of them or none.

        They keep their storage, so references to them stay valid, and nothing in `state` is kept.

        Args:
            state: path -> `RawTensor`, `Tensor` or NumPy array, for exactly the paths
                of `named_state`, of the same shapes and dtypes.

        Raises:
            StateDictError: entries are missing, unexpected, or of another shape or dtype;
                the message lists every one, and nothing was changed.

        >>> layer = nn.Linear(1, 1, backend, bias=False)
        >>> layer.load_state_dict({"weight": np.full((1, 1), 7, np.float32)})
        >>> layer.weight.item()
        7.0
        """
        named = self.named_state()
        lines = mismatches(named, state)
        if lines:
            expected = f"a state dict that fits {type(self).__name__}"
            remedy = "load one of the same model, nothing was changed"
            raise StateDictError(mismatch_text(expected, lines, remedy))
        # Copied before the first write: an arriving tensor may be another parameter's storage.
        values = [prepared(p.backend.innermost, p.raw, state[path]) for path, p in named]
        for (_, held), value in zip(named, values, strict=True):
            write(held.backend.innermost, held.raw, value)

    @overload
    def to(self, backend: B) -> Self: ...

    @overload
    def to(self, backend: B2) -> Module[B2]: ...

    def to(self, backend: B2) -> Self | Module[B2]:
        """A copy of the module on another backend.

        It is a deep copy in which every tensor and every `backend` is replaced:
        parameters, buffers, constants, and the gradients that `backward` has accumulated. What is
        shared here is shared there; names, modes and `requires_grad` are kept. Results
        that a tape has recorded become constants.

        Args:
            backend: where the copy lives. Type checkers know that born's own modules keep
                their class, as do yours if the new backend has the old one's class. For
                the rest, declare `def to(self, backend: B2) -> Net[B2]: ...` in your class
                `Net`, under `if TYPE_CHECKING:`.

        Raises:
            OperandError: `backend` is not a backend.
            BackendMismatchError: the tensors inside are on more than one backend.

        >>> from born.autodiff import Autodiff
        >>> layer = nn.Linear(2, 3, backend)
        >>> twin = layer.to(Autodiff(backend))
        >>> twin, twin.parameters()[0].backend
        (Linear(weight=(3, 2), bias=(3,)), Autodiff(NumpyBackend()))
        """
        check_backend(backend)
        home = common_backend(self)
        return self._twin({} if home is None else {id(home): backend})

    def astype(self, dtype: DTypeLike) -> Self:
        """A copy of the module in another floating dtype, each number rounded once.

        As by `to`, but for the dtype: parameters, buffers and constants that are floating, and
        gradients. Give it tensors of that dtype, and its logits in float32 to a loss.

        Raises:
            DTypeError: a dtype that is not floating.

        >>> nn.Linear(2, 3, backend).astype("bfloat16")
        Linear(weight=(3, 2) bfloat16, bias=(3,) bfloat16)
        """
        kind = as_dtype(dtype)
        if not is_floating(kind):
            raise DTypeError(
                f"expected a floating dtype for the parameters of a module, got {kind}; "
                'use "float32", "float64", "float16" or "bfloat16"'
            )
        return self._twin(
            {
                id(tensor.raw): _in_dtype(tensor.backend.innermost, tensor.raw, kind)
                for tensor in tensors_in(self)
                if is_floating(tensor.dtype)
            }
        )

    def _twin(self, memo: dict[int, Any]) -> Self:
        """A deep copy, which takes what it finds in its memo instead of copying it."""
        twin = copy.deepcopy(self, memo)
        for (_, layer), (_, copied) in zip(self.named_modules(), twin.named_modules(), strict=True):
            # A copy of a frozen dataclass with slots has nothing but its fields.
            object.__setattr__(copied, "training", layer.training)
        return twin


def _in_dtype(backend: Backend, raw: RawTensor, dtype: np.dtype[Any]) -> RawTensor:
    """A copy in a dtype, with its gradient, off every tape."""
    made = backend.astype(raw, dtype) if raw.dtype != dtype else backend.copy(raw)
    made.requires_grad, made.name = raw.requires_grad, raw.name
    if raw.grad is not None:
        made.grad = _in_dtype(backend, raw.grad, dtype)
    return made
