"""`Weights`: other values of an optimizer's parameters, such as an average, in their place."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Generic, Protocol, Self

from typing_extensions import override

from born.backend import B
from born.errors import ParameterError
from born.nn import Parameter
from born.optim.checks import distinct_names
from born.raw import RawTensor
from born.tensor import Tensor


class Source(Protocol[B]):
    """What holds parameters and can say what other values they might have."""

    @property
    def parameters(self) -> tuple[Parameter[B], ...]:
        """The parameters."""
        ...

    shown: Weights[B] | None
    """The values that the parameters have now, if they are not their own."""

    def weights_of(self, name: str, index: int) -> RawTensor:
        """The value of one parameter under a name."""
        ...


class Weights(Generic[B]):
    """Values for an optimizer's parameters: a context in which they have them, and a state dict.

    On leaving the context, also by an error or Ctrl-C, the parameters are what they were to the
    bit. Inside of it the optimizer neither steps nor is saved.
    """

    def __init__(self, source: Source[B], name: str) -> None:
        self._source, self.name = source, name
        self._kept: Sequence[RawTensor] = ()
        for index in range(len(source.parameters)):
            source.weights_of(name, index)  # refused here, not halfway

    def __enter__(self) -> Self:
        if self._source.shown is not None:
            raise ParameterError(
                f"expected to enter weights({self.name!r}) from the parameters' own values, got "
                f"{self._source.shown} entered already; leave it first"
            )
        raws = [p.raw for p in self._source.parameters]
        backend = self._source.parameters[0].backend.innermost
        values = [self._source.weights_of(self.name, index) for index in range(len(raws))]
        self._kept = [backend.copy(raw) for raw in raws]
        try:
            self._source.shown = self
            self._assign(values)
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        """Give the parameters back what they were; from the beginning where that is interrupted."""
        interrupt: KeyboardInterrupt | None = None
        while self._source.shown is self:
            try:
                self._assign(self._kept)
                self._source.shown = None
            except KeyboardInterrupt as error:
                interrupt = error
        self._kept = ()
        if interrupt is not None:
            raise interrupt

    def _assign(self, values: Sequence[RawTensor]) -> None:
        backend = self._source.parameters[0].backend.innermost
        for parameter, value in zip(self._source.parameters, values, strict=True):
            raw = parameter.raw
            same = value.dtype == raw.dtype
            backend.assign(raw, value if same else backend.astype(value, raw.dtype))
            raw.touch()

    def state_dict(self) -> dict[str, Tensor[B]]:
        """The values by the parameters' names, or by their number where they have none; copies.

        A name that several have, as those of layers that are in no model together, has its
        number behind it.
        """
        shown, values = self._source.shown, dict[str, Tensor[B]]()
        if shown is not None and shown.name != self.name:
            raise ParameterError(
                f"expected to take weights({self.name!r}) from the parameters' own values, got "
                f"{shown} entered; leave it first"
            )
        names = distinct_names(self._source.parameters)
        for index, parameter in enumerate(self._source.parameters):
            backend, raw = parameter.backend.innermost, parameter.raw
            value = self._source.weights_of(self.name, index) if shown is None else raw
            value = backend.copy(value)
            if value.dtype != parameter.dtype:
                value = backend.astype(value, parameter.dtype)
            values[names[index]] = Tensor(value, parameter.backend)
        return values

    @override
    def __repr__(self) -> str:
        return f"Weights({self.name!r} of {len(self._source.parameters)} parameters)"
