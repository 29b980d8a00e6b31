"""Record what PyTorch's optimizers do, for tests that run where PyTorch is not installed.

Run `python -m tests.optim.record_pytorch`, with the version of torch that the extra `parity`
names, after changing `cases.py`.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.optim.cases import OPTIONS, RECORDED, SHAPES, STEPS, Options, gradient, start

Trajectory = npt.NDArray[np.float64]
"""All elements of all parameters, one row a step."""


def run_pytorch(optimizer_name: str, options: Options) -> Trajectory:
    """The parameters after each step of a PyTorch optimizer in float64, on its plain path."""
    torch: Any = importlib.import_module("torch")
    parameters = [torch.tensor(p, requires_grad=True) for p in start()]
    # foreach and fused reorder the arithmetic; the plain loop is the one that states it.
    optimizer = getattr(torch.optim, optimizer_name)(parameters, foreach=False, **options)
    rows: list[Trajectory] = []
    for _ in range(STEPS):
        for index, p in enumerate(parameters):
            p.grad = gradient(p.detach(), index, torch.sin)
        optimizer.step()
        rows.append(flat([p.detach().numpy() for p in parameters]))
    return np.stack(rows)


def flat(parameters: list[Trajectory]) -> Trajectory:
    """All elements in one row, in new memory."""
    assert tuple(p.shape for p in parameters) == SHAPES
    return np.concatenate([p.reshape(-1) for p in parameters])


def main() -> None:
    """Write the file that the tests read."""
    torch: Any = importlib.import_module("torch")
    arrays: dict[str, Any] = {
        name: np.stack([run_pytorch(name, options) for options in every])
        for name, every in OPTIONS.items()
        if hasattr(torch.optim, name)
    }
    arrays["torch_version"] = np.array(torch.__version__)
    np.savez_compressed(RECORDED, allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
