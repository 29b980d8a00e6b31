"""Parameters and optimizers for tests, in one line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import born
from born import nn, optim
from born.autodiff import Autodiff
from born.backend import B, Backend
from born.optim.state import RECORDS
from born.raw import HostArray, RawTensor
from tests.optim.cases import SLOTS

Parameter = nn.Parameter[Backend]
Optimizer = optim.Optimizer[Backend]

CONFIGS = tuple(SLOTS)
every_config = pytest.mark.parametrize("config", CONFIGS, ids=repr)

BASIC = CONFIGS[:6]
"""SGD and Adam, for sweeps over dtypes that compile a kernel for each: other optimizers' formulas
bring nothing new there."""

ADAM = optim.AdamConfig(lr=0.1, betas=(0.5, 0.9), eps=1e-3, weight_decay=0.01)
"""The config of tests for which one rule is enough: it has two slots and every kind of scalar."""


SGD = optim.SGDConfig(lr=0.1)
"""The config of tests of updates without state."""

MOMENTUM = optim.SGDConfig(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)
"""The config of tests of one slot."""


def class_for(config: optim.Config) -> type[optim.Optimizer[Any]]:
    """The optimizer that takes this config."""
    found: type[optim.Optimizer[Any]] = getattr(optim, type(config).__name__.removesuffix("Config"))
    return found


def make(
    config: optim.Config, parameters: Sequence[nn.Parameter[B]], **options: Any
) -> optim.Optimizer[B]:
    """The optimizer of a config, with what goes around it."""
    return class_for(config)(parameters, config, **options)


def parameter(value: Any, backend: Backend, name: str = "", dtype: str = "float32") -> Parameter:
    """A parameter with this first value."""
    return nn.Parameter(born.tensor(np.array(value, np.float64), backend, dtype), name)


def raw(value: Any, backend: Backend, dtype: str = "float32") -> RawTensor:
    """A raw tensor, such as a gradient."""
    return born.tensor(np.array(value, np.float64), backend, dtype).raw


def two(backend: Backend) -> list[Parameter]:
    """A matrix and a parameter without axes."""
    return [
        parameter([[1.0, -2.0], [3.0, 4.0]], backend, "first"),
        parameter(0.5, backend, "second"),
    ]


def gradients(parameters: Sequence[Parameter], size: float = 1.0) -> dict[RawTensor, RawTensor]:
    """A gradient of one value for each parameter."""
    return {p.raw: raw(np.full(p.shape, size), p.backend, p.dtype.name) for p in parameters}


def step(optimizer: Optimizer, size: float = 1.0, **options: Any) -> None:
    """A step by gradients of one value."""
    optimizer.step(gradients(optimizer.parameters, size), **options)


def make_model(backend: Backend) -> tuple[Autodiff[Backend], nn.Sequential[Any]]:
    """The same small network each time, and the backend that records it."""
    autodiff = Autodiff(backend)
    backend.seed(0)
    return autodiff, nn.Sequential(nn.Linear(3, 4, autodiff), nn.Tanh(), nn.Linear(4, 2, autodiff))


def loss_of(model: nn.Sequential[Any], autodiff: Autodiff[Backend]) -> born.Tensor[Any]:
    """Something to make smaller."""
    x = born.tensor(np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3), autodiff)
    y = model(x)
    return (y * y).mean()


def contents(optimizer: Optimizer) -> dict[str, HostArray]:
    """Everything that an update may change, on the host; not what was seen of gradients."""
    state = {
        key: optimizer.backend.to_numpy(x)
        for key, x in optimizer.state_dict().items()
        if key.rpartition(".")[0] not in RECORDS
    }
    values = {f"p.{i}": p.numpy() for i, p in enumerate(optimizer.parameters)}
    return state | values


def values_of(module: nn.Module[Any]) -> dict[str, HostArray]:
    """The parameters of a module, on the host."""
    return {path: parameter.numpy() for path, parameter in module.named_parameters()}


def assert_same(left: dict[str, HostArray], right: dict[str, HostArray]) -> None:
    """The same names, and under each the same bits."""
    assert left.keys() == right.keys()
    for key, array in left.items():
        assert array.tobytes() == right[key].tobytes(), key


def assert_unchanged(optimizer: Optimizer, before: dict[str, HostArray]) -> None:
    """Nothing differs from what `contents` gave, not by a bit."""
    assert_same(contents(optimizer), before)
