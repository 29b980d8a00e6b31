"""Tapes are per thread: two threads may train two models on one backend object."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np

import born
from born import ops
from born.autodiff import backward
from born.raw import HostArray
from tests.autodiff.leaf import AD

STEPS: Final = 30
MODELS: Final = 4


def train(autodiff: AD, seed: int, start: threading.Barrier | None) -> HostArray:
    """Some steps of gradient descent on a network of two layers; its weights, in one row."""
    generator = np.random.default_rng(seed)
    x = born.tensor(generator.normal(size=(16, 6)), autodiff)
    labels = born.tensor(generator.integers(0, 3, 16), autodiff)
    weights = [born.tensor(generator.normal(size=s), autodiff) for s in ((8, 6), (3, 8))]
    for weight in weights:
        weight.requires_grad = True
    if start is not None:
        start.wait()
    for _ in range(STEPS):
        with autodiff.tape:
            hidden = ops.tanh(ops.linear(x, weights[0]))
            loss = ops.cross_entropy(ops.linear(hidden, weights[1]), labels)
            assert len(autodiff.tape) == 4
        gradients = backward(loss)
        for weight in weights:
            step = autodiff.inner.mul(gradients[weight], 0.1)
            autodiff.inner.assign(weight.raw, autodiff.inner.sub(weight.raw, step))
    return np.concatenate([weight.numpy().ravel() for weight in weights])


def test_threads_train_as_they_would_alone(autodiff: AD) -> None:
    alone = [train(autodiff, seed, None) for seed in range(MODELS)]
    start = threading.Barrier(MODELS)
    with ThreadPoolExecutor(MODELS) as pool:
        running = [pool.submit(train, autodiff, seed, start) for seed in range(MODELS)]
        together = [each.result() for each in running]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(autodiff.tape) == 0


def test_threads_share_a_leaf_but_no_tape(autodiff: AD) -> None:
    x = born.tensor(np.array([1.0, 2.0]), autodiff)
    x.requires_grad = True
    start = threading.Barrier(2)

    def gradient(factor: float) -> list[float]:
        with autodiff.tape:
            loss = (x * factor).sum()
            start.wait()
            loss = loss + (x * x).sum()
            start.wait()
            assert len(autodiff.tape) == 5
        found: list[float] = autodiff.to_numpy(backward(loss)[x]).tolist()
        return found

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(gradient, [10.0, 100.0])) == [[12.0, 14.0], [102.0, 104.0]]

    def elsewhere() -> tuple[bool, int]:
        (x * x).sum()
        return autodiff.tape.is_recording, len(autodiff.tape)

    with autodiff.tape, ThreadPoolExecutor(1) as pool:
        assert pool.submit(elsewhere).result() == (False, 0)
        assert autodiff.tape.is_recording
        assert len(autodiff.tape) == 0
