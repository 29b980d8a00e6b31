"""`Parameter`: a tensor that training changes."""

from __future__ import annotations

from born.errors import DTypeError, GradientError, ParameterError
from born.raw import RawTensor, is_floating
from born.tensor import B, Tensor


class Parameter(Tensor[B]):
    """A tensor that training changes; it may stand wherever a tensor may.

    It shares the storage of the tensor it is made from, and a tape records what is
    computed from it.

    Args:
        tensor: its first value, of a floating dtype. It becomes the parameter's own
            storage: updates of the parameter are seen through it.
        name: what error messages and checkpoints call it. A name left empty is
            filled with the path under which a module first lists the parameter.

    Raises:
        ParameterError: `tensor` is not a tensor, or one that a tape has recorded the
            making of.
        DTypeError: its dtype cannot carry a gradient.

    >>> import born
    >>> weight = Parameter(born.zeros((2, 3), born.get_backend("numpy")), "weight")
    >>> weight.name, weight.shape, weight.requires_grad, weight.grad
    ('weight', (2, 3), True, None)
    """

    __slots__ = ("name",)

    name: str

    def __init__(self, tensor: Tensor[B], name: str = "") -> None:
        _check_leaf(tensor, name)
        super().__init__(tensor.raw, tensor.backend)
        self.raw.requires_grad = True
        self.name = name

    @property
    def tensor(self) -> Tensor[B]:
        """The parameter as a plain tensor over the same storage."""
        return Tensor(self.raw, self.backend)

    @property
    def grad(self) -> Tensor[B] | None:
        """The gradient that `Tensor.backward` has accumulated, or None.

        Set it to hand over a gradient computed elsewhere, or to None to clear it.

        Raises:
            GradientError: on setting, a gradient that is not a tensor of the
                parameter's shape, dtype and backend.
        """
        gradient = self.raw.grad
        return None if gradient is None else Tensor(gradient, self.backend)

    @grad.setter
    def grad(self, gradient: Tensor[B] | None) -> None:
        self.raw.grad = None if gradient is None else self._fitting(gradient)

    def zero_grad(self) -> None:
        """Forget the accumulated gradient.

        >>> import born
        >>> bias = Parameter(born.zeros((2,), born.get_backend("numpy")))
        >>> bias.grad = born.ones((2,), bias.backend)
        >>> bias.zero_grad()
        >>> bias.grad is None
        True
        """
        self.raw.grad = None

    def _fitting(self, gradient: Tensor[B]) -> RawTensor:
        expected = f"expected a gradient of shape {self.shape} and dtype {self.dtype}{self._called}"
        if not _is_tensor(gradient):
            raise GradientError(
                f"{expected}, got {type(gradient).__name__}; make it a tensor with born.tensor"
            )
        if gradient.shape != self.shape or gradient.dtype != self.dtype:
            raise GradientError(
                f"{expected}, got shape {gradient.shape} and dtype {gradient.dtype}; "
                "a gradient has the shape and the dtype of its parameter"
            )
        if gradient.backend is not self.backend:
            raise GradientError(
                f"{expected} on {self.backend!r}, got one on {gradient.backend!r}; "
                "make it on the parameter's own backend"
            )
        return gradient.raw

    @property
    def _called(self) -> str:
        return f" for parameter {self.name!r}" if self.name else ""

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        frozen = "" if self.requires_grad else ", frozen"
        return f"Parameter({name}shape={self.shape}, dtype={self.dtype}{frozen})"


def _check_leaf(tensor: Tensor[B], name: str) -> None:
    called = f" for parameter {name!r}" if name else ""
    if not _is_tensor(tensor):
        raise ParameterError(
            f"expected a born.Tensor{called}, got {type(tensor).__name__}; "
            "make one with born.tensor(data, backend)"
        )
    if not is_floating(tensor.dtype):
        raise DTypeError(
            f"expected a floating dtype{called}, got {tensor.dtype}; "
            'only floats carry gradients: convert with .astype("float32")'
        )
    if tensor.raw.node is not None:
        # Its gradient would go on to what it was made from, and not stay with the parameter.
        raise ParameterError(
            f"expected a tensor that no tape has recorded{called}, got a recorded result; "
            "take .detach() of it, or make it before recording starts"
        )


def _is_tensor(value: object) -> bool:
    # Annotations do not hold callers back at run time; a checker would call the test needless.
    return isinstance(value, Tensor)
