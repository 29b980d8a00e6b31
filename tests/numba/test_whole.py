"""Steps of small networks by rules of several stages: one compiled call, with NumPy's bits."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.backend import Backend
from born.raw import HostArray, RawTensor
from born_numpy import NumpyBackend
from tests.fusion.kernels import NEEDS_NUMBA, numba_backend

pytest.importorskip("numba", reason=NEEDS_NUMBA)

SHAPES = (33, 17), (17,), (1,), (0, 3), (600, 40)


class Calls:
    """The whole steps that were run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        whole = importlib.import_module("born_numba.whole").Whole
        run = whole.run

        def counted(*args: Any) -> None:
            self.number += 1
            run(*args)

        monkeypatch.setattr(whole, "run", counted)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


def trained(
    backend: Backend,
    name: str,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    dtypes: Sequence[str] = ("float32",),
    bad: int = -1,
    layout: Any = np.ascontiguousarray,
    **options: Any,
) -> tuple[list[bytes], list[dict[str, float]]]:
    """Parameters and state after four steps, and what the steps tell."""
    rng = np.random.default_rng(0)
    names = [dtypes[number % len(dtypes)] for number in range(len(shapes))]
    parameters = [
        nn.Parameter(born.tensor(rng.normal(size=shape).astype(dtype), backend), f"p{number}")
        for number, (shape, dtype) in enumerate(zip(shapes, names, strict=True))
    ]
    optimizer: Any = optim.create(name, parameters, **options)
    reports: list[dict[str, float]] = []
    for t in range(4):
        present = parameters[:-1] if t == 1 else parameters  # the last one is a step behind
        grads: dict[RawTensor, RawTensor] = {}
        for p in present:
            g: HostArray = np.asarray(rng.normal(size=p.shape) * 10.0 ** (t - 2), p.dtype)
            if t == bad and g.size:
                g.flat[0] = np.nan
            grads[p.raw] = RawTensor(layout(g))
        reports.append(optimizer.step(grads).to_dict())
    state = [raw.array.tobytes() for raw in optimizer.state_dict().values()]
    return [p.numpy().tobytes() for p in parameters] + state, reports


def assert_same(name: str, **options: Any) -> None:
    expected, told = trained(NumpyBackend(), name, **options)
    found, ours = trained(numba_backend(), name, **options)
    assert found == expected
    assert list(map(str, ours)) == list(map(str, told))  # NaN included


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adam", {"max_norm": 1.0}),
        ("adam", {"max_norm": 1.0, "nonfinite": "skip", "watch": ("grad_norm",), "bad": 2}),
        ("novograd", {}),
        ("novograd", {"nonfinite": "skip", "bad": 0}),
        ("lamb", {"max_norm": 0.1, "bad": 3}),
    ],
    ids=str,
)
def test_a_step_is_one_call_with_the_bits_of_numpy(
    name: str, options: dict[str, Any], calls: Calls
) -> None:
    assert_same(name, **options)
    assert calls.number == 4


def test_totals_of_more_tensors_than_lanes(calls: Calls) -> None:
    assert_same("adam", shapes=[(1 + number % 3,) for number in range(300)], max_norm=0.5)
    assert calls.number == 4


def test_kernels_that_share_a_norm_wait_for_each_other(calls: Calls) -> None:
    assert_same("adam", dtypes=("float32", "float64"), max_norm=1.0)
    assert calls.number == 0


def test_gradients_with_gaps_and_large_tensors_take_other_ways(calls: Calls) -> None:
    def apart(g: HostArray) -> HostArray:
        return np.repeat(g, 2, axis=-1)[..., ::2]

    assert_same("adam", shapes=[(5, 4), (3,)], layout=apart, max_norm=1.0)
    assert_same("adam", shapes=[(1024, 513), (3,)], max_norm=1.0)
    assert calls.number == 0
