"""Many examples at once: each operation gives what it gives for one example after the other."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from born.autodiff.batching import Batched, Batching, is_batched
from born.backend import Backend
from born.errors import TapeError
from born.raw import RawTensor
from tests.operations.computing import computing
from tests.operations.drawing import Case
from tests.operations.table import ROWS, calls

FROM_NOTHING: Final = {"full", "zeros", "ones", "arange", "eye", "normal", "uniform", "dropout"}
"""Operations that make the same tensor for all examples, or draw at random."""
HOST: Final = {"from_numpy", "to_numpy", "assign"}
NAMES: Final = [name for name in ROWS if name not in FROM_NOTHING | HOST]
EXAMPLES: Final = 3


@pytest.mark.parametrize("name", NAMES)
def test_examples_at_once_are_as_one_after_the_other(name: str, backend_name: str) -> None:
    backend = computing(backend_name)

    @given(calls(name), st.data())
    @settings(max_examples=8)
    def check(case: Case, data: st.DataObject) -> None:
        differ = data.draw(st.lists(st.booleans(), min_size=5, max_size=5))
        batching = Batching(backend)
        stacked: list[RawTensor] = []
        given_one: list[list[RawTensor]] = [[] for _ in range(EXAMPLES)]
        for i, array in enumerate(case.inputs):
            floats = array.dtype.kind == "f"
            if not (differ[i % 5] and floats):
                stacked.append(backend.from_numpy(array))
                for each in given_one:
                    each.append(stacked[-1])
                continue
            # Positive factors leave positive definite matrices and domains as they are.
            several = np.stack([array * (1 + 0.25 * k) for k in range(EXAMPLES)])
            stacked.append(Batched(backend.from_numpy(several)))
            for k, each in enumerate(given_one):
                each.append(backend.from_numpy(several[k]))
        found = case.results(batching, stacked)
        expected = [case.results(backend, each) for each in given_one]
        for place, raw in enumerate(found):
            whole = batching.full_batch(raw, EXAMPLES)
            assert raw.shape == expected[0][place].shape
            for k in range(EXAMPLES):
                one = backend.to_numpy(expected[k][place])
                # Matrix products and sums of other sizes round in another order.
                np.testing.assert_allclose(
                    backend.to_numpy(whole)[k], one, rtol=1e-9, atol=1e-9, err_msg=name
                )

    with np.errstate(all="ignore"):
        check()


def test_indices_that_differ_between_examples(backend: Backend) -> None:
    batching = Batching(backend)
    draw = np.random.default_rng(0)
    index = draw.integers(0, 5, (EXAMPLES, 4))
    own = Batched(backend.from_numpy(index))
    x, several = draw.normal(size=(5, 2)), draw.normal(size=(EXAMPLES, 5, 2))
    y = draw.normal(size=(EXAMPLES, 4, 2))
    shared, batched = backend.from_numpy(x), Batched(backend.from_numpy(several))
    added = Batched(backend.from_numpy(y))
    mask = several[..., 0] > 0
    mask[:, :2], mask[:, 2:] = True, False  # as many in each example
    for tensor, arrays in ((shared, [x] * EXAMPLES), (batched, several)):
        results = {
            "getitem": batching.getitem(tensor, own),
            "take": batching.take(tensor, own),
            "later": batching.getitem(tensor, (slice(None), backend.from_numpy(np.array([1])))),
            "mask": batching.getitem(tensor, Batched(backend.from_numpy(mask))),
            "add": batching.index_add(tensor, own, added),
        }
        for k, array in enumerate(arrays):
            sums = array.copy()
            np.add.at(sums, index[k], y[k])
            expected = {
                "getitem": array[index[k]],
                "take": array[index[k]],
                "later": array[:, [1]],
                "mask": array[mask[k]],
                "add": sums,
            }
            for name, raw in results.items():
                whole = backend.to_numpy(batching.full_batch(raw, EXAMPLES))
                # A sum may be made in another order.
                atol = 1e-15 if name == "add" else 0.0
                np.testing.assert_allclose(
                    whole[k], expected[name], rtol=0, atol=atol, err_msg=name
                )


def test_what_differs_between_examples_stays_a_tensor(backend: Backend) -> None:
    batching = Batching(backend)
    x = Batched(backend.ones((2,), "float32"))
    assert (x.shape, x.ndim, x.size, x.nbytes) == ((), 0, 1, 4)
    assert is_batched(x.alias())
    for call in (
        x.item,
        lambda: batching.to_numpy(x),
        lambda: batching.assign(backend.ones((), "float32"), x),
    ):
        with pytest.raises(TapeError, match=r"expected tensors to stay tensors .*; use ops\.where"):
            call()
