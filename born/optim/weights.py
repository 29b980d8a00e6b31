"""`Weights`: other values of an optimizer's parameters, such as an average, in their place."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Generic, Protocol, Self

from typing_extensions import override

from born.backend import B
from born.errors import ParameterError
from born.nn import Parameter
from born.raw import RawTensor
from born.tensor import Tensor


class Source(Protocol[B]):
    """What holds parameters and can say what other values they might have."""

    @property
    def parameters(self) -> tuple[Parameter[B], ...]:
        """The parameters."""
        ...

    def weights_of(self, name: str, index: int) -> RawTensor:
        """The value of one parameter under a name."""
        ...


class Weights(Generic[B]):
    """Values for an optimizer's parameters: a context in which they have them, and a state dict.

    On leaving the context, also by an error, the parameters are what they were to the bit. Inside
    of it the optimizer refuses to step.
    """

    def __init__(self, source: Source[B], name: str) -> None:
        self._source, self._name = source, name
        self._kept: Sequence[RawTensor] | None = None
        for index in range(len(source.parameters)):
            source.weights_of(name, index)  # refused here, not halfway

    @property
    def shown(self) -> bool:
        """Whether the parameters have these values now."""
        return self._kept is not None

    def __enter__(self) -> Self:
        if self.shown:
            raise ParameterError(
                f"expected to enter weights({self._name!r}) once, got it entered already; leave it "
                "first"
            )
        raws = [p.raw for p in self._source.parameters]
        backend = self._source.parameters[0].backend.innermost
        values = [self._source.weights_of(self._name, index) for index in range(len(raws))]
        self._kept = [backend.copy(raw) for raw in raws]
        self._assign(values)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._kept is not None:
            self._assign(self._kept)
            self._kept = None

    def _assign(self, values: Sequence[RawTensor]) -> None:
        backend = self._source.parameters[0].backend.innermost
        for parameter, value in zip(self._source.parameters, values, strict=True):
            raw = parameter.raw
            same = value.dtype == raw.dtype
            backend.assign(raw, value if same else backend.astype(value, raw.dtype))
            raw.touch()

    def state_dict(self) -> dict[str, Tensor[B]]:
        """The values by the parameters' names, or by their number where they have none; copies."""
        values: dict[str, Tensor[B]] = {}
        for index, parameter in enumerate(self._source.parameters):
            backend = parameter.backend.innermost
            value = backend.copy(self._source.weights_of(self._name, index))
            if value.dtype != parameter.dtype:
                value = backend.astype(value, parameter.dtype)
            values[parameter.name or str(index)] = Tensor(value, parameter.backend)
        return values

    @override
    def __repr__(self) -> str:
        return f"Weights({self._name!r} of {len(self._source.parameters)} parameters)"
