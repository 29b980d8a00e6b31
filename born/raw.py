"""`RawTensor`, the storage every backend computes with."""

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeIs

from born.dtypes import DTypeLike
from born.errors import OperandError

Array: TypeAlias = Any
"""An array of some backend's namespace. NumPy's and CuPy's share no static type."""

Shape: TypeAlias = tuple[int, ...]

HostArray: TypeAlias = npt.NDArray[Any]
"""A NumPy array on the host, of any dtype that born knows."""


class RawTensor:
    """One backend array: the storage behind a `born.Tensor`.

    Compared and hashed by identity, so that it can be the key of a map from
    tensor to gradient. Operations never return one of their arguments: a result
    is always a new `RawTensor`, though it may be a view of the same memory.

    Args:
        array: an array of the backend's namespace, of one of born's dtypes.
            It is held, not copied.

    Attributes:
        array: the backend's array.
        requires_grad: whether a tape records what is computed from this tensor.
        grad: the gradient that `Tensor.backward` has accumulated, or None.
        node: the mark of the tape that computed this tensor; it belongs to
            `born.autodiff`.
        changes: how many times the elements were changed in place, in a list that tensors
            over the same memory share; None for not once, and not shared.

    >>> RawTensor(np.zeros((2, 3), np.float32)).shape
    (2, 3)
    """

    __slots__ = ("__weakref__", "_name", "array", "changes", "grad", "node", "requires_grad")

    of_examples: ClassVar[bool] = False
    """Whether there is another value for each example of a batch, in `per_example_gradients`."""

    array: Array
    requires_grad: bool
    grad: RawTensor | None
    node: Any  # what a node is, only born.autodiff knows
    changes: list[int] | None

    def __init__(self, array: Array) -> None:
        self.array = array
        self.requires_grad = False
        self.grad = None
        self.node = None
        self.changes = None

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and deepcopy, all but the tape's mark: a copy is off every tape."""
        return {
            "array": self.array,
            "requires_grad": self.requires_grad,
            "grad": self.grad,
            "name": self.name,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.array = state["array"]
        self.node = self.changes = None
        self.requires_grad, self.grad = state["requires_grad"], state["grad"]
        if state["name"]:
            self.name = state["name"]

    def __copy__(self) -> RawTensor:
        return self.alias()

    def touch(self) -> None:
        """Count a change of the elements in place."""
        if self.changes is None:
            self.changes = [0]
        self.changes[0] += 1

    def share_changes(self, other: RawTensor) -> None:
        """Count changes together with a tensor over the same memory."""
        if other.changes is None:
            other.changes = [0]
        self.changes = other.changes

    def alias(self) -> RawTensor:
        """Another tensor over the same array, off every tape."""
        alias = RawTensor(self.array)
        alias.share_changes(self)
        return alias

    @property
    def name(self) -> str:
        """What a parameter is called; empty for other tensors."""
        name: str = getattr(self, "_name", "")  # set where there is one
        return name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def shape(self) -> Shape:
        """The length of each axis."""
        shape: Shape = self.array.shape
        return shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        ndim: int = self.array.ndim
        return ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        size: int = self.array.size
        return size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        dtype: np.dtype[Any] = self.array.dtype
        return dtype

    @property
    def device(self) -> str:
        """Where the array lives: `"cpu"`, or the device as its library names it."""
        return str(getattr(self.array, "device", "cpu"))  # NumPy 2.0's scalars do not say

    @property
    def nbytes(self) -> int:
        """The size of the elements in bytes."""
        nbytes: int = self.array.nbytes
        return nbytes

    def item(self) -> float | int | bool:
        """The only element as a Python number; waits for the device."""
        value: float | int | bool = self.array.item()
        return value

    def __array__(self, dtype: DTypeLike | None = None, *, copy: bool | None = None) -> HostArray:
        """The array for NumPy; `OperandError` on a device, from where nothing is copied unasked."""
        if not _is_host_array(self.array):
            raise OperandError(
                f"expected an array on the host, got one on {self.device}; copy it with "
                "tensor.numpy() or backend.to_numpy(raw)"
            )
        return np.array(self.array, dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        device: tuple[int, int] = self.array.__dlpack_device__()
        return device

    def __repr__(self) -> str:
        return f"RawTensor(shape={self.shape}, dtype={self.dtype}, device={self.device!r})"


def memory_of(array: Array) -> object:
    """What owns the memory of an array: the array itself, or the one that it is a view of."""
    base = getattr(array, "base", None)
    return array if base is None else base


def _is_host_array(array: object) -> TypeIs[HostArray]:
    return isinstance(array, np.ndarray)
