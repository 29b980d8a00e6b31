"""A small training run, with everything in it that a checkpoint has to keep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import born
from born import checkpoint, nn, optim
from born.autodiff import Autodiff, backward
from born.backend import Backend
from tests.optim.making import make

Recording = Autodiff[Backend]

_DATA = np.random.Generator(np.random.PCG64(5))
_INPUTS = _DATA.normal(size=(12, 6, 3)).astype(np.float32)
_LABELS = _DATA.integers(0, 4, (12, 6))


@dataclass
class Run:
    """A model with dropout, so that random numbers matter, and its optimizer."""

    backend: Recording
    model: nn.Sequential[Recording]
    optimizer: optim.Optimizer[Recording]

    def step(self, number: int) -> None:
        """Train on one batch, with a learning rate of its own."""
        self.optimizer.lr = 0.1 / (1 + number)
        with self.backend.tape:
            logits = self.model(born.tensor(_INPUTS[number], self.backend))
            loss = nn.cross_entropy(logits, born.tensor(_LABELS[number], self.backend))
        self.optimizer.step(backward(loss))

    def save(self, path: Path, **options: Any) -> None:
        checkpoint.save(path, model=self.model, optimizer=self.optimizer, **options)

    def load(self, path: Path) -> Any:
        return checkpoint.load(path, model=self.model, optimizer=self.optimizer)

    def everything(self) -> dict[str, Any]:
        """All that training changes, in a form that compares to the bit."""
        states = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        found: dict[str, Any] = {
            f"{part}.{key}": self.backend.to_numpy(x).tobytes()
            for part, state in states.items()
            for key, x in state.items()
        }
        found["config"] = self.optimizer.config
        found["random"] = dict(self.backend.innermost.random_state)
        return found


def make_run(config: optim.Config, backend_name: str = "numpy", seed: int = 0) -> Run:
    backend = Autodiff(born.get_backend(backend_name, seed=seed))
    model = nn.Sequential(
        nn.Linear(3, 5, backend), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 4, backend)
    )
    return Run(backend, model, make(config, model.parameters()))
