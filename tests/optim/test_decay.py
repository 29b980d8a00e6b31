"""What `UpdateConfig` gives every optimizer: three kinds of decay, and going up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from born import optim
from born.backend import Backend
from born.optim.adam import adam
from tests.optim.making import CONFIGS, class_for, make, parameter, raw

FIRST = {type(config): config for config in reversed(CONFIGS)}
one_of_each = pytest.mark.parametrize("config", FIRST.values(), ids=lambda c: type(c).__name__)

DECAY = 0.1
START = np.array([[1.0, -2.0, 0.5], [0.25, 4.0, -1.0]])


def slopes(step: int) -> Any:
    return np.sin(np.arange(6.0).reshape(2, 3) * (step + 1)) + 0.5


def run(config: Any, backend: Backend, decayed: str = "", sign: float = 1.0) -> list[Any]:
    """The parameter after each of five steps; what decays beside the optimizer does so here."""
    p = parameter(START, backend, dtype="float64")
    optimizer = make(config, [p])
    rows: list[Any] = []
    for step in range(5):
        optimizer.lr = config.lr * (1 + step)
        before = p.numpy().copy()
        g = sign * slopes(step) + (DECAY * before if decayed == "l2" else 0.0)
        optimizer.step({p.raw: raw(g, backend, "float64")})
        if decayed in ("decoupled", "independent"):
            rate = DECAY * (optimizer.lr if decayed == "decoupled" else 1.0)
            backend.assign(p.raw, backend.from_numpy(p.numpy() - rate * before))
        rows.append(p.numpy().copy())
    return rows


INSIDE = (
    optim.LAMBConfig,
    optim.NovoGradConfig,
    optim.ProdigyConfig,
    optim.ScheduleFreeAdamWConfig,
)
"""Those whose decoupled decay is a part of the update; it has references of its own."""


@pytest.mark.parametrize("decay", ["l2", "decoupled", "independent"])
@one_of_each
def test_decay_is_what_its_name_says(config: Any, decay: str, backend: Backend) -> None:
    if decay == "decoupled" and isinstance(config, INSIDE):
        pytest.skip("it is a part of the update, and has references of its own")
    plain = config.replace(weight_decay=0.0)
    fields = {"weight_decay": DECAY, "decay": decay}
    if isinstance(config, optim.AdanConfig):
        fields["proximal"] = False  # which is another decay, with a reference of its own
    ours = run(plain.replace(**fields), backend)
    np.testing.assert_allclose(ours, run(plain, backend, decay), rtol=1e-12, atol=1e-14)


@one_of_each
def test_to_maximize_is_to_turn_the_gradient(config: Any, backend: Backend) -> None:
    ours = run(config.replace(weight_decay=0.0, maximize=True), backend)
    assert np.array_equal(ours, run(config.replace(weight_decay=0.0), backend, sign=-1.0))


@one_of_each
def test_state_is_kept_in_another_dtype(config: Any, backend: Backend) -> None:
    optimizer = make(config.replace(state_dtype="float16"), [parameter(START, backend)])
    state = {key: x for key, x in optimizer.state_dict().items() if key[:2] != "t."}
    assert {x.dtype.name for x in state.values() if x.shape} <= {"float16"}
    assert {x.dtype.name for x in state.values() if not x.shape} <= {"float64"}
    assert class_for(config) is type(optimizer)


@pytest.mark.parametrize("max_of", ["", "v", "v_hat"])
def test_eps_uncorrected_is_the_same_fraction_without_eps(max_of: str) -> None:
    """eps_root belongs to the corrected average, and where eps is added changes neither it."""
    values = {"beta1": 0.5, "beta2": 0.75, "eps": 0.0, "eps_root": 0.5, "weight_decay": 0.0}
    largest = (0.0,) if max_of else ()
    results = [
        adam(1.0, 2.0, 0.0, 0.0, *largest, lr=0.5, **values, t=1, rooted=True, **where)
        for where in ({"max_of": max_of}, {"max_of": max_of, "eps_uncorrected": True})
    ]
    expected = 1 - 0.5 * 2 / np.sqrt(2.0**2 + 0.5)
    assert [result[0] for result in results] == pytest.approx([expected] * 2, rel=1e-15)


@pytest.mark.parametrize("max_of", ["v", "v_hat"])
def test_decay_last_has_the_corrected_rate_whatever_amsgrad_keeps(max_of: str) -> None:
    values = {"beta1": 0.5, "beta2": 0.75, "eps": 0.0, "eps_root": 0.0, "weight_decay": 0.5}
    p, *_ = adam(1.0, 2.0, 0.0, 0.0, 0.0, lr=0.5, **values, t=1, max_of=max_of, decay_last=True)
    assert p == pytest.approx(0.5 - 0.5 * np.sqrt(0.25) / 0.5 * 0.5 * 0.5, rel=1e-15)
