"""Random numbers: the same seed gives the same, and a state continues where it was taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

import born
from born import ops
from born.autodiff import Autodiff
from born.backend import Backend
from born.errors import DomainError
from born.raw import HostArray


def draws(backend: Backend) -> list[HostArray]:
    """A few draws of each kind, of odd sizes, so that the generator stops inside of its buffer."""
    drawn = [
        backend.normal((3,), "float32"),
        backend.uniform((5,), "float64"),
        backend.normal((1, 7), "float64"),
        backend.uniform((3,), "float16"),
        backend.normal((), "float32"),
        backend.dropout(backend.ones((9,), "float32"), 0.5)[0],
    ]
    return [backend.to_numpy(raw) for raw in drawn]


def assert_equal_to_the_bit(one: list[HostArray], other: list[HostArray]) -> None:
    assert [x.tobytes() for x in one] == [x.tobytes() for x in other]


def test_same_seed_same_numbers(backend_name: str) -> None:
    one, other, third = (born.get_backend(backend_name, seed=seed) for seed in (5, 5, 0))
    first = draws(one)
    assert_equal_to_the_bit(first, draws(other))
    assert first[0].tolist() != draws(one)[0].tolist()
    one.seed(5)
    assert_equal_to_the_bit(first, draws(one))
    from_zero = draws(third)
    assert first[0].tolist() != from_zero[0].tolist()
    assert_equal_to_the_bit(draws(born.get_backend(backend_name)), from_zero)


def test_seed_gives_these_numbers_on_every_backend(backend: Backend) -> None:
    """NumPy's Philox generator, whose stream NumPy promises not to change."""
    backend.seed(7)
    generator = np.random.Generator(np.random.Philox(7))
    np.testing.assert_array_equal(
        backend.to_numpy(backend.normal((3, 2), "float32")),
        generator.standard_normal((3, 2), np.float32),
    )
    np.testing.assert_array_equal(
        backend.to_numpy(backend.uniform((4,), "float64")), generator.random(4)
    )


@pytest.mark.parametrize("before", range(6))
def test_state_continues_to_the_bit_through_json(before: int, backend_name: str) -> None:
    backend = born.get_backend(backend_name, seed=3)
    for i in range(before):
        backend.normal((i,), "float32")
    state = json.loads(json.dumps(backend.random_state))
    expected = draws(backend)
    other = born.get_backend(backend_name, seed=99)
    other.check_random_state(state)
    other.set_random_state(state)
    assert_equal_to_the_bit(expected, draws(other))
    backend.set_random_state(state)
    assert_equal_to_the_bit(expected, draws(backend))


def test_state_is_a_snapshot(backend: Backend) -> None:
    state = backend.random_state
    text = json.dumps(state)
    draws(backend)
    assert json.dumps(state) == text
    assert json.dumps(backend.random_state) != text


def test_distributions(backend: Backend) -> None:
    normal = backend.to_numpy(backend.normal((20_000,), "float64"))
    uniform = backend.to_numpy(backend.uniform((20_000,), "float64"))
    # Five standard errors: of a mean 0.007 and 0.002, of the spread 0.005.
    assert abs(normal.mean()) < 0.035
    assert abs(normal.std() - 1) < 0.025
    assert abs(uniform.mean() - 0.5) < 0.0102
    assert uniform.min() >= 0.0
    assert uniform.max() < 1.0


def test_drawing_nothing_and_dropout_of_nothing_are_no_errors(backend: Backend) -> None:
    assert backend.normal((0, 3), "float32").shape == (0, 3)
    assert ops.dropout(born.zeros((2, 0), backend), 0.5).shape == (2, 0)


BROKEN: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "nothing": lambda s: None,
    "text": lambda s: "Philox",
    "a list": lambda s: [s],
    "empty": lambda s: {},
    "another generator": lambda s: {**s, "bit_generator": "PCG64"},
    "no counter": lambda s: {**s, "state": {"key": s["state"]["key"]}},
    "counter too short": lambda s: _with_counter(s, [1, 2]),
    "counter too long": lambda s: _with_counter(s, [1] * 9),
    "counter below zero": lambda s: _with_counter(s, [-1, 0, 0, 0]),
    "counter too large": lambda s: _with_counter(s, [2**64, 0, 0, 0]),
    "counter of fractions": lambda s: _with_counter(s, [0.5, 0, 0, 0]),
    "counter of text": lambda s: _with_counter(s, ["a", "b", "c", "d"]),
    "counter of lists": lambda s: _with_counter(s, [[1]] * 4),
    "no state": lambda s: {**s, "state": None},
    "buffer too short": lambda s: {**s, "buffer": [1]},
    "buffer too long": lambda s: {**s, "buffer": [1] * 9},
    "no buffer": lambda s: {key: value for key, value in s.items() if key != "buffer"},
    "position before the buffer": lambda s: {**s, "buffer_pos": -1},
    "position after the buffer": lambda s: {**s, "buffer_pos": 5},
    "position between": lambda s: {**s, "buffer_pos": 1.5},
    "position of text": lambda s: {**s, "buffer_pos": "1"},
    "flag of seven": lambda s: {**s, "has_uint32": 7},
    "half a number too large": lambda s: {**s, "uinteger": 2**32},
    "half a number below zero": lambda s: {**s, "uinteger": -1},
}


def _with_counter(state: dict[str, Any], counter: list[Any]) -> dict[str, Any]:
    return {**state, "state": {**state["state"], "counter": counter}}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_state_is_refused_and_changes_nothing(how: str, backend: Backend) -> None:
    draws(backend)
    before = json.loads(json.dumps(backend.random_state))
    message = r"^expected the random state of a Philox generator, got .*; pass what random_state"
    for call in (backend.check_random_state, backend.set_random_state):
        with pytest.raises(DomainError, match=message):
            call(BROKEN[how](before))
    assert json.loads(json.dumps(backend.random_state)) == before


@pytest.mark.parametrize("seed", [-1, 1.5, "x", None])
def test_seed_that_is_no_natural_number(seed: Any, backend_name: str) -> None:
    backend = born.get_backend(backend_name)
    before = backend.random_state
    message = r"^expected a non-negative integer seed, got .*; seed=0"
    with pytest.raises(DomainError, match=message):
        backend.seed(seed)
    with pytest.raises(DomainError, match=message):
        born.get_backend(backend_name, seed=seed)
    assert backend.random_state == before


# -- several generators --


def test_a_seeded_context_leaves_the_backend_where_it_was(backend: Backend) -> None:
    for kind in (backend, Autodiff(backend)):
        kind.seed(1)
        expected = born.randn(4, kind).tolist()
        kind.seed(1)
        first = born.randn(2, kind).tolist()
        with kind.seeded(5), pytest.raises(DomainError):
            born.arange(0, 3, 0, backend=born.randn(3, kind).backend)
        assert first + born.randn(2, kind).tolist() == expected


def test_seeded_contexts_are_generators_that_go_on(backend: Backend) -> None:
    def draw() -> list[float]:
        return [float(born.rand((), backend))]

    noise, shuffle = backend.seeded(5), backend.seeded(6)
    found: dict[str, list[float]] = {"noise": [], "shuffle": [], "own": []}
    for _ in range(4):
        with noise:
            found["noise"] += draw()
            with shuffle:
                found["shuffle"] += draw()
                with noise:  # goes on in the middle
                    found["noise"] += draw()
                found["shuffle"] += draw()
            found["noise"] += draw()
        found["own"] += draw()
    for name, seed in (("noise", 5), ("shuffle", 6), ("own", 0)):
        alone = born.rand(len(found[name]), born.get_backend(backend.name, seed=seed))
        assert found[name] == alone.tolist(), name


def test_a_seeded_generator_is_saved_and_restored(backend: Backend) -> None:
    noise = backend.seeded(5)
    with noise:
        born.rand(3, backend)
        assert noise.random_state == backend.random_state
    state = noise.random_state
    with noise:
        expected = born.rand(2, backend).tolist()
    other = backend.seeded(0)
    other.set_random_state(state)
    with other:
        assert born.rand(2, backend).tolist() == expected
    with pytest.raises(DomainError, match="expected the random state"):
        other.set_random_state({"state": 1})


def test_a_wrong_seed_is_refused_before_anything_changes(backend: Backend) -> None:
    before = backend.random_state
    for wrong in (-1, 0.5, "x", None):
        with pytest.raises(DomainError, match="expected a non-negative integer seed"):
            backend.seeded(wrong)  # type: ignore[arg-type]  # wrong on purpose
    assert backend.random_state == before
