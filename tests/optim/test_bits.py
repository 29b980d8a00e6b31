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


def run(config: optim.Config, backend: Backend) -> list[bytes]:
    values = [np.linspace(-2.0, 3.0, size * 5).reshape(size, 5) for size in (3, 30)]
    parameters = [parameter(x, backend) for x in values] + [parameter(0.5, backend)]
    optimizer: Any = make(config, parameters)
    for t in range(4):
        given = [np.sin(p.numpy() * (t + 1.0) + 0.3) for p in parameters]
        optimizer.step({p.raw: raw(g, backend) for p, g in zip(parameters, given, strict=True)})
    return [p.numpy().tobytes() for p in parameters]


@every_config
def test_cpu_backends_agree_to_the_bit(config: optim.Config) -> None:
    expected = run(config, PlainBackend())
    assert run(config, NumpyBackend()) == expected, "numpy"
    pytest.importorskip("numba", reason="Numba is not installed")
    assert run(config, born.get_backend("numba")) == expected, "numba"
