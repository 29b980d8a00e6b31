"""Every optimizer gives the same bits on both CPU backends, and by plain evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import born
from born import optim
from born.backend import Backend
from born_numpy import NumpyBackend
from tests.fusion.test_stages import PlainBackend
from tests.optim.making import every_config, make, parameter, raw


def run(config: optim.Config, backend: Backend, dtype: str = "float32") -> list[bytes]:
    values = [np.linspace(-2.0, 3.0, size * 5).reshape(size, 5) for size in (3, 30)]
    parameters = [parameter(x, backend, dtype=dtype) for x in (*values, 0.5)]
    optimizer: Any = make(config, parameters)
    for t in range(4):
        present = (
            parameters if t else parameters[:2]
        )  # the last joins late, with a count of its own
        given = {p.raw: raw(np.sin(p.numpy() * (t + 1.0) + 0.3), backend, dtype) for p in present}
        optimizer.step(given)
    state = [entry.array.tobytes() for entry in optimizer.state_dict().values()]
    return [p.numpy().tobytes() for p in parameters] + state


@every_config
def test_cpu_backends_agree_to_the_bit(config: optim.Config) -> None:
    expected = run(config, PlainBackend())
    assert run(config, NumpyBackend()) == expected, "numpy"
    pytest.importorskip("numba", reason="Numba is not installed")
    assert run(config, born.get_backend("numba")) == expected, "numba"


def test_powers_of_numbers_have_one_value() -> None:
    # Of this rate NumPy's square and its power by an array of twos differ in the last bit.
    config = optim.ScheduleFreeSGDConfig(lr=0.8132702392002724, warmup=3)
    assert run(config, NumpyBackend(), "float64") == run(config, PlainBackend(), "float64")
