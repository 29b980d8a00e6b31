"""The contract's required core: what a backend must supply before anything else works.

Every operation takes and returns `RawTensor`. Three rules hold for all of them:

- a result is a new `RawTensor`, never an argument, though it may share memory;
- Python numbers are weak: they take the dtype of the tensor beside them, and two
  tensors of different dtypes are a `DTypeError`;
- nothing is recorded, nothing leaves the device, and only `assign` writes into
  memory that exists.

Shapes broadcast as in NumPy, and `axis` and `keepdims` mean what they mean there.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn, Self, TypeAlias, TypeVar

from born.errors import BornError, TapeError
from born.raw import DTypeLike, HostArray, RawTensor, Shape

Scalar: TypeAlias = bool | int | float
Operand: TypeAlias = RawTensor | Scalar
Axis: TypeAlias = int | tuple[int, ...] | None
Index: TypeAlias = Any
"""What may stand in `x[...]`: integers, slices, None, Ellipsis, raw tensors of integers
or bools, and tuples of them."""

RandomState: TypeAlias = Mapping[str, Any]
"""The state of a generator as JSON types."""

_Method = TypeVar("_Method", bound=Callable[..., Any])

OPERATIONS: Final[dict[str, bool]] = {}
"""Every operation of the contract: name -> whether a backend must supply it."""


def required(method: _Method) -> _Method:
    """Mark an operation that a backend must supply; without it the class cannot be instantiated.

    It does what `abc.abstractmethod` does, out of sight of type checkers: `Autodiff`
    supplies its operations from a table, which they cannot follow.
    """
    OPERATIONS[method.__name__] = True
    vars(method)["__isabstractmethod__"] = True
    return method


def optional(method: _Method) -> _Method:
    """Mark an operation that is composed from others unless a backend has a faster way."""
    OPERATIONS[method.__name__] = False
    return method


def absent() -> NoReturn:
    """The body of a required operation: reached only through `super()`."""
    raise BornError(
        "expected a backend's own operation, reached the contract, which has no body; "
        "do not call super() from a required operation"
    )


class Core(ABC):
    """The operations every backend supplies itself; `born.backend.Backend` adds the rest."""

    name: str
    """What `born.get_backend` calls it."""

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why this backend cannot be used here and what to do about it, or None if it can."""
        return None

    def __deepcopy__(self, memo: object) -> Self:
        """Itself: a copied model computes on the backend of the original."""
        return self

    # -- the machine --

    def synchronize(self) -> None:
        """Wait until everything asked of the device is done. A CPU has nothing to wait for."""
        return

    def prefetch(self, batches: Iterable[Sequence[HostArray]]) -> Generator[list[RawTensor]]:
        """Copy batches of host arrays to the device, in order; `born.data.prefetch` hands them in.

        By default each when it is asked for. A backend whose copies take time of their own
        overrides this to have the next batch on its way while one is computed with.
        """
        for batch in batches:
            yield [self.from_numpy(array) for array in batch]

    def from_dlpack(self, data: Any) -> RawTensor:
        """Hold an array of another library, on the same device, without a copy."""
        absent()

    def to_dlpack(self, x: RawTensor, /, **options: Any) -> Any:
        """A capsule for another library to hold `x` by; `options` are those of `__dlpack__`."""
        return x.__dlpack__(**options)

    @property
    def random_state(self) -> RandomState:
        """A snapshot of the random generator, as JSON types."""
        absent()

    def set_random_state(self, state: RandomState) -> None:
        """Continue from a snapshot; on an error the generator is what it was."""
        absent()

    def check_random_state(self, state: RandomState) -> None:
        """Refuse what `set_random_state` would refuse, changing nothing."""
        absent()

    def seed(self, seed: int) -> None:
        """Start the random generator anew; a seed gives the same numbers on every backend."""
        absent()

    def accumulate(self, loss: RawTensor, *, keep_tape: bool = False) -> None:
        """Add the gradient of `loss` into every leaf it depends on; `Autodiff` knows how."""
        raise TapeError(
            f"expected a loss on an Autodiff backend, got one on {type(self).__name__}, "
            "which records nothing; make the model's tensors on Autodiff(backend)"
        )

    # -- creation and transfer --

    @required
    def from_numpy(self, array: HostArray) -> RawTensor:
        """Copy a host array to the device, keeping its dtype."""
        absent()

    @required
    def to_numpy(self, x: RawTensor, /) -> HostArray:
        """Copy a tensor to the host."""
        absent()

    @required
    def full(self, shape: Shape, value: Scalar, dtype: DTypeLike) -> RawTensor:
        """A tensor of one value."""
        absent()

    @required
    def arange(self, start: Scalar, stop: Scalar, step: Scalar, dtype: DTypeLike) -> RawTensor:
        """`start, start + step, ...` up to but without `stop`."""
        absent()

    @required
    def eye(self, rows: int, columns: int, dtype: DTypeLike) -> RawTensor:
        """Ones on the main diagonal, zeros elsewhere."""
        absent()

    @required
    def normal(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        """Draws from the standard normal distribution."""
        absent()

    @required
    def uniform(self, shape: Shape, dtype: DTypeLike) -> RawTensor:
        """Draws from the uniform distribution over [0, 1)."""
        absent()

    @required
    def astype(self, x: RawTensor, /, dtype: DTypeLike) -> RawTensor:
        """`x` rounded to another dtype, in new memory."""
        absent()

    @required
    def copy(self, x: RawTensor, /) -> RawTensor:
        """`x` in new, contiguous memory."""
        absent()

    @required
    def assign(self, target: RawTensor, value: RawTensor, /) -> None:
        """Write `value`, of the same shape and dtype, into the memory of `target`."""
        absent()

    # -- elementwise --

    @required
    def add(self, x: Operand, y: Operand, /) -> RawTensor:
        """x + y."""
        absent()

    @required
    def sub(self, x: Operand, y: Operand, /) -> RawTensor:
        """x - y."""
        absent()

    @required
    def mul(self, x: Operand, y: Operand, /) -> RawTensor:
        """x y."""
        absent()

    @required
    def div(self, x: Operand, y: Operand, /) -> RawTensor:
        """x / y, of floating dtypes."""
        absent()

    @required
    def pow(self, x: Operand, y: Operand, /) -> RawTensor:
        """x to the power of y."""
        absent()

    @required
    def maximum(self, x: Operand, y: Operand, /) -> RawTensor:
        """The larger of x and y; NaN where either is."""
        absent()

    @required
    def minimum(self, x: Operand, y: Operand, /) -> RawTensor:
        """The smaller of x and y; NaN where either is."""
        absent()

    @required
    def neg(self, x: RawTensor, /) -> RawTensor:
        """-x."""
        absent()

    @required
    def abs(self, x: RawTensor, /) -> RawTensor:
        """|x|."""
        absent()

    @required
    def sign(self, x: RawTensor, /) -> RawTensor:
        """-1, 0 or 1."""
        absent()

    @required
    def exp(self, x: RawTensor, /) -> RawTensor:
        """e to the x."""
        absent()

    @required
    def expm1(self, x: RawTensor, /) -> RawTensor:
        """exp(x) - 1, exact near zero."""
        absent()

    @required
    def log(self, x: RawTensor, /) -> RawTensor:
        """The natural logarithm."""
        absent()

    @required
    def log1p(self, x: RawTensor, /) -> RawTensor:
        """log(1 + x), exact near zero."""
        absent()

    @required
    def sqrt(self, x: RawTensor, /) -> RawTensor:
        """The square root."""
        absent()

    @required
    def sin(self, x: RawTensor, /) -> RawTensor:
        """The sine of x in radians."""
        absent()

    @required
    def cos(self, x: RawTensor, /) -> RawTensor:
        """The cosine of x in radians."""
        absent()

    @required
    def tanh(self, x: RawTensor, /) -> RawTensor:
        """The hyperbolic tangent."""
        absent()

    @required
    def erf(self, x: RawTensor, /) -> RawTensor:
        """The error function, exact to the dtype's precision."""
        absent()

    @required
    def where(self, condition: RawTensor, x: Operand, y: Operand, /) -> RawTensor:
        """x where the condition holds, y elsewhere; at least one of the two is a tensor."""
        absent()

    # -- comparison and logic: results are bool --

    @required
    def equal(self, x: Operand, y: Operand, /) -> RawTensor:
        """x == y."""
        absent()

    @required
    def not_equal(self, x: Operand, y: Operand, /) -> RawTensor:
        """x != y."""
        absent()

    @required
    def less(self, x: Operand, y: Operand, /) -> RawTensor:
        """x < y."""
        absent()

    @required
    def less_equal(self, x: Operand, y: Operand, /) -> RawTensor:
        """x <= y."""
        absent()

    @required
    def greater(self, x: Operand, y: Operand, /) -> RawTensor:
        """x > y."""
        absent()

    @required
    def greater_equal(self, x: Operand, y: Operand, /) -> RawTensor:
        """x >= y."""
        absent()

    @required
    def logical_and(self, x: Operand, y: Operand, /) -> RawTensor:
        """Whether both are non-zero."""
        absent()

    @required
    def logical_or(self, x: Operand, y: Operand, /) -> RawTensor:
        """Whether either is non-zero."""
        absent()

    @required
    def logical_not(self, x: RawTensor, /) -> RawTensor:
        """Whether x is zero."""
        absent()

    @required
    def isfinite(self, x: RawTensor, /) -> RawTensor:
        """Whether x is neither infinite nor NaN."""
        absent()

    # -- reduction --

    @required
    def sum(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """The sum; of integers and bools, int64."""
        absent()

    @required
    def prod(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """The product; of integers and bools, int64."""
        absent()

    @required
    def max(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """The largest element; NaN where there is one."""
        absent()

    @required
    def min(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """The smallest element; NaN where there is one."""
        absent()

    @required
    def argmax(self, x: RawTensor, /, axis: int | None = None, keepdims: bool = False) -> RawTensor:
        """The index of the first largest element, int64."""
        absent()

    @required
    def argmin(self, x: RawTensor, /, axis: int | None = None, keepdims: bool = False) -> RawTensor:
        """The index of the first smallest element, int64."""
        absent()

    @required
    def any(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """Whether any element is non-zero."""
        absent()

    @required
    def all(self, x: RawTensor, /, axis: Axis = None, keepdims: bool = False) -> RawTensor:
        """Whether every element is non-zero."""
        absent()

    @required
    def cumsum(self, x: RawTensor, /, axis: int) -> RawTensor:
        """The running sum along an axis; of integers and bools, int64."""
        absent()

    # -- linear algebra --

    @required
    def matmul(self, x: RawTensor, y: RawTensor, /) -> RawTensor:
        """The matrix product, batched and broadcasting; float16 and bfloat16 add up in float32."""
        absent()

    # -- shape --

    @required
    def reshape(self, x: RawTensor, /, shape: Shape) -> RawTensor:
        """The same elements in another shape; one length may be -1."""
        absent()

    @required
    def transpose(self, x: RawTensor, /, axes: Sequence[int] | None = None) -> RawTensor:
        """The axes in another order; reversed by default."""
        absent()

    @required
    def broadcast_to(self, x: RawTensor, /, shape: Shape) -> RawTensor:
        """`x` repeated to a shape it broadcasts to, without a copy."""
        absent()

    @required
    def concatenate(self, xs: Sequence[RawTensor], /, axis: int = 0) -> RawTensor:
        """Tensors joined along an axis they have."""
        absent()

    @required
    def flip(self, x: RawTensor, /, axis: Axis = None) -> RawTensor:
        """The elements in reverse order along the axes; all of them by default."""
        absent()

    @required
    def pad(
        self, x: RawTensor, /, widths: Sequence[tuple[int, int]], value: Scalar = 0
    ) -> RawTensor:
        """`x` with `(before, after)` elements of one value added along each axis."""
        absent()

    # -- indexing --

    @required
    def getitem(self, x: RawTensor, /, index: Index) -> RawTensor:
        """`x[index]`, basic and advanced."""
        absent()

    @required
    def index_add(self, x: RawTensor, index: Index, y: RawTensor, /) -> RawTensor:
        """A copy of `x` with `y` added at `index`; repeated indices add up."""
        absent()

    @required
    def gather(self, x: RawTensor, index: RawTensor, /, axis: int) -> RawTensor:
        """Along an axis, the elements of `x` that `index` names (`numpy.take_along_axis`)."""
        absent()

    @required
    def scatter_add(self, x: RawTensor, index: RawTensor, y: RawTensor, /, axis: int) -> RawTensor:
        """A copy of `x` with `y` added where `gather` would have read; repeated indices add up."""
        absent()
