"""Bad input to operations: each error says what was expected, what arrived, and what to do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
import pytest

import born
from born import nn, ops
from born.autodiff import Autodiff
from born.backend import Backend
from born.dtypes import as_dtype
from born.errors import (
    BackendMismatchError,
    BornError,
    DomainError,
    DTypeError,
    IndexOutOfRangeError,
    OperandError,
    ShapeError,
)
from tests.operations.computing import awaited

Made: TypeAlias = Callable[..., "born.Tensor[Any]"]
"""Makes a float64 tensor of this shape."""

THREE_PARTS: Final = r"^expected .*\bgot\b.*; \S"
"""What was expected, what arrived, what to do."""


@pytest.fixture
def made(backend: Backend) -> Made:
    """Tensors of ones, counted up so that no two are equal."""

    def make(*shape: int, dtype: str = "float64") -> born.Tensor[Backend]:
        size = int(np.prod(shape, dtype=np.int64))
        return born.tensor(np.arange(size).reshape(shape).astype(as_dtype(dtype)), backend)

    return make


SHAPES: Final[dict[str, tuple[Callable[[Made], object], str]]] = {
    "add": (lambda t: t(2) + t(3), r"got \(2,\) and \(3,\)"),
    "sub": (lambda t: t(2, 3) - t(2), r"got \(2, 3\) and \(2,\)"),
    "mul": (lambda t: t(2) * t(3), r"got \(2,\) and \(3,\)"),
    "div": (lambda t: t(2) / t(3), r"got \(2,\) and \(3,\)"),
    "pow": (lambda t: t(2) ** t(3), r"got \(2,\) and \(3,\)"),
    "maximum": (lambda t: ops.maximum(t(2), t(3)), r"got \(2,\) and \(3,\)"),
    "where condition": (lambda t: ops.where(t(2) > 0, t(3), 0), r"got \(2,\)"),
    "less": (lambda t: t(2) < t(3), r"got \(2,\) and \(3,\)"),
    "matmul": (lambda t: t(2, 3) @ t(2, 3), r"got \(2, 3\) and \(2, 3\)"),
    "matmul of no axes": (lambda t: t() @ t(2), r"got \(\) and \(2,\)"),
    "linear": (lambda t: ops.linear(t(2, 3), t(4, 2)), r"got \(2, 3\) and \(4, 2\)"),
    "linear bias": (lambda t: ops.linear(t(2, 3), t(4, 3), t(3)), r"\(4,\).*got \(3,\)"),
    "linear_relu": (lambda t: ops.linear_relu(t(2, 3), t(4, 2)), r"got \(2, 3\) and \(4, 2\)"),
    "linear_relu bias": (
        lambda t: ops.linear_relu(t(2, 3), t(4, 3), t(3)),
        r"\(4,\).*got \(3,\)",
    ),
    "sum axis": (lambda t: ops.sum(t(2), axis=1), r"got axis=1"),
    "sum axes": (lambda t: ops.sum(t(2, 2), axis=(0, -2)), r"got axis=\(0, -2\)"),
    "max of nothing": (lambda t: ops.max(t(0, 2), axis=0), r"shape \(0, 2\) with elements"),
    "argmax of nothing": (lambda t: ops.argmax(t(0)), r"shape \(0,\) with elements"),
    "cumsum axis": (lambda t: ops.cumsum(t(2), axis=1), r"from -1 to 0 .*got 1"),
    "softmax axis": (lambda t: ops.softmax(t(2), axis=1), r"from -1 to 0 .*got 1"),
    "reshape": (lambda t: t(2, 3).reshape(4), r"6 elements, got \(4,\)"),
    "transpose": (lambda t: t(2, 3).transpose(0, 0), r"got \(0, 0\)"),
    "squeeze": (lambda t: ops.squeeze(t(2, 1), 0), r"got axis=0 of shape \(2, 1\)"),
    "broadcast_to": (lambda t: ops.broadcast_to(t(2), (3,)), r"got \(3,\)"),
    "concatenate": (lambda t: ops.concatenate([t(2, 3), t(2, 2)]), r"\(2, 3\), \(2, 2\)"),
    "concatenate nothing": (lambda t: ops.concatenate([t()][1:]), "at least one tensor"),
    "stack": (lambda t: ops.stack([t(2), t(3)]), r"\(2,\), \(3,\)"),
    "split": (lambda t: ops.split(t(3), 2), "2 equal sections, got length 3"),
    "pad": (lambda t: ops.pad(t(2), [(0, 1), (0, 1)]), r"1 axes, got \[\(0, 1\), \(0, 1\)\]"),
    "pad below zero": (lambda t: ops.pad(t(2), [(-1, 0)]), r"non-negative.*got \[\(-1, 0\)\]"),
    "index_add": (lambda t: ops.index_add(t(3), slice(0, 2), t(3)), r"got \(3,\) and \(3,\)"),
    "gather": (
        lambda t: ops.gather(t(2, 3), t(3, 1, dtype="int64"), axis=1),
        r"shape \(2, 3\) but along axis 1 in gather, got \(3, 1\)",
    ),
    "scatter_add": (
        lambda t: ops.scatter_add(t(3), t(2, dtype="int64"), t(3), axis=0),
        r"index's shape \(2,\) in scatter_add, got \(3,\)",
    ),
    "labels": (
        lambda t: ops.cross_entropy(t(2, 3), t(3, dtype="int64")),
        r"labels of shape \(2,\) for logits of shape \(2, 3\).*got \(3,\)",
    ),
    "layer_norm weight": (lambda t: ops.layer_norm(t(2, 3), t(2)), r"\(3,\).*got \(2,\)"),
    "layer_norm axes": (lambda t: ops.layer_norm(t(2, 3), axes=3), r"from 1 to 2.*got 3"),
    "rms_norm weight": (lambda t: ops.rms_norm(t(2, 3), t(2)), r"\(3,\).*got \(2,\)"),
    "conv2d images": (lambda t: ops.conv2d(t(3, 3), t(1, 1, 2, 2)), r"got \(3, 3\)"),
    "conv2d channels": (
        lambda t: ops.conv2d(t(1, 2, 3, 3), t(1, 1, 2, 2)),
        "images of 1 channels.*got 2",
    ),
    "conv2d groups": (
        lambda t: ops.conv2d(t(1, 3, 3, 3), t(2, 1, 2, 2), groups=2),
        "3 channels and groups=2",
    ),
    "conv2d bias": (
        lambda t: ops.conv2d(t(1, 1, 3, 3), t(2, 1, 2, 2), t(1)),
        r"bias of shape \(2,\), got \(1,\)",
    ),
    "conv2d window": (
        lambda t: ops.conv2d(t(1, 1, 2, 2), t(1, 1, 3, 3)),
        "at least 3 elements for a window of 3.*got 2",
    ),
    "conv2d stride": (
        lambda t: ops.conv2d(t(1, 1, 3, 3), t(1, 1, 2, 2), stride=0),
        "expected stride of at least 1, got 0",
    ),
    "conv2d padding": (
        lambda t: ops.conv2d(t(1, 1, 3, 3), t(1, 1, 2, 2), padding=(0, -1)),
        "expected padding of at least 0, got -1",
    ),
    "max_pool2d padding": (
        lambda t: ops.max_pool2d(t(1, 1, 4, 4), 2, padding=2),
        r"at most half the kernel \(2, 2\), got \(2, 2\)",
    ),
    "avg_pool2d images": (lambda t: ops.avg_pool2d(t(4, 4), 2), r"got \(4, 4\)"),
    "ragged list": (lambda t: born.tensor([[1], [2, 3]], t().backend), r"got \[\[1\], \[2, 3\]\]"),
    "shape of floats": (lambda t: born.zeros((1.5,), t().backend), r"got \(1\.5,\)"),  # type: ignore[arg-type]  # wrong on purpose
    "shape below zero": (lambda t: born.zeros((2, -1), t().backend), r"got \(2, -1\)"),
    "item of many": (lambda t: t(2).item(), r"one element, got shape \(2,\)"),
}


@pytest.mark.parametrize("case", SHAPES)
def test_shapes_that_do_not_fit(case: str, made: Made) -> None:
    call, arrived = SHAPES[case]
    with pytest.raises(ShapeError, match=arrived) as caught:
        call(made)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith("expected ")
    assert "; " in str(caught.value), "what to do"


DTYPES: Final[dict[str, tuple[Callable[[Made, Made], object], str]]] = {
    "add": (lambda t, u: t(2) + u(2), "add"),
    "sub": (lambda t, u: t(2) - u(2), "sub"),
    "mul": (lambda t, u: t(2) * u(2), "mul"),
    "div": (lambda t, u: t(2) / u(2), "div"),
    "pow": (lambda t, u: t(2) ** u(2), "pow"),
    "maximum": (lambda t, u: ops.maximum(t(2), u(2)), "maximum"),
    "where": (lambda t, u: ops.where(t(2) > 0, t(2), u(2)), "where"),
    "equal": (lambda t, u: t(2) == u(2), "equal"),
    "logical_and": (lambda t, u: t(2) & u(2), "logical_and"),
    "matmul": (lambda t, u: t(2) @ u(2), "matmul"),
    "linear": (lambda t, u: ops.linear(t(2, 2), u(2, 2)), "linear"),
    "linear bias": (lambda t, u: ops.linear(t(2, 2), t(2, 2), u(2)), "linear"),
    "concatenate": (lambda t, u: ops.concatenate([t(2), u(2)]), "concatenate"),
    "stack": (lambda t, u: ops.stack([t(2), u(2)]), ""),
    "index_add": (lambda t, u: ops.index_add(t(2), 0, u()), "index_add"),
    "scatter_add": (
        lambda t, u: ops.scatter_add(t(2), t(2, dtype="int64"), u(2), axis=0),
        "scatter_add",
    ),
    "layer_norm": (lambda t, u: ops.layer_norm(t(2, 2), u(2), t(2)), ""),
    "rms_norm": (lambda t, u: ops.rms_norm(t(2, 2), u(2)), ""),
    "conv2d": (lambda t, u: ops.conv2d(t(1, 1, 2, 2), u(1, 1, 2, 2)), ""),
    "conv2d bias": (lambda t, u: ops.conv2d(t(1, 1, 2, 2), t(1, 1, 2, 2), u(1)), ""),
}


@pytest.mark.parametrize(
    ("case", "other"),
    [
        (case, other)
        for case in DTYPES
        for other in ("float32", "float16", "bfloat16", "int64")
        # An integer is no operand of div, whatever stands beside it.
        if (case, other) != ("div", "int64")
    ],
)
def test_mixed_dtypes(case: str, other: str, made: Made) -> None:
    call, operation = DTYPES[case]

    def make(*shape: int, dtype: str = other) -> born.Tensor[Any]:
        return made(*shape, dtype=dtype)

    with pytest.raises(DTypeError, match=THREE_PARTS) as caught:
        call(made, make)
    message = str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert "float64" in message
    assert other in message
    assert operation[:3] in message
    assert f'.astype("{other}")' in message or '.astype("float64")' in message


def test_dtypes_that_an_operation_does_not_take(made: Made) -> None:
    integers, flags = made(2, dtype="int64"), made(2, dtype="bool")
    calls: list[Callable[[], object]] = [
        lambda: integers / integers,
        lambda: integers + 0.5,
        lambda: flags + 1,
        lambda: -flags,
        lambda: flags - flags,
        lambda: ops.exp(integers),
        lambda: ops.sign(integers),
        lambda: ops.where(integers, integers, 0),
        lambda: ops.dropout(integers, 0.5),
        lambda: ops.gather(made(2), made(2), axis=0),
        lambda: ops.cross_entropy(made(2, 2), made(2)),
        lambda: born.randn(2, integers.backend, "int64"),
        lambda: ops.mean(integers),
        lambda: made(2, dtype="uint8") + 300,
        lambda: setattr(integers, "requires_grad", True),
    ]
    for call in calls:
        with pytest.raises(DTypeError, match=THREE_PARTS):
            call()


@pytest.mark.parametrize("dtype", ["int16", "complex64", "<U3", "object"])
def test_unknown_dtypes(dtype: str, backend: Backend) -> None:
    with pytest.raises(DTypeError, match=r"expected one of the dtypes float32, .*got .*; \S"):
        born.tensor(np.zeros(2, dtype), backend)
    with pytest.raises(DTypeError, match="expected one of the dtypes"):
        born.zeros(2, backend, dtype)


def test_no_dtype_and_nonsense_are_no_dtypes(backend: Backend) -> None:
    for nonsense in (None, "float33", ",", "13u<", "\ud800", object()):
        with pytest.raises(DTypeError, match=r"expected one of the dtypes .*got"):
            backend.zeros((2,), nonsense)  # type: ignore[arg-type]  # wrong on purpose


def test_integer_to_a_negative_power(made: Made) -> None:
    integers = made(2, dtype="int64") + 1
    with pytest.raises((DTypeError, DomainError), match=r"expected .*negative.*astype"):
        ops.pow(integers, -1)


def test_value_that_a_dtype_does_not_hold(backend: Backend) -> None:
    for value, dtype in ((300, "uint8"), (float("nan"), "int64"), (-1, "uint8")):
        with pytest.raises(BornError, match=r"expected .*got"):
            born.full(2, value, backend, dtype)


BACKENDS: Final[dict[str, Callable[[Any, Any], object]]] = {
    "operator": lambda x, y: x + y,
    "comparison": lambda x, y: x < y,
    "matmul": lambda x, y: x @ y,
    "add": ops.add,
    "maximum": ops.maximum,
    "where": lambda x, y: ops.where(x > 0, y, 0),
    "concatenate": lambda x, y: ops.concatenate([x, y]),
    "stack": lambda x, y: ops.stack([x, y]),
    "linear": ops.linear,
    "linear_relu": ops.linear_relu,
    "take": lambda x, y: ops.take(x, y),
    "gather": lambda x, y: ops.gather(x, y, axis=0),
    "scatter_add": lambda x, y: ops.scatter_add(x, y, x, axis=0),
    "index_add": lambda x, y: ops.index_add(x, 0, y),
    "getitem": lambda x, y: x[y],
    "index of a tuple": lambda x, y: x[(..., y)],
    "cross_entropy": ops.cross_entropy,
    "layer_norm": ops.layer_norm,
    "rms_norm": ops.rms_norm,
    "conv2d": ops.conv2d,
}


@pytest.mark.parametrize("case", BACKENDS)
def test_two_backends(case: str, backend_name: str) -> None:
    x = born.ones(2, born.get_backend(backend_name))
    y = born.ones(2, born.get_backend(backend_name))
    with pytest.raises(BackendMismatchError, match=r"expected tensors of one backend.*got.*; make"):
        BACKENDS[case](x, y)


def test_autodiff_and_its_inner_backend_are_two(backend: Backend) -> None:
    inside, outside = born.ones(2, backend), born.ones(2, Autodiff(backend))
    with pytest.raises(BackendMismatchError, match=r"got Autodiff\(.*\) and "):
        ops.add(outside, inside)  # type: ignore[misc]  # wrong on purpose


@pytest.mark.parametrize("operand", ["text", None, [1.0], object(), 1j])
def test_operands_that_are_no_tensors(operand: Any, made: Made) -> None:
    x: Any = made(2)
    calls: list[Callable[[], object]] = [
        lambda: x + operand,
        lambda: x @ operand,
        lambda: x < operand,
        lambda: ops.add(x, operand),
        lambda: ops.add(operand, x),
        lambda: ops.concatenate([x, operand]),
        lambda: ops.linear(x, operand),
    ]
    for call in calls:
        with pytest.raises(OperandError, match=r"expected .*tensor.*got.*; "):
            call()


def test_numbers_alone_are_no_operands() -> None:
    with pytest.raises(OperandError, match=r"expected at least one tensor in add, got 1 and 2; "):
        ops.add(1, 2)


def test_labels_out_of_range(made: Made) -> None:
    logits = made(2, 3)
    for labels in ([0, 3], [-1, 0], [0, 2**40]):
        wrong = born.tensor(np.array(labels), logits.backend)
        call = functools.partial(ops.cross_entropy, logits, wrong)
        with pytest.raises(IndexOutOfRangeError, match=r"labels from 0 to 2, got labels from"):
            awaited(logits.backend, call)


def test_indices_out_of_range(made: Made) -> None:
    x, far = made(3), made(1, dtype="int64") + 7
    calls: list[Callable[[], object]] = [
        lambda: x[3],
        lambda: x[0, 0],
        lambda: x[far],
        lambda: ops.take(x, far),
        lambda: ops.gather(x, far, axis=0),
        lambda: ops.scatter_add(x, far, made(1), axis=0),
        lambda: ops.index_add(x, far, made(1)),
        lambda: ops.index_add(x, 5, made()),
        lambda: x[1.5],
    ]
    for call in calls:
        with pytest.raises(
            IndexOutOfRangeError, match=r"expected an index within (shape \(3,\)|an axis of 3)"
        ):
            awaited(x.backend, call)


def test_options_out_of_range(made: Made, backend: Backend) -> None:
    x: Any = made(2, 2)
    labels = made(2, dtype="int64")
    calls: list[Callable[[], object]] = [
        lambda: ops.dropout(x, 1.5),
        lambda: ops.dropout(x, -0.1),
        lambda: ops.dropout(x, float("nan")),
        lambda: ops.norm(x, order=3),
        lambda: ops.linear(x, x, activation="swish"),  # type: ignore[arg-type]  # wrong on purpose
        lambda: ops.gelu(x, "exact"),  # type: ignore[arg-type]  # wrong on purpose
        lambda: ops.cross_entropy(x, labels, 1.5),
        lambda: ops.cross_entropy(x, labels, -0.5),
        lambda: ops.cross_entropy(x, labels, reduction="max"),  # type: ignore[arg-type]  # wrong on purpose
        lambda: born.arange(0, 3, 0, backend=backend),
    ]
    for call in calls:
        with pytest.raises(DomainError, match=r"^expected .*got.*; "):
            call()


def test_arguments_are_what_they_were_after_an_error(made: Made) -> None:
    x, before = made(2, 3), made(2, 3).numpy()

    def same(*shape: int, dtype: str = "float64") -> born.Tensor[Any]:
        return x if shape == (2, 3) else made(*shape, dtype=dtype)

    for call, _ in SHAPES.values():
        with pytest.raises(ShapeError):
            call(same)
    np.testing.assert_array_equal(x.numpy(), before)


def test_failed_operation_leaves_the_tape_alone(autodiff: Autodiff[Backend]) -> None:
    x = born.ones((2, 3), autodiff)
    x.requires_grad = True
    with autodiff.tape:
        y = x * 2.0
        recorded = len(autodiff.tape)
        calls: list[Callable[[], object]] = [
            lambda: y @ y,
            lambda: y.reshape(4),
            lambda: y[5],
            lambda: ops.dropout(y, 2),
        ]
        for call in calls:
            with pytest.raises(BornError):
                call()
        assert len(autodiff.tape) == recorded
        loss = y.sum()
    loss.backward()
    assert x.raw.grad is not None
    assert autodiff.to_numpy(x.raw.grad).tolist() == [[2.0, 2.0, 2.0]] * 2


FOREIGN: Final[dict[str, tuple[Any, type[BornError], str]]] = {
    "complex": (np.ones(2, complex), DTypeError, "keep real and imaginary parts as two arrays"),
    "texts": (np.array(["a", "b"]), DTypeError, r"number texts first, as np\.unique"),
    "mixed": (np.array([1.0, "b"], object), DTypeError, "choose the columns that are numbers"),
    "dates": (np.array(["2020-01-01"], "datetime64[s]"), DTypeError, "subtract a first date"),
    "masked": (np.ma.masked_array([1.0, 2.0], [True, False]), OperandError, "with 1 elements that"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_data_that_is_not_numbers_is_told_what_to_become(name: str, backend: Backend) -> None:
    data, kind, message = FOREIGN[name]
    with pytest.raises(kind, match=message):
        born.tensor(data, backend)


def test_a_masked_array_without_masked_elements_is_an_array(backend: Backend) -> None:
    masked: Any = np.ma.masked_array([1.0, 2.0])
    x = born.tensor(masked, backend)
    assert x.tolist() == [1.0, 2.0]
    hidden: Any = np.ma.masked_greater(masked, 1.5)
    with pytest.raises(OperandError, match="a masked array with 1 elements"):
        ops.add(x, hidden)


def test_lists_of_arrays_and_tensors_keep_their_dtype(backend: Backend) -> None:
    if backend.name == "cupy":
        pytest.skip("arrays of a device are joined by ops.stack")
    third: Any = [np.full(2, 1 / 3), born.full((2,), 1 / 3, backend, "float64")]
    assert born.tensor(third, backend).dtype == np.float64
    assert born.tensor([third, third], backend).tolist() == [[[1 / 3] * 2] * 2] * 2
    assert born.tensor([1 / 3, 2], backend).dtype == np.float32


def test_elements_are_not_assigned(backend: Backend) -> None:
    x: Any = born.ones((2,), backend)
    with pytest.raises(OperandError, match=r"do not change in place: make another .*ops\.where"):
        x[0] = 2.0


def test_what_is_no_backend_is_refused_by_layers_and_creation(backend: Backend) -> None:
    of: Any = nn
    for layer, sizes in (("Linear", (3, 1)), ("LayerNorm", (3,)), ("LSTM", (3, 4))):
        with pytest.raises(OperandError, match="got 'numpy'; make one"):
            getattr(of, layer)(*sizes, "numpy")
    zeros: Any = born.zeros
    with pytest.raises(OperandError, match="write a shape as one tuple"):
        zeros(2, 3, backend)


def test_running_sums_take_all_elements_without_an_axis(backend: Backend) -> None:
    x = born.tensor([[1.0, 2.0], [3.0, 4.0]], backend)
    assert x.cumsum().tolist() == [1.0, 3.0, 6.0, 10.0]
    assert x.cumprod().tolist() == [1.0, 2.0, 6.0, 24.0]
    assert x.cumsum(1).tolist() == [[1.0, 3.0], [3.0, 7.0]]
