"""Record what PyTorch and JAX give at special points, for tests that run without them.

Run `python -m tests.operations.record_special_points` after changing `special_points.py`, with
the version of torch that the extra `parity` names, and jax.
"""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from born.raw import HostArray
from tests.operations.special_points import CALLS, RECORDED, Call, weights
from tests.tools import is_tuple

Orders = list[list[HostArray]]
"""For each order, its arrays: the value, or one for each input."""


def of_torch(call: Call) -> Orders:
    """What PyTorch gives."""
    torch: Any = importlib.import_module("torch")
    leaves = [torch.tensor(x, requires_grad=call.orders > 0) for x in call.inputs]
    function: Any = call.torch
    y = function(torch, *leaves)
    orders = [[y]]
    results, at = [y], [torch.tensor(weights(tuple(y.shape))).to(y.dtype)]
    for _ in range(call.orders):
        if any(each.requires_grad for each in results):
            found = torch.autograd.grad(
                results, leaves, at, create_graph=True, materialize_grads=True
            )
        else:
            found = [torch.zeros_like(x) for x in leaves]
        orders.append(list(found))
        results = [each for each in found if each.requires_grad]
        at = [torch.tensor(weights(tuple(each.shape))) for each in results]
    return [
        [each.detach().numpy(force=True).astype(np.float64) for each in order] for order in orders
    ]


def of_jax(call: Call) -> Orders:
    """What JAX gives."""
    jax: Any = importlib.import_module("jax")
    importlib.import_module("jax.scipy.special")
    jax.config.update("jax_enable_x64", True)
    function: Any = call.jax
    places = tuple(range(len(call.inputs)))
    xs = [jax.numpy.asarray(x) for x in call.inputs]
    y = function(jax, *xs)

    def along(f: Callable[..., Any]) -> Callable[..., Any]:
        def total(*xs: Any) -> Any:
            found = f(*xs)
            parts: tuple[Any, ...] = found if is_tuple(found) else (found,)
            return sum(jax.numpy.sum(part * weights(part.shape)) for part in parts)

        gradient: Callable[..., Any] = jax.grad(total, argnums=places)
        return gradient

    orders = [[y]]
    derivative: Callable[..., Any] = functools.partial(function, jax)
    for _ in range(call.orders):
        derivative = along(derivative)
        orders.append(list(derivative(*xs)))
    return [[np.asarray(each).astype(np.float64) for each in order] for order in orders]


LIBRARIES: Final = {"torch": of_torch, "jax": of_jax}


def main() -> None:
    """Write the file that the tests read."""
    recorded = {
        library: {
            name: [[each.ravel().tolist() for each in order] for order in run(call)]
            for name, call in CALLS.items()
        }
        for library, run in LIBRARIES.items()
    }
    text = json.dumps(recorded).replace('": [[[', '":\n[[[')
    RECORDED.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
